//! What a Steward is started with, and from where its keys come.
//!
//! Paths and choices only; [`Settings::open`] reads and checks everything before the first request is answered.
//! Refuses files over 1 MiB, and warns in the log when others may read a private key.
//! Invariant: keys of the CA, of nonces and of HTTPS have separate sources, and none has a default in a file. A
//! key of the CA's chain never serves HTTPS, and no PEM key is a nonce key.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use workload::digest::Digest;
use zeroize::Zeroizing;

use crate::{
    Limits, Steward, Unfit,
    collateral::{Folder, FolderError, Reader},
    nonce::{NoRandomness, NonceKey, NonceKeyError},
    policy::Policy,
    record::writer::{RecordError, RecordSource},
    signer::{Authority, AuthorityError, Key, KeyUri, TokenError},
    tls::{Tls, TlsError},
};

/// Everything [`crate::serve()`] needs but the listener.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// For whom certificates are issued.
    pub policy: Policy,
    /// The CA's key and chain. Random by default.
    pub authority: AuthoritySource,
    /// Roots in PEM that are believed beside the CA's, while one follows another. None by default.
    pub other_roots: Option<PathBuf>,
    /// The key nonces are sealed with. Random by default.
    pub nonce_key: NonceKeySource,
    /// HTTPS. Plain HTTP by default: a Keep trusts the anchors in its brief and not the connection.
    pub tls: TlsSource,
    /// Time limits and caps.
    pub limits: Limits,
    /// The system's clock by default. Tests that judge recorded evidence bring the time of the recording.
    pub clock: Clock,
    /// Whether `GET /metrics` answers: with how much this Steward does. Not by default.
    pub counted: bool,
    /// Where what is issued is recorded, before it is. Nowhere by default.
    pub record: RecordSource,
    /// A folder of collateral, for evidence that comes without. None by default.
    pub collateral: Option<PathBuf>,
}

/// Tells the time.
pub type Clock = fn() -> SystemTime;

/// A Steward with what its listener needs.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// Policy and keys.
    pub steward: Steward,
    /// HTTPS, if asked for.
    pub tls: Option<Tls>,
    /// Time limits and caps.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
    /// Whether there are metrics.
    pub counted: bool,
    /// Where there is a record.
    pub record: RecordSource,
    /// What reads the folder of collateral again.
    pub collateral: Option<Reader>,
}

/// Where the CA's key and chain come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuthoritySource {
    /// A new root that lives as long as the process.
    #[default]
    Random,
    /// PEM files.
    Files {
        /// PKCS#8 private key, P-256 or P-384.
        key: PathBuf,
        /// Issuing certificate, intermediates, root.
        certificates: PathBuf,
    },
    /// A key that an HSM has, and a PEM file.
    Token {
        /// Which one.
        key: KeyUri,
        /// Issuing certificate, intermediates, root.
        certificates: PathBuf,
    },
}

/// Where the nonce key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NonceKeySource {
    /// A new key that lives as long as the process.
    #[default]
    Random,
    /// A file of 64 to 128 hexadecimal digits. Several Stewards behind one address share it.
    File(PathBuf),
}

/// How the listener speaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TlsSource {
    /// HTTP.
    #[default]
    Plain,
    /// HTTPS with a certificate from PEM files.
    Files {
        /// Server certificate, then its issuers.
        certificates: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// HTTPS with a certificate made at start; clients know it by its pin.
    SelfMade {
        /// DNS names and IP addresses.
        names: Vec<String>,
    },
}

impl Settings {
    /// Settings with `policy`, and everything else made at start.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            authority: AuthoritySource::default(),
            other_roots: None,
            nonce_key: NonceKeySource::default(),
            tls: TlsSource::default(),
            limits: Limits::default(),
            clock: SystemTime::now,
            counted: false,
            record: RecordSource::default(),
            collateral: None,
        }
    }

    /// Reads and checks all keys.
    ///
    /// # Errors
    /// [`SettingsError`] names the file.
    pub fn open(self) -> Result<Opened, SettingsError> {
        let Self { policy, authority, other_roots, nonce_key, tls, limits, clock, counted, record, collateral } = self;
        let now = clock().duration_since(UNIX_EPOCH).map_err(|_| SettingsError::Clock)?.as_secs();
        let class = policy.class();
        let authority = match authority {
            AuthoritySource::Random => {
                Authority::random(class, now).map_err(|error| SettingsError::Authority { path: None, error })?
            }
            AuthoritySource::Files { key, certificates } => {
                let (key_text, text) = (secret(&key)?, read(&certificates)?);
                Authority::from_pem(class, &key_text, &text, now).map_err(|error| {
                    let path = if matches!(error, AuthorityError::Key(_)) { key } else { certificates };
                    SettingsError::Authority { path: Some(path), error }
                })?
            }
            AuthoritySource::Token { key, certificates } => {
                let text = read(&certificates)?;
                let key = token(&key)?;
                Authority::with_key(class, key, &text, now)
                    .map_err(|error| SettingsError::Authority { path: Some(certificates), error })?
            }
        };
        let authority = match other_roots {
            None => authority,
            Some(path) => authority
                .beside(&read(&path)?, now)
                .map_err(|error| SettingsError::Authority { path: Some(path), error })?,
        };
        // Certificates end with the chain (trust.md rule 10), and one day none is issued at all.
        if authority.not_after() < now.saturating_add(policy.lifetime()) {
            tracing::warn!(
                not_after = authority.not_after(),
                lifetime = policy.lifetime(),
                "the CA's chain ends before a certificate issued now would: renew it"
            );
        }
        let nonce_key = match nonce_key {
            NonceKeySource::Random => NonceKey::random()?,
            NonceKeySource::File(path) => {
                NonceKey::from_hex(&secret(&path)?).map_err(|error| SettingsError::NonceKey { path, error })?
            }
        };
        let (tls, tls_key) = match tls {
            TlsSource::Plain => (None, None),
            TlsSource::Files { certificates, key } => {
                let tls = Tls::from_pem(&read(&certificates)?, &secret(&key)?).map_err(|error| {
                    let path = if matches!(error, TlsError::Key) { key.clone() } else { certificates };
                    SettingsError::Tls { path: Some(path), error }
                })?;
                (Some(tls), Some(key))
            }
            TlsSource::SelfMade { names } => {
                let tls = Tls::self_made(&names).map_err(|error| SettingsError::Tls { path: None, error })?;
                (Some(tls), None)
            }
        };
        // Whoever holds an HTTPS key – a proxy, an administrator – must not be an authority by it.
        if let Some(tls) = &tls
            && authority.keys().contains(&tls.pin)
        {
            return Err(SettingsError::SharedKey { path: tls_key, key: tls.pin });
        }
        let open = |path| Reader::open(Folder::new(path), policy.roots().clone());
        let collateral = collateral.map(open).transpose()?;
        let steward = Steward::new(policy, authority, &nonce_key)?;
        if let Some(reader) = &collateral {
            steward.put_collateral(Arc::clone(reader.cache()));
        }
        Ok(Opened { steward, tls, limits, clock, counted, record, collateral })
    }
}

/// The key of an HSM, with the PIN from its file.
///
/// # Errors
/// [`SettingsError::File`] and [`SettingsError::Token`].
pub fn token(uri: &KeyUri) -> Result<Key, SettingsError> {
    let pin = match uri.pin_file() {
        None => None,
        Some(path) => {
            let text = secret(path)?;
            let refused = |_| SettingsError::Token(TokenError::Pin);
            Some(Zeroizing::new(std::str::from_utf8(&text).map_err(refused)?.trim_end().to_owned()))
        }
    };
    Ok(Key::from_token(uri, pin.as_ref())?)
}

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
    let refused = |kind| SettingsError::File { path: path.to_owned(), kind };
    let file = File::open(path).map_err(|error| refused(error.kind()))?;
    // Room for the whole at once: a buffer that grows leaves copies of a key behind.
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length.min(MAX_FILE)).unwrap_or(0) + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|error| refused(error.kind()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(refused(io::ErrorKind::FileTooLarge));
    }
    Ok(text)
}

fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others may read this private key: chmod 600");
        }
    }
    read(path)
}

/// Why a Steward does not start.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{path}: {kind}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        kind: io::ErrorKind,
    },
    /// Key and chain make no authority.
    #[error("{}: {error}", place(.path.as_deref(), "certificate authority"))]
    Authority {
        /// The file of the key or of the certificates; `None` when they are made at start.
        path: Option<PathBuf>,
        /// What is wrong with it.
        error: AuthorityError,
    },
    /// Policy and authority do not go together, or another process serves this class.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The file holds no nonce key.
    #[error("{path}: {error}", path = path.display())]
    NonceKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: NonceKeyError,
    },
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// HTTPS cannot be served.
    #[error("{}: {error}", place(.path.as_deref(), "HTTPS"))]
    Tls {
        /// The file of the key or of the certificates; `None` when they are made at start.
        path: Option<PathBuf>,
        /// What is wrong with it.
        error: TlsError,
    },
    /// HTTPS with a key of the CA's chain.
    #[error("{}: key {key} is one of the CA's chain and cannot serve HTTPS", place(.path.as_deref(), "HTTPS"))]
    SharedKey {
        /// The file of the HTTPS key.
        path: Option<PathBuf>,
        /// SHA-256 of its SPKI.
        key: Digest,
    },
    /// The HSM's key cannot be used.
    #[error("key of the certificate authority: {0}")]
    Token(#[from] TokenError),
    /// There is no record to write.
    #[error("record: {0}")]
    Record(#[from] RecordError),
    /// The folder of collateral cannot be read.
    #[error("collateral: {0}")]
    Collateral(#[from] FolderError),
    /// The clock is before 1970.
    #[error("the system's clock is before 1970")]
    Clock,
    /// The listener is broken.
    #[error("listener: {0}")]
    Listener(io::ErrorKind),
}

impl SettingsError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { kind, .. } => match kind {
                io::ErrorKind::NotFound => Some("check the path"),
                io::ErrorKind::PermissionDenied => Some("the user this runs as must be able to read the file"),
                io::ErrorKind::FileTooLarge => Some("keys and chains have at most 1 MiB: this is another file"),
                _ => None,
            },
            Self::Authority { error, .. } => error.hint(),
            Self::Unfit(unfit) => Some(unfit.hint()),
            Self::NonceKey { .. } => Some("`openssl rand -hex 32` makes one"),
            Self::Tls { error, .. } => error.hint(),
            Self::SharedKey { .. } => Some("make a key for HTTPS alone, or let one be made at start"),
            Self::Clock => Some("set the clock"),
            Self::Token(error) => error.hint(),
            Self::Collateral(error) => Some(error.hint()),
            Self::Record(_) => Some("the user this runs as must be able to write there, and there must be room"),
            Self::Random(_) | Self::Listener(_) => None,
        }
    }
}

/// The file an error is about, or what it is about.
fn place(path: Option<&Path>, what: &str) -> String {
    path.map_or_else(|| what.to_owned(), |path| path.display().to_string())
}
