//! Trust anchors: pinned keys of Intel's root CA, or of simulated ones.
//!
//! An anchor is a *key*; the certificate around it gives the name and the dates. A set is never empty. The root certificate
//! that stands at the end of every chain is not looked at: it is the sender's word about the anchor, and one with a damaged
//! key is in wide use.

use crate::pki::{Certificate, PkiError, Scheme};
use crate::provider::Provider;
use thiserror::Error;
use x509_cert::name::Name;

/// A non-empty set of root keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    anchors: Vec<Certificate>,
    /// CAs of PCKs, for revocation lists that come without the certificate of their issuer.
    intermediates: Vec<Certificate>,
}

/// Why certificates make no set of roots.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RootsError {
    /// No anchor at all.
    #[error("a set of roots needs at least one")]
    Empty,
    /// Not a certificate.
    #[error("root {at} is no certificate: {error}")]
    Certificate {
        /// Position in the caller's list, from 0.
        at: usize,
        /// What is wrong.
        error: PkiError,
    },
    /// Subject and issuer differ, or it is no authority.
    #[error("root {at} is no self-issued certificate authority")]
    NotRoot {
        /// Position in the caller's list, from 0.
        at: usize,
    },
}

impl Roots {
    /// The key of Intel's SGX root CA, from
    /// `https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer`.
    #[allow(clippy::expect_used, reason = "what is built in is read by a test")]
    pub fn intel() -> Self {
        const INTERMEDIATES: [&[u8]; 2] = [
            include_bytes!("roots/intel-sgx-pck-platform-ca.der"),
            include_bytes!("roots/intel-sgx-pck-processor-ca.der"),
        ];
        let mut roots = Self::from_certificates(&[include_bytes!("roots/intel-sgx-root-ca.der")])
            .expect("a built-in root, read by a test");
        let read = |der| Certificate::parse(der, Scheme::EcdsaP256Sha256).expect("built-in CAs, read by a test");
        roots.intermediates = INTERMEDIATES.into_iter().map(read).collect();
        roots
    }

    /// Pins the keys of these self-issued certificates (DER) too.
    pub fn and_certificates(mut self, ders: &[&[u8]]) -> Result<Self, RootsError> {
        self.anchors.extend(Self::from_certificates(ders)?.anchors);
        Ok(self)
    }

    /// Pins the keys of these self-issued certificates (DER), and nothing else.
    pub fn from_certificates(ders: &[&[u8]]) -> Result<Self, RootsError> {
        if ders.is_empty() {
            return Err(RootsError::Empty);
        }
        let anchor = |(at, der): (usize, &&[u8])| {
            let error = |error| RootsError::Certificate { at, error };
            let certificate = Certificate::parse(der, Scheme::EcdsaP256Sha256).map_err(error)?;
            if is_root(&certificate).map_err(error)? { Ok(certificate) } else { Err(RootsError::NotRoot { at }) }
        };
        let anchors = ders.iter().enumerate().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self { anchors, intermediates: Vec::new() })
    }

    /// The certificates whose keys are pinned.
    pub(crate) fn anchors(&self) -> &[Certificate] {
        &self.anchors
    }

    /// Whether one of them has this name.
    pub(crate) fn names(&self, name: &Name) -> bool {
        self.anchors.iter().any(|anchor| anchor.subject() == name)
    }

    /// The CA that these bytes are, if it is at hand.
    pub(super) fn at_hand(&self, der: &[u8]) -> Option<&Certificate> {
        self.intermediates.iter().find(|ca| ca.der() == der)
    }

    /// The CA of this name that is at hand.
    pub(crate) fn intermediate(&self, name: &Name) -> Option<&Certificate> {
        self.intermediates.iter().find(|ca| ca.subject() == name)
    }
}

/// Whether a certificate has this issuer, by name and by signature.
pub(crate) fn issued(certificate: &Certificate, issuer: &Certificate, provider: &dyn Provider) -> bool {
    certificate.issuer() == issuer.subject() && certificate.signed_by(issuer.spki(), provider)
}

fn is_root(certificate: &Certificate) -> Result<bool, PkiError> {
    let authority = certificate.authority()?;
    Ok(authority.ca && authority.signs && certificate.issuer() == certificate.subject())
}
