//! Evidence as attesters send it today: JSON of Confidential Containers' attestation agents, in two layouts.
//!
//! ```text
//!            without "version"                        "version": 1
//!   SNP      report, quote, vcek                      hcl_report, tpm_quote, vcek
//!   TDX      hcl_report, tpm_quote, td_quote          the same
//!   bytes    arrays of numbers; the VCEK is PEM       base64url; those of the TPM quote hexadecimal; the VCEK is DER
//! ```
//!
//! An envelope is unpacked, never believed: nothing is refused here but what cannot be read. Unknown fields are errors.

use super::quote::PCRS;
use super::runtime::LONGEST;
use super::{Evidence, TpmQuote};
use crate::dcap::chain;
use crate::verdict::said;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use thiserror::Error;

/// Longest envelope that is looked at; those of today have 36 KB.
pub const MAX_ENVELOPE: usize = 256 * 1024;

/// Alphabet of version 1, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why bytes are no envelope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Longer than [`MAX_ENVELOPE`].
    #[error("{found} bytes, limit {MAX_ENVELOPE}")]
    TooLong {
        /// Bytes received.
        found: usize,
    },
    /// Not the JSON that is expected.
    #[error("{0}")]
    Json(String),
    /// A layout that is not known here.
    #[error("version {0} is not 1")]
    Version(u32),
    /// Not written as this layout writes it.
    #[error("`{0}` is not written as in this version")]
    Field(&'static str),
    /// Not exactly one of both.
    #[error("neither `vcek` nor `td_quote`, or both")]
    Endorsement,
}

/// What the hardware's report is judged by, of what an attester sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endorsement {
    /// The VCEK certificate, DER.
    Vcek(Vec<u8>),
    /// A quote of the TDREPORT.
    TdQuote(Vec<u8>),
}

/// Evidence with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The HCL report.
    pub hcl_report: Vec<u8>,
    /// TPMS_ATTEST.
    pub message: Vec<u8>,
    /// The attestation key's signature.
    pub signature: Vec<u8>,
    /// Values of the SHA-256 PCRs, from PCR 0 on.
    pub pcrs: Vec<[u8; 32]>,
    /// What the hardware's report is judged by.
    pub endorsement: Endorsement,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Numbers(Vec<u8>),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenQuote {
    signature: Bytes,
    message: Bytes,
    pcrs: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Option<u32>,
    #[serde(alias = "report")]
    hcl_report: Bytes,
    #[serde(alias = "quote")]
    tpm_quote: WrittenQuote,
    vcek: Option<String>,
    td_quote: Option<Bytes>,
}

/// How bytes are written.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Numbers,
    Text,
}

impl Layout {
    fn hexadecimal(self, name: &'static str, bytes: Bytes) -> Result<Vec<u8>, EnvelopeError> {
        self.bytes(name, bytes, |text| hex::decode(text).ok())
    }

    fn base64(self, name: &'static str, bytes: Bytes) -> Result<Vec<u8>, EnvelopeError> {
        self.bytes(name, bytes, |text| BASE64.decode(text).ok())
    }

    fn bytes(
        self,
        name: &'static str,
        bytes: Bytes,
        decode: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, EnvelopeError> {
        match (self, bytes) {
            (Self::Numbers, Bytes::Numbers(bytes)) => Some(bytes),
            (Self::Text, Bytes::Text(text)) => decode(&text),
            (Self::Numbers, Bytes::Text(_)) | (Self::Text, Bytes::Numbers(_)) => None,
        }
        .ok_or(EnvelopeError::Field(name))
    }

    fn certificate(self, text: &str) -> Result<Vec<u8>, EnvelopeError> {
        match self {
            Self::Numbers => chain::ders(text.as_bytes(), 1).ok().map(|(certificate, _)| certificate),
            Self::Text => BASE64.decode(text).ok(),
        }
        .ok_or(EnvelopeError::Field("vcek"))
    }
}

impl Envelope {
    /// Reads an envelope of either layout.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if json.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLong { found: json.len() });
        }
        let written = serde_json::from_slice(json).map_err(|error| EnvelopeError::Json(said(&error, LONGEST)))?;
        let Written { version, hcl_report, tpm_quote, vcek, td_quote } = written;
        let WrittenQuote { signature, message, pcrs } = tpm_quote;
        let layout = match version {
            None => Layout::Numbers,
            Some(1) => Layout::Text,
            Some(other) => return Err(EnvelopeError::Version(other)),
        };
        if pcrs.len() > usize::from(PCRS) {
            return Err(EnvelopeError::Field("pcrs"));
        }
        let pcr = |bytes| layout.hexadecimal("pcrs", bytes)?.try_into().map_err(|_| EnvelopeError::Field("pcrs"));
        Ok(Self {
            hcl_report: layout.base64("hcl_report", hcl_report)?,
            message: layout.hexadecimal("message", message)?,
            signature: layout.hexadecimal("signature", signature)?,
            pcrs: pcrs.into_iter().map(pcr).collect::<Result<_, _>>()?,
            endorsement: match (vcek, td_quote) {
                (Some(vcek), None) => Endorsement::Vcek(layout.certificate(&vcek)?),
                (None, Some(quote)) => Endorsement::TdQuote(layout.base64("td_quote", quote)?),
                (None, None) | (Some(_), Some(_)) => return Err(EnvelopeError::Endorsement),
            },
        })
    }

    /// The evidence, to be judged.
    pub fn evidence(&self) -> Evidence<'_> {
        let quote = TpmQuote { message: &self.message, signature: &self.signature, pcrs: &self.pcrs };
        Evidence { hcl_report: &self.hcl_report, quote }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: &str = "{\"signature\":\"01\",\"message\":\"02\",\"pcrs\":[]}";

    fn parse(json: &str) -> Result<Envelope, EnvelopeError> {
        Envelope::parse(json.as_bytes())
    }

    #[test]
    fn a_layout_is_the_one_its_version_says() {
        let numbers = "{\"signature\":[1],\"message\":[2],\"pcrs\":[]}";
        let envelope = Envelope {
            hcl_report: vec![3],
            message: vec![2],
            signature: vec![1],
            pcrs: vec![],
            endorsement: Endorsement::TdQuote(vec![4]),
        };
        let old = format!("{{\"hcl_report\":[3],\"tpm_quote\":{numbers},\"td_quote\":[4]}}");
        let new = format!("{{\"version\":1,\"hcl_report\":\"Aw\",\"tpm_quote\":{QUOTE},\"td_quote\":\"BA==\"}}");
        assert_eq!(parse(&old), Ok(envelope.clone()));
        assert_eq!(parse(&new), Ok(envelope));
        assert_eq!(parse(&new.replace("\"Aw\"", "[3]")), Err(EnvelopeError::Field("hcl_report")));
        assert_eq!(parse(&old.replace("[4]", "\"BA\"")), Err(EnvelopeError::Field("td_quote")));
        assert_eq!(parse(&new.replace(":1,", ":2,")), Err(EnvelopeError::Version(2)));
        assert_eq!(parse(&new.replace("\"td_quote\"", "\"vcek\"")).map(|_| ()), Ok(()), "whatever bytes");
        assert_eq!(parse(&old.replace(",\"td_quote\":[4]", "")), Err(EnvelopeError::Endorsement));
        let both = new.replace("}}", "},\"vcek\":\"\"}").replace("\"BA==\"}", "\"BA==\",\"vcek\":\"\"}");
        assert_eq!(parse(&both), Err(EnvelopeError::Endorsement));
        assert!(matches!(parse(&new.replace(":1,", ":1,\"more\":1,")), Err(EnvelopeError::Json(_))));
        let many = vec!["\"\""; 25].join(",");
        assert_eq!(parse(&new.replace("[]", &format!("[{many}]"))), Err(EnvelopeError::Field("pcrs")));
        assert_eq!(parse(&new.replace("[]", "[\"00\"]")), Err(EnvelopeError::Field("pcrs")));
    }

    #[test]
    fn more_than_the_limit_is_not_read() {
        let long = vec![b' '; MAX_ENVELOPE + 1];
        assert_eq!(Envelope::parse(&long), Err(EnvelopeError::TooLong { found: long.len() }));
    }
}
