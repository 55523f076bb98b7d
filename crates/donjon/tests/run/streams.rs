//! What goes in and out: arguments, environment, and the standard streams of any length, however they are connected.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use workload::Digest;

use crate::support::{BACKEND, Form, Input, donjon, finish, folder, probe, read, run, skip, wait};

const MIB: usize = 1024 * 1024;

/// A folder with a `Donjon.toml` for the probe.
fn project(form: Form, rest: &str) -> tempfile::TempDir {
    let program = probe(form);
    folder(&[("Donjon.toml", format!("program = {:?}\n{rest}", program.to_str().unwrap()).as_bytes())])
}

#[test]
pub(crate) fn arguments_of_the_manifest_come_first() {
    for form in Form::BOTH {
        let dir = project(form, r#"args = ["args", "fixed", "a b"]"#);
        run(dir.path(), ["run", "-q", ".", "given", "", "ü"], Input::Nothing).assert(0, "fixed\na b\ngiven\n\nü\n", "");
    }
}

/// Everything after the program belongs to the program, whatever it looks like.
#[test]
fn options_after_the_program_are_the_programs() {
    let dir = project(Form::Module, r#"args = ["args"]"#);
    let args = ["run", "-q", ".", "x", "--help", "-q", "--env", "--outcome=y", "--", "-"];
    run(dir.path(), args, Input::Nothing).assert(0, "x\n--help\n-q\n--env\n--outcome=y\n--\n-\n", "");
    for first in ["--help", "-q", "-h", "--env", "--version"] {
        let ran = run(dir.path(), ["run", "-q", ".", first, "x"], Input::Nothing);
        ran.assert(0, &format!("{first}\nx\n"), "");
    }
}

/// What the publisher fixes cannot be changed by the launcher, and nothing of the host leaks in.
#[test]
pub(crate) fn the_environment_of_the_manifest_wins() {
    for form in Form::BOTH {
        let dir = project(form, "args = [\"env\"]\n[env]\nFIXED = \"by the manifest\"\nEMPTY = \"\"\n");
        let args = ["run", "-q", "--env", "FIXED=by the launcher", "--env", "GIVEN=a=b c", "--env", "ZERO=", "."];
        let mut command = donjon(dir.path(), args);
        command.env("SECRET_OF_THE_HOST", "1");
        finish(command, Input::Nothing).assert(0, "EMPTY=\nFIXED=by the manifest\nGIVEN=a=b c\nZERO=\n", "");

        let control = project(form, "args = [\"env\"]\n");
        let args = ["run", "-q", "--env", "FIXED=by the launcher", "."];
        run(control.path(), args, Input::Nothing).assert(0, "FIXED=by the launcher\n", "");
    }
}

/// A value of the host reaches the program by the name that the manifest says, and no other does.
#[test]
pub(crate) fn the_manifest_takes_variables_of_the_host() {
    let env = "args = [\"env\"]\n[env]\nA = { host = \"HOST_A\" }\nB = { host = \"HOST_B\", default = \"b\" }\n";
    for form in [Form::Module, Form::Component, Form::Native] {
        let dir = project(form, env);
        let ran = |said: &[&str], host: &[(&str, &str)]| {
            let mut command = donjon(dir.path(), [&["run", "-q"], said, &["."]].concat());
            command.env("SECRET_OF_THE_HOST", "1").env("A", "by its own name").envs(host.iter().copied());
            finish(command, Input::Nothing)
        };
        ran(&[], &[("HOST_A", "1"), ("HOST_B", "")]).assert(0, "A=1\nB=\n", "");
        ran(&[], &[("HOST_A", "1")]).assert(0, "A=1\nB=b\n", "");
        ran(&["--env", "A=said", "--env", "B=too"], &[("HOST_A", "1"), ("HOST_B", "2")]).assert(
            0,
            "A=said\nB=too\n",
            "",
        );
        ran(&[], &[("HOST_B", "2")]).assert(
            125,
            "",
            "error: the manifest wants the variable `A` from the host's `HOST_A`, and the launcher gave none [env.absent]\n\
             hint: launch with `--env A=VALUE`, or give it a `default` in the manifest\n",
        );
    }
    // Whoever runs the program of another is told.
    let dir = project(Form::Module, env);
    let mut command = donjon(dir.path(), ["run", "--env", "B=said"]);
    command.env("HOST_A", "1").env("HOST_B", "2");
    let ran = finish(command, Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (0, "A=1\nB=said\n"));
    assert!(ran.stderr.contains("donjon: the program gets `HOST_A` of this host, as `A`\n"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("HOST_B"), "{}", ran.stderr);
}

/// There is no certificate under `run`, and so nothing is asked of it.
#[test]
pub(crate) fn names_of_a_certificate_are_not_asked_for_without_a_steward() {
    let dir = project(Form::Module, "args = [\"args\", \"x\"]\n[identity]\nnames = [\"shop.example.org\"]\n");
    run(dir.path(), ["run", "-q"], Input::Nothing).assert(0, "x\n", "");
}

#[test]
pub(crate) fn the_manifest_can_close_the_streams() {
    for form in Form::BOTH {
        let cat = |rest: &str| {
            let dir = project(form, &format!("args = [\"cat\"]\n{rest}"));
            run(dir.path(), ["run", "-q", "."], Input::Bytes(b"hello".to_vec()))
        };
        cat("").assert(0, "hello", "5\n");
        cat("stdin = \"null\"").assert(0, "", "0\n");
        cat("stdout = \"null\"").assert(0, "", "5\n");
        cat("stderr = \"null\"").assert(0, "hello", "");
    }
}

/// Numbers that do not repeat, so that a lost or doubled piece shows.
struct Numbers(u64);

impl Numbers {
    fn fill(&mut self, room: &mut [u8]) {
        for eight in room.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            eight.copy_from_slice(&self.0.to_le_bytes());
        }
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[test]
fn stdin_of_100_mib_pipes_through() {
    let mut bytes = vec![0; 100 * MIB];
    Numbers(SEED).fill(&mut bytes);
    let digest = Digest::of(&bytes);
    let dir = folder(&[("input", &bytes)]);
    drop(bytes);
    for form in Form::BOTH {
        let probe = probe(form);
        let args = ["run", "-q", probe.to_str().unwrap(), "cat"];
        let file = || dir.path().join("input");
        for input in [Input::Bytes(std::fs::read(file()).unwrap()), Input::File(file())] {
            let ran = run(dir.path(), args, input);
            assert_eq!((ran.code(), ran.stderr.as_str()), (0, "104857600\n"), "{form:?}");
            assert_eq!((ran.stdout.len(), Digest::of(&ran.stdout)), (100 * MIB, digest), "{form:?}");
        }
    }
}

/// More than a Keep has memory for. In a micro-VM whose ring 0 is interpreted it takes minutes.
#[test]
fn stdin_of_a_gibibyte_pipes_through() {
    if BACKEND != "nil" && std::env::var_os("DONJON_LONG").is_none() {
        return skip("long", "1 GiB through a micro-VM: DONJON_LONG=1 does it");
    }
    let probe = probe(Form::Module);
    let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = thread::spawn(move || {
        let (mut numbers, mut room) = (Numbers(SEED), vec![0; MIB]);
        for _ in 0..1024 {
            numbers.fill(&mut room);
            to.write_all(&room).unwrap();
        }
    });
    let (mut numbers, mut expected, mut found) = (Numbers(SEED), vec![0; MIB], vec![0; MIB]);
    for part in 0..1024 {
        numbers.fill(&mut expected);
        from.read_exact(&mut found).unwrap();
        assert!(found == expected, "in MiB {part}");
    }
    assert_eq!(from.read(&mut found).unwrap(), 0, "nothing more");
    writer.join().unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "1073741824\n");
}

/// As many as a manifest of this size has, and a brief: each arrives, once.
#[test]
fn thousands_of_variables_arrive() {
    let fixed: Vec<_> = (0..5000).map(|number| format!("FIXED_{number:05} = \"{number}\"\n")).collect();
    for form in Form::BOTH {
        let dir = project(form, &format!("args = [\"env\"]\n[env]\n{}", fixed.concat()));
        let given: Vec<_> = (0..2000).map(|number| format!("GIVEN_{number:05}={number}")).collect();
        let options = given.iter().flat_map(|variable| ["--env", variable]);
        let args: Vec<&str> = ["run", "-q"].into_iter().chain(options).chain(["."]).collect();
        let fixed = (0..5000).map(|number| format!("FIXED_{number:05}={number}\n"));
        let expected: String = fixed.chain(given.iter().map(|variable| format!("{variable}\n"))).collect();
        run(dir.path(), args, Input::Nothing).assert(0, &expected, "");
    }
}

#[test]
fn empty_stdin_is_the_end_at_once() {
    let dir = folder(&[("empty", b"")]);
    for form in Form::BOTH {
        let probe = probe(form);
        let args = ["run", "-q", probe.to_str().unwrap(), "cat"];
        for input in [Input::Nothing, Input::Bytes(Vec::new()), Input::File(dir.path().join("empty"))] {
            run(dir.path(), args, input).assert(0, "", "0\n");
        }
    }
}

/// A pipe that stays open holds up nobody who does not read it.
#[test]
fn a_program_that_does_not_read_stdin_ends() {
    for form in Form::BOTH {
        let probe = probe(form);
        let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "exit", "0"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let held = child.stdin.take();
        assert_eq!(wait(&mut child).code(), Some(0), "{form:?}");
        drop(held);
    }
}

/// Input that arrives piece by piece is passed on as it arrives, not when it is complete.
#[test]
fn a_conversation_flows() {
    for form in Form::BOTH {
        let probe = probe(form);
        let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        for word in ["one\n", "two\n", "three\n"] {
            to.write_all(word.as_bytes()).unwrap();
            let (again, back) = read(from, word.len());
            from = again;
            assert_eq!(back, word.as_bytes(), "{form:?}");
        }
        drop(to);
        assert_eq!(wait(&mut child).code(), Some(0), "{form:?}");
    }
}

/// `donjon run … | head`: who writes to nobody ends with an error of its own.
#[test]
fn a_reader_that_leaves_ends_the_program() {
    for form in Form::BOTH {
        let probe = probe(form);
        let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        let writer = thread::spawn(move || while to.write_all(&[b'x'; 4096]).is_ok() {});
        let (from, _) = read(child.stdout.take().unwrap(), 1000);
        drop(from);
        let status = wait(&mut child);
        writer.join().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(1), "{form:?}: {said}");
        assert!(said.starts_with("Error: "), "the program's own words, not a trap: {said}");
    }
}

/// Output to a device that is full is the program's error, not a hang and not a success.
#[test]
fn a_full_device_is_an_error_of_the_program() {
    for form in Form::BOTH {
        let probe = probe(form);
        let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "args", "x"]);
        command
            .stdin(Stdio::null())
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .stderr(Stdio::null());
        assert_ne!(wait(&mut command.spawn().unwrap()).code(), Some(0), "{form:?}");
    }
}
