//! The OCI protocol on public repositories: login, uploads, manifests, tags, and the bounds of it all.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use drawbridge::{Limits, Secret, Storage, serve};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use workload::Digest;

use crate::support::{World, connect, objects, package, request};

#[tokio::test]
async fn login() {
    let world = World::new().await;
    let anonymous = world.read(Method::GET, "/v2/").await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"));
    let service = world.server.local_addr;
    let challenge = format!("Bearer realm=\"https://{service}/token\",service=\"{service}\"");
    assert_eq!(anonymous.header("www-authenticate"), challenge);

    let clear = world.token.expose();
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let with = async |value: &str, path: &str| {
        request(world.server.local_addr, None, "http/1.1", Method::GET, path, &[("authorization", value)], b"").await
    };
    for good in [format!("Bearer {clear}"), basic(&format!("anybody:{clear}"))] {
        let answer = with(&good, "/v2/").await;
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, b"{}".as_slice()));
    }
    // A wrong token is told so everywhere, for public, confidential and absent repositories alike.
    let mut seen = Vec::new();
    for path in ["/v2/", "/v2/open/a/tags/list", "/v2/secret/a/tags/list", "/v2/absent/tags/list"] {
        let mut answer = with("Bearer wrong", path).await;
        // It says what to ask for, which is what was asked for.
        let scope = path.strip_prefix("/v2/").and_then(|path| path.strip_suffix("/tags/list"));
        let scope = scope.map(|name| format!(",scope=\"repository:{name}:pull\"")).unwrap_or_default();
        assert_eq!(answer.header("www-authenticate"), format!("{challenge}{scope}"));
        answer.headers.remove("www-authenticate");
        seen.push(answer.appearance());
    }
    assert_eq!(seen[0].0, StatusCode::UNAUTHORIZED);
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    assert_eq!(
        world.read(Method::GET, "/v2/open/a/tags/list").await.status,
        StatusCode::OK,
        "control: no token at all"
    );
}

#[tokio::test]
async fn an_access_token_for_an_ordinary_client() {
    let world = World::new().await;
    let ask = async |login: Option<&str>, query: &str| {
        let login = login.map(|token| format!("Basic {}", BASE64_STANDARD.encode(format!("anybody:{token}"))));
        let headers: Vec<(&str, &str)> = login.iter().map(|value| ("authorization", value.as_str())).collect();
        let path = format!("/token?{query}");
        request(world.server.local_addr, None, "http/1.1", Method::GET, &path, &headers, b"").await
    };
    let token = |answer: &crate::support::Answer| {
        assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["token"], body["access_token"]);
        assert_eq!(body["expires_in"], 300);
        Secret::new(body["token"].as_str().unwrap().to_owned())
    };
    let service = world.server.local_addr;
    let scope = "scope=repository:open/a:pull,push&scope=repository%3Aopen%2Fb%3Apull%20repository:odd";
    let narrow = ask(Some(world.narrow.expose()), &format!("service={service}&account=anybody&{scope}")).await;
    let narrow = token(&narrow);
    let post = async |token: &Secret, repository: &str| {
        let path = format!("/v2/{repository}/blobs/uploads/");
        world.write_as(token, Method::POST, &path, &[], b"").await
    };
    assert_eq!(post(&narrow, "open/a").await.status, StatusCode::ACCEPTED);
    // Who might with another access token is told how to get one; who may not is told that.
    let wide = token(&ask(Some(world.token.expose()), &format!("service={service}&{scope}")).await);
    let more = post(&wide, "open/b").await;
    assert_eq!((more.status, more.code().as_str()), (StatusCode::UNAUTHORIZED, "DENIED"));
    assert!(more.header("www-authenticate").ends_with(",scope=\"repository:open/b:pull,push\""), "{:?}", more.headers);
    for no_more in [&narrow, &world.narrow] {
        assert_eq!(post(no_more, "open/b").await.status, StatusCode::FORBIDDEN);
    }
    let standing = world.read(Method::GET, "/v2/open/b/blobs/uploads/1").await;
    assert!(standing.header("www-authenticate").ends_with(":open/b:pull,push\""), "{:?}", standing.headers);
    let read = world.write_as(&narrow, Method::GET, "/v2/open/b/tags/list", &[], b"").await;
    assert_eq!(read.status, StatusCode::OK);
    // Nobody gets one as well, and is nobody with it; it is for one registry.
    let nobody = token(&ask(None, &format!("service={service}&{scope}")).await);
    assert_eq!(post(&nobody, "open/a").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.write_as(&nobody, Method::GET, "/v2/open/a/tags/list", &[], b"").await.status, StatusCode::OK);
    let elsewhere = token(&ask(Some(world.token.expose()), &format!("service=registry.example&{scope}")).await);
    assert_eq!(post(&elsewhere, "open/a").await.status, StatusCode::UNAUTHORIZED);
    let here = token(&ask(Some(world.token.expose()), &format!("service={service}&{scope}")).await);
    assert_eq!(post(&here, "open/a").await.status, StatusCode::ACCEPTED, "control");
    // No other Drawbridge's: its key is in its store.
    let other = World::new().await;
    let path = "/v2/open/a/blobs/uploads/";
    let bearer = format!("Bearer {}", here.expose());
    let headers = [("authorization", bearer.as_str())];
    let foreign = request(other.server.local_addr, None, "http/1.1", Method::POST, path, &headers, b"").await;
    assert_eq!(foreign.status, StatusCode::UNAUTHORIZED);
    // A wrong login, an odd service, too much at once.
    let wrong = ask(Some("wrong"), "service=x").await;
    assert_eq!(
        (wrong.status, wrong.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, "Basic realm=\"Drawbridge\"")
    );
    assert_eq!(ask(None, "service=no%20service").await.status, StatusCode::BAD_REQUEST);
    let many = "&scope=repository:open/a:pull".repeat(65);
    assert_eq!(ask(None, &format!("service=x{many}")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn writing_needs_a_token_its_scope_and_a_repository() {
    let world = World::new().await;
    let digest = Digest::of(b"x");
    for (method, path) in [
        (Method::POST, "/v2/open/b/blobs/uploads/".to_owned()),
        (Method::PATCH, "/v2/open/b/blobs/uploads/1".to_owned()),
        (Method::PUT, format!("/v2/open/b/blobs/uploads/1?digest={digest}")),
        (Method::PUT, "/v2/open/b/manifests/v1".to_owned()),
        (Method::DELETE, "/v2/open/b/manifests/v1".to_owned()),
        (Method::DELETE, format!("/v2/open/b/manifests/{digest}")),
        (Method::DELETE, format!("/v2/open/b/blobs/{digest}")),
        (Method::DELETE, "/v2/open/b/blobs/uploads/1".to_owned()),
    ] {
        let none = world.read(method.clone(), &path).await;
        assert_eq!((none.status, none.code().as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"), "{method} {path}");
        let narrow = world.write_as(&world.narrow, method.clone(), &path, &[], b"").await;
        assert_eq!((narrow.status, narrow.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"), "{method} {path}");
        let absent = world.write(method.clone(), &path.replace("open/b", "absent"), &[], b"").await;
        assert_eq!((absent.status, absent.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"), "{method} {path}");
    }
    let control = world.write_as(&world.narrow, Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    assert_eq!(control.status, StatusCode::ACCEPTED);
    let odd = world.write(Method::POST, &format!("/v2/open/a/blobs/{digest}"), &[], b"").await;
    assert_eq!((odd.status, odd.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
}

#[tokio::test]
async fn a_blob_goes_in_and_out_in_every_way() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..=250).cycle().take(6_000_000).collect();
    let digest = Digest::of(&bytes);
    let path = format!("/v2/open/a/blobs/{digest}");
    let absent = world.read(Method::GET, &path).await;
    assert_eq!((absent.status, absent.code().as_str()), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"));

    // In chunks, with a status in between.
    let begun = world.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    assert_eq!((begun.status, begun.header("range")), (StatusCode::ACCEPTED, "0-0"));
    let location = begun.header("location").to_owned();
    let (first, second) = bytes.split_at(1_000_000);
    let range = [("content-range", "0-999999")];
    let chunk = world.write(Method::PATCH, &location, &range, first).await;
    assert_eq!((chunk.status, chunk.header("range")), (StatusCode::ACCEPTED, "0-999999"));
    let again = world.write(Method::PATCH, &location, &range, first).await;
    assert_eq!((again.status, again.header("range")), (StatusCode::RANGE_NOT_SATISFIABLE, "0-999999"), "out of order");
    let status = world.write(Method::GET, &location, &[], b"").await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-999999"));
    let foreign = world.write_as(&world.second, Method::GET, &location, &[], b"").await;
    assert_eq!((foreign.status, foreign.code().as_str()), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(world.read(Method::HEAD, &path).await.status, StatusCode::NOT_FOUND, "not yet");
    let end = format!("{location}?digest={digest}");
    let astray = world.write(Method::PUT, &end, &[("content-range", "5-6")], second).await;
    assert_eq!(astray.status, StatusCode::RANGE_NOT_SATISFIABLE, "and the upload goes on");
    let ended = world.write(Method::PUT, &end, &[("content-range", "1000000-5999999")], second).await;
    assert_eq!((ended.status, ended.header("location")), (StatusCode::CREATED, path.as_str()));
    assert_eq!(ended.header("docker-content-digest"), digest.to_string());
    assert_eq!(world.write(Method::GET, &location, &[], b"").await.status, StatusCode::NOT_FOUND, "it ended");

    // In one piece into another repository; until then it is not there, although the store has the bytes.
    let other = path.replace("open/a", "open/b");
    assert_eq!(world.read(Method::HEAD, &other).await.status, StatusCode::NOT_FOUND);
    let begun = world.write(Method::POST, "/v2/open/b/blobs/uploads/", &[], b"").await;
    let ended = world.write(Method::PUT, &format!("{}?digest={digest}", begun.header("location")), &[], &bytes).await;
    assert_eq!(ended.status, StatusCode::CREATED);

    for alpn in ["http/1.1", "h2"] {
        let get = async |method, headers: &[(&str, &str)]| {
            request(world.server.local_addr, None, alpn, method, &other, headers, b"").await
        };
        let whole = get(Method::GET, &[]).await;
        assert_eq!((whole.status, whole.header("content-length")), (StatusCode::OK, "6000000"));
        assert_eq!(whole.header("docker-content-digest"), digest.to_string());
        assert!(whole.body == bytes);
        let head = get(Method::HEAD, &[]).await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "6000000", 0));
        let part = get(Method::GET, &[("range", "bytes=999990-1000009")]).await;
        assert_eq!(
            (part.status, part.header("content-range")),
            (StatusCode::PARTIAL_CONTENT, "bytes 999990-1000009/6000000")
        );
        assert_eq!(part.body, bytes[999_990..1_000_010]);
        let beyond = get(Method::GET, &[("range", "bytes=6000000-")]).await;
        assert_eq!(
            (beyond.status, beyond.header("content-range")),
            (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */6000000")
        );
    }
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_not_kept() {
    let world = World::new().await;
    let (said, sent) = (Digest::of(b"said"), Digest::of(b"sent"));
    let begun = world.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let location = begun.header("location");
    for path in [format!("{location}?digest={said}"), format!("/v2/open/a/blobs/uploads/?digest={said}")] {
        let method = if path.starts_with(location) { Method::PUT } else { Method::POST };
        let answer = world.write(method, &path, &[], b"sent").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains(&said.to_string()) && text.contains(&sent.to_string()), "{text}");
    }
    for digest in [said, sent] {
        assert_eq!(world.read(Method::HEAD, &format!("/v2/open/a/blobs/{digest}")).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(objects(&world.directory.path().join("store")), Vec::<PathBuf>::new(), "nothing on the disk either");
    assert_eq!(world.blob(&world.token, "open/a", b"said").await, said, "control");
    assert_eq!(world.read(Method::HEAD, &format!("/v2/open/a/blobs/{said}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_manifest_comes_after_what_it_refers_to() {
    let world = World::new().await;
    let built = package("one");
    let missing = world.manifest("open/a", "v1", &built.manifest).await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"));
    world.blob(&world.token, "open/a", &built.blobs[0].1).await;
    // In another repository it does not count.
    world.blob(&world.token, "open/b", &built.blobs[1].1).await;
    assert_eq!(world.manifest("open/a", "v1", &built.manifest).await.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(world.read(Method::GET, "/v2/open/a/manifests/v1").await.code(), "MANIFEST_UNKNOWN");
    world.blob(&world.token, "open/a", &built.blobs[1].1).await;

    let text = String::from_utf8(built.manifest.clone()).unwrap();
    let size = built.blobs[1].1.len();
    let lie = text.replace(&format!("\"size\":{size}"), &format!("\"size\":{}", size + 1));
    assert_ne!(text, lie);
    assert_eq!(world.manifest("open/a", "v1", lie.as_bytes()).await.code(), "SIZE_INVALID");
    let docker = [("content-type", "application/vnd.docker.distribution.manifest.v2+json")];
    for headers in [&docker[..], &[("content-type", "application/json")], &[]] {
        let answer = world.write(Method::PUT, "/v2/open/a/manifests/v1", headers, &built.manifest).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"));
    }
    let other = Digest::of(b"other").to_string();
    assert_eq!(world.manifest("open/a", &other, &built.manifest).await.code(), "DIGEST_INVALID");

    let pushed = world.manifest("open/a", "v1", &built.manifest).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "control");
    assert_eq!(pushed.header("docker-content-digest"), built.digest.to_string());
    assert_eq!(pushed.header("location"), format!("/v2/open/a/manifests/{}", built.digest));
    for reference in ["v1".to_owned(), built.digest.to_string()] {
        for method in [Method::GET, Method::HEAD] {
            let got = world.read(method.clone(), &format!("/v2/open/a/manifests/{reference}")).await;
            assert_eq!(got.status, StatusCode::OK);
            assert_eq!(got.header("content-type"), workload::package::MANIFEST);
            assert_eq!(got.header("docker-content-digest"), built.digest.to_string());
            assert_eq!(got.header("content-length"), built.manifest.len().to_string());
            assert_eq!(got.body, if method == Method::GET { built.manifest.as_slice() } else { b"" });
        }
    }
    let elsewhere = world.read(Method::GET, &format!("/v2/open/b/manifests/{}", built.digest)).await;
    assert_eq!(elsewhere.code(), "MANIFEST_UNKNOWN");

    // An index refers to manifests.
    let index = |digest: &Digest, size: usize| {
        let kind = workload::package::MANIFEST;
        format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{kind}\",\"digest\":\"{digest}\",\"size\":{size}}}]}}"
        )
    };
    let kind = [("content-type", "application/vnd.oci.image.index.v1+json")];
    let put = async |text: String| world.write(Method::PUT, "/v2/open/a/manifests/all", &kind, text.as_bytes()).await;
    assert_eq!(put(index(&Digest::of(b"other"), 1)).await.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(put(index(&built.digest, built.manifest.len())).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn tags_move_and_are_listed_in_pages() {
    let world = World::new().await;
    let (one, two) = (package("one"), package("two"));
    for tag in ["v2", "v1", "latest"] {
        world.package("open/a", tag, &one).await;
    }
    world.package("open/a", "latest", &two).await;
    let latest = world.read(Method::GET, "/v2/open/a/manifests/latest").await;
    assert_eq!(latest.body, two.manifest);
    assert_eq!(world.read(Method::GET, "/v2/open/a/manifests/v1").await.body, one.manifest, "control: the others stay");

    let list = async |query: &str| {
        let answer = world.read(Method::GET, &format!("/v2/open/a/tags/list{query}")).await;
        (String::from_utf8(answer.body.clone()).unwrap(), answer.header("link").to_owned())
    };
    let page = |tags: &str| format!("{{\"name\":\"open/a\",\"tags\":[{tags}]}}");
    assert_eq!(list("").await, (page("\"latest\",\"v1\",\"v2\""), String::new()));
    let next = "</v2/open/a/tags/list?n=2&last=v1>; rel=\"next\"".to_owned();
    assert_eq!(list("?n=2").await, (page("\"latest\",\"v1\""), next));
    assert_eq!(list("?n=2&last=v1").await, (page("\"v2\""), String::new()));
    assert_eq!(list("?n=3").await.1, String::new());
    assert_eq!(list("?n=0").await, (page(""), String::new()));
    assert_eq!(world.read(Method::GET, "/v2/open/a/tags/list?n=x").await.code(), "PAGINATION_NUMBER_INVALID");
    assert_eq!(world.read(Method::GET, "/v2/absent/tags/list").await.code(), "UNAUTHORIZED", "nobody in particular");
    assert_eq!(world.write(Method::GET, "/v2/absent/tags/list", &[], b"").await.code(), "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_mount_needs_a_source_one_can_read() {
    let world = World::new().await;
    let open = world.blob(&world.token, "open/a", b"open").await;
    let secret = world.blob(&world.token, "secret/a", b"secret").await;
    let mount = async |digest: Digest, from: &str| {
        let path = format!("/v2/open/b/blobs/uploads/?mount={digest}&from={from}");
        world.write(Method::POST, &path, &[], b"").await
    };
    let mounted = mount(open, "open/a").await;
    assert_eq!(
        (mounted.status, mounted.header("location")),
        (StatusCode::CREATED, format!("/v2/open/b/blobs/{open}").as_str())
    );
    assert_eq!(world.read(Method::GET, &format!("/v2/open/b/blobs/{open}")).await.body, b"open");
    // What is not there, what is not to be seen, and what is nowhere are one and the same: an upload begins.
    for (digest, from) in
        [(secret, "secret/a"), (Digest::of(b"absent"), "secret/a"), (secret, "open/a"), (open, "absent")]
    {
        let answer = mount(digest, from).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{from}");
        let names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["location", "range", "docker-upload-uuid", "content-length", "date"]);
    }
    assert_eq!(world.read(Method::HEAD, &format!("/v2/open/b/blobs/{secret}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn too_much_is_too_much() {
    let world = World::with(Limits { blob: 1000, open_uploads: 2, ..Limits::default() }).await;
    let post = async |size: usize| {
        let bytes = vec![7; size];
        let path = format!("/v2/open/a/blobs/uploads/?digest={}", Digest::of(&bytes));
        world.write(Method::POST, &path, &[], &bytes).await
    };
    assert_eq!(post(1000).await.status, StatusCode::CREATED, "control");
    let long = post(1001).await;
    assert_eq!((long.status, long.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"));
    // In chunks as well, each short.
    let begun = world.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    let location = begun.header("location");
    assert_eq!(world.write(Method::PATCH, location, &[], &[1; 600]).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.write(Method::PATCH, location, &[], &[1; 600]).await.status, StatusCode::PAYLOAD_TOO_LARGE);

    let second = world.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    let third = world.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    assert_eq!((third.status, third.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"));
    assert_eq!(world.write(Method::DELETE, location, &[], b"").await.status, StatusCode::NO_CONTENT);
    let freed = world.write(Method::POST, "/v2/open/a/blobs/uploads/", &[], b"").await;
    assert_eq!(freed.status, StatusCode::ACCEPTED, "control: a cancelled upload gives its place back");

    let manifest = world.manifest("open/a", "v1", &vec![b' '; 4 * 1024 * 1024 + 1]).await;
    assert_eq!((manifest.status, manifest.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"));
    let below = world.manifest("open/a", "v1", &vec![b' '; 4 * 1024 * 1024]).await;
    assert_eq!(below.code(), "MANIFEST_INVALID", "control: long enough to be read, but no manifest");
}

#[tokio::test]
async fn a_body_that_ends_early_is_no_blob() {
    let world = World::new().await;
    let digest = Digest::of(b"0123456789");
    let mut stream = connect(world.server.local_addr, None, "http/1.1").await.unwrap();
    let head = format!(
        "POST /v2/open/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 10\r\n\r\n01234",
        world.token.expose()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
    let path = format!("/v2/open/a/blobs/{digest}");
    assert_eq!(world.read(Method::HEAD, &path).await.status, StatusCode::NOT_FOUND);
    world.blob(&world.token, "open/a", b"0123456789").await;
    assert_eq!(world.read(Method::HEAD, &path).await.status, StatusCode::OK, "control");
}

#[tokio::test]
async fn nobodys_silence_keeps_others_waiting() {
    let limit = Duration::from_secs(2);
    let limits = Limits { connections: 8, handshake: limit, idle: limit, ..Limits::default() };
    let world = World::with(limits).await;
    // Connected and silent, and connected with a handshake but no request: both are closed in the end.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(world.server.local_addr).await.unwrap());
    }
    let mut idle = connect(world.server.local_addr, None, "http/1.1").await.unwrap();
    assert_eq!(world.read(Method::GET, "/v2/open/a/tags/list").await.status, StatusCode::OK, "served meanwhile");
    let mut byte = [0];
    for mut stream in silent {
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)), "closed");
    }
    // An answer to a request that never came may stand before the end (408); no more than that.
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 2"));
    // All places taken at once, then freed by the limits alone.
    let mut taken = Vec::new();
    for _ in 0..8 {
        taken.push(TcpStream::connect(world.server.local_addr).await.unwrap());
    }
    assert_eq!(world.read(Method::GET, "/v2/open/a/tags/list").await.status, StatusCode::OK);
}

#[tokio::test]
async fn older_tls_is_refused() {
    let world = World::new().await;
    let config = |version| {
        rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    };
    let handshake = async |version| {
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config(version)));
        let stream = TcpStream::connect(world.server.local_addr).await.unwrap();
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap_err().to_string()
    };
    let old = handshake(&rustls::version::TLS12).await;
    assert!(old.to_lowercase().contains("version"), "{old}");
    // Control: with 1.3 it comes as far as the certificate, which this client has no reason to believe.
    let new = handshake(&rustls::version::TLS13).await;
    assert!(new.contains("certificate"), "{new}");
}

#[tokio::test]
async fn an_orderly_end_leaves_the_port_free() {
    let world = World::new().await;
    world.package("open/a", "v1", &package("one")).await;
    let kept = connect(world.server.local_addr, None, "http/1.1").await.unwrap();
    let World { directory, server, owner, steward, token, second, narrow } = world;
    let address = server.local_addr;
    let tokens = [token, second, narrow];
    let settings = || {
        let storage = Storage::directory(directory.path().join("store"));
        crate::support::settings(storage, &owner, &steward, &tokens, Limits::default())
    };
    // Another one on the same store, at the same time.
    let beside = serve(settings(), TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
    let answer = request(beside.local_addr, None, "http/1.1", Method::GET, "/v2/open/a/manifests/v1", &[], b"").await;
    assert_eq!(answer.body, package("one").manifest);
    beside.shutdown().await;
    server.shutdown().await;
    drop(kept);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    let server = serve(settings(), TcpListener::bind(address).await.unwrap()).await.unwrap();
    let answer = request(server.local_addr, None, "http/1.1", Method::GET, "/v2/open/a/manifests/v1", &[], b"").await;
    assert_eq!(answer.body, package("one").manifest);
}
