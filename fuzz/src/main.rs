//! `fuzz TARGET|all [--seconds N] [--seed N]`, and `fuzz TARGET --input FILE` for what it found.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to people")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuzz::drive::{Until, once, run};
use fuzz::{Defect, TARGETS, Target};

const USAGE: &str = "usage: fuzz TARGET|all [--seconds N] [--seed N] | fuzz TARGET --input FILE";

fn main() -> ExitCode {
    match work(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            for Target { name, reads, .. } in TARGETS {
                eprintln!("  {name:9} {reads}");
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
    let (mut seconds, mut seed) = (60, now);
    for pair in options.chunks(2) {
        let [option, value] = pair else { return Err(format!("{} has no value", pair.concat())) };
        let number = || value.parse::<u64>().map_err(|error| format!("{option} {value}: {error}"));
        match option.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--input" => return again(&targets, value),
            _ => return Err(format!("there is no {option}")),
        }
    }
    let mut clean = true;
    for target in targets {
        match run(target, Defect::None, seed, Until::Elapsed(Duration::from_secs(seconds))) {
            Ok(figures) => println!(
                "{}: {} executions in {:.0} s, {} outcomes, slowest {:.1} ms, seed {seed}, nothing found",
                target.name,
                figures.executions,
                figures.elapsed.as_secs_f64(),
                figures.outcomes,
                figures.slowest.as_secs_f64() * 1e3,
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

fn again(targets: &[&Target], file: &str) -> Result<bool, String> {
    let input = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let mut clean = true;
    for target in targets {
        if let Err(why) = once(target, Defect::None, &input) {
            clean = false;
            println!("{}: {why}", target.name);
        }
    }
    Ok(clean)
}
