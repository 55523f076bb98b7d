//! The record of what is issued: written before anything is signed (trust.md rule 18).
//!
//! ```text
//!   judge -> Decided, which has a Leaf -> writer: Record::append -> Recorded -> Decided::sign -> certificate
//! ```
//!
//! Owns the leaf, and the proof that it was recorded. Refuses to prove anything that the writer did not see done. Invariant: a
//! [`Recorded`] is of one leaf, which the store has, or of a Steward that keeps no record; nothing is signed without one.

#[cfg(feature = "server")]
pub mod writer;

use serde::Serialize;
use workload::digest::Digest;

/// What is recorded of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaf {
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of the SPKI.
    pub key: Digest,
    /// The name it is given.
    pub id: String,
    /// First second of validity, seconds since 1970.
    pub not_before: u64,
    /// Last second of validity, seconds since 1970.
    pub not_after: u64,
    /// H(brief), if there is one.
    pub brief: Option<Digest>,
    /// SHA-256 of the EAR, as it stands in the certificate.
    pub ear: Digest,
}

impl Leaf {
    /// A line of JSON, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        // A struct of texts and numbers is always JSON.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// Shows that a leaf was recorded.
#[derive(Debug)]
pub struct Recorded {
    serial: String,
}

impl Recorded {
    /// Of a Steward that keeps no record.
    pub(crate) fn nowhere(leaf: &Leaf) -> Self {
        Self { serial: leaf.serial.clone() }
    }

    /// Whether it is of this leaf: no two have the same serial number.
    pub(crate) fn is_of(&self, leaf: &Leaf) -> bool {
        self.serial == leaf.serial
    }
}
