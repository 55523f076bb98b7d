//! A monitor that lies by plan: it stands between the calls of the ring and their answers.
//!
//! Owns what is told instead of the truth, and the oracles that need no help of the workload. A lie is counted when it
//! changed something, and not before. What a plan aims at is told whatever becomes of the Keep; everything else can be true
//! of its call, so that one run holds many.
//!
//! Invariant: whatever is withheld comes later, unless the workload is one that never waits without end.

mod tell;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gate::plan::{PAGE, PROCESSORS, SHARED, start};
use gate::ring::{Call, FIRST, Kind, PLATFORM};

use super::rewriter::Rewriter;
use super::run::{Ended, Machine, ended};
use crate::attack::lies::{Cell, Field, LIES, Lie, Row, Start};
use crate::attack::{Board, Flag, Plan, Random, Scope};
use crate::sys::memory::Block;

pub(super) struct Liar {
    board: Board,
    plan: Plan,
    /// Whether there is firmware below, and so a launch field that the brief is compared with.
    firmware: bool,
    /// How many chances the aim still lets pass.
    chances: AtomicU64,
    aimed: AtomicBool,
    /// The lie after which the Keep must end, as a detail of the board's and one more.
    must_end: AtomicU64,
    /// The shim told the time for the first time: it is ready.
    booted: AtomicBool,
    /// A wake was dropped: nobody sleeps for long any more.
    withheld: AtomicBool,
    seats: [Mutex<Seat>; PROCESSORS],
    /// Each processor's last result but 0, which most calls have.
    last: [AtomicU64; PROCESSORS],
    /// What is done later, and after how many calls.
    later: Mutex<Vec<(u64, Call)>>,
    /// Data of earlier answers, by kind.
    earlier: Mutex<BTreeMap<u32, Vec<u8>>>,
    rewriter: Rewriter,
}

/// What a liar knows of a processor.
struct Seat {
    random: Random,
    /// It was told what cannot be true, and is to say so.
    caught: Option<Cell>,
}

/// The most calls that are done later; what comes then is done at once.
const MOST_LATER: usize = 32;
/// The longest sleep after a wake was dropped, in nanoseconds.
const NAP: u64 = 5_000_000;
/// Bytes of noise behind an answer, and of an answer that is kept for later.
const NOISE: usize = 4096;

/// A call, and where it is answered.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) machine: &'static Machine,
    /// The processor that asks.
    pub(super) index: usize,
    pub(super) block: Block<'a>,
    /// The call's first word there.
    pub(super) first: usize,
    pub(super) call: Call,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Liar {
    pub(super) fn new(board: Board, firmware: bool) -> Self {
        let plan = board.plan();
        let seat = |index: usize| Mutex::new(Seat { random: Random(plan.seed ^ (index as u64) << 56), caught: None });
        Self {
            chances: AtomicU64::new(plan.aim.map_or(0, |(_, after)| after)),
            board,
            plan,
            firmware,
            aimed: AtomicBool::new(false),
            must_end: AtomicU64::new(0),
            booted: AtomicBool::new(false),
            withheld: AtomicBool::new(false),
            seats: std::array::from_fn(seat),
            last: std::array::from_fn(|_| AtomicU64::new(0)),
            later: Mutex::default(),
            earlier: Mutex::default(),
            rewriter: Rewriter::new(),
        }
    }

    /// Starts what rewrites memory beside the processors.
    pub(super) fn start(&'static self, machine: &'static Machine) -> std::io::Result<()> {
        self.rewriter.start(machine, &self.board)
    }

    /// Lies about the words that the host leaves at the start. `free`: the first address that nothing measured uses.
    pub(super) fn begin(&self, block: Block<'_>, free: u64) {
        let Some((cell @ Cell { row: Row::Start(word), lie }, _)) = self.plan.aim else { return };
        let index = match word {
            Start::Memory => start::MEMORY,
            Start::Ticks => start::TICKS,
            Start::Processors => start::PROCESSORS,
        };
        let (low, high) = match word {
            Start::Memory => (free + PAGE, SHARED),
            Start::Ticks => (1_000_000, 100_000_000_000),
            Start::Processors => (1, PROCESSORS as u64),
        };
        let mut seat = held(&self.seats[0]);
        let (random, honest) = (&mut seat.random, block.word(index));
        let value = match lie {
            Lie::Zero => 0,
            Lie::One => 1,
            Lie::Least => 1 << 63,
            Lie::Greatest => i64::MAX.unsigned_abs(),
            Lie::OneLess => honest - 1,
            Lie::OneMore => high + 1,
            Lie::High => honest | 1 << (40 + random.below(24)),
            Lie::InRange => low + random.below(honest - low),
            _ => random.next(),
        };
        let value = if word == Start::Memory && lie == Lie::InRange { value & !(PAGE - 1) } else { value };
        if value == honest {
            return;
        }
        block.set_word(index, value);
        self.board.lied(cell);
        let can_be = (low..=high).contains(&value) && (word != Start::Memory || value.is_multiple_of(PAGE));
        if !can_be {
            self.must_end(cell);
        }
    }

    fn must_end(&self, cell: Cell) {
        self.must_end.store(1 + Board::detail(cell), Ordering::SeqCst);
    }

    /// Answers a call, or says how the machine ended.
    pub(super) fn serve(&self, asked: &Asked<'_>) -> Result<u64, Ended> {
        let Asked { machine, index, block, first, call } = *asked;
        self.rewriter.quiet(index);
        self.board.called();
        self.board.waits(index, true);
        self.look(index, block);
        let mut seat = held(&self.seats[index % PROCESSORS]);
        // What was asked by the same bell was asked before.
        if first == FIRST
            && let Some(cell) = seat.caught.take()
            && (call.kind, call.a, Row::Call(named(&call))) != (Kind::Fatal, 1, cell.row)
        {
            self.board.broken(Flag::Believed, Board::detail(cell));
        }
        if let Some(ended) = ended(&call) {
            self.finish(machine, &call);
            return Err(ended);
        }
        self.overdue(machine, index);
        if call.kind == Kind::Clock {
            self.booted.store(true, Ordering::SeqCst);
        }
        let result = self.answer(asked, &mut seat);
        drop(seat);
        if result != 0 {
            self.last[index % PROCESSORS].store(result, Ordering::Relaxed);
        }
        self.look(index, block);
        self.board.waits(index, false);
        Ok(result)
    }

    /// Looks for what must not be there.
    fn look(&self, index: usize, block: Block<'_>) {
        if let Some(canary) = self.plan.canary
            && let Some(word) = block.find(u64::from_ne_bytes([canary; 8]))
        {
            self.board.broken(Flag::Leaked, ((index as u64) << 32) | (8 * word as u64));
        }
    }

    /// The Keep says that it is done.
    fn finish(&self, machine: &'static Machine, call: &Call) {
        (0..PROCESSORS).for_each(|index| self.look(index, machine.shared.block(index)));
        let Some(detail) = self.must_end.load(Ordering::SeqCst).checked_sub(1) else { return };
        if call.kind == Kind::Exit {
            // Another processor may be about to say so, and ends this process.
            std::thread::sleep(Duration::from_secs(2));
            self.board.broken(Flag::WentOn, detail);
        }
    }

    /// Does what was only said to be done, when its time has come.
    fn overdue(&self, machine: &'static Machine, index: usize) {
        let due: Vec<Call> = {
            let mut later = held(&self.later);
            later.iter_mut().for_each(|(calls, _)| *calls = calls.saturating_sub(1));
            later.extract_if(.., |(calls, _)| *calls == 0).map(|(_, call)| call).collect()
        };
        for call in due {
            // Nobody hears its result.
            _ = machine.done(index, machine.shared.block(index), &call);
        }
    }

    /// The truth, with patience that ends where a wake may have been dropped.
    fn truth(&self, asked: &Asked<'_>) -> u64 {
        let Asked { machine, index, block, call, .. } = *asked;
        let nap = self.withheld.load(Ordering::Relaxed) && matches!(call.kind, Kind::Park | Kind::Wait);
        let call = if nap { Call { a: call.a.min(NAP), ..call } } else { call };
        machine.done(index, block, &call)
    }

    /// The answer, true or not.
    fn answer(&self, asked: &Asked<'_>, seat: &mut Seat) -> u64 {
        let call = &asked.call;
        let row = Row::Call(call.kind);
        if let Some((cell, _)) = self.plan.aim
            && cell.row == row
            && !self.aimed.load(Ordering::SeqCst)
            && self.may(cell.lie, call, true)
        {
            let passes = |left: u64| left.checked_sub(1);
            if self.chances.fetch_update(Ordering::SeqCst, Ordering::SeqCst, passes).is_err() {
                let told = self.tell(asked, seat, cell.lie, true);
                if let (result, true) = told {
                    // Whether two looks see different words is a matter of luck, which gets its chances.
                    self.aimed.store(cell.lie != Lie::Double, Ordering::SeqCst);
                    self.board.lied(cell);
                    if call.check(result).is_err() {
                        seat.caught = Some(cell);
                    }
                }
                return told.0;
            }
        }
        if seat.random.below(1024) < self.plan.rate && self.board.lies() < self.plan.most {
            let lie = (0..8).map(|_| LIES[seat.random.place(LIES.len())]);
            let lies: Vec<Lie> = lie.filter(|lie| row.takes(*lie) && self.may(*lie, call, false)).collect();
            if let Some(lie) = lies.first() {
                let (result, changed) = self.tell(asked, seat, *lie, false);
                if changed {
                    self.board.lied(Cell { row, lie: *lie });
                }
                return result;
            }
        }
        self.truth(asked)
    }

    /// Whether the scope, and what must come of it, allow this lie.
    fn may(&self, lie: Lie, call: &Call, aimed: bool) -> bool {
        let moves = moves(call);
        let platform = moves && call.handle == PLATFORM;
        // Changes nothing of what an answer means.
        let harmless = matches!(lie, Lie::Words | Lie::Late | Lie::Woken | Lie::Kicked);
        // Ends the Keep if it is noticed, which is to happen once.
        let last = matches!(lie, Lie::Extra | Lie::Double) || (lie, call.kind) == (Lie::Twice, Kind::Processor);
        if harmless {
            return true;
        }
        if platform && lie.field() == Field::Deed {
            return false;
        }
        // The other thread has to get its turn first, which takes as long as many calls.
        if !aimed && lie == Lie::Rewrite && !self.board.lies().is_multiple_of(16) {
            return false;
        }
        if !aimed && (last || platform || call.kind == Kind::Firmware || !self.booted.load(Ordering::SeqCst)) {
            return false;
        }
        match (self.plan.scope, lie.field()) {
            (Scope::All, _) | (_, Field::Processors | Field::Time) => true,
            (Scope::Guarded, Field::Data) => self.firmware && (platform || call.kind == Kind::Firmware),
            (Scope::Guarded, Field::Deed) => last,
            (Scope::Guarded, Field::While) => !moves,
            // Values are looked at when they are known.
            (Scope::Guarded, Field::Result | Field::Words) => true,
        }
    }

    /// Whether this value may be told instead of the true one.
    fn fits(&self, call: &Call, honest: u64, value: u64, aimed: bool) -> bool {
        let moves = moves(call);
        match call.check(value) {
            _ if value == honest => false,
            Err(_) => aimed,
            // What is lost on the way to the host process would be waited for.
            Ok(Ok(count)) if moves && call.handle == PLATFORM => self.plan.scope == Scope::All && count == 0,
            _ if self.plan.scope == Scope::All => true,
            // Of a stream nothing else is told than what ends the Keep: a program may not care about an error of its output.
            Ok(_) if call.handle < PLATFORM && (moves || call.kind == Kind::Poll) => false,
            Ok(Ok(_)) => !moves,
            Ok(Err(_)) => true,
        }
    }
}

/// Whether it moves bytes of a stream or a socket.
fn moves(call: &Call) -> bool {
    matches!(call.kind, Kind::Read | Kind::Write | Kind::Send | Kind::Receive)
}

/// The kind that a Keep names when it says that it was lied to.
fn named(call: &Call) -> Kind {
    gate::ring::KINDS.into_iter().find(|kind| *kind as u64 == call.b).unwrap_or(Kind::Fatal)
}
