//! The one door between a Keep and its host.
//!
//! Owns: the framed messages that exec sends over its inherited descriptor 3 ([`message`]), the framing
//! itself ([`frame`]), how exec hears that it is to end ([`end`]), the table of system calls a Keep answers ([`calls`]), and
//! what a program must be to take exec's place ([`elf`], [`program`]). The document is `spec/gate.md`.
//!
//! Refuses: frames over [`frame::MAX`], unknown kinds, short or trailing bytes, text that is not UTF-8. It never
//! allocates for a length that the other side only claims, and it does no input or output itself.
//!
//! Invariant: what one side encodes the other decodes to the same value; everything else is an error, not a guess.
//!
//! ```
//! use gate::message::Request;
//! let mut bytes = Vec::new();
//! Request::Attest { purpose: gate::message::Purpose::Issue, spki: b"key", nonce: b"nonce" }.encode(&mut bytes).unwrap();
//! let (payload, rest) = gate::frame::split(&bytes).unwrap().unwrap();
//! assert!(rest.is_empty());
//! assert!(matches!(Request::decode(payload).unwrap(), Request::Attest { spki: b"key", .. }));
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

pub mod calls;
pub mod elf;
pub mod end;
pub mod frame;
pub mod message;
pub mod plan;
pub mod program;
pub mod ring;

/// The descriptor on which exec finds its platform: the shim in a TEE, the host process under `nil` and `sim`.
pub const DESCRIPTOR: i32 = 3;
