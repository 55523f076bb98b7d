//! Verdicts as text, for people and for machines.

use std::fmt::Write as _;
use std::path::Path;

use evidence::appraisal::not_asked;
use evidence::{Check, Outcome, Skip, time};
use serde::Serialize;
use serde_json::Value;

use super::hint::hints;
use super::{AtFrom, Judged};
use crate::failure::Failure;

/// One object of `--json`.
#[derive(Serialize)]
struct Object<'a> {
    file: String,
    kind: &'a str,
    at: String,
    /// Who chose that instant: `clock`, `option` or `bundle`.
    at_from: AtFrom,
    policy: Option<&'a str>,
    /// Whether the bundle has a policy, and it was not asked.
    ignores_own_policy: bool,
    class: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ear: Option<&'a str>,
    /// Why there is no EAR although one was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// What to do about something that is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hints: Vec<String>,
    #[serde(flatten)]
    appraisal: &'a evidence::appraisal::Appraisal,
}

/// One line of JSON.
pub(super) fn json(judged: &Judged, ear: Option<&str>, failure: Option<&Failure>) -> Result<String, Failure> {
    let object = Object {
        file: judged.item.name(),
        kind: judged.item.kind.name(),
        at: time::date(judged.now),
        at_from: judged.at_from,
        policy: judged.policy.as_ref().map(|chosen| chosen.name()),
        ignores_own_policy: judged.ignores_policy(),
        class: judged.insecure.class(),
        ear,
        error: failure.map(Failure::message),
        hints: hints(judged),
        appraisal: &judged.appraisal,
    };
    serde_json::to_string(&object).map_err(|error| Failure::caused("cannot write JSON", &error))
}

/// One line of JSON about a file that cannot be used.
pub(super) fn unusable(file: &Path, failure: &Failure) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Object<'a> {
        file: String,
        kind: Option<&'a str>,
        error: &'a str,
    }
    let object = Object { file: file.display().to_string(), kind: None, error: failure.message() };
    serde_json::to_string(&object).map_err(|error| Failure::caused("cannot write JSON", &error))
}

/// For people: the answer, the reason first, what it says, what nobody asked.
pub(super) fn people(judged: &Judged, all: bool) -> String {
    let Judged { item, appraisal, now, policy, .. } = judged;
    let answer = if appraisal.verified() { "verified" } else { "REFUSED" };
    let mut text = format!("{}: {}, {answer} as of {}", item.name(), item.kind, time::date(*now));
    match policy {
        Some(policy) => _ = write!(text, ", by {}", policy.name()),
        None => text.push_str(", by no policy"),
    }
    text.push('\n');
    notes(judged).for_each(|line| _ = writeln!(text, "  {line}"));
    if let Some(status) = appraisal.tcb_status() {
        let advisories: Vec<_> = appraisal.advisories().collect();
        let advisories = if advisories.is_empty() { "no advisories".to_owned() } else { advisories.join(", ") };
        _ = writeln!(text, "  TCB status: {status}; {advisories}");
    }
    if let Some(claims) = &appraisal.claims {
        claimed(&mut text, claims);
    }
    let mut failures = appraisal.verdict.failures();
    if let Some(primary) = failures.next() {
        failed(&mut text, primary);
        hints(judged).iter().for_each(|hint| _ = writeln!(text, "    hint:     {hint}"));
    }
    for check in failures {
        text.push_str("  and, whatever comes of that:\n");
        failed(&mut text, check);
    }
    let count = |outcome| appraisal.verdict.checks.iter().filter(|check| check.outcome == outcome).count();
    let (passed, not_reached) = (count(Outcome::Pass), count(Outcome::Skipped(Skip::NotReached)));
    _ = write!(text, "  {passed} checks passed");
    if not_reached > 0 {
        _ = write!(text, ", {not_reached} were not reached");
    }
    text.push('\n');
    if all {
        for check in &appraisal.verdict.checks {
            listed(&mut text, check);
        }
    } else {
        let ids: Vec<_> = not_asked(&appraisal.verdict).map(|check| check.id).collect();
        if !ids.is_empty() {
            _ = writeln!(text, "  not asked: {}", ids.join(", "));
        }
    }
    text.pop();
    text
}

/// What has to be known about a verdict before it is relied on: what it is not worth, and what the evidence's maker chose.
pub(super) fn notes(judged: &Judged) -> impl Iterator<Item = &'static str> {
    let instant =
        (judged.at_from == AtFrom::Bundle).then_some("the instant is the bundle's own; --at judges at another");
    let ignored = judged.ignores_policy();
    let policy = ignored.then_some("the bundle's own policy was not asked; --own-policy judges by it");
    judged.insecure.lines().chain(instant).chain(policy)
}

fn failed(text: &mut String, check: &Check) {
    let Check { id, expected, found, source, remedy, .. } = check;
    _ = writeln!(text, "  {id}");
    _ = writeln!(text, "    expected: {expected}");
    _ = writeln!(text, "    found:    {found}");
    _ = writeln!(text, "    from:     {source}");
    _ = writeln!(text, "    hint:     {remedy}");
}

fn listed(text: &mut String, check: &Check) {
    let Check { id, outcome, expected, found, .. } = check;
    _ = match outcome {
        Outcome::Pass => writeln!(text, "  ok           {id}: {found}"),
        Outcome::Fail => writeln!(text, "  FAILED       {id}: expected {expected}, found {found}"),
        Outcome::Skipped(Skip::NotReached) => writeln!(text, "  not reached  {id}"),
        Outcome::Skipped(Skip::NotApplicable) => writeln!(text, "  not for this {id}: {found}"),
        Outcome::Skipped(Skip::NotAsked) => writeln!(text, "  not asked    {id}: {found}"),
    };
}

/// What the evidence says, a line each.
fn claimed(text: &mut String, claims: &evidence::appraisal::Claims) {
    if let Ok(Value::Object(claims)) = serde_json::to_value(claims) {
        claims.into_iter().for_each(|(name, value)| entry(text, &name.replace('_', " "), value));
    }
}

/// What has parts, part by part.
fn entry(text: &mut String, name: &str, value: Value) {
    _ = match value {
        Value::Null => Ok(()),
        Value::String(value) => writeln!(text, "  {name}: {value}"),
        Value::Object(parts) => {
            parts
                .into_iter()
                .for_each(|(part, value)| entry(text, &format!("{name} {}", part.replace('_', " ")), value));
            Ok(())
        }
        other => writeln!(text, "  {name}: {other}"),
    };
}
