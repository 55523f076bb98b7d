//! The targets of `fuzz` on libFuzzer. `DONJON_TARGET` names the target; everything else is libFuzzer's: `coverage FOLDER
//! -max_total_time=60`. What a panic or too much memory is found by stands in the folder it was called in.
//!
//! Invariant: targets, seeds and the limit of memory are those of `fuzz`. Counters in every branch take time, so an input
//! may take ten times as long here.

#![no_main]

use std::sync::LazyLock;

use fuzz::cost::Cost;
use fuzz::drive::once;
use fuzz::{Defect, TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("DONJON_TARGET").expect("DONJON_TARGET is the name of a target");
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of `fuzz`");
    // What it makes once is not to count as the first input's.
    _ = once(target, Defect::None, &[], None);
    target
});

fuzz_target!(|input: &[u8]| {
    let target = *TARGET;
    if let Err(why) = once(target, Defect::None, input, Some(Cost { time: 10 * Cost::LIMIT.time, ..Cost::LIMIT })) {
        panic!("{}: {why}", target.name);
    }
});
