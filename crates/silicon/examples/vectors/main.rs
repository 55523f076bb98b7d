//! Writes `spec/vectors/snp` and `spec/vectors/dcap`: one JSON file a case, the same bytes every time.
//!
//! `cargo run -p silicon --example vectors`. Run it when a case is added or a byte of silicon
//! changed on purpose; `tests/vectors.rs` fails while the committed files differ from what this
//! writes. Files of cases that are gone are removed, nothing else in the folder is touched.

mod cases;
mod dcap;

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let snp: Vec<_> = cases::all().into_iter().map(|(name, vector)| (name, vector.to_json())).collect();
    let dcap: Vec<_> = dcap::all().into_iter().map(|(name, vector)| (name, vector.to_json())).collect();
    write(&cases::folder(), &snp)?;
    write(&dcap::folder(), &dcap)
}

fn write(folder: &Path, files: &[(String, String)]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let known = files.iter().any(|(name, _)| path.file_stem().is_some_and(|stem| stem == name.as_str()));
        if path.extension().is_some_and(|extension| extension == "json") && !known {
            fs::remove_file(path)?;
        }
    }
    for (name, text) in files {
        fs::write(folder.join(name).with_extension("json"), text)?;
    }
    Ok(())
}
