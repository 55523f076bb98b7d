//! The sections of a policy that speak of evidence, one for each TEE, and the platforms it names.
//!
//! A TEE without a section is refused. One list names the platforms of all TEEs: chip ids of SEV-SNP (16 or 128 digits, or
//! `csp:` and a provider), provisioning ids of SGX and TDX (32 digits). A list that has nothing for a TEE that has a section
//! is an error: nothing of that TEE could ever be accepted.
//!
//! Beside `[azure]`, `[snp]` and `[tdx]` are about the paravisor. Its report is inside what a virtual machine sends, and whoever
//! sends that can take it out: judged by itself, it would be asked nothing of what `[azure]` asks. It is refused.

use crate::dcap::pck::Ppid;
use crate::{azure, dcap, sgx, snp, tdx};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// As written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sections {
    /// The platforms that are accepted; any, if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// Says that platforms are of no interest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_platform: Option<bool>,
    /// `[snp]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snp: Option<snp::Settings>,
    /// `[sgx]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sgx: Option<sgx::Settings>,
    /// `[tdx]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tdx: Option<tdx::Settings>,
    /// `[azure]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<azure::Settings>,
}

/// A policy for evidence, without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    chips: snp::Platforms,
    ppids: dcap::Platforms,
    snp: Option<snp::Policy>,
    sgx: Option<sgx::Policy>,
    tdx: Option<tdx::Policy>,
    azure: Option<azure::Policy>,
    silent: bool,
}

/// Why sections are no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing could ever be accepted.
    #[error("there is no section [snp], [sgx] or [tdx]: no evidence would be accepted")]
    NoSection,
    /// `any_platform` beside a list.
    #[error("`any_platform = true` contradicts `platforms`")]
    AnyPlatform,
    /// Not any, and none is named.
    #[error(
        "`any_platform = false` without `platforms` names no platform; list those that are accepted in `platforms`"
    )]
    NotAnyPlatform,
    /// A list that names nothing.
    #[error("`platforms` is empty; leave the key away, or write `any_platform = true`")]
    NoPlatforms,
    /// A text that names no platform.
    #[error("`platforms`: {0:?} is no chip id (16 or 128 hexadecimal digits, or csp:…) and no PPID (32)")]
    Platform(String),
    /// A section of a TEE none of whose platforms is named.
    #[error("`platforms` names none that could have evidence for [{0}]")]
    NoPlatformOf(&'static str),
    /// The paravisor is believed because hardware measured it.
    #[error("[azure] needs [snp] or [tdx]: what is said there of the measurement is about the paravisor")]
    NothingBelow,
    /// `[azure]`.
    #[error("[azure]: {0}")]
    Azure(#[from] azure::policy::PolicyError),
    /// `[snp]`.
    #[error("[snp]: {0}")]
    Snp(#[from] snp::policy::PolicyError),
    /// `[sgx]`.
    #[error("[sgx]: {0}")]
    Sgx(#[from] sgx::policy::PolicyError),
    /// `[tdx]`.
    #[error("[tdx]: {0}")]
    Tdx(#[from] tdx::policy::PolicyError),
}

impl TryFrom<Sections> for Policy {
    type Error = PolicyError;

    fn try_from(sections: Sections) -> Result<Self, PolicyError> {
        let Sections { platforms, any_platform, snp, sgx, tdx, azure } = sections;
        if snp.is_none() && tdx.is_none() {
            if azure.is_some() {
                return Err(PolicyError::NothingBelow);
            }
            if sgx.is_none() {
                return Err(PolicyError::NoSection);
            }
        }
        let (chips, ppids) = match (platforms, any_platform) {
            (None, None | Some(true)) => (snp::Platforms::Any, dcap::Platforms::Any),
            (None, Some(false)) => return Err(PolicyError::NotAnyPlatform),
            (Some(_), Some(true)) => return Err(PolicyError::AnyPlatform),
            (Some(named), _) => self::platforms(&named)?,
        };
        if snp.is_some() && matches!(&chips, snp::Platforms::Only(named) if named.is_empty()) {
            return Err(PolicyError::NoPlatformOf("snp"));
        }
        let of_intel = [("sgx", sgx.is_some()), ("tdx", tdx.is_some())].into_iter().find(|(_, section)| *section);
        if let (Some((section, _)), dcap::Platforms::Only(named)) = (of_intel, &ppids)
            && named.is_empty()
        {
            return Err(PolicyError::NoPlatformOf(section));
        }
        Ok(Self {
            chips,
            ppids,
            snp: snp.map(snp::Policy::try_from).transpose()?,
            sgx: sgx.map(sgx::Policy::try_from).transpose()?,
            tdx: tdx.map(tdx::Policy::try_from).transpose()?,
            azure: azure.map(azure::Policy::try_from).transpose()?,
            silent: false,
        })
    }
}

/// Why a policy does not speak of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// There is no section for it.
    None,
    /// Its section is about paravisors, and this comes without one.
    Paravisors,
}

fn platforms(named: &[String]) -> Result<(snp::Platforms, dcap::Platforms), PolicyError> {
    if named.is_empty() {
        return Err(PolicyError::NoPlatforms);
    }
    let (mut chips, mut ppids) = (Vec::new(), Vec::new());
    for text in named {
        let mut ppid = [0; 16];
        if hex::decode_to_slice(text, &mut ppid).is_ok() {
            ppids.push(Ppid(ppid));
        } else {
            let chip = text.parse().map_err(|_| PolicyError::Platform(text.chars().take(140).collect()))?;
            chips.push(chip);
        }
    }
    Ok((snp::Platforms::Only(chips), dcap::Platforms::Only(ppids)))
}

impl Policy {
    /// Of somebody who only wants to know whether evidence is genuine, and up to date: nothing is asked that is a matter of
    /// policy.
    pub(crate) fn silent() -> Self {
        Self {
            chips: snp::Platforms::Any,
            ppids: dcap::Platforms::Any,
            snp: Some(snp::Policy::silent()),
            sgx: Some(sgx::Policy::silent()),
            tdx: Some(tdx::Policy::silent()),
            azure: Some(azure::Policy::silent()),
            silent: true,
        }
    }

    /// What a section asks of evidence that nothing wraps.
    pub(super) fn bare<T>(&self, asks: Option<T>) -> Result<T, Unasked> {
        // Of nobody's policy no section is about a paravisor.
        if self.azure.is_some() && !self.silent {
            return Err(if asks.is_some() { Unasked::Paravisors } else { Unasked::None });
        }
        asks.ok_or(Unasked::None)
    }

    pub(super) fn snp(&self) -> Option<(&snp::Policy, &snp::Platforms)> {
        self.snp.as_ref().map(|policy| (policy, &self.chips))
    }

    pub(super) fn sgx(&self) -> Option<(&sgx::Policy, &dcap::Platforms)> {
        self.sgx.as_ref().map(|policy| (policy, &self.ppids))
    }

    pub(super) fn tdx(&self) -> Option<(&tdx::Policy, &dcap::Platforms)> {
        self.tdx.as_ref().map(|policy| (policy, &self.ppids))
    }

    pub(super) fn azure(&self) -> Option<&azure::Policy> {
        self.azure.as_ref()
    }

    /// `[tdx]` for what a paravisor wraps: without a policy, what every TD there is like is not asked.
    pub(super) fn tdx_behind_paravisor(&self) -> Option<(tdx::Policy, &dcap::Platforms)> {
        let policy = if self.silent { Some(tdx::Policy::silent_behind_paravisor()) } else { self.tdx.clone() };
        policy.map(|policy| (policy, &self.ppids))
    }
}
