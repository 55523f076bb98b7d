//! The provider in Rust alone, for wherever C does not go: browsers, WebAssembly runtimes.
//!
//! Answers as [`AwsLc`](super::AwsLc) does; `tests/providers.rs` asks both. It holds no private key, so what is known of
//! the `rsa` crate's private-key operations (RUSTSEC-2023-0071) does not concern it.

use super::{Provider, RsaPublicKey, SignatureAlgorithm, key};
use der::Decode;
use der::asn1::UintRef;
use rsa::signature::Verifier;
use rsa::{BoxedUint, pkcs1v15, pss};
use sha2::{Sha256, Sha384};

/// RustCrypto: `p256`, `p384` and `rsa`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

/// Bits of a modulus, as `AwsLc` has them.
const MODULUS: core::ops::RangeInclusive<usize> = 2048..=8192;

impl Provider for RustCrypto {
    fn verify(&self, algorithm: SignatureAlgorithm, spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Some(key) = key(algorithm, spki_der) else { return false };
        let verified = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => fixed::<32>(signature).and_then(|it| p256(key, message, &it)),
            SignatureAlgorithm::EcdsaP256Sha256Fixed => p256(key, message, signature),
            SignatureAlgorithm::EcdsaP384Sha384 => fixed::<48>(signature).and_then(|it| p384(key, message, &it)),
            SignatureAlgorithm::EcdsaP384Sha384Fixed => p384(key, message, signature),
            SignatureAlgorithm::RsaPssSha384 => rsa(key).and_then(|key| {
                let signature = pss::Signature::try_from(signature).ok()?;
                // The salt is as long as the hash, and no other length is looked for.
                pss::VerifyingKey::<Sha384>::new(key).verify(message, &signature).ok()
            }),
            SignatureAlgorithm::RsaPkcs1Sha256 => rsa(key).and_then(|key| {
                let signature = pkcs1v15::Signature::try_from(signature).ok()?;
                pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature).ok()
            }),
        };
        verified.is_some()
    }
}

fn p256(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify(message, &p256::ecdsa::Signature::from_slice(signature).ok()?).ok()
}

fn p384(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify(message, &p384::ecdsa::Signature::from_slice(signature).ok()?).ok()
}

fn rsa(key: &[u8]) -> Option<rsa::RsaPublicKey> {
    let RsaPublicKey { modulus, exponent } = RsaPublicKey::from_der(key).ok()?;
    let number = |number: UintRef<'_>| {
        let bytes = number.as_bytes();
        // Bounded before anything is computed with it.
        let bits = bytes.len().checked_mul(8).filter(|bits| bits <= MODULUS.end())?;
        BoxedUint::from_be_slice(bytes, u32::try_from(bits).ok()?).ok()
    };
    rsa::RsaPublicKey::new_with_size_limits(number(modulus)?, number(exponent)?, MODULUS).ok()
}

/// ECDSA-Sig-Value (RFC 3279 section 2.2.3).
#[derive(der::Sequence)]
struct SigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// r||s, of N bytes each, from DER.
fn fixed<const N: usize>(signature: &[u8]) -> Option<Vec<u8>> {
    let SigValue { r, s } = SigValue::from_der(signature).ok()?;
    let mut fixed = Vec::new();
    for number in [r, s] {
        let number = number.as_bytes();
        fixed.resize(fixed.len().checked_add(N.checked_sub(number.len())?)?, 0);
        fixed.extend_from_slice(number);
    }
    Some(fixed)
}
