//! The test programs of Wasmtime 48 for WASI 0.1, 0.2 and 0.3: those that need nothing but a folder, a network, and
//! perhaps a server.
//!
//! `DONJON_WASMTIME_PROGRAMS` names the target folder of a checkout of bytecodealliance/wasmtime (branch `release-48.0.0`)
//! where they were built; those for other hosts than WASI do not build, and are not wanted:
//!
//! ```sh
//! for wasi in 1 2; do cargo build -p test-programs --keep-going --target wasm32-wasip$wasi; done
//! ```
//!
//! Without it the tests say so and pass, `DONJON_REQUIRE=wasmtime-programs` makes that a failure. What cannot pass is listed with
//! its reason, and fails the test once it passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::others::{echo, newer};
use crate::support::{Input, folder, run, skip};

/// What begins so, but asks a server: the others are told by their host what to do, need options of Wasmtime's own, or serve.
const OTHERS: [&str; 9] =
    ["p1_cli", "p2_cli", "p3_cli", "p2_http_", "p3_http_", "p2_api_", "p3_api_", "p2_tls_", "p3_tls_"];
const ASKS: &str = "_http_outbound_request_";

/// What depends on the network where it runs.
const ELSEWHERE: &[(&str, &str)] = &[
    ("p2_http_outbound_request_timeout", "wants a network where nobody answers for 203.0.113.12"),
    ("p3_http_outbound_request_timeout", "wants a network where nobody answers for 203.0.113.12"),
    ("p3_sockets_ip_name_lookup", "wants names of the Internet"),
    ("p3_sockets_udp_connect", "wants a network of IPv6 beside the loopback"),
];

/// What ends by a trap, as it should.
const TRAPS: [&str; 3] = ["p2_pollable_traps", "p2_stream_pollable_traps", "p2_udp_send_too_much"];

const FORBIDDEN: &str = "wants names of fields forbidden that Wasmtime's test forbids";
const READONLY: &str = "wants two folders named `.` and `readonly`; those of a Keep have absolute paths";
const LINUX: &str = "wants what Wasmtime does; the Keep does as Linux";

/// What fails everywhere, and why.
const FAILS: &[(&str, &str)] = &[
    ("p1_dir_fd_op_failures", "wants fd_sync of a folder refused; the Keep does as Linux"),
    ("p1_file_allocate", "wants fd_allocate refused, which the Keep has"),
    ("p1_file_hardlink_across_perms", READONLY),
    ("p1_file_rename_across_perms", READONLY),
    ("p1_file_truncation_readonly", READONLY),
    ("p1_path_filestat", "wants FDFLAGS_SYNC refused; in the Keep's memory everything is in step"),
    ("p1_path_symlink_trailing_slashes", LINUX),
    ("p1_poll_oneoff_files", "wants a poll with a wrong descriptor refused; here its event says so, as of poll(2)"),
    ("p1_stat_extreme_host_mtime", "wants a file of its host with a time before all times"),
    ("p1_stdio_isatty", "wants a terminal"),
    ("p2_http_outbound_request_invalid_header", FORBIDDEN),
    ("p3_http_outbound_request_invalid_header", FORBIDDEN),
    ("p2_file_hardlink_across_perms", READONLY),
    ("p2_file_rename_across_perms", READONLY),
    ("p2_file_stream_not_permitted", READONLY),
    ("p2_file_truncation_readonly", READONLY),
    ("p3_file_hardlink_across_perms", READONLY),
    ("p3_file_rename_across_perms", READONLY),
    ("p3_file_truncation_readonly", READONLY),
];

/// Modules that are adapted to components ask with other words.
const ADAPTED: [&str; 3] = ["p1_dir_fd_op_failures", "p1_file_allocate", "p1_poll_oneoff_files"];

fn programs(folder: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "wasm"));
    let named = paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path));
    let other = |name: &str| OTHERS.iter().any(|other| name.starts_with(other)) && !name.contains(ASKS);
    let mut all: Vec<_> = named.filter(|(name, _)| name.starts_with(prefix) && !other(name)).collect();
    all.sort();
    all
}

/// Runs one; why it failed.
fn done(name: &str, program: &Path) -> Result<(), String> {
    let server = if name.ends_with("invalid_version") { newer() } else { echo() };
    let manifest = format!(
        "program = {program:?}\narg0 = {name:?}\nargs = [\"/\"]\n[env]\nERRNO_MODE_UNIX = \"1\"\nHTTP_SERVER = \"{server}\"\n\
         [[mount]]\npath = \"/\"\nkind = \"memory\"\n\
         [network]\nconnect = [\"*:*\"]\nlisten = [\"*\"]\nudp = [\"*:*\"]\nresolve = [\"*\"]\n"
    );
    let dir = folder(&[("Donjon.toml", manifest.as_bytes())]);
    let ran = run(dir.path(), ["run", "-q"], Input::Nothing);
    let expected = if TRAPS.contains(&name) { 134 } else { 0 };
    if ran.code() == expected { Ok(()) } else { Err(format!("status {}: {}", ran.code(), ran.stderr)) }
}

/// Runs those of a target whose names begin so: how many there are, all of which pass but those that are listed.
#[allow(clippy::print_stderr, reason = "what is left out is told")]
fn suite(target: &str, prefix: &str, count: usize, but: &[&str]) {
    let Some(built) = std::env::var_os("DONJON_WASMTIME_PROGRAMS") else {
        return skip(
            "wasmtime-programs",
            "DONJON_WASMTIME_PROGRAMS does not name where Wasmtime's test programs were built",
        );
    };
    let programs = programs(&Path::new(&built).join(target).join("debug"), prefix);
    assert_eq!(programs.len(), count, "there are other programs than those of 48.0.0");
    let (mut failed, mut why, mut fails, mut left) = (BTreeSet::new(), String::new(), BTreeSet::new(), 0);
    for (name, program) in &programs {
        if let Some((_, reason)) = ELSEWHERE.iter().find(|(elsewhere, _)| elsewhere == name) {
            eprintln!("left out: {name}: {reason}");
            left += 1;
            continue;
        }
        if let Some((_, reason)) = FAILS.iter().find(|(fails, _)| fails == name && !but.contains(fails)) {
            eprintln!("expected to fail: {name}: {reason}");
            fails.insert(name.as_str());
        }
        if let Err(error) = done(name, program) {
            why += &format!("{name}: {error}\n");
            failed.insert(name.as_str());
        }
    }
    assert_eq!(failed, fails, "{why}");
    eprintln!("{} of {count} pass", count - left - failed.len());
}

#[test]
fn programs_of_wasmtime_for_0_1() {
    suite("wasm32-wasip1", "p1_", 56, &[]);
}

#[test]
fn programs_of_wasmtime_for_0_1_as_components() {
    suite("wasm32-wasip2", "p1_", 56, &ADAPTED);
}

#[test]
fn programs_of_wasmtime_for_0_2() {
    suite("wasm32-wasip2", "p2_", 44, &[]);
}

#[test]
fn programs_of_wasmtime_for_0_3() {
    suite("wasm32-wasip2", "p3_", 41, &[]);
}
