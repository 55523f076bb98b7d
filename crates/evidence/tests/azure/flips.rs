//! Every bit counts: of an HCL report, of a TPM's message and its signature, and of the PCRs' values, each bit that is
//! another one is refused, but for those listed here with their reason.
//!
//! `DONJON_FLIPS=1` tries every bit, `N` every Nth; without it every 61st. The list is checked both ways: what it names
//! is accepted, all of it.

use super::real::{good, policy};
use crate::support::flip::{Free, flip, stride};
use crate::support::folder::Folder;
use evidence::azure::{Evidence, TpmQuote};
use std::ops::Range;

/// Without DONJON_FLIPS, each bit of so many.
const EVERY: usize = 61;

/// REPORTMACSTRUCT begins after the header.
const MAC: usize = 32;

/// Of an HCL report with a TDREPORT, beside a quote of TDX 1.0. With an SNP report, there is nothing that does not
/// count.
const FREE: [(Range<usize>, &str); 6] = [
    (MAC + 1..MAC + 4, "subtype and version of the TDREPORT: read by the quoting enclave"),
    (MAC + 16..MAC + 32, "CPUSVN: the PCK certificate says which platform the quote is of"),
    (MAC + 32..MAC + 128, "hashes of what follows: that is compared with the quote itself"),
    (MAC + 224..MAC + 256, "the MAC: its key never leaves the platform"),
    (MAC + 256..MAC + 264, "which fields of TEE_TCB_INFO are valid: those of the quote are"),
    (MAC + 384..MAC + 400, "TEE_TCB_SVN_2: quotes of TDX 1.0 do not have it"),
];

/// MRSERVICETD is in the same case as TEE_TCB_SVN_2.
const SERVICE_TD: (Range<usize>, &str) = (MAC + 912..MAC + 960, "MRSERVICETD: quotes of TDX 1.0 do not have it");

#[test]
fn every_bit_of_azures_evidence_counts() {
    let Some(folder) = Folder::open() else { return };
    let any = policy("any_pcrs = true");
    let mut tried = 0;
    let samples = good(&folder);
    assert!(samples.len() >= 7);
    for sample in &samples {
        let evidence = sample.envelope.evidence();
        let quote = evidence.quote;
        let accepted = |evidence: Evidence<'_>| sample.judge(evidence, &any).is_ok();
        assert!(accepted(evidence), "control: {}", sample.name);
        let tdx = sample.name.contains("tdx");
        let free = FREE.into_iter().chain([SERVICE_TD]).filter(|_| tdx);
        let free: Vec<Free> = free.map(|(bytes, why)| Free { bytes, why, still: |_| true }).collect();
        let what = |part: &str| format!("{}: {part}", sample.name);
        tried += flip(EVERY, &what("HCL report"), evidence.hcl_report, &free, |hcl_report| {
            accepted(Evidence { hcl_report, quote })
        });
        tried += flip(EVERY, &what("message"), quote.message, &[], |message| {
            accepted(Evidence { quote: TpmQuote { message, ..quote }, ..evidence })
        });
        tried += flip(EVERY, &what("signature"), quote.signature, &[], |signature| {
            accepted(Evidence { quote: TpmQuote { signature, ..quote }, ..evidence })
        });
        let values = quote.pcrs.concat();
        tried += flip(EVERY, &what("PCRs"), &values, &[], |values| {
            let (pcrs, _) = values.as_chunks();
            accepted(Evidence { quote: TpmQuote { pcrs, ..quote }, ..evidence })
        });
    }
    assert!(tried > 400 * samples.len() || stride(EVERY) > EVERY, "{tried}");
}
