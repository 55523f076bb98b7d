//! What software nobody here wrote makes of our certificates and requests: OpenSSL and the `x509-cert` crate. Tests only.
//!
//! A machine without the `openssl` command prints a skip; `DONJON_REQUIRE=openssl` makes that a failure.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{env, eprintln, format, fs, process};

use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName, name::GeneralName};

use crate::csr::{self, Evidence, Statement};
use crate::keys::Signer;
use crate::names::Nonce;
use crate::testing::{NOW, P256, P384, brief, chain, ear};

/// Runs `openssl` with `{0}`, `{1}`, … replaced by files of these contents; its output, or `None` where there is none.
fn openssl(arguments: &[&str], files: &[&[u8]]) -> Option<String> {
    if Command::new("openssl").arg("version").output().is_err() {
        let required = env::var("DONJON_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item == "openssl"));
        assert!(!required, "DONJON_REQUIRE names openssl, and there is none");
        eprintln!("skipped: no openssl on this machine");
        return None;
    }
    let unique = format!("identity-{}-{:p}", process::id(), files.as_ptr());
    let paths: Vec<_> = (0..files.len()).map(|index| env::temp_dir().join(format!("{unique}-{index}"))).collect();
    for (path, content) in paths.iter().zip(files) {
        fs::write(path, content).unwrap();
    }
    let mut command = Command::new("openssl");
    for argument in arguments {
        match argument.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(index) => command.arg(&paths[index.parse::<usize>().unwrap()]),
            None => command.arg(argument),
        };
    }
    let output = command.output().unwrap();
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    let text = String::from_utf8_lossy(&output.stdout).to_string() + &String::from_utf8_lossy(&output.stderr);
    Some(format!("{}\n{text}", output.status.code().unwrap()))
}

#[test]
fn rule_6_openssl_reads_and_verifies_the_certificate() {
    let keys: [&dyn Signer; 2] = [&P256::new(7), &P384::new(7)];
    for keep in keys {
        let chain = chain(keep, &ear(keep), &P384::new(3));
        let Some(text) = openssl(&["x509", "-inform", "DER", "-in", "{0}", "-noout", "-text"], &[&chain[0]]) else {
            return;
        };
        for line in [
            "Version: 3 (0x2)",
            "Signature Algorithm: ecdsa-with-SHA384",
            "Issuer: CN = Donjon test root",
            "Not Before: Jan 15 07:59:00 2027 GMT",
            "Subject: CN = shop/web\n",
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "X509v3 Subject Alternative Name: \n                URI:spiffe://example.org/shop/web, DNS:shop.example.org\n",
            "1.3.6.1.5.5.7.1.35:",
        ] {
            assert!(text.contains(line), "{line:?} is missing in {text}");
        }

        let pem = |der: &Vec<u8>| crate::pem::encode(&[der]).into_bytes();
        let (leaf, root, now) = (pem(&chain[0]), pem(&chain[1]), NOW.to_string());
        let arguments = ["verify", "-x509_strict", "-attime", &now, "-purpose", "sslserver", "-verify_hostname"];
        let verify = |name: &str, root: &[u8]| {
            openssl(&[&arguments[..], &[name, "-CAfile", "{0}", "{1}"]].concat(), &[root, &leaf]).unwrap()
        };
        let good = verify("shop.example.org", &root);
        assert!(good.starts_with("0\n") && good.contains(": OK"), "{good}");
        assert!(verify("bank.example.org", &root).contains("hostname mismatch"));
        let other = crate::testing::root(&P256::new(4));
        assert!(!verify("shop.example.org", &pem(&other)).starts_with("0\n"));
    }
}

#[test]
fn rule_9_openssl_reads_and_verifies_the_request() {
    let statement = Statement {
        evidence: Evidence { media_type: csr::SNP_MEDIA_TYPE.to_string(), bytes: [0xe5; 1184].to_vec() },
        brief: brief(&P256::new(1)).encode(),
        nonce: Nonce::new([5; 56].to_vec()).unwrap(),
        deployment: None,
        signature: None,
        collateral: Vec::new(),
        endorsements: Vec::new(),
    };
    let keys: [&dyn Signer; 2] = [&P256::new(7), &P384::new(7)];
    for key in keys {
        let der = csr::build(&statement, csr::Carrier::Attribute, key).unwrap();
        let Some(text) = openssl(&["req", "-inform", "DER", "-in", "{0}", "-noout", "-text", "-verify"], &[&der])
        else {
            return;
        };
        assert!(text.starts_with("0\n") && text.contains("self-signature verify OK"), "{text}");
        assert!(text.contains("id-smime-aa") || text.contains("1.2.840.113549.1.9.16.2.59"), "{text}");
        assert!(text.contains("Subject: \n"), "{text}");
        // Control: OpenSSL notices a changed signature.
        let mut changed = der.clone();
        *changed.last_mut().unwrap() ^= 1;
        let text = openssl(&["req", "-inform", "DER", "-in", "{0}", "-noout", "-verify"], &[&changed]).unwrap();
        assert!(!text.contains("verify OK"), "{text}");
    }
}

#[test]
fn rule_6_another_library_sees_the_same_profile() {
    let keep = P256::new(7);
    let chain = chain(&keep, &ear(&keep), &P256::new(3));
    let certificate = x509_cert::Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(certificate.to_der().unwrap(), chain[0], "DER, so it encodes to the same bytes");
    let tbs = certificate.tbs_certificate();
    assert_eq!(tbs.subject().to_string(), "CN=shop/web");
    assert_eq!(tbs.validity().not_after.to_unix_duration().as_secs(), NOW + 3600);
    let (critical, basic) = tbs.get_extension::<BasicConstraints>().unwrap().unwrap();
    assert!(critical && !basic.ca);
    let (critical, usage) = tbs.get_extension::<KeyUsage>().unwrap().unwrap();
    assert!(critical && usage.digital_signature() && !usage.key_cert_sign());
    let (critical, extended) = tbs.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    let purposes: Vec<_> = extended.0.iter().map(ToString::to_string).collect();
    assert_eq!((critical, purposes), (false, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"].map(String::from).to_vec()));
    let (critical, names) = tbs.get_extension::<SubjectAltName>().unwrap().unwrap();
    let uris: Vec<_> =
        names.0.iter().filter(|name| matches!(name, GeneralName::UniformResourceIdentifier(_))).collect();
    assert!(!critical && uris.len() == 1 && names.0.len() == 2);
    let root = x509_cert::Certificate::from_der(&chain[1]).unwrap();
    let (_, basic) = root.tbs_certificate().get_extension::<BasicConstraints>().unwrap().unwrap();
    assert_eq!((basic.ca, basic.path_len_constraint), (true, Some(0)));
}
