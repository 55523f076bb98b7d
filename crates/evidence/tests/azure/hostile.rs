//! Bytes nobody signed: truncations, replaced bytes, noise. Nothing may panic, nothing may pass.

use super::vectors::{Bytes, control};
use evidence::azure::{Envelope, HclReport, Quote, Runtime, Tee};
use serde_json::json;

type Reach = fn(&mut Bytes) -> &mut Vec<u8>;

/// Everything the wrapping is made of, by name and with a way to reach it.
fn parts() -> [(&'static str, Reach); 3] {
    [
        ("HCL report", |bytes| &mut bytes.hcl_report),
        ("message", |bytes| &mut bytes.message),
        ("signature", |bytes| &mut bytes.signature),
    ]
}

#[test]
fn no_truncation_and_no_added_byte_passes() {
    for (name, step) in [("ok-snp", 7), ("ok-tdx-15", 61)] {
        let (file, bytes) = control(name);
        assert!(file.judge(&bytes).is_ok(), "control: {name}");
        // What follows the HCL report is the rest of a buffer, as long as it is zeros.
        let end = bytes.hcl_report.len() - 100;
        for (part, reach) in parts() {
            let whole = reach(&mut bytes.clone()).len();
            let last = if part == "HCL report" { end } else { whole };
            for length in (0..last).step_by(step).chain([last - 1]) {
                let mut broken = bytes.clone();
                reach(&mut broken).truncate(length);
                assert!(file.judge(&broken).is_err(), "{name}: {part} cut to {length} bytes");
            }
            let mut longer = bytes.clone();
            reach(&mut longer).push(1);
            assert!(file.judge(&longer).is_err(), "{name}: {part} with a byte behind it");
        }
    }
}

/// Whole bytes replaced: lengths that claim the most and the least.
#[test]
fn replaced_bytes_do_not_panic_the_parsers() {
    for name in ["ok-snp", "ok-tdx-15"] {
        let (_, bytes) = control(name);
        let runtime = HclReport::parse(&bytes.hcl_report).expect("a report").claims().to_vec();
        let sent = json!({
            "version": 1, "hcl_report": "", "vcek": "",
            "tpm_quote": { "message": hex::encode(&bytes.message), "signature": "", "pcrs": ["00".repeat(32)] },
        });
        let envelope = sent.to_string().into_bytes();
        assert!(Envelope::parse(&envelope).is_ok(), "control");
        for whole in [bytes.hcl_report, bytes.message, runtime, envelope] {
            for at in 0..whole.len() {
                for byte in [0x00, 0x7F, 0x80, 0xFF, b'"', b'{', b'['] {
                    let mut bytes = whole.clone();
                    bytes[at] = byte;
                    parse_all(&bytes);
                }
            }
        }
    }
}

#[test]
fn noise_does_not_panic_the_parsers() {
    // A fixed xorshift: the same noise each time.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    for round in 0..4000_usize {
        let mut bytes: Vec<u8> = (0..round % 1500).map(|_| next()).collect();
        // Most of it gets past what stands first.
        let first: &[u8] = match round % 4 {
            0 => b"HCLA",
            1 => &[0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 1],
            2 => b"{\"keys\":[",
            _ => &[],
        };
        if let Some(start) = bytes.get_mut(..first.len()) {
            start.copy_from_slice(first);
        }
        parse_all(&bytes);
    }
}

fn parse_all(bytes: &[u8]) {
    if let Ok(report) = HclReport::parse(bytes) {
        for tee in [Tee::Snp, Tee::Tdx] {
            let _ = (report.reserved_not_zero(tee), report.report_data(tee));
        }
        let _ = Runtime::parse(report.claims());
    }
    if let Ok(quote) = Quote::parse(bytes) {
        assert!(quote.selections.len() <= 16 && quote.selections.iter().all(|one| one.pcrs().count() <= 24));
    }
    if let Ok(runtime) = Runtime::parse(bytes) {
        let _ = runtime.attestation_key();
    }
    let _ = Envelope::parse(bytes);
}

/// Whoever sends runtime data that nothing vouches for writes nothing into a verdict that moves a terminal's cursor.
#[test]
fn what_the_sender_wrote_of_the_machine_is_text_in_every_verdict() {
    let (file, mut bytes) = control("ok-every-policy-key");
    assert!(file.judge(&bytes).is_ok(), "control");
    for (text, escape) in [("\"01234567-89ab", "\"\\u001b[2J"), ("\"YWFhYWFhYWFh", "\"\\u0007\\u0000")] {
        let at = bytes.hcl_report.windows(text.len()).position(|at| at.eq_ignore_ascii_case(text.as_bytes()));
        let at = at.expect("the text");
        assert!(escape.len() <= text.len());
        let mut hcl_report = bytes.hcl_report.clone();
        hcl_report[at..at + escape.len()].copy_from_slice(escape.as_bytes());
        let original = core::mem::replace(&mut bytes.hcl_report, hcl_report);
        let verdict = file.judge(&bytes).expect_err("nobody vouches for it");
        bytes.hcl_report = original;
        assert!(verdict.failures().any(|check| check.id == "azure.runtime.format"), "{text}");
        assert!(verdict.checks.iter().all(|check| !check.found.chars().any(char::is_control)), "{text}");
    }
}
