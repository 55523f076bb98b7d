//! What is not OCI's: logging in, tokens, members of organisations, and the repositories that these make.
//!
//! Owns the JSON of `/api/v1/` and of `/.well-known/donjon`. Refusals are problem details (RFC 9457). Refuses to tell who is not a
//! member whether there is such an organisation, and to make tokens for who shows no login but a token: what was stolen does not
//! multiply. Invariant: nobody gives what he has not, and a token is shown once, to who made it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use identity::problem::{PROBLEM_MEDIA_TYPE, Problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use workload::names::Repository;

use super::{Refusal, Service};
use crate::login::{Caller, Scope, Secret};
use crate::now;
use crate::people::{ApiToken, Holder, Organisation, Role, Somebody};
use crate::settings::{Access, Hint, Login};
use crate::store::Space;
use crate::wire::{
    Announced, Credentials, Me, Member, Members, Membership, NewToken, Offer, OrganisationInfo, RepositoryInfo,
    RepositoryList, TokenInfo, TokenWanted, Tokens,
};

/// The longest body, in bytes: a secret in base64, and room.
const BODY: usize = 128 * 1024;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// How long a token is good, in days, if nobody says, and at most.
const USUAL: u64 = 90;
const LONGEST: u64 = 366;
/// The longest name of a token, in bytes, and the most scopes of one.
const NAME: usize = 64;
const SCOPES: usize = 64;

pub(super) type Answer = Result<Response, Problematic>;

/// A refusal as problem details.
pub(super) struct Problematic(Refusal);

impl<E: Into<Refusal>> From<E> for Problematic {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problematic {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let detail = refusal.to_string();
        let mut response = refusal.into_response();
        let status = response.status();
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        let problem =
            Problem { kind: "about:blank".to_owned(), title, status: status.as_u16(), detail, checks: vec![] };
        *response.body_mut() = Body::from(serde_json::to_string(&problem).unwrap_or_default());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        response
    }
}

/// The routes.
pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/.well-known/donjon", get(announced))
        .route("/api/v1/login", post(login))
        .route("/api/v1/me", get(me))
        .route("/api/v1/tokens", get(tokens).post(make_token))
        .route("/api/v1/tokens/{id}", delete(revoke))
        .route("/api/v1/organisations/{organisation}", get(organisation))
        .route("/api/v1/organisations/{organisation}/members", get(members).put(set_member).delete(remove_member))
        .route("/api/v1/organisations/{organisation}/repositories", get(repositories))
        .route("/api/v1/repositories/{*repository}", put(make_repository))
}

async fn announced(State(service): State<Arc<Service>>) -> Response {
    let (steward, anchors) = match &service.declared.steward {
        Some(Hint { url, anchors }) => (Some(url.clone()), anchors.clone()),
        None => (None, Vec::new()),
    };
    let logins = service.logins.issuers.logins().map(|(name, login)| {
        let Login { issuer, client, client_secret, session_hours: _ } = login.clone();
        Offer { name: name.clone(), issuer, client, client_secret }
    });
    let announced = Announced { steward, anchors, logins: logins.collect() };
    if announced == Announced::default() {
        return StatusCode::NOT_FOUND.into_response();
    }
    Json(announced).into_response()
}

/// Who shows a token of his own.
pub(super) struct Shown(pub(super) Caller);

impl FromRequestParts<Arc<Service>> for Shown {
    type Rejection = Problematic;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problematic> {
        let caller = service.logins.caller(&service.store, &parts.headers, None, now()).await?;
        Ok(Self(caller.ok_or(Refusal::TokenNeeded)?))
    }
}

/// A JSON body.
pub(super) struct Given<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Given<T> {
    type Rejection = Problematic;

    async fn from_request(request: Request, _: &Arc<Service>) -> Result<Self, Problematic> {
        let body = http_body_util::Limited::new(request.into_body(), BODY).collect().await;
        let bytes = body.map_err(|_| Refusal::Interrupted)?.to_bytes();
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Refusal::Json(error.to_string()).into())
    }
}

impl From<&ApiToken> for TokenInfo {
    fn from(token: &ApiToken) -> Self {
        let ApiToken { id, holder: _, name, session, role, scopes, created, expires } = token.clone();
        Self { id, name, session, role, scopes, created, expires }
    }
}

async fn login(State(service): State<Arc<Service>>, Given(given): Given<Credentials>) -> Answer {
    let Credentials { login, id_token } = given;
    let now = now();
    let said = service.logins.issuers.verify(&login, &id_token, now).await?;
    // Longer than it is good: another clock may be behind ours.
    if !service.store.spend(&id_token.digest(), said.expires.saturating_add(HOUR), now).await? {
        return Err(Refusal::Spent.into());
    }
    let person = service.store.came(&said.issuer, &said.subject, said.email.as_deref(), now).await?;
    let hours = service.logins.issuers.login(&login).map_or(0, |login| login.session_hours);
    tracing::info!(%login, subject = said.subject, person = person.id, "logged in");
    let token = ApiToken {
        id: service.store.new_id()?,
        holder: Holder::Person(person),
        name: format!("login by {login}"),
        session: true,
        role: Role::Owner,
        scopes: vec![Scope::All],
        created: now,
        expires: now.saturating_add(u64::from(hours).saturating_mul(HOUR)),
    };
    keep(&service, &token).await
}

/// Makes a token and shows it.
async fn keep(service: &Service, token: &ApiToken) -> Answer {
    let secret = Secret::generate().map_err(|_| crate::store::StoreError::NoRandomness)?;
    if !service.store.keep_token(token, &secret.digest(), now()).await? {
        return Err(Refusal::TooMany("tokens").into());
    }
    let made = NewToken { token: secret, info: token.into() };
    let mut response = (StatusCode::CREATED, Json(made)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn me(State(service): State<Arc<Service>>, Shown(caller): Shown) -> Answer {
    let logins = &service.logins;
    let (mut person, mut organisations) = (None, Vec::new());
    match caller.api_token().map(|token| &token.holder) {
        Some(Holder::Person(found)) => {
            let mut all: Vec<_> = service.store.roles(found, None).await?.into_iter().map(|(name, _)| name).collect();
            let named = logins.organisations.keys().filter(|organisation| logins.named_owner(found, organisation));
            all.extend(named.cloned());
            all.sort();
            all.dedup();
            organisations = all;
            person = Some(found);
        }
        Some(Holder::Organisation(organisation)) => organisations.push(organisation.clone()),
        None => {}
    }
    let mut memberships = Vec::new();
    for organisation in organisations {
        let Some(token) = caller.api_token() else { break };
        if let Some(role) = logins.role_in(&service.store, token, &organisation).await? {
            memberships.push(Membership { organisation, role });
        }
    }
    let me = Me {
        name: caller.name().to_owned(),
        login: person.and_then(|person| logins.issuers.name_of(&person.issuer).cloned()),
        subject: person.map(|person| person.subject.clone()),
        email: person.and_then(|person| person.email.clone()),
        token: caller.api_token().map(TokenInfo::from),
        organisations: memberships,
    };
    Ok(Json(me).into_response())
}

/// Whose tokens are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    organisation: Option<Organisation>,
}

/// Whose tokens somebody may see and end: his own, or those of an organisation that he owns.
async fn holder(service: &Service, caller: &Caller, whose: Option<Organisation>) -> Result<Holder, Problematic> {
    match whose {
        Some(organisation) => {
            owner(service, caller, &organisation).await?;
            Ok(Holder::Organisation(organisation))
        }
        None => match caller.api_token() {
            Some(ApiToken { holder: Holder::Person(person), .. }) => Ok(Holder::Person(person.clone())),
            _ => Err(Refusal::SessionNeeded.into()),
        },
    }
}

async fn tokens(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Query(Whose { organisation }): Query<Whose>,
) -> Answer {
    let holder = holder(&service, &caller, organisation).await?;
    let tokens = service.store.tokens(&holder, now()).await?;
    Ok(Json(Tokens { tokens: tokens.iter().map(TokenInfo::from).collect() }).into_response())
}

async fn make_token(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Given(wanted): Given<TokenWanted>,
) -> Answer {
    let TokenWanted { name, organisation, role, scopes, days } = wanted;
    if !caller.api_token().is_some_and(|token| token.session) {
        return Err(Refusal::SessionNeeded.into());
    }
    let holder = holder(&service, &caller, organisation).await?;
    if matches!(holder, Holder::Organisation(_)) && role == Role::Owner {
        return Err(Refusal::Wish("an organisation's token is for reading or writing: its owners are people").into());
    }
    let days = days.unwrap_or(USUAL);
    let named = (1..=NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    if !named || !(1..=SCOPES).contains(&scopes.len()) || !(1..=LONGEST).contains(&days) {
        let wish = "a token has a name of 1 to 64 bytes, 1 to 64 scopes, and is good for 1 to 366 days";
        return Err(Refusal::Wish(wish).into());
    }
    let (id, created) = (service.store.new_id()?, now());
    let expires = created.saturating_add(days.saturating_mul(DAY));
    let token = ApiToken { id, holder, name, session: false, role, scopes, created, expires };
    let made = keep(&service, &token).await?;
    tracing::info!(by = caller.name(), id = token.id, name = token.name, %role, "token made");
    Ok(made)
}

async fn revoke(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(id): Path<String>,
    Query(Whose { organisation }): Query<Whose>,
) -> Answer {
    let revoked = match caller.api_token() {
        // Whoever holds a token may throw it away.
        Some(token) if id == "current" => service.store.revoke(&token.holder, &token.id).await?,
        _ => service.store.revoke(&holder(&service, &caller, organisation).await?, &id).await?,
    };
    if !revoked {
        return Err(Refusal::Absent("token").into());
    }
    tracing::info!(by = caller.name(), id, "token revoked");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What somebody is in an organisation; to who is nothing in it, it is not there.
async fn role(service: &Service, caller: &Caller, organisation: &Organisation) -> Result<Role, Problematic> {
    let absent = || Problematic(Refusal::Absent("organisation"));
    let token = caller.api_token().ok_or_else(absent)?;
    service.logins.role_in(&service.store, token, organisation).await?.ok_or_else(absent)
}

async fn owner(service: &Service, caller: &Caller, organisation: &Organisation) -> Result<(), Problematic> {
    match role(service, caller, organisation).await? {
        Role::Owner => Ok(()),
        role => Err(Refusal::OwnerNeeded { organisation: organisation.clone(), role }.into()),
    }
}

async fn organisation(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(organisation): Path<Organisation>,
) -> Answer {
    let role = role(&service, &caller, &organisation).await?;
    let Space { quota, used } = service.store.space(&organisation).await?.ok_or(Refusal::Absent("organisation"))?;
    Ok(Json(OrganisationInfo { organisation, role, quota_bytes: quota, used_bytes: used }).into_response())
}

async fn members(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(organisation): Path<Organisation>,
) -> Answer {
    role(&service, &caller, &organisation).await?;
    let named = service.logins.organisations.get(&organisation).into_iter().flat_map(|terms| &terms.owners);
    let mut members: Vec<_> =
        named.map(|somebody| Member { somebody: somebody.clone(), role: Role::Owner, settings: true }).collect();
    for (issuer, known, role) in service.store.members(&organisation).await? {
        // Of an issuer that the settings no longer have nobody comes.
        let Some(login) = service.logins.issuers.name_of(&issuer).cloned() else { continue };
        members.push(Member { somebody: Somebody { login, known }, role, settings: false });
    }
    Ok(Json(Members { members }).into_response())
}

/// The issuer through which somebody comes.
fn issuer<'a>(service: &'a Service, somebody: &Somebody) -> Result<&'a str, Refusal> {
    let login = service.logins.issuers.login(&somebody.login);
    login.map(|login| login.issuer.as_str()).ok_or(Refusal::Absent("login"))
}

async fn set_member(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(organisation): Path<Organisation>,
    Given(Member { somebody, role, settings: _ }): Given<Member>,
) -> Answer {
    owner(&service, &caller, &organisation).await?;
    let issuer = issuer(&service, &somebody)?;
    if !service.store.set_member(&organisation, issuer, &somebody.known, role).await? {
        return Err(Refusal::TooMany("members").into());
    }
    tracing::info!(by = caller.name(), %organisation, login = %somebody.login, %role, "member set");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove_member(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(organisation): Path<Organisation>,
    Query(somebody): Query<Somebody>,
) -> Answer {
    owner(&service, &caller, &organisation).await?;
    let issuer = issuer(&service, &somebody)?;
    if !service.store.remove_member(&organisation, issuer, &somebody.known).await? {
        return Err(Refusal::Absent("member").into());
    }
    tracing::info!(by = caller.name(), %organisation, login = %somebody.login, "member removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn repositories(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(organisation): Path<Organisation>,
) -> Answer {
    role(&service, &caller, &organisation).await?;
    let made = service.store.repositories(&organisation).await?;
    let declared = service.declared.repositories.all();
    let declared = declared.filter(|(name, _)| Organisation::of(name) == organisation);
    let mut all: Vec<_> = declared.map(|(name, access)| (name.clone(), access)).collect();
    // What the operator says of one counts.
    all.extend(made.into_iter().filter(|(name, _)| service.declared.repositories.access(name).is_none()));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let repositories = all.into_iter().map(|(repository, access)| RepositoryInfo { repository, access }).collect();
    Ok(Json(RepositoryList { repositories }).into_response())
}

async fn make_repository(
    State(service): State<Arc<Service>>,
    Shown(caller): Shown,
    Path(repository): Path<Repository>,
    Given(access): Given<Access>,
) -> Answer {
    owner(&service, &caller, &Organisation::of(&repository)).await?;
    let declared = service.declared.repositories.access(&repository).is_some();
    if !declared && service.store.create(&repository, access).await? {
        tracing::info!(by = caller.name(), %repository, ?access, "repository made");
        return Ok(StatusCode::CREATED.into_response());
    }
    let now = if declared { None } else { service.store.access(&repository).await? };
    match (now, access) {
        (Some(now), wanted) if now == wanted => {}
        (Some(Access::Public | Access::Private), Access::Public | Access::Private) => {
            service.store.set_public(&repository, access == Access::Public).await?;
        }
        // What is in it was meant for others.
        _ => return Err(Refusal::Settled(repository).into()),
    }
    tracing::info!(by = caller.name(), %repository, ?access, "repository opened or closed");
    Ok(StatusCode::NO_CONTENT.into_response())
}
