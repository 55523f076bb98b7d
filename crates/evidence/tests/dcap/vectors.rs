//! The committed vectors of `spec/vectors/dcap`, read as a stranger would.
//!
//! Each file is one case of simulated hardware: everything the verifier gets, and the id of the check that must be the
//! primary failure, or `ok`. Every rule must have a file that breaks it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::dcap::pck::Ppid;
use evidence::dcap::{Bundle, Collateral, Platforms, Roots, Source};
use evidence::{AwsLc, Expected, Outcome, Skip, Verdict, sgx, tdx};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    expect: String,
    tee: String,
    now: u64,
    policy: String,
    platforms: Option<Vec<String>>,
    expected_report_data: String,
    expected_launch_field: String,
    root: String,
    quote: String,
    tcb_info: String,
    tcb_info_signature: String,
    tcb_info_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    qe_identity_chain: String,
    root_crl: String,
    pck_crl: String,
    pck_crl_chain: String,
}

fn files() -> Vec<(String, File)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/dcap");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("spec/vectors/dcap is committed")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            let file: File = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!file.about.is_empty(), "{name}");
            (name, file)
        })
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

fn hexadecimal(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

/// Judges a file: by its collateral, and if that verifies, by a session too, which must say the same.
fn judge(name: &str, file: &File) -> Result<Verdict, Verdict> {
    let base64 = |text: &str| STANDARD.decode(text).expect("base64");
    let (quote, root_crl, pck_crl) = (base64(&file.quote), base64(&file.root_crl), base64(&file.pck_crl));
    let (tcb, qe) = (hexadecimal(&file.tcb_info_signature), hexadecimal(&file.qe_identity_signature));
    let bundle = Bundle {
        tcb_info: file.tcb_info.as_bytes(),
        tcb_info_signature: &tcb,
        tcb_info_chain: file.tcb_info_chain.as_bytes(),
        qe_identity: file.qe_identity.as_bytes(),
        qe_identity_signature: &qe,
        qe_identity_chain: file.qe_identity_chain.as_bytes(),
        root_crl: &root_crl,
        pck_crl: &pck_crl,
        pck_crl_chain: Some(file.pck_crl_chain.as_bytes()),
    };
    let roots = Roots::from_certificates(&[&base64(&file.root)]).expect("a root");
    let verdict = by(file, &quote, Source::Bundle(&bundle, &roots));
    match Collateral::verify(&bundle, &roots, file.now, &AwsLc) {
        Ok(session) => {
            let again = by(file, &quote, Source::Verified(&session));
            assert_eq!(again, verdict, "{name}: by a session");
        }
        Err(collateral) => {
            // What is wrong with collateral alone is wrong with it beside a quote.
            let whole = verdict.as_ref().expect_err(name);
            for failed in collateral.failures() {
                assert!(whole.failures().any(|check| check.id == failed.id), "{name}: {}", failed.id);
            }
        }
    }
    verdict
}

fn by(file: &File, quote: &[u8], collateral: Source<'_>) -> Result<Verdict, Verdict> {
    let expected = Expected {
        report_data: hexadecimal(&file.expected_report_data).try_into().expect("64 bytes"),
        launch_field: hexadecimal(&file.expected_launch_field).try_into().expect("32 bytes"),
    };
    let ppid = |text: &String| Ppid(hexadecimal(text).try_into().expect("16 bytes"));
    let platforms =
        file.platforms.as_ref().map_or(Platforms::Any, |named| Platforms::Only(named.iter().map(ppid).collect()));
    let (now, platforms) = (file.now, &platforms);
    match file.tee.as_str() {
        "sgx" => {
            let policy = &toml::from_str(&file.policy).expect("a policy");
            let input = sgx::Input { quote, expected, collateral, policy, platforms, now };
            sgx::verify(input, &AwsLc).map(|(verified, verdict)| {
                assert_eq!(verified.claims().report_data, expected.report_data);
                assert!(verified.claims().platform.collateral_end >= now);
                verdict
            })
        }
        "tdx" => {
            let policy = &toml::from_str(&file.policy).expect("a policy");
            let input = tdx::Input { quote, expected, collateral, policy, platforms, now };
            tdx::verify(input, &AwsLc).map(|(verified, verdict)| {
                assert_eq!(verified.claims().report_data, expected.report_data);
                assert!(verified.claims().platform.collateral_end >= now);
                verdict
            })
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_vector_ends_as_it_says() {
    let mut wrong = Vec::new();
    for (name, file) in files() {
        let (found, verdict) = match judge(&name, &file) {
            Ok(verdict) => ("ok".to_owned(), verdict),
            Err(verdict) => {
                assert!(!verdict.passed(), "{name}");
                (verdict.primary().map_or("nothing", |check| check.id).to_owned(), verdict)
            }
        };
        let rules = if file.tee == "sgx" { sgx::CHECKS } else { tdx::CHECKS };
        assert_eq!(verdict.checks.len(), rules.len(), "{name}");
        if found != file.expect {
            let all: Vec<_> = verdict.failures().map(|check| (check.id, &check.found)).collect();
            wrong.push(format!("{name} ({}): expected {}, found {found}: {all:?}", file.about, file.expect));
        }
        // Nothing is said twice, and nothing is left out but for a reason.
        for check in &verdict.checks {
            let unreached = check.outcome == Outcome::Skipped(Skip::NotReached);
            assert!(!(unreached && found == "ok"), "{name}: {}", check.id);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_is_broken_by_a_vector() {
    let files = files();
    let expected: BTreeSet<&str> = files.iter().map(|(_, file)| file.expect.as_str()).collect();
    let rules: BTreeSet<&str> = sgx::CHECKS.iter().chain(tdx::CHECKS).map(|rule| rule.id).collect();
    let unbroken: Vec<_> = rules.difference(&expected).collect();
    assert!(unbroken.is_empty(), "{unbroken:?}");
    let unknown: Vec<_> = expected.difference(&rules).filter(|id| **id != "ok").collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
