//! OCI Distribution 1.1, case by case, at every kind of place: what the official conformance program asks of a registry
//! (its four groups: pull, push, content discovery, content management), written anew from the specification.
//!
//! Each case has the words of the specification that it is about. What a registry may leave out is not left out here.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use workload::Digest;
use workload::package::MANIFEST;

use crate::places::Place;
use crate::support::{Answer, World, request};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EMPTY: &[u8] = b"{}";

/// A registry at some place, and the count of cases it passed.
struct Registry {
    world: World,
    place: &'static str,
    cases: usize,
}

impl Registry {
    /// One case: what the specification says, and whether it is so.
    fn case(&mut self, says: &str, holds: bool, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)]);
        let Self { place, .. } = self;
        assert!(holds, "{place}: {says}\nstatus {} {:?}\n{body}", answer.status, answer.headers);
        self.cases += 1;
    }

    async fn write(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.world.write(method, path, headers, body).await
    }

    /// As the official program asks: logged in.
    async fn get(&self, path: &str) -> Answer {
        self.write(Method::GET, path, &[], b"").await
    }

    async fn head(&self, path: &str) -> Answer {
        self.write(Method::HEAD, path, &[], b"").await
    }

    async fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let digest = self.world.blob(&self.world.token, repository, bytes).await;
        json!({ "mediaType": "application/octet-stream", "digest": digest, "size": bytes.len() })
    }

    async fn put(&self, repository: &str, reference: &str, kind: &str, manifest: &Value) -> (Digest, Answer) {
        let bytes = manifest.to_string().into_bytes();
        let path = format!("/v2/{repository}/manifests/{reference}");
        (Digest::of(&bytes), self.write(Method::PUT, &path, &[("content-type", kind)], &bytes).await)
    }

    /// An image of these layers, under this tag.
    async fn image(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> (Digest, Value) {
        let config = self.blob(repository, json!({ "of": tag }).to_string().as_bytes()).await;
        let mut of = Vec::new();
        for layer in layers {
            of.push(self.blob(repository, layer).await);
        }
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": of });
        let (digest, answer) = self.put(repository, tag, MANIFEST, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
        (digest, manifest)
    }
}

#[tokio::test]
async fn in_memory() {
    all_groups(Place::memory()).await;
}

#[tokio::test]
async fn in_a_directory() {
    all_groups(Place::directory()).await;
}

#[tokio::test]
async fn in_a_directory_with_postgresql() {
    if let Some(place) = Place::postgres() {
        all_groups(place).await;
    }
}

#[tokio::test]
async fn in_a_bucket_with_postgresql() {
    if let Some(place) = Place::bucket() {
        all_groups(place).await;
    }
}

#[expect(clippy::print_stdout, reason = "how many cases there are")]
async fn all_groups(place: Place) {
    let world = World::at(place.storage(), drawbridge::Limits::default()).await;
    let mut registry = Registry { world, place: place.name, cases: 0 };
    push(&mut registry).await;
    sha512(&mut registry).await;
    pull(&mut registry).await;
    discovery(&mut registry).await;
    management(&mut registry).await;
    println!("{}: {} cases", place.name, registry.cases);
}

async fn push(r: &mut Registry) {
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(100_000).collect();
    let digest = Digest::of(&bytes);

    // "POST then PUT"
    let begun = r.write(Method::POST, "/v2/open/a/blobs/uploads/", &[("content-length", "0")], b"").await;
    r.case(
        "POST MUST be 202 with a Location",
        begun.status == StatusCode::ACCEPTED && !begun.header("location").is_empty(),
        &begun,
    );
    let path = format!("{}?digest={digest}", begun.header("location"));
    let kind = [("content-type", "application/octet-stream")];
    let ended = r.write(Method::PUT, &path, &kind, &bytes).await;
    r.case("PUT MUST be 201", ended.status == StatusCode::CREATED, &ended);
    let there = r.get(ended.header("location")).await;
    r.case("Location MUST be a pullable blob URL", there.status == StatusCode::OK && there.body == bytes, &there);

    // "Single POST"
    let path = format!("/v2/open/a/blobs/uploads/?digest={}", Digest::of(b"single"));
    let single = r.write(Method::POST, &path, &kind, b"single").await;
    r.case("single POST MUST be 201, or 202 to go on", single.status == StatusCode::CREATED, &single);

    // "Pushing a blob in chunks"
    let chunked = [&bytes[..], b"and more"].concat();
    let begun = r.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let at = begun.header("location").to_owned();
    let (first, rest) = chunked.split_at(60_000);
    let range = |from: usize, to: usize| format!("{from}-{}", to - 1);
    let chunk = async |r: &Registry, from: usize, part: &[u8]| {
        let range = range(from, from + part.len());
        let headers = [("content-range", range.as_str()), ("content-type", "application/octet-stream")];
        r.write(Method::PATCH, &at, &headers, part).await
    };
    let early = chunk(r, 60_000, rest).await;
    r.case("a chunk out of order MUST be 416", early.status == StatusCode::RANGE_NOT_SATISFIABLE, &early);
    let one = chunk(r, 0, first).await;
    let good =
        one.status == StatusCode::ACCEPTED && one.header("range") == "0-59999" && !one.header("location").is_empty();
    r.case("PATCH MUST be 202 with Range and Location", good, &one);
    let again = chunk(r, 0, first).await;
    r.case("the same chunk again MUST be 416", again.status == StatusCode::RANGE_NOT_SATISFIABLE, &again);
    let status = r.write(Method::GET, &at, &[], b"").await;
    let good = status.status == StatusCode::NO_CONTENT && status.header("range") == "0-59999";
    r.case(
        "GET of the upload MUST be 204 with Range and Location",
        good && !status.header("location").is_empty(),
        &status,
    );
    let path = format!("{at}?digest={}", Digest::of(&chunked));
    let tail = range(60_000, chunked.len());
    let ended = r.write(Method::PUT, &path, &[("content-range", &tail)], rest).await;
    r.case("PUT with the last chunk MUST be 201", ended.status == StatusCode::CREATED, &ended);
    let there = r.get(&format!("/v2/open/a/blobs/{}", Digest::of(&chunked))).await;
    r.case("what came in chunks is whole", there.body == chunked, &there);

    // Streamed: PATCH without a range, PUT without a body.
    let begun = r.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let at = begun.header("location").to_owned();
    r.write(Method::PATCH, &at, &[], b"streamed").await;
    let ended = r.write(Method::PUT, &format!("{at}?digest={}", Digest::of(b"streamed")), &[], b"").await;
    r.case("PATCH without a range, then PUT without a body", ended.status == StatusCode::CREATED, &ended);
    let there = r.get(&format!("/v2/open/a/blobs/{}", Digest::of(b"streamed"))).await;
    r.case("what was streamed is whole", there.body == b"streamed", &there);

    // An empty blob, in both ways.
    let none = Digest::of(b"");
    let empty = r.write(Method::POST, &format!("/v2/open/a/blobs/uploads/?digest={none}"), &[], b"").await;
    r.case("an empty blob is a blob", empty.status == StatusCode::CREATED, &empty);
    let begun = r.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let empty = r.write(Method::PUT, &format!("{}?digest={none}", begun.header("location")), &[], b"").await;
    r.case("an empty blob is a blob in an upload too", empty.status == StatusCode::CREATED, &empty);
    let there = r.get(&format!("/v2/open/a/blobs/{none}")).await;
    r.case("an empty blob has no bytes", there.status == StatusCode::OK && there.body.is_empty(), &there);

    // Wrong digests.
    let wrong = Digest::of(b"something else");
    let lie = r.write(Method::POST, &format!("/v2/open/a/blobs/uploads/?digest={wrong}"), &[], b"this").await;
    r.case("a digest that is not that of the body MUST be 400", lie.status == StatusCode::BAD_REQUEST, &lie);
    r.case("its code is DIGEST_INVALID", lie.code() == "DIGEST_INVALID", &lie);
    for digest in ["sha256:123", "sha999:aa", "nothing"] {
        let odd = r.write(Method::POST, &format!("/v2/open/a/blobs/uploads/?digest={digest}"), &[], b"this").await;
        r.case("what is no digest is 400", odd.status == StatusCode::BAD_REQUEST, &odd);
    }

    // "Mounting a blob from another repository"
    let mount = |from: &str, digest: &Digest| format!("/v2/open/b/blobs/uploads/?mount={digest}&from={from}");
    let mounted = r.write(Method::POST, &mount("open/a", &digest), &[], b"").await;
    let good = mounted.status == StatusCode::CREATED && mounted.header("location").contains(&digest.to_string());
    r.case("a mount MUST be 201 with the blob's Location", good, &mounted);
    let there = r.get(mounted.header("location")).await;
    r.case("what was mounted can be pulled", there.body == bytes, &there);
    let missing = r.write(Method::POST, &mount("open/a", &Digest::of(b"nowhere")), &[], b"").await;
    r.case("a mount of what is not there begins an upload", missing.status == StatusCode::ACCEPTED, &missing);
    let nameless = r.write(Method::POST, &format!("/v2/open/b/blobs/uploads/?mount={digest}"), &[], b"").await;
    r.case("a mount from nowhere begins an upload", nameless.status == StatusCode::ACCEPTED, &nameless);

    // "Cancel a blob upload"
    let begun = r.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let at = begun.header("location");
    let cancelled = r.write(Method::DELETE, at, &[], b"").await;
    r.case("DELETE of an upload is 204", cancelled.status == StatusCode::NO_CONTENT, &cancelled);
    let gone = r.write(Method::GET, at, &[], b"").await;
    r.case("a cancelled upload is 404", gone.status == StatusCode::NOT_FOUND, &gone);

    // "Pushing Manifests"
    let (config, layer) = (r.blob("open/a", EMPTY).await, r.blob("open/a", b"layer").await);
    let image = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    let (digest, put) = r.put("open/a", "pushed", MANIFEST, &image).await;
    let location = put.header("location").to_owned();
    r.case(
        "PUT of a manifest MUST be 201 with a Location",
        put.status == StatusCode::CREATED && !location.is_empty(),
        &put,
    );
    let there = r.get(&location).await;
    r.case("its Location is the manifest's", there.body == image.to_string().as_bytes(), &there);
    let (_, put) = r.put("open/a", &digest.to_string(), MANIFEST, &image).await;
    r.case("PUT by digest", put.status == StatusCode::CREATED, &put);
    for layers in [json!([]), json!([layer, layer])] {
        let image = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let (_, put) = r.put("open/a", "odd", MANIFEST, &image).await;
        r.case("no layer, and one layer twice, are images", put.status == StatusCode::CREATED, &put);
    }
    let mut fields = image.clone();
    fields["org.example.more"] = json!({ "and": ["more"] });
    fields["layers"][0]["data"] = json!("bGF5ZXI=");
    let (_, put) = r.put("open/a", "fields", MANIFEST, &fields).await;
    r.case("fields nobody knows are kept", put.status == StatusCode::CREATED, &put);
    let there = r.get("/v2/open/a/manifests/fields").await;
    r.case("to the byte", there.body == fields.to_string().as_bytes(), &there);
    let mut foreign = image.clone();
    foreign["layers"][0] = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": Digest::of(b"elsewhere"), "size": 3, "urls": ["https://store.example.com/x"],
    });
    let (_, put) = r.put("open/a", "foreign", MANIFEST, &foreign).await;
    r.case("a layer that is not distributed need not be there", put.status == StatusCode::CREATED, &put);
    let long: serde_json::Map<String, Value> =
        (0..390).map(|n| (format!("large-{n}"), json!("A".repeat(10_000)))).collect();
    let mut large = image.clone();
    large["annotations"] = long.into();
    let (_, put) = r.put("open/a", "large", MANIFEST, &large).await;
    r.case("a manifest of nearly 4 MiB", put.status == StatusCode::CREATED, &put);
    let there = r.get("/v2/open/a/manifests/large").await;
    r.case("comes back", there.body == large.to_string().as_bytes(), &there);
    let huge =
        json!({ "schemaVersion": 2, "config": config, "layers": [], "annotations": { "a": "A".repeat(5 << 20) } });
    let (_, put) = r.put("open/a", "huge", MANIFEST, &huge).await;
    r.case("a manifest that is too long SHOULD be 413", put.status == StatusCode::PAYLOAD_TOO_LARGE, &put);
    let lost = json!({ "mediaType": "a/b", "digest": Digest::of(b"lost"), "size": 4 });
    let missing = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [lost] });
    let (_, put) = r.put("open/a", "missing", MANIFEST, &missing).await;
    let good = put.status == StatusCode::BAD_REQUEST && put.code() == "MANIFEST_BLOB_UNKNOWN";
    r.case("a manifest with a blob that is not there is 400", good, &put);
    let (_, put) = r.put("open/a", "bad", MANIFEST, &json!("not a manifest")).await;
    r.case(
        "what is no manifest is 400",
        put.status == StatusCode::BAD_REQUEST && put.code() == "MANIFEST_INVALID",
        &put,
    );
    let bad = r.write(Method::PUT, "/v2/open/a/manifests/bad", &[("content-type", MANIFEST)], b"{ broken").await;
    r.case("what is no JSON is 400", bad.status == StatusCode::BAD_REQUEST, &bad);
    let other = Digest::of(b"other").to_string();
    let (_, put) = r.put("open/a", &other, MANIFEST, &image).await;
    r.case("a manifest under another digest is 400", put.status == StatusCode::BAD_REQUEST, &put);

    // Indexes: of images, of indexes, of nothing.
    let child = json!({ "mediaType": MANIFEST, "digest": digest, "size": image.to_string().len() });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [child] });
    let (of, put) = r.put("open/a", "index", INDEX, &index).await;
    r.case("an index of an image", put.status == StatusCode::CREATED, &put);
    let child = json!({ "mediaType": INDEX, "digest": of, "size": index.to_string().len() });
    let nested = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [child] });
    let (_, put) = r.put("open/a", "nested", INDEX, &nested).await;
    r.case("an index of an index", put.status == StatusCode::CREATED, &put);
    let (_, put) = r.put("open/a", "none", INDEX, &json!({ "schemaVersion": 2, "manifests": [] })).await;
    r.case("an index of nothing", put.status == StatusCode::CREATED, &put);
}

/// The other registered algorithm: everything has to take it.
async fn sha512(r: &mut Registry) {
    let name = |bytes: &[u8]| format!("sha512:{}", hex::encode(<[u8; 64]>::from(Sha512::digest(bytes))));
    // A row, and an object.
    for bytes in [b"".to_vec(), b"little".to_vec(), vec![5; 50_000]] {
        let digest = name(&bytes);
        let path = format!("/v2/open/a/blobs/uploads/?digest={digest}");
        let single = r.write(Method::POST, &path, &[], &bytes).await;
        r.case("POST of a sha512 digest", single.status == StatusCode::CREATED, &single);
        let begun = r.write(Method::POST, "/v2/open/b/blobs/uploads/", &[], b"").await;
        let at = begun.header("location").to_owned();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        r.write(Method::PATCH, &at, &[], first).await;
        let wrong = format!("{at}?digest={}", name(b"something else"));
        let ended = r.write(Method::PUT, &format!("{at}?digest={digest}"), &[], second).await;
        r.case("in chunks", ended.status == StatusCode::CREATED, &ended);
        for repository in ["a", "b"] {
            let path = format!("/v2/open/{repository}/blobs/{digest}");
            let (head, get) = (r.head(&path).await, r.get(&path).await);
            r.case("HEAD", head.status == StatusCode::OK && head.header("docker-content-digest") == digest, &head);
            r.case("GET", get.status == StatusCode::OK && get.body == bytes, &get);
        }
        let gone = r.write(Method::PUT, &wrong, &[], b"").await;
        r.case("the upload ended", gone.status == StatusCode::NOT_FOUND, &gone);
        for path in [format!("/v2/open/a/blobs/uploads/?digest={}", name(b"something else"))] {
            let lie = r.write(Method::POST, &path, &[], &bytes).await;
            r.case("bytes of another sha512", lie.code() == "DIGEST_INVALID", &lie);
        }
    }
    let layer = json!({ "mediaType": "a/b", "digest": name(b"little"), "size": 6 });
    let image = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer] });
    let digest = name(image.to_string().as_bytes());
    let (_, lie) = r.put("open/a", &name(b"something else"), MANIFEST, &image).await;
    r.case("a manifest under another sha512", lie.code() == "DIGEST_INVALID", &lie);
    let (_, put) = r.put("open/a", &digest, MANIFEST, &image).await;
    r.case("a manifest by sha512", put.status == StatusCode::CREATED && put.header("location").contains(&digest), &put);
    let there = r.get(&format!("/v2/open/a/manifests/{digest}")).await;
    r.case("comes back", there.body == image.to_string().as_bytes(), &there);
    let of = json!({ "mediaType": MANIFEST, "digest": digest, "size": image.to_string().len() });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [of], "subject": of });
    let (_, put) = r.put("open/a", "of-sha512", INDEX, &index).await;
    r.case("an index of it, about it", put.header("oci-subject") == digest, &put);
    let listed = r.get(&format!("/v2/open/a/referrers/{digest}")).await;
    let listed_there =
        String::from_utf8_lossy(&listed.body).contains("application/vnd.oci.image.index.v1+json\",\"size");
    r.case("its referrers", listed.status == StatusCode::OK && listed_there, &listed);
    let odd = r.get("/v2/open/a/blobs/sha512:abc").await;
    r.case("what is no sha512 is 400", odd.status == StatusCode::BAD_REQUEST, &odd);
}

async fn pull(r: &mut Registry) {
    let (digest, manifest) = r.image("open/a", "pulled", &[b"first layer", b"second"]).await;
    let bytes = manifest.to_string().into_bytes();
    for reference in ["pulled".to_owned(), digest.to_string()] {
        let path = format!("/v2/open/a/manifests/{reference}");
        let (head, get) = (r.head(&path).await, r.get(&path).await);
        let good = head.status == StatusCode::OK && head.header("content-length") == bytes.len().to_string();
        r.case("HEAD of a manifest MUST be 200 with its length", good, &head);
        r.case("GET of a manifest MUST be 200 with its bytes", get.status == StatusCode::OK && get.body == bytes, &get);
        for answer in [head, get] {
            let said = answer.header("docker-content-digest") == digest.to_string();
            r.case("Docker-Content-Digest is its digest", said, &answer);
            r.case("Content-Type is its media type", answer.header("content-type") == MANIFEST, &answer);
        }
    }
    let blob = Digest::of(b"first layer");
    let path = format!("/v2/open/a/blobs/{blob}");
    let (head, get) = (r.head(&path).await, r.get(&path).await);
    let good = head.status == StatusCode::OK && head.header("content-length") == "11";
    r.case("HEAD of a blob MUST be 200 with its length", good, &head);
    r.case(
        "GET of a blob MUST be 200 with its bytes",
        get.status == StatusCode::OK && get.body == b"first layer",
        &get,
    );
    let token = format!("Bearer {}", r.world.token.expose());
    let part = [("range", "bytes=6-8"), ("authorization", token.as_str())];
    let part = request(r.world.server.local_addr, None, "http/1.1", Method::GET, &path, &part, b"").await;
    r.case("a range is 206", part.status == StatusCode::PARTIAL_CONTENT && part.body == b"lay", &part);
    let none = Digest::of(b"not there");
    for path in [
        format!("/v2/open/a/blobs/{none}"),
        format!("/v2/open/a/manifests/{none}"),
        "/v2/open/a/manifests/nothing".to_owned(),
        "/v2/absent/manifests/nothing".to_owned(),
    ] {
        let (head, get) = (r.head(&path).await, r.get(&path).await);
        r.case("HEAD of what is not there MUST be 404", head.status == StatusCode::NOT_FOUND, &head);
        r.case("GET of what is not there MUST be 404", get.status == StatusCode::NOT_FOUND, &get);
        r.case("its code is one of the specification's", get.code().ends_with("_UNKNOWN"), &get);
    }
    let odd = r.get("/v2/open/a/manifests/.not-a-tag").await;
    r.case("what is no tag is 400", odd.status == StatusCode::BAD_REQUEST, &odd);
    let base = r.write(Method::GET, "/v2/", &[], b"").await;
    r.case("/v2/ MUST be 200", base.status == StatusCode::OK, &base);
}

async fn discovery(r: &mut Registry) {
    for tag in ["b", "a", "C", "test0", "test1", "_"] {
        r.image("open/b", tag, &[b"layer"]).await;
    }
    let tags = |answer: &Answer| -> Vec<String> {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    };
    let all = r.get("/v2/open/b/tags/list").await;
    let sorted = tags(&all) == ["C", "_", "a", "b", "test0", "test1"];
    r.case("tags MUST be in lexical order", all.status == StatusCode::OK && sorted, &all);
    let page = r.get("/v2/open/b/tags/list?n=4").await;
    r.case("n bounds the list", tags(&page) == ["C", "_", "a", "b"], &page);
    let next = page.header("link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    r.case("a Link (RFC 5988) says where it goes on", next.is_some(), &page);
    let rest = r.get(next.unwrap()).await;
    r.case("and there is the rest", tags(&rest) == ["test0", "test1"] && rest.header("link").is_empty(), &rest);
    let last = r.get("/v2/open/b/tags/list?n=2&last=b").await;
    r.case("last begins after it", tags(&last) == ["test0", "test1"], &last);
    let none = r.get("/v2/open/b/tags/list?n=0").await;
    r.case("n=0 MUST be an empty list without Link", tags(&none).is_empty() && none.header("link").is_empty(), &none);
    let absent = r.get("/v2/absent/tags/list").await;
    r.case("tags of what is not there are 404", absent.status == StatusCode::NOT_FOUND, &absent);

    // "Listing Referrers"
    let (subject, manifest) = r.image("open/b", "subject", &[b"layer"]).await;
    let about = json!({ "mediaType": MANIFEST, "digest": subject, "size": manifest.to_string().len() });
    let descriptors = |answer: &Answer| -> Vec<Value> {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(INDEX)));
        body["manifests"].as_array().unwrap().clone()
    };
    let path = format!("/v2/open/b/referrers/{subject}");
    let none = r.get(&path).await;
    let good = none.status == StatusCode::OK && none.header("content-type") == INDEX && descriptors(&none).is_empty();
    r.case("no referrers MUST be an empty index", good, &none);
    let (config, layer) = (r.blob("open/b", EMPTY).await, r.blob("open/b", b"signature").await);
    let mut put = Vec::new();
    for (kind, tag) in [("application/vnd.example.a", "ref-a"), ("application/vnd.example.b", "")] {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": config, "layers": [layer],
            "subject": about, "annotations": { "org.example.of": kind },
        });
        let reference =
            if tag.is_empty() { Digest::of(manifest.to_string().as_bytes()).to_string() } else { tag.to_owned() };
        let (digest, answer) = r.put("open/b", &reference, MANIFEST, &manifest).await;
        let said = answer.status == StatusCode::CREATED && answer.header("oci-subject") == subject.to_string();
        r.case("PUT with a subject MUST be 201 with OCI-Subject", said, &answer);
        put.push((digest, kind, manifest.to_string().len()));
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "artifactType": "application/vnd.example.index", "manifests": [],
        "subject": about,
    });
    let (digest, answer) = r.put("open/b", "ref-index", INDEX, &index).await;
    r.case("an index may have a subject", answer.header("oci-subject") == subject.to_string(), &answer);
    let bare = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [], "subject": about,
    });
    let (bare, answer) = r.put("open/b", "ref-bare", MANIFEST, &bare).await;
    r.case("an image without artifactType may have one", answer.status == StatusCode::CREATED, &answer);
    let all = r.get(&path).await;
    let found = descriptors(&all);
    r.case("all referrers are listed", found.len() == 4, &all);
    for (digest, kind, size) in &put {
        let expected = json!({
            "mediaType": MANIFEST, "digest": digest, "size": size, "artifactType": kind,
            "annotations": { "org.example.of": kind },
        });
        r.case("a descriptor MUST have type, size and annotations of the manifest", found.contains(&expected), &all);
    }
    let of_index = found.iter().find(|one| one["digest"] == json!(digest)).unwrap();
    let good = of_index["artifactType"] == "application/vnd.example.index" && of_index["mediaType"] == INDEX;
    r.case("an index MUST be listed with its artifactType", good, &all);
    let of_bare = found.iter().find(|one| one["digest"] == json!(bare)).unwrap();
    r.case("without artifactType it is the type of the config", of_bare["artifactType"] == layer["mediaType"], &all);
    let some = r.get(&format!("{path}?artifactType=application/vnd.example.a")).await;
    let good = descriptors(&some).len() == 1 && some.header("oci-filters-applied") == "artifactType";
    r.case("a filter that was applied MUST be said", good, &some);
    let early = Digest::of(b"not yet there");
    let about = json!({ "mediaType": MANIFEST, "digest": early, "size": 123 });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.a", "config": config,
        "layers": [], "subject": about,
    });
    let (_, answer) = r.put("open/b", "early", MANIFEST, &manifest).await;
    r.case("a subject need not be there", answer.header("oci-subject") == early.to_string(), &answer);
    let listed = r.get(&format!("/v2/open/b/referrers/{early}")).await;
    r.case("and is known by its referrers", descriptors(&listed).len() == 1, &listed);
    let odd = r.get("/v2/open/b/referrers/not-a-digest").await;
    r.case("referrers of what is no digest are 400", odd.status == StatusCode::BAD_REQUEST, &odd);
    // More than one page.
    for number in 0..120 {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.many", "config": config,
            "layers": [], "subject": about, "annotations": { "number": number.to_string() },
        });
        let reference = Digest::of(manifest.to_string().as_bytes()).to_string();
        r.put("open/b", &reference, MANIFEST, &manifest).await;
    }
    let mut path = format!("/v2/open/b/referrers/{early}?artifactType=application/vnd.example.many");
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let page = r.get(&path).await;
        seen.extend(descriptors(&page).iter().map(|one| one["digest"].to_string()));
        match page.header("link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) {
            Some(next) => path = next.to_owned(),
            None => {
                r.case("a long list comes in pages", seen.len() == 120, &page);
                break;
            }
        }
    }
}

async fn management(r: &mut Registry) {
    let (digest, manifest) = r.image("open/b", "gone", &[b"a layer of its own"]).await;
    r.put("open/b", "also-gone", MANIFEST, &manifest).await;
    r.put("open/b", "taken-away", MANIFEST, &manifest).await;
    let layer = format!("/v2/open/b/blobs/{}", Digest::of(b"a layer of its own"));
    let held = r.write(Method::DELETE, &layer, &[], b"").await;
    r.case("a blob that a manifest refers to stays", held.status == StatusCode::METHOD_NOT_ALLOWED, &held);
    let tag = r.write(Method::DELETE, "/v2/open/b/manifests/taken-away", &[], b"").await;
    r.case("DELETE of a tag MUST be 202", tag.status == StatusCode::ACCEPTED, &tag);
    let gone = r.get("/v2/open/b/manifests/taken-away").await;
    r.case("the tag is gone", gone.status == StatusCode::NOT_FOUND, &gone);
    let there = r.get(&format!("/v2/open/b/manifests/{digest}")).await;
    r.case("its manifest is not", there.status == StatusCode::OK, &there);
    let whole = r.write(Method::DELETE, &format!("/v2/open/b/manifests/{digest}"), &[], b"").await;
    r.case("DELETE of a manifest MUST be 202", whole.status == StatusCode::ACCEPTED, &whole);
    for reference in ["gone".to_owned(), "also-gone".to_owned(), digest.to_string()] {
        let gone = r.get(&format!("/v2/open/b/manifests/{reference}")).await;
        r.case("it is gone, and its tags are", gone.status == StatusCode::NOT_FOUND, &gone);
    }
    let list = r.get("/v2/open/b/tags/list").await;
    r.case("and are not listed", !String::from_utf8_lossy(&list.body).contains("gone"), &list);
    for path in ["/v2/open/b/manifests/gone".to_owned(), format!("/v2/open/b/manifests/{digest}")] {
        let again = r.write(Method::DELETE, &path, &[], b"").await;
        r.case("DELETE of what is not there is 404", again.status == StatusCode::NOT_FOUND, &again);
    }
    let blob = r.write(Method::DELETE, &layer, &[], b"").await;
    r.case("DELETE of a blob MUST be 202", blob.status == StatusCode::ACCEPTED, &blob);
    let gone = r.get(&layer).await;
    r.case("the blob is gone", gone.status == StatusCode::NOT_FOUND, &gone);
    let again = r.write(Method::DELETE, &layer, &[], b"").await;
    r.case("DELETE of a blob that is not there is 404", again.status == StatusCode::NOT_FOUND, &again);
    r.image("open/b", "gone", &[b"a layer of its own"]).await;
    let back = r.get(&layer).await;
    r.case("what was deleted can be pushed again", back.body == b"a layer of its own", &back);

    // What an index refers to stays with it.
    let (child, manifest) = r.image("open/b", "child", &[b"layer"]).await;
    let of = json!({ "mediaType": MANIFEST, "digest": child, "size": manifest.to_string().len() });
    let (parent, _) = r.put("open/b", "parent", INDEX, &json!({ "schemaVersion": 2, "manifests": [of] })).await;
    let held = r.write(Method::DELETE, &format!("/v2/open/b/manifests/{child}"), &[], b"").await;
    r.case("a manifest of an index stays", held.status == StatusCode::METHOD_NOT_ALLOWED, &held);
    for digest in [parent, child] {
        let gone = r.write(Method::DELETE, &format!("/v2/open/b/manifests/{digest}"), &[], b"").await;
        r.case("until the index is gone", gone.status == StatusCode::ACCEPTED, &gone);
    }
    // A referrer that is deleted is listed no more.
    let (subject, manifest) = r.image("open/b", "signed", &[b"layer"]).await;
    let about = json!({ "mediaType": MANIFEST, "digest": subject, "size": manifest.to_string().len() });
    let config = r.blob("open/b", EMPTY).await;
    let signature = json!({ "schemaVersion": 2, "config": config, "layers": [], "subject": about });
    let (signature, _) = r.put("open/b", "signature", MANIFEST, &signature).await;
    let path = format!("/v2/open/b/referrers/{subject}");
    let listed = r.get(&path).await;
    r.case("control: it is listed", String::from_utf8_lossy(&listed.body).contains(&signature.to_string()), &listed);
    r.write(Method::DELETE, &format!("/v2/open/b/manifests/{signature}"), &[], b"").await;
    let listed = r.get(&path).await;
    r.case("and then it is not", !String::from_utf8_lossy(&listed.body).contains(&signature.to_string()), &listed);
}
