//! The `[snp]` section of a Steward policy: what the operator accepts.
//!
//! [`Settings`] is the TOML as written (unknown keys are errors), [`Policy`] the valid form; a
//! contradiction, an empty list or a policy that names no code at all is refused when it is made,
//! not discovered at the first report. Everything that can be written here is enforced by a check
//! whose source is the key's name.

use super::product::ProductLine;
use super::report::{PlatformFlag, PolicyFlag};
use super::tcb::{FirmwareVersion, Tcb};
use crate::Hex;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Whether evidence without a revocation list is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlRule {
    /// No list, no acceptance.
    #[default]
    Required,
    /// A list is judged if there is one; its absence is accepted.
    Optional,
}

/// Least security patch levels, a floor for each product line that may appear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumTcb {
    /// Floor for Milan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milan: Option<Tcb>,
    /// Floor for Genoa.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genoa: Option<Tcb>,
    /// Floor for Turin; the only one with an FMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turin: Option<Tcb>,
}

impl MinimumTcb {
    /// The floor of a line.
    pub fn of(&self, line: ProductLine) -> Option<Tcb> {
        match line {
            ProductLine::Milan => self.milan,
            ProductLine::Genoa => self.genoa,
            ProductLine::Turin => self.turin,
        }
    }
}

/// The `[snp]` section as written. A key that is absent states no demand, except where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Accepted author key digests (AUTHOR_KEY_DIGEST).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<Vec<Hex<48>>>,
    /// Accepted launch measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Vec<Hex<48>>>,
    /// Refused launch measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_blacklist: Option<Vec<Hex<48>>>,
    /// Accepted ID key digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_key_digest: Option<Vec<Hex<48>>>,
    /// Refused ID key digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_key_digest_blacklist: Option<Vec<Hex<48>>>,
    /// Least GUEST_SVN; the ID block's author gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_guest_svn: Option<u32>,
    /// Accepted FAMILY_IDs; the ID block's author gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_id: Option<Vec<Hex<16>>>,
    /// Accepted IMAGE_IDs; the ID block's author gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<Vec<Hex<16>>>,
    /// Must be said if neither `signer`, `hash` nor `id_key_digest` names the code to accept.
    pub any_measurement: bool,
    /// Requirement on the ABI version in the guest policy, such as `">=1.51"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abi: Option<VersionReq>,
    /// The weakest guest policy accepted: permissions (`SMT`, `CxlAllow`, `Debug`) the guest may
    /// give only if listed; restrictions (`SingleSocket`, …) the guest must have if listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_flags: Option<Vec<PolicyFlag>>,
    /// The weakest platform accepted: `SMT` and `TIO` may be on only if listed; the others
    /// (`TSME`, `ECC`, `AliasCheckComplete`, …) must be on if listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_info_flags: Option<Vec<PlatformFlag>>,
    /// Floors on the reported, committed and launch TCB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_tcb: Option<MinimumTcb>,
    /// Least firmware version that is committed, such as `"1.55.30"`: major, minor, build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_firmware: Option<FirmwareVersion>,
    /// Mitigations that must have been there at launch and now: bits of both mitigation vectors. Reports before version
    /// 5 say nothing of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitigations: Option<u64>,
    /// Product lines that are not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_products: Option<Vec<ProductLine>>,
    /// The one VMPL accepted, 0 to 3; default 0.
    pub vmpl: u8,
    /// `"required"` (default) or `"optional"`.
    pub crl: CrlRule,
    /// Accepts guests whose policy permits debugging: no protection from the host.
    pub insecure_debug: bool,
}

/// Guests have VMPL 0 to 3.
pub(super) const MAX_VMPL: u32 = 3;

/// A valid `[snp]` policy.
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
    #[error("no accepted code: state `hash`, `signer` or `id_key_digest`, or write `any_measurement = true`")]
    NoCode,
    /// `any_measurement` beside a list of what is accepted.
    #[error("`any_measurement = true` contradicts `{key}`")]
    AnyMeasurement {
        /// The list.
        key: &'static str,
    },
    /// A list that accepts or refuses nothing.
    #[error("`{key}` is empty; leave the key away to state no demand")]
    EmptyList {
        /// The key.
        key: &'static str,
    },
    /// A key that nobody has.
    #[error("`{key}` lists a digest of zeros, which stands where no key signed")]
    NoKey {
        /// The list.
        key: &'static str,
    },
    /// A requirement that no guest policy meets.
    #[error("`abi = \"{requirement}\"` is met by no version; one is written x.y, each at most 255")]
    Abi {
        /// What was written.
        requirement: VersionReq,
    },
    /// The same digest accepted and refused.
    #[error("{digest} stands in both `{key}` and `{key}_blacklist`")]
    AcceptedAndRefused {
        /// The accepting key.
        key: &'static str,
        /// The digest.
        digest: Hex<48>,
    },
    /// `policy_flags` and `insecure_debug` say different things.
    #[error("`policy_flags` lists \"Debug\" if and only if `insecure_debug = true`")]
    Debug,
    /// Guests with a migration agent are never accepted.
    #[error("`policy_flags` lists \"MigrateMA\", which is never accepted")]
    Migration,
    /// No such privilege level.
    #[error("`vmpl` is {found}; there are 0 to 3")]
    Vmpl {
        /// What was written.
        found: u8,
    },
    /// A floor with the FMC of another layout.
    #[error("`minimum_tcb.{line}`: only turin has `fmc`, and turin needs it")]
    Fmc {
        /// The key.
        line: &'static str,
    },
    /// A floor for no line.
    #[error("`minimum_tcb` names no product line (milan, genoa, turin)")]
    NoFloor,
    /// What an ID block says means something only if it is known whose it is.
    #[error("`{key}` is the ID block's author's to give: state `signer` or `id_key_digest` too")]
    WithoutSigner {
        /// The key.
        key: &'static str,
    },
    /// Nothing is left.
    #[error("`refused_products` refuses every product line")]
    NoProduct,
    /// A floor for a product line that is not accepted.
    #[error("`minimum_tcb.{line}` is about a product line that `refused_products` refuses")]
    RefusedFloor {
        /// The key.
        line: &'static str,
    },
    /// No mitigation.
    #[error("`mitigations` is 0; leave the key away to state no demand")]
    NoMitigation,
}

impl TryFrom<Settings> for Policy {
    type Error = PolicyError;

    fn try_from(settings: Settings) -> Result<Self, PolicyError> {
        // No `..`: a key added later must be thought about here.
        let Settings {
            signer,
            hash,
            hash_blacklist,
            id_key_digest,
            id_key_digest_blacklist,
            any_measurement,
            abi,
            policy_flags,
            platform_info_flags: _,
            minimum_tcb,
            minimum_guest_svn,
            family_id,
            image_id,
            minimum_firmware: _,
            mitigations,
            refused_products,
            vmpl,
            crl: _,
            insecure_debug,
        } = &settings;
        let given = [
            ("minimum_guest_svn", minimum_guest_svn.is_some()),
            ("family_id", family_id.is_some()),
            ("image_id", image_id.is_some()),
        ];
        for (key, list) in [
            ("signer", signer),
            ("hash", hash),
            ("hash_blacklist", hash_blacklist),
            ("id_key_digest", id_key_digest),
            ("id_key_digest_blacklist", id_key_digest_blacklist),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(PolicyError::EmptyList { key });
            }
        }
        for (key, empty) in [
            ("family_id", family_id.as_ref().is_some_and(Vec::is_empty)),
            ("image_id", image_id.as_ref().is_some_and(Vec::is_empty)),
            ("refused_products", refused_products.as_ref().is_some_and(Vec::is_empty)),
        ] {
            if empty {
                return Err(PolicyError::EmptyList { key });
            }
        }
        for (key, list) in [("signer", signer), ("id_key_digest", id_key_digest)] {
            if list.iter().flatten().any(|digest| digest.0 == [0; 48]) {
                return Err(PolicyError::NoKey { key });
            }
        }
        if let Some(requirement) = abi.as_ref().filter(|requirement| !can_be_met(requirement)) {
            return Err(PolicyError::Abi { requirement: requirement.clone() });
        }
        if *mitigations == Some(0) {
            return Err(PolicyError::NoMitigation);
        }
        let accepting = [("signer", signer), ("hash", hash), ("id_key_digest", id_key_digest)];
        let stated = accepting.iter().find(|(_, list)| list.is_some());
        match (stated, any_measurement) {
            (None, false) => return Err(PolicyError::NoCode),
            (Some((key, _)), true) => return Err(PolicyError::AnyMeasurement { key }),
            (None, true) | (Some(_), false) => {}
        }
        if signer.is_none()
            && id_key_digest.is_none()
            && let Some((key, _)) = given.into_iter().find(|(_, given)| *given)
        {
            return Err(PolicyError::WithoutSigner { key });
        }
        let refused_products = refused_products.as_deref().unwrap_or_default();
        if ProductLine::ALL.iter().all(|line| refused_products.contains(line)) {
            return Err(PolicyError::NoProduct);
        }
        for (key, accepted, refused) in
            [("hash", hash, hash_blacklist), ("id_key_digest", id_key_digest, id_key_digest_blacklist)]
        {
            let refused = refused.as_deref().unwrap_or_default();
            let both = accepted.iter().flatten().find(|digest| refused.contains(digest));
            if let Some(digest) = both {
                return Err(PolicyError::AcceptedAndRefused { key, digest: *digest });
            }
        }
        if let Some(flags) = policy_flags {
            if flags.contains(&PolicyFlag::MigrateMa) {
                return Err(PolicyError::Migration);
            }
            if flags.contains(&PolicyFlag::Debug) != *insecure_debug {
                return Err(PolicyError::Debug);
            }
        }
        if let Some(MinimumTcb { milan, genoa, turin }) = minimum_tcb {
            for (line, floor, fmc) in [("milan", milan, false), ("genoa", genoa, false), ("turin", turin, true)] {
                if floor.is_some_and(|floor| floor.fmc.is_some() != fmc) {
                    return Err(PolicyError::Fmc { line });
                }
            }
            let floors = [
                ("milan", milan, ProductLine::Milan),
                ("genoa", genoa, ProductLine::Genoa),
                ("turin", turin, ProductLine::Turin),
            ];
            let about = floors.iter().find(|(_, floor, line)| floor.is_some() && refused_products.contains(line));
            if let Some((line, ..)) = about {
                return Err(PolicyError::RefusedFloor { line });
            }
            if milan.is_none() && genoa.is_none() && turin.is_none() {
                return Err(PolicyError::NoFloor);
            }
        }
        if u32::from(*vmpl) > MAX_VMPL {
            return Err(PolicyError::Vmpl { found: *vmpl });
        }
        Ok(Self { settings, silent: false })
    }
}

/// Whether any ABI version of a guest policy, x.y.0 with numbers of one byte, meets a requirement.
///
/// Each comparator is met by all versions from one on, up to another: if any version meets them all, so does the first one
/// that does, which is the least of all, or that of a comparator or next to it.
fn can_be_met(requirement: &VersionReq) -> bool {
    let firsts = requirement.comparators.iter().flat_map(|comparator| {
        let (major, minor) = (comparator.major, comparator.minor.unwrap_or(0));
        [(major, minor), (major, minor.saturating_add(1)), (major.saturating_add(1), 0)]
    });
    let of_bytes = |(major, minor)| u8::try_from(major).is_ok() && u8::try_from(minor).is_ok();
    let mut versions = [(0, 0)].into_iter().chain(firsts).filter(|version| of_bytes(*version));
    versions.any(|(major, minor)| requirement.matches(&Version::new(major, minor, 0)))
}

impl From<Policy> for Settings {
    fn from(policy: Policy) -> Self {
        policy.settings
    }
}

impl Policy {
    /// Of somebody who only wants to know whether evidence is genuine: demands nothing that is a matter of policy, and no
    /// revocation list. Guests that can be debugged are refused all the same.
    pub(crate) fn silent() -> Self {
        let settings = Settings { any_measurement: true, crl: CrlRule::Optional, ..Settings::default() };
        Self { settings, silent: true }
    }

    /// The settings, known to be free of contradictions.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, toml::de::Error> {
        toml::from_str(text)
    }

    fn refused(settings: Settings) -> Option<PolicyError> {
        Policy::try_from(settings).err()
    }

    fn any() -> Settings {
        Settings { any_measurement: true, ..Settings::default() }
    }

    #[test]
    fn the_founding_example_reads_and_is_kept() {
        let digest = |byte: &str| byte.repeat(48);
        let text = format!(
            "signer = [\"{a}\"]\nhash = [\"{b}\"]\nhash_blacklist = [\"{c}\"]\n\
             id_key_digest = [\"{a}\"]\nid_key_digest_blacklist = [\"{b}\"]\nabi = \">1.0\"\n\
             policy_flags = [\"SingleSocket\", \"SMT\"]\nplatform_info_flags = [\"TSME\"]\n\
             [minimum_tcb.milan]\nbootloader = 3\ntee = 0\nsnp = 8\nmicrocode = 115\n\
             [minimum_tcb.turin]\nfmc = 0\nbootloader = 1\ntee = 0\nsnp = 2\nmicrocode = 71\n",
            a = digest("aa"),
            b = digest("bb"),
            c = digest("cc"),
        );
        let policy = read(&text).expect("reads");
        let settings = policy.settings();
        assert_eq!(settings.signer, Some(vec![Hex([0xAA; 48])]));
        assert_eq!(settings.crl, CrlRule::Required);
        assert_eq!(settings.vmpl, 0);
        assert!(!settings.insecure_debug);
        let again = toml::to_string(&policy).expect("writes");
        assert_eq!(read(&again).expect("reads again"), policy);
    }

    #[test]
    fn unknown_keys_and_values_are_errors() {
        assert!(read("any_measurement = true").is_ok());
        for text in [
            "any_measurement = true\nhashes = []",
            "any_measurement = true\npolicy_flags = [\"smt\"]",
            "any_measurement = true\nplatform_info_flags = [\"SME\"]",
            "any_measurement = true\ncrl = \"no\"",
            "any_measurement = true\nabi = \"one\"",
            "any_measurement = true\n[minimum_tcb.rome]\nsnp = 1",
            "any_measurement = true\n[minimum_tcb.milan]\nsnp = 1",
            "hash = [\"abcd\"]",
            "any_measurement = true\nminimum_firmware = \"1.55\"",
            "any_measurement = true\nrefused_products = [\"Rome\"]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn contradictions_are_errors() {
        let one = Hex([1; 48]);
        assert_eq!(refused(any()), None);
        assert_eq!(refused(Settings::default()), Some(PolicyError::NoCode));
        assert_eq!(
            refused(Settings { signer: Some(vec![one]), ..any() }),
            Some(PolicyError::AnyMeasurement { key: "signer" })
        );
        assert_eq!(refused(Settings { hash: Some(vec![]), ..any() }), Some(PolicyError::EmptyList { key: "hash" }));
        assert_eq!(
            refused(Settings { hash: Some(vec![one]), hash_blacklist: Some(vec![one]), ..Settings::default() }),
            Some(PolicyError::AcceptedAndRefused { key: "hash", digest: one })
        );
        assert_eq!(
            refused(Settings { policy_flags: Some(vec![PolicyFlag::Debug]), ..any() }),
            Some(PolicyError::Debug)
        );
        assert_eq!(
            refused(Settings { policy_flags: Some(vec![]), insecure_debug: true, ..any() }),
            Some(PolicyError::Debug)
        );
        assert_eq!(
            refused(Settings { policy_flags: Some(vec![PolicyFlag::MigrateMa]), ..any() }),
            Some(PolicyError::Migration)
        );
        assert_eq!(refused(Settings { vmpl: 4, ..any() }), Some(PolicyError::Vmpl { found: 4 }));
        let zeros = || Some(vec![one, Hex([0; 48])]);
        assert_eq!(
            refused(Settings { signer: zeros(), ..Settings::default() }),
            Some(PolicyError::NoKey { key: "signer" })
        );
        assert_eq!(
            refused(Settings { id_key_digest: zeros(), ..Settings::default() }),
            Some(PolicyError::NoKey { key: "id_key_digest" })
        );
        // Whoever refuses zeros demands an ID block.
        assert_eq!(refused(Settings { id_key_digest_blacklist: zeros(), ..any() }), None);
        assert_eq!(refused(Settings { minimum_tcb: Some(MinimumTcb::default()), ..any() }), Some(PolicyError::NoFloor));
        let tcb = Tcb { fmc: Some(0), bootloader: 0, tee: 0, snp: 0, microcode: 0 };
        let minimum_tcb = Some(MinimumTcb { milan: Some(tcb), ..MinimumTcb::default() });
        assert_eq!(refused(Settings { minimum_tcb, ..any() }), Some(PolicyError::Fmc { line: "milan" }));
        let of_signer = Settings { minimum_guest_svn: Some(1), ..Settings::default() };
        let key = "minimum_guest_svn";
        assert_eq!(
            refused(Settings { any_measurement: true, ..of_signer.clone() }),
            Some(PolicyError::WithoutSigner { key })
        );
        assert_eq!(
            refused(Settings { hash: Some(vec![one]), ..of_signer.clone() }),
            Some(PolicyError::WithoutSigner { key })
        );
        assert_eq!(refused(Settings { signer: Some(vec![one]), ..of_signer }), None, "control");
        assert_eq!(refused(Settings { mitigations: Some(0), ..any() }), Some(PolicyError::NoMitigation));
        let refused_products = Some(ProductLine::ALL.to_vec());
        assert_eq!(refused(Settings { refused_products, ..any() }), Some(PolicyError::NoProduct));
        let refused_products = Some(vec![ProductLine::Genoa]);
        let genoa = Some(tcb).map(|tcb| Tcb { fmc: None, ..tcb });
        let minimum_tcb = Some(MinimumTcb { genoa, ..MinimumTcb::default() });
        assert_eq!(
            refused(Settings { refused_products, minimum_tcb, ..any() }),
            Some(PolicyError::RefusedFloor { line: "genoa" })
        );
    }

    /// By the rule, and by trying every version.
    #[test]
    fn a_requirement_that_no_abi_version_meets_is_refused() {
        for (text, good) in [
            (">=256", false),
            ("=1.51.3", false),
            (">=2, <1", false),
            ("~1.51.3", false),
            (">255.255", false),
            ("=1.256", false),
            (">1.51, <1.52", false),
            (">=1.51.3, <1.52", false),
            ("<0.0", false),
            ("=1.300", false),
            ("*", true),
            ("=1.51", true),
            ("1", true),
            (">=1.51.3", true),
            ("^1.51.3", true),
            (">1.255", true),
            (">=1.300", true),
            (">255.254", true),
            ("<0.1", true),
            ("<=0.0", true),
            (">=1.51, <1.52", true),
            (">1.51, <1.53", true),
            ("<3, >2", false),
            ("<4, >2", true),
            ("=1.51.0-a", false),
            (">1.51.0-a", true),
        ] {
            let abi: VersionReq = text.parse().expect(text);
            let version = |major: u8, minor: u8| Version::new(major.into(), minor.into(), 0);
            let any_meets = (0..=255).any(|major| (0..=255).any(|minor| abi.matches(&version(major, minor))));
            assert_eq!(any_meets, good, "{text}: by trying");
            let refusal = refused(Settings { abi: Some(abi.clone()), ..any() });
            assert_eq!(refusal, (!good).then_some(PolicyError::Abi { requirement: abi }), "{text}");
        }
    }
}
