//! Every bit counts: of a report, its VEK, ASK and revocation list, each bit that is another one is refused. Nothing is
//! excepted.
//!
//! Samples are of every line, report version and kind of key that real evidence here has. Lists of AMD are here for Milan
//! in 2022 and 2023 only: the others are judged under `crl = "optional"` without one. No ARK is taken from anybody.

use crate::support::flip::{flip, stride};
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use evidence::snp::policy::CrlRule;
use evidence::snp::{Collateral, Platforms, Policy, Roots, Settings, SnpEvidence, authentic};

/// Without DONJON_FLIPS, each bit of so many.
const EVERY: usize = 509;

/// 2023-01-15, 2023-04-15, 2025-06-15, 2025-09-01 and 2026-08-01, unix seconds.
const WINTER_2023: u64 = 1_673_740_800;
const SPRING_2023: u64 = 1_681_516_800;
const SPRING_2025: u64 = 1_749_945_600;
const AUTUMN_2025: u64 = 1_756_684_800;
const SUMMER_2026: u64 = 1_785_542_400;

/// Report and its offset, VEK, the chain its ASK is in, when it is judged; a list is of its time or there is none.
const SAMPLES: &[(&str, usize, &str, &str, u64)] = &[
    ("enarx/derived/milan.report.bin", 0, "enarx/derived/milan.vcek.der", "milan", WINTER_2023), // v2
    ("snp-go-sev-guest/attestation.bin", 0, "snp-go-sev-guest/vcek.testcer", "milan", WINTER_2023), // v2, debug
    ("snp-trustee/test-report.bin", 0, "snp-trustee/test-vcek.der", "milan", SPRING_2023),       // v2
    ("snp-virtee-sev/report_milan.hex", 0, "snp-virtee-sev/vcek_milan.der", "milan", SPRING_2023), // v2
    ("snp-oak/cb_report.bin", 0, "snp-oak/cb_vcek.der", "milan", SPRING_2025),                   // v3
    ("snp-oak/milan_oc_release_report.bin", 0, "snp-oak/milan_oc_release_vcek.der", "milan", SPRING_2025), // v3
    ("snp-dstack/sev_snp_attestation.bin", 4, "snp-dstack/sev_snp_vcek.pem", "milan", SUMMER_2026), // v3
    ("snp-microsoft-tav/milan_attestation_report.bin", 0, "snp-microsoft-tav/milan_vcek.pem", "milan", SUMMER_2026),
    ("snp-trustee/test-vlek-report.bin", 0, "snp-trustee/test-vlek.der", "milan_vlek", SPRING_2025), // v3, VLEK, VMPL 1
    ("snp-microsoft-tav/genoa_attestation_report.bin", 0, "snp-microsoft-tav/genoa_vcek.pem", "genoa", SUMMER_2026),
    ("snp-attestation-rs/live-report-v5-genoa.bin", 0, "snp-attestation-rs/live-vcek-genoa.der", "genoa", SUMMER_2026),
    ("snp-oak/turin_oc_report.bin", 0, "snp-oak/turin_oc_vcek.der", "turin_vcek", AUTUMN_2025), // v5
];

#[test]
fn every_bit_of_real_evidence_counts() {
    let Some(folder) = Folder::open() else { return };
    let roots = Roots::amd();
    let mut tried = 0;
    for &(file, offset, vek, line, now) in SAMPLES {
        let (report, vcek) = (folder.report(file, offset), folder.certificate(vek));
        let ask = folder.certificate(&format!("amd-roots/ask_ark_{line}.pem"));
        let crl = (now < SPRING_2025).then(|| folder.read("amd-crl/ark-milan.crl.der"));
        let settings = Settings {
            any_measurement: true,
            insecure_debug: file.starts_with("snp-go-sev-guest"),
            vmpl: u8::from(line == "milan_vlek"),
            crl: if crl.is_some() { CrlRule::Required } else { CrlRule::Optional },
            ..Settings::default()
        };
        let policy = Policy::try_from(settings).expect("a policy");
        let good = |evidence: SnpEvidence<'_>| {
            let collateral = Collateral { roots: &roots, crl: None };
            authentic(evidence, collateral, &policy, &Platforms::Any, now, PROVIDER).is_ok()
        };
        let all = SnpEvidence { report: &report, vcek: &vcek, ask: Some(&ask), crl: crl.as_deref() };
        assert!(good(all), "control: {file}");
        let what = |part: &str| format!("{file}: {part}");
        tried += flip(EVERY, &what("report"), &report, &[], |report| good(SnpEvidence { report, ..all }));
        tried += flip(EVERY, &what("VEK"), &vcek, &[], |vcek| good(SnpEvidence { vcek, ..all }));
        tried += flip(EVERY, &what("ASK"), &ask, &[], |ask| good(SnpEvidence { ask: Some(ask), ..all }));
        if let Some(crl) = &crl {
            tried += flip(EVERY, &what("list"), crl, &[], |crl| good(SnpEvidence { crl: Some(crl), ..all }));
        }
    }
    assert!(tried > 30_000 / stride(EVERY) * SAMPLES.len());
}
