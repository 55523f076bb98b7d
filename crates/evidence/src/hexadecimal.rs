//! Bytes as policies write them.

use core::fmt;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes for people. A verdict has dozens.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    const TEN: u8 = b'a' - 10;
    let digit = |half: u8| char::from(half.saturating_add(if half < 10 { b'0' } else { TEN }));
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xF));
    }
    text
}

/// Bytes that are written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(self.0))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Documents of Intel's have thousands: none is kept as text.
        struct Digits<const N: usize>;

        impl<const N: usize> Visitor<'_> for Digits<N> {
            type Value = Hex<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hexadecimal digits", N.saturating_mul(2))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Hex<N>, E> {
                let mut bytes = [0; N];
                let wrong = |_| E::invalid_value(Unexpected::Str(text), &self);
                hex::decode_to_slice(text, &mut bytes).map(|()| Hex(bytes)).map_err(wrong)
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_written_as_elsewhere() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(encode(&bytes), hex::encode(&bytes));
    }
}
