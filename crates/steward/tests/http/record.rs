//! No certificate without its record.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use hyper::StatusCode;
use identity::{Algorithm, KeepCertificate, Signer as _};
use serde_json::Value;
use steward::{Handle, Settings, SettingsError, listen, record::writer::RecordSource, serve, signer::Key};
use workload::Digest;

use super::{DAY, NOW, World, asked, connect, get, loopback, pem, send, start, translate};

async fn recording(world: &World, folder: &Path) -> Handle {
    start(world, |settings| settings.record = RecordSource::Folder(folder.to_owned())).await
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    list(&folder.join("certificates")).iter().flat_map(|instance| list(instance)).collect()
}

/// All lines of the record.
fn record(folder: &Path) -> Vec<Value> {
    let texts = files(folder).into_iter().map(|file| fs::read_to_string(file).unwrap());
    let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A certificate of this Steward, or why there is none.
async fn certificate(world: &World, handle: &Handle) -> Result<KeepCertificate, (StatusCode, String)> {
    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let (request, _) = asked(world, handle, &key, |_| {}).await.unwrap();
    let answer = send(connect(handle).await, translate(request)).await;
    if answer.status != StatusCode::OK {
        return Err((answer.status, answer.cause()));
    }
    let chain = pem::decode(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    let certificate = KeepCertificate::read(&chain[0]).unwrap();
    assert_eq!(certificate.spki, key.spki());
    Ok(certificate)
}

#[tokio::test]
async fn rule_18_what_is_issued_stands_in_the_record() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let handle = recording(&world, folder.path()).await;
    assert_eq!(record(folder.path()), [""; 0].map(Value::from));
    let issued = certificate(&world, &handle).await.unwrap();
    let lines = record(folder.path());
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["serial"], hex::encode(&issued.serial));
    assert_eq!(line["key"], issued.key().to_string());
    assert_eq!(line["id"], "spiffe://example.org/shop/web");
    assert_eq!((&line["not_before"], &line["not_after"]), (&NOW.into(), &(NOW + DAY).into()));
    assert_eq!(line["brief"], issued.ear.brief.to_string());
    assert_eq!(line["ear"], Digest::of(issued.ear_jwt.as_bytes()).to_string());
    // A bundle of none is none.
    let before = files(folder.path()).len();
    let nothing = super::post("application/vnd.steward.pkcs10-bundle.v1", None, vec![0x30, 0]);
    assert_eq!(send(connect(&handle).await, nothing).await.status, StatusCode::OK);
    assert_eq!(files(folder.path()).len(), before);
    // And so is a refusal.
    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let (request, _) = asked(&world, &handle, &key, |report| report.measurement = [1; 48]).await.unwrap();
    assert_eq!(send(connect(&handle).await, translate(request)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(record(folder.path()).len(), 1);
}

/// What was written is never written again, by nobody.
#[tokio::test]
async fn rule_18_several_stewards_share_a_store() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let (one, other) = (recording(&world, folder.path()).await, recording(&world, folder.path()).await);
    let mut serials = BTreeSet::new();
    let mut seen: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for _ in 0..5 {
        for handle in [&one, &other] {
            serials.insert(hex::encode(certificate(&world, handle).await.unwrap().serial));
        }
        for (path, bytes) in &seen {
            assert_eq!(&fs::read(path).unwrap(), bytes, "{}", path.display());
        }
        seen = files(folder.path()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    }
    one.shutdown().await;
    other.shutdown().await;
    let again = recording(&world, folder.path()).await;
    serials.insert(hex::encode(certificate(&world, &again).await.unwrap().serial));
    let recorded: BTreeSet<String> =
        record(folder.path()).iter().map(|line| line["serial"].as_str().unwrap().to_owned()).collect();
    assert_eq!(recorded, serials);
    assert_eq!(serials.len(), 11);
}

#[tokio::test]
async fn rule_18_without_its_record_nothing_is_issued() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("record");
    let handle = recording(&world, &path).await;
    assert!(certificate(&world, &handle).await.is_ok(), "control");
    let ready = async || send(connect(&handle).await, get("/readyz")).await;
    // It went away, and something else is in its place.
    let away = folder.path().join("away");
    fs::rename(&path, &away).unwrap();
    fs::write(&path, "no folder").unwrap();
    for _ in 0..2 {
        let (status, cause) = certificate(&world, &handle).await.unwrap_err();
        assert_eq!((status, cause.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "record.written"));
    }
    let answer = ready().await;
    assert_eq!((answer.status, answer.cause().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "record.written"));
    assert_eq!(send(connect(&handle).await, get("/healthz")).await.status, StatusCode::OK);
    // It is back, and so is the Steward.
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert_eq!(ready().await.status, StatusCode::OK);
    assert!(certificate(&world, &handle).await.is_ok());
    assert_eq!(record(&path).len(), 2);
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_a_start_error() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let policy = super::POLICY.replace("{owner}", &world.owner_digest().to_string());
    let policy = super::Policy::parse("policy.toml", &policy, world.folder.path()).unwrap();
    let mut settings = Settings::new(policy);
    settings.record = RecordSource::Folder(file.join("below"));
    let error = serve(settings, listen(loopback()).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, SettingsError::Record(_)), "{error}");
    assert!(error.to_string().contains("below") && error.hint().is_some(), "{error}");
}
