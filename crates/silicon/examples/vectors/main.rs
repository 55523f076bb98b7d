//! Writes `spec/vectors/snp`: one JSON file a case, the same bytes every time.
//!
//! `cargo run -p silicon --example vectors`. Run it when a case is added or a byte of silicon
//! changed on purpose; `tests/vectors.rs` fails while the committed files differ from what this
//! writes. Files of cases that are gone are removed, nothing else in the folder is touched.

mod cases;

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = cases::folder();
    fs::create_dir_all(&folder)?;
    let cases = cases::all();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let known = cases.iter().any(|(name, _)| path.file_stem().is_some_and(|stem| stem == name.as_str()));
        if path.extension().is_some_and(|extension| extension == "json") && !known {
            fs::remove_file(path)?;
        }
    }
    for (name, vector) in &cases {
        fs::write(folder.join(name).with_extension("json"), vector.to_json())?;
    }
    Ok(())
}
