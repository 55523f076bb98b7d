//! How much a program may take: what `[limits]` says, and the quantities that it is said in.
//!
//! Owns [`Size`] and [`Span`]: numbers in a package, in `Donjon.toml` also texts with a unit. Refuses signs, fractions and
//! units of another kind, and limits under which nothing could run.

use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::ManifestError;

/// What one instance of a program may take; `None` = as much as the Keep has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All its linear memories together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Elements of all its tables together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<u32>,
    /// Open descriptors: files, directories, connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<u32>,
    /// Time from its start to its end, of a service for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// Time in which it computes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
    /// Of a service: requests that are answered at once; more wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
}

/// A number of bytes. In `Donjon.toml` also a text with a unit, `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Size(u64);

/// A number of milliseconds. In `Donjon.toml` also a text with a unit, `ms`, `s`, `min` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Span(u64);

/// Why a text is no [`Size`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size is a number of bytes, or a text such as \"64 MiB\" (KiB, MiB, GiB)")]
pub struct SizeError;

/// Why a text is no [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is a number of milliseconds, or a text such as \"30 s\" (ms, s, min, h)")]
pub struct SpanError;

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> core::time::Duration {
        core::time::Duration::from_millis(self.0)
    }
}

/// A number and one of these units, or none.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1));
    let number = number.trim_end();
    // `parse` also takes a sign.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(factor)
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        quantity(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]).map(Self).ok_or(SizeError)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        // The first that fits counts: `ms` ends with `s` too.
        quantity(text, &[("ms", 1), ("min", 60_000), ("s", 1000), ("h", 3_600_000)]).map(Self).ok_or(SpanError)
    }
}

/// A number, or a text that says it.
struct Either<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Either<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match "".parse::<T>() {
            Err(error) => fmt::Display::fmt(&error, out),
            Ok(_) => Ok(()),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&alloc::format!("{number}"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&alloc::format!("{number}"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl Limits {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Nothing runs with nothing.
    pub(super) fn consistent(&self) -> Result<(), ManifestError> {
        let Self { memory, elements: _, descriptors: _, time, cpu, requests } = self;
        let zeroes = [
            ("memory", memory.is_some_and(|size| size.0 == 0)),
            ("time", time.is_some_and(|span| span.0 == 0)),
            ("cpu", cpu.is_some_and(|span| span.0 == 0)),
            ("requests", *requests == Some(0)),
        ];
        match zeroes.into_iter().find(|(_, zero)| *zero) {
            Some((key, _)) => Err(ManifestError::Zero { key }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use super::*;
    use crate::manifest::Manifest;

    fn read(json: &str) -> Result<Manifest, ManifestError> {
        Manifest::from_json(json.as_bytes())
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("7", 7), ("1KiB", 1024), ("64 MiB", 64 << 20), ("3 GiB", 3 << 30)] {
            assert_eq!(text.parse(), Ok(Size::bytes(bytes)));
        }
        for text in ["", "KiB", "-1", "+1", "1.5 MiB", "1 MB", "1 mib", "17179869184 GiB", "18446744073709551616"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
        let mount = |size: &str| read(&format!(r#"{{"mount":[{{"path":"/t","kind":"memory","size":{size}}}]}}"#));
        assert_eq!(mount("1048576").unwrap().mount.first().unwrap().size, Some(Size::bytes(1 << 20)));
        assert_eq!(mount("\"1 MiB\""), Err(ManifestError::NotCanonical), "in a package it is a number");
        assert!(matches!(mount("-1"), Err(ManifestError::Json { .. })));
    }

    #[test]
    fn times() {
        let times = [("0", 0), ("7", 7), ("1ms", 1), ("30 s", 30_000), ("5 min", 300_000), ("24h", 86_400_000)];
        for (text, milliseconds) in times {
            assert_eq!(text.parse(), Ok(Span::milliseconds(milliseconds)));
        }
        for text in ["", "s", "-1", "1.5 s", "1 d", "1 m", "1 S", "18446744073709551615 s"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError), "{text}");
        }
    }

    #[test]
    fn a_certificate_is_used_for_a_while() {
        assert!(read(r#"{"identity":{"lifetime":5000}}"#).is_ok());
        assert_eq!(read(r#"{"identity":{"lifetime":4999}}"#), Err(ManifestError::Lifetime));
        assert_eq!(read(r#"{"identity":{}}"#), Err(ManifestError::NotCanonical));
        assert_eq!(read(r#"{"identity":{"files":false}}"#), Err(ManifestError::NotCanonical));
        assert!(read(r#"{"identity":{"lifetime":5000,"files":true}}"#).unwrap().identity.files);
    }

    #[test]
    fn the_directory_of_the_identity_is_nobody_elses() {
        let with = |files: &str, what: &str| read(&format!(r#"{{{what}{files}}}"#));
        let (files, none) = (r#","identity":{"files":true}"#, "");
        let file = |path: &str| format!(r#""file":[{{"path":"{path}"}}]"#);
        let mount = |path: &str| format!(r#""mount":[{{"path":"{path}","kind":"memory"}}]"#);
        for what in [file("/run/donjon"), file("/run/donjon/brief"), file("/run"), mount("/run/donjon")] {
            assert!(with(none, &what).is_ok(), "control: {what}");
            assert!(matches!(with(files, &what), Err(ManifestError::Reserved { .. })), "{what}");
        }
        for what in [file("/run/donjons"), file("/run/other"), mount("/run"), mount("/")] {
            assert!(with(files, &what).is_ok(), "{what}");
        }
    }

    #[test]
    fn a_certificate_has_names() {
        let names = |count: usize| {
            let names: Vec<_> = (1..=count).map(|index| format!("\"n{index}.example.org\"")).collect();
            read(&format!(r#"{{"identity":{{"names":[{}],"lifetime":5000}}}}"#, names.join(",")))
        };
        assert_eq!(names(1).unwrap().identity.names, ["n1.example.org"]);
        assert!(names(64).is_ok());
        assert_eq!(names(65), Err(ManifestError::TooMany { what: "identity.names", limit: 64, found: 65 }));
        assert_eq!(names(0), Err(ManifestError::NotCanonical));
        for name in ["", "*.example.org", "Example.org", "1.2.3.4"] {
            let json = format!(r#"{{"identity":{{"names":["{name}"]}}}}"#);
            assert!(matches!(read(&json), Err(ManifestError::Json { .. })), "{name}");
        }
    }

    #[test]
    fn limits_of_a_package_are_numbers() {
        let all = r#"{"limits":{"memory":1048576,"elements":0,"descriptors":7,"time":1000,"cpu":1,"requests":1}}"#;
        assert_eq!(read(all).unwrap().limits.time, Some(Span::milliseconds(1000)));
        assert_eq!(read(r#"{"limits":{"time":"1 s"}}"#), Err(ManifestError::NotCanonical));
        assert_eq!(read(r#"{"limits":{}}"#), Err(ManifestError::NotCanonical));
        for key in ["memory", "time", "cpu", "requests"] {
            assert_eq!(read(&format!(r#"{{"limits":{{"{key}":0}}}}"#)), Err(ManifestError::Zero { key }));
        }
        assert!(matches!(read(r#"{"limits":{"elements":4294967296}}"#), Err(ManifestError::Json { .. })));
    }
}
