//! Which steps make a lane, in which order: cheap and telling first, the tests last, because their closing line is the
//! lane's result.

use crate::call::{Call, Failed, Repository, Workspace, required};
use crate::{deny, layers, mutants, reproducible, suite, tcg};

/// What every change must pass.
pub(crate) fn ci(repository: &Repository) -> Result<(), Failed> {
    let mut skips = checks(repository)?;
    if required("reproducible") {
        reproducible::run(repository)?;
    } else {
        // Two more builds of the guest. The lane itself is tested in every run, on a guest of a few lines.
        skips.push("the whole guest built twice: `cargo xtask nightly` does it".to_owned());
    }
    suite::run(repository, skips, false)
}

/// `ci`, and what takes too long for it.
pub(crate) fn nightly(repository: &Repository) -> Result<(), Failed> {
    let mut skips = checks(repository)?;
    reproducible::run(repository)?;
    fuzz(repository)?;
    skips.extend(coverage(repository)?);
    flips(repository)?;
    skips.extend(tcg::run(repository)?);
    hostile(repository)?;
    suite::run(repository, skips, true)
}

/// Hostile input from a new seed; the short run from a known one is among the tests.
pub(crate) fn fuzz(repository: &Repository) -> Result<(), Failed> {
    let fuzz = ["run", "--locked", "--profile", "fuzz", "--package", "fuzz", "--", "all", "--seconds", "60"];
    repository.cargo(Workspace::Root, &fuzz).run("hostile input, a minute for each target")
}

/// The same targets with a driver that sees what they reach, libFuzzer; gives back why it could not.
pub(crate) fn coverage(repository: &Repository) -> Result<Option<String>, Failed> {
    // What cargo-fuzz gives rustc too: a counter in every branch, and what comparisons compare.
    const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                         -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    if Call::new("c++", repository.root()).arguments(&["--version"]).output("a compiler of C++").is_err() {
        let why = "coverage: libFuzzer is C++ (apt-get install g++)".to_owned();
        let failed = |why| Failed { what: "coverage".to_owned(), why, repeat: "cargo xtask coverage".to_owned() };
        return if required("coverage") { Err(failed(why)) } else { Ok(Some(why)) };
    }
    let (workspace, target) = (repository.root().join("fuzz/coverage"), repository.target().join("coverage"));
    let build = Call::new("cargo", &workspace).arguments(&["build", "--release", "--target", TRIPLE]);
    build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", FLAGS).run("targets with counters")?;
    let corpus = target.join("corpus");
    let folder = corpus.to_string_lossy().into_owned();
    let seeds = ["run", "--locked", "--profile", "fuzz", "--package", "fuzz", "--", "all", "--corpus", &folder];
    repository.cargo(Workspace::Root, &seeds).run("seeds")?;
    let program = target.join(TRIPLE).join("release/coverage");
    let unread = |error: std::io::Error| Failed {
        what: "seeds".to_owned(),
        why: format!("cannot read {folder}: {error}"),
        repeat: "cargo xtask coverage".to_owned(),
    };
    for entry in std::fs::read_dir(&corpus).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        // What is found is written to the folder it runs in.
        let limits = ["-max_total_time=60", "-max_len=140000", "-timeout=5", "-rss_limit_mb=1024", "-verbosity=0"];
        let run = Call::new(&program, &target).arguments(&limits).arguments(&[corpus.join(&name)]);
        let what = format!("{} with counters", name.to_string_lossy());
        run.env("DONJON_TARGET", name).run(&what)?;
    }
    Ok(None)
}

/// Each bit of recorded quotes and reports, of their collateral, and of what Azure wraps around; among the tests are some.
fn flips(repository: &Repository) -> Result<(), Failed> {
    let package = ["test", "--locked", "--release", "--package", "evidence"];
    let tests = ["--test", "dcap", "--test", "snp", "--test", "azure", "every_bit"];
    let test = [&package[..], &tests].concat();
    repository.cargo(Workspace::Root, &test).env("DONJON_FLIPS", "1").run("every bit of quotes, reports and collateral")
}

/// A million lies of a hostile host, on both kinds of micro-VM, and the mutants that show that it would notice.
pub(crate) fn hostile(repository: &Repository) -> Result<(), Failed> {
    let test = ["test", "--locked", "--release", "--package", "keep", "--test", "hostile", "--"];
    let lies = |more: &[&str]| repository.cargo(Workspace::Root, &[&test[..], more].concat());
    lies(&["--all-cells", "--lies", "1000000"]).run("a million lies")?;
    lies(&["--all-cells", "--firmware", "--lies", "100000"]).run("lies on simulated firmware")?;
    mutants::run(repository)
}

/// Everything but the tests; gives back what could not be checked.
fn checks(repository: &Repository) -> Result<Vec<String>, Failed> {
    for workspace in Workspace::ALL {
        repository.cargo(workspace, &["fmt", "--all", "--check"]).run(&format!("format of {workspace}"))?;
    }
    layers::run(repository)?;
    let skips = deny::run(repository)?;

    for workspace in Workspace::ALL {
        let clippy = ["clippy", "--locked", "--workspace", "--all-targets"];
        // In the root the features are those of the product, and some tests are run by name only.
        let more: &[&str] = match workspace {
            Workspace::Root => &["--test", "*"],
            Workspace::Guest => &["--all-features"],
            Workspace::Programs => &["--target", "wasm32-wasip2"],
            // Each target has a part of its own.
            Workspace::Sdk => &["--target", "wasm32-wasip1", "--target", "wasm32-wasip2"],
        };
        // In the root this also builds guest and programs, which keep and donjon embed.
        let call = repository.cargo(workspace, &[&clippy[..], more, &["--", "-D", "warnings"]].concat());
        call.run(&format!("clippy of {workspace}"))?;
    }
    for workspace in [Workspace::Root, Workspace::Guest, Workspace::Sdk] {
        let more: &[&str] = if workspace == Workspace::Guest { &["--all-features"] } else { &[] };
        let call = repository.cargo(workspace, &[&["doc", "--locked", "--workspace", "--no-deps"][..], more].concat());
        call.env("RUSTDOCFLAGS", "-D warnings").run(&format!("documentation of {workspace}"))?;
    }

    // What promises to compile without an operating system, and the verifier for browsers.
    let contracts = ["-p", "gate", "-p", "workload", "-p", "identity"];
    let bare = ["check", "--locked", "--target", "x86_64-unknown-none"];
    repository.cargo(Workspace::Guest, &[&bare[..], &contracts].concat()).run("contracts without std")?;
    let shim = ["clippy", "--locked", "--target", "x86_64-unknown-none", "-p", "shim", "--", "-D", "warnings"];
    repository.cargo(Workspace::Guest, &shim).run("clippy of the shim where it runs")?;
    let wasm = ["check", "--locked", "-p", "evidence", "--no-default-features", "--target", "wasm32-wasip1"];
    repository.cargo(Workspace::Root, &wasm).run("evidence for WebAssembly")?;
    // With its issuing core.
    let core = ["clippy", "--locked", "-p", "steward-component", "--target", "wasm32-wasip2", "--", "-D", "warnings"];
    repository.cargo(Workspace::Root, &core).run("the Steward as a component")?;
    // Where no Keep can run the program is to say so, not to fail to build.
    let elsewhere = ["check", "--locked", "-p", "keep", "--target", "aarch64-apple-darwin"];
    repository.cargo(Workspace::Root, &elsewhere).run("keep on a host without Keeps")?;
    Ok(skips)
}
