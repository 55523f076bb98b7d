//! Bytes nobody signed: truncations, additions, lengths that lie, things of another kind, bombs. Nothing may panic, nothing
//! may pass, and nothing may be read beyond its limit.

use super::matrix::rows;
use super::vectors::{File, files, judge};
use crate::support::edit::replace;
use crate::support::fetched::Fetched;
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::dcap::pck::{Pck, PckError};
use evidence::dcap::quote::{MAX_QUOTE, QuoteError};
use evidence::dcap::tcb_info::{Answer, InfoError, MAX_JSON, QeIdentity, TcbInfo};
use evidence::dcap::{Bundle, Platforms, Quote, Roots, Source};
use evidence::pki::crl::MAX_CRL;
use evidence::pki::{Certificate, Crl, PkiError, Scheme};
use evidence::snp::{Report, Vek};
use evidence::tdx;

const SCHEME: Scheme = Scheme::EcdsaP256Sha256;

fn control(name: &str) -> File {
    let file = files().into_iter().find(|(found, _)| found == name);
    file.unwrap_or_else(|| panic!("no vector {name}")).1
}

fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

/// Where a part stands in a file, and whether it is base64 there.
type Reach = fn(&mut File) -> &mut String;

/// Everything that a sender brings. The chain of the PCK's list is a hint that may be missing.
const PARTS: [(&str, Reach, bool); 7] = [
    ("quote", |file| &mut file.quote, true),
    ("TCB info", |file| &mut file.tcb_info, false),
    ("its chain", |file| &mut file.tcb_info_chain, false),
    ("QE identity", |file| &mut file.qe_identity, false),
    ("its chain", |file| &mut file.qe_identity_chain, false),
    ("root CRL", |file| &mut file.root_crl, true),
    ("PCK CRL", |file| &mut file.pck_crl, true),
];

fn part(file: &File, reach: Reach, is_base64: bool) -> Vec<u8> {
    let text = reach(&mut file.clone()).clone();
    if is_base64 { decoded(&text) } else { text.into_bytes() }
}

/// The file with other bytes in one part; none if they cannot stand there.
fn with(file: &File, reach: Reach, is_base64: bool, bytes: &[u8]) -> Option<File> {
    let mut file = file.clone();
    *reach(&mut file) = if is_base64 { STANDARD.encode(bytes) } else { String::from_utf8(bytes.to_vec()).ok()? };
    Some(file)
}

#[test]
fn no_truncation_passes() {
    for name in ["ok-sgx", "ok-tdx-15"] {
        let file = control(name);
        assert!(judge(name, &file).is_ok(), "control");
        for (what, reach, is_base64) in PARTS {
            let whole = part(&file, reach, is_base64);
            for len in (0..whole.len()).step_by(97).chain(whole.len().saturating_sub(3)..whole.len()) {
                let Some(broken) = with(&file, reach, is_base64, &whole[..len]) else { continue };
                // The line end behind a chain, and the root in it, are not needed.
                let passes = judge(name, &broken).is_ok();
                let rest = core::str::from_utf8(&whole[len..]);
                let needless = what == "its chain" && rest.is_ok_and(|rest| rest.trim().is_empty());
                assert!(!passes || needless, "{name}: {what} cut to {len} bytes");
            }
        }
    }
}

/// At every length, where it is read and not only where it is judged.
#[test]
fn no_reader_takes_a_truncation() {
    for name in ["ok-sgx", "ok-tdx-10", "ok-tdx-15"] {
        let file = control(name);
        let quote = decoded(&file.quote);
        assert!(Quote::parse(&quote).is_ok(), "control");
        for len in 0..quote.len() {
            let error = Quote::parse(&quote[..len]).map(|_| ()).expect_err("cut");
            assert!(matches!(error, QuoteError::Truncated(_)), "{name} cut to {len} bytes: {error}");
        }
        for len in 0..file.tcb_info.len() {
            assert!(TcbInfo::parse(&file.tcb_info.as_bytes()[..len]).is_err(), "TCB info cut to {len} bytes");
        }
        for len in 0..file.qe_identity.len() {
            assert!(QeIdentity::parse(&file.qe_identity.as_bytes()[..len]).is_err(), "QE identity cut to {len} bytes");
        }
        for list in [&file.root_crl, &file.pck_crl].map(|list| decoded(list)) {
            assert!(Crl::parse(&list, SCHEME).is_ok(), "control");
            assert!((0..list.len()).all(|len| Crl::parse(&list[..len], SCHEME).is_err()));
        }
        let pck = pck(&file);
        assert!(Pck::parse(&pck).is_ok(), "control");
        assert!((0..pck.len()).all(|len| Pck::parse(&pck[..len]).is_err()));
    }
}

#[test]
fn no_added_byte_passes() {
    for name in ["ok-sgx", "ok-tdx-15"] {
        let file = control(name);
        for (what, reach, is_base64) in PARTS {
            let whole = part(&file, reach, is_base64);
            for byte in [0x01, b'0', b'}', 0x7F, 0xFF] {
                let Some(broken) = with(&file, reach, is_base64, &[&whole[..], &[byte]].concat()) else { continue };
                assert!(judge(name, &broken).is_err(), "{name}: {what} with {byte:#x} behind it");
            }
        }
    }
}

#[test]
fn nothing_passes_in_the_place_of_another() {
    let file = control("ok-sgx");
    let report = vec![2; 1184];
    let mut others: Vec<Vec<u8>> = PARTS.iter().map(|(_, reach, base64)| part(&file, *reach, *base64)).collect();
    others.extend([
        report,
        Vec::new(),
        pck(&file),
        vec![0; 5000],
        vec![0x30; 5000],
        vec![b'['; 5000],
        vec![b'-'; 5000],
    ]);
    for (what, reach, is_base64) in PARTS {
        let own = part(&file, reach, is_base64);
        for other in others.iter().filter(|other| **other != own) {
            let Some(broken) = with(&file, reach, is_base64, other) else { continue };
            // Both documents have one signer.
            let chains = [&file.tcb_info_chain, &file.qe_identity_chain].map(|chain| chain.as_bytes());
            if chains.contains(&&own[..]) && chains.contains(&&other[..]) {
                continue;
            }
            assert!(judge("ok-sgx", &broken).is_err(), "{what}: {} other bytes", other.len());
        }
    }
    for other in &others {
        parse_all(other);
    }
}

/// Wherever a length may stand there is the least and the most that it can say.
#[test]
fn lengths_that_lie_are_refused() {
    for name in ["ok-sgx", "ok-tdx-10", "ok-tdx-15"] {
        let quote = decoded(&control(name).quote);
        for at in 0..quote.len() - 4 {
            for value in [0, 1, 0x7FFF_FFFF_u32, 0x8000_0000, u32::MAX] {
                let mut lying = quote.clone();
                lying[at..at + 4].copy_from_slice(&value.to_le_bytes());
                if let Ok(parsed) = Quote::parse(&lying) {
                    // Then it was no length.
                    assert!(parsed.chain().len() + parsed.qe_authentication().len() < quote.len());
                }
            }
        }
    }
}

#[test]
fn replaced_bytes_do_not_panic_the_readers() {
    let file = control("ok-tdx-15");
    let pck = pck(&file);
    for whole in PARTS.map(|(_, reach, is_base64)| part(&file, reach, is_base64)).into_iter().chain([pck]) {
        for at in 0..whole.len() {
            for byte in [0x00, 0x7F, 0x80, 0x84, b'"', b'{'] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                parse_all(&bytes);
            }
        }
    }
}

#[test]
fn more_than_the_limits_is_not_looked_at() {
    let found = MAX_QUOTE + 1;
    assert_eq!(Quote::parse(&vec![0; found]).map(|_| ()).err(), Some(QuoteError::TooLong { found }));
    let found = MAX_CRL + 1;
    let error = PkiError::TooLong { limit: MAX_CRL, found };
    assert_eq!(Crl::parse(&vec![0x30; found], SCHEME).err(), Some(error));
    let found = MAX_JSON + 1;
    assert_eq!(Answer::parse(&vec![b'['; found]).err(), Some(InfoError::TooLong { found }));
    let mut long = control("ok-sgx");
    long.tcb_info_chain = format!("{}{}", long.tcb_info_chain, "\n".repeat(40_000));
    let verdict = judge("ok-sgx", &long).expect_err("a long chain");
    assert_eq!(verdict.primary().map(|check| check.id), Some("dcap.tcb_signer.format"));
}

/// The PCK out of a quote.
fn pck(file: &File) -> Vec<u8> {
    let quote = decoded(&file.quote);
    let chain = Quote::parse(&quote).expect("a quote").chain().to_vec();
    let text = String::from_utf8(chain).expect("PEM");
    let body: String = text.lines().skip(1).take_while(|line| !line.starts_with("-----END")).collect();
    decoded(&body)
}

/// SGX TCB component SVN 1, as a field of Intel's extension.
const COMPONENT: [u8; 11] = [0x06, 0x0B, 0x2A, 0x86, 0x48, 0x86, 0xF8, 0x4D, 0x01, 0x0D, 0x01];

#[test]
fn a_pck_with_thousands_of_fields_is_refused() {
    let der = pck(&control("ok-sgx"));
    assert!(Pck::parse(&der).is_ok(), "control");
    // PCE-ID, 1.2.840.113741.1.13.1.3: a field of two bytes.
    let oid = [&COMPONENT[..], &[0x03]].concat();
    let oid = [&[0x06, 0x0A][..], &oid[2..]].concat();
    let at = der.windows(oid.len()).position(|window| window == oid).expect("the PCE-ID");
    let field = der[at - 2..at + oid.len() + 4].to_vec();
    for many in [1, 10, 500] {
        let more = replace(&der, &field, &field.repeat(1 + many));
        let error = Pck::parse(&more).expect_err("the field stands there twice");
        assert!(matches!(error, PckError::Unexpected(_)), "{many}: {error}");
    }
    let most = replace(&der, &field, &field.repeat(1000));
    assert!(matches!(Pck::parse(&most), Err(PckError::Pki(PkiError::TooLong { .. }))));
}

#[test]
fn a_certificate_with_hundreds_of_extensions_is_refused() {
    let der = pck(&control("ok-sgx"));
    let count = Certificate::parse(&der, SCHEME).expect("control").extensions().count();
    // keyUsage.
    let first = [0x30, 0x0E, 0x06, 0x03, 0x55, 0x1D, 0x0F, 0x01, 0x01, 0xFF, 0x04, 0x04, 0x03, 0x02, 0x06, 0xC0];
    for more in [65, 300, 1200] {
        let added = (0..more).flat_map(|at: u16| {
            let [high, low] = at.to_be_bytes();
            [0x30, 0x09, 0x06, 0x04, 0x2A, 0x81 + (high & 7), 0x80 | (low >> 1), low & 1, 0x04, 0x01, 0x00]
        });
        let bomb = replace(&der, &first, &first.into_iter().chain(added).collect::<Vec<u8>>());
        let error = Certificate::parse(&bomb, SCHEME).expect_err("so many");
        assert_eq!(error, PkiError::TooManyExtensions(count + usize::from(more)));
    }
}

/// One element of DER.
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("small").to_be_bytes();
    [&[tag, 0x83, length[1], length[2], length[3]], value].concat()
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let mut bytes = Vec::new();
    for _ in 0..3000 {
        bytes = element(0x30, &bytes);
    }
    parse_all(&bytes);
    // And where any value may stand, such as in a field of Intel's extension.
    let der = pck(&control("ok-sgx"));
    let mut nested = vec![0x05, 0x00];
    while nested.len() < 12_000 {
        let length = u16::try_from(nested.len()).expect("small").to_be_bytes();
        nested = if nested.len() < 128 {
            [&[0x30, length[1]], &nested[..]].concat()
        } else if nested.len() < 256 {
            [&[0x30, 0x81, length[1]], &nested[..]].concat()
        } else {
            [&[0x30, 0x82, length[0], length[1]], &nested[..]].concat()
        };
    }
    let type_of = [0x0A, 0x01];
    let at = der.windows(2).rposition(|window| window == type_of).expect("SGX Type");
    let bomb = replace(&der, &der[at - 12..at + 3], &[&der[at - 12..at], &nested[..]].concat());
    assert!(matches!(Pck::parse(&bomb), Err(PckError::Malformed(_))), "{:?}", Pck::parse(&bomb).err());
}

/// A list as long as one may be is read; what it revokes is found.
#[test]
fn a_list_of_many_entries_is_read() {
    let list = decoded(&control("sgx-pck-revoked").pck_crl);
    let serial = pck(&control("sgx-pck-revoked"));
    let serial = Certificate::parse(&serial, SCHEME).expect("a certificate").serial().to_vec();
    assert!(Crl::parse(&list, SCHEME).expect("control").revokes(&serial));
    let date = b"\x17\x0D250101000000Z";
    let wanted = [&[0x02, u8::try_from(serial.len()).expect("short")][..], &serial].concat();
    let at = list.windows(wanted.len()).position(|window| window == wanted).expect("the entry");
    let entry = list[at - 2..at + usize::from(list[at - 1])].to_vec();
    let other = |number: u16| {
        let [high, low] = number.to_be_bytes();
        [&[0x30, 0x13, 0x02, 0x02, 0x40 | (high >> 2), low][..], date].concat()
    };
    let others: Vec<u8> = (0..2000).flat_map(other).collect();
    let long = replace(&list, &entry, &[&others[..], &entry].concat());
    let parsed = Crl::parse(&long, SCHEME).expect("long, but well-formed");
    assert!(parsed.revokes(&serial) && parsed.revokes(&[0x40, 0x07]) && !parsed.revokes(&[0x3F, 0x07]));
}

#[test]
fn json_bombs_are_refused() {
    let file = control("ok-sgx");
    let (tcb, qe) = (&file.tcb_info, &file.qe_identity);
    let refuse = |text: &str| {
        assert!(TcbInfo::parse(text.as_bytes()).is_err() && QeIdentity::parse(text.as_bytes()).is_err(), "{text:.80}");
    };
    assert!(TcbInfo::parse(tcb.as_bytes()).is_ok() && QeIdentity::parse(qe.as_bytes()).is_ok(), "control");
    // Nested as deep as the limit lets it be, alone and in an answer, where it is only passed over.
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let times = (MAX_JSON - 400) / (open.len() + close.len());
        let deep = format!("{}0{}", open.repeat(times), close.repeat(times));
        refuse(&deep);
        refuse(&open.repeat(times));
        let answer = format!("{{\"tcbInfo\":{deep},\"signature\":\"{}\"}}", "00".repeat(64));
        if let Ok(answer) = Answer::parse(answer.as_bytes()) {
            refuse(core::str::from_utf8(answer.body).expect("text"));
        }
    }
    // Numbers that no integer of theirs can hold.
    for (text, field) in [(tcb, "\"tcbEvaluationDataNumber\":"), (tcb, "\"pcesvn\":"), (qe, "\"isvprodid\":")] {
        let at = text.find(field).expect("the field") + field.len();
        let end = at + text[at..].find([',', '}']).expect("its end");
        for number in ["-1", "1.0", "1e1", "1e999", "4294967296", "99999999999999999999999999", "\"1\"", "null", "[1]"]
        {
            refuse(&format!("{}{number}{}", &text[..at], &text[end..]));
        }
        refuse(&format!("{}{}{}", &text[..at], "9".repeat(100_000), &text[end..]));
    }
    // Whatever stands there twice, at whatever depth.
    for (text, fields) in [
        (tcb, ["\"fmspc\":", "\"version\":", "\"tcbLevels\":", "\"tcbStatus\":", "\"pcesvn\":"]),
        (qe, ["\"id\":", "\"mrsigner\":", "\"tcbLevels\":", "\"tcbStatus\":", "\"isvsvn\":"]),
    ] {
        for field in fields {
            let at = text.find(field).expect("the field");
            refuse(&format!("{}{field}null,{}", &text[..at], &text[at..]));
            let value = serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            let value = found(&value, field.trim_matches(['"', ':'])).expect("the field");
            refuse(&format!("{}{field}{value},{}", &text[..at], &text[at..]));
        }
    }
    // More levels than there may be.
    let start = qe.find("\"tcbLevels\":[").expect("levels") + "\"tcbLevels\":[".len();
    let level = "{\"tcb\":{\"isvsvn\":1},\"tcbDate\":\"2025-01-01T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}";
    for (many, good) in [(256, true), (257, false), (2000, false), (0, false)] {
        let text = format!("{}{}]}}", &qe[..start], vec![level; many].join(","));
        let parsed = QeIdentity::parse(text.as_bytes());
        assert_eq!(parsed.is_ok(), good, "{many}: {:?}", parsed.err());
    }
}

/// The first value of this name, at whatever depth.
fn found<'a>(json: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    let members = json.as_object().into_iter().flatten();
    let here = members.clone().find(|(key, _)| *key == name).map(|(_, value)| value);
    let items = json.as_array().into_iter().flatten();
    here.or_else(|| members.map(|(_, value)| value).chain(items).find_map(|value| found(value, name)))
}

fn parse_all(bytes: &[u8]) {
    if let Ok(quote) = Quote::parse(bytes) {
        let _ = (quote.body().tee(), quote.tail_is_zero(), quote.qe_report().reserved_is_zero());
    }
    if let Ok(answer) = Answer::parse(bytes) {
        let _ = (TcbInfo::parse(answer.body), QeIdentity::parse(answer.body));
    }
    let _ = (TcbInfo::parse(bytes), QeIdentity::parse(bytes));
    let _ = (Certificate::parse(bytes, SCHEME), Crl::parse(bytes, SCHEME), Pck::parse(bytes));
    let _ = (Report::parse(bytes), Vek::parse(bytes));
}

/// The chain of a revocation list is a hint: when a CA in it says that it ends is not when the quote's CA ends.
#[test]
fn a_hint_does_not_say_when_collateral_ends() {
    let Some(folder) = Folder::open() else { return };
    let roots = Roots::intel();
    let row = rows(&folder).into_iter().find(|row| row.quote == "dcap-qvl/tdx_quote").expect("a row");
    let (quote, now) = (folder.read(&row.quote), row.at_unix.expect("an instant"));
    let fetched = Fetched::read(&folder, &format!("dcap-matrix/{}", row.bundle.expect("a bundle")));
    let bundle = fetched.bundle();
    let policy = tdx::Settings { any_measurement: true, ..tdx::Settings::default() }.try_into().expect("a policy");
    let end = |bundle: &Bundle<'_>| {
        let judged = tdx::authentic(&quote, Source::Bundle(bundle, &roots), &policy, &Platforms::Any, now, PROVIDER);
        judged.expect("genuine").0.claims().platform.collateral_end
    };
    let control = end(&bundle);
    assert!(control > now);
    let text = core::str::from_utf8(bundle.pck_crl_chain.expect("a chain")).expect("PEM");
    let body: String = text.lines().skip(1).take_while(|line| !line.starts_with("-----END")).collect();
    // It ends in 2033; now it says 2020, and its signature verifies no more.
    let forged = replace(&decoded(&body), b"330521105010Z", b"200521105010Z");
    let lines: Vec<String> =
        STANDARD.encode(forged).as_bytes().chunks(64).map(|line| format!("{}\n", line.escape_ascii())).collect();
    let hint = format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.concat());
    assert_eq!(end(&Bundle { pck_crl_chain: Some(hint.as_bytes()), ..bundle }), control);
}
