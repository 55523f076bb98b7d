//! Certificate revocation lists (RFC 5280 section 5), full and direct ones only.
//!
//! A list without `nextUpdate` would never grow stale and is refused; so are delta and indirect
//! lists, whose critical extensions would change the meaning of an absent serial.

use super::{PkiError, Scheme, Signed, bounded, distinct, unix};
use crate::provider::Provider;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::Decode;
use x509_cert::Version;
use x509_cert::crl::CertificateList;
use x509_cert::ext::Extensions;
use x509_cert::name::Name;

/// Longest revocation list that is looked at; AMD's are under 1 KiB today, Intel's under 4 KiB.
pub const MAX_CRL: usize = 1024 * 1024;

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    issuer: Name,
    this_update: u64,
    next_update: u64,
    revoked: Vec<Vec<u8>>,
    signed: Signed,
}

impl Crl {
    /// Parses exactly one DER CertificateList of at most [`MAX_CRL`] bytes, signed with `scheme`.
    pub fn parse(der: &[u8], scheme: Scheme) -> Result<Self, PkiError> {
        bounded(der, MAX_CRL)?;
        let signed = Signed::split(der, scheme)?;
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der)?.tbs_cert_list;
        if list.version != Version::V2 {
            return Err(PkiError::Version);
        }
        signed.algorithm(&list.signature)?;
        understood(list.crl_extensions.as_ref())?;
        let this_update = unix(list.this_update);
        let next_update = list.next_update.map(unix).ok_or(PkiError::Validity)?;
        if next_update < this_update {
            return Err(PkiError::Validity);
        }
        let mut revoked = Vec::new();
        for entry in list.revoked_certificates.unwrap_or_default() {
            understood(entry.crl_entry_extensions.as_ref())?;
            revoked.push(entry.serial_number.as_bytes().to_vec());
        }
        Ok(Self { issuer: list.issuer, this_update, next_update, revoked, signed })
    }

    /// Who issued the list.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// When it was issued, unix time.
    pub fn this_update(&self) -> u64 {
        self.this_update
    }

    /// The last second it may be relied on, unix time.
    pub fn next_update(&self) -> u64 {
        self.next_update
    }

    /// True from `thisUpdate` to `nextUpdate`, both included.
    pub fn valid_at(&self, now: u64) -> bool {
        (self.this_update..=self.next_update).contains(&now)
    }

    /// Whether this serial (content bytes as [`super::Certificate::serial`]) is listed.
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.iter().any(|revoked| revoked == serial)
    }

    /// True if `issuer_spki` signed this list.
    pub fn signed_by(&self, issuer_spki: &[u8], provider: &dyn Provider) -> bool {
        self.signed.verifies(issuer_spki, provider)
    }
}

/// No extension twice, none critical: every critical extension of a list or entry (issuing
/// distribution point, delta indicator, certificate issuer) narrows what the list speaks about.
fn understood(extensions: Option<&Extensions>) -> Result<(), PkiError> {
    distinct(extensions)?;
    for extension in extensions.into_iter().flatten() {
        let oid: ObjectIdentifier = extension.extn_id;
        if extension.critical
            || oid == rfc5280::ID_CE_DELTA_CRL_INDICATOR
            || oid == rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT
            || oid == rfc5280::ID_CE_CERTIFICATE_ISSUER
        {
            return Err(PkiError::CriticalExtension(oid));
        }
    }
    Ok(())
}
