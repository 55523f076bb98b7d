//! What a Drawbridge says of itself: `/healthz`, `/readyz` and `/metrics`.
//!
//! Owns these handlers and the counting of answers. Refuses `/metrics` where the operator does not want them. Invariant: nothing here
//! depends on what is kept, so nobody learns from it what there is.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::{Service, Target};
use crate::metrics::OPEN_METRICS;

pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/healthz", get(async || uncached("ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Counts the answer, if anybody wants to know.
pub(super) async fn counted(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if !service.declared.metrics {
        return next.run(request).await;
    }
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let oci = route.as_ref().is_some_and(|route| route.as_str().starts_with("/v2"));
    let content = oci.then(|| Target::parse(request.uri().path()).ok()).flatten().map(|target| target.pattern());
    let response = next.run(request).await;
    // One route has all of OCI's: what it is about tells more.
    service.metrics.answered(&method, content.or_else(|| route.as_ref().map(MatchedPath::as_str)), response.status());
    response
}

/// For whoever sends clients here.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    match service.store.ready().await {
        Ok(()) => uncached("ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            uncached((StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"))
        }
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    if !service.declared.metrics {
        return StatusCode::NOT_FOUND.into_response();
    }
    match service.metrics.text() {
        Ok(text) => uncached(([(CONTENT_TYPE, OPEN_METRICS)], text)),
        Err(error) => {
            tracing::error!(%error, "metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn uncached(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
