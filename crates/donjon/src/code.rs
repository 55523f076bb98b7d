//! The native code of WebAssembly programs, as people have to do with it: where it is kept on this host, and that they wait
//! while it is made.
//!
//! Owns the place of the cache (`$XDG_CACHE_HOME/donjon`, else `~/.cache/donjon`) and the way to do without. Refuses
//! nothing: where there is no such place there is no cache. What is in it, only a Keep can read.
//!
//! Invariant: what is shown to those who wait is gone before the program says its first word.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use gate::message::Compile;
use indicatif::{ProgressBar, ProgressStyle};
use keep::Cache;

/// Whether native code is kept.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Caching {
    /// Compile the program anew, and do not keep its native code, sealed, for the next start.
    #[arg(long, env = "DONJON_NO_CACHE", value_parser = FalseyValueParser::new())]
    no_cache: bool,
}

impl Caching {
    pub(crate) fn open(self) -> Option<Cache> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        home.filter(|_| !self.no_cache).map(|home| Cache::new(home.join("donjon")))
    }
}

/// When whoever waits is told what for.
const SOON: Duration = Duration::from_secs(1);
/// How often what is shown moves.
const MOVES: Duration = Duration::from_millis(100);

/// Tells people that a program is being compiled, if it takes a while.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

impl Waiting {
    pub(crate) fn told(&mut self, stage: Compile) {
        self.end();
        if stage == Compile::Begun {
            let (done, wait) = channel();
            self.0 = Some((done, std::thread::spawn(move || show(&wait, SOON, said))));
        }
    }

    fn end(&mut self) {
        if let Some((done, shown)) = self.0.take() {
            drop(done);
            // What it could not show, nobody misses.
            _ = shown.join();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

/// A line for those who read it later.
#[allow(clippy::print_stderr, reason = "what takes so long is talk")]
fn said() {
    eprintln!("donjon: compiling the program");
}

/// Shows it after this time, until the other end of `wait` is dropped.
fn show(wait: &Receiver<()>, after: Duration, say: impl FnOnce()) {
    let waits = |time| wait.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !waits(after) {
        return;
    }
    if !std::io::stderr().is_terminal() {
        return say();
    }
    let style = ProgressStyle::with_template("{spinner} donjon: compiling the program, {elapsed}");
    let spinner = ProgressBar::new_spinner().with_elapsed(after);
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    while waits(MOVES) {
        spinner.tick();
    }
    spinner.finish_and_clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_waits_is_told() {
        let told = |done: Option<Sender<()>>, wait: &Receiver<()>, after| {
            let mut said = false;
            drop(done);
            show(wait, after, || said = true);
            said
        };
        if std::io::stderr().is_terminal() {
            // There it is a spinner, which a test cannot see.
            return;
        }
        let (done, wait) = channel();
        assert!(!told(Some(done), &wait, Duration::from_secs(3600)), "it was done before");
        let (done, wait) = channel();
        assert!(told(None, &wait, Duration::ZERO), "it is not done yet");
        drop(done);
    }
}
