//! Evidence bundles: evidence, all it was judged by, the policy, the nonce and the time, in one JSON file
//! (`spec/bundle.md`).
//!
//! Owns the form. Refuses unknown and doubled members, other versions, more than there can be of a kind. A bundle is a
//! statement of whoever made it: it brings no roots, and its policy and time are proposals which the caller may set aside.

use super::Evidence;
use super::file::{Kind, MAX_FILE, cut};
use super::pool::{Endorsements, MOST, TooMany};
use crate::Hex;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The one version.
const VERSION: u32 = 1;

/// What a bundle has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The evidence.
    pub evidence: Bundled,
    /// What it is judged by.
    pub endorsements: Endorsements,
    /// The policy it was judged by, TOML.
    pub policy: Option<String>,
    /// The first bytes of the report data; zeros follow. 1 to 64 bytes.
    pub nonce: Option<Vec<u8>>,
    /// The field that was fixed at launch.
    pub launch_field: Option<[u8; 32]>,
    /// When it was made, unix time: at this instant it is judged.
    pub time: u64,
}

/// What can be bundled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bundled {
    /// Evidence as such.
    Evidence(Evidence),
    /// A certificate request that carries it, DER.
    Csr(Vec<u8>),
}

/// Why bytes are no bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Too many bytes.
    #[error("more than {MAX_FILE} bytes")]
    TooLong,
    /// Not JSON of this form.
    #[error("{0}")]
    Json(String),
    /// Of another version.
    #[error("version {0}, and {VERSION} is the one that is known here")]
    Version(u32),
    /// Of something that is no evidence.
    #[error("`kind` is {0:?}, which is none of snp-report, sgx-quote, tdx-quote, azure, csr")]
    Kind(String),
    /// A nonce too short or too long.
    #[error("`nonce` has {0} bytes, not 1 to 64")]
    Nonce(usize),
    /// More than is looked at.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    donjon_evidence_bundle: u32,
    kind: String,
    evidence: Base64,
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Base64>,
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    revocation_lists: Vec<Base64>,
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    tcb_infos: Vec<Signed>,
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    qe_identities: Vec<Signed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    launch_field: Option<Hex<32>>,
    time: u64,
}

/// The bytes that were signed are text; a JSON string keeps every one of them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    body: String,
    signature: Hex<64>,
}

struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(|_| D::Error::custom("not base64"))
    }
}

/// A list that ends where it has too many: what is nothing in the file takes memory here.
fn few<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Few<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(one) = seq.next_element()? {
                if list.len() >= MOST {
                    return Err(A::Error::custom(format_args!("more than {MOST} in one list")));
                }
                list.push(one);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Few(PhantomData))
}

impl Bundle {
    /// Reads one.
    pub fn read(json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_FILE {
            return Err(BundleError::TooLong);
        }
        let text: Text =
            serde_json::from_slice(json).map_err(|error| BundleError::Json(cut(&error.to_string(), 200)))?;
        if text.donjon_evidence_bundle != VERSION {
            return Err(BundleError::Version(text.donjon_evidence_bundle));
        }
        let bytes = text.evidence.0;
        let evidence = match text.kind.as_str() {
            "snp-report" => Bundled::Evidence(Evidence::Snp(bytes)),
            "sgx-quote" => Bundled::Evidence(Evidence::Sgx(bytes)),
            "tdx-quote" => Bundled::Evidence(Evidence::Tdx(bytes)),
            "azure" => Bundled::Evidence(Evidence::Azure(bytes)),
            "csr" => Bundled::Csr(bytes),
            other => return Err(BundleError::Kind(cut(other, 40))),
        };
        let mut endorsements = Endorsements::default();
        text.certificates.iter().try_for_each(|der| endorsements.certificate(&der.0))?;
        text.revocation_lists.iter().try_for_each(|der| endorsements.list(&der.0))?;
        let mut infos = text.tcb_infos.iter();
        infos.try_for_each(|info| endorsements.tcb_info(info.body.as_bytes(), &info.signature.0))?;
        let mut identities = text.qe_identities.iter();
        identities
            .try_for_each(|identity| endorsements.qe_identity(identity.body.as_bytes(), &identity.signature.0))?;
        let nonce = text.nonce.map(|nonce| nonce.0);
        if let Some(nonce) = &nonce
            && !(1..=64).contains(&nonce.len())
        {
            return Err(BundleError::Nonce(nonce.len()));
        }
        Ok(Self {
            evidence,
            endorsements,
            policy: text.policy,
            nonce,
            launch_field: text.launch_field.map(|hash| hash.0),
            time: text.time,
        })
    }

    /// Writes one: JSON with line ends, no longer than can be read.
    pub fn write(&self) -> Result<String, BundleError> {
        let signed = |statements: &[super::pool::Statement]| {
            let of = |statement: &super::pool::Statement| {
                let body = String::from_utf8(statement.body.clone());
                let body = body.map_err(|_| BundleError::Json("a signed statement is no text".to_owned()))?;
                let signature = <[u8; 64]>::try_from(statement.signature.as_slice());
                let signature = signature.map_err(|_| BundleError::Json("a signature has not 64 bytes".to_owned()))?;
                Ok(Signed { body, signature: Hex(signature) })
            };
            statements.iter().map(of).collect::<Result<Vec<_>, BundleError>>()
        };
        let (kind, bytes) = match &self.evidence {
            Bundled::Evidence(Evidence::Snp(bytes)) => (Kind::SnpReport.name(), bytes),
            Bundled::Evidence(Evidence::Sgx(bytes)) => (Kind::SgxQuote.name(), bytes),
            Bundled::Evidence(Evidence::Tdx(bytes)) => (Kind::TdxQuote.name(), bytes),
            Bundled::Evidence(Evidence::Azure(bytes)) => ("azure", bytes),
            Bundled::Csr(bytes) => (Kind::Csr.name(), bytes),
        };
        let base64 = |der: &[u8]| Base64(der.to_vec());
        let text = Text {
            donjon_evidence_bundle: VERSION,
            kind: kind.to_owned(),
            evidence: Base64(bytes.clone()),
            certificates: self.endorsements.certificates().map(base64).collect(),
            revocation_lists: self.endorsements.lists().map(base64).collect(),
            tcb_infos: signed(self.endorsements.tcb_infos())?,
            qe_identities: signed(self.endorsements.qe_identities())?,
            policy: self.policy.clone(),
            nonce: self.nonce.clone().map(Base64),
            launch_field: self.launch_field.map(Hex),
            time: self.time,
        };
        let json = serde_json::to_string_pretty(&text).map_err(|error| BundleError::Json(error.to_string()))?;
        if json.len() > MAX_FILE { Err(BundleError::TooLong) } else { Ok(json) }
    }
}
