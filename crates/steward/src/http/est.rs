//! Enrolment over Secure Transport (RFC 7030, RFC 8951): the same certificates for clients that speak it.
//!
//! Owns the operations `cacerts`, `simpleenroll`, `simplereenroll`, `csrattrs`, and `nonce`
//! (draft-ietf-lamps-attestation-freshness), and their forms: base64, and degenerate SignedData (RFC 5652 section 5) for certificates. Refuses
//! what [`super::enrol`] refuses: evidence alone authenticates a client here, a renewed one too, and no password and no older
//! certificate does. Invariant: a request gets here what it gets at `POST /`.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use const_oid::{ObjectIdentifier, db::rfc5911};
use der::{
    Decode as _, Encode as _, Sequence,
    asn1::{AnyRef, SetOfVec},
};
use serde::{Deserialize, Serialize};

use super::{
    Service,
    fault::Fault,
    forms::{self, Kind},
    uncached,
};
use crate::{judge::Asked, nonce};

/// What `simpleenroll` takes.
const TAKEN: &str = "Content-Type: application/pkcs10, and the CSR in base64";
/// What `nonce` takes, if it is told anything.
const WANTED: &str = "Content-Type: application/est-attestation-freshness+json, and a JSON object";
pub(super) const CERTIFICATES: &str = "application/pkcs7-mime; smime-type=certs-only";
pub(super) const ATTRIBUTES: &str = "application/csrattrs";
pub(super) const NONCE: &str = "application/est-attestation-freshness+json";

/// id-aa-attestation (draft-ietf-lamps-csr-attestation).
const ATTESTATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.59");

/// Section 4.1: the chain of the authority.
pub(super) async fn ca_certificates(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    Ok(encoded(CERTIFICATES, &certificates(service.steward.authority().chain())?))
}

/// Section 4.5: what a request must have.
pub(super) async fn attributes() -> Result<Response, Fault> {
    Ok(encoded(ATTRIBUTES, &vec![ATTESTATION].to_der().map_err(ours)?))
}

/// The same for who says what it needs: every nonce here has one length, and goes into evidence of any type by its hash.
pub(super) async fn nonce_as_wanted(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    #[derive(Deserialize)]
    struct Wanted {
        len: Option<u64>,
    }
    let (parts, body) = request.into_parts();
    if !forms::is_of(&parts.headers, NONCE) {
        return Err(Fault::ContentType(WANTED));
    }
    let body = service.body(&parts.headers, body).await?;
    let Wanted { len } = serde_json::from_slice(&body).map_err(|_| Fault::NonceRequest)?;
    match len {
        Some(found) if found != nonce::LENGTH as u64 => Err(Fault::NonceLength { found }),
        _ => nonce(State(service)).await,
    }
}

/// A nonce, as `GET /nonce` gives it, in the form that EST has for it.
pub(super) async fn nonce(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    #[derive(Serialize)]
    struct Answer {
        nonce: identity::Nonce,
        /// Seconds for which it is good.
        expiry: u64,
    }
    let now = service.now()?;
    let challenge = service.challenge(now)?;
    let answer = Answer { nonce: challenge.nonce, expiry: challenge.expires.saturating_sub(now) };
    let body = serde_json::to_string(&answer).map_err(ours)?;
    Ok(uncached(([(header::CONTENT_TYPE, NONCE)], body).into_response()))
}

/// Sections 4.2.1 and 4.2.2: a certificate, alone.
pub(super) async fn enrol(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    if Kind::of(&parts.headers) != Some(Kind::Csr) {
        return Err(Fault::ContentType(TAKEN));
    }
    let mut text = service.body(&parts.headers, body).await?.to_vec();
    // RFC 8951 section 3.1: whatever white space is in it.
    text.retain(|byte| !byte.is_ascii_whitespace());
    let csr = STANDARD.decode(text).map_err(|_| Fault::ContentType(TAKEN))?;
    let issued = service.certify(Bytes::from(csr), Asked::Keep).await?;
    Ok(uncached(encoded(CERTIFICATES, &certificates(issued.chain.get(..1).unwrap_or_default())?)))
}

fn encoded(media_type: &'static str, der: &[u8]) -> Response {
    // The second is obsolete (RFC 8951 section 3.2.1), and there are clients that want it.
    let headers = [(header::CONTENT_TYPE.as_str(), media_type), ("content-transfer-encoding", "base64")];
    (headers, STANDARD.encode(der)).into_response()
}

/// RFC 5652 sections 3 and 5.1: nothing signed by nobody, with certificates.
#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData<'a>,
}

#[derive(Sequence)]
struct SignedData<'a> {
    version: u8,
    digest_algorithms: SetOfVec<AnyRef<'a>>,
    content: EncapsulatedContent,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    certificates: SetOfVec<AnyRef<'a>>,
    signers: SetOfVec<AnyRef<'a>>,
}

#[derive(Sequence)]
struct EncapsulatedContent {
    content_type: ObjectIdentifier,
}

fn certificates(ders: &[Vec<u8>]) -> Result<Vec<u8>, Fault> {
    let made = || {
        let mut certificates = SetOfVec::new();
        for der in ders {
            certificates.insert(AnyRef::from_der(der)?)?;
        }
        let content = SignedData {
            version: 1,
            digest_algorithms: SetOfVec::new(),
            content: EncapsulatedContent { content_type: rfc5911::ID_DATA },
            certificates,
            signers: SetOfVec::new(),
        };
        ContentInfo { content_type: rfc5911::ID_SIGNED_DATA, content }.to_der()
    };
    made().map_err(ours)
}

fn ours(error: impl std::fmt::Display) -> Fault {
    tracing::error!(%error, "est");
    Fault::Internal
}
