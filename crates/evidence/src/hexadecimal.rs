//! Bytes as policies write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, mut bytes) = (String::deserialize(deserializer)?, [0; N]);
        let digits = N.saturating_mul(2);
        let wrong = |_| serde::de::Error::custom(format_args!("`{text}` is not {digits} hexadecimal digits"));
        hex::decode_to_slice(&text, &mut bytes).map_err(wrong)?;
        Ok(Self(bytes))
    }
}
