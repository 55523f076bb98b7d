//! The address space: areas, pages, tables together.
//!
//! Owns the answers to faults and to the calls about memory. Pages come with the first touch, sixteen at a time: a fault
//! costs more than they do.
//!
//! Invariant: what an area allows is what its pages allow, and no page is writable and executable at once. A page or right
//! that was taken away is used by no processor any more when the call that did so returns, and before the page has another
//! use.

use super::areas::{Area, Areas, BOTTOM, EXECUTE, KEPT, READ, TOP, WRITE, range};
use super::frames::Frames;
use crate::arch::pages;
use crate::host::{Fatal, fatal};
use crate::syscall::error::{EEXIST, EFAULT, EINVAL, ENOMEM, Errno};
use crate::threads;

const PAGE: u64 = gate::plan::PAGE;
/// Pages that come with one fault.
const TOGETHER: u64 = 16;

/// One program's memory.
pub(crate) struct Space {
    pub(crate) areas: Areas,
    pub(crate) frames: Frames,
    /// New areas go below; set at the start.
    pub(crate) below: u64,
    /// Where the heap of `brk` starts, and ends now.
    pub(crate) heap: (u64, u64),
    /// exec's own pages, as long as all of them are where they were measured.
    pub(crate) measured: Option<Measured>,
}

/// Pages that lie in memory as they lie for the program, with tables of their own.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The number of the first page of memory.
    pub(crate) first: u64,
}

/// `MAP_FIXED`, `MAP_FIXED_NOREPLACE`, `MREMAP_MAYMOVE`.
const FIXED: u64 = 0x10;
const FIXED_NOREPLACE: u64 = 0x10_0000;

impl Space {
    pub(crate) const fn new() -> Self {
        Self { areas: Areas::new(), frames: Frames::new(), below: 0, heap: (0, 0), measured: None }
    }

    /// Makes an access possible that just failed; whether it is. Without memory for it the Keep ends.
    pub(crate) fn fault(&mut self, address: u64, wanted: u8) -> bool {
        let page = address & !(PAGE.wrapping_sub(1));
        let Some(area) = self.areas.at(page).copied() else { return false };
        if area.protection & KEPT != 0 {
            // All there is of the shim's was shown; but another processor may have seen it before that.
            return pages::usable(page, wanted);
        }
        if area.protection & wanted == 0 || !pages::there(area.protection) {
            return false;
        }
        let end = area.end.min(page.saturating_add(TOGETHER.wrapping_mul(PAGE)));
        match pages::populate(&mut self.frames, page, end, area.protection) {
            Ok(end) => {
                self.areas.touch(page, end);
                true
            }
            // It was promised when it was mapped, and nobody can be told any more.
            Err(pages::NoMemory) => fatal(Fatal::Memory, 3),
        }
    }

    /// Makes sure that a range is the program's, allows this, and has pages.
    pub(crate) fn ready(&mut self, address: u64, length: u64, wanted: u8) -> Result<(), Errno> {
        let end = address.checked_add(length).filter(|end| *end <= TOP).ok_or(EFAULT)?;
        let mut at = address & !(PAGE.wrapping_sub(1));
        while at < end {
            // What the pages say is what the areas say, and quicker to read.
            if !pages::usable(at, wanted) && !self.fault(at, wanted) {
                return Err(EFAULT);
            }
            at = at.saturating_add(PAGE);
        }
        Ok(())
    }

    pub(crate) fn map(&mut self, address: u64, length: u64, protection: u64, flags: u64) -> Result<u64, Errno> {
        let protection = protection_of(protection)?;
        let (_, pages) = range(0, length).ok_or(if length == 0 { EINVAL } else { ENOMEM })?;
        let wish = range(address, length).filter(|(start, _)| *start >= BOTTOM);
        let (start, end) = if flags & (FIXED | FIXED_NOREPLACE) != 0 {
            let (start, end) = wish.ok_or(EINVAL)?;
            if flags & FIXED_NOREPLACE != 0 && !self.areas.vacant(start, end) {
                return Err(EEXIST);
            }
            self.discard(start, end)?;
            (start, end)
        } else {
            match wish.filter(|(start, end)| self.areas.vacant(*start, *end)) {
                Some(wish) => wish,
                None => {
                    let start = self.areas.room(pages, self.below).ok_or(ENOMEM)?;
                    (start, start.saturating_add(pages))
                }
            }
        };
        self.areas.insert(Area::new(start, end, protection)).map_err(|_| ENOMEM)?;
        Ok(start)
    }

    pub(crate) fn unmap(&mut self, address: u64, length: u64) -> Result<u64, Errno> {
        let (start, end) = range(address, length).ok_or(EINVAL)?;
        self.discard(start, end)?;
        Ok(0)
    }

    /// Takes out areas and pages.
    fn discard(&mut self, start: u64, end: u64) -> Result<(), Errno> {
        self.forget(start, end)?;
        self.areas.remove(start, end).map_err(|_| ENOMEM)
    }

    /// Takes out pages: whoever touches them next finds zeroes.
    fn forget(&mut self, start: u64, end: u64) -> Result<(), Errno> {
        self.not_kept(start, end)?;
        if self.measured.is_some_and(|measured| start < measured.end && measured.start < end) {
            self.measured = None;
        }
        let mut taken = false;
        for area in self.areas.within(start, end) {
            pages::unmap(&mut self.frames, area.touched.0, area.touched.1);
            taken |= area.was_touched();
        }
        if taken {
            // Nobody takes the pages before this is done: the space is this one's.
            threads::others_forget();
        }
        Ok(())
    }

    fn not_kept(&self, start: u64, end: u64) -> Result<(), Errno> {
        let kept = self.areas.within(start, end).any(|area| area.protection & KEPT != 0);
        if kept { Err(EINVAL) } else { Ok(()) }
    }

    /// Shows pages of the shim's to the program: `physical` gives the one at each offset.
    pub(crate) fn show(
        &mut self,
        start: u64,
        length: u64,
        protection: u8,
        physical: impl Fn(u64) -> u64,
    ) -> Option<()> {
        let end = start.checked_add(length)?;
        self.areas.insert(Area::new(start, end, protection | KEPT)).ok()?;
        self.show_pages(start, length, protection, physical)
    }

    /// Shows pages in an area of the shim's.
    pub(crate) fn show_pages(
        &mut self,
        start: u64,
        length: u64,
        protection: u8,
        physical: impl Fn(u64) -> u64,
    ) -> Option<()> {
        for at in (start..start.checked_add(length)?).step_by(4096) {
            pages::show(&mut self.frames, at, physical(at.wrapping_sub(start)), protection).ok()?;
        }
        Some(())
    }

    /// Gives pages to a range of the shim's; whether there were enough.
    pub(crate) fn fill(&mut self, start: u64, length: u64) -> bool {
        let (mut at, end) = (start & !(PAGE.wrapping_sub(1)), start.saturating_add(length));
        while at < end {
            match pages::populate(&mut self.frames, at, end, READ | WRITE) {
                Ok(next) => at = next,
                Err(pages::NoMemory) => return false,
            }
        }
        true
    }

    /// Takes the pages of a range of the shim's back. No other processor has seen them.
    pub(crate) fn release(&mut self, start: u64, length: u64) {
        pages::unmap(&mut self.frames, start, start.saturating_add(length));
    }

    /// Lets a range of the shim's only be read. No other processor has seen it.
    pub(crate) fn only_read(&mut self, start: u64, length: u64) {
        pages::protect(start, start.saturating_add(length), READ);
    }

    /// Takes out everything but what is the shim's.
    pub(crate) fn clear(&mut self) -> Option<()> {
        // exec is thousands of pages; together they go with their tables.
        if let Some(Measured { start, end, first }) = self.measured.take() {
            pages::unlink(&mut self.frames, start, end);
            self.frames.give_range(first, end.saturating_sub(start) / PAGE);
            threads::others_forget();
            self.areas.remove(start, end).ok()?;
        }
        loop {
            let next = self.areas.within(0, TOP).find(|area| area.protection & KEPT == 0);
            let Some(area) = next else { return Some(()) };
            self.discard(area.start, area.end).ok()?;
        }
    }

    pub(crate) fn protect(&mut self, address: u64, length: u64, protection: u64) -> Result<u64, Errno> {
        let protection = protection_of(protection)?;
        if length == 0 {
            return Ok(0);
        }
        let (start, end) = range(address, length).ok_or(EINVAL)?;
        if !self.areas.allow(start, end, 0) {
            return Err(ENOMEM);
        }
        self.not_kept(start, end)?;
        let mut taken = false;
        for area in self.areas.within(start, end) {
            if area.protection != protection {
                pages::protect(area.touched.0, area.touched.1, protection);
                taken |= area.was_touched() && area.protection & !protection != 0;
            }
        }
        if taken {
            threads::others_forget();
        }
        self.areas.protect(start, end, protection).map_err(|_| ENOMEM)?;
        Ok(0)
    }

    /// Grows and shrinks in place. Whoever wants more than fits there maps anew and copies.
    pub(crate) fn remap(&mut self, address: u64, old: u64, new: u64) -> Result<u64, Errno> {
        let (start, old_end) = range(address, old).ok_or(EINVAL)?;
        let (_, new_end) = range(address, new).ok_or(EINVAL)?;
        let area = self.areas.at(start).copied().filter(|area| area.end >= old_end).ok_or(EFAULT)?;
        self.not_kept(start, old_end)?;
        if new_end < old_end {
            self.discard(new_end, old_end)?;
        } else if new_end > old_end {
            if !self.areas.vacant(old_end, new_end) {
                return Err(ENOMEM);
            }
            self.areas.insert(Area::new(old_end, new_end, area.protection)).map_err(|_| ENOMEM)?;
        }
        Ok(start)
    }

    pub(crate) fn advise(&mut self, address: u64, length: u64, advice: u64) -> Result<u64, Errno> {
        const DONT_NEED: i32 = 4;
        const FREE: i32 = 8;
        #[allow(clippy::cast_possible_truncation, reason = "an int in the low half of a register")]
        let advice = advice as i32;
        let (start, end) = if length == 0 { (0, 0) } else { range(address, length).ok_or(EINVAL)? };
        match advice {
            DONT_NEED | FREE => self.forget(start, end)?,
            // Access patterns, huge pages, dumps, what a fork sees: nothing of it is here.
            0..=3 | 14..=21 => {}
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    pub(crate) fn set_break(&mut self, wanted: u64) -> u64 {
        let (start, now) = self.heap;
        let page = |at: u64| at.checked_next_multiple_of(PAGE).unwrap_or(TOP);
        let (old, new) = (page(now), page(wanted));
        if wanted < start || new > TOP {
            return now;
        }
        let done = if new > old {
            self.areas.vacant(old, new) && self.areas.insert(Area::new(old, new, READ | WRITE)).is_ok()
        } else {
            new == old || self.discard(new, old).is_ok()
        };
        if done {
            self.heap.1 = wanted;
        }
        self.heap.1
    }
}

fn protection_of(bits: u64) -> Result<u8, Errno> {
    match u8::try_from(bits & 0xffff_ffff) {
        Ok(bits) if bits & !(READ | WRITE | EXECUTE) == 0 && bits & (WRITE | EXECUTE) != WRITE | EXECUTE => {
            // The processor knows nothing that can be written or executed and not read.
            Ok(if bits & (WRITE | EXECUTE) != 0 { bits | READ } else { bits })
        }
        _ => Err(EINVAL),
    }
}
