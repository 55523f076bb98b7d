//! Keys and chains from files: what makes an authority, and every way in which a file does not.

mod support;

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex},
};

use identity::{Algorithm, chain::verify_chain, ear::Class, pem};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use steward::{
    AuthoritySource, NonceKeySource, Settings, SettingsError, Steward, TlsSource, Unfit,
    nonce::NonceKey,
    policy::Policy,
    signer::{Authority, AuthorityError, KeyError, Signatures},
};
use support::{NOW, World, openssl};

/// A root and an intermediate in PEM, with the intermediate's key; `change` may spoil both certificates.
struct Files {
    key: String,
    issuing: String,
    root: String,
    root_key: String,
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
    let root_pem = steward::pem::encode("PRIVATE KEY", &root_key.serialize_der());
    let certificate = issuing.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    Files {
        key: steward::pem::encode("PRIVATE KEY", &key.serialize_der()),
        root_key: root_pem,
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
    let Files { key, issuing, root, .. } = files(|_, _| {});
    let authority = open(&key, &format!("{issuing}{root}")).unwrap();
    let world = World::new();
    let policy = support::POLICY.replace("{owner}", &world.owner_digest().to_string());
    let policy = Policy::parse("p", &policy, world.folder.path()).unwrap();
    let steward = Steward::new(policy, authority, &NonceKey::random().unwrap()).unwrap();
    let world = World { steward, ..world };

    let issued = world.keep().ask().unwrap();
    assert_eq!(issued.chain.len(), 3);
    let anchor = world.steward.authority().anchor();
    assert!(verify_chain(&issued.chain, &[anchor], NOW, &Signatures).is_ok());
    assert!(verify_chain(&[&issued.chain[0], &issued.chain[2]], &[anchor], NOW, &Signatures).is_err());

    if !openssl() {
        return;
    }
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
    let out = run(&["-untrusted", &issuing, &leaf]).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!run(&[&leaf]).unwrap().status.success(), "control: without the intermediate");
}

#[test]
fn both_curves_are_generated_read_back_and_of_one_class() {
    for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
        let made = Authority::generate(Class::Insecure, algorithm, &[], NOW).unwrap();
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

/// INSECURE in UTF-16 is a word no search for INSECURE finds.
#[test]
fn rule_7_a_subject_that_cannot_be_read_is_of_no_class() {
    let named = |name: &dyn Fn(&str) -> rcgen::DnValue| {
        files(|root, issuing| {
            for (parameters, text) in [(root, "INSECURE root"), (issuing, "INSECURE issuing")] {
                parameters.distinguished_name = rcgen::DistinguishedName::new();
                parameters.distinguished_name.push(DnType::CommonName, name(text));
            }
        })
    };
    let open = |class, files: &Files, chain: &str| {
        Authority::from_pem(class, files.key.as_bytes(), chain.as_bytes(), NOW).map(|_| ())
    };
    let chain = |files: &Files| format!("{}{}", files.issuing, files.root);
    let readable = named(&|text| rcgen::DnValue::PrintableString(text.try_into().unwrap()));
    assert_eq!(open(Class::Insecure, &readable, &chain(&readable)), Ok(()));
    let honest = named(&|text| text.replace("INSECURE ", "").into());
    assert_eq!(open(Class::Hardware, &honest, &chain(&honest)), Ok(()));

    let wide = named(&|text| rcgen::DnValue::BmpString(text.try_into().unwrap()));
    for class in [Class::Hardware, Class::Insecure] {
        let error = open(class, &wide, &chain(&wide)).unwrap_err();
        assert!(matches!(error, AuthorityError::Class { index: 0, .. }), "{error}");
    }

    // A subject that is no Name at all: its first set is a sequence. The signature does not matter yet.
    let mut der = pem::decode(&honest.issuing).unwrap().remove(0);
    let common_name = [0x06, 0x03, 0x55, 0x04, 0x03];
    let at = der.windows(common_name.len()).rposition(|bytes| bytes == common_name).unwrap();
    assert_eq!(der[at - 4], 0x31);
    der[at - 4] = 0x30;
    let broken = steward::pem::encode("CERTIFICATE", &der) + &honest.root;
    let error = open(Class::Hardware, &honest, &broken).unwrap_err();
    assert!(matches!(error, AuthorityError::Class { index: 0, .. }), "{error}");
    assert!(error.to_string().contains("unreadable"), "{error}");
}

#[test]
fn order_completeness_and_key_of_a_chain_are_checked() {
    let Files { key, issuing, root, .. } = files(|_, _| {});
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

/// Settings of the class insecure at `NOW`, with everything made at start.
fn settings() -> Settings {
    let text = "trust_domain = \"example.org\"\nany_platform = true\nclass = \"insecure\"";
    let mut settings = Settings::new(Policy::parse("p", text, Path::new("")).unwrap());
    settings.clock = || std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW);
    settings
}

#[test]
fn files_are_named_when_they_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], NOW).unwrap();
    let other = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], NOW).unwrap();
    fs::write(path("ca.key"), made.key.as_bytes()).unwrap();
    fs::write(path("ca.pem"), &made.certificates).unwrap();
    fs::write(path("other.key"), other.key.as_bytes()).unwrap();
    fs::write(path("nonce.key"), "7".repeat(64)).unwrap();
    fs::write(path("large"), vec![b'a'; 1024 * 1024 + 1]).unwrap();

    let settings = || {
        let mut settings = settings();
        settings.authority = AuthoritySource::Files { key: path("ca.key"), certificates: path("ca.pem") };
        settings.nonce_key = NonceKeySource::File(path("nonce.key"));
        settings
    };
    let opened = settings().open().unwrap();
    assert_eq!(opened.steward.authority().root_pem(), made.certificates);
    assert!(!format!("{opened:?}").contains("PRIVATE"));

    // Which file it is and what to do about it is said of every one.
    let refused = |file: &str, change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        let error = settings.open().unwrap_err();
        assert!(error.to_string().contains(&path(file).display().to_string()), "{error}");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error}");
        error
    };
    // trust.md rule 10: the CA key is never the nonce key, not even by mistake.
    assert!(matches!(
        refused("ca.key", &|settings| settings.nonce_key = NonceKeySource::File(path("ca.key"))),
        SettingsError::NonceKey { .. }
    ));
    for name in ["none", "large"] {
        let error = refused(name, &|settings| settings.nonce_key = NonceKeySource::File(path(name)));
        assert!(matches!(error, SettingsError::File { .. }));
    }
    for (key, certificates, file) in
        [("nonce.key", "ca.pem", "nonce.key"), ("ca.key", "nonce.key", "nonce.key"), ("other.key", "ca.pem", "ca.pem")]
    {
        let error = refused(file, &|settings| {
            settings.authority = AuthoritySource::Files { key: path(key), certificates: path(certificates) };
        });
        assert!(matches!(error, SettingsError::Authority { .. }), "{error}");
        let error = refused(file, &|settings| {
            settings.tls = TlsSource::Files { certificates: path(certificates), key: path(key) };
        });
        assert!(matches!(error, SettingsError::Tls { .. }), "{error}");
    }

    let mut nowhere = settings();
    nowhere.tls = TlsSource::SelfMade { names: vec!["stewärd".to_owned()] };
    let error = nowhere.open().unwrap_err();
    assert!(error.to_string().starts_with("HTTPS: ") && error.hint().is_some(), "{error}");
    let mut early = settings();
    early.clock = || std::time::UNIX_EPOCH - std::time::Duration::from_secs(1);
    assert!(matches!(early.open().unwrap_err(), SettingsError::Clock));
}

#[test]
fn no_key_of_the_authoritys_chain_serves_https() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Files { key, issuing, root, root_key } = files(|_, _| {});
    fs::write(path("ca.key"), &key).unwrap();
    fs::write(path("ca.pem"), format!("{issuing}{root}")).unwrap();
    let third = files(|_, _| {});
    let open = |key: &str, certificates: &str| {
        fs::write(path("tls.key"), key).unwrap();
        fs::write(path("tls.pem"), certificates).unwrap();
        let mut settings = settings();
        settings.authority = AuthoritySource::Files { key: path("ca.key"), certificates: path("ca.pem") };
        settings.tls = TlsSource::Files { certificates: path("tls.pem"), key: path("tls.key") };
        settings.open()
    };
    assert!(open(&third.key, &third.issuing).unwrap().tls.is_some(), "control: a key of its own");
    for (key, certificates) in [(&key, &issuing), (&root_key, &root)] {
        let error = open(key, certificates).unwrap_err();
        assert!(matches!(error, SettingsError::SharedKey { .. }), "{error}");
        assert!(error.to_string().contains("tls.key") && error.hint().is_some(), "{error}");
    }
}

/// Writes down the messages of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        });
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The names of the policy meet the authority at start, and not when the first Keep asks.
#[test]
fn an_authority_for_some_names_takes_no_policy_that_gives_others() {
    use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
    let dns = |names: &[&str]| names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect();
    let chain = |root: &[&str], issuing: &[&str], excluded: &[&str]| {
        let constraints = |permitted: &[&str], excluded: &[&str]| {
            let constraints = NameConstraints { permitted_subtrees: dns(permitted), excluded_subtrees: dns(excluded) };
            (!permitted.is_empty() || !excluded.is_empty()).then_some(constraints)
        };
        files(|one, other| {
            one.name_constraints = constraints(root, excluded);
            other.name_constraints = constraints(issuing, &[]);
        })
    };
    let world = World::new();
    let start = |Files { key, issuing, root, .. }: &Files| {
        let authority = open(key, &format!("{issuing}{root}")).unwrap();
        let policy = support::POLICY.replace("{owner}", &world.owner_digest().to_string());
        let policy = Policy::parse("p", &policy, world.folder.path()).unwrap();
        Steward::new(policy, authority, &NonceKey::random().unwrap())
    };
    for (root, issuing) in
        [(&["example.org"][..], &[][..]), (&[], &["example.org"]), (&["org", "net"], &["example.org"])]
    {
        let steward = start(&chain(root, issuing, &["bank.example.org"])).unwrap();
        let mut keep = world.keep();
        keep.nonce = steward.nonce(NOW).unwrap().nonce;
        keep.brief.steward.as_mut().unwrap().anchors = vec![steward.authority().anchor()];
        let issued = steward.judge(&keep.csr(), NOW).unwrap();
        assert!(verify_chain(&issued.chain, &[steward.authority().anchor()], NOW, &Signatures).is_ok());
    }
    for (root, issuing, excluded, names) in [
        (&["example.com"][..], &[][..], &[][..], &["shop.example.org", "www.example.org"][..]),
        (&["shop.example.org"], &["example.org"], &[], &["www.example.org"]),
        (&["example.org"], &["shop.example.org"], &[], &["www.example.org"]),
        (&[], &[], &["www.example.org"], &["www.example.org"]),
    ] {
        let error = start(&chain(root, issuing, excluded)).unwrap_err();
        let Unfit::Names { names: found, .. } = &error else { panic!("{error}") };
        assert_eq!(found.iter().map(|name| name.as_str()).collect::<Vec<_>>(), names);
        assert!(error.to_string().contains("its name constraints permit"), "{error}");
    }
    // What is not evaluated.
    let refused = refused(|root, _| {
        let subnet = GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]));
        root.name_constraints =
            Some(NameConstraints { permitted_subtrees: vec![subnet], excluded_subtrees: Vec::new() });
    });
    assert!(matches!(refused, AuthorityError::Certificate { index: 1, .. }), "{refused}");
    // An issuing certificate with a name of its own.
    let named = |dns: &[&str], name: &str| {
        let Files { key, issuing, root, .. } = files(|one, other| {
            one.name_constraints = Some(NameConstraints {
                permitted_subtrees: dns.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect(),
                excluded_subtrees: Vec::new(),
            })
            .filter(|_| !dns.is_empty());
            other.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
        });
        open(&key, &format!("{issuing}{root}")).map(drop)
    };
    assert!(named(&[], "ca.example.org").is_ok(), "control");
    assert!(matches!(named(&["example.org"], "ca.example.org"), Err(AuthorityError::Certificate { index: 0, .. })));
}

#[test]
fn a_chain_that_ends_before_a_certificate_would_is_warned_about_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let warned = |end: u64| {
        let begin = end - steward::signer::authority::ROOT_LIFETIME;
        let made = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], begin).unwrap();
        fs::write(path("ca.key"), made.key.as_bytes()).unwrap();
        fs::write(path("ca.pem"), &made.certificates).unwrap();
        let mut settings = settings();
        settings.authority = AuthoritySource::Files { key: path("ca.key"), certificates: path("ca.pem") };
        let warnings = Warnings::default();
        tracing::subscriber::with_default(warnings.clone(), || settings.open()).unwrap();
        warnings.0.lock().unwrap().iter().any(|text| text.contains("chain ends"))
    };
    let lifetime = steward::policy::MAX_LIFETIME;
    assert!(warned(NOW + lifetime - 1));
    assert!(!warned(NOW + lifetime));
}

#[test]
fn rule_7_only_roots_of_the_same_class_stand_beside_a_root() {
    let root = |class| Authority::generate(class, Algorithm::EcdsaP256Sha256, &[], NOW).unwrap().certificates;
    let beside = |roots: &str, now| {
        let own = Authority::random(Class::Insecure, NOW).unwrap();
        own.beside(roots.as_bytes(), now).map(|authority| authority.roots().count())
    };
    let (one, two, hardware) = (root(Class::Insecure), root(Class::Insecure), root(Class::Hardware));
    assert_eq!(beside(&[&one[..], &two].concat(), NOW), Ok(3));
    let error = beside(&[&one[..], &hardware].concat(), NOW).unwrap_err();
    assert!(matches!(error, AuthorityError::Class { index: 1, .. }), "{error}");
    assert!(matches!(beside(&one, NOW - 1), Err(AuthorityError::Validity { index: 0, .. })));
    assert!(matches!(beside("", NOW), Err(AuthorityError::Pem(_))));
    // An authority that another one vouches for is no root.
    let issuing = files(|_, _| {}).issuing;
    let error = beside(&issuing, NOW).unwrap_err();
    assert!(matches!(error, AuthorityError::Order { index: 0 } | AuthorityError::Signature { index: 0 }), "{error}");
}
