//! What needs micro-VMs: the suites `run` and `foreign`, every test of them, and Keeps on simulated SEV-SNP.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

#[path = "foreign.rs"]
mod foreign;
mod ring;
mod sim_snp;
#[path = "run/main.rs"]
mod suite;

// Its files name each other from the root of their binary.
use suite::{ends, http, network, support};
