//! Certificates of authorities: the Steward's root, and intermediates where an operator has them.
//!
//! Owns the root's profile and the reading of what may stand above a Keep's certificate. Refuses certificates that are not
//! marked as an authority's, that may not sign certificates, or that carry a constraint we do not evaluate (critical
//! extensions we do not know, name constraints of another form than `constraints` has).
//! Invariant: an [`Issuer`] is a well-formed authority certificate; whether anybody trusts it, `chain` decides.

use alloc::string::String;
use alloc::vec::Vec;

use workload::Digest;
use workload::names::DnsName;

use crate::asn1::{Der, Malformed, integer, tag, tlv};
use crate::constraints::NameConstraints;
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
    /// The DNS names it is for, with all below them; any, if none is named.
    pub dns: Vec<DnsName>,
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
    /// Its own name constraints first, then those of whom it was put [`Issuer::under`].
    constraints: Vec<NameConstraints>,
    /// Whether it has a DNS name itself.
    named: bool,
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
    /// Name constraints of another form than the one that is evaluated.
    #[error("its name constraints are not subtrees of DNS names, critical, and nothing else: {0}")]
    NameConstraints(&'static str),
    /// An authority that has DNS names, below one with name constraints: they would be about these, too.
    #[error("it has a DNS name itself, below name constraints")]
    Named,
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
    /// Nobody would read it.
    #[error(transparent)]
    Profile(IssuerError),
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
    let RootTemplate { common_name, not_before, not_after, serial, path_len, dns } = template;
    if serial.iter().all(|digit| *digit == 0) {
        return Err(RootError::Serial);
    }
    let key_id = key_identifier(signer.spki()).map_err(|_| SignError::Key)?;
    let subject = x509::common_name(common_name).ok_or(RootError::CommonName)?;
    let basic = tlv(tag::SEQUENCE, &[&[tag::BOOLEAN, 1, 0xff], &integer(&[*path_len])]);
    let key_id = tlv(tag::OCTET_STRING, &[&key_id]);
    let constraints = NameConstraints::permitting(dns.clone());
    let names = constraints.encode();
    let tbs = Tbs {
        serial,
        algorithm: signer.algorithm(),
        issuer: &subject,
        not_before: *not_before,
        not_after: *not_after,
        subject: &subject,
        spki: signer.spki(),
        extensions: [
            Some(Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value: &basic }),
            Some(Extension { oid: oid::KEY_USAGE, critical: true, value: AUTHORITY_USAGE }),
            Some(Extension { oid: oid::NAME_CONSTRAINTS, critical: true, value: &names })
                .filter(|_| !constraints.is_empty()),
            Some(Extension { oid: oid::SUBJECT_KEY_ID, critical: false, value: &key_id }),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let tbs = tbs.encode().filter(|_| not_before < not_after).ok_or(RootError::Dates)?;
    let der = x509::sign(&tbs, signer)?;
    // What readers would refuse must not leave the house: more names than are compared.
    Issuer::read(&der).map_err(RootError::Profile)?;
    Ok(der)
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
        let (mut constraints, mut named) = (Vec::new(), false);
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
                // Others would read past it: RFC 5280 has it critical.
                oid::NAME_CONSTRAINTS if !critical => return Err(IssuerError::NameConstraints("not critical")),
                oid::NAME_CONSTRAINTS => constraints.push(NameConstraints::read(value)?),
                oid::SUBJECT_ALT_NAME if !critical => named = has_dns_name(value)?,
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
        Ok(Self { der, subject, issuer, spki, key_id, not_before, not_after, path_len, constraints, named })
    }

    /// The same, as it stands below `above`: whom that one may not name, this one may not name either (RFC 5280 section 6.1.4).
    ///
    /// # Errors
    /// [`IssuerError::Named`].
    pub fn under(mut self, above: &Self) -> Result<Self, IssuerError> {
        if self.named && !above.constraints.is_empty() {
            return Err(IssuerError::Named);
        }
        self.constraints.extend(above.constraints.iter().cloned());
        Ok(self)
    }

    /// Its name constraints, and those of whom it was put [`Issuer::under`]; a Keep below it has only names that all of them permit.
    #[must_use]
    pub fn constraints(&self) -> &[NameConstraints] {
        &self.constraints
    }

    /// Whether a Keep below it may have this name.
    #[must_use]
    pub fn may_name(&self, name: &DnsName) -> bool {
        self.constraints.iter().all(|constraints| constraints.permit(name))
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

/// Whether there is a dNSName among these GeneralNames; each has a tag of its own.
fn has_dns_name(value: &[u8]) -> Result<bool, Malformed> {
    let place = "subjectAltName";
    let mut outer = Der::new(value);
    let mut names = Der::new(outer.take(tag::SEQUENCE, place)?);
    outer.done(place)?;
    let mut found = false;
    while names.more() {
        found |= names.next_is(tag::implicit(2));
        names.skip(place)?;
    }
    Ok(found)
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
            dns: Vec::new(),
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

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn a_root_is_for_the_names_it_says() {
        let with = |dns: &[&str]| {
            let dns = dns.iter().map(|text| name(text)).collect();
            root(&RootTemplate { dns, ..template() }, &P256::new(3)).map(|der| Issuer::read(&der).unwrap())
        };
        let (any, org) = (with(&[]).unwrap(), with(&["example.org"]).unwrap());
        assert!(any.constraints().is_empty() && any.may_name(&name("example.com")));
        assert!(org.may_name(&name("shop.example.org")) && !org.may_name(&name("example.com")));
        // Narrower below, never wider.
        let shop = with(&["shop.example.org", "example.com"]).unwrap().under(&org).unwrap();
        assert!(shop.may_name(&name("www.shop.example.org")));
        assert!(!shop.may_name(&name("bank.example.org")) && !shop.may_name(&name("example.com")));
        let unsaid = with(&[]).unwrap().under(&org).unwrap();
        assert!(unsaid.may_name(&name("bank.example.org")) && !unsaid.may_name(&name("example.com")));
        let many: Vec<_> = (0..65).map(|number| alloc::format!("a{number}.org")).collect();
        let many: Vec<_> = many.iter().map(|text| &**text).collect();
        assert!(with(&many[..64]).is_ok(), "control");
        assert!(matches!(with(&many), Err(RootError::Profile(IssuerError::NameConstraints(_)))));
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
        let names = Extension { oid: oid::NAME_CONSTRAINTS, critical: true, value: &[0x30, 0] };
        let malformed = Err(IssuerError::Malformed("nameConstraints"));
        assert_eq!(with([basic, usage, key_id, names].into()), malformed);
        let value = b"\x30\x0b\xa0\x09\x30\x07\x82\x05a.org";
        let constrained = with([basic, usage, key_id, Extension { value, ..names }].into()).unwrap();
        assert!(constrained.may_name(&name("www.a.org")) && !constrained.may_name(&name("b.org")));
        assert_eq!(
            with([basic, usage, key_id, Extension { value, critical: false, ..names }].into()),
            Err(IssuerError::NameConstraints("not critical"))
        );
        assert_eq!(
            with([basic, usage, key_id, key_id].into()),
            Err(IssuerError::Malformed("the same extension twice"))
        );
        // Names of its own count below constraints only.
        let of = |value| Extension { oid: oid::SUBJECT_ALT_NAME, critical: false, value };
        let dns = with([basic, usage, key_id, of(b"\x30\x0a\x86\x01u\x82\x05a.org")].into()).unwrap();
        let uri = with([basic, usage, key_id, of(b"\x30\x03\x86\x01u")].into()).unwrap();
        assert_eq!(dns.clone().under(&constrained), Err(IssuerError::Named));
        assert!(dns.under(&uri).is_ok() && uri.under(&constrained).is_ok());
        let mail = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 4];
        let mail = Extension { oid: oid::EXTENDED_KEY_USAGE, critical: false, value: &mail };
        assert_eq!(with([basic, usage, key_id, mail].into()), Err(IssuerError::ExtendedKeyUsage));
    }
}
