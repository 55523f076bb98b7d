//! Certificates and revocation lists as AMD's and Intel's key services issue them: strict DER, nothing more.
//!
//! Each vendor signs with one scheme, which the caller names: what is signed with another is no object of that vendor.
//! A parsed value keeps the signed bytes exactly as received; signatures are checked over those,
//! never over a re-encoding. Refused: trailing bytes, duplicate extensions, inner and outer algorithm
//! that differ, oversized input; of lists any critical extension, of certificates an unknown one when
//! [`Certificate::authority`] is asked. Path building does not live here.

pub mod crl;
mod object;

pub use crl::Crl;
pub use object::Object;

use crate::provider::{Provider, SignatureAlgorithm};
use crate::verdict::said;
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc4519, rfc5280, rfc5912};
use core::fmt;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tagged};
use spki::{AlgorithmIdentifier, AlgorithmIdentifierOwned, AlgorithmIdentifierRef};
use std::sync::Arc;
use thiserror::Error;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::time::Time;
use x509_cert::{TbsCertificate, Version};

/// Longest certificate that is looked at; AMD's are under 2 KiB.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// Why bytes are no certificate or revocation list of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PkiError {
    /// Longer than the limit before anything was parsed.
    #[error("{found} bytes, limit {limit}")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes received.
        found: usize,
    },
    /// Not strict DER of the expected structure.
    #[error("not the expected DER: {0}")]
    Der(der::Error),
    /// Not X.509 version 3 (certificate) or version 2 (revocation list).
    #[error("wrong X.509 version")]
    Version,
    /// `signatureAlgorithm` outside and `signature` inside the signed part differ.
    #[error("the signature algorithms inside and outside the signed part differ")]
    AlgorithmMismatch,
    /// Signed with another scheme than the vendor's.
    #[error("not signed with {0}")]
    Algorithm(Scheme),
    /// The signature has unused bits.
    #[error("signature is no whole number of bytes")]
    SignatureBits,
    /// One extension stands twice.
    #[error("extension {0} stands twice")]
    DuplicateExtension(ObjectIdentifier),
    /// More extensions than any genuine object has.
    #[error("{0} extensions")]
    TooManyExtensions(usize),
    /// A critical extension this verifier does not implement.
    #[error("critical extension {0} is not understood")]
    CriticalExtension(ObjectIdentifier),
    /// An extension whose content is malformed.
    #[error("extension {0} is malformed")]
    Extension(ObjectIdentifier),
    /// A validity that ends before it begins, or not at all (a list without nextUpdate).
    #[error("validity ends before it begins, or has no end")]
    Validity,
}

impl From<der::Error> for PkiError {
    fn from(error: der::Error) -> Self {
        Self::Der(error)
    }
}

/// How a vendor signs certificates and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48 (RFC 4055 section 3.1): AMD.
    RsaPssSha384,
    /// ECDSA P-256, SHA-256 (RFC 5758 section 3.2): Intel.
    EcdsaP256Sha256,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaPssSha384 => "RSASSA-PSS SHA-384, salt 48",
            Self::EcdsaP256Sha256 => "ECDSA P-256 SHA-256",
        })
    }
}

/// An X.509 version 3 certificate; a clone is the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    parsed: TbsCertificate,
    der: Vec<u8>,
    spki: Vec<u8>,
    signed: Signed,
}

impl Certificate {
    /// Parses exactly one DER certificate of at most [`MAX_CERTIFICATE`] bytes, signed with `scheme`.
    pub fn parse(der: &[u8], scheme: Scheme) -> Result<Self, PkiError> {
        bounded(der, MAX_CERTIFICATE)?;
        let signed = Signed::split(der, scheme)?;
        let parsed = TbsCertificate::from_der(&signed.bytes)?;
        if parsed.version() != Version::V3 {
            return Err(PkiError::Version);
        }
        signed.algorithm(parsed.signature())?;
        distinct(parsed.extensions())?;
        let spki = parsed.subject_public_key_info().to_der()?;
        let certificate = Self(Arc::new(Parts { parsed, der: der.to_vec(), spki, signed }));
        if certificate.not_after() < certificate.not_before() {
            return Err(PkiError::Validity);
        }
        Ok(certificate)
    }

    /// The bytes as received.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// Serial number, big-endian two's complement content bytes (`[0]` for AMD's zero).
    pub fn serial(&self) -> &[u8] {
        self.0.parsed.serial_number().as_bytes()
    }

    /// Subject.
    pub fn subject(&self) -> &Name {
        self.0.parsed.subject()
    }

    /// Issuer.
    pub fn issuer(&self) -> &Name {
        self.0.parsed.issuer()
    }

    /// First second of validity, unix time.
    pub fn not_before(&self) -> u64 {
        unix(self.0.parsed.validity().not_before)
    }

    /// Last second of validity, unix time.
    pub fn not_after(&self) -> u64 {
        unix(self.0.parsed.validity().not_after)
    }

    /// True from `not_before` to `not_after`, both included (RFC 5280 section 4.1.2.5).
    pub fn valid_at(&self, now: u64) -> bool {
        (self.not_before()..=self.not_after()).contains(&now)
    }

    /// Extensions in their order.
    pub fn extensions(&self) -> impl Iterator<Item = (ObjectIdentifier, bool, &[u8])> {
        self.0
            .parsed
            .extensions()
            .into_iter()
            .flatten()
            .map(|extension| (extension.extn_id, extension.critical, extension.extn_value.as_bytes()))
    }

    /// What this certificate may sign: CA, keyCertSign, cRLSign, no unknown critical extension (RFC 5280 sections 4.2.1.3,
    /// 4.2.1.9).
    pub fn authority(&self) -> Result<Authority, PkiError> {
        let mut authority = Authority { ca: false, path_length: None, signs: false, lists: false };
        for (oid, critical, value) in self.extensions() {
            if oid == rfc5280::ID_CE_BASIC_CONSTRAINTS {
                let constraints = BasicConstraints::from_der(value).map_err(|_| PkiError::Extension(oid))?;
                authority.ca = constraints.ca;
                authority.path_length = constraints.path_len_constraint;
            } else if oid == rfc5280::ID_CE_KEY_USAGE {
                let usage = KeyUsage::from_der(value).map_err(|_| PkiError::Extension(oid))?;
                authority.signs = usage.key_cert_sign();
                authority.lists = usage.crl_sign();
            } else if critical {
                return Err(PkiError::CriticalExtension(oid));
            }
        }
        Ok(authority)
    }

    /// True if `issuer_spki` signed this certificate.
    pub fn signed_by(&self, issuer_spki: &[u8], provider: &dyn Provider) -> bool {
        self.0.signed.verifies(issuer_spki, provider)
    }
}

/// What a certificate says about signing certificates and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// BasicConstraints cA.
    pub ca: bool,
    /// BasicConstraints pathLenConstraint.
    pub path_length: Option<u8>,
    /// KeyUsage keyCertSign.
    pub signs: bool,
    /// KeyUsage cRLSign.
    pub lists: bool,
}

/// The one common name of a name; none if it has none, several, or one that is no text.
pub fn common_name(name: &Name) -> Option<String> {
    let mut found = None;
    for attribute in name.iter() {
        if attribute.oid == rfc4519::CN {
            let bytes = match attribute.value.tag() {
                der::Tag::Utf8String | der::Tag::PrintableString => attribute.value.value(),
                _ => return None,
            };
            let text = core::str::from_utf8(bytes).ok()?.to_owned();
            if found.replace(text).is_some() {
                return None;
            }
        }
    }
    found
}

/// A name for a verdict: the common name, or the whole name where there is not one alone.
pub(crate) fn shown(name: &Name) -> String {
    const LONGEST: usize = 200;
    common_name(name).map_or_else(|| said(name, LONGEST), |common| said(common, LONGEST))
}

/// `SEQUENCE { signed part, AlgorithmIdentifier, BIT STRING }`, the signed part as received (RFC 5280 sections 4.1 and 5.1,
/// RFC 2986 section 4.2).
pub(crate) fn parts(der: &[u8]) -> der::Result<(&[u8], AlgorithmIdentifierOwned, BitStringRef<'_>)> {
    let mut reader = SliceReader::new(der)?;
    let parts = reader.sequence(|inner| {
        let parts = (inner.tlv_bytes()?, AlgorithmIdentifierOwned::decode(inner)?, BitStringRef::decode(inner)?);
        Ok::<_, der::Error>(parts)
    })?;
    reader.finish()?;
    Ok(parts)
}

/// Those parts, of a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    scheme: Scheme,
    bytes: Vec<u8>,
    outer: AlgorithmIdentifierOwned,
    signature: Vec<u8>,
}

impl Signed {
    pub(crate) fn split(der: &[u8], scheme: Scheme) -> Result<Self, PkiError> {
        let (bytes, outer, signature) = parts(der)?;
        let signature = signature.as_bytes().ok_or(PkiError::SignatureBits)?.to_vec();
        Ok(Self { scheme, bytes: bytes.to_vec(), outer, signature })
    }

    /// Both algorithm fields agree and are the vendor's scheme.
    pub(crate) fn algorithm(&self, inner: &AlgorithmIdentifierOwned) -> Result<(), PkiError> {
        if *inner != self.outer {
            return Err(PkiError::AlgorithmMismatch);
        }
        let right = match self.scheme {
            Scheme::RsaPssSha384 => is_pss_sha384(inner),
            Scheme::EcdsaP256Sha256 => inner.oid == rfc5912::ECDSA_WITH_SHA_256 && inner.parameters.is_none(),
        };
        if right { Ok(()) } else { Err(PkiError::Algorithm(self.scheme)) }
    }

    pub(crate) fn verifies(&self, spki: &[u8], provider: &dyn Provider) -> bool {
        let algorithm = match self.scheme {
            Scheme::RsaPssSha384 => SignatureAlgorithm::RsaPssSha384,
            Scheme::EcdsaP256Sha256 => SignatureAlgorithm::EcdsaP256Sha256,
        };
        provider.verify(algorithm, spki, &self.bytes, &self.signature)
    }
}

/// RSASSA-PSS-params (RFC 4055 section 3.1). Every field optional: AMD writes the default trailer
/// out in some certificates, which strict DER forbids.
#[derive(Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask: Option<AlgorithmIdentifier<AlgorithmIdentifierRef<'a>>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt: Option<u8>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

fn is_pss_sha384(algorithm: &AlgorithmIdentifierOwned) -> bool {
    let sha384 = |hash: &AlgorithmIdentifierRef<'_>| {
        hash.oid == rfc5912::ID_SHA_384 && hash.parameters.is_none_or(|p| p == AnyRef::NULL)
    };
    let Some(Ok(parameters)) = algorithm.parameters.as_ref().map(|any| any.decode_as::<PssParameters<'_>>()) else {
        return false;
    };
    let PssParameters { hash, mask, salt, trailer } = parameters;
    algorithm.oid == rfc5912::ID_RSASSA_PSS
        && hash.as_ref().is_some_and(sha384)
        && mask.is_some_and(|mask| mask.oid == rfc5912::ID_MGF_1 && mask.parameters.as_ref().is_some_and(sha384))
        && salt == Some(48)
        && matches!(trailer, None | Some(1))
}

/// Whether a SubjectPublicKeyInfo is of an elliptic curve key on this curve (RFC 5480 section 2.1.1).
pub(crate) fn is_on_curve(spki: &[u8], curve: ObjectIdentifier) -> bool {
    spki::SubjectPublicKeyInfoRef::from_der(spki).is_ok_and(|spki| {
        spki.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY && spki.algorithm.parameters_oid() == Ok(curve)
    })
}

pub(crate) fn bounded(bytes: &[u8], limit: usize) -> Result<(), PkiError> {
    if bytes.len() > limit {
        return Err(PkiError::TooLong { limit, found: bytes.len() });
    }
    Ok(())
}

pub(crate) fn unix(time: Time) -> u64 {
    time.to_unix_duration().as_secs()
}

/// More extensions than any certificate or list has; keeps the comparison of all pairs cheap.
const MAX_EXTENSIONS: usize = 64;

/// RFC 5280 section 4.2: no extension twice.
pub(crate) fn distinct(extensions: Option<&Extensions>) -> Result<(), PkiError> {
    let list = extensions.map_or(&[][..], |list| list.as_slice());
    if list.len() > MAX_EXTENSIONS {
        return Err(PkiError::TooManyExtensions(list.len()));
    }
    for (at, extension) in list.iter().enumerate() {
        if list.iter().take(at).any(|earlier| earlier.extn_id == extension.extn_id) {
            return Err(PkiError::DuplicateExtension(extension.extn_id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_control_characters() {
        let cn = [&[0x30, 14, 0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 3, 0x0c, 3][..], b"a\x1bb"].concat();
        let parsed = Name::from_der(&cn).expect("a name");
        assert_eq!((common_name(&parsed).as_deref(), shown(&parsed).as_str()), (Some("a\u{1b}b"), "ab"));
        // As long as a name may be: nobody needs all of it.
        let many = [0x31, 7, 0x30, 5, 6, 1, 0x2a, 5, 0].repeat(1000);
        let [.., high, low] = many.len().to_be_bytes();
        let parsed = Name::from_der(&[&[0x30, 0x82, high, low][..], &many].concat()).expect("a name");
        assert_eq!(shown(&parsed).len(), 200);
    }
}
