//! What the other side is told when it does not get what it wants: a small closed mapping to OCI error codes.
//!
//! Owns status, code and public text of every refusal (OCI distribution-spec 1.1, "Error Codes"). Refuses to carry inner
//! texts outward: those go to the log. Invariant: what is absent, and what is confidential to this peer, is the same value
//! here, so status, headers and body are the same bytes.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use identity::signed::{OpenError, OutOfOrder};
use workload::names::Repository;

use crate::digest::{Digest, Mismatch};
use crate::login::{IdTokenError, LoginError};
use crate::people::{Organisation, Role};
use crate::store::{ChargeError, PutError, StoreError, UploadFault};

/// Why a request is not answered as hoped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    #[error("a token is needed: Authorization: Bearer TOKEN, or Basic with the token as password")]
    TokenNeeded,
    #[error("this token is not known here")]
    TokenUnknown,
    #[error("this token may not write to {0}")]
    OutOfScope(Repository),
    #[error("this access token is not for writing to {0}")]
    OutOfAccess(Repository),
    #[error("the service or scope of an access token is not one")]
    AccessInvalid,
    #[error(
        "repository {0} does not exist: an owner of its organisation makes it (`donjon repository create`), or the operator \
             in the settings, [repository.\"{0}\"]"
    )]
    NoRepository(Repository),
    #[error("repository not found")]
    RepositoryAbsent,
    #[error("manifest not found")]
    ManifestAbsent,
    #[error("blob not found")]
    BlobAbsent,
    #[error("upload not found: it ended, was given up for too long, or never began")]
    UploadAbsent,
    #[error("another request is writing to this upload")]
    UploadBusy,
    #[error("too many requests of this client: try again in a second")]
    Often,
    #[error("too many uploads at once: try again later")]
    TooManyUploads,
    #[error("the upload stands at byte {at}; the next chunk begins there")]
    OutOfOrder { at: u64 },
    #[error("the body ended early")]
    Interrupted,
    #[error("at most {limit} bytes are taken")]
    TooLong { limit: u64 },
    #[error("the range is not within the blob of {size} bytes")]
    Range { size: u64 },
    #[error("not a repository name")]
    NameInvalid,
    #[error("not a tag")]
    TagInvalid,
    #[error("not a digest of the form sha256:<64 lowercase hex digits> or sha512:<128 of them>")]
    DigestInvalid,
    #[error("{0}")]
    DigestMismatch(Box<Mismatch>),
    #[error("n is not a number")]
    PageInvalid,
    #[error("not a manifest: {0}")]
    ManifestInvalid(&'static str),
    #[error("Content-Type and the manifest's mediaType are not the same known type of manifest")]
    MediaType,
    #[error("the manifest refers to {0}, which was not pushed to this repository")]
    BlobMissing(Digest),
    #[error("the manifest says that {digest} has {expected} bytes, it has {found}")]
    BlobSize { digest: Digest, expected: u64, found: u64 },
    #[error("the tag `release` is reserved for the release policy, an artifact of type {expected}")]
    Reserved { expected: &'static str },
    #[error("the release policy is refused: {0}")]
    Policy(#[from] OpenError),
    #[error("the release policy is for repository {found}, not {expected}")]
    PolicyRepository { expected: Repository, found: Repository },
    #[error("the release policy is signed by {found}; the owner of this repository is {expected}")]
    PolicyOwner { expected: workload::Digest, found: workload::Digest },
    #[error("the release policy does not follow the one in force: {error}")]
    PolicyOrder { error: OutOfOrder, version: u64, digest: workload::Digest },
    #[error("other release policies were put in force meanwhile; try again")]
    PolicyOvertaken,
    #[error("something in this repository still refers to it")]
    Referenced,
    #[error("the blob came in too many chunks: begin anew, with longer ones")]
    TooManyChunks,
    #[error("this is not offered here")]
    Unsupported,
    #[error("{0}")]
    Full(ChargeError),
    #[error("organisation {organisation} may keep no more: there is room for a blob of {room} bytes")]
    NoRoom { organisation: Organisation, room: u64 },
    #[error("no such {0}")]
    Absent(&'static str),
    #[error("no more {0} here")]
    TooMany(&'static str),
    #[error("{0}")]
    Wish(&'static str),
    #[error("not the JSON it should be: {0}")]
    Json(String),
    #[error("for this, one logs in (`donjon login`): tokens make no tokens")]
    SessionNeeded,
    #[error("only owners of {organisation} may do this; this login is a {role}")]
    OwnerNeeded { organisation: Organisation, role: Role },
    #[error("{0} is there; only what is private or public changes into the other")]
    Settled(Repository),
    #[error("somebody has logged in with this ID token before")]
    Spent,
    #[error("{0}")]
    IdToken(IdTokenError),
    /// Why, for the log only.
    #[error("secrets cannot be sealed or opened now; the server's log says more")]
    Vault(String),
    #[error("the server failed; its log says more")]
    Store(#[from] StoreError),
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Bad => Self::TokenUnknown,
            LoginError::Store(error) => Self::Store(error),
        }
    }
}

impl From<IdTokenError> for Refusal {
    fn from(error: IdTokenError) -> Self {
        Self::IdToken(error)
    }
}

impl From<ChargeError> for Refusal {
    fn from(error: ChargeError) -> Self {
        match error {
            ChargeError::Store(error) => Self::Store(error),
            full => Self::Full(full),
        }
    }
}

impl From<UploadFault> for Refusal {
    fn from(fault: UploadFault) -> Self {
        match fault {
            UploadFault::Absent => Self::UploadAbsent,
            UploadFault::Busy => Self::UploadBusy,
            UploadFault::TooMany => Self::TooManyUploads,
            UploadFault::TooManyChunks => Self::TooManyChunks,
            UploadFault::Digest(mismatch) => Self::DigestMismatch(mismatch),
            UploadFault::Charge(error) => error.into(),
            UploadFault::Store(error) => Self::Store(error),
        }
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Missing(digest) => Self::BlobMissing(digest),
            PutError::Size { digest, expected, found } => Self::BlobSize { digest, expected, found },
            PutError::Overtaken => Self::PolicyOvertaken,
            PutError::Charge(error) => error.into(),
            PutError::Store(error) => Self::Store(error),
        }
    }
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::TokenNeeded | Self::TokenUnknown => (S::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::OutOfAccess(_) => (S::UNAUTHORIZED, "DENIED"),
            Self::AccessInvalid => (S::BAD_REQUEST, "UNSUPPORTED"),
            Self::OutOfScope(_) => (S::FORBIDDEN, "DENIED"),
            Self::NoRepository(_) | Self::RepositoryAbsent => (S::NOT_FOUND, "NAME_UNKNOWN"),
            Self::ManifestAbsent => (S::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::BlobAbsent => (S::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::UploadAbsent => (S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::UploadBusy => (S::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Self::Often | Self::TooManyUploads => (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            Self::OutOfOrder { at: _ } => (S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::Interrupted => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::TooLong { limit: _ } => (S::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            Self::Range { size: _ } => (S::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
            Self::NameInvalid => (S::BAD_REQUEST, "NAME_INVALID"),
            Self::TagInvalid => (S::BAD_REQUEST, "TAG_INVALID"),
            Self::DigestInvalid | Self::DigestMismatch(_) => (S::BAD_REQUEST, "DIGEST_INVALID"),
            Self::PageInvalid => (S::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::ManifestInvalid(_) | Self::MediaType => (S::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::BlobMissing(_) => (S::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
            Self::BlobSize { digest: _, expected: _, found: _ } => (S::BAD_REQUEST, "SIZE_INVALID"),
            Self::Reserved { expected: _ }
            | Self::Policy(_)
            | Self::PolicyRepository { expected: _, found: _ }
            | Self::PolicyOwner { expected: _, found: _ }
            | Self::PolicyOrder { error: _, version: _, digest: _ } => (S::FORBIDDEN, "DENIED"),
            Self::PolicyOvertaken => (S::CONFLICT, "DENIED"),
            // As the registries do it that know this case; the specification has no word for it.
            Self::Referenced => (S::METHOD_NOT_ALLOWED, "DENIED"),
            Self::TooManyChunks => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::Full(_) | Self::NoRoom { .. } | Self::SessionNeeded | Self::OwnerNeeded { .. } => {
                (S::FORBIDDEN, "DENIED")
            }
            Self::Absent(_) => (S::NOT_FOUND, "NAME_UNKNOWN"),
            Self::TooMany(_) => (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            Self::Wish(_) | Self::Json(_) => (S::BAD_REQUEST, "UNSUPPORTED"),
            Self::Settled(_) => (S::CONFLICT, "DENIED"),
            Self::Vault(_) => (S::SERVICE_UNAVAILABLE, "UNKNOWN"),
            Self::IdToken(IdTokenError::Issuer(_)) => (S::BAD_GATEWAY, "UNKNOWN"),
            Self::Spent | Self::IdToken(_) => (S::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Unsupported => (S::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::Store(_) => (S::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match &self {
            Self::Store(error) => tracing::error!(%error, "the store failed"),
            Self::Vault(error) => tracing::error!(error, "secrets cannot be sealed or opened"),
            Self::IdToken(IdTokenError::Issuer(error)) => tracing::warn!(error, "an issuer does not answer"),
            _ => {}
        }
        let (status, code) = self.code();
        let mut error = serde_json::json!({ "code": code, "message": self.to_string() });
        match &self {
            Self::DigestMismatch(mismatch) => {
                let Mismatch { expected, found } = &**mismatch;
                error["detail"] = serde_json::json!({ "expected": expected, "found": found });
            }
            Self::PolicyOrder { error: _, version, digest } => {
                error["detail"] = serde_json::json!({ "in_force": { "version": version, "digest": digest } });
            }
            _ => {}
        }
        let mut response = Response::new(Body::from(serde_json::json!({ "errors": [error] }).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            // Who may say more to it does so (see `dispatch`).
            Self::TokenNeeded | Self::TokenUnknown | Self::OutOfAccess(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Drawbridge\""));
            }
            Self::Often => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::OutOfOrder { at } => {
                headers.insert(RANGE, super::received(at));
            }
            _ => {}
        }
        response
    }
}
