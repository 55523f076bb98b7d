//! Tools of others for a test, from the registries of PyPI and npm: where they are kept, and commands that use nothing else
//! of this machine's settings.
//!
//! Everything they install, fetch and compile stays below `target/tmp/tools`: the second run needs no network. Refuses
//! settings of the test's own cargo, which would change what a project builds and where.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What takes minutes is done at night only; says so otherwise.
pub(crate) fn long(what: &str) -> bool {
    if std::env::var_os("DONJON_LONG").is_some() {
        return true;
    }
    crate::support::skip(
        "long",
        &format!("{what} takes minutes: DONJON_LONG=1 does it, as does `cargo xtask nightly`"),
    );
    false
}

/// A folder of that name that stays.
pub(crate) fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools").join(name);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// A command in a folder, as somebody types it into a shell.
pub(crate) fn shell(line: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", line]).current_dir(dir).stdin(std::process::Stdio::null());
    let ours = |name: &str| name.starts_with("DONJON_") || name.starts_with("CARGO") && name != "CARGO_HOME";
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    for name in ["RUSTFLAGS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GOFLAGS", "NODE_OPTIONS"] {
        command.env_remove(name);
    }
    for (name, folder) in
        [("PIP_CACHE_DIR", "pip"), ("npm_config_cache", "npm"), ("ZIG_GLOBAL_CACHE_DIR", "zig"), ("GOCACHE", "go")]
    {
        command.env(name, kept(folder));
    }
    command.env("npm_config_prefer_offline", "true").env("npm_config_audit", "false").env("npm_config_fund", "false");
    command.env("GOTOOLCHAIN", "local").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command
}

/// Runs it to its end.
pub(crate) fn done(mut command: Command) -> Output {
    command.output().expect("there is a shell")
}

/// What a command that failed said last.
pub(crate) fn last_words(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing said").trim().to_owned()
}
