//! The certificate request that carries evidence (trust rule 9): PKCS#10 (RFC 2986) with one conceptual message wrapper
//! (draft-ietf-rats-msg-wrap), in an attestation attribute (draft-ietf-lamps-csr-attestation) or in an extension.
//!
//! Owns carriers and statement; evidence is opaque. Refuses other attributes, several statements, a subject, other spellings,
//! and a request whose own signature does not verify over the bytes as received.
//! Invariant: a [`Request`] comes only out of [`Request::parse`], so its sender holds the key. Nothing else in it is true yet.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use workload::brief::{BRIEF_LIMIT, BRIEF_MEDIA_TYPE};

use crate::asn1::{Der, Malformed, bit_string, integer, tag, tlv};
use crate::cbor::{Reader, Writer};
use crate::deployment::DEPLOYMENT_MEDIA_TYPE;
use crate::keys::{self, Algorithm, KeyError, SignError, Signer, Verifier};
use crate::names::{Nonce, NonceError};
use crate::publisher::SIGNATURE_MEDIA_TYPE;

/// The longest request, in bytes.
pub const CSR_LIMIT: usize = 256 * 1024;
/// The media type of a request in DER (RFC 5967).
pub const CSR_MEDIA_TYPE: &str = "application/pkcs10";
/// The media type of an AMD SEV-SNP report: the 1184 bytes as the firmware made them.
pub const SNP_MEDIA_TYPE: &str = "application/vnd.donjon.snp-report";
/// The media type of a quote of an Intel SGX enclave, version 3.
pub const SGX_MEDIA_TYPE: &str = "application/vnd.donjon.sgx-quote";
/// The media type of a quote of an Intel TDX domain, version 4 or 5.
pub const TDX_MEDIA_TYPE: &str = "application/vnd.donjon.tdx-quote";
/// The media type under which the nonce travels.
pub const NONCE_MEDIA_TYPE: &str = "application/vnd.donjon.nonce";
/// The most endorsement certificates.
pub const MAX_ENDORSEMENTS: usize = 8;
/// The most pieces of collateral.
pub const MAX_COLLATERAL: usize = 16;

/// Where in a request the wrapper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// In id-aa-attestation, with the certificates beside it. A Keep's.
    Attribute,
    /// In an extension that the request asks for, as tools make requests that know of no other attribute. The certificates are in
    /// the collateral, before the rest.
    Extension,
}

/// Evidence as the hardware made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it is, e.g. [`SNP_MEDIA_TYPE`]. Lowercase, at most 127 bytes.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What a vendor says about its keys and its firmware, signed by it, besides certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    /// What it is.
    pub kind: CollateralKind,
    /// The bytes, as the vendor gives them.
    pub bytes: Vec<u8>,
}

/// The kinds of [`Collateral`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollateralKind {
    /// A revocation list in DER (RFC 2585).
    Crl,
    /// Intel's answer about a kind of platform: JSON with `tcbInfo` and `signature` (PCS API v4).
    TcbInfo,
    /// Intel's answer about a quoting enclave: JSON with `enclaveIdentity` and `signature`.
    QeIdentity,
}

impl CollateralKind {
    /// The media type under which it travels.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Crl => "application/pkix-crl",
            Self::TcbInfo => "application/vnd.donjon.tcb-info+json",
            Self::QeIdentity => "application/vnd.donjon.qe-identity+json",
        }
    }

    fn of(media_type: &str) -> Option<Self> {
        [Self::Crl, Self::TcbInfo, Self::QeIdentity].into_iter().find(|kind| kind.media_type() == media_type)
    }
}

/// What a Keep says about itself, and what it needs to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The evidence; its report data is the binding of this request's key, brief and nonce for purpose `issue`.
    pub evidence: Evidence,
    /// The brief's canonical bytes.
    pub brief: Vec<u8>,
    /// The Steward's nonce.
    pub nonce: Nonce,
    /// The signed Deployment; without it the certificate has no names.
    pub deployment: Option<Vec<u8>>,
    /// The [signature](crate::publisher::Signature) of the workload's publisher, if there is one.
    pub signature: Option<Vec<u8>>,
    /// What the Keep's host has of the vendor's statements. The order is the sender's.
    pub collateral: Vec<Collateral>,
    /// Certificates of the evidence's key and its vendor, each DER, e.g. VCEK and ASK.
    pub endorsements: Vec<Vec<u8>>,
}

/// A request whose sender has shown that he holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The key, SPKI in DER.
    pub spki: Vec<u8>,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// How it says that.
    pub carrier: Carrier,
    /// What it says.
    pub statement: Statement,
}

/// Why no request was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The statement would not be read back.
    #[error(transparent)]
    Statement(#[from] CsrError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Longer than [`CSR_LIMIT`].
    #[error("a request has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Its length.
        found: usize,
    },
    /// Not PKCS#10, or not the parts that trust rule 9 wants in it.
    #[error("not a certificate request as spec/trust.md has it: {0}")]
    Malformed(&'static str),
    /// It asks for a subject; names come from a Deployment.
    #[error("the request has a subject; names are granted through a Deployment, never asked for")]
    Subject,
    /// The key is not P-256 or P-384, or the request is signed with another algorithm.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No attribute, two of them, or another one; another extension.
    #[error(
        "the request must have exactly one attribute with one value: id-aa-attestation, or a request for the one extension 2.23.133.5.4.9"
    )]
    Attributes,
    /// Not exactly one statement, or not a conceptual message wrapper.
    #[error("the attestation bundle must have exactly one statement of type 2.23.133.5.4.9")]
    Statements,
    /// The wrapper has a member that is unknown or missing, or one with another media type.
    #[error("the statement's member {0} is missing or unknown, or has another media type")]
    Member(&'static str),
    /// The brief is longer than a brief can be.
    #[error("the brief is longer than {limit} bytes", limit = BRIEF_LIMIT)]
    Brief,
    /// The nonce is none.
    #[error("nonce length {found}")]
    Nonce {
        /// How many bytes it has.
        found: usize,
    },
    /// More than [`MAX_ENDORSEMENTS`], or one that is not a single DER SEQUENCE.
    #[error("the endorsements must be at most {max} certificates in DER", max = MAX_ENDORSEMENTS)]
    Endorsements,
    /// More than [`MAX_COLLATERAL`], or of another media type.
    #[error("the collateral must be at most {max} CRLs, TCB infos and QE identities", max = MAX_COLLATERAL)]
    Collateral,
    /// The signature does not fit key and bytes.
    #[error("the request's own signature does not verify: its sender does not hold the key")]
    Signature,
    /// Everything can be read, but it is not the one encoding.
    #[error("the request is not the one encoding of its contents")]
    NotCanonical,
}

impl From<Malformed> for CsrError {
    fn from(Malformed(place): Malformed) -> Self {
        Self::Malformed(place)
    }
}

// Contents of OBJECT IDENTIFIERs. id-aa-attestation, 1.2.840.113549.1.9.16.2.59.
const ATTESTATION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x3b];
// extensionRequest, 1.2.840.113549.1.9.14 (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
// tcg-dice-conceptual-message-wrapper, 2.23.133.5.4.9: SEQUENCE { OCTET STRING cmw }.
const WRAPPER: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x09];

/// The label of the one collection within the collection.
const COLLATERAL: &str = "collateral";
/// The media type of a certificate in it, DER (RFC 2585).
const CERTIFICATE: &str = "application/pkix-cert";

/// Makes and signs a request, DER.
///
/// # Errors
/// A statement that no Steward would read; a key that does not sign.
pub fn build(statement: &Statement, carrier: Carrier, signer: &dyn Signer) -> Result<Vec<u8>, BuildError> {
    let info = info(signer.spki(), carrier, statement);
    let signature = keys::sign(signer, &info)?;
    let der = tlv(tag::SEQUENCE, &[&info, signer.algorithm().identifier(), &bit_string(&signature)]);
    read(&der)?;
    Ok(der)
}

impl Request {
    /// Reads a request. Bounded before parsed; the signature is checked over the bytes as received.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn parse(der: &[u8], verifier: &dyn Verifier) -> Result<Self, CsrError> {
        let Read { request, signed, signature } = read(der)?;
        if !verifier.verify(request.algorithm, &request.spki, signed, signature) {
            return Err(CsrError::Signature);
        }
        Ok(request)
    }
}

/// A request whose signature nobody has looked at.
struct Read<'a> {
    request: Request,
    signed: &'a [u8],
    signature: &'a [u8],
}

fn read(der: &[u8]) -> Result<Read<'_>, CsrError> {
    if der.len() > CSR_LIMIT {
        return Err(CsrError::TooLong { limit: CSR_LIMIT, found: der.len() });
    }
    let mut outer = Der::new(der);
    let mut request = Der::new(outer.take(tag::SEQUENCE, "request")?);
    outer.done("end of the request")?;
    let signed = request.element(tag::SEQUENCE, "certificationRequestInfo")?;
    let identifier = request.element(tag::SEQUENCE, "signatureAlgorithm")?;
    let signature = request.bits("signature")?;
    request.done("end of the request")?;

    let mut info = Der::new(Der::new(signed).take(tag::SEQUENCE, "certificationRequestInfo")?);
    if info.unsigned("version")? != [0] {
        return Err(CsrError::Malformed("version"));
    }
    if !info.take(tag::SEQUENCE, "subject")?.is_empty() {
        return Err(CsrError::Subject);
    }
    let spki = info.element(tag::SEQUENCE, "subjectPKInfo")?;
    let algorithm = Algorithm::of(spki)?;
    if identifier != algorithm.identifier() {
        return Err(CsrError::Malformed("signatureAlgorithm"));
    }
    // The attributes are [0] IMPLICIT SET OF; without the tag there are none.
    let attributes = info.take(tag::constructed(0), "attributes").map_err(|_| CsrError::Attributes)?;
    info.done("certificationRequestInfo")?;
    let (carrier, statement) = attribute(attributes)?;
    if self::info(spki, carrier, &statement) != signed {
        return Err(CsrError::NotCanonical);
    }
    let spki = spki.to_vec();
    Ok(Read { request: Request { spki, algorithm, carrier, statement }, signed, signature })
}

/// The one attribute says which carrier it is; the other is not tried.
fn attribute(attributes: &[u8]) -> Result<(Carrier, Statement), CsrError> {
    let mut set = Der::new(attributes);
    let mut attribute = Der::new(set.take(tag::SEQUENCE, "attribute").map_err(|_| CsrError::Attributes)?);
    let carrier = match attribute.take(tag::OID, "attribute type")? {
        ATTESTATION => Carrier::Attribute,
        EXTENSION_REQUEST => Carrier::Extension,
        _ => return Err(CsrError::Attributes),
    };
    if set.more() {
        return Err(CsrError::Attributes);
    }
    let mut values = Der::new(attribute.take(tag::SET, "attribute values")?);
    attribute.done("attribute")?;
    let value = values.take(tag::SEQUENCE, "attribute value").map_err(|_| CsrError::Attributes)?;
    if values.more() {
        return Err(CsrError::Attributes);
    }
    let statement = match carrier {
        Carrier::Attribute => bundle(value),
        Carrier::Extension => extension(value),
    };
    Ok((carrier, statement?))
}

/// Extensions (RFC 5280 section 4.1): one, not critical.
fn extension(extensions: &[u8]) -> Result<Statement, CsrError> {
    let mut list = Der::new(extensions);
    let mut extension = Der::new(list.take(tag::SEQUENCE, "extension").map_err(|_| CsrError::Attributes)?);
    if list.more() || extension.take(tag::OID, "extension type")? != WRAPPER {
        return Err(CsrError::Attributes);
    }
    let mut value = Der::new(extension.take(tag::OCTET_STRING, "extension")?);
    extension.done("extension")?;
    let cmw = wrapper(&mut value)?;
    value.done("extension")?;
    unwrap(cmw, Carrier::Extension, Vec::new())
}

fn wrapper<'a>(outer: &mut Der<'a>) -> Result<&'a [u8], CsrError> {
    let mut wrapper = Der::new(outer.take(tag::SEQUENCE, "wrapper")?);
    let cmw = wrapper.take(tag::OCTET_STRING, "wrapper")?;
    wrapper.done("wrapper")?;
    Ok(cmw)
}

/// AttestationBundle (draft-ietf-lamps-csr-attestation).
fn bundle(bundle: &[u8]) -> Result<Statement, CsrError> {
    let mut bundle = Der::new(bundle);
    let mut statements = Der::new(bundle.take(tag::SEQUENCE, "attestations")?);
    let mut statement = Der::new(statements.take(tag::SEQUENCE, "statement").map_err(|_| CsrError::Statements)?);
    if statements.more() || statement.take(tag::OID, "statement type")? != WRAPPER {
        return Err(CsrError::Statements);
    }
    let cmw = wrapper(&mut statement)?;
    statement.done("statement")?;

    let mut endorsements = Vec::new();
    if bundle.more() {
        let mut certificates = Der::new(bundle.take(tag::SEQUENCE, "certs")?);
        bundle.done("attestation bundle")?;
        while certificates.more() {
            endorse(&mut endorsements, &mut certificates)?;
        }
    }
    unwrap(cmw, Carrier::Attribute, endorsements)
}

/// Takes the next certificate.
fn endorse(endorsements: &mut Vec<Vec<u8>>, from: &mut Der<'_>) -> Result<(), CsrError> {
    if endorsements.len() == MAX_ENDORSEMENTS {
        return Err(CsrError::Endorsements);
    }
    let certificate = from.element(tag::SEQUENCE, "certs").map_err(|_| CsrError::Endorsements)?;
    endorsements.push(certificate.to_vec());
    Ok(())
}

/// A CMW collection (draft-ietf-rats-msg-wrap section 3.3) of records, and of one collection: the collateral.
fn unwrap(cmw: &[u8], carrier: Carrier, mut endorsements: Vec<Vec<u8>>) -> Result<Statement, CsrError> {
    let mut reader = Reader::new(cmw);
    let (mut evidence, mut brief, mut nonce, mut deployment, mut signature) = (None, None, None, None, None);
    let mut collateral = Vec::new();
    for _ in 0..reader.map("collection")? {
        let label = reader.text("label")?;
        if label == COLLATERAL {
            collateral = pieces(&mut reader, carrier, &mut endorsements)?;
            continue;
        }
        let (media_type, bytes) = record(&mut reader)?;
        // A label that is there twice shows when the collection is encoded again.
        let (slot, place, expected) = match label {
            "evidence" => {
                if !is_media_type(media_type) {
                    return Err(CsrError::Member("evidence"));
                }
                evidence = Some(Evidence { media_type: media_type.to_owned(), bytes: bytes.to_vec() });
                continue;
            }
            "brief" => (&mut brief, "brief", BRIEF_MEDIA_TYPE),
            "nonce" => (&mut nonce, "nonce", NONCE_MEDIA_TYPE),
            "deployment" => (&mut deployment, "deployment", DEPLOYMENT_MEDIA_TYPE),
            "signature" => (&mut signature, "signature", SIGNATURE_MEDIA_TYPE),
            _ => return Err(CsrError::Member("(another label)")),
        };
        if media_type != expected {
            return Err(CsrError::Member(place));
        }
        *slot = Some(bytes.to_vec());
    }
    reader.done("end of the collection")?;
    let brief: Vec<u8> = brief.ok_or(CsrError::Member("brief"))?;
    if brief.len() > BRIEF_LIMIT {
        return Err(CsrError::Brief);
    }
    let nonce = Nonce::new(nonce.ok_or(CsrError::Member("nonce"))?).map_err(|error| match error {
        NonceError::Length { found } => CsrError::Nonce { found },
        NonceError::Encoding => CsrError::Malformed("nonce"),
    })?;
    Ok(Statement {
        evidence: evidence.ok_or(CsrError::Member("evidence"))?,
        brief,
        nonce,
        deployment,
        signature,
        collateral,
        endorsements,
    })
}

/// A CMW record: `[media type, bytes]`.
fn record<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, &'a [u8]), CsrError> {
    if reader.array("record")? != 2 {
        return Err(CsrError::Malformed("record"));
    }
    Ok((reader.text("media type")?, reader.bytes("value")?))
}

/// A CMW collection whose labels count from zero. Certificates are in it where they have no place of their own.
fn pieces(
    reader: &mut Reader<'_>,
    carrier: Carrier,
    endorsements: &mut Vec<Vec<u8>>,
) -> Result<Vec<Collateral>, CsrError> {
    let mut pieces = Vec::new();
    for _ in 0..reader.map(COLLATERAL)? {
        // Another label shows when the collection is encoded again.
        reader.uint("label")?;
        let (media_type, bytes) = record(reader)?;
        // Behind other pieces, or more than one certificate in one: shows when the collection is encoded again.
        if carrier == Carrier::Extension && media_type == CERTIFICATE {
            endorse(endorsements, &mut Der::new(bytes))?;
            continue;
        }
        let kind =
            CollateralKind::of(media_type).filter(|_| pieces.len() < MAX_COLLATERAL).ok_or(CsrError::Collateral)?;
        pieces.push(Collateral { kind, bytes: bytes.to_vec() });
    }
    Ok(pieces)
}

fn is_media_type(text: &str) -> bool {
    text.len() <= 127
        && text.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'+' | b'-'))
}

/// CertificationRequestInfo.
fn info(spki: &[u8], carrier: Carrier, statement: &Statement) -> Vec<u8> {
    let Statement { evidence, brief, nonce, deployment, signature, collateral, endorsements } = statement;
    let beside: &[Vec<u8>] = if carrier == Carrier::Attribute { endorsements } else { &[] };
    let within: &[Vec<u8>] = if carrier == Carrier::Extension { endorsements } else { &[] };
    let pieces = within.iter().map(|der| (CERTIFICATE, der));
    let pieces = pieces.chain(collateral.iter().map(|Collateral { kind, bytes }| (kind.media_type(), bytes)));
    let count = within.len().saturating_add(collateral.len());
    // Map keys in the order of their encodings: shorter first.
    let mut cmw = Writer::default();
    let there = [true, true, true, signature.is_some(), deployment.is_some(), count > 0];
    cmw.map(there.into_iter().filter(|there| *there).count());
    cmw.text("brief").array(2).text(BRIEF_MEDIA_TYPE).bytes(brief);
    cmw.text("nonce").array(2).text(NONCE_MEDIA_TYPE).bytes(nonce.as_bytes());
    cmw.text("evidence").array(2).text(&evidence.media_type).bytes(&evidence.bytes);
    if let Some(signature) = signature {
        cmw.text("signature").array(2).text(SIGNATURE_MEDIA_TYPE).bytes(signature);
    }
    if count > 0 {
        cmw.text(COLLATERAL).map(count);
        for (label, (media_type, bytes)) in (0..).zip(pieces) {
            cmw.uint(label).array(2).text(media_type).bytes(bytes);
        }
    }
    if let Some(deployment) = deployment {
        cmw.text("deployment").array(2).text(DEPLOYMENT_MEDIA_TYPE).bytes(deployment);
    }
    let wrapper = tlv(tag::SEQUENCE, &[&tlv(tag::OCTET_STRING, &[&cmw.finish()])]);
    let (oid, value) = match carrier {
        Carrier::Attribute => {
            let statement = tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[WRAPPER]), &wrapper]);
            let mut bundle = tlv(tag::SEQUENCE, &[&statement]);
            if !beside.is_empty() {
                bundle.extend(tlv(tag::SEQUENCE, &beside.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            }
            (ATTESTATION, bundle)
        }
        Carrier::Extension => {
            let value = tlv(tag::OCTET_STRING, &[&wrapper]);
            (EXTENSION_REQUEST, tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[WRAPPER]), &value]))
        }
    };
    let values = tlv(tag::SET, &[&tlv(tag::SEQUENCE, &[&value])]);
    let attribute = tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid]), &values]);
    tlv(tag::SEQUENCE, &[&integer(&[0]), &[tag::SEQUENCE, 0], spki, &tlv(tag::constructed(0), &[&attribute])])
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::testing::{P256, P384, Software, brief};

    fn statement() -> Statement {
        Statement {
            evidence: Evidence { media_type: SNP_MEDIA_TYPE.to_string(), bytes: vec![0xe5; 1184] },
            brief: brief(&P256::new(1)).encode(),
            nonce: Nonce::new(vec![5; 56]).unwrap(),
            deployment: Some(vec![0xd2; 500]),
            signature: Some(vec![0x83; 400]),
            collateral: vec![
                Collateral { kind: CollateralKind::Crl, bytes: vec![0x30; 300] },
                Collateral { kind: CollateralKind::TcbInfo, bytes: b"{}".to_vec() },
                Collateral { kind: CollateralKind::QeIdentity, bytes: b"{}".to_vec() },
                Collateral { kind: CollateralKind::Crl, bytes: vec![0x31; 30] },
            ],
            endorsements: vec![tlv(tag::SEQUENCE, &[&[1; 1000]]), tlv(tag::SEQUENCE, &[&[2; 1200]])],
        }
    }

    /// Wraps and signs whatever stands between the key and the signature.
    fn request(subject: &[u8], attributes: &[u8]) -> Vec<u8> {
        let key = P256::new(7);
        let info = tlv(tag::SEQUENCE, &[&integer(&[0]), subject, key.spki(), attributes]);
        let signature = keys::sign(&key, &info).unwrap();
        tlv(tag::SEQUENCE, &[&info, key.algorithm().identifier(), &bit_string(&signature)])
    }

    fn attribute(oid: &[u8], values: &[&[u8]]) -> Vec<u8> {
        tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid]), &tlv(tag::SET, values)])
    }

    fn wrapped(cmw: &[u8]) -> Vec<u8> {
        let wrapper = tlv(tag::SEQUENCE, &[&tlv(tag::OCTET_STRING, &[cmw])]);
        tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[WRAPPER]), &wrapper])
    }

    fn bundle(statements: &[&[u8]]) -> Vec<u8> {
        tlv(tag::SEQUENCE, &[&tlv(tag::SEQUENCE, statements)])
    }

    const NO_SUBJECT: &[u8] = &[tag::SEQUENCE, 0];

    fn with_attributes(attributes: &[&[u8]]) -> Result<Request, CsrError> {
        Request::parse(&request(NO_SUBJECT, &tlv(tag::constructed(0), attributes)), &Software)
    }

    fn with_cmw(cmw: &[u8]) -> Result<Request, CsrError> {
        with_attributes(&[&attribute(ATTESTATION, &[&bundle(&[&wrapped(cmw)])])])
    }

    /// The three members that must be there, and more.
    fn collection(members: &[(&str, &str, &[u8])]) -> Vec<u8> {
        let mut cmw = Writer::default();
        cmw.map(members.len());
        for (label, media_type, bytes) in members {
            cmw.text(label).array(2).text(media_type).bytes(bytes);
        }
        cmw.finish()
    }

    const BRIEF: (&str, &str, &[u8]) = ("brief", BRIEF_MEDIA_TYPE, b"brief");
    const NONCE: (&str, &str, &[u8]) = ("nonce", NONCE_MEDIA_TYPE, &[5; 16]);
    const REPORT: (&str, &str, &[u8]) = ("evidence", SNP_MEDIA_TYPE, b"report");

    #[test]
    fn rule_9_what_a_keep_builds_a_steward_reads() {
        let signers: [&dyn Signer; 2] = [&P256::new(7), &P384::new(7)];
        for signer in signers {
            let minimal = Statement {
                deployment: None,
                signature: None,
                collateral: vec![],
                endorsements: vec![],
                ..statement()
            };
            let unsigned = Statement { signature: None, ..statement() };
            for statement in [statement(), minimal, unsigned] {
                for carrier in [Carrier::Attribute, Carrier::Extension] {
                    let read = Request::parse(&build(&statement, carrier, signer).unwrap(), &Software).unwrap();
                    let (spki, statement) = (signer.spki().to_vec(), statement.clone());
                    assert_eq!(read, Request { spki, algorithm: signer.algorithm(), carrier, statement });
                }
            }
        }
    }

    #[test]
    fn rule_9_one_carrier_one_statement() {
        let cmw = collection(&[BRIEF, NONCE, REPORT]);
        let statement = wrapped(&cmw);
        let good = attribute(ATTESTATION, &[&bundle(&[&statement])]);
        assert!(with_attributes(&[&good]).is_ok(), "control");

        let attributes = Err(CsrError::Attributes);
        assert_eq!(with_attributes(&[]), attributes);
        assert_eq!(with_attributes(&[&good, &good]), attributes);
        let extension_request = attribute(EXTENSION_REQUEST, &[NO_SUBJECT]);
        assert_eq!(with_attributes(&[&extension_request]), attributes);
        assert_eq!(with_attributes(&[&good, &extension_request]), attributes);
        assert_eq!(with_attributes(&[&attribute(ATTESTATION, &[])]), attributes);
        let bundle_twice = attribute(ATTESTATION, &[&bundle(&[&statement]), &bundle(&[&statement])]);
        assert_eq!(with_attributes(&[&bundle_twice]), attributes);
        assert_eq!(Request::parse(&request(NO_SUBJECT, &[]), &Software), attributes);

        let statements = Err(CsrError::Statements);
        assert_eq!(with_attributes(&[&attribute(ATTESTATION, &[&bundle(&[])])]), statements);
        assert_eq!(with_attributes(&[&attribute(ATTESTATION, &[&bundle(&[&statement, &statement])])]), statements);
        let other_type = tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[&[0x67, 0x81, 5, 5, 4, 1]]), &[5, 0]]);
        assert_eq!(with_attributes(&[&attribute(ATTESTATION, &[&bundle(&[&other_type])])]), statements);
    }

    #[test]
    fn rule_9_the_extension_is_one_and_alone() {
        let extension = |oid: &[u8], critical: bool, value: &[u8]| {
            let critical: &[u8] = if critical { &[tag::BOOLEAN, 1, 0xff] } else { &[] };
            tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[oid]), critical, &tlv(tag::OCTET_STRING, &[value])])
        };
        let asked = |extensions: &[&[u8]]| attribute(EXTENSION_REQUEST, &[&tlv(tag::SEQUENCE, extensions)]);
        let cmw = collection(&[BRIEF, NONCE, REPORT]);
        let wrapper = tlv(tag::SEQUENCE, &[&tlv(tag::OCTET_STRING, &[&cmw])]);
        let good = extension(WRAPPER, false, &wrapper);
        let read = with_attributes(&[&asked(&[&good])]).unwrap();
        assert_eq!((read.carrier, &read.statement.evidence.bytes[..]), (Carrier::Extension, &b"report"[..]));

        let attributes = Err(CsrError::Attributes);
        // A name asked for beside it (subjectAltName), or alone; the carrier of the founding project; the same twice.
        let name = extension(&[0x55, 0x1d, 0x11], false, &[0x30, 3, 0x82, 1, b'x']);
        let founding = extension(&[0x2b, 6, 1, 4, 1, 0x83, 0xc7, 0x1e, 1, 3], false, &wrapper);
        for extensions in [&[&good[..], &name][..], &[&name], &[&founding], &[&good, &good]] {
            assert_eq!(with_attributes(&[&asked(extensions)]), attributes);
        }
        let both = attribute(ATTESTATION, &[&bundle(&[&wrapped(&cmw)])]);
        assert_eq!(with_attributes(&[&asked(&[&good]), &both]), attributes);
        assert_eq!(with_attributes(&[&both, &asked(&[&good])]), attributes);
        let critical = extension(WRAPPER, true, &wrapper);
        assert_eq!(with_attributes(&[&asked(&[&critical])]), Err(CsrError::Malformed("extension")));
        // What belongs into the attribute.
        let nested = extension(WRAPPER, false, &bundle(&[&wrapped(&cmw)]));
        assert_eq!(with_attributes(&[&asked(&[&nested])]), Err(CsrError::Malformed("wrapper")));
    }

    #[test]
    fn rule_9_certificates_have_one_place_in_each_carrier() {
        let key = P256::new(7);
        let with = |pieces: &[(&str, &[u8])]| {
            let mut cmw = Writer::default();
            cmw.map(4);
            for (label, media_type, bytes) in [BRIEF, NONCE, REPORT] {
                cmw.text(label).array(2).text(media_type).bytes(bytes);
            }
            cmw.text(COLLATERAL).map(pieces.len());
            for (label, (media_type, bytes)) in (0..).zip(pieces) {
                cmw.uint(label).array(2).text(media_type).bytes(bytes);
            }
            let wrapper = tlv(tag::SEQUENCE, &[&tlv(tag::OCTET_STRING, &[&cmw.finish()])]);
            let value = tlv(tag::OCTET_STRING, &[&wrapper]);
            let extension = tlv(tag::SEQUENCE, &[&tlv(tag::OID, &[WRAPPER]), &value]);
            with_attributes(&[&attribute(EXTENSION_REQUEST, &[&tlv(tag::SEQUENCE, &[&extension])])])
                .map(|request| request.statement.endorsements.len())
        };
        let (one, crl) = ((CERTIFICATE, &[tag::SEQUENCE, 0][..]), (CollateralKind::Crl.media_type(), &b"x"[..]));
        assert_eq!(with(&[one, one, crl]), Ok(2), "control");
        assert_eq!(with(&[crl, one]), Err(CsrError::NotCanonical));
        let two_in_one = (CERTIFICATE, &[tag::SEQUENCE, 0, tag::SEQUENCE, 0][..]);
        assert_eq!(with(&[two_in_one]), Err(CsrError::NotCanonical));
        assert_eq!(with(&[(CERTIFICATE, b"-----BEGIN")]), Err(CsrError::Endorsements));
        assert_eq!(with(&[one; 8]), Ok(8), "control");
        assert_eq!(with(&[one; 9]), Err(CsrError::Endorsements));
        let most = Statement { collateral: vec![statement().collateral[0].clone(); MAX_COLLATERAL], ..statement() };
        assert!(build(&most, Carrier::Extension, &key).is_ok(), "control");
    }

    #[test]
    fn rule_9_the_statement_has_its_members_and_no_other() {
        assert!(with_cmw(&collection(&[BRIEF, NONCE, REPORT])).is_ok(), "control");
        assert_eq!(with_cmw(&collection(&[NONCE, REPORT])), Err(CsrError::Member("brief")));
        assert_eq!(with_cmw(&collection(&[BRIEF, REPORT])), Err(CsrError::Member("nonce")));
        assert_eq!(with_cmw(&collection(&[BRIEF, NONCE])), Err(CsrError::Member("evidence")));
        let other = ("zzz", "text/plain", &b"x"[..]);
        assert_eq!(with_cmw(&collection(&[other, BRIEF, NONCE, REPORT])), Err(CsrError::Member("(another label)")));
        let mistyped = ("brief", NONCE_MEDIA_TYPE, &b"brief"[..]);
        assert_eq!(with_cmw(&collection(&[mistyped, NONCE, REPORT])), Err(CsrError::Member("brief")));
        for media_type in ["", "x", "Application/x", "a/", "/b", "a/b; c=d"] {
            let report = ("evidence", media_type, &b"report"[..]);
            assert_eq!(
                with_cmw(&collection(&[BRIEF, NONCE, report])),
                Err(CsrError::Member("evidence")),
                "{media_type}"
            );
        }
        let short = ("nonce", NONCE_MEDIA_TYPE, &[5; 15][..]);
        assert_eq!(with_cmw(&collection(&[BRIEF, short, REPORT])), Err(CsrError::Nonce { found: 15 }));
        let long = vec![0; BRIEF_LIMIT + 1];
        assert_eq!(with_cmw(&collection(&[("brief", BRIEF_MEDIA_TYPE, &long), NONCE, REPORT])), Err(CsrError::Brief));
        // Twice the same, another order, a longer length, and something behind.
        assert_eq!(with_cmw(&collection(&[BRIEF, BRIEF, NONCE, REPORT])), Err(CsrError::NotCanonical));
        assert_eq!(with_cmw(&collection(&[REPORT, NONCE, BRIEF])), Err(CsrError::NotCanonical));
        let mut long = collection(&[BRIEF, NONCE, REPORT]);
        long.splice(..1, [0xb8, 3]);
        assert_eq!(with_cmw(&long), Err(CsrError::NotCanonical));
        let mut more = collection(&[BRIEF, NONCE, REPORT]);
        more.push(0);
        assert_eq!(with_cmw(&more), Err(CsrError::Malformed("end of the collection")));
    }

    #[test]
    fn collateral_is_of_known_kinds_and_counted() {
        let with = |pieces: &[(u64, &str)]| {
            let mut cmw = Writer::default();
            cmw.map(4);
            for (label, media_type, bytes) in [BRIEF, NONCE, REPORT] {
                cmw.text(label).array(2).text(media_type).bytes(bytes);
            }
            cmw.text(COLLATERAL).map(pieces.len());
            for (label, media_type) in pieces {
                cmw.uint(*label).array(2).text(media_type).bytes(b"x");
            }
            with_cmw(&cmw.finish()).map(|request| request.statement.collateral.len())
        };
        let crl = CollateralKind::Crl.media_type();
        assert_eq!(with(&[(0, crl), (1, crl)]), Ok(2), "control");
        for labels in [[1, 2], [1, 0], [0, 0], [0, 2]] {
            assert_eq!(with(&labels.map(|label| (label, crl))), Err(CsrError::NotCanonical), "{labels:?}");
        }
        assert_eq!(with(&[]), Err(CsrError::NotCanonical), "none is not said");
        assert_eq!(with(&[(0, "application/pkix-cert")]), Err(CsrError::Collateral));
        let record = ("collateral", crl, &b"x"[..]);
        assert_eq!(with_cmw(&collection(&[BRIEF, NONCE, REPORT, record])), Err(CsrError::Malformed(COLLATERAL)));
    }

    #[test]
    fn rule_6_nothing_can_be_asked_for() {
        let good = tlv(
            tag::constructed(0),
            &[&attribute(ATTESTATION, &[&bundle(&[&wrapped(&collection(&[BRIEF, NONCE, REPORT]))])])],
        );
        assert!(Request::parse(&request(NO_SUBJECT, &good), &Software).is_ok(), "control");
        let named = [0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'x'];
        assert_eq!(Request::parse(&request(&named, &good), &Software), Err(CsrError::Subject));
    }

    #[test]
    fn the_sender_holds_the_key() {
        let key = P256::new(7);
        let der = build(&statement(), Carrier::Attribute, &key).unwrap();
        assert!(Request::parse(&der, &Software).is_ok(), "control");
        // The same request under another's signature.
        let read = read(&der).unwrap();
        let signature = keys::sign(&P256::new(8), read.signed).unwrap();
        let stolen = tlv(tag::SEQUENCE, &[read.signed, key.algorithm().identifier(), &bit_string(&signature)]);
        assert_eq!(Request::parse(&stolen, &Software), Err(CsrError::Signature));
        for at in (0..der.len()).filter(|at| *at < 200 || *at + 100 > der.len() || at.is_multiple_of(41)) {
            let mut changed = der.clone();
            changed[at] ^= 1;
            assert!(Request::parse(&changed, &Software).is_err(), "byte {at}");
        }
        for length in (0..der.len()).step_by(7) {
            assert!(Request::parse(&der[..length], &Software).is_err(), "cut at {length}");
        }
        assert_eq!(
            Request::parse(&[&der[..], &[0]].concat(), &Software),
            Err(CsrError::Malformed("end of the request"))
        );
    }

    #[test]
    fn sizes_are_bounded_on_both_sides() {
        let key = P256::new(7);
        let piece = |length| Collateral { kind: CollateralKind::Crl, bytes: vec![0; length] };
        let huge = Statement { collateral: vec![piece(CSR_LIMIT)], ..statement() };
        assert!(matches!(build(&huge, Carrier::Attribute, &key), Err(BuildError::Statement(CsrError::TooLong { .. }))));
        assert!(matches!(Request::parse(&vec![0x30; CSR_LIMIT + 1], &Software), Err(CsrError::TooLong { .. })));
        let most = Statement { collateral: vec![piece(9); MAX_COLLATERAL], ..statement() };
        assert!(build(&most, Carrier::Attribute, &key).is_ok(), "control");
        let more = Statement { collateral: vec![piece(9); MAX_COLLATERAL + 1], ..statement() };
        assert_eq!(build(&more, Carrier::Attribute, &key), Err(BuildError::Statement(CsrError::Collateral)));
        let one = tlv(tag::SEQUENCE, &[]);
        let eight = Statement { endorsements: vec![one.clone(); 8], ..statement() };
        assert!(build(&eight, Carrier::Attribute, &key).is_ok(), "control");
        let nine = Statement { endorsements: vec![one; 9], ..statement() };
        assert_eq!(build(&nine, Carrier::Attribute, &key), Err(BuildError::Statement(CsrError::Endorsements)));
        let not_der = Statement { endorsements: vec![b"-----BEGIN".to_vec()], ..statement() };
        assert_eq!(build(&not_der, Carrier::Attribute, &key), Err(BuildError::Statement(CsrError::Endorsements)));
        // Two certificates given as one would come out as two.
        let two_in_one = Statement { endorsements: vec![[tag::SEQUENCE, 0, tag::SEQUENCE, 0].to_vec()], ..statement() };
        let read = build(&two_in_one, Carrier::Attribute, &key)
            .map(|der| Request::parse(&der, &Software).unwrap().statement.endorsements.len());
        assert_eq!(read, Ok(2));
    }
}
