//! A thread that serves the ring without exits: it looks for calls while there are some, and sleeps when there were none
//! for a while, until a bell rings. It costs a processor of the host, so it is there only where it was asked for.
//!
//! Invariant: a call is answered once, by whoever has the block's turn and finds it there. Calls that may wait are left to
//! the bell.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use gate::plan::PROCESSORS;

/// How long it looks for nothing.
const LOOKS: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Looker {
    turns: [Mutex<()>; PROCESSORS],
    thread: OnceLock<Thread>,
}

impl Looker {
    /// The processor goes on, and may soon ask for more.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The turn to answer what a processor asks.
    pub(super) fn turn(&self, processor: usize) -> MutexGuard<'_, ()> {
        // What it guards is not in it.
        self.turns[processor].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for ever. `serve` answers a processor's call, if one waits, and says whether there was one.
    pub(super) fn look(&self, serve: impl Fn(usize) -> bool) -> ! {
        self.thread.get_or_init(std::thread::current);
        loop {
            let mut last = Instant::now();
            while last.elapsed() < LOOKS {
                for (processor, turn) in self.turns.iter().enumerate() {
                    let turn = match turn.try_lock() {
                        Ok(turn) => turn,
                        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                        Err(TryLockError::WouldBlock) => continue,
                    };
                    if serve(processor) {
                        last = Instant::now();
                    }
                    drop(turn);
                }
                std::hint::spin_loop();
            }
            std::thread::park();
        }
    }
}
