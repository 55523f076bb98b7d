//! Requests to a Drawbridge, through its routes: names, manifests, ranges, tokens, queries, whatever a stranger sends.
//!
//! What must hold: every request has an answer; one that refuses says so in the form of its interface, and is never the server's
//! fault; nobody changes anything without the token, and nobody without a Keep's certificate sees what is confidential.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use drawbridge::{Access, Declared, Limits, Repositories, Scope, Secret, Settings, Storage, Tls, Tokens, routes};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;
use workload::Digest;

use crate::{Defect, Target, number};

pub(crate) const DRAWBRIDGE: Target =
    Target { name: "drawbridge", reads: "drawbridge::routes", short: 150, seeds, run };

/// The one token there is.
const TOKEN: &str = "swordfish-swordfish-swordfish-swordfish-fish";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What is there when a request comes: a config, a layer and a manifest, in both repositories.
const CONFIG: &[u8] = b"{}";
const LAYER: &[u8] = b"0123456789";
/// More than any answer has here.
const ANSWER: usize = 16 * 1024 * 1024;

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn manifest() -> Vec<u8> {
    let descriptor =
        |bytes: &[u8]| serde_json::json!({ "mediaType": "a/b", "digest": digest(bytes), "size": bytes.len() });
    let config = descriptor(CONFIG);
    serde_json::json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [descriptor(LAYER)] })
        .to_string()
        .into_bytes()
}

/// A new one for each request, so that what comes of it is a function of the request.
async fn fresh() -> Router {
    let owner = Digest::of(b"an owner's key");
    let repository = |text: &str| text.parse().expect("a repository");
    let token = Secret::new(TOKEN.to_owned());
    let file = Tokens::entry(&"ci".parse().expect("a name"), &token, &[Scope::All]);
    let settings = Settings {
        tls: Tls::self_made(&["localhost".to_owned()]).expect("a certificate"),
        store: Storage::memory(),
        tokens: Tokens::parse("tokens.toml", &file).expect("tokens"),
        declared: Declared {
            repositories: Repositories::default()
                .with(repository("open/a"), Access::Public)
                .with(repository("secret/a"), Access::Confidential { owner }),
            ..Declared::default()
        },
        limits: Limits::default(),
    };
    let router = routes(settings).await.expect("a Drawbridge");
    for repository in ["open/a", "secret/a"] {
        for bytes in [CONFIG, LAYER] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(bytes));
            push(&router, Method::POST, &path, "application/octet-stream", bytes).await;
        }
        push(&router, Method::PUT, &format!("/v2/{repository}/manifests/v1"), MANIFEST, &manifest()).await;
    }
    router
}

async fn push(router: &Router, method: Method, path: &str, kind: &str, bytes: &[u8]) {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}")).body(Body::from(bytes.to_vec()));
    let answer = router.clone().oneshot(request.expect("a request")).await.unwrap_or_else(|error| match error {});
    assert_eq!(answer.status(), StatusCode::CREATED);
}

/// `METHOD PATH`, a header in each line, an empty line, the body.
fn request(input: &[u8]) -> Option<Request<Body>> {
    let at = input.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = input.split_at(at);
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, path) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(at);
        request = request.header(name, value.get(1..)?.trim_ascii());
    }
    request.body(Body::from(body.get(2..)?.to_vec())).ok()
}

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let Some(mut request) = request(input) else { return vec![0] };
    let basic = |value: &[u8]| STANDARD.decode(value).is_ok_and(|pair| pair.ends_with(format!(":{TOKEN}").as_bytes()));
    let opens = |value: &[u8]| {
        let at = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at(at);
        let rest = rest.trim_ascii();
        scheme.eq_ignore_ascii_case(b"bearer") && rest == TOKEN.as_bytes()
            || scheme.eq_ignore_ascii_case(b"basic") && basic(rest)
    };
    let shown: Vec<_> = request.headers().get_all(header::AUTHORIZATION).iter().collect();
    let writer = matches!(shown.as_slice(), [one] if opens(one.as_bytes()));
    // Planted: everybody is believed.
    if defect == Defect::Planted {
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().expect("a value"));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let (head, path) = (request.method() == Method::HEAD, request.uri().path().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (status, body) = runtime.block_on(async {
        let answer = fresh().await.oneshot(request).await.unwrap_or_else(|error| match error {});
        let status = answer.status();
        (status, to_bytes(answer.into_body(), ANSWER).await.expect("a bounded answer"))
    });
    assert!(!status.is_server_error(), "{status}: {}", String::from_utf8_lossy(&body));
    assert!(reads || writer || !status.is_success(), "it changed something, and nobody logged in: {status}");
    // What a confidential repository has looks like what an absent one has.
    let secret = path.starts_with("/v2/secret/a/") && reads;
    assert!(!secret || !status.is_success() || path.contains("/uploads/"), "{status} of what is confidential");
    let code = if status.is_client_error() && !head && !body.is_empty() && path.starts_with("/v2") {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("errors as OCI has them");
        body["errors"][0]["code"].as_str().expect("a code").to_owned()
    } else {
        String::new()
    };
    vec![number(&(status.as_u16(), code)), number(&(reads, writer))]
}

fn seeds() -> Vec<Vec<u8>> {
    let login = format!("authorization: Bearer {TOKEN}\n");
    let basic = format!("authorization: Basic {}\n", STANDARD.encode(format!("ci:{TOKEN}")));
    let (config, layer, whole) = (digest(CONFIG), digest(LAYER), digest(&manifest()));
    let text = |head: String, body: &[u8]| [head.trim_end().as_bytes(), b"\n\n", body].concat();
    let mut seeds: Vec<Vec<u8>> = [
        "GET /v2/".to_owned(),
        format!("GET /v2/\n{login}"),
        format!("GET /v2/\n{basic}"),
        "GET /v2/open/a/tags/list?n=1&last=a".to_owned(),
        "GET /v2/open/a/manifests/v1\nhost: localhost:5000".to_owned(),
        format!("HEAD /v2/open/a/blobs/{layer}"),
        format!("GET /v2/open/a/blobs/{layer}\nrange: bytes=2-5"),
        format!("GET /v2/open/a/blobs/{layer}\nrange: bytes=-3"),
        format!("GET /v2/open/a/referrers/{whole}?artifactType=a/b"),
        format!("GET /v2/secret/a/manifests/{whole}\n{login}"),
        format!("GET /v2/secret/a/blobs/{config}"),
        "GET /token?service=localhost:5000&scope=repository:open/a:pull,push\nhost: localhost:5000".to_owned(),
        "GET /.well-known/donjon".to_owned(),
        format!("GET /api/v1/me\n{login}"),
        format!("DELETE /v2/open/a/manifests/{whole}\n{login}"),
        format!("DELETE /v2/open/a/blobs/{layer}\n{login}"),
        format!("POST /v2/open/a/blobs/uploads/?mount={layer}&from=open/a\n{login}"),
        format!("PATCH /v2/open/a/blobs/uploads/0\ncontent-range: 0-3\n{login}"),
        format!("GET /api/v1/secrets/secret/a\n{login}"),
    ]
    .into_iter()
    .map(|head| text(head, b""))
    .collect();
    let kind = format!("content-type: {MANIFEST}\n");
    seeds.push(text(format!("PUT /v2/open/a/manifests/v2\n{kind}{login}"), &manifest()));
    seeds.push(text(format!("PUT /v2/secret/a/manifests/release\n{kind}{login}"), &manifest()));
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{MANIFEST}\",\"digest\":\"{whole}\",\"size\":{}}}]}}",
        manifest().len()
    );
    let kind = "content-type: application/vnd.oci.image.index.v1+json\n";
    seeds.push(text(format!("PUT /v2/open/a/manifests/all\n{kind}{login}"), index.as_bytes()));
    seeds.push(text(format!("POST /v2/open/a/blobs/uploads/?digest={}\n{login}", digest(b"new")), b"new"));
    let wanted = br#"{"name":"x","role":"reader","scopes":["open/*"],"days":1}"#;
    seeds.push(text(format!("POST /api/v1/tokens\n{login}"), wanted));
    seeds.push(text("POST /api/v1/login\n".to_owned(), br#"{"login":"corp","id_token":"a.b.c"}"#));
    seeds.push(text("POST /api/v1/release/secret/a\n".to_owned(), br#"{"secrets":["db"]}"#));
    seeds.push(text(format!("PUT /api/v1/repositories/open/b\n{login}"), br#"{"access":"private"}"#));
    seeds
}
