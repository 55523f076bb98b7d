//! `donjon steward`: the certificate authority as a process, and its policy in words.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use steward::explain::{Explained, Section, Weak};
use steward::policy::Policy;
use steward::settings::{AuthoritySource, NonceKeySource, TlsSource};
use steward::{Settings, serve};

use crate::command::{interrupted, listen, log, runtime, say};
use crate::failure::Failure;

/// The Steward: certificates for Keeps that prove themselves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Steward {
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
    /// The CA's private key (PKCS#8 in PEM); without it a key pair is made that dies with the process.
    #[arg(long, value_name = "FILE", requires = "ca_certificates")]
    ca_key: Option<PathBuf>,
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
    /// How many requests a second of one client are answered, over ten seconds; 0: as many as it sends.
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,
}

impl Steward {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
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
        settings.limits.rate = NonZeroU32::new(args.rate);
        if let (Some(key), Some(certificates)) = (args.ca_key, args.ca_certificates) {
            settings.authority = AuthoritySource::Files { key, certificates };
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
