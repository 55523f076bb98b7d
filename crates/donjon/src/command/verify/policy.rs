//! The policy that evidence is judged by, and the roots that are trusted beside the vendors'.
//!
//! Takes a Steward's policy as it is: what it says of certificates and names is not asked here. Roots that a policy names
//! are simulated hardware's, so they count in the class `insecure` only, as at the Steward; a policy that tolerates
//! debugging makes every verdict by it one of that class.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use evidence::appraisal::Roots;
use evidence::appraisal::file::Content;
use evidence::appraisal::policy::{Policy, Sections};
use evidence::ear::Class;
use serde::Deserialize;
use serde::de::IgnoredAny;
use workload::digest::Digest;
use workload::settings::{self, SettingsError};

use super::input::{Item, bytes, unusable};
use crate::failure::Failure;

/// Whose policy evidence is judged by.
pub(super) enum Asks {
    /// None: authenticity and TCB are judged.
    Nothing,
    This(Rc<Chosen>),
    /// The bundle's own: whoever made it decides.
    Own,
    /// The bundle's own, if it has one.
    OwnIfAny,
}

/// A policy, and whose it is.
pub(super) struct Chosen {
    name: String,
    text: String,
    policy: Policy,
    digest: Digest,
    roots: Vec<PathBuf>,
    insecure: Insecure,
}

/// Why a verdict is worth nothing to whoever did not choose what it was judged by.
#[derive(Clone, Copy, Default)]
pub(super) struct Insecure {
    /// Somebody else than the vendors is trusted.
    pub(super) roots: bool,
    /// Guests may be looked into.
    pub(super) debug: bool,
    /// Intel's word on who signs quotes need not be there.
    pub(super) quoting: bool,
}

impl Insecure {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            roots: self.roots || other.roots,
            debug: self.debug || other.debug,
            quoting: self.quoting || other.quoting,
        }
    }

    /// The trust class, as in results and certificates.
    pub(super) fn class(self) -> &'static str {
        if self.any() { "insecure" } else { "hardware" }
    }

    pub(super) fn any(self) -> bool {
        self.roots || self.debug || self.quoting
    }

    /// For people, a line each.
    pub(super) fn lines(self) -> impl Iterator<Item = &'static str> {
        let roots = "INSECURE: roots are trusted that are no vendor's; whoever has their keys can make any evidence";
        let debug =
            "INSECURE: the policy tolerates debugging; the host can read and change all that is in such a guest";
        let quoting =
            "INSECURE: the policy does without Intel's QE identity; a platform's owner can make quotes of anything";
        [(self.roots, roots), (self.debug, debug), (self.quoting, quoting)]
            .into_iter()
            .filter_map(|(so, line)| so.then_some(line))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    platforms: Option<Vec<String>>,
    any_platform: Option<bool>,
    snp: Option<evidence::snp::Settings>,
    sgx: Option<evidence::sgx::Settings>,
    tdx: Option<evidence::tdx::Settings>,
    azure: Option<evidence::azure::Settings>,
    class: Option<Class>,
    #[serde(default)]
    insecure_roots: Vec<PathBuf>,
    // A Steward's own.
    #[serde(rename = "trust_domain")]
    _trust_domain: Option<IgnoredAny>,
    #[serde(rename = "certificate_lifetime")]
    _certificate_lifetime: Option<IgnoredAny>,
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
}

impl Chosen {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text =
            String::from_utf8(bytes(path)?).map_err(|_| unusable(path, "a policy is TOML, and this is no text"))?;
        Self::parse(&path.display().to_string(), &text, path.parent())
    }

    /// Paths in it are relative to `folder`; without one they lead nowhere, and nobody is trusted for them.
    pub(super) fn parse(what: &str, toml: &str, folder: Option<&Path>) -> Result<Self, Failure> {
        let digest = Digest::of(toml.as_bytes());
        let text: Text = settings::parse(what, toml).map_err(|error: SettingsError| {
            let hint = error.hint();
            Failure::hinted(&error, hint).unusable()
        })?;
        let refused = |message: &dyn std::fmt::Display| Failure::new(format!("{what}: {message}")).unusable();
        if !text.insecure_roots.is_empty() && text.class != Some(Class::Insecure) {
            return Err(refused(&"`insecure_roots` needs `class = \"insecure\"`"));
        }
        let roots = match folder {
            Some(folder) => text.insecure_roots.iter().map(|root| folder.join(root)).collect(),
            None => Vec::new(),
        };
        let Text { platforms, any_platform, snp, sgx, tdx, azure, insecure_roots, .. } = text;
        let debug = snp.as_ref().is_some_and(|snp| snp.insecure_debug)
            || sgx.as_ref().is_some_and(|sgx| sgx.insecure_debug)
            || tdx.as_ref().is_some_and(|tdx| tdx.insecure_debug);
        let quoting = sgx.as_ref().is_some_and(|sgx| sgx.insecure_without_qe_identity);
        let insecure = Insecure { roots: !insecure_roots.is_empty(), debug, quoting };
        let sections = Sections { platforms, any_platform, snp, sgx, tdx, azure };
        let policy = Policy::try_from(sections).map_err(|error| refused(&error))?;
        Ok(Self { name: what.to_owned(), text: toml.to_owned(), policy, digest, roots, insecure })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As it was read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn insecure(&self) -> Insecure {
        self.insecure
    }

    /// SHA-256 of the file.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }
}

/// The same roots, and those in these files.
pub(super) fn roots(mut roots: Roots, files: &[PathBuf]) -> Result<Roots, Failure> {
    for path in files {
        let item = Item::read(path)?;
        let Content::Endorsements(endorsements) = item.content() else {
            return Err(unusable(path, format!("a root certificate is wanted, and this is {}", item.kind)));
        };
        if endorsements.certificates().len() == 0 {
            return Err(unusable(path, format!("a root certificate is wanted, and this is {}", item.what())));
        }
        for der in endorsements.certificates() {
            roots = match (roots.snp.clone().and_arks(&[der]), roots.dcap.clone().and_certificates(&[der])) {
                (Ok(snp), _) => Roots { snp, ..roots },
                (_, Ok(dcap)) => Roots { dcap, ..roots },
                (Err(amd), Err(intel)) => {
                    return Err(unusable(path, format!("no root of SEV-SNP ({amd}), nor of SGX and TDX ({intel})")));
                }
            };
        }
    }
    Ok(roots)
}
