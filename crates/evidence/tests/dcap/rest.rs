//! Every other file that lies beside the matrix: what it must be said of it stands in the folder's `PROVENANCE.md`, and here
//! which check says so.

use super::folder::{Fetched, Folder};
use evidence::dcap::quote::QuoteError;
use evidence::dcap::tcb_info::{Answer, QeIdentity, TcbInfo};
use evidence::dcap::{Platforms, Quote, Roots, Source};
use evidence::pki::{Certificate, Crl, Scheme};
use evidence::{AwsLc, Provider, SignatureAlgorithm, sgx};

/// Intel's, which signed all TCB info and QE identities.
fn signer(folder: &Folder) -> Certificate {
    Certificate::parse(&folder.read("dcap-automata/signing.der"), Scheme::EcdsaP256Sha256).expect("a certificate")
}

fn signed(folder: &Folder, answer: &Answer<'_>) -> bool {
    let p256 = SignatureAlgorithm::EcdsaP256Sha256Fixed;
    AwsLc.verify(p256, signer(folder).spki(), answer.body, &answer.signature)
}

/// Whether it is TCB info or a QE identity.
fn reads(body: &[u8]) -> Result<(), String> {
    match (TcbInfo::parse(body), QeIdentity::parse(body)) {
        (Err(one), Err(other)) => Err(format!("{one}; {other}")),
        _ => Ok(()),
    }
}

/// The rows of a folder's `PROVENANCE.md`: file, and what must be concluded.
fn rows(folder: &Folder, name: &str) -> Vec<(String, String)> {
    let text = String::from_utf8(folder.read(&format!("{name}/PROVENANCE.md"))).expect("text");
    let rows: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, file, .., conclusion, _] = cells[..] else { return None };
            (!file.is_empty() && file != "file" && !file.starts_with('-'))
                .then(|| (file.to_owned(), conclusion.to_owned()))
        })
        .collect();
    assert!(!rows.is_empty(), "{name}");
    rows
}

/// Documents that other software reads, and why they are refused here.
const STRICTER: &[(&str, &str)] = &[
    ("data_v2-qve_identity_ok.json", "it is of Intel's quote verification enclave, which quotes nothing"),
    ("data_v2-tcbInfoAdvisoryIds.json", "it has no pceId, without which nothing says for which platforms it is"),
];

#[test]
fn documents_that_must_not_be_read_are_not() {
    let Some(folder) = Folder::open() else { return };
    let name = "dcap-openenclave-json";
    let mut seen = [0, 0];
    for (file, conclusion) in rows(&folder, name) {
        let bytes = folder.read(&format!("{name}/{file}"));
        let answer = Answer::parse(&bytes);
        let read = answer.as_ref().map_err(ToString::to_string).and_then(|answer| reads(answer.body));
        assert!(answer.is_ok_and(|answer| !signed(&folder, &answer)) || read.is_err(), "{file}: Intel signed it");
        let stricter = STRICTER.iter().any(|(stricter, _)| *stricter == file);
        let must = conclusion.contains("must succeed") && !stricter;
        if stricter {
            assert!(conclusion.contains("must succeed"), "{file} is refused by everybody");
        }
        assert_eq!(read.is_ok(), must, "{file}: {read:?}");
        seen[usize::from(must)] += 1;
    }
    assert!(seen == [25 + STRICTER.len(), 3], "{seen:?}");
}

/// Names of files that are answers of Intel's service as they came.
const ANSWERS: &[&str] = &[
    "dcap-attestation-rs/tcb_info_50806f000000.json",
    "dcap-attestation-rs/tcb_info_90c06f000000.json",
    "dcap-attestation-rs/td_qe_identity.json",
    "dcap-automata/0625-qe_td.json",
    "dcap-automata/0625-tcbinfo.json",
    "dcap-automata/0625-tcbinfov3_90C06F000000.json",
    "dcap-automata/0825-sgx_qeidentity_v4.json",
    "dcap-automata/0825-sgx_tcbinfov3_00606a000000.json",
    "dcap-automata/1025-identity.json",
    "dcap-automata/1025-tcb_info.json",
    "dcap-automata/qe_identity.json",
    "dcap-automata/tcb_info_v3_sgx.json",
    "dcap-automata/tcb_info_v3_with_tdx_module.json",
    "dcap-dcap-rs/qeidentityv2_apiv4.json",
    "dcap-dcap-rs/tcb_info_v3_tdx_1.json",
    "dcap-dcap-rs/tcbinfov3_00806f050000.json",
    "dcap-fortanix/qeid-sgx.json",
    "dcap-fortanix/qeid-tdx.json",
    "dcap-fortanix/tcb-sgx.json",
    "dcap-fortanix/tcb-tdx-2.json",
    "dcap-fortanix/tcb-tdx.json",
    "dcap-go-tdx-guest/sample_qeIdentity_response",
    "dcap-go-tdx-guest/sample_tcbInfo_response",
    "dcap-go-tdx-guest/sample_tcbinfo_response_v5",
    "dcap-oasis/qe_identity_v2.json",
    "dcap-oasis/qe_identity_v2_tdx.json",
    "dcap-oasis/qe_identity_v2_tdx2.json",
    "dcap-oasis/tcb_info_v3_fmspc_00606A000000.json",
    "dcap-oasis/tcb_info_v3_tdx_fmspc_50806F000000.json",
    "dcap-oasis/tcb_info_v3_tdx_fmspc_C0806F000000.json",
    "dcap-trustee/enclaveIdentity.json",
    "dcap-trustee/tcbInfo.json",
];

#[test]
fn every_answer_of_intels_service_is_read_and_signed() {
    let Some(folder) = Folder::open() else { return };
    for file in ANSWERS {
        let bytes = folder.read(file);
        let answer = Answer::parse(&bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        reads(answer.body).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(signed(&folder, &answer), "{file}");
    }
}

#[test]
fn a_corrupted_identity_is_not_signed() {
    let Some(folder) = Folder::open() else { return };
    let bytes = folder.read("dcap-fortanix/corrupt_qe3_identity.json");
    assert!(!Answer::parse(&bytes).is_ok_and(|answer| signed(&folder, &answer)));
}

#[test]
fn every_list_is_signed_by_its_issuer() {
    let Some(folder) = Folder::open() else { return };
    let scheme = Scheme::EcdsaP256Sha256;
    let certificate = |name: &str| Certificate::parse(&folder.read(name), scheme).expect("a certificate");
    let (root, platform) = (certificate("dcap-automata/root.der"), certificate("dcap-automata/platform.der"));
    assert!(root.signed_by(root.spki(), &AwsLc) && platform.signed_by(root.spki(), &AwsLc));
    assert!(signer(&folder).signed_by(root.spki(), &AwsLc));
    for (file, issuer) in [
        ("dcap-attestation-rs/pck_crl_platform.der", &platform),
        ("dcap-attestation-rs/root_ca_crl.der", &root),
        ("dcap-automata/0825-platform_crl.der", &platform),
        ("dcap-automata/1025-pck_crl.der", &platform),
        ("dcap-automata/intel_root_ca_crl.der", &root),
        ("dcap-automata/pck_platform_crl.der", &platform),
        ("dcap-dcap-rs/intel_root_ca_crl.der", &root),
        ("dcap-dcap-rs/pck_platform_crl.der", &platform),
        ("dcap-fortanix/IntelSGXRootCA.der", &root),
        ("dcap-go-tdx-guest/pckcrl", &platform),
        ("dcap-go-tdx-guest/rootcrl.der", &root),
    ] {
        let crl = Crl::parse(&folder.read(file), scheme).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(crl.issuer() == issuer.subject() && crl.signed_by(issuer.spki(), &AwsLc), "{file}");
        assert!(!crl.signed_by(signer(&folder).spki(), &AwsLc), "{file}: another key");
    }
}

#[test]
fn quotes_without_a_chain_say_so() {
    let Some(folder) = Folder::open() else { return };
    for file in ["dcap-oasis/quote_v3_ecdsa_p256_eppid.bin", "dcap-fortanix/quote_raw_tcb.bin"] {
        let error = Quote::parse(&folder.read(file)).map(|_| ()).expect_err(file);
        assert_eq!(error, QuoteError::Certification { wanted: 5, found: 3 }, "{file}");
    }
    let error = Quote::parse(&folder.read("dcap-intel-qvl-testroot/quote.dat")).map(|_| ()).expect_err("no chain");
    assert!(matches!(error, QuoteError::Certification { .. } | QuoteError::Version { .. }), "{error}");
}

/// What fails, but for the collateral being of other platforms and another time.
fn failures(folder: &Folder, quote: &[u8], bundle: &str, now: u64) -> Vec<String> {
    let fetched = Fetched::read(folder, &format!("dcap-matrix/bundles/{bundle}.json"));
    let bundle = fetched.bundle();
    let policy = sgx::Settings { any_measurement: true, ..sgx::Settings::default() }.try_into().expect("a policy");
    let verdict =
        sgx::authentic(quote, Source::Bundle(&bundle, &Roots::intel()), &policy, &Platforms::Any, now, &AwsLc);
    verdict.expect_err("something fails").failures().map(|check| check.id.to_owned()).collect()
}

#[test]
fn a_chain_may_have_the_root_before_the_ca() {
    let Some(folder) = Folder::open() else { return };
    let (bundle, now) = ("sgx-00a067110000-processor-2025-05-05-eval17", 1_748_697_900);
    let good = folder.read("dcap-fortanix/quote_pck_cert_chain.bin");
    assert_eq!(failures(&folder, &good, bundle, now), ["dcap.tcb_info.platform", "sgx.attributes.debug"]);
    let bad = folder.read("dcap-fortanix/quote_pck_cert_chain_corrupted.bin");
    let failed = failures(&folder, &bad, bundle, now);
    assert!(failed.contains(&"dcap.quote.signature".to_owned()), "{failed:?}");
}

#[test]
fn a_corrupted_report_is_refused() {
    let Some(folder) = Folder::open() else { return };
    let (bundle, now) = ("sgx-00606a000000-platform-2025-08-15-eval17", 1_756_530_546);
    // Before the quote stands Open Enclave's header, 16 bytes.
    let envelope = folder.read("dcap-openenclave/sgx_report_bad.bin");
    let failed = failures(&folder, envelope.get(16..).expect("longer"), bundle, now);
    // The CA bears another name than the PCK says, by one bit.
    assert_eq!(failed.first().map(String::as_str), Some("dcap.ca.format"), "{failed:?}");
}
