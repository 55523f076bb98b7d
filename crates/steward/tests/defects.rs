//! The eleven known defects of the Steward that went before, each by its number in the study of it: what it accepted is refused
//! here, at a check with an id; what it could not take is taken. Every refusal stands beside a control that is granted.

mod support;

use identity::{KeepCertificate, csr::CollateralKind};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use silicon::{
    Amd, Product,
    amd::VcekTemplate,
    intel::{Body, Crl, Enclave, Key as IntelKey, Pck, Service, Td},
};
use steward::judge::Issued;
use support::{
    CRL_END, DAY, NOW, POLICY, World, cause,
    quoting::{Asker, SGX, tdx, world},
    refused_only_with,
};

fn enclave<'w>(world: &'w World) -> Asker<'w> {
    Asker::new(world, Body::Enclave(Enclave::new()))
}

/// Asserts that an enclave gets its certificate, and that the same with one change is refused by exactly this check.
#[track_caller]
fn enclave_refused_with(section: &str, id: &str, change: impl FnOnce(&mut Asker<'_>)) {
    let world = world(section);
    let mut asker = enclave(&world);
    if let Err(refusal) = asker.ask() {
        panic!("control of {id}: {refusal}");
    }
    change(&mut asker);
    assert_eq!(asker.refused(), id);
}

fn end(issued: &Issued) -> u64 {
    KeepCertificate::read(&issued.chain[0]).unwrap().not_after
}

/// A request with one extension, as the project before made them.
fn request(arcs: &[u64], value: &[u8]) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::from_oid_content(arcs, value.to_vec())];
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

/// A self-signed authority was taken for a wish to debug: no evidence was needed, no binding, and debugging was allowed.
#[test]
fn defect_1_a_self_signed_authority_judges_as_any_other() {
    let world = World::new();
    assert_eq!(world.steward.authority().chain().len(), 1, "it signed itself");
    for arc in [1, 2, 3] {
        let kvm = request(&[1, 3, 6, 1, 4, 1, 58270, 1, arc], &[]);
        assert_eq!(cause(&world.steward.judge(&kvm, NOW).unwrap_err()), "csr.carrier");
    }
    let other = steward::signer::Key::random(identity::Algorithm::EcdsaP256Sha256).unwrap();
    refused_only_with(&world, "snp.report_data", |keep| {
        keep.bound_key = Some(identity::Signer::spki(&other).to_vec());
    });
    refused_only_with(&world, "snp.policy.debug", |keep| keep.report.policy |= 1 << 19);
}

/// It looked at the attribute only if the policy listed features.
#[test]
fn defect_2_an_enclave_that_can_be_debugged_is_refused_by_a_policy_that_says_nothing() {
    assert!(!SGX.contains("features"));
    enclave_refused_with(SGX, "sgx.attributes.debug", |asker| {
        let Body::Enclave(enclave) = &mut asker.quote.body else { panic!() };
        enclave.flags |= 2;
    });
}

/// With a list of advisories it did not look at the status at all.
#[test]
fn defect_3_no_list_of_advisories_makes_an_old_platform_new() {
    let allowed = format!("{SGX}\nallowed_advisories = [\"INTEL-SA-00615\", \"INTEL-SA-00828\"]");
    let platform = |components, pce| {
        move |asker: &mut Asker<'_>| {
            asker.quote.platform = Pck { components: [components; 16], pce, ..asker.quote.platform.clone() };
        }
    };
    enclave_refused_with(&allowed, "dcap.tcb.status", platform(6, 13));
    enclave_refused_with(&allowed, "dcap.tcb.status", platform(5, 11));
    // Nothing is said of advisories at this level, and everything by its status.
    enclave_refused_with(&allowed, "dcap.tcb.revoked", platform(2, 5));
}

/// Whoever had a PCK could say what he liked as a quoting enclave (CVE-2026-22696 is the same elsewhere).
#[test]
fn defect_4_the_quoting_enclave_is_the_one_that_intel_names() {
    enclave_refused_with(SGX, "dcap.qe.mrsigner", |asker| asker.quote.qe.mr_signer = [0x66; 32]);
    enclave_refused_with(SGX, "dcap.qe.product", |asker| asker.quote.qe.product_id = 9);
    enclave_refused_with(SGX, "dcap.qe.attributes", |asker| asker.quote.qe.flags |= 2);
    enclave_refused_with(SGX, "dcap.qe_identity.format", |asker| {
        asker.brought.retain(|kind| *kind != CollateralKind::QeIdentity);
    });
}

/// One list that was found stood for all; one that was missing was a line in the log.
#[test]
fn defect_5_every_list_is_needed_and_asked() {
    let amd = World::new();
    refused_only_with(&amd, "snp.crl.present", |keep| keep.crl = None);
    refused_only_with(&amd, "snp.crl.present", |keep| {
        keep.crl = Some(Amd::from_seed([7; 32], Product::Milan).crl_der(NOW - DAY, CRL_END, &[]));
    });
    refused_only_with(&amd, "snp.crl.not_yet_valid", |keep| {
        keep.crl = Some(amd.amd.crl_der(NOW + 1, CRL_END, &[]));
    });
    enclave_refused_with(SGX, "dcap.root_crl.format", |asker| {
        asker.brought.retain(|kind| *kind != CollateralKind::Crl);
    });
    // The root's is there, the PCK's is another CA's.
    enclave_refused_with(SGX, "dcap.pck_crl.signature", |asker| {
        asker.service.pck_crl = Crl::new(IntelKey::ProcessorCa, NOW - DAY, CRL_END);
    });
    enclave_refused_with(SGX, "dcap.pck.revoked", |asker| asker.service.pck_crl.revoked = vec![4]);
}

/// It had pinned an ASK that AMD had revoked, so that no Genoa was ever believed.
#[test]
fn defect_6_genoa_is_believed_and_a_revoked_ask_is_not() {
    let world = World::new();
    let issued = world.keep().ask().unwrap();
    assert_eq!(KeepCertificate::read(&issued.chain[0]).unwrap().ear.product, "Genoa");
    refused_only_with(&world, "snp.ask.revoked", |keep| {
        keep.crl = Some(world.amd.crl_der(NOW - DAY, CRL_END, &[Product::Genoa.ask_serial()]));
    });
    // What brings none is judged by AMD's that are at hand, of which none is the revoked one.
    const REVOKED: [u8; 3] = [2, 0, 1];
    let roots = evidence::snp::Roots::amd();
    let serials: Vec<_> = roots.intermediates().iter().map(|ask| ask.serial().to_vec()).collect();
    assert!(!serials.is_empty() && !serials.iter().any(|serial| serial.ends_with(&REVOKED)), "{serials:?}");
}

/// Flags of the policy were read and never asked, there was no floor, and what the certificate says of the TCB was not compared.
#[test]
fn defect_7_flags_floors_and_the_certificates_tcb_are_asked_of_every_report_version() {
    let hash = format!("hash = [\"{}\"]", "aa".repeat(48));
    let with = |rest: &str| World::with(&POLICY.replace(&hash, &format!("{hash}\n{rest}")));
    let smt = 1 << 16;
    let world = with("policy_flags = [\"SMT\"]");
    let mut keep = world.keep();
    keep.report.policy |= smt;
    assert!(keep.ask().is_ok(), "control: it is listed");
    let world = with("policy_flags = []");
    let mut keep = world.keep();
    keep.report.policy &= !smt;
    assert!(keep.ask().is_ok(), "control: it is not there");
    keep.report.policy |= smt;
    assert_eq!(keep.refused(), "snp.policy.flags");

    let floor =
        |microcode| format!("minimum_tcb.genoa = {{ bootloader = 1, tee = 0, snp = 1, microcode = {microcode} }}");
    assert!(with(&floor(1)).keep().ask().is_ok(), "control");
    assert_eq!(with(&floor(255)).keep().refused(), "snp.tcb.minimum");

    let world = World::new();
    refused_only_with(&world, "snp.vek.tcb", |keep| {
        // The right key, certified for another TCB.
        let mut other = world.amd.tcb();
        other.microcode -= 1;
        let template = VcekTemplate { key: world.amd.tcb(), ..world.amd.vcek_template(other) };
        keep.endorsements[0] = world.amd.issue_vcek(&template);
    });
    for version in [2, 3, 5] {
        let mut keep = world.keep();
        keep.report.version = version;
        assert!(keep.ask().is_ok(), "version {version}");
    }
    refused_only_with(&world, "snp.report.version", |keep| keep.report.version = 1);
    // Major before minor: a guest that asks for 1.51 may be on firmware 2.0, and none that asks for 2.0 on 1.55.
    let world = with("abi = \">=1.51\"");
    let mut keep = world.keep();
    keep.report.policy = keep.report.policy & !0xffff | 0x0133;
    assert!(keep.ask().is_ok(), "{:?}", keep.ask());
    keep.report.policy = keep.report.policy & !0xffff | 0x0132;
    assert_eq!(keep.refused(), "snp.policy.abi");
}

/// Texts of a fixed form were cut out of what came, by places counted from both ends.
#[test]
fn defect_8_nothing_that_comes_ends_the_steward() {
    let world = world(SGX);
    let refused = |bytes: &[u8]| {
        let mut asker = enclave(&world);
        asker.instead = Some((CollateralKind::TcbInfo, bytes.to_vec()));
        asker.refused()
    };
    let short: &[&[u8]] = &[b"", b"{", b"{}", b"\"\"", b"[]", &[0xff; 200], br#"{"tcbInfo":{},"signature":""}"#];
    for bytes in short {
        assert_eq!(refused(bytes), "evidence.collateral", "{}", String::from_utf8_lossy(bytes));
    }
    let signature = "00".repeat(64);
    for body in ["{}", "\"\"", "0", "null", r#"{"version":3}"#] {
        let answer = format!(r#"{{"tcbInfo":{body},"signature":"{signature}"}}"#);
        assert_eq!(refused(answer.as_bytes()), "dcap.tcb_info.format", "{body}");
    }
    // In another order and with white space it is as good.
    let body = Service::new(false, NOW - DAY, CRL_END).tcb_info.json();
    let signature = hex::encode(IntelKey::TcbSigning.sign(body.as_bytes()));
    let mut asker = enclave(&world);
    let other = format!("{{\n  \"signature\" : \"{signature}\",\n  \"tcbInfo\" : {body}\n}}");
    asker.instead = Some((CollateralKind::TcbInfo, other.into_bytes()));
    assert!(asker.ask().is_ok(), "{:?}", asker.ask());
}

/// It knew quotes of SGX with constants of 2022, and nothing of TDX.
#[test]
fn defect_9_quotes_of_tdx_are_taken_and_versions_are_compared_with_intels() {
    for extended in [false, true] {
        let world = world(&tdx());
        assert!(Asker::new(&world, Body::Td(Td::new(extended))).ask().is_ok(), "{extended}");
    }
    // The quoting enclave's version is Intel's to rate, and no number in our code.
    enclave_refused_with(SGX, "dcap.tcb.status", |asker| asker.quote.qe.security_version = 7);
    enclave_refused_with(SGX, "dcap.quote.certification", |asker| asker.quote.certification = 4);
}

/// Evidence without a nonce was good for ever.
#[test]
fn defect_10_what_is_sent_again_gains_neither_key_nor_time() {
    let world = World::new();
    let csr = world.keep().csr();
    let at = |now| world.steward.judge(&csr, now);
    let first = end(&at(NOW).unwrap());
    assert_eq!(end(&at(NOW + 300).unwrap()), first);
    assert_eq!(cause(&at(NOW + 301).unwrap_err()), "nonce.age");
}

/// Builds for debugging, as this one mostly is, did not look at dates.
#[test]
fn defect_11_dates_count_in_every_build_because_time_is_an_argument() {
    let world = World::new();
    refused_only_with(&world, "snp.crl.expired", |keep| {
        keep.crl = Some(world.amd.crl_der(NOW - 2 * DAY, NOW - 1, &[]));
    });
    enclave_refused_with(SGX, "dcap.tcb_info.expired", |asker| asker.service.tcb_info.next_update = NOW - 1);
    enclave_refused_with(SGX, "dcap.qe_identity.expired", |asker| asker.service.qe_identity.next_update = NOW - 1);
    enclave_refused_with(SGX, "dcap.root_crl.expired", |asker| asker.service.root_crl.next_update = Some(NOW - 1));
    enclave_refused_with(SGX, "dcap.pck_crl.format", |asker| asker.service.pck_crl.next_update = None);
}
