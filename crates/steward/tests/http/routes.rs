//! What can be asked, by which method, by whom and how often; many requests in one.

use std::{collections::BTreeSet, num::NonZeroU32};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use const_oid::AssociatedOid as _;
use hyper::{Method, Request, StatusCode, header::CONTENT_TYPE, header::RETRY_AFTER};
use identity::{Algorithm, KeepCertificate, Signer as _, certificate::ProfileError, ear::Ear};
use serde_json::Value;
use steward::{open_api, signer::Key};
use workload::brief::Source;
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _, asn1::AnyRef},
    ext::pkix::{ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

use super::{Full, World, asked, connect, enrol, get, post, send, start};

const DOCUMENT: &str = include_str!("../../../../spec/steward.openapi.json");
const BUNDLE: &str = "application/vnd.steward.pkcs10-bundle.v1";

#[test]
fn the_document_of_the_interface_is_up_to_date() {
    let written: Value = serde_json::from_str(DOCUMENT).unwrap();
    assert!(written == open_api(), "`donjon steward openapi > spec/steward.openapi.json` writes it");
}

/// And every method that it does not list is none.
#[tokio::test]
async fn every_path_of_the_document_answers_its_methods_and_no_other() {
    let world = World::new();
    let handle = start(&world, |settings| settings.counted = true).await;
    let served: Value = serde_json::from_slice(&send(connect(&handle).await, get("/openapi.json")).await.body).unwrap();
    assert_eq!(served, open_api());
    for (path, operations) in served["paths"].as_object().unwrap() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let listed = operations.get(method.as_str().to_lowercase());
            let request =
                Request::builder().method(&method).uri(path).header("host", "x").body(Full::default()).unwrap();
            let answer = send(connect(&handle).await, request).await;
            let Some(operation) = listed else {
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                assert_eq!(answer.cause(), "http.method");
                continue;
            };
            if method == Method::POST {
                assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}: an empty body of no type");
                assert!(operation["requestBody"]["required"].as_bool().unwrap());
                continue;
            }
            let kind = answer.header(CONTENT_TYPE);
            let content = &operation["responses"]["200"]["content"][kind];
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert!(content.is_object(), "{path}: {kind} is not listed");
            if let Some(form) = content["schema"]["$ref"].as_str() {
                fits(&served, form, &serde_json::from_slice(&answer.body).unwrap(), path);
            }
        }
    }
    let problem = send(connect(&handle).await, get("/nothing")).await;
    fits(&served, "#/components/schemas/Problem", &serde_json::from_slice(&problem.body).unwrap(), "a problem");
}

/// Has exactly the members of the form.
fn fits(document: &Value, form: &str, found: &Value, what: &str) {
    let form = document.pointer(&form[1..]).unwrap();
    let members = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(members(&form["properties"]), members(found), "{what}");
    for (member, of) in form["properties"].as_object().unwrap() {
        let (wanted, value) = (of["type"].as_str().unwrap(), &found[member]);
        let is = match wanted {
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "array" => value.is_array(),
            other => panic!("{other}"),
        };
        assert!(is, "{what}: {member} is no {wanted}");
    }
}

#[tokio::test]
async fn who_asks_too_often_is_sent_away_and_only_he() {
    let world = World::new();
    let handle = start(&world, |settings| settings.limits.rate = NonZeroU32::new(1)).await;
    let mut stream = None;
    for _ in 0..100 {
        let answer = send(connect(&handle).await, get("/healthz")).await;
        if answer.status != StatusCode::OK {
            stream = Some(answer);
            break;
        }
    }
    let answer = stream.expect("sent away before the hundredth");
    assert_eq!((answer.status, answer.cause().as_str()), (StatusCode::TOO_MANY_REQUESTS, "http.rate"));
    assert!(answer.headers.contains_key(RETRY_AFTER));
    // Another address of this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = socket.connect(handle.local_addr).await.unwrap();
    assert_eq!(send(other, get("/healthz")).await.status, StatusCode::OK);
    // As many as anybody likes.
    let handle = start(&world, |settings| settings.limits.rate = None).await;
    for _ in 0..100 {
        assert_eq!(send(connect(&handle).await, get("/healthz")).await.status, StatusCode::OK);
    }
}

fn sequence(ders: &[Vec<u8>]) -> Vec<u8> {
    let parts: Vec<_> = ders.iter().map(|der| AnyRef::from_der(der).unwrap()).collect();
    parts.to_der().unwrap()
}

#[tokio::test]
async fn a_bundle_gets_a_certificate_for_each_request_or_none_at_all() {
    let world = World::new();
    let handle = start(&world, |_| {}).await;
    let keys = [0; 3].map(|_| Key::random(Algorithm::EcdsaP256Sha256).unwrap());
    let mut requests = Vec::new();
    for key in &keys {
        requests.push(asked(&world, &handle, key, |_| {}).await.unwrap().0.body);
    }
    let answer = send(connect(&handle).await, post(BUNDLE, None, sequence(&requests))).await;
    assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (StatusCode::OK, BUNDLE));
    let parts = Vec::<Vec<AnyRef<'_>>>::from_der(&answer.body).unwrap();
    let [authorities, issued] = &parts[..] else { panic!("chain, certificates") };
    assert_eq!(authorities.len(), 1, "the root");
    for (key, leaf) in keys.iter().zip(issued) {
        assert_eq!(KeepCertificate::read(&leaf.to_der().unwrap()).unwrap().spki, key.spki());
    }
    assert_eq!(issued.len(), 3);

    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let liar = asked(&world, &handle, &key, |report| report.measurement = [1; 48]).await.unwrap().0.body;
    requests.insert(1, liar);
    let answer = send(connect(&handle).await, post(BUNDLE, None, sequence(&requests))).await;
    let problem = answer.problem();
    assert_eq!((answer.status, problem.checks[0].id.as_str()), (StatusCode::FORBIDDEN, "snp.measurement.allowed"));
    assert!(problem.detail.starts_with("request 1 of the bundle"), "{}", problem.detail);

    for (body, status) in [
        (sequence(&[]), StatusCode::OK),
        (b"x".to_vec(), StatusCode::BAD_REQUEST),
        ([sequence(&requests[..1]), vec![0]].concat(), StatusCode::BAD_REQUEST),
        (vec![0x30; identity::csr::CSR_LIMIT + 1], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let length = body.len();
        assert_eq!(send(connect(&handle).await, post(BUNDLE, None, body)).await.status, status, "{length} bytes");
    }
    // Nobody was kept from asking.
    enrol(&world, &handle, |_| {}).await.unwrap();
}

/// trust.md rule 6: a certificate of its own, with no SPIFFE ID.
#[tokio::test]
async fn the_certificate_of_a_workload_says_where_it_is_and_nothing_else() {
    let source = Source::Drawbridge {
        authority: "drawbridge.example.org:443".to_owned(),
        repository: "shop/web".to_owned(),
        tls: Vec::new(),
    };
    let world = World { source, ..World::new() };
    let handle = start(&world, |_| {}).await;
    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let workload = async |world: &World, kind: &str| {
        let csr = asked(world, &handle, &key, |_| {}).await.unwrap().0.body;
        let request = Request::post("/workload").header("host", "x").header(CONTENT_TYPE, kind);
        send(connect(&handle).await, request.body(Full::new(csr.into())).unwrap()).await
    };
    let answer = workload(&world, "application/pkcs10").await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let chain = super::pem::decode(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    assert!(matches!(KeepCertificate::read(&chain[0]), Err(ProfileError::Extensions)), "it is no Keep's");
    let certificate = Certificate::from_der(&chain[0]).unwrap();
    let tbs = certificate.tbs_certificate();
    assert_eq!(tbs.subject_public_key_info().to_der().unwrap(), key.spki());
    let extensions = tbs.extensions().unwrap();
    let value = |oid| extensions.iter().find(|extension| extension.extn_id == oid).unwrap().extn_value.as_bytes();
    let SubjectAltName(names) = SubjectAltName::from_der(value(SubjectAltName::OID)).unwrap();
    let [GeneralName::UniformResourceIdentifier(url)] = &names[..] else { panic!("{names:?}") };
    let digest = workload_digest();
    assert_eq!(url.to_string(), format!("https://drawbridge.example.org:443/v2/shop/web/manifests/{digest}"));
    let ExtendedKeyUsage(usages) = ExtendedKeyUsage::from_der(value(ExtendedKeyUsage::OID)).unwrap();
    assert_eq!(usages.len(), 2, "servers and clients");
    // What was found is in it, as in a Keep's.
    let cmw = String::from_der(value("1.3.6.1.5.5.7.1.35".parse().unwrap())).unwrap();
    let record: [String; 2] = serde_json::from_str(&cmw).unwrap();
    let ear = Ear::parse(&String::from_utf8(URL_SAFE_NO_PAD.decode(&record[1]).unwrap()).unwrap()).unwrap();
    assert_eq!((ear.workload, ear.key), (digest, workload::Digest::of(key.spki())));

    let bundle = workload(&world, BUNDLE).await;
    assert_eq!((bundle.status, bundle.cause().as_str()), (StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.content_type"));
    let host = World { source: Source::Host, ..world };
    let refused = workload(&host, "application/pkcs10").await;
    assert_eq!((refused.status, refused.cause().as_str()), (StatusCode::FORBIDDEN, "brief.source"));
}

fn workload_digest() -> workload::Digest {
    workload::Digest::of(b"workload")
}
