//! Why a Keep did not run a workload, in words for the person who launched it.
//!
//! Owns the thirteen steps as a type and the one error that crosses module borders in exec. A refusal always says at
//! which step, with a stable code, what failed and what to do.

use std::fmt::Display;

use gate::message::{Outcome, TEXT};

/// The steps of a deploy that happen inside a Keep, numbered as in the product document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// An empty Keep is launched with the brief's hash.
    Launch = 4,
    /// Nonce, key and evidence.
    Evidence = 5,
    /// The certificate request is made.
    Request = 6,
    /// The request goes to the Steward.
    Steward = 7,
    /// The Steward judged; its certificate is checked.
    Certificate = 8,
    /// The Keep authenticates to the Drawbridge.
    Drawbridge = 9,
    /// The Drawbridge decides.
    Release = 10,
    /// The Drawbridge answers with the workload.
    Delivery = 11,
    /// The digest is checked.
    Digest = 12,
    /// The program runs.
    Program = 13,
}

/// A start that ended before or instead of the program.
#[derive(Debug)]
pub(crate) struct Refusal {
    step: Step,
    code: &'static str,
    message: String,
    hint: String,
}

impl Refusal {
    /// `message` says what failed, what was expected and what was found; `hint` what to do.
    pub(crate) fn new(step: Step, code: &'static str, message: impl Display, hint: impl Display) -> Self {
        Self { step, code, message: bounded(message.to_string()), hint: bounded(hint.to_string()) }
    }

    /// What failed.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As the platform is told.
    pub(crate) fn outcome(&self) -> Outcome<'_> {
        Outcome::Refused { step: self.step as u8, code: self.code, message: &self.message, hint: &self.hint }
    }
}

/// Cuts a text at the gate's bound, at a character border.
pub(crate) fn bounded(mut text: String) -> String {
    let end = (0..=TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}
