//! SGX and TDX: the whole judgement of a quote by collateral that came with it, and by the same collateral verified before.
//!
//! What must hold: both say the same; what fails of collateral alone fails beside a quote; what is accepted is bound to what
//! was expected (Intel SDM volume 3D, REPORT; Intel TDX module, TDREPORT_STRUCT), has no debugging nobody asked for, and
//! with the vendor's keys nothing that the simulated vendor did not sign. Whole judgements are made twice: with signatures
//! that are right without a key, so that all rules are reached, and with real ones.

use std::collections::HashSet;
use std::sync::OnceLock;

use evidence::dcap::pck::Ppid;
use evidence::dcap::quote::Tee;
use evidence::dcap::{Bundle, Collateral, Platforms, Quote, Source};
use evidence::{AwsLc, Expected, Outcome, Provider, Rule, Skip, Verdict, sgx, tdx};
use serde_json::Value;

use super::dcap::{long_infos, roots};
use super::evidence::{Asked, Says, appraised, base64, framed, hexadecimal, lines, parts, some, text, vectors};
use super::pki::long_lists;
use crate::{Defect, Target, number};

pub(crate) const SGX: Target = Target {
    name: "sgx",
    reads: "evidence::sgx::verify, signatures aside",
    short: 300,
    seeds: || seeds(Tee::Sgx).to_vec(),
    run: |input, defect| unsigned(Tee::Sgx, input, defect),
};

pub(crate) const SGX_SIGNED: Target = Target {
    name: "sgx-signed",
    reads: "evidence::sgx::verify, with the simulated vendor's keys",
    short: 600,
    seeds: || seeds(Tee::Sgx).to_vec(),
    run: |input, defect| signed(Tee::Sgx, input, defect),
};

pub(crate) const TDX: Target = Target {
    name: "tdx",
    reads: "evidence::tdx::verify, signatures aside",
    short: 300,
    seeds: || seeds(Tee::Tdx).to_vec(),
    run: |input, defect| unsigned(Tee::Tdx, input, defect),
};

pub(crate) const TDX_SIGNED: Target = Target {
    name: "tdx-signed",
    reads: "evidence::tdx::verify, with the simulated vendor's keys",
    short: 600,
    seeds: || seeds(Tee::Tdx).to_vec(),
    run: |input, defect| signed(Tee::Tdx, input, defect),
};

/// Parts of an input: what is asked, the quote, the nine of a bundle, the policy, the platforms.
const PARTS: usize = 13;

fn unsigned(tee: Tee, input: &[u8], defect: Defect) -> Vec<u64> {
    let parts = parts::<PARTS>(input);
    let asked = Asked::read(parts[0]);
    let mut expected = asked.expected;
    if defect == Defect::Planted
        && let Some(found) = body(parts[1]).and_then(|body| body.report_data())
    {
        // Planted: the report data is not compared.
        expected.report_data = found;
    }
    whole(tee, parts, expected, &asked.says).0
}

fn signed(tee: Tee, input: &[u8], defect: Defect) -> Vec<u64> {
    let parts = parts::<PARTS>(input);
    let expected = Asked::read(parts[0]).expected;
    let (happened, accepted) = match defect {
        Defect::None => whole(tee, parts, expected, &AwsLc),
        // Planted: nobody looks at signatures.
        Defect::Planted => whole(tee, parts, expected, &Says::YES),
    };
    let genuine = genuine(tee);
    assert!(!accepted || known(parts).iter().all(|part| genuine.contains(part)), "accepted, but nobody signed it");
    happened
}

/// The bytes of what was attested, by offset.
struct Body<'a> {
    bytes: &'a [u8],
    tee: Tee,
}

fn body(quote: &[u8]) -> Option<Body<'_>> {
    let (tee, at) = match quote.first()? {
        3 => (Tee::Sgx, 48),
        4 => (Tee::Tdx, 48),
        _ => (Tee::Tdx, 54),
    };
    Some(Body { bytes: quote.get(at..)?, tee })
}

impl Body<'_> {
    fn at<const N: usize>(&self, sgx: usize, tdx: usize) -> Option<[u8; N]> {
        let offset = if self.tee == Tee::Sgx { sgx } else { tdx };
        self.bytes.get(offset..)?.first_chunk().copied()
    }

    fn report_data(&self) -> Option<[u8; 64]> {
        self.at(320, 520)
    }
}

/// What both kinds of claims say.
#[derive(PartialEq)]
struct Facts {
    report_data: [u8; 64],
    measurement: Vec<u8>,
    end: u64,
}

/// Judges parts; also says whether they were accepted.
fn whole(tee: Tee, parts: [&[u8]; PARTS], expected: Expected, provider: &dyn Provider) -> (Vec<u64>, bool) {
    let [asked, quote, bundled @ .., policy, named] = parts;
    let bundle = bundle(bundled);
    let asked = Asked::read(asked);
    let policy = std::str::from_utf8(policy).unwrap_or_default();
    let judge = Judge { tee, quote, expected, policy, platforms: &platforms(named), now: asked.now, provider };
    let (claims, verdict, happened) = appraised(
        || judge.by(Source::Bundle(&bundle, roots())),
        number(&quote).is_multiple_of(8),
        judge.rules(),
        policy.len(),
    );
    match Collateral::verify(&bundle, roots(), asked.now, provider) {
        Ok(session) => {
            let same = |source| match judge.by(source) {
                Ok((again, said)) => claims.as_ref() == Some(&again) && said == verdict,
                Err(said) => claims.is_none() && said == verdict,
            };
            assert!(same(Source::Verified(&session)), "by a session it is judged otherwise");
            let chain = Quote::parse(quote).map(|quote| quote.chain());
            match chain.map(|chain| session.endorse(chain, asked.now, provider)) {
                Ok(Ok(endorsed)) => {
                    assert!(same(Source::Endorsed(&endorsed)), "by an endorsed PCK it is judged otherwise");
                }
                Ok(Err(_)) => assert!(claims.is_none(), "accepted by a PCK that is refused"),
                Err(_) => {}
            }
        }
        Err(alone) => {
            // A quote may bring another certificate of the CA, which then stands for that of the collateral; and a policy may do
            // without a QE identity.
            let without = verdict.check("dcap.qe_identity.format").map(|check| check.outcome);
            let without = without == Some(Outcome::Skipped(Skip::NotAsked));
            let elsewhere = |id: &str| id.starts_with("dcap.ca.") || without && id.starts_with("dcap.qe_");
            let failures: Vec<_> = alone.failures().filter(|check| !elsewhere(check.id)).collect();
            assert!(claims.is_none() || failures.is_empty(), "accepted by collateral that is refused: {failures:?}");
            let failed = |id: &str| verdict.failures().any(|check| check.id == id);
            assert!(
                failures.iter().all(|check| failed(check.id)),
                "what fails alone does not beside a quote: {failures:?}"
            );
        }
    }
    let Some(claims) = claims else { return (happened, false) };
    let body = body(quote).expect("a body");
    assert!(body.tee == tee, "of another TEE");
    assert!(body.report_data() == Some(asked.expected.report_data), "bound to something else");
    assert!(body.report_data() == Some(claims.report_data) && claims.end >= asked.now, "out of date");
    let launched: [u8; 48] = body.at(192, 184).expect("an id");
    assert!(launched.starts_with(&asked.expected.launch_field), "started with another brief");
    let flags: [u8; 8] = body.at(48, 120).expect("attributes");
    let debug = flags[0] & if tee == Tee::Sgx { 2 } else { 0x71 } != 0;
    assert!(!debug || policy.contains("insecure_debug"), "debugging nobody asked for");
    let measurement =
        if tee == Tee::Sgx { body.at::<32>(64, 0).map(Vec::from) } else { body.at::<48>(0, 136).map(Vec::from) };
    assert!(measurement == Some(claims.measurement));
    (happened, true)
}

/// A bundle of its parts.
pub(crate) fn bundle(parts: [&[u8]; 9]) -> Bundle<'_> {
    let [tcb_info, tcb_signature, tcb_chain, qe, qe_signature, qe_chain, root_crl, pck_crl, pck_crl_chain] = parts;
    Bundle {
        tcb_info,
        tcb_info_signature: tcb_signature,
        tcb_info_chain: tcb_chain,
        qe_identity: qe,
        qe_identity_signature: qe_signature,
        qe_identity_chain: qe_chain,
        root_crl,
        pck_crl,
        pck_crl_chain: some(pck_crl_chain),
    }
}

/// The parts of the bundle that a vector has.
pub(crate) fn bundled(vector: &Value) -> [Vec<u8>; 9] {
    let texts = |key: &str| text(&vector[key]).to_vec();
    [
        texts("tcb_info"),
        hexadecimal(&vector["tcb_info_signature"]),
        texts("tcb_info_chain"),
        texts("qe_identity"),
        hexadecimal(&vector["qe_identity_signature"]),
        texts("qe_identity_chain"),
        base64(&vector["root_crl"]),
        base64(&vector["pck_crl"]),
        texts("pck_crl_chain"),
    ]
}

struct Judge<'a> {
    tee: Tee,
    quote: &'a [u8],
    expected: Expected,
    policy: &'a str,
    platforms: &'a Platforms,
    now: u64,
    provider: &'a dyn Provider,
}

impl Judge<'_> {
    fn rules(&self) -> &'static [Rule] {
        match self.tee {
            Tee::Sgx => sgx::CHECKS,
            Tee::Tdx => tdx::CHECKS,
        }
    }

    /// What is no policy counts as one that accepts any code.
    fn by(&self, collateral: Source<'_>) -> Result<(Facts, Verdict), Verdict> {
        const ANY: &str = "any_measurement = true";
        let Self { tee, quote, expected, policy, platforms, now, provider } = *self;
        match tee {
            Tee::Sgx => {
                let policy = &toml::from_str(policy).unwrap_or_else(|_| toml::from_str(ANY).expect("a policy"));
                let input = sgx::Input { quote, expected, collateral, policy, platforms, now };
                sgx::verify(input, provider).map(|(verified, verdict)| {
                    let claims = verified.claims();
                    let measurement = claims.measurement.to_vec();
                    let end = claims.platform.collateral_end;
                    (Facts { report_data: claims.report_data, measurement, end }, verdict)
                })
            }
            Tee::Tdx => {
                let policy = &toml::from_str(policy).unwrap_or_else(|_| toml::from_str(ANY).expect("a policy"));
                let input = tdx::Input { quote, expected, collateral, policy, platforms, now };
                tdx::verify(input, provider).map(|(verified, verdict)| {
                    let claims = verified.claims();
                    let measurement = claims.measurement.to_vec();
                    let end = claims.platform.collateral_end;
                    (Facts { report_data: claims.report_data, measurement, end }, verdict)
                })
            }
        }
    }
}

/// Names of platforms, a line each.
fn platforms(text: &[u8]) -> Platforms {
    let name = |line| hex::decode(line).ok()?.try_into().ok().map(Ppid);
    let named: Vec<_> = text.split(|byte| *byte == b'\n').filter_map(name).collect();
    if named.is_empty() { Platforms::Any } else { Platforms::Only(named) }
}

fn seeds(tee: Tee) -> &'static [Vec<u8>] {
    static SEEDS: [OnceLock<Vec<Vec<u8>>>; 2] = [const { OnceLock::new() }; 2];
    let (at, name) = if tee == Tee::Sgx { (0, "sgx") } else { (1, "tdx") };
    SEEDS[at].get_or_init(|| {
        let seed = |vector: &Value| {
            let asked = Asked::of(vector, "expected_launch_field");
            let (quote, bundled) = (base64(&vector["quote"]), bundled(vector));
            let mut parts = vec![asked.as_slice(), &quote];
            parts.extend(bundled.iter().map(Vec::as_slice));
            let platforms = lines(&vector["platforms"]);
            parts.extend([text(&vector["policy"]), &platforms]);
            framed(&parts)
        };
        let all = vectors("dcap");
        let mut seeds: Vec<_> = all.iter().filter(|vector| vector["tee"] == name).map(seed).collect();
        // The longest of everything.
        let whole = seeds[0].clone();
        for (list, info) in long_lists().iter().zip(long_infos().iter().cycle()) {
            let mut parts = parts::<PARTS>(&whole);
            (parts[2], parts[8], parts[9]) = (info, list, list);
            parts[11] = b"any_measurement = true\nallowed_advisories = []\n";
            seeds.push(framed(&parts));
        }
        seeds
    })
}

/// What somebody has to sign: header and body, the quoting enclave's report, JSON, lists.
fn known(parts: [&[u8]; PARTS]) -> Vec<u64> {
    let [_, quote, tcb_info, _, _, qe_identity, _, _, root_crl, pck_crl, ..] = parts;
    let quote = Quote::parse(quote).ok();
    let of_quote = quote.iter().flat_map(|quote| [quote.signed(), quote.qe_signed()]);
    of_quote.chain([tcb_info, qe_identity, root_crl, pck_crl]).map(|part| number(&part)).collect()
}

/// All that the simulated vendor signed.
fn genuine(tee: Tee) -> &'static HashSet<u64> {
    static GENUINE: [OnceLock<HashSet<u64>>; 2] = [const { OnceLock::new() }; 2];
    let at = if tee == Tee::Sgx { 0 } else { 1 };
    GENUINE[at].get_or_init(|| seeds(tee).iter().flat_map(|seed| known(parts(seed))).collect())
}
