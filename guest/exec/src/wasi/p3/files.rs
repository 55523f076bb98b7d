//! `wasi:filesystem` 0.3 over the Keep's own files.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Linker, Resource, Source, StreamConsumer, StreamProducer,
    StreamReader, StreamResult,
};
use wasmtime_wasi::p3::bindings::clocks::system_clock::Instant;
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::tell;
use crate::clock;
use crate::files::{At, Fault, Kind, Node, Stat};
use crate::wasi::{Files, Open};

/// What the bindings call a descriptor; an [`Open`].
type Descriptor = Resource<types::Descriptor>;
/// How a stream ended.
type End = Result<(), ErrorCode>;

pub(super) fn add<T: Send + 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> Files<'_>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, Files<'static>>(linker, of)?;
    preopens::add_to_linker::<T, Files<'static>>(linker, of)
}

/// The node of a descriptor.
fn node<T>(store: &Accessor<T, Files<'static>>, of: &Descriptor) -> FilesystemResult<Node> {
    store.with(|mut store| Ok(store.get().get(of.rep())?.node.clone()))
}

/// One that paths begin at.
fn directory<T>(store: &Accessor<T, Files<'static>>, of: &Descriptor) -> FilesystemResult<Node> {
    store.with(|mut store| Ok(store.get().get(of.rep())?.directory()?.clone()))
}

fn found<T>(
    store: &Accessor<T, Files<'static>>,
    of: &Descriptor,
    flags: PathFlags,
    path: &str,
) -> FilesystemResult<Node> {
    Ok(directory(store, of)?.find(path, flags.contains(PathFlags::SYMLINK_FOLLOW))?)
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Descriptor, String)>> {
        Ok(self.preopened()?.into_iter().map(|(rep, path)| (Resource::new_own(rep), path)).collect())
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl types::HostDescriptor for Files<'_> {
    fn drop(&mut self, of: Descriptor) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Open>::new_own(of.rep()))?;
        Ok(())
    }
}

impl<U> types::HostDescriptorWithStore<U> for Files<'static> {
    fn read_via_stream(
        mut store: Access<'_, U, Self>,
        of: Descriptor,
        offset: Filesize,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<End>)> {
        let read = store.get().get(of.rep())?.read().cloned();
        let (told, end) = oneshot::channel();
        let stream = match read {
            Ok(node) => StreamReader::new(&mut store, Reader { node, offset, told: Some(told) })?,
            Err(fault) => {
                _ = told.send(Err(fault.into()));
                StreamReader::new(&mut store, std::iter::empty())?
            }
        };
        Ok((stream, FutureReader::new(&mut store, end)?))
    }

    fn write_via_stream(
        store: Access<'_, U, Self>,
        of: Descriptor,
        data: StreamReader<u8>,
        offset: Filesize,
    ) -> wasmtime::Result<FutureReader<End>> {
        write(store, &of, data, At::Offset(offset))
    }

    fn append_via_stream(
        store: Access<'_, U, Self>,
        of: Descriptor,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<End>> {
        write(store, &of, data, At::End)
    }

    async fn advise(
        store: &Accessor<U, Self>,
        of: Descriptor,
        _: Filesize,
        _: Filesize,
        _: Advice,
    ) -> FilesystemResult<()> {
        // Everything is in memory already.
        if node(store, &of)?.kind() == Kind::Directory { Err(ErrorCode::BadDescriptor.into()) } else { Ok(()) }
    }

    async fn sync_data(store: &Accessor<U, Self>, of: Descriptor) -> FilesystemResult<()> {
        node(store, &of).map(|_| ())
    }

    async fn get_flags(store: &Accessor<U, Self>, of: Descriptor) -> FilesystemResult<DescriptorFlags> {
        store.with(|mut store| {
            let files = store.get();
            let open = files.get(of.rep())?;
            let read = if open.read { DescriptorFlags::READ } else { DescriptorFlags::empty() };
            let write = if open.node.kind() == Kind::Directory {
                DescriptorFlags::MUTATE_DIRECTORY
            } else {
                DescriptorFlags::WRITE
            };
            Ok(if open.write { read | write } else { read })
        })
    }

    async fn get_type(store: &Accessor<U, Self>, of: Descriptor) -> FilesystemResult<DescriptorType> {
        Ok(node(store, &of)?.kind().into())
    }

    async fn set_size(store: &Accessor<U, Self>, of: Descriptor, size: Filesize) -> FilesystemResult<()> {
        store.with(|mut store| Ok(store.get().get(of.rep())?.resize(size)?))
    }

    async fn set_times(
        store: &Accessor<U, Self>,
        of: Descriptor,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FilesystemResult<()> {
        Ok(node(store, &of)?.touch(time(accessed)?, time(modified)?)?)
    }

    fn read_directory(
        mut store: Access<'_, U, Self>,
        of: Descriptor,
    ) -> wasmtime::Result<(StreamReader<DirectoryEntry>, FutureReader<End>)> {
        let (entries, end) = match store.get().get(of.rep())?.node.list() {
            Ok(list) => (list, Ok(())),
            Err(fault) => (Vec::new(), Err(fault.into())),
        };
        let entries = entries.into_iter().map(|(name, node)| DirectoryEntry { type_: node.kind().into(), name });
        let stream = StreamReader::new(&mut store, entries.collect::<Vec<_>>())?;
        Ok((stream, FutureReader::new(&mut store, async move { wasmtime::error::Ok(end) })?))
    }

    async fn sync(store: &Accessor<U, Self>, of: Descriptor) -> FilesystemResult<()> {
        node(store, &of).map(|_| ())
    }

    async fn create_directory_at(store: &Accessor<U, Self>, of: Descriptor, path: String) -> FilesystemResult<()> {
        Ok(directory(store, &of)?.make_directory(&path)?)
    }

    async fn stat(store: &Accessor<U, Self>, of: Descriptor) -> FilesystemResult<DescriptorStat> {
        Ok(node(store, &of)?.stat().into())
    }

    async fn stat_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        flags: PathFlags,
        path: String,
    ) -> FilesystemResult<DescriptorStat> {
        Ok(found(store, &of, flags, &path)?.stat().into())
    }

    async fn set_times_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FilesystemResult<()> {
        Ok(found(store, &of, flags, &path)?.touch(time(accessed)?, time(modified)?)?)
    }

    async fn link_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        flags: PathFlags,
        path: String,
        new: Descriptor,
        new_path: String,
    ) -> FilesystemResult<()> {
        if flags.contains(PathFlags::SYMLINK_FOLLOW) {
            return Err(ErrorCode::Invalid.into());
        }
        Ok(directory(store, &of)?.link(&path, &directory(store, &new)?, &new_path)?)
    }

    async fn open_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FilesystemResult<Descriptor> {
        let how = Open::how(
            path_flags.contains(PathFlags::SYMLINK_FOLLOW),
            [OpenFlags::CREATE, OpenFlags::DIRECTORY, OpenFlags::EXCLUSIVE, OpenFlags::TRUNCATE]
                .map(|flag| open_flags.contains(flag)),
            flags.contains(DescriptorFlags::WRITE),
        );
        let changes = flags.contains(DescriptorFlags::MUTATE_DIRECTORY);
        let open = Open::at(&directory(store, &of)?, &path, how, flags.contains(DescriptorFlags::READ), changes)?;
        store.with(|mut store| Ok(Resource::new_own(store.get().push(open)?)))
    }

    async fn readlink_at(store: &Accessor<U, Self>, of: Descriptor, path: String) -> FilesystemResult<String> {
        Ok(directory(store, &of)?.readlink(&path)?)
    }

    async fn remove_directory_at(store: &Accessor<U, Self>, of: Descriptor, path: String) -> FilesystemResult<()> {
        Ok(directory(store, &of)?.remove_directory(&path)?)
    }

    async fn rename_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        path: String,
        new: Descriptor,
        new_path: String,
    ) -> FilesystemResult<()> {
        Ok(directory(store, &of)?.rename(&path, &directory(store, &new)?, &new_path)?)
    }

    async fn symlink_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        target: String,
        path: String,
    ) -> FilesystemResult<()> {
        Ok(directory(store, &of)?.symlink(&target, &path)?)
    }

    async fn unlink_file_at(store: &Accessor<U, Self>, of: Descriptor, path: String) -> FilesystemResult<()> {
        Ok(directory(store, &of)?.unlink(&path)?)
    }

    async fn is_same_object(store: &Accessor<U, Self>, one: Descriptor, other: Descriptor) -> wasmtime::Result<bool> {
        Ok(node(store, &one)?.is(&node(store, &other)?))
    }

    async fn metadata_hash(store: &Accessor<U, Self>, of: Descriptor) -> FilesystemResult<MetadataHashValue> {
        Ok(node(store, &of)?.stat().into())
    }

    async fn metadata_hash_at(
        store: &Accessor<U, Self>,
        of: Descriptor,
        flags: PathFlags,
        path: String,
    ) -> FilesystemResult<MetadataHashValue> {
        Ok(found(store, &of, flags, &path)?.stat().into())
    }
}

fn write<U>(
    mut store: Access<'_, U, Files<'static>>,
    of: &Descriptor,
    mut data: StreamReader<u8>,
    at: At,
) -> wasmtime::Result<FutureReader<End>> {
    let (told, end) = oneshot::channel();
    let written = store.get().get(of.rep())?.written().cloned();
    match written {
        Ok(node) => data.pipe(&mut store, Writer { node, at, told: Some(told) })?,
        Err(fault) => {
            data.close(&mut store)?;
            _ = told.send(Err(fault.into()));
        }
    }
    FutureReader::new(&mut store, end)
}

/// The most bytes at a time.
const BULK: usize = 64 * 1024;

/// Reads a file from somewhere on.
struct Reader {
    node: Node,
    offset: u64,
    told: Option<oneshot::Sender<End>>,
}

impl<D> StreamProducer<D> for Reader {
    type Item = u8;
    type Buffer = bytes::BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        to: Destination<'a, u8, Self::Buffer>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut to = to.as_direct(store, BULK);
        if to.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let end = match self.node.read(self.offset, to.remaining()) {
            Ok(0) => Ok(()),
            Ok(count) => {
                to.mark_written(count);
                self.offset = self.offset.saturating_add(count as u64);
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Err(fault) => Err(fault.into()),
        };
        tell(&mut self.told, end);
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        tell(&mut self.told, Ok(()));
    }
}

/// Writes to a file, from somewhere on or always at its end.
struct Writer {
    node: Node,
    at: At,
    told: Option<oneshot::Sender<End>>,
}

impl<D> StreamConsumer<D> for Writer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        from: Source<'_, u8>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut from = from.as_direct(store);
        // Less than a program may offer: others have their turn between.
        let count = from.remaining().len().min(BULK);
        let bytes = from.remaining().get(..count).unwrap_or_default();
        match self.node.write(self.at, bytes) {
            Ok(end) => {
                if let At::Offset(offset) = &mut self.at {
                    *offset = end;
                }
                from.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(fault) => {
                tell(&mut self.told, Err(fault.into()));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        tell(&mut self.told, Ok(()));
    }
}

told!(FilesystemError);

impl From<Stat> for DescriptorStat {
    fn from(Stat { number: _, kind, links, size, times }: Stat) -> Self {
        let time = |since: Duration| {
            let seconds = i64::try_from(since.as_secs()).ok()?;
            Some(Instant { seconds, nanoseconds: since.subsec_nanos() })
        };
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

/// No file is from before 1970.
fn time(new: NewTimestamp) -> FilesystemResult<Option<Duration>> {
    match new {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(clock::now())),
        NewTimestamp::Timestamp(Instant { seconds, nanoseconds }) => {
            let seconds = u64::try_from(seconds).map_err(|_| ErrorCode::Overflow)?;
            let time = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds.into()));
            Ok(Some(time.ok_or(ErrorCode::Overflow)?))
        }
    }
}
