//! exec: the WebAssembly runtime inside a Keep, and what starts everything else there. The same static ELF runs on
//! every backend.
//!
//! Owns the order of a start (`trust.md` rule 11): brief, nonce, key and evidence, certificate, Drawbridge, each blob
//! checked before any parser sees it, program. Each phase takes what the one before it made, so that no step can be
//! skipped or come early.
//!
//! Refuses to run anything whose digest is not the one in the brief, and to accept a connection before step 13.
//!
//! Invariant: exactly one [`Outcome`] goes to the platform, and the process status is the same news for those who
//! cannot read it: the program's own status, 134 for a trap, 125 when the Keep refused, 128 and the signal's number when
//! its host wanted an end and the program is no service. Where a native program takes
//! exec's place there is none: how that one ends is seen from outside.

#![deny(unsafe_code)]

mod answer;
mod cache;
mod clock;
mod command;
mod connect;
mod deliver;
mod engine;
mod enrol;
mod files;
mod folder;
mod idle;
mod keys;
mod limits;
mod machine;
mod native;
mod network;
#[cfg(test)]
mod oracle;
mod outgoing;
mod own;
mod places;
mod platform;
mod refusal;
mod renew;
mod serve;
mod stdin;
mod sys;
mod tls;
mod wasi;
mod wish;

use std::sync::Arc;

use gate::end::Signal;
use gate::message::Outcome;
use workload::brief::{Brief, Source};
use workload::manifest::{AbsentVariable, Kind, Manifest};
use workload::package::Program;
use workload::pull::Fetch;
use workload::secrets::Released;

use crate::cache::Cache;
use crate::enrol::Identity;
use crate::network::Network;
use crate::own::Own;
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};
use crate::wasi::World;
use crate::wish::Wish;

#[global_allocator]
static HEAP: sys::heap::Heap = sys::heap::Heap;

/// How a program ended: by itself, or because its host wanted it to.
pub(crate) enum Ended {
    Exit(u8),
    Trap,
}

fn main() -> std::process::ExitCode {
    let mut platform = Platform::new(sys::platform());
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Refusal::new(Step::Program, "exec.start", error, "this is a defect of the Keep: report it"))
        .and_then(|runtime| runtime.block_on(start(&mut platform)));
    let (outcome, status) = match &ended {
        Ok(Ended::Exit(status)) => (Outcome::Exit(*status), *status),
        Ok(Ended::Trap) => (Outcome::Trap, 134),
        Err(refusal) => (refusal.outcome(), 125),
    };
    // Without a platform to tell, the status alone has to do.
    let told = platform.outcome(outcome);
    std::process::ExitCode::from(if told.is_ok() { status } else { 125 })
}

/// The whole life of a Keep. Only a service hears its host's wish for an end by itself; all else ends where it is, as a
/// process does that has no handler for a signal.
async fn start(platform: &mut Platform) -> Result<Ended, Refusal> {
    let wish = Wish::new()?;
    let by = |signal: Signal| Ok(Ended::Exit(signal.status()));
    let Ready { program, kind, manifest, identity, world } = match wish.unless(prepare(platform)).await {
        Ok(ready) => ready?,
        Err(signal) => return by(signal),
    };
    match kind {
        Kind::Http => serve::serve(platform, world, &manifest, &program, identity.as_ref(), &wish).await,
        Kind::Auto | Kind::Command => {
            platform.milestone(Step::Program, "the program runs")?;
            wish.unless(command::run(&world, &manifest, &program)).await.unwrap_or_else(by)
        }
    }
}

/// What a program needs to begin.
struct Ready {
    program: engine::Program,
    kind: Kind,
    manifest: Manifest,
    identity: Option<Arc<Identity>>,
    world: World,
}

/// All that comes before a program's first instruction.
async fn prepare(platform: &mut Platform) -> Result<Ready, Refusal> {
    let brief_bytes = platform.brief()?;
    let brief = Brief::decode(&brief_bytes).map_err(|error| {
        Refusal::new(Step::Launch, "brief.invalid", error, "launch with a brief that this version of Donjon made")
    })?;

    let identity = match &brief.steward {
        Some(steward) => Some(Arc::new(enrol::enrol(platform, &brief_bytes, steward).await?)),
        None => None,
    };
    let (mut cache, mut kept) = (None, None);
    let spares = |platform: &mut Platform, fetch: &Fetch| {
        cache = Cache::new(platform, &brief_bytes, fetch.digest, fetch.size.limit())?;
        kept = cache.as_ref().map(|cache| engine::Program::kept(platform, cache)).transpose()?.flatten();
        Ok(kept.is_some())
    };
    let (mut workload, secrets) = match &brief.source {
        Source::Host => (deliver::from_host(platform, &brief, spares)?, Released::default()),
        // A brief that names a Drawbridge names a Steward too, so there is a certificate to show.
        Source::Drawbridge { authority, repository, tls } => {
            deliver::from_drawbridge(platform, &brief, authority, repository, tls, identity.as_ref(), spares).await?
        }
    };

    let environment = workload.manifest.environment(&brief, &secrets).map_err(|absent| {
        let (code, hint) = match &absent {
            AbsentVariable::NoText { secret, .. } => ("secrets.text", format!("make `{secret}` a file, by [[secret]]")),
            AbsentVariable::Secret { name, .. } => (
                "secrets.absent",
                format!(
                    "deploy it from a Drawbridge; to try it out without a Steward, launch with `--env {name}=VALUE`"
                ),
            ),
            AbsentVariable::Host { name, .. } => {
                ("env.absent", format!("launch with `--env {name}=VALUE`, or give it a `default` in the manifest"))
            }
            _ => ("env.absent", String::new()),
        };
        Refusal::new(Step::Program, code, &absent, hint)
    })?;
    let places = workload.manifest.file.iter().map(|file| file.path.clone());
    let mut files: Vec<_> = places.zip(std::mem::take(&mut workload.files)).collect();
    for file in &workload.manifest.secret {
        let secret = secrets.get(&file.name).ok_or_else(|| {
            Refusal::new(
                Step::Program,
                "secrets.absent",
                format_args!("the manifest wants the secret `{}` as {}, and nobody delivered it", file.name, file.path),
                "deploy it from a Drawbridge: nobody else has secrets",
            )
        })?;
        files.push((file.path.clone(), secret.current.clone()));
        files.extend(file.previous.clone().zip(secret.previous.clone()));
    }
    if let Some(identity) = &identity {
        identity.require(&workload.manifest.identity.names)?;
    }
    for key in workload.manifest.debug.said() {
        // A launcher that never saw the manifest has nobody else to learn it from.
        platform.milestone(Step::Digest, &format!("debug.{key}"))?;
    }

    let program = match (kept, &workload.program) {
        (Some(program), _) => program,
        (None, Some(Program::Wasm(wasm))) => {
            engine::Program::compile(platform, cache.as_ref(), wasm, &workload.manifest)?
        }
        (None, Some(Program::Elf(elf))) => {
            // It will not hear what came meanwhile.
            tokio::task::yield_now().await;
            let (brief, manifest) = ((&brief, brief_bytes.as_slice()), &workload.manifest);
            match native::run(platform, brief, manifest, environment, elf, &files, identity.as_deref())? {}
        }
        (None, None) => {
            let why = "a program was spared, and is not kept";
            return Err(Refusal::new(Step::Delivery, "exec.defect", why, "this is a defect of the Keep: report it"));
        }
    };
    let own = Arc::new(Own::new(platform.clone(), &brief, &brief_bytes, identity.as_ref()));
    if let (Some(identity), Some(steward)) = (&identity, &brief.steward) {
        if let Some(lifetime) = workload.manifest.identity.lifetime {
            identity.limit(lifetime.duration());
        }
        tokio::spawn(renew::keep(Arc::clone(identity), platform.clone(), brief_bytes, steward.clone()));
    }
    let network = Network::new(platform.clone(), &brief, &workload.manifest, &files, &secrets, identity.as_ref())?;
    let folders = folder::all(platform, &workload.manifest.mount)?;
    let world = World::new(&brief, &workload.manifest, environment, files, folders, network, own);
    let world = world.map_err(|fault| {
        Refusal::new(
            Step::Program,
            "files.place",
            format_args!("the files of the manifest cannot be where it says: {fault}"),
            "give each file and each mount of the manifest its own path",
        )
    })?;
    let kind = program.kind(&workload.manifest)?;
    // None of this may have waited for anything: now a wish that came meanwhile is heard before the program begins.
    tokio::task::yield_now().await;
    Ok(Ready { program, kind, manifest: workload.manifest, identity, world })
}
