//! `donjon push`: a package into a registry and, where a `Deployment.toml` says so, the owner's signatures with it; `donjon policy
//! set`: these alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drawbridge::client::{Client, ClientError, Progress};
use drawbridge::{RELEASE_ARTIFACT_TYPE, RELEASE_TAG};
use identity::release::RELEASE_MEDIA_TYPE;
use indicatif::{ProgressBar, ProgressStyle};
use workload::Digest;
use workload::names::{Name, Repository};
use workload::package::{Descriptor, MANIFEST};
use workload::reference::Location;

use crate::command::deploy::Platform;
use crate::command::runtime;
use crate::command::sign::{Publisher, SIGNATURE};
use crate::failure::Failure;
use crate::owner::{Owner, PLAN, Plan, Pushed, Sealed};
use crate::project::Project;
use crate::registry::Registry;
use crate::signed::{Follow, Places, Staged};

/// Push a program and its manifest to a registry; prints the workload's digest.
///
/// With a Deployment.toml beside the manifest the owner key signs a Deployment (written as deployment.cose, for `donjon
/// deploy`) and a release policy, which is pushed first. The policy that each registry took is kept in signed/; keep that
/// folder with the project, because versions count on from it. In the Deployment the pushed workload takes the place of the
/// one that was pushed for this role before; other roles keep theirs. A role with `products` is for what their publishers sign: --product
/// and --svn sign the workload as it is pushed, and write the signature as workload.sig, for `donjon deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Where to: HOST:PORT/REPOSITORY:TAG; port 443 and the tag may be left out.
    location: Location,
    /// A program (WebAssembly or static-PIE ELF), a Donjon.toml, or a folder that has one.
    #[arg(default_value = ".")]
    project: PathBuf,
    #[command(flatten)]
    registry: Registry,
    /// Which role of Deployment.toml the workload plays.
    #[arg(long, default_value = "main")]
    role: Name,
    #[command(flatten)]
    signing: Signing,
    /// Sign it as this product, too.
    #[arg(long, value_name = "NAME", requires = "svn")]
    product: Option<Name>,
    /// In this security version: count it up where no older one must run any more.
    #[arg(long, value_name = "NUMBER", requires = "product")]
    svn: Option<u64>,
    /// By this publisher's private key, PKCS#8 in PEM; without it by the owner key.
    #[arg(long, value_name = "FILE", requires = "product")]
    publisher_key: Option<PathBuf>,
}

/// Sign what a Deployment.toml says, and put its release policy in force, without pushing a workload.
///
/// Roles keep what was pushed for them. Write down what shall hold from now on, such as who may fetch, from which version of a product
/// on, or with which secrets, and set it; --revoke takes a workload out.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Policy {
    /// Sign it anew where something has changed, and put it in force.
    Set(Set),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    location: Location,
    /// The folder that has Deployment.toml.
    #[arg(default_value = ".")]
    project: PathBuf,
    #[command(flatten)]
    registry: Registry,
    #[command(flatten)]
    signing: Signing,
}

/// By whom, and after what, Deployment and release policy are signed.
#[derive(Debug, clap::Args)]
struct Signing {
    /// The owner key; default as for `donjon init`, which makes it.
    #[arg(long, value_name = "FILE", env = "DONJON_OWNER_KEY")]
    owner_key: Option<PathBuf>,
    /// Take this workload out of the other roles, which keep what was pushed for them. The release policies of other
    /// repositories follow with the next push to each.
    #[arg(long = "revoke", value_name = "DIGEST")]
    revoked: Vec<Digest>,
    /// Sign a release policy that follows this one, VERSION:sha256:…, instead of the one in signed/. A refused push tells
    /// which one is in force; say it only if it is yours, for the new one takes its place.
    #[arg(long, value_name = "VERSION:DIGEST")]
    continue_from: Option<Follow>,
}

impl Signing {
    fn owner_key(&self) -> Result<PathBuf, Failure> {
        self.owner_key.clone().map_or_else(Owner::home, Ok)
    }

    fn seal(
        &self,
        dir: &Path,
        places: &Places,
        pushed: Option<&Pushed<'_>>,
        repository: &Repository,
    ) -> Result<Sealed, Failure> {
        let owner = Owner::read(&self.owner_key()?)?;
        let images = [Platform::Sim.measurement()?, Platform::SimSnp.measurement()?];
        let plan = Plan::read(&dir.join(PLAN))?;
        let before = places.before(&owner, self.continue_from, self.revoked.clone())?;
        plan.seal(&owner, pushed, repository, &images, &before)
    }
}

impl Policy {
    #[allow(clippy::print_stderr, reason = "what happens is talk")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self::Set(Set { location, project, registry, signing }) = self;
        let places = Places::of(&project, &location);
        let sealed = signing.seal(&project, &places, None, &location.repository)?;
        let staged = Staged::new(&places.release, &sealed.release)?;
        let deployment = Staged::new(&places.deployment, &sealed.deployment)?;
        let client = registry.client(&location.authority)?;
        runtime()?.block_on(push_release(&client, &location.repository, &sealed))?;
        staged.commit()?;
        deployment.commit()?;
        eprintln!("donjon: signed {} and {}", places.deployment.display(), places.release.display());
        Ok(ExitCode::SUCCESS)
    }
}

impl Push {
    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "the digest is data, progress is talk")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let built = Project::read(&self.project)?.tell().pack_whole()?;
        let dir = if self.project.is_dir() {
            self.project.as_path()
        } else {
            self.project.parent().unwrap_or(Path::new("."))
        };
        let repository = &self.location.repository;
        let places = Places::of(dir, &self.location);
        let signature = match (&self.product, self.svn) {
            (Some(product), Some(svn)) => {
                let publisher = Publisher { product: product.clone(), svn, publisher_key: self.publisher_key.clone() };
                let described = Descriptor::of(MANIFEST, &built.manifest);
                Some(publisher.sign(&self.location, &described, || self.signing.owner_key())?)
            }
            _ => None,
        };
        let published = signature.as_ref().map(|signed| &signed.published);
        let pushed = Pushed { role: &self.role, workload: built.digest, published };
        let sealed = dir.join(PLAN).exists().then(|| self.signing.seal(dir, &places, Some(&pushed), repository));
        let sealed = sealed.transpose()?;
        // On the disk before anything is sent, in its place only after it was taken: else a push that fails would have later
        // ones follow what the registry never saw.
        let mut staged = None;
        if let Some(Sealed { deployment, release }) = &sealed {
            let release = Staged::new(&places.release, release)?;
            staged = Some((Staged::new(&places.deployment, deployment)?, release));
        }

        let saved = signature.as_ref().map(|signed| Staged::new(&dir.join(SIGNATURE), &signed.signature.encode()));
        let saved = saved.transpose()?;

        let client = self.registry.client(&self.location.authority)?;
        let bar = ProgressBar::new(built.blobs.iter().map(|(descriptor, _)| descriptor.size).sum());
        bar.set_style(
            ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message("pushing");
        let digest = runtime()?.block_on(async {
            let mut taken = None;
            if let (Some(sealed), Some((deployment, release))) = (&sealed, staged) {
                push_release(&client, repository, sealed).await?;
                // In force from now on, whatever becomes of the workload.
                release.commit()?;
                taken = Some(deployment);
            }
            let pushed = client.push(repository, &built, self.location.tag.as_ref(), advance(&bar)).await;
            let digest = pushed.map_err(|error| Failure::from_client("the push failed", &error))?;
            if let (Some(signed), Some(saved)) = (&signature, saved) {
                signed.push(&client, repository).await?;
                saved.commit()?;
            }
            taken.map_or(Ok(()), Staged::commit)?;
            Ok::<_, Failure>(digest)
        })?;
        bar.finish_and_clear();
        if sealed.is_some() {
            eprintln!("donjon: signed {} and {}", places.deployment.display(), places.release.display());
        }
        if signature.is_some() {
            eprintln!("donjon: signed {}", dir.join(SIGNATURE).display());
        }
        println!("{digest}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Before the workload: from its first byte on, the repository answers only to Keeps that the owner allows.
pub(crate) async fn push_release(client: &Client, repository: &Repository, sealed: &Sealed) -> Result<(), Failure> {
    let tag = RELEASE_TAG.parse().map_err(|error| Failure::caused("the release tag", &error))?;
    client
        .put_signed(repository, &tag, RELEASE_ARTIFACT_TYPE, RELEASE_MEDIA_TYPE, &sealed.release)
        .await
        .map(|_| ())
        .map_err(|error| {
            let failure = Failure::from_client("the release policy was not accepted", &error);
            match error {
                // Not done by itself: it would undo what the owner signed elsewhere, a revocation for example.
                ClientError::OutOfOrder { version, digest, .. } => failure.hint(format_args!(
                    "another policy of this owner is in force there; to put this one in its place: \
                     --continue-from {version}:{digest}"
                )),
                _ => failure,
            }
        })
}

/// Moves the bar. What is told of a blob is how much of it was sent so far.
fn advance(bar: &ProgressBar) -> impl FnMut(Progress) + Send + '_ {
    let mut done = 0;
    move |progress| match progress {
        Progress::Present { size, .. } => {
            done += size;
            bar.set_position(done);
        }
        Progress::Sent { sent, size, .. } => {
            bar.set_position(done + sent);
            if sent == size {
                done += size;
            }
        }
        _ => {}
    }
}
