//! The board: the plan of a liar and what it did, in a memory file that monitor and host process see. It outlives a monitor
//! that has to be killed.
//!
//! Invariant: every word is read into a valid type or not at all; its length is fixed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use gate::plan::PROCESSORS;
use gate::ring::KINDS;

use super::lies::{Cell, LIES, Row, cells};
use super::{Broken, Plan, Scope, Told, Waiting};
use crate::sys::memory::Memory;

/// Words of the plan.
const SEED: usize = 0;
const MOST: usize = 1;
const RATE: usize = 2;
const AIM: usize = 3;
const AFTER: usize = 4;
const SCOPE: usize = 5;
const CANARY: usize = 6;
/// What happened.
const LIES_TOLD: usize = 16;
const CALLS: usize = 17;
const REWRITES: usize = 18;
const BROKEN: usize = 19;
const DETAIL: usize = 20;
/// By processor: what it does.
const STATES: usize = 32;
/// By row and lie.
const TABLE: usize = STATES + PROCESSORS;
const ROWS: usize = KINDS.len() + 3;
const LENGTH: u64 = 16384;
const _: () = assert!((TABLE + ROWS * LIES.len()) as u64 * 8 <= LENGTH);

/// None yet; runs; waits in a call.
const AWAY: u64 = 0;
const RUNS: u64 = 1;
const WAITS: u64 = 2;

/// What is broken, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Flag {
    Believed = 1,
    WentOn = 2,
    Leaked = 3,
}

pub(crate) struct Board {
    memory: Memory,
    file: OwnedFd,
}

impl Board {
    pub(super) fn new(plan: &Plan) -> std::io::Result<Self> {
        let board = Self::of(Memory::file(LENGTH)?)?;
        let Plan { seed, most, rate, aim, scope, canary } = *plan;
        board.set(SEED, seed);
        board.set(MOST, most);
        board.set(RATE, rate);
        board.set(SCOPE, scope as u64);
        board.set(CANARY, canary.map_or(0, |byte| 0x100 | u64::from(byte)));
        if let Some((cell, after)) = aim {
            board.set(AIM, 1 + place(cell) as u64);
            board.set(AFTER, after);
        }
        Ok(board)
    }

    /// The one in this file.
    pub(crate) fn of(file: OwnedFd) -> std::io::Result<Self> {
        Ok(Self { memory: Memory::of(file.as_fd(), LENGTH)?, file })
    }

    pub(super) fn file(&self) -> std::io::Result<OwnedFd> {
        self.file.try_clone()
    }

    fn get(&self, word: usize) -> u64 {
        self.memory.counter(word).load(Ordering::SeqCst)
    }

    fn set(&self, word: usize, value: u64) {
        self.memory.counter(word).store(value, Ordering::SeqCst);
    }

    fn add(&self, word: usize, more: u64) {
        self.memory.counter(word).fetch_add(more, Ordering::Relaxed);
    }

    /// The plan that was put there.
    pub(crate) fn plan(&self) -> Plan {
        let aim = usize::try_from(self.get(AIM)).ok().and_then(|aim| aim.checked_sub(1));
        let aim = aim.and_then(|aim| cells(true).find(|cell| place(*cell) == aim));
        Plan {
            seed: self.get(SEED),
            most: self.get(MOST),
            rate: self.get(RATE),
            aim: aim.map(|cell| (cell, self.get(AFTER))),
            scope: if self.get(SCOPE) == Scope::All as u64 { Scope::All } else { Scope::Guarded },
            canary: u8::try_from(self.get(CANARY) ^ 0x100).ok(),
        }
    }

    /// One more lie.
    pub(crate) fn lied(&self, cell: Cell) {
        self.add(LIES_TOLD, 1);
        self.add(TABLE + place(cell), 1);
    }

    /// How many there were.
    pub(crate) fn lies(&self) -> u64 {
        self.get(LIES_TOLD)
    }

    pub(crate) fn called(&self) {
        self.add(CALLS, 1);
    }

    pub(crate) fn rewrote(&self, words: u64) {
        self.add(REWRITES, words);
    }

    /// What no Keep may do; the first counts.
    pub(crate) fn broken(&self, flag: Flag, detail: u64) {
        let first = self.memory.counter(BROKEN).compare_exchange(0, flag as u64, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.set(DETAIL, detail);
        }
    }

    /// A cell as a detail.
    pub(crate) fn detail(cell: Cell) -> u64 {
        place(cell) as u64
    }

    /// The processor waits for its host, or runs.
    pub(crate) fn waits(&self, processor: usize, waits: bool) {
        self.set(STATES + processor % PROCESSORS, if waits { WAITS } else { RUNS });
    }

    /// What all processors do, seen several times.
    pub(super) fn waiting(&self) -> Waiting {
        for _ in 0..50 {
            let states = (0..PROCESSORS).map(|processor| self.get(STATES + processor));
            if states.clone().all(|state| state == AWAY) || states.clone().any(|state| state == WAITS) {
                let runs = states.filter(|state| *state == RUNS).count();
                if runs == 0 {
                    return Waiting::ForTheHost;
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Waiting::ForNothing
    }

    pub(super) fn told(&self) -> Told {
        let cell = |detail: u64| cells(true).find(|cell| place(*cell) as u64 == detail);
        let detail = self.get(DETAIL);
        let broken = match (self.get(BROKEN), cell(detail)) {
            (flag, Some(cell)) if flag == Flag::Believed as u64 => Some(Broken::Believed(cell)),
            (flag, Some(cell)) if flag == Flag::WentOn as u64 => Some(Broken::WentOn(cell)),
            (flag, _) if flag == Flag::Leaked as u64 => Some(Broken::Leaked(detail)),
            _ => None,
        };
        Told {
            lies: self.get(LIES_TOLD),
            calls: self.get(CALLS),
            rewrites: self.get(REWRITES),
            cells: cells(true)
                .map(|cell| (cell, self.get(TABLE + place(cell))))
                .filter(|(_, count)| *count > 0)
                .collect(),
            broken,
        }
    }
}

/// Where a cell stands in the table.
fn place(Cell { row, lie }: Cell) -> usize {
    Row::index(row) * LIES.len() + lie as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_put() {
        let cell = cells(true).nth(77).unwrap();
        let plan = Plan { seed: u64::MAX, most: 3, rate: 7, aim: Some((cell, 5)), scope: Scope::All, canary: Some(0) };
        assert_eq!(Board::new(&plan).unwrap().plan(), plan);
        let none = Plan { aim: None, scope: Scope::Guarded, canary: None, ..plan };
        assert_eq!(Board::new(&none).unwrap().plan(), none);
    }

    #[test]
    fn what_was_told_is_counted_by_cell() {
        let plan = Plan { seed: 0, most: 0, rate: 0, aim: None, scope: Scope::All, canary: None };
        let board = Board::new(&plan).unwrap();
        let [first, last] = [cells(true).next().unwrap(), cells(true).last().unwrap()];
        board.lied(first);
        board.lied(last);
        board.lied(last);
        board.broken(Flag::Believed, Board::detail(last));
        board.broken(Flag::Leaked, 8);
        let told = board.told();
        assert_eq!((told.lies, told.cells), (3, vec![(first, 1), (last, 2)]));
        assert_eq!(told.broken, Some(Broken::Believed(last)), "the first");
    }
}
