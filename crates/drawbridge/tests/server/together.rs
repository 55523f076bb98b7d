//! Two Drawbridges on one store, a thousand clients, and one of the two killed now and then.
//!
//! Owns the model: what was acknowledged is there, whatever died; what can be read is whole; and each tag behaves as one
//! register that everybody reads and moves, one at a time (linearizability), although two processes serve it. The servers are this
//! test program, started once more each, so that a kill is a real one.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use workload::Digest;
use workload::package::MANIFEST;

use crate::crash::{TOKEN, start};
use crate::places::Place;
use crate::support::{Answer, try_request};

/// How many clients there are, and how many tags they fight about.
const CLIENTS: usize = 1000;
const TAGS: usize = 20;
/// How often one of the two is killed.
const KILLS: usize = 8;

/// A process that serves, and where; restarted after each kill.
struct Node {
    directory: TempDir,
    child: Mutex<Option<Child>>,
    address: Mutex<SocketAddr>,
}

struct Cluster {
    place: Place,
    nodes: [Node; 2],
}

/// One thing that somebody did to a tag. `None` as value: there was no such tag.
#[derive(Debug, Clone)]
struct Event {
    tag: usize,
    value: Option<Digest>,
    kind: Kind,
    from: Instant,
    /// `None`: nobody knows whether and when it happened.
    to: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_directory_and_sqlite() {
    a_thousand_clients(Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bucket_and_postgresql() {
    if let Some(place) = Place::bucket() {
        a_thousand_clients(place).await;
    }
}

#[expect(clippy::print_stdout, reason = "what was done")]
async fn a_thousand_clients(place: Place) {
    let name = place.name;
    let cluster = Arc::new(Cluster::start(place).await);
    let history: Arc<Mutex<Vec<Event>>> = Arc::default();
    let acknowledged: Arc<Mutex<BTreeMap<Digest, Vec<u8>>>> = Arc::default();
    let (done, unknown, over) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let killer = tokio::spawn({
        let (cluster, done, over) = (Arc::clone(&cluster), Arc::clone(&done), Arc::clone(&over));
        async move {
            for kill in 1..=KILLS {
                // Spread over the work, however long it takes.
                while done.load(Ordering::SeqCst) < kill * CLIENTS / (KILLS + 1) && !over.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                cluster.kill(random() % 2).await;
            }
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (cluster, history, acknowledged) = (Arc::clone(&cluster), Arc::clone(&history), Arc::clone(&acknowledged));
        let (done, unknown) = (Arc::clone(&done), Arc::clone(&unknown));
        clients.spawn(async move {
            let tag = client % TAGS;
            let read = async || {
                let from = Instant::now();
                let answer = cluster.request(Method::GET, &format!("/v2/open/a/manifests/tag-{tag}"), &[], b"").await;
                let value = match answer {
                    Some(Answer { status: StatusCode::OK, body, .. }) => Some(Digest::of(&body)),
                    Some(Answer { status: StatusCode::NOT_FOUND, .. }) => None,
                    Some(other) if other.status.is_server_error() => return,
                    Some(other) => panic!("{}", other.status),
                    None => return,
                };
                let to = Some(Instant::now());
                history.lock().unwrap().push(Event { tag, value, kind: Kind::Read, from, to });
            };
            read().await;
            // Large enough to be an object, in two of three; some are the same as another client's.
            let layer = vec![u8::try_from(client % 200).unwrap(); if client % 3 == 0 { 500 } else { 40_000 }];
            let config = json!({ "client": client }).to_string().into_bytes();
            let mut whole = true;
            for blob in [&layer, &config] {
                whole &= cluster.push(blob).await;
                if whole {
                    acknowledged.lock().unwrap().insert(Digest::of(blob), blob.clone());
                }
            }
            let descriptor =
                |bytes: &[u8]| json!({ "mediaType": "a/b", "digest": Digest::of(bytes), "size": bytes.len() });
            // What was not acknowledged may have happened or not: another try is another value.
            for tries in 0..10 {
                if !whole {
                    break;
                }
                let manifest = json!({
                    "schemaVersion": 2, "config": descriptor(&config), "layers": [descriptor(&layer)],
                    "annotations": { "try": tries.to_string() },
                });
                let manifest = manifest.to_string().into_bytes();
                let (from, path) = (Instant::now(), format!("/v2/open/a/manifests/tag-{tag}"));
                let answer = cluster.request(Method::PUT, &path, &[("content-type", MANIFEST)], &manifest).await;
                let to = match answer {
                    Some(Answer { status: StatusCode::CREATED, .. }) => Some(Instant::now()),
                    Some(other) if !other.status.is_server_error() => {
                        panic!("{} {}", other.status, String::from_utf8_lossy(&other.body))
                    }
                    _ => None,
                };
                let value = Some(Digest::of(&manifest));
                history.lock().unwrap().push(Event { tag, value, kind: Kind::Write, from, to });
                if to.is_some() {
                    acknowledged.lock().unwrap().insert(Digest::of(&manifest), manifest);
                    break;
                }
                unknown.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            read().await;
            done.fetch_add(1, Ordering::SeqCst);
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    killer.await.unwrap();

    // All that was acknowledged is there, whole, on both.
    let acknowledged = acknowledged.lock().unwrap().clone();
    let history = history.lock().unwrap().clone();
    for (digest, bytes) in &acknowledged {
        let kind = if bytes.starts_with(b"{\"annotations\"") { "manifests" } else { "blobs" };
        let path = format!("/v2/open/a/{kind}/{digest}");
        for node in 0..2 {
            let answer =
                cluster.request_at(node, Method::GET, &path, &[], b"").await.expect("nobody is killed any more");
            assert!(answer.status == StatusCode::OK && answer.body == *bytes, "{name}: {path} {}", answer.status);
        }
    }
    let writes = history.iter().filter(|event| event.kind == Kind::Write).count();
    let unknown = unknown.load(Ordering::SeqCst);
    println!(
        "{name}: {} blobs and manifests acknowledged, {writes} tags moved ({unknown} of them nobody knows), {} reads, {KILLS} kills",
        acknowledged.len(),
        history.len() - writes
    );
    assert!(writes - unknown > CLIENTS / 2, "control: most went through");
    assert!(history.iter().any(|event| event.kind == Kind::Read && event.value.is_some()), "control: tags were read");
    for tag in 0..TAGS {
        let events: Vec<Event> = history.iter().filter(|event| event.tag == tag).cloned().collect();
        if let Err(why) = linearizable(&events) {
            panic!("{name}: tag-{tag}: {why}");
        }
    }
}

impl Cluster {
    async fn start(place: Place) -> Self {
        let node = async |place: &Place| {
            let directory = tempfile::tempdir().unwrap();
            let (child, address) = start(directory.path(), place).await;
            Node { directory, child: Mutex::new(Some(child)), address: Mutex::new(address) }
        };
        let nodes = [node(&place).await, node(&place).await];
        Self { place, nodes }
    }

    /// SIGKILL, and another process in its place.
    async fn kill(&self, node: usize) {
        let node = &self.nodes[node];
        let mut child = node.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(node.directory.path().join("address")).unwrap();
        let (child, address) = start(node.directory.path(), &self.place).await;
        *node.child.lock().unwrap() = Some(child);
        *node.address.lock().unwrap() = address;
    }

    /// To one of the two. `None`: it was killed meanwhile, perhaps.
    async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        self.request_at(random() % 2, method, path, headers, body).await
    }

    async fn request_at(
        &self,
        node: usize,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let address = *self.nodes[node].address.lock().unwrap();
        let bearer = format!("Bearer {TOKEN}");
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        try_request(address, None, "http/1.1", method, path, &headers, body).await.ok()
    }

    /// Whether it was acknowledged, in up to so many tries: what failed may be tried again.
    async fn push(&self, bytes: &[u8]) -> bool {
        for _ in 0..20 {
            let path = format!("/v2/open/a/blobs/uploads/?digest={}", Digest::of(bytes));
            match self.request(Method::POST, &path, &[], bytes).await {
                Some(Answer { status: StatusCode::CREATED, .. }) => return true,
                Some(other) if !other.status.is_server_error() => {
                    panic!("{} {}", other.status, String::from_utf8_lossy(&other.body))
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        false
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether one register could have seen all this, one thing at a time. Each value is written once, so it can be said by zones
/// (Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26(4), 1997, section 4.2): what was done with one value
/// is a zone from the first end to the last beginning. Where that is a stretch of time, the register had this value all along it, so two of
/// them cannot overlap; where it is not, all fits at one moment, which must not lie within such a stretch of another value.
fn linearizable(events: &[Event]) -> Result<(), String> {
    let first = events.iter().map(|event| event.from).min().ok_or("nothing was done")?;
    let before = first.checked_sub(Duration::from_secs(1)).ok_or("the clock has just begun")?;
    let last = events.iter().filter_map(|event| event.to).max().ok_or("nothing ended")?;
    let mut clusters: HashMap<Option<Digest>, Vec<&Event>> = HashMap::new();
    for event in events {
        clusters.entry(event.value).or_default().push(event);
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, cluster) in clusters {
        let write = cluster.iter().find(|event| event.kind == Kind::Write);
        // That there is no tag was so from the beginning.
        let begun = match (value, write) {
            (None, _) => before,
            (Some(_), Some(write)) => write.from,
            (Some(value), None) => return Err(format!("{value} was read and nobody wrote it")),
        };
        let reads = || cluster.iter().filter(|event| event.kind == Kind::Read);
        if reads().any(|read| read.to.unwrap_or(last) < begun) {
            return Err(format!("{value:?} was read before it was written"));
        }
        let unknown = write.is_some_and(|write| write.to.is_none());
        if unknown && reads().next().is_none() {
            continue;
        }
        let written = if value.is_none() { Some(before) } else { write.and_then(|write| write.to) };
        let ends = reads().filter_map(|read| read.to).chain(written);
        let end = ends.min().unwrap_or(last);
        let begin = reads().map(|read| read.from).chain([begun]).max().unwrap_or(begun);
        if end < begin { forward.push((end, begin, value)) } else { backward.push((begin, end, value)) }
    }
    forward.sort_by_key(|zone| zone.0);
    for pair in forward.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!("{:?} and {:?} were both there at one time", pair[0].2, pair[1].2));
        }
    }
    for (from, to, value) in backward {
        if let Some(zone) = forward.iter().find(|zone| zone.0 < from && to < zone.1) {
            return Err(format!("{value:?} was there in the middle of {:?}", zone.2));
        }
    }
    Ok(())
}

fn random() -> usize {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    usize::from(u16::from_le_bytes(bytes))
}

/// The judge is judged: histories that no register has, beside ones that it has.
#[test]
fn what_no_register_does_is_found() {
    let start = Instant::now();
    let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
    let (one, two) = (Some(Digest::of(b"1")), Some(Digest::of(b"2")));
    let event =
        |kind, value, from, to: u64| Event { tag: 0, value, kind, from: at(from), to: (to > 0).then(|| at(to)) };
    let (read, write) = (Kind::Read, Kind::Write);
    let good: [&[Event]; 6] = [
        &[event(write, one, 0, 10), event(read, one, 20, 30), event(write, two, 40, 50), event(read, two, 60, 70)],
        // At the same time: either order.
        &[event(write, one, 0, 10), event(write, two, 0, 10), event(read, one, 20, 30)],
        &[event(write, one, 0, 10), event(write, two, 0, 10), event(read, two, 20, 30)],
        // Nobody knows whether it was written: it may be seen, or not.
        &[event(write, one, 0, 10), event(write, two, 20, 0), event(read, one, 30, 40)],
        &[event(write, one, 0, 10), event(write, two, 20, 0), event(read, one, 30, 40), event(read, two, 50, 60)],
        &[event(read, None, 0, 5), event(write, one, 10, 20), event(read, one, 12, 15)],
    ];
    for history in good {
        assert_eq!(linearizable(history), Ok(()), "{history:?}");
    }
    let bad: [&[Event]; 6] = [
        // A step back.
        &[event(write, one, 0, 10), event(write, two, 20, 30), event(read, one, 40, 50)],
        &[event(write, one, 0, 10), event(write, two, 20, 0), event(read, two, 30, 40), event(read, one, 50, 60)],
        // Lost after it was acknowledged.
        &[event(write, one, 0, 10), event(read, None, 20, 30)],
        // Read before it was written, or never written.
        &[event(read, one, 0, 5), event(write, one, 10, 20)],
        &[event(read, one, 0, 5), event(write, two, 10, 20)],
        // Two that both last.
        &[event(write, one, 0, 1), event(write, two, 2, 3), event(read, one, 10, 11), event(read, two, 12, 13)],
    ];
    for history in bad {
        assert!(linearizable(history).is_err(), "{history:?}");
    }
}
