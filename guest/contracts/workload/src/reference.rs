//! How things are pointed at: a manifest in a repository, a package in a registry, a service on the network.
//!
//! Owns the three spellings a person types or a brief carries. Refuses user info, queries, fragments, escapes and relative
//! path segments in URLs: nothing here may mean one thing to us and another to a server.
//! Invariant: what resolved a tag is only a hint; [`Reference::Digest`] is the only reference that names bytes.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::names::{Authority, NameError, NameFault, NameKind, Repository, Tag};

/// What stands after `/manifests/` (OCI distribution-spec 1.1, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A tag: whoever may write to the repository decides what it means.
    Tag(Tag),
    /// A digest: exactly these bytes.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    /// A tag never contains `:`, so the two cannot be mixed up.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse() {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) => text.parse().map(Self::Tag),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(out),
            Self::Digest(digest) => digest.fmt(out),
        }
    }
}

/// A package in a registry, as people write it: `host:port/repository[:tag][@sha256:...]`. The port may be left out and
/// is then 443.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location {
    /// The registry.
    pub authority: Authority,
    /// The repository in it.
    pub repository: Repository,
    /// The tag, if one was said.
    pub tag: Option<Tag>,
    /// The digest, if one was said; it wins over the tag.
    pub digest: Option<Digest>,
}

impl Location {
    /// What to ask the registry for: the digest if there is one, else the tag.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        self.digest.map(Reference::Digest).or_else(|| self.tag.clone().map(Reference::Tag))
    }
}

impl FromStr for Location {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fault = |fault| NameError::new(NameKind::Location, fault, text);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    digest.parse().map_err(|_| fault(NameFault::Shape("after `@` stands no sha256 digest")))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (host, path) = rest.split_once('/').ok_or_else(|| fault(NameFault::Shape("the repository is missing")))?;
        let authority = with_port(host, 443).parse()?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse()?)),
            None => (path, None),
        };
        Ok(Self { authority, repository: repository.parse()?, tag, digest })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authority, repository, tag, digest } = self;
        write!(out, "{authority}/{repository}")?;
        if let Some(tag) = tag {
            write!(out, ":{tag}")?;
        }
        if let Some(digest) = digest {
            write!(out, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Location {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        alloc::format!("{location}")
    }
}

/// A service: `http://` or `https://`, a host, a port (80 or 443 if left out) and a path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether the connection is TLS (`https`).
    pub tls: bool,
    /// Host and port.
    pub authority: Authority,
    /// What stands before every path of the service: empty, or `/…` without a slash at the end.
    pub prefix: String,
}

/// The longest URL we take, in bytes.
pub const URL_LIMIT: usize = 2048;

impl FromStr for Endpoint {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fault = |fault| NameError::new(NameKind::Url, fault, text);
        if text.len() > URL_LIMIT {
            return Err(fault(NameFault::TooLong { max: URL_LIMIT }));
        }
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => {
                return Err(fault(NameFault::Shape("it begins neither with `http://` nor with `https://`")));
            }
        };
        let host = rest.split('/').next().unwrap_or_default();
        let path = rest.strip_prefix(host).unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '_' | '~');
        if let Some(character) = path.chars().find(|c| !allowed(*c)) {
            return Err(fault(NameFault::Character(character)));
        }
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if prefix.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(fault(NameFault::Shape("the path has an empty or relative segment")));
        }
        let authority = with_port(host, if tls { 443 } else { 80 }).parse()?;
        Ok(Self { tls, authority, prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, authority, prefix } = self;
        write!(out, "http{}://{authority}{prefix}", if *tls { "s" } else { "" })
    }
}

fn with_port(host: &str, port: u16) -> String {
    let after_brackets = host.rsplit(']').next().unwrap_or(host);
    if after_brackets.contains(':') { host.to_owned() } else { alloc::format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn references() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
        assert_eq!("v1".parse(), Ok(Reference::Tag("v1".parse().unwrap())));
        assert!("sha256:00".parse::<Reference>().is_err(), "a broken digest is no tag");
    }

    #[test]
    fn locations_round_trip() {
        let digest = Digest::of(b"x");
        for text in ["localhost:5000/a", "localhost:5000/a/b:v1", "[::1]:5000/a"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
            let pinned = alloc::format!("{text}@{digest}");
            let location: Location = pinned.parse().unwrap();
            assert_eq!(location.to_string(), pinned);
            assert_eq!(location.reference(), Some(Reference::Digest(digest)), "the digest wins");
        }
        assert_eq!("reg.example/a".parse::<Location>().unwrap().authority, "reg.example:443");
        assert_eq!("[::1]/a".parse::<Location>().unwrap().authority, "[::1]:443");
        for text in [
            "",
            "a",
            "localhost:5000",
            "localhost:5000/",
            "localhost/a:",
            "localhost/a@x",
            "localhost/a@sha256:00",
            "https://h/a",
            "h/a/../b",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn endpoints() {
        let endpoint: Endpoint = "https://steward.example/ca/".parse().unwrap();
        assert_eq!(
            (endpoint.tls, endpoint.authority.as_str(), endpoint.prefix.as_str()),
            (true, "steward.example:443", "/ca")
        );
        let endpoint: Endpoint = "http://127.0.0.1:3000".parse().unwrap();
        assert_eq!((endpoint.tls, endpoint.authority.port(), endpoint.prefix.as_str()), (false, 3000, ""));
        assert_eq!("http://h/".parse::<Endpoint>().unwrap().to_string(), "http://h:80");
        for text in [
            "",
            "h",
            "ftp://h",
            "https://",
            "https:///a",
            "https://u@h",
            "https://h?x",
            "https://h/a?b",
            "https://h/#c",
            "https://h/a//b",
            "https://h/../a",
            "https://h/%2e",
            "https://h /",
            "HTTPS://h",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?} was accepted");
        }
    }
}
