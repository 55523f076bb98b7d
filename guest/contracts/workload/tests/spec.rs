//! The specification and the code say the same: every example in `spec/manifest.md` and `spec/package.md` is run.
//!
//! Owns nothing; refuses a document whose examples the code would not accept.
#![cfg(feature = "settings")]

use workload::Manifest;
use workload::package::{Package, Program};

const MANIFEST: &str = include_str!("../../../../spec/manifest.md");
const PACKAGE: &str = include_str!("../../../../spec/package.md");

/// The contents of the code blocks that begin with this line.
fn blocks<'a>(text: &'a str, info: &str) -> Vec<&'a str> {
    let fence = format!("\n```{info}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn manifest_examples_are_accepted_and_together_use_every_key() {
    let examples = blocks(MANIFEST, "toml");
    assert_eq!(examples.len(), 18);
    for example in &examples {
        if let Err(error) = Manifest::from_toml("Donjon.toml", example) {
            panic!("{error}\n{example}");
        }
    }
    let keys = Manifest::from_toml("Donjon.toml", "no_such_key = 1").unwrap_err().hint().unwrap();
    let keys = keys.strip_prefix("known here: ").unwrap();
    for key in keys.split(", ") {
        assert!(examples.iter().any(|example| example.contains(key)), "{key} has no example");
        let said = ["`{}`", "`[{}]`", "`[[{}]]`"].iter().any(|form| MANIFEST.contains(&form.replace("{}", key)));
        assert!(said, "{key}");
    }
}

#[test]
fn the_canonical_form_of_the_whole_file() {
    let whole = blocks(MANIFEST, "toml").pop().unwrap();
    let manifest = Manifest::from_toml("Donjon.toml", whole).unwrap().for_package();
    assert_eq!(manifest.to_json().unwrap(), blocks(MANIFEST, "json")[0].trim_end().as_bytes());
}

#[test]
fn the_package_example_and_its_digest() {
    let built = Package::build(&Manifest::default(), Program::Wasm(b"\0asm\x01\0\0\0".to_vec()), vec![]).unwrap();
    let example: String = blocks(PACKAGE, "json")[0].lines().map(str::trim).collect();
    assert_eq!(built.manifest, example.as_bytes());
    assert!(PACKAGE.contains(&format!("Its digest is `{}`", built.digest)));
}
