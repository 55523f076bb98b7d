//! The verdict: every rule in order, with what was expected, what was found, and the remedy.
//!
//! A [`Rule`] is the static half of a check (id, meaning, source, remedy), a [`Check`] the result.
//! A verdict always lists every rule of its TEE once, in order: what could not be reached is
//! `Skipped`, never missing. Success needs every rule to have passed or to be skipped for a reason
//! that is no failure; a rule the code forgot counts as failed.

use serde::Serialize;

/// The static half of a check. Ids are stable: they are published and tested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable dotted id such as `snp.vek.tcb`.
    pub id: &'static str,
    /// One line: what holds when the check passes.
    pub meaning: &'static str,
    /// Policy key (`policy: snp.…`) or section of a specification the rule comes from.
    pub source: &'static str,
    /// What somebody can do about a failure.
    pub remedy: &'static str,
}

/// One check of one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable id of the [`Rule`].
    pub id: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What the rule demands, for people.
    pub expected: String,
    /// What the evidence has, or why the check was skipped.
    pub found: String,
    /// Where the expectation comes from.
    pub source: String,
    /// What to do about a failure.
    pub remedy: String,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The rule holds.
    Pass,
    /// The rule is broken.
    Fail,
    /// The rule was not applied; [`Check::found`] says why.
    Skipped(Skip),
}

/// Why a check was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Another failure took away what this check needs. Never part of a success.
    NotReached,
    /// The rule says nothing about this evidence (chip identity of a VLEK, CPUID of version 2).
    NotApplicable,
    /// The policy states no such demand.
    NotAsked,
}

/// All checks of one appraisal, in the order of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// One check for each rule of the TEE, in order.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// True if nothing failed and nothing was left unreached.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| match check.outcome {
            Outcome::Pass | Outcome::Skipped(Skip::NotApplicable) | Outcome::Skipped(Skip::NotAsked) => true,
            Outcome::Fail | Outcome::Skipped(Skip::NotReached) => false,
        })
    }

    /// The first failure: rules are ordered so that a cause stands before its consequences, and
    /// what a failure makes meaningless is skipped rather than failed.
    pub fn primary(&self) -> Option<&Check> {
        self.failures().next()
    }

    /// Every failed check, in order.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Fail)
    }

    /// The check with this id, if the TEE has such a rule.
    pub fn check(&self, id: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }
}

/// Position of a rule in its TEE's list.
pub(crate) trait Numbered {
    fn number(self) -> usize;
}

/// A list of rules, and an enum `RuleId` of their positions in a verdict, in which they come after others.
macro_rules! rules {
    (
        $(#[$list:meta])* $vis:vis const $name:ident, after $before:expr;
        $($variant:ident = $id:literal, $meaning:literal, $source:literal, $remedy:literal;)*
    ) => {
        /// The rules of this list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum RuleId { $($variant),* }

        impl $crate::verdict::Numbered for RuleId {
            fn number(self) -> usize {
                const BEFORE: &[$crate::verdict::Rule] = $before;
                BEFORE.len() + self as usize
            }
        }

        $(#[$list])*
        $vis const $name: &[$crate::verdict::Rule] = &[
            $($crate::verdict::Rule { id: $id, meaning: $meaning, source: $source, remedy: $remedy }),*
        ];
    };
}
pub(crate) use rules;

/// One list after the other.
pub(crate) const fn chained<const N: usize>(first: &[Rule], second: &[Rule]) -> [Rule; N] {
    let mut all = [Rule { id: "", meaning: "", source: "", remedy: "" }; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// Collects outcomes while evidence is judged; [`Recorder::finish`] makes the complete verdict.
///
/// A TEE names its rules by an enum of their positions in `rules`.
#[derive(Debug)]
pub(crate) struct Recorder {
    rules: &'static [Rule],
    checks: Vec<Option<Check>>,
}

impl Recorder {
    pub(crate) fn new(rules: &'static [Rule]) -> Self {
        Self { rules, checks: rules.iter().map(|_| None).collect() }
    }

    /// Records pass or fail and hands the answer back, for what depends on it.
    pub(crate) fn check(
        &mut self,
        rule: impl Numbered,
        passed: bool,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> bool {
        let outcome = if passed { Outcome::Pass } else { Outcome::Fail };
        self.record(rule.number(), outcome, expected.into(), found.into());
        passed
    }

    /// Records that a rule is not applied. `NotReached` is never said by hand: it is what
    /// [`Recorder::finish`] makes of silence.
    pub(crate) fn skip(&mut self, rule: impl Numbered, skip: Skip, why: impl Into<String>) {
        self.record(rule.number(), Outcome::Skipped(skip), String::new(), why.into());
    }

    fn record(&mut self, rule: usize, outcome: Outcome, expected: String, found: String) {
        if let (Some(slot), Some(rule)) = (self.checks.get_mut(rule), self.rules.get(rule)) {
            debug_assert!(slot.is_none(), "{} recorded twice", rule.id);
            *slot = Some(Check {
                id: rule.id,
                outcome,
                expected,
                found,
                source: rule.source.to_owned(),
                remedy: rule.remedy.to_owned(),
            });
        }
    }

    /// The verdict of a judgement that has only these rules, the first and the last with all between.
    pub(crate) fn finish_within(mut self, first: impl Numbered, last: impl Numbered) -> Verdict {
        let (first, last) = (first.number(), last.number());
        self.rules = self.rules.get(first..=last).unwrap_or_default();
        self.checks = self.checks.into_iter().skip(first).take(self.rules.len()).collect();
        self.finish()
    }

    pub(crate) fn finish(self) -> Verdict {
        let Self { rules, checks } = self;
        let cause = checks.iter().flatten().find(|check| check.outcome == Outcome::Fail);
        let cause = cause.map(|check| check.id);
        let checks = rules
            .iter()
            .zip(checks)
            .map(|(rule, check)| {
                check.unwrap_or_else(|| {
                    let (outcome, found) = match cause {
                        Some(id) => (Outcome::Skipped(Skip::NotReached), format!("not reached because {id} failed")),
                        // Nothing failed and yet the rule was not applied: our defect, so refuse.
                        None => (Outcome::Fail, "the verifier did not apply this rule".to_owned()),
                    };
                    Check {
                        id: rule.id,
                        outcome,
                        expected: rule.meaning.to_owned(),
                        found,
                        source: rule.source.to_owned(),
                        remedy: rule.remedy.to_owned(),
                    }
                })
            })
            .collect();
        Verdict { checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Numbered for usize {
        fn number(self) -> usize {
            self
        }
    }

    const RULES: &[Rule] = &[
        Rule { id: "t.a", meaning: "a", source: "s", remedy: "r" },
        Rule { id: "t.b", meaning: "b", source: "s", remedy: "r" },
        Rule { id: "t.c", meaning: "c", source: "s", remedy: "r" },
    ];

    #[test]
    fn all_passed_is_success_and_keeps_the_order() {
        let mut recorder = Recorder::new(RULES);
        recorder.check(2usize, true, "", "");
        recorder.check(0usize, true, "", "");
        recorder.skip(1usize, Skip::NotAsked, "no key");
        let verdict = recorder.finish();
        assert!(verdict.passed());
        assert_eq!(verdict.primary(), None);
        let ids: Vec<_> = verdict.checks.iter().map(|check| check.id).collect();
        assert_eq!(ids, ["t.a", "t.b", "t.c"]);
    }

    #[test]
    fn silence_after_a_failure_is_not_reached() {
        let mut recorder = Recorder::new(RULES);
        recorder.check(0usize, true, "", "");
        recorder.check(1usize, false, "x", "y");
        let verdict = recorder.finish();
        assert!(!verdict.passed());
        assert_eq!(verdict.primary().map(|check| check.id), Some("t.b"));
        assert_eq!(verdict.checks[2].outcome, Outcome::Skipped(Skip::NotReached));
        assert_eq!(verdict.failures().count(), 1);
    }

    #[test]
    fn a_forgotten_rule_is_a_failure() {
        let mut recorder = Recorder::new(RULES);
        recorder.check(0usize, true, "", "");
        recorder.check(1usize, true, "", "");
        let verdict = recorder.finish();
        assert!(!verdict.passed());
        assert_eq!(verdict.primary().map(|check| check.id), Some("t.c"));
    }
}
