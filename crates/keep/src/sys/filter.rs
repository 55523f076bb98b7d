//! The call table of `spec/gate.md` as a seccomp program, and the conversation about calls outside it.
//!
//! What is read of a caller's memory is copied and bounded. An answer goes to the call that it is for or to nobody: the
//! kernel knows calls by a number that it never uses again.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use gate::calls::{Call, Is, TABLE};
use gate::program::PATH;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// `BPF_RET | BPF_K` (linux/bpf_common.h).
const RETURN: u16 = 0x06;
/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)` (linux/seccomp.h).
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
/// `_IOW('!', 3, struct seccomp_notif_addfd)`, and its flag that answers the call at once (Linux 5.14).
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
const ADDFD_SEND: u32 = 2;

/// Compiles the table. What it does not list is handed to the watcher. `report_to` is the descriptor on which the child
/// sends the watcher's end away before exec, and closed then. exec may get that number again and send on it, which is no
/// more than `write` could.
pub(super) fn compile(report_to: RawFd) -> Result<Vec<libc::sock_filter>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for Call { number, when, .. } in TABLE {
        let alternatives = when.iter().map(|all| rule(all)).collect::<Result<_, _>>()?;
        rules.insert(i64::from(*number), alternatives);
    }
    let report_to = u64::try_from(report_to).map_err(|error| error.to_string())?;
    rules.insert(libc::SYS_sendmsg, vec![rule(&[Is { argument: 0, mask: 0xffff_ffff, value: report_to }])?]);

    // seccompiler knows no action "notify", so the action stands in for it and is replaced below.
    let stand_in = SeccompAction::Trap;
    let filter = SeccompFilter::new(rules, stand_in.clone(), SeccompAction::Allow, TargetArch::x86_64);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|error| error.to_string())?;
    let stand_in = u32::from(stand_in);
    Ok(program
        .iter()
        .map(|op| libc::sock_filter {
            code: op.code,
            jt: op.jt,
            jf: op.jf,
            k: if op.code == RETURN && op.k == stand_in { libc::SECCOMP_RET_USER_NOTIF } else { op.k },
        })
        .collect())
}

fn rule(all: &[Is]) -> Result<SeccompRule, String> {
    let condition = |is: &Is| {
        let length = if is.mask <= u64::from(u32::MAX) { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
        SeccompCondition::new(is.argument, length, SeccompCmpOp::MaskedEq(is.mask), is.value)
    };
    let conditions = all.iter().map(condition).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    SeccompRule::new(conditions).map_err(|error| error.to_string())
}

/// The next call that waits for an answer; `None` if the caller is gone.
pub(super) fn receive(listener: BorrowedFd<'_>) -> Option<libc::seccomp_notif> {
    // SAFETY: the structure is plain numbers, for which all zeroes is a value; the kernel demands zeroes.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request's size is in its number and is that of the structure, which lives through the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut call) };
    (result == 0).then_some(call)
}

/// What becomes of a call outside the table.
pub(super) enum Answer {
    LetThrough,
    /// It returns this error number.
    Error(i32),
}

/// Answers a call. That the caller may be gone is not an error here.
pub(super) fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) {
    let (error, flags) = match answer {
        Answer::LetThrough => (0, u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(0)),
        Answer::Error(number) => (-number, 0),
    };
    let mut response = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: as for `receive`.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut response) };
}

/// Answers a call with a descriptor of the caller's own for `file`.
pub(super) fn hand(listener: BorrowedFd<'_>, id: u64, file: BorrowedFd<'_>, close: bool) {
    let Ok(srcfd) = u32::try_from(file.as_raw_fd()) else { return answer(listener, id, Answer::Error(libc::EIO)) };
    let newfd_flags = if close { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
    let addition = libc::seccomp_notif_addfd { id, flags: ADDFD_SEND, srcfd, newfd: 0, newfd_flags };
    // SAFETY: as for `receive`.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD, &raw const addition) };
    if result < 0 {
        // The caller has no room, or the kernel does not know how; a caller that is gone hears neither.
        let error = std::io::Error::last_os_error().raw_os_error();
        answer(listener, id, Answer::Error(error.filter(|error| *error == libc::EMFILE).unwrap_or(libc::EIO)));
    }
}

/// The path at an address of the caller's memory, without its end. One that is longer than the path of any file is cut;
/// `None` if it cannot be read up to its end.
pub(super) fn path(caller: u32, at: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; PATH + 1];
    let at = usize::try_from(at).ok()?;
    // A part in each of two pages, because a part is read whole or not at all.
    let first = bytes.len().min(4096 - at % 4096);
    let part = |at: usize, length| libc::iovec { iov_base: std::ptr::without_provenance_mut(at), iov_len: length };
    let there = [part(at, first), part(at.checked_add(first)?, bytes.len() - first)];
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel writes into `bytes` only, as many as it has; addresses of the other process are its to check.
    let count = unsafe { libc::process_vm_readv(caller.cast_signed(), &raw const here, 1, there.as_ptr(), 2, 0) };
    let read = bytes.get(..usize::try_from(count).ok()?)?;
    let end = read.iter().position(|byte| *byte == 0).or((read.len() > PATH).then_some(PATH + 1))?;
    bytes.truncate(end);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compiles_and_its_last_word_is_to_notify() {
        let program = compile(42).unwrap();
        let returns: Vec<u32> = program.iter().filter(|op| op.code == RETURN).map(|op| op.k).collect();
        assert!(returns.contains(&libc::SECCOMP_RET_USER_NOTIF));
        assert!(returns.contains(&libc::SECCOMP_RET_ALLOW));
        assert!(!returns.contains(&libc::SECCOMP_RET_TRAP));
    }

    #[test]
    fn a_path_is_read_up_to_the_end_of_its_memory() {
        let own = std::process::id();
        let path = |at: *const u8| super::path(own, at.addr() as u64);
        let page = |bytes: &[u8]| {
            use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
            // SAFETY: a new mapping of two pages at an address of the kernel's choice, of which the second goes away
            // again.
            let start = unsafe {
                let protection = ProtFlags::READ | ProtFlags::WRITE;
                let start = mmap_anonymous(std::ptr::null_mut(), 8192, protection, MapFlags::PRIVATE).unwrap();
                munmap(start.byte_add(4096), 4096).unwrap();
                start.cast::<u8>()
            };
            // SAFETY: within the first page.
            unsafe {
                let at = start.byte_add(4096 - bytes.len());
                at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                at.cast_const()
            }
        };
        let text = b"/a/path\0";
        assert_eq!(path(text.as_ptr()).unwrap(), b"/a/path");
        assert_eq!(path(page(text)).unwrap(), b"/a/path");
        assert_eq!(path(page(b"/a")), None, "it has no end");
        let long = vec![b'x'; 4096];
        assert_eq!(path(page(&long)).unwrap().len(), PATH + 1, "longer than any file's");
        assert_eq!(path(std::ptr::without_provenance(8)), None);
    }
}
