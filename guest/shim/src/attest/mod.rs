//! What a Keep was launched with, and what it can prove: the brief, evidence, sealing keys.
//!
//! Owns the latched brief, and everything that is made of it: report data is composed here and nowhere above (trust rule
//! 2), and the hardware's key goes no further than this module (rule 5). Owns what the program says on descriptor 3: it
//! answers Brief, Attest and SealKey by itself and passes the rest on to the host, which answers it as under `nil`.
//!
//! Refuses to start with another brief than the hardware carries (rule 1).
//!
//! Invariant: brief and channel are set once, before the first byte of ring 3 runs, and never change.

#[cfg(target_os = "none")]
mod door;
pub(crate) mod snp;

#[cfg(target_os = "none")]
pub(crate) use door::{Written, passed, read, replies, start, write};
