//! Steps 5 to 8: from a brief to a certificate.
//!
//! Owns the conversation with the Steward and the key, which is made after the nonce and only once; what is said and how
//! the answer is checked is [`identity::enrol`]'s. Refuses to go on with anything but a certificate under the brief's
//! anchors for this key, this brief and this nonce.

use identity::csr;
use identity::ear::Class;
use identity::enrol::{Attested, CERTIFICATE_RESPONSE_LIMIT, Enrol, EnrolError, HttpRequest, NONCE_RESPONSE_LIMIT};
use identity::keys::Signer;
use rustls::pki_types::CertificateDer;
use workload::brief::StewardRef;

use crate::clock;
use crate::connect::{Answer, Connection, Endpoint};
use crate::keys::{AwsLc, Key};
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};

/// The Keep's key and its checked certificate.
pub(crate) struct Identity {
    pub(crate) key: Key,
    chain: Vec<Vec<u8>>,
    /// How much it says.
    pub(crate) class: Class,
    /// What the owner signed, as the host gave it and the Steward believed it.
    pub(crate) deployment: Option<Vec<u8>>,
}

impl Identity {
    /// Keep first, root last, DER.
    pub(crate) fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Keep first, root last.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().cloned().map(CertificateDer::from).collect()
    }
}

/// Gets a certificate.
pub(crate) async fn enrol(
    platform: &mut Platform,
    brief_bytes: &[u8],
    steward: &StewardRef,
) -> Result<Identity, Refusal> {
    let deployment = platform.deployment()?;
    let enrol = Enrol::new(brief_bytes, deployment.clone()).map_err(|error| failed(Step::Launch, &error))?;
    let authority = enrol.endpoint().authority.to_string();
    let to = Endpoint {
        who: "the Steward",
        step: Step::Evidence,
        authority: &authority,
        tls: enrol.endpoint().tls.then_some(&steward.tls),
        identity: None,
    };

    let answer = send(&mut Connection::open(platform, &to).await?, enrol.nonce_request()).await?;
    let status = answer.status();
    let body = answer.whole(NONCE_RESPONSE_LIMIT).await?;
    let challenge = enrol.nonce_response(status, &body).map_err(|error| failed(Step::Evidence, &error))?;

    let key = Key::generate()?;
    let nonce = &challenge.nonce;
    let Some(evidence) = platform.attest(key.spki(), nonce.as_bytes())? else {
        return Err(Refusal::new(
            Step::Evidence,
            "evidence.unavailable",
            "the brief names a Steward, but this platform cannot attest",
            "deploy on a backend with a TEE (`--backend sim` for a trial on simulated silicon)",
        ));
    };
    let detail = format!(
        "nonce {} bytes, P-256 key, {} {} bytes, {} endorsements",
        nonce.as_bytes().len(),
        evidence.media_type,
        evidence.bytes.len(),
        evidence.endorsements.len()
    );
    platform.milestone(Step::Evidence, &detail)?;

    let attested = Attested {
        evidence: csr::Evidence { media_type: evidence.media_type, bytes: evidence.bytes },
        endorsements: evidence.endorsements,
        crl: evidence.crl,
    };
    let (request, awaiting) =
        enrol.certificate_request(nonce, attested, &key).map_err(|error| failed(Step::Request, &error))?;
    platform.milestone(Step::Request, &format!("PKCS#10, {} bytes", request.body.len()))?;

    // The connection is opened anew: making evidence may have outlasted the Steward's patience with an idle one.
    let to = Endpoint { step: Step::Steward, ..to };
    let answer = send(&mut Connection::open(platform, &to).await?, request).await?;
    let (status, content_type) = (answer.status(), answer.content_type());
    let body = answer.whole(CERTIFICATE_RESPONSE_LIMIT).await?;
    platform.milestone(Step::Steward, &format!("POST to {authority}, answer {status}, {} bytes", body.len()))?;

    let identity = awaiting
        .certificate_response(status, &content_type, &body, clock::now().as_secs(), &AwsLc)
        .map_err(|error| failed(Step::Certificate, &error))?;
    clock::not_before(identity.time);
    platform.milestone(Step::Certificate, &identity.certificate.id.to_string())?;
    let class = identity.certificate.ear.class;
    Ok(Identity { key, chain: identity.chain, class, deployment })
}

async fn send(connection: &mut Connection, request: HttpRequest) -> Result<Answer, Refusal> {
    let headers: Vec<_> = request.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    connection.send(request.method, &request.path, &headers, request.body).await
}

fn failed(step: Step, error: &EnrolError) -> Refusal {
    let (code, hint) = match error {
        EnrolError::Refused { .. } => {
            ("steward.refused", "the failing checks say what the Steward's policy expects and what it found")
        }
        EnrolError::Chain(_) | EnrolError::Key { .. } | EnrolError::Id { .. } | EnrolError::Fact(_) => {
            ("steward.certificate", "this Steward is not the one the brief names: check its URL and anchors")
        }
        EnrolError::Build(_) => (
            "csr.build",
            "a certificate request carries at most 256 KiB of evidence, endorsements, brief and Deployment",
        ),
        EnrolError::Brief(_) | EnrolError::NoSteward | EnrolError::Name(_) => {
            ("brief.invalid", "launch with a brief that this version of Donjon made")
        }
        _ => ("steward.answer", "check that the URL in the brief is that of a Steward"),
    };
    Refusal::new(step, code, error, hint)
}
