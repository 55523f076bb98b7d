//! The `[tdx]` section of a Steward policy: what the operator accepts.
//!
//! [`Settings`] is the TOML as written (unknown keys are errors), [`Policy`] the valid form; a contradiction, an empty list or
//! a policy that names no code at all is refused when it is made. Everything that can be written here is enforced by a check
//! whose source is the key's name.

use crate::Hex;
use crate::dcap::TcbStatus;
use crate::dcap::pck::Configuration;
use crate::dcap::policy::{TcbRules, TcbRulesError};
use crate::dcap::quote::Tee;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Attributes a TD may have (Intel TDX module ABI, 348551-008, table 3.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attribute {
    /// Defence against single stepping by counting instructions.
    #[serde(rename = "ICSSD")]
    Icssd,
    /// Reports have a hash of the service TDs' structure.
    #[serde(rename = "SERVTD_EXT")]
    ServtdExt,
    /// Linear address space separation.
    #[serde(rename = "LASS")]
    Lass,
    /// The TD can be migrated to another machine by a service TD.
    Migratable,
    /// Supervisor protection keys.
    #[serde(rename = "PKS")]
    Pks,
    /// Key Locker.
    #[serde(rename = "KL")]
    Kl,
    /// The TD is TDX Connect's provisioning agent.
    #[serde(rename = "TPA")]
    Tpa,
    /// Performance monitoring.
    #[serde(rename = "PERFMON")]
    Perfmon,
}

impl Attribute {
    /// Every attribute with a name here.
    pub const ALL: [Self; 8] =
        [Self::Icssd, Self::ServtdExt, Self::Lass, Self::Migratable, Self::Pks, Self::Kl, Self::Tpa, Self::Perfmon];

    /// Its bit.
    pub fn bit(self) -> u64 {
        1 << match self {
            Self::Icssd => 16,
            Self::ServtdExt => 17,
            Self::Lass => 27,
            Self::Migratable => 29,
            Self::Pks => 30,
            Self::Kl => 31,
            Self::Tpa => 62,
            Self::Perfmon => 63,
        }
    }
}

/// Whether a TD without SEPT_VE_DISABLE is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeptVe {
    /// It is not.
    #[default]
    Required,
    /// It is: the guest must not take such exceptions for those of devices. TDs of Azure, behind its paravisor, are such.
    Optional,
}

/// The `[tdx]` section as written. A key that is absent states no demand, except where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Accepted measurements (MRTD).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Vec<Hex<48>>>,
    /// Refused measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_blacklist: Option<Vec<Hex<48>>>,
    /// Must be said if `hash` does not name the code to accept.
    pub any_measurement: bool,
    /// Accepted values of RTMR 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr0: Option<Vec<Hex<48>>>,
    /// Accepted values of RTMR 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr1: Option<Vec<Hex<48>>>,
    /// Accepted values of RTMR 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr2: Option<Vec<Hex<48>>>,
    /// Accepted values of RTMR 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr3: Option<Vec<Hex<48>>>,
    /// Accepted owners (MROWNER).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Vec<Hex<48>>>,
    /// Accepted configurations of the owner (MROWNERCONFIG).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_config: Option<Vec<Hex<48>>>,
    /// Accepted TDX modules (MRSEAM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<Vec<Hex<48>>>,
    /// Accepted service TDs (MRSERVICETD); none if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_td: Option<Vec<Hex<48>>>,
    /// Attributes the TD may have. If it is not said, all but `Migratable` and `SERVTD_EXT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<Attribute>>,
    /// `"required"` (default) or `"optional"`.
    pub sept_ve_disable: SeptVe,
    /// Accepts TDs that can be debugged or profiled: no protection from the host.
    pub insecure_debug: bool,
    /// Accepted TCB statuses; `["UpToDate"]` if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_tcb: Option<Vec<TcbStatus>>,
    /// How many days after its date a level that is out of date is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_days: Option<u32>,
    /// The only advisories that may apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_advisories: Option<Vec<String>>,
    /// Advisories none of which may apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_advisories: Option<Vec<String>>,
    /// Least number of Intel's recovery that the collateral is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_evaluation: Option<u32>,
    /// Products (FMSPC) that are not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_fmspc: Option<Vec<Hex<6>>>,
    /// Whether simultaneous multithreading must be on, or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Whether processors can be added to the platform, must be or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_platform: Option<bool>,
    /// Whether Intel keeps the platform's root keys, must be or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_keys: Option<bool>,
}

/// A valid `[tdx]` policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Policy {
    settings: Settings,
    silent: bool,
}

/// Why settings are no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing says which code is accepted.
    #[error("no accepted code: state `hash`, or write `any_measurement = true`")]
    NoCode,
    /// `any_measurement` beside a list of what is accepted.
    #[error("`any_measurement = true` contradicts `hash`")]
    AnyMeasurement,
    /// A list that accepts or refuses nothing.
    #[error("`{0}` is empty; leave the key away to state no demand")]
    EmptyList(&'static str),
    /// The same digest accepted and refused.
    #[error("{} stands in both `hash` and `hash_blacklist`", hex::encode(.0))]
    AcceptedAndRefused([u8; 48]),
    /// Contradictions in what is said of the platform.
    #[error(transparent)]
    Tcb(#[from] TcbRulesError),
}

impl Settings {
    pub(crate) fn tcb(&self) -> TcbRules<'_> {
        TcbRules {
            accepted: self.accepted_tcb.as_deref(),
            grace_days: self.grace_days,
            allowed_advisories: self.allowed_advisories.as_deref(),
            rejected_advisories: self.rejected_advisories.as_deref(),
            minimum_evaluation: self.minimum_evaluation,
            refused_fmspc: self.refused_fmspc.as_deref(),
            without_qe_identity: false,
            configuration: Configuration {
                smt: self.smt,
                dynamic: self.dynamic_platform,
                cached_keys: self.cached_keys,
            },
        }
    }
}

impl TryFrom<Settings> for Policy {
    type Error = PolicyError;

    fn try_from(settings: Settings) -> Result<Self, PolicyError> {
        for (key, list) in [
            ("hash", &settings.hash),
            ("hash_blacklist", &settings.hash_blacklist),
            ("rtmr0", &settings.rtmr0),
            ("rtmr1", &settings.rtmr1),
            ("rtmr2", &settings.rtmr2),
            ("rtmr3", &settings.rtmr3),
            ("owner", &settings.owner),
            ("owner_config", &settings.owner_config),
            ("module", &settings.module),
            ("service_td", &settings.service_td),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(PolicyError::EmptyList(key));
            }
        }
        match (&settings.hash, settings.any_measurement) {
            (None, false) => return Err(PolicyError::NoCode),
            (Some(_), true) => return Err(PolicyError::AnyMeasurement),
            (None, true) | (Some(_), false) => {}
        }
        let refused = settings.hash_blacklist.as_deref().unwrap_or_default();
        if let Some(both) = settings.hash.iter().flatten().find(|digest| refused.contains(digest)) {
            return Err(PolicyError::AcceptedAndRefused(both.0));
        }
        settings.tcb().check(Tee::Tdx)?;
        Ok(Self { settings, silent: false })
    }
}

impl From<Policy> for Settings {
    fn from(policy: Policy) -> Self {
        policy.settings
    }
}

impl Policy {
    /// Of somebody who only wants to know whether evidence is genuine and up to date: demands nothing that is a matter of
    /// policy.
    pub(crate) fn silent() -> Self {
        Self { settings: Settings { any_measurement: true, ..Settings::default() }, silent: true }
    }

    /// The same, of a TD behind Azure's paravisor, which has no SEPT_VE_DISABLE.
    pub(crate) fn silent_behind_paravisor() -> Self {
        let mut policy = Self::silent();
        policy.settings.sept_ve_disable = SeptVe::Optional;
        policy
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The settings, known to be free of contradictions.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: Settings) -> Option<PolicyError> {
        Policy::try_from(settings).err()
    }

    fn any() -> Settings {
        Settings { any_measurement: true, ..Settings::default() }
    }

    #[test]
    fn every_key_reads_and_is_kept() {
        let list = |key: &str| format!("{key} = [\"{}\"]\n", "ab".repeat(48));
        let lists = ["hash", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "owner", "owner_config", "module", "service_td"];
        let text = lists.map(list).concat()
            + "attributes = [\"PKS\", \"PERFMON\"]\nsept_ve_disable = \"optional\"\nsmt = false\n\
               accepted_tcb = [\"UpToDate\", \"OutOfDate\", \"TDRelaunchAdvised\"]\ngrace_days = 30\n\
               rejected_advisories = [\"INTEL-SA-01036\"]\nminimum_evaluation = 18\n\
               refused_fmspc = [\"90c06f000000\"]\n";
        let policy: Policy = toml::from_str(&text).expect("reads");
        assert_eq!(policy.settings().rtmr3, Some(vec![Hex([0xAB; 48])]));
        let again = toml::to_string(&policy).expect("writes");
        assert_eq!(toml::from_str::<Policy>(&again).expect("reads again"), policy);
        assert!(toml::from_str::<Policy>(&format!("{text}rtmr4 = []\n")).is_err());
    }

    #[test]
    fn contradictions_are_errors() {
        let one = Hex([1; 48]);
        assert_eq!(refused(any()), None);
        assert_eq!(refused(Settings::default()), Some(PolicyError::NoCode));
        assert_eq!(refused(Settings { hash: Some(vec![one]), ..any() }), Some(PolicyError::AnyMeasurement));
        assert_eq!(refused(Settings { rtmr2: Some(vec![]), ..any() }), Some(PolicyError::EmptyList("rtmr2")));
        assert_eq!(
            refused(Settings { hash: Some(vec![one]), hash_blacklist: Some(vec![one]), ..Settings::default() }),
            Some(PolicyError::AcceptedAndRefused(one.0))
        );
        let accepted_tcb = Some(vec![TcbStatus::Revoked]);
        assert_eq!(refused(Settings { accepted_tcb, ..any() }), Some(PolicyError::Tcb(TcbRulesError::Revoked)));
        let grace_days = Some(1);
        assert_eq!(refused(Settings { grace_days, ..any() }), Some(PolicyError::Tcb(TcbRulesError::Grace)));
        let advisory = || Some(vec!["INTEL-SA-01036".to_owned()]);
        let both = Settings { allowed_advisories: advisory(), rejected_advisories: advisory(), ..any() };
        assert!(matches!(refused(both), Some(PolicyError::Tcb(TcbRulesError::AllowedAndRejected(_)))));
        let misspelt = Settings { rejected_advisories: Some(vec!["SA-01036".to_owned()]), ..any() };
        assert!(matches!(refused(misspelt), Some(PolicyError::Tcb(TcbRulesError::Advisory(_)))));
        let empty = Settings { rejected_advisories: Some(vec![]), ..any() };
        assert!(matches!(refused(empty), Some(PolicyError::Tcb(TcbRulesError::EmptyList(_)))));
        assert_eq!(refused(Settings { allowed_advisories: Some(vec![]), ..any() }), None, "no advisory may apply");
    }
}
