//! Certificate chains as Intel's services give them: PEM, the leaf first, the root last.

use der::pem::Decoder;
use thiserror::Error;

/// Longest chain that is looked at; those of today have 4 KB.
const MAX_CHAIN: usize = 32 * 1024;

const END: &str = "-----END CERTIFICATE-----";

/// Why bytes are no chain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(super) enum ChainError {
    /// Longer than any genuine one.
    #[error("{0} bytes, limit {MAX_CHAIN}")]
    TooLong(usize),
    /// Not PEM (RFC 7468), nothing else.
    #[error("not PEM certificates, one after the other")]
    Pem,
    /// None, or more than there are in such a chain.
    #[error("{found} certificates, not 1 to {most}")]
    Length {
        /// The most there can be.
        most: usize,
        /// As many as there are.
        found: usize,
    },
}

/// The first certificate, and the others, of which none has been read. Nothing but line ends may stand between them, and
/// one zero byte, as C has it, after them.
pub(super) fn ders(pem: &[u8], most: usize) -> Result<(Vec<u8>, Vec<Vec<u8>>), ChainError> {
    if pem.len() > MAX_CHAIN {
        return Err(ChainError::TooLong(pem.len()));
    }
    let pem = pem.strip_suffix(&[0]).unwrap_or(pem);
    let mut rest = core::str::from_utf8(pem).map_err(|_| ChainError::Pem)?;
    let mut ders = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(END).ok_or(ChainError::Pem)?.saturating_add(END.len());
        let (one, others) = rest.split_at_checked(end).ok_or(ChainError::Pem)?;
        ders.push(decode(one).ok_or(ChainError::Pem)?);
        rest = others.trim_start_matches(['\n', '\r']);
    }
    let found = ders.len();
    let mut ders = ders.into_iter();
    match ders.next() {
        Some(leaf) if found <= most => Ok((leaf, ders.collect())),
        _ => Err(ChainError::Length { most, found }),
    }
}

/// The lines may be of any one length: those of older platforms have 76 characters.
fn decode(pem: &str) -> Option<Vec<u8>> {
    if !pem.starts_with("-----BEGIN ") {
        return None;
    }
    let mut decoder = Decoder::new_detect_wrap(pem.as_bytes()).ok()?;
    let mut der = Vec::new();
    decoder.decode_to_end(&mut der).ok()?;
    (decoder.type_label() == "CERTIFICATE").then_some(der)
}
