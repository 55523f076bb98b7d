//! What an operator says: where things are, which repositories exist, who owns them.
//!
//! Owns the settings file. Refuses silence about secrecy: every repository says `confidential = true` or `false`, and a
//! repository that is not named does not exist. Unknown keys are errors with the nearest known one as a hint.
//! Invariant: a confidential repository always has an owner, whose key alone can open it (`trust.md`, 14).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::Repository;
use workload::settings::{self, SettingsError};

use crate::login::Tokens;
use crate::store::Storage;
use crate::tls::Tls;

/// Everything [`crate::serve`] needs besides a listening socket.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who the server is.
    pub tls: Tls,
    /// Where everything is kept.
    pub store: Storage,
    /// Who may write.
    pub tokens: Tokens,
    /// Which repositories exist.
    pub repositories: Repositories,
    /// What `/.well-known/donjon` says; nothing if absent.
    pub steward: Option<Hint>,
    /// How much anybody may take.
    pub limits: Limits,
}

/// How much one peer, and all together, may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Until a TLS handshake is done.
    pub handshake: Duration,
    /// Without a byte in either direction, then a connection is closed.
    pub idle: Duration,
    /// Bodies of blobs that are taken at the same time; more wait for half a minute. Each holds one part of at most 5 MiB in
    /// memory.
    pub uploads: usize,
    /// Uploads of one writer that are in flight.
    pub open_uploads: u32,
    /// Until an upload that nobody goes on with is forgotten.
    pub upload_idle: Duration,
    /// Until a blob that no manifest refers to is.
    pub blob_idle: Duration,
    /// Between two collections of what is forgotten.
    pub collect: Duration,
    /// The biggest blob, in bytes.
    pub blob: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            uploads: 64,
            open_uploads: 10_000,
            upload_idle: Duration::from_secs(24 * 3600),
            blob_idle: Duration::from_secs(24 * 3600),
            collect: Duration::from_secs(900),
            blob: 64 * 1024 * 1024 * 1024,
        }
    }
}

/// The repositories that exist, and what else the settings file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    steward: Option<Hint>,
    #[serde(default)]
    repository: BTreeMap<Repository, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    owner: Option<Digest>,
    confidential: bool,
}

/// The Steward that a Drawbridge names: a hint, never an authority; that is the brief (`product.md`, steps 2 and 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// URL of the Steward.
    #[serde(rename = "steward", alias = "url")]
    pub url: String,
    /// SHA-256 of the SPKI (DER) of its root CAs.
    pub anchors: Vec<Digest>,
}

/// The repositories that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repositories(BTreeMap<Repository, Access>);

/// Who may read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Keeps that satisfy the release policy signed by this owner; to all others it looks absent.
    Confidential {
        /// SHA-256 of the SPKI (DER) of the owner's key.
        owner: Digest,
    },
}

/// Why a settings file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not the TOML it should be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Nobody could ever open it.
    #[error("{what}: repository `{repository}` is confidential but has no owner")]
    NoOwner {
        /// The file.
        what: String,
        /// The repository.
        repository: Repository,
    },
}

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::NoOwner { .. } => Some("add `owner = \"sha256:…\"`, the digest of the owner's public key".to_owned()),
        }
    }
}

/// Reads a settings file:
/// ```toml
/// [steward]                          # optional: what /.well-known/donjon says
/// url = "https://steward.example.org"
/// anchors = ["sha256:…"]
///
/// [repository."acme/shop"]
/// owner = "sha256:…"                 # SHA-256 of the SPKI of the owner's key
/// confidential = true
/// ```
///
/// # Errors
/// See [`ReadError`]. `what` is what messages call the file.
pub fn read(what: &str, text: &str) -> Result<(Repositories, Option<Hint>), ReadError> {
    let File { steward, repository } = settings::parse(what, text)?;
    let mut repositories = Repositories::default();
    for (name, Entry { owner, confidential }) in repository {
        let access = match (confidential, owner) {
            (false, _) => Access::Public,
            (true, Some(owner)) => Access::Confidential { owner },
            (true, None) => return Err(ReadError::NoOwner { what: what.to_owned(), repository: name }),
        };
        repositories.0.insert(name, access);
    }
    Ok((repositories, steward))
}

impl Repositories {
    /// Adds one, or changes who may read it.
    #[must_use]
    pub fn with(mut self, name: Repository, access: Access) -> Self {
        self.0.insert(name, access);
        self
    }

    /// All of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Repository> {
        self.0.keys()
    }

    /// Who may read it; `None` = it does not exist.
    #[must_use]
    pub fn access(&self, name: &Repository) -> Option<Access> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn each_repository_says_how_secret_it_is() {
        let text = format!(
            "[steward]\nurl = \"https://s\"\nanchors = [\"{OWNER}\"]\n\
             [repository.\"acme/shop\"]\nowner = \"{OWNER}\"\nconfidential = true\n[repository.open]\nconfidential = false\n"
        );
        let (repositories, hint) = read("drawbridge.toml", &text).unwrap();
        let owner = OWNER.parse().unwrap();
        assert_eq!(repositories.access(&"acme/shop".parse().unwrap()), Some(Access::Confidential { owner }));
        assert_eq!(repositories.access(&"open".parse().unwrap()), Some(Access::Public));
        assert_eq!(repositories.access(&"other".parse().unwrap()), None);
        let json = serde_json::to_string(&hint.unwrap()).unwrap();
        assert_eq!(json, format!("{{\"steward\":\"https://s\",\"anchors\":[\"{OWNER}\"]}}"));
    }

    #[test]
    fn what_is_missing_or_misspelled_is_said() {
        let hint = |text: &str| read("d.toml", text).unwrap_err().hint().unwrap();
        assert_eq!(hint("[repository.a]\nconfidental = true\n"), "did you mean `confidential`?");
        assert_eq!(hint("[repository.a]\n"), "add `confidential = …`");
        assert_eq!(hint("[repositry.a]\n"), "did you mean `repository`?");
        let error = read("d.toml", "[repository.a]\nconfidential = true\n").unwrap_err();
        assert!(matches!(error, ReadError::NoOwner { .. }));
        assert!(read("d.toml", "[repository.Upper]\nconfidential = false\n").is_err());
    }
}
