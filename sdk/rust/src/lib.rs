//! What a program in a Keep does with the Keep's identity: `donjon:keep/attestation` (`spec/keep-interface.md`), for
//! `wasm32-wasip1` and `wasm32-wasip2`. On every other target, as for tests of a program on its own, everything is
//! [`Error::Unavailable`].
//!
//! ```
//! match donjon_keep::derive_key(b"disk") {
//!     Ok(key) => assert_eq!(key.len(), 32),
//!     Err(error) => assert_eq!(error, donjon_keep::Error::Unavailable),
//! }
//! ```
//!
//! With `[identity] files = true` in the manifest there are files too, in [`FILES`].

#![no_std]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

#[cfg_attr(all(target_os = "wasi", target_env = "p1"), path = "module.rs")]
#[cfg_attr(all(target_os = "wasi", target_env = "p2"), path = "component.rs")]
#[cfg_attr(not(target_os = "wasi"), path = "elsewhere.rs")]
mod keep;

/// Where the manifest's `[identity] files = true` puts `brief` and, of a Keep with a certificate, `certificates.pem`,
/// `anchors.pem`, `claims.json` and `evidence.csr`.
pub const FILES: &str = "/run/donjon";

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The platform or this launch has none: no evidence, no key, no certificate, no Deployment.
    Unavailable,
    /// More bytes than the function takes.
    TooLong,
    /// The certificates are no chain in PEM, or a role is no name.
    Malformed,
    /// The Deployment of this Keep's owner does not let it talk to one of these roles.
    NotAPeer,
    /// The certificates are not those of a Keep that this one may believe now.
    Untrusted,
    /// They are, and its key did not sign these bytes.
    WrongSignature,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unavailable => "this Keep has none",
            Self::TooLong => "more bytes than are taken",
            Self::Malformed => "no chain of certificates in PEM, or no name of a role",
            Self::NotAPeer => "the Deployment does not let this Keep talk to that role",
            Self::Untrusted => "the certificates are of no Keep that this one may believe",
            Self::WrongSignature => "the signature is not of these bytes by that Keep",
        })
    }
}

impl core::error::Error for Error {}

/// A signature by the Keep's key: ECDSA, over SHA-256 with a key on P-256, as Keeps have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `ECDSA-Sig-Value`, DER.
    pub signature: Vec<u8>,
    /// The certificate of the key and those above it, root last, PEM.
    pub certificates: String,
}

/// Evidence of the hardware over at most 4096 bytes: an evidence bundle (`spec/bundle.md`), JSON.
///
/// # Errors
/// [`Error::Unavailable`] where nothing attests, [`Error::TooLong`].
pub fn evidence(data: &[u8]) -> Result<String, Error> {
    keep::evidence(data)
}

/// A secret that this workload gets at each start in its role, on this machine, for a context of at most 128 bytes.
///
/// # Errors
/// [`Error::Unavailable`] where nothing is sealed, [`Error::TooLong`].
pub fn derive_key(context: &[u8]) -> Result<[u8; 32], Error> {
    keep::derive_key(context)
}

/// Signs at most 1 MiB by the key of the Keep's certificate.
///
/// # Errors
/// [`Error::Unavailable`] without a certificate, [`Error::TooLong`].
pub fn sign(data: &[u8]) -> Result<Signature, Error> {
    keep::sign(data)
}

/// Whether a Keep of the same owner and deployment, in one of these roles, signed this; gives the claims in its certificate
/// (`spec/certificate.md`), JSON.
///
/// # Errors
/// See [`Error`].
pub fn verify(data: &[u8], signature: &Signature, roles: &[&str]) -> Result<String, Error> {
    keep::verify(data, signature, roles)
}
