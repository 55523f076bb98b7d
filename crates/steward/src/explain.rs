//! A policy in words, and where it is weak.
//!
//! Owns the sentences, and what counts as weak: what the policy accepts that an attacker could use, and that its writer may not
//! have thought of. Refuses nothing: a policy that loads may be weak. Invariant: what is said follows from the canonical text
//! alone, which is what relying parties pin.

use std::collections::BTreeMap;

use evidence::{appraisal::KEYS, dcap::TcbStatus, sgx, snp, tdx};
use identity::ear::Class;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{MAX_LIFETIME, Policy};

/// A policy in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// What it says, by section; the first has no name.
    pub sections: Vec<Section>,
    /// Where it is weak.
    pub weak: Vec<Weak>,
}

/// A part of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// As it is written, such as `[snp]`.
    pub name: String,
    /// Keys, and what they mean here.
    pub lines: Vec<(String, String)>,
}

/// Something that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weak {
    /// The key it is about, such as `snp.minimum_tcb`: that it is there, or that it is not.
    pub key: String,
    /// What that lets in.
    pub why: &'static str,
    /// What to write instead.
    pub hint: &'static str,
}

/// The canonical text, read back.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    any_platform: bool,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    insecure_roots: Vec<String>,
    snp: Option<snp::Settings>,
    sgx: Option<sgx::Settings>,
    tdx: Option<tdx::Settings>,
    #[serde(default)]
    name: Vec<Named>,
    #[serde(default)]
    compat: BTreeMap<String, bool>,
}

#[derive(Deserialize)]
struct Named {
    owner: String,
    deployment: Option<String>,
    dns: Option<String>,
    #[serde(default)]
    minimum_version: u64,
}

impl Policy {
    /// What it says, and where it is weak.
    #[must_use]
    pub fn explain(&self) -> Explained {
        let values: BTreeMap<String, Value> = serde_json::from_str(self.canonical()).unwrap_or_default();
        let said = serde_json::from_str(self.canonical());
        let Ok(said): Result<Said, _> = said else {
            // The canonical text of a policy is one.
            return Explained { sections: Vec::new(), weak: Vec::new() };
        };
        let mut sections = vec![Section { name: String::new(), lines: self.head(&said) }];
        for tee in self.tees() {
            let keys = values.get(*tee).and_then(Value::as_object).into_iter().flatten();
            let lines = keys.map(|(key, value)| (key.clone(), format!("{}: {}", meaning(tee, key), short(value))));
            sections.push(Section { name: format!("[{tee}]"), lines: lines.collect() });
        }
        if let Some(deny) = values.get("deny").and_then(Value::as_object) {
            let lines =
                deny.iter().map(|(list, entries)| (list.clone(), format!("no certificate for: {}", short(entries))));
            sections.push(Section { name: "[deny]".to_owned(), lines: lines.collect() });
        }
        if self.enarx() {
            let enarx =
                "requests of Enarx: certificates without a name, for servers only, from the instant of asking on";
            let lines = vec![("enarx".to_owned(), enarx.to_owned())];
            sections.push(Section { name: "[compat]".to_owned(), lines });
        }
        if !said.name.is_empty() {
            let lines = said.name.iter().map(|name| (name.owner.clone(), self.granted(name)));
            sections.push(Section { name: "[[name]]".to_owned(), lines: lines.collect() });
        }
        Explained { sections, weak: weak(&said) }
    }

    fn head(&self, said: &Said) -> Vec<(String, String)> {
        let class = match self.class() {
            Class::Hardware => "hardware: evidence of real TEEs, debug off",
            Class::Insecure => "insecure: certificates from a root of its own, which nobody takes for hardware",
        };
        let platforms = match said.platforms.len() {
            0 => "any machine may ask".to_owned(),
            1 => "one machine may ask".to_owned(),
            many => format!("{many} machines may ask"),
        };
        let tees = match self.tees() {
            [] => "none: nobody gets a certificate".to_owned(),
            some => some.join(", "),
        };
        let names = match said.name.len() {
            0 => "nobody gets a name: every Keep is anonymous",
            _ => "as below; a Keep without a Deployment is anonymous",
        };
        let lifetime = match self.lifetime() {
            MAX_LIFETIME => "a day, from the nonce on".to_owned(),
            seconds => format!("{} minutes, from the nonce on", seconds / 60),
        };
        let mut lines = vec![
            ("trust domain".to_owned(), format!("spiffe://{}/…", self.trust_domain())),
            ("class".to_owned(), class.to_owned()),
            ("evidence".to_owned(), tees),
            ("platforms".to_owned(), platforms),
            ("lifetime".to_owned(), lifetime),
            ("names".to_owned(), names.to_owned()),
        ];
        if !said.insecure_roots.is_empty() {
            lines.push(("insecure_roots".to_owned(), format!("also believed: {}", said.insecure_roots.join(", "))));
        }
        lines
    }

    fn granted(&self, Named { owner: _, deployment, dns, minimum_version }: &Named) -> String {
        let id = match deployment {
            Some(deployment) => format!("spiffe://{}/{deployment}/…", self.trust_domain()),
            None => format!("spiffe://{}/…, any deployment", self.trust_domain()),
        };
        let dns = dns.as_ref().map(|dns| format!(", {dns}")).unwrap_or_default();
        let from = match minimum_version {
            0 | 1 => String::new(),
            version => format!(", by Deployments from version {version} on"),
        };
        format!("{id}{dns}{from}")
    }
}

fn meaning(section: &str, name: &str) -> &'static str {
    let key = KEYS.iter().find(|key| key.name == name && key.sections.contains(&section));
    key.map_or("(no meaning is known here)", |key| key.meaning)
}

/// A value, or the beginning of a long one.
fn short(value: &Value) -> String {
    const SHOWN: usize = 3;
    match value {
        Value::Array(items) if items.len() > SHOWN => {
            let first: Vec<String> = items.iter().take(SHOWN).map(short).collect();
            format!("{} and {} more", first.join(", "), items.len() - SHOWN)
        }
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Collects what is weak.
struct Spots(Vec<Weak>);

impl Spots {
    fn when(&mut self, weak: bool, key: impl Into<String>, why: &'static str, hint: &'static str) {
        if weak {
            self.0.push(Weak { key: key.into(), why, hint });
        }
    }

    /// What both of Intel's sections say of platforms.
    fn intel(&mut self, section: &str, accepted: Option<&[TcbStatus]>, grace: Option<u32>, evaluation: Option<u32>) {
        let key = |name: &str| format!("{section}.{name}");
        let outdated = |status: &TcbStatus| {
            matches!(
                status,
                TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded | TcbStatus::TDRelaunchAdvised
            )
        };
        self.when(
            grace.is_none() && accepted.is_some_and(|list| list.iter().any(outdated)),
            key("accepted_tcb"),
            "platforms with holes that Intel has closed are accepted, for ever",
            "accept them for some days only: grace_days",
        );
        self.when(
            grace.is_some_and(|days| days > 90),
            key("grace_days"),
            "platforms with holes that Intel has closed are accepted for more than three months",
            "give operators as long as an update takes them",
        );
        self.when(
            evaluation.is_none(),
            key("minimum_evaluation"),
            "whoever asks chooses the collateral: one of an older recovery passes as long as it is not expired",
            "name the recovery that Keeps must bring collateral of, and raise it after each",
        );
    }
}

fn weak(said: &Said) -> Vec<Weak> {
    let mut spots = Spots(Vec::new());
    spots.when(
        said.any_platform,
        "any_platform",
        "keys taken out of one broken machine, anywhere, speak for all machines",
        "list yours: platforms = [\"…\"]",
    );
    let measurement = "any program in any TEE of this kind gets a certificate";
    let name_code = "name the code: hash = [\"…\"], which `donjon measure` prints";
    let debug = "the host reads and changes what is in the Keep";
    if let Some(snp) = &said.snp {
        spots.when(snp.any_measurement, "snp.any_measurement", measurement, name_code);
        spots.when(snp.insecure_debug, "snp.insecure_debug", debug, "take it out");
        spots.when(
            snp.minimum_tcb.is_none(),
            "snp.minimum_tcb",
            "firmware with known holes passes; certificates say NotRated, and release policies of class hardware refuse them",
            "state a floor for each product line",
        );
        spots.when(
            snp.crl == snp::policy::CrlRule::Optional,
            "snp.crl",
            "a key that AMD has revoked passes, if whoever asks keeps the list back",
            "leave it away: lists are required then",
        );
        let signed = snp.signer.is_some() || snp.id_key_digest.is_some();
        spots.when(
            signed && snp.hash.is_none() && snp.family_id.is_none() && snp.image_id.is_none(),
            "snp.signer",
            "all that this signer ever signed passes, whatever it is",
            "say which of it: family_id or image_id",
        );
        spots.when(
            signed && snp.hash.is_none() && snp.minimum_guest_svn.is_none(),
            "snp.minimum_guest_svn",
            "the signer's older versions pass, with the holes that newer ones have closed",
            "state the least version",
        );
    }
    if let Some(sgx) = &said.sgx {
        spots.when(sgx.any_measurement, "sgx.any_measurement", measurement, name_code);
        spots.when(sgx.insecure_debug, "sgx.insecure_debug", debug, "take it out");
        spots.when(
            sgx.insecure_without_qe_identity,
            "sgx.insecure_without_qe_identity",
            "a platform's owner signs quotes of whatever he likes, with an enclave of his own",
            "bring Intel's QE identity, and take it out",
        );
        let signed = sgx.signer.is_some() && sgx.hash.is_none();
        spots.when(
            signed && sgx.enclave_product_id.is_none(),
            "sgx.signer",
            "all that this signer ever signed passes, whatever it is",
            "say which of it: enclave_product_id",
        );
        spots.when(
            signed && sgx.enclave_security_version.is_none(),
            "sgx.enclave_security_version",
            "the signer's older versions pass, with the holes that newer ones have closed",
            "state the least version",
        );
        spots.intel("sgx", sgx.accepted_tcb.as_deref(), sgx.grace_days, sgx.minimum_evaluation);
    }
    if let Some(tdx) = &said.tdx {
        spots.when(tdx.any_measurement, "tdx.any_measurement", measurement, name_code);
        spots.when(tdx.insecure_debug, "tdx.insecure_debug", debug, "take it out");
        spots.when(
            !tdx.any_measurement && (tdx.rtmr1.is_none() || tdx.rtmr2.is_none()),
            "tdx.rtmr1",
            "where virtual firmware starts a kernel, the measurement is of the firmware alone: any kernel passes",
            "name the kernel and its command line too: rtmr1, rtmr2; a Keep of ours has none of both",
        );
        spots.intel("tdx", tdx.accepted_tcb.as_deref(), tdx.grace_days, tdx.minimum_evaluation);
    }
    spots.when(
        said.compat.get("enarx") == Some(&true),
        "compat.enarx",
        "whoever has an old request of Enarx gets a certificate for its key, as long as its collateral is good",
        "let those Keeps move to `donjon`, and take it out",
    );
    for Named { deployment, dns, minimum_version, .. } in &said.name {
        let called = deployment.as_ref().or(dns.as_ref()).map_or("", String::as_str);
        spots.when(
            *minimum_version == 0,
            format!("name.{called}.minimum_version"),
            "every Deployment its owner ever signed names Keeps, also those that were replaced",
            "raise it when the owner replaces one: minimum_version",
        );
    }
    spots.0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const OWNER: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

    fn explained(text: &str) -> Explained {
        Policy::parse("p", text, Path::new("")).unwrap().explain()
    }

    fn keys(text: &str) -> Vec<String> {
        explained(text).weak.into_iter().map(|weak| weak.key).collect()
    }

    #[test]
    fn a_policy_without_weak_spots_has_none_said() {
        let (chip, hash) = ("ab".repeat(64), "cd".repeat(48));
        let strong = format!(
            "trust_domain = \"example.org\"\nplatforms = [\"{chip}\"]\n[snp]\nhash = [\"{hash}\"]\n\
             minimum_tcb.genoa = {{ bootloader = 10, tee = 0, snp = 23, microcode = 84 }}\n\
             [[name]]\nowner = \"{OWNER}\"\ndeployment = \"shop\"\ndns = \"shop.example.org\"\nminimum_version = 3\n\
             [deny]\nworkloads = [\"{OWNER}\"]\n"
        );
        let explained = explained(&strong);
        assert_eq!(explained.weak, []);
        let lines: Vec<String> = explained
            .sections
            .iter()
            .flat_map(|section| section.lines.iter().map(|(key, says)| format!("{}{key}: {says}", section.name)))
            .collect();
        for expected in [
            "trust domain: spiffe://example.org/…",
            "evidence: snp",
            "platforms: one machine may ask",
            "lifetime: a day, from the nonce on",
            &format!("[snp]hash: accepted launch measurements: {hash}"),
            &format!("[deny]workloads: no certificate for: {OWNER}"),
            &format!(
                "[[name]]{OWNER}: spiffe://example.org/shop/…, shop.example.org, by Deployments from version 3 on"
            ),
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("no meaning")), "{lines:?}");
    }

    /// Each with what mends it, and nothing else.
    #[test]
    fn every_weak_spot_is_said_by_its_key_and_mended_by_its_hint() {
        let head = "trust_domain = \"example.org\"\n";
        let (chip, ppid) = ("ab".repeat(64), "ab".repeat(16));
        let (hash, sgx) = ("cd".repeat(48), "cd".repeat(32));
        let floor = "minimum_tcb.genoa = { bootloader = 10, tee = 0, snp = 23, microcode = 84 }";
        let snp = |rest: &str| format!("{head}platforms = [\"{chip}\"]\n[snp]\n{rest}\n");
        let insecure = |text: String| format!("class = \"insecure\"\n{text}");
        let intel = |section: &str, rest: &str| format!("{head}platforms = [\"{ppid}\"]\n[{section}]\n{rest}\n");
        let evaluation = "minimum_evaluation = 17";
        let old = "accepted_tcb = [\"UpToDate\", \"OutOfDate\"]";
        let signed = format!("signer = [\"{hash}\"]\n{floor}\nimage_id = [\"{}\"]", "01".repeat(16));
        let product = format!("signer = [\"{sgx}\"]\n{evaluation}\nenclave_product_id = 1");
        let named = format!(
            "{}[[name]]\nowner = \"{OWNER}\"\ndeployment = \"shop\"",
            snp(&format!("hash = [\"{hash}\"]\n{floor}"))
        );
        for (weak, mended, key) in [
            (format!("{head}any_platform = true"), format!("{head}platforms = [\"{chip}\"]"), "any_platform"),
            (
                snp(&format!("any_measurement = true\n{floor}")),
                snp(&format!("hash = [\"{hash}\"]\n{floor}")),
                "snp.any_measurement",
            ),
            (snp(&format!("hash = [\"{hash}\"]")), snp(&format!("hash = [\"{hash}\"]\n{floor}")), "snp.minimum_tcb"),
            (
                snp(&format!("hash = [\"{hash}\"]\n{floor}\ncrl = \"optional\"")),
                snp(&format!("hash = [\"{hash}\"]\n{floor}")),
                "snp.crl",
            ),
            (
                insecure(snp(&format!("hash = [\"{hash}\"]\n{floor}\ninsecure_debug = true"))),
                insecure(snp(&format!("hash = [\"{hash}\"]\n{floor}"))),
                "snp.insecure_debug",
            ),
            (snp(&signed), snp(&format!("{signed}\nminimum_guest_svn = 1")), "snp.minimum_guest_svn"),
            (
                snp(&format!("signer = [\"{hash}\"]\n{floor}\nminimum_guest_svn = 1")),
                snp(&format!("{signed}\nminimum_guest_svn = 1")),
                "snp.signer",
            ),
            (
                insecure(intel(
                    "sgx",
                    &format!("hash = [\"{sgx}\"]\n{evaluation}\ninsecure_without_qe_identity = true"),
                )),
                insecure(intel("sgx", &format!("hash = [\"{sgx}\"]\n{evaluation}"))),
                "sgx.insecure_without_qe_identity",
            ),
            (
                insecure(format!("{}[compat]\nenarx = true", snp(&format!("hash = [\"{hash}\"]\n{floor}")))),
                insecure(format!("{}[compat]\nenarx = false", snp(&format!("hash = [\"{hash}\"]\n{floor}")))),
                "compat.enarx",
            ),
            (
                intel("sgx", &format!("hash = [\"{sgx}\"]")),
                intel("sgx", &format!("hash = [\"{sgx}\"]\n{evaluation}")),
                "sgx.minimum_evaluation",
            ),
            (
                intel("sgx", &format!("hash = [\"{sgx}\"]\n{evaluation}\n{old}")),
                intel("sgx", &format!("hash = [\"{sgx}\"]\n{evaluation}\n{old}\ngrace_days = 90")),
                "sgx.accepted_tcb",
            ),
            (
                intel("sgx", &format!("hash = [\"{sgx}\"]\n{evaluation}\n{old}\ngrace_days = 91")),
                intel("sgx", &format!("hash = [\"{sgx}\"]\n{evaluation}\n{old}\ngrace_days = 90")),
                "sgx.grace_days",
            ),
            (
                intel("sgx", &product),
                intel("sgx", &format!("{product}\nenclave_security_version = 2")),
                "sgx.enclave_security_version",
            ),
            (
                intel("sgx", &format!("signer = [\"{sgx}\"]\n{evaluation}\nenclave_security_version = 2")),
                intel("sgx", &format!("{product}\nenclave_security_version = 2")),
                "sgx.signer",
            ),
            (
                intel("tdx", &format!("hash = [\"{hash}\"]\n{evaluation}")),
                intel("tdx", &format!("hash = [\"{hash}\"]\n{evaluation}\nrtmr1 = [\"{hash}\"]\nrtmr2 = [\"{hash}\"]")),
                "tdx.rtmr1",
            ),
            (named.clone(), format!("{named}\nminimum_version = 1"), "name.shop.minimum_version"),
        ] {
            assert_eq!(keys(&weak), [key], "{weak}");
            assert_eq!(keys(&mended), [""; 0], "{mended}");
        }
    }
}
