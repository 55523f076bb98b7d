//! What bad callers and bad services cost: callers who say nothing or leave, services that trap, fail or never answer.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::ends::children;
use crate::http::Service;
use crate::support::{BACKEND, eventually, folder, wat};

/// A `wasi:http` service with this core module `$m`, whose `handle` gets the request and the place for the answer.
#[track_caller]
fn service(types: &str, imports: &str, module: &str, with: &str, rest: &str) -> (Service, tempfile::TempDir) {
    let program = wat(&format!(
        r#"(component $service
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "outgoing-response" (type $response (sub resource)))
                (export "response-outparam" (type $outparam (sub resource)))
                {types}))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $outparam))
            {imports}
            {module}
            (core instance $i (instantiate $m {with}))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $i "handle")))
            (instance $out (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $out)))"#
    ));
    let dir = folder(&[("service.wasm", &program)]);
    let (service, _manifest) = Service::of(&dir.path().join("service.wasm"), rest);
    (service, dir)
}

const TRAP: &str = r#"(core module $m (func $boom (export "handle") (param i32 i32) unreachable))"#;

/// A backtrace is as much the program's own as what it writes to its standard error.
#[test]
fn a_trap_of_a_service_goes_where_its_stderr_goes() {
    for (rest, shown) in [("", true), ("stderr = \"null\"\n", false)] {
        let (service, _dir) = service("", "", TRAP, "", rest);
        let answer = service.get("/");
        assert_eq!((answer.status, answer.text()), (500, "the program ended without an answer\n"));
        let said = service.end();
        assert_eq!(said.contains("trap: error while executing at wasm backtrace:\n"), shown, "{said}");
        assert!(shown || said.is_empty(), "{said}");
    }
}

/// The cases of `error-code` in `wasi:http/types@0.2.0`, with what they carry.
const CODES: &str = "DNS-timeout DNS-error=$dns destination-not-found destination-unavailable
    destination-IP-prohibited destination-IP-unroutable connection-refused connection-terminated connection-timeout
    connection-read-timeout connection-write-timeout connection-limit-reached TLS-protocol-error TLS-certificate-error
    TLS-alert-received=$tls HTTP-request-denied HTTP-request-length-required HTTP-request-body-size=$u64
    HTTP-request-method-invalid HTTP-request-URI-invalid HTTP-request-URI-too-long
    HTTP-request-header-section-size=$u32 HTTP-request-header-size=$field-or-none
    HTTP-request-trailer-section-size=$u32 HTTP-request-trailer-size=$field HTTP-response-incomplete
    HTTP-response-header-section-size=$u32 HTTP-response-header-size=$field HTTP-response-body-size=$u64
    HTTP-response-trailer-section-size=$u32 HTTP-response-trailer-size=$field HTTP-response-transfer-coding=$text
    HTTP-response-content-coding=$text HTTP-response-timeout HTTP-upgrade-failed HTTP-protocol-error loop-detected
    configuration-error internal-error=$text";

/// What went wrong inside a service is not for whoever calls it from the network.
#[test]
fn a_callers_answer_has_nothing_of_the_services_error() {
    let cases: Vec<String> = CODES
        .split_whitespace()
        .map(|code| match code.split_once('=') {
            None => format!("(case \"{code}\")"),
            Some((code, carries)) => format!("(case \"{code}\" {carries})"),
        })
        .collect();
    let internal_error = cases.len() - 1;
    let types = format!(
        r#"(type $text (option string)) (type $u16 (option u16)) (type $u8 (option u8))
        (type $u32 (option u32)) (type $u64 (option u64))
        (type $dns-record (record (field "rcode" $text) (field "info-code" $u16)))
        (export "DNS-error-payload" (type $dns (eq $dns-record)))
        (type $tls-record (record (field "alert-id" $u8) (field "alert-message" $text)))
        (export "TLS-alert-received-payload" (type $tls (eq $tls-record)))
        (type $field-record (record (field "field-name" $text) (field "field-size" $u32)))
        (export "field-size-payload" (type $field (eq $field-record)))
        (type $field-or-none (option $field))
        (type $codes (variant {}))
        (export "error-code" (type $code (eq $codes)))
        (export "[static]response-outparam.set" (func
            (param "param" (own $outparam)) (param "response" (result (own $response) (error $code)))))"#,
        cases.join(" ")
    );
    // The parameters of the set, flattened: the place, is it an error, which, is there a text, where, how long.
    let module = format!(
        r#"(core module $memory (memory (export "memory") 1) (data (i32.const 0) "password"))
        (core instance $memory (instantiate $memory))
        (core func $set (canon lower (func $types "[static]response-outparam.set")
            (memory (core memory $memory "memory"))))
        (core instance $lowered (export "set" (func $set)))
        (core module $m
            (import "lowered" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
            (func (export "handle") (param i32 i32)
                (call $set (local.get 1) (i32.const 1) (i32.const {internal_error}) (i32.const 1)
                    (i64.const 0) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 0))))"#
    );
    let (service, _dir) = service(&types, "", &module, r#"(with "lowered" (instance $lowered))"#, "");
    let answer = service.get("/");
    assert_eq!((answer.status, answer.text()), (500, "the program answered with an error\n"));
}

/// A program that takes 64 MiB of memory, and waits for an hour before it answers.
fn sleeper() -> (Service, tempfile::TempDir) {
    service(
        "",
        r#"(import "wasi:io/poll@0.2.0" (instance $poll
                (export "pollable" (type $pollable (sub resource)))
                (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                (alias outer $service $pollable (type $pollable))
                (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
            (core func $block (canon lower (func $poll "[method]pollable.block")))
            (core func $after (canon lower (func $clock "subscribe-duration")))
            (core instance $lowered (export "block" (func $block)) (export "after" (func $after)))"#,
        r#"(core module $m
            (import "lowered" "block" (func $block (param i32)))
            (import "lowered" "after" (func $after (param i64) (result i32)))
            (memory 1024)
            (func (export "handle") (param i32 i32)
                (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x4000000))
                (call $block (call $after (i64.const 3600000000000)))))"#,
        r#"(with "lowered" (instance $lowered))"#,
        "",
    )
}

/// The memory that the Keep has, in KiB.
pub(super) fn memory(service: &Service) -> u64 {
    let size = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    children(service.donjon.id()).into_iter().filter_map(size).sum()
}

/// A caller who leaves takes the instance along; else everybody could fill the Keep with them.
#[test]
fn an_instance_ends_when_its_caller_leaves() {
    const MIB: u64 = 1 << 10;
    if BACKEND != "nil" {
        // What exec has is seen from outside only where it is a process.
        return;
    }
    let (service, _dir) = sleeper();
    let without = memory(&service);
    let mut caller = TcpStream::connect(service.address).unwrap();
    caller.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    eventually("an instance runs", || memory(&service) > without + 48 * MIB);
    drop(caller);
    eventually("the instance is gone", || memory(&service) < without + 16 * MIB);
}

/// A frame of HTTP/2 (RFC 9113 section 4.1) of stream 0.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, 0][..], payload].concat()
}

/// Callers without a request: the connection ends, whatever else they do.
#[test]
fn a_connection_without_a_request_is_closed() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    let (service, _dir) = service("", "", TRAP, "", "");
    let connect = || {
        let stream = TcpStream::connect(service.address).unwrap();
        // What counts as never.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(100))).unwrap();
        stream
    };
    // An end that the other side could not say politely is one too.
    let ended = |read: std::io::Result<()>| match read {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    thread::scope(|scope| {
        for said in [&b""[..], &PREFACE[..9], PREFACE, b"GET / HTTP/1.1\r\nhos"] {
            scope.spawn(move || {
                let mut stream = connect();
                stream.write_all(said).unwrap();
                let read = stream.read_to_end(&mut Vec::new()).map(|_| ());
                assert!(ended(read), "{said:?} holds a connection");
            });
        }
        // An HTTP/2 peer that is well and alive, and answers every ping.
        scope.spawn(move || {
            let mut stream = connect();
            let mut send = stream.try_clone().unwrap();
            send.write_all(&[PREFACE, &frame(SETTINGS, 0, b"")].concat()).unwrap();
            let mut answers = || -> std::io::Result<()> {
                let mut pings = 0;
                loop {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head)?;
                    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
                    stream.read_exact(&mut payload)?;
                    if head[3] == PING && head[4] & ACK == 0 {
                        pings += 1;
                        // One for being idle, one as a farewell, and room.
                        assert!(pings < 9, "an idle peer holds a connection");
                        send.write_all(&frame(PING, ACK, &payload))?;
                    }
                }
            };
            let error = answers().unwrap_err();
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            assert!(matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof), "{error}");
        });
    });
}
