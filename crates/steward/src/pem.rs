//! PEM files (RFC 7468) of an operator: writing one section, and reading a private key or lists of certificates.
//!
//! Reading is strict: a broken section is an error and never skipped, and a certificate file holds certificates
//! only, so a private key put into the wrong file is noticed before it is served to anybody. Chains on the wire
//! are `identity::pem`'s.
//! Invariant: nothing here leaves a copy of a private key in memory that was freed; what is returned of one is
//! wiped when dropped, or ([`encode`]) is the caller's to wrap.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::pem::{SectionKind, SliceIter};
use thiserror::Error;
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};
use zeroize::Zeroizing;

/// One PEM section with lines of 64 characters. For a private key the caller wraps the text in `Zeroizing`.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Room for the whole at once: a text that grows leaves copies of a key behind.
    let mut out = String::with_capacity(body.len() + body.len().div_ceil(64) + 2 * label.len() + 32);
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

/// The DER of the one section of this label; `None` when there is none. Written here, on one buffer that is wiped,
/// because PEM readers leave copies behind.
pub(crate) fn secret(label: &str, text: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
    let find = |text: &[u8], what: &str| text.windows(what.len()).position(|at| at == what.as_bytes());
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let Some(start) = find(text, &begin) else { return Ok(None) };
    let body = &text[start + begin.len()..];
    let length = find(body, &end).ok_or(SecretError::Broken)?;
    if find(&body[length..], &begin).is_some() {
        return Err(SecretError::Several);
    }

    let mut digits = Zeroizing::new(Vec::with_capacity(length));
    digits.extend(body[..length].iter().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; digits.len()]);
    let length = STANDARD.decode_slice(digits.as_slice(), &mut der).map_err(|_| SecretError::Broken)?;
    der.truncate(length);
    Ok(Some(der))
}

/// Why a text has not one readable section of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretError {
    /// The section does not end, or its Base64 is broken.
    Broken,
    /// More than one section of this label.
    Several,
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
                drop(Zeroizing::new(key));
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

impl PemError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Broken => "the file is cut short or changed: take the whole of it again",
            Self::Empty => "the file holds one certificate or more in PEM, from `-----BEGIN CERTIFICATE-----` on",
            Self::PrivateKey => "the key has a file of its own; whoever got this one has the key",
            Self::Foreign => "take out everything but the certificates",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_written_into_one_buffer_and_read_back() {
        for length in [0, 1, 47, 48, 49, 96, 121, 1000] {
            for label in ["X", "PRIVATE KEY", "A LABEL LONGER THAN ANY THAT IS USED"] {
                let der = vec![7; length];
                let text = encode(label, &der);
                // A buffer that had grown would be larger than its text.
                assert_eq!(text.len(), text.capacity(), "{label} {length}");
                assert_eq!(secret(label, text.as_bytes()).unwrap().unwrap().as_slice(), der);
            }
        }
    }

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
