//! Names as types: what parses is valid everywhere it is used later.
//!
//! Owns the grammars of SPIFFE trust domains and path segments, DNS names, OCI repositories and tags, and `host:port`.
//! Refuses rather than repairs: no trimming, no case folding, so that equal names are equal bytes.
//! Invariant: a value of these types never needs escaping in a URL path, a SPIFFE ID or a line of a log.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::borrow::Borrow;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::ops::Deref;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a valid {kind}: {fault}")]
pub struct NameError {
    /// What was expected.
    pub kind: NameKind,
    /// What is wrong.
    pub fault: NameFault,
    /// The text, cut after 64 characters.
    pub found: String,
}

/// Which grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameKind {
    /// [`TrustDomain`]
    TrustDomain,
    /// [`Name`]
    Name,
    /// [`DnsName`]
    DnsName,
    /// [`Repository`]
    Repository,
    /// [`Tag`]
    Tag,
    /// [`Authority`]
    Authority,
    /// [`crate::reference::Location`]
    Location,
    /// [`crate::reference::Endpoint`]
    Url,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// No character at all.
    #[error("it is empty")]
    Empty,
    /// Longer than the grammar allows.
    #[error("it is longer than {max} bytes")]
    TooLong {
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// A character the grammar does not have at this place.
    #[error("character {0:?} is not allowed there")]
    Character(char),
    /// Allowed characters in a forbidden arrangement.
    #[error("{0}")]
    Shape(&'static str),
}

impl fmt::Display for NameKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::TrustDomain => "trust domain (1-255 of a-z 0-9 . - _)",
            Self::Name => "name (1-63 of A-Z a-z 0-9 . - _, not . or ..)",
            Self::DnsName => "DNS name (lowercase labels joined by dots)",
            Self::Repository => "repository (lowercase, parts joined by /)",
            Self::Tag => "tag (1-128 of A-Z a-z 0-9 . - _, not beginning with . or -)",
            Self::Authority => "authority (host:port)",
            Self::Location => "location (host:port/repository[:tag][@sha256:...])",
            Self::Url => "URL (http:// or https://, host, optional port and path)",
        })
    }
}

impl NameError {
    pub(crate) fn new(kind: NameKind, fault: NameFault, found: &str) -> Self {
        Self { kind, fault, found: found.chars().take(64).collect() }
    }
}

/// Makes a newtype over `String` whose only constructor is its grammar.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(fault) => Err(NameError::new(NameKind::$type, fault, text)),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                match $check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(fault) => Err(NameError::new(NameKind::$type, fault, &text)),
                }
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.str(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = decoder.position();
                decoder.str()?.parse().map_err(|error| minicbor::decode::Error::custom(error).at(at))
            }
        }
    };
}

name!(
    /// A SPIFFE trust domain (SPIFFE-ID 2.1): 1 to 255 of `a-z 0-9 . - _`.
    TrustDomain,
    trust_domain
);
name!(
    /// A SPIFFE path segment (SPIFFE-ID 2.2): 1 to 63 of `A-Z a-z 0-9 . - _`, neither `.` nor `..`.
    /// Deployments, roles and listeners have such names.
    Name,
    name
);
name!(
    /// A DNS host name (RFC 1123 section 2.1) in lower case, without trailing dot, wildcard or underscore, at most 253
    /// bytes; the last label is not all digits, so no IPv4 address passes for one.
    DnsName,
    dns_name
);
name!(
    /// An OCI repository name (distribution-spec 1.1, "Pulling manifests"), at most 255 bytes.
    Repository,
    repository
);
name!(
    /// An OCI tag (distribution-spec 1.1): 1 to 128 of `A-Z a-z 0-9 . - _`, not beginning with `.` or `-`.
    Tag,
    tag
);
name!(
    /// `host:port` of a server: a DNS name, an IPv4 address or an IPv6 address in brackets, and a port 1 to 65535.
    Authority,
    authority
);

impl Name {
    /// The name of the listener a manifest did not state.
    pub(crate) fn https() -> Self {
        Self("https".to_owned())
    }
}

impl Authority {
    /// The host: a DNS name or an address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }
}

fn length(text: &str, max: usize) -> Result<(), NameFault> {
    match text.len() {
        0 => Err(NameFault::Empty),
        length if length > max => Err(NameFault::TooLong { max }),
        _ => Ok(()),
    }
}

fn only(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), NameFault> {
    text.chars().find(|character| !allowed(*character)).map_or(Ok(()), |character| Err(NameFault::Character(character)))
}

fn trust_domain(text: &str) -> Result<(), NameFault> {
    length(text, 255)?;
    only(text, |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'))
}

fn name(text: &str) -> Result<(), NameFault> {
    length(text, 63)?;
    only(text, |c| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '-' | '_'))?;
    if matches!(text, "." | "..") {
        return Err(NameFault::Shape("`.` and `..` are relative path segments"));
    }
    Ok(())
}

fn dns_name(text: &str) -> Result<(), NameFault> {
    length(text, 253)?;
    only(text, |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-'))?;
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(NameFault::Shape("each label has 1 to 63 characters"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameFault::Shape("a label neither begins nor ends with `-`"));
        }
    }
    if text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(NameFault::Shape("the last label is a number: this looks like an address"));
    }
    Ok(())
}

fn repository(text: &str) -> Result<(), NameFault> {
    length(text, 255)?;
    only(text, |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_' | '/'))?;
    for part in text.split('/') {
        // [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !part.starts_with(alphanumeric) || !part.ends_with(alphanumeric) {
            return Err(NameFault::Shape("each part begins and ends with a letter or digit"));
        }
        let separators = part.split(alphanumeric).filter(|separator| !separator.is_empty());
        for separator in separators {
            if !matches!(separator, "." | "_" | "__") && !separator.bytes().all(|byte| byte == b'-') {
                return Err(NameFault::Shape("letters and digits are separated by `.`, `_`, `__` or dashes"));
            }
        }
    }
    Ok(())
}

fn tag(text: &str) -> Result<(), NameFault> {
    length(text, 128)?;
    only(text, |c| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '-' | '_'))?;
    if text.starts_with(['.', '-']) {
        return Err(NameFault::Shape("a tag does not begin with `.` or `-`"));
    }
    Ok(())
}

fn authority(text: &str) -> Result<(), NameFault> {
    length(text, 261)?;
    let (host, port) = text.rsplit_once(':').ok_or(NameFault::Shape("the port is missing"))?;
    only(port, |c| c.is_ascii_digit())?;
    // One spelling: no leading zero, and so no port 0 either.
    if port.starts_with('0') || port.parse::<u16>().is_err() {
        return Err(NameFault::Shape("the port is not a number from 1 to 65535"));
    }
    self::host(host)
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn host(text: &str) -> Result<(), NameFault> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return address.map(|_| ()).ok_or(NameFault::Shape("between brackets stands no IPv6 address"));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Ok(()),
        Ok(IpAddr::V6(_)) => Err(NameFault::Shape("an IPv6 address stands in brackets")),
        Err(_) => dns_name(text),
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    fn good<T: FromStr<Err = NameError> + ToString>(texts: &[&str]) {
        for text in texts {
            let parsed: T = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed.to_string(), *text);
        }
    }

    fn bad<T: FromStr<Err = NameError>>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn trust_domains() {
        let longest = "a".repeat(255);
        good::<TrustDomain>(&["example.org", "a", "my_domain-1", &longest]);
        bad::<TrustDomain>(&["", "Example.org", "a/b", "a b", "a:1", "ü", &format!("{longest}a")]);
    }

    #[test]
    fn segments() {
        let longest = "a".repeat(63);
        good::<Name>(&["shop", "Shop-1_a.b", "...", &longest]);
        bad::<Name>(&["", ".", "..", "a/b", "a%2f", "a b", "ä", "a\0", &format!("{longest}a")]);
    }

    #[test]
    fn dns_names() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61));
        assert_eq!(longest.len(), 253);
        good::<DnsName>(&["localhost", "shop.example.org", "1.example", "xn--bcher-kva.example", &longest]);
        bad::<DnsName>(&[
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "*.a",
            "A.b",
            "a_b",
            "127.0.0.1",
            "1",
            "::1",
            &format!("{longest}a"),
        ]);
    }

    #[test]
    fn repositories() {
        good::<Repository>(&["shop", "acme/shop", "a.b/c_d/e__f/g--h/0"]);
        bad::<Repository>(&[
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "a/../b",
            "a:b",
            "a@b",
            "a b",
            &"a".repeat(256),
        ]);
    }

    #[test]
    fn tags() {
        let longest = "a".repeat(128);
        good::<Tag>(&["latest", "v1.0", "_x", "1", &longest]);
        bad::<Tag>(&["", ".a", "-a", "a/b", "a:b", "a+b", &format!("{longest}a")]);
    }

    #[test]
    fn authorities() {
        good::<Authority>(&["localhost:1", "shop.example.org:443", "127.0.0.1:65535", "[::1]:8080"]);
        bad::<Authority>(&[
            "",
            "localhost",
            ":1",
            "a:",
            "a:0",
            "a:00",
            "a:01",
            "a:65536",
            "::1:80",
            "[::1]",
            "[a]:1",
            "u@a:1",
            "a:1/",
            "a:+1",
            "A:1",
        ]);
        let six: Authority = "[::1]:8080".parse().unwrap();
        assert_eq!((six.host(), six.port()), ("::1", 8080));
        let dns: Authority = "shop.example.org:443".parse().unwrap();
        assert_eq!((dns.host(), dns.port()), ("shop.example.org", 443));
    }

    #[test]
    fn the_error_quotes_little() {
        let error = "A".repeat(5000).parse::<DnsName>().unwrap_err();
        assert_eq!(error.found.len(), 64);
        assert_eq!(error.fault, NameFault::TooLong { max: 253 });
    }

    #[test]
    fn serde_and_cbor_run_the_grammar() {
        assert_eq!(serde_json::from_str::<Name>("\"shop\"").unwrap(), "shop");
        assert!(serde_json::from_str::<Name>("\"sh/op\"").is_err());
        assert_eq!(minicbor::decode::<Name>(&minicbor::to_vec("shop").unwrap()).unwrap(), "shop");
        assert!(minicbor::decode::<Name>(&minicbor::to_vec("sh/op").unwrap()).is_err());
    }
}
