//! What judging evidence costs on this machine: time, ours as a ratio to the bare signature checks of the same judgement,
//! that of verifiers of others as a ratio to ours, and memory. `cargo run --release -p bench-verify`.
//!
//! The floor of a row is what our own judgement asked its provider for, asked of aws-lc-rs again with nothing around it, so
//! a signature that a session spares is not in the floor either. Figures are the best of rounds that take turns: what else
//! the machine does hits all alike and is left out. Simulated evidence is that of `spec/vectors`; real evidence
//! needs `DONJON_EVIDENCE`, a folder of it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a report")]

mod floor;
mod quotes;
mod reports;

use std::alloc::System;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: cap::Cap<System> = cap::Cap::new(System, usize::MAX);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How often each takes its turn, and how long a turn is.
const ROUNDS: u32 = 25;
const TURN: Duration = Duration::from_millis(12);

/// One row of the table.
struct Row {
    name: String,
    run: Box<dyn FnMut()>,
    /// What it is compared with, by its place in the group.
    against: Option<usize>,
}

/// Rows that take turns.
#[derive(Default)]
struct Group {
    rows: Vec<Row>,
}

impl Group {
    fn add(&mut self, name: &str, against: Option<usize>, run: impl FnMut() + 'static) -> usize {
        self.rows.push(Row { name: name.to_owned(), run: Box::new(run), against });
        self.rows.len() - 1
    }

    /// A judgement of ours, and its floor before it; its place.
    fn ours(&mut self, name: &str, judge: impl Fn(&dyn evidence::Provider) + 'static) -> usize {
        let recorded = floor::Recorded::of(&judge);
        let floor = self.add(&format!("floor: {}", recorded.said()), None, move || recorded.again());
        self.add(name, Some(floor), move || judge(black_box(&evidence::AwsLc)))
    }

    fn print(mut self, title: &str) {
        let times = self.measure();
        println!("\n{title:<58}{:>10}{:>8}{:>12}{:>10}", "µs", "ratio", "allocated", "peak");
        for (row, time) in self.rows.iter_mut().zip(&times) {
            let ratio = row.against.and_then(|against| times.get(against)).map(|floor| time / floor);
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let (total, peak) = memory(&mut row.run);
            let place = if row.against.is_some() { "  " } else { "" };
            println!("{:<58}{time:>10.1}{ratio:>8}{total:>12}{peak:>10}", format!("{place}{}", row.name));
        }
    }

    /// Microseconds of each row.
    fn measure(&mut self) -> Vec<f64> {
        let mut best = vec![f64::INFINITY; self.rows.len()];
        for _ in 0..ROUNDS {
            for (row, best) in self.rows.iter_mut().zip(&mut best) {
                let start = Instant::now();
                while start.elapsed() < TURN {
                    let one = Instant::now();
                    (row.run)();
                    *best = best.min(one.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
        best
    }
}

/// Bytes that one run allocates in all, and the most that live at once above what was there before.
fn memory(run: &mut dyn FnMut()) -> (usize, usize) {
    // The allocator keeps the highest mark of the whole process: ballast up to it makes one run show how far it goes.
    let missing = ALLOCATOR.max_allocated().saturating_sub(ALLOCATOR.allocated());
    let ballast: Vec<u8> = Vec::with_capacity(missing);
    let (mark, total) = (ALLOCATOR.max_allocated(), ALLOCATOR.total_allocated());
    run();
    let found = (ALLOCATOR.total_allocated() - total, ALLOCATOR.max_allocated() - mark);
    drop(black_box(ballast));
    found
}

fn main() -> ExitCode {
    match reports::print().and_then(|()| quotes::print()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
