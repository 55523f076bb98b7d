//! The JSON of `/api/v1/` and of `/.well-known/donjon`, for both ends.
//!
//! Owns the names of members and nothing else. Refuses nothing: the server bounds what it reads, the client what it gets. Readers
//! ignore members that they do not know. Invariant: no token is printed by `Debug`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use workload::Digest;
use workload::names::{Name, Repository};

use crate::login::{Scope, Secret};
use crate::people::{Organisation, Role, Somebody};
use crate::secrets::Kind;
use crate::settings::Access;

/// What a Drawbridge says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Announced {
    /// URL of the Steward it names: a hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steward: Option<String>,
    /// SHA-256 of the SPKI (DER) of that Steward's root CAs: hints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Digest>,
    /// By whom one logs in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Offer>,
}

/// An issuer of ID tokens by which one logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What the Drawbridge calls it.
    pub name: Name,
    /// Its URL.
    pub issuer: String,
    /// The client that ID tokens must be for.
    pub client: String,
    /// No secret: everybody gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// An ID token, shown in order to log in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub(crate) login: Name,
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub(crate) id_token: Secret,
}

/// An API token, as its holder is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// What it is revoked by.
    pub id: String,
    /// What its holder calls it.
    pub name: String,
    /// Whether it was given for a login.
    pub session: bool,
    /// The most that it may.
    pub role: Role,
    /// In which repositories.
    pub scopes: Vec<Scope>,
    /// When it was made, Unix seconds.
    pub created: u64,
    /// When it ends, Unix seconds.
    pub expires: u64,
}

/// A token that was just made: the one time that it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewToken {
    /// The token.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub token: Secret,
    /// What it is.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// A token that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// What to call it, 1 to 64 bytes.
    pub name: String,
    /// Of this organisation, for a machine; else of who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<Organisation>,
    /// The most that it may. An organisation's is for reading or writing.
    pub role: Role,
    /// In which repositories, 1 to 64.
    pub scopes: Vec<Scope>,
    /// How long it is good, 1 to 366 days; 90 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
}

/// Several tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<TokenInfo>,
}

/// Who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// What the log calls one.
    pub name: String,
    /// By which login one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Name>,
    /// What that login's issuer calls one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The address that it has verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The token that one shows, unless it is the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenInfo>,
    /// What one is, as far as the token goes.
    pub organisations: Vec<Membership>,
}

/// What somebody is in an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The organisation.
    pub organisation: Organisation,
    /// The role.
    pub role: Role,
}

/// A member of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    #[serde(flatten)]
    pub somebody: Somebody,
    /// What he is.
    pub role: Role,
    /// Whether the operator's settings say so, so that no owner can change it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settings: bool,
}

/// Several members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Members {
    pub(crate) members: Vec<Member>,
}

/// An organisation, as its members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganisationInfo {
    /// Its name.
    pub organisation: Organisation,
    /// What who asks is in it.
    pub role: Role,
    /// How many bytes it may keep, if the operator says so.
    pub quota_bytes: Option<u64>,
    /// How many it keeps.
    pub used_bytes: u64,
}

/// A repository of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// Its name.
    pub repository: Repository,
    /// Who may read it.
    #[serde(flatten)]
    pub access: Access,
}

/// Several repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepositoryList {
    pub(crate) repositories: Vec<RepositoryInfo>,
}

/// A secret that is to be set: its value, or how to make one that nobody sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretGiven {
    /// In base64.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "expose_some",
        deserialize_with = "hide_some"
    )]
    pub(crate) value: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generate: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overlap_seconds: Option<u64>,
}

/// A version of a secret, as writers are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Its name.
    pub name: Name,
    /// Counts from 1.
    pub version: u64,
    /// How it came to be.
    pub kind: Kind,
    /// The public half, SPKI in PEM, of a key pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// When, Unix seconds.
    pub created: u64,
    /// Until when it is delivered beside the next version, Unix seconds; the version in use has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// Several secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretList {
    pub(crate) secrets: Vec<SecretInfo>,
}

fn expose_some<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(to)
}

fn hide_some<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::new))
}

fn expose<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

fn hide<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    String::deserialize(from).map(Secret::new)
}
