//! The envelope of guest messages (AMD 56860, revision 1.58, SNP_GUEST_REQUEST): a page of header and payload, the
//! payload encrypted with AES-256-GCM under the key of a VMPL.
//!
//! Refuses whatever is not exactly a request in sequence: unknown algorithm, header, key or size, reserved bytes that are
//! not zero, a number out of sequence, a wrong tag. Bytes behind the payload are nobody's.
//!
//! Invariant: one number is used for one message under one key. A request that is refused here has used up none.

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};

/// Bytes of the header; those from [`AUTHENTICATED`] on are additional data of the encryption.
pub(super) const HEADER: usize = 0x60;
const AUTHENTICATED: usize = 0x30;
/// Bytes of a tag; its field has twice as many.
const TAG: usize = 16;
/// ALGO and HDR_VERSION.
const AES_256_GCM: u8 = 1;
const HEADER_VERSION: u8 = 1;

/// Why a message gets no answer, but a status to the host. Each names what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// ALGO is not AES-256-GCM.
    Algorithm {
        /// ALGO.
        found: u8,
    },
    /// HDR_VERSION or HDR_SIZE is not that of the one header.
    Header {
        /// HDR_VERSION.
        version: u8,
        /// HDR_SIZE.
        size: u16,
    },
    /// MSG_VMPCK names no key.
    Key {
        /// MSG_VMPCK.
        found: u8,
    },
    /// MSG_SIZE is more than the page has room for.
    Size {
        /// MSG_SIZE.
        found: u16,
    },
    /// A reserved byte of the header is not zero.
    Reserved {
        /// Where.
        at: usize,
    },
    /// MSG_SEQNO is not the next one: a message that was sent before, or one was left out.
    Sequence {
        /// The next number.
        expected: u64,
        /// MSG_SEQNO.
        found: u64,
    },
    /// There is no number left for request and answer.
    Overflow,
    /// The message was not made with this key, or changed on its way.
    Tag,
    /// MSG_TYPE is none that this firmware answers.
    Type {
        /// MSG_TYPE.
        found: u8,
    },
    /// MSG_VERSION is none of this type.
    Version {
        /// MSG_VERSION.
        found: u8,
    },
    /// The payload is not as long as type and version say.
    Length {
        /// In bytes.
        expected: usize,
        /// MSG_SIZE.
        found: usize,
    },
}

impl RequestError {
    /// The firmware's status code (AMD 56860, Status Codes).
    #[must_use]
    pub const fn status(self) -> u32 {
        match self {
            Self::Tag => 0x0b,
            Self::Overflow => 0x1d,
            Self::Algorithm { .. }
            | Self::Header { .. }
            | Self::Key { .. }
            | Self::Size { .. }
            | Self::Reserved { .. }
            | Self::Sequence { .. }
            | Self::Type { .. }
            | Self::Version { .. }
            | Self::Length { .. } => 0x16,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm { found } => write!(f, "algorithm {found} is not AES-256-GCM"),
            Self::Header { version, size } => write!(f, "a header of version {version} and {size} bytes"),
            Self::Key { found } => write!(f, "there is no VMPCK{found}"),
            Self::Size { found } => write!(f, "{found} bytes do not fit behind the header"),
            Self::Reserved { at } => write!(f, "byte {at:#x} of the header is reserved and not zero"),
            Self::Sequence { expected, found } => write!(f, "message {found} in the place of {expected}"),
            Self::Overflow => f.write_str("the key has no sequence number left"),
            Self::Tag => f.write_str("the message was changed, or is under another key"),
            Self::Type { found } => write!(f, "message type {found} is not answered"),
            Self::Version { found } => write!(f, "the message type has no version {found}"),
            Self::Length { expected, found } => write!(f, "a payload of {found} bytes, expected {expected}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// The keys of one guest, and how many messages went both ways under each.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) keys: [[u8; 32]; 4],
    pub(super) counts: [u64; 4],
}

/// A request that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The number of its key, which is the VMPL that asks.
    pub(super) vmpck: u8,
    pub(super) kind: u8,
    pub(super) version: u8,
    pub(super) payload: Vec<u8>,
}

impl Keys {
    /// Opens a request, and uses up no number.
    pub(super) fn open(&self, message: &[u8; 4096]) -> Result<Request, RequestError> {
        let half = |at: usize| u16::from_le_bytes([message[at], message[at + 1]]);
        let found = u64::from_le_bytes(std::array::from_fn(|index| message[0x20 + index]));
        let [algorithm, version] = [message[0x30], message[0x31]];
        if algorithm != AES_256_GCM {
            return Err(RequestError::Algorithm { found: algorithm });
        }
        if (version, usize::from(half(0x32))) != (HEADER_VERSION, HEADER) {
            return Err(RequestError::Header { version, size: half(0x32) });
        }
        let vmpck = message[0x3c];
        let index = usize::from(vmpck);
        let (Some(key), Some(count)) = (self.keys.get(index), self.counts.get(index)) else {
            return Err(RequestError::Key { found: vmpck });
        };
        let size = half(0x36);
        let mut payload =
            message.get(HEADER..HEADER + usize::from(size)).ok_or(RequestError::Size { found: size })?.to_vec();
        for mut reserved in [TAG..0x20, 0x28..0x30, 0x38..0x3c, 0x3d..HEADER] {
            if let Some(at) = reserved.find(|at| message[*at] != 0) {
                return Err(RequestError::Reserved { at });
            }
        }
        let expected = count.checked_add(1).filter(|next| *next < u64::MAX).ok_or(RequestError::Overflow)?;
        if found != expected {
            return Err(RequestError::Sequence { expected, found });
        }
        let tag: [u8; TAG] = std::array::from_fn(|index| message[index]);
        Aes256Gcm::new(&(*key).into())
            .decrypt_inout_detached(
                &iv(found),
                &message[AUTHENTICATED..HEADER],
                payload.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| RequestError::Tag)?;
        Ok(Request { vmpck, kind: message[0x34], version: message[0x35], payload })
    }

    /// The answer to an opened request, whose numbers are used up by it.
    pub(super) fn seal(&mut self, request: &Request, payload: &[u8]) -> [u8; 4096] {
        let index = usize::from(request.vmpck);
        let number = self.counts[index] + 2;
        self.counts[index] = number;
        seal(&self.keys[index], number, request.vmpck, request.kind + 1, request.version, payload)
    }
}

/// A message under `key`.
fn seal(key: &[u8; 32], number: u64, vmpck: u8, kind: u8, version: u8, payload: &[u8]) -> [u8; 4096] {
    let size = u16::try_from(payload.len()).expect("no payload is larger than a page");
    let mut page = [0; 4096];
    page[0x20..0x28].copy_from_slice(&number.to_le_bytes());
    (page[0x30], page[0x31]) = (AES_256_GCM, HEADER_VERSION);
    page[0x32..0x34].copy_from_slice(&0x60u16.to_le_bytes());
    (page[0x34], page[0x35]) = (kind, version);
    page[0x36..0x38].copy_from_slice(&size.to_le_bytes());
    page[0x3c] = vmpck;
    let (header, rest) = page.split_at_mut(HEADER);
    let rest = &mut rest[..payload.len()];
    rest.copy_from_slice(payload);
    let tag = Aes256Gcm::new(&(*key).into())
        .encrypt_inout_detached(&iv(number), &header[AUTHENTICATED..], rest.into())
        .expect("a page is far below the limits of the algorithm");
    header[..TAG].copy_from_slice(&tag);
    page
}

/// The initialisation vector: the sequence number, zero-extended to 96 bits.
fn iv(number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut iv = [0; 12];
    iv[..8].copy_from_slice(&number.to_le_bytes());
    iv.into()
}

/// The guest's side, for tests: independent of [`Keys`] but for [`seal`].
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A request as a guest makes it.
    pub(in crate::amd) fn request(
        key: &[u8; 32],
        number: u64,
        vmpck: u8,
        kind: u8,
        version: u8,
        payload: &[u8],
    ) -> [u8; 4096] {
        seal(key, number, vmpck, kind, version, payload)
    }

    /// Type, version and payload of an answer with this number.
    pub(in crate::amd) fn answer(key: &[u8; 32], number: u64, message: &[u8; 4096]) -> (u8, u8, Vec<u8>) {
        assert_eq!(message[0x20..0x28], number.to_le_bytes());
        let size = usize::from(u16::from_le_bytes([message[0x36], message[0x37]]));
        let mut payload = message[HEADER..HEADER + size].to_vec();
        let tag: [u8; 16] = message[..16].try_into().unwrap();
        Aes256Gcm::new(&(*key).into())
            .decrypt_inout_detached(&iv(number), &message[0x30..0x60], payload.as_mut_slice().into(), &tag.into())
            .unwrap();
        (message[0x34], message[0x35], payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { keys: [[1; 32], [2; 32], [3; 32], [4; 32]], counts: [0, 10, 0, 0] }
    }

    fn good() -> [u8; 4096] {
        seal(&[2; 32], 11, 1, 5, 1, &[9; 100])
    }

    #[test]
    fn a_header_is_as_the_document_has_it() {
        let page = good();
        assert_eq!(page[0x10..0x20], [0; 16], "AUTHTAG has 32 bytes, of which the algorithm uses 16");
        let header: Vec<u8> =
            [&[11, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8], &[1, 1, 0x60, 0, 5, 1, 100, 0, 0, 0, 0, 0, 1], &[0; 35]].concat();
        assert_eq!(page[0x20..0x60], header);
        assert_ne!(page[0x60..0xc4], [9; 100], "encrypted");
    }

    #[test]
    fn a_request_opens_once_and_its_answer_uses_the_next_number() {
        let mut keys = keys();
        let page = good();
        let request = keys.open(&page).unwrap();
        assert_eq!(request, Request { vmpck: 1, kind: 5, version: 1, payload: vec![9; 100] });
        let answer = keys.seal(&request, b"answer");
        assert_eq!(testing::answer(&[2; 32], 12, &answer), (6, 1, b"answer".to_vec()));
        assert_eq!(keys.open(&page).unwrap_err(), RequestError::Sequence { expected: 13, found: 11 }, "replayed");
        keys.open(&seal(&[2; 32], 13, 1, 5, 1, &[])).unwrap();
        assert_eq!(
            keys.open(&seal(&[2; 32], 15, 1, 5, 1, &[])).unwrap_err(),
            RequestError::Sequence { expected: 13, found: 15 },
            "one left out"
        );
        assert_eq!(keys.counts, [0, 12, 0, 0], "each key counts for itself");
    }

    #[test]
    fn an_answer_is_no_request() {
        let mut keys = keys();
        let request = keys.open(&good()).unwrap();
        let answer = keys.seal(&request, &[]);
        assert_eq!(keys.open(&answer).unwrap_err(), RequestError::Sequence { expected: 13, found: 12 });
    }

    #[test]
    fn numbers_end_before_they_repeat() {
        let at = |count| {
            let keys = Keys { keys: [[1; 32]; 4], counts: [count, 0, 0, 0] };
            keys.open(&seal(&[1; 32], count.wrapping_add(1), 0, 5, 1, &[])).map(|_| ())
        };
        assert_eq!(at(u64::MAX - 2), Ok(()), "control: the answer still has a number");
        for count in [u64::MAX - 1, u64::MAX] {
            assert_eq!((at(count), RequestError::Overflow.status()), (Err(RequestError::Overflow), 0x1d));
        }
    }

    #[test]
    fn each_field_has_its_refusal() {
        let with = |at: usize, value: u8| {
            let mut page = good();
            page[at] = value;
            let error = keys().open(&page).unwrap_err();
            (error, error.status())
        };
        assert_eq!(with(0x30, 2), (RequestError::Algorithm { found: 2 }, 0x16));
        assert_eq!(with(0x31, 2), (RequestError::Header { version: 2, size: 0x60 }, 0x16));
        assert_eq!(with(0x32, 0x61), (RequestError::Header { version: 1, size: 0x61 }, 0x16));
        assert_eq!(with(0x3c, 4), (RequestError::Key { found: 4 }, 0x16));
        assert_eq!(with(0x3c, 255), (RequestError::Key { found: 255 }, 0x16));
        assert_eq!(with(0x37, 0x10), (RequestError::Size { found: 0x1064 }, 0x16));
        for at in [0x10, 0x1f, 0x28, 0x2f, 0x38, 0x3b, 0x3d, 0x5f] {
            assert_eq!(with(at, 1), (RequestError::Reserved { at }, 0x16));
        }
        assert_eq!(with(0x20, 10), (RequestError::Sequence { expected: 11, found: 10 }, 0x16));
        assert_eq!(with(0x00, 0), (RequestError::Tag, 0x0b));
        assert_eq!(with(0x36, 99), (RequestError::Tag, 0x0b));
        assert_eq!(with(0x34, 3), (RequestError::Tag, 0x0b), "type and version are authenticated");
        assert_eq!(with(0x3c, 0), (RequestError::Sequence { expected: 1, found: 11 }, 0x16), "another key's numbers");
    }

    #[test]
    fn no_flipped_bit_of_a_request_passes_and_what_is_behind_it_is_nobodys() {
        for at in 0..HEADER + 100 {
            let mut page = good();
            page[at] ^= 1 << (at % 8);
            assert!(keys().open(&page).is_err(), "{at:#x}");
        }
        let mut page = good();
        page[HEADER + 100..].fill(0xff);
        keys().open(&page).unwrap();
    }

    #[test]
    fn a_payload_may_fill_the_page_and_no_more() {
        keys().open(&seal(&[2; 32], 11, 1, 5, 1, &[9; 4000])).unwrap();
        let mut page = seal(&[2; 32], 11, 1, 5, 1, &[9; 4000]);
        page[0x36..0x38].copy_from_slice(&4001u16.to_le_bytes());
        assert_eq!(keys().open(&page).unwrap_err(), RequestError::Size { found: 4001 });
    }
}
