//! Steps 1 to 4 of a deploy, the host's: what to run, who names the Steward, which digest, and the launch of an empty Keep.
//! From there the Keep goes on by itself and tells its milestones.
//!
//! Owns the making of a brief for a deploy. What the Drawbridge says is a hint; what is in the brief is fixed by whoever
//! launches, and what the Keep may be called is fixed by the owner's Deployment, which the Steward checks again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use drawbridge::client::{Client, ClientError, Trust};
use identity::deployment::Deployment;
use identity::names::{ANONYMOUS_DEPLOYMENT, ANONYMOUS_ROLE};
use identity::publisher::{self, Accepted, Signature};
use identity::release::Allowed;
use identity::signed::OwnerSigned;
use keep::{Backend, Cache, Event, Folders, Host, Image, Launch, Memory, Running, StartError, Stdio};
use steward::signer::Signatures;
use workload::Digest;
use workload::brief::{Brief, BriefError, Source, StewardRef};
use workload::names::{Name, TrustDomain};
use workload::reference::{Location, Reference};

use crate::failure::Failure;

/// What to deploy, and how.
pub(crate) struct Request {
    pub(crate) location: Location,
    /// Keys of the Drawbridge's TLS; empty: public web roots.
    pub(crate) drawbridge_pins: Vec<Digest>,
    /// Keys of the Steward's HTTPS; empty: public web roots.
    pub(crate) steward_pins: Vec<Digest>,
    /// Root keys of the Stewards to believe; empty: those that the Drawbridge names.
    pub(crate) anchors: Vec<Digest>,
    /// The owner-signed Deployment.
    pub(crate) deployment: Option<Vec<u8>>,
    /// The signature of the workload's publisher.
    pub(crate) signature: Option<Signature>,
    /// The role in it; may be left out if there is only one.
    pub(crate) role: Option<Name>,
    /// For a Keep without a Deployment.
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) listen: BTreeMap<String, String>,
    pub(crate) folders: Folders,
    pub(crate) memory: Memory,
    pub(crate) cache: Option<Cache>,
    pub(crate) stdio: Stdio,
}

/// A deploy that ended at one of its first four steps.
pub(crate) struct Stopped {
    pub(crate) step: u8,
    pub(crate) failure: Failure,
}

/// Deploys. `steps` hears of steps 1 to 4 from here and of the others from the Keep.
pub(crate) async fn deploy(
    request: Request,
    backend: &dyn Backend,
    mut steps: impl FnMut(Event) + Send + 'static,
) -> Result<(Running, Brief), Stopped> {
    let at = |step| move |failure| Stopped { step, failure };
    let mut step = |step: u8, detail: &dyn Display| {
        steps(Event::Milestone { step, detail: detail.to_string() });
    };

    let deployment = request.deployment.as_deref().map(open).transpose().map_err(at(1))?;
    let named = named(&request, deployment.as_ref()).map_err(at(1))?;
    step(1, &request.location);

    let trust = Trust::of(&request.drawbridge_pins);
    let client = Client::new(request.location.authority.clone(), trust)
        .map_err(|error| at(2)(Failure::from_client("cannot speak to the Drawbridge", &error)))?;
    let hint = client
        .well_known()
        .await
        .map_err(|error| at(2)(Failure::from_client("the Drawbridge does not name a Steward", &error)))?;
    let steward = hint.steward.ok_or_else(|| {
        let failure = Failure::new("the Drawbridge names no Steward");
        at(2)(failure.hint("its operator names one in the settings, [steward]"))
    })?;
    step(2, &format_args!("{steward}, {} anchor(s)", hint.anchors.len()));

    let workload = digest(&client, &request, deployment.as_ref(), &named.role).await.map_err(at(3))?;
    step(3, &workload);

    let anchors = if request.anchors.is_empty() { hint.anchors } else { request.anchors.clone() };
    let Location { authority, repository, tag: _, digest: _ } = &request.location;
    let mut env = request.env.clone();
    env.sort();
    let brief = Brief {
        trust_domain: named.trust_domain,
        steward: Some(StewardRef { url: steward, anchors, tls: request.steward_pins.clone() }),
        source: Source::Drawbridge {
            authority: authority.to_string(),
            repository: repository.to_string(),
            tls: request.drawbridge_pins.clone(),
        },
        owner: named.owner,
        deployment: named.deployment,
        role: named.role,
        workload,
        args: request.args.clone(),
        env,
    };
    let (keep, brief) = launch(brief, request, backend, steps).map_err(at(4))?;
    Ok((keep, brief))
}

/// Step 4. The milestone is told before the start, because the Keep tells the next ones itself, from another thread.
fn launch(
    brief: Brief,
    request: Request,
    backend: &dyn Backend,
    mut steps: impl FnMut(Event) + Send + 'static,
) -> Result<(Running, Brief), Failure> {
    let bytes = brief.try_encode().map_err(|error| {
        let hint = match error {
            BriefError::PinsWithoutTls => "name the Steward by https://, or leave its pins out",
            _ => "host-supplied arguments and environment, with everything else, may take 64 KiB; put more into the workload",
        };
        Failure::caused("there is no such brief", &error).hint(hint)
    })?;
    let image = Image::built_in().map_err(Failure::new)?;
    let launch = Launch::new(image, bytes, request.deployment)
        .map_err(|error| Failure::caused("cannot fix the brief", &error))?
        .with_signature(request.signature.as_ref().map(Signature::encode))
        .with_memory(request.memory);
    steps(Event::Milestone {
        step: 4,
        detail: format!("backend {}, H(brief) {}", backend.name(), Digest::from(launch.field())),
    });
    let host = Host {
        blobs: Box::new(BTreeMap::new()),
        listen: request.listen,
        folders: request.folders,
        cache: request.cache,
        stdio: request.stdio,
        events: Box::new(steps),
    };
    let keep = backend.start(&launch, host).map_err(|error| not_started(&error))?;
    Ok((keep, brief))
}

/// What `--memory` says to Keeps of this backend.
pub(crate) fn memory(said: Option<Memory>, backend: &dyn Backend, micro_vm: bool) -> Result<Memory, Failure> {
    if said.is_some() && !micro_vm {
        let why = format!("a Keep of the backend {} is a process, which has what its machine has", backend.name());
        return Err(
            Failure::new(why).hint("take one with micro-VMs, or limit the program: `[limits] memory` in Donjon.toml")
        );
    }
    Ok(said.unwrap_or_default())
}

fn open(bytes: &[u8]) -> Result<OwnerSigned<Deployment>, Failure> {
    OwnerSigned::open(bytes, &Signatures).map_err(|error| {
        Failure::caused("this is not a Deployment that its owner signed", &error)
            .hint("`donjon push` writes one as deployment.cose")
    })
}

/// Opens what is given as `PATH=FOLDER`.
pub(crate) fn folders(given: &[(String, String)]) -> Result<Folders, Failure> {
    let mut folders = Folders::default();
    for (mount, folder) in given {
        folders.give(mount, Path::new(folder)).map_err(|error| {
            Failure::caused(format_args!("cannot read the folder {folder} for the mount {mount}"), &error)
        })?;
    }
    Ok(folders)
}

/// Why there is no Keep, and what to do.
pub(crate) fn not_started(error: &StartError) -> Failure {
    Failure::caused("cannot start the Keep", error).hint(error.hint())
}

/// A name that is fixed here.
pub(crate) fn name(text: &str) -> Result<Name, Failure> {
    text.parse().map_err(|error| Failure::caused("cannot name the Keep", &error))
}

/// Under which names a Keep is launched.
struct Named {
    trust_domain: TrustDomain,
    owner: Option<Digest>,
    deployment: Name,
    role: Name,
}

fn named(request: &Request, deployment: Option<&OwnerSigned<Deployment>>) -> Result<Named, Failure> {
    let Some(deployment) = deployment else {
        let Some(trust_domain) = request.trust_domain.clone() else {
            return Err(Failure::new("without a Deployment the trust domain is unknown")
                .hint("give the owner's Deployment with --deployment, or --trust-domain for an anonymous Keep"));
        };
        return Ok(Named {
            trust_domain,
            owner: None,
            deployment: name(ANONYMOUS_DEPLOYMENT)?,
            role: name(ANONYMOUS_ROLE)?,
        });
    };
    let role = match (&request.role, deployment.roles.len()) {
        (Some(role), _) => role.clone(),
        (None, 1) => deployment.roles.keys().next().cloned().ok_or_else(|| Failure::new("no role"))?,
        (None, _) => {
            let roles: Vec<_> = deployment.roles.keys().map(ToString::to_string).collect();
            return Err(Failure::new(format_args!("the Deployment has several roles: {}", roles.join(", ")))
                .hint("name one with --role"));
        }
    };
    Ok(Named {
        trust_domain: deployment.trust_domain.clone(),
        owner: Some(*deployment.owner()),
        deployment: deployment.id.clone(),
        role,
    })
}

/// Step 3: the digest that was said, else the one that is signed, else the one the Deployment has for the role, else what a public
/// tag points at.
async fn digest(
    client: &Client,
    request: &Request,
    deployment: Option<&OwnerSigned<Deployment>>,
    role: &Name,
) -> Result<Digest, Failure> {
    let covered = match deployment {
        Some(deployment) => Some(deployment.roles.get(role).map(|role| &role.workloads).ok_or_else(|| {
            Failure::new(format_args!("the Deployment has no role `{role}`")).hint("name another with --role")
        })?),
        None => None,
    };
    let not_held = |error| {
        Failure::caused("the workload's signature does not hold", &error)
            .hint("give the one that its publisher made for this workload: `donjon push` writes it as workload.sig")
    };
    let signed = request.signature.as_ref().map(Signature::workload).transpose().map_err(not_held)?;
    let only = covered.and_then(|covered| match covered.first() {
        Some(Accepted::Digest(digest)) if covered.len() == 1 => Some(*digest),
        _ => None,
    });
    let digest = match (request.location.digest.or(signed).or(only), covered, &request.location.tag) {
        (Some(digest), _, _) => digest,
        (None, Some(covered), _) => {
            return Err(Failure::new(format_args!(
                "the Deployment lets {} play `{role}`",
                Allowed::Only(covered.clone())
            ))
            .hint("say which, as HOST/REPOSITORY@sha256:…; give the signature of a product with --signature"));
        }
        (None, None, Some(tag)) => {
            let reference = Reference::Tag(tag.clone());
            let found = client.manifest(&request.location.repository, &reference).await;
            let failed = |error| {
                let failure = Failure::from_client(format_args!("cannot resolve the tag `{tag}`"), &error);
                match error {
                    ClientError::Unauthorized { .. } => failure.hint(
                        "nobody sees the tags of what is private or confidential: name the workload by its digest, \
                         HOST/REPOSITORY@sha256:…, or give the owner's Deployment with --deployment",
                    ),
                    _ => failure,
                }
            };
            found.map_err(failed)?.0
        }
        (None, None, None) => {
            return Err(Failure::new(format_args!("{} names no workload", request.location))
                .hint("add @sha256:… or :TAG, or give the owner's Deployment with --deployment"));
        }
    };
    let published = request.signature.as_ref().map(|signature| signature.verify(&digest, &Signatures));
    let published = published.transpose().map_err(not_held)?;
    match covered {
        Some(covered) if !publisher::accepts(covered, &digest, published.as_ref()) => {
            let found = publisher::said(published.as_ref());
            Err(Failure::new(format_args!("the Deployment does not let {digest}, {found}, play `{role}`"))
                .hint("push it under this Deployment, or deploy one that the owner signed for; --signature tells who published it"))
        }
        _ => Ok(digest),
    }
}

impl Failure {
    /// An error of the registry client, with its expectation and its hint.
    pub(crate) fn from_client(what: impl Display, error: &ClientError) -> Self {
        let explained = error.explain();
        let mut message = format!("{what}: {}", explained.what);
        if let (Some(expected), Some(found)) = (&explained.expected, &explained.found) {
            message = format!("{message} (expected {expected}, found {found})");
        }
        match explained.hint {
            Some(hint) => Self::new(message).hint(hint),
            None => Self::new(message),
        }
    }
}
