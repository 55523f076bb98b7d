//! SHA-256 digests and the streaming check of bytes against one.
//!
//! Owns the one spelling `sha256:<64 lowercase hex digits>` (OCI image-spec 1.1, "Digests"). Refuses every other
//! algorithm, upper case and padding: two spellings of one digest would be two names for one thing.
//! Invariant: [`Check::finish`] says yes only to exactly the expected bytes, and [`Check::update`] stops a sender as
//! soon as he has sent one byte too many, so a caller never holds more than he agreed to.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// What stands before the digits.
const PREFIX: &str = "sha256:";

/// A SHA-256 digest: 32 bytes. As text (also in JSON and TOML) `sha256:<64 lowercase hex>`, in CBOR a 32-byte bstr.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text or byte string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The text does not begin with `sha256:`.
    #[error("a digest begins with `sha256:`; this one does not")]
    Algorithm,
    /// Not 64 hex digits (text) or 32 bytes (binary).
    #[error("a SHA-256 digest has {expected} characters or bytes here, this one has {found}")]
    Length {
        /// 64 for text, 32 for bytes.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// Something else than `0-9a-f`.
    #[error("a digest is written in lowercase hex digits only")]
    Digit,
}

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest somebody else computed.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lowercase hex digits, without `sha256:`.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = DigestError;

    fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
        let bytes = bytes.try_into().map_err(|_| DigestError::Length { expected: 32, found: bytes.len() })?;
        Ok(Self(bytes))
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(PREFIX).ok_or(DigestError::Algorithm)?;
        if digits.len() != 64 {
            return Err(DigestError::Length { expected: 64, found: digits.len() });
        }
        if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Digit);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| DigestError::Digit)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; PREFIX.len() + 64];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        hex::encode_to_slice(self.0, digits).map_err(|_| fmt::Error)?;
        out.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Digest {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Digest {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = decoder.position();
        Self::try_from(decoder.bytes()?)
            .map_err(|_| minicbor::decode::Error::message("a digest is 32 bytes long").at(at))
    }
}

/// The digest of bytes that are never all in memory.
#[derive(Clone, Default)]
pub struct Digesting(Sha256);

impl Digesting {
    /// Takes the next bytes.
    pub fn update(&mut self, chunk: &[u8]) {
        self.0.update(chunk);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Digesting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Digesting")
    }
}

/// Why a stream of bytes is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// More bytes than agreed; nothing of the excess was kept.
    #[error("more than the agreed {limit} bytes arrived")]
    TooLong {
        /// The agreed size or limit in bytes.
        limit: u64,
    },
    /// The stream ended early.
    #[error("{expected} bytes were agreed, only {found} arrived")]
    TooShort {
        /// The agreed size in bytes.
        expected: u64,
        /// How many came.
        found: u64,
    },
    /// The right number of bytes, but other ones.
    #[error("the bytes have digest {found}, expected {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
}

/// The streaming check: feed every chunk as it arrives, believe nothing before [`Check::finish`] said yes.
#[derive(Clone)]
pub struct Check {
    expected: Digest,
    size: Size,
    seen: u64,
    hash: Sha256,
}

/// How many bytes a stream may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Exactly so many: a descriptor states the size.
    Exactly(u64),
    /// At most so many: only the digest is known (an OCI manifest named by a brief).
    AtMost(u64),
}

impl Size {
    /// The most bytes that may come.
    #[must_use]
    pub const fn limit(self) -> u64 {
        match self {
            Self::Exactly(size) | Self::AtMost(size) => size,
        }
    }
}

impl Check {
    /// A check of exactly `size` bytes.
    #[must_use]
    pub fn new(expected: Digest, size: u64) -> Self {
        Self::sized(expected, Size::Exactly(size))
    }

    /// A check of at most `limit` bytes.
    #[must_use]
    pub fn at_most(expected: Digest, limit: u64) -> Self {
        Self::sized(expected, Size::AtMost(limit))
    }

    /// A check of as many bytes as `size` allows.
    #[must_use]
    pub fn sized(expected: Digest, size: Size) -> Self {
        Self { expected, size, seen: 0, hash: Sha256::new() }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`CheckError::TooLong`] with the first byte too many, whatever follows.
    pub fn update(&mut self, chunk: &[u8]) -> Result<(), CheckError> {
        let limit = self.size.limit();
        let seen = u64::try_from(chunk.len()).ok().and_then(|length| self.seen.checked_add(length));
        match seen {
            Some(seen) if seen <= limit => {
                self.seen = seen;
                self.hash.update(chunk);
                Ok(())
            }
            _ => {
                // A caller who overlooks this error must not be able to finish with the bytes before it.
                self.seen = u64::MAX;
                Err(CheckError::TooLong { limit })
            }
        }
    }

    /// How many bytes were taken so far.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The verdict over all bytes.
    ///
    /// # Errors
    /// Too few bytes, too many at any earlier moment, or other bytes than expected.
    pub fn finish(self) -> Result<(), CheckError> {
        let Self { expected, size, seen, hash } = self;
        if seen > size.limit() {
            return Err(CheckError::TooLong { limit: size.limit() });
        }
        if let Size::Exactly(expected) = size
            && seen < expected
        {
            return Err(CheckError::TooShort { expected, found: seen });
        }
        let found = Digest(hash.finalize().into());
        if found == expected { Ok(()) } else { Err(CheckError::Mismatch { expected, found }) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, size, seen, hash: _ } = self;
        out.debug_struct("Check").field("expected", expected).field("size", size).field("seen", seen).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    // FIPS 180-4 example: SHA-256("abc").
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn one_spelling_only() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(ABC.to_uppercase().parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!(ABC.replace('a', "A").parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!(ABC.replace("ba", "BA").parse::<Digest>(), Err(DigestError::Digit));
        assert_eq!(ABC.replace('0', "g").parse::<Digest>(), Err(DigestError::Digit));
        assert_eq!(ABC.replace("sha256:", "sha512:").parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!(ABC[..70].parse::<Digest>(), Err(DigestError::Length { expected: 64, found: 63 }));
        assert_eq!(format!("{ABC} ").parse::<Digest>(), Err(DigestError::Length { expected: 64, found: 65 }));
    }

    #[test]
    fn json_and_cbor() {
        let digest = Digest::of(b"abc");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{ABC}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"sha256:00\"").is_err());
        let cbor = minicbor::to_vec(digest).unwrap();
        assert_eq!(cbor[..2], [0x58, 32]);
        assert_eq!(minicbor::decode::<Digest>(&cbor).unwrap(), digest);
        assert!(
            minicbor::decode::<Digest>(&minicbor::to_vec(minicbor::bytes::ByteVec::from([0; 31].to_vec())).unwrap())
                .is_err()
        );
    }

    #[test]
    fn check_takes_exactly_the_bytes_in_any_chunks() {
        let bytes = b"the bytes that were agreed";
        let size = bytes.len() as u64;
        for chunk in 1..=bytes.len() {
            let mut check = Check::new(Digest::of(bytes), size);
            bytes.chunks(chunk).for_each(|chunk| check.update(chunk).unwrap());
            assert_eq!(check.finish(), Ok(()));
        }
    }

    #[test]
    fn check_refuses_short_long_and_other_bytes() {
        let digest = Digest::of(b"abc");
        let mut short = Check::new(digest, 3);
        short.update(b"ab").unwrap();
        assert_eq!(short.finish(), Err(CheckError::TooShort { expected: 3, found: 2 }));

        let mut long = Check::new(digest, 3);
        long.update(b"abc").unwrap();
        assert_eq!(long.update(b"d"), Err(CheckError::TooLong { limit: 3 }));
        assert_eq!(long.finish(), Err(CheckError::TooLong { limit: 3 }), "an overlooked error stays an error");

        let mut other = Check::new(digest, 3);
        other.update(b"abd").unwrap();
        assert_eq!(other.finish(), Err(CheckError::Mismatch { expected: digest, found: Digest::of(b"abd") }));

        let mut bounded = Check::at_most(digest, 10);
        bounded.update(b"abc").unwrap();
        assert_eq!(bounded.finish(), Ok(()), "control: a limit is no exact size");
        let mut over = Check::at_most(digest, 2);
        assert_eq!(over.update(b"abc"), Err(CheckError::TooLong { limit: 2 }));
    }
}
