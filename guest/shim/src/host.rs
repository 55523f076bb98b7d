//! Calls to the host over this processor's shared block, and what can be believed of the answers.
//!
//! Owns the copy of each call: what was asked is remembered here, never read back. A result outside its range is a lie and
//! ends the Keep.

use core::sync::atomic::{AtomicBool, Ordering};

use gate::ring::{COUNT, Call, FIRST, Kind, RESULT};

use crate::arch::shared::{self, Block};
use crate::platform;
use crate::syscall::error::Errno;

/// Has one call done.
pub(crate) fn call(call: &Call) -> Result<u64, Errno> {
    match call.check(ask(call).read(FIRST.wrapping_add(RESULT))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(number)) => Err(Errno(number)),
        Err(gate::ring::Lie) => fatal(Fatal::Lie, call.kind as u64),
    }
}

/// Rings for one call; where its result is.
fn ask(call: &Call) -> Block {
    let block = shared::block();
    for (index, word) in call.encode().into_iter().enumerate() {
        block.write(FIRST.wrapping_add(index), word);
    }
    block.write(COUNT, 1);
    // Who rings finds it answered, if the host is just done.
    let served = SERVED.load(Ordering::Relaxed) && call.is_quick();
    if !(served && (0..LOOKS).any(|_| block.read(COUNT) == 0)) {
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
    /// No memory for what the Keep itself needs.
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
    _ = ask(call);
    crate::arch::stop()
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    fatal(Fatal::Panic, info.location().map_or(0, |place| u64::from(place.line())))
}
