//! `donjon login`, `logout` and `whoami`: who one is at a Drawbridge.
//!
//! Logging in is the device flow (RFC 8628): this terminal shows an address and a code, and any browser does the rest. Refuses to
//! save a token that the registry does not take. No token is printed.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use drawbridge::Secret;
use drawbridge::client::{Client, Device};
use drawbridge::wire::{Me, Membership, Offer};
use evidence::time;
use indicatif::ProgressBar;
use workload::names::{Authority, Name};
use zeroize::Zeroizing;

use crate::command::{interrupted, runtime, say};
use crate::failure::Failure;
use crate::registry::{Host, Registry, Saved};

/// The longest token that is read from standard input, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Log in to a Drawbridge; what is saved is used by all commands that speak to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// The Drawbridge: HOST:PORT; port 443 may be left out.
    host: Host,
    #[command(flatten)]
    registry: Registry,
    /// By which of its logins, if there are several.
    #[arg(long = "login", value_name = "NAME")]
    by: Option<Name>,
    /// Read an API token from standard input, and save that.
    #[arg(long, conflicts_with_all = ["by", "id_token_stdin"])]
    token_stdin: bool,
    /// Read an ID token of the login's issuer from standard input: for machines whose builder gives them one.
    #[arg(long)]
    id_token_stdin: bool,
}

/// End a login at the Drawbridge, and forget it.
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// The Drawbridge: HOST:PORT; port 443 may be left out.
    host: Host,
    #[command(flatten)]
    registry: Registry,
}

/// Say who one is at a Drawbridge, and what one may.
#[derive(Debug, clap::Args)]
pub(crate) struct Whoami {
    /// The Drawbridge: HOST:PORT; port 443 may be left out.
    host: Host,
    #[command(flatten)]
    registry: Registry,
    /// For machines.
    #[arg(long)]
    json: bool,
}

impl Login {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { host: Host(authority), registry, by, token_stdin, id_token_stdin } = self;
        // One that cannot be read is written over.
        let before = Saved::read(&authority).ok().flatten();
        runtime()?.block_on(async {
            let nobody = registry.nobody(&authority, before.as_ref())?;
            let token = if token_stdin {
                read()?
            } else {
                let offer = choose(&nobody, &authority, by.as_ref()).await?;
                let id_token = if id_token_stdin { read()? } else { confirm(&offer).await? };
                let given = nobody.log_in(&offer.name, &id_token).await;
                given.map_err(|error| Failure::from_client("the Drawbridge does not log you in", &error))?.token
            };
            let me = nobody.with_token(token.clone()).me().await;
            let me = me.map_err(|error| Failure::from_client("the Drawbridge does not take this token", &error))?;
            let session = me.token.as_ref().is_some_and(|token| token.session);
            let pins = match before {
                Some(saved) if registry.pins.is_empty() => saved.pins,
                _ => registry.pins,
            };
            let file = Saved::new(me.name.clone(), session, pins, &token).write(&authority)?;
            talk(&format!("logged in to {authority} as {}{}", called(&me), until(&me)));
            talk(&format!("saved in {}", file.display()));
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Logout {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { host: Host(authority), registry } = self;
        let Some(saved) = Saved::read(&authority)? else {
            return Err(Failure::new(format_args!("there is no login for {authority}"))
                .hint("`donjon login` saves one; DONJON_TOKEN and --token-file are none"));
        };
        let client = registry.nobody(&authority, Some(&saved))?;
        let session = saved.session;
        let client = client.with_token(saved.into_token());
        // First here: whatever the Drawbridge says, nothing on this machine uses it any more.
        Saved::remove(&authority)?;
        if session {
            let ended = runtime()?.block_on(client.revoke(None, None));
            ended.map_err(|error| {
                Failure::from_client("forgotten here, but not ended at the Drawbridge", &error)
                    .hint("it ends by itself; `donjon token revoke` after another login ends it sooner")
            })?;
        }
        talk(&format!("logged out of {authority}"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Whoami {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { host: Host(authority), registry, json } = self;
        let client = registry.client(&authority)?;
        let me = runtime()?.block_on(client.me());
        let me = me.map_err(|error| Failure::from_client("the Drawbridge does not say who you are", &error))?;
        if json {
            say(&serde_json::to_string(&me).map_err(|error| Failure::caused("cannot say it", &error))?);
            return Ok(ExitCode::SUCCESS);
        }
        say(&format!("{}{}", called(&me), until(&me)));
        for Membership { organisation, role } in &me.organisations {
            say(&format!("{role} of {organisation}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The login that is meant.
async fn choose(client: &Client, authority: &Authority, by: Option<&Name>) -> Result<Offer, Failure> {
    let announced = client.well_known().await;
    let offers = match announced {
        // It has nothing to say of itself.
        Err(drawbridge::client::ClientError::Absent { .. }) => Vec::new(),
        said => said.map_err(|error| Failure::from_client("cannot ask the Drawbridge how to log in", &error))?.logins,
    };
    let names = || offers.iter().map(|offer| offer.name.to_string()).collect::<Vec<_>>().join(", ");
    match (by, offers.as_slice()) {
        (_, []) => Err(Failure::new(format_args!("{authority} has no logins"))
            .hint("ask its operator for a token, and use that: --token-stdin saves it")),
        (None, [offer]) => Ok(offer.clone()),
        (None, _) => {
            Err(Failure::new(format_args!("{authority} has several logins: {}", names())).hint("name one with --login"))
        }
        (Some(name), offers) => offers.iter().find(|offer| offer.name == *name).cloned().ok_or_else(|| {
            Failure::new(format_args!("{authority} has no login {name}")).hint(format_args!("it has {}", names()))
        }),
    }
}

/// Shows an address and a code, and waits until somebody has been there.
async fn confirm(offer: &Offer) -> Result<Secret, Failure> {
    let failed = |error| Failure::caused(format_args!("cannot log in by {}", offer.name), &error);
    let device = Device::begin(offer).await.map_err(failed)?;
    talk(&format!("open {} in any browser and enter {}", clean(device.url()), clean(device.code())));
    if let Some(url) = device.url_with_code() {
        talk(&format!("or open {}", clean(url)));
    }
    let spinner = ProgressBar::new_spinner().with_message("waiting for you to confirm there");
    spinner.enable_steady_tick(Duration::from_millis(200));
    let token = tokio::select! {
        token = device.wait() => token.map_err(failed),
        () = interrupted() => Err(Failure::new("interrupted: nobody is logged in")),
    };
    spinner.finish_and_clear();
    token
}

fn read() -> Result<Secret, Failure> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|error| Failure::caused("cannot read the token from standard input", &error))?;
    match text.trim() {
        "" => Err(Failure::new("there is no token on standard input")),
        token => Ok(Secret::new(token.to_owned())),
    }
}

/// What people call somebody.
fn called(me: &Me) -> String {
    let Me { name, login, subject, email, .. } = me;
    let known = email.as_ref().or(subject.as_ref()).unwrap_or(name);
    match login {
        Some(login) => format!("{} ({login})", clean(known)),
        None => clean(known),
    }
}

fn until(me: &Me) -> String {
    me.token.as_ref().map(|token| format!(", until {}", time::date(token.expires))).unwrap_or_default()
}

/// Foreign text goes to a terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

#[allow(clippy::print_stderr, reason = "what happens is talk")]
fn talk(line: &str) {
    eprintln!("donjon: {line}");
}
