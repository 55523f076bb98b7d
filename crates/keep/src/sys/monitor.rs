//! Starting this program once more as the monitor of a micro-VM, and what it finds there.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::{Child, LIFTED, MemoryFile, Process, Refused, Told, inherit, parent, start};
use crate::launch::{StartError, Stdio};

/// On which the monitor says why a Keep did not end by itself.
const REPORT: RawFd = 5;
/// The machine's memory and the way to its firmware, where there is one.
const MEMORY: RawFd = 6;
const FIRMWARE: RawFd = 7;
/// The monitor's argument if there is one.
const WITH_FIRMWARE: &str = "firmware";
/// Before how many bytes of memory there are, in an argument.
const BYTES: &str = "memory=";
/// From which it reads what is to run in exec's place, if that is not exec.
const PROGRAM: RawFd = 8;
/// The monitor's argument if it is not.
const WITH_PROGRAM: &str = "program";
/// From which it reads another shim, and its argument if there is one.
const SHIM: RawFd = 9;
const WITH_SHIM: &str = "shim";
/// The memory with the plan of a hostile host, and the monitor's argument if it is to be one.
const BOARD: RawFd = 10;
const WITH_BOARD: &str = "hostile";
/// The most it may say.
const LONGEST: u64 = 4096;

/// The machine's memory, and the way to the firmware that sees it too.
pub(crate) struct Firmware {
    pub(crate) memory: OwnedFd,
    pub(crate) stream: UnixStream,
}

/// What a monitor is given, besides descriptors 3 and 4.
#[derive(Default)]
pub(crate) struct Given<'a> {
    pub(crate) memory: crate::Memory,
    pub(crate) firmware: Option<Firmware>,
    /// In exec's place.
    pub(crate) program: Option<&'a [u8]>,
    /// In the shim's place.
    pub(crate) shim: Option<&'a [u8]>,
    pub(crate) hostile: Option<Hostile>,
}

/// What makes a monitor a hostile one.
pub(crate) struct Hostile {
    /// Its plan, and what it did.
    pub(crate) board: OwnedFd,
    /// Standard output and error.
    pub(crate) output: OwnedFd,
}

/// Starts the monitor with `platform` as its descriptor 3, and `end` as its descriptor 4.
pub(crate) fn spawn(
    given: Given<'_>,
    platform: UnixStream,
    end: UnixStream,
    stdio: Stdio,
) -> Result<Child, StartError> {
    let failed = |what| move |source: std::io::Error| StartError::System { what, source };
    let Given { memory, firmware, program, shim, hostile } = given;
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    let program = program.map(MemoryFile::sealed).transpose().map_err(failed("put the program into memory"))?;
    let shim = shim.map(MemoryFile::sealed).transpose().map_err(failed("put the shim into memory"))?;
    // As for exec: away from the numbers that they will get.
    let mut given =
        vec![(platform.as_fd(), gate::DESCRIPTOR), (end.as_fd(), gate::end::DESCRIPTOR), (theirs.as_fd(), REPORT)];
    if let Some(firmware) = &firmware {
        given.extend([(firmware.memory.as_fd(), MEMORY), (firmware.stream.as_fd(), FIRMWARE)]);
    }
    if let Some(program) = &program {
        given.push((program.as_fd(), PROGRAM));
    }
    if let Some(shim) = &shim {
        given.push((shim.as_fd(), SHIM));
    }
    if let Some(hostile) = &hostile {
        given.push((hostile.board.as_fd(), BOARD));
    }
    let lifted = given
        .into_iter()
        .map(|(fd, place)| Ok((rustix::io::fcntl_dupfd_cloexec(fd, LIFTED)?, place)))
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
        let with =
            [(firmware.is_some(), WITH_FIRMWARE), (program.is_some(), WITH_PROGRAM), (shim.is_some(), WITH_SHIM)];
        command.arg(format!("{BYTES}{}", memory.get()));
        command.args(with.into_iter().filter_map(|(is, argument)| is.then_some(argument)));
        let mut streams = [stdio; 3].map(std::process::Stdio::from);
        if let Some(hostile) = hostile {
            command.arg(WITH_BOARD);
            streams[1] = hostile.output.try_clone()?.into();
            streams[2] = hostile.output.into();
        }
        let places: Vec<_> = lifted.iter().map(|(fd, place)| (fd.as_raw_fd(), *place)).collect();
        // SAFETY: `inherit` makes system calls and nothing else: no allocation, no lock, no panic. The descriptors live
        // in this closure, past the spawn.
        unsafe { command.pre_exec(move || inherit(&places)) };
        let spawned = start(command, streams);
        drop((platform, end, theirs, firmware, program, shim, lifted));
        spawned
    };
    parent(run, process, told)
}

/// The monitor's way to the host process.
pub(crate) fn platform() -> OwnedFd {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    unsafe { OwnedFd::from_raw_fd(gate::DESCRIPTOR) }
}

/// Where the host process says that the Keep is to end.
pub(crate) fn end() -> OwnedFd {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    unsafe { OwnedFd::from_raw_fd(gate::end::DESCRIPTOR) }
}

/// The variable by which whoever starts Keeps asks for a thread that serves the ring.
pub(crate) const SERVED: &str = "DONJON_RING";

/// What the monitor says before the number of a signal, or of a call that no Keep answers.
pub(crate) const SIGNAL: &str = "signal ";
pub(crate) const CALL: &str = "call ";

/// What the monitor says before what it failed to do itself.
pub(crate) const FAILED: &str = "monitor ";

/// What it says when all memory of its machine is used up.
pub(crate) const FULL: &str = "full";

/// What it said.
fn told(text: &str) -> Option<Told> {
    let number = |before: &str| text.strip_prefix(before)?.split(' ').next()?.parse().ok();
    if text.is_empty() {
        return None;
    }
    if text == FULL {
        return Some(Told::Full);
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

/// How much memory the machine has.
pub(crate) fn size() -> u64 {
    let said = std::env::args().find_map(|argument| argument.strip_prefix(BYTES)?.parse().ok());
    said.unwrap_or_else(|| crate::Memory::default().get())
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

/// What is to run in the shim's place, and in exec's, if that is not they.
pub(crate) fn others() -> std::io::Result<[Option<Vec<u8>>; 2]> {
    let read = |argument, number| {
        if !started_with(argument) {
            return Ok(None);
        }
        // SAFETY: the contract of `spawn`; the monitor asks once.
        let mut file = unsafe { File::from_raw_fd(number) };
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| Some(bytes))
    };
    Ok([read(WITH_SHIM, SHIM)?, read(WITH_PROGRAM, PROGRAM)?])
}

/// The plan, if it is to be a hostile host.
pub(crate) fn board() -> Option<OwnedFd> {
    // SAFETY: the contract of `spawn`; the monitor asks once.
    started_with(WITH_BOARD).then(|| unsafe { OwnedFd::from_raw_fd(BOARD) })
}

fn started_with(what: &str) -> bool {
    std::env::args_os().skip(1).any(|argument| argument == what)
}
