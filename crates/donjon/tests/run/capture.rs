//! What leaves a Keep, seen on the wire: not one packet beyond the list, names included.
//!
//! Each test here is started once more in a network namespace of its own, by `unshare`, where every packet of every
//! interface is seen, and nobody else's is among them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};

use crate::support::{Form, Input, Ran, donjon, finish, folder, probe, skip};

/// The namespace's own address. Everything else is reached by the same interface, and nobody answers there.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 11, 0, 1);
const SET_UP: &str = "set -e
ip link set lo up
ip addr add 10.11.0.1/32 dev lo
ip route add default dev lo src 10.11.0.1
exec \"$@\"";

/// Says that it is inside.
const INSIDE: &str = "DONJON_TEST_INSIDE";

/// Whether this is the test itself; else it was run, inside.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let made = Command::new("unshare").args(["-rn", "sh", "-c", SET_UP, "sh", "true"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        skip("capture", "no network namespace with `ip` can be made here");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["-rn", "sh", "-c", SET_UP, "sh"])
        .arg(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// TCP or UDP, to where.
type Packet = (u8, IpAddr, u16);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Every packet of the namespace.
struct Wire(OwnedFd);

impl Wire {
    fn tap() -> Self {
        // ETH_P_ALL, in network order (packet(7)).
        let all = Protocol::from_raw(NonZeroU32::new(u32::from(3_u16.to_be())).unwrap());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Self(rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(all)).unwrap())
    }

    /// The packets since the last time, but for answers.
    fn seen(&self, answers: &[u16]) -> BTreeSet<Packet> {
        let mut packets = BTreeSet::new();
        let mut buffer = [0; 2048];
        while let Ok((count, _)) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
            let Some((packet, from)) = parse(&buffer[..count]) else { continue };
            if !answers.contains(&from) {
                packets.insert(packet);
            }
        }
        packets
    }
}

/// Protocol, destination, and the port that it came from.
fn parse(packet: &[u8]) -> Option<(Packet, u16)> {
    let (protocol, to, rest): (u8, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let to = <[u8; 4]>::try_from(packet.get(16..20)?).ok()?;
            (*packet.get(9)?, Ipv4Addr::from(to).into(), packet.get(header..)?)
        }
        6 => {
            let to = <[u8; 16]>::try_from(packet.get(24..40)?).ok()?;
            (*packet.get(6)?, IpAddr::from(to), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    [TCP, UDP].contains(&protocol).then_some(((protocol, to, port(2)?), port(0)?))
}

fn probed(args: &[&str], sections: &str) -> Ran {
    let manifest = format!("program = {:?}\nargs = {args:?}\n{sections}", probe(Form::Component).to_str().unwrap());
    let dir = folder(&[("Donjon.toml", manifest.as_bytes())]);
    let mut command = donjon(dir.path(), ["run", "-q"]);
    // Nobody answers questions for names here, so nobody waits long for it (resolv.conf(5)).
    command.env("RES_OPTIONS", "timeout:1 attempts:1");
    finish(command, Input::Nothing)
}

#[test]
fn not_one_packet_beyond_the_list() {
    if !inside(concat!(module_path!(), "::not_one_packet_beyond_the_list").split_once("::").unwrap().1) {
        return;
    }
    let wire = Wire::tap();
    let [listed, other] = [(); 2].map(|()| TcpListener::bind((OWN, 0)).unwrap());
    let [listed, other] = [listed, other].map(|listener| {
        let port = listener.local_addr().unwrap().port();
        // To its end: a connection that is closed before all was read is reset, which the other side may see first.
        let heard = |stream: std::io::Result<_>| std::io::copy(&mut stream.unwrap(), &mut std::io::sink());
        std::thread::spawn(move || listener.incoming().map(heard).for_each(drop));
        port
    });
    let allow = |rule: &str| format!("[network]\nconnect = [{rule:?}]\n");
    let at = |port: u16| format!("{OWN}:{port}");
    let rule = allow(&at(listed));
    let answers = [listed, other, 53];
    let asked = UdpSocket::bind((OWN, 0)).unwrap().local_addr().unwrap();
    let udp = |rule: &str| format!("[network]\nudp = [{rule:?}]\n");
    let resolver = "10.99.0.1:53";
    wire.seen(&answers);

    for (args, sections) in [
        (["dial", &at(other), "x"].as_slice(), rule.as_str()),
        (&["dial", &at(listed), "x"], ""),
        (&["dial", "10.99.0.1:443", "x"], &rule),
        (&["dial", &format!("example.org:{listed}"), "x"], &rule),
        (&["lookup", "example.org"], &rule),
        (&["get", "http://10.99.0.1/"], &rule),
        (&["get", "http://example.org/"], &rule),
        (&["get", &format!("https://{}/", at(other))], &rule),
        (&["echo", &at(7)], &rule),
        (&["send", &asked.to_string(), "x"], &udp(resolver)),
        (&["send", resolver, "x"], &allow(resolver)),
        (&["send", resolver, "x"], "[network]\nlisten = [\"*\"]\n"),
        (&["send", "10.99.0.1:54", "x"], &udp(resolver)),
        (&["send", "10.99.0.2:53", "x"], &udp(resolver)),
        (&["send", "example.org:53", "x"], &udp(resolver)),
        (&["dial", resolver, "x"], &udp(resolver)),
        (&["tell", &at(7)], &udp(resolver)),
    ] {
        let ran = probed(args, sections);
        assert_ne!(ran.code(), 0, "{args:?}");
        assert_eq!(wire.seen(&answers), BTreeSet::new(), "{args:?}: {}", ran.stderr);
    }

    // The control: what is listed is seen, and nothing else.
    assert_eq!(probed(&["dial", &at(listed), "x"], &rule).code(), 0);
    assert_eq!(wire.seen(&answers), [(TCP, OWN.into(), listed)].into());
    // A resolver of the program's own.
    assert_eq!(probed(&["send", resolver, "x"], &udp(resolver)).code(), 0);
    assert_eq!(wire.seen(&answers), [(UDP, [10, 99, 0, 1].into(), 53)].into());
    probed(&["lookup", "example.org"], &allow("example.org:443"));
    let asked = wire.seen(&answers);
    assert!(!asked.is_empty() && asked.iter().all(|(protocol, _, port)| (*protocol, *port) == (UDP, 53)), "{asked:?}");
    // A name server of the manifest is asked, and nobody else.
    let named = format!("{}resolver = \"10.99.0.1:5353\"\n", allow("example.org:443"));
    assert_ne!(probed(&["lookup", "example.org"], &named).code(), 0, "nobody answers");
    assert_eq!(wire.seen(&answers), [(UDP, [10, 99, 0, 1].into(), 5353)].into());
    probed(&["lookup", "example.net"], &named);
    assert_eq!(wire.seen(&answers), BTreeSet::new(), "for names of the list alone");
}
