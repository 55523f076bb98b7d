//! What tests of programs in exec's place have in common: the program, a brief that nobody reads, a host that gives
//! nothing, and a result that the test runner adds to all others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use keep::{Folders, Host, Stdio};
use workload::brief::{Brief, Source};
use workload::digest::Digest;

/// Whether there are micro-VMs here; if there are none, says that `what` is skipped.
pub(crate) fn micro_vms(what: &str) -> bool {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return false;
    }
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    if let Err(error) = &opened {
        println!("skipped: kvm: {what}: /dev/kvm does not open: {error}");
    }
    opened.is_ok()
}

/// Compiles a program of `tests/` to a static, position independent ELF file.
pub(crate) fn build(source: &str, env: &[(&str, &str)]) -> Result<&'static [u8], String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let elf = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.elf", std::process::id()));
    let mut command = if source.extension().is_some_and(|extension| extension == "rs") {
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.args(["--edition=2024", "--target=x86_64-unknown-linux-musl", "-O"]);
        rustc
    } else {
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-static-pie", "-pthread", "-Wall", "-Wl,-z,separate-code"]);
        cc
    };
    command.envs(env.iter().copied()).arg(&source).arg("-o").arg(&elf);
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let bytes = std::fs::read(&elf).map_err(|error| error.to_string())?;
    // It was only built to be read.
    _ = std::fs::remove_file(&elf);
    Ok(Vec::leak(bytes))
}

pub(crate) fn brief() -> Vec<u8> {
    let brief = Brief {
        trust_domain: "local".parse().expect("a trust domain"),
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: "run".parse().expect("a name"),
        role: "main".parse().expect("a name"),
        workload: Digest::of(b""),
        args: Vec::new(),
        env: Vec::new(),
    };
    brief.encode()
}

pub(crate) fn host(stdio: Stdio) -> Host {
    Host {
        blobs: Box::new(BTreeMap::new()),
        listen: BTreeMap::new(),
        folders: Folders::default(),
        cache: None,
        stdio,
        events: Box::new(|_| {}),
    }
}

/// What cargo's own test harness would say last.
pub(crate) fn result(passed: usize, failed: usize, ignored: usize) -> ExitCode {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out");
    ExitCode::from(u8::from(failed != 0))
}
