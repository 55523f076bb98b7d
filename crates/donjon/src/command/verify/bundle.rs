//! `donjon bundle`: evidence and all it is judged by, in one file that says the same anywhere and at any time.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use evidence::appraisal::bundle::{self, Bundled};
use evidence::appraisal::file::Content;

use super::input::{Item, unusable};
use super::policy::Asks;
use super::{Judge, text};
use crate::command::say;
use crate::failure::Failure;

/// Make an evidence bundle: evidence, collateral, policy, nonce and time in one file.
///
/// The bundle is judged as it is made, and written whatever the verdict: exits with 0 if it is verified, with 1 if not.
/// It has the policy that it is judged by here, and none without one.
#[derive(Debug, clap::Args)]
pub(crate) struct Bundle {
    #[command(flatten)]
    judge: Judge,
    /// Where it goes.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

impl Bundle {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let (files, setting) = self.judge.prepare("bundle")?;
        if let Asks::This(chosen) = &setting.asks
            && !chosen.roots().is_empty()
        {
            let reason = "it names `insecure_roots`, and a bundle has no roots: whoever reads it could not trust them";
            let failure = Failure::new(reason).prefixed(chosen.name()).unusable();
            return Err(
                failure.hint("leave them out of the policy; give them here, and when it is read, with --insecure-root")
            );
        }
        let [file] = files.as_slice() else {
            return Err(Failure::new(format!("a bundle has one piece of evidence, not {}", files.len())).unusable());
        };
        let item = Item::read(file)?;
        if item.is_stewards() {
            let hint = "verify the file as it is: nothing else says which policy and which roots its evidence is about";
            return Err(unusable(file, "it is a Steward's trust bundle").hint(hint));
        }
        let evidence = match item.content() {
            Content::Csr(der) => Bundled::Csr(der.clone()),
            Content::Evidence(evidence, _) => Bundled::Evidence(evidence.clone()),
            Content::Bundle(bundle) => bundle.evidence.clone(),
            Content::Endorsements(_) => return Err(item.no_evidence()),
        };
        // A request says by itself what it is bound to.
        let bound = matches!(evidence, Bundled::Csr(_));
        let judged = setting.judge(item)?;
        if !judged.subject.unlike.is_empty() {
            say(&text::people(&judged, false));
            let hint =
                "leave --nonce and --launch-field away: it is kept with the nonce and the brief that are its own";
            return Err(unusable(file, "no bundle of it would say what was asked here").hint(hint));
        }
        let bundle = bundle::Bundle {
            evidence,
            endorsements: judged.subject.endorsements.clone(),
            policy: judged.policy.as_ref().map(|chosen| chosen.text().to_owned()),
            nonce: judged.subject.nonce.clone().filter(|_| !bound),
            launch_field: judged.subject.binding.launch_field.filter(|_| !bound),
            time: judged.now,
        };
        let json = bundle.write().map_err(|error| unusable(file, error))?;
        fs::write(&self.out, json).map_err(|error| Failure::caused(self.out.display(), &error).unusable())?;
        say(&text::people(&judged, false));
        Ok(ExitCode::from(u8::from(!judged.appraisal.verified())))
    }
}
