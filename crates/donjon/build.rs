//! Builds the service that `donjon demo` deploys (`guest/programs/greeter`), by the recipe of `guest/recipe.rs`, and
//! hands its path to the crate. `DONJON_PROGRAMS=DIR` takes a prebuilt one, from a folder laid out as cargo's target
//! directory.
//!
//! It is an ordinary workload, delivered and checked as any other: nothing of it is part of what is measured.

#[path = "../../guest/recipe.rs"]
mod recipe;

use std::process::ExitCode;

fn main() -> ExitCode {
    let greeter = recipe::Built {
        package: "greeter",
        file: "greeter.wasm",
        workspace: "guest/programs",
        target: "wasm32-wasip2",
        flags: &[],
        prebuilt: "DONJON_PROGRAMS",
    };
    // The workspace's probe is a member too, but only tests use it, and they build it.
    let sources = ["Cargo.toml", "Cargo.lock", "greeter"];
    recipe::done(recipe::embed(&greeter, &sources, "programs", "DONJON_GREETER").map(drop))
}
