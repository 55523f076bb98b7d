//! The official tests of WASI (WebAssembly/wasi-testsuite, branch `prod/testsuite-base`, prebuilt): those of 0.1 and 0.3.
//!
//! `DONJON_WASI_TESTSUITE` names a checkout; without one the tests say so and pass, `DONJON_REQUIRE=testsuite` makes that a
//! failure. What cannot pass is listed with its reason, and fails the test once it passes.
//!
//! Source of the format: its `doc/specification.md`.

mod others;
mod wasmtime;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::http::Service;
use crate::support::{Input, donjon, folder, run, skip, wait};

/// What fails on every backend, and why.
const FAILS: &[(&str, &str)] = &[
    ("http-client-sent", "Wasmtime 48 tells of requests that were never sent as sent; expected to fail upstream"),
    ("http-client-path-none", "Wasmtime 48 sends `/` for a request without a path; expected to fail upstream"),
    ("http-request", "Wasmtime 48 refuses paths that do not begin with `/`, which the suite wants taken"),
];

/// The test programs of one folder, each with its specification.
fn tests(folder: &Path) -> BTreeMap<String, (PathBuf, Value)> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let programs =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "wasm"));
    let read = |program: PathBuf| {
        let specification = match std::fs::read(program.with_extension("json")) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", program.display()))
            }
            Err(_) => serde_json::json!({}),
        };
        (program.file_stem().unwrap().to_str().unwrap().to_owned(), (program, specification))
    };
    programs.map(read).collect()
}

/// Both forms of a specification as the newer one.
fn operations(specification: &Value) -> Vec<Value> {
    if let Some(operations) = specification["operations"].as_array() {
        return operations.clone();
    }
    let of = |key: &str| specification[key].clone();
    let begins = serde_json::json!({ "type": "run", "args": of("args"), "env": of("env"), "root": of("root") });
    let ends = serde_json::json!({ "type": "wait", "exit_code": of("exit_code") });
    let reads = ["stdout", "stderr"].into_iter().filter(|id| !specification[*id].is_null());
    let reads = reads.map(|id| serde_json::json!({ "type": "read", "id": id, "payload": of(id) }));
    [begins].into_iter().chain(reads).chain([ends]).collect()
}

/// The manifest under which a test runs.
fn manifest(program: &Path, begins: &Value) -> String {
    let quoted = |text: &Value| serde_json::to_string(text.as_str().expect("a text")).unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let args: Vec<_> = begins["args"].as_array().into_iter().flatten().map(quoted).collect();
    let mut text = format!("program = {program:?}\narg0 = {name:?}\nargs = [{}]\n[env]\n", args.join(", "));
    for (name, value) in begins["env"].as_object().into_iter().flatten() {
        text += &format!("{name:?} = {}\n", quoted(value));
    }
    if let Some(root) = begins["root"].as_str() {
        let root = program.with_file_name(root);
        text += &format!("[[mount]]\npath = \"/\"\nkind = \"memory\"\n[[file]]\npath = \"/\"\nsource = {root:?}\n");
    }
    text
}

/// Runs one test; why it failed.
fn done(program: &Path, specification: &Value) -> Result<(), String> {
    let operations = operations(specification);
    let of = |kind: &'static str| operations.iter().filter(move |operation| operation["type"] == kind);
    let known = ["run", "wait", "read", "write", "request", "kill", "connect", "send", "recv"];
    if let Some(other) = operations.iter().find(|operation| known.iter().all(|known| operation["type"] != **known)) {
        return Err(format!("this runner does not know {other}"));
    }
    let network = "[network]\nconnect = [\"*:*\"]\nlisten = [\"*\"]\nudp = [\"*:*\"]\n";
    if specification["world"] == "wasi:http/service" {
        let servers = others::serve(specification);
        let servers: String = servers.iter().map(|(name, address)| format!("{name} = \"{address}\"\n")).collect();
        let (service, _dir) = Service::of(program, &format!("[env]\n{servers}{network}"));
        return of("request").try_for_each(|request| asked(&service, request));
    }
    let begins = of("run").next().cloned().unwrap_or_default();
    let sockets = specification["proposals"].as_array().is_some_and(|of| of.iter().any(|of| of == "sockets"));
    let network = if sockets { network } else { "" };
    let dir = folder(&[("Donjon.toml", format!("{}{network}", manifest(program, &begins)).as_bytes())]);
    if of("connect").next().is_some() {
        return talked(dir.path(), &operations);
    }
    let input: String = of("write").filter_map(|write| write["payload"].as_str()).collect();
    let ran = run(dir.path(), ["run", "-q"], Input::Bytes(input.into_bytes()));
    let expected = of("wait").next().and_then(|wait| wait["exit_code"].as_i64()).unwrap_or(0);
    if i64::from(ran.code()) != expected {
        return Err(format!("status {}, expected {expected}: {}", ran.code(), ran.stderr));
    }
    for read in of("read") {
        let found = if read["id"] == "stderr" { ran.stderr.as_str() } else { ran.text() };
        if read["payload"].as_str().unwrap_or_default() != found {
            return Err(format!("expected {read}, found {found:?}"));
        }
    }
    Ok(())
}

/// A program that says where it listens, and one connection to it.
fn talked(dir: &Path, operations: &[Value]) -> Result<(), String> {
    let mut program = donjon(dir, ["run", "-q"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut at = String::new();
    let said = BufReader::new(program.stdout.take().unwrap()).read_line(&mut at);
    let done = said.and_then(|_| talk(&mut TcpStream::connect(at.trim())?, operations));
    if done.is_err() {
        program.kill().unwrap();
    }
    let status = wait(&mut program);
    done.map_err(|error| format!("{at}: {error}"))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

fn talk(stream: &mut TcpStream, operations: &[Value]) -> std::io::Result<()> {
    for operation in operations {
        let payload = operation["payload"].as_str().unwrap_or_default();
        if operation["type"] == "send" {
            stream.write_all(payload.as_bytes())?;
        } else if operation["type"] == "recv" {
            let mut found = vec![0; payload.len()];
            stream.read_exact(&mut found)?;
            if found != payload.as_bytes() {
                return Err(std::io::Error::other(format!("expected {operation}, found {found:?}")));
            }
        }
    }
    Ok(())
}

/// One request and what it must be answered.
fn asked(service: &Service, request: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = request["headers"].as_object().into_iter().flatten();
    let fields: String = fields.map(|(name, value)| format!("{name}: {}\r\n", text(value))).collect();
    let answer =
        service.send(&text(&request["method"]), &text(&request["path"]), &fields, text(&request["body"]).as_bytes());
    let expected = &request["response"];
    let status = expected["status"].as_u64().unwrap_or(200);
    let headers = expected["headers"].as_object().into_iter().flatten();
    let line = |(name, value): (&String, &Value)| format!("{name}: {}", text(value)).to_lowercase();
    let headers = headers.map(line).all(|line| answer.head.lines().any(|found| found == line));
    let body = expected["body"].as_str().is_none_or(|body| body.as_bytes() == answer.body);
    if u64::from(answer.status) == status && headers && body {
        return Ok(());
    }
    Err(format!("expected {expected}, found {answer:?}"))
}

/// Runs the tests of some folders: how many there are, all of which pass but those that are listed.
#[allow(clippy::print_stderr, reason = "what is left out is told")]
fn suite(folders: &[&str], count: usize) {
    let Some(checkout) = std::env::var_os("DONJON_WASI_TESTSUITE") else {
        return skip("testsuite", "DONJON_WASI_TESTSUITE does not name a checkout of WebAssembly/wasi-testsuite");
    };
    let listed: BTreeMap<_, _> = FAILS.iter().copied().collect();
    let mut all = 0;
    let (mut failed, mut why, mut fails) = (BTreeSet::new(), String::new(), BTreeSet::new());
    for folder in folders {
        for (name, (program, specification)) in tests(&Path::new(&checkout).join("tests").join(folder)) {
            all += 1;
            if let Some(reason) = listed.get(name.as_str()) {
                eprintln!("expected to fail: {name}: {reason}");
                fails.insert(name.clone());
            }
            if let Err(error) = done(&program, &specification) {
                why += &format!("{name}: {error}\n");
                failed.insert(name);
            }
        }
    }
    assert_eq!(all, count, "the suite has grown");
    assert_eq!(failed, fails, "{why}");
    eprintln!("{} of {all} pass", all - failed.len());
}

#[test]
fn wasi_0_1() {
    let of = |language: &str| format!("{language}/testsuite/wasm32-wasip1");
    let folders = ["assemblyscript", "c", "rust"].map(of);
    suite(&folders.each_ref().map(String::as_str), 72);
}

#[test]
fn wasi_0_3() {
    suite(&["rust/testsuite/wasm32-wasip3"], 55);
}
