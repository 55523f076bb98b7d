//! What needs micro-VMs: the suites `run` and `foreign`, every test of them, and Keeps on simulated SEV-SNP; of the suite
//! `flow` what a manifest says to Keeps.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]
#![allow(clippy::duplicate_mod, reason = "each suite names what it needs, and is a binary of its own too")]

#[path = "foreign.rs"]
mod foreign;
#[path = "flow/keeps.rs"]
mod keeps;
mod keys;
mod ring;
mod sim_snp;
#[path = "flow/site.rs"]
#[allow(dead_code, reason = "the rest of the suite `flow` uses it")]
mod site;
mod steward_in_a_keep;
#[path = "run/main.rs"]
mod suite;

// Its files name each other from the root of their binary.
use suite::{ends, http, network, support};
