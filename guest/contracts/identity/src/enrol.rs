//! Enrolment: how a Keep gets its certificate, without I/O (trust rules 10, 11 and 12).
//!
//! Owns the order nonce -> key and evidence -> request -> checked certificate, as types: what is not due yet is not a method
//! yet. The caller moves bytes over whatever connection he has; nothing here believes the connection. Refuses answers that
//! are too long, chains that do not end at an anchor of the brief, and certificates that say anything else than this Keep
//! asked for. Invariant: an [`Identity`] was checked against the anchors of the brief the hardware carries, and against the
//! key that was made after the nonce arrived.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use workload::brief::BriefError;
use workload::names::NameError;
use workload::reference::Endpoint;
use workload::{Brief, Digest};

use crate::certificate::{KeepCertificate, ProfileError};
use crate::chain::{ChainError, VerifiedKeep, verify_chain};
use crate::csr::{self, BuildError, CSR_MEDIA_TYPE, Collateral, Evidence, Statement};
use crate::keys::{Signer, Verifier, key_digest};
use crate::names::{Nonce, SpiffeId};
use crate::pem::{self, PEM_MEDIA_TYPE, PKIPATH_MEDIA_TYPE, PemError};
use crate::problem::{PROBLEM_MEDIA_TYPE, Problem};

/// The longest answer to a request for a nonce, in bytes.
pub const NONCE_RESPONSE_LIMIT: usize = 64 * 1024;
/// The longest answer to a certificate request, in bytes.
pub const CERTIFICATE_RESPONSE_LIMIT: usize = 256 * 1024;

/// The answer to `GET /nonce`, for both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Opaque to the Keep.
    pub nonce: Nonce,
    /// Until when the Steward takes it back, Unix seconds of its clock. A hint.
    pub expires: u64,
}

/// What to send to the Steward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with the prefix of the Steward's URL.
    pub path: String,
    /// Name (lowercase) and value.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for `GET`.
    pub body: Vec<u8>,
}

/// The evidence for one key, and what its verifier needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The evidence over the binding of purpose `issue`.
    pub evidence: Evidence,
    /// Certificates of the evidence's key and its vendor, each DER.
    pub endorsements: Vec<Vec<u8>>,
    /// What the host has of the vendor's statements.
    pub collateral: Vec<Collateral>,
}

/// A Keep that has its brief and nothing else. Used again for each renewal (trust rule 16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrol {
    brief: Brief,
    bytes: Vec<u8>,
    endpoint: Endpoint,
    anchors: Vec<Digest>,
    deployment: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    id: SpiffeId,
}

/// A Keep that has sent its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaiting {
    anchors: Vec<Digest>,
    key: Digest,
    id: SpiffeId,
    brief: Digest,
    workload: Digest,
    owner: Option<Digest>,
    nonce: Nonce,
}

/// A Keep's checked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Keep first, root last, each DER.
    pub chain: Vec<Vec<u8>>,
    /// The first of them, with its proof.
    pub certificate: VerifiedKeep,
    /// The lower bound of the present, Unix seconds (trust rule 12): the certificate was made for a key younger than this
    /// enrolment, so it cannot be older. A host time below it is ignored.
    pub time: u64,
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The brief is none.
    #[error("brief: {0}")]
    Brief(#[from] BriefError),
    /// The brief names no Steward.
    #[error("the brief names no Steward: this Keep gets no certificate")]
    NoSteward,
    /// The brief's Steward URL or names cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Longer than agreed.
    #[error("the Steward answered more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The Steward refused, and said why.
    #[error("the Steward refused (HTTP {status}): {problem}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        problem: Box<Problem>,
    },
    /// Neither an answer nor a refusal we understand.
    #[error("the Steward answered HTTP {status} without saying why")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what was asked for.
    #[error("the Steward's answer is not a nonce as spec/trust.md has it")]
    Nonce,
    /// Another content type.
    #[error("the Steward answered {found:?}, expected {PEM_MEDIA_TYPE} or {PKIPATH_MEDIA_TYPE}")]
    ContentType {
        /// What it said, cut after 100 characters.
        found: String,
    },
    /// The request could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The answer is not a chain.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The first certificate is no Keep's.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The chain does not hold.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A certificate for another key.
    #[error("the certificate is for key {found}, this Keep's is {expected}")]
    Key {
        /// This Keep's.
        expected: Digest,
        /// The certificate's.
        found: Digest,
    },
    /// A certificate for another name.
    #[error("the certificate is for {found}, this Keep is {expected}")]
    Id {
        /// What the brief and the Deployment give.
        expected: Box<SpiffeId>,
        /// The certificate's.
        found: Box<SpiffeId>,
    },
    /// The EAR speaks of another launch.
    #[error("the certificate's {0} is not this Keep's")]
    Fact(&'static str),
}

impl Enrol {
    /// Begins with the brief the hardware carries, and what the host has of the owner's Deployment and of the
    /// [signature](crate::publisher::Signature) of the workload's publisher.
    ///
    /// # Errors
    /// The brief is not canonical, or names no Steward.
    pub fn new(
        brief_bytes: &[u8],
        deployment: Option<Vec<u8>>,
        signature: Option<Vec<u8>>,
    ) -> Result<Self, EnrolError> {
        let brief = Brief::decode(brief_bytes)?;
        let steward = brief.steward.as_ref().ok_or(EnrolError::NoSteward)?;
        let (endpoint, anchors) = (steward.endpoint()?, steward.anchors.clone());
        let trust_domain = brief.trust_domain.clone();
        // Without a Deployment there is no name to be had (trust rule 3), whatever the brief says.
        let id = match &deployment {
            Some(_) => SpiffeId { trust_domain, deployment: brief.deployment.clone(), role: brief.role.clone() },
            None => SpiffeId::anonymous(trust_domain)?,
        };
        Ok(Self { brief, bytes: brief_bytes.to_vec(), endpoint, anchors, deployment, signature, id })
    }

    /// Where the Steward is said to be: a hint, the anchors decide.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// H(brief): what goes into the binding.
    #[must_use]
    pub fn brief_hash(&self) -> [u8; 32] {
        *Digest::of(&self.bytes).as_bytes()
    }

    /// Asks for a nonce.
    #[must_use]
    pub fn nonce_request(&self) -> HttpRequest {
        HttpRequest {
            method: "GET",
            path: self.path("/nonce"),
            headers: Vec::from([("accept", "application/json".to_string())]),
            body: Vec::new(),
        }
    }

    /// Reads the nonce. The key and the evidence are made after this.
    ///
    /// # Errors
    /// A refusal, or an answer that is no nonce.
    pub fn nonce_response(&self, status: u16, body: &[u8]) -> Result<Challenge, EnrolError> {
        bounded(body, NONCE_RESPONSE_LIMIT)?;
        if status != 200 {
            return Err(refusal(status, body));
        }
        serde_json::from_slice(body).map_err(|_| EnrolError::Nonce)
    }

    /// Makes the request for the signer's key. The evidence binds this key, [`Enrol::brief_hash`] and the nonce.
    ///
    /// # Errors
    /// The statement is too long, or the key does not sign.
    pub fn certificate_request(
        &self,
        nonce: &Nonce,
        attested: Attested,
        signer: &dyn Signer,
    ) -> Result<(HttpRequest, Awaiting), EnrolError> {
        let Attested { evidence, endorsements, collateral } = attested;
        let statement = Statement {
            evidence,
            brief: self.bytes.clone(),
            nonce: nonce.clone(),
            deployment: self.deployment.clone(),
            signature: self.signature.clone(),
            collateral,
            endorsements,
        };
        let body = csr::build(&statement, csr::Carrier::Attribute, signer)?;
        let request = HttpRequest {
            method: "POST",
            path: self.path("/"),
            headers: Vec::from([("content-type", CSR_MEDIA_TYPE.to_string()), ("accept", PEM_MEDIA_TYPE.to_string())]),
            body,
        };
        let awaiting = Awaiting {
            anchors: self.anchors.clone(),
            key: key_digest(signer.spki()),
            id: self.id.clone(),
            brief: Digest::of(&self.bytes),
            workload: self.brief.workload,
            owner: self.brief.owner.filter(|_| !self.id.is_anonymous()),
            nonce: nonce.clone(),
        };
        Ok((request, awaiting))
    }

    fn path(&self, path: &str) -> String {
        let mut whole = self.endpoint.prefix.clone();
        whole.push_str(path);
        whole
    }
}

impl Awaiting {
    /// Checks the answer. `now` is the Keep's idea of the present in Unix seconds; a certificate for the fresh key proves
    /// that it is not earlier than its `notBefore`, so a clock that is behind does no harm.
    ///
    /// # Errors
    /// See [`EnrolError`].
    pub fn certificate_response(
        self,
        status: u16,
        content_type: &str,
        body: &[u8],
        now: u64,
        verifier: &dyn Verifier,
    ) -> Result<Identity, EnrolError> {
        bounded(body, CERTIFICATE_RESPONSE_LIMIT)?;
        if !matches!(status, 200 | 201) {
            return Err(refusal(status, body));
        }
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let chain = if kind.eq_ignore_ascii_case(PEM_MEDIA_TYPE) {
            let text = core::str::from_utf8(body).map_err(|_| PemError::Line { line: 1 })?;
            pem::decode(text)?
        } else if kind.eq_ignore_ascii_case(PKIPATH_MEDIA_TYPE) {
            pem::decode_pkipath(body)?
        } else if kind.eq_ignore_ascii_case(PROBLEM_MEDIA_TYPE) {
            return Err(refusal(status, body));
        } else {
            return Err(EnrolError::ContentType { found: content_type.chars().take(100).collect() });
        };
        let leaf = KeepCertificate::read(chain.first().ok_or(ChainError::Length { found: 0 })?)?;
        // The key first: only a certificate for it says anything about the present.
        let Self { anchors, key, id, brief, workload, owner, nonce } = self;
        if leaf.key() != key {
            return Err(EnrolError::Key { expected: key, found: leaf.key() });
        }
        let time = now.max(leaf.not_before);
        let certificate = verify_chain(&chain, &anchors, time, verifier)?;
        if certificate.id != id {
            return Err(EnrolError::Id { expected: id.into(), found: certificate.id.clone().into() });
        }
        let ear = &certificate.ear;
        for (holds, fact) in [
            (ear.brief == brief, "brief hash"),
            (ear.nonce == nonce, "nonce"),
            (ear.workload == workload, "workload"),
            (ear.owner == owner, "owner"),
        ] {
            if !holds {
                return Err(EnrolError::Fact(fact));
            }
        }
        let time = certificate.not_before.max(now);
        Ok(Identity { chain, certificate, time })
    }
}

fn bounded(body: &[u8], limit: usize) -> Result<(), EnrolError> {
    if body.len() > limit { Err(EnrolError::TooLong { limit }) } else { Ok(()) }
}

fn refusal(status: u16, body: &[u8]) -> EnrolError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if !problem.title.is_empty() => EnrolError::Refused { status, problem: problem.into() },
        _ => EnrolError::Status { status },
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::ear::Ear;
    use crate::problem::FailedCheck;
    use crate::testing::{NOW, P256, P384, Software, brief, chain, ear};

    const NONCE: [u8; 56] = [5; 56];

    fn attested() -> Attested {
        let evidence = Evidence { media_type: csr::SNP_MEDIA_TYPE.to_string(), bytes: vec![1; 1184] };
        Attested { evidence, endorsements: vec![], collateral: vec![] }
    }

    fn enrol() -> Enrol {
        Enrol::new(&brief(&P256::new(1)).encode(), Some(vec![1]), None).unwrap()
    }

    /// A Keep with key 7 that waits for its certificate.
    fn awaiting(enrol: &Enrol) -> Awaiting {
        let nonce = Nonce::new(NONCE.to_vec()).unwrap();
        enrol.certificate_request(&nonce, attested(), &P256::new(7)).unwrap().1
    }

    fn answer(awaiting: Awaiting, chain: &[Vec<u8>], now: u64) -> Result<Identity, EnrolError> {
        awaiting.certificate_response(200, PEM_MEDIA_TYPE, pem::encode(chain).as_bytes(), now, &Software)
    }

    /// What a Steward with root key 3 answers.
    fn issued(change: impl FnOnce(&mut Ear)) -> Vec<Vec<u8>> {
        let keep = P256::new(7);
        let mut facts = ear(&keep);
        change(&mut facts);
        chain(&keep, &facts, &P256::new(3))
    }

    #[test]
    fn rule_11_nonce_then_key_then_certificate() {
        let enrol = enrol();
        let request = enrol.nonce_request();
        assert_eq!((request.method, &request.path[..], request.body.len()), ("GET", "/steward/nonce", 0));
        let body =
            serde_json::to_vec(&Challenge { nonce: Nonce::new(NONCE.to_vec()).unwrap(), expires: NOW + 300 }).unwrap();
        let challenge = enrol.nonce_response(200, &body).unwrap();
        let (request, awaiting) = enrol.certificate_request(&challenge.nonce, attested(), &P256::new(7)).unwrap();
        assert_eq!((request.method, &request.path[..]), ("POST", "/steward/"));
        let parsed = csr::Request::parse(&request.body, &Software).unwrap();
        assert_eq!(Digest::of(&parsed.statement.brief).as_bytes(), &enrol.brief_hash());
        assert_eq!(parsed.statement.nonce, challenge.nonce);

        let chain = issued(|_| {});
        let identity = answer(awaiting.clone(), &chain, NOW).unwrap();
        assert_eq!((&identity.chain, identity.time), (&chain, NOW));
        let path = pem::encode_pkipath(&chain);
        assert!(awaiting.certificate_response(200, "application/pkix-pkipath", &path, NOW, &Software).is_ok());
    }

    #[test]
    fn rule_11_the_certificate_is_checked_against_anchor_and_own_key() {
        let enrol = enrol();
        assert!(answer(awaiting(&enrol), &issued(|_| {}), NOW).is_ok(), "control");
        let (keep, other) = (P256::new(7), P384::new(9));
        // A Steward whose root the brief does not name.
        let error = answer(awaiting(&enrol), &chain(&keep, &ear(&keep), &P256::new(4)), NOW);
        assert!(matches!(error, Err(EnrolError::Chain(ChainError::NotAnchored { .. }))));
        // The right Steward's certificate of another Keep.
        let error = answer(awaiting(&enrol), &chain(&other, &ear(&other), &P256::new(3)), NOW);
        assert!(matches!(error, Err(EnrolError::Key { .. })));
        // For this key, but with other facts.
        let refused = |change: fn(&mut Ear)| answer(awaiting(&enrol), &issued(change), NOW).unwrap_err();
        assert!(matches!(refused(|ear| ear.id.role = "db".parse().unwrap()), EnrolError::Id { .. }));
        assert_eq!(refused(|ear| ear.brief = Digest::of(b"x")), EnrolError::Fact("brief hash"));
        assert_eq!(refused(|ear| ear.workload = Digest::of(b"x")), EnrolError::Fact("workload"));
        assert_eq!(refused(|ear| ear.owner = Some(Digest::of(b"x"))), EnrolError::Fact("owner"));
    }

    #[test]
    fn rule_10_a_certificate_for_another_nonce_is_refused() {
        let enrol = enrol();
        let error = answer(awaiting(&enrol), &issued(|ear| ear.nonce = Nonce::new(vec![6; 56]).unwrap()), NOW);
        assert_eq!(error, Err(EnrolError::Fact("nonce")));
    }

    #[test]
    fn rule_3_without_a_deployment_the_keep_expects_to_be_anonymous() {
        let enrol = Enrol::new(&brief(&P256::new(1)).encode(), None, None).unwrap();
        assert!(matches!(answer(awaiting(&enrol), &issued(|_| {}), NOW), Err(EnrolError::Id { .. })));
        let anonymous = issued(|ear| {
            ear.owner = None;
            ear.id = SpiffeId::anonymous(ear.id.trust_domain.clone()).unwrap();
        });
        assert!(answer(awaiting(&enrol), &anonymous, NOW).unwrap().certificate.id.is_anonymous());
    }

    #[test]
    fn rule_12_a_clock_that_is_behind_does_no_harm() {
        let enrol = enrol();
        let identity = answer(awaiting(&enrol), &issued(|_| {}), 0).unwrap();
        assert_eq!(identity.time, NOW - 60, "the certificate's notBefore is the lower bound");
        let error = answer(awaiting(&enrol), &issued(|_| {}), NOW + 3601);
        assert!(matches!(error, Err(EnrolError::Chain(ChainError::Expired { position: 0, .. }))));
    }

    #[test]
    fn refusals_arrive_with_their_reasons() {
        let enrol = enrol();
        let problem = Problem {
            kind: "https://example.org/refused".to_string(),
            title: "evidence refused".to_string(),
            status: 403,
            detail: "the guest may be debugged".to_string(),
            checks: vec![FailedCheck { id: "snp.policy.debug".to_string(), ..FailedCheck::default() }],
        };
        let body = serde_json::to_vec(&problem).unwrap();
        let expected = EnrolError::Refused { status: 403, problem: problem.into() };
        let error = awaiting(&enrol).certificate_response(403, PROBLEM_MEDIA_TYPE, &body, NOW, &Software);
        assert_eq!(error, Err(expected.clone()));
        assert_eq!(enrol.nonce_response(403, &body), Err(expected));
        let error = awaiting(&enrol).certificate_response(502, "text/html", b"<html>", NOW, &Software);
        assert_eq!(error, Err(EnrolError::Status { status: 502 }));
        // Members that we do not know are ignored.
        let more = br#"{"title":"no","status":403,"instance":"/x","checks":[{"id":"a","more":1}]}"#;
        assert!(matches!(enrol.nonce_response(403, more), Err(EnrolError::Refused { .. })));
    }

    #[test]
    fn hostile_answers_are_errors() {
        let enrol = enrol();
        let refused = |content_type: &str, body: &[u8]| {
            awaiting(&enrol).certificate_response(200, content_type, body, NOW, &Software).unwrap_err()
        };
        assert!(matches!(refused("text/html", b""), EnrolError::ContentType { .. }));
        assert!(matches!(refused(PEM_MEDIA_TYPE, b""), EnrolError::Chain(ChainError::Length { found: 0 })));
        assert!(matches!(refused(PEM_MEDIA_TYPE, &[0xff]), EnrolError::Pem(_)));
        assert!(matches!(refused(PKIPATH_MEDIA_TYPE, &[0x30, 2, 0x30, 0]), EnrolError::Profile(_)));
        let long = vec![b' '; CERTIFICATE_RESPONSE_LIMIT + 1];
        assert_eq!(refused(PEM_MEDIA_TYPE, &long), EnrolError::TooLong { limit: CERTIFICATE_RESPONSE_LIMIT });
        assert_eq!(enrol.nonce_response(200, b"{}"), Err(EnrolError::Nonce));
        assert_eq!(enrol.nonce_response(200, br#"{"nonce":"AA","expires":1}"#), Err(EnrolError::Nonce));
        let long = vec![b' '; NONCE_RESPONSE_LIMIT + 1];
        assert_eq!(enrol.nonce_response(200, &long), Err(EnrolError::TooLong { limit: NONCE_RESPONSE_LIMIT }));
    }

    #[test]
    fn a_brief_without_steward_ends_here() {
        let mut lonely = brief(&P256::new(1));
        lonely.steward = None;
        lonely.source = workload::brief::Source::Host;
        assert_eq!(Enrol::new(&lonely.encode(), None, None), Err(EnrolError::NoSteward));
        assert!(matches!(Enrol::new(b"", None, None), Err(EnrolError::Brief(_))));
    }
}
