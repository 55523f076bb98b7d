//! A service in the world `wasi:http/proxy` that behaves badly, to see what that costs others.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | answers `well` |
//! | `GET /spin` | computes for ever, and never answers |
//! | `GET /sleep` | sleeps for an hour, and never answers |
//! | `GET /trap` | traps |
//! | `GET /silent` | ends without an answer |
//! | `GET /memory` | takes memory until there is none |
//! | `GET /hold` | makes fields for requests that it never sends |
//! | `GET /half` | answers half of what it said it would, then traps |

use std::hint::black_box;
use std::time::Duration;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Rogue);

struct Rogue;

impl Guest for Rogue {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match request.path_with_query().as_deref() {
            Some("/spin") => loop {
                black_box(());
            },
            Some("/sleep") => std::thread::sleep(Duration::from_secs(3600)),
            Some("/trap") => panic!("as asked"),
            Some("/silent") => {}
            Some("/memory") => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![1; 1 << 20]);
                    black_box(&all);
                }
            }
            Some("/hold") => loop {
                let fields = Fields::new();
                // When there is no room for more in one there is for others.
                _ = fields.append("held", &[b'x'; 64 << 10]);
                std::mem::forget(fields);
            },
            Some("/half") => {
                answer(out, 10, b"half");
                panic!("as asked");
            }
            _ => answer(out, 5, b"well\n"),
        }
    }
}

/// An answer that says it has `length` bytes.
fn answer(out: ResponseOutparam, length: usize, body: &[u8]) {
    let fields = Fields::new();
    // A field of a fixed name and a number cannot be wrong.
    _ = fields.set("content-length", &[length.to_string().into_bytes()]);
    let response = OutgoingResponse::new(fields);
    let Ok(stream) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(writer) = stream.write() {
        // Whoever asked may be gone.
        _ = writer.blocking_write_and_flush(body);
    }
    if length == body.len() {
        _ = OutgoingBody::finish(stream, None);
    }
}
