//! Names that are asked of a name server of the manifest: by whom they are answered, and by whom not.
//!
//! The name server is this process, on loopback. What it does is told by the first label of the name that is asked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, Aaaa, Cname};

use crate::network::{Identity, Other, hint, probed};
use crate::support::Form;

type Dns = Name<Vec<u8>>;

fn dns(name: &str) -> Dns {
    Name::vec_from_str(name).unwrap()
}

/// A name server, and what it was asked, by which way.
struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Over UDP and TCP.
    fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let server = Self { at: udp.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        thread::spawn(move || datagrams(&udp, &asked));
        let asked = Arc::clone(&server.asked);
        thread::spawn(move || tcp.incoming().for_each(|stream| connection(stream.unwrap(), "tcp", &asked)));
        server
    }

    /// Over TLS alone.
    fn over_tls(identity: &Identity) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { at: tcp.local_addr().unwrap(), asked: Arc::default() };
        let (asked, config) = (Arc::clone(&server.asked), identity.config());
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                connection(rustls::StreamOwned::new(tls, stream.unwrap()), "tls", &asked);
            }
        });
        server
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked
    }
}

fn note(asked: &Mutex<Vec<String>>, way: &str, query: &Message<Vec<u8>>) -> (String, Rtype) {
    let question = query.sole_question().unwrap();
    let (name, kind) = (question.qname().to_string(), question.qtype());
    asked.lock().unwrap().push(format!("{way} {name} {kind}"));
    (name.split('.').next().unwrap().to_owned(), kind)
}

fn datagrams(socket: &UdpSocket, asked: &Mutex<Vec<String>>) {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 512];
    let mut late = 0;
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let query = Message::from_octets(buffer[..length].to_vec()).unwrap();
        let (label, kind) = note(asked, "udp", &query);
        let say = |bytes: &[u8]| _ = socket.send_to(bytes, from).unwrap();
        let right = answer(&query, &label, kind);
        let wrong = answer(&query, "wrong", kind);
        match label.as_str() {
            "silent" => {}
            "late" if late < 2 => late += 1,
            "long" => {
                let mut cut = wrong;
                cut.header_mut().set_tc(true);
                say(cut.as_slice());
            }
            "liar" => {
                let lie = |change: &dyn Fn(&mut Message<Vec<u8>>)| {
                    let mut lie = wrong.clone();
                    change(&mut lie);
                    say(lie.as_slice());
                };
                say(b"");
                say(&[0xff; 512]);
                lie(&|lie| lie.header_mut().set_id(query.header().id().wrapping_add(1)));
                lie(&|lie| lie.header_mut().set_qr(false));
                lie(&|lie| lie.header_mut().set_opcode(domain::base::iana::Opcode::NOTIFY));
                // An answer to another question.
                for (name, kind) in [("other.test", kind), ("liar.test", Rtype::TXT)] {
                    let mut other = MessageBuilder::new_vec();
                    other.header_mut().set_id(query.header().id());
                    let mut other = other.question();
                    other.push((dns(name), kind)).unwrap();
                    say(answer(&other.into_message(), "wrong", kind).as_slice());
                }
                say(right.as_slice());
            }
            "stranger" => {
                stranger.send_to(wrong.as_slice(), from).unwrap();
                say(right.as_slice());
            }
            _ => say(right.as_slice()),
        }
    }
}

/// One after the other, as long as there are questions.
fn connection(mut stream: impl Read + Write, way: &str, asked: &Mutex<Vec<String>>) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).unwrap();
        let query = Message::from_octets(query).unwrap();
        let (label, kind) = note(asked, way, &query);
        let answer = answer(&query, &label, kind);
        let bytes = answer.as_slice();
        let framed = [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        stream.write_all(&framed).and_then(|()| stream.flush()).unwrap();
    }
}

/// What a name server says of a name with this label.
fn answer(query: &Message<Vec<u8>>, label: &str, kind: Rtype) -> Message<Vec<u8>> {
    let asked = query.sole_question().unwrap().into_qname();
    let code = match label {
        "none" => Rcode::NXDOMAIN,
        "refused" => Rcode::REFUSED,
        _ => Rcode::NOERROR,
    };
    let mut answer = MessageBuilder::new_vec().start_answer(query, code).unwrap();
    let last = match label {
        "wrong" => 66,
        "local" => 0,
        _ => 1,
    };
    let mut owner = Name::vec_from_str(&asked.to_string()).unwrap();
    if label == "alias" {
        // In an order that has to be looked for.
        answer.push((dns("second.test"), 60, Cname::new(dns("third.test")))).unwrap();
        answer.push((dns("third.test"), 60, A::new([192, 0, 2, 1].into()))).unwrap();
        answer.push((dns("fourth.test"), 60, A::new([192, 0, 2, 66].into()))).unwrap();
        answer.push((owner, 60, Cname::new(dns("second.test")))).unwrap();
        return answer.into_message();
    }
    if label == "circle" {
        answer.push((dns("second.test"), 60, Cname::new(owner.clone()))).unwrap();
        answer.push((owner.clone(), 60, Cname::new(dns("second.test")))).unwrap();
        owner = dns("second.test");
    }
    match (label, kind) {
        ("none" | "refused", _) => {}
        ("local", Rtype::A) => answer.push((owner, 60, A::new(Ipv4Addr::LOCALHOST))).unwrap(),
        ("local", _) => {}
        (_, Rtype::A) => answer.push((owner, 60, A::new([192, 0, 2, last].into()))).unwrap(),
        (_, _) => {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into());
            answer.push((owner, 60, Aaaa::new(address))).unwrap();
        }
    }
    answer.into_message()
}

const BOTH: &str = "192.0.2.1\n2001:db8::1\n";

#[test]
pub(crate) fn names_are_asked_of_the_resolver() {
    let server = Server::start();
    let sections = format!("[network]\nresolve = [\"*.test\"]\nresolver = \"{}\"\n", server.at);
    let lookup = |name: &str| probed(Form::Component, &["lookup", name], &sections);
    let udp = |name: &str| ["A", "AAAA"].map(|kind| format!("udp {name} {kind}"));

    lookup("plain.test").assert(0, BOTH, "");
    assert_eq!(server.asked(), udp("plain.test"), "one question of each kind");
    lookup("alias.test").assert(0, "192.0.2.1\n", "");
    server.asked();
    lookup("long.test").assert(0, BOTH, "");
    let tcp = ["A", "AAAA"].map(|kind| format!("tcp long.test {kind}"));
    assert_eq!(server.asked(), [tcp, udp("long.test")].concat(), "what does not fit is asked for again");
    lookup("liar.test").assert(0, BOTH, "");
    lookup("stranger.test").assert(0, BOTH, "");
    server.asked();
    lookup("late.test").assert(0, BOTH, "");
    assert_eq!(server.asked().len(), 4, "each is asked for twice");

    for name in ["none.test", "refused.test", "silent.test", "circle.test"] {
        let ran = lookup(name);
        assert_eq!((ran.code(), ran.text()), (1, ""), "{name}: {}", ran.stderr);
        assert!(!server.asked().is_empty(), "{name}");
    }
    // Whom no list has the server does not hear of.
    let ran = lookup("plain.example");
    assert_eq!(ran.code(), 1);
    let denied = hint("to look up plain.example", "resolve = [\"plain.example\"]");
    assert!(ran.stderr.starts_with(&denied), "{}", ran.stderr);
    // Nor one that the host knows: it is not asked.
    assert_eq!(probed(Form::Component, &["lookup", "localhost"], &sections.replace("*.test", "*")).text(), BOTH);
    assert_eq!(server.asked(), udp("localhost"));
}

/// What a name leads to is reached; the server itself is not.
#[test]
fn a_resolver_is_nobody_that_a_program_reaches() {
    let (server, other) = (Server::start(), Other::start());
    let to = format!("local.test:{}", other.address.port());
    let resolver = format!("resolver = \"{}\"\n", server.at);
    let network = format!("[network]\nconnect = [\"{to}\"]\n{resolver}");
    probed(Form::Component, &["dial", &to, "hello"], &network).assert(0, "HELLO", "");
    let section = format!("[[connect]]\nname = \"other\"\nto = \"{to}\"\nprotocol = \"tcp\"\n[network]\n{resolver}");
    probed(Form::Module, &["dial", "fd:3", "hello"], &section).assert(0, "HELLO", "");
    server.asked();
    let at = server.at.to_string();
    for args in [["dial", &at, "x"], ["send", &at, "x"]] {
        let ran = probed(Form::Component, &args, &network);
        assert!(ran.code() == 1 && ran.stderr.starts_with("denied: "), "{args:?}: {}", ran.stderr);
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
pub(crate) fn a_resolver_over_tls_proves_itself() {
    let identity = Identity::new();
    let server = Server::over_tls(&identity);
    let lookup = |proof: &str| {
        let resolver = format!("tls://{}#{proof}", server.at);
        let sections = format!("[network]\nresolve = [\"*.test\"]\nresolver = \"{resolver}\"\n");
        probed(Form::Component, &["lookup", "plain.test"], &sections)
    };
    lookup(&identity.pin()).assert(0, BOTH, "");
    assert_eq!(server.asked(), ["tls plain.test A", "tls plain.test AAAA"]);
    // Another's key, and a name that no public root vouches for.
    for proof in [Identity::new().pin(), "localhost".to_owned()] {
        let ran = lookup(&proof);
        assert_eq!((ran.code(), ran.text()), (1, ""), "{proof}: {}", ran.stderr);
        assert_eq!(server.asked(), [""; 0], "nobody else hears what is asked");
    }
}
