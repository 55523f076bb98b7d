//! What an input may cost: too much of it is found, and the longest inputs stay below it. In a process of its own, which has
//! one thread: memory is that of the process.

#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

use std::time::Duration;

use fuzz::cost::Cost;
use fuzz::drive::{Until, once, run};
use fuzz::mutate::LONGEST;
use fuzz::{Defect, TARGETS, Target};

/// No test measures time.
const LIMIT: Cost = Cost { time: Duration::MAX, ..Cost::LIMIT };

fn hungry(input: &[u8], _: Defect) -> Vec<u64> {
    drop(std::hint::black_box(vec![1_u8; input.len()]));
    vec![]
}

#[test]
fn memory_is_bounded_and_more_would_be_found() {
    let seeds = || vec![vec![], vec![0; 16 << 20], vec![0; (16 << 20) + 1]];
    let target = Target { name: "hungry", reads: "nothing", short: 3, seeds, run: hungry };
    let found = run(&target, Defect::None, 1, Until::Executions(3), Some(LIMIT)).expect_err("one byte more");
    assert_eq!((found.executions, found.input.len()), (3, (16 << 20) + 1), "{}", found.why);
    // The control.
    assert!(run(&target, Defect::None, 1, Until::Executions(3), None).is_ok());

    let mut longest = 0;
    // Keys make no difference to memory.
    for target in TARGETS.into_iter().filter(|target| !target.name.ends_with("-signed")) {
        assert!(once(&target, Defect::None, &[], None).is_ok(), "what is made once is not the first input's");
        for seed in (target.seeds)().iter().filter(|seed| seed.len() > LONGEST) {
            longest += 1;
            if let Err(why) = once(&target, Defect::None, seed, Some(LIMIT)) {
                panic!("{}: {why} with {} bytes", target.name, seed.len());
            }
        }
    }
    assert!(longest > 50, "{longest} inputs are as long as they may be");
}
