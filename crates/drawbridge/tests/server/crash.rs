//! A server in a process of its own: killed in the middle of a push (what was acknowledged is there, and nothing else is),
//! and given a big blob (its memory does not grow with it).
//!
//! The test program starts itself once more as the server, so that the kill is a real one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drawbridge::{Limits, Secret, Storage, serve};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use workload::Digest;

use crate::places::Place;
use crate::support::{Answer, Key, connect, objects, package, request, settings};

const CHILD: &str = "DRAWBRIDGE_TEST_CHILD";
const PLACE: &str = "DRAWBRIDGE_TEST_PLACE";
pub(crate) const TOKEN: &str = "token-of-the-crash-test";

#[tokio::test]
async fn killed_in_the_middle_of_a_push() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return be_the_server(Path::new(&directory)).await;
    }
    let (directory, place) = (tempfile::tempdir().unwrap(), Place::directory());
    let (mut child, server) = start(directory.path(), &place).await;
    let write = async |server, method, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        request(server, None, "http/1.1", method, path, &headers, body).await
    };
    let put = async |server, built: &workload::package::Built, tag: &str| -> Answer {
        for (blob, bytes) in &built.blobs {
            let path = format!("/v2/open/a/blobs/uploads/?digest={}", blob.digest);
            assert_eq!(write(server, Method::POST, &path, &[], bytes).await.status, StatusCode::CREATED);
        }
        let kind = [("content-type", workload::package::MANIFEST)];
        write(server, Method::PUT, &format!("/v2/open/a/manifests/{tag}"), &kind, &built.manifest).await
    };
    let (old, new) = (package("old"), package("new"));
    assert_eq!(put(server, &old, "v1").await.status, StatusCode::CREATED);
    // The second version: one blob acknowledged, one begun in chunks, one in the middle of its body.
    let done = Digest::of(&new.blobs[1].1);
    let path = format!("/v2/open/a/blobs/uploads/?digest={done}");
    assert_eq!(write(server, Method::POST, &path, &[], &new.blobs[1].1).await.status, StatusCode::CREATED);
    let begun = write(server, Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let chunked = begun.header("location").to_owned();
    assert_eq!(write(server, Method::PATCH, &chunked, &[], b"half").await.status, StatusCode::ACCEPTED);
    let long = vec![7; 12 * 1024 * 1024];
    let mut stream = connect(server, None, "http/1.1").await.unwrap();
    let head = format!(
        "POST /v2/open/a/blobs/uploads/?digest={} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
        Digest::of(&long),
        long.len(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&long[..11 * 1024 * 1024]).await.unwrap();
    stream.flush().await.unwrap();
    let store = Path::new(&place.content);
    let in_flight = || objects(store).iter().map(|file| file.metadata().map_or(0, |file| file.len())).max();
    wait_for("bytes of the unfinished upload on the disk", || in_flight() > Some(4_000_000)).await;

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(in_flight() > Some(4_000_000), "control: it was killed in the middle");
    std::fs::remove_file(directory.path().join("address")).unwrap();
    let (mut child, server) = start(directory.path(), &place).await;
    let read = async |path: &str| request(server, None, "http/1.1", Method::GET, path, &[], b"").await;
    assert_eq!(read("/v2/open/a/manifests/v1").await.body, old.manifest, "acknowledged");
    assert_eq!(read("/v2/open/a/tags/list").await.body, br#"{"name":"open/a","tags":["v1"]}"#);
    for (blob, bytes) in &old.blobs {
        assert_eq!(&read(&format!("/v2/open/a/blobs/{}", blob.digest)).await.body, bytes, "acknowledged");
    }
    assert_eq!(read(&format!("/v2/open/a/blobs/{done}")).await.body, new.blobs[1].1, "acknowledged");
    for unfinished in [Digest::of(&long), Digest::of(b"half"), Digest::of(&long[..11 * 1024 * 1024])] {
        assert_eq!(read(&format!("/v2/open/a/blobs/{unfinished}")).await.status, StatusCode::NOT_FOUND);
    }
    // What was acknowledged of the chunks is there as well, and the upload goes on.
    let standing = write(server, Method::GET, &chunked, &[], b"").await;
    assert_eq!((standing.status, standing.header("range")), (StatusCode::NO_CONTENT, "0-3"));
    let path = format!("{chunked}?digest={}", Digest::of(b"half and half"));
    assert_eq!(write(server, Method::PUT, &path, &[], b" and half").await.status, StatusCode::CREATED);
    // And the push that was cut off goes through when it is made again.
    assert_eq!(put(server, &new, "v1").await.status, StatusCode::CREATED);
    assert_eq!(read("/v2/open/a/manifests/v1").await.body, new.manifest);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_big_blob_needs_little_memory() {
    const CHUNK: usize = 1024 * 1024;
    const CHUNKS: usize = 200;
    let (directory, place) = (tempfile::tempdir().unwrap(), Place::directory());
    let (mut child, server) = start(directory.path(), &place).await;
    let chunk: Vec<u8> = (0..=250).cycle().take(CHUNK).collect();
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    (0..CHUNKS).for_each(|_| hash.update(&chunk));
    let digest = Digest::try_from(hash.finish().as_ref()).unwrap();

    let mut stream = connect(server, None, "http/1.1").await.unwrap();
    let length = CHUNK * CHUNKS;
    let head = format!(
        "POST /v2/open/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..CHUNKS {
        stream.write_all(&chunk).await.unwrap();
    }
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..count]));
    let path = format!("/v2/open/a/blobs/{digest}");
    let back = request(server, None, "http/1.1", Method::GET, &path, &[], b"").await;
    assert!(back.body.len() == length && Digest::of(&back.body) == digest);

    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: usize = peak.parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(peak < 100 * 1024, "the server held {peak} kB for a blob of {} kB", length / 1024);
}

/// What the test's second process does.
async fn be_the_server(directory: &Path) {
    let tokens = [TOKEN, "second", "narrow"].map(|token| Secret::new(token.to_owned()));
    let place = std::env::var(PLACE).unwrap();
    let (content, database) = place.split_once('\n').unwrap();
    let storage = Storage::parse(content, Some(database).filter(|url| !url.is_empty()), std::env::vars()).unwrap();
    let settings = settings(storage, &Key::new(), &Key::new(), &tokens, Limits::default());
    let server = serve(settings, TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
    std::fs::write(directory.join("address.new"), server.local_addr.to_string()).unwrap();
    std::fs::rename(directory.join("address.new"), directory.join("address")).unwrap();
    // Until it is killed; not for ever, should the parent die first.
    tokio::time::sleep(Duration::from_secs(120)).await;
}

pub(crate) async fn start(directory: &Path, place: &Place) -> (Child, SocketAddr) {
    let Place { content, database, environment, .. } = place;
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::killed_in_the_middle_of_a_push", "--nocapture"])
        .env(CHILD, directory)
        .env(PLACE, format!("{content}\n{}", database.as_deref().unwrap_or_default()))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = directory.join("address");
    wait_for("the child's address", || address.exists()).await;
    (child, std::fs::read_to_string(address).unwrap().parse().unwrap())
}

/// Waits for something that will come; the limit only ends a test that has failed anyway.
async fn wait_for(what: &str, mut come: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if come() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}
