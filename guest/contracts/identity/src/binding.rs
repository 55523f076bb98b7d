//! The binding rule (trust rule 2): what the report data of evidence must be.
//!
//! Owns the composition and the closed list of purposes. Refuses nothing; it is a total function. Invariant: the fields
//! are length-prefixed and their number is fixed, so no two different inputs hash the same bytes, and evidence made for
//! one purpose never passes for another. Only the shim (or the attester under exec) and verifiers call it.

use core::str::FromStr;

use sha2::{Digest as _, Sha512};

/// First field: separates our hash from everybody else's.
const DOMAIN: &[u8] = b"donjon-binding";
/// Second field: the version of the rule.
const VERSION: u8 = 1;

/// What evidence is for. A closed list: a new purpose is a new version of `spec/trust.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A certificate from a Steward.
    Issue,
    /// A client that verifies the evidence itself (trust rule 17).
    Direct,
    /// The workload's own use; never gets a certificate.
    User,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Issue, Self::Direct, Self::User];

    /// The tag that is hashed.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Direct => "direct",
            Self::User => "user",
        }
    }
}

/// No such purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the purposes of evidence are `issue`, `direct` and `user`")]
pub struct UnknownPurpose;

impl FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL.into_iter().find(|purpose| purpose.tag() == text).ok_or(UnknownPurpose)
    }
}

/// The 64 bytes of report data: SHA-512 over six fields, each after its length as u32, big-endian.
///
/// `spki` is the key in DER, `brief_hash` the SHA-256 of the brief's bytes, `nonce` the verifier's.
#[must_use]
pub fn report_data(purpose: Purpose, spki: &[u8], brief_hash: &[u8; 32], nonce: &[u8]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for field in [DOMAIN, &[VERSION], purpose.tag().as_bytes(), spki, brief_hash, nonce] {
        // No caller has a key or nonce of 4 GiB: they are bounded where they are parsed.
        hash.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn rule_2_binding_is_the_documented_hash() {
        // Written out field by field, as somebody who only has the specification would.
        let (spki, brief, nonce) = ([1_u8; 91], [2_u8; 32], [3_u8; 16]);
        let mut message: Vec<u8> = Vec::new();
        message.extend(b"\0\0\0\x0edonjon-binding\0\0\0\x01\x01\0\0\0\x05issue\0\0\0\x5b");
        message.extend(spki);
        message.extend(b"\0\0\0\x20");
        message.extend(brief);
        message.extend(b"\0\0\0\x10");
        message.extend(nonce);
        let expected: [u8; 64] = Sha512::digest(&message).into();
        assert_eq!(report_data(Purpose::Issue, &spki, &brief, &nonce), expected);
        // A golden value: a change of the rule must be seen here.
        assert_eq!(hex::encode(expected), GOLDEN);
        assert!(include_str!("../../../../spec/trust.md").contains(GOLDEN), "spec/trust.md has the same example");
    }

    const GOLDEN: &str = "679c776361bc3487c9d54b42f7fdf743bb18eb4195c5d42dea5d05637aaabf17\
        47fc1b65f1acb8991851e534d964794213a00062a57445f7982494d40e3e89c0";

    #[test]
    fn rule_2_every_field_counts() {
        let base = || (Purpose::Issue, [1_u8; 91].to_vec(), [2_u8; 32], [3_u8; 16].to_vec());
        let data = |(purpose, spki, brief, nonce): (Purpose, Vec<u8>, [u8; 32], Vec<u8>)| {
            report_data(purpose, &spki, &brief, &nonce)
        };
        let mut seen = std::collections::HashSet::new();
        assert!(seen.insert(data(base())));
        assert!(!seen.insert(data(base())), "control: the same input gives the same value");
        for purpose in [Purpose::Direct, Purpose::User] {
            assert!(seen.insert(data((purpose, base().1, base().2, base().3))));
        }
        let mut spki = base();
        spki.1[90] ^= 1;
        let mut brief = base();
        brief.2[0] ^= 1;
        let mut nonce = base();
        nonce.3[15] ^= 1;
        // A byte moved over a field's border.
        let mut shifted = base();
        shifted.1.push(2);
        assert!([spki, brief, nonce, shifted].into_iter().all(|case| seen.insert(data(case))));
    }

    #[test]
    fn rule_2_purposes_are_closed() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.tag().parse(), Ok(purpose));
        }
        for bad in ["", "Issue", "issue ", "sealing"] {
            assert_eq!(bad.parse::<Purpose>(), Err(UnknownPurpose));
        }
    }
}
