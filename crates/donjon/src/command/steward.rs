//! `donjon steward`: the certificate authority as a process, and its policy in words.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use identity::ear::Class;
use identity::{Algorithm, Signer as _};
use steward::explain::{Explained, Section, Weak};
use steward::policy::Policy;
use steward::record::writer::RecordSource;
use steward::settings::{AuthoritySource, NonceKeySource, TlsSource, token};
use steward::signer::{Authority, AuthorityError, Key, KeyUri, UriError};
use steward::{Settings, serve};
use workload::Digest;

use crate::command::{interrupted, listen, log, runtime, say};
use crate::failure::Failure;

/// The Steward: certificates for Keeps that prove themselves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Steward {
    /// Make the certificate authority's key and root.
    Init(Init),
    /// Serve until Ctrl-C.
    Serve(Serve),
    /// Say what a policy means, and where it is weak.
    CheckPolicy(CheckPolicy),
    /// Print the OpenAPI document of its HTTP interface.
    #[command(name = "openapi")]
    OpenApi,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckPolicy {
    /// The policy, TOML.
    policy: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Exit with status 1 where it is weak.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The policy, TOML.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The CA's private key: PKCS#8 in PEM, or a key of an HSM,
    /// `pkcs11:token=NAME;object=LABEL?module-path=FILE&pin-source=FILE`. Without it a key pair is made that dies with the process.
    #[arg(long, value_name = "FILE|URI", requires = "ca_certificates")]
    ca_key: Option<KeyPlace>,
    /// The CA's certificates in PEM: issuing certificate, intermediates, root.
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_certificates: Option<PathBuf>,
    /// The key that seals nonces, hexadecimal; Stewards behind one address share it. Made at start without it.
    #[arg(long, value_name = "FILE")]
    nonce_key: Option<PathBuf>,
    /// Serve HTTPS with this certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificates: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificates")]
    tls_key: Option<PathBuf>,
    /// Serve HTTPS with a certificate made at start for this name; clients pin the digest that is printed.
    #[arg(long, value_name = "NAME", conflicts_with = "tls_key")]
    tls_self_made: Vec<String>,
    /// Answer `GET /metrics` with counters for Prometheus: how much this Steward does, to everybody who reaches it.
    #[arg(long)]
    metrics: bool,
    /// Record each certificate in this folder before it is issued; Stewards may share it. Without its record nothing is issued.
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// How many requests a second of one client are answered, over ten seconds; 0: as many as it sends.
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,
}

/// Where the CA's key is.
#[derive(Debug, Clone)]
enum KeyPlace {
    File(PathBuf),
    Token(KeyUri),
}

impl FromStr for KeyPlace {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.starts_with(KeyUri::SCHEME) { text.parse().map(Self::Token) } else { Ok(Self::File(text.into())) }
    }
}

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
    fn run(self) -> Result<ExitCode, Failure> {
        let Self { class, ca_key, ca_certificates, curve } = self;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let failed = |error: AuthorityError| Failure::hinted(&error, error.hint());
        let key = match &ca_key {
            KeyPlace::Token(uri) => token(uri).map_err(|error| Failure::hinted(&error, error.hint()))?,
            KeyPlace::File(path) => {
                let made = Authority::generate(class, curve, now).map_err(failed)?;
                write_new(path, made.key.as_bytes(), 0o600)?;
                Key::from_pem(made.key.as_bytes()).map_err(|error| Failure::hinted(&error, error.hint()))?
            }
        };
        let root = Authority::root(&key, class, now).map_err(failed)?;
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

impl Steward {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Init(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::CheckPolicy(args) => args.run(),
            Self::OpenApi => {
                say(&format!("{:#}", steward::open_api()));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn read(policy: &Path) -> Result<Policy, Failure> {
    Policy::read(policy).map_err(|error| Failure::hinted(&error, error.hint()))
}

impl CheckPolicy {
    fn run(self) -> Result<ExitCode, Failure> {
        let policy = read(&self.policy)?;
        let Explained { sections, weak } = policy.explain();
        if self.json {
            let all = serde_json::json!({ "digest": policy.digest(), "sections": sections, "weak": weak });
            say(&all.to_string());
        } else {
            say(&format!("{}: {}", self.policy.display(), policy.digest()));
            for Section { name, lines } in sections {
                say("");
                if !name.is_empty() {
                    say(&name);
                }
                for (key, says) in lines {
                    say(&format!("{key:<15} {says}"));
                }
            }
            for Weak { key, why, hint } in &weak {
                say(&format!("\nweak: {key}: {why}\nhint: {hint}"));
            }
            say(&format!("\n{} weak spot{}", weak.len(), if weak.len() == 1 { "" } else { "s" }));
        }
        Ok(ExitCode::from(u8::from(self.strict && !weak.is_empty())))
    }
}

impl Serve {
    fn run(self) -> Result<ExitCode, Failure> {
        let args = self;
        log();
        let policy = read(&args.policy)?;
        let mut settings = Settings::new(policy);
        settings.counted = args.metrics;
        settings.record = args.record.map_or(RecordSource::None, RecordSource::Folder);
        settings.limits.rate = NonZeroU32::new(args.rate);
        if let (Some(key), Some(certificates)) = (args.ca_key, args.ca_certificates) {
            settings.authority = match key {
                KeyPlace::File(key) => AuthoritySource::Files { key, certificates },
                KeyPlace::Token(key) => AuthoritySource::Token { key, certificates },
            };
        }
        if let Some(file) = args.nonce_key {
            settings.nonce_key = NonceKeySource::File(file);
        }
        settings.tls = match (args.tls_certificates, args.tls_key) {
            (Some(certificates), Some(key)) => TlsSource::Files { certificates, key },
            _ if !args.tls_self_made.is_empty() => TlsSource::SelfMade { names: args.tls_self_made },
            _ => TlsSource::Plain,
        };
        runtime()?.block_on(async {
            let listener = listen(args.listen).await?;
            let steward = serve(settings, listener)
                .await
                .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("cannot start the Steward"))?;
            say(&format!("url    {}", steward.url()));
            say(&format!("anchor {}", steward.anchor));
            say(&format!("policy {}", steward.policy));
            if let Some(pin) = &steward.tls_pin {
                say(&format!("pin    {pin}"));
            }
            say(steward.root_pem.trim_end());
            interrupted().await;
            steward.shutdown().await;
            Ok(ExitCode::SUCCESS)
        })
    }
}
