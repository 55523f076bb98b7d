//! Flips bits: each that is another one is refused, but for those that are listed with their reason.
//!
//! `DONJON_FLIPS=1` tries every bit, `N` every Nth; without it as many as the test says. The list is checked both ways: what it names is
//! accepted, all of it.

use std::ops::Range;

pub(crate) fn stride(every: usize) -> usize {
    std::env::var("DONJON_FLIPS").ok().map_or(every, |text| text.parse().expect("DONJON_FLIPS is a number"))
}

/// Bytes of which no bit counts, and why.
pub(crate) struct Free {
    pub(crate) bytes: Range<usize>,
    pub(crate) why: &'static str,
    /// With some bits these bytes are not what they must be at all; such a bit is refused.
    pub(crate) still: fn(&[u8]) -> bool,
}

/// Tries bits of some bytes; what is accepted must be free, and the other way round. Says how many were tried.
#[allow(clippy::print_stderr, reason = "progress of a run that takes long")]
pub(crate) fn flip(every: usize, what: &str, bytes: &[u8], free: &[Free], accepted: impl Fn(&[u8]) -> bool) -> usize {
    let mut flipped = bytes.to_vec();
    let mut tried = 0;
    for bit in (0..8 * bytes.len()).step_by(stride(every)) {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        flipped[byte] ^= mask;
        let accepted = accepted(&flipped);
        match free.iter().find(|free| free.bytes.contains(&byte)) {
            None => assert!(!accepted, "{what}: byte {byte}, mask {mask:#x} is another, and it is accepted"),
            Some(Free { bytes, why, still }) => {
                let listed = still(&flipped[bytes.clone()]);
                assert_eq!(accepted, listed, "{what}: byte {byte}, mask {mask:#x}: accepted instead of listed: {why}");
            }
        }
        flipped[byte] ^= mask;
        tried += 1;
    }
    eprintln!("{what}: {tried} of {} bits", 8 * bytes.len());
    tried
}
