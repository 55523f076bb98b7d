//! A P-256 or P-384 private key in a token.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{SECP_256_R_1, SECP_384_R_1};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::{Decode as _, Encode as _};
use identity::keys::{Algorithm, SignError};
use zeroize::Zeroizing;

use crate::session::{Kind, Sessions};
use crate::{KeyUri, TokenError};

const PRIVATE: Kind = Kind { class: ObjectClass::PRIVATE_KEY, key: KeyType::EC, what: "private and public keys" };
const PUBLIC: Kind = Kind { class: ObjectClass::PUBLIC_KEY, ..PRIVATE };

/// A key that signs.
pub struct SigningKey {
    sessions: Sessions,
    algorithm: Algorithm,
    spki: Vec<u8>,
    /// Whether it did not sign when it was last asked.
    away: AtomicBool,
}

impl SigningKey {
    /// Finds the key and its public half; `pin` opens the token.
    ///
    /// # Errors
    /// [`TokenError`]; nothing of the PIN is in it.
    pub fn open(uri: &KeyUri, pin: Option<&Zeroizing<String>>) -> Result<Self, TokenError> {
        let sessions = Sessions::open(uri, pin, PRIVATE)?;
        let attributes = sessions.with(|session, _| {
            let public = sessions.one(session, PUBLIC)?;
            Ok(session.get_attributes(public, &[AttributeType::EcParams, AttributeType::EcPoint])?)
        })?;
        let (mut parameters, mut point) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::EcParams(bytes) => parameters = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        let curve = ObjectIdentifier::from_der(&parameters).map_err(|_| TokenError::Curve)?;
        let algorithm = match curve {
            SECP_256_R_1 => Algorithm::EcdsaP256Sha256,
            SECP_384_R_1 => Algorithm::EcdsaP384Sha384,
            _ => return Err(TokenError::Curve),
        };
        let spki = spki(curve, &point).ok_or(TokenError::Curve)?;
        if Algorithm::of(&spki) != Ok(algorithm) {
            return Err(TokenError::Curve);
        }
        Ok(Self { sessions, algorithm, spki, away: AtomicBool::new(false) })
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public half, SPKI in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether it signs; asks it, if it did not.
    #[must_use]
    pub fn available(&self) -> bool {
        !self.away.load(Ordering::Relaxed) || self.sign(b"donjon: is the key there?").is_ok()
    }

    /// `ECDSA-Sig-Value` in DER over the message.
    ///
    /// # Errors
    /// The token does not answer, or not with a signature.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signed = self.signed(message);
        self.away.store(signed.is_err(), Ordering::Relaxed);
        signed
    }

    fn signed(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let hash = match self.algorithm {
            Algorithm::EcdsaP256Sha256 => digest::digest(&digest::SHA256, message),
            Algorithm::EcdsaP384Sha384 => digest::digest(&digest::SHA384, message),
        };
        let signature = self.sessions.with(|session, key| Ok(session.sign(&Mechanism::Ecdsa, key, hash.as_ref())?));
        let signature = signature.map_err(|error| {
            tracing::error!(%error, "key");
            SignError::Unavailable
        })?;
        in_der(self.algorithm, &signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({:?})", self.sessions)
    }
}

/// SubjectPublicKeyInfo (RFC 5480 section 2) of a point as tokens have it: in an OCTET STRING, or as it is.
fn spki(curve: ObjectIdentifier, point: &[u8]) -> Option<Vec<u8>> {
    let point = <&OctetStringRef>::from_der(point).map_or(point, OctetStringRef::as_bytes);
    let algorithm = vec![const_oid::db::rfc5912::ID_EC_PUBLIC_KEY, curve].to_der().ok()?;
    let key = BitStringRef::from_bytes(point).ok()?.to_der().ok()?;
    vec![AnyRef::from_der(&algorithm).ok()?, AnyRef::from_der(&key).ok()?].to_der().ok()
}

/// Tokens give r and s, each of the curve's length (PKCS#11 section 2.3.1).
fn in_der(algorithm: Algorithm, signature: &[u8]) -> Result<Vec<u8>, SignError> {
    let half = match algorithm {
        Algorithm::EcdsaP256Sha256 => 32,
        Algorithm::EcdsaP384Sha384 => 48,
    };
    let (r, s) = signature.split_at_checked(half).filter(|(_, s)| s.len() == half).ok_or(SignError::Signature)?;
    let number = |bytes| UintRef::new(bytes).map_err(|_| SignError::Signature);
    vec![number(r)?, number(s)?].to_der().map_err(|_| SignError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_a_token_becomes_der() {
        let signature = [[0x80; 32], [0x01; 32]].concat();
        let der = in_der(Algorithm::EcdsaP256Sha256, &signature).unwrap();
        assert_eq!(der[..5], [0x30, 0x45, 0x02, 0x21, 0]);
        for length in [0, 63, 65, 96] {
            assert_eq!(in_der(Algorithm::EcdsaP256Sha256, &vec![1; length]), Err(SignError::Signature), "{length}");
        }
        assert!(in_der(Algorithm::EcdsaP384Sha384, &[1; 96]).is_ok());
    }
}
