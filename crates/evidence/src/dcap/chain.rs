//! Certificate chains as Intel's services give them: PEM, the leaf first, the root last.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Longest chain that is looked at; those of today have 4 KB.
pub(crate) const MAX_CHAIN: usize = 32 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why bytes are no chain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum ChainError {
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
pub(crate) fn ders(pem: &[u8], most: usize) -> Result<(Vec<u8>, Vec<Vec<u8>>), ChainError> {
    if pem.len() > MAX_CHAIN {
        return Err(ChainError::TooLong(pem.len()));
    }
    let pem = pem.strip_suffix(&[0]).unwrap_or(pem);
    let mut rest = core::str::from_utf8(pem).map_err(|_| ChainError::Pem)?;
    let mut ders = Vec::new();
    while !rest.is_empty() {
        let text = rest.strip_prefix(BEGIN).ok_or(ChainError::Pem)?;
        // No digit of base64 is a hyphen.
        let (body, boundary) = text.split_at_checked(text.find('-').ok_or(ChainError::Pem)?).ok_or(ChainError::Pem)?;
        ders.push(decode(body).ok_or(ChainError::Pem)?);
        let others = boundary.strip_prefix(END).ok_or(ChainError::Pem)?;
        rest = others.trim_start_matches(['\n', '\r']);
    }
    let found = ders.len();
    let mut ders = ders.into_iter();
    match ders.next() {
        Some(leaf) if found <= most => Ok((leaf, ders.collect())),
        _ => Err(ChainError::Length { most, found }),
    }
}

/// What stands between the boundaries of a certificate (RFC 7468 section 3). The lines may be of any one length: those of
/// older platforms have 76 characters.
fn decode(body: &str) -> Option<Vec<u8>> {
    let mut lines = body.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    // Nothing else stands in the lines of the boundaries.
    let (before, after) = (lines.next()?, lines.next_back()?);
    if !before.is_empty() || !after.is_empty() {
        return None;
    }
    let mut text = String::with_capacity(body.len());
    let mut lines = lines.peekable();
    let width = lines.peek()?.len();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        if line.len() != width && !(last && line.len() < width) || line.is_empty() {
            return None;
        }
        text.push_str(line);
    }
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_lines_of_one_length_between_its_boundaries() {
        let bytes = Some(vec![0; 7]);
        for good in ["\nAAAA\nAAAA\nAA==\n", "\r\nAAAA\r\nAAAA\r\nAA==\r\n", "\nAAAAAAAAAA==\n", "\nAAAAAA\nAAAA==\n"] {
            assert_eq!(decode(good), bytes, "{good:?}");
        }
        for bad in [
            "",
            "\n",
            "\n\n",
            "AAAA\n",
            "\nAAAA",
            " \nAAAA\n",
            "\nAAAA\n\nAAAA\n",
            "\nAAAA\nAAAA\n\n",
            "\nAA\nAAAA\n",
            "\nAAAA\nAA\nAAAA\n",
            "\nAAAA \nAAAA\n",
            "\nAAA\n",
            "\nAA=\n",
            "\nAB==\n",
            "\nAA==\nAAAA\n",
            "\nAAA-\n",
            "\nProc-Type: 4\n\nAAAA\n",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn certificates_follow_each_other_and_nothing_else() {
        let one = format!("{BEGIN}\nAAAA\n{END}");
        let parts = |text: String| ders(text.as_bytes(), 3).map(|(_, others)| others.len());
        assert_eq!(parts(format!("{one}\n{one}\r\n\n{one}\n\0")), Ok(2));
        assert_eq!(parts(format!("{one}\n{one}{one}\n")), Ok(2));
        assert_eq!(parts(format!("{one}\n{one}\n{one}\n{one}")), Err(ChainError::Length { most: 3, found: 4 }));
        assert_eq!(parts(String::new()), Err(ChainError::Length { most: 3, found: 0 }));
        for wrong in [
            one.replace("CERTIFICATE", "X509 CRL"),
            one.replace("END CERTIFICATE", "END X509 CRL"),
            one.replace("-----END", "----END"),
            one.replace("AAAA", "AAAA-"),
            format!("text\n{one}"),
            format!("{one}\ntext\n{one}"),
            format!("{one}\ntext"),
            format!("{one}\0\0"),
        ] {
            assert_eq!(parts(wrong.clone()), Err(ChainError::Pem), "{wrong}");
        }
        assert_eq!(parts("x".repeat(MAX_CHAIN + 1)), Err(ChainError::TooLong(MAX_CHAIN + 1)));
    }
}
