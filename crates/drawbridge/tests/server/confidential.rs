//! Confidential repositories (trust rules 13 and 14): who gets what, and that everybody else sees nothing at all.

use std::io;
use std::sync::{Arc, Mutex};

use drawbridge::{RELEASE_ARTIFACT_TYPE, RELEASE_TAG};
use http::{Method, StatusCode};
use identity::keys::key_digest;
use identity::release::{Allowed, RELEASE_MEDIA_TYPE};
use identity::{Class, Ear, OwnerSigned, ReleasePolicy, Signer as _};
use workload::Digest;
use workload::package::{Built, Descriptor, MANIFEST};

use crate::support::{Answer, Keep, Key, World, now, package, request};

/// Pushes a signed policy under the tag `release`.
pub(crate) async fn put(world: &World, repository: &str, envelope: &[u8]) -> Answer {
    let (config, layer) =
        (Descriptor::of("application/vnd.oci.empty.v1+json", b"{}"), Descriptor::of(RELEASE_MEDIA_TYPE, envelope));
    world.blob(&world.token, repository, b"{}").await;
    world.blob(&world.token, repository, envelope).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": RELEASE_ARTIFACT_TYPE, "config": config, "layers": [layer],
    });
    world.manifest(repository, RELEASE_TAG, manifest.to_string().as_bytes()).await
}

pub(crate) async fn enforce(world: &World, policy: &ReleasePolicy) -> Answer {
    put(world, &policy.repository, &policy.seal(&world.owner).unwrap()).await
}

/// Every way to ask for something of a package in a repository.
fn questions(repository: &str, built: &Built) -> Vec<(Method, String)> {
    let blobs = built.blobs.iter().map(|(blob, _)| format!("/v2/{repository}/blobs/{}", blob.digest));
    let manifests = [built.digest.to_string(), "v1".to_owned(), RELEASE_TAG.to_owned()];
    let manifests = manifests.map(|reference| format!("/v2/{repository}/manifests/{reference}"));
    let tags = format!("/v2/{repository}/tags/list");
    let paths: Vec<_> = blobs.chain(manifests).chain([tags]).collect();
    [Method::GET, Method::HEAD]
        .iter()
        .flat_map(|method| paths.iter().map(|path| (method.clone(), path.clone())))
        .collect()
}

/// Asserts that these two look the same to this peer in every way.
async fn looks_absent(world: &World, why: &str, keep: Option<&Keep>, token: Option<&str>, built: &Built) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
    for ((method, here), (_, absent)) in questions("secret/a", built).into_iter().zip(questions("absent/a", built)) {
        let alpn = if method == Method::GET { "http/1.1" } else { "h2" };
        let ask = async |path: &str| {
            request(world.server.local_addr, keep, alpn, method.clone(), path, &headers, b"").await.appearance()
        };
        let (found, mut expected) = (ask(&here).await, ask(&absent).await);
        // Who shows neither a token nor what may be a Keep's certificates is told to log in, for what he asked for.
        let shown = token.is_some() || keep.is_some_and(|keep| keep.chain.len() > 1);
        let status = if shown { StatusCode::NOT_FOUND } else { StatusCode::UNAUTHORIZED };
        for (_, value) in expected.1.iter_mut().filter(|(name, _)| name == "www-authenticate") {
            *value = value.replace("repository:absent/a:", "repository:secret/a:");
        }
        assert_eq!(found, expected, "{why}: {method} {here}");
        assert_eq!(found.0, status, "{why}: {method} {here}");
    }
}

#[tokio::test]
async fn a_keep_that_satisfies_the_policy_gets_its_workload_and_nothing_else() {
    let world = World::new().await;
    let (mine, other) = (package("mine"), package("other"));
    world.package("secret/a", "v1", &mine).await;
    world.package("secret/a", "v2", &other).await;
    let keep = world.keep(world.ear(mine.digest));
    looks_absent(&world, "before there is a policy", Some(&keep), None, &mine).await;
    assert_eq!(enforce(&world, &world.policy()).await.status, StatusCode::CREATED);

    let get = async |path: &str| world.read_as(&keep, Method::GET, path).await;
    assert_eq!(get(&format!("/v2/secret/a/manifests/{}", mine.digest)).await.body, mine.manifest);
    assert_eq!(get("/v2/secret/a/manifests/v1").await.body, mine.manifest);
    for (blob, bytes) in &mine.blobs {
        let path = format!("/v2/secret/a/blobs/{}", blob.digest);
        let answer = get(&path).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, bytes));
        assert_eq!(world.read_as(&keep, Method::HEAD, &path).await.status, StatusCode::OK);
    }
    assert_eq!(get("/v2/secret/a/tags/list").await.body, br#"{"name":"secret/a","tags":["v1"]}"#);
    // The other workload of the same repository, and the same workload of another repository.
    let (_, config) = (&other.blobs[1], &other.blobs[0]);
    assert_eq!(config.0, mine.blobs[0].0, "both have the same config, which is therefore released");
    for path in [
        format!("/v2/secret/a/manifests/{}", other.digest),
        "/v2/secret/a/manifests/v2".to_owned(),
        format!("/v2/secret/a/manifests/{RELEASE_TAG}"),
        format!("/v2/secret/a/blobs/{}", other.blobs[1].0.digest),
        format!("/v2/secret/b/manifests/{}", mine.digest),
    ] {
        let answer = get(&path).await;
        let absent = get(&path.replace("secret/a", "absent/a").replace("secret/b", "absent/b")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.appearance(), absent.appearance(), "{path}");
    }
}

#[tokio::test]
async fn everybody_else_sees_nothing_at_all() {
    let world = World::new().await;
    let built = package("mine");
    world.package("secret/a", "v1", &built).await;
    assert_eq!(enforce(&world, &world.policy()).await.status, StatusCode::CREATED);
    let facts = || world.ear(built.digest);
    let control = world.keep(facts());
    let path = format!("/v2/secret/a/manifests/{}", built.digest);
    assert_eq!(world.read_as(&control, Method::GET, &path).await.status, StatusCode::OK, "control");

    looks_absent(&world, "no certificate", None, None, &built).await;
    looks_absent(&world, "the writer's token", None, Some(world.token.expose()), &built).await;
    let mut id = facts().id;
    id.deployment = "shed".parse().unwrap();
    let mut elsewhere = facts().id;
    elsewhere.trust_domain = "example.net".parse().unwrap();
    let (soon, late) = (now() + 3600, now() + 7200);
    let strangers = [
        ("another workload", world.keep(Ear { workload: Digest::of(b"other"), ..facts() })),
        ("class insecure", world.keep(Ear { class: Class::Insecure, ..facts() })),
        (
            "another measurement",
            world.keep(Ear { measurement: identity::ear::Measurement::new([0xcd; 48]).unwrap(), ..facts() }),
        ),
        ("another owner", world.keep(Ear { owner: Some(Digest::of(b"owner")), ..facts() })),
        ("another deployment", world.keep(Ear { id, ..facts() })),
        ("another trust domain", world.keep(Ear { id: elsewhere, ..facts() })),
        ("another Steward", Keep::new(facts(), &Key::new(), now() - 60, now() + 3600)),
        ("expired", Keep::new(facts(), &world.steward, now() - 7200, now() - 3600)),
        ("not yet valid", Keep::new(facts(), &world.steward, soon, late)),
        ("no root in the chain", Keep { chain: control.chain[..1].to_vec(), pkcs8: control.pkcs8.clone() }),
    ];
    for (why, keep) in strangers {
        looks_absent(&world, why, Some(&keep), None, &built).await;
    }
    let insecure = world.keep(Ear { class: Class::Insecure, ..facts() });
    looks_absent(&world, "a token does not help", Some(&insecure), Some(world.token.expose()), &built).await;
    // An ordinary certificate, self-signed: not even a Keep's.
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["shop.example.org".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ordinary = Keep { chain: vec![certificate.der().to_vec()], pkcs8: key.serialize_der() };
    looks_absent(&world, "an ordinary certificate", Some(&ordinary), None, &built).await;
    // The right certificate in wrong hands does not even come through the handshake.
    let thief = Keep { chain: control.chain.clone(), pkcs8: world.keep(facts()).pkcs8 };
    let stolen = std::panic::AssertUnwindSafe(request(
        world.server.local_addr,
        Some(&thief),
        "http/1.1",
        Method::GET,
        &path,
        &[],
        b"",
    ));
    assert!(futures_util::FutureExt::catch_unwind(stolen).await.is_err(), "no handshake without the key");
}

#[tokio::test]
async fn only_the_owner_changes_the_policy_and_never_back() {
    let world = World::new().await;
    let built = package("mine");
    world.package("secret/a", "v1", &built).await;
    let keep = world.keep(world.ear(built.digest));
    let path = format!("/v2/secret/a/manifests/{}", built.digest);
    let released = async || world.read_as(&keep, Method::GET, &path).await.status == StatusCode::OK;
    let denied = async |answer: Answer, text: &str| {
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
        let body = String::from_utf8(answer.body).unwrap();
        assert!(body.contains(text), "{body}");
    };

    let first = world.policy();
    let thief = Key::new();
    let stolen = ReleasePolicy { owner: thief.spki().to_vec(), ..first.clone() };
    denied(put(&world, "secret/a", &stolen.seal(&thief).unwrap()).await, "is signed by").await;
    let mut bent = first.seal(&world.owner).unwrap();
    *bent.last_mut().unwrap() ^= 1;
    denied(put(&world, "secret/a", &bent).await, "signature does not verify").await;
    denied(put(&world, "secret/b", &first.seal(&world.owner).unwrap()).await, "is for repository secret/a").await;
    denied(world.manifest("secret/a", RELEASE_TAG, &built.manifest).await, "reserved").await;
    assert!(!released().await);
    assert_eq!(enforce(&world, &first).await.status, StatusCode::CREATED, "control");
    assert!(released().await);

    // The next version takes the workload away.
    let digest = *OwnerSigned::<ReleasePolicy>::open(&first.seal(&world.owner).unwrap(), &Ring).unwrap().digest();
    let second = ReleasePolicy {
        version: 2,
        previous: Some(digest),
        workloads: Allowed::Only([Digest::of(b"other").into()].into()),
        ..first.clone()
    };
    let astray = ReleasePolicy { previous: Some(Digest::of(b"another first")), ..second.clone() };
    let refused = enforce(&world, &astray).await;
    // Told to whoever shows what the owner signed, so that the owner can go on; not to a thief, see above.
    let in_force = format!("\"in_force\":{{\"digest\":\"{digest}\",\"version\":1}}");
    assert!(String::from_utf8_lossy(&refused.body).contains(&in_force), "{}", String::from_utf8_lossy(&refused.body));
    denied(refused, "was made to follow another").await;
    let foreign = ReleasePolicy { owner: thief.spki().to_vec(), ..astray };
    let foreign = put(&world, "secret/a", &foreign.seal(&thief).unwrap()).await;
    assert!(!String::from_utf8_lossy(&foreign.body).contains("in_force"), "control");
    assert!(released().await);
    assert_eq!(enforce(&world, &second).await.status, StatusCode::CREATED);
    assert!(!released().await);
    denied(enforce(&world, &first).await, "version 1 does not come after version 2").await;
    assert!(!released().await, "no way back");
    assert_eq!(enforce(&world, &second).await.status, StatusCode::CREATED, "the same again is fine");
    // In a public repository the tag is like any other.
    world.package("open/a", RELEASE_TAG, &built).await;
    assert_eq!(world.read(Method::GET, "/v2/open/a/manifests/release").await.body, built.manifest);
}

/// The owner takes back what he believed of a Steward: its certificates, good for as long as they are, open nothing from then on.
#[tokio::test]
async fn a_revoked_steward_opens_nothing_any_more() {
    let world = World::new().await;
    let built = package("mine");
    world.package("secret/a", "v1", &built).await;
    let successor = Key::new();
    let old = world.keep(world.ear(built.digest));
    let new = Keep::new(world.ear(built.digest), &successor, now() - 60, now() + 3600);
    let path = format!("/v2/secret/a/manifests/{}", built.digest);
    let released = async |keep: &Keep| world.read_as(keep, Method::GET, &path).await.status == StatusCode::OK;

    let first = world.policy();
    assert_eq!(enforce(&world, &first).await.status, StatusCode::CREATED);
    assert!(released(&old).await && !released(&new).await, "control");
    let digest = *OwnerSigned::<ReleasePolicy>::open(&first.seal(&world.owner).unwrap(), &Ring).unwrap().digest();
    let anchors = [key_digest(successor.spki())].into();
    let second = ReleasePolicy { version: 2, previous: Some(digest), anchors, ..first };
    assert_eq!(enforce(&world, &second).await.status, StatusCode::CREATED);
    assert!(released(&new).await, "control");
    looks_absent(&world, "a revoked Steward", Some(&old), None, &built).await;
}

#[tokio::test]
async fn a_writer_does_not_learn_what_others_pushed() {
    let world = World::new().await;
    let built = package("mine");
    world.package("secret/a", "v1", &built).await;
    let probe = async |path: &str| {
        let kind = [("content-type", MANIFEST)];
        world.write_as(&world.second, Method::PUT, path, &kind, &built.manifest).await
    };
    let (there, elsewhere) = (probe("/v2/secret/a/manifests/v1").await, probe("/v2/secret/b/manifests/v1").await);
    assert_eq!(there.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(there.appearance(), elsewhere.appearance());
    for (_, bytes) in &built.blobs {
        world.blob(&world.second, "secret/a", bytes).await;
    }
    assert_eq!(probe("/v2/secret/a/manifests/v1").await.status, StatusCode::CREATED, "control: what he pushed himself");
}

#[tokio::test]
async fn a_release_is_logged_and_a_token_never() {
    let log = Log::default();
    let writer = log.clone();
    // For the whole process: a subscriber of one thread misses call sites that another thread came to first. What other
    // tests write is told apart by the workload, which is this test's alone.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let world = World::new().await;
    let built = package("logged");
    let mine = built.digest.to_string();
    world.package("secret/a", "v1", &built).await;
    assert_eq!(enforce(&world, &world.policy()).await.status, StatusCode::CREATED);
    let wrong = world.write_as(&drawbridge::Secret::new("opensesame".to_owned()), Method::GET, "/v2/", &[], b"").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);

    let released = || -> Vec<String> {
        let text = log.text();
        let lines = text.lines().filter(|line| line.contains("drawbridge::release: released") && line.contains(&mine));
        lines.map(ToOwned::to_owned).collect()
    };
    let stranger = world.keep(Ear { class: Class::Insecure, ..world.ear(built.digest) });
    let path = format!("/v2/secret/a/manifests/{}", built.digest);
    assert_eq!(world.read_as(&stranger, Method::GET, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(released(), Vec::<String>::new());
    let why = "release.class: expected hardware, found insecure";
    assert!(log.text().contains(why), "the operator is told why");
    // What is no Keep's certificate in the first place is not looked up at all: other tests of this process show some too.
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    for length in [1, 2, 5] {
        let ordinary = Keep { chain: vec![certificate.der().to_vec(); length], pkcs8: key.serialize_der() };
        assert_eq!(world.read_as(&ordinary, Method::GET, &path).await.status, StatusCode::UNAUTHORIZED);
    }
    let odd = |line: &&str| line.contains("the client's certificate is no Keep's");
    assert!(log.text().lines().filter(odd).count() >= 3, "control");
    let asked = |line: &&str| line.contains("not released") && line.contains("a chain has 2 to 4 certificates");
    assert_eq!(log.text().lines().filter(asked).count(), 0);
    let keep = world.keep(world.ear(built.digest));
    assert_eq!(world.read_as(&keep, Method::GET, &path).await.status, StatusCode::OK);
    assert_eq!(
        world.read_as(&keep, Method::HEAD, &format!("/v2/secret/a/blobs/{}", built.blobs[1].0.digest)).await.status,
        StatusCode::OK
    );
    let lines = released();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line = &lines[0];
    let serial = "5e".repeat(16);
    for fact in ["repository=secret/a", &built.digest.to_string(), &serial, "spiffe://example.org/shop/web", "policy=1"]
    {
        assert!(line.contains(fact), "{fact} is not in {line}");
    }
    for secret in [world.token.expose(), "opensesame"] {
        assert!(!log.text().contains(secret), "a token is in the log");
    }
}

/// `identity`'s verifier once more, to open what this test sealed.
struct Ring;

impl identity::Verifier for Ring {
    fn verify(&self, _: identity::Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki).verify(message, signature).is_ok()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
