//! Rewrites a processor's block while the processor may be reading it: for showing that the shim reads each word once.
//!
//! Invariant: from [`Rewriter::quiet`] on nothing is written until the next [`Rewriter::begin`], so what the shim asks next
//! is what it asked.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use gate::plan::PROCESSORS;
use gate::ring::RESULT;

use super::run::Machine;
use crate::attack::{Board, Random};
use crate::sys::memory::Block;

/// How long data changes after an answer, at most: longer than the shim needs to take it in where ring 0 is interpreted, and
/// not until the next call's data is there.
const DATA: Duration = Duration::from_micros(400);
/// How long a result changes, which nobody but the shim reads.
const RESULTS: Duration = Duration::from_millis(20);
/// Words of the data part that change: events, addresses, the first bytes read.
const WORDS: u64 = 16;
/// Changes between two looks at whether it is to stop.
const TOGETHER: u64 = 16;

struct Burst {
    first: usize,
    /// Between which two the result changes.
    results: [u64; 2],
    /// Data changes too, from this seed.
    data: Option<Random>,
    since: Instant,
    begun: bool,
}

pub(super) struct Rewriter {
    bursts: [Mutex<Option<Burst>>; PROCESSORS],
    thread: OnceLock<Thread>,
}

impl Rewriter {
    pub(super) fn new() -> Self {
        Self { bursts: std::array::from_fn(|_| Mutex::new(None)), thread: OnceLock::new() }
    }

    pub(super) fn start(&'static self, machine: &'static Machine, board: &'static Board) -> std::io::Result<()> {
        let run = move || {
            loop {
                let mut any = 0;
                for index in 0..PROCESSORS {
                    any += self.turn(index, machine.shared.block(index));
                }
                if any == 0 {
                    std::thread::park();
                }
                board.rewrote(any);
            }
        };
        let thread = std::thread::Builder::new().spawn(run)?;
        // Set once, here.
        _ = self.thread.set(thread.thread().clone());
        Ok(())
    }

    fn burst(&self, index: usize) -> std::sync::MutexGuard<'_, Option<Burst>> {
        self.bursts[index % PROCESSORS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some changes of one block; how many.
    fn turn(&self, index: usize, block: Block<'_>) -> u64 {
        let mut slot = self.burst(index);
        let Some(burst) = &mut *slot else { return 0 };
        burst.begun = true;
        for turn in 0..TOGETHER {
            let [one, other] = burst.results;
            block.set_word(burst.first + RESULT, if turn % 2 == 0 { other } else { one });
            if let Some(random) = &mut burst.data {
                let at = u32::try_from(8 * random.below(WORDS)).unwrap_or(0);
                block.put_data(at, &random.next().to_le_bytes());
            }
        }
        if burst.since.elapsed() > if burst.data.is_some() { DATA } else { RESULTS } {
            // With the true one.
            block.set_word(burst.first + RESULT, burst.results[0]);
            *slot = None;
        }
        TOGETHER
    }

    /// Begins, and returns when it has.
    pub(super) fn begin(&self, index: usize, first: usize, results: [u64; 2], data: Option<u64>) {
        let Some(thread) = self.thread.get() else { return };
        let burst = Burst { first, results, data: data.map(Random), since: Instant::now(), begun: false };
        *self.burst(index) = Some(burst);
        thread.unpark();
        while self.burst(index).as_ref().is_some_and(|burst| !burst.begun) {
            std::thread::yield_now();
        }
    }

    /// Nothing of the block changes any more.
    pub(super) fn quiet(&self, index: usize) {
        *self.burst(index) = None;
    }
}
