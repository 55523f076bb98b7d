//! SEV-SNP: reports, VEK certificates, and the whole judgement of evidence.
//!
//! What must hold: what a report says is what stands at its place (AMD 56860, table of ATTESTATION_REPORT); evidence that is
//! accepted is bound to what was expected, has no debugging nobody asked for, and with the vendor's keys nothing that the
//! simulated vendor did not sign. Whole judgements are made twice: with signatures that are right without a key, so that all
//! rules are reached, and with real ones.

use std::collections::HashSet;
use std::sync::OnceLock;

use evidence::snp::report::REPORT_LEN;
use evidence::snp::vek::{Kind, VekError};
use evidence::snp::{
    CHECKS, Collateral, Fetched, Input, Platforms, Policy, Report, Roots, Session, SnpEvidence, Source, Vek, verify,
};
use evidence::{AwsLc, Provider};
use serde_json::Value;

use super::evidence::{
    Asked, Says, appraised, base64, distinct, framed, hexadecimal, lines, parts, sloppy, some, text, vectors,
};
use super::pki;
use crate::{Defect, Target, number, shape};

pub(crate) const REPORT: Target = Target {
    name: "report",
    reads: "evidence::snp::Report",
    short: 5_000,
    seeds: || distinct(vectors("snp").iter().map(|vector| hexadecimal(&vector["report"])).collect()),
    run: report,
};

pub(crate) const VEK: Target = Target {
    name: "vek",
    reads: "evidence::snp::Vek",
    short: 1_500,
    seeds: || distinct(vectors("snp").iter().map(|vector| base64(&vector["vcek"])).collect()),
    run: vek,
};

pub(crate) const SNP: Target = Target {
    name: "snp",
    reads: "evidence::snp::verify, signatures aside",
    short: 500,
    seeds: || seeds().to_vec(),
    run: |input, defect| {
        let mut asked = Asked::read(parts::<7>(input)[0]);
        // Planted: REPORT_DATA is not compared.
        if defect == Defect::Planted {
            asked.expected.report_data = at(parts::<7>(input)[1], 0x50).unwrap_or(asked.expected.report_data);
        }
        whole(input, &asked, &asked.says).0
    },
};

pub(crate) const SNP_SIGNED: Target = Target {
    name: "snp-signed",
    reads: "evidence::snp::verify, with the simulated vendor's keys",
    short: 600,
    seeds: || seeds().to_vec(),
    run: |input, defect| {
        let asked = Asked::read(parts::<7>(input)[0]);
        let (happened, accepted) = match defect {
            Defect::None => whole(input, &asked, &AwsLc),
            // Planted: nobody looks at signatures.
            Defect::Planted => whole(input, &asked, &Says::YES),
        };
        assert!(
            !accepted || signed(input).iter().all(|part| genuine().contains(part)),
            "accepted, but nobody signed it"
        );
        happened
    },
};

/// So many bytes at an offset.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn report(input: &[u8], defect: Defect) -> Vec<u64> {
    // Planted: what follows a report rides along.
    let read = if defect == Defect::Planted { &input[..input.len().min(REPORT_LEN)] } else { input };
    let report = match Report::parse(read) {
        Ok(report) => report,
        Err(error) => return vec![shape(&error)],
    };
    assert_eq!(input.len(), REPORT_LEN);
    let (version, vmpl) = (u32::from_le_bytes(at(input, 0).unwrap()), u32::from_le_bytes(at(input, 0x30).unwrap()));
    assert_eq!((report.version() as u32, report.vmpl()), (version, vmpl));
    assert_eq!(report.signed_bytes(), &input[..0x2a0]);
    let signature = report.signature();
    assert!(signature[..48].iter().eq(input[0x2a0..0x2d0].iter().rev()));
    assert!(signature[48..].iter().eq(input[0x2e8..0x318].iter().rev()));
    // r and s have 72 bytes each, of which P-384 takes 48.
    let tail = [&input[0x2d0..0x2e8], &input[0x318..]].concat();
    assert_eq!(report.tail_is_zero(), tail.iter().all(|byte| *byte == 0));
    assert_eq!(report.policy().0.to_le_bytes(), at(input, 8).unwrap());
    assert_eq!(Some(*report.report_data()), at(input, 0x50));
    assert_eq!(Some(*report.measurement()), at(input, 0x90));
    assert_eq!(Some(*report.host_data()), at(input, 0xc0));
    assert_eq!(Some(*report.chip_id()), at(input, 0x1a0));
    assert_eq!(Some(report.reported_tcb()), at(input, 0x180));
    assert_eq!(report.cpuid().is_some(), version >= 3);
    assert_eq!(report.mitigations().is_some(), version >= 5);
    let reserved = report.reserved_not_zero();
    assert!(!reserved.is_empty() || input[0x208..0x2a0].iter().all(|byte| *byte == 0));
    vec![shape(&(report.version(), report.signing_key(), reserved)), number(&report.policy().flags().count())]
}

fn vek(input: &[u8], defect: Defect) -> Vec<u64> {
    match Vek::parse(sloppy(input, defect == Defect::Planted)) {
        Ok(vek) => {
            let kind = match vek.kind() {
                Kind::Vcek { hwid } => {
                    let id = hwid.as_bytes();
                    assert!(id.len() == vek.product().line().chip_id_len() && hwid.padded().starts_with(id));
                    0
                }
                Kind::Vlek { provider } => {
                    assert!((1..=256).contains(&provider.len()) && provider.is_ascii());
                    1
                }
            };
            vec![number(&(kind, vek.product().name())), pki::is(vek.certificate(), input)]
        }
        Err(VekError::Certificate(error)) => vec![pki::refused(&error)],
        Err(VekError::Unexpected(_)) => vec![1],
        Err(error) => vec![shape(&error)],
    }
}

/// Judges parts; also says whether they were accepted.
fn whole(input: &[u8], asked: &Asked, provider: &dyn Provider) -> (Vec<u64>, bool) {
    let [_, report, vek, ask, list, own_list, policy] = parts(input);
    let (policy, platforms) = split(policy);
    let written = policy.len();
    let policy = read(policy);
    let evidence = SnpEvidence { report, vcek: vek, ask: some(ask), crl: some(list) };
    let by = |collateral| {
        let input = Input {
            evidence,
            expected: asked.expected,
            collateral,
            policy: &policy,
            platforms: &platforms,
            now: asked.now,
        };
        verify(input, provider).map(|(verified, verdict)| (verified.into_claims(), verdict))
    };
    let given = Collateral { roots: roots(), crl: some(own_list) };
    let (claims, verdict, happened) = appraised(|| by(given.into()), number(&input).is_multiple_of(8), CHECKS, written);
    let (asks, crls) = (some(ask), some(own_list));
    let fetched = Fetched { asks: asks.as_slice(), crls: crls.as_slice() };
    if let Ok(session) = Session::verify(roots(), fetched, asked.now, provider) {
        let same = |source| match by(source) {
            Ok((again, said)) => claims.as_ref() == Some(&again) && said == verdict,
            Err(said) => claims.is_none() && said == verdict,
        };
        assert!(same(Source::Session(&session)), "by a session it is judged otherwise");
        match session.endorse(vek, asked.now, provider) {
            Ok(endorsed) => assert!(same(Source::Endorsed(&endorsed)), "by an endorsed VEK it is judged otherwise"),
            Err(_) => assert!(claims.is_none(), "accepted by a VEK that is refused"),
        }
    }
    let Some(claims) = claims else { return (happened, false) };
    let settings = policy.settings();
    let expected = Asked::read(parts::<7>(input)[0]).expected;
    assert_eq!(at(report, 0x50), Some(expected.report_data), "bound to something else");
    assert_eq!(at(report, 0xc0), Some(expected.launch_field), "started with another brief");
    let guest: [u8; 8] = at(report, 8).expect("a policy");
    assert!(settings.insecure_debug || guest[2] & 8 == 0, "debugging nobody asked for");
    assert_eq!(guest[2] & 6, 2, "a migration agent");
    assert_eq!(at(report, 0x30), Some(u32::from(settings.vmpl).to_le_bytes()), "another privilege level");
    assert_eq!(at(report, 0x90), Some(claims.measurement.0));
    assert!(settings.hash.as_ref().is_none_or(|accepted| accepted.contains(&claims.measurement)));
    assert!(report.len() == REPORT_LEN && report[0x330..].iter().all(|byte| *byte == 0));
    assert!(claims.vek_not_after >= asked.now && claims.collateral_end >= asked.now, "out of date");
    assert!(verdict.failures().next().is_none());
    (happened, true)
}

/// A policy, and after a line of dashes the platforms it names.
fn split(text: &[u8]) -> (&str, Platforms) {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (policy, names) = text.split_once("\n---\n").unwrap_or((text, ""));
    let named: Vec<_> = names.lines().filter_map(|line| line.parse().ok()).collect();
    (policy, if named.is_empty() { Platforms::Any } else { Platforms::Only(named) })
}

/// What is no policy counts as one that accepts any code.
pub(crate) fn read(text: &str) -> Policy {
    toml::from_str(text).unwrap_or_else(|_| toml::from_str("any_measurement = true").expect("a policy"))
}

/// All that vectors trust of which nothing is refused.
fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let vectors = vectors("snp");
        let good = vectors.iter().filter(|vector| vector["expect"] == "ok");
        let arks = distinct(good.map(|vector| base64(&vector["ark"])).collect());
        Roots::from_arks(&arks.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("roots")
    })
}

fn seed(vector: &Value) -> Vec<u8> {
    let policy = [text(&vector["policy"]), b"\n---\n", &lines(&vector["platforms"])].concat();
    let [vek, ask, list] = ["vcek", "ask", "crl"].map(|key| base64(&vector[key]));
    let asked = Asked::of(vector, "expected_host_data");
    framed(&[&asked, &hexadecimal(&vector["report"]), &vek, &ask, &list, &[], &policy])
}

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let vectors = vectors("snp");
        let mut seeds: Vec<_> = vectors.iter().map(seed).collect();
        // With a list of the verifier's own, of each product line.
        let healthy = ["Milan", "Genoa", "Turin"].map(|line| format!("a healthy {line}, report version 5"));
        let lines = healthy.map(|about| vectors.iter().find(|vector| vector["about"] == about).expect("a vector"));
        for vector in lines {
            let whole = seed(vector);
            let [asked, report, vek, ask, list, _, policy] = parts(&whole);
            seeds.extend(lines.map(|other| {
                let own_list = base64(&other["crl"]);
                framed(&[asked, report, vek, ask, list, &own_list, policy])
            }));
        }
        // The longest of everything.
        let whole = seeds[0].clone();
        let [asked, report, vek, ask, _, _, policy] = parts(&whole);
        let (lists, certificates) = (pki::long_lists(), pki::long_certificates());
        seeds.extend(lists.iter().map(|list| framed(&[asked, report, vek, ask, list, &[], policy])));
        seeds.extend(certificates.iter().map(|ask| framed(&[asked, report, vek, ask, &lists[4], &[], policy])));
        seeds
    })
}

/// What of an input somebody has to sign: the report, the VEK, the list that is looked at, if there is one.
fn signed(input: &[u8]) -> Vec<u64> {
    let [_, report, vek, _, list, own_list, _] = parts(input);
    let list = if own_list.is_empty() { list } else { own_list };
    let parts = [report.get(..0x2a0), Some(vek), some(list)];
    parts.into_iter().flatten().map(|part| number(&part)).collect()
}

/// All that anybody signed.
fn genuine() -> &'static HashSet<u64> {
    static GENUINE: OnceLock<HashSet<u64>> = OnceLock::new();
    GENUINE.get_or_init(|| seeds().iter().flat_map(|seed| signed(seed)).collect())
}
