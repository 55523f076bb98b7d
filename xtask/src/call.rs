//! Calling other programs: cargo in one of the workspaces, with progress before, time after, and on failure the command
//! that repeats it.
//!
//! Owns where things lie ([`Repository`], [`Workspace`]). Invariant: what is printed as the command to repeat is what ran.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// Why a task ended.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Which step.
    pub(crate) what: String,
    /// What was wrong.
    pub(crate) why: String,
    /// The command that does only this again.
    pub(crate) repeat: String,
}

/// A checkout and its target directory.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    root: PathBuf,
    target: PathBuf,
}

impl Repository {
    /// The checkout that this program was built from.
    pub(crate) fn of_this_build() -> Self {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().unwrap_or(xtask).to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let target = root.join(target);
        Self::at(root, target)
    }

    /// Any checkout, with its target directory.
    pub(crate) fn at(root: PathBuf, target: PathBuf) -> Self {
        Self { root, target }
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds for the root workspace.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// cargo in a workspace. What is measured or packed is never built this way: those builds belong to the build
    /// scripts of `keep` and `donjon`, so the other workspaces have target directories of their own here.
    pub(crate) fn cargo(&self, workspace: Workspace, arguments: &[&str]) -> Call {
        let call = Call::new("cargo", &self.root.join(workspace.folder())).arguments(arguments);
        match workspace {
            // Said only where it is not what cargo does anyway: the command to repeat stays short.
            Workspace::Root if self.target == self.root.join("target") => call.without("CARGO_TARGET_DIR"),
            Workspace::Root => call.env("CARGO_TARGET_DIR", &self.target),
            Workspace::Guest => call.env("CARGO_TARGET_DIR", self.target.join("guest-host")),
            Workspace::Programs => call.env("CARGO_TARGET_DIR", self.target.join("programs-host")),
            Workspace::Sdk => call.env("CARGO_TARGET_DIR", self.target.join("sdk-host")),
        }
    }
}

/// Each has its own Cargo.lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workspace {
    /// The host side.
    Root,
    /// What is measured.
    Guest,
    /// Test workloads.
    Programs,
    /// For those who write programs.
    Sdk,
}

impl Workspace {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Root, Self::Guest, Self::Programs, Self::Sdk];

    /// Where it lies below the root.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Guest => "guest",
            Self::Programs => "guest/programs",
            Self::Sdk => "sdk",
        }
    }
}

/// For people.
impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the host side",
            Self::Guest => "the guest",
            Self::Programs => "the test programs",
            Self::Sdk => "the library for programs",
        })
    }
}

/// A program, its arguments, its folder and what its environment has more or less than ours.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    program: OsString,
    arguments: Vec<OsString>,
    dir: PathBuf,
    env: Vec<(&'static str, OsString)>,
    without: Vec<&'static str>,
}

impl Call {
    pub(crate) fn new(program: impl Into<OsString>, dir: &Path) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            dir: dir.to_owned(),
            env: Vec::new(),
            without: Vec::new(),
        }
    }

    pub(crate) fn arguments<A: AsRef<std::ffi::OsStr>>(mut self, arguments: &[A]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.without.push(name);
        self
    }

    /// The call as the standard library makes it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.dir).stdin(std::process::Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in &self.without {
            command.env_remove(name);
        }
        command
    }

    /// Runs it with progress around; its output goes where ours goes.
    pub(crate) fn run(&self, what: &str) -> Result<(), Failed> {
        step(what, || {
            let status =
                self.command().status().map_err(|error| self.failed(what, format_args!("cannot start: {error}")))?;
            if status.success() { Ok(()) } else { Err(self.failed(what, status)) }
        })
    }

    /// Runs it in silence and gives back what it wrote.
    pub(crate) fn output(&self, what: &str) -> Result<Output, Failed> {
        let output =
            self.command().output().map_err(|error| self.failed(what, format_args!("cannot start: {error}")))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(self.failed(what, format_args!("{}: {}", output.status, said.trim())))
    }

    pub(crate) fn failed(&self, what: &str, why: impl fmt::Display) -> Failed {
        Failed { what: what.to_owned(), why: why.to_string(), repeat: self.to_string() }
    }
}

/// As a line for a shell.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(cd {} &&", quoted(&self.dir.to_string_lossy()))?;
        let without: Vec<_> = self.without.iter().filter(|name| std::env::var_os(name).is_some()).collect();
        if !self.env.is_empty() || !without.is_empty() {
            f.write_str(" env")?;
            for name in without {
                write!(f, " -u {name}")?;
            }
            for (name, value) in &self.env {
                write!(f, " {name}={}", quoted(&value.to_string_lossy()))?;
            }
        }
        for part in std::iter::once(&self.program).chain(&self.arguments) {
            write!(f, " {}", quoted(&part.to_string_lossy()))?;
        }
        f.write_str(")")
    }
}

/// Says what begins, does it, says how it went and how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    println!("==> {what}");
    // Who waits should see the line before the wait; a closed pipe is found by the next real write.
    _ = std::io::stdout().flush();
    let start = Instant::now();
    let result = work();
    let how = if result.is_ok() { "ok" } else { "FAILED" };
    println!("    {what}: {how} after {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// Whether `DONJON_REQUIRE` wants `name` done rather than skipped.
pub(crate) fn required(name: &str) -> bool {
    listed(name, &std::env::var("DONJON_REQUIRE").unwrap_or_default())
}

fn listed(name: &str, list: &str) -> bool {
    list.split(',').any(|item| item == name)
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_repeat_survives_a_shell() {
        let call = Call::new("printf", Path::new("/"))
            .arguments(&["%s|", "it's", "", "a b", "$HOME"])
            .env("NAME", "x y")
            .without("PATH");
        let said = call.to_string();
        assert_eq!(said, r"(cd / && env -u PATH NAME='x y' printf '%s|' 'it'\''s' '' 'a b' '$HOME')");
        let said = Command::new("sh").args(["-c", &said.replace("env -u PATH", "env")]).output().unwrap().stdout;
        assert_eq!(said, b"it's||a b|$HOME|");
    }

    #[test]
    fn a_failure_names_step_reason_and_command() {
        let failed = Call::new("false", Path::new("/")).run("nothing").unwrap_err();
        assert_eq!((failed.what.as_str(), failed.repeat.as_str()), ("nothing", "(cd / && false)"));
        assert!(Call::new("true", Path::new("/")).run("everything").is_ok());
    }

    #[test]
    fn a_requirement_is_a_whole_item_of_the_list() {
        assert!(listed("deny", "evidence,deny,kvm"));
        assert!(!listed("deny", "evidence,denying"));
        assert!(!listed("deny", ""));
    }
}
