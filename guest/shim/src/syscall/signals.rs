//! Faults of the program as the signals Linux makes of them, for handlers that recover from them: traps of WebAssembly.
//!
//! Owns handlers, each thread's mask and alternate stack, and the frame a handler finds, vector registers included: ring 3
//! itself stores and loads those, with the program's rights.
//!
//! Refuses to go on after a fault that nobody handles: the program ends as by that signal.

use gate::plan::PROCESSORS;

use super::error::{EINVAL, ENOMEM, EPERM, Errno};
use super::{get, put, word};
use crate::arch::entry::{self, Frame, PAGE_FAULT};
use crate::arch::lock::{Guard, Lock};
use crate::arch::tables::me;
use crate::arch::{self, Vectors};
use crate::host;
use crate::memory::areas::TOP;

const ILLEGAL: u64 = 4;
const TRAP: u64 = 5;
const BUS: u64 = 7;
const ARITHMETIC: u64 = 8;
const SEGMENT: u64 = 11;

/// `SA_ONSTACK`, `SA_NODEFER`, `SA_RESTORER`.
const ON_STACK: u64 = 0x0800_0000;
const NO_DEFER: u64 = 0x4000_0000;
const RESTORER: u64 = 0x0400_0000;

/// As the kernel's `struct sigaction`: handler, flags, restorer, mask.
#[derive(Debug, Clone, Copy)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// What each thread has of its own.
#[derive(Debug, Clone, Copy)]
struct Own {
    mask: u64,
    /// Start, flags, length.
    stack: (u64, u32, u64),
}

/// `SS_DISABLE`, `SS_ONSTACK`.
const NO_STACK: u32 = 2;
const IN_USE: u32 = 1;

const DEFAULT: Action = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };

static ACTIONS: Lock<[Action; 65]> = Lock::new([DEFAULT; 65]);
/// By seat.
static OWN: [Lock<Own>; PROCESSORS] = [const { Lock::new(Own { mask: 0, stack: (0, NO_STACK, 0) }) }; PROCESSORS];

/// Those of this thread. Nobody else comes for them while it runs.
fn own() -> Guard<'static, Own> {
    of(me())
}

fn of(seat: usize) -> Guard<'static, Own> {
    let [first, ..] = &OWN;
    OWN.get(seat).unwrap_or(first).lock()
}

/// The signals that a thread does not want now.
pub(crate) fn mask_of(seat: usize) -> u64 {
    of(seat).mask
}

/// A thread begins.
pub(crate) fn begin(seat: usize, mask: u64) {
    *of(seat) = Own { mask, stack: (0, NO_STACK, 0) };
}

/// Another program begins.
pub(crate) fn forget() {
    *ACTIONS.lock() = [DEFAULT; 65];
    begin(me(), 0);
}

fn bit(signal: u64) -> u64 {
    1u64.wrapping_shl(u32::try_from(signal.saturating_sub(1)).unwrap_or(0))
}

/// Those that cannot be handled or kept off: KILL, STOP.
const ALWAYS: u64 = 1 << 8 | 1 << 18;

pub(super) fn action(signal: u64, new: u64, old: u64) -> Result<u64, Errno> {
    let index = usize::try_from(signal & 0xffff_ffff).unwrap_or(0);
    if index == 0 || index > 64 {
        return Err(EINVAL);
    }
    let read = if new == 0 {
        None
    } else {
        let words: [u8; 32] = get(new)?;
        let mut words = words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or(0);
        Some(Action { handler: next(), flags: next(), restorer: next(), mask: next() & !ALWAYS })
    };
    if read.is_some() && ALWAYS & bit(signal) != 0 {
        return Err(EINVAL);
    }
    let before = {
        let mut actions = ACTIONS.lock();
        let Some(place) = actions.get_mut(index) else { return Err(EINVAL) };
        let before = *place;
        if let Some(new) = read {
            *place = new;
        }
        before
    };
    if old != 0 {
        for (at, value) in [before.handler, before.flags, before.restorer, before.mask].into_iter().enumerate() {
            put(old.wrapping_add(8u64.wrapping_mul(at as u64)), &value.to_le_bytes())?;
        }
    }
    Ok(0)
}

pub(super) fn mask(how: u64, new: u64, old: u64) -> Result<u64, Errno> {
    let wanted = if new == 0 { None } else { Some(word(new)?) };
    let before = {
        let mut own = own();
        let before = own.mask;
        if let Some(wanted) = wanted {
            own.mask = match how & 0xffff_ffff {
                0 => before | wanted,
                1 => before & !wanted,
                2 => wanted,
                _ => return Err(EINVAL),
            } & !ALWAYS;
        }
        before
    };
    if old != 0 {
        put(old, &before.to_le_bytes())?;
    }
    Ok(0)
}

pub(super) fn alternate_stack(new: u64, old: u64) -> Result<u64, Errno> {
    let wanted = if new == 0 {
        None
    } else {
        let flags = u32::from_le_bytes(get(new.wrapping_add(8))?);
        Some((word(new)?, flags, word(new.wrapping_add(16))?))
    };
    let before = own().stack;
    if let Some((start, flags, length)) = wanted {
        let stack = match flags & !0x8000_0000 {
            NO_STACK => (0, NO_STACK, 0),
            0 | IN_USE if length < 2048 => return Err(ENOMEM),
            0 | IN_USE if start.checked_add(length).is_none_or(|end| end > TOP) => return Err(EPERM),
            0 | IN_USE => (start, 0, length),
            _ => return Err(EINVAL),
        };
        own().stack = stack;
    }
    if old != 0 {
        put(old, &before.0.to_le_bytes())?;
        put(old.wrapping_add(8), &u64::from(before.1).to_le_bytes())?;
        put(old.wrapping_add(16), &before.2.to_le_bytes())?;
    }
    Ok(0)
}

/// Where things lie in what a handler finds: the return address, `ucontext`, `siginfo`.
mod place {
    /// From the frame's start; `ucontext` begins at 8.
    pub(super) const STACK: u64 = 8 + 16;
    /// The general registers of `sigcontext`.
    pub(super) const REGISTERS: u64 = 8 + 40;
    /// Where the vector registers are, 0 for nowhere.
    pub(super) const VECTORS: u64 = REGISTERS + 184;
    pub(super) const MASK: u64 = 8 + 296;
    pub(super) const INFO: u64 = 8 + 304;
    pub(super) const SIZE: u64 = INFO + 128;
    pub(super) const BYTES: usize = 440;
    const _: () = assert!(BYTES as u64 == SIZE);
}

/// The registers in the order of `sigcontext`: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags.
fn registers(frame: &mut Frame) -> [&mut u64; 18] {
    [
        &mut frame.r8,
        &mut frame.r9,
        &mut frame.r10,
        &mut frame.r11,
        &mut frame.r12,
        &mut frame.r13,
        &mut frame.r14,
        &mut frame.r15,
        &mut frame.rdi,
        &mut frame.rsi,
        &mut frame.rbp,
        &mut frame.rbx,
        &mut frame.rdx,
        &mut frame.rax,
        &mut frame.rcx,
        &mut frame.rsp,
        &mut frame.rip,
        &mut frame.flags,
    ]
}

/// Goes on in the program's handler, or ends it.
pub(super) fn fault(frame: &mut Frame, address: u64) {
    let (signal, code) = match frame.vector {
        0 => (ARITHMETIC, 1),
        1 | 3 => (TRAP, 1),
        6 => (ILLEGAL, 2),
        // No such area, or one that does not allow it.
        PAGE_FAULT => (SEGMENT, if super::space().areas.at(address).is_some() { 2 } else { 1 }),
        16 | 19 => (ARITHMETIC, 7),
        17 => (BUS, 1),
        _ => (SEGMENT, 0x80),
    };
    if deliver(frame, signal, code, address).is_none() {
        host::killed(signal, frame.rip);
    }
}

/// `None` if nobody handles it, or there is no stack to do so.
fn deliver(frame: &mut Frame, signal: u64, code: u64, address: u64) -> Option<()> {
    let action = *ACTIONS.lock().get(usize::try_from(signal).ok()?)?;
    let Own { mask, stack } = *own();
    // 0 and 1 are the default and to ignore; a fault cannot be ignored.
    if action.handler <= 1 || action.flags & RESTORER == 0 || mask & bit(signal) != 0 {
        return None;
    }
    let (start, _, length) = stack;
    let inside = frame.rsp.wrapping_sub(start) < length;
    let top = if action.flags & ON_STACK != 0 && length != 0 && !inside {
        start.checked_add(length)?
    } else {
        frame.rsp.checked_sub(128)?
    };
    let vectors = if arch::keeps_vectors() { top.checked_sub(arch::KEPT)? & !63 } else { 0 };
    let below = if vectors == 0 { top } else { vectors };
    let at = (below.checked_sub(place::SIZE)? & !15).checked_sub(8)?;

    let mut bytes = [0u8; place::BYTES];
    let mut set = |offset: u64, value: u64| {
        let offset = usize::try_from(offset).unwrap_or(0);
        if let Some(place) = offset.checked_add(8).and_then(|end| bytes.get_mut(offset..end)) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    };
    set(0, action.restorer);
    set(place::STACK, start);
    set(place::STACK.wrapping_add(8), u64::from(if length == 0 { NO_STACK } else { 0 }));
    set(place::STACK.wrapping_add(16), length);
    let (error, vector) = (frame.error, frame.vector);
    let mut offset = place::REGISTERS;
    for register in registers(frame) {
        set(offset, *register);
        offset = offset.wrapping_add(8);
    }
    // Segments, then error, trap number, old mask, fault address, vector registers.
    for value in [u64::from(arch::tables::USER_CODE), error, vector, mask, address, vectors] {
        set(offset, value);
        offset = offset.wrapping_add(8);
    }
    set(place::MASK, mask);
    // siginfo: number and error, then code, then the address.
    set(place::INFO, signal);
    set(place::INFO.wrapping_add(8), code);
    set(place::INFO.wrapping_add(16), address);
    put(at, &bytes).ok()?;
    if vectors != 0 {
        // The processor leaves most of the header as it is, and loads none that is not empty.
        put(vectors.wrapping_add(512), &[0; 64]).ok()?;
        entry::keep_vectors(vectors).ok()?;
        Vectors::NEW.restore();
    }

    let deferred = if action.flags & NO_DEFER == 0 { bit(signal) } else { 0 };
    own().mask = (mask | action.mask | deferred) & !ALWAYS;
    frame.rip = action.handler;
    frame.rsp = at;
    frame.rdi = signal;
    frame.rsi = at.wrapping_add(place::INFO);
    frame.rdx = at.wrapping_add(8);
    frame.rax = 0;
    // Direction and trap flags are clear in a handler.
    frame.flags &= !0x500;
    Some(())
}

/// `rt_sigreturn`: everything it restores is what the program wrote, and is sanitised like any way back.
pub(super) fn back(frame: &mut Frame) {
    let at = frame.rsp.wrapping_sub(8);
    let mut offset = place::REGISTERS;
    for register in registers(frame) {
        match word(at.wrapping_add(offset)) {
            Ok(value) => *register = value,
            Err(_) => host::killed(SEGMENT, at),
        }
        offset = offset.wrapping_add(8);
    }
    match word(at.wrapping_add(place::VECTORS)) {
        Ok(0) => {}
        Ok(vectors) if entry::bring_vectors(vectors).is_ok() => {}
        _ => host::killed(SEGMENT, at),
    }
    match word(at.wrapping_add(place::MASK)) {
        Ok(mask) => own().mask = mask & !ALWAYS,
        Err(_) => host::killed(SEGMENT, at),
    }
}
