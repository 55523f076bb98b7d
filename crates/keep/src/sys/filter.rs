//! The call table of `spec/gate.md` as a seccomp program, and the conversation about calls outside it.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use gate::calls::{Call, Is, TABLE};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// `BPF_RET | BPF_K` (linux/bpf_common.h).
const RETURN: u16 = 0x06;
/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)` (linux/seccomp.h).
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;

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
}
