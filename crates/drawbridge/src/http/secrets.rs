//! Secrets: writers set them, Keeps get them, and nobody else sees anything but names.
//!
//! Owns `/api/v1/secret/`, `/api/v1/secrets/` and the release of secrets to a Keep. Refuses secrets of repositories that are not
//! confidential, for there is no release policy. A Keep that may not have one is told what it would be told if there were none
//! (`trust.md`, 14). Invariant: a release is recorded before its first byte leaves.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use workload::names::{Name, Repository};
use workload::secrets::{Released, SECRET_LIMIT, SECRETS, Secret, Wanted};

use super::api::{Answer, Given, Shown};
use super::{Refusal, Service};
use crate::login::Caller;
use crate::now;
use crate::release;
use crate::secrets::{Id, Kind, Value, Vault, VaultError};
use crate::settings::Access;
use crate::store::{Kept, SecretRow};
use crate::tls::Peer;
use crate::wire::{SecretGiven, SecretInfo, SecretList};

/// How often a version that somebody else made first is made anew.
const TRIES: usize = 16;
/// How long the version before may be delivered, in seconds, if nobody says, and at most.
const OVERLAP: u64 = 24 * 3600;
const LONGEST_OVERLAP: u64 = 366 * 24 * 3600;

/// The routes.
pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/api/v1/secret/{name}/{*repository}", put(set).post(rotate).delete(forget))
        .route("/api/v1/secrets/{*repository}", get(list))
        .route("/api/v1/release/{*repository}", post(give))
}

/// Who may set secrets of this repository.
async fn writer<'a>(
    service: &'a Service,
    caller: Caller,
    repository: &Repository,
) -> Result<(Caller, &'a Vault), Refusal> {
    let (caller, access) = service.writer(Some(caller), repository).await?;
    let Access::Confidential { owner: _ } = access else {
        return Err(Refusal::Wish("secrets are of confidential repositories: a release policy says who gets them"));
    };
    let vault = service.vault.as_ref().ok_or(Refusal::Wish(
        "this Drawbridge keeps no secrets: its operator names a key for them in the settings, [secrets]",
    ))?;
    Ok((caller, vault))
}

async fn set(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path((name, repository)): Path<(Name, Repository)>,
    Given(SecretGiven { value, generate, overlap_seconds }): Given<SecretGiven>,
) -> Answer {
    let (caller, vault) = writer(&service, caller, &repository).await?;
    let given = match (value, generate) {
        (Some(value), None) => {
            let bytes = BASE64_STANDARD.decode(value.expose()).map_err(|_| Refusal::Wish("a value is base64"))?;
            New::Given(Value::new(bytes))
        }
        (None, Some(kind)) if kind != Kind::Given => New::Made(kind),
        _ => return Err(Refusal::Wish("either `value`, or `generate` with random, p256 or ed25519").into()),
    };
    keep(&service, vault, &caller, &repository, name, &given, overlap_seconds).await
}

/// A new value of a secret that is made here.
async fn rotate(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path((name, repository)): Path<(Name, Repository)>,
    Query(Overlap { overlap_seconds }): Query<Overlap>,
) -> Answer {
    let (caller, vault) = writer(&service, caller, &repository).await?;
    let found = service.store.secrets(&repository, Some(&name), now()).await?;
    let kind = found.first().ok_or(Refusal::Absent("secret"))?.kind;
    if kind == Kind::Given {
        return Err(Refusal::Wish("this secret was given, not made here: set its next value").into());
    }
    keep(&service, vault, &caller, &repository, name, &New::Made(kind), overlap_seconds).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlap {
    overlap_seconds: Option<u64>,
}

enum New {
    Given(Value),
    Made(Kind),
}

async fn keep(
    service: &Service,
    vault: &Vault,
    caller: &Caller,
    repository: &Repository,
    name: Name,
    new: &New,
    overlap: Option<u64>,
) -> Answer {
    let overlap = overlap.unwrap_or(OVERLAP);
    if overlap > LONGEST_OVERLAP {
        return Err(Refusal::Wish("versions overlap for 366 days at most").into());
    }
    for _ in 0..TRIES {
        let made;
        let (kind, value, public) = match new {
            New::Given(value) => (Kind::Given, value, None),
            New::Made(kind) => {
                let (value, public) =
                    kind.generate()?.ok_or(Refusal::Wish("random, p256 and ed25519 secrets are made here"))?;
                made = value;
                (*kind, &made, public)
            }
        };
        let version = service.store.secret_version(repository, &name).await?.saturating_add(1);
        let sealed = vault.seal(Id { repository, name: &name, version }, value).await?;
        let row = SecretRow { name: name.clone(), version, kind, public, sealed, created: now(), until: None };
        match service.store.keep_secret(repository, &row, caller.name(), overlap).await? {
            Kept::Yes => {
                tracing::info!(by = caller.name(), %repository, %name, version, kind = kind.as_str(), "secret set");
                return Ok((StatusCode::CREATED, Json(info(&row))).into_response());
            }
            Kept::TooMany => return Err(Refusal::TooMany("secrets").into()),
            Kept::Overtaken => {}
        }
    }
    Err(Refusal::TooManyUploads.into())
}

fn info(row: &SecretRow) -> SecretInfo {
    let SecretRow { name, version, kind, public, sealed: _, created, until } = row.clone();
    SecretInfo { name, version, kind, public, created, until }
}

async fn list(State(service): State<Arc<Service>>, Shown(caller): Shown, Path(repository): Path<Repository>) -> Answer {
    writer(&service, caller, &repository).await?;
    let rows = service.store.secrets(&repository, None, now()).await?;
    Ok(Json(SecretList { secrets: rows.iter().map(info).collect() }).into_response())
}

async fn forget(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path((name, repository)): Path<(Name, Repository)>,
) -> Answer {
    let (caller, _) = writer(&service, caller, &repository).await?;
    if !service.store.delete_secret(&repository, &name).await? {
        return Err(Refusal::Absent("secret").into());
    }
    tracing::info!(by = caller.name(), %repository, %name, "secret deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// To a Keep, by its certificate.
async fn give(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    Path(repository): Path<Repository>,
    Given(Wanted { secrets: wanted }): Given<Wanted>,
) -> Answer {
    let absent = || Refusal::Absent("repository");
    if wanted.is_empty() || wanted.len() > SECRETS {
        return Err(Refusal::Wish("1 to 64 secrets").into());
    }
    let Some(Access::Confidential { owner }) = service.access(&repository).await? else { return Err(absent().into()) };
    let now = now();
    let sight = release::secrets(&service.store, &repository, &owner, &peer, &wanted, now).await;
    let sight = sight.ok_or_else(absent)?;
    let vault = service.vault.as_ref().ok_or_else(absent)?;
    let rows = service.store.secrets(&repository, None, now).await?;
    let mut released = std::collections::BTreeMap::new();
    for name in wanted {
        let mut versions = rows.iter().filter(|row| row.name == name);
        let Some(current) = versions.next() else {
            // The owner allows what no writer has set.
            tracing::warn!(target: "drawbridge::release", %repository, %name, "no such secret");
            return Err(absent().into());
        };
        let mut values = Vec::new();
        for row in [Some(current), versions.next()].into_iter().flatten() {
            let id = Id { repository: &repository, name: &name, version: row.version };
            let value = vault.unseal(id, &row.sealed).await?;
            sight.record_secret(&service.store, &name, row.version).await?;
            values.push(value.expose().to_vec());
        }
        let mut values = values.into_iter();
        let Some(current) = values.next() else { return Err(absent().into()) };
        released.insert(name, Secret { current, previous: values.next() });
    }
    let mut response = Response::new(axum::body::Body::from(Released::new(released).to_json()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::TooLong => Self::TooLong { limit: SECRET_LIMIT as u64 },
            other => Self::Vault(other.to_string()),
        }
    }
}
