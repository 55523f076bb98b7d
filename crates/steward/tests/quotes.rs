//! Quotes of SGX and TDX at the Steward: what is granted, and that a section of the policy is asked for each.
//!
//! What the verifier refuses of a quote, `crates/evidence` has tests of; here is what the Steward makes of it.

mod support;

use identity::{
    KeepCertificate, Signer as _,
    csr::CollateralKind,
    ear::{Measurement, TcbStatus, Tee, Tier, WorkloadBinding},
};
use silicon::intel::{Body, Enclave, Pck, Quote, Service, Td};
use steward::{judge::Issued, signer::Key};
use support::{
    DAY, NOW, cause,
    quoting::{Asker, SGX, tdx, world},
};

fn bodies() -> [(String, Body, Tee); 3] {
    [
        (SGX.to_owned(), Body::Enclave(Enclave::new()), Tee::Sgx),
        (tdx(), Body::Td(Td::new(false)), Tee::Tdx),
        (tdx(), Body::Td(Td::new(true)), Tee::Tdx),
    ]
}

fn read(issued: &Issued) -> KeepCertificate {
    KeepCertificate::read(&issued.chain[0]).unwrap()
}

#[test]
fn rule_6_the_certificate_says_what_the_quote_and_intel_say() {
    for (section, body, tee) in bodies() {
        let world = world(&section);
        let asker = Asker::new(&world, body);
        let certificate = read(&asker.ask().unwrap());
        let ear = &certificate.ear;
        assert_eq!((ear.tee, ear.workload_binding), (tee, WorkloadBinding::Hardware));
        assert_eq!(ear.product, hex::encode(silicon::intel::info::FMSPC));
        assert_eq!((ear.tcb_status, &ear.advisories), (TcbStatus::UpToDate, &vec![]));
        assert_eq!(ear.brief, workload::Digest::of(&world.brief().encode()));
        let of = |byte: u8, length| Measurement::new(vec![byte; length]).unwrap();
        match &asker.quote.body {
            Body::Enclave(_) => {
                assert_eq!((&ear.measurement, &ear.signer), (&of(0x31, 32), &Some(of(0x32, 32))));
                assert!(ear.registers.is_empty());
            }
            Body::Td(_) => {
                assert_eq!((&ear.measurement, &ear.signer), (&of(0x42, 48), &None));
                assert_eq!(ear.registers, [0x43, 0x44, 0x45, 0].map(|byte| of(byte, 48)));
            }
        }
        assert_eq!(certificate.dns, ["shop.example.org", "www.example.org"]);
        assert_eq!(certificate.not_after, NOW + DAY);
        // A pseudonym, and not the PPID.
        assert!(!certificate.ear_jwt.contains(&hex::encode(asker.quote.platform.ppid)));
        let again = read(&asker.ask().unwrap());
        assert_eq!(again.ear.platform, ear.platform);
        let mut other = Asker::new(&world, asker.quote.body.clone());
        other.quote = Quote::new([4; 32], asker.quote.body.clone());
        assert_ne!(read(&other.ask().unwrap()).ear.platform, ear.platform);
    }
}

#[test]
fn a_tee_is_taken_only_where_the_policy_has_its_section() {
    for (_, body, tee) in bodies() {
        for (section, taken) in [(SGX.to_owned(), Tee::Sgx), (tdx(), Tee::Tdx)] {
            let world = world(&section);
            let asked = Asker::new(&world, body.clone()).ask();
            match tee == taken {
                true => assert!(asked.is_ok(), "control: {asked:?}"),
                false => assert_eq!(cause(&asked.unwrap_err()), "policy.tee"),
            }
        }
    }
}

#[test]
fn rules_1_and_2_a_quote_is_bound_to_key_nonce_and_brief() {
    let other = Key::random(identity::Algorithm::EcdsaP256Sha256).unwrap();
    for ((section, body, _), [data, field]) in bodies().into_iter().zip([
        ["sgx.report_data", "sgx.config_id"],
        ["tdx.report_data", "tdx.config_id"],
        ["tdx.report_data", "tdx.config_id"],
    ]) {
        let world = world(&section);
        let good = || Asker::new(&world, body.clone());
        assert!(good().ask().is_ok(), "control");
        assert_eq!(Asker { bound_key: Some(other.spki().to_vec()), ..good() }.refused(), data);
        assert_eq!(Asker { launched: Some([9; 32]), ..good() }.refused(), field);
    }
}

/// Intel's word is repeated, and a relying party that knows only EAR is told.
#[test]
fn an_outdated_platform_is_told_by_status_and_advisories() {
    let section = format!("{SGX}\naccepted_tcb = [\"UpToDate\", \"SWHardeningNeeded\"]");
    let world = world(&section);
    let mut asker = Asker::new(&world, Body::Enclave(Enclave::new()));
    asker.quote.platform = Pck { components: [6; 16], ..asker.quote.platform };
    let ear = read(&asker.ask().unwrap()).ear;
    assert_eq!(ear.tcb_status, TcbStatus::SWHardeningNeeded);
    assert_eq!(ear.advisories, ["INTEL-SA-00615"]);
    assert_eq!(ear.tier(), Tier::Contraindicated, "its class");
    asker.quote.platform.components = [5; 16];
    assert_eq!(asker.refused(), "dcap.tcb.status");
}

#[test]
fn a_certificate_never_outlives_intels_collateral() {
    let world = world(SGX);
    let mut asker = Asker::new(&world, Body::Enclave(Enclave::new()));
    for end in [NOW + 7200, NOW + 3600] {
        asker.service = Service::new(false, NOW - DAY, end);
        assert_eq!(read(&asker.ask().unwrap()).not_after, end);
    }
}

/// Nobody else brings it yet.
#[test]
fn what_is_not_brought_is_missed() {
    let world = world(SGX);
    let mut asker = Asker::new(&world, Body::Enclave(Enclave::new()));
    assert!(asker.ask().is_ok(), "control");
    let all = asker.brought.clone();
    for (missing, id) in [
        (CollateralKind::Crl, "dcap.root_crl.format"),
        (CollateralKind::TcbInfo, "dcap.tcb_info.format"),
        (CollateralKind::QeIdentity, "dcap.qe_identity.format"),
    ] {
        asker.brought = all.iter().copied().filter(|kind| *kind != missing).collect();
        assert_eq!(asker.refused(), id);
    }
}
