//! Runs the victim under one plan after the other, and sums up.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keep::attack::{Attack, Outcome, Plan, Run, Scope, Sum, is_long};
use keep::{Image, Launch, Stdio};
use silicon::{Amd, Product};

use crate::support;

/// The byte of the victim's secret.
const CANARY: u8 = 0xc7;

/// From so many lies on, single runs tell many.
const MANY: u64 = 100_000;

struct Settings {
    /// None: a few of each kind.
    lies: Option<u64>,
    seed: u64,
    firmware: bool,
    shim: Option<PathBuf>,
    stop: bool,
    all_cells: bool,
    aim: Option<String>,
}

impl Settings {
    fn read() -> Result<Self, String> {
        let mut settings =
            Self { lies: None, seed: 0, firmware: false, shim: None, stop: false, all_cells: false, aim: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
                value.parse().map_err(|error| format!("{argument}: {error}"))
            };
            match argument.as_str() {
                "--lies" => settings.lies = Some(number()?),
                "--seed" => settings.seed = number()?,
                "--firmware" => settings.firmware = true,
                "--stop" => settings.stop = true,
                "--all-cells" => settings.all_cells = true,
                "--aim" => settings.aim = arguments.next(),
                "--shim" => settings.shim = arguments.next().map(PathBuf::from),
                // Those of cargo's own test harness.
                _ => {}
            }
        }
        Ok(settings)
    }
}

pub(super) fn main() -> ExitCode {
    if !support::micro_vms("the hostile host") {
        return ExitCode::SUCCESS;
    }
    let result = Settings::read().and_then(|settings| campaign(&settings));
    let failed = usize::from(result.is_err());
    if let Err(why) = result {
        println!("test hostile ... FAILED\n{why}");
    } else {
        println!("test hostile ... ok");
    }
    support::result(1 - failed, failed, 0)
}

/// The victim, for so many rounds.
fn victim(rounds: u64, leaks: bool) -> Result<&'static [u8], String> {
    let rounds = rounds.to_string();
    let mut env = vec![("VICTIM_ROUNDS", rounds.as_str())];
    env.extend(leaks.then_some(("VICTIM_LEAKS", "1")));
    support::build("hostile/victim.rs", &env)
}

fn launch(elf: &'static [u8], settings: &Settings) -> Result<Launch, String> {
    let mut image = Image::of(elf);
    if let Some(shim) = &settings.shim {
        let shim = std::fs::read(shim).map_err(|error| format!("{}: {error}", shim.display()))?;
        image = image.with_shim(Vec::leak(shim));
    }
    Launch::new(image, support::brief(), None).map_err(|error| error.to_string())
}

fn right(what: &str, run: &Run) -> Result<(), String> {
    match (&run.end, run.told.broken) {
        (Err(keep::RunError::Silent(why)), None) if why == "exit status: 0" && run.late.is_none() => Ok(()),
        _ => Err(format!("{what}: {:?}, {:?}, {:?}", run.end, run.late, run.told.broken)),
    }
}

/// What a plan aims at, for people.
fn aim(plan: &Plan) -> String {
    plan.aim.map_or("none".to_owned(), |(cell, _)| cell.to_string())
}

fn campaign(settings: &Settings) -> Result<(), String> {
    let began = Instant::now();
    let firmware = settings.firmware.then(|| Arc::new(Amd::from_seed([0; 32], Product::Genoa)));
    // Enough for the most lies of one run.
    let (long_rounds, most) = if settings.lies >= Some(MANY) { (1000, 100_000) } else { (40, 1_000) };
    let (short, long) = (launch(victim(7, false)?, settings)?, launch(victim(long_rounds, false)?, settings)?);
    let leaks = launch(victim(1, true)?, settings)?;
    let attack = |launch, is_long| Attack {
        launch,
        host: &|| support::host(Stdio::Null),
        firmware: firmware.clone(),
        patience: Duration::from_secs(if is_long { 3600 } else { 300 }),
    };
    let error = |error: keep::StartError| error.to_string();
    let watched = Plan { canary: Some(CANARY), ..Plan::of(0, 0, Scope::All, settings.firmware) };
    let plain = Plan { rate: 0, aim: None, ..watched };

    // Controls: without lies all is well, and a secret that is given away is seen.
    let honest = attack(&short, false).lie(&plain).map_err(error)?;
    right("without lies", &honest)?;
    if settings.shim.is_none() {
        let leaked = attack(&leaks, false).lie(&plain).map_err(error)?;
        if !matches!(leaked.told.broken, Some(keep::attack::Broken::Leaked(_))) {
            return Err(format!("a secret that the program wrote is not seen: {leaked:?}"));
        }
    }

    let mut sum = Sum::new(settings.firmware);
    let seeds: Box<dyn Iterator<Item = u64>> = match settings.lies {
        Some(_) => Box::new((settings.seed..).take(20_000)),
        // Three long ones, and some of all kinds.
        None => Box::new([63, 127, 191].into_iter().chain((0..600).step_by(31))),
    };
    for seed in seeds {
        let enough = settings.lies.is_some_and(|enough| sum.lies >= enough) && sum.runs > 0;
        if enough && (!settings.all_cells || sum.hit() == sum.cells.len()) {
            break;
        }
        let plan = Plan { canary: Some(CANARY), ..Plan::of(seed, most, Scope::All, settings.firmware) };
        // What is missing then are cells that nobody lied about. Some are a matter of luck, and get many chances.
        if enough && plan.aim.is_none_or(|(cell, _)| sum.cells.get(&cell.to_string()) != Some(&0)) {
            continue;
        }
        let wanted = settings.aim.as_ref().is_none_or(|text| aim(&plan).contains(text));
        if !wanted {
            continue;
        }
        let launch = if is_long(seed) { &long } else { &short };
        let run = attack(launch, is_long(seed)).lie(&plan).map_err(error)?;
        match sum.add(seed, &honest, &run) {
            Outcome::Finding(why) => println!("seed {seed}: {why} (aim: {})", aim(&plan)),
            // A host may; but this program waits for nothing without end.
            Outcome::Withheld => println!("seed {seed}: it waits without end (aim: {})", aim(&plan)),
            Outcome::Correct | Outcome::Error | Outcome::Ended => {}
        }
        if sum.runs.is_multiple_of(100) {
            println!("hostile: {} lies in {} runs, {:.0} s", sum.lies, sum.runs, began.elapsed().as_secs_f64());
        }
        if settings.stop && failures(&sum) > 0 {
            break;
        }
    }
    let Sum { runs, lies, calls, rewrites, correct, error, ended, .. } = sum;
    println!(
        "hostile: {lies} lies in {runs} runs from seed {}, {calls} calls, {rewrites} rewrites, {:.0} s: {correct} correct, \
         {error} errors, {ended} ended; {} of {} cells hit",
        settings.seed,
        began.elapsed().as_secs_f64(),
        sum.hit(),
        sum.cells.len(),
    );
    if failures(&sum) > 0 {
        return Err(format!("{} findings", failures(&sum)));
    }
    if settings.all_cells && sum.hit() < sum.cells.len() {
        let holes: Vec<_> = sum.cells.iter().filter(|(_, count)| **count == 0).map(|(cell, _)| cell.as_str()).collect();
        return Err(format!("nobody lied about: {}", holes.join(", ")));
    }
    Ok(())
}

fn failures(sum: &Sum) -> u64 {
    sum.findings.len() as u64 + sum.withheld
}
