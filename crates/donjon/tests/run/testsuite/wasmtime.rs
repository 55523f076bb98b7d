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

/// Names of others, but for those that ask a server: they serve, or need options of Wasmtime's own; or they are among [`CLI`].
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

/// A program that its host tells what to do: by arguments, keys of the manifest, a file, standard input. What its tests in
/// Wasmtime's `tests/all/cli_tests.rs` want of it: a status, standard output, something on standard error.
struct Told {
    name: &'static str,
    args: &'static [&'static str],
    manifest: &'static str,
    file: Option<(&'static str, &'static str)>,
    input: &'static str,
    status: i32,
    stdout: Option<&'static str>,
    stderr: &'static str,
}

const TOLD: Told =
    Told { name: "", args: &[], manifest: "", file: None, input: "", status: 0, stdout: None, stderr: "" };

const ROOT: &str = "[[mount]]\npath = \"/\"\nkind = \"memory\"\n[[file]]\npath = \"/bar.txt\"\nsource = \"bar.txt\"\n";

const CLI: [Told; 26] = [
    Told { name: "p2_cli_hello_stdout", stdout: Some("hello, world\n"), ..TOLD },
    Told { name: "p2_cli_args", args: &["hello", "this", "", "is an argument", "with \u{1f6a9} emoji"], ..TOLD },
    Told { name: "p2_cli_argv0", args: &["p2_cli_argv0"], ..TOLD },
    Told { name: "p2_cli_stdin_empty", input: "not to be read", ..TOLD },
    Told { name: "p2_cli_stdin", input: "So rested he by the Tumtum tree", ..TOLD },
    Told {
        name: "p2_cli_splice_stdin",
        input: "So rested he by the Tumtum tree",
        stdout: Some("before splice\nSo rested he by the Tumtum tree\ncompleted splicing 31 bytes\n"),
        ..TOLD
    },
    Told { name: "p2_cli_env", manifest: "[env]\nfrabjous = \"day\"\ncallooh = \"callay\"\n", ..TOLD },
    Told { name: "p2_cli_file_read", manifest: ROOT, file: Some(("bar.txt", "And stood awhile in thought")), ..TOLD },
    Told {
        name: "p2_cli_file_append",
        manifest: ROOT,
        file: Some(("bar.txt", "'Twas brillig, and the slithy toves.\n")),
        ..TOLD
    },
    Told {
        name: "p2_cli_file_dir_sync",
        manifest: ROOT,
        file: Some(("bar.txt", "'Twas brillig, and the slithy toves.\n")),
        ..TOLD
    },
    Told { name: "p2_cli_exit_success", ..TOLD },
    Told { name: "p2_cli_exit_default", ..TOLD },
    Told { name: "p2_cli_exit_failure", status: 1, ..TOLD },
    Told { name: "p2_cli_exit_with_code", status: 42, ..TOLD },
    Told { name: "p2_cli_exit_panic", status: 134, stderr: "Curiouser and curiouser!", ..TOLD },
    Told { name: "p2_cli_default_clocks", ..TOLD },
    Told { name: "p2_cli_export_cabi_realloc", ..TOLD },
    Told { name: "p2_cli_sleep", ..TOLD },
    Told {
        name: "p2_cli_sleep_forever",
        manifest: "[limits]\ntime = \"250ms\"\n",
        status: 134,
        stderr: "limits.time",
        ..TOLD
    },
    Told {
        name: "p2_cli_many_resources",
        manifest: "[limits]\ndescriptors = 100\n",
        status: 134,
        stderr: "resource table has no free keys",
        ..TOLD
    },
    Told {
        name: "p2_cli_max_resources",
        manifest: "[limits]\ndescriptors = 50\n",
        status: 134,
        stderr: "resource table has no free keys",
        ..TOLD
    },
    Told { name: "p2_cli_max_resources", manifest: "[limits]\ndescriptors = 200\n", ..TOLD },
    Told { name: "p3_cli_hello_stdout", stdout: Some("hello, world\n"), ..TOLD },
    Told { name: "p3_cli_hello_stdout_post_return", stdout: Some("hello, world\n"), ..TOLD },
    Told { name: "p3_cli_read_stdin", input: "hello!", ..TOLD },
    Told { name: "p3_cli_many_stream", manifest: "[limits]\ndescriptors = 100\n", ..TOLD },
];

#[test]
fn programs_of_wasmtime_that_are_told() {
    let Some(built) = std::env::var_os("DONJON_WASMTIME_PROGRAMS") else {
        return skip(
            "wasmtime-programs",
            "DONJON_WASMTIME_PROGRAMS does not name where Wasmtime's test programs were built",
        );
    };
    let mut failed = String::new();
    for told in &CLI {
        let program = Path::new(&built).join("wasm32-wasip2/debug").join(told.name).with_extension("wasm");
        let manifest =
            format!("program = {program:?}\narg0 = {:?}\nargs = {:?}\n{}", told.name, told.args, told.manifest);
        let mut files = vec![("Donjon.toml", manifest.as_bytes())];
        files.extend(told.file.map(|(name, text)| (name, text.as_bytes())));
        let dir = folder(&files);
        let ran = run(dir.path(), ["run", "-q"], Input::Bytes(told.input.as_bytes().to_vec()));
        let right = ran.code() == told.status
            && told.stdout.is_none_or(|stdout| ran.text() == stdout)
            && ran.stderr.contains(told.stderr);
        if !right {
            failed += &format!("{}: status {}: {:?} {}\n", told.name, ran.code(), ran.stdout, ran.stderr);
        }
    }
    assert!(failed.is_empty(), "{failed}");
}
