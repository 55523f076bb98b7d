//! `donjon rehearse`: a policy that is not in force yet, tried on bundles that were kept; who would be refused, and why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use evidence::appraisal::Roots;
use evidence::appraisal::file::Content;
use serde::Serialize;

use super::input::{Given, Item, unusable};
use super::policy::{self, Asks, Chosen, Insecure};
use super::{End, Judged, Setting, at};
use crate::command::say;
use crate::failure::Failure;

/// Try a policy on a folder of bundles: who would be refused, and why.
///
/// Each bundle is judged at its own time (or at --at), by its own policy and by the new one. Exits with 1 if anybody who is
/// accepted now would be refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Rehearse {
    /// A folder of bundles, as `donjon bundle` makes them.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The new policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Judge at this instant: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<u64>,
    /// Trust this root too (PEM or DER): for simulated hardware.
    #[arg(long, value_name = "FILE")]
    insecure_root: Vec<PathBuf>,
    /// Print one JSON object a bundle.
    #[arg(long)]
    json: bool,
}

/// What becomes of one bundle.
#[derive(Serialize)]
struct Change {
    file: String,
    before: &'static str,
    after: &'static str,
    /// The trust class that either verdict is of.
    class_before: &'static str,
    class_after: &'static str,
    /// The failing checks of the new policy, the cause first.
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct Reason {
    id: &'static str,
    expected: String,
    found: String,
}

impl Rehearse {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let given = || Given { at: self.at, ..Given::default() };
        let new = Chosen::read(&self.policy)?;
        let known = policy::roots(Roots::vendors(), &self.insecure_root)?;
        // Old and new policy differ in what they ask; what is trusted is the same for both, or another root would look like
        // another policy.
        let roots = policy::roots(known, new.roots())?;
        let insecure =
            Insecure { roots: !self.insecure_root.is_empty() || !new.roots().is_empty(), ..Insecure::default() };
        let now = Setting { given: given(), asks: Asks::OwnIfAny, roots: roots.clone(), insecure };
        let then = Setting { given: given(), asks: Asks::This(Rc::new(new)), roots, insecure };
        let (mut worst, mut lost, mut all) = (End::Verified, 0_u32, 0_u32);
        for path in files(&self.folder)? {
            let judged = Item::read(&path).and_then(|item| {
                if !matches!(item.content(), Content::Bundle(_)) {
                    return Err(unusable(&path, format!("it is no bundle but {}", item.kind)));
                }
                Ok((now.judge(item.clone())?, then.judge(item)?))
            });
            let (before, after) = match judged {
                Ok(both) => both,
                Err(failure) => {
                    failure.show();
                    worst = End::Unusable;
                    continue;
                }
            };
            let change = Change::new(&path, &before, &after);
            all = all.saturating_add(1);
            if before.appraisal.verified() && !after.appraisal.verified() {
                lost = lost.saturating_add(1);
                worst = worst.max(End::Refused);
            }
            if self.json {
                let line = serde_json::to_string(&change);
                say(&line.map_err(|error| Failure::caused("cannot write JSON", &error))?);
            } else {
                say(&change.people());
            }
        }
        if !self.json {
            say(&format!("{all} bundles: {lost} that are accepted now would be refused"));
        }
        Ok(worst.into())
    }
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::caused(folder.display(), &error).unusable();
    let entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    if files.is_empty() {
        return Err(unusable(folder, "there are no bundles in it"));
    }
    files.sort();
    Ok(files)
}

impl Change {
    fn new(path: &Path, before: &Judged, after: &Judged) -> Self {
        let word = |judged: &Judged| if judged.appraisal.verified() { "verified" } else { "refused" };
        let reasons = after.appraisal.verdict.failures().map(|check| Reason {
            id: check.id,
            expected: check.expected.to_string(),
            found: check.found.to_string(),
        });
        Self {
            file: path.display().to_string(),
            before: word(before),
            after: word(after),
            class_before: before.insecure.class(),
            class_after: after.insecure.class(),
            reasons: reasons.collect(),
        }
    }

    fn people(&self) -> String {
        let Self { file, before, after, class_before, class_after, reasons } = self;
        let mut text = match (*before, *after) {
            ("verified", "verified") => format!("{file}: still accepted"),
            ("verified", _) => format!("{file}: WOULD BE REFUSED"),
            (_, "verified") => format!("{file}: refused now, would be accepted"),
            _ => format!("{file}: refused now, and would be"),
        };
        text.push_str(match (*class_before, *class_after) {
            ("hardware", "hardware") => "",
            ("hardware", _) => " (by the new policy of class insecure)",
            (_, "hardware") => " (now of class insecure)",
            _ => " (of class insecure)",
        });
        for Reason { id, expected, found } in reasons {
            text.push_str(&format!("\n  {id}: expected {expected}, found {found}"));
        }
        text
    }
}
