//! Our client against our server, and system `curl` against it.

use std::io::Write as _;
use std::process::Command;

use drawbridge::client::{Client, ClientError, Progress, Trust};
use drawbridge::{RELEASE_ARTIFACT_TYPE, RELEASE_TAG, Secret};
use http::Method;
use identity::release::RELEASE_MEDIA_TYPE;
use tokio::net::TcpListener;
use workload::Digest;
use workload::manifest::Manifest;
use workload::names::{Repository, Tag};
use workload::package::{Package, Program};
use workload::reference::Reference;

use crate::support::{World, object, package};

fn client(world: &World) -> Client {
    Client::new(world.authority(), Trust::Pins(vec![world.server.pin])).unwrap()
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

#[tokio::test]
async fn push_sends_what_is_missing_and_says_how_far_it_is() {
    let world = World::new().await;
    let client = client(&world).with_token(world.token.clone());
    let program = [b"\0asm\x01\0\0\0".as_slice(), &vec![9; 1_000_000]].concat();
    let built = Package::build(&Manifest::default(), Program::Wasm(program), vec![]).unwrap();
    let (open, tag): (_, Tag) = (repository("open/a"), "v1".parse().unwrap());
    let mut steps = Vec::new();
    assert_eq!(client.push(&open, &built, Some(&tag), |step| steps.push(step)).await, Ok(built.digest));
    let (program, size) = (built.blobs[1].0.digest, built.blobs[1].0.size);
    let sent: Vec<u64> = steps
        .iter()
        .filter_map(|step| match step {
            Progress::Sent { digest, sent, .. } if *digest == program => Some(*sent),
            _ => None,
        })
        .collect();
    assert!(sent.is_sorted() && sent.len() > 2 && sent.last() == Some(&size), "{sent:?}");
    assert_eq!(steps.last(), Some(&Progress::Manifest { digest: built.digest }));

    steps.clear();
    assert_eq!(client.push(&open, &built, None, |step| steps.push(step)).await, Ok(built.digest));
    let present: Vec<_> = steps.iter().filter(|step| matches!(step, Progress::Present { .. })).collect();
    assert_eq!((present.len(), steps.len()), (2, 3), "{steps:?}");

    let by_tag = client.manifest(&open, &Reference::Tag(tag)).await.unwrap();
    assert_eq!(by_tag, (built.digest, built.manifest.clone()));
    assert_eq!(client.blob(&open, &built.blobs[1].0).await.as_ref(), Ok(&built.blobs[1].1));
    let hint = client.well_known().await.unwrap();
    assert_eq!(hint.steward.as_deref(), Some("https://steward.example.org"));
    assert_eq!(hint.anchors, [identity::keys::key_digest(identity::Signer::spki(&world.steward))]);
}

#[tokio::test]
async fn an_owner_signs_and_a_keep_pulls() {
    let world = World::new().await;
    let writer = client(&world).with_token(world.token.clone());
    let (secret, built) = (repository("secret/a"), package("mine"));
    writer.push(&secret, &built, None, |_| {}).await.unwrap();
    let tag = RELEASE_TAG.parse().unwrap();
    let envelope = world.policy().seal(&world.owner).unwrap();
    let put = writer.put_signed(&secret, &tag, RELEASE_ARTIFACT_TYPE, RELEASE_MEDIA_TYPE, &envelope).await;
    put.unwrap();
    let bent = [&envelope[..envelope.len() - 1], &[envelope[envelope.len() - 1] ^ 1]].concat();
    let put = writer.put_signed(&secret, &tag, RELEASE_ARTIFACT_TYPE, RELEASE_MEDIA_TYPE, &bent).await;
    assert!(matches!(put, Err(ClientError::Denied { .. })), "{put:?}");

    let keep = world.keep(world.ear(built.digest));
    let pins = Trust::Pins(vec![world.server.pin]);
    let keep = Client::with_certificate(world.authority(), pins, keep.chain, &keep.pkcs8).unwrap();
    let reference = Reference::Digest(built.digest);
    assert_eq!(keep.manifest(&secret, &reference).await, Ok((built.digest, built.manifest.clone())));
    for (descriptor, bytes) in &built.blobs {
        assert_eq!(keep.blob(&secret, descriptor).await.as_ref(), Ok(bytes));
    }
    let error = writer.manifest(&secret, &reference).await.unwrap_err();
    assert!(matches!(error, ClientError::Absent { .. }), "{error:?}");
    assert!(error.explain().hint.unwrap().contains("confidential"));
}

#[tokio::test]
async fn each_failure_has_its_name_and_a_hint() {
    let world = World::new().await;
    let (open, built) = (repository("open/a"), package(&"a program of more than a row".repeat(1000)));
    let good = client(&world).with_token(world.token.clone());

    // Nobody there.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Client::new(closed.to_string().parse().unwrap(), Trust::WebRoots).unwrap();
    let error = nobody.well_known().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { kind: std::io::ErrorKind::ConnectionRefused, .. }),
        "{error:?}"
    );
    assert!(error.explain().hint.unwrap().contains("running"));

    // Somebody else.
    let pin = Digest::of(b"another key");
    let other = Client::new(world.authority(), Trust::Pins(vec![pin])).unwrap();
    let expected = ClientError::WrongKey { authority: world.authority(), expected: vec![pin], found: world.server.pin };
    let error = other.well_known().await.unwrap_err();
    assert_eq!(error, expected);
    let explained = error.explain();
    assert_eq!((explained.expected, explained.found), (Some(pin.to_string()), Some(world.server.pin.to_string())));
    let unknown = Client::new(world.authority(), Trust::WebRoots).unwrap().well_known().await.unwrap_err();
    assert!(matches!(&unknown, ClientError::WrongCertificate { .. }), "{unknown:?}");
    assert!(unknown.explain().hint.unwrap().contains("pin"));

    // No TLS at all.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Read until the client gives up, so that it sees the answer and not a reset.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let error =
        Client::new(address.to_string().parse().unwrap(), Trust::WebRoots).unwrap().well_known().await.unwrap_err();
    assert!(matches!(&error, ClientError::Tls { .. }), "{error:?}");
    assert!(error.explain().hint.unwrap().contains("HTTPS"));
    answering.await.unwrap();

    // Tokens.
    let error = client(&world).push(&open, &built, None, |_| {}).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unauthorized { shown: false, .. }), "{error:?}");
    assert!(error.explain().hint.unwrap().contains("donjon login"));
    let wrong = client(&world).with_token(Secret::new("wrong".to_owned()));
    let error = wrong.push(&open, &built, None, |_| {}).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unauthorized { shown: true, .. }), "{error:?}");
    let narrow = client(&world).with_token(world.narrow.clone());
    let error = narrow.push(&repository("open/b"), &built, None, |_| {}).await.unwrap_err();
    assert!(matches!(&error, ClientError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("may not write to open/b"), "{error}");
    let error = good.push(&repository("absent"), &built, None, |_| {}).await.unwrap_err();
    assert!(matches!(&error, ClientError::Absent { .. }), "{error:?}");
    assert!(error.to_string().contains("[repository.\"absent\"]"), "{error}");

    // Absent.
    let reference = Reference::Tag("v1".parse().unwrap());
    assert!(matches!(good.manifest(&open, &reference).await, Err(ClientError::Absent { .. })));
    let tag: Tag = "v1".parse().unwrap();
    good.push(&open, &built, Some(&tag), |_| {}).await.unwrap();
    good.manifest(&open, &reference).await.unwrap();

    // Bytes that changed, on the way in and on the way out.
    let mut lying = built.clone();
    lying.blobs[1].0.digest = Digest::of(b"what was meant");
    let error = good.push(&open, &lying, None, |_| {}).await.unwrap_err();
    let (meant, found) = (Digest::of(b"what was meant"), built.blobs[1].0.digest);
    assert!(
        matches!(&error, ClientError::Digest { expected, found: Some(sent), .. } if *expected == meant && *sent == found),
        "{error:?}"
    );
    let stored = object(&world.directory.path().join("store"), &found).unwrap();
    let mut bytes = std::fs::read(&stored).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::File::create(&stored).unwrap().write_all(&bytes).unwrap();
    let error = good.blob(&open, &built.blobs[1].0).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Digest { expected, found: Some(other), .. } if *expected == found && *other == Digest::of(&bytes)),
        "{error:?}"
    );
    assert_eq!(error.explain().expected, Some(found.to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "a skip is printed")]
async fn curl_speaks_to_it() {
    if Command::new("curl").arg("--version").output().is_err() {
        let required = std::env::var("DONJON_REQUIRE").is_ok_and(|wanted| wanted.split(',').any(|one| one == "curl"));
        assert!(!required, "curl is required");
        eprintln!("skipped: curl is not installed");
        return;
    }
    let world = World::new().await;
    let url = format!("https://{}", world.server.local_addr);
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--insecure", "--silent", "--show-error", "--max-time", "30"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let status = ["--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"];
    assert_eq!(curl(&[&status[..], &[&format!("{url}/v2/")]].concat()), "401 2");
    let user = format!("me:{}", world.token.expose());
    assert_eq!(curl(&[&status[..], &["--user", &user, "--http1.1", &format!("{url}/v2/")]].concat()), "200 1.1");
    let digest = Digest::of(b"from curl");
    let upload = format!("{url}/v2/open/a/blobs/uploads/?digest={digest}");
    let post = ["--user", &user, "--data-binary", "from curl", &upload];
    assert_eq!(curl(&[&status[..], &post].concat()), "201 2");
    assert_eq!(curl(&[&format!("{url}/v2/open/a/blobs/{digest}")]), "from curl");
    let hint = curl(&[&format!("{url}/.well-known/donjon")]);
    assert!(hint.starts_with(r#"{"steward":"https://steward.example.org","anchors":["sha256:"#), "{hint}");
    assert_eq!(world.read(Method::GET, &format!("/v2/open/a/blobs/{digest}")).await.body, b"from curl");
}
