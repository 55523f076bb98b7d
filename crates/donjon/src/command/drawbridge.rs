//! `donjon drawbridge`: the registry as a process, and tokens for its file.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drawbridge::{Handle, Limits, Scope, Secret, SecretsKey, Settings, Storage, Tls, Tokens, read, serve};
use workload::names::Name;

use crate::command::{listen, log, runtime, say, until_told};
use crate::failure::Failure;

/// The Drawbridge: an OCI registry that lets confidential workloads out only to Keeps that proved themselves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Drawbridge {
    /// Serve until Ctrl-C.
    Serve(Serve),
    /// Make a token of the operator's: the token goes to standard output, the entry for the tokens file to standard error.
    Token(Token),
    /// Make the key that seals secrets, in a new file. Keep a copy: without it every secret is lost.
    SecretsKey(SecretsKeyFile),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SecretsKeyFile {
    /// The file.
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The repositories and who owns them, TOML.
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
    /// The operator's own tokens, TOML; people and organisations have theirs in the database.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Where blobs are kept: a folder (made if it is not there), or s3://BUCKET[/PREFIX], where the environment says who and
    /// where (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL).
    #[arg(long, value_name = "PLACE")]
    store: String,
    /// Where everything else is kept: postgres://USER:PASSWORD@HOST/NAME, for any number of Drawbridges, or sqlite:FILE; without
    /// it, in the folder of the store. The environment variable keeps the password out of the list of processes.
    #[arg(long, value_name = "URL", env = "DONJON_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Requests of one client in a second, ten seconds' worth of them at once; 0 = as many as it likes. Behind a proxy all clients have
    /// one address.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    rate: u32,
    /// The TLS certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key", required_unless_present = "tls_self_made")]
    tls_certificates: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificates")]
    tls_key: Option<PathBuf>,
    /// A certificate made at start for this name; clients pin the digest that is printed.
    #[arg(long, value_name = "NAME", conflicts_with = "tls_key")]
    tls_self_made: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Token {
    /// What the log calls its bearer.
    name: Name,
    /// What it may push to: a repository, `team/*`, or `*`.
    #[arg(required = true)]
    scopes: Vec<Scope>,
}

impl Drawbridge {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Serve(serve) => serve.run(),
            Self::Token(token) => token.run(),
            Self::SecretsKey(SecretsKeyFile { file }) => {
                SecretsKey::make(&file).map_err(|error| Failure::caused("cannot make the key", &error))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Serve {
    /// `tls`: made at start and in no file, so it stays.
    fn settings(&self, tls: Option<&Tls>) -> Result<Settings, Failure> {
        let shown = self.settings.display().to_string();
        let declared = read(&shown, &text(&self.settings)?).map_err(|error| Failure::hinted(&error, error.hint()))?;
        let tokens = match &self.tokens {
            Some(file) => Tokens::parse(&file.display().to_string(), &text(file)?)
                .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("tokens"))?,
            None => Tokens::default(),
        };
        let tls = match (&self.tls_certificates, &self.tls_key, tls) {
            (Some(certificates), Some(key), _) => Tls::from_pem(text(certificates)?.as_bytes(), text(key)?.as_bytes()),
            (_, _, Some(tls)) => Ok(tls.clone()),
            _ => Tls::self_made(&self.tls_self_made),
        }
        .map_err(|error| Failure::hinted(&error, Some(error.hint())).prefixed("cannot serve TLS"))?;
        let store = Storage::parse(&self.store, self.database.as_deref(), std::env::vars())
            .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("--store"))?;
        let limits = Limits { rate: NonZeroU32::new(self.rate), ..Limits::default() };
        Ok(Settings { tls, store, tokens, declared, limits })
    }

    fn run(self) -> Result<ExitCode, Failure> {
        log();
        let settings = self.settings(None)?;
        let tls = settings.tls.clone();
        runtime()?.block_on(async {
            let listener = listen(self.listen).await?;
            let mut drawbridge = serve(settings, listener)
                .await
                .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("cannot start the Drawbridge"))?;
            say(&format!("url https://{}", drawbridge.local_addr));
            say(&format!("pin {}", drawbridge.pin));
            until_told(async || {
                self.reload(&mut drawbridge, &tls).await?;
                Ok(format!("pin {}", drawbridge.pin))
            })
            .await?;
            drawbridge.shutdown().await;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Serve {
    async fn reload(&self, drawbridge: &mut Handle, tls: &Tls) -> Result<(), Failure> {
        let settings = self.settings(Some(tls))?;
        drawbridge.reload(settings).await.map_err(|error| Failure::hinted(&error, error.hint()))
    }
}

impl Token {
    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "the token is data, its entry is for the operator")]
    fn run(self) -> Result<ExitCode, Failure> {
        let token = Secret::generate().map_err(|error| Failure::caused("cannot make a token", &error))?;
        eprint!("{}", Tokens::entry(&self.name, &token, &self.scopes));
        println!("{}", token.expose());
        Ok(ExitCode::SUCCESS)
    }
}

fn text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::caused(format_args!("cannot read {}", file.display()), &error)
            .hint("it must be there, be text, and be readable for this user; `--help` says what belongs into it")
    })
}
