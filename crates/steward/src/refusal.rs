//! Why a CSR gets no certificate, and what the asker is told about it.
//!
//! Two halves kept apart: [`Refusal`] has the typed reason; [`Refusal::problem`] maps it to RFC 9457 problem
//! details with the failed checks, each with a stable id, what was expected, what was found, where the
//! expectation comes from, and the remedy. What is ours to mend ([`Refusal::is_ours`]) is told to nobody but
//! the log. Texts with something of the asker's in them are cut: whoever is refused has not proved anything, and the
//! answer must fit what a Keep reads.
//! Invariant: a problem of a refusal has at least one failed check, and every id it can have is listed in
//! [`CHECKS`] or by `evidence::appraisal::rules`.

use evidence::{Outcome, Verdict, appraisal::enarx::RequestError};
use identity::{
    certificate::IssueError,
    csr::CsrError,
    deployment::NotCovered,
    ear::{EarSignError, MeasurementError},
    keys::SignError,
    problem::{FailedCheck, Problem},
    publisher::SignatureError,
    signed::OpenError,
};
use thiserror::Error;
use workload::{
    brief::BriefError,
    digest::Digest,
    names::{DnsName, Name, NameError, TrustDomain},
};

use crate::{
    carried::{CarriedError, KINDS},
    nonce::{MAX_AGE, NonceError},
};

/// Every check of the Steward's own, with what it means when it passes. Those of evidence are told by
/// `evidence::appraisal::rules`.
pub const CHECKS: &[(&str, &str)] = &[
    ("csr.format", "the body is one PKCS#10 request in its canonical DER, without a subject"),
    ("csr.carrier", "the request has one attestation attribute with one statement of the known members"),
    ("csr.signature", "the request is signed by the key it asks a certificate for"),
    ("nonce.format", "the nonce has the length of ours"),
    ("nonce.seal", "the nonce is ours, for this trust domain, class and purpose"),
    ("nonce.age", "the nonce is at most five minutes old"),
    ("brief.format", "the brief is in its canonical form"),
    ("brief.trust_domain", "the brief is for this Steward's trust domain"),
    ("brief.steward", "the brief names a Steward"),
    ("brief.source", "the brief names the Drawbridge that has the workload"),
    ("brief.anchors", "the brief lists this Steward's root among its anchors"),
    ("evidence.kind", "the evidence is of a kind this Steward knows"),
    ("evidence.collateral", "what the evidence is to be judged by can be read, and is not too much"),
    ("policy.tee", "the policy has a section for this TEE"),
    ("deployment.signature", "the Deployment is well-formed and signed by the owner it names"),
    ("deployment.owner", "brief and Deployment have the same owner"),
    ("deployment.trust_domain", "brief and Deployment have the same trust domain"),
    ("deployment.id", "the Deployment is the one the brief names"),
    ("deployment.role", "the Deployment has the role the brief names"),
    ("deployment.workload", "the role may be played by the brief's workload"),
    (
        "workload.signature",
        "the signature of the workload's publisher is one, verifies, and is about the brief's workload",
    ),
    ("deployment.registered", "the policy registers the Deployment's owner for its id"),
    ("deployment.version", "the Deployment is not older than the policy accepts"),
    ("name.registered", "the policy registers the owner for each DNS name of the role"),
    ("deny.workload", "the policy does not deny the workload"),
    ("deny.owner", "the policy does not deny the owner whom the brief names"),
    ("deny.measurement", "the policy does not deny the launch measurement"),
    ("deny.signer", "the policy does not deny the key that signed the launch"),
    ("deny.platform", "the policy does not deny the platform"),
    ("certificate.validity", "there is time left for which a certificate could be issued"),
    ("internal", "the Steward could do its work"),
];

/// Why a CSR gets no certificate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a request in the one form that is taken.
    #[error("CSR: {0}")]
    Csr(#[from] CsrError),
    /// Not a request of Enarx in a form that is taken.
    #[error("request of Enarx: {0}")]
    Enarx(#[from] RequestError),
    /// The nonce is not ours, not for this, or too old.
    #[error("nonce: {0}")]
    Nonce(#[from] NonceError),
    /// The brief cannot be read.
    #[error("brief: {0}")]
    Brief(#[from] BriefError),
    /// The brief is for somebody else.
    #[error("the brief is for trust domain {found}, this is {expected}")]
    TrustDomain {
        /// Ours.
        expected: TrustDomain,
        /// The brief's.
        found: TrustDomain,
    },
    /// The brief names no Steward at all.
    #[error("the brief names no Steward")]
    NoSteward,
    /// The Keep would not take a certificate of ours.
    #[error("the brief's anchors do not have our root {expected}")]
    Anchors {
        /// Our root.
        expected: Digest,
        /// The brief's anchors.
        found: Vec<Digest>,
    },
    /// A certificate with the workload's location is asked for, and it has none.
    #[error("the workload comes from the host")]
    NoLocation,
    /// It carries evidence of an unknown kind, or collateral that nobody could read.
    #[error(transparent)]
    Carried(#[from] CarriedError),
    /// The policy has no section for this TEE.
    #[error("the policy has no [{tee}]")]
    Tee {
        /// The section that is missing.
        tee: &'static str,
    },
    /// The evidence does not stand.
    #[error("evidence: {}", .0.primary().map_or("no verdict", |check| check.id))]
    Evidence(Verdict),
    /// The Deployment cannot be read, or its owner did not sign it.
    #[error("Deployment: {0}")]
    Deployment(#[from] OpenError),
    /// The signature of the workload's publisher does not hold.
    #[error("workload: {0}")]
    Signature(#[from] SignatureError),
    /// The Deployment is not about this brief.
    #[error("Deployment: {0}")]
    NotCovered(#[from] NotCovered),
    /// Nobody registered this owner for the Deployment's id.
    #[error("owner {owner} is not registered for deployment {deployment}")]
    Unregistered {
        /// Who signed.
        owner: Digest,
        /// What for.
        deployment: Name,
    },
    /// The Deployment was replaced by a newer one.
    #[error("version {found} of deployment {deployment}, at least {expected} is accepted")]
    Version {
        /// Which Deployment.
        deployment: Name,
        /// The policy's floor.
        expected: u64,
        /// The Deployment's version.
        found: u64,
    },
    /// The Deployment gives names that are not its owner's to give.
    #[error("owner {owner} is not registered for {}", list(.names))]
    Names {
        /// Who signed.
        owner: Digest,
        /// The names nobody registered for this owner.
        names: Vec<DnsName>,
    },
    /// The policy denies something of it, whatever else it says.
    #[error("{id}: {found}")]
    Denied {
        /// Which list has it.
        id: &'static str,
        /// What.
        found: String,
    },
    /// The collateral ends before a certificate could begin.
    #[error("nothing issued at {now} may be valid after {end}")]
    Validity {
        /// The last second anything may be valid.
        end: u64,
        /// The time of judging.
        now: u64,
    },
    /// The certificate could not be made. Ours to mend.
    #[error("issue: {0}")]
    Issue(#[from] IssueFault),
}

/// What of ours failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssueFault {
    /// The EAR was not signed.
    #[error("EAR: {0}")]
    Ear(#[from] EarSignError),
    /// A measurement has a length the EAR does not know.
    #[error("EAR: {0}")]
    Measurement(#[from] MeasurementError),
    /// The certificate was not signed.
    #[error("certificate: {0}")]
    Certificate(#[from] IssueError),
    /// What was recorded is another certificate.
    #[error("it was not recorded")]
    Unrecorded,
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A certificate that is no Keep's could not be written.
    #[error("certificate: {0}")]
    Der(#[from] der::Error),
    /// The reserved name is none.
    #[error("anonymous ID: {0}")]
    Name(#[from] NameError),
    /// Evidence was verified of which the EAR knows no TEE, or a rating that none is verified with.
    #[error("EAR: no word for what was verified")]
    Unknown,
    /// Our own chain has ended: no asker can mend that.
    #[error("the certificate authority ended at {not_after}, and it is {now}: renew its certificates")]
    Expired {
        /// Last second in which the whole chain is valid, seconds since 1970.
        not_after: u64,
        /// The time of judging.
        now: u64,
    },
}

impl IssueFault {
    /// True if the key did not sign, and may sign later.
    #[must_use]
    pub fn is_of_the_key(&self) -> bool {
        matches!(
            self,
            Self::Ear(EarSignError::Sign(SignError::Unavailable))
                | Self::Certificate(IssueError::Sign(SignError::Unavailable))
                | Self::Sign(SignError::Unavailable)
        )
    }
}

impl Refusal {
    /// True if the fault lies with us; then the asker learns nothing but that.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Issue(_))
    }

    /// The failed checks, the cause first. For our own faults one, without detail.
    #[must_use]
    pub fn checks(&self) -> Vec<FailedCheck> {
        let one = |id: &str, expected: String, found: String, source: &str, remedy: &str| {
            vec![FailedCheck {
                id: id.to_owned(),
                expected: cut(expected),
                found: cut(found),
                source: source.to_owned(),
                remedy: remedy.to_owned(),
            }]
        };
        match self {
            Self::Csr(error) => {
                let id = match error {
                    CsrError::Signature => "csr.signature",
                    CsrError::Attributes | CsrError::Statements | CsrError::Member(_) => "csr.carrier",
                    _ => "csr.format",
                };
                one(
                    id,
                    meaning(id),
                    error.to_string(),
                    "RFC 2986; spec/trust.md, Certificate request",
                    "send the request as the Keep made it, in DER",
                )
            }
            Self::Enarx(error) => {
                let id = match error {
                    RequestError::Signature => "csr.signature",
                    RequestError::NoEvidence => "evidence.kind",
                    RequestError::Endorsements(_) => "evidence.collateral",
                    _ => "csr.format",
                };
                one(
                    id,
                    meaning(id),
                    error.to_string(),
                    "policy: compat.enarx",
                    "send the request as `enarx` makes it on SGX or SEV-SNP, in DER",
                )
            }
            Self::Nonce(error) => {
                let (id, expected) = match error {
                    NonceError::Length { expected, .. } => ("nonce.format", format!("{expected} bytes")),
                    NonceError::Seal => ("nonce.seal", meaning("nonce.seal")),
                    NonceError::Expired { .. } | NonceError::Future { .. } => {
                        ("nonce.age", format!("at most {MAX_AGE} seconds"))
                    }
                };
                let again = "get a new nonce from GET /nonce of this Steward, make new evidence with it, and come back within five minutes";
                let remedy = match error {
                    NonceError::Future { .. } => {
                        "set the clocks of the Stewards that share the nonce key: this one's is behind, or was set back"
                            .to_owned()
                    }
                    NonceError::Expired { .. } => {
                        format!("{again}; if no time has passed, the Steward's clock was set forward")
                    }
                    NonceError::Length { .. } | NonceError::Seal => again.to_owned(),
                };
                one(id, expected, error.to_string(), "trust.md rule 10", &remedy)
            }
            Self::Brief(error) => one(
                "brief.format",
                meaning("brief.format"),
                error.to_string(),
                "spec/brief.md",
                "send the bytes the Keep was launched with",
            ),
            Self::TrustDomain { expected, found } => one(
                "brief.trust_domain",
                expected.to_string(),
                found.to_string(),
                "policy: trust_domain",
                "launch the Keep with a brief of this trust domain, or ask that domain's Steward",
            ),
            Self::NoSteward => one(
                "brief.steward",
                meaning("brief.steward"),
                "none".to_owned(),
                "trust.md rule 11",
                "launch the Keep with a brief that names this Steward's root",
            ),
            Self::Anchors { expected, found } => one(
                "brief.anchors",
                expected.to_string(),
                list(found),
                "trust.md rule 11",
                "launch the Keep with a brief that lists this Steward's root, or ask the Steward it lists",
            ),
            Self::NoLocation => one(
                "brief.source",
                meaning("brief.source"),
                "the host".to_owned(),
                "spec/certificate.md, Others",
                "launch the Keep with a brief that names a Drawbridge, or ask for a Keep's certificate",
            ),
            Self::Carried(CarriedError::Kind(found)) => one(
                "evidence.kind",
                KINDS.join(", "),
                found.clone(),
                "trust.md rule 9",
                "send evidence of a kind this Steward knows",
            ),
            Self::Carried(CarriedError::Collateral(found)) => one(
                "evidence.collateral",
                meaning("evidence.collateral"),
                found.clone(),
                "spec/trust.md, Certificate request",
                "send the vendor's answers as the vendor gives them",
            ),
            Self::Tee { tee } => one(
                "policy.tee",
                format!("[{tee}]"),
                "no such section".to_owned(),
                "policy",
                "the operator of this Steward has to say what evidence of this TEE it accepts",
            ),
            Self::Evidence(verdict) => failures(verdict),
            Self::Deployment(error) => one(
                "deployment.signature",
                meaning("deployment.signature"),
                error.to_string(),
                "trust.md rule 3",
                "send the Deployment as its owner signed it",
            ),
            Self::Signature(error) => one(
                "workload.signature",
                meaning("workload.signature"),
                error.to_string(),
                "trust.md rule 13",
                "send the signature as the workload's publisher made it, or none",
            ),
            Self::NotCovered(error) => {
                let id = match error {
                    NotCovered::TrustDomain { .. } => "deployment.trust_domain",
                    NotCovered::Deployment { .. } => "deployment.id",
                    NotCovered::Role { .. } => "deployment.role",
                    NotCovered::Workload { .. } => "deployment.workload",
                    // Non-exhaustive: what is added later is about who, like these.
                    _ => "deployment.owner",
                };
                one(
                    id,
                    meaning(id),
                    error.to_string(),
                    "trust.md rule 3",
                    "the owner has to sign a Deployment that covers this role and workload, or the Keep runs without a name",
                )
            }
            Self::Unregistered { owner, deployment } => one(
                "deployment.registered",
                format!("a [[name]] with owner {owner} for {deployment}"),
                "none".to_owned(),
                "policy: name",
                "the operator of this Steward has to register the owner's key for this deployment",
            ),
            Self::Version { deployment, expected, found } => one(
                "deployment.version",
                format!("version {expected} or later of {deployment}"),
                format!("version {found}"),
                "policy: name.minimum_version; trust.md rule 13",
                "send the owner's current Deployment",
            ),
            Self::Names { owner, names } => one(
                "name.registered",
                format!("a [[name]] with owner {owner} for each name of the role"),
                format!("none for {}", list(names)),
                "policy: name",
                "the operator of this Steward has to register the owner's key for these names, or the owner takes them out",
            ),
            Self::Denied { id, found } => one(
                id,
                meaning(id),
                found.clone(),
                "policy: deny",
                "ask whoever runs this Steward why: it was trusted once, or is somebody's on the list",
            ),
            Self::Validity { end, now } => one(
                "certificate.validity",
                format!("an end after {now}"),
                format!("{end}"),
                "trust.md rule 10; spec/certificate.md",
                "get a new nonce, and fresh collateral",
            ),
            Self::Issue(_) => internal().checks,
        }
    }

    /// The status code of HTTP: 400 for what cannot be read, 403 for what is not accepted, 500 for our faults.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Csr(_) | Self::Enarx(_) | Self::Brief(_) => 400,
            Self::Issue(_) => 500,
            _ => 403,
        }
    }

    /// What the asker is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        if self.is_ours() {
            return internal();
        }
        let checks = self.checks();
        let (kind, title) = match self {
            Self::Csr(_) | Self::Enarx(_) | Self::Brief(_) => ("unreadable", "the request cannot be read"),
            Self::Nonce(_) => ("nonce", "the nonce is not accepted"),
            Self::Evidence(_) | Self::Carried(_) | Self::Tee { .. } => ("evidence", "the evidence is not accepted"),
            Self::Deployment(_)
            | Self::Signature(_)
            | Self::NotCovered(_)
            | Self::Unregistered { .. }
            | Self::Version { .. }
            | Self::Names { .. } => ("name", "the name is not granted"),
            _ => ("refused", "no certificate is issued"),
        };
        Problem {
            kind: format!("{TYPE}{kind}"),
            title: title.to_owned(),
            status: self.status(),
            // What was found is in the checks, once.
            detail: checks
                .first()
                .map(|check| format!("{}: expected {}", check.id, check.expected))
                .unwrap_or_default(),
            checks,
        }
    }
}

/// Beginning of every problem type.
pub(crate) const TYPE: &str = "urn:donjon:steward:";

/// Longest text with something of the asker's in it, in bytes.
const TEXT_LIMIT: usize = 1024;

/// The text, or its beginning and how much was left out.
pub(crate) fn cut(mut text: String) -> String {
    let whole = text.len();
    if whole > TEXT_LIMIT {
        text.truncate(text.floor_char_boundary(TEXT_LIMIT));
        text = format!("{text}… ({} more bytes)", whole - text.len());
    }
    text
}

/// What everybody is told about a fault of ours.
/// A request that never became a CSR, or one that this Steward cannot take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpFault<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The kind, for people.
    pub title: &'a str,
    /// As [`FailedCheck::id`].
    pub id: &'a str,
    /// What was expected.
    pub expected: &'a str,
    /// What was found.
    pub found: &'a str,
    /// What to do about it.
    pub remedy: &'a str,
}

impl<'a> HttpFault<'a> {
    /// Of a request of another form than is taken.
    #[must_use]
    pub fn form(status: u16, id: &'a str, expected: &'a str) -> Self {
        Self {
            status,
            title: "the request is not of the form this service takes",
            id,
            expected,
            found: "something else",
            remedy: "send a request of this form",
        }
    }

    /// What the asker is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let Self { status, title, id, expected, found, remedy } = *self;
        Problem {
            kind: format!("{TYPE}http"),
            title: title.to_owned(),
            status,
            detail: format!("{id}: expected {expected}"),
            checks: vec![FailedCheck {
                id: id.to_owned(),
                expected: expected.to_owned(),
                found: found.to_owned(),
                source: "spec/trust.md, Enrolment".to_owned(),
                remedy: remedy.to_owned(),
            }],
        }
    }
}

pub(crate) fn internal() -> Problem {
    Problem {
        kind: format!("{TYPE}internal"),
        title: "the Steward has a fault".to_owned(),
        status: 500,
        detail: "the operator finds the reason in the Steward's log".to_owned(),
        checks: vec![FailedCheck {
            id: "internal".to_owned(),
            expected: meaning("internal"),
            found: "a fault of its own".to_owned(),
            source: "Steward".to_owned(),
            remedy: "try again later".to_owned(),
        }],
    }
}

fn failures(verdict: &Verdict) -> Vec<FailedCheck> {
    verdict
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Fail)
        .map(|check| FailedCheck {
            id: check.id.to_owned(),
            expected: cut(check.expected.clone().into_owned()),
            found: cut(check.found.clone().into_owned()),
            source: check.source.to_owned(),
            remedy: check.remedy.to_owned(),
        })
        .collect()
}

fn meaning(id: &str) -> String {
    CHECKS.iter().find(|(known, _)| *known == id).map_or_else(|| id.to_owned(), |(_, meaning)| (*meaning).to_owned())
}

pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use identity::Algorithm;

    use super::*;

    fn samples() -> Vec<Refusal> {
        let digest = Digest::of(b"");
        let name: Name = "shop".parse().unwrap();
        let domain: TrustDomain = "example.org".parse().unwrap();
        vec![
            Refusal::Csr(CsrError::Signature),
            Refusal::Csr(CsrError::Attributes),
            Refusal::Csr(CsrError::Subject),
            Refusal::Nonce(NonceError::Length { expected: 57, found: 1 }),
            Refusal::Nonce(NonceError::Seal),
            Refusal::Nonce(NonceError::Expired { age: 301 }),
            Refusal::Brief(BriefError::NotCanonical),
            Refusal::TrustDomain { expected: domain.clone(), found: domain.clone() },
            Refusal::NoSteward,
            Refusal::NoLocation,
            Refusal::Anchors { expected: digest, found: vec![digest] },
            Refusal::Carried(CarriedError::Kind("x".to_owned())),
            Refusal::Carried(CarriedError::Collateral("JSON".to_owned())),
            Refusal::Tee { tee: "snp" },
            Refusal::Deployment(OpenError::Signature),
            Refusal::Signature(SignatureError::Signature),
            Refusal::NotCovered(NotCovered::NoOwner),
            Refusal::NotCovered(NotCovered::TrustDomain { expected: domain.clone(), found: domain }),
            Refusal::NotCovered(NotCovered::Deployment { expected: name.clone(), found: name.clone() }),
            Refusal::NotCovered(NotCovered::Role { role: name.clone() }),
            Refusal::NotCovered(NotCovered::Workload { role: name.clone(), workload: digest, published: None }),
            Refusal::Unregistered { owner: digest, deployment: name },
            Refusal::Version { deployment: "shop".parse().unwrap(), expected: 2, found: 1 },
            Refusal::Names { owner: digest, names: vec!["a.example".parse().unwrap()] },
            Refusal::Denied { id: "deny.workload", found: "x".to_owned() },
            Refusal::Denied { id: "deny.owner", found: "x".to_owned() },
            Refusal::Denied { id: "deny.measurement", found: "x".to_owned() },
            Refusal::Denied { id: "deny.signer", found: "x".to_owned() },
            Refusal::Denied { id: "deny.platform", found: "x".to_owned() },
            Refusal::Validity { end: 1, now: 2 },
            Refusal::Issue(IssueFault::Ear(EarSignError::Sign(SignError::Unavailable))),
        ]
    }

    #[test]
    fn every_refusal_has_a_check_and_every_check_is_listed_and_used() {
        let mut seen: Vec<String> = samples().iter().map(|refusal| refusal.checks().swap_remove(0).id).collect();
        seen.sort();
        let mut listed: Vec<String> = CHECKS.iter().map(|(id, _)| (*id).to_owned()).collect();
        listed.sort();
        assert_eq!(seen, listed);
    }

    #[test]
    fn a_problem_says_what_was_expected_what_was_found_and_what_to_do() {
        for refusal in samples() {
            let problem = refusal.problem();
            assert_eq!(problem.status, refusal.status());
            assert!(problem.kind.starts_with("urn:donjon:steward:"));
            for check in problem.checks {
                for text in [check.expected, check.found, check.source, check.remedy] {
                    assert!(!text.is_empty(), "{refusal}");
                }
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_how_much_is_missing() {
        let limit = "x".repeat(TEXT_LIMIT);
        assert_eq!(cut(limit.clone()), limit);
        assert_eq!(cut(format!("{limit}yy")), format!("{limit}… (2 more bytes)"));
        // Two bytes, the first of which would still fit.
        assert_eq!(cut(format!("{}éé", &limit[1..])), format!("{}… (4 more bytes)", &limit[1..]));
    }

    #[test]
    fn sources_name_documents_of_this_repository() {
        let specifications = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec");
        for check in samples().iter().flat_map(Refusal::checks) {
            let words = check.source.split([' ', ',', ';']).filter_map(|word| word.strip_prefix("spec/"));
            for document in words {
                assert!(specifications.join(document).is_file(), "{}: {}", check.id, check.source);
            }
        }
        let source = |refusal: Refusal| refusal.checks().swap_remove(0).source;
        assert!(source(Refusal::Csr(CsrError::Signature)).contains("spec/trust.md"));
        assert!(source(Refusal::Carried(CarriedError::Collateral("JSON".to_owned()))).contains("spec/trust.md"));
        assert!(source(Refusal::Brief(BriefError::NotCanonical)).contains("spec/brief.md"));
    }

    #[test]
    fn our_own_faults_are_told_to_the_log_and_not_to_the_asker() {
        let fault = Refusal::Issue(IssueFault::Certificate(IssueError::OutlivesIssuer { issuer_not_after: 4711 }));
        assert!(fault.is_ours());
        assert!(fault.to_string().contains("4711"));
        assert_eq!(fault.problem(), internal());
        assert!(!serde_json::to_string(&fault.problem()).unwrap().contains("4711"));
        // The control: what is the asker's to mend is told.
        let theirs = Refusal::Csr(CsrError::Key(Algorithm::of(&[]).expect_err("no key at all")));
        assert!(!theirs.is_ours());
        assert!(theirs.problem().checks[0].found.contains("P-256"));
    }
}
