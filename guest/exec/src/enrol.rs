//! Steps 5 to 8: from a brief to a certificate.
//!
//! Owns the conversation with the Steward and the key, which is made after the nonce and only once; what is said and how
//! the answer is checked is [`identity::enrol`]'s. Refuses to go on with anything but a certificate under the brief's
//! anchors for this key, this brief and this nonce.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use gate::message::Purpose;
use identity::chain::ChainError;
use identity::csr::{self, Collateral, CollateralKind};
use identity::deployment::Deployment;
use identity::ear::Class;
use identity::enrol::{Attested, CERTIFICATE_RESPONSE_LIMIT, Enrol, EnrolError, HttpRequest, NONCE_RESPONSE_LIMIT};
use identity::keys::Signer;
use identity::pem;
use identity::publisher::{self, Published, SignatureError};
use rustls::sign::CertifiedKey;
use workload::Brief;
use workload::brief::StewardRef;
use workload::names::DnsName;

use crate::clock;
use crate::connect::{Answer, Connection, Endpoint};
use crate::files::{self, Node};
use crate::keys::{AwsLc, Key};
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};
use crate::tls::{self, NoPeers};

/// What this Keep proves itself by: one credential after the other, in one class.
pub(crate) struct Identity {
    now: RwLock<Arc<Credential>>,
    /// What the manifest makes of a certificate's life, in milliseconds.
    lifetime: AtomicU64,
    /// The names that the manifest wants of every certificate.
    names: RwLock<Vec<DnsName>>,
    /// How much a certificate says.
    pub(crate) class: Class,
    /// What was signed, as the host gave it and the Steward believed it.
    pub(crate) papers: Papers,
    /// The directory in which a program finds the present one.
    files: OnceLock<Node>,
}

/// What owner and publisher signed about this Keep.
#[derive(Debug, Default, Clone)]
pub(crate) struct Papers {
    pub(crate) deployment: Option<Vec<u8>>,
    pub(crate) signature: Option<Vec<u8>>,
}

/// A key and its checked certificate.
pub(crate) struct Credential {
    pub(crate) key: Key,
    chain: Vec<Vec<u8>>,
    /// What it was issued for, PKCS#10.
    request: Bytes,
    /// What the Steward found, JSON.
    claims: Bytes,
    /// The same for TLS.
    pub(crate) tls: Arc<CertifiedKey>,
    class: Class,
    dns: Vec<DnsName>,
    /// Its dates, since 1970.
    begins: Duration,
    ends: Duration,
}

impl Credential {
    /// Keep first, root last, DER.
    pub(crate) fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// What a program finds of it, by name (`spec/manifest.md`, "identity").
    pub(crate) fn files(&self) -> [(&'static str, Bytes); 4] {
        let root = self.chain.last().map(std::slice::from_ref).unwrap_or_default();
        [
            ("anchors.pem", pem::encode(root).into()),
            ("certificates.pem", pem::encode(&self.chain).into()),
            ("claims.json", self.claims.clone()),
            ("evidence.csr", self.request.clone()),
        ]
    }

    /// Whether it has each of these names.
    fn has(&self, names: &[DnsName]) -> Result<(), Refusal> {
        let Some(missing) = names.iter().find(|name| !self.dns.contains(name)) else { return Ok(()) };
        let has: Vec<_> = self.dns.iter().map(DnsName::as_str).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        Err(Refusal::new(
            Step::Certificate,
            "identity.name",
            format_args!("the workload needs a certificate with the DNS name {missing}, this one has {has}"),
            "names are the Deployment's to say: add it to the `names` of this role, sign and deploy that; or take it out of \
             `identity.names`",
        ))
    }
}

/// Nothing of a key is ever written.
impl std::fmt::Debug for Identity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    fn new(credential: Credential, papers: Papers) -> Self {
        let class = credential.class;
        Self {
            now: RwLock::new(Arc::new(credential)),
            lifetime: AtomicU64::new(u64::MAX),
            names: RwLock::default(),
            class,
            papers,
            files: OnceLock::new(),
        }
    }

    /// Puts it into this directory as files, and each that follows: who has a file open keeps what it had.
    pub(crate) fn show(&self, directory: Node) -> files::Result<()> {
        let directory = self.files.get_or_init(|| directory);
        self.now().files().into_iter().try_for_each(|(name, bytes)| directory.place(name, bytes))
    }

    /// Takes a certificate only with these names, the present one too.
    pub(crate) fn require(&self, names: &[DnsName]) -> Result<(), Refusal> {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names.to_vec();
        self.now().has(names)
    }

    /// The present one.
    pub(crate) fn now(&self) -> Arc<Credential> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a certificate for no longer than this.
    pub(crate) fn limit(&self, lifetime: Duration) {
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.lifetime.store(lifetime, Ordering::Relaxed);
    }

    /// When the present certificate began, and when the last connection ends that it opened (trust.md rule 16).
    pub(crate) fn dates(&self) -> (Duration, Duration) {
        let now = self.now();
        let lifetime = Duration::from_millis(self.lifetime.load(Ordering::Relaxed));
        (now.begins, now.ends.min(now.begins.saturating_add(lifetime)))
    }

    /// Another credential in the place of the present one.
    pub(crate) fn replace(&self, credential: Credential) -> Result<(), Refusal> {
        if credential.class != self.class {
            return Err(Refusal::new(
                Step::Certificate,
                "steward.class",
                "the new certificate is of another class than the first",
                "a Steward serves one class: check who answers at its URL",
            ));
        }
        credential.has(&self.names.read().unwrap_or_else(PoisonError::into_inner))?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credential);
        // That the names are free was seen at the first time.
        self.files.get().map_or(Ok(()), |directory| self.show(directory.clone())).map_err(|fault| {
            Refusal::new(Step::Certificate, "files.defect", fault, "this is a defect of the Keep: report it")
        })
    }
}

/// Gets a certificate.
pub(crate) async fn enrol(
    platform: &mut Platform,
    brief_bytes: &[u8],
    steward: &StewardRef,
) -> Result<Identity, Refusal> {
    let papers = platform.papers()?;
    let brief = Brief::decode(brief_bytes).map_err(|error| failed(Step::Launch, &error.into()))?;
    papers.check(&brief).map_err(|error| Refusal::new(Step::Launch, "trust.deployment", &error, error.hint()))?;
    let credential = certify(platform, brief_bytes, steward, papers.clone(), true).await?;
    Ok(Identity::new(credential, papers))
}

impl Papers {
    /// What the Steward will see as well; but the owner's word is this Keep's to obey, whoever the Steward is.
    fn check(&self, brief: &Brief) -> Result<(), NoPeers> {
        let published = self.published(brief)?;
        if let Some(deployment) = &self.deployment {
            Deployment::open(deployment, &AwsLc)?.covers(brief, published.as_ref())?;
        }
        Ok(())
    }

    /// What the publisher says of the brief's workload.
    pub(crate) fn published(&self, brief: &Brief) -> Result<Option<Published>, SignatureError> {
        publisher::published(self.signature.as_deref(), &brief.workload, &AwsLc)
    }
}

/// Steps 5 to 8; people are told of each if `told`.
pub(crate) async fn certify(
    platform: &mut Platform,
    brief_bytes: &[u8],
    steward: &StewardRef,
    papers: Papers,
    told: bool,
) -> Result<Credential, Refusal> {
    let tell = |platform: &mut Platform, step, detail: &str| {
        if told { platform.milestone(step, detail) } else { Ok(()) }
    };
    let Papers { deployment, signature } = papers;
    let enrol = Enrol::new(brief_bytes, deployment, signature).map_err(|error| failed(Step::Launch, &error))?;
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
    let Some(evidence) = platform.attest(Purpose::Issue, key.spki(), nonce.as_bytes())? else {
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
    tell(platform, Step::Evidence, &detail)?;

    let attested = Attested {
        evidence: csr::Evidence { media_type: evidence.media_type, bytes: evidence.bytes },
        endorsements: evidence.endorsements,
        collateral: evidence.crl.into_iter().map(|bytes| Collateral { kind: CollateralKind::Crl, bytes }).collect(),
    };
    let (request, awaiting) =
        enrol.certificate_request(nonce, attested, &key).map_err(|error| failed(Step::Request, &error))?;
    tell(platform, Step::Request, &format!("PKCS#10, {} bytes", request.body.len()))?;
    let sent = Bytes::from(request.body.clone());

    // The connection is opened anew: making evidence may have outlasted the Steward's patience with an idle one.
    let to = Endpoint { step: Step::Steward, ..to };
    let answer = send(&mut Connection::open(platform, &to).await?, request).await?;
    let (status, content_type) = (answer.status(), answer.content_type());
    let body = answer.whole(CERTIFICATE_RESPONSE_LIMIT).await?;
    tell(platform, Step::Steward, &format!("POST to {authority}, answer {status}, {} bytes", body.len()))?;

    let identity = awaiting
        .certificate_response(status, &content_type, &body, clock::now().as_secs(), &AwsLc)
        .map_err(|error| failed(Step::Certificate, &error))?;
    clock::not_before(identity.time);
    tell(platform, Step::Certificate, &identity.certificate.id.to_string())?;
    let certificate = &identity.certificate;
    let claims = certificate.ear.to_json();
    let claims = claims.map_err(|error| failed(Step::Certificate, &ChainError::from(error).into()))?;
    Ok(Credential {
        request: sent,
        claims: claims.into(),
        tls: tls::shown(&identity.chain, &key)?,
        class: certificate.ear.class,
        dns: certificate.dns.clone(),
        begins: Duration::from_secs(certificate.not_before),
        ends: Duration::from_secs(certificate.not_after),
        chain: identity.chain,
        key,
    })
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
