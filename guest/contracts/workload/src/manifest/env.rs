//! Environment variables: texts that the publisher fixes, names of what the launcher's host is to give, and secrets.
//!
//! Owns the three forms of a value. Refuses unknown keys.
//! Invariant: a value of the host reaches a program by the brief alone, so it is measured; a secret never does, but for
//! what nobody protects from the host anyway.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::Name;

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Fixed by the publisher.
    Text(String),
    /// A variable of the launcher's host.
    Host(FromHost),
    /// A secret of the Drawbridge that the workload comes from.
    Secret(FromSecret),
}

/// A secret, by its name at the Drawbridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FromSecret {
    /// The name.
    pub secret: Name,
}

/// A variable of the launcher's host, and what holds without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FromHost {
    /// Its name there.
    pub host: String,
    /// The value if nobody gives one; `None` = the program does not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A variable without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbsentVariable {
    /// The brief has none, and the manifest no default.
    #[error("the manifest wants the variable `{name}` from the host's `{host}`, and the launcher gave none")]
    Host {
        /// What the program calls it.
        name: String,
        /// What the host calls it.
        host: String,
    },
    /// Nobody delivered the secret.
    #[error("the manifest wants the variable `{name}` from the secret `{secret}`, and nobody delivered it")]
    Secret {
        /// What the program calls it.
        name: String,
        /// What the Drawbridge calls it.
        secret: Name,
    },
    /// The secret is nothing that a variable could be.
    #[error("the secret `{secret}` cannot be the variable `{name}`: it is not UTF-8, or has a NUL character")]
    NoText {
        /// What the program calls it.
        name: String,
        /// What the Drawbridge calls it.
        secret: Name,
    },
}

impl From<String> for Variable {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Serialize for Variable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Host(host) => host.serialize(serializer),
            Self::Secret(secret) => secret.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// A text, or a table. Not serde's `untagged`, which does not say what is wrong with the table.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Variable;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text, { host = \"NAME\", default = \"text\" } or { secret = \"NAME\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Variable, E> {
        Ok(Variable::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Variable, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            host: Option<String>,
            default: Option<String>,
            secret: Option<Name>,
        }
        match Table::deserialize(MapAccessDeserializer::new(map))? {
            Table { secret: Some(secret), host: None, default: None } => Ok(Variable::Secret(FromSecret { secret })),
            Table { secret: Some(_), .. } => {
                Err(A::Error::custom("`secret` stands alone: the host has no part in it, and there is no default"))
            }
            Table { host: Some(host), default, secret: None } => Ok(Variable::Host(FromHost { host, default })),
            Table { host: None, .. } => Err(A::Error::missing_field("host")),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::brief::{Brief, Source, StewardRef};
    use crate::digest::Digest;
    use crate::manifest::{Manifest, ManifestError};
    use crate::secrets::{Released, Secret};

    const BOTH: &str = r#"{"env":{"A":"fixed","B":{"host":"HB"},"C":{"host":"HC","default":"c"}}}"#;

    fn read(json: &str) -> Result<Manifest, ManifestError> {
        Manifest::from_json(json.as_bytes())
    }

    #[test]
    fn a_value_is_a_text_or_a_name_of_the_host() {
        let manifest = read(BOTH).unwrap();
        assert_eq!(manifest.to_json().unwrap(), BOTH.as_bytes());
        let host = |host: &str, default: Option<&str>| {
            Variable::Host(FromHost { host: host.to_owned(), default: default.map(ToOwned::to_owned) })
        };
        let values: Vec<_> = manifest.env.into_values().collect();
        assert_eq!(values, ["fixed".to_owned().into(), host("HB", None), host("HC", Some("c"))]);
        let one = |value: &str| read(&format!(r#"{{"env":{{"A":{value}}}}}"#));
        assert!(one(r#"{"host":"H","default":""}"#).is_ok(), "an empty text is a value");
        assert_eq!(one(r#"{"default":"c","host":"H"}"#), Err(ManifestError::NotCanonical));
        assert_eq!(one(r#"{"host":"H","default":null}"#), Err(ManifestError::NotCanonical));
        for value in [r#"{"default":"c"}"#, r#"{"host":"H","defualt":"c"}"#, "{}", r#"{"host":1}"#, "[]", "1", "null"] {
            assert!(matches!(one(value), Err(ManifestError::Json { .. })), "{value}");
        }
        for value in
            [r#"{"host":""}"#, r#"{"host":"A=B"}"#, r#"{"host":"A\u0000"}"#, r#"{"host":"H","default":"\u0000"}"#]
        {
            assert!(matches!(one(value), Err(ManifestError::Variable { .. })), "{value}");
        }
        assert!(one(r#"{"secret":"S"}"#).is_ok());
        for value in [r#"{"host":"H","secret":"S"}"#, r#"{"secret":"S","default":"d"}"#] {
            let Err(ManifestError::Json { message, .. }) = one(value) else { panic!("{value}") };
            assert!(message.contains("`secret` stands alone"), "{message}");
        }
        assert!(matches!(one(r#"{"secret":"../S"}"#), Err(ManifestError::Json { .. })), "not a name");
    }

    #[test]
    fn the_brief_has_it_or_the_default_or_nobody() {
        let manifest = read(BOTH).unwrap();
        let given = |env: &[(&str, &str)]| {
            let brief = Brief {
                trust_domain: "example.org".parse().unwrap(),
                steward: None,
                source: Source::Host,
                owner: None,
                deployment: "d".parse().unwrap(),
                role: "r".parse().unwrap(),
                workload: Digest::of(b"w"),
                args: Vec::new(),
                env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            };
            manifest.environment(&brief, &Released::default())
        };
        let is = |all: &[(&str, &str)]| -> BTreeMap<_, _> {
            all.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        assert_eq!(given(&[("A", "x"), ("B", "1")]), Ok(is(&[("A", "fixed"), ("B", "1"), ("C", "c")])));
        assert_eq!(given(&[("B", ""), ("C", "2")]), Ok(is(&[("A", "fixed"), ("B", ""), ("C", "2")])));
        let absent = AbsentVariable::Host { name: "B".to_owned(), host: "HB".to_owned() };
        assert_eq!(given(&[("C", "2")]), Err(absent.clone()));
        assert_eq!(given(&[("HB", "1")]), Err(absent), "the brief has it by the program's name, not the host's");
    }

    #[test]
    fn a_secret_is_the_drawbridges_alone() {
        let manifest = read(r#"{"env":{"A":{"secret":"s"}}}"#).unwrap();
        let environment = |steward: bool, given: Option<&[u8]>| {
            let brief = Brief {
                trust_domain: "example.org".parse().unwrap(),
                steward: steward.then(|| StewardRef {
                    url: "http://s".to_owned(),
                    anchors: alloc::vec![Digest::of(b"root")],
                    tls: Vec::new(),
                }),
                source: Source::Host,
                owner: None,
                deployment: "d".parse().unwrap(),
                role: "r".parse().unwrap(),
                workload: Digest::of(b"w"),
                args: Vec::new(),
                env: [("A".to_owned(), "of the host".to_owned())].into(),
            };
            let secret = |current: &[u8]| Secret { current: current.to_vec(), previous: None };
            let secrets = given.map(|given| ("s".parse().unwrap(), secret(given)));
            let all = manifest.environment(&brief, &Released::new(secrets.into_iter().collect()))?;
            Ok(all["A"].clone())
        };
        let (name, secret): (_, Name) = ("A".to_owned(), "s".parse().unwrap());
        assert_eq!(environment(true, Some(b"hush")), Ok("hush".to_owned()));
        assert_eq!(environment(true, None), Err(AbsentVariable::Secret { name: name.clone(), secret: secret.clone() }));
        for odd in [b"\xff".as_slice(), b"a\0"] {
            let expected = AbsentVariable::NoText { name: name.clone(), secret: secret.clone() };
            assert_eq!(environment(true, Some(odd)), Err(expected));
        }
        assert_eq!(environment(false, None), Ok("of the host".to_owned()), "nothing is protected from the host there");
    }

    #[cfg(feature = "settings")]
    #[test]
    fn a_table_of_a_project_has_a_place() {
        let toml = |text: &str| Manifest::from_toml("a", text);
        for text in ["[env]\nA = { host = \"H\", default = \"d\" }\n", "[env.A]\nhost = \"H\"\ndefault = \"d\"\n"] {
            let found = toml(text).unwrap().to_json().unwrap();
            assert_eq!(found, br#"{"env":{"A":{"host":"H","default":"d"}}}"#, "{text}");
        }
        let error = toml("[env]\nA = { hots = \"H\" }\n").unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.hint().as_deref()),
            ("a:2:7: unknown key `hots`", Some("did you mean `host`?"))
        );
        let error = toml("[env]\nA = { secret = \"S\", default = \"d\" }\n").unwrap_err().to_string();
        assert!(error.starts_with("a:2:5: `secret` stands alone"), "{error}");
        let error = toml("[env]\nA = { default = \"S\" }\n").unwrap_err();
        assert_eq!(error.to_string(), "a:2:5: the key `host` is missing");
        let error = toml("[env]\nA = { host = \"A=B\" }\n").unwrap_err().to_string();
        assert!(error.starts_with("a:2:5: `env.A`"), "{error}");
    }
}
