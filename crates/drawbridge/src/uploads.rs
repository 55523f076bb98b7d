//! Uploads in flight: which there are, whose they are, and when they are given up.
//!
//! Owns the sessions of OCI uploads (distribution-spec 1.1, "Pushing blobs"). Refuses more of them than the settings allow,
//! and shows none to anybody but the writer who began it. They live in memory: a restart ends them all, and the store
//! sweeps their bytes. Invariant: an upload that ended, well or badly, is nowhere any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
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
    touched: Instant,
    session: Arc<AsyncMutex<Session>>,
}

/// One upload, with its share of the limit.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) upload: Upload,
    _slot: OwnedSemaphorePermit,
}

impl Uploads {
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self { open: Mutex::default(), slots: Arc::new(Semaphore::new(most)), idle }
    }

    /// An upload that nobody can find: for a request that ends it itself.
    pub(crate) async fn begin(&self, store: &Store) -> Result<Session, Refusal> {
        self.locked(|open| {
            // Whoever is writing to it holds a second reference.
            open.retain(|_, entry| Arc::strong_count(&entry.session) > 1 || entry.touched.elapsed() < self.idle);
        });
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::TooManyUploads)?;
        Ok(Session { upload: store.begin().await?, _slot: slot })
    }

    /// Lets later requests go on with it, under the returned name.
    pub(crate) fn keep(&self, session: Session, repository: &Repository, writer: &Name) -> Result<String, Refusal> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| StoreError::NoRandomness)?;
        let id = hex::encode(random);
        let (repository, writer) = (repository.clone(), writer.clone());
        let session = Arc::new(AsyncMutex::new(session));
        let entry = Entry { repository, writer, touched: Instant::now(), session };
        self.locked(|open| open.insert(id.clone(), entry));
        Ok(id)
    }

    /// An upload to go on with.
    pub(crate) fn find(
        &self,
        id: &str,
        repository: &Repository,
        writer: &Name,
    ) -> Result<OwnedMutexGuard<Session>, Refusal> {
        let session = self.locked(|open| {
            let entry = open.get_mut(id).filter(|entry| entry.repository == *repository && entry.writer == *writer)?;
            entry.touched = Instant::now();
            Some(Arc::clone(&entry.session))
        });
        let guard = session.ok_or(Refusal::UploadAbsent)?.try_lock_owned().map_err(|_| Refusal::UploadBusy)?;
        if guard.upload.broken() {
            drop(guard);
            self.locked(|open| open.remove(id));
            return Err(Refusal::UploadAbsent);
        }
        Ok(guard)
    }

    /// An upload to end: nobody else finds it any more.
    pub(crate) fn take(&self, id: &str, repository: &Repository, writer: &Name) -> Result<Session, Refusal> {
        drop(self.find(id, repository, writer)?);
        self.locked(|open| {
            let entry = open.remove(id).ok_or(Refusal::UploadAbsent)?;
            let Entry { repository, writer, touched, session } = entry;
            Arc::try_unwrap(session).map(AsyncMutex::into_inner).map_err(|session| {
                open.insert(id.to_owned(), Entry { repository, writer, touched, session });
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

    #[tokio::test]
    async fn an_upload_belongs_to_its_writer_and_repository() {
        let directory = tempfile::tempdir().unwrap();
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

    #[tokio::test]
    async fn an_upload_nobody_goes_on_with_gives_its_place_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
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
