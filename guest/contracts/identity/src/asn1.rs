//! The little DER this crate speaks: writing by concatenation, reading element by element.
//!
//! Owns nothing but form. Lengths and primitive values are read by the `der` crate, which takes DER only (no indefinite or
//! padded lengths); writing cannot fail and is always minimal. What is read strictly is afterwards written again and
//! compared with the received bytes, so a looseness here cannot become a second spelling there.

use alloc::vec::Vec;
use core::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, UintRef, UtcTime};
use der::{DateTime, Decode, Encode, Reader, SliceReader};

/// Identifier octets. All numbers are below 31, so each tag is one octet.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[n]` around a primitive value, IMPLICIT.
    pub(crate) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }

    /// `[n]` around a constructed value.
    pub(crate) const fn constructed(number: u8) -> u8 {
        0xa0 | number
    }
}

/// Bytes that are not the DER expected at `0`, the name of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One element: tag, minimal length, the parts as content.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length.saturating_add(8));
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
            // A usize has at most eight bytes.
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
            out.extend(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// INTEGER of an unsigned big-endian number.
pub(crate) fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|digit| **digit == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    match digits.first() {
        Some(0..=0x7f) => tlv(tag::INTEGER, &[digits]),
        // Zero itself, or a first bit that would read as a sign.
        Some(_) | None => tlv(tag::INTEGER, &[&[0], digits]),
    }
}

/// BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[0], bytes])
}

/// `Time` of RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime after; `None` beyond the year 9999.
pub(crate) fn time(unix_seconds: u64) -> Option<Vec<u8>> {
    let date = DateTime::from_unix_duration(Duration::from_secs(unix_seconds)).ok()?;
    match UtcTime::from_date_time(date) {
        Ok(time) => time.to_der().ok(),
        Err(_) => GeneralizedTime::from_date_time(date).to_der().ok(),
    }
}

/// What is still to be read.
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether another element follows.
    pub(crate) const fn more(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the next element has this tag.
    pub(crate) fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The next element of this tag, with its header.
    pub(crate) fn element(&mut self, tag: u8, place: &'static str) -> Result<&'a [u8], Malformed> {
        if !self.next_is(tag) {
            return Err(Malformed(place));
        }
        let bytes = SliceReader::new(self.0).and_then(|mut reader| reader.tlv_bytes()).map_err(|_| Malformed(place))?;
        self.0 = self.0.get(bytes.len()..).ok_or(Malformed(place))?;
        Ok(bytes)
    }

    /// Reads past the next element, of whatever tag.
    pub(crate) fn skip(&mut self, place: &'static str) -> Result<(), Malformed> {
        let tag = *self.0.first().ok_or(Malformed(place))?;
        self.element(tag, place).map(drop)
    }

    /// The content of the next element, which has this tag.
    pub(crate) fn take(&mut self, tag: u8, place: &'static str) -> Result<&'a [u8], Malformed> {
        let element = self.element(tag, place)?;
        AnyRef::from_der(element).map(AnyRef::value).map_err(|_| Malformed(place))
    }

    /// A non-negative INTEGER, big-endian without leading zeros (zero = one zero byte).
    pub(crate) fn unsigned(&mut self, place: &'static str) -> Result<&'a [u8], Malformed> {
        let element = self.element(tag::INTEGER, place)?;
        UintRef::from_der(element).map(|number| number.as_bytes()).map_err(|_| Malformed(place))
    }

    /// A BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self, place: &'static str) -> Result<&'a [u8], Malformed> {
        match self.take(tag::BIT_STRING, place)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(Malformed(place)),
        }
    }

    /// A `Time`, in Unix seconds.
    pub(crate) fn time(&mut self, place: &'static str) -> Result<u64, Malformed> {
        let tag = if self.next_is(tag::UTC_TIME) { tag::UTC_TIME } else { 0x18 };
        let element = self.element(tag, place)?;
        let date = match UtcTime::from_der(element) {
            Ok(time) => time.to_date_time(),
            Err(_) => GeneralizedTime::from_der(element).map_err(|_| Malformed(place))?.to_date_time(),
        };
        Ok(date.unix_duration().as_secs())
    }

    /// Nothing may follow.
    pub(crate) const fn done(&self, place: &'static str) -> Result<(), Malformed> {
        if self.more() { Err(Malformed(place)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_and_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = alloc::vec![7; length];
            let bytes = tlv(tag::OCTET_STRING, &[&content]);
            let mut der = Der::new(&bytes);
            assert_eq!(der.take(tag::OCTET_STRING, "x"), Ok(&content[..]));
            assert_eq!(der.done("x"), Ok(()));
        }
        // A length written longer than needed, and an indefinite one.
        assert_eq!(Der::new(&[4, 0x81, 1, 7]).take(4, "x"), Err(Malformed("x")));
        assert_eq!(Der::new(&[0x30, 0x80, 0, 0]).take(0x30, "x"), Err(Malformed("x")));
        assert_eq!(Der::new(&[4, 0x84, 0xff, 0xff, 0xff, 0xff]).take(4, "x"), Err(Malformed("x")));
        assert_eq!(Der::new(&[4, 2, 0]).take(4, "x"), Err(Malformed("x")));
    }

    #[test]
    fn integers_are_minimal() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(Der::new(&[2, 2, 0, 0x7f]).unsigned("x"), Err(Malformed("x")));
        assert_eq!(Der::new(&[2, 1, 0x80]).unsigned("x"), Err(Malformed("x")));
        assert_eq!(Der::new(&[2, 2, 0, 0x80]).unsigned("x"), Ok(&[0x80][..]));
    }

    #[test]
    fn times_change_form_in_2050() {
        let last_utc = 2_524_607_999; // 2049-12-31T23:59:59Z
        assert_eq!(time(last_utc).unwrap(), b"\x17\x0d491231235959Z");
        assert_eq!(time(last_utc + 1).unwrap(), b"\x18\x0f20500101000000Z");
        for seconds in [0, 1_800_000_000, last_utc, last_utc + 1] {
            assert_eq!(Der::new(&time(seconds).unwrap()).time("x"), Ok(seconds));
        }
        assert_eq!(time(u64::MAX), None);
    }
}
