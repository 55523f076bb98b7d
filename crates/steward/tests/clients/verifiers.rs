//! Programs that verify a chain by itself.

use std::fs;

use identity::{Algorithm, Signer as _, csr::Carrier, ear::Class, keys::key_digest, pem};
use steward::{
    Steward,
    nonce::NonceKey,
    policy::Policy,
    signer::{Authority, Key},
};
use workload::names::DnsName;
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
        (World::build(POLICY, now), Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], now));
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

/// A root for names below example.org, what a Steward issues under it, and leaves that it would not.
#[test]
fn unmodified_clients_hold_the_root_to_its_names() {
    if !has("openssl") {
        return;
    }
    let now = now();
    let pair = |dns: &[&str]| {
        let dns: Vec<DnsName> = dns.iter().map(|name| name.parse().unwrap()).collect();
        Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &dns, now).unwrap()
    };
    let pair = pair(&["example.org", "example.net"]);
    let world = World::build(POLICY, now);
    let authority =
        Authority::from_pem(Class::Insecure, pair.key.as_bytes(), pair.certificates.as_bytes(), now).unwrap();
    let policy = POLICY.replace("{owner}", &world.owner_digest().to_string());
    let policy = Policy::parse("p", &policy, world.folder.path()).unwrap();
    let world = World { steward: Steward::new(policy, authority, &NonceKey::random().unwrap()).unwrap(), ..world };
    let keep = Keep { crl: Some(world.amd.crl_der(now - DAY, now + DAY, &[])), ..world.keep_at(now) };
    let issued = keep.ask_at(now).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    write("root.pem", &pair.certificates);
    write("root.key", &pair.key);
    write("keep.pem", &pem::encode(&issued.chain[..1]));
    let shown = text(&run("openssl", &["x509", "-noout", "-text", "-in", &path("root.pem")]));
    let expected = "X509v3 Name Constraints: critical\n                Permitted:\n                  DNS:example.net\n                  DNS:example.org\n";
    assert!(shown.contains(expected), "{shown}");

    // What else that key could be made to sign.
    let leaf = |file: &str, name: &str| {
        write("leaf.ext", &format!("subjectAltName=DNS:{name}\n"));
        let request =
            ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"];
        let ran = run("openssl", &[&request[..], &["-keyout", &path("leaf.key"), "-out", &path("leaf.csr")]].concat());
        assert!(ran.status.success(), "{}", text(&ran));
        let fixed = ["x509", "-req", "-days", "1", "-in", &path("leaf.csr"), "-extfile", &path("leaf.ext")];
        let ca = ["-CA", &path("root.pem"), "-CAkey", &path("root.key"), "-CAcreateserial", "-out", &path(file)];
        let ran = run("openssl", &[&fixed[..], &ca].concat());
        assert!(ran.status.success(), "{}", text(&ran));
    };
    leaf("inside.pem", "shop.example.net");
    leaf("outside.pem", "shop.example.com");
    leaf("beside.pem", "badexample.org");

    let openssl = |file: &str, name: &str| {
        let ran = run("openssl", &["verify", "-CAfile", &path("root.pem"), "-verify_hostname", name, &path(file)]);
        (ran.status.success(), text(&ran))
    };
    let gnutls = |file: &str, name: &str| {
        let name = format!("--verify-hostname={name}");
        let ran =
            run("certtool", &["--verify", &name, "--load-ca-certificate", &path("root.pem"), "--infile", &path(file)]);
        (ran.status.success(), text(&ran))
    };
    type Verify<'a> = &'a dyn Fn(&str, &str) -> (bool, String);
    let mut others: Vec<(Verify<'_>, &str)> = vec![(&openssl, "permitted subtree violation")];
    if has("certtool") {
        others.push((&gnutls, "violates the signer's constraints"));
    }
    for (verify, why) in others {
        for (file, name) in [("keep.pem", "shop.example.org"), ("inside.pem", "shop.example.net")] {
            let (good, said) = verify(file, name);
            assert!(good, "{name}: {said}");
        }
        for (file, name) in [("outside.pem", "shop.example.com"), ("beside.pem", "badexample.org")] {
            let (good, said) = verify(file, name);
            assert!(!good && said.contains(why), "{name}: {said}");
        }
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
