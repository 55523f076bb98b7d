//! The system calls a Keep answers, with the arguments it accepts. `nil` and `sim` start exec under a seccomp filter of
//! exactly this table, so that what a Keep could not do is found on a laptop; the shim will serve the same table.
//!
//! Owns: numbers (x86-64), names and argument classes. `spec/gate.md` shows the table; a test keeps the two equal.
//! Refuses, by leaving them out: every call that names a path, makes a process, changes credentials, or reaches into
//! another process, also by a signal or by way of a descriptor's owner (`open`, `execve`, `fork`, `kill`, `tkill`,
//! `ptrace`, `mount`, F_SETOWN, O_ASYNC, …).
//!
//! Invariant: memory is never mapped or made writable and executable at once.

/// One condition on one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Is {
    /// Argument index, 0 to 5.
    pub argument: u8,
    /// Bits that are looked at.
    pub mask: u64,
    /// What they must be. Arguments are compared as 32-bit values where the mask fits 32 bits.
    pub value: u64,
}

/// One answered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Number in the x86-64 table of Linux.
    pub number: u16,
    /// Name in that table.
    pub name: &'static str,
    /// Alternatives, each a conjunction; no alternative at all means any arguments.
    pub when: &'static [&'static [Is]],
    /// Who needs it.
    pub why: &'static str,
}

const fn any(number: u16, name: &'static str, why: &'static str) -> Call {
    Call { number, name, when: &[], why }
}

const fn only(number: u16, name: &'static str, when: &'static [&'static [Is]], why: &'static str) -> Call {
    Call { number, name, when, why }
}

/// The argument equals `value` in its low 32 bits.
const fn is(argument: u8, value: u64) -> Is {
    Is { argument, mask: 0xffff_ffff, value }
}

/// None of `bits` is set.
const fn without(argument: u8, bits: u64) -> Is {
    Is { argument, mask: bits, value: 0 }
}

const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_SHARED: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
/// One of the two, which differ by one bit.
const INTERNET: Is = Is { argument: 0, mask: !(AF_INET ^ AF_INET6) & 0xffff_ffff, value: AF_INET & AF_INET6 };
/// `SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC`
const STREAM: u64 = 1 | 0o4000 | 0o200_0000;
/// `SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC`
const DATAGRAMS: u64 = 2 | 0o4000 | 0o200_0000;
/// `CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM|SETTLS|PARENT_SETTID|CHILD_CLEARTID|DETACHED`: a thread as musl makes it.
const THREAD: u64 = 0x007d_0f00;
/// The same as glibc makes it, without the flag that has no meaning any more.
const GLIBC_THREAD: u64 = 0x003d_0f00;
const FIONBIO: u64 = 0x5421;
const TIOCGWINSZ: u64 = 0x5413;
const IPPROTO_TCP: u64 = 6;
const IPPROTO_UDP: u64 = 17;
const F_GETFD: u64 = 1;
const F_SETFD: u64 = 2;
const F_GETFL: u64 = 3;
const F_SETFL: u64 = 4;
const F_DUPFD_CLOEXEC: u64 = 1030;
/// The kernel would send a signal to whoever owns the descriptor, which need not be this process.
const O_ASYNC: u64 = 0x2000;
const PR_SET_NAME: u64 = 15;

/// The table, by number.
pub const TABLE: &[Call] = &[
    any(0, "read", "standard input, descriptor 3, sockets"),
    any(1, "write", "standard output, descriptor 3, sockets"),
    any(3, "close", "every descriptor"),
    any(5, "fstat", "is standard input a file"),
    any(7, "poll", "standard input"),
    any(8, "lseek", "files; standard input, when it is one"),
    only(
        9,
        "mmap",
        &[&[without(2, PROT_EXEC), Is { argument: 3, mask: MAP_ANONYMOUS | MAP_SHARED, value: MAP_ANONYMOUS }]],
        "memory; private, never executable",
    ),
    only(
        10,
        "mprotect",
        &[&[without(2, PROT_EXEC)], &[without(2, PROT_WRITE)]],
        "guard pages; compiled code becomes executable only when it is no longer writable",
    ),
    any(11, "munmap", "memory"),
    any(12, "brk", "C library start"),
    any(13, "rt_sigaction", "traps of WebAssembly"),
    any(14, "rt_sigprocmask", "threads, signals"),
    any(15, "rt_sigreturn", "traps of WebAssembly"),
    only(16, "ioctl", &[&[is(1, TIOCGWINSZ)], &[is(1, FIONBIO)]], "is this a terminal; non-blocking sockets"),
    any(17, "pread64", "files"),
    any(19, "readv", "sockets"),
    any(20, "writev", "sockets, standard output"),
    any(24, "sched_yield", "locks"),
    any(25, "mremap", "memory that grows"),
    any(28, "madvise", "memory given back"),
    any(35, "nanosleep", "C library"),
    any(39, "getpid", "C library"),
    only(
        41,
        "socket",
        &[
            &[INTERNET, without(1, !STREAM & 0xffff_ffff), is(2, 0)],
            &[INTERNET, without(1, !STREAM & 0xffff_ffff), is(2, IPPROTO_TCP)],
            &[INTERNET, without(1, !DATAGRAMS & 0xffff_ffff), is(2, 0)],
            &[INTERNET, without(1, !DATAGRAMS & 0xffff_ffff), is(2, IPPROTO_UDP)],
        ],
        "TCP and UDP over IPv4 and IPv6",
    ),
    any(42, "connect", "TCP, UDP"),
    any(44, "sendto", "TCP, UDP"),
    any(45, "recvfrom", "TCP, UDP"),
    any(48, "shutdown", "TCP"),
    any(49, "bind", "TCP, UDP"),
    any(50, "listen", "TCP"),
    any(51, "getsockname", "TCP, UDP"),
    any(52, "getpeername", "TCP, UDP"),
    any(54, "setsockopt", "TCP, UDP"),
    any(55, "getsockopt", "TCP, UDP"),
    only(56, "clone", &[&[is(0, THREAD)], &[is(0, GLIBC_THREAD)]], "a thread, never a process"),
    any(60, "exit", "end of a thread"),
    only(
        72,
        "fcntl",
        &[
            &[is(1, F_GETFD)],
            &[is(1, F_SETFD)],
            &[is(1, F_GETFL)],
            &[is(1, F_SETFL), without(2, O_ASYNC)],
            &[is(1, F_DUPFD_CLOEXEC)],
        ],
        "close-on-exec, status flags, a second descriptor of the same",
    ),
    any(99, "sysinfo", "how much memory there is"),
    any(131, "sigaltstack", "traps of WebAssembly"),
    only(157, "prctl", &[&[is(0, PR_SET_NAME)]], "thread names"),
    any(158, "arch_prctl", "thread-local storage"),
    any(186, "gettid", "C library"),
    any(202, "futex", "locks between threads"),
    any(204, "sched_getaffinity", "number of processors"),
    any(218, "set_tid_address", "C library start"),
    any(228, "clock_gettime", "time"),
    any(229, "clock_getres", "time"),
    any(230, "clock_nanosleep", "C library"),
    any(231, "exit_group", "the end"),
    any(232, "epoll_wait", "readiness"),
    any(233, "epoll_ctl", "readiness"),
    any(271, "ppoll", "standard input"),
    any(281, "epoll_pwait", "readiness"),
    any(288, "accept4", "TCP"),
    any(290, "eventfd2", "readiness"),
    any(291, "epoll_create1", "readiness"),
    any(318, "getrandom", "randomness"),
];

/// A call that is answered with an error: libraries ask such questions and go on well without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Number in the x86-64 table of Linux.
    pub number: u16,
    /// Name in that table.
    pub name: &'static str,
    /// The error number it gets.
    pub error: u16,
    /// Who asks.
    pub why: &'static str,
}

/// A call that opens a file, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Number in the x86-64 table of Linux.
    pub number: u16,
    /// Which argument is the path, 0 to 5.
    pub path: u8,
    /// Which argument has the flags.
    pub flags: u8,
}

const EPERM: u16 = 1;
const ENOENT: u16 = 2;
const ENOTDIR: u16 = 20;
const EROFS: u16 = 30;
const ENOSYS: u16 = 38;

/// Calls that are answered with an error, by number. What is in neither table ends the Keep.
pub const REFUSED: &[Refused] = &[
    Refused { number: 2, name: "open", error: ENOENT, why: "a Keep has no file system of its host" },
    Refused {
        number: 4,
        name: "stat",
        error: ENOENT,
        why: "likewise; aws-lc asks for a device that tells of snapshots",
    },
    Refused { number: 6, name: "lstat", error: ENOENT, why: "likewise" },
    Refused { number: 21, name: "access", error: ENOENT, why: "likewise" },
    Refused { number: 89, name: "readlink", error: ENOENT, why: "likewise; glibc asks for the program's own path" },
    Refused { number: 200, name: "tkill", error: EPERM, why: "abort, which then ends the process by a fault" },
    Refused { number: 234, name: "tgkill", error: EPERM, why: "abort of glibc, likewise" },
    Refused { number: 257, name: "openat", error: ENOENT, why: "a Keep has no file system of its host" },
    Refused { number: 262, name: "newfstatat", error: ENOENT, why: "likewise; glibc asks what standard output is" },
    Refused { number: 267, name: "readlinkat", error: ENOENT, why: "likewise" },
    Refused { number: 269, name: "faccessat", error: ENOENT, why: "likewise" },
    Refused { number: 273, name: "set_robust_list", error: ENOSYS, why: "glibc: locks shared between processes" },
    // Not ENOSYS, for which musl has another call.
    Refused { number: 302, name: "prlimit64", error: EPERM, why: "C libraries: how large a stack is" },
    Refused { number: 332, name: "statx", error: ENOSYS, why: "Rust, which then asks fstat" },
    Refused { number: 334, name: "rseq", error: ENOSYS, why: "glibc: on which processor a thread runs" },
    Refused { number: 435, name: "clone3", error: ENOSYS, why: "glibc, which then makes its threads with clone" },
    Refused { number: 439, name: "faccessat2", error: ENOENT, why: "a Keep has no file system of its host" },
];

/// Calls by which a program opens the files that exec gave it. They are in [`REFUSED`] too: with the error for a file
/// that nobody gave.
pub const OPEN: &[Open] = &[Open { number: 2, path: 0, flags: 1 }, Open { number: 257, path: 1, flags: 2 }];

/// Where exec can open what was stored under a name, which follows in lower-case hexadecimal, if its platform is a process:
/// there it is not to be sent in pieces ([`crate::message::Request::Load`]).
pub const STORED: &str = "/donjon/stored/";

/// `O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND`
const O_CHANGE: u64 = 3 | 0o100 | 0o1000 | 0o2000;
const O_DIRECTORY: u64 = 0o200_000;
/// The new descriptor closes when another program is started.
pub const O_CLOEXEC: u64 = 0o200_0000;

/// Whether a file is opened with these flags; `known`: exec gave it.
///
/// # Errors
/// The error number of the call.
pub const fn open(flags: u64, known: bool) -> Result<(), u16> {
    if flags & O_CHANGE != 0 {
        Err(EROFS)
    } else if !known {
        Err(ENOENT)
    } else if flags & O_DIRECTORY != 0 {
        Err(ENOTDIR)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_unique() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].number < pair[1].number, "{} before {}", pair[0].name, pair[1].name);
        }
        for refused in REFUSED {
            assert!(TABLE.iter().all(|call| call.number != refused.number), "{} is in both tables", refused.name);
        }
        assert!(REFUSED.windows(2).all(|pair| pair[0].number < pair[1].number));
    }

    /// Writable and executable at once is not in any alternative.
    #[test]
    fn no_alternative_allows_write_and_execute() {
        for call in TABLE.iter().filter(|call| matches!(call.number, 9 | 10)) {
            assert!(!call.when.is_empty());
            for alternative in call.when {
                let forbids = alternative
                    .iter()
                    .any(|is| is.argument == 2 && is.value == 0 && is.mask & (PROT_WRITE | PROT_EXEC) != 0);
                assert!(forbids, "{} with {alternative:?}", call.name);
            }
        }
    }

    #[test]
    fn calls_that_name_paths_make_processes_or_signal_them_are_absent() {
        // open, stat, execve, fork, vfork, ptrace, mount, openat, execveat, clone3, io_uring_setup
        for number in [2, 4, 59, 57, 58, 101, 165, 257, 322, 435, 425] {
            assert!(TABLE.iter().all(|call| call.number != number), "{number}");
        }
        // kill, rt_sigqueueinfo, tkill, tgkill, rt_tgsigqueueinfo, pidfd_send_signal
        for number in [62, 129, 200, 234, 297, 424] {
            assert!(TABLE.iter().all(|call| call.number != number), "{number}");
        }
    }

    /// Whether the table answers this call, decided as the filter does.
    fn answered(number: u16, arguments: [u64; 3]) -> bool {
        let holds = |is: &Is| arguments[usize::from(is.argument)] & is.mask == is.value & is.mask;
        let call = TABLE.iter().find(|call| call.number == number).unwrap();
        call.when.is_empty() || call.when.iter().any(|all| all.iter().all(holds))
    }

    /// Descriptors whose owner is another process would let the kernel send it signals.
    #[test]
    fn no_descriptor_signals_its_owner() {
        const FCNTL: u16 = 72;
        // F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
        for command in [8, 10, 15, 1024, 1026] {
            assert!(!answered(FCNTL, [0, command, 0]), "{command}");
        }
        let nonblocking = 0o4000;
        assert!(!answered(FCNTL, [0, F_SETFL, O_ASYNC | nonblocking]));
        assert!(answered(FCNTL, [0, F_SETFL, nonblocking]), "control");
        assert!(answered(FCNTL, [0, F_DUPFD_CLOEXEC, 3]), "control");
        // FIOASYNC, FIOSETOWN, SIOCSPGRP
        for request in [0x5452, 0x8901, 0x8902] {
            assert!(!answered(16, [0, request, 0]), "{request:#x}");
        }
    }

    #[test]
    fn a_socket_is_tcp_or_udp_and_a_thread_only_names_itself() {
        // Of both, neither ICMP nor SCTP, UDP-Lite, MPTCP.
        for (kind, own, other) in [(STREAM, IPPROTO_TCP, IPPROTO_UDP), (DATAGRAMS, IPPROTO_UDP, IPPROTO_TCP)] {
            for family in [AF_INET, AF_INET6] {
                assert!(answered(41, [family, kind, 0]) && answered(41, [family, kind, own]), "{kind} {own}");
                for protocol in [other, 1, 58, 132, 136, 262] {
                    assert!(!answered(41, [family, kind, protocol]), "{kind} {protocol}");
                }
            }
            // AF_UNSPEC, AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK, and what is near.
            for family in [0, 1, 3, 8, 11, 16, 17, 18, 40] {
                assert!(!answered(41, [family, kind, 0]), "{family}");
            }
        }
        // SOCK_RAW, SOCK_SEQPACKET
        for kind in [3, 5] {
            assert!(!answered(41, [AF_INET, kind, 0]), "{kind}");
        }
        assert!(answered(157, [PR_SET_NAME, 0, 0]));
        // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_PTRACER
        for option in [1, 4, 22, 0x5961_6d61] {
            assert!(!answered(157, [option, 0, 0]), "{option}");
        }
    }

    #[test]
    fn files_are_opened_to_be_read() {
        for call in OPEN {
            assert!(REFUSED.iter().any(|refused| (refused.number, refused.error) == (call.number, ENOENT)));
        }
        let nofollow = 0o400_000;
        assert_eq!(open(O_CLOEXEC | nofollow, true), Ok(()));
        assert_eq!(open(O_CLOEXEC | nofollow, false), Err(ENOENT));
        assert_eq!(open(O_DIRECTORY, true), Err(ENOTDIR));
        for change in [1, 2, 0o100, 0o1000, 0o2000] {
            assert_eq!(open(change, true), Err(EROFS), "{change:#o}");
            assert_eq!(open(change, false), Err(EROFS), "{change:#o}");
        }
    }
}
