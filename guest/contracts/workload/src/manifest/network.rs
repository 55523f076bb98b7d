//! Whom a program may talk to, and how the other side proves itself.
//!
//! Owns listeners, named connections and the list of destinations. Refuses what could be read in two ways: proofs where
//! nothing can prove itself, roles without the one who vouches for them, two listeners at one port.
//! Invariant: a manifest without these keys reaches nobody and is reached by nobody, but for the default of an HTTP service.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{File, ManifestError, Place, Resolver};
use crate::digest::Digest;
use crate::names::{Authority, DnsName, Name};

/// The most `[[listen]]` sections, and the most `[[connect]]` sections.
const SECTIONS: usize = 64;
/// The most entries in each list of `[network]`.
const RULES: usize = 1024;

/// One place where the workload is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// What the program and the log call it.
    pub name: Name,
    /// The port; 0 = any free one, told when it listens.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Who must prove himself; nobody, if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Trust>,
    /// The roles of Keeps that may come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Name>,
    /// The secret with the certificates and the key, in PEM, that are shown in the place of the Keep's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Name>,
}

/// One place that the workload reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// What the program and the log call it.
    pub name: Name,
    /// Where it is.
    pub to: Authority,
    /// What is spoken there.
    pub protocol: Protocol,
    /// By what the other side is recognised; the public web roots, if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<Trust>,
    /// The roles that a Keep there may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Name>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Bytes in the clear.
    Tcp,
    /// Bytes in TLS, which the Keep speaks: the program sees what is inside.
    Tls,
    /// HTTP in the clear.
    Http,
    /// HTTP in TLS.
    Https,
}

/// By what a certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Trust {
    /// `web`: it chains to a public web root, and has the name that was asked for.
    Web,
    /// `steward`: it is that of a Keep of the same owner and trust domain, under the anchors of one's own brief.
    Steward,
    /// A path: it chains to a certificate in this PEM file of the package; of a server it has the name too.
    Pem(Place),
    /// `sha256:…`: SHA-256 of its key (SPKI, DER).
    Pin(Digest),
}

/// Destinations that a program reaches by sockets of its own, by any name or address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Where it may connect to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<Destination>,
    /// Ports it may listen at, beside those of `[[listen]]`, and take datagrams at from everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Ports>,
    /// Names it may look up, beside those of `connect` and `udp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolve: Vec<Host>,
    /// Where datagrams may go to and come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub udp: Vec<Destination>,
    /// Who is asked for names; `None` = the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
}

/// `host:ports`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Where.
    pub host: Host,
    /// Which ports there.
    pub ports: Ports,
}

/// Some hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// `*`: all.
    Any,
    /// A name.
    Name(DnsName),
    /// `*.name`: all names that end so, but not the name itself.
    Below(DnsName),
    /// `address/bits`: those whose first bits are these. An address alone has all its bits.
    Net {
        /// Its other bits are zero.
        address: IpAddr,
        /// How many bits count.
        bits: u8,
    },
}

/// `port`, `first-last` or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    first: u16,
    last: u16,
}

/// Why a text is not one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Of [`Trust`].
    #[error("trust is \"web\", \"steward\", the path of a PEM file of the package, or the \"sha256:…\" of a key")]
    Trust,
    /// Of [`Destination`].
    #[error(
        "a destination is host:ports, such as \"api.example.org:443\", \"10.0.0.0/8:5432\", \"[::1]:80-90\" or \"*.example.org:*\""
    )]
    Destination,
    /// Of [`Host`].
    #[error("a host is a lowercase name, \"*.\" and a name, an address, a network such as \"10.0.0.0/8\", or \"*\"")]
    Host,
    /// Of [`Host`]: an address with bits beyond those that count.
    #[error("the address of a network has zeroes after its first {bits} bits")]
    Net {
        /// How many count.
        bits: u8,
    },
    /// Of [`Ports`].
    #[error("ports are a number from 1 to 65535, two of them as \"8000-8010\", or \"*\"")]
    Ports,
    /// Of [`Resolver`].
    #[error(
        "a resolver is \"ADDRESS:PORT\", or \"tls://ADDRESS:PORT#NAME\" with the name of its certificate or the \"sha256:…\" of its key"
    )]
    Resolver,
}

impl Protocol {
    /// Whether the other side can prove itself.
    #[must_use]
    pub const fn tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Whether it is HTTP, which the Keep speaks.
    #[must_use]
    pub const fn http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl Host {
    /// Whether a name is among these.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => own == name,
            Self::Below(end) => {
                name.strip_suffix(end.as_str()).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
            }
            Self::Net { .. } => false,
        }
    }

    /// Whether an address is among these. An IPv4 address in an IPv6 one is the former.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Name(_) | Self::Below(_) => false,
            Self::Net { address: net, bits } => masked(address.to_canonical(), *bits).is_some_and(|own| own == *net),
        }
    }
}

impl Ports {
    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether it is every port.
    #[must_use]
    pub const fn is_all(self) -> bool {
        self.first == 1 && self.last == u16::MAX
    }

    /// Whether a port is among these.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// The address with zeroes after its first `bits` bits, if it has so many.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => {
            let rest = 32_u32.checked_sub(bits.into())?;
            IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            let rest = 128_u32.checked_sub(bits.into())?;
            IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into())
        }
    })
}

impl FromStr for Trust {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text {
            "web" => Ok(Self::Web),
            "steward" => Ok(Self::Steward),
            path if path.starts_with('/') => path.parse().map(Self::Pem).map_err(|_| NetworkError::Trust),
            pin => pin.parse().map(Self::Pin).map_err(|_| NetworkError::Trust),
        }
    }
}

impl FromStr for Destination {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (host, ports) = text.rsplit_once(':').ok_or(NetworkError::Destination)?;
        let ports = ports.parse()?;
        // An IPv6 address has colons of its own.
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let (address, bits) = rest.split_once(']').ok_or(NetworkError::Destination)?;
                let host = alloc::format!("{address}{bits}").parse()?;
                if !matches!(host, Host::Net { address: IpAddr::V6(_), .. }) {
                    return Err(NetworkError::Destination);
                }
                host
            }
            None if host.contains(':') => return Err(NetworkError::Destination),
            None => host.parse()?,
        };
        Ok(Self { host, ports })
    }
}

impl FromStr for Host {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = text.strip_prefix("*.") {
            return name.parse().map(Self::Below).map_err(|_| NetworkError::Host);
        }
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let all = if address.is_ipv4() { 32 } else { 128 };
            let bits = match bits {
                None => all,
                Some(bits) => number(bits).and_then(|bits| u8::try_from(bits).ok()).ok_or(NetworkError::Host)?,
            };
            return match masked(address, bits) {
                None => Err(NetworkError::Host),
                Some(net) if net != address => Err(NetworkError::Net { bits }),
                // One way to write it: what is IPv4 is not written as IPv6.
                Some(net) if net.to_canonical() != net => Err(NetworkError::Host),
                Some(address) => Ok(Self::Net { address, bits }),
            };
        }
        text.parse().map(Self::Name).map_err(|_| NetworkError::Host)
    }
}

impl FromStr for Ports {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text == "*" {
            return Ok(Self { first: 1, last: u16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => Err(NetworkError::Ports),
        }
    }
}

/// In the one way in which it is written.
fn number(text: &str) -> Option<u16> {
    text.parse::<u16>().ok().filter(|number| number.to_string() == text)
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web => out.write_str("web"),
            Self::Steward => out.write_str("steward"),
            Self::Pem(path) => path.fmt(out),
            Self::Pin(digest) => digest.fmt(out),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, ports } = self;
        match host {
            Host::Net { address: IpAddr::V6(address), bits: 128 } => write!(out, "[{address}]:{ports}"),
            Host::Net { address: IpAddr::V6(address), bits } => write!(out, "[{address}]/{bits}:{ports}"),
            host => write!(out, "{host}:{ports}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("*"),
            Self::Name(name) => name.fmt(out),
            Self::Below(name) => write!(out, "*.{name}"),
            Self::Net { address: IpAddr::V4(address), bits: 32 } => write!(out, "{address}"),
            Self::Net { address: IpAddr::V6(address), bits: 128 } => write!(out, "{address}"),
            Self::Net { address, bits } => write!(out, "{address}/{bits}"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            _ if self.is_all() => out.write_str("*"),
            (first, last) if first == last => write!(out, "{first}"),
            (first, last) => write!(out, "{first}-{last}"),
        }
    }
}

macro_rules! text {
    ($($type:ty)*) => {$(
        impl TryFrom<String> for $type {
            type Error = NetworkError;

            fn try_from(text: String) -> Result<Self, NetworkError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}
text!(Trust Destination Host Ports);

impl Network {
    pub(super) const fn is_empty(&self) -> bool {
        let Self { connect, listen, resolve, udp, resolver } = self;
        connect.is_empty() && listen.is_empty() && resolve.is_empty() && udp.is_empty() && resolver.is_none()
    }
}

/// The rules between these keys.
pub(super) fn consistent(
    listen: &[Listen],
    connect: &[Connect],
    network: &Network,
    files: &[File],
) -> Result<(), ManifestError> {
    for (what, found) in [("listen", listen.len()), ("connect", connect.len())] {
        if found > SECTIONS {
            return Err(ManifestError::TooMany { what, limit: SECTIONS, found });
        }
    }
    for (what, found) in [
        ("network.connect", network.connect.len()),
        ("network.listen", network.listen.len()),
        ("network.resolve", network.resolve.len()),
        ("network.udp", network.udp.len()),
    ] {
        if found > RULES {
            return Err(ManifestError::TooMany { what, limit: RULES, found });
        }
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (index, Listen { name, port, protocol, clients, roles, certificate }) in listen.iter().enumerate() {
        if !names.insert(name) || (*port != 0 && !ports.insert(*port)) {
            return Err(ManifestError::ListenTwice { index });
        }
        if clients.contains(&Trust::Web) {
            return Err(ManifestError::WebClients { index });
        }
        if certificate.is_some() && !protocol.tls() {
            return Err(ManifestError::Clear { what: "listen", index, key: "certificate", protocol: *protocol });
        }
        proof(Section { what: "listen", index, key: "clients" }, *protocol, clients, roles, files)?;
    }
    let mut targets = BTreeSet::new();
    for (index, Connect { name, to, protocol, trust, roles }) in connect.iter().enumerate() {
        if !names.insert(name) || !targets.insert(to) {
            return Err(ManifestError::ConnectTwice { index });
        }
        proof(Section { what: "connect", index, key: "trust" }, *protocol, trust, roles, files)?;
    }
    Ok(())
}

/// Which section, and by which key the other side proves itself there.
struct Section {
    what: &'static str,
    index: usize,
    key: &'static str,
}

fn proof(
    Section { what, index, key }: Section,
    protocol: Protocol,
    trust: &[Trust],
    roles: &[Name],
    files: &[File],
) -> Result<(), ManifestError> {
    if !protocol.tls() && !trust.is_empty() {
        return Err(ManifestError::Clear { what, index, key, protocol });
    }
    if trust.contains(&Trust::Steward) == roles.is_empty() {
        return Err(ManifestError::Roles { what, index, key });
    }
    for trust in trust {
        // Of a project a file may still be a folder.
        if let Trust::Pem(path) = trust
            && !files.iter().any(|file| path.below(&file.path).is_some())
        {
            return Err(ManifestError::NoSuchFile { what, index, path: path.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_have_one_form() {
        for text in [
            "api.example.org:443",
            "*.example.org:8000-8010",
            "*:*",
            "10.0.0.0/8:5432",
            "192.0.2.7:1",
            "[2001:db8::]/32:443",
            "[::1]:80",
        ] {
            assert_eq!(text.parse::<Destination>().map(|parsed| parsed.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "example.org",
            "example.org:",
            "example.org:0",
            "example.org:01",
            "example.org:9-8",
            "example.org:65536",
            "Example.org:80",
            "*example.org:80",
            "*.*:80",
            ":80",
            "10.0.0.1/8:80",
            "10.0.0.0/33:80",
            "10.0.0.0/08:80",
            "2001:db8::1:80",
            "[10.0.0.1]:80",
            "[::ffff:10.0.0.1]:80",
            "[::1:80",
            "a b:80",
            "",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
        assert_eq!("10.0.0.1/8".parse::<Host>(), Err(NetworkError::Net { bits: 8 }));
    }

    #[test]
    fn what_a_host_covers() {
        let host = |text: &str| text.parse::<Host>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(host("*.example.org").has_name("a.example.org"));
        assert!(host("*.example.org").has_name("a.b.example.org"));
        for name in ["example.org", ".example.org", "aexample.org", "a.example.org.evil"] {
            assert!(!host("*.example.org").has_name(name), "{name}");
        }
        assert!(host("example.org").has_name("example.org"));
        assert!(!host("example.org").has_name("a.example.org"));
        assert!(host("10.0.0.0/8").has_address(address("10.255.0.1")));
        assert!(host("10.0.0.0/8").has_address(address("::ffff:10.1.2.3")), "IPv4 in IPv6");
        assert!(!host("10.0.0.0/8").has_address(address("11.0.0.1")));
        assert!(!host("10.0.0.0/8").has_address(address("::1")));
        assert!(host("0.0.0.0/0").has_address(address("1.2.3.4")));
        assert!(!host("0.0.0.0/0").has_address(address("::1")));
        assert!(host("2001:db8::/32").has_address(address("2001:db8:1::1")));
        assert!(!host("2001:db8::/32").has_address(address("2001:db9::1")));
        assert!(!host("10.0.0.0/8").has_name("10.0.0.1"));
        assert!(host("*").has_name("x") && host("*").has_address(address("::")));
    }

    #[test]
    fn ports() {
        let ports = |text: &str| text.parse::<Ports>();
        assert!(ports("80-90").unwrap().contains(80) && ports("80-90").unwrap().contains(90));
        assert!(!ports("80-90").unwrap().contains(79) && !ports("80-90").unwrap().contains(91));
        assert!(ports("*").unwrap().contains(1) && ports("*").unwrap().contains(65535));
        assert!(!ports("*").unwrap().contains(0));
        for text in ["", "-", "80-", "-80", "+80", "0-80", " 80"] {
            assert_eq!(ports(text), Err(NetworkError::Ports), "{text}");
        }
    }
}
