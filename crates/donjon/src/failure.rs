//! A failure as people see it: what failed, the causes under it, and what to do.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

use workload::settings::Position;

/// The exit code when Donjon itself failed, as opposed to the program it ran.
pub(crate) const FAILED: u8 = 125;

/// The exit code for input that cannot be used, where that is another thing than a refusal.
pub(crate) const UNUSABLE: u8 = 2;

/// Ends a command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    /// For machines; people find it in the message.
    place: Option<(String, Position)>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), hint: None, place: None, code: FAILED }
    }

    /// What failed, and every cause that the error itself does not say yet.
    pub(crate) fn caused(what: impl Display, error: &dyn Error) -> Self {
        let mut message = what.to_string();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self { message, hint: None, place: None, code: FAILED }
    }

    /// An error that may know what to do.
    pub(crate) fn hinted(error: &dyn Error, hint: Option<impl Display>) -> Self {
        let failure = Self::caused("", error);
        let failure = Self { message: failure.message.trim_start_matches(": ").to_owned(), ..failure };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same failure, with where it happened before it.
    pub(crate) fn prefixed(self, place: impl Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// The same failure, in this file: its message begins with the place, if it does not yet.
    pub(crate) fn placed(self, file: &str, at: Option<Position>) -> Self {
        let place = at.map_or_else(|| format!("{file}: "), |at| format!("{file}:{at}: "));
        let place = if self.message.starts_with(&place) { String::new() } else { place };
        Self { message: format!("{place}{}", self.message), place: at.map(|at| (file.to_owned(), at)), ..self }
    }

    /// For machines.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Self { message, hint, place, code: _ } = self;
        let (file, at) = place.as_ref().map(|(file, at)| (file.as_str(), *at)).unzip();
        let (line, column) = at.map(|Position { line, column }| (line, column)).unzip();
        serde_json::json!({ "message": message, "hint": hint, "file": file, "line": line, "column": column })
    }

    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// It is the input's fault: another exit code.
    pub(crate) fn unusable(self) -> Self {
        Self { code: UNUSABLE, ..self }
    }

    /// Writes it to standard error.
    #[allow(clippy::print_stderr, reason = "this is where failures reach people")]
    pub(crate) fn show(&self) -> ExitCode {
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}
