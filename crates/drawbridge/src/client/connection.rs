//! One connection to a registry: TLS with pins or public roots, HTTP/1.1, one request after the other.
//!
//! Owns dialling, the check of the server's key, and the bounds of every answer. Refuses to follow anything anywhere else:
//! no redirects, no proxies. Invariant: without pins a server is known by a public root and its name, with pins by its key
//! alone, and there is no third way.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use workload::Digest;
use workload::names::Authority;

use super::error::ClientError;
use crate::serve::Idle;
use crate::tls::pin;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(15);
/// Without a byte in either direction; the server may need some of it to bring a big blob to its disk.
const IDLE: Duration = Duration::from_secs(120);
/// How much of an upload is on its way at once.
const CHUNK: usize = 256 * 1024;

/// How a server is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// By a certificate of a public authority for its name.
    WebRoots,
    /// By its key: SHA-256 of the SPKI (DER), one of these. Name and dates of its certificate say nothing then.
    Pins(Vec<Digest>),
}

impl Trust {
    /// As a brief has it: no pins = public web roots.
    #[must_use]
    pub fn of(pins: &[Digest]) -> Self {
        if pins.is_empty() { Self::WebRoots } else { Self::Pins(pins.to_vec()) }
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What is sent.
pub(super) enum Payload<'a> {
    Nothing,
    Whole(Bytes),
    /// In chunks, saying after each how many bytes went out.
    Watched(&'a [u8], &'a mut (dyn FnMut(u64) + Send)),
}

/// How an answer begins.
pub(super) type Head = (StatusCode, HeaderMap);

/// What is done with an answer as it comes: how it began, and its next bytes.
pub(super) type Take<'a> = dyn FnMut(&Head, &[u8]) -> Result<(), ClientError> + Send + 'a;

/// What came back, all of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) struct Connection {
    authority: Authority,
    tls: Arc<ClientConfig>,
    open: Mutex<Option<SendRequest<Body>>>,
}

impl Connection {
    /// A connection that is not yet dialled. `identity`: certificate chain (DER) and key (PKCS#8 DER) of the client.
    pub(super) fn new(
        authority: Authority,
        trust: Trust,
        identity: Option<(Vec<Vec<u8>>, &[u8])>,
    ) -> Result<Self, ClientError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let broken = |error| ClientError::Tls { authority: authority.clone(), error };
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Pins(pins) => Arc::new(Pinned { pins, provider: Arc::clone(&provider) }),
            Trust::WebRoots => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| broken(Error::General(error.to_string())))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut tls = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
                let chain = chain.into_iter().map(CertificateDer::from).collect();
                builder.with_client_auth_cert(chain, key).map_err(ClientError::OwnCertificate)?
            }
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority, tls: Arc::new(tls), open: Mutex::default() })
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sends a request and reads the answer, at most `limit` bytes of it.
    pub(super) async fn request(
        &self,
        what: &str,
        request: http::request::Builder,
        payload: Payload<'_>,
        limit: u64,
    ) -> Result<Answer, ClientError> {
        let mut bytes = BytesMut::new();
        let mut take = |_: &Head, chunk: &[u8]| {
            bytes.extend_from_slice(chunk);
            Ok(())
        };
        let (status, headers) = self.exchange(what, request, payload, limit, &mut take).await?;
        Ok(Answer { status, headers, body: bytes.freeze() })
    }

    /// Sends a request, and gives the answer away as it comes, at most `limit` bytes of it.
    pub(super) async fn exchange(
        &self,
        what: &str,
        request: http::request::Builder,
        payload: Payload<'_>,
        limit: u64,
        take: &mut Take<'_>,
    ) -> Result<Head, ClientError> {
        let broken = |text: String| ClientError::Broken { what: what.to_owned(), text };
        let mut open = self.open.lock().await;
        let mut kept = open.take();
        let alive = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept {
            Some(sender) if alive => sender,
            _ => self.dial().await?,
        };
        let (body, feed) = match payload {
            Payload::Nothing => (Full::default().boxed_unsync(), None),
            Payload::Whole(bytes) => (Full::new(bytes).boxed_unsync(), None),
            Payload::Watched(bytes, watch) => {
                let (feed, fed) = mpsc::channel::<Bytes>(2);
                let frames = stream::unfold(fed, |mut fed| async move {
                    fed.recv().await.map(|bytes| (Ok::<_, Infallible>(Frame::data(bytes)), fed))
                });
                (StreamBody::new(frames).boxed_unsync(), Some((feed, bytes, watch)))
            }
        };
        let request: Request<Body> = request.body(body).map_err(|error| broken(error.to_string()))?;
        let mut response = std::pin::pin!(sender.send_request(request));
        let feeding = async {
            let Some((feed, bytes, watch)) = feed else { return };
            let mut sent: u64 = 0;
            for chunk in bytes.chunks(CHUNK) {
                if feed.send(Bytes::copy_from_slice(chunk)).await.is_err() {
                    return;
                }
                sent = sent.saturating_add(chunk.len() as u64);
                watch(sent);
            }
        };
        let response = tokio::select! {
            // A registry that answers before it took everything has made up its mind.
            response = &mut response => response,
            () = feeding => response.await,
        };
        let (parts, mut body) = response.map_err(|error| broken(chain(&error)))?.into_parts();
        let head = (parts.status, parts.headers);
        let mut taken: u64 = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| broken(chain(&error)))?.into_data() else { continue };
            taken = taken.saturating_add(data.len() as u64);
            if taken > limit {
                return Err(ClientError::TooLong { what: what.to_owned(), limit });
            }
            take(&head, &data)?;
        }
        *open = Some(sender);
        Ok(head)
    }

    async fn dial(&self) -> Result<SendRequest<Body>, ClientError> {
        let authority = || self.authority.clone();
        let unreachable = |error: std::io::Error| ClientError::Unreachable {
            authority: authority(),
            kind: error.kind(),
            text: error.to_string(),
        };
        let late = |_| unreachable(std::io::ErrorKind::TimedOut.into());
        let (host, port) = (self.authority.host(), self.authority.port());
        let stream = timeout(CONNECT, TcpStream::connect((host, port))).await.map_err(late)?.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ClientError::Tls { authority: authority(), error: Error::General(error.to_string()) })?;
        let connecting = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let stream = timeout(CONNECT, connecting).await.map_err(late)?.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned() {
                None => unreachable(error),
                Some(error) => tls_error(authority(), error),
            }
        })?;
        let (sender, connection) = http1::handshake(TokioIo::new(Idle::new(stream, IDLE)))
            .await
            .map_err(|error| ClientError::Broken { what: "connect".to_owned(), text: chain(&error) })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the registry ended");
            }
        });
        Ok(sender)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Connection({})", self.authority)
    }
}

fn tls_error(authority: Authority, error: Error) -> ClientError {
    match &error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            match other.downcast_ref::<OtherKey>() {
                Some(OtherKey { expected, found }) => {
                    ClientError::WrongKey { authority, expected: expected.clone(), found: *found }
                }
                None => ClientError::WrongCertificate { authority, error },
            }
        }
        Error::InvalidCertificate(_) => ClientError::WrongCertificate { authority, error },
        _ => ClientError::Tls { authority, error },
    }
}

/// An error and its causes: hyper says what, its cause says why.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// A server is who holds one of these keys.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Digest>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug, thiserror::Error)]
#[error("the server's key {found} is not one of the pinned ones")]
struct OtherKey {
    expected: Vec<Digest>,
    found: Digest,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = pin(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.pins.contains(&found) {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherKey { expected: self.pins.clone(), found };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(other)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
