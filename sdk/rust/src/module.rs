//! The imports of modules of WASI 0.1.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::{Error, Signature};

#[link(wasm_import_module = "donjon_keep_0_1")]
unsafe extern "C" {
    #[link_name = "evidence"]
    fn keep_evidence(data: *const u8, length: usize, to: *mut u8, room: usize, size: *mut usize) -> u32;
    #[link_name = "derive_key"]
    fn keep_derive_key(context: *const u8, length: usize, to: *mut u8) -> u32;
    #[link_name = "sign"]
    fn keep_sign(
        data: *const u8,
        length: usize,
        signature: *mut u8,
        signature_room: usize,
        signature_size: *mut usize,
        certificates: *mut u8,
        certificates_room: usize,
        certificates_size: *mut usize,
    ) -> u32;
    #[link_name = "verify"]
    fn keep_verify(
        data: *const u8,
        length: usize,
        signature: *const u8,
        signature_length: usize,
        certificates: *const u8,
        certificates_length: usize,
        roles: *const u8,
        roles_length: usize,
        claims: *mut u8,
        claims_room: usize,
        claims_size: *mut usize,
    ) -> u32;
}

/// The answer has no room.
const NO_ROOM: u32 = 7;
/// More than most answers take.
const ROOM: usize = 16 * 1024;

fn status(status: u32) -> Result<(), Error> {
    Err(match status {
        0 => return Ok(()),
        1 => Error::Unavailable,
        2 => Error::TooLong,
        4 => Error::NotAPeer,
        5 => Error::Untrusted,
        6 => Error::WrongSignature,
        _ => Error::Malformed,
    })
}

/// Asks with room for the answer, and once more with as much as it takes.
fn answer(mut ask: impl FnMut(&mut [u8], &mut usize) -> u32) -> Result<Vec<u8>, Error> {
    let (mut to, mut size) = (vec![0; ROOM], 0);
    let mut told = ask(&mut to, &mut size);
    if told == NO_ROOM {
        to.resize(size, 0);
        told = ask(&mut to, &mut size);
    }
    status(told)?;
    to.truncate(size);
    Ok(to)
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::Malformed)
}

pub(crate) fn evidence(data: &[u8]) -> Result<String, Error> {
    let ask = |to: &mut [u8], size: &mut usize| {
        // SAFETY: each pointer goes with the length of what it points to, for this call only.
        unsafe { keep_evidence(data.as_ptr(), data.len(), to.as_mut_ptr(), to.len(), size) }
    };
    text(answer(ask)?)
}

pub(crate) fn derive_key(context: &[u8]) -> Result<[u8; 32], Error> {
    let mut key = [0; 32];
    // SAFETY: the key has the 32 bytes that are written.
    status(unsafe { keep_derive_key(context.as_ptr(), context.len(), key.as_mut_ptr()) })?;
    Ok(key)
}

pub(crate) fn sign(data: &[u8]) -> Result<Signature, Error> {
    let (mut signature, mut length) = ([0; 128], 0);
    let ask = |to: &mut [u8], size: &mut usize| {
        // SAFETY: each pointer goes with the length of what it points to, for this call only.
        unsafe {
            keep_sign(
                data.as_ptr(),
                data.len(),
                signature.as_mut_ptr(),
                signature.len(),
                &mut length,
                to.as_mut_ptr(),
                to.len(),
                size,
            )
        }
    };
    let certificates = text(answer(ask)?)?;
    let signature = signature.get(..length).ok_or(Error::Malformed)?.to_vec();
    Ok(Signature { signature, certificates })
}

pub(crate) fn verify(data: &[u8], signature: &Signature, roles: &[&str]) -> Result<String, Error> {
    // Names are told apart by spaces there, so that one with a space would be two.
    if roles.iter().any(|role| role.is_empty() || role.contains(' ')) {
        return Err(Error::Malformed);
    }
    let roles = roles.join(" ");
    let Signature { signature, certificates } = signature;
    let ask = |to: &mut [u8], size: &mut usize| {
        // SAFETY: each pointer goes with the length of what it points to, for this call only.
        unsafe {
            keep_verify(
                data.as_ptr(),
                data.len(),
                signature.as_ptr(),
                signature.len(),
                certificates.as_ptr(),
                certificates.len(),
                roles.as_ptr(),
                roles.len(),
                to.as_mut_ptr(),
                to.len(),
                size,
            )
        }
    };
    text(answer(ask)?)
}
