//! A service that is told to end: whom it answers is answered, nobody else is accepted, and it ends with 0.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use crate::http::{Answer, Service};
use crate::support::{eventually, has, read, skip, tell, wait};

const SIGNALS: [&str; 2] = ["TERM", "INT"];

/// Until nobody is accepted: then it has heard.
#[track_caller]
fn closed(address: SocketAddr) {
    eventually("nobody is accepted any more", || TcpStream::connect(address).is_err());
}

/// A request that runs: half of it is there, and was echoed. With what came so far.
fn half(service: &Service) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\none").unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"one") && !came.ends_with(b"one\r\n") {
        let (back, byte) = read(stream, 1);
        stream = back;
        came.extend(byte);
    }
    (stream, came)
}

#[test]
fn a_request_that_runs_is_answered_and_nobody_else_is() {
    for signal in SIGNALS {
        let (mut service, _dir) = Service::start("");
        let mut silent = TcpStream::connect(service.address).unwrap();
        let mut kept = TcpStream::connect(service.address).unwrap();
        kept.write_all(b"HEAD /time HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let (mut kept, _) = read(kept, b"HTTP/1.1 200 OK\r\n".len());
        let (mut stream, mut answer) = half(&service);
        tell(&service.donjon, signal);
        closed(service.address);
        // Who asks nothing has nothing to wait for.
        for idle in [&mut silent, &mut kept] {
            _ = idle.read_to_end(&mut Vec::new());
        }
        assert!(service.donjon.try_wait().unwrap().is_none(), "{signal}: it has somebody to answer");
        stream.write_all(b"two").unwrap();
        stream.read_to_end(&mut answer).unwrap();
        let answer = Answer::parse(&answer);
        assert_eq!((answer.status, answer.text()), (200, "onetwo"), "{signal}");
        assert_eq!(wait(&mut service.donjon).code(), Some(0), "{signal}");
    }
}

/// Over HTTP/2, by somebody else's client.
#[test]
fn a_stream_that_runs_is_answered() {
    if !has("curl") {
        return skip("curl", "curl is not installed");
    }
    for signal in SIGNALS {
        let (mut service, _dir) = Service::start("");
        let url = format!("http://{}/echo", service.address);
        let fixed = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "120", "--http2-prior-knowledge"];
        // Of standard input what is there, without waiting for more before the answer is looked at.
        let piped = ["--no-buffer", "--request", "POST", "--upload-file", ".", "--write-out", " %{http_version}", &url];
        let mut command = Command::new("curl");
        command.args(fixed).args(piped).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut curl = command.spawn().unwrap();
        let mut input = curl.stdin.take().unwrap();
        input.write_all(b"one").unwrap();
        let (mut output, first) = read(curl.stdout.take().unwrap(), 3);
        tell(&service.donjon, signal);
        closed(service.address);
        input.write_all(b"two").unwrap();
        drop(input);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!((first.as_slice(), rest.as_str()), (&b"one"[..], "two 2"), "{signal}");
        assert!(wait(&mut curl).success());
        assert_eq!(wait(&mut service.donjon).code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_waits_for_nobody() {
    let (mut service, _dir) = Service::start("");
    let (mut stream, mut answer) = half(&service);
    tell(&service.donjon, "TERM");
    closed(service.address);
    tell(&service.donjon, "TERM");
    assert_eq!(wait(&mut service.donjon).code(), Some(143));
    // It is cut off, by an end or by an error: the last chunk did not come.
    _ = stream.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
}
