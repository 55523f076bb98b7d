//! `dcap-qvl`, of SGX and TDX.

use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use crate::support::vectors::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use evidence::dcap::{Bundle, Platforms, Roots, Source};
use evidence::{Verdict, tdx};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Rules that stand for what a policy of ours says or defaults to; `dcap-qvl` leaves them to its caller.
const POLICY: &[&str] = &[
    "dcap.platform.allowed",
    "dcap.platform.configuration",
    "dcap.platform.product",
    "dcap.tcb.advisories_allowed",
    "dcap.tcb.advisories_rejected",
    "dcap.tcb.evaluation",
    "dcap.tcb.status",
    "sgx.attributes.features",
    "sgx.attributes.fixed",
    "sgx.config_id",
    "sgx.extended_product_id",
    "sgx.family_id",
    "sgx.measurement.allowed",
    "sgx.measurement.denied",
    "sgx.misc_select",
    "sgx.product_id",
    "sgx.report_data",
    "sgx.security_version",
    "sgx.signer.allowed",
    "tdx.config_id",
    "tdx.measurement.allowed",
    "tdx.measurement.denied",
    "tdx.module.allowed",
    "tdx.owner",
    "tdx.owner_config",
    "tdx.report_data",
    "tdx.rtmr0",
    "tdx.rtmr1",
    "tdx.rtmr2",
    "tdx.rtmr3",
    "tdx.xfam",
];

/// Good vectors that `dcap-qvl` does not read as they are meant, and what it does instead.
const UNREAD: &[(&str, &str)] = &[
    ("ok-level-order", "tries levels in the order of the document"),
    ("ok-tcb-info-2", "reads TCB info of version 3 alone"),
    ("ok-without-qe-identity", "never does without a QE identity"),
];

/// Vectors that we say no to and `dcap-qvl` does not, and what it does instead.
const STRICTER: &[(&str, &str)] = &[
    ("sgx-ca-of-any-length", "asks the CA for no path length"),
    ("sgx-pck-type", "takes an unknown SGX type for a number"),
    ("sgx-pck_crl-not-yet-valid", "does not compare thisUpdate"),
    ("sgx-root_crl-not-yet-valid", "does not compare thisUpdate"),
    ("sgx-root_crl-without-the-right", "does not ask whether the root may sign lists"),
    ("sgx-qe-reserved", "does not look at reserved bytes of the QE report"),
    ("sgx-reserved", "does not look at reserved bytes of the report"),
    ("sgx-qe_identity-unknown-field", "skips fields that it does not know"),
    ("sgx-tcb_info-unknown-field", "skips fields that it does not know"),
    ("sgx-qe_signer-of-another-name", "takes whomever the root certified for the signer"),
    ("sgx-tcb_signer-of-another-name", "takes whomever the root certified for the signer"),
    ("tdx-ca-of-another-name", "takes whomever the root certified for the CA of PCKs"),
    ("sgx-quote-longer", "stops reading signature data where its parts end"),
    ("sgx-quote-tail", "does not look behind the quote"),
    ("sgx-quote-too-long", "has no limit"),
    ("sgx-root-expired", "does not look at the dates of the root"),
    ("sgx-tcb_info-advisories", "has no limit"),
    ("sgx-qe_identity-advisories", "has no limit"),
    ("tdx-tcb_info-module-twice", "takes the first of a version"),
    ("sgx-tcb_info-components", "does not look at TDX components of SGX TCB info"),
    ("sgx-tcb_info-pce-id", "does not compare the PCE"),
    ("sgx-tcb_info-relaunch", "looks at the status of the level that matches alone"),
    ("sgx-tcb_info-tcb-type", "does not look at how components are compared"),
    ("sgx-tcb_info-version", "takes any version but 0 and 1"),
    ("sgx-tcb_signer-many", "takes chains of any length whose first certificate the root signed"),
    ("sgx-tcb_signer-no-pem", "takes certificates out of any text"),
    ("tdx-attribute-not-listed", "has no list of attributes that a TD may have"),
];

/// Vectors that are good under a policy of ours with this line, and that `dcap-qvl` refuses whatever its caller allows.
const LAXER: &[(&str, &str, &str)] = &[
    ("tdx-sept-ve", "sept_ve_disable = \"optional\"", "refuses every TD without SEPT_VE_DISABLE"),
    ("tdx-migratable", "attributes = [\"Migratable\"]", "refuses every TD that can be migrated"),
];

/// One vector: what is in it for others, too.
#[derive(Deserialize)]
struct Vector {
    expect: String,
    now: u64,
    policy: String,
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

impl Vector {
    /// Our verdict, under its policy with a line more.
    fn ours(&self, line: &str) -> Result<(), Verdict> {
        let base64 = |text: &str| STANDARD.decode(text).expect("base64");
        let hexadecimal = |text: &str| hex::decode(text).expect("hexadecimal");
        let (root_crl, pck_crl) = (base64(&self.root_crl), base64(&self.pck_crl));
        let bundle = Bundle {
            tcb_info: self.tcb_info.as_bytes(),
            tcb_info_signature: &hexadecimal(&self.tcb_info_signature),
            tcb_info_chain: self.tcb_info_chain.as_bytes(),
            qe_identity: self.qe_identity.as_bytes(),
            qe_identity_signature: &hexadecimal(&self.qe_identity_signature),
            qe_identity_chain: self.qe_identity_chain.as_bytes(),
            root_crl: &root_crl,
            pck_crl: &pck_crl,
            pck_crl_chain: Some(self.pck_crl_chain.as_bytes()),
        };
        let roots = Roots::from_certificates(&[&base64(&self.root)]).expect("a root");
        let policy = toml::from_str(&(self.policy.clone() + line)).expect("a policy");
        let source = Source::Bundle(&bundle, &roots);
        tdx::authentic(&base64(&self.quote), source, &policy, &Platforms::Any, self.now, PROVIDER).map(|_| ())
    }

    fn judge(self) -> Result<VerifiedReport, String> {
        let base64 = |text: &str| STANDARD.decode(text).expect("base64");
        let hexadecimal = |text: &str| hex::decode(text).expect("hexadecimal");
        let collateral = QuoteCollateralV3 {
            pck_crl_issuer_chain: self.pck_crl_chain,
            root_ca_crl: base64(&self.root_crl),
            pck_crl: base64(&self.pck_crl),
            tcb_info_issuer_chain: self.tcb_info_chain,
            tcb_info: self.tcb_info,
            tcb_info_signature: hexadecimal(&self.tcb_info_signature),
            qe_identity_issuer_chain: self.qe_identity_chain,
            qe_identity: self.qe_identity,
            qe_identity_signature: hexadecimal(&self.qe_identity_signature),
            pck_certificate_chain: None,
        };
        let verifier = QuoteVerifier::new(base64(&self.root))
            .allow_debug(self.policy.contains("insecure_debug = true"))
            .allow_service_td(self.policy.contains("service_td"));
        verifier.verify(&base64(&self.quote), &collateral, self.now).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn vectors_end_alike_but_for_the_differences_that_are_listed() {
    let mut differ = BTreeSet::new();
    let mut wrong = Vec::new();
    let (mut alike, mut by_policy) = (0, BTreeSet::new());
    for (name, vector) in vectors::<Vector>("dcap") {
        let expect = vector.expect.clone();
        let (judged, of_policy) = (vector.judge(), POLICY.contains(&expect.as_str()));
        match (expect == "ok", &judged) {
            (true, Err(_)) if UNREAD.iter().any(|row| row.0 == name) => {}
            (true, Err(error)) => wrong.push(format!("{name}: only it refuses: {error}")),
            (true, Ok(_)) if UNREAD.iter().any(|row| row.0 == name) => wrong.push(format!("{name}: it accepts it too")),
            (false, Ok(_)) if of_policy => drop(by_policy.insert(expect)),
            (false, Ok(_)) => drop(differ.insert(name)),
            (false, Err(error)) if of_policy => wrong.push(format!("{name}: it has a rule for {expect}: {error}")),
            (true, Ok(_)) | (false, Err(_)) => alike += 1,
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<_> = STRICTER.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(differ, listed, "what only we refuse, and what is listed");
    assert_eq!(by_policy, POLICY.iter().map(|rule| (*rule).to_owned()).collect(), "rules of our policies");
    assert!(alike > 90, "{alike}");
}

#[test]
fn what_a_policy_may_accept_and_it_never_does_is_listed() {
    let mut vectors: BTreeMap<_, _> = vectors::<Vector>("dcap").into_iter().collect();
    for (name, line, _) in LAXER {
        let vector = vectors.remove(*name).unwrap_or_else(|| panic!("{name}"));
        assert!(vector.ours("").is_err(), "{name}: control");
        assert_eq!(vector.ours(line), Ok(()), "{name}: {line}");
        assert!(vector.judge().is_err(), "{name}: it does not");
    }
}

#[test]
fn the_manual_has_every_difference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/peers.md");
    let manual = fs::read_to_string(path).expect("the manual");
    let laxer = LAXER.iter().map(|(name, _, does)| (*name, *does));
    for (name, does) in STRICTER.iter().chain(UNREAD).copied().chain(laxer) {
        let said = manual.lines().any(|line| line.contains(&format!("`dcap/{name}`")) && line.contains(does));
        assert!(said, "{name}: {does}");
    }
    let named = manual.matches("`dcap/").count();
    assert_eq!(named, STRICTER.len() + UNREAD.len() + LAXER.len(), "others are named");
}

/// One row of `dcap-matrix/EXPECTED.json`; our own verdict of it is that of `tests/dcap/matrix.rs`.
#[derive(Deserialize)]
struct Row {
    quote: String,
    encoding: Option<String>,
    bundle: Option<String>,
    at_unix: Option<u64>,
    verdict: String,
    #[serde(default)]
    advisories: Option<Vec<String>>,
    #[serde(default)]
    debug: bool,
}

#[test]
fn recorded_quotes_have_one_verdict() {
    let Some(folder) = Folder::open() else { return };
    let rows: Vec<Row> = serde_json::from_slice(&folder.read("dcap-matrix/EXPECTED.json")).expect("rows");
    let mut judged = 0;
    for row in rows {
        let (Some(bundle), Some(now)) = (&row.bundle, row.at_unix) else { continue };
        let what = format!("{} by {bundle}", row.quote);
        let quote = folder.decoded(&row.quote, row.encoding.as_deref().unwrap_or("binary"));
        let collateral: QuoteCollateralV3 =
            serde_json::from_slice(&folder.read(&format!("dcap-matrix/{bundle}"))).expect(&what);
        let verifier = QuoteVerifier::new_prod().allow_debug(row.debug).allow_service_td(true);
        let found = verifier.verify(&quote, &collateral, now);
        judged += 1;
        if row.verdict == "REJECT" {
            assert!(found.is_err(), "{what}");
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert_eq!(found.status, row.verdict, "{what}");
        let advisories: BTreeSet<_> = found.advisory_ids.into_iter().collect();
        assert_eq!(advisories, row.advisories.into_iter().flatten().collect(), "{what}");
        if row.debug {
            let strict = QuoteVerifier::new_prod().allow_service_td(true);
            assert!(strict.verify(&quote, &collateral, now).is_err(), "{what}");
        }
    }
    assert_eq!(judged, 21);
}
