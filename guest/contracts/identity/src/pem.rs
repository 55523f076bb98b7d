//! Chains as they travel: `application/pem-certificate-chain` (RFC 8555 section 9.1) and `application/pkix-pkipath`
//! (RFC 6066 section 10.1); and a key as a program finds it beside its chain.
//!
//! Owns the envelopes, not what is in them. Refuses text around the blocks, and more than a chain's worth of them.
//! Invariant: the order here is always Keep first, root last; PkiPath's own order is the reverse.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::asn1::{Der, tag, tlv};
use crate::chain::MAX_CHAIN;

/// The media type of a chain in PEM.
pub const PEM_MEDIA_TYPE: &str = "application/pem-certificate-chain";
/// The media type of a chain in DER.
pub const PKIPATH_MEDIA_TYPE: &str = "application/pkix-pkipath";

/// Bytes in a line of 64 characters (RFC 7468 section 2).
const LINE: usize = 48;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why bytes are not a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// Text outside a block, a block of another kind, or one without an end.
    #[error("line {line}: not part of a CERTIFICATE block")]
    Line {
        /// Counts from 1.
        line: usize,
    },
    /// What is in a block is not base64.
    #[error("line {line}: the block that ends here is not base64")]
    Base64 {
        /// Counts from 1.
        line: usize,
    },
    /// More certificates than a chain can have.
    #[error("more than {max} certificates", max = MAX_CHAIN)]
    TooMany,
    /// The DER form is not a SEQUENCE OF SEQUENCE.
    #[error("not a PkiPath")]
    PkiPath,
}

/// The chain in PEM, 64 characters a line.
#[must_use]
pub fn encode<C: AsRef<[u8]>>(chain: &[C]) -> String {
    let mut out = String::new();
    for certificate in chain {
        block(&mut out, BEGIN, certificate.as_ref(), END);
    }
    out
}

/// A private key in PEM (PKCS #8; RFC 7468 section 10). Secret.
#[must_use]
pub fn encode_key(pkcs8: &[u8]) -> String {
    let mut out = String::new();
    block(&mut out, "-----BEGIN PRIVATE KEY-----", pkcs8, "-----END PRIVATE KEY-----");
    out
}

fn block(out: &mut String, begin: &str, der: &[u8], end: &str) {
    out.push_str(begin);
    out.push('\n');
    for line in der.chunks(LINE) {
        STANDARD.encode_string(line, out);
        out.push('\n');
    }
    out.push_str(end);
    out.push('\n');
}

/// Reads a chain in PEM. Blank lines may stand between blocks, nothing else.
///
/// # Errors
/// See [`PemError`].
pub fn decode(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let (mut chain, mut block, mut last) = (Vec::new(), None::<String>, 0);
    for (line, content) in (1..).zip(text.lines()) {
        last = line;
        match (content.trim_end(), &mut block) {
            (BEGIN, None) => block = Some(String::new()),
            ("", None) => {}
            (END, Some(body)) => {
                if chain.len() == MAX_CHAIN {
                    return Err(PemError::TooMany);
                }
                chain.push(STANDARD.decode(body.as_bytes()).map_err(|_| PemError::Base64 { line })?);
                block = None;
            }
            (content, Some(body)) if !content.starts_with('-') => body.push_str(content),
            _ => return Err(PemError::Line { line }),
        }
    }
    if block.is_some() {
        return Err(PemError::Line { line: last });
    }
    Ok(chain)
}

/// The chain as PkiPath.
#[must_use]
pub fn encode_pkipath<C: AsRef<[u8]>>(chain: &[C]) -> Vec<u8> {
    let reversed: Vec<&[u8]> = chain.iter().rev().map(AsRef::as_ref).collect();
    tlv(tag::SEQUENCE, &reversed)
}

/// Reads a PkiPath.
///
/// # Errors
/// See [`PemError`].
pub fn decode_pkipath(der: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let mut outer = Der::new(der);
    let mut path = Der::new(outer.take(tag::SEQUENCE, "path").map_err(|_| PemError::PkiPath)?);
    outer.done("path").map_err(|_| PemError::PkiPath)?;
    let mut chain = Vec::new();
    while path.more() {
        if chain.len() == MAX_CHAIN {
            return Err(PemError::TooMany);
        }
        chain.push(path.element(tag::SEQUENCE, "certificate").map_err(|_| PemError::PkiPath)?.to_vec());
    }
    chain.reverse();
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;

    #[test]
    fn both_forms_keep_the_order() {
        let chain = vec![tlv(tag::SEQUENCE, &[&[1; 100]]), tlv(tag::SEQUENCE, &[&[2; 48]]), tlv(tag::SEQUENCE, &[])];
        assert_eq!(decode(&encode(&chain)), Ok(chain.clone()));
        assert_eq!(decode(&encode(&chain).replace('\n', "\r\n")), Ok(chain.clone()));
        let path = encode_pkipath(&chain);
        assert_eq!(path[3..5], [tag::SEQUENCE, 0], "PkiPath begins with the root");
        assert_eq!(decode_pkipath(&path), Ok(chain));
    }

    #[test]
    fn nothing_else_is_read() {
        let one = encode(&[tlv(tag::SEQUENCE, &[&[1; 100]])]);
        assert!(decode(&one).is_ok(), "control");
        assert_eq!(decode(&format!("hello\n{one}")), Err(PemError::Line { line: 1 }));
        assert_eq!(decode(&one.replace("CERTIFICATE", "PRIVATE KEY")), Err(PemError::Line { line: 1 }));
        assert_eq!(decode(&one.replace(END, "")), Err(PemError::Line { line: 5 }));
        assert_eq!(decode(&one.replace("AQEB", "!!!!")), Err(PemError::Base64 { line: 5 }));
        assert_eq!(decode(&one.repeat(5)), Err(PemError::TooMany));
        assert_eq!(decode(""), Ok(vec![]));
        assert_eq!(decode_pkipath(&[tag::SEQUENCE, 2, 4, 0]), Err(PemError::PkiPath));
        assert_eq!(decode_pkipath(&[tag::SEQUENCE, 0, 0]), Err(PemError::PkiPath));
    }
}
