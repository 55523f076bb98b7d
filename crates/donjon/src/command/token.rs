//! `donjon token`: API tokens, one's own and those of organisations.
//!
//! A token is printed once, when it is made; it is made by who is logged in, not by who has a token.

use std::process::ExitCode;

use drawbridge::wire::{TokenInfo, TokenWanted};
use drawbridge::{Organisation, Role, Scope};
use evidence::time;

use crate::command::{runtime, say};
use crate::failure::Failure;
use crate::registry::{Host, Registry};

/// API tokens at a Drawbridge, for machines and for registry clients that cannot log in otherwise.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Make one; prints it, this once.
    Create(Create),
    /// List them.
    List(List),
    /// End one.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The Drawbridge: HOST:PORT; port 443 may be left out.
    host: Host,
    /// What to call it.
    name: String,
    /// Where it is good: a repository, `acme/*`, or `*`.
    #[arg(required = true)]
    scopes: Vec<Scope>,
    /// The most that it may: reader, writer or owner; and never more than who it belongs to.
    #[arg(long, default_value = "reader")]
    role: Role,
    /// How long it is good, in days: 1 to 366.
    #[arg(long, default_value_t = 90)]
    days: u64,
    /// For a machine of this organisation, which one owns; else it is one's own.
    #[arg(long, value_name = "NAME")]
    organisation: Option<Organisation>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The Drawbridge: HOST:PORT; port 443 may be left out.
    host: Host,
    /// Those of this organisation, which one owns.
    #[arg(long, value_name = "NAME")]
    organisation: Option<Organisation>,
    /// For machines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// The Drawbridge: HOST:PORT; port 443 may be left out.
    host: Host,
    /// Its id, as `donjon token list` shows it.
    id: String,
    /// One of this organisation, which one owns.
    #[arg(long, value_name = "NAME")]
    organisation: Option<Organisation>,
    #[command(flatten)]
    registry: Registry,
}

impl Token {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Create {
    fn run(self) -> Result<ExitCode, Failure> {
        let Self { host: Host(authority), name, scopes, role, days, organisation, registry } = self;
        let wanted = TokenWanted { name, organisation, role, scopes, days: Some(days) };
        let made = runtime()?.block_on(registry.client(&authority)?.make_token(&wanted));
        let made = made.map_err(|error| Failure::from_client("the Drawbridge makes no token", &error))?;
        say(made.token.expose());
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> Result<ExitCode, Failure> {
        let Self { host: Host(authority), organisation, json, registry } = self;
        let tokens = runtime()?.block_on(registry.client(&authority)?.tokens(organisation.as_ref()));
        let tokens = tokens.map_err(|error| Failure::from_client("the Drawbridge lists no tokens", &error))?;
        if json {
            say(&serde_json::to_string(&tokens).map_err(|error| Failure::caused("cannot say it", &error))?);
            return Ok(ExitCode::SUCCESS);
        }
        for TokenInfo { id, name, session: _, role, scopes, created: _, expires } in &tokens {
            let scopes = scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let name: String = name.chars().filter(|character| !character.is_control()).collect();
            say(&format!("{id}  {role}  until {}  {name}  {scopes}", time::date(*expires)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(self) -> Result<ExitCode, Failure> {
        let Self { host: Host(authority), id, organisation, registry } = self;
        let revoked = runtime()?.block_on(registry.client(&authority)?.revoke(Some(&id), organisation.as_ref()));
        revoked.map_err(|error| Failure::from_client("the Drawbridge ends no token", &error))?;
        Ok(ExitCode::SUCCESS)
    }
}
