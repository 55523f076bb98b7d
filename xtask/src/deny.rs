//! Licences, sources and bans of everything in the lock files, by `cargo deny` and `deny.toml`.
//!
//! Advisories need a database from the network. Where it cannot be had, and where `cargo deny` is not installed, that is
//! a skip with its reason, never silence; `DONJON_REQUIRE=deny` and `DONJON_REQUIRE=advisories` make it a failure.

use crate::call::{Call, Failed, Repository, Workspace, required};

/// How to get the tool.
const INSTALL: &str = "cargo install --locked cargo-deny";

/// Checks all workspaces; gives back what could not be checked, and why.
pub(crate) fn run(repository: &Repository) -> Result<Vec<String>, Failed> {
    let probe = repository.cargo(Workspace::Root, &["deny", "--version"]);
    if probe.output("deny").is_err() {
        return skip("deny", format!("licences, sources and bans: cargo-deny is not installed ({INSTALL})"));
    }
    for workspace in Workspace::ALL {
        let what = ["bans", "licenses", "sources"];
        check(repository, workspace, &what, &[]).run(&format!("bans, licences and sources of {workspace}"))?;
    }
    let fetch = repository.cargo(Workspace::Root, &["deny", "fetch", "db"]);
    if let Err(failed) = fetch.output("advisory database") {
        let reason = failed.why.lines().last().unwrap_or_default().to_owned();
        return skip("advisories", format!("advisories: their database cannot be fetched: {reason}"));
    }
    for workspace in Workspace::ALL {
        check(repository, workspace, &["advisories"], &["--offline"]).run(&format!("advisories for {workspace}"))?;
    }
    Ok(Vec::new())
}

fn check(repository: &Repository, workspace: Workspace, what: &[&str], options: &[&str]) -> Call {
    let manifest = std::path::Path::new(workspace.folder()).join("Cargo.toml").display().to_string();
    let before = ["deny", "--locked", "--all-features", "--config", "deny.toml", "--manifest-path", &manifest];
    // The workspaces share one file, so what only another one has is not worth a warning.
    let quiet =
        ["license-not-encountered", "license-exception-not-encountered", "unused-wrapper", "advisory-not-detected"];
    let quiet = quiet.map(|code| ["--allow", code]).concat();
    repository.cargo(Workspace::Root, &[&before[..], options, &["check"], &quiet, what].concat())
}

/// A skip, or a failure where `DONJON_REQUIRE` names it.
fn skip(name: &str, why: String) -> Result<Vec<String>, Failed> {
    if required(name) {
        let repeat = format!("DONJON_REQUIRE={name} cargo xtask deny");
        return Err(Failed { what: format!("DONJON_REQUIRE names {name}"), why, repeat });
    }
    Ok(vec![why])
}
