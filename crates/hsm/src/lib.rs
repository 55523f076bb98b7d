//! Keys in an HSM, by PKCS#11: they never leave it.
//!
//! Owns which key is meant ([`KeyUri`], RFC 7512), the sessions with its token, and the two things that are done there: a
//! [`SigningKey`] signs, a [`SealingKey`] seals. Refuses other kinds of keys, several keys of one name, and parts of a URI that
//! would be ignored. Invariant: nothing of such a key is ever in this process, and the PIN is in no message.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod sealing;
mod session;
mod signing;
mod uri;

pub use sealing::SealingKey;
pub use session::TokenError;
pub use signing::SigningKey;
pub use uri::{KeyUri, UriError};
