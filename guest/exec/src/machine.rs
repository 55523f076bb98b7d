//! The machine's memory, which all that a program takes is taken of: memories and tables of its instances, and what it writes
//! into its mounts; and what the Keep itself holds for it, such as fields of a request that it makes and never sends.
//!
//! Owns those counts. Refuses what goes beyond, because the end of a Keep's memory is the end of the Keep, and so of everybody
//! in it. Invariant: a quarter of what was free when the program began is left for connections, and what else a Keep needs.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::{engine, sys};

/// This one. It is asked how much there is when something is taken for the first time: the program is ready then.
pub(crate) static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let found = rustix::system::sysinfo();
    // Who shares a machine with others learns little from what they left.
    let room = if found.procs == 1 { found.freeram } else { found.totalram };
    Machine::of(room.saturating_mul(found.mem_unit.into()) / 4 * 3)
});

/// An instance for which the Keep holds less is nobody's trouble.
const LITTLE: u64 = 1 << 20;

/// How much of a memory a pool keeps.
const RESIDENT: u64 = engine::RESIDENT as u64;

pub(crate) struct Machine {
    pub(crate) limit: u64,
    /// Bytes of the heap when the program began.
    heap: u64,
    /// What is written into mounts: taken, and in the heap.
    written: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The first [`RESIDENT`] bytes of each memory and table.
    first: u64,
    /// The same at its highest: a pool keeps that for the next ones.
    most: u64,
    rest: u64,
}

/// The machine has no memory for what a program begins with, or for what it keeps.
#[derive(Debug, thiserror::Error)]
#[error("this Keep has no memory left for it")]
pub(crate) struct Full;

/// What one instance has of it.
pub(crate) struct Share {
    machine: &'static Machine,
    first: u64,
    rest: u64,
}

impl Machine {
    fn of(limit: u64) -> Self {
        Self { limit, heap: heap(), written: AtomicU64::default(), taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how many instances that begin with so much there is room, half of which is for growth.
    pub(crate) fn instances(&self, beginning: u64) -> usize {
        usize::try_from(self.limit / 2 / beginning.max(1)).unwrap_or(usize::MAX).max(1)
    }

    /// Whether there was so much for a mount, which is taken then.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let fits = self.add(0, bytes);
        if fits {
            self.written.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    pub(crate) fn give(&self, bytes: u64) {
        let mut taken = self.taken();
        taken.rest = taken.rest.saturating_sub(bytes);
        self.written.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What the Keep holds for its program, and for its peers, in its heap.
    fn held(&self) -> u64 {
        heap().saturating_sub(self.written.load(Ordering::Relaxed))
    }

    /// Whether the Keep holds too much, and a part of it for this instance.
    fn is_over(&self, held: u64) -> bool {
        held > LITTLE && self.held().saturating_sub(self.heap) > self.limit / 8
    }

    fn add(&self, first: u64, rest: u64) -> bool {
        let mut taken = self.taken();
        let first = taken.first.saturating_add(first);
        let most = taken.most.max(first);
        let rest = taken.rest.saturating_add(rest);
        let fits = most.saturating_add(rest) <= self.limit;
        if fits {
            *taken = Taken { first, most, rest };
        }
        fits
    }
}

impl Share {
    /// Nothing yet.
    pub(crate) fn of(machine: &'static Machine) -> Self {
        Self { machine, first: 0, rest: 0 }
    }

    /// Whether a memory or a table could grow from so many bytes to so many.
    pub(crate) fn grows(&mut self, from: u64, to: u64) -> bool {
        let [first, rest] = between(from, to);
        let grows = self.machine.add(first, rest);
        if grows {
            self.first = self.first.saturating_add(first);
            self.rest = self.rest.saturating_add(rest);
        }
        grows
    }

    /// It did not.
    pub(crate) fn shrinks(&mut self, from: u64, to: u64) {
        let [first, rest] = between(from, to);
        self.give(first.min(self.first), rest.min(self.rest));
    }

    fn give(&mut self, first: u64, rest: u64) {
        let mut taken = self.machine.taken();
        taken.first = taken.first.saturating_sub(first);
        taken.rest = taken.rest.saturating_sub(rest);
        self.first = self.first.saturating_sub(first);
        self.rest = self.rest.saturating_sub(rest);
    }
}

/// An instance, as long as the Keep can hold what it does for it. What is not its own by then, because a peer gets it, only
/// counts where there is too much of it.
pub(crate) async fn held<T>(machine: &'static Machine, instance: impl Future<Output = T>) -> Result<T, Full> {
    let (mut instance, mut held) = (pin!(instance), 0_u64);
    poll_fn(|context| {
        let before = machine.held();
        let polled = instance.as_mut().poll(context);
        let after = machine.held();
        held = held.saturating_add(after).saturating_sub(before);
        match polled {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if machine.is_over(held) => Poll::Ready(Err(Full)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn heap() -> u64 {
    sys::heap::used() as u64
}

/// What lies between two sizes: of the first [`RESIDENT`] bytes, and beyond.
fn between(from: u64, to: u64) -> [u64; 2] {
    let first = to.min(RESIDENT).saturating_sub(from.min(RESIDENT));
    [first, to.saturating_sub(from).saturating_sub(first)]
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give(self.first, self.rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn it_is_for_all_together() {
        let machine: &Machine = Box::leak(Box::new(Machine::of(100 * MIB)));
        let [mut one, mut other] = [(); 2].map(|()| Share::of(machine));
        assert!(one.grows(0, MIB) && one.grows(MIB, 60 * MIB));
        assert!(other.grows(0, 10 * MIB));
        assert!(!other.grows(10 * MIB, 41 * MIB));
        assert!(other.grows(10 * MIB, 40 * MIB), "exactly what there is");
        assert!(!other.grows(0, 1) && !machine.take(1));
        other.shrinks(MIB, 40 * MIB);
        assert!(other.grows(MIB, 40 * MIB) && !other.grows(40 * MIB, 41 * MIB), "as if it never had");
        drop(one);
        assert!(other.grows(40 * MIB, 98 * MIB), "a pool keeps what two began with");
        assert!(!other.grows(98 * MIB, 99 * MIB) && !machine.take(1));
        assert!(Share::of(machine).grows(0, 2 * MIB), "which is for the next one");
        drop(other);
        assert!(machine.take(96 * MIB) && !machine.take(1));
        machine.give(MIB);
        assert!(machine.take(MIB));
        assert_eq!([0, 5 * MIB, u64::MAX].map(|memory| machine.instances(memory)), [50 << 20, 10, 1]);
    }

    #[tokio::test]
    async fn who_lets_the_keep_hold_too_much_ends() {
        let machine: &Machine = Box::leak(Box::new(Machine::of(8 << 30)));
        let holds = |bytes: usize, times: usize| async move {
            let mut all = Vec::new();
            for _ in 0..times {
                all.push(Vec::<u8>::with_capacity(bytes));
                tokio::task::yield_now().await;
            }
            all.len()
        };
        const MUCH: usize = 1 << 28;
        assert_eq!(held(machine, holds(MUCH, 3)).await.ok(), Some(3), "control: it is given back");
        assert_eq!(held(machine, holds(MUCH, 3)).await.ok(), Some(3));
        assert!(held(machine, holds(MUCH, 9)).await.is_err());
        let others = Vec::<u8>::with_capacity(6 * MUCH);
        assert_eq!(held(machine, holds(1, 9)).await.ok(), Some(9), "others hold it");
        assert!(held(machine, holds(MUCH, 2)).await.is_err());
        assert!(machine.take(7 * MUCH as u64));
        assert_eq!(held(machine, holds(MUCH, 2)).await.ok(), Some(2), "it was written");
        drop(others);
    }
}
