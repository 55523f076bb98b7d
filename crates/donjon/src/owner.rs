//! The owner: the key that signs Deployments and release policies, and the file that says what they shall be.
//!
//! Owns the owner key's home (`$DONJON_HOME`, else `$XDG_CONFIG_HOME/donjon`, else `~/.config/donjon`), made on first use
//! and readable by its user only, and `Deployment.toml`. Versions are counted here, from the document signed before, so
//! that they never go back and nobody has to remember them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use identity::deployment::{Deployment, Role};
use identity::ear::{Class, Measurement};
use identity::keys::{Signer, key_digest};
use identity::release::{Allowed, ReleasePolicy};
use identity::signed::{Document, OwnerSigned, seal};
use serde::Deserialize;
use steward::signer::{AwsLc, Key};
use workload::Digest;
use workload::names::{DnsName, Name, Repository, TrustDomain};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// The owner's private key.
#[derive(Debug)]
pub(crate) struct Owner {
    key: Key,
}

impl Owner {
    /// Reads the key, or makes it; tells which.
    pub(crate) fn open(file: &Path) -> Result<(Self, bool), Failure> {
        let shown = file.display();
        let made = !file.exists();
        if made {
            make(file).map_err(|error| Failure::caused(format_args!("cannot make the owner key {shown}"), &error))?;
        }
        let pem = std::fs::read(file)
            .map(Zeroizing::new)
            .map_err(|error| Failure::caused(format_args!("cannot read the owner key {shown}"), &error))?;
        let key = Key::from_pem(&pem).map_err(|error| {
            Failure::caused(format_args!("{shown} is not an owner key"), &error)
                .hint("expected a P-256 or P-384 private key, PKCS#8 in PEM; move the file away to make a new key")
        })?;
        Ok((Self { key }, made))
    }

    /// Where the key lies unless another place is named.
    pub(crate) fn home() -> Result<PathBuf, Failure> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = set("DONJON_HOME")
            .or_else(|| set("XDG_CONFIG_HOME").map(|dir| dir.join("donjon")))
            .or_else(|| set("HOME").map(|dir| dir.join(".config/donjon")));
        home.map(|dir| dir.join("owner.pem")).ok_or_else(|| {
            Failure::new("there is no place for the owner key").hint("set HOME, or name the file with --owner-key")
        })
    }

    /// Signs a document of this owner.
    pub(crate) fn seal<T: Document>(&self, document: &T) -> Result<Vec<u8>, Failure> {
        seal(document, &self.key).map_err(|error| Failure::caused("cannot sign", &error))
    }

    /// SHA-256 of the public key (SPKI DER): how policies and briefs name this owner.
    pub(crate) fn digest(&self) -> Digest {
        key_digest(self.key.spki())
    }
}

/// A new P-256 key, PKCS#8 in DER.
pub(crate) fn generate() -> std::io::Result<Zeroizing<Vec<u8>>> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(std::io::Error::other)?;
    let der = pair.to_pkcs8v1().map_err(std::io::Error::other)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn make(file: &Path) -> std::io::Result<()> {
    let body = Zeroizing::new(BASE64_STANDARD.encode(generate()?));
    let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
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
    /// What the roles are and what may play them; the pushed workload is added to the role that `donjon push` names.
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

/// The two documents, signed.
pub(crate) struct Sealed {
    pub(crate) deployment: Vec<u8>,
    pub(crate) release: Vec<u8>,
}

/// The file names of [`Sealed`], beside `Deployment.toml`.
pub(crate) const PLAN: &str = "Deployment.toml";
pub(crate) const DEPLOYMENT: &str = "deployment.cose";
pub(crate) const RELEASE: &str = "release.cose";

impl Plan {
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::caused(format_args!("cannot read {shown}"), &error))?;
        workload::settings::parse(&shown, &text).map_err(|error| Failure::hinted(&error, error.hint()))
    }

    /// Signs what the plan says, with `workload` in `role`, for `repository`. `before` holds the documents signed last
    /// time; where nothing changed they are used again.
    pub(crate) fn seal(
        &self,
        owner: &Owner,
        role: &Name,
        workload: Digest,
        repository: &Repository,
        image: [u8; 48],
        before: &Path,
    ) -> Result<Sealed, Failure> {
        let spki = owner.key.spki().to_vec();
        let mut roles: BTreeMap<Name, Role> = BTreeMap::new();
        for (name, PlannedRole { names, peers, workloads }) in &self.role {
            let role = Role { names: names.clone(), peers: peers.clone(), workloads: workloads.clone() };
            roles.insert(name.clone(), role);
        }
        let Some(found) = roles.get_mut(role) else {
            return Err(Failure::new(format_args!("the plan has no role `{role}`"))
                .hint(format_args!("add `[role.{role}]` to {PLAN}, or name another with --role")));
        };
        found.workloads.insert(workload);
        let workloads = roles.values().flat_map(|role| role.workloads.iter().copied()).collect();

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
            accepted.insert(Measurement::new(image).map_err(|error| Failure::caused("measurement", &error))?);
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
        };
        Ok(Sealed {
            deployment: next(deployment, owner, &before.join(DEPLOYMENT))?,
            release: next(release, owner, &before.join(RELEASE))?,
        })
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

/// A document whose version can be set.
trait Numbered: Document + Clone + PartialEq {
    fn numbered(self, version: u64, previous: Option<Digest>) -> Self;
}

impl Numbered for Deployment {
    fn numbered(self, version: u64, previous: Option<Digest>) -> Self {
        Self { version, previous, ..self }
    }
}

impl Numbered for ReleasePolicy {
    fn numbered(self, version: u64, previous: Option<Digest>) -> Self {
        Self { version, previous, ..self }
    }
}

/// The document after the one in `file`: the same bytes if nothing changed, else the next version.
fn next<T: Numbered>(document: T, owner: &Owner, file: &Path) -> Result<Vec<u8>, Failure> {
    let document = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => document,
        Err(error) => return Err(Failure::caused(format_args!("cannot read {}", file.display()), &error)),
        Ok(bytes) => {
            let last = OwnerSigned::<T>::open(&bytes, &AwsLc).map_err(|error| {
                Failure::caused(format_args!("{} is not what an owner signed", file.display()), &error)
                    .hint("versions count on from it: restore the file, or move it away to begin at version 1")
            })?;
            if document.clone().numbered(last.version(), last.previous()) == *last {
                return Ok(bytes);
            }
            document.numbered(last.version().saturating_add(1), Some(*last.digest()))
        }
    };
    owner.seal(&document)
}
