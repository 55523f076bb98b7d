//! Nonces without a table: what the Steward hands out it can recognise later, and tell how old it is.
//!
//! A nonce is `version || issue time || 16 random bytes || HMAC-SHA256` (57 bytes, on the wire base64url). The
//! tag covers the trust domain, the class and the purpose as well, so a nonce of another Steward, class or
//! purpose does not open. Refuses everything older than [`MAX_AGE`] and everything from the future.
//! Invariant (trust.md rule 10): a [`Fresh`] comes only out of [`Nonces::open`], and certificate dates are
//! counted from its time; a replay within the five minutes therefore gains neither a key (the evidence binds
//! key and nonce) nor a second of validity. The sealing key is its own type and is never a certificate key.

use std::fmt;

use identity::{binding::Purpose, ear::Class, enrol::Challenge, names::Nonce};
use thiserror::Error;
use workload::names::TrustDomain;
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::{self, Seal};

/// How old a nonce may be when it comes back, in seconds (trust.md rule 10).
pub const MAX_AGE: u64 = 300;

/// Length of a nonce in bytes.
pub const LENGTH: usize = 1 + TIME + RANDOM + TAG;

const _: () = assert!(LENGTH >= Nonce::MIN && LENGTH <= Nonce::MAX);

const VERSION: u8 = 1;
const TIME: usize = 8;
const RANDOM: usize = 16;
const TAG: usize = 32;
const LABEL: &[u8] = b"donjon-nonce";

/// Seals and opens the nonces of one trust domain and class.
pub struct Nonces {
    seal: Seal,
    trust_domain: TrustDomain,
    class: Class,
}

/// A nonce that this Steward sealed, for the purpose asked, at most [`MAX_AGE`] seconds ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    issued: u64,
}

impl Fresh {
    /// When the nonce was issued, in seconds since 1970: the beginning of every certificate that is issued for
    /// it.
    #[must_use]
    pub fn issued(self) -> u64 {
        self.issued
    }
}

impl Nonces {
    /// A sealer for one trust domain and class. Several Stewards that share the key take each other's nonces.
    #[must_use]
    pub fn new(key: &NonceKey, trust_domain: TrustDomain, class: Class) -> Self {
        Self { seal: Seal::new(&key.0), trust_domain, class }
    }

    /// A new nonce for `purpose`, issued at `now` (seconds since 1970).
    ///
    /// # Errors
    /// [`NoRandomness`] when the system gives no random bytes.
    pub fn seal(&self, purpose: Purpose, now: u64) -> Result<Challenge, NoRandomness> {
        let mut random = [0; RANDOM];
        if !crypto::fill(&mut random) {
            return Err(NoRandomness);
        }

        let mut bytes = [0; LENGTH];
        let (head, tag) = bytes.split_at_mut(LENGTH - TAG);
        head[0] = VERSION;
        head[1..=TIME].copy_from_slice(&now.to_be_bytes());
        head[1 + TIME..].copy_from_slice(&random);
        tag.copy_from_slice(&self.seal.tag(&self.sealed(purpose, head)));
        Ok(Challenge {
            nonce: Nonce::new(bytes.to_vec()).expect("the length is asserted above"),
            expires: now.saturating_add(MAX_AGE),
        })
    }

    /// Takes a nonce back at `now`. The seal is compared in constant time and before any field is believed.
    ///
    /// # Errors
    /// [`NonceError`] says which of length, seal and age was wrong.
    pub fn open(&self, purpose: Purpose, nonce: &[u8], now: u64) -> Result<Fresh, NonceError> {
        let nonce: &[u8; LENGTH] =
            nonce.try_into().map_err(|_| NonceError::Length { expected: LENGTH, found: nonce.len() })?;
        let (head, tag) = nonce.split_at(LENGTH - TAG);
        if !self.seal.is_of(&self.sealed(purpose, head), tag) {
            return Err(NonceError::Seal);
        }

        let mut time = [0; TIME];
        time.copy_from_slice(&head[1..=TIME]);
        let issued = u64::from_be_bytes(time);
        match now.checked_sub(issued) {
            None => Err(NonceError::Future { issued, now }),
            Some(age) if age > MAX_AGE => Err(NonceError::Expired { age }),
            Some(_) => Ok(Fresh { issued }),
        }
    }

    /// What the tag covers. Each field carries its length, so no two different scopes give the same bytes.
    fn sealed(&self, purpose: Purpose, head: &[u8]) -> Vec<u8> {
        let class = self.class.to_string();
        let fields = [LABEL, self.trust_domain.as_str().as_bytes(), class.as_bytes(), purpose.tag().as_bytes(), head];
        let mut out = Vec::with_capacity(512);
        for field in fields {
            out.extend_from_slice(&(field.len() as u64).to_be_bytes());
            out.extend_from_slice(field);
        }
        out
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces")
            .field("trust_domain", &self.trust_domain)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

/// The key nonces are sealed with: 32 to 64 bytes, wiped when dropped, never printed.
pub struct NonceKey(Zeroizing<Vec<u8>>);

impl NonceKey {
    const MIN: usize = 32;
    const MAX: usize = 64;

    /// A fresh key. Nonces sealed with it die with the process.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system gives no random bytes.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new(vec![0; Self::MIN]);
        if !crypto::fill(&mut key) {
            return Err(NoRandomness);
        }
        Ok(Self(key))
    }

    /// A key that was derived for nothing else.
    #[must_use]
    pub fn derived(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(key.to_vec()))
    }

    /// A key from the text of a file: 64 to 128 hexadecimal digits, as `openssl rand -hex 32` writes them.
    /// A PEM file (the certificate key, by mistake) is not of this form, so the two keys cannot be the same.
    ///
    /// # Errors
    /// [`NonceKeyError`] when the text is anything else.
    pub fn from_hex(text: &[u8]) -> Result<Self, NonceKeyError> {
        let text = text.trim_ascii();
        if !(Self::MIN * 2..=Self::MAX * 2).contains(&text.len()) {
            return Err(NonceKeyError { found: text.len() });
        }
        let mut key = Zeroizing::new(vec![0; text.len() / 2]);
        if hex::decode_to_slice(text, &mut key).is_err() {
            key.zeroize();
            return Err(NonceKeyError { found: text.len() });
        }
        Ok(Self(key))
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(redacted)")
    }
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

/// The text of a nonce key is not 64 to 128 hexadecimal digits. Says only how long it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a nonce key is 64 to 128 hexadecimal digits (`openssl rand -hex 32`), found {found} characters of another form"
)]
pub struct NonceKeyError {
    /// Characters found, without the white space around them.
    pub found: usize,
}

/// Why a nonce was not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NonceError {
    /// Not the length of a nonce.
    #[error("a nonce has {expected} bytes, this one {found}")]
    Length {
        /// [`LENGTH`].
        expected: usize,
        /// Bytes received.
        found: usize,
    },
    /// Not sealed by this Steward for this trust domain, class and purpose, or changed since.
    #[error("not a nonce of this Steward, trust domain and purpose")]
    Seal,
    /// Older than [`MAX_AGE`].
    #[error("the nonce is {age} seconds old")]
    Expired {
        /// Age in seconds.
        age: u64,
    },
    /// From the future: clocks of Stewards that share a key differ, or ours was set back.
    #[error("the nonce was issued at {issued}, and it is {now}")]
    Future {
        /// Issue time, seconds since 1970.
        issued: u64,
        /// Our time, seconds since 1970.
        now: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn nonces(domain: &str, class: Class) -> Nonces {
        let key = NonceKey::from_hex(&[b'a'; 64]).unwrap();
        Nonces::new(&key, domain.parse().unwrap(), class)
    }

    #[test]
    fn rule_10_a_nonce_lives_five_minutes_and_not_a_second_more() {
        let nonces = nonces("example.org", Class::Hardware);
        let Challenge { nonce, expires } = nonces.seal(Purpose::Issue, NOW).unwrap();
        assert_eq!(expires, NOW + 300);
        let at = |now| nonces.open(Purpose::Issue, nonce.as_bytes(), now);

        assert_eq!(at(NOW).unwrap().issued(), NOW);
        assert_eq!(at(NOW + 300).unwrap().issued(), NOW);
        assert_eq!(at(NOW + 301), Err(NonceError::Expired { age: 301 }));
        assert_eq!(at(NOW - 1), Err(NonceError::Future { issued: NOW, now: NOW - 1 }));
    }

    #[test]
    fn rule_10_a_nonce_is_bound_to_trust_domain_class_and_purpose() {
        let nonce = nonces("example.org", Class::Hardware).seal(Purpose::Issue, NOW).unwrap().nonce;
        let open = |domain, class, purpose| nonces(domain, class).open(purpose, nonce.as_bytes(), NOW);

        assert!(open("example.org", Class::Hardware, Purpose::Issue).is_ok());
        assert_eq!(open("example.com", Class::Hardware, Purpose::Issue), Err(NonceError::Seal));
        assert_eq!(open("example.org", Class::Insecure, Purpose::Issue), Err(NonceError::Seal));
        assert_eq!(open("example.org", Class::Hardware, Purpose::Direct), Err(NonceError::Seal));
    }

    #[test]
    fn every_changed_bit_breaks_the_seal_and_every_other_length_is_refused() {
        let nonces = nonces("example.org", Class::Hardware);
        let nonce = nonces.seal(Purpose::Issue, NOW).unwrap().nonce;
        let nonce: [u8; LENGTH] = nonce.as_bytes().try_into().unwrap();
        assert!(nonces.open(Purpose::Issue, &nonce, NOW).is_ok());
        for bit in 0..LENGTH * 8 {
            let mut changed = nonce;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(nonces.open(Purpose::Issue, &changed, NOW), Err(NonceError::Seal), "bit {bit}");
        }
        for found in [0, 1, LENGTH - 1] {
            assert_eq!(
                nonces.open(Purpose::Issue, &nonce[..found], NOW),
                Err(NonceError::Length { expected: LENGTH, found })
            );
        }
    }

    #[test]
    fn two_nonces_of_one_second_differ() {
        let nonces = nonces("example.org", Class::Hardware);
        let one = nonces.seal(Purpose::Issue, NOW).unwrap();
        let two = nonces.seal(Purpose::Issue, NOW).unwrap();
        assert_eq!(one.expires, two.expires);
        assert_ne!(one.nonce, two.nonce);
    }

    #[test]
    fn rule_10_the_nonce_key_is_never_the_certificate_key_and_is_not_printed() {
        assert!(NonceKey::from_hex(&[b'0'; 64]).is_ok());
        assert!(NonceKey::from_hex(b"  00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n").is_ok());
        for bad in [&b"-----BEGIN PRIVATE KEY-----"[..], &[b'0'; 62], &[b'0'; 65], &[b'g'; 64], &[b'0'; 130]] {
            assert!(NonceKey::from_hex(bad).is_err());
        }
        let key = NonceKey::from_hex(&[b'7'; 64]).unwrap();
        assert_eq!(format!("{key:?}"), "NonceKey(redacted)");
        assert!(!format!("{:?}", nonces("example.org", Class::Hardware)).contains("key"));
    }
}
