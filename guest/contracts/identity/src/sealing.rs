//! Sealing keys (trust rule 5): what a Keep encrypts with under that key, only Keeps of the same image, owner, deployment,
//! role and workload open, on the same machine.
//!
//! Owns the derivation. Refuses nothing; it is a total function. Only the shim calls it: the hardware's key, which is bound
//! to machine and image, never leaves it. Invariant: the fields are length-prefixed and their number is fixed, so no two
//! different inputs give the same key.

use hkdf::Hkdf;
use sha2::Sha256;
use workload::brief::Glance;

const DOMAIN: &[u8] = b"donjon-seal";
const VERSION: u8 = 1;

/// The key for a context of the caller's choice, under a hardware's key.
#[must_use]
pub fn key(hardware: &[u8; 32], brief: &Glance<'_>, context: &[u8]) -> [u8; 32] {
    let owner = brief.owner.map_or(&[][..], |owner| owner);
    let fields: [&[u8]; 7] =
        [DOMAIN, &[VERSION], owner, brief.deployment.as_bytes(), brief.role.as_bytes(), brief.workload, context];
    let lengths = fields.map(|field| u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
    let mut info: [&[u8]; 14] = [&[]; 14];
    for (pair, (length, field)) in info.as_chunks_mut::<2>().0.iter_mut().zip(lengths.iter().zip(fields)) {
        *pair = [length, field];
    }
    let mut key = [0; 32];
    // One block of output: never too long.
    _ = Hkdf::<Sha256>::new(None, hardware).expand_multi_info(&info, &mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance() -> Glance<'static> {
        Glance { owner: Some(&[1; 32]), deployment: "shop", role: "web", workload: &[2; 32] }
    }

    /// HMAC-SHA-256 written out: extract, then one block of expand (RFC 5869).
    #[test]
    fn rule_5_the_key_is_the_documented_derivation() {
        use hkdf::hmac::{Hmac, KeyInit as _, Mac as _};
        let mac = |key: &[u8], parts: &[&[u8]]| -> [u8; 32] {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        };
        let secret = mac(&[0; 32], &[&[9; 32]]);
        let info = b"\0\0\0\x0bdonjon-seal\0\0\0\x01\x01\0\0\0\x20".as_slice();
        let rest = b"\0\0\0\x04shop\0\0\0\x03web\0\0\0\x20".as_slice();
        let expected = mac(&secret, &[info, &[1; 32], rest, &[2; 32], b"\0\0\0\x04disk", &[1]]);
        assert_eq!(key(&[9; 32], &glance(), b"disk"), expected);
    }

    #[test]
    fn every_field_gives_another_key() {
        let base = key(&[9; 32], &glance(), b"disk");
        let others = [
            key(&[8; 32], &glance(), b"disk"),
            key(&[9; 32], &glance(), b"disks"),
            key(&[9; 32], &Glance { owner: None, ..glance() }, b"disk"),
            key(&[9; 32], &Glance { owner: Some(&[3; 32]), ..glance() }, b"disk"),
            key(&[9; 32], &Glance { deployment: "sho", role: "pweb", ..glance() }, b"disk"),
            key(&[9; 32], &Glance { role: "db", ..glance() }, b"disk"),
            key(&[9; 32], &Glance { workload: &[4; 32], ..glance() }, b"disk"),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, base, "{index}");
        }
    }
}
