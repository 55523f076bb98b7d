//! The demo's world: simulated silicon, a Steward and a Drawbridge on loopback, an owner and a packed service, in a
//! temporary folder. All of it is what an operator would set up, with the files he would write.
//!
//! A [`Twist`] makes one thing in it wrong. Nothing else differs, so a refusal in a twisted world, beside success in the
//! straight one, shows what refused it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drawbridge::client::{Client, Trust};
use drawbridge::{Hint, Limits, Scope, Secret, Storage, Tls, Tokens};
use keep::backend::Nil;
use keep::{Backend, Folders, Stdio};
use silicon::{Amd, Product};
use steward::policy::Policy;
use tempfile::TempDir;
use workload::Digest;
use workload::names::{DnsName, Name, Repository, Tag};
use workload::package::{Built, Package, Program};
use workload::reference::Location;

use crate::command::deploy::Platform;
use crate::command::listen;
use crate::command::platform::hex;
use crate::command::push::push_release;
use crate::deploy::Request;
use crate::failure::Failure;
use crate::owner::{Owner, Plan, Pushed, Sealed};
use crate::signed::Before;

/// The service that is deployed (`guest/programs/greeter`).
static GREETER: &[u8] = include_bytes!(env!("DONJON_GREETER"));

/// The names of this world. `.internal` is nobody's on the public Internet.
const TRUST_DOMAIN: &str = "demo.internal";
const NAME: &str = "greeter.demo.internal";
const REPOSITORY: &str = "demo/greeter";
const ROLE: &str = "web";
const DEPLOYMENT: &str = "greeter";

/// Guest policy bit 19, DEBUG (AMD 56860, guest policy structure).
pub(crate) const POLICY_DEBUG: u64 = 1 << 19;

/// What is wrong in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Twist {
    /// Nothing.
    Straight,
    /// Step 1: the Deployment's signature is not the owner's.
    ForgedDeployment,
    /// Step 2: nobody answers where the Drawbridge should be.
    NoDrawbridge,
    /// Step 3: the digest asked for is not one the owner signed for.
    UnsignedWorkload,
    /// Step 4: more host-supplied environment than a brief can carry.
    BriefTooLong,
    /// Step 5: a platform without a TEE.
    NoEvidence,
    /// Step 6: a revocation list so long that no certificate request can carry it.
    HugeRevocationList,
    /// Step 7: the Steward is gone when the Keep comes with its request.
    StewardGone,
    /// Step 8: somebody between Keep and Steward answers with a certificate of his.
    FalseSteward,
    /// Step 9: the Drawbridge is gone when the Keep comes with its certificate.
    DrawbridgeGone,
    /// Step 10: the owner's release policy is for other Keeps.
    OtherMeasurement,
    /// Step 11: the store lost the program.
    LostProgram,
    /// Step 12: somebody changed the program in the store.
    ChangedProgram,
    /// Step 13: the program is not WebAssembly beyond its first bytes.
    BrokenProgram,
    /// The host launched the Keep with debugging allowed.
    DebugKeep,
    /// The host put another hash into the launch field than that of the brief it shows to the Keep.
    OtherBrief,
    /// The host has the firmware sign evidence over another key than the Keep's.
    OtherKey,
    /// The Deployment is well signed, by an owner whom the Steward's policy does not know.
    StrangerOwner,
    /// The brief says to believe another Steward.
    OtherSteward,
}

impl Twist {
    /// The fault of each step, in order.
    pub(crate) const FAULTS: [Self; 13] = [
        Self::ForgedDeployment,
        Self::NoDrawbridge,
        Self::UnsignedWorkload,
        Self::BriefTooLong,
        Self::NoEvidence,
        Self::HugeRevocationList,
        Self::StewardGone,
        Self::FalseSteward,
        Self::DrawbridgeGone,
        Self::OtherMeasurement,
        Self::LostProgram,
        Self::ChangedProgram,
        Self::BrokenProgram,
    ];
}

/// Everything that runs and lies around.
pub(crate) struct World {
    dir: TempDir,
    twist: Twist,
    platform: Platform,
    pub(crate) silicon: Arc<Amd>,
    steward: Option<steward::Handle>,
    pub(crate) steward_url: String,
    /// The Steward's root: digest of its key, and the certificate.
    pub(crate) anchor: Digest,
    pub(crate) root_pem: String,
    drawbridge: Option<drawbridge::Handle>,
    drawbridge_at: SocketAddr,
    pub(crate) drawbridge_pin: Digest,
    pub(crate) repository: Repository,
    pub(crate) sealed: Sealed,
    pub(crate) workload: Digest,
    pub(crate) owner: Owner,
    pub(crate) name: DnsName,
    /// A server in the middle, if the twist wants one.
    middle: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// Builds it. The silicon's seed is fixed: the demo's machine is always the same one.
    pub(crate) async fn build(twist: Twist, platform: Platform) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("donjon-demo-")
            .tempdir()
            .map_err(|error| Failure::caused("cannot make a temporary folder", &error))?;
        let at = dir.path();
        let silicon = Arc::new(Amd::from_seed([0; 32], Product::Genoa));
        let image = platform.measurement()?;
        let (owner, _) = Owner::open(&at.join("owner.pem"))?;
        let repository: Repository = parse(REPOSITORY)?;

        let steward = steward(at, &silicon, image, &registered(at, twist, &owner)?).await?;
        let (hint, middle) = hint(&steward, twist).await?;

        let built = package(twist)?;
        let token = Secret::generate().map_err(|error| Failure::caused("cannot make a token", &error))?;
        let drawbridge = drawbridge(at, &repository, &owner, &token, hint).await?;

        let plan = write(at, "Deployment.toml", &plan(&steward.anchor, twist))?;
        let sealed = Plan::read(&plan)?.seal(
            &owner,
            Some(&Pushed { role: &parse::<Name>(ROLE)?, workload: built.digest, published: None }),
            &repository,
            &[image],
            &Before::default(),
        )?;
        let authority = format!("localhost:{}", drawbridge.local_addr.port());
        let client = Client::new(parse(&authority)?, Trust::of(&[drawbridge.pin]))
            .map_err(|error| Failure::from_client("cannot speak to the Drawbridge", &error))?
            .with_token(token);
        push_release(&client, &repository, &sealed).await?;
        let tag: Tag = parse("latest")?;
        let workload = client
            .push(&repository, &built, Some(&tag), |_| {})
            .await
            .map_err(|error| Failure::from_client("the push failed", &error))?;
        spoil(at, twist, &built)?;

        let (drawbridge_at, drawbridge_pin) = (drawbridge.local_addr, drawbridge.pin);
        let mut world = Self {
            twist,
            platform,
            silicon,
            steward_url: steward.url(),
            anchor: steward.anchor,
            root_pem: steward.root_pem.clone(),
            steward: Some(steward),
            drawbridge: Some(drawbridge),
            drawbridge_at,
            drawbridge_pin,
            repository,
            sealed,
            workload,
            owner,
            name: parse(NAME)?,
            middle,
            dir,
        };
        if twist == Twist::NoDrawbridge {
            world.lose_drawbridge().await;
        }
        Ok(world)
    }

    /// What the administrator asks for.
    pub(crate) fn request(&self) -> Result<Request, Failure> {
        let twist = self.twist;
        let mut deployment = self.sealed.deployment.clone();
        if twist == Twist::ForgedDeployment
            && let Some(last) = deployment.last_mut()
        {
            *last ^= 1;
        }
        let digest = if twist == Twist::UnsignedWorkload { Digest::of(b"something else") } else { self.workload };
        let text = format!("{}/{}@{digest}", self.registry(), self.repository);
        let anchors = if twist == Twist::OtherSteward {
            vec![Digest::of(b"the root key of another Steward")]
        } else {
            Vec::new()
        };
        let env = match twist {
            Twist::BriefTooLong => vec![("LONG".to_owned(), "x".repeat(workload::brief::BRIEF_LIMIT))],
            _ => Vec::new(),
        };
        Ok(Request {
            location: parse::<Location>(&text)?,
            drawbridge_pins: vec![self.drawbridge_pin],
            steward_pins: Vec::new(),
            anchors,
            deployment: Some(deployment),
            signature: None,
            role: Some(parse(ROLE)?),
            trust_domain: None,
            args: Vec::new(),
            env,
            listen: BTreeMap::from([("web".to_owned(), "127.0.0.1:0".to_owned())]),
            folders: Folders::default(),
            memory: keep::Memory::default(),
            cache: None,
            stdio: Stdio::Null,
        })
    }

    /// `host:port` of the Drawbridge.
    pub(crate) fn registry(&self) -> String {
        format!("localhost:{}", self.drawbridge_at.port())
    }

    /// The machine the Keep is started on, and who controls it.
    pub(crate) fn backend(&self) -> Box<dyn Backend> {
        let sim = self.platform.on(Arc::clone(&self.silicon));
        match self.twist {
            Twist::NoEvidence => Box::new(Nil),
            // Each entry takes some 40 bytes; a certificate request carries 256 KiB in all.
            Twist::HugeRevocationList => Box::new(sim.with_revoked((1_000_000..1_012_000).collect())),
            Twist::DebugKeep => Box::new(sim.with_hostile_host(|request| request.policy |= POLICY_DEBUG)),
            Twist::OtherBrief => {
                Box::new(sim.with_hostile_host(|request| request.host_data = workload::brief::hash(b"another brief")))
            }
            Twist::OtherKey => Box::new(sim.with_hostile_host(|request| request.report_data = [7; 64])),
            _ => Box::new(sim),
        }
    }

    /// What changes in the world once this step is done.
    pub(crate) async fn after(&mut self, step: u8) {
        match (self.twist, step) {
            (Twist::StewardGone, 6) => self.lose_steward().await,
            (Twist::DrawbridgeGone, 8) => self.lose_drawbridge().await,
            _ => {}
        }
    }

    async fn lose_steward(&mut self) {
        if let Some(steward) = self.steward.take() {
            steward.shutdown().await;
        }
    }

    async fn lose_drawbridge(&mut self) {
        if let Some(drawbridge) = self.drawbridge.take() {
            drawbridge.shutdown().await;
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops the services and removes the folder.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        self.lose_drawbridge().await;
        self.lose_steward().await;
        if let Some(middle) = self.middle {
            middle.abort();
        }
        self.dir.close().map_err(|error| Failure::caused("cannot remove the temporary folder", &error))
    }
}

/// Whose Deployments the Steward's policy knows.
fn registered(dir: &Path, twist: Twist, owner: &Owner) -> Result<Digest, Failure> {
    if twist == Twist::StrangerOwner {
        return Ok(Owner::open(&dir.join("somebody-else.pem"))?.0.digest());
    }
    Ok(owner.digest())
}

async fn steward(dir: &Path, silicon: &Amd, image: [u8; 48], owner: &Digest) -> Result<steward::Handle, Failure> {
    write(dir, "ark.pem", &silicon.product().ark_pem())?;
    let policy = write(
        dir,
        "steward.toml",
        &format!(
            "# Accepts Keeps of this program on one simulated machine. Never use this policy for anything real.\n\
             trust_domain = \"{TRUST_DOMAIN}\"\n\
             class = \"insecure\"\n\
             platforms = [\"{}\"]\n\
             insecure_roots = [\"ark.pem\"]\n\n\
             [snp]\n\
             hash = [\"{}\"]\n\n\
             [[name]]\n\
             owner = \"{owner}\"\n\
             deployment = \"{DEPLOYMENT}\"\n\
             dns = \"{NAME}\"\n",
            hex(&silicon.chip_id()),
            hex(&image),
        ),
    )?;
    let policy = Policy::read(&policy).map_err(|error| Failure::hinted(&error, error.hint()))?;
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    steward::serve(steward::Settings::new(policy), listener)
        .await
        .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("cannot start the Steward"))
}

/// What the Drawbridge will say about the Steward. A false Steward stands in between: it passes nonces on, and answers a
/// request with the CA's own certificate, which is genuine but not this Keep's.
async fn hint(steward: &steward::Handle, twist: Twist) -> Result<(Hint, Option<tokio::task::JoinHandle<()>>), Failure> {
    let anchors = vec![steward.anchor];
    if twist != Twist::FalseSteward {
        return Ok((Hint { url: steward.url(), anchors }, None));
    }
    let (url, root) = (steward.url(), steward.root_pem.clone());
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr().map_err(|error| Failure::caused("loopback", &error))?;
    let authority = url.trim_start_matches("http://").to_owned();
    let router = axum::Router::new()
        .route("/nonce", axum::routing::get(async move || super::outsider::plain_get(&authority, "/nonce").await))
        .route("/", axum::routing::post(async move || ([("content-type", identity::pem::PEM_MEDIA_TYPE)], root)));
    let served = tokio::spawn(async move {
        // It serves as long as the demo runs; what ends it early shows as a failure of the step that meets it.
        _ = axum::serve(listener, router).await;
    });
    Ok((Hint { url: format!("http://{address}"), anchors }, Some(served)))
}

async fn drawbridge(
    dir: &Path,
    repository: &Repository,
    owner: &Owner,
    token: &Secret,
    hint: Hint,
) -> Result<drawbridge::Handle, Failure> {
    let settings = write(
        dir,
        "drawbridge.toml",
        &format!("[repository.\"{repository}\"]\nowner = \"{}\"\naccess = \"confidential\"\n", owner.digest()),
    )?;
    let scope: Scope = parse(repository.as_ref())?;
    let entry = Tokens::entry(&parse("demo")?, token, &[scope]);
    let tokens = Tokens::parse("tokens.toml", &entry)
        .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("tokens"))?;
    let text = std::fs::read_to_string(&settings)
        .map_err(|error| Failure::caused(format_args!("cannot read {}", settings.display()), &error))?;
    let declared = drawbridge::read("drawbridge.toml", &text).map_err(|error| Failure::hinted(&error, error.hint()))?;
    let tls = Tls::self_made(&["localhost".to_owned()])
        .map_err(|error| Failure::hinted(&error, Some(error.hint())).prefixed("TLS"))?;
    let settings = drawbridge::Settings {
        tls,
        store: Storage::directory(dir.join("store")),
        tokens,
        declared: drawbridge::Declared { steward: Some(hint), ..declared },
        limits: Limits::default(),
    };
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    drawbridge::serve(settings, listener)
        .await
        .map_err(|error| Failure::hinted(&error, error.hint()).prefixed("cannot start the Drawbridge"))
}

fn package(twist: Twist) -> Result<Built, Failure> {
    let manifest = format!(
        "kind = \"{}\"\n{}",
        if twist == Twist::BrokenProgram { "auto" } else { "http" },
        "[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"https\"\n"
    );
    let manifest = workload::manifest::Manifest::from_toml("Donjon.toml", &manifest)
        .map_err(|error| Failure::hinted(&error, error.hint()))?;
    let mut program = GREETER.to_vec();
    if twist == Twist::BrokenProgram {
        program.truncate(program.len() / 2);
    }
    let program = Program::detect(program).map_err(|error| Failure::caused("the greeter", &error))?;
    Package::build(&manifest, program, Vec::new()).map_err(|error| Failure::caused("cannot pack the greeter", &error))
}

fn plan(anchor: &Digest, twist: Twist) -> String {
    let measurements = match twist {
        Twist::OtherMeasurement => format!("measurements = [\"{}\"]\n", "42".repeat(48)),
        _ => String::new(),
    };
    format!(
        "deployment = \"{DEPLOYMENT}\"\n\
         trust_domain = \"{TRUST_DOMAIN}\"\n\n\
         [role.{ROLE}]\n\
         names = [\"{NAME}\"]\n\n\
         [release]\n\
         class = \"insecure\"\n\
         anchors = [\"{anchor}\"]\n{measurements}"
    )
}

/// Loses or changes the program behind the Drawbridge's back.
fn spoil(dir: &Path, twist: Twist, built: &Built) -> Result<(), Failure> {
    if !matches!(twist, Twist::LostProgram | Twist::ChangedProgram) {
        return Ok(());
    }
    let Some((program, _)) = built.blobs.last() else { return Err(Failure::new("the package has no program")) };
    let file = find(&dir.join("store/objects"), &program.digest)
        .ok_or_else(|| Failure::new("the store does not have the program"))?;
    let spoilt = if twist == Twist::LostProgram {
        std::fs::remove_file(&file)
    } else {
        std::fs::read(&file).and_then(|mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes)
        })
    };
    spoilt.map_err(|error| Failure::caused("cannot spoil the store", &error))
}

/// The file with these bytes: its name says nothing.
fn find(dir: &Path, digest: &Digest) -> Option<PathBuf> {
    dir.read_dir().ok()?.filter_map(Result::ok).find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, digest)
        } else {
            std::fs::read(&path).is_ok_and(|bytes| Digest::of(&bytes) == *digest).then_some(path)
        }
    })
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let file = dir.join(name);
    std::fs::write(&file, text)
        .map_err(|error| Failure::caused(format_args!("cannot write {}", file.display()), &error))?;
    Ok(file)
}

fn parse<T: std::str::FromStr<Err: std::error::Error>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Failure::caused(format_args!("`{text}`"), &error))
}
