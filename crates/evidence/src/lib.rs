//! Verifier of TEE evidence: bytes, collateral, policy and an instant in; a verdict out.
//!
//! Pure: no I/O, no clock, no cryptography of its own (see [`Provider`]). Every rule of AMD's and Intel's
//! specifications and of the policy is one [`Check`] with a stable id; success is a value
//! ([`Verified`]) that only this crate can make and that an issuer can demand.
//!
//! ```text
//!  report, VEK, ASK, CRL --extract--> Report, Vek, Crl          (snp::report, snp::vek, pki)
//!  policy TOML           --expect---> snp::Policy               (snp::policy)
//!  both + roots + now    --compare--> Verdict (+ Verified<_>)   (snp::chain, snp::content)
//!
//!  roots, ASKs, CRLs     --verify---> snp::Session               once for many reports
//!  VEK                   --endorse--> snp::Endorsement           once for many reports of one processor
//!
//!  collateral            --verify---> dcap::Collateral           once for many quotes
//!  quote, policy TOML    --compare--> Verdict (+ Verified<_>)   (dcap, then sgx or tdx)
//!
//!  HCL report, TPM quote --compare--> Verdict (+ Verified<_>)   (azure, around snp or tdx)
//!  any of the results    --sign-----> EAR, and back             (ear)
//! ```
//!
//! ```
//! use evidence::snp::{Collateral, Input, Platforms, Policy, Roots, SnpEvidence};
//! use evidence::{Expected, Provider};
//!
//! /// The measurement of a Keep, or the id of the check that refused it and what would help.
//! fn measurement(
//!     evidence: SnpEvidence<'_>,
//!     expected: Expected,
//!     policy: &Policy,
//!     now: u64,
//!     provider: &dyn Provider,
//! ) -> Result<String, (&'static str, String)> {
//!     let roots = Roots::amd();
//!     let input = Input {
//!         evidence,
//!         expected,
//!         collateral: Collateral { roots: &roots, crl: None }.into(),
//!         policy,
//!         platforms: &Platforms::Any,
//!         now,
//!     };
//!     match evidence::snp::verify(input, provider) {
//!         Ok((verified, _verdict)) => Ok(verified.claims().measurement.to_string()),
//!         Err(verdict) => {
//!             let cause = verdict.primary().expect("a refusal has a cause");
//!             Err((cause.id, cause.remedy.to_owned()))
//!         }
//!     }
//! }
//!
//! struct Distrust;
//! impl Provider for Distrust {
//!     fn verify(&self, _: evidence::SignatureAlgorithm, _: &[u8], _: &[u8], _: &[u8]) -> bool {
//!         false
//!     }
//! }
//!
//! let policy: Policy = toml::from_str("any_measurement = true").unwrap();
//! let nothing = SnpEvidence { report: &[], vcek: &[], ask: None, crl: None };
//! let expected = Expected { report_data: [0; 64], launch_field: [0; 32] };
//! let refused = measurement(nothing, expected, &policy, 0, &Distrust).unwrap_err();
//! assert_eq!(refused.0, "snp.report.size");
//! ```
//!
//! Refused here on purpose: guessing a product, trusting an empty set of roots, certificates or
//! revocation lists outside their dates, and evidence nobody said an expectation for
//! ([`Authentic`] cannot be turned into [`Verified`]).

#![forbid(unsafe_code)]
// Every byte that comes here is hostile: nothing on its way may be able to panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod appraisal;
pub mod azure;
pub mod dcap;
pub mod ear;
mod hexadecimal;
pub mod pki;
pub mod provider;
pub mod sgx;
pub mod snp;
pub mod tdx;
pub mod time;
pub mod verdict;

pub use hexadecimal::Hex;
#[cfg(feature = "aws-lc")]
pub use provider::AwsLc;
#[cfg(feature = "rustcrypto")]
pub use provider::RustCrypto;
pub use provider::{Provider, SignatureAlgorithm};
pub use verdict::{Check, Outcome, Rule, Skip, Verdict};

/// What the relying party expects the evidence to be bound to.
///
/// Both values are composed by the caller from its own nonce, the certified key and the brief;
/// nothing is padded or truncated before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The 64 bytes the Keep asked the hardware to sign (SNP REPORT_DATA).
    pub report_data: [u8; 64],
    /// The 32 bytes the host fixed at launch (SNP HOST_DATA): the hash of the brief.
    pub launch_field: [u8; 32],
}

/// What of an [`Expected`] is compared; a part that is not there is not asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) report_data: Option<[u8; 64]>,
    pub(crate) launch_field: Option<[u8; 32]>,
}

impl From<Expected> for Asked {
    fn from(Expected { report_data, launch_field }: Expected) -> Self {
        Self { report_data: Some(report_data), launch_field: Some(launch_field) }
    }
}

/// Claims of evidence that is genuine, accepted by the policy **and** bound to an [`Expected`].
/// Only a successful `verify` makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    claims: T,
    expected: Expected,
}

/// Claims of evidence that is genuine and accepted by the policy, but bound to nothing the caller
/// said: good for looking at, never for issuing. Only a successful `authentic` makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentic<T> {
    claims: T,
}

impl<T> Verified<T> {
    pub(crate) fn new(claims: T, expected: Expected) -> Self {
        Self { claims, expected }
    }

    /// What they are bound to.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// What was verified.
    pub fn claims(&self) -> &T {
        &self.claims
    }

    /// Takes the claims out; the proof of verification ends here.
    pub fn into_claims(self) -> T {
        self.claims
    }
}

impl<T> Authentic<T> {
    pub(crate) fn new(claims: T) -> Self {
        Self { claims }
    }

    /// What the genuine hardware said.
    pub fn claims(&self) -> &T {
        &self.claims
    }
}
