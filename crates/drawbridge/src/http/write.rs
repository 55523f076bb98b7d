//! Writing: uploads, manifests, tags.
//!
//! Owns POST, PATCH and PUT (distribution-spec 1.1, "Push"): bytes go to the store as they come, and get a name only when
//! their digest is the one that was said. Refuses manifests that refer to what is not in the repository.
//! A writer of a confidential repository must not learn what others put there (`trust.md`, 14): there, what he refers to
//! must be what he pushed himself, and a mount needs the source's release like every other read.
//! Invariant: an answer 201 leaves only after what it acknowledges is on the disk.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use workload::Digest;
use workload::names::Repository;
use workload::package::MANIFEST_LIMIT;
use workload::reference::Reference;

use super::{Refusal, Service, UPLOAD_ID, created, header, query, received};
use crate::login::Writer;
use crate::references::References;
use crate::release::{self, RELEASE_TAG};
use crate::settings::Access;
use crate::store::{StoredManifest, Upload};
use crate::tls::Peer;
use crate::uploads::Session;

/// POST: mounts, takes a whole blob, or begins an upload.
pub(super) async fn begin(
    service: Arc<Service>,
    peer: &Peer,
    writer: Writer,
    repository: Repository,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let query = query(&parts.uri);
    if let (Some(mount), Some(from)) = (&query.mount, &query.from) {
        let digest: Digest = mount.parse().map_err(|_| Refusal::DigestInvalid)?;
        let from: Repository = from.parse().map_err(|_| Refusal::NameInvalid)?;
        let sight = service.sight(&from, peer).await;
        if sight.blob(&digest) && service.store.blob(&from, &digest).await?.is_some() {
            sight.log("mount", &digest);
            let location = format!("/v2/{repository}/blobs/{digest}");
            let work = service.work.clone();
            let link = async move { Ok(service.store.link(&repository, &digest, writer.name()).await?) };
            work.to_the_end(link).await?;
            return Ok(created(&location, &digest));
        }
    }
    if let Some(digest) = &query.digest {
        let digest = digest.parse().map_err(|_| Refusal::DigestInvalid)?;
        check_length(&parts.headers, 0, service.limits.blob)?;
        let mut session = service.uploads.begin(&service.store).await?;
        receive(&mut session.upload, body, service.limits.blob).await?;
        return publish(service, session, writer, repository, digest).await;
    }
    let session = service.uploads.begin(&service.store).await?;
    let id = service.uploads.keep(session, &repository, writer.name())?;
    Ok(standing(StatusCode::ACCEPTED, &repository, &id, 0))
}

/// GET: how far an upload is.
pub(super) fn status(
    service: &Service,
    writer: &Writer,
    repository: &Repository,
    id: &str,
) -> Result<Response, Refusal> {
    let session = service.uploads.find(id, repository, writer.name())?;
    Ok(standing(StatusCode::NO_CONTENT, repository, id, session.upload.size()))
}

/// PATCH: the next chunk.
pub(super) async fn chunk(
    service: &Service,
    writer: &Writer,
    repository: &Repository,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let mut session = service.uploads.find(id, repository, writer.name())?;
    let at = session.upload.size();
    check_order(headers, at)?;
    check_length(headers, at, service.limits.blob)?;
    receive(&mut session.upload, body, service.limits.blob).await?;
    Ok(standing(StatusCode::ACCEPTED, repository, id, session.upload.size()))
}

/// PUT: the last bytes, if any, and the digest of all.
pub(super) async fn end(
    service: Arc<Service>,
    writer: Writer,
    repository: Repository,
    id: &str,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let digest = query(&parts.uri).digest.and_then(|digest| digest.parse().ok()).ok_or(Refusal::DigestInvalid)?;
    // A chunk that comes at the wrong place does not end the upload.
    check_order(&parts.headers, service.uploads.find(id, &repository, writer.name())?.upload.size())?;
    let mut session = service.uploads.take(id, &repository, writer.name())?;
    check_length(&parts.headers, session.upload.size(), service.limits.blob)?;
    receive(&mut session.upload, body, service.limits.blob).await?;
    publish(service, session, writer, repository, digest).await
}

/// DELETE: gives an upload up.
pub(super) fn cancel(
    service: &Service,
    writer: &Writer,
    repository: &Repository,
    id: &str,
) -> Result<Response, Refusal> {
    drop(service.uploads.take(id, repository, writer.name())?);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// PUT of a manifest by tag or digest.
pub(super) async fn manifest(
    service: Arc<Service>,
    writer: Writer,
    access: Access,
    repository: Repository,
    reference: Reference,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    check_length(headers, 0, MANIFEST_LIMIT)?;
    let limit = usize::try_from(MANIFEST_LIMIT).unwrap_or(usize::MAX);
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|error| {
        let too_long =
            std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_long { Refusal::TooLong { limit: MANIFEST_LIMIT } } else { Refusal::Interrupted }
    })?;
    let found = Digest::of(&bytes);
    let tag = match reference {
        Reference::Digest(expected) if expected != found => return Err(Refusal::DigestMismatch { expected, found }),
        Reference::Digest(_) => None,
        Reference::Tag(tag) => Some(tag),
    };
    let references = References::parse(&media_type, &bytes)?;
    check_references(&service, &writer, access, &repository, &references).await?;
    let manifest = StoredManifest { digest: found, media_type, bytes };
    let location = format!("/v2/{repository}/manifests/{found}");
    let work = service.work.clone();
    work.to_the_end(async move {
        match (tag, access) {
            (Some(tag), Access::Confidential { owner }) if tag == RELEASE_TAG => {
                let _alone = service.policies.lock().await;
                release::admit(&service.store, &repository, &owner, &manifest).await?;
                service.store.put_manifest(&repository, writer.name(), &manifest).await?;
                service.store.put_policy(&repository, &found).await?;
                tracing::info!(%repository, policy = %found, writer = %writer.name(), "release policy in force");
            }
            (Some(tag), Access::Confidential { owner: _ } | Access::Public) => {
                service.store.put_manifest(&repository, writer.name(), &manifest).await?;
                service.store.put_tag(&repository, &tag, &found).await?;
                tracing::info!(%repository, %tag, digest = %found, writer = %writer.name(), "tagged");
            }
            (None, _) => service.store.put_manifest(&repository, writer.name(), &manifest).await?,
        }
        Ok(())
    })
    .await?;
    Ok(created(&location, &found))
}

async fn check_references(
    service: &Service,
    writer: &Writer,
    access: Access,
    repository: &Repository,
    references: &References,
) -> Result<(), Refusal> {
    let References { artifact_type: _, blobs, manifests } = references;
    for (descriptor, is_blob) in blobs.iter().map(|blob| (blob, true)).chain(manifests.iter().map(|one| (one, false))) {
        let (digest, expected) = (descriptor.digest, descriptor.size);
        let size = match (access, is_blob) {
            (Access::Confidential { owner: _ }, _) => service.store.blob_of(repository, writer.name(), &digest).await?,
            (Access::Public, true) => service.store.blob(repository, &digest).await?,
            (Access::Public, false) => {
                service.store.manifest(repository, &digest).await?.map(|manifest| manifest.bytes.len() as u64)
            }
        };
        match size {
            None => return Err(Refusal::BlobMissing(digest)),
            Some(found) if found != expected => return Err(Refusal::BlobSize { digest, expected, found }),
            Some(_) => {}
        }
    }
    Ok(())
}

async fn publish(
    service: Arc<Service>,
    session: Session,
    writer: Writer,
    repository: Repository,
    expected: Digest,
) -> Result<Response, Refusal> {
    let location = format!("/v2/{repository}/blobs/{expected}");
    let work = service.work.clone();
    work.to_the_end(async move {
        let published = service.store.publish(session.upload, expected).await?;
        published.map_err(|found| Refusal::DigestMismatch { expected, found })?;
        Ok(service.store.link(&repository, &expected, writer.name()).await?)
    })
    .await?;
    Ok(created(&location, &expected))
}

/// Takes a body, chunk by chunk.
async fn receive(upload: &mut Upload, body: Body, limit: u64) -> Result<(), Refusal> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::Interrupted)?;
        if upload.size().saturating_add(chunk.len() as u64) > limit {
            return Err(Refusal::TooLong { limit });
        }
        upload.write(&chunk).await?;
    }
    Ok(())
}

/// Who says where his chunk begins must be right.
fn check_order(headers: &HeaderMap, at: u64) -> Result<(), Refusal> {
    let Some(said) = headers.get(CONTENT_RANGE) else { return Ok(()) };
    // Not that of RFC 9110 but `<start>-<end>`: distribution-spec 1.1, "Pushing a blob in chunks".
    let said = said.to_str().ok().and_then(|text| text.split_once('-')?.0.parse::<u64>().ok());
    if said == Some(at) { Ok(()) } else { Err(Refusal::OutOfOrder { at }) }
}

/// Who says beforehand that it is too much need not send it.
fn check_length(headers: &HeaderMap, at: u64, limit: u64) -> Result<(), Refusal> {
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    if at.saturating_add(said) > limit { Err(Refusal::TooLong { limit }) } else { Ok(()) }
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
