//! An EST client (RFC 7030): strongSwan's `pki`.

use std::{fs, path::Path, process::Command};

use identity::{KeepCertificate, Signer as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use steward::{
    Handle, Settings, listen,
    pem::encode,
    policy::Policy,
    serve,
    settings::{NonceKeySource, TlsSource},
};

use super::{DAY, Output, POLICY, World, has, now, text};

/// A Steward behind HTTPS, for a Keep of `world`. Nonces of the world are good here: both have one key.
async fn steward(world: &World) -> Handle {
    let folder = world.folder.path();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", &encode("CERTIFICATE", ca.self_signed(&ca_key).unwrap().der()));
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let policy = POLICY.replace("{owner}", &world.owner_digest().to_string());
    let mut settings = Settings::new(Policy::parse("policy.toml", &policy, folder).unwrap());
    settings.nonce_key = NonceKeySource::File(write("nonce.key", &"7".repeat(64)));
    settings.tls = TlsSource::Files {
        certificates: write("tls.pem", &encode("CERTIFICATE", leaf.der())),
        key: write("tls.key", &encode("PRIVATE KEY", &key.serialize_der())),
    };
    serve(settings, listen(([127, 0, 0, 1], 0).into()).await.unwrap()).await.unwrap()
}

/// With TLS 1.3, which it has and does not offer by itself.
async fn pki(folder: &Path, arguments: &[&str]) -> Output {
    let settings = folder.join("strongswan.conf");
    fs::write(&settings, "libtls {\n version_max = 1.3\n}\n").unwrap();
    let mut command = Command::new("pki");
    command.args(arguments).current_dir(folder).env("STRONGSWAN_CONF", settings);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn strongswan_gets_the_chain_and_enrols_with_a_keeps_request() {
    if !has("pki") {
        return;
    }
    let (now, world) = (now(), World::build(POLICY, now()));
    let handle = steward(&world).await;
    let url = format!("https://localhost:{}", handle.local_addr.port());
    let folder = world.folder.path();
    let ran =
        pki(folder, &["--estca", "--url", &url, "--cacert", "ca.pem", "--caout", "steward", "--outform", "pem"]).await;
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(fs::read_to_string(folder.join("steward.pem")).unwrap().trim(), handle.root_pem.trim());

    let request = |measurement| {
        let mut keep = world.keep_at(now);
        keep.crl = Some(world.amd.crl_der(now - DAY, now + DAY, &[]));
        keep.brief.steward.as_mut().unwrap().anchors = vec![handle.anchor];
        keep.report.measurement = measurement;
        fs::write(folder.join("request.der"), keep.csr()).unwrap();
        keep.key.spki().to_vec()
    };
    let enrol = ["--est", "--url", &url, "--cacert", "ca.pem", "--cacert", "steward.pem", "--in", "request.der"];
    let spki = request(super::support::MEASUREMENT);
    let ran = pki(folder, &enrol).await;
    assert!(ran.status.success(), "{}", text(&ran));
    let certificate = KeepCertificate::read(&ran.stdout).unwrap();
    assert_eq!((certificate.spki, certificate.not_before), (spki, now));

    request([1; 48]);
    let ran = pki(folder, &enrol).await;
    assert!(!ran.status.success() && ran.stdout.is_empty(), "{}", text(&ran));
    handle.shutdown().await;
}
