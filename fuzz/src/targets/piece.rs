//! Collateral at its place: a line with the place, then the bytes, and the certificates of who issued them.
//!
//! What must hold: a place has one spelling; a piece is about what its place says, and the last signature that was asked for was
//! right; what is said to be wrong with one is short and text.

use evidence::appraisal::{Endorsements, Evidence, Need, Piece};
use evidence::snp::Vek;

use super::evidence::{Witnessed, base64, hexadecimal, vectors};
use super::file::roots;
use super::quote::bundled;
use crate::{Defect, Target, number, shape};

pub(crate) const PIECE: Target =
    Target { name: "piece", reads: "evidence::appraisal, needs and pieces", short: 2_000, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let (says, rest) = input.split_first().unwrap_or((&0, &[]));
    let (place, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    let Ok(place) = str::from_utf8(place) else { return vec![0] };
    let Some(need) = Need::at(place) else { return vec![1] };
    assert_eq!(need.place(), place, "two spellings");
    assert!(!need.brings_issuers() || need.issuers().is_some_and(|issuers| Need::at(&issuers).is_none()));
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    const PEM: &[u8] = b"-----BEGIN";
    let at = rest.windows(PEM.len()).position(|window| window == PEM).filter(|_| need.issuers().is_some());
    let (body, issuers) = rest.split_at(at.unwrap_or(rest.len()));
    let asked = Witnessed::of(*says, defect == Defect::Planted);
    match Piece::read(&need, body, issuers, roots(), &asked) {
        Ok(piece) => {
            assert!(asked.yes(), "nobody signed it");
            assert!(*piece.need() == need && !piece.endorsements().is_empty() && !piece.is_older_than(&piece));
            vec![2, shape(&need), number(&piece.evaluation().is_some())]
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() <= 800, "an error of {} bytes: {said}", said.len());
            assert!(!said.chars().any(char::is_control), "an error says what is no text: {said:?}");
            vec![3, number(&said.split(['`', '"', '0', '1', '2', '3']).next())]
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |place: &str, body: &[u8], issuers: &[u8]| [b"\0", place.as_bytes(), b"\n", body, issuers].concat();
    let pem = |der: &[u8]| super::file::pem("CERTIFICATE", der);
    let mut seeds = Vec::new();
    for vector in vectors("snp").into_iter().filter(|vector| vector["expect"] == "ok").take(6) {
        let [ark, vek, ask, list] = ["ark", "vcek", "ask", "crl"].map(|key| base64(&vector[key]));
        let chain = pem(&ask) + &pem(&ark);
        let report = hexadecimal(&vector["report"]);
        let Ok(parsed) = Vek::parse(&vek) else { continue };
        let line = parsed.product().line();
        let mut brought = Endorsements::default();
        _ = brought.certificate(&vek);
        let needs = Need::of(&Evidence::Snp(report), &brought);
        for need in needs {
            let place = need.place();
            seeds.push(match need {
                Need::Vcek { .. } => seed(&place, &vek, chain.as_bytes()),
                Need::SnpList { .. } => seed(&place, &list, &[]),
                _ => seed(&place, chain.as_bytes(), &[]),
            });
        }
        seeds.push(seed(&format!("amd/{line}/vlek/chain.pem"), chain.as_bytes(), &[]));
    }
    for tee in ["sgx", "tdx"] {
        let vectors = vectors("dcap");
        let good = vectors.into_iter().find(|vector| vector["expect"] == "ok" && vector["tee"] == tee);
        let good = good.expect("one that is good");
        let [info, info_signature, info_chain, qe, qe_signature, qe_chain, root, list, list_chain] = bundled(&good);
        let answer = |name: &str, body: &[u8], signature: &[u8]| {
            let body = String::from_utf8_lossy(body);
            format!(r#"{{"{name}":{body},"signature":"{}"}}"#, hex::encode(signature)).into_bytes()
        };
        let quote = base64(&good["quote"]);
        for need in Need::of(&Evidence::Sgx(quote), &Endorsements::default()) {
            let place = need.place();
            seeds.push(match need {
                Need::TcbInfo { .. } => seed(&place, &answer("tcbInfo", &info, &info_signature), &info_chain),
                Need::QeIdentity { .. } => seed(&place, &answer("enclaveIdentity", &qe, &qe_signature), &qe_chain),
                Need::RootList => seed(&place, &root, &[]),
                _ => seed(&place, &list, &list_chain),
            });
        }
    }
    seeds
}
