//! `donjon steward`: the certificate authority as a process, and its policy in words.

mod doctor;
mod init;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use steward::explain::{Explained, Section, Weak};
use steward::policy::Policy;
use steward::record::writer::RecordSource;
use steward::settings::{AuthoritySource, NonceKeySource, TlsSource};
use steward::signer::{KeyUri, UriError};
use steward::{Handle, Settings, serve};

use crate::command::{listen, log, runtime, say, until_told};
use crate::failure::Failure;

/// The Steward: certificates for Keeps that prove themselves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Steward {
    /// Make the certificate authority's key and root.
    Init(init::Init),
    /// Serve until Ctrl-C. SIGHUP has it read policy, keys and certificates again; if anything is wrong with them, it goes on as before.
    Serve(Serve),
    /// Say whether it would serve with these arguments, what is missing, and how to mend it.
    Doctor(Serve),
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
    /// Roots that are believed beside the CA's, in PEM, while one follows another: `GET /trust` tells of all of them.
    #[arg(long, value_name = "FILE")]
    other_roots: Option<PathBuf>,
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
    /// Collateral for evidence that comes without: a folder that `donjon collateral fetch` fills. It is read again every five minutes
    /// and at SIGHUP; nothing is fetched.
    #[arg(long, value_name = "FOLDER")]
    collateral: Option<PathBuf>,
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

impl Steward {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Init(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Doctor(args) => Ok(doctor::run(&args)),
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
    fn record(&self) -> RecordSource {
        self.record.clone().map_or(RecordSource::None, RecordSource::Folder)
    }

    /// Reads what the files say now.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::new(read(&self.policy)?);
        settings.counted = self.metrics;
        settings.record = self.record();
        settings.collateral.clone_from(&self.collateral);
        settings.limits.rate = NonZeroU32::new(self.rate);
        if let (Some(key), Some(certificates)) = (&self.ca_key, self.ca_certificates.clone()) {
            settings.authority = match key.clone() {
                KeyPlace::File(key) => AuthoritySource::Files { key, certificates },
                KeyPlace::Token(key) => AuthoritySource::Token { key, certificates },
            };
        }
        settings.other_roots.clone_from(&self.other_roots);
        if let Some(file) = &self.nonce_key {
            settings.nonce_key = NonceKeySource::File(file.clone());
        }
        settings.tls = match (&self.tls_certificates, &self.tls_key) {
            (Some(certificates), Some(key)) => {
                TlsSource::Files { certificates: certificates.clone(), key: key.clone() }
            }
            _ if !self.tls_self_made.is_empty() => TlsSource::SelfMade { names: self.tls_self_made.clone() },
            _ => TlsSource::Plain,
        };
        Ok(settings)
    }

    fn run(self) -> Result<ExitCode, Failure> {
        log();
        let settings = self.settings()?;
        runtime()?.block_on(async {
            let listener = listen(self.listen).await?;
            let mut steward = serve(settings, listener)
                .await
                .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("cannot start the Steward"))?;
            say(&format!("url    {}", steward.url()));
            say(&format!("anchor {}", steward.anchor));
            say(&format!("policy {}", steward.policy));
            if let Some(pin) = &steward.tls_pin {
                say(&format!("pin    {pin}"));
            }
            say(steward.root_pem.trim_end());
            until_told(async || {
                self.reload(&mut steward).await?;
                Ok(format!("policy {}, anchor {}", steward.policy, steward.anchor))
            })
            .await?;
            steward.shutdown().await;
            Ok(ExitCode::SUCCESS)
        })
    }

    /// What is made at start and not read from files stays as it was made.
    async fn reload(&self, steward: &mut Handle) -> Result<(), Failure> {
        if self.ca_key.is_none() || self.nonce_key.is_none() {
            return Err(Failure::new("keys that are made at start would be others then")
                .hint("start it with --ca-key, --ca-certificates and --nonce-key"));
        }
        steward.reload(self.settings()?).await.map_err(|error| Failure::hinted(&error, error.hint()))
    }
}
