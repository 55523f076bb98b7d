//! What is in a module's memory, and in which form: texts, times, what is told of files.

use std::time::Duration;

use wasmtime_wasi::p1::types::{Errno, Error, Filestat, Filetype, Fstflags, Rights, Size};
use wiggle::{GuestMemory, GuestPtr};

use super::{BULK, Result};
use crate::clock;
use crate::files::{Fault, Kind, Stat};

pub(super) fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn text(memory: &GuestMemory<'_>, path: GuestPtr<str>) -> Result<String> {
    if path.len() > BULK {
        return Err(Errno::Nametoolong.into());
    }
    Ok(memory.as_cow_str(path)?.into_owned())
}

pub(super) fn bytes(memory: &mut GuestMemory<'_>, to: GuestPtr<u8>, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?;
    Ok(memory.copy_from_slice(bytes, to.as_array(length))?)
}

/// Texts, each with a NUL at its end, and where each begins.
pub(super) fn texts(
    memory: &mut GuestMemory<'_>,
    texts: &[String],
    at: GuestPtr<GuestPtr<u8>>,
    to: GuestPtr<u8>,
) -> Result<()> {
    let (mut at, mut to) = (at, to);
    for text in texts {
        memory.write(at, to)?;
        at = at.add(1)?;
        bytes(memory, to, text.as_bytes())?;
        to = to.add(u32::try_from(text.len()).map_err(|_| Errno::Overflow)?)?;
        memory.write(to, 0)?;
        to = to.add(1)?;
    }
    Ok(())
}

pub(super) fn sizes(texts: &[String]) -> Result<(Size, Size)> {
    let all = texts.iter().fold(0_usize, |sum, text| sum.saturating_add(text.len()).saturating_add(1));
    let size = |count: usize| Size::try_from(count).map_err(|_| Errno::Overflow);
    Ok((size(texts.len())?, size(all)?))
}

pub(super) const fn filetype(kind: Kind) -> Filetype {
    match kind {
        Kind::Directory => Filetype::Directory,
        Kind::File => Filetype::RegularFile,
        Kind::Link => Filetype::SymbolicLink,
    }
}

pub(super) fn filestat(stat: &Stat) -> Filestat {
    let Stat { number, kind, links, size, times } = *stat;
    Filestat {
        dev: 1,
        ino: number,
        filetype: filetype(kind),
        nlink: links,
        size,
        atim: nanos(times.accessed),
        mtim: nanos(times.modified),
        ctim: nanos(times.changed),
    }
}

/// The two times that a call sets.
pub(super) fn times(accessed: u64, modified: u64, flags: Fstflags) -> Result<[Option<Duration>; 2]> {
    let time = |given: u64, set: Fstflags, now: Fstflags| match (flags.contains(set), flags.contains(now)) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(Some(Duration::from_nanos(given))),
        (false, true) => Ok(Some(clock::now())),
        (false, false) => Ok(None),
    };
    Ok([time(accessed, Fstflags::ATIM, Fstflags::ATIM_NOW)?, time(modified, Fstflags::MTIM, Fstflags::MTIM_NOW)?])
}

impl From<Fault> for Errno {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BadDescriptor => Self::Badf,
            Fault::Busy => Self::Busy,
            Fault::Exist => Self::Exist,
            Fault::Invalid => Self::Inval,
            Fault::Io => Self::Io,
            Fault::IsDirectory => Self::Isdir,
            Fault::Loop => Self::Loop,
            Fault::NameTooLong => Self::Nametoolong,
            Fault::NoEntry => Self::Noent,
            Fault::NoSpace => Self::Nospc,
            Fault::NotDirectory => Self::Notdir,
            Fault::NotEmpty => Self::Notempty,
            Fault::NotPermitted => Self::Perm,
            Fault::OtherTree => Self::Xdev,
            Fault::ReadOnly => Self::Rofs,
            Fault::TooLarge => Self::Fbig,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Errno::from(fault).into()
    }
}

/// Of a directory that was given to the program: what C libraries look at before they try.
pub(super) fn rights_of_directory() -> [Rights; 2] {
    let own = Rights::PATH_CREATE_DIRECTORY
        | Rights::PATH_CREATE_FILE
        | Rights::PATH_LINK_SOURCE
        | Rights::PATH_LINK_TARGET
        | Rights::PATH_OPEN
        | Rights::FD_READDIR
        | Rights::PATH_READLINK
        | Rights::PATH_RENAME_SOURCE
        | Rights::PATH_RENAME_TARGET
        | Rights::PATH_SYMLINK
        | Rights::PATH_REMOVE_DIRECTORY
        | Rights::PATH_UNLINK_FILE
        | Rights::PATH_FILESTAT_GET
        | Rights::PATH_FILESTAT_SET_TIMES
        | Rights::FD_FILESTAT_GET
        | Rights::FD_FILESTAT_SET_TIMES;
    let files = Rights::FD_DATASYNC
        | Rights::FD_READ
        | Rights::FD_SEEK
        | Rights::FD_FDSTAT_SET_FLAGS
        | Rights::FD_SYNC
        | Rights::FD_TELL
        | Rights::FD_WRITE
        | Rights::FD_ADVISE
        | Rights::FD_ALLOCATE
        | Rights::FD_FILESTAT_SET_SIZE
        | Rights::POLL_FD_READWRITE;
    [own, own | files]
}
