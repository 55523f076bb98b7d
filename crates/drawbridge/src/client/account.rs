//! One's account at a Drawbridge: logging in, tokens, members of organisations, their repositories.
//!
//! Owns the device flow (RFC 8628), by which somebody at any browser tells his issuer who sits at this terminal. Refuses issuers that
//! are not named by https. Invariant: an ID token goes to the Drawbridge that asked for it, and nowhere else.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod, CoreDeviceAuthorizationResponse,
    CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, ClientId, ClientSecret, DeviceAuthorizationUrl, ProviderMetadata, Scope,
    TokenResponse as _,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use workload::names::{Name, Repository};

use super::{Client, ClientError, Payload, SMALL};
use crate::login::Secret;
use crate::oidc::{self, Http};
use crate::people::{Known, Organisation, Somebody};
use crate::secrets::Kind;
use crate::settings::Access;
use crate::wire::{
    Announced, Credentials, Me, Member, Members, NewToken, Offer, OrganisationInfo, RepositoryInfo, RepositoryList,
    SecretGiven, SecretInfo, SecretList, TokenInfo, TokenWanted, Tokens,
};

/// A list of an organisation's members or repositories may be this long, in bytes.
const LIST: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DeviceEndpoint {
    device_authorization_endpoint: DeviceAuthorizationUrl,
}

impl AdditionalProviderMetadata for DeviceEndpoint {}

type Metadata = ProviderMetadata<
    DeviceEndpoint,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// A login that waits until somebody has said at his issuer, in a browser, that it is his.
pub struct Device {
    http: Http,
    offer: Offer,
    metadata: Metadata,
    details: CoreDeviceAuthorizationResponse,
}

/// Why nobody logs in at an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It has no URL that one may speak to.
    #[error("the issuer {issuer:?} is neither https nor on this machine")]
    Issuer {
        /// What the Drawbridge says.
        issuer: String,
    },
    /// It does not answer, or has no device flow, or does not know this client.
    #[error("the issuer {issuer} does not begin a login: {text}")]
    Begin {
        /// Its URL.
        issuer: String,
        /// Why.
        text: String,
    },
    /// Nobody confirmed, or somebody refused.
    #[error("the issuer {issuer} did not say who you are: {text}")]
    Wait {
        /// Its URL.
        issuer: String,
        /// Why.
        text: String,
    },
}

impl Device {
    /// Begins a login.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub async fn begin(offer: &Offer) -> Result<Self, DeviceError> {
        let issuer = oidc::issuer(&offer.issuer).ok_or(DeviceError::Issuer { issuer: offer.issuer.clone() })?;
        let failed = |text: String| DeviceError::Begin { issuer: offer.issuer.clone(), text };
        let http = Http::new().map_err(|error| failed(error.to_string()))?;
        let metadata = Metadata::discover_async(issuer, &http).await.map_err(|error| failed(words(&error)))?;
        let url = metadata.additional_metadata().device_authorization_endpoint.clone();
        let client = CoreClient::from_provider_metadata(
            metadata.clone(),
            ClientId::new(offer.client.clone()),
            offer.client_secret.clone().map(ClientSecret::new),
        );
        let client = client.set_device_authorization_url(url).set_auth_type(auth(&metadata));
        let details: CoreDeviceAuthorizationResponse = client
            .exchange_device_code()
            .add_scope(Scope::new("email".to_owned()))
            // Else some say it elsewhere than in the ID token (OpenID Connect Core 1.0, sections 5.4 and 5.5).
            .add_extra_param("claims", r#"{"id_token":{"email":null,"email_verified":null}}"#)
            .request_async(&http)
            .await
            .map_err(|error| failed(words(&error)))?;
        Ok(Self { http, offer: offer.clone(), metadata, details })
    }

    /// Where to go with a browser.
    #[must_use]
    pub fn url(&self) -> &str {
        self.details.verification_uri().as_str()
    }

    /// The same with the code in it, if the issuer has that.
    #[must_use]
    pub fn url_with_code(&self) -> Option<&str> {
        self.details.verification_uri_complete().map(|url| url.secret().as_str())
    }

    /// What to enter there.
    #[must_use]
    pub fn code(&self) -> &str {
        self.details.user_code().secret()
    }

    /// Waits until somebody has done so, and gives the ID token.
    ///
    /// # Errors
    /// [`DeviceError::Wait`].
    pub async fn wait(self) -> Result<Secret, DeviceError> {
        let Self { http, offer, metadata, details } = self;
        let failed = |text: String| DeviceError::Wait { issuer: offer.issuer.clone(), text };
        let auth = auth(&metadata);
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(offer.client.clone()),
            offer.client_secret.clone().map(ClientSecret::new),
        );
        let client = client.set_auth_type(auth);
        let token = client
            .exchange_device_access_token(&details)
            .map_err(|error| failed(words(&error)))?
            .request_async(&http, tokio::time::sleep, None)
            .await
            .map_err(|error| failed(words(&error)))?;
        let token = token.id_token().ok_or_else(|| failed("it gave no ID token".to_owned()))?;
        Ok(Secret::new(token.to_string()))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Device({})", self.offer.issuer)
    }
}

/// How the issuer wants to see a client's secret, if there is one.
fn auth(metadata: &Metadata) -> AuthType {
    let posted = |methods: &Vec<CoreClientAuthMethod>| methods.contains(&CoreClientAuthMethod::ClientSecretPost);
    let body = metadata.token_endpoint_auth_methods_supported().is_some_and(posted);
    if body { AuthType::RequestBody } else { AuthType::BasicAuth }
}

/// An error and its causes, short and without control characters: some words are the issuer's.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().filter(|character| !character.is_control()).take(512).collect()
}

impl Client {
    /// What this Drawbridge says of itself.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Absent`] if it says nothing.
    pub async fn well_known(&self) -> Result<Announced, ClientError> {
        self.ask(Method::GET, "/.well-known/donjon", SMALL).await
    }

    /// Logs in with an ID token: an API token for it.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Unauthorized`] if the ID token is not taken.
    pub async fn log_in(&self, login: &Name, id_token: &Secret) -> Result<NewToken, ClientError> {
        let credentials = Credentials { login: login.clone(), id_token: id_token.clone() };
        self.give(Method::POST, "/api/v1/login", &credentials).await
    }

    /// Who one is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.ask(Method::GET, "/api/v1/me", SMALL).await
    }

    /// One's tokens, or those of an organisation that one owns.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tokens(&self, organisation: Option<&Organisation>) -> Result<Vec<TokenInfo>, ClientError> {
        let path = format!("/api/v1/tokens{}", of(organisation));
        self.ask(Method::GET, &path, LIST).await.map(|Tokens { tokens }| tokens)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn make_token(&self, wanted: &TokenWanted) -> Result<NewToken, ClientError> {
        self.give(Method::POST, "/api/v1/tokens", wanted).await
    }

    /// Ends a token; `None` = the one that is shown.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke(&self, id: Option<&str>, organisation: Option<&Organisation>) -> Result<(), ClientError> {
        let id = form_urlencoded::byte_serialize(id.unwrap_or("current").as_bytes()).collect::<String>();
        let path = format!("/api/v1/tokens/{id}{}", of(organisation));
        self.done(Method::DELETE, &path).await
    }

    /// An organisation that one is in.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn organisation(&self, organisation: &Organisation) -> Result<OrganisationInfo, ClientError> {
        self.ask(Method::GET, &format!("/api/v1/organisations/{organisation}"), SMALL).await
    }

    /// Its members.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn members(&self, organisation: &Organisation) -> Result<Vec<Member>, ClientError> {
        let path = format!("/api/v1/organisations/{organisation}/members");
        self.ask(Method::GET, &path, LIST).await.map(|Members { members }| members)
    }

    /// Makes somebody a member, or changes what he is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_member(&self, organisation: &Organisation, member: &Member) -> Result<(), ClientError> {
        let path = format!("/api/v1/organisations/{organisation}/members");
        self.put(&path, member).await.map(|_| ())
    }

    /// Takes a member out.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_member(&self, organisation: &Organisation, who: &Somebody) -> Result<(), ClientError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("login", who.login.as_str());
        match &who.known {
            Known::Subject(subject) => query.append_pair("subject", subject),
            Known::Email(email) => query.append_pair("email", email),
        };
        let path = format!("/api/v1/organisations/{organisation}/members?{}", query.finish());
        self.done(Method::DELETE, &path).await
    }

    /// The repositories of an organisation.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn repositories(&self, organisation: &Organisation) -> Result<Vec<RepositoryInfo>, ClientError> {
        let path = format!("/api/v1/organisations/{organisation}/repositories");
        self.ask(Method::GET, &path, LIST).await.map(|RepositoryList { repositories }| repositories)
    }

    /// Makes a repository, or opens or closes one that is not confidential. True: it was made.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn make_repository(&self, repository: &Repository, access: &Access) -> Result<bool, ClientError> {
        let path = format!("/api/v1/repositories/{repository}");
        Ok(self.put(&path, access).await? == StatusCode::CREATED)
    }

    /// Sets a secret of a repository; the version before is delivered beside it for so many seconds, or as long as is usual.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_secret(
        &self,
        repository: &Repository,
        name: &Name,
        value: &[u8],
        overlap_seconds: Option<u64>,
    ) -> Result<SecretInfo, ClientError> {
        let value = Secret::new(BASE64_STANDARD.encode(value));
        let given = SecretGiven { value: Some(value), generate: None, overlap_seconds };
        self.give(Method::PUT, &format!("/api/v1/secret/{name}/{repository}"), &given).await
    }

    /// Has the Drawbridge make a secret that nobody sees.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn generate_secret(
        &self,
        repository: &Repository,
        name: &Name,
        kind: Kind,
        overlap_seconds: Option<u64>,
    ) -> Result<SecretInfo, ClientError> {
        let given = SecretGiven { value: None, generate: Some(kind), overlap_seconds };
        self.give(Method::PUT, &format!("/api/v1/secret/{name}/{repository}"), &given).await
    }

    /// Has the Drawbridge make the next version of a secret that it made before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rotate_secret(
        &self,
        repository: &Repository,
        name: &Name,
        overlap_seconds: Option<u64>,
    ) -> Result<SecretInfo, ClientError> {
        let query = overlap_seconds.map(|seconds| format!("?overlap_seconds={seconds}")).unwrap_or_default();
        self.ask(Method::POST, &format!("/api/v1/secret/{name}/{repository}{query}"), SMALL).await
    }

    /// The secrets of a repository, without their values.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn secrets(&self, repository: &Repository) -> Result<Vec<SecretInfo>, ClientError> {
        let path = format!("/api/v1/secrets/{repository}");
        self.ask(Method::GET, &path, LIST).await.map(|SecretList { secrets }| secrets)
    }

    /// Deletes a secret, all versions.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_secret(&self, repository: &Repository, name: &Name) -> Result<(), ClientError> {
        self.done(Method::DELETE, &format!("/api/v1/secret/{name}/{repository}")).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, limit: u64) -> Result<T, ClientError> {
        let what = format!("{method} {path}");
        let request = self.build(&method, path);
        let answer = self.success(what.clone(), request, Payload::Nothing, limit).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| ClientError::Broken { what, text: format!("not the answer of a Drawbridge: {error}") })
    }

    async fn give<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let what = format!("{method} {path}");
        let broken = |error: serde_json::Error| ClientError::Broken { what: what.clone(), text: error.to_string() };
        let request = self.build(&method, path).header(CONTENT_TYPE, "application/json");
        let body = serde_json::to_vec(body).map_err(broken)?;
        let answer = self.success(what.clone(), request, Payload::Whole(body.into()), SMALL).await?;
        serde_json::from_slice(&answer.body).map_err(broken)
    }

    async fn put(&self, path: &str, body: &impl Serialize) -> Result<StatusCode, ClientError> {
        let what = format!("PUT {path}");
        let request = self.build(&Method::PUT, path).header(CONTENT_TYPE, "application/json");
        let body = serde_json::to_vec(body)
            .map_err(|error| ClientError::Broken { what: what.clone(), text: error.to_string() })?;
        self.success(what, request, Payload::Whole(body.into()), SMALL).await.map(|answer| answer.status)
    }

    async fn done(&self, method: Method, path: &str) -> Result<(), ClientError> {
        let request = self.build(&method, path);
        self.success(format!("{method} {path}"), request, Payload::Nothing, SMALL).await.map(|_| ())
    }
}

fn of(organisation: Option<&Organisation>) -> String {
    organisation.map(|organisation| format!("?organisation={organisation}")).unwrap_or_default()
}
