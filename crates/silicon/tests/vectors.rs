//! The committed vectors: they are what the generator writes, and the verifier says what they
//! expect.
//!
//! Refuses: a stale or extra file, a check without a vector, a vector whose first failure is
//! another one.

#[path = "../examples/vectors/cases/mod.rs"]
mod cases;

use std::collections::BTreeSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cases::Vector;
use evidence::snp::{CHECKS, Collateral, Input, Platforms, Policy, Roots, SnpEvidence, verify};
use evidence::{AwsLc, Expected};

#[test]
fn the_committed_files_are_what_the_generator_writes() {
    let cases = cases::all();
    let names: BTreeSet<String> = cases.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(names.len(), cases.len(), "two cases with one name");
    let files: BTreeSet<String> = fs::read_dir(cases::folder())
        .expect("spec/vectors/snp")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(files, names, "run: cargo run -p silicon --example vectors");
    for (name, vector) in cases {
        let file = fs::read_to_string(cases::folder().join(&name).with_extension("json")).expect("listed above");
        assert!(file == vector.to_json(), "{name} is stale; run: cargo run -p silicon --example vectors");
    }
}

#[test]
fn every_vector_gives_its_expected_primary_check() {
    let mut wrong = Vec::new();
    for (name, vector) in committed() {
        let found = judge(&vector);
        if found != vector.expect {
            wrong.push(format!("{name}: expected {}, found {found}", vector.expect));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_check_has_a_vector_and_every_vector_a_check() {
    let expected: BTreeSet<String> = committed().into_iter().map(|(_, vector)| vector.expect).collect();
    let checks: BTreeSet<String> = CHECKS.iter().map(|rule| rule.id.to_owned()).chain(["ok".to_owned()]).collect();
    assert_eq!(expected, checks);
}

/// The files, read as a stranger would.
fn committed() -> Vec<(String, Vector)> {
    let mut all: Vec<(String, Vector)> = fs::read_dir(cases::folder())
        .expect("spec/vectors/snp")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (path.display().to_string(), serde_json::from_str(&text).expect("a vector"))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// `ok` or the id of the first failing check.
fn judge(vector: &Vector) -> String {
    let bytes = |text: &String| STANDARD.decode(text).expect("base64");
    let ark = bytes(&vector.ark);
    let roots = Roots::from_arks(&[&ark]).expect("a root certificate");
    let (ask, crl) = (vector.ask.as_ref().map(bytes), vector.crl.as_ref().map(bytes));
    let (vcek, report) = (bytes(&vector.vcek), hex::decode(&vector.report).expect("hexadecimal"));
    let policy: Policy = toml::from_str(&vector.policy).expect("an [snp] section");
    let platforms = vector
        .platforms
        .as_ref()
        .map_or(Platforms::Any, |all| Platforms::Only(all.iter().map(|id| id.parse().expect("a chip id")).collect()));
    let mut expected = Expected { report_data: [0; 64], launch_field: [0; 32] };
    hex::decode_to_slice(&vector.expected_report_data, &mut expected.report_data).expect("64 bytes");
    hex::decode_to_slice(&vector.expected_host_data, &mut expected.launch_field).expect("32 bytes");
    let input = Input {
        evidence: SnpEvidence { report: &report, vcek: &vcek, ask: ask.as_deref(), crl: crl.as_deref() },
        expected,
        collateral: Collateral { roots: &roots, crl: None },
        policy: &policy,
        platforms: &platforms,
        now: vector.now,
    };
    match verify(input, &AwsLc) {
        Ok(_) => "ok".into(),
        Err(verdict) => verdict.primary().expect("a refusal has a reason").id.into(),
    }
}
