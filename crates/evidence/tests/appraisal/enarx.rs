//! Recorded certificate requests of Enarx.

use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use evidence::appraisal::enarx::{Request, RequestError};
use evidence::appraisal::policy::Sections;
use evidence::appraisal::{Appraisal, Binding, By, Evidence, Policy, Roots, appraise};
use evidence::{Provider, SignatureAlgorithm};

const SNP: &str = "enarx/snp/milan.signed.crl.csr";
const SGX: [&str; 2] =
    ["enarx/sgx/icelake.signed.tcb.crl.multi.xeon.csr", "enarx/sgx/icelake.signed.tcb.crl.single.i5.csr"];

/// 2022-12-01 and 2023-02-01: all that they bring was good.
const THEN: [u64; 2] = [1_669_852_800, 1_675_209_600];

fn policy(text: &str) -> Policy {
    toml::from_str::<Sections>(text).expect("TOML").try_into().expect("a policy")
}

fn read(der: &[u8]) -> Result<Option<Request>, RequestError> {
    Request::parse(der, PROVIDER)
}

fn judge(Request { evidence, endorsements, .. }: &Request, report_data: [u8; 64], now: u64) -> Appraisal {
    let binding = Binding { report_data: Some(report_data), launch_field: None };
    let by = By { endorsements, policy: None, binding, roots: &Roots::vendors(), now };
    appraise(evidence, by, PROVIDER)
}

#[test]
fn a_request_of_sev_snp_is_verified_and_bound_to_its_key() {
    let Some(folder) = Folder::open() else { return };
    let request = read(&folder.read(SNP)).expect("a request").expect("of Enarx");
    assert_eq!(request.evidence, Evidence::Snp(folder.read("enarx/derived/milan.report.bin")));
    assert_eq!(request.endorsements.certificates().collect::<Vec<_>>(), [folder.read("enarx/derived/milan.vcek.der")]);
    assert_eq!(request.endorsements.lists().len(), 2);
    let judged = judge(&request, request.report_data, THEN[0]);
    assert!(judged.verified(), "{:?}", judged.verdict.primary());
    let judged = judge(&request, [1; 64], THEN[0]);
    assert_eq!(judged.verdict.primary().map(|check| check.id), Some("snp.report_data"));
}

#[test]
fn requests_of_sgx_bring_all_but_a_qe_identity() {
    let Some(folder) = Folder::open() else { return };
    for (name, quote) in SGX.into_iter().zip(["xeon", "i5"]) {
        let request = read(&folder.read(name)).expect("a request").expect("of Enarx");
        assert_eq!(request.evidence, Evidence::Sgx(folder.read(&format!("enarx/derived/{quote}.quote.bin"))));
        let judged = judge(&request, request.report_data, THEN[1]);
        let failed: Vec<_> = judged.verdict.failures().map(|check| check.id).collect();
        assert_eq!(failed, ["dcap.qe_identity.format"], "{name}");
        assert_eq!(judged.verdict.check("sgx.report_data").map(|check| check.outcome.word()), Some("pass"));
        let judged = judge(&request, [1; 64], THEN[1]);
        assert!(judged.verdict.failures().any(|check| check.id == "sgx.report_data"), "{name}");
    }
}

/// Enarx asked for none, so whoever takes its requests has to say that he does without.
#[test]
fn a_qe_identity_need_not_be_there_where_the_policy_says_so_and_must_be_good_where_it_is() {
    let Some(folder) = Folder::open() else { return };
    let text = "any_platform = true\n[sgx]\nany_measurement = true\naccepted_tcb = [\"OutOfDate\"]\n";
    let without = policy(&format!("{text}insecure_without_qe_identity = true\n"));
    for name in SGX {
        let mut request = read(&folder.read(name)).expect("a request").expect("of Enarx");
        let failed = |policy: &Policy, request: &Request, launch_field: [u8; 32]| -> Vec<&'static str> {
            let Request { evidence, endorsements, report_data, .. } = request;
            let binding = Binding { report_data: Some(*report_data), launch_field: Some(launch_field) };
            let by = By { endorsements, policy: Some(policy), binding, roots: &Roots::vendors(), now: THEN[1] };
            let judged = appraise(evidence, by, PROVIDER);
            assert_eq!(judged.proof.is_some(), judged.verified());
            judged.verdict.failures().map(|check| check.id).collect()
        };
        assert_eq!(failed(&without, &request, [0; 32]), [""; 0], "{name}");
        assert_eq!(failed(&policy(text), &request, [0; 32]), ["dcap.qe_identity.format"], "{name}");
        // Nothing was said at launch.
        assert_eq!(failed(&without, &request, [1; 32]), ["sgx.config_id"], "{name}");
        let body = br#"{"id":"QE"}"#;
        request.endorsements.qe_identity(body, &[0; 64]).expect("room");
        assert_eq!(failed(&without, &request, [0; 32])[0], "dcap.qe_identity.format", "{name}");
    }
}

#[test]
fn a_request_whose_sender_does_not_hold_the_key_is_refused() {
    let Some(folder) = Folder::open() else { return };
    for name in [SNP, SGX[0]] {
        let whole = folder.read(name);
        for at in (0..whole.len()).step_by(37) {
            let mut other = whole.clone();
            other[at] ^= 4;
            let read = read(&other);
            assert!(read.is_err() || read == Ok(None), "{name}: byte {at}");
        }
        for length in (0..whole.len()).step_by(41) {
            assert!(read(&whole[..length]).is_err(), "{name}: {length} bytes");
        }
        assert!(read(&[&whole[..], &[0]].concat()).is_err(), "{name}: one more");
    }
}

/// Whose signatures are all good.
struct Yes;

impl Provider for Yes {
    fn verify(&self, _: SignatureAlgorithm, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }
}

#[test]
fn what_is_not_evidence_is_said_to_be_none() {
    let Some(folder) = Folder::open() else { return };
    let mut request = folder.read(SNP);
    let at = request.windows(4).position(|window| window == [0x83, 0xc7, 0x1e, 1]).expect("an arc") + 4;
    for (last, expected) in [(1, Err(RequestError::NoEvidence)), (9, Ok(None))] {
        request[at] = last;
        assert_eq!(Request::parse(&request, &Yes), expected);
    }
}
