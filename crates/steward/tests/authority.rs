//! Keys and chains from files: what makes an authority, and every way in which a file does not.

mod support;

use std::{fs, path::Path};

use identity::{Algorithm, chain::verify_chain, ear::Class, pem};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use steward::{
    AuthoritySource, NonceKeySource, Settings, SettingsError, Steward, TlsSource,
    nonce::NonceKey,
    policy::Policy,
    signer::{Authority, AuthorityError, AwsLc, KeyError},
};
use support::{NOW, World};

/// A root and an intermediate in PEM, with the intermediate's key; `change` may spoil both certificates.
struct Files {
    key: String,
    issuing: String,
    root: String,
}

fn files(change: impl Fn(&mut CertificateParams, &mut CertificateParams)) -> Files {
    let parameters = |name: &str, below: u8| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, format!("INSECURE test {name}"));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        parameters
    };
    let (mut root, mut issuing) = (parameters("root", 1), parameters("issuing", 0));
    change(&mut root, &mut issuing);
    let root_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let encode = |der: &[u8]| steward::pem::encode("CERTIFICATE", der);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let certificate = issuing.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    Files {
        key: steward::pem::encode("PRIVATE KEY", &key.serialize_der()),
        issuing: encode(certificate.der()),
        root: encode(root_certificate.der()),
    }
}

fn open(key: &str, certificates: &str) -> Result<Authority, AuthorityError> {
    Authority::from_pem(Class::Insecure, key.as_bytes(), certificates.as_bytes(), NOW)
}

/// What `change` does to otherwise good files.
#[track_caller]
fn refused(change: impl Fn(&mut CertificateParams, &mut CertificateParams)) -> AuthorityError {
    let good = files(|_, _| {});
    open(&good.key, &(good.issuing + &good.root)).unwrap();
    let bad = files(change);
    open(&bad.key, &(bad.issuing + &bad.root)).unwrap_err()
}

#[test]
fn a_steward_with_an_intermediate_issues_chains_that_keeps_and_openssl_verify() {
    let Files { key, issuing, root } = files(|_, _| {});
    let authority = open(&key, &format!("{issuing}{root}")).unwrap();
    let world = World::new();
    let policy = support::POLICY.replace("{owner}", &world.owner_digest().to_string());
    let policy = Policy::parse("p", &policy, world.folder.path()).unwrap();
    let steward = Steward::new(policy, authority, &NonceKey::random().unwrap()).unwrap();
    let world = World { steward, ..world };

    let issued = world.keep().ask().unwrap();
    assert_eq!(issued.chain.len(), 3);
    let anchor = world.steward.authority().anchor();
    assert!(verify_chain(&issued.chain, &[anchor], NOW, &AwsLc).is_ok());
    assert!(verify_chain(&[&issued.chain[0], &issued.chain[2]], &[anchor], NOW, &AwsLc).is_err());

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let leaf = write("leaf.pem", &pem::encode(&issued.chain[..1]));
    let (issuing, root) = (write("issuing.pem", &issuing), write("root.pem", &root));
    let at = NOW.to_string();
    let common = ["verify", "-purpose", "sslserver", "-attime", &at, "-CAfile", &root];
    let run = |rest: &[&str]| std::process::Command::new("openssl").args(common).args(rest).output();
    if let Ok(out) = run(&["-untrusted", &issuing, &leaf]) {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(!run(&[&leaf]).unwrap().status.success(), "control: without the intermediate");
    }
}

#[test]
fn both_curves_are_generated_read_back_and_of_one_class() {
    for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
        let made = Authority::generate(Class::Insecure, algorithm, NOW).unwrap();
        let read = |class, now| Authority::from_pem(class, made.key.as_bytes(), made.certificates.as_bytes(), now);
        let authority = read(Class::Insecure, NOW).unwrap();
        assert_eq!(authority.root_pem(), made.certificates);
        // trust.md rule 7: the root of one class is never the other's.
        assert!(matches!(read(Class::Hardware, NOW), Err(AuthorityError::Class { index: 0, .. })));
        assert!(matches!(read(Class::Insecure, NOW - 1), Err(AuthorityError::Validity { .. })));
        assert!(matches!(read(Class::Insecure, authority.not_after() + 1), Err(AuthorityError::Validity { .. })));
    }
}

#[test]
fn rule_7_no_certificate_of_a_chain_is_of_the_other_class() {
    let error = refused(|_, issuing| {
        issuing.distinguished_name = rcgen::DistinguishedName::new();
        issuing.distinguished_name.push(DnType::CommonName, "Steward of production");
    });
    assert!(matches!(error, AuthorityError::Class { index: 0, .. }), "{error}");
    let error = refused(|root, _| {
        root.distinguished_name = rcgen::DistinguishedName::new();
        root.distinguished_name.push(DnType::CommonName, "Root of production");
    });
    assert!(matches!(error, AuthorityError::Class { index: 1, .. }), "{error}");
}

#[test]
fn order_completeness_and_key_of_a_chain_are_checked() {
    let Files { key, issuing, root } = files(|_, _| {});
    let other = files(|_, _| {});
    let chain = format!("{issuing}{root}");
    assert!(open(&key, &chain).is_ok());
    assert_eq!(
        open(&key, &format!("{root}{issuing}")).unwrap_err(),
        AuthorityError::PathLength { index: 1, allowed: 0 }
    );
    assert_eq!(open(&key, &issuing).unwrap_err(), AuthorityError::Order { index: 0 });
    assert_eq!(open(&other.key, &chain).unwrap_err(), AuthorityError::OtherKey);
    assert_eq!(open(&key, &format!("{issuing}{}", other.root)).unwrap_err(), AuthorityError::Signature { index: 0 });
    assert!(matches!(open(&key, ""), Err(AuthorityError::Pem(_))));
    assert_eq!(open("", &chain).unwrap_err(), AuthorityError::Key(KeyError::Missing));
    assert!(matches!(open(&key, &format!("{issuing}{root}{root}{root}")), Err(AuthorityError::Long { .. })));
}

#[test]
fn only_authorities_stand_in_a_chain() {
    let error = refused(|_, issuing| issuing.is_ca = IsCa::ExplicitNoCa);
    assert!(matches!(error, AuthorityError::Certificate { index: 0, .. }), "{error}");
    let error = refused(|_, issuing| issuing.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert!(matches!(error, AuthorityError::Certificate { index: 0, .. }), "{error}");
    let error = refused(|root, _| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(error, AuthorityError::PathLength { index: 1, allowed: 0 });
    let error = refused(|_, issuing| issuing.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert!(matches!(error, AuthorityError::Validity { index: 0, .. }), "{error}");
}

#[test]
fn files_are_named_when_they_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, NOW).unwrap();
    fs::write(path("ca.key"), made.key.as_bytes()).unwrap();
    fs::write(path("ca.pem"), &made.certificates).unwrap();
    fs::write(path("nonce.key"), "7".repeat(64)).unwrap();
    fs::write(path("large"), vec![b'a'; 1024 * 1024 + 1]).unwrap();

    let settings = || {
        let text = "trust_domain = \"example.org\"\nany_platform = true\nclass = \"insecure\"";
        let mut settings = Settings::new(Policy::parse("p", text, Path::new("")).unwrap());
        settings.clock = || std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW);
        settings.authority = AuthoritySource::Files { key: path("ca.key"), certificates: path("ca.pem") };
        settings.nonce_key = NonceKeySource::File(path("nonce.key"));
        settings
    };
    let opened = settings().open().unwrap();
    assert_eq!(opened.steward.authority().root_pem(), made.certificates);
    assert!(!format!("{opened:?}").contains("PRIVATE"));

    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings.open().unwrap_err()
    };
    // trust.md rule 10: the CA key is never the nonce key, not even by mistake.
    assert!(matches!(
        refused(&|settings| settings.nonce_key = NonceKeySource::File(path("ca.key"))),
        SettingsError::NonceKey { .. }
    ));
    for name in ["none", "large"] {
        let error = refused(&|settings| settings.nonce_key = NonceKeySource::File(path(name)));
        assert!(error.to_string().contains(name), "{error}");
        assert!(matches!(error, SettingsError::File { .. }));
    }
    assert!(matches!(
        refused(&|settings| {
            settings.tls = TlsSource::Files { certificates: path("ca.key"), key: path("ca.key") };
        }),
        SettingsError::Tls(_)
    ));
    assert!(matches!(
        refused(&|settings| {
            settings.clock = || std::time::UNIX_EPOCH - std::time::Duration::from_secs(1);
        }),
        SettingsError::Clock
    ));
}
