//! A server in a temporary directory, raw requests to it, and Keeps with certificates.
//!
//! Raw requests go over hyper without our client, so that each side of the protocol is tested against somebody else.
//! Invariant: nothing here leaves the loopback; directories go with the values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use drawbridge::{
    Access, Declared, Handle, Hint, Limits, Repositories, Scope, Secret, SecretsKey, Settings, Storage, Tls, Tokens,
    serve,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::certificate::{self, Template};
use identity::ear::{Measurement, TcbStatus, Tee, VerifierId, WorkloadBinding};
use identity::issuer::{self, RootTemplate};
use identity::keys::key_digest;
use identity::release::Allowed;
use identity::{Class, Ear, Issuer, Nonce, ReleasePolicy, Signer, SpiffeId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use workload::Digest;
use workload::manifest::Manifest;
use workload::names::{Authority, Repository};
use workload::package::{Built, Package, Program};

pub(crate) use crate::key::Key;

/// A running server. Repositories: `open/a`, `open/b` (public), `secret/a`, `secret/b` (confidential, of [`World::owner`]).
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) server: Handle,
    pub(crate) owner: Key,
    pub(crate) steward: Key,
    /// Writes everywhere.
    pub(crate) token: Secret,
    /// Writes everywhere as well, but is somebody else.
    pub(crate) second: Secret,
    /// Writes to `open/a` only.
    pub(crate) narrow: Secret,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The OCI code of an error.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("a JSON body");
        body["errors"][0]["code"].as_str().expect("an error code").to_owned()
    }

    /// All that a peer can see of it, but for the date.
    pub(crate) fn appearance(&self) -> (StatusCode, Vec<(String, String)>, Vec<u8>) {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        (self.status, headers, self.body.clone())
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::directory(directory.path().join("store"));
        Self { directory, ..Self::at(storage, limits).await }
    }

    /// One that keeps secrets too.
    pub(crate) async fn with_secrets(limits: Limits, key: SecretsKey) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::directory(directory.path().join("store"));
        Self { directory, ..Self::of(storage, limits, Some(key)).await }
    }

    /// One that keeps things elsewhere.
    pub(crate) async fn at(storage: Storage, limits: Limits) -> Self {
        Self::of(storage, limits, None).await
    }

    async fn of(storage: Storage, limits: Limits, secrets: Option<SecretsKey>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (owner, steward) = (Key::new(), Key::new());
        let tokens = [(); 3].map(|()| Secret::generate().unwrap());
        let mut settings = settings(storage, &owner, &steward, &tokens, limits);
        settings.declared.secrets = secrets;
        let server = serve(settings, TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
        let [token, second, narrow] = tokens;
        Self { directory, server, owner, steward, token, second, narrow }
    }

    pub(crate) fn authority(&self) -> Authority {
        self.server.local_addr.to_string().parse().unwrap()
    }

    /// A request with the token that may write everywhere.
    pub(crate) async fn write(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.write_as(&self.token, method, path, headers, body).await
    }

    pub(crate) async fn write_as(
        &self,
        token: &Secret,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = format!("Bearer {}", token.expose());
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        request(self.server.local_addr, None, "http/1.1", method, path, &headers, body).await
    }

    /// A request by nobody in particular.
    pub(crate) async fn read(&self, method: Method, path: &str) -> Answer {
        request(self.server.local_addr, None, "http/1.1", method, path, &[], b"").await
    }

    /// A request by a Keep.
    pub(crate) async fn read_as(&self, keep: &Keep, method: Method, path: &str) -> Answer {
        request(self.server.local_addr, Some(keep), "http/1.1", method, path, &[], b"").await
    }

    /// Pushes a blob in one piece.
    pub(crate) async fn blob(&self, token: &Secret, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.write_as(token, Method::POST, &path, &[], bytes).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
        digest
    }

    /// Pushes a package and tags it.
    pub(crate) async fn package(&self, repository: &str, tag: &str, built: &Built) {
        for (_, bytes) in &built.blobs {
            self.blob(&self.token, repository, bytes).await;
        }
        let answer = self.manifest(repository, tag, &built.manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
    }

    pub(crate) async fn manifest(&self, repository: &str, reference: &str, bytes: &[u8]) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.write(Method::PUT, &path, &[("content-type", workload::package::MANIFEST)], bytes).await
    }

    /// A policy of `secret/a` that lets [`World::keep`] have any workload.
    pub(crate) fn policy(&self) -> ReleasePolicy {
        ReleasePolicy {
            repository: "secret/a".parse().unwrap(),
            version: 1,
            previous: None,
            owner: self.owner.spki().to_vec(),
            trust_domain: "example.org".parse().unwrap(),
            anchors: [key_digest(self.steward.spki())].into(),
            class: Class::Hardware,
            measurements: [Measurement::new([0xab; 48]).unwrap()].into(),
            workloads: Allowed::Any,
            deployments: Allowed::Only(BTreeSet::from(["shop".parse().unwrap()])),
            policies: Allowed::Any,
            maximum_age: None,
            secrets: BTreeMap::new(),
        }
    }

    /// What a Steward would say of a Keep of this owner with this workload.
    pub(crate) fn ear(&self, workload: Digest) -> Ear {
        Ear {
            issued_at: now(),
            nonce: Nonce::new(vec![5; 32]).unwrap(),
            verifier: VerifierId { build: "test 1".to_owned(), developer: "https://example.org".to_owned() },
            key: Digest::of(b""),
            id: SpiffeId {
                trust_domain: "example.org".parse().unwrap(),
                deployment: "shop".parse().unwrap(),
                role: "web".parse().unwrap(),
            },
            owner: Some(key_digest(self.owner.spki())),
            class: Class::Hardware,
            tee: Tee::Snp,
            product: "Milan".to_owned(),
            measurement: Measurement::new([0xab; 48]).unwrap(),
            signer: None,
            registers: vec![],
            brief: Digest::of(b"brief"),
            workload,
            publisher: None,
            workload_binding: WorkloadBinding::Hardware,
            tcb: "snp 8".to_owned(),
            tcb_status: TcbStatus::MeetsPolicy,
            advisories: Vec::new(),
            policy: Digest::of(b"policy"),
            platform: Digest::of(b"platform"),
        }
    }

    /// A Keep with these facts, certified by this world's Steward.
    pub(crate) fn keep(&self, facts: Ear) -> Keep {
        self.keep_since(facts, now() - 60)
    }

    /// One whose certificate began at this time.
    pub(crate) fn keep_since(&self, facts: Ear, since: u64) -> Keep {
        Keep::new(facts, &self.steward, since, now() + 3600)
    }
}

pub(crate) fn settings(
    store: Storage,
    owner: &Key,
    steward: &Key,
    [token, second, narrow]: &[Secret; 3],
    limits: Limits,
) -> Settings {
    let name = |text: &str| text.parse().unwrap();
    let one: Scope = "open/a".parse().unwrap();
    let tokens = Tokens::entry(&name("all"), token, &[Scope::All])
        + &Tokens::entry(&name("second"), second, &[Scope::All])
        + &Tokens::entry(&name("narrow"), narrow, &[one]);
    let secret = Access::Confidential { owner: key_digest(owner.spki()) };
    let repository = |text: &str| text.parse::<Repository>().unwrap();
    Settings {
        tls: Tls::self_made(&["127.0.0.1".to_owned()]).unwrap(),
        store,
        tokens: Tokens::parse("tokens.toml", &tokens).unwrap(),
        declared: Declared {
            repositories: Repositories::default()
                .with(repository("open/a"), Access::Public)
                .with(repository("open/b"), Access::Public)
                .with(repository("secret/a"), secret)
                .with(repository("secret/b"), secret),
            steward: Some(Hint {
                url: "https://steward.example.org".to_owned(),
                anchors: vec![key_digest(steward.spki())],
            }),
            ..Declared::default()
        },
        limits,
    }
}

/// The file of the store that has the bytes of this digest.
pub(crate) fn object(store: &Path, digest: &Digest) -> Option<PathBuf> {
    objects(store).into_iter().find(|file| std::fs::read(file).is_ok_and(|bytes| Digest::of(&bytes) == *digest))
}

/// The files of the store that have bytes of blobs, what is in flight included.
pub(crate) fn objects(store: &Path) -> Vec<PathBuf> {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    entries(&store.join("objects")).iter().flat_map(|folder| entries(folder)).collect()
}

/// A package whose program is a Wasm header and this text.
pub(crate) fn package(text: &str) -> Built {
    let program = Program::Wasm([b"\0asm\x01\0\0\0", text.as_bytes()].concat());
    Package::build(&Manifest::default(), program, vec![]).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a Keep shows: its chain (root last) and the key of the first certificate.
pub(crate) struct Keep {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) pkcs8: Vec<u8>,
}

/// The serial number of all certificates here.
pub(crate) const SERIAL: [u8; 16] = [0x5e; 16];

impl Keep {
    pub(crate) fn new(facts: Ear, steward: &Key, not_before: u64, not_after: u64) -> Self {
        let key = Key::new();
        let facts = Ear { key: key_digest(key.spki()), ..facts };
        let root = RootTemplate {
            common_name: "Test root".to_owned(),
            not_before: not_before - 86_400,
            not_after: not_after + 86_400,
            serial: [9; 16],
            path_len: 0,
            dns: Vec::new(),
        };
        let root = issuer::root(&root, steward).unwrap();
        let template = Template {
            spki: key.spki().to_vec(),
            dns: Vec::new(),
            not_before,
            not_after,
            serial: SERIAL,
            ear: facts.clone().sign(steward).unwrap(),
        };
        let leaf = certificate::issue(&template, &Issuer::read(&root).unwrap(), steward).unwrap();
        Self { chain: vec![leaf, root], pkcs8: key.pkcs8 }
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(
    server: SocketAddr,
    keep: Option<&Keep>,
    alpn: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_request(server, keep, alpn, method, path, headers, body).await.unwrap()
}

/// The same, of a server that may be gone.
pub(crate) async fn try_request(
    server: SocketAddr,
    keep: Option<&Keep>,
    alpn: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(connect(server, keep, alpn).await?);
    assert_eq!(stream.inner().get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    let mut request =
        Request::builder().method(method).uri(format!("https://{server}{path}")).header("host", server.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let response = if alpn == "h2" {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// A TLS connection that believes any server.
pub(crate) async fn connect(
    server: SocketAddr,
    keep: Option<&Keep>,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match keep {
        None => builder.with_no_client_auth(),
        Some(Keep { chain, pkcs8 }) => {
            let chain = chain.iter().cloned().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.clone()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384]
    }
}
