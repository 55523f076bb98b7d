//! Builds the guest (what runs inside a Keep), by the recipe of `guest/recipe.rs`, and hands it to the crate as bytes.
//! `DONJON_GUEST=DIR` takes a prebuilt one, from a folder laid out as cargo's target directory.
//!
//! For a host that is not x86-64 Linux there is nothing to build: the crate compiles and says at run time that it
//! cannot start a Keep.

#[path = "../../guest/recipe.rs"]
mod recipe;

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    println!("cargo::rustc-check-cfg=cfg(guest)");
    if target("OS") != "linux" || target("ARCH") != "x86_64" {
        return ExitCode::SUCCESS;
    }
    println!("cargo::rustc-cfg=guest");
    let exec = recipe::Built {
        package: "exec",
        file: "exec",
        workspace: "guest",
        target: "x86_64-unknown-linux-musl",
        // It relocates itself when it starts. The short table of it saves reading 250 pages.
        flags: &["-Clink-arg=-Wl,-z,pack-relative-relocs"],
        prebuilt: "DONJON_GUEST",
    };
    let shim =
        recipe::Built { package: "shim", file: "shim", target: "x86_64-unknown-none", flags: recipe::SHIM, ..exec };
    let all = ["Cargo.toml", "Cargo.lock", "exec", "shim", "contracts"];
    let shim = recipe::embed(&shim, &all, "guest", "DONJON_SHIM");
    let exec = shim.and_then(|_| recipe::embed(&exec, &all, "guest", "DONJON_EXEC"));
    recipe::done(exec.and_then(|exec| name(&exec)))
}

/// Tells the crate a name for exec that another exec does not have.
fn name(exec: &Path) -> Result<(), String> {
    let bytes = std::fs::read(exec).map_err(|error| format!("cannot read {}: {error}", exec.display()))?;
    let mut hash = DefaultHasher::new();
    hash.write(&bytes);
    println!("cargo::rustc-env=DONJON_EXEC_NAME={:016x}-{}", hash.finish(), bytes.len());
    Ok(())
}
