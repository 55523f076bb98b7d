//! Bad input, kind by kind: each gets a clear refusal, and nothing is lost.
//!
//! Owns names that would be paths, more tags than a page, odd ranges and odd headers; what is wrong with manifests and with
//! uploads stands beside it. Requests are written by hand, because no client sends these.
//! Invariant: each test ends with [`Kept::all_there`]: what was pushed properly before is there to the byte, and no file of the
//! server's is where none was.

mod manifests;
mod uploads;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use drawbridge::{Limits, Storage};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use workload::Digest;
use workload::package::Built;

use crate::support::{Answer, World, connect, package, request};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The codes of distribution-spec 1.1 ("Error Codes"), and two of Distribution for what that has no word for.
const CODES: [&str; 16] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "TAG_INVALID",
    "PAGINATION_NUMBER_INVALID",
];

/// A server, and what was pushed to it properly.
struct Kept {
    server: SocketAddr,
    token: String,
    built: Built,
    /// An object of its own, not a row.
    long: Vec<u8>,
    index: Vec<u8>,
    /// The directory around the store, and the files in it, if it is in a directory.
    files: Option<(PathBuf, BTreeSet<PathBuf>)>,
}

impl Kept {
    async fn new(world: &World) -> Self {
        Self::at(world.server.local_addr, world.token.expose(), Some(world.directory.path())).await
    }

    async fn at(server: SocketAddr, token: &str, directory: Option<&Path>) -> Self {
        let (built, long) = (package("kept"), (0..=250).cycle().take(100_000).collect::<Vec<u8>>());
        let index = format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":{}}}]}}",
            workload::package::MANIFEST,
            built.digest,
            built.manifest.len()
        );
        let mut kept = Self { server, token: token.to_owned(), built, long, index: index.into_bytes(), files: None };
        // The long one is not referred to by anything, and young.
        let blobs = kept.built.blobs.iter().map(|(_, bytes)| bytes).chain([&kept.long]);
        for bytes in blobs {
            let path = format!("/v2/open/a/blobs/uploads/?digest={}", Digest::of(bytes));
            assert_eq!(kept.send(Method::POST, &path, &[], bytes).await.status, StatusCode::CREATED);
        }
        for (tag, kind, bytes) in
            [("kept", workload::package::MANIFEST, &kept.built.manifest), ("all", INDEX, &kept.index)]
        {
            let path = format!("/v2/open/a/manifests/{tag}");
            let put = kept.send(Method::PUT, &path, &[("content-type", kind)], bytes).await;
            assert_eq!(put.status, StatusCode::CREATED);
        }
        kept.files = directory.map(|directory| (directory.to_owned(), files(directory)));
        kept
    }

    /// A request with the token.
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        request(self.server, None, "http/1.1", method, path, &headers, body).await
    }

    /// A request with the token, whose target and head are these very bytes.
    async fn raw(&self, method: &str, target: &[u8], head: &str, body: &[u8]) -> Answer {
        let Self { server, token, .. } = self;
        let head = format!(
            " HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n",
            body.len()
        );
        raw(*server, &[method.as_bytes(), b" ", target, head.as_bytes(), body].concat()).await.expect("an answer")
    }

    /// Begins an upload.
    async fn begin(&self) -> String {
        let begun = self.send(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        begun.header("location").to_owned()
    }

    /// What is pushed is there, to the byte; files of the store are where they were. `more`: objects that came since.
    async fn all_there(&self, more: usize) {
        let Self { built, long, index, .. } = self;
        let manifests = [("kept", &built.manifest), ("all", index)];
        for (tag, bytes) in manifests {
            for reference in [tag.to_owned(), Digest::of(bytes).to_string()] {
                let got = self.send(Method::GET, &format!("/v2/open/a/manifests/{reference}"), &[], b"").await;
                assert_eq!((got.status, &got.body), (StatusCode::OK, bytes), "{reference}");
            }
        }
        for bytes in built.blobs.iter().map(|(_, bytes)| bytes).chain([long]) {
            let got = self.send(Method::GET, &format!("/v2/open/a/blobs/{}", Digest::of(bytes)), &[], b"").await;
            assert!(got.status == StatusCode::OK && got.body == *bytes, "a blob of {} bytes", bytes.len());
        }
        let Some((directory, before)) = &self.files else { return };
        let after = files(directory);
        let gone: Vec<_> = before.difference(&after).collect();
        assert!(gone.is_empty(), "{gone:?} went");
        let new: Vec<_> = after.difference(before).collect();
        let objects = directory.join("store/objects");
        let of_us = new.iter().all(|file| file.starts_with(&objects));
        assert!(new.len() == more && of_us, "{new:?} came");
    }
}

/// All files below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.is_dir());
    files.into_iter().chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

/// Sends these bytes on a connection of their own; the answer, if there is a whole one before the end.
async fn raw(server: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(server, None, "http/1.1").await.unwrap();
    // Who is refused early need not be heard to the end.
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    answer(&said)
}

fn answer(said: &[u8]) -> Option<Answer> {
    let end = said.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&said[..end]).unwrap().split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: HeaderMap = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect();
    Some(Answer { status, headers, body: said[end + 4..].to_vec() })
}

/// It is refused, with a code of the specification and a text that says why.
#[track_caller]
fn refused(answer: &Answer, what: &str) {
    let Answer { status, body, .. } = answer;
    let text = String::from_utf8_lossy(body);
    assert!(status.is_client_error(), "{what}: {status} {text}");
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let [code, message] = ["code", "message"].map(|key| body["errors"][0][key].as_str().unwrap_or_default());
    assert!(CODES.contains(&code), "{what}: {status} {text}");
    assert!(message.len() > 5 && message.len() < 500, "{what}: {message}");
}

/// What would be another name, another place or another file to somebody less careful. None is a part of a name.
const TRICKS: [&str; 26] = [
    "..",
    ".",
    "../..",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "//",
    "a/../b",
    "a//b",
    "a/",
    "%2e%2e",
    "%2e%2e%2f%2e%2e",
    "..%2f..",
    "..%5c..",
    "..\\..",
    "a\\b",
    "a%2fb",
    "a%00",
    "a%00b",
    "%",
    "%zz",
    "a%ff%fe",
    "%c0%ae%c0%ae",
    "a%0d%0aset-cookie:%20a",
    "\u{ff0e}\u{ff0e}",
    "a;b",
    "~a",
];

#[tokio::test]
async fn names_that_would_be_paths() {
    let world = World::new().await;
    let kept = Kept::new(&world).await;
    let digest = kept.built.digest;
    let mut count = 0;
    let mut check = async |method: &str, target: &str| {
        let answer = kept.raw(method, target.as_bytes(), "", b"").await;
        // HEAD has no body to say more in.
        if method == "HEAD" {
            assert!(answer.status.is_client_error(), "{method} {target}: {}", answer.status);
        } else {
            refused(&answer, &format!("{method} {target}"));
        }
        assert!(!answer.headers.contains_key("set-cookie"), "{target}");
        count += 1;
    };
    let long = ["a".repeat(256), "a/".repeat(128) + "a", "a/".repeat(8000) + "a"];
    let own = ["Open/a", "OPEN/A", "open/A", ".open/a", "open/a.", "open/-a", "open/a__-b", "_catalog"];
    let names =
        TRICKS.iter().flat_map(|trick| [(*trick).to_owned(), format!("open/a/{trick}"), format!("{trick}/open/a")]);
    for name in names.chain(long).chain(own.map(str::to_owned)) {
        for (method, rest) in [
            ("GET", "tags/list".to_owned()),
            ("GET", "manifests/kept".to_owned()),
            ("HEAD", format!("blobs/{digest}")),
            ("PUT", "manifests/new".to_owned()),
            ("POST", "blobs/uploads/".to_owned()),
            ("GET", format!("referrers/{digest}")),
        ] {
            check(method, &format!("/v2/{name}/{rest}")).await;
        }
    }
    let hex = "ab".repeat(32);
    let digests = [
        "sha256:".to_owned(),
        "sha256".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("sha256:{hex}%00"),
        format!("sha256%3a{hex}"),
        format!("sha256:{hex}/"),
        format!("sha256:{hex}/.."),
        format!("sha256:{hex}%20"),
        format!("sha512:{hex}"),
        format!("md5:{}", &hex[..32]),
        format!("sha256:{}", "a".repeat(5000)),
        format!("sha256:sha256:{hex}"),
    ];
    let tricks: Vec<String> = TRICKS.iter().map(|trick| (*trick).to_owned()).collect();
    let tricky = tricks.iter().map(|trick| format!("sha256:{trick}"));
    for odd in tricky.chain(digests) {
        for (method, rest) in
            [("GET", "blobs"), ("DELETE", "blobs"), ("GET", "manifests"), ("PUT", "manifests"), ("GET", "referrers")]
        {
            check(method, &format!("/v2/open/a/{rest}/{odd}")).await;
        }
        let odd = encoded(&odd);
        check("POST", &format!("/v2/open/a/blobs/uploads/?digest={odd}")).await;
        check("POST", &format!("/v2/open/a/blobs/uploads/?mount={odd}&from=open/b")).await;
    }
    let tags = ["-v", ".v", "v:1", "v@1", "v%20", "v+1", "sha256:"].map(str::to_owned);
    for odd in tricks.iter().cloned().chain(tags).chain(["a".repeat(129), "a".repeat(20_000)]) {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            check(method, &format!("/v2/open/a/manifests/{odd}")).await;
        }
    }
    // An upload that is under way, and names that are not its own.
    let at = kept.begin().await;
    let id = at.rsplit('/').next().unwrap();
    assert_eq!(kept.send(Method::PATCH, &at, &[], b"under").await.status, StatusCode::ACCEPTED);
    let own = [
        id.to_uppercase(),
        format!("{id}%00"),
        format!("{id}/"),
        format!("{id}/.."),
        format!("./{id}"),
        format!("%2e/{id}"),
        format!("{id}%20"),
        id[1..].to_owned(),
        format!("{id}{id}"),
        "%25".to_owned(),
        "'%20OR%201=1%20--".to_owned(),
        "_".repeat(id.len()),
        "0".repeat(5000),
    ];
    for odd in tricks.iter().cloned().chain(own) {
        for method in ["GET", "PATCH", "DELETE"] {
            check(method, &format!("/v2/open/a/blobs/uploads/{odd}")).await;
        }
        check("PUT", &format!("/v2/open/a/blobs/uploads/{odd}?digest={digest}")).await;
        check("PUT", &format!("{at}?digest={}", encoded(&odd))).await;
    }
    for from in tricks.iter().cloned().chain(["a".repeat(256), "Open/a".to_owned(), String::new(), " ".to_owned()]) {
        check("POST", &format!("/v2/open/b/blobs/uploads/?mount={digest}&from={}", encoded(&from))).await;
        // As it is, too: what it is decoded to is no name either, but for one.
        if from != "a%2fb" {
            check("POST", &format!("/v2/open/b/blobs/uploads/?mount={digest}&from={}", from.replace(' ', "+"))).await;
        }
    }
    assert!(count > 1100, "{count}");
    // Controls: the upload was nobody else's to end, and the names without what is wrong with them are names.
    let end = format!("{at}?digest={}", Digest::of(b"under way"));
    assert_eq!(kept.raw("PUT", end.as_bytes(), "", b" way").await.status, StatusCode::CREATED);
    for good in ["/v2/open/a/tags/list", "/v2/open/a/manifests/kept", &format!("/v2/open/a/referrers/{digest}")] {
        assert_eq!(kept.raw("GET", good.as_bytes(), "", b"").await.status, StatusCode::OK, "{good}");
    }
    let blob = kept.built.blobs[0].0.digest;
    let mount = format!("/v2/open/b/blobs/uploads/?mount={blob}&from=open/a");
    assert_eq!(kept.raw("POST", mount.as_bytes(), "", b"").await.status, StatusCode::CREATED);
    let mount = format!("/v2/open/b/blobs/uploads/?mount={}&from=open%2Fa", blob.to_string().replace(':', "%3A"));
    assert_eq!(kept.raw("POST", mount.as_bytes(), "", b"").await.status, StatusCode::CREATED);
    kept.all_there(0).await;
}

/// What has no business in a request line, and paths of nobody: refused, whoever refuses them.
#[tokio::test]
async fn targets_that_are_none() {
    let world = World::new().await;
    let kept = Kept::new(&world).await;
    let targets: [&[u8]; 20] = [
        b"/v2/open/a\0/tags/list",
        b"/v2/open/a/manifests/\0",
        b"/v2/open/a/manifests/\xff\xfe",
        b"/v2/open/a/manifests/a\x7fb",
        b"/v2/open/a/manifests/a b",
        b"/v2/open/a/manifests/a\tb",
        b"/v2/open/a/manifests/<a>",
        b"/v2/open/a/manifests/#kept",
        b"//v2/open/a/tags/list",
        b"/../v2/open/a/tags/list",
        b"/v2%2fopen/a/tags/list",
        b"/V2/open/a/tags/list",
        b"/v1/open/a/tags/list",
        b"/v2open/a/tags/list",
        b"/v2/../.well-known/../etc/passwd",
        b"/objects/00",
        b"/drawbridge.sqlite",
        b"v2/open/a/tags/list",
        b"*",
        b"",
    ];
    for target in targets {
        let answer = kept.raw("GET", target, "", b"").await;
        assert!(answer.status.is_client_error(), "{}: {}", String::from_utf8_lossy(target), answer.status);
    }
    let whole = format!("https://{}/v2/open/a/../a/tags/list", kept.server);
    refused(&kept.raw("GET", whole.as_bytes(), "", b"").await, &whole);
    for method in ["TRACE", "CONNECT", "OPTIONS", "get", "LOCK", "M-SEARCH"] {
        let answer = kept.raw(method, b"/v2/open/a/tags/list", "", b"").await;
        assert!(answer.status.is_client_error(), "{method}: {}", answer.status);
    }
    let whole = format!("https://{}/v2/open/a/tags/list", kept.server);
    assert_eq!(kept.raw("GET", whole.as_bytes(), "", b"").await.status, StatusCode::OK, "control");
    kept.all_there(0).await;
}

/// As it stands in a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A connection that is kept.
async fn line(server: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(connect(server, None, "http/1.1").await.unwrap());
    let (sender, connection) = handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_tags() {
    const TAGS: usize = 100_000;
    /// What one answer may have: ten thousand tags, of 128 bytes at most.
    const LONGEST: usize = 2_000_000;
    const LINES: usize = 8;
    // In memory, since what the disk takes is not looked at here.
    let world = World::at(Storage::memory(), Limits::default()).await;
    let kept = Kept::at(world.server.local_addr, world.token.expose(), None).await;
    // All on one little manifest, which refers to nothing. Not in their order, of all lengths, and in both cases.
    let little = br#"{"schemaVersion":2,"manifests":[]}"#;
    let tag = |number: usize| {
        let number = number * 7919 % TAGS;
        let letter = ["v", "V", "_", "0", "z."][number % 5];
        format!("{letter}{number:0width$}", width = 5 + number % 120)
    };
    let server = kept.server;
    let mut lines = JoinSet::new();
    for at in 0..LINES {
        let bearer = format!("Bearer {}", kept.token);
        lines.spawn(async move {
            let mut line = line(server).await;
            for number in (at..TAGS).step_by(LINES) {
                let put = Request::put(format!("/v2/open/b/manifests/{}", tag(number)))
                    .header("host", server.to_string())
                    .header("authorization", &bearer)
                    .header("content-type", INDEX)
                    .body(Full::new(Bytes::from_static(little)))
                    .unwrap();
                line.ready().await.unwrap();
                assert_eq!(line.send_request(put).await.unwrap().status(), StatusCode::CREATED);
            }
        });
    }
    while let Some(done) = lines.join_next().await {
        done.unwrap();
    }
    let expected: Vec<String> = (0..TAGS).map(tag).collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(expected.len(), TAGS);
    let mut reader = line(server).await;
    let mut page = async |path: &str| {
        reader.ready().await.unwrap();
        let get = Request::get(path).header("host", server.to_string()).body(Full::default()).unwrap();
        let (parts, body) = reader.send_request(get).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert!(parts.status == StatusCode::OK && body.len() <= LONGEST, "{path}: {} {}", parts.status, body.len());
        let next = parts.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).expect("a link").to_owned()
        });
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Vec<String>,
        }
        (serde_json::from_slice::<Page>(&body).unwrap().tags, next)
    };
    // As many as the server likes, many, more than it gives, more than there are numbers for; and an odd count.
    for n in ["", "?n=10000", "?n=100000", "?n=18446744073709551615", "?n=3333"] {
        let (mut found, mut next) = (Vec::new(), Some(format!("/v2/open/b/tags/list{n}")));
        let most = if n == "?n=3333" { 3333 } else { 10_000 };
        while let Some(path) = next {
            let (tags, more) = page(&path).await;
            assert_eq!(tags.len(), most.min(TAGS - found.len()), "{path}");
            found.extend(tags);
            next = more;
        }
        assert!(found == expected, "{n}");
    }
    // From anywhere, also from what is no tag of this repository.
    let middle = &expected[TAGS / 2];
    assert_eq!(page(&format!("/v2/open/b/tags/list?n=2&last={middle}")).await.0, expected[TAGS / 2 + 1..][..2]);
    assert_eq!(page(&format!("/v2/open/b/tags/list?n=2&last={}", &middle[..3])).await.0.len(), 2);
    assert_eq!(page(&format!("/v2/open/b/tags/list?last={}", expected[TAGS - 1])).await, (vec![], None));
    for odd in ["-1", "x", "1e3", "0x10", "18446744073709551616", "%00", "1%200", "9".repeat(10_000).as_str()] {
        refused(&kept.raw("GET", format!("/v2/open/b/tags/list?n={odd}").as_bytes(), "", b"").await, odd);
    }
    kept.all_there(0).await;
}

#[tokio::test]
async fn odd_ranges() {
    let world = World::new().await;
    let kept = Kept::new(&world).await;
    let none = world.blob(&world.token, "open/a", b"").await;
    let (row, object) = (&kept.built.blobs[1].1, &kept.long);
    let size = object.len();
    let mut values: Vec<Vec<u8>> = [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--",
        "bytes=--1",
        "bytes=-0",
        "bytes=-1",
        "bytes=-18446744073709551615",
        "bytes=-18446744073709551616",
        "bytes=0-",
        "bytes=0-0",
        "bytes=1-0",
        "bytes=+0-1",
        "bytes=0-+1",
        "bytes= 0-1",
        "bytes=0 -1",
        "bytes=0-1 ",
        "bytes=0-1,3-4",
        "bytes=0-1,",
        "bytes=,0-1",
        "bytes=0-,-1",
        "bytes=0x0-0x9",
        "bytes=00-09",
        "bytes=1.5-2",
        "bytes=1e0-2",
        "bytes=a-b",
        "bytes=0-1-2",
        "bytes 0-1",
        "bytes:0-1",
        "Bytes=0-1",
        "lines=0-1",
        "=0-1",
        "0-1",
        "bytes=18446744073709551614-18446744073709551615",
        "bytes=18446744073709551615-",
        "bytes=18446744073709551616-",
        "bytes=0-18446744073709551615",
        "bytes=0-18446744073709551616",
        "bytes=9223372036854775807-9223372036854775808",
        "bytes=99999999999999999999999-0",
        "bytes=0-99999999999999999999999",
        "bytes=\u{661}-\u{662}",
        "bytes=0\u{2013}1",
        "bytes=*/5",
        "bytes=0-1;q=1",
        "bytes=0-0/5",
        "bytes=-1-",
        "bytes=0--0",
        "none",
    ]
    .iter()
    .map(|value| value.as_bytes().to_vec())
    .collect();
    for at in [0, size - 1, size, size + 1] {
        values.extend(
            [format!("bytes={at}-"), format!("bytes=-{at}"), format!("bytes={at}-{at}")].map(String::into_bytes),
        );
    }
    values.extend([b"bytes=\xff-\xfe".to_vec(), b"bytes=0-1\xff".to_vec()]);
    values.push(format!("bytes={}", "0-1,".repeat(5000)).into_bytes());
    values.push([b"bytes=".as_slice(), &[b'9'; 20_000]].concat());
    let mut parts = 0;
    for bytes in [&b""[..], row, object] {
        let path = format!("/v2/open/a/blobs/{}", Digest::of(bytes));
        for value in &values {
            let what = String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
            let ask = async |method: &str| {
                let Kept { server, .. } = kept;
                let head = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\nrange: ");
                raw(server, &[head.as_bytes(), value, b"\r\n\r\n"].concat()).await.unwrap()
            };
            let (got, head) = (ask("GET").await, ask("HEAD").await);
            assert_eq!(
                (head.status, head.header("content-length")),
                (got.status, got.header("content-length")),
                "{what}"
            );
            match got.status {
                // What is no range is not looked at (RFC 9110, section 14.2).
                StatusCode::OK => assert!(got.body == bytes && got.header("content-range").is_empty(), "{what}"),
                StatusCode::PARTIAL_CONTENT => {
                    parts += 1;
                    let said = got.header("content-range").strip_prefix("bytes ").unwrap();
                    let (range, whole) = said.split_once('/').unwrap();
                    let (from, to) = range.split_once('-').unwrap();
                    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                    assert_eq!(whole, bytes.len().to_string(), "{what}");
                    assert!(got.body == bytes[from..=to], "{what}: {said}");
                }
                StatusCode::RANGE_NOT_SATISFIABLE => {
                    assert_eq!(got.header("content-range"), format!("bytes */{}", bytes.len()), "{what}");
                    refused(&got, &what);
                }
                other => panic!("{what}: {other}"),
            }
        }
    }
    assert!(parts > 20, "control: {parts} parts");
    assert_eq!(none, Digest::of(b""));
    kept.all_there(0).await;
}

#[tokio::test]
async fn odd_places_of_chunks() {
    let world = World::new().await;
    let kept = Kept::new(&world).await;
    let at = kept.begin().await;
    assert_eq!(kept.send(Method::PATCH, &at, &[("content-range", "0-4")], b"01234").await.status, StatusCode::ACCEPTED);
    let path = at.as_bytes();
    let end = format!("{at}?digest={}", Digest::of(b"0123456789"));
    for odd in [
        "",
        "-",
        "5",
        "5-",
        "-9",
        "5-x",
        "x-9",
        "+5-9",
        "5-+9",
        "5 - 9",
        "0-4",
        "4-8",
        "6-9",
        "9-5",
        "5-4",
        "bytes 5-9/10",
        "bytes=5-9",
        "5-9/10",
        "5-9,10-11",
        "5--9",
        "-5-9",
        "05-9x",
        "18446744073709551615-18446744073709551615",
        "18446744073709551616-18446744073709551620",
        "0x5-0x9",
        "5.0-9.0",
        "\u{665}-\u{669}",
        &"5".repeat(20_000),
        &format!("5-{}", "9".repeat(20_000)),
    ] {
        let head = format!("content-range: {odd}\r\n");
        for (method, target) in [("PATCH", path), ("PUT", end.as_bytes())] {
            let answer = kept.raw(method, target, &head, b"56789").await;
            let what = format!("{method} {}", &odd[..odd.len().min(30)]);
            assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{what}");
            refused(&answer, &what);
            // It says where to go on.
            assert_eq!(answer.header("range"), "0-4", "{what}");
        }
    }
    let last = kept.raw("PUT", end.as_bytes(), "content-range: 5-9\r\n", b"56789").await;
    assert_eq!(last.status, StatusCode::CREATED, "control");
    kept.all_there(0).await;
}

#[tokio::test]
async fn odd_headers() {
    let world = World::new().await;
    let kept = Kept::new(&world).await;
    let Kept { server, token, .. } = &kept;
    // A path that needs no login, so that it is the login that is refused; and one that does.
    for (method, path) in
        [("GET", "/v2/open/a/manifests/kept"), ("POST", "/v2/open/a/blobs/uploads/"), ("GET", "/token")]
    {
        let with = async |head: &[u8]| {
            let line =
                format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\ncontent-length: 0\r\n");
            raw(*server, &[line.as_bytes(), head, b"\r\n\r\n"].concat()).await.expect("an answer")
        };
        let basic = |pair: &[u8]| format!("authorization: Basic {}", BASE64_STANDARD.encode(pair)).into_bytes();
        let bearer = format!("authorization: Bearer {token}");
        let mut odd = vec![
            format!("{bearer}\r\n{bearer}").into_bytes(),
            format!("{bearer}\r\nauthorization: Basic Og==").into_bytes(),
            format!("authorization:\r\n{bearer}").into_bytes(),
            b"authorization:".to_vec(),
            b"authorization: Bearer".to_vec(),
            b"authorization: Basic".to_vec(),
            b"authorization: \xff\xfe".to_vec(),
            [bearer.as_bytes(), b"\xff"].concat(),
            bearer.replace("Bearer", "Digest").into_bytes(),
            bearer.replace("Bearer ", "Bearer").into_bytes(),
            bearer.replace("Bearer ", "").into_bytes(),
            format!("authorization: Bearer {token},{token}").into_bytes(),
            format!("authorization: Bearer \"{token}\"").into_bytes(),
            basic(token.as_bytes()),
            basic(format!("{token}:").as_bytes()),
            basic(b""),
            basic(b"::"),
            basic(b"me:\0"),
            basic(b"\xff\xfe:\xfd"),
            basic(format!("me:{token}\0").as_bytes()),
            basic(format!("me: {token}").as_bytes()),
            basic(format!("me:you:{token}").as_bytes()),
            b"authorization: Basic !!!!".to_vec(),
            b"authorization: Basic =".to_vec(),
            basic(&[b':'; 10_000]),
        ];
        for length in [0, 1, 2, 31, 32, 33, 43, 44, 255, 256, 4095, 4096, 20_000, 30_000] {
            for letter in ["a", ".", "=", "\u{e4}", "a.b."] {
                odd.push(format!("authorization: Bearer {}", letter.repeat(length / letter.len())).into_bytes());
            }
        }
        for head in &odd {
            let answer = with(head).await;
            let what = format!("{method} {path} {}", String::from_utf8_lossy(&head[..head.len().min(60)]));
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"), "{what}");
            refused(&answer, &what);
            assert!(!answer.header("www-authenticate").is_empty(), "{what}");
        }
        // More than there may be of a head: one long header, many short ones, a long name, a long target. 32 KiB are too much only
        // where the head is not whole by then, so 40 KiB may still be read, and are no more than any other head then.
        let many: String = (0..4000).map(|number| format!("x-{number}: y\r\n")).collect();
        for (length, most) in [(40 * 1024, true), (200 * 1024, false)] {
            for head in [format!("x: {}", "y".repeat(length)), format!("{}: y", "x".repeat(length))] {
                let answer = with(format!("authorization: Bearer wrong\r\n{head}").as_bytes()).await;
                assert!(answer.status.is_client_error(), "{} of {length}", answer.status);
                assert!(most || answer.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{}", answer.status);
            }
            let answer = with(format!("{bearer}{}", "y".repeat(length)).as_bytes()).await;
            assert!(answer.status.is_client_error(), "{} of {length}", answer.status);
        }
        assert_eq!(with(many.trim_end().as_bytes()).await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let target = format!("{path}?{}", "x".repeat(70_000));
        let line = format!("{method} {target} HTTP/1.1\r\nhost: {server}\r\n\r\n");
        assert!(raw(*server, line.as_bytes()).await.unwrap().status.is_client_error());
        let control = with(format!("{bearer}\r\nx: {}", "y".repeat(20 * 1024)).as_bytes()).await;
        assert!(control.status.is_success(), "control: {}", control.status);
        let control = with(&basic(format!("me:{token}").as_bytes())).await;
        assert!(control.status.is_success(), "control: {}", control.status);
    }
    // The same on HTTP/2, where a client of ours is as good as any.
    for (name, length) in [("x", 40 * 1024), ("authorization", 40 * 1024)] {
        let value = "y".repeat(length);
        let answer = crate::support::try_request(
            *server,
            None,
            "h2",
            Method::GET,
            "/v2/open/a/tags/list",
            &[(name, &value)],
            b"",
        )
        .await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status.is_client_error()), "{name}");
    }
    // What we are called: it goes into the challenge, and nowhere else.
    for host in [
        "",
        "a b",
        "a\tb",
        "..",
        "[::1",
        "a\"b",
        "a,scope=\"x",
        "\u{e4}",
        &"a".repeat(10_000),
        "x:99999",
        "x:443:443",
        "@x",
    ] {
        let line = format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(*server, line.as_bytes()).await.unwrap();
        let what = &host[..host.len().min(30)];
        assert!(answer.status.is_client_error(), "{what}: {}", answer.status);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.is_empty() || challenge == "Basic realm=\"Drawbridge\"", "{what}: {challenge}");
    }
    // A request within the body of another is not one (RFC 9112, section 6.3).
    let at = kept.begin().await;
    let inner = format!("DELETE {at} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let heads = [
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", inner.len() + 5),
        format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", inner.len() + 5),
        "content-length: 5\r\ncontent-length: 500\r\n".to_owned(),
        "content-length: 5, 500\r\n".to_owned(),
        "content-length: +5\r\n".to_owned(),
        "content-length: -5\r\n".to_owned(),
        "content-length: 5e0\r\n".to_owned(),
        "content-length: 99999999999999999999\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
    ];
    for head in heads {
        let line =
            format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{head}\r\n0\r\n\r\n{inner}");
        let _ = raw(*server, line.as_bytes()).await;
        let standing = kept.send(Method::GET, &at, &[], b"").await;
        assert_eq!(standing.status, StatusCode::NO_CONTENT, "{head}");
    }
    kept.all_there(0).await;
}
