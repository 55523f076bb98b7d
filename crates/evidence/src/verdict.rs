//! The verdict: every rule in order, with what was expected, what was found, and the remedy.
//!
//! A [`Rule`] is the static half of a check (id, meaning, source, remedy), a [`Check`] the result.
//! A verdict always lists every rule of its TEE once, in order: what could not be reached is
//! `Skipped`, never missing. Success needs every rule to have passed or to be skipped for a reason
//! that is no failure; a rule the code forgot counts as failed.

use crate::dcap::Standing;
use core::fmt::{self, Display, Write};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

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

/// A text for people; most are the same in every verdict.
pub type Text = Cow<'static, str>;

/// One check of one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable id of the [`Rule`].
    pub id: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What the rule demands, for people.
    pub expected: Text,
    /// What the evidence has, or why the check was skipped.
    pub found: Text,
    /// Where the expectation comes from.
    pub source: &'static str,
    /// What to do about a failure.
    pub remedy: &'static str,
}

/// How a check ended.
///
/// As data it is one word: `pass`, `fail`, or why it was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rule holds.
    Pass,
    /// The rule is broken.
    Fail,
    /// The rule was not applied; [`Check::found`] says why.
    Skipped(Skip),
}

impl Outcome {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skipped(Skip::NotReached) => "not_reached",
            Self::Skipped(Skip::NotApplicable) => "not_applicable",
            Self::Skipped(Skip::NotAsked) => "not_asked",
        }
    }

    /// Whether it is part of a success.
    pub fn good(self) -> bool {
        match self {
            Self::Pass | Self::Skipped(Skip::NotApplicable | Skip::NotAsked) => true,
            Self::Fail | Self::Skipped(Skip::NotReached) => false,
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// Why a check was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// What Intel says of the platform. There if everything that it hangs on was good, whatever a policy says to it, and
    /// whatever else failed.
    #[serde(skip)]
    pub standing: Option<Standing>,
}

impl Verdict {
    /// True if nothing failed and nothing was left unreached.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.outcome.good())
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

/// Why a list is not asked.
const NO_LIST: &str = "no list in the policy";

/// The first values of a policy's list, and how many more there are: as many would make a verdict as long as the list.
pub(crate) fn some(list: &[impl Display]) -> String {
    const SHOWN: usize = 3;
    let mut text = String::new();
    for (at, value) in list.iter().take(SHOWN).enumerate() {
        // Writing to a text does not fail.
        _ = write!(text, "{}{value}", if at == 0 { "" } else { ", " });
    }
    match list.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// What the sender wrote, in a verdict: without control characters, and no further than `longest` characters, so that what
/// is long costs no time either.
pub(crate) fn said(text: impl Display, longest: usize) -> String {
    struct Said {
        text: String,
        left: usize,
    }
    impl Write for Said {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars().filter(|c| !c.is_control()) {
                self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
                self.text.push(c);
            }
            Ok(())
        }
    }
    let mut said = Said { text: String::new(), left: longest };
    // An error is the end of what is said.
    _ = write!(said, "{text}");
    said.text
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
                BEFORE.len().saturating_add(self as usize)
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
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "evaluated when this is compiled")]
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
    standing: Option<(usize, Standing)>,
    /// As many rules stand before those that are being recorded.
    before: usize,
}

impl Recorder {
    pub(crate) fn new(rules: &'static [Rule]) -> Self {
        Self { rules, checks: rules.iter().map(|_| None).collect(), standing: None, before: 0 }
    }

    /// Records a judgement whose rules come after as many others: of evidence inside of other evidence.
    pub(crate) fn after<T>(&mut self, before: usize, judge: impl FnOnce(&mut Self) -> T) -> T {
        self.before = before;
        let judged = judge(self);
        self.before = 0;
        judged
    }

    /// Records pass or fail and hands the answer back, for what depends on it.
    pub(crate) fn check(
        &mut self,
        rule: impl Numbered,
        passed: bool,
        expected: impl Into<Text>,
        found: impl Into<Text>,
    ) -> bool {
        let outcome = if passed { Outcome::Pass } else { Outcome::Fail };
        let (expected, mut found) = (expected.into(), found.into());
        if !passed && found.is_empty() {
            found = "nothing".into();
        }
        self.record(rule.number(), outcome, expected, found);
        passed
    }

    /// What is found, by a policy's list of what is accepted, if it has one.
    pub(crate) fn accepted<T: PartialEq + Display>(
        &mut self,
        rule: impl Numbered,
        list: Option<&[T]>,
        found: Option<T>,
    ) {
        let Some(list) = list else { return self.skip(rule, Skip::NotAsked, NO_LIST) };
        let good = found.as_ref().is_some_and(|found| list.contains(found));
        let found = found.map_or(Text::Borrowed("none"), |found| found.to_string().into());
        self.check(rule, good, format!("one of {}", some(list)), found);
    }

    /// What is found, by a policy's list of what is refused, if it has one.
    pub(crate) fn refused<T: PartialEq + Display>(&mut self, rule: impl Numbered, list: Option<&[T]>, found: &T) {
        let Some(list) = list else { return self.skip(rule, Skip::NotAsked, NO_LIST) };
        self.check(rule, !list.contains(found), format!("none of {}", some(list)), found.to_string());
    }

    /// What is found, by what the caller expects, if anything.
    pub(crate) fn bound<const N: usize>(&mut self, rule: impl Numbered, expected: Option<[u8; N]>, found: [u8; N]) {
        let Some(expected) = expected else { return self.skip(rule, Skip::NotAsked, "the caller expects nothing") };
        self.check(rule, expected == found, hex::encode(expected), hex::encode(found));
    }

    /// Records that a rule is not applied. `NotReached` is never said by hand: it is what
    /// [`Recorder::finish`] makes of silence.
    pub(crate) fn skip(&mut self, rule: impl Numbered, skip: Skip, why: impl Into<Text>) {
        self.record(rule.number(), Outcome::Skipped(skip), Text::Borrowed(""), why.into());
    }

    /// Intel's word; the rules up to this one are what it hangs on.
    pub(crate) fn standing(&mut self, rule: impl Numbered, standing: Standing) {
        self.standing = Some((rule.number().saturating_add(self.before), standing));
    }

    fn record(&mut self, rule: usize, outcome: Outcome, expected: Text, found: Text) {
        let rule = rule.saturating_add(self.before);
        if let (Some(slot), Some(rule)) = (self.checks.get_mut(rule), self.rules.get(rule)) {
            debug_assert!(slot.is_none(), "{} recorded twice", rule.id);
            *slot = Some(Check { id: rule.id, outcome, expected, found, source: rule.source, remedy: rule.remedy });
        }
    }

    /// The verdict of a judgement that has only these rules, the first and the last with all between.
    pub(crate) fn finish_within(mut self, first: impl Numbered, last: impl Numbered) -> Verdict {
        let (first, last) = (first.number(), last.number());
        self.rules = self.rules.get(first..=last).unwrap_or_default();
        self.checks = self.checks.into_iter().skip(first).take(self.rules.len()).collect();
        self.finish()
    }

    /// The verdict of what was recorded, in order: of what has to be good before anything is judged by it.
    pub(crate) fn finish_recorded(self) -> Verdict {
        Verdict { checks: self.checks.into_iter().flatten().collect(), standing: None }
    }

    pub(crate) fn finish(self) -> Verdict {
        let Self { rules, checks, standing, .. } = self;
        let first = checks.iter().flatten().find(|check| check.outcome == Outcome::Fail);
        let mut cause = first.map(|check| check.id);
        let unrecorded = |rule: &Rule, cause: Option<&str>| {
            let (outcome, found) = match cause {
                Some(id) => (Outcome::Skipped(Skip::NotReached), format!("not reached because {id} failed").into()),
                // Nothing failed and yet the rule was not applied: our defect, so refuse.
                None => (Outcome::Fail, "the verifier did not apply this rule".into()),
            };
            let (expected, source, remedy) = (rule.meaning.into(), rule.source, rule.remedy);
            Check { id: rule.id, outcome, expected, found, source, remedy }
        };
        // One for one, so that the list is not copied; both are as long as each other. A cause stands before its
        // consequences: the nearest failure before a rule is named, and only where there is none the first after it.
        let complete = |(at, check): (usize, Option<Check>)| {
            if let Some(check) = &check
                && check.outcome == Outcome::Fail
            {
                cause = Some(check.id);
            }
            check.or_else(|| rules.get(at).map(|rule| unrecorded(rule, cause)))
        };
        let checks: Vec<Check> = checks.into_iter().enumerate().filter_map(complete).collect();
        let good = |last: usize| checks.iter().take(last.saturating_add(1)).all(|check| check.outcome.good());
        let standing = standing.and_then(|(last, standing)| good(last).then_some(standing));
        Verdict { checks, standing }
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

    #[test]
    fn what_the_sender_wrote_is_cut_without_asking_for_the_rest() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("a\u{1b}[2J\n")?;
                }
            }
        }
        assert_eq!(said(Endless, 6), "a[2Ja[");
        assert_eq!(said("ä", 1), "ä");
        assert_eq!(said("ab", 1), "a");
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
    fn what_was_not_reached_names_the_nearest_failure_before_it() {
        let unreached = |failed: &[usize], at: usize| {
            let mut recorder = Recorder::new(RULES);
            failed.iter().for_each(|rule| _ = recorder.check(*rule, false, "x", "y"));
            recorder.finish().checks[at].found.to_string()
        };
        assert_eq!(unreached(&[0, 1], 2), "not reached because t.b failed");
        assert_eq!(unreached(&[0, 2], 1), "not reached because t.a failed");
        assert_eq!(unreached(&[2], 0), "not reached because t.c failed");
    }

    #[test]
    fn a_list_says_its_first_values_and_how_many_more_there_are() {
        let expected = |list: &[u32]| {
            let mut recorder = Recorder::new(RULES);
            recorder.accepted(0usize, Some(list), Some(9));
            recorder.refused(1usize, Some(list), &9);
            let checks = recorder.finish().checks;
            (checks[0].expected.to_string(), checks[1].expected.to_string())
        };
        assert_eq!(expected(&[1]), ("one of 1".to_owned(), "none of 1".to_owned()));
        assert_eq!(expected(&[1, 2, 3]), ("one of 1, 2, 3".to_owned(), "none of 1, 2, 3".to_owned()));
        assert_eq!(expected(&[1, 2, 3, 4, 5]).0, "one of 1, 2, 3 and 2 more");
    }

    #[test]
    fn rules_of_inner_evidence_come_after_those_of_the_outer() {
        let mut recorder = Recorder::new(RULES);
        recorder.after(1, |recorder| {
            recorder.check(0usize, true, "", "");
            recorder.check(1usize, false, "x", "y");
        });
        recorder.check(0usize, true, "", "");
        let outcomes: Vec<_> = recorder.finish().checks.into_iter().map(|check| check.outcome).collect();
        assert_eq!(outcomes, [Outcome::Pass, Outcome::Pass, Outcome::Fail]);
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
