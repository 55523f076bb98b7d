//! The Steward over real sockets: the whole enrolment as a Keep does it, and everything a client can do wrong.
//!
//! No test measures time: where a limit must act, the test waits for what it does.

mod collateral;
mod est;
mod record;
mod reload;
mod routes;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/vendors.rs"]
#[allow(dead_code, reason = "one test uses a part")]
mod vendors;

#[path = "../../../evidence/tests/support/folder.rs"]
mod folder;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::{http1, http2},
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::{
    Algorithm, Signer as _,
    binding::{self, Purpose},
    csr::{CSR_LIMIT, Collateral, Evidence, SNP_MEDIA_TYPE},
    ear::Class,
    enrol::{Attested, Awaiting, Enrol, EnrolError, HttpRequest, Identity},
    issuer::Issuer,
    jws, pem,
    problem::Problem,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use silicon::ReportRequest;
use steward::{
    Handle, Limits, Settings, TlsSource, listen,
    policy::Policy,
    published::POLICY_KIND,
    serve,
    signer::{Authority, Key, Signatures},
};
use support::{CRL_END, DAY, MEASUREMENT, NOW, POLICY, World};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use workload::Digest;

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A running Steward for the owner and the chip of `world`.
async fn start(world: &World, change: impl FnOnce(&mut Settings)) -> Handle {
    let text = POLICY.replace("{owner}", &world.owner_digest().to_string());
    let policy = Policy::parse("policy.toml", &text, world.folder.path()).unwrap();
    let mut settings = Settings::new(policy);
    settings.clock = clock;
    change(&mut settings);
    serve(settings, listen(loopback()).await.unwrap()).await.unwrap()
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: hyper::header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The refusal, which must be problem details with the same status.
    #[track_caller]
    fn problem(&self) -> Problem {
        assert_eq!(self.header(CONTENT_TYPE), "application/problem+json");
        assert_eq!(self.header(CACHE_CONTROL), "no-store");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }

    #[track_caller]
    fn cause(&self) -> String {
        self.problem().checks[0].id.clone()
    }
}

async fn send(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Full<Bytes>>) -> Answer {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    driver.abort();
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn connect(handle: &Handle) -> TcpStream {
    TcpStream::connect(handle.local_addr).await.unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "steward").body(Full::default()).unwrap()
}

fn post(kind: &str, accept: Option<&str>, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post("/").header("host", "steward");
    if !kind.is_empty() {
        request = request.header(CONTENT_TYPE, kind);
    }
    if let Some(accept) = accept {
        request = request.header(ACCEPT, accept);
    }
    request.body(Full::new(body.into())).unwrap()
}

fn translate(request: HttpRequest) -> Request<Full<Bytes>> {
    let HttpRequest { method, path, headers, body } = request;
    let mut out = Request::builder().method(method).uri(path).header("host", "steward");
    for (name, value) in headers {
        out = out.header(name, value);
    }
    out.body(Full::new(body.into())).unwrap()
}

/// The request of a Keep of `world`, by identity's own enrolment; `lie` may change the report before it is signed.
async fn asked(
    world: &World,
    handle: &Handle,
    key: &Key,
    lie: impl Fn(&mut ReportRequest),
) -> Result<(HttpRequest, Awaiting), EnrolError> {
    let endorsements = vec![world.amd.vcek_der(world.amd.tcb()), world.amd.ask_der().to_vec()];
    let collateral = vec![support::crl(world.amd.crl_der(NOW - DAY, CRL_END, &[]))];
    asked_with(world, handle, key, lie, (endorsements, collateral)).await
}

/// The same with this beside its report.
async fn asked_with(
    world: &World,
    handle: &Handle,
    key: &Key,
    lie: impl Fn(&mut ReportRequest),
    (endorsements, collateral): (Vec<Vec<u8>>, Vec<Collateral>),
) -> Result<(HttpRequest, Awaiting), EnrolError> {
    let mut brief = world.brief();
    brief.steward.as_mut().unwrap().anchors = vec![handle.anchor];
    let deployment = world.deployment().seal(&world.owner).unwrap();
    let enrol = Enrol::new(&brief.encode(), Some(deployment), None)?;

    let answer = send(connect(handle).await, translate(enrol.nonce_request())).await;
    let challenge = enrol.nonce_response(answer.status.as_u16(), &answer.body)?;
    assert_eq!(challenge.expires, NOW + 300);

    let mut report = ReportRequest {
        measurement: MEASUREMENT,
        report_data: binding::report_data(Purpose::Issue, key.spki(), &enrol.brief_hash(), &challenge.nonce),
        host_data: enrol.brief_hash(),
        ..world.amd.request()
    };
    lie(&mut report);
    let attested = Attested {
        evidence: Evidence { media_type: SNP_MEDIA_TYPE.to_owned(), bytes: world.amd.report(&report).to_vec() },
        endorsements,
        collateral,
    };
    enrol.certificate_request(&challenge.nonce, attested, key)
}

/// The same, and its certificate.
async fn enrol(world: &World, handle: &Handle, lie: impl Fn(&mut ReportRequest)) -> Result<Identity, EnrolError> {
    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let (request, awaiting) = asked(world, handle, &key, lie).await?;
    let answer = send(connect(handle).await, translate(request)).await;
    awaiting.certificate_response(answer.status.as_u16(), answer.header(CONTENT_TYPE), &answer.body, NOW, &Signatures)
}

#[tokio::test]
async fn rule_19_the_policy_can_be_read_by_who_pins_its_digest() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let answer = send(connect(&handle).await, get("/policy")).await;
    assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, "application/jose"));
    let text = std::str::from_utf8(&answer.body).unwrap();
    let root = pem::decode(&handle.root_pem).unwrap();
    let spki = Issuer::read(&root[0]).unwrap().spki;
    let payload = jws::open(POLICY_KIND, text, &spki, &Signatures).unwrap();
    assert_eq!(Digest::of(&payload), handle.policy);
    let values: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(values["trust_domain"], "example.org");
    assert_eq!(values["name"][0]["owner"], world.owner_digest().to_string());
    let other = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    assert!(jws::open(POLICY_KIND, text, other.spki(), &Signatures).is_err());
}

#[tokio::test]
async fn the_trust_bundle_has_the_root_as_spiffe_has_it() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let answer = send(connect(&handle).await, get("/trust")).await;
    assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, "application/json"));
    let bundle: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let [key] = &bundle["keys"].as_array().unwrap()[..] else { panic!("{bundle}") };
    for (member, value) in [("use", "x509-svid"), ("kty", "EC"), ("crv", "P-256")] {
        assert_eq!(key[member], value);
    }
    let root = pem::decode(&handle.root_pem).unwrap();
    let decode = |value: &serde_json::Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    assert_eq!(STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap(), root[0]);
    let spki = Issuer::read(&root[0]).unwrap().spki;
    assert_eq!([decode(&key["x"]), decode(&key["y"])].concat(), spki[spki.len() - 64..]);
    assert_eq!(key["donjon.anchor"], handle.anchor.to_string());
    assert_eq!(bundle["spiffe_refresh_hint"], DAY);
}

/// While one root follows another, everybody is told of both.
#[tokio::test]
async fn the_trust_bundle_has_the_root_that_comes_next() {
    let world = World::new();
    let next = Authority::generate(Class::Insecure, Algorithm::EcdsaP384Sha384, &[], NOW + 7).unwrap().certificates;
    let path = world.folder.path().join("next.pem");
    std::fs::write(&path, &next).unwrap();
    let later = || UNIX_EPOCH + Duration::from_secs(NOW + 7);
    let handle = start(&world, |settings| {
        settings.other_roots = Some(path.clone());
        settings.clock = later;
    })
    .await;
    let answer = send(connect(&handle).await, get("/trust")).await;
    let bundle: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let [own, following] = &bundle["keys"].as_array().unwrap()[..] else { panic!("{bundle}") };
    assert_eq!(own["donjon.anchor"], handle.anchor.to_string());
    let der = &pem::decode(&next).unwrap()[0];
    assert_eq!(STANDARD.decode(following["x5c"][0].as_str().unwrap()).unwrap(), *der);
    assert_eq!(
        (&following["crv"], &following["donjon.anchor"]),
        (&"P-384".into(), &Issuer::read(der).unwrap().key().to_string().into())
    );
    assert_eq!(bundle["spiffe_sequence"], NOW + 7);
}

#[tokio::test]
async fn what_a_steward_does_is_counted_and_told_to_who_was_meant_to_know() {
    let world = World::new();
    let silent = start(&world, |_| {}).await;
    assert_eq!(send(connect(&silent).await, get("/metrics")).await.status, StatusCode::NOT_FOUND, "by default");

    let handle = start(&world, |settings| settings.counted = true).await;
    enrol(&world, &handle, |_| {}).await.unwrap();
    enrol(&world, &handle, |_| {}).await.unwrap();
    enrol(&world, &handle, |report| report.measurement = [1; 48]).await.unwrap_err();
    // What an asker says is no label: nobody fills the memory of whoever collects.
    for at in 0..3 {
        send(connect(&handle).await, get(&format!("/nothing/{at}"))).await;
    }
    let answer = send(connect(&handle).await, get("/metrics")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header(CONTENT_TYPE).starts_with("application/openmetrics-text"), "{}", answer.header(CONTENT_TYPE));
    let text = std::str::from_utf8(&answer.body).unwrap();
    let end = NOW + steward::signer::authority::ROOT_LIFETIME;
    for line in [
        r#"donjon_steward_answers_total{method="GET",path="/nonce",status="200"} 3"#,
        r#"donjon_steward_answers_total{method="POST",path="/",status="200"} 2"#,
        r#"donjon_steward_answers_total{method="POST",path="/",status="403"} 1"#,
        r#"donjon_steward_answers_total{method="GET",path="other",status="404"} 3"#,
        "donjon_steward_certificates_total 2",
        r#"donjon_steward_refusals_total{check="snp.measurement.allowed"} 1"#,
        "donjon_steward_judging_seconds_count 3",
        &format!("donjon_steward_authority_end_seconds {end}"),
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// Who sends Keeps to several Stewards leaves this one out.
#[tokio::test]
async fn a_steward_whose_authority_has_ended_answers_but_is_not_ready() {
    static TIME: AtomicU64 = AtomicU64::new(NOW);
    let world = World::new();
    let clock = || UNIX_EPOCH + Duration::from_secs(TIME.load(Ordering::SeqCst));
    let handle = start(&world, |settings| settings.clock = clock).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(connect(&handle).await, get(path)).await.status, StatusCode::OK, "{path}");
    }
    TIME.fetch_add(steward::signer::authority::ROOT_LIFETIME, Ordering::SeqCst);
    assert_eq!(send(connect(&handle).await, get("/healthz")).await.status, StatusCode::OK);
    let answer = send(connect(&handle).await, get("/readyz")).await;
    assert_eq!((answer.status, answer.cause().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "authority.validity"));
    assert!(answer.headers.get(RETRY_AFTER).is_none());
}

#[tokio::test]
async fn rule_11_a_keep_enrols_and_is_told_why_when_it_may_not() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let identity = enrol(&world, &handle, |_| {}).await.unwrap();
    assert_eq!(identity.certificate.id.to_string(), "spiffe://example.org/shop/web");
    assert_eq!(*identity.certificate.anchor(), handle.anchor);

    let error = enrol(&world, &handle, |report| report.policy |= 1 << 19).await;
    let Err(EnrolError::Refused { status: 403, problem }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(problem.kind, "urn:donjon:steward:evidence");
    assert_eq!(problem.checks[0].id, "snp.policy.debug");
    assert!(problem.detail.starts_with("snp.policy.debug: expected"));
    handle.shutdown().await;
}

#[tokio::test]
async fn the_root_on_the_handle_is_the_anchor() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let root = pem::decode(&handle.root_pem).unwrap().remove(0);
    assert_eq!(identity::Issuer::read(&root).unwrap().key(), handle.anchor);
    assert_eq!(handle.url(), format!("http://{}", handle.local_addr));
    assert_eq!(handle.tls_pin, None);
}

#[tokio::test]
async fn a_steward_says_what_it_is() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let answer = send(connect(&handle).await, get("/")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header(CONTENT_TYPE), "application/json");
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = serde_json::json!({
        "service": "donjon-steward",
        "version": env!("CARGO_PKG_VERSION"),
        "trust_domain": "example.org",
        "class": "insecure",
        "anchors": [handle.anchor.to_string()],
        "policy": handle.policy.to_string(),
        "tees": ["snp"],
        "certificate_lifetime": 86400,
    });
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_nonce_is_fresh_each_time_and_never_cached() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let one = send(connect(&handle).await, get("/nonce")).await;
    let two = send(connect(&handle).await, get("/nonce")).await;
    assert_eq!(one.status, StatusCode::OK);
    assert_eq!(one.header(CACHE_CONTROL), "no-store");
    assert_ne!(one.body, two.body);
}

#[tokio::test]
async fn the_chain_comes_as_pem_or_as_pkipath() {
    let world = World::new();
    let text = POLICY.replace("{owner}", &world.owner_digest().to_string());
    let policy = Policy::parse("policy.toml", &text, world.folder.path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // The Steward of the world and the one on the wire have the same keys, so that the world's Keeps can ask
    // it.
    let made =
        steward::signer::Authority::generate(identity::Class::Insecure, Algorithm::EcdsaP384Sha384, &[], NOW).unwrap();
    std::fs::write(path("ca.key"), made.key.as_bytes()).unwrap();
    std::fs::write(path("ca.pem"), &made.certificates).unwrap();
    std::fs::write(path("nonce.key"), "7".repeat(64)).unwrap();
    let settings = |policy: Policy| {
        let mut settings = Settings::new(policy);
        settings.clock = clock;
        settings.authority = steward::AuthoritySource::Files { key: path("ca.key"), certificates: path("ca.pem") };
        settings.nonce_key = steward::NonceKeySource::File(path("nonce.key"));
        settings
    };
    let steward = settings(policy).open().unwrap().steward;
    let world = World { steward, ..world };
    let policy = Policy::parse("policy.toml", &text, world.folder.path()).unwrap();
    let handle = serve(settings(policy), listen(loopback()).await.unwrap()).await.unwrap();

    let csr = world.keep().csr();
    let ask = async |accept| {
        let request = post("application/pkcs10", accept, csr.clone());
        send(connect(&handle).await, request).await
    };
    let pem_answer = ask(None).await;
    assert_eq!(pem_answer.status, StatusCode::OK);
    assert_eq!(pem_answer.header(CONTENT_TYPE), "application/pem-certificate-chain");
    assert_eq!(pem_answer.header(CACHE_CONTROL), "no-store");
    let pem_chain = pem::decode(std::str::from_utf8(&pem_answer.body).unwrap()).unwrap();

    let path_answer = ask(Some("application/pkix-pkipath")).await;
    assert_eq!(path_answer.header(CONTENT_TYPE), "application/pkix-pkipath");
    let path_chain = pem::decode_pkipath(&path_answer.body).unwrap();
    assert_eq!(path_chain.len(), 2);
    // Another signature, the same root and key.
    assert_eq!(path_chain[1], pem_chain[1]);
    let key = |der: &[u8]| identity::KeepCertificate::read(der).unwrap().key();
    assert_eq!(key(&path_chain[0]), key(&pem_chain[0]));

    let refused = ask(Some("text/html")).await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(refused.cause(), "http.accept");
}

/// As they sent it, and the one form they read.
#[tokio::test]
async fn a_keep_of_enarx_is_answered_with_a_path_unless_it_asks_for_another_form() {
    let Some(folder) = folder::Folder::open() else { return };
    let text = "trust_domain = \"example.org\"\nclass = \"insecure\"\nany_platform = true\n[compat]\nenarx = true\n\
                [snp]\nany_measurement = true\n";
    let then = || UNIX_EPOCH + Duration::from_secs(1_669_852_800);
    let mut settings = Settings::new(Policy::parse("policy.toml", text, Path::new("")).unwrap());
    settings.clock = then;
    let handle = serve(settings, listen(loopback()).await.unwrap()).await.unwrap();
    let csr = folder.read("enarx/snp/milan.signed.crl.csr");
    for (accept, kind) in [
        (None, "application/pkix-pkipath"),
        (Some("*/*"), "application/pkix-pkipath"),
        (Some("application/pem-certificate-chain"), "application/pem-certificate-chain"),
    ] {
        let answer = send(connect(&handle).await, post("application/pkcs10", accept, csr.clone())).await;
        assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, kind));
        if kind.ends_with("pkipath") {
            let chain = pem::decode_pkipath(&answer.body).unwrap();
            assert_eq!(chain.len(), 2, "issuer, leaf");
        }
    }
    handle.shutdown().await;
}

#[tokio::test]
async fn what_is_not_of_the_form_is_refused_with_a_reason() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let cases = [
        (get("/nothing"), 404, "http.path"),
        (Request::delete("/").header("host", "s").body(Full::default()).unwrap(), 405, "http.method"),
        (post("", None, "x"), 415, "http.content_type"),
        (post("application/x-pem-file", None, "x"), 415, "http.content_type"),
        (post("application/pkcs10", None, ""), 400, "csr.format"),
        (post("application/pkcs10", None, "-----BEGIN CERTIFICATE REQUEST-----"), 400, "csr.format"),
        (post("application/pkcs10", None, vec![0x30; CSR_LIMIT]), 400, "csr.format"),
    ];
    for (request, status, id) in cases {
        let answer = send(connect(&handle).await, request).await;
        assert_eq!(answer.status.as_u16(), status, "{id}");
        assert_eq!(answer.cause(), id);
        if status == 405 {
            assert!(answer.header(ALLOW).contains("POST"));
        }
    }
    // The control: the same connection serves.
    assert_eq!(send(connect(&handle).await, get("/nonce")).await.status, StatusCode::OK);
}

/// One request over a connection that stays open.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /none HTTP/1.1\r\nhost: s\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The body is one JSON object, and the last thing in it is the list of checks.
    while !answer.ends_with(b"}]}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
}

/// Waits until the server has closed the connection, with or without a reset.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

/// What must happen, but would never if the server were wrong.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), event).await.expect("the server does it")
}

/// Writes bytes as they are, and reads what comes until the server closes.
async fn raw(handle: &Handle, bytes: &[u8]) -> String {
    let mut stream = connect(handle).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let head = "POST / HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-type: application/pkcs10\r\n";

    // Said to be too large: nothing of it has to be sent.
    let said = format!("{head}content-length: {}\r\n\r\n", CSR_LIMIT + 1);
    let answer = raw(&handle, said.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("http.size"), "{answer}");

    // Not said: refused at the first byte too many.
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", CSR_LIMIT + 1).into_bytes();
    chunked.extend(vec![0x30; CSR_LIMIT + 1]);
    let answer = raw(&handle, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// Short, so that a test need not wait long; only what never comes is measured by it.
const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn whoever_sends_a_header_or_body_too_slowly_is_cut_off() {
    let world = World::new();
    let patient = start(&world, |_| {}).await;
    assert_eq!(send(connect(&patient).await, get("/nonce")).await.status, StatusCode::OK);

    let handle = start(&world, |settings| settings.limits.header = SOON).await;
    // Half a header, and none at all: `raw` returns when the server has closed.
    assert!(!raw(&handle, b"GET /nonce HTTP/1.1\r\nhost:").await.contains("200 OK"));
    assert!(!raw(&handle, b"").await.contains("200 OK"));

    let handle = start(&world, |settings| settings.limits.body = SOON).await;
    let answer =
        raw(&handle, b"POST / HTTP/1.1\r\nhost: s\r\ncontent-type: application/pkcs10\r\ncontent-length: 100\r\n\r\nx")
            .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("http.time"), "{answer}");
}

#[tokio::test]
async fn a_connection_ends_at_its_time_limit() {
    let world = World::new();
    let handle = start(&world, |settings| {
        settings.limits.connection = SOON;
        settings.limits.header = Duration::from_secs(600);
    })
    .await;
    assert_eq!(raw(&handle, b"").await, "");
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_sent_away() {
    let world = World::new();
    let handle = start(&world, |settings| settings.limits.requests = 1).await;
    let csr = post("application/pkcs10", None, "x");
    assert_eq!(send(connect(&handle).await, csr.clone()).await.cause(), "csr.format");

    let handle = start(&world, |settings| settings.limits.requests = 0).await;
    let answer = send(connect(&handle).await, csr).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header(RETRY_AFTER), "1");
    assert_eq!(answer.cause(), "http.busy");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let world = World::new();
    let handle = start(&world, |settings| {
        settings.limits.connections = 1;
        settings.limits.header = Duration::from_secs(600);
        settings.limits.connection = Duration::from_secs(600);
    })
    .await;
    let mut first = connect(&handle).await;
    ask(&mut first).await;
    // The one place is taken; the second is served when it is free again, and not while the first one still asks.
    let second = tokio::spawn(send(connect(&handle).await, get("/nonce")));
    for _ in 0..50 {
        ask(&mut first).await;
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.await.unwrap().status, StatusCode::OK);
}

// ---- HTTPS ----

/// Knows a server by the digest of its key, as a Keep knows its Steward.
#[derive(Debug)]
struct Pin(Digest);

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use x509_cert::der::{Decode as _, Encode as _};
        let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
        let spki = certificate.tbs_certificate().subject_public_key_info();
        if Digest::of(&spki.to_der().unwrap()) == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another key".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect_tls(
    handle: &Handle,
    pin: Digest,
    alpn: &[u8],
    version: &'static rustls::SupportedProtocolVersion,
) -> std::io::Result<TlsStream> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pin(pin)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), connect(handle).await)
        .await
}

fn self_made(settings: &mut Settings) {
    settings.tls = TlsSource::SelfMade { names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()] };
}

#[tokio::test]
async fn rule_16_https_is_tls_1_3_known_by_its_pin_with_http_1_and_2() {
    let world = World::new();
    let handle = start(&world, self_made).await;
    let pin = handle.tls_pin.unwrap();
    assert!(handle.url().starts_with("https://"));

    let tls13 = &rustls::version::TLS13;
    let stream = connect_tls(&handle, pin, b"http/1.1", tls13).await.unwrap();
    assert_eq!(send(stream, get("/nonce")).await.status, StatusCode::OK);

    let stream = connect_tls(&handle, pin, b"h2", tls13).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/nonce").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);

    assert!(connect_tls(&handle, Digest::of(b"other"), b"h2", tls13).await.is_err());
    assert!(connect_tls(&handle, pin, b"h2", &rustls::version::TLS12).await.is_err());
    handle.shutdown().await;
}

/// What a connection can make the Steward hold is said in the settings it sends: one stream, one small window.
#[tokio::test]
async fn a_connection_of_http_2_has_one_request_at_a_time() {
    let world = World::new();
    let handle = start(&world, self_made).await;
    let mut stream = connect_tls(&handle, handle.tls_pin.unwrap(), b"h2", &rustls::version::TLS13).await.unwrap();
    // The preface, and settings without any (RFC 9113 section 3.4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame has the settings");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.unwrap();
    let value = |id: u16| {
        let found = settings.chunks(6).find(|setting| setting[..2] == id.to_be_bytes());
        found.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    assert_eq!(value(3), Some(1), "SETTINGS_MAX_CONCURRENT_STREAMS");
    assert_eq!(value(4), Some(64 * 1024), "SETTINGS_INITIAL_WINDOW_SIZE");
}

#[tokio::test]
async fn handshakes_that_do_not_go_on_block_nobody() {
    let world = World::new();
    let handle = start(&world, self_made).await;
    let pin = handle.tls_pin.unwrap();
    // Each of them has its whole handshake still to do while others are served.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(connect(&handle).await);
    }
    let stream = connect_tls(&handle, pin, b"http/1.1", &rustls::version::TLS13).await.unwrap();
    assert_eq!(send(stream, get("/nonce")).await.status, StatusCode::OK);
    // Still open: reading would wait, it does not end.
    assert!(silent.iter().all(|stream| stream.try_read(&mut [0]).is_err()));
}

#[tokio::test]
async fn a_handshake_has_a_time_limit() {
    let world = World::new();
    let handle = start(&world, |settings| {
        self_made(settings);
        settings.limits.handshake = SOON;
        settings.limits.connection = Duration::from_secs(600);
    })
    .await;
    assert_eq!(raw(&handle, b"").await, "");
}

// ---- start and end ----

#[tokio::test]
async fn a_port_in_use_is_said_with_a_hint() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let error = listen(handle.local_addr).await.unwrap_err();
    assert!(error.to_string().contains(&handle.local_addr.to_string()));
    assert!(error.hint().unwrap().contains("another process"));
    // The control: after the end the port is free.
    let address = handle.local_addr;
    handle.shutdown().await;
    assert!(listen(address).await.is_ok());
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_a_dropped_handle_ends_the_server() {
    let world = World::new();
    let handle = start(&world, |settings| {
        // No other limit ends this connection while the test waits.
        settings.limits.grace = Duration::from_secs(600);
        settings.limits.header = Duration::from_secs(600);
        settings.limits.connection = Duration::from_secs(600);
    })
    .await;
    let mut stream = connect(&handle).await;
    ask(&mut stream).await;
    // Returns although the grace is long: an idle connection is not a running request.
    soon(handle.shutdown()).await;
    closed(&mut stream).await;

    let handle = start(&world, |_| {}).await;
    let mut stream = connect(&handle).await;
    ask(&mut stream).await;
    drop(handle);
    closed(&mut stream).await;
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end_within_the_grace() {
    let world = World::new();
    let handle = start(&world, |settings| {
        self_made(settings);
        settings.limits.grace = SOON;
        settings.limits.handshake = Duration::from_secs(600);
        settings.limits.connection = Duration::from_secs(600);
    })
    .await;
    let mut silent = connect(&handle).await;
    let pin = handle.tls_pin.unwrap();
    // Connections are accepted in order: once this one is served, the silent one is in its handshake.
    let _served = connect_tls(&handle, pin, b"h2", &rustls::version::TLS13).await.unwrap();
    soon(handle.shutdown()).await;
    closed(&mut silent).await;
}

#[tokio::test]
async fn the_limits_have_defaults_and_a_policy_is_needed() {
    let limits = Limits::default();
    assert!(limits.judging >= 1 && limits.connections >= limits.judging);
    assert!(Policy::parse("p", "", Path::new("")).is_err());
}
