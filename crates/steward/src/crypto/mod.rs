//! The cryptography of the issuing core: by aws-lc-rs natively, by RustCrypto where C does not go, such as WebAssembly.
//!
//! Owns the choice, made when it is built, and the five things that are wanted of either: pairs, signatures of others, seals, random bytes,
//! and who verifies evidence. Both have the same names, so that nobody above asks which one it is. Invariant: private keys are wiped
//! when they are dropped.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
mod rustcrypto;

#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
compile_error!("a Steward needs cryptography: feature aws-lc, or rustcrypto");

#[cfg(feature = "aws-lc")]
pub(crate) use aws_lc::{Evidence, Pair, Seal, fill, verify};
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
pub(crate) use rustcrypto::{Evidence, Pair, Seal, fill, verify};
