//! The committed vectors.

use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;

/// All of a folder of `spec/vectors`, by name, in the order of the names.
pub(crate) fn vectors<T: DeserializeOwned>(folder: &str) -> Vec<(String, T)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("spec/vectors/{folder} is committed: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let text = fs::read(path).expect("readable");
        let vector = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, vector)
    };
    paths.iter().map(read).collect()
}
