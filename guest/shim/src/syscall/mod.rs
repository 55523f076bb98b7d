//! What the program asks and what happens to it: system calls and faults.
//!
//! Owns which call is answered where. The table of `gate::calls` decides whether a call is one at all; what it refuses
//! gets its error, what it does not know ends the Keep by its number.
//!
//! Invariant: a call returns a value or an error number, or the Keep ends.

pub(crate) mod error;
pub(crate) mod files;
mod futex;
pub(crate) mod signals;

use gate::calls::{Call, Is, OPEN, REFUSED, TABLE};

use crate::arch::entry::{Frame, KICK, PAGE_FAULT, SYSTEM_CALL};
use crate::arch::lock::{Guard, Lock};
use crate::arch::{self, msr, user};
use crate::host::{self, Fatal, fatal};
use crate::memory::areas::{EXECUTE, READ, TOP, WRITE};
use crate::memory::space::Space;
use crate::threads;
use error::{EFAULT, EINVAL, EPERM, Errno};

static SPACE: Lock<Space> = Lock::new(Space::new());

/// The program's memory. Whoever has it remembers nothing of the page tables that is not so any more.
pub(crate) fn space() -> Guard<'static, Space> {
    let space = SPACE.lock();
    threads::catch_up();
    space
}

const PAGE: u64 = gate::plan::PAGE;

/// One more than the largest number of a call.
const NUMBERS: usize = 334;

/// By number: one more than the index in [`TABLE`]; 0 where there is none.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler"
)]
const INDEX: [u8; NUMBERS] = {
    let mut index = [0; NUMBERS];
    let mut at = 0;
    while at < TABLE.len() {
        index[TABLE[at].number as usize] = at as u8 + 1;
        at += 1;
    }
    index
};

/// Tries to make an access of the program's possible that failed; whether it is now.
pub(crate) fn fault(address: u64, error: u64) -> bool {
    let wanted = if error & 0x10 != 0 {
        EXECUTE
    } else if error & 2 != 0 {
        WRITE
    } else {
        READ
    };
    address < TOP && space().fault(address, wanted)
}

/// Every trap that is not part of an excursion.
pub(crate) fn trap(frame: &mut Frame) {
    if !frame.is_program() {
        fatal(Fatal::Ring0, frame.rip);
    }
    match frame.vector {
        SYSTEM_CALL => {
            if let Some(result) = answer(frame) {
                frame.rax = match result {
                    Ok(value) => value,
                    Err(Errno(number)) => 0u64.wrapping_sub(u64::from(number)),
                };
            }
        }
        PAGE_FAULT => {
            let address = arch::fault_address();
            if !fault(address, frame.error) {
                signals::fault(frame, address);
            }
        }
        // It is inside now, which is all that was wanted.
        KICK => {}
        _ => signals::fault(frame, 0),
    }
}

/// A number from the processor's generator.
pub(crate) fn random_word() -> u64 {
    (0..64).find_map(|_| arch::random()).unwrap_or_else(|| fatal(Fatal::Random, 0))
}

fn allowed(call: &Call, arguments: &[u64; 6]) -> bool {
    let holds = |is: &Is| {
        let argument = arguments.get(usize::from(is.argument)).copied().unwrap_or(0);
        argument & is.mask == is.value
    };
    call.when.is_empty() || call.when.iter().any(|all| all.iter().all(holds))
}

/// The answer to a system call; none where the call has set the registers itself.
fn answer(frame: &mut Frame) -> Option<Result<u64, Errno>> {
    let number = frame.rax;
    let arguments = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
    let [a, b, c, d, e, f] = arguments;
    let place = usize::try_from(number).ok().and_then(|number| INDEX.get(number)).copied().unwrap_or(0);
    let call = usize::from(place).checked_sub(1).and_then(|index| TABLE.get(index));
    if let Some(open) = OPEN.iter().find(|open| u64::from(open.number) == number) {
        let argument = |index: u8| arguments.get(usize::from(index)).copied().unwrap_or(0);
        return Some(files::open_file(argument(open.path), argument(open.flags)));
    }
    if !call.is_some_and(|call| allowed(call, &arguments)) {
        return match REFUSED.iter().find(|refused| u64::from(refused.number) == number) {
            Some(refused) => Some(Err(Errno(refused.error))),
            None => fatal(Fatal::Call, number),
        };
    }
    let fd = a & 0xffff_ffff;
    Some(match number {
        0 => files::read(fd, b, c),
        1 => files::write(fd, b, c),
        3 => files::close(fd),
        5 => files::status(fd, b),
        7 => files::poll(a, b, millis(c)),
        8 => files::seek(fd, b, c),
        17 => files::read_at(fd, b, c, d),
        9 => space().map(a, b, c, d),
        10 => space().protect(a, b, c),
        11 => space().unmap(a, b),
        12 => Ok(space().set_break(a)),
        13 => signals::action(a, b, c),
        14 => signals::mask(a, b, c),
        15 => {
            signals::back(frame);
            return None;
        }
        16 => files::control(fd, b, c),
        19 => files::vectors(fd, b, c, files::read),
        20 => files::write_vectors(fd, b, c),
        25 => space().remap(a, b, c),
        28 => space().advise(a, b, c),
        35 => sleep(a, None),
        41 => files::socket(a, b),
        42 => files::connect(fd, b, c),
        44 => files::send(fd, b, c, e, f),
        45 => files::receive(fd, b, c, d, e, f),
        48 => files::shutdown(fd, b),
        49 => files::bind(fd, b, c),
        50 => files::listen(fd, b),
        51 => files::name(fd, b, c, 0),
        52 => files::name(fd, b, c, 1),
        54 => files::set_option(fd, b, c, d, e),
        55 => files::option(fd, b, c, d, e),
        56 => threads::clone(frame),
        60 => threads::exit(a),
        231 => host::exit(a),
        72 => files::descriptor(fd, b, c),
        99 => memory(a),
        131 => signals::alternate_stack(a, b),
        24 => {
            threads::turn();
            Ok(0)
        }
        39 => Ok(1),
        // A thread's name: nothing to do.
        157 => Ok(0),
        158 => thread_pointer(a, b),
        186 => Ok(threads::number()),
        202 => futex::futex(arguments),
        204 => affinity(b, c),
        218 => Ok(threads::set_clear(a)),
        228 => clock(a, b),
        229 => resolution(b),
        230 => sleep(c, (b & 1 != 0).then_some(a)),
        232 | 281 => files::wait(fd, b, c, millis(d)),
        233 => files::watch(fd, b, c & 0xffff_ffff, d),
        271 => match timespec(c) {
            Ok(time) => files::poll(a, b, time.unwrap_or(gate::ring::FOREVER)),
            Err(error) => Err(error),
        },
        288 => files::accept(fd, b, c, d),
        290 => files::event(a, b),
        291 => files::epoll(),
        318 => random(a, b),
        _ => fatal(Fatal::Call, number),
    })
}

/// A time-out in milliseconds, as an int; negative is for ever.
fn millis(word: u64) -> u64 {
    #[allow(clippy::cast_possible_truncation, reason = "an int in the low half of a register")]
    let millis = word as u32;
    if millis.cast_signed() < 0 { gate::ring::FOREVER } else { u64::from(millis).wrapping_mul(1_000_000) }
}

/// Reads some bytes of the program's.
pub(crate) fn get<const N: usize>(from: u64) -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    let mut space = space();
    space.ready(from, N as u64, READ)?;
    user::read(from, &mut bytes);
    Ok(bytes)
}

/// Writes some bytes into the program's memory.
pub(crate) fn put(to: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut space = space();
    space.ready(to, bytes.len() as u64, WRITE)?;
    user::write(to, bytes);
    Ok(())
}

pub(crate) fn word(from: u64) -> Result<u64, Errno> {
    get(from).map(u64::from_le_bytes)
}

/// Nanoseconds of a `timespec`; none if there is none.
fn timespec(at: u64) -> Result<Option<u64>, Errno> {
    if at == 0 {
        return Ok(None);
    }
    let (seconds, nanos) = (word(at)?, word(at.wrapping_add(8))?);
    if seconds.cast_signed() < 0 || nanos >= 1_000_000_000 {
        return Err(EINVAL);
    }
    Ok(Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

fn clock(which: u64, to: u64) -> Result<u64, Errno> {
    write_time(to, clock_now(which)?)
}

fn clock_now(which: u64) -> Result<u64, Errno> {
    let time = user::now();
    match which & 0xffff_ffff {
        // Wall, as well as its coarse and TAI forms.
        0 | 5 | 11 => Ok(time.wall.saturating_add(time.since)),
        1..=4 | 6 | 7 => Ok(time.since),
        _ => Err(EINVAL),
    }
}

fn write_time(to: u64, nanos: u64) -> Result<u64, Errno> {
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let mut bytes = [0; 16];
    let (low, high) = bytes.split_at_mut(8);
    low.copy_from_slice(&seconds.to_le_bytes());
    high.copy_from_slice(&rest.to_le_bytes());
    put(to, &bytes).map(|()| 0)
}

fn resolution(to: u64) -> Result<u64, Errno> {
    if to == 0 { Ok(0) } else { write_time(to, 1) }
}

/// `until`: until that time of this clock, not for so long.
fn sleep(at: u64, until: Option<u64>) -> Result<u64, Errno> {
    let nanos = timespec(at)?.ok_or(EFAULT)?;
    let nanos = match until {
        Some(clock) => nanos.saturating_sub(clock_now(clock)?),
        None => nanos,
    };
    host::call(&gate::ring::Call { a: nanos, ..gate::ring::Call::new(gate::ring::Kind::Sleep, 0) })
}

fn thread_pointer(what: u64, value: u64) -> Result<u64, Errno> {
    const SET_FS: u64 = 0x1002;
    if what != SET_FS {
        return Err(EINVAL);
    }
    if value >= TOP {
        return Err(EPERM);
    }
    arch::write_msr(msr::FS_BASE, value);
    Ok(0)
}

/// How many processors the host offers, which is a hint; at most so many threads run.
fn affinity(size: u64, to: u64) -> Result<u64, Errno> {
    if size < 8 {
        return Err(EINVAL);
    }
    let all = u64::MAX.checked_shr(64u32.wrapping_sub(crate::boot::processors())).unwrap_or(1);
    put(to, &all.to_le_bytes())?;
    Ok(8)
}

/// `struct sysinfo`: memory, and one process, whose it all is.
fn memory(to: u64) -> Result<u64, Errno> {
    let (all, free) = {
        let space = space();
        (space.frames.all(), space.frames.free())
    };
    let [all, free] = [all, free].map(|pages| pages.saturating_mul(PAGE));
    // Uptime and loads are nobody's; a unit of memory is a byte.
    let words = [0, 0, 0, 0, all, free, 0, 0, 0, 0, 1, 0, 0, 1u64];
    for (at, word) in (0u64..).step_by(8).zip(words) {
        put(to.wrapping_add(at), &word.to_le_bytes())?;
    }
    Ok(0)
}

fn random(to: u64, length: u64) -> Result<u64, Errno> {
    // As much as one call gives without a doubt, on Linux too.
    let length = length.min(256);
    let mut at = 0;
    while at < length {
        let bytes = random_word().to_le_bytes();
        let part = usize::try_from(length.wrapping_sub(at)).unwrap_or(8).min(8);
        put(to.wrapping_add(at), bytes.get(..part).unwrap_or_default())?;
        at = at.wrapping_add(8);
    }
    Ok(length)
}
