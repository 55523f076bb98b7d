//! Who writes the record.
//!
//! Owns the objects: `certificates/<instance>/<number>.jsonl`, each made once and never changed, a line for each certificate. Leaves that
//! wait at the same time share an object, so that a disk is not asked to be sure more often than it can. Refuses to be sure of what the
//! store did not say it has, in time. Invariant: several Stewards share a store without knowing of each other, because an instance
//! is a random number; a leaf that was answered for is in the store, whatever happens to this process.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand;
use object_store::{ObjectStore, PutMode, local::LocalFileSystem, path::Path as Name};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Leaf, Recorded};

/// How long a store may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most who wait together.
const TOGETHER: usize = 4096;

/// Where what is issued is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RecordSource {
    /// Nowhere.
    #[default]
    None,
    /// In a folder of this machine, or one that several have.
    Folder(PathBuf),
}

/// The store does not have what was to be recorded, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the record of certificates cannot be written")]
pub struct Unrecorded;

/// Why there is no record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {reason}", path.display())]
pub struct RecordError {
    /// The folder.
    pub path: PathBuf,
    /// Why it cannot be written.
    pub reason: String,
}

/// Whether a record could be written there; an object without a line stays.
///
/// # Errors
/// [`RecordError`] says why not.
pub async fn probe(source: RecordSource) -> Result<(), RecordError> {
    Record::open(source).await.map(drop)
}

/// Hands leaves to the writer.
#[derive(Clone)]
pub(crate) struct Record(Option<Open>);

#[derive(Clone)]
struct Open {
    waiting: mpsc::Sender<Waiting>,
    /// Whether the store took what it was last given.
    good: Arc<AtomicBool>,
}

/// Lines, and who waits for them.
struct Waiting {
    lines: String,
    done: oneshot::Sender<Result<(), Unrecorded>>,
}

impl Record {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins to write, with an object without a line: a store that cannot be written is a start error.
    pub(crate) async fn open(source: RecordSource) -> Result<Self, RecordError> {
        let path = match source {
            RecordSource::None => return Ok(Self::none()),
            RecordSource::Folder(path) => path,
        };
        let refused = |reason: String| RecordError { path: path.clone(), reason };
        std::fs::create_dir_all(&path).map_err(|error| refused(error.to_string()))?;
        let store =
            LocalFileSystem::new_with_prefix(&path).map_err(|error| refused(error.to_string()))?.with_fsync(true);
        let mut instance = [0; 8];
        rand::fill(&mut instance).map_err(|_| refused("the system gave no random bytes".to_owned()))?;
        let good = Arc::new(AtomicBool::new(true));
        let (waiting, leaves) = mpsc::channel(TOGETHER);
        let writer = Writer { store, instance: hex::encode(instance), number: 0, good: Arc::clone(&good) };
        tokio::spawn(writer.run(leaves));
        let record = Self(Some(Open { waiting, good }));
        record.write(String::new()).await.map_err(|error| refused(error.to_string()))?;
        Ok(record)
    }

    /// Returns when the store has all of them.
    pub(crate) async fn append(&self, leaves: &[&Leaf]) -> Result<Vec<Recorded>, Unrecorded> {
        // Nobody fills the store by asking for nothing.
        if self.0.is_some() && !leaves.is_empty() {
            self.write(leaves.iter().map(|leaf| leaf.line()).collect()).await?;
        }
        Ok(leaves.iter().map(|leaf| Recorded { serial: leaf.serial.clone() }).collect())
    }

    /// Whether the store takes anything; asks it, if it did not.
    pub(crate) async fn ready(&self) -> bool {
        match &self.0 {
            Some(open) if !open.good.load(Ordering::Relaxed) => self.write(String::new()).await.is_ok(),
            _ => true,
        }
    }

    async fn write(&self, lines: String) -> Result<(), Unrecorded> {
        let Some(open) = &self.0 else { return Ok(()) };
        let (done, written) = oneshot::channel();
        open.waiting.send(Waiting { lines, done }).await.map_err(|_| Unrecorded)?;
        written.await.map_err(|_| Unrecorded)?
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Record" } else { "Record(none)" })
    }
}

struct Writer<S> {
    store: S,
    instance: String,
    number: u64,
    good: Arc<AtomicBool>,
}

impl<S: ObjectStore> Writer<S> {
    /// Until nobody is left who could hand it anything.
    async fn run(mut self, mut leaves: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::new();
        while leaves.recv_many(&mut batch, TOGETHER).await > 0 {
            let lines: String = batch.iter().map(|waiting| waiting.lines.as_str()).collect();
            let written = self.put(lines).await;
            self.good.store(written.is_ok(), Ordering::Relaxed);
            for Waiting { done, .. } in batch.drain(..) {
                // An error means that nobody waits any more.
                let _ = done.send(written);
            }
        }
    }

    /// A name is never used again, also where it is not known whether the store has it.
    async fn put(&mut self, lines: String) -> Result<(), Unrecorded> {
        let name = Name::from(format!("certificates/{}/{:010}.jsonl", self.instance, self.number));
        self.number = self.number.saturating_add(1);
        let refused = |reason: String| {
            tracing::error!(%name, %reason, "record");
            Unrecorded
        };
        match timeout(PATIENCE, self.store.put_opts(&name, lines.into(), PutMode::Create.into())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(refused(format!("no answer in {} s", PATIENCE.as_secs()))),
        }
    }
}
