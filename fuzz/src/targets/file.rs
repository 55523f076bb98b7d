//! Files as people have them: evidence, requests, bundles, and what evidence is judged by, in all forms they are sent in.
//!
//! What must hold: what a file is said to be is what is in it; nothing is longer or more than there can be; what is said to
//! be wrong with it is short and text. Of what it judges: a verdict has every rule, an acceptance claims and a binding, and
//! its form for machines is one object. A bundle is written as one that reads the same. Signatures are right without a key,
//! so that all is reached, and counted: choosing among endorsements may take so many. Long inputs are judged with real ones,
//! which take time.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use evidence::appraisal::appraise;
use evidence::appraisal::bundle::{BundleError, Bundled};
use evidence::appraisal::file::{Content, MAX_FILE};
use evidence::appraisal::policy::Sections;
use evidence::appraisal::{
    Appraisal, Binding, Bundle, By, CHECKS, Endorsements, Evidence, File, Kind, Need, Policy, Roots,
};
use evidence::azure::envelope::Endorsement;
use evidence::azure::{self, Envelope};
use evidence::snp::report::REPORT_LEN;
use evidence::time::{date, instant};
use evidence::{AwsLc, Provider, Rule, SignatureAlgorithm, sgx, snp, tdx};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::azure::{dcap_roots, roots as snp_roots, values};
use super::dcap::long_infos;
use super::evidence::{base64, element, hexadecimal, text, vectors, whole};
use super::pki::{long_certificates, long_lists};
use super::quote::bundled;
use crate::mutate::LONGEST;
use crate::{Defect, Target, magnitude, number};

pub(crate) const FILE: Target = Target {
    name: "file",
    reads: "evidence::appraisal, files and bundles",
    short: 700,
    seeds: || seeds().to_vec(),
    run,
};

/// The instant of the vectors.
const NOW: u64 = 1_767_225_600;

/// The most signatures that are checked for one piece of evidence, and the most bytes they are over.
const CHECKED: (usize, usize) = (160, 36 << 20);

/// Signatures without keys, or real ones, counted.
#[derive(Default)]
struct Counted {
    real: bool,
    checked: Cell<usize>,
    bytes: Cell<usize>,
}

impl Provider for Counted {
    fn verify(&self, algorithm: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.checked.set(self.checked.get() + 1);
        self.bytes.set(self.bytes.get() + message.len());
        !self.real || AwsLc.verify(algorithm, spki, message, signature)
    }
}

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let mut happened = times(input);
    let file = match File::read(input) {
        Ok(file) => file,
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() <= 400, "an error of {} bytes: {said}", said.len());
            assert!(!said.chars().any(char::is_control), "an error says what is no text: {said:?}");
            happened.push(number(&said.split(['`', '"', '0', '1', '2', '3']).next()));
            return happened;
        }
    };
    assert!(input.len() <= MAX_FILE, "longer than any");
    assert!(agrees(&file), "{} is something else", file.kind);
    happened.push(number(&file.kind));
    match &file.content {
        Content::Evidence(evidence, endorsements) => {
            happened.push(bounded(endorsements));
            happened.extend(judged(evidence, endorsements, None, Binding::default(), NOW, input.len()).1);
            let bundle = Bundle {
                evidence: Bundled::Evidence(evidence.clone()),
                endorsements: endorsements.clone(),
                policy: None,
                nonce: None,
                launch_field: None,
                time: NOW,
            };
            comes_back(&bundle);
        }
        Content::Csr(der) => assert!(der.len() <= input.len()),
        Content::Bundle(bundle) => happened.extend(of_bundle(bundle, defect, input.len())),
        // Whatever they are, they are chosen from.
        Content::Endorsements(endorsements) => {
            happened.push(bounded(endorsements));
            for evidence in known() {
                happened.extend(judged(evidence, endorsements, None, Binding::default(), NOW, input.len()).1);
            }
        }
    }
    happened
}

/// Instants, there and back.
fn times(input: &[u8]) -> Vec<u64> {
    let seconds = input.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    // All of its size, and such as have a date.
    for seconds in [seconds, seconds % (1 << 38)] {
        let text = date(seconds);
        assert!(text.starts_with("second ") || instant(&text) == Some(seconds), "{text}");
        assert_eq!(instant(&seconds.to_string()), Some(seconds));
    }
    let text = String::from_utf8_lossy(&input[..input.len().min(40)]);
    match instant(&text) {
        Some(seconds) => {
            let written = date(seconds);
            assert!(written.starts_with("second ") || instant(&written) == Some(seconds), "{text}: {written}");
            vec![1]
        }
        None => vec![],
    }
}

/// Whether the kind is that of the content, by its first bytes.
fn agrees(file: &File) -> bool {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    match (&file.content, file.kind) {
        (Content::Evidence(Evidence::Snp(report), endorsements), kind) => match kind {
            Kind::SnpReport => endorsements.is_empty(),
            Kind::SnpExtendedReport => report.len() == REPORT_LEN && !endorsements.is_empty(),
            _ => false,
        },
        (Content::Evidence(Evidence::Sgx(quote), _), Kind::SgxQuote) => word(quote, 4) != Some(0x81),
        (Content::Evidence(Evidence::Tdx(quote), _), Kind::TdxQuote) => word(quote, 4) == Some(0x81),
        (Content::Evidence(Evidence::Azure(json), _), kind @ (Kind::AzureSnp | Kind::AzureTdx)) => {
            let envelope = Envelope::parse(json).expect("it was read");
            matches!(envelope.endorsement, Endorsement::Vcek(_)) == (kind == Kind::AzureSnp)
        }
        (Content::Csr(_), kind) => kind == Kind::Csr,
        (Content::Bundle(_), kind) => kind == Kind::Bundle,
        (Content::Endorsements(_), kind) => {
            matches!(kind, Kind::Certificates | Kind::DcapCollateral | Kind::PcsAnswer)
        }
        _ => false,
    }
}

/// No more than there can be, and each once.
fn bounded(endorsements: &Endorsements) -> u64 {
    let (certificates, lists) = (endorsements.certificates(), endorsements.lists());
    assert!(certificates.len() <= 64 && lists.len() <= 64, "too many");
    let bytes: usize = endorsements.certificates().chain(endorsements.lists()).map(<[u8]>::len).sum();
    assert!(bytes <= MAX_FILE, "{bytes} bytes of one file");
    let mut twice = endorsements.clone();
    assert!(twice.extend(endorsements) == Ok(()) && twice == *endorsements, "one of them twice");
    number(&(magnitude(certificates.len()), magnitude(lists.len())))
}

fn of_bundle(bundle: &Bundle, defect: Defect, length: usize) -> Vec<u64> {
    let mut happened = vec![bounded(&bundle.endorsements)];
    comes_back(bundle);
    let report_data = bundle.nonce.as_ref().map(|nonce| {
        let mut report_data = [0; 64];
        report_data[..nonce.len()].copy_from_slice(nonce);
        report_data
    });
    let binding = Binding { report_data, launch_field: bundle.launch_field };
    let Bundled::Evidence(evidence) = &bundle.evidence else { return happened };
    let policy = bundle.policy.as_deref().filter(|text| text.len() <= LONGEST);
    let policy = policy.and_then(|text| Policy::try_from(toml::from_str::<Sections>(text).ok()?).ok());
    for policy in [None, policy.as_ref()].into_iter().take(1 + usize::from(policy.is_some())) {
        // Planted: what it is bound to is not compared.
        let asked = if defect == Defect::Planted { Binding::default() } else { binding };
        let (appraisal, more) = judged(evidence, &bundle.endorsements, policy, asked, bundle.time, length);
        happened.extend(more);
        let (Some(claims), Some(report_data)) = (appraisal.claims, report_data) else { continue };
        let claims = serde_json::to_value(&claims).expect("claims");
        let found = match evidence {
            Evidence::Azure(_) => claims["azure"]["extra_data"] == hex::encode(Sha256::digest(report_data)),
            _ => claims["report_data"] == hex::encode(report_data),
        };
        assert!(found, "bound to something else");
    }
    happened
}

/// What was read is written as one that reads the same. Spaces between may make it too long.
fn comes_back(bundle: &Bundle) {
    match bundle.write() {
        Ok(text) => assert!(Bundle::read(text.as_bytes()).as_ref() == Ok(bundle), "written otherwise than it was read"),
        Err(error) => assert_eq!(error, BundleError::TooLong, "what was read can be written"),
    }
}

fn judged(
    evidence: &Evidence,
    endorsements: &Endorsements,
    policy: Option<&Policy>,
    binding: Binding,
    now: u64,
    length: usize,
) -> (Appraisal, Vec<u64>) {
    named(evidence, endorsements);
    let by = By { endorsements, policy, binding, roots: roots(), now };
    let counted = Counted { real: length > LONGEST, ..Counted::default() };
    let appraisal = appraise(evidence, by, &counted);
    let (checked, bytes) = (counted.checked.get(), counted.bytes.get());
    assert!(checked <= CHECKED.0 && bytes <= CHECKED.1, "{checked} signatures over {bytes} bytes");
    let Appraisal { verdict, claims, .. } = &appraisal;
    assert_eq!(claims.is_some(), verdict.passed());
    assert_eq!(appraisal.verified(), verdict.passed());
    let own = verdict.checks.first().is_some_and(|check| CHECKS.iter().any(|rule| rule.id == check.id));
    let rules: &[Rule] = match evidence {
        _ if own => CHECKS,
        Evidence::Snp(_) => snp::CHECKS,
        Evidence::Sgx(_) => sgx::CHECKS,
        Evidence::Tdx(_) => tdx::CHECKS,
        Evidence::Azure(json) => match Envelope::parse(json).expect("it was judged").endorsement {
            Endorsement::Vcek(_) => azure::CHECKS_SNP,
            Endorsement::TdQuote(_) => azure::CHECKS_TDX,
        },
    };
    whole(verdict, rules, LONGEST);
    machines(&appraisal, now);
    let mut happened: Vec<_> =
        verdict.checks.iter().map(|check| number(&(check.id, format!("{:?}", check.outcome)))).collect();
    happened.push(number(&verdict.failures().map(|check| check.id).collect::<Vec<_>>()));
    (appraisal, happened)
}

/// What it needs besides: little, each with a place of its own.
fn named(evidence: &Evidence, endorsements: &Endorsements) {
    let needs = Need::of(evidence, endorsements);
    let places: BTreeSet<_> = needs.iter().map(Need::place).collect();
    assert!(needs.len() <= 12 && places.len() == needs.len(), "{places:?}");
    assert!(needs.iter().all(|need| Need::at(&need.place()).as_ref() == Some(need)), "{places:?}");
}

/// What machines get.
fn machines(appraisal: &Appraisal, now: u64) {
    let text = serde_json::to_string(appraisal).expect("it can be written");
    assert!(text.len() <= MAX_FILE, "{} bytes for machines", text.len());
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let members: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["advisories", "checks", "claims", "primary", "tcb_status", "verdict"]);
    let verified = appraisal.verified();
    assert_eq!(value["verdict"], if verified { "verified" } else { "refused" });
    assert!(value["primary"].is_null() == verified && value["claims"].is_object() == verified);
    assert_eq!(value["checks"].as_array().map(Vec::len), Some(appraisal.verdict.checks.len()));
    let Some(claims) = &appraisal.claims else { return };
    assert!(claims.collateral_end() >= now, "out of date");
    assert_eq!(value["claims"]["collateral_end"], date(claims.collateral_end()));
}

pub(super) fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(|| Roots { snp: snp_roots().clone(), dcap: dcap_roots().clone() })
}

/// A vector of which nothing is refused.
fn good(folder: &str, which: impl Fn(&Value) -> bool) -> Value {
    vectors(folder).into_iter().find(|vector| vector["expect"] == "ok" && which(vector)).expect("one that is good")
}

/// Evidence to judge by whatever is given.
fn known() -> &'static [Evidence] {
    static KNOWN: OnceLock<[Evidence; 2]> = OnceLock::new();
    KNOWN.get_or_init(|| {
        [
            Evidence::Snp(hexadecimal(&good("snp", |_| true)["report"])),
            Evidence::Tdx(base64(&good("dcap", |vector| vector["tee"] == "tdx")["quote"])),
        ]
    })
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Bytes as they are, and in digits.
fn forms(bytes: &[u8]) -> [Vec<u8>; 4] {
    let lines: Vec<_> = STANDARD.encode(bytes).as_bytes().chunks(76).map(<[u8]>::to_vec).collect();
    [
        bytes.to_vec(),
        format!("0x{}\n", hex::encode(bytes)).into_bytes(),
        STANDARD.encode(bytes).into_bytes(),
        lines.join(&b"\r\n"[..]),
    ]
}

/// A bundle in its form.
fn bundle(kind: &str, evidence: &[u8], more: &Value) -> Vec<u8> {
    let mut whole = json!({
        "donjon_evidence_bundle": 1,
        "kind": kind,
        "evidence": STANDARD.encode(evidence),
        "time": NOW,
    });
    for (key, value) in more.as_object().expect("members") {
        whole[key] = value.clone();
    }
    whole.to_string().into_bytes()
}

fn encoded(list: &[&[u8]]) -> Value {
    list.iter().map(|bytes| STANDARD.encode(bytes)).collect()
}

/// What a vector of DCAP has, as members of a bundle.
fn collateral(vector: &Value) -> Value {
    let [tcb_info, tcb_signature, tcb_chain, qe, qe_signature, qe_chain, root_crl, pck_crl, pck_chain] =
        bundled(vector);
    let certificates: Vec<_> = [tcb_chain, qe_chain, pck_chain].iter().flat_map(|chain| ders(chain)).collect();
    let signed = |body: &[u8], signature: &[u8]| json!([{ "body": String::from_utf8_lossy(body), "signature": hex::encode(signature) }]);
    let mut whole = json!({
        "certificates": encoded(&certificates.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        "revocation_lists": encoded(&[&root_crl, &pck_crl]),
    });
    if tcb_signature.len() == 64 && qe_signature.len() == 64 {
        whole["tcb_infos"] = signed(&tcb_info, &tcb_signature);
        whole["qe_identities"] = signed(&qe, &qe_signature);
    }
    whole
}

/// The certificates of a chain.
fn ders(chain: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(chain);
    let one = |part: &str| {
        let digits: String = part.split("-----END").next()?.split_whitespace().collect();
        STANDARD.decode(digits).ok()
    };
    text.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(one).collect()
}

/// Adds what a vector asks to members of a bundle.
fn asked(mut members: Value, vector: &Value, launch_field: &str, sections: &str) -> Value {
    members["nonce"] = STANDARD.encode(hexadecimal(&vector["expected_report_data"])).into();
    members["launch_field"] = vector[launch_field].clone();
    members["time"] = vector["now"].clone();
    members["policy"] = sections.into();
    members
}

fn of_snp(vector: &Value) -> Vec<u8> {
    let [vek, ask, list] = ["vcek", "ask", "crl"].map(|key| base64(&vector[key]));
    let members = json!({ "certificates": encoded(&[&ask, &vek]), "revocation_lists": encoded(&[&list]) });
    let policy = format!("[snp]\n{}", vector["policy"].as_str().unwrap_or_default());
    bundle("snp-report", &hexadecimal(&vector["report"]), &asked(members, vector, "expected_host_data", &policy))
}

fn of_dcap(vector: &Value) -> Vec<u8> {
    let tee = vector["tee"].as_str().expect("a TEE");
    let policy = format!("[{tee}]\n{}", vector["policy"].as_str().unwrap_or_default());
    let members = asked(collateral(vector), vector, "expected_launch_field", &policy);
    bundle(&format!("{tee}-quote"), &base64(&vector["quote"]), &members)
}

/// Both layouts of an envelope (see `evidence::azure::envelope`).
fn envelopes(vector: &Value) -> [Value; 2] {
    let report = base64(&vector["hcl_report"]);
    let [message, signature] = ["message", "signature"].map(|key| hexadecimal(&vector[key]));
    let values = values(vector);
    let url = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut old = json!({
        "tpm_quote": { "signature": signature, "message": message, "pcrs": values },
        "hcl_report": report,
    });
    let mut new = json!({
        "version": 1,
        "tpm_quote": {
            "signature": hex::encode(&signature),
            "message": hex::encode(&message),
            "pcrs": values.iter().map(hex::encode).collect::<Vec<_>>(),
        },
        "hcl_report": url(&report),
    });
    if vector["snp"].is_object() {
        let vek = base64(&vector["snp"]["vcek"]);
        (old["vcek"], new["vcek"]) = (pem("CERTIFICATE", &vek).into(), url(&vek).into());
    } else {
        let quote = base64(&vector["tdx"]["quote"]);
        (old["td_quote"], new["td_quote"]) = (json!(quote), url(&quote).into());
    }
    [old, new]
}

fn of_azure(vector: &Value) -> Vec<u8> {
    let [_, envelope] = envelopes(vector);
    let (members, below) = if vector["snp"].is_object() {
        let [ask, list] = ["ask", "crl"].map(|key| base64(&vector["snp"][key]));
        (json!({ "certificates": encoded(&[&ask]), "revocation_lists": encoded(&[&list]) }), "snp")
    } else {
        (collateral(&vector["tdx"]), "tdx")
    };
    let own = vector["azure_policy"].as_str().unwrap_or_default().replace("\n[", "\n[azure.");
    let policy = format!("[{below}]\n{}\n[azure]\n{own}", vector["policy"].as_str().unwrap_or_default());
    let members = asked(members, vector, "expected_launch_field", &policy);
    bundle("azure", envelope.to_string().as_bytes(), &members)
}

/// A host's table of certificates.
fn table(entries: &[(usize, usize)], content: &[u8]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).expect("short").to_le_bytes();
    let head = entries.iter().flat_map(|(at, length)| [&[7; 16][..], &word(*at), &word(*length)].concat());
    head.chain([0; 24]).chain(content.iter().copied()).collect()
}

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let [snp, dcap, azure] = ["snp", "dcap", "azure"].map(vectors);
        let mut seeds: Vec<_> = snp.iter().map(of_snp).collect();
        seeds.extend(dcap.iter().map(of_dcap));
        seeds.extend(azure.iter().map(of_azure));
        seeds.extend(others());
        seeds.extend(long());
        seeds
    })
}

/// One of each other form.
fn others() -> Vec<Vec<u8>> {
    let snp = good("snp", |_| true);
    let report = hexadecimal(&snp["report"]);
    let [ark, vek, ask, list] = ["ark", "vcek", "ask", "crl"].map(|key| base64(&snp[key]));
    let mut seeds = forms(&report).to_vec();
    seeds.push([&[0; 32][..], &report].concat());
    let content = [&vek[..], &ask, &list].concat();
    let at = 4 * 24;
    let places = [(at, vek.len()), (at + vek.len(), ask.len()), (at + vek.len() + ask.len(), list.len())];
    seeds.push([&report[..], &table(&places, &content)].concat());
    let chain = [pem("CERTIFICATE", &vek), pem("CERTIFICATE", &ask), pem("CERTIFICATE", &ark), pem("X509 CRL", &list)];
    seeds.push(chain.concat().into_bytes());
    seeds.extend([&vek, &ask, &list].map(Vec::clone));
    // RFC 2986, as far as it is looked at.
    let request = element(0x30, &[element(0x30, &[2, 1, 0, 0x30, 0]), vec![0x30, 0, 3, 1, 0]].concat());
    seeds.push(pem("CERTIFICATE REQUEST", &request).into_bytes());
    seeds.push(bundle("csr", &request, &json!({})));
    seeds.push(request);
    for tee in ["sgx", "tdx"] {
        let vector = good("dcap", |vector| vector["tee"] == tee);
        seeds.extend(forms(&base64(&vector["quote"])));
        let [tcb_info, tcb_signature, tcb_chain, qe, qe_signature, qe_chain, root_crl, pck_crl, pck_chain] =
            bundled(&vector);
        let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let whole = json!({
            "tcb_info": utf8(&tcb_info),
            "tcb_info_signature": hex::encode(&tcb_signature),
            "tcb_info_issuer_chain": utf8(&tcb_chain),
            "qe_identity": utf8(&qe),
            "qe_identity_signature": hex::encode(&qe_signature),
            "qe_identity_issuer_chain": utf8(&qe_chain),
            "root_ca_crl": hex::encode(&root_crl),
            "pck_crl": hex::encode(&pck_crl),
            "pck_crl_issuer_chain": utf8(&pck_chain),
            "pck_certificate_chain": utf8(&tcb_chain),
        });
        seeds.push(whole.to_string().into_bytes());
        for (key, body, signature) in [("tcbInfo", &tcb_info, &tcb_signature), ("enclaveIdentity", &qe, &qe_signature)]
        {
            seeds.push(format!(r#"{{"{key}":{},"signature":"{}"}}"#, utf8(body), hex::encode(signature)).into_bytes());
        }
        seeds.push(tcb_chain);
        seeds.push(pck_crl);
    }
    for key in ["snp", "tdx"] {
        let vector = good("azure", |vector| vector[key].is_object());
        for envelope in envelopes(&vector) {
            seeds.push(json!({ "platform": format!("az-{key}"), "evidence": envelope }).to_string().into_bytes());
            seeds.push(envelope.to_string().into_bytes());
        }
    }
    seeds.extend(
        [&b"2026-01-01T00:00:00.5+01:30"[..], b"1767225600", b"9999-12-31 23:59:59z", b"\x7fELF"].map(Vec::from),
    );
    seeds
}

/// As much as fits of whatever takes most for its bytes.
fn long() -> Vec<Vec<u8>> {
    let fill = |head: &str, piece: &str, tail: &str| {
        let room = MAX_FILE - head.len() - tail.len();
        format!("{head}{}{tail}", piece.repeat(room / piece.len())).into_bytes()
    };
    let snp = good("snp", |_| true);
    let report = hexadecimal(&snp["report"]);
    let [vek, ask, list] = ["vcek", "ask", "crl"].map(|key| base64(&snp[key]));
    let mut long = vec![vec![0; MAX_FILE], vec![0; MAX_FILE + 1], vec![b' '; MAX_FILE], vec![b'0'; MAX_FILE]];
    // Nothing that is nested deeply or stands there often.
    let head = r#"{"donjon_evidence_bundle":1,"kind":"csr","evidence":"","time":0,"#;
    for key in ["certificates", "revocation_lists"] {
        long.push(fill(&format!(r#"{head}"{key}":[""#), r#"",""#, r#""]}"#));
    }
    let wrapping = r#"{"platform":"az-snp","evidence":"#;
    let wraps = MAX_FILE / (wrapping.len() + 1) - 1;
    long.push([wrapping.repeat(wraps), "{}".to_owned(), "}".repeat(wraps)].concat().into_bytes());
    long.push(fill(r#"{"a":"#, "[", ""));
    long.push(fill("{", r#""a":0,"#, r#""b":0}"#));
    long.push(fill(r#"{"tcb_info":""#, "\\u0001", r#""}"#));
    long.push(fill("{\"tcb_info\":\"\",\"", "\u{1f600}", "\":0}"));
    long.push(fill(&format!(r#"{head}"policy":""#), "\\n", r#""}"#));
    long.push(fill(&format!(r#"{head}""#), "\u{10ffff}", r#"":0}"#));
    let kind = r#"{"donjon_evidence_bundle":1,"evidence":"","time":0,"kind":""#;
    long.push(fill(kind, "\u{10ffff}", r#""}"#));
    let envelope = r#"{"version":1,"hcl_report":"","tpm_quote":{"signature":"","message":"","pcrs":["#;
    let room = (256 << 10) - envelope.len() - 20;
    long.push([envelope, &"[],".repeat(room / 3), r#"[]]},"vcek":""}"#].concat().into_bytes());
    long.push([r#"{"tpm_quote":0,"hcl_report":["#, &"0,".repeat(room / 2), "0]}"].concat().into_bytes());
    long.push([r#"{"quote":0,"report":["#, &r#"{"":0},"#.repeat(room / 7), "0]}"].concat().into_bytes());
    // PEM of nothing, of much, and without an end.
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    long.push(fill("", empty, ""));
    long.push(fill("-----BEGIN CERTIFICATE-----\n", "AAAA", "\n-----END CERTIFICATE-----"));
    long.push(fill("-----BEGIN ", "A", ""));
    long.push(fill("-----BEGIN CERTIFICATE-----\n", "AAAA\n", ""));
    long.push(fill("-----BEGIN X-----\nAA==\n-----END ", "X", ""));
    let certificates: Vec<_> = (0..80_u8).map(|at| pem("CERTIFICATE", &numbered(&vek, at))).collect();
    long.push(certificates.concat().into_bytes());
    long.push(fill("", &certificates[..64].concat(), ""));
    long.push(STANDARD.encode(vec![0x30; MAX_FILE / 4 * 3 - 4]).into_bytes());
    // Tables whose entries are all the same, or each within another.
    let vector = good("dcap", |vector| vector["tee"] == "tdx");
    let quote = base64(&vector["quote"]);
    let count = long_lists().len();
    for (at, list) in long_lists().into_iter().enumerate() {
        let places = vec![(64 * 24, list.len()); 63];
        long.push([&report[..], &table(&places, &list)].concat());
        let lists: Vec<_> = (0..5_u8).map(|at| dated(&list, at)).collect();
        long.push(lists.iter().map(|list| pem("X509 CRL", list)).collect::<String>().into_bytes());
        let places: Vec<_> = (0..5).map(|at| (64 * 24 + at * list.len(), list.len())).collect();
        long.push([&report[..], &table(&places, &[&[0; 58 * 24], &lists.concat()[..]].concat())].concat());
        let lists = encoded(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
        // AMD's come first, then as many of Intel's.
        long.push(if at < count / 2 {
            let members = json!({ "certificates": encoded(&[&vek, &ask]), "revocation_lists": lists });
            bundle("snp-report", &report, &members)
        } else {
            let mut members = collateral(&vector);
            members["revocation_lists"] = lists;
            bundle("tdx-quote", &quote, &members)
        });
    }
    let nested: Vec<_> = (0..63).map(|at| (64 * 24 + 4 * at, (128 << 10) - 8 * at)).collect();
    long.push([&report[..], &table(&nested, &[0x30; 200 << 10])].concat());
    for certificate in long_certificates() {
        let many: Vec<_> = (0..40_u8).map(|at| dated(&certificate, at)).collect();
        let many: Vec<_> = many.iter().map(Vec::as_slice).collect();
        long.push(bundle("snp-report", &report, &json!({ "certificates": encoded(&many) })));
    }
    // As many keys and issuers as there may be, any of which could be the one.
    let keys = |der: &[u8], count: u8| (0..count).map(|at| numbered(der, at)).collect::<Vec<_>>();
    for (veks, asks) in [(64, 0), (1, 63), (32, 32)] {
        let all = [keys(&vek, veks), keys(&ask, asks)].concat();
        let all: Vec<_> = all.iter().map(Vec::as_slice).collect();
        let members = json!({ "certificates": encoded(&all), "revocation_lists": encoded(&[&list]) });
        long.push(bundle("snp-report", &report, &members));
    }
    // The same of Intel's: who could have signed, and as much to sign.
    let signers: Vec<_> =
        ders(text(&vector["tcb_info_chain"])).first().map(|signer| keys(signer, 64)).expect("a chain");
    let signers: Vec<_> = signers.iter().map(Vec::as_slice).collect();
    let signed = |body: &str| json!({ "body": body, "signature": "00".repeat(64) });
    let mut members = collateral(&vector);
    members["certificates"] = encoded(&signers);
    long.push(bundle("tdx-quote", &quote, &members));
    members["tcb_infos"] = json!([signed(&"a".repeat(800 << 10))]);
    long.push(bundle("tdx-quote", &quote, &members));
    for info in long_infos().iter().filter_map(|info| std::str::from_utf8(info).ok()) {
        members["tcb_infos"] = (0..3).map(|at| signed(&[info, &" ".repeat(at)].concat())).collect();
        let bundle = bundle("tdx-quote", &quote, &members);
        long.extend((bundle.len() <= MAX_FILE).then_some(bundle));
    }
    let info = text(&vector["tcb_info"]);
    let info = String::from_utf8_lossy(info);
    members["tcb_infos"] = (0..64).map(|at| signed(&[&info, &" ".repeat(at)[..]].concat())).collect();
    long.push(bundle("tdx-quote", &quote, &members));
    long
}

/// Another list or certificate: one of its times is another.
fn dated(list: &[u8], number: u8) -> Vec<u8> {
    const TIME: &[u8] = b"250101000000Z";
    let mut list = list.to_vec();
    let at = list.windows(TIME.len()).position(|window| window == TIME).expect("a time");
    list[at + 10] += number / 10;
    list[at + 11] += number % 10;
    list
}

/// Another one of its kind: its last byte is of the signature.
fn numbered(der: &[u8], number: u8) -> Vec<u8> {
    let mut der = der.to_vec();
    if let Some(last) = der.last_mut() {
        *last ^= number;
    }
    der
}
