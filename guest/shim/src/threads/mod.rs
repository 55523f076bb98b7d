//! Threads of the program: one processor each, while it lives.
//!
//! Owns who sits where ([`seats`]), who waits for what ([`waits`]), making and ending threads, and that pages taken away
//! are forgotten by all of them. The host starts processors, lets them sleep and wakes them; what it says of them is not
//! believed: a processor knows by its ticket who it is, and by the start that waits for it what it is to do.
//!
//! Refuses more threads than there are seats (EAGAIN).
//!
//! Invariant: a start is taken once. A host that never starts a processor has a thread that never runs; one that starts a
//! processor twice has ended the Keep.

pub(crate) mod seats;
pub(crate) mod waits;

#[cfg(target_os = "none")]
pub(crate) use bound::*;

#[cfg(target_os = "none")]
mod bound;
