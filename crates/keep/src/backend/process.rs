//! A Keep as a child process of this one, with descriptor 3 as the way to its platform, and 4 where it hears that it is to
//! end: exec itself under `nil` and `sim`, or the monitor of a micro-VM. They differ in what the child is and in who attests.
//!
//! Owns the replacement: exec is gone before the program that takes its place begins, with a descriptor 3 of its own. And
//! [`Begun`]: exec waits for its brief anyway, so it can be there before anybody knows for what.
//!
//! Invariant: whatever becomes of the thread that serves a Keep, the Keep's process does not outlive it.

use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{Attester, Backend, Nil, kvm};
use crate::cache::Cache;
use crate::image::Image;
use crate::launch::{Caller, End, Host, Launch, Now, RunError, Running, StartError, Stdio};
use crate::service::{Served, Service};
use crate::sys::{self, MemoryFile};
use crate::task::Task;

/// Ends a Keep when its platform is gone: also after a panic.
struct EndsWith(Arc<Now>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// What the child is.
pub(crate) enum Child<'a> {
    /// exec, with the call table as a seccomp filter.
    Exec,
    /// The monitor of a micro-VM that has shim and exec, and perhaps the firmware that measures them.
    Monitor(sys::Given<'a>),
}

/// A child, and what its platform has of it.
#[derive(Debug)]
struct Started {
    child: sys::Child,
    /// The other end of its descriptor 3.
    ours: UnixStream,
    /// The other end of its descriptor 4.
    ends: UnixStream,
}

impl Started {
    fn new(spawn: impl FnOnce(UnixStream, UnixStream) -> Result<sys::Child, StartError>) -> Result<Self, StartError> {
        let (ours, theirs) = UnixStream::pair().map_err(failed("make the Keep's descriptor 3"))?;
        let (ends, end) = UnixStream::pair().map_err(failed("make the Keep's descriptor 4"))?;
        // So that exec can look for a byte that is not there.
        end.set_nonblocking(true).map_err(failed("make the Keep's descriptor 4"))?;
        Ok(Self { child: spawn(theirs, end)?, ours, ends })
    }

    /// exec, as this cache has it or else from memory. What is returned starts it, on whatever thread.
    fn exec(image: Image, stdio: Stdio, cache: Option<&Cache>) -> impl FnOnce() -> Result<Self, StartError> + 'static {
        let kept = image.name().and_then(|name| cache?.program(name, image.exec()));
        let stored = cache.map(Cache::stored);
        move || {
            let exec = kept.map_or_else(|| MemoryFile::sealed(image.exec()), Ok);
            let task = Task::exec(exec.map_err(failed("put exec into memory"))?, stdio, stored);
            Self::new(|platform, end| sys::spawn(task, platform, Some(end)))
        }
    }
}

fn failed(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// [`Nil`] whose first Keep begins now: while its launch is made ready here, exec gets so far that it wants it. One that no
/// launch came for ends with this value.
#[derive(Debug)]
pub struct Begun {
    image: Image,
    stdio: Stdio,
    first: Mutex<Option<JoinHandle<Result<Started, StartError>>>>,
}

impl Begun {
    /// With this image, these standard streams and this cache, which the launch will have too.
    #[must_use]
    pub fn new(image: Image, stdio: Stdio, cache: Option<&Cache>) -> Self {
        let first = Builder::new().name("keep-begin".to_owned()).spawn(Started::exec(image, stdio, cache));
        // Without a thread for it, it begins later.
        let first = first.ok();
        Self { image, stdio, first: Mutex::new(first) }
    }

    /// What began, if nobody took it yet.
    fn take(&self) -> Option<Result<Started, StartError>> {
        // It is never half taken.
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        first.join().ok()
    }
}

impl Backend for Begun {
    fn name(&self) -> &'static str {
        Nil.name()
    }

    fn protection(&self) -> &'static str {
        Nil.protection()
    }

    fn start(&self, launch: &Launch, host: Host) -> Result<Running, StartError> {
        let same = self.image.is(&launch.image) && self.stdio == host.stdio;
        match same.then(|| self.take()).flatten() {
            Some(started) => serve(launch, host, started?, Arc::new(Nil), true),
            None => Nil.start(launch, host),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(Ok(Started { child, .. })) = self.take() {
            child.process.kill();
            // However it left: nobody wanted it.
            _ = child.wait();
        }
    }
}

pub(crate) fn start(
    launch: &Launch,
    host: Host,
    child: Child<'_>,
    attester: Arc<dyn Attester>,
) -> Result<Running, StartError> {
    let stdio = host.stdio;
    let (started, replaces) = match child {
        Child::Exec => (Started::exec(launch.image, stdio, host.cache.as_ref())()?, true),
        Child::Monitor(given) => {
            kvm::opens()?;
            let given = sys::Given {
                memory: launch.memory,
                program: launch.image.other(),
                shim: launch.image.other_shim(),
                ..given
            };
            (Started::new(|platform, end| sys::spawn_monitor(given, platform, end, stdio))?, false)
        }
    };
    serve(launch, host, started, attester, replaces)
}

/// Is the platform of a child, from a thread of its own.
fn serve(
    launch: &Launch,
    host: Host,
    Started { child, ours, ends }: Started,
    attester: Arc<dyn Attester>,
    replaces: bool,
) -> Result<Running, StartError> {
    let service = Service::new(launch.clone(), host, attester, replaces);
    let now = Arc::new(Now::new(Arc::clone(&child.process), ends));
    let without_platform = EndsWith(Arc::clone(&now));
    let keep = Builder::new()
        .name("keep-gate".to_owned())
        .spawn(move || {
            let now = &without_platform.0;
            match live(service, child, ours, now) {
                Err(RunError::Silent(_)) if let Some(signal) = now.ended() => Ok(End::Signal(signal.number())),
                end => end,
            }
        })
        .map_err(failed("start a thread"))?;
    Ok(Running { now, keep })
}

/// The whole life of a Keep.
fn live(mut service: Service, child: sys::Child, ours: UnixStream, now: &Now) -> Result<End, RunError> {
    // Open until the Keep is killed: what it did about an end of its platform's would be told instead of the reason.
    let served = service.serve(&ours);
    if let (Ok(Served::Closed), Caller::Program) = (&served, service.who()) {
        // A shim put it there, and it ends by itself.
        return ended(left(child, now, Caller::Program)?);
    }
    // Whatever it still wants: its platform is gone, or another takes its place.
    now.kill();
    let exec = left(child, now, Caller::Exec)?;
    let task = match served? {
        Served::Told(end) => return Ok(end),
        Served::Closed => return Err(silent(exec)),
        Served::Replaced(task) => task,
    };
    let (ours, theirs) = UnixStream::pair().map_err(RunError::Replace)?;
    // It does not hear that it is to end.
    let child = sys::spawn(*task, theirs, None)?;
    now.becomes(Arc::clone(&child.process));
    let served = service.serve(&ours);
    // Unlike exec it needs no platform: it may close descriptor 3 and go on.
    if served.is_err() {
        now.kill();
    }
    let program = left(child, now, service.who())?;
    served?;
    ended(program)
}

/// How a program ended.
fn ended(left: sys::Left) -> Result<End, RunError> {
    // No Keep makes the call that would be a program's own end by SIGKILL.
    match (&left.told, left.status.code(), left.status.signal()) {
        (Some(sys::Told::Signal(signal, _)), ..) => Ok(End::Signal(*signal)),
        (_, Some(status), _) => Ok(End::Exit(u8::try_from(status & 0xff).unwrap_or(u8::MAX))),
        (_, None, Some(signal)) if signal != KILL => Ok(End::Signal(u8::try_from(signal).unwrap_or(u8::MAX))),
        _ => Err(silent(left)),
    }
}

fn silent(left: sys::Left) -> RunError {
    RunError::Silent(match left.told {
        Some(sys::Told::Signal(_, said)) => said,
        _ => left.status.to_string(),
    })
}

/// Number of the signal that cannot be caught.
const KILL: i32 = 9;

/// Waits for a child's end, and says what made it end, if that was not itself.
fn left(child: sys::Child, now: &Now, who: Caller) -> Result<sys::Left, RunError> {
    let left = child.wait()?;
    match left.told {
        Some(sys::Told::Call(call)) => Err(RunError::Call { who, name: call.name, arguments: call.arguments }),
        Some(sys::Told::Machine(why)) => Err(RunError::Machine(why)),
        Some(sys::Told::Full) => Err(RunError::Full),
        Some(sys::Told::Broken(why)) => Err(RunError::Silent(why)),
        Some(sys::Told::Signal(..)) => Ok(left),
        None if now.stopped() => Err(RunError::Stopped),
        None => Ok(left),
    }
}

#[cfg(test)]
mod tests;
