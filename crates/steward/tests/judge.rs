//! Every reason for which the Steward refuses, each beside the control that is granted; and what it grants,
//! byte by byte.
//!
//! Tests that hold a rule of `spec/trust.md` carry its number.

mod support;

use std::collections::BTreeSet;

use identity::{
    Algorithm, KeepCertificate, Signer as _,
    binding::Purpose,
    chain::verify_chain,
    csr::{self, Carrier, Evidence, Statement},
    ear::{Class, Measurement, TcbStatus, Tee, WorkloadBinding},
    pem,
    publisher::{Accepted, Claim, Published, Signature},
};
use steward::{
    Steward,
    judge::Issued,
    nonce::NonceKey,
    policy::Policy,
    signer::{Authority, Key, Signatures},
};
use support::{CRL_END, DAY, Keep, MEASUREMENT, NOW, POLICY, World, cause, openssl, refused_only_with};
use workload::Digest;
use x509_cert::{Certificate, der::Decode as _};

fn read(issued: &Issued) -> KeepCertificate {
    KeepCertificate::read(&issued.chain[0]).unwrap()
}

// ---- what is granted ----

#[test]
fn rule_6_a_good_csr_gets_a_certificate_with_exactly_the_profile() {
    let world = World::new();
    for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
        let mut keep = world.keep();
        keep.key = Key::random(algorithm).unwrap();
        let issued = keep.ask_at(NOW + 7).unwrap();
        let anchor = world.steward.authority().anchor();
        let kept = verify_chain(&issued.chain, &[anchor], NOW + 7, &Signatures).unwrap();

        assert_eq!(issued.chain.len(), 2);
        assert_eq!(kept.spki, keep.key.spki());
        assert_eq!(kept.algorithm, algorithm);
        assert_eq!(kept.id.to_string(), "spiffe://example.org/shop/web");
        assert_eq!(kept.dns, ["shop.example.org", "www.example.org"]);
        assert_eq!((kept.not_before, kept.not_after), (NOW, NOW + DAY));

        let ear = &kept.ear;
        assert_eq!(ear.issued_at, NOW);
        assert_eq!(ear.nonce, keep.nonce);
        assert_eq!(ear.key, Digest::of(keep.key.spki()));
        assert_eq!(ear.id, kept.id);
        assert_eq!(ear.owner, Some(world.owner_digest()));
        assert_eq!(ear.class, Class::Insecure);
        assert_eq!(ear.tee, Tee::Snp);
        assert_eq!(ear.product, "Genoa");
        assert_eq!(ear.measurement, Measurement::new(MEASUREMENT).unwrap());
        assert_eq!(ear.signer, None);
        assert_eq!(ear.brief, Digest::of(&keep.brief.encode()));
        assert_eq!(ear.workload, keep.brief.workload);
        assert_eq!(ear.workload_binding, WorkloadBinding::Hardware);
        assert_eq!(ear.tcb_status, TcbStatus::NotRated, "the policy has no minimum");
        assert!(ear.advisories.is_empty());
        assert_eq!(ear.policy, world.steward.policy().digest());

        assert_eq!(issued.key, ear.key);
        assert_eq!(issued.brief, Some(ear.brief));
        assert_eq!(issued.not_after, kept.not_after);
        assert_eq!(issued.serial, hex::encode(&kept.serial));
    }
}

/// The same profile, read by somebody else's parser: exactly these extensions, its name for a subject, nothing of
/// the CSR but the key.
#[test]
fn rule_6_the_extensions_are_these_and_no_others() {
    let world = World::new();
    let issued = world.keep().ask().unwrap();
    let certificate = Certificate::from_der(&issued.chain[0]).unwrap();
    let tbs = certificate.tbs_certificate();
    assert_eq!(tbs.subject().to_string(), "CN=shop/web");
    let extensions: BTreeSet<(String, bool)> =
        tbs.extensions().unwrap().iter().map(|extension| (extension.extn_id.to_string(), extension.critical)).collect();
    let expected = [
        ("2.5.29.14", false),          // subjectKeyIdentifier
        ("2.5.29.15", true),           // keyUsage
        ("2.5.29.17", false),          // subjectAltName: there is a subject, too
        ("2.5.29.19", true),           // basicConstraints
        ("2.5.29.35", false),          // authorityKeyIdentifier
        ("2.5.29.37", false),          // extKeyUsage
        ("1.3.6.1.5.5.7.1.35", false), // id-pe-cmw
    ];
    assert_eq!(extensions, expected.map(|(oid, critical)| (oid.to_owned(), critical)).into());
}

#[test]
fn rule_6_the_platform_is_told_by_a_pseudonym_and_not_by_its_chip_id() {
    let world = World::new();
    let issued = world.keep().ask().unwrap();
    let chip = world.amd.chip_id();
    let hexadecimal = hex::encode(chip);
    for der in &issued.chain {
        assert!(!der.windows(64).any(|window| window == chip));
    }
    assert!(!read(&issued).ear_jwt.contains(&hexadecimal));
    assert_eq!(read(&issued).ear.platform, read(&world.keep().ask().unwrap()).ear.platform);
}

#[test]
fn openssl_verifies_the_certificate_for_server_and_client() {
    if !openssl() {
        return;
    }
    let world = World::new();
    let issued = world.keep().ask().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let root = file("root.pem", world.steward.authority().root_pem());
    let other = file("other.pem", Authority::random(Class::Insecure, NOW).unwrap().root_pem());
    let leaf = file("leaf.pem", pem::encode(&issued.chain[..1]));
    let verify = |root: &std::path::Path, purpose: &str, host: &str, at: u64| {
        let out = std::process::Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose])
            .args(["-verify_hostname", host, "-attime", &at.to_string()])
            .arg("-CAfile")
            .arg(root)
            .arg(&leaf)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        (out.status.success(), text.into_owned())
    };
    for purpose in ["sslserver", "sslclient"] {
        let (good, text) = verify(&root, purpose, "shop.example.org", NOW);
        assert!(good, "{text}");
    }
    assert!(!verify(&other, "sslserver", "shop.example.org", NOW).0);
    assert!(!verify(&root, "sslserver", "bank.example.org", NOW).0);
    assert!(!verify(&root, "sslserver", "shop.example.org", NOW + DAY + 1).0);
    assert!(!verify(&root, "smimesign", "shop.example.org", NOW).0);
}

#[test]
fn rule_10_a_certificate_never_outlives_the_collateral() {
    let world = World::new();
    let mut keep = world.keep();
    assert_eq!(read(&keep.ask().unwrap()).not_after, NOW + DAY);
    keep.crl = Some(world.amd.crl_der(NOW - DAY, NOW + 3600, &[]));
    assert_eq!(read(&keep.ask().unwrap()).not_after, NOW + 3600);
}

#[test]
fn a_certificate_never_outlives_the_root() {
    let root_end = steward::signer::authority::ROOT_LIFETIME;
    // The collateral of silicon does not reach ten years, so the root has to be an old one.
    let world = World::new();
    let policy = Policy::parse("p", &policy_of(&world), world.folder.path()).unwrap();
    let authority = Authority::random(Class::Insecure, NOW - root_end + 900).unwrap();
    let steward = Steward::new(policy, authority, &NonceKey::random().unwrap()).unwrap();
    let world = World { steward, ..world };
    assert_eq!(read(&world.keep().ask().unwrap()).not_after, NOW + 900);
}

/// The asker has nothing to mend then, neither nonce nor collateral.
#[test]
fn an_authority_that_has_ended_is_our_fault_and_not_the_keeps() {
    let world = World::new();
    let policy = Policy::parse("p", &policy_of(&world), world.folder.path()).unwrap();
    let end = NOW + 100;
    let authority = Authority::random(Class::Insecure, end - steward::signer::authority::ROOT_LIFETIME).unwrap();
    let steward = Steward::new(policy, authority, &NonceKey::random().unwrap()).unwrap();
    let world = World { steward, ..world };
    let mut keep = world.keep();
    assert!(keep.ask_at(end - 1).is_ok());
    for now in [end, end + 1] {
        let refusal = keep.ask_at(now).unwrap_err();
        assert!(refusal.is_ours(), "{refusal}");
        assert_eq!((refusal.status(), cause(&refusal).as_str()), (500, "internal"));
    }
    // The control: collateral that has ended is the asker's to mend.
    keep.crl = Some(world.amd.crl_der(NOW - DAY, end - 1, &[]));
    let refusal = keep.ask_at(end - 1).unwrap_err();
    assert_eq!((refusal.status(), cause(&refusal).as_str()), (403, "certificate.validity"));
}

fn policy_of(world: &World) -> String {
    POLICY.replace("{owner}", &world.owner_digest().to_string())
}

#[test]
fn the_lifetime_is_the_policys() {
    let world = World::with(&format!("certificate_lifetime = \"90m\"\n{POLICY}"));
    assert_eq!(read(&world.keep().ask().unwrap()).not_after, NOW + 5400);
}

// ---- the request ----

#[test]
fn what_is_not_a_csr_is_unreadable() {
    let world = World::new();
    let csr = world.keep().csr();
    let judge = |bytes: &[u8]| world.steward.judge(bytes, NOW);
    assert!(judge(&csr).is_ok());
    for bad in [
        Vec::new(),
        b"-----BEGIN CERTIFICATE REQUEST-----".to_vec(),
        csr[..csr.len() - 1].to_vec(),
        [csr.as_slice(), &[0]].concat(),
        vec![0x30; 300 * 1024],
    ] {
        let refusal = judge(&bad).unwrap_err();
        assert_eq!(cause(&refusal), "csr.format");
        assert_eq!(refusal.status(), 400);
    }
}

/// Cut anywhere, or with any byte changed: never a certificate, never a panic.
#[test]
fn no_changed_csr_gets_a_certificate() {
    let world = World::new();
    let csr = world.keep().csr();
    assert!(world.steward.judge(&csr, NOW).is_ok());
    for at in (0..csr.len()).step_by(41) {
        assert!(world.steward.judge(&csr[..at], NOW).is_err());
        let mut changed = csr.clone();
        changed[at] ^= 0x01;
        assert!(world.steward.judge(&changed, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn a_csr_signed_by_another_key_is_refused() {
    let world = World::new();
    let csr = world.keep().csr();
    assert!(world.steward.judge(&csr, NOW).is_ok());
    let mut changed = csr.clone();
    // The last byte belongs to s of the signature.
    *changed.last_mut().unwrap() ^= 1;
    let refusal = world.steward.judge(&changed, NOW).unwrap_err();
    assert_eq!(cause(&refusal), "csr.signature");
}

#[test]
fn rule_9_a_csr_without_the_one_carrier_is_refused() {
    let world = World::new();
    assert!(world.keep().ask().is_ok());
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let plain = parameters.serialize_request(&key).unwrap();
    let refusal = world.steward.judge(plain.der(), NOW).unwrap_err();
    assert_eq!(cause(&refusal), "csr.carrier");
}

#[test]
fn rule_9_the_media_type_names_the_verifier_and_there_is_no_fallback() {
    for (media_type, id) in [
        ("application/octet-stream", "evidence.kind"),
        ("application/vnd.donjon.sgx-quote", "policy.tee"),
        ("application/vnd.donjon.tdx-quote", "policy.tee"),
    ] {
        refused_only_with(&World::new(), id, |keep| keep.media_type = media_type.to_owned());
    }
    let world = World::with(&format!("{POLICY}\n[sgx]\nany_measurement = true\n"));
    refused_only_with(&world, "dcap.quote.tee", |keep| keep.media_type = "application/vnd.donjon.sgx-quote".to_owned());
}

/// Whoever brings more than is needed may: what belongs to the report is looked for.
#[test]
fn endorsements_have_the_vcek_and_may_have_more() {
    let world = World::new();
    refused_only_with(&world, "snp.vek.format", |keep| keep.endorsements.clear());
    refused_only_with(&world, "snp.vek.format", |keep| {
        keep.endorsements.remove(0);
    });
    let mut keep = world.keep();
    keep.endorsements.reverse();
    keep.endorsements.push(world.steward.authority().chain()[0].clone());
    assert!(keep.ask().is_ok());
}

// ---- the nonce ----

#[test]
fn rule_10_a_nonce_nobody_issued_is_refused() {
    refused_only_with(&World::new(), "nonce.seal", |keep| {
        let mut bytes = keep.nonce.as_bytes().to_vec();
        bytes[10] ^= 1;
        keep.nonce = identity::Nonce::new(bytes).unwrap();
    });
    refused_only_with(&World::new(), "nonce.format", |keep| {
        keep.nonce = identity::Nonce::new(vec![1; 32]).unwrap();
    });
}

#[test]
fn rule_10_a_nonce_older_than_five_minutes_is_refused() {
    let world = World::new();
    let keep = world.keep();
    assert!(keep.ask_at(NOW + 300).is_ok());
    assert_eq!(cause(&keep.ask_at(NOW + 301).unwrap_err()), "nonce.age");
    assert_eq!(cause(&keep.ask_at(NOW - 1).unwrap_err()), "nonce.age");
}

#[test]
fn rule_10_a_nonce_for_another_trust_domain_is_refused_even_under_the_same_key() {
    let here = World::new();
    let there = World::with(&POLICY.replace("example.org\"\nclass", "example.com\"\nclass"));
    refused_only_with(&here, "nonce.seal", |keep| {
        keep.nonce = there.steward.nonce(NOW).unwrap().nonce;
    });
}

#[test]
fn rule_10_a_replayed_csr_gains_neither_key_nor_time() {
    let world = World::new();
    let keep = world.keep();
    let csr = keep.csr();
    let first = read(&world.steward.judge(&csr, NOW).unwrap());
    let replayed = read(&world.steward.judge(&csr, NOW + 299).unwrap());
    assert_eq!(replayed.spki, first.spki);
    assert_eq!(replayed.not_before, first.not_before);
    assert_eq!(replayed.not_after, first.not_after);
    assert_eq!(replayed.ear, first.ear);
    // Two certificates, two serial numbers (RFC 5280 section 4.1.2.2); a key that signs as RFC 6979 says makes the first one again.
    if cfg!(feature = "aws-lc") {
        assert_ne!(replayed.serial, first.serial);
    } else {
        assert_eq!(replayed.der, first.der);
    }

    // A fresh nonce would move both dates: the control.
    let fresh = read(&world.keep_at(NOW + 299).ask_at(NOW + 299).unwrap());
    assert_eq!(fresh.not_after, first.not_after + 299);
}

#[test]
fn rule_10_a_clock_that_jumped_is_named() {
    let world = World::new();
    let keep = world.keep();
    for (now, word) in [(NOW - 3600, "set back"), (NOW + 3600, "set forward")] {
        let problem = keep.ask_at(now).unwrap_err().problem();
        assert_eq!(problem.checks[0].id, "nonce.age");
        assert!(problem.checks[0].remedy.contains(word), "{problem:?}");
    }
    assert!(keep.ask().is_ok(), "control");
}

#[test]
fn rule_10_a_replayed_nonce_with_another_key_needs_other_evidence() {
    let world = World::new();
    let first = world.keep();
    assert!(first.ask().is_ok());
    let mut thief = world.keep();
    thief.nonce = first.nonce.clone();
    assert!(thief.ask().is_ok(), "control: own evidence over the same nonce");
    thief.bound_key = Some(first.key.spki().to_vec());
    assert_eq!(thief.refused(), "snp.report_data");
}

// ---- the brief ----

#[test]
fn rule_1_a_keep_launched_with_another_brief_is_refused() {
    let world = World::new();
    refused_only_with(&world, "snp.host_data", |keep| {
        let mut launched = world.brief();
        launched.args.push("--debug".to_owned());
        keep.launched = Some(workload::brief::hash(&launched.encode()));
    });
}

#[test]
fn rule_1_nobody_can_show_another_brief_than_the_hardware_carries() {
    let world = World::new();
    let genuine = workload::brief::hash(&world.brief().encode());
    for change in [
        (|brief: &mut workload::Brief| brief.workload = Digest::of(b"other")) as fn(&mut _),
        |brief| brief.args.push("x".to_owned()),
        |brief| brief.env.push(("A".to_owned(), "b".to_owned())),
        |brief| brief.owner = None,
        |brief| {
            brief.source = workload::brief::Source::Drawbridge {
                authority: "evil.example:443".to_owned(),
                repository: "shop/web".to_owned(),
                tls: Vec::new(),
            };
        },
    ] {
        let mut keep = world.keep();
        // Whether these briefs are covered is another question; here only what the hardware says counts.
        keep.deployment = None;
        change(&mut keep.brief);
        assert!(keep.ask().is_ok(), "control: launched with it");
        keep.launched = Some(genuine);
        assert_eq!(keep.refused(), "snp.host_data");
    }
}

#[test]
fn rule_11_a_brief_for_another_steward_is_refused() {
    let world = World::new();
    refused_only_with(&world, "brief.steward", |keep| keep.brief.steward = None);
    refused_only_with(&world, "brief.anchors", |keep| {
        keep.brief.steward.as_mut().unwrap().anchors = vec![Digest::of(b"another root")];
    });
    refused_only_with(&world, "brief.trust_domain", |keep| {
        keep.brief.trust_domain = "example.com".parse().unwrap();
    });
}

#[test]
fn a_brief_that_is_not_canonical_is_unreadable() {
    let world = World::new();
    let keep = world.keep();
    let request = |brief: Vec<u8>| {
        let statement = Statement {
            evidence: Evidence { media_type: keep.media_type.clone(), bytes: world.amd.report(&keep.report).to_vec() },
            brief,
            nonce: keep.nonce.clone(),
            deployment: None,
            signature: None,
            collateral: Vec::new(),
            endorsements: keep.endorsements.clone(),
        };
        csr::build(&statement, Carrier::Attribute, &keep.key).unwrap()
    };
    let good = keep.brief.encode();
    let longer = [good.as_slice(), &[0]].concat();
    // The control goes on to the evidence, which is not made for it.
    let cause_of = |brief| cause(&world.steward.judge(&request(brief), NOW).unwrap_err());
    assert_eq!(cause_of(longer), "brief.format");
    assert_ne!(cause_of(good), "brief.format");
}

// ---- the evidence ----

#[test]
fn rule_9_either_carrier_has_the_same_meaning() {
    let world = World::new();
    for carrier in [Carrier::Attribute, Carrier::Extension] {
        let keep = Keep { carrier, ..world.keep() };
        let issued = keep.ask().unwrap();
        assert_eq!(issued.id.to_string(), "spiffe://example.org/shop/web");
        let keep = Keep { carrier, endorsements: Vec::new(), ..world.keep() };
        assert_eq!(keep.refused(), "snp.vek.format");
    }
}

#[test]
fn rule_2_evidence_of_another_key_is_refused() {
    let other = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    refused_only_with(&World::new(), "snp.report_data", |keep| {
        keep.bound_key = Some(other.spki().to_vec());
    });
}

#[test]
fn rule_17_evidence_of_another_purpose_never_gets_a_certificate() {
    for purpose in [Purpose::Direct, Purpose::User] {
        refused_only_with(&World::new(), "snp.report_data", |keep| keep.purpose = purpose);
    }
}

#[test]
fn a_debug_keep_is_refused() {
    refused_only_with(&World::new(), "snp.policy.debug", |keep| {
        keep.report.policy |= 1 << 19;
    });
}

#[test]
fn rule_7_simulated_roots_are_refused_by_a_policy_that_does_not_name_them() {
    let named = World::new();
    assert!(named.keep().ask().is_ok());
    let unnamed = World::with(&POLICY.replace("insecure_roots = [\"ark.pem\"]\n", ""));
    assert_eq!(unnamed.keep().refused(), "snp.ark.trusted");
}

#[test]
fn rule_7_one_steward_serves_one_class() {
    let world = World::new();
    let key = NonceKey::random().unwrap();
    let policy = || Policy::parse("p", &policy_of(&world), world.folder.path()).unwrap();
    let with = |class| Steward::new(policy(), Authority::random(class, NOW).unwrap(), &key);
    assert!(with(Class::Insecure).is_ok());
    assert!(with(Class::Hardware).is_err());
}

#[test]
fn rule_7_the_root_of_the_insecure_class_says_so_and_is_another_key() {
    let subject = |class| {
        let authority = Authority::random(class, NOW).unwrap();
        let root = Certificate::from_der(authority.chain().last().unwrap()).unwrap();
        (root.tbs_certificate().subject().to_string(), authority.anchor())
    };
    let (insecure, first) = subject(Class::Insecure);
    let (hardware, second) = subject(Class::Hardware);
    assert!(insecure.contains("INSECURE") && insecure.contains("SIMULATED"), "{insecure}");
    assert!(!hardware.contains("INSECURE") && !hardware.contains("SIMULATED"), "{hardware}");
    assert_ne!(first, second);
}

#[test]
fn rule_8_a_platform_the_policy_does_not_name_is_refused() {
    let world = World::new();
    let policy =
        |chip: &[u8]| POLICY.replace("any_platform = true", &format!("platforms = [\"{}\"]", hex::encode(chip)));
    assert!(World::with(&policy(&world.amd.chip_id())).keep().ask().is_ok());
    assert_eq!(World::with(&policy(&[9; 64])).keep().refused(), "snp.platform.allowed");
}

#[test]
fn a_policy_without_a_section_for_the_tee_refuses_it() {
    let text = POLICY.replace("insecure_roots = [\"ark.pem\"]\n", "");
    let (head, rest) = text.split_once("[snp]").unwrap();
    let (_, names) = rest.split_once("[[name]]").unwrap();
    let without = World::with(&format!("{head}[[name]]{names}"));
    assert!(World::new().keep().ask().is_ok());
    assert_eq!(without.keep().refused(), "policy.tee");
}

#[test]
fn the_snp_keys_of_the_policy_are_enforced() {
    let digest = |byte: &str| byte.repeat(48);
    let (aa, bb) = (digest("aa"), digest("bb"));
    let hash = format!("hash = [\"{aa}\"]");
    let measured = |keep: &mut Keep<'_>| keep.report.measurement = [0xbb; 48];
    type Change = fn(&mut Keep<'_>);
    let cases: [(String, &str, Change); 6] = [
        (hash.clone(), "snp.measurement.allowed", measured),
        (format!("any_measurement = true\nhash_blacklist = [\"{bb}\"]"), "snp.measurement.denied", measured),
        (format!("{hash}\nabi = \">=0.0, <1.0\""), "snp.policy.abi", |keep| keep.report.policy |= 1 << 8),
        (
            // SMT (bit 16) is listed; SingleSocket (bit 20) is a restriction the guest must have.
            format!("{hash}\npolicy_flags = [\"SMT\", \"SingleSocket\"]"),
            "snp.policy.flags",
            |keep| keep.report.policy &= !(1 << 20),
        ),
        (
            format!("{hash}\nplatform_info_flags = [\"SMT\", \"ECC\", \"AliasCheckComplete\"]"),
            "snp.platform_info.flags",
            |keep| keep.report.platform_info &= !(1 << 5),
        ),
        (
            format!("{hash}\n[snp.minimum_tcb.genoa]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 84"),
            "snp.tcb.minimum",
            |keep| keep.report.launch_tcb.microcode = 83,
        ),
    ];
    for (section, id, change) in cases {
        let world = World::with(&POLICY.replace(&hash, &section));
        let mut keep = world.keep();
        // Room for the flags: the control has all that any case asks for.
        keep.report.policy |= 1 << 20;
        if let Err(refusal) = keep.ask() {
            panic!("control of {id}: {:?}", refusal.problem());
        }
        change(&mut keep);
        assert_eq!(keep.refused(), id);
    }
}

#[test]
fn signer_and_id_key_of_the_policy_are_enforced() {
    let hash = "a".repeat(96);
    for (key, id) in [("signer", "snp.signer.allowed"), ("id_key_digest", "snp.id_key.allowed")] {
        let world = World::with(
            &POLICY.replace(&format!("hash = [\"{hash}\"]"), &format!("{key} = [\"{}\"]", "cc".repeat(48))),
        );
        let mut keep = world.keep();
        keep.report.flags |= 1;
        keep.report.id_key_digest = [0xcc; 48];
        keep.report.author_key_digest = [0xcc; 48];
        let issued = keep.ask().unwrap();
        assert_eq!(read(&issued).ear.signer, Some(Measurement::new([0xcc; 48]).unwrap()));
        keep.report.id_key_digest = [0xdd; 48];
        keep.report.author_key_digest = [0xdd; 48];
        assert_eq!(keep.refused(), id);
    }
    let world = World::with(
        &POLICY.replace("[snp]\n", &format!("[snp]\nid_key_digest_blacklist = [\"{}\"]\n", "dd".repeat(48))),
    );
    let mut keep = world.keep();
    keep.report.id_key_digest = [0xcc; 48];
    assert!(keep.ask().is_ok());
    keep.report.id_key_digest = [0xdd; 48];
    assert_eq!(keep.refused(), "snp.id_key.denied");
}

#[test]
fn a_missing_and_an_old_revocation_list_are_refused() {
    let world = World::new();
    refused_only_with(&world, "snp.crl.present", |keep| keep.crl = None);
    refused_only_with(&world, "snp.crl.expired", |keep| {
        keep.crl = Some(world.amd.crl_der(NOW - 2 * DAY, NOW - 1, &[]));
    });
    refused_only_with(&world, "snp.ask.revoked", |keep| {
        keep.crl = Some(world.amd.crl_der(NOW - DAY, CRL_END, &[silicon::Product::Genoa.ask_serial()]));
    });
}

/// Each beside a list of the same kind that has another.
#[test]
fn what_the_policy_denies_gets_no_certificate_whatever_else_it_says() {
    let good = World::new();
    let report = |keep: &mut Keep<'_>| {
        keep.report.flags |= 1;
        keep.report.author_key_digest = [0xcc; 48];
    };
    let other = Digest::of(b"another").to_string();
    let workload = good.brief().workload.to_string();
    let chip = hex::encode(good.amd.chip_id());
    for (list, denied, another, id) in [
        ("workloads", workload, other.clone(), "deny.workload"),
        ("owners", "{owner}".to_owned(), other, "deny.owner"),
        ("measurements", "aa".repeat(48), "ab".repeat(48), "deny.measurement"),
        ("signers", "cc".repeat(48), "cd".repeat(48), "deny.signer"),
        ("platforms", chip, "ab".repeat(64), "deny.platform"),
    ] {
        for (entry, expected) in [(another, None), (denied, Some(id))] {
            let world = World::with(&format!("{POLICY}\n[deny]\n{list} = [\"{entry}\"]\n"));
            let mut keep = world.keep();
            report(&mut keep);
            let found = keep.ask().err().map(|refusal| cause(&refusal));
            assert_eq!(found.as_deref(), expected, "{list}: {entry}");
            // Without a Deployment it is anonymous, and what it is stays what it is.
            keep.deployment = None;
            let found = keep.ask().err().map(|refusal| cause(&refusal));
            assert_eq!(found.as_deref(), expected, "{list}: {entry}, anonymous");
        }
    }
    let issued = good.keep().ask().unwrap();
    let listed = World::with(&format!("{POLICY}\n[deny]\nserials = [\"{}\"]\n", issued.serial));
    assert!(listed.keep().ask().is_ok(), "that is for relying parties");
}

#[test]
fn every_independent_failure_of_the_evidence_is_told() {
    let world = World::new();
    let mut keep = world.keep();
    assert!(keep.ask().is_ok());
    keep.report.policy |= 1 << 19;
    keep.report.measurement = [1; 48];
    keep.launched = Some([2; 32]);
    let problem = keep.ask().unwrap_err().problem();
    let ids: Vec<&str> = problem.checks.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ["snp.policy.debug", "snp.measurement.allowed", "snp.host_data"]);
    for check in &problem.checks {
        for text in [&check.expected, &check.found, &check.source, &check.remedy] {
            assert!(!text.is_empty(), "{check:?}");
        }
    }
}

/// A nonce is all that is needed to get so far, and a Keep reads an answer only up to its limit.
#[test]
fn no_brief_makes_a_refusal_longer_than_a_keep_reads() {
    let world = World::new();
    assert!(world.keep().ask().is_ok());
    let (mut many, mut long) = (world.brief(), world.brief());
    many.steward.as_mut().unwrap().anchors = (0..1900_u32).map(|n| Digest::of(&n.to_be_bytes())).collect();
    let name = "\u{1}".repeat(31_000);
    long.env = vec![(name.clone(), String::new()), (name, String::new())];
    for (brief, id, status) in [(many, "brief.anchors", 403), (long, "brief.format", 400)] {
        let keep = Keep { brief, ..world.keep() };
        let refusal = keep.ask().unwrap_err();
        assert_eq!((cause(&refusal).as_str(), refusal.status()), (id, status));
        let problem = refusal.problem();
        let check = &problem.checks[0];
        assert!(check.found.contains("more bytes"), "{id}");
        assert!(!problem.detail.contains(&check.found[..100]), "{id}: said once");
        let answer = serde_json::to_string(&problem).unwrap();
        assert!(answer.len() < identity::enrol::CERTIFICATE_RESPONSE_LIMIT, "{id}: {} bytes", answer.len());
    }
}

// ---- the name ----

#[test]
fn rule_3_without_a_deployment_a_keep_is_anonymous_and_has_no_dns_name() {
    let world = World::new();
    let mut keep = world.keep();
    assert_eq!(read(&keep.ask().unwrap()).dns.len(), 2);
    keep.deployment = None;
    let kept = read(&keep.ask().unwrap());
    assert!(kept.id.is_anonymous());
    assert_eq!(kept.id.trust_domain, "example.org");
    assert!(kept.dns.is_empty());
    assert_eq!(kept.ear.owner, None);
}

#[test]
fn rule_3_a_deployment_of_an_unregistered_owner_names_nobody() {
    let world = World::new();
    let thief = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    refused_only_with(&world, "deployment.registered", |keep| {
        keep.brief.owner = Some(Digest::of(thief.spki()));
        let mut deployment = world.deployment();
        deployment.owner = thief.spki().to_vec();
        keep.deployment = Some(deployment.seal(&thief).unwrap());
    });
}

#[test]
fn rule_3_the_briefs_owner_and_the_deployments_are_one() {
    let world = World::new();
    refused_only_with(&world, "deployment.owner", |keep| keep.brief.owner = None);
    refused_only_with(&world, "deployment.owner", |keep| {
        keep.brief.owner = Some(Digest::of(b"another key"));
    });
}

#[test]
fn rule_3_a_deployment_its_owner_did_not_sign_is_refused() {
    refused_only_with(&World::new(), "deployment.signature", |keep| {
        *keep.deployment.as_mut().unwrap().last_mut().unwrap() ^= 1;
    });
}

#[test]
fn rule_3_a_role_or_workload_the_deployment_does_not_cover_gets_no_name() {
    let world = World::new();
    refused_only_with(&world, "deployment.role", |keep| {
        keep.brief.role = "db".parse().unwrap();
    });
    refused_only_with(&world, "deployment.workload", |keep| {
        keep.brief.workload = Digest::of(b"changed workload");
    });
    refused_only_with(&world, "deployment.id", |keep| {
        keep.brief.deployment = "bank".parse().unwrap();
    });
    refused_only_with(&world, "deployment.trust_domain", |keep| {
        let mut deployment = world.deployment();
        deployment.trust_domain = "example.com".parse().unwrap();
        keep.deployment = Some(deployment.seal(&world.owner).unwrap());
    });
}

#[test]
fn rule_13_a_role_for_a_product_is_for_what_its_publisher_signed_and_not_for_older_versions() {
    let world = World::new();
    let [publisher, other] = [1, 2].map(|_| Key::random(Algorithm::EcdsaP256Sha256).unwrap());
    let workload = Digest::of(b"a version nobody has named");
    let sign = |by: &Key, product: &str, svn, workload| {
        let claim = Claim { reference: "r".to_owned(), workload, product: product.parse().unwrap(), svn };
        Some(Signature::make(&claim, by).unwrap().encode())
    };
    let mut deployment = world.deployment();
    let signer = Digest::of(publisher.spki());
    let product: workload::names::Name = "shop".parse().unwrap();
    deployment.roles.values_mut().next().unwrap().workloads =
        [Accepted::Product { signer, product: product.clone(), minimum: 3 }].into();
    let sealed = deployment.seal(&world.owner).unwrap();
    let with = |signature| {
        let mut keep = world.keep();
        keep.brief.workload = workload;
        keep.deployment = Some(sealed.clone());
        keep.signature = signature;
        keep
    };
    for svn in [3, 4] {
        let kept = read(&with(sign(&publisher, "shop", svn, workload)).ask().unwrap());
        assert_eq!((kept.dns.len(), kept.ear.workload), (2, workload));
        assert_eq!(kept.ear.publisher, Some(Published { signer, product: product.clone(), svn }));
    }
    assert_eq!(with(None).refused(), "deployment.workload", "nobody signed it");
    assert_eq!(with(sign(&publisher, "shop", 2, workload)).refused(), "deployment.workload", "rolled back");
    assert_eq!(with(sign(&publisher, "bank", 3, workload)).refused(), "deployment.workload", "another product");
    assert_eq!(with(sign(&other, "shop", 3, workload)).refused(), "deployment.workload", "another publisher");
    let foreign = sign(&publisher, "shop", 3, Digest::of(b"another workload"));
    assert_eq!(with(foreign).refused(), "workload.signature");
    let mut changed = sign(&publisher, "shop", 2, workload).unwrap();
    let at = changed.windows(3).rposition(|three| three == b"\"2\"").unwrap();
    changed[at + 1] = b'3';
    assert_eq!(with(Some(changed)).refused(), "workload.signature", "its version changed");
    assert_eq!(with(Some(b"signature".to_vec())).refused(), "workload.signature");
    // What holds is told even where nobody asks for it; what does not is no matter of taste.
    let mut keep = world.keep();
    keep.signature = sign(&other, "x", 0, keep.brief.workload);
    assert_eq!(read(&keep.ask().unwrap()).ear.publisher.unwrap().signer, Digest::of(other.spki()));
    keep.signature = sign(&other, "x", 0, workload);
    assert_eq!(keep.refused(), "workload.signature");
}

#[test]
fn rule_3_a_dns_name_nobody_registered_for_this_owner_is_not_granted() {
    let world = World::new();
    refused_only_with(&world, "name.registered", |keep| {
        let mut deployment = world.deployment();
        let role = deployment.roles.values_mut().next().unwrap();
        role.names.insert("bank.example.org".parse().unwrap());
        keep.deployment = Some(deployment.seal(&world.owner).unwrap());
    });
}

#[test]
fn rule_3_an_owner_registered_for_one_deployment_has_no_other() {
    let world = World::new();
    let mut keep = world.keep();
    assert!(keep.ask().is_ok());
    let mut deployment = world.deployment();
    deployment.id = "bank".parse().unwrap();
    keep.brief.deployment = "bank".parse().unwrap();
    keep.deployment = Some(deployment.seal(&world.owner).unwrap());
    assert_eq!(keep.refused(), "deployment.registered");
}

#[test]
fn rule_13_an_old_deployment_names_nobody_once_the_policy_has_a_floor() {
    let floor =
        |version| {
            World::with(&POLICY.replace(
                "dns = \"shop.example.org\"",
                &format!("dns = \"shop.example.org\"\nminimum_version = {version}"),
            ))
        };
    assert!(floor(1).keep().ask().is_ok());
    let world = floor(2);
    let mut keep = world.keep();
    assert_eq!(keep.refused(), "deployment.version");
    let first = identity::Deployment::open(&keep.deployment.unwrap(), &Signatures).unwrap();
    let mut second = world.deployment();
    second.version = 2;
    second.previous = Some(*first.digest());
    keep.deployment = Some(second.seal(&world.owner).unwrap());
    assert!(keep.ask().is_ok());
}

// ---- over time ----

#[test]
fn rule_16_renewal_is_a_new_nonce_a_new_key_and_new_evidence_for_the_same_brief() {
    let world = World::new();
    let first = read(&world.keep().ask().unwrap());
    let later = NOW + 12 * 3600;
    let renewed = read(&world.keep_at(later).ask_at(later).unwrap());
    assert_ne!(renewed.spki, first.spki);
    assert_ne!(renewed.ear.nonce, first.ear.nonce);
    assert_eq!(renewed.ear.brief, first.ear.brief);
    assert_eq!(renewed.id, first.id);
    assert_eq!(renewed.not_after, first.not_after + 12 * 3600);

    // The evidence of the first certificate does not renew it.
    let mut old = world.keep();
    let first = std::mem::replace(&mut old.nonce, world.steward.nonce(later).unwrap().nonce);
    assert!(old.ask_at(later).is_ok(), "control: new evidence over the new nonce");
    old.bound_nonce = Some(first);
    assert_eq!(cause(&old.ask_at(later).unwrap_err()), "snp.report_data");
}

#[test]
fn rule_19_the_certificate_names_the_policy_it_was_issued_under() {
    let one = World::new();
    let other = World::with(
        &POLICY.replace("any_platform = true", &format!("platforms = [\"{}\"]", hex::encode(one.amd.chip_id()))),
    );
    let policy = |world: &World| read(&world.keep().ask().unwrap()).ear.policy;
    assert_eq!(policy(&one), one.steward.policy().digest());
    assert_eq!(policy(&other), other.steward.policy().digest());
    assert_ne!(policy(&one), policy(&other));
}
