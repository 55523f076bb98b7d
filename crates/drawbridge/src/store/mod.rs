//! What is stored: per repository its blobs, manifests and tags; blobs by digest once for all of them.
//!
//! Owns the order of what is written: bytes into objects ([`content`]), then one transaction ([`database`]) that gives them a
//! name. So nobody ever sees half of anything, an answer leaves only after what it acknowledges is on the disk, and any number of
//! Drawbridges work on one store: the transactions decide, nothing is remembered in a process. What nothing refers to any more is
//! removed by [`collect`]; what something refers to cannot be, by the foreign keys of `schema/`.
//! Refuses manifests that refer to what the repository has not got.
//! Invariant: what has a name has exactly the bytes of its digest, completely.

mod collect;
mod content;
mod database;
mod organisations;
mod people;
mod secrets;
#[cfg(test)]
mod tests;
mod uploads;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use aws_lc_rs::rand;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use sqlx::{Any, AnyConnection};
use workload::names::{Repository, Tag};
use zeroize::Zeroizing;

pub(crate) use collect::{Collected, Grace};
pub(crate) use content::CHUNK;
use content::{Bucket, Content, Segments};
use database::Database;
pub use database::DatabaseError;
pub(crate) use organisations::{ChargeError, Space};
use organisations::{charge, credit};
pub(crate) use secrets::{Kept, SecretRow};
pub(crate) use uploads::{Upload, UploadFault};

use crate::digest::Digest;
use crate::now;
use crate::references::References;

/// The longest page of a listing, whatever is asked for.
pub(crate) const PAGE: u32 = 10_000;
/// How long what is referred to by nothing may still be referred to by a push that is under way.
const TOUCH: u64 = 600;

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    content: content::At,
    database: database::At,
}

/// The store of one process.
#[derive(Debug)]
pub(crate) struct Store {
    content: Content,
    database: Database,
    open_uploads: u32,
}

/// Why a place is no place to keep things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A bucket keeps blobs, but no tags.
    #[error("a bucket needs a database beside it")]
    NoDatabase,
    /// Not one of the three forms.
    #[error("`{0}` is no directory, no s3://BUCKET[/PREFIX] and not memory:")]
    Content(String),
    /// Not one of the two forms.
    #[error("the database is neither postgres://… nor sqlite:FILE")]
    Database,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made, read or written.
    #[error("cannot use {path} as the store: {source}")]
    Directory {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
    /// The bucket does not answer, or not to us.
    #[error("cannot use the bucket {bucket}: {source}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why.
        source: object_store::Error,
    },
    /// The database does not answer, or is not for this program.
    #[error("cannot use the database: {0}")]
    Database(#[from] DatabaseError),
    /// The process is stopping.
    #[error("stopped in the middle")]
    Stopped,
}

/// The store failed while serving: the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The objects.
    #[error(transparent)]
    Content(#[from] object_store::Error),
    /// The database.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// A file could not be read or removed.
    #[error("{path}: {source}")]
    Directory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No random name.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// What we wrote is not what we read.
    #[error("{what} is damaged")]
    Damaged {
        /// What.
        what: String,
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

/// A blob that a repository has.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) size: u64,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Inline(Bytes),
    Objects(Segments),
}

/// One line of the list of referrers (OCI distribution-spec 1.1, "Listing Referrers").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Referrer {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) size: u64,
    /// A JSON object.
    pub(crate) annotations: Option<String>,
}

/// What else a manifest changes when it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point<'a> {
    /// Nothing: it is there under its digest.
    Nowhere,
    /// This tag points at it.
    Tag(&'a Tag),
    /// It is the release policy in force, if the one in force until now is this.
    Policy { replaces: Option<Digest> },
}

/// Why a manifest is not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// It refers to what this repository has not got, or this writer did not push.
    #[error("it refers to {0}, which is not there")]
    Missing(Digest),
    /// It says another size.
    #[error("it says that {digest} has {expected} bytes, it has {found}")]
    Size { digest: Digest, expected: u64, found: u64 },
    /// Another policy was put in force meanwhile.
    #[error("another policy was put in force meanwhile")]
    Overtaken,
    /// Its organisation keeps as much as it may.
    #[error(transparent)]
    Charge(#[from] ChargeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of something that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    Yes,
    Absent,
    /// Something refers to it.
    Referenced,
}

/// A release, as it is recorded.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) workload: &'a workload::Digest,
    pub(crate) what: &'a str,
    pub(crate) digest: &'a Digest,
    pub(crate) serial: &'a str,
    pub(crate) keep: &'a str,
    pub(crate) policy: u64,
}

impl StorageError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDatabase => Some("name one by `--database postgres://…` or DONJON_DATABASE"),
            Self::Content(_) | Self::Database => None,
        }
    }
}

impl Storage {
    /// A directory, with the database in it.
    #[must_use]
    pub fn directory(path: PathBuf) -> Self {
        let database = database::At::File(path.join("drawbridge.sqlite"));
        Self { content: content::At::Directory(path), database }
    }

    /// In memory, until the process ends.
    #[must_use]
    pub const fn memory() -> Self {
        Self { content: content::At::Memory, database: database::At::Memory }
    }

    /// As an operator says it. `content`: a directory, `s3://BUCKET[/PREFIX]` or `memory:`. `database`:
    /// `postgres://…` or `sqlite:FILE`; without it, a directory has one in it. `environment`: says where a bucket is and who we
    /// are there, by the variables that other programs read too (`AWS_…`).
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn parse(
        content: &str,
        database: Option<&str>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, StorageError> {
        let database = match database {
            None => None,
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Some(database::At::Postgres(url.to_owned()))
            }
            Some(url) => match url.strip_prefix("sqlite:") {
                Some(file) if !file.is_empty() => Some(database::At::File(file.into())),
                _ => return Err(StorageError::Database),
            },
        };
        let Self { content, database: own } = match (content, content.strip_prefix("s3://")) {
            ("memory:", _) => Self::memory(),
            (_, Some(bucket)) => {
                let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
                if bucket.is_empty() {
                    return Err(StorageError::Content(content.to_owned()));
                }
                let content = content::At::Bucket(Bucket::new(bucket, prefix, environment));
                let database = database.ok_or(StorageError::NoDatabase)?;
                return Ok(Self { content, database });
            }
            (text, None) if text.contains("://") || text.is_empty() => {
                return Err(StorageError::Content(text.to_owned()));
            }
            (directory, None) => Self::directory(directory.into()),
        };
        Ok(Self { content, database: database.unwrap_or(own) })
    }
}

impl Store {
    /// Opens it, and makes it if need be. The directory first: the database may lie in it.
    pub(crate) async fn open(storage: &Storage, open_uploads: u32) -> Result<Self, OpenError> {
        let Storage { content, database } = storage;
        let content = Content::open(content).await?;
        Ok(Self { content, database: Database::open(database).await?, open_uploads })
    }

    /// The key of this name, of 256 random bits: made by who asks first.
    pub(crate) async fn key(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        let mut fresh = Zeroizing::new([0; 32]);
        rand::fill(&mut *fresh).map_err(|_| StoreError::NoRandomness)?;
        let mut transaction = self.database.begin().await?;
        let sql = "INSERT INTO keys (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(name).bind(hex::encode(fresh.as_slice())).execute(&mut *transaction).await?;
        let kept = sqlx::query_as("SELECT value FROM keys WHERE name = $1").bind(name);
        let (kept,): (String,) = kept.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        let damaged = || StoreError::Damaged { what: format!("the key {name}") };
        hex::decode_to_slice(kept, &mut *fresh).map_err(|_| damaged())?;
        Ok(fresh)
    }

    /// Whether rows and objects can be read now.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(self.database.read()).await?;
        self.content.ready().await
    }

    /// A new name for something, of 128 random bits.
    pub(crate) fn new_id(&self) -> Result<String, StoreError> {
        Ok(content::Object::new()?.as_str().to_owned())
    }

    /// Says that this repository exists.
    pub(crate) async fn declare(&self, repository: &Repository) -> Result<(), StoreError> {
        let sql = "INSERT INTO repositories (name) VALUES ($1) ON CONFLICT DO NOTHING";
        let mut transaction = self.database.begin().await?;
        sqlx::query(sql).bind(repository.as_str()).execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// A blob that this repository has.
    pub(crate) async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Blob>, StoreError> {
        let sql = "SELECT size, inline, objects FROM blobs JOIN links ON links.digest = blobs.digest \
                   WHERE links.repository = $1 AND links.digest = $2";
        let found: Option<(i64, Option<Vec<u8>>, String)> = sqlx::query_as(sql)
            .bind(repository.as_str())
            .bind(digest.to_string())
            .fetch_optional(self.database.read())
            .await?;
        let Some((size, inline, objects)) = found else { return Ok(None) };
        let body = match inline {
            Some(bytes) => Body::Inline(bytes.into()),
            None => Body::Objects(objects.parse()?),
        };
        Ok(Some(Blob { size: unsigned(size)?, body }))
    }

    /// The bytes of a blob, in chunks of 64 KiB, or some more.
    pub(crate) async fn read(
        &self,
        blob: Blob,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        match blob.body {
            Body::Objects(segments) => self.content.read(&segments, range).await,
            Body::Inline(bytes) => {
                let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
                let part = bytes.slice(at(range.start)..at(range.end).max(at(range.start)));
                Ok(stream::iter((!part.is_empty()).then_some(Ok(part))).boxed())
            }
        }
    }

    /// All bytes of a small blob that this repository has; `None` if it is not there, longer than `limit`, or damaged.
    pub(crate) async fn small(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(blob) = self.blob(repository, digest).await?.filter(|blob| blob.size <= limit) else {
            return Ok(None);
        };
        let size = blob.size;
        let chunks: Vec<_> = self.read(blob, 0..size).await?.collect().await;
        let bytes = chunks.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        Ok((digest.alike(&bytes) == *digest).then(|| bytes.into()))
    }

    /// Says that somebody is about to refer to this blob, so that it is not collected before he did.
    pub(crate) async fn touch(&self, repository: &Repository, digest: &Digest) -> Result<(), StoreError> {
        let sql = "SELECT touched FROM links WHERE repository = $1 AND digest = $2";
        let touched: Option<(i64,)> = sqlx::query_as(sql)
            .bind(repository.as_str())
            .bind(digest.to_string())
            .fetch_optional(self.database.read())
            .await?;
        let now = signed(now());
        if touched.is_some_and(|(touched,)| touched < now.saturating_sub(signed(TOUCH))) {
            let mut transaction = self.database.begin().await?;
            let sql = "UPDATE links SET touched = $1 WHERE repository = $2 AND digest = $3";
            let touch = sqlx::query(sql).bind(now).bind(repository.as_str()).bind(digest.to_string());
            touch.execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Says that this repository has a blob of another one, and that this writer put it there. False: that one has it not.
    pub(crate) async fn mount(
        &self,
        from: &Repository,
        digest: &Digest,
        to: &Repository,
        writer: &str,
    ) -> Result<bool, ChargeError> {
        let mut transaction = self.database.begin().await?;
        if size(&mut transaction, from, digest, Kind::Blob, None).await?.is_none() {
            return Ok(false);
        }
        match link(&mut transaction, to, digest).await {
            // Collected since we looked.
            Err(ChargeError::Store(StoreError::Database(error))) if is_foreign_key(&error) => return Ok(false),
            linked => linked?,
        }
        push(&mut transaction, to, digest, writer).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// A manifest that this repository has.
    pub(crate) async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let sql = "SELECT digest, media_type, content FROM manifests WHERE repository = $1 AND digest = $2";
        let found = sqlx::query_as(sql).bind(repository.as_str()).bind(digest.to_string());
        stored(found.fetch_optional(self.database.read()).await?)
    }

    /// The manifest that a tag points at.
    pub(crate) async fn tagged(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let sql = "SELECT manifests.digest, media_type, content FROM tags \
                   JOIN manifests ON manifests.repository = tags.repository AND manifests.digest = tags.digest \
                   WHERE tags.repository = $1 AND tag = $2";
        let found = sqlx::query_as(sql).bind(repository.as_str()).bind(tag.as_str());
        stored(found.fetch_optional(self.database.read()).await?)
    }

    /// Writes a manifest, and what points at it. `own`: what it refers to must have been pushed by this writer, or else it
    /// is as good as absent to him.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        writer: &str,
        manifest: &StoredManifest,
        references: &References,
        own: bool,
        point: Point<'_>,
    ) -> Result<(), PutError> {
        let StoredManifest { digest, media_type, bytes } = manifest;
        let References { artifact_type, subject, annotations, blobs, manifests } = references;
        let mut transaction = self.database.begin().await?;
        let sql = "INSERT INTO manifests \
                   (repository, digest, media_type, artifact_type, subject, annotations, content, size, pushed) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        let new = sqlx::query(sql)
            .bind(repository.as_str())
            .bind(digest.to_string())
            .bind(media_type.as_str())
            .bind(artifact_type.as_deref())
            .bind(subject.as_ref().map(|subject| subject.digest.to_string()))
            .bind(annotations.as_deref())
            .bind(&bytes[..])
            .bind(signed(bytes.len() as u64))
            .bind(signed(now()))
            .execute(&mut *transaction)
            .await?;
        let new = new.rows_affected() > 0;
        let blobs = blobs.iter().map(|blob| (blob.digest, blob.size, Kind::Blob));
        let manifests = manifests.iter().map(|child| (child.digest, child.size, Kind::Manifest));
        let refers: Vec<_> = blobs.chain(manifests).collect();
        for (digest, expected, kind) in refers {
            let found = size(&mut transaction, repository, &digest, kind, own.then_some(writer)).await?;
            let found = found.ok_or(PutError::Missing(digest))?;
            if found != expected {
                return Err(PutError::Size { digest, expected, found });
            }
            if new {
                let refers = sqlx::query(kind.refers()).bind(repository.as_str()).bind(manifest.digest.to_string());
                let referred = refers.bind(digest.to_string()).execute(&mut *transaction).await;
                referred
                    .map_err(|error| if is_foreign_key(&error) { PutError::Missing(digest) } else { error.into() })?;
            }
        }
        push(&mut transaction, repository, digest, writer).await?;
        match point {
            Point::Nowhere => {}
            Point::Tag(tag) => {
                let sql = "INSERT INTO tags (repository, tag, digest) VALUES ($1, $2, $3) \
                           ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest";
                let tag = sqlx::query(sql).bind(repository.as_str()).bind(tag.as_str()).bind(digest.to_string());
                tag.execute(&mut *transaction).await?;
            }
            Point::Policy { replaces } => {
                let put = match replaces {
                    None => {
                        sqlx::query("INSERT INTO policies (repository, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                            .bind(repository.as_str())
                            .bind(digest.to_string())
                    }
                    Some(before) => {
                        sqlx::query("UPDATE policies SET digest = $2 WHERE repository = $1 AND digest = $3")
                            .bind(repository.as_str())
                            .bind(digest.to_string())
                            .bind(before.to_string())
                    }
                };
                if put.execute(&mut *transaction).await?.rows_affected() == 0 {
                    return Err(PutError::Overtaken);
                }
            }
        }
        if new {
            charge(&mut transaction, repository, bytes.len() as u64).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The manifest of the release policy in force.
    pub(crate) async fn policy(&self, repository: &Repository) -> Result<Option<StoredManifest>, StoreError> {
        let sql = "SELECT manifests.digest, media_type, content FROM policies \
                   JOIN manifests ON manifests.repository = policies.repository AND manifests.digest = policies.digest \
                   WHERE policies.repository = $1";
        stored(sqlx::query_as(sql).bind(repository.as_str()).fetch_optional(self.database.read()).await?)
    }

    /// Tags after `last` in lexical order, at most so many, with what they point at.
    pub(crate) async fn tags(
        &self,
        repository: &Repository,
        last: &str,
        most: u32,
    ) -> Result<Vec<(Tag, Digest)>, StoreError> {
        let sql = "SELECT tag, digest FROM tags WHERE repository = $1 AND tag > $2 ORDER BY tag LIMIT $3";
        let rows: Vec<(String, String)> = sqlx::query_as(sql)
            .bind(repository.as_str())
            .bind(last)
            .bind(i64::from(most))
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(|(tag, digest)| Ok((parse(tag, "a tag")?, parse(digest, "a digest")?))).collect()
    }

    /// Manifests whose subject is this, after `last` by digest, at most so many.
    pub(crate) async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &str,
        most: u32,
    ) -> Result<Vec<Referrer>, StoreError> {
        type Row = (String, String, Option<String>, i64, Option<String>);
        let sql = "SELECT digest, media_type, artifact_type, size, annotations FROM manifests \
                   WHERE repository = $1 AND subject = $2 AND digest > $3 AND ($4 = '' OR artifact_type = $4) \
                   ORDER BY digest LIMIT $5";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(repository.as_str())
            .bind(subject.to_string())
            .bind(last)
            .bind(artifact_type.unwrap_or_default())
            .bind(i64::from(most))
            .fetch_all(self.database.read())
            .await?;
        let referrer = |(digest, media_type, artifact_type, size, annotations): Row| {
            let (digest, size) = (parse(&digest, "a digest")?, unsigned(size)?);
            Ok(Referrer { digest, media_type, artifact_type, size, annotations })
        };
        rows.into_iter().map(referrer).collect()
    }

    /// Whether this is the workload's or about it: its manifest or one whose subject it is, or a blob of one of these.
    pub(crate) async fn is_of(
        &self,
        repository: &Repository,
        workload: &Digest,
        digest: &Digest,
        kind: Kind,
    ) -> Result<bool, StoreError> {
        let sql = match kind {
            Kind::Manifest => {
                "SELECT 1 FROM manifests WHERE repository = $1 AND digest = $2 AND (digest = $3 OR subject = $3)"
            }
            Kind::Blob => {
                "SELECT 1 FROM manifest_blobs \
                 JOIN manifests ON manifests.repository = manifest_blobs.repository AND manifests.digest = manifest \
                 WHERE manifest_blobs.repository = $1 AND blob = $2 AND (digest = $3 OR subject = $3)"
            }
        };
        let found = sqlx::query(sql).bind(repository.as_str()).bind(digest.to_string()).bind(workload.to_string());
        Ok(found.fetch_optional(self.database.read()).await?.is_some())
    }

    /// Whether this writer pushed it here.
    pub(crate) async fn is_pushed(
        &self,
        repository: &Repository,
        digest: &Digest,
        writer: &str,
    ) -> Result<bool, StoreError> {
        let pushed = sqlx::query(PUSHED).bind(repository.as_str()).bind(digest.to_string()).bind(writer);
        Ok(pushed.fetch_optional(self.database.read()).await?.is_some())
    }

    /// Takes a tag away.
    pub(crate) async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<Deleted, StoreError> {
        let sql = "DELETE FROM tags WHERE repository = $1 AND tag = $2";
        self.delete(sql, repository, tag.as_str(), None).await
    }

    /// Takes a manifest away, and the tags that point at it; not while an index refers to it, or a release policy is in it.
    pub(crate) async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Deleted, StoreError> {
        let sql = "DELETE FROM manifests WHERE repository = $1 AND digest = $2";
        self.delete(sql, repository, &digest.to_string(), Some(Kind::Manifest)).await
    }

    /// Takes a blob away from this repository; not while a manifest refers to it.
    pub(crate) async fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Result<Deleted, StoreError> {
        let sql = "DELETE FROM links WHERE repository = $1 AND digest = $2";
        self.delete(sql, repository, &digest.to_string(), Some(Kind::Blob)).await
    }

    /// `frees`: what its bytes were counted as.
    async fn delete(
        &self,
        sql: &'static str,
        repository: &Repository,
        name: &str,
        frees: Option<Kind>,
    ) -> Result<Deleted, StoreError> {
        let mut transaction = self.database.begin().await?;
        let mut freed: Option<(i64,)> = None;
        if let Some(kind) = frees {
            let size = sqlx::query_as(kind.size()).bind(repository.as_str()).bind(name);
            freed = size.fetch_optional(&mut *transaction).await?;
        }
        match sqlx::query(sql).bind(repository.as_str()).bind(name).execute(&mut *transaction).await {
            Err(error) if is_foreign_key(&error) => return Ok(Deleted::Referenced),
            Err(error) => return Err(error.into()),
            Ok(deleted) if deleted.rows_affected() == 0 => return Ok(Deleted::Absent),
            Ok(_) => {}
        }
        // Of no tag, whose name no digest has.
        let sql = "DELETE FROM pushed WHERE repository = $1 AND digest = $2";
        sqlx::query(sql).bind(repository.as_str()).bind(name).execute(&mut *transaction).await?;
        if let Some((bytes,)) = freed {
            credit(&mut transaction, repository, bytes).await?;
        }
        transaction.commit().await?;
        Ok(Deleted::Yes)
    }

    /// Writes down that something is released. When this returns it is on the disk.
    pub(crate) async fn record(&self, record: &Record<'_>) -> Result<(), StoreError> {
        let Record { repository, workload, what, digest, serial, keep, policy } = record;
        let sql = "INSERT INTO releases (id, at, repository, workload, what, digest, serial, keep, policy) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let mut transaction = self.database.begin().await?;
        sqlx::query(sql)
            .bind(content::Object::new()?.as_str())
            .bind(signed(now()))
            .bind(repository.as_str())
            .bind(workload.to_string())
            .bind(*what)
            .bind(digest.to_string())
            .bind(*serial)
            .bind(*keep)
            .bind(signed(*policy))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// What a manifest refers to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Blob,
    Manifest,
}

impl Kind {
    const fn refers(self) -> &'static str {
        match self {
            Self::Blob => {
                "INSERT INTO manifest_blobs (repository, manifest, blob) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
            }
            Self::Manifest => {
                "INSERT INTO manifest_children (repository, manifest, child) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
            }
        }
    }

    const fn size(self) -> &'static str {
        match self {
            Self::Blob => {
                "SELECT size FROM blobs JOIN links ON links.digest = blobs.digest \
                 WHERE links.repository = $1 AND links.digest = $2"
            }
            Self::Manifest => "SELECT size FROM manifests WHERE repository = $1 AND digest = $2",
        }
    }
}

const PUSHED: &str = "SELECT 1 FROM pushed WHERE repository = $1 AND digest = $2 AND writer = $3";

/// The size of what this repository has, and this writer pushed if one is named.
async fn size(
    connection: &mut AnyConnection,
    repository: &Repository,
    digest: &Digest,
    kind: Kind,
    writer: Option<&str>,
) -> Result<Option<u64>, StoreError> {
    if let Some(writer) = writer {
        let pushed = sqlx::query(PUSHED).bind(repository.as_str()).bind(digest.to_string()).bind(writer);
        if pushed.fetch_optional(&mut *connection).await?.is_none() {
            return Ok(None);
        }
    }
    let found = sqlx::query_as(kind.size()).bind(repository.as_str()).bind(digest.to_string());
    let found: Option<(i64,)> = found.fetch_optional(connection).await?;
    found.map(|(size,)| unsigned(size)).transpose()
}

/// Says that this repository has this blob, from now on or still.
async fn link(connection: &mut AnyConnection, repository: &Repository, digest: &Digest) -> Result<(), ChargeError> {
    let (name, digest, now) = (repository.as_str(), digest.to_string(), signed(now()));
    let sql = "INSERT INTO links (repository, digest, touched) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let new = sqlx::query(sql).bind(name).bind(digest.as_str()).bind(now).execute(&mut *connection).await?;
    if new.rows_affected() == 0 {
        let sql = "UPDATE links SET touched = $3 WHERE repository = $1 AND digest = $2";
        sqlx::query(sql).bind(name).bind(digest).bind(now).execute(connection).await?;
        return Ok(());
    }
    let size = sqlx::query_as("SELECT size FROM blobs WHERE digest = $1").bind(digest).fetch_one(&mut *connection);
    let (size,): (i64,) = size.await?;
    charge(connection, repository, unsigned(size)?).await
}

/// Says who pushed it.
async fn push(
    connection: &mut AnyConnection,
    repository: &Repository,
    digest: &Digest,
    writer: &str,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO pushed (repository, digest, writer) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let pushed = sqlx::query::<Any>(sql).bind(repository.as_str()).bind(digest.to_string()).bind(writer);
    pushed.execute(connection).await.map(|_| ())
}

/// A manifest from its row.
fn stored(row: Option<(String, String, Vec<u8>)>) -> Result<Option<StoredManifest>, StoreError> {
    let Some((digest, media_type, content)) = row else { return Ok(None) };
    let digest: Digest = parse(&digest, "a digest")?;
    // Manifests are parsed by us: not before their digest matches.
    if digest.alike(&content) != digest {
        return Err(StoreError::Damaged { what: format!("manifest {digest}") });
    }
    Ok(Some(StoredManifest { digest, media_type, bytes: content.into() }))
}

fn parse<T: FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged { what: format!("{what} in the database") })
}

/// Databases know signed numbers only. None of ours comes near the end of them.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    number.try_into().map_err(|_| StoreError::Damaged { what: "a size in the database".to_owned() })
}

fn is_foreign_key(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_foreign_key_violation())
}

impl From<sqlx::Error> for PutError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            content::At::Directory(path) => write!(out, "{}", path.display()),
            content::At::Bucket(Bucket { name, prefix, .. }) => write!(out, "s3://{name}/{prefix}"),
            content::At::Memory => out.write_str("memory"),
        }
    }
}
