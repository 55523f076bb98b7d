//! What the monitor may still do when the machine is made: run it, move bytes, use sockets, tell the time.
//!
//! Owns the second wall around a micro-VM: whoever breaks out of it is in a process that opens no file, starts no process,
//! signals nobody else and makes no memory executable. The first is the process itself; the kernel's Landlock, where it is
//! there, closes the file system once more.

use std::collections::BTreeMap;

use landlock::{ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Calls with any arguments: none of them names a path, a process, or a new kind of descriptor, but for those of [`ABSENT`],
/// which never come here.
const ANY: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_listen,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_openat,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_write,
];

/// Calls that are as if the kernel did not have them. The flags of `clone3` lie in memory, where a filter does not see
/// them; libraries use `clone` instead. glibc's memory looks for the number of processors in a file when there are many
/// threads, and finds it otherwise.
const ABSENT: [i64; 2] = [libc::SYS_clone3, libc::SYS_openat];
/// Of linux/kvm.h, to run processors: `KVM_RUN`, `KVM_GET_REGS`, `KVM_INTERRUPT`; to make more of them:
/// `KVM_CREATE_VCPU`, `KVM_SET_CPUID2`, `KVM_GET_SREGS`, `KVM_SET_SREGS`, `KVM_GET_XCRS`, `KVM_SET_XCRS`, `KVM_SET_REGS`.
/// And `TIOCGWINSZ`, `FIONBIO`.
const CONTROLS: [u64; 12] = [
    0xae80,
    0x8090_ae81,
    0x4004_ae86,
    0xae41,
    0x4008_ae90,
    0x8138_ae83,
    0x4138_ae84,
    0x8188_aea6,
    0x4188_aea7,
    0x4090_ae82,
    0x5413,
    0x5421,
];
/// The flags of `clone` for a thread, as musl and glibc make it.
const THREADS: [u64; 2] = [0x007d_0f00, 0x003d_0f00];
/// What of a `fcntl` is asked: is a descriptor open (`F_GETFD`), before the library closes it.
const F_GETFD: u64 = 1;

/// Gives up everything else, for good.
pub(super) fn confine() -> Result<(), String> {
    // The library looks for the kernel's clock page when it is first asked.
    _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    close_files().map_err(|error| format!("cannot use Landlock: {error}"))?;
    let program =
        filter(SeccompAction::KillProcess).map_err(|error| format!("the filter does not compile: {error}"))?;
    let absent = absent().map_err(|error| format!("the filter does not compile: {error}"))?;
    for program in [absent, program] {
        seccompiler::apply_filter(&program).map_err(|error| format!("cannot apply the filter: {error}"))?;
    }
    Ok(())
}

fn absent() -> Result<BpfProgram, seccompiler::BackendError> {
    let action = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap_or(0));
    let rules = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    SeccompFilter::new(rules, SeccompAction::Allow, action, TargetArch::x86_64)?.try_into()
}

/// No access to any file by name, as far as this kernel's Landlock goes.
fn close_files() -> Result<(), landlock::RulesetError> {
    Ruleset::default().handle_access(AccessFs::from_all(ABI::V5))?.create()?.restrict_self()?;
    Ok(())
}

fn filter(otherwise: SeccompAction) -> Result<BpfProgram, seccompiler::BackendError> {
    let is = |argument, mask, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ANY.iter().map(|call| (*call, Vec::new())).collect();
    let one = |argument, mask, value| SeccompRule::new(vec![is(argument, mask, value)?]);
    const ALL: u64 = 0xffff_ffff;
    const EXECUTE: u64 = 4;
    let controls = CONTROLS.iter().map(|control| one(1, ALL, *control)).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, controls);
    let threads = THREADS.iter().map(|flags| one(0, ALL, *flags)).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_clone, threads);
    // Threads of this process, by the one signal.
    let (own, signal) = crate::sys::processor::signals();
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![is(0, ALL, own)?, is(2, ALL, signal)?])?]);
    rules.insert(libc::SYS_fcntl, vec![one(1, ALL, F_GETFD)?]);
    rules.insert(libc::SYS_mmap, vec![one(2, EXECUTE, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![one(2, EXECUTE, 0)?]);
    // Only families of the internet.
    rules.insert(libc::SYS_socket, vec![one(0, ALL, 2)?, one(0, ALL, 10)?]);
    SeccompFilter::new(rules, otherwise, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Runs in a thread that is confined, except that it gets errors instead of ending the process.
    fn confined<T: Send>(then: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                close_files().unwrap();
                let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap());
                seccompiler::apply_filter(&absent().unwrap()).unwrap();
                seccompiler::apply_filter(&filter(refuse).unwrap()).unwrap();
                then()
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn no_file_is_opened_and_no_program_started() {
        let (file, program, local) = confined(|| {
            (
                std::fs::read("/etc/hostname").map_err(|error| error.raw_os_error()),
                std::process::Command::new("/bin/true").spawn().map(drop).map_err(|error| error.raw_os_error()),
                UnixStream::pair().map(drop).map_err(|error| error.raw_os_error()),
            )
        });
        let refused = Some(libc::EPERM);
        assert_eq!(file, Err(Some(libc::ENOSYS)));
        assert_eq!(program, Err(refused));
        assert_eq!(local, Err(refused));
    }

    /// Neither by `fork` nor by a thread's call with other flags; and no signal to another process, nor any but the one.
    #[test]
    fn threads_are_made_and_processes_are_not() {
        let (thread, refused) = confined(|| {
            let thread = std::thread::spawn(|| 7).join().unwrap();
            let call = |number, a: i64, b: i64, c: i64| {
                crate::sys::processor::tests::refused(number, [a, b, c]).expect("refused")
            };
            let own = i64::from(std::process::id());
            let kill = i64::from(libc::SIGKILL);
            let refused = [
                call(libc::SYS_fork, 0, 0, 0),
                call(libc::SYS_clone, i64::from(libc::SIGCHLD), 0, 0),
                call(libc::SYS_tgkill, own, own, kill),
                call(libc::SYS_tgkill, 1, 1, i64::from(libc::SIGUSR1)),
            ];
            (thread, refused)
        });
        assert_eq!((thread, refused), (7, [libc::EPERM; 4]));
    }

    /// The control: what the monitor needs is there.
    #[test]
    fn sockets_and_descriptors_go_on() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut ours = std::fs::File::from(std::os::fd::OwnedFd::from(ours));
        rustix::io::write(&theirs, b"x").unwrap();
        let (read, listener, datagram) = confined(move || {
            let mut byte = [0];
            let read = ours.read(&mut byte).map(|_| byte);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").map(drop);
            let datagram = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
                socket.send_to(b"y", socket.local_addr()?)?;
                socket.recv_from(&mut byte).map(|_| byte)
            });
            (read, listener, datagram)
        });
        assert_eq!((read.unwrap(), datagram.unwrap()), (*b"x", *b"y"));
        listener.unwrap();
    }
}
