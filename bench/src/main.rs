//! What Keeps on this machine cost, as ratios: against `nil`, which is the same program as a process under seccomp, and
//! against the floor, which is a bare virtual machine ([`mod@floor`]): `cargo run --release -p bench`. Or beside the
//! Wasmtime CLI ([`mod@wasmtime`]): `cargo run --release -p bench -- wasmtime`.
//!
//! Each figure is the median of runs that take turns, so that what else the machine does hits all alike. Takes the
//! `donjon` that was built beside it, and builds the programs that it measures with.

#![allow(unsafe_code, reason = "a bare virtual machine is given memory: `floor`")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a report")]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod floor;
mod requests;
mod start;
mod wasmtime;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How often each is measured.
const TURNS: usize = 9;
/// Bytes through standard input.
const BULK: usize = 64 << 20;

fn main() -> ExitCode {
    // A micro-VM's monitor is this program, started once more.
    if let Some(status) = keep::monitor() {
        return status;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("hint: build first: cargo build --release -p donjon");
            ExitCode::FAILURE
        }
    }
}

struct Bench {
    donjon: PathBuf,
    programs: PathBuf,
}

fn run() -> Result<()> {
    let beside = std::env::current_exe()?;
    let target = beside.parent().and_then(Path::parent).ok_or("not in a target folder")?;
    let bench = Bench { donjon: beside.with_file_name("donjon"), programs: target.join("programs") };
    bench.build()?;
    let backends: Vec<&str> = ["nil", "kvm", "sim-snp"].into_iter().filter(|backend| bench.has(backend)).collect();
    if backends.len() < 3 {
        println!("skipped: micro-VMs: this machine runs none of them, see `donjon platform`");
    }

    match std::env::args().nth(1).as_deref() {
        None => keeps(&bench, &backends),
        Some("wasmtime") => wasmtime::run(&bench, &backends),
        Some(other) => Err(format!("there is no bench `{other}`, only `wasmtime`").into()),
    }
}

/// Keeps beside each other.
fn keeps(bench: &Bench, backends: &[&str]) -> Result<()> {
    println!("{:<54}{:>14}{:>10}", "", "median", "ratio");
    let hello = ["hello, start to end", "tnetennba"];
    bench.compare(backends, hello, &[], "x86_64-unknown-linux-musl", 0, |_, wall| Ok(wall))?;
    for (what, arguments, bytes) in [
        ("a call that the Keep answers", "inside 2000", 0),
        ("a call that the host answers", "host 1000", 0),
        ("computing, native", "cpu 40", 0),
        ("memory, native", "memory 40", 0),
        ("64 MiB through standard input, native", "bulk", BULK),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        bench.compare(backends, [what, "meter"], &arguments, "x86_64-unknown-linux-musl", bytes, said)?;
    }
    for (what, arguments) in [("computing, Wasm", "cpu 40"), ("memory, Wasm", "memory 40")] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        bench.compare(backends, [what, "meter.wasm"], &arguments, "wasm32-wasip1", 0, said)?;
    }
    let program: &'static [u8] = Vec::leak(std::fs::read(bench.program("x86_64-unknown-linux-musl", "tnetennba"))?);
    compare(backends, "start of a Keep, to exec's first request", |backend| start::exec(&*start::backend(backend)))?;
    compare(backends, "hello in exec's place, start to end", |backend| {
        start::instead(&*start::backend(backend), program)
    })?;
    requests(bench, backends.contains(&"sim-snp"))?;
    floor();
    Ok(())
}

/// An HTTPS service on simulated hardware: in a process, in a machine, and in one whose calls a thread looks for.
fn requests(bench: &Bench, machines: bool) -> Result<()> {
    let kinds = [("sim", false), ("sim-snp", false), ("sim-snp", true)];
    let mut first = [None; 2];
    for (backend, served) in kinds.into_iter().filter(|(backend, _)| machines || *backend == "sim") {
        let service = requests::Service::start(bench, backend, served)?;
        let name = if served { "sim-snp, ring served" } else { backend };
        let calls = if backend == "sim" { requests::PROCESS } else { requests::MACHINE };
        for (version, first) in ["--http1.1", "--http2"].into_iter().zip(&mut first) {
            let what = format!("HTTPS, connection kept, {version}: {name}");
            match (0..TURNS).map(|_| service.time(version)).collect::<Result<Vec<_>>>() {
                Ok(times) => {
                    let median = median(times);
                    let first = *first.get_or_insert(median);
                    row(&what, median, Some(median.as_secs_f64() / first.as_secs_f64()));
                }
                Err(error) => println!("skipped: {what}: {error}"),
            }
            match service.turns(version, calls) {
                Ok(turns) => println!("{:<54}{turns:>14.2}", "  calls to the host for it"),
                Err(error) => println!("skipped: calls to the host for it: {error}"),
            }
        }
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Asks a process for its end.
fn interrupt(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        _ = kill_process(pid, Signal::INT);
    }
}

/// What the program says that it measured.
fn said(stdout: &str, _: Duration) -> Result<Duration> {
    Ok(Duration::from_nanos(stdout.trim().parse()?))
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn floor() {
    let Some(floor::Floor { start, exit }) = floor::measure(20_000) else {
        println!("skipped: the floor: /dev/kvm cannot be used");
        return;
    };
    row("floor: a bare machine to its first exit", start, None);
    row("floor: an exit and the way back", exit, None);
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn floor() {
    println!("skipped: the floor: there is no KVM here");
}

fn row(what: &str, median: Duration, ratio: Option<f64>) {
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    println!("{what:<54}{:>14}{ratio:>10}", format!("{median:.2?}"));
}

impl Bench {
    fn build(&self) -> Result<()> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/programs");
        for (target, package) in [
            ("x86_64-unknown-linux-musl", "tnetennba"),
            ("x86_64-unknown-linux-musl", "meter"),
            ("wasm32-wasip1", "meter"),
            ("wasm32-wasip2", "greeter"),
        ] {
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--release", "--target", target, "--package", package, "--target-dir"])
                .arg(&self.programs)
                .current_dir(&workspace)
                .status()?;
            if !status.success() {
                return Err(format!("cannot build {package} for {target}").into());
            }
        }
        Ok(())
    }

    fn program(&self, target: &str, name: &str) -> PathBuf {
        self.programs.join(target).join("release").join(name)
    }

    /// Whether Keeps of this backend run here.
    fn has(&self, backend: &str) -> bool {
        self.once(backend, &self.program("x86_64-unknown-linux-musl", "tnetennba"), &[], 0).is_ok()
    }

    /// Runs a program in a Keep once: what it says, and how long all of it took.
    fn once(&self, backend: &str, program: &Path, arguments: &[&str], bytes: usize) -> Result<(String, Duration)> {
        let start = Instant::now();
        let mut child = Command::new(&self.donjon)
            .args(["run", "--quiet", "--backend", backend])
            .arg(program)
            .args(arguments)
            .stdin(if bytes == 0 { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&vec![7; bytes])?;
        }
        let ended = child.wait_with_output()?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
        }
        Ok((String::from_utf8(ended.stdout)?, start.elapsed()))
    }

    /// Compares what a program takes.
    fn compare(
        &self,
        backends: &[&str],
        [what, program]: [&str; 2],
        arguments: &[&str],
        target: &str,
        bytes: usize,
        take: impl Fn(&str, Duration) -> Result<Duration>,
    ) -> Result<()> {
        let program = self.program(target, program);
        compare(backends, what, |backend| {
            let (stdout, wall) = self.once(backend, &program, arguments, bytes)?;
            take(&stdout, wall)
        })
    }
}

/// Measures on all backends in turns, and prints a row for each with its ratio to the first.
fn compare(backends: &[&str], what: &str, measure: impl Fn(&str) -> Result<Duration>) -> Result<()> {
    let mut all = vec![Vec::new(); backends.len()];
    for _ in 0..TURNS {
        for (backend, found) in backends.iter().zip(&mut all) {
            found.push(measure(backend)?);
        }
    }
    let mut first = None;
    for (backend, median) in backends.iter().zip(all.into_iter().map(median)) {
        let first = *first.get_or_insert(median);
        row(&format!("{what}: {backend}"), median, Some(median.as_secs_f64() / first.as_secs_f64()));
    }
    Ok(())
}
