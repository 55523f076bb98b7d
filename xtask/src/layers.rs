//! The picture of `ARCHITECTURE.md` as a table, compared with what `cargo metadata` says about each workspace.
//!
//! Owns who may know whom. A crate that is not in the table is refused until somebody gives it a place; so is an edge
//! that the picture does not have, a registry crate that has one of our names, a path out of the guest (it would change
//! the measured bytes), and code with input, output or a clock in a contract.
//!
//! Invariant: a room uses only rooms that stand before it in [`ROOMS`], so there is no way back up.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::call::{Failed, Repository, Workspace, step};

/// What a room may use, and which sentence of the picture says so.
struct Room {
    name: &'static str,
    /// In normal and build dependencies.
    uses: &'static [&'static str],
    /// In dev-dependencies, besides.
    tests_use: &'static [&'static str],
    rule: &'static str,
}

const fn room(
    name: &'static str,
    uses: &'static [&'static str],
    tests_use: &'static [&'static str],
    rule: &'static str,
) -> Room {
    Room { name, uses, tests_use, rule }
}

const CONTRACT: &str = "a contract knows no sibling";
const GUEST: &str = "the guest knows gate, workload and identity only: never the verifier, never a layer above";
const SERVICE: &str =
    "keep, steward and drawbridge do not know each other; of them only keep uses silicon outside tests";
const SHARED: &str = "what services share knows none of them";
const PROGRAM: &str = "a workload is anybody's program: it knows WASI or Linux, and nothing of ours";
const LIBRARY: &str = "the library for programs knows spec/wit, and nothing of ours";
const COMPONENT: &str =
    "the Steward in a Keep is the issuing core behind the library for programs, and nothing of the host";
const TOOL: &str = "tools and tests may see everything, and nothing sees them";
const EVERYTHING: &[&str] = &[
    "gate",
    "workload",
    "identity",
    "evidence",
    "silicon",
    "clients",
    "hsm",
    "keep",
    "steward",
    "drawbridge",
    "warden",
    "donjon",
];

/// Every crate of ours, lowest first.
const ROOMS: &[Room] = &[
    room("gate", &[], &[], CONTRACT),
    room("workload", &[], &[], CONTRACT),
    room("identity", &["workload"], &[], "identity may use workload's digests and carries evidence as opaque bytes"),
    room("evidence", &[], &[], CONTRACT),
    room("silicon", &["evidence"], &[], "silicon may use evidence's formats, nothing else"),
    room("shim", &["gate", "workload", "identity"], &[], GUEST),
    room("exec", &["gate", "workload", "identity"], &[], GUEST),
    room("clients", &[], &[], SHARED),
    room("hsm", &["identity"], &[], SHARED),
    room("keep", &["gate", "workload", "identity", "evidence", "silicon"], &[], SERVICE),
    room("steward", &["workload", "identity", "evidence", "clients", "hsm"], &["silicon"], SERVICE),
    room("drawbridge", &["workload", "identity", "evidence", "clients", "hsm"], &["silicon"], SERVICE),
    room(
        "warden",
        &["gate", "workload", "identity", "evidence", "keep", "steward", "drawbridge"],
        &["silicon"],
        "nothing but keep uses silicon outside tests",
    ),
    room(
        "donjon",
        &["gate", "workload", "identity", "evidence", "silicon", "keep", "steward", "drawbridge", "warden"],
        &[],
        "the command line uses everything: its demo sets up the simulated vendor and plays the attackers (ADR 0001)",
    ),
    room("greeter", &[], &[], PROGRAM),
    room("rogue", &[], &[], PROGRAM),
    room("probe", &[], &[], PROGRAM),
    room("meter", &[], &[], PROGRAM),
    room("threads", &[], &[], PROGRAM),
    room("tnetennba", &[], &[], PROGRAM),
    room("donjon-keep", &[], &[], LIBRARY),
    room("attested-rust", &["donjon-keep"], &[], LIBRARY),
    room("steward-component", &["identity", "steward", "donjon-keep"], &[], COMPONENT),
    room("testkit", EVERYTHING, &[], TOOL),
    room("tests", EVERYTHING, &["testkit"], TOOL),
    room("bench", EVERYTHING, &["testkit"], TOOL),
    room("bench-drawbridge", EVERYTHING, &["testkit"], TOOL),
    room("bench-steward", EVERYTHING, &["testkit"], TOOL),
    room("bench-verify", EVERYTHING, &["testkit"], TOOL),
    room("fuzz", EVERYTHING, &["testkit"], TOOL),
    room("xtask", EVERYTHING, &[], TOOL),
];

/// Crates of others that some rooms do without.
struct Barred {
    rooms: &'static [&'static str],
    crates: &'static [&'static str],
    rule: &'static str,
}

const BARRED: &[Barred] = &[
    Barred {
        rooms: &["gate", "workload", "identity", "evidence", "silicon"],
        crates: &[
            "tokio",
            "hyper",
            "axum",
            "rustix",
            "libc",
            "object_store",
            "rustls",
            "tracing",
            "time",
            "chrono",
            "getrandom",
        ],
        rule: "contracts have no input, output or clock",
    },
    Barred {
        rooms: &["exec", "shim"],
        crates: &["axum", "clap", "toml", "reqwest", "openidconnect"],
        rule: "what the workload does not use is not in the Keep",
    },
];

/// Packages that a whole workspace does without, however far down.
const LOCKED_OUT: &[(&str, &str, &str)] = &[
    ("Cargo.lock", "wasmtime", "the host does not link Wasmtime: exec is built once and run everywhere"),
    ("guest/Cargo.lock", "axum", "exec has no HTTP framework beyond hyper"),
    ("guest/Cargo.lock", "clap", "exec has no CLI parser"),
];

/// Checks all workspaces.
pub(crate) fn run(repository: &Repository) -> Result<(), Failed> {
    step("layers", || {
        let failed = |why: String| Failed { what: "layers".to_owned(), why, repeat: "cargo xtask layers".to_owned() };
        let mut violations = Vec::new();
        for workspace in Workspace::ALL {
            violations.extend(judge(&metadata(repository, workspace)?, &repository.root().join("guest")));
        }
        for (file, package, rule) in LOCKED_OUT {
            let lock =
                std::fs::read_to_string(repository.root().join(file)).map_err(|e| failed(format!("{file}: {e}")))?;
            if has_package(&lock, package) {
                violations.push(Violation(format!("{file} has {package}: {rule}")));
            }
        }
        if violations.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = violations.iter().map(|violation| format!("\n  {violation}")).collect();
        Err(failed(format!("{} not in the picture of ARCHITECTURE.md{}", violations.len(), list.concat())))
    })
}

/// What `cargo metadata` says, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Clone, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a path.
    source: Option<String>,
    /// `None` for normal, else `dev` or `build`.
    kind: Option<String>,
    path: Option<String>,
    #[serde(default)]
    features: Vec<String>,
}

fn metadata(repository: &Repository, workspace: Workspace) -> Result<Metadata, Failed> {
    let call = repository.cargo(workspace, &["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = call.output("layers")?;
    serde_json::from_slice(&output.stdout).map_err(|error| call.failed("layers", error))
}

/// One thing that is not in the picture.
#[derive(Debug, PartialEq, Eq)]
struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn judge(metadata: &Metadata, guest: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            let why = "it has no place yet: say in an ADR why it is a crate, then add it to xtask/src/layers.rs";
            violations.push(Violation(format!("{name}: {why}")));
            continue;
        };
        for dependency in &package.dependencies {
            violations.extend(refuse(package, room, dependency, guest));
        }
    }
    violations
}

fn refuse(package: &Package, room: &Room, dependency: &Dependency, guest: &Path) -> Option<Violation> {
    let kind = dependency.kind.as_deref().unwrap_or("normal");
    let to = dependency.name.as_str();
    let edge = |why: &str| Some(Violation(format!("{} -> {to} ({kind}): {why}", room.name)));
    let ours = ROOMS.iter().any(|room| room.name == to);
    let test = kind == "dev";
    if dependency.source.is_some() {
        if ours {
            return edge("this is a registry's crate with the name of one of ours");
        }
        let barred = BARRED.iter().find(|barred| barred.rooms.contains(&room.name) && barred.crates.contains(&to));
        return barred.filter(|_| !test).and_then(|barred| edge(barred.rule));
    }
    let allowed = room.uses.contains(&to) || test && room.tests_use.contains(&to);
    if !allowed {
        let allowed = if test { [room.uses, room.tests_use].concat() } else { room.uses.to_vec() };
        let allowed = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
        return edge(&format!("{}; it may use {allowed}", room.rule));
    }
    let inside = |path: &str| Path::new(path).starts_with(guest);
    if inside(&package.manifest_path) && !dependency.path.as_deref().is_some_and(inside) {
        return edge("everything measured lies below guest/: a path out of it changes the bytes");
    }
    if room.name == "exec" && !test && dependency.features.iter().any(|feature| feature == "settings") {
        return edge("workload's feature `settings` reads TOML for people and is never in a Keep");
    }
    None
}

fn has_package(lock: &str, package: &str) -> bool {
    lock.lines().any(|line| line.strip_prefix("name = ").is_some_and(|name| name.trim_matches('"') == package))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(workspace: Workspace) -> (Metadata, std::path::PathBuf) {
        let repository = Repository::of_this_build();
        (metadata(&repository, workspace).unwrap(), repository.root().join("guest"))
    }

    fn parse(json: &serde_json::Value) -> Vec<String> {
        let metadata = serde_json::from_value(json.clone()).unwrap();
        judge(&metadata, Path::new("/x/guest")).iter().map(ToString::to_string).collect()
    }

    fn package(name: &str, folder: &str, dependency: serde_json::Value) -> serde_json::Value {
        serde_json::json!({ "packages": [{
            "name": name, "manifest_path": format!("/x/{folder}/Cargo.toml"), "dependencies": [dependency],
        }] })
    }

    fn path(name: &str, folder: &str, kind: Option<&str>) -> serde_json::Value {
        serde_json::json!({ "name": name, "source": null, "kind": kind, "path": format!("/x/{folder}"), "features": [] })
    }

    #[test]
    fn a_room_uses_only_rooms_below_it() {
        for (at, room) in ROOMS.iter().enumerate() {
            for used in room.uses.iter().chain(room.tests_use) {
                assert!(ROOMS[..at].iter().any(|below| below.name == *used), "{} -> {used}", room.name);
            }
        }
    }

    #[test]
    fn the_real_workspaces_are_accepted() {
        for workspace in Workspace::ALL {
            let (metadata, guest) = real(workspace);
            assert!(metadata.packages.len() > 1);
            assert_eq!(judge(&metadata, &guest), []);
        }
    }

    /// The control is the test above: the same metadata without the added dependency.
    #[test]
    fn the_real_workspace_with_one_forbidden_dependency_is_refused() {
        for (from, to, kind) in [
            ("evidence", "keep", None),
            ("steward", "drawbridge", None),
            ("steward", "silicon", None),
            ("keep", "steward", Some("dev")),
            ("drawbridge", "donjon", Some("build")),
        ] {
            let (mut metadata, guest) = real(Workspace::Root);
            let before = judge(&metadata, &guest);
            let package = metadata.packages.iter_mut().find(|package| package.name == from).unwrap();
            package.dependencies.push(Dependency {
                name: to.to_owned(),
                source: None,
                kind: kind.map(str::to_owned),
                path: Some(format!("/x/crates/{to}")),
                features: vec![],
            });
            let after = judge(&metadata, &guest);
            let [violation] = &after.iter().filter(|it| !before.contains(it)).collect::<Vec<_>>()[..] else {
                panic!("{from} -> {to}: expected one violation more");
            };
            let start = format!("{from} -> {to} ({}): ", kind.unwrap_or("normal"));
            assert!(violation.0.starts_with(&start), "{violation}");
        }
    }

    #[test]
    fn the_message_names_the_edge_and_the_rule() {
        let json = package("exec", "guest/exec", path("evidence", "crates/evidence", None));
        let expected = format!("exec -> evidence (normal): {GUEST}; it may use gate, workload, identity");
        assert_eq!(parse(&json), [expected]);
    }

    #[test]
    fn a_test_may_use_more_than_the_product() {
        assert_eq!(
            parse(&package("steward", "crates/steward", path("silicon", "crates/silicon", Some("dev")))),
            [""; 0]
        );
        let [said] = &parse(&package("steward", "crates/steward", path("silicon", "crates/silicon", None)))[..] else {
            panic!("a service must not use silicon");
        };
        assert!(said.contains(SERVICE), "{said}");
    }

    #[test]
    fn the_guest_does_not_reach_out_of_its_folder() {
        let inside = package("exec", "guest/exec", path("gate", "guest/contracts/gate", None));
        assert_eq!(parse(&inside), [""; 0]);
        let outside = package("exec", "guest/exec", path("gate", "elsewhere/gate", None));
        assert!(parse(&outside)[0].contains("below guest/"));
    }

    #[test]
    fn a_crate_without_a_place_is_refused() {
        let [said] = &parse(&package("common", "crates/common", path("gate", "guest/contracts/gate", None)))[..] else {
            panic!("one violation");
        };
        assert!(said.starts_with("common: it has no place yet"), "{said}");
    }

    #[test]
    fn registry_crates_are_refused_by_name_and_by_room() {
        let from = |name: &str, kind: Option<&str>| serde_json::json!({ "name": name, "source": "registry+x", "kind": kind, "path": null, "features": [] });
        assert!(parse(&package("keep", "crates/keep", from("gate", None)))[0].contains("registry's crate"));
        assert!(parse(&package("evidence", "crates/evidence", from("tokio", None)))[0].contains("no input, output"));
        assert_eq!(parse(&package("evidence", "crates/evidence", from("tokio", Some("dev")))), [""; 0]);
        assert_eq!(parse(&package("steward", "crates/steward", from("tokio", None))), [""; 0]);
    }

    #[test]
    fn settings_stay_outside_the_keep() {
        let with = |features: &[&str]| {
            package(
                "exec",
                "guest/exec",
                serde_json::json!({ "name": "workload", "source": null, "kind": null,
                "path": "/x/guest/contracts/workload", "features": features }),
            )
        };
        assert_eq!(parse(&with(&[])), [""; 0]);
        assert!(parse(&with(&["settings"]))[0].contains("never in a Keep"));
    }

    #[test]
    fn a_lock_file_is_read_by_whole_names() {
        let lock = "[[package]]\nname = \"wasmtime-wasi\"\nversion = \"1\"\n";
        assert!(has_package(lock, "wasmtime-wasi"));
        assert!(!has_package(lock, "wasmtime"));
    }
}
