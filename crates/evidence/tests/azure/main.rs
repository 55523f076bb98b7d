//! Azure's confidential virtual machines from outside: real evidence, and the committed vectors.
//!
//! Real evidence is never committed; its tests read `DONJON_EVIDENCE` (default `../shared/evidence` beside the
//! repository) and say so in one line where it is absent. `DONJON_REQUIRE=evidence` makes the absence a failure.

mod ear;
mod flips;
mod hostile;
mod real;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
