//! Azure: the whole judgement of what a virtual machine behind a paravisor sends, on SEV-SNP and on TDX.
//!
//! What must hold: evidence that is accepted is bound to what was expected, by a quote of PCRs that the policy accepts and
//! by the key that stands in what the hardware's report has the hash of; its hardware has no debugging nobody asked for;
//! and with the vendor's keys nothing is accepted that the simulated vendor and its vTPM did not sign. Whole judgements are
//! made twice: with signatures that are right without a key, so that all rules are reached, and with real ones.

use std::collections::HashSet;
use std::sync::OnceLock;

use evidence::azure::{
    AzureClaims, CHECKS_SNP, CHECKS_TDX, Evidence, Hardware, Input, Policy, TpmQuote, authentic, verify,
};
use evidence::dcap::{self, Platforms, Quote, Source};
use evidence::{AwsLc, Provider, Verdict, snp, tdx};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::evidence::{Asked, Says, appraised, base64, distinct, framed, hexadecimal, parts, some, text, vectors};
use super::quote::{bundle, bundled};
use crate::{Defect, Target, number};

pub(crate) const AZURE: Target = Target {
    name: "azure",
    reads: "evidence::azure::verify, signatures aside",
    short: 400,
    seeds: || seeds().to_vec(),
    run: |input, defect| {
        let asked = Asked::read(parts::<PARTS>(input)[0]);
        // Planted: what it is bound to is not compared.
        whole(input, &asked.says, defect == Defect::None).0
    },
};

pub(crate) const AZURE_SIGNED: Target = Target {
    name: "azure-signed",
    reads: "evidence::azure::verify, with the simulated vendor's keys",
    short: 400,
    seeds: || seeds().to_vec(),
    run: |input, defect| {
        let (happened, accepted) = match defect {
            Defect::None => whole(input, &AwsLc, true),
            // Planted: nobody looks at signatures.
            Defect::Planted => whole(input, &Says::YES, true),
        };
        assert!(
            !accepted || signed(input).iter().all(|part| genuine().contains(part)),
            "accepted, but nobody signed it"
        );
        happened
    },
};

/// Parts of an input: what is asked; the HCL report, the quote, its signature, values of PCRs; the policies; a VEK, its
/// issuer and a list, or a quote of TDX and the nine of a bundle.
const PARTS: usize = 20;

/// Judges parts; also says whether they were accepted.
fn whole(input: &[u8], provider: &dyn Provider, bound: bool) -> (Vec<u64>, bool) {
    let [asked, hcl_report, message, signature, values, own, below, vek, ask, list, quote, rest @ ..] =
        parts::<PARTS>(input);
    let Asked { now, expected, .. } = Asked::read(asked);
    let pcrs: Vec<[u8; 32]> = values.as_chunks().0.to_vec();
    let evidence = Evidence { hcl_report, quote: TpmQuote { message, signature, pcrs: &pcrs } };
    let (own, below) = (utf8(own), utf8(below));
    // What is no policy counts as one that accepts anything.
    let policy: &Policy =
        &toml::from_str(own).unwrap_or_else(|_| toml::from_str("any_pcrs = true\nbrief_pcr = 13").expect("a policy"));
    let bundle = bundle(rest);
    let of_snp = super::snp::read(below);
    let of_tdx: tdx::Policy =
        toml::from_str(below).unwrap_or_else(|_| toml::from_str("any_measurement = true").expect("a policy"));
    let debug = if vek.is_empty() { below.contains("insecure_debug") } else { of_snp.settings().insecure_debug };
    let collateral = snp::Collateral { roots: roots(), crl: None };
    let (hardware, rules) = if vek.is_empty() {
        let collateral = Source::Bundle(&bundle, dcap_roots());
        (Hardware::Tdx { quote, collateral, policy: &of_tdx, platforms: &Platforms::Any }, CHECKS_TDX)
    } else {
        let (ask, crl, collateral) = (some(ask), some(list), collateral.into());
        let platforms = &snp::Platforms::Any;
        (Hardware::Snp { vcek: vek, ask, crl, collateral, policy: &of_snp, platforms }, CHECKS_SNP)
    };
    let judge = || -> Result<(AzureClaims, Verdict), Verdict> {
        if bound {
            let input = Input { evidence, hardware, expected, policy, now };
            verify(input, provider).map(|(verified, verdict)| (verified.into_claims(), verdict))
        } else {
            authentic(evidence, hardware, policy, now, provider)
                .map(|(authentic, verdict)| (authentic.claims().clone(), verdict))
        }
    };
    let written = own.len() + below.len();
    let (claims, _, happened) = appraised(judge, number(&input).is_multiple_of(8), rules, written);
    let Some(claims) = claims else { return (happened, false) };
    assert!(claims.extra_data == Sha256::digest(expected.report_data)[..], "bound to something else");
    let settings = policy.settings();
    let brief: [u8; 32] = Sha256::new().chain_update([0; 32]).chain_update(expected.launch_field).finalize().into();
    let pcr = settings.brief_pcr.expect("bound to a brief");
    assert!((8..16).contains(&pcr) && claims.pcrs.get(&pcr) == Some(&brief), "started with another brief");
    assert!(claims.pcrs.iter().all(|(pcr, value)| pcrs.get(usize::from(*pcr)) == Some(value)), "of other PCRs");
    for (pcr, accepted) in settings.pcrs.iter().flatten() {
        let value = claims.pcrs.get(&pcr.index()).expect("it is quoted");
        assert!(accepted.iter().any(|accepted| accepted.0 == *value), "PCR {pcr} is another");
    }
    // The hardware's report, and the JSON that it has the hash of.
    let (report, runtime) = report(hcl_report).expect("an HCL report");
    let report_data = if vek.is_empty() { &report[128..192] } else { &report[0x50..0x90] };
    let hash = Sha256::digest(runtime);
    assert!(report_data[..32] == hash[..] && report_data[32..] == [0; 32], "of other runtime data");
    // GUEST_POLICY, ATTRIBUTES.
    let asked_for = if vek.is_empty() { report[512] & 1 != 0 } else { report[10] & 8 != 0 };
    assert!(debug || !asked_for, "debugging nobody asked for");
    assert!(claims.collateral_end() >= now, "out of date");
    (happened, true)
}

/// The parts of an HCL report.
fn report(hcl_report: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = hcl_report.split_at_checked(32)?;
    let (report, rest) = rest.split_at_checked(1184)?;
    let (header, rest) = rest.split_at_checked(20)?;
    let size = u32::from_le_bytes(*header.last_chunk()?);
    Some((report, rest.get(..usize::try_from(size).ok()?)?))
}

fn utf8(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// All that vectors trust of which nothing is refused.
pub(crate) fn roots() -> &'static snp::Roots {
    static ROOTS: OnceLock<snp::Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let good = vectors("azure").into_iter().filter(|vector| vector["expect"] == "ok" && vector["snp"].is_object());
        let azure = good.map(|vector| base64(&vector["snp"]["ark"]));
        let good = vectors("snp").into_iter().filter(|vector| vector["expect"] == "ok");
        let arks = distinct(azure.chain(good.map(|vector| base64(&vector["ark"]))).collect());
        snp::Roots::from_arks(&arks.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("roots")
    })
}

pub(crate) fn dcap_roots() -> &'static dcap::Roots {
    static ROOTS: OnceLock<dcap::Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let good = |folder| vectors(folder).into_iter().filter(|vector| vector["expect"] == "ok");
        let azure = good("azure").filter(|vector| vector["tdx"].is_object());
        let azure = azure.map(|vector| base64(&vector["tdx"]["root"]));
        let roots = distinct(azure.chain(good("dcap").map(|vector| base64(&vector["root"]))).collect());
        dcap::Roots::from_certificates(&roots.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("roots")
    })
}

/// Values of PCRs of a vector, one after the other.
pub(crate) fn values(vector: &Value) -> Vec<Vec<u8>> {
    vector["pcrs"].as_array().into_iter().flatten().map(hexadecimal).collect()
}

fn seed(vector: &Value) -> Vec<u8> {
    let asked = Asked::of(vector, "expected_launch_field");
    let (report, values) = (base64(&vector["hcl_report"]), values(vector).concat());
    let [message, signature] = ["message", "signature"].map(|key| hexadecimal(&vector[key]));
    let (azure, below) = (text(&vector["azure_policy"]), text(&vector["policy"]));
    let mut hardware = vec![vec![]; 13];
    if vector["snp"].is_object() {
        let of_snp = ["vcek", "ask", "crl"].map(|key| base64(&vector["snp"][key]));
        hardware[..3].clone_from_slice(&of_snp);
    } else {
        hardware[3] = base64(&vector["tdx"]["quote"]);
        hardware[4..].clone_from_slice(&bundled(&vector["tdx"]));
    }
    let mut parts: Vec<&[u8]> = vec![&asked, &report, &message, &signature, &values, azure, below];
    parts.extend(hardware.iter().map(Vec::as_slice));
    framed(&parts)
}

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let all = vectors("azure");
        let mut seeds: Vec<_> = all.iter().map(seed).collect();
        // As long as an HCL report may be: JSON of many pieces.
        let good = all.iter().find(|vector| vector["expect"] == "ok").map(seed).expect("one that is good");
        for piece in ["[0],", "{\"a\":1},", "\"\u{1f600}\","] {
            let room = (16 << 10) - BEFORE - 40;
            let runtime = format!("{{\"keys\":[{}0]}}", piece.repeat(room / piece.len()));
            seeds.push(saying(&good, &runtime));
        }
        // What moves a terminal's cursor, where the policy looks at it.
        let listed = all.iter().find(|vector| vector["expect"] == "ok" && vector.to_string().contains("vm_unique_id"));
        let listed = listed.map(seed).expect("one whose policy lists virtual machines");
        let (_, runtime) = report(parts::<PARTS>(&listed)[1]).expect("an HCL report");
        let mut runtime: Value = serde_json::from_slice(runtime).expect("JSON");
        runtime["vm-configuration"]["vmUniqueId"] = "\u{1b}[2J\u{7f}".into();
        seeds.push(saying(&listed, &runtime.to_string()));
        seeds
    })
}

/// Bytes of an HCL report before the JSON of its runtime data.
const BEFORE: usize = 32 + 1184 + 20;

/// The same with other runtime data.
fn saying(seed: &[u8], runtime: &str) -> Vec<u8> {
    let mut parts = parts::<PARTS>(seed);
    let mut report = parts[1][..BEFORE].to_vec();
    let [size, whole] =
        [runtime.len(), report.len() + runtime.len()].map(|length| u32::try_from(length).expect("short").to_le_bytes());
    report[32 + 1184 + 16..].copy_from_slice(&size);
    report[8..12].copy_from_slice(&whole);
    let inner = u32::try_from(20 + runtime.len()).expect("short").to_le_bytes();
    report[32 + 1184..32 + 1184 + 4].copy_from_slice(&inner);
    report.extend(runtime.as_bytes());
    parts[1] = &report;
    framed(&parts)
}

/// What of an input somebody has to sign: the hardware's report or its quote and what that is judged by, the runtime data
/// that the report has the hash of, the vTPM's quote.
fn signed(input: &[u8]) -> Vec<u64> {
    let [_, hcl_report, message, _, _, _, _, vek, _, list, quote, rest @ ..] = parts::<PARTS>(input);
    let [tcb_info, _, _, qe_identity, _, _, root_crl, pck_crl, _] = rest;
    let (report, runtime) = report(hcl_report).unwrap_or_default();
    let mut all = vec![message, runtime];
    let quote = Quote::parse(quote).ok();
    if vek.is_empty() {
        all.extend(quote.iter().flat_map(|quote| [quote.signed(), quote.qe_signed()]));
        all.extend([tcb_info, qe_identity, root_crl, pck_crl]);
    } else {
        all.extend([report.get(..0x2a0).unwrap_or_default(), vek]);
        all.extend(some(list));
    }
    all.iter().map(number).collect()
}

/// All that anybody signed.
fn genuine() -> &'static HashSet<u64> {
    static GENUINE: OnceLock<HashSet<u64>> = OnceLock::new();
    GENUINE.get_or_init(|| seeds().iter().flat_map(|seed| signed(seed)).collect())
}
