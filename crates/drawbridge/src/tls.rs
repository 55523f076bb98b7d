//! TLS on the server's side: who it is, and which certificate a client showed.
//!
//! Owns the server's configuration. TLS 1.3 only, no 0-RTT and no tickets: a connection is as old as its certificate check
//! (`trust.md`, 16). A client may show any certificate or none; the handshake only proves that it holds the key. Whether
//! the certificate opens anything is asked for each request, against the policy of the repository that is asked for,
//! because every owner has anchors of his own (`release`). What has not even the shape of a Keep's certificate counts as
//! none, so that nothing in the store is touched for it and no answer's time tells what is there.
//! Invariant: a [`Peer`] with a chain proved possession of the first certificate's key.

use std::fmt;
use std::sync::Arc;

use identity::chain::{ChainError, MAX_CHAIN};
use identity::{Issuer, KeepCertificate};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use workload::Digest;
use x509_cert::der::{Decode as _, Encode as _};

/// The certificates that a client showed, its own first; empty if it showed none, or none that a Keep could have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer(pub(crate) Arc<[Vec<u8>]>);

impl Peer {
    /// Looks at the shape only: how many there are, and whether they are written as those of a Keep and its Steward are.
    /// Nothing is verified.
    pub(crate) fn showing(chain: &[CertificateDer<'_>]) -> Self {
        if chain.is_empty() {
            return Self::default();
        }
        match shape(chain) {
            Ok(()) => Self(chain.iter().map(|certificate| certificate.to_vec()).collect()),
            Err(error) => {
                tracing::debug!(%error, "the client's certificate is no Keep's");
                Self::default()
            }
        }
    }
}

fn shape(chain: &[CertificateDer<'_>]) -> Result<(), ChainError> {
    let (Some((keep, above)), 2..=MAX_CHAIN) = (chain.split_first(), chain.len()) else {
        return Err(ChainError::Length { found: chain.len() });
    };
    KeepCertificate::read(keep)?;
    above.iter().zip(1..).try_for_each(|(issuer, position)| match Issuer::read(issuer) {
        Ok(_) => Ok(()),
        Err(error) => Err(ChainError::Issuer { position, error }),
    })
}

/// What the server speaks TLS with.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// SHA-256 of the certificate's SPKI (DER): what clients and briefs pin.
    pub pin: Digest,
}

/// Why TLS cannot be served with this certificate and key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate file has no certificate, or one that is not X.509.
    #[error("no X.509 certificate in PEM form")]
    Certificate,
    /// The key file has no private key.
    #[error("no private key in PEM form")]
    Key,
    /// Neither a DNS name nor an IP address.
    #[error("a name of the certificate is neither a DNS name nor an IP address")]
    Name,
    /// Certificate and key do not belong together, or cannot be used for TLS 1.3.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Certificate => "expected the server's certificate and those above it, in PEM",
            Self::Key => "expected the certificate's private key, PKCS#8 in PEM",
            Self::Name => "name the server as its clients do, such as registry.example.org or 127.0.0.1",
            Self::Rustls(_) => "certificate and key must belong together, the server's certificate first",
        }
    }
}

impl Tls {
    /// A certificate chain (the server's own first) and its private key, as PEM.
    ///
    /// # Errors
    /// [`TlsError`] if one cannot be read or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        Self::new(chain, key)
    }

    /// A certificate made now for these DNS names and IP addresses. Its key dies with the process; who it is, only
    /// [`Tls::pin`] tells.
    ///
    /// # Errors
    /// [`TlsError::Name`] if one is neither a DNS name nor an IP address.
    pub fn self_made(names: &[String]) -> Result<Self, TlsError> {
        let key = rcgen::KeyPair::generate().map_err(|_| TlsError::Key)?;
        let mut parameters = rcgen::CertificateParams::new(names).map_err(|_| TlsError::Name)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Donjon Drawbridge HTTPS");
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.self_signed(&key).map_err(|_| TlsError::Name)?;
        Self::new(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let pin = chain.first().and_then(|der| pin(der)).ok_or(TlsError::Certificate)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Possession(provider)))
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), pin })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tls({})", self.pin)
    }
}

/// SHA-256 of a certificate's SPKI (DER).
pub(crate) fn pin(certificate: &[u8]) -> Option<Digest> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der().ok()?;
    Some(Digest::of(&spki))
}

/// Takes any client certificate, or none, and checks that the client holds its key. Nothing more is decided here.
#[derive(Debug)]
struct Possession(Arc<CryptoProvider>);

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
    }

    #[test]
    fn certificate_and_key_belong_together() {
        let make = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()), key)
        };
        let ((certificate, key, pair), (_, other, _)) = (make(), make());
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(tls.pin, Digest::of(&rcgen::PublicKeyData::subject_public_key_info(&pair)));
        assert!(matches!(Tls::from_pem(certificate.as_bytes(), other.as_bytes()), Err(TlsError::Rustls(_))));
        assert_eq!(Tls::from_pem(certificate.as_bytes(), b"").unwrap_err(), TlsError::Key);
        assert_eq!(Tls::from_pem(b"", key.as_bytes()).unwrap_err(), TlsError::Certificate);
    }

    #[test]
    fn no_early_data_and_no_tickets() {
        let tls = Tls::self_made(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        assert_eq!((tls.config.max_early_data_size, tls.config.send_tls13_tickets), (0, 0));
        assert!(!tls.config.session_storage.can_cache());
        assert_eq!(Tls::self_made(&["ü ü".to_owned()]).unwrap_err(), TlsError::Name);
    }
}
