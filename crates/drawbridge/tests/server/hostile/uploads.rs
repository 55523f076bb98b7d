//! Uploads that never end, end early, or are more than there may be.
//!
//! Owns bodies that fall silent, bodies without end, and uploads that nobody goes on with: each ends by a limit, with what was
//! acknowledged of it still there to go on from, and nothing of it on the disk that nobody knows of.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use drawbridge::{Limits, Secret};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use workload::Digest;

use super::{Kept, answer, raw, refused};
use crate::support::{World, connect, objects, request};

/// Enough that it is written to the disk before the body ended.
const MUCH: usize = 6 * 1024 * 1024;

/// The head of a request with the token, with these lines in it.
fn head(kept: &Kept, method: &str, path: &str, lines: &str) -> Vec<u8> {
    let Kept { server, token, .. } = kept;
    format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {token}\r\n{lines}\r\n").into_bytes()
}

/// Waits until an upload stands there, and nobody writes to it; the limit only ends a test that has failed anyway.
async fn stands_at(kept: &Kept, at: &str, expected: usize) {
    let expected = format!("0-{}", expected.saturating_sub(1));
    let mut last = String::new();
    for _ in 0..200 {
        let status = kept.send(Method::GET, at, &[], b"").await;
        if status.status == StatusCode::NO_CONTENT && status.header("range") == expected {
            return;
        }
        last = format!("{} {}", status.status, status.header("range"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last}, and never {expected}");
}

/// Goes on with an upload from where it is, and ends it: what comes back is all of it.
async fn goes_on(kept: &Kept, at: &str, from: usize, whole: &[u8]) {
    let digest = Digest::of(whole);
    let range = format!("{from}-{}", whole.len() - 1);
    let path = format!("{at}?digest={digest}");
    let ended = kept.send(Method::PUT, &path, &[("content-range", &range)], &whole[from..]).await;
    assert_eq!(ended.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&ended.body));
    let got = kept.send(Method::GET, &format!("/v2/open/a/blobs/{digest}"), &[], b"").await;
    assert!(got.body == whole);
}

/// A body of all kinds: with a length, in chunks; with little before it stops, or much.
const BODIES: [(bool, usize); 4] = [(false, 7), (true, 7), (false, MUCH), (true, MUCH)];

/// Bytes of its own for each number.
fn whole(number: usize, length: usize) -> Vec<u8> {
    (0..=250).cycle().skip(number).take(length).collect()
}

fn length_of(whole: &[u8], chunked: bool) -> String {
    if chunked { "transfer-encoding: chunked\r\n".to_owned() } else { format!("content-length: {}\r\n", whole.len()) }
}

fn framed(bytes: &[u8], chunked: bool) -> Vec<u8> {
    if chunked { [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat() } else { bytes.to_vec() }
}

#[tokio::test]
async fn a_body_that_falls_silent() {
    let limit = Duration::from_secs(2);
    let world = World::with(Limits { idle: limit, ..Limits::default() }).await;
    let kept = Kept::new(&world).await;
    let silent = async |(number, (chunked, length)): (usize, (bool, usize))| {
        let whole = whole(number, length + 100);
        let at = kept.begin().await;
        let mut stream = connect(kept.server, None, "http/1.1").await.unwrap();
        stream.write_all(&head(&kept, "PATCH", &at, &length_of(&whole, chunked))).await.unwrap();
        let (much, trickle) = whole[..length].split_at(length - 5);
        stream.write_all(&framed(much, chunked)).await.unwrap();
        // What keeps coming keeps the connection, however little it is.
        for byte in trickle {
            stream.write_all(&framed(&[*byte], chunked)).await.unwrap();
            tokio::time::sleep(limit / 4).await;
        }
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(answer(&said).is_none_or(|answer| !answer.status.is_success()), "{}", String::from_utf8_lossy(&said));
        // Nobody but the limit ended it; what came is there, and the upload is anybody's again.
        stands_at(&kept, &at, length).await;
        goes_on(&kept, &at, length, &whole).await;
    };
    join_all(BODIES.into_iter().enumerate().map(silent)).await;
    // On HTTP/2, the same.
    let stream = TokioIo::new(connect(kept.server, None, "h2").await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let at = kept.begin().await;
    let little = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"little")))]);
    let request = Request::patch(format!("https://{}{at}", kept.server))
        .header("authorization", format!("Bearer {}", kept.token))
        .body(StreamBody::new(little.chain(stream::pending())))
        .unwrap();
    let connection = tokio::spawn(connection);
    let answered = sender.send_request(request).await;
    assert!(answered.is_err() || answered.is_ok_and(|answer| !answer.status().is_success()));
    drop(sender);
    let _ = connection.await.unwrap();
    // There, what was not acknowledged may be gone: it goes on from where it stands.
    let standing = kept.send(Method::GET, &at, &[], b"").await;
    let from = if standing.header("range") == "0-5" { 6 } else { 0 };
    goes_on(&kept, &at, from, b"little and more").await;
    // In one request there is nothing to go on with: nothing stays.
    let digest = Digest::of(&[5; MUCH]);
    let path = format!("/v2/open/a/blobs/uploads/?digest={digest}");
    let mut stream = connect(kept.server, None, "http/1.1").await.unwrap();
    stream.write_all(&head(&kept, "POST", &path, &format!("content-length: {MUCH}\r\n"))).await.unwrap();
    stream.write_all(&[5; MUCH - 1]).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let got = kept.send(Method::HEAD, &format!("/v2/open/a/blobs/{digest}"), &[], b"").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    // Two objects for each that was much: what came before, and the rest.
    kept.all_there(4).await;
}

#[tokio::test]
async fn a_body_that_ends_early() {
    let world = World::new().await;
    let kept = Kept::new(&world).await;
    for (number, (chunked, length)) in BODIES.into_iter().enumerate() {
        // Politely, by the end of its half of the connection, and by breaking off.
        for polite in [true, false] {
            let whole = whole(2 * number + usize::from(polite), length + 100);
            let at = kept.begin().await;
            let mut stream = connect(kept.server, None, "http/1.1").await.unwrap();
            stream.write_all(&head(&kept, "PATCH", &at, &length_of(&whole, chunked))).await.unwrap();
            stream.write_all(&framed(&whole[..length], chunked)).await.unwrap();
            stream.flush().await.unwrap();
            if polite {
                stream.shutdown().await.unwrap();
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                assert!(answer(&said).is_none_or(|answer| !answer.status.is_success()));
            }
            drop(stream);
            stands_at(&kept, &at, length).await;
            goes_on(&kept, &at, length, &whole).await;
        }
    }
    kept.all_there(8).await;
}

#[tokio::test]
async fn a_body_without_end() {
    /// More than is read of what was refused.
    const LIMIT: usize = 17 << 20;
    let world = World::with(Limits { blob: LIMIT as u64, ..Limits::default() }).await;
    let kept = Kept::new(&world).await;
    let at = kept.begin().await;
    assert_eq!(kept.send(Method::PATCH, &at, &[], b"acknowledged").await.status, StatusCode::ACCEPTED);
    let single = format!("/v2/open/a/blobs/uploads/?digest={}", Digest::of(b"x"));
    let end = format!("{at}?digest={}", Digest::of(b"x"));
    for (method, path) in [("PATCH", &at), ("PUT", &end), ("POST", &single)] {
        // Who says that it will be too much is told before he sends any of it.
        for length in [LIMIT + 1, 1 << 40, 1 << 62] {
            for more in ["", "expect: 100-continue\r\n", "content-type: application/octet-stream\r\n"] {
                let lines = format!("{more}content-length: {length}\r\n");
                let mut stream = connect(kept.server, None, "http/1.1").await.unwrap();
                stream.write_all(&head(&kept, method, path, &lines)).await.unwrap();
                let mut said = [0; 4096];
                let length = stream.read(&mut said).await.unwrap();
                let told = answer(&said[..length]).expect("an answer without a body");
                assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE, "{method}");
            }
        }
        for odd in ["-1", "1e9", "0x10", "18446744073709551616", "5 5", ""] {
            let told = raw(
                kept.server,
                &head(&kept, method, path, &format!("content-length: {odd}\r\nconnection: close\r\n")),
            )
            .await;
            assert!(told.is_none_or(|told| told.status.is_client_error()), "{method} {odd}");
        }
        // Who does not say so is told when it is; what follows is not waited for.
        let mut stream = connect(kept.server, None, "http/1.1").await.unwrap();
        stream.write_all(&head(&kept, method, path, "transfer-encoding: chunked\r\n")).await.unwrap();
        let chunk = framed(&[7; 100_000], true);
        for _ in 0..LIMIT / 100_000 + 1 {
            stream.write_all(&chunk).await.unwrap();
        }
        let mut said = [0; 4096];
        let length = stream.read(&mut said).await.unwrap();
        let told = answer(&said[..length]).expect("an answer before the end");
        assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE, "{method}");
        refused(&told, method);
        // What was acknowledged before is neither lost nor added to.
        stands_at(&kept, &at, 12).await;
    }
    // On HTTP/2 one need not say how long it is.
    let (bearer, long) = (format!("Bearer {}", kept.token), vec![7; LIMIT + 1]);
    let headers = [("authorization", bearer.as_str())];
    let long = request(kept.server, None, "h2", Method::PATCH, &at, &headers, &long).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    stands_at(&kept, &at, 12).await;
    // As long as it may be, in one more piece.
    let whole = [b"acknowledged".as_slice(), &[7; LIMIT - 12]].concat();
    goes_on(&kept, &at, 12, &whole).await;
    kept.all_there(1).await;
}

#[tokio::test]
async fn more_uploads_than_there_may_be() {
    const MOST: u32 = 5;
    let limits = Limits {
        open_uploads: MOST,
        upload_idle: Duration::from_secs(3600),
        collect: Duration::from_millis(200),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let kept = Kept::new(&world).await;
    let begin = async |token: &Secret, repository: &str| {
        world.write_as(token, Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], b"").await
    };
    let mut begun = Vec::new();
    for _ in 0..MOST {
        begun.push(kept.begin().await);
    }
    let much = vec![9; MUCH];
    assert_eq!(kept.send(Method::PATCH, &begun[0], &[], &much).await.status, StatusCode::ACCEPTED);
    for repository in ["open/a", "open/b", "secret/a"] {
        for _ in 0..3 {
            let answer = begin(&world.token, repository).await;
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"));
            refused(&answer, repository);
        }
    }
    // What is little needs no place among them, in one request; what is much does.
    let single = async |bytes: &[u8]| {
        let path = format!("/v2/open/a/blobs/uploads/?digest={}", Digest::of(bytes));
        kept.send(Method::POST, &path, &[], bytes).await.status
    };
    assert_eq!(
        (single(b"little").await, single(&[8; MUCH]).await),
        (StatusCode::CREATED, StatusCode::TOO_MANY_REQUESTS)
    );
    assert_eq!(begin(&world.second, "open/a").await.status, StatusCode::ACCEPTED, "control: of one writer");
    // Four of the five are forgotten: by the clock an hour passes, which the test takes from what they say of themselves, behind the
    // server's back. And another for what they left.
    let store = world.directory.path().join("store");
    assert_eq!(objects(&store).len(), 2, "the kept one, and that of the first");
    let id = begun[4].rsplit('/').next().unwrap();
    let mut database = database(&store).await;
    let older = sqlx::query("UPDATE uploads SET touched = touched - 4000 WHERE id <> $1").bind(id);
    assert_eq!(older.execute(&mut database).await.unwrap().rows_affected(), 5);
    // What waits to be collected shows as an upload that is not there.
    let mut waited = 0;
    while kept.send(Method::GET, &begun[0], &[], b"").await.status != StatusCode::NOT_FOUND {
        tokio::time::sleep(Duration::from_millis(100)).await;
        waited += 1;
        assert!(waited < 600, "nothing is collected");
    }
    while objects(&store).len() > 1 {
        sqlx::query("UPDATE garbage SET since = since - 4000").execute(&mut database).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        waited += 1;
        assert!(waited < 600, "the object of an upload that is forgotten stays");
    }
    for at in &begun[..4] {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            let answer = kept.send(method, at, &[], b"").await;
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"));
        }
    }
    // Control: the one that is young is there, and there is room for four.
    goes_on(&kept, &begun[4], 0, b"young").await;
    for expected in [StatusCode::ACCEPTED; 5].into_iter().chain([StatusCode::TOO_MANY_REQUESTS]) {
        assert_eq!(begin(&world.token, "open/a").await.status, expected);
    }
    kept.all_there(0).await;
}

/// The server's own, beside it.
async fn database(store: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}", store.join("drawbridge.sqlite").display());
    SqliteConnection::connect(&url).await.unwrap()
}
