//! The one place where signatures are checked, behind a trait the caller chooses at run time.
//!
//! Keys arrive as SubjectPublicKeyInfo so that a provider can refuse a key of the wrong kind; a
//! signature check answers only yes or no. There is no signing and no hashing here.

/// Signature schemes that evidence of today's TEEs uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA P-256, SHA-256, signature as ASN.1 DER.
    EcdsaP256Sha256,
    /// ECDSA P-256, SHA-256, signature as r||s, 32 bytes each, big-endian.
    EcdsaP256Sha256Fixed,
    /// ECDSA P-384, SHA-384, signature as ASN.1 DER.
    EcdsaP384Sha384,
    /// ECDSA P-384, SHA-384, signature as r||s, 48 bytes each, big-endian.
    EcdsaP384Sha384Fixed,
    /// RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt of 48 bytes (RFC 8017 section 8.1).
    RsaPssSha384,
}

/// Checks signatures. Implementations must be deterministic and free of side effects.
pub trait Provider {
    /// True only if `signature` over `message` verifies under the key in `spki_der` (DER
    /// SubjectPublicKeyInfo) with exactly `algorithm`. Anything malformed is false.
    fn verify(&self, algorithm: SignatureAlgorithm, spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

/// aws-lc-rs: the native provider.
#[cfg(feature = "aws-lc")]
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLc;

#[cfg(feature = "aws-lc")]
impl Provider for AwsLc {
    fn verify(&self, algorithm: SignatureAlgorithm, spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool {
        use aws_lc_rs::signature as aws;
        use const_oid::ObjectIdentifier;
        use const_oid::db::rfc5912;
        use der::Decode;

        let (scheme, curve): (&dyn aws::VerificationAlgorithm, Option<ObjectIdentifier>) = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => (&aws::ECDSA_P256_SHA256_ASN1, Some(rfc5912::SECP_256_R_1)),
            SignatureAlgorithm::EcdsaP256Sha256Fixed => (&aws::ECDSA_P256_SHA256_FIXED, Some(rfc5912::SECP_256_R_1)),
            SignatureAlgorithm::EcdsaP384Sha384 => (&aws::ECDSA_P384_SHA384_ASN1, Some(rfc5912::SECP_384_R_1)),
            SignatureAlgorithm::EcdsaP384Sha384Fixed => (&aws::ECDSA_P384_SHA384_FIXED, Some(rfc5912::SECP_384_R_1)),
            SignatureAlgorithm::RsaPssSha384 => (&aws::RSA_PSS_2048_8192_SHA384, None),
        };
        let Ok(spki) = spki::SubjectPublicKeyInfoRef::from_der(spki_der) else {
            return false;
        };
        // The library would guess the kind of key from its bytes; we say which one it must be.
        let right_kind = match curve {
            Some(curve) => {
                spki.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY && spki.algorithm.parameters_oid() == Ok(curve)
            }
            None => spki.algorithm.oid == rfc5912::RSA_ENCRYPTION,
        };
        let Some(key) = spki.subject_public_key.as_bytes() else {
            return false;
        };
        right_kind && aws::UnparsedPublicKey::new(scheme, key).verify(message, signature).is_ok()
    }
}

#[cfg(all(test, feature = "aws-lc"))]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    };

    fn signed(scheme: &'static EcdsaSigningAlgorithm) -> (Vec<u8>, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(scheme).expect("key");
        let spki = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("spki");
        let signature = pair.sign(&SystemRandom::new(), b"message").expect("signature");
        (spki.as_ref().to_vec(), signature.as_ref().to_vec())
    }

    #[test]
    fn each_scheme_accepts_its_own_and_no_other() {
        let schemes = [
            (SignatureAlgorithm::EcdsaP256Sha256, &ECDSA_P256_SHA256_ASN1_SIGNING),
            (SignatureAlgorithm::EcdsaP256Sha256Fixed, &ECDSA_P256_SHA256_FIXED_SIGNING),
            (SignatureAlgorithm::EcdsaP384Sha384, &ECDSA_P384_SHA384_ASN1_SIGNING),
            (SignatureAlgorithm::EcdsaP384Sha384Fixed, &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        for (algorithm, scheme) in schemes {
            let (spki, signature) = signed(scheme);
            for (other, _) in schemes {
                assert_eq!(
                    AwsLc.verify(other, &spki, b"message", &signature),
                    other == algorithm,
                    "{algorithm:?} read as {other:?}"
                );
            }
            assert!(!AwsLc.verify(SignatureAlgorithm::RsaPssSha384, &spki, b"message", &signature));
            assert!(!AwsLc.verify(algorithm, &spki, b"massage", &signature));
            assert!(!AwsLc.verify(algorithm, &spki[1..], b"message", &signature));
            assert!(!AwsLc.verify(algorithm, &spki, b"message", &[]));
        }
    }

    /// The bytes of a key say how long it is, not what it is for: the algorithm field must agree.
    #[test]
    fn a_key_named_for_another_curve_is_refused() {
        let (mut spki, signature) = signed(&ECDSA_P384_SHA384_ASN1_SIGNING);
        assert!(AwsLc.verify(SignatureAlgorithm::EcdsaP384Sha384, &spki, b"message", &signature));
        let secp384r1 = [0x2B, 0x81, 0x04, 0x00, 0x22];
        let at = spki.windows(5).position(|window| window == secp384r1).expect("the curve");
        spki[at + 4] = 0x23;
        assert!(!AwsLc.verify(SignatureAlgorithm::EcdsaP384Sha384, &spki, b"message", &signature));
    }
}
