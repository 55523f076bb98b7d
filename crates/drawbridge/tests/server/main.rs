//! The server as others meet it: over real sockets and TLS on the loopback, every refusal beside a control.
//!
//! One binary, because linking takes longer than running.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod client;
mod confidential;
mod conformance;
mod crash;
mod hostile;
#[path = "../key/mod.rs"]
mod key;
mod oci;
mod operations;
mod places;
mod secrets;
mod support;
mod together;
