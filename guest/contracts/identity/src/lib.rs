//! How a Keep gets its name: the objects and rules of `spec/trust.md` and `spec/certificate.md`, used on both sides.
//!
//! Owns the binding of key, brief and nonce; the CSR that carries evidence; the certificate profile with the EAR; the two
//! documents an owner signs (Deployment, release policy) and the one a publisher signs; the sans-I/O enrolment. Refuses every second spelling of a
//! thing, and every claim it cannot check. Has no I/O, no clock, no key and no cryptography but SHA-2: callers bring a
//! [`Signer`] and a [`Verifier`]. Evidence passes through as opaque bytes, so a Keep never links the verifier of evidence.
//!
//! ```text
//!  Keep:     Enrol -> nonce -> (key, evidence by binding) -> Statement in a CSR -> chain -> Identity
//!  Steward:  Request::parse -> evidence verdict -> Deployment::covers -> Ear -> certificate::issue
//!  relying:  Demands::check (chain::verify_chain) -> VerifiedKeep -> ReleasePolicy::decide -> Grant
//! ```
//!
//! ```
//! use identity::binding::{Purpose, report_data};
//!
//! // What evidence must say about a key, under a brief, for a Steward's nonce.
//! let (spki, brief) = (b"SubjectPublicKeyInfo, DER", workload::brief::hash(b"the brief's bytes"));
//! assert_ne!(report_data(Purpose::Issue, spki, &brief, b"nonce"), report_data(Purpose::Direct, spki, &brief, b"nonce"));
//! ```
//!
//! Invariant: what says "verified" ([`OwnerSigned`], [`csr::Request`], [`VerifiedKeep`], [`release::Grant`],
//! [`enrol::Identity`]) is a value only the check itself makes.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod binding;
pub mod certificate;
pub mod chain;
pub mod constraints;
pub mod csr;
pub mod deny;
pub mod deployment;
pub mod ear;
pub mod enrol;
pub mod issuer;
pub mod jws;
pub mod keys;
pub mod names;
pub mod pem;
pub mod problem;
pub mod publisher;
pub mod release;
pub mod relying;
pub mod sealing;
pub mod signed;
pub mod user;

mod asn1;
mod cbor;
#[cfg(test)]
mod others;
#[cfg(test)]
mod testing;
mod x509;

pub use certificate::KeepCertificate;
pub use chain::VerifiedKeep;
pub use deployment::Deployment;
pub use ear::{Class, Ear};
pub use issuer::Issuer;
pub use keys::{Algorithm, Signer, Verifier};
pub use names::{Nonce, SpiffeId};
pub use release::ReleasePolicy;
pub use relying::Demands;
pub use signed::OwnerSigned;
