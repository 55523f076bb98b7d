//! `donjon why`: a verdict explained check by check, or one check by its id.

use std::path::Path;
use std::process::ExitCode;

use evidence::appraisal::rules;
use evidence::{Check, Outcome, Rule, Skip};

use super::hint::hints;
use super::input::Item;
use super::{End, Judge, text};
use crate::command::say;
use crate::failure::Failure;

/// Explain a verdict: what each check is for, what it found, and what to do.
///
/// Takes what `verify` takes, or the id of a check, such as snp.vek.tcb. Exits like `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    #[command(flatten)]
    judge: Judge,
}

impl Why {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let id = |path: &Path| path.to_str().filter(|id| !path.exists() && id.contains('.')).map(str::to_owned);
        if let [file] = self.judge.files.as_slice()
            && let Some(id) = id(file)
        {
            return match rules().find(|rule| rule.id == id) {
                Some(rule) => {
                    say(&about(rule));
                    Ok(ExitCode::SUCCESS)
                }
                None => Err(unknown(&id)),
            };
        }
        let (files, setting) = self.judge.prepare("why")?;
        let mut worst = End::Verified;
        for file in &files {
            let judged = setting.judge(Item::read(file)?)?;
            let (verdict, verified) = (&judged.appraisal.verdict, judged.appraisal.verified());
            say(&format!("{}: {}", judged.item.name(), if verified { "verified" } else { "refused" }));
            text::notes(&judged).for_each(|line| say(&format!("  {line}")));
            match verdict.primary() {
                Some(primary) => {
                    say("because of");
                    say(&explained(primary));
                    hints(&judged).iter().for_each(|hint| say(&format!("    hint: {hint}")));
                    let rest: Vec<_> = verdict.failures().skip(1).collect();
                    if !rest.is_empty() {
                        say("independently of that, these failed too:");
                        rest.into_iter().for_each(|check| say(&explained(check)));
                    }
                }
                None => verdict.checks.iter().for_each(|check| say(&explained(check))),
            }
            worst = worst.max(if verified { End::Verified } else { End::Refused });
        }
        Ok(worst.into())
    }
}

fn unknown(id: &str) -> Failure {
    let near = rules().max_by(|a, b| strsim::jaro(a.id, id).total_cmp(&strsim::jaro(b.id, id)));
    let failure = Failure::new(format!("there is neither a file nor a check {id}")).unusable();
    match near {
        Some(rule) => failure.hint(format!("did you mean {}?", rule.id)),
        None => failure,
    }
}

fn about(rule: &Rule) -> String {
    let Rule { id, meaning, source, remedy } = rule;
    format!("{id}\n  it passes if {meaning}\n  from: {source}\n  if it fails: {remedy}")
}

fn explained(check: &Check) -> String {
    let Check { id, outcome, expected, found, source, remedy } = check;
    let meaning = rules().find(|rule| rule.id == *id).map_or("", |rule| rule.meaning);
    let rest = match outcome {
        Outcome::Pass => format!("    passed: {found}"),
        Outcome::Fail => {
            format!("    expected: {expected}\n    found: {found}\n    from: {source}\n    hint: {remedy}")
        }
        Outcome::Skipped(Skip::NotReached | Skip::NotApplicable | Skip::NotAsked) => {
            format!("    {}: {found}", outcome.word().replace('_', " "))
        }
    };
    format!("  {id}: it passes if {meaning}\n{rest}")
}
