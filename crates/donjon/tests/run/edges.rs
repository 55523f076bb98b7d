//! Bytes that are almost HTTP, of both versions, thrown at a service: it answers or hangs up, and goes on with others.
//!
//! Each seed changes one of the exchanges below here and there. `DONJON_EDGES=N` tries so many (default [`TRIES`]), from
//! `DONJON_SEED` on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::http::Service;

const TRIES: u64 = 1500;

const ONE: [&[u8]; 8] = [
    b"GET /time HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /sha256?text=abc HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world",
    b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nz: t\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /sha256 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n\r\n",
    b"HEAD http://a/time HTTP/1.0\r\naccept: text/html\r\nx: 1\r\n x: 2\r\n\r\n",
];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HTTP/2, with heads of names from the static table (RFC 7541, appendix A) and a literal.
fn two(variant: u64) -> Vec<u8> {
    let get: &[u8] = b"\x82\x86\x44\x05/time\x41\x01a";
    let post: &[u8] = b"\x83\x86\x44\x05/echo\x41\x01a";
    let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 0, 1, 0]);
    let rest = match variant % 6 {
        0 => frame(1, 5, 1, get),
        1 => [frame(1, 4, 1, post), frame(0, 0, 1, b"hello"), frame(0, 1, 1, b"world")].concat(),
        2 => [frame(1, 1, 1, &get[..4]), frame(9, 4, 1, &get[4..]), frame(6, 0, 0, &[7; 8])].concat(),
        3 => [frame(1, 4, 1, post), frame(3, 0, 1, &[0, 0, 0, 8]), frame(8, 0, 0, &[0x7f, 255, 255, 255])].concat(),
        4 => (0..40).flat_map(|n| [frame(1, 5, 2 * n + 1, get), frame(3, 0, 2 * n + 1, &[0; 4])].concat()).collect(),
        _ => [frame(2, 0, 3, &[0, 0, 0, 1, 9]), frame(1, 5, 1, get), frame(7, 0, 0, &[0; 8])].concat(),
    };
    [PREFACE, &settings, &frame(4, 1, 0, b""), &rest].concat()
}

/// SplitMix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound.max(1)
    }
}

fn changed(seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed);
    let any = |noise: &mut Noise| match noise.below(2) {
        0 => ONE[noise.below(ONE.len())].to_vec(),
        _ => two(noise.next()),
    };
    let mut bytes = any(&mut noise);
    for _ in 0..noise.below(5) {
        let at = noise.below(bytes.len());
        let end = at + noise.below((bytes.len() - at).min(24));
        match noise.below(7) {
            0 => bytes[at] ^= 1 << noise.below(8),
            1 => bytes[at] = u8::try_from(noise.below(256)).unwrap(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].repeat(1 + noise.below(300));
                bytes.splice(at..at, again);
            }
            4 => {
                const NUMBERS: [&[u8]; 5] = [b"-1", b"99999999999999999999", b"\xff\xff\xff", b"\0", b"0x"];
                let number = NUMBERS[noise.below(NUMBERS.len())];
                bytes.splice(at..end, number.iter().copied());
            }
            5 => bytes.truncate(at),
            _ => {
                let other = any(&mut noise);
                bytes.splice(at..end, other);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}

/// How long nothing may come before no more is awaited: the service may itself wait for more.
const MOMENT: Duration = Duration::from_millis(10);

/// What comes back, the first of it in this time.
fn thrown(service: &Service, bytes: &[u8], first: Duration) -> Vec<u8> {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(first)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut heard = Vec::new();
    // It may hang up in the middle.
    if stream.write_all(bytes).is_ok() {
        let mut room = [0; 4096];
        loop {
            match stream.read(&mut room) {
                Ok(0) => break,
                Ok(count) => {
                    heard.extend_from_slice(&room[..count]);
                    stream.set_read_timeout(Some(MOMENT)).unwrap();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
    heard
}

pub(super) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn what_is_almost_http_harms_nobody_else() {
    let (service, _dir) = Service::start("");
    let long = Duration::from_secs(30);
    for whole in ONE {
        assert!(thrown(&service, whole, long).starts_with(b"HTTP/1."), "control: {}", whole.escape_ascii());
    }
    assert!((0..6).all(|variant| thrown(&service, &two(variant), long).len() >= 9), "control");
    let (first, count) = (number("DONJON_SEED", 0), number("DONJON_EDGES", TRIES));
    for seed in first..first + count {
        let bytes = changed(seed);
        let heard = thrown(&service, &bytes, MOMENT);
        // Nothing that was asked makes the program or the Keep fail.
        assert!(!heard.starts_with(b"HTTP/1.1 5"), "seed {seed}: {}", heard.escape_ascii());
        if seed % 50 == 0 {
            assert_eq!(service.get("/time").status, 200, "after seed {seed}");
        }
    }
    assert_eq!(service.get("/time").status, 200);
    assert_eq!(service.end(), "", "nothing was told");
}
