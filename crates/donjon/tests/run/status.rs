//! The exit status is the program's own; a trap is 134 with the Wasm backtrace; `--outcome` tells them apart for sure.

use std::path::Path;
use std::process::Command;
use std::thread;

use crate::support::{Form, Input, folder, probe, run, wat};

/// Every status a module can end with arrives as it is, also those that others reserve (125, 126, 127, 134, 255).
#[test]
fn every_exit_status_of_a_module_arrives() {
    let dir = folder(&[]);
    let shares: Vec<Vec<u8>> = (0..4).map(|share| (0..=255).filter(|status| status % 4 == share).collect()).collect();
    let wrong = thread::scope(|scope| {
        let workers: Vec<_> = shares
            .iter()
            .map(|share| {
                scope.spawn(|| share.iter().filter(|status| exits(dir.path(), i32::from(**status)) != **status).count())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no run panics")).sum::<usize>()
    });
    assert_eq!(wrong, 0, "so many statuses did not arrive");
}

/// A status outside of a process's range is its low eight bits, as every shell sees it.
#[test]
fn a_wider_status_is_its_low_eight_bits() {
    let dir = folder(&[]);
    assert_eq!(exits(dir.path(), 256), 0);
    assert_eq!(exits(dir.path(), 256 + 42), 42);
    assert_eq!(exits(dir.path(), -1), 255);
}

/// Runs a module that ends with `status`, and says what arrived; it must say nothing else.
#[track_caller]
fn exits(dir: &Path, status: i32) -> u8 {
    let module = wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {status}))))"#
    ));
    let name = format!("exit{status}.wasm");
    std::fs::write(dir.join(&name), module).expect("a file can be written");
    let ran = run(dir, ["run", "--quiet", &name], Input::Nothing);
    assert_eq!((ran.text(), ran.stderr.as_str()), ("", ""), "exit {status}");
    u8::try_from(ran.code()).expect("a status of a process")
}

#[test]
fn a_module_that_returns_ends_with_0() {
    let dir = folder(&[("main.wasm", &wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#))]);
    run(dir.path(), ["run", "--quiet", "main.wasm"], Input::Nothing).assert(0, "", "");
}

/// `wasi:cli/run` knows success and failure only (WASI 0.2, `wasi:cli/exit`).
#[test]
fn a_component_ends_with_0_or_1() {
    let probe = probe(Form::Component);
    let probe = probe.to_str().unwrap();
    for (asked, arrives) in [("0", 0), ("1", 1), ("2", 1), ("255", 1)] {
        run(Path::new("/"), ["run", "-q", probe, "exit", asked], Input::Nothing).assert(arrives, "", "");
    }
}

#[test]
fn a_rust_program_of_wasi_0_1_exits_with_its_status() {
    let probe = probe(Form::Module);
    let probe = probe.to_str().unwrap();
    for status in [0, 1, 77, 125, 134, 255] {
        let asked = status.to_string();
        run(Path::new("/"), ["run", "-q", probe, "exit", &asked], Input::Nothing).assert(status, "", "");
    }
}

/// The whole of what a person sees of a trap.
#[test]
fn a_trap_is_134_with_the_backtrace() {
    const GAVE_UP: &str = "hint: the program gave up, as a panic or `abort` does; what it wrote before may say why\n";
    const DEFECT: &str =
        "hint: a defect of the program; one that is built with debug information shows its lines here\n";
    for (body, cause, hint) in [
        ("unreachable", "wasm trap: wasm `unreachable` instruction executed\n", GAVE_UP),
        (
            "(drop (i32.load (i32.const -4)))",
            "0: memory fault at wasm address 0xfffffffc in linear memory of size 0x10000\n    \
             1: wasm trap: out of bounds memory access\n",
            DEFECT,
        ),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "wasm trap: integer divide by zero\n", ""),
        ("(call_indirect (i32.const 7))", "wasm trap: undefined element: out of bounds table access\n", DEFECT),
    ] {
        let dir = folder(&[("main.wasm", &wat(&module(body)))]);
        let ran = run(dir.path(), ["run", "--quiet", "main.wasm"], Input::Nothing);
        let expected = format!(
            "trap: error while executing at wasm backtrace:\n    \
             0: OFFSET - crash!inner\n    1: OFFSET - crash!outer\n    2: OFFSET - crash!_start\n\
             \nCaused by:\n    {cause}\n{hint}"
        );
        assert_eq!((ran.code(), ran.text(), offsets_out(&ran.stderr).as_str()), (134, "", expected.as_str()), "{body}");
    }
}

/// Where the manifest closes standard error, the host does not read the backtrace there either.
#[test]
fn a_trap_says_nothing_where_stderr_is_closed() {
    let stderr = |rest: &str| {
        let program = wat(&module("unreachable"));
        let manifest = format!("program = \"main.wasm\"\n{rest}");
        let dir = folder(&[("main.wasm", &program), ("Donjon.toml", manifest.as_bytes())]);
        let ran = run(dir.path(), ["run", "--quiet"], Input::Nothing);
        assert_eq!((ran.code(), ran.text()), (134, ""), "{}", ran.stderr);
        ran.stderr
    };
    assert_eq!(stderr("stderr = \"null\"\n"), "");
    assert!(stderr("stderr = \"host\"\n").starts_with("trap: "), "control");
}

#[test]
fn a_stack_overflow_is_134_with_the_backtrace() {
    let dir = folder(&[("main.wasm", &wat(&module("(call $inner)")))]);
    let ran = run(dir.path(), ["run", "--quiet", "main.wasm"], Input::Nothing);
    assert_eq!(ran.code(), 134, "{}", ran.stderr);
    let shown = offsets_out(&ran.stderr);
    assert!(shown.starts_with("trap: error while executing at wasm backtrace:\n    0: "), "{shown}");
    assert!(shown.contains("    9: OFFSET - crash!inner\n"), "{shown}");
    let end = "\nCaused by:\n    wasm trap: call stack exhausted\n\n\
               hint: it calls itself too deeply, or has too much on its stack\n";
    assert!(shown.ends_with(end), "{shown}");
    // Bounded: sixty thousand frames help nobody.
    assert_eq!(shown.matches("crash!inner").count(), 64, "{shown}");
}

fn module(body: &str) -> String {
    format!(
        r#"(module $crash
            (memory (export "memory") 1)
            (table 1 funcref)
            (func $inner {body})
            (func $outer (call $inner))
            (func $_start (export "_start") (call $outer)))"#
    )
}

/// Replaces `0x…` at the beginning of each frame, which moves with the encoding of the module.
fn offsets_out(text: &str) -> String {
    let line = |line: &str| {
        let frame = line.split_once(": ").filter(|(number, _)| number.trim().parse::<u32>().is_ok());
        let rest = frame.and_then(|(number, rest)| Some((number, rest.split_once(" - ")?)));
        match rest {
            Some((number, (offset, name))) if offset.trim_start().starts_with("0x") => {
                format!("{number}: OFFSET - {name}\n")
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

/// The same for programs of a real compiler, in both forms.
#[test]
fn a_rust_program_traps_with_its_backtrace() {
    for form in Form::BOTH {
        let probe = probe(form);
        let probe = probe.to_str().unwrap();
        for (kind, cause) in [
            ("unreachable", "wasm trap: wasm `unreachable` instruction executed"),
            ("oob", "wasm trap: out of bounds memory access"),
            ("stack", "wasm trap: call stack exhausted"),
        ] {
            let ran = run(Path::new("/"), ["run", "-q", probe, "trap", kind], Input::Nothing);
            assert_eq!((ran.code(), ran.text()), (134, ""), "{form:?} {kind}: {}", ran.stderr);
            assert!(ran.stderr.starts_with("trap: error while executing at wasm backtrace:\n"), "{}", ran.stderr);
            assert!(ran.stderr.contains(&format!("!probe::trap_{kind}::")), "{form:?} {kind}: {}", ran.stderr);
            assert!(ran.stderr.contains(cause), "{form:?} {kind}: {}", ran.stderr);
        }
    }
}

/// Where the program brings its lines they are shown, of what was inlined too.
#[test]
fn a_trap_shows_files_and_lines() {
    let source = "fn main() {\n    deep(std::env::args().count());\n}\n\n#[inline(never)]\nfn deep(count: usize) {\n    \
                  if count > 0 {\n        std::process::abort();\n    }\n}\n";
    let dir = folder(&[("lines.rs", source.as_bytes())]);
    for (target, debug) in [("wasm32-wasip1", true), ("wasm32-wasip2", true), ("wasm32-wasip1", false)] {
        let mut rustc = Command::new("rustc");
        rustc
            .args(["--edition=2024", "-O", "--target", target, "lines.rs", "-o", "lines.wasm"])
            .current_dir(dir.path());
        let built = rustc.args(debug.then_some("-g")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let ran = run(dir.path(), ["run", "-q", "lines.wasm"], Input::Nothing);
        assert_eq!((ran.code(), ran.text()), (134, ""), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("lines.rs:8"), debug, "{target}: {}", ran.stderr);
        assert!(ran.stderr.contains("lines::deep") || !debug, "{target}: {}", ran.stderr);
    }
}

/// A program may say 125 or 134 as well as Donjon may: `--outcome` says which it was.
#[test]
fn the_outcome_tells_a_status_from_a_failure() {
    let dir = folder(&[]);
    let probe = probe(Form::Module);
    let probe = probe.to_str().unwrap();
    let outcome = |args: &[&str]| -> (i32, serde_json::Value) {
        let file = dir.path().join("outcome.json");
        _ = std::fs::remove_file(&file);
        let args = [&["run", "-q", "--outcome", "outcome.json"], args].concat();
        let ran = run(dir.path(), args, Input::Nothing);
        let text = std::fs::read_to_string(file).expect("the outcome is written");
        (ran.code(), serde_json::from_str(&text).expect("JSON"))
    };
    for status in [0, 3, 125, 134] {
        let expected = serde_json::json!({ "ended": "exit", "status": status, "compiled": true });
        assert_eq!(outcome(&[probe, "exit", &status.to_string()]), (status, expected));
    }
    let expected = serde_json::json!({ "ended": "trap", "status": 134, "compiled": true });
    assert_eq!(outcome(&[probe, "trap", "unreachable"]), (134, expected));

    std::fs::write(dir.path().join("main.wasm"), wat("(module)")).unwrap();
    let expected = serde_json::json!({
        "ended": "refused",
        "status": 125,
        "compiled": true,
        "step": 13,
        "code": "wasm.start",
        "message": "the module has no `_start` function, so it is not a command",
        "hint": "build it as a command (a program with `main`), or name the function to call: invoke = \"run\"",
    });
    assert_eq!(outcome(&["main.wasm"]), (125, expected));
}
