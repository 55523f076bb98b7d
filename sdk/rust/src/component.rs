//! The interface of components.

use alloc::string::String;
use alloc::vec::Vec;

use bindings::donjon::keep::attestation;

use crate::{Error, Signature};

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "it is generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../spec/wit", world: "keep" });
}

impl From<attestation::Error> for Error {
    fn from(error: attestation::Error) -> Self {
        match error {
            attestation::Error::Unavailable => Self::Unavailable,
            attestation::Error::TooLong => Self::TooLong,
            attestation::Error::Malformed => Self::Malformed,
            attestation::Error::NotAPeer => Self::NotAPeer,
            attestation::Error::Untrusted => Self::Untrusted,
            attestation::Error::WrongSignature => Self::WrongSignature,
        }
    }
}

pub(crate) fn evidence(data: &[u8]) -> Result<String, Error> {
    Ok(attestation::evidence(data)?)
}

pub(crate) fn derive_key(context: &[u8]) -> Result<[u8; 32], Error> {
    attestation::derive_key(context)?.try_into().map_err(|_| Error::Unavailable)
}

pub(crate) fn sign(data: &[u8]) -> Result<Signature, Error> {
    let attestation::Signature { algorithm: _, signature, certificates } = attestation::sign(data)?;
    Ok(Signature { signature, certificates })
}

pub(crate) fn verify(data: &[u8], signature: &Signature, roles: &[&str]) -> Result<String, Error> {
    let roles: Vec<String> = roles.iter().map(|role| (*role).into()).collect();
    Ok(attestation::verify(data, &signature.signature, &signature.certificates, &roles)?)
}
