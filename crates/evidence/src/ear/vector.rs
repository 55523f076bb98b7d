//! The trustworthiness vector: what a verdict means in the words of AR4SI (draft-ietf-rats-ar4si section 2.3).
//!
//! Of accepted evidence:
//!
//! | aspect | value | when, and why |
//! |---|---|---|
//! | hardware | 2 | genuine by the vendor's chain, TCB `UpToDate`, or `MeetsPolicy`: AMD rates none, but the policy has a floor |
//! | | 32 | genuine, but vulnerabilities are known: `OutOfDate…`; `SWHardeningNeeded`, because the flaw is the processor's though software has to work around it; `TDRelaunchAdvised…`, because the TDX module the TD was launched on is old |
//! | | 32 | genuine, and `NotRated`: neither AMD nor the policy says how old is too old, so that firmware with known vulnerabilities passes like any other |
//! | configuration | 2 | the rules about what guest and platform permit hold: approved |
//! | | 32 | Intel says `Configuration…Needed`: it exposes vulnerabilities, and what would close them is not in the evidence |
//! | executables | 3 | what was launched is one that the policy lists: by its measurement, or by who signed it (SNP's author and ID keys, MRSIGNER) and which one it is (FAMILY_ID or IMAGE_ID, ISVPRODID), for a signer signs many; of TDX MRTD, RTMR 1 and 2; on Azure the paravisor, and PCRs with PCR 4 among them. Nothing is said of what is loaded later, hence not 2 |
//! | | 33 | the policy accepts any, or names less than that: nobody recognised it |
//! | instance-identity | 2 | the policy lists platforms, or virtual machines of Azure, and this is one; else nothing is said |
//! | runtime-opaque | 2 | memory is encrypted or out of reach for the host, which is what the TEE is for |
//! | | 96 | debugging is possible and was tolerated |
//!
//! PCR 4 has the boot loader, or kernel, command line and initial files where they are one EFI program; PCRs 8 to 15 have what
//! that one says of what it starts, and can be had with any value by starting another one. PCRs 0 to 3 and 5 to 7 are about
//! the firmware and its settings.
//!
//! Of refused evidence only what failed is said: 99 for hardware, configuration, executables and runtime-opaque where the
//! evidence is not shown to be genuine, for then nothing in it is known; 0 for hardware where the policy has no section for it,
//! so that nobody looked; else by the check that failed. Whatever the values, the status of a refusal is contraindicated. File
//! system, stored and sourced data are not appraised.

use super::claims::said;
use super::{Rating, TcbStatus};
use serde::{Deserialize, Serialize};

/// Approved, genuine, opaque.
const AFFIRMED: i8 = 2;
/// Approved at launch.
const AT_LAUNCH: i8 = 3;
/// Vulnerabilities are known, or would have been no reason to refuse.
const VULNERABLE: i8 = 32;
/// Executables that nobody recognises.
const UNKNOWN: i8 = 33;
/// Recognised, and not to be trusted.
const CONTRAINDICATED: i8 = 96;
/// Not recognised, though it should be.
const UNRECOGNISED: i8 = 97;
/// The evidence did not verify.
const CRYPTOGRAPHY: i8 = 99;
/// Nothing is known that a conclusion could come of.
const INSUFFICIENT: i8 = 0;
/// The verifier did not work as it should.
const MALFUNCTION: i8 = -1;

/// Checks that pass only for platforms, or virtual machines, that the policy lists.
pub(super) const INSTANCE: &[&str] = &["snp.platform.allowed", "dcap.platform.allowed", "azure.vm_unique_id"];

/// How far something can be trusted (AR4SI section 2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing is said.
    None,
    /// Nothing speaks against it.
    Affirming,
    /// Something does.
    Warning,
    /// It is not to be trusted.
    Contraindicated,
}

impl Tier {
    /// Of one value.
    #[must_use]
    pub fn of(value: i8) -> Self {
        match value {
            -1..=1 => Self::None,
            2..=31 | -32..=-2 => Self::Affirming,
            32..=95 | -96..=-33 => Self::Warning,
            96..=127 | -128..=-97 => Self::Contraindicated,
        }
    }
}

/// What is said of each aspect of an attester; nothing of those that are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vector {
    /// Which one it is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub instance_identity: Option<i8>,
    /// What its configuration exposes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub configuration: Option<i8>,
    /// What was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub executables: Option<i8>,
    /// What is in its files.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub file_system: Option<i8>,
    /// What it runs on, firmware included.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub hardware: Option<i8>,
    /// Who can look in from outside.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub runtime_opaque: Option<i8>,
    /// How what it stores is protected.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub storage_opaque: Option<i8>,
    /// Whose data it works on.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub sourced_data: Option<i8>,
}

impl Vector {
    /// The worst tier of all that is said.
    #[must_use]
    pub fn worst(&self) -> Tier {
        let Self {
            instance_identity,
            configuration,
            executables,
            file_system,
            hardware,
            runtime_opaque,
            storage_opaque,
            sourced_data,
        } = *self;
        let said = [
            instance_identity,
            configuration,
            executables,
            file_system,
            hardware,
            runtime_opaque,
            storage_opaque,
            sourced_data,
        ];
        said.into_iter().flatten().map(Tier::of).max().unwrap_or(Tier::None)
    }

    pub(super) fn accepted(status: Rating, recognised: bool, instance: bool, debug: bool) -> Self {
        use TcbStatus as S;
        let (hardware, configuration) = match status {
            Rating::MeetsPolicy | Rating::Intel(S::UpToDate) => (AFFIRMED, AFFIRMED),
            Rating::Intel(S::ConfigurationNeeded) => (AFFIRMED, VULNERABLE),
            Rating::NotRated | Rating::Intel(S::SWHardeningNeeded | S::OutOfDate | S::TDRelaunchAdvised) => {
                (VULNERABLE, AFFIRMED)
            }
            Rating::Intel(
                S::ConfigurationAndSWHardeningNeeded
                | S::OutOfDateConfigurationNeeded
                | S::TDRelaunchAdvisedConfigurationNeeded,
            ) => (VULNERABLE, VULNERABLE),
            // Never accepted; here for whoever changes that.
            Rating::Intel(S::Revoked) => (CONTRAINDICATED, AFFIRMED),
        };
        Self {
            hardware: Some(hardware),
            configuration: Some(configuration),
            executables: Some(if recognised { AT_LAUNCH } else { UNKNOWN }),
            instance_identity: instance.then_some(AFFIRMED),
            runtime_opaque: Some(if debug { CONTRAINDICATED } else { AFFIRMED }),
            ..Self::default()
        }
    }

    pub(super) fn refused<'a>(failed: impl Iterator<Item = &'a str>) -> Self {
        let mut vector = Self::default();
        for id in failed {
            vector.fail(id);
        }
        if vector == Self::default() {
            // Refused, and no check failed: our defect.
            vector.hardware = Some(MALFUNCTION);
        }
        vector
    }

    fn fail(&mut self, id: &str) {
        let (aspects, value): (&mut [&mut Option<i8>], i8) = match Meaning::of(id) {
            Meaning::Forged => (
                &mut [&mut self.hardware, &mut self.configuration, &mut self.executables, &mut self.runtime_opaque],
                CRYPTOGRAPHY,
            ),
            Meaning::NotSeen => (&mut [&mut self.hardware], INSUFFICIENT),
            Meaning::Platform => (&mut [&mut self.hardware], CONTRAINDICATED),
            Meaning::Configuration => (&mut [&mut self.configuration], CONTRAINDICATED),
            Meaning::Visible => (&mut [&mut self.runtime_opaque], CONTRAINDICATED),
            Meaning::Unknown => (&mut [&mut self.executables], UNKNOWN),
            Meaning::Denied => (&mut [&mut self.executables], CONTRAINDICATED),
            Meaning::Instance => (&mut [&mut self.instance_identity], UNRECOGNISED),
        };
        for aspect in aspects.iter_mut() {
            **aspect = (**aspect).max(Some(value));
        }
    }
}

/// What it means that a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    /// It is not shown that the evidence is genuine: form, chain, dates, lists, signatures, and every rule that nobody put
    /// elsewhere.
    Forged,
    /// Whatever it is, the policy does not speak of it.
    NotSeen,
    /// Genuine, on a platform that is revoked, too old or refused.
    Platform,
    /// Guest or platform permit what the policy does not, or the brief is another.
    Configuration,
    /// The host could look in.
    Visible,
    /// None of those that the policy lists.
    Unknown,
    /// One of those that the policy refuses.
    Denied,
    /// Not the one that is meant: another platform, or one that does not know key and nonce.
    Instance,
}

impl Meaning {
    fn of(id: &str) -> Self {
        match id {
            "snp.ask.revoked" | "dcap.root.revoked" | "dcap.ca.revoked" | "dcap.pck.revoked" => Self::Platform,
            "snp.tcb.minimum" | "snp.firmware.minimum" | "snp.mitigations" | "snp.platform.product" => Self::Platform,
            "dcap.tcb.level"
            | "dcap.tcb.revoked"
            | "dcap.tcb.status"
            | "dcap.tcb.advisories_allowed"
            | "dcap.tcb.advisories_rejected"
            | "dcap.tcb.evaluation"
            | "dcap.qe.level"
            | "dcap.platform.product"
            | "tdx.module.allowed" => Self::Platform,
            "policy.section" => Self::NotSeen,
            "snp.policy.migration"
            | "snp.policy.flags"
            | "snp.policy.abi"
            | "snp.platform_info.flags"
            | "snp.vmpl"
            | "snp.host_data"
            | "dcap.platform.configuration"
            | "sgx.attributes.features"
            | "sgx.misc_select"
            | "sgx.config_id"
            | "tdx.attributes.sept_ve_disable"
            | "tdx.attributes.migratable"
            | "tdx.attributes.flags"
            | "tdx.service_td"
            | "tdx.owner"
            | "tdx.owner_config"
            | "tdx.config_id" => Self::Configuration,
            "snp.policy.debug" | "sgx.attributes.debug" | "tdx.attributes.debug" => Self::Visible,
            "snp.measurement.allowed"
            | "snp.signer.allowed"
            | "snp.id_key.allowed"
            | "snp.guest_svn"
            | "snp.family_id"
            | "snp.image_id"
            | "sgx.measurement.allowed"
            | "sgx.signer.allowed"
            | "sgx.product_id"
            | "sgx.security_version"
            | "sgx.family_id"
            | "sgx.extended_product_id"
            | "tdx.measurement.allowed"
            | "tdx.rtmr0"
            | "tdx.rtmr1"
            | "tdx.rtmr2"
            | "tdx.rtmr3" => Self::Unknown,
            "snp.measurement.denied" | "snp.id_key.denied" | "sgx.measurement.denied" | "tdx.measurement.denied" => {
                Self::Denied
            }
            "snp.platform.allowed"
            | "dcap.platform.allowed"
            | "snp.report_data"
            | "sgx.report_data"
            | "tdx.report_data" => Self::Instance,
            // What the paravisor says of the virtual machine: its settings, the root that it was provisioned with, and the
            // PCR with the brief in the place of a launch field.
            "azure.secure_boot"
            | "azure.tpm_enabled"
            | "azure.tpm_persisted"
            | "azure.console_enabled"
            | "azure.root_cert_thumbprint"
            | "azure.launch_field" => Self::Configuration,
            // What was measured there is none of those listed, or was not quoted.
            "azure.pcrs" => Self::Unknown,
            // Another virtual machine, or one that did not know key and nonce.
            "azure.vm_unique_id" | "azure.report_data" => Self::Instance,
            // A link from the hardware to the quote is broken, so that nothing in the quote is known; that a guest asked for
            // the report, and not its paravisor, is such a break, too: it may have named any key.
            _ => Self::Forged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_tier_has_both_signs() {
        for (values, tier) in [
            (vec![-1, 0, 1], Tier::None),
            (vec![2, 31, -2, -32], Tier::Affirming),
            (vec![32, 95, -33, -96], Tier::Warning),
            (vec![96, 127, -97, -128], Tier::Contraindicated),
        ] {
            for value in values {
                assert_eq!(Tier::of(value), tier, "{value}");
            }
        }
    }

    /// A rule that is renamed or new is noticed here: its meaning must be chosen.
    #[test]
    fn every_rule_has_a_meaning() {
        let mut counts = BTreeMap::new();
        use crate::{azure, sgx, snp, tdx};
        let own = crate::appraisal::CHECKS;
        let lists = [own, snp::CHECKS, sgx::CHECKS, tdx::CHECKS, azure::CHECKS_SNP, azure::CHECKS_TDX];
        let all: std::collections::BTreeSet<_> = lists.concat().iter().map(|rule| rule.id).collect();
        for id in &all {
            *counts.entry(Meaning::of(id)).or_insert(0) += 1;
        }
        use Meaning::*;
        let expected = [
            (Forged, 116),
            (NotSeen, 1),
            (Platform, 17),
            (Configuration, 23),
            (Visible, 3),
            (Unknown, 18),
            (Denied, 4),
            (Instance, 7),
        ];
        assert_eq!(counts, expected.into(), "{} rules", all.len());
        for id in INSTANCE {
            assert!(all.contains(id), "{id}");
        }
    }

    #[test]
    fn statuses_warn_of_what_they_are_about() {
        let of = |status| {
            let vector = Vector::accepted(Rating::Intel(status), true, false, false);
            (vector.hardware, vector.configuration, vector.worst())
        };
        for status in TcbStatus::ALL {
            let (hardware, configuration, worst) = of(status);
            let needs = status.to_string().contains("Configuration");
            assert_eq!(configuration == Some(VULNERABLE), needs, "{status}");
            let tier = match status {
                TcbStatus::UpToDate => Tier::Affirming,
                TcbStatus::Revoked => Tier::Contraindicated,
                _ => Tier::Warning,
            };
            assert_eq!(worst, tier, "{status}");
            let sound = matches!(status, TcbStatus::UpToDate | TcbStatus::ConfigurationNeeded);
            assert_eq!(hardware == Some(AFFIRMED), sound, "{status}");
        }
    }

    #[test]
    fn what_is_not_recognised_or_can_be_watched_is_not_affirmed() {
        let worst = |recognised, debug| Vector::accepted(Rating::MeetsPolicy, recognised, true, debug).worst();
        assert_eq!(worst(true, false), Tier::Affirming);
        assert_eq!(worst(false, false), Tier::Warning);
        assert_eq!(worst(true, true), Tier::Contraindicated);
    }

    #[test]
    fn a_refusal_says_what_failed_and_nothing_else() {
        let denied = Vector::refused(["snp.measurement.denied", "snp.measurement.allowed"].into_iter());
        assert_eq!(denied, Vector { executables: Some(CONTRAINDICATED), ..Vector::default() });
        let forged = Vector::refused(["snp.report.signature", "snp.host_data"].into_iter());
        assert_eq!((forged.hardware, forged.configuration), (Some(CRYPTOGRAPHY), Some(CRYPTOGRAPHY)));
        assert_eq!(forged.instance_identity, None);
        assert_eq!(Vector::refused([].into_iter()).hardware, Some(MALFUNCTION));
    }
}
