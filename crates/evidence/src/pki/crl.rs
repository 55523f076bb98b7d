//! Certificate revocation lists (RFC 5280 section 5), full and direct ones only.
//!
//! A list without `nextUpdate` would never grow stale and is refused; so are delta and indirect
//! lists, whose critical extensions would change the meaning of an absent serial.

use super::{PkiError, Scheme, Signed, bounded, distinct, unix};
use crate::provider::Provider;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{AnyRef, GeneralizedTime, IntRef, UtcTime};
use der::{Decode, Sequence, Tag, Tagged};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Version;
use x509_cert::ext::Extensions;
use x509_cert::name::Name;
use x509_cert::time::Time;

/// Longest revocation list that is looked at; AMD's are under 1 KiB today, Intel's under 4 KiB.
pub const MAX_CRL: usize = 128 * 1024;

/// Longest serial number (RFC 5280 section 4.1.2.2: 20 bytes, to which some add one for the sign).
const MAX_SERIAL: usize = 21;

/// TBSCertList (RFC 5280 section 5.1): entries are borrowed, of which a list may have thousands.
#[derive(Sequence)]
struct Body<'a> {
    version: Version,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    this_update: Time,
    next_update: Option<Time>,
    revoked: Option<Vec<Entry<'a>>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Entry<'a> {
    serial: IntRef<'a>,
    date: AnyRef<'a>,
    extensions: Option<AnyRef<'a>>,
}

/// Content bytes of a serial number, and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Serial {
    length: usize,
    bytes: [u8; MAX_SERIAL],
}

impl Serial {
    fn new(content: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_SERIAL];
        bytes.get_mut(..content.len())?.copy_from_slice(content);
        Some(Self { length: content.len(), bytes })
    }
}

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    issuer: Name,
    this_update: u64,
    next_update: u64,
    revoked: Vec<Serial>,
    signed: Signed,
}

impl Crl {
    /// Parses exactly one DER CertificateList of at most [`MAX_CRL`] bytes, signed with `scheme`.
    pub fn parse(der: &[u8], scheme: Scheme) -> Result<Self, PkiError> {
        bounded(der, MAX_CRL)?;
        let signed = Signed::split(der, scheme)?;
        let list = Body::from_der(&signed.bytes)?;
        if list.version != Version::V2 {
            return Err(PkiError::Version);
        }
        signed.algorithm(&list.signature)?;
        understood(list.extensions.as_ref())?;
        let this_update = unix(list.this_update);
        let next_update = list.next_update.map(unix).ok_or(PkiError::Validity)?;
        if next_update < this_update {
            return Err(PkiError::Validity);
        }
        let entries = list.revoked.unwrap_or_default();
        let mut revoked = Vec::with_capacity(entries.len());
        // Most entries say what the one before says.
        let (mut date, mut extensions) = (None, None);
        for entry in entries {
            if date.replace(entry.date) != Some(entry.date) {
                match entry.date.tag() {
                    Tag::UtcTime => entry.date.decode_as::<UtcTime>().map(drop)?,
                    _ => entry.date.decode_as::<GeneralizedTime>().map(drop)?,
                }
            }
            if extensions.replace(entry.extensions) != Some(entry.extensions) {
                let decoded = entry.extensions.map(|any| any.decode_as::<Extensions>()).transpose()?;
                understood(decoded.as_ref())?;
            }
            let serial = Serial::new(entry.serial.as_bytes());
            revoked.push(serial.ok_or_else(|| der::Error::from(Tag::Integer.value_error()))?);
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
        Serial::new(serial).is_some_and(|serial| self.revoked.contains(&serial))
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
