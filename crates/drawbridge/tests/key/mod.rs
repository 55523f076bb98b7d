//! A private key for tests that sign.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use identity::Algorithm;
use identity::keys::{SignError, Signer};

/// A P-256 key in memory.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
    #[allow(dead_code, reason = "not every test shows a certificate for it")]
    pub(crate) pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let spki = [&head, pair.public_key().as_ref()].concat();
        Self { pair, pkcs8: pkcs8.as_ref().to_vec(), spki }
    }
}

impl Signer for Key {
    fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaP256Sha256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| SignError::Unavailable)?;
        Ok(signature.as_ref().to_vec())
    }
}
