//! What a file is: evidence, a request that carries evidence, a bundle, or what evidence is judged by.
//!
//! Owns the kinds and how they are told: by first bytes, never by name. Binary, or text of hexadecimal or base64 digits,
//! once. Refuses what is too long before it is looked at, and what is none of these, with what it looks like. Invariant: a
//! [`File`] is no statement about trust, and reading one takes time and memory in proportion to its bytes.

use super::Evidence;
use super::bundle::{self, Bundle};
use super::pool::{Endorsements, TooMany};
use crate::azure::Envelope;
use crate::azure::envelope::Endorsement;
use crate::dcap::tcb_info::Answer;
use crate::pki::{Certificate, Crl, Scheme};
use crate::snp::report::REPORT_LEN;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use core::fmt;
use der::pem::Decoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// Longest file that is looked at.
pub const MAX_FILE: usize = 1024 * 1024;

/// Kinds of files, by the names that people and machines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// ATTESTATION_REPORT of AMD SEV-SNP.
    SnpReport,
    /// The same, followed by the host's table of certificates (AMD 56421, SNP Extended Guest Request).
    SnpExtendedReport,
    /// ECDSA quote of Intel SGX.
    SgxQuote,
    /// ECDSA quote of Intel TDX.
    TdxQuote,
    /// What a virtual machine of Azure on SEV-SNP sends.
    AzureSnp,
    /// What a virtual machine of Azure on TDX sends.
    AzureTdx,
    /// A certificate request (PKCS#10).
    Csr,
    /// An evidence bundle of Donjon's.
    Bundle,
    /// Certificates or revocation lists.
    Certificates,
    /// Everything for quotes of one kind of platform, in one JSON object.
    DcapCollateral,
    /// One answer of Intel's service.
    PcsAnswer,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SnpReport => "snp-report",
            Self::SnpExtendedReport => "snp-extended-report",
            Self::SgxQuote => "sgx-quote",
            Self::TdxQuote => "tdx-quote",
            Self::AzureSnp => "azure-snp",
            Self::AzureTdx => "azure-tdx",
            Self::Csr => "csr",
            Self::Bundle => "bundle",
            Self::Certificates => "certificates",
            Self::DcapCollateral => "dcap-collateral",
            Self::PcsAnswer => "pcs-answer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it is.
    pub kind: Kind,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Evidence, and what came with it.
    Evidence(Evidence, Endorsements),
    /// A certificate request, DER.
    Csr(Vec<u8>),
    /// A bundle.
    Bundle(Box<Bundle>),
    /// What evidence is judged by.
    Endorsements(Endorsements),
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// Longer than any.
    #[error("it has more than {MAX_FILE} bytes")]
    TooLong,
    /// Not one of the kinds.
    #[error("it is neither evidence nor collateral: {0}")]
    Unknown(String),
    /// PEM that is broken, or of something else.
    #[error("PEM: {0}")]
    Pem(String),
    /// JSON that is broken, or of something else.
    #[error("JSON: {0}")]
    Json(String),
    /// A bundle that is none.
    #[error("evidence bundle: {0}")]
    Bundle(#[from] bundle::BundleError),
    /// More than is looked at.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl File {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Result<Self, FileError> {
        if bytes.len() > MAX_FILE {
            return Err(FileError::TooLong);
        }
        if let Some(file) = binary(bytes)? {
            return Ok(file);
        }
        let text = core::str::from_utf8(bytes).map(|text| text.trim_start_matches('\u{feff}').trim());
        let text = text.map_err(|_| FileError::Unknown(looks_like(bytes)))?;
        if text.is_empty() {
            return Err(FileError::Empty);
        }
        if text.starts_with("-----BEGIN ") {
            return pem(text);
        }
        if text.starts_with('{') {
            return json(text);
        }
        let unknown = || FileError::Unknown(looks_like(bytes));
        let decoded = digits(text).ok_or_else(unknown)?;
        binary(&decoded)?.ok_or_else(|| FileError::Unknown(format!("digits that mean {}", looks_like(&decoded))))
    }
}

/// Bytes of hexadecimal digits, or of base64's; lines may be broken.
fn digits(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.strip_prefix("0x").unwrap_or(text).split_ascii_whitespace().collect();
    hex::decode(&compact).ok().or_else(|| BASE64_STANDARD.decode(&compact).ok())
}

/// Formats that are no text.
fn binary(bytes: &[u8]) -> Result<Option<File>, FileError> {
    match bytes.get(RESPONSE..) {
        // A response of the firmware as it came: status 0, size, reserved. There is none in another.
        Some(rest) if bytes.starts_with(&[0; 4]) && rest.len() >= REPORT_LEN => format(rest),
        _ => format(bytes),
    }
}

fn format(bytes: &[u8]) -> Result<Option<File>, FileError> {
    let word = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map(|word| u16::from_le_bytes(*word));
    let (Some(version), Some(second)) = (word(0), word(2)) else { return Ok(None) };
    // SEV-SNP has a version of 32 bits; quotes have one of 16, and then the kind of key, 2 or 3.
    match (version, second) {
        (2..=9, 0) => Ok(Some(report(bytes)?)),
        (3..=9, 1..=3) => Ok(Some(quote(bytes, word(4)))),
        _ if bytes.starts_with(&[0x30]) => der(bytes),
        _ => Ok(None),
    }
}

/// MSG_REPORT_RSP before its report (AMD 56860, table of that name).
const RESPONSE: usize = 32;

fn quote(bytes: &[u8], tee: Option<u16>) -> File {
    const TDX: u16 = 0x81;
    let (kind, evidence) = match tee {
        Some(TDX) => (Kind::TdxQuote, Evidence::Tdx(bytes.to_vec())),
        _ => (Kind::SgxQuote, Evidence::Sgx(bytes.to_vec())),
    };
    File { kind, content: Content::Evidence(evidence, Endorsements::default()) }
}

fn report(bytes: &[u8]) -> Result<File, FileError> {
    let (report, table) = bytes.split_at_checked(REPORT_LEN).unwrap_or((bytes, &[]));
    let file = |kind, report: &[u8], endorsements| File {
        kind,
        content: Content::Evidence(Evidence::Snp(report.to_vec()), endorsements),
    };
    match certificates(table)? {
        Some(endorsements) => Ok(file(Kind::SnpExtendedReport, report, endorsements)),
        // Whatever is behind it, its size is judged.
        None => Ok(file(Kind::SnpReport, bytes, Endorsements::default())),
    }
}

/// The table of certificates that a host gives with a report: GUID, offset, length; the last entry is zeros.
fn certificates(table: &[u8]) -> Result<Option<Endorsements>, FileError> {
    const ENTRY: usize = 24;
    let mut endorsements = Endorsements::default();
    // Entries that are one in another would make much of few bytes.
    let mut left = table.len();
    for entry in table.chunks_exact(ENTRY).take(super::pool::MOST) {
        let Some((guid, [a, b, c, d, e, f, g, h])) = entry.split_first_chunk::<16>() else { return Ok(None) };
        if *guid == [0; 16] {
            return Ok((!endorsements.is_empty()).then_some(endorsements));
        }
        let [offset, length] = [[a, b, c, d], [e, f, g, h]].map(|word| u32::from_le_bytes(word.map(|byte| *byte)));
        let at = usize::try_from(offset).ok().and_then(|at| table.get(at..));
        let Some(der) = at.and_then(|rest| rest.get(..usize::try_from(length).ok()?)) else { return Ok(None) };
        let Some(rest) = left.checked_sub(der.len()) else { return Ok(None) };
        left = rest;
        endorse(&mut endorsements, der)?;
    }
    Ok(None)
}

/// A certificate or a list, if it is one.
fn endorse(endorsements: &mut Endorsements, der: &[u8]) -> Result<bool, TooMany> {
    let either = [Scheme::RsaPssSha384, Scheme::EcdsaP256Sha256];
    if either.iter().any(|scheme| Certificate::parse(der, *scheme).is_ok()) {
        endorsements.certificate(der)?;
    } else if either.iter().any(|scheme| Crl::parse(der, *scheme).is_ok()) {
        endorsements.list(der)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn der(bytes: &[u8]) -> Result<Option<File>, FileError> {
    let mut endorsements = Endorsements::default();
    if endorse(&mut endorsements, bytes)? {
        return Ok(Some(File { kind: Kind::Certificates, content: Content::Endorsements(endorsements) }));
    }
    // CertificationRequest: a SEQUENCE whose first element is a SEQUENCE that begins with version 0 (RFC 2986 section 4.1).
    let inner = contents(bytes).and_then(contents);
    let csr = inner.is_some_and(|info| info.starts_with(&[0x02, 0x01, 0x00]));
    Ok(csr.then(|| File { kind: Kind::Csr, content: Content::Csr(bytes.to_vec()) }))
}

/// What is in a SEQUENCE, if it is whole.
fn contents(der: &[u8]) -> Option<&[u8]> {
    use der::{Decode as _, Header, Reader as _, SliceReader, Tag};
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    (header.tag() == Tag::Sequence).then(|| reader.read_slice(header.length()).ok()).flatten()
}

fn pem(text: &str) -> Result<File, FileError> {
    let mut endorsements = Endorsements::default();
    let mut rest = text;
    while !rest.is_empty() {
        const END: &str = "-----END ";
        let broken = || FileError::Pem("a section without its end".to_owned());
        let end = rest.find(END).ok_or_else(broken)?;
        let tail = rest.get(end..).ok_or_else(broken)?;
        let line = tail.find('\n').unwrap_or(tail.len());
        let (one, others) = rest.split_at_checked(end.saturating_add(line)).ok_or_else(broken)?;
        rest = others.trim_start();
        let (label, der) =
            section(one.trim_end()).ok_or_else(|| FileError::Pem("a section that is malformed".to_owned()))?;
        match label.as_str() {
            "CERTIFICATE" => endorsements.certificate(&der)?,
            "X509 CRL" => endorsements.list(&der)?,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" if endorsements.is_empty() && rest.is_empty() => {
                return Ok(File { kind: Kind::Csr, content: Content::Csr(der) });
            }
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
                return Err(FileError::Pem("a certificate request that does not stand alone in its file".to_owned()));
            }
            other => return Err(FileError::Pem(format!("a section {:?} is not wanted here", cut(other, 40)))),
        }
    }
    Ok(File { kind: Kind::Certificates, content: Content::Endorsements(endorsements) })
}

fn section(pem: &str) -> Option<(String, Vec<u8>)> {
    let mut decoder = Decoder::new_detect_wrap(pem.as_bytes()).ok()?;
    let mut der = Vec::new();
    decoder.decode_to_end(&mut der).ok()?;
    Some((decoder.type_label().to_owned(), der))
}

fn json(text: &str) -> Result<File, FileError> {
    /// Which of the forms it is, by a key that only one of them has.
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(default, rename = "donjon_evidence_bundle")]
        bundle: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        tcb_info: Option<serde::de::IgnoredAny>,
        #[serde(default, rename = "tcbInfo")]
        tcb_answer: Option<serde::de::IgnoredAny>,
        #[serde(default, rename = "enclaveIdentity")]
        identity_answer: Option<serde::de::IgnoredAny>,
        #[serde(default, alias = "quote")]
        tpm_quote: Option<serde::de::IgnoredAny>,
        /// Another agent's wrapping around it.
        #[serde(borrow, default)]
        evidence: Option<&'a RawValue>,
        #[serde(default)]
        platform: Option<&'a str>,
    }
    let malformed = |error: &serde_json::Error| FileError::Json(cut(&error.to_string(), 200));
    let probe: Probe<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if probe.bundle.is_some() {
        let bundle = Bundle::read(text.as_bytes())?;
        return Ok(File { kind: Kind::Bundle, content: Content::Bundle(Box::new(bundle)) });
    }
    if let (Some(inner), Some("az-snp" | "az-tdx")) = (probe.evidence, probe.platform) {
        // Once: there is no wrapping in a wrapping.
        return azure(inner.get());
    }
    if probe.tpm_quote.is_some() {
        return azure(text);
    }
    let mut endorsements = Endorsements::default();
    let kind = if probe.tcb_info.is_some() {
        let collateral: Collateral = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        collateral.add(&mut endorsements)?;
        Kind::DcapCollateral
    } else if probe.tcb_answer.is_some() || probe.identity_answer.is_some() {
        let answer = Answer::parse(text.as_bytes()).map_err(|error| FileError::Json(cut(&error.to_string(), 200)))?;
        let Answer { body, signature } = answer;
        if probe.tcb_answer.is_some() {
            endorsements.tcb_info(body, &signature)?;
        } else {
            endorsements.qe_identity(body, &signature)?;
        }
        Kind::PcsAnswer
    } else {
        return Err(FileError::Json("an object of none of the forms known here".to_owned()));
    };
    Ok(File { kind, content: Content::Endorsements(endorsements) })
}

fn azure(text: &str) -> Result<File, FileError> {
    let envelope = Envelope::parse(text.as_bytes()).map_err(|error| FileError::Json(cut(&error.to_string(), 200)))?;
    let kind = match envelope.endorsement {
        Endorsement::Vcek(_) => Kind::AzureSnp,
        Endorsement::TdQuote(_) => Kind::AzureTdx,
    };
    let evidence = Evidence::Azure(text.as_bytes().to_vec());
    Ok(File { kind, content: Content::Evidence(evidence, Endorsements::default()) })
}

/// Collateral in one object: what was signed as text, PEM chains, the rest in hexadecimal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Collateral {
    tcb_info: String,
    tcb_info_signature: String,
    tcb_info_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    qe_identity_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    pck_crl_issuer_chain: String,
    /// The PCK's own chain, which some keep here too.
    #[serde(default)]
    pck_certificate_chain: Option<String>,
}

impl Collateral {
    fn add(self, endorsements: &mut Endorsements) -> Result<(), FileError> {
        let bytes = |key: &str, text: &str| {
            hex::decode(text).map_err(|_| FileError::Json(format!("`{key}` is not hexadecimal")))
        };
        endorsements.tcb_info(self.tcb_info.as_bytes(), &bytes("tcb_info_signature", &self.tcb_info_signature)?)?;
        let signature = bytes("qe_identity_signature", &self.qe_identity_signature)?;
        endorsements.qe_identity(self.qe_identity.as_bytes(), &signature)?;
        endorsements.list(&bytes("root_ca_crl", &self.root_ca_crl)?)?;
        endorsements.list(&bytes("pck_crl", &self.pck_crl)?)?;
        let chains = [&self.tcb_info_issuer_chain, &self.qe_identity_issuer_chain, &self.pck_crl_issuer_chain];
        for chain in chains.into_iter().chain(&self.pck_certificate_chain) {
            if let Content::Endorsements(of_chain) = pem(chain.trim())?.content {
                endorsements.extend(&of_chain)?;
            }
        }
        Ok(())
    }
}

/// What bytes seem to be, for people.
fn looks_like(bytes: &[u8]) -> String {
    let first = bytes.get(..8).unwrap_or(bytes);
    let what = match first {
        [] => return "nothing".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => "an ELF program",
        [0, b'a', b's', b'm', ..] => "WebAssembly",
        [b'H', b'C', b'L', b'A', ..] => "an HCL report of Azure without the TPM's quote that belongs to it",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [0x1f, 0x8b, ..] => "gzip",
        [0x30, ..] => "DER, but no certificate, no revocation list and no certificate request, or not a whole one",
        _ => return format!("{} bytes that begin with {}", bytes.len(), hex::encode(first)),
    };
    what.to_owned()
}

/// What others wrote, for people: so many bytes at most.
pub(super) fn cut(text: &str, most: usize) -> String {
    let printable: String = text.chars().filter(|c| !c.is_control()).take(most).collect();
    let end = printable.floor_char_boundary(most);
    printable.get(..end).unwrap_or_default().to_owned()
}
