//! What an operator says: where things are, which repositories exist and who owns them, who logs in by whom.
//!
//! Owns the settings file. Refuses silence about secrecy: every repository says its `access`, and one that neither this file
//! nor an owner of its organisation has named does not exist. Unknown keys are errors with the nearest known one as a hint.
//! Invariant: a confidential repository always has an owner, whose key alone can open it (`trust.md`, 14).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::{Name, Repository};
use workload::settings::{self, SettingsError};

use crate::login::Tokens;
use crate::oidc;
use crate::people::{Organisation, Somebody};
use crate::secrets::SecretsKey;
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
    /// Which repositories, logins and organisations there are.
    pub declared: Declared,
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
    /// Requests of one client in a second, ten seconds' worth of them at once; as many as it likes if absent.
    pub rate: Option<NonZeroU32>,
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
            rate: None,
        }
    }
}

/// What a settings file declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The Steward that `/.well-known/donjon` names, if any.
    pub steward: Option<Hint>,
    /// The repositories that the operator made. Owners of organisations make others.
    pub repositories: Repositories,
    /// Who says who somebody is.
    pub logins: BTreeMap<Name, Login>,
    /// Whose repositories begin with which name.
    pub organisations: BTreeMap<Organisation, Terms>,
    /// The key of secrets, where there are some.
    pub secrets: Option<SecretsKey>,
    /// Whether `GET /metrics` answers: with how much this Drawbridge does. Not by default.
    pub metrics: bool,
}

/// An issuer of ID tokens (OpenID Connect), and what it knows us as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Its URL, as its ID tokens have it.
    pub issuer: String,
    /// The client that ID tokens must be for. `donjon login` uses it for the device flow (RFC 8628).
    pub client: String,
    /// For issuers that want one of every client. No secret: everybody who asks `/.well-known/donjon` gets it.
    pub client_secret: Option<String>,
    /// How long one is logged in, in hours.
    #[serde(default = "Login::session")]
    pub session_hours: u32,
}

/// What the operator grants an organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How many bytes it may keep; as many as there is room for if absent.
    pub quota_bytes: Option<u64>,
    /// Owners whom no other owner can take out.
    #[serde(default)]
    pub owners: Vec<Somebody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    metrics: bool,
    steward: Option<Hint>,
    #[serde(default)]
    repository: BTreeMap<Repository, Entry>,
    #[serde(default)]
    login: BTreeMap<Name, Login>,
    #[serde(default)]
    organisation: BTreeMap<Organisation, Terms>,
    secrets: Option<SecretsKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    owner: Option<Digest>,
    access: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Public,
    Private,
    Confidential,
}

/// The Steward that a Drawbridge names: a hint, never an authority; that is the brief (`product.md`, steps 2 and 3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// URL of the Steward.
    pub url: String,
    /// SHA-256 of the SPKI (DER) of its root CAs.
    pub anchors: Vec<Digest>,
}

/// The repositories that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repositories(BTreeMap<Repository, Access>);

/// Who may read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "access", rename_all = "lowercase")]
pub enum Access {
    /// Everybody.
    Public,
    /// Members of its organisation, and tokens that are for it; to all others it looks absent.
    Private,
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
    /// ID tokens must not come from there.
    #[error("{what}: the issuer of login `{login}` is {issuer:?}, which is neither https nor on this machine")]
    Issuer {
        /// The file.
        what: String,
        /// The login.
        login: Name,
        /// Its issuer.
        issuer: String,
    },
    /// He could never log in.
    #[error("{what}: an owner of organisation `{organisation}` comes through login `{login}`, which is not there")]
    NoLogin {
        /// The file.
        what: String,
        /// The organisation.
        organisation: Organisation,
        /// The login that was named.
        login: Name,
    },
}

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::NoOwner { .. } => Some("add `owner = \"sha256:…\"`, the digest of the owner's public key".to_owned()),
            Self::Issuer { .. } => Some("an issuer is known by its certificate: name it by https://…".to_owned()),
            Self::NoLogin { login, .. } => Some(format!("add [login.{login}] with `issuer` and `client`")),
        }
    }
}

/// Reads a settings file:
/// ```toml
/// metrics = true                     # /metrics answers everybody; not by default
///
/// [steward]                          # optional: what /.well-known/donjon says
/// url = "https://steward.example.org"
/// anchors = ["sha256:…"]
///
/// [repository."acme/shop"]
/// access = "confidential"            # or "private", "public"
/// owner = "sha256:…"                 # SHA-256 of the SPKI of the owner's key
///
/// [login.corp]                       # who says who somebody is
/// issuer = "https://login.example.org"
/// client = "donjon"
/// session_hours = 24
///
/// [organisation.acme]
/// quota_bytes = 100_000_000_000
/// owners = [{ login = "corp", email = "ada@example.org" }]
///
/// [secrets]                          # where secrets are kept: the key that seals them
/// file = "secrets.key"               # `donjon drawbridge secrets-key` makes it; or
/// # openbao = { url = "https://bao.example.org:8200", key = "drawbridge", token_file = "bao.token" }
/// ```
///
/// # Errors
/// See [`ReadError`]. `what` is what messages call the file.
pub fn read(what: &str, text: &str) -> Result<Declared, ReadError> {
    let File { metrics, steward, repository, login: logins, organisation: organisations, secrets } =
        settings::parse(what, text)?;
    let what = || what.to_owned();
    let mut repositories = Repositories::default();
    for (name, Entry { owner, access }) in repository {
        let access = match (access, owner) {
            (Word::Public, _) => Access::Public,
            (Word::Private, _) => Access::Private,
            (Word::Confidential, Some(owner)) => Access::Confidential { owner },
            (Word::Confidential, None) => return Err(ReadError::NoOwner { what: what(), repository: name }),
        };
        repositories.0.insert(name, access);
    }
    for (name, Login { issuer, .. }) in &logins {
        if oidc::issuer(issuer).is_none() {
            return Err(ReadError::Issuer { what: what(), login: name.clone(), issuer: issuer.clone() });
        }
    }
    for (organisation, Terms { owners, .. }) in &organisations {
        if let Some(Somebody { login, .. }) = owners.iter().find(|owner| !logins.contains_key(&owner.login)) {
            let (organisation, login) = (organisation.clone(), login.clone());
            return Err(ReadError::NoLogin { what: what(), organisation, login });
        }
    }
    Ok(Declared { steward, repositories, logins, organisations, secrets, metrics })
}

impl Login {
    const fn session() -> u32 {
        24
    }
}

impl Repositories {
    /// Adds one, or changes who may read it.
    #[must_use]
    pub fn with(mut self, name: Repository, access: Access) -> Self {
        self.0.insert(name, access);
        self
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Repository, Access)> {
        self.0.iter().map(|(name, access)| (name, *access))
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
             [repository.\"acme/shop\"]\nowner = \"{OWNER}\"\naccess = \"confidential\"\n\
             [repository.open]\naccess = \"public\"\n[repository.ours]\naccess = \"private\"\n"
        );
        let Declared { repositories, steward, .. } = read("drawbridge.toml", &text).unwrap();
        let owner = OWNER.parse().unwrap();
        assert_eq!(repositories.access(&"acme/shop".parse().unwrap()), Some(Access::Confidential { owner }));
        assert_eq!(repositories.access(&"open".parse().unwrap()), Some(Access::Public));
        assert_eq!(repositories.access(&"ours".parse().unwrap()), Some(Access::Private));
        assert_eq!(repositories.access(&"other".parse().unwrap()), None);
        assert_eq!(steward, Some(Hint { url: "https://s".to_owned(), anchors: vec![owner] }));
    }

    #[test]
    fn logins_and_organisations() {
        let login = |issuer: &str| format!("[login.corp]\nissuer = \"{issuer}\"\nclient = \"donjon\"\n");
        let organisation = |login: &str| {
            format!("[organisation.acme]\nquota_bytes = 7\nowners = [{{ login = \"{login}\", email = \"a@b\" }}]\n")
        };
        let good = read("d.toml", &(login("https://i") + &organisation("corp"))).unwrap();
        assert_eq!(good.logins[&"corp".parse::<Name>().unwrap()].session_hours, 24);
        assert_eq!(good.organisations[&"acme".parse::<Organisation>().unwrap()].quota_bytes, Some(7));
        let fault = |text: String| read("d.toml", &text).unwrap_err();
        assert!(matches!(fault(login("http://i") + &organisation("corp")), ReadError::Issuer { .. }));
        assert!(matches!(fault(login("https://i") + &organisation("crop")), ReadError::NoLogin { .. }));
        assert!(matches!(fault("[organisation.\"a/b\"]\n".to_owned()), ReadError::Settings(_)));
    }

    #[test]
    fn what_is_missing_or_misspelled_is_said() {
        let hint = |text: &str| read("d.toml", text).unwrap_err().hint().unwrap();
        assert_eq!(hint("[repository.a]\nacess = \"public\"\n"), "did you mean `access`?");
        assert_eq!(hint("[repository.a]\n"), "add `access = …`");
        assert_eq!(hint("[repositry.a]\n"), "did you mean `repository`?");
        let error = read("d.toml", "[repository.a]\naccess = \"confidential\"\n").unwrap_err();
        assert!(matches!(error, ReadError::NoOwner { .. }));
        assert!(read("d.toml", "[repository.Upper]\naccess = \"public\"\n").is_err());
    }
}
