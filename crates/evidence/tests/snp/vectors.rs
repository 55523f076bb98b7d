//! The committed vectors of `spec/vectors/snp`, read as a stranger would.
//!
//! Each file is one case of simulated hardware: everything the verifier gets, and the id of the
//! check that must be the primary failure, or `ok`. Every rule must have a file that breaks it.

use crate::support::provider::PROVIDER;
use crate::support::vectors::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::snp::{CHECKS, Collateral, Input, Platforms, Policy, Roots, Settings, SnpClaims, SnpEvidence, verify};
use evidence::{Expected, Outcome, Skip, Verdict, Verified};
use serde::Deserialize;
use std::collections::BTreeSet;

/// One file: reports in hexadecimal, certificates and lists as base64 of DER.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    expect: String,
    now: u64,
    policy: String,
    platforms: Option<Vec<String>>,
    expected_report_data: String,
    expected_host_data: String,
    ark: String,
    ask: Option<String>,
    vcek: String,
    crl: Option<String>,
    report: String,
}

/// A case, decoded.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) expect: String,
    pub(super) now: u64,
    pub(super) policy: Policy,
    pub(super) platforms: Platforms,
    pub(super) expected: Expected,
    pub(super) roots: Roots,
    pub(super) ask: Option<Vec<u8>>,
    pub(super) vcek: Vec<u8>,
    pub(super) crl: Option<Vec<u8>>,
    pub(super) report: Vec<u8>,
}

impl Case {
    pub(super) fn evidence(&self) -> SnpEvidence<'_> {
        let (ask, crl) = (self.ask.as_deref(), self.crl.as_deref());
        SnpEvidence { report: &self.report, vcek: &self.vcek, ask, crl }
    }

    pub(super) fn verify(&self) -> Result<(Verified<SnpClaims>, Verdict), Verdict> {
        let input = Input {
            evidence: self.evidence(),
            expected: self.expected,
            collateral: Collateral { roots: &self.roots, crl: None }.into(),
            policy: &self.policy,
            platforms: &self.platforms,
            now: self.now,
        };
        verify(input, PROVIDER)
    }
}

/// All committed cases, by name.
pub(super) fn cases() -> Vec<Case> {
    vectors("snp").into_iter().map(|(name, file)| case(name, file)).collect()
}

fn case(name: String, file: File) -> Case {
    assert!(!file.about.is_empty(), "{name}");
    let base64 = |text: &String| STANDARD.decode(text).expect("base64");
    let hex = |text: &String| hex::decode(text).expect("hexadecimal");
    Case {
        expect: file.expect,
        now: file.now,
        policy: toml::from_str(&file.policy).unwrap_or_else(|error| panic!("{name}: {error}")),
        platforms: match file.platforms {
            None => Platforms::Any,
            Some(list) => Platforms::Only(list.iter().map(|text| text.parse().expect("a platform")).collect()),
        },
        expected: Expected {
            report_data: hex(&file.expected_report_data).try_into().expect("64 bytes"),
            launch_field: hex(&file.expected_host_data).try_into().expect("32 bytes"),
        },
        roots: Roots::from_arks(&[&base64(&file.ark)]).expect("a root"),
        ask: file.ask.as_ref().map(base64),
        vcek: base64(&file.vcek),
        crl: file.crl.as_ref().map(base64),
        report: hex(&file.report),
        name,
    }
}

#[test]
fn every_vector_ends_as_it_says() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (found, verdict) = match case.verify() {
            Ok((verified, verdict)) => {
                let claims = verified.claims();
                assert_eq!(claims.report_data, case.expected.report_data, "{}", case.name);
                assert_eq!(claims.host_data, case.expected.launch_field, "{}", case.name);
                assert!(claims.collateral_end >= case.now, "{}", case.name);
                ("ok".to_owned(), verdict)
            }
            Err(verdict) => {
                let primary = verdict.primary().expect("a refusal has a cause");
                (primary.id.to_owned(), verdict)
            }
        };
        for check in verdict.failures() {
            let texts = [check.expected.as_ref(), check.found.as_ref(), check.source, check.remedy];
            assert!(texts.iter().all(|text| !text.is_empty()), "{}: {check:?}", case.name);
        }
        if found != case.expect {
            wrong.push(format!("{}: expected {}, found {found}", case.name, case.expect));
        }
        complete(&case.name, &verdict);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every rule once and in order, with everything a reader needs; nothing unreached in a success.
fn complete(name: &str, verdict: &Verdict) {
    let listed: Vec<_> = verdict.checks.iter().map(|check| check.id).collect();
    let rules: Vec<_> = CHECKS.iter().map(|rule| rule.id).collect();
    assert_eq!(listed, rules, "{name}");
    for check in &verdict.checks {
        assert!(!check.found.is_empty(), "{name}: {} found nothing", check.id);
        assert!(!check.source.is_empty() && !check.remedy.is_empty(), "{name}: {}", check.id);
        if check.outcome == Outcome::Fail {
            assert!(!check.expected.is_empty(), "{name}: {} expected nothing", check.id);
        }
    }
    let unreached = Outcome::Skipped(Skip::NotReached);
    let unreached = verdict.checks.iter().filter(|check| check.outcome == unreached).count();
    assert_eq!(verdict.passed(), verdict.primary().is_none(), "{name}");
    assert!(!verdict.passed() || unreached == 0, "{name}");
}

#[test]
fn every_rule_has_a_vector_that_breaks_it_and_a_control() {
    let expected: BTreeSet<String> = cases().into_iter().map(|case| case.expect).collect();
    let rules = CHECKS.iter().map(|rule| rule.id.to_owned()).chain(["ok".to_owned()]);
    assert_eq!(expected, rules.collect());
}

#[test]
fn independent_failures_are_all_reported() {
    let mut case = control("ok-genoa-v5");
    assert!(case.verify().is_ok(), "control");
    case.expected.launch_field[0] ^= 1;
    case.platforms = Platforms::Only(vec!["csp:nobody".parse().expect("a platform")]);
    case.crl = None;
    let verdict = case.verify().expect_err("three things are wrong");
    let failed: Vec<_> = verdict.failures().map(|check| check.id).collect();
    assert_eq!(failed, ["snp.crl.present", "snp.platform.allowed", "snp.host_data"]);
}

#[test]
fn a_list_of_the_verifier_goes_before_the_attesters() {
    let case = control("ok-genoa-v5");
    let revoking = cases().into_iter().find(|case| case.expect == "snp.ask.revoked").expect("every rule has a vector");
    assert_eq!(case.roots, revoking.roots, "both on one line");
    let judge = |crl| {
        let collateral = Collateral { roots: &case.roots, crl };
        let input = Input {
            evidence: case.evidence(),
            expected: case.expected,
            collateral: collateral.into(),
            policy: &case.policy,
            platforms: &case.platforms,
            now: case.now,
        };
        verify(input, PROVIDER).map(|_| ()).map_err(|verdict| verdict.primary().map(|c| c.id))
    };
    assert_eq!(judge(None), Ok(()));
    assert_eq!(judge(revoking.crl.as_deref()), Err(Some("snp.ask.revoked")));
}

/// The digest in such a report is of zeros, and so not even that of a key.
#[test]
fn without_an_id_block_no_id_key_is_found() {
    let verdict = control("id-key-missing").verify().expect_err("a demand that is not met");
    let check = verdict.primary().expect("a cause");
    assert_eq!((check.id, check.found.as_ref()), ("snp.id_key.allowed", "none"));
}

#[test]
fn the_vector_of_every_policy_key_has_every_key() {
    // No `..`: a key added later must be stated there.
    let Settings {
        signer,
        hash,
        hash_blacklist,
        id_key_digest,
        id_key_digest_blacklist,
        minimum_guest_svn,
        family_id,
        image_id,
        any_measurement,
        abi,
        policy_flags,
        platform_info_flags,
        minimum_tcb,
        minimum_firmware,
        mitigations,
        refused_products,
        // Their defaults, which other vectors change.
        vmpl: _,
        crl: _,
        insecure_debug: _,
    } = control("ok-every-policy-key").policy.into();
    for list in [signer, hash, hash_blacklist, id_key_digest, id_key_digest_blacklist] {
        assert!(list.is_some());
    }
    assert!(minimum_guest_svn.is_some() && family_id.is_some() && image_id.is_some());
    assert!(abi.is_some() && policy_flags.is_some() && platform_info_flags.is_some());
    assert!(minimum_tcb.is_some() && minimum_firmware.is_some() && mitigations.is_some() && refused_products.is_some());
    assert!(!any_measurement, "it contradicts the lists");
}

#[test]
fn simulated_hardware_is_refused_under_amds_roots() {
    let mut case = control("ok-milan-v3");
    assert!(case.verify().is_ok(), "control");
    case.roots = Roots::amd();
    let verdict = case.verify().expect_err("a root nobody pinned");
    assert_eq!(verdict.primary().map(|check| check.id), Some("snp.ark.trusted"));
}

#[test]
fn the_verdict_is_readable_json() {
    let (_, verdict) = control("ok-turin-v5").verify().expect("control");
    let json = serde_json::to_value(&verdict).expect("serializes");
    let first = &json["checks"][0];
    assert_eq!(first["id"], "snp.report.size");
    assert_eq!(first["outcome"], "pass");
    let flags = json["checks"].as_array().expect("a list");
    let flags = flags.iter().find(|check| check["id"] == "snp.policy.flags").expect("a rule");
    assert_eq!(flags["outcome"], "not_asked");
}

/// A case that succeeds as it is, to be changed in one place.
pub(super) fn control(name: &str) -> Case {
    let found = cases().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("no vector {name}"))
}
