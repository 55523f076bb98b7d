//! `cargo xtask …`: everything this repository checks about itself, as it runs in CI.
//!
//! | task | does |
//! |---|---|
//! | `ci` | all of the below that fit one run, cheapest first |
//! | `test` | every test of every workspace, summed in one closing line |
//! | `layers` | compares the dependencies with the picture of `ARCHITECTURE.md` |
//! | `deny` | licences, sources and bans; advisories where the network allows |
//! | `reproducible` | builds the guest a second time elsewhere and compares bytes |
//! | `fuzz` | hostile input for whatever reads across a border, a minute for each target |
//! | `wasm` | the verifier's tests as WebAssembly, under the Wasmtime that is in a Keep |
//! | `coverage` | the same with libFuzzer, which sees what is reached |
//! | `tcg` | programs in micro-VMs on a processor that QEMU interprets |
//! | `hostile` | a million lies of a hostile host, and shims without a check that it has to find |
//! | `mutants` | only the latter |
//! | `nightly` | `ci` and the lanes that are too long for it |
//!
//! Refuses to hide anything: each step says what runs and how long it took, a failure says which command repeats it,
//! and what could not be done is counted as skipped (`DONJON_REQUIRE=…` turns skips into failures).

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to people")]

mod call;
mod deny;
mod lanes;
mod layers;
mod mutants;
#[path = "../../guest/recipe.rs"]
#[allow(dead_code, reason = "a build script uses more of it")]
mod recipe;
mod reproducible;
mod suite;
mod tcg;
mod wasm;

use std::process::ExitCode;

use crate::call::{Failed, Repository};

const USAGE: &str = "usage: cargo xtask ci | test | layers | deny | reproducible | fuzz | coverage | wasm | tcg | hostile | mutants | nightly";

fn main() -> ExitCode {
    let repository = Repository::of_this_build();
    let tasks: Vec<String> = std::env::args().skip(1).collect();
    let result = match tasks.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => lanes::ci(&repository),
        ["test"] => suite::run(&repository, Vec::new(), false),
        ["layers"] => layers::run(&repository),
        ["deny"] => deny::run(&repository).map(|skips| skips.iter().for_each(|skip| println!("skipped: {skip}"))),
        ["reproducible"] => reproducible::run(&repository),
        ["fuzz"] => lanes::fuzz(&repository),
        ["wasm"] => suite::wasm(&repository),
        ["coverage"] => {
            lanes::coverage(&repository).map(|skip| skip.iter().for_each(|skip| println!("skipped: {skip}")))
        }
        ["tcg"] => tcg::run(&repository).map(|skip| skip.iter().for_each(|skip| println!("skipped: {skip}"))),
        ["hostile"] => lanes::hostile(&repository),
        ["mutants"] => mutants::run(&repository),
        ["nightly"] => lanes::nightly(&repository),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { what, why, repeat }) => {
            eprintln!("error: {what}: {why}");
            eprintln!("hint: repeat it alone with  {repeat}");
            ExitCode::FAILURE
        }
    }
}
