//! `wasi:filesystem` 0.2 over the Keep's own files.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::clock;
use crate::files::{At, Fault, Kind, Node, Stat};
use crate::wasi::{Files, Open};

/// What the bindings call a descriptor; an [`Open`].
type Descriptor = Resource<types::Descriptor>;
/// What they call a stream of entries; an [`Entries`].
type Stream = Resource<types::DirectoryEntryStream>;

struct Entries(std::vec::IntoIter<(String, Node)>);

pub(super) fn add<T: Send + 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> Files<'_>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, Files<'static>>(linker, of)?;
    preopens::add_to_linker::<T, Files<'static>>(linker, of)
}

impl Files<'_> {
    fn node(&self, of: &Descriptor) -> FsResult<&Node> {
        Ok(&self.get(of.rep())?.node)
    }

    /// One that paths begin at.
    fn directory(&self, of: &Descriptor) -> FsResult<&Node> {
        Ok(self.get(of.rep())?.directory()?)
    }

    /// A file that bytes go into.
    fn written(&self, of: &Descriptor) -> FsResult<&Node> {
        Ok(self.get(of.rep())?.written()?)
    }
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Descriptor, String)>> {
        Ok(self.preopened()?.into_iter().map(|(rep, path)| (Resource::new_own(rep), path)).collect())
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<Fault>().map(|fault| ErrorCode::from(*fault)))
    }
}

impl types::HostDescriptor for Files<'_> {
    fn read_via_stream(&mut self, of: Descriptor, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(Reader { node: self.get(of.rep())?.read()?.clone(), offset });
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(&mut self, of: Descriptor, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Writer { node: self.written(&of)?.clone(), at: At::Offset(offset) });
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(&mut self, of: Descriptor) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Writer { node: self.written(&of)?.clone(), at: At::End });
        Ok(self.table.push(stream)?)
    }

    async fn advise(&mut self, of: Descriptor, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        // Everything is in memory already.
        if self.node(&of)?.kind() == Kind::Directory { Err(ErrorCode::BadDescriptor.into()) } else { Ok(()) }
    }

    async fn sync_data(&mut self, of: Descriptor) -> FsResult<()> {
        self.node(&of).map(|_| ())
    }

    async fn get_flags(&mut self, of: Descriptor) -> FsResult<DescriptorFlags> {
        let open = self.get(of.rep())?;
        let read = if open.read { DescriptorFlags::READ } else { DescriptorFlags::empty() };
        let write = if open.node.kind() == Kind::Directory {
            DescriptorFlags::MUTATE_DIRECTORY
        } else {
            DescriptorFlags::WRITE
        };
        Ok(if open.write { read | write } else { read })
    }

    async fn get_type(&mut self, of: Descriptor) -> FsResult<DescriptorType> {
        Ok(self.node(&of)?.kind().into())
    }

    async fn set_size(&mut self, of: Descriptor, size: Filesize) -> FsResult<()> {
        Ok(self.get(of.rep())?.resize(size)?)
    }

    async fn set_times(&mut self, of: Descriptor, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        Ok(self.node(&of)?.touch(time(accessed)?, time(modified)?)?)
    }

    async fn read(&mut self, of: Descriptor, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let node = self.get(of.rep())?.read()?;
        let bytes = some(node, offset, usize::try_from(length).unwrap_or(usize::MAX))?;
        let end = bytes.is_empty();
        Ok((bytes, end))
    }

    async fn write(&mut self, of: Descriptor, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.written(&of)?.write(At::Offset(offset), &bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn read_directory(&mut self, of: Descriptor) -> FsResult<Stream> {
        let entries = Entries(self.node(&of)?.list()?.into_iter());
        Ok(Resource::new_own(self.table.push(entries)?.rep()))
    }

    async fn sync(&mut self, of: Descriptor) -> FsResult<()> {
        self.node(&of).map(|_| ())
    }

    async fn create_directory_at(&mut self, of: Descriptor, path: String) -> FsResult<()> {
        Ok(self.directory(&of)?.make_directory(&path)?)
    }

    async fn stat(&mut self, of: Descriptor) -> FsResult<DescriptorStat> {
        Ok(self.node(&of)?.stat().into())
    }

    async fn stat_at(&mut self, of: Descriptor, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        Ok(self.directory(&of)?.find(&path, flags.contains(PathFlags::SYMLINK_FOLLOW))?.stat().into())
    }

    async fn set_times_at(
        &mut self,
        of: Descriptor,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let node = self.directory(&of)?.find(&path, flags.contains(PathFlags::SYMLINK_FOLLOW))?;
        Ok(node.touch(time(accessed)?, time(modified)?)?)
    }

    async fn link_at(
        &mut self,
        of: Descriptor,
        flags: PathFlags,
        path: String,
        new: Descriptor,
        new_path: String,
    ) -> FsResult<()> {
        if flags.contains(PathFlags::SYMLINK_FOLLOW) {
            return Err(ErrorCode::Invalid.into());
        }
        Ok(self.directory(&of)?.link(&path, self.directory(&new)?, &new_path)?)
    }

    async fn open_at(
        &mut self,
        of: Descriptor,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Descriptor> {
        let how = Open::how(
            path_flags.contains(PathFlags::SYMLINK_FOLLOW),
            [OpenFlags::CREATE, OpenFlags::DIRECTORY, OpenFlags::EXCLUSIVE, OpenFlags::TRUNCATE]
                .map(|flag| open_flags.contains(flag)),
            flags.contains(DescriptorFlags::WRITE),
        );
        let changes = flags.contains(DescriptorFlags::MUTATE_DIRECTORY);
        let open = Open::at(self.directory(&of)?, &path, how, flags.contains(DescriptorFlags::READ), changes)?;
        Ok(Resource::new_own(self.push(open)?))
    }

    async fn readlink_at(&mut self, of: Descriptor, path: String) -> FsResult<String> {
        Ok(self.directory(&of)?.readlink(&path)?)
    }

    async fn remove_directory_at(&mut self, of: Descriptor, path: String) -> FsResult<()> {
        Ok(self.directory(&of)?.remove_directory(&path)?)
    }

    async fn rename_at(&mut self, of: Descriptor, path: String, new: Descriptor, new_path: String) -> FsResult<()> {
        Ok(self.directory(&of)?.rename(&path, self.directory(&new)?, &new_path)?)
    }

    async fn symlink_at(&mut self, of: Descriptor, target: String, path: String) -> FsResult<()> {
        Ok(self.directory(&of)?.symlink(&target, &path)?)
    }

    async fn unlink_file_at(&mut self, of: Descriptor, path: String) -> FsResult<()> {
        Ok(self.directory(&of)?.unlink(&path)?)
    }

    async fn is_same_object(&mut self, one: Descriptor, other: Descriptor) -> wasmtime::Result<bool> {
        Ok(self.get(one.rep())?.node.is(&self.get(other.rep())?.node))
    }

    async fn metadata_hash(&mut self, of: Descriptor) -> FsResult<MetadataHashValue> {
        Ok(self.node(&of)?.stat().into())
    }

    async fn metadata_hash_at(
        &mut self,
        of: Descriptor,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        Ok(self.directory(&of)?.find(&path, flags.contains(PathFlags::SYMLINK_FOLLOW))?.stat().into())
    }

    fn drop(&mut self, of: Descriptor) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Open>::new_own(of.rep()))?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(&mut self, stream: Stream) -> FsResult<Option<DirectoryEntry>> {
        let entries = self.table.get_mut(&Resource::<Entries>::new_borrow(stream.rep()))?;
        Ok(entries.0.next().map(|(name, node)| DirectoryEntry { type_: node.kind().into(), name }))
    }

    fn drop(&mut self, stream: Stream) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Entries>::new_own(stream.rep()))?;
        Ok(())
    }
}

told!(FsError);

impl From<Stat> for DescriptorStat {
    fn from(Stat { number: _, kind, links, size, times }: Stat) -> Self {
        let time = |since: Duration| Some(Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() });
        Self {
            type_: kind.into(),
            link_count: links,
            size,
            data_access_timestamp: time(times.accessed),
            data_modification_timestamp: time(times.modified),
            status_change_timestamp: time(times.changed),
        }
    }
}

fn time(new: NewTimestamp) -> FsResult<Option<Duration>> {
    match new {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(clock::now())),
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let time = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds.into()));
            Ok(Some(time.ok_or(ErrorCode::Overflow)?))
        }
    }
}

/// The most bytes of one read.
const BULK: usize = 1 << 20;

fn some(node: &Node, offset: u64, most: usize) -> Result<Vec<u8>, Fault> {
    let left = usize::try_from(node.stat().size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; most.min(left).min(BULK)];
    let count = node.read(offset, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Reads a file from somewhere on.
struct Reader {
    node: Node,
    offset: u64,
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

impl InputStream for Reader {
    fn read(&mut self, most: usize) -> StreamResult<Bytes> {
        let bytes = some(&self.node, self.offset, most).map_err(failed)?;
        if bytes.is_empty() && most > 0 {
            return Err(StreamError::Closed);
        }
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(bytes.into())
    }
}

/// Writes to a file, from somewhere on or always at its end.
struct Writer {
    node: Node,
    at: At,
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let end = self.node.write(self.at, &bytes).map_err(failed)?;
        if let At::Offset(offset) = &mut self.at {
            *offset = end;
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(BULK)
    }
}

fn failed(fault: Fault) -> StreamError {
    StreamError::LastOperationFailed(wasmtime::Error::new(fault))
}
