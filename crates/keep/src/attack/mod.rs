//! A hostile host that lies by plan, and what became of the Keep: for showing that a lie is an error to its caller, or the
//! end of the Keep, and nothing between.
//!
//! ```text
//!   Attack --honest()--> Run      what is right
//!          --lie(Plan)-> Run      monitor with a liar; what it did stands on a board that both see
//!                         |
//!          judge(right, run) -> Outcome: Correct, Error, Ended, or a finding
//!          Sum: outcomes of many
//! ```
//!
//! Owns plan, board and judgement; the liar is in the monitor (`machine::liar`). Its oracles need no help of the workload:
//! after a result that cannot be true the next word of that processor must be that it is one; words of the start that
//! cannot be, a processor too many and a changed brief must end the Keep; a canary must not stand in shared memory.
//!
//! Invariant: a run is a function of plan, image and brief, as far as processors that run at the same time allow; a plan is
//! a function of its seed.

mod board;
pub mod lies;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use silicon::Amd;

use crate::backend::process::{self, Child};
use crate::backend::{MicroVm, Nil, Sim};
use crate::launch::{End, Host, Launch, RunError, StartError, Stdio};
use crate::{Backend, machine, sys};
pub(crate) use board::{Board, Flag};
use lies::{Cell, Row, Start, cells};

/// How much is lied about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Scope {
    /// Everything: for a workload that expects nothing true.
    All = 0,
    /// All but what passes through the host without protection and what the host owes: bytes of streams and sockets,
    /// deeds, and where no hardware carries the brief, that too. What a workload then writes is right or missing.
    Guarded = 1,
}

/// What a liar is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Everything else that is chosen comes from this.
    pub seed: u64,
    /// The most lies that can be true, in one run.
    pub most: u64,
    /// Out of 1024 answers so many are lies, until there were [`Plan::most`].
    pub rate: u64,
    /// One more lie, true or not, that must be told: which, and after how many chances.
    pub aim: Option<(Cell, u64)>,
    /// How much is lied about.
    pub scope: Scope,
    /// A byte: eight of it in a row are a secret that must not be seen.
    pub canary: Option<u8>,
}

/// How many runs follow each other before one of them is long.
const LONG: u64 = 64;

impl Plan {
    /// The plan of this seed: seeds that follow each other aim at all cells, one after the other, and each 64th tells as
    /// many lies as `most` says without an aim.
    #[must_use]
    pub fn of(seed: u64, most: u64, scope: Scope, firmware: bool) -> Self {
        let mut random = Random(seed);
        let plan = Self { seed, most, rate: 768, aim: None, scope, canary: None };
        if is_long(seed) {
            return plan;
        }
        let count = cells(firmware).count() as u64;
        let place = (seed - seed / LONG) % count.max(1);
        let aim = usize::try_from(place).ok().and_then(|place| cells(firmware).nth(place));
        // Most runs lie about little else, so that it is clear what a finding comes from.
        // A workload that was not made for this makes few calls.
        let rate = random.below(if scope == Scope::All { 64 } else { 512 });
        // The second time round at the first chance: some calls are made once.
        let round = (seed - seed / LONG) / count.max(1);
        let after = if round.is_multiple_of(2) { random.below(12) } else { 0 };
        Self { most: most.min(200), rate, aim: aim.map(|cell| (cell, after)), ..plan }
    }
}

/// Whether this seed's plan is a long one.
#[must_use]
pub fn is_long(seed: u64) -> bool {
    seed % LONG == LONG - 1
}

/// SplitMix64 (Steele, Lea, Flood, 2014): a number from each seed, for choices that are to come again.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A place among so many.
    pub(crate) fn place(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }
}

/// A Keep to attack.
pub struct Attack<'a> {
    /// What is launched, each time.
    pub launch: &'a Launch,
    /// What it is given; its streams are not used: there is no input, and output is hashed.
    pub host: &'a dyn Fn() -> Host,
    /// On simulated SEV-SNP firmware, or on none.
    pub firmware: Option<Arc<Amd>>,
    /// How long a run may take.
    pub patience: Duration,
}

/// What happened.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub end: Result<End, RunError>,
    /// It did not, in time; whether all its processors waited for the host.
    pub late: Option<Waiting>,
    /// SHA-256 over standard output and error, as they came.
    pub output: [u8; 32],
    /// What the liar did and found.
    pub told: Told,
}

/// What a Keep did that did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Every processor waited for something of the host's.
    ForTheHost,
    /// Some processor ran.
    ForNothing,
}

/// What a liar did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Lies.
    pub lies: u64,
    /// Calls of the ring.
    pub calls: u64,
    /// Words changed while they could be read; they are not counted as lies.
    pub rewrites: u64,
    /// How often in each cell.
    pub cells: Vec<(Cell, u64)>,
    /// What no Keep may do.
    pub broken: Option<Broken>,
}

impl Told {
    fn about(&self, word: Start) -> bool {
        self.cells.iter().any(|(cell, _)| cell.row == Row::Start(word))
    }
}

/// What no Keep may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// It went on after a result that cannot be true.
    #[error("it believed a result that cannot be true: {0}")]
    Believed(Cell),
    /// It ended as if nothing had been, after what must end it.
    #[error("it went on to its end after what must end it: {0}")]
    WentOn(Cell),
    /// A canary stood in shared memory.
    #[error("a secret stands in shared memory, at {0:#x}")]
    Leaked(u64),
}

/// What a run shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it is without lies.
    Correct,
    /// The workload was told an error, and ended with one.
    Error,
    /// The Keep ended itself, or its host process ended it.
    Ended,
    /// It waits for what the host withholds. The host may; but a workload that never waits without end must not.
    Withheld,
    /// What must not be.
    Finding(String),
}

impl Attack<'_> {
    /// A run without lies.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn honest(&self) -> Result<Run, StartError> {
        self.lie(&Plan { seed: 0, most: 0, rate: 0, aim: None, scope: Scope::Guarded, canary: None })
    }

    /// A run under this plan.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn lie(&self, plan: &Plan) -> Result<Run, StartError> {
        let failed = |what| move |source: std::io::Error| StartError::System { what, source };
        let board = Board::new(plan).map_err(failed("make the liar's board"))?;
        let (output, theirs) = std::io::pipe().map_err(failed("make a pipe"))?;
        let hostile = sys::Hostile { board: board.file().map_err(failed("share the board"))?, output: theirs.into() };
        let (backend, firmware): (Arc<dyn crate::backend::Attester>, _) = match &self.firmware {
            None => (Arc::new(Nil), None),
            Some(amd) => {
                let firmware = machine::firmware::start(amd, self.launch, |guest| guest);
                let firmware = firmware.map_err(failed("start the simulated firmware"))?;
                (Arc::new(Sim::micro_vm(Arc::clone(amd))), Some(firmware))
            }
        };
        let given = sys::Given { firmware, hostile: Some(hostile), ..sys::Given::default() };
        let host = Host { stdio: Stdio::Null, ..(self.host)() };
        let running = process::start(self.launch, host, Child::Monitor(given), backend)?;
        let hashed = std::thread::spawn(move || hash(output));
        let stopper = running.stopper();
        let (done, waits) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody hears it if this panicked.
            _ = done.send(running.wait());
        });
        let (end, late) = match waits.recv_timeout(self.patience) {
            Ok(end) => (end, None),
            Err(_) => {
                let waiting = board.waiting();
                stopper.stop();
                (waits.recv().unwrap_or(Err(RunError::Stopped)), Some(waiting))
            }
        };
        let output = hashed.join().unwrap_or_default();
        Ok(Run { end, late, output, told: board.told() })
    }

    /// What protection the backend claims.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        match &self.firmware {
            None => MicroVm.name(),
            Some(_) => "sim-snp",
        }
    }
}

/// What comes, without keeping it.
fn hash(mut output: impl Read) -> [u8; 32] {
    let (mut hash, mut bytes) = (Sha256::new(), [0; 4096]);
    // An error is the end: nobody writes any more.
    while let Ok(count @ 1..) = output.read(&mut bytes) {
        hash.update(&bytes[..count]);
    }
    hash.finalize().into()
}

/// Judges a run beside an honest one.
#[must_use]
pub fn judge(honest: &Run, run: &Run) -> Outcome {
    if let Some(broken) = run.told.broken {
        return Outcome::Finding(broken.to_string());
    }
    match run.late {
        Some(Waiting::ForTheHost) => return Outcome::Withheld,
        Some(Waiting::ForNothing) => return Outcome::Finding("it neither ends nor waits for its host".to_owned()),
        None => {}
    }
    let right = |end: &End| matches!(&honest.end, Ok(honest) if honest == end) && honest.output == run.output;
    match &run.end {
        Ok(end) if right(end) => Outcome::Correct,
        Ok(End::Exit(0)) => Outcome::Finding("it says that all is well, and wrote something else".to_owned()),
        Ok(End::Exit(_) | End::Trap | End::Signal(_) | End::Refused { .. }) => Outcome::Error,
        Err(RunError::Silent(why)) if why.contains(gate::ring::FATAL[4]) || why.contains(gate::ring::FATAL[5]) => {
            Outcome::Finding(format!("the shim has a defect: {why}"))
        }
        // How a program ends that is in exec's place from the start: its own status, which nobody was told.
        Err(RunError::Silent(why)) if why.starts_with("exit status: ") || why.starts_with(sys::SIGNAL) => match &honest
            .end
        {
            Err(RunError::Silent(honest)) if honest == why => Outcome::Correct,
            Err(RunError::Silent(_)) => Outcome::Finding(format!("the program that checks itself ended with {why}")),
            _ => Outcome::Error,
        },
        Err(RunError::Full) => Outcome::Ended,
        Err(RunError::Silent(why)) if why.starts_with(ENDED) => Outcome::Ended,
        // Memory that the host said was there is not.
        Err(RunError::Silent(_) | RunError::Machine(_)) if run.told.about(Start::Memory) => Outcome::Ended,
        Err(RunError::Silent(why) | RunError::Machine(why)) => Outcome::Finding(format!("the machine ended: {why}")),
        Err(RunError::Call { .. } | RunError::Protocol(_) | RunError::Replace(_) | RunError::Start(_)) => {
            Outcome::Ended
        }
        Err(error @ (RunError::Stopped | RunError::Wait(_))) => Outcome::Finding(error.to_string()),
    }
}

/// What many runs show.
#[derive(Debug)]
pub struct Sum {
    /// How many there were.
    pub runs: u64,
    /// Lies told in them.
    pub lies: u64,
    /// Calls of the ring.
    pub calls: u64,
    /// Words changed while they could be read.
    pub rewrites: u64,
    /// Runs like the honest one.
    pub correct: u64,
    /// Runs in which the workload ended with an error.
    pub error: u64,
    /// Runs in which the Keep ended.
    pub ended: u64,
    /// Runs that waited for the host until time was up.
    pub withheld: u64,
    /// Seed of each run that was none of these, and why.
    pub findings: Vec<(u64, String)>,
    /// How often each cell of the table was lied about.
    pub cells: BTreeMap<String, u64>,
}

impl Sum {
    /// Of no runs.
    #[must_use]
    pub fn new(firmware: bool) -> Self {
        Self {
            runs: 0,
            lies: 0,
            calls: 0,
            rewrites: 0,
            correct: 0,
            error: 0,
            ended: 0,
            withheld: 0,
            findings: Vec::new(),
            cells: cells(firmware).map(|cell| (cell.to_string(), 0)).collect(),
        }
    }

    /// Judges one more.
    pub fn add(&mut self, seed: u64, honest: &Run, run: &Run) -> Outcome {
        self.runs += 1;
        self.lies += run.told.lies;
        self.calls += run.told.calls;
        self.rewrites += run.told.rewrites;
        for (cell, count) in &run.told.cells {
            *self.cells.entry(cell.to_string()).or_default() += count;
        }
        let outcome = judge(honest, run);
        match &outcome {
            Outcome::Correct => self.correct += 1,
            Outcome::Error => self.error += 1,
            Outcome::Ended => self.ended += 1,
            Outcome::Withheld => self.withheld += 1,
            Outcome::Finding(why) => self.findings.push((seed, why.clone())),
        }
        outcome
    }

    /// How many cells were lied about.
    #[must_use]
    pub fn hit(&self) -> usize {
        self.cells.values().filter(|count| **count > 0).count()
    }
}

/// How the monitor begins to say that the Keep ended itself.
pub(crate) const ENDED: &str = "it ended itself: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn run(end: Result<End, RunError>) -> Run {
        Run { end, late: None, output: [0; 32], told: Told::default() }
    }

    fn silent(why: &str) -> Result<End, RunError> {
        Err(RunError::Silent(why.to_owned()))
    }

    #[test]
    fn seeds_in_a_row_aim_at_every_cell() {
        for firmware in [false, true] {
            let count = cells(firmware).count() as u64;
            let seeds = 7 * LONG..7 * LONG + count + count / (LONG - 1) + 1;
            let mut aimed: Vec<_> = seeds
                .map(|seed| Plan::of(seed, 1000, Scope::All, firmware))
                .filter_map(|plan| plan.aim)
                .map(|(cell, _)| (cell.row.index(), cell.lie))
                .collect();
            aimed.sort_unstable();
            aimed.dedup();
            assert_eq!(aimed.len() as u64, count);
        }
    }

    #[test]
    fn a_plan_comes_again() {
        for seed in [0, 63, 64, u64::MAX] {
            assert_eq!(Plan::of(seed, 9, Scope::All, true), Plan::of(seed, 9, Scope::All, true));
        }
        assert_ne!(Plan::of(1, 9, Scope::All, true), Plan::of(2, 9, Scope::All, true));
    }

    #[test]
    fn only_four_outcomes_are_none() {
        let honest = run(Ok(End::Exit(0)));
        let judged = |end| judge(&honest, &run(end));
        assert_eq!(judged(Ok(End::Exit(0))), Outcome::Correct);
        assert_eq!(judged(Ok(End::Exit(1))), Outcome::Error);
        assert_eq!(judged(Ok(End::Trap)), Outcome::Error);
        assert_eq!(judged(silent("it ended itself: nobody heard why")), Outcome::Ended);
        assert_eq!(
            judged(silent("it ended itself: the host's answer to a call cannot be true (1 0x1)")),
            Outcome::Ended
        );
        assert_eq!(judged(silent("exit status: 3")), Outcome::Error, "nobody was told");
        let finding = |run: &Run| matches!(judge(&honest, run), Outcome::Finding(_));
        for end in [
            silent("it ended itself: a fault in ring 0, a defect: report it (5 0x0)"),
            silent("it ended itself: a panic, a defect: report it (6 0x0)"),
            silent("machine Shutdown rip 0x0"),
            Err(RunError::Stopped),
        ] {
            assert!(finding(&run(end)));
        }
        let checks_itself = run(silent("exit status: 0"));
        assert_eq!(judge(&checks_itself, &run(silent("exit status: 0"))), Outcome::Correct);
        for end in [silent("exit status: 3"), silent("signal 11 at 0x0")] {
            assert!(matches!(judge(&checks_itself, &run(end)), Outcome::Finding(_)));
        }
        assert!(finding(&Run { output: [1; 32], ..run(Ok(End::Exit(0))) }), "other output");
        assert!(finding(&Run { late: Some(Waiting::ForNothing), ..run(Err(RunError::Stopped)) }));
        let late = Run { late: Some(Waiting::ForTheHost), ..run(Err(RunError::Stopped)) };
        assert_eq!(judge(&honest, &late), Outcome::Withheld);
        let broken = Told { broken: Some(Broken::Leaked(8)), ..Told::default() };
        assert!(finding(&Run { told: broken, ..run(Ok(End::Exit(0))) }), "whatever else");
    }
}
