//! Everything a request can end in but success, and what the asker is told of it.
//!
//! Owns the mapping to status codes and problem details (RFC 9457) of what went wrong before a request was judged; why a request
//! was refused is `refusal`'s. Invariant: what is ours to mend goes to the log and leaves as a bare 500.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use identity::problem::{PROBLEM_MEDIA_TYPE, Problem};

use super::{routes, uncached};
use crate::{
    nonce,
    refusal::{self, HttpFault, Refusal},
};

/// Everything a request can end in but success.
#[derive(Debug)]
pub(super) enum Fault {
    NotFound,
    Method,
    /// What is taken there.
    ContentType(&'static str),
    Accept,
    TooLarge,
    Slow,
    Body,
    Busy,
    Often,
    /// What is issued cannot be recorded.
    Record,
    /// The authority's key does not sign.
    Key,
    Internal,
    /// Not a SEQUENCE of requests.
    Bundle,
    /// Not what is said of a nonce that is wanted.
    NonceRequest,
    NonceLength {
        found: u64,
    },
    Ended {
        not_after: u64,
    },
    /// One of a bundle has its number, counted from 0.
    Refused {
        number: Option<usize>,
        refusal: Box<Refusal>,
    },
}

impl Fault {
    /// What the asker is told.
    fn problem(&self) -> Problem {
        let form =
            |status: StatusCode, id: &str, expected: &str| HttpFault::form(status.as_u16(), id, expected).problem();
        match self {
            Self::NotFound => form(StatusCode::NOT_FOUND, "http.path", &routes::list()),
            Self::Method => form(StatusCode::METHOD_NOT_ALLOWED, "http.method", &routes::list()),
            Self::ContentType(taken) => form(StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.content_type", taken),
            Self::Accept => form(
                StatusCode::NOT_ACCEPTABLE,
                "http.accept",
                "an Accept that takes application/pem-certificate-chain or application/pkix-pkipath",
            ),
            Self::TooLarge => form(StatusCode::PAYLOAD_TOO_LARGE, "http.size", "a body of at most 262144 bytes"),
            Self::Bundle => form(StatusCode::BAD_REQUEST, "http.bundle", "a SEQUENCE of certificate requests, DER"),
            Self::NonceRequest => form(
                StatusCode::BAD_REQUEST,
                "http.nonce",
                "a JSON object, in which `len`, if it is there, is a number",
            ),
            Self::NonceLength { found } => HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the Steward has no such nonce",
                id: "nonce.length",
                expected: &format!("a nonce of {} bytes, or of any length", nonce::LENGTH),
                found: &format!("one of {found} is wanted"),
                remedy: "ask without `len`: evidence is bound to the hash of a nonce, so any length does",
            }
            .problem(),
            Self::Body => form(StatusCode::BAD_REQUEST, "http.body", "a complete body"),
            // These are not about the form: the same request may succeed later.
            Self::Slow => HttpFault {
                status: StatusCode::REQUEST_TIMEOUT.as_u16(),
                title: "the request took too long to arrive",
                id: "http.time",
                expected: "the whole body within the time limit",
                found: "a body that was not complete then",
                remedy: "send the same request again, over a faster connection if this repeats",
            }
            .problem(),
            Self::Busy => HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the Steward is busy",
                id: "http.busy",
                expected: "fewer requests at a time",
                found: "as many as there is room for",
                remedy: "send the same request again in a moment",
            }
            .problem(),
            Self::Often => HttpFault {
                status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
                title: "this client asks too often",
                id: "http.rate",
                expected: "fewer requests from one address",
                found: "more than this Steward takes of one",
                remedy: "send the same request again in a moment",
            }
            .problem(),
            Self::Record => HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the Steward cannot record what it issues, so it issues nothing",
                id: "record.written",
                expected: "a record that can be written",
                found: "one that cannot",
                remedy: "send the same request again in a moment; the operator finds the reason in the Steward's log",
            }
            .problem(),
            Self::Key => HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the key of the certificate authority does not sign",
                id: "authority.key",
                expected: "a key that signs",
                found: "an HSM that does not answer, or refuses",
                remedy: "send the same request again in a moment; the operator finds the reason in the Steward's log",
            }
            .problem(),
            Self::Ended { not_after } => HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the certificate authority has ended",
                id: "authority.validity",
                expected: "certificates of the authority that are valid now",
                found: &format!("they ended at {not_after}"),
                remedy: "the operator of this Steward has to renew them",
            }
            .problem(),
            Self::Internal => refusal::internal(),
            Self::Refused { number: None, refusal } => refusal.problem(),
            Self::Refused { number: Some(number), refusal } => {
                let problem = refusal.problem();
                let detail = format!("request {number} of the bundle, counted from 0: {}", problem.detail);
                Problem { detail, ..problem }
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let problem = self.problem();
        match &self {
            Self::Refused { refusal, .. } if refusal.is_ours() => {
                tracing::error!(%refusal, "internal");
            }
            Self::Refused { refusal, .. } => {
                // Whoever fills the log has proved nothing yet.
                let refusal = refusal::cut(refusal.to_string());
                let checks: Vec<&str> = problem.checks.iter().map(|check| check.id.as_str()).collect();
                tracing::info!(%refusal, ?checks, "refused");
            }
            other => tracing::debug!(fault = ?other, "http"),
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response = uncached((status, [(header::CONTENT_TYPE, PROBLEM_MEDIA_TYPE)], body).into_response());
        if matches!(self, Self::Busy | Self::Often | Self::Record | Self::Key) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::{super::forms, *};

    #[test]
    fn who_should_only_try_again_is_told_so() {
        let told = |fault: Fault| {
            let problem = fault.problem();
            (problem.status, problem.title, problem.checks[0].remedy.clone())
        };
        let (status, title, remedy) = told(Fault::Busy);
        assert_eq!((status, title.as_str()), (503, "the Steward is busy"));
        assert!(remedy.contains("same request again"));
        let (status, title, remedy) = told(Fault::Often);
        assert_eq!((status, title.as_str()), (429, "this client asks too often"));
        assert!(remedy.contains("same request again"));
        let (status, title, remedy) = told(Fault::Slow);
        assert_eq!((status, title.as_str()), (408, "the request took too long to arrive"));
        assert!(remedy.contains("same request again"));
        // The control: what is of another form has to change.
        let (_, title, remedy) = told(Fault::ContentType(forms::TAKEN));
        assert!(title.contains("form") && remedy.contains("of this form"));
    }
}
