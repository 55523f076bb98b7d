//! The committed vectors of `spec/vectors/dcap`, read as a stranger would.
//!
//! Each file is one case of simulated hardware: everything the verifier gets, and the id of the check that must be the
//! primary failure, or `ok`. Every rule must have a file that breaks it.

use crate::support::issuer::comes_back;
use crate::support::provider::{Counting, PROVIDER};
use crate::support::vectors::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::dcap::pck::Ppid;
use evidence::dcap::{Bundle, Collateral, Platforms, Quote, Roots, Source};
use evidence::ear::{Appraisal, Class, Conclusion};
use evidence::{Check, Expected, Outcome, Provider, Skip, Verdict, sgx, tdx};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    about: String,
    expect: String,
    tee: String,
    now: u64,
    policy: String,
    platforms: Option<Vec<String>>,
    expected_report_data: String,
    expected_launch_field: String,
    root: String,
    pub(super) quote: String,
    pub(super) tcb_info: String,
    tcb_info_signature: String,
    pub(super) tcb_info_chain: String,
    pub(super) qe_identity: String,
    qe_identity_signature: String,
    pub(super) qe_identity_chain: String,
    pub(super) root_crl: String,
    pub(super) pck_crl: String,
    pub(super) pck_crl_chain: String,
}

pub(super) fn files() -> Vec<(String, File)> {
    let files = vectors::<File>("dcap");
    assert!(files.iter().all(|(_, file)| !file.about.is_empty()));
    files
}

fn hexadecimal(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

/// Judges a file: by its collateral, and if that verifies, by a session too, which must say the same.
pub(super) fn judge(name: &str, file: &File) -> Result<Verdict, Verdict> {
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
    let verdict = by(file, &quote, Source::Bundle(&bundle, &roots), PROVIDER);
    match Collateral::verify(&bundle, &roots, file.now, PROVIDER) {
        Ok(session) => {
            let again = by(file, &quote, Source::Verified(&session), PROVIDER);
            assert_eq!(again, verdict, "{name}: by a session");
            endorsed(name, file, &quote, &session, &verdict);
        }
        Err(collateral) => {
            // What is wrong with collateral alone is wrong with it beside a quote.
            let Err(whole) = &verdict else {
                // A session is for any policy, and so is whole.
                assert!(file.policy.contains("insecure_without_qe_identity"), "{name}");
                return verdict;
            };
            for failed in collateral.failures() {
                assert!(whole.failures().any(|check| check.id == failed.id), "{name}: {}", failed.id);
            }
        }
    }
    verdict
}

/// By a session and a PCK that it endorsed: the quote's own, and that of a good quote, at this instant and at another; all must
/// say the same.
fn endorsed(name: &str, file: &File, quote: &[u8], session: &Collateral, verdict: &Result<Verdict, Verdict>) {
    let good = good();
    for (of, now) in [(quote, file.now), (&good, file.now), (quote, GOOD), (&good, GOOD)] {
        let Ok(parsed) = Quote::parse(of) else { continue };
        match session.endorse(parsed.chain(), now, PROVIDER) {
            Ok(endorsement) => {
                let provider = Counting::default();
                let again = by(file, quote, Source::Endorsed(&endorsement), &provider);
                assert_eq!(again, *verdict, "{name}: by an endorsed PCK");
                // Quoting enclave and quote.
                let own = again.is_ok() && endorsement.pck().certificate().der() == pck(quote);
                assert!(!own || provider.0.get() == 2, "{name}: {} checks", provider.0.get());
            }
            Err(refused) if of == quote && now == file.now => {
                // What is wrong with the PCK alone is wrong with it in the quote, if the quote is of this TEE.
                let whole = verdict.as_ref().expect_err(name);
                let reached = whole.check("dcap.pck.format").is_none_or(|check| check.outcome != SKIPPED);
                let alike = |failed: &Check| whole.failures().any(|check| check.id == failed.id);
                assert!(!reached || refused.failures().all(alike), "{name}: {:?}", refused.primary());
            }
            Err(refused) => assert!(refused.primary().is_some(), "{name}"),
        }
    }
}

/// The DER of a quote's PCK.
fn pck(quote: &[u8]) -> Vec<u8> {
    let chain = Quote::parse(quote).expect("a quote").chain().to_vec();
    let text = String::from_utf8(chain).expect("PEM");
    let body = text.split("-----").nth(2).expect("a certificate");
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).expect("base64")
}

const SKIPPED: Outcome = Outcome::Skipped(Skip::NotReached);
/// When the good quote is good.
const GOOD: u64 = 1_767_225_600;

fn good() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/dcap/ok-sgx.json");
    let file: File = serde_json::from_slice(&fs::read(path).expect("a vector")).expect("a vector");
    assert_eq!(file.now, GOOD);
    STANDARD.decode(file.quote).expect("base64")
}

fn by(file: &File, quote: &[u8], collateral: Source<'_>, provider: &dyn Provider) -> Result<Verdict, Verdict> {
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
            let result = sgx::verify(input, provider);
            let failed = result.as_ref().err().and_then(Verdict::primary).map(|check| check.id);
            appraised(file.now, &Appraisal::of(&result), failed);
            result.map(|(verified, verdict)| {
                assert_eq!(verified.claims().report_data, expected.report_data);
                assert!(verified.claims().platform.collateral_end >= now);
                verdict
            })
        }
        "tdx" => {
            let policy = &toml::from_str(&file.policy).expect("a policy");
            let input = tdx::Input { quote, expected, collateral, policy, platforms, now };
            let result = tdx::verify(input, provider);
            let failed = result.as_ref().err().and_then(Verdict::primary).map(|check| check.id);
            appraised(file.now, &Appraisal::of(&result), failed);
            result.map(|(verified, verdict)| {
                assert_eq!(verified.claims().report_data, expected.report_data);
                assert!(verified.claims().platform.collateral_end >= now);
                verdict
            })
        }
        other => panic!("{other}"),
    }
}

/// The EAR of each judgement comes back, and says what the verdict says.
fn appraised(now: u64, appraisal: &Appraisal, primary: Option<&str>) {
    comes_back(appraisal, now, Class::Insecure);
    match appraisal.conclusion() {
        Conclusion::Accepted(facts) => assert_eq!(primary, None, "{facts:?}"),
        Conclusion::Refused(failed) => assert_eq!(failed.first().map(String::as_str), primary),
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
        for check in verdict.failures() {
            let texts = [check.expected.as_ref(), check.found.as_ref(), check.source, check.remedy];
            assert!(texts.iter().all(|text| !text.is_empty()), "{name}: {check:?}");
        }
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

/// A quote may bring another certificate of the CA than its collateral: the one that the PCK hangs on may not be outlived,
/// and the other, which nobody needs, ends nothing.
#[test]
fn nothing_outlives_the_ca_of_the_quote() {
    let all = files();
    let file = |wanted: &str| all.iter().find(|(name, _)| name == wanted).map(|(_, file)| file).expect("a vector");
    let (ending, lasting) = (file("sgx-ca-expired"), file("ok-sgx"));
    for (of_quote, of_collateral, ends) in [(ending, lasting, true), (lasting, ending, false)] {
        let base64 = |text: &str| STANDARD.decode(text).expect("base64");
        let (quote, root_crl, pck_crl) =
            (base64(&of_quote.quote), base64(&of_quote.root_crl), base64(&of_quote.pck_crl));
        let (tcb, qe) = (hexadecimal(&of_quote.tcb_info_signature), hexadecimal(&of_quote.qe_identity_signature));
        let bundle = Bundle {
            tcb_info: of_quote.tcb_info.as_bytes(),
            tcb_info_signature: &tcb,
            tcb_info_chain: of_quote.tcb_info_chain.as_bytes(),
            qe_identity: of_quote.qe_identity.as_bytes(),
            qe_identity_signature: &qe,
            qe_identity_chain: of_quote.qe_identity_chain.as_bytes(),
            root_crl: &root_crl,
            pck_crl: &pck_crl,
            pck_crl_chain: Some(of_collateral.pck_crl_chain.as_bytes()),
        };
        let roots = Roots::from_certificates(&[&base64(&of_quote.root)]).expect("a root");
        let policy = toml::from_str(&of_quote.policy).expect("a policy");
        // The last second of the one that ends.
        let now = ending.now - 1;
        let by = Source::Bundle(&bundle, &roots);
        let (authentic, _) =
            sgx::authentic(&quote, by, &policy, &Platforms::Any, now, PROVIDER).expect("good at this instant");
        let end = authentic.claims().platform.collateral_end;
        assert!(if ends { end == now } else { end > now }, "{end}");
    }
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
