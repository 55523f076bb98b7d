//! The hostile host against a program that checks itself (`victim.rs`), in exec's place in a micro-VM: whatever the host
//! says, the program is right, gets an error, or its Keep ends.
//!
//! `--lies N` says how many lies are told at least (without it there are three long runs and twenty short ones), `--seed S`
//! from which seed on, `--firmware` on simulated SEV-SNP; `--shim FILE` attacks another shim, `--aim TEXT` runs only the plans
//! that aim at a cell of that name, `--stop` ends at the first finding, `--all-cells` goes on until every cell of the table
//! was hit and fails if one was not.

#![cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(unused, reason = "there are no micro-VMs"))]
#![allow(clippy::print_stdout, reason = "what a test harness does")]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod campaign;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = keep::monitor() {
        return code;
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    return campaign::main();
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    ExitCode::SUCCESS
}
