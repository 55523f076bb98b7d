//! Uploads in flight: which there are, whose they are, how far they are, and what becomes of their bytes.
//!
//! Owns the sessions of OCI uploads (distribution-spec 1.1, "Pushing blobs"). Where one stands is in the database, the state of
//! its SHA-256 included, so that the next chunk may come to another Drawbridge, and a process that is killed takes no
//! acknowledged byte with it. Each request writes an object of its own. Refuses two requests that write to one upload: the first
//! to claim it has it, until it ends or is silent for [`LEASE`]. Little blobs become a row and no object.
//! Invariant: an object has a row that names it before its first byte is written, so nothing is left that nobody knows of.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256, Sha512};
use sqlx::AnyConnection;
use tokio::time::Instant;
use workload::names::Repository;

use super::content::{Object, Segment, Segments, Writing};
use super::{ChargeError, Store, StoreError, is_foreign_key, link, push, signed, unsigned};
use crate::digest::{Digest, Mismatch};
use crate::now;

/// The longest blob that is a row, in bytes. A database is faster than a file system with little things.
const INLINE: usize = 16 * 1024;
/// How many chunks one blob may come in. Each is an object.
const MOST: usize = 4096;
/// How long a request that writes may be silent before another may go on in its place, in seconds. Connections are closed
/// before that.
pub(super) const LEASE: u64 = 180;
/// How often a request that writes says that it still does.
const BEAT: Duration = Duration::from_secs(30);

/// An upload in the hands of one request.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    store: &'a Store,
    repository: Repository,
    writer: String,
    /// Its row; `None` for an upload that is one request and has not yet needed one.
    row: Option<Row>,
    segments: Segments,
    size: u64,
    hash: Sha256,
    object: Object,
    writing: Writing,
    beat: Instant,
}

#[derive(Debug)]
struct Row {
    id: String,
    /// What stands in `writing`: of an earlier request until this one claimed it.
    writing: Option<String>,
    claimed: bool,
    /// Its size when this request took it up. With another one somebody else went on with it.
    from: u64,
}

/// Why an upload cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadFault {
    #[error("it is not there, or somebody else's")]
    Absent,
    #[error("another request writes to it")]
    Busy,
    #[error("too many of one writer")]
    TooMany,
    #[error("it came in more than {MOST} chunks")]
    TooManyChunks,
    #[error("{0}")]
    Digest(Box<Mismatch>),
    #[error(transparent)]
    Charge(ChargeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChargeError> for UploadFault {
    fn from(error: ChargeError) -> Self {
        match error {
            ChargeError::Store(error) => Self::Store(error),
            full => Self::Charge(full),
        }
    }
}

impl Store {
    /// Begins an upload that later requests go on with, under the returned name.
    pub(crate) async fn begin(&self, repository: &Repository, writer: &str) -> Result<String, UploadFault> {
        let id = Object::new()?.as_str().to_owned();
        let empty = Row { id: id.clone(), writing: None, claimed: false, from: 0 };
        insert(self, &empty, repository, writer, &Sha256::new()).await?;
        Ok(id)
    }

    /// An upload that is one request.
    pub(crate) fn single(&self, repository: &Repository, writer: &str) -> Result<Upload<'_>, StoreError> {
        Upload::new(self, repository, writer, None)
    }

    /// How far an upload is, in bytes.
    pub(crate) async fn standing(&self, id: &str, repository: &Repository, writer: &str) -> Result<u64, UploadFault> {
        Ok(self.resume(id, repository, writer).await?.size)
    }

    /// An upload to go on with.
    pub(crate) async fn resume(
        &self,
        id: &str,
        repository: &Repository,
        writer: &str,
    ) -> Result<Upload<'_>, UploadFault> {
        let sql = "SELECT size, hash, inline, objects, writing, touched FROM uploads \
                   WHERE id = $1 AND repository = $2 AND writer = $3";
        type Columns = (i64, String, Option<Vec<u8>>, String, Option<String>, i64);
        let found = sqlx::query_as(sql).bind(id).bind(repository.as_str()).bind(writer);
        let found: Option<Columns> = found.fetch_optional(self.database.read()).await.map_err(StoreError::from)?;
        let (size, hash, inline, objects, writing, touched) = found.ok_or(UploadFault::Absent)?;
        if writing.is_some() && touched >= signed(now().saturating_sub(LEASE)) {
            return Err(UploadFault::Busy);
        }
        let row = Row { id: id.to_owned(), writing, claimed: false, from: unsigned(size)? };
        let mut upload = Upload::new(self, repository, writer, Some(row))?;
        if let Some(bytes) = inline {
            upload.writing.write(&bytes).await?;
        }
        upload.segments = objects.parse()?;
        upload.size = unsigned(size)?;
        upload.hash = state(&hash).ok_or_else(|| StoreError::Damaged { what: format!("upload {id}") })?;
        Ok(upload)
    }

    /// Gives an upload up.
    pub(crate) async fn cancel(&self, id: &str, repository: &Repository, writer: &str) -> Result<(), UploadFault> {
        self.resume(id, repository, writer).await?.abandon().await
    }
}

impl<'a> Upload<'a> {
    fn new(store: &'a Store, repository: &Repository, writer: &str, row: Option<Row>) -> Result<Self, StoreError> {
        let object = Object::new()?;
        let writing = store.content.write(&object);
        let (repository, writer, segments) = (repository.clone(), writer.to_owned(), Segments::default());
        let (hash, beat) = (Sha256::new(), Instant::now());
        Ok(Self { store, repository, writer, row, segments, size: 0, hash, object, writing, beat })
    }

    /// How many bytes were taken.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Takes more bytes.
    pub(crate) async fn write(&mut self, bytes: &Bytes) -> Result<(), UploadFault> {
        if self.writing.needs_object(bytes.len()) {
            self.claim().await?;
        }
        if self.beat.elapsed() > BEAT {
            self.keep_claim().await?;
        }
        self.hash.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(self.writing.write(bytes).await?)
    }

    /// Leaves it to a later request. What was taken is on the disk when this returns.
    pub(crate) async fn pause(mut self) -> Result<u64, UploadFault> {
        let inline = self.inline();
        if inline.is_none() {
            self.store_object().await?;
        }
        let Some(row) = &self.row else { return Err(UploadFault::Absent) };
        let sql = "UPDATE uploads SET size = $1, hash = $2, inline = $3, objects = $4, writing = NULL, touched = $5 \
                   WHERE id = $6 AND COALESCE(writing, '') = $7 AND size = $8";
        let mut transaction = self.store.database.begin().await?;
        let updated = sqlx::query(sql)
            .bind(signed(self.size))
            .bind(hex::encode(self.hash.serialize()))
            .bind(inline)
            .bind(self.segments.to_string())
            .bind(signed(now()))
            .bind(row.id.as_str())
            .bind(row.writing.as_deref().unwrap_or_default())
            .bind(signed(row.from))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        if updated.rows_affected() == 0 {
            return Err(UploadFault::Busy);
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(self.size)
    }

    /// Ends it: its bytes are this blob of its repository, or nothing. When this returns they are on the disk.
    pub(crate) async fn publish(mut self, expected: &Digest) -> Result<(), UploadFault> {
        let sha256 = Digest::Sha256(<[u8; 32]>::from(self.hash.clone().finalize()).into());
        if matches!(expected, Digest::Sha256(_)) && sha256 != *expected {
            self.abandon().await?;
            return Err(UploadFault::Digest(Box::new(Mismatch { expected: *expected, found: sha256 })));
        }
        let inline = self.inline();
        if inline.is_none() {
            self.store_object().await?;
        }
        if matches!(expected, Digest::Sha512(_)) {
            let found = self.sha512(inline.as_deref()).await?;
            if found != *expected {
                self.abandon().await?;
                return Err(UploadFault::Digest(Box::new(Mismatch { expected: *expected, found })));
            }
        }
        // Once more if a blob that was there before was collected in between.
        let mut named = self.name(expected, inline.as_deref()).await;
        if matches!(&named, Err(UploadFault::Store(StoreError::Database(error))) if is_foreign_key(error)) {
            named = self.name(expected, inline.as_deref()).await;
        }
        if matches!(named, Err(UploadFault::Charge(_))) {
            self.abandon().await?;
        }
        named
    }

    /// Leaves the upload as it was before this request.
    pub(crate) async fn take_back(self) -> Result<(), UploadFault> {
        let Self { store, row, object, writing, .. } = self;
        writing.abandon().await;
        let Some(row) = row.filter(|row| row.claimed) else { return Ok(()) };
        let mut transaction = store.database.begin().await?;
        discard(&mut transaction, std::slice::from_ref(&object)).await?;
        let sql = "UPDATE uploads SET writing = NULL WHERE id = $1 AND writing = $2";
        let given = sqlx::query(sql).bind(row.id).bind(object.as_str()).execute(&mut *transaction).await;
        given.map_err(StoreError::from)?;
        Ok(transaction.commit().await.map_err(StoreError::from)?)
    }

    /// Leaves nothing of it.
    pub(crate) async fn abandon(self) -> Result<(), UploadFault> {
        let Self { store, row, segments, writing, .. } = self;
        writing.abandon().await;
        let Some(row) = row else { return Ok(()) };
        let mut transaction = store.database.begin().await?;
        let before = row.writing.as_deref().map(str::parse).transpose()?;
        let objects: Vec<_> = segments.into_objects().chain(before).collect();
        discard(&mut transaction, &objects).await?;
        end(&mut transaction, &row).await?;
        Ok(transaction.commit().await.map_err(StoreError::from)?)
    }

    /// The other digest. Which of the two is meant is said at the end, and this one is rare: so it is read again for it.
    async fn sha512(&mut self, inline: Option<&[u8]>) -> Result<Digest, StoreError> {
        let mut hash = Sha512::new();
        hash.update(inline.unwrap_or_default());
        let mut chunks = self.store.content.read(&self.segments, 0..self.size).await?;
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(chunk);
        }
        Ok(Digest::Sha512(hash.finalize().into()))
    }

    /// All of it, if it is so little that it is to be a row.
    fn inline(&self) -> Option<Vec<u8>> {
        let bytes = self.writing.in_memory().filter(|bytes| bytes.len() <= INLINE && self.segments.0.is_empty())?;
        Some(bytes.to_vec())
    }

    /// Makes what this request wrote an object.
    async fn store_object(&mut self) -> Result<(), UploadFault> {
        if self.writing.size() == 0 {
            return Ok(());
        }
        if self.segments.0.len() >= MOST {
            return Err(UploadFault::TooManyChunks);
        }
        self.claim().await?;
        let next = self.store.content.write(&self.object);
        let size = std::mem::replace(&mut self.writing, next).finish().await?;
        self.segments.0.push(Segment { object: self.object.clone(), size });
        Ok(())
    }

    /// Says in the row, which is made if there is none, that this request writes.
    async fn claim(&mut self) -> Result<(), UploadFault> {
        let Some(row) = &mut self.row else {
            let writing = Some(self.object.as_str().to_owned());
            let row = Row { id: Object::new()?.as_str().to_owned(), writing, claimed: true, from: 0 };
            insert(self.store, &row, &self.repository, &self.writer, &self.hash).await?;
            self.row = Some(row);
            return Ok(());
        };
        if row.claimed {
            return Ok(());
        }
        let sql = "UPDATE uploads SET writing = $1, touched = $2 \
                   WHERE id = $3 AND COALESCE(writing, '') = $4 AND size = $5";
        let mut transaction = self.store.database.begin().await?;
        let claimed = sqlx::query(sql)
            .bind(self.object.as_str())
            .bind(signed(now()))
            .bind(row.id.as_str())
            .bind(row.writing.as_deref().unwrap_or_default())
            .bind(signed(row.from))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        if claimed.rows_affected() == 0 {
            return Err(UploadFault::Busy);
        }
        // What a request that fell silent left.
        if let Some(left) = &row.writing {
            discard(&mut transaction, &[left.parse()?]).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        row.writing = Some(self.object.as_str().to_owned());
        row.claimed = true;
        Ok(())
    }

    async fn keep_claim(&mut self) -> Result<(), UploadFault> {
        self.beat = Instant::now();
        self.claim().await?;
        let sql = "UPDATE uploads SET touched = $1 WHERE writing = $2";
        let mut transaction = self.store.database.begin().await?;
        let kept = sqlx::query(sql).bind(signed(now())).bind(self.object.as_str()).execute(&mut *transaction).await;
        if kept.map_err(StoreError::from)?.rows_affected() == 0 {
            return Err(UploadFault::Busy);
        }
        Ok(transaction.commit().await.map_err(StoreError::from)?)
    }

    /// Gives the bytes their name.
    async fn name(&mut self, digest: &Digest, inline: Option<&[u8]>) -> Result<(), UploadFault> {
        let mut transaction = self.store.database.begin().await?;
        let sql = "INSERT INTO blobs (digest, size, inline, objects) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let new = sqlx::query(sql)
            .bind(digest.to_string())
            .bind(signed(self.size))
            .bind(inline)
            .bind(self.segments.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        if new.rows_affected() == 0 {
            let objects: Vec<_> = self.segments.clone().into_objects().collect();
            discard(&mut transaction, &objects).await?;
        }
        link(&mut transaction, &self.repository, digest).await?;
        push(&mut transaction, &self.repository, digest, &self.writer).await.map_err(StoreError::from)?;
        if let Some(row) = &self.row {
            end(&mut transaction, row).await?;
        }
        Ok(transaction.commit().await.map_err(StoreError::from)?)
    }
}

/// The row of an upload that has nothing yet.
async fn insert(
    store: &Store,
    row: &Row,
    repository: &Repository,
    writer: &str,
    hash: &Sha256,
) -> Result<(), UploadFault> {
    let Row { id, writing, claimed: _, from: _ } = row;
    let sql = "INSERT INTO uploads (id, repository, writer, size, hash, inline, objects, writing, touched) \
               SELECT $1, $2, $3, 0, $4, NULL, '', $5, $6 \
               WHERE (SELECT COUNT(*) FROM uploads WHERE writer = $3) < $7";
    let mut transaction = store.database.begin().await?;
    let inserted = sqlx::query(sql)
        .bind(id.as_str())
        .bind(repository.as_str())
        .bind(writer)
        .bind(hex::encode(hash.serialize()))
        .bind(writing.as_deref())
        .bind(signed(now()))
        .bind(i64::from(store.open_uploads))
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::from)?;
    if inserted.rows_affected() == 0 {
        return Err(UploadFault::TooMany);
    }
    Ok(transaction.commit().await.map_err(StoreError::from)?)
}

/// Removes the row, if it is still this request's.
async fn end(connection: &mut AnyConnection, row: &Row) -> Result<(), UploadFault> {
    let Row { id, writing, claimed: _, from } = row;
    let sql = "DELETE FROM uploads WHERE id = $1 AND COALESCE(writing, '') = $2 AND size = $3";
    let ended = sqlx::query(sql).bind(id.as_str()).bind(writing.as_deref().unwrap_or_default());
    let ended = ended.bind(signed(*from)).execute(connection).await.map_err(StoreError::from)?;
    if ended.rows_affected() == 0 { Err(UploadFault::Busy) } else { Ok(()) }
}

/// Leaves objects to the collection.
pub(super) async fn discard(connection: &mut AnyConnection, objects: &[Object]) -> Result<(), StoreError> {
    for object in objects {
        let sql = "INSERT INTO garbage (object, since) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(object.as_str()).bind(signed(now())).execute(&mut *connection).await?;
    }
    Ok(())
}

fn state(hash: &str) -> Option<Sha256> {
    let bytes = hex::decode(hash).ok()?;
    Sha256::deserialize(bytes.as_slice().try_into().ok()?).ok()
}
