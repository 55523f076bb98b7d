//! Who vouches for a guest: the ID block and its authentication information, as SNP_LAUNCH_FINISH judges them (AMD
//! 56860, revision 1.58, ID Block and ID Authentication Information Structures; chapter Digital Signatures for ECDSA).
//!
//! Refuses another launch digest or policy than the guest's, unknown versions, algorithms and curves, reserved bytes
//! that are not zero, and signatures that do not verify.
//!
//! Invariant: an [`Identity`] with key digests comes from verified signatures only.

use std::fmt;

use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha384};

/// VERSION of the ID block.
const VERSION: u32 = 1;
/// ECDSA on P-384 with SHA-384, and the curve of such a key.
const ECDSA_P384_SHA384: u32 = 1;
const P384: u32 = 2;

/// Places in the authentication information.
const ID_BLOCK_SIG: usize = 0x040;
const ID_KEY: usize = 0x240;
const ID_KEY_SIG: usize = 0x680;
const AUTHOR_KEY: usize = 0x880;
/// Bytes of a key there.
const KEY: usize = 0x404;
/// Bytes of a number, little-endian; P-384 uses the first 48.
const NUMBER: usize = 72;

/// An ID block with what authenticates it, as the host hands them to SNP_LAUNCH_FINISH.
#[derive(Debug, Clone, Copy)]
pub struct IdBlock<'a> {
    /// ID_BLOCK: launch digest, FAMILY_ID, IMAGE_ID, version, GUEST_SVN, policy.
    pub block: &'a [u8; 96],
    /// ID_AUTH: algorithms, the ID key and its signature of the block, the author key and its signature of the ID key.
    pub authentication: &'a [u8; 4096],
    /// AUTH_KEY_EN: the author key counts, and is in reports.
    pub author_key: bool,
}

/// Why an ID block vouches for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdBlockError {
    /// Of another version.
    Version {
        /// VERSION.
        found: u32,
    },
    /// For another launch digest.
    Digest,
    /// For another policy.
    Policy {
        /// POLICY of the guest.
        expected: u64,
        /// POLICY of the block.
        found: u64,
    },
    /// An algorithm or curve that is not the one defined.
    Algorithm {
        /// Where in the authentication information.
        at: usize,
        /// The number there.
        found: u32,
    },
    /// A reserved byte is not zero.
    Reserved {
        /// Where in the authentication information.
        at: usize,
    },
    /// Not a point of the curve.
    Key {
        /// Where in the authentication information.
        at: usize,
    },
    /// The signature does not verify.
    Signature {
        /// Where in the authentication information.
        at: usize,
    },
}

impl IdBlockError {
    /// The firmware's status code (AMD 56860, Status Codes).
    #[must_use]
    pub const fn status(self) -> u32 {
        match self {
            Self::Version { .. } | Self::Algorithm { .. } | Self::Reserved { .. } | Self::Key { .. } => 0x16,
            Self::Digest => 0x0b,
            Self::Policy { .. } => 0x07,
            Self::Signature { .. } => 0x0a,
        }
    }
}

impl fmt::Display for IdBlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => write!(f, "the ID block has version {found}, expected {VERSION}"),
            Self::Digest => f.write_str("the ID block is for another launch digest"),
            Self::Policy { expected, found } => {
                write!(f, "the ID block is for policy {found:#x}, the guest has {expected:#x}")
            }
            Self::Algorithm { at, found } => {
                write!(f, "algorithm or curve {found} at {at:#x} of the ID authentication")
            }
            Self::Reserved { at } => write!(f, "byte {at:#x} of the ID authentication is reserved and not zero"),
            Self::Key { at } => write!(f, "the key at {at:#x} of the ID authentication is not on its curve"),
            Self::Signature { at } => write!(f, "the signature at {at:#x} of the ID authentication does not verify"),
        }
    }
}

impl std::error::Error for IdBlockError {}

/// What a guest's reports and keys say of who vouches for it; zeroes where nobody does.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) family_id: [u8; 16],
    pub(super) image_id: [u8; 16],
    pub(super) guest_svn: u32,
    pub(super) id_key_digest: [u8; 48],
    pub(super) author_key_digest: Option<[u8; 48]>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { family_id: [0; 16], image_id: [0; 16], guest_svn: 0, id_key_digest: [0; 48], author_key_digest: None }
    }
}

impl IdBlock<'_> {
    pub(super) fn check(&self, digest: &[u8; 48], policy: u64) -> Result<Identity, IdBlockError> {
        let Self { block, authentication, author_key } = *self;
        let version = word(block, 0x50);
        if version != VERSION {
            return Err(IdBlockError::Version { found: version });
        }
        for (algorithm, key, counts) in [(0, ID_KEY, true), (4, AUTHOR_KEY, author_key)] {
            for (at, expected) in [(algorithm, ECDSA_P384_SHA384), (key, P384)] {
                let found = word(authentication, at);
                if counts && found != expected {
                    return Err(IdBlockError::Algorithm { at, found });
                }
            }
        }
        // Between the fields, and behind the numbers in signatures and keys; what the author signed is not looked at
        // unless it counts.
        let last = if author_key { AUTHOR_KEY } else { ID_KEY };
        let behind = [
            0x008..ID_BLOCK_SIG,
            ID_BLOCK_SIG + 2 * NUMBER..ID_KEY,
            ID_KEY + 4 + 2 * NUMBER..ID_KEY_SIG,
            ID_KEY_SIG + 2 * NUMBER..AUTHOR_KEY,
            AUTHOR_KEY + 4 + 2 * NUMBER..4096,
        ];
        for mut range in behind.into_iter().filter(|range| range.start < last + KEY) {
            if let Some(at) = range.find(|at| authentication[*at] != 0) {
                return Err(IdBlockError::Reserved { at });
            }
        }
        if block[..0x30] != *digest {
            return Err(IdBlockError::Digest);
        }
        let found = u64::from(word(block, 0x58)) | u64::from(word(block, 0x5c)) << 32;
        if found != policy {
            return Err(IdBlockError::Policy { expected: policy, found });
        }
        verify(authentication, ID_KEY, ID_BLOCK_SIG, block)?;
        let id_key = &authentication[ID_KEY..ID_KEY + KEY];
        if author_key {
            verify(authentication, AUTHOR_KEY, ID_KEY_SIG, id_key)?;
        }
        let key_digest = |at| Sha384::digest(&authentication[at..at + KEY]).into();
        Ok(Identity {
            family_id: array(block, 0x30),
            image_id: array(block, 0x40),
            guest_svn: word(block, 0x54),
            id_key_digest: key_digest(ID_KEY),
            author_key_digest: author_key.then(|| key_digest(AUTHOR_KEY)),
        })
    }
}

/// Whether `signature` is `key`'s of `message`; both by their place.
fn verify(authentication: &[u8; 4096], key: usize, signature: usize, message: &[u8]) -> Result<(), IdBlockError> {
    let mut point = [4; 97];
    point[1..49].copy_from_slice(&number(authentication, key + 4).ok_or(IdBlockError::Key { at: key })?);
    point[49..].copy_from_slice(&number(authentication, key + 4 + NUMBER).ok_or(IdBlockError::Key { at: key })?);
    let verifier = VerifyingKey::from_sec1_bytes(&point).map_err(|_| IdBlockError::Key { at: key })?;
    let refused = IdBlockError::Signature { at: signature };
    let r = number(authentication, signature).ok_or(refused)?;
    let s = number(authentication, signature + NUMBER).ok_or(refused)?;
    let parsed = Signature::from_scalars(r, s).map_err(|_| refused)?;
    verifier.verify(message, &parsed).map_err(|_| refused)
}

/// A number of 72 bytes, big-endian; `None` if it needs more than 48.
fn number(bytes: &[u8; 4096], at: usize) -> Option<[u8; 48]> {
    let mut out: [u8; 48] = array(bytes, at);
    out.reverse();
    bytes[at + 48..at + NUMBER].iter().all(|byte| *byte == 0).then_some(out)
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn array<const N: usize, const M: usize>(bytes: &[u8; N], at: usize) -> [u8; M] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests {
    use p384::ecdsa::SigningKey;
    use p384::ecdsa::signature::Signer;

    use super::*;

    const DIGEST: [u8; 48] = [7; 48];
    const POLICY: u64 = 0x3_0000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 48]).unwrap()
    }

    fn little(bytes: &mut [u8], number: &[u8]) {
        for (to, from) in bytes.iter_mut().zip(number.iter().rev()) {
            *to = *from;
        }
    }

    fn put_key(page: &mut [u8; 4096], at: usize, key: &SigningKey) {
        let point = key.verifying_key().to_sec1_point(false);
        page[at] = 2;
        little(&mut page[at + 4..at + 52], point.x().unwrap());
        little(&mut page[at + 76..at + 124], point.y().unwrap());
    }

    fn put_signature(page: &mut [u8; 4096], at: usize, key: &SigningKey, message: &[u8]) {
        let signature: Signature = key.sign(message);
        let (r, s) = signature.split_bytes();
        little(&mut page[at..at + 48], &r);
        little(&mut page[at + 72..at + 120], &s);
    }

    /// A block and its authentication, author included.
    fn good() -> ([u8; 96], [u8; 4096]) {
        let mut block = [0; 96];
        block[..0x30].copy_from_slice(&DIGEST);
        block[0x30..0x40].fill(0xfa);
        block[0x40..0x50].fill(0x1a);
        block[0x50] = 1;
        block[0x54] = 5;
        block[0x58..].copy_from_slice(&POLICY.to_le_bytes());
        let mut page = [0; 4096];
        (page[0], page[4]) = (1, 1);
        put_key(&mut page, ID_KEY, &key(1));
        put_signature(&mut page, ID_BLOCK_SIG, &key(1), &block);
        put_key(&mut page, AUTHOR_KEY, &key(2));
        let id_key = page[ID_KEY..ID_KEY + KEY].to_vec();
        put_signature(&mut page, ID_KEY_SIG, &key(2), &id_key);
        (block, page)
    }

    fn check(block: &[u8; 96], authentication: &[u8; 4096], author_key: bool) -> Result<Identity, IdBlockError> {
        IdBlock { block, authentication, author_key }.check(&DIGEST, POLICY)
    }

    #[test]
    fn what_it_says_is_what_reports_say() {
        let (block, page) = good();
        let identity = check(&block, &page, true).unwrap();
        assert_eq!((identity.family_id, identity.image_id, identity.guest_svn), ([0xfa; 16], [0x1a; 16], 5));
        assert_eq!(identity.id_key_digest, <[u8; 48]>::from(Sha384::digest(&page[0x240..0x644])));
        assert_eq!(identity.author_key_digest, Some(Sha384::digest(&page[0x880..0xc84]).into()));
        assert_eq!(check(&block, &page, false).unwrap().author_key_digest, None);
    }

    #[test]
    fn each_refusal_has_its_status() {
        let (block, page) = good();
        let with = |change: &dyn Fn(&mut [u8; 96], &mut [u8; 4096])| {
            let (mut block, mut page) = (block, page);
            change(&mut block, &mut page);
            let error = check(&block, &page, true).unwrap_err();
            (error, error.status())
        };
        assert_eq!(with(&|block, _| block[0x50] = 2), (IdBlockError::Version { found: 2 }, 0x16));
        assert_eq!(with(&|block, _| block[0] ^= 1), (IdBlockError::Digest, 0x0b));
        assert_eq!(
            with(&|block, _| block[0x5a] = 0xb),
            (IdBlockError::Policy { expected: POLICY, found: 0xb_0000 }, 0x07)
        );
        for (at, found) in [(0, 3), (4, 3), (ID_KEY, 3), (AUTHOR_KEY, 3)] {
            assert_eq!(with(&|_, page| page[at] = 3), (IdBlockError::Algorithm { at, found }, 0x16));
        }
        for at in [0x008, 0x03f, 0x0d0, 0x23f, 0x2d4, 0x67f, 0x710, 0x87f, 0x914, 0xfff] {
            assert_eq!(with(&|_, page| page[at] = 1), (IdBlockError::Reserved { at }, 0x16));
        }
        for at in [ID_KEY, AUTHOR_KEY] {
            assert_eq!(with(&|_, page| page[at + 4] ^= 1), (IdBlockError::Key { at }, 0x16), "not on the curve");
            assert_eq!(with(&|_, page| page[at + 4 + 48] = 1), (IdBlockError::Key { at }, 0x16), "too large");
        }
        for at in [ID_BLOCK_SIG, ID_KEY_SIG] {
            assert_eq!(with(&|_, page| page[at] ^= 1), (IdBlockError::Signature { at }, 0x0a));
            assert_eq!(with(&|_, page| page[at..at + 48].fill(0)), (IdBlockError::Signature { at }, 0x0a), "r = 0");
            assert_eq!(with(&|_, page| page[at + 71] = 1), (IdBlockError::Signature { at }, 0x0a), "too large");
        }
        let (error, _) = with(&|_, page| put_key(page, ID_KEY, &key(3)));
        assert_eq!(error, IdBlockError::Signature { at: ID_BLOCK_SIG }, "signed by somebody else");
    }

    #[test]
    fn an_author_who_does_not_count_is_not_looked_at() {
        let (block, mut page) = good();
        page[4] = 0;
        page[ID_KEY_SIG..].fill(0);
        check(&block, &page, false).unwrap();
        check(&block, &page, true).unwrap_err();
    }

    /// One byte of each sixteen of both, another one each time.
    #[test]
    fn no_changed_byte_of_block_or_authentication_passes() {
        let (block, page) = good();
        for at in 0..96 {
            let mut block = block;
            block[at] ^= 1 << (at % 8);
            check(&block, &page, true).unwrap_err();
        }
        for at in (0..4096).step_by(15) {
            let mut page = page;
            page[at] ^= 0x40;
            assert!(check(&block, &page, true).is_err(), "{at:#x}");
        }
    }
}
