//! The content: blobs by digest, and per repository what it has of them, its manifests and its tags.
//!
//! Owns the layout below and its durability. Refuses a second process on one directory. Every object is written under
//! `uploads/` and then renamed to its place, so that a name never shows half of anything; `fsync` is on, so that what was
//! acknowledged is on the disk: the file before it is renamed, both directories after it, and each directory on the way
//! down once per process (object_store alone syncs only those it made itself, see [`Store::put`]). Refuses a root that
//! anybody but its user can enter: files are made with the process's umask, so the root's mode is what keeps confidential
//! content from other users of the host.
//! Invariant: what has a name in `blobs/` has exactly the bytes of that digest, completely.
//!
//! ```text
//! lock                                      held while a process serves this directory
//! uploads/<random>                          in flight; everything here is removed at start
//! blobs/sha256/<hex>                        bytes of blobs and manifests, once for all repositories
//! repositories/<name>/_blobs/<hex>          this repository has this blob
//! repositories/<name>/_pushed/<writer>/<hex>  this writer pushed it here (see `http`: what a writer may learn)
//! repositories/<name>/_manifests/<hex>      this repository has this manifest; content: its media type
//! repositories/<name>/_tags/<tag>           content: the digest
//! repositories/<name>/_release/current      content: the digest of the admitted release policy's manifest
//! ```

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::sync::Mutex;
use workload::Digest;
use workload::names::{Name, Repository, Tag};

/// How much of an upload is held in memory: the smallest part that S3 takes, so that a bucket can take a directory's place.
const PART: usize = 5 * 1024 * 1024;
/// How much is read at once, and thereby how much a reader who stops reading makes us hold (see `serve`).
pub(crate) const CHUNK: u64 = 64 * 1024;

/// The store of one process.
#[derive(Debug)]
pub(crate) struct Store {
    objects: Arc<LocalFileSystem>,
    root: PathBuf,
    /// Directories that are known to be on the disk.
    durable: Mutex<HashSet<PathBuf>>,
    _lock: File,
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be made, read or written.
    #[error("cannot use {path} as the store: {source}")]
    Directory {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process serves it.
    #[error("another process serves {path}")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Other users of the host could read what is confidential.
    #[error("the store {path} is open to other users of this host: its mode is {mode:o}, expected 700")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The engine refuses it.
    #[error("cannot use {path} as the store: {source}")]
    Engine {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: object_store::Error,
    },
}

/// The store failed while serving: the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] object_store::Error),
    /// A directory could not be made durable.
    #[error("cannot make {path} durable: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No random name for an upload.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// What we wrote there is not what we read.
    #[error("{path} is damaged")]
    Damaged {
        /// The object.
        path: String,
    },
    /// A task of ours ended early: the process is stopping.
    #[error("stopped in the middle")]
    Stopped,
}

/// A manifest as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// An upload in flight: bytes go to the disk and through the digest as they come.
pub(crate) struct Upload {
    path: Path,
    parts: Box<dyn MultipartUpload>,
    buffer: BytesMut,
    size: u64,
    hash: Context,
    /// A write that was given up half-way leaves parts of which nobody knows whether they are there.
    broken: bool,
}

impl Store {
    /// Opens a directory, makes it if need be, and removes what an earlier process left in flight.
    pub(crate) fn open(directory: &FilePath) -> Result<Self, OpenError> {
        let directory_error = |path: &FilePath| {
            let path = path.to_owned();
            move |source| OpenError::Directory { path, source }
        };
        let unsynced = make(directory).map_err(directory_error(directory))?;
        let root = fs::canonicalize(directory).map_err(directory_error(directory))?;
        let mode = fs::metadata(&root).map_err(directory_error(&root))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(OpenError::Open { path: root, mode });
        }
        let lock = root.join("lock");
        let file =
            File::options().write(true).create(true).truncate(false).open(&lock).map_err(directory_error(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: root }),
            Err(TryLockError::Error(source)) => return Err(OpenError::Directory { path: lock, source }),
        }
        let uploads = root.join("uploads");
        match fs::remove_dir_all(&uploads) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(directory_error(&uploads)(error)),
            _ => {}
        }
        for above in unsynced {
            sync_directory(&above).map_err(directory_error(&above))?;
        }
        let objects = engine(&root).map_err(|source| OpenError::Engine { path: root.clone(), source })?;
        Ok(Self { objects: Arc::new(objects), root, durable: Mutex::default(), _lock: file })
    }

    /// Begins an upload.
    pub(crate) async fn begin(&self) -> Result<Upload, StoreError> {
        let path = self.in_flight().await?;
        let parts = self.objects.put_multipart(&path).await?;
        Ok(Upload { path, parts, buffer: BytesMut::new(), size: 0, hash: Context::new(&SHA256), broken: false })
    }

    /// Ends an upload: under its digest if that is the `expected` one, otherwise nothing is kept and the digest found is
    /// the error. A blob that is there already is replaced by the same bytes.
    pub(crate) async fn publish(
        &self,
        mut upload: Upload,
        expected: Digest,
    ) -> Result<Result<u64, Digest>, StoreError> {
        upload.flush().await?;
        let found = Digest::try_from(upload.hash.finish().as_ref()).map_err(|_| StoreError::Stopped)?;
        if found != expected {
            upload.parts.abort().await?;
            return Ok(Err(found));
        }
        upload.parts.complete().await?;
        self.place(&upload.path, &blob(&expected)).await?;
        Ok(Ok(upload.size))
    }

    /// Says that this repository has this blob and who pushed it. The blob must be there.
    pub(crate) async fn link(&self, repository: &Repository, digest: &Digest, writer: &Name) -> Result<(), StoreError> {
        self.put(&pushed(repository, writer, digest), Bytes::new()).await?;
        self.put(&in_repository(repository, "_blobs", &digest.to_hex()), Bytes::new()).await
    }

    /// Size in bytes of a blob that this repository has.
    pub(crate) async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, StoreError> {
        self.size_through(&in_repository(repository, "_blobs", &digest.to_hex()), digest).await
    }

    /// Size in bytes of a blob that this writer pushed into this repository.
    pub(crate) async fn blob_of(
        &self,
        repository: &Repository,
        writer: &Name,
        digest: &Digest,
    ) -> Result<Option<u64>, StoreError> {
        self.size_through(&pushed(repository, writer, digest), digest).await
    }

    /// The bytes of a blob, in chunks of at most 64 KiB.
    pub(crate) fn read(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, object_store::Error>> + Send + 'static + use<> {
        let (objects, path) = (Arc::clone(&self.objects), blob(digest));
        stream::try_unfold(range, move |left| {
            let (objects, path) = (Arc::clone(&objects), path.clone());
            async move {
                if left.is_empty() {
                    return Ok(None);
                }
                let middle = left.end.min(left.start.saturating_add(CHUNK));
                let bytes = objects.get_range(&path, left.start..middle).await?;
                Ok(Some((bytes, middle..left.end)))
            }
        })
    }

    /// Writes a manifest and says that this repository has it. What it refers to must be there.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        writer: &Name,
        manifest: &StoredManifest,
    ) -> Result<(), StoreError> {
        self.put(&blob(&manifest.digest), manifest.bytes.clone()).await?;
        self.put(&pushed(repository, writer, &manifest.digest), Bytes::new()).await?;
        let link = in_repository(repository, "_manifests", &manifest.digest.to_hex());
        self.put(&link, Bytes::from(manifest.media_type.clone())).await
    }

    /// A manifest that this repository has.
    pub(crate) async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let link = in_repository(repository, "_manifests", &digest.to_hex());
        let Some(media_type) = self.get(&link).await? else { return Ok(None) };
        let path = blob(digest);
        let damaged = || StoreError::Damaged { path: path.to_string() };
        let bytes = self.get(&path).await?.ok_or_else(damaged)?;
        // Manifests are parsed by us: not before their digest matches.
        if Digest::of(&bytes) != *digest {
            return Err(damaged());
        }
        let media_type = String::from_utf8(media_type.into()).map_err(|_| damaged())?;
        Ok(Some(StoredManifest { digest: *digest, media_type, bytes }))
    }

    /// All bytes of a small blob; `None` if it is not there, longer than `limit`, or damaged.
    pub(crate) async fn small(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>, StoreError> {
        match found(self.objects.head(&blob(digest)).await)? {
            Some(meta) if meta.size <= limit => {
                Ok(self.get(&blob(digest)).await?.filter(|bytes| Digest::of(bytes) == *digest))
            }
            _ => Ok(None),
        }
    }

    /// Points a tag at a manifest, at once and for good.
    pub(crate) async fn put_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        self.put(&in_repository(repository, "_tags", tag), Bytes::from(digest.to_string())).await
    }

    /// What a tag points at.
    pub(crate) async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        self.pointer(&in_repository(repository, "_tags", tag)).await
    }

    /// Puts a release policy in force. Apart from the tags, so that only the check of a policy ever writes it.
    pub(crate) async fn put_policy(&self, repository: &Repository, digest: &Digest) -> Result<(), StoreError> {
        self.put(&in_repository(repository, "_release", "current"), Bytes::from(digest.to_string())).await
    }

    /// The manifest of the release policy in force.
    pub(crate) async fn policy(&self, repository: &Repository) -> Result<Option<Digest>, StoreError> {
        self.pointer(&in_repository(repository, "_release", "current")).await
    }

    /// All tags in lexical order (OCI distribution-spec 1.1, "Listing Tags").
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, StoreError> {
        let prefix = Path::from_iter(parts(repository, "_tags"));
        let objects: Vec<_> = match self.objects.list(Some(&prefix)).try_collect().await {
            Ok(objects) => objects,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut tags: Vec<Tag> = objects.iter().filter_map(|meta| meta.location.filename()?.parse().ok()).collect();
        tags.sort();
        Ok(tags)
    }

    /// Writes a small object: complete and durable, or not at all.
    async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let staged = self.in_flight().await?;
        self.objects.put(&staged, PutPayload::from_bytes(bytes)).await?;
        self.place(&staged, path).await
    }

    /// Renames a complete object of `uploads/` to its place.
    async fn place(&self, staged: &Path, path: &Path) -> Result<(), StoreError> {
        self.make_durable(path).await?;
        Ok(self.objects.rename(staged, path).await?)
    }

    async fn in_flight(&self) -> Result<Path, StoreError> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| StoreError::NoRandomness)?;
        let path = Path::from_iter(["uploads".to_owned(), hex::encode(random)]);
        self.make_durable(&path).await?;
        Ok(path)
    }

    /// Makes and syncs the directories above `path`, each once per process. The engine syncs the directories it makes; but
    /// two first writes at once, or one after a crash, would find a directory that somebody else made and nobody synced.
    async fn make_durable(&self, path: &Path) -> Result<(), StoreError> {
        let file = self.objects.path_to_filesystem(path)?;
        let Some(parent) = file.parent() else { return Ok(()) };
        let mut durable = self.durable.lock().await;
        if durable.contains(parent) {
            return Ok(());
        }
        let (root, directory) = (self.root.clone(), parent.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&directory)?;
            directory.ancestors().take_while(|above| above.starts_with(&root)).try_for_each(sync_directory)
        });
        task.await
            .map_err(|_| StoreError::Stopped)?
            .map_err(|source| StoreError::Directory { path: parent.to_owned(), source })?;
        durable.insert(parent.to_owned());
        Ok(())
    }

    async fn pointer(&self, path: &Path) -> Result<Option<Digest>, StoreError> {
        let Some(bytes) = self.get(path).await? else { return Ok(None) };
        let digest = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        digest.map(Some).ok_or_else(|| StoreError::Damaged { path: path.to_string() })
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        match found(self.objects.get(path).await)? {
            Some(object) => Ok(Some(object.bytes().await?)),
            None => Ok(None),
        }
    }

    async fn size_through(&self, link: &Path, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if found(self.objects.head(link).await)?.is_none() {
            return Ok(None);
        }
        Ok(found(self.objects.head(&blob(digest)).await)?.map(|meta| meta.size))
    }
}

impl Upload {
    /// How many bytes were taken.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Whether it cannot go on.
    pub(crate) const fn broken(&self) -> bool {
        self.broken
    }

    /// Takes more bytes.
    pub(crate) async fn write(&mut self, bytes: &Bytes) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        let mut rest: &[u8] = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PART.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == PART {
                // Set before the await and not cleared after it: a caller may be dropped in between, with bytes in the
                // digest that never reached the buffer.
                self.broken = true;
                self.flush().await?;
            }
        }
        self.broken = false;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let part = self.buffer.split().freeze();
        if !part.is_empty() {
            self.parts.put_part(PutPayload::from_bytes(part)).await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Upload").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

/// The engine, with `fsync` on. It syncs written files before and directories after each rename.
fn engine(root: &FilePath) -> Result<LocalFileSystem, object_store::Error> {
    Ok(LocalFileSystem::new_with_prefix(root)?.with_fsync(true))
}

/// Makes the root, for its user only, and what is missing above it. Gives the directories that have a new entry and must
/// be synced: from the root's parent up to the first that was there before.
fn make(directory: &FilePath) -> io::Result<Vec<PathBuf>> {
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

fn sync_directory(path: &FilePath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn found<T>(result: Result<T, object_store::Error>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn blob(digest: &Digest) -> Path {
    Path::from_iter(["blobs".to_owned(), "sha256".to_owned(), digest.to_hex()])
}

/// No part of a repository's name begins with `_`, so `_blobs` is never the name of a repository.
fn parts<'a>(repository: &'a Repository, kind: &'a str) -> impl Iterator<Item = &'a str> {
    ["repositories"].into_iter().chain(repository.split('/')).chain([kind])
}

fn in_repository(repository: &Repository, kind: &str, name: &str) -> Path {
    Path::from_iter(parts(repository, kind).chain([name]))
}

fn pushed(repository: &Repository, writer: &Name, digest: &Digest) -> Path {
    let hex = digest.to_hex();
    Path::from_iter(parts(repository, "_pushed").chain([writer.as_str(), hex.as_str()]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A root as we make them ourselves.
    pub(crate) fn directory() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    fn names() -> (Repository, Name) {
        ("acme/shop".parse().unwrap(), "ci".parse().unwrap())
    }

    fn files(directory: &FilePath) -> Vec<PathBuf> {
        fs::read_dir(directory).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
    }

    #[tokio::test]
    async fn fsync_is_on() {
        let directory = directory();
        let store = Store::open(directory.path()).unwrap();
        // The engine has no getter; its Debug shows the field.
        assert!(format!("{:?}", store.objects).contains("fsync: true"), "{:?}", store.objects);
        let default = LocalFileSystem::new_with_prefix(directory.path()).unwrap();
        assert!(format!("{default:?}").contains("fsync: false"), "control: {default:?}");
        // And the directories on the way down are synced by us.
        let (repository, _) = names();
        store.put_tag(&repository, &"v1".parse().unwrap(), &Digest::of(b"")).await.unwrap();
        let durable = store.durable.lock().await;
        assert!(durable.contains(&store.root.join("repositories/acme/shop/_tags")), "{durable:?}");
    }

    #[test]
    fn nobody_else_on_the_host_enters_the_store() {
        let directory = directory();
        let root = directory.path().join("a/b/store");
        let mode = |path: &FilePath| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        drop(Store::open(&root).unwrap());
        assert_eq!(mode(&root), 0o700, "whatever the umask is");
        for open in [0o750, 0o705, 0o711] {
            fs::set_permissions(&root, fs::Permissions::from_mode(open)).unwrap();
            assert!(matches!(Store::open(&root), Err(OpenError::Open { mode, .. }) if mode == open), "{open:o}");
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(Store::open(&root).is_ok(), "control");
    }

    #[test]
    fn every_directory_with_a_new_entry_is_synced() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name);
        assert_eq!(make(&at("a/b/store")).unwrap(), [at("a/b"), at("a"), directory.path().to_owned()]);
        assert_eq!(make(&at("a/b/store")).unwrap(), [at("a/b")], "control: only the parent the next time");
        assert!(at("a/b/store").is_dir());
        fs::write(at("file"), b"").unwrap();
        assert!(make(&at("file")).is_err(), "a file is no store");
    }

    #[tokio::test]
    async fn a_blob_shows_only_when_it_is_complete_and_right() {
        let directory = directory();
        let store = Store::open(directory.path()).unwrap();
        let (repository, writer) = names();
        // Across the border of a part, in odd pieces.
        let bytes = Bytes::from_iter((0..=250).cycle().take(2 * PART + 12345));
        let digest = Digest::of(&bytes);
        for (expected, good) in [(Digest::of(b"other"), false), (digest, true)] {
            let mut upload = store.begin().await.unwrap();
            for piece in bytes.chunks(777_777) {
                upload.write(&Bytes::copy_from_slice(piece)).await.unwrap();
                assert_eq!(store.small(&digest, u64::MAX).await.unwrap(), None);
            }
            let result = store.publish(upload, expected).await.unwrap();
            assert_eq!(result, if good { Ok(bytes.len() as u64) } else { Err(digest) });
            assert_eq!(files(&directory.path().join("uploads")), Vec::<PathBuf>::new());
            assert_eq!(files(&directory.path().join("blobs/sha256")).len(), usize::from(good));
        }
        assert_eq!(store.blob(&repository, &digest).await.unwrap(), None, "no repository has it yet");
        store.link(&repository, &digest, &writer).await.unwrap();
        assert_eq!(store.blob(&repository, &digest).await.unwrap(), Some(bytes.len() as u64));
        assert_eq!(store.blob(&"acme".parse().unwrap(), &digest).await.unwrap(), None);
        assert_eq!(store.blob_of(&repository, &writer, &digest).await.unwrap(), Some(bytes.len() as u64));
        assert_eq!(store.blob_of(&repository, &"eve".parse().unwrap(), &digest).await.unwrap(), None);
        let range = 1_000_000..7_000_001;
        let read: Vec<Bytes> = store.read(&digest, range.clone()).try_collect().await.unwrap();
        assert!(read.iter().all(|chunk| chunk.len() as u64 <= CHUNK));
        assert!(read.concat() == bytes[1_000_000..7_000_001], "{range:?}");
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_nothing() {
        let directory = directory();
        let stale = directory.path().join("uploads/deadbeef#1");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(&stale, b"left by a process that was killed").unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(!stale.exists(), "swept at start");
        let mut upload = store.begin().await.unwrap();
        upload.write(&Bytes::from_static(b"some")).await.unwrap();
        assert_eq!(files(&directory.path().join("uploads")).len(), 1, "control: it is in flight");
        upload.parts.abort().await.unwrap();
        assert_eq!(files(&directory.path().join("uploads")).len(), 0);
    }

    #[tokio::test]
    async fn tags_and_manifests_outlive_the_process() {
        let directory = directory();
        let (repository, writer) = names();
        let bytes = Bytes::from_static(b"{}");
        let manifest = StoredManifest { digest: Digest::of(&bytes), media_type: "a/b".to_owned(), bytes };
        let tags: Vec<Tag> = ["b", "a", "_", "A", "v1.0"].iter().map(|tag| tag.parse().unwrap()).collect();
        let store = Store::open(directory.path()).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(OpenError::Locked { .. })), "one process at a time");
        store.put_manifest(&repository, &writer, &manifest).await.unwrap();
        for tag in &tags {
            store.put_tag(&repository, tag, &manifest.digest).await.unwrap();
        }
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.manifest(&repository, &manifest.digest).await.unwrap(), Some(manifest.clone()));
        assert_eq!(store.manifest(&"other".parse().unwrap(), &manifest.digest).await.unwrap(), None);
        assert_eq!(store.tag(&repository, &tags[0]).await.unwrap(), Some(manifest.digest));
        assert_eq!(store.tag(&repository, &"c".parse().unwrap()).await.unwrap(), None);
        let listed: Vec<String> = store.tags(&repository).await.unwrap().into_iter().map(Into::into).collect();
        assert_eq!(listed, ["A", "_", "a", "b", "v1.0"]);
        assert_eq!(store.tags(&"other".parse().unwrap()).await.unwrap(), Vec::<Tag>::new());
        // Bytes that changed on the disk are not served as a manifest.
        fs::write(directory.path().join("blobs/sha256").join(manifest.digest.to_hex()), b"[]").unwrap();
        assert!(matches!(store.manifest(&repository, &manifest.digest).await, Err(StoreError::Damaged { .. })));
    }
}
