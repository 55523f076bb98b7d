//! Every bad input has its own error, on standard error, with a hint, and 125; nothing runs and nothing is on standard
//! output. The whole text is asserted: it is what a person has in front of them.

use std::net::TcpListener;
use std::path::Path;

use crate::support::{Form, Input, folder, probe, run, wat};

/// Runs `donjon` in `dir` and expects exactly this.
#[track_caller]
fn refused(dir: &Path, args: &[&str], error: &str, hint: &str) {
    run(dir, args, Input::Nothing).assert(125, "", &format!("error: {error}\nhint: {hint}\n"));
}

/// The first bytes decide, before anything is started.
#[test]
fn what_is_not_a_program() {
    let dir = folder(&[
        ("text.wasm", b"hello, this is not WebAssembly\n"),
        ("empty.wasm", b""),
        ("header.wasm", b"\0asm\x01\0"),
        ("version.wasm", b"\0asm\x02\0\0\0"),
        ("right.wasm", &wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)),
    ]);
    // Zeroes that take no place on the disk.
    std::fs::File::create(dir.path().join("long")).unwrap().set_len((512 << 20) + 1).unwrap();
    let build = "build for wasm32-wasip1 or wasm32-wasip2, and give the .wasm file itself";
    for command in ["run", "pack"] {
        refused(
            dir.path(),
            &[command, "text.wasm"],
            "text.wasm is not a program that a Keep runs: neither WebAssembly (00 61 73 6d) nor ELF (7f 45 4c 46): \
             it begins with [68, 65, 6c, 6c]",
            build,
        );
        refused(
            dir.path(),
            &[command, "empty.wasm"],
            "empty.wasm is not a program that a Keep runs: the program is empty",
            build,
        );
        refused(
            dir.path(),
            &[command, "header.wasm"],
            "header.wasm is not a program that a Keep runs: \
             the WebAssembly is cut short: 6 bytes, not even its 8-byte header",
            "the file is cut short: build or download it again",
        );
        refused(
            dir.path(),
            &[command, "version.wasm"],
            "version.wasm is not a program that a Keep runs: unknown WebAssembly version [02, 00, 00, 00]: \
             neither a module (01 00 00 00) nor a component (0d 00 01 00)",
            build,
        );
        refused(
            dir.path(),
            &[command, "absent.wasm"],
            "cannot read the program absent.wasm: No such file or directory (os error 2)",
            "build it first, or correct the path (`program` in Donjon.toml)",
        );
        refused(
            dir.path(),
            &[command, "long"],
            "long is not a program that a Keep runs: a program has at most 536870912 bytes, this one has 536870913",
            "take data out of it: the program can be given them when it runs",
        );
        let ran = run(dir.path(), [command, "right.wasm"], Input::Nothing);
        assert_eq!(ran.code(), 0, "the control: {}", ran.stderr);
    }
}

/// The header is right, the rest is missing: the Keep finds it, and says where.
#[test]
fn a_truncated_program() {
    for (form, at) in
        [(Form::Module, "unexpected end-of-file (at offset 0x"), (Form::Component, "is out of bounds (bound = ")]
    {
        let whole = std::fs::read(probe(form)).unwrap();
        let dir = folder(&[("whole.wasm", &whole[..]), ("cut.wasm", &whole[..whole.len() / 2])]);
        let ran = run(dir.path(), ["run", "-q", "cut.wasm"], Input::Nothing);
        assert_eq!((ran.code(), ran.text()), (125, ""), "{form:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: the program is not valid WebAssembly: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(at), "{form:?}: {}", ran.stderr);
        assert!(
            ran.stderr.ends_with(
                " [wasm.invalid]\nhint: build for wasm32-wasip1 (a module) or wasm32-wasip2 (a component), \
                 and give the .wasm file itself\n"
            ),
            "{}",
            ran.stderr
        );
        let control = run(dir.path(), ["run", "-q", "whole.wasm", "exit", "0"], Input::Nothing);
        control.assert(0, "", "");
    }
}

#[test]
fn a_missing_import() {
    let dir = folder(&[(
        "main.wasm",
        &wat(r#"(module (import "env" "abort" (func)) (memory (export "memory") 1) (func (export "_start")))"#),
    )]);
    refused(
        dir.path(),
        &["run", "-q", "main.wasm"],
        "the program cannot be linked: unknown import: `env::abort` has not been defined [wasm.import]",
        "a Keep offers WASI 0.1, 0.2 and 0.3 with wasi:http, and donjon:keep 0.1; build without other imports, or say `stubs` if the program does without",
    );
}

/// What a program imports and does without is let be, if its manifest says so; what it calls nevertheless is named.
#[test]
pub(crate) fn a_stub_stands_for_what_nobody_offers() {
    let run_it = |stubs: &str, call: &str| {
        let module = wat(&format!(
            r#"(module (import "env" "abort" (func $abort)) (memory (export "memory") 1) (func (export "_start") {call}))"#
        ));
        let manifest = format!("program = \"main.wasm\"\n{stubs}");
        let dir = folder(&[("Donjon.toml", manifest.as_bytes()), ("main.wasm", &module)]);
        run(dir.path(), ["run", "-q"], Input::Nothing)
    };
    for stubs in ["", "stubs = [\"another\"]\n"] {
        let ran = run_it(stubs, "");
        assert!(ran.code() == 125 && ran.stderr.contains("[wasm.import]"), "{}", ran.stderr);
    }
    run_it("stubs = [\"env\"]\n", "").assert(0, "", "");
    let ran = run_it("stubs = [\"env\"]\n", "(call $abort)");
    assert_eq!(ran.code(), 134);
    assert!(
        ran.stderr.contains("the program called env.abort, which a Keep does not have (`stubs`)"),
        "{}",
        ran.stderr
    );
}

/// An import of a component that nobody offers, beside one that is offered.
#[test]
fn a_missing_import_of_a_component() {
    let dir = folder(&[(
        "main.wasm",
        &wat(r#"(component
            (import "acme:rocket/engine@1.0.0" (instance (export "start" (func))))
            (core module $m (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $out (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $out)))"#),
    )]);
    let ran = run(dir.path(), ["run", "-q", "main.wasm"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (125, ""));
    assert!(ran.stderr.starts_with("error: the program cannot be linked: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("acme:rocket/engine@1.0.0"), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with(
            " [wasm.import]\n\
             hint: a Keep offers WASI 0.1, 0.2 and 0.3 with wasi:http, and donjon:keep 0.1; build without other imports, or say `stubs` if the program does without\n"
        ),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_module_without_start() {
    let dir = folder(&[("main.wasm", &wat(r#"(module (memory (export "memory") 1) (func (export "main")))"#))]);
    refused(
        dir.path(),
        &["run", "-q", "main.wasm"],
        "the module has no `_start` function, so it is not a command [wasm.start]",
        "build it as a command (a program with `main`), or name the function to call: invoke = \"run\"",
    );
}

/// A trap before the program begins is the program's, not Donjon's.
#[test]
fn a_module_that_traps_while_it_is_instantiated() {
    let dir = folder(&[(
        "main.wasm",
        &wat(r#"(module $early (func $boom unreachable) (start $boom) (func (export "_start")))"#),
    )]);
    let ran = run(dir.path(), ["run", "-q", "main.wasm"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (134, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("early!boom\n"), "{}", ran.stderr);
}

/// The same for a component, which begins with its core modules' start functions.
#[test]
fn a_component_that_traps_while_it_is_instantiated() {
    let dir = folder(&[(
        "main.wasm",
        &wat(r#"(component
            (core module $early
                (func $boom unreachable) (start $boom) (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $early))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $out (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $out)))"#),
    )]);
    let ran = run(dir.path(), ["run", "-q", "main.wasm"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (134, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("early!boom\n"), "{}", ran.stderr);
}

/// And an exit there is the program's too (`wasi:cli/exit` knows 0 and 1).
#[test]
fn a_component_that_exits_while_it_is_instantiated() {
    for status in [0, 1] {
        let dir = folder(&[(
            "main.wasm",
            &wat(&format!(
                r#"(component
                    (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
                    (core func $exit (canon lower (func $exit "exit")))
                    (core instance $lowered (export "exit" (func $exit)))
                    (core module $m
                        (import "lowered" "exit" (func $exit (param i32)))
                        (func $early (call $exit (i32.const {status})))
                        (start $early)
                        (func (export "run") (result i32) unreachable))
                    (core instance $i (instantiate $m (with "lowered" (instance $lowered))))
                    (func $run (result (result)) (canon lift (core func $i "run")))
                    (instance $out (export "run" (func $run)))
                    (export "wasi:cli/run@0.2.0" (instance $out)))"#
            )),
        )]);
        run(dir.path(), ["run", "-q", "main.wasm"], Input::Nothing).assert(status, "", "");
    }
}

/// A listener of a program that nobody could ask anything.
#[test]
fn a_command_with_a_listener() {
    let listen = "[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"http\"\n";
    for form in Form::BOTH {
        let manifest = |rest: &str| format!("program = {:?}\nargs = [\"exit\", \"0\"]\n{rest}", probe(form));
        let dir = folder(&[("Donjon.toml", manifest(listen).as_bytes())]);
        refused(
            dir.path(),
            &["run", "-q"],
            "the manifest has the listener `web`, but the program does not export wasi:http/incoming-handler@0.2 or \
             wasi:http/handler@0.3, so nobody would answer there [wasm.kind]",
            "export the handler (world wasi:http/proxy), or remove the [[listen]]",
        );
        std::fs::write(dir.path().join("Donjon.toml"), manifest("")).unwrap();
        run(dir.path(), ["run", "-q"], Input::Nothing).assert(0, "", "");
    }
}

#[test]
pub(crate) fn a_service_without_a_handler() {
    let listen = "[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"http\"\n";
    let dir = folder(&[(
        "Donjon.toml",
        format!("program = {:?}\nkind = \"http\"\n{listen}", probe(Form::Component)).as_bytes(),
    )]);
    refused(
        dir.path(),
        &["run", "-q"],
        "the manifest says kind = \"http\", but the program does not export wasi:http/incoming-handler@0.2 \
         or wasi:http/handler@0.3 [wasm.kind]",
        "export the handler (world wasi:http/proxy, of 0.3 wasi:http/service), or say kind = \"command\"",
    );
    let control = format!("program = {:?}\nkind = \"command\"\nargs = [\"exit\", \"0\"]\n", probe(Form::Component));
    std::fs::write(dir.path().join("Donjon.toml"), control).unwrap();
    run(dir.path(), ["run", "-q"], Input::Nothing).assert(0, "", "");
}

/// And the other way round: a service that is called a command has nothing to run.
#[test]
pub(crate) fn a_command_that_is_a_service() {
    let dir =
        folder(&[("Donjon.toml", format!("program = {:?}\nkind = \"command\"\n", env!("DONJON_GREETER")).as_bytes())]);
    let ran = run(dir.path(), ["run", "-q"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (125, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("wasi:cli/run"), "it names the export that is missing: {}", ran.stderr);
    assert!(
        ran.stderr.contains("hint: ") && !ran.stderr.contains("other imports"),
        "nothing is imported: {}",
        ran.stderr
    );
}

/// A component that is neither.
#[test]
fn a_component_without_an_entry() {
    let dir = folder(&[("main.wasm", b"\0asm\x0d\0\x01\0")]);
    let ran = run(dir.path(), ["run", "-q", "main.wasm"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (125, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("wasi:cli/run"), "it names the export that is missing: {}", ran.stderr);
    assert!(
        ran.stderr.contains("hint: ") && !ran.stderr.contains("other imports"),
        "nothing is imported: {}",
        ran.stderr
    );
}

#[test]
pub(crate) fn a_manifest_without_a_program() {
    let dir = folder(&[("Donjon.toml", b"kind = \"command\"\n")]);
    for command in ["run", "pack"] {
        refused(
            dir.path(),
            &[command],
            "./Donjon.toml does not name its program",
            "add `program = \"path/to/main.wasm\"` (relative to that file)",
        );
    }
}

#[test]
fn a_folder_without_a_manifest() {
    let dir = folder(&[]);
    refused(
        dir.path(),
        &["run"],
        "cannot read ./Donjon.toml: No such file or directory (os error 2)",
        "name a program, or a folder with a Donjon.toml",
    );
}

#[test]
pub(crate) fn a_manifest_whose_program_is_missing() {
    let dir = folder(&[("Donjon.toml", b"program = \"target/main.wasm\"\n")]);
    refused(
        dir.path(),
        &["run"],
        "./Donjon.toml:1:11: cannot read the program ./target/main.wasm: No such file or directory (os error 2)",
        "build it first, or correct the path (`program` in Donjon.toml)",
    );
}

#[test]
pub(crate) fn a_key_or_value_that_is_spelled_wrong() {
    let dir = folder(&[("main.wasm", &wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#))]);
    let say = |text: &str| {
        std::fs::write(dir.path().join("Donjon.toml"), format!("program = \"main.wasm\"\n{text}")).unwrap()
    };
    for (text, error, hint) in [
        ("agrs = []\n", "2:1: unknown key `agrs`", "did you mean `args`?"),
        ("kind = \"htpp\"\n", "2:8: unknown value `htpp`", "did you mean `http`?"),
        (
            "[[listen]]\nname = \"web\"\nprt = 1\nprotocol = \"http\"\n",
            "4:1: unknown key `prt`",
            "did you mean `port`?",
        ),
        ("[[listen]]\nname = \"web\"\nprotocol = \"http\"\n", "2:1: the key `port` is missing", "add `port = …`"),
    ] {
        say(text);
        refused(dir.path(), &["run", "-q"], &format!("./Donjon.toml:{error}"), hint);
    }
    say("args = []\nkind = \"command\"\n");
    run(dir.path(), ["run", "-q"], Input::Nothing).assert(0, "", "");
}

#[test]
fn listeners_that_do_not_go_together() {
    let dir = folder(&[("main.wasm", b"")]);
    for (text, error, hint) in [
        (
            "[[listen]]\nname = \"db\"\nport = 1\nprotocol = \"tls\"\nroles = [\"web\"]\n",
            "2:1: `listen[0].roles` and \"steward\" in its `clients` belong together, and one of them is missing",
            "name the roles of the Deployment, for example: roles = [\"web\"]",
        ),
        (
            "kind = \"http\"\n",
            "2:8: `kind = \"http\"` needs a `[[listen]]` section with `name`, `port` and `protocol`",
            "add: [[listen]] name = \"web\", port = 8443, protocol = \"https\"",
        ),
        (
            "kind = \"command\"\n[[listen]]\nname = \"web\"\nport = 1\nprotocol = \"http\"\n",
            "6:12: `listen[0].protocol = \"http\"` belongs to an HTTP service, but `kind = \"command\"`",
            "say protocol \"tcp\" or \"tls\", or remove `kind`",
        ),
    ] {
        std::fs::write(dir.path().join("Donjon.toml"), format!("program = \"main.wasm\"\n{text}")).unwrap();
        refused(dir.path(), &["run", "-q"], &format!("./Donjon.toml:{error}"), hint);
    }
}

fn service(protocol: &str) -> tempfile::TempDir {
    let listen = format!("[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"{protocol}\"\n");
    folder(&[("Donjon.toml", format!("program = {:?}\n{listen}", env!("DONJON_GREETER")).as_bytes())])
}

#[test]
fn a_port_in_use() {
    let dir = service("http");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    refused(
        dir.path(),
        &["run", "-q", "--listen", &format!("web={address}")],
        &format!("listener `web` cannot be bound to {address}: Address in use (os error 98) [listen.in-use]"),
        "end the program that holds it, or choose another with `--listen web=127.0.0.1:0`",
    );
}

#[test]
fn an_address_that_is_none() {
    let dir = service("http");
    for address in ["nonsense", "8080", "localhost:8080", "127.0.0.1", "127.0.0.1:99999"] {
        refused(
            dir.path(),
            &["run", "-q", "--listen", &format!("web={address}")],
            &format!(
                "listener `web` cannot be bound to {address}: `{address}` is not an address and port [listen.address]"
            ),
            "write it as 127.0.0.1:8443 or [::1]:8443",
        );
    }
}

/// 192.0.2.0/24 is for documentation (RFC 5737): no machine has an address in it.
#[test]
fn an_address_of_another_machine() {
    refused(
        service("http").path(),
        &["run", "-q", "--listen", "web=192.0.2.1:8080"],
        "listener `web` cannot be bound to 192.0.2.1:8080: Address not available (os error 99) [listen.bind]",
        "choose an address of this host with `--listen web=ADDRESS:PORT`",
    );
}

/// A listener that the manifest does not have would be ignored, and the service would listen somewhere else.
#[test]
pub(crate) fn a_listener_that_is_spelled_wrong() {
    refused(
        service("http").path(),
        &["run", "-q", "--listen", "wbe=127.0.0.1:0"],
        "--listen wbe=127.0.0.1:0: the manifest has no listener `wbe`",
        "did you mean `web`?",
    );
}

/// TLS needs a certificate, and a local run has nobody who gives one.
#[test]
pub(crate) fn https_without_a_certificate() {
    refused(
        service("https").path(),
        &["run", "-q", "--listen", "web=127.0.0.1:0"],
        "listener `web` wants TLS, but this Keep has no certificate: no Steward was named [listen.certificate]",
        "deploy it, or say `protocol = \"http\"` for a local run",
    );
}

#[test]
fn variables_that_cannot_be() {
    let probe = probe(Form::Module);
    let probe = probe.to_str().unwrap();
    let ran = run(Path::new("/"), ["run", "-q", "--env", "NO_VALUE", probe, "exit", "0"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (2, ""));
    assert!(ran.stderr.contains("'NO_VALUE' for '--env <NAME=VALUE>': expected NAME=VALUE"), "{}", ran.stderr);

    let ran = run(Path::new("/"), ["run", "-q", "--env", "A=1", "--env", "A=2", probe, "exit", "0"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (125, ""));
    assert!(
        ran.stderr.starts_with("error: these arguments and variables cannot be given to a Keep: "),
        "{}",
        ran.stderr
    );

    let long = "x".repeat(70_000);
    let ran = run(Path::new("/"), ["run", "-q", probe, "args", &long], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (125, ""));
    assert!(
        ran.stderr.ends_with("hint: arguments and environment together may take 64 KiB, each variable once\n"),
        "{}",
        ran.stderr
    );
}

/// The file for the outcome cannot be written: said, not swallowed.
#[test]
fn an_outcome_that_cannot_be_written() {
    let dir = folder(&[("main.wasm", &wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#))]);
    let ran = run(dir.path(), ["run", "-q", "--outcome", "absent/outcome.json", "main.wasm"], Input::Nothing);
    ran.assert(125, "", "error: cannot write absent/outcome.json: No such file or directory (os error 2)\n");
}
