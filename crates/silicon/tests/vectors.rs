//! The committed vectors are what the generator writes: none stale, none missing, none left over. What they expect is
//! for `evidence` to show (`crates/evidence/tests/snp/vectors.rs`).

#[path = "../examples/vectors/cases/mod.rs"]
mod cases;

use std::collections::BTreeSet;
use std::fs;

#[test]
fn the_committed_files_are_what_the_generator_writes() {
    let cases = cases::all();
    let names: BTreeSet<String> = cases.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(names.len(), cases.len(), "two cases with one name");
    let files: BTreeSet<String> = fs::read_dir(cases::folder())
        .expect("spec/vectors/snp")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(files, names, "run: cargo run -p silicon --example vectors");
    for (name, vector) in cases {
        let file = fs::read_to_string(cases::folder().join(&name).with_extension("json")).expect("listed above");
        assert!(file == vector.to_json(), "{name} is stale; run: cargo run -p silicon --example vectors");
    }
}
