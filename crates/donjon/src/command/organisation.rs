//! `donjon member` and `donjon repository`: what owners of an organisation do for it.

use std::path::PathBuf;
use std::process::ExitCode;

use drawbridge::client::Client;
use drawbridge::wire::{Member as Entry, OrganisationInfo, RepositoryInfo};
use drawbridge::{Access, Known, Organisation, Role, Somebody};
use workload::Digest;
use workload::names::{Name, Repository as RepositoryName};

use crate::command::{runtime, say};
use crate::failure::Failure;
use crate::owner::Owner;
use crate::registry::{At, Registry};

/// The members of an organisation.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Member {
    /// Say who they are, and how much the organisation keeps.
    List(MemberList),
    /// Make somebody a member, or change what somebody is.
    Set(MemberSet),
    /// Take somebody out.
    Remove(MemberRemove),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemberList {
    /// The organisation: HOST:PORT/NAME; port 443 may be left out.
    organisation: At<Organisation>,
    /// For machines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemberSet {
    /// The organisation: HOST:PORT/NAME; port 443 may be left out.
    organisation: At<Organisation>,
    /// What to make of him: reader, writer or owner.
    role: Role,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemberRemove {
    /// The organisation: HOST:PORT/NAME; port 443 may be left out.
    organisation: At<Organisation>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    registry: Registry,
}

/// Somebody. He need not have logged in before.
#[derive(Debug, clap::Args)]
#[group(id = "who", required = true, multiple = true)]
struct Who {
    /// His address, if his issuer has verified it. It may be somebody else's one day.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "subject")]
    email: Option<String>,
    /// What his issuer calls him, for ever: `donjon whoami --json` shows it to him.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// The login he comes by, if there are several.
    #[arg(long = "login", value_name = "NAME")]
    login: Option<Name>,
}

/// The repositories of an organisation.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Repository {
    /// Make one, or open or close one that is not confidential.
    Create(RepositoryCreate),
    /// List them.
    List(RepositoryList),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RepositoryCreate {
    /// The repository: HOST:PORT/ORGANISATION/NAME; port 443 may be left out.
    repository: At<RepositoryName>,
    /// For members of the organisation.
    #[arg(long, required_unless_present_any = ["public", "confidential"], conflicts_with_all = ["public", "confidential"])]
    private: bool,
    /// For everybody.
    #[arg(long, conflicts_with = "confidential")]
    public: bool,
    /// For Keeps that the owner key allows, and nobody else, for ever.
    #[arg(long)]
    confidential: bool,
    /// The digest of that key, if it is not here.
    #[arg(long, value_name = "DIGEST", requires = "confidential", conflicts_with = "owner_key")]
    owner: Option<Digest>,
    /// The owner key; default as for `donjon init`, which makes it.
    #[arg(long, value_name = "FILE", env = "DONJON_OWNER_KEY")]
    owner_key: Option<PathBuf>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RepositoryList {
    /// The organisation: HOST:PORT/NAME; port 443 may be left out.
    organisation: At<Organisation>,
    /// For machines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: Registry,
}

impl Member {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Set(set) => set.run().await,
                Self::Remove(remove) => remove.run().await,
            }
        })
    }
}

impl MemberList {
    async fn run(self) -> Result<ExitCode, Failure> {
        let Self { organisation: At { host, name }, json, registry } = self;
        let client = registry.client(&host)?;
        let failed = |error| Failure::from_client(format_args!("cannot list the members of {name}"), &error);
        let members = client.members(&name).await.map_err(failed)?;
        let OrganisationInfo { quota_bytes, used_bytes, .. } = client.organisation(&name).await.map_err(failed)?;
        if json {
            let all = serde_json::json!({ "members": members, "quota_bytes": quota_bytes, "used_bytes": used_bytes });
            say(&all.to_string());
            return Ok(ExitCode::SUCCESS);
        }
        for Entry { somebody: Somebody { login, known }, role, settings } in members {
            let (Known::Subject(known) | Known::Email(known)) = known;
            let by = if settings { "  by the operator" } else { "" };
            let known: String = known.chars().filter(|character| !character.is_control()).collect();
            say(&format!("{role}  {known}  ({login}){by}"));
        }
        let quota = quota_bytes.map(|quota| format!(" of {quota}")).unwrap_or_default();
        say(&format!("{used_bytes}{quota} bytes kept"));
        Ok(ExitCode::SUCCESS)
    }
}

impl MemberSet {
    async fn run(self) -> Result<ExitCode, Failure> {
        let Self { organisation: At { host, name }, role, who, registry } = self;
        let client = registry.client(&host)?;
        let somebody = who.somebody(&client).await?;
        let set = client.set_member(&name, &Entry { somebody, role, settings: false }).await;
        set.map_err(|error| Failure::from_client(format_args!("cannot change the members of {name}"), &error))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl MemberRemove {
    async fn run(self) -> Result<ExitCode, Failure> {
        let Self { organisation: At { host, name }, who, registry } = self;
        let client = registry.client(&host)?;
        let somebody = who.somebody(&client).await?;
        let removed = client.remove_member(&name, &somebody).await;
        removed.map_err(|error| Failure::from_client(format_args!("cannot change the members of {name}"), &error))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Who {
    async fn somebody(self, client: &Client) -> Result<Somebody, Failure> {
        let known = match (self.email, self.subject) {
            (Some(email), _) => Known::Email(email),
            (None, Some(subject)) => Known::Subject(subject),
            (None, None) => return Err(Failure::new("nobody is named").hint("say --email or --subject")),
        };
        if let Some(login) = self.login {
            return Ok(Somebody { login, known });
        }
        let said = client.well_known().await;
        let said = said.map_err(|error| Failure::from_client("cannot ask the Drawbridge for its logins", &error))?;
        match said.logins.as_slice() {
            [one] => Ok(Somebody { login: one.name.clone(), known }),
            several => {
                let names = several.iter().map(|offer| offer.name.to_string()).collect::<Vec<_>>().join(", ");
                Err(Failure::new(format_args!("the Drawbridge has these logins: {names}"))
                    .hint("say by which he comes, with --login"))
            }
        }
    }
}

impl Repository {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
        }
    }
}

impl RepositoryCreate {
    fn run(self) -> Result<ExitCode, Failure> {
        let Self { repository: At { host, name }, private: _, public, confidential, owner, owner_key, registry } = self;
        let access = match (public, confidential) {
            (true, _) => Access::Public,
            (false, false) => Access::Private,
            (false, true) => {
                let read = || Owner::read(&owner_key.map_or_else(Owner::home, Ok)?).map(|owner| owner.digest());
                Access::Confidential { owner: owner.map_or_else(read, Ok)? }
            }
        };
        let made = runtime()?.block_on(registry.client(&host)?.make_repository(&name, &access));
        made.map_err(|error| Failure::from_client(format_args!("cannot make {name}"), &error))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl RepositoryList {
    fn run(self) -> Result<ExitCode, Failure> {
        let Self { organisation: At { host, name }, json, registry } = self;
        let listed = runtime()?.block_on(registry.client(&host)?.repositories(&name));
        let listed = listed
            .map_err(|error| Failure::from_client(format_args!("cannot list the repositories of {name}"), &error))?;
        if json {
            say(&serde_json::to_string(&listed).map_err(|error| Failure::caused("cannot say it", &error))?);
            return Ok(ExitCode::SUCCESS);
        }
        for RepositoryInfo { repository, access } in listed {
            let access = match access {
                Access::Public => "public".to_owned(),
                Access::Private => "private".to_owned(),
                Access::Confidential { owner } => format!("confidential, owner {owner}"),
            };
            say(&format!("{repository}  {access}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
