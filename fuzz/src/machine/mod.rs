//! The monitor's loader, which keep has for itself: its files as they are, and what they need of its crate.

#![allow(dead_code, reason = "there is more in them than is looked at here")]

#[path = "../../../crates/keep/src/machine/elf.rs"]
pub(crate) mod elf;
#[path = "../../../crates/keep/src/machine/layout.rs"]
pub(crate) mod layout;
#[path = "../../../crates/keep/src/machine/state.rs"]
pub(crate) mod state;
