//! The memory shared with the host: single words, each read and written once and whole.
//!
//! Invariant: nothing here follows a value it read.

use gate::plan::BLOCKS;
use gate::ring::{BLOCK, CONTROL, DATA};

/// The block of this processor.
fn block() -> u64 {
    BLOCKS + (super::tables::me() * BLOCK) as u64
}

fn word(index: usize) -> *mut u64 {
    // The index is a constant or a small sum of constants; the blocks begin on a page.
    (block() + 8 * (index as u64 % 512)) as *mut u64
}

/// A word of the control part of this processor's block, as the host left it.
pub(crate) fn read(index: usize) -> u64 {
    // SAFETY: the control part is mapped from the start on and has 512 words.
    unsafe { word(index).read_volatile() }
}

/// Writes a word for the host.
pub(crate) fn write(index: usize, value: u64) {
    // SAFETY: as for `read`.
    unsafe { word(index).write_volatile(value) }
}

fn data_word(index: usize) -> *mut u64 {
    (block() + (CONTROL + 8 * (index % (DATA / 8))) as u64) as *mut u64
}

/// A word of the data part.
pub(crate) fn data(index: usize) -> u64 {
    // SAFETY: the data part is mapped from the start on, behind the control part.
    unsafe { data_word(index).read_volatile() }
}

/// Writes a word of the data part.
pub(crate) fn set_data(index: usize, value: u64) {
    // SAFETY: as for `data`.
    unsafe { data_word(index).write_volatile(value) }
}

/// A word of the plan.
pub(crate) fn plan(index: usize) -> u64 {
    // SAFETY: the page of the plan is mapped from the start on and measured.
    unsafe { ((gate::plan::PLAN + 8 * (index as u64 % 512)) as *const u64).read_volatile() }
}
