//! The files of `spec/vectors`, a folder for each kind of evidence: what must stand in them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{azure, dcap, snp};

/// One folder.
pub(crate) struct Folder {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Every case: its file's name without the extension, and the file's text.
    pub(crate) cases: Vec<(String, String)>,
}

/// All of them.
pub(crate) fn folders() -> [Folder; 3] {
    [folder("snp", &snp::all()), folder("dcap", &dcap::all()), folder("azure", &azure::all())]
}

fn folder(name: &str, vectors: &[(String, impl Serialize)]) -> Folder {
    let text = |vector| serde_json::to_string_pretty(vector).expect("strings and numbers") + "\n";
    Folder {
        path: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(name),
        cases: vectors.iter().map(|(name, vector)| (name.clone(), text(vector))).collect(),
    }
}
