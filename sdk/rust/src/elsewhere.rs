//! Where there is no Keep.

use alloc::string::String;

use crate::{Error, Signature};

pub(crate) fn evidence(_: &[u8]) -> Result<String, Error> {
    Err(Error::Unavailable)
}

pub(crate) fn derive_key(_: &[u8]) -> Result<[u8; 32], Error> {
    Err(Error::Unavailable)
}

pub(crate) fn sign(_: &[u8]) -> Result<Signature, Error> {
    Err(Error::Unavailable)
}

pub(crate) fn verify(_: &[u8], _: &Signature, _: &[&str]) -> Result<String, Error> {
    Err(Error::Unavailable)
}
