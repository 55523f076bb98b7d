//! Runs the victim under one plan after the other, and sums up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keep::attack::lies::cells;
use keep::attack::{Attack, Outcome, Plan, Run, Scope, is_long, judge};
use keep::{Host, Image, Launch, Stdio};
use silicon::{Amd, Product};
use workload::brief::{Brief, Source};
use workload::digest::Digest;

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
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        println!("skipped: kvm: the hostile host: /dev/kvm does not open: {error}");
        return ExitCode::SUCCESS;
    }
    let result = Settings::read().and_then(|settings| campaign(&settings));
    let failed = usize::from(result.is_err());
    if let Err(why) = result {
        println!("test hostile ... FAILED\n{why}");
    } else {
        println!("test hostile ... ok");
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out", 1 - failed);
    ExitCode::from(u8::from(failed != 0))
}

/// The victim, for so many rounds.
fn victim(rounds: u64, leaks: bool) -> Result<&'static [u8], String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/victim.rs");
    let elf =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("victim-{rounds}-{leaks}-{}", std::process::id()));
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition=2024", "--target=x86_64-unknown-linux-musl", "-O", "--crate-name=victim"]);
    rustc.env("VICTIM_ROUNDS", rounds.to_string()).arg(&source).arg("-o").arg(&elf);
    if leaks {
        rustc.env("VICTIM_LEAKS", "1");
    }
    let output = rustc.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let bytes = std::fs::read(&elf).map_err(|error| error.to_string())?;
    // It was only built to be read.
    _ = std::fs::remove_file(&elf);
    Ok(Vec::leak(bytes))
}

fn launch(elf: &'static [u8], settings: &Settings) -> Result<Launch, String> {
    let brief = Brief {
        trust_domain: "local".parse().expect("a trust domain"),
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: "run".parse().expect("a name"),
        role: "main".parse().expect("a name"),
        workload: Digest::of(b""),
        args: Vec::new(),
        env: Vec::new(),
    };
    let mut image = Image::of(elf);
    if let Some(shim) = &settings.shim {
        let shim = std::fs::read(shim).map_err(|error| format!("{}: {error}", shim.display()))?;
        image = image.with_shim(Vec::leak(shim));
    }
    Launch::new(image, brief.encode(), None).map_err(|error| error.to_string())
}

fn host() -> Host {
    Host { blobs: Box::new(BTreeMap::new()), listen: BTreeMap::new(), stdio: Stdio::Null, events: Box::new(|_| {}) }
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
        host: &host,
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

    let (mut lies, mut calls, mut rewrites, mut runs) = (0, 0, 0, 0_u64);
    let mut table: BTreeMap<String, u64> = cells(settings.firmware).map(|cell| (cell.to_string(), 0)).collect();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut findings = Vec::new();
    let seeds: Box<dyn Iterator<Item = u64>> = match settings.lies {
        Some(_) => Box::new((settings.seed..).take(20_000)),
        // Three long ones, and some of all kinds.
        None => Box::new([63, 127, 191].into_iter().chain((0..600).step_by(31))),
    };
    for seed in seeds {
        let aimed_at_all =
            !settings.all_cells || runs > 2 * table.len() as u64 || table.values().all(|count| *count > 0);
        if settings.lies.is_some_and(|enough| lies >= enough) && runs > 0 && aimed_at_all {
            break;
        }
        let plan = Plan { canary: Some(CANARY), ..Plan::of(seed, most, Scope::All, settings.firmware) };
        let wanted = settings.aim.as_ref().is_none_or(|text| aim(&plan).contains(text));
        if !wanted {
            continue;
        }
        let launch = if is_long(seed) { &long } else { &short };
        let run = attack(launch, is_long(seed)).lie(&plan).map_err(error)?;
        runs += 1;
        lies += run.told.lies;
        calls += run.told.calls;
        rewrites += run.told.rewrites;
        for (cell, count) in &run.told.cells {
            *table.entry(cell.to_string()).or_default() += count;
        }
        let (what, why) = match judge(&honest, &run) {
            Outcome::Correct => ("correct", None),
            Outcome::Error => ("error", None),
            Outcome::Ended => ("ended", None),
            // A host may; but this program waits for nothing without end.
            Outcome::Withheld => ("withheld", Some("it waits without end".to_owned())),
            Outcome::Finding(why) => ("finding", Some(why)),
        };
        if let Some(why) = why {
            let finding = format!("seed {seed}: {why} (aim: {})", aim(&plan));
            println!("{finding}");
            findings.push(finding);
        }
        *outcomes.entry(what).or_default() += 1;
        if runs % 100 == 0 {
            println!("hostile: {lies} lies in {runs} runs, {:.0} s", began.elapsed().as_secs_f64());
        }
        if settings.stop && !findings.is_empty() {
            break;
        }
    }
    let holes: Vec<_> = table.iter().filter(|(_, count)| **count == 0).map(|(cell, _)| cell.as_str()).collect();
    println!(
        "hostile: {lies} lies in {runs} runs from seed {}, {calls} calls, {rewrites} rewrites, {:.0} s: {outcomes:?}; {} of \
         {} cells hit",
        settings.seed,
        began.elapsed().as_secs_f64(),
        table.len() - holes.len(),
        table.len(),
    );
    if settings.all_cells && !holes.is_empty() {
        let finding = format!("nobody lied about: {}", holes.join(", "));
        println!("{finding}");
        findings.push(finding);
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} findings", findings.len())) }
}
