//! Bytes nobody signed: truncations, flipped bits, noise. Nothing may panic, nothing may pass.

use crate::vectors::{Case, control};
use evidence::pki::{Certificate, Crl, Scheme};
use evidence::snp::{Report, Vek};

type Reach = fn(&mut Case) -> &mut Vec<u8>;

/// Everything the evidence is made of, by name and with a way to reach it.
fn parts() -> [(&'static str, Reach); 4] {
    [
        ("report", |case| &mut case.report),
        ("vcek", |case| &mut case.vcek),
        ("ask", |case| case.ask.as_mut().expect("the control has an ASK")),
        ("crl", |case| case.crl.as_mut().expect("the control has a list")),
    ]
}

#[test]
fn no_truncation_passes() {
    // Every length of one, some of the other: Turin's certificate has another layout.
    for (name, step) in [("ok-milan-v2", 1), ("ok-turin-v5", 7)] {
        let case = control(name);
        assert!(case.verify().is_ok(), "control");
        for (part, reach) in parts() {
            let whole = reach(&mut case.clone()).clone();
            for len in (0..whole.len()).step_by(step) {
                let mut broken = case.clone();
                reach(&mut broken).truncate(len);
                assert!(broken.verify().is_err(), "{name}: {part} cut to {len} bytes");
            }
        }
    }
}

#[test]
fn no_added_byte_passes() {
    let case = control("ok-genoa-v5");
    for (part, reach) in parts() {
        for byte in [0x00, 0x05, 0x30, 0xFF] {
            let mut broken = case.clone();
            reach(&mut broken).push(byte);
            assert!(broken.verify().is_err(), "{part} with {byte:#x} behind it");
        }
    }
}

/// One bit in every byte, another bit each time, and every bit of the first and last bytes. All
/// of it is signed, or the signature, or must be zero, or must repeat what is signed.
#[test]
fn no_flipped_bit_passes() {
    let case = control("ok-genoa-v5");
    assert!(case.verify().is_ok(), "control");
    for (part, reach) in parts() {
        let len = reach(&mut case.clone()).len();
        for at in 0..len {
            let all = at < 24 || at + 8 >= len;
            for bit in (0..8).filter(|bit| all || at % 8 == *bit) {
                let mut broken = case.clone();
                reach(&mut broken)[at] ^= 1 << bit;
                assert!(broken.verify().is_err(), "{part} with bit {bit} of byte {at:#x} flipped");
            }
        }
    }
}

/// Whole bytes replaced: lengths and tags that claim the most and the least.
#[test]
fn replaced_bytes_do_not_panic_the_parsers() {
    let case = control("ok-genoa-v5");
    for (_, reach) in parts() {
        let whole = reach(&mut case.clone()).clone();
        for at in 0..whole.len() {
            for byte in [0x00, 0x7F, 0x80, 0x84] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                parse_all(&bytes);
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
        state
    };
    for round in 0..4000_usize {
        let mut bytes: Vec<u8> = (0..round % 1300).map(|_| next().to_le_bytes()[0]).collect();
        // Half of it gets past the first tag.
        if round % 2 == 0 && bytes.len() > 4 {
            let len = u16::try_from(bytes.len() - 4).expect("small").to_be_bytes();
            bytes[..4].copy_from_slice(&[0x30, 0x82, len[0], len[1]]);
        }
        parse_all(&bytes);
    }
}

/// Sequences inside sequences, as deep as the limits let them be.
#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let mut bytes = Vec::new();
    for _ in 0..3000 {
        let len = u32::try_from(bytes.len()).expect("small").to_be_bytes();
        let mut outer = vec![0x30, 0x83, len[1], len[2], len[3]];
        outer.append(&mut bytes);
        bytes = outer;
    }
    parse_all(&bytes);
}

#[test]
fn more_than_the_limit_is_not_looked_at() {
    use evidence::pki::{MAX_CERTIFICATE, PkiError, crl::MAX_CRL};
    let bytes = vec![0x30; MAX_CRL + 1];
    let limit = MAX_CERTIFICATE;
    let found = limit + 1;
    assert_eq!(
        Certificate::parse(&bytes[..found], Scheme::RsaPssSha384).err(),
        Some(PkiError::TooLong { limit, found })
    );
    let found = bytes.len();
    assert_eq!(Crl::parse(&bytes, Scheme::RsaPssSha384).err(), Some(PkiError::TooLong { limit: MAX_CRL, found }));
}

fn parse_all(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::parse(bytes, Scheme::RsaPssSha384) {
        let _ = (certificate.authority(), certificate.valid_at(u64::MAX));
    }
    if let Ok(crl) = Crl::parse(bytes, Scheme::RsaPssSha384) {
        assert!(!crl.valid_at(u64::MAX), "no list is good for ever");
    }
    let _ = Vek::parse(bytes);
    if let Ok(report) = Report::parse(bytes) {
        let _ = (report.reserved_not_zero(), report.signature(), report.signing_key());
    }
}
