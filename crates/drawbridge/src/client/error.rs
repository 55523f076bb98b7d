//! Why the client did not get what it wanted, in words a person can act on.
//!
//! Owns the mapping from sockets, TLS and OCI answers to one enum, grouped by who can mend it. Refuses to carry secrets:
//! no header of a request is in here. Invariant: [`ClientError::explain`] has a hint wherever we know one.

use std::io;

use http::StatusCode;
use identity::problem::Problem;
use serde::Deserialize;
use workload::Digest;
use workload::names::Authority;

/// Why a request to a registry failed. `what` is method and path.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody there: refused, unknown host, no route, or no answer in time.
    #[error("cannot reach {authority}: {text}")]
    Unreachable {
        /// Host and port.
        authority: Authority,
        /// What kind of failure.
        kind: io::ErrorKind,
        /// The operating system's words.
        text: String,
    },
    /// Somebody is there, but with another key than the pinned ones.
    #[error("{authority} has another key than expected")]
    WrongKey {
        /// Host and port.
        authority: Authority,
        /// The pins.
        expected: Vec<Digest>,
        /// SHA-256 of the SPKI it showed.
        found: Digest,
    },
    /// Its certificate does not chain to a public root, is for another name, or has expired.
    #[error("the certificate of {authority} is not to be trusted: {error}")]
    WrongCertificate {
        /// Host and port.
        authority: Authority,
        /// Why.
        error: rustls::Error,
    },
    /// No TLS, or none that we speak.
    #[error("cannot speak TLS with {authority}: {error}")]
    Tls {
        /// Host and port.
        authority: Authority,
        /// Why.
        error: rustls::Error,
    },
    /// The client's own certificate or key is of no use.
    #[error("the client certificate cannot be used: {0}")]
    OwnCertificate(rustls::Error),
    /// 401.
    #[error("{what}: the registry wants {}: {message}", if *.shown { "another token" } else { "a token" })]
    Unauthorized {
        /// Method and path.
        what: String,
        /// Its words.
        message: String,
        /// Whether a token was sent.
        shown: bool,
    },
    /// 403.
    #[error("{what}: the registry refuses: {message}")]
    Denied {
        /// Method and path.
        what: String,
        /// Its words.
        message: String,
    },
    /// 403 for a release policy that does not follow the one in force.
    #[error("{what}: the registry refuses: {message}")]
    OutOfOrder {
        /// Method and path.
        what: String,
        /// Its words.
        message: String,
        /// The version in force, as the registry tells it.
        version: u64,
        /// The digest in force, likewise.
        digest: Digest,
    },
    /// 404.
    #[error("{what}: not found: {message}")]
    Absent {
        /// Method and path.
        what: String,
        /// Its words.
        message: String,
    },
    /// Bytes are not what their digest says: what we got, or what the registry says it got.
    #[error("{what}: the bytes do not match their digest")]
    Digest {
        /// Method and path.
        what: String,
        /// What was asked for or sent.
        expected: Digest,
        /// What came or was found, if it was said.
        found: Option<Digest>,
    },
    /// Any other error of the registry.
    #[error("{what}: {status}: {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// The status.
        status: u16,
        /// The OCI error code; empty if it gave none.
        code: String,
        /// Its words.
        message: String,
    },
    /// More bytes than agreed.
    #[error("{what}: more than {limit} bytes came")]
    TooLong {
        /// Method and path.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The connection broke, or the answer is not one of a registry.
    #[error("{what}: {text}")]
    Broken {
        /// Method and path.
        what: String,
        /// How.
        text: String,
    },
}

/// An error taken apart for printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What failed.
    pub what: String,
    /// What was expected, if that is a value.
    pub expected: Option<String>,
    /// What was found instead.
    pub found: Option<String>,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl ClientError {
    /// What failed, what was expected, what was found, and what to do.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let (expected, found, hint) = match self {
            Self::Unreachable { authority, kind, text: _ } => {
                let hint = match kind {
                    io::ErrorKind::ConnectionRefused => "is the Drawbridge running, and is this its port?",
                    io::ErrorKind::TimedOut => "nothing answered in time: check host, port and firewall",
                    _ => "check host name and network",
                };
                (Some(format!("a Drawbridge at {authority}")), None, Some(hint))
            }
            Self::WrongKey { authority: _, expected, found } => (
                Some(expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")),
                Some(found.to_string()),
                Some(
                    "if the server changed its key, get the new pin from its operator; otherwise somebody is in between",
                ),
            ),
            Self::WrongCertificate { authority: _, error } => (
                Some("a certificate of a public authority for this name".to_owned()),
                Some(error.to_string()),
                Some("a Drawbridge with a certificate of its own is named by a pin, sha256:… of its key"),
            ),
            Self::Tls { authority: _, error } => {
                (Some("TLS 1.3".to_owned()), Some(error.to_string()), Some("a Drawbridge speaks HTTPS only"))
            }
            Self::OwnCertificate(_) => (None, None, Some("certificate and key must belong together")),
            Self::Unauthorized { shown: false, .. } => (
                Some("a token".to_owned()),
                Some("none".to_owned()),
                Some("log in with `donjon login`, or give a token by DONJON_TOKEN or --token-file"),
            ),
            Self::Unauthorized { shown: true, .. } => (
                Some("a token that is good here and now".to_owned()),
                Some("one that is unknown, or has ended".to_owned()),
                Some("log in anew with `donjon login`, or get another token"),
            ),
            Self::Denied { what: _, message: _ } => {
                (None, None, Some("the token's scope or the owner's key does not allow this"))
            }
            Self::OutOfOrder { what: _, message: _, version, digest } => (
                Some(format!("a policy that follows version {version}, {digest}")),
                None,
                Some("another policy of this owner is in force here: the next one must be signed to follow it"),
            ),
            Self::Absent { what: _, message: _ } => (
                None,
                None,
                Some(
                    "it is not there, or it is confidential: then only a Keep that satisfies the release policy sees it",
                ),
            ),
            Self::Digest { what: _, expected, found } => (
                Some(expected.to_string()),
                found.as_ref().map(ToString::to_string),
                Some("the bytes changed on the way or in the store; nothing was used"),
            ),
            Self::Refused { what: _, status: _, code: _, message: _ }
            | Self::TooLong { what: _, limit: _ }
            | Self::Broken { what: _, text: _ } => (None, None, None),
        };
        Explanation { what: self.to_string(), expected, found, hint }
    }

    /// An answer that is no success.
    pub(super) fn of_answer(what: String, status: StatusCode, body: &[u8], shown: bool) -> Self {
        #[derive(Deserialize)]
        struct Digests {
            expected: Digest,
            found: Digest,
        }
        #[derive(Deserialize)]
        struct InForce {
            in_force: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: u64,
            digest: Digest,
        }
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
            detail: Option<serde_json::Value>,
        }
        let first = serde_json::from_slice::<Errors>(body).ok().and_then(|errors| errors.errors.into_iter().next());
        let problem = || serde_json::from_slice::<Problem>(body).unwrap_or_default();
        let One { code, message, detail } =
            first.unwrap_or_else(|| One { code: String::new(), message: problem().detail, detail: None });
        let detail = detail.unwrap_or_default();
        if let (StatusCode::BAD_REQUEST, "DIGEST_INVALID") = (status, code.as_str())
            && let Ok(Digests { expected, found }) = Digests::deserialize(&detail)
        {
            return Self::Digest { what, expected, found: Some(found) };
        }
        // Foreign text goes to a terminal: short and without control characters.
        let clean = |text: String, most| text.chars().filter(|c| !c.is_control()).take(most).collect::<String>();
        let (code, message) = (clean(code, 64), clean(message, 512));
        if let (StatusCode::FORBIDDEN, Ok(InForce { in_force })) = (status, InForce::deserialize(&detail)) {
            let Version { version, digest } = in_force;
            return Self::OutOfOrder { what, message, version, digest };
        }
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized { what, message, shown },
            StatusCode::FORBIDDEN => Self::Denied { what, message },
            StatusCode::NOT_FOUND => Self::Absent { what, message },
            _ => Self::Refused { what, status: status.as_u16(), code, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_tamed() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\n!"}]}"#;
        let error = ClientError::of_answer("GET /".to_owned(), StatusCode::FORBIDDEN, body, false);
        assert_eq!(error, ClientError::Denied { what: "GET /".to_owned(), message: "no[31m!".to_owned() });
        let error = ClientError::of_answer("GET /".to_owned(), StatusCode::IM_A_TEAPOT, b"<html>", false);
        let ClientError::Refused { status: 418, code, message, .. } = error else { panic!("{error}") };
        assert_eq!((code, message), (String::new(), String::new()));
    }
}
