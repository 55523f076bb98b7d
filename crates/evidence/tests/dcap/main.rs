//! SGX and TDX from outside: real quotes with the collateral of their time.
//!
//! Real evidence is never committed; its tests read `DONJON_EVIDENCE` (default `../shared/evidence` beside the repository)
//! and say so in one line where it is absent. `DONJON_REQUIRE=evidence` makes the absence a failure.

mod flips;
mod hostile;
mod matrix;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
