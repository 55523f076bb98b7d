//! Signed texts: JWS in compact form (RFC 7515), with ES256 or ES384 and one header for each kind of text and each key.
//!
//! Owns the header, which is made and compared, never parsed. Refuses other algorithms, other header members, padding.
//! Invariant: the bytes that were signed are the bytes that are returned.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use workload::Digest;

use crate::keys::{self, Algorithm, SignError, Signer, Verifier, key_digest};

/// Why a text is not what its signer is said to have signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not three parts of base64url, or another header than ours.
    #[error("not signed with ES256 or ES384 as spec/certificate.md has it: {0}")]
    Form(&'static str),
    /// Signed by another key.
    #[error("it is signed by key {found:?}, expected {expected}")]
    Key {
        /// The signer's.
        expected: Digest,
        /// What the header names; at most 100 characters of it.
        found: String,
    },
    /// The signature is wrong.
    #[error("its signature does not verify")]
    Signature,
}

/// Signs a payload as a text of this type.
///
/// # Errors
/// A key that does not sign.
pub fn sign(kind: &str, payload: &[u8], signer: &dyn Signer) -> Result<String, SignError> {
    let header = header(kind, signer.algorithm(), &key_digest(signer.spki()));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = keys::sign_fixed(signer, message.as_bytes())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The payload of a text of this type that the key of `spki` signed.
///
/// # Errors
/// See [`JwsError`].
pub fn open(kind: &str, text: &str, spki: &[u8], verifier: &dyn Verifier) -> Result<Vec<u8>, JwsError> {
    let Jws { algorithm, key, message, payload, signature } = Jws::split(kind, text)?;
    let expected = key_digest(spki);
    if key != URL_SAFE_NO_PAD.encode(expected.as_bytes()) {
        return Err(JwsError::Key { expected, found: key.chars().take(100).collect() });
    }
    if !keys::verify_fixed(verifier, algorithm, spki, message.as_bytes(), &signature) {
        return Err(JwsError::Signature);
    }
    Ok(payload)
}

fn header(kind: &str, algorithm: Algorithm, key: &Digest) -> String {
    let kid = URL_SAFE_NO_PAD.encode(key.as_bytes());
    format!(r#"{{"alg":"{}","kid":"{kid}","typ":"{kind}"}}"#, algorithm.jose())
}

/// A text whose signature nobody has looked at.
pub(crate) struct Jws<'a> {
    algorithm: Algorithm,
    key: String,
    message: &'a str,
    pub(crate) payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub(crate) fn split(kind: &str, text: &'a str) -> Result<Self, JwsError> {
        let (message, signature) = text.rsplit_once('.').ok_or(JwsError::Form("three parts"))?;
        let (head, payload) = message.split_once('.').ok_or(JwsError::Form("three parts"))?;
        let decode = |part, place| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Form(place));
        let (head, payload, signature) =
            (decode(head, "header")?, decode(payload, "payload")?, decode(signature, "signature")?);
        let end = format!(r#"","typ":"{kind}"}}"#);
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
            let key = head
                .strip_prefix(format!(r#"{{"alg":"{}","kid":""#, algorithm.jose()).as_bytes())
                .and_then(|rest| rest.strip_suffix(end.as_bytes()))
                .and_then(|key| core::str::from_utf8(key).ok());
            if let Some(key) = key {
                return Ok(Self { algorithm, key: key.to_string(), message, payload, signature });
            }
        }
        Err(JwsError::Form("header"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{P256, P384, Software};

    #[test]
    fn what_was_signed_comes_back_from_its_signer_only() {
        let signers: [&dyn Signer; 2] = [&P256::new(1), &P384::new(1)];
        for signer in signers {
            let text = sign("x", b"payload", signer).unwrap();
            let open = |kind, spki| open(kind, &text, spki, &Software);
            assert_eq!(open("x", signer.spki()), Ok(b"payload".to_vec()));
            assert_eq!(open("y", signer.spki()), Err(JwsError::Form("header")), "another kind of text");
            let other = P256::new(2);
            assert!(matches!(open("x", other.spki()), Err(JwsError::Key { .. })));
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert!(super::open("x", &changed, signer.spki(), &Software).is_err(), "{at}");
            }
        }
    }
}
