//! The figures of `PROMISES.md` that the tree itself shows: counted again here, so that none of them grows old.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The figure of the promise whose row begins with `promise`.
fn figure(promise: &str) -> String {
    let text = fs::read_to_string(root().join("PROMISES.md")).unwrap();
    let row = text.lines().find(|line| line.strip_prefix("| ").is_some_and(|line| line.starts_with(promise)));
    let row = row.unwrap_or_else(|| panic!("PROMISES.md has no promise: {promise}"));
    row.split(" | ").nth(1).unwrap().to_owned()
}

/// Its one number, without words and separators.
fn number(promise: &str) -> usize {
    let figure = figure(promise).replace(',', "");
    let numbers: Vec<_> = figure.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).collect();
    let [number] = numbers[..] else { panic!("{promise}: {figure} is not one number") };
    number.parse().unwrap()
}

/// Every Rust source below `dir`, but nothing that was built.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn below(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    sources(&root().join(dir), &mut found);
    assert!(!found.is_empty(), "{dir}");
    found.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The files with unsafe code, as ARCHITECTURE.md allows them.
const UNSAFE: [&str; 15] = [
    "crates/keep/src/sys/filter.rs",
    "crates/keep/src/sys/memory.rs",
    "crates/keep/src/sys/mod.rs",
    "crates/keep/src/sys/monitor.rs",
    "crates/keep/src/sys/processor.rs",
    "guest/exec/src/sys/copy.rs",
    "guest/exec/src/sys/heap.rs",
    "guest/exec/src/sys/mod.rs",
    "guest/shim/src/arch/entry.rs",
    "guest/shim/src/arch/lock.rs",
    "guest/shim/src/arch/mod.rs",
    "guest/shim/src/arch/pages.rs",
    "guest/shim/src/arch/shared.rs",
    "guest/shim/src/arch/tables.rs",
    "guest/shim/src/arch/user.rs",
];

#[test]
fn the_keep_is_as_small_as_promised() {
    for (promise, dir) in [
        ("exec, own lines", "guest/exec/src"),
        ("gate, own lines", "guest/contracts/gate/src"),
        ("shim, own lines", "guest/shim/src"),
    ] {
        let lines: usize = below(dir).iter().map(|text| text.lines().count()).sum();
        assert!(lines < number(promise), "{promise}: {lines} lines, promised {}", figure(promise));
    }
}

/// Besides test workloads, which are anybody's programs.
#[test]
fn unsafe_code_is_where_it_was_promised() {
    let rooms = ["crates", "guest/exec", "guest/shim", "guest/contracts", "xtask"];
    let mut files = Vec::new();
    rooms.iter().for_each(|room| sources(&root().join(room), &mut files));
    let programs = ["micro_vm/programs", "hostile/victim.rs"].map(|place| root().join("crates/keep/tests").join(place));
    files.retain(|file| !programs.iter().any(|place| file.starts_with(place)));
    let keyword = ["un", "safe"].concat();
    // What follows the keyword where code is, and not a lint's name or a comment.
    let marks = [" {", " fn ", " impl ", " trait ", " extern ", "("].map(|next| format!("{keyword}{next}"));
    let code = |line: &str| !line.trim_start().starts_with("//") && marks.iter().any(|mark| line.contains(mark));
    let found = files.iter().filter(|file| fs::read_to_string(file).unwrap().lines().any(code));
    let mut found: Vec<_> = found.map(|file| file.strip_prefix(root()).unwrap().to_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, UNSAFE);
    assert_eq!(found.len(), number("files with unsafe code"));
}

#[test]
fn counts_are_those_of_the_tree() {
    assert_eq!(gate::calls::TABLE.len(), number("system calls a Keep answers"));
    assert_eq!(gate::frame::MAX, number("a message of the gate is at most"));
    for (folder, promise) in [("snp", "SEV-SNP vectors"), ("dcap", "SGX and TDX vectors"), ("azure", "Azure vectors")] {
        let vectors = fs::read_dir(root().join("spec/vectors").join(folder)).unwrap();
        let json = |entry: &std::io::Result<fs::DirEntry>| {
            entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "json")
        };
        assert_eq!(vectors.filter(json).count(), number(promise), "{promise}");
    }
}

/// A command that shows nothing is no proof.
#[test]
fn tests_that_promises_name_are_there() {
    let text = fs::read_to_string(root().join("PROMISES.md")).unwrap();
    let commands: Vec<_> = text.split('`').filter_map(|text| text.strip_prefix("cargo test -p ")).collect();
    assert!(commands.len() > 9);
    for command in commands {
        let mut words = command.split(' ');
        let package = words.next().unwrap();
        let dir = [format!("crates/{package}"), package.to_owned()].map(|dir| root().join(dir));
        let dir = dir.iter().find(|dir| dir.is_dir()).unwrap_or_else(|| panic!("{command}: no such package"));
        let mut filter = None;
        while let Some(word) = words.next() {
            if word == "--test" {
                let name = words.next().unwrap();
                let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
                assert!(places.iter().any(|file| dir.join(file).is_file()), "{command}: no such file of tests");
            } else {
                filter = Some(word);
            }
        }
        let Some(filter) = filter else { continue };
        let mut files = Vec::new();
        sources(dir, &mut files);
        let named = |file: &PathBuf| fs::read_to_string(file).unwrap().contains(&format!("fn {filter}"));
        assert!(files.iter().any(named), "{command}: no such test");
    }
}
