//! Whom the programs of the suites talk to: servers as their specifications describe them, and as Wasmtime's tests have them.
//!
//! Source: `test-runner/wasi_test_runner/test_suite_runner.py` of the suite, `_EndpointServer`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

/// Starts the servers of a specification: their names in the program's environment, and where they are.
pub(super) fn serve(specification: &Value) -> Vec<(String, SocketAddr)> {
    let servers = specification["servers"].as_array().into_iter().flatten();
    servers
        .map(|server| {
            let address = if server["kind"] == "closed" {
                // Nobody listens there any more.
                TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
            } else {
                let endpoints = server["endpoints"].as_array().cloned().unwrap_or_default();
                listen(move |stream| answer(stream, &endpoints))
            };
            (format!("HTTP_SERVER_{}", server["name"].as_str().unwrap().to_uppercase()), address)
        })
        .collect()
}

type Fields = Vec<(String, String)>;

/// A server that answers every request with its own body, and says what it was asked; as those of Wasmtime's tests do.
pub(super) fn echo() -> SocketAddr {
    listen(|stream| {
        let request = Request::read(&stream)?;
        let said = [("x-wasmtime-test-method", &request.method), ("x-wasmtime-test-uri", &request.path)];
        let said = said.map(|(name, value)| (name.to_owned(), value.clone()));
        Reply { stream, bodiless: request.method == "HEAD" }.whole(200, &said, &request.body)
    })
}

/// A server that speaks HTTP/2 at once.
pub(super) fn newer() -> SocketAddr {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    listen(|mut stream| stream.write_all(&SETTINGS).and_then(|()| stream.read_to_end(&mut Vec::new()).map(|_| ())))
}

fn listen(answer: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            // A peer that leaves early is its own affair: the tests of errors do.
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

struct Request {
    method: String,
    path: String,
    head: Fields,
    body: Vec<u8>,
    trailers: Fields,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut from = BufReader::new(stream.try_clone()?);
        let first = line(&mut from)?;
        let [method, path, _] = first.split(' ').collect::<Vec<_>>()[..] else {
            return Err(std::io::Error::other(first));
        };
        let head = fields(&mut from)?;
        let of = |name: &str| head.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if of("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked")) {
            loop {
                let size = line(&mut from)?;
                let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).map_err(std::io::Error::other)?;
                if size == 0 {
                    break;
                }
                let begin = body.len();
                body.resize(begin + size, 0);
                from.read_exact(&mut body[begin..])?;
                line(&mut from)?;
            }
            trailers = fields(&mut from)?;
        } else if let Some(length) = of("content-length") {
            body.resize(length.parse().map_err(std::io::Error::other)?, 0);
            from.read_exact(&mut body)?;
        }
        Ok(Self { method: method.to_owned(), path: path.to_owned(), head, body, trailers })
    }
}

/// One request and its answer.
fn answer(stream: TcpStream, endpoints: &[Value]) -> std::io::Result<()> {
    let Request { method, path, head, body, trailers } = Request::read(&stream)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let or = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let endpoint = endpoints
        .iter()
        .find(|endpoint| or(&endpoint["method"], "GET") == method && or(&endpoint["path"], "/") == path);
    let mut reply = Reply { stream, bodiless: method == "HEAD" };
    let Some(endpoint) = endpoint else { return reply.whole(404, &[], b"") };
    match endpoint["mode"].as_str() {
        Some("echo-body") => reply.whole(200, &[], &body),
        Some("echo-headers") => {
            let own = [("x-request-method", method), ("x-request-path", path)];
            let own = own.map(|(name, value)| (name.to_owned(), value));
            let echoed = head.into_iter().map(|(name, value)| (format!("x-echo-{name}"), value));
            let trailing = trailers.into_iter().map(|(name, value)| (format!("x-trailer-{name}"), value));
            reply.whole(200, &own.into_iter().chain(echoed).chain(trailing).collect::<Fields>(), b"")
        }
        _ => {
            let response = &endpoint["response"];
            let status = response["status"].as_u64().unwrap_or(200);
            let pairs = |of: &Value| {
                of.as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect::<Fields>()
            };
            match response["chunks"].as_array() {
                Some(chunks) => {
                    let chunks: Vec<_> = chunks.iter().map(text).collect();
                    reply.chunked(status, &pairs(&response["headers"]), &chunks, &pairs(&response["trailers"]))
                }
                None => {
                    let body = response.as_str().map_or_else(|| text(&response["body"]), str::to_owned);
                    reply.whole(status, &pairs(&response["headers"]), body.as_bytes())
                }
            }
        }
    }
}

/// Where an answer goes.
struct Reply {
    stream: TcpStream,
    bodiless: bool,
}

impl Reply {
    fn head(&mut self, status: u64, fields: &[(String, String)]) -> std::io::Result<()> {
        write!(self.stream, "HTTP/1.1 {status} Status\r\nconnection: close\r\n")?;
        fields.iter().try_for_each(|(name, value)| write!(self.stream, "{name}: {value}\r\n"))
    }

    fn whole(&mut self, status: u64, fields: &[(String, String)], body: &[u8]) -> std::io::Result<()> {
        self.head(status, fields)?;
        write!(self.stream, "content-length: {}\r\n\r\n", body.len())?;
        if self.bodiless { Ok(()) } else { self.stream.write_all(body) }
    }

    fn chunked(
        &mut self,
        status: u64,
        fields: &[(String, String)],
        chunks: &[String],
        trailers: &[(String, String)],
    ) -> std::io::Result<()> {
        self.head(status, fields)?;
        self.stream.write_all(b"transfer-encoding: chunked\r\n")?;
        if !trailers.is_empty() {
            let names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
            write!(self.stream, "trailer: {}\r\n", names.join(", "))?;
        }
        self.stream.write_all(b"\r\n")?;
        if self.bodiless {
            return Ok(());
        }
        chunks.iter().try_for_each(|chunk| write!(self.stream, "{:x}\r\n{chunk}\r\n", chunk.len()))?;
        self.stream.write_all(b"0\r\n")?;
        trailers.iter().try_for_each(|(name, value)| write!(self.stream, "{name}: {value}\r\n"))?;
        self.stream.write_all(b"\r\n")
    }
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Until the empty line.
fn fields(from: &mut impl BufRead) -> std::io::Result<Fields> {
    let mut fields = Vec::new();
    loop {
        let line = line(from)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
        fields.push((name.trim().to_lowercase(), value.trim().to_owned()));
    }
}
