//! Nothing stays behind: however `donjon` ends, the Keep's process ends with it.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{Form, donjon, eventually, folder, probe, read, skip, tell, wait, wat};

/// A Keep whose program waits for ever, and the processes below it.
struct Waiting {
    donjon: Child,
    below: Vec<u32>,
    /// Held open, as a terminal would.
    _stdout: ChildStdout,
}

impl Waiting {
    /// Started, and known to have reached the program: it has copied a byte.
    fn start(form: Form) -> Self {
        let probe = probe(form);
        let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "cat"]);
        let mut donjon = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(donjon.stdin.as_mut().unwrap(), b"x").unwrap();
        let (stdout, _) = read(donjon.stdout.take().unwrap(), 1);
        let below = children(donjon.id());
        assert!(!below.is_empty(), "the Keep is a process of its own");
        assert!(below.iter().all(|pid| runs(*pid)));
        Self { donjon, below, _stdout: stdout }
    }

    fn nothing_is_left(&self) {
        for pid in &self.below {
            eventually("the Keep's process is gone", || !runs(*pid));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        _ = self.donjon.kill();
        _ = self.donjon.wait();
    }
}

#[test]
fn a_killed_donjon_leaves_no_keep() {
    killed(Form::Module);
}

pub(crate) fn killed(form: Form) {
    let mut waiting = Waiting::start(form);
    waiting.donjon.kill().unwrap();
    assert_eq!(wait(&mut waiting.donjon).signal(), Some(9));
    waiting.nothing_is_left();
}

#[test]
fn a_signalled_donjon_leaves_no_keep() {
    signalled(Form::Module);
}

pub(crate) fn signalled(form: Form) {
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        if name == "HUP" && is_ignored(number) {
            // Under nohup(1), which is passed on: then a donjon goes on too.
            skip("signals", &format!("SIG{name} is ignored in this process"));
            continue;
        }
        let mut waiting = Waiting::start(form);
        tell(&waiting.donjon, name);
        let status = wait(&mut waiting.donjon);
        if name == "HUP" {
            assert_eq!(status.signal(), Some(number), "{status}");
        } else {
            // The Keep is told, and ends as a program does under a shell.
            assert_eq!(status.code(), Some(128 + number), "{name}: {status}");
        }
        waiting.nothing_is_left();
    }
}

/// A program that computes may not hear the first.
#[test]
fn a_second_signal_ends_what_did_not_hear_the_first() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\01\00\00\00")
        (data (i32.const 16) "x")
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
            (loop (br 0))))"#;
    let dir = folder(&[("main.wasm", &wat(text))]);
    for (name, status) in [("TERM", 143), ("INT", 130)] {
        let mut donjon = donjon(dir.path(), ["run", "-q", "main.wasm"]).stdout(Stdio::piped()).spawn().unwrap();
        let (_stdout, _) = read(donjon.stdout.take().unwrap(), 1);
        let below = children(donjon.id());
        assert!(!below.is_empty(), "the Keep is a process of its own");
        // Two that come at once are one.
        eventually("it ends", || {
            if donjon.try_wait().unwrap().is_none() {
                tell(&donjon, name);
            }
            donjon.try_wait().unwrap().is_some()
        });
        assert_eq!(wait(&mut donjon).code(), Some(status), "{name}");
        for pid in below {
            eventually("the Keep's process is gone", || !runs(pid));
        }
    }
}

/// Whether this process, and so whom it starts, does not hear the signal (proc_pid_status(5)).
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() >> (signal - 1) & 1 == 1
}

/// The Keep killed from outside is not mistaken for a program that ended.
#[test]
fn a_killed_keep_is_a_failure_of_donjon() {
    killed_from_outside(Form::Module);
}

pub(crate) fn killed_from_outside(form: Form) {
    let probe = probe(form);
    let mut command = donjon(Path::new("/"), ["run", "-q", probe.to_str().unwrap(), "cat"]);
    let mut donjon = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(donjon.stdin.as_mut().unwrap(), b"x").unwrap();
    let (_stdout, _) = read(donjon.stdout.take().unwrap(), 1);
    for pid in children(donjon.id()) {
        assert!(Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).status().unwrap().success());
    }
    let status = wait(&mut donjon);
    let mut said = String::new();
    donjon.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(125), "{said}");
    assert_eq!(said, "error: the Keep did not end by itself: the Keep ended without an outcome: signal: 9 (SIGKILL)\n");
}

/// The processes whose parent is `pid`, from the fourth field of `/proc/*/stat` (proc_pid_stat(5)).
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Alive: there, and not a zombie that waits for whoever inherited it.
fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have anything in it.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
