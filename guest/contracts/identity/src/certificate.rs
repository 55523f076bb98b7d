//! The certificate of a Keep (trust rule 6, `spec/certificate.md`): the one form in which a Steward writes it and in which
//! anybody here reads it.
//!
//! Owns the profile. Refuses, when reading, every certificate that [`issue`] would not have made byte for byte from the same
//! facts, and EARs that speak of another key or name than the certificate. Nothing is ever copied from a CSR but the key.
//! Invariant: in a [`KeepCertificate`] key, name, EAR and dates fit each other. It is *not* verified: that is `chain`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use workload::Digest;
use workload::names::DnsName;

use crate::asn1::{Der, Malformed, tag, tlv};
use crate::ear::{EAR_MEDIA_TYPE, Ear, EarError, SignedEar};
use crate::issuer::Issuer;
use crate::keys::{Algorithm, KeyError, SignError, Signer, Verifier, key_digest, key_identifier};
use crate::names::SpiffeId;
use crate::x509::{self, Extension, Received, Tbs, oid};

/// The longest validity in seconds, both ends counted from the nonce: 24 hours.
pub const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// What a Steward decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The Keep's key, SPKI in DER: the only thing taken from the CSR.
    pub spki: Vec<u8>,
    /// The DNS names granted through a Deployment; none for an anonymous Keep.
    pub dns: Vec<DnsName>,
    /// Unix seconds: the nonce's time (trust rule 10).
    pub not_before: u64,
    /// Unix seconds, inclusive; at most [`MAX_LIFETIME`] later and not after the issuer's.
    pub not_after: u64,
    /// Never twice under one issuer; not all zero.
    pub serial: [u8; 16],
    /// The facts, the Keep's name among them, signed by the same key that signs the certificate.
    pub ear: SignedEar,
}

/// Why no certificate was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The signer does not hold the issuer's key.
    #[error("the issuer's certificate is for key {expected}, the signer holds {found}")]
    Issuer {
        /// The certificate's key.
        expected: Digest,
        /// The signer's.
        found: Digest,
    },
    /// The validity ends after the issuer's.
    #[error("the certificate would outlive its issuer, which ends at {issuer_not_after}")]
    OutlivesIssuer {
        /// Unix seconds.
        issuer_not_after: u64,
    },
    /// A DNS name that the name constraints above do not permit.
    #[error("the authority may not name {name}: its name constraints do not permit it")]
    Constrained {
        /// The first of them.
        name: DnsName,
    },
    /// A date beyond the year 9999.
    #[error("a date is beyond the year 9999")]
    Dates,
    /// The facts are not a certificate of our profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A Keep's certificate, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// The Keep's key, SPKI in DER.
    pub spki: Vec<u8>,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The Keep's name.
    pub id: SpiffeId,
    /// Its DNS names.
    pub dns: Vec<DnsName>,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds, inclusive.
    pub not_after: u64,
    /// Unsigned, big-endian.
    pub serial: Vec<u8>,
    /// The issuer, a Name in DER.
    pub issuer: Vec<u8>,
    /// The issuer's key identifier.
    pub issuer_key_id: Vec<u8>,
    /// The facts.
    pub ear: Ear,
    /// The same, as the issuer signed them.
    pub ear_jwt: String,
}

/// Why bytes are not a Keep's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not an X.509 v3 certificate signed with ECDSA, or a part of it is not what the profile has there.
    #[error("not a Keep's certificate (spec/certificate.md): {0}")]
    Malformed(&'static str),
    /// The key is not P-256 or P-384.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its subject is another than its name gives.
    #[error("its subject is not the common name that belongs to its SPIFFE ID")]
    Subject,
    /// It lacks an extension of the profile, has another, or in another order.
    #[error("it does not have exactly the extensions of the profile, in their order")]
    Extensions,
    /// An extension is not marked as the profile says, or does not say what it says.
    #[error("extension {0} is not as the profile has it")]
    Extension(&'static str),
    /// Not exactly one URI first, then DNS names in ascending order.
    #[error("the subject alternative names are not one SPIFFE ID and then DNS names, each once, in order")]
    Names,
    /// Longer than [`MAX_LIFETIME`], or the end before the beginning.
    #[error("it is valid for longer than {max} seconds, or never", max = MAX_LIFETIME)]
    Lifetime,
    /// Zero, or longer than 20 bytes.
    #[error("the serial number is zero or too long")]
    Serial,
    /// The EAR is none.
    #[error("EAR: {0}")]
    Ear(#[from] EarError),
    /// The EAR speaks of another key (`cnf`).
    #[error("the EAR is for key {found}, the certificate for {expected}")]
    Confirmation {
        /// The certificate's key.
        expected: Digest,
        /// The EAR's.
        found: Digest,
    },
    /// The EAR speaks of another Keep.
    #[error("the EAR is for {found}, the certificate for {expected}")]
    Id {
        /// The certificate's name.
        expected: Box<SpiffeId>,
        /// The EAR's.
        found: Box<SpiffeId>,
    },
    /// DNS names without a Deployment (trust rule 3).
    #[error("it has DNS names, but its Keep is anonymous")]
    NamesWithoutDeployment,
    /// Everything can be read, but it is not the one encoding.
    #[error("it is not the one encoding of its contents")]
    NotCanonical,
}

impl From<Malformed> for ProfileError {
    fn from(Malformed(place): Malformed) -> Self {
        Self::Malformed(place)
    }
}

// keyUsage: digitalSignature.
const KEEP_USAGE: &[u8] = &[tag::BIT_STRING, 2, 7, 0x80];
// basicConstraints: CA:FALSE is the default, so the sequence is empty.
const NOT_AUTHORITY: &[u8] = &[tag::SEQUENCE, 0];
const NO_NAME: &[u8] = &[tag::SEQUENCE, 0];

/// Makes and signs a Keep's certificate, DER.
///
/// # Errors
/// See [`IssueError`]; never a certificate that [`KeepCertificate::read`] would refuse, nor one that the name constraints do not
/// permit which `issuer` has, itself or by [`Issuer::under`].
pub fn issue(template: &Template, issuer: &Issuer, signer: &dyn Signer) -> Result<Vec<u8>, IssueError> {
    let Template { spki, dns, not_before, not_after, serial, ear } = template;
    if issuer.spki != signer.spki() {
        return Err(IssueError::Issuer { expected: issuer.key(), found: key_digest(signer.spki()) });
    }
    if *not_after > issuer.not_after {
        return Err(IssueError::OutlivesIssuer { issuer_not_after: issuer.not_after });
    }
    if let Some(name) = dns.iter().find(|name| !issuer.may_name(name)) {
        return Err(IssueError::Constrained { name: name.clone() });
    }
    let mut dns = dns.clone();
    dns.sort();
    dns.dedup();
    let facts = Facts {
        serial,
        algorithm: signer.algorithm(),
        issuer: &issuer.subject,
        issuer_key_id: &issuer.key_id,
        not_before: *not_before,
        not_after: *not_after,
        spki,
        id: &ear.facts().id,
        dns: &dns,
        ear_jwt: ear.jwt(),
    };
    facts.check(ear.facts())?;
    let tbs = facts.encode().map_err(ProfileError::from)?.ok_or(IssueError::Dates)?;
    let der = x509::sign(&tbs, signer)?;
    x509::bounded(&der).map_err(ProfileError::from)?;
    Ok(der)
}

impl KeepCertificate {
    /// Reads a Keep's certificate, DER, strictly by the profile. Neither its signature nor its dates are looked at.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn read(der: &[u8]) -> Result<Self, ProfileError> {
        let received = Received::read(der)?;
        let Tbs { serial, algorithm: signed_with, issuer, not_before, not_after, subject, spki, extensions } =
            &received.tbs;
        let (not_before, not_after) = (*not_before, *not_after);
        // Order and criticality are part of the profile; the fixed values are compared when it is encoded again.
        let [basic, usage, extended, own_id, issuer_id, names, cmw] = &extensions[..] else {
            return Err(ProfileError::Extensions);
        };
        for (extension, oid, critical, value, name) in [
            (basic, oid::BASIC_CONSTRAINTS, true, Some(NOT_AUTHORITY), "basicConstraints"),
            (usage, oid::KEY_USAGE, true, Some(KEEP_USAGE), "keyUsage"),
            (extended, oid::EXTENDED_KEY_USAGE, false, Some(&extended_key_usage()[..]), "extendedKeyUsage"),
            (own_id, oid::SUBJECT_KEY_ID, false, None, "subjectKeyIdentifier"),
            (issuer_id, oid::AUTHORITY_KEY_ID, false, None, "authorityKeyIdentifier"),
            (names, oid::SUBJECT_ALT_NAME, *subject == NO_NAME, None, "subjectAltName"),
            (cmw, oid::CMW, false, None, "id-pe-cmw"),
        ] {
            if extension.oid != oid {
                return Err(ProfileError::Extensions);
            }
            if extension.critical != critical || value.is_some_and(|value| value != extension.value) {
                return Err(ProfileError::Extension(name));
            }
        }
        let mut outer = Der::new(issuer_id.value);
        let mut issuer_key_id = Der::new(outer.take(tag::SEQUENCE, "authorityKeyIdentifier")?);
        let issuer_key_id = issuer_key_id.take(tag::implicit(0), "authorityKeyIdentifier")?;
        let (id, dns) = alternative_names(names.value)?;
        let ear_jwt = unwrap(cmw.value)?;
        let ear = Ear::parse(&ear_jwt)?;
        let facts = Facts {
            serial,
            algorithm: *signed_with,
            issuer,
            issuer_key_id,
            not_before,
            not_after,
            spki,
            id: &id,
            dns: &dns,
            ear_jwt: &ear_jwt,
        };
        let algorithm = facts.check(&ear)?;
        if *subject != subject_of(&id) {
            return Err(ProfileError::Subject);
        }
        if facts.encode()?.as_deref() != Some(received.signed()) {
            return Err(ProfileError::NotCanonical);
        }
        let (der, spki, serial) = (der.to_vec(), spki.to_vec(), serial.to_vec());
        let (issuer, issuer_key_id) = (issuer.to_vec(), issuer_key_id.to_vec());
        Ok(Self { der, spki, algorithm, id, dns, not_before, not_after, serial, issuer, issuer_key_id, ear, ear_jwt })
    }

    /// SHA-256 of the Keep's SPKI.
    #[must_use]
    pub fn key(&self) -> Digest {
        key_digest(&self.spki)
    }

    pub(crate) fn signed_by(&self, spki: &[u8], verifier: &dyn Verifier) -> bool {
        Received::read(&self.der).is_ok_and(|received| received.signed_by(spki, verifier))
    }
}

/// All that differs from one certificate to another.
struct Facts<'a> {
    serial: &'a [u8],
    algorithm: Algorithm,
    issuer: &'a [u8],
    issuer_key_id: &'a [u8],
    not_before: u64,
    not_after: u64,
    spki: &'a [u8],
    id: &'a SpiffeId,
    dns: &'a [DnsName],
    ear_jwt: &'a str,
}

impl Facts<'_> {
    /// Whether they fit each other and the EAR; the algorithm of the Keep's key.
    fn check(&self, ear: &Ear) -> Result<Algorithm, ProfileError> {
        let Self { serial, not_before, not_after, spki, id, dns, .. } = self;
        let algorithm = Algorithm::of(spki)?;
        if serial.len() > 20 || serial.iter().all(|digit| *digit == 0) {
            return Err(ProfileError::Serial);
        }
        if not_after.checked_sub(*not_before).is_none_or(|lifetime| lifetime > MAX_LIFETIME) {
            return Err(ProfileError::Lifetime);
        }
        let key = key_digest(spki);
        if ear.key != key {
            return Err(ProfileError::Confirmation { expected: key, found: ear.key });
        }
        if ear.id != **id {
            return Err(ProfileError::Id { expected: Box::new((*id).clone()), found: Box::new(ear.id.clone()) });
        }
        if id.is_anonymous() && !dns.is_empty() {
            return Err(ProfileError::NamesWithoutDeployment);
        }
        Ok(algorithm)
    }

    /// TBSCertificate; `None` if a date is beyond the year 9999.
    fn encode(&self) -> Result<Option<Vec<u8>>, KeyError> {
        let Self { serial, algorithm, issuer, issuer_key_id, not_before, not_after, spki, id, dns, ear_jwt } = self;
        let own_id = tlv(tag::OCTET_STRING, &[&key_identifier(spki)?]);
        let issuer_id = tlv(tag::SEQUENCE, &[&tlv(tag::implicit(0), &[issuer_key_id])]);
        // GeneralName (RFC 5280 section 4.2.1.6): dNSName [2], uniformResourceIdentifier [6].
        let mut names = tlv(tag::implicit(6), &[format!("{id}").as_bytes()]);
        for name in *dns {
            names.extend(tlv(tag::implicit(2), &[name.as_bytes()]));
        }
        let names = tlv(tag::SEQUENCE, &[&names]);
        let extended = extended_key_usage();
        let cmw = wrap(ear_jwt);
        let subject = subject_of(id);
        let tbs = Tbs {
            serial,
            algorithm: *algorithm,
            issuer,
            not_before: *not_before,
            not_after: *not_after,
            subject: &subject,
            spki,
            extensions: [
                Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value: NOT_AUTHORITY },
                Extension { oid: oid::KEY_USAGE, critical: true, value: KEEP_USAGE },
                Extension { oid: oid::EXTENDED_KEY_USAGE, critical: false, value: &extended },
                Extension { oid: oid::SUBJECT_KEY_ID, critical: false, value: &own_id },
                Extension { oid: oid::AUTHORITY_KEY_ID, critical: false, value: &issuer_id },
                // Critical where there is no subject (RFC 5280 section 4.2.1.6).
                Extension { oid: oid::SUBJECT_ALT_NAME, critical: subject == NO_NAME, value: &names },
                Extension { oid: oid::CMW, critical: false, value: &cmw },
            ]
            .into(),
        };
        Ok(tbs.encode())
    }
}

/// What software goes by that does not read URIs, unique in the trust domain as the ID is: `<deployment>/<role>`. Nothing where that
/// is longer than a common name may be.
fn subject_of(id: &SpiffeId) -> Vec<u8> {
    x509::common_name(&format!("{}/{}", id.deployment, id.role)).unwrap_or_else(|| NO_NAME.to_vec())
}

fn extended_key_usage() -> Vec<u8> {
    tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid::SERVER_AUTH]), &tlv(tag::OID, &[oid::CLIENT_AUTH])])
}

fn alternative_names(value: &[u8]) -> Result<(SpiffeId, Vec<DnsName>), ProfileError> {
    let mut outer = Der::new(value);
    let mut list = Der::new(outer.take(tag::SEQUENCE, "subjectAltName")?);
    let text = |bytes| core::str::from_utf8(bytes).map_err(|_| ProfileError::Names);
    let id = list.take(tag::implicit(6), "subjectAltName").map_err(|_| ProfileError::Names)?;
    let id = text(id)?.parse().map_err(|_| ProfileError::Names)?;
    let mut dns: Vec<DnsName> = Vec::new();
    while list.more() {
        let name = list.take(tag::implicit(2), "subjectAltName").map_err(|_| ProfileError::Names)?;
        let name = text(name)?.parse().map_err(|_| ProfileError::Names)?;
        if dns.last().is_some_and(|last| *last >= name) {
            return Err(ProfileError::Names);
        }
        dns.push(name);
    }
    Ok((id, dns))
}

/// The CMW record in JSON form (draft-ietf-rats-msg-wrap section 3.1) as UTF8String: `["<media type>","<base64url>"]`. The
/// media type is fixed, so the text is made and compared, never parsed.
fn wrap(jwt: &str) -> Vec<u8> {
    let [head, tail] = record();
    tlv(tag::UTF8_STRING, &[head.as_bytes(), URL_SAFE_NO_PAD.encode(jwt).as_bytes(), tail.as_bytes()])
}

fn unwrap(value: &[u8]) -> Result<String, ProfileError> {
    let mut der = Der::new(value);
    let text = der.take(tag::UTF8_STRING, "id-pe-cmw")?;
    let [head, tail] = record();
    text.strip_prefix(head.as_bytes())
        .and_then(|rest| rest.strip_suffix(tail.as_bytes()))
        .and_then(|middle| URL_SAFE_NO_PAD.decode(middle).ok())
        .and_then(|jwt| String::from_utf8(jwt).ok())
        .ok_or(ProfileError::Extension("id-pe-cmw"))
}

fn record() -> [String; 2] {
    [format!("[\"{}\",\"", EAR_MEDIA_TYPE.replace('"', "\\\"")), String::from("\"]")]
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::keys::Signer;
    use crate::testing::{NOW, P256, P384, Software, ear, root, template};

    fn issued(keep: &dyn Signer, steward: &dyn Signer) -> Vec<u8> {
        let issuer = Issuer::read(&root(steward)).unwrap();
        issue(&template(keep, &ear(keep), steward), &issuer, steward).unwrap()
    }

    /// The same certificate with something else in it, properly signed.
    fn changed(change: impl FnOnce(&mut Tbs<'_>)) -> Result<KeepCertificate, ProfileError> {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let der = issued(&keep, &steward);
        let mut tbs = Received::read(&der).unwrap().tbs;
        change(&mut tbs);
        KeepCertificate::read(&x509::sign(&tbs.encode().unwrap(), &steward).unwrap())
    }

    fn with_ear(change: impl FnOnce(&mut Ear)) -> Result<Vec<u8>, IssueError> {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let mut facts = ear(&keep);
        change(&mut facts);
        issue(&template(&keep, &facts, &steward), &Issuer::read(&root(&steward)).unwrap(), &steward)
    }

    #[test]
    fn rule_6_what_is_issued_reads_back() {
        let keys: [&dyn Signer; 2] = [&P256::new(7), &P384::new(7)];
        let stewards: [&dyn Signer; 2] = [&P256::new(3), &P384::new(3)];
        for keep in keys {
            for steward in stewards {
                let read = KeepCertificate::read(&issued(keep, steward)).unwrap();
                assert_eq!((&read.spki[..], read.algorithm), (keep.spki(), keep.algorithm()));
                assert_eq!(read.ear, ear(keep));
                assert_eq!(format!("{}", read.id), "spiffe://example.org/shop/web");
                assert_eq!(read.dns, ["shop.example.org"]);
                assert_eq!((read.not_before, read.not_after), (NOW - 60, NOW + 3600));
                assert!(read.signed_by(steward.spki(), &Software));
                assert!(!read.signed_by(keep.spki(), &Software));
            }
        }
    }

    #[test]
    fn rule_6_exactly_the_extensions_of_the_profile() {
        assert!(changed(|_| {}).is_ok(), "control");
        let oids = [
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::SUBJECT_KEY_ID,
            oid::AUTHORITY_KEY_ID,
            oid::SUBJECT_ALT_NAME,
            oid::CMW,
        ];
        for (index, oid) in oids.into_iter().enumerate() {
            assert_eq!(changed(|tbs| tbs.extensions.retain(|kept| kept.oid != oid)), Err(ProfileError::Extensions));
            assert!(matches!(changed(|tbs| tbs.extensions[index].critical ^= true), Err(ProfileError::Extension(_))));
        }
        assert_eq!(changed(|tbs| tbs.extensions.swap(0, 1)), Err(ProfileError::Extensions));
        let netscape = Extension { oid: &[0x2a, 3, 4], critical: false, value: &[5, 0] };
        assert_eq!(changed(|tbs| tbs.extensions.push(netscape)), Err(ProfileError::Extensions));
        let authority = &[tag::SEQUENCE, 3, 1, 1, 0xff];
        assert_eq!(
            changed(|tbs| tbs.extensions[0].value = authority),
            Err(ProfileError::Extension("basicConstraints"))
        );
        let sign_certificates = &[3, 2, 2, 4];
        assert_eq!(
            changed(|tbs| tbs.extensions[1].value = sign_certificates),
            Err(ProfileError::Extension("keyUsage"))
        );
        let server_only = tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid::SERVER_AUTH])]);
        let error = Err(ProfileError::Extension("extendedKeyUsage"));
        let (keep, steward) = (P256::new(7), P256::new(3));
        let der = issued(&keep, &steward);
        let mut tbs = Received::read(&der).unwrap().tbs;
        tbs.extensions[2].value = &server_only;
        assert_eq!(KeepCertificate::read(&x509::sign(&tbs.encode().unwrap(), &steward).unwrap()), error);
        // The key identifier of another key, and one with the issuer's name beside the identifier.
        assert_eq!(changed(|tbs| tbs.extensions[3].value = &[4, 2, 1, 2]), Err(ProfileError::NotCanonical));
        let two = &[tag::SEQUENCE, 6, 0x80, 1, 1, 0x82, 1, 1];
        assert_eq!(changed(|tbs| tbs.extensions[4].value = two), Err(ProfileError::NotCanonical));
    }

    #[test]
    fn rule_6_exactly_one_spiffe_id() {
        let name = |parts: &[(u8, &str)]| -> Vec<u8> {
            let parts: Vec<u8> =
                parts.iter().flat_map(|(number, text)| tlv(tag::implicit(*number), &[text.as_bytes()])).collect();
            tlv(tag::SEQUENCE, &[&parts])
        };
        let with = |parts: &[(u8, &str)]| {
            let value = name(parts);
            let (keep, steward) = (P256::new(7), P256::new(3));
            let der = issued(&keep, &steward);
            let mut tbs = Received::read(&der).unwrap().tbs;
            tbs.extensions[5].value = &value;
            KeepCertificate::read(&x509::sign(&tbs.encode().unwrap(), &steward).unwrap()).map(|read| read.dns.len())
        };
        let id = (6, "spiffe://example.org/shop/web");
        assert_eq!(with(&[id, (2, "a.example"), (2, "b.example")]), Ok(2), "control");
        for bad in [
            &[][..],
            &[(2, "a.example")],
            &[id, id],
            &[id, (6, "https://example.org/")],
            &[(2, "a.example"), id],
            &[id, (2, "b.example"), (2, "a.example")],
            &[id, (2, "a.example"), (2, "a.example")],
            &[id, (2, "*.example")],
            &[id, (1, "keep@example.org")],
            &[id, (7, "\x7f\0\0\x01")],
            &[(6, "spiffe://example.org/shop")],
        ] {
            assert_eq!(with(bad), Err(ProfileError::Names), "{bad:?}");
        }
        assert!(matches!(with(&[(6, "spiffe://example.org/shop/db")]), Err(ProfileError::Id { .. })));
    }

    #[test]
    fn rule_6_the_subject_is_the_name_where_that_is_short_enough() {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let issuer = Issuer::read(&root(&steward)).unwrap();
        let subject = |deployment: &str| {
            let mut facts = ear(&keep);
            facts.id.deployment = deployment.parse().unwrap();
            let der = issue(&template(&keep, &facts, &steward), &issuer, &steward).unwrap();
            assert_eq!(KeepCertificate::read(&der).unwrap().id, facts.id);
            let tbs = Received::read(&der).unwrap().tbs;
            (tbs.subject.to_vec(), tbs.extensions[5].critical)
        };
        assert_eq!(subject("shop"), (x509::common_name("shop/web").unwrap(), false));
        let longest = "s".repeat(60);
        assert_eq!(subject(&longest), (x509::common_name(&format!("{longest}/web")).unwrap(), false));
        assert_eq!(subject(&"s".repeat(61)), (NO_NAME.to_vec(), true));

        let other = x509::common_name("shop/db").unwrap();
        let (der, mut set) = (issued(&keep, &steward), vec![]);
        for subject in [&other[..], &[tag::SEQUENCE, 2, tag::SET, 0]] {
            let mut tbs = Received::read(&der).unwrap().tbs;
            tbs.subject = subject;
            set.push(KeepCertificate::read(&x509::sign(&tbs.encode().unwrap(), &steward).unwrap()));
        }
        assert_eq!(set, [Err(ProfileError::Subject), Err(ProfileError::Subject)]);
        let unnamed = changed(|tbs| {
            tbs.subject = NO_NAME;
            tbs.extensions[5].critical = true;
        });
        assert_eq!(unnamed, Err(ProfileError::Subject));
    }

    #[test]
    fn rule_6_the_ear_is_bound_to_the_key() {
        assert!(with_ear(|_| {}).is_ok(), "control");
        let error = with_ear(|ear| ear.key = Digest::of(b"another key"));
        assert!(matches!(error, Err(IssueError::Profile(ProfileError::Confirmation { .. }))));
    }

    #[test]
    fn rule_3_no_dns_name_without_a_deployment() {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let issuer = Issuer::read(&root(&steward)).unwrap();
        let mut facts = ear(&keep);
        facts.owner = None;
        facts.id = SpiffeId::anonymous(facts.id.trust_domain).unwrap();
        let mut template = template(&keep, &facts, &steward);
        let read = KeepCertificate::read(&issue(&template, &issuer, &steward).unwrap()).unwrap();
        assert!(read.id.is_anonymous() && read.dns.is_empty() && read.ear.owner.is_none(), "control");
        template.dns = vec!["shop.example.org".parse().unwrap()];
        assert_eq!(issue(&template, &issuer, &steward), Err(IssueError::Profile(ProfileError::NamesWithoutDeployment)));
    }

    #[test]
    fn rule_10_dates_have_bounds() {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let issuer = Issuer::read(&root(&steward)).unwrap();
        let made = |from: u64, to: u64| {
            let mut template = template(&keep, &ear(&keep), &steward);
            (template.not_before, template.not_after) = (from, to);
            issue(&template, &issuer, &steward).map(drop)
        };
        assert_eq!(made(NOW, NOW + MAX_LIFETIME), Ok(()), "control");
        assert_eq!(made(NOW, NOW + MAX_LIFETIME + 1), Err(IssueError::Profile(ProfileError::Lifetime)));
        assert_eq!(made(NOW + 1, NOW), Err(IssueError::Profile(ProfileError::Lifetime)));
        let end = issuer.not_after;
        assert_eq!(made(end, end + 1), Err(IssueError::OutlivesIssuer { issuer_not_after: end }));
    }

    #[test]
    fn rule_6_whatever_is_issued_is_read_and_what_nobody_would_read_is_not_issued() {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let issuer = Issuer::read(&root(&steward)).unwrap();
        let made = |names: usize, words: usize| {
            let mut facts = ear(&keep);
            facts.id.deployment = "d".repeat(63).parse().unwrap();
            facts.tcb = "\"\\\u{7}\u{2028}ü".repeat(words);
            facts.advisories = vec![facts.tcb.clone(); 2];
            let mut template = template(&keep, &facts, &steward);
            let name = |number| format!("{number:0>63}.{}.example.org", "n".repeat(63)).parse().unwrap();
            // Neither sorted nor each once.
            template.dns = (0..names).chain(0..names).rev().map(name).collect();
            let der = issue(&template, &issuer, &steward)?;
            let read = KeepCertificate::read(&der).unwrap();
            assert_eq!((&read.ear, read.dns.len()), (&facts, names));
            Ok(der.len())
        };
        for names in [0, 1, 2, 100] {
            for words in [0, 1, 30] {
                assert!(made(names, words).is_ok_and(|length| length <= x509::CERTIFICATE_LIMIT), "{names}, {words}");
            }
        }
        let too_long = Err(IssueError::Profile(ProfileError::Malformed("length")));
        let refused = (100..300).map(|names| made(names, 1)).find(Result::is_err);
        assert_eq!(refused, Some(too_long));
    }

    #[test]
    fn other_faults_are_called_by_name() {
        assert_eq!(changed(|tbs| tbs.serial = &[0]), Err(ProfileError::Serial));
        assert_eq!(changed(|tbs| tbs.serial = &[1; 21]), Err(ProfileError::Serial));
        assert!(changed(|tbs| tbs.serial = &[1; 20]).is_ok(), "control");
        let (keep, steward) = (P256::new(7), P256::new(3));
        let issuer = Issuer::read(&root(&steward)).unwrap();
        let template = template(&keep, &ear(&keep), &steward);
        let error = issue(&template, &issuer, &P256::new(4));
        assert!(matches!(error, Err(IssueError::Issuer { .. })));
        let zero = Template { serial: [0; 16], ..template };
        assert_eq!(issue(&zero, &issuer, &steward), Err(IssueError::Profile(ProfileError::Serial)));
    }

    #[test]
    fn every_changed_byte_is_refused_or_unsigned() {
        let steward = P256::new(3);
        let der = issued(&P256::new(7), &steward);
        let good = |der: &[u8]| KeepCertificate::read(der).is_ok_and(|read| read.signed_by(steward.spki(), &Software));
        assert!(good(&der), "control");
        // Every byte of the structure; inside the long EAR every seventh, because each try may cost a signature check.
        for at in (0..der.len()).filter(|at| *at < 500 || *at + 120 > der.len() || at.is_multiple_of(7)) {
            let mut changed = der.clone();
            changed[at] ^= 0x01;
            assert!(!good(&changed), "byte {at}");
        }
        for length in 0..der.len() {
            assert!(!good(&der[..length]), "cut at {length}");
        }
        assert!(matches!(KeepCertificate::read(&[&der[..], &[0]].concat()), Err(ProfileError::Malformed(_))));
        assert_eq!(KeepCertificate::read(&vec![0x30; 40_000]), Err(ProfileError::Malformed("length")));
    }
}
