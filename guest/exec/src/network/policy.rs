//! What the manifest allows, and by which key it would.
//!
//! Owns the rules and the names that addresses were given for. Pure: nothing is asked, resolved or connected here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use workload::manifest::{Connect, Destination, Manifest, Network, Ports};
use workload::names::DnsName;

/// Names that are remembered; beyond it the oldest is forgotten, and so are its addresses.
const NAMES: usize = 4096;
/// How long an answer of the host is taken for the present.
const FRESH: Duration = Duration::from_secs(30);

/// The rules of one program.
pub(super) struct Policy {
    network: Network,
    connect: Vec<Connect>,
    listen: Vec<u16>,
    names: BTreeMap<DnsName, Known>,
}

struct Known {
    addresses: Vec<IpAddr>,
    since: Instant,
}

/// What would allow something: a key of `[network]`, and what would have to be in its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    list: &'static str,
    entry: String,
}

impl Key {
    fn new(list: &'static str, entry: impl std::fmt::Display) -> Self {
        Self { list, entry: entry.to_string() }
    }

    /// As it stands in `Donjon.toml`.
    pub(super) fn section(&self) -> String {
        format!("[network] {} = [\"{}\"]", self.list, self.entry)
    }
}

/// As the host is told of it (`spec/manifest.md`, "debug").
impl std::fmt::Display for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "network.{} {}", self.list, self.entry)
    }
}

/// How one gets to an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the clear.
    Plain,
    /// As this section of the manifest says, from 0.
    Target(usize),
}

/// Why a name has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoName {
    /// It is neither a name nor an address.
    Invalid,
    /// The manifest does not allow it.
    Denied,
    /// The host knows none.
    Unknown,
}

/// A name as it is compared, or the address that it is.
pub(super) fn name(text: &str) -> Result<Result<IpAddr, DnsName>, NoName> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(Ok(address));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    DnsName::try_from(name).map(Err).map_err(|_| NoName::Invalid)
}

impl Policy {
    pub(super) fn new(manifest: &Manifest) -> Self {
        Self {
            network: manifest.network.clone(),
            connect: manifest.connect.clone(),
            listen: manifest.listen.iter().map(|listen| listen.port).collect(),
            names: BTreeMap::new(),
        }
    }

    /// What is known of a name, if it may be asked for; else the key that would allow it.
    pub(super) fn known(&self, name: &DnsName) -> Result<Option<Vec<IpAddr>>, Key> {
        let Network { connect, listen: _, resolve, udp, resolver: _ } = &self.network;
        let listed = self.connect.iter().any(|section| section.to.host() == name.as_str())
            || connect.iter().chain(udp).any(|rule| rule.host.has_name(name))
            || resolve.iter().any(|host| host.has_name(name));
        if !listed {
            return Err(Key::new("resolve", name));
        }
        let known = self.names.get(name).filter(|known| known.since.elapsed() < FRESH);
        Ok(known.map(|known| known.addresses.clone()).filter(|addresses| !addresses.is_empty()))
    }

    /// The host's answer.
    pub(super) fn learn(&mut self, name: DnsName, addresses: &[IpAddr]) {
        if self.names.len() >= NAMES && !self.names.contains_key(&name) {
            let oldest = self.names.iter().min_by_key(|(_, known)| known.since).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.names.remove(&oldest));
        }
        let known = self.names.entry(name).or_insert_with(|| Known { addresses: Vec::new(), since: Instant::now() });
        // What it gave before stays allowed: a program may still hold it.
        let before = std::mem::replace(&mut known.addresses, addresses.to_vec());
        known.addresses.extend(before.into_iter().filter(|address| !addresses.contains(address)).take(64));
        known.since = Instant::now();
    }

    /// Whether the host gave this address for the name.
    fn is(&self, address: IpAddr, name: impl Fn(&DnsName) -> bool) -> bool {
        self.names.iter().any(|(known, Known { addresses, since: _ })| name(known) && addresses.contains(&address))
    }

    /// How a program gets to an address; else the key that would let it.
    pub(super) fn way(&self, to: SocketAddr) -> Result<Way, Key> {
        let (address, port) = (to.ip().to_canonical(), to.port());
        let section = self.connect.iter().position(|Connect { to, .. }| {
            to.port() == port
                && match to.host().parse::<IpAddr>() {
                    Ok(own) => own.to_canonical() == address,
                    Err(_) => self.is(address, |name| name.as_str() == to.host()),
                }
        });
        if let Some(index) = section {
            return Ok(Way::Target(index));
        }
        if self.lists(&self.network.connect, to) { Ok(Way::Plain) } else { Err(self.missing("connect", to)) }
    }

    /// Whether datagrams may go to an address, and come from it; else the key that would let them.
    pub(super) fn datagrams(&self, peer: SocketAddr) -> Result<(), Key> {
        if self.lists(&self.network.udp, peer) { Ok(()) } else { Err(self.missing("udp", peer)) }
    }

    fn lists(&self, rules: &[Destination], to: SocketAddr) -> bool {
        let (address, port) = (to.ip().to_canonical(), to.port());
        rules.iter().any(|rule| {
            rule.ports.contains(port)
                && (rule.host.has_address(address) || self.is(address, |name| rule.host.has_name(name)))
        })
    }

    /// The entry that would list it: by its name, if that was looked up, because people know it by that.
    fn missing(&self, key: &'static str, to: SocketAddr) -> Key {
        let (address, port) = (to.ip().to_canonical(), to.port());
        let known = self.names.iter().find(|(_, known)| known.addresses.contains(&address));
        let host = known.map_or_else(|| bracketed(address), |(name, _)| name.to_string());
        Key::new(key, format_args!("{host}:{port}"))
    }

    /// Whether a request may go to this authority without a section of its own; else the key that would let it.
    pub(super) fn request(&self, host: &str, port: u16) -> Result<(), Key> {
        let listed = self.network.connect.iter().any(|rule| {
            rule.ports.contains(port)
                && match name(host) {
                    Ok(Ok(address)) => rule.host.has_address(address),
                    Ok(Err(name)) => rule.host.has_name(&name),
                    Err(_) => false,
                }
        });
        if listed { Ok(()) } else { Err(Key::new("connect", format_args!("{host}:{port}"))) }
    }

    /// Whether a program may listen at a port of its own choice; else the key that would let it.
    pub(super) fn listen(&self, port: u16) -> Result<(), Key> {
        let any = port == 0 && self.network.listen.iter().any(|ports| ports.is_all());
        if any || self.network.listen.iter().any(|ports| ports.contains(port)) && !self.listen.contains(&port) {
            return Ok(());
        }
        let port = if port == 0 { "*".to_owned() } else { Ports::one(port).to_string() };
        Err(Key::new("listen", port))
    }

    /// Whether a socket for datagrams that is bound to this port takes them from everybody; if it may not be bound there,
    /// the key that would let it. At any port (0) it always may: whom it hears is another matter.
    pub(super) fn bind(&self, port: u16) -> Result<bool, Key> {
        let listed =
            self.network.listen.iter().any(|ports| if port == 0 { ports.is_all() } else { ports.contains(port) });
        if listed || port == 0 { Ok(listed) } else { Err(Key::new("listen", port)) }
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        Policy::new(&Manifest::from_json(json.as_bytes()).unwrap())
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn dns(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_allowed_by_itself() {
        let policy = policy("{}");
        assert_eq!(policy.way(at("192.0.2.1:443")), Err(Key::new("connect", "192.0.2.1:443")));
        assert_eq!(policy.way(at("[2001:db8::1]:1")), Err(Key::new("connect", "[2001:db8::1]:1")));
        assert_eq!(policy.known(&dns("a.b")), Err(Key::new("resolve", "a.b")));
        assert_eq!(policy.request("a.b", 443), Err(Key::new("connect", "a.b:443")));
        assert_eq!(policy.listen(80), Err(Key::new("listen", "80")));
        assert_eq!(policy.listen(0), Err(Key::new("listen", "*")));
        assert_eq!(policy.datagrams(at("192.0.2.1:53")), Err(Key::new("udp", "192.0.2.1:53")));
        assert_eq!(policy.bind(80), Err(Key::new("listen", "80")));
        assert_eq!(policy.bind(0), Ok(false), "and nobody is heard there");
    }

    #[test]
    fn an_address_is_what_the_host_gave_for_a_name() {
        let json = r#"{"connect":[{"name":"db","to":"db.a:5432","protocol":"tcp"}],"network":{"connect":["*.b:80-90"],"resolve":["c"]}}"#;
        let mut policy = policy(json);
        let address = "192.0.2.1".parse().unwrap();
        for port in [5432, 80] {
            assert!(policy.way(SocketAddr::new(address, port)).is_err(), "no name was asked for");
        }
        assert_eq!(policy.known(&dns("db.a")), Ok(None));
        policy.learn(dns("db.a"), &[address]);
        assert_eq!(policy.known(&dns("db.a")), Ok(Some(vec![address])));
        assert_eq!(policy.way(at("192.0.2.1:5432")), Ok(Way::Target(0)));
        assert_eq!(policy.way(at("[::ffff:192.0.2.1]:5432")), Ok(Way::Target(0)), "the same in IPv6");
        assert_eq!(policy.way(at("192.0.2.1:80")), Err(Key::new("connect", "db.a:80")));
        policy.learn(dns("x.b"), &[address]);
        assert_eq!(policy.way(at("192.0.2.1:80")), Ok(Way::Plain));
        assert!(policy.way(at("192.0.2.1:91")).is_err() && policy.way(at("192.0.2.2:80")).is_err());
        // A name that may be looked up is not one that may be connected to.
        assert_eq!(policy.known(&dns("c")), Ok(None));
        policy.learn(dns("c"), &["192.0.2.3".parse().unwrap()]);
        assert!(policy.way(at("192.0.2.3:80")).is_err());
        assert!(policy.known(&dns("d")).is_err());
    }

    #[test]
    fn what_was_given_before_stays_but_not_for_ever() {
        let mut policy = policy(r#"{"network":{"connect":["a.b:1"]}}"#);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse::<IpAddr>().unwrap());
        policy.learn(dns("a.b"), &[one]);
        policy.learn(dns("a.b"), &[other]);
        assert_eq!(policy.known(&dns("a.b")), Ok(Some(vec![other, one])), "the newest first");
        for index in 0..NAMES {
            policy.learn(dns(&format!("n{index}.a")), &[one]);
        }
        assert_eq!(policy.names.len(), NAMES);
        assert!(policy.way(SocketAddr::new(other, 1)).is_err(), "the oldest is forgotten");
    }

    #[test]
    fn requests_go_by_name() {
        let policy = policy(r#"{"network":{"connect":["*.a:443","10.0.0.0/8:*"]}}"#);
        assert!(policy.request("x.a", 443).is_ok() && policy.request("X.A.", 443).is_ok());
        assert!(policy.request("10.1.2.3", 80).is_ok());
        for (host, port) in [("a", 443), ("x.a", 80), ("11.0.0.1", 80), ("10.0.0.1.a.evil", 443), ("", 443)] {
            assert!(policy.request(host, port).is_err(), "{host}:{port}");
        }
    }

    #[test]
    fn ports_of_sections_are_theirs() {
        let json = r#"{"listen":[{"name":"n","port":81,"protocol":"tcp"}],"network":{"listen":["80-90"]}}"#;
        let policy = policy(json);
        assert!(policy.listen(80).is_ok() && policy.listen(91).is_err());
        assert!(policy.listen(81).is_err(), "it may be TLS");
    }

    #[test]
    fn datagrams_have_a_list_of_their_own() {
        let json = r#"{"network":{"connect":["192.0.2.1:443","a.b:443"],"udp":["192.0.2.1:53","[2001:db8::]/32:*","c.d:123"]}}"#;
        let mut policy = policy(json);
        for peer in ["192.0.2.1:53", "[::ffff:192.0.2.1]:53", "[2001:db8::1]:9"] {
            assert_eq!(policy.datagrams(at(peer)), Ok(()), "{peer}");
        }
        for peer in ["192.0.2.1:443", "192.0.2.1:54", "192.0.2.2:53", "[2001:db9::1]:9"] {
            assert!(policy.datagrams(at(peer)).is_err(), "{peer}");
        }
        assert!(
            policy.way(at("192.0.2.1:53")).is_err() && policy.way(at("192.0.2.1:443")).is_ok(),
            "nor the other way"
        );
        // By name, as far as the host gave addresses for it.
        assert!(policy.datagrams(at("192.0.2.9:123")).is_err());
        assert_eq!(policy.known(&dns("c.d")), Ok(None), "its name may be looked up");
        policy.learn(dns("c.d"), &["192.0.2.9".parse().unwrap()]);
        assert_eq!(policy.datagrams(at("192.0.2.9:123")), Ok(()));
        assert_eq!(policy.datagrams(at("192.0.2.9:124")), Err(Key::new("udp", "c.d:124")));
        policy.learn(dns("a.b"), &["192.0.2.8".parse().unwrap()]);
        assert!(policy.datagrams(at("192.0.2.8:443")).is_err(), "a name for connections is none for datagrams");
    }

    #[test]
    fn everybody_is_heard_at_listed_ports() {
        let some = policy(r#"{"listen":[{"name":"n","port":443,"protocol":"tcp"}],"network":{"listen":["80-90"]}}"#);
        assert_eq!((some.bind(80), some.bind(0)), (Ok(true), Ok(false)));
        assert!(some.bind(91).is_err() && some.bind(443).is_err(), "a section is for connections");
        let all = policy(r#"{"network":{"listen":["*"]}}"#);
        assert_eq!((all.bind(80), all.bind(0)), (Ok(true), Ok(true)));
    }

    #[test]
    fn names_and_addresses() {
        assert_eq!(name("[::1]"), Ok(Ok("::1".parse().unwrap())));
        assert_eq!(name("A.b."), Ok(Err(dns("a.b"))));
        for bad in ["", ".", "a b", "1.2.3", "a_b"] {
            assert_eq!(name(bad), Err(NoName::Invalid), "{bad}");
        }
    }
}
