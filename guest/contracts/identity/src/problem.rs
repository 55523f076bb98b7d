//! A Steward's refusal on the wire: problem details (RFC 9457) with the checks that failed.
//!
//! Owns the JSON shape, for both ends. Readers ignore members they do not know (RFC 9457 section 3.2); writers state all.
//! Nothing here is believed: it comes from whoever answered, and is for people to read.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The media type.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// Problem details.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case, for people.
    pub detail: String,
    /// The checks that failed, root cause first.
    pub checks: Vec<FailedCheck>,
}

/// A check of the verdict that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedCheck {
    /// Stable, dotted, e.g. `snp.policy.debug`.
    pub id: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Where the expectation comes from: a policy key or a section of a specification.
    pub source: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    /// For people. Control characters are escaped: whoever answered does not get to write to a terminal.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", shown(&self.title))?;
        if !self.detail.is_empty() {
            write!(out, ": {}", shown(&self.detail))?;
        }
        self.checks.iter().try_for_each(|FailedCheck { id, expected, found, source, remedy }| {
            let [id, expected, found, source, remedy] = [id, expected, found, source, remedy].map(|text| shown(text));
            write!(out, "\n  {id}: expected {expected}, found {found} ({source}); {remedy}")
        })
    }
}

fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_wire_form_is_rfc_9457() {
        let text = r#"{"type":"https://example.org/p","title":"t","status":403,"detail":"d","checks":[{"id":"i","expected":"e","found":"f","source":"s","remedy":"r"}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&problem).unwrap(), text);
        assert_eq!(problem.to_string(), "t: d\n  i: expected e, found f (s); r");
    }

    #[test]
    fn nobody_writes_to_the_terminal() {
        let problem = Problem { title: "\u{1b}[2Jürgen\n".into(), ..Problem::default() };
        assert_eq!(problem.to_string(), "\\u{1b}[2Jürgen\\n");
    }
}
