//! Every file of real SEV-SNP, SGX and TDX evidence has a stated expectation, and meets it.
//!
//! `table.rs` says of each file what it is and what must happen; a file that lies there and is not in the table fails, and so
//! does a row of the table without a file. Real evidence is never committed; see `tests/dcap/main.rs`.

mod judge;
#[path = "../support/mod.rs"]
mod support;
mod table;

use crate::support::folder::Folder;
use std::fs;
use table::FILES;

/// The folders that are another test's, by how their names begin.
const ELSEWHERE: &[&str] = &["azure-", "cca-", "csv-", "envelopes-", "gcp-", "nitro-", "nvidia-"];

/// What only says what the others are.
const ABOUT: &[&str] = &["PROVENANCE.md", "README.md", "EXPECTED.json"];

/// `*` stands for what has no `/`.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => {
            let between = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            between.is_some_and(|between| !between.contains('/'))
        }
    }
}

/// All files that are to be in the table, as paths below the folder.
fn paths(folder: &Folder) -> Vec<String> {
    let mut folders = vec![folder.0.clone()];
    let mut paths = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&folder.0).expect("below the folder");
                paths.push(below.to_str().expect("a plain name").to_owned());
            }
        }
    }
    paths.sort();
    paths.retain(|path| !ELSEWHERE.iter().any(|prefix| path.starts_with(prefix)));
    paths.retain(|path| !ABOUT.contains(&path.rsplit('/').next().expect("a name")));
    assert!(paths.len() > 200, "{} files", paths.len());
    paths
}

#[test]
fn every_file_is_in_the_table_once_and_every_row_has_a_file() {
    let Some(folder) = Folder::open() else { return };
    let paths = paths(&folder);
    for path in &paths {
        let rows: Vec<_> = FILES.iter().filter(|row| fits(row.0, path)).map(|row| row.0).collect();
        assert_eq!(rows.len(), 1, "{path} is in {rows:?}: say in tests/inventory/table.rs what must happen with it");
    }
    for (pattern, ..) in FILES {
        assert!(paths.iter().any(|path| fits(pattern, path)), "{pattern} is there no more");
    }
}

#[test]
fn every_file_is_as_the_table_says() {
    let Some(folder) = Folder::open() else { return };
    let mut wrong = Vec::new();
    for path in paths(&folder) {
        for (_, is, why) in FILES.iter().filter(|row| fits(row.0, &path)) {
            if let Err(found) = judge::judge(&folder, &path, is) {
                wrong.push(format!("{path} ({why}): {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the table says is not said of anything: each kind of expectation refuses what is of another kind.
#[test]
fn another_file_is_not_as_the_table_says() {
    let Some(folder) = Folder::open() else { return };
    for (pattern, is, _) in FILES.iter().filter(|row| !row.0.contains('*')) {
        // None of these is expected to be anything but itself.
        for other in ["dcap-go-tdx-guest/ccel_data.dat", "amd-roots/ask_ark_milan.pem", "dcap-qvl/tdx_quote"] {
            let same = FILES.iter().any(|row| row.0 == other && row.1 == *is) || *is == table::Is::As(other);
            let foreign = matches!(is, table::Is::Foreign | table::Is::Refused(_) | table::Is::Holds(_));
            if *pattern != other && !same && !foreign {
                assert!(judge::judge(&folder, other, is).is_err(), "{other} is as {pattern}: {is:?}");
            }
        }
    }
}
