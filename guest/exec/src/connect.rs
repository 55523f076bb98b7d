//! The Keep's own connections: to Steward and Drawbridge, one bounded HTTP exchange at a time.
//!
//! Refuses a server whose key is not pinned (or, with no pins, whose chain does not end at a public web root), answers over
//! their bound, and peers that take too long.
//!
//! Names are resolved by the host: an address is a hint, the pin or the digest decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use workload::digest::Digest;

use crate::enrol::Identity;
use crate::platform::{Platform, patiently};
use crate::refusal::{Refusal, Step};
use crate::tls::{self, Proof};

/// Connecting and the head of an answer must be done in this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where to connect, and how the other side proves itself.
pub(crate) struct Endpoint<'a> {
    /// For messages: "the Steward", "the Drawbridge".
    pub(crate) who: &'a str,
    /// Which step a failure belongs to.
    pub(crate) step: Step,
    /// `host:port`.
    pub(crate) authority: &'a str,
    /// `None`: plain HTTP. `Some`: TLS, with these pins or, if empty, public web roots.
    pub(crate) tls: Option<&'a [Digest]>,
    /// The certificate to show.
    pub(crate) identity: Option<&'a Arc<Identity>>,
}

/// An open HTTP/1.1 connection.
pub(crate) struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    who: String,
    step: Step,
    authority: String,
}

impl Connection {
    pub(crate) async fn open(platform: &mut Platform, to: &Endpoint<'_>) -> Result<Self, Refusal> {
        let failed = |code, what: &str, error: &dyn std::fmt::Display| {
            Refusal::new(
                to.step,
                code,
                format_args!("{} at {} {what}: {error}", to.who, to.authority),
                format_args!("check that {} runs and that this host reaches it", to.who),
            )
        };
        let addresses = patiently(|| platform.lookup(to.authority)).await?.unwrap_or_default();
        if addresses.is_empty() {
            return Err(failed("connect.name", "has no address", &"the host cannot resolve the name"));
        }
        let connect = async {
            let stream = TcpStream::connect(&addresses[..]).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = within(connect).await.map_err(|error| failed("connect.refused", "cannot be reached", &error))?;
        let sender = match to.tls {
            None => handshake(stream).await,
            Some(pins) => {
                let host = to.authority.rsplit_once(':').map_or(to.authority, |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                    .map_err(|error| failed("connect.name", "has an invalid name", &error))?;
                let config = tls::client(Proof::pins(pins)?, to.identity, &[b"http/1.1"])?;
                let connector = TlsConnector::from(config);
                let stream = within(connector.connect(name, stream))
                    .await
                    .map_err(|error| failed("connect.tls", "did not prove itself", &error))?;
                handshake(stream).await
            }
        }
        .map_err(|error| failed("connect.http", "does not speak HTTP/1.1", &error))?;
        Ok(Self { sender, who: to.who.to_owned(), step: to.step, authority: to.authority.to_owned() })
    }

    /// Sends one request; the answer's body is read by [`Answer`].
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Answer, Refusal> {
        let mut request = http::Request::builder().method(method).uri(path).header("host", &self.authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(broken)?;
        let (who, step) = (self.who.clone(), self.step);
        let response = within(async { self.sender.send_request(request).await.map_err(std::io::Error::other) })
            .await
            .map_err(|error| {
            Refusal::new(step, "connect.broken", format_args!("{who} ended the connection: {error}"), "try again")
        })?;
        Ok(Answer { response, who, step })
    }
}

/// The head of an answer and its body still to come.
pub(crate) struct Answer {
    response: hyper::Response<Incoming>,
    who: String,
    step: Step,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn content_type(&self) -> String {
        let value = self.response.headers().get(http::header::CONTENT_TYPE);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The next bytes of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame =
                within(async { self.response.body_mut().frame().await.transpose().map_err(std::io::Error::other) });
            let frame = frame.await.map_err(|error| {
                Refusal::new(
                    self.step,
                    "connect.broken",
                    format_args!("{} stopped in the middle of an answer: {error}", self.who),
                    "try again",
                )
            })?;
            match frame.map(hyper::body::Frame::into_data) {
                None => return Ok(None),
                Some(Ok(data)) if !data.is_empty() => return Ok(Some(data)),
                Some(_) => {}
            }
        }
    }

    /// The whole body, at most `most` bytes.
    pub(crate) async fn whole(mut self, most: usize) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len().saturating_add(chunk.len()) > most {
                return Err(Refusal::new(
                    self.step,
                    "connect.long",
                    format_args!("{} answered with more than {most} bytes", self.who),
                    "this is not what the protocol allows: check whom the brief names",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

async fn handshake<S>(stream: S) -> hyper::Result<hyper::client::conn::http1::SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Whoever waits on `sender` learns of the failure there.
        _ = connection.await;
    });
    Ok(sender)
}

async fn within<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")))
}

fn broken(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Step::Certificate, "tls.defect", error, "this is a defect of the Keep: report it")
}
