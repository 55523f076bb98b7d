//! The memory shared with the host: single words, each read and written once and whole.
//!
//! Invariant: nothing here follows a value it read.

use gate::plan::BLOCKS;
use gate::ring::{BLOCK, CONTROL, DATA};

/// The block of a processor. To be asked for once for all words of a call: where ring 0 is interpreted, every step counts.
#[derive(Clone, Copy)]
pub(crate) struct Block(u64);

/// That of this processor.
pub(crate) fn block() -> Block {
    Block(BLOCKS + (super::tables::me() * BLOCK) as u64)
}

impl Block {
    fn word(self, index: usize) -> *mut u64 {
        // The index is a constant or a small sum of constants; the blocks begin on a page.
        (self.0 + 8 * (index as u64 % 512)) as *mut u64
    }

    fn data_word(self, index: usize) -> *mut u64 {
        (self.0 + (CONTROL + 8 * (index % (DATA / 8))) as u64) as *mut u64
    }

    /// A word of the control part, as the host left it.
    pub(crate) fn read(self, index: usize) -> u64 {
        // SAFETY: the control part is mapped from the start on and has 512 words.
        unsafe { self.word(index).read_volatile() }
    }

    /// Writes a word for the host.
    pub(crate) fn write(self, index: usize, value: u64) {
        // SAFETY: as for `read`.
        unsafe { self.word(index).write_volatile(value) }
    }

    /// A word of the data part.
    pub(crate) fn data(self, index: usize) -> u64 {
        // SAFETY: the data part is mapped from the start on, behind the control part.
        unsafe { self.data_word(index).read_volatile() }
    }

    /// Writes a word of the data part.
    pub(crate) fn set_data(self, index: usize, value: u64) {
        // SAFETY: as for `data`.
        unsafe { self.data_word(index).write_volatile(value) }
    }
}

/// A word of the plan.
pub(crate) fn plan(index: usize) -> u64 {
    // SAFETY: the page of the plan is mapped from the start on and measured.
    unsafe { ((gate::plan::PLAN + 8 * (index as u64 % 512)) as *const u64).read_volatile() }
}
