//! Appraisals as one form for every TEE: the reference that is made of the tables, and every key of a policy, both ways.

#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod enarx;
mod file;
#[path = "../../examples/reference/pages.rs"]
mod pages;
mod policy;
#[path = "../support/mod.rs"]
mod support;

/// Ids are published: each once, and each with a word for everybody.
#[test]
fn every_check_has_an_id_of_its_own_and_a_remedy() {
    let mut ids: Vec<_> = evidence::appraisal::rules().map(|rule| rule.id).collect();
    assert!(evidence::appraisal::rules().all(|rule| !rule.meaning.is_empty() && !rule.source.is_empty()));
    assert!(evidence::appraisal::rules().all(|rule| !rule.remedy.is_empty()));
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn the_reference_is_what_the_tables_say() {
    for (name, text) in pages::all() {
        let file = std::fs::read_to_string(pages::folder().join(name)).unwrap_or_default();
        assert!(file == text, "docs/reference/{name} is stale; run: cargo run -p evidence --example reference");
    }
}
