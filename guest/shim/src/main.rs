//! Ring 0 of a micro-VM Keep.
//!
//! ```text
//!   exec (ring 3) --trap--> arch --> syscall --> memory, files, signals     answered inside
//!                                       |          attest                  evidence, sealing keys
//!                                       |
//!                                       +--> gate --> host                  bytes, readiness
//! ```
//!
//! Owns memory and its permissions, threads, traps and signals, descriptors, randomness, and what the Keep was launched
//! with; passes on what only the host can do. What the host answers is checked by `gate::ring` before it means anything here.
//!
//! Refuses calls that `gate::calls` does not list: they end the Keep.
//!
//! Invariant: fatal or answered, nothing between. No pointer of ring 3 is followed before the memory under it was found to
//! be the program's, and nothing the host said is used as one at all.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only its tests run on a host"))]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

#[cfg(target_os = "none")]
mod arch;
mod attest;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod host;
mod memory;
#[cfg(target_os = "none")]
mod platform;
#[cfg(target_os = "none")]
mod program;
#[cfg(target_os = "none")]
mod syscall;
mod threads;

/// There is nothing to run here; the tests are.
#[cfg(not(target_os = "none"))]
fn main() {}
