//! What the monitor may still do when the machine is made: run it, move bytes, use sockets, tell the time.
//!
//! Owns the second wall around a micro-VM: whoever breaks out of it is in a process that opens no file, starts no program,
//! signals nobody and makes no memory executable. The first is the process itself; the kernel's Landlock, where it is
//! there, closes the file system once more.

use std::collections::BTreeMap;

use landlock::{ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Calls with any arguments: none of them names a path, a process, or a new kind of descriptor.
const ANY: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
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
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_write,
];

/// `KVM_RUN` and `KVM_GET_REGS` (linux/kvm.h), `TIOCGWINSZ`, `FIONBIO`.
const CONTROLS: [u64; 4] = [0xae80, 0x8090_ae81, 0x5413, 0x5421];
/// What of a `fcntl` is asked: is a descriptor open (`F_GETFD`), before the library closes it.
const F_GETFD: u64 = 1;

/// Gives up everything else, for good.
pub(super) fn confine() -> Result<(), String> {
    // The library looks for the kernel's clock page when it is first asked.
    _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    close_files().map_err(|error| format!("cannot use Landlock: {error}"))?;
    let program =
        filter(SeccompAction::KillProcess).map_err(|error| format!("the filter does not compile: {error}"))?;
    seccompiler::apply_filter(&program).map_err(|error| format!("cannot apply the filter: {error}"))
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
        assert_eq!(file, Err(refused));
        assert_eq!(program, Err(refused));
        assert_eq!(local, Err(refused));
    }

    /// The control: what the monitor needs is there.
    #[test]
    fn sockets_and_descriptors_go_on() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut ours = std::fs::File::from(std::os::fd::OwnedFd::from(ours));
        rustix::io::write(&theirs, b"x").unwrap();
        let (read, listener) = confined(move || {
            let mut byte = [0];
            (ours.read(&mut byte).map(|_| byte), std::net::TcpListener::bind("127.0.0.1:0").map(drop))
        });
        assert_eq!(read.unwrap(), *b"x");
        listener.unwrap();
    }
}
