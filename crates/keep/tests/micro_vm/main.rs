//! Programs that are not exec, in exec's place in a micro-VM: threads, and what they do to memory.
//!
//! Owns the running of `programs/`, which check themselves and say by their status how it went. `DONJON_ROUNDS=N` runs each so often.

#![cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(unused, reason = "there are no micro-VMs"))]
#![allow(clippy::print_stdout, reason = "what a test harness does")]

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use keep::backend::MicroVm;
use keep::{Backend, Image, Launch, RunError, Stdio};

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
    Program { name: "datagrams.rs", status: 42 },
    Program { name: "kicks.rs", status: 42 },
    Program { name: "signals.rs", status: 42 },
    Program { name: "pthreads.c", status: 42 },
];

fn main() -> ExitCode {
    if let Some(code) = keep::monitor() {
        return code;
    }
    if !support::micro_vms("programs in exec's place") {
        return ExitCode::SUCCESS;
    }
    let rounds = std::env::var("DONJON_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |program: &&Program| wanted.is_empty() || wanted.iter().any(|name| program.name.contains(name));
    let mut failed = 0_usize;
    let mut passed = 0_usize;
    let mut ignored = 0_usize;
    for Program { name, status } in PROGRAMS.iter().filter(chosen) {
        let elf = match support::build(&format!("micro_vm/programs/{name}"), &[]) {
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
    support::result(passed, failed, ignored)
}

/// How the program ended.
fn run(elf: &'static [u8]) -> String {
    let launch = match Launch::new(Image::of(elf), support::brief(), None) {
        Ok(launch) => launch,
        Err(error) => return error.to_string(),
    };
    match MicroVm.start(&launch, support::host(Stdio::Inherit)).map(keep::Running::wait) {
        Ok(Err(RunError::Silent(status))) => status,
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}
