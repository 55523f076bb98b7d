//! What a workload is, and what a Keep is launched with, parsed into valid types.
//!
//! Owns: digests and the streaming check, SPIFFE, DNS and OCI names, the brief, the manifest, the package (an OCI
//! artifact) and the sans-I/O pull. Owns no I/O, no clock, no key. Refuses whatever is not in its one canonical form,
//! because both sides of a border hash these bytes: the hardware carries the brief's hash, the brief the package's digest.
//!
//! ```text
//!   brief --- workload digest ---> package (OCI manifest) --- descriptors ---> manifest (JSON), program (Wasm | ELF)
//!     ^ hash in the hardware evidence         pull: each blob is checked before any parser sees it
//! ```
//!
//! Invariant: every value that came out of a `decode`, `parse` or `from_*` here re-encodes to the bytes it came from.
//! Formats: `spec/brief.md`, `spec/package.md`, `spec/manifest.md`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;
#[cfg(any(test, feature = "settings"))]
extern crate std;

pub mod brief;
pub mod digest;
pub mod manifest;
pub mod names;
pub mod package;
pub mod pull;
pub mod reference;
pub mod secrets;
#[cfg(feature = "settings")]
pub mod settings;

pub use brief::Brief;
pub use digest::Digest;
pub use manifest::Manifest;
