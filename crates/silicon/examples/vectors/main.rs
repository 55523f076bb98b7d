//! Writes `spec/vectors/snp`, `spec/vectors/dcap` and `spec/vectors/azure`: one JSON file a case, the same bytes every
//! time.
//!
//! `cargo run -p silicon --example vectors`. Run it when a case is added or a byte of silicon
//! changed on purpose; `tests/vectors.rs` fails while the committed files differ from what this
//! writes. Files of cases that are gone are removed, nothing else in the folder is touched.

mod azure;
mod dcap;
mod files;
mod snp;

use std::error::Error;
use std::fs;

use files::{Folder, folders};

fn main() -> Result<(), Box<dyn Error>> {
    folders().iter().try_for_each(write)
}

fn write(Folder { path: folder, cases }: &Folder) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let known = cases.iter().any(|(name, _)| path.file_stem().is_some_and(|stem| stem == name.as_str()));
        if path.extension().is_some_and(|extension| extension == "json") && !known {
            fs::remove_file(path)?;
        }
    }
    for (name, text) in cases {
        fs::write(folder.join(name).with_extension("json"), text)?;
    }
    Ok(())
}
