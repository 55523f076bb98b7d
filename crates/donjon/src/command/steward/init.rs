//! `donjon steward init`: the key and the root of a certificate authority.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use identity::ear::Class;
use identity::{Algorithm, Signer as _};
use steward::settings::token;
use steward::signer::{Authority, AuthorityError, Generated, Key};
use workload::Digest;
use workload::names::DnsName;

use super::KeyPlace;
use crate::command::say;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The trust class: `hardware`, or `insecure` for simulated evidence and trials.
    #[arg(long, value_parser = class)]
    class: Class,
    /// Where the private key is written to (PKCS#8 in PEM, for you alone), or a key of an HSM that is there already.
    #[arg(long, value_name = "FILE|URI")]
    ca_key: KeyPlace,
    /// Where the root certificate is written to (PEM).
    #[arg(long, value_name = "FILE")]
    ca_certificates: PathBuf,
    /// The curve of a new key: `p256` or `p384`.
    #[arg(long, value_name = "CURVE", default_value = "p256", value_parser = curve)]
    curve: Algorithm,
    /// The DNS names that the root is for, each with all below it; several can be named. Whoever believes the root believes it for
    /// no other then, without knowing anything of Donjon. Any, if none is named.
    #[arg(long, value_name = "NAME")]
    dns: Vec<DnsName>,
}

fn class(text: &str) -> Result<Class, &'static str> {
    match text {
        "hardware" => Ok(Class::Hardware),
        "insecure" => Ok(Class::Insecure),
        _ => Err("expected `hardware` or `insecure`"),
    }
}

fn curve(text: &str) -> Result<Algorithm, &'static str> {
    match text {
        "p256" => Ok(Algorithm::EcdsaP256Sha256),
        "p384" => Ok(Algorithm::EcdsaP384Sha384),
        _ => Err("expected `p256` or `p384`"),
    }
}

impl Init {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let Self { class, ca_key, ca_certificates, curve, dns } = self;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let failed = |error: AuthorityError| Failure::hinted(&error, error.hint());
        let (key, root) = match &ca_key {
            KeyPlace::Token(uri) => {
                let key = token(uri).map_err(|error| Failure::hinted(&error, error.hint()))?;
                let root = Authority::root(&key, class, &dns, now).map_err(failed)?;
                (key, root)
            }
            KeyPlace::File(path) => {
                let Generated { key, certificates } = Authority::generate(class, curve, &dns, now).map_err(failed)?;
                write_new(path, key.as_bytes(), 0o600)?;
                let key = Key::from_pem(key.as_bytes()).map_err(|error| Failure::hinted(&error, error.hint()))?;
                (key, certificates)
            }
        };
        write_new(&ca_certificates, root.as_bytes(), 0o644)?;
        say(&format!("anchor {}", Digest::of(key.spki())));
        Ok(ExitCode::SUCCESS)
    }
}

/// Nothing is written over: it may be somebody's only key.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| {
        let failure = Failure::new(format!("cannot write {}: {error}", path.display()));
        match error.kind() {
            ErrorKind::AlreadyExists => failure.hint("choose another name, or move it away yourself"),
            _ => failure,
        }
    })
}
