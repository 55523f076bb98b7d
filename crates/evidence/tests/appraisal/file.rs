//! Files that make much of few bytes, and what is said of them.

use evidence::appraisal::bundle::{BundleError, Bundled};
use evidence::appraisal::file::{Content, FileError, MAX_FILE};
use evidence::appraisal::{Bundle, Endorsements, File, Kind};
use serde_json::{Value, json};
use std::path::Path;

fn vector(folder: &str, name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(folder).join(name);
    serde_json::from_slice(&std::fs::read(path).expect("committed")).expect("JSON")
}

fn report() -> Vec<u8> {
    hex::decode(vector("snp", "ok-milan-v3.json")["report"].as_str().expect("a report")).expect("hexadecimal")
}

/// A response of the firmware holds a report, not another response: each would take stack.
#[test]
fn zeros_are_nothing() {
    let read = File::read(&vec![0; MAX_FILE]);
    assert!(matches!(read, Err(FileError::Unknown(_))), "{read:?}");
    let response = [&[0; 32][..], &report()].concat();
    assert_eq!(File::read(&response).map(|file| file.kind), Ok(Kind::SnpReport), "the control");
    assert!(File::read(&[&[0; 32][..], &response].concat()).is_err());
}

/// An agent wraps once.
#[test]
fn a_wrapping_in_a_wrapping_is_refused() {
    let vector = vector("azure", "ok-snp.json");
    let envelope = json!({
        "version": 1,
        "hcl_report": vector["hcl_report"].as_str().expect("base64").replace('+', "-").replace('/', "_"),
        "tpm_quote": { "message": vector["message"], "signature": vector["signature"], "pcrs": vector["pcrs"] },
        "vcek": vector["snp"]["vcek"].as_str().expect("base64").replace('+', "-").replace('/', "_"),
    });
    let wrap = |inner: &str| format!(r#"{{"platform":"az-snp","evidence":{inner}}}"#);
    let read = |text: &str| File::read(text.as_bytes()).map(|file| file.kind);
    let once = wrap(&envelope.to_string());
    assert_eq!(read(&envelope.to_string()), Ok(Kind::AzureSnp));
    assert_eq!(read(&once), Ok(Kind::AzureSnp));
    assert!(matches!(read(&wrap(&once)), Err(FileError::Json(_))));
    let (head, tail) = (r#"{"platform":"az-snp","evidence":"#, "}");
    let wraps = MAX_FILE / (head.len() + tail.len()) - 1;
    assert!(matches!(read(&[&head.repeat(wraps), "{}", &tail.repeat(wraps)].concat()), Err(FileError::Json(_))));
}

/// They are counted while they are read, not after.
#[test]
fn a_bundle_has_at_most_64_of_each_list() {
    for key in ["certificates", "revocation_lists", "tcb_infos", "qe_identities"] {
        let one = |at: usize| match key {
            "certificates" | "revocation_lists" => json!(""),
            _ => json!({ "body": at.to_string(), "signature": "00".repeat(64) }),
        };
        let read = |count: usize| {
            let list: Vec<_> = (0..count).map(one).collect();
            let text = json!({ "donjon_evidence_bundle": 1, "kind": "csr", "evidence": "", "time": 0, key: list });
            Bundle::read(text.to_string().as_bytes())
        };
        assert!(read(64).is_ok(), "{key}: {:?}", read(64));
        let refused = read(65).expect_err("one more").to_string();
        assert!(refused.starts_with("more than 64 in one list"), "{key}: {refused}");
    }
}

/// What is written can be read again.
#[test]
fn a_bundle_is_not_longer_than_a_file_may_be() {
    let bundle = |policy: usize| Bundle {
        evidence: Bundled::Csr(vec![0; 3]),
        endorsements: Endorsements::default(),
        policy: Some("#".repeat(policy)),
        nonce: None,
        launch_field: None,
        time: 0,
    };
    let frame = bundle(0).write().expect("short").len();
    let longest = bundle(MAX_FILE - frame);
    let written = longest.write().expect("as long as it may be");
    assert_eq!(written.len(), MAX_FILE);
    assert_eq!(Bundle::read(written.as_bytes()), Ok(longest));
    assert_eq!(bundle(MAX_FILE - frame + 1).write(), Err(BundleError::TooLong));
}

/// Nothing that stands beside it is dropped unread.
#[test]
fn a_request_stands_alone() {
    let pem = |label: &str, base64: &str| format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
    let list = pem("X509 CRL", vector("snp", "ok-milan-v3.json")["crl"].as_str().expect("a list"));
    let request = pem("CERTIFICATE REQUEST", "AAAA");
    let read = |text: &str| File::read(text.as_bytes()).map(|file| file.kind);
    assert_eq!(read(&request), Ok(Kind::Csr));
    assert_eq!(read(&list), Ok(Kind::Certificates));
    for text in [list.clone() + &request, request.clone() + &list, request.clone() + &request] {
        assert!(matches!(read(&text), Err(FileError::Pem(_))), "{text}");
    }
}

/// All entries of a table together are not longer than it.
#[test]
fn entries_of_a_table_do_not_overlap() {
    use base64::Engine as _;
    let list = vector("snp", "ok-milan-v3.json")["crl"].as_str().map(str::to_owned).expect("a list");
    let list = base64::prelude::BASE64_STANDARD.decode(list).expect("base64");
    let read = |entries: u32| {
        let at = (entries + 1) * 24;
        let length = u32::try_from(list.len()).expect("short");
        let entry = [&[7; 16][..], &at.to_le_bytes(), &length.to_le_bytes()].concat();
        let bytes = [report(), entry.repeat(entries as usize), vec![0; 24], list.clone()].concat();
        File::read(&bytes).map(|file| file.kind)
    };
    assert_eq!(read(1), Ok(Kind::SnpExtendedReport));
    assert_eq!(read(2), Ok(Kind::SnpReport), "then it is no table");
}

/// Whatever a file has in it, what is said of it is short.
#[test]
fn what_is_wrong_is_said_in_few_bytes() {
    let long = "\u{10ffff}".repeat(1000);
    for text in [
        format!(r#"{{"tcb_info":"","{long}":0}}"#),
        format!(r#"{{"donjon_evidence_bundle":1,"{long}":0}}"#),
        format!(r#"{{"donjon_evidence_bundle":1,"kind":"{long}","evidence":"","time":0}}"#),
        format!(r#"{{"tpm_quote":0,"{long}":0}}"#),
        format!(r#"{{"tcbInfo":{{}},"{long}":0}}"#),
        format!("-----BEGIN {0}-----\nAA==\n-----END {0}-----\n", "\"".repeat(1000)),
    ] {
        let said = File::read(text.as_bytes()).expect_err("nothing of these").to_string();
        assert!(said.len() <= 400, "{} bytes: {said}", said.len());
    }
    let content = File::read(&report()).map(|file| file.content);
    assert!(matches!(content, Ok(Content::Evidence(..))), "the control");
}
