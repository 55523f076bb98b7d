//! Somebody outside: an ordinary TLS client that knows the service's name and the CA's root certificate, and nothing of
//! TEEs. Also reads the facts that the certificate carries, for those who want to know more than "it is the right name".

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use identity::certificate::KeepCertificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::Failure;

/// What an outsider gets.
pub(crate) struct Visit {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) certificate: KeepCertificate,
}

/// `GET /` at `https://name`, believing `root_pem` and the name, as any TLS client does.
pub(crate) async fn visit(address: SocketAddr, name: &str, root_pem: &str) -> Result<Visit, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::caused(format_args!("https://{name} at {address}"), error);
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
        roots.add(root.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(|error| failed(&error))?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    let certificate = KeepCertificate::read(&shown.unwrap_or_default()).map_err(|error| failed(&error))?;
    let (status, body) = get(stream, name, "/").await.map_err(|error| failed(&error))?;
    Ok(Visit { status, body, certificate })
}

/// The same by the system's curl; `None` if there is none.
pub(crate) fn curl(address: SocketAddr, name: &str, root: &Path) -> Option<Result<String, Failure>> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*", "--cacert"])
        .arg(root)
        .args(["--resolve", &format!("{name}:{}:{}", address.port(), address.ip())])
        .arg(format!("https://{name}:{}/", address.port()))
        .output()
        .ok()?;
    Some(if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::new(format_args!("curl: {}", String::from_utf8_lossy(&output.stderr).trim())))
    })
}

/// `GET` over plain HTTP; what goes wrong is empty, and shows where the answer is read.
pub(crate) async fn plain_get(authority: &str, path: &str) -> String {
    let Ok(stream) = TcpStream::connect(authority).await else { return String::new() };
    get(stream, authority, path).await.map_or_else(|_| String::new(), |(_, body)| body)
}

/// `POST` of a certificate request over plain HTTP.
pub(crate) async fn plain_post(authority: &str, path: &str, body: Vec<u8>) -> std::io::Result<(u16, Vec<u8>)> {
    let stream = TcpStream::connect(authority).await?;
    let mut request = hyper::Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = hyper::Method::POST;
    let kind = hyper::header::HeaderValue::from_static(identity::csr::CSR_MEDIA_TYPE);
    request.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    let (status, body) = send(stream, authority, path, request).await.map_err(std::io::Error::other)?;
    Ok((status, body.to_vec()))
}

async fn get<S>(stream: S, host: &str, path: &str) -> Result<(u16, String), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (status, body) = send(stream, host, path, hyper::Request::new(Full::default())).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn send<S>(
    stream: S,
    host: &str,
    path: &str,
    mut request: hyper::Request<Full<Bytes>>,
) -> Result<(u16, Bytes), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Whoever waits for the answer learns of the failure there.
        _ = connection.await;
    });
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = host.parse() {
        request.headers_mut().insert(hyper::header::HOST, host);
    }
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, body))
}
