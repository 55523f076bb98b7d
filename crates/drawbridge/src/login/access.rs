//! Access tokens: what an ordinary registry client gets for its login, for some minutes, one registry and some repositories.
//!
//! Owns their form, a JWT (RFC 7519) as the token authentication of Distribution has it ("Docker Registry v2 Bearer token
//! specification"), with HS256 under a key that all Drawbridges of one store share. Refuses what is for another service, of
//! another time, signed by another key or in another way. Invariant: one is never longer-lived than [`LIFETIME`]. It says whom it
//! was given to and what for; whether he may, is asked when he does it.

use std::collections::BTreeSet;
use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use workload::names::{Authority, Repository};

use super::Secret;

/// How long one is good, in seconds.
pub(crate) const LIFETIME: u64 = 300;
/// How far the clocks of two Drawbridges may be apart, in seconds.
const SKEW: u64 = 60;
const ISSUER: &str = "donjon drawbridge";
/// The most repositories that one is for.
pub(crate) const MOST: usize = 64;

/// The key of all access tokens.
pub(crate) struct AccessTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Raw", try_from = "Raw")]
pub(crate) struct Wanted {
    pub(crate) repository: Repository,
    pub(crate) actions: BTreeSet<Action>,
}

/// Actions as clients name them. Who may push may delete, so that is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Pull,
    Push,
}

/// The form of a [`Wanted`] in a token.
#[derive(Clone, Serialize, Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    name: Repository,
    actions: BTreeSet<Action>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    iat: u64,
    nbf: u64,
    exp: u64,
    access: Vec<Wanted>,
}

impl Wanted {
    /// `repository:NAME:pull,push`; `None` for anything else, actions that nobody knows are left out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
        let actions = actions.split(',').flat_map(|action| match action {
            "pull" => vec![Action::Pull],
            "push" | "delete" => vec![Action::Push],
            "*" => vec![Action::Pull, Action::Push],
            _ => vec![],
        });
        Some(Self { repository: name.parse().ok()?, actions: actions.collect() })
    }
}

impl From<Wanted> for Raw {
    fn from(Wanted { repository, actions }: Wanted) -> Self {
        Self { kind: "repository".to_owned(), name: repository, actions }
    }
}

impl TryFrom<Raw> for Wanted {
    type Error = &'static str;

    fn try_from(Raw { kind, name, actions }: Raw) -> Result<Self, Self::Error> {
        if kind == "repository" { Ok(Self { repository: name, actions }) } else { Err("not about a repository") }
    }
}

impl AccessTokens {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { signing: EncodingKey::from_secret(key), verifying: DecodingKey::from_secret(key) }
    }

    pub(super) fn issue(
        &self,
        sub: Option<String>,
        service: &Authority,
        access: Vec<Wanted>,
        now: u64,
    ) -> Option<Secret> {
        let (iss, aud) = (ISSUER.to_owned(), service.to_string());
        let claims = Claims { iss, aud, sub, iat: now, nbf: now, exp: now.saturating_add(LIFETIME), access };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing).ok().map(Secret::new)
    }

    /// Whom it was given to, and for what; `None`: it is not one, or not for this, or not now.
    pub(super) fn verify(
        &self,
        token: &Secret,
        service: &Authority,
        now: u64,
    ) -> Option<(Option<String>, Vec<Wanted>)> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[service.as_str()]);
        rules.set_required_spec_claims(&["iss", "aud", "exp", "nbf"]);
        // Its own look at the clock is not ours.
        rules.validate_exp = false;
        let Claims { iss: _, aud: _, sub, iat: _, nbf, exp, access } =
            decode(token.expose(), &self.verifying, &rules).ok()?.claims;
        (now < exp && now.saturating_add(SKEW) >= nbf).then_some((sub, access))
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AccessTokens(…)")
    }
}
