//! Native code that is kept for the next start: when it is used, and what a host can do to it.
//!
//! The suite for micro-VMs has these on `sim-snp`, where the shim seals; `kvm` has no key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{BACKEND, Form, Input, donjon, finish, folder, probe, wat};

/// A backend that seals.
const SEALS: &str = match BACKEND.as_bytes() {
    b"nil" => "nil",
    _ => "sim-snp",
};

/// A command in this folder, with a cache in it.
fn caching(dir: &Path, args: &[&str]) -> Command {
    let mut command = donjon(dir, [&["run", "-q", "--outcome", "outcome.json"], args].concat());
    command.env("DONJON_BACKEND", SEALS).env_remove("DONJON_NO_CACHE").env("XDG_CACHE_HOME", dir.join("cache"));
    command
}

/// Runs it: its status, and whether it was compiled.
#[track_caller]
fn start(dir: &Path, command: Command) -> (i64, bool) {
    let ran = finish(command, Input::Nothing);
    let outcome = fs::read(dir.join("outcome.json")).expect(&ran.stderr);
    let outcome: serde_json::Value = serde_json::from_slice(&outcome).unwrap();
    assert_eq!((&outcome["ended"], ran.stderr.as_str()), (&"exit".into(), ""));
    (outcome["status"].as_i64().unwrap(), outcome["compiled"].as_bool().unwrap())
}

#[track_caller]
fn started(dir: &Path, args: &[&str]) -> (i64, bool) {
    start(dir, caching(dir, args))
}

/// A module that exits with this status, and is large enough to be kept.
fn module(status: u8) -> Vec<u8> {
    sized(status, 64 * 1024)
}

fn sized(status: u8, padding: usize) -> Vec<u8> {
    wat(&format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {status})))
            (@custom "padding" "{}"))"#,
        "x".repeat(padding)
    ))
}

/// Two programs, of which the first was started and the second was not.
fn once() -> TempDir {
    let dir = folder(&[("a.wasm", &module(7)), ("b.wasm", &module(8))]);
    assert_eq!(started(dir.path(), &["a.wasm"]), (7, true), "the first start");
    dir
}

/// What is kept.
fn kept(dir: &Path) -> Vec<PathBuf> {
    let code = fs::read_dir(dir.join("cache/donjon/code")).into_iter().flatten();
    code.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_second_start_compiles_nothing() {
    // The C library of components tells a failure, not its number.
    for (form, seven, eight) in [(Form::Module, 7, 8), (Form::Component, 1, 1)] {
        let dir = folder(&[]);
        let program = probe(form);
        let program = program.to_str().unwrap();
        assert_eq!(started(dir.path(), &[program, "exit", "7"]), (seven, true));
        assert_eq!(started(dir.path(), &[program, "exit", "7"]), (seven, false));
        // Other arguments are another brief.
        assert_eq!(started(dir.path(), &[program, "exit", "8"]), (eight, true));
        assert_eq!(started(dir.path(), &["--env", "A=b", program, "exit", "7"]), (seven, true));
        assert_eq!(started(dir.path(), &[program, "exit", "7"]), (seven, false));
        assert_eq!(kept(dir.path()).len(), 3);
    }
}

#[test]
fn another_program_has_its_own() {
    let dir = once();
    assert_eq!(started(dir.path(), &["b.wasm"]), (8, true));
    let [one, other] = &kept(dir.path())[..] else { panic!("{:?}", kept(dir.path())) };
    assert_eq!(
        (started(dir.path(), &["a.wasm"]), started(dir.path(), &["b.wasm"])),
        ((7, false), (8, false)),
        "control"
    );
    // Each under the other's name.
    let [first, second] = [one, other].map(|file| fs::read(file).unwrap());
    fs::write(one, second).unwrap();
    fs::write(other, first).unwrap();
    assert_eq!((started(dir.path(), &["a.wasm"]), started(dir.path(), &["b.wasm"])), ((7, true), (8, true)));
}

#[test]
fn what_was_damaged_is_compiled_anew() {
    let dir = once();
    let [file] = &kept(dir.path())[..] else { panic!("{:?}", kept(dir.path())) };
    let damage: [fn(&mut Vec<u8>); 7] = [
        |code| code[0] ^= 1,
        |code| code[100] ^= 0x80,
        |code| *code.last_mut().unwrap() ^= 1,
        |code| code.truncate(code.len() - 1),
        |code| code.truncate(9),
        Vec::clear,
        |code| code.push(0),
    ];
    for (which, damage) in damage.iter().enumerate() {
        assert_eq!(started(dir.path(), &["a.wasm"]), (7, false), "control of {which}");
        let mut code = fs::read(file).unwrap();
        damage(&mut code);
        fs::write(file, code).unwrap();
        assert_eq!(started(dir.path(), &["a.wasm"]), (7, true), "{which}");
    }
    assert_eq!(started(dir.path(), &["a.wasm"]), (7, false), "it was kept again");
}

#[test]
fn without_a_cache_nothing_is_kept_or_used() {
    let dir = once();
    assert_eq!(started(dir.path(), &["--no-cache", "a.wasm"]), (7, true));
    assert_eq!(started(dir.path(), &["--no-cache", "b.wasm"]), (8, true));
    let mut command = caching(dir.path(), &["a.wasm"]);
    command.env("DONJON_NO_CACHE", "1");
    assert_eq!(start(dir.path(), command), (7, true));
    assert_eq!(kept(dir.path()).len(), 1);
    assert_eq!(started(dir.path(), &["a.wasm"]), (7, false), "control");
}

#[test]
fn a_small_program_is_not_worth_a_file() {
    let dir = folder(&[("a.wasm", &sized(7, 9))]);
    for _ in 0..2 {
        assert_eq!(started(dir.path(), &["a.wasm"]), (7, true));
    }
    assert_eq!(kept(dir.path()).len(), 0);
}

#[test]
fn where_nothing_can_be_kept_programs_run() {
    let dir = folder(&[("a.wasm", &module(7)), ("cache", b"a file")]);
    for _ in 0..2 {
        assert_eq!(started(dir.path(), &["a.wasm"]), (7, true));
    }
}

/// Where the host's key stands in for the hardware's: another key is another machine.
#[test]
fn another_key_opens_nothing() {
    let dir = once();
    let key = dir.path().join("cache/donjon/unprotected.key");
    if SEALS != "nil" {
        return assert!(!key.exists(), "the shim has a key of its own");
    }
    fs::write(&key, [9; 32]).unwrap();
    assert_eq!(started(dir.path(), &["a.wasm"]), (7, true));
    assert_eq!(started(dir.path(), &["a.wasm"]), (7, false), "control");
    // None at all.
    fs::write(&key, b"").unwrap();
    assert_eq!(started(dir.path(), &["a.wasm"]), (7, true));
}

/// What is no program is refused with a cache as without one, and there is nothing to say of its compiling.
#[test]
fn what_does_not_compile_is_not_kept() {
    let mut broken = module(7);
    broken.push(0xff);
    let dir = folder(&[("a.wasm", &broken)]);
    for _ in 0..2 {
        let ran = finish(caching(dir.path(), &["a.wasm"]), Input::Nothing);
        assert!(ran.code() == 125 && ran.stderr.contains("[wasm.invalid]"), "{}", ran.stderr);
        let outcome = fs::read_to_string(dir.path().join("outcome.json")).unwrap();
        assert!(!outcome.contains("compiled"), "{outcome}");
    }
    assert_eq!(kept(dir.path()).len(), 0);
}

/// A micro-VM without a TEE has nobody to keep a key for it.
#[test]
fn kvm_keeps_nothing() {
    if BACKEND == "nil" {
        return;
    }
    let dir = folder(&[("a.wasm", &module(7))]);
    for _ in 0..2 {
        assert_eq!(started(dir.path(), &["--backend", "kvm", "a.wasm"]), (7, true));
    }
    assert_eq!(kept(dir.path()).len(), 0);
}
