//! Trust anchors: pinned ARK keys, one or more for each product line, and the ASKs AMD publishes.
//!
//! An anchor is a *key*; the certificate around it gives the name and the dates. Nothing is
//! trusted because it is self-signed. A set is never empty: a loop over no roots accepts nothing,
//! but the mistake is refused where it is made. AMD's certificates below `roots/` are the DER of
//! `https://kdsintf.amd.com/{vcek,vlek}/v1/{Milan,Genoa,Turin}/cert_chain`.

use super::product::ProductLine;
use crate::pki::{Certificate, PkiError, Scheme, common_name};
use thiserror::Error;

/// One pinned ARK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    line: ProductLine,
    certificate: Certificate,
}

impl Anchor {
    /// The line this anchor speaks for.
    pub fn line(&self) -> ProductLine {
        self.line
    }

    /// The certificate: its key is what is pinned.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// A non-empty set of anchors, with intermediates at hand for evidence that brings none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    anchors: Vec<Anchor>,
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
    /// The common name has no word `ARK-Milan`, `ARK-Genoa` or `ARK-Turin`.
    #[error("root {at} does not name its product line (ARK-Milan, ARK-Genoa or ARK-Turin)")]
    Line {
        /// Position in the caller's list, from 0.
        at: usize,
    },
}

impl Roots {
    /// AMD's production roots: Milan, Genoa, Turin, with the current ASKs and ASVKs.
    #[allow(clippy::expect_used, reason = "what is built in is read by a test")]
    pub fn amd() -> Self {
        const ARKS: [&[u8]; 3] = [
            include_bytes!("roots/ark-milan.der"),
            include_bytes!("roots/ark-genoa.der"),
            include_bytes!("roots/ark-turin.der"),
        ];
        const INTERMEDIATES: [&[u8]; 6] = [
            include_bytes!("roots/ask-milan.der"),
            include_bytes!("roots/ask-genoa.der"),
            include_bytes!("roots/ask-turin.der"),
            include_bytes!("roots/asvk-milan.der"),
            include_bytes!("roots/asvk-genoa.der"),
            include_bytes!("roots/asvk-turin.der"),
        ];
        let mut roots = Self::from_arks(&ARKS).expect("built-in roots, read by a test");
        roots.intermediates = INTERMEDIATES
            .into_iter()
            .map(|der| Certificate::parse(der, Scheme::RsaPssSha384).expect("built-in ASKs, read by a test"))
            .collect();
        roots
    }

    /// Pins the keys of these self-issued ARK certificates (DER) too.
    pub fn and_arks(mut self, ders: &[&[u8]]) -> Result<Self, RootsError> {
        self.anchors.extend(Self::from_arks(ders)?.anchors);
        Ok(self)
    }

    /// Pins the keys of these self-issued ARK certificates (DER), and nothing else.
    pub fn from_arks(ders: &[&[u8]]) -> Result<Self, RootsError> {
        if ders.is_empty() {
            return Err(RootsError::Empty);
        }
        let mut anchors = Vec::with_capacity(ders.len());
        for (at, der) in ders.iter().enumerate() {
            let certificate =
                Certificate::parse(der, Scheme::RsaPssSha384).map_err(|error| RootsError::Certificate { at, error })?;
            let authority = certificate.authority().map_err(|error| RootsError::Certificate { at, error })?;
            if !authority.ca || !authority.signs || certificate.issuer() != certificate.subject() {
                return Err(RootsError::NotRoot { at });
            }
            let line = common_name(certificate.subject())
                .and_then(|name| ProductLine::from_authority(&name, "ARK-"))
                .ok_or(RootsError::Line { at })?;
            anchors.push(Anchor { line, certificate });
        }
        Ok(Self { anchors, intermediates: Vec::new() })
    }

    /// The anchors, at least one.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// Intermediates to try when the evidence brings none.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn amd_has_one_anchor_and_two_intermediates_a_line() {
        let roots = Roots::amd();
        let lines: Vec<_> = roots.anchors().iter().map(Anchor::line).collect();
        assert_eq!(lines, ProductLine::ALL);
        for anchor in roots.anchors() {
            let issued = roots.intermediates().iter().filter(|ask| ask.issuer() == anchor.certificate().subject());
            assert_eq!(issued.count(), 2, "{}", anchor.line());
        }
    }

    /// SHA-256 of the ARK certificates AMD's key service gives out.
    #[test]
    fn amd_anchors_are_the_published_certificates() {
        let published = [
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        ];
        let found = Roots::amd()
            .anchors()
            .iter()
            .map(|anchor| {
                let der = anchor.certificate().der();
                hex::encode(Sha256::digest(der))
            })
            .collect::<Vec<_>>();
        assert_eq!(found, published);
    }

    #[cfg(any(feature = "aws-lc", feature = "rustcrypto"))]
    #[test]
    fn amd_intermediates_are_signed_by_their_anchor_only() {
        #[cfg(feature = "aws-lc")]
        let provider = crate::AwsLc;
        #[cfg(not(feature = "aws-lc"))]
        let provider = crate::RustCrypto;
        let roots = Roots::amd();
        for ask in roots.intermediates() {
            for anchor in roots.anchors() {
                let key = anchor.certificate().spki();
                let named = ask.issuer() == anchor.certificate().subject();
                assert_eq!(ask.signed_by(key, &provider), named);
            }
        }
    }

    #[test]
    fn no_roots_and_wrong_roots_are_errors() {
        assert_eq!(Roots::from_arks(&[]), Err(RootsError::Empty));
        let ask = Roots::amd().intermediates()[0].der().to_vec();
        assert_eq!(Roots::from_arks(&[&ask]), Err(RootsError::NotRoot { at: 0 }));
        let error = Roots::from_arks(&[&ask[1..]]).err();
        assert!(matches!(error, Some(RootsError::Certificate { at: 0, .. })));
    }
}
