//! The shell every certificate of ours has (RFC 5280 section 4.1): written here, read here.
//!
//! Owns the fields around what `certificate` and `issuer` decide about. Refuses versions before 3, unique identifiers,
//! signature algorithms other than the two, an inner algorithm unlike the outer one, and an extension that is there twice.
//! Invariant: signatures are checked over the bytes as received, never over bytes written again.

use alloc::vec::Vec;

use crate::asn1::{Der, Malformed, bit_string, integer, tag, time, tlv};
use crate::keys::{self, Algorithm, SignError, Signer, Verifier};

/// The longest certificate we read, in bytes: the longest EAR twice base64url, and room.
pub(crate) const CERTIFICATE_LIMIT: usize = 32 * 1024;

/// The most extensions; each is compared with all before it.
const MAX_EXTENSIONS: usize = 32;

/// Contents of OBJECT IDENTIFIERs.
pub(crate) mod oid {
    pub(crate) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    pub(crate) const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
    pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
    pub(crate) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
    pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
    /// id-pe-cmw, 1.3.6.1.5.5.7.1.35 (draft-ietf-rats-msg-wrap).
    pub(crate) const CMW: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x23];
    /// id-kp-serverAuth.
    pub(crate) const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    /// id-kp-clientAuth.
    pub(crate) const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
}

/// What is signed, before it is bytes. Names and keys are whole DER elements.
pub(crate) struct Tbs<'a> {
    /// Unsigned, big-endian.
    pub(crate) serial: &'a [u8],
    pub(crate) algorithm: Algorithm,
    pub(crate) issuer: &'a [u8],
    /// Unix seconds.
    pub(crate) not_before: u64,
    /// Unix seconds, inclusive.
    pub(crate) not_after: u64,
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Vec<Extension<'a>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Extension<'a> {
    /// Content of the OBJECT IDENTIFIER.
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    /// What the OCTET STRING holds.
    pub(crate) value: &'a [u8],
}

/// A Name (RFC 5280 section 4.1.2.4) that is one common name, DER; `None` unless it has 1 to 64 bytes.
pub(crate) fn common_name(text: &str) -> Option<Vec<u8>> {
    (1..=64).contains(&text.len()).then(|| {
        let value = tlv(tag::UTF8_STRING, &[text.as_bytes()]);
        let attribute = tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid::COMMON_NAME]), &value]);
        tlv(tag::SEQUENCE, &[&tlv(tag::SET, &[&attribute])])
    })
}

/// A certificate as received.
pub(crate) struct Received<'a> {
    pub(crate) tbs: Tbs<'a>,
    signed: &'a [u8],
    signature: &'a [u8],
}

impl Tbs<'_> {
    /// The bytes that are signed; `None` if a date is beyond the year 9999.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let Self { serial, algorithm, issuer, not_before, not_after, subject, spki, extensions } = self;
        let extensions = extensions.iter().map(Extension::encode).collect::<Vec<_>>().concat();
        let extensions = tlv(tag::SEQUENCE, &[&extensions]);
        Some(tlv(
            tag::SEQUENCE,
            &[
                &tlv(tag::constructed(0), &[&integer(&[2])]),
                &integer(serial),
                algorithm.identifier(),
                issuer,
                &tlv(tag::SEQUENCE, &[&time(*not_before)?, &time(*not_after)?]),
                subject,
                spki,
                &tlv(tag::constructed(3), &[&extensions]),
            ],
        ))
    }
}

impl Extension<'_> {
    fn encode(&self) -> Vec<u8> {
        let Self { oid, critical, value } = self;
        let critical: &[u8] = if *critical { &[tag::BOOLEAN, 1, 0xff] } else { &[] };
        tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid]), critical, &tlv(tag::OCTET_STRING, &[value])])
    }
}

/// The whole certificate.
pub(crate) fn sign(tbs: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, SignError> {
    let signature = keys::sign(signer, tbs)?;
    Ok(tlv(tag::SEQUENCE, &[tbs, signer.algorithm().identifier(), &bit_string(&signature)]))
}

/// A certificate that is not longer than anybody reads.
pub(crate) fn bounded(der: &[u8]) -> Result<(), Malformed> {
    if der.len() > CERTIFICATE_LIMIT { Err(Malformed("length")) } else { Ok(()) }
}

impl<'a> Received<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        bounded(der)?;
        let mut outer = Der::new(der);
        let mut certificate = Der::new(outer.take(tag::SEQUENCE, "certificate")?);
        outer.done("end of the certificate")?;
        let signed = certificate.element(tag::SEQUENCE, "tbsCertificate")?;
        let outer_algorithm = certificate.element(tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = certificate.bits("signatureValue")?;
        certificate.done("end of the certificate")?;

        let mut tbs = Der::new(Der::new(signed).take(tag::SEQUENCE, "tbsCertificate")?);
        if tbs.take(tag::constructed(0), "version")? != [tag::INTEGER, 1, 2] {
            return Err(Malformed("version"));
        }
        let serial = tbs.unsigned("serialNumber")?;
        let inner_algorithm = tbs.element(tag::SEQUENCE, "signature")?;
        let algorithm = Algorithm::of_identifier(inner_algorithm).ok_or(Malformed("signature"))?;
        if inner_algorithm != outer_algorithm {
            return Err(Malformed("signatureAlgorithm"));
        }
        let issuer = tbs.element(tag::SEQUENCE, "issuer")?;
        let mut validity = Der::new(tbs.take(tag::SEQUENCE, "validity")?);
        let (not_before, not_after) = (validity.time("notBefore")?, validity.time("notAfter")?);
        validity.done("validity")?;
        let subject = tbs.element(tag::SEQUENCE, "subject")?;
        let spki = tbs.element(tag::SEQUENCE, "subjectPublicKeyInfo")?;
        let mut wrapped = Der::new(tbs.take(tag::constructed(3), "extensions")?);
        tbs.done("end of tbsCertificate")?;
        let mut list = Der::new(wrapped.take(tag::SEQUENCE, "extensions")?);
        wrapped.done("extensions")?;
        let mut extensions: Vec<Extension<'a>> = Vec::new();
        while list.more() {
            let extension = Extension::read(list.take(tag::SEQUENCE, "extension")?)?;
            if extensions.iter().any(|earlier| earlier.oid == extension.oid) {
                return Err(Malformed("the same extension twice"));
            }
            if extensions.len() == MAX_EXTENSIONS {
                return Err(Malformed("too many extensions"));
            }
            extensions.push(extension);
        }
        let tbs = Tbs { serial, algorithm, issuer, not_before, not_after, subject, spki, extensions };
        Ok(Self { tbs, signed, signature })
    }

    /// Whether this key signed these bytes.
    pub(crate) fn signed_by(&self, spki: &[u8], verifier: &dyn Verifier) -> bool {
        Algorithm::of(spki) == Ok(self.tbs.algorithm)
            && verifier.verify(self.tbs.algorithm, spki, self.signed, self.signature)
    }

    /// The bytes the signature is over.
    pub(crate) const fn signed(&self) -> &'a [u8] {
        self.signed
    }
}

impl<'a> Extension<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut der = Der::new(bytes);
        let oid = der.take(tag::OID, "extnID")?;
        let critical = der.next_is(tag::BOOLEAN);
        // DER: TRUE is FF, and FALSE is left out because it is the default.
        if critical && der.take(tag::BOOLEAN, "critical")? != [0xff] {
            return Err(Malformed("critical"));
        }
        let value = der.take(tag::OCTET_STRING, "extnValue")?;
        der.done("extension")?;
        Ok(Self { oid, critical, value })
    }
}
