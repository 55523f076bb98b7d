//! `donjon secret`: values that only Keeps get, which the owner's release policy allows to have them.
//!
//! Values come from standard input or files, never from the command line, where others see them. None is ever shown again.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use drawbridge::Kind;
use drawbridge::client::Client;
use drawbridge::wire::SecretInfo;
use evidence::time;
use workload::names::{Name, Repository};
use workload::secrets::SECRET_LIMIT;
use zeroize::Zeroizing;

use crate::command::{runtime, say};
use crate::failure::Failure;
use crate::registry::{At, Registry};

/// Secrets of a confidential repository: for Keeps that its release policy names, and for nobody else.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Secret {
    /// Set one: its value comes from standard input or a file, or is made where nobody sees it.
    Set(Set),
    /// Set several, from NAME=VALUE lines.
    Import(Import),
    /// List them, with the public halves of key pairs; no values.
    List(List),
    /// Have the next version made of one that was made there.
    Rotate(Rotate),
    /// Delete one, all versions.
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    repository: At<Repository>,
    /// The secret's name, as manifests and Deployment.toml have it.
    name: Name,
    /// Take the value from this file, byte for byte; from standard input without it.
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    from_file: Option<PathBuf>,
    /// Make it there: 256 random bits as text, or a key pair in PEM.
    #[arg(long, value_name = "KIND", value_parser = ["random", "p256", "ed25519"])]
    generate: Option<String>,
    /// How long the version before is delivered beside it, in seconds; a day without it.
    #[arg(long, value_name = "SECONDS")]
    overlap: Option<u64>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    repository: At<Repository>,
    /// Lines of NAME=VALUE; empty ones and those that begin with # say nothing.
    file: PathBuf,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    repository: At<Repository>,
    /// For machines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    repository: At<Repository>,
    /// The secret.
    name: Name,
    /// How long the version before is delivered beside it, in seconds; a day without it.
    #[arg(long, value_name = "SECONDS")]
    overlap: Option<u64>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    repository: At<Repository>,
    /// The secret.
    name: Name,
    #[command(flatten)]
    registry: Registry,
}

impl Secret {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        runtime()?.block_on(async {
            match self {
                Self::Set(set) => set.run().await,
                Self::Import(import) => import.run().await,
                Self::List(list) => list.run().await,
                Self::Rotate(rotate) => rotate.run().await,
                Self::Delete(delete) => delete.run().await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Set {
    async fn run(self) -> Result<(), Failure> {
        let Self { repository: At { host, name: repository }, name, from_file, generate, overlap, registry } = self;
        let client = registry.client(&host)?;
        let set = match generate.as_deref() {
            Some(kind) => {
                let kind = match kind {
                    "p256" => Kind::P256,
                    "ed25519" => Kind::Ed25519,
                    _ => Kind::Random,
                };
                client.generate_secret(&repository, &name, kind, overlap).await
            }
            None => {
                let value = match &from_file {
                    Some(file) => {
                        let file = std::fs::File::open(file)
                            .map_err(|error| Failure::caused(format_args!("cannot read {}", file.display()), &error))?;
                        value(file)?
                    }
                    None => value(std::io::stdin().lock())?,
                };
                client.set_secret(&repository, &name, &value, overlap).await
            }
        };
        tell(&set.map_err(|error| failed(&name, &error))?);
        Ok(())
    }
}

impl Import {
    async fn run(self) -> Result<(), Failure> {
        let Self { repository: At { host, name: repository }, file, registry } = self;
        let shown = file.display();
        let text = std::fs::read_to_string(&file)
            .map(Zeroizing::new)
            .map_err(|error| Failure::caused(format_args!("cannot read {shown}"), &error))?;
        let mut all = Vec::new();
        for (line, number) in text.lines().zip(1_u32..) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // What is wrong with a line is said without it.
            let (name, value) = line.split_once('=').ok_or_else(|| {
                Failure::new(format_args!("{shown}:{number}: not NAME=VALUE"))
                    .hint("write the name, = and the value on one line; what has lines of its own is set by `donjon secret set`")
            })?;
            let name: Name = name.trim().parse().map_err(|_| {
                Failure::new(format_args!("{shown}:{number}: before the = stands no name"))
                    .hint("a name has 1 to 63 of A-Z a-z 0-9 . - _")
            })?;
            all.push((name, value));
        }
        let client = registry.client(&host)?;
        for (name, value) in &all {
            let set = client.set_secret(&repository, name, value.as_bytes(), None).await;
            tell(&set.map_err(|error| failed(name, &error))?);
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let Self { repository: At { host, name: repository }, json, registry } = self;
        let client: Client = registry.client(&host)?;
        let secrets = client.secrets(&repository).await;
        let secrets = secrets
            .map_err(|error| Failure::from_client(format_args!("cannot list the secrets of {repository}"), &error))?;
        if json {
            say(&serde_json::to_string(&secrets).map_err(|error| Failure::caused("cannot say it", &error))?);
            return Ok(());
        }
        for secret in &secrets {
            tell(secret);
            for line in secret.public.iter().flat_map(|public| public.lines()) {
                say(&line.chars().filter(|character| !character.is_control()).collect::<String>());
            }
        }
        Ok(())
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let Self { repository: At { host, name: repository }, name, overlap, registry } = self;
        let rotated = registry.client(&host)?.rotate_secret(&repository, &name, overlap).await;
        tell(&rotated.map_err(|error| failed(&name, &error))?);
        Ok(())
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let Self { repository: At { host, name: repository }, name, registry } = self;
        let deleted = registry.client(&host)?.delete_secret(&repository, &name).await;
        deleted.map_err(|error| failed(&name, &error))
    }
}

fn value(from: impl std::io::Read) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    // A byte more than there may be: too long a value is refused, not cut.
    let most = u64::try_from(SECRET_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut bytes).map_err(|error| Failure::caused("cannot read the value", &error))?;
    Ok(bytes)
}

fn failed(name: &Name, error: &drawbridge::client::ClientError) -> Failure {
    Failure::from_client(format_args!("the secret {name}"), error)
}

fn tell(SecretInfo { name, version, kind, public: _, created, until }: &SecretInfo) {
    let kind = match kind {
        Kind::Given => "given",
        Kind::Random => "random",
        Kind::P256 => "p256",
        Kind::Ed25519 => "ed25519",
    };
    let until = until.map(|until| format!("  until {}", time::date(until))).unwrap_or_default();
    say(&format!("{name}  version {version}  {kind}  of {}{until}", time::date(*created)));
}
