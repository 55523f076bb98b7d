//! Calls to the host over this processor's shared block, and what can be believed of the answers.
//!
//! Owns the copy of each call: what was asked is remembered here, never read back. A result outside its range is a lie and
//! ends the Keep.

use core::sync::atomic::{AtomicBool, Ordering};

use gate::ring::{CALLS, COUNT, Call, FIRST, Kind, RESULT, WORDS};

use crate::arch::shared::{self, Block};
use crate::platform;
use crate::syscall::error::Errno;

/// Has one call done.
pub(crate) fn call(call: &Call) -> Result<u64, Errno> {
    result(call, ring(core::slice::from_ref(call)), 0)
}

/// Has calls done in their order by one ring of the bell, at most [`CALLS`] of them. Each is done, whatever became of those
/// before, and what one has in the window is another's too.
pub(crate) fn calls(calls: &[Call]) -> [Result<u64, Errno>; CALLS] {
    let mut results = [Ok(0); CALLS];
    let block = ring(calls);
    for (index, (call, place)) in calls.iter().zip(&mut results).enumerate() {
        *place = result(call, block, index);
    }
    results
}

/// What became of a call.
fn result(call: &Call, block: Block, index: usize) -> Result<u64, Errno> {
    match call.check(block.read(word(index, RESULT))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(number)) => Err(Errno(number)),
        Err(gate::ring::Lie) => fatal(Fatal::Lie, call.kind as u64),
    }
}

/// A word of one of the calls.
fn word(index: usize, word: usize) -> usize {
    FIRST.wrapping_add(index.wrapping_mul(WORDS)).wrapping_add(word)
}

/// Rings for calls; where their results are.
fn ring(calls: &[Call]) -> Block {
    let block = shared::block();
    let mut count = 0u64;
    for (index, call) in calls.iter().take(CALLS).enumerate() {
        for (place, value) in call.encode().into_iter().enumerate() {
            block.write(word(index, place), value);
        }
        count = count.wrapping_add(1);
    }
    block.write(COUNT, count);
    // Who rings finds it answered, if the host is just done.
    let quick = matches!(calls, [call] if call.is_quick());
    if !(quick && SERVED.load(Ordering::Relaxed) && (0..LOOKS).any(|_| block.read(COUNT) == 0)) {
        platform::exit();
    }
    block
}

/// Whether the host serves calls that do not wait before the bell rings.
pub(crate) static SERVED: AtomicBool = AtomicBool::new(false);
/// How often to look for that: about as long as the way to the host and back takes.
const LOOKS: usize = 64;

/// Goes on when that is true, which another processor makes it: looks a little, then lets the host run others.
pub(crate) fn until(mut is: impl FnMut() -> bool) {
    const LOOKS: usize = 16;
    while !(0..LOOKS).any(|_| is()) {
        // An error costs the others their turn, which is the host's to give.
        _ = call(&Call::new(Kind::Sleep, 0));
    }
}

/// What cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Fatal {
    /// The host's result is outside of what its call can have.
    Lie = 1,
    /// What the host said at the start cannot be.
    Start = 2,
    /// The processor gives no random numbers.
    Random = 3,
    /// No memory for what the Keep itself needs, or the program made use of.
    Memory = 4,
    /// Ring 0 faulted: a defect.
    Ring0 = 5,
    /// A panic: a defect.
    Panic = 6,
    /// A system call that no Keep answers.
    Call = 7,
    /// There is no brief, or it is not the one that the hardware carries.
    Brief = 8,
    /// The host does not carry messages to the firmware, or changes them.
    Firmware = 9,
}

/// Ends the Keep.
pub(crate) fn fatal(what: Fatal, detail: u64) -> ! {
    end(&Call { a: what as u64, b: detail, ..Call::new(Kind::Fatal, 0) })
}

/// Ends the Keep with its program's status.
pub(crate) fn exit(status: u64) -> ! {
    end(&Call { a: (status & 0xff) << 8, ..Call::new(Kind::Exit, 0) })
}

/// Ends the Keep because its program faulted at that place.
pub(crate) fn killed(signal: u64, at: u64) -> ! {
    end(&Call { a: signal & 0x7f, b: at, ..Call::new(Kind::Exit, 0) })
}

fn end(call: &Call) -> ! {
    _ = ring(core::slice::from_ref(call));
    crate::arch::stop()
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    fatal(Fatal::Panic, info.location().map_or(0, |place| u64::from(place.line())))
}
