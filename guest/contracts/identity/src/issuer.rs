//! Certificates of authorities: the Steward's root, and intermediates where an operator has them.
//!
//! Owns the root's profile and the reading of what may stand above a Keep's certificate. Refuses certificates that are not
//! marked as an authority's, that may not sign certificates, or that carry a constraint we do not evaluate (critical
//! extensions we do not know, name constraints).
//! Invariant: an [`Issuer`] is a well-formed authority certificate; whether anybody trusts it, `chain` decides.

use alloc::string::String;
use alloc::vec::Vec;

use workload::Digest;

use crate::asn1::{Der, Malformed, integer, tag, tlv};
use crate::keys::{Algorithm, KeyError, SignError, Signer, Verifier, key_digest, key_identifier};
use crate::x509::{self, Extension, Received, Tbs, oid};

/// What a Steward says about its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootTemplate {
    /// The subject's and issuer's common name, 1 to 64 bytes. An insecure Steward says so here.
    pub common_name: String,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds, inclusive.
    pub not_after: u64,
    /// Random; not all zero.
    pub serial: [u8; 16],
    /// How many authorities may stand between it and a Keep.
    pub path_len: u8,
}

/// An authority's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issuer {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Its subject, a Name in DER; not empty.
    pub subject: Vec<u8>,
    /// Its issuer, a Name in DER.
    pub issuer: Vec<u8>,
    /// Its key, SPKI in DER.
    pub spki: Vec<u8>,
    /// Its subject key identifier.
    pub key_id: Vec<u8>,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds, inclusive.
    pub not_after: u64,
    /// How many authorities may stand below it.
    pub path_len: Option<u8>,
}

/// Why bytes are not an authority's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// Not an X.509 v3 certificate signed with ECDSA.
    #[error("not an X.509 v3 certificate with an ECDSA signature: {0}")]
    Malformed(&'static str),
    /// The key is not P-256 or P-384.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// basicConstraints missing, not critical, or CA:FALSE.
    #[error("not marked as an authority (basicConstraints, critical, CA:TRUE)")]
    NotAuthority,
    /// keyUsage missing or without keyCertSign.
    #[error("it may not sign certificates (keyUsage, keyCertSign)")]
    KeyUsage,
    /// extendedKeyUsage without serverAuth and clientAuth.
    #[error("it may not sign certificates for TLS servers and clients (extendedKeyUsage)")]
    ExtendedKeyUsage,
    /// No subject: nothing below could name it.
    #[error("it has no subject")]
    NoSubject,
    /// No subjectKeyIdentifier.
    #[error("it has no subjectKeyIdentifier")]
    NoKeyId,
    /// A constraint we do not evaluate.
    #[error("it carries a constraint this reader does not evaluate")]
    UnknownConstraint,
}

impl From<Malformed> for IssuerError {
    fn from(Malformed(place): Malformed) -> Self {
        Self::Malformed(place)
    }
}

/// Why no root was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The common name is empty or longer than 64 bytes.
    #[error("a common name has 1 to 64 bytes")]
    CommonName,
    /// Dates in the wrong order, or beyond the year 9999.
    #[error("notBefore must lie before notAfter, both before the year 10000")]
    Dates,
    /// All zero.
    #[error("the serial number is zero")]
    Serial,
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

// keyUsage: digitalSignature (it signs EARs), keyCertSign, cRLSign.
const AUTHORITY_USAGE: &[u8] = &[tag::BIT_STRING, 2, 1, 0x86];
// Bit 5, keyCertSign, in the first byte of the bit string.
const KEY_CERT_SIGN: u8 = 0x04;

/// Makes the self-signed certificate of a Steward's key, DER.
///
/// # Errors
/// See [`RootError`].
pub fn root(template: &RootTemplate, signer: &dyn Signer) -> Result<Vec<u8>, RootError> {
    let RootTemplate { common_name, not_before, not_after, serial, path_len } = template;
    if serial.iter().all(|digit| *digit == 0) {
        return Err(RootError::Serial);
    }
    let key_id = key_identifier(signer.spki()).map_err(|_| SignError::Key)?;
    let subject = x509::common_name(common_name).ok_or(RootError::CommonName)?;
    let basic = tlv(tag::SEQUENCE, &[&[tag::BOOLEAN, 1, 0xff], &integer(&[*path_len])]);
    let key_id = tlv(tag::OCTET_STRING, &[&key_id]);
    let tbs = Tbs {
        serial,
        algorithm: signer.algorithm(),
        issuer: &subject,
        not_before: *not_before,
        not_after: *not_after,
        subject: &subject,
        spki: signer.spki(),
        extensions: [
            Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value: &basic },
            Extension { oid: oid::KEY_USAGE, critical: true, value: AUTHORITY_USAGE },
            Extension { oid: oid::SUBJECT_KEY_ID, critical: false, value: &key_id },
        ]
        .into(),
    };
    let tbs = tbs.encode().filter(|_| not_before < not_after).ok_or(RootError::Dates)?;
    Ok(x509::sign(&tbs, signer)?)
}

impl Issuer {
    /// Reads an authority's certificate, DER. Its signature is not looked at.
    ///
    /// # Errors
    /// See [`IssuerError`].
    pub fn read(der: &[u8]) -> Result<Self, IssuerError> {
        let Tbs { serial: _, algorithm: _, issuer, not_before, not_after, subject, spki, extensions } =
            Received::read(der)?.tbs;
        Algorithm::of(spki)?;
        if subject == [tag::SEQUENCE, 0] {
            return Err(IssuerError::NoSubject);
        }
        let (mut path_len, mut authority, mut may_sign, mut key_id) = (None, false, false, None);
        for Extension { oid, critical, value } in extensions {
            match oid {
                oid::BASIC_CONSTRAINTS => {
                    path_len = basic_constraints(value)?.ok_or(IssuerError::NotAuthority)?;
                    authority = critical;
                }
                oid::KEY_USAGE => may_sign = key_usage(value)? & KEY_CERT_SIGN != 0,
                oid::EXTENDED_KEY_USAGE => extended_key_usage(value)?,
                oid::SUBJECT_KEY_ID => {
                    let mut outer = Der::new(value);
                    key_id = Some(outer.take(tag::OCTET_STRING, "subjectKeyIdentifier")?);
                    outer.done("subjectKeyIdentifier")?;
                }
                // Read past it and the constraint would silently not hold.
                oid::NAME_CONSTRAINTS => return Err(IssuerError::UnknownConstraint),
                _ if critical => return Err(IssuerError::UnknownConstraint),
                _ => {}
            }
        }
        if !authority {
            return Err(IssuerError::NotAuthority);
        }
        if !may_sign {
            return Err(IssuerError::KeyUsage);
        }
        let key_id = key_id.filter(|id| !id.is_empty()).ok_or(IssuerError::NoKeyId)?.to_vec();
        let (der, subject, issuer, spki) = (der.to_vec(), subject.to_vec(), issuer.to_vec(), spki.to_vec());
        Ok(Self { der, subject, issuer, spki, key_id, not_before, not_after, path_len })
    }

    /// SHA-256 of its SPKI: what briefs and policies name an anchor by.
    #[must_use]
    pub fn key(&self) -> Digest {
        key_digest(&self.spki)
    }

    /// Whether it signed itself.
    #[must_use]
    pub fn is_self_signed(&self, verifier: &dyn Verifier) -> bool {
        self.subject == self.issuer
            && Received::read(&self.der).is_ok_and(|received| received.signed_by(&self.spki, verifier))
    }
}

/// Name with one common name.
/// `None` = not an authority, `Some(path length)` = one.
fn basic_constraints(value: &[u8]) -> Result<Option<Option<u8>>, Malformed> {
    let place = "basicConstraints";
    let mut outer = Der::new(value);
    let mut der = Der::new(outer.take(tag::SEQUENCE, place)?);
    outer.done(place)?;
    if !der.more() {
        return Ok(None);
    }
    if der.take(tag::BOOLEAN, place)? != [0xff] {
        return Err(Malformed(place));
    }
    let path_len = match der.more() {
        true => match der.unsigned(place)? {
            [length] => Some(*length),
            _ => return Err(Malformed(place)),
        },
        false => None,
    };
    der.done(place)?;
    Ok(Some(path_len))
}

/// The first eight named bits, bit 0 first.
fn key_usage(value: &[u8]) -> Result<u8, Malformed> {
    let place = "keyUsage";
    let mut der = Der::new(value);
    let bits = der.take(tag::BIT_STRING, place)?;
    der.done(place)?;
    match bits {
        [0..=7, first, ..] => Ok(*first),
        _ => Err(Malformed(place)),
    }
}

fn extended_key_usage(value: &[u8]) -> Result<(), IssuerError> {
    let place = "extendedKeyUsage";
    let mut outer = Der::new(value);
    let mut list = Der::new(outer.take(tag::SEQUENCE, place)?);
    outer.done(place)?;
    let (mut server, mut client) = (false, false);
    while list.more() {
        match list.take(tag::OID, place)? {
            oid::SERVER_AUTH => server = true,
            oid::CLIENT_AUTH => client = true,
            _ => {}
        }
    }
    if server && client { Ok(()) } else { Err(IssuerError::ExtendedKeyUsage) }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::testing::{NOW, P256, P384, Software};

    fn template() -> RootTemplate {
        RootTemplate {
            common_name: "Donjon test root".to_string(),
            not_before: NOW,
            not_after: NOW + 10,
            serial: [1; 16],
            path_len: 2,
        }
    }

    #[test]
    fn a_root_reads_back() {
        let signers: [&dyn Signer; 2] = [&P256::new(3), &P384::new(3)];
        for signer in signers {
            let issuer = Issuer::read(&root(&template(), signer).unwrap()).unwrap();
            assert_eq!((&issuer.spki[..], issuer.path_len), (signer.spki(), Some(2)));
            assert_eq!((issuer.not_before, issuer.not_after), (NOW, NOW + 10));
            assert!(issuer.is_self_signed(&Software));
        }
    }

    #[test]
    fn bad_templates_are_refused() {
        let refused = |change: fn(&mut RootTemplate)| {
            let mut changed = template();
            change(&mut changed);
            root(&changed, &P256::new(3)).unwrap_err()
        };
        assert_eq!(refused(|template| template.common_name.clear()), RootError::CommonName);
        assert_eq!(refused(|template| template.common_name = "x".repeat(65)), RootError::CommonName);
        assert_eq!(refused(|template| template.not_after = NOW), RootError::Dates);
        assert_eq!(refused(|template| template.not_after = u64::MAX), RootError::Dates);
        assert_eq!(refused(|template| template.serial = [0; 16]), RootError::Serial);
    }

    /// A self-signed certificate with whatever extensions.
    fn with(extensions: Vec<Extension<'_>>) -> Result<Issuer, IssuerError> {
        let key = P256::new(3);
        let subject = x509::common_name("x").unwrap();
        let tbs = Tbs {
            serial: &[1],
            algorithm: key.algorithm(),
            issuer: &subject,
            not_before: NOW,
            not_after: NOW + 1,
            subject: &subject,
            spki: key.spki(),
            extensions,
        };
        Issuer::read(&x509::sign(&tbs.encode().unwrap(), &key).unwrap())
    }

    #[test]
    fn only_authorities_are_authorities() {
        let basic = Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value: &[0x30, 3, 1, 1, 0xff] };
        let usage = Extension { oid: oid::KEY_USAGE, critical: true, value: AUTHORITY_USAGE };
        let key_id = Extension { oid: oid::SUBJECT_KEY_ID, critical: false, value: &[4, 1, 7] };
        assert!(with([basic, usage, key_id].into()).is_ok(), "control");
        assert_eq!(with([usage, key_id].into()), Err(IssuerError::NotAuthority));
        assert_eq!(
            with([Extension { critical: false, ..basic }, usage, key_id].into()),
            Err(IssuerError::NotAuthority)
        );
        assert_eq!(
            with([Extension { value: &[0x30, 0], ..basic }, usage, key_id].into()),
            Err(IssuerError::NotAuthority)
        );
        assert_eq!(with([basic, key_id].into()), Err(IssuerError::KeyUsage));
        assert_eq!(
            with([basic, Extension { value: &[3, 2, 7, 0x80], ..usage }, key_id].into()),
            Err(IssuerError::KeyUsage)
        );
        assert_eq!(with([basic, usage].into()), Err(IssuerError::NoKeyId));
        let unknown = Extension { oid: &[0x2a, 3], critical: true, value: &[5, 0] };
        assert_eq!(with([basic, usage, key_id, unknown].into()), Err(IssuerError::UnknownConstraint));
        assert!(with([basic, usage, key_id, Extension { critical: false, ..unknown }].into()).is_ok());
        let names = Extension { oid: oid::NAME_CONSTRAINTS, critical: false, value: &[0x30, 0] };
        assert_eq!(with([basic, usage, key_id, names].into()), Err(IssuerError::UnknownConstraint));
        assert_eq!(
            with([basic, usage, key_id, key_id].into()),
            Err(IssuerError::Malformed("the same extension twice"))
        );
        let mail = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 4];
        let mail = Extension { oid: oid::EXTENDED_KEY_USAGE, critical: false, value: &mail };
        assert_eq!(with([basic, usage, key_id, mail].into()), Err(IssuerError::ExtendedKeyUsage));
    }
}
