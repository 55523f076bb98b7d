//! What verifiers of others say of the same evidence: the recorded one, and the committed vectors.
//!
//! They answer as ours does, but for the differences of a table for each, with the reasons. The tables are checked both ways: a
//! difference that is none any more fails, too. For people they stand in `docs/manual/peers.md`.

mod dcap_qvl;
mod sev;
#[path = "../support/mod.rs"]
mod support;
