//! Starting this program once more as the monitor of a micro-VM, and what it finds there.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::{Child, Process, Told, inherit, parent, start};
use crate::launch::{StartError, Stdio};

/// On which the monitor says why a Keep did not end by itself.
const REPORT: RawFd = 4;
/// The most it may say.
const LONGEST: u64 = 4096;

/// Starts the monitor with `platform` as its descriptor 3.
pub(crate) fn spawn(platform: UnixStream, stdio: Stdio) -> Result<Child, StartError> {
    let failed = |what| move |source: std::io::Error| StartError::System { what, source };
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    // As for exec: away from the numbers that they will get.
    let lift = |fd: &UnixStream| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 10);
    let lifted = lift(&platform).and_then(|high| Ok((high, lift(&theirs)?)));
    let (high_platform, high_theirs) = lifted.map_err(|error| failed("duplicate a descriptor")(error.into()))?;
    let process = Arc::new(Process::default());
    let told = std::thread::Builder::new()
        .name("keep-monitor".to_owned())
        .spawn(move || {
            let mut text = String::new();
            _ = ours.take(LONGEST).read_to_string(&mut text);
            (!text.is_empty()).then(|| Told::Broken(text.trim_end().to_owned()))
        })
        .map_err(failed("start a thread"))?;
    let run = move || {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(crate::machine::NAME);
        let places = [(high_platform.as_raw_fd(), gate::DESCRIPTOR), (high_theirs.as_raw_fd(), REPORT)];
        // SAFETY: `inherit` makes system calls and nothing else: no allocation, no lock, no panic. The descriptors live
        // in this closure, past the spawn.
        unsafe { command.pre_exec(move || inherit(&places)) };
        let spawned = start(command, stdio);
        drop((platform, theirs, high_platform, high_theirs));
        spawned
    };
    parent(run, process, told)
}

/// The monitor's way to the host process.
pub(crate) fn platform() -> OwnedFd {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    unsafe { OwnedFd::from_raw_fd(gate::DESCRIPTOR) }
}

/// Where the monitor says how it ended.
pub(crate) fn report() -> File {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    unsafe { File::from_raw_fd(REPORT) }
}
