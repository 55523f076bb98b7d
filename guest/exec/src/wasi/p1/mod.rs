//! WASI 0.1: what modules import as `wasi_snapshot_preview1`, over the Keep's own files.
//!
//! Owns the table of descriptors. Refuses what the tree of a file refuses, and lets nothing reach the host but the standard
//! streams that the manifest gives away.
//!
//! Source: WebAssembly/WASI, branch `wasi-0.1`, `preview1/docs.md`; where it is silent, POSIX.

mod doors;
mod forms;
mod keep;
mod poll;
mod sockets;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::IsTerminal;
use wasmtime_wasi::p1::types::{
    Advice, CiovecArray, Clockid, Dircookie, Errno, Error, Event, Exitcode, Fd, Fdflags, Fdstat, Filedelta, Filesize,
    Filestat, Filetype, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, PrestatDir, Riflags, Rights, Roflags,
    Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self, WasiSnapshotPreview1};
use wiggle::{GuestMemory, GuestPtr};
use workload::manifest::{Stdio, Streams};

use crate::clock;
use crate::files::{At, How, Kind, Node, Stat};
use crate::limits::{Budget, Limited};
use crate::network::{Listener, Reader, Stream, Writer};
use crate::own::Own;
use crate::stdin::Stdin;

pub(crate) use doors::Doors;
use forms::{bytes, filestat, filetype, nanos, rights_of_directory, sizes, text, texts, times};

type Result<T> = std::result::Result<T, Error>;

/// What a module has of the world.
pub(crate) struct P1 {
    arguments: Vec<String>,
    environment: Vec<String>,
    descriptors: BTreeMap<u32, Descriptor>,
    began: Instant,
    budget: Budget,
    own: Arc<Own>,
    doors: Option<Doors>,
}

enum Descriptor {
    Input(Option<Stdin>),
    Output { error: bool, to: Stdio },
    Directory { node: Node, preopened: Option<String>, listing: Vec<(String, Stat)> },
    File(File),
    Listener { name: String, listener: Listener, flags: Fdflags },
    Connection { reader: Reader, writer: Writer, flags: Fdflags },
}

struct File {
    node: Node,
    position: u64,
    read: bool,
    write: bool,
    flags: Fdflags,
}

/// Descriptors of one module.
const DESCRIPTORS: usize = 4096;

/// Of a connection.
const CONNECTION: Rights = Rights::FD_READ
    .union(Rights::FD_WRITE)
    .union(Rights::FD_FDSTAT_SET_FLAGS)
    .union(Rights::POLL_FD_READWRITE)
    .union(Rights::SOCK_SHUTDOWN);

/// The most bytes that one call copies out of a module's memory.
const BULK: u32 = 1 << 20;

/// All that a module may import.
pub(crate) fn add(linker: &mut wasmtime::Linker<P1>) -> wasmtime::Result<()> {
    wasi_snapshot_preview1::add_to_linker(linker, |p1| p1)?;
    sockets::add(linker)?;
    keep::add(linker)
}

impl P1 {
    /// `environment`: NAME=value. `preopened`: by the paths that programs know them by.
    pub(crate) fn new(
        arguments: Vec<String>,
        environment: Vec<String>,
        streams: Streams,
        preopened: &[(String, Node)],
        (listeners, connections): (Vec<(String, Listener)>, &[Stream]),
        budget: Budget,
        (own, doors): (Arc<Own>, Option<Doors>),
    ) -> Self {
        let Streams { stdin, stdout, stderr } = streams;
        let input = Descriptor::Input((stdin == Stdio::Host).then(Stdin::new));
        let output = |error, to| Descriptor::Output { error, to };
        let directories = preopened.iter().map(|(path, node)| Descriptor::Directory {
            node: node.clone(),
            preopened: Some(path.clone()),
            listing: Vec::new(),
        });
        let flags = Fdflags::empty();
        let listeners = listeners.into_iter().map(|(name, listener)| Descriptor::Listener { name, listener, flags });
        let connections = connections.iter().map(|stream| Descriptor::connection(stream, flags));
        let all = [input, output(false, stdout), output(true, stderr)].into_iter();
        let all = all.chain(directories).chain(listeners).chain(connections);
        let descriptors = (0..).zip(all).collect();
        Self { arguments, environment, descriptors, began: Instant::now(), budget, own, doors }
    }

    fn get(&mut self, fd: Fd) -> Result<&mut Descriptor> {
        self.descriptors.get_mut(&fd.into()).ok_or_else(|| Errno::Badf.into())
    }

    /// What a path begins at.
    fn directory(&mut self, fd: Fd) -> Result<Node> {
        match self.get(fd)? {
            Descriptor::Directory { node, .. } => Ok(node.clone()),
            Descriptor::File(_) => Err(Errno::Notdir.into()),
            _ => Err(Errno::Badf.into()),
        }
    }

    fn file(&mut self, fd: Fd) -> Result<&mut File> {
        match self.get(fd)? {
            Descriptor::File(file) => Ok(file),
            _ => Err(Errno::Badf.into()),
        }
    }

    /// A file, or another thing that cannot be sought in.
    fn sought(&mut self, fd: Fd) -> Result<&mut File> {
        match self.get(fd)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Directory { .. } => Err(Errno::Badf.into()),
            _ => Err(Errno::Spipe.into()),
        }
    }

    fn node(&mut self, fd: Fd) -> Result<Node> {
        match self.get(fd)? {
            Descriptor::File(File { node, .. }) | Descriptor::Directory { node, .. } => Ok(node.clone()),
            _ => Err(Errno::Badf.into()),
        }
    }

    /// Whether there may be one more.
    fn room(&self) -> Result<()> {
        let most = self.budget.descriptors().map_or(DESCRIPTORS, |limit| limit.min(DESCRIPTORS));
        if self.descriptors.len() < most { Ok(()) } else { Err(Errno::Mfile.into()) }
    }

    fn push(&mut self, descriptor: Descriptor) -> Result<Fd> {
        self.room()?;
        let free = (0..).find(|fd| !self.descriptors.contains_key(fd)).ok_or(Errno::Mfile)?;
        self.descriptors.insert(free, descriptor);
        Ok(free.into())
    }

    fn monotonic(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    fn write_file(file: &mut File, at: Option<u64>, bytes: &[u8]) -> Result<()> {
        if !file.write {
            return Err(Errno::Badf.into());
        }
        let to = match at {
            // As Linux does it, with `pwrite` too.
            _ if file.flags.contains(Fdflags::APPEND) => At::End,
            Some(offset) => At::Offset(offset),
            None => At::Offset(file.position),
        };
        let end = file.node.write(to, bytes)?;
        if at.is_none() {
            file.position = end;
        }
        Ok(())
    }

    fn write_all(&mut self, memory: &GuestMemory<'_>, fd: Fd, vectors: CiovecArray, at: Option<u64>) -> Result<Size> {
        let mut written = 0_u32;
        for vector in vectors.iter() {
            let vector = memory.read(vector?)?;
            let left = BULK.saturating_sub(written).min(vector.buf_len);
            if left == 0 {
                continue;
            }
            let bytes = memory.as_cow(vector.buf.as_array(left))?;
            let at = at.map(|at| at.checked_add(written.into()).ok_or(Errno::Overflow)).transpose()?;
            let done = match self.get(fd)? {
                Descriptor::File(file) => Self::write_file(file, at, &bytes),
                Descriptor::Output { .. } if at.is_some() => return Err(Errno::Spipe.into()),
                Descriptor::Output { to: Stdio::Null, .. } => Ok(()),
                Descriptor::Output { error: true, to: Stdio::Host } => {
                    std::io::stderr().write_all(&bytes).map_err(|error| stream(&error))
                }
                Descriptor::Output { error: false, to: Stdio::Host } => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| stream(&error))
                }
                _ => return Err(Errno::Badf.into()),
            };
            match done {
                Ok(()) => written = written.saturating_add(left),
                // What was written is told first.
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
            if left < vector.buf_len {
                break;
            }
        }
        // Of nothing at all, whether it could have been.
        match self.get(fd)? {
            Descriptor::File(File { write: true, .. }) | Descriptor::Output { .. } => Ok(written),
            _ => Err(Errno::Badf.into()),
        }
    }

    fn read_file(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        vectors: IovecArray,
        at: Option<u64>,
    ) -> Result<Size> {
        let file = self.sought(fd)?;
        if !file.read {
            return Err(Errno::Badf.into());
        }
        let mut offset = at.unwrap_or(file.position);
        let mut read = 0_u32;
        for vector in vectors.iter() {
            let vector = memory.read(vector?)?;
            let into = vector.buf.as_array(vector.buf_len);
            let Some(into) = memory.as_slice_mut(into)? else { return Err(Errno::Notsup.into()) };
            let count = file.node.read(offset, into)?;
            offset = offset.checked_add(count as u64).ok_or(Errno::Overflow)?;
            read = read.saturating_add(u32::try_from(count).map_err(|_| Errno::Overflow)?);
            if count < into.len() {
                break;
            }
        }
        if at.is_none() {
            file.position = offset;
        }
        Ok(read)
    }
}

/// What an error of a standard stream is to a program.
fn stream(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Errno::Pipe.into(),
        _ => Errno::Io.into(),
    }
}

impl Limited for P1 {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}

impl WasiSnapshotPreview1 for P1 {
    fn args_get(&mut self, memory: &mut GuestMemory<'_>, at: GuestPtr<GuestPtr<u8>>, to: GuestPtr<u8>) -> Result<()> {
        texts(memory, &self.arguments, at, to)
    }

    fn args_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        sizes(&self.arguments)
    }

    fn environ_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        at: GuestPtr<GuestPtr<u8>>,
        to: GuestPtr<u8>,
    ) -> Result<()> {
        texts(memory, &self.environment, at, to)
    }

    fn environ_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        sizes(&self.environment)
    }

    fn clock_res_get(&mut self, _: &mut GuestMemory<'_>, clock: Clockid) -> Result<Timestamp> {
        match clock {
            Clockid::Realtime | Clockid::Monotonic => Ok(1),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => Err(Errno::Badf.into()),
        }
    }

    fn clock_time_get(&mut self, _: &mut GuestMemory<'_>, clock: Clockid, _: Timestamp) -> Result<Timestamp> {
        match clock {
            Clockid::Realtime => Ok(nanos(clock::now())),
            Clockid::Monotonic => Ok(self.monotonic()),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => Err(Errno::Badf.into()),
        }
    }

    async fn fd_advise(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filesize,
        length: Filesize,
        _: Advice,
    ) -> Result<()> {
        self.file(fd)?;
        // Everything is in memory already.
        offset.checked_add(length).map(|_| ()).ok_or_else(|| Errno::Inval.into())
    }

    fn fd_allocate(&mut self, _: &mut GuestMemory<'_>, fd: Fd, offset: Filesize, length: Filesize) -> Result<()> {
        let file = self.file(fd)?;
        if !file.write {
            return Err(Errno::Badf.into());
        }
        let end = offset.checked_add(length).filter(|_| length > 0).ok_or(Errno::Inval)?;
        if end > file.node.stat().size {
            file.node.resize(end)?;
        }
        Ok(())
    }

    async fn fd_close(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.descriptors.remove(&fd.into()).map(|_| ()).ok_or_else(|| Errno::Badf.into())
    }

    async fn fd_datasync(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.file(fd).map(|_| ())
    }

    async fn fd_fdstat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Fdstat> {
        let stat = |filetype, flags, own: Rights, inherited: Rights| Fdstat {
            fs_filetype: filetype,
            fs_flags: flags,
            fs_rights_base: own,
            fs_rights_inheriting: inherited,
        };
        let terminal = |is: bool| if is { Filetype::CharacterDevice } else { Filetype::Unknown };
        Ok(match self.get(fd)? {
            Descriptor::Input(input) => {
                let is = input.as_ref().is_some_and(IsTerminal::is_terminal);
                stat(terminal(is), Fdflags::empty(), Rights::FD_READ, Rights::FD_READ)
            }
            Descriptor::Output { error, to } => {
                let is = *to == Stdio::Host
                    && if *error {
                        std::io::IsTerminal::is_terminal(&std::io::stderr())
                    } else {
                        std::io::IsTerminal::is_terminal(&std::io::stdout())
                    };
                stat(terminal(is), Fdflags::empty(), Rights::FD_WRITE, Rights::FD_WRITE)
            }
            Descriptor::Directory { preopened: Some(_), .. } => {
                let [own, inherited] = rights_of_directory();
                stat(Filetype::Directory, Fdflags::empty(), own, inherited)
            }
            Descriptor::Directory { .. } => {
                let rights = Rights::all()
                    & !(Rights::FD_SEEK
                        | Rights::FD_FILESTAT_SET_SIZE
                        | Rights::PATH_FILESTAT_SET_SIZE
                        | Rights::FD_WRITE);
                stat(Filetype::Directory, Fdflags::empty(), rights, rights)
            }
            Descriptor::File(file) => {
                let mut rights = Rights::all();
                if !file.read {
                    rights &= !(Rights::FD_READ | Rights::FD_READDIR);
                }
                if !file.write {
                    rights &= !Rights::FD_WRITE;
                }
                stat(Filetype::RegularFile, file.flags, rights, rights)
            }
            Descriptor::Listener { flags, .. } => {
                let rights =
                    Rights::FD_READ | Rights::FD_FDSTAT_SET_FLAGS | Rights::POLL_FD_READWRITE | Rights::SOCK_ACCEPT;
                stat(Filetype::SocketStream, *flags, rights, CONNECTION)
            }
            Descriptor::Connection { flags, .. } => stat(Filetype::SocketStream, *flags, CONNECTION, CONNECTION),
        })
    }

    fn fd_fdstat_set_flags(&mut self, _: &mut GuestMemory<'_>, fd: Fd, flags: Fdflags) -> Result<()> {
        let own = match self.get(fd)? {
            Descriptor::File(file) => &mut file.flags,
            Descriptor::Listener { flags, .. } | Descriptor::Connection { flags, .. } => flags,
            _ => return Err(Errno::Badf.into()),
        };
        if flags.intersects(Fdflags::DSYNC | Fdflags::SYNC | Fdflags::RSYNC) {
            return Err(Errno::Inval.into());
        }
        *own = flags;
        Ok(())
    }

    fn fd_fdstat_set_rights(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: Rights, _: Rights) -> Result<()> {
        self.node(fd)?;
        // Rights went out of WASI; nobody may believe that some were given up.
        Err(Errno::Notsup.into())
    }

    async fn fd_filestat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Filestat> {
        match self.get(fd)? {
            Descriptor::File(File { node, .. }) | Descriptor::Directory { node, .. } => Ok(filestat(&node.stat())),
            other => {
                let socket = matches!(other, Descriptor::Listener { .. } | Descriptor::Connection { .. });
                let zero = Filestat {
                    dev: 0,
                    ino: 0,
                    filetype: if socket { Filetype::SocketStream } else { Filetype::Unknown },
                    nlink: 0,
                    size: 0,
                    atim: 0,
                    mtim: 0,
                    ctim: 0,
                };
                Ok(zero)
            }
        }
    }

    async fn fd_filestat_set_size(&mut self, _: &mut GuestMemory<'_>, fd: Fd, size: Filesize) -> Result<()> {
        let file = self.file(fd)?;
        if !file.write {
            return Err(Errno::Inval.into());
        }
        Ok(file.node.resize(size)?)
    }

    async fn fd_filestat_set_times(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        accessed: Timestamp,
        modified: Timestamp,
        flags: Fstflags,
    ) -> Result<()> {
        let [accessed, modified] = times(accessed, modified, flags)?;
        Ok(self.node(fd)?.touch(accessed, modified)?)
    }

    async fn fd_read(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, vectors: IovecArray) -> Result<Size> {
        let input = match self.get(fd)? {
            Descriptor::Input(input) => input,
            Descriptor::Connection { .. } => return self.receive(memory, fd, vectors, Riflags::empty()).await,
            _ => return self.read_file(memory, fd, vectors, None),
        };
        let Some(input) = input else { return Ok(0) };
        for vector in vectors.iter() {
            let vector = memory.read(vector?)?;
            if vector.buf_len == 0 {
                continue;
            }
            let into = vector.buf.as_array(vector.buf_len);
            let Some(into) = memory.as_slice_mut(into)? else { return Err(Errno::Notsup.into()) };
            let count = input.read(into).await.map_err(|error| stream(&error))?;
            return u32::try_from(count).map_err(|_| Errno::Overflow.into());
        }
        Ok(0)
    }

    async fn fd_pread(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        vectors: IovecArray,
        offset: Filesize,
    ) -> Result<Size> {
        self.read_file(memory, fd, vectors, Some(offset))
    }

    async fn fd_write(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, vectors: CiovecArray) -> Result<Size> {
        match self.get(fd)? {
            Descriptor::Connection { .. } => self.send(memory, fd, vectors).await,
            _ => self.write_all(memory, fd, vectors, None),
        }
    }

    async fn fd_pwrite(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        vectors: CiovecArray,
        offset: Filesize,
    ) -> Result<Size> {
        self.write_all(memory, fd, vectors, Some(offset))
    }

    fn fd_prestat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Prestat> {
        let Descriptor::Directory { preopened: Some(path), .. } = self.get(fd)? else {
            return Err(Errno::Badf.into());
        };
        let pr_name_len = Size::try_from(path.len()).map_err(|_| Errno::Overflow)?;
        Ok(Prestat::Dir(PrestatDir { pr_name_len }))
    }

    fn fd_prestat_dir_name(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        to: GuestPtr<u8>,
        room: Size,
    ) -> Result<()> {
        let Descriptor::Directory { preopened: Some(path), .. } = self.get(fd)? else {
            return Err(Errno::Notdir.into());
        };
        if path.len() > usize::try_from(room).unwrap_or(usize::MAX) {
            return Err(Errno::Nametoolong.into());
        }
        bytes(memory, to, path.as_bytes())
    }

    async fn fd_renumber(&mut self, _: &mut GuestMemory<'_>, from: Fd, to: Fd) -> Result<()> {
        self.get(to)?;
        self.get(from)?;
        if let Some(descriptor) = self.descriptors.remove(&from.into()) {
            self.descriptors.insert(to.into(), descriptor);
        }
        Ok(())
    }

    async fn fd_seek(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filedelta,
        whence: Whence,
    ) -> Result<Filesize> {
        let file = self.sought(fd)?;
        let from = match whence {
            Whence::Set => 0,
            Whence::Cur => file.position,
            Whence::End => file.node.stat().size,
        };
        file.position = from.checked_add_signed(offset).ok_or(Errno::Inval)?;
        Ok(file.position)
    }

    async fn fd_sync(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.node(fd).map(|_| ())
    }

    fn fd_tell(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Filesize> {
        Ok(self.sought(fd)?.position)
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        to: GuestPtr<u8>,
        room: Size,
        cookie: Dircookie,
    ) -> Result<Size> {
        let Descriptor::Directory { node, listing, .. } = self.get(fd)? else { return Err(Errno::Badf.into()) };
        if cookie == 0 || listing.is_empty() {
            // What is made and removed while somebody goes through it neither comes twice nor hides another.
            let own = node.stat();
            let names = [".", ".."].map(|name| (name.to_owned(), own));
            let nodes = node.list()?.into_iter().map(|(name, node)| (name, node.stat()));
            *listing = names.into_iter().chain(nodes).collect();
        }
        let room = usize::try_from(room).map_err(|_| Errno::Overflow)?;
        let mut buffer = Vec::new();
        let skipped = usize::try_from(cookie).unwrap_or(usize::MAX);
        for ((name, stat), next) in listing.iter().zip(1_u64..).skip(skipped) {
            if buffer.len() >= room {
                break;
            }
            buffer.extend_from_slice(&next.to_le_bytes());
            buffer.extend_from_slice(&stat.number.to_le_bytes());
            buffer.extend_from_slice(&u32::try_from(name.len()).map_err(|_| Errno::Overflow)?.to_le_bytes());
            buffer.push(filetype(stat.kind) as u8);
            buffer.extend_from_slice(&[0; 3]);
            buffer.extend_from_slice(name.as_bytes());
        }
        buffer.truncate(room);
        bytes(memory, to, &buffer)?;
        u32::try_from(buffer.len()).map_err(|_| Errno::Overflow.into())
    }

    async fn path_create_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: GuestPtr<str>) -> Result<()> {
        Ok(self.directory(fd)?.make_directory(&text(memory, path)?)?)
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Result<Filestat> {
        let node = self.directory(fd)?.find(&text(memory, path)?, flags.contains(Lookupflags::SYMLINK_FOLLOW))?;
        Ok(filestat(&node.stat()))
    }

    async fn path_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        accessed: Timestamp,
        modified: Timestamp,
        which: Fstflags,
    ) -> Result<()> {
        let [accessed, modified] = times(accessed, modified, which)?;
        let node = self.directory(fd)?.find(&text(memory, path)?, flags.contains(Lookupflags::SYMLINK_FOLLOW))?;
        Ok(node.touch(accessed, modified)?)
    }

    async fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old: Fd,
        flags: Lookupflags,
        old_path: GuestPtr<str>,
        new: Fd,
        new_path: GuestPtr<str>,
    ) -> Result<()> {
        let (old, new) = (self.directory(old)?, self.directory(new)?);
        if flags.contains(Lookupflags::SYMLINK_FOLLOW) {
            return Err(Errno::Inval.into());
        }
        Ok(old.link(&text(memory, old_path)?, &new, &text(memory, new_path)?)?)
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        how: Oflags,
        rights: Rights,
        _: Rights,
        file: Fdflags,
    ) -> Result<Fd> {
        let directory = self.directory(fd)?;
        let (read, write) = (rights.contains(Rights::FD_READ), rights.contains(Rights::FD_WRITE));
        let how = How {
            follow: flags.contains(Lookupflags::SYMLINK_FOLLOW),
            create: how.contains(Oflags::CREAT),
            directory: how.contains(Oflags::DIRECTORY),
            exclusive: how.contains(Oflags::EXCL),
            truncate: how.contains(Oflags::TRUNC),
            write,
        };
        self.room()?;
        let path = text(memory, path)?;
        if let Some(door) = self.doors.as_ref().and_then(|doors| doors.at(&directory, &path)) {
            return self.enter(door, how, file).await;
        }
        let node = directory.open(&path, how)?;
        self.push(match node.kind() {
            Kind::Directory => Descriptor::Directory { node, preopened: None, listing: Vec::new() },
            // Of neither right, as every open file of a C library, it can be read.
            Kind::File | Kind::Link => {
                Descriptor::File(File { node, position: 0, read: read || !write, write, flags: file })
            }
        })
    }

    async fn path_readlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
        to: GuestPtr<u8>,
        room: Size,
    ) -> Result<Size> {
        let mut target = self.directory(fd)?.readlink(&text(memory, path)?)?.into_bytes();
        target.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        bytes(memory, to, &target)?;
        u32::try_from(target.len()).map_err(|_| Errno::Overflow.into())
    }

    async fn path_remove_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: GuestPtr<str>) -> Result<()> {
        Ok(self.directory(fd)?.remove_directory(&text(memory, path)?)?)
    }

    async fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old: Fd,
        old_path: GuestPtr<str>,
        new: Fd,
        new_path: GuestPtr<str>,
    ) -> Result<()> {
        let (old, new) = (self.directory(old)?, self.directory(new)?);
        Ok(old.rename(&text(memory, old_path)?, &new, &text(memory, new_path)?)?)
    }

    async fn path_symlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        target: GuestPtr<str>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        Ok(self.directory(fd)?.symlink(&text(memory, target)?, &text(memory, path)?)?)
    }

    async fn path_unlink_file(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: GuestPtr<str>) -> Result<()> {
        Ok(self.directory(fd)?.unlink(&text(memory, path)?)?)
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size> {
        // To sleep for ever is not what anybody wants.
        if count == 0 || usize::try_from(count).unwrap_or(usize::MAX) > DESCRIPTORS {
            return Err(Errno::Inval.into());
        }
        let mut asked = Vec::new();
        for subscription in subscriptions.as_array(count).iter() {
            asked.push(memory.read(subscription?)?);
        }
        let told = poll::poll(self, &asked).await?;
        let length = u32::try_from(told.len()).map_err(|_| Errno::Overflow)?;
        for (event, to) in told.into_iter().zip(events.as_array(length).iter()) {
            memory.write(to?, event)?;
        }
        Ok(length)
    }

    fn proc_exit(&mut self, _: &mut GuestMemory<'_>, status: Exitcode) -> wiggle::error::Error {
        I32Exit(status.cast_signed()).into()
    }

    fn proc_raise(&mut self, _: &mut GuestMemory<'_>, _: Signal) -> Result<()> {
        Err(Errno::Notsup.into())
    }

    fn sched_yield(&mut self, _: &mut GuestMemory<'_>) -> Result<()> {
        Ok(())
    }

    fn random_get(&mut self, memory: &mut GuestMemory<'_>, to: GuestPtr<u8>, length: Size) -> Result<()> {
        let mut at = to;
        let mut left = length;
        let mut chunk = [0; 4096];
        while left > 0 {
            let count = left.min(4096);
            let chunk = chunk.get_mut(..usize::try_from(count).unwrap_or(0)).unwrap_or_default();
            aws_lc_rs::rand::fill(chunk).map_err(|_| Errno::Io)?;
            bytes(memory, at, chunk)?;
            at = at.add(count)?;
            left -= count;
        }
        Ok(())
    }

    // The three that can wait are linked in the place of these.
    fn sock_accept(&mut self, _: &mut GuestMemory<'_>, _: Fd, _: Fdflags) -> Result<Fd> {
        Err(Errno::Nosys.into())
    }

    fn sock_recv(&mut self, _: &mut GuestMemory<'_>, _: Fd, _: IovecArray, _: Riflags) -> Result<(Size, Roflags)> {
        Err(Errno::Nosys.into())
    }

    fn sock_send(&mut self, _: &mut GuestMemory<'_>, _: Fd, _: CiovecArray, _: Siflags) -> Result<Size> {
        Err(Errno::Nosys.into())
    }

    fn sock_shutdown(&mut self, _: &mut GuestMemory<'_>, fd: Fd, how: Sdflags) -> Result<()> {
        self.shutdown(fd, how)
    }
}
