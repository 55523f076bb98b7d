//! The little deterministic CBOR this crate speaks (RFC 8949 section 4.2.1).
//!
//! Writing is infallible, shortest form, definite lengths; the caller gives map keys in ascending order of their encoding.
//! Reading takes definite lengths only and allocates for what is there, never for what a length claims. What is read is
//! afterwards written again and compared with the received bytes, so there is one encoding of each value.

use alloc::vec::Vec;

use minicbor::Decoder;
use minicbor::data::Type;

use crate::asn1::Malformed;

/// Bytes under construction.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(0, value)
    }

    /// Any integer that fits the head's 64 bits.
    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            // -1 - n is !n in two's complement, so n is what is left.
            Err(_) => self.head(1, (!value).unsigned_abs()),
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(2, length(value.len()));
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(3, length(value.len()));
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn array(&mut self, items: usize) -> &mut Self {
        self.head(4, length(items))
    }

    pub(crate) fn map(&mut self, pairs: usize) -> &mut Self {
        self.head(5, length(pairs))
    }

    pub(crate) fn tag(&mut self, value: u64) -> &mut Self {
        self.head(6, value)
    }

    /// The simple value `true`.
    pub(crate) fn yes(&mut self) -> &mut Self {
        self.head(7, 21)
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        if let Ok(value) = u8::try_from(value) {
            if value < 24 {
                self.0.push(major | value);
            } else {
                self.0.extend([major | 24, value]);
            }
        } else if let Ok(value) = u16::try_from(value) {
            self.0.push(major | 25);
            self.0.extend(value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.0.push(major | 26);
            self.0.extend(value.to_be_bytes());
        } else {
            self.0.push(major | 27);
            self.0.extend(value.to_be_bytes());
        }
        self
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What is still to be read.
pub(crate) struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    pub(crate) fn uint(&mut self, place: &'static str) -> Result<u64, Malformed> {
        self.0.u64().map_err(|_| Malformed(place))
    }

    pub(crate) fn int(&mut self, place: &'static str) -> Result<i64, Malformed> {
        self.0.i64().map_err(|_| Malformed(place))
    }

    pub(crate) fn bytes(&mut self, place: &'static str) -> Result<&'a [u8], Malformed> {
        self.0.bytes().map_err(|_| Malformed(place))
    }

    pub(crate) fn text(&mut self, place: &'static str) -> Result<&'a str, Malformed> {
        self.0.str().map_err(|_| Malformed(place))
    }

    pub(crate) fn array(&mut self, place: &'static str) -> Result<u64, Malformed> {
        self.0.array().ok().flatten().ok_or(Malformed(place))
    }

    pub(crate) fn map(&mut self, place: &'static str) -> Result<u64, Malformed> {
        self.0.map().ok().flatten().ok_or(Malformed(place))
    }

    pub(crate) fn tag(&mut self, place: &'static str) -> Result<u64, Malformed> {
        self.0.tag().map(|tag| tag.as_u64()).map_err(|_| Malformed(place))
    }

    /// Whether an array is next.
    pub(crate) fn is_array(&self) -> bool {
        matches!(self.0.datatype(), Ok(Type::Array))
    }

    /// Takes the simple value `true` if it is next.
    pub(crate) fn yes(&mut self) -> bool {
        matches!(self.0.datatype(), Ok(Type::Bool)) && self.0.bool().unwrap_or(false)
    }

    /// Nothing may follow.
    pub(crate) fn done(&self, place: &'static str) -> Result<(), Malformed> {
        if self.0.position() == self.0.input().len() { Ok(()) } else { Err(Malformed(place)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_agrees_with_another_encoder() {
        for value in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut ours = Writer::default();
            ours.uint(value);
            assert_eq!(ours.finish(), minicbor::to_vec(value).unwrap());
        }
        for value in [0, -1, -7, -24, -25, -35, -257, i64::MIN, i64::MAX] {
            let mut ours = Writer::default();
            ours.int(value);
            assert_eq!(ours.finish(), minicbor::to_vec(value).unwrap());
        }
        let mut ours = Writer::default();
        ours.map(1).text("é").array(2).bytes(&[1; 300]).yes();
        let mut theirs = minicbor::Encoder::new(Vec::new());
        theirs.map(1).unwrap().str("é").unwrap().array(2).unwrap().bytes(&[1; 300]).unwrap().bool(true).unwrap();
        assert_eq!(ours.finish(), theirs.into_writer());
    }

    #[test]
    fn indefinite_lengths_are_refused() {
        assert_eq!(Reader::new(&[0x81, 0]).array("x"), Ok(1), "control");
        assert_eq!(Reader::new(&[0x9f, 0xff]).array("x"), Err(Malformed("x")));
        assert_eq!(Reader::new(&[0xbf, 0xff]).map("x"), Err(Malformed("x")));
        assert_eq!(Reader::new(&[0x5f, 0x41, 0, 0xff]).bytes("x"), Err(Malformed("x")));
        assert_eq!(Reader::new(&[0x7f, 0x61, 0x61, 0xff]).text("x"), Err(Malformed("x")));
        assert_eq!(Reader::new(&[0x5a, 0xff, 0xff, 0xff, 0xff, 0]).bytes("x"), Err(Malformed("x")));
    }
}
