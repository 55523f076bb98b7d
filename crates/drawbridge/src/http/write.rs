//! Writing: uploads, manifests, tags.
//!
//! Owns POST, PATCH and PUT (distribution-spec 1.1, "Push"): bytes go to the store as they come, and get a name only when
//! their digest is the one that was said. Refuses manifests that refer to what is not in the repository.
//! A writer of a confidential repository must not learn what others put there (`trust.md`, 14): there, what he refers to
//! must be what he pushed himself, and a mount needs the source's release like every other read.
//! Invariant: an answer 201 leaves only after what it acknowledges is on the disk.

use std::mem::take;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use workload::names::Repository;
use workload::package::MANIFEST_LIMIT;

use super::{Refusal, Service, UPLOAD_ID, created, decimal, header, query, received};
use crate::digest::{Digest, Mismatch, Reference};
use crate::login::Caller;
use crate::people::Organisation;
use crate::references::References;
use crate::release::{self, RELEASE_TAG};
use crate::settings::Access;
use crate::store::{Point, PutError, StoredManifest, Upload};
use crate::tls::Peer;

/// Says that a manifest's subject was understood (distribution-spec 1.1, "Pushing Manifests with Subject").
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// How long a body waits until another one has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a release policy that was overtaken by another is looked at anew.
const TRIES: usize = 16;

/// POST: mounts, takes a whole blob, or begins an upload.
pub(super) async fn begin(
    service: &Service,
    peer: &Peer,
    writer: &Caller,
    repository: &Repository,
    parts: &Parts,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let query = query(&parts.uri);
    if let (Some(mount), Some(from)) = (&query.mount, &query.from) {
        let digest: Digest = mount.parse().map_err(|_| Refusal::DigestInvalid)?;
        let from: Repository = from.parse().map_err(|_| Refusal::NameInvalid)?;
        let sight = service.sight(&from, peer, Some(writer)).await?;
        if sight.blob(&service.store, &digest).await? && service.store.blob(&from, &digest).await?.is_some() {
            sight.record(&service.store, "mount", &digest).await?;
            if service.store.mount(&from, &digest, repository, writer.name()).await? {
                return Ok(created(&format!("/v2/{repository}/blobs/{digest}"), &digest));
            }
        }
    }
    if let Some(digest) = &query.digest {
        let digest = digest.parse().map_err(|_| Refusal::DigestInvalid)?;
        let bound = Bound::new(service, repository, 0).await?;
        bound.check_length(&parts.headers, 0)?;
        let _slot = slot(service).await?;
        let mut upload = service.store.single(repository, writer.name())?;
        if let Err(refusal) = receive(&mut upload, take(body), &bound).await {
            upload.abandon().await?;
            return Err(refusal);
        }
        upload.publish(&digest).await?;
        return Ok(created(&format!("/v2/{repository}/blobs/{digest}"), &digest));
    }
    let id = service.store.begin(repository, writer.name()).await?;
    Ok(standing(StatusCode::ACCEPTED, repository, &id, 0))
}

/// GET: how far an upload is.
pub(super) async fn status(
    service: &Service,
    writer: &Caller,
    repository: &Repository,
    id: &str,
) -> Result<Response, Refusal> {
    let size = service.store.standing(id, repository, writer.name()).await?;
    Ok(standing(StatusCode::NO_CONTENT, repository, id, size))
}

/// PATCH: the next chunk.
pub(super) async fn chunk(
    service: &Service,
    writer: &Caller,
    repository: &Repository,
    id: &str,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let _slot = slot(service).await?;
    let mut upload = service.store.resume(id, repository, writer.name()).await?;
    let at = upload.size();
    check_order(headers, at)?;
    let bound = Bound::new(service, repository, at).await?;
    bound.check_length(headers, at)?;
    match receive(&mut upload, take(body), &bound).await {
        Ok(()) => Ok(standing(StatusCode::ACCEPTED, repository, id, upload.pause().await?)),
        Err(refusal) => Err(give_back(upload, refusal).await),
    }
}

/// PUT: the last bytes, if any, and the digest of all.
pub(super) async fn end(
    service: &Service,
    writer: &Caller,
    repository: &Repository,
    id: &str,
    parts: &Parts,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let digest = query(&parts.uri).digest.and_then(|digest| digest.parse().ok()).ok_or(Refusal::DigestInvalid)?;
    let _slot = slot(service).await?;
    let mut upload = service.store.resume(id, repository, writer.name()).await?;
    // A chunk that comes at the wrong place does not end the upload.
    let at = upload.size();
    check_order(&parts.headers, at)?;
    let bound = Bound::new(service, repository, at).await?;
    bound.check_length(&parts.headers, at)?;
    if let Err(refusal) = receive(&mut upload, take(body), &bound).await {
        return Err(give_back(upload, refusal).await);
    }
    upload.publish(&digest).await?;
    Ok(created(&format!("/v2/{repository}/blobs/{digest}"), &digest))
}

/// PUT of a manifest by tag or digest.
pub(super) async fn manifest(
    service: &Service,
    writer: &Caller,
    access: Access,
    repository: &Repository,
    reference: Reference,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    Bound { bytes: MANIFEST_LIMIT, organisation: None }.check_length(headers, 0)?;
    // A manifest is in memory as a whole: there are no more of them at once than parts of blobs.
    let _slot = slot(service).await?;
    let limit = usize::try_from(MANIFEST_LIMIT).unwrap_or(usize::MAX);
    let bytes = axum::body::to_bytes(take(body), limit).await.map_err(|error| {
        let too_long =
            std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_long { Refusal::TooLong { limit: MANIFEST_LIMIT } } else { Refusal::Interrupted }
    })?;
    let (found, tag) = match reference {
        Reference::Digest(expected) => match expected.alike(&bytes) {
            found if found != expected => return Err(Refusal::DigestMismatch(Box::new(Mismatch { expected, found }))),
            found => (found, None),
        },
        Reference::Tag(tag) => (Digest::of(&bytes), Some(tag)),
    };
    let references = References::parse(&media_type, &bytes)?;
    let manifest = StoredManifest { digest: found, media_type, bytes };
    let own = matches!(access, Access::Confidential { owner: _ });
    let put = |point| service.store.put_manifest(repository, writer.name(), &manifest, &references, own, point);
    match (&tag, access) {
        (Some(tag), Access::Confidential { owner }) if *tag == RELEASE_TAG => {
            // It needs what it refers to in order to be looked at.
            put(Point::Nowhere).await?;
            for tries in 1.. {
                let replaces = release::admit(&service.store, repository, &owner, &manifest).await?;
                match put(Point::Policy { replaces }).await {
                    // Another one was put in force since we looked: then it is that one that this has to follow.
                    Err(PutError::Overtaken) if tries < TRIES => {}
                    done => {
                        done?;
                        break;
                    }
                }
            }
            tracing::info!(%repository, policy = %found, writer = %writer.name(), "release policy in force");
        }
        (Some(tag), _) => {
            put(Point::Tag(tag)).await?;
            tracing::info!(%repository, %tag, digest = %found, writer = %writer.name(), "tagged");
        }
        (None, _) => put(Point::Nowhere).await?,
    }
    let mut response = created(&format!("/v2/{repository}/manifests/{found}"), &found);
    if let Some(subject) = &references.subject {
        response.headers_mut().insert(SUBJECT, header(&subject.digest.to_string()));
    }
    Ok(response)
}

/// Leave to take a body, after a while if others are being taken.
async fn slot(service: &Service) -> Result<SemaphorePermit<'_>, Refusal> {
    let waiting = timeout(PATIENCE, service.bodies.acquire()).await;
    waiting.ok().and_then(Result::ok).ok_or(Refusal::TooManyUploads)
}

/// Takes a body, chunk by chunk.
async fn receive(upload: &mut Upload<'_>, body: Body, bound: &Bound) -> Result<(), Refusal> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::Interrupted)?;
        if upload.size().saturating_add(chunk.len() as u64) > bound.bytes {
            return Err(bound.refusal());
        }
        upload.write(&chunk).await?;
    }
    Ok(())
}

/// What came before a connection broke stays, so that the client goes on from there; of anything else nothing does.
async fn give_back(upload: Upload<'_>, refusal: Refusal) -> Refusal {
    let given = match refusal {
        Refusal::Interrupted => upload.pause().await.map(|_| ()),
        _ => upload.take_back().await,
    };
    match given {
        Ok(()) => refusal,
        Err(fault) => fault.into(),
    }
}

/// Who says where his chunk begins must be right.
fn check_order(headers: &HeaderMap, at: u64) -> Result<(), Refusal> {
    let Some(said) = headers.get(CONTENT_RANGE) else { return Ok(()) };
    // Not that of RFC 9110 but `<start>-<end>`: distribution-spec 1.1, "Pushing a blob in chunks".
    let (first, last) = said.to_str().ok().and_then(|text| text.split_once('-')).unwrap_or_default();
    match (decimal(first), decimal(last)) {
        (Some(first), Some(last)) if first == at && first <= last => Ok(()),
        _ => Err(Refusal::OutOfOrder { at }),
    }
}

/// How long what is sent may be, and whether it is the organisation's space that says so.
struct Bound {
    bytes: u64,
    organisation: Option<Organisation>,
}

impl Bound {
    /// Of a blob of which so many bytes are here.
    async fn new(service: &Service, repository: &Repository, at: u64) -> Result<Self, Refusal> {
        let (limit, room) = (service.limits.blob, at.saturating_add(service.store.room(repository).await?));
        let organisation = (room < limit).then(|| Organisation::of(repository));
        Ok(Self { bytes: limit.min(room), organisation })
    }

    /// Who says beforehand that it is too much need not send it.
    fn check_length(&self, headers: &HeaderMap, at: u64) -> Result<(), Refusal> {
        let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
        if at.saturating_add(said) > self.bytes { Err(self.refusal()) } else { Ok(()) }
    }

    fn refusal(&self) -> Refusal {
        match &self.organisation {
            Some(organisation) => Refusal::NoRoom { organisation: organisation.clone(), room: self.bytes },
            None => Refusal::TooLong { limit: self.bytes },
        }
    }
}

fn standing(status: StatusCode, repository: &Repository, id: &str, size: u64) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(&format!("/v2/{repository}/blobs/uploads/{id}")));
    headers.insert(RANGE, received(size));
    headers.insert(UPLOAD_ID, header(id));
    response
}
