//! A short run of each target, the same each time; and each planted defect is found, else the run shows nothing.

#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

use fuzz::drive::{Until, once, run};
use fuzz::{Defect, TARGETS};

#[test]
fn nothing_is_found() {
    for target in TARGETS {
        match run(&target, Defect::None, 1, Until::Executions(target.short), None) {
            Ok(figures) => assert!(figures.outcomes > 1, "{} does the same with every input", target.name),
            Err(finding) => panic!("{}: {} by {:02x?}", target.name, finding.why, finding.input),
        }
    }
}

#[test]
fn what_is_planted_is_found() {
    for target in TARGETS {
        for seed in 1..4 {
            let found = run(&target, Defect::Planted, seed, Until::Executions(10 * target.short), None);
            let Err(finding) = found else { panic!("{}: not found from {seed}", target.name) };
            assert_eq!(once(&target, Defect::Planted, &finding.input, None), Err(finding.why), "it can be repeated");
            // The control of the control: it is the defect.
            assert!(once(&target, Defect::None, &finding.input, None).is_ok(), "{}", target.name);
        }
    }
}

#[test]
fn a_seed_and_a_number_of_executions_do_the_same_again() {
    for target in TARGETS {
        let outcomes = || run(&target, Defect::None, 7, Until::Executions(target.short / 4), None).unwrap().outcomes;
        assert_eq!(outcomes(), outcomes(), "{}", target.name);
    }
}
