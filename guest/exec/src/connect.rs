//! The Keep's own connections: TLS 1.3 with the keys that the brief pins, and one bounded HTTP exchange at a time.
//!
//! Owns the TLS configurations of both directions. Refuses a server whose key is not pinned (or, with no pins, whose
//! chain does not end at a public web root), answers over their bound, and peers that take too long.
//!
//! Names are resolved by the host: an address is a hint, the pin or the digest decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use workload::digest::Digest;

use crate::clock;
use crate::enrol::Identity;
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};

/// Connecting and the head of an answer must be done in this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes TLS configurations.
pub(crate) struct Tls(Arc<CryptoProvider>);

impl Tls {
    pub(crate) fn new() -> Result<Self, Refusal> {
        Ok(Self(Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
    }

    /// A server that shows the Keep's certificate and speaks HTTP/2 or HTTP/1.1.
    pub(crate) fn server(self, identity: &Identity) -> Result<Arc<ServerConfig>, Refusal> {
        let mut config = ServerConfig::builder_with_provider(self.0)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_no_client_auth()
            .with_single_cert(identity.certificates(), identity.key.to_pkcs8()?.into())
            .map_err(broken)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Tickets end with the certificate (trust.md rule 16): there are none. Connections do not yet; that comes with
        // renewal, a later issue.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// A client that accepts the pinned keys, and shows `identity` if it is asked for a certificate.
    fn client(self, pins: &[Digest], identity: Option<&Identity>) -> Result<Arc<ClientConfig>, Refusal> {
        let verifier = Pinned::new(pins, Arc::clone(&self.0))?;
        let builder = ClientConfig::builder_with_details(self.0, Arc::new(Clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.certificates(), identity.key.to_pkcs8()?.into())
                .map_err(broken)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The present as far as this Keep knows it.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::now()))
    }
}

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
    pub(crate) identity: Option<&'a Identity>,
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
        let Some(address) = platform.resolve(to.authority)? else {
            return Err(failed("connect.name", "has no address", &"the host cannot resolve the name"));
        };
        let address: std::net::SocketAddr =
            address.parse().map_err(|error| failed("connect.name", "resolves to no address", &error))?;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
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
                let connector = TlsConnector::from(Tls::new()?.client(pins, to.identity)?);
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

/// Accepts a server whose own key is pinned or, without pins, one under the public web roots.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Digest>,
    web: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(pins: &[Digest], provider: Arc<CryptoProvider>) -> Result<Self, Refusal> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Ok(Self { pins: pins.to_vec(), web: web.build().map_err(broken)?, provider })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pins.is_empty() {
            return self.web.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        let spki = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if self.pins.contains(&Digest::of(&spki)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // TLS 1.2 is not among the configured versions.
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
