//! What a program may take, and that others have what is left.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::http::Service;
use crate::support::{BACKEND, Form, Input, Ran, folder, probe, program, run, wat};

/// A module that ends with what its body leaves as status, under these limits.
fn limited(memory: &str, body: &str, limits: &str) -> Ran {
    let module = wat(&format!(
        "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
           {memory} (func (export \"_start\") (call $exit {body})))"
    ));
    let manifest = format!("program = \"main.wasm\"\n[limits]\n{limits}\n");
    let dir = folder(&[("Donjon.toml", manifest.as_bytes()), ("main.wasm", &module)]);
    run(dir.path(), ["run", "-q"], Input::Nothing)
}

const TWO_PAGES: &str = "(memory (export \"memory\") 2)";

#[test]
pub(crate) fn memory() {
    let grow = "(i32.eq (memory.grow (i32.const 1)) (i32.const -1))";
    limited(TWO_PAGES, grow, "").assert(0, "", "");
    limited(TWO_PAGES, grow, "memory = \"192 KiB\"").assert(0, "", "");
    let denied = "denied: the program wants 196608, and `limits.memory` gives it 131072\n";
    limited(TWO_PAGES, grow, "memory = \"128 KiB\"").assert(1, "", denied);
    // Not even what it begins with: it does not begin.
    let ran = limited(TWO_PAGES, grow, "memory = \"64 KiB\"");
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("[limits.reached]") && ran.stderr.contains("gives it 65536"), "{}", ran.stderr);
}

#[test]
pub(crate) fn tables() {
    let table = format!("{TWO_PAGES} (table 2 funcref)");
    let grow = "(i32.eq (table.grow (ref.null func) (i32.const 1)) (i32.const -1))";
    limited(&table, grow, "elements = 3").assert(0, "", "");
    limited(&table, grow, "elements = 2").assert(
        1,
        "",
        "denied: the program wants 3, and `limits.elements` gives it 2\n",
    );
}

#[test]
pub(crate) fn computing() {
    let forever = "(loop $l (result i32) (br $l))";
    for (limits, key) in [("cpu = \"100 ms\"", "limits.cpu"), ("time = \"100 ms\"", "limits.time")] {
        let ran = limited(TWO_PAGES, forever, limits);
        assert_eq!(ran.code(), 134, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("trap: ") && ran.stderr.contains(key), "{}", ran.stderr);
    }
    limited(TWO_PAGES, "(i32.const 3)", "cpu = \"1 h\"\ntime = \"1 h\"").assert(3, "", "");
}

#[test]
pub(crate) fn waiting() {
    for form in Form::BOTH {
        let wait = |time: &str, milliseconds: &str| {
            let program = probe(form);
            let manifest = format!("program = {program:?}\nargs = [\"sleep\", \"{milliseconds}\"]\n[limits]\n{time}\n");
            run(folder(&[("Donjon.toml", manifest.as_bytes())]).path(), ["run", "-q"], Input::Nothing)
        };
        let ran = wait("time = \"100 ms\"", "3600000");
        assert!(ran.code() == 134 && ran.stderr.contains("limits.time"), "{}", ran.stderr);
        wait("time = \"1 h\"", "1").assert(0, "", "");
        // Who waits does not compute: more than a program of this size takes to begin.
        wait("cpu = \"2 s\"", "4000").assert(0, "", "");
    }
}

#[test]
pub(crate) fn descriptors() {
    let read = |form: Form, limit: &str| {
        let program = probe(form);
        let manifest = format!(
            "program = {program:?}\nargs = [\"file\", \"/a\"]\n[[file]]\npath = \"/a\"\nsource = \"a\"\n[limits]\n{limit}\n"
        );
        run(folder(&[("Donjon.toml", manifest.as_bytes()), ("a", b"text")]).path(), ["run", "-q"], Input::Nothing)
    };
    // A module has its standard streams and the directory; a component takes a stream when it first uses it.
    for (form, few) in [(Form::Module, "descriptors = 4"), (Form::Component, "descriptors = 1")] {
        read(form, "descriptors = 100").assert(0, "text", "");
        let ran = read(form, few);
        assert!(ran.code() != 0 && ran.text().is_empty(), "{form:?}: {}", ran.stderr);
    }
    assert!(read(Form::Module, "descriptors = 4").stderr.contains("No file descriptors available"));
}

/// One request at a time: the second is not begun while the first has no end.
#[test]
pub(crate) fn requests() {
    for (limits, waits) in [("", false), ("[limits]\nrequests = 1\n", true)] {
        let (service, _dir) = Service::of(std::path::Path::new(env!("DONJON_GREETER")), limits);
        let mut first = TcpStream::connect(service.address).unwrap();
        first
            .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\nconnection: close\r\n\r\nabc")
            .unwrap();
        let mut begun = [0; 12];
        first.read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200");
        let mut second = TcpStream::connect(service.address).unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        if waits {
            second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            assert!(second.read(&mut [0]).is_err(), "it waits");
            second.set_read_timeout(None).unwrap();
            first.write_all(b"def").unwrap();
            first.read_to_end(&mut Vec::new()).unwrap();
        }
        second.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Of a machine's memory, and how many instances that is not enough for.
const SMALL: &str = "192MiB";
const MANY: usize = 200;

/// A Keep of which all memory is used up ends, and with it everybody in it: so nobody gets the last of it.
#[test]
fn the_memory_of_the_keep() {
    if BACKEND == "nil" {
        // A process has what its whole machine has, and says so.
        let dir = folder(&[("main.wasm", &wat("(module (func (export \"_start\")))"))]);
        let ran = run(dir.path(), ["run", "-q", "--memory", SMALL, "main.wasm"], Input::Nothing);
        assert!(ran.stderr.contains("hint: take one with micro-VMs"), "{}", ran.stderr);
        return;
    }
    let grow = "(i32.eq (memory.grow (i32.const 16384)) (i32.const -1))";
    let ran = limited(TWO_PAGES, grow, "");
    assert_eq!((ran.code(), ran.text()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("denied: the program wants 1073872896 bytes, and this Keep has "), "{}", ran.stderr);
    let ran = limited("(memory (export \"memory\") 16384)", "(i32.const 0)", "");
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("[limits.reached]"), "{}", ran.stderr);
    // Of what is none of exec's it is the program's own affair.
    let native = probe(Form::Native);
    let ran = run(Path::new("/"), ["run", "-q", "--memory", SMALL, native.to_str().unwrap(), "memory"], Input::Nothing);
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("memory is full\nhint: give its micro-VM more: `--memory "), "{}", ran.stderr);

    let rogue = program("rogue", "rogue.wasm", Form::Component);
    let (service, _dir) = Service::with(&rogue, "stderr = \"null\"\n", &["--memory", SMALL]);
    let well = || assert_eq!(service.get("/").text(), "well\n");
    // More at once than there is memory for, and when they left, what they leave to the next ones.
    for path in ["/sleep", "/memory"] {
        drop((0..MANY).map(|_| service.ask(path)).collect::<Vec<_>>());
        well();
        assert_eq!(service.get("/memory").status, 500);
        well();
    }
    // What the Keep holds for them is of the same memory.
    let holding: Vec<_> = (0..4).map(|_| service.ask("/hold")).collect();
    assert_eq!(service.get("/hold").status, 503);
    well();
    for mut stream in holding {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    well();
    assert_eq!(service.end(), "");
}

/// Requests that compute for ever, sleep, trap or take all memory: others are answered meanwhile, and after.
#[test]
fn bad_requests_cost_only_themselves() {
    let rogue = program("rogue", "rogue.wasm", Form::Component);
    let limits = "stderr = \"null\"\n[limits]\nmemory = \"64 MiB\"\ncpu = \"2 s\"\ntime = \"20 s\"\n";
    let (service, _dir) = Service::of(&rogue, limits);
    let well = || {
        let answer = service.get("/");
        assert_eq!((answer.status, answer.text()), (200, "well\n"));
    };
    well();
    let spinning: Vec<_> = (0..4).map(|_| service.ask("/spin")).collect();
    let sleeping = service.ask("/sleep");
    for path in ["/trap", "/silent", "/memory"] {
        assert_eq!(service.get(path).status, 500, "{path}");
        well();
    }
    let mut half = Vec::new();
    // The connection breaks: nobody takes the half for the whole.
    _ = service.ask("/half").read_to_end(&mut half);
    let half = String::from_utf8(half).unwrap();
    assert!(half.split_once("\r\n\r\n").is_none_or(|(_, body)| body.len() < 10), "{half}");
    well();
    for mut stream in spinning {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    }
    drop(sleeping);
    well();
}
