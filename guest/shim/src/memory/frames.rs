//! Free physical pages: those that nobody had yet, handed out from the bottom, and those that came back.
//!
//! Invariant: a page is handed out to one owner until it comes back. Pages that nobody had are as the platform made them;
//! pages that came back have what their owner left, and whoever takes one clears it.

/// The most pages of memory: 16 GiB.
const MOST: usize = 4 << 20;
const WORDS: usize = MOST / 64;

/// A physical page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its number: address / 4096.
    pub(crate) number: u64,
    /// Somebody had it before.
    pub(crate) used: bool,
}

/// The free pages.
pub(crate) struct Frames {
    next: u64,
    end: u64,
    /// A bit for each page that came back.
    back: [u64; WORDS],
    /// How many came back, and a word below which there is none.
    count: usize,
    lowest: usize,
}

impl Frames {
    pub(crate) const fn new() -> Self {
        Self { next: 0, end: 0, back: [0; WORDS], count: 0, lowest: 0 }
    }

    /// The pages from `next` to `end` are free. The host says where they end: what is not there cannot be read.
    pub(crate) fn start(&mut self, next: u64, end: u64) {
        self.next = next;
        self.end = end.min(MOST as u64);
    }

    /// Where memory ends.
    pub(crate) fn all(&self) -> u64 {
        self.end
    }

    /// How many there are.
    pub(crate) fn free(&self) -> u64 {
        self.end.saturating_sub(self.next).saturating_add(self.count as u64)
    }

    pub(crate) fn take(&mut self) -> Option<Frame> {
        if self.next < self.end {
            let number = self.next;
            self.next = self.next.saturating_add(1);
            return Some(Frame { number, used: false });
        }
        if self.count == 0 {
            return None;
        }
        let (index, word) = self.back.iter_mut().enumerate().skip(self.lowest).find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= word.wrapping_sub(1);
        self.lowest = index;
        self.count = self.count.saturating_sub(1);
        let number = (index as u64).saturating_mul(64).saturating_add(u64::from(bit));
        Some(Frame { number, used: true })
    }

    /// Takes a page back.
    pub(crate) fn give(&mut self, number: u64) {
        let (index, bit) = (usize::try_from(number / 64).unwrap_or(WORDS), number % 64);
        if let Some(word) = self.back.get_mut(index) {
            *word |= 1 << bit;
            self.count = self.count.saturating_add(1);
            self.lowest = if self.count == 1 { index } else { self.lowest.min(index) };
        }
    }
}

impl Frames {
    /// Takes back pages that follow each other.
    pub(crate) fn give_range(&mut self, first: u64, count: u64) {
        let end = first.saturating_add(count);
        let mut at = first;
        while at < end {
            let (index, bit) = (usize::try_from(at / 64).unwrap_or(WORDS), at % 64);
            let some = end.saturating_sub(at).min(64u64.saturating_sub(bit));
            // Ones, as many as are given back within this word.
            let ones = u64::MAX.checked_shr(u32::try_from(64u64.saturating_sub(some)).unwrap_or(64)).unwrap_or(0);
            if let Some(word) = self.back.get_mut(index) {
                *word |= ones << bit;
                self.lowest = if self.count == 0 { index } else { self.lowest.min(index) };
                self.count = self.count.saturating_add(usize::try_from(some).unwrap_or(0));
            }
            at = at.saturating_add(some);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every range of some words, against giving its pages one by one.
    #[test]
    fn a_range_comes_back_as_its_pages_do() {
        for (first, count) in (60..70).flat_map(|first| (0..140).map(move |count| (first, count))) {
            let (mut range, mut single) = (Box::new(Frames::new()), Box::new(Frames::new()));
            range.give(300);
            single.give(300);
            range.give_range(first, count);
            (first..first + count).for_each(|number| single.give(number));
            assert_eq!((range.count, range.lowest), (single.count, single.lowest), "{first} {count}");
            assert!(range.back == single.back, "{first} {count}");
        }
    }

    #[test]
    fn fresh_pages_come_first_and_every_page_has_one_owner() {
        let mut frames = Box::new(Frames::new());
        frames.start(100, 103);
        let first: Vec<_> = (0..3).map(|_| frames.take().unwrap()).collect();
        assert!(first.iter().all(|frame| !frame.used));
        assert_eq!((frames.take(), frames.free()), (None, 0));
        frames.give(102);
        frames.give(100);
        assert_eq!(frames.free(), 2);
        assert_eq!(frames.take(), Some(Frame { number: 100, used: true }));
        frames.give(100);
        assert_eq!(frames.take().unwrap().number, 100);
        assert_eq!(frames.take().unwrap().number, 102);
        assert_eq!(frames.take(), None);
    }
}
