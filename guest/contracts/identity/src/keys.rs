//! Keys as others hold them: what a signer and a verifier must offer, and the two spellings of an ECDSA signature.
//!
//! Owns the closed list of algorithms (P-256 with SHA-256, P-384 with SHA-384) and the exact form of their public keys.
//! Refuses compressed points, explicit curve parameters and every other algorithm: an SPKI has one encoding here, because
//! its SHA-256 is what briefs, Deployments and certificates name a key by.
//! Invariant: no private key and no curve arithmetic in this crate.

use alloc::vec;
use alloc::vec::Vec;

use workload::Digest;

use crate::asn1::{self, Der, Malformed, tag};

/// A signature algorithm; the public key's curve decides it, nobody chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ecdsa-with-SHA256 on P-256; JOSE and COSE `ES256`.
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 on P-384; JOSE and COSE `ES384`.
    EcdsaP384Sha384,
}

/// A private key somebody else holds: in memory, in a file, in an HSM.
pub trait Signer {
    /// The public key, SubjectPublicKeyInfo in DER.
    fn spki(&self) -> &[u8];
    /// The algorithm of [`Signer::sign`]; equals [`Algorithm::of`] the SPKI.
    fn algorithm(&self) -> Algorithm;
    /// Signs the message (not its hash).
    ///
    /// # Returns
    /// `ECDSA-Sig-Value` in DER (RFC 3279 section 2.2.3).
    ///
    /// # Errors
    /// The key cannot sign now, or not at all.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Whatever checks signatures; the provider is chosen where the crate is used.
pub trait Verifier {
    /// True only if `signature` (`ECDSA-Sig-Value` in DER) is one over `message` by the key `spki` (DER).
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

/// Why nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key store does not answer, or refuses this key.
    #[error("the signing key is not available")]
    Unavailable,
    /// The signer's public key is none of the two kinds, or not of the algorithm it names.
    #[error("the signing key is not a P-256 or P-384 key of the algorithm its signer names")]
    Key,
    /// The signer answered something that is no ECDSA signature of its algorithm.
    #[error("the signer answered no ECDSA signature in DER")]
    Signature,
}

/// The bytes are not a public key in the one form we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an uncompressed P-256 or P-384 public key with named curve (SubjectPublicKeyInfo, DER)")]
pub struct KeyError;

// RFC 5480: SEQUENCE { SEQUENCE { id-ecPublicKey, curve }, BIT STRING { 04 x y } }. Everything but x and y is fixed.
const P256_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P384_HEAD: [u8; 24] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00, 0x04,
];

impl Algorithm {
    /// The algorithm of a public key. Whether the point lies on the curve, the verifier finds out.
    ///
    /// # Errors
    /// Any other key, or another encoding of one.
    pub fn of(spki: &[u8]) -> Result<Self, KeyError> {
        if spki.len() == 91 && spki.starts_with(&P256_HEAD) {
            Ok(Self::EcdsaP256Sha256)
        } else if spki.len() == 120 && spki.starts_with(&P384_HEAD) {
            Ok(Self::EcdsaP384Sha384)
        } else {
            Err(KeyError)
        }
    }

    /// The name in JOSE (RFC 7518 section 3.4).
    #[must_use]
    pub const fn jose(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ES256",
            Self::EcdsaP384Sha384 => "ES384",
        }
    }

    /// The number in COSE (RFC 9053 table 1). With each, only the curve above.
    pub(crate) const fn cose(self) -> i64 {
        match self {
            Self::EcdsaP256Sha256 => -7,
            Self::EcdsaP384Sha384 => -35,
        }
    }

    /// AlgorithmIdentifier in DER, parameters absent (RFC 5758 section 3.2).
    pub(crate) const fn identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
            Self::EcdsaP384Sha384 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
        }
    }

    pub(crate) fn of_identifier(der: &[u8]) -> Option<Self> {
        [Self::EcdsaP256Sha256, Self::EcdsaP384Sha384].into_iter().find(|algorithm| algorithm.identifier() == der)
    }

    /// Bytes of one coordinate, and of each half of a fixed-length signature.
    const fn half(self) -> usize {
        match self {
            Self::EcdsaP256Sha256 => 32,
            Self::EcdsaP384Sha384 => 48,
        }
    }
}

/// SHA-256 of a public key's SPKI (DER): the name of a key everywhere in Donjon.
#[must_use]
pub fn key_digest(spki: &[u8]) -> Digest {
    Digest::of(spki)
}

/// The SubjectKeyIdentifier: the leftmost 160 bits of SHA-256 over the point (RFC 7093 section 2, method 1).
pub(crate) fn key_identifier(spki: &[u8]) -> Result<[u8; 20], KeyError> {
    let point = match Algorithm::of(spki)? {
        // The head ends with the point's own first byte, 04.
        Algorithm::EcdsaP256Sha256 => spki.get(26..),
        Algorithm::EcdsaP384Sha384 => spki.get(23..),
    };
    let digest = Digest::of(point.ok_or(KeyError)?);
    digest.as_bytes().first_chunk().copied().ok_or(KeyError)
}

/// Signs after making sure that the signer is what it says; returns its `ECDSA-Sig-Value`.
pub(crate) fn sign(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, SignError> {
    if Algorithm::of(signer.spki()) != Ok(signer.algorithm()) {
        return Err(SignError::Key);
    }
    let signature = signer.sign(message)?;
    fixed(signer.algorithm(), &signature).ok_or(SignError::Signature)?;
    Ok(signature)
}

/// Signs as [`sign`] does; returns r and s in fixed length, as JOSE (RFC 7518 section 3.4) and COSE (RFC 9053 section 2.1) want.
pub(crate) fn sign_fixed(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let signature = sign(signer, message)?;
    fixed(signer.algorithm(), &signature).ok_or(SignError::Signature)
}

/// Verifies a fixed-length signature.
pub(crate) fn verify_fixed(
    verifier: &dyn Verifier,
    algorithm: Algorithm,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    Algorithm::of(spki) == Ok(algorithm)
        && signature.len() == algorithm.half().saturating_mul(2)
        && signature.split_at_checked(algorithm.half()).is_some_and(|(r, s)| {
            let value = asn1::tlv(tag::SEQUENCE, &[&asn1::integer(r), &asn1::integer(s)]);
            verifier.verify(algorithm, spki, message, &value)
        })
}

fn fixed(algorithm: Algorithm, signature: &[u8]) -> Option<Vec<u8>> {
    let halves = |signature| -> Result<_, Malformed> {
        let mut outer = Der::new(signature);
        let mut pair = Der::new(outer.take(tag::SEQUENCE, "signature")?);
        outer.done("signature")?;
        let (r, s) = (pair.unsigned("r")?, pair.unsigned("s")?);
        pair.done("signature")?;
        Ok([r, s])
    };
    let mut out = Vec::new();
    for half in halves(signature).ok()? {
        out.extend(vec![0; algorithm.half().checked_sub(half.len())?]);
        out.extend_from_slice(half);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{P256, P384, Software};

    #[test]
    fn both_kinds_are_known_and_nothing_else() {
        let (p256, p384) = (P256::new(1), P384::new(1));
        assert_eq!(Algorithm::of(p256.spki()), Ok(Algorithm::EcdsaP256Sha256));
        assert_eq!(Algorithm::of(p384.spki()), Ok(Algorithm::EcdsaP384Sha384));
        let mut compressed = p256.spki().to_vec();
        compressed[26] = 2;
        let mut long = p256.spki().to_vec();
        long.push(0);
        for bad in [&compressed[..], &long, &p256.spki()[..90], b""] {
            assert_eq!(Algorithm::of(bad), Err(KeyError));
        }
    }

    #[test]
    fn signatures_survive_both_spellings() {
        // Some messages, so that r and s with and without a sign byte occur; leading zeros have a test of their own.
        for round in 0..8_u32 {
            let message = round.to_be_bytes();
            let signers: [&dyn Signer; 2] = [&P256::new(1), &P384::new(1)];
            for signer in signers {
                let signature = sign_fixed(signer, &message).unwrap();
                let check = |message: &[u8], signature: &[u8]| {
                    verify_fixed(&Software, signer.algorithm(), signer.spki(), message, signature)
                };
                assert!(check(&message, &signature));
                assert!(!check(b"another", &signature));
                assert!(!check(&message, &signature[1..]));
                assert!(!check(&message, &[&signature[..], &[0]].concat()));
            }
        }
    }

    #[test]
    fn short_numbers_are_padded_and_long_ones_refused() {
        let short = [0x30, 6, 2, 1, 5, 2, 1, 7];
        let fixed256 = fixed(Algorithm::EcdsaP256Sha256, &short).unwrap();
        assert_eq!((fixed256.len(), fixed256[31], fixed256[63]), (64, 5, 7));
        let wide = asn1::integer(&[0xff; 48]);
        let wide = asn1::tlv(tag::SEQUENCE, &[&wide, &wide]);
        assert!(fixed(Algorithm::EcdsaP384Sha384, &wide).is_some());
        assert_eq!(fixed(Algorithm::EcdsaP256Sha256, &wide), None);
        assert_eq!(fixed(Algorithm::EcdsaP256Sha256, &[0x30, 6, 2, 1, 5, 2, 1, 0x87]), None, "negative");
        assert_eq!(fixed(Algorithm::EcdsaP256Sha256, &[0x30, 7, 2, 1, 5, 2, 1, 7, 0]), None, "trailing");
    }

    #[test]
    fn a_signer_must_be_what_it_says() {
        struct Liar(P256);
        impl Signer for Liar {
            fn spki(&self) -> &[u8] {
                self.0.spki()
            }
            fn algorithm(&self) -> Algorithm {
                Algorithm::EcdsaP384Sha384
            }
            fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
                self.0.sign(message)
            }
        }
        assert!(sign(&P256::new(1), b"m").is_ok(), "control");
        assert_eq!(sign(&Liar(P256::new(1)), b"m"), Err(SignError::Key));
    }
}
