//! Calls to the host over the shared block, and what can be believed of the answers.
//!
//! Owns the copy of each call: what was asked is remembered here, never read back. A result outside its range is a lie and
//! ends the Keep.

use gate::ring::{COUNT, Call, FIRST, Kind, RESULT};

use crate::arch::lock::Lock;
use crate::arch::shared;
use crate::platform;
use crate::syscall::error::Errno;

/// One at a time: the block is one.
static BLOCK: Lock<()> = Lock::new(());

/// Has one call done. What the call says of the data part is only sure while nobody else calls, so callers who use it
/// hold `turn`.
pub(crate) fn call(call: &Call) -> Result<u64, Errno> {
    for (index, word) in call.encode().into_iter().enumerate() {
        shared::write(FIRST.wrapping_add(index), word);
    }
    shared::write(COUNT, 1);
    platform::exit();
    match call.check(shared::read(FIRST.wrapping_add(RESULT))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(number)) => Err(Errno(number)),
        Err(gate::ring::Lie) => fatal(Fatal::Lie, call.kind as u64),
    }
}

/// The right to use the data part.
pub(crate) fn turn() -> crate::arch::lock::Guard<'static, ()> {
    BLOCK.lock()
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
    for (index, word) in call.encode().into_iter().enumerate() {
        shared::write(FIRST.wrapping_add(index), word);
    }
    shared::write(COUNT, 1);
    platform::exit();
    crate::arch::stop()
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    fatal(Fatal::Panic, info.location().map_or(0, |place| u64::from(place.line())))
}
