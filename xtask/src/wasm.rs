//! The verifier as WebAssembly: its own tests, with the provider that is Rust alone, under the Wasmtime that is in a Keep. The Steward's
//! issuing core with that provider, on this machine.
//!
//! Owns how they are built and run: `wasm32-wasip1` by cargo, with `guest/exec/examples/preview1.rs` as runner, which opens
//! the repository and the folder of real evidence for reading. First both providers are asked the same on this machine,
//! where both can be. Refuses nothing by itself: without the target it says so, and that is a skip.

use std::path::{Path, PathBuf};

use crate::call::{Call, Failed, Repository, Workspace, required};

const TARGET: &str = "wasm32-wasip1";

/// What is to run, or why it cannot here.
pub(crate) fn tests(repository: &Repository) -> Result<Result<Vec<(String, Call)>, String>, Failed> {
    let libraries = Call::new("rustc", repository.root()).arguments(&["--print", "target-libdir", "--target", TARGET]);
    let output = libraries.output("the target of WebAssembly")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !folder.is_dir() {
        let why = format!("wasm: the verifier as WebAssembly: wants the target: rustup target add {TARGET}");
        return if required("wasm") { Err(libraries.failed("the target of WebAssembly", why)) } else { Ok(Err(why)) };
    }
    // Its tests have built all but this example already.
    let runner = ["build", "--locked", "--package", "exec", "--example", "preview1"];
    repository.cargo(Workspace::Guest, &runner).run("Wasmtime, as in a Keep")?;
    let runner = repository.target().join("guest-host/debug/examples/preview1");

    let both = ["test", "--locked", "--package", "evidence", "--features", "rustcrypto", "--test", "providers"];
    let both = repository.cargo(Workspace::Root, &[&both[..], &["--", "--show-output"]].concat());

    let core = ["test", "--locked", "--package", "steward", "--no-default-features", "--features", "rustcrypto"];
    let core = repository.cargo(Workspace::Root, &[&core[..], &["--lib", "--tests", "--", "--show-output"]].concat());

    let runner = format!("target.{TARGET}.runner=[{:?}]", runner.to_string_lossy());
    let test = ["test", "--locked", "--no-fail-fast", "--package", "evidence", "--no-default-features"];
    let more = ["--features", "rustcrypto", "--target", TARGET, "--config", &runner, "--lib", "--tests"];
    let wasm = repository.cargo(Workspace::Root, &[&test[..], &more, &["--", "--show-output"]].concat());
    let evidence = evidence(repository.root());
    let folders = std::env::join_paths([repository.root(), &evidence].into_iter().filter(|folder| folder.is_dir()));
    let wasm = match folders {
        Ok(folders) => wasm.env("DONJON_FOLDERS", folders),
        Err(error) => return Err(wasm.failed("the verifier as WebAssembly", error)),
    };
    // Cranelift takes longer for what is not optimized than rustc for optimizing it.
    let wasm = wasm.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
    let wasm = wasm.env("DONJON_EVIDENCE", evidence);
    let calls = [
        ("two providers of signatures", both),
        ("the Steward's issuing core in Rust alone", core),
        ("the verifier as WebAssembly", wasm),
    ];
    Ok(Ok(calls.map(|(name, call)| (name.to_owned(), call)).into()))
}

/// Where real evidence lies, if it does: as its tests say it, but without a way out of a folder that is open.
fn evidence(root: &Path) -> PathBuf {
    let named = std::env::var_os("DONJON_EVIDENCE").map(PathBuf::from);
    named.unwrap_or_else(|| root.parent().unwrap_or(root).join("shared/evidence"))
}
