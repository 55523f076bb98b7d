//! `fuzz TARGET|all [--seconds N] [--seed N]`, `fuzz TARGET --input FILE` for what it found, and `fuzz TARGET --corpus
//! FOLDER` for the seeds as files. Built without optimisation an input may take more than 100 ms: `--milliseconds N`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to people")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuzz::cost::Cost;
use fuzz::drive::{Until, once, run};
use fuzz::{Defect, TARGETS, Target};

const USAGE: &str =
    "usage: fuzz TARGET|all [--milliseconds N] [--seconds N] [--seed N] | [--input FILE] | [--corpus FOLDER]";

fn main() -> ExitCode {
    match work(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            for Target { name, reads, .. } in TARGETS {
                eprintln!("  {name:12} {reads}");
            }
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was found.
fn work(arguments: &[String]) -> Result<bool, String> {
    let (name, options) = arguments.split_first().ok_or("no target")?;
    let targets: Vec<_> = TARGETS.iter().filter(|target| name == "all" || name == target.name).collect();
    if targets.is_empty() {
        return Err(format!("there is no target {name}"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let (mut seconds, mut seed, mut limit) = (60, now, Cost::LIMIT);
    for pair in options.chunks(2) {
        let [option, value] = pair else { return Err(format!("{} has no value", pair.concat())) };
        let number = || value.parse::<u64>().map_err(|error| format!("{option} {value}: {error}"));
        match option.as_str() {
            "--milliseconds" => limit.time = Duration::from_millis(number()?),
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--input" => return again(&targets, value, limit),
            "--corpus" => return corpus(&targets, value),
            _ => return Err(format!("there is no {option}")),
        }
    }
    let mut clean = true;
    for target in targets {
        match run(target, Defect::None, seed, Until::Elapsed(Duration::from_secs(seconds)), Some(limit)) {
            Ok(figures) => println!(
                "{}: {} executions in {:.0} s, {} outcomes, at most {:.1} ms and {} KiB, seed {seed}, nothing found",
                target.name,
                figures.executions,
                figures.elapsed.as_secs_f64(),
                figures.outcomes,
                figures.most.time.as_secs_f64() * 1e3,
                figures.most.memory >> 10,
            ),
            Err(finding) => {
                clean = false;
                let file = format!("fuzz-{}-{seed}.bin", target.name);
                println!(
                    "{}: FOUND after {} executions, seed {seed}: {}",
                    target.name, finding.executions, finding.why
                );
                std::fs::write(&file, &finding.input).map_err(|error| format!("cannot write {file}: {error}"))?;
                println!(
                    "hint: repeat it alone with  cargo run --profile fuzz -p fuzz -- {} --input {file}",
                    target.name
                );
            }
        }
    }
    Ok(clean)
}

fn again(targets: &[&Target], file: &str, limit: Cost) -> Result<bool, String> {
    let input = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let mut clean = true;
    for target in targets {
        match once(target, Defect::None, &input, Some(limit)) {
            Ok(_) => println!("{}: nothing found", target.name),
            Err(why) => {
                clean = false;
                println!("{}: {why}", target.name);
            }
        }
    }
    Ok(clean)
}

/// Writes the seeds of targets for whoever else can use them, a folder for each target.
fn corpus(targets: &[&Target], folder: &str) -> Result<bool, String> {
    let folder = Path::new(folder);
    let failed = |error: std::io::Error| format!("cannot write to {}: {error}", folder.display());
    for target in targets {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for (at, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{at}")), seed).map_err(failed)?;
        }
    }
    Ok(true)
}
