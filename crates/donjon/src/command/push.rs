//! `donjon push`: a package into a registry and, where a `Deployment.toml` says so, the owner's signatures with it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drawbridge::client::{Client, ClientError, Progress};
use drawbridge::{RELEASE_ARTIFACT_TYPE, RELEASE_TAG};
use identity::release::RELEASE_MEDIA_TYPE;
use indicatif::{ProgressBar, ProgressStyle};
use workload::Digest;
use workload::names::{Name, Repository};
use workload::package::Built;
use workload::reference::Location;

use crate::command::deploy::Platform;
use crate::command::runtime;
use crate::failure::Failure;
use crate::owner::{Owner, PLAN, Plan, Sealed};
use crate::project::Project;
use crate::registry::Registry;
use crate::signed::{Follow, Places, Staged};

/// Push a program and its manifest to a registry; prints the workload's digest.
///
/// With a Deployment.toml beside the manifest the owner key signs a Deployment (written as deployment.cose, for `donjon
/// deploy`) and a release policy, which is pushed first. The policy that each registry took is kept in signed/; keep that
/// folder with the project, because versions count on from it. In the Deployment the pushed workload takes the place of the
/// one that was pushed for this role before; other roles keep theirs.
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
        let sealed = if dir.join(PLAN).exists() { Some(self.seal(dir, &places, &built)?) } else { None };
        // On the disk before anything is sent, in its place only after it was taken: else a push that fails would have later
        // ones follow what the registry never saw.
        let mut staged = None;
        if let Some(Sealed { deployment, release }) = &sealed {
            let release = Staged::new(&places.release, release)?;
            staged = Some((Staged::new(&places.deployment, deployment)?, release));
        }

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
            taken.map_or(Ok(()), Staged::commit)?;
            Ok::<_, Failure>(digest)
        })?;
        bar.finish_and_clear();
        if sealed.is_some() {
            eprintln!("donjon: signed {} and {}", places.deployment.display(), places.release.display());
        }
        println!("{digest}");
        Ok(ExitCode::SUCCESS)
    }

    fn seal(&self, dir: &Path, places: &Places, built: &Built) -> Result<Sealed, Failure> {
        let file = self.owner_key.clone().map_or_else(Owner::home, Ok)?;
        let owner = Owner::read(&file)?;
        let images = [Platform::Sim.measurement()?, Platform::SimSnp.measurement()?];
        let plan = Plan::read(&dir.join(PLAN))?;
        let before = places.before(&owner, self.continue_from, self.revoked.clone())?;
        plan.seal(&owner, &self.role, built.digest, &self.location.repository, &images, &before)
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
