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

use evidence::time;
use identity::ear::Class;
use identity::{Algorithm, Signer as _};
use steward::explain::{Explained, Section, Weak};
use steward::policy::Policy;
use steward::record::writer::{RecordSource, probe};
use steward::settings::{AuthoritySource, NonceKeySource, TlsSource, token};
use steward::signer::{Authority, AuthorityError, Key, KeyUri, UriError};
use steward::{Handle, Settings, serve};
use tokio::signal::unix::{SignalKind, signal};
use workload::Digest;

use crate::command::{interrupted, listen, log, runtime, say};
use crate::failure::Failure;

/// In seconds.
const DAY: u64 = 24 * 3600;
/// When an authority's certificates should have been renewed, in days before their end.
const SOON: u64 = 30;

/// The Steward: certificates for Keeps that prove themselves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Steward {
    /// Make the certificate authority's key and root.
    Init(Init),
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
            Self::Doctor(args) => Ok(args.doctor()),
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
    /// Reads what the files say now.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::new(read(&self.policy)?);
        settings.counted = self.metrics;
        settings.record = self.record.clone().map_or(RecordSource::None, RecordSource::Folder);
        settings.limits.rate = NonZeroU32::new(self.rate);
        if let (Some(key), Some(certificates)) = (&self.ca_key, self.ca_certificates.clone()) {
            settings.authority = match key.clone() {
                KeyPlace::File(key) => AuthoritySource::Files { key, certificates },
                KeyPlace::Token(key) => AuthoritySource::Token { key, certificates },
            };
        }
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
            let mut hangup =
                signal(SignalKind::hangup()).map_err(|error| Failure::caused("cannot wait for SIGHUP", &error))?;
            loop {
                tokio::select! {
                    () = interrupted() => break,
                    _ = hangup.recv() => {}
                }
                match self.reload(&mut steward).await {
                    Ok(()) => say(&format!("reloaded: policy {}, anchor {}", steward.policy, steward.anchor)),
                    // It goes on by what it had.
                    Err(failure) => {
                        failure.prefixed("not reloaded, nothing has changed").show();
                    }
                }
            }
            steward.shutdown().await;
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Everything that serving would need, a line each.
    fn doctor(self) -> ExitCode {
        let mut well = true;
        let mut line = |what: &str, found: Result<String, Failure>| match found {
            Ok(found) => say(&format!("ok      {what:<10} {found}")),
            Err(failure) => {
                well = false;
                failure.prefixed(what).show();
            }
        };
        let policy = read(&self.policy);
        let opened = policy.is_ok().then(|| {
            let open = |settings: Settings| settings.open().map_err(|error| Failure::hinted(&error, error.hint()));
            self.settings().and_then(open)
        });
        line(
            "policy",
            policy.map(|policy| match policy.explain().weak.len() {
                0 => policy.digest().to_string(),
                weak => format!("{}, weak in {weak}: donjon steward check-policy", policy.digest()),
            }),
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        match opened {
            None => {}
            Some(Err(failure)) => line("keys", Err(failure)),
            Some(Ok(opened)) => {
                let authority = opened.steward.authority();
                let (end, days) = (authority.not_after(), authority.not_after().saturating_sub(now) / DAY);
                let kind = if self.ca_key.is_some() { "" } else { ", made at each start: nobody can list its root" };
                line("authority", Ok(format!("{} {}{kind}", authority.class(), authority.anchor())));
                let ends = format!("until {} ({days} days)", time::date(end));
                line(
                    "chain",
                    if days < SOON {
                        Err(Failure::new(format!("it is valid {ends}")).hint("renew the authority's certificates"))
                    } else {
                        Ok(ends)
                    },
                );
                let signed = authority.key().sign(b"donjon steward doctor").map(|_| "it signs".to_owned());
                line("key", signed.map_err(|error| Failure::new(error).hint("look whether the HSM answers")));
                line(
                    "nonces",
                    match self.nonce_key {
                        Some(_) => Ok("shared by who has the file".to_owned()),
                        None => Ok("a key of this process: other Stewards do not take them".to_owned()),
                    },
                );
                line(
                    "https",
                    Ok(opened.tls.map_or_else(|| "none: plain HTTP".to_owned(), |tls| format!("key {}", tls.pin))),
                );
            }
        }
        let record = self.record.clone().map_or(RecordSource::None, RecordSource::Folder);
        let (none, listening) = (record == RecordSource::None, self.listen);
        let tried = runtime().and_then(|runtime| {
            runtime.block_on(async {
                let listens = listen(listening).await.map(|_| format!("{listening} is free"));
                let record = probe(record).await.map_err(|error| Failure::new(error).hint("make it writable"));
                Ok((listens, record))
            })
        });
        match tried {
            Err(failure) => line("runtime", Err(failure)),
            Ok((listens, record)) => {
                line("record", record.map(|()| if none { "none" } else { "it is written" }.to_owned()));
                line("listen", listens);
            }
        }
        line("clock", Ok(time::date(now)));
        ExitCode::from(u8::from(!well))
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
