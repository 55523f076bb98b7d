//! The floor of a judgement: the signature checks it asked for, again, with nothing around them.

use std::cell::RefCell;

use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};
use evidence::{AwsLc, Provider, SignatureAlgorithm};

/// One check: its scheme, and the bytes of key, message and signature.
struct Check {
    algorithm: SignatureAlgorithm,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// The checks of one judgement.
pub(crate) struct Recorded(Vec<Check>);

impl Recorded {
    pub(crate) fn of(judge: &dyn Fn(&dyn Provider)) -> Self {
        #[derive(Default)]
        struct Recorder(RefCell<Vec<Check>>);
        impl Provider for Recorder {
            fn verify(&self, algorithm: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
                let parsed = spki::SubjectPublicKeyInfoRef::try_from(spki).expect("a key");
                let key = parsed.subject_public_key.as_bytes().expect("whole bytes").to_vec();
                let check = Check { algorithm, key, message: message.to_vec(), signature: signature.to_vec() };
                self.0.borrow_mut().push(check);
                AwsLc.verify(algorithm, spki, message, signature)
            }
        }
        let recorder = Recorder::default();
        judge(&recorder);
        Self(recorder.0.into_inner())
    }

    pub(crate) fn again(&self) {
        for Check { algorithm, key, message, signature } in &self.0 {
            let good = UnparsedPublicKey::new(scheme(*algorithm), key).verify(message, signature);
            assert!(good.is_ok(), "it was good before");
        }
    }

    /// Which they are.
    pub(crate) fn said(&self) -> String {
        let count = |of: &[SignatureAlgorithm]| self.0.iter().filter(|check| of.contains(&check.algorithm)).count();
        let counts = [
            ("RSA-4096", count(&[SignatureAlgorithm::RsaPssSha384])),
            ("P-384", count(&[SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::EcdsaP384Sha384Fixed])),
            ("P-256", count(&[SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP256Sha256Fixed])),
        ];
        let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}

fn scheme(algorithm: SignatureAlgorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => &aws::ECDSA_P256_SHA256_ASN1,
        SignatureAlgorithm::EcdsaP256Sha256Fixed => &aws::ECDSA_P256_SHA256_FIXED,
        SignatureAlgorithm::EcdsaP384Sha384 => &aws::ECDSA_P384_SHA384_ASN1,
        SignatureAlgorithm::EcdsaP384Sha384Fixed => &aws::ECDSA_P384_SHA384_FIXED,
        SignatureAlgorithm::RsaPssSha384 => &aws::RSA_PSS_2048_8192_SHA384,
        other => panic!("{other:?} is in no evidence measured here"),
    }
}
