//! The JSON shape of an EAR: which claim has which name.
//!
//! Owns nothing but the shape; what the claims must say together, `ear` decides. Refuses, through serde, claims that are
//! unknown, twice there, of another type or missing, those without a value included.
//! Invariant: no claim is added to [`Ear`] without a name here, because both conversions take it apart in full.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::{Name, TrustDomain};

use super::{Class, EAR_PROFILE, Ear, Measurement, TcbStatus, Tee, Tier, VerifierId, WorkloadBinding};
use crate::names::{Nonce, SpiffeId};
use crate::publisher::Published;

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
    eat_nonce: Nonce,
    ear_verifier_id: VerifierId,
    cnf: Confirmation,
    pub(super) submods: Submods,
}

/// RFC 7800 section 3.1, with a member of ours: the SHA-256 of the SPKI, base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "spki-sha256", with = "thumbprint")]
    key: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submods {
    pub(super) keep: Appraisal,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Appraisal {
    #[serde(rename = "ear_status")]
    pub(super) status: Tier,
    #[serde(rename = "donjon.class")]
    class: Class,
    #[serde(rename = "donjon.tee")]
    tee: Tee,
    #[serde(rename = "donjon.product")]
    product: String,
    #[serde(rename = "donjon.measurement")]
    measurement: Measurement,
    #[serde(rename = "donjon.signer", deserialize_with = "said")]
    signer: Option<Measurement>,
    #[serde(rename = "donjon.registers")]
    registers: Vec<Measurement>,
    #[serde(rename = "donjon.brief")]
    brief: Digest,
    #[serde(rename = "donjon.workload")]
    workload: Digest,
    #[serde(rename = "donjon.publisher", deserialize_with = "said")]
    publisher: Option<Published>,
    #[serde(rename = "donjon.workload-binding")]
    workload_binding: WorkloadBinding,
    #[serde(rename = "donjon.trust-domain")]
    trust_domain: TrustDomain,
    #[serde(rename = "donjon.deployment")]
    deployment: Name,
    #[serde(rename = "donjon.role")]
    role: Name,
    #[serde(rename = "donjon.owner", deserialize_with = "said")]
    owner: Option<Digest>,
    #[serde(rename = "donjon.tcb")]
    tcb: String,
    #[serde(rename = "donjon.tcb-status")]
    tcb_status: TcbStatus,
    #[serde(rename = "donjon.advisories")]
    advisories: Vec<String>,
    #[serde(rename = "donjon.policy")]
    policy: Digest,
    #[serde(rename = "donjon.platform")]
    platform: Digest,
}

/// serde takes a missing `Option` for `None`; a claim must be there even if it is `null`.
fn said<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

mod thumbprint {
    use alloc::string::String;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use workload::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(digest.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Digest::try_from(&bytes[..]).map_err(D::Error::custom)
    }
}

impl From<&Ear> for Claims {
    fn from(ear: &Ear) -> Self {
        let Ear {
            issued_at,
            nonce,
            verifier,
            key,
            id,
            owner,
            class,
            tee,
            product,
            measurement,
            signer,
            registers,
            brief,
            workload,
            publisher,
            workload_binding,
            tcb,
            tcb_status,
            advisories,
            policy,
            platform,
        } = ear.clone();
        let SpiffeId { trust_domain, deployment, role } = id;
        let keep = Appraisal {
            status: ear.tier(),
            class,
            tee,
            product,
            measurement,
            signer,
            registers,
            brief,
            workload,
            publisher,
            workload_binding,
            trust_domain,
            deployment,
            role,
            owner,
            tcb,
            tcb_status,
            advisories,
            policy,
            platform,
        };
        Self {
            eat_profile: EAR_PROFILE.to_string(),
            iat: issued_at,
            eat_nonce: nonce,
            ear_verifier_id: verifier,
            cnf: Confirmation { key },
            submods: Submods { keep },
        }
    }
}

impl From<Claims> for Ear {
    fn from(claims: Claims) -> Self {
        let Claims {
            eat_profile: _,
            iat,
            eat_nonce,
            ear_verifier_id,
            cnf: Confirmation { key },
            submods: Submods { keep },
        } = claims;
        let Appraisal {
            status: _,
            class,
            tee,
            product,
            measurement,
            signer,
            registers,
            brief,
            workload,
            publisher,
            workload_binding,
            trust_domain,
            deployment,
            role,
            owner,
            tcb,
            tcb_status,
            advisories,
            policy,
            platform,
        } = keep;
        Self {
            issued_at: iat,
            nonce: eat_nonce,
            verifier: ear_verifier_id,
            key,
            id: SpiffeId { trust_domain, deployment, role },
            owner,
            class,
            tee,
            product,
            measurement,
            signer,
            registers,
            brief,
            workload,
            publisher,
            workload_binding,
            tcb,
            tcb_status,
            advisories,
            policy,
            platform,
        }
    }
}
