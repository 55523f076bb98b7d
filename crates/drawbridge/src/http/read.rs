//! Reading: manifests, blobs and tags, as far as the peer sees them.
//!
//! Owns HEAD and GET (distribution-spec 1.1, "Pull" and "Content Discovery"), ranges and pages. Refuses with one answer what
//! is not there and what is not for this peer, and ends a blob half-way when its release ends. Invariant: a release is logged before the first byte of it leaves; HEAD
//! counts, because that something exists is a secret too.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use workload::Digest;
use workload::names::{Repository, Tag};
use workload::reference::Reference;

use super::{CONTENT_DIGEST, Refusal, Service, header, now, query};
use crate::release::Sight;
use crate::tls::Peer;

pub(super) async fn manifest(
    service: &Service,
    peer: &Peer,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, Refusal> {
    let sight = service.sight(repository, peer).await;
    if matches!(sight, Sight::Nothing) {
        return Err(Refusal::ManifestAbsent);
    }
    let digest = match reference {
        Reference::Digest(digest) => *digest,
        Reference::Tag(tag) => service.store.tag(repository, tag).await?.ok_or(Refusal::ManifestAbsent)?,
    };
    if !sight.manifest(&digest) {
        return Err(Refusal::ManifestAbsent);
    }
    let manifest = service.store.manifest(repository, &digest).await?.ok_or(Refusal::ManifestAbsent)?;
    sight.log("manifest", &digest);
    let mut response = Response::new(Body::from(manifest.bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, header(&manifest.media_type));
    headers.insert(CONTENT_DIGEST, header(&digest.to_string()));
    Ok(response)
}

pub(super) async fn blob(
    service: Arc<Service>,
    peer: &Peer,
    repository: &Repository,
    digest: &Digest,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let sight = service.sight(repository, peer).await;
    if !sight.blob(digest) {
        return Err(Refusal::BlobAbsent);
    }
    let size = service.store.blob(repository, digest).await?.ok_or(Refusal::BlobAbsent)?;
    sight.log("blob", digest);
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
        Body::from_stream(while_released(service.store.read(digest, from..to), sight.until(), now))
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
    service: &Service,
    peer: &Peer,
    repository: &Repository,
    uri: &Uri,
) -> Result<Response, Refusal> {
    let sight = service.sight(repository, peer).await;
    if matches!(sight, Sight::Nothing) {
        return Err(Refusal::RepositoryAbsent);
    }
    let query = query(uri);
    let most = match &query.n {
        Some(n) => n.parse().map_err(|_| Refusal::PageInvalid)?,
        None => usize::MAX,
    };
    let mut page: Vec<Tag> = Vec::new();
    let mut more = false;
    for tag in service.store.tags(repository).await? {
        if query.last.as_deref().is_some_and(|last| tag.as_str() <= last) {
            continue;
        }
        if let Sight::Granted(_) = &sight {
            // A Keep sees what others call its own workload, and nothing else.
            match service.store.tag(repository, &tag).await? {
                Some(digest) if sight.manifest(&digest) => sight.log("tag", &digest),
                _ => continue,
            }
        }
        if page.len() >= most {
            more = true;
            break;
        }
        page.push(tag);
    }
    let next = page
        .last()
        .filter(|_| more)
        .map(|last| format!("</v2/{repository}/tags/list?n={most}&last={last}>; rel=\"next\""));
    let mut response = Json(serde_json::json!({ "name": repository, "tags": page })).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(LINK, header(&next));
    }
    Ok(response)
}

/// The range is well-formed but not within the blob.
#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// One range of bytes (RFC 9110 section 14.2). Anything else, several ranges too, is ignored, as the RFC allows.
fn range(value: &HeaderValue, size: u64) -> Result<Option<RangeInclusive<u64>>, Unsatisfiable> {
    let Some((first, last)) = value.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let end = size.checked_sub(1).ok_or(Unsatisfiable)?;
    match (number(first), number(last)) {
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
