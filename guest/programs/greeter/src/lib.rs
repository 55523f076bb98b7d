//! A small but real service in the world `wasi:http/proxy`: what `donjon demo` puts into a Keep.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | who this is and what it can do; HTML for those who ask for it, else text |
//! | `GET /time` | the Keep's time, RFC 3339 |
//! | `POST /echo` | the body back, while it arrives |
//! | `GET /sha256?text=…`, `POST /sha256` | SHA-256 of the text, or of the body |
//!
//! Anything else is 404, another method on these paths 405. `HEAD` is `GET` without the body. The variable `GREETER_NAME`
//! says in whose name it greets.
//!
//! Holds nothing between requests (each gets an instance of its own) and never a whole body: both directions stream.

mod text;

use std::io::{Read, Write};

use sha2::{Digest, Sha256};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

wasip2::http::proxy::export!(Greeter);

struct Greeter;

/// Bytes moved at once.
const CHUNK: usize = 16 * 1024;

impl Guest for Greeter {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let method = request.method();
        let reading = matches!(method, Method::Get | Method::Head);
        match (path, &method) {
            ("/", _) if reading => {
                let name = std::env::var("GREETER_NAME").unwrap_or_else(|_| "Donjon".to_owned());
                if accepts_html(&request) {
                    answer(out, &method, 200, "text/html; charset=utf-8", &[], &text::html(&name));
                } else {
                    answer(out, &method, 200, TEXT, &[], &text::plain(&name));
                }
            }
            ("/time", _) if reading => {
                let now = wasip2::clocks::wall_clock::now();
                answer(out, &method, 200, TEXT, &[], &format!("{}\n", text::rfc3339(now.seconds)));
            }
            ("/sha256", _) if reading => match text::parameter(query, "text") {
                Some(wanted) => {
                    answer(out, &method, 200, TEXT, &[], &format!("{}\n", text::hex(&Sha256::digest(wanted))));
                }
                None => answer(out, &method, 400, TEXT, &[], "give the text: /sha256?text=…\n"),
            },
            ("/sha256", Method::Post) => match digest(request) {
                Ok(digest) => answer(out, &method, 200, TEXT, &[], &format!("{}\n", text::hex(&digest))),
                Err(error) => answer(out, &method, 400, TEXT, &[], &format!("the body broke off: {error}\n")),
            },
            ("/echo", Method::Post) => echo(request, out),
            ("/" | "/time", _) => wrong_method(out, &method, "GET, HEAD"),
            ("/sha256", _) => wrong_method(out, &method, "GET, HEAD, POST"),
            ("/echo", _) => wrong_method(out, &method, "POST"),
            _ => answer(out, &method, 404, TEXT, &[], "there is nothing here; GET / says what there is\n"),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// A whole answer. `extra` are header fields beside the type and the length.
fn answer(out: ResponseOutparam, method: &Method, status: u16, media: &str, extra: &[(&str, &str)], body: &str) {
    let length = body.len().to_string();
    let fields = [("content-type", media), ("content-length", length.as_str()), ("cache-control", "no-store")];
    let Some(stream) = head(out, status, fields.iter().chain(extra)) else { return };
    if !matches!(method, Method::Head)
        && let Ok(mut writer) = stream.write()
    {
        // The caller may be gone, then there is nobody to tell.
        _ = writer.write_all(body.as_bytes()).and_then(|()| Write::flush(&mut writer));
    }
    _ = OutgoingBody::finish(stream, None);
}

fn wrong_method(out: ResponseOutparam, method: &Method, allowed: &str) {
    answer(out, method, 405, TEXT, &[("allow", allowed)], &format!("this path takes {allowed}\n"));
}

/// The body back, piece by piece: nothing is kept, so it may be of any length.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let media = request.headers().get("content-type").into_iter().next();
    let media = media.and_then(|value| String::from_utf8(value).ok());
    let fields = [("content-type", media.as_deref().unwrap_or("application/octet-stream"))];
    let Ok(body) = request.consume() else { return };
    let Some(stream) = head(out, 200, fields.iter()) else { return };
    if let (Ok(from), Ok(to)) = (body.stream(), stream.write()) {
        loop {
            match to.blocking_splice(&from, CHUNK as u64) {
                Ok(_) => {}
                Err(StreamError::Closed) => break,
                // The head is sent; leaving the body unfinished is the only way left to say so.
                Err(StreamError::LastOperationFailed(_)) => return,
            }
        }
        if to.blocking_flush().is_err() {
            return;
        }
    }
    IncomingBody::finish(body);
    _ = OutgoingBody::finish(stream, None);
}

fn digest(request: IncomingRequest) -> Result<[u8; 32], String> {
    let body = request.consume().map_err(|()| "it was taken already".to_owned())?;
    let mut stream = body.stream().map_err(|()| "it was taken already".to_owned())?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match Read::read(&mut stream, &mut buffer).map_err(|error| error.to_string())? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Sends the head of an answer and gives its body; `None` if the platform would not take the head.
fn head<'a>(
    out: ResponseOutparam,
    status: u16,
    fields: impl Iterator<Item = &'a (&'a str, &'a str)>,
) -> Option<OutgoingBody> {
    let list: Vec<_> = fields.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let made = Fields::from_list(&list).ok().and_then(|fields| {
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).ok()?;
        let body = response.body().ok()?;
        Some((response, body))
    });
    match made {
        Some((response, body)) => {
            ResponseOutparam::set(out, Ok(response));
            Some(body)
        }
        None => {
            ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("the answer has no valid head".to_owned()))));
            None
        }
    }
}

/// Browsers ask for HTML by name; `curl` asks for anything and gets text.
fn accepts_html(request: &IncomingRequest) -> bool {
    let accept = request.headers().get("accept");
    accept.iter().any(|value| String::from_utf8_lossy(value).contains("text/html"))
}
