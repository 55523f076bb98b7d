//! The guest's end of SNP guest messages (AMD 56860, SEV-SNP firmware ABI, revision 1.58, chapter 7 and section
//! SNP_GUEST_REQUEST): a report, a derived key.
//!
//! Owns key and sequence number of the channel. Refuses every answer that is not the firmware's to the message just sent.
//! Knows nothing of how a message gets there: whoever carries it can drop it, and no more.
//!
//! Invariant: no sequence number is used for two messages. A message that got no answer is sent again as it was or not at
//! all.

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};

const REPORT_SIZE: u32 = 1184;
/// Bytes of a report.
pub(crate) const REPORT: usize = REPORT_SIZE as usize;
const HEADER_SIZE: u8 = 0x60;
/// Bytes of the header.
const HEADER: usize = HEADER_SIZE as usize;
/// What is authenticated with the payload: the header from the algorithm on.
const AUTHENTICATED: usize = 0x30;
/// Bytes of the longest message: the header, status and size of the answer with a report, the report.
pub(crate) const LONGEST: usize = HEADER + 0x20 + REPORT;

/// AES-256-GCM.
const ALGORITHM: u8 = 1;

/// Types of requests; an answer's is one more.
const KEY: u8 = 3;
const REPORT_TYPE: u8 = 5;

/// MSG_KEY_REQ mixes guest policy and measurement into the key: another image gets another one.
const POLICY_AND_MEASUREMENT: u64 = 1 | 1 << 3;

/// Where a report says what was launched with it.
const HOST_DATA: usize = 0xc0;

/// A message on its way.
pub(crate) struct Message {
    pub(crate) bytes: [u8; LONGEST],
    /// Bytes of it that mean something.
    pub(crate) length: usize,
}

impl Message {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; LONGEST], length: 0 }
    }
}

/// The message got no answer, or what came was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// A guest's channel to its firmware: VMPCK0.
pub(crate) struct Channel {
    cipher: Aes256Gcm,
    /// The number of the next request.
    next: u64,
}

impl Channel {
    /// `key` is VMPCK0 of the secrets page, which nobody used before.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { cipher: Aes256Gcm::new(key.into()), next: 1 }
    }

    /// The report over 64 bytes, which `carry` gets from the firmware.
    pub(crate) fn report(
        &mut self,
        data: &[u8; 64],
        message: &mut Message,
        carry: impl FnOnce(&mut Message) -> Result<(), NoAnswer>,
    ) -> Result<[u8; REPORT], NoAnswer> {
        // REPORT_DATA, VMPL 0, the key that the firmware prefers.
        let mut payload = [0; 0x60];
        put(&mut payload, 0, data);
        let answer = self.exchange(REPORT_TYPE, &payload, message, carry)?;
        let (head, report) = answer.split_first_chunk::<0x20>().ok_or(NoAnswer)?;
        let size = head.get(4..8).ok_or(NoAnswer)?;
        if size != REPORT_SIZE.to_le_bytes() {
            return Err(NoAnswer);
        }
        report.try_into().map_err(|_| NoAnswer)
    }

    /// The key that belongs to this chip, policy and image.
    pub(crate) fn key(
        &mut self,
        message: &mut Message,
        carry: impl FnOnce(&mut Message) -> Result<(), NoAnswer>,
    ) -> Result<[u8; 32], NoAnswer> {
        // Root key VCEK, which fields, VMPL 0, guest SVN and TCB not mixed in.
        let mut payload = [0; 0x20];
        put(&mut payload, 8, &POLICY_AND_MEASUREMENT.to_le_bytes());
        let answer = self.exchange(KEY, &payload, message, carry)?;
        answer.get(0x20..).and_then(|key| key.try_into().ok()).ok_or(NoAnswer)
    }

    fn exchange<'m>(
        &mut self,
        kind: u8,
        payload: &[u8],
        message: &'m mut Message,
        carry: impl FnOnce(&mut Message) -> Result<(), NoAnswer>,
    ) -> Result<&'m [u8], NoAnswer> {
        // An answer needs a number too.
        let number = self.next;
        self.next = number.checked_add(2).ok_or(NoAnswer)?;
        self.seal(number, kind, payload, message)?;
        carry(message)?;
        let answer =
            self.open(number.checked_add(1).ok_or(NoAnswer)?, kind.checked_add(1).ok_or(NoAnswer)?, message)?;
        // STATUS.
        if answer.first_chunk() == Some(&[0; 4]) { Ok(answer) } else { Err(NoAnswer) }
    }

    fn seal(&self, number: u64, kind: u8, payload: &[u8], message: &mut Message) -> Result<(), NoAnswer> {
        let size = u16::try_from(payload.len()).map_err(|_| NoAnswer)?;
        message.bytes = [0; LONGEST];
        message.length = HEADER.checked_add(payload.len()).ok_or(NoAnswer)?;
        let (header, rest) = message.bytes.split_first_chunk_mut::<HEADER>().ok_or(NoAnswer)?;
        put(header, 0x20, &number.to_le_bytes());
        put(header, AUTHENTICATED, &fields(kind, size));
        let body = rest.get_mut(..payload.len()).ok_or(NoAnswer)?;
        body.copy_from_slice(payload);
        let authenticated = header.get(AUTHENTICATED..).ok_or(NoAnswer)?;
        let tag = self.cipher.encrypt_inout_detached(&nonce(number).into(), authenticated, body.into());
        put(header, 0, &tag.map_err(|_| NoAnswer)?);
        Ok(())
    }

    fn open<'m>(&self, number: u64, kind: u8, message: &'m mut Message) -> Result<&'m [u8], NoAnswer> {
        let (header, rest) = message.bytes.split_first_chunk_mut::<HEADER>().ok_or(NoAnswer)?;
        let size: &[u8; 2] = header.get(0x36..).and_then(<[u8]>::first_chunk).ok_or(NoAnswer)?;
        let size = u16::from_le_bytes(*size);
        if header.get(0x20..0x28) != Some(&number.to_le_bytes())
            || header.get(AUTHENTICATED..) != Some(&fields(kind, size))
        {
            return Err(NoAnswer);
        }
        let tag: &[u8; 16] = header.first_chunk().ok_or(NoAnswer)?;
        let authenticated = header.get(AUTHENTICATED..).ok_or(NoAnswer)?;
        let body = rest.get_mut(..usize::from(size)).ok_or(NoAnswer)?;
        let opened =
            self.cipher.decrypt_inout_detached(&nonce(number).into(), authenticated, (&mut *body).into(), tag.into());
        opened.map(|()| &*body).map_err(|_| NoAnswer)
    }
}

/// HOST_DATA of a report.
pub(crate) fn host_data(report: &[u8; REPORT]) -> Option<&[u8; 32]> {
    report.get(HOST_DATA..)?.first_chunk()
}

/// The authenticated part of a header: algorithm, version and size of the header, type, version 1 and size of the message,
/// VMPCK0.
fn fields(kind: u8, size: u16) -> [u8; HEADER - AUTHENTICATED] {
    let [low, high] = size.to_le_bytes();
    let mut fields = [0; HEADER - AUTHENTICATED];
    put(&mut fields, 0, &[ALGORITHM, 1, HEADER_SIZE, 0, kind, 1, low, high]);
    fields
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    put(&mut nonce, 0, &number.to_le_bytes());
    nonce
}

/// Copies `part` into `bytes` at a place that is there.
fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(place) = at.checked_add(part.len()).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY0: [u8; 32] = [7; 32];

    /// A firmware that answers once with this payload.
    fn answer(message: &mut Message, payload: &[u8]) {
        let firmware = Channel::new(&KEY0);
        let (kind, number) = (message.bytes[0x34], u64::from_le_bytes(message.bytes[0x20..0x28].try_into().unwrap()));
        firmware.open(number, kind, message).unwrap();
        firmware.seal(number + 1, kind + 1, payload, message).unwrap();
    }

    fn report() -> Vec<u8> {
        let report: Vec<u8> = (0..REPORT).map(|n| n.to_le_bytes()[0]).collect();
        [&[0; 4][..], &1184_u32.to_le_bytes(), &[0; 24], &report].concat()
    }

    /// The fields at the offsets of the document, and AES-256-GCM as another implementation of the header would use it.
    #[test]
    fn a_request_is_as_documented() {
        let mut message = Message::new();
        let mut seen = Vec::new();
        let refused = Channel::new(&KEY0).report(&[9; 64], &mut message, |message| {
            seen = message.bytes[..message.length].to_vec();
            Err(NoAnswer)
        });
        assert_eq!(refused, Err(NoAnswer));
        assert_eq!(seen.len(), 0x60 + 0x60);
        assert_eq!(seen[0x10..0x20], [0; 16], "the rest of AUTHTAG");
        assert_eq!(seen[0x20..0x30], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "MSG_SEQNO");
        assert_eq!(seen[0x30..0x40], [1, 1, 0x60, 0, 5, 1, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let cipher = Aes256Gcm::new(&KEY0.into());
        let mut body = seen[0x60..].to_vec();
        let (header, tag) = (&seen[0x30..0x60], <[u8; 16]>::try_from(&seen[..16]).unwrap());
        let nonce = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        cipher.decrypt_inout_detached(&nonce.into(), header, (&mut body[..]).into(), &tag.into()).unwrap();
        assert_eq!(body[..64], [9; 64]);
        assert_eq!(body[64..], [0; 32]);
    }

    #[test]
    fn answers_are_taken_in_their_order() {
        let (mut channel, mut message) = (Channel::new(&KEY0), Message::new());
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let carried = |message: &mut Message| {
                numbers.push(message.bytes[0x20]);
                answer(message, &report());
                Ok(())
            };
            let found = channel.report(&[1; 64], &mut message, carried).unwrap();
            assert_eq!(host_data(&found).unwrap()[0], 0xc0);
        }
        assert_eq!(numbers, [1, 3, 5]);
        let key = [&[0; 32][..], &[5; 32]].concat();
        let carried = |message: &mut Message| {
            answer(message, &key);
            Ok(())
        };
        assert_eq!(channel.key(&mut message, carried), Ok([5; 32]));
    }

    #[test]
    fn every_other_answer_is_none() {
        let ask = |change: &dyn Fn(&mut Message)| {
            let mut message = Message::new();
            Channel::new(&KEY0).report(&[1; 64], &mut message, |message| {
                answer(message, &report());
                change(message);
                Ok(())
            })
        };
        assert!(ask(&|_| ()).is_ok(), "control");
        let length = HEADER + 0x20 + REPORT;
        // Bytes that nobody authenticates and nobody reads: the rest of AUTHTAG, reserved bytes after the number.
        for at in (0..0x10).chain(0x20..0x28).chain(0x30..length) {
            for bit in [1, 0x80] {
                assert_eq!(ask(&|message| message.bytes[at] ^= bit), Err(NoAnswer), "{at:#x}");
            }
        }
        let with = |payload: Vec<u8>| {
            let mut message = Message::new();
            Channel::new(&KEY0).report(&[1; 64], &mut message, |message| {
                answer(message, &payload);
                Ok(())
            })
        };
        assert!(with(report()).is_ok(), "control");
        let mut status = report();
        status[0] = 0x16;
        let mut size = report();
        size[4] -= 1;
        for payload in [status, size, report()[..0x20 + REPORT - 1].to_vec(), vec![], vec![0; 3]] {
            assert_eq!(with(payload), Err(NoAnswer));
        }
    }

    /// An old answer, and the answer to another channel's message.
    #[test]
    fn an_answer_counts_once() {
        let (mut channel, mut message, mut old) = (Channel::new(&KEY0), Message::new(), Vec::new());
        let first = channel.report(&[1; 64], &mut message, |message| {
            answer(message, &report());
            old = message.bytes.to_vec();
            Ok(())
        });
        assert!(first.is_ok(), "control");
        let again = |message: &mut Message| {
            message.bytes.copy_from_slice(&old);
            Ok(())
        };
        assert_eq!(channel.report(&[1; 64], &mut message, again), Err(NoAnswer));
    }

    #[test]
    fn numbers_end() {
        let mut channel = Channel { next: u64::MAX - 1, ..Channel::new(&KEY0) };
        assert_eq!(channel.report(&[1; 64], &mut Message::new(), |_| Ok(())), Err(NoAnswer));
    }
}
