//! One GET after the other, with patience and with bounds.
//!
//! Owns the connection, what an answer may be, and how long a service is waited for that has no time: its `Retry-After`, if that
//! is bearable, else longer each time. Refuses redirects and proxies. A service that did not answer however often it was asked is
//! not asked again. Invariant: an answer has no more bytes and takes no longer than its limits, and nothing of it is believed.

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::failure::Failure;

/// The longest that a service can have us wait at once.
const BEARABLE: Duration = Duration::from_secs(120);
/// The wait after the first try that failed; each other is twice as long, up to the longest. AMD's service counts questions over
/// minutes, and says so without saying when.
const FIRST: Duration = Duration::from_secs(1);
const FIRST_OF_BUSY: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// The longest head of an answer: a chain of certificates is in it, percent-encoded.
const HEAD: usize = 64 * 1024;

pub(super) struct Client {
    tls: TlsConnector,
    tries: u32,
    timeout: Duration,
    /// Who did not answer.
    gone: HashSet<String>,
}

pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Refused {
    /// Nobody there, or nobody who is known.
    Unreachable(String),
    /// No whole answer, or none of HTTP.
    Cut(String),
    /// Not all of it in time.
    Late(Duration),
    /// More than there can be.
    TooLong(usize),
    /// Not now, and perhaps when.
    Busy(StatusCode, Option<Duration>),
    /// Something is wrong with the service, or with this one thing.
    Broken(StatusCode),
    /// Not at all.
    Status(StatusCode),
}

impl Refused {
    /// Whether it may be another time.
    fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Cut(_) | Self::Late(_) | Self::Busy(..) | Self::Broken(_) => true,
            Self::TooLong(_) | Self::Status(_) => false,
        }
    }

    /// Whether it is so for whatever is asked.
    fn is_of_service(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Late(_) | Self::Busy(..))
    }

    fn failure(self, url: &str) -> Failure {
        let failed = |why: String| Failure::new(format!("{url}: {why}"));
        match self {
            Self::Unreachable(error) => {
                failed(error).hint("is there a way to it from here? a cache of your own: --kds, --pcs")
            }
            Self::Cut(error) => failed(error).hint("run it again later"),
            Self::Late(limit) => failed(format!("not answered within {} s", limit.as_secs())).hint("--timeout SECONDS"),
            Self::TooLong(limit) => {
                failed(format!("the answer has more than {limit} bytes")).hint("this is another service")
            }
            Self::Busy(status, Some(after)) => {
                failed(format!("{status}, try again after {} s", after.as_secs())).hint("run it again then")
            }
            Self::Busy(status, None) => {
                failed(status.to_string()).hint("it limits how often it is asked: run it again later")
            }
            Self::Broken(status) => failed(status.to_string()).hint("run it again later"),
            Self::Status(status @ (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)) => failed(status.to_string())
                .hint("the vendor does not know this platform, or the address is not the vendor's"),
            Self::Status(status) if status.is_redirection() => {
                failed(format!("{status}: redirects are not followed")).hint("give the address that it names")
            }
            Self::Status(status) => failed(status.to_string()),
        }
    }
}

impl Client {
    /// Servers are known by public roots, and those in these files.
    pub(super) fn new(cas: &[PathBuf], tries: u32, timeout: Duration) -> Result<Self, Failure> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for path in cas {
            let unusable = |error: &dyn Error| Failure::caused(path.display(), error).unusable();
            for certificate in read(path)? {
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::caused("cannot speak TLS", &error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), tries, timeout, gone: HashSet::new() })
    }

    /// What is there, in at most so many bytes.
    pub(super) async fn get(&mut self, url: &str, limit: usize) -> Result<Answer, Failure> {
        let uri: Uri = url.parse().map_err(|error| Failure::caused(url, &error))?;
        let service = uri.authority().map(ToString::to_string).unwrap_or_default();
        if self.gone.contains(&service) {
            return Err(
                Failure::new(format!("{url}: not asked, {service} did not answer before")).hint("run it again later")
            );
        }
        let mut tried = 1;
        loop {
            let refused = match timeout(self.timeout, self.once(&uri, limit)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(refused)) => refused,
                Err(_) => Refused::Late(self.timeout),
            };
            let wait = match &refused {
                Refused::Busy(_, Some(after)) => *after,
                Refused::Busy(_, None) => jittered(FIRST_OF_BUSY, tried),
                _ => jittered(FIRST, tried),
            };
            if !refused.passes() || tried >= self.tries || wait > BEARABLE {
                if refused.is_of_service() {
                    self.gone.insert(service);
                }
                return Err(refused.failure(url));
            }
            tracing::debug!(?refused, ?wait, "asked again");
            sleep(wait).await;
            tried += 1;
        }
    }

    async fn once(&self, uri: &Uri, limit: usize) -> Result<Answer, Refused> {
        let unreachable = |error: &dyn Error| Refused::Unreachable(causes(error));
        let host = uri.host().unwrap_or_default();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        // An address of version 6 has brackets in a URL, and none elsewhere.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((name, port)).await.map_err(|error| unreachable(&error))?;
        if tls {
            let server = ServerName::try_from(name.to_owned()).map_err(|error| unreachable(&error))?;
            let stream = self.tls.connect(server, stream).await.map_err(|error| unreachable(&error))?;
            ask(stream, uri, limit).await
        } else {
            ask(stream, uri, limit).await
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    uri: &Uri,
    limit: usize,
) -> Result<Answer, Refused> {
    let broken = |error: hyper::Error| Refused::Cut(causes(&error));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .max_headers(64)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let driver = Driver(tokio::spawn(async move { _ = connection.await }));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("donjon/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Refused::Cut(error.to_string()))?;
    let (parts, mut body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    match parts.status {
        StatusCode::OK => {}
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            return Err(Refused::Busy(status, after(&parts.headers)));
        }
        status if status.is_server_error() => return Err(Refused::Broken(status)),
        status => return Err(Refused::Status(status)),
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Refused::TooLong(limit));
        }
        bytes.extend_from_slice(&data);
    }
    drop(driver);
    Ok(Answer { headers: parts.headers, body: bytes })
}

/// What moves a connection, which ends with this.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// RFC 9110 section 10.2.3, in seconds; who names an instant is waited for as if it named none.
fn after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The wait after this try. Half of it at least: not all who were sent away come back together.
fn jittered(first: Duration, tried: u32) -> Duration {
    let wait = first.saturating_mul(1 << (tried - 1).min(16)).min(LONGEST);
    let mut byte = [0];
    // Without randomness it is the whole.
    let share = rand::fill(&mut byte).map_or(u32::from(u8::MAX), |()| u32::from(byte[0]));
    wait / 2 + wait / 2 * share / u32::from(u8::MAX)
}

/// An error and its causes, each once.
fn causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    text
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let unusable = |error: &dyn Error| Failure::caused(path.display(), error).unusable();
    let all = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(&error))?;
    if all.is_empty() {
        return Err(unusable(&io::Error::other("no certificate in PEM is in it")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_grows_up_to_the_longest_and_is_half_of_it_at_least() {
        for (tried, seconds) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (20, 60), (u32::MAX, 60)] {
            let most = Duration::from_secs(seconds);
            for _ in 0..100 {
                let wait = jittered(FIRST_OF_BUSY, tried);
                assert!(wait >= most / 2 && wait <= most, "{tried}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_wait_is_named_in_seconds() {
        let of = |text: &str| after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        for other in ["", "-1", "1.5", "Mon, 23 Nov 2026 16:00:00 GMT", "99999999999999999999"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
