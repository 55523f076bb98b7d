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
use core::fmt;
use core::str::FromStr;
use semver::VersionReq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A SHA-384 digest, written as 96 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest384(pub [u8; 48]);

impl fmt::Display for Digest384 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest384 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest384({self})")
    }
}

/// Text that is no SHA-384 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a SHA-384 digest has 96 hex digits")]
pub struct DigestError;

impl FromStr for Digest384 {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 48];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest384 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest384 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

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
    pub signer: Option<Vec<Digest384>>,
    /// Accepted launch measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Vec<Digest384>>,
    /// Refused launch measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_blacklist: Option<Vec<Digest384>>,
    /// Accepted ID key digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_key_digest: Option<Vec<Digest384>>,
    /// Refused ID key digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_key_digest_blacklist: Option<Vec<Digest384>>,
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

/// A valid `[snp]` policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Policy(Settings);

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
    /// The same digest accepted and refused.
    #[error("{digest} stands in both `{key}` and `{key}_blacklist`")]
    AcceptedAndRefused {
        /// The accepting key.
        key: &'static str,
        /// The digest.
        digest: Digest384,
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
            abi: _,
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
        if *vmpl > 3 {
            return Err(PolicyError::Vmpl { found: *vmpl });
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
        assert_eq!(settings.signer, Some(vec![Digest384([0xAA; 48])]));
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
        let one = Digest384([1; 48]);
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
}
