//! Every test of every workspace, and one honest sum at the end.
//!
//! Owns reading what the test runners write ([`Tally`]). A test that could not do its work prints a line that begins
//! with `skipped:`; it is then counted as skipped, not as passed, and named in the summary. Tests run with
//! `--show-output`, so that such a line stands under its test's name and nothing can be written into the middle of it. What
//! else successful tests wrote is not shown, and what failed ones wrote is shown again at the end.
//!
//! Invariant: a runner that ended badly without a result counts as one failure, so the closing line never says
//! `0 failed` after one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::call::{Call, Failed, Repository, Workspace, required, step};
use crate::wasm;

/// What makes a run long: how often tests about chance and growth do what they else do once, whether what takes minutes is
/// done, how many seeds there are, and how many minutes of what is bad.
const LONGER: [(&str, &str); 5] = [
    ("DONJON_ROUNDS", "10"),
    ("DONJON_LONG", "1"),
    ("DONJON_SEEDS", "1000"),
    ("DONJON_EDGES", "20000"),
    ("DONJON_SOAK", "60"),
];

/// Lines that a failure may take at the end.
const SAID: usize = 25;

/// Runs only what [`crate::wasm`] has, with a sum of its own.
pub(crate) fn wasm(repository: &Repository) -> Result<(), Failed> {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut skips = Vec::new();
    match wasm::tests(repository)? {
        Ok(tests) => all(tests, &mut tally, &mut failures),
        Err(skip) => skips.push(skip),
    }
    close(&tally, skips, failures)
}

/// Runs all tests. `skips` are those of the steps before; they belong to the sum.
pub(crate) fn run(repository: &Repository, skips: Vec<String>, long: bool) -> Result<(), Failed> {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut tests: Vec<(String, Call)> = Vec::new();
    for workspace in Workspace::ALL {
        // In the root the features are those of the product; the contracts' tests need theirs.
        let features: &[&str] = if workspace == Workspace::Guest { &["--all-features"] } else { &[] };
        let test = ["test", "--locked", "--workspace", "--no-fail-fast"];
        let call = repository.cargo(workspace, &[&test[..], features, &["--", "--show-output"]].concat());
        tests.push((format!("tests of {workspace}"), call));
    }
    let mut skipped: Vec<String> = skips;
    let micro_vm = ["test", "--locked", "--package", "donjon", "--test", "run_kvm", "--", "--show-output"];
    let micro_vm = repository.cargo(Workspace::Root, &micro_vm);
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => tests.insert(1, ("programs in micro-VMs".to_owned(), micro_vm)),
        Err(error) if required("kvm") => {
            return Err(micro_vm.failed("programs in micro-VMs", format_args!("/dev/kvm does not open: {error}")));
        }
        Err(error) => skipped.push(format!("kvm: all programs in micro-VMs: /dev/kvm does not open: {error}")),
    }
    // What comes from other registries comes last: nothing of ours fails because of it.
    for (name, what) in [("languages", "templates in their languages"), ("programs", "programs of others")] {
        let test = ["test", "--locked", "--package", "donjon", "--test", name, "--", "--show-output"];
        tests.push((what.to_owned(), repository.cargo(Workspace::Root, &test)));
    }
    if long {
        let longer = |call| LONGER.into_iter().fold(call, |call: Call, (name, value)| call.env(name, value));
        tests = tests.into_iter().map(|(what, call)| (what, longer(call))).collect();
    }
    all(tests, &mut tally, &mut failures);
    // After the guest's tests, which build most of what runs these.
    match wasm::tests(repository) {
        Ok(Ok(tests)) => all(tests, &mut tally, &mut failures),
        Ok(Err(skip)) => skipped.push(skip),
        Err(failed) => {
            tally.failed = tally.failed.saturating_add(1);
            failures.push(failed);
        }
    }
    close(&tally, skipped, failures)
}

/// Runs one after the other, whatever fails.
fn all(tests: Vec<(String, Call)>, tally: &mut Tally, failures: &mut Vec<Failed>) {
    for (what, call) in tests {
        if let Err(failed) = step(&what, || runner(&what, &call, tally, &mut std::io::stdout())) {
            failures.push(failed);
        }
    }
}

/// The closing lines.
fn close(tally: &Tally, mut skipped: Vec<String>, failures: Vec<Failed>) -> Result<(), Failed> {
    skipped.extend(tally.skips.iter().cloned());
    for line in &tally.failures {
        println!("{line}");
    }
    for skip in &skipped {
        println!("skipped: {skip}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, skipped.len());
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Runs one runner, sums it into `tally` and shows on `shown` what people need to see.
fn runner(what: &str, call: &Call, tally: &mut Tally, shown: &mut dyn Write) -> Result<(), Failed> {
    let before = tally.failed;
    let mut child = call
        .command()
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| call.failed(what, format_args!("cannot start: {error}")))?;
    if let Some(stdout) = child.stdout.take() {
        // Bytes, not text: a test may show anything.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| call.failed(what, error))?;
            let line = String::from_utf8_lossy(&line);
            if tally.line(&line) {
                // Whoever closed the other end learns the result by the status.
                _ = writeln!(shown, "{line}");
            }
        }
    }
    let status = child.wait().map_err(|error| call.failed(what, error))?;
    if status.success() {
        return Ok(());
    }
    if tally.failed == before {
        tally.failed = tally.failed.saturating_add(1);
    }
    Err(call.failed(what, format_args!("{status}; the failures stand above")))
}

/// What the runners said so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    /// `test: reason`, one for each test that was skipped.
    skips: Vec<String>,
    /// What failed and what it said, by lines.
    failures: Vec<String>,
    /// How many more lines of the failure that writes now are kept.
    room: usize,
    section: Section,
    /// Of the runner that writes now: tests that skipped themselves.
    quiet: BTreeSet<String>,
}

/// Whose captured output the lines are.
#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    /// Nobody's.
    #[default]
    Runner,
    /// Of a test that ended well.
    Success(Option<String>),
    /// Of a test that failed: what it skipped before does not matter.
    Failure,
}

impl Tally {
    /// Takes in one line; says whether people need to see it.
    fn line(&mut self, line: &str) -> bool {
        let test = line.starts_with("test ");
        if test && line.ends_with(" ... FAILED") || self.section == Section::Failure && line.starts_with("---- ") {
            self.room = SAID;
        } else if test {
            self.room = 0;
        }
        if self.room > 0 {
            self.failures.push(line.to_owned());
            self.room = self.room.saturating_sub(1);
        }
        if line == "successes:" {
            self.section = Section::Success(None);
        } else if line == "failures:" {
            self.section = Section::Failure;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
        } else if let (Section::Success(current), Some(name)) =
            (&mut self.section, line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")))
        {
            *current = Some(name.to_owned());
        } else if let Some(reason) = line.strip_prefix("skipped:") {
            self.skip(reason.trim());
        } else {
            // Hundreds of these hide the few lines that matter.
            return !(test && line.ends_with(" ... ok") || matches!(self.section, Section::Success(_)));
        }
        true
    }

    fn skip(&mut self, reason: &str) {
        match &self.section {
            Section::Failure => {}
            Section::Success(Some(test)) => {
                if self.quiet.insert(test.clone()) {
                    self.skips.push(format!("{test}: {reason}"));
                }
            }
            // Written past the capture, by a thread or a process: it is not known whose it is, so it is its own.
            Section::Success(None) | Section::Runner => self.skips.push(reason.to_owned()),
        }
    }

    /// `ok. 5 passed; 0 failed; 1 ignored; …`, the last line of a runner.
    fn result(&mut self, result: &str) {
        let count = |what: &str| -> u64 {
            let part = result.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(what));
            part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        let quiet = u64::try_from(self.quiet.len()).unwrap_or(u64::MAX);
        self.passed = self.passed.saturating_add(count("passed").saturating_sub(quiet));
        self.failed = self.failed.saturating_add(count("failed"));
        for _ in 0..count("ignored") {
            self.skips.push("a test marked #[ignore]".to_owned());
        }
        self.quiet.clear();
        self.section = Section::Runner;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        for line in text.lines() {
            tally.line(line);
        }
        tally
    }

    const TWO_RUNNERS: &str = "
running 4 tests
test a::one ... ok
test a::two ... ok
test a::three ... ok
test a::four ... ignored

successes:

---- a::one stdout ----
looking for openssl
skipped: no openssl on this machine
skipped: nor libressl

---- a::three stdout ----
not skipped: a line that only looks like it

successes:
    a::one
    a::two
    a::three

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s

running 2 tests
test b ... FAILED
test c ... ok

failures:

---- b stdout ----
skipped: one half
thread 'b' panicked

failures:
    b

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn runners_are_summed_and_a_skip_is_not_a_pass() {
        let tally = tally(TWO_RUNNERS);
        assert_eq!((tally.passed, tally.failed), (3, 1));
        assert_eq!(tally.skips, ["a::one: no openssl on this machine", "a test marked #[ignore]"]);
    }

    #[test]
    fn without_the_skip_lines_the_same_tests_pass() {
        let text: String =
            TWO_RUNNERS.lines().filter(|line| !line.starts_with("skipped:")).map(|l| format!("{l}\n")).collect();
        let tally = tally(&text);
        assert_eq!((tally.passed, tally.failed, tally.skips.len()), (4, 1, 1));
    }

    #[test]
    fn a_skip_past_the_capture_still_counts() {
        assert_eq!(tally("skipped: from another process").skips, ["from another process"]);
    }

    #[test]
    fn people_see_what_is_not_plain_success() {
        let mut tally = Tally::default();
        assert!(!tally.line("test a::two ... ok"));
        assert!(tally.line("test a::two ... FAILED"));
        assert!(tally.line("thread 'b' panicked"));
        tally.line("successes:");
        assert!(!tally.line("of no interest"));
        assert!(tally.line("skipped: half"));
    }

    #[test]
    fn what_failed_is_said_again() {
        let own = "test early.rs ... ok\ntest late.rs ... FAILED\nexpected 42, found 101\ntest last.rs ... ok\nmore\n";
        assert_eq!(tally(own).failures, ["test late.rs ... FAILED", "expected 42, found 101"]);
        let failures = tally(TWO_RUNNERS).failures;
        assert_eq!(failures.first().unwrap(), "test b ... FAILED");
        assert!(
            failures.contains(&"thread 'b' panicked".to_owned()) && !failures.iter().any(|line| line.contains("a::"))
        );
        let long = format!("test b ... FAILED\n{}", "line\n".repeat(1000));
        assert_eq!(tally(&long).failures.len(), SAID);
    }

    #[test]
    fn a_runner_that_dies_without_a_result_is_a_failure() {
        let mut tally = Tally::default();
        let dies = Call::new("sh", std::path::Path::new("/")).arguments(&["-c", "echo 'running 1 test'; exit 101"]);
        let failed = runner("dying", &dies, &mut tally, &mut Vec::new()).unwrap_err();
        assert!(failed.repeat.contains("exit 101"), "{}", failed.repeat);
        assert_eq!((tally.passed, tally.failed), (0, 1));

        let mut tally = Tally::default();
        let lives =
            Call::new("echo", std::path::Path::new("/")).arguments(&["test result: ok. 1 passed; 0 failed; 0 ignored"]);
        let mut shown = Vec::new();
        runner("living", &lives, &mut tally, &mut shown).unwrap();
        assert!(shown.starts_with(b"test result: ok."));
        assert_eq!((tally.passed, tally.failed), (1, 0));
    }

    /// What today's test runner really writes.
    #[test]
    fn a_real_runner_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        write("Cargo.toml", "[package]\nname = \"few\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n");
        write(
            "src/lib.rs",
            "//! ```\n//! assert!(true);\n//! ```\n\
             #[test] fn good() { println!(\"a line\"); }\n\
             #[test] fn on_out() { println!(\"skipped: out\"); }\n\
             #[test] fn on_err() { eprintln!(\"skipped: err\"); eprintln!(\"skipped: and more\"); }\n\
             #[test] fn bad() { println!(\"skipped: half\"); panic!(); }\n\
             #[test] #[ignore] fn never() {}\n",
        );
        let target = dir.path().join("target");
        let call = Call::new("cargo", dir.path())
            .arguments(&["test", "--offline", "--no-fail-fast", "--", "--show-output"])
            .env("CARGO_TARGET_DIR", target);
        let mut tally = Tally::default();
        let failed = runner("few", &call, &mut tally, &mut Vec::new()).unwrap_err();
        assert!(failed.repeat.contains("cargo test"), "{}", failed.repeat);
        // The doctest and `good`; `bad`; `on_out`, `on_err` and `never`.
        assert_eq!((tally.passed, tally.failed, tally.skips.len()), (2, 1, 3), "{tally:?}");
        assert!(tally.skips.contains(&"on_err: err".to_owned()) && tally.skips.contains(&"on_out: out".to_owned()));
    }
}
