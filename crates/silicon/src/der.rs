//! Owns the DER that certificates and CRLs are written with: tag, length, value, and the few types
//! they need.
//!
//! A writer of our own because AMD's bytes are not what certificate builders write: serial number
//! 0, raw chip ids as extension values, and a `trailerField` that spells out its default (which DER
//! forbids). It only writes, and at most 64 KiB; nothing here reads. Invariant: lengths are
//! definite and shortest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::ObjectIdentifier;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// One element: `tag`, the length of all `parts`, the parts.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    // X.690, 8.1.3: short form below 128, else the number of length bytes and the length without leading zeros.
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | u8::try_from(significant.len()).expect("usize has at most eight bytes"));
            out.extend(significant);
        }
    }
    for part in parts {
        out.extend(*part);
    }
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, parts)
}

pub(crate) fn set(part: &[u8]) -> Vec<u8> {
    tlv(SET, &[part])
}

/// `[number] EXPLICIT`, constructed; `number` is below 31.
pub(crate) fn explicit(number: u8, part: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, &[part])
}

/// A non-negative INTEGER.
pub(crate) fn integer(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let magnitude = &bytes[skip..];
    // A set top bit would read as negative.
    let sign: &[u8] = if magnitude[0] & 0x80 == 0 { &[] } else { &[0] };
    tlv(INTEGER, &[sign, magnitude])
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], bytes])
}

/// A BIT STRING of seven named bits. DER cuts trailing zero bits off; AMD does not, and neither do
/// we.
pub(crate) fn seven_bits(byte: u8) -> Vec<u8> {
    tlv(BIT_STRING, &[&[1, byte]])
}

pub(crate) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, &[bytes])
}

pub(crate) fn null() -> Vec<u8> {
    tlv(NULL, &[])
}

pub(crate) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    tlv(OID, &[oid.as_bytes()])
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(UTF8_STRING, &[text.as_bytes()])
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(PRINTABLE_STRING, &[text.as_bytes()])
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    tlv(IA5_STRING, &[text.as_bytes()])
}

/// RFC 5280, 4.1: one extension.
pub(crate) fn extension(id: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(id), critical, &octet_string(value)])
}

/// RFC 7468: a certificate.
pub(crate) fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str("\n-----END CERTIFICATE-----\n");
    out
}

/// RFC 5280, 4.1.2.5: UTCTime up to the end of 2049, GeneralizedTime after. `unix` is in seconds;
/// panics beyond the year 9999, which has no encoding.
pub(crate) fn time(unix: u64) -> Vec<u8> {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days);
    assert!(year <= 9999, "{unix} s is after the year 9999");
    let rest = format!("{month:02}{day:02}{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60);
    if year < 2050 {
        tlv(UTC_TIME, &[format!("{:02}{rest}", year % 100).as_bytes()])
    } else {
        tlv(GENERALIZED_TIME, &[format!("{year:04}{rest}").as_bytes()])
    }
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01. Counted in
/// years that begin in March, so that the leap day is the last one.
pub(crate) const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_shortest_and_never_negative() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x7f), [2, 1, 0x7f]);
        assert_eq!(integer(0xdb), [2, 2, 0, 0xdb]);
        assert_eq!(integer(0x1_0001), [2, 3, 1, 0, 1]);
        assert_eq!(integer(u64::MAX), [2, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn lengths_change_form_at_128_and_256() {
        assert_eq!(octet_string(&[0; 127])[..2], [4, 127]);
        assert_eq!(octet_string(&[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(octet_string(&[0; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn times_change_type_in_2050_and_know_leap_days() {
        assert_eq!(time(0)[2..], *b"700101000000Z");
        assert_eq!(time(951_782_400)[2..], *b"000229000000Z");
        assert_eq!(time(1_603_387_385)[2..], *b"201022172305Z");
        assert_eq!(time(2_524_607_999)[2..], *b"491231235959Z");
        assert_eq!(time(2_524_608_000), [b"\x18\x0f".as_slice(), b"20500101000000Z"].concat());
        assert_eq!(time(4_107_542_400)[2..], *b"21000301000000Z");
    }

    #[test]
    #[should_panic(expected = "after the year 9999")]
    fn times_without_an_encoding_are_refused() {
        time(u64::MAX / 1_000);
    }
}
