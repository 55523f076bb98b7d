//! A monitor that lies by plan: it stands between the calls of the ring and their answers.
//!
//! Owns what is told instead of the truth, and the oracles that need no help of the workload. A lie is counted when it
//! changed something, and not before. What a plan aims at is told whatever becomes of the Keep; everything else can be true
//! of its call, so that one run holds many.
//!
//! Invariant: whatever is withheld comes later, unless the workload is one that never waits without end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gate::plan::{PAGE, PROCESSORS, SHARED, start};
use gate::ring::{ADDRESS, ALWAYS, COUNT, Call, EVENT, Kind, PLATFORM, file};

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
    /// Each processor's last result.
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
    pub(super) fn serve(
        &self,
        machine: &'static Machine,
        index: usize,
        block: Block<'_>,
        first: usize,
        call: &Call,
    ) -> Result<u64, Ended> {
        self.rewriter.quiet(index);
        self.board.called();
        self.board.waits(index, true);
        self.look(index, block);
        let mut seat = held(&self.seats[index % PROCESSORS]);
        if let Some(cell) = seat.caught.take()
            && (call.kind, call.a, Row::Call(named(call))) != (Kind::Fatal, 1, cell.row)
        {
            self.board.broken(Flag::Believed, Board::detail(cell));
        }
        if let Some(ended) = ended(call) {
            self.finish(machine, call);
            return Err(ended);
        }
        self.overdue(machine, index);
        if call.kind == Kind::Clock {
            self.booted.store(true, Ordering::SeqCst);
        }
        let result = self.answer(machine, &mut seat, index, block, first, call);
        drop(seat);
        self.last[index % PROCESSORS].store(result, Ordering::Relaxed);
        self.look(index, block);
        self.board.waits(index, false);
        Ok(result)
    }

    /// Looks for what must not be there.
    fn look(&self, index: usize, block: Block<'_>) {
        if let Some(canary) = self.plan.canary
            && let Some(word) = block.find(u64::from_ne_bytes([canary; 8]))
        {
            self.board.broken(Flag::Leaked, ((index as u64) << 32) | 8 * word as u64);
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
    fn truth(&self, machine: &'static Machine, index: usize, block: Block<'_>, call: &Call) -> u64 {
        let nap = self.withheld.load(Ordering::Relaxed) && matches!(call.kind, Kind::Park | Kind::Wait);
        let call = if nap { Call { a: call.a.min(NAP), ..*call } } else { *call };
        machine.done(index, block, &call)
    }

    /// The answer, true or not.
    fn answer(
        &self,
        machine: &'static Machine,
        seat: &mut Seat,
        index: usize,
        block: Block<'_>,
        first: usize,
        call: &Call,
    ) -> u64 {
        let row = Row::Call(call.kind);
        if let Some((cell, _)) = self.plan.aim
            && cell.row == row
            && !self.aimed.load(Ordering::SeqCst)
            && self.may(cell.lie, call, true)
        {
            let passes = |left: u64| left.checked_sub(1);
            if self.chances.fetch_update(Ordering::SeqCst, Ordering::SeqCst, passes).is_err() {
                let told = self.tell(machine, seat, index, block, first, call, cell.lie, true);
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
            let lie = (0..8).map(|_| LIES[seat.random.below(LIES.len() as u64) as usize]);
            let lies: Vec<Lie> = lie.filter(|lie| row.takes(*lie) && self.may(*lie, call, false)).collect();
            if let Some(lie) = lies.first() {
                let (result, changed) = self.tell(machine, seat, index, block, first, call, *lie, false);
                if changed {
                    self.board.lied(Cell { row, lie: *lie });
                }
                return result;
            }
        }
        self.truth(machine, index, block, call)
    }

    /// Whether the scope, and what must come of it, allow this lie.
    fn may(&self, lie: Lie, call: &Call, aimed: bool) -> bool {
        let moves = matches!(call.kind, Kind::Read | Kind::Write);
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
        if !aimed && lie == Lie::Rewrite && self.board.lies() % 16 != 0 {
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
        let moves = matches!(call.kind, Kind::Read | Kind::Write);
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

    /// Tells a lie, and whether it was one.
    #[allow(clippy::too_many_arguments, reason = "what an answer is made of")]
    fn tell(
        &self,
        machine: &'static Machine,
        seat: &mut Seat,
        index: usize,
        block: Block<'_>,
        first: usize,
        call: &Call,
        lie: Lie,
        aimed: bool,
    ) -> (u64, bool) {
        let random = &mut seat.random;
        let truth = |call: &Call| self.truth(machine, index, block, call);
        match lie.field() {
            Field::Result if call.kind == Kind::Processor => {
                // One that is refused does not come; whether it is believed of one that came is the aim's to ask.
                let value = self.value(lie, 0, call, random, index);
                if !self.fits(call, 0, value, aimed) {
                    return (truth(call), false);
                }
                if aimed && call.check(value).is_err() {
                    _ = truth(call);
                }
                (value, true)
            }
            Field::Result => {
                let honest = truth(call);
                let value = self.value(lie, honest, call, random, index);
                if self.fits(call, honest, value, aimed) { (value, true) } else { (honest, false) }
            }
            Field::Data => self.data(&truth, random, block, call, lie),
            Field::Words => {
                let honest = truth(call);
                for word in (first..first + 6).chain([first + 7, COUNT]) {
                    block.set_word(word, random.next());
                }
                (honest, true)
            }
            Field::Deed => self.deed(&truth, machine, random, call, lie),
            Field::Time if lie == Lie::Late => {
                std::thread::sleep(Duration::from_micros(random.below(300)));
                (truth(call), true)
            }
            Field::Time => match call.kind {
                Kind::Poll => (truth(&Call { b: 0, ..*call }), call.b > 0),
                Kind::Wait => (truth(&Call { a: 0, ..*call }), call.a > 0),
                _ => (0, call.a > 0),
            },
            Field::Processors => {
                match lie {
                    Lie::Woken => (0..PROCESSORS as u64).for_each(|processor| machine.wake(processor)),
                    Lie::Kicked => machine.kick_all(),
                    _ => {
                        if !machine.extra() {
                            return (truth(call), false);
                        }
                        self.must_end(Cell { row: Row::Call(call.kind), lie });
                    }
                }
                (truth(call), true)
            }
            Field::While => {
                let honest = truth(call);
                let value = match lie {
                    Lie::Double => call_past(call),
                    _ => self.value(Lie::InRange, honest, call, random, index),
                };
                if lie == Lie::Rewrite && call.check(value).is_err() {
                    return (honest, false);
                }
                let data = (lie == Lie::Rewrite && self.plan.scope == Scope::All).then(|| random.next());
                self.rewriter.begin(index, first, [honest, value], data);
                (honest, true)
            }
        }
    }

    /// A result instead of the true one.
    fn value(&self, lie: Lie, honest: u64, call: &Call, random: &mut Random, index: usize) -> u64 {
        let minus = |number: u64| 0_u64.wrapping_sub(number);
        let most = largest(call);
        match lie {
            Lie::Zero => 0,
            Lie::One => 1,
            Lie::MinusOne => minus(1),
            Lie::LastError => minus(4095),
            Lie::PastErrors => minus(4096),
            Lie::Least => 1 << 63,
            Lie::Greatest => i64::MAX.unsigned_abs(),
            Lie::Most => most,
            Lie::OneLess => honest.wrapping_sub(1),
            Lie::OneMore => most + 1,
            Lie::High => honest | 1 << (32 + random.below(31)),
            Lie::Bit => honest ^ 1 << random.below(64),
            Lie::InRange => match call.kind {
                Kind::Poll => random.next() & most,
                Kind::Wait => random.below(most / u64::from(EVENT) + 1) * u64::from(EVENT),
                _ => random.below(most + 1),
            },
            Lie::Errno => minus(1 + random.below(133)),
            Lie::Stale => self.last[index % PROCESSORS].load(Ordering::Relaxed),
            Lie::Others => self.last[(index + 1 + random.below(3) as usize) % PROCESSORS].load(Ordering::Relaxed),
            _ => random.next(),
        }
    }

    /// An answer with other data.
    fn data(
        &self,
        truth: &dyn Fn(&Call) -> u64,
        random: &mut Random,
        block: Block<'_>,
        call: &Call,
        lie: Lie,
    ) -> (u64, bool) {
        let mut old = vec![0; NOISE.min(call.length as usize)];
        block.get_data(call.offset, &mut old);
        let honest = truth(call);
        let count = match call.check(honest) {
            Ok(Ok(_)) if call.kind == Kind::Firmware => old.len(),
            Ok(Ok(count)) => usize::try_from(count).unwrap_or(0).min(old.len()),
            _ => 0,
        };
        let mut new = vec![0; old.len()];
        block.get_data(call.offset, &mut new);
        let before = new.clone();
        let mut result = honest;
        match lie {
            Lie::Flip if count > 0 => {
                // Of a guest message, what is authenticated: the tag, the number, the header's fields, the first of the body.
                let at = match call.kind {
                    Kind::Firmware => [0, 0x20, 0x30, 0x60][random.below(4) as usize] + random.below(8) as usize,
                    _ => random.below(count as u64) as usize,
                };
                new[at] ^= 1 << random.below(8);
                if self.firmware && (call.kind == Kind::Firmware || !self.booted.load(Ordering::SeqCst)) {
                    self.must_end(Cell { row: Row::Call(call.kind), lie });
                }
            }
            Lie::Fill if call.kind == Kind::Wait => {
                let events = new.as_chunks_mut::<{ EVENT as usize }>().0;
                let told = random.below(events.len().min(64) as u64 + 1);
                for event in events {
                    let handle = if random.below(8) == 0 { random.next() >> 32 } else { random.below(16) };
                    *event = (handle | random.next() << 32).to_le_bytes();
                }
                result = told * u64::from(EVENT);
            }
            Lie::Fill => noise(random, &mut new),
            Lie::Old => new = old,
            Lie::Replay => {
                if let Some(earlier) = held(&self.earlier).get(&(call.kind as u32)) {
                    let length = earlier.len().min(new.len());
                    new[..length].copy_from_slice(&earlier[..length]);
                }
            }
            Lie::Past => {
                let mut past = vec![0; NOISE];
                noise(random, &mut past);
                let at = u32::try_from(count).unwrap_or(0).saturating_add(call.offset);
                block.put_data(at, &past);
                return (honest, true);
            }
            _ => {}
        }
        if honest != 0 || call.kind == Kind::Firmware {
            held(&self.earlier).insert(call.kind as u32, before.clone());
        }
        block.put_data(call.offset, &new);
        (result, result != honest || new != before)
    }

    /// An answer without its deed, or to one that was done twice.
    fn deed(
        &self,
        truth: &dyn Fn(&Call) -> u64,
        machine: &'static Machine,
        random: &mut Random,
        call: &Call,
        lie: Lie,
    ) -> (u64, bool) {
        if lie == Lie::Twice {
            let honest = truth(call);
            if call.kind == Kind::Processor {
                if !machine.extra() {
                    return (honest, false);
                }
                self.must_end(Cell { row: Row::Call(call.kind), lie });
            } else {
                _ = truth(call);
            }
            return (honest, true);
        }
        match call.kind {
            Kind::Processor | Kind::Close => {
                let mut later = held(&self.later);
                if later.len() == MOST_LATER {
                    return (truth(call), false);
                }
                later.push((1 + random.below(12), *call));
            }
            Kind::Wake => self.withheld.store(true, Ordering::SeqCst),
            Kind::Read | Kind::Write => return (random.below(u64::from(call.length) + 1), true),
            Kind::Accept | Kind::Name => return ([0, 8, 16, 28][random.below(4) as usize], true),
            _ => {}
        }
        (0, true)
    }
}

/// The kind that a Keep names when it says that it was lied to.
fn named(call: &Call) -> Kind {
    gate::ring::KINDS.into_iter().find(|kind| *kind as u64 == call.b).unwrap_or(Kind::Fatal)
}

/// The largest result that can be true.
fn largest(call: &Call) -> u64 {
    match call.kind {
        Kind::Read | Kind::Write | Kind::Wait => u64::from(call.length),
        Kind::Accept | Kind::Name => u64::from(ADDRESS),
        Kind::Error => 4095,
        Kind::Poll => call.a | u64::from(ALWAYS),
        Kind::What => file::TERMINAL,
        Kind::Seek | Kind::Clock => i64::MAX.unsigned_abs(),
        _ => 0,
    }
}

/// A result that cannot be true, near one that can.
fn call_past(call: &Call) -> u64 {
    match call.kind {
        // So far beyond that who believes it once is seen to.
        Kind::Read | Kind::Write => u64::from(call.length) + 48,
        _ => largest(call) + 1,
    }
}

fn noise(random: &mut Random, bytes: &mut [u8]) {
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
    }
}
