//! The page that says what follows the shim in memory (`spec/gate.md`, Memory at the start).
//!
//! What must hold: a plan that is read is written as the same words, so nothing of the page means nothing.

use gate::plan::{Plan, Platform, SEGMENTS, Segment, WORDS};

use crate::{Defect, Target};

pub(crate) const PLAN: Target = Target { name: "plan", reads: "gate::plan::Plan", short: 20_000, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(input.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let mut read = words;
    if defect == Defect::Planted && read[1] == 2 {
        // Planted: a platform that is none counts as one that is.
        read[1] = 1;
    }
    let Some(plan) = Plan::decode(&read) else { return vec![] };
    assert_eq!(plan.encode(), words);
    vec![plan.platform as u64]
}

fn seeds() -> Vec<Vec<u8>> {
    let segment = |n: usize| Segment { first: 8 * n as u64, pages: 8, protection: n as u64 & 7 };
    let plan = |platform| Plan {
        platform,
        free: 1 << 24,
        tables: 0x10_0000,
        count: 3,
        entry: 0x1000,
        headers: 64,
        headers_count: 4,
        segments: std::array::from_fn::<_, SEGMENTS, _>(segment),
    };
    let all = [Platform::Plain, Platform::Snp].map(|platform| plan(platform).encode());
    all.iter().map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect()).collect()
}
