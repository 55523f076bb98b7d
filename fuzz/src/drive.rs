//! The driver: changed inputs for one target until there are enough or one of them shows a defect.
//!
//! Owns the corpus of a run. An input stays in it if something happened that had not happened before, so that what is deep
//! behind a valid header is reached step by step.
//!
//! Invariant: memory is bounded by `KEPT` inputs and what a target tells apart, and what happens depends on the seed alone.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutate};
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
    /// How long the slowest input took.
    pub slowest: Duration,
}

/// An input of which the target panicked.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What it panicked with.
    pub why: String,
    /// How many executions it took.
    pub executions: u64,
}

/// Runs a target from a seed.
///
/// # Errors
/// The first input of which it panicked.
pub fn run(target: &Target, defect: Defect, seed: u64, until: Until) -> Result<Figures, Box<Finding>> {
    let mut random = Random(seed);
    let mut corpus = (target.seeds)();
    let mut outcomes = HashSet::new();
    let begun = Instant::now();
    let mut figures = Figures { executions: 0, outcomes: 0, elapsed: Duration::ZERO, slowest: Duration::ZERO };
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
        let among = if random.below(2) == 0 { seeds } else { corpus.len() };
        let mut input = corpus[if next < seeds { next } else { random.below(among) }].clone();
        if next >= seeds {
            let other = random.below(corpus.len());
            mutate(&mut random, &mut input, &corpus[other]);
        }
        figures.executions += 1;
        let happened = once(target, defect, &input)
            .map_err(|why| Box::new(Finding { input: input.clone(), why, executions: figures.executions }))?;
        figures.slowest = figures.slowest.max(begun.elapsed() - before);
        let known = outcomes.len();
        outcomes.extend(happened);
        if outcomes.len() > known && next >= seeds && corpus.len() < KEPT {
            corpus.push(input);
        }
    }
}

/// Gives a target one input.
///
/// # Errors
/// What it panicked with.
pub fn once(target: &Target, defect: Defect, input: &[u8]) -> Result<Vec<u64>, String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input, defect))).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
    })
}
