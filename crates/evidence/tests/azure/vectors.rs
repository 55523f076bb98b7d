//! The committed vectors of `spec/vectors/azure`, read as a stranger would.
//!
//! Each file is one case of a simulated virtual machine: everything the verifier gets, and the id of the check that
//! must be the primary failure, or `ok`. Every rule that begins with `azure.` must have a file that breaks it; those of
//! the hardware have theirs in `spec/vectors/snp` and `dcap`.

use crate::support::provider::PROVIDER;
use crate::support::vectors::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::azure::{
    AzureClaims, CHECKS_SNP, CHECKS_TDX, Evidence, Hardware, Input, Policy, TpmQuote, authentic, verify,
};
use evidence::dcap::{Bundle, Platforms, Roots, Source};
use evidence::{Expected, Outcome, Skip, Verdict, Verified, snp};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    pub(crate) expect: String,
    pub(crate) now: u64,
    pub(crate) azure_policy: String,
    pub(crate) policy: String,
    expected_report_data: String,
    expected_launch_field: String,
    hcl_report: String,
    message: String,
    signature: String,
    pcrs: Vec<String>,
    pub(crate) snp: Option<Snp>,
    tdx: Option<Tdx>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snp {
    ark: String,
    ask: String,
    vcek: String,
    crl: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tdx {
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

pub(crate) fn files() -> Vec<(String, File)> {
    let files = vectors::<File>("azure");
    assert!(files.iter().all(|(_, file)| !file.about.is_empty()));
    files
}

fn hexadecimal<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).expect("hexadecimal").try_into().unwrap_or_else(|_| panic!("not {N} bytes: {text}"))
}

fn base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

/// Calls with the hardware's part of the evidence.
fn on<T>(file: &File, judge: impl FnOnce(Hardware<'_>) -> T) -> T {
    match (&file.snp, &file.tdx) {
        (Some(Snp { ark, ask, vcek, crl }), None) => judge(Hardware::Snp {
            vcek: &base64(vcek),
            ask: Some(&base64(ask)),
            crl: Some(&base64(crl)),
            collateral: snp::Collateral { roots: &snp::Roots::from_arks(&[&base64(ark)]).expect("a root"), crl: None }
                .into(),
            policy: &toml::from_str(&file.policy).expect("a policy"),
            platforms: &snp::Platforms::Any,
        }),
        (None, Some(tdx)) => {
            let (root_crl, pck_crl) = (base64(&tdx.root_crl), base64(&tdx.pck_crl));
            let bundle = Bundle {
                tcb_info: tdx.tcb_info.as_bytes(),
                tcb_info_signature: &hexadecimal::<64>(&tdx.tcb_info_signature),
                tcb_info_chain: tdx.tcb_info_chain.as_bytes(),
                qe_identity: tdx.qe_identity.as_bytes(),
                qe_identity_signature: &hexadecimal::<64>(&tdx.qe_identity_signature),
                qe_identity_chain: tdx.qe_identity_chain.as_bytes(),
                root_crl: &root_crl,
                pck_crl: &pck_crl,
                pck_crl_chain: Some(tdx.pck_crl_chain.as_bytes()),
            };
            let roots = Roots::from_certificates(&[&base64(&tdx.root)]).expect("a root");
            judge(Hardware::Tdx {
                quote: &base64(&tdx.quote),
                collateral: Source::Bundle(&bundle, &roots),
                policy: &toml::from_str(&file.policy).expect("a policy"),
                platforms: &Platforms::Any,
            })
        }
        _ => panic!("one hardware"),
    }
}

/// What a file has of evidence, but for the hardware's part.
#[derive(Clone)]
pub(crate) struct Bytes {
    pub(crate) hcl_report: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pcrs: Vec<[u8; 32]>,
}

impl Bytes {
    fn evidence(&self) -> Evidence<'_> {
        let quote = TpmQuote { message: &self.message, signature: &self.signature, pcrs: &self.pcrs };
        Evidence { hcl_report: &self.hcl_report, quote }
    }
}

impl File {
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes {
            hcl_report: base64(&self.hcl_report),
            message: hex::decode(&self.message).expect("hexadecimal"),
            signature: hex::decode(&self.signature).expect("hexadecimal"),
            pcrs: self.pcrs.iter().map(|pcr| hexadecimal(pcr)).collect(),
        }
    }

    fn policy(&self) -> Policy {
        toml::from_str(&self.azure_policy).expect("a policy")
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected {
            report_data: hexadecimal(&self.expected_report_data),
            launch_field: hexadecimal(&self.expected_launch_field),
        }
    }

    /// Judges evidence against the file's expectation.
    pub(crate) fn verify(&self, bytes: &Bytes) -> Result<(Verified<AzureClaims>, Verdict), Verdict> {
        let (evidence, policy, expected, now) = (bytes.evidence(), &self.policy(), self.expected(), self.now);
        on(self, |hardware| verify(Input { evidence, hardware, expected, policy, now }, PROVIDER))
    }

    pub(crate) fn judge(&self, bytes: &Bytes) -> Result<Verdict, Verdict> {
        self.verify(bytes).map(|(verified, verdict)| {
            assert!(verified.claims().collateral_end() >= self.now);
            assert_eq!(*verified.expected(), self.expected());
            verdict
        })
    }
}

/// A good file, and its bytes.
pub(crate) fn control(wanted: &str) -> (File, Bytes) {
    let (_, file) = files().into_iter().find(|(name, _)| name == wanted).expect("a file");
    let bytes = file.bytes();
    (file, bytes)
}

/// Judges a file against its expectation, and against none, which must say the same of all but the binding.
fn judge(name: &str, file: &File) -> Result<Verdict, Verdict> {
    let bytes = file.bytes();
    let verdict = file.judge(&bytes);
    let (evidence, policy, now) = (bytes.evidence(), &file.policy(), file.now);
    let binding = ["azure.report_data", "azure.launch_field"];
    let unbound = on(file, |hardware| authentic(evidence, hardware, policy, now, PROVIDER));
    let (whole, unbound) = match (&verdict, unbound) {
        (Ok(whole), Ok((_, unbound))) => (whole, unbound),
        (Err(whole), Ok((_, unbound))) => {
            assert!(whole.failures().all(|check| binding.contains(&check.id)), "{name}");
            (whole, unbound)
        }
        (Err(whole), Err(unbound)) => (whole, unbound),
        (Ok(_), Err(_)) => panic!("{name}: bound, but not authentic"),
    };
    for (bound, unbound) in whole.checks.iter().zip(&unbound.checks) {
        let outcome = if binding.contains(&bound.id) && unbound.outcome != Outcome::Skipped(Skip::NotReached) {
            Outcome::Skipped(Skip::NotAsked)
        } else {
            bound.outcome
        };
        assert_eq!(unbound.outcome, outcome, "{name}: {}", bound.id);
    }
    verdict
}

#[test]
fn every_vector_ends_as_it_says() {
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() > 80);
    for (name, file) in files {
        let (found, verdict) = match judge(&name, &file) {
            Ok(verdict) => ("ok".to_owned(), verdict),
            Err(verdict) => {
                assert!(!verdict.passed(), "{name}");
                (verdict.primary().map_or("nothing", |check| check.id).to_owned(), verdict)
            }
        };
        let rules = if file.snp.is_some() { CHECKS_SNP } else { CHECKS_TDX };
        assert!(verdict.checks.iter().map(|check| check.id).eq(rules.iter().map(|rule| rule.id)), "{name}");
        for check in verdict.failures() {
            let texts = [check.expected.as_ref(), check.found.as_ref(), check.source, check.remedy];
            assert!(texts.iter().all(|text| !text.is_empty()), "{name}: {check:?}");
        }
        if found != file.expect {
            let all: Vec<_> = verdict.failures().map(|check| (check.id, &check.found)).collect();
            wrong.push(format!("{name} ({}): expected {}, found {found}: {all:?}", file.about, file.expect));
        }
        // The hardware's own rules ask for the same hash.
        let own = if file.snp.is_some() { "snp.report_data" } else { "tdx.report_data" };
        let hashed = verdict.failures().any(|check| check.id == own);
        assert_eq!(hashed, file.expect == "azure.runtime.hash", "{name}: {own}");
        // Nothing is left out but for a reason.
        for check in &verdict.checks {
            let unreached = check.outcome == Outcome::Skipped(Skip::NotReached);
            assert!(!(unreached && found == "ok"), "{name}: {}", check.id);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_of_the_wrapping_is_broken_by_a_vector() {
    let files = files();
    let expected: BTreeSet<&str> = files.iter().map(|(_, file)| file.expect.as_str()).collect();
    let rules: BTreeSet<&str> = CHECKS_SNP.iter().chain(CHECKS_TDX).map(|rule| rule.id).collect();
    let unbroken: Vec<_> = rules.difference(&expected).filter(|id| id.starts_with("azure.")).collect();
    assert!(unbroken.is_empty(), "{unbroken:?}");
    let unknown: Vec<_> = expected.difference(&rules).filter(|id| **id != "ok").collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
