//! JSON as a manifest may be: in one way only, and in little memory.
//!
//! Owns what serde is more generous with than a registry may be. Refuses arrays in the place of objects: other readers find no
//! manifest there, and what a manifest refers to must be the same for everybody. Invariant: what is kept of a document is never
//! much more than its text, whatever is in it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A struct that is an object, and not a list of its fields' values.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// A list, of which only so many are kept.
pub(super) struct First<T, const MOST: usize> {
    pub(super) kept: Vec<T>,
    /// Whether there are more.
    pub(super) more: bool,
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for First<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = First<T, MOST>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T, MOST>, A::Error> {
                let mut first = First { kept: Vec::new(), more: false };
                while first.kept.len() < MOST {
                    let Some(element) = list.next_element()? else { return Ok(first) };
                    first.kept.push(element);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    first.more = true;
                }
                Ok(first)
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// An object of texts, as JSON again: a map of many little ones would be ten times as long. Empty if there are none.
pub(super) struct Texts(pub(super) String);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Texts;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut text = String::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    let [key, value] = [key, value].map(|text| serde_json::to_string(&text).map_err(A::Error::custom));
                    text.push(if text.is_empty() { '{' } else { ',' });
                    text.push_str(&key?);
                    text.push(':');
                    text.push_str(&value?);
                }
                if !text.is_empty() {
                    text.push('}');
                }
                Ok(Texts(text))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
