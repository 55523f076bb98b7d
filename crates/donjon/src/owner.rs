//! The owner: the key that signs Deployments and release policies, and the file that says what they shall be.
//!
//! Owns the owner key's home (`$DONJON_HOME`, else `$XDG_CONFIG_HOME/donjon`, else `~/.config/donjon`), made by `donjon
//! init` and readable by its user only, and `Deployment.toml`. Versions are counted from the documents signed before
//! ([`crate::signed`]), so that they never go back and nobody has to remember them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use identity::deployment::{Deployment, Role};
use identity::ear::{Class, Measurement};
use identity::keys::{Signer, key_digest};
use identity::publisher::{self, Accepted, Published};
use identity::release::{Allowed, ReleasePolicy};
use identity::signed::{Document, seal};
use serde::Deserialize;
use steward::pem;
use steward::signer::Key;
use workload::Digest;
use workload::names::{DnsName, Name, Repository, TrustDomain};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::signed::{Before, after, next};

/// The owner's private key.
#[derive(Debug)]
pub(crate) struct Owner {
    key: Key,
}

/// The folder of what belongs to this user.
pub(crate) fn home() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("DONJON_HOME")
        .or_else(|| set("XDG_CONFIG_HOME").map(|dir| dir.join("donjon")))
        .or_else(|| set("HOME").map(|dir| dir.join(".config/donjon")));
    home.ok_or_else(|| Failure::new("there is no place for keys and logins").hint("set HOME or DONJON_HOME"))
}

impl Owner {
    /// Reads the key, or makes it; tells which.
    pub(crate) fn open(file: &Path) -> Result<(Self, bool), Failure> {
        let shown = file.display();
        let made = !file.exists();
        if made {
            make(file).map_err(|error| Failure::caused(format_args!("cannot make the owner key {shown}"), &error))?;
        }
        Ok((Self::read(file)?, made))
    }

    /// Reads the key. It is never made here: a mistyped name would be a new owner, whom nobody knows.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        read_key(file, "owner key", "`donjon init` makes one; --owner-key names one that lies elsewhere")
            .map(|key| Self { key })
    }

    /// Where the key lies unless another place is named.
    pub(crate) fn home() -> Result<PathBuf, Failure> {
        home()
            .map(|dir| dir.join("owner.pem"))
            .map_err(|failure| failure.hint("set HOME, or name the file with --owner-key"))
    }

    /// Signs a document of this owner.
    pub(crate) fn seal<T: Document>(&self, document: &T) -> Result<Vec<u8>, Failure> {
        seal(document, &self.key).map_err(|error| Failure::caused("cannot sign", &error))
    }

    /// The key, where the owner publishes as well.
    pub(crate) fn into_key(self) -> Key {
        self.key
    }

    /// SHA-256 of the public key (SPKI DER): how policies and briefs name this owner.
    pub(crate) fn digest(&self) -> Digest {
        key_digest(self.key.spki())
    }
}

/// Reads a private key that signs.
pub(crate) fn read_key(file: &Path, whose: &str, hint: &str) -> Result<Key, Failure> {
    let shown = file.display();
    let pem = std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|error| Failure::caused(format_args!("cannot read the {whose} {shown}"), &error).hint(hint))?;
    Key::from_pem(&pem).map_err(|error| {
        Failure::caused(format_args!("{shown} is not a {whose}"), &error)
            .hint("expected a P-256 or P-384 private key, PKCS#8 in PEM")
    })
}

/// A new P-256 key, PKCS#8 in DER.
pub(crate) fn generate() -> std::io::Result<Zeroizing<Vec<u8>>> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(std::io::Error::other)?;
    let der = pair.to_pkcs8v1().map_err(std::io::Error::other)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn make(file: &Path) -> std::io::Result<()> {
    let pem = Zeroizing::new(pem::encode("PRIVATE KEY", &generate()?));
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(pem.as_bytes())?;
    out.sync_all()
}

/// `Deployment.toml`: what the owner decides about a workload beyond what its publisher fixed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The deployment's id, part of every name in it.
    deployment: Name,
    trust_domain: TrustDomain,
    /// What the roles are and what may always play them. A push decides about its own role: what may play it is what is
    /// listed here and the workload pushed now, no longer the one pushed before. The other roles keep what they had.
    role: BTreeMap<Name, PlannedRole>,
    release: PlannedRelease,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedRole {
    #[serde(default)]
    names: BTreeSet<DnsName>,
    #[serde(default)]
    peers: BTreeSet<Name>,
    #[serde(default)]
    workloads: BTreeSet<Digest>,
    /// What may play it by its publisher's signature. Where there is one, what is pushed needs a signature and does not become
    /// part of the Deployment, which goes on as it is from version to version.
    #[serde(default)]
    products: Vec<PlannedProduct>,
    /// Secrets of the repository that its workloads may have.
    #[serde(default)]
    secrets: BTreeSet<Name>,
}

/// What a publisher signs, from a version on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedProduct {
    name: Name,
    /// The least security version number.
    minimum: u64,
    /// The publisher's key; the owner's if nothing is said.
    publisher: Option<Digest>,
}

/// Who may fetch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedRelease {
    /// SHA-256 of the Stewards' root keys.
    anchors: BTreeSet<Digest>,
    #[serde(default)]
    class: PlannedClass,
    /// Hexadecimal measurements of Keeps; those of this program's own image if nothing is said.
    #[serde(default)]
    measurements: Vec<String>,
    /// Seconds since a certificate's start.
    maximum_age: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlannedClass {
    #[default]
    Hardware,
    Insecure,
}

/// A workload that is pushed for a role, of which a publisher may have said something.
pub(crate) struct Pushed<'a> {
    pub(crate) role: &'a Name,
    pub(crate) workload: Digest,
    pub(crate) published: Option<&'a Published>,
}

/// The two documents, signed.
pub(crate) struct Sealed {
    pub(crate) deployment: Vec<u8>,
    pub(crate) release: Vec<u8>,
}

/// The plan's file name.
pub(crate) const PLAN: &str = "Deployment.toml";

impl Plan {
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::caused(format_args!("cannot read {shown}"), &error))?;
        workload::settings::parse(&shown, &text).map_err(|error| Failure::hinted(&error, error.hint()))
    }

    /// Signs what the plan says, with what is pushed, for `repository`. Where nothing changed since `before`, those documents are
    /// used again.
    pub(crate) fn seal(
        &self,
        owner: &Owner,
        pushed: Option<&Pushed<'_>>,
        repository: &Repository,
        images: &[[u8; 48]],
        before: &Before,
    ) -> Result<Sealed, Failure> {
        let spki = owner.key.spki().to_vec();
        let roles = self.roles(owner, pushed, before)?;
        if roles.is_empty() {
            return Err(Failure::new("nothing plays any role yet")
                .hint(format_args!("push a workload, or name `workloads` or `products` of a role in {PLAN}")));
        }
        let workloads = roles.values().flat_map(|role| role.workloads.iter().cloned()).collect();
        let mut secrets: BTreeMap<Name, BTreeSet<Accepted>> = BTreeMap::new();
        for (name, role) in &roles {
            for secret in self.role.get(name).into_iter().flat_map(|planned| &planned.secrets) {
                secrets.entry(secret.clone()).or_default().extend(role.workloads.iter().cloned());
            }
        }

        let deployment = Deployment {
            id: self.deployment.clone(),
            version: 1,
            previous: None,
            owner: spki.clone(),
            trust_domain: self.trust_domain.clone(),
            roles,
        };
        let PlannedRelease { anchors, class, measurements, maximum_age } = &self.release;
        let mut accepted = BTreeSet::new();
        for text in measurements {
            accepted.insert(measurement(text)?);
        }
        if accepted.is_empty() {
            for image in images {
                accepted.insert(Measurement::new(*image).map_err(|error| Failure::caused("measurement", &error))?);
            }
        }
        let release = ReleasePolicy {
            repository: repository.clone(),
            version: 1,
            previous: None,
            owner: spki,
            trust_domain: self.trust_domain.clone(),
            anchors: anchors.clone(),
            class: match class {
                PlannedClass::Hardware => Class::Hardware,
                PlannedClass::Insecure => Class::Insecure,
            },
            measurements: accepted,
            workloads: Allowed::Only(workloads),
            deployments: Allowed::Only(BTreeSet::from([self.deployment.clone()])),
            policies: Allowed::Any,
            maximum_age: *maximum_age,
            secrets,
        };
        Ok(Sealed {
            deployment: next(deployment, owner, before.deployment.as_ref())?,
            release: match before.follow {
                Some(last) => after(release, owner, last)?,
                None => next(release, owner, before.release.as_ref())?,
            },
        })
    }

    fn roles(
        &self,
        owner: &Owner,
        pushed: Option<&Pushed<'_>>,
        before: &Before,
    ) -> Result<BTreeMap<Name, Role>, Failure> {
        if let Some(Pushed { role, .. }) = pushed
            && !self.role.contains_key(*role)
        {
            return Err(Failure::new(format_args!("the plan has no role `{role}`"))
                .hint(format_args!("add `[role.{role}]` to {PLAN}, or name another with --role")));
        }
        let mut roles: BTreeMap<Name, Role> = BTreeMap::new();
        for (name, PlannedRole { names, peers, workloads, products, secrets: _ }) in &self.role {
            let mut exact = workloads.clone();
            let pushed = pushed.filter(|pushed| pushed.role == name);
            if let Some(pushed) = pushed {
                if products.is_empty() {
                    exact.insert(pushed.workload);
                }
            } else if let Some(role) = before.deployment.as_ref().and_then(|last| last.document.roles.get(name)) {
                let kept = role.workloads.iter().filter_map(|accepted| match accepted {
                    Accepted::Digest(digest) => Some(*digest),
                    // The plan says which.
                    Accepted::Product { .. } => None,
                });
                exact.extend(kept.filter(|workload| !before.revoked.contains(workload)));
            }
            if let Some(kept) = exact.iter().find(|workload| before.revoked.contains(workload)) {
                return Err(Failure::new(format_args!("{kept} is to be revoked, and to play `{name}`"))
                    .hint(format_args!("take it out of {PLAN}, and push another program")));
            }
            let products = products.iter().map(|PlannedProduct { name, minimum, publisher }| Accepted::Product {
                signer: publisher.unwrap_or_else(|| owner.digest()),
                product: name.clone(),
                minimum: *minimum,
            });
            let workloads: BTreeSet<_> = exact.into_iter().map(Accepted::from).chain(products).collect();
            if let Some(Pushed { workload, published, .. }) = pushed
                && !publisher::accepts(&workloads, workload, *published)
            {
                let found = publisher::said(*published);
                return Err(Failure::new(format_args!(
                    "`{name}` may not be played by what is pushed: expected {}, found {found}",
                    Allowed::Only(workloads)
                ))
                .hint(
                    "sign it as it is pushed: --product, --svn and, if the publisher is not the owner, --publisher-key",
                ));
            }
            // Nothing plays it yet: a Deployment has no such roles. It comes with the push of that role.
            if !workloads.is_empty() {
                roles.insert(name.clone(), Role { names: names.clone(), peers: peers.clone(), workloads });
            }
        }
        let known: BTreeSet<Name> = roles.keys().cloned().collect();
        for role in roles.values_mut() {
            // A peer that is no role of the plan at all stays, and is refused.
            role.peers.retain(|peer| known.contains(peer) || !self.role.contains_key(peer));
        }
        Ok(roles)
    }
}

fn measurement(text: &str) -> Result<Measurement, Failure> {
    let wrong = || {
        Failure::new(format_args!("`{text}` is not a measurement"))
            .hint("expected 96 hexadecimal digits, as `donjon platform` prints them")
    };
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let bytes: Result<Vec<u8>, _> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16)).collect();
    bytes.ok().and_then(|bytes| Measurement::new(bytes).ok()).ok_or_else(wrong)
}
