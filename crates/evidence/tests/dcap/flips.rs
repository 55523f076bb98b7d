//! Every bit counts: of a quote and of its collateral, each bit that is another one is refused, but for those listed here
//! with their reason.
//!
//! `DONJON_FLIPS=1` tries every bit, `N` every Nth; without it every 509th. The list is checked both ways: what it names is
//! accepted, all of it.

use super::folder::{Fetched, Folder};
use super::matrix::{Row, Wants, judge, rows};
use evidence::AwsLc;
use evidence::dcap::{Bundle, Collateral, Roots, Source, TcbStatus};
use std::ops::Range;

/// How many samples are taken, at least.
const SAMPLES: usize = 10;

fn stride() -> usize {
    std::env::var("DONJON_FLIPS").ok().map_or(509, |text| text.parse().expect("DONJON_FLIPS is a number"))
}

/// Bytes of which no bit counts, and why.
struct Free {
    bytes: Range<usize>,
    why: &'static str,
}

const ROOT: &str = "the root's certificate in a chain: its key is pinned, nobody's word is taken for it";
const HINT: &str = "the chain of a revocation list: the list's issuer is the one that the quote names";

/// From the beginning of the last certificate to its end.
fn root_of(pem: &[u8], wanted: usize) -> Option<Free> {
    let begins: Vec<usize> =
        pem.windows(11).enumerate().filter(|(_, window)| window == b"-----BEGIN ").map(|(at, _)| at).collect();
    let begin = *begins.get(wanted)?;
    let end = pem.windows(9).rposition(|window| window == b"-----END ").expect("an end");
    // The label's lines are read; what is between them is not.
    let inner = begin + "-----BEGIN CERTIFICATE-----\n".len()..end - 1;
    Some(Free { bytes: inner, why: ROOT })
}

/// Tries bits of some bytes; what is accepted must be free, and the other way round.
fn flip(what: &str, bytes: &[u8], free: &[Free], accepted: impl Fn(&[u8]) -> bool) -> usize {
    let mut flipped = bytes.to_vec();
    let mut tried = 0;
    for bit in (0..8 * bytes.len()).step_by(stride()) {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        flipped[byte] ^= mask;
        let is_free = free.iter().find(|free| free.bytes.contains(&byte));
        let accepted = accepted(&flipped);
        match is_free {
            None => assert!(!accepted, "{what}: byte {byte}, mask {mask:#x} is another, and it is accepted"),
            // It may be no certificate any more.
            Some(free) if free.why == ROOT => {}
            Some(free) => assert!(accepted, "{what}: byte {byte} is refused, but listed: {}", free.why),
        }
        flipped[byte] ^= mask;
        tried += 1;
    }
    tried
}

#[test]
fn every_bit_counts() {
    let Some(folder) = Folder::open() else { return };
    let roots = Roots::intel();
    let good: Vec<Row> =
        rows(&folder).into_iter().filter(|row| row.verdict != "REJECT" && row.bundle.is_some()).collect();
    assert!(good.len() >= SAMPLES, "{} samples", good.len());
    let mut tried = 0;
    for row in &good {
        let (name, now) = (row.bundle.as_ref().expect("a bundle"), row.at_unix.expect("an instant"));
        let quote = folder.decoded(&row.quote, row.encoding.as_deref().unwrap_or("binary"));
        let fetched = Fetched::read(&folder, &format!("dcap-matrix/{name}"));
        let bundle = fetched.bundle();
        let accepted: Vec<TcbStatus> =
            TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked).collect();
        let wants = Wants { accepted: &accepted, debug: row.debug };
        let what = |part: &str| format!("{} by {name}: {part}", row.quote);

        let session = Collateral::verify(&bundle, &roots, now, &AwsLc).expect("a session");
        let by_session = |quote: &[u8]| judge(row, quote, Source::Verified(&session), now, wants).is_ok();
        assert!(by_session(&quote), "control: {}", what("quote"));
        let chain = quote.windows(11).position(|window| window == b"-----BEGIN ").expect("a chain");
        let free: Vec<Free> = root_of(&quote[chain..], 2)
            .map(|Free { bytes, why }| Free { bytes: chain + bytes.start..chain + bytes.end, why })
            .into_iter()
            .collect();
        tried += flip(&what("quote"), &quote, &free, by_session);

        let by_bundle = |bundle: &Bundle<'_>| judge(row, &quote, Source::Bundle(bundle, &roots), now, wants).is_ok();
        assert!(by_bundle(&bundle), "control: {}", what("collateral"));
        let of = |bytes: &[u8]| root_of(bytes, 1).into_iter().collect::<Vec<_>>();
        tried += flip(&what("TCB info"), bundle.tcb_info, &[], |tcb_info| by_bundle(&Bundle { tcb_info, ..bundle }));
        tried += flip(&what("its signature"), bundle.tcb_info_signature, &[], |tcb_info_signature| {
            by_bundle(&Bundle { tcb_info_signature, ..bundle })
        });
        tried += flip(&what("its chain"), bundle.tcb_info_chain, &of(bundle.tcb_info_chain), |tcb_info_chain| {
            by_bundle(&Bundle { tcb_info_chain, ..bundle })
        });
        tried += flip(&what("QE identity"), bundle.qe_identity, &[], |qe_identity| {
            by_bundle(&Bundle { qe_identity, ..bundle })
        });
        tried += flip(&what("its signature"), bundle.qe_identity_signature, &[], |qe_identity_signature| {
            by_bundle(&Bundle { qe_identity_signature, ..bundle })
        });
        tried +=
            flip(&what("its chain"), bundle.qe_identity_chain, &of(bundle.qe_identity_chain), |qe_identity_chain| {
                by_bundle(&Bundle { qe_identity_chain, ..bundle })
            });
        tried += flip(&what("root CRL"), bundle.root_crl, &[], |root_crl| by_bundle(&Bundle { root_crl, ..bundle }));
        tried += flip(&what("PCK CRL"), bundle.pck_crl, &[], |pck_crl| by_bundle(&Bundle { pck_crl, ..bundle }));
        let pck_crl_chain = bundle.pck_crl_chain.expect("a chain");
        let hint = [Free { bytes: 0..pck_crl_chain.len(), why: HINT }];
        tried += flip(&what("its chain"), pck_crl_chain, &hint, |pck_crl_chain| {
            by_bundle(&Bundle { pck_crl_chain: Some(pck_crl_chain), ..bundle })
        });
    }
    assert!(tried > 100 * good.len());
}
