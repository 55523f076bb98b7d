//! A Keep's SPIFFE ID and the Steward's nonce, as types.
//!
//! Owns the one form `spiffe://<trust domain>/<deployment>/<role>` (trust rule 6) and the ID of an anonymous Keep
//! (rule 3). Refuses any other path. Invariant: an ID that is not anonymous was granted through a Deployment, because no
//! Deployment can have the reserved name.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use workload::names::{Name, NameError, TrustDomain};

/// The deployment that no Deployment may be called.
pub const ANONYMOUS_DEPLOYMENT: &str = "anonymous";
/// The role of a Keep without a Deployment.
pub const ANONYMOUS_ROLE: &str = "keep";

/// `spiffe://<trust domain>/<deployment>/<role>` (SPIFFE-ID section 2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// In whose world the name means something.
    pub trust_domain: TrustDomain,
    /// The deployment.
    pub deployment: Name,
    /// The role in it.
    pub role: Name,
}

/// Why a URI is not the ID of a Keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeIdError {
    /// Not `spiffe://` and exactly two path segments.
    #[error("a Keep's ID is spiffe://<trust domain>/<deployment>/<role>")]
    Form,
    /// A part is no valid name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl SpiffeId {
    /// The ID of a Keep that no Deployment covers. It says nothing about owner, deployment or role.
    ///
    /// # Errors
    /// None in practice: the two reserved words are valid names.
    pub fn anonymous(trust_domain: TrustDomain) -> Result<Self, NameError> {
        Ok(Self { trust_domain, deployment: ANONYMOUS_DEPLOYMENT.parse()?, role: ANONYMOUS_ROLE.parse()? })
    }

    /// Whether this is [`SpiffeId::anonymous`].
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.deployment.as_str() == ANONYMOUS_DEPLOYMENT
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, deployment, role } = self;
        write!(out, "spiffe://{trust_domain}/{deployment}/{role}")
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let mut parts = text.strip_prefix("spiffe://").ok_or(SpiffeIdError::Form)?.split('/');
        let (Some(trust_domain), Some(deployment), Some(role), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SpiffeIdError::Form);
        };
        Ok(Self { trust_domain: trust_domain.parse()?, deployment: deployment.parse()?, role: role.parse()? })
    }
}

/// A Steward's nonce: opaque to everybody else. 16 to 64 bytes, so that it is also a valid `eat_nonce` (RFC 9711
/// section 4.1). As text base64url without padding.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(Vec<u8>);

/// Not a nonce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NonceError {
    /// Too short to be unpredictable, or longer than an EAT can carry.
    #[error("a nonce has {min} to {max} bytes, this one has {found}", min = Nonce::MIN, max = Nonce::MAX)]
    Length {
        /// How many bytes it has.
        found: usize,
    },
    /// Not base64url without padding.
    #[error("a nonce is written in base64url without padding")]
    Encoding,
}

impl Nonce {
    /// The fewest bytes.
    pub const MIN: usize = 16;
    /// The most bytes.
    pub const MAX: usize = 64;

    /// Takes the bytes.
    ///
    /// # Errors
    /// [`NonceError::Length`]
    pub fn new(bytes: Vec<u8>) -> Result<Self, NonceError> {
        if (Self::MIN..=Self::MAX).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(NonceError::Length { found: bytes.len() })
        }
    }

    /// The bytes, as they go into the binding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Nonce {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Nonce({self})")
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        Self::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| NonceError::Encoding)?)
    }
}

impl TryFrom<Vec<u8>> for Nonce {
    type Error = NonceError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, NonceError> {
        Self::new(bytes)
    }
}

impl TryFrom<String> for Nonce {
    type Error = NonceError;

    fn try_from(text: String) -> Result<Self, NonceError> {
        text.parse()
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        nonce.to_string()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;

    #[test]
    fn rule_6_one_form_of_spiffe_id() {
        let text = "spiffe://example.org/shop/web";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert!(!id.is_anonymous());
        for bad in [
            "spiffe://example.org",
            "spiffe://example.org/shop",
            "spiffe://example.org/shop/web/",
            "https://example.org/shop/web",
            "spiffe://example.org/shop/web/x",
            "spiffe://example.org//web",
            "spiffe://Example.org/shop/web",
            "spiffe://example.org/shop/..",
            "spiffe://example.org:1/shop/web",
            "spiffe://example.org/shop/web?x",
            "",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rule_3_the_anonymous_id_is_reserved() {
        let id = SpiffeId::anonymous("example.org".parse().unwrap()).unwrap();
        assert_eq!(id.to_string(), "spiffe://example.org/anonymous/keep");
        assert!(id.is_anonymous());
    }

    #[test]
    fn nonces_have_bounds() {
        for length in [16, 32, 64] {
            let nonce = Nonce::new(vec![0xfb; length]).unwrap();
            assert_eq!(format!("{nonce}").parse(), Ok(nonce));
        }
        for length in [0, 15, 65] {
            assert_eq!(Nonce::new(vec![0; length]), Err(NonceError::Length { found: length }));
        }
        assert_eq!("+/+/+/+/+/+/+/+/+/+/+/+/".parse::<Nonce>(), Err(NonceError::Encoding));
        assert_eq!("_-_-_-_-_-_-_-_-_-_-_-_-=".parse::<Nonce>(), Err(NonceError::Encoding));
    }
}
