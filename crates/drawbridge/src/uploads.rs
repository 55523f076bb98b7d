//! Uploads in flight: which there are, whose they are, and when they are given up.
//!
//! Owns the sessions of OCI uploads (distribution-spec 1.1, "Pushing blobs"). Refuses more of them than the settings allow,
//! and shows none to anybody but the writer who began it. They live in memory: a restart ends them all, and the store
//! sweeps their bytes. Invariant: an upload that ended, well or badly, is nowhere any more.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use workload::names::{Name, Repository};

use crate::http::Refusal;
use crate::store::{Store, StoreError, Upload};

/// All uploads in flight.
#[derive(Debug)]
pub(crate) struct Uploads {
    open: Mutex<HashMap<String, Entry>>,
    slots: Arc<Semaphore>,
    idle: Duration,
}

#[derive(Debug)]
struct Entry {
    repository: Repository,
    writer: Name,
    session: Arc<AsyncMutex<Session>>,
}

/// One upload, with its share of the limit.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) upload: Upload,
    /// When a request last ended with it.
    touched: Instant,
    _slot: OwnedSemaphorePermit,
}

/// An upload while a request goes on with it. How long nobody went on with it counts from the end of the request, not
/// from its beginning: a long chunk is no idleness.
#[derive(Debug)]
pub(crate) struct Held(OwnedMutexGuard<Session>);

impl Deref for Held {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.touched = Instant::now();
    }
}

impl Uploads {
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self { open: Mutex::default(), slots: Arc::new(Semaphore::new(most)), idle }
    }

    /// An upload that nobody can find: for a request that ends it itself.
    pub(crate) async fn begin(&self, store: &Store) -> Result<Session, Refusal> {
        self.locked(|open| {
            // What is locked is being written to.
            open.retain(|_, entry| {
                entry.session.try_lock().map_or(true, |session| session.touched.elapsed() < self.idle)
            });
        });
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::TooManyUploads)?;
        Ok(Session { upload: store.begin().await?, touched: Instant::now(), _slot: slot })
    }

    /// Lets later requests go on with it, under the returned name.
    pub(crate) fn keep(&self, session: Session, repository: &Repository, writer: &Name) -> Result<String, Refusal> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| StoreError::NoRandomness)?;
        let id = hex::encode(random);
        let (repository, writer) = (repository.clone(), writer.clone());
        let session = Arc::new(AsyncMutex::new(session));
        let entry = Entry { repository, writer, session };
        self.locked(|open| open.insert(id.clone(), entry));
        Ok(id)
    }

    /// An upload to go on with.
    pub(crate) fn find(&self, id: &str, repository: &Repository, writer: &Name) -> Result<Held, Refusal> {
        // Locked before anybody else may sweep.
        let held = self.locked(|open| {
            let entry = open.get(id).filter(|entry| entry.repository == *repository && entry.writer == *writer);
            let session = Arc::clone(&entry.ok_or(Refusal::UploadAbsent)?.session);
            session.try_lock_owned().map(Held).map_err(|_| Refusal::UploadBusy)
        })?;
        if held.upload.broken() {
            drop(held);
            self.locked(|open| open.remove(id));
            return Err(Refusal::UploadAbsent);
        }
        Ok(held)
    }

    /// An upload to end: nobody else finds it any more.
    pub(crate) fn take(&self, id: &str, repository: &Repository, writer: &Name) -> Result<Session, Refusal> {
        drop(self.find(id, repository, writer)?);
        self.locked(|open| {
            let entry = open.remove(id).ok_or(Refusal::UploadAbsent)?;
            let Entry { repository, writer, session } = entry;
            Arc::try_unwrap(session).map(AsyncMutex::into_inner).map_err(|session| {
                open.insert(id.to_owned(), Entry { repository, writer, session });
                Refusal::UploadBusy
            })
        })
    }

    fn locked<T>(&self, then: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        then(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::directory;

    #[tokio::test]
    async fn an_upload_belongs_to_its_writer_and_repository() {
        let directory = directory();
        let store = Store::open(directory.path()).unwrap();
        let uploads = Uploads::new(2, Duration::from_secs(3600));
        let (repository, writer): (Repository, Name) = ("a/b".parse().unwrap(), "ci".parse().unwrap());
        let session = uploads.begin(&store).await.unwrap();
        let id = uploads.keep(session, &repository, &writer).unwrap();
        let absent = |result: Result<_, Refusal>| matches!(result, Err(Refusal::UploadAbsent));
        assert!(absent(uploads.find(&id, &repository, &"eve".parse().unwrap())));
        assert!(absent(uploads.find(&id, &"a".parse().unwrap(), &writer)));
        assert!(absent(uploads.find("0", &repository, &writer)));
        let guard = uploads.find(&id, &repository, &writer).unwrap();
        assert!(matches!(uploads.find(&id, &repository, &writer), Err(Refusal::UploadBusy)));
        assert!(matches!(uploads.take(&id, &repository, &writer), Err(Refusal::UploadBusy)));
        drop(guard);
        let taken = uploads.take(&id, &repository, &writer).unwrap();
        assert!(absent(uploads.find(&id, &repository, &writer)));

        let second = uploads.begin(&store).await.unwrap();
        assert!(matches!(uploads.begin(&store).await, Err(Refusal::TooManyUploads)));
        drop(taken);
        assert!(uploads.begin(&store).await.is_ok(), "control: an ended upload gives its place back");
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_took_long_is_no_idleness() {
        let directory = directory();
        let store = Store::open(directory.path()).unwrap();
        let idle = Duration::from_secs(600);
        let uploads = Uploads::new(3, idle);
        let (repository, writer): (Repository, Name) = ("a/b".parse().unwrap(), "ci".parse().unwrap());
        let id = uploads.keep(uploads.begin(&store).await.unwrap(), &repository, &writer).unwrap();
        let held = uploads.find(&id, &repository, &writer).unwrap();
        tokio::time::advance(2 * idle).await;
        drop(held);
        uploads.begin(&store).await.unwrap();
        assert!(uploads.find(&id, &repository, &writer).is_ok(), "its request ended just now");
        tokio::time::advance(idle).await;
        uploads.begin(&store).await.unwrap();
        let found = uploads.find(&id, &repository, &writer);
        assert!(matches!(found, Err(Refusal::UploadAbsent)), "control: nobody went on with it");
    }

    #[tokio::test]
    async fn an_upload_nobody_goes_on_with_gives_its_place_to_the_next() {
        let directory = directory();
        let store = Store::open(directory.path()).unwrap();
        let uploads = Uploads::new(1, Duration::ZERO);
        let (repository, writer): (Repository, Name) = ("a/b".parse().unwrap(), "ci".parse().unwrap());
        let session = uploads.begin(&store).await.unwrap();
        let id = uploads.keep(session, &repository, &writer).unwrap();
        let guard = uploads.find(&id, &repository, &writer).unwrap();
        assert!(matches!(uploads.begin(&store).await, Err(Refusal::TooManyUploads)), "not while it is written to");
        drop(guard);
        assert!(uploads.begin(&store).await.is_ok());
        assert!(matches!(uploads.find(&id, &repository, &writer), Err(Refusal::UploadAbsent)));
    }
}
