//! The Steward's policy: for whom it issues, in which class, on which platforms, under which names.
//!
//! Owns the TOML form, but for the sections about evidence, which are those of `evidence::appraisal`. What is not said is
//! refused: without `[snp]` no SNP evidence is taken, likewise `[sgx]` and `[tdx]`; without `platforms` or
//! `any_platform = true` the policy does not load (trust.md rule 8), without a `[[name]]` nobody gets a name (rule 3). Refuses
//! unknown keys with the nearest known one, contradictions, and every
//! `insecure_…` key outside the class `insecure` (rule 7).
//! Invariant: a [`Policy`] has one class and gives no SPIFFE ID and no DNS name to two owners.
//!
//! ```toml
//! trust_domain = "example.org"
//! any_platform = true                    # or: platforms = ["<chip id or PPID>", …]
//! certificate_lifetime = "24h"           # the default, and the most
//!
//! [snp]                                  # no section, no SNP
//! signer = ["<96 hex digits>"]
//!
//! [sgx]
//! hash = ["<64 hex digits>"]
//!
//! [[name]]
//! owner = "sha256:…"                     # SHA-256 of the owner key's SPKI
//! deployment = "shop"                    # grants spiffe://example.org/shop/…
//! dns = "shop.example.org"               # and, if said, this name
//! minimum_version = 3                    # older Deployments name nobody any more
//!
//! [deny]                                 # whatever else is said
//! workloads = ["sha256:…"]
//!
//! [compat]                               # class insecure only
//! enarx = true                           # requests of Enarx too
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use evidence::{
    appraisal::{self, Evidence, policy::Sections},
    dcap, sgx, snp, tdx,
};
use identity::{
    deny::{Deny, Serial},
    ear::{Class, Measurement, pseudonym},
    names::ANONYMOUS_DEPLOYMENT,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use workload::{
    digest::Digest,
    names::{DnsName, Name, TrustDomain},
    settings::{self, SettingsError},
};

use crate::pem::{self, PemError};

/// Longest certificate lifetime, and the default, in seconds (24 hours).
pub const MAX_LIFETIME: u64 = 24 * 3600;

/// Shortest certificate lifetime in seconds: it counts from the nonce, which may be five minutes old.
pub const MIN_LIFETIME: u64 = 600;

/// Largest file of roots that is read, in bytes.
const MAX_ROOTS: u64 = 1024 * 1024;

/// A policy that holds together.
#[derive(Debug)]
pub struct Policy {
    trust_domain: TrustDomain,
    class: Class,
    tees: Vec<&'static str>,
    evidence: Option<appraisal::Policy>,
    roots: appraisal::Roots,
    lifetime: u64,
    names: Names,
    deny: Deny,
    enarx: bool,
    canonical: String,
    digest: Digest,
}

/// What gets no certificate, as it is written; [`Deny`] has platforms by their pseudonyms.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DenyText {
    workloads: BTreeSet<Digest>,
    owners: BTreeSet<Digest>,
    measurements: BTreeSet<Measurement>,
    signers: BTreeSet<Measurement>,
    platforms: BTreeSet<Machine>,
    serials: BTreeSet<Serial>,
}

/// A platform that is denied: the one spelling of a chip id (lowercase; 16 digits of Turin's, or 128), of a PPID (32), or `csp:…`.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Machine(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a chip id (16 or 128), a PPID (32) or csp:…, in lowercase hexadecimal digits")]
struct MachineError;

impl TryFrom<String> for Machine {
    type Error = MachineError;

    fn try_from(text: String) -> Result<Self, MachineError> {
        if machine(&text).as_ref() == Some(&text) { Ok(Self(text)) } else { Err(MachineError) }
    }
}

/// The name of a platform as evidence gives it, whichever of its spellings this is.
fn machine(text: &str) -> Option<String> {
    let ppid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if ppid { Some(text.to_ascii_lowercase()) } else { Some(text.parse::<snp::product::Platform>().ok()?.to_string()) }
}

impl Policy {
    /// Reads a policy file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`PolicyError`], with file, line and column where there is one.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = fs::read_to_string(path)
            .map_err(|error| PolicyError::File { path: path.to_owned(), kind: error.kind() })?;
        Self::parse(&path.display().to_string(), &text, path.parent().unwrap_or(Path::new("")))
    }

    /// Parses a policy that messages call `what`. Paths in it are relative to `base`.
    ///
    /// # Errors
    /// [`PolicyError`], with line and column where there is one.
    pub fn parse(what: &str, text: &str, base: &Path) -> Result<Self, PolicyError> {
        let Text {
            trust_domain,
            class,
            platforms,
            any_platform,
            insecure_roots,
            certificate_lifetime,
            snp,
            sgx,
            tdx,
            name,
            deny: DenyText { workloads, owners, measurements, signers, platforms: denied, serials },
            compat: Compat { enarx },
        } = settings::parse(what, text)?;
        let document: toml::Table = settings::parse(what, text)?;

        let class = match class {
            None | Some(ClassText::Hardware) => Class::Hardware,
            Some(ClassText::Insecure) => Class::Insecure,
        };
        if class == Class::Hardware
            && let Some(key) = insecure_key(&document)
        {
            return Err(PolicyError::Insecure { key });
        }
        if class == Class::Hardware && enarx {
            return Err(PolicyError::Insecure { key: "compat.enarx".to_owned() });
        }

        match (&platforms, any_platform) {
            (None, Some(true)) => {}
            (Some(_), Some(_)) => return Err(PolicyError::Contradiction { one: "platforms", other: "any_platform" }),
            (Some(listed), None) if !listed.is_empty() => {}
            (Some(_) | None, None) | (None, Some(false)) => return Err(PolicyError::Platforms),
        }

        let named =
            insecure_roots.iter().map(|path| Root::read(&base.join(path))).collect::<Result<Vec<_>, _>>()?.concat();
        let canonical = canonical(document, &trust_domain, &named);
        let sections = [("snp", snp.is_some()), ("sgx", sgx.is_some()), ("tdx", tdx.is_some())];
        let tees: Vec<_> = sections.into_iter().filter(|(_, section)| *section).map(|(tee, _)| tee).collect();
        let roots = trusted(&named, &tees)?;
        let evidence = if tees.is_empty() {
            None
        } else {
            Some(Sections { platforms, any_platform, snp, sgx, tdx, azure: None }.try_into()?)
        };

        let platforms = denied.iter().map(|Machine(name)| pseudonym(&trust_domain, name)).collect();
        Ok(Self {
            trust_domain,
            class,
            tees,
            evidence,
            roots,
            lifetime: certificate_lifetime.map_or(Ok(MAX_LIFETIME), |text| lifetime(&text))?,
            names: Names::new(name)?,
            deny: Deny { serials, workloads, owners, measurements, signers, platforms },
            enarx,
            digest: Digest::of(canonical.as_bytes()),
            canonical,
        })
    }

    /// The trust domain certificates are issued in.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The one class of this Steward.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The TEEs whose evidence is taken, by the names of their sections.
    #[must_use]
    pub fn tees(&self) -> &[&'static str] {
        &self.tees
    }

    /// What is asked of this evidence, and whose keys it may chain to; `Err` = the section that is missing.
    pub(crate) fn asks(&self, evidence: &Evidence) -> Result<(&appraisal::Policy, &appraisal::Roots), &'static str> {
        let section = match evidence {
            Evidence::Snp(_) => "snp",
            Evidence::Sgx(_) => "sgx",
            Evidence::Tdx(_) => "tdx",
            Evidence::Azure(_) => "azure",
        };
        let policy = self.evidence.as_ref().filter(|_| self.tees.contains(&section));
        Ok((policy.ok_or(section)?, &self.roots))
    }

    /// Whose keys it trusts.
    #[must_use]
    pub fn roots(&self) -> &appraisal::Roots {
        &self.roots
    }

    /// How long a certificate lives, in seconds from the nonce's time.
    #[must_use]
    pub fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// Who may have which name.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Who gets no certificate.
    #[must_use]
    pub fn deny(&self) -> &Deny {
        &self.deny
    }

    /// Whether requests of Enarx are taken: without brief, nonce and name.
    #[must_use]
    pub fn enarx(&self) -> bool {
        self.enarx
    }

    /// SHA-256 of the policy as canonical JSON (`spec/certificate.md`, Policy digest), with the roots it names
    /// replaced by the digests of their keys: two files with the same TOML values have the same digest, and what a
    /// file includes is covered. A default that is written out is a value more, and another digest. Relying parties
    /// pin it (rule 19).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The text that is digested.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

/// Which owner may have which SPIFFE ID and which DNS names.
#[derive(Debug, Default)]
pub struct Names {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    owner: Digest,
    deployment: Option<Name>,
    dns: Option<DnsName>,
    minimum_version: u64,
}

impl Names {
    fn new(texts: Vec<NameText>) -> Result<Self, PolicyError> {
        let mut entries = Vec::with_capacity(texts.len());
        for NameText { owner, deployment, dns, minimum_version } in texts {
            if deployment.is_none() && dns.is_none() {
                return Err(PolicyError::EmptyName);
            }
            if deployment.as_ref().is_some_and(|name| name.as_str() == ANONYMOUS_DEPLOYMENT) {
                return Err(PolicyError::Reserved);
            }
            entries.push(Entry { owner, deployment, dns, minimum_version });
        }

        // A name of two owners would be a name of neither.
        let mut deployments: BTreeMap<&str, Digest> = BTreeMap::new();
        let mut names: BTreeMap<&str, Digest> = BTreeMap::new();
        for entry in &entries {
            let claims = [
                (&mut deployments, entry.deployment.as_ref().map(Name::as_str)),
                (&mut names, entry.dns.as_ref().map(DnsName::as_str)),
            ];
            for (taken, name) in claims {
                if let Some(name) = name
                    && *taken.entry(name).or_insert(entry.owner) != entry.owner
                {
                    return Err(PolicyError::TwoOwners { name: name.to_owned() });
                }
            }
        }
        // An owner without `deployment` may use every id; with a second owner about, ids would collide.
        let owners: BTreeSet<&[u8; 32]> = entries.iter().map(|entry| entry.owner.as_bytes()).collect();
        if owners.len() > 1
            && let Some(entry) = entries.iter().find(|entry| entry.deployment.is_none())
        {
            return Err(PolicyError::DeploymentMissing { owner: entry.owner });
        }
        Ok(Self { entries })
    }

    /// True if `owner` may speak for `deployment`, that is, for `spiffe://<trust domain>/<deployment>/…`.
    #[must_use]
    pub fn deployment(&self, owner: Digest, deployment: &Name) -> bool {
        self.entries.iter().any(|entry| entry.covers(owner, deployment))
    }

    /// The least version of `owner`'s `deployment` that still names anybody. A Steward remembers nothing, and
    /// the host chooses which Deployment it shows: only this floor takes an old one out of the world (trust.md
    /// rule 13).
    #[must_use]
    pub fn minimum_version(&self, owner: Digest, deployment: &Name) -> u64 {
        self.entries
            .iter()
            .filter(|entry| entry.covers(owner, deployment))
            .map(|entry| entry.minimum_version)
            .max()
            .unwrap_or(0)
    }

    /// Every DNS name that somebody may give.
    pub fn all_dns(&self) -> impl Iterator<Item = &DnsName> {
        self.entries.iter().filter_map(|entry| entry.dns.as_ref())
    }

    /// True if `owner` may give `dns` to a Keep of `deployment`.
    #[must_use]
    pub fn dns(&self, owner: Digest, deployment: &Name, dns: &DnsName) -> bool {
        self.entries.iter().any(|entry| entry.covers(owner, deployment) && entry.dns.as_ref() == Some(dns))
    }
}

impl Entry {
    fn covers(&self, owner: Digest, deployment: &Name) -> bool {
        self.owner == owner && self.deployment.as_ref().is_none_or(|only| only == deployment)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    trust_domain: TrustDomain,
    class: Option<ClassText>,
    platforms: Option<Vec<String>>,
    any_platform: Option<bool>,
    #[serde(default)]
    insecure_roots: Vec<PathBuf>,
    certificate_lifetime: Option<String>,
    snp: Option<snp::Settings>,
    sgx: Option<sgx::Settings>,
    tdx: Option<tdx::Settings>,
    #[serde(default)]
    name: Vec<NameText>,
    #[serde(default)]
    deny: DenyText,
    #[serde(default)]
    compat: Compat,
}

/// What is taken that is not of ours.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Compat {
    enarx: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClassText {
    Hardware,
    Insecure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameText {
    owner: Digest,
    deployment: Option<Name>,
    dns: Option<DnsName>,
    #[serde(default)]
    minimum_version: u64,
}

/// The first key below `table` that weakens something and is not switched off.
fn insecure_key(table: &toml::Table) -> Option<String> {
    table.iter().find_map(|(key, value)| match value {
        toml::Value::Boolean(false) => None,
        _ if key.starts_with("insecure_") => Some(key.clone()),
        toml::Value::Table(inner) => insecure_key(inner),
        _ => None,
    })
}

/// "24h", "90m", "3600s".
fn lifetime(text: &str) -> Result<u64, PolicyError> {
    let refused = || PolicyError::Lifetime { found: text.to_owned() };
    let unit = match text.as_bytes().last() {
        Some(b'h') => 3600,
        Some(b'm') => 60,
        Some(b's') => 1,
        _ => return Err(refused()),
    };
    let digits = &text[..text.len() - 1];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| (MIN_LIFETIME..=MAX_LIFETIME).contains(seconds))
        .ok_or_else(refused)
}

/// A root that the policy names.
#[derive(Clone)]
struct Root {
    der: Vec<u8>,
    spki: Vec<u8>,
}

impl Root {
    fn read(path: &Path) -> Result<Vec<Self>, PolicyError> {
        let refused = |kind| PolicyError::File { path: path.to_owned(), kind };
        let metadata = fs::metadata(path).map_err(|error| refused(error.kind()))?;
        if metadata.len() > MAX_ROOTS {
            return Err(refused(io::ErrorKind::FileTooLarge));
        }
        let text = fs::read(path).map_err(|error| refused(error.kind()))?;
        pem::read_certificates(&text)
            .map_err(|error| PolicyError::Roots { path: path.to_owned(), error })?
            .into_iter()
            .map(|der| match pem::spki(&der) {
                Some(spki) => Ok(Self { der, spki }),
                None => Err(PolicyError::Roots { path: path.to_owned(), error: PemError::Foreign }),
            })
            .collect()
    }
}

/// The vendors' roots and those the policy names. A key is an anchor because somebody named it, not because of what its
/// certificate says.
fn trusted(named: &[Root], tees: &[&str]) -> Result<appraisal::Roots, PolicyError> {
    let mut roots = appraisal::Roots::vendors();
    let takes = |wanted: &[&str]| wanted.iter().any(|tee| tees.contains(tee));
    for Root { der, .. } in named {
        // AMD's keys are RSA, Intel's are on P-256: none is both.
        match (snp::Roots::from_arks(&[der]), dcap::Roots::from_certificates(&[der])) {
            (Ok(_), _) if takes(&["snp"]) => roots.snp = roots.snp.and_arks(&[der]).map_err(PolicyError::SnpRoots)?,
            (_, Ok(_)) if takes(&["sgx", "tdx"]) => {
                roots.dcap = roots.dcap.and_certificates(&[der]).map_err(PolicyError::DcapRoots)?;
            }
            (Ok(_), _) => return Err(PolicyError::RootsUnused { sections: "[snp]" }),
            (_, Ok(_)) => return Err(PolicyError::RootsUnused { sections: "[sgx] or [tdx]" }),
            (Err(error), Err(_)) => return Err(PolicyError::SnpRoots(error)),
        }
    }
    Ok(roots)
}

fn canonical(mut document: toml::Table, trust_domain: &TrustDomain, roots: &[Root]) -> String {
    // The text is published, and nobody is to read names of machines in it.
    let pseudonyms = |platforms: &mut toml::Value| {
        if let toml::Value::Array(platforms) = platforms {
            let pseudonym = |name: &str| pseudonym(trust_domain, &machine(name).unwrap_or_else(|| name.to_owned()));
            let set: BTreeSet<_> = platforms.iter().filter_map(toml::Value::as_str).map(pseudonym).collect();
            *platforms = set.iter().map(|pseudonym| toml::Value::String(pseudonym.to_string())).collect();
        }
    };
    document.get_mut("platforms").into_iter().for_each(pseudonyms);
    document.get_mut("deny").and_then(|deny| deny.get_mut("platforms")).into_iter().for_each(pseudonyms);
    let mut canonical = match Canonical::from(toml::Value::Table(document)) {
        Canonical::Table(table) => table,
        _ => BTreeMap::new(),
    };
    if !roots.is_empty() {
        let mut digests: Vec<String> = roots.iter().map(|root| Digest::of(&root.spki).to_string()).collect();
        digests.sort();
        let digests = digests.into_iter().map(Canonical::Text).collect();
        canonical.insert("insecure_roots".to_owned(), Canonical::List(digests));
    }
    serde_json::to_string(&canonical).unwrap_or_default()
}

/// A TOML value whose JSON form does not depend on the order of the file.
#[derive(Serialize)]
#[serde(untagged)]
enum Canonical {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Self>),
    Table(BTreeMap<String, Self>),
}

impl From<toml::Value> for Canonical {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Self::Text(text),
            toml::Value::Integer(number) => Self::Integer(number),
            toml::Value::Boolean(truth) => Self::Boolean(truth),
            // No key of a policy has these types; their text keeps the digest injective all the same.
            toml::Value::Float(number) => Self::Text(number.to_string()),
            toml::Value::Datetime(time) => Self::Text(time.to_string()),
            toml::Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            toml::Value::Table(table) => {
                Self::Table(table.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

/// Why a policy does not load.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("{path}: {kind}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        kind: io::ErrorKind,
    },
    /// Not TOML, an unknown key, a missing key, a value of another form.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Two keys that exclude each other.
    #[error("`{one}` and `{other}` exclude each other")]
    Contradiction {
        /// One key.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Neither `platforms` with an entry nor `any_platform = true`.
    #[error("the policy does not say which platforms it accepts")]
    Platforms,
    /// A key that weakens something, in the class `hardware`.
    #[error("`{key}` is for the class insecure, and this policy is of the class hardware")]
    Insecure {
        /// The key.
        key: String,
    },
    /// A file of roots holds something else.
    #[error("{path}: {error}", path = path.display())]
    Roots {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// A root that is named cannot be an anchor of SNP evidence.
    #[error("insecure_roots: {0}")]
    SnpRoots(snp::roots::RootsError),
    /// A root that is named cannot be an anchor of quotes.
    #[error("insecure_roots: {0}")]
    DcapRoots(dcap::roots::RootsError),
    /// A root is named and no evidence is taken that could chain to it.
    #[error("`insecure_roots` names a root that only {sections} would use, and there is no such section")]
    RootsUnused {
        /// Which sections.
        sections: &'static str,
    },
    /// What is asked of evidence contradicts itself, or an entry of `platforms` is none.
    #[error(transparent)]
    Evidence(#[from] appraisal::policy::PolicyError),
    /// Not a duration, too long or too short.
    #[error("certificate_lifetime = \"{found}\" is not between 10m and 24h")]
    Lifetime {
        /// What it says.
        found: String,
    },
    /// A `[[name]]` that grants nothing.
    #[error("a [[name]] grants nothing: it has neither `deployment` nor `dns`")]
    EmptyName,
    /// The id of Keeps without a Deployment.
    #[error("`{ANONYMOUS_DEPLOYMENT}` is the id of Keeps without a Deployment and is nobody's to have")]
    Reserved,
    /// A name with two owners.
    #[error("`{name}` is given to two owners")]
    TwoOwners {
        /// The DNS name or deployment id.
        name: String,
    },
    /// With several owners, whose deployments are whose must be said.
    #[error("a [[name]] of owner {owner} has no `deployment`, and the policy has other owners")]
    DeploymentMissing {
        /// Whose entry.
        owner: Digest,
    },
}

impl PolicyError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Settings(error) => return error.hint(),
            Self::Evidence(_) | Self::SnpRoots(_) | Self::DcapRoots(_) | Self::File { .. } => return None,
            Self::Contradiction { .. } => "keep one of them",
            Self::Platforms => {
                "list chip ids and PPIDs in `platforms = [\"…\"]`, or write `any_platform = true`: then keys extracted from one broken machine \
                 speak for all of them"
            }
            Self::Insecure { .. } => {
                "remove the key, or write `class = \"insecure\"`: then its certificates come from a root of their own that nobody \
                 takes for hardware"
            }
            Self::Roots { .. } => "the file holds the root certificates in PEM and nothing else",
            Self::RootsUnused { .. } => "add a section, or remove the root",
            Self::Lifetime { .. } => "for example \"24h\", \"90m\" or \"3600s\"",
            Self::EmptyName => "add `deployment = \"…\"` for a SPIFFE ID, `dns = \"…\"` for a DNS name, or both",
            Self::Reserved => "choose another id",
            Self::TwoOwners { .. } => "a name has one owner: remove the other entry",
            Self::DeploymentMissing { .. } => {
                "add `deployment = \"…\"` to each [[name]], so that no owner can take another one's SPIFFE ID"
            }
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
    const GOOD: &str = "trust_domain = \"example.org\"\nany_platform = true\n";

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse("policy.toml", text, Path::new("/nonexistent"))
    }

    #[track_caller]
    fn error(text: &str) -> PolicyError {
        assert!(parse(GOOD).is_ok());
        parse(text).unwrap_err()
    }

    #[test]
    fn what_is_not_said_is_strict() {
        let policy = parse(GOOD).unwrap();
        assert_eq!(policy.class(), Class::Hardware);
        assert_eq!(policy.lifetime(), 24 * 3600);
        assert!(policy.tees().is_empty());
        assert!(!policy.names().deployment(OWNER.parse().unwrap(), &"shop".parse().unwrap()));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_place_and_suggestion() {
        let cases = [
            (format!("{GOOD}certificate_lifetim = \"1h\""), "3:1", "`certificate_lifetime`"),
            (format!("{GOOD}[snp]\nhashh = []"), "4:1", "`hash`"),
            (format!("{GOOD}[[name]]\nonwer = \"{OWNER}\"\ndeployment = \"shop\""), "4:1", "`owner`"),
        ];
        for (text, place, known) in cases {
            let error = error(&text);
            assert!(matches!(error, PolicyError::Settings(SettingsError::UnknownKey { .. })), "{error}");
            assert!(error.to_string().contains(place), "{error}");
            assert!(error.hint().unwrap().contains(known), "{:?}", error.hint());
        }
    }

    #[test]
    fn rule_8_platforms_must_be_said() {
        let domain = "trust_domain = \"example.org\"\n";
        let chip = "ab".repeat(64);
        assert!(parse(&format!("{domain}platforms = [\"{chip}\"]")).is_ok());
        for missing in ["", "any_platform = false", "platforms = []"] {
            assert_eq!(error(&format!("{domain}{missing}")), PolicyError::Platforms, "{missing}");
        }
        assert!(matches!(error(&format!("{GOOD}platforms = [\"{chip}\"]")), PolicyError::Contradiction { .. }));
        let none = format!("{domain}platforms = [\"abcd\"]\n[snp]\nany_measurement = true");
        assert!(matches!(error(&none), PolicyError::Evidence(appraisal::policy::PolicyError::Platform(_))));
    }

    #[test]
    fn rule_7_insecure_keys_need_the_insecure_class() {
        let snp = "[snp]\nany_measurement = true\n";
        for (head, tail, key) in [
            ("insecure_roots = [\"ark.pem\"]\n", "", "insecure_roots"),
            ("", "insecure_debug = true\n", "insecure_debug"),
            ("", "[compat]\nenarx = true\n", "compat.enarx"),
        ] {
            let hardware = format!("{GOOD}{head}{snp}{tail}");
            assert_eq!(error(&hardware), PolicyError::Insecure { key: key.to_owned() });
            // In the insecure class the key itself is taken; the file is another matter.
            let insecure = format!("class = \"insecure\"\n{hardware}");
            assert!(!matches!(parse(&insecure), Err(PolicyError::Insecure { .. })), "{insecure}");
        }
        assert!(parse(&format!("{GOOD}{snp}insecure_debug = false")).is_ok());
        assert!(parse(&format!("class = \"secure\"\n{GOOD}")).is_err());
    }

    #[test]
    fn contradictions_of_the_snp_section_are_errors() {
        let (one, other) = ("11".repeat(48), "22".repeat(48));
        let snp = |rest: String| format!("{GOOD}[snp]\n{rest}");
        assert!(parse(&snp(format!("hash = [\"{one}\"]\nhash_blacklist = [\"{other}\"]"))).is_ok());
        for bad in [
            String::new(),
            format!("hash = [\"{one}\"]\nhash_blacklist = [\"{one}\"]"),
            format!("any_measurement = true\nhash = [\"{one}\"]"),
        ] {
            assert!(matches!(error(&snp(bad)), PolicyError::Evidence(appraisal::policy::PolicyError::Snp(_))));
        }
    }

    #[test]
    fn what_is_denied_is_listed_by_its_one_spelling() {
        let policy = |list: &str, entry: &str| parse(&format!("{GOOD}[deny]\n{list} = [\"{entry}\"]"));
        for (list, entry) in [
            ("workloads", OWNER.to_owned()),
            ("owners", OWNER.to_owned()),
            ("measurements", "ab".repeat(48)),
            ("signers", "ab".repeat(32)),
            ("platforms", "ab".repeat(64)),
            ("platforms", "ab".repeat(8)),
            ("platforms", "ab".repeat(16)),
            ("platforms", "csp:somebody".to_owned()),
            ("serials", "4b".repeat(16)),
        ] {
            assert!(policy(list, &entry).is_ok(), "{list}: {entry}");
            for bad in [entry.to_uppercase(), entry[1..].to_owned(), String::new()] {
                // A provider's name is its own.
                assert!(policy(list, &bad).is_err() || bad.starts_with("csp:"), "{list}: {bad}");
            }
        }
        assert!(parse(&format!("{GOOD}[deny]\nworkload = []")).is_err());
        assert_ne!(parse(GOOD).unwrap().digest(), policy("serials", &"4b".repeat(16)).unwrap().digest());
    }

    /// Whoever reads the text recognises machines, and learns none.
    #[test]
    fn machines_stand_in_the_published_text_by_their_pseudonyms() {
        let domain: TrustDomain = "example.org".parse().unwrap();
        let (chip, turin, ppid) = ("ab".repeat(64), "cd".repeat(8), "ef".repeat(16));
        let all = |chip: &str, turin: &str, ppid: &str| {
            let list = format!("[\"{chip}\", \"{turin}\", \"{ppid}\", \"csp:somebody\", \"{ppid}\"]");
            let denied = format!("[\"{}\"]", "ab".repeat(64));
            parse(&format!("trust_domain = \"example.org\"\nplatforms = {list}\n[deny]\nplatforms = {denied}")).unwrap()
        };
        let policy = all(&chip, &turin, &ppid);
        let expected = [&chip, &turin, &ppid, "csp:somebody"].map(|name| pseudonym(&domain, name).to_string());
        let expected: BTreeSet<_> = expected.into_iter().collect();
        let published: serde_json::Value = serde_json::from_str(policy.canonical()).unwrap();
        let list = |value: &serde_json::Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
        assert_eq!(list(&published["platforms"]), expected.into_iter().collect::<Vec<_>>());
        assert_eq!(list(&published["deny"]["platforms"]), [pseudonym(&domain, &chip).to_string()]);
        assert_eq!(policy.deny().platforms, BTreeSet::from([pseudonym(&domain, &chip)]));
        for name in [&chip, &turin, &ppid, "somebody"] {
            assert!(!policy.canonical().contains(name), "{name}");
        }
        // The same machines in other spellings: as CHIP_ID has Turin's, and in capitals.
        let other = all(&chip.to_uppercase(), &format!("{turin}{}", "0".repeat(112)), &ppid.to_uppercase());
        assert_eq!(other.digest(), policy.digest());
        assert_ne!(all(&chip, &turin, &"ee".repeat(16)).digest(), policy.digest());
    }

    #[test]
    fn a_lifetime_is_ten_minutes_to_a_day() {
        let of =
            |text: &str| parse(&format!("{GOOD}certificate_lifetime = \"{text}\"")).map(|policy| policy.lifetime());
        assert_eq!(of("24h"), Ok(86_400));
        assert_eq!(of("90m"), Ok(5400));
        assert_eq!(of("600s"), Ok(600));
        for bad in ["25h", "9m", "0s", "", "h", "1d", "-1h", "+1h", "1.5h", "99999999999999999999h", "\u{fc}h"] {
            assert!(matches!(of(bad), Err(PolicyError::Lifetime { .. })), "{bad}");
        }
    }

    #[test]
    fn rule_3_no_name_has_two_owners() {
        let name = |owner: &str, rest: &str| format!("[[name]]\nowner = \"{owner}\"\n{rest}\n");
        let shop = name(OWNER, "deployment = \"shop\"\ndns = \"shop.example.org\"");
        let policy = |rest: &str| parse(&format!("{GOOD}{shop}{rest}"));
        assert!(policy("").is_ok());
        assert!(policy(&name(OTHER, "deployment = \"bank\"\ndns = \"bank.example.org\"")).is_ok());
        for taken in ["deployment = \"shop\"", "deployment = \"bank\"\ndns = \"shop.example.org\""] {
            assert!(matches!(policy(&name(OTHER, taken)), Err(PolicyError::TwoOwners { .. })));
        }
        // With two owners, an entry for any deployment could take the other's SPIFFE ID.
        assert!(policy(&name(OWNER, "dns = \"x.example.org\"")).is_ok());
        assert!(matches!(policy(&name(OTHER, "dns = \"x.example.org\"")), Err(PolicyError::DeploymentMissing { .. })));
        assert_eq!(policy(&name(OWNER, "")).unwrap_err(), PolicyError::EmptyName);
        assert_eq!(policy(&name(OWNER, "deployment = \"anonymous\"")).unwrap_err(), PolicyError::Reserved);
    }

    #[test]
    fn rule_13_the_highest_floor_of_a_deployment_counts() {
        let entry = |dns: &str, floor: u64| {
            format!(
                "[[name]]\nowner = \"{OWNER}\"\ndeployment = \"shop\"\ndns = \"{dns}.example.org\"\n\
                 minimum_version = {floor}\n"
            )
        };
        let policy = parse(&format!("{GOOD}{}{}", entry("a", 3), entry("b", 2))).unwrap();
        let floor = |owner: &str, name: &str| {
            let (owner, name) = (owner.parse().unwrap(), name.parse().unwrap());
            policy.names().minimum_version(owner, &name)
        };
        assert_eq!(floor(OWNER, "shop"), 3);
        assert_eq!(floor(OWNER, "bank"), 0);
        assert_eq!(floor(OTHER, "shop"), 0);
    }

    #[test]
    fn a_policy_file_is_read_with_paths_relative_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        assert!(matches!(Policy::read(&path).unwrap_err(), PolicyError::File { .. }));
        fs::write(folder.path().join("ark.pem"), silicon::Product::Milan.ark_pem()).unwrap();
        let text = format!("class = \"insecure\"\n{GOOD}insecure_roots = [\"ark.pem\"]\n[snp]\nany_measurement = true");
        fs::write(&path, &text).unwrap();
        assert!(Policy::read(&path).is_ok());
        fs::write(&path, format!("{text}\nhahs = 1")).unwrap();
        let error = Policy::read(&path).unwrap_err();
        assert!(error.to_string().contains("policy.toml:7"), "{error}");
    }

    #[test]
    fn names_are_granted_to_their_owner_and_deployment_only() {
        let policy = parse(&format!(
            "{GOOD}[[name]]\nowner = \"{OWNER}\"\ndeployment = \"shop\"\ndns = \"shop.example.org\"\n\
             [[name]]\nowner = \"{OTHER}\"\ndeployment = \"bank\"\n"
        ))
        .unwrap();
        let (owner, other) = (OWNER.parse().unwrap(), OTHER.parse().unwrap());
        let (shop, bank) = ("shop".parse().unwrap(), "bank".parse().unwrap());
        let dns = "shop.example.org".parse().unwrap();
        let names = policy.names();
        assert!(names.deployment(owner, &shop) && names.deployment(other, &bank));
        assert!(!names.deployment(owner, &bank) && !names.deployment(other, &shop));
        assert!(names.dns(owner, &shop, &dns));
        assert!(!names.dns(owner, &bank, &dns) && !names.dns(other, &bank, &dns));
        assert!(!names.dns(owner, &shop, &"www.example.org".parse().unwrap()));
    }

    #[test]
    fn rule_19_the_digest_follows_the_values_of_the_policy() {
        let digest = |text: &str| parse(text).unwrap().digest();
        let base = digest(GOOD);
        assert_eq!(base, digest("# a comment\nany_platform   =   true\ntrust_domain = 'example.org'"));
        assert_ne!(base, digest("trust_domain = \"example.com\"\nany_platform = true"));
        assert_ne!(base, digest(&format!("{GOOD}[snp]\nany_measurement = true")));
        // Values and not their meaning: the default lifetime, said in three ways.
        let lifetime = |text: &str| digest(&format!("{GOOD}certificate_lifetime = \"{text}\""));
        assert_ne!(base, lifetime("24h"));
        assert_ne!(lifetime("24h"), lifetime("1440m"));
        // The example of the specification, computed as it says.
        let example = r#"{"any_platform":true,"trust_domain":"example.org"}"#;
        assert_eq!(base, Digest::of(example.as_bytes()));
        let specification = include_str!("../../../spec/certificate.md");
        assert!(specification.contains(example) && specification.contains(&base.to_string()));
    }

    #[test]
    fn files_of_roots_are_checked_and_covered_by_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let parse = |name: &str| {
            let text =
                format!("class = \"insecure\"\n{GOOD}insecure_roots = [\"{name}\"]\n[snp]\nany_measurement = true");
            Policy::parse("p", &text, folder.path())
        };
        let write = |text: &str| fs::write(folder.path().join("ark.pem"), text).unwrap();
        let milan = silicon::Product::Milan.ark_pem();
        let genoa = silicon::Product::Genoa.ark_pem();

        write(&milan);
        let one = parse("ark.pem").unwrap();
        assert_eq!(one.roots.snp.anchors().len(), 4);
        write(&genoa);
        assert_ne!(one.digest(), parse("ark.pem").unwrap().digest());
        write(&milan);
        assert_eq!(one.digest(), parse("ark.pem").unwrap().digest());

        assert!(matches!(parse("none.pem").unwrap_err(), PolicyError::File { .. }));
        write("no certificate");
        assert!(matches!(parse("ark.pem").unwrap_err(), PolicyError::Roots { .. }));
        write(&silicon::Product::Milan.ask_pem());
        assert!(matches!(parse("ark.pem").unwrap_err(), PolicyError::SnpRoots(_)));

        write(&milan);
        let text = format!("class = \"insecure\"\n{GOOD}insecure_roots = [\"ark.pem\"]\n");
        assert_eq!(
            Policy::parse("p", &text, folder.path()).unwrap_err(),
            PolicyError::RootsUnused { sections: "[snp]" }
        );
    }
}
