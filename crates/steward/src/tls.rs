//! The certificate of the HTTPS server itself – not of the CA.
//!
//! Either from PEM files or made at start; then only its pin (SHA-256 of the SPKI) tells clients who it is,
//! which is what `tls` in a brief's Steward reference lists. TLS 1.3 only, no 0-RTT, keys wiped when dropped.
//! Invariant: no key of the CA's chain serves TLS: `Settings::open` compares pin and chain.

use std::{fmt, sync::Arc};

use identity::keys::{Algorithm, Signer as _};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use thiserror::Error;
use workload::digest::Digest;

use crate::{
    pem::{self, PemError},
    signer::Key,
};

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
        // Borrowed from buffers that are wiped: rustls would own a copy, and not wipe it.
        type Form = for<'a> fn(&'a [u8]) -> PrivateKeyDer<'a>;
        let forms: [(&str, Form); 3] = [
            ("PRIVATE KEY", |der| PrivatePkcs8KeyDer::from(der).into()),
            ("EC PRIVATE KEY", |der| PrivateSec1KeyDer::from(der).into()),
            ("RSA PRIVATE KEY", |der| PrivatePkcs1KeyDer::from(der).into()),
        ];
        for (label, form) in forms {
            if let Some(der) = pem::secret(label, key).map_err(|_| TlsError::Key)? {
                return Self::new(chain, &form(&der));
            }
        }
        Err(TlsError::Key)
    }

    /// A certificate made now for these DNS names and IP addresses; its key dies with the process.
    ///
    /// # Errors
    /// [`TlsError::Name`] when one is neither a DNS name nor an IP address.
    pub fn self_made(names: &[String]) -> Result<Self, TlsError> {
        // Our own type and not rcgen's, which does not wipe its key.
        let key = Key::random(Algorithm::EcdsaP256Sha256).map_err(|_| TlsError::Key)?;
        let mut parameters = rcgen::CertificateParams::new(names).map_err(|_| TlsError::Name)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Donjon Steward HTTPS");
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.self_signed(&ForRcgen(&key)).map_err(|_| TlsError::Name)?;
        let der = key.to_pkcs8().map_err(|_| TlsError::Key)?;
        Self::new(vec![certificate.der().to_vec()], &PrivatePkcs8KeyDer::from(der.as_ref()).into())
    }

    fn new(chain: Vec<Vec<u8>>, key: &PrivateKeyDer<'_>) -> Result<Self, TlsError> {
        let pin =
            chain.first().and_then(|der| pem::spki(der)).map(|spki| Digest::of(&spki)).ok_or(TlsError::Certificate)?;
        let key = any_supported_type(key).map_err(|_| TlsError::Key)?;
        let certified = CertifiedKey::new(chain.into_iter().map(CertificateDer::from).collect(), key);
        certified.keys_match()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), pin })
    }
}

/// A key that rcgen signs with and never sees.
struct ForRcgen<'a>(&'a Key);

impl rcgen::PublicKeyData for ForRcgen<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.0.algorithm() {
            Algorithm::EcdsaP256Sha256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::EcdsaP384Sha384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

impl rcgen::SigningKey for ForRcgen<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RingUnspecified)
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
    /// Not one private key that can be used.
    #[error("no usable private key")]
    Key,
    /// Neither a DNS name nor an IP address.
    #[error("a name of the HTTPS certificate is neither a DNS name nor an IP address")]
    Name,
    /// Certificate and key do not belong together, or cannot be used for TLS 1.3.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

impl TlsError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Pem(error) => error.hint(),
            Self::Certificate => Some("the first certificate is the server's, the others are its issuers'"),
            Self::Key => {
                Some("one unencrypted private key in PEM is expected; `openssl pkcs8 -topk8 -nocrypt` makes one")
            }
            Self::Name => Some("a DNS name such as steward.example.org, or an IP address, without scheme and port"),
            Self::Rustls(_) => Some("the key must be that of the first certificate"),
        }
    }
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
        let two = format!("{key}{other}");
        assert_eq!(Tls::from_pem(certificate.as_bytes(), two.as_bytes()).unwrap_err(), TlsError::Key);
    }

    #[test]
    fn a_key_in_the_older_form_is_read_too() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        // PKCS#8 is the SEC 1 form of the key after 29 bytes that say which curve it is on.
        let older = pem::encode("EC PRIVATE KEY", &key.serialize_der()[29..]);
        let certificate = pem::encode("CERTIFICATE", certificate.der());
        assert!(Tls::from_pem(certificate.as_bytes(), older.as_bytes()).is_ok());
    }
}
