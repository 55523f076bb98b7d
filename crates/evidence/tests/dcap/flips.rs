//! Every bit counts: of a quote and of its collateral, each bit that is another one is refused, but for those listed here
//! with their reason.

use super::matrix::{Row, Wants, judge, rows};
use crate::support::fetched::Fetched;
use crate::support::flip::{Free, flip, stride};
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use evidence::dcap::{Bundle, Collateral, Roots, Source, TcbStatus};

/// Without DONJON_FLIPS, each bit of so many.
const EVERY: usize = 509;

/// How many samples are taken, at least.
const SAMPLES: usize = 10;

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
    Some(Free { bytes: inner, why: ROOT, still: is_pem })
}

/// Whether what is between the label's lines can be read, whatever it says.
fn is_pem(inner: &[u8]) -> bool {
    let whole = [b"-----BEGIN CERTIFICATE-----\n", inner, b"\n-----END CERTIFICATE-----"].concat();
    let decoder = der::pem::Decoder::new_detect_wrap(&whole);
    decoder.is_ok_and(|mut decoder| decoder.decode_to_end(&mut Vec::new()).is_ok())
}

/// Quotes with collateral that are accepted by it.
fn good(folder: &Folder) -> Vec<Row> {
    rows(folder).into_iter().filter(|row| row.verdict != "REJECT" && row.bundle.is_some()).collect()
}

fn but_revoked() -> Vec<TcbStatus> {
    TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked).collect()
}

#[test]
fn every_bit_counts() {
    let Some(folder) = Folder::open() else { return };
    let roots = Roots::intel();
    let (good, accepted) = (good(&folder), but_revoked());
    assert!(good.len() >= SAMPLES, "{} samples", good.len());
    let mut tried = 0;
    for row in &good {
        let (name, now) = (row.bundle.as_ref().expect("a bundle"), row.at_unix.expect("an instant"));
        let quote = folder.decoded(&row.quote, row.encoding.as_deref().unwrap_or("binary"));
        let fetched = Fetched::read(&folder, &format!("dcap-matrix/{name}"));
        let bundle = fetched.bundle();
        let wants = Wants { accepted: &accepted, debug: row.debug };
        let what = |part: &str| format!("{} by {name}: {part}", row.quote);

        let session = Collateral::verify(&bundle, &roots, now, PROVIDER).expect("a session");
        let by_session = |quote: &[u8]| judge(row, quote, Source::Verified(&session), now, wants).is_ok();
        assert!(by_session(&quote), "control: {}", what("quote"));
        let chain = quote.windows(11).position(|window| window == b"-----BEGIN ").expect("a chain");
        let free: Vec<Free> = root_of(&quote[chain..], 2)
            .map(|free| Free { bytes: chain + free.bytes.start..chain + free.bytes.end, ..free })
            .into_iter()
            .collect();
        tried += flip(EVERY, &what("quote"), &quote, &free, by_session);

        let by_bundle = |bundle: &Bundle<'_>| judge(row, &quote, Source::Bundle(bundle, &roots), now, wants).is_ok();
        assert!(by_bundle(&bundle), "control: {}", what("collateral"));
        let of = |bytes: &[u8]| root_of(bytes, 1).into_iter().collect::<Vec<_>>();
        tried +=
            flip(EVERY, &what("TCB info"), bundle.tcb_info, &[], |tcb_info| by_bundle(&Bundle { tcb_info, ..bundle }));
        tried += flip(EVERY, &what("its signature"), bundle.tcb_info_signature, &[], |tcb_info_signature| {
            by_bundle(&Bundle { tcb_info_signature, ..bundle })
        });
        tried += flip(EVERY, &what("its chain"), bundle.tcb_info_chain, &of(bundle.tcb_info_chain), |tcb_info_chain| {
            by_bundle(&Bundle { tcb_info_chain, ..bundle })
        });
        tried += flip(EVERY, &what("QE identity"), bundle.qe_identity, &[], |qe_identity| {
            by_bundle(&Bundle { qe_identity, ..bundle })
        });
        tried += flip(EVERY, &what("its signature"), bundle.qe_identity_signature, &[], |qe_identity_signature| {
            by_bundle(&Bundle { qe_identity_signature, ..bundle })
        });
        tried += flip(
            EVERY,
            &what("its chain"),
            bundle.qe_identity_chain,
            &of(bundle.qe_identity_chain),
            |qe_identity_chain| by_bundle(&Bundle { qe_identity_chain, ..bundle }),
        );
        tried +=
            flip(EVERY, &what("root CRL"), bundle.root_crl, &[], |root_crl| by_bundle(&Bundle { root_crl, ..bundle }));
        tried += flip(EVERY, &what("PCK CRL"), bundle.pck_crl, &[], |pck_crl| by_bundle(&Bundle { pck_crl, ..bundle }));
        let pck_crl_chain = bundle.pck_crl_chain.expect("a chain");
        let hint = [Free { bytes: 0..pck_crl_chain.len(), why: HINT, still: |_| true }];
        tried += flip(EVERY, &what("its chain"), pck_crl_chain, &hint, |pck_crl_chain| {
            by_bundle(&Bundle { pck_crl_chain: Some(pck_crl_chain), ..bundle })
        });
    }
    assert!(tried > 100_000 / stride(EVERY) * good.len());
}

/// A certificate that nobody signed says that the issuer may issue no lists.
#[test]
fn a_hint_takes_nothing_away() {
    let Some(folder) = Folder::open() else { return };
    let accepted = but_revoked();
    for row in good(&folder) {
        let (name, now) = (row.bundle.as_ref().expect("a bundle"), row.at_unix.expect("an instant"));
        let quote = folder.decoded(&row.quote, row.encoding.as_deref().unwrap_or("binary"));
        let fetched = Fetched::read(&folder, &format!("dcap-matrix/{name}"));
        let bundle = fetched.bundle();
        let pem = bundle.pck_crl_chain.expect("a chain");
        let end = pem.windows(9).position(|window| window == b"-----END ").expect("an end");
        let pem = [&pem[..end], b"-----END CERTIFICATE-----"].concat();
        let mut decoder = der::pem::Decoder::new_detect_wrap(&pem).expect("PEM");
        let mut ca = Vec::new();
        decoder.decode_to_end(&mut ca).expect("a certificate");
        // KeyUsage: keyCertSign and cRLSign, then the former alone (RFC 5280 section 4.2.1.3).
        let at = ca.windows(4).position(|window| window == [0x03, 0x02, 0x01, 0x06]).expect("a key usage");
        ca[at + 2..at + 4].copy_from_slice(&[0x02, 0x04]);
        let hint = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &ca).expect("PEM");
        let bundle = Bundle { pck_crl_chain: Some(hint.as_bytes()), ..bundle };
        let wants = Wants { accepted: &accepted, debug: row.debug };
        let judged = judge(&row, &quote, Source::Bundle(&bundle, &Roots::intel()), now, wants);
        assert!(judged.is_ok(), "{}: {:?}", row.quote, judged.err().and_then(|verdict| verdict.primary().cloned()));
    }
}
