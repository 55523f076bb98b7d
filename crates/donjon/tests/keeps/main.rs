//! Keeps as a host process of any kind starts them, by `keep` and without the command: what a program can ask of its
//! platform ([`gate`]), what a Keep refuses to run ([`refused`]), and that nothing stays behind, however many there were
//! ([`many`]) and however they ended ([`ends`]).
//!
//! Owns its `main`, because monitors and hosts are this program, started once more. With `DONJON_ROUNDS=N`
//! what is about chance or growth is done N times as often; `cargo xtask nightly` does so.

#![cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(unused, reason = "there are no Keeps"))]
#![allow(clippy::print_stdout, reason = "what a test harness does")]
#![allow(clippy::print_stderr, reason = "how a Keep ended is talk")]

mod census;
mod ends;
mod gate;
mod host;
mod many;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use std::panic::catch_unwind;
use std::process::ExitCode;

/// By name.
type Test = (&'static str, fn());

const TESTS: &[&[Test]] = &[gate::TESTS, refused::TESTS, ends::TESTS, many::TESTS];

/// How often something is done that is done `short` times in one round.
fn rounds(short: usize) -> usize {
    short * std::env::var("DONJON_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

fn main() -> ExitCode {
    if let Some(code) = keep::monitor().or_else(host::main) {
        return code;
    }
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return ExitCode::SUCCESS;
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        println!("skipped: kvm: Keeps in micro-VMs: /dev/kvm does not open: {error}");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |(name, _): &&Test| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()));
    let (mut passed, mut failed) = (0_usize, 0_usize);
    // One after the other: some of them count what this process has.
    for (name, test) in TESTS.iter().copied().flatten().filter(chosen) {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        *if ok { &mut passed } else { &mut failed } += 1;
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::from(u8::from(failed != 0))
}
