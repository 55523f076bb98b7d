//! Native programs: static-PIE ELF files in exec's place, with either language's library, and files that are no such
//! programs.

use std::path::Path;

use serde_json::json;

use crate::ends;
use crate::support::{Form, Input, folder, probe, program, run};

#[test]
fn a_c_program() {
    let program = program("tnetennba", "tnetennba", Form::Native);
    let said = "Good morning, that's a nice tnetennba!\n";
    run(Path::new("/"), ["run", "-q", program.to_str().unwrap()], Input::Nothing).assert(0, said, "");
}

/// Threads, a channel, a lock, a map with its randomness, files, TCP and a panic.
#[test]
fn a_program_of_rusts_standard_library() {
    let program = program("threads", "threads", Form::Native);
    let said = "shares: [(0, 0), (1, 1000), (2, 2000), (3, 3000)], total 6000\n\
                no certificates\n\
                writing: ReadOnlyFilesystem\n\
                echo: hello, hello\n\
                a panic: as it should\n";
    run(Path::new("/"), ["run", "-q", program.to_str().unwrap(), "7"], Input::Nothing).assert(7, said, "");
}

#[test]
fn a_native_program_exits_with_its_status() {
    let probe = probe(Form::Native);
    let probe = probe.to_str().unwrap();
    for status in [0, 1, 77, 125, 134, 255] {
        run(Path::new("/"), ["run", "-q", probe, "exit", &status.to_string()], Input::Nothing).assert(status, "", "");
    }
}

#[test]
pub(crate) fn arguments_and_environment_of_manifest_and_launcher() {
    let dir = project("args = [\"args\", \"a b\", \"\"]\n");
    run(dir.path(), ["run", "-q", ".", "ü"], Input::Nothing).assert(0, "a b\n\nü\n", "");
    let dir = project("args = [\"env\"]\n[env]\nA = \"x=y\"\nB = \"\"\n");
    let ran = run(dir.path(), ["run", "-q", "--env", "A=launcher", "--env", "C=1"], Input::Nothing);
    ran.assert(0, "A=x=y\nB=\nC=1\n", "");
}

#[test]
pub(crate) fn standard_streams_lead_where_the_manifest_says() {
    let said = || Input::Bytes(b"hello\n".to_vec());
    for (streams, stdout, stderr) in [
        ("", "hello\n", "6\n"),
        ("stdin = \"null\"\n", "", "0\n"),
        ("stdout = \"null\"\n", "", "6\n"),
        ("stderr = \"null\"\n", "hello\n", ""),
    ] {
        run(project(&format!("args = [\"cat\"]\n{streams}")).path(), ["run", "-q"], said()).assert(0, stdout, stderr);
    }
}

/// As a shell has it: 128 and the signal's number.
#[test]
fn a_fault_ends_the_program_with_its_signal() {
    let dir = folder(&[]);
    let probe = probe(Form::Native);
    let arguments = ["run", "-q", "--outcome", "outcome.json", probe.to_str().unwrap(), "trap", "oob"];
    let told = "trap: the program was ended by a signal: 11 (SIGSEGV)\n";
    run(dir.path(), arguments, Input::Nothing).assert(139, "", told);
    let outcome = std::fs::read(dir.path().join("outcome.json")).unwrap();
    let expected = json!({ "ended": "signal", "status": 139, "signal": 11 });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&outcome).unwrap(), expected);
}

#[test]
fn a_call_that_no_keep_answers_is_named() {
    let probe = probe(Form::Native);
    let ran = run(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "call"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (125, ""), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error: the program made the system call "), "{}", ran.stderr);
    assert!(ran.stderr.contains("which no Keep answers\nhint: a native program has "), "{}", ran.stderr);
}

/// Neither a file of the host nor one of another Keep.
#[test]
pub(crate) fn a_file_that_nobody_gave_is_not_there() {
    let probe = probe(Form::Native);
    for path in ["/etc/hostname", "/proc/self/maps", "/donjon/identity/key.pem", "Cargo.toml", "/"] {
        let ran = run(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "file", path], Input::Nothing);
        assert_eq!((ran.code(), ran.text()), (1, ""), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains("kind: NotFound"), "{path}: {}", ran.stderr);
    }
}

#[test]
fn nothing_of_a_native_program_is_left() {
    ends::killed(Form::Native);
    ends::signalled(Form::Native);
    ends::killed_from_outside(Form::Native);
}

/// A folder with the probe as a project with this manifest.
fn project(rest: &str) -> tempfile::TempDir {
    folder(&[("Donjon.toml", format!("program = {:?}\n{rest}", probe(Form::Native)).as_bytes())])
}

/// It would wait for requests that never come.
#[test]
fn a_listener_of_a_native_program_is_refused() {
    let hint = "hint: such a program opens its own sockets: remove `kind` and [[listen]], and give it the port as an \
                argument\n";
    let listen = "[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"http\"\n";
    for (kind, error) in [
        (
            "",
            "the manifest has the listener `web`, and the program is an ELF file, to which nobody would pass connections",
        ),
        (
            "kind = \"http\"\n",
            "the manifest says kind = \"http\", and the program is an ELF file, which handles no requests",
        ),
    ] {
        let dir = project(&format!("{kind}{listen}"));
        let told = format!("error: {error} [elf.kind]\n{hint}");
        run(dir.path(), ["run", "-q"], Input::Nothing).assert(125, "", &told);
    }
    run(project("kind = \"command\"\nargs = [\"exit\", \"3\"]\n").path(), ["run", "-q"], Input::Nothing)
        .assert(3, "", "");
}

/// Where its program headers are in the probe, as its linker lays them out: the first four are its segments.
const SEGMENTS: [usize; 4] = [64, 64 + 56, 64 + 2 * 56, 64 + 3 * 56];

/// Every fault has its own words, before anything is packed or started.
#[test]
fn what_is_no_program_for_a_keep() {
    let good = std::fs::read(probe(Form::Native)).unwrap();
    let word = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap());
    let edited = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert_eq!(SEGMENTS.map(|at| word(at) & 0xffff_ffff), [1; 4], "segments");
    let [_, code, constants, data] = SEGMENTS;
    let end = word(data + 8) + word(data + 32);
    let build = "link it statically and position independent, for x86-64: \
                 `cargo build --target x86_64-unknown-linux-musl`, or `musl-gcc -static-pie`";
    let faults = [
        (
            std::fs::read("/proc/self/exe").unwrap(),
            "it is linked dynamically, and a Keep has no libraries".to_owned(),
            build,
        ),
        (
            edited(16, &[2]),
            "it is linked at fixed addresses, and a Keep chooses where a program lies".to_owned(),
            build,
        ),
        (edited(18, &[183]), "it is not for x86-64".to_owned(), build),
        (
            good[..usize::try_from(end).unwrap() - 1].to_vec(),
            format!("it is cut short: a segment reaches until byte {end}, and the file has {}", end - 1),
            "build or download it again, whole",
        ),
        (
            edited(code + 4, &[7]),
            format!("its segment at {:#x} is writable and executable at once", word(code + 16)),
            build,
        ),
        (
            edited(constants + 16, &word(constants + 16).wrapping_sub(0x1000).to_le_bytes()),
            format!(
                "its segment at {:#x} overlaps the one before, or shares a page with it",
                word(constants + 16) - 0x1000
            ),
            build,
        ),
        (
            edited(data + 40, &(1_u64 << 40).to_le_bytes()),
            format!("its segment at {:#x} makes it larger than 1 GiB", word(data + 16)),
            build,
        ),
    ];
    for (file, error, hint) in faults {
        let dir = folder(&[("program", &file)]);
        for command in ["run", "pack"] {
            let told = format!("error: program is not a program that a Keep runs: {error}\nhint: {hint}\n");
            run(dir.path(), [command, "program"], Input::Nothing).assert(125, "", &told);
        }
    }
    let dir = folder(&[("program", &good)]);
    assert_eq!(run(dir.path(), ["pack", "program"], Input::Nothing).code(), 0, "control");
}

/// The layer says what it is, so that nobody takes it for WebAssembly.
#[test]
fn a_packed_program_has_its_media_type() {
    let dir = project("");
    let digest = run(dir.path(), ["pack", "--layout", "out"], Input::Nothing);
    let hex = digest.text().trim().strip_prefix("sha256:").unwrap().to_owned();
    let manifest = std::fs::read(dir.path().join("out/blobs/sha256").join(hex)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.donjon.program.v1+elf");
}
