//! What the tests of the command share: running it with a guard against hanging, folders, test programs, skips.
//!
//! Owns how `donjon` is started in a test: the built binary, an environment without anything of ours, no cache, and no test that
//! can hang for ever. Needs nothing but the Rust toolchain and a C compiler: programs (`guest/programs`) are built on
//! first use, into `target/programs`; `DONJON_PROGRAMS=DIR` takes prebuilt ones, laid out as cargo lays them out.

#![allow(dead_code, reason = "each test binary uses a part of this")]

// As `build.rs` builds the greeter, and into the same folder.
#[path = "../../../../guest/recipe.rs"]
#[allow(clippy::print_stdout, reason = "a build script talks to cargo on standard output")]
mod recipe;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// When a run counts as hanging. Nothing here takes a tenth of it, even on a loaded machine; interpreters of many megabytes,
/// which a Keep compiles first, take longer.
pub(crate) const HANGS: Duration = match env!("CARGO_CRATE_NAME").as_bytes() {
    b"languages" | b"programs" => Duration::from_secs(1800),
    _ => Duration::from_secs(120),
};

/// What is said once a program has been compiled for longer than a second. Whether it is depends on the machine, so no test
/// of anything else looks at it.
pub(crate) const COMPILING: &str = "donjon: compiling the program";

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// What a command gets as standard input.
pub(crate) enum Input {
    /// `/dev/null`.
    Nothing,
    /// These bytes through a pipe.
    Bytes(Vec<u8>),
    /// This file.
    File(PathBuf),
}

impl Ran {
    /// The exit status, which must not be a signal.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by {}: {}", self.status, self.stderr))
    }

    /// Standard output as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is text")
    }

    /// Everything at once, for whole-output assertions.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!((self.code(), self.text(), self.stderr.as_str()), (code, stdout, stderr));
    }
}

/// The built `donjon` in `dir`, without this process's settings.
pub(crate) fn donjon<A: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
    command.args(args).current_dir(dir);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DONJON_")) {
        command.env_remove(name);
    }
    // What a test finds is no other run's, and what it leaves nobody's.
    command.env("DONJON_BACKEND", BACKEND).env("DONJON_NO_CACHE", "1");
    command
}

/// On what `donjon run` runs here: the suite `run` is built once for each backend.
pub(crate) const BACKEND: &str = match env!("CARGO_CRATE_NAME").as_bytes() {
    b"run_kvm" => "kvm",
    _ => "nil",
};

/// Runs `donjon` to its end.
pub(crate) fn run<A: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = A>, input: Input) -> Ran {
    finish(donjon(dir, args), input)
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, input: Input) -> Ran {
    let bytes = match input {
        Input::Nothing => {
            command.stdin(Stdio::null());
            None
        }
        Input::File(path) => {
            command.stdin(File::open(path).expect("the input file opens"));
            None
        }
        Input::Bytes(bytes) => {
            command.stdin(Stdio::piped());
            Some(bytes)
        }
    };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let writer = child.stdin.take().zip(bytes).map(|(mut to, bytes)| {
        // A program may end before it has read everything.
        thread::spawn(move || _ = to.write_all(&bytes))
    });
    let mut from = child.stdout.take().expect("piped");
    let stdout = thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes).expect("standard output reads")
    });
    let mut from = child.stderr.take().expect("piped");
    let stderr = thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).map(|_| text).expect("standard error is text")
    });
    let status = wait(&mut child);
    if let Some(writer) = writer {
        writer.join().expect("the writer does not panic");
    }
    Ran {
        status,
        stdout: stdout.join().expect("the reader does not panic"),
        stderr: stderr.join().expect("the reader does not panic").replace(&format!("{COMPILING}\n"), ""),
    }
}

/// Waits for a child; one that hangs fails the test.
#[track_caller]
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status;
        }
        if begun.elapsed() > HANGS {
            let doing = doing(child.id());
            _ = child.kill();
            panic!("it hangs: no end after {HANGS:?}\n{doing}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What each thread of a process and of those below it does: name, state, where in the kernel, in which call (proc(5)).
fn doing(process: u32) -> String {
    let mut said = String::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default().trim().to_owned();
        let state = read("stat").rsplit_once(')').map_or(String::new(), |(_, rest)| rest.chars().take(2).collect());
        said += &format!("{process} {}{state} {} {}\n", read("comm"), read("wchan"), read("syscall"));
        let below = read("children");
        said.extend(below.split(' ').filter_map(|child| child.parse().ok()).map(doing));
    }
    said
}

/// Sends a signal, such as `TERM`, as a person or an operator would.
#[track_caller]
pub(crate) fn tell(process: &Child, signal: &str) {
    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", process.id())]).status();
    assert!(kill.expect("there is a shell").success(), "{signal} cannot be sent");
}

/// Reads `count` bytes, and gives the stream back; one that stays silent fails the test.
#[track_caller]
pub(crate) fn read<R: Read + Send + 'static>(mut from: R, count: usize) -> (R, Vec<u8>) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = vec![0; count];
        let read = from.read_exact(&mut bytes);
        // Nobody listens any more if the test has failed meanwhile.
        _ = tell.send(read.map(|()| (from, bytes)));
    });
    told.recv_timeout(HANGS).expect("it says something in time").expect("it does not end before it has said this much")
}

/// Waits until `done` says so; what never happens fails the test.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANGS, "it never happens: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A folder with these files, gone when dropped.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).expect("a file can be written");
    }
    dir
}

/// A module from its text.
#[track_caller]
pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the module's text is right")
}

/// The forms of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// A WASI 0.1 module.
    Module,
    /// A WASI 0.2 component.
    Component,
    /// A static-PIE ELF program.
    Native,
}

impl Form {
    /// Those of WebAssembly.
    pub(crate) const BOTH: [Self; 2] = [Self::Module, Self::Component];

    const fn target(self) -> &'static str {
        match self {
            Self::Module => "wasm32-wasip1",
            Self::Component => "wasm32-wasip2",
            Self::Native => "x86_64-unknown-linux-musl",
        }
    }
}

/// `guest/programs/probe` in this form.
pub(crate) fn probe(form: Form) -> PathBuf {
    match form {
        Form::Module | Form::Component => program("probe", "probe.wasm", form),
        Form::Native => program("probe", "probe", form),
    }
}

/// `sdk/examples/attested-rust` in this form.
pub(crate) fn attested(form: Form) -> PathBuf {
    built("sdk", "attested-rust", "attested.wasm", form)
}

/// A package of `guest/programs`, and the file that it gives in this form.
pub(crate) fn program(package: &'static str, file: &'static str, form: Form) -> PathBuf {
    built("guest/programs", package, file, form)
}

/// A package of ours that is a component, and the file that it gives.
pub(crate) fn component(package: &'static str, file: &'static str) -> PathBuf {
    built("", package, file, Form::Component)
}

fn built(workspace: &'static str, package: &'static str, file: &'static str, form: Form) -> PathBuf {
    static BUILT: Mutex<BTreeMap<(&str, Form), PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().expect("no build panicked");
    if let Some(path) = built.get(&(package, form)) {
        return path.clone();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/donjon lies below the root");
    let targets = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent").join("programs");
    let recipe =
        recipe::Built { package, file, workspace, target: form.target(), flags: &[], prebuilt: "DONJON_PROGRAMS" };
    let path = recipe.get(root, &targets).expect("the program builds");
    assert!(path.exists(), "there is no {}", path.display());
    built.insert((package, form), path.clone());
    path
}

/// Says that a test cannot do its work here; a failure if `DONJON_REQUIRE` names `what`.
#[allow(clippy::print_stderr, reason = "a skip must be seen")]
pub(crate) fn skip(what: &str, why: &str) {
    let required = std::env::var("DONJON_REQUIRE").unwrap_or_default();
    assert!(required.split(',').all(|one| one != what), "DONJON_REQUIRE={what}, but {why}");
    eprintln!("skipped: {what}: {why}");
}

/// The folder of real evidence.
pub(crate) fn evidence() -> Option<PathBuf> {
    let folder = std::env::var_os("DONJON_EVIDENCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"), PathBuf::from);
    if folder.is_dir() {
        return folder.canonicalize().ok();
    }
    skip("evidence", "no real evidence at hand: set DONJON_EVIDENCE");
    None
}

/// Whether there is such a command.
pub(crate) fn has(command: &str) -> bool {
    Command::new(command).arg("--version").output().is_ok_and(|ran| ran.status.success())
}
