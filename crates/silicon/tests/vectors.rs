//! The committed vectors are what the generator writes: none stale, none missing, none left over. What they expect is
//! for `evidence` to show (`crates/evidence/tests/snp/vectors.rs`, `tests/dcap/vectors.rs`).

#[path = "../examples/vectors/cases/mod.rs"]
mod cases;
#[path = "../examples/vectors/dcap/mod.rs"]
mod dcap;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn check(folder: &Path, cases: &[(String, String)]) {
    let names: BTreeSet<String> = cases.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(names.len(), cases.len(), "two cases with one name");
    let files: BTreeSet<String> = fs::read_dir(folder)
        .expect("the vectors' folder")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(files, names, "run: cargo run -p silicon --example vectors");
    for (name, text) in cases {
        let file = fs::read_to_string(folder.join(name).with_extension("json")).expect("listed above");
        assert!(file == *text, "{name} is stale; run: cargo run -p silicon --example vectors");
    }
}

#[test]
fn the_committed_files_are_what_the_generator_writes() {
    let cases: Vec<_> = cases::all().into_iter().map(|(name, vector)| (name, vector.to_json())).collect();
    check(&cases::folder(), &cases);
}

#[test]
fn so_are_those_of_quotes() {
    let cases: Vec<_> = dcap::all().into_iter().map(|(name, vector)| (name, vector.to_json())).collect();
    check(&dcap::folder(), &cases);
}
