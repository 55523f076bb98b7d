//! Requests to a Steward, through its routes: method, path, content type, what is accepted, body.
//!
//! What must hold: every request has an answer; one that refuses is a problem document with a reason and says what to do, or is about the
//! method or path alone; nothing that was posted is answered for a cache to keep, and nobody gets a certificate for what he made up.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use identity::csr::CSR_LIMIT;
use identity::ear::Class;
use identity::problem::Problem;
use steward::nonce::NonceKey;
use steward::{Limits, Steward, http::routes, policy::Policy, signer::Authority};
use tower::ServiceExt as _;

use crate::targets::request;
use crate::{Defect, Target, number};

pub(crate) const HTTP: Target = Target { name: "http", reads: "steward::http", short: 500, seeds, run };

const NOW: u64 = 1_800_000_000;

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn router() -> &'static (tokio::runtime::Runtime, Router) {
    static ROUTER: OnceLock<(tokio::runtime::Runtime, Router)> = OnceLock::new();
    ROUTER.get_or_init(|| {
        let policy = "trust_domain = \"example.org\"\nclass = \"insecure\"\nany_platform = true\n\
                      [compat]\nenarx = true\n[snp]\nany_measurement = true\n[sgx]\nany_measurement = true\n";
        let policy = Policy::parse("policy.toml", policy, "/nonexistent".as_ref()).expect("a policy");
        let authority = Authority::random(Class::Insecure, NOW).expect("an authority");
        let nonces = NonceKey::from_hex(&[b'7'; 64]).expect("a key");
        let steward = Arc::new(Steward::new(policy, authority, &nonces).expect("a Steward"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        (runtime, routes(steward, &Limits::default(), clock))
    })
}

/// `METHOD PATH`, content type and accepted types in a line each, an empty line, the body.
fn request(input: &[u8]) -> Option<Request<Body>> {
    let at = input.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = input.split_at(at);
    let mut lines = std::str::from_utf8(head).ok()?.split('\n');
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in [header::CONTENT_TYPE, header::ACCEPT].into_iter().zip(lines) {
        request = request.header(name, value);
    }
    request.body(Body::from(body.get(2..)?.to_vec())).ok()
}

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let Some(request) = request(input) else { return vec![0] };
    let (runtime, router) = router();
    let (posted, path) = (request.method() == Method::POST, request.uri().path().to_owned());
    let (status, headers, body) = runtime.block_on(async {
        let answer = router.clone().oneshot(request).await.unwrap_or_else(|error| match error {});
        let (mut parts, body) = answer.into_parts();
        if defect == Defect::Planted {
            parts.headers.remove(header::CACHE_CONTROL);
        }
        (parts.status, parts.headers, to_bytes(body, 4 * CSR_LIMIT).await.expect("a bounded answer"))
    });
    assert!(!status.is_server_error(), "{status}");
    assert!(!posted || status != StatusCode::OK, "it gave a certificate");
    let kept = headers.get(header::CACHE_CONTROL).is_none_or(|value| value != "no-store");
    assert!(!(kept && (posted || path.ends_with("/nonce"))) || status == StatusCode::NOT_FOUND, "a cache may keep it");
    if !status.is_client_error() {
        return vec![number(&(status.as_u16(), path))];
    }
    let problem: Problem = serde_json::from_slice(&body).expect("a problem document");
    let check = problem.checks.first().expect("a reason");
    assert_eq!(problem.status, status.as_u16());
    assert!(!check.id.is_empty() && !check.remedy.is_empty(), "{problem:?}");
    vec![number(&(status.as_u16(), &check.id)), number(&posted)]
}

fn seeds() -> Vec<Vec<u8>> {
    let csr = "application/pkcs10";
    let bundle = "application/vnd.steward.pkcs10-bundle.v1";
    // Without the byte by which that target knows how it is to be read.
    let requests: Vec<Vec<u8>> = request::seeds().iter().filter_map(|seed| seed.get(1..).map(<[u8]>::to_vec)).collect();
    let text = |head: &str, body: &[u8]| [head.as_bytes(), b"\n\n", body].concat();
    let mut seeds: Vec<_> = ["/", "/nonce", "/policy", "/trust", "/healthz", "/readyz", "/.well-known/est/csrattrs"]
        .iter()
        .map(|path| text(&format!("GET {path}\n"), b""))
        .collect();
    for request in &requests {
        seeds.push(text(&format!("POST /\n{csr}\napplication/pem-certificate-chain;q=0.5, */*"), request));
        seeds.push(text(&format!("POST /workload\n{csr}\napplication/pkix-pkipath"), request));
        let base64 = STANDARD.encode(request);
        seeds.push(text(&format!("POST /.well-known/est/simpleenroll\n{csr}\n*/*"), base64.as_bytes()));
    }
    let all = requests.concat();
    let [high, low] = u16::try_from(all.len()).expect("short").to_be_bytes();
    seeds.push(text(&format!("POST /\n{bundle}\n"), &[&[0x30, 0x82, high, low][..], &all].concat()));
    seeds
}
