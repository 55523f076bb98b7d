//! The committed vectors are what the generator writes: none stale, none missing, none left over. What they expect is
//! for `evidence` to show (`crates/evidence/tests/snp/vectors.rs`, `tests/dcap/vectors.rs`,
//! `tests/azure/vectors.rs`).

#[path = "../examples/vectors/azure/mod.rs"]
mod azure;
#[path = "../examples/vectors/dcap/mod.rs"]
mod dcap;
#[path = "../examples/vectors/files.rs"]
mod files;
#[path = "../examples/vectors/snp/mod.rs"]
mod snp;

use std::collections::BTreeSet;
use std::fs;

use files::{Folder, folders};

#[test]
fn the_committed_files_are_what_the_generator_writes() {
    for Folder { path, cases } in folders() {
        let names: BTreeSet<String> = cases.iter().map(|(name, _)| format!("{name}.json")).collect();
        assert_eq!(names.len(), cases.len(), "two cases with one name");
        let files: BTreeSet<String> = fs::read_dir(&path)
            .expect("the vectors' folder")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .filter(|name| name.ends_with(".json"))
            .collect();
        assert_eq!(files, names, "run: cargo run -p silicon --example vectors");
        for (name, text) in cases {
            let file = fs::read_to_string(path.join(&name).with_extension("json")).expect("listed above");
            assert!(file == text, "{name} is stale; run: cargo run -p silicon --example vectors");
        }
    }
}
