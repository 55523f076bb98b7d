//! `donjon run` and `donjon pack` from outside: what a person at a terminal sees, byte for byte where that is possible.
//!
//! Each file takes one promise: [`status`] the exit status, [`streams`] arguments, environment and the standard
//! streams, [`pack`] the package, [`elf`] native programs, [`files`] the file system, [`cache`] native code that is kept,
//! [`network`] connections, [`identity`] what a program has of its Keep, [`capture`] packets, [`http`] services, [`limits`]
//! what a program may take, [`crowd`], [`edges`] and [`hostile`] what
//! bad callers and bad services cost, [`ends`] that nothing stays behind, [`drain`] how a service ends that is told
//! to, [`refused`] errors with their hints, [`init`] templates, [`testsuite`] the official tests of WASI.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod cache;
mod capture;
mod crowd;
mod drain;
mod edges;
pub(crate) mod elf;
pub(crate) mod ends;
pub(crate) mod files;
mod hostile;
pub(crate) mod http;
pub(crate) mod identity;
mod init;
pub(crate) mod limits;
pub(crate) mod names;
pub(crate) mod network;
mod pack;
pub(crate) mod refused;
mod status;
pub(crate) mod streams;
#[path = "../support/mod.rs"]
pub(crate) mod support;
mod testsuite;
