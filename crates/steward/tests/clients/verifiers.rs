//! Programs that verify a chain by itself.

use identity::{Algorithm, Signer as _, csr::Carrier, ear::Class, keys::key_digest};
use steward::signer::{Authority, Key};
use x509_cert::{der::Decode as _, ext::Extensions, request::CertReq};

use super::{DAY, POLICY, Party, World, has, now, run, support::Keep, text};

#[test]
fn openssl_verifies_the_chain_for_both_directions_and_the_name() {
    if !has("openssl") {
        return;
    }
    let (party, other) = (Party::new(), Party::new());
    let verify = |root: &str, more: &[&str]| {
        let fixed = ["verify", "-x509_strict", "-CAfile", root];
        run("openssl", &[&fixed[..], more, &[&party.file("leaf.pem")]].concat())
    };
    let root = party.file("root.pem");
    for purpose in ["sslserver", "sslclient"] {
        let ran = verify(&root, &["-purpose", purpose, "-verify_hostname", "shop.example.org"]);
        assert!(ran.status.success(), "{purpose}: {}", text(&ran));
    }
    let late = (party.issued.not_after + 1).to_string();
    for (root, more) in [
        (&root, &["-verify_hostname", "bank.example.org"][..]),
        (&root, &["-attime", &late]),
        (&root, &["-purpose", "smimesign"]),
        (&other.file("root.pem"), &[]),
    ] {
        assert!(!verify(root, more).status.success(), "{more:?}");
    }
}

/// A tool that knows of extensions and of nothing of ours.
#[test]
fn openssl_writes_a_request_that_carries_evidence() {
    if !has("openssl") {
        return;
    }
    let now = now();
    let (world, pair) =
        (World::build(POLICY, now), Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, now));
    let pair = pair.unwrap();
    let keep = Keep {
        carrier: Carrier::Extension,
        key: Key::from_pem(pair.key.as_bytes()).unwrap(),
        crl: Some(world.amd.crl_der(now - DAY, now + DAY, &[])),
        ..world.keep_at(now)
    };
    // What the Keep would send, for the bytes of its extension.
    let request = CertReq::from_der(&keep.csr()).unwrap();
    let asked = request.info.attributes.get(0).unwrap().values.get(0).unwrap().decode_as::<Extensions>().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let value = hex::encode_upper(asked[0].extn_value.as_bytes());
    let settings = format!("[req]\ndistinguished_name=d\n[d]\n[e]\n2.23.133.5.4.9=DER:{value}\n");
    let (settings, key, out) = (file("req.cnf", &settings), file("key.pem", &pair.key), file("request.der", ""));
    let fixed = ["req", "-new", "-subj", "/", "-outform", "DER", "-reqexts", "e"];
    let ran = run("openssl", &[&fixed[..], &["-config", &settings, "-key", &key, "-out", &out]].concat());
    assert!(ran.status.success(), "{}", text(&ran));
    let request = std::fs::read(out).unwrap();
    let issued = world.steward.judge(&request, now).unwrap();
    assert_eq!(issued.key, key_digest(keep.key.spki()));
}

#[test]
fn gnutls_verifies_the_chain_and_the_name() {
    if !has("certtool") {
        return;
    }
    let (party, other) = (Party::new(), Party::new());
    let verify = |root: &str, name: &str| {
        let (chain, hostname) = (party.file("chain.pem"), format!("--verify-hostname={name}"));
        let ran = run(
            "certtool",
            &[
                "--verify",
                &hostname,
                "--verify-purpose=1.3.6.1.5.5.7.3.1",
                "--load-ca-certificate",
                root,
                "--infile",
                &chain,
            ],
        );
        (ran.status.success(), text(&ran))
    };
    let root = party.file("root.pem");
    let (good, said) = verify(&root, "shop.example.org");
    assert!(good, "{said}");
    for (root, name) in [(&root, "bank.example.org"), (&other.file("root.pem"), "shop.example.org")] {
        let (good, said) = verify(root, name);
        assert!(!good, "{name}: {said}");
    }
}

/// What an administrator looks at.
#[test]
fn openssl_prints_the_names_and_the_dates_of_a_day() {
    if !has("openssl") {
        return;
    }
    let party = Party::new();
    let ran = run("openssl", &["x509", "-noout", "-text", "-in", &party.file("leaf.pem")]);
    let said = text(&ran);
    for expected in ["URI:spiffe://example.org/shop/web, DNS:shop.example.org, DNS:www.example.org", "CA:FALSE"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(party.issued.not_after <= now() + super::DAY);
}
