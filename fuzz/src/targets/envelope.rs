//! Guest messages as AMD 56860 (revision 1.58, SNP_GUEST_REQUEST) has them, by somebody who knows the keys: independent of
//! the firmware and of the shim.

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};

/// Bytes of the header.
pub(crate) const HEADER: usize = 0x60;
/// The most bytes of a payload here.
pub(crate) const MOST: usize = 4096 - HEADER;

/// A message in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) vmpck: u8,
    pub(crate) number: u64,
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) payload: Vec<u8>,
}

impl Letter {
    /// The page that travels.
    pub(crate) fn seal(&self, key: &[u8; 32]) -> [u8; 4096] {
        let Self { vmpck, number, kind, version, payload } = self;
        let mut page = [0; 4096];
        let [low, high, ..] = payload.len().to_le_bytes();
        page[0x20..0x28].copy_from_slice(&number.to_le_bytes());
        page[0x30..0x38].copy_from_slice(&[1, 1, 0x60, 0, *kind, *version, low, high]);
        page[0x3c] = *vmpck;
        let (header, body) = page.split_at_mut(HEADER);
        let body = &mut body[..payload.len()];
        body.copy_from_slice(payload);
        let tag =
            Aes256Gcm::new(key.into()).encrypt_inout_detached(&nonce(*number).into(), &header[0x30..], body.into());
        header[..0x10].copy_from_slice(&tag.expect("a page is short"));
        page
    }

    /// What a page says to whoever has the key.
    pub(crate) fn open(page: &[u8; 4096], key: &[u8; 32]) -> Option<Self> {
        let (header, body) = page.split_at(HEADER);
        let number = u64::from_le_bytes(*header[0x20..].first_chunk()?);
        let size = usize::from(u16::from_le_bytes(*header[0x36..].first_chunk()?));
        let mut payload = body.get(..size)?.to_vec();
        let tag: &[u8; 16] = header.first_chunk()?;
        Aes256Gcm::new(key.into())
            .decrypt_inout_detached(&nonce(number).into(), &header[0x30..], payload.as_mut_slice().into(), tag.into())
            .ok()?;
        Some(Self { vmpck: header[0x3c], number, kind: header[0x34], version: header[0x35], payload })
    }

    /// The bytes of its page that mean something.
    pub(crate) fn length(&self) -> usize {
        HEADER + self.payload.len()
    }
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}
