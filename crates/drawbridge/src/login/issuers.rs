//! Issuers of ID tokens: whom the operator lets say who somebody is.
//!
//! Owns the check of an ID token (OpenID Connect Core 1.0, section 3.1.3.7), and an issuer's metadata and keys, which are asked for
//! when they are needed, again after an hour, and again when a token has a key that nobody knows, for issuers change theirs.
//! Refuses tokens for another client, unsigned ones and those with a shared key, and emails that the issuer has not verified.
//! Invariant: who made the token, one answer over TLS and the pinned URL say, never the token.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use openidconnect::core::{CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm as Alg, CoreProviderMetadata};
use openidconnect::{ClaimsVerificationError, ClientId, IdTokenVerifier, Nonce, SignatureVerificationError};
use tokio::sync::Mutex;
use tokio::time::Instant;
use workload::names::Name;

use super::Secret;
use crate::oidc::{self, Http, HttpError};
use crate::settings::Login;

/// How long an issuer's keys are taken for its own without asking.
const FRESH: Duration = Duration::from_secs(3600);
/// How long after one question the next may follow.
const PAUSE: Duration = Duration::from_secs(5);
/// The oldest ID token that one may log in with, in seconds; and how far clocks may be apart.
const AGE: i64 = 600;
const SKEW: i64 = 60;
/// The longest ID token, in bytes.
const LONGEST: usize = 16 * 1024;

/// All issuers, by the name of their login in the settings.
#[derive(Debug)]
pub(crate) struct Issuers {
    /// If there are any.
    http: Option<Http>,
    all: BTreeMap<Name, (Login, Mutex<Keys>)>,
}

#[derive(Default)]
struct Keys {
    metadata: Option<CoreProviderMetadata>,
    asked: Option<Instant>,
}

/// What an ID token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// If the issuer says that it has verified it.
    pub(crate) email: Option<String>,
    /// When the token ends, Unix seconds.
    pub(crate) expires: u64,
}

/// Why nobody logs in with an ID token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdTokenError {
    #[error("there is no login `{0}` here")]
    NoLogin(Name),
    #[error("the issuer does not answer")]
    Issuer(String),
    #[error("the ID token is not one")]
    Form,
    #[error("the ID token is not good: {0}")]
    Claims(ClaimsVerificationError),
    #[error("the ID token is older than {AGE} seconds, or of the future")]
    Age,
}

impl Issuers {
    pub(crate) fn new(logins: BTreeMap<Name, Login>) -> Result<Self, HttpError> {
        let http = (!logins.is_empty()).then(Http::new).transpose()?;
        let all = logins.into_iter().map(|(name, login)| (name, (login, Mutex::default()))).collect();
        Ok(Self { http, all })
    }

    /// The logins there are, by name.
    pub(crate) fn logins(&self) -> impl Iterator<Item = (&Name, &Login)> {
        self.all.iter().map(|(name, (login, _))| (name, login))
    }

    pub(crate) fn login(&self, name: &Name) -> Option<&Login> {
        self.all.get(name).map(|(login, _)| login)
    }

    /// What this login's issuer calls that.
    pub(crate) fn name_of(&self, issuer: &str) -> Option<&Name> {
        self.logins().find(|(_, login)| login.issuer == issuer).map(|(name, _)| name)
    }

    /// Checks an ID token at `now` (Unix seconds).
    pub(crate) async fn verify(&self, name: &Name, token: &Secret, now: u64) -> Result<Said, IdTokenError> {
        let found = self.all.get(name).zip(self.http.as_ref());
        let ((login, keys), http) = found.ok_or_else(|| IdTokenError::NoLogin(name.clone()))?;
        if token.expose().len() > LONGEST {
            return Err(IdTokenError::Form);
        }
        let token = CoreIdToken::from_str(token.expose()).map_err(|_| IdTokenError::Form)?;
        let mut keys = keys.lock().await;
        let fresh = keys.asked.is_some_and(|asked| asked.elapsed() < FRESH);
        if keys.metadata.is_none() || !fresh {
            keys.ask(http, login).await?;
        }
        let mut checked = keys.check(login, &token);
        let unknown = ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey);
        if matches!(&checked, Err(IdTokenError::Claims(error)) if *error == unknown)
            && keys.asked.is_none_or(|asked| asked.elapsed() >= PAUSE)
        {
            keys.ask(http, login).await?;
            checked = keys.check(login, &token);
        }
        let claims = checked?;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let issued = claims.issue_time().timestamp();
        if issued > now.saturating_add(SKEW) || issued < now.saturating_sub(AGE) {
            return Err(IdTokenError::Age);
        }
        let verified = claims.email_verified() == Some(true);
        Ok(Said {
            issuer: login.issuer.clone(),
            subject: claims.subject().as_str().to_owned(),
            email: claims.email().filter(|_| verified).map(|email| email.as_str().to_owned()),
            expires: u64::try_from(claims.expiration().timestamp()).unwrap_or(0),
        })
    }
}

impl Keys {
    async fn ask(&mut self, http: &Http, login: &Login) -> Result<(), IdTokenError> {
        if self.metadata.is_none() && self.asked.is_some_and(|asked| asked.elapsed() < PAUSE / 5) {
            return Err(IdTokenError::Issuer("it did not answer a moment ago".to_owned()));
        }
        self.asked = Some(Instant::now());
        let url = oidc::issuer(&login.issuer).ok_or_else(|| IdTokenError::Issuer("it has no URL".to_owned()))?;
        match CoreProviderMetadata::discover_async(url, http).await {
            Ok(metadata) => {
                self.metadata = Some(metadata);
                Ok(())
            }
            // Keys that were good an hour ago are no longer: the issuer may have taken one back.
            Err(error) => {
                self.metadata = None;
                Err(IdTokenError::Issuer(error.to_string()))
            }
        }
    }

    fn check(&self, login: &Login, token: &CoreIdToken) -> Result<CoreIdTokenClaims, IdTokenError> {
        let metadata = self.metadata.as_ref().ok_or(IdTokenError::Form)?;
        let (client, issuer) = (ClientId::new(login.client.clone()), metadata.issuer().clone());
        let verifier = IdTokenVerifier::new_public_client(client, issuer, metadata.jwks().clone()).set_allowed_algs([
            Alg::RsaSsaPkcs1V15Sha256,
            Alg::RsaSsaPkcs1V15Sha384,
            Alg::RsaSsaPkcs1V15Sha512,
            Alg::RsaSsaPssSha256,
            Alg::RsaSsaPssSha384,
            Alg::RsaSsaPssSha512,
            Alg::EcdsaP256Sha256,
            Alg::EcdsaP384Sha384,
            Alg::EdDsa,
        ]);
        // Each token is spent once, which is what a nonce is for.
        let nonce = |_: Option<&Nonce>| Ok(());
        token.claims(&verifier, nonce).cloned().map_err(IdTokenError::Claims)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Keys(…)")
    }
}
