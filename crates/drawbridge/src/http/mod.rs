//! OCI Distribution 1.1 over HTTP: from a request to the one thing it asks for.
//!
//! Owns the routes and the order of questions: who asks (`login`), what for (the path), may he write, or what does he see
//! (`release`); then `read`, `write` or `delete` does it. Refuses a known-bad login before anything else, and answers for what is
//! confidential as for what is absent.
//! Invariant: no handler touches the store for a repository before one of [`Service::writer`] and [`Service::sight`]
//! answered.

mod api;
mod delete;
mod read;
mod refusal;
mod secrets;
mod told;
mod write;

use std::ops::Deref;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use clients::{Client, Clients};
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, EXPECT, HOST, HeaderName, LOCATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use workload::names::{Authority, Repository};

pub(crate) use refusal::Refusal;

use crate::digest::{Digest, Reference};
use crate::login::{Action, Caller, LIFETIME, Logins, MOST, Wanted};
use crate::metrics::Metrics;
use crate::people::Role;
use crate::release::{self, Sight};
use crate::secrets::Vault;
use crate::settings::{Access, Declared, Limits};
use crate::store::{Store, StoreError};
use crate::tls::Peer;

/// The digest of what a response is about.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The name of an upload.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// What ordinary clients look for at `/v2/`.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The longest body that is read although the request is refused, in bytes.
const DRAIN: u64 = 16 * 1024 * 1024;

/// Everything a request can touch.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) kept: Kept,
    logins: Logins,
    declared: Declared,
    /// If the operator has a key for secrets.
    vault: Option<Vault>,
}

/// What stays when the settings change.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    /// Bodies that may be taken at once.
    bodies: Arc<Semaphore>,
    clients: Option<Arc<Clients>>,
}

impl Kept {
    pub(crate) fn new(store: Store, limits: Limits) -> Self {
        let bodies = Arc::new(Semaphore::new(limits.uploads));
        let clients = limits.rate.map(|rate| Arc::new(Clients::new(rate)));
        Self { store: Arc::new(store), metrics: Arc::new(Metrics::new()), limits, bodies, clients }
    }
}

impl Deref for Service {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kept
    }
}

impl Service {
    pub(crate) const fn new(kept: Kept, logins: Logins, declared: Declared, vault: Option<Vault>) -> Self {
        Self { kept, logins, declared, vault }
    }

    /// Who may read a repository; `None`: there is none.
    async fn access(&self, repository: &Repository) -> Result<Option<Access>, StoreError> {
        match self.declared.repositories.access(repository) {
            Some(access) => Ok(Some(access)),
            None => self.store.access(repository).await,
        }
    }

    /// Who may write to this repository, and who may read it.
    async fn writer(&self, caller: Option<Caller>, repository: &Repository) -> Result<(Caller, Access), Refusal> {
        let caller = caller.ok_or(Refusal::TokenNeeded)?;
        if self.logins.role(&self.store, &caller, repository).await? < Some(Role::Writer) {
            return Err(Refusal::OutOfScope(repository.clone()));
        }
        if !caller.asked_for(repository, Action::Push) {
            return Err(Refusal::OutOfAccess(repository.clone()));
        }
        match self.access(repository).await? {
            Some(access) => Ok((caller, access)),
            None => Err(Refusal::NoRepository(repository.clone())),
        }
    }

    /// What this peer, and who logged in through it, see of a repository.
    async fn sight(&self, repository: &Repository, peer: &Peer, caller: Option<&Caller>) -> Result<Sight, Refusal> {
        match self.access(repository).await? {
            None => Ok(Sight::Nothing),
            Some(Access::Public) => Ok(Sight::Open),
            Some(Access::Private) => {
                let Some(caller) = caller.filter(|caller| caller.asked_for(repository, Action::Pull)) else {
                    return Ok(Sight::Nothing);
                };
                let role = self.logins.role(&self.store, caller, repository).await?;
                Ok(if role.is_some() { Sight::Open } else { Sight::Nothing })
            }
            Some(Access::Confidential { owner }) => {
                Ok(release::sight(&self.store, repository, &owner, peer, crate::now()).await)
            }
        }
    }

    /// The same, for who asks for it by a request of its own. Who might see more with a login is told to log in: the same whether
    /// there is anything or not.
    async fn reader(&self, repository: &Repository, peer: &Peer, caller: Option<&Caller>) -> Result<Sight, Refusal> {
        let sight = self.sight(repository, peer, caller).await?;
        // A Keep's certificate is its login.
        if matches!(sight, Sight::Nothing) && peer.0.is_empty() {
            let caller = caller.ok_or(Refusal::TokenNeeded)?;
            if !caller.asked_for(repository, Action::Pull) {
                return Err(Refusal::OutOfAccess(repository.clone()));
            }
        }
        Ok(sight)
    }
}

/// The routes.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .merge(api::router())
        .merge(secrets::router())
        .merge(told::router())
        .route("/token", get(token))
        .route("/v2/{*path}", any(dispatch))
        .route("/v2/", any(dispatch))
        .route("/v2", any(dispatch))
        .layer(from_fn_with_state(Arc::clone(&service), admit))
        .layer(from_fn_with_state(Arc::clone(&service), told::counted))
        .with_state(service)
}

/// Lets in who has not asked too often.
async fn admit(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Client>().copied();
    let often = service.clients.as_ref().zip(client).is_some_and(|(clients, client)| !clients.admit(client));
    if often { Refusal::Often.into_response() } else { next.run(request).await }
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Base,
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
    Uploads(Repository),
    Upload(Repository, String),
    Tags(Repository),
    Referrers(Repository, Digest),
}

async fn dispatch(State(service): State<Arc<Service>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let refusal = match answer(&service, &peer, &parts, &mut body).await {
        Ok(response) => return response,
        Err(refusal) => refusal,
    };
    drain(&parts.headers, body).await;
    let mut response = refusal.into_response();
    if let Some(challenge) = challenge(&parts).filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Where to log in, and for what (RFC 6750, section 3): ordinary clients get an access token there. Said by what was asked
/// for alone, whatever is there.
fn challenge(parts: &Parts) -> Option<HeaderValue> {
    let service = service_of(parts)?;
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let scope = Target::parse(parts.uri.path()).ok().and_then(|target| {
        // How far an upload is only who pushes may know.
        let pulls = reads && !matches!(target, Target::Upload(..));
        let actions = if pulls { "pull" } else { "pull,push" };
        Some(format!(",scope=\"repository:{}:{actions}\"", target.repository()?))
    });
    let scope = scope.unwrap_or_default();
    HeaderValue::from_str(&format!("Bearer realm=\"https://{service}/token\",service=\"{service}\"{scope}")).ok()
}

/// What the client calls us.
fn service_of(parts: &Parts) -> Option<Authority> {
    let named = parts.uri.authority().map(http::uri::Authority::as_str);
    authority(named.or_else(|| parts.headers.get(HOST)?.to_str().ok())?)
}

/// As clients write it: without the port where that is the usual one.
fn authority(text: &str) -> Option<Authority> {
    let text = text.to_ascii_lowercase();
    text.parse().or_else(|_| format!("{text}:443").parse()).ok()
}

/// Gives an access token for a login: GET, as Distribution has it ("Token Authentication Specification").
async fn token(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let now = crate::now();
    let caller = service.logins.caller(&service.store, &parts.headers, None, now).await?;
    let (mut audience, mut wanted) = (service_of(&parts), Vec::new());
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "service" => audience = Some(authority(&value).ok_or(Refusal::AccessInvalid)?),
            // What is no scope of ours gives nothing.
            "scope" => wanted.extend(value.split(' ').filter_map(Wanted::parse)),
            _ => {}
        }
    }
    if wanted.len() > MOST {
        return Err(Refusal::AccessInvalid);
    }
    let audience = audience.ok_or(Refusal::AccessInvalid)?;
    let token = service.logins.access_token(caller.as_ref(), &audience, wanted, now).ok_or(Refusal::AccessInvalid)?;
    let token = token.expose();
    let mut response =
        Json(serde_json::json!({ "token": token, "access_token": token, "expires_in": LIFETIME })).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Reads a short body that nobody wanted, as the servers of other registries do before they refuse: containerd 1.6 does not
/// send a manifest again with its login if the first time was answered before the end.
async fn drain(headers: &HeaderMap, body: Body) {
    // Who waits for leave to send does not get it.
    if headers.contains_key(EXPECT) || body.size_hint().lower() > DRAIN {
        return;
    }
    let mut chunks = body.into_data_stream();
    let mut length = 0_u64;
    while let Some(Ok(chunk)) = chunks.next().await {
        length = length.saturating_add(chunk.len() as u64);
        if length > DRAIN {
            break;
        }
    }
}

/// Takes the body only for who may write, and only once nothing but the body can be wrong: what is left is drained.
async fn answer(service: &Service, peer: &Peer, parts: &Parts, body: &mut Body) -> Result<Response, Refusal> {
    let (store, named) = (&service.store, service_of(parts));
    let login = service.logins.caller(store, &parts.headers, named.as_ref(), crate::now()).await?;
    let target = Target::parse(parts.uri.path())?;
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    match (parts.method.clone(), target) {
        (_, Target::Base) if reads => {
            // Ordinary clients learn here that they should log in.
            login.ok_or(Refusal::TokenNeeded)?;
            Ok(([(API_VERSION, "registry/2.0")], Json(serde_json::json!({}))).into_response())
        }
        (_, Target::Manifest(repository, reference)) if reads => {
            let sight = service.reader(&repository, peer, login.as_ref()).await?;
            read::manifest(store, &sight, &repository, &reference).await
        }
        (method, Target::Blob(repository, digest)) if reads => {
            let sight = service.reader(&repository, peer, login.as_ref()).await?;
            read::blob(store, &sight, &repository, &digest, &method, &parts.headers).await
        }
        (_, Target::Referrers(repository, digest)) if reads => {
            let sight = service.reader(&repository, peer, login.as_ref()).await?;
            read::referrers(store, &sight, &repository, &digest, &parts.uri).await
        }
        (_, Target::Tags(repository)) if reads => {
            let sight = service.reader(&repository, peer, login.as_ref()).await?;
            read::tags(store, &sight, &repository, &parts.uri).await
        }
        (Method::PUT, Target::Manifest(repository, reference)) => {
            let (writer, access) = service.writer(login, &repository).await?;
            write::manifest(service, &writer, access, &repository, reference, &parts.headers, body).await
        }
        (Method::DELETE, Target::Manifest(repository, reference)) => {
            let (writer, access) = service.writer(login, &repository).await?;
            delete::manifest(service, &writer, access, &repository, &reference).await
        }
        (Method::DELETE, Target::Blob(repository, digest)) => {
            let (writer, access) = service.writer(login, &repository).await?;
            delete::blob(service, &writer, access, &repository, &digest).await
        }
        (Method::POST, Target::Uploads(repository)) => {
            let (writer, _) = service.writer(login, &repository).await?;
            write::begin(service, peer, &writer, &repository, parts, body).await
        }
        (method, Target::Upload(repository, id)) => {
            let (writer, _) = service.writer(login, &repository).await?;
            match method {
                Method::GET => write::status(service, &writer, &repository, &id).await,
                Method::PATCH => write::chunk(service, &writer, &repository, &id, &parts.headers, body).await,
                Method::PUT => write::end(service, &writer, &repository, &id, parts, body).await,
                Method::DELETE => delete::upload(service, &writer, &repository, &id).await,
                _ => Err(Refusal::Unsupported),
            }
        }
        _ => Err(Refusal::Unsupported),
    }
}

impl Target {
    /// The path of such, without what is named.
    const fn pattern(&self) -> &'static str {
        match self {
            Self::Base => "/v2/",
            Self::Manifest(..) => "/v2/{name}/manifests/{reference}",
            Self::Blob(..) => "/v2/{name}/blobs/{digest}",
            Self::Uploads(_) => "/v2/{name}/blobs/uploads/",
            Self::Upload(..) => "/v2/{name}/blobs/uploads/{reference}",
            Self::Tags(_) => "/v2/{name}/tags/list",
            Self::Referrers(..) => "/v2/{name}/referrers/{digest}",
        }
    }

    const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base => None,
            Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::Uploads(repository)
            | Self::Upload(repository, _)
            | Self::Tags(repository)
            | Self::Referrers(repository, _) => Some(repository),
        }
    }

    /// The repository's name may itself contain `blobs` or `tags`: what it is, the end of the path says.
    fn parse(path: &str) -> Result<Self, Refusal> {
        let name = |parts: &[&str]| parts.join("/").parse().map_err(|_| Refusal::NameInvalid);
        let path = path.strip_prefix("/v2").unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            [] | [""] => Ok(Self::Base),
            [repository @ .., "blobs", "uploads", ""] | [repository @ .., "blobs", "uploads"] => {
                Ok(Self::Uploads(name(repository)?))
            }
            [repository @ .., "blobs", "uploads", id] => Ok(Self::Upload(name(repository)?, (*id).to_owned())),
            [repository @ .., "blobs", digest] => {
                Ok(Self::Blob(name(repository)?, digest.parse().map_err(|_| Refusal::DigestInvalid)?))
            }
            [repository @ .., "manifests", reference] => {
                let repository = name(repository)?;
                let fault = if reference.contains(':') { Refusal::DigestInvalid } else { Refusal::TagInvalid };
                Ok(Self::Manifest(repository, reference.parse().map_err(|_| fault)?))
            }
            [repository @ .., "referrers", digest] => {
                Ok(Self::Referrers(name(repository)?, digest.parse().map_err(|_| Refusal::DigestInvalid)?))
            }
            [repository @ .., "tags", "list"] => Ok(Self::Tags(name(repository)?)),
            _ => Err(Refusal::RepositoryAbsent),
        }
    }
}

/// `Range` of an upload: what was received, inclusive (and `0-0` for nothing, as every registry says it).
fn received(size: u64) -> HeaderValue {
    header(&format!("0-{}", size.saturating_sub(1)))
}

/// A number of digits alone: `parse` takes a sign as well.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A header value made of names and numbers.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn created(location: &str, digest: &Digest) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(LOCATION, header(location));
    response.headers_mut().insert(CONTENT_DIGEST, header(&digest.to_string()));
    response
}

/// The values of a query, percent-decoded.
fn query(uri: &http::Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map(|axum::extract::Query(query)| query).unwrap_or_default()
}

/// All queries there are. What one does not know is ignored, as HTTP has it.
#[derive(Debug, Default, serde::Deserialize)]
struct Query {
    digest: Option<String>,
    mount: Option<String>,
    from: Option<String>,
    n: Option<String>,
    last: Option<String>,
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let name = |text: &str| text.parse::<Repository>().unwrap();
        let good = [
            ("/v2".to_owned(), Target::Base),
            ("/v2/".to_owned(), Target::Base),
            (format!("/v2/a/b/blobs/{D}"), Target::Blob(name("a/b"), D.parse().unwrap())),
            (format!("/v2/a/blobs/blobs/{D}"), Target::Blob(name("a/blobs"), D.parse().unwrap())),
            ("/v2/a/blobs/uploads/".to_owned(), Target::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Target::Uploads(name("a"))),
            ("/v2/a/blobs/uploads/x".to_owned(), Target::Upload(name("a"), "x".to_owned())),
            ("/v2/a/manifests/v1".to_owned(), Target::Manifest(name("a"), "v1".parse().unwrap())),
            (format!("/v2/a/manifests/{D}"), Target::Manifest(name("a"), D.parse().unwrap())),
            (format!("/v2/a/referrers/{D}"), Target::Referrers(name("a"), D.parse().unwrap())),
            ("/v2/tags/list/tags/list".to_owned(), Target::Tags(name("tags/list"))),
        ];
        for (path, target) in good {
            assert_eq!(Target::parse(&path).unwrap(), target, "{path}");
        }
        for path in [
            "/v2/A/tags/list",
            "/v2//tags/list",
            "/v2/a/../b/tags/list",
            "/v2/_catalog",
            "/v2/a",
            "/v2/a/blobs/x",
            "/v2/a/manifests/.x",
            "/v2/a/manifests/",
            "/v2/a%2fb/tags/list",
            "/v2/a/referrers/x",
        ] {
            assert!(Target::parse(path).is_err(), "{path}");
        }
    }
}
