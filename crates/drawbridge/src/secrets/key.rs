//! The operator's key, which seals the keys of secrets: in a file, or where nobody ever sees it, in an HSM or in the transit engine of
//! an OpenBao (or Vault).
//!
//! Owns how a key of 32 bytes is wrapped and unwrapped. Refuses a key file that others can read, and what another key has
//! wrapped. Invariant: neither the key nor what it wraps is in any message.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hsm::{KeyUri, SealingKey, TokenError};
use serde::Deserialize;
use workload::Digest;
use zeroize::Zeroizing;

use super::{open, seal};
use crate::oidc;

/// Until an OpenBao has answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of one, in bytes.
const ANSWER: usize = 64 * 1024;

/// Where the operator's key is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretsKey {
    /// In this file: 64 hex digits.
    File(PathBuf),
    /// In an OpenBao.
    OpenBao(OpenBao),
    /// In an HSM: an AES key of 256 bits that may encrypt and decrypt.
    Pkcs11(KeyUri),
}

/// A key of the transit engine of an OpenBao.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBao {
    /// `https://HOST:PORT`.
    pub url: String,
    /// The key's name, of type aes256-gcm96.
    pub key: String,
    /// Where the engine is mounted.
    #[serde(default = "OpenBao::mount")]
    pub mount: String,
    /// A file with a token that may encrypt and decrypt by this key.
    pub token_file: PathBuf,
}

/// Why the operator's key is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{path} is open to other users of this host: its mode is {mode:o}, expected 600")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It has no key in it.
    #[error("{path} is no key of secrets: 64 hex digits are")]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// An OpenBao must not be spoken to like that.
    #[error("{0:?} is neither https nor on this machine")]
    Url(String),
    /// It does not answer, or refuses.
    #[error("the OpenBao does not answer as asked: {0}")]
    OpenBao(String),
    /// The HSM does not have it, or does not answer.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What is to be unwrapped was wrapped by another.
    #[error("a secret was sealed by the key {expected}, and the one here is {found}")]
    Another {
        /// Which.
        expected: String,
        /// Which.
        found: String,
    },
    /// It was changed.
    #[error("a wrapped key is damaged")]
    Damaged,
}

impl SecretsKey {
    /// Makes a new key in a new file.
    ///
    /// # Errors
    /// [`KeyError::File`] if it is there already, or cannot be made.
    pub fn make(path: &Path) -> Result<(), KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(|_| KeyError::NoRandomness)?;
        let text = Zeroizing::new(hex::encode(key.as_slice()) + "\n");
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }
}

impl OpenBao {
    fn mount() -> String {
        "transit".to_owned()
    }
}

/// What wraps and unwraps.
pub(super) enum Wrapping {
    File { key: Zeroizing<[u8; 32]>, name: String },
    OpenBao { http: reqwest::Client, of: OpenBao },
    Token { key: Arc<SealingKey>, name: String },
}

impl Wrapping {
    pub(super) fn open(key: &SecretsKey) -> Result<Self, KeyError> {
        match key {
            SecretsKey::File(path) => {
                let text = private(path)?;
                let mut key = Zeroizing::new([0; 32]);
                let read = hex::decode_to_slice(text.trim(), &mut *key);
                read.map_err(|_| KeyError::Form { path: path.clone() })?;
                // Says which key it is, and nothing of it: it has 256 random bits.
                let digest = hex::encode(Digest::of(&[b"donjon secrets key ", key.as_slice()].concat()).as_bytes());
                let name = format!("file:{}", digest.get(..16).unwrap_or_default());
                Ok(Self::File { key, name })
            }
            SecretsKey::OpenBao(of) => {
                if oidc::issuer(&of.url).is_none() {
                    return Err(KeyError::Url(of.url.clone()));
                }
                let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
                let http = http.build().map_err(|error| KeyError::OpenBao(error.to_string()))?;
                Ok(Self::OpenBao { http, of: of.clone() })
            }
            SecretsKey::Pkcs11(uri) => {
                let pin = uri.pin_file().map(private).transpose()?;
                let pin = pin.map(|pin| Zeroizing::new(pin.trim_end().to_owned()));
                let key = Arc::new(SealingKey::open(uri, pin.as_ref())?);
                Ok(Self::Token { key, name: format!("pkcs11:token={};object={}", uri.token(), uri.object()) })
            }
        }
    }

    /// Which key this is.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { name, .. } | Self::Token { name, .. } => name.clone(),
            Self::OpenBao { of, .. } => format!("openbao:{}/{}", of.mount, of.key),
        }
    }

    pub(super) async fn wrap(&self, key: &[u8; 32], about: &[u8]) -> Result<String, KeyError> {
        match self {
            Self::File { key: own, .. } => seal(own, about, key).map(hex::encode).ok_or(KeyError::NoRandomness),
            Self::OpenBao { http, of } => {
                let clear = Zeroizing::new(BASE64_STANDARD.encode(key));
                let asked = serde_json::json!({ "plaintext": clear.as_str(), "associated_data": BASE64_STANDARD.encode(about) });
                Ok(of.ask(http, "encrypt", asked, "ciphertext").await?.to_string())
            }
            Self::Token { key: token, .. } => {
                let (token, about, key) = (Arc::clone(token), about.to_vec(), Zeroizing::new(*key));
                let sealed = asked(move || token.seal(&about, key.as_slice())).await?;
                Ok(hex::encode(sealed))
            }
        }
    }

    /// `by`: which key wrapped it.
    pub(super) async fn unwrap(&self, wrapped: &str, by: &str, about: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let found = self.name();
        if by != found {
            return Err(KeyError::Another { expected: by.to_owned(), found });
        }
        let clear = match self {
            Self::File { key: own, .. } => {
                let sealed = hex::decode(wrapped).map_err(|_| KeyError::Damaged)?;
                open(own, about, &sealed).ok_or(KeyError::Damaged)?
            }
            Self::OpenBao { http, of } => {
                let asked =
                    serde_json::json!({ "ciphertext": wrapped, "associated_data": BASE64_STANDARD.encode(about) });
                let text = of.ask(http, "decrypt", asked, "plaintext").await?;
                Zeroizing::new(BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| KeyError::Damaged)?)
            }
            Self::Token { key: token, .. } => {
                let sealed = hex::decode(wrapped).map_err(|_| KeyError::Damaged)?;
                let (token, about) = (Arc::clone(token), about.to_vec());
                asked(move || token.unseal(&about, &sealed)).await?
            }
        };
        let key: &[u8; 32] = clear.as_slice().try_into().map_err(|_| KeyError::Damaged)?;
        Ok(Zeroizing::new(*key))
    }
}

/// What a file says that is its user's alone.
fn private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

/// An HSM answers when it likes: where nobody waits behind it.
async fn asked<T: Send + 'static>(job: impl FnOnce() -> Result<T, TokenError> + Send + 'static) -> Result<T, KeyError> {
    let done = tokio::task::spawn_blocking(job).await;
    Ok(done.map_err(|error| TokenError::Module(error.to_string()))??)
}

impl OpenBao {
    /// POST to the transit engine: one member of the answer's data.
    async fn ask(
        &self,
        http: &reqwest::Client,
        what: &str,
        body: serde_json::Value,
        member: &str,
    ) -> Result<Zeroizing<String>, KeyError> {
        #[derive(Deserialize)]
        struct Answer {
            data: serde_json::Map<String, serde_json::Value>,
        }
        let Self { url, key, mount, token_file } = self;
        // Read anew each time: such tokens are renewed, and replaced by another.
        let token = fs::read_to_string(token_file).map(Zeroizing::new);
        let token = token.map_err(|source| KeyError::File { path: token_file.clone(), source })?;
        let failed = |error: reqwest::Error| KeyError::OpenBao(error.without_url().to_string());
        let url = format!("{}/v1/{mount}/{what}/{key}", url.trim_end_matches('/'));
        let request = http.post(url).header("x-vault-token", token.trim()).header("content-type", "application/json");
        let mut answer = request.body(body.to_string()).send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(KeyError::OpenBao(format!("{what}: {status}")));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len().saturating_add(chunk.len()) > ANSWER {
                return Err(KeyError::OpenBao(format!("{what}: a longer answer than one has")));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        let found = answer.and_then(|mut answer| match answer.data.remove(member) {
            Some(serde_json::Value::String(text)) => Some(Zeroizing::new(text)),
            _ => None,
        });
        found.ok_or_else(|| KeyError::OpenBao(format!("{what}: an answer without `{member}`")))
    }
}

impl fmt::Debug for Wrapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Wrapping({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_its_users_and_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        SecretsKey::make(&file).unwrap();
        assert!(matches!(SecretsKey::make(&file), Err(KeyError::File { .. })), "it is never written over");
        let open = || Wrapping::open(&SecretsKey::File(file.clone()));
        assert!(open().is_ok(), "control");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(), Err(KeyError::Open { mode: 0o640, .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "swordfish").unwrap();
        let error = open().unwrap_err();
        assert!(matches!(error, KeyError::Form { .. }) && !error.to_string().contains("sword"), "{error}");
    }
}
