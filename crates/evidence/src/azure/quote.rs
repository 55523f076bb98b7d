//! A TPM's quote: TPMS_ATTEST with TPMS_QUOTE_INFO, as a view over the received bytes.
//!
//! TCG "TPM 2.0 Library", part 2, sections 10.12.8 (TPMS_ATTEST) and 10.12.1 (TPMS_QUOTE_INFO). All integers
//! big-endian. The view is only made of bytes whose stated lengths add up exactly, and whose lists are no longer than a
//! TPM makes them; what they claim is not trusted by anybody before `azure.quote.signature` passed.
//!
//! The selection is read, not assumed: it alone says of which PCRs the digest is.

use thiserror::Error;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Longest message that is looked at; with every field at its longest it has less.
pub const MAX_MESSAGE: usize = 512;

/// PCRs of a TPM of the PC Client profile.
pub const PCRS: u8 = 24;

/// TPM_ALG_SHA256.
pub const SHA256: u16 = 0x000B;

/// TPM_GENERATED_VALUE: what a TPM puts before all that it signs by itself, and lets nobody else sign with such a key.
const GENERATED: u32 = 0xFF54_4347;
/// TPM_ST_ATTEST_QUOTE.
const ATTEST_QUOTE: u16 = 0x8018;
/// Longest TPM2B_NAME: an algorithm and a SHA-512 digest.
const MAX_NAME: usize = 66;
/// Longest TPM2B_DATA: the same.
const MAX_DATA: usize = 66;
/// Longest TPM2B_DIGEST.
const MAX_DIGEST: usize = 64;
/// HASH_COUNT: most banks of PCRs.
const MAX_BANKS: u32 = 16;

/// TPMS_CLOCK_INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds that the TPM had power.
    pub clock: u64,
    /// Resets since the TPM was made its owner's.
    pub reset_count: u32,
    /// Restarts since the last of them.
    pub restart_count: u32,
    /// No greater value of the clock was ever said.
    pub safe: bool,
}

/// TPMS_PCR_SELECTION: PCRs of one bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The bank's hash algorithm, TPM_ALG_ID.
    pub bank: u16,
    selected: [u8; 3],
}

impl Selection {
    /// Whether this PCR is one of them.
    pub fn has(&self, pcr: u8) -> bool {
        let byte = self.selected.get(usize::from(pcr / 8));
        byte.is_some_and(|byte| byte >> (pcr % 8) & 1 == 1)
    }

    /// The PCRs, in the order in which they are hashed.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> {
        (0..PCRS).filter(|pcr| self.has(*pcr))
    }
}

/// Why bytes are no quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("{found} bytes, limit {MAX_MESSAGE}")]
    TooLong {
        /// Bytes received.
        found: usize,
    },
    /// No TPM made it.
    #[error("magic {found:#010x} is not {GENERATED:#010x}")]
    Magic {
        /// Value received.
        found: u32,
    },
    /// A TPM made it, but it is no quote.
    #[error("type {found:#06x} is not {ATTEST_QUOTE:#06x}")]
    Type {
        /// Type received.
        found: u16,
    },
    /// The bytes end within this part.
    #[error("the message ends within its {0}")]
    Truncated(&'static str),
    /// Longer than a TPM makes this part.
    #[error("its {part} has {found}, limit {limit}")]
    Limit {
        /// The part.
        part: &'static str,
        /// Most there can be.
        limit: u32,
        /// As many as there are.
        found: u32,
    },
    /// No value of this part.
    #[error("its {part} has the value {found}")]
    Value {
        /// The part.
        part: &'static str,
        /// Value received.
        found: u8,
    },
    /// Bytes after the end.
    #[error("{0} bytes after its end")]
    Trailing(usize),
}

/// A quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    /// Qualified name of the key that signed.
    pub qualified_signer: &'a [u8],
    /// What the caller of TPM2_Quote gave.
    pub extra_data: &'a [u8],
    /// The TPM's clock.
    pub clock: Clock,
    /// Version of the TPM's firmware.
    pub firmware_version: u64,
    /// Of which PCRs the digest is.
    pub selections: Vec<Selection>,
    /// Digest over the selected PCRs' values.
    pub digest: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads exactly one.
    pub fn parse(message: &'a [u8]) -> Result<Self, QuoteError> {
        if message.len() > MAX_MESSAGE {
            return Err(QuoteError::TooLong { found: message.len() });
        }
        let mut rest = Reader(message);
        let magic = rest.view::<U32>("magic")?.get();
        if magic != GENERATED {
            return Err(QuoteError::Magic { found: magic });
        }
        let kind = rest.view::<U16>("type")?.get();
        if kind != ATTEST_QUOTE {
            return Err(QuoteError::Type { found: kind });
        }
        let qualified_signer = rest.sized("qualifiedSigner", MAX_NAME)?;
        let extra_data = rest.sized("extraData", MAX_DATA)?;
        let clock = Clock {
            clock: rest.view::<U64>("clockInfo")?.get(),
            reset_count: rest.view::<U32>("clockInfo")?.get(),
            restart_count: rest.view::<U32>("clockInfo")?.get(),
            safe: match rest.view::<u8>("clockInfo")? {
                0 => false,
                1 => true,
                found => return Err(QuoteError::Value { part: "clockInfo, safe", found: *found }),
            },
        };
        let firmware_version = rest.view::<U64>("firmwareVersion")?.get();
        let count = rest.view::<U32>("pcrSelect")?.get();
        if count > MAX_BANKS {
            return Err(QuoteError::Limit { part: "pcrSelect", limit: MAX_BANKS, found: count });
        }
        let mut selections = Vec::new();
        for _ in 0..count {
            selections.push(rest.selection()?);
        }
        let digest = rest.sized("pcrDigest", MAX_DIGEST)?;
        match rest.0.len() {
            0 => Ok(Self { qualified_signer, extra_data, clock, firmware_version, selections, digest }),
            more => Err(QuoteError::Trailing(more)),
        }
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn view<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        part: &'static str,
    ) -> Result<&'a T, QuoteError> {
        let (view, rest) = T::ref_from_prefix(self.0).map_err(|_| QuoteError::Truncated(part))?;
        self.0 = rest;
        Ok(view)
    }

    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], QuoteError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(QuoteError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A TPM2B: as many bytes as the next two say.
    fn sized(&mut self, part: &'static str, limit: usize) -> Result<&'a [u8], QuoteError> {
        let length = self.view::<U16>(part)?.get();
        if usize::from(length) > limit {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            return Err(QuoteError::Limit { part, limit, found: length.into() });
        }
        self.take(length.into(), part)
    }

    fn selection(&mut self) -> Result<Selection, QuoteError> {
        let part = "pcrSelect";
        let bank = self.view::<U16>(part)?.get();
        let mut selected = [0; 3];
        let size = *self.view::<u8>(part)?;
        if usize::from(size) > selected.len() {
            return Err(QuoteError::Limit { part: "sizeofSelect", limit: 3, found: size.into() });
        }
        for (to, from) in selected.iter_mut().zip(self.take(size.into(), part)?) {
            *to = *from;
        }
        Ok(Selection { bank, selected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quote with these selections.
    fn message(selections: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = [&GENERATED.to_be_bytes()[..], &ATTEST_QUOTE.to_be_bytes()].concat();
        out.extend([0, 2, 0xAA, 0xBB, 0, 3, 1, 2, 3]);
        out.extend(7_u64.to_be_bytes());
        out.extend([0, 0, 0, 8, 0, 0, 0, 9, 1]);
        out.extend(10_u64.to_be_bytes());
        out.extend(u32::try_from(selections.len()).expect("few").to_be_bytes());
        for (bank, bits) in selections {
            out.extend(bank.to_be_bytes());
            out.push(u8::try_from(bits.len()).expect("few"));
            out.extend(*bits);
        }
        out.extend([0, 1, 0xCC]);
        out
    }

    #[test]
    fn the_selection_is_read() {
        let bytes = message(&[(SHA256, &[0b1001, 0, 0x80]), (4, &[1])]);
        let quote = Quote::parse(&bytes).expect("a quote");
        assert_eq!(
            (quote.qualified_signer, quote.extra_data, quote.digest),
            (&[0xAA, 0xBB][..], &[1, 2, 3][..], &[0xCC][..])
        );
        assert_eq!(quote.clock, Clock { clock: 7, reset_count: 8, restart_count: 9, safe: true });
        assert_eq!(quote.firmware_version, 10);
        let [one, other] = quote.selections[..] else { panic!("two selections") };
        assert_eq!((one.bank, one.pcrs().collect::<Vec<_>>()), (SHA256, vec![0, 3, 23]));
        assert_eq!((other.bank, other.pcrs().collect::<Vec<_>>()), (4, vec![0]));
        assert!(!one.has(24) && !one.has(255));
    }

    #[test]
    fn every_prefix_and_every_suffix_is_refused() {
        let bytes = message(&[(SHA256, &[0xFF; 3])]);
        assert!(Quote::parse(&bytes).is_ok(), "control");
        for length in 0..bytes.len() {
            assert!(matches!(Quote::parse(&bytes[..length]), Err(QuoteError::Truncated(_))), "{length}");
        }
        assert_eq!(Quote::parse(&[&bytes[..], &[0]].concat()), Err(QuoteError::Trailing(1)));
        let long = vec![0; MAX_MESSAGE + 1];
        assert_eq!(Quote::parse(&long), Err(QuoteError::TooLong { found: long.len() }));
    }

    #[test]
    fn lists_are_no_longer_than_a_tpm_makes_them() {
        let one: (u16, &[u8]) = (SHA256, &[1, 0, 0]);
        assert!(Quote::parse(&message(&[one; 16])).is_ok(), "control");
        let part = "pcrSelect";
        assert_eq!(Quote::parse(&message(&[one; 17])), Err(QuoteError::Limit { part, limit: 16, found: 17 }));
        let part = "sizeofSelect";
        let wide = message(&[(SHA256, &[1, 0, 0, 0])]);
        assert_eq!(Quote::parse(&wide), Err(QuoteError::Limit { part, limit: 3, found: 4 }));
        let mut named = message(&[one]);
        named[7] = 67;
        let part = "qualifiedSigner";
        assert_eq!(Quote::parse(&named), Err(QuoteError::Limit { part, limit: 66, found: 67 }));
    }
}
