//! Manifests that are bombs, or lies, or not even JSON.
//!
//! Owns the table of them: each is refused and leaves nothing, or is one by the specification and comes back to the byte. The
//! server is a process of its own, so that what it takes of memory for all of them can be seen.

use std::path::Path;

use http::{Method, StatusCode};
use serde_json::json;
use workload::Digest;
use workload::package::MANIFEST;

use super::{INDEX, Kept, raw, refused};
use crate::crash::{TOKEN, start};
use crate::places::Place;

/// The longest manifest there is.
const LONGEST: usize = 4 << 20;
/// What the server may take for all of it, in KiB: it is given these one after the other, and then many at once.
const MEMORY: usize = 300 * 1024;

/// A bomb: its media type, its bytes, and what becomes of it, a code or nothing.
type Bomb = (String, &'static str, Vec<u8>, Option<&'static str>);

const TOO_LONG: Option<&str> = Some("SIZE_INVALID");
const NONE: Option<&str> = Some("MANIFEST_INVALID");
const TAKEN: Option<&str> = None;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_in_a_directory() {
    bombs(Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_with_postgresql() {
    if let Some(place) = Place::postgres() {
        bombs(place).await;
    }
}

async fn bombs(place: Place) {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, server) = start(directory.path(), &place).await;
    let kept = Kept::at(server, TOKEN, Path::new(&place.content).parent()).await;
    let put = async |kind: &str, reference: &str, bytes: &[u8]| {
        kept.send(Method::PUT, &format!("/v2/open/a/manifests/{reference}"), &[("content-type", kind)], bytes).await
    };
    let table = table(&kept);
    let control = table[0].2.clone();
    for (number, (what, kind, bytes, code)) in table.into_iter().enumerate() {
        let what = format!("{}: {what}", place.name);
        let (tag, digest) = (format!("bomb-{number}"), Digest::of(&bytes).to_string());
        for reference in [&tag, &digest] {
            let answer = put(kind, reference, &bytes).await;
            let got = kept.send(Method::GET, &format!("/v2/open/a/manifests/{reference}"), &[], b"").await;
            match code {
                None => {
                    let text = String::from_utf8_lossy(&answer.body);
                    assert_eq!(answer.status, StatusCode::CREATED, "{what}: {text}");
                    assert!(got.status == StatusCode::OK && got.body == bytes, "{what}: to the byte");
                }
                Some(code) => {
                    refused(&answer, &what);
                    assert_eq!(answer.code(), code, "{what}: {}", String::from_utf8_lossy(&answer.body));
                    // The same bytes may have been a manifest of another type before.
                    let before = *reference == digest && bytes == control;
                    assert!(before || got.code() == "MANIFEST_UNKNOWN", "{what}");
                }
            }
        }
    }
    // Without saying beforehand how long: chunks of 64 KiB until it is too much.
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let head = format!(
        "PUT /v2/open/a/manifests/endless HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: {MANIFEST}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let endless = raw(server, &[head.as_bytes(), &chunk.repeat(65)].concat()).await.expect("an answer");
    assert_eq!((endless.status, endless.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"));
    many_at_once(&kept).await;
    what_lists_repeat(&kept).await;
    // Who asks about what cannot be asked about is told so.
    for odd in ["%00", "a%00", "..", "%ff", "a/b", "x%0d%0ay"] {
        let tags = kept.send(Method::GET, &format!("/v2/open/a/tags/list?last={odd}"), &[], b"").await;
        refused(&tags, odd);
        let listed = kept.built.digest;
        let referrers = format!("/v2/open/a/referrers/{listed}");
        refused(&kept.send(Method::GET, &format!("{referrers}?last={odd}"), &[], b"").await, odd);
        let typed = kept.send(Method::GET, &format!("{referrers}?artifactType={odd}"), &[], b"").await;
        assert_eq!((typed.status, typed.header("oci-filters-applied")), (StatusCode::OK, "artifactType"), "{odd}");
        let typed: serde_json::Value = serde_json::from_slice(&typed.body).unwrap();
        assert_eq!(typed["manifests"], json!([]), "{odd}");
    }
    kept.all_there(0).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: usize = peak.parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(peak < MEMORY, "{}: the server held {peak} KiB", place.name);
}

/// The longest there is, of what takes most to read: as many at once as there are connections for in a test.
async fn many_at_once(kept: &Kept) {
    let little = |number: usize| format!("\"{number:x}\":\"\"");
    let annotations: Vec<String> = (0..LONGEST / 11).map(little).collect();
    let config = descriptor(kept);
    let bomb = format!(
        "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"annotations\":{{{}}},\"mediaType\":\"no\"}}",
        annotations.join(",")
    );
    assert!((LONGEST / 2..LONGEST).contains(&bomb.len()), "{}", bomb.len());
    let one = async || {
        let kind = [("content-type", MANIFEST)];
        let answer = kept.send(Method::PUT, "/v2/open/a/manifests/many", &kind, bomb.as_bytes()).await;
        assert_eq!(answer.code(), "MANIFEST_INVALID");
    };
    futures_util::future::join_all((0..12).map(|_| one())).await;
}

/// What a list of referrers repeats is short, however many there are.
async fn what_lists_repeat(kept: &Kept) {
    let config = descriptor(kept);
    let subject = Digest::of(b"what they are about");
    let about = |number: usize, kind: &str, more: &str| {
        format!(
            "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"artifactType\":\"{kind}\",\
             \"subject\":{{\"mediaType\":\"a/b\",\"digest\":\"{subject}\",\"size\":1}},\
             \"annotations\":{{\"number\":\"{number}\"{more}}}}}"
        )
    };
    let path = "/v2/open/a/manifests/about";
    let put = async |text: String| kept.send(Method::PUT, path, &[("content-type", MANIFEST)], text.as_bytes()).await;
    for (kind, more) in
        [("a".repeat(1 << 20), String::new()), ("a/b".to_owned(), format!(",\"x\":\"{}\"", "x".repeat(1 << 20)))]
    {
        let answer = put(about(0, &kind, &more)).await;
        refused(&answer, "about something, and long");
    }
    for number in 0..120 {
        let answer = put(about(number, &format!("a/{}", "b".repeat(200)), "")).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
    }
    let list = kept.send(Method::GET, &format!("/v2/open/a/referrers/{subject}"), &[], b"").await;
    let text: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!((text["manifests"].as_array().unwrap().len(), list.header("link").is_empty()), (100, false));
    assert!(list.body.len() < 100_000, "{}", list.body.len());
}

/// A blob that is there.
fn descriptor(kept: &Kept) -> String {
    let (blob, bytes) = &kept.built.blobs[0];
    json!({ "mediaType": "a/b", "digest": blob.digest, "size": bytes.len() }).to_string()
}

fn table(kept: &Kept) -> Vec<Bomb> {
    let of = descriptor(kept);
    let child =
        json!({ "mediaType": MANIFEST, "digest": kept.built.digest, "size": kept.built.manifest.len() }).to_string();
    let image =
        |layers: &str, more: &str| format!("{{\"schemaVersion\":2,\"config\":{of},\"layers\":[{layers}]{more}}}");
    let index = |manifests: &str| format!("{{\"schemaVersion\":2,\"manifests\":[{manifests}]}}");
    // As many as there is room for.
    let full = |one: &str| vec![one; (LONGEST - 1000) / (one.len() + 1)].join(",");
    let other = |number: usize| json!({ "mediaType": "a/b", "digest": Digest::of(&number.to_le_bytes()), "size": 8 });
    let others = |count: usize| (0..count).map(|number| other(number).to_string()).collect::<Vec<_>>().join(",");
    let mut table: Vec<Bomb> = Vec::new();
    let mut add =
        |what: &str, text: &str, code| table.push((what.to_owned(), MANIFEST, text.as_bytes().to_vec(), code));

    let good = image(&of, "");
    add("a control", &good, TAKEN);
    add("nothing", "", NONE);
    add("spaces", &" ".repeat(LONGEST), NONE);
    add("a byte too long", &(good.clone() + &" ".repeat(LONGEST + 1 - good.len())), TOO_LONG);
    add("just as long as it may be", &(good.clone() + &" ".repeat(LONGEST - good.len())), TAKEN);
    for odd in [
        "null",
        "2",
        "\"\"",
        "[]",
        "{}",
        "[[]]",
        "true",
        "{",
        "}",
        "[",
        "\u{feff}{}",
        "{}{}",
        "nul",
        "NaN",
        "'a'",
        "{a:1}",
    ] {
        add(odd, odd, NONE);
    }
    add("something behind it", &(good.clone() + "{}"), NONE);
    add("a comma too many", &image(&of, ","), NONE);
    add("a BOM before it", &("\u{feff}".to_owned() + &good), NONE);

    // Deep.
    let deep = LONGEST / 2 - 1000;
    add("deep", &("[".repeat(deep) + &"]".repeat(deep)), NONE);
    add("deep, and without an end", &"[".repeat(LONGEST), NONE);
    add("deep objects", &"{\"a\":".repeat(LONGEST / 5), NONE);
    add("deep layers", &image(&("[".repeat(deep) + &"]".repeat(deep)), ""), NONE);
    add("a deep config", &good.replacen(&of, &"{\"config\":".repeat(100_000), 1), NONE);
    // What nobody knows is nobody's business, however deep: a field is to be kept as it is.
    add("deep where nobody looks", &image(&of, &format!(",\"x\":{}{}", "[".repeat(deep), "]".repeat(deep))), TAKEN);

    // Many.
    add("a hundred thousand layers", &image(&others(100_000), ""), TOO_LONG);
    add("the same a hundred thousand times", &image(&vec![of.as_str(); 100_000].join(","), ""), TOO_LONG);
    add("as many layers as there is room for", &image(&others(24_000), ""), NONE);
    add("one as often as there is room for", &image(&full(&of), ""), NONE);
    add("one and more", &image(&vec![of.as_str(); 1024].join(","), ""), NONE);
    add("as many as there may be", &image(&vec![of.as_str(); 1023].join(","), ""), TAKEN);
    add("many that are not there", &image(&others(1023), ""), Some("MANIFEST_BLOB_UNKNOWN"));
    let foreign = of.replace("a/b", "application/vnd.oci.image.layer.nondistributable.v1.tar");
    add("one that is elsewhere, as often", &image(&full(&foreign), ""), NONE);
    add("many numbers for layers", &image(&full("0"), ""), NONE);
    add("many nothings for layers", &image(&full("null"), ""), NONE);

    // Huge.
    let value = "v".repeat(LONGEST - 2000);
    let half = "v".repeat(LONGEST / 2);
    add("a huge annotation", &image(&of, &format!(",\"annotations\":{{\"a\":\"{value}\"}}")), TAKEN);
    add("a huge name of one", &image(&of, &format!(",\"annotations\":{{\"{value}\":\"a\"}}")), TAKEN);
    add("annotations without a text", &image(&of, ",\"annotations\":{\"a\":1}"), NONE);
    add("annotations within annotations", &image(&of, ",\"annotations\":{\"a\":{\"b\":\"c\"}}"), NONE);
    add("annotations in a list", &image(&of, ",\"annotations\":[\"a\",\"b\"]"), NONE);
    add("a huge field of nobody's", &image(&of, &format!(",\"x\":\"{value}\"")), TAKEN);
    add("a huge name of one of nobody's", &image(&of, &format!(",\"{value}\":1")), TAKEN);
    add("a huge artifactType", &image(&of, &format!(",\"artifactType\":\"{value}\"")), NONE);
    add("a huge type of a config", &good.replacen("a/b", &value, 1), NONE);
    add("a huge type of a layer", &image(&of.replace("a/b", &half), ""), TAKEN);
    add("a huge mediaType", &image(&of, &format!(",\"mediaType\":\"{value}\"")), NONE);
    add("a huge digest", &image(&of.replace("sha256:", &format!("sha256:{half}")), ""), NONE);
    add("a huge number", &image(&of.replace("\"size\":", &format!("\"size\":{}", "9".repeat(1 << 20))), ""), NONE);
    add("a huge number of nobody's", &image(&of, &format!(",\"x\":{}", "9".repeat(1 << 20))), TAKEN);
    add("a huge fraction of nobody's", &image(&of, &format!(",\"x\":0.{}e999999999", "9".repeat(1 << 20))), TAKEN);

    // Twice: readers differ in which of the two they take.
    for (name, value) in [
        ("schemaVersion", "2"),
        ("mediaType", &format!("\"{MANIFEST}\"")),
        ("config", &of),
        ("layers", "[]"),
        ("artifactType", "\"a/b\""),
        ("annotations", "{}"),
        ("subject", &of),
    ] {
        add(&format!("{name} twice"), &image(&of, &format!(",\"{name}\":{value},\"{name}\":{value}")), NONE);
    }
    for (name, value) in [
        ("digest", format!("\"{}\"", Digest::of(b"other"))),
        ("size", "1".to_owned()),
        ("mediaType", "\"a\"".to_owned()),
    ] {
        add(
            &format!("{name} of a layer twice"),
            &image(&of.replacen('{', &format!("{{\"{name}\":{value},"), 1), ""),
            NONE,
        );
    }
    add("twice, once in another spelling", &good.replacen('{', "{\"\\u0063onfig\":null,", 1), NONE);

    // Numbers.
    for size in [
        "18446744073709551616",
        "18446744073709551615",
        "-1",
        "-0",
        "0.5",
        "1e400",
        "1e2",
        "0x10",
        "010",
        "+1",
        "1_0",
        "\"2\"",
        "null",
        "[2]",
        "true",
        "",
    ] {
        let code = if size == "18446744073709551615" { Some("SIZE_INVALID") } else { NONE };
        let number = kept.built.blobs[0].1.len();
        add(
            &format!("size {size}"),
            &image(&of.replace(&format!("\"size\":{number}"), &format!("\"size\":{size}")), ""),
            code,
        );
        add(&format!("schemaVersion {size}"), &good.replacen("Version\":2", &format!("Version\":{size}"), 1), NONE);
    }
    for version in ["1", "3", "2.0", "2e0", "-2", "18446744073709551618", "4294967298"] {
        add(
            &format!("schemaVersion {version}"),
            &good.replacen("Version\":2", &format!("Version\":{version}"), 1),
            NONE,
        );
    }

    // Of another kind.
    for field in ["schemaVersion", "config", "layers"] {
        add(&format!("no {field}"), &good.replacen(&format!("\"{field}\""), "\"x\"", 1), NONE);
        add(
            &format!("{field} null"),
            &good.replacen(&format!("\"{field}\":"), &format!("\"{field}\":null,\"x\":"), 1),
            NONE,
        );
    }
    for field in ["mediaType", "digest", "size"] {
        add(&format!("a layer without {field}"), &image(&of.replace(&format!("\"{field}\""), "\"x\""), ""), NONE);
    }
    for media_type in ["\"\"", "\"text/plain\"", &format!("\"{INDEX}\""), "1", "[]", "{}", "true", "\"\\u0000\""] {
        add(&format!("mediaType {media_type}"), &image(&of, &format!(",\"mediaType\":{media_type}")), NONE);
    }
    add("two kinds at once", &image(&of, &format!(",\"manifests\":[{child}]")), NONE);
    add("an index", &index(&child), NONE);
    let (blob, bytes) = &kept.built.blobs[0];
    let listed = format!("[\"a/b\",\"{}\",{}]", blob.digest, bytes.len());
    add("a layer that is a list of its values", &image(&listed, ""), NONE);
    add("a config that is one", &good.replacen(&of, &listed, 1), NONE);
    add("a manifest that is one", &format!("[2,null,null,null,null,{of},[{of}],null]"), NONE);
    for odd in ["sha256:", "sha256:..", "md5:d41d8cd98f00b204e9800998ecf8427e", "../../../etc/passwd", "", "\\u0000"] {
        add(&format!("digest {odd}"), &image(&of.replace(&blob.digest.to_string(), odd), ""), NONE);
    }
    // Text that is none, and what databases do not take for text.
    for odd in
        ["\\u0000", "a/b\\u0000", "a\\nb", "\\u001b[2J", "\\ud800", "\\udc00\\ud800", "a/b\u{1}", "\\x00", "\\u00"]
    {
        add(&format!("artifactType {odd}"), &image(&of, &format!(",\"artifactType\":\"{odd}\"")), NONE);
    }
    add("a type of a config with NUL", &good.replacen("a/b", "a\\u0000", 1), NONE);
    add("annotations with NUL", &image(&of, ",\"annotations\":{\"a\\u0000\":\"b\\u0000\"}"), TAKEN);
    add("a name of nobody's with NUL", &image(&of, ",\"a\\u0000\":\"b\\u0000\""), TAKEN);
    for (what, before, odd, behind) in [
        ("a type", ",\"artifactType\":\"", &b"a/\xff"[..], "\""),
        ("a value of nobody's", ",\"x\":\"", b"\xff\xfe", "\""),
        ("a name of nobody's", ",\"", b"\xc0\xaf", "\":1"),
        ("deep in a field of nobody's", ",\"x\":[{\"", b"\xed\xa0\x80", "\":1}]"),
        ("an annotation", ",\"annotations\":{\"a\":\"", b"\xf8\x88\x80\x80\x80", "\"}"),
        ("the middle of a letter", ",\"x\":\"", b"\xe2\x82", "\""),
    ] {
        let whole = good.trim_end_matches('}').as_bytes();
        let bytes = [whole, before.as_bytes(), odd, behind.as_bytes(), b"}"].concat();
        table.push((format!("no UTF-8 in {what}"), MANIFEST, bytes, NONE));
    }
    let wide: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    table.push(("UTF-16".to_owned(), MANIFEST, wide, NONE));

    // Indexes.
    let mut add = |what: &str, text: &str, code| table.push((what.to_owned(), INDEX, text.as_bytes().to_vec(), code));
    add("an index, a control", &index(&child), TAKEN);
    add("an index of a hundred thousand", &index(&vec![child.as_str(); 100_000].join(",")), TOO_LONG);
    add("an index of as many as there is room for", &index(&full(&child)), NONE);
    add("an index of one more", &index(&vec![child.as_str(); 1025].join(",")), NONE);
    add("an index of as many as there may be", &index(&vec![child.as_str(); 1024].join(",")), TAKEN);
    add("an index of nothing", &index(""), TAKEN);
    add("an index of a blob", &index(&of), Some("MANIFEST_BLOB_UNKNOWN"));
    add("an index that is an image", &good, NONE);
    for kind in ["text/plain", "application/json", "application/vnd.oci.image.manifest.v2+json", "*/*", "a"] {
        table.push((format!("of type {kind}"), kind, good.clone().into_bytes(), NONE));
    }
    table
}
