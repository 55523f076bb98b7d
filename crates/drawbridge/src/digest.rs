//! What bytes are called in a registry: by their SHA-256, or by their SHA-512.
//!
//! Owns the two spellings of OCI image-spec 1.1 ("Digests"). Refuses every other algorithm, upper case and padding: two
//! spellings of one digest would be two names for one thing. Workloads are named by SHA-256 alone (`workload::Digest`); the
//! other one is there for the content of others. Invariant: no two values name the same bytes in one algorithm.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha512};
use workload::digest::DigestError;
use workload::names::{NameError, Tag};

/// A digest of content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Digest {
    Sha256(workload::Digest),
    Sha512([u8; 64]),
}

/// Bytes that are not those that were said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes have digest {found}, expected {expected}")]
pub(crate) struct Mismatch {
    pub(crate) expected: Digest,
    pub(crate) found: Digest,
}

/// What stands after `/manifests/` (OCI distribution-spec 1.1, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Digest {
    /// The SHA-256 of these bytes, which they have where nobody asked for another one.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::Sha256(workload::Digest::of(bytes))
    }

    /// The digest of these bytes in the algorithm of this one.
    pub(crate) fn alike(&self, bytes: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::of(bytes),
            Self::Sha512(_) => Self::Sha512(Sha512::digest(bytes).into()),
        }
    }
}

impl From<workload::Digest> for Digest {
    fn from(digest: workload::Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some(digits) = text.strip_prefix("sha512:") else { return text.parse().map(Self::Sha256) };
        if digits.len() != 128 {
            return Err(DigestError::Length { expected: 128, found: digits.len() });
        }
        if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Digit);
        }
        let mut bytes = [0; 64];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| DigestError::Digit)?;
        Ok(Self::Sha512(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(out),
            Self::Sha512(bytes) => write!(out, "sha512:{}", hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_algorithms_one_spelling_each() {
        // FIPS 180-4, "abc".
        let long = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let digest: Digest = long.parse().unwrap();
        assert_eq!(digest, digest.alike(b"abc"));
        assert_eq!(digest.to_string(), long);
        assert_ne!(digest, digest.alike(b"abd"));
        let short: Digest = Digest::of(b"abc").to_string().parse().unwrap();
        assert_eq!((short, short.alike(b"abc")), (Digest::of(b"abc"), Digest::of(b"abc")));
        for odd in [&long[..100], &long.to_uppercase().replace("SHA", "sha"), &long.replace("512", "384"), ""] {
            assert!(odd.parse::<Digest>().is_err(), "{odd}");
        }
        let odd = long.replace("ddaf", "ddag");
        assert!(odd.parse::<Digest>().is_err() && odd.parse::<Reference>().is_err());
        assert_eq!(long.parse(), Ok(Reference::Digest(digest)));
        assert_eq!("v1".parse::<Reference>().unwrap().to_string(), "v1");
    }
}
