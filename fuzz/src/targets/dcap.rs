//! What SGX and TDX evidence is made of: quotes, PCK certificates, chains, TCB info, QE identities.
//!
//! What must hold: the parts of a quote are where its lengths say and add up to it; what is read of JSON is what any other
//! reader of JSON finds there; a chain is nothing but certificates.

use std::sync::OnceLock;

use evidence::Outcome;
use evidence::dcap::pck::{PckError, PlatformTcb};
use evidence::dcap::quote::{Body, MAX_QUOTE, QuoteError, Tee};
use evidence::dcap::tcb_info::{InfoError, MAX_JSON, QeIdentity, TcbInfo};
use evidence::dcap::{Bundle, CHECKS, Collateral, Quote, Roots, pck::Pck};
use serde_json::Value;

use super::evidence::{Says, base64, distinct, sloppy, text, vectors, whole};
use super::pki;
use crate::{Defect, Target, magnitude, number, shape};

pub(crate) const QUOTE: Target = Target {
    name: "quote",
    reads: "evidence::dcap::Quote",
    short: 5_000,
    seeds: || distinct(vectors("dcap").iter().map(|vector| base64(&vector["quote"])).collect()),
    run: quote,
};

pub(crate) const PCK: Target =
    Target { name: "pck", reads: "evidence::dcap::pck::Pck", short: 1_500, seeds: || leaves().to_vec(), run: pck };

pub(crate) const CHAIN: Target = Target {
    name: "chain",
    reads: "evidence::dcap, chains of certificates as PEM",
    short: 800,
    seeds: || of("tcb_info_chain").into_iter().chain(long_chains()).collect(),
    run: chain,
};

pub(crate) const TCB_INFO: Target = Target {
    name: "tcb-info",
    reads: "evidence::dcap::tcb_info::TcbInfo, and Answer",
    short: 1_500,
    seeds: || of("tcb_info").into_iter().chain(long_infos()).collect(),
    run: tcb_info,
};

pub(crate) const QE_IDENTITY: Target = Target {
    name: "qe-identity",
    reads: "evidence::dcap::tcb_info::QeIdentity",
    short: 1_500,
    seeds: || of("qe_identity"),
    run: qe_identity,
};

/// What vectors have under this name.
fn of(key: &str) -> Vec<Vec<u8>> {
    distinct(vectors("dcap").iter().map(|vector| text(&vector[key]).to_vec()).collect())
}

fn quote(input: &[u8], defect: Defect) -> Vec<u64> {
    let mut bytes = input.to_vec();
    if defect == Defect::Planted && matches!(Quote::parse(input), Err(QuoteError::Tee { version: 3, .. })) {
        // Planted: the first quotes are of SGX, whatever they say.
        bytes[4..8].fill(0);
    }
    let quote = match Quote::parse(&bytes) {
        Ok(quote) => quote,
        Err(error) => return vec![shape(&error)],
    };
    let word = |offset: usize| {
        let bytes = input.get(offset..).and_then(|rest| rest.first_chunk()).expect("a word");
        usize::try_from(u32::from_le_bytes(*bytes)).expect("a size")
    };
    assert!(input.len() <= MAX_QUOTE);
    let (tee, body) = match quote.body() {
        Body::Enclave(_) => (0, 384),
        Body::Td(_, None) if quote.version() == 4 => (0x81, 584),
        Body::Td(_, None) => (0x81, 6 + 584),
        Body::Td(_, Some(_)) => (0x81, 6 + 648),
    };
    assert_eq!((input[..2].to_vec(), word(4)), (quote.version().to_le_bytes().to_vec(), tee));
    assert_eq!(quote.signed(), &bytes[..48 + body]);
    // What follows: a length, and so many bytes of signatures, keys and certificates.
    let after = 48 + body + 4;
    let end = after + word(after - 4);
    assert_eq!(quote.tail_is_zero(), input[end..].iter().all(|byte| *byte == 0));
    assert_eq!((&quote.signature()[..], &quote.attestation_key()[..]), input[after..after + 128].split_at(64));
    let qe = after + 128 + if quote.version() > 3 { 6 } else { 0 };
    assert_eq!((quote.qe_signed(), &quote.qe_signature()[..]), input[qe..qe + 448].split_at(384));
    let fixed = if quote.version() > 3 { 128 + 6 + 448 + 2 + 6 } else { 128 + 448 + 2 + 6 };
    assert_eq!(quote.qe_authentication().len() + quote.chain().len() + fixed, end - after);
    assert!(input[..end].ends_with(quote.chain()));
    vec![
        number(&(quote.version(), body, quote.tail_is_zero(), quote.qe_report().reserved_is_zero())),
        magnitude(end).into(),
    ]
}

fn pck(input: &[u8], defect: Defect) -> Vec<u64> {
    match Pck::parse(sloppy(input, defect == Defect::Planted)) {
        Ok(pck) => {
            let stands = |bytes: &[u8]| input.windows(bytes.len()).any(|window| window == bytes);
            assert!(stands(&pck.ppid().0) && stands(&pck.fmspc()) && stands(&pck.pce_id()));
            assert!(pck.instance().is_none_or(|id| stands(&id)));
            let said = pck.configuration();
            vec![shape(&(pck.sgx_type(), said, pck.instance().is_some())), pki::is(pck.certificate(), input)]
        }
        Err(PckError::Pki(error)) => vec![pki::refused(&error)],
        Err(error) => vec![number(&error.to_string())],
    }
}

/// The only way to a chain that stands alone is collateral that has nothing else.
fn chain(input: &[u8], defect: Defect) -> Vec<u64> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let begin = input.windows(BEGIN.len()).position(|window| window == BEGIN);
    // Planted: text before a certificate is a comment.
    let read = if defect == Defect::Planted { &input[begin.unwrap_or(0)..] } else { input };
    let bundle = Bundle {
        tcb_info: &[],
        tcb_info_signature: &[],
        tcb_info_chain: read,
        qe_identity: &[],
        qe_identity_signature: &[],
        qe_identity_chain: &[],
        root_crl: &[],
        pck_crl: &[],
        pck_crl_chain: None,
    };
    let verdict = Collateral::verify(&bundle, roots(), 1_767_225_600, &Says::YES).expect_err("there is nothing else");
    let first = CHECKS.iter().position(|rule| rule.id == verdict.checks[0].id).expect("a rule");
    whole(&verdict, &CHECKS[first..first + verdict.checks.len()], 0);
    let signed = verdict.check("dcap.tcb_signer.signature").expect("a rule").outcome;
    if signed == Outcome::Pass {
        let count = input.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
        assert!(begin == Some(0) && (1..3).contains(&count) && input.len() <= 32 << 10, "more than certificates");
        let last = input.strip_suffix(&[0]).unwrap_or(input).trim_ascii_end();
        assert!(last.ends_with(b"-----END CERTIFICATE-----"), "more than certificates");
    }
    let found = verdict.check("dcap.tcb_signer.format").expect("a rule");
    vec![shape(&(signed, found.outcome, &found.found))]
}

fn tcb_info(input: &[u8], defect: Defect) -> Vec<u64> {
    let answer = [br#"{"tcbInfo":"#, input, br#","signature":""#, &[b'0'; 128], br#""}"#].concat();
    if let Ok(answer) = evidence::dcap::tcb_info::Answer::parse(&answer) {
        assert!(input.trim_ascii() == answer.body, "not as it was signed");
    }
    let info = match TcbInfo::parse(object(input, defect)) {
        Ok(info) => info,
        Err(error) => return vec![refused(&error)],
    };
    let value = json(input, info.issued, info.next_update);
    assert_eq!(hex::decode(text(&value["fmspc"])).ok(), Some(info.fmspc.to_vec()));
    assert_eq!(hex::decode(text(&value["pceId"])).ok(), Some(info.pce_id.to_vec()));
    assert_eq!(value["tcbEvaluationDataNumber"].as_u64(), Some(info.evaluation.into()));
    assert_eq!(value["id"] == "TDX", info.tee == Tee::Tdx);
    // The best platform there can be reaches a level, the first of those that others reach.
    let platform = |svn| PlatformTcb { components: [svn; 16], pce: u16::from(svn) << 8 | u16::from(svn) };
    let best = info.sgx_level(&platform(255)).expect("a level").clone();
    let reached: Vec<_> = [0, 1, 7, 255].iter().map(|svn| info.sgx_level(&platform(*svn)).is_some()).collect();
    assert!(reached.is_sorted(), "who has more reaches less");
    let versions = [
        [0; 16],
        [255; 16],
        [3; 16],
        [7, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
        [9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    let modules = versions.map(|svn| {
        let standing = info.tdx_level(&platform(255), &svn);
        (standing.as_ref().map(|standing| standing.status).map_err(|why| *why), info.module(&svn).is_some())
    });
    vec![shape(&(best.status, magnitude(best.advisories.len()), reached)), shape(&modules), shape(&info.tee)]
}

fn qe_identity(input: &[u8], defect: Defect) -> Vec<u64> {
    let identity = match QeIdentity::parse(object(input, defect)) {
        Ok(identity) => identity,
        Err(error) => return vec![refused(&error)],
    };
    let value = json(input, identity.issued, identity.next_update);
    assert_eq!(hex::decode(text(&value["mrsigner"])).ok(), Some(identity.signer.to_vec()));
    assert_eq!(value["isvprodid"].as_u64(), Some(identity.product_id.into()));
    assert_eq!(value["tcbEvaluationDataNumber"].as_u64(), Some(identity.evaluation.into()));
    assert_eq!(value["id"] == "TD_QE", identity.tee == Tee::Tdx);
    let reached: Vec<_> = [0, 1, 8, u16::MAX].iter().map(|svn| identity.level(*svn).is_some()).collect();
    assert!(reached.is_sorted() && (reached[3] || value["tcbLevels"][0]["tcb"]["isvsvn"].as_u64().is_none()));
    vec![shape(&(identity.tee, &reached, identity.level(u16::MAX).map(|level| level.status)))]
}

/// Planted: what follows an object is not looked at.
fn object(input: &[u8], defect: Defect) -> &[u8] {
    let end = input.iter().rposition(|byte| *byte == b'}').map_or(input.len(), |at| at + 1);
    if defect == Defect::Planted { &input[..end] } else { input }
}

/// What another reader finds.
fn json(input: &[u8], issued: u64, next_update: u64) -> Value {
    assert!(input.len() <= MAX_JSON && issued <= next_update);
    serde_json::from_slice(input).expect("JSON")
}

fn refused(error: &InfoError) -> u64 {
    match error {
        // Names what was found.
        InfoError::Json(said) => number(&said.split(['`', '"', '0', '1', '2', '3']).next()),
        error => shape(error),
    }
}

/// The roots of the vectors.
pub(crate) fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let vectors = vectors("dcap");
        let good = vectors.iter().filter(|vector| vector["expect"] == "ok");
        let roots = distinct(good.map(|vector| base64(&vector["root"])).collect());
        Roots::from_certificates(&roots.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("roots")
    })
}

/// Certificates of PCKs, and of those that are none.
fn leaves() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| distinct(vectors("dcap").iter().flat_map(pki::chains).collect()))
}

/// As many certificates as fit.
fn long_chains() -> Vec<Vec<u8>> {
    let small = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let label = [b"-----BEGIN ".as_slice(), &[b'A'; 32 << 10]].concat();
    vec![small.repeat((32 << 10) / small.len()), small.repeat((33 << 10) / small.len()), label]
}

/// As many levels, advisories and modules as fit.
pub(crate) fn long_infos() -> Vec<Vec<u8>> {
    let all = of("tcb_info");
    let good = all.iter().filter(|info| TcbInfo::parse(info).is_ok());
    let filled = |info: &Vec<u8>| {
        let mut value: Value = serde_json::from_slice(info).expect("JSON");
        let advisories =
            |most: usize, text: &str| (0..most).map(|n| Value::from(format!("{text}{n}"))).collect::<Vec<_>>();
        let mut many = value.clone();
        many["tcbLevels"][0]["advisoryIDs"] = advisories((MAX_JSON - (8 << 10)) / 9, "").into();
        value["tcbLevels"][0]["advisoryIDs"] = advisories(12, "INTEL-SA-\u{1b}[2J").into();
        let level = value["tcbLevels"][0].clone();
        let room = (MAX_JSON - (8 << 10)) / level.to_string().len();
        value["tcbLevels"] = vec![level; room.min(256)].into();
        [many, value].map(|value| value.to_string().into_bytes())
    };
    let mut long: Vec<_> = good.take(12).flat_map(filled).collect();
    long.push([b"[".repeat(MAX_JSON - 1), vec![b'0']].concat());
    long.push([br#"{"version":3,"#.as_slice(), &br#""a":[],"#.repeat(30_000), b"}"].concat());
    long
}
