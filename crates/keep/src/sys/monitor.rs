//! Starting this program once more as the monitor of a micro-VM, and what it finds there.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::{Child, Process, Told, inherit, parent, start};
use crate::launch::{StartError, Stdio};

/// On which the monitor says why a Keep did not end by itself.
const REPORT: RawFd = 4;
/// From which it reads what is to run in exec's place, if that is not exec.
const PROGRAM: RawFd = 5;
/// The most it may say.
const LONGEST: u64 = 4096;

/// Starts the monitor with `platform` as its descriptor 3, and perhaps another program in exec's place.
pub(crate) fn spawn(other: Option<&[u8]>, platform: UnixStream, stdio: Stdio) -> Result<Child, StartError> {
    let failed = |what| move |source: std::io::Error| StartError::System { what, source };
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    // As for exec: away from the numbers that they will get.
    let lift = |fd: &UnixStream| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 10);
    let lifted = lift(&platform).and_then(|high| Ok((high, lift(&theirs)?)));
    let (high_platform, high_theirs) = lifted.map_err(|error| failed("duplicate a descriptor")(error.into()))?;
    let program = other.map(super::memory_file).transpose().map_err(failed("put the program into memory"))?;
    let lifted = program.as_ref().map(|file| rustix::io::fcntl_dupfd_cloexec(file, 10)).transpose();
    let high_program = lifted.map_err(|error| failed("duplicate a descriptor")(error.into()))?;
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
        let mut places = vec![(high_platform.as_raw_fd(), gate::DESCRIPTOR), (high_theirs.as_raw_fd(), REPORT)];
        if let Some(program) = &high_program {
            command.arg(crate::machine::OTHER);
            places.push((program.as_raw_fd(), PROGRAM));
        }
        // SAFETY: `inherit` makes system calls and nothing else: no allocation, no lock, no panic. The descriptors live
        // in this closure, past the spawn.
        unsafe { command.pre_exec(move || inherit(&places)) };
        let spawned = start(command, stdio);
        drop((platform, theirs, program, high_platform, high_theirs, high_program));
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

/// What is to run in exec's place, where the monitor was told that there is something.
pub(crate) fn other() -> std::io::Result<Vec<u8>> {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    let mut file = unsafe { File::from_raw_fd(PROGRAM) };
    file.rewind()?;
    let mut program = Vec::new();
    file.read_to_end(&mut program)?;
    Ok(program)
}
