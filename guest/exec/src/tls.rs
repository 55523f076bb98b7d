//! TLS of both directions: who proves himself how.
//!
//! Owns the configurations (1.3 only, hybrid post-quantum key exchange first, no tickets: what a certificate opened does not
//! outlast it) and the proofs that a brief or a manifest asks for. Refuses whoever brings none of them.
//!
//! Invariant: a name, an address or a network never proves anything; a key, a chain or a Keep's certificate does.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use identity::chain::{VerifiedKeep, verify_chain};
use identity::deployment::{Deployment, NotCovered};
use identity::ear::Class;
use identity::names::SpiffeId;
use identity::publisher::SignatureError;
use identity::signed::OpenError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use workload::brief::Brief;
use workload::digest::Digest;
use workload::names::Name;

use crate::clock;
use crate::enrol::Identity;
use crate::keys::{AwsLc, Key};
use crate::refusal::{Refusal, Step};

/// HTTP by ALPN, the better one first.
pub(crate) const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A server that shows the Keep's certificate, or another that it was given, to clients who bring `proof` if one is asked for.
pub(crate) fn server(
    identity: &Arc<Identity>,
    given: Option<CertifiedKey>,
    proof: Option<Proof>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, Refusal> {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(broken)?;
    let builder = match proof {
        Some(proof) => builder.with_client_cert_verifier(Arc::new(proof)),
        None => builder.with_no_client_auth(),
    };
    let shown: Arc<dyn ResolvesServerCert> = match given {
        Some(given) => Arc::new(SingleCertAndKey::from(given)),
        None => Arc::new(Shown(Arc::clone(identity))),
    };
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Tickets end with the certificate (trust.md rule 16): there are none.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client of servers who bring `proof`, that shows `identity` if it is asked for a certificate.
pub(crate) fn client(
    proof: Proof,
    identity: Option<&Arc<Identity>>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, Refusal> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(broken)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(proof));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Shown(Arc::clone(identity)))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A chain and its key, of a secret in PEM.
pub(crate) fn given(name: &Name, pem: &[u8]) -> Result<CertifiedKey, Refusal> {
    // What is wrong is said without it.
    let bad = |what: &str| {
        Refusal::new(
            Step::Program,
            "listen.certificate",
            format_args!("the secret `{name}` is nothing that a listener could show: {what}"),
            "it has its certificate first, then those above it, and the key, PKCS#8, all in PEM",
        )
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| bad("not PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| bad("there is no key"))?;
    if chain.is_empty() {
        return Err(bad("there is no certificate"));
    }
    CertifiedKey::from_der(chain, key, &provider()).map_err(|_| bad("key and certificate do not belong together"))
}

/// A key and its chain, Keep first, root last.
pub(crate) fn shown(chain: &[Vec<u8>], key: &Key) -> Result<Arc<CertifiedKey>, Refusal> {
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = provider().key_provider.load_private_key(key.to_pkcs8()?.into()).map_err(broken)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Shows the present certificate.
#[derive(Debug)]
struct Shown(Arc<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.now().tls))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.now().tls))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Made once: every handshake asks it.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The present as far as this Keep knows it.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::now()))
    }
}

/// What the other side has to bring; any of it is enough.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Keys, SHA-256 of the SPKI.
    pins: BTreeSet<Digest>,
    /// Certificates that end a chain: of servers with the name, of clients without.
    roots: Vec<Arc<WebPkiServerVerifier>>,
    clients: Vec<Arc<dyn ClientCertVerifier>>,
    keeps: Option<Keeps>,
}

/// Keeps of one's own deployment ("Keep to Keep" in trust.md).
#[derive(Debug)]
pub(crate) struct Keeps {
    anchors: Vec<Digest>,
    owner: Digest,
    /// By role: the names they may have.
    ids: Vec<SpiffeId>,
    class: Class,
}

impl Proof {
    /// These keys or, if there are none, the public web roots.
    pub(crate) fn pins(pins: &[Digest]) -> Result<Self, Refusal> {
        let proof = Self { pins: pins.iter().copied().collect(), ..Self::default() };
        if pins.is_empty() { proof.web() } else { Ok(proof) }
    }

    pub(crate) fn pin(mut self, key: Digest) -> Self {
        self.pins.insert(key);
        self
    }

    /// The public web roots too.
    pub(crate) fn web(mut self) -> Result<Self, Refusal> {
        let roots = Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        self.roots.push(WebPkiServerVerifier::builder_with_provider(roots, provider()).build().map_err(broken)?);
        Ok(self)
    }

    /// The certificates in a PEM file too; `path` is what messages call it.
    pub(crate) fn pem(mut self, path: &str, pem: &[u8]) -> Result<Self, Refusal> {
        let bad = |error: &dyn std::fmt::Display| {
            Refusal::new(
                Step::Program,
                "trust.pem",
                format_args!("the manifest trusts what is in {path}, but that is no list of certificates: {error}"),
                "it has one or more blocks `-----BEGIN CERTIFICATE-----`",
            )
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        if roots.is_empty() {
            return Err(bad(&"there is none"));
        }
        let roots = Arc::new(roots);
        let server = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider());
        self.roots.push(server.build().map_err(broken)?);
        self.clients.push(WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(broken)?);
        Ok(self)
    }

    /// Keeps in these roles too.
    pub(crate) fn keeps(mut self, keeps: Keeps) -> Self {
        self.keeps = Some(keeps);
        self
    }

    /// By its key or as a Keep; `None`: not in this way.
    fn itself(&self, end_entity: &CertificateDer<'_>, above: &[CertificateDer<'_>], now: UnixTime) -> Option<()> {
        let spki = ParsedCertificate::try_from(end_entity).ok()?.subject_public_key_info();
        if self.pins.contains(&Digest::of(&spki)) {
            return Some(());
        }
        let keeps = self.keeps.as_ref()?;
        let chain: Vec<_> = std::iter::once(end_entity).chain(above).collect();
        keeps.verified(&chain, now.as_secs()).map(|_| ())
    }
}

impl Keeps {
    /// Those in one of `roles` that the owner's Deployment lets this Keep talk to. `name` is what messages call the section.
    pub(crate) fn new(
        name: &Name,
        roles: &[Name],
        brief: &Brief,
        identity: Option<&Arc<Identity>>,
    ) -> Result<Self, Refusal> {
        Self::among(roles, brief, identity.map(Arc::as_ref)).map_err(|error| {
            Refusal::new(
                Step::Program,
                "trust.steward",
                format_args!("`{name}` trusts Keeps by their roles, but {error}"),
                error.hint(),
            )
        })
    }

    /// Those in one of `roles` that the owner's Deployment lets this Keep talk to.
    pub(crate) fn among(roles: &[Name], brief: &Brief, identity: Option<&Identity>) -> Result<Self, NoPeers> {
        let (Some(steward), Some(identity)) = (&brief.steward, identity) else { return Err(NoPeers::Certificate) };
        let deployment = identity.papers.deployment.as_ref().ok_or(NoPeers::Deployment)?;
        let deployment = Deployment::open(deployment, &AwsLc)?;
        let own = deployment.covers(brief, identity.papers.published(brief)?.as_ref())?;
        if let Some(role) = roles.iter().find(|role| !own.peers.contains(*role)) {
            return Err(NoPeers::Role { own: brief.role.clone(), role: role.clone() });
        }
        Ok(Self {
            anchors: steward.anchors.clone(),
            owner: *deployment.owner(),
            ids: roles.iter().map(|role| deployment.spiffe_id(role)).collect(),
            class: identity.class,
        })
    }

    /// The Keep that has this chain, if it is one of them.
    pub(crate) fn verified<C: AsRef<[u8]>>(&self, chain: &[C], now: u64) -> Option<VerifiedKeep> {
        let Self { anchors, owner, ids, class } = self;
        let keep = verify_chain(chain, anchors, now, &AwsLc).ok()?;
        let ours = ids.contains(&keep.id) && keep.ear.owner == Some(*owner) && keep.ear.class == *class;
        ours.then_some(keep)
    }
}

/// Why a Keep recognises no other by its role.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPeers {
    #[error("this Keep has no certificate: no Steward was named")]
    Certificate,
    #[error("it was launched without a Deployment")]
    Deployment,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    NotCovered(#[from] NotCovered),
    #[error("the Deployment does not let role {own} talk to role {role}")]
    Role { own: Name, role: Name },
}

impl NoPeers {
    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::Certificate => "deploy it with a Steward",
            Self::Deployment => "deploy it with one that has these roles",
            Self::Open(_) | Self::Signature(_) => "deploy it again",
            Self::NotCovered(_) => "deploy it with its own Deployment, and with the signature that this asks for",
            Self::Role { .. } => "add it to the `peers` of the role in the Deployment, and sign that again",
        }
    }
}

/// What nobody who is refused is told more of.
fn refused() -> rustls::Error {
    CertificateError::ApplicationVerificationFailure.into()
}

impl ServerCertVerifier for Proof {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.itself(end_entity, intermediates, now).is_some() {
            return Ok(ServerCertVerified::assertion());
        }
        let mut last = refused();
        for roots in &self.roots {
            match roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Ok(verified) => return Ok(verified),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Proof {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whoever comes knows whom he comes to.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.itself(end_entity, intermediates, now).is_some() {
            return Ok(ClientCertVerified::assertion());
        }
        let mut last = refused();
        for roots in &self.clients {
            match roots.verify_client_cert(end_entity, intermediates, now) {
                Ok(verified) => return Ok(verified),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not among the configured versions.
fn older() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken".to_owned())
}

pub(crate) fn broken(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Step::Certificate, "tls.defect", error, "this is a defect of the Keep: report it")
}
