//! What a Steward says of itself, and nonces.
//!
//! Owns the handlers; the texts are `published`'s and `metrics`'. Refuses nothing that was asked in the right way. Invariant: nothing
//! here takes longer for one client than for another.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{Service, fault::Fault, routes, uncached};
use crate::{
    metrics::OPEN_METRICS,
    published::{self, Bundle, Description},
};

pub(super) async fn describe(State(service): State<Arc<Service>>) -> Response {
    Json(Description::of(&service.steward)).into_response()
}

/// Signed once: it is the same for everybody, and nobody is to keep the key busy by asking.
pub(super) async fn policy(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let signed = match service.policy.get() {
        Some(signed) => signed,
        None => {
            let steward = Arc::clone(&service.steward);
            let signed = service
                .places
                .work(&service.places.place()?, move || published::policy(steward.policy(), steward.authority()))
                .await?;
            let signed = signed.map_err(|error| {
                tracing::error!(%error, "policy");
                Fault::Internal
            })?;
            service.policy.get_or_init(|| signed)
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/jose")], signed.clone()).into_response())
}

pub(super) async fn trust(State(service): State<Arc<Service>>) -> Response {
    Json(Bundle::of(service.steward.authority(), service.steward.policy())).into_response()
}

/// For whoever sends Keeps here: there is no use in it when every request would be refused for our own fault.
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let (now, not_after) = (service.now()?, service.steward.authority().not_after());
    if not_after <= now {
        return Err(Fault::Ended { not_after });
    }
    let steward = Arc::clone(&service.steward);
    if !service.places.work(&service.places.place()?, move || steward.authority().key().available()).await? {
        return Err(Fault::Key);
    }
    if !service.record.ready().await {
        return Err(Fault::Record);
    }
    Ok(uncached("ready\n".into_response()))
}

pub(super) async fn nonce(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    Ok(uncached(Json(service.challenge(service.now()?)?).into_response()))
}

/// There only where somebody wants them.
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let text = service.metrics.as_ref().ok_or(Fault::NotFound)?.text().map_err(|error| {
        tracing::error!(%error, "metrics");
        Fault::Internal
    })?;
    Ok(uncached(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()))
}

pub(super) async fn open_api() -> Response {
    Json(routes::open_api()).into_response()
}
