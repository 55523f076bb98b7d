//! Certificate requests as Enarx makes them: PKCS#10 (RFC 2986) whose extension request has evidence in one extension.
//!
//! Owns taking them apart, to judge what others recorded. What they are bound to is the hash of their key, and nothing else:
//! no nonce, no brief, so that nothing says when they were made. Refused: one whose own signature does not verify.
//! The forms are those of the Enarx Steward, crate `attestation`, and two older ones: a quote as it is, and a certificate
//! without lists.

use super::{Endorsements, Evidence};
use crate::dcap::tcb_info::Answer;
use crate::pki::{Certificate, Scheme, is_on_curve, parts};
use crate::provider::{Provider, SignatureAlgorithm};
use crate::verdict::said;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use der::asn1::{AnyRef, OctetStringRef, Utf8StringRef};
use der::{Decode, Encode, Sequence};
use sha2::{Digest, Sha256, Sha384};
use thiserror::Error;
use x509_cert::ext::Extensions;
use x509_cert::request::CertReqInfo;

/// Of a Keep that has nothing to prove.
const KVM: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.58270.1.1");
const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.58270.1.2");
const SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.58270.1.3");

/// What a request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The evidence.
    pub evidence: Evidence,
    /// What it brought to be judged by.
    pub endorsements: Endorsements,
    /// The key, SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// The hash of the key, and zeros.
    pub report_data: [u8; 64],
}

/// Why a request is none of these.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not the structure.
    #[error("not the DER of such a request: {0}")]
    Der(String),
    /// Another key than P-256 with SHA-256 or P-384 with SHA-384.
    #[error("its key is no ECDSA key on P-256 or P-384, or it is signed with another hash")]
    Key,
    /// Its sender does not hold the key.
    #[error("its signature does not verify: its sender does not hold the key")]
    Signature,
    /// `1.3.6.1.4.1.58270.1.1`.
    #[error("it is of a Keep without evidence (backend kvm)")]
    NoEvidence,
    /// What it brings is malformed, or more than is looked at.
    #[error("what its evidence is judged by: {0}")]
    Endorsements(String),
}

impl From<der::Error> for RequestError {
    fn from(error: der::Error) -> Self {
        const LONGEST: usize = 200;
        Self::Der(said(error, LONGEST))
    }
}

#[derive(Sequence)]
struct OfSnp<'a> {
    endorsed: AnyRef<'a>,
    report: &'a OctetStringRef,
}

#[derive(Sequence)]
struct Endorsed<'a> {
    vcek: AnyRef<'a>,
    lists: Lists<'a>,
}

#[derive(Sequence)]
struct OfSgx<'a> {
    quote: &'a OctetStringRef,
    lists: Lists<'a>,
    tcb: Option<Tcb<'a>>,
}

#[derive(Sequence)]
struct Lists<'a> {
    lists: Vec<List<'a>>,
}

#[derive(Sequence)]
struct List<'a> {
    _url: Utf8StringRef<'a>,
    list: AnyRef<'a>,
}

#[derive(Sequence)]
struct Tcb<'a> {
    chain: Vec<AnyRef<'a>>,
    answer: &'a OctetStringRef,
}

impl Request {
    /// Takes a request apart; none if there is nothing of Enarx in it.
    pub fn parse(der: &[u8], provider: &dyn Provider) -> Result<Option<Self>, RequestError> {
        let (signed, algorithm, signature) = parts(der)?;
        let info = CertReqInfo::from_der(signed)?;
        let Some((oid, value)) = carried(&info)? else { return Ok(None) };
        let spki = info.public_key.to_der()?;
        let signature = signature.as_bytes().ok_or(RequestError::Signature)?;
        let (algorithm, hash) = match algorithm.oid {
            rfc5912::ECDSA_WITH_SHA_256 if is_on_curve(&spki, rfc5912::SECP_256_R_1) => {
                (SignatureAlgorithm::EcdsaP256Sha256, Sha256::digest(&spki).to_vec())
            }
            rfc5912::ECDSA_WITH_SHA_384 if is_on_curve(&spki, rfc5912::SECP_384_R_1) => {
                (SignatureAlgorithm::EcdsaP384Sha384, Sha384::digest(&spki).to_vec())
            }
            _ => return Err(RequestError::Key),
        };
        if !provider.verify(algorithm, &spki, signed, signature) {
            return Err(RequestError::Signature);
        }
        let mut report_data = [0; 64];
        report_data.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        let (evidence, endorsements) = match oid {
            SNP => snp(&value)?,
            SGX => sgx(&value)?,
            _ => return Err(RequestError::NoEvidence),
        };
        Ok(Some(Self { evidence, endorsements, spki, report_data }))
    }
}

/// The one extension that is of Enarx.
fn carried(info: &CertReqInfo) -> Result<Option<(ObjectIdentifier, Vec<u8>)>, RequestError> {
    let mut found = None;
    for attribute in info.attributes.iter().filter(|attribute| attribute.oid == rfc5912::ID_EXTENSION_REQ) {
        for value in attribute.values.iter() {
            for extension in value.decode_as::<Extensions>()? {
                if ![KVM, SGX, SNP].contains(&extension.extn_id) {
                    continue;
                }
                if found.replace((extension.extn_id, extension.extn_value.into_bytes().into_vec())).is_some() {
                    return Err(RequestError::Der("evidence stands in it twice".to_owned()));
                }
            }
        }
    }
    Ok(found)
}

fn snp(value: &[u8]) -> Result<(Evidence, Endorsements), RequestError> {
    let OfSnp { endorsed, report } = OfSnp::from_der(value)?;
    let mut endorsements = Endorsements::default();
    let der = endorsed.to_der()?;
    if Certificate::parse(&der, Scheme::RsaPssSha384).is_ok() {
        endorsements.certificate(&der).map_err(many)?;
    } else {
        let Endorsed { vcek, lists } = endorsed.decode_as()?;
        endorsements.certificate(&vcek.to_der()?).map_err(many)?;
        add(&mut endorsements, &lists)?;
    }
    Ok((Evidence::Snp(report.as_bytes().to_vec()), endorsements))
}

fn sgx(value: &[u8]) -> Result<(Evidence, Endorsements), RequestError> {
    let mut endorsements = Endorsements::default();
    if !value.starts_with(&[0x30]) {
        return Ok((Evidence::Sgx(value.to_vec()), endorsements));
    }
    let OfSgx { quote, lists, tcb } = OfSgx::from_der(value)?;
    add(&mut endorsements, &lists)?;
    if let Some(Tcb { chain, answer }) = tcb {
        for certificate in chain {
            endorsements.certificate(&certificate.to_der()?).map_err(many)?;
        }
        let answer = Answer::parse(answer.as_bytes()).map_err(many)?;
        endorsements.tcb_info(answer.body, &answer.signature).map_err(many)?;
    }
    Ok((Evidence::Sgx(quote.as_bytes().to_vec()), endorsements))
}

fn add(endorsements: &mut Endorsements, lists: &Lists<'_>) -> Result<(), RequestError> {
    lists.lists.iter().try_for_each(|list| endorsements.list(&list.list.to_der()?).map_err(many))
}

fn many(error: impl core::fmt::Display) -> RequestError {
    RequestError::Endorsements(error.to_string())
}
