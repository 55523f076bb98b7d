//! The driver: changed inputs for one target until there are enough or one of them shows a defect.
//!
//! Owns the corpus of a run. An input stays in it if something happened that had not happened before, so that what is deep
//! behind a valid header is reached step by step. Seeds that are longer than any change makes are given as they are, once,
//! and only where it matters what they cost.
//!
//! Invariant: memory is bounded by `KEPT` inputs and what a target tells apart, and what happens depends on the seed alone;
//! only what it may cost, where that is said, depends on the machine.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::cost::Cost;
use crate::mutate::{LONGEST, Random, mutate};
use crate::{Defect, Target};

/// The most inputs of a corpus.
const KEPT: usize = 4096;

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So many executions.
    Executions(u64),
    /// So long.
    Elapsed(Duration),
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Figures {
    /// How many inputs the target was given.
    pub executions: u64,
    /// How many different things happened.
    pub outcomes: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// The most that one input took.
    pub most: Cost,
}

/// An input of which the target panicked, or that took too much.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What it panicked with.
    pub why: String,
    /// How many executions it took.
    pub executions: u64,
}

/// Runs a target from a seed; each input may cost so much, if that is said.
///
/// # Errors
/// The first input of which it panicked, or that took more.
pub fn run(
    target: &Target,
    defect: Defect,
    seed: u64,
    until: Until,
    limit: Option<Cost>,
) -> Result<Figures, Box<Finding>> {
    let mut random = Random(seed);
    let (mut corpus, long): (Vec<_>, Vec<_>) = (target.seeds)().into_iter().partition(|seed| seed.len() <= LONGEST);
    let mut outcomes = HashSet::new();
    // What a target makes once is not to count as the first input's.
    _ = measured(target, defect, &[]);
    let begun = Instant::now();
    let mut figures = Figures { executions: 0, outcomes: 0, elapsed: Duration::ZERO, most: Cost::default() };
    let seeds = corpus.len();
    loop {
        let before = begun.elapsed();
        let done = match until {
            Until::Executions(most) => figures.executions >= most,
            Until::Elapsed(most) => before >= most,
        };
        if done {
            return Ok(Figures { outcomes: outcomes.len(), elapsed: before, ..figures });
        }
        // The seeds as they are come first.
        let next = usize::try_from(figures.executions).unwrap_or(usize::MAX);
        let long = if limit.is_some() { &long[..] } else { &[] };
        let as_it_is = corpus[..seeds].iter().chain(long).nth(next);
        let input = as_it_is.cloned().unwrap_or_else(|| {
            let among = if random.below(2) == 0 { seeds } else { corpus.len() };
            let mut input = corpus[random.below(among)].clone();
            let other = random.below(corpus.len());
            mutate(&mut random, &mut input, &corpus[other]);
            input
        });
        figures.executions += 1;
        let found = |why| Box::new(Finding { input: input.clone(), why, executions: figures.executions });
        let (happened, cost) = measured(target, defect, &input).map_err(found)?;
        if let Some(why) = limit.and_then(|limit| too_much(target, defect, &input, cost, limit)) {
            return Err(found(why));
        }
        figures.most = figures.most.max(cost);
        let known = outcomes.len();
        outcomes.extend(happened);
        if outcomes.len() > known && next >= seeds && input.len() <= LONGEST && corpus.len() < KEPT {
            corpus.push(input);
        }
    }
}

/// Gives a target one input; it may cost so much, if that is said.
///
/// # Errors
/// What it panicked with, or what it took.
pub fn once(target: &Target, defect: Defect, input: &[u8], limit: Option<Cost>) -> Result<Vec<u64>, String> {
    let (happened, cost) = measured(target, defect, input)?;
    match limit.and_then(|limit| too_much(target, defect, input, cost, limit)) {
        Some(why) => Err(why),
        None => Ok(happened),
    }
}

fn measured(target: &Target, defect: Defect, input: &[u8]) -> Result<(Vec<u64>, Cost), String> {
    let (happened, cost) = Cost::of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input, defect))));
    let happened = happened.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
    });
    Ok((happened?, cost))
}

/// Why this is too much. Time is, if it is each time: a processor has other things to do.
fn too_much(target: &Target, defect: Defect, input: &[u8], cost: Cost, limit: Cost) -> Option<String> {
    if cost.memory > limit.memory {
        return Some(format!("{} bytes of memory at once, of {}", cost.memory, limit.memory));
    }
    let slow = |cost: Cost| cost.time > limit.time;
    let again = || measured(target, defect, input).is_ok_and(|(_, cost)| slow(cost));
    (slow(cost) && again() && again()).then(|| format!("{:?} of processor time, of {:?}", cost.time, limit.time))
}
