//! Secrets for workloads: how they are made, and how they are kept.
//!
//! Owns envelope encryption: each version of a secret is sealed by AES-256-GCM under a key of its own, and that key under the
//! operator's ([`key`]), both bound to repository, name and version, so that no row can stand for another. Refuses to show a
//! value to anybody but for a release ([`crate::release`]). Invariant: nothing here prints a value, and none is ever on the disk in
//! the clear.

mod key;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::PublicKeyData as _;
use serde::{Deserialize, Serialize};
use workload::names::{Name, Repository};
use workload::secrets::SECRET_LIMIT;
use x509_cert::der::pem::LineEnding;
use zeroize::Zeroizing;

use key::Wrapping;
pub use key::{KeyError, OpenBao, SecretsKey};

/// How long AES-256-GCM's nonce is, which stands before what it sealed.
const NONCE: usize = 12;

/// What seals and opens.
#[derive(Debug)]
pub(crate) struct Vault(Wrapping);

/// A value in the clear.
pub(crate) struct Value(Zeroizing<Vec<u8>>);

/// How a secret came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody gave it.
    Given,
    /// 256 random bits, as base64url text.
    Random,
    /// A P-256 key pair: PKCS#8 in PEM.
    P256,
    /// An Ed25519 key pair: PKCS#8 in PEM.
    Ed25519,
}

/// Which version of which secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) name: &'a Name,
    pub(crate) version: u64,
}

/// A version as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) value: Vec<u8>,
    pub(crate) wrapped: String,
    pub(crate) by: String,
}

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("a secret has at most {SECRET_LIMIT} bytes")]
    TooLong,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{0} cannot be opened: it is another's, or damaged")]
    Damaged(String),
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl Vault {
    /// Reads the operator's key, or finds where it is.
    pub(crate) fn open(key: &SecretsKey) -> Result<Self, KeyError> {
        Wrapping::open(key).map(Self)
    }

    pub(crate) async fn seal(&self, id: Id<'_>, value: &Value) -> Result<Sealed, VaultError> {
        if value.0.len() > SECRET_LIMIT {
            return Err(VaultError::TooLong);
        }
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(|_| VaultError::NoRandomness)?;
        let about = id.about();
        let wrapped = self.0.wrap(&key, about.as_bytes()).await?;
        let value = seal(&key, about.as_bytes(), &value.0).ok_or(VaultError::NoRandomness)?;
        Ok(Sealed { value, wrapped, by: self.0.name() })
    }

    pub(crate) async fn unseal(&self, id: Id<'_>, sealed: &Sealed) -> Result<Value, VaultError> {
        let about = id.about();
        let key = self.0.unwrap(&sealed.wrapped, &sealed.by, about.as_bytes()).await?;
        let value = open(&key, about.as_bytes(), &sealed.value);
        value.map(Value).ok_or(VaultError::Damaged(about))
    }
}

impl Id<'_> {
    /// What both seals are bound to. Neither a repository nor a name has a space.
    fn about(&self) -> String {
        let Self { repository, name, version } = self;
        format!("donjon secret 1 {repository} {name} {version}")
    }
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Random => "random",
            Self::P256 => "p256",
            Self::Ed25519 => "ed25519",
        }
    }

    pub(crate) fn of(text: &str) -> Option<Self> {
        [Self::Given, Self::Random, Self::P256, Self::Ed25519].into_iter().find(|kind| kind.as_str() == text)
    }

    /// A new value that nobody sees, and the public half of a key pair, SPKI in PEM; `None`: this kind is not made.
    pub(crate) fn generate(self) -> Result<Option<(Value, Option<String>)>, VaultError> {
        let algorithm = match self {
            Self::Given => return Ok(None),
            Self::Random => {
                let mut bytes = Zeroizing::new([0; 32]);
                rand::fill(&mut *bytes).map_err(|_| VaultError::NoRandomness)?;
                let text = BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice());
                return Ok(Some((Value::new(text.into_bytes()), None)));
            }
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        let pair = rcgen::KeyPair::generate_for(algorithm).map_err(|_| VaultError::NoRandomness)?;
        let pem = |label, der: &[u8]| {
            x509_cert::der::pem::encode_string(label, LineEnding::LF, der).map_err(|_| VaultError::NoRandomness)
        };
        let private = pem("PRIVATE KEY", &Zeroizing::new(pair.serialize_der()))?;
        let public = pem("PUBLIC KEY", &pair.subject_public_key_info())?;
        Ok(Some((Value::new(private.into_bytes()), Some(public))))
    }
}

impl Value {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// For the one answer it belongs into.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Value(…)")
    }
}

/// AES-256-GCM with a random nonce, which stands before the rest.
fn seal(key: &[u8; 32], about: &[u8], clear: &[u8]) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let mut sealed = Zeroizing::new(clear.to_vec());
    let nonce = key.seal_in_place_append_tag(Aad::from(about), &mut *sealed).ok()?;
    Some([nonce.as_ref(), sealed.as_slice()].concat())
}

fn open(key: &[u8; 32], about: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let mut clear = Zeroizing::new(rest.to_vec());
    let length = key.open_in_place(nonce.into(), Aad::from(about), &mut clear).ok()?.len();
    clear.truncate(length);
    Some(clear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_row_is_itself_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let file = dir.path().join(name);
            SecretsKey::make(&file).unwrap();
            Vault::open(&SecretsKey::File(file)).unwrap()
        };
        let (vault, other) = (made("one"), made("two"));
        let (shop, web): (Repository, Repository) = ("acme/shop".parse().unwrap(), "acme/web".parse().unwrap());
        let (db, tls): (Name, Name) = ("db".parse().unwrap(), "tls".parse().unwrap());
        let id = Id { repository: &shop, name: &db, version: 3 };
        let value = Value::new(b"swordfish".to_vec());
        let sealed = vault.seal(id, &value).await.unwrap();
        assert_eq!(vault.unseal(id, &sealed).await.unwrap().expose(), b"swordfish");
        assert!(!format!("{sealed:?} {value:?} {vault:?}").contains("swordfish"));
        assert!(!sealed.value.windows(9).any(|part| part == b"swordfish"));
        assert_ne!(vault.seal(id, &value).await.unwrap(), sealed, "nothing is sealed twice in one way");
        for elsewhere in [Id { repository: &web, ..id }, Id { name: &tls, ..id }, Id { version: 4, ..id }] {
            assert!(vault.unseal(elsewhere, &sealed).await.is_err(), "{elsewhere:?}");
        }
        let error = other.unseal(id, &sealed).await.unwrap_err();
        assert!(matches!(error, VaultError::Key(KeyError::Another { .. })), "{error}");
        for place in 0..sealed.value.len() {
            let mut bent = sealed.clone();
            bent.value[place] ^= 1;
            assert!(vault.unseal(id, &bent).await.is_err(), "byte {place}");
        }
        for short in 0..NONCE + 16 {
            let cut = Sealed { value: sealed.value[..short].to_vec(), ..sealed.clone() };
            assert!(vault.unseal(id, &cut).await.is_err());
        }
        let long = Value::new(vec![0; SECRET_LIMIT + 1]);
        assert!(matches!(vault.seal(id, &long).await, Err(VaultError::TooLong)));
    }

    #[test]
    fn what_is_made_is_new_and_of_its_kind() {
        assert!(Kind::Given.generate().unwrap().is_none());
        for kind in [Kind::Random, Kind::P256, Kind::Ed25519] {
            let [(one, public), (two, _)] = [(); 2].map(|()| kind.generate().unwrap().unwrap());
            assert_ne!(one.expose(), two.expose());
            let text = std::str::from_utf8(one.expose()).unwrap();
            assert_eq!(text.starts_with("-----BEGIN PRIVATE KEY-----"), kind != Kind::Random, "{kind:?}");
            assert_eq!(public.is_some_and(|pem| pem.starts_with("-----BEGIN PUBLIC KEY-----")), kind != Kind::Random);
            assert_eq!(Kind::of(kind.as_str()), Some(kind));
        }
    }
}
