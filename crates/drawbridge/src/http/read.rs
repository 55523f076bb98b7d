//! Reading: manifests, blobs and tags, as far as the peer sees them.
//!
//! Owns HEAD and GET (distribution-spec 1.1, "Pull" and "Content Discovery"), ranges and pages. Refuses with one answer what
//! is not there and what is not for this peer, and ends a blob half-way when its release ends.
//! Invariant: a release is recorded before the first byte of it leaves; HEAD counts, because that something exists is a
//! secret too.

use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LINK, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use workload::names::{Repository, Tag};

use super::{CONTENT_DIGEST, Refusal, decimal, header, query};
use crate::digest::{Digest, Reference};
use crate::now;
use crate::references::{INDEX, is_type};
use crate::release::Sight;
use crate::store::{PAGE, Referrer, Store};

/// Says which filters a list of referrers went through.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The longest page of referrers; each repeats its annotations.
const REFERRERS: u32 = 100;

pub(super) async fn manifest(
    store: &Store,
    sight: &Sight,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, Refusal> {
    if matches!(sight, Sight::Nothing) {
        return Err(Refusal::ManifestAbsent);
    }
    let manifest = match reference {
        Reference::Digest(digest) => store.manifest(repository, digest).await?,
        Reference::Tag(tag) => store.tagged(repository, tag).await?,
    };
    let manifest = manifest.ok_or(Refusal::ManifestAbsent)?;
    let digest = manifest.digest;
    if !sight.manifest(store, &digest).await? {
        return Err(Refusal::ManifestAbsent);
    }
    sight.record(store, "manifest", &digest).await?;
    let mut response = Response::new(Body::from(manifest.bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, header(&manifest.media_type));
    headers.insert(CONTENT_DIGEST, header(&digest.to_string()));
    Ok(response)
}

pub(super) async fn blob(
    store: &Store,
    sight: &Sight,
    repository: &Repository,
    digest: &Digest,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if !sight.blob(store, digest).await? {
        return Err(Refusal::BlobAbsent);
    }
    let blob = store.blob(repository, digest).await?.ok_or(Refusal::BlobAbsent)?;
    let size = blob.size;
    if method == Method::HEAD && matches!(sight, Sight::Open) {
        // Who asks whether it is there may be about to push what refers to it.
        store.touch(repository, digest).await?;
    }
    sight.record(store, "blob", digest).await?;
    let part = match headers.get(RANGE).map(|value| range(value, size)) {
        None | Some(Ok(None)) => None,
        Some(Ok(Some(part))) => Some(part),
        Some(Err(Unsatisfiable)) => {
            let mut response = Refusal::Range { size }.into_response();
            response.headers_mut().insert(CONTENT_RANGE, header(&format!("bytes */{size}")));
            return Ok(response);
        }
    };
    let (from, to) = part.as_ref().map_or((0, size), |part| (*part.start(), part.end().saturating_add(1)));
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(while_released(store.read(blob, from..to).await?, sight.until(), now))
    };
    let mut response = Response::new(body);
    if part.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = header(&format!("bytes {from}-{}/{size}", to.saturating_sub(1)));
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, to.saturating_sub(from).into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DIGEST, header(&digest.to_string()));
    Ok(response)
}

/// The stream, cut off once its release has ended: a slow reader gets nothing for an old certificate. Asked for each
/// chunk as it is read, so what waits to be sent, a chunk or two, may still leave.
fn while_released<E: Into<axum::BoxError>>(
    chunks: impl Stream<Item = Result<Bytes, E>>,
    until: u64,
    now: impl Fn() -> u64,
) -> impl Stream<Item = Result<Bytes, axum::BoxError>> {
    chunks.map(move |chunk| if now() > until { Err("the release has ended".into()) } else { chunk.map_err(Into::into) })
}

pub(super) async fn tags(
    store: &Store,
    sight: &Sight,
    repository: &Repository,
    uri: &Uri,
) -> Result<Response, Refusal> {
    if matches!(sight, Sight::Nothing) {
        return Err(Refusal::RepositoryAbsent);
    }
    let query = query(uri);
    let most = match &query.n {
        Some(n) => decimal(n).map_or(Err(Refusal::PageInvalid), |n| Ok(u32::try_from(n).unwrap_or(PAGE)))?,
        None => PAGE,
    };
    let most = most.min(PAGE);
    let look = if matches!(sight, Sight::Open) { most.saturating_add(1) } else { PAGE };
    let [most, look_size] = [most, look].map(|count| usize::try_from(count).unwrap_or_default());
    let mut last = after::<Tag>(query.last, Refusal::TagInvalid)?;
    let mut page: Vec<Tag> = Vec::new();
    let mut more = true;
    // A Keep sees what others call its own workload, and nothing else: it may take several looks to fill its page.
    while more && page.len() <= most {
        let found = store.tags(repository, &last, look).await?;
        more = found.len() >= look_size;
        for (tag, digest) in found {
            last = tag.to_string();
            if sight.subject(&digest) && page.len() <= most {
                sight.record(store, "tag", &digest).await?;
                page.push(tag);
            }
        }
    }
    let more = page.len() > most;
    page.truncate(most);
    let next = page.last().filter(|_| more).map(|last| format!("/v2/{repository}/tags/list?n={most}&last={last}"));
    let response = Json(serde_json::json!({ "name": repository, "tags": page })).into_response();
    Ok(linked(response, next))
}

/// What is about a manifest, which need not be there itself.
pub(super) async fn referrers(
    store: &Store,
    sight: &Sight,
    repository: &Repository,
    subject: &Digest,
    uri: &Uri,
) -> Result<Response, Refusal> {
    if !sight.subject(subject) {
        return Err(Refusal::RepositoryAbsent);
    }
    let query = query(uri);
    let kind = query.artifact_type.as_deref().filter(|kind| !kind.is_empty());
    let last = after::<Digest>(query.last, Refusal::DigestInvalid)?;
    let one_more = REFERRERS.saturating_add(1);
    let mut found = match kind {
        Some(kind) if !is_type(kind) => Vec::new(),
        _ => store.referrers(repository, subject, kind, &last, one_more).await?,
    };
    let most = usize::try_from(REFERRERS).unwrap_or_default();
    let more = found.len() > most;
    found.truncate(most);
    for referrer in &found {
        sight.record(store, "referrer", &referrer.digest).await?;
    }
    let next = found.last().filter(|_| more).map(|Referrer { digest, .. }| {
        let kind = kind
            .map(|kind| {
                format!("artifactType={}&", form_urlencoded::byte_serialize(kind.as_bytes()).collect::<String>())
            })
            .unwrap_or_default();
        format!("/v2/{repository}/referrers/{subject}?{kind}last={digest}")
    });
    let manifests: Vec<_> = found
        .into_iter()
        .map(|Referrer { digest, media_type, artifact_type, size, annotations }| {
            let mut descriptor = serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size });
            if let Some(kind) = artifact_type {
                descriptor["artifactType"] = kind.into();
            }
            if let Some(annotations) = annotations.and_then(|text| serde_json::from_str(&text).ok()) {
                descriptor["annotations"] = annotations;
            }
            descriptor
        })
        .collect();
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let mut response = Response::new(Body::from(index.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(INDEX));
    if kind.is_some() {
        headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    Ok(linked(response, next))
}

/// Where a page begins: after this name, which need not be there.
fn after<T: FromStr>(last: Option<String>, fault: Refusal) -> Result<String, Refusal> {
    let last = last.unwrap_or_default();
    if last.is_empty() || last.parse::<T>().is_ok() { Ok(last) } else { Err(fault) }
}

/// An answer, with where it goes on.
fn linked(mut response: Response, next: Option<String>) -> Response {
    if let Some(next) = next {
        response.headers_mut().insert(LINK, header(&format!("<{next}>; rel=\"next\"")));
    }
    response
}

/// The range is well-formed but not within the blob.
#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// One range of bytes (RFC 9110 section 14.2). Anything else, several ranges too, is ignored, as the RFC allows.
fn range(value: &HeaderValue, size: u64) -> Result<Option<RangeInclusive<u64>>, Unsatisfiable> {
    let Some((first, last)) = value.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let end = size.checked_sub(1).ok_or(Unsatisfiable)?;
    match (decimal(first), decimal(last)) {
        (Some(first), Some(last)) if first <= last && first <= end => Ok(Some(first..=last.min(end))),
        (Some(first), None) if last.is_empty() && first <= end => Ok(Some(first..=end)),
        (None, Some(count)) if first.is_empty() && count > 0 => Ok(Some(size.saturating_sub(count)..=end)),
        (Some(first), Some(last)) if last < first => Ok(None),
        (Some(_), Some(_)) => Err(Unsatisfiable),
        (Some(_), None) if last.is_empty() => Err(Unsatisfiable),
        (None, Some(_)) if first.is_empty() => Err(Unsatisfiable),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_blob_ends_with_its_release() {
        let read = async |until| {
            // A second passes with each chunk.
            let clock = Cell::new(100);
            let now = || clock.replace(clock.get() + 1);
            let chunks = stream::iter([(); 4]).map(|()| Ok::<_, axum::BoxError>(Bytes::from_static(b"x")));
            let got: Vec<_> = while_released(chunks, until, now).map(|chunk| chunk.is_ok()).collect().await;
            got
        };
        assert_eq!(read(101).await, [true, true, false, false], "the last second counts");
        assert_eq!(read(103).await, [true; 4], "control");
        assert_eq!(read(Sight::Open.until()).await, [true; 4], "what is public does not end");
    }

    #[test]
    fn ranges() {
        let range = |text: &'static str, size| super::range(&HeaderValue::from_static(text), size);
        for (text, expected) in [
            ("bytes=0-0", 0..=0),
            ("bytes=0-9", 0..=9),
            ("bytes=3-99", 3..=9),
            ("bytes=9-", 9..=9),
            ("bytes=-3", 7..=9),
            ("bytes=-30", 0..=9),
        ] {
            assert_eq!(range(text, 10), Ok(Some(expected)), "{text}");
        }
        for text in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999-999999999999"] {
            assert_eq!(range(text, 10), Err(Unsatisfiable), "{text}");
        }
        for text in
            ["bytes=5-3", "bytes=0-1,3-4", "bytes=a-b", "bytes=+1-2", "lines=0-1", "bytes=", "bytes=-", "bytes=--1"]
        {
            assert_eq!(range(text, 10), Ok(None), "{text}");
        }
        assert_eq!(range("bytes=0-0", 0), Err(Unsatisfiable), "an empty blob has no first byte");
    }
}
