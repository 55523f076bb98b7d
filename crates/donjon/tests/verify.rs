//! `donjon verify`, `bundle`, `why` and `rehearse` as programs: what they say of real and simulated evidence, what they
//! print, with which status they exit, and that hostile files end at once.
//!
//! Real evidence is read from the folder `DONJON_EVIDENCE`; without it those tests say so and pass, unless
//! `DONJON_REQUIRE=evidence`.

#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod support;

use std::fs::{self, File};
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use identity::binding::{self, Purpose};
use identity::certificate::{self, Template};
use identity::csr::{self, Collateral, CollateralKind, Statement};
use identity::ear::{Class, Measurement, TcbStatus, Tee, VerifierId, WorkloadBinding};
use identity::{Algorithm, Nonce, Signer as _, SpiffeId};
use serde_json::{Value, json};
use silicon::{Amd, Product, ReportRequest};
use steward::signer::{Authority, Key};
use tempfile::TempDir;
use workload::{Digest, brief};

use crate::support::{Input, Ran, evidence, run};

fn donjon(dir: &Path, args: &[&str]) -> Ran {
    run(dir, args, Input::Nothing)
}

/// The objects that `--json` prints.
#[track_caller]
fn objects(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[track_caller]
fn object(dir: &Path, args: &[&str]) -> (i32, Value) {
    let ran = donjon(dir, args);
    let mut objects = objects(&ran);
    assert_eq!(objects.len(), 1, "{}", ran.stderr);
    (ran.code(), objects.remove(0))
}

fn rows(folder: &Path, matrix: &str) -> Vec<Value> {
    let text = fs::read(folder.join(matrix).join("EXPECTED.json")).expect("an oracle");
    serde_json::from_slice::<Vec<Value>>(&text).expect("rows")
}

fn string<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("{key}: {row}"))
}

/// Status and advisories are Intel's, whatever we say to them; what is refused is refused.
#[test]
fn every_quote_of_the_oracle_has_its_verdict() {
    let Some(folder) = evidence() else { return };
    let mut judged = 0;
    for row in rows(&folder, "dcap-matrix") {
        let Some(bundle) = row["bundle"].as_str() else { continue };
        let (bundle, at) = (format!("dcap-matrix/{bundle}"), row["at_unix"].to_string());
        let quote = string(&row, "quote");
        let (code, answer) = object(&folder, &["verify", quote, "--collateral", &bundle, "--at", &at, "--json"]);
        judged += 1;
        assert_eq!(answer["kind"], format!("{}-quote", string(&row, "tee").to_lowercase()), "{quote}");
        let wanted = string(&row, "verdict");
        let accepted = wanted == "UpToDate" && row["debug"] == false;
        let (status, word) = if accepted { (0, "verified") } else { (1, "refused") };
        assert_eq!((code, string(&answer, "verdict")), (status, word), "{quote}");
        assert_eq!(answer["primary"].is_null(), accepted, "{quote}");
        if wanted != "REJECT" {
            assert_eq!(answer["tcb_status"], wanted, "{quote}");
            assert_eq!(answer["advisories"], row["advisories"], "{quote}");
        }
        for check in answer["checks"].as_array().expect("checks") {
            let full = ["id", "outcome", "expected", "found", "source", "remedy"];
            assert!(full.iter().all(|key| check[key].is_string()), "{check}");
        }
    }
    assert!(judged >= 20, "{judged} rows");
}

/// With all bundles at hand, the one that speaks of the platform and is valid is taken.
#[test]
fn what_belongs_to_a_quote_is_chosen_out_of_everything() {
    let Some(folder) = evidence() else { return };
    let mut bundles: Vec<String> = fs::read_dir(folder.join("dcap-matrix/bundles"))
        .expect("bundles")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    bundles.sort();
    for row in rows(&folder, "dcap-matrix") {
        let (at, quote) = (row["at_unix"].to_string(), string(&row, "quote"));
        if row["verdict"] == "REJECT" || !row["bundle"].is_string() {
            continue;
        }
        let mut args = vec!["verify", quote, "--json", "--at", &at, "--collateral"];
        args.extend(bundles.iter().map(String::as_str));
        let (_, answer) = object(&folder, &args);
        assert!(answer["tcb_status"].is_string(), "{quote}: {}", answer["primary"]);
    }
}

/// Parts from Intel's service, as curl gets them, are as good as one object.
#[test]
fn answers_certificates_and_lists_in_files_of_their_own_are_collateral_too() {
    let Some(folder) = evidence() else { return };
    let rows = rows(&folder, "dcap-matrix");
    let row = rows.iter().find(|row| row["verdict"] == "UpToDate" && row["debug"] == false).expect("a good row");
    let bundle = fs::read(folder.join("dcap-matrix").join(string(row, "bundle"))).expect("a bundle");
    let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
    let text = |key: &str| bundle[key].as_str().expect("text").to_owned();
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("a file");
    let answer = |name: &str, key: &str| {
        format!("{{\"{name}\":{},\"signature\":\"{}\"}}", text(key), text(&format!("{key}_signature")))
    };
    write("tcb.json", answer("tcbInfo", "tcb_info").as_bytes());
    write("qe.json", answer("enclaveIdentity", "qe_identity").as_bytes());
    write("signers.pem", (text("tcb_info_issuer_chain") + &text("pck_crl_issuer_chain")).as_bytes());
    write("root.crl", &hex::decode(text("root_ca_crl")).expect("hexadecimal"));
    write("pck.pem", pem("X509 CRL", &hex::decode(text("pck_crl")).expect("hexadecimal")).as_bytes());
    let quote = folder.join(string(row, "quote")).display().to_string();
    let at = row["at_unix"].to_string();
    let parts = ["tcb.json", "qe.json", "signers.pem", "root.crl", "pck.pem"];
    let args = ["verify", &quote, "--at", &at, "--json", "--collateral"];
    let (code, all) = object(dir.path(), &[&args[..], &parts].concat());
    assert_eq!((code, &all["tcb_status"]), (0, &json!("UpToDate")), "{}", all["primary"]);
    for missing in ["tcb.json", "qe.json", "root.crl", "pck.pem"] {
        let rest: Vec<&str> = parts.into_iter().filter(|part| *part != missing).collect();
        let (code, answer) = object(dir.path(), &[&args[..], &rest].concat());
        assert_eq!((code, &answer["verdict"]), (1, &json!("refused")), "without {missing}");
        let primary =
            answer["checks"].as_array().expect("checks").iter().find(|check| check["id"] == answer["primary"]);
        assert_eq!(primary.expect("the primary")["found"], "none was given", "without {missing}");
    }
}

#[test]
fn every_report_of_the_oracle_is_as_genuine_as_it_says() {
    let Some(folder) = evidence() else { return };
    let mut judged = 0;
    for row in rows(&folder, "snp-matrix") {
        let file = string(&row, "file");
        if row["report_offset"] != 0 {
            continue;
        }
        let signers: Vec<&str> =
            row["signed_by"].as_array().expect("a list").iter().map(|by| string(by, "file")).collect();
        let Some(last) = row["signed_by"][0]["valid"][1].as_str() else { continue };
        let at = format!("{last}T00:00:00Z");
        let args = ["verify", file, "--at", &at, "--json", "--collateral"];
        let (code, answer) = object(&folder, &[&args[..], &signers].concat());
        judged += 1;
        assert_eq!(answer["kind"], "snp-report");
        if row["policy_debug"] == true {
            assert_eq!((code, &answer["primary"]), (1, &json!("snp.policy.debug")), "{file}");
            continue;
        }
        assert_eq!((code, &answer["verdict"]), (0, &json!("verified")), "{file}: {}", answer["primary"]);
        let claims = &answer["claims"];
        assert_eq!(claims["measurement"], row["measurement_hex"], "{file}");
        assert_eq!(claims["report_data"], row["report_data_hex"], "{file}");
        assert_eq!(claims["report_version"], row["version"], "{file}");
        assert_eq!(answer["tcb_status"], Value::Null);
        let not_asked = |id: &str| {
            let checks = answer["checks"].as_array().expect("checks");
            checks.iter().any(|check| check["id"] == id && check["outcome"] == "not_asked")
        };
        assert!(not_asked("snp.measurement.allowed") && not_asked("snp.crl.present"), "{file}");
    }
    assert!(judged >= 10, "{judged} reports");
}

/// A vector of `spec/vectors/snp` as files.
struct Vector {
    dir: TempDir,
    now: String,
    policy: String,
}

impl Vector {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/snp").join(name);
        let vector: Value = serde_json::from_slice(&fs::read(path).expect("a vector")).expect("JSON");
        let dir = tempfile::tempdir().expect("a folder");
        for key in ["ark", "ask", "vcek", "crl"] {
            let bytes = BASE64_STANDARD.decode(string(&vector, key)).expect("base64");
            fs::write(dir.path().join(key), bytes).expect("a file");
        }
        let report = hex::decode(string(&vector, "report")).expect("hexadecimal");
        fs::write(dir.path().join("report"), report).expect("a file");
        let policy = format!("[snp]\n{}", string(&vector, "policy"));
        fs::write(dir.path().join("policy.toml"), &policy).expect("a file");
        Self { now: vector["now"].to_string(), dir, policy }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn verify(&self, more: &[&str]) -> (i32, Value) {
        let args = ["verify", "report", "--at", &self.now, "--json", "--insecure-root", "ark"];
        object(self.path(), &[&args[..], more, &["--collateral", "vcek", "ask", "crl"]].concat())
    }
}

const NONCE: &str = "1111111111111111111111111111111111111111111111111111111111111111\
                     1111111111111111111111111111111111111111111111111111111111111111";
const BRIEF: &str = "2222222222222222222222222222222222222222222222222222222222222222";

#[test]
fn a_policy_is_asked_and_a_binding_compared() {
    let vector = Vector::read("ok-milan-v3.json");
    let (code, answer) = vector.verify(&["--policy", "policy.toml", "--nonce", NONCE, "--launch-field", BRIEF]);
    assert_eq!((code, &answer["verdict"]), (0, &json!("verified")), "{}", answer["primary"]);
    assert_eq!(answer["policy"], "policy.toml");
    let (code, answer) = vector.verify(&["--nonce", &NONCE[2..]]);
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.report_data")));
    let (code, answer) = vector.verify(&["--launch-field", &BRIEF.replace('2', "3")]);
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.host_data")));
    let policy = vector.path().join("strict.toml");
    fs::write(&policy, format!("[snp]\nhash = [\"{}\"]\n", "ab".repeat(48))).expect("a file");
    let (code, answer) = vector.verify(&["--policy", "strict.toml"]);
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.measurement.allowed")));
    fs::write(&policy, "[tdx]\nany_measurement = true\n").expect("a file");
    let (code, answer) = vector.verify(&["--policy", "strict.toml"]);
    assert_eq!((code, &answer["primary"]), (1, &json!("policy.section")));
    // A Steward's own keys are no business of evidence.
    let steward = format!("trust_domain = \"example.org\"\nany_platform = true\n{}", vector.policy);
    fs::write(&policy, steward).expect("a file");
    assert_eq!(vector.verify(&["--policy", "strict.toml"]).0, 0);
    let without_root = ["verify", "report", "--at", &vector.now, "--json", "--collateral", "vcek", "ask", "crl"];
    let (code, answer) = object(vector.path(), &without_root);
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.ark.trusted")));
}

#[test]
fn text_says_what_happened_first() {
    let vector = Vector::read("ok-milan-v3.json");
    let args =
        ["verify", "report", "--at", &vector.now, "--insecure-root", "ark", "--collateral", "vcek", "ask", "crl"];
    let ran = donjon(vector.path(), &args);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let text = ran.text();
    assert!(text.starts_with("report: snp-report, verified as of 2026-01-01T00:00:00Z, by no policy\n"), "{text}");
    assert!(text.contains("\n  not asked: ") && text.contains("snp.measurement.allowed"), "{text}");
    let ran = donjon(vector.path(), &["verify", "report", "--collateral", "vcek", "--at", &vector.now]);
    assert_eq!(ran.code(), 1);
    assert!(ran.text().contains("REFUSED") && ran.text().contains("\n    hint: "), "{}", ran.text());
    let ran = donjon(vector.path(), &["why", "snp.vek.tcb"]);
    assert_eq!(ran.code(), 0);
    assert!(ran.text().contains("REPORTED_TCB"), "{}", ran.text());
    let ran = donjon(vector.path(), &["why", "snp.vek.tbc"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("did you mean snp.vek.tcb?"), "{}", ran.stderr);
    let ran = donjon(vector.path(), &["why", "report", "--collateral", "vcek", "--at", &vector.now]);
    assert_eq!(ran.code(), 1);
    assert!(ran.text().contains("because of\n") && ran.text().contains("it passes if"), "{}", ran.text());
}

#[test]
fn a_bundle_says_the_same_without_anything_beside_it() {
    let vector = Vector::read("ok-milan-v3.json");
    let args = ["bundle", "report", "--at", &vector.now, "--insecure-root", "ark", "--policy", "policy.toml"];
    let bound = ["--nonce", NONCE, "--launch-field", BRIEF, "--out", "keep.json"];
    let ran = donjon(vector.path(), &[&args[..], &bound, &["--collateral", "vcek", "ask", "crl"]].concat());
    assert_eq!(ran.code(), 0, "{} {}", ran.text(), ran.stderr);
    let own = ["verify", "keep.json", "--insecure-root", "ark", "--json", "--own-policy"];
    let (code, answer) = object(vector.path(), &own);
    assert_eq!((code, &answer["kind"], &answer["verdict"]), (0, &json!("bundle"), &json!("verified")));
    assert_eq!((&answer["at"], &answer["at_from"]), (&json!("2026-01-01T00:00:00Z"), &json!("bundle")));
    assert_eq!(answer["policy"], "the policy in keep.json");
    for id in ["snp.report_data", "snp.host_data"] {
        let checks = answer["checks"].as_array().expect("checks");
        assert!(checks.iter().any(|check| check["id"] == id && check["outcome"] == "pass"), "{id}");
    }
    let (code, answer) = object(vector.path(), &[&own[..], &["--at", "2040-01-01T00:00:00Z"]].concat());
    assert_eq!((code, &answer["primary"], &answer["at_from"]), (1, &json!("snp.vek.expired"), &json!("option")));
    let bundle = fs::read_to_string(vector.path().join("keep.json")).expect("a bundle");
    for (from, to) in [
        ("\"donjon_evidence_bundle\": 1", "\"donjon_evidence_bundle\": 2"),
        ("\"time\":", "\"tome\":"),
        ("\"kind\": \"snp-report\"", "\"kind\": \"sev-report\""),
        ("\"time\":", "\"time\": 1, \"time\":"),
    ] {
        assert!(bundle.contains(from), "{from}");
        fs::write(vector.path().join("other.json"), bundle.replacen(from, to, 1)).expect("a file");
        let ran = donjon(vector.path(), &["verify", "other.json"]);
        assert_eq!(ran.code(), 2, "{to}: {}", ran.text());
        assert!(ran.stderr.starts_with("error: other.json: "), "{}", ran.stderr);
    }
}

/// Whoever makes a bundle chooses the policy in it.
#[test]
fn a_bundle_does_not_decide_what_it_is_judged_by() {
    let vector = Vector::read("policy-debug-milan.json");
    fs::write(vector.path().join("own.toml"), "[snp]\nany_measurement = true\ninsecure_debug = true\n")
        .expect("a file");
    let given = ["--at", &vector.now, "--insecure-root", "ark", "--policy", "own.toml"];
    let collateral = ["--collateral", "vcek", "ask", "crl"];
    let ran = donjon(vector.path(), &[&["bundle", "report", "--out", "b.json"][..], &given, &collateral].concat());
    assert_eq!(ran.code(), 0, "{}", ran.text());

    let root = ["b.json", "--insecure-root", "ark"];
    let (code, answer) = object(vector.path(), &[&["verify", "--json"][..], &root].concat());
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.policy.debug")));
    assert_eq!((&answer["policy"], &answer["ignores_own_policy"]), (&Value::Null, &json!(true)));
    let ran = donjon(vector.path(), &[&["verify"][..], &root].concat());
    for line in ["the instant is the bundle's own", "the bundle's own policy was not asked", ", by no policy\n"] {
        assert!(ran.text().contains(line), "{line}: {}", ran.text());
    }
    assert_eq!(donjon(vector.path(), &[&["why"][..], &root].concat()).code(), 1);

    for options in [&["--own-policy"][..], &["--policy", "own.toml"]] {
        let ran = donjon(vector.path(), &[&["verify"][..], &root, options].concat());
        assert_eq!(ran.code(), 0, "{}", ran.text());
        assert!(ran.text().contains("  INSECURE: the policy tolerates debugging; "), "{}", ran.text());
        let ran = donjon(vector.path(), &[&["why"][..], &root, options].concat());
        assert_eq!(ran.code(), 0);
        assert!(ran.text().contains("  INSECURE: the policy tolerates debugging; "), "{}", ran.text());
    }
    let ran = donjon(vector.path(), &[&["verify", "--own-policy", "--policy", "own.toml"][..], &root].concat());
    assert_eq!(ran.code(), 2, "one policy");
    let ran = donjon(vector.path(), &["verify", "report", "--own-policy"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("it brings no policy of its own"), "{}", ran.stderr);
}

/// Evidence of the vendors' own hardware, so that nothing but the policy is insecure.
#[test]
fn a_policy_that_tolerates_what_is_insecure_makes_every_verdict_insecure() {
    let Some(folder) = evidence() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let policy = dir.path().join("policy.toml").display().to_string();
    let args = ["verify", "azure-trustee/evidence-v1.json", "--at", "1740714290", "--policy", &policy];
    for (key, class) in [
        ("insecure_debug = true", "insecure"),
        ("[sgx]\nany_measurement = true\ninsecure_without_qe_identity = true", "insecure"),
        ("", "hardware"),
    ] {
        let text = format!("[snp]\nany_measurement = true\n{key}\n[azure]\nany_pcrs = true\n");
        fs::write(&policy, text).expect("a file");
        let (_, answer) = object(&folder, &[&args[..], &["--json"]].concat());
        assert_eq!(answer["class"], class, "{key}");
        let ran = donjon(&folder, &args);
        assert_eq!(ran.text().contains("INSECURE"), class == "insecure", "{}", ran.text());
    }
}

#[test]
fn a_policy_with_roots_of_its_own_goes_into_no_bundle() {
    let vector = Vector::read("ok-milan-v3.json");
    let policy = "class = \"insecure\"\ninsecure_roots = [\"ark\"]\n[snp]\nany_measurement = true\n";
    fs::write(vector.path().join("roots.toml"), policy).expect("a file");
    let given = ["bundle", "report", "--at", &vector.now, "--out", "b.json"];
    let collateral = ["--collateral", "vcek", "ask", "crl"];
    let ran = donjon(vector.path(), &[&given[..], &["--policy", "roots.toml"], &collateral].concat());
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("`insecure_roots`") && ran.stderr.contains("--insecure-root\n"), "{}", ran.stderr);
    assert!(!vector.path().join("b.json").exists());

    // What is trusted is no difference between an old policy and a new one.
    fs::create_dir(vector.path().join("kept")).expect("a folder");
    let given = ["bundle", "report", "--at", &vector.now, "--out", "kept/b.json", "--insecure-root", "ark"];
    assert_eq!(donjon(vector.path(), &[&given[..], &collateral].concat()).code(), 0);
    let ran = donjon(vector.path(), &["rehearse", "kept", "--policy", "roots.toml"]);
    assert_eq!(ran.code(), 0);
    assert!(ran.text().contains("kept/b.json: still accepted (of class insecure)\n"), "{}", ran.text());
    let ran = donjon(vector.path(), &["rehearse", "kept", "--policy", "roots.toml", "--json"]);
    let change: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!((&change["class_before"], &change["class_after"]), (&json!("insecure"), &json!("insecure")));

    // Somebody else's bundle may have such a policy: nobody is trusted for it, and the class is said.
    let path = vector.path().join("kept/b.json");
    let mut bundle: Value = serde_json::from_slice(&fs::read(&path).expect("a bundle")).expect("JSON");
    bundle["policy"] = json!(policy);
    fs::write(&path, bundle.to_string()).expect("a file");
    let (code, answer) = object(vector.path(), &["verify", "kept/b.json", "--own-policy", "--json"]);
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.ark.trusted")));
    assert_eq!(answer["class"], "insecure");
}

#[test]
fn a_rehearsal_says_who_would_be_refused() {
    let vector = Vector::read("ok-milan-v3.json");
    fs::create_dir(vector.path().join("kept")).expect("a folder");
    for name in ["kept/a.json", "kept/b.json"] {
        let args = ["bundle", "report", "--at", &vector.now, "--insecure-root", "ark", "--out", name];
        let ran = donjon(vector.path(), &[&args[..], &["--collateral", "vcek", "ask", "crl"]].concat());
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
    }
    let rehearse = |policy: &str| {
        fs::write(vector.path().join("new.toml"), policy).expect("a file");
        donjon(vector.path(), &["rehearse", "kept", "--policy", "new.toml", "--insecure-root", "ark"])
    };
    let ran = rehearse("[snp]\nany_measurement = true\n");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.text().contains("2 bundles: 0 that are accepted now would be refused"), "{}", ran.text());
    let ran = rehearse("[snp]\nany_measurement = true\nrefused_products = [\"milan\"]\n");
    assert_eq!(ran.code(), 1);
    assert!(
        ran.text().contains("kept/b.json: WOULD BE REFUSED (of class insecure)\n  snp.platform.product: "),
        "{}",
        ran.text()
    );
    let ran = rehearse("[snp]\nany_mesurement = true\n");
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("any_measurement"), "{}", ran.stderr);
}

/// When requests are judged.
const NOW: u64 = 1_780_000_000;
/// What requests are made for.
const NONCE_OF_REQUEST: [u8; 32] = [9; 32];
const BRIEF_OF_REQUEST: &[u8] = b"a brief";

/// A request whose report has this report data and this launch field, by the key that it is for.
fn request(nonce: &[u8], fields: impl FnOnce(&[u8]) -> ([u8; 64], [u8; 32])) -> Vec<u8> {
    let amd = Amd::from_seed([7; 32], Product::Genoa);
    let key = Key::random(Algorithm::EcdsaP256Sha256).expect("a key");
    let (report_data, host_data) = fields(key.spki());
    let report = amd.report(&ReportRequest { report_data, host_data, ..amd.request() });
    let statement = Statement {
        evidence: csr::Evidence { media_type: csr::SNP_MEDIA_TYPE.to_owned(), bytes: report.to_vec() },
        brief: BRIEF_OF_REQUEST.to_vec(),
        nonce: Nonce::new(nonce.to_vec()).expect("a nonce"),
        deployment: None,
        signature: None,
        collateral: vec![Collateral { kind: CollateralKind::Crl, bytes: amd.crl_der(NOW - 1, NOW + 1, &[]) }],
        endorsements: vec![amd.vcek_der(amd.tcb()), amd.ask_der().to_vec()],
    };
    csr::build(&statement, csr::Carrier::Attribute, &key).expect("a request")
}

/// What the report of an honest request has.
fn honest(spki: &[u8]) -> ([u8; 64], [u8; 32]) {
    let hash = brief::hash(BRIEF_OF_REQUEST);
    let nonce = Nonce::new(NONCE_OF_REQUEST.to_vec()).expect("a nonce");
    (binding::report_data(Purpose::Issue, spki, &hash, &nonce), hash)
}

/// Of somebody else's key.
fn another_key(_: &[u8]) -> ([u8; 64], [u8; 32]) {
    honest(Key::random(Algorithm::EcdsaP256Sha256).expect("a key").spki())
}

/// A folder with a request and the root of its chip.
fn folder_of(request: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("ark.pem"), Product::Genoa.ark_pem()).expect("a file");
    fs::write(dir.path().join("request"), request).expect("a file");
    dir
}

/// As the Steward judges it: the report data is of its key, its brief and its nonce.
#[test]
fn a_request_is_bound_to_its_own_key_brief_and_nonce() {
    let at = NOW.to_string();
    let good = request(&NONCE_OF_REQUEST, honest);
    let other = request(&NONCE_OF_REQUEST, another_key);
    for (der, status, primary) in [(&good, 0, Value::Null), (&other, 1, json!("snp.report_data"))] {
        let pem = pem("CERTIFICATE REQUEST", der);
        for bytes in [der, pem.as_bytes()] {
            let dir = folder_of(bytes);
            let args = ["verify", "request", "--at", &at, "--insecure-root", "ark.pem", "--json"];
            let (code, answer) = object(dir.path(), &args);
            assert_eq!((code, &answer["primary"]), (status, &primary));
            assert_eq!((&answer["kind"], &answer["class"]), (&json!("csr"), &json!("insecure")));
        }
    }
    let mut broken = good;
    *broken.last_mut().expect("bytes") ^= 1;
    let dir = folder_of(&broken);
    let ran = donjon(dir.path(), &["verify", "request"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("its sender does not hold the key"), "{}", ran.stderr);
}

/// A report that somebody published, with the nonce it was asked with, in a request for a key of whoever found it.
#[test]
fn no_option_takes_the_key_out_of_what_a_request_is_bound_to() {
    let at = NOW.to_string();
    let stolen = |nonce: &[u8]| request(nonce, |_| ([0x11; 64], [0x22; 32]));
    for der in [stolen(&NONCE_OF_REQUEST), stolen(&[0x11; 64])] {
        let dir = folder_of(&der);
        for command in [&["verify", "request", "--json"][..], &["why", "request"]] {
            for options in [&[][..], &["--nonce", NONCE, "--launch-field", BRIEF], &["--nonce", NONCE]] {
                let args = [command, &["--at", &at, "--insecure-root", "ark.pem"], options].concat();
                let ran = donjon(dir.path(), &args);
                assert_eq!(ran.code(), 1, "{args:?}: {}", ran.text());
                assert!(ran.text().contains("snp.report_data"), "{}", ran.text());
            }
        }
    }
}

#[test]
fn a_request_that_was_made_for_another_nonce_or_brief_is_refused_and_said_so() {
    let at = NOW.to_string();
    let dir = folder_of(&request(&NONCE_OF_REQUEST, honest));
    let nonce = hex::encode(NONCE_OF_REQUEST);
    let field = hex::encode(brief::hash(BRIEF_OF_REQUEST));
    let given = ["request", "--at", &at, "--insecure-root", "ark.pem"];
    let bundle = [&["bundle"][..], &given, &["--out", "kept.json"]].concat();
    let own = ["--nonce", &nonce, "--launch-field", &field];
    let (code, answer) = object(dir.path(), &[&["verify", "--json"][..], &given, &own].concat());
    assert_eq!((code, &answer["primary"]), (0, &Value::Null));
    for (options, primary, found) in [
        (["--nonce", NONCE], "snp.report_data", format!("a request with the nonce {nonce}")),
        (["--nonce", &nonce[2..]], "snp.report_data", format!("a request with the nonce {nonce}")),
        (["--launch-field", BRIEF], "snp.host_data", format!("a request with a brief whose hash is {field}")),
    ] {
        let (code, answer) = object(dir.path(), &[&["verify", "--json"][..], &given, &options].concat());
        assert_eq!((code, &answer["verdict"], &answer["primary"]), (1, &json!("refused"), &json!(primary)));
        assert_eq!(answer["claims"], Value::Null);
        let failed: Vec<_> = answer["checks"].as_array().expect("checks").iter().collect();
        let failed = failed.iter().find(|check| check["outcome"] == "fail").expect("a failure");
        assert_eq!(failed["found"], found);
        assert!(string(failed, "expected").contains(options[1]), "{failed}");
        let ran = donjon(dir.path(), &[&bundle[..], &options].concat());
        assert_eq!(ran.code(), 2, "it would be verified by whoever reads it");
        assert!(!dir.path().join("kept.json").exists());
    }
    assert_eq!(donjon(dir.path(), &[&bundle[..], &own].concat()).code(), 0);
    // In a bundle it is a request still.
    let kept = ["verify", "kept.json", "--insecure-root", "ark.pem", "--json"];
    assert_eq!(object(dir.path(), &kept).0, 0);
    let (code, answer) = object(dir.path(), &[&kept[..], &["--nonce", NONCE]].concat());
    assert_eq!((code, &answer["primary"]), (1, &json!("snp.report_data")));
}

/// Of others, who carry evidence in other ways.
#[test]
fn a_request_that_carries_its_evidence_otherwise_is_told_what_is_known() {
    let Some(folder) = evidence() else { return };
    let ran = donjon(&folder, &["verify", "envelopes-csr/tcgAttestTpmCertify.pem"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("hint: known here are those of spec/trust.md, and those of Enarx"), "{}", ran.stderr);
}

#[test]
fn requests_of_enarx_are_bound_to_their_key_and_to_nothing_else() {
    let Some(folder) = evidence() else { return };
    let snp = ["verify", "enarx/snp/milan.signed.crl.csr", "--at", "2022-12-01T00:00:00Z", "--json"];
    let (code, answer) = object(&folder, &snp);
    assert_eq!((code, &answer["kind"], &answer["primary"]), (0, &json!("csr"), &Value::Null));
    for (option, value, id) in [("--nonce", NONCE, "snp.report_data"), ("--launch-field", BRIEF, "snp.host_data")] {
        let (code, answer) = object(&folder, &[&snp[..], &[option, value]].concat());
        assert_eq!((code, &answer["primary"]), (1, &json!(id)));
    }
    let sgx = "enarx/sgx/icelake.signed.tcb.crl.single.i5.csr";
    let (code, answer) = object(&folder, &["verify", sgx, "--at", "2023-02-01T00:00:00Z", "--json"]);
    assert_eq!((code, &answer["primary"]), (1, &json!("dcap.qe_identity.format")), "they bring none");
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Keys of somebody who signs results: `key.pem` and `public.pem`.
fn result_keys(dir: &Path) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
    let pkcs8 = pair.to_pkcs8v1().expect("PKCS#8");
    let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("a public key");
    fs::write(dir.join("key.pem"), pem("PRIVATE KEY", pkcs8.as_ref())).expect("a file");
    fs::write(dir.join("public.pem"), pem("PUBLIC KEY", spki.as_ref())).expect("a file");
}

/// `donjon ear` of the result in an answer of `verify`.
fn checked(dir: &Path, answer: &Value, nonce: &str, at: &str, more: &[&str]) -> Ran {
    fs::write(dir.join("ear.jwt"), string(answer, "ear")).expect("a file");
    let args = ["ear", "ear.jwt", "--key", "public.pem", "--nonce", nonce, "--at", at];
    donjon(dir, &[&args[..], more].concat())
}

#[test]
fn a_result_can_be_checked_by_others() {
    let vector = Vector::read("ok-milan-v3.json");
    result_keys(vector.path());
    let bound = ["--nonce", NONCE, "--launch-field", BRIEF, "--ear-key", "key.pem"];
    let check = |answer: &Value, nonce: &str, at: &str| checked(vector.path(), answer, nonce, at, &["--insecure"]);
    let (code, answer) = vector.verify(&bound);
    assert_eq!(code, 0);
    let ran = check(&answer, NONCE, &vector.now);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let claims: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!(claims["submods"]["snp"]["donjon.class"], "insecure");
    assert_eq!(claims["submods"]["snp"]["ear_status"], "contraindicated", "simulated hardware");
    assert!(string(&claims["ear_verifier_id"], "developer").starts_with("https://"), "{claims}");
    assert_eq!(check(&answer, &NONCE.replace('1', "2"), &vector.now).code(), 1, "another nonce");
    assert_eq!(check(&answer, NONCE, "2026-01-03T00:00:00Z").code(), 1, "too old");
    let ran = checked(vector.path(), &answer, NONCE, &vector.now, &[]);
    assert_eq!(ran.code(), 1, "nobody said that simulated hardware will do");
    assert!(ran.stderr.contains("it is of class insecure"), "{}", ran.stderr);
    assert!(ran.text().contains("\"donjon.class\":\"insecure\""), "{}", ran.text());

    // A refusal is a result too.
    let (code, answer) = vector.verify(&["--nonce", &NONCE[2..], "--launch-field", BRIEF, "--ear-key", "key.pem"]);
    assert_eq!(code, 1);
    let ran = check(&answer, &NONCE[2..], &vector.now);
    assert_eq!(ran.code(), 1);
    let claims: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!(claims["submods"]["snp"]["donjon.failed"], json!(["snp.report_data"]));

    // So is what a request refuses.
    let dir = folder_of(&request(&NONCE_OF_REQUEST, honest));
    result_keys(dir.path());
    let at = NOW.to_string();
    let args = ["verify", "request", "--at", &at, "--insecure-root", "ark.pem", "--json", "--ear-key", "key.pem"];
    let (code, answer) = object(dir.path(), &[&args[..], &["--nonce", NONCE]].concat());
    assert_eq!(code, 1);
    let ran = checked(dir.path(), &answer, NONCE, &at, &["--insecure"]);
    assert_eq!(ran.code(), 1);
    let claims: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!(claims["submods"]["snp"]["donjon.failed"], json!(["snp.report_data"]));
}

/// Real ones: nothing about them is insecure but that they can be debugged. What is tolerated is no contradiction, and worth
/// nothing to whoever does not tolerate it.
#[test]
fn a_result_about_a_guest_that_can_be_debugged_is_of_class_insecure() {
    let Some(folder) = evidence() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    result_keys(dir.path());
    let policy = "[snp]\nany_measurement = true\ninsecure_debug = true\ncrl = \"optional\"\n";
    fs::write(dir.path().join("policy.toml"), policy).expect("a file");
    let mut judged = 0;
    for row in rows(&folder, "snp-matrix") {
        let Some(last) = row["signed_by"][0]["valid"][1].as_str() else { continue };
        if row["report_offset"] != 0 || row["policy_debug"] != true {
            continue;
        }
        let at = format!("{last}T00:00:00Z");
        let path = |name: &str| folder.join(name).display().to_string();
        let (report, signer) = (path(string(&row, "file")), path(string(&row["signed_by"][0], "file")));
        let args = ["verify", &report, "--at", &at, "--json", "--policy", "policy.toml", "--collateral", &signer];
        let (code, answer) = object(dir.path(), &args);
        assert_eq!((code, &answer["class"]), (0, &json!("insecure")), "{}", answer["primary"]);
        let (nonce, field) = (string(&answer["claims"], "report_data"), string(&answer["claims"], "host_data"));
        let bound = ["--nonce", nonce, "--launch-field", field, "--ear-key", "key.pem"];
        let (code, answer) = object(dir.path(), &[&args[..], &bound].concat());
        assert_eq!((code, &answer["class"]), (0, &json!("insecure")), "{}", answer["error"]);
        assert_eq!(checked(dir.path(), &answer, nonce, &at, &[]).code(), 1);
        assert_eq!(checked(dir.path(), &answer, nonce, &at, &["--insecure"]).code(), 0);
        judged += 1;
    }
    assert!(judged > 0, "no report of a guest that can be debugged");
}

/// The verdict is there, and why nothing was signed.
#[test]
fn a_result_that_cannot_be_made_hides_no_verdict() {
    let vector = Vector::read("ok-milan-v3.json");
    result_keys(vector.path());
    let (code, answer) = vector.verify(&["--nonce", NONCE, "--ear-key", "key.pem"]);
    assert_eq!((code, &answer["verdict"]), (2, &json!("verified")), "{answer}");
    assert!(string(&answer, "error").contains("it must be known what the evidence is bound to"));
    assert_eq!(answer["ear"], Value::Null);

    fs::write(vector.path().join("other.toml"), "[tdx]\nany_measurement = true\n").expect("a file");
    let bound = ["--nonce", NONCE, "--launch-field", BRIEF, "--ear-key", "key.pem", "--policy", "other.toml"];
    let (_, answer) = vector.verify(&bound);
    assert_eq!((&answer["verdict"], &answer["primary"]), (&json!("refused"), &json!("policy.section")));
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(!error.contains("bound to"), "{error}");

    for args in [
        &["verify", "report", "--nonce", "11", "--launch-field", BRIEF, "--ear-key", "key.pem"][..],
        &["ear", "ear.jwt", "--key", "public.pem", "--nonce", "11"],
    ] {
        let ran = donjon(vector.path(), args);
        assert_eq!(ran.code(), 2);
        let wanted = "error: --nonce: a result has a nonce of 16 to 64 bytes, and this one has 1\n";
        assert!(ran.stderr.starts_with(wanted), "{}", ran.stderr);
    }
}

/// Azure's machines, with what their agents send as one file.
#[test]
fn evidence_of_azure_is_one_file() {
    let Some(folder) = evidence() else { return };
    let args = ["verify", "azure-trustee/evidence-v1.json", "--at", "1740714290", "--json"];
    let (code, answer) = object(&folder, &args);
    assert_eq!((code, &answer["kind"], &answer["class"]), (0, &json!("azure-snp"), &json!("hardware")));
    assert_eq!(answer["claims"]["azure"]["secure_boot"], true);
    let (code, answer) = object(&folder, &[&args[..], &["--nonce", "00"]].concat());
    assert_eq!((code, &answer["primary"]), (1, &json!("azure.report_data")));
    let ran = donjon(&folder, &["verify", "azure-trustee/hcl-report.bin"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("without the TPM's quote"), "{}", ran.stderr);
}

/// What somebody does first: one file, and nothing beside it.
#[test]
fn what_is_missing_is_named_with_where_to_get_it() {
    let Some(folder) = evidence() else { return };
    for (file, lines) in [
        (
            "snp-trustee/test-report.bin",
            // Version 2 does not say which product it is.
            &["vcek/v1/{product}/c38427a3", "77524e?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115'", "version 3 and later"]
                [..],
        ),
        (
            "snp-oak/milan_oc_release_report.bin",
            &["vcek/v1/Milan/a3fdc2c6", "?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219'"],
        ),
        (
            "snp-oak/turin_oc_report.bin",
            &["Turin/3b42092f69c656d3?fmcSPL=00&blSPL=01&teeSPL=00&snpSPL=02&ucodeSPL=71'"],
        ),
        ("snp-trustee/test-vlek-report.bin", &["it is signed by a VLEK"]),
        ("dcap-qvl/tdx_quote", &["/tdx/certification/v4/tcb?fmspc=b0c06f000000'", "pckcrl?ca=platform&"]),
    ] {
        for command in ["verify", "why"] {
            let ran = donjon(&folder, &[command, file]);
            assert_eq!(ran.code(), 1);
            for line in ["found: ", "none was given\n", "give it with --collateral FILE…\n"].iter().chain(lines) {
                assert!(ran.text().contains(line), "{line}: {}", ran.text());
            }
        }
    }
}

#[test]
fn what_was_taken_for_something_else_is_called_by_its_name() {
    let vector = Vector::read("ok-milan-v3.json");
    let ran = donjon(vector.path(), &["verify", "report", "--collateral", "ask", "--at", &vector.now]);
    assert_eq!(ran.code(), 1);
    assert!(ran.text().contains("found:    none was given, but the certificate of "), "{}", ran.text());
    assert!(ran.text().contains("https://kdsintf.amd.com/vcek/v1/Milan/"), "{}", ran.text());
    let ran = donjon(vector.path(), &["verify", "crl"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.starts_with("error: crl: it is no evidence but a revocation list\n"), "{}", ran.stderr);
    let ran = donjon(vector.path(), &["verify", "report", "--insecure-root", "crl"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("a root certificate is wanted, and this is a revocation list"), "{}", ran.stderr);
    for command in ["verify", "why"] {
        let ran = donjon(vector.path(), &[command]);
        assert_eq!(ran.code(), 2);
        assert!(ran.stderr.contains(&format!("hint: donjon {command} FILE…")), "{}", ran.stderr);
    }
    // Nothing is missing where something is wrong.
    let (code, answer) = vector.verify(&["--nonce", &NONCE[2..]]);
    assert_eq!((code, &answer["hints"]), (1, &Value::Null));
}

#[test]
fn digits_mean_bytes() {
    let vector = Vector::read("ok-milan-v3.json");
    let report = fs::read(vector.path().join("report")).expect("a report");
    let hex = hex::encode(&report);
    let lines: Vec<&str> = hex.as_bytes().chunks(80).map(|line| str::from_utf8(line).expect("ASCII")).collect();
    for text in [hex.to_uppercase(), format!("0x{hex}\n"), lines.join("\r\n"), BASE64_STANDARD.encode(&report)] {
        fs::write(vector.path().join("report"), text).expect("a file");
        let (code, answer) = vector.verify(&[]);
        assert_eq!((code, &answer["kind"]), (0, &json!("snp-report")));
    }
}

/// What cannot be used ends with 2 and a reason; what is cut or too long ends with 1 at the check that says so.
#[test]
fn bad_input_is_explained() {
    let vector = Vector::read("ok-milan-v3.json");
    let report = fs::read(vector.path().join("report")).expect("a report");
    let read = |bytes: &[u8]| {
        fs::write(vector.path().join("bad"), bytes).expect("a file");
        donjon(vector.path(), &["verify", "bad", "--collateral", "vcek", "ask", "crl"])
    };
    let bomb = [vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], vec![0x30; 1000]].concat();
    let nested = [0x30, 0x80].repeat(100_000);
    for (bytes, reason) in [
        (&b""[..], "it is empty"),
        (b"  \n", "it is empty"),
        (b"\0asm\x01\0\0\0", "WebAssembly"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0", "an ELF program"),
        (b"hello, world", "neither evidence nor collateral"),
        (b"abcdef", "digits that mean"),
        (b"{}", "an object of none of the forms"),
        (b"{\"tcb_info\":", "JSON"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "a section without its end"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "is not wanted here"),
        (&bomb, "DER, but no certificate"),
        (&nested, "DER, but no certificate"),
        ("[".repeat(200_000).as_bytes(), "neither evidence nor collateral"),
        (format!("{{\"tcb_info\":{}", "[".repeat(200_000)).as_bytes(), "JSON"),
        (&vec![0xff; 1 << 20], "neither evidence nor collateral"),
        (&vec![b'a'; (1 << 20) + 1], "more than 1048576 bytes"),
    ] {
        let ran = read(bytes);
        assert_eq!(ran.code(), 2, "{reason}: {}", ran.text());
        assert!(ran.stderr.contains(reason), "{reason}: {}", ran.stderr);
        assert!(ran.stderr.len() < 600, "{}", ran.stderr);
    }
    for bytes in [&report[..1183], &report[..100], &[&report[..], &[0]].concat()] {
        let ran = read(bytes);
        assert_eq!(ran.code(), 1, "{}", ran.stderr);
        assert!(ran.text().contains("snp.report.size"), "{}", ran.text());
    }
    let ran = donjon(vector.path(), &["verify", "vcek"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("hint: it judges evidence: give it with --collateral vcek"), "{}", ran.stderr);
    let ran = donjon(vector.path(), &["verify", "report", "missing", "--at", &vector.now]);
    assert_eq!(ran.code(), 2, "the worst of all files");
    assert!(ran.text().contains("report: snp-report, REFUSED"), "{}", ran.text());
    let ran = donjon(vector.path(), &["verify", "--at", "yesterday", "report"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("an instant is expected"), "{}", ran.stderr);
}

/// Sparse, so that it costs nothing to make; nobody reads it to its end.
#[test]
fn a_file_of_a_gigabyte_is_refused_without_being_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let big = File::create(dir.path().join("big")).expect("a file");
    big.set_len(1 << 30).expect("sparse");
    let ran = donjon(dir.path(), &["verify", "big", "--json"]);
    assert_eq!(ran.code(), 2);
    assert!(objects(&ran)[0]["error"].as_str().expect("a reason").contains("more than 1048576 bytes"));
    let ran = donjon(dir.path(), &["verify", "/dev/zero"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("more than 1048576 bytes"), "{}", ran.stderr);
}

/// A chain of a Steward's, with the key of its root.
fn certified() -> (Vec<Vec<u8>>, Digest) {
    let dns = ["example.org".parse().expect("a name")];
    let made = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &dns, NOW - 60).expect("a root");
    let authority = Authority::from_pem(Class::Insecure, made.key.as_bytes(), made.certificates.as_bytes(), NOW);
    let authority = authority.expect("an authority");
    let key = Key::random(Algorithm::EcdsaP256Sha256).expect("a key");
    let id = SpiffeId::anonymous("example.org".parse().expect("a domain")).expect("a name");
    let ear = identity::Ear {
        issued_at: NOW,
        nonce: Nonce::new(NONCE_OF_REQUEST.to_vec()).expect("a nonce"),
        verifier: VerifierId { build: "steward 0".to_owned(), developer: "https://example.org".to_owned() },
        key: Digest::of(key.spki()),
        id: id.clone(),
        owner: None,
        class: Class::Insecure,
        tee: Tee::Tdx,
        product: "00906ed50000".to_owned(),
        measurement: Measurement::new([0x42; 48]).expect("a measurement"),
        signer: None,
        registers: (0..4).map(|byte| Measurement::new([byte; 48]).expect("a register")).collect(),
        brief: Digest::of(BRIEF_OF_REQUEST),
        workload: Digest::of(b"workload"),
        publisher: None,
        workload_binding: WorkloadBinding::Hardware,
        tcb: "components 7".to_owned(),
        tcb_status: TcbStatus::SWHardeningNeeded,
        advisories: vec!["INTEL-SA-00615".to_owned()],
        policy: Digest::of(b"policy"),
        platform: Digest::of(b"platform"),
    };
    let template = Template {
        spki: key.spki().to_vec(),
        dns: Vec::new(),
        not_before: NOW,
        not_after: NOW + 3600,
        serial: [0x4b; 16],
        ear: ear.sign(authority.key()).expect("an EAR"),
    };
    let leaf = certificate::issue(&template, authority.issuer(), authority.key()).expect("a certificate");
    ([&[leaf][..], authority.chain()].concat(), authority.anchor())
}

#[test]
fn a_certificate_says_what_it_is_and_is_believed_by_an_anchor_alone() {
    let (chain, anchor) = certified();
    let dir = tempfile::tempdir().expect("a folder");
    let forms = [
        ("pem", identity::pem::encode(&chain).into_bytes()),
        ("pkipath", identity::pem::encode_pkipath(&chain)),
        ("der", chain[0].clone()),
    ];
    let (anchor, other, at) = (anchor.to_string(), Digest::of(b"another").to_string(), NOW.to_string());
    for (name, bytes) in &forms {
        fs::write(dir.path().join(name), bytes).expect("a file");
        let show = |more: &[&str]| donjon(dir.path(), &[&["cert", "show", name, "--at", &at], more].concat());
        let ran = show(&[]);
        assert_eq!(ran.code(), 0, "{name}: {}", ran.stderr);
        for said in [
            "SPIFFE ID      spiffe://example.org/anonymous/keep",
            "TCB            components 7, SWHardeningNeeded",
            "advisories     INTEL-SA-00615",
            "valid          2026-05-28T20:26:40Z to 2026-05-28T21:26:40Z",
            "not verified: ",
        ] {
            assert!(ran.text().contains(said), "{name}: {said}: {}", ran.text());
        }
        assert_eq!(ran.text().matches("register ").count(), 4);
        // Whoever has the Keep's certificate alone cannot see whose it is.
        let whole = *name != "der";
        let root = format!("root           {anchor}\nonly for       example.org and below\n");
        assert_eq!(ran.text().contains(&root), whole, "{name}: {}", ran.text());
        let ran = show(&["--anchor", &anchor]);
        assert_eq!((ran.code(), ran.text().contains("\nverified: ")), (u8::from(!whole).into(), whole), "{name}");
        assert_eq!(show(&["--anchor", &other, "--anchor", &anchor]).code(), i32::from(!whole));
        let ran = show(&["--anchor", &other]);
        assert!(ran.code() == 1 && ran.text().contains("NOT VERIFIED: "), "{name}: {}", ran.text());
        let (code, answer) = object(dir.path(), &["cert", "show", name, "--at", &at, "--anchor", &anchor, "--json"]);
        assert_eq!((code, &answer["verified"]), (i32::from(!whole), &json!(whole)));
        assert_eq!(answer["ear"]["submods"]["keep"]["donjon.tee"], "tdx");
        assert_eq!((&answer["serial"], &answer["names"]), (&json!("4b".repeat(16)), &json!([])));
    }
    let late = (NOW + 3601).to_string();
    let ran = donjon(dir.path(), &["cert", "show", "pem", "--anchor", &anchor, "--at", &late]);
    assert!(ran.code() == 1 && ran.text().contains("NOT VERIFIED: "), "{}", ran.text());
    fs::write(dir.path().join("ark.pem"), Product::Genoa.ark_pem()).expect("a file");
    let ran = donjon(dir.path(), &["cert", "show", "ark.pem"]);
    assert!(ran.code() == 2 && ran.stderr.contains("openssl x509"), "{}", ran.stderr);
    fs::write(dir.path().join("none"), b"nothing").expect("a file");
    assert_eq!(donjon(dir.path(), &["cert", "show", "none"]).code(), 2);
}
