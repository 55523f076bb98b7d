//! `donjon demo` as its users see it: thirteen ticked steps, a fault in each step stopping it there, attacks refused, and
//! nothing left behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

mod support;

/// The command with a temporary folder of its own, so that what it leaves behind shows.
fn donjon(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
    command.args(arguments).env("TMPDIR", temporary).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Output, String, String) {
    let temporary = tempfile::tempdir().unwrap();
    let output = donjon(temporary.path(), arguments).output().unwrap();
    let left: Vec<_> = temporary.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    (output, out, err)
}

fn ticked(out: &str) -> Vec<u8> {
    out.lines()
        .filter_map(|line| line.trim_start().strip_prefix('\u{2713}')?.split_whitespace().next()?.parse().ok())
        .collect()
}

#[test]
fn thirteen_steps_in_their_order_and_an_outsider_is_served() {
    let (output, out, err) = run(&["demo", "--once"]);
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(ticked(&out), (1..=13).collect::<Vec<u8>>(), "{out}");
    assert!(out.contains("Hello from Donjon."), "{out}");
    for fact in ["spiffe://demo.internal/greeter/web", "insecure", "snp, Genoa", "measurement", "H(brief)"] {
        assert!(out.contains(fact), "{fact} is missing:\n{out}");
    }
    assert_eq!(err, "");
}

/// Each fault is a real one of its step: the steps before it are done, it is named, and none comes after it.
#[test]
fn a_fault_in_each_step_stops_the_demo_exactly_there() {
    for step in 1..=13_u8 {
        let (output, out, err) = run(&["demo", "--once", "--fault", &step.to_string()]);
        assert_eq!(output.status.code(), Some(125), "step {step}: {out}{err}");
        assert_eq!(ticked(&out), (1..step).collect::<Vec<u8>>(), "step {step}: {out}{err}");
        assert!(out.contains(&format!("\u{2717} {step:2}")), "step {step}: {out}");
        assert!(err.contains(&format!("error: the demo stopped at step {step}: ")), "step {step}: {err}");
        assert!(err.contains("\nhint: "), "step {step} says nothing to do: {err}");
    }
}

/// The command itself fails if an attack gets through, or is refused by another check than the one named here.
#[test]
fn attacks_are_refused_each_by_its_check() {
    let (output, out, err) = run(&["demo", "--attack"]);
    assert!(output.status.success(), "{out}{err}");
    let checks: BTreeSet<&str> =
        out.lines().filter_map(|line| line.trim_start().strip_prefix("check ")?.split(',').next()).collect();
    let expected = [
        "workload.digest",
        "brief.anchors",
        "snp.host_data",
        "snp.policy.debug",
        "snp.report_data",
        "deployment.registered",
        "nonce.age",
        "release.workload",
    ];
    assert_eq!(checks, BTreeSet::from(expected), "{out}");
}

/// A demo that serves.
struct Serving {
    demo: Child,
    temporary: TempDir,
    port: u16,
}

impl Serving {
    fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo =
            donjon(temporary.path(), &["demo"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut port = None;
        for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix("An outsider asks https://greeter.demo.internal:") {
                port = rest.split(' ').next().and_then(|port| port.parse::<u16>().ok());
            }
            if line.contains("Serving until Ctrl-C") {
                break;
            }
        }
        Self { demo, temporary, port: port.expect("the demo tells its port") }
    }

    /// Ends it as a person would, or an operator.
    fn end(&mut self, signal: &str) {
        let told = Command::new("kill").args(["-s", signal, &self.demo.id().to_string()]).status().unwrap();
        assert!(told.success());
        let ended = self.demo.wait().unwrap();
        assert!(ended.success(), "{signal}: {ended}");
    }
}

/// Served until told to end; then no process, port or folder is left.
#[test]
fn an_interrupt_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let mut serving = Serving::start();
        let port = serving.port;
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("it serves");
        let keep = children(serving.demo.id());
        assert_eq!(keep.len(), 1, "one Keep runs");
        assert!(serving.temporary.path().read_dir().unwrap().next().is_some(), "its folder is there");

        serving.end(signal);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "{signal}: the port is still open");
        assert!(serving.temporary.path().read_dir().unwrap().next().is_none(), "{signal}: a folder is left");
        for keep in keep {
            assert!(!Path::new(&format!("/proc/{keep}")).exists(), "{signal}: the Keep still runs");
        }
    }
}

/// The Keep serves HTTP/1.1 and HTTP/2, chosen by ALPN, under its certificate; an unmodified client checks it.
#[test]
fn curl_speaks_both_versions_of_http_with_the_keep() {
    if !support::has("curl") {
        return support::skip("curl", "install curl");
    }
    let mut serving = Serving::start();
    let folder = serving.temporary.path().read_dir().unwrap().next().unwrap().unwrap().path();
    let curl = |version: &str, name: &str, extra: &[&str]| {
        Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", version, "--cacert"])
            .arg(folder.join("steward-root.pem"))
            .args(["--resolve", &format!("{name}:{}:127.0.0.1", serving.port), "--write-out", " v%{http_version}"])
            .args(extra)
            .arg(format!("https://{name}:{}/echo", serving.port))
            .output()
            .unwrap()
    };
    for (version, spoken) in [("--http1.1", "v1.1"), ("--http2", "v2")] {
        let output = curl(version, "greeter.demo.internal", &["--data", "there and back"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text == format!("there and back {spoken}"), "{version}: {output:?}");
    }
    // The control: the same service under a name that no Deployment grants.
    let other = curl("--http1.1", "other.demo.internal", &[]);
    assert_eq!(other.status.code(), Some(60), "curl refuses another name: {other:?}");
    serving.end("INT");
}

fn children(parent: u32) -> Vec<u32> {
    let tasks = Path::new("/proc").join(parent.to_string()).join("task");
    tasks
        .read_dir()
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|children| children.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}
