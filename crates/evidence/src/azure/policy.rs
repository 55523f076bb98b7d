//! The `[azure]` section of a Steward policy: what the operator accepts of virtual machines behind Azure's paravisor.
//! What of the hardware below, is in `[snp]` and `[tdx]`: their measurement is the paravisor's, and vouches for the
//! vTPM.
//!
//! [`Settings`] is the TOML as written (unknown keys are errors), [`Policy`] the valid form; a contradiction, an empty
//! list or a policy that says nothing of the system in the virtual machine is refused when it is made. Everything that
//! can be written here is enforced by a check whose source is the key's name.
//!
//! ```
//! let policy: evidence::azure::Policy = toml::from_str(
//!     r#"
//!     brief_pcr = 13
//!     secure_boot = true
//!     [pcrs]
//!     4 = ["0a8f7de3c0dd0b0f1d4ed0b1d80a2a2d0b9c1f0fdd0f0c0b7b0a1d3c5e7f9a1b"]
//!     "#,
//! )
//! .unwrap();
//! assert_eq!(policy.settings().brief_pcr, Some(13));
//! assert!(toml::from_str::<evidence::azure::Policy>("secure_boot = true").is_err(), "nothing of the system");
//! ```

use super::quote::PCRS;
use crate::Hex;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use thiserror::Error;

/// Index of a PCR, 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pcr(u8);

/// A text that is no PCR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a PCR is a number from 0 to 23")]
pub struct PcrError;

impl Pcr {
    /// The index.
    pub fn index(self) -> u8 {
        self.0
    }

    /// Whoever runs in the virtual machine can reset it and extend it anew.
    fn resettable(self) -> bool {
        matches!(self.0, 16 | 23)
    }
}

impl TryFrom<u8> for Pcr {
    type Error = PcrError;

    fn try_from(index: u8) -> Result<Self, PcrError> {
        if index < PCRS { Ok(Self(index)) } else { Err(PcrError) }
    }
}

impl FromStr for Pcr {
    type Err = PcrError;

    /// As TOML has keys: there is one way to write each, so that none can stand there twice.
    fn from_str(text: &str) -> Result<Self, PcrError> {
        let index: u8 = text.parse().map_err(|_| PcrError)?;
        if index.to_string() == text { index.try_into() } else { Err(PcrError) }
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Pcr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pcr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The `[azure]` section as written. A key that is absent states no demand, except where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Must be said if `pcrs` names no system to accept: whatever runs in the virtual machine is accepted.
    pub any_pcrs: bool,
    /// The PCR, 8 to 15, which the virtual machine extends once with the hash of its brief, and with nothing else.
    /// Without it nothing is bound to a brief: evidence can be looked at, and is never good for issuing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brief_pcr: Option<u8>,
    /// Whether the firmware must enforce Secure Boot, or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// `true`: the paravisor must say that there is a vTPM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_enabled: Option<bool>,
    /// Whether the vTPM's state must outlive the virtual machine's stop, or must not. Older paravisors do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_persisted: Option<bool>,
    /// Whether there must be a console, or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_enabled: Option<bool>,
    /// Accepted thumbprints of the root certificate, base64url of SHA-256. Older paravisors do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_cert_thumbprint: Option<Vec<String>>,
    /// Accepted virtual machines, UUIDs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_unique_id: Option<Vec<String>>,
    /// For each PCR of the SHA-256 bank that is named, the accepted values. The quote must be of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcrs: Option<BTreeMap<Pcr, Vec<Hex<32>>>>,
}

/// A valid `[azure]` policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Policy(Settings);

/// Why settings are no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing says which system is accepted.
    #[error("no accepted system: state `pcrs`, or write `any_pcrs = true`")]
    NoPcrs,
    /// `any_pcrs` beside what is accepted.
    #[error("`any_pcrs = true` contradicts `pcrs`")]
    AnyPcrs,
    /// A list that accepts nothing.
    #[error("`{0}` is empty; leave the key away to state no demand")]
    EmptyList(String),
    /// A PCR whose value says nothing.
    #[error("`pcrs.{0}`: whoever runs in the virtual machine resets this PCR and extends it anew")]
    Resettable(Pcr),
    /// A PCR that cannot have the value that binds a brief, or whose value says nothing.
    #[error("`brief_pcr` is {0}; PCRs 8 to 15 are free for it")]
    BriefPcr(u8),
    /// The brief's PCR has the value that the brief demands, and no other.
    #[error("`pcrs.{0}` names values of the PCR that `brief_pcr` is for")]
    BriefPcrListed(Pcr),
    /// The quote is a vTPM's.
    #[error("`tpm_enabled = false` matches nothing: the evidence is a vTPM's")]
    NoTpm,
    /// Not the SHA-256 of a certificate.
    #[error("`root_cert_thumbprint` lists what is not 32 bytes in base64url")]
    Thumbprint,
    /// Not a virtual machine's id.
    #[error("`vm_unique_id` lists what is no UUID")]
    VmUniqueId,
}

impl TryFrom<Settings> for Policy {
    type Error = PolicyError;

    fn try_from(mut settings: Settings) -> Result<Self, PolicyError> {
        // No `..`: a key added later must be thought about here.
        let Settings {
            any_pcrs,
            brief_pcr,
            secure_boot: _,
            tpm_enabled,
            tpm_persisted: _,
            console_enabled: _,
            root_cert_thumbprint,
            vm_unique_id,
            pcrs,
        } = &mut settings;
        for (key, empty) in [
            ("pcrs", pcrs.as_ref().is_some_and(BTreeMap::is_empty)),
            ("root_cert_thumbprint", root_cert_thumbprint.as_ref().is_some_and(Vec::is_empty)),
            ("vm_unique_id", vm_unique_id.as_ref().is_some_and(Vec::is_empty)),
        ] {
            if empty {
                return Err(PolicyError::EmptyList(key.to_owned()));
            }
        }
        match (&pcrs, any_pcrs) {
            (None, false) => return Err(PolicyError::NoPcrs),
            (Some(_), true) => return Err(PolicyError::AnyPcrs),
            (None, true) | (Some(_), false) => {}
        }
        // PCRs 0 to 7 are the firmware's; 16 and 23 can be reset, 17 to 22 do not begin as zeros.
        if let Some(pcr) = brief_pcr.filter(|pcr| !(8..16).contains(pcr)) {
            return Err(PolicyError::BriefPcr(pcr));
        }
        for (pcr, values) in pcrs.iter().flatten() {
            if values.is_empty() {
                return Err(PolicyError::EmptyList(format!("pcrs.{pcr}")));
            }
            if pcr.resettable() {
                return Err(PolicyError::Resettable(*pcr));
            }
            if *brief_pcr == Some(pcr.index()) {
                return Err(PolicyError::BriefPcrListed(*pcr));
            }
        }
        if *tpm_enabled == Some(false) {
            return Err(PolicyError::NoTpm);
        }
        let thumbprint = |text: &String| URL_SAFE_NO_PAD.decode(text).is_ok_and(|hash| hash.len() == 32);
        if !root_cert_thumbprint.iter().flatten().all(thumbprint) {
            return Err(PolicyError::Thumbprint);
        }
        for id in vm_unique_id.iter_mut().flatten() {
            let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
            let good = id.bytes().enumerate().all(|(at, c)| if dash(at) { c == b'-' } else { c.is_ascii_hexdigit() });
            if id.len() != 36 || !good {
                return Err(PolicyError::VmUniqueId);
            }
            // As the paravisor writes them.
            id.make_ascii_uppercase();
        }
        Ok(Self(settings))
    }
}

impl From<Policy> for Settings {
    fn from(policy: Policy) -> Self {
        policy.0
    }
}

impl Policy {
    /// Of somebody who only wants to know whether evidence is genuine: demands nothing of the virtual machine.
    pub(crate) fn silent() -> Self {
        Self(Settings { any_pcrs: true, ..Settings::default() })
    }

    /// The settings, known to be free of contradictions.
    pub fn settings(&self) -> &Settings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn every_key_reads_and_is_kept() {
        let value = "ab".repeat(32);
        let text = format!(
            "brief_pcr = 8\nsecure_boot = true\ntpm_enabled = true\ntpm_persisted = false\nconsole_enabled = false\n\
             root_cert_thumbprint = [\"6nZZnYaJc4KqUZ_yvA-mucFdYNouvlPnITnNMXsHl-0\"]\n\
             vm_unique_id = [\"8c85ce00-a0eb-497b-87ef-ca9609e6c757\"]\n\
             [pcrs]\n4 = [\"{value}\"]\n11 = [\"{value}\", \"{value}\"]\n"
        );
        let policy = read(&text).expect("reads");
        let settings = policy.settings();
        assert_eq!(settings.pcrs.as_ref().map(BTreeMap::len), Some(2));
        assert_eq!(settings.vm_unique_id.as_deref(), Some(&["8C85CE00-A0EB-497B-87EF-CA9609E6C757".to_owned()][..]));
        let again = toml::to_string(&policy).expect("writes");
        assert_eq!(read(&again).expect("reads again"), policy);
    }

    #[test]
    fn contradictions_and_what_matches_nothing_are_errors() {
        let value = "ab".repeat(32);
        let one = format!("[pcrs]\n4 = [\"{value}\"]\n");
        assert!(read("any_pcrs = true").is_ok(), "control");
        assert!(read(&one).is_ok(), "control");
        for (text, part) in [
            (String::new(), "any_pcrs = true"),
            (format!("any_pcrs = true\n{one}"), "contradicts"),
            ("[pcrs]".into(), "`pcrs` is empty"),
            ("[pcrs]\n4 = []".into(), "`pcrs.4` is empty"),
            (one.replace("4 =", "24 ="), "0 to 23"),
            (one.replace("4 =", "04 ="), "0 to 23"),
            (one.replace("4 =", "x ="), "0 to 23"),
            (one.replace("4 =", "16 ="), "resets"),
            (one.replace("4 =", "23 ="), "resets"),
            (format!("brief_pcr = 7\n{one}"), "8 to 15"),
            (format!("brief_pcr = 16\n{one}"), "8 to 15"),
            (format!("brief_pcr = 9\n{}", one.replace("4 =", "9 =")), "`brief_pcr` is for"),
            ("any_pcrs = true\ntpm_enabled = false".into(), "matches nothing"),
            ("any_pcrs = true\nroot_cert_thumbprint = []".into(), "is empty"),
            ("any_pcrs = true\nroot_cert_thumbprint = [\"AAAA\"]".into(), "32 bytes"),
            ("any_pcrs = true\nvm_unique_id = []".into(), "is empty"),
            ("any_pcrs = true\nvm_unique_id = [\"8c85ce00\"]".into(), "no UUID"),
            ("any_pcrs = true\nvm_unique_id = [\"8c85ce00-a0eb-497b-87ef-ca9609e6c75x\"]".into(), "no UUID"),
            ("any_pcrs = true\nsecureboot = true".into(), "unknown field"),
        ] {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
