//! `docs/manual/failures.md` names vectors and tests: they are there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tests() -> String {
    let folders = ["snp", "dcap"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of tests"));
    files.map(|file| fs::read_to_string(file.expect("readable").path()).expect("text")).collect()
}

#[test]
fn what_the_manual_names_is_there() {
    let text = fs::read_to_string(root().join("docs/manual/failures.md")).expect("the manual");
    let tests = tests();
    let rows = text.lines().filter_map(|line| line.strip_suffix('|')?.rsplit_once('|').map(|(_, shown)| shown));
    let mut named = 0;
    for name in rows.flat_map(|shown| shown.split('`').skip(1).step_by(2)) {
        let there = match name.split_once('/') {
            Some(_) => root().join("spec/vectors").join(name).with_extension("json").is_file(),
            None => tests.contains(&format!("fn {name}(")),
        };
        assert!(there, "{name}");
        named += 1;
    }
    assert!(named > 70, "{named}");
}
