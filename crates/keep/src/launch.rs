//! The phases of a Keep as types: [`Launch`] (image and brief fixed), [`Running`], [`End`].
//!
//! Owns what the host gives to a Keep ([`Host`]) and what it learns from it ([`Event`], [`End`]). Everything that comes
//! from a Keep is shown to people only after control characters are taken out: a Keep may be hostile to its host too.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use gate::end::Signal;
use gate::message::Compile;
use workload::brief::{Brief, BriefError};
use workload::digest::Digest;
use workload::manifest::Size;

use crate::backend::NoKvm;
use crate::cache::Cache;
use crate::folders::Folders;
use crate::image::{Image, Unsupported};
use crate::sys;

/// An image with the brief it will be started with. The launch field is fixed here.
#[derive(Debug, Clone)]
pub struct Launch {
    pub(crate) image: Image,
    pub(crate) brief: Arc<[u8]>,
    pub(crate) brief_hash: [u8; 32],
    pub(crate) deployment: Option<Arc<[u8]>>,
    pub(crate) signature: Option<Arc<[u8]>>,
    pub(crate) memory: Memory,
}

/// How much memory a micro-VM has: whole MiB, from 64 MiB to 16 GiB, the most its shim counts. Not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(u64);

/// Why a text is no [`Memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a micro-VM has whole MiB of memory, from \"64 MiB\" to \"16 GiB\"")]
pub struct MemoryError;

impl Memory {
    /// In bytes.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Default for Memory {
    /// 512 MiB.
    fn default() -> Self {
        Self(512 << 20)
    }
}

impl FromStr for Memory {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let bytes = text.parse::<Size>().map_or(0, Size::get);
        let fits = (64 << 20..=16 << 30).contains(&bytes) && bytes.is_multiple_of(1 << 20);
        fits.then_some(Self(bytes)).ok_or(MemoryError)
    }
}

impl Launch {
    /// Fixes the brief. `deployment` is the owner-signed Deployment that travels with it; the Keep passes it on.
    ///
    /// # Errors
    /// If `brief` is not the canonical form of a brief: exec would refuse it, later and less clearly.
    pub fn new(image: Image, brief: Vec<u8>, deployment: Option<Vec<u8>>) -> Result<Self, BriefError> {
        Brief::decode(&brief)?;
        let brief_hash = workload::brief::hash(&brief);
        Ok(Self {
            image,
            brief: brief.into(),
            brief_hash,
            deployment: deployment.map(Into::into),
            signature: None,
            memory: Memory::default(),
        })
    }

    /// With the signature of the workload's publisher; the Keep passes it on, too.
    #[must_use]
    pub fn with_signature(self, signature: Option<Vec<u8>>) -> Self {
        Self { signature: signature.map(Into::into), ..self }
    }

    /// With so much memory, where a Keep has memory of its own: in a micro-VM.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// What the hardware's launch field (HOST_DATA, MRCONFIGID, CONFIGID) carries: SHA-256 of the brief.
    #[must_use]
    pub fn field(&self) -> [u8; 32] {
        self.brief_hash
    }
}

/// Blobs the host can hand to a Keep, by digest. The Keep checks them; a wrong answer is refused there.
pub trait Blobs: Send {
    /// Bytes of the blob from `offset`, at most `most`, and the blob's whole length; `None` if there is no such blob.
    fn read(&mut self, digest: Digest, offset: u64, most: usize) -> Option<(u64, &[u8])>;
}

impl Blobs for BTreeMap<Digest, Vec<u8>> {
    fn read(&mut self, digest: Digest, offset: u64, most: usize) -> Option<(u64, &[u8])> {
        let blob = self.get(&digest)?;
        let rest = blob.get(usize::try_from(offset).ok()?..)?;
        Some((u64::try_from(blob.len()).ok()?, rest.get(..most.min(rest.len()))?))
    }
}

/// Where a Keep's standard streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// To this process's own.
    Inherit,
    /// Nowhere.
    Null,
}

/// What the host gives to a Keep. None of it is trusted there.
pub struct Host {
    /// Blobs for a brief whose source is the host.
    pub blobs: Box<dyn Blobs>,
    /// Where to bind listeners, by name in the manifest; those not named go where the manifest says.
    pub listen: BTreeMap<String, String>,
    /// What it may read of this host: for each mount of kind `host` in the manifest a folder.
    pub folders: Folders,
    /// Where Keeps store what they want to have at their next start; `None`: nowhere.
    pub cache: Option<Cache>,
    /// The standard streams.
    pub stdio: Stdio,
    /// Is told what happens, from the thread that serves descriptor 3.
    pub events: Box<dyn FnMut(Event) + Send>,
}

/// What a Keep lets its host know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step of the deploy is done.
    Milestone {
        /// 4 to 13.
        step: u8,
        /// What was exchanged.
        detail: String,
    },
    /// A WebAssembly program's native code is being made.
    Compile(Compile),
    /// A listener accepts connections.
    Listening {
        /// Its name in the manifest.
        name: String,
        /// `address:port`.
        address: String,
    },
}

/// How a Keep ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The program's own status.
    Exit(u8),
    /// The program trapped; the backtrace is on its standard error.
    Trap,
    /// A signal of this number ended the native program: a fault of its own, or a pipe that nobody reads. Or the host wanted
    /// an end ([`Stop::end`]) that nobody in the Keep heard, and ended it in the name of this signal.
    Signal(u8),
    /// The Keep would not run it.
    Refused {
        /// At which of the thirteen steps.
        step: u8,
        /// Stable identifier.
        code: String,
        /// What failed.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// Why a Keep could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
    /// This build has no Keep in it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// No micro-VM can be made here.
    #[error(transparent)]
    Kvm(#[from] NoKvm),
    /// The seccomp filter could not be compiled.
    #[error("the call table does not compile to a filter: {0}")]
    Filter(String),
}

impl StartError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Kvm(error) => error.hint(),
            Self::System { .. } | Self::Unsupported(_) | Self::Filter(_) => {
                "`donjon platform` shows what this machine can run"
            }
        }
    }
}

/// Why a Keep that was started did not end by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A system call that no Keep answers (`spec/gate.md`).
    #[error("the {who} made the system call {name}({arguments}), which no Keep answers")]
    Call {
        /// Who made it.
        who: Caller,
        /// Its name, or its number.
        name: String,
        /// Its six arguments, hexadecimal.
        arguments: String,
    },
    /// The process ended without telling how.
    #[error("the Keep ended without an outcome: {0}")]
    Silent(String),
    /// The monitor could not make its micro-VM, or not run it on.
    #[error("the micro-VM cannot be run: {0}")]
    Machine(String),
    /// All memory of the micro-VM was used up.
    #[error("its memory is full")]
    Full,
    /// The Keep broke the protocol of descriptor 3.
    #[error("the Keep broke the protocol of the gate: {0}")]
    Protocol(String),
    /// It was stopped on request.
    #[error("the Keep was stopped")]
    Stopped,
    /// The program could not take exec's place.
    #[error("the program cannot take exec's place: {0}")]
    Replace(std::io::Error),
    /// The process of the program could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The operating system failed.
    #[error("waiting for the Keep: {0}")]
    Wait(std::io::Error),
}

/// Who runs in a Keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// exec, or the WebAssembly in it.
    Exec,
    /// The native program that took exec's place.
    Program,
}

impl std::fmt::Display for Caller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            Self::Exec => "Keep",
            Self::Program => "program",
        })
    }
}

/// A Keep that runs.
#[derive(Debug)]
pub struct Running {
    pub(crate) now: Arc<Now>,
    pub(crate) keep: JoinHandle<Result<End, RunError>>,
}

/// Whichever process of a Keep runs now.
#[derive(Debug)]
pub(crate) struct Now(Mutex<Current>);

#[derive(Debug)]
struct Current {
    process: Arc<sys::Process>,
    stopped: bool,
    /// Where exec hears that it is to end, until it was told.
    end: Option<UnixStream>,
    /// By what it was told first.
    told: Option<Signal>,
    /// By what it was ended because nobody heard.
    ended: Option<Signal>,
}

impl Current {
    /// Ends a Keep that is to end, and does not by itself.
    fn end(&mut self, signal: Signal) {
        self.ended.get_or_insert(signal);
        self.process.kill();
    }
}

impl Now {
    pub(crate) fn new(process: Arc<sys::Process>, end: UnixStream) -> Self {
        Self(Mutex::new(Current { process, stopped: false, end: Some(end), told: None, ended: None }))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        // None of the values is ever half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process takes the place of the one before, which is gone. It ends at once if the Keep was stopped
    /// meanwhile, or told to end.
    pub(crate) fn becomes(&self, process: Arc<sys::Process>) {
        let mut current = self.current();
        current.process = process;
        if current.stopped {
            current.process.kill();
        }
        if let Some(signal) = current.told {
            current.end(signal);
        }
    }

    /// Ends the process, but not on anybody's request.
    pub(crate) fn kill(&self) {
        self.current().process.kill();
    }

    pub(crate) fn stopped(&self) -> bool {
        self.current().stopped
    }

    /// What it was ended by because nobody heard that it was to end.
    pub(crate) fn ended(&self) -> Option<Signal> {
        self.current().ended
    }
}

/// Ends a Keep from anywhere, any number of times.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Now>);

impl Stop {
    /// Ends the Keep at once. What it holds is given back when it is waited for.
    pub fn stop(&self) {
        let mut current = self.0.current();
        current.stopped = true;
        current.process.kill();
    }

    /// Tells the Keep that it is to end, and by what its host was told so. A service answers the requests that run, for half
    /// a minute at most, and ends with 0; any other WebAssembly ends where it is, with 128 and the signal's number. What
    /// does not hear is ended at once: a native program, and whoever is told for the second time.
    pub fn end(&self, signal: Signal) {
        let mut current = self.0.current();
        current.told.get_or_insert(signal);
        // A socket that nobody wrote to has room, and one that nobody has open at its other end says so.
        match current.end.take().map(|mut end| end.write_all(&[signal.number()])) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => current.end(signal),
        }
    }
}

impl Running {
    /// A handle to end it.
    #[must_use]
    pub fn stopper(&self) -> Stop {
        Stop(Arc::clone(&self.now))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// If it did not end by itself, or not in the way the protocol demands.
    pub fn wait(self) -> Result<End, RunError> {
        self.keep.join().unwrap_or_else(|_| Err(RunError::Protocol("its server panicked".to_owned())))
    }
}
