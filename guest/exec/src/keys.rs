//! The Keep's key and the signatures it checks, by aws-lc-rs. The private key is made here and never leaves the Keep.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, EcdsaKeyPair, KeyPair,
    ParsedPublicKey,
};
use identity::keys::{Algorithm, SignError, Signer, Verifier};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::refusal::{Refusal, Step};

/// A P-256 key pair made inside the Keep.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Key {
    pub(crate) fn generate() -> Result<Self, Refusal> {
        let failed =
            |error| Refusal::new(Step::Evidence, "key.generate", error, "this is a defect of the Keep: report it");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
        let spki = pair.public_key().as_der().map_err(failed)?.as_ref().to_vec();
        Ok(Self { pair, spki })
    }

    /// For the TLS configurations of this process, and for a program that takes its place.
    pub(crate) fn to_pkcs8(&self) -> Result<PrivatePkcs8KeyDer<'static>, Refusal> {
        let der = self.pair.to_pkcs8v1().map_err(|error| {
            Refusal::new(Step::Certificate, "key.encode", error, "this is a defect of the Keep: report it")
        })?;
        Ok(PrivatePkcs8KeyDer::from(der.as_ref().to_vec()))
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

/// Checks signatures with aws-lc-rs.
pub(crate) struct AwsLc;

impl Verifier for AwsLc {
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm = match algorithm {
            Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        };
        ParsedPublicKey::new(algorithm, spki).is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}
