//! What a request carries, in the words of the verifier.
//!
//! Owns which media type is which evidence (trust.md rule 9), and which piece of collateral is what. Refuses other kinds, and
//! collateral that nobody could read. Invariant: nothing here is believed; it is sorted for who judges it.

use evidence::{
    appraisal::{Endorsements, Evidence},
    dcap::tcb_info::Answer,
};
use identity::csr::{Collateral, CollateralKind, SGX_MEDIA_TYPE, SNP_MEDIA_TYPE, Statement, TDX_MEDIA_TYPE};
use thiserror::Error;

/// The kinds of evidence, by their media types.
pub const KINDS: [&str; 3] = [SNP_MEDIA_TYPE, SGX_MEDIA_TYPE, TDX_MEDIA_TYPE];

/// Why a statement cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CarriedError {
    /// A media type nobody here verifies; at most 100 characters of it.
    #[error("evidence of kind {0}")]
    Kind(String),
    /// What came to judge the evidence by is too much, or none of what it says.
    #[error("collateral: {0}")]
    Collateral(String),
}

/// The evidence of a statement, and what its sender brought for it to be judged by.
///
/// # Errors
/// See [`CarriedError`].
pub fn read(statement: &Statement) -> Result<(Evidence, Endorsements), CarriedError> {
    let bytes = || statement.evidence.bytes.clone();
    let evidence = match statement.evidence.media_type.as_str() {
        SNP_MEDIA_TYPE => Evidence::Snp(bytes()),
        SGX_MEDIA_TYPE => Evidence::Sgx(bytes()),
        TDX_MEDIA_TYPE => Evidence::Tdx(bytes()),
        other => return Err(CarriedError::Kind(other.chars().take(100).collect())),
    };
    let mut endorsements = Endorsements::default();
    for der in &statement.endorsements {
        endorsements.certificate(der).map_err(unread)?;
    }
    for Collateral { kind, bytes } in &statement.collateral {
        match kind {
            CollateralKind::Crl => endorsements.list(bytes),
            CollateralKind::TcbInfo => {
                let Answer { body, signature } = Answer::parse(bytes).map_err(unread)?;
                endorsements.tcb_info(body, &signature)
            }
            CollateralKind::QeIdentity => {
                let Answer { body, signature } = Answer::parse(bytes).map_err(unread)?;
                endorsements.qe_identity(body, &signature)
            }
        }
        .map_err(unread)?;
    }
    Ok((evidence, endorsements))
}

fn unread(error: impl std::fmt::Display) -> CarriedError {
    CarriedError::Collateral(error.to_string())
}
