//! Owns the one way from a seed to bytes: a labelled, length-prefixed SHA-512.
//!
//! Invariant: different labels or contexts never share output, because both are length-prefixed.
//! The output is part of the golden bytes: changing anything here changes every simulated chip.

use sha2::{Digest, Sha512};

/// 64 bytes that depend on `seed`, `label` and every element of `context`.
pub(crate) fn derive(seed: &[u8], label: &str, context: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in [b"donjon silicon v1".as_slice(), seed, label.as_bytes()].iter().chain(context) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The first `N` (at most 64) of those bytes.
pub(crate) fn derive_bytes<const N: usize>(seed: &[u8], label: &str, context: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 64, "one SHA-512 output gives at most 64 bytes") };
    let mut out = [0; N];
    out.copy_from_slice(&derive(seed, label, context)[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_contexts_do_not_run_into_each_other() {
        let all = [
            derive(b"s", "ab", &[]),
            derive(b"s", "a", &[b"b"]),
            derive(b"sa", "b", &[]),
            derive(b"s", "a", &[b"", b"b"]),
            derive(b"s", "a", &[b"b", b""]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{i} repeats an earlier output");
        }
        assert_eq!(derive(b"s", "a", &[b"b"]), all[1], "control: the same input gives the same output");
    }
}
