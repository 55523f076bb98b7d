//! A P-256 or P-384 private key, in memory or in a token, and the verifier of what others signed.
//!
//! Keys come from PKCS#8 (RFC 5208) or are made here, both in `crypto`, where it is checked that private and public
//! half belong together. Refuses other curves, encrypted files and the older
//! SEC 1 form, each with its own error.
//! Invariant: `Debug` prints the public digest only.

use std::fmt;

#[cfg(feature = "server")]
use hsm::{KeyUri, SigningKey, TokenError};
use identity::keys::{Algorithm, SignError, Signer, Verifier};
use thiserror::Error;
use workload::digest::Digest;
use zeroize::Zeroizing;

use crate::{
    crypto::{self, Pair},
    pem::{self, SecretError},
};

/// A private key that signs certificates.
pub struct Key {
    holder: Holder,
    algorithm: Algorithm,
    spki: Vec<u8>,
}

enum Holder {
    Memory(Pair),
    #[cfg(feature = "server")]
    Token(SigningKey),
}

impl Key {
    /// A new key that lives as long as the process.
    ///
    /// # Errors
    /// [`KeyError::Random`] when the system gives no random bytes.
    pub fn random(algorithm: Algorithm) -> Result<Self, KeyError> {
        Self::new(Pair::generate(algorithm).ok_or(KeyError::Random)?, algorithm)
    }

    /// Reads the one private key of a PEM text.
    ///
    /// # Errors
    /// [`KeyError`] says what is there instead.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        Self::from_pkcs8(&section(text)?)
    }

    /// Reads an unencrypted PKCS#8 document (DER).
    ///
    /// # Errors
    /// [`KeyError::Curve`] when it is not a P-256 or P-384 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
            if let Some(pair) = Pair::from_pkcs8(algorithm, der) {
                return Self::new(pair, algorithm);
            }
        }
        Err(KeyError::Curve)
    }

    fn new(pair: Pair, algorithm: Algorithm) -> Result<Self, KeyError> {
        let spki = pair.spki().ok_or(KeyError::Curve)?;
        Ok(Self { holder: Holder::Memory(pair), algorithm, spki })
    }

    /// The key of a token; `pin` opens it.
    ///
    /// # Errors
    /// [`TokenError`]; nothing of the PIN is in it.
    #[cfg(feature = "server")]
    pub fn from_token(uri: &KeyUri, pin: Option<&Zeroizing<String>>) -> Result<Self, TokenError> {
        let token = SigningKey::open(uri, pin)?;
        Ok(Self { algorithm: token.algorithm(), spki: token.spki().to_vec(), holder: Holder::Token(token) })
    }

    /// Whether it signs, as far as is known without being asked to.
    #[cfg(feature = "server")]
    pub(crate) fn available(&self) -> bool {
        match &self.holder {
            Holder::Memory(_) => true,
            Holder::Token(token) => token.available(),
        }
    }

    /// Whether it signs without asking an HSM.
    #[cfg(feature = "server")]
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.holder, Holder::Memory(_))
    }

    /// The public key as an uncompressed point: the end of its SPKI.
    #[cfg(feature = "server")]
    pub(crate) fn point(&self) -> &[u8] {
        let length = match self.algorithm {
            Algorithm::EcdsaP256Sha256 => 65,
            Algorithm::EcdsaP384Sha384 => 97,
        };
        self.spki.get(self.spki.len().saturating_sub(length)..).unwrap_or_default()
    }

    /// The private key as PKCS#8, wiped when dropped, for the one who wants to keep it.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        match &self.holder {
            Holder::Memory(pair) => pair.to_pkcs8().ok_or(KeyError::Form),
            #[cfg(feature = "server")]
            Holder::Token(_) => Err(KeyError::Form),
        }
    }
}

impl Signer for Key {
    fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.holder {
            Holder::Memory(pair) => pair.sign(message).ok_or(SignError::Unavailable),
            #[cfg(feature = "server")]
            Holder::Token(token) => token.sign(message),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", Digest::of(&self.spki))
    }
}

/// Verifies ECDSA signatures. The curve of the key must be the one the algorithm names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signatures;

impl Verifier for Signatures {
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        crypto::verify(algorithm, spki, message, signature)
    }
}

/// The DER of the one `PRIVATE KEY` section.
fn section(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    for other in ["EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        if !matches!(pem::secret(other, text), Ok(None)) {
            return Err(KeyError::Form);
        }
    }
    match pem::secret("PRIVATE KEY", text) {
        Ok(Some(der)) => Ok(der),
        Ok(None) => Err(KeyError::Missing),
        Err(SecretError::Broken) => Err(KeyError::Pem),
        Err(SecretError::Several) => Err(KeyError::Several),
    }
}

/// Why a private key was not taken. Nothing of the key is in the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The section does not end, or its Base64 is broken.
    #[error("the PEM text is broken")]
    Pem,
    /// No `PRIVATE KEY` section.
    #[error("no `PRIVATE KEY` section")]
    Missing,
    /// More than one `PRIVATE KEY` section.
    #[error("more than one private key")]
    Several,
    /// SEC 1, PKCS#1 or encrypted in place of plain PKCS#8.
    #[error("the key is not in unencrypted PKCS#8 form")]
    Form,
    /// Neither P-256 nor P-384, or the two halves do not belong together.
    #[error("neither a P-256 nor a P-384 key, or its public half is another key's")]
    Curve,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl KeyError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::Curve => Some(
                "an unencrypted PKCS#8 key is expected: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`",
            ),
            Self::Form => Some("`openssl pkcs8 -topk8 -nocrypt` converts it"),
            Self::Several => Some("leave the one that belongs to the issuing certificate"),
            Self::Pem => Some("the file is cut short or changed: take the whole of it again"),
            Self::Random => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        super::pem::encode(label, der)
    }

    #[test]
    fn both_curves_go_through_pkcs8_and_sign_what_only_their_public_key_verifies() {
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
            let made = Key::random(algorithm).unwrap();
            let text = pem("PRIVATE KEY", &made.to_pkcs8().unwrap());
            let read = Key::from_pem(text.as_bytes()).unwrap();
            assert_eq!(read.spki(), made.spki());
            assert_eq!(read.algorithm(), algorithm);

            let signature = read.sign(b"message").unwrap();
            let other = Key::random(algorithm).unwrap();
            assert!(Signatures.verify(algorithm, made.spki(), b"message", &signature));
            assert!(!Signatures.verify(algorithm, made.spki(), b"massage", &signature));
            assert!(!Signatures.verify(algorithm, other.spki(), b"message", &signature));
        }
    }

    #[test]
    fn a_signature_of_the_other_curve_does_not_verify() {
        let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
        let signature = key.sign(b"m").unwrap();
        assert!(Signatures.verify(Algorithm::EcdsaP256Sha256, key.spki(), b"m", &signature));
        assert!(!Signatures.verify(Algorithm::EcdsaP384Sha384, key.spki(), b"m", &signature));
    }

    #[test]
    fn what_is_not_one_pkcs8_key_is_named() {
        let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
        let good = pem("PRIVATE KEY", &key.to_pkcs8().unwrap());
        assert!(Key::from_pem(good.as_bytes()).is_ok());
        let error = |text: &str| Key::from_pem(text.as_bytes()).unwrap_err();

        assert_eq!(error(""), KeyError::Missing);
        assert_eq!(error(&format!("{good}{good}")), KeyError::Several);
        assert_eq!(error(&pem("EC PRIVATE KEY", b"x")), KeyError::Form);
        assert_eq!(error(&pem("ENCRYPTED PRIVATE KEY", b"x")), KeyError::Form);
        assert_eq!(error(&pem("PRIVATE KEY", b"x")), KeyError::Curve);
        assert_eq!(error(&good[..good.len() / 2]), KeyError::Pem);
    }

    #[test]
    fn debug_prints_the_public_digest_only() {
        let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
        assert_eq!(format!("{key:?}"), format!("Key({})", Digest::of(key.spki())));
    }
}
