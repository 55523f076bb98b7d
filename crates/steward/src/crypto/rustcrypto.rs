//! By RustCrypto: `p256`, `p384`, `hmac`, and the system's random bytes.

pub(crate) use evidence::RustCrypto as Evidence;
use hmac::{Hmac, KeyInit as _, Mac as _};
use identity::keys::Algorithm;
use p256::{
    ecdsa::signature::{Signer as _, Verifier as _},
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _},
};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A private key with its public half.
pub(crate) enum Pair {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl Pair {
    /// None when the system gives no random bytes.
    pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
        // Not every number is a key; all but one in 2^32 are.
        (0..8).find_map(|_| {
            let mut number = Zeroizing::new([0; 48]);
            let number = match algorithm {
                Algorithm::EcdsaP256Sha256 => number.get_mut(..32)?,
                Algorithm::EcdsaP384Sha384 => &mut number[..],
            };
            if !fill(number) {
                return None;
            }
            match algorithm {
                Algorithm::EcdsaP256Sha256 => p256::ecdsa::SigningKey::from_slice(number).ok().map(Self::P256),
                Algorithm::EcdsaP384Sha384 => p384::ecdsa::SigningKey::from_slice(number).ok().map(Self::P384),
            }
        })
    }

    /// Of an unencrypted PKCS#8 document whose halves belong together; none if it is of another kind.
    pub(crate) fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::EcdsaP256Sha256 => p256::ecdsa::SigningKey::from_pkcs8_der(der).ok().map(Self::P256),
            Algorithm::EcdsaP384Sha384 => p384::ecdsa::SigningKey::from_pkcs8_der(der).ok().map(Self::P384),
        }
    }

    pub(crate) fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        let document = match self {
            Self::P256(key) => key.to_pkcs8_der(),
            Self::P384(key) => key.to_pkcs8_der(),
        };
        Some(document.ok()?.to_bytes())
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> Option<Vec<u8>> {
        let document = match self {
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::P384(key) => key.verifying_key().to_public_key_der(),
        };
        Some(document.ok()?.into_vec())
    }

    /// ECDSA-Sig-Value, DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        // By RFC 6979 and nothing else: a root that a derived key makes of the same facts is the same root.
        Some(match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.try_sign(message).ok()?;
                signature.as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.try_sign(message).ok()?;
                signature.as_bytes().to_vec()
            }
        })
    }
}

/// Whether the key of this SPKI, on the curve of the algorithm, signed.
pub(crate) fn verify(algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let verified = match algorithm {
        Algorithm::EcdsaP256Sha256 => p256::ecdsa::VerifyingKey::from_public_key_der(spki).ok().and_then(|key| {
            let signature = p256::ecdsa::DerSignature::try_from(signature).ok()?;
            key.verify(message, &signature).ok()
        }),
        Algorithm::EcdsaP384Sha384 => p384::ecdsa::VerifyingKey::from_public_key_der(spki).ok().and_then(|key| {
            let signature = p384::ecdsa::DerSignature::try_from(signature).ok()?;
            key.verify(message, &signature).ok()
        }),
    };
    verified.is_some()
}

/// HMAC-SHA256.
pub(crate) struct Seal(Hmac<Sha256>);

impl Seal {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    pub(crate) fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// In constant time.
    pub(crate) fn is_of(&self, message: &[u8], tag: &[u8]) -> bool {
        self.0.clone().chain_update(message).verify_slice(tag).is_ok()
    }
}

/// Whether the system gave random bytes.
#[must_use]
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}
