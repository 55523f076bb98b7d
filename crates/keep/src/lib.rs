//! The host side of a Keep: the image that is measured, the launch that fixes the brief, and the backends that run it.
//!
//! ```text
//!   Image (measured) --new(brief)--> Launch --start(host)--> Running --wait--> End
//!                                    H(brief) fixed   Backend          fd 3: service
//! ```
//!
//! Owns: [`image`] (what is in a Keep, and its measurement), [`measure`] (what SNP hardware will say of it), [`id_block`]
//! (who vouches for that), [`launch`] (the phases as types), [`backend`] (how a Keep
//! is started: `nil` without protection, `sim` with simulated evidence), the answers to what exec asks over
//! descriptor 3, what Keeps store here for their next start, and `sys`, the only unsafe code.
//!
//! Refuses to start anything without a brief, and everything a Keep asks beyond `spec/gate.md`.
//!
//! Invariant: what a phase does not allow is not a method of its type. The brief's hash is in the launch field before the
//! first instruction of exec runs and cannot be changed after.

#![deny(unsafe_code)]

#[cfg(guest)]
pub mod attack;
pub mod backend;
mod cache;
mod folders;
pub mod id_block;
pub mod image;
pub mod launch;
#[cfg(guest)]
mod machine;
pub mod measure;
mod names;
mod service;
#[cfg(guest)]
mod sys;
#[cfg(not(guest))]
#[path = "sys/elsewhere.rs"]
mod sys;
mod task;

pub use backend::Backend;
pub use cache::Cache;
pub use folders::Folders;
pub use gate::end::Signal;
pub use image::Image;
pub use launch::{
    Blobs, Caller, End, Event, Host, Launch, Memory, MemoryError, RunError, Running, StartError, Stdio, Stop,
};
#[cfg(guest)]
pub use machine::monitor;

/// Becomes the monitor of a micro-VM if this process was started as one: never, where there are none.
#[cfg(not(guest))]
#[must_use]
pub fn monitor() -> Option<std::process::ExitCode> {
    None
}
