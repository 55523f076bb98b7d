//! What a certificate costs a Steward: its own processor time for each, beside the signatures that nobody can do without, in the same
//! run: `cargo build --release -p donjon && cargo run --release -p bench-steward`.
//!
//! The floor is the verification of a report (P-384), of a request and of a Deployment (P-256), and one signature (P-256), in a thread
//! for each processor at once: processors that share a core are slower when both work, as they do under load. The Steward
//! is the one that was built beside this program, as a process of its own; its clients are threads here, each with a connection that
//! it keeps. No two requests are of the same report: a Steward remembers what it has verified.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a report")]

#[path = "../../../crates/steward/tests/support/mod.rs"]
mod world;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use identity::{
    Algorithm,
    ear::Class,
    keys::{Signer as _, Verifier as _},
};
use rustix::time::{ClockId, clock_gettime};
use steward::signer::{Authority, Key, Signatures};
use workload::Digest;
use world::{DAY, POLICY, World};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// As many as ask at a time.
const CLIENTS: [usize; 2] = [8, 64];
/// How long they ask.
const TIME: Duration = Duration::from_secs(5);
/// How often floor and Steward take turns.
const TURNS: usize = 7;
/// As many requests as a Steward has forgotten by the time that the first comes again.
const REQUESTS: usize = 10_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("hint: build first: cargo build --release -p donjon");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    println!("{:<44}{:>14}{:>14}{:>10}", "", "floor", "Steward", "ratio");
    for (what, record) in [("no record", false), ("a record, synced", true)] {
        for clients in CLIENTS {
            // Their nonces are good for five minutes.
            let asking = Asking::new()?;
            let mut turns = Vec::new();
            for _ in 0..TURNS {
                // Processors change their speed: a floor right before and one right after.
                let before = floor()?;
                let load = load(&asking, clients, record)?;
                let floor = f64::midpoint(before, floor()?);
                turns.push((floor / load.cpu, floor, load));
            }
            turns.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
            let [(worst, ..), .., (best, ..)] = &turns[..] else { return Err("no turns".into()) };
            let (ratio, floor, load) = &turns[TURNS / 2];
            let name = format!("{what}, {clients} clients");
            println!("{name:<44}{:>11.0} us{:>11.0} us{ratio:>10.2}", floor * 1e6, load.cpu * 1e6);
            println!(
                "    {worst:.2} to {best:.2}; {:.0} certificates a second, p99 {:.1} ms",
                load.rate,
                load.p99 * 1e3
            );
        }
    }
    Ok(())
}

/// Processor time of this thread, in seconds.
fn mine() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds of the signatures of one certificate, where all processors make them.
fn floor() -> Result<f64> {
    let processors = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(signatures)).collect();
        let all = threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?);
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok(all.iter().sum::<f64>() / all.len() as f64)
    })
}

fn signatures() -> Result<f64> {
    const ROUNDS: u32 = 2000;
    let (small, large) = (Key::random(Algorithm::EcdsaP256Sha256)?, Key::random(Algorithm::EcdsaP384Sha384)?);
    let (report, request) = ([7; 672], [7; 6000]);
    let (of_report, of_request) = (large.sign(&report)?, small.sign(&request)?);
    let before = mine();
    for _ in 0..ROUNDS {
        let good = Signatures.verify(Algorithm::EcdsaP384Sha384, large.spki(), &report, &of_report)
            && Signatures.verify(Algorithm::EcdsaP256Sha256, small.spki(), &request, &of_request)
            && Signatures.verify(Algorithm::EcdsaP256Sha256, small.spki(), &request, &of_request);
        if !good || small.sign(&report)?.is_empty() {
            return Err("a signature is not good".into());
        }
    }
    Ok((mine() - before) / f64::from(ROUNDS))
}

/// What a load cost.
struct Load {
    /// Seconds of the Steward's processor time for a certificate.
    cpu: f64,
    /// Certificates a second.
    rate: f64,
    /// Seconds in which all but a hundredth were answered.
    p99: f64,
}

struct Steward {
    child: Child,
    address: String,
}

impl Steward {
    fn start(folder: &Path, record: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name("donjon"));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.args(["steward", "serve", "--listen", "127.0.0.1:0", "--policy", "policy.toml", "--rate", "0"]);
        command.args(["--ca-key", "ca.key", "--ca-certificates", "ca.pem", "--nonce-key", "nonce.key"]);
        if record {
            command.args(["--record", "record"]);
        }
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut fact = |name: &str| -> Result<String> {
            let line = lines.next().ok_or("it ended")??;
            Ok(line.strip_prefix(name).ok_or("another fact")?.trim().to_owned())
        };
        let address = fact("url")?.strip_prefix("http://").ok_or("a URL")?.to_owned();
        Ok(Self { child, address })
    }

    /// Seconds of processor time.
    fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("stat")?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Keeps about to ask, and the files of the Steward that they ask.
struct Asking {
    world: World,
    requests: Vec<Vec<u8>>,
}

impl Asking {
    fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let world = World::build(POLICY, now);
        let folder = world.folder.path();
        let pair = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], now)?;
        let key = Key::from_pem(pair.key.as_bytes())?;
        fs::write(folder.join("policy.toml"), POLICY.replace("{owner}", &world.owner_digest().to_string()))?;
        fs::write(folder.join("nonce.key"), "7".repeat(64))?;
        fs::write(folder.join("ca.key"), pair.key.as_bytes())?;
        fs::write(folder.join("ca.pem"), pair.certificates)?;
        let list = world.amd.crl_der(now - DAY, now + DAY, &[]);
        let one = |_| {
            let mut keep = world.keep_at(now);
            keep.crl = Some(list.clone());
            keep.brief.steward.as_mut().unwrap().anchors = vec![Digest::of(key.spki())];
            let csr = keep.csr();
            let length = csr.len();
            let head = format!(
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/pkcs10\r\ncontent-length: {length}\r\n\r\n"
            );
            [head.as_bytes(), &csr].concat()
        };
        let half = || (0..REQUESTS / 2).map(one).collect::<Vec<_>>();
        let requests = thread::scope(|scope| -> Result<Vec<_>> {
            let other = scope.spawn(half);
            let mine = half();
            Ok([mine, other.join().map_err(|_| "a request panicked")?].concat())
        })?;
        Ok(Self { world, requests })
    }
}

fn load(asking: &Asking, clients: usize, record: bool) -> Result<Load> {
    let steward = Steward::start(asking.world.folder.path(), record)?;
    let (end, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let next = || &asking.requests[next.fetch_add(1, Ordering::Relaxed) % REQUESTS];
    let (before, start) = (steward.cpu()?, Instant::now());
    let mut took = thread::scope(|scope| -> Result<Vec<Duration>> {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(|| client(&steward.address, next, &end))).collect();
        thread::sleep(TIME);
        end.store(true, Ordering::Relaxed);
        let all = threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked")?);
        Ok(all.collect::<Result<Vec<_>>>()?.concat())
    })?;
    let (cpu, wall) = (steward.cpu()? - before, start.elapsed().as_secs_f64());
    took.sort();
    let issued = took.len() as f64;
    let p99 = took.get(took.len() * 99 / 100).ok_or("nothing was issued")?.as_secs_f64();
    Ok(Load { cpu: cpu / issued, rate: issued / wall, p99 })
}

/// Asks again and again on one connection; how long each took.
fn client<'a>(address: &str, next: impl Fn() -> &'a Vec<u8>, end: &AtomicBool) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_nodelay(true)?;
    let mut body = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let start = Instant::now();
        stream.get_mut().write_all(next())?;
        let (mut line, mut length) = (String::new(), 0);
        stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(format!("not issued: {line}").into());
        }
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        took.push(start.elapsed());
    }
    Ok(took)
}
