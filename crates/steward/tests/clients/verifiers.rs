//! Programs that verify a chain by itself.

use super::{Party, has, now, run, text};

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
