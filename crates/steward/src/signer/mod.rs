//! Who signs certificates, and under which chain.
//!
//! [`key`] is a private key of P-256 or P-384, in this process or in an HSM (`hsm`), and nothing above asks which one it is;
//! [`authority`] joins a key to the chain that leads to a root. `plain` writes certificates that are not a Keep's (those have
//! `identity::certificate`).
//! Invariant: a private key is never printed, never serialized by anything here except once, when
//! [`authority::Authority::generate`] makes a pair for somebody who wants to keep it, and is wiped when
//! dropped.

pub mod authority;
pub mod key;
pub(crate) mod plain;

pub use authority::{Authority, AuthorityError, Generated};
#[cfg(feature = "server")]
pub use hsm::{KeyUri, TokenError, UriError};
pub use key::{Key, KeyError, Signatures};
