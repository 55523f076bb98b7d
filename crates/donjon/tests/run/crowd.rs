//! A service among ten thousand connections that want nothing, or want it slowly: it answers everybody else, ends nowhere,
//! and holds no more afterwards than before. `DONJON_SOAK=N` goes on with all that is bad for N minutes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::edges::number;
use super::hostile::memory;
use super::http::Service;
use crate::support::{BACKEND, Form, program};

/// In KiB.
const MIB: u64 = 1 << 10;
const CROWD: usize = 10_000;
/// A micro-VM has 1024 descriptors.
const MACHINE: usize = 1500;
/// Requests that hold an instance each, and how many there are: 512, or in a micro-VM what is enough to see it.
const SLOW: (usize, &str) = match BACKEND.as_bytes() {
    b"nil" => (560, ""),
    _ => (112, "[limits]\nrequests = 64\n"),
};

/// What one of the crowd does, and then nothing any more.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Silent,
    /// Begins a request's head.
    Head,
    /// One request is answered, and no other comes.
    Kept,
    /// Begins HTTP/2.
    Two,
    /// The peer sends no more, and reads no more.
    HalfOpen,
}

const KINDS: [Kind; 5] = [Kind::Silent, Kind::Head, Kind::Kept, Kind::Two, Kind::HalfOpen];

fn join(address: SocketAddr, kind: Kind) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    // A service that ended this one already is right.
    let sent = match kind {
        Kind::Silent => Ok(()),
        Kind::Head => stream.write_all(b"GET /time HTTP/1.1\r\nhost: x\r\nx-lo"),
        Kind::Kept => stream.write_all(b"GET /time HTTP/1.1\r\nhost: x\r\n\r\n"),
        Kind::Two => stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        Kind::HalfOpen => stream.shutdown(std::net::Shutdown::Write),
    };
    _ = sent;
    stream
}

fn crowd(service: &Service, count: usize) {
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        all.push(join(service.address, KINDS[number % KINDS.len()]));
        if number % 250 == 0 {
            assert_eq!(service.get("/time").status, 200, "beside {number} others");
        }
    }
    assert_eq!(service.get("/time").status, 200);
}

#[test]
fn ten_thousand_connections_keep_nobody_from_being_served() {
    let (service, _dir) = Service::start("");
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let room = limit.maximum.map_or(CROWD, |most| usize::try_from(most).unwrap_or(CROWD) * 3 / 4);
    let count = if BACKEND == "nil" { CROWD.min(room) } else { MACHINE };
    crowd(&service, count);
    // Of a machine it is its own affair.
    if BACKEND == "nil" {
        let after_two = || {
            crowd(&service, count);
            crowd(&service, count);
            memory(&service)
        };
        // The next crowd comes while the last is leaving, on a busy machine more slowly: at some time there are as many as there
        // ever are, and no more memory than then.
        let mut held = vec![after_two()];
        let stays = (0..3).any(|_| {
            let (before, after) = (held[held.len() - 1], after_two());
            held.push(after);
            after < before + before / 10
        });
        assert!(stays, "KiB: {held:?}");
    }
    assert_eq!(service.end(), "");
}

/// Each holds an instance: its body never comes, or its answer is never read.
#[test]
fn slow_requests_have_to_go_when_others_come() {
    let (count, limits) = SLOW;
    let (service, _dir) = Service::start(limits);
    let body = vec![b'x'; 1 << 20];
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\n").unwrap();
        if number % 2 == 1 {
            // As much as goes without reading what comes back.
            stream.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
            while stream.write(&body).is_ok() {}
        }
        slow.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(service.get("/time").status, 200);
    }
    // Who had to go was told so, or found the connection at its end.
    let mut gone = 0;
    for stream in &mut slow {
        stream.set_nonblocking(true).unwrap();
        let mut heard = vec![0; 1 << 16];
        let ended = loop {
            match stream.read(&mut heard) {
                Ok(0) => break true,
                Ok(count) if heard[..count].starts_with(b"HTTP/1.1 408 ") => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        gone += usize::from(ended);
    }
    assert!((20..count).contains(&gone), "{gone} of {count}");
    assert_eq!(service.end(), "");
}

/// Callers that want nothing or leave in the middle, and requests that trap, take all memory or never end.
#[test]
#[allow(clippy::print_stderr, reason = "a long run is followed")]
fn what_is_bad_leaves_nothing_behind() {
    let rogue = program("rogue", "rogue.wasm", Form::Component);
    let limits = "stderr = \"null\"\n[limits]\nmemory = \"32 MiB\"\ncpu = \"1 s\"\ntime = \"20 s\"\nrequests = 32\n";
    let (service, _dir) = Service::of(&rogue, limits);
    // Places keep what one instance had for the next, up to a bound: all of them had one now, of each kind.
    for path in ["/sleep", "/memory"].repeat(2) {
        let all: Vec<_> = (0..64).map(|_| service.ask(path)).collect();
        // They begin, and go while others begin.
        std::thread::sleep(Duration::from_millis(500));
        drop(all);
    }
    let round = || {
        let idle: Vec<_> = (0..200).map(|number| join(service.address, KINDS[number % KINDS.len()])).collect();
        let left: Vec<_> = ["/spin", "/sleep", "/half"].into_iter().map(|path| service.ask(path)).collect();
        for path in ["/trap", "/silent", "/memory"].repeat(5) {
            assert_eq!(service.get(path).status, 500, "{path}");
        }
        drop((idle, left));
        assert_eq!(service.get("/").text(), "well\n");
    };
    let rounds = || {
        (0..if BACKEND == "nil" { 5 } else { 1 }).for_each(|_| round());
        memory(&service)
    };
    let minutes = number("DONJON_SOAK", 0);
    let (begin, length) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut first, mut told) = (rounds(), Duration::ZERO);
    let last = loop {
        let (last, at) = (rounds(), begin.elapsed());
        // Of a long run what counts is that it stops growing.
        if at < length / 4 {
            first = last;
        }
        if at >= told + Duration::from_secs(60) {
            eprintln!("after {} s: {last} KiB", at.as_secs());
            told = at;
        }
        if at >= length {
            break last;
        }
    };
    // Of a machine it is its own affair.
    assert!(BACKEND != "nil" || last < first + 16 * MIB, "{first} KiB, then {last} KiB");
    assert_eq!(service.end(), "");
}
