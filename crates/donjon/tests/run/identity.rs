//! What a program has of its Keep where nothing attests: its brief, connections by path, and the answer that there is no more
//! (`spec/keep-interface.md`). What there is with a certificate is in the test binary `flow`, evidence and keys in `sim_snp`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use tempfile::TempDir;
use workload::Brief;

use crate::support::{BACKEND, Form, Input, Ran, attested, donjon, folder, probe, run, wait, wat};

const FILES: &str = "[identity]\nfiles = true\n";

fn project(program: &std::path::Path, args: &[&str], sections: &str) -> TempDir {
    let manifest = format!("program = {:?}\nargs = {args:?}\n{sections}", program.to_str().unwrap());
    folder(&[("Donjon.toml", manifest.as_bytes())])
}

fn ran(program: &std::path::Path, args: &[&str], sections: &str) -> Ran {
    run(project(program, args, sections).path(), ["run", "-q"], Input::Nothing)
}

#[test]
pub(crate) fn the_brief_is_a_file_if_the_manifest_says_so() {
    for (form, names) in [(Form::Module, "brief\nconnect\nlisten\n"), (Form::Component, "brief\n")] {
        let probe = probe(form);
        ran(&probe, &["list", "/run/donjon"], FILES).assert(0, names, "");
        let brief = ran(&attested(form), &["cat", "brief"], FILES);
        assert_eq!(brief.code(), 0, "{}", brief.stderr);
        assert!(Brief::decode(&brief.stdout).unwrap().steward.is_none());

        assert_eq!(ran(&probe, &["list", "/run/donjon"], "").code(), 1, "control: nobody asked");
        assert_eq!(ran(&probe, &["put", "/run/donjon/brief", "x"], FILES).code(), 1, "only read");
        assert_eq!(ran(&probe, &["put", "/run/donjon/mine", "x"], FILES).code(), 1, "only read");
        // Beside what a program writes to.
        let mount = format!("{FILES}[[mount]]\npath = \"/run\"\nkind = \"memory\"\n");
        ran(&probe, &["list", "/run"], &mount).assert(0, "donjon\n", "");
        ran(&probe, &["put", "/run/mine", "x"], &mount).assert(0, "x", "");
        assert_eq!(ran(&probe, &["put", "/run/donjon/brief", "x"], &mount).code(), 1, "only read");
    }
    let native = probe(Form::Native);
    let brief = ran(&native, &["file", "/run/donjon/brief"], FILES);
    assert!(Brief::decode(&brief.stdout).is_ok(), "{}", brief.stderr);
    assert_ne!(ran(&native, &["file", "/run/donjon/brief"], "").code(), 0, "control");
}

#[test]
fn what_this_platform_has_not_is_unavailable() {
    for form in Form::BOTH {
        let attested = attested(form);
        let said = |args: &[&str], why: &str| {
            ran(&attested, args, "").assert(1, "", &format!("error: {why}\n"));
        };
        let (none, long) = ("this Keep has none", "more bytes than are taken");
        said(&["evidence", "x"], none);
        said(&["key", "x"], none);
        said(&["sign", "x"], none);
        said(&["evidence", &"x".repeat(4096)], none);
        said(&["evidence", &"x".repeat(4097)], long);
        said(&["key", &"x".repeat(128)], none);
        said(&["key", &"x".repeat(129)], long);
        said(&["verify", "x", "00", "web"], none);
        said(&["verify", "x", "00", "a role"], "no chain of certificates in PEM, or no name of a role");
        said(&["verify", "x", &"00".repeat(257), "web"], long);
    }
    // On a process's platform there is a key, for what exec stores: no program gets it, cache or not.
    if BACKEND == "nil" {
        let dir = project(&attested(Form::Module), &["key", "x"], "");
        let mut command = donjon(dir.path(), ["run", "-q"]);
        command.env_remove("DONJON_NO_CACHE").env("XDG_CACHE_HOME", dir.path());
        crate::support::finish(command, Input::Nothing).assert(1, "", "error: this Keep has none\n");
    }
}

/// Pointers out of memory, lengths beyond it: a status, never a trap.
#[test]
fn what_a_module_passes_does_not_trap() {
    let call = |call: &str| {
        wat(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (import "donjon_keep_0_1" "evidence" (func $evidence (param i32 i32 i32 i32 i32) (result i32)))
                (import "donjon_keep_0_1" "derive_key" (func $derive_key (param i32 i32 i32) (result i32)))
                (import "donjon_keep_0_1" "sign"
                    (func $sign (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
                (import "donjon_keep_0_1" "verify"
                    (func $verify (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (func (export "_start") (call $exit ({call}))))"#
        ))
    };
    let [out, most] = ["(i32.const 65530)", "(i32.const -1)"];
    let zeros = |count: usize| "(i32.const 0)".repeat(count);
    for (text, status) in [
        (format!("call $evidence {}", zeros(5)), 1),
        (format!("call $evidence {out} (i32.const 7) {}", zeros(3)), 3),
        (format!("call $evidence {} {most} {}", zeros(1), zeros(3)), 2),
        (format!("call $derive_key {out} (i32.const 7) {}", zeros(1)), 3),
        (format!("call $derive_key {most} (i32.const 1) {}", zeros(1)), 3),
        (format!("call $sign {out} (i32.const 7) {}", zeros(6)), 3),
        (format!("call $sign {} {most} {}", zeros(1), zeros(6)), 2),
        (format!("call $verify {out} (i32.const 7) {}", zeros(9)), 3),
        (format!("call $verify {} {most} {}", zeros(3), zeros(7)), 2),
    ] {
        let dir = folder(&[("main.wasm", &call(&text))]);
        run(dir.path(), ["run", "-q", "main.wasm"], Input::Nothing).assert(status, "", "");
    }
}

/// Gives each caller his line back in capitals.
fn other() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                // Who says nothing is answered with nothing.
                _ = BufReader::new(&stream).read_line(&mut line);
                _ = stream.write_all(line.to_uppercase().as_bytes());
            });
        }
    });
    address
}

#[test]
pub(crate) fn a_path_is_a_connection() {
    let (probe, at) = (probe(Form::Module), other());
    let port = at.port();
    let section = format!("{FILES}[[connect]]\nname = \"other\"\nto = \"{at}\"\nprotocol = \"tcp\"\n");
    let door = |path: &str, sections: &str| ran(&probe, &["door", &format!("/run/donjon/{path}"), "hello"], sections);
    ran(&probe, &["list", "/run/donjon/connect"], &section).assert(0, "other\n", "");
    door("connect/other", &section).assert(0, "HELLO\n", "");
    door(&format!("connect/{at}"), &section).assert(0, "HELLO\n", "");
    door("connect/../connect/./other", &section).assert(0, "HELLO\n", "");
    let network = |rule: &str| format!("{FILES}[network]\nconnect = [\"{rule}\"]\n");
    door(&format!("connect/{at}"), &network(&at.to_string())).assert(0, "HELLO\n", "");
    let named = format!("localhost:{port}");
    door(&format!("connect/{named}"), &network(&named)).assert(0, "HELLO\n", "");

    // Refused as a socket is, with the key to add.
    let refused = door(&format!("connect/{at}"), FILES);
    let hint = format!(
        "denied: to connect to {at}\nhint: the manifest does not allow it; add: [network] connect = [\"{at}\"]\n"
    );
    assert!(refused.code() == 1 && refused.stderr.starts_with(&hint), "{}", refused.stderr);
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    for path in ["connect/nobody", "connect/nobody:x", "connect/", "connect", "listen/other"] {
        assert_eq!(door(path, &section).code(), 1, "{path}");
    }
    // Neither without the key, nor for components, which have sockets.
    assert_eq!(door("connect/other", section.trim_start_matches(FILES)).code(), 1);
    let component = ran(&crate::support::probe(Form::Component), &["door", "/run/donjon/connect/other", "x"], &section);
    assert_eq!(component.code(), 1, "{}", component.stderr);
}

#[test]
fn a_path_is_a_listener() {
    let listen = format!("{FILES}[[listen]]\nname = \"db\"\nport = 5432\nprotocol = \"tcp\"\n");
    let dir = project(&probe(Form::Module), &["answer", "/run/donjon/listen/db"], &listen);
    let mut command = donjon(dir.path(), ["run", "--listen", "db=127.0.0.1:0"]);
    let mut donjon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(donjon.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listens = said.find_map(|line| Some(line.strip_prefix("donjon: db listens on ")?.to_owned()));
    let mut stream = TcpStream::connect(listens.expect("it listens")).unwrap();
    thread::spawn(move || said.for_each(drop));
    stream.write_all(b"hello\n").unwrap();
    let mut back = String::new();
    BufReader::new(&stream).read_line(&mut back).unwrap();
    assert_eq!(back, "HELLO\n");
    assert_eq!(wait(&mut donjon).code(), Some(0));
}
