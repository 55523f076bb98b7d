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

    /// Puts bytes into the data part, where they are; what follows them up to the next word becomes zero.
    pub(crate) fn put(self, at: usize, bytes: &[u8]) {
        for (index, part) in (at / 8..).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.set_data(index, u64::from_le_bytes(word));
        }
    }

    /// Copies bytes of the data part out. `at` is a multiple of 8 here and in [`Block::put`].
    pub(crate) fn get(self, at: usize, bytes: &mut [u8]) {
        for (index, part) in (at / 8..).zip(bytes.chunks_mut(8)) {
            part.iter_mut().zip(self.data(index).to_le_bytes()).for_each(|(to, from)| *to = from);
        }
    }
}

/// The key of the guest's channel to its firmware, VMPCK0 of the secrets page (AMD 56860, revision 1.58, SECRETS_PAGE). All
/// four keys are gone from the page after this.
pub(crate) fn take_key() -> [u8; 32] {
    /// Words of the page from VMPCK0 on, and of all four keys.
    const FIRST: usize = 0x20 / 8;
    const ALL: usize = 4 * 4;
    let mut key = [0; 32];
    for index in 0..ALL {
        let word = (gate::plan::SECRETS_SEEN + 8 * (FIRST + index) as u64) as *mut u64;
        // SAFETY: the page is mapped from the start on, for the shim alone, and nothing refers to it.
        let value = unsafe { word.read_volatile() };
        if let Some(part) = key.as_chunks_mut::<8>().0.get_mut(index) {
            *part = value.to_le_bytes();
        }
        // SAFETY: as above.
        unsafe { word.write_volatile(0) }
    }
    key
}

/// A word of the plan.
pub(crate) fn plan(index: usize) -> u64 {
    // SAFETY: the page of the plan is mapped from the start on and measured.
    unsafe { ((gate::plan::PLAN + 8 * (index as u64 % 512)) as *const u64).read_volatile() }
}
