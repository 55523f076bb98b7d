//! The twin of `sys` for hosts that cannot start a Keep: the same signatures, and one answer.
//!
//! Invariant: no value of [`Child`] is ever made, so what it would do needs no body.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::Arc;

use crate::image::Unsupported;
use crate::launch::{RunError, StartError, Stdio};
use crate::task::Task;

/// There is none.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process: Arc<Process>,
}

/// There is none.
pub(crate) enum Firmware {}

/// How a child left.
pub(crate) struct Left {
    pub(crate) told: Option<Told>,
    pub(crate) status: ExitStatus,
}

/// What whoever watches a child has to say of its end.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody is watched here")]
pub(crate) enum Told {
    Call(Refused),
    Signal(u8, String),
    Machine(String),
    Full,
    Broken(String),
}

/// A call that no Keep answers.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// What it takes to end a child.
#[derive(Debug)]
pub(crate) struct Process(Infallible);

impl Process {
    pub(crate) fn kill(&self) {
        match self.0 {}
    }
}

impl Child {
    pub(crate) fn wait(self) -> Result<Left, RunError> {
        match self.process.0 {}
    }
}

/// Memory that is a file.
#[derive(Debug)]
pub(crate) struct MemoryFile(Infallible);

impl MemoryFile {
    pub(crate) fn program() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn sealed(_: &[u8]) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn data() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn append(&mut self, _: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn length(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn head(&self) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    pub(crate) fn seal(self) -> io::Result<OwnedFd> {
        match self.0 {}
    }
}

/// Says that it cannot be.
pub(crate) fn spawn(_: Task, _: UnixStream, _: Option<UnixStream>) -> Result<Child, StartError> {
    Err(Unsupported.into())
}

/// What a monitor would be given.
#[derive(Default)]
#[allow(dead_code, reason = "nobody is given it here")]
pub(crate) struct Given<'a> {
    pub(crate) memory: crate::Memory,
    pub(crate) firmware: Option<Firmware>,
    pub(crate) program: Option<&'a [u8]>,
    pub(crate) shim: Option<&'a [u8]>,
}

/// Says that it cannot be.
pub(crate) fn spawn_monitor(_: Given<'_>, _: UnixStream, _: UnixStream, _: Stdio) -> Result<Child, StartError> {
    Err(Unsupported.into())
}
