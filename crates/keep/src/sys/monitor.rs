//! Starting this program once more as the monitor of a micro-VM, and what it finds there.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::{Child, MemoryFile, Process, Refused, Told, inherit, parent, start};
use crate::launch::{StartError, Stdio};

/// On which the monitor says why a Keep did not end by itself.
const REPORT: RawFd = 4;
/// The machine's memory and the way to its firmware, where there is one.
const MEMORY: RawFd = 5;
const FIRMWARE: RawFd = 6;
/// The monitor's argument if there is one.
const WITH_FIRMWARE: &str = "firmware";
/// From which it reads what is to run in exec's place, if that is not exec.
const PROGRAM: RawFd = 7;
/// The monitor's argument if it is not.
const WITH_PROGRAM: &str = "program";
/// The most it may say.
const LONGEST: u64 = 4096;

/// The machine's memory, and the way to the firmware that sees it too.
pub(crate) struct Firmware {
    pub(crate) memory: OwnedFd,
    pub(crate) stream: UnixStream,
}

/// Starts the monitor with `platform` as its descriptor 3, and perhaps another program in exec's place.
pub(crate) fn spawn(
    other: Option<&[u8]>,
    platform: UnixStream,
    firmware: Option<Firmware>,
    stdio: Stdio,
) -> Result<Child, StartError> {
    let failed = |what| move |source: std::io::Error| StartError::System { what, source };
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    let program = other.map(MemoryFile::sealed).transpose().map_err(failed("put the program into memory"))?;
    // As for exec: away from the numbers that they will get.
    let mut given = vec![(platform.as_fd(), gate::DESCRIPTOR), (theirs.as_fd(), REPORT)];
    if let Some(firmware) = &firmware {
        given.extend([(firmware.memory.as_fd(), MEMORY), (firmware.stream.as_fd(), FIRMWARE)]);
    }
    if let Some(program) = &program {
        given.push((program.as_fd(), PROGRAM));
    }
    let lifted = given
        .into_iter()
        .map(|(fd, place)| Ok((rustix::io::fcntl_dupfd_cloexec(fd, 10)?, place)))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed("duplicate a descriptor"))?;
    let process = Arc::new(Process::default());
    let told = std::thread::Builder::new()
        .name("keep-monitor".to_owned())
        .spawn(move || {
            let mut text = String::new();
            _ = ours.take(LONGEST).read_to_string(&mut text);
            told(text.trim_end())
        })
        .map_err(failed("start a thread"))?;
    let run = move || {
        let mut command = Command::new("/proc/self/exe");
        command.env_clear().arg0(crate::machine::NAME);
        command.envs(std::env::var_os(SERVED).map(|how| (SERVED, how)));
        if firmware.is_some() {
            command.arg(WITH_FIRMWARE);
        }
        if program.is_some() {
            command.arg(WITH_PROGRAM);
        }
        let places: Vec<_> = lifted.iter().map(|(fd, place)| (fd.as_raw_fd(), *place)).collect();
        // SAFETY: `inherit` makes system calls and nothing else: no allocation, no lock, no panic. The descriptors live
        // in this closure, past the spawn.
        unsafe { command.pre_exec(move || inherit(&places)) };
        let spawned = start(command, [stdio; 3]);
        drop((platform, theirs, firmware, program, lifted));
        spawned
    };
    parent(run, process, told)
}

/// The monitor's way to the host process.
pub(crate) fn platform() -> OwnedFd {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    unsafe { OwnedFd::from_raw_fd(gate::DESCRIPTOR) }
}

/// The variable by which whoever starts Keeps asks for a thread that serves the ring.
pub(crate) const SERVED: &str = "DONJON_RING";

/// What the monitor says before the number of a signal, or of a call that no Keep answers.
pub(crate) const SIGNAL: &str = "signal ";
pub(crate) const CALL: &str = "call ";

/// What the monitor says before what it failed to do itself.
pub(crate) const FAILED: &str = "monitor ";

/// What it said.
fn told(text: &str) -> Option<Told> {
    let number = |before: &str| text.strip_prefix(before)?.split(' ').next()?.parse().ok();
    if text.is_empty() {
        return None;
    }
    if let Some(why) = text.strip_prefix(FAILED) {
        return Some(Told::Machine(why.to_owned()));
    }
    Some(match (number(SIGNAL), number(CALL)) {
        (Some(number), _) => Told::Signal(u8::try_from(number).unwrap_or(u8::MAX), text.to_owned()),
        (_, Some(number)) => Told::Call(Refused { name: super::name(number), arguments: "..".to_owned() }),
        _ => Told::Broken(text.to_owned()),
    })
}

/// What the monitor has besides, if it was started with a firmware.
pub(crate) fn firmware() -> Option<Firmware> {
    started_with(WITH_FIRMWARE).then_some(())?;
    // SAFETY: the contract of `spawn`; the monitor asks once.
    let (memory, stream) = unsafe { (OwnedFd::from_raw_fd(MEMORY), OwnedFd::from_raw_fd(FIRMWARE)) };
    Some(Firmware { memory, stream: stream.into() })
}

/// Where the monitor says how it ended.
pub(crate) fn report() -> File {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    unsafe { File::from_raw_fd(REPORT) }
}

/// What is to run in exec's place, if that is not exec.
pub(crate) fn other() -> std::io::Result<Option<Vec<u8>>> {
    if !started_with(WITH_PROGRAM) {
        return Ok(None);
    }
    // SAFETY: the contract of `spawn`; the monitor asks once.
    let mut file = unsafe { File::from_raw_fd(PROGRAM) };
    file.rewind()?;
    let mut program = Vec::new();
    file.read_to_end(&mut program)?;
    Ok(Some(program))
}

fn started_with(what: &str) -> bool {
    std::env::args_os().skip(1).any(|argument| argument == what)
}
