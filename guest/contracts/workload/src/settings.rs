//! TOML settings with errors a person can act on.
//!
//! Owns the one way in which `Donjon.toml`, a Steward's policy and a Drawbridge's settings are read. Refuses files over
//! 1 MiB before parsing. Types that are read here say `deny_unknown_fields`: a key that is spelled wrong is an error, with
//! the nearest known key as a hint, because a forgotten check must never come from a typing mistake.
//! Invariant: every error says file, line and column, unless the whole file is the fault.

use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec::Vec;

use serde::de::DeserializeOwned;
use toml::de::DeValue;

/// The longest settings file, in bytes.
pub const SETTINGS_LIMIT: usize = 1024 * 1024;

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Longer than [`SETTINGS_LIMIT`].
    #[error("{what}: {found} bytes are too many for settings (at most {limit})")]
    TooLong {
        /// The file.
        what: String,
        /// [`SETTINGS_LIMIT`].
        limit: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// A key that does not exist.
    #[error("{what}:{at}: unknown key `{key}`")]
    UnknownKey {
        /// The file.
        what: String,
        /// Where.
        at: Position,
        /// The key.
        key: String,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// A value that is not one of a closed list.
    #[error("{what}:{at}: unknown value `{value}`")]
    UnknownValue {
        /// The file.
        what: String,
        /// Where.
        at: Position,
        /// The value.
        value: String,
        /// The values that exist there.
        known: Vec<String>,
    },
    /// A key that must be there is not.
    #[error("{what}:{at}: the key `{key}` is missing")]
    MissingKey {
        /// The file.
        what: String,
        /// Where the table begins in which it is missing.
        at: Position,
        /// The key.
        key: String,
    },
    /// Not TOML, or a value of another type or form.
    #[error("{what}:{at}: {message}")]
    Invalid {
        /// The file.
        what: String,
        /// Where.
        at: Position,
        /// What is wrong.
        message: String,
    },
}

/// A place in a file, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl core::fmt::Display for Position {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { line, column } = self;
        write!(out, "{line}:{column}")
    }
}

impl Position {
    /// Of a byte in a text.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
        Self { line, column }
    }

    /// Of the value at the end of `path`, or of the last on the way that is there: what is missing is missing in that.
    /// `None` if the text is no TOML, or has nothing of the path.
    #[must_use]
    pub fn find(text: &str, path: &[Step<'_>]) -> Option<Self> {
        let root = toml::de::DeTable::parse(text).ok()?.into_inner();
        let mut steps = path.iter();
        let Some(Step::Key(first)) = steps.next() else { return None };
        let mut found = root.get(*first)?;
        for step in steps {
            let next = match (step, found.get_ref()) {
                (Step::Key(key), DeValue::Table(table)) => table.get(*key),
                (Step::Index(index), DeValue::Array(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            found = next;
        }
        Some(Self::of(text, found.span().start))
    }
}

/// One step to a value in settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into a table.
    Key(&'a str),
    /// Into a list, from 0.
    Index(usize),
}

/// Reads `text`, which messages call `what`.
///
/// # Errors
/// See [`SettingsError`].
pub fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, SettingsError> {
    if text.len() > SETTINGS_LIMIT {
        return Err(SettingsError::TooLong { what: what.to_owned(), limit: SETTINGS_LIMIT, found: text.len() });
    }
    toml::from_str(text).map_err(|error| {
        let at = Position::of(text, error.span().map_or(0, |span| span.start));
        sort(what.to_owned(), at, error.message())
    })
}

impl SettingsError {
    /// Where; nowhere if the whole file is the fault.
    #[must_use]
    pub const fn at(&self) -> Option<Position> {
        match self {
            Self::TooLong { .. } => None,
            Self::UnknownKey { at, .. }
            | Self::UnknownValue { at, .. }
            | Self::MissingKey { at, .. }
            | Self::Invalid { at, .. } => Some(*at),
        }
    }

    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { what: _, at: _, key: word, known }
            | Self::UnknownValue { what: _, at: _, value: word, known } => {
                match (nearest(word, known), known.as_slice()) {
                    (Some(nearest), _) => Some(std::format!("did you mean `{nearest}`?")),
                    (None, []) => None,
                    (None, known) => Some(std::format!("known here: {}", known.join(", "))),
                }
            }
            Self::MissingKey { what: _, at: _, key } => Some(std::format!("add `{key} = …`")),
            Self::TooLong { .. } | Self::Invalid { .. } => None,
        }
    }
}

/// The known word that somebody most likely meant.
fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    let likeness = |known: &String| strsim::jaro_winkler(&word.to_lowercase(), &known.to_lowercase());
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then_some(best.as_str())
}

/// serde tells these three faults apart only in the words of its message (`serde::de::Error`, provided methods).
fn sort(what: String, at: Position, message: &str) -> SettingsError {
    if let Some((key, known)) = unknown(message, "unknown field `") {
        return SettingsError::UnknownKey { what, at, key, known };
    }
    if let Some((value, known)) = unknown(message, "unknown variant `") {
        return SettingsError::UnknownValue { what, at, value, known };
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return SettingsError::MissingKey { what, at, key: key.to_owned() };
    }
    SettingsError::Invalid { what, at, message: message.to_owned() }
}

/// Splits "unknown field `x`, expected one of `a`, `b`".
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(prefix)?;
    let (word, expected) = rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no "))?;
    let known = expected.split('`').skip(1).step_by(2).map(ToString::to_string).collect();
    Some((word.to_owned(), known))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Policy {
        trust_domain: String,
        class: Option<Class>,
        #[serde(default)]
        snp: BTreeMap<String, Section>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Class {
        Hardware,
        Insecure,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        minimum: u8,
    }

    fn error(text: &str) -> SettingsError {
        parse::<Policy>("policy.toml", text).unwrap_err()
    }

    #[test]
    fn good_settings() {
        let policy: Policy =
            parse("policy.toml", "trust_domain = \"a\"\nclass = \"insecure\"\n[snp.x]\nminimum = 3\n").unwrap();
        assert_eq!(policy.class, Some(Class::Insecure));
        assert_eq!(policy.snp["x"].minimum, 3);
    }

    #[test]
    fn an_unknown_key_has_a_place_and_a_suggestion() {
        let found = error("trust_domain = \"a\"\n  trust_domian = \"b\"\n");
        assert_eq!(found.to_string(), "policy.toml:2:3: unknown key `trust_domian`");
        assert_eq!(found.hint().as_deref(), Some("did you mean `trust_domain`?"));
        let far = error("trust_domain = \"a\"\nzzz = 1\n");
        assert_eq!(far.hint().as_deref(), Some("known here: trust_domain, class, snp"));
        let section = error("trust_domain = \"a\"\n[snp.x]\nminimum = 1\nminimun = 2\n");
        assert_eq!(section.to_string(), "policy.toml:4:1: unknown key `minimun`");
        assert_eq!(section.hint().as_deref(), Some("did you mean `minimum`?"));
        let quoted = error("trust_domain = \"a\"\n\"cl`ass`, expected `x\" = 1\n");
        assert!(
            matches!(&quoted, SettingsError::UnknownKey { key, .. } if key == "cl`ass`, expected `x"),
            "{quoted:?}"
        );
    }

    #[test]
    fn values_missing_keys_and_syntax() {
        let value = error("trust_domain = \"a\"\nclass = \"hardwear\"\n");
        assert_eq!(value.to_string(), "policy.toml:2:9: unknown value `hardwear`");
        assert_eq!(value.hint().as_deref(), Some("did you mean `hardware`?"));

        let missing = error("class = \"hardware\"\n");
        assert_eq!(missing.to_string(), "policy.toml:1:1: the key `trust_domain` is missing");
        assert_eq!(missing.hint().as_deref(), Some("add `trust_domain = …`"));

        let kind = error("trust_domain = 1\n");
        assert!(matches!(&kind, SettingsError::Invalid { at: Position { line: 1, column: 16 }, .. }), "{kind}");
        let syntax = error("trust_domain = \"a\"\nü = = 1\n");
        assert!(matches!(&syntax, SettingsError::Invalid { at: Position { line: 2, .. }, .. }), "{syntax}");
        let twice = error("trust_domain = \"a\"\ntrust_domain = \"a\"\n");
        assert!(matches!(&twice, SettingsError::Invalid { at: Position { line: 2, column: 1 }, .. }), "{twice}");
    }

    #[test]
    fn values_have_places() {
        use Step::{Index, Key};
        let text = "a = 1\n[[b]]\nc = [\"x\", \"ü\", 3]\n[[b]]\n[d]\n\"e.f\" = 1\n";
        let at = |path: &[Step<'_>]| Position::find(text, path).map(|at| at.to_string());
        assert_eq!(at(&[Key("a")]).as_deref(), Some("1:5"));
        assert_eq!(at(&[Key("b"), Index(0), Key("c"), Index(2)]).as_deref(), Some("3:16"));
        assert_eq!(at(&[Key("b"), Index(1)]).as_deref(), Some("4:1"));
        assert_eq!(at(&[Key("b"), Index(1), Key("missing")]).as_deref(), Some("4:1"), "missing in this");
        assert_eq!(at(&[Key("d"), Key("e.f")]).as_deref(), Some("6:9"));
        assert_eq!(at(&[Key("missing")]), None);
        assert_eq!(Position::find("= nonsense", &[Key("a")]), None);
    }

    #[test]
    fn bounded_before_parsed() {
        let long = ["trust_domain = \"a\"\n#", &"x".repeat(SETTINGS_LIMIT - 20)].concat();
        assert!(parse::<Policy>("policy.toml", &long).is_ok(), "control: exactly the limit");
        assert_eq!(long.len(), SETTINGS_LIMIT);
        let longer = [&long, "x"].concat();
        assert!(matches!(error(&longer), SettingsError::TooLong { found, .. } if found == SETTINGS_LIMIT + 1));
        let deep = ["trust_domain = ", &"[".repeat(100_000)].concat();
        assert!(matches!(error(&deep), SettingsError::Invalid { .. }));
    }
}
