//! The JSON shape of an EAR: which claim has which name.
//!
//! Owns the names, and that the facts of accepted evidence are all there or none; what claims must say together besides,
//! [`super::Ear`] decides. Refuses, through serde, claims that are unknown, twice there, `null` or of another type, and a
//! second submodule.
//! Invariant: no claim is added without a name here, because both conversions take it apart in full.

use super::{Appraisal, Class, Conclusion, Ear, EarError, PROFILE, Tee, Tier, Vector, VerifierId};
use crate::Hex;
use crate::azure::policy::Pcr;
use crate::dcap::{Platform, TcbStatus};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// What accepted evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The product line as AMD calls it, or Intel's FMSPC in hexadecimal.
    pub product: String,
    /// The launch measurement: SNP's, MRENCLAVE, MRTD.
    pub measurement: Measurement,
    /// Digest of the key that signed the launch: SNP's author key, MRSIGNER.
    pub signer: Option<Measurement>,
    /// RTMR 0 to 3 of TDX.
    pub registers: Vec<Measurement>,
    /// The quoted PCRs of the SHA-256 bank, by their index; of virtual machines of Azure, and of no others.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
    /// H(brief), as the hardware's launch field has it; on Azure as the PCR was extended with it.
    pub brief: [u8; 32],
    /// What was bound to the evidence: key and nonce, as the caller composed them.
    pub report_data: [u8; 64],
    /// The security versions, in words.
    pub tcb: String,
    /// How they are rated.
    pub tcb_status: Rating,
    /// The advisories that apply.
    pub advisories: Vec<String>,
    /// Last second at which all collateral is good, unix time.
    pub collateral_end: u64,
}

impl Facts {
    /// What Intel says of a platform; the rest is of the body.
    pub(super) fn of(platform: &Platform) -> Self {
        let tcb = &platform.tcb;
        Self {
            product: hex::encode(platform.fmspc),
            measurement: Measurement(Vec::new()),
            signer: None,
            registers: Vec::new(),
            pcrs: BTreeMap::new(),
            brief: [0; 32],
            report_data: [0; 64],
            tcb: format!("components {}, pce {}, evaluation {}", Hex(tcb.components), tcb.pce, platform.evaluation),
            tcb_status: Rating::Intel(platform.standing.status),
            advisories: platform.standing.advisories.clone(),
            collateral_end: platform.collateral_end,
        }
    }
}

/// How the security versions are rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Word", into = "Word")]
pub enum Rating {
    /// In Intel's words.
    Intel(TcbStatus),
    /// The vendor does not rate them; they are not below the policy's floor.
    MeetsPolicy,
    /// The vendor does not rate them, and the policy has no floor: any would have passed.
    NotRated,
}

/// A rating as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Intel(TcbStatus),
    Ours(OurWord),
}

#[derive(Serialize, Deserialize)]
enum OurWord {
    MeetsPolicy,
    NotRated,
}

impl From<Word> for Rating {
    fn from(word: Word) -> Self {
        match word {
            Word::Intel(status) => Self::Intel(status),
            Word::Ours(OurWord::MeetsPolicy) => Self::MeetsPolicy,
            Word::Ours(OurWord::NotRated) => Self::NotRated,
        }
    }
}

impl From<Rating> for Word {
    fn from(rating: Rating) -> Self {
        match rating {
            Rating::Intel(status) => Self::Intel(status),
            Rating::MeetsPolicy => Self::Ours(OurWord::MeetsPolicy),
            Rating::NotRated => Self::Ours(OurWord::NotRated),
        }
    }
}

/// A measurement or a digest as the hardware reports it: 32 or 48 bytes, lowercase hexadecimal as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement(Vec<u8>);

impl Measurement {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for Measurement {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<[u8; 48]> for Measurement {
    fn from(bytes: [u8; 48]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Serialize for Measurement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Measurement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("not 32 or 48 bytes in lowercase hexadecimal");
        let bytes = lowercase(deserializer)?;
        if matches!(bytes.len(), 32 | 48) { Ok(Self(bytes)) } else { Err(wrong()) }
    }
}

/// Bytes in lowercase hexadecimal.
fn lowercase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = hex::decode(&text).map_err(D::Error::custom)?;
    if hex::encode(&bytes) == text { Ok(bytes) } else { Err(D::Error::custom("not lowercase hexadecimal")) }
}

/// Read first, so that another profile is called by its name and not by its unknown claims.
#[derive(Deserialize)]
pub(super) struct Profile {
    pub(super) eat_profile: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    eat_profile: String,
    iat: u64,
    exp: u64,
    #[serde(with = "base64url")]
    eat_nonce: Vec<u8>,
    ear_verifier_id: VerifierId,
    submods: Submods,
}

/// One of them, under the name of its TEE.
struct Submods(Tee, Submod);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submod {
    ear_status: Tier,
    ear_trustworthiness_vector: Vector,
    ear_appraisal_policy_ids: [String; 1],
    #[serde(rename = "donjon.class")]
    class: Class,
    /// There exactly if the evidence was refused.
    #[serde(rename = "donjon.failed", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    failed: Option<Vec<String>>,
    /// What follows is there exactly if it was accepted, but for signer and PCRs.
    #[serde(rename = "donjon.product", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    product: Option<String>,
    #[serde(
        rename = "donjon.measurement",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    measurement: Option<Measurement>,
    #[serde(rename = "donjon.signer", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    signer: Option<Measurement>,
    #[serde(rename = "donjon.registers", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    registers: Option<Vec<Measurement>>,
    /// There exactly if there is a vTPM.
    #[serde(rename = "donjon.pcrs", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pcrs: Option<Pcrs>,
    #[serde(rename = "donjon.brief", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    brief: Option<Brief>,
    #[serde(
        rename = "donjon.report-data",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    report_data: Option<Bytes<64>>,
    #[serde(rename = "donjon.tcb", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    tcb: Option<String>,
    #[serde(rename = "donjon.tcb-status", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    tcb_status: Option<Rating>,
    #[serde(rename = "donjon.advisories", default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    advisories: Option<Vec<String>>,
    #[serde(
        rename = "donjon.collateral-end",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    collateral_end: Option<u64>,
}

/// What is there has a value: `null` is none.
pub(super) fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// `sha256:` and hexadecimal, as digests are written everywhere in Donjon.
struct Brief([u8; 32]);

impl Serialize for Brief {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sha256:{}", Hex(self.0)))
    }
}

impl<'de> Deserialize<'de> for Brief {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or_else(|| D::Error::custom("a digest begins with sha256:"))?;
        hex::decode_to_slice(digits, &mut bytes).map_err(D::Error::custom)?;
        if hex::encode(bytes) == digits { Ok(Self(bytes)) } else { Err(D::Error::custom("not lowercase hexadecimal")) }
    }
}

/// As many bytes and no other number, in lowercase hexadecimal.
struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Hex(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = lowercase(deserializer)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format_args!("not {N} bytes")))
    }
}

/// An object of some PCRs, each once.
struct Pcrs(BTreeMap<u8, [u8; 32]>);

impl Serialize for Pcrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pcr, value)| (pcr, Bytes(*value))))
    }
}

impl<'de> Deserialize<'de> for Pcrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Pcrs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("values of PCRs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pcrs, A::Error> {
                let mut pcrs = BTreeMap::new();
                // A `Pcr` has one spelling.
                while let Some((pcr, Bytes(value))) = map.next_entry::<Pcr, _>()? {
                    if pcrs.insert(pcr.index(), value).is_some() {
                        return Err(A::Error::custom("a PCR is there twice"));
                    }
                }
                if pcrs.is_empty() { Err(A::Error::custom("no PCR")) } else { Ok(Pcrs(pcrs)) }
            }
        }
        deserializer.deserialize_map(Each)
    }
}

mod base64url {
    use super::{Deserialize, Deserializer, Serializer, URL_SAFE_NO_PAD};
    use base64::Engine as _;
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Submods {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

impl<'de> Deserialize<'de> for Submods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Submods;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one submodule")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Submods, A::Error> {
                let (tee, submod) = map.next_entry()?.ok_or_else(|| A::Error::custom("no submodule"))?;
                match map.next_key::<String>()? {
                    None => Ok(Submods(tee, submod)),
                    Some(_) => Err(A::Error::custom("a second submodule")),
                }
            }
        }
        deserializer.deserialize_map(One)
    }
}

impl From<&Ear> for Claims {
    fn from(ear: &Ear) -> Self {
        let status = ear.status();
        let Ear { issued_at, expires, nonce, verifier, policy, class, appraisal } = ear.clone();
        let Appraisal { tee, vector, conclusion } = appraisal;
        let mut submod = Submod {
            ear_status: status,
            ear_trustworthiness_vector: vector,
            ear_appraisal_policy_ids: [policy],
            class,
            failed: None,
            product: None,
            measurement: None,
            signer: None,
            registers: None,
            pcrs: None,
            brief: None,
            report_data: None,
            tcb: None,
            tcb_status: None,
            advisories: None,
            collateral_end: None,
        };
        match conclusion {
            Conclusion::Refused(failed) => submod.failed = Some(failed),
            Conclusion::Accepted(facts) => {
                let Facts {
                    product,
                    measurement,
                    signer,
                    registers,
                    pcrs,
                    brief,
                    report_data,
                    tcb,
                    tcb_status,
                    advisories,
                    collateral_end,
                } = *facts;
                submod.product = Some(product);
                submod.measurement = Some(measurement);
                submod.signer = signer;
                submod.registers = Some(registers);
                submod.pcrs = (!pcrs.is_empty()).then_some(Pcrs(pcrs));
                submod.brief = Some(Brief(brief));
                submod.report_data = Some(Bytes(report_data));
                submod.tcb = Some(tcb);
                submod.tcb_status = Some(tcb_status);
                submod.advisories = Some(advisories);
                submod.collateral_end = Some(collateral_end);
            }
        }
        Self {
            eat_profile: PROFILE.to_owned(),
            iat: issued_at,
            exp: expires,
            eat_nonce: nonce,
            ear_verifier_id: verifier,
            submods: Submods(tee, submod),
        }
    }
}

impl TryFrom<Claims> for Ear {
    type Error = EarError;

    fn try_from(claims: Claims) -> Result<Self, EarError> {
        let Claims { eat_profile: _, iat, exp, eat_nonce, ear_verifier_id, submods: Submods(tee, submod) } = claims;
        let Submod {
            ear_status,
            ear_trustworthiness_vector: vector,
            ear_appraisal_policy_ids: [policy],
            class,
            failed,
            product,
            measurement,
            signer,
            registers,
            pcrs,
            brief,
            report_data,
            tcb,
            tcb_status,
            advisories,
            collateral_end,
        } = submod;
        let facts = (product, measurement, registers, brief, report_data, tcb, tcb_status, advisories, collateral_end);
        let conclusion = match (failed, facts) {
            (Some(failed), (None, None, None, None, None, None, None, None, None))
                if signer.is_none() && pcrs.is_none() =>
            {
                Conclusion::Refused(failed)
            }
            (
                None,
                (
                    Some(product),
                    Some(measurement),
                    Some(registers),
                    Some(Brief(brief)),
                    Some(Bytes(report_data)),
                    Some(tcb),
                    Some(tcb_status),
                    Some(advisories),
                    Some(collateral_end),
                ),
            ) => Conclusion::Accepted(Box::new(Facts {
                product,
                measurement,
                signer,
                registers,
                pcrs: pcrs.map(|Pcrs(pcrs)| pcrs).unwrap_or_default(),
                brief,
                report_data,
                tcb,
                tcb_status,
                advisories,
                collateral_end,
            })),
            _ => return Err(EarError::Contradiction("it has facts of what was accepted, or what failed: all of one")),
        };
        let appraisal = Appraisal { tee, vector, conclusion };
        let ear = Self {
            issued_at: iat,
            expires: exp,
            nonce: eat_nonce,
            verifier: ear_verifier_id,
            policy,
            class,
            appraisal,
        };
        ear.consistent()?;
        if ear_status != ear.status() {
            return Err(EarError::Contradiction("ear_status does not follow from vector, class and conclusion"));
        }
        Ok(ear)
    }
}
