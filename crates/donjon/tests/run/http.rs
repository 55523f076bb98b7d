//! A service under `donjon run`: the greeter, in the clear, over HTTP/1.1 and HTTP/2.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use workload::Digest;

use crate::support::{BACKEND, COMPILING, donjon, folder, has, skip, wait};

/// A running service; killed when dropped.
pub(crate) struct Service {
    pub(crate) donjon: Child,
    pub(crate) address: SocketAddr,
    said: Lines<BufReader<ChildStderr>>,
}

impl Service {
    pub(crate) fn start(rest: &str) -> (Self, tempfile::TempDir) {
        Self::of(Path::new(env!("DONJON_GREETER")), rest)
    }

    /// Serves this program.
    pub(crate) fn of(program: &Path, rest: &str) -> (Self, tempfile::TempDir) {
        Self::with(program, rest, &[])
    }

    /// Serves it with these options of `run`.
    pub(crate) fn with(program: &Path, rest: &str, options: &[&str]) -> (Self, tempfile::TempDir) {
        let dir = folder(&[("Donjon.toml", manifest(program, rest).as_bytes())]);
        let mut command = donjon(dir.path(), ["run", "--listen", "web=127.0.0.1:0"]);
        let mut donjon = command.args(options).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(donjon.stderr.take().unwrap()).lines();
        let mut line = || said.by_ref().map(Result::unwrap).find(|line| line != COMPILING).expect("it says more");
        let protection = match BACKEND {
            "nil" => "no protection: this host can read and change everything",
            _ => "a micro-VM without a TEE: this host can read and change everything",
        };
        assert_eq!(line(), format!("donjon: backend {BACKEND}, {protection}"));
        let listening = line();
        let address = listening.strip_prefix("donjon: web listens on ").unwrap_or_else(|| panic!("{listening}"));
        let address: SocketAddr = address.parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
        (Self { donjon, address, said }, dir)
    }

    /// Ends it, and gives what it said since it listens.
    pub(crate) fn end(mut self) -> String {
        self.donjon.kill().unwrap();
        self.said.by_ref().map(|line| line.unwrap() + "\n").collect()
    }

    /// Asks, and waits for no answer: the connection on which it comes.
    pub(crate) fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        stream
    }

    /// One exchange over HTTP/1.1 on a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n",
            self.address
        );
        let answer = thread::scope(|scope| {
            let mut to = stream.try_clone().unwrap();
            // Reading and writing at once: an echo of more than the buffers hold would stop otherwise.
            scope.spawn(move || to.write_all(head.as_bytes()).and_then(|()| to.write_all(body)));
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer)
        });
        Answer::parse(&answer.unwrap())
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "", b"")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.donjon.kill();
        _ = self.donjon.wait();
    }
}

fn manifest(program: &Path, rest: &str) -> String {
    format!("program = {program:?}\n{rest}\n[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"http\"\n")
}

/// A parsed answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).expect("a status");
        let mut rest = &bytes[end + 4..];
        if !head.contains("\r\ntransfer-encoding: chunked") {
            return Self { status, head, body: rest.to_vec() };
        }
        let mut body = Vec::new();
        loop {
            let line = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk has a length");
            let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if length == 0 {
                assert_eq!(&rest[line..], b"\r\n\r\n", "the last chunk ends the body");
                return Self { status, head, body };
            }
            body.extend_from_slice(&rest[line + 2..line + 2 + length]);
            rest = &rest[line + 2 + length + 2..];
        }
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

#[test]
pub(crate) fn the_greeter_greets() {
    let (service, _dir) = Service::start("[env]\nGREETER_NAME = \"<Tests>\"\n");
    let answer = service.get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("\r\ncontent-type: text/plain; charset=utf-8"), "{}", answer.head);
    assert!(answer.text().starts_with("Hello from <Tests>.\n"), "{}", answer.text());

    let html = service.send("GET", "/", "accept: text/html\r\n", b"");
    assert!(html.head.contains("\r\ncontent-type: text/html"), "{}", html.head);
    assert!(html.text().contains("Hello from &lt;Tests&gt;."), "{}", html.text());

    let head = service.send("HEAD", "/", "", b"");
    assert_eq!((head.status, head.body.as_slice()), (200, &b""[..]));
    assert!(head.head.contains(&format!("\r\ncontent-length: {}", answer.body.len())), "{}", head.head);

    assert_eq!(service.get("/nothing").status, 404);
    let wrong = service.send("DELETE", "/echo", "", b"");
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("\r\nallow: post"), "{}", wrong.head);
}

/// The clock inside is the host's, here: neither behind what was before the request nor ahead of what is after it.
#[test]
fn the_greeter_knows_the_time() {
    let (service, _dir) = Service::start("");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let answer = service.get("/time");
    let after = now();
    let found = (before..=after).map(rfc3339).find(|time| format!("{time}\n") == answer.text());
    assert!(found.is_some(), "{} is not from {} to {}", answer.text(), rfc3339(before), rfc3339(after));
}

/// By counting days, unlike the greeter.
fn rfc3339(seconds: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let (mut day, mut year, mut month) = (seconds / 86_400, 1970, 0);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, day + 1)
}

#[test]
fn the_greeter_echoes_and_hashes() {
    let (service, _dir) = Service::start("");
    let body: Vec<u8> = (0..5_000_000_u32).flat_map(|number| number.to_le_bytes()).take(8_000_001).collect();
    let digest = format!("{}\n", Digest::of(&body).to_hex());

    let answer = service.send("POST", "/echo", "content-type: image/x-test\r\n", &body);
    assert_eq!((answer.status, answer.body == body), (200, true));
    assert!(answer.head.contains("\r\ncontent-type: image/x-test"), "{}", answer.head);
    assert_eq!(service.send("POST", "/echo", "", b"").body, b"");

    let answer = service.send("POST", "/sha256", "", &body);
    assert_eq!((answer.status, answer.text()), (200, digest.as_str()));

    // FIPS 180-4, the example "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    assert_eq!(service.get("/sha256?text=abc").text(), ABC);
    assert_eq!(service.get("/sha256?x=1&text=%61b%63").text(), ABC);
    assert_eq!(service.get("/sha256").status, 400);
}

/// One caller who says nothing, and one who leaves in the middle, hold up nobody else.
#[test]
fn slow_and_lost_callers_cost_only_themselves() {
    let (service, _dir) = Service::start("");
    let _silent = TcpStream::connect(service.address).unwrap();
    let mut half = TcpStream::connect(service.address).unwrap();
    half.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc").unwrap();
    let mut lost = TcpStream::connect(service.address).unwrap();
    lost.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc").unwrap();
    drop(lost);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let service = &service;
                scope.spawn(move || {
                    (0..25).all(|turn| {
                        let body = format!("{caller} {turn}").into_bytes();
                        service.send("POST", "/echo", "", &body).body == body
                    })
                })
            })
            .collect();
        assert!(callers.into_iter().all(|caller| caller.join().unwrap()));
    });
}

/// Several requests on one connection, one after the other and sent ahead.
#[test]
fn a_connection_is_kept() {
    let (service, _dir) = Service::start("");
    let mut stream = TcpStream::connect(service.address).unwrap();
    let request = "GET /sha256?text=abc HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("{request}{request}{last}").as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1, "{answers}");
}

/// HTTP/2 with prior knowledge (RFC 9113 section 3.3), by somebody else's client.
#[test]
fn the_greeter_speaks_http_2() {
    if !has("curl") {
        return skip("curl", "curl is not installed");
    }
    let (service, dir) = Service::start("");
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1] ^ number.to_le_bytes()[0]).collect();
    std::fs::write(dir.path().join("body"), &body).unwrap();
    let curl = |path: &str, more: &[&str]| {
        let url = format!("http://{}{path}", service.address);
        let fixed = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "120", "--http2-prior-knowledge"];
        let ran = Command::new("curl").args(fixed).args(more).arg(url).current_dir(dir.path()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    let answer = String::from_utf8(curl("/", &["--write-out", "%{http_version} %{http_code}"])).unwrap();
    assert!(answer.starts_with("Hello from Donjon.\n") && answer.ends_with("2 200"), "{answer}");
    assert!(curl("/echo", &["--data-binary", "@body"]) == body);
    // The same client over HTTP/1.1, so that a failure above is known to be one of HTTP/2.
    assert_eq!(curl("/", &["--http1.1", "--output", "/dev/null", "--write-out", "%{http_version}"]), b"1.1");
}

/// At the port of the manifest, on loopback, unless the launcher says where.
#[test]
pub(crate) fn a_service_is_where_the_manifest_says() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("[[listen]]\nname = \"web\"\nport = {}\nprotocol = \"http\"\n", free.port());
    let manifest = format!("program = {:?}\nkind = \"http\"\n{listen}", env!("DONJON_GREETER"));
    let dir = folder(&[("Donjon.toml", manifest.as_bytes())]);
    let there = |listen: &[&str]| {
        let mut command = donjon(dir.path(), ["run"]);
        let mut child = command.args(listen).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let at =
            lines.filter_map(|line| line.strip_prefix("donjon: web listens on ")?.parse::<SocketAddr>().ok()).next();
        let answers = TcpStream::connect(free).is_ok();
        child.kill().unwrap();
        wait(&mut child);
        (at.expect("it says where it listens") == free, answers)
    };
    assert_eq!(there(&[]), (true, true));
    assert_eq!(there(&["--listen", "web=127.0.0.1:0"]), (false, false));
}

/// A plain artifact without a manifest is served too, at any free port.
#[test]
fn a_service_without_a_manifest_is_served() {
    let mut command = donjon(Path::new("/"), ["run", env!("DONJON_GREETER")]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let port =
        lines.filter_map(|line| line.strip_prefix("donjon: https listens on ")?.parse::<SocketAddr>().ok()).next();
    let answer = port.map(|address| {
        let mut stream = TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    child.kill().unwrap();
    wait(&mut child);
    let answer = answer.expect("it says where it listens");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
