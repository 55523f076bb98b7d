//! What `[limits]` of the manifest leaves to one instance, and the pulse by which one that computes lets others have their
//! turn.
//!
//! Owns the count of memory, tables and computing. Refuses growth beyond the limits, as a full machine would, and ends who
//! computes for too long. Invariant: without limits of time a command is compiled without any of it, and costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use workload::manifest::{Limits, Stdio};

use crate::machine::{Full, MACHINE, Share};
use crate::refusal::{Refusal, Step};

/// How long one computes before others have their turn.
const TURN: Duration = Duration::from_millis(10);
/// How long the pulse goes on when nobody runs: to wake it is a way to the platform and back.
const IDLE: usize = 100;

/// What one call may bring into the Keep at once at most, in bytes: Wasmtime's own figure. A small machine has less.
const FUEL: usize = 128 << 20;

/// What an element of a table takes at most, in bytes.
pub(crate) const ELEMENT: u64 = 16;

/// What is left to an instance.
pub(crate) struct Budget {
    limits: Limits,
    stderr: Stdio,
    memory: u64,
    elements: u64,
    share: Share,
    /// From how many bytes to how many a memory grew last.
    grown: Option<[u64; 2]>,
    computed: Duration,
    /// The limit that refused something, in words.
    refused: Option<String>,
}

/// A limit of time that is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Over {
    #[error("the program computed for {} ms, which is all that `limits.cpu` gives it", .0.as_millis())]
    Cpu(Duration),
    #[error("the program ran for {} ms, which is all that `limits.time` gives it", .0.as_millis())]
    Time(Duration),
}

/// What stores hold.
pub(crate) trait Limited {
    fn budget(&mut self) -> &mut Budget;
}

/// Puts a store under its budget.
pub(crate) fn keep<T: Limited + 'static>(store: &mut Store<T>, turns: bool) {
    store.limiter(|data| data.budget());
    store.set_hostcall_fuel(usize::try_from(MACHINE.limit / 16).unwrap_or(usize::MAX).min(FUEL));
    if turns {
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let budget = store.data_mut().budget();
            budget.computed = budget.computed.saturating_add(TURN);
            match budget.limits.cpu {
                Some(limit) if budget.computed >= limit.duration() => Err(Over::Cpu(limit.duration()).into()),
                _ => Ok(UpdateDeadline::Yield(1)),
            }
        });
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits, stderr: Stdio) -> Self {
        let share = Share::of(&MACHINE);
        Self { limits, stderr, memory: 0, elements: 0, share, grown: None, computed: Duration::ZERO, refused: None }
    }

    /// How many descriptors there may be, if the manifest says.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        self.limits.descriptors.map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Why an instance could not be made, if it was for a limit.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let refused = self.refused.as_ref()?;
        Some(Refusal::new(
            Step::Program,
            "limits.reached",
            refused,
            "raise it (that of a Keep by `--memory`), or build the program to begin with less",
        ))
    }

    /// Whether so much is allowed.
    fn allows(&mut self, key: &str, used: u64, limit: Option<u64>) -> bool {
        let Some(limit) = limit.filter(|limit| used > *limit) else { return true };
        self.refuse(|| format!("the program wants {used}, and `limits.{key}` gives it {limit}"));
        false
    }

    /// Whether the machine has so many bytes more; an error where nothing would be there without them.
    fn take(&mut self, from: u64, to: u64) -> wasmtime::Result<bool> {
        if self.share.grows(from, to) {
            return Ok(true);
        }
        let limit = MACHINE.limit;
        self.refuse(|| format!("the program wants {to} bytes, and this Keep has {limit} for all its instances"));
        if from == 0 { Err(Full.into()) } else { Ok(false) }
    }

    /// Who something is refused to is told once.
    fn refuse(&mut self, why: impl FnOnce() -> String) {
        if self.refused.is_none() {
            let refused = why();
            if self.stderr == Stdio::Host {
                // If nobody reads it there is nobody to tell.
                _ = std::io::Write::write_all(&mut std::io::stderr(), format!("denied: {refused}\n").as_bytes());
            }
            self.refused = Some(refused);
        }
    }
}

/// What is more than a memory or table may ever have is refused by its type after all: it is not counted.
impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        let allowed = self.allows("memory", used, self.limits.memory.map(|size| size.get()));
        let [from, to] = [current, desired].map(|bytes| bytes as u64);
        let grows = allowed && self.take(from, to)?;
        if grows {
            self.memory = used;
            self.grown = Some([from, to]);
        }
        Ok(grows)
    }

    /// There were no addresses for it, for example; so it is as it was. It was asked for just before: only memories with pages of
    /// one byte fail unasked, and those are off.
    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        if let Some([from, to]) = self.grown.take() {
            self.memory = self.memory.saturating_sub(to.saturating_sub(from));
            self.share.shrinks(from, to);
        }
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.elements.saturating_add(desired.saturating_sub(current) as u64);
        let allowed = self.allows("elements", used, self.limits.elements.map(u64::from));
        let [from, to] = [current, desired].map(|elements| (elements as u64).saturating_mul(ELEMENT));
        let grows = allowed && self.take(from, to)?;
        if grows {
            self.elements = used;
        }
        Ok(grows)
    }
}

/// Gives everybody his turn, as long as somebody runs.
pub(crate) struct Pulse {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

/// Somebody who runs.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let (engine, count) = (engine.clone(), Arc::clone(&running));
        let beat = move || {
            let mut idle = 0;
            loop {
                idle = if count.load(Ordering::Relaxed) == 0 { idle + 1 } else { 0 };
                if idle > IDLE {
                    std::thread::park();
                    idle = 0;
                }
                std::thread::sleep(TURN);
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new().stack_size(64 * 1024).spawn(beat)?;
        Ok(Self { running, thread: thread.thread().clone() })
    }

    pub(crate) fn running(&self) -> Running {
        // Where it is awake this is no call.
        if self.running.fetch_add(1, Ordering::Relaxed) == 0 {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.running))
    }
}

#[cfg(test)]
mod tests {
    use workload::manifest::Size;

    use super::*;

    #[test]
    fn growth_is_counted_over_all_memories() {
        let limits = Limits { memory: Some(Size::bytes(100)), ..Limits::default() };
        let mut budget = Budget::new(limits, Stdio::Null);
        assert!(budget.memory_growing(0, 60, None).unwrap());
        assert!(budget.memory_growing(0, 40, None).unwrap(), "another memory, exactly to the limit");
        assert!(budget.refusal().is_none());
        assert!(!budget.memory_growing(40, 41, None).unwrap());
        assert!(budget.refusal().is_some());
        assert!(budget.table_growing(0, 1 << 30, None).unwrap(), "no limit");
        let mut unlimited = Budget::new(Limits::default(), Stdio::Null);
        assert!(unlimited.memory_growing(0, 200, None).unwrap());
        let most = usize::try_from(MACHINE.limit).unwrap();
        assert!(!unlimited.memory_growing(200, most + 1, None).unwrap() && unlimited.refusal().is_some());
        assert!(unlimited.memory_growing(0, most + 1, None).unwrap_err().is::<Full>());
    }

    #[test]
    fn what_does_not_grow_is_not_counted() {
        let limits = Limits { memory: Some(Size::bytes(100)), elements: Some(100), ..Limits::default() };
        let mut budget = Budget::new(limits, Stdio::Null);
        assert!(budget.memory_growing(0, 60, Some(60)).unwrap() && budget.table_growing(0, 60, Some(60)).unwrap());
        for _ in 0..9 {
            assert!(
                !budget.memory_growing(60, 61, Some(60)).unwrap() && !budget.table_growing(60, 61, Some(60)).unwrap()
            );
            assert!(budget.memory_growing(0, 40, None).unwrap());
            budget.memory_grow_failed(wasmtime::Error::msg("no addresses")).unwrap();
        }
        assert!(budget.refusal().is_none());
        assert!(budget.memory_growing(0, 40, None).unwrap() && budget.table_growing(0, 40, None).unwrap());
        assert!(!budget.memory_growing(40, 41, None).unwrap() && budget.refusal().is_some(), "control");
    }
}
