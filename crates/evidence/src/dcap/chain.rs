//! Certificate chains as Intel's services give them: PEM, the leaf first, the root last.

use der::Document;
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
    /// Another number of certificates.
    #[error("{found} certificates, not {wanted} and the root's")]
    Length {
        /// As many as there must be.
        wanted: usize,
        /// As many as there are.
        found: usize,
    },
}

/// So many certificates, and perhaps that of the root, which is not looked at. Nothing but line ends may stand between
/// them, and one zero byte, as C has it, after them.
pub(super) fn ders<const N: usize>(pem: &[u8]) -> Result<[Vec<u8>; N], ChainError> {
    if pem.len() > MAX_CHAIN {
        return Err(ChainError::TooLong(pem.len()));
    }
    let pem = pem.strip_suffix(&[0]).unwrap_or(pem);
    let mut rest = core::str::from_utf8(pem).map_err(|_| ChainError::Pem)?;
    let mut ders = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(END).ok_or(ChainError::Pem)?.saturating_add(END.len());
        let (one, others) = rest.split_at_checked(end).ok_or(ChainError::Pem)?;
        let (label, der) = Document::from_pem(one).map_err(|_| ChainError::Pem)?;
        if label != "CERTIFICATE" {
            return Err(ChainError::Pem);
        }
        ders.push(der.to_vec());
        rest = others.trim_start_matches(['\n', '\r']);
    }
    let found = ders.len();
    if found == N.saturating_add(1) {
        ders.truncate(N);
    }
    ders.try_into().map_err(|_| ChainError::Length { wanted: N, found })
}
