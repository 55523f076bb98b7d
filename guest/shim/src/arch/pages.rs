//! Page tables, seen through the root's own slot ([`gate::plan::RECURSIVE`]): an entry has an address that follows from
//! the address it maps, so no physical memory needs a mapping of its own.
//!
//! Invariant: every function here changes entries of the program's half only, or of the shim's fixed windows at the start;
//! tables are supervisor memory at every address they have.

use gate::plan::{PAGE, RECURSIVE, TABLE};

use crate::memory::areas::{EXECUTE, READ, WRITE};
use crate::memory::frames::Frames;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const NEVER_EXECUTE: u64 = 1 << 63;
/// The bits of an entry that are a physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// No page for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMemory;

/// The address of the entry for `address`, in the table of that level (0: last).
fn entry(level: u32, address: u64) -> *mut u64 {
    let mut base = 0xffff_0000_0000_0000 | RECURSIVE << 39;
    for shift in [30, 21, 12].into_iter().take(level as usize) {
        base |= RECURSIVE << shift;
    }
    // 48 bits of address, less the level's, in units of entries.
    let index = (address & 0xffff_ffff_f000) >> (12 + 9 * level);
    (base | index << 3) as *mut u64
}

fn read(level: u32, address: u64) -> u64 {
    // SAFETY: callers came down from the root: the tables above are present, so the entry's address is mapped.
    unsafe { entry(level, address).read_volatile() }
}

fn write(level: u32, address: u64, value: u64) {
    // SAFETY: as for `read`. What is written is a page that the frames gave out, or nothing.
    unsafe { entry(level, address).write_volatile(value) }
}

fn forget(address: u64) {
    // SAFETY: drops a translation, of this processor's.
    unsafe { core::arch::asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

fn flags(protection: u8) -> u64 {
    let mut flags = PRESENT | USER | NEVER_EXECUTE;
    if protection & WRITE != 0 {
        flags |= WRITABLE;
    }
    if protection & EXECUTE != 0 {
        flags &= !NEVER_EXECUTE;
    }
    flags
}

/// Whether an access of these kinds is allowed by protection: any kind at all needs the page to be there.
pub(crate) fn there(protection: u8) -> bool {
    protection & (READ | WRITE | EXECUTE) != 0
}

/// Makes the tables above the last entry of `address`, down to the level whose entries are to be written.
fn descend(frames: &mut Frames, address: u64, to: u32) -> Result<(), NoMemory> {
    for level in (to + 1..=3).rev() {
        if read(level, address) & PRESENT == 0 {
            let frame = frames.take().ok_or(NoMemory)?;
            write(level, address, (frame.number * PAGE) | PRESENT | WRITABLE | USER);
            if frame.used {
                clear(entry(level - 1, address) as u64 & !(PAGE - 1));
            }
        }
    }
    Ok(())
}

/// Zeroes a page of ring 0's half.
fn clear(page: u64) {
    // SAFETY: the page was just mapped for the caller alone.
    unsafe {
        core::arch::asm!("rep stosq", inout("rdi") page => _, inout("rcx") PAGE / 8 => _, in("rax") 0,
            options(nostack, preserves_flags));
    }
}

/// Maps pages that were not mapped, up to `end` or the end of their table, skipping those that are. At least the first,
/// or an error; the others as far as there are pages.
pub(crate) fn populate(frames: &mut Frames, start: u64, end: u64, protection: u8) -> Result<u64, NoMemory> {
    descend(frames, start, 0)?;
    let end = end.min((start & !(TABLE - 1)) + TABLE);
    let mut at = start;
    while at < end {
        if read(0, at) & PRESENT == 0 {
            let Some(frame) = frames.take() else {
                return if at == start { Err(NoMemory) } else { Ok(at) };
            };
            let page = frame.number * PAGE;
            if frame.used {
                // Through the shim's window, so that no other thread sees what its last owner left.
                write(0, WINDOW, page | PRESENT | WRITABLE | NEVER_EXECUTE);
                forget(WINDOW);
                clear(WINDOW);
            }
            write(0, at, page | flags(protection));
        }
        at += PAGE;
    }
    Ok(end)
}

/// A page of the shim's half for looking at one physical page, in the table that has the plan.
const WINDOW: u64 = gate::plan::PLAN + PAGE;

/// Whether ring 3 has the page, and may write it if that is wanted.
pub(crate) fn usable(address: u64, wanted: u8) -> bool {
    let needed = PRESENT | USER | if wanted & WRITE != 0 { WRITABLE } else { 0 };
    (1..=3).rev().all(|level| read(level, address) & PRESENT != 0) && read(0, address) & needed == needed
}

/// Visits the mapped pages of a range, skipping what has no tables.
fn visit(start: u64, end: u64, mut each: impl FnMut(u64, u64)) {
    let mut at = start;
    while at < end {
        // The first level at which there is nothing says how far to go on.
        match (0..=3).rev().find(|level| read(*level, at) & PRESENT == 0) {
            Some(level) => {
                let size = PAGE << (9 * level);
                at = (at & !(size - 1)).saturating_add(size);
            }
            None => {
                let table = ((at & !(TABLE - 1)) + TABLE).min(end);
                while at < table {
                    let value = read(0, at);
                    if value & PRESENT != 0 {
                        each(at, value);
                    }
                    at += PAGE;
                }
            }
        }
    }
}

/// Takes the pages of a range away and gives them back.
pub(crate) fn unmap(frames: &mut Frames, start: u64, end: u64) {
    visit(start, end, |at, value| {
        write(0, at, 0);
        forget(at);
        frames.give((value & ADDRESS) / PAGE);
    });
}

/// Gives the pages of a range another protection. Pages that nothing may be done with keep their content and are not
/// there for ring 3.
pub(crate) fn protect(start: u64, end: u64, protection: u8) {
    visit(start, end, |at, value| {
        let flags = if there(protection) { flags(protection) } else { PRESENT | NEVER_EXECUTE };
        write(0, at, value & ADDRESS | flags);
        forget(at);
    });
}

/// Links the program's last-level tables, which the host placed, below `base`.
pub(crate) fn link(frames: &mut Frames, base: u64, tables: u64, count: u64) -> Result<(), NoMemory> {
    for index in 0..count {
        let address = base + index * TABLE;
        descend(frames, address, 1)?;
        write(1, address, (tables + index * PAGE) | PRESENT | WRITABLE | USER);
    }
    Ok(())
}

/// Takes away last-level tables whole, with what they map: the opposite of [`link`]. `start` begins a table.
pub(crate) fn unlink(frames: &mut Frames, start: u64, end: u64) {
    for index in 0..end.saturating_sub(start) / TABLE {
        let address = start + index * TABLE;
        let table = read(1, address);
        write(1, address, 0);
        frames.give((table & ADDRESS) / PAGE);
    }
    super::forget();
}

/// Shows one page of the shim's image, or of the shared blocks, to ring 3.
pub(crate) fn show(frames: &mut Frames, at: u64, physical: u64, protection: u8) -> Result<(), NoMemory> {
    descend(frames, at, 0)?;
    write(0, at, physical | flags(protection));
    Ok(())
}
