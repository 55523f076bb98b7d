//! An issuer of EARs, and that each comes back as it was.

use super::provider::PROVIDER;
use evidence::ear::{Appraisal, Class, Ear, Expecting, VerifierId};
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use std::convert::Infallible;

pub(crate) const NONCE: &[u8] = &[5; 32];
/// SubjectPublicKeyInfo of P-384 up to the point (RFC 5480).
const HEAD: &str = "3076301006072a8648ce3d020106052b81040022036200";

pub(crate) struct Issuer {
    key: SigningKey,
    pub(crate) spki: Vec<u8>,
}

impl Issuer {
    pub(crate) fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 48]).expect("a key");
        let point = key.verifying_key().to_sec1_point(false);
        Self { spki: [&hex::decode(HEAD).expect("hexadecimal"), point.as_bytes()].concat(), key }
    }

    pub(crate) fn signature(&self, message: &[u8]) -> [u8; 96] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }

    pub(crate) fn sign(&self, ear: &Ear) -> String {
        ear.sign(&self.spki, |message| Ok::<_, Infallible>(self.signature(message))).expect("an EAR")
    }

    pub(crate) fn expecting(&self, now: u64) -> Expecting<'_> {
        Expecting { spki: &self.spki, nonce: NONCE, now, ahead: 0, max_age: 60 }
    }
}

pub(crate) fn ear(appraisal: Appraisal, now: u64, class: Class) -> Ear {
    Ear {
        issued_at: now,
        expires: now + 1,
        nonce: NONCE.to_vec(),
        verifier: VerifierId { build: "test 1".to_owned(), developer: "https://example.org".to_owned() },
        policy: "sha256:00".to_owned(),
        class,
        appraisal,
    }
}

pub(crate) fn comes_back(appraisal: &Appraisal, now: u64, class: Class) -> Ear {
    let issuer = Issuer::new(1);
    let made = ear(appraisal.clone(), now, class);
    let read = Ear::verify(&issuer.sign(&made), &issuer.expecting(now), PROVIDER);
    assert_eq!(read.as_ref(), Ok(&made));
    made
}
