//! Who vouches for a measurement: the ID block that SNP firmware compares with a launch, and its authentication (AMD
//! 56860, revision 1.58, ID Block and ID Authentication Information Structures).
//!
//! Owns the two formats. Keys are somebody else's ([`Signer`]); refuses those that are not P-384, the one curve there is.
//!
//! Invariant: what is signed is exactly what [`IdBlock::encode`] returns.

use identity::keys::{Algorithm, SignError, Signer};
use p384::ecdsa::Signature;
use sha2::{Digest, Sha384};

/// Bytes of a public key as the firmware has it, and of a number in it and in signatures.
const KEY: usize = 0x404;
const NUMBER: usize = 72;

/// What the owner of an image says of it. Reports repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBlock {
    /// The launch digest.
    pub digest: [u8; 48],
    /// FAMILY_ID, the owner's to choose.
    pub family_id: [u8; 16],
    /// IMAGE_ID, likewise.
    pub image_id: [u8; 16],
    /// GUEST_SVN: the security version, which derived keys can be bound to.
    pub guest_svn: u32,
    /// POLICY of the guest.
    pub policy: u64,
}

/// Why nobody vouches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdBlockError {
    /// Of another curve.
    #[error("the {which} is not a P-384 key")]
    Curve {
        /// `ID key` or `author key`.
        which: &'static str,
    },
    /// The key did not sign.
    #[error("the {which} does not sign: {error}")]
    Sign {
        /// `ID key` or `author key`.
        which: &'static str,
        /// Its answer.
        error: SignError,
    },
}

impl IdBlock {
    /// The 96 bytes of ID_BLOCK, version 1.
    #[must_use]
    pub fn encode(&self) -> [u8; 96] {
        let Self { digest, family_id, image_id, guest_svn, policy } = self;
        let mut out = [0; 96];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x00, digest);
        put(0x30, family_id);
        put(0x40, image_id);
        put(0x50, &1u32.to_le_bytes());
        put(0x54, &guest_svn.to_le_bytes());
        put(0x58, &policy.to_le_bytes());
        out
    }

    /// The page of ID_AUTH: the ID key signs the block, the author key, if there is one, the ID key.
    ///
    /// # Errors
    /// [`IdBlockError`].
    pub fn authenticate(&self, id: &dyn Signer, author: Option<&dyn Signer>) -> Result<[u8; 4096], IdBlockError> {
        let mut out = [0; 4096];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let id_key = key("ID key", id)?;
        put(0x000, &1u32.to_le_bytes());
        put(0x040, &sign("ID key", id, &self.encode())?);
        put(0x240, &id_key);
        if let Some(author) = author {
            put(0x004, &1u32.to_le_bytes());
            put(0x680, &sign("author key", author, &id_key)?);
            put(0x880, &key("author key", author)?);
        }
        Ok(out)
    }
}

/// SHA-384 over a public key as the firmware has it: ID_KEY_DIGEST and AUTHOR_KEY_DIGEST of reports.
///
/// # Errors
/// [`IdBlockError::Curve`].
pub fn key_digest(signer: &dyn Signer) -> Result<[u8; 48], IdBlockError> {
    Ok(Sha384::digest(key("key", signer)?).into())
}

/// The firmware's form of a public key: curve 2 (P-384), then x and y, little-endian.
fn key(which: &'static str, signer: &dyn Signer) -> Result<[u8; KEY], IdBlockError> {
    let refused = IdBlockError::Curve { which };
    if signer.algorithm() != Algorithm::EcdsaP384Sha384 || Algorithm::of(signer.spki()) != Ok(signer.algorithm()) {
        return Err(refused);
    }
    let point: &[u8; 96] = signer.spki().last_chunk().ok_or(refused)?;
    let (x, y) = point.split_at(48);
    let mut out = [0; KEY];
    out[0] = 2;
    put_number(&mut out[4..], x);
    put_number(&mut out[4 + NUMBER..], y);
    Ok(out)
}

/// The firmware's form of a signature: r and s, little-endian.
fn sign(which: &'static str, signer: &dyn Signer, message: &[u8]) -> Result<[u8; 2 * NUMBER], IdBlockError> {
    key(which, signer)?;
    let der = signer.sign(message).map_err(|error| IdBlockError::Sign { which, error })?;
    let signature = Signature::from_der(&der).map_err(|_| IdBlockError::Sign { which, error: SignError::Signature })?;
    let (r, s) = signature.split_bytes();
    let mut out = [0; 2 * NUMBER];
    put_number(&mut out, &r);
    put_number(&mut out[NUMBER..], &s);
    Ok(out)
}

fn put_number(to: &mut [u8], big_endian: &[u8]) {
    for (to, from) in to.iter_mut().zip(big_endian.iter().rev()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use p384::ecdsa::SigningKey;
    use p384::ecdsa::signature::Signer as _;
    use silicon::{Amd, Finish, LaunchError, PageKind, Product};

    use super::*;

    /// A key in memory; `spki` without curve arithmetic of ours.
    struct Key(SigningKey, Vec<u8>, Algorithm);

    impl Key {
        fn new(seed: u8) -> Self {
            let key = SigningKey::from_slice(&[seed; 48]).unwrap();
            let head = [
                0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
                0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
            ];
            let spki = [&head[..], key.verifying_key().to_sec1_point(false).as_bytes()].concat();
            Self(key, spki, Algorithm::EcdsaP384Sha384)
        }
    }

    impl Signer for Key {
        fn spki(&self) -> &[u8] {
            &self.1
        }

        fn algorithm(&self) -> Algorithm {
            self.2
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            let signature: Signature = self.0.sign(message);
            Ok(signature.to_der().as_bytes().to_vec())
        }
    }

    fn block(digest: [u8; 48]) -> IdBlock {
        IdBlock { digest, family_id: [1; 16], image_id: [2; 16], guest_svn: 3, policy: 0x3_0000 }
    }

    #[test]
    fn a_block_is_as_the_document_has_it() {
        let described =
            [&[9; 48][..], &[1; 16], &[2; 16], &[1, 0, 0, 0, 3, 0, 0, 0], &[0, 0, 3, 0, 0, 0, 0, 0]].concat();
        assert_eq!(block([9; 48]).encode()[..], described);
    }

    /// The firmware takes what is built here, for that launch and no other.
    #[test]
    fn the_firmware_takes_it_for_this_launch_and_no_other() {
        let (id, author) = (Key::new(1), Key::new(2));
        let mut launch = Amd::from_seed([1; 32], Product::Milan).launch(0x3_0000).unwrap();
        launch.update(PageKind::Normal, 0x1000, &mut [5; 4096]).unwrap();
        let finish = |block: IdBlock, author_key: bool| {
            let author: Option<&dyn Signer> = if author_key { Some(&author) } else { None };
            let (encoded, page) = (block.encode(), block.authenticate(&id, author).unwrap());
            let id_block = silicon::IdBlock { block: &encoded, authentication: &page, author_key };
            launch.clone().finish(&Finish { host_data: [0; 32], id_block: Some(id_block) }).map(|_| ())
        };
        let good = block(launch.digest());
        assert_eq!((finish(good, false), finish(good, true)), (Ok(()), Ok(())));
        let digest = silicon::IdBlockError::Digest;
        assert_eq!(finish(block([9; 48]), true), Err(LaunchError::IdBlock(digest)));
        let policy = silicon::IdBlockError::Policy { expected: 0x3_0000, found: 0xb_0000 };
        assert_eq!(finish(IdBlock { policy: 0xb_0000, ..good }, true), Err(LaunchError::IdBlock(policy)));
    }

    #[test]
    fn only_p384_keys_vouch() {
        let (good, mut other) = (Key::new(1), Key::new(2));
        other.2 = Algorithm::EcdsaP256Sha256;
        let (block, curve) = (block([0; 48]), |which| Err(IdBlockError::Curve { which }));
        assert_eq!(block.authenticate(&other, None).map(|_| ()), curve("ID key"));
        assert_eq!(block.authenticate(&good, Some(&other)).map(|_| ()), curve("author key"));
        assert_eq!(block.authenticate(&good, Some(&good)).map(|_| ()), Ok(()), "control");
    }
}
