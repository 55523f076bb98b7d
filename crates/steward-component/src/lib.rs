//! The Steward as a service of `wasi:http`, so that it runs in a Keep and says by the hardware's word which Steward it is.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | what this Steward is |
//! | `GET /nonce` | a nonce to make evidence with |
//! | `GET /policy` | the policy, signed |
//! | `GET /trust`, `GET /trust?nonce=HEX` | the trust bundle, with the hardware's report over it and over the nonce |
//! | `POST /` | a certificate for a request, PEM |
//!
//! Owns what the network is for the issuing core: the Keep does HTTP, TLS, times and crowds. Refuses everything where the platform derives
//! no keys. Invariant: its keys are derived from the machine, the image and this workload, of which the policy is a file. So they
//! never leave the Keep, the same Steward has the same after each start, and one with another policy has others.
#![cfg(all(target_os = "wasi", target_env = "p2"))]
#![allow(clippy::print_stderr, reason = "it is the log, which goes where the manifest says")]

mod http;
mod state;

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{IncomingRequest, ResponseOutparam},
};

wasip2::http::proxy::export!(Service);

struct Service;

impl Guest for Service {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let answer = http::Request::of(&request).and_then(|asked| state::answer(&asked, request));
        http::send(out, answer.unwrap_or_else(|problem| http::Answer::problem(&problem)));
    }
}
