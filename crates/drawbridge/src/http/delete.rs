//! Deleting: tags, manifests, blobs, and uploads that are given up.
//!
//! Owns DELETE (distribution-spec 1.1, "Content Management"). What is deleted is no longer there for anybody; its bytes go
//! with the next collection. Refuses what something refers to, and the tag `release`. A writer of a confidential repository
//! deletes what he pushed himself, and nothing else is there for him (`trust.md`, 14).
//! Invariant: an answer 202 leaves only after it is gone for good.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use workload::names::Repository;

use super::{Refusal, Service};
use crate::digest::{Digest, Reference};
use crate::login::Caller;
use crate::release::{RELEASE_ARTIFACT_TYPE, RELEASE_TAG};
use crate::settings::Access;
use crate::store::Deleted;

/// A tag, or a manifest with the tags that point at it.
pub(super) async fn manifest(
    service: &Service,
    writer: &Caller,
    access: Access,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, Refusal> {
    let deleted = match reference {
        Reference::Tag(tag) if *tag == RELEASE_TAG && matches!(access, Access::Confidential { owner: _ }) => {
            return Err(Refusal::Reserved { expected: RELEASE_ARTIFACT_TYPE });
        }
        Reference::Tag(tag) => {
            let found = service.store.tagged(repository, tag).await?.ok_or(Refusal::ManifestAbsent)?;
            own(service, writer, access, repository, &found.digest).await?.ok_or(Refusal::ManifestAbsent)?;
            service.store.delete_tag(repository, tag).await?
        }
        Reference::Digest(digest) => {
            own(service, writer, access, repository, digest).await?.ok_or(Refusal::ManifestAbsent)?;
            service.store.delete_manifest(repository, digest).await?
        }
    };
    tracing::info!(%repository, %reference, writer = %writer.name(), ?deleted, "to be deleted");
    answer(deleted, Refusal::ManifestAbsent)
}

/// A blob of this repository.
pub(super) async fn blob(
    service: &Service,
    writer: &Caller,
    access: Access,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response, Refusal> {
    own(service, writer, access, repository, digest).await?.ok_or(Refusal::BlobAbsent)?;
    let deleted = service.store.delete_blob(repository, digest).await?;
    tracing::info!(%repository, %digest, writer = %writer.name(), ?deleted, "to be deleted");
    answer(deleted, Refusal::BlobAbsent)
}

/// An upload.
pub(super) async fn upload(
    service: &Service,
    writer: &Caller,
    repository: &Repository,
    id: &str,
) -> Result<Response, Refusal> {
    service.store.cancel(id, repository, writer.name()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Whether it is this writer's to delete.
async fn own(
    service: &Service,
    writer: &Caller,
    access: Access,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<()>, Refusal> {
    let own = match access {
        Access::Public | Access::Private => true,
        Access::Confidential { owner: _ } => service.store.is_pushed(repository, digest, writer.name()).await?,
    };
    Ok(own.then_some(()))
}

fn answer(deleted: Deleted, absent: Refusal) -> Result<Response, Refusal> {
    match deleted {
        Deleted::Yes => Ok(empty(StatusCode::ACCEPTED)),
        Deleted::Absent => Err(absent),
        Deleted::Referenced => Err(Refusal::Referenced),
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
