//! One file a command: its arguments, and what it does with them.

pub(crate) mod pack;
pub(crate) mod platform;
pub(crate) mod run;
