//! What a request to an HTTPS service costs on a connection that is kept: its time, and how often the Keep turns to its host
//! for it. The service is the demo's, its client is `curl`, who counts is `strace`.
//!
//! A Keep turns to its host by an exit where it is a machine. Where it is a process, those system calls of exec are counted
//! that no shim could answer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Bench, Result, interrupt};

/// Calls of a Keep that is a process, and of the monitor of a machine.
pub(crate) const PROCESS: &str =
    "accept4,close,epoll_ctl,epoll_pwait,epoll_wait,futex,read,readv,recvfrom,sendto,write,writev";
pub(crate) const MACHINE: &str = "ioctl";

/// Requests of which the mean is taken.
const REQUESTS: usize = 200;

/// A demo that serves.
pub(crate) struct Service {
    demo: Child,
    /// What the demo says that an outsider asks with.
    options: Vec<String>,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        interrupt(&self.demo);
        // It was asked to end; that it did is what counts.
        _ = self.demo.wait();
    }
}

impl Service {
    /// `served`: a thread of the host looks for calls.
    pub(crate) fn start(bench: &Bench, backend: &str, served: bool) -> Result<Self> {
        let mut demo = Command::new(&bench.donjon);
        demo.args(["demo", "--backend", backend]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        if served {
            demo.env("DONJON_RING", "served");
        }
        let mut demo = demo.spawn()?;
        let lines = BufReader::new(demo.stdout.take().ok_or("no output")?).lines();
        let mut service = Self { demo, options: Vec::new(), url: String::new() };
        for line in lines {
            let line = line?;
            if let Some(asks) = line.trim_start().strip_prefix("$ curl ") {
                service.options = asks.split(' ').map(str::to_owned).collect();
                service.url = service.options.pop().unwrap_or_default();
            }
            if line.starts_with("Serving") {
                return Ok(service);
            }
        }
        Err("the demo ended".into())
    }

    /// So many requests on one connection, by this version of HTTP.
    fn ask(&self, version: &str, requests: usize) -> Result<()> {
        let url = format!("{}?[1-{requests}]", self.url);
        let quiet = [version, "--silent", "--fail", "--output", "/dev/null"];
        if Command::new("curl").args(quiet).args(&self.options).arg(url).status()?.success() {
            Ok(())
        } else {
            Err("curl failed".into())
        }
    }

    /// A request's time.
    pub(crate) fn time(&self, version: &str) -> Result<Duration> {
        let took = |requests| {
            let start = Instant::now();
            self.ask(version, requests).map(|()| start.elapsed())
        };
        // Without what curl and the handshake take.
        let (one, all) = (took(1)?, took(1 + REQUESTS)?);
        Ok(all.saturating_sub(one) / u32::try_from(REQUESTS)?)
    }

    /// How often the Keep makes one of these calls for a request, or why nobody counts.
    pub(crate) fn turns(&self, version: &str, calls: &str) -> Result<f64> {
        let keep = youngest(self.demo.id());
        let counted = |requests| -> Result<usize> {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-e", calls, "-p", &keep.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut strace = strace.spawn()?;
            let mut lines = BufReader::new(strace.stderr.take().ok_or("no output")?).lines();
            // It says so once it has them all.
            let first = lines.next().ok_or("strace ended")??;
            if !first.contains("attached") {
                return Err(first.into());
            }
            let counts = std::thread::spawn(move || {
                // A call that others interrupt is on two lines.
                let is_call = |line: &String| line.contains('(') && !line.contains("resumed>");
                lines.map_while(std::io::Result::ok).filter(is_call).count()
            });
            self.ask(version, requests)?;
            interrupt(&strace);
            strace.wait()?;
            Ok(counts.join().map_err(|_| "strace's lines were not read")?)
        };
        let (one, all) = (counted(1)?, counted(1 + REQUESTS)?);
        Ok(all.saturating_sub(one) as f64 / REQUESTS as f64)
    }
}

/// The youngest descendant: the process that is the Keep.
fn youngest(process: u32) -> u32 {
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children: String = tasks.filter_map(children).collect();
    let last = children.split_whitespace().filter_map(|child| child.parse().ok()).max();
    last.map_or(process, youngest)
}
