//! Whom the tests ask about signatures: the native provider, or the one in Rust where that is all there is.

use evidence::{Provider, SignatureAlgorithm};
use std::cell::Cell;

#[cfg(feature = "aws-lc")]
pub(crate) const PROVIDER: &dyn Provider = &evidence::AwsLc;
#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
compile_error!("the tests need a provider: feature aws-lc or rustcrypto");
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
pub(crate) const PROVIDER: &dyn Provider = &evidence::RustCrypto;

/// Counts what it is asked.
#[derive(Default)]
pub(crate) struct Counting(pub(crate) Cell<usize>);

impl Provider for Counting {
    fn verify(&self, algorithm: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        PROVIDER.verify(algorithm, spki, message, signature)
    }
}
