//! The certificate of the HTTPS server itself – not of the CA.
//!
//! Either from PEM files or made at start; then only its pin (SHA-256 of the SPKI) tells clients who it is,
//! which is what `tls` in a brief's Steward reference lists. TLS 1.3 only, no 0-RTT, keys wiped when dropped.
//! Invariant: the CA key never serves TLS; the two are read from different places and their types do not mix.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    version::TLS13,
};
use thiserror::Error;
use workload::digest::Digest;

use crate::pem::{self, PemError};

/// What the HTTPS listener speaks with.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// SHA-256 of the certificate's SPKI.
    pub pin: Digest,
}

impl Tls {
    /// Certificate (server's first, then its issuers) and private key from PEM texts.
    ///
    /// # Errors
    /// [`TlsError`] when one cannot be read or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = pem::read_certificates(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        Self::new(chain, key)
    }

    /// A certificate made now for these DNS names and IP addresses; its key dies with the process.
    ///
    /// # Errors
    /// [`TlsError::Name`] when one is neither a DNS name nor an IP address.
    pub fn self_made(names: &[String]) -> Result<Self, TlsError> {
        let key = rcgen::KeyPair::generate().map_err(|_| TlsError::Key)?;
        let mut parameters = rcgen::CertificateParams::new(names).map_err(|_| TlsError::Name)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Donjon Steward HTTPS");
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.self_signed(&key).map_err(|_| TlsError::Name)?;
        Self::new(vec![certificate.der().to_vec()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    fn new(chain: Vec<Vec<u8>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let pin =
            chain.first().and_then(|der| pem::spki(der)).map(|spki| Digest::of(&spki)).ok_or(TlsError::Certificate)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain.into_iter().map(CertificateDer::from).collect(), key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), pin })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.pin)
    }
}

/// Why HTTPS cannot be served with this certificate and key.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate file cannot be read.
    #[error("certificates: {0}")]
    Pem(#[from] PemError),
    /// The first certificate is not X.509.
    #[error("the first certificate is not X.509")]
    Certificate,
    /// No private key that can be used.
    #[error("no usable private key")]
    Key,
    /// Neither a DNS name nor an IP address.
    #[error("a name of the HTTPS certificate is neither a DNS name nor an IP address")]
    Name,
    /// Certificate and key do not belong together, or cannot be used for TLS 1.3.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_made_certificate_has_the_pin_of_its_key_and_every_one_is_new() {
        let one = Tls::self_made(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        let two = Tls::self_made(&["localhost".into()]).unwrap();
        assert_ne!(one.pin, two.pin);
        assert_eq!(one.config.max_early_data_size, 0);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let make = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate =
                rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
            (pem::encode("CERTIFICATE", certificate.der()), pem::encode("PRIVATE KEY", &key.serialize_der()))
        };
        let (certificate, key) = make();
        let (_, other) = make();
        assert!(Tls::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
        assert!(matches!(Tls::from_pem(certificate.as_bytes(), other.as_bytes()), Err(TlsError::Rustls(_))));
        assert_eq!(Tls::from_pem(certificate.as_bytes(), b"").unwrap_err(), TlsError::Key);
    }
}
