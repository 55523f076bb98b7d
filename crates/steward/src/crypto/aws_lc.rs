//! By aws-lc-rs.

use aws_lc_rs::{
    encoding::AsDer as _,
    hmac, rand,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, UnparsedPublicKey,
    },
};
pub(crate) use evidence::AwsLc as Evidence;
use identity::keys::Algorithm;
use zeroize::Zeroizing;

/// A private key with its public half.
pub(crate) struct Pair(EcdsaKeyPair);

impl Pair {
    /// None when the system gives no random bytes.
    pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
        EcdsaKeyPair::generate(signing(algorithm)).ok().map(Self)
    }

    /// Of an unencrypted PKCS#8 document whose halves belong together; none if it is of another kind.
    pub(crate) fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(signing(algorithm), der).ok().map(Self)
    }

    pub(crate) fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        let document = self.0.to_pkcs8v1().ok()?;
        Some(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> Option<Vec<u8>> {
        Some(self.0.public_key().as_der().ok()?.as_ref().to_vec())
    }

    /// ECDSA-Sig-Value, DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec())
    }
}

fn signing(algorithm: Algorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Algorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
    }
}

/// Whether the key of this SPKI, on the curve of the algorithm, signed.
pub(crate) fn verify(algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm = match algorithm {
        Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
    };
    UnparsedPublicKey::new(algorithm, spki).verify(message, signature).is_ok()
}

/// HMAC-SHA256.
pub(crate) struct Seal(hmac::Key);

impl Seal {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(crate) fn tag(&self, message: &[u8]) -> [u8; 32] {
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&self.0, message).as_ref());
        tag
    }

    /// In constant time.
    pub(crate) fn is_of(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, message, tag).is_ok()
    }
}

/// Whether the system gave random bytes.
#[must_use]
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    rand::fill(bytes).is_ok()
}
