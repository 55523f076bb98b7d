//! `sev`, of SEV-SNP: it reads reports, verifies the signatures of ARK, ASK, VEK and report, and leaves the rest to its caller.

use crate::support::folder::Folder;
use crate::support::vectors::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::AwsLc;
use evidence::pki::{Certificate, Scheme};
use evidence::snp::policy::CrlRule;
use evidence::snp::{Collateral, Platforms, Report, Roots, Settings, SnpEvidence, authentic};
use serde::Deserialize;
use sev::certs::snp::{Certificate as Theirs, Chain, Verifiable, builtin, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

/// What we say no to and `sev` does not, and what it does instead. A rule stands for all its vectors; where it refuses some
/// of them, the others stand here by name.
const STRICTER: &[(&str, &[&str])] = &[
    (
        "looks at no dates",
        &[
            "snp.ark.expired",
            "snp.ark.not_yet_valid",
            "snp.ask.expired",
            "snp.ask.not_yet_valid",
            "snp.vek.expired",
            "snp.vek.not_yet_valid",
        ],
    ),
    (
        "knows no revocation lists",
        &[
            "snp.ask.revoked",
            "snp.crl.expired",
            "snp.crl.format",
            "snp.crl.not_yet_valid",
            "snp.crl.present",
            "snp.crl.signature",
        ],
    ),
    (
        "does not read AMD's extensions of a VEK",
        &[
            "snp.report.chip",
            "snp.vek.tcb",
            "snp/vcek-and-vlek",
            "snp/vcek-extension-twice",
            "snp/vcek-hwid-short",
            "snp/vcek-hwid-wrapped",
            "snp/vcek-level-trailing-byte",
            "snp/vcek-names-another-product",
            "snp/vcek-negative-level",
            "snp/vcek-product-prefix",
            "snp/vcek-product-unknown",
            "snp/vcek-reserved-level",
            "snp/vcek-struct-version-1",
            "snp/vcek-unknown-amd-extension",
            "snp/vcek-with-fmc",
            "snp/vcek-without-boot-loader",
            "snp/vcek-without-hwid",
            "snp/vcek-without-microcode",
            "snp/vcek-without-product-name",
            "snp/vcek-without-snp",
            "snp/vcek-without-struct-version",
            "snp/vcek-without-tee",
            "snp/vlek-without-provider",
        ],
    ),
    ("does not ask for the processor that the VEK is of", &["snp/cpuid-of-another-product"]),
    (
        "does not ask what kind of key the report names",
        &["snp/signing-key-masked", "snp/signing-key-reserved", "snp/signing-key-vlek", "snp/vlek-signing-key-vcek"],
    ),
    ("does not ask whether a VEK is an authority", &["snp/vcek-is-an-authority"]),
    ("does not ask whether an authority is of chips or of providers", &["snp/vcek-of-an-asvk", "snp/vlek-of-an-ask"]),
    ("does not compare the issuer's name", &["snp/vcek-issuer"]),
    ("reads versions above 5 like 5", &["snp/report-version-1000005", "snp/report-version-6"]),
    (
        "does not look at what is reserved there",
        &[
            "snp.platform_info.reserved",
            "snp.policy.reserved",
            "snp.report.signature_algorithm",
            "snp.report.tail",
            "snp/reserved-flags",
        ],
    ),
    ("compares no levels with each other", &["snp.firmware.order", "snp.policy.firmware", "snp.tcb.order"]),
    (
        "has no policy and no expectation",
        &[
            "snp.family_id",
            "snp.firmware.minimum",
            "snp.guest_svn",
            "snp.host_data",
            "snp.id_key.allowed",
            "snp.id_key.denied",
            "snp.image_id",
            "snp.measurement.allowed",
            "snp.measurement.denied",
            "snp.mitigations",
            "snp.platform.allowed",
            "snp.platform.product",
            "snp.platform_info.flags",
            "snp.policy.abi",
            "snp.policy.debug",
            "snp.policy.flags",
            "snp.policy.migration",
            "snp.report_data",
            "snp.signer.allowed",
            "snp.tcb.minimum",
            "snp.vmpl",
        ],
    ),
];

/// What is in a vector for it, too.
#[derive(Deserialize)]
struct Vector {
    expect: String,
    ark: String,
    ask: Option<String>,
    vcek: String,
    report: String,
}

impl Vector {
    fn judge(&self) -> io::Result<()> {
        let certificate = |text: &str| Theirs::from_der(&STANDARD.decode(text).expect("base64"));
        // It has nothing to judge with if there is no ASK.
        let ask = self.ask.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let ca = ca::Chain { ark: certificate(&self.ark)?, ask: certificate(ask)? };
        let report = AttestationReport::from_bytes(&hex::decode(&self.report).expect("hexadecimal"))?;
        (&Chain { ca, vek: certificate(&self.vcek)? }, &report).verify()
    }
}

#[test]
fn vectors_end_alike_but_for_the_differences_that_are_listed() {
    // Of each rule the vectors, and whether it accepts them.
    let mut rules: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for (name, vector) in vectors::<Vector>("snp") {
        let name = format!("snp/{name}");
        let judged = vector.judge();
        if let (true, Err(error)) = (vector.expect == "ok", &judged) {
            panic!("{name}: only it refuses: {error}");
        }
        rules.entry(vector.expect).or_default().push((name, judged.is_ok()));
    }
    let good = rules.remove("ok").expect("good ones").len();
    let alike: usize = rules.values().map(|vectors| vectors.iter().filter(|(_, accepted)| !accepted).count()).sum();
    assert!(good > 20 && alike > 20, "{good} accepted, {alike} refused");

    let mut differ = BTreeSet::new();
    for (rule, vectors) in rules {
        if vectors.iter().all(|(_, accepted)| *accepted) {
            differ.insert(rule);
        } else {
            differ.extend(vectors.into_iter().filter(|(_, accepted)| *accepted).map(|(name, _)| name));
        }
    }
    let listed: BTreeSet<_> = STRICTER.iter().flat_map(|(_, ids)| *ids).map(|id| (*id).to_owned()).collect();
    assert_eq!(differ, listed, "what only we refuse, and what is listed");
}

#[test]
fn the_manual_has_every_difference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/peers.md");
    let manual = fs::read_to_string(path).expect("the manual");
    for (does, ids) in STRICTER {
        let row = format!("| {} | {does} |", ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", "));
        assert!(manual.lines().any(|line| line == row), "{row}");
    }
    let named = manual.matches("`snp.").count() + manual.matches("`snp/").count();
    assert_eq!(named, STRICTER.iter().map(|(_, ids)| ids.len()).sum::<usize>(), "others are named");
}

/// One row of `snp-matrix/EXPECTED.json`; our own verdict of it is that of `tests/snp/expected.rs`.
#[derive(Deserialize)]
struct Row {
    file: String,
    report_offset: usize,
    vmpl: u8,
    signed_by: Vec<Signer>,
}

#[derive(Deserialize)]
struct Signer {
    file: String,
}

/// The first certificate of PEM, however long its lines are, or DER as it is.
fn der(bytes: &[u8]) -> Vec<u8> {
    let Some(text) = core::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix("-----BEGIN CERTIFICATE-----"))
    else {
        return bytes.to_vec();
    };
    let text = text.split("-----END").next().expect("a certificate");
    STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).expect("base64")
}

/// AMD's CAs of VCEKs and VLEKs that it verifies; it has those of VCEKs itself, and they are the same.
fn authorities(roots: &Roots) -> io::Result<Vec<ca::Chain>> {
    let of = |certificates: &mut dyn Iterator<Item = &Certificate>| {
        certificates.map(|certificate| Theirs::from_der(certificate.der())).collect::<io::Result<Vec<_>>>()
    };
    let arks = of(&mut roots.anchors().iter().map(|anchor| anchor.certificate()))?;
    let asks = of(&mut roots.intermediates().iter())?;
    for (ark, ask) in [
        (builtin::milan::ark()?, builtin::milan::ask()?),
        (builtin::genoa::ark()?, builtin::genoa::ask()?),
        (builtin::turin::ark()?, builtin::turin::ask()?),
    ] {
        assert!(arks.contains(&ark) && asks.contains(&ask), "others than ours");
    }
    let pairs = arks.iter().flat_map(|ark| asks.iter().map(|ask| ca::Chain { ark: ark.clone(), ask: ask.clone() }));
    Ok(pairs.filter(|ca| ca.verify().is_ok()).collect())
}

#[test]
fn recorded_reports_have_one_answer_under_every_vek() {
    let Some(folder) = Folder::open() else { return };
    let rows: Vec<Row> = serde_json::from_slice(&folder.read("snp-matrix/EXPECTED.json")).expect("rows");
    // Reports and VEKs in containers are left out: the same VEKs are there without, and reports are not asked twice.
    let contained = |file: &str| file.ends_with(".json");
    let rows: Vec<Row> = rows.into_iter().filter(|row| !contained(&row.file)).collect();
    let mut veks = BTreeMap::new();
    for file in rows.iter().flat_map(|row| &row.signed_by).map(|signer| &signer.file).filter(|file| !contained(file)) {
        let vek = Theirs::from_der(&der(&folder.read(file))).expect(file);
        veks.insert(vek.to_der().expect(file), vek);
    }
    let roots = Roots::amd();
    let authorities = authorities(&roots).expect("certificates");
    assert_eq!(authorities.len(), roots.intermediates().len());
    for vek in veks.values() {
        assert_eq!(authorities.iter().filter(|ca| (&ca.ask, vek).verify().is_ok()).count(), 1, "of one CA of AMD's");
    }

    let (mut yes, mut no) = (0, 0);
    for Row { file, report_offset, vmpl, .. } in &rows {
        let encoding = if file.ends_with(".hex") { "hex text" } else { "binary" };
        let report = &folder.decoded(file, encoding)[*report_offset..*report_offset + 1184];
        let read = AttestationReport::from_bytes(report).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (der, vek) in &veks {
            let settings = Settings {
                any_measurement: true,
                crl: CrlRule::Optional,
                insecure_debug: true,
                vmpl: *vmpl,
                ..Settings::default()
            };
            let now = Certificate::parse(der, Scheme::RsaPssSha384).expect("a VEK").not_before() + 1;
            let evidence = SnpEvidence { report, vcek: der, ask: None, crl: None };
            let collateral = Collateral { roots: &roots, crl: None };
            let policy = settings.try_into().expect("a policy");
            let ours = authentic(evidence, collateral, &policy, &Platforms::Any, now, &AwsLc);
            let theirs = (vek, &read).verify();
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{file}: {:?}, {theirs:?}", ours.as_ref().err());
            *(if theirs.is_ok() { &mut yes } else { &mut no }) += 1;
        }
        let report = Report::parse(report).expect(file);
        assert_eq!(read.version, report.version() as u32, "{file}");
        assert_eq!((read.vmpl, read.guest_svn), (report.vmpl(), report.guest_svn()), "{file}");
        assert_eq!((read.policy.0, read.plat_info.0), (report.policy().0, report.platform_info().0), "{file}");
        assert_eq!((&read.chip_id, &read.measurement), (report.chip_id(), report.measurement()), "{file}");
        assert_eq!((&read.report_data, &read.host_data), (report.report_data(), report.host_data()), "{file}");
    }
    assert_eq!((rows.len(), veks.len(), yes, no), (15, 13, 15, 180));
}
