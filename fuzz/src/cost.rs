//! What one execution costs: processor time of its thread, and the most memory that is allocated at once.
//!
//! Owns the allocator that counts. Memory is that of the whole process: it says something where one thread runs. Time is not
//! that of a clock on the wall, which also goes on while others compute.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What an execution took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Of the processor.
    pub time: Duration,
    /// Bytes at once, beyond those that were allocated before. No single allocation is larger.
    pub memory: usize,
}

impl Cost {
    /// What an execution may take that was given one input, built with optimisation.
    pub const LIMIT: Self = Self { time: Duration::from_millis(100), memory: 16 << 20 };

    /// Of some work.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        MEMORY.reset_peak_usage();
        let (allocated, begun) = (MEMORY.current_usage(), processor());
        let done = work();
        let time = processor().saturating_sub(begun);
        (done, Self { time, memory: MEMORY.peak_usage().saturating_sub(allocated) })
    }

    /// The larger of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { time: self.time.max(other.time), memory: self.memory.max(other.memory) }
    }
}

/// Time of this thread.
fn processor() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
