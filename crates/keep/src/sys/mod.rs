//! The only unsafe code of the host side: making a child process that can do no more than the call table says.
//!
//! Owns the child from start to end: exec, or the program that takes its place, runs from memory, finds its platform on
//! descriptor 3, has no privileges to gain, opens nothing but the files that were given for it, dies with this process,
//! and every system call outside the table stops it and is named.
//!
//! Invariant: the filter is in place before the first instruction of the program, and the one `execve` that starts it
//! is the only call outside the table that is ever let through.

#![allow(unsafe_code, reason = "fork, seccomp and its notifications have no safe interface")]

mod files;
mod filter;
pub(crate) mod memory;
mod monitor;
pub(crate) mod processor;

pub(crate) use files::MemoryFile;
pub(crate) use monitor::{
    CALL, FAILED, FULL, Firmware, Given, Hostile, SERVED, SIGNAL, board, end, firmware, others, platform, report, size,
    spawn as spawn_monitor,
};

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use gate::calls::{OPEN, Open, REFUSED};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};

use syscalls::Sysno;

use crate::launch::{RunError, StartError, Stdio};
use crate::task::{Files, Task};

/// A child and the two threads that watch it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process: Arc<Process>,
    parent: JoinHandle<std::io::Result<ExitStatus>>,
    told: JoinHandle<Option<Told>>,
}

/// How a child left.
pub(crate) struct Left {
    /// Why it did not go on.
    pub(crate) told: Option<Told>,
    pub(crate) status: ExitStatus,
}

/// What it takes to end the child.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pidfd: OnceLock<OwnedFd>,
    gone: AtomicBool,
}

/// What whoever watches a child has to say of its end.
#[derive(Debug)]
pub(crate) enum Told {
    /// It made a call that no Keep answers.
    Call(Refused),
    /// The shim ended it by the default of a signal; where, for people.
    Signal(u8, String),
    /// The monitor failed; how, for people.
    Machine(String),
    /// All memory of its machine was used up.
    Full,
    /// For people.
    Broken(String),
}

/// A call that no Keep answers, for people.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its name, or its number where it has none.
    pub(crate) name: String,
    /// Its six arguments, hexadecimal.
    pub(crate) arguments: String,
}

impl Process {
    /// Ends the child.
    pub(crate) fn kill(&self) {
        if let Some(pidfd) = self.pidfd.get() {
            // It may be gone already, which is what was wanted.
            _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

impl Child {
    /// Waits for the end and gives back everything the child held.
    pub(crate) fn wait(self) -> Result<Left, RunError> {
        let panicked = || RunError::Wait(std::io::Error::other("a thread that watches the Keep panicked"));
        let status = self.parent.join().map_err(|_| panicked())?.map_err(RunError::Wait)?;
        let told = self.told.join().map_err(|_| panicked())?;
        Ok(Left { told, status })
    }
}

/// Starts `task` with `platform` as its descriptor 3 and, if it hears that it is to end, `end` as its descriptor 4.
pub(crate) fn spawn(task: Task, platform: UnixStream, end: Option<UnixStream>) -> Result<Child, StartError> {
    let failed = |what| move |source: std::io::Error| StartError::System { what, source };
    let Task { image, arguments, environment, streams, files } = task;
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    // The child's descriptors 3 and 4 must be none of these, and std's own pipe must not get those numbers either:
    // duplicates go up while the originals, of which some have 3 and 4 if they were free, stay open until the child runs.
    let lift = |fd: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, LIFTED).map_err(|e| failed("duplicate a descriptor")(e.into()))
    };
    let (high_image, high_theirs) = (lift(image.as_fd())?, lift(theirs.as_fd())?);
    let mut places = vec![(lift(platform.as_fd())?, gate::DESCRIPTOR)];
    if let Some(end) = &end {
        places.push((lift(end.as_fd())?, gate::end::DESCRIPTOR));
    }
    let program = filter::compile(high_theirs.as_raw_fd()).map_err(StartError::Filter)?;

    let process = Arc::new(Process::default());
    let told = {
        let process = Arc::clone(&process);
        let name = "keep-calls".to_owned();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || watch(&ours, &process, &files).map(Told::Call))
            .map_err(failed("start a thread"))?
    };
    let run = move || {
        let mut command = Command::new(format!("/proc/self/fd/{}", high_image.as_raw_fd()));
        command.env_clear().envs(environment).args(arguments.get(1..).unwrap_or_default());
        if let Some(name) = arguments.first() {
            command.arg0(name);
        }
        let raw: Vec<_> = places.iter().map(|(fd, place)| (fd.as_raw_fd(), *place)).collect();
        let raw_theirs = high_theirs.as_raw_fd();
        let parent = rustix::process::getpid();
        // SAFETY: `confine` makes system calls and touches memory that was allocated before the fork, nothing else: no
        // allocation, no lock, no panic. The descriptors live in this closure, past the spawn.
        unsafe { command.pre_exec(move || confine(parent, &raw, raw_theirs, &program)) };
        let spawned = start(command, streams.map(std::process::Stdio::from));
        drop((image, platform, end, theirs, high_image, high_theirs, places));
        spawned
    };
    parent(run, process, told)
}

impl From<Stdio> for std::process::Stdio {
    fn from(stream: Stdio) -> Self {
        match stream {
            Stdio::Inherit => Self::inherit(),
            Stdio::Null => Self::null(),
        }
    }
}

/// Starts a command with nothing of this process but the streams.
fn start(mut command: Command, streams: [std::process::Stdio; 3]) -> std::io::Result<std::process::Child> {
    let [stdin, stdout, stderr] = streams;
    command.current_dir("/").stdin(stdin).stdout(stdout).stderr(stderr).spawn()
}

/// Makes the child in a thread that also waits for it: the child is told to die with the thread that made it.
fn parent(
    spawn: impl FnOnce() -> std::io::Result<std::process::Child> + Send + 'static,
    process: Arc<Process>,
    told: JoinHandle<Option<Told>>,
) -> Result<Child, StartError> {
    let failed = |what| move |source: std::io::Error| StartError::System { what, source };
    let (started, starting) = mpsc::channel();
    let theirs = Arc::clone(&process);
    let run = move || {
        let process = theirs;
        let mut child = match spawn() {
            Ok(child) => child,
            Err(error) => {
                // Nobody waits for this status: the error goes to whoever asked for the start.
                process.gone.store(true, Ordering::SeqCst);
                _ = started.send(Err(error));
                return Ok(ExitStatus::default());
            }
        };
        let pidfd = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH);
        match pidfd.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => {
                // Set once, here.
                _ = process.pidfd.set(pidfd);
                _ = started.send(Ok(()));
            }
            Err(error) => {
                _ = child.kill();
                _ = started.send(Err(error.into()));
            }
        }
        let status = child.wait();
        process.gone.store(true, Ordering::SeqCst);
        status
    };
    let parent =
        std::thread::Builder::new().name("keep-child".to_owned()).spawn(run).map_err(failed("start a thread"))?;
    match starting.recv() {
        Ok(Ok(())) => Ok(Child { process, parent, told }),
        Ok(Err(source)) => Err(StartError::System { what: "start the Keep's process", source }),
        Err(_) => Err(failed("start the Keep's process")(std::io::Error::other("its thread panicked"))),
    }
}

/// No descriptor that a child finds has this number, or one above.
const LIFTED: RawFd = 16;

/// Puts descriptors in their places, and closes others, in the child between fork and exec.
fn inherit(wanted: &[(RawFd, RawFd)]) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    for (from, number) in wanted {
        // SAFETY: it was open in the parent when it forked, and nothing closed it here.
        let from = unsafe { BorrowedFd::borrow_raw(*from) };
        // SAFETY: in the child the number belongs to an original that the parent holds and the child does not use, or to
        // nobody; taking it over closes that. The handle is forgotten, because the number must stay open.
        let mut place = unsafe { OwnedFd::from_raw_fd(*number) };
        rustix::io::dup2(from, &mut place)?;
        std::mem::forget(place);
    }
    // All others, whoever leaked them to us, close at exec.
    let first = wanted.iter().map(|(_, number)| number + 1).max().unwrap_or(3);
    // SAFETY: a system call on numbers only.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked != 0 {
        // Kernels before 5.11, and some sandboxes, lack the call.
        let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
        for fd in first..RawFd::try_from(most).unwrap_or(RawFd::MAX) {
            // SAFETY: a system call on numbers only; for one that is not open it is an error without effect.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    // What a terminal sends to all of its programs, and whoever looks after services to all processes of one, is the host
    // process's to judge; it ends the Keep.
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM] {
        // SAFETY: it installs no handler; that a signal is ignored outlasts exec.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }

    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Runs in the child between fork and exec.
fn confine(
    parent: Pid,
    wanted: &[(RawFd, RawFd)],
    report_to: RawFd,
    program: &[libc::sock_filter],
) -> std::io::Result<()> {
    inherit(wanted)?;
    // Who died before the order to die with it was given answers nothing: `execve` would wait for ever.
    if rustix::process::getppid() != Some(parent) {
        return Err(std::io::ErrorKind::NotConnected.into());
    }
    // SAFETY: it was open in the parent when it forked; `inherit` marked it to be closed at exec.
    let report_to = unsafe { BorrowedFd::borrow_raw(report_to) };
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which lives through the call; it does not write to it.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = RawFd::try_from(listener).ok().filter(|fd| *fd >= 0).ok_or_else(std::io::Error::last_os_error)?;
    // SAFETY: the kernel just made this descriptor for us. It is closed at exec.
    let listener = unsafe { BorrowedFd::borrow_raw(listener) };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let passed = [listener];
    message.push(SendAncillaryMessage::ScmRights(&passed));
    rustix::net::sendmsg(report_to, &[IoSlice::new(&[0])], &mut message, SendFlags::empty())?;
    Ok(())
}

/// Waits for calls outside the table: lets the first `execve` through, opens `files`, answers those that are refused
/// with their error, and ends the child at any other.
fn watch(from: &UnixStream, process: &Process, files: &Files) -> Option<Refused> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut receive =
        || rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC);
    retry_on_intr(&mut receive).ok()?;
    let listener = message.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })?;
    let mut started = false;
    while !process.gone.load(Ordering::SeqCst) {
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        // Kernels before 5.9 do not say that the last caller is gone: look for oneself now and then.
        if retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))).is_err() {
            // Without a watcher the child could do what no Keep does.
            process.kill();
            return None;
        }
        if fds[0].revents().contains(PollFlags::HUP) {
            return None;
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            continue;
        }
        let Some(call) = filter::receive(listener.as_fd()) else { continue };
        let number = usize::try_from(call.data.nr).unwrap_or(usize::MAX);
        if !started && i64::from(call.data.nr) == libc::SYS_execve {
            started = true;
            filter::answer(listener.as_fd(), call.id, filter::Answer::LetThrough);
            continue;
        }
        if let Some(open) = OPEN.iter().find(|open| usize::from(open.number) == number) {
            match opened(&call, open, files) {
                Ok((file, close)) => filter::hand(listener.as_fd(), call.id, file.as_fd(), close),
                Err(error) => filter::answer(listener.as_fd(), call.id, filter::Answer::Error(error)),
            }
            continue;
        }
        if let Some(refused) = REFUSED.iter().find(|refused| usize::from(refused.number) == number) {
            filter::answer(listener.as_fd(), call.id, filter::Answer::Error(i32::from(refused.error)));
            continue;
        }
        // It gets no answer: the caller stays in its call until it is dead, whatever it meant to do next. While it is being
        // started there is no handle of the process yet; then it has one thread, and the caller is it.
        while !process.gone.load(Ordering::SeqCst) {
            match i32::try_from(call.pid).ok().and_then(Pid::from_raw) {
                Some(caller) if process.pidfd.get().is_none() => kill(caller),
                _ => process.kill(),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        return Some(Refused {
            name: name(number),
            arguments: call.data.args.map(|argument| format!("{argument:#x}")).join(", "),
        });
    }
    None
}

/// The name of a system call, or its number.
fn name(number: usize) -> String {
    Sysno::new(number).map_or_else(|| number.to_string(), |call| call.name().to_owned())
}

/// What a call opens, and whether it is to close at exec; else its error number. The path may change while it is looked
/// at, because the child may have other threads: what is compared is a copy.
fn opened(call: &libc::seccomp_notif, open: &Open, files: &Files) -> Result<(OwnedFd, bool), i32> {
    let argument = |index: u8| call.data.args.get(usize::from(index)).copied().unwrap_or(0);
    let flags = argument(open.flags) & 0xffff_ffff;
    let path = || filter::path(call.pid, argument(open.path)).ok_or(libc::EFAULT);
    let file = match files {
        Files::Stored(Some(stored)) => stored.open(&path()?).map(|file| Ok(file.into())),
        Files::Given(files) if !files.is_empty() => {
            let path = path()?;
            files.iter().find(|(known, _)| known.as_bytes() == path).map(|(_, file)| files::reader(file))
        }
        Files::Stored(None) | Files::Given(_) => None,
    };
    gate::calls::open(flags, file.is_some()).map_err(i32::from)?;
    let file = file.ok_or(libc::ENOENT)?.map_err(|_| libc::EIO)?;
    Ok((file, flags & gate::calls::O_CLOEXEC != 0))
}

/// Ends a child that is being started. It is stopped in a call, so it has not been reaped and the number is its own.
fn kill(child: Pid) {
    if let Ok(child) = rustix::process::pidfd_open(child, PidfdFlags::empty()) {
        // It may be gone already, which is what was wanted.
        _ = rustix::process::pidfd_send_signal(child, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{calls, tiny};

    impl Left {
        fn call(&mut self) -> Option<Refused> {
            match self.told.take() {
                Some(Told::Call(refused)) => Some(refused),
                _ => None,
            }
        }
    }

    fn start(elf: &[u8], platform: UnixStream) -> Child {
        // Nobody ever wants its end.
        let (_, end) = UnixStream::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        spawn(Task::exec(MemoryFile::sealed(elf).unwrap(), Stdio::Null, None), platform, Some(end)).unwrap()
    }

    fn run(elf: &[u8]) -> Left {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        start(elf, theirs).wait().unwrap()
    }

    #[test]
    fn a_call_outside_the_tables_ends_the_child_and_is_named() {
        const FORK: u8 = 57;
        let mut left = run(&tiny(&calls(FORK, 0)));
        let call = left.call().expect("a call that nobody answers");
        assert_eq!((call.name.as_str(), call.arguments.split(", ").count()), ("fork", 6));
        assert_eq!(left.status.to_string(), "signal: 9 (SIGKILL)");
    }

    /// A program of the host finds none of its libraries, and says so; the libraries are there.
    #[test]
    fn a_program_of_the_host_finds_no_file() {
        let left = run(&std::fs::read("/bin/true").unwrap());
        assert!(left.told.is_none(), "{:?}", left.told);
        assert_eq!(left.status.to_string(), "exit status: 127");
    }

    /// The control: exec, alone with a platform that is gone, ends by itself and within the table.
    #[test]
    fn exec_stays_within_the_table() {
        let left = run(crate::Image::built_in().unwrap().exec());
        assert!(left.told.is_none(), "{:?}", left.told);
        assert_eq!(left.status.to_string(), "exit status: 125");
    }

    /// For a file that is no program the C library tries the shell next: a second `execve`, which nobody is allowed.
    #[test]
    fn only_the_first_execve_is_let_through() {
        let mut left = run(b"not an ELF");
        assert_eq!(left.call().expect("a second execve").name, "execve");
    }

    /// Ctrl-C reaches every program of the terminal, and SIGTERM may be sent to all processes of a service.
    #[test]
    fn what_is_sent_to_everybody_does_not_end_the_child() {
        for signal in [Signal::INT, Signal::TERM] {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let child = start(crate::Image::built_in().unwrap().exec(), theirs);
            rustix::process::pidfd_send_signal(child.process.pidfd.get().unwrap(), signal).unwrap();
            child.process.kill();
            assert_eq!(child.wait().unwrap().status.to_string(), "signal: 9 (SIGKILL)");
        }
    }

    #[test]
    fn a_child_can_be_stopped() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        // exec waits for its first reply, which never comes.
        let Ok(image) = crate::Image::built_in() else { return };
        let child = start(image.exec(), theirs);
        child.process.kill();
        let left = child.wait().unwrap();
        assert!(left.told.is_none());
        assert_eq!(left.status.to_string(), "signal: 9 (SIGKILL)");
    }
}
