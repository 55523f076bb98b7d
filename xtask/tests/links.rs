//! Every relative link in the repository's documents leads to a file and, where it names one, to a heading of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The Markdown files that git would commit are below these.
const PLACES: [&str; 5] = ["", "spec", "docs", "crates", "sdk"];

fn documents(dir: &Path, deep: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && deep {
            documents(&path, deep, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The texts between `](` and `)` outside of code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link))
        .collect()
}

/// Headings as a browser of Markdown names them: lower case, spaces to hyphens, no other marks.
fn headings(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let name = line.trim_start_matches('#').trim().to_lowercase();
        let plain = name.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
        plain.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(heading).collect()
}

/// What is wrong with the links of `text`, which lies in `dir`.
fn broken(text: &str, dir: &Path) -> Vec<String> {
    let wrong = |link: &&str| {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = dir.join(file);
        if file.is_empty() {
            return !headings(text).contains(heading);
        }
        !target.exists()
            || !heading.is_empty() && !headings(&fs::read_to_string(target).unwrap_or_default()).contains(heading)
    };
    links(text).into_iter().filter(|link| !link.contains("://")).filter(wrong).map(str::to_owned).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for place in PLACES {
        documents(&root.join(place), !place.is_empty(), &mut found);
    }
    assert!(found.len() > 10, "{found:?}");
    for document in found {
        let text = fs::read_to_string(&document).unwrap();
        assert_eq!(broken(&text, document.parent().unwrap()), [""; 0], "{}", document.display());
    }
}

#[test]
fn a_broken_link_is_found() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = "# A b: `c`\n[ok](Cargo.toml) [ok](#a-b-c) [ok](https://nowhere.example/)\n[no](no.toml) [no](#d)\n```\n[code](x)\n```\n";
    assert_eq!(broken(text, dir), ["no.toml", "#d"]);
}
