//! Who waits for what: at most one wait for each processor, in the order in which they came.
//!
//! A key is what is waited for: an address of the program's half (a futex), or above it a number of something that the
//! shim has. Owns the order and who was woken; whether the host really lets a processor sleep does not matter here.
//!
//! Invariant: who is woken does not wait any more, and is woken once.

use gate::plan::PROCESSORS;

/// Any of the masks of a futex.
pub(crate) const ANY: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Wait {
    key: u64,
    mask: u32,
    order: u64,
}

pub(crate) struct Waits {
    list: [Option<Wait>; PROCESSORS],
    /// The order of the next.
    next: u64,
}

impl Waits {
    pub(crate) const fn new() -> Self {
        Self { list: [None; PROCESSORS], next: 0 }
    }

    /// The processor waits from now on.
    pub(crate) fn begin(&mut self, seat: usize, key: u64, mask: u32) {
        let order = self.order();
        if let Some(place) = self.list.get_mut(seat) {
            *place = Some(Wait { key, mask, order });
        }
    }

    fn order(&mut self) -> u64 {
        let order = self.next;
        self.next = order.wrapping_add(1);
        order
    }

    /// Whether it still waits: nobody woke it.
    pub(crate) fn waits(&self, seat: usize) -> bool {
        self.list.get(seat).is_some_and(Option::is_some)
    }

    /// It waits no longer; whether it did until now.
    pub(crate) fn cancel(&mut self, seat: usize) -> bool {
        self.list.get_mut(seat).and_then(Option::take).is_some()
    }

    /// The one that has waited longest for the key with a bit of the mask.
    fn first(&self, key: u64, mask: u32) -> Option<usize> {
        let of = |(seat, wait): (usize, &Option<Wait>)| {
            wait.filter(|wait| wait.key == key && wait.mask & mask != 0).map(|wait| (wait.order, seat))
        };
        self.list.iter().enumerate().filter_map(of).min().map(|(_, seat)| seat)
    }

    /// Wakes at most so many; the mask of those who were.
    pub(crate) fn wake(&mut self, key: u64, mask: u32, most: u64) -> u64 {
        let mut woken = 0u64;
        while u64::from(woken.count_ones()) < most
            && let Some(seat) = self.first(key, mask)
        {
            self.cancel(seat);
            woken |= 1u64.wrapping_shl(u32::try_from(seat).unwrap_or(0));
        }
        woken
    }

    /// Has at most so many wait for another key; how many.
    pub(crate) fn requeue(&mut self, from: u64, to: u64, most: u64) -> u64 {
        let mut moved = 0u64;
        while from != to
            && moved < most
            && let Some(seat) = self.first(from, ANY)
        {
            let order = self.order();
            if let Some(Some(wait)) = self.list.get_mut(seat) {
                *wait = Wait { key: to, order, ..*wait };
            }
            moved = moved.wrapping_add(1);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 0x1000;
    const OTHER: u64 = 0x2000;

    fn waiting(seats: &[usize]) -> Waits {
        let mut waits = Waits::new();
        for seat in seats {
            waits.begin(*seat, KEY, ANY);
        }
        waits
    }

    #[test]
    fn who_came_first_is_woken_first_and_once() {
        let mut waits = waiting(&[5, 2, 9]);
        assert_eq!(waits.wake(OTHER, ANY, 9), 0);
        assert_eq!(waits.wake(KEY, ANY, 0), 0);
        assert_eq!(waits.wake(KEY, ANY, 1), 1 << 5);
        assert!(!waits.waits(5) && waits.waits(2));
        assert!(!waits.cancel(5), "woken already");
        assert_eq!(waits.wake(KEY, ANY, u64::MAX), 1 << 2 | 1 << 9);
        assert_eq!(waits.wake(KEY, ANY, u64::MAX), 0);
    }

    #[test]
    fn who_gave_up_is_not_woken() {
        let mut waits = waiting(&[1, 2]);
        assert!(waits.cancel(1));
        assert_eq!(waits.wake(KEY, ANY, 1), 1 << 2, "the wake goes to one who waits");
    }

    #[test]
    fn masks_choose() {
        let mut waits = Waits::new();
        waits.begin(1, KEY, 0b01);
        waits.begin(2, KEY, 0b10);
        assert_eq!(waits.wake(KEY, 0b100, 1), 0);
        assert_eq!(waits.wake(KEY, 0b10, 2), 1 << 2);
        assert_eq!(waits.wake(KEY, 0b11, 2), 1 << 1);
    }

    #[test]
    fn who_is_moved_waits_behind_those_who_are_there() {
        let mut waits = waiting(&[1, 2, 3]);
        waits.begin(4, OTHER, ANY);
        assert_eq!(waits.requeue(KEY, OTHER, 2), 2);
        assert_eq!(waits.wake(KEY, ANY, 9), 1 << 3);
        assert_eq!(waits.wake(OTHER, ANY, 1), 1 << 4);
        assert_eq!(waits.wake(OTHER, ANY, 1), 1 << 1);
        assert_eq!(waits.requeue(OTHER, OTHER, 9), 0, "to itself");
        assert_eq!(waits.wake(OTHER, ANY, 1), 1 << 2);
    }
}
