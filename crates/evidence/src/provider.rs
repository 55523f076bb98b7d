//! The one place where signatures are checked, behind a trait the caller chooses at run time.
//!
//! Keys arrive as SubjectPublicKeyInfo so that a provider can refuse a key of the wrong kind; a
//! signature check answers only yes or no. There is no signing and no hashing here.

#[cfg(feature = "rustcrypto")]
mod rustcrypto;

#[cfg(feature = "rustcrypto")]
pub use rustcrypto::RustCrypto;

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
    /// RSASSA-PKCS1-v1_5, SHA-256 (RFC 8017 section 8.2): what TPMs sign with.
    RsaPkcs1Sha256,
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

        let scheme: &dyn aws::VerificationAlgorithm = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => &aws::ECDSA_P256_SHA256_ASN1,
            SignatureAlgorithm::EcdsaP256Sha256Fixed => &aws::ECDSA_P256_SHA256_FIXED,
            SignatureAlgorithm::EcdsaP384Sha384 => &aws::ECDSA_P384_SHA384_ASN1,
            SignatureAlgorithm::EcdsaP384Sha384Fixed => &aws::ECDSA_P384_SHA384_FIXED,
            SignatureAlgorithm::RsaPssSha384 => &aws::RSA_PSS_2048_8192_SHA384,
            SignatureAlgorithm::RsaPkcs1Sha256 => &aws::RSA_PKCS1_2048_8192_SHA256,
        };
        key(algorithm, spki_der)
            .is_some_and(|key| aws::UnparsedPublicKey::new(scheme, key).verify(message, signature).is_ok())
    }
}

/// The bytes of a public key of the kind that `algorithm` verifies with: an uncompressed point on its curve (RFC 5480), or an
/// `RSAPublicKey` (RFC 3279 section 2.3.1).
///
/// Libraries guess the kind of key from its bytes, and read points that are compressed and whole SPKIs in the place of a
/// key. Here is said what it must be, once for all providers.
#[cfg(any(feature = "aws-lc", feature = "rustcrypto"))]
fn key(algorithm: SignatureAlgorithm, spki_der: &[u8]) -> Option<&[u8]> {
    use const_oid::db::rfc5912;
    use der::{Decode, asn1::AnyRef};

    let spki = spki::SubjectPublicKeyInfoRef::from_der(spki_der).ok()?;
    let key = spki.subject_public_key.as_bytes()?;
    let point = |curve, length| {
        spki.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY
            && spki.algorithm.parameters_oid() == Ok(curve)
            && key.len() == length
            && key.first() == Some(&4)
    };
    let right_kind = match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 | SignatureAlgorithm::EcdsaP256Sha256Fixed => {
            point(rfc5912::SECP_256_R_1, 65)
        }
        SignatureAlgorithm::EcdsaP384Sha384 | SignatureAlgorithm::EcdsaP384Sha384Fixed => {
            point(rfc5912::SECP_384_R_1, 97)
        }
        SignatureAlgorithm::RsaPssSha384 | SignatureAlgorithm::RsaPkcs1Sha256 => {
            spki.algorithm.oid == rfc5912::RSA_ENCRYPTION
                && spki.algorithm.parameters == Some(AnyRef::NULL)
                && RsaPublicKey::from_der(key).is_ok()
        }
    };
    right_kind.then_some(key)
}

/// RFC 8017 appendix A.1.1.
#[cfg(any(feature = "aws-lc", feature = "rustcrypto"))]
#[derive(der::Sequence)]
#[cfg_attr(not(feature = "rustcrypto"), allow(dead_code, reason = "only its form is looked at"))]
struct RsaPublicKey<'a> {
    modulus: der::asn1::UintRef<'a>,
    exponent: der::asn1::UintRef<'a>,
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

    /// RFC 5480 section 2.2 forbids hybrid points; the same point in another form is refused, too.
    #[test]
    fn a_point_has_one_encoding() {
        let (spki, signature) = signed(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let verifies = |spki: &[u8]| AwsLc.verify(SignatureAlgorithm::EcdsaP256Sha256, spki, b"message", &signature);
        assert!(verifies(&spki), "control");
        let at = spki.len() - 65;
        assert_eq!(spki[at], 4);
        let sign = spki[spki.len() - 1] & 1;
        let mut hybrid = spki.clone();
        hybrid[at] = 6 | sign;
        assert!(!verifies(&hybrid));
        // Compressed: the header and x, with the three lengths around them mended.
        let mut compressed = spki[..at + 33].to_vec();
        compressed[at] = 2 | sign;
        for length in [1, at - 2] {
            compressed[length] -= 32;
        }
        assert!(!verifies(&compressed));
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
