//! Requests that a program makes of others.
//!
//! Owns the one way out for HTTP: where a request may go and who has to answer is [`crate::network::Network`]'s to say, nothing goes around
//! it. One connection for each request, HTTP/1.1.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

use crate::network::Shared;

/// How long each step may take if the program does not say: as long as Wasmtime gives it.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program's way out.
pub(crate) struct Outgoing(Shared);

impl Outgoing {
    pub(crate) fn new(network: &Shared) -> Self {
        Self(Shared::clone(network))
    }
}

/// What becomes of a request's own body, which the program may ask for.
type Sent = Box<dyn Future<Output = std::result::Result<(), Error>> + Send>;
type Answer = (http::Response<WasiBody>, Sent);

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Sent,
    ) -> Box<dyn Future<Output = Result<Answer>> + Send> {
        let network = Shared::clone(&self.0);
        Box::new(async move { send(&network, request, options).await })
    }
}

async fn send(
    network: &Shared,
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Answer> {
    let options = options.unwrap_or_default();
    let tls = match request.uri().scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(Error::HttpRequestUriInvalid),
    };
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
    let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let connect = async {
        let stream = network.request(&host, port, tls).await.map_err(|error| unreached(&error))?;
        Ok::<_, Error>(hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?)
    };
    let (mut sender, connection) =
        timeout(options.connect_timeout.unwrap_or(PATIENCE), connect).await.map_err(|_| Error::ConnectionTimeout)??;
    // Whoever waits for the answer hears of its failure there.
    let driver = tokio::spawn(async move { connection.await.map_err(Error::from) });

    // The request is the server's own matter from here on: path and query (RFC 9112, section 3.2.1).
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let response = timeout(options.first_byte_timeout.unwrap_or(PATIENCE), sender.send_request(request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let patience = options.between_bytes_timeout.unwrap_or(PATIENCE);
    let response = response.map(|incoming| {
        let waits = Box::pin(tokio::time::sleep(patience));
        Patient { incoming, patience, waits, _driver: Abort(driver.abort_handle()) }.boxed_unsync()
    });
    let sent = async move {
        match driver.await {
            Ok(ended) => ended,
            // Given up together with the answer.
            Err(_) => Ok(()),
        }
    };
    Ok((response, Box::new(sent)))
}

/// An answer's body, of which each next part comes in time.
struct Patient {
    incoming: Incoming,
    patience: Duration,
    waits: Pin<Box<Sleep>>,
    /// For its end.
    _driver: Abort,
}

/// Ends a connection together with the last who wants something of it.
struct Abort(tokio::task::AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Self { incoming, patience, waits, _driver: _ } = &mut *self;
        match Pin::new(incoming).poll_frame(context) {
            Poll::Pending => {
                ready!(waits.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
            Poll::Ready(frame) => {
                waits.as_mut().reset(Instant::now() + *patience);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.incoming.size_hint()
    }
}

/// Why there is no connection.
fn unreached(error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return match tls {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Error::TlsCertificateError,
            rustls::Error::AlertReceived(alert) => {
                Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
            }
            _ => Error::TlsProtocolError,
        };
    }
    match error.kind() {
        ErrorKind::PermissionDenied => Error::HttpRequestDenied,
        ErrorKind::NotFound => Error::DnsError { rcode: Some("address not available".to_owned()), info_code: None },
        ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        ErrorKind::TimedOut => Error::ConnectionTimeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Error::DestinationUnavailable,
        _ => Error::ConnectionTerminated,
    }
}
