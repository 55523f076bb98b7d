//! Whom a program reaches and is reached by: what the manifest says, and nobody else.
//!
//! The other side is this process, on loopback. Whom nobody listed is not connected to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use identity::pem;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use workload::Digest;

use crate::support::{Form, Input, Ran, donjon, folder, probe, run, wait};

/// The probe with these arguments under a manifest with these sections.
fn project(form: Form, args: &[&str], sections: &str, files: &[(&str, &[u8])]) -> TempDir {
    let manifest = format!("program = {:?}\nargs = {args:?}\n{sections}", probe(form).to_str().unwrap());
    folder(&[&[("Donjon.toml", manifest.as_bytes())], files].concat())
}

pub(crate) fn probed(form: Form, args: &[&str], sections: &str) -> Ran {
    run(project(form, args, sections, &[]).path(), ["run", "-q"], Input::Nothing)
}

/// A program that listens, and where.
struct Listening {
    donjon: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Listening {
    fn start(form: Form, at: &str, sections: &str) -> Self {
        let dir = project(form, &["echo", at], sections, &[("ca.pem", b"-")]);
        let mut command = donjon(dir.path(), ["run", "--listen", "db=127.0.0.1:0"]);
        let mut donjon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(donjon.stderr.take().unwrap()).lines().map(Result::unwrap);
        let listens = said.find_map(|line| Some(line.strip_prefix("donjon: db listens on ")?.to_owned()));
        let address = listens.expect("it listens").parse().unwrap();
        // Whoever says more is heard.
        thread::spawn(move || said.for_each(drop));
        Self { donjon, address, _dir: dir }
    }

    fn end(mut self) -> (i32, String) {
        let status = wait(&mut self.donjon);
        let mut out = String::new();
        self.donjon.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (status.code().unwrap(), out)
    }
}

const LISTEN: &str = "[[listen]]\nname = \"db\"\nport = 5432\nprotocol = \"tcp\"\n";

#[test]
pub(crate) fn a_listener_of_the_manifest() {
    let file = "[[mount]]\npath = \"/tmp\"\nkind = \"memory\"\n";
    let cases = [
        (Form::Module, "fd:3", LISTEN.to_owned()),
        // Directories come first: `/` and the mount.
        (Form::Module, "fd:5", format!("{LISTEN}{file}")),
        (Form::Component, "127.0.0.1:5432", LISTEN.to_owned()),
    ];
    for (form, at, sections) in cases {
        let program = Listening::start(form, at, &sections);
        let mut stream = TcpStream::connect(program.address).unwrap();
        // More than any buffer on the way, so that both directions wait for each other.
        let bytes: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == bytes, "{form:?} {at}: {} bytes came back", back.len());
        assert_eq!(program.end(), (0, format!("{}\n", bytes.len())), "{form:?} {at}");
    }
}

#[test]
fn a_module_is_told_which_descriptors_it_has() {
    let dial = Other::start();
    let file = "[[mount]]\npath = \"/tmp\"\nkind = \"memory\"\n";
    let sections = format!("{LISTEN}{file}{}", dial.section("tcp", ""));
    let ran = run(
        project(Form::Module, &["env"], &sections, &[]).path(),
        ["run", "-q", "--listen", "db=127.0.0.1:0"],
        Input::Nothing,
    );
    ran.assert(0, "FD_COUNT=7\nFD_NAMES=stdin:stdout:stderr:/:/tmp:db:other\nLISTEN_FDS=1\n", "");
    probed(Form::Module, &["env"], file).assert(0, "", "");
}

/// The hint that a refusal brings.
pub(crate) fn hint(what: &str, key: &str) -> String {
    format!("denied: {what}\nhint: the manifest does not allow it; add: [network] {key}\n")
}

#[track_caller]
fn denied(ran: &Ran, hint: &str) {
    assert_eq!((ran.code(), ran.text()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.starts_with(hint), "{}", ran.stderr);
    assert!(ran.stderr.contains("PermissionDenied") || ran.stderr.contains("Permission denied"), "{}", ran.stderr);
}

#[test]
pub(crate) fn ports_that_nobody_listed_are_refused() {
    let echo = |sections: &str| probed(Form::Component, &["echo", "127.0.0.1:0"], sections);
    denied(&echo(""), &hint("to listen at port 0", "listen = [\"*\"]"));
    let at = |port: &str, sections: &str| probed(Form::Component, &["echo", &format!("127.0.0.1:{port}")], sections);
    denied(&at("5433", LISTEN), &hint("to listen at port 5433", "listen = [\"5433\"]"));
    // The control: it listens, and so it has nothing to do but to wait.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sections = format!("[network]\nlisten = [\"{}\"]\n", free.port());
    let dir = project(Form::Component, &["echo", &free.to_string()], &sections, &[]);
    let mut command = donjon(dir.path(), ["run", "-q"]);
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stream = None;
    crate::support::eventually("it listens", || {
        stream = TcpStream::connect(free).ok();
        stream.is_some()
    });
    drop(stream);
    assert_eq!(wait(&mut program).code(), Some(0));
}

/// Somebody to connect to, who gives back what he is told, in capitals, and counts who came.
pub(crate) struct Other {
    pub(crate) address: SocketAddr,
    came: Arc<std::sync::atomic::AtomicUsize>,
}

impl Other {
    pub(crate) fn start() -> Self {
        Self::over(|stream| Some(Box::new(stream)))
    }

    fn over(shield: impl Fn(TcpStream) -> Option<Box<dyn Duplex>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&came);
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let Some(mut stream) = shield(stream.unwrap()) else { continue };
                let mut said = Vec::new();
                // Of a peer that does not trust us nothing comes.
                if stream.read_to_end(&mut said).is_ok() {
                    _ = stream.write_all(&said.to_ascii_uppercase()).and_then(|()| stream.done());
                }
            }
        });
        Self { address, came }
    }

    fn section(&self, protocol: &str, rest: &str) -> String {
        format!("[[connect]]\nname = \"other\"\nto = \"{}\"\nprotocol = \"{protocol}\"\n{rest}", self.address)
    }

    fn came(&self) -> usize {
        self.came.load(std::sync::atomic::Ordering::SeqCst)
    }
}

trait Duplex: Read + Write {
    fn done(&mut self) -> std::io::Result<()>;
}

impl Duplex for TcpStream {
    fn done(&mut self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
}

impl Duplex for StreamOwned<ServerConnection, TcpStream> {
    fn done(&mut self) -> std::io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

#[test]
pub(crate) fn a_connection_of_the_manifest() {
    let other = Other::start();
    let at = other.address.to_string();
    let tcp = other.section("tcp", "");
    probed(Form::Module, &["dial", "fd:3", "hello"], &tcp).assert(0, "HELLO", "");
    probed(Form::Component, &["dial", &at, "hello"], &tcp).assert(0, "HELLO", "");
    // By a name.
    let named = format!("localhost:{}", other.address.port());
    let section = tcp.replace(&at, &named);
    probed(Form::Module, &["dial", "fd:3", "hello"], &section).assert(0, "HELLO", "");
    probed(Form::Component, &["dial", &named, "hello"], &section).assert(0, "HELLO", "");
    assert_eq!(other.came(), 4);
}

#[test]
pub(crate) fn a_connection_that_cannot_be_made_is_told_at_the_start() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let section = format!("[[connect]]\nname = \"gone\"\nto = \"{gone}\"\nprotocol = \"tcp\"\n");
    let ran = probed(Form::Module, &["exit", "0"], &section);
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("[connect.failed]") && ran.stderr.contains("`gone`"), "{}", ran.stderr);
}

#[test]
pub(crate) fn destinations_that_nobody_listed_are_refused() {
    let other = Other::start();
    let (at, port) = (other.address.to_string(), other.address.port());
    let dial = |to: &str, sections: &str| probed(Form::Component, &["dial", to, "x"], sections);
    let network = |rule: &str| format!("[network]\nconnect = [\"{rule}\"]\n");
    let needs = hint(&format!("to connect to {at}"), &format!("connect = [\"{at}\"]"));
    denied(&dial(&at, ""), &needs);
    for rule in [format!("127.0.0.1:{}", port ^ 1), format!("127.0.0.2:{port}"), format!("localhost:{port}")] {
        denied(&dial(&at, &network(&rule)), &needs);
    }
    assert_eq!(other.came(), 0, "nobody came");
    for rule in [at.clone(), format!("127.0.0.0/8:{port}"), format!("*:{port}"), "127.0.0.1:*".to_owned()] {
        dial(&at, &network(&rule)).assert(0, "X", "");
    }
    assert_eq!(other.came(), 4);
}

#[test]
pub(crate) fn a_key_of_debug_lets_everybody_be_reached() {
    let other = Other::start();
    let at = other.address.to_string();
    let dial = |sections: &str| {
        let dir = project(Form::Component, &["dial", &at, "x"], sections, &[]);
        run(dir.path(), ["run"], Input::Nothing)
    };
    let weak = "donjon: INSECURE: the program reaches everybody ([debug] insecure_network)\n";
    for (sections, expected) in
        [("", 1), ("[debug]\ninsecure_network = false\n", 1), ("[debug]\ninsecure_network = true\n", 0)]
    {
        let ran = dial(sections);
        assert_eq!((ran.code(), ran.stderr.contains(weak)), (expected, expected == 0), "{}", ran.stderr);
    }
    assert_eq!(other.came(), 1);
}

#[test]
pub(crate) fn names_that_nobody_listed_are_not_asked_for() {
    let other = Other::start();
    let port = other.address.port();
    let network = |key: &str, rule: &str| format!("[network]\n{key} = [\"{rule}\"]\n");
    let lookup = |sections: &str| probed(Form::Component, &["lookup", "localhost"], sections);
    let refused = lookup("");
    assert_eq!(refused.code(), 1);
    assert!(
        refused.stderr.starts_with(&hint("to look up localhost", "resolve = [\"localhost\"]")),
        "{}",
        refused.stderr
    );
    assert!(lookup(&network("resolve", "localhost")).text().contains("127.0.0.1"));
    assert!(lookup(&network("connect", "localhost:1")).text().contains("127.0.0.1"));
    // To look a name up is not to connect to it; to be allowed to connect to it is both.
    let named = format!("localhost:{port}");
    let dial = |sections: &str| probed(Form::Component, &["dial", &named, "x"], sections);
    assert_eq!(dial(&network("resolve", "localhost")).code(), 1);
    assert_eq!(other.came(), 0);
    dial(&network("connect", &named)).assert(0, "X", "");
}

/// Somebody for datagrams, at the address that this name has.
fn peer(name: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((name, 0).to_socket_addrs().unwrap().next().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Gives back one datagram in capitals; before, a stranger answers in its place.
fn answers((peer, _): (UdpSocket, SocketAddr), stranger: Option<UdpSocket>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut bytes = [0; 100];
        let (count, from) = peer.recv_from(&mut bytes).unwrap();
        if let Some(stranger) = stranger {
            stranger.send_to(b"stranger", from).unwrap();
        }
        peer.send_to(&bytes[..count].to_ascii_uppercase(), from).unwrap();
    })
}

fn nothing_came(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv_from(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

fn udp(rules: &[String]) -> String {
    format!("[network]\nudp = {rules:?}\n")
}

#[test]
pub(crate) fn datagrams_go_to_listed_peers() {
    let ask = |to: &str, sections: &str| probed(Form::Component, &["ask", to, "hello"], sections);
    let (other, at) = peer("127.0.0.1");
    let needs = hint(&format!("to send a datagram to {at}"), &format!("udp = [\"{at}\"]"));
    let port = at.port();
    for rule in [format!("127.0.0.1:{}", port ^ 1), format!("127.0.0.2:{port}"), format!("localhost:{port}")] {
        denied(&ask(&at.to_string(), &udp(&[rule])), &needs);
    }
    for sections in ["", &format!("[network]\nconnect = [\"{at}\"]\n"), "[network]\nlisten = [\"*\"]\n"] {
        denied(&ask(&at.to_string(), sections), &needs);
    }
    nothing_came(&other);
    drop(other);
    // By address, network and name.
    let cases =
        [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.0/8"), ("127.0.0.1", "*"), ("localhost", "localhost")];
    for (name, host) in cases {
        let other = peer(name);
        let (to, rule) = (format!("{name}:{}", other.1.port()), format!("{host}:{}", other.1.port()));
        let answered = answers(other, None);
        ask(&to, &udp(&[rule])).assert(0, "HELLO", "");
        answered.join().unwrap();
    }
}

#[test]
pub(crate) fn datagrams_from_elsewhere_are_dropped() {
    let asked = |stranger_is_listed: bool| {
        let (other, (stranger, strangers)) = (peer("127.0.0.1"), peer("127.0.0.1"));
        let mut rules = vec![other.1.to_string()];
        rules.extend(stranger_is_listed.then(|| strangers.to_string()));
        let at = other.1.to_string();
        let answered = answers(other, Some(stranger));
        let ran = probed(Form::Component, &["ask", &at, "hello"], &udp(&rules));
        answered.join().unwrap();
        ran
    };
    asked(false).assert(0, "HELLO", "");
    asked(true).assert(0, "stranger", "");
}

/// At a port of its choice it takes datagrams from everybody, as long as any, and may answer.
#[test]
pub(crate) fn datagrams_at_a_listed_port() {
    let (port, at) = peer("127.0.0.1");
    drop(port);
    let tell = |sections: &str| project(Form::Component, &["tell", &at.to_string()], sections, &[]);
    let refused = run(tell(&udp(&["*:*".to_owned()])).path(), ["run", "-q"], Input::Nothing);
    denied(
        &refused,
        &hint(&format!("to take datagrams at port {}", at.port()), &format!("listen = [\"{}\"]", at.port())),
    );

    let dir = tell(&format!("[network]\nlisten = [\"{}\"]\n", at.port()));
    let mut command = donjon(dir.path(), ["run", "-q"]);
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (own, _) = peer("127.0.0.1");
    own.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let sent = vec![b'a'; 65_507];
    let mut answer = vec![0; 1 << 16];
    crate::support::eventually("it answers", || {
        // Whether somebody is there already is not told.
        own.send_to(&sent, at).unwrap();
        own.recv_from(&mut answer).is_ok_and(|(count, from)| (count, from) == (sent.len(), at))
    });
    assert!(answer[..sent.len()] == sent.to_ascii_uppercase());
    assert_eq!(wait(&mut program).code(), Some(0));
    let mut out = Vec::new();
    program.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert!(out == sent, "{} bytes came", out.len());
}

/// A certificate authority of one certificate, for `localhost` and 127.0.0.1.
pub(crate) struct Identity {
    ca: rcgen::Certificate,
    leaf: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = parameters.clone().self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Self { ca, leaf, key }
    }

    fn ca(&self) -> String {
        pem::encode(&[self.ca.der()])
    }

    pub(crate) fn pin(&self) -> String {
        let leaf = rustls::server::ParsedCertificate::try_from(self.leaf.der()).unwrap();
        Digest::of(&leaf.subject_public_key_info()).to_string()
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let chain = vec![self.leaf.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        Arc::new(config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    fn other(&self) -> Other {
        let config = self.config();
        Other::over(move |stream| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            Some(Box::new(StreamOwned::new(tls, stream)))
        })
    }
}

/// The Keep speaks the TLS: the program says its bytes in the clear and gets them back in the clear.
#[test]
pub(crate) fn tls_in_the_place_of_a_program() {
    let (identity, stranger) = (Identity::new(), Identity::new());
    let other = identity.other();
    let at = other.address.to_string();
    let ca = "[[file]]\npath = \"/ca.pem\"\nsource = \"ca.pem\"\n";
    let dial = |form: Form, trust: &str, pem: &str| {
        let sections = format!("{ca}{}trust = [\"{trust}\"]\n", other.section("tls", ""));
        // The module has the directory of the file.
        let to = if form == Form::Module { "fd:4" } else { &at };
        run(
            project(form, &["dial", to, "hello"], &sections, &[("ca.pem", pem.as_bytes())]).path(),
            ["run", "-q"],
            Input::Nothing,
        )
    };
    for form in Form::BOTH {
        dial(form, "/ca.pem", &identity.ca()).assert(0, "HELLO", "");
        dial(form, &identity.pin(), "").assert(0, "HELLO", "");
        for trust in ["/ca.pem", &stranger.pin(), "web"] {
            let ran = dial(form, trust, &stranger.ca());
            assert_ne!(ran.code(), 0, "{form:?} {trust}");
            assert_eq!(ran.text(), "", "{form:?} {trust}");
        }
    }
    let bad = dial(Form::Component, "/ca.pem", "no certificate");
    assert_eq!(bad.code(), 125);
    assert!(bad.stderr.contains("[trust.pem]"), "{}", bad.stderr);
}

#[test]
pub(crate) fn requests_go_where_the_manifest_says() {
    let service = Other::over(|stream| {
        serve(Box::new(stream));
        None
    });
    let at = service.address.to_string();
    let get = |url: &str, sections: &str| probed(Form::Component, &["get", url], sections);
    let url = format!("http://{at}/path?query");
    let ran = get(&url, "");
    assert_eq!((ran.code(), ran.text()), (1, ""));
    assert!(ran.stderr.starts_with(&hint(&format!("to send a request to {at}"), &format!("connect = [\"{at}\"]"))));
    assert!(ran.stderr.contains("HttpRequestDenied"), "{}", ran.stderr);
    assert_eq!(service.came(), 0);
    let expected = format!("200\nGET /path?query HTTP/1.1 {at}\n");
    get(&url, &service.section("http", "")).assert(0, &expected, "");
    get(&url, &format!("[network]\nconnect = [\"{at}\"]\n")).assert(0, &expected, "");
    // A section for another scheme does not count.
    let tls = get(&url, &service.section("https", ""));
    assert!(tls.stderr.contains("HttpRequestDenied"), "{}", tls.stderr);
    assert_eq!(service.came(), 2);
}

#[test]
pub(crate) fn requests_over_tls_trust_what_the_manifest_says() {
    let (identity, stranger) = (Identity::new(), Identity::new());
    let config = identity.config();
    let service = Other::over(move |stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(Box::new(StreamOwned::new(tls, stream)));
        None
    });
    let at = service.address.to_string();
    let get = |sections: &str| probed(Form::Component, &["get", &format!("https://{at}/")], sections);
    let trusting = |pin: &str| get(&format!("{}trust = [\"{pin}\"]\n", service.section("https", "")));
    trusting(&identity.pin()).assert(0, &format!("200\nGET / HTTP/1.1 {at}\n"), "");
    for ran in [trusting(&stranger.pin()), get(&format!("[network]\nconnect = [\"{at}\"]\n"))] {
        assert_eq!((ran.code(), ran.text()), (1, ""));
        assert!(ran.stderr.contains("TlsCertificateError"), "{}", ran.stderr);
    }
}

/// One answer over HTTP/1.1: the request's first line and its host.
fn serve(mut stream: Box<dyn Duplex>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let host = head.lines().find_map(|line| line.to_lowercase().strip_prefix("host: ").map(str::to_owned));
    let body = format!("{} {}\n", head.lines().next().unwrap(), host.unwrap_or_default());
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.done());
}

/// A listener for TLS without a certificate is refused, never served in the clear.
#[test]
pub(crate) fn a_listener_for_tls_needs_a_certificate() {
    for form in Form::BOTH {
        let ran = probed(form, &["exit", "0"], &LISTEN.replace("tcp", "tls"));
        assert_eq!(ran.code(), 125);
        assert!(ran.stderr.contains("[listen.certificate]") && ran.stderr.contains("\"tcp\""), "{}", ran.stderr);
    }
}

/// What a run would have needed is what it then is allowed.
#[test]
fn a_policy_is_learned() {
    let other = Other::start();
    let named = format!("localhost:{}", other.address.port());
    let dir = project(Form::Component, &["dial", &named, "x"], "", &[]);
    let ran = run(dir.path(), ["run", "-q", "--learn"], Input::Nothing);
    assert_eq!((ran.code(), ran.text()), (0, "X"), "{}", ran.stderr);
    let (banner, section) = ran.stderr.split_once('\n').unwrap();
    assert!(banner.contains("INSECURE"), "{banner}");
    assert_eq!(section, format!("[network]\nconnect = [\"{named}\"]\nresolve = [\"localhost\"]\n"));
    let dir = project(Form::Component, &["dial", &named, "x"], section, &[]);
    run(dir.path(), ["run", "-q"], Input::Nothing).assert(0, "X", "");
    let ran = run(dir.path(), ["run", "-q", "--learn"], Input::Nothing);
    assert!(ran.stderr.ends_with("# nothing is missing in [network]\n"), "{}", ran.stderr);
}
