//! Every template of `donjon init`: made, built and run by exactly the commands of its README, which shows what comes out.
//!
//! Commands that install a toolchain may fail where no registry is reached: such a test is skipped, unless
//! `DONJON_REQUIRE` names `languages`. Everything else must succeed. Projects lie below `target/tmp/tools` and keep the
//! toolchains that were installed into them.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../tools/mod.rs"]
mod tools;

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::Mutex;

use support::{Input, donjon, has, run, skip};
use tools::{done, kept, last_words, long, shell};

/// Where `donjon run` says that a service listens, and a README repeats it.
const LISTENS: &str = "donjon: web listens on ";
const PORT: &str = "127.0.0.1:8080";

/// A command of a README, and the lines that it shows.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: String,
    shows: Vec<String>,
}

/// What stands in the blocks marked `console`.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut console = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            console = line == "```console";
        } else if let (true, Some(line)) = (console, line.strip_prefix("$ ")) {
            steps.push(Step { line: line.to_owned(), shows: Vec::new() });
        } else if console {
            let step = steps.last_mut().expect("a command stands before what it shows");
            step.shows.push(line.to_owned());
        }
    }
    steps
}

/// Whether a command takes something from a registry.
fn installs(line: &str) -> bool {
    line == "npm install"
        || line.starts_with("rustup target add ")
        || [" -m venv ", "/pip install "].iter().any(|part| line.contains(part))
}

/// A service that a README started; ends with it.
struct Service {
    donjon: Child,
    said: Lines<BufReader<ChildStderr>>,
    address: String,
}

impl Service {
    /// Starts it on any free port, and hears what it says until it listens.
    fn start(dir: &Path, shows: &[String]) -> Self {
        let mut command = donjon(dir, ["run", "--listen", "web=127.0.0.1:0"]);
        let mut donjon = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(donjon.stderr.take().unwrap()).lines();
        let mut service = Self { donjon, said, address: String::new() };
        for expected in shows {
            let mut said = service.said.by_ref().map(Result::unwrap);
            let line = said.find(|line| line != support::COMPILING).expect("it says more");
            match line.strip_prefix(LISTENS) {
                Some(address) => {
                    assert_eq!(*expected, format!("{LISTENS}{PORT}"));
                    service.address = address.to_owned();
                }
                None => assert_eq!(line, *expected),
            }
        }
        assert!(!service.address.is_empty(), "the README shows where it listens: {shows:?}");
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.donjon.kill();
        _ = self.donjon.wait();
    }
}

/// A project from this template. What its toolchain installed last time stays; templates that install by pip share a folder,
/// because each such toolchain takes hundreds of megabytes.
fn project(template: &str) -> PathBuf {
    let read = |dir: &Path| std::fs::read_to_string(dir.join("README.md")).unwrap();
    let trial = support::folder(&[]);
    init(template, trial.path());
    let dir = kept(if read(trial.path()).contains("/pip install ") { "language-pip" } else { template });
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with(".venv") && !path.ends_with("node_modules") {
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.unwrap();
        }
    }
    init(template, &dir);
    dir
}

fn init(template: &str, dir: &Path) {
    let owner = kept("owner").join("owner.pem");
    let (owner, at) = (owner.to_str().unwrap(), dir.to_str().unwrap());
    let ran = run(dir, ["init", "--template", template, "--owner-key", owner, at], Input::Nothing);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
}

/// One after the other: each build takes all processors, and some share a folder.
static TURN: Mutex<()> = Mutex::new(());

fn as_its_readme_says(template: &str) {
    // A test that failed in its turn leaves nothing half done that the next would not remove.
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = project(template);
    let steps = steps(&std::fs::read_to_string(dir.join("README.md")).unwrap());
    assert!(steps.iter().any(|step| step.line == "donjon run"), "{steps:?}");
    let mut service = None;
    for Step { line, shows } in steps {
        if line == "donjon run" {
            if shows.iter().any(|line| line.starts_with(LISTENS)) {
                service = Some(Service::start(&dir, &shows));
                continue;
            }
            let ran = run(&dir, ["run"], Input::Nothing);
            let (told, printed): (Vec<String>, _) = shows.into_iter().partition(|line| line.starts_with("donjon: "));
            let text = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            ran.assert(0, &text(printed), &text(told));
        } else if line.starts_with("curl ") {
            if !has("curl") {
                return skip("curl", "there is no curl");
            }
            let service = service.as_ref().expect("the README starts the service first");
            assert!(line.contains(PORT), "{line}");
            let output = done(shell(&line.replace(PORT, &service.address), &dir));
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(said.lines().collect::<Vec<_>>(), shows, "{line}");
        } else {
            assert_eq!(shows, [""; 0], "what is shown is what `donjon run` and `curl` say");
            let output = done(shell(&line, &dir));
            if !output.status.success() && installs(&line) {
                return skip("languages", &format!("`{line}` fails: {}", last_words(&output)));
            }
            assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

macro_rules! templates {
    ($($name:ident $template:literal $($long:ident)?,)*) => {
        /// Every template that has a test.
        const TEMPLATES: &[&str] = &[$($template),*];

        $(#[test]
        fn $name() {
            $(if !$long($template) { return; })?
            as_its_readme_says($template);
        })*
    };
}

templates! {
    rust "rust",
    rust_http "rust-http",
    c "c",
    cpp "cpp" long,
    zig "zig" long,
    go "go" long,
    assemblyscript "assemblyscript",
    js "js" long,
    ts "ts" long,
    python "python" long,
    ruby "ruby" long,
}

/// The example in C (`sdk/examples/attested-c`), built as the template for C says: what it asks of its Keep on `nil`, and of
/// hardware where there are micro-VMs.
#[test]
fn the_example_in_c_asks_its_keep() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = project("c");
    for Step { line, .. } in steps(&std::fs::read_to_string(dir.join("README.md")).unwrap()) {
        if installs(&line) {
            let output = done(shell(&line, &dir));
            if !output.status.success() {
                return skip("languages", &format!("`{line}` fails: {}", last_words(&output)));
            }
        }
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/examples/attested-c");
    let compile = ".venv/bin/python -m ziglang cc -target wasm32-wasi -Os -Wall -Werror -o main.wasm";
    let output = done(shell(&format!("{compile} {}", example.join("main.c").display()), &dir));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::copy(example.join("Donjon.toml"), dir.join("Donjon.toml")).unwrap();

    let ask = |backend: &str, arguments: &[&str]| {
        let manifest = std::fs::read_to_string(example.join("Donjon.toml")).unwrap();
        let manifest = manifest.replace(r#"["cat", "brief"]"#, &format!("{arguments:?}"));
        std::fs::write(dir.join("Donjon.toml"), manifest).unwrap();
        run(&dir, ["run", "-q", "--backend", backend], Input::Nothing)
    };
    let brief = ask("nil", &["cat", "brief"]);
    assert!(brief.code() == 0 && workload::Brief::decode(&brief.stdout).is_ok(), "{}", brief.stderr);
    assert_eq!(ask("nil", &["cat", "key.pem"]).code(), 1, "there is no such file");
    for arguments in
        [&["evidence", "hello"][..], &["key", "disk"], &["sign", "hello"], &["verify", "hello", "00", "web"]]
    {
        ask("nil", arguments).assert(1, "", "error: this Keep has none\n");
    }
    let long = "x".repeat(4097);
    ask("nil", &["evidence", &long]).assert(1, "", "error: more bytes than are taken\n");
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return skip("kvm", "keys and evidence: /dev/kvm does not open");
    }
    let [disk, again, other] = ["disk", "disk", "other"].map(|context| ask("sim-snp", &["key", context]));
    assert!(disk.code() == 0 && disk.text().len() == 65, "{}", disk.stderr);
    // The manifest has the context, so that another one is of another workload too; that alone it is in `sim_snp`.
    assert!(disk.text() == again.text() && disk.text() != other.text());
    let bundle = ask("sim-snp", &["evidence", "hello"]);
    assert!(bundle.text().starts_with(r#"{"donjon_evidence_bundle":1,"kind":"snp-report","#), "{}", bundle.stderr);
    assert_eq!(ask("sim-snp", &["sign", "hello"]).code(), 1, "under `run` there is no certificate");
}

/// A template without a test would rot; one without a row is not found.
#[test]
fn every_template_is_tried_and_described() {
    let ran = run(Path::new("."), ["init", "--template", "none"], Input::Nothing);
    let (_, rest) = ran.stderr.split_once("[possible values: ").expect("clap lists what there is");
    let (list, _) = rest.split_once(']').unwrap();
    assert_eq!(list.split(", ").collect::<Vec<_>>(), TEMPLATES);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/languages.md");
    let page = std::fs::read_to_string(page).unwrap();
    for template in TEMPLATES {
        assert!(page.contains(&format!("| `{template}` |")), "docs/languages.md has no row for {template}");
    }
}

#[test]
fn a_readme_is_read() {
    let readme = "text\n\n```console\n$ build it\n$ donjon run\nout\nmore\n```\n```toml\n$ not = 1\n```\n";
    let step =
        |line: &str, shows: &[&str]| Step { line: line.into(), shows: shows.iter().map(|&line| line.into()).collect() };
    assert_eq!(steps(readme), [step("build it", &[]), step("donjon run", &["out", "more"])]);
    assert!(installs(".venv/bin/pip install x==1") && installs("npm install") && !installs("npm run build"));
}
