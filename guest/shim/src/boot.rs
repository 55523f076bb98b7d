//! From the first instruction to the first of the program: tables, memory, and a stack as Linux gives it.
//!
//! Owns the places: program, stack, mappings, the copier's page and the shared windows lie at random addresses of the
//! program's half. Refuses a plan that is none and a memory that does not hold what was measured.

use core::sync::atomic::{AtomicU32, Ordering};

use gate::plan::{self, Plan, SHARED, start};
use gate::program::Texts;
use gate::ring::{Call, Kind};

use crate::arch::entry::Frame;
use crate::arch::{entry, pages, shared, tables, user};
use crate::attest;
use crate::host::{self, Fatal, fatal};
use crate::memory::areas::{Area, EXECUTE, READ, WRITE};
use crate::memory::space::{Measured, Space};
use crate::program::{self, Image};
use crate::syscall::{files, space};
use crate::threads;

const PAGE: u64 = plan::PAGE;

pub(crate) fn boot() -> ! {
    tables::start(0);
    // The first always may.
    _ = threads::SEATS.arrive(0);
    let mut words = [0; plan::WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = shared::plan(index);
    }
    let Some(plan) = Plan::decode(&words) else { fatal(Fatal::Start, 0) };
    let memory = shared::block().read(start::MEMORY);
    if !memory.is_multiple_of(PAGE) || memory <= plan.free || memory > SHARED {
        fatal(Fatal::Start, 1);
    }
    attest::start(plan.platform);
    let frame = {
        let mut space = space();
        space.frames.start(plan.free / PAGE, memory / PAGE);
        match place(&mut space, &plan) {
            Some(frame) => frame,
            None => fatal(Fatal::Memory, 0),
        }
    };
    let processors = shared::block().read(start::PROCESSORS);
    match u32::try_from(processors) {
        Ok(count @ 1..=MOST) => OFFERED.store(count, Ordering::Relaxed),
        _ => fatal(Fatal::Start, 4),
    }
    match shared::block().read(start::SERVED) {
        served @ 0..=1 => host::SERVED.store(served == 1, Ordering::Relaxed),
        _ => fatal(Fatal::Start, 5),
    }
    start_clock();
    entry::enter(frame)
}

#[allow(clippy::cast_possible_truncation, reason = "a small constant")]
const MOST: u32 = plan::PROCESSORS as u32;
static OFFERED: AtomicU32 = AtomicU32::new(1);

/// How many processors the host offers.
pub(crate) fn processors() -> u32 {
    OFFERED.load(Ordering::Relaxed)
}

/// Lets ring 3 make time of its own time-stamp counter, from the host's wall clock on.
fn start_clock() {
    let ticks = shared::block().read(start::TICKS);
    if !(1_000_000..=100_000_000_000).contains(&ticks) {
        fatal(Fatal::Start, 2);
    }
    let scale = (1_000_000_000_u64 << 32).checked_div(ticks).unwrap_or(0);
    let wall = host::call(&Call::new(Kind::Clock, 0)).unwrap_or(0);
    user::start_clock(scale, wall);
}

/// Puts everything at its place.
#[allow(
    clippy::arithmetic_side_effects,
    reason = "sums of constants, of fields of the measured plan, and of bounded random numbers"
)]
fn place(space: &mut Space, plan: &Plan) -> Option<Frame> {
    let base = program::base();
    pages::link(&mut space.frames, base, plan.tables, plan.count).ok()?;
    let mut end = base;
    for segment in plan.segments.iter().filter(|segment| segment.pages > 0) {
        let first = base + segment.first * PAGE;
        end = first + segment.pages * PAGE;
        let protection = u8::try_from(segment.protection).ok()?;
        space.areas.insert(Area { touched: (first, end), ..Area::new(first, end, protection) }).ok()?;
    }
    // They lie in memory before their tables.
    let first = (plan.tables - (end - base)) / PAGE;
    space.measured = Some(Measured { start: base, end, first });
    let top = program::arrange(space, end)?;
    // Code, how to make time of ticks, the latest time: neighbours, because the code finds the others from where it is.
    let own = space.areas.room(3 * PAGE, space.below)?;
    for ((page, protection), at) in user::pages().into_iter().zip([READ | EXECUTE, READ, READ | WRITE]).zip(0..) {
        space.show(own + at * PAGE, PAGE, protection, |_| page - plan::SHIM + plan::IMAGE)?;
    }
    user::PLACE.store(own, Ordering::Relaxed);
    files::place_windows(space)?;

    program::place_store(space)?;

    let (entry, headers) = (base + plan.entry, base + plan.headers);
    let image = Image { entry, headers, headers_count: plan.headers_count };
    program::stack(space, top, &image, Texts::new(b"exec\0")?, Texts::new(b"")?)
}
