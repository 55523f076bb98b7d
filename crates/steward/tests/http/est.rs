//! Enrolment over Secure Transport, by hand; `tests/clients` has a client that nobody here wrote.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{Request, StatusCode, header::CONTENT_TYPE};
use identity::{Algorithm, KeepCertificate, Signer as _, csr, issuer::Issuer};
use serde_json::Value;
use steward::{Handle, signer::Key};
use workload::Digest;
use x509_cert::der::{Decode as _, Encode as _, asn1::AnyRef, asn1::ObjectIdentifier};

use super::{Answer, Bytes, Full, NOW, World, asked, connect, get, send, start};

const PKCS7: &str = "application/pkcs7-mime; smime-type=certs-only";

async fn post(handle: &Handle, operation: &str, kind: &str, body: String) -> Answer {
    let path = format!("/.well-known/est/{operation}");
    let request = Request::post(path).header("host", "x").header(CONTENT_TYPE, kind);
    send(connect(handle).await, request.body(Full::new(Bytes::from(body))).unwrap()).await
}

/// The certificates of degenerate SignedData (RFC 5652 section 5.1).
fn certificates(answer: &Answer) -> Vec<Vec<u8>> {
    assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, PKCS7), "{:?}", answer.body);
    let der = STANDARD.decode(&answer.body).unwrap();
    let info = Vec::<AnyRef<'_>>::from_der(&der).unwrap();
    assert_eq!(info[0].decode_as::<ObjectIdentifier>().unwrap().to_string(), "1.2.840.113549.1.7.2");
    let signed = Vec::<AnyRef<'_>>::from_der(info[1].value()).unwrap();
    let [version, algorithms, content, certificates, signers] = &signed[..] else { panic!("{signed:?}") };
    assert_eq!(version.decode_as::<u8>().unwrap(), 1);
    assert!(algorithms.value().is_empty() && signers.value().is_empty(), "nobody signed");
    let content = content.decode_as::<Vec<ObjectIdentifier>>().unwrap();
    assert_eq!(content[0].to_string(), "1.2.840.113549.1.7.1");
    let (mut rest, mut list) = (certificates.value(), Vec::new());
    while !rest.is_empty() {
        let (element, behind) = AnyRef::from_der_partial(rest).unwrap();
        list.push(element.to_der().unwrap());
        rest = behind;
    }
    list
}

#[tokio::test]
async fn the_chain_what_a_request_must_have_and_a_nonce() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let answer = send(connect(&handle).await, get("/.well-known/est/cacerts")).await;
    let chain = certificates(&answer);
    assert_eq!(chain.len(), 1);
    assert_eq!(Digest::of(&Issuer::read(&chain[0]).unwrap().spki), handle.anchor);

    let answer = send(connect(&handle).await, get("/.well-known/est/csrattrs")).await;
    assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, "application/csrattrs"));
    let attributes = Vec::<ObjectIdentifier>::from_der(&STANDARD.decode(&answer.body).unwrap()).unwrap();
    assert_eq!(attributes[0].to_string(), "1.2.840.113549.1.9.16.2.59");

    let answer = send(connect(&handle).await, get("/.well-known/est/nonce")).await;
    assert_eq!(answer.header(CONTENT_TYPE), "application/est-attestation-freshness+json");
    assert_eq!(answer.header(hyper::header::CACHE_CONTROL), "no-store");
    let nonce: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(nonce["expiry"], 300);
}

/// draft-ietf-lamps-attestation-freshness-08 section 5.1: who asks for more than a nonce says so in a body.
#[tokio::test]
async fn a_nonce_is_of_the_length_that_is_wanted_or_of_none() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    const NONCE: &str = "application/est-attestation-freshness+json";
    for wanted in ["{}", r#"{"len":57}"#, r#"{"len":57,"type":"1.2.3.4.5","reqInfo":{"a":[1]}}"#] {
        let answer = post(&handle, "nonce", NONCE, wanted.to_owned()).await;
        assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, NONCE), "{wanted}");
        let nonce: Value = serde_json::from_slice(&answer.body).unwrap();
        let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(nonce["nonce"].as_str().unwrap());
        assert_eq!(decoded.unwrap().len(), 57);
    }
    for (media_type, wanted, status, id) in [
        (NONCE, r#"{"len":32}"#, StatusCode::SERVICE_UNAVAILABLE, "nonce.length"),
        (NONCE, r#"{"len":-1}"#, StatusCode::BAD_REQUEST, "http.nonce"),
        (NONCE, "[]x", StatusCode::BAD_REQUEST, "http.nonce"),
        ("application/json", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.content_type"),
    ] {
        let answer = post(&handle, "nonce", media_type, wanted.to_owned()).await;
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, problem["checks"][0]["id"].as_str()), (status, Some(id)), "{wanted}");
    }
}

#[tokio::test]
async fn a_keep_enrols_and_enrols_again() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    for operation in ["simpleenroll", "simplereenroll"] {
        let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
        let (request, _) = asked(&world, &handle, &key, |_| {}).await.unwrap();
        let whole = STANDARD.encode(&request.body);
        // In lines, as clients send it.
        let lines: Vec<&str> = whole.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        for body in [whole.clone(), lines.join("\r\n") + "\r\n"] {
            let list = certificates(&post(&handle, operation, "application/pkcs10", body).await);
            let [leaf] = &list[..] else { panic!("the certificate alone") };
            let certificate = KeepCertificate::read(leaf).unwrap();
            assert_eq!((certificate.spki.as_slice(), certificate.not_before), (key.spki(), NOW));
        }
    }
}

#[tokio::test]
async fn what_is_refused_elsewhere_is_refused_here() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let (request, _) = asked(&world, &handle, &key, |report| report.measurement = [1; 48]).await.unwrap();
    let (good, _) = asked(&world, &handle, &key, |_| {}).await.unwrap();
    let good = STANDARD.encode(&good.body);
    assert_eq!(post(&handle, "simpleenroll", "application/pkcs10", good.clone()).await.status, StatusCode::OK);
    for (kind, body, status, cause) in [
        ("application/pkcs10", STANDARD.encode(&request.body), StatusCode::FORBIDDEN, "snp.measurement.allowed"),
        ("application/pkcs10", STANDARD.encode("no request"), StatusCode::BAD_REQUEST, "csr.format"),
        ("application/pkcs10", "!".to_owned(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.content_type"),
        ("text/plain", good.clone(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.content_type"),
        ("application/pkcs10", "A".repeat(csr::CSR_LIMIT + 4), StatusCode::PAYLOAD_TOO_LARGE, "http.size"),
    ] {
        let answer = post(&handle, "simpleenroll", kind, body).await;
        assert_eq!((answer.status, answer.cause().as_str()), (status, cause));
    }
    let answer = post(&handle, "serverkeygen", "application/pkcs10", good).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "keys are made in Keeps");
}
