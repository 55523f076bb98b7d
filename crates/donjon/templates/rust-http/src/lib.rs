//! A service in the world `wasi:http/proxy`: greets the path it is asked for.

use std::io::Write;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a body is taken once");
        ResponseOutparam::set(out, Ok(response));
        // Whoever asked may be gone; then there is nobody to tell.
        if let Ok(mut stream) = body.write() {
            _ = writeln!(stream, "Hello from Rust, {}!", path.trim_start_matches('/'));
        }
        _ = OutgoingBody::finish(body, None);
    }
}
