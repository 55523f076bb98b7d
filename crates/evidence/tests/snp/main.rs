//! SEV-SNP from outside: real evidence, committed vectors, edited objects, hostile bytes.
//!
//! Real evidence is never committed; its tests read `DONJON_EVIDENCE` (default `../shared/evidence`
//! beside the repository) and say so in one line where it is absent. `DONJON_REQUIRE=evidence`
//! makes the absence a failure. Vectors are committed, so everything else always runs.

mod ear;
mod edited;
mod expected;
mod flips;
mod hostile;
mod real;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
