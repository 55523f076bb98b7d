//! The seats of the processors: which are taken, which are in the program, and what each of them may still remember of
//! the page tables.
//!
//! Owns two arguments. *Arrival*: a processor that starts takes a ticket, which is its seat. The first is that of the
//! start; another is true only if the shim had asked for so many before. So it does not matter which processor the host
//! says it started, or whether it was asked to: one too many is a lie.
//!
//! *Forgetting*: who takes pages or rights away counts the generation up and waits until nobody is outside (in ring 3)
//! who left with an older one. Whoever goes outside says so first and looks at the generation after; whoever changes
//! counts first and looks who is outside after: one of the two sees the other. Those inside need no waiting for, because
//! they look before they leave, and before they use memory of the program ([`Seats::catch_up`]).
//!
//! Invariant: with one thread alive nobody is waited for, and nobody else has to be told anything. A program that never makes
//! a second one pays for none of this.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use gate::plan::PROCESSORS;

/// One processor.
struct Seat {
    /// It has started, and takes threads.
    arrived: AtomicBool,
    /// It has no thread.
    free: AtomicBool,
    /// It is in ring 3, or on its way.
    outside: AtomicBool,
    /// The generation of which it remembers nothing older; 0: it may remember anything.
    seen: AtomicU64,
}

impl Seat {
    const fn new() -> Self {
        Self {
            arrived: AtomicBool::new(false),
            free: AtomicBool::new(false),
            outside: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        }
    }
}

pub(crate) struct Seats {
    seats: [Seat; PROCESSORS],
    /// How many processors the host was asked for.
    asked: AtomicUsize,
    /// How many threads there are.
    live: AtomicUsize,
    generation: AtomicU64,
}

/// A processor came that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uninvited;

/// A seat for a new thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) seat: usize,
    /// Its processor never ran.
    pub(crate) new: bool,
}

impl Seats {
    /// With the program's first thread in the first seat.
    pub(crate) const fn new() -> Self {
        Self {
            seats: [const { Seat::new() }; PROCESSORS],
            asked: AtomicUsize::new(0),
            live: AtomicUsize::new(1),
            generation: AtomicU64::new(1),
        }
    }

    #[allow(clippy::indexing_slicing, reason = "a remainder; a trap asks twice, so this is not to branch")]
    fn seat(&self, seat: usize) -> &Seat {
        &self.seats[seat % PROCESSORS]
    }

    /// The processor with this ticket starts.
    pub(crate) fn arrive(&self, ticket: usize) -> Result<(), Uninvited> {
        let seat = self.seats.get(ticket).filter(|_| ticket <= self.asked.load(Ordering::SeqCst)).ok_or(Uninvited)?;
        seat.arrived.store(true, Ordering::SeqCst);
        Ok(())
    }

    pub(crate) fn has_arrived(&self, seat: usize) -> bool {
        self.seat(seat).arrived.load(Ordering::SeqCst)
    }

    /// A seat for one more thread; `None` if there is none. One thread at a time calls this, until the seat is used or
    /// given back.
    pub(crate) fn take(&self) -> Option<Taken> {
        let free = self.seats.iter().position(|seat| seat.free.load(Ordering::SeqCst));
        let taken = match free {
            Some(seat) => {
                self.seat(seat).free.store(false, Ordering::SeqCst);
                Taken { seat, new: false }
            }
            None => {
                let seat = self.asked.load(Ordering::SeqCst).saturating_add(1);
                if seat >= PROCESSORS {
                    return None;
                }
                self.asked.store(seat, Ordering::SeqCst);
                Taken { seat, new: true }
            }
        };
        self.live.fetch_add(1, Ordering::SeqCst);
        Some(taken)
    }

    /// The last seat taken was a new one, and nobody comes for it.
    pub(crate) fn give_back(&self) {
        self.asked.fetch_sub(1, Ordering::SeqCst);
        self.live.fetch_sub(1, Ordering::SeqCst);
    }

    /// The thread of this seat ends; whether it was the last. The processor stays inside until it has another.
    pub(crate) fn rise(&self, seat: usize) -> bool {
        let seat = self.seat(seat);
        seat.seen.store(0, Ordering::SeqCst);
        seat.free.store(true, Ordering::SeqCst);
        self.live.fetch_sub(1, Ordering::SeqCst) == 1
    }

    pub(crate) fn alone(&self) -> bool {
        self.live.load(Ordering::SeqCst) == 1
    }

    /// There never was a second processor: nothing of all this matters.
    pub(crate) fn single(&self) -> bool {
        self.asked.load(Ordering::Relaxed) == 0
    }

    /// The processor came from ring 3.
    pub(crate) fn enter(&self, seat: usize) {
        self.seat(seat).outside.store(false, Ordering::Release);
    }

    /// The processor goes to ring 3, which it must not leave undone after this. `forget` drops what it remembers of the
    /// page tables.
    pub(crate) fn leave(&self, seat: usize, forget: impl Fn()) {
        // Whoever makes a second processor, or a second thread, comes inside for it; and whoever is alone is looked at by
        // nobody.
        if self.single() {
            return;
        }
        if !self.alone() {
            self.seat(seat).outside.store(true, Ordering::SeqCst);
        }
        self.catch_up(seat, forget);
    }

    /// Forgets what is older than the generation.
    pub(crate) fn catch_up(&self, seat: usize, forget: impl Fn()) {
        let seen = &self.seat(seat).seen;
        loop {
            let generation = self.generation.load(Ordering::SeqCst);
            if seen.load(Ordering::Relaxed) == generation {
                return;
            }
            forget();
            seen.store(generation, Ordering::SeqCst);
        }
    }

    /// The page tables say less than before, and the processor of this seat has forgotten what they said. One at a time.
    /// The new generation, if there is anybody who must forget too.
    pub(crate) fn change(&self, seat: usize) -> Option<u64> {
        if self.alone() {
            return None;
        }
        let generation = self.generation.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.seat(seat).seen.store(generation, Ordering::SeqCst);
        Some(generation)
    }

    /// The mask of processors that may still use what an older generation said.
    pub(crate) fn behind(&self, generation: u64) -> u64 {
        let late = |seat: &Seat| {
            // In this order: who comes inside after the first look has to look at the generation to get out again.
            seat.outside.load(Ordering::SeqCst) && seat.seen.load(Ordering::SeqCst) < generation
        };
        self.seats
            .iter()
            .zip(0u32..)
            .filter(|(seat, _)| late(seat))
            .fold(0, |mask, (_, bit)| mask | 1u64.wrapping_shl(bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_asked_for_is_uninvited() {
        let seats = Seats::new();
        assert_eq!(seats.arrive(0), Ok(()), "the start");
        assert_eq!(seats.arrive(1), Err(Uninvited));
        assert_eq!(seats.take(), Some(Taken { seat: 1, new: true }));
        assert!(!seats.has_arrived(1));
        assert_eq!(seats.arrive(1), Ok(()), "control");
        assert!(seats.has_arrived(1));
        assert_eq!(seats.arrive(2), Err(Uninvited), "started twice");
        assert_eq!(seats.arrive(PROCESSORS), Err(Uninvited));
        assert_eq!(seats.arrive(usize::MAX), Err(Uninvited));
    }

    #[test]
    fn seats_are_bounded_and_taken_again() {
        let seats = Seats::new();
        assert!(seats.alone());
        for seat in 1..PROCESSORS {
            assert_eq!(seats.take(), Some(Taken { seat, new: true }));
            seats.arrive(seat).unwrap();
        }
        assert_eq!(seats.take(), None);
        assert!(!seats.rise(3));
        assert_eq!(seats.take(), Some(Taken { seat: 3, new: false }));
        assert_eq!(seats.take(), None);
        let last = (0..PROCESSORS).map(|seat| seats.rise(seat)).filter(|last| *last).count();
        assert_eq!(last, 1, "one was the last");
    }

    #[test]
    fn a_refused_processor_is_asked_for_again() {
        let seats = Seats::new();
        let first = seats.take().unwrap();
        seats.give_back();
        assert!(seats.alone());
        assert_eq!(seats.arrive(1), Err(Uninvited), "it comes all the same");
        assert_eq!(seats.take(), Some(first));
    }

    #[test]
    fn those_outside_with_an_older_generation_are_behind() {
        let seats = Seats::new();
        let forgot = core::cell::Cell::new(0);
        let forget = || forgot.set(forgot.get() + 1);
        seats.leave(0, forget);
        assert_eq!((forgot.get(), seats.change(0)), (0, None), "alone");
        seats.enter(0);
        seats.take().unwrap();
        seats.leave(0, forget);
        assert_eq!(forgot.get(), 1, "not alone any more, and may remember anything");
        seats.enter(0);
        seats.leave(1, forget);
        let generation = seats.change(0).unwrap();
        assert_eq!(seats.behind(generation), 1 << 1);
        seats.enter(1);
        assert_eq!(seats.behind(generation), 0, "it will forget before it leaves");
        forgot.set(0);
        seats.leave(1, forget);
        assert_eq!((forgot.get(), seats.behind(generation)), (1, 0));
        seats.enter(1);
        seats.leave(1, forget);
        assert_eq!(forgot.get(), 1, "once is enough");
        seats.enter(1);
        seats.rise(1);
        seats.take().unwrap();
        seats.leave(1, forget);
        assert_eq!(forgot.get(), 2, "a new thread's processor may remember anything");
    }

    /// Processors that use what they remember of one word, and one that changes it: when `behind` says that nobody is,
    /// nobody uses the old word.
    #[test]
    fn nobody_uses_what_was_taken_away() {
        const OTHERS: usize = 3;
        const INSIDE: u64 = u64::MAX;
        let seats = Seats::new();
        let table = AtomicU64::new(0);
        let using: [AtomicU64; OTHERS] = std::array::from_fn(|_| AtomicU64::new(INSIDE));
        let done = AtomicBool::new(false);
        for _ in 0..OTHERS {
            seats.take().unwrap();
        }
        std::thread::scope(|scope| {
            for (seat, using) in (1..).zip(&using) {
                let (seats, table, done) = (&seats, &table, &done);
                scope.spawn(move || {
                    let remembered = AtomicU64::new(0);
                    while !done.load(Ordering::SeqCst) {
                        seats.leave(seat, || remembered.store(table.load(Ordering::SeqCst), Ordering::SeqCst));
                        using.store(remembered.load(Ordering::SeqCst), Ordering::SeqCst);
                        std::hint::spin_loop();
                        using.store(INSIDE, Ordering::SeqCst);
                        seats.enter(seat);
                    }
                });
            }
            for word in 1..5_000 {
                table.store(word, Ordering::SeqCst);
                let generation = seats.change(0).unwrap();
                while seats.behind(generation) != 0 {
                    std::thread::yield_now();
                }
                for using in &using {
                    let used = using.load(Ordering::SeqCst);
                    assert!(used == INSIDE || used == word, "{used} is used after it became {word}");
                }
            }
            done.store(true, Ordering::SeqCst);
        });
    }
}
