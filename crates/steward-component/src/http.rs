//! Requests and answers as far as a Steward needs them.
//!
//! Owns method, path, query, media type, and bodies of at most [`CSR_LIMIT`] bytes. Refuses longer ones when they are too long, and not
//! when they are read to their end. Invariant: a request gets one answer.

use std::io::{Read as _, Write as _};

use identity::{
    csr::CSR_LIMIT,
    problem::{PROBLEM_MEDIA_TYPE, Problem},
};
use steward::refusal::HttpFault;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// What is asked for.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    media_type: Option<String>,
}

impl Request {
    pub(crate) fn of(request: &IncomingRequest) -> Result<Self, Problem> {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (&target[..], None),
        };
        let [media_type] = &request.headers().get("content-type")[..] else {
            return Ok(Self { method: request.method(), path: path.to_owned(), query, media_type: None });
        };
        let media_type = String::from_utf8_lossy(media_type);
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Ok(Self { method: request.method(), path: path.to_owned(), query, media_type: Some(media_type) })
    }

    /// The body, if it says that it is of this media type.
    pub(crate) fn body(&self, request: IncomingRequest, media_type: &str) -> Result<Vec<u8>, Problem> {
        if self.media_type.as_deref() != Some(media_type) {
            return Err(form(415, "http.content_type", media_type));
        }
        let broken = || form(400, "http.body", "a complete body");
        let body = request.consume().map_err(|()| broken())?;
        let stream = body.stream().map_err(|()| broken())?;
        let (limit, mut bytes) = (CSR_LIMIT as u64, Vec::new());
        stream.take(limit + 1).read_to_end(&mut bytes).map_err(|_| broken())?;
        IncomingBody::finish(body);
        if bytes.len() > CSR_LIMIT {
            return Err(form(413, "http.size", &format!("a body of at most {CSR_LIMIT} bytes")));
        }
        Ok(bytes)
    }
}

/// What is answered.
pub(crate) struct Answer {
    status: u16,
    media_type: &'static str,
    body: String,
}

impl Answer {
    pub(crate) fn new(media_type: &'static str, body: String) -> Self {
        Self { status: 200, media_type, body }
    }

    pub(crate) fn problem(problem: &Problem) -> Self {
        // A struct of texts and numbers is always JSON.
        let body = serde_json::to_string(problem).unwrap_or_default();
        Self { status: problem.status, media_type: PROBLEM_MEDIA_TYPE, body }
    }
}

/// A request of another form than is taken.
pub(crate) fn form(status: u16, id: &str, expected: &str) -> Problem {
    HttpFault::form(status, id, expected).problem()
}

/// A Steward that cannot do its work.
pub(crate) fn unable(id: &str, expected: &str, found: &str, remedy: &str) -> Problem {
    HttpFault { status: 503, title: "this Steward cannot work here", id, expected, found, remedy }.problem()
}

pub(crate) fn send(out: ResponseOutparam, answer: Answer) {
    let Answer { status, media_type, body } = answer;
    let fields = [
        ("content-type", media_type.as_bytes().to_vec()),
        ("content-length", body.len().to_string().into_bytes()),
        ("cache-control", b"no-store".to_vec()),
    ];
    let made = Fields::from_list(&fields.map(|(name, value)| (name.to_owned(), value))).ok().and_then(|fields| {
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).ok()?;
        Some((response.body().ok()?, response))
    });
    let Some((stream, response)) = made else {
        return ResponseOutparam::set(out, Err(ErrorCode::InternalError(None)));
    };
    ResponseOutparam::set(out, Ok(response));
    // Whoever asked may be gone; then there is nobody to tell.
    if let Ok(mut writer) = stream.write() {
        _ = writer.write_all(body.as_bytes()).and_then(|()| std::io::Write::flush(&mut writer));
    }
    _ = OutgoingBody::finish(stream, None);
}
