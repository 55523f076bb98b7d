//! Bytes nobody signed: truncations, flipped bits, noise. Nothing may panic, nothing may pass.

use crate::support::edit::replace;
use crate::vectors::{Case, control};
use evidence::pki::{Certificate, Crl, PkiError, Scheme};
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

/// Sequences inside sequences, in so many bytes.
fn nest(most: usize) -> Vec<u8> {
    let mut headers = Vec::new();
    let mut total = 0_usize;
    loop {
        // Lengths as short as they can be: a longer one is refused before anybody looks inside.
        let length = u16::try_from(total).expect("small").to_be_bytes();
        let header = match total {
            0..=0x7F => vec![0x30, length[1]],
            0x80..=0xFF => vec![0x30, 0x81, length[1]],
            _ => vec![0x30, 0x82, length[0], length[1]],
        };
        if total + header.len() > most {
            return headers.into_iter().rev().flatten().collect();
        }
        total += header.len();
        headers.push(header);
    }
}

/// Where a parser takes whatever there is: parameters of an algorithm, a name's value, an extension's value.
#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    assert!(nest(14_000).len() > 13_000, "about as much as a certificate may have");
    parse_all(&nest(14_000));
    parse_all(&nest(60_000));
    let case = control("ok-genoa-v5");
    let list = case.crl.as_deref().expect("a list");
    let certificate = |der: &[u8]| Certificate::parse(der, Scheme::RsaPssSha384).map(drop);
    let crl = |der: &[u8]| Crl::parse(der, Scheme::RsaPssSha384).map(drop);

    // The parameters of RSASSA-PSS, which follow its name; within what is signed, and then around it too.
    let pss = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 0x0A];
    type Parse<'a> = &'a dyn Fn(&[u8]) -> Result<(), PkiError>;
    for (der, deep, parse) in [(&case.vcek[..], nest(7_000), &certificate as Parse<'_>), (list, nest(30_000), &crl)] {
        assert_eq!(parse(der), Ok(()), "control");
        let at = der.windows(pss.len()).position(|window| window == pss).expect("RSASSA-PSS");
        let end = at + pss.len() + 2 + usize::from(der[at + pss.len() + 1]);
        let (old, new) = (&der[at..end], [&pss[..], &deep].concat());
        let within = replace(der, old, &new);
        assert_eq!(parse(&within), Err(PkiError::AlgorithmMismatch));
        assert_eq!(parse(&replace(&within, old, &new)), Err(PkiError::Algorithm(Scheme::RsaPssSha384)));
    }

    // The common names of the issuers, which verdicts say.
    let name = |text: &str| [&[0x0C, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let deep_vcek = replace(&case.vcek, &name("SEV-Genoa SIMULATED-PUBLIC"), &nest(14_000));
    assert_eq!(certificate(&deep_vcek), Ok(()));
    let deep_list = replace(list, &name("ARK-Genoa SIMULATED-PUBLIC"), &nest(60_000));
    assert_eq!(crl(&deep_list), Ok(()));
    let nested = Case { vcek: deep_vcek, crl: Some(deep_list), ..case.clone() };
    let verdict = nested.verify().expect_err("other issuers");
    let failed: Vec<_> = verdict.failures().map(|check| check.id).collect();
    assert_eq!(failed, ["snp.vek.signature", "snp.crl.signature"]);

    // basicConstraints of the ASK; cRLNumber, which nobody reads.
    let constraints = [0x04, 0x08, 0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, 0x00];
    let octets = |deep: &[u8]| {
        let [high, low] = u16::try_from(deep.len()).expect("small").to_be_bytes();
        [&[0x04, 0x82, high, low], deep].concat()
    };
    let ask = replace(case.ask.as_deref().expect("an ASK"), &constraints, &octets(&nest(14_000)));
    let authority = Certificate::parse(&ask, Scheme::RsaPssSha384).expect("a certificate").authority();
    assert!(matches!(authority, Err(PkiError::Extension(_))), "{authority:?}");
    let number = [0x06, 0x03, 0x55, 0x1D, 0x14];
    let at = list.windows(number.len()).position(|window| window == number).expect("cRLNumber");
    let end = at + number.len() + 2 + usize::from(list[at + number.len() + 1]);
    let numbered = replace(list, &list[at..end], &[&number[..], &octets(&nest(60_000))].concat());
    assert_eq!(crl(&numbered), Ok(()));
}

#[test]
fn more_than_the_limit_is_not_looked_at() {
    use evidence::pki::{MAX_CERTIFICATE, crl::MAX_CRL};
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
