//! Framing: a little-endian `u32` payload length, then the payload. Owns the bound on a frame and the checked
//! readers and writers of the fields inside one.
//!
//! Every length that came from the other side is an allegation: it is compared with what is really there before
//! anything is sliced, and no arithmetic on it can wrap.

use alloc::vec::Vec;

/// The largest payload of a frame in bytes. A blob chunk ([`crate::message::CHUNK`]) and its header fit.
pub const MAX: usize = 512 * 1024;

/// Bytes of the length that stands before each payload.
pub const HEADER: usize = 4;

/// Why a frame or a field was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length before the payload is over [`MAX`].
    #[error("a frame of {found} bytes came through the gate; the most is {MAX}")]
    TooLong {
        /// The alleged length.
        found: usize,
    },
    /// More in one message than `spec/gate.md` allows.
    #[error("{found} {what} in a message of the gate; the most is {most}")]
    Over {
        /// Of what, in the plural.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A field reaches past the end of the payload.
    #[error("a message ended in the middle of a field")]
    Short,
    /// Bytes follow the last field.
    #[error("{found} bytes follow the last field of a message")]
    Trailing {
        /// How many bytes are left over.
        found: usize,
    },
    /// The message kind, or a value of a closed list, is not known.
    #[error("unknown {what} {found}")]
    Unknown {
        /// Which list.
        what: &'static str,
        /// The value received.
        found: u8,
    },
    /// A field that cannot be what it is for.
    #[error("a {what} in a message is not one")]
    Invalid {
        /// What it should be.
        what: &'static str,
    },
    /// Text is not UTF-8.
    #[error("text in a message is not UTF-8")]
    NotText,
}

/// Reads the length before a payload.
///
/// # Errors
/// [`FrameError::TooLong`] if it is over [`MAX`].
pub fn length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let found = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if found > MAX { Err(FrameError::TooLong { found }) } else { Ok(found) }
}

/// A payload and the bytes that follow its frame; `None` while the frame is incomplete.
pub type Split<'a> = Option<(&'a [u8], &'a [u8])>;

/// Splits the first whole frame off `bytes`: its payload and what follows, or `None` while it is incomplete.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as the length says so.
pub fn split(bytes: &[u8]) -> Result<Split<'_>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    Ok(rest.split_at_checked(length(*header)?))
}

/// Appends one frame to `out`; `fill` writes the payload, but for so many bytes at its end, which whoever sends it sends after.
pub(crate) fn append(out: &mut Vec<u8>, after: usize, fill: impl FnOnce(&mut Writer<'_>)) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let payload = out.len();
    fill(&mut Writer(out));
    let found = out.len().saturating_sub(payload).saturating_add(after);
    if found > MAX {
        out.truncate(start);
        return Err(FrameError::TooLong { found });
    }
    // MAX is below u32::MAX, so the conversion cannot fail.
    let header = u32::try_from(found).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = out.get_mut(start..payload) {
        place.copy_from_slice(&header);
    }
    Ok(())
}

/// Writes the fields of a payload.
pub(crate) struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `u32` length and the bytes. What does not fit a `u32` does not fit a frame: the caller's check of MAX sees it.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len()).fixed(bytes)
    }

    /// The length of bytes that come after.
    pub(crate) fn length(&mut self, length: usize) -> &mut Self {
        self.fixed(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes())
    }
}

/// Reads the fields of a payload, each checked against what is left.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let length = usize::try_from(self.array().map(u32::from_le_bytes)?).map_err(|_| FrameError::Short)?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, FrameError> {
        core::str::from_utf8(self.bytes()?).map_err(|_| FrameError::NotText)
    }

    pub(crate) fn end(self) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::Trailing { found: self.0.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_over_the_bound_is_refused_before_anything_is_read() {
        let most = u32::try_from(MAX).unwrap();
        assert_eq!(length(most.to_le_bytes()), Ok(MAX));
        assert_eq!(length((most + 1).to_le_bytes()), Err(FrameError::TooLong { found: MAX + 1 }));
        assert_eq!(split(&[0xff; 5]), Err(FrameError::TooLong { found: u32::MAX as usize }));
    }

    #[test]
    fn an_incomplete_frame_waits() {
        assert_eq!(split(&[]), Ok(None));
        assert_eq!(split(&[2, 0, 0, 0, 9]), Ok(None));
        assert_eq!(split(&[2, 0, 0, 0, 9, 8, 7]), Ok(Some((&[9u8, 8][..], &[7u8][..]))));
    }

    #[test]
    fn a_field_never_reaches_past_the_payload() {
        assert_eq!(Reader(&[255, 255, 255, 255, 1]).bytes(), Err(FrameError::Short));
        assert_eq!(Reader(&[1, 0, 0, 0, 0xff]).text(), Err(FrameError::NotText));
        assert_eq!(Reader(&[1, 2]).end(), Err(FrameError::Trailing { found: 2 }));
    }
}
