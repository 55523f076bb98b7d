//! How a workload comes into the Keep: from the host by digest, or from a Drawbridge with the Keep's certificate; and from there,
//! once it is known to be the right one, its secrets.
//!
//! Owns the transport only; what is fetched, in which order, and that every byte is checked before anything reads it, is
//! [`workload::pull`]'s. Both ways use the same machine, so neither can be laxer. Invariant: no secret comes from the host.

use std::sync::Arc;

use workload::brief::Brief;
use workload::digest::Digest;
use workload::names::Repository;
use workload::pull::{Fetch, Pull, PullError, Step as Next, Workload};
use workload::secrets::{self, RELEASED_LIMIT, Released, Wanted};

use crate::connect::{Answer, Connection, Endpoint};
use crate::enrol::Identity;
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};

/// Whether there is already what a program compiles to, by its digest: then it is not fetched.
pub(crate) trait Spares: FnMut(&mut Platform, &Fetch) -> Result<bool, Refusal> {}
impl<T: FnMut(&mut Platform, &Fetch) -> Result<bool, Refusal>> Spares for T {}

/// Takes the workload of the brief from the host.
pub(crate) fn from_host(platform: &mut Platform, brief: &Brief, mut spares: impl Spares) -> Result<Workload, Refusal> {
    let mut pull = Pull::new(brief.workload);
    while let Next::Fetch(fetch) = pull.next() {
        if fetch.spare && spares(platform, &fetch)? {
            pull.spare().map_err(defect)?;
            continue;
        }
        let mut offset = 0;
        loop {
            let fed = platform.blob(*fetch.digest.as_bytes(), offset, |total, bytes| {
                pull.feed(bytes).map(|()| (total, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
            })?;
            let Some(fed) = fed else {
                return Err(Refusal::new(
                    Step::Delivery,
                    "host.absent",
                    format_args!("the host has no {:?} with digest {}", fetch.what, fetch.digest),
                    "launch with the workload whose digest is in the brief",
                ));
            };
            let (total, length) = fed.map_err(|error| refused(&fetch, &error))?;
            offset = offset.saturating_add(length);
            // A host that sends nothing, or claims a length it never reaches, meets the digest check at the end.
            if length == 0 || offset >= total {
                break;
            }
        }
        pull.complete().map_err(|error| refused(&fetch, &error))?;
    }
    pull.into_workload().map_err(defect)
}

/// Takes the workload of the brief from the Drawbridge it names, and the secrets that its manifest names.
pub(crate) async fn from_drawbridge(
    platform: &mut Platform,
    brief: &Brief,
    authority: &str,
    repository: &str,
    pins: &[Digest],
    identity: Option<&Arc<Identity>>,
    mut spares: impl Spares,
) -> Result<(Workload, Released), Refusal> {
    let repository: Repository = repository.parse().map_err(|error| {
        Refusal::new(Step::Launch, "brief.invalid", error, "launch with a brief that this version of Donjon made")
    })?;
    let to = Endpoint { who: "the Drawbridge", step: Step::Drawbridge, authority, tls: Some(pins), identity };
    let mut connection = Connection::open(platform, &to).await?;
    platform.milestone(Step::Drawbridge, &format!("mutual TLS 1.3 with {authority}"))?;

    let mut pull = Pull::new(brief.workload);
    let (mut blobs, mut bytes, mut first) = (0_u32, 0_u64, true);
    while let Next::Fetch(fetch) = pull.next() {
        if fetch.spare && spares(platform, &fetch)? {
            pull.spare().map_err(defect)?;
            continue;
        }
        let headers = [("accept".to_owned(), fetch.accept().to_owned())];
        let mut answer = connection.send("GET", &fetch.path(&repository), &headers, Vec::new()).await?;
        if answer.status() != 200 {
            return Err(if first { denied(answer, brief, &repository).await } else { incomplete(&answer, &fetch) });
        }
        if std::mem::take(&mut first) {
            platform.milestone(Step::Release, &format!("the Drawbridge releases {repository}"))?;
        }
        while let Some(chunk) = answer.chunk().await? {
            bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            pull.feed(&chunk).map_err(|error| refused(&fetch, &error))?;
        }
        blobs = blobs.saturating_add(1);
        if let Err(error) = pull.complete() {
            // What was asked for came, whole, and is something else.
            platform.milestone(Step::Delivery, &format!("{blobs} blobs, {bytes} bytes"))?;
            return Err(refused(&fetch, &error));
        }
    }
    platform.milestone(Step::Delivery, &format!("{blobs} blobs, {bytes} bytes"))?;
    let workload = pull.into_workload().map_err(defect)?;
    platform.milestone(Step::Digest, &workload.digest.to_string())?;
    let wanted = Wanted { secrets: workload.manifest.secrets() };
    let released = if wanted.secrets.is_empty() {
        Released::default()
    } else {
        released(platform, &mut connection, &repository, wanted).await?
    };
    Ok((workload, released))
}

/// Asks for secrets, with the certificate that the workload came by.
async fn released(
    platform: &mut Platform,
    connection: &mut Connection,
    repository: &Repository,
    wanted: Wanted,
) -> Result<Released, Refusal> {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    let answer = connection.send("POST", &secrets::path(repository), &headers, wanted.to_json()).await?;
    let status = answer.status();
    if status != 200 {
        let names = wanted.secrets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Refusal::new(
            Step::Release,
            "secrets.denied",
            format_args!("the Drawbridge answers {status} for the secrets {names} of {repository}"),
            "either one is not there, or the release policy does not give it to this workload, or the certificate is too old: \
             the Drawbridge's log has the reason",
        ));
    }
    let answer = answer.whole(RELEASED_LIMIT).await?;
    let released = Released::parse(&answer, &wanted.secrets).map_err(|error| {
        Refusal::new(
            Step::Release,
            "secrets.invalid",
            error,
            "this is not what the protocol allows: check whom the brief names",
        )
    })?;
    platform.milestone(Step::Release, &format!("{} secrets", wanted.secrets.len()))?;
    Ok(released)
}

/// A Drawbridge answers to the unentitled as if there were nothing, so the refusal names both reasons.
async fn denied(answer: Answer, brief: &Brief, repository: &Repository) -> Refusal {
    let status = answer.status();
    let body = answer.whole(4096).await.unwrap_or_default();
    Refusal::new(
        Step::Release,
        "drawbridge.denied",
        format_args!(
            "the Drawbridge answers {status} for {repository}@{}: {}",
            brief.workload,
            String::from_utf8_lossy(&body).trim()
        ),
        "either it is not there, or its release policy does not cover this Keep: the Drawbridge's log has the reason",
    )
}

/// The manifest came, so the release was granted; a part of it that does not come is lost.
fn incomplete(answer: &Answer, fetch: &Fetch) -> Refusal {
    Refusal::new(
        Step::Delivery,
        "drawbridge.incomplete",
        format_args!(
            "the Drawbridge answers {} for a part of the workload, {:?} {}",
            answer.status(),
            fetch.what,
            fetch.digest
        ),
        "the store lost it: push the workload again",
    )
}

fn refused(fetch: &Fetch, error: &PullError) -> Refusal {
    let (step, code) = match error {
        PullError::Check { .. } => (Step::Digest, "workload.digest"),
        PullError::Program(_) => (Step::Program, "wasm.magic"),
        PullError::Memory(_) => (Step::Delivery, "workload.memory"),
        _ => (Step::Digest, "workload.invalid"),
    };
    let hint = match error {
        PullError::Check { .. } => "somebody changed the bytes on the way or in the store: push the workload again",
        PullError::Program(_) => "build for wasm32-wasip1 or wasm32-wasip2, and give the .wasm file itself",
        PullError::Memory(_) => "give the Keep more memory, or make the program smaller",
        _ => "pack it with `donjon pack` of this version",
    };
    Refusal::new(step, code, format_args!("{:?} {}: {error}", fetch.what, fetch.digest), hint)
}

fn defect(error: PullError) -> Refusal {
    Refusal::new(Step::Delivery, "workload.defect", error, "this is a defect of the Keep: report it")
}

#[cfg(test)]
mod tests {
    use gate::message::Outcome;
    use workload::digest::Size;
    use workload::pull::What;

    use super::*;

    /// A Keep without room is not a package of another version.
    #[test]
    fn too_little_memory_has_its_own_refusal() {
        let fetch = Fetch { what: What::Program, digest: Digest::of(b""), size: Size::Exactly(1 << 29), spare: true };
        let told = |error| match refused(&fetch, &error).outcome() {
            Outcome::Refused { step, code, message, hint } => {
                (step, code.to_owned(), message.contains(&error.to_string()), hint.contains("more memory"))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told(PullError::Memory(1 << 29)), (11, "workload.memory".to_owned(), true, true));
        let control = PullError::Manifest(workload::manifest::ManifestError::NotCanonical);
        assert_eq!(told(control), (12, "workload.invalid".to_owned(), true, false));
    }
}
