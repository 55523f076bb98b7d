//! The brief: what a Keep is launched with. Its SHA-256 stands in the hardware's launch field (trust rule 1).
//!
//! Owns the deterministic CBOR form (RFC 8949 section 4.2.1, restricted as `spec/brief.md` says).
//! Refuses everything that is not the one encoding of its value: [`Brief::decode`] parses, checks, encodes again and
//! compares bytes, so no two byte strings are the same brief and nothing rides along unread.
//! Invariant: a decoded brief is complete and consistent; a registry never appears without a Steward whose certificate
//! would open it.

mod form;
mod glance;

use alloc::string::String;
use alloc::vec::Vec;

pub use glance::Glance;

use crate::digest::Digest;
use crate::names::{Authority, Name, NameError, Repository, TrustDomain};
use crate::reference::Endpoint;

/// The longest brief, in bytes. It travels in every CSR, and a shim holds it in memory it never frees.
pub const BRIEF_LIMIT: usize = 64 * 1024;

/// The media type under which a brief travels.
pub const BRIEF_MEDIA_TYPE: &str = "application/vnd.donjon.brief+cbor";

/// Everything a Keep is told before its first instruction. Where the fields are sets, [`Brief::encode`] sorts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The world in which the Keep's SPIFFE ID means something.
    pub trust_domain: TrustDomain,
    /// Who certifies the Keep; `None` = it gets no certificate and no names.
    pub steward: Option<StewardRef>,
    /// Where the workload comes from.
    pub source: Source,
    /// SHA-256 of the owner key's SPKI (DER). `None` = nobody speaks for this workload, so it gets no names.
    pub owner: Option<Digest>,
    /// The deployment this Keep belongs to.
    pub deployment: Name,
    /// Its role in the deployment.
    pub role: Name,
    /// Digest of the workload's OCI manifest.
    pub workload: Digest,
    /// Arguments the launcher adds after the manifest's. No NUL.
    pub args: Vec<String>,
    /// Environment the launcher supplies (name, value), sorted by name, names unique; the manifest's values win.
    pub env: Vec<(String, String)>,
}

/// Which Steward certifies, and by what it is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StewardRef {
    /// `http://` or `https://`. A hint: authority comes from the anchors. See [`StewardRef::endpoint`].
    pub url: String,
    /// SHA-256 of the SPKI (DER) of each root whose certificates count; sorted, unique, at least one.
    pub anchors: Vec<Digest>,
    /// SHA-256 of the SPKI (DER) of the HTTPS servers; sorted, unique. Empty = public web roots.
    pub tls: Vec<Digest>,
}

/// Where manifest and blobs come from. Either way each is checked against its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the host, over the gate: for workloads that are no secret.
    Host,
    /// From a Drawbridge, over TLS with the Keep's certificate.
    Drawbridge {
        /// `host:port`; parses as [`Authority`].
        authority: String,
        /// Parses as [`Repository`].
        repository: String,
        /// SHA-256 of the SPKI (DER) of the servers; sorted, unique. Empty = public web roots.
        tls: Vec<Digest>,
    },
}

/// Why bytes are not a brief, or a value cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BriefError {
    /// Longer than [`BRIEF_LIMIT`].
    #[error("a brief has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// [`BRIEF_LIMIT`].
        limit: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// Not CBOR, cut short, or another type than the key has.
    #[error("at byte {at}: not the CBOR item that {place} has")]
    Malformed {
        /// Offset in bytes.
        at: usize,
        /// Which part.
        place: &'static str,
    },
    /// Well-formed, but not the one encoding of its value: longer forms, indefinite lengths, order, duplicates,
    /// trailing bytes.
    #[error("this is not the canonical encoding of the brief (deterministic CBOR, see spec/brief.md)")]
    NotCanonical,
    /// Another format version.
    #[error("brief version {found}, this is version {expected}")]
    Version {
        /// The version we speak.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// A key this version does not have.
    #[error("{place} has no key {key}")]
    UnknownKey {
        /// Which map.
        place: &'static str,
        /// The key.
        key: u64,
    },
    /// A key that must be there is not.
    #[error("{place} lacks key {key}")]
    MissingKey {
        /// Which map.
        place: &'static str,
        /// The key.
        key: u64,
    },
    /// A source of a kind this version does not have.
    #[error("source kind {0} is unknown (0 = host, 1 = drawbridge)")]
    UnknownSource(u64),
    /// A name, URL or authority that does not follow its grammar.
    #[error("{place}: {error}")]
    Name {
        /// Which part.
        place: &'static str,
        /// What is wrong.
        error: NameError,
    },
    /// A Steward without anchors would be any Steward.
    #[error("the steward has no anchors: state the digest of at least one root key")]
    NoAnchors,
    /// Pins of keys that an `http://` server never shows: whoever stated them expects a check that nobody would make.
    #[error(
        "the steward's URL is http://, where no key is shown that could match its pins: say https://, or pin nothing"
    )]
    PinsWithoutTls,
    /// A Drawbridge opens only to a certificate, and only a Steward gives one.
    #[error("a drawbridge needs a steward: without a certificate the Keep cannot fetch anything from it")]
    DrawbridgeWithoutSteward,
    /// An argument with a NUL, or an environment variable with `=` in its name, an empty name, or a NUL.
    #[error("{place} has an empty name, or a character that it cannot carry (NUL, or `=` in a name)")]
    Text {
        /// `args` or `env`.
        place: &'static str,
    },
    /// The same environment variable twice.
    #[error("the environment has {0:?} twice")]
    DuplicateVariable(String),
}

impl StewardRef {
    /// The URL in its parts.
    ///
    /// # Errors
    /// The URL does not follow [`Endpoint`]'s grammar; never for a decoded brief.
    pub fn endpoint(&self) -> Result<Endpoint, NameError> {
        self.url.parse()
    }
}

impl Brief {
    /// The canonical bytes, without asking whether the value is a valid brief: those of an invalid one are refused by
    /// [`Brief::decode`], in the Keep and at the Steward. Who wants to hear of it at once uses [`Brief::try_encode`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        form::write(self)
    }

    /// The canonical bytes of a valid brief.
    ///
    /// # Errors
    /// Whatever [`Brief::decode`] would refuse.
    pub fn try_encode(&self) -> Result<Vec<u8>, BriefError> {
        let bytes = self.encode();
        // Sorting hides a duplicate from nobody: equal names stay neighbours and are refused there.
        Self::decode(&bytes).map(|_| bytes)
    }

    /// Reads a brief that came from the other side of a border.
    ///
    /// # Errors
    /// See [`BriefError`]; every byte string but the canonical encoding of a valid brief is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, BriefError> {
        if bytes.len() > BRIEF_LIMIT {
            return Err(BriefError::TooLong { limit: BRIEF_LIMIT, found: bytes.len() });
        }
        let brief = form::read(bytes)?;
        brief.consistent()?;
        if brief.encode() != bytes {
            return Err(BriefError::NotCanonical);
        }
        Ok(brief)
    }

    fn consistent(&self) -> Result<(), BriefError> {
        let Self { trust_domain: _, steward, source, owner: _, deployment: _, role: _, workload: _, args, env } = self;
        if let Some(StewardRef { url, anchors, tls }) = steward {
            let endpoint: Endpoint = url.parse().map_err(|error| BriefError::Name { place: "steward url", error })?;
            if !endpoint.tls && !tls.is_empty() {
                return Err(BriefError::PinsWithoutTls);
            }
            if anchors.is_empty() {
                return Err(BriefError::NoAnchors);
            }
        }
        if let Source::Drawbridge { authority, repository, tls: _ } = source {
            authority
                .parse::<Authority>()
                .map_err(|error| BriefError::Name { place: "drawbridge authority", error })?;
            repository.parse::<Repository>().map_err(|error| BriefError::Name { place: "repository", error })?;
            if steward.is_none() {
                return Err(BriefError::DrawbridgeWithoutSteward);
            }
        }
        if !args.iter().all(|arg| is_argument(arg)) {
            return Err(BriefError::Text { place: "args" });
        }
        for ((name, value), next) in env.iter().zip(env.iter().skip(1).map(Some).chain([None])) {
            if !is_variable(name, value) {
                return Err(BriefError::Text { place: "env" });
            }
            if next.is_some_and(|(next, _)| next == name) {
                return Err(BriefError::DuplicateVariable(name.clone()));
            }
        }
        Ok(())
    }
}

/// H(brief): SHA-256 over the received bytes, as it stands in HOST_DATA, MRCONFIGID or CONFIGID.
#[must_use]
pub fn hash(brief: &[u8]) -> [u8; 32] {
    *Digest::of(brief).as_bytes()
}

/// Whether a text can be a program's argument: no NUL, which would end it early on the other side.
#[must_use]
pub fn is_argument(text: &str) -> bool {
    !text.contains('\0')
}

/// Whether name and value can be an environment variable: no NUL, and a name that is not empty and has no `=`.
#[must_use]
pub fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    pub(super) fn small() -> Brief {
        Brief {
            trust_domain: "example.org".parse().unwrap(),
            steward: None,
            source: Source::Host,
            owner: None,
            deployment: "test".parse().unwrap(),
            role: "web".parse().unwrap(),
            workload: Digest::new([0x33; 32]),
            args: vec![],
            env: vec![],
        }
    }

    pub(super) fn full() -> Brief {
        Brief {
            steward: Some(StewardRef {
                url: "https://steward.example".to_owned(),
                anchors: vec![Digest::new([0x11; 32])],
                tls: vec![],
            }),
            source: Source::Drawbridge {
                authority: "registry.example:443".to_owned(),
                repository: "shop".to_owned(),
                tls: vec![],
            },
            owner: Some(Digest::new([0x22; 32])),
            args: vec!["--fast".to_owned()],
            env: vec![("LANG".to_owned(), "C".to_owned())],
            ..small()
        }
    }

    #[test]
    fn environment_is_sorted_and_unique() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut brief = full();
        brief.env = vec![pair("B", "2"), pair("A", "1")];
        let bytes = brief.try_encode().unwrap();
        assert_eq!(Brief::decode(&bytes).unwrap().env, [pair("A", "1"), pair("B", "2")]);
        let text = hex::encode(&bytes);
        let swapped = text.replace("8261416131826142 6132".replace(' ', "").as_str(), "82614261328261416131");
        assert_ne!(swapped, text);
        assert_eq!(Brief::decode(&hex::decode(swapped).unwrap()), Err(BriefError::NotCanonical));
        brief.env = vec![pair("A", "1"), pair("A", "2")];
        assert_eq!(brief.try_encode(), Err(BriefError::DuplicateVariable("A".to_string())));
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
            brief.env = vec![pair(name, value)];
            assert_eq!(brief.try_encode(), Err(BriefError::Text { place: "env" }));
        }
        brief.env = vec![];
        brief.args = vec!["a\0b".to_owned()];
        assert_eq!(brief.try_encode(), Err(BriefError::Text { place: "args" }));
    }

    #[test]
    fn rules_between_fields() {
        let mut brief = full();
        brief.steward = None;
        assert_eq!(brief.try_encode(), Err(BriefError::DrawbridgeWithoutSteward));
        brief.source = Source::Host;
        assert!(brief.try_encode().is_ok(), "control: from the host it needs no steward");

        let mut brief = full();
        brief.steward.as_mut().unwrap().anchors.clear();
        assert_eq!(brief.try_encode(), Err(BriefError::NoAnchors));

        let mut brief = full();
        brief.steward.as_mut().unwrap().url = "ftp://steward.example".to_owned();
        assert!(matches!(brief.try_encode(), Err(BriefError::Name { place: "steward url", .. })));

        let pinned = |url: &str, pins: &[Digest]| {
            let mut brief = full();
            brief.steward = Some(StewardRef { url: url.to_owned(), tls: pins.to_vec(), ..brief.steward.unwrap() });
            Brief::decode(&brief.encode()).map(|_| ())
        };
        let pin = [Digest::new([0x44; 32])];
        assert_eq!(pinned("http://steward.example", &pin), Err(BriefError::PinsWithoutTls));
        assert_eq!(pinned("http://steward.example", &[]), Ok(()), "control");
        assert_eq!(pinned("https://steward.example", &pin), Ok(()), "control");

        for (authority, repository, place) in
            [("registry", "shop", "drawbridge authority"), ("r:443", "../x", "repository")]
        {
            let mut brief = full();
            brief.source =
                Source::Drawbridge { authority: authority.to_owned(), repository: repository.to_owned(), tls: vec![] };
            let found = brief.try_encode();
            assert!(matches!(&found, Err(BriefError::Name { place: at, .. }) if *at == place), "{found:?}");
        }
    }

    #[test]
    fn at_most_64_kib() {
        let mut brief = small();
        brief.args = vec![String::new()];
        let empty = brief.encode().len();
        // A text of more than 65,535 - 2 bytes has a head of 3 (or 5) bytes instead of 1.
        brief.args = vec!["a".repeat(BRIEF_LIMIT - empty - 2)];
        assert_eq!(brief.try_encode().unwrap().len(), BRIEF_LIMIT);
        brief.args = vec!["a".repeat(BRIEF_LIMIT - empty - 1)];
        assert_eq!(brief.try_encode(), Err(BriefError::TooLong { limit: BRIEF_LIMIT, found: BRIEF_LIMIT + 1 }));
        assert!(matches!(Brief::decode(&vec![0; 10_000_000]), Err(BriefError::TooLong { .. })));
    }

    #[test]
    fn sets_are_sorted_and_unique() {
        let digests: Vec<_> = (1..4).map(|byte| Digest::new([byte; 32])).collect();
        let with_anchors = |anchors: &[usize]| {
            let mut brief = full();
            brief.steward.as_mut().unwrap().anchors = anchors.iter().map(|at| digests[*at]).collect();
            brief
        };
        let sorted = with_anchors(&[0, 1, 2]).encode();
        assert_eq!(with_anchors(&[2, 0, 1, 0]).encode(), sorted, "the encoder sorts");
        // Swap two anchors in the bytes: the reader must not.
        let text = hex::encode(&sorted);
        let (one, two) = (hex::encode([1; 32]), hex::encode([2; 32]));
        let swapped = text.replace(&one, "x").replace(&two, &one).replace('x', &two);
        assert_eq!(Brief::decode(&hex::decode(swapped).unwrap()), Err(BriefError::NotCanonical));
        let double = text.replace(&two, &one);
        assert_eq!(Brief::decode(&hex::decode(double).unwrap()), Err(BriefError::NotCanonical));
        assert!(Brief::decode(&sorted).is_ok(), "control");
    }
}
