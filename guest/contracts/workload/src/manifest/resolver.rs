//! Who is asked for names in the host's place.
//!
//! Owns the text of it. Refuses names, which somebody would have to resolve first, and TLS to nobody in particular.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NetworkError;
use crate::digest::Digest;
use crate::names::DnsName;

/// `address:port`: DNS over UDP, and TCP where an answer is long. `tls://address:port#proof`: DNS over TLS (RFC 7858).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Resolver {
    /// Where it is.
    pub to: SocketAddr,
    /// By what it is recognised; `None` = it is asked in the clear.
    pub tls: Option<ResolverProof>,
}

/// What a name server has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverProof {
    /// A certificate for this name that chains to a public web root.
    Name(DnsName),
    /// The key of this digest (SPKI, DER).
    Pin(Digest),
}

impl FromStr for Resolver {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (to, tls) = match text.strip_prefix("tls://") {
            None => (text, None),
            Some(rest) => {
                let (to, proof) = rest.split_once('#').ok_or(NetworkError::Resolver)?;
                let pin = proof.parse().map(ResolverProof::Pin);
                let name = || proof.parse().map(ResolverProof::Name);
                (to, Some(pin.or_else(|_| name()).map_err(|_| NetworkError::Resolver)?))
            }
        };
        let to: SocketAddr = to.parse().map_err(|_| NetworkError::Resolver)?;
        let found = Self { to, tls };
        let scoped = matches!(found.to, SocketAddr::V6(to) if to.scope_id() != 0);
        let one = !scoped
            && found.to.port() != 0
            && found.to.ip().to_canonical() == found.to.ip()
            && found.to_string() == text;
        if one { Ok(found) } else { Err(NetworkError::Resolver) }
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, tls } = self;
        match tls {
            None => write!(out, "{to}"),
            Some(ResolverProof::Name(name)) => write!(out, "tls://{to}#{name}"),
            Some(ResolverProof::Pin(key)) => write!(out, "tls://{to}#{key}"),
        }
    }
}

impl TryFrom<String> for Resolver {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Resolver> for String {
    fn from(resolver: Resolver) -> Self {
        resolver.to_string()
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::format;

    use super::*;
    use crate::Manifest;

    #[test]
    fn a_resolver_has_one_form() {
        let key = format!("tls://192.0.2.1:853#{}", Digest::of(b"key"));
        for text in
            ["192.0.2.1:53", "[2001:db8::1]:5353", "tls://192.0.2.1:853#dns.example.org", "tls://[::1]:1#a", &key]
        {
            assert_eq!(text.parse::<Resolver>().map(|found| found.to_string()), Ok(text.to_owned()));
            let json = format!(r#"{{"network":{{"resolver":"{text}"}}}}"#);
            assert_eq!(Manifest::from_json(json.as_bytes()).unwrap().to_json().unwrap(), json.as_bytes());
        }
        for text in [
            "",
            "192.0.2.1",
            "192.0.2.1:0",
            "192.0.2.1:053",
            "192.0.2.1:53#dns.example.org",
            "192.0.2.256:53",
            "dns.example.org:53",
            "2001:db8::1:53",
            "[2001:DB8::1]:53",
            "[::ffff:192.0.2.1]:53",
            "[fe80::1%1]:53",
            "tls://192.0.2.1:853",
            "tls://192.0.2.1:853#",
            "tls://192.0.2.1:853#192.0.2.1",
            "tls://192.0.2.1:853#Dns.example.org",
            "tls://192.0.2.1:853#sha256:00",
            "tls://dns.example.org:853#dns.example.org",
            "udp://192.0.2.1:53",
            " 192.0.2.1:53",
        ] {
            assert_eq!(text.parse::<Resolver>(), Err(NetworkError::Resolver), "{text}");
        }
    }
}
