//! An AES key in a token, which seals what others keep.

use std::fmt;

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{KeyType, ObjectClass};
use zeroize::Zeroizing;

use crate::session::{Kind, Sessions};
use crate::{KeyUri, TokenError};

const AES: Kind = Kind { class: ObjectClass::SECRET_KEY, key: KeyType::AES, what: "AES keys" };
/// How long the nonce is, which stands before what was sealed, in bytes.
const NONCE: usize = 12;
/// How long the tag is, behind it, in bits.
const TAG: u64 = 128;

/// A key that seals by AES-GCM (NIST SP 800-38D).
pub struct SealingKey(Sessions);

impl SealingKey {
    /// Finds the key; `pin` opens the token.
    ///
    /// # Errors
    /// [`TokenError`]; nothing of the PIN is in it.
    pub fn open(uri: &KeyUri, pin: Option<&Zeroizing<String>>) -> Result<Self, TokenError> {
        Sessions::open(uri, pin, AES).map(Self)
    }

    /// Seals, bound to what it is about: nonce, ciphertext, tag.
    ///
    /// # Errors
    /// The token does not answer.
    pub fn seal(&self, about: &[u8], clear: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.0.with(|session, key| {
            let mut nonce = [0; NONCE];
            rand::fill(&mut nonce).map_err(|_| TokenError::NoRandomness)?;
            // A token may choose another, and puts it in its place.
            let sealed = session.encrypt(&gcm(&mut nonce, about)?, key, clear)?;
            Ok([&nonce[..], &sealed].concat())
        })
    }

    /// Opens what was sealed about the same.
    ///
    /// # Errors
    /// The token does not answer, or does not take it.
    pub fn unseal(&self, about: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(TokenError::Damaged)?;
        self.0.with(|session, key| {
            let mut nonce = *nonce;
            Ok(session.decrypt(&gcm(&mut nonce, about)?, key, rest).map(Zeroizing::new)?)
        })
    }
}

fn gcm<'a>(nonce: &'a mut [u8], about: &'a [u8]) -> Result<Mechanism<'a>, TokenError> {
    Ok(Mechanism::AesGcm(GcmParams::new(nonce, about, TAG.into())?))
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SealingKey({:?})", self.0)
    }
}
