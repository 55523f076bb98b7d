//! Secrets on their way into a Keep: what it asks a Drawbridge for, and what comes.
//!
//! Owns the two JSON documents of a release (`spec/trust.md`, "Secrets") and their bounds. Refuses more than was asked for, less,
//! and anything longer. Invariant: nothing here prints a value.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::names::{Name, Repository};

/// The most secrets of one workload.
pub const SECRETS: usize = 64;
/// The longest value, in bytes.
pub const SECRET_LIMIT: usize = 64 * 1024;
/// The longest request, in bytes.
pub const WANTED_LIMIT: usize = 8 * 1024;
/// The longest answer, in bytes: not all of the secrets can be of the longest.
pub const RELEASED_LIMIT: usize = 4 * 1024 * 1024;

/// Where a Keep POSTs what it wants at a Drawbridge, as JSON, over TLS with its certificate.
#[must_use]
pub fn path(repository: &Repository) -> String {
    alloc::format!("/api/v1/release/{repository}")
}

/// What a Keep wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The names, at most [`SECRETS`].
    pub secrets: BTreeSet<Name>,
}

/// What it gets: exactly what it wanted.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Released(BTreeMap<Name, Secret>);

/// A secret. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The version in use, at most [`SECRET_LIMIT`] bytes.
    pub current: Vec<u8>,
    /// The version before, for as long as others may still use it.
    pub previous: Option<Vec<u8>>,
}

/// Why this is not what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// Longer than [`RELEASED_LIMIT`], or a value longer than [`SECRET_LIMIT`].
    #[error("longer than a release of secrets may be")]
    TooLong,
    /// Not the JSON it should be. What is wrong is not said, for it might show a value.
    #[error("not a release of secrets")]
    Form,
    /// Other secrets than those that were wanted.
    #[error("a release of other secrets than were asked for")]
    Others,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    secrets: BTreeMap<Name, Raw>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

impl Wanted {
    /// The request, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Names: there is nothing that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Released {
    /// These, as they are in a release.
    #[must_use]
    pub const fn new(secrets: BTreeMap<Name, Secret>) -> Self {
        Self(secrets)
    }

    /// The answer to a request for `wanted`.
    ///
    /// # Errors
    /// See [`SecretsError`].
    pub fn parse(bytes: &[u8], wanted: &BTreeSet<Name>) -> Result<Self, SecretsError> {
        if bytes.len() > RELEASED_LIMIT {
            return Err(SecretsError::TooLong);
        }
        let Answer { secrets } = serde_json::from_slice(bytes).map_err(|_| SecretsError::Form)?;
        if !secrets.keys().eq(wanted.iter()) {
            return Err(SecretsError::Others);
        }
        let value = |text: String| match BASE64_STANDARD.decode(text) {
            Ok(bytes) if bytes.len() > SECRET_LIMIT => Err(SecretsError::TooLong),
            decoded => decoded.map_err(|_| SecretsError::Form),
        };
        let secret = |(name, Raw { current, previous })| {
            Ok((name, Secret { current: value(current)?, previous: previous.map(value).transpose()? }))
        };
        secrets.into_iter().map(secret).collect::<Result<_, _>>().map(Self)
    }

    /// The answer, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let raw = |Secret { current, previous }: &Secret| Raw {
            current: BASE64_STANDARD.encode(current),
            previous: previous.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)),
        };
        let secrets = self.0.iter().map(|(name, secret)| (name.clone(), raw(secret))).collect();
        // Names and texts: there is nothing that JSON could not say.
        serde_json::to_vec(&Answer { secrets }).unwrap_or_default()
    }

    /// The secret of this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Secret> {
        self.0.get(name)
    }
}

impl fmt::Debug for Released {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn names(all: &[&str]) -> BTreeSet<Name> {
        all.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_wanted_comes_and_nothing_else() {
        let json = r#"{"secrets":{"a":{"current":"AQI="},"b":{"current":"","previous":"Aw=="}}}"#;
        let released = Released::parse(json.as_bytes(), &names(&["a", "b"])).unwrap();
        let expected = Secret { current: vec![1, 2], previous: None };
        assert_eq!(released.get(&"a".parse().unwrap()), Some(&expected));
        let expected = Secret { current: vec![], previous: Some(vec![3]) };
        assert_eq!(released.get(&"b".parse().unwrap()), Some(&expected));
        assert_eq!(released.to_json(), json.as_bytes());
        for others in [&["a"][..], &["a", "b", "c"], &["a", "c"], &[]] {
            assert_eq!(Released::parse(json.as_bytes(), &names(others)), Err(SecretsError::Others), "{others:?}");
        }
    }

    #[test]
    fn other_forms_are_refused_and_not_shown() {
        let parse = |text: &str| Released::parse(text.as_bytes(), &names(&["a"])).unwrap_err();
        for odd in [
            "",
            "{}",
            r#"{"secrets":{"a":"swordfish"}}"#,
            r#"{"secrets":{"a":{"current":"swordfish!"}}}"#,
            r#"{"secrets":{"a":{"current":"AQI=","other":1}}}"#,
            r#"{"secrets":{"a":{"previous":"AQI="}}}"#,
        ] {
            assert_eq!(parse(odd), SecretsError::Form, "{odd}");
        }
        assert!(!parse(r#"{"secrets":{"a":"swordfish"}}"#).to_string().contains("sword"));
        let long = BASE64_STANDARD.encode(vec![0; SECRET_LIMIT + 1]);
        assert_eq!(parse(&format!(r#"{{"secrets":{{"a":{{"current":"{long}"}}}}}}"#)), SecretsError::TooLong);
        let secret = Secret { current: b"swordfish".to_vec(), previous: Some(b"swordfish".to_vec()) };
        let shown = format!("{secret:?} {:?}", Released::new([("a".parse().unwrap(), secret.clone())].into()));
        assert!(!shown.contains("swordfish") && !shown.contains("115"), "{shown}");
    }
}
