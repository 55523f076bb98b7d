//! The `[sgx]` section of a Steward policy: what the operator accepts.
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

/// Attributes an enclave may have (Intel SDM volume 3D, ATTRIBUTES).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feature {
    /// The enclave can be debugged: no protection from the host.
    Debug,
    /// It can get the provisioning key.
    ProvisioningKey,
    /// It can get the launch key.
    EInitKey,
    /// Control-flow enforcement.
    #[serde(rename = "CET")]
    Cet,
    /// Key separation and sharing: CONFIGID and more.
    #[serde(rename = "KSS")]
    Kss,
    /// It hears of its interruptions.
    AexNotify,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 6] =
        [Self::Debug, Self::ProvisioningKey, Self::EInitKey, Self::Cet, Self::Kss, Self::AexNotify];

    /// Its bit in the flags.
    pub fn bit(self) -> u64 {
        match self {
            Self::Debug => 1 << 1,
            Self::ProvisioningKey => 1 << 4,
            Self::EInitKey => 1 << 5,
            Self::Cet => 1 << 6,
            Self::Kss => 1 << 7,
            Self::AexNotify => 1 << 10,
        }
    }
}

/// What may be written into an enclave's state beyond the architecture's (MISCSELECT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misc {
    /// Information about page faults and general protection faults.
    #[serde(rename = "EXINFO")]
    ExInfo,
    /// State of control-flow enforcement.
    #[serde(rename = "CPINFO")]
    CpInfo,
}

impl Misc {
    /// Its bit in MISCSELECT.
    pub fn bit(self) -> u32 {
        match self {
            Self::ExInfo => 1,
            Self::CpInfo => 2,
        }
    }
}

/// The `[sgx]` section as written. A key that is absent states no demand, except where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Accepted signers (MRSIGNER).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<Vec<Hex<32>>>,
    /// Accepted measurements (MRENCLAVE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Vec<Hex<32>>>,
    /// Refused measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_blacklist: Option<Vec<Hex<32>>>,
    /// Must be said if neither `signer` nor `hash` names the code to accept.
    pub any_measurement: bool,
    /// The one ISVPRODID accepted; it means something only beside `signer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enclave_product_id: Option<u16>,
    /// Least ISVSVN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enclave_security_version: Option<u16>,
    /// The one ISVFAMILYID accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_id: Option<Hex<16>>,
    /// The one ISVEXTPRODID accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_product_id: Option<Hex<16>>,
    /// Attributes the enclave may have; INIT and MODE64BIT go without saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Feature>>,
    /// What the enclave may select.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misc_select: Option<Vec<Misc>>,
    /// Accepts enclaves that can be debugged: no protection from the host.
    pub insecure_debug: bool,
    /// Accepts quotes for which nobody brings Intel's QE identity: the platform's owner can have written the enclave that
    /// signed them.
    pub insecure_without_qe_identity: bool,
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

/// A valid `[sgx]` policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Policy(Settings);

/// Why settings are no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing says which code is accepted.
    #[error("no accepted code: state `hash` or `signer`, or write `any_measurement = true`")]
    NoCode,
    /// `any_measurement` beside a list of what is accepted.
    #[error("`any_measurement = true` contradicts `{0}`")]
    AnyMeasurement(&'static str),
    /// A list that accepts or refuses nothing.
    #[error("`{0}` is empty; leave the key away to state no demand")]
    EmptyList(&'static str),
    /// The same digest accepted and refused.
    #[error("{} stands in both `hash` and `hash_blacklist`", hex::encode(.0))]
    AcceptedAndRefused([u8; 32]),
    /// `features` and `insecure_debug` say different things.
    #[error("`features` lists \"Debug\" if and only if `insecure_debug = true`")]
    Debug,
    /// What only enclaves with Key Separation and Sharing have.
    #[error("`{0}` without \"KSS\" in `features`: no other enclave has one")]
    WithoutKss(&'static str),
    /// Product ids of different signers have nothing to do with each other.
    #[error("`{0}` is the signer's to give: state `signer` too")]
    WithoutSigner(&'static str),
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
            without_qe_identity: self.insecure_without_qe_identity,
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
        let Settings { signer, hash, hash_blacklist, any_measurement, features, insecure_debug, .. } = &settings;
        for (key, list) in [("signer", signer), ("hash", hash), ("hash_blacklist", hash_blacklist)] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(PolicyError::EmptyList(key));
            }
        }
        let stated = [("signer", signer), ("hash", hash)].into_iter().find(|(_, list)| list.is_some());
        match (stated, any_measurement) {
            (None, false) => return Err(PolicyError::NoCode),
            (Some((key, _)), true) => return Err(PolicyError::AnyMeasurement(key)),
            (None, true) | (Some(_), false) => {}
        }
        let refused = hash_blacklist.as_deref().unwrap_or_default();
        if let Some(both) = hash.iter().flatten().find(|digest| refused.contains(digest)) {
            return Err(PolicyError::AcceptedAndRefused(both.0));
        }
        if features.as_ref().is_some_and(|features| features.contains(&Feature::Debug) != *insecure_debug) {
            return Err(PolicyError::Debug);
        }
        if features.as_ref().is_some_and(|features| !features.contains(&Feature::Kss)) {
            for (key, id) in [("family_id", settings.family_id), ("extended_product_id", settings.extended_product_id)]
            {
                if id.is_some_and(|id| id != Hex([0; 16])) {
                    return Err(PolicyError::WithoutKss(key));
                }
            }
        }
        let given = [
            ("enclave_product_id", settings.enclave_product_id.is_some()),
            ("enclave_security_version", settings.enclave_security_version.is_some()),
            ("family_id", settings.family_id.is_some()),
            ("extended_product_id", settings.extended_product_id.is_some()),
        ];
        if *any_measurement && let Some((key, _)) = given.into_iter().find(|(_, said)| *said) {
            return Err(PolicyError::WithoutSigner(key));
        }
        settings.tcb().check(Tee::Sgx)?;
        Ok(Self(settings))
    }
}

impl From<Policy> for Settings {
    fn from(policy: Policy) -> Self {
        policy.0
    }
}

impl Policy {
    /// Of somebody who only wants to know whether evidence is genuine and up to date: demands nothing that is a matter of
    /// policy.
    pub(crate) fn silent() -> Self {
        Self(Settings { any_measurement: true, ..Settings::default() })
    }

    /// The settings, known to be free of contradictions.
    pub fn settings(&self) -> &Settings {
        &self.0
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
    fn the_founding_example_reads_and_is_kept() {
        let digest = |byte: &str| byte.repeat(32);
        let text = format!(
            "signer = [\"{a}\"]\nhash = [\"{b}\"]\nhash_blacklist = [\"{c}\"]\nenclave_product_id = 1\n\
             enclave_security_version = 2\nfeatures = [\"CET\", \"KSS\"]\nmisc_select = [\"EXINFO\"]\n\
             allowed_advisories = [\"INTEL-SA-00615\"]\naccepted_tcb = [\"UpToDate\", \"SWHardeningNeeded\"]\n",
            a = digest("aa"),
            b = digest("bb"),
            c = digest("cc"),
        );
        let policy: Policy = toml::from_str(&text).expect("reads");
        assert_eq!(policy.settings().signer, Some(vec![Hex([0xAA; 32])]));
        assert!(!policy.settings().insecure_debug);
        let again = toml::to_string(&policy).expect("writes");
        assert_eq!(toml::from_str::<Policy>(&again).expect("reads again"), policy);
    }

    #[test]
    fn unknown_keys_and_values_are_errors() {
        let any = "any_measurement = true\n";
        assert!(toml::from_str::<Policy>(any).is_ok(), "control");
        for more in [
            "hashes = []",
            "features = [\"kss\"]",
            "misc_select = [\"ALL\"]",
            "accepted_tcb = [\"Fine\"]",
            "refused_fmspc = [\"00\"]",
            "grace_days = -1",
        ] {
            assert!(toml::from_str::<Policy>(&format!("{any}{more}\n")).is_err(), "{more}");
        }
        assert!(toml::from_str::<Policy>("hash = [\"abcd\"]").is_err());
    }

    #[test]
    fn contradictions_are_errors() {
        let one = Hex([1; 32]);
        assert_eq!(refused(any()), None);
        assert_eq!(refused(Settings::default()), Some(PolicyError::NoCode));
        assert_eq!(refused(Settings { signer: Some(vec![one]), ..any() }), Some(PolicyError::AnyMeasurement("signer")));
        assert_eq!(refused(Settings { hash: Some(vec![]), ..any() }), Some(PolicyError::EmptyList("hash")));
        assert_eq!(
            refused(Settings { hash: Some(vec![one]), hash_blacklist: Some(vec![one]), ..Settings::default() }),
            Some(PolicyError::AcceptedAndRefused(one.0))
        );
        assert_eq!(refused(Settings { features: Some(vec![Feature::Debug]), ..any() }), Some(PolicyError::Debug));
        assert_eq!(
            refused(Settings { features: Some(vec![]), insecure_debug: true, ..any() }),
            Some(PolicyError::Debug)
        );
        assert_eq!(
            refused(Settings { enclave_product_id: Some(1), ..any() }),
            Some(PolicyError::WithoutSigner("enclave_product_id"))
        );
        let signed = || Settings { signer: Some(vec![one]), ..Settings::default() };
        for (family_id, features, expected) in [
            (1, vec![Feature::Cet], Some(PolicyError::WithoutKss("family_id"))),
            (1, vec![Feature::Kss], None),
            (0, vec![Feature::Cet], None),
        ] {
            let settings = Settings { family_id: Some(Hex([family_id; 16])), features: Some(features), ..signed() };
            assert_eq!(refused(settings), expected);
        }
        let advised = TcbStatus::TDRelaunchAdvised;
        for (accepted, expected) in [
            (vec![advised], Some(PolicyError::Tcb(TcbRulesError::Relaunch))),
            (vec![advised, TcbStatus::UpToDate], None),
        ] {
            assert_eq!(refused(Settings { accepted_tcb: Some(accepted), ..any() }), expected);
        }
    }
}
