//! The bytes of blobs: objects in a directory, in a bucket, or in memory.
//!
//! Owns where they lie and that they last. An object has a random name, is written once and completely, and its name is
//! never used again: so no two writers meet, on one machine or on ten, and what is deleted was nobody's. What it is the
//! database says. In a directory `fsync` is on: the file before it is renamed to its place and the directory after it; the
//! directories themselves are made and synced when it is opened. Refuses a directory that anybody but its user can enter:
//! files are made with the process's umask, so the root's mode is what keeps confidential content from other users of the
//! host. Invariant: an object that can be read is complete.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::rand;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use tokio::sync::Semaphore;

use super::{OpenError, StoreError};

/// How much of an upload is held in memory: the smallest part that S3 takes, and of S3's 10,000 parts enough for 50 GiB.
pub(super) const PART: usize = 5 * 1024 * 1024;
/// How much is read at once, and thereby how much a reader who stops reading makes us hold (see `serve`).
pub(crate) const CHUNK: usize = 64 * 1024;
/// How much is read at once of a long file, by so many readers: going to the file costs as much as 64 KiB of it.
const WIDE: usize = 256 * 1024;
const WIDE_READERS: usize = 128;
/// What is long.
const LONG: u64 = 1024 * 1024;

/// Where objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket of an S3.
    Bucket(Bucket),
    /// In memory.
    Memory,
}

/// A bucket, what all names in it begin with, where it is and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(super) name: String,
    pub(super) prefix: String,
    options: Vec<(AmazonS3ConfigKey, String)>,
}

impl Bucket {
    /// `environment`: of it, `AWS_…` as other programs read it (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on).
    pub(super) fn new(name: &str, prefix: &str, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let aws = |(name, value): (String, String)| {
            let name = name.starts_with("AWS_").then(|| name.to_ascii_lowercase())?;
            Some((name.parse().ok()?, value))
        };
        let options = environment.into_iter().filter_map(aws).collect();
        Self { name: name.to_owned(), prefix: prefix.to_owned(), options }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its options have a key.
        out.debug_struct("Bucket").field("name", &self.name).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The objects.
#[derive(Debug)]
pub(crate) struct Content {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    directory: Option<PathBuf>,
    wide: Arc<Semaphore>,
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object(String);

/// An object and its size in bytes. A blob is a few of them, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(super) object: Object,
    pub(super) size: u64,
}

/// Segments, as the database has them: `NAME:SIZE NAME:SIZE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segments(pub(super) Vec<Segment>);

/// An object that is being written. Up to a part of it is in memory; dropped, it never was.
pub(crate) struct Writing {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    parts: Option<Box<dyn MultipartUpload>>,
    buffer: BytesMut,
    size: u64,
}

impl Content {
    /// Opens a place for objects; a directory is made if need be.
    pub(crate) async fn open(at: &At) -> Result<Self, OpenError> {
        match at {
            At::Memory => Ok(Self::new(Arc::new(InMemory::new()), Path::default(), None)),
            At::Bucket(Bucket { name, prefix, options }) => {
                let engine = |source| OpenError::Bucket { bucket: name.clone(), source };
                let builder = AmazonS3Builder::new().with_bucket_name(name);
                let set = |builder: AmazonS3Builder, (key, value): &(AmazonS3ConfigKey, String)| {
                    builder.with_config(*key, value)
                };
                let objects = options.iter().fold(builder, set).build().map_err(engine)?;
                let prefix = Path::parse(prefix).map_err(|error| engine(error.into()))?;
                let content = Self::new(Arc::new(objects), prefix, None);
                // Now, and not at the first push.
                content.probe().await.map_err(engine)?;
                Ok(content)
            }
            At::Directory(directory) => {
                let directory = directory.clone();
                tokio::task::spawn_blocking(move || open_directory(&directory)).await.map_err(|_| OpenError::Stopped)?
            }
        }
    }

    fn new(objects: Arc<dyn ObjectStore>, prefix: Path, directory: Option<PathBuf>) -> Self {
        Self { objects, prefix, directory, wide: Arc::new(Semaphore::new(WIDE_READERS)) }
    }

    /// Whether objects can be read now.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        if let Some(directory) = &self.directory {
            let lost = |error: io::Error| object_store::Error::Generic { store: "directory", source: error.into() };
            tokio::fs::metadata(directory).await.map_err(lost)?;
        }
        Ok(self.probe().await?)
    }

    /// An answer, whatever it is, tells whether place and key are right.
    async fn probe(&self) -> Result<(), object_store::Error> {
        match self.objects.head(&self.path(&Object("00".repeat(16)))).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(source),
        }
    }

    /// Begins an object.
    pub(crate) fn write(&self, object: &Object) -> Writing {
        let (objects, path) = (Arc::clone(&self.objects), self.path(object));
        Writing { objects, path, parts: None, buffer: BytesMut::new(), size: 0 }
    }

    /// The bytes of these segments, from and to these of all of them, in chunks of 64 KiB, or some more. The first object is opened
    /// at once: that it is lost is known before anything is answered.
    pub(crate) async fn read(
        &self,
        segments: &Segments,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let mut at = 0_u64;
        let mut wanted = Vec::new();
        for Segment { object, size } in &segments.0 {
            let end = at.saturating_add(*size);
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                wanted.push((self.path(object), from.saturating_sub(at)..to.saturating_sub(at)));
            }
            at = end;
        }
        let mut wanted = wanted.into_iter();
        let Some((path, range)) = wanted.next() else { return Ok(stream::empty().boxed()) };
        let (objects, wide) = (Arc::clone(&self.objects), Arc::clone(&self.wide));
        let open = move |(path, range)| read_object(Arc::clone(&objects), Arc::clone(&wide), path, range);
        let first = open((path, range)).await?;
        let others = stream::iter(wanted).then(open);
        Ok(first.chain(others.try_flatten()).boxed())
    }

    /// Removes an object, whole or half written; that it is not there is fine.
    pub(crate) async fn remove(&self, object: &Object) -> Result<(), StoreError> {
        let path = self.path(object);
        match self.objects.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // What a process that was killed had not yet renamed; the engine shows it to nobody.
        if let Some(directory) = &self.directory {
            let staged = directory.join(format!("{path}#1"));
            match tokio::fs::remove_file(&staged).await {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::Directory { path: staged, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, Object(name): &Object) -> Path {
        let folder = name.get(..2).unwrap_or_default();
        self.prefix.clone().join("objects").join(folder).join(name.as_str())
    }
}

impl Object {
    /// A new name.
    pub(crate) fn new() -> Result<Self, StoreError> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self(hex::encode(random)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Object {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let good = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(StoreError::Damaged { what: "the name of an object".to_owned() })
        }
    }
}

impl Segments {
    pub(super) fn into_objects(self) -> impl Iterator<Item = Object> {
        self.0.into_iter().map(|segment| segment.object)
    }
}

impl FromStr for Segments {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let segment = |text: &str| {
            let (object, size) = text.split_once(':')?;
            Some(Segment { object: object.parse().ok()?, size: size.parse().ok()? })
        };
        let segments = text.split_ascii_whitespace().map(segment).collect::<Option<_>>();
        segments.map(Self).ok_or_else(|| StoreError::Damaged { what: "the objects of a blob".to_owned() })
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, Segment { object: Object(name), size }) in self.0.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(out, "{space}{name}:{size}")?;
        }
        Ok(())
    }
}

impl Writing {
    /// Takes more bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PART.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == PART {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Whether so many more bytes would make it more than what is held in memory.
    pub(crate) fn needs_object(&self, more: usize) -> bool {
        self.buffer.len().saturating_add(more) >= PART
    }

    /// How many bytes were taken.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// What was taken so far, if it is so little that it is all still here.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        if self.parts.is_none() { Some(&self.buffer) } else { None }
    }

    /// Makes it an object that lasts. Gives its size.
    pub(crate) async fn finish(mut self) -> Result<u64, StoreError> {
        if self.parts.is_none() {
            self.objects.put(&self.path, PutPayload::from_bytes(self.buffer.freeze())).await?;
            return Ok(self.size);
        }
        self.flush().await?;
        if let Some(mut parts) = self.parts {
            parts.complete().await?;
        }
        Ok(self.size)
    }

    /// Leaves nothing of it behind, where that is possible now; what is left is for the collection.
    pub(crate) async fn abandon(self) {
        if let Some(mut parts) = self.parts
            && let Err(error) = parts.abort().await
        {
            tracing::debug!(%error, "an object that was given up is left to the collection");
        }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let part = self.buffer.split().freeze();
        if part.is_empty() {
            return Ok(());
        }
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(self.objects.put_multipart(&self.path).await?),
        };
        Ok(parts.put_part(PutPayload::from_bytes(part)).await?)
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Writing").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

async fn read_object(
    objects: Arc<dyn ObjectStore>,
    wide: Arc<Semaphore>,
    path: Path,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
    let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
    let found = objects.get_opts(&path, options).await?;
    match found.payload {
        GetResultPayload::Stream(chunks) => {
            let split = |mut chunk: Bytes| {
                stream::iter(std::iter::from_fn(move || {
                    (!chunk.is_empty()).then(|| Ok(chunk.split_to(chunk.len().min(CHUNK))))
                }))
            };
            Ok(chunks.map_err(StoreError::from).map_ok(split).try_flatten().boxed())
        }
        // Opened once: a file that is removed meanwhile is still read to its end.
        GetResultPayload::File(file, path) => {
            let wide = if range.end.saturating_sub(range.start) > LONG { wide.try_acquire_owned().ok() } else { None };
            let most = if wide.is_some() { WIDE } else { CHUNK };
            let state = (Some(file), range, wide);
            Ok(stream::try_unfold(state, move |(file, range, wide)| {
                let path = path.clone();
                async move {
                    let Some(mut file) = file.filter(|_| !range.is_empty()) else { return Ok(None) };
                    let middle = range.end.min(range.start.saturating_add(most as u64));
                    let (start, length) = (range.start, middle.saturating_sub(range.start));
                    let task = tokio::task::spawn_blocking(move || {
                        let mut chunk = Vec::with_capacity(usize::try_from(length).unwrap_or(most));
                        file.seek(SeekFrom::Start(start))?;
                        (&file).take(length).read_to_end(&mut chunk)?;
                        if chunk.len() as u64 == length {
                            Ok((file, chunk))
                        } else {
                            Err(io::ErrorKind::UnexpectedEof.into())
                        }
                    });
                    match task.await.map_err(|_| StoreError::Stopped)? {
                        Ok((file, chunk)) => Ok(Some((Bytes::from(chunk), (Some(file), middle..range.end, wide)))),
                        Err(source) => Err(StoreError::Directory { path, source }),
                    }
                }
            })
            .boxed())
        }
    }
}

/// Opens a directory, made for its user only if it is not there, with the folders that objects lie in.
fn open_directory(directory: &FilePath) -> Result<Content, OpenError> {
    let fault = |path: &FilePath| {
        let path = path.to_owned();
        move |source| OpenError::Directory { path, source }
    };
    let unsynced = make(directory).map_err(fault(directory))?;
    let root = fs::canonicalize(directory).map_err(fault(directory))?;
    let mode = fs::metadata(&root).map_err(fault(&root))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Open { path: root, mode });
    }
    let objects = root.join("objects");
    for folder in 0..=u8::MAX {
        let folder = objects.join(hex::encode([folder]));
        fs::create_dir_all(&folder).map_err(fault(&folder))?;
    }
    for changed in [objects, root.clone()].into_iter().chain(unsynced) {
        File::open(&changed).and_then(|directory| directory.sync_all()).map_err(fault(&changed))?;
    }
    let engine =
        LocalFileSystem::new_with_prefix(&root).map_err(|source| OpenError::Engine { path: root.clone(), source })?;
    Ok(Content::new(Arc::new(engine.with_fsync(true)), Path::default(), Some(root)))
}

/// Makes the root, for its user only, and what is missing above it. Gives the directories that have a new entry and must
/// be synced: from the root's parent up to the first that was there before.
pub(super) fn make(directory: &FilePath) -> io::Result<Vec<PathBuf>> {
    let directory = std::path::absolute(directory)?;
    let Some(parent) = directory.parent() else { return Ok(Vec::new()) };
    let mut unsynced = Vec::new();
    for above in parent.ancestors() {
        unsynced.push(above.to_owned());
        if above.exists() {
            break;
        }
    }
    fs::create_dir_all(parent)?;
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        made => made?,
    }
    Ok(unsynced)
}
