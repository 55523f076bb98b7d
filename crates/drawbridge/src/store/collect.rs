//! The collection: what nothing refers to any more goes, in time.
//!
//! Owns the order in which things go: uploads that nobody goes on with, blobs that no manifest of their repository refers to,
//! blobs that no repository has, and at last objects. Manifests stay until they are deleted: a brief names one by its digest, and no
//! registry sees briefs. Refuses nothing: it asks the database to delete, and what something refers to by then, on this
//! machine or another, the database does not delete. Any number may collect at once.
//! Invariant: what somebody pushed or asked for within the grace stays, referred to or not.

use super::content::{Object, Segments};
use super::uploads::{LEASE, discard};
use super::{Store, StoreError, credit, is_foreign_key, signed};

/// How many rows one look takes.
const BATCH: i64 = 1000;

/// How long things stay that nothing refers to, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grace {
    /// An upload that nobody goes on with.
    pub(crate) upload: u64,
    /// A blob that a manifest is yet to refer to.
    pub(crate) blob: u64,
    /// An object that somebody may still be reading.
    pub(crate) object: u64,
}

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    pub(crate) uploads: u64,
    pub(crate) links: u64,
    pub(crate) blobs: u64,
    pub(crate) objects: u64,
}

impl Store {
    /// Collects what is older than its grace at `now` (Unix seconds).
    pub(crate) async fn collect(&self, grace: Grace, now: u64) -> Result<Collected, StoreError> {
        let before = |grace: u64| signed(now.saturating_sub(grace));
        Ok(Collected {
            uploads: self.collect_uploads(before(grace.upload.max(LEASE))).await?,
            links: self.collect_links(before(grace.blob)).await?,
            blobs: self.collect_blobs().await?,
            objects: self.collect_objects(before(grace.object)).await?,
        })
    }

    async fn collect_uploads(&self, before: i64) -> Result<u64, StoreError> {
        let mut count: u64 = 0;
        loop {
            let sql = "SELECT id, objects, writing FROM uploads WHERE touched < $1 LIMIT $2";
            let idle: Vec<(String, String, Option<String>)> =
                sqlx::query_as(sql).bind(before).bind(BATCH).fetch_all(self.database.read()).await?;
            if idle.is_empty() {
                return Ok(count);
            }
            for (id, objects, writing) in idle {
                let segments: Segments = objects.parse()?;
                let writing: Option<Object> = writing.as_deref().map(str::parse).transpose()?;
                let mut transaction = self.database.begin().await?;
                let sql = "DELETE FROM uploads WHERE id = $1 AND touched < $2";
                let deleted = sqlx::query(sql).bind(id).bind(before).execute(&mut *transaction).await?;
                if deleted.rows_affected() == 1 {
                    let objects: Vec<_> = segments.into_objects().chain(writing).collect();
                    discard(&mut transaction, &objects).await?;
                    transaction.commit().await?;
                    count = count.saturating_add(1);
                }
            }
        }
    }

    async fn collect_links(&self, before: i64) -> Result<u64, StoreError> {
        let sql = "SELECT repository, digest FROM links WHERE touched < $1 AND NOT EXISTS \
                   (SELECT 1 FROM manifest_blobs WHERE repository = links.repository AND blob = links.digest) \
                   AND (repository > $2 OR (repository = $2 AND digest > $3)) ORDER BY repository, digest LIMIT $4";
        let (mut count, mut last): (u64, (String, String)) = Default::default();
        loop {
            let idle: Vec<(String, String)> = sqlx::query_as(sql)
                .bind(before)
                .bind(last.0.as_str())
                .bind(last.1.as_str())
                .bind(BATCH)
                .fetch_all(self.database.read())
                .await?;
            let Some(end) = idle.last() else { return Ok(count) };
            last = end.clone();
            for (repository, digest) in idle {
                let mut transaction = self.database.begin().await?;
                let sql = "DELETE FROM links WHERE repository = $1 AND digest = $2 AND touched < $3";
                let link = sqlx::query(sql).bind(repository.as_str()).bind(digest.as_str()).bind(before);
                match link.execute(&mut *transaction).await {
                    // Referred to since we looked.
                    Err(error) if is_foreign_key(&error) => continue,
                    Err(error) => return Err(error.into()),
                    Ok(deleted) if deleted.rows_affected() == 0 => continue,
                    Ok(_) => {}
                }
                let sql = "DELETE FROM pushed WHERE repository = $1 AND digest = $2";
                let pushed = sqlx::query(sql).bind(repository.as_str()).bind(digest.as_str());
                pushed.execute(&mut *transaction).await?;
                let size = sqlx::query_as("SELECT size FROM blobs WHERE digest = $1").bind(digest.as_str());
                let (size,): (i64,) = size.fetch_one(&mut *transaction).await?;
                credit(&mut transaction, &repository, size).await?;
                transaction.commit().await?;
                count = count.saturating_add(1);
            }
        }
    }

    async fn collect_blobs(&self) -> Result<u64, StoreError> {
        let sql = "SELECT digest, objects FROM blobs WHERE digest > $1 \
                   AND NOT EXISTS (SELECT 1 FROM links WHERE digest = blobs.digest) ORDER BY digest LIMIT $2";
        let (mut count, mut last): (u64, String) = Default::default();
        loop {
            let alone: Vec<(String, String)> =
                sqlx::query_as(sql).bind(last.as_str()).bind(BATCH).fetch_all(self.database.read()).await?;
            let Some((end, _)) = alone.last() else { return Ok(count) };
            last = end.clone();
            for (digest, objects) in alone {
                let segments: Segments = objects.parse()?;
                let mut transaction = self.database.begin().await?;
                // Of these objects: the blob may have gone and come again, with others.
                let sql = "DELETE FROM blobs WHERE digest = $1 AND objects = $2";
                match sqlx::query(sql).bind(digest).bind(objects).execute(&mut *transaction).await {
                    Err(error) if is_foreign_key(&error) => continue,
                    Err(error) => return Err(error.into()),
                    Ok(deleted) if deleted.rows_affected() == 0 => continue,
                    Ok(_) => {}
                }
                let objects: Vec<_> = segments.into_objects().collect();
                discard(&mut transaction, &objects).await?;
                transaction.commit().await?;
                count = count.saturating_add(1);
            }
        }
    }

    async fn collect_objects(&self, before: i64) -> Result<u64, StoreError> {
        let mut count: u64 = 0;
        loop {
            let sql = "SELECT object FROM garbage WHERE since < $1 LIMIT $2";
            let garbage: Vec<(String,)> =
                sqlx::query_as(sql).bind(before).bind(BATCH).fetch_all(self.database.read()).await?;
            if garbage.is_empty() {
                return Ok(count);
            }
            for (name,) in garbage {
                // The object first: a row without an object is looked at again, an object without a row never.
                self.content.remove(&name.parse()?).await?;
                let mut transaction = self.database.begin().await?;
                sqlx::query("DELETE FROM garbage WHERE object = $1").bind(name).execute(&mut *transaction).await?;
                transaction.commit().await?;
                count = count.saturating_add(1);
            }
        }
    }
}
