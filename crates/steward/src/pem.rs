//! PEM files (RFC 7468) of an operator: writing one section, and reading lists of certificates.
//!
//! Reading is strict: a broken section is an error and never skipped, and a certificate file holds certificates
//! only, so a private key put into the wrong file is noticed before it is served to anybody. Chains on the wire
//! are `identity::pem`'s.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::pem::{SectionKind, SliceIter};
use thiserror::Error;
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

/// One PEM section with lines of 64 characters.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = String::with_capacity(body.len() + body.len() / 64 + 64);
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// The certificates of a PEM text in their order; at least one, nothing else beside them.
///
/// # Errors
/// [`PemError`] says what is there instead.
pub fn read_certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let mut out = Vec::new();
    for section in SliceIter::<(SectionKind, Vec<u8>)>::new(text) {
        match section.map_err(|_| PemError::Broken)? {
            (SectionKind::Certificate, der) => out.push(der),
            (SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey, key) => {
                drop(zeroize::Zeroizing::new(key));
                return Err(PemError::PrivateKey);
            }
            _ => return Err(PemError::Foreign),
        }
    }
    if out.is_empty() {
        return Err(PemError::Empty);
    }
    Ok(out)
}

/// The SPKI (DER) of a certificate; `None` when it is not X.509.
pub(crate) fn spki(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    certificate.tbs_certificate().subject_public_key_info().to_der().ok()
}

/// Why a text is not a list of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PemError {
    /// A section does not end, or its Base64 is broken.
    #[error("the PEM text is broken")]
    Broken,
    /// No certificate at all.
    #[error("no `CERTIFICATE` section")]
    Empty,
    /// A private key among the certificates.
    #[error("a private key lies among the certificates")]
    PrivateKey,
    /// A section that is not an (X.509) certificate.
    #[error("a section that is not a `CERTIFICATE`")]
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_back_in_their_order() {
        let chain = [vec![1; 100], vec![2; 48], vec![3; 1]];
        let text: String = chain.iter().map(|der| encode("CERTIFICATE", der)).collect();
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(read_certificates(text.as_bytes()).unwrap(), chain);
    }

    #[test]
    fn what_is_not_a_list_of_certificates_is_named() {
        let good = encode("CERTIFICATE", &[7; 90]);
        let error = |text: String| read_certificates(text.as_bytes()).unwrap_err();
        assert!(read_certificates(good.as_bytes()).is_ok());
        assert_eq!(error(String::new()), PemError::Empty);
        assert_eq!(error(good.clone() + &encode("PRIVATE KEY", b"x")), PemError::PrivateKey);
        assert_eq!(error(good.clone() + &encode("X509 CRL", b"x")), PemError::Foreign);
        assert_eq!(error(good[..good.len() - 9].to_owned()), PemError::Broken);
    }
}
