//! Futexes: a word of the program's that is compared and waited for without a wake between.
//!
//! Owns the operations that C libraries and Rust's use. Refuses the others (ENOSYS), among them those that inherit
//! priorities.

use super::error::{EAGAIN, EINVAL, ENOSYS, ETIMEDOUT, Errno};
use super::{get, timespec};
use crate::arch::user;
use crate::memory::areas::TOP;
use crate::threads::{self, Woken, waits::ANY};

const WAIT: u64 = 0;
const WAKE: u64 = 1;
const REQUEUE: u64 = 3;
const COMPARE_REQUEUE: u64 = 4;
const WAIT_BITSET: u64 = 9;
const WAKE_BITSET: u64 = 10;
/// `FUTEX_CLOCK_REALTIME`.
const WALL: u64 = 0x100;

/// `[word, operation, value, time or second value, other word, third value]`.
pub(super) fn futex([at, operation, value, time, other, third]: [u64; 6]) -> Result<u64, Errno> {
    let low = |word: u64| word & 0xffff_ffff;
    if !at.is_multiple_of(4) || at >= TOP {
        return Err(EINVAL);
    }
    // An int; negative, as some say "all", is many.
    let (most, second, mask) = (low(value), low(time), u32::try_from(low(third)).unwrap_or(0));
    let is = |expected: u64| move || if word(at)? == expected { Ok(()) } else { Err(EAGAIN) };
    match operation & 0x7f {
        WAIT => wait(at, ANY, after(time)?, is(low(value))),
        WAIT_BITSET => wait(at, mask, at_time(time, operation & WALL != 0)?, is(low(value))),
        WAKE => Ok(threads::wake(at, ANY, most)),
        WAKE_BITSET if mask != 0 => Ok(threads::wake(at, mask, most)),
        REQUEUE => threads::requeue(at, other, (most, second), || Ok(())).map(|(woken, _)| woken),
        COMPARE_REQUEUE => threads::requeue(at, other, (most, second), is(low(third)))
            .map(|(woken, moved)| woken.saturating_add(moved)),
        WAKE_BITSET => Err(EINVAL),
        _ => Err(ENOSYS),
    }
}

fn word(at: u64) -> Result<u64, Errno> {
    get(at).map(|bytes| u64::from(u32::from_le_bytes(bytes)))
}

fn wait(at: u64, mask: u32, until: Option<u64>, still: impl FnOnce() -> Result<(), Errno>) -> Result<u64, Errno> {
    if mask == 0 {
        return Err(EINVAL);
    }
    match threads::wait(at, mask, until, still)? {
        Woken::Yes => Ok(0),
        Woken::TimeOver => Err(ETIMEDOUT),
    }
}

/// A time from now.
fn after(time: u64) -> Result<Option<u64>, Errno> {
    Ok(timespec(time)?.map(|nanos| user::now().since.saturating_add(nanos)))
}

/// A time of the wall clock, or of the other.
fn at_time(time: u64, wall: bool) -> Result<Option<u64>, Errno> {
    let start = if wall { user::now().wall } else { 0 };
    Ok(timespec(time)?.map(|nanos| nanos.saturating_sub(start)))
}
