//! `donjon attack`: a workload in a micro-VM whose host lies by plan, run after run; whether it was right, was told an error,
//! or its Keep ended, and never anything else.
//!
//! Owns the sum over the runs and what people read of it. A run is known by its seed: `--seed` with the seed of a finding
//! and `--lies 1` is that run once more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use keep::attack::{Attack as Attacked, Outcome, Plan, Run, Scope, Sum, judge};
use keep::{Folders, Host, Stdio};
use silicon::{Amd, Product};

use super::run;
use crate::command::say;
use crate::deploy::not_started;
use crate::failure::Failure;
use crate::project::Project;
use crate::project::stock::Stock;

/// Run a program in a Keep whose host lies to it, and look what becomes of that.
///
/// The program is to end by itself, and to write the same each time: what a run writes is compared with a run without
/// lies. Bytes of its streams and sockets are not changed, because nothing protects them on the way through the host.
/// Exits with 1 if anything was found.
#[derive(Debug, clap::Args)]
pub(crate) struct Attack {
    /// A program (WebAssembly or static-PIE ELF), a Donjon.toml, or a folder that has one; then arguments for the program.
    #[arg(trailing_var_arg = true, value_name = "PROJECT [ARGS]", default_values_t = [".".to_owned()])]
    program: Vec<String>,
    /// Go on until so many lies were told.
    #[arg(long, value_name = "N", default_value_t = 200)]
    lies: u64,
    /// The first run's seed; each further run has the next.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// What the Keep is made of: `kvm` is a micro-VM, `sim-snp` a micro-VM on simulated SEV-SNP.
    #[arg(long, value_enum, default_value_t = Kind::Kvm)]
    backend: Kind,
    /// How long a run may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// A byte, as two hexadecimal digits: eight of it in a row are a secret that the program makes, and that must never stand
    /// in memory that the host sees.
    #[arg(long, value_name = "HH", value_parser = byte)]
    canary: Option<u8>,
    /// Report as JSON, with every cell of the table.
    #[arg(long)]
    json: bool,
}

fn byte(text: &str) -> Result<u8, String> {
    let digits = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u8::from_str_radix(text, 16) {
        Ok(0) => Err("memory is full of zeros; take another byte".to_owned()),
        Ok(byte) if digits => Ok(byte),
        _ => Err("two hexadecimal digits are expected, such as c7".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Kvm,
    SimSnp,
}

/// The most lies of one run that can be true.
const EACH: u64 = 1000;

impl Attack {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let project = Project::read(Path::new(self.program.first().map_or(".", String::as_str)))?;
        let built = project.tell().pack()?;
        let launch = run::launch(built.digest, self.program.get(1..).unwrap_or_default().to_vec(), Vec::new())?;
        let blobs = Stock::new(built);
        let host = || Host {
            blobs: Box::new(blobs.clone()),
            listen: BTreeMap::new(),
            folders: Folders::default(),
            cache: None,
            stdio: Stdio::Null,
            events: Box::new(|_| {}),
        };
        let firmware = (self.backend == Kind::SimSnp).then(|| Arc::new(Amd::from_seed([0; 32], Product::Genoa)));
        let attacked =
            Attacked { launch: &launch, host: &host, firmware, patience: Duration::from_secs(self.patience.max(1)) };
        let honest = self.honest(&attacked)?;
        let sum = self.sum(&attacked, &honest)?;
        if self.json {
            self.json(&sum);
        } else {
            self.show(&sum);
        }
        Ok(ExitCode::from(u8::from(!sum.findings.is_empty())))
    }

    /// What is right: a run without lies, and another that is the same.
    fn honest(&self, attacked: &Attacked<'_>) -> Result<Run, Failure> {
        let run = || attacked.honest().map_err(|error| not_started(&error));
        let (honest, again) = (run()?, run()?);
        if honest.late.is_some() {
            return Err(Failure::new(format_args!("without lies the program does not end in {} s", self.patience))
                .hint("attack a program that ends by itself, or raise --patience"));
        }
        if let Err(error) = &honest.end {
            return Err(Failure::caused("without lies the Keep does not end by itself", error)
                .hint("try it with `donjon run --backend kvm` first"));
        }
        if judge(&honest, &again) != Outcome::Correct {
            return Err(Failure::new("without lies the program does not do the same twice")
                .hint("attack a program that writes the same each time: no times, no random numbers"));
        }
        Ok(honest)
    }

    fn sum(&self, attacked: &Attacked<'_>, honest: &Run) -> Result<Sum, Failure> {
        let firmware = attacked.firmware.is_some();
        let mut sum = Sum::new(firmware);
        let bar = ProgressBar::new(self.lies);
        bar.set_style(
            ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} lies")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message("attacking");
        while sum.runs == 0 || sum.lies < self.lies {
            let seed = self.seed.wrapping_add(sum.runs);
            let plan = Plan { canary: self.canary, ..Plan::of(seed, EACH, Scope::Guarded, firmware) };
            let run = attacked.lie(&plan).map_err(|error| not_started(&error))?;
            sum.add(seed, honest, &run);
            bar.set_position(sum.lies.min(self.lies));
        }
        bar.finish_and_clear();
        Ok(sum)
    }

    /// How to see a finding once more.
    fn again(&self, seed: u64) -> String {
        let backend = if self.backend == Kind::SimSnp { " --backend sim-snp" } else { "" };
        let project = self.program.first().map_or(PathBuf::from("."), PathBuf::from);
        let canary = self.canary.map_or_else(String::new, |byte| format!(" --canary {byte:02x}"));
        format!("donjon attack{backend}{canary} --lies 1 --seed {seed} {}", project.display())
    }

    fn show(&self, sum: &Sum) {
        let Sum { runs, lies, calls, rewrites, .. } = sum;
        let last = self.seed.wrapping_add(runs.saturating_sub(1));
        say(&format!("{lies} lies in {runs} runs, seeds {} to {last}", self.seed));
        say(&format!("{calls} calls answered, {rewrites} words rewritten while they could be read"));
        for (count, what) in [
            (sum.correct, "correct"),
            (sum.error, "error to the program"),
            (sum.ended, "Keep ended"),
            (sum.withheld, "waited for its host"),
            (sum.findings.len() as u64, "findings"),
        ] {
            say(&format!("{count:>8}  {what}"));
        }
        say(&format!("{} of {} cells of the table hit; --json shows them", sum.hit(), sum.cells.len()));
        say("not lied about: bytes of streams and sockets, which the host can change");
        for (seed, why) in &sum.findings {
            say(&format!("finding: seed {seed}: {why}"));
            say(&format!("  again: {}", self.again(*seed)));
        }
    }

    fn json(&self, sum: &Sum) {
        let findings: Vec<_> =
            sum.findings.iter().map(|(seed, why)| serde_json::json!({ "seed": seed, "why": why })).collect();
        let Sum { runs, lies, calls, rewrites, correct, error, ended, withheld, .. } = sum;
        let report = serde_json::json!({
            "seed": self.seed, "runs": runs, "lies": lies, "calls": calls, "rewrites": rewrites,
            "outcomes": { "correct": correct, "error": error, "ended": ended, "withheld": withheld },
            "findings": findings, "cells": sum.cells,
        });
        say(&report.to_string());
    }
}
