//! `donjon attack`: what it says of a program that ends by itself, and which programs it does not take.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod support;

use serde_json::Value;

use crate::support::{Input, Ran, folder, run, skip, wat};

/// Writes a line and ends with 7.
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\06\00\00\00")
    (data (i32.const 16) "hello\n")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 7))))"#;

/// Writes eight random bytes.
const RANDOM: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\08\00\00\00")
    (func (export "_start")
        (drop (call $random (i32.const 16) (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Makes a secret of 0xc7 in a page of its memory and checks it at the end; writes `count` bytes from `place`.
fn secret(place: u32, count: u32) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 0) "\10\20\00\00\06\00\00\00")
        (data (i32.const 8208) "hello\n\38")
        (func (export "_start")
            (memory.fill (i32.const 12288) (i32.xor (i32.load8_u (i32.const 8214)) (i32.const 0xff)) (i32.const 4096))
            (i32.store (i32.const 0) (i32.const {place}))
            (i32.store (i32.const 4) (i32.const {count}))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i64.ne (i64.load (i32.const 16000)) (i64.const 0xc7c7c7c7c7c7c7c7)) (then unreachable))))"#
    )
}

/// A program's secret stays where it is, and would be seen if it did not.
#[test]
fn a_secret_is_looked_for() {
    let arguments = ["--canary", "c7", "--lies", "4", "--json"];
    let Some(kept) = attack(&secret(8208, 6), &arguments) else { return };
    assert_eq!(kept.code(), 0, "{} {}", kept.text(), kept.stderr);
    let Some(leaks) = attack(&secret(12288, 64), &arguments) else { return };
    assert!(leaks.code() == 1 && leaks.text().contains("a secret stands in shared memory"), "{}", leaks.text());
    let Some(wrong) = attack(HELLO, &["--canary", "00"]) else { return };
    assert!(wrong.code() != 0 && wrong.stderr.contains("take another byte"), "{}", wrong.stderr);
}

const FOR_EVER: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Attacks this program; `None` where there is no KVM.
fn attack(text: &str, args: &[&str]) -> Option<Ran> {
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        skip("kvm", &format!("/dev/kvm does not open: {error}"));
        return None;
    }
    let dir = folder(&[("program.wasm", &wat(text))]);
    Some(run(dir.path(), [&["attack"], args, &["program.wasm"]].concat(), Input::Nothing))
}

#[test]
fn lies_are_counted_and_nothing_is_found() {
    for backend in ["kvm", "sim-snp"] {
        let Some(ran) = attack(HELLO, &["--json", "--lies", "8", "--seed", "5", "--backend", backend]) else { return };
        assert_eq!(ran.code(), 0, "{} {}", ran.text(), ran.stderr);
        let report: Value = serde_json::from_str(ran.text()).expect("JSON");
        let number = |value: &Value| value.as_u64().expect("a number");
        assert!(number(&report["lies"]) >= 8 && report["findings"] == serde_json::json!([]), "{report}");
        let sum = |values: &Value| values.as_object().expect("an object").values().map(number).sum::<u64>();
        assert_eq!(sum(&report["outcomes"]), number(&report["runs"]));
        assert_eq!(sum(&report["cells"]), number(&report["lies"]));
        let firmware = report["cells"].as_object().expect("cells").keys().any(|cell| cell.starts_with("Firmware"));
        assert_eq!(firmware, backend == "sim-snp");
    }
}

/// What would look like a finding is none, and is refused before.
#[test]
fn what_cannot_be_compared_is_not_attacked() {
    for (program, why) in [(RANDOM, "does not do the same twice"), (FOR_EVER, "does not end in 10 s")] {
        let Some(ran) = attack(program, &["--patience", "10"]) else { return };
        assert_eq!((ran.code(), ran.text()), (125, ""));
        assert!(ran.stderr.contains(why) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
}
