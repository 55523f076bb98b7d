//! Which registry a command speaks to, and as whom.
//!
//! Owns the arguments that all commands to a registry share, and the logins that `donjon login` saves: a file for each registry
//! in the folder of the owner key, readable by its user only. Refuses a saved login that others can read. Invariant: a token that
//! is named on the command line or in the environment goes before a saved one, and none is ever printed.

use std::fs::Permissions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use drawbridge::Secret;
use drawbridge::client::{Client, Trust};
use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::{Authority, NameError};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::owner;

/// How to know the registry, and what to show it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Registry {
    /// A file with the token for this registry; `DONJON_TOKEN` holds the token itself. Without either, what `donjon login` saved.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The registry's key (sha256:… of its SPKI), for one without a public certificate. `donjon login` saves it too.
    #[arg(long = "pin", value_name = "DIGEST")]
    pub(crate) pins: Vec<Digest>,
}

/// A registry as people write it: HOST:PORT, or HOST for port 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) Authority);

/// Something at a registry: HOST:PORT/NAME, or HOST/NAME for port 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) host: Authority,
    pub(crate) name: T,
}

/// A login, as it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// What the log of the registry calls us.
    pub(crate) name: String,
    /// Whether it ends with `donjon logout`, everywhere.
    pub(crate) session: bool,
    #[serde(default)]
    pub(crate) pins: Vec<Digest>,
    token: String,
}

impl Registry {
    /// A client for this registry, with whatever login there is for it.
    pub(crate) fn client(&self, authority: &Authority) -> Result<Client, Failure> {
        let saved = Saved::read(authority)?;
        let client = self.nobody(authority, saved.as_ref())?;
        let named = self.token()?;
        Ok(match named.or_else(|| saved.map(Saved::into_token)) {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    /// A client that shows no token.
    pub(crate) fn nobody(&self, authority: &Authority, saved: Option<&Saved>) -> Result<Client, Failure> {
        let pins = match saved {
            Some(saved) if self.pins.is_empty() => &saved.pins,
            _ => &self.pins,
        };
        Client::new(authority.clone(), Trust::of(pins))
            .map_err(|error| Failure::from_client("cannot speak to the registry", &error))
    }

    fn token(&self) -> Result<Option<Secret>, Failure> {
        let text = match &self.token_file {
            Some(file) => std::fs::read_to_string(file)
                .map(Zeroizing::new)
                .map_err(|error| Failure::caused(format_args!("cannot read {}", file.display()), &error))?,
            None => match std::env::var("DONJON_TOKEN") {
                Ok(text) => Zeroizing::new(text),
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Secret::new(text.trim().to_owned())))
    }
}

impl Saved {
    pub(crate) fn new(name: String, session: bool, pins: Vec<Digest>, token: &Secret) -> Self {
        Self { name, session, pins, token: token.expose().to_owned() }
    }

    /// The saved login for this registry, if there is one.
    pub(crate) fn read(authority: &Authority) -> Result<Option<Self>, Failure> {
        let Ok(file) = place(authority) else { return Ok(None) };
        let shown = file.display();
        let mode = match std::fs::metadata(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| cannot_read(&file, &error))?.permissions().mode() & 0o777,
        };
        if mode & 0o077 != 0 {
            return Err(Failure::new(format_args!(
                "others can read the login in {shown}: its mode is {mode:o}, expected 600"
            ))
            .hint("log in anew: who has read it may use it until then; then `chmod 600` it"));
        }
        let text = std::fs::read_to_string(&file).map(Zeroizing::new).map_err(|error| cannot_read(&file, &error))?;
        // The reason would show the line, and the token stands in one.
        toml::from_str(&text)
            .map(Some)
            .map_err(|_| Failure::new(format_args!("{shown} is not a login")).hint("log in anew with `donjon login`"))
    }

    /// Saves it in place of the one before; where.
    pub(crate) fn write(&self, authority: &Authority) -> Result<PathBuf, Failure> {
        let file = place(authority)?;
        let failed = |error: &dyn std::error::Error| {
            Failure::caused(format_args!("cannot save the login in {}", file.display()), error)
                .hint("set DONJON_HOME to a folder of yours, or use DONJON_TOKEN instead")
        };
        let text = toml::to_string(self).map(Zeroizing::new).map_err(|error| failed(&error))?;
        let dir = file.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| failed(&error))?;
        let mut made = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(dir)
            .map_err(|error| failed(&error))?;
        made.write_all(text.as_bytes()).and_then(|()| made.as_file().sync_all()).map_err(|error| failed(&error))?;
        made.persist(&file).map_err(|error| failed(&error.error))?;
        Ok(file)
    }

    /// Forgets what was saved for this registry.
    pub(crate) fn remove(authority: &Authority) -> Result<(), Failure> {
        let file = place(authority)?;
        std::fs::remove_file(&file)
            .map_err(|error| Failure::caused(format_args!("cannot remove {}", file.display()), &error))
    }

    pub(crate) fn into_token(self) -> Secret {
        Secret::new(self.token)
    }
}

fn place(authority: &Authority) -> Result<PathBuf, Failure> {
    Ok(owner::home()?.join("logins").join(format!("{authority}.toml")))
}

fn cannot_read(file: &Path, error: &std::io::Error) -> Failure {
    Failure::caused(format_args!("cannot read {}", file.display()), error).hint("log in anew with `donjon login`")
}

impl FromStr for Host {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().or_else(|error| format!("{text}:443").parse().map_err(|_| error)).map(Self)
    }
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for At<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, name) = text.split_once('/').ok_or("expected HOST:PORT/NAME; port 443 may be left out")?;
        let Host(host) = host.parse().map_err(|error: NameError| error.to_string())?;
        Ok(Self { host, name: name.parse().map_err(|error: T::Err| error.to_string())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workload::names::Repository;

    #[test]
    fn the_usual_port_may_be_left_out() {
        let host = |text: &str| text.parse::<Host>().map(|Host(host)| host.to_string());
        assert_eq!(host("registry.example.org").unwrap(), "registry.example.org:443");
        assert_eq!(host("127.0.0.1:5000").unwrap(), "127.0.0.1:5000");
        assert!(host("https://registry.example.org").is_err());
        let at: At<Repository> = "registry.example.org/acme/shop".parse().unwrap();
        assert_eq!((at.host.as_str(), at.name.as_str()), ("registry.example.org:443", "acme/shop"));
        assert!("registry.example.org".parse::<At<Repository>>().is_err());
    }
}
