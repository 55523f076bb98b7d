//! `docs/manual/failures.md` names vectors and tests for every failure: they are there, and so is every failure.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tests() -> String {
    let of = |folder: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let folders = ["tests/snp", "tests/dcap", "tests/azure", "tests/appraisal", "../steward/tests"].map(of);
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of tests"));
    let files = files.map(|file| file.expect("readable").path()).filter(|path| path.is_file());
    files.map(|path| fs::read_to_string(path).expect("text")).collect()
}

/// A failure: what happened, and what shows that it cannot happen here.
fn rows(manual: &str) -> Vec<(&str, &str)> {
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let rows = rows.filter_map(|row| Some((row.split_once(" | ")?.0, row.rsplit_once('|')?.1)));
    rows.filter(|(_, shown)| shown.trim() != "shown by").collect()
}

#[test]
fn what_the_manual_names_is_there() {
    let text = fs::read_to_string(root().join("docs/manual/failures.md")).expect("the manual");
    let tests = tests();
    let mut named = 0;
    for (what, shown) in rows(&text) {
        let names: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows it: {what}");
        for name in names {
            let there = match name.split_once('/') {
                Some(_) => root().join("spec/vectors").join(name).with_extension("json").is_file(),
                None => tests.contains(&format!("fn {name}(")),
            };
            assert!(there, "{name}");
            named += 1;
        }
    }
    assert!(named > 90, "{named}");
}

/// They are cited by their numbers.
#[test]
fn the_failures_of_others_are_numbered_and_none_is_left_out() {
    let text = fs::read_to_string(root().join("docs/manual/failures.md")).expect("the manual");
    let numbers = rows(&text).into_iter().filter_map(|(what, _)| what.split_once(". ")?.0.parse::<u32>().ok());
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=26).collect::<Vec<_>>());
    assert!(rows(&text).len() >= 26 + 15, "{}", rows(&text).len());
}
