//! Programs that are not exec, in exec's place in a micro-VM: threads, and what they do to memory.
//!
//! Owns the building (`rustc` and `cc`, on first use, beside the other test files) and running of `programs/`, which check
//! themselves and say by their status how it went. `DONJON_ROUNDS=N` runs each so often.

#![cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(unused, reason = "there are no micro-VMs"))]
#![allow(clippy::print_stdout, reason = "what a test harness does")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use keep::backend::MicroVm;
use keep::{Backend, Host, Image, Launch, RunError, Stdio};
use workload::brief::{Brief, Source};
use workload::digest::Digest;

/// A program and the status with which it says that all is well.
struct Program {
    name: &'static str,
    status: u8,
}

const PROGRAMS: &[Program] = &[
    Program { name: "threads.rs", status: 42 },
    Program { name: "memory.rs", status: 42 },
    Program { name: "wakes.rs", status: 42 },
    Program { name: "polls.rs", status: 42 },
    Program { name: "signals.rs", status: 42 },
    Program { name: "pthreads.c", status: 42 },
];

fn main() -> ExitCode {
    if let Some(code) = keep::monitor() {
        return code;
    }
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return ExitCode::SUCCESS;
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        println!("skipped: kvm: programs in micro-VMs: /dev/kvm does not open: {error}");
        return ExitCode::SUCCESS;
    }
    let rounds = std::env::var("DONJON_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |program: &&Program| wanted.is_empty() || wanted.iter().any(|name| program.name.contains(name));
    let mut failed = 0_usize;
    let mut passed = 0_usize;
    let mut ignored = 0_usize;
    for Program { name, status } in PROGRAMS.iter().filter(chosen) {
        let elf = match build(name) {
            Ok(elf) => elf,
            Err(why) if name.ends_with(".c") => {
                println!("skipped: cc: {name}: {why}");
                ignored += 1;
                continue;
            }
            Err(why) => {
                println!("test {name} ... FAILED\n{why}");
                failed += 1;
                continue;
            }
        };
        let expected = format!("exit status: {status}");
        for _ in 0..rounds {
            let ended = run(elf);
            if ended == expected {
                println!("test {name} ... ok");
                passed += 1;
            } else {
                println!("test {name} ... FAILED\nexpected {expected}, found {ended}");
                failed += 1;
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out");
    ExitCode::from(u8::from(failed != 0))
}

/// Compiles a program to a static, position independent ELF file.
fn build(name: &str) -> Result<&'static [u8], String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/micro_vm/programs").join(name);
    let elf = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("elf");
    let mut command = if name.ends_with(".rs") {
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.args(["--edition=2024", "--target=x86_64-unknown-linux-musl", "-O"]);
        rustc
    } else {
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-static-pie", "-pthread", "-Wall", "-Wl,-z,separate-code"]);
        cc
    };
    let output = command.arg(&source).arg("-o").arg(&elf).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    std::fs::read(&elf).map(|bytes| &*Vec::leak(bytes)).map_err(|error| error.to_string())
}

/// One that nobody reads: these programs ask for none.
fn brief() -> Vec<u8> {
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

/// How the program ended.
fn run(elf: &'static [u8]) -> String {
    let launch = match Launch::new(Image::of(elf), brief(), None) {
        Ok(launch) => launch,
        Err(error) => return error.to_string(),
    };
    let host = Host {
        blobs: Box::new(BTreeMap::new()),
        listen: BTreeMap::new(),
        stdio: Stdio::Inherit,
        events: Box::new(|_| {}),
    };
    match MicroVm.start(&launch, host).map(keep::Running::wait) {
        Ok(Err(RunError::Silent(status))) => status,
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}
