//! What threads do to processors: starting, ending, waiting, and being made to forget pages.

use core::sync::atomic::{AtomicU64, Ordering};

use gate::plan::PROCESSORS;
use gate::ring::{Call, FOREVER, Kind};

use super::seats::Seats;
use super::waits::Waits;
use crate::arch::entry::{self, Frame};
use crate::arch::lock::Lock;
use crate::arch::tables::{self, me};
use crate::arch::{self, Vectors, msr, user};
use crate::host::{self, Fatal, fatal};
use crate::memory::areas::TOP;
use crate::syscall::error::{EAGAIN, EINVAL, EPERM, Errno};
use crate::syscall::{self, files, signals};

pub(crate) static SEATS: Seats = Seats::new();

static WAITS: Lock<Waits> = Lock::new(Waits::new());

/// What a new thread begins with.
struct Start {
    frame: Frame,
    vectors: Vectors,
    pointer: u64,
    thread: Thread,
    mask: u64,
}

/// What the shim knows of a thread.
#[derive(Debug, Clone, Copy)]
struct Thread {
    number: u64,
    /// Becomes 0 when it ends, for those who wait for that; 0 for none.
    clear: u64,
}

static STARTS: [Lock<Option<Start>>; PROCESSORS] = [const { Lock::new(None) }; PROCESSORS];
static THREADS: Lock<[Thread; PROCESSORS]> = Lock::new([Thread { number: 1, clear: 0 }; PROCESSORS]);
/// One thread at a time makes another.
static CLONES: Lock<()> = Lock::new(());
/// The number of the next thread. Libraries have 30 bits for it.
static NUMBER: AtomicU64 = AtomicU64::new(2);
const NUMBERS: u64 = 1 << 29;

/// `clone`, with the flags of the call table.
pub(crate) fn clone(frame: &Frame) -> Result<u64, Errno> {
    let (stack, parent, clear, pointer) = (frame.rsi, frame.rdx, frame.r10, frame.r8);
    if stack == 0 || stack > TOP {
        return Err(EINVAL);
    }
    if pointer >= TOP {
        return Err(EPERM);
    }
    let _one = CLONES.lock();
    let number = NUMBER.load(Ordering::Relaxed);
    if number >= NUMBERS {
        return Err(EAGAIN);
    }
    let taken = SEATS.take().ok_or(EAGAIN)?;
    NUMBER.store(number.wrapping_add(1), Ordering::Relaxed);
    let number_word = u32::try_from(number).unwrap_or(0).to_le_bytes();
    // As on Linux: where it cannot be written, it is not.
    _ = syscall::put(parent, &number_word);
    let start = Start {
        frame: Frame { rax: 0, rsp: stack, ..*frame },
        vectors: Vectors::save(),
        pointer,
        thread: Thread { number, clear },
        mask: signals::mask_of(me()),
    };
    if let Some(place) = STARTS.get(taken.seat) {
        *place.lock() = Some(start);
    }
    let seat = taken.seat as u64;
    if !taken.new {
        // If the host does not, the thread does not run.
        _ = host::call(&Call { a: seat, ..Call::new(Kind::Wake, 0) });
        return Ok(number);
    }
    let started = if files::show_window(taken.seat) {
        host::call(&Call { a: seat, ..Call::new(Kind::Processor, 0) })
    } else {
        Err(EAGAIN)
    };
    if started.is_err() && start_of(taken.seat).is_some() {
        SEATS.give_back();
        return Err(EAGAIN);
    }
    // The next one that comes has the next ticket.
    host::until(|| SEATS.has_arrived(taken.seat));
    Ok(number)
}

fn start_of(seat: usize) -> Option<Start> {
    STARTS.get(seat).and_then(|start| start.lock().take())
}

/// A processor that is not the first starts.
pub(crate) fn arrive(ticket: usize) -> ! {
    let lie = || fatal(Fatal::Lie, Kind::Processor as u64);
    if SEATS.arrive(ticket).is_err() {
        lie();
    }
    tables::start(ticket);
    match start_of(ticket) {
        Some(start) => begin(ticket, &start),
        None => lie(),
    }
}

fn begin(seat: usize, start: &Start) -> ! {
    if let Some(place) = THREADS.lock().get_mut(seat) {
        *place = start.thread;
    }
    signals::begin(seat, start.mask);
    arch::write_msr(msr::FS_BASE, start.pointer);
    start.vectors.restore();
    entry::enter(start.frame)
}

/// `exit`: the thread ends, and with the last of them the Keep.
pub(crate) fn exit(status: u64) -> ! {
    let me = me();
    let clear = THREADS.lock().get(me).map_or(0, |thread| thread.clear);
    if !SEATS.alone() && clear != 0 {
        // If it cannot be written, nobody waits for it.
        _ = syscall::put(clear, &[0; 4]);
        wake(clear, super::waits::ANY, 1);
    }
    if SEATS.rise(me) {
        host::exit(status);
    }
    loop {
        if let Some(start) = start_of(me) {
            begin(me, &start);
        }
        // Whatever it says: what counts is whether there is a start.
        _ = host::call(&Call { a: FOREVER, ..Call::new(Kind::Park, 0) });
    }
}

/// The number of this thread.
pub(crate) fn number() -> u64 {
    THREADS.lock().get(me()).map_or(1, |thread| thread.number)
}

/// `set_tid_address`.
pub(crate) fn set_clear(at: u64) -> u64 {
    if let Some(thread) = THREADS.lock().get_mut(me()) {
        thread.clear = at;
    }
    number()
}

/// Another program begins, in this thread.
pub(crate) fn forget() {
    _ = set_clear(0);
}

/// Lets others have a turn.
pub(crate) fn turn() {
    if !SEATS.alone() {
        _ = host::call(&Call::new(Kind::Sleep, 0));
    }
}

/// Has every other processor forget what the page tables said. To be called with the space locked, so that no page comes
/// to another use before.
pub(crate) fn others_forget() {
    let Some(generation) = SEATS.change(me()) else { return };
    loop {
        let behind = SEATS.behind(generation);
        if behind == 0 {
            return;
        }
        // The host may fail to: then this goes on for ever, but not on.
        _ = host::call(&Call { a: behind, ..Call::new(Kind::Kick, 0) });
        if (0..16).any(|_| SEATS.behind(generation) == 0) {
            return;
        }
    }
}

/// Drops what this processor remembers of tables that changed since. To be called when the space is locked, before memory
/// of the program is used.
pub(crate) fn catch_up() {
    if !SEATS.single() {
        SEATS.catch_up(me(), arch::forget);
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Yes,
    TimeOver,
}

/// Waits until somebody wakes the key, or until that time (nanoseconds since the start; none: for ever). `still` says,
/// when nobody can wake any more, whether there is something to wait for.
pub(crate) fn wait<E>(
    key: u64,
    mask: u32,
    until: Option<u64>,
    still: impl FnOnce() -> Result<(), E>,
) -> Result<Woken, E> {
    let me = me();
    {
        let mut waits = WAITS.lock();
        still()?;
        waits.begin(me, key, mask);
    }
    loop {
        let nanos = until.map_or(FOREVER, |until| until.saturating_sub(user::now().since));
        if nanos > 0 {
            _ = host::call(&Call { a: nanos, ..Call::new(Kind::Park, 0) });
        }
        let mut waits = WAITS.lock();
        if !waits.waits(me) {
            return Ok(Woken::Yes);
        }
        if nanos == 0 {
            waits.cancel(me);
            return Ok(Woken::TimeOver);
        }
    }
}

/// Wakes at most so many who wait for the key; how many.
pub(crate) fn wake(key: u64, mask: u32, most: u64) -> u64 {
    let woken = WAITS.lock().wake(key, mask, most);
    ring(woken)
}

/// Wakes some, and has others wait for another key, if `still`; how many of both.
pub(crate) fn requeue(
    from: u64,
    to: u64,
    most: (u64, u64),
    still: impl FnOnce() -> Result<(), Errno>,
) -> Result<(u64, u64), Errno> {
    let (woken, moved) = {
        let mut waits = WAITS.lock();
        still()?;
        (waits.wake(from, super::waits::ANY, most.0), waits.requeue(from, to, most.1))
    };
    Ok((ring(woken), moved))
}

/// Ends the sleep of those who were woken.
fn ring(woken: u64) -> u64 {
    for seat in (0..u64::from(u64::BITS)).filter(|seat| woken >> seat & 1 == 1) {
        _ = host::call(&Call { a: seat, ..Call::new(Kind::Wake, 0) });
    }
    u64::from(woken.count_ones())
}

/// From here on this processor can be woken by the key, while it waits for something else.
pub(crate) fn listen(key: u64) {
    WAITS.lock().begin(me(), key, super::waits::ANY);
}

/// Whether it was woken since.
pub(crate) fn heard() -> bool {
    !WAITS.lock().cancel(me())
}
