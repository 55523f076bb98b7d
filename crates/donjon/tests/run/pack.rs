//! `donjon pack`: the same project gives the same digest anywhere, and the layout is what OCI tools read.

use std::path::Path;

use serde_json::{Value, json};
use workload::Digest;

use crate::support::{Input, folder, run, wat};

const MANIFEST: &str = "program = \"main.wasm\"\nargs = [\"x\"]\n[env]\nB = \"2\"\nA = \"1\"\n";

fn module() -> Vec<u8> {
    wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)
}

/// Packs the folder's project and gives the digest that was printed.
#[track_caller]
fn pack(dir: &Path, args: &[&str]) -> String {
    let ran = run(dir, [&["pack"], args].concat(), Input::Nothing);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    let digest = ran.text().strip_suffix('\n').expect("one line").to_owned();
    assert!(digest.parse::<Digest>().is_ok(), "{digest}");
    digest
}

#[test]
fn the_same_project_has_the_same_digest() {
    let first = folder(&[("Donjon.toml", MANIFEST.as_bytes()), ("main.wasm", &module())]);
    let second = folder(&[("Donjon.toml", MANIFEST.as_bytes()), ("main.wasm", &module()), ("notes.txt", b"x")]);
    let digest = pack(first.path(), &[]);
    assert_eq!(pack(first.path(), &["."]), digest);
    assert_eq!(pack(first.path(), &["Donjon.toml"]), digest);
    assert_eq!(pack(second.path(), &["--layout", "out"]), digest);
    assert_eq!(pack(Path::new("/"), &[first.path().to_str().unwrap()]), digest);

    // The text of Donjon.toml does not matter, what it says does; so does every byte of the program.
    let say = |text: &str| std::fs::write(second.path().join("Donjon.toml"), text).unwrap();
    say("# a comment\nargs = ['x']\nprogram = './main.wasm'\nenv = { A = \"1\", B = \"2\" }\n");
    assert_eq!(pack(second.path(), &[]), digest);
    say(&MANIFEST.replace("\"2\"", "\"3\""));
    assert_ne!(pack(second.path(), &[]), digest);
    say(MANIFEST);
    let other = wat(r#"(module (memory (export "memory") 2) (func (export "_start")))"#);
    std::fs::write(second.path().join("main.wasm"), other).unwrap();
    assert_ne!(pack(second.path(), &[]), digest);
}

/// The digests of `spec/package.md`, which an independent implementation would have to meet.
#[test]
fn the_digest_is_the_one_of_the_specification() {
    let dir = folder(&[("empty.wasm", &wat("(module)"))]);
    assert_eq!(
        pack(dir.path(), &["empty.wasm"]),
        "sha256:55eb3bc2ba1491113e222a7d2292f95bbab70c5ef35c203a53b3b8513bceb839"
    );
}

/// image-spec 1.1, image-layout.md: every blob under its digest, nothing else, and the index leads to all of them.
#[test]
fn the_layout_is_one_of_oci() {
    let dir = folder(&[("Donjon.toml", MANIFEST.as_bytes()), ("main.wasm", &module())]);
    let digest = pack(dir.path(), &["--layout", "out"]);
    let out = dir.path().join("out");
    let read = |path: &str| -> Value { serde_json::from_slice(&std::fs::read(out.join(path)).unwrap()).unwrap() };
    let blob = |descriptor: &Value| -> Vec<u8> {
        let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        let bytes = std::fs::read(out.join("blobs/sha256").join(digest.to_hex())).unwrap();
        assert_eq!(Digest::of(&bytes), digest);
        assert_eq!(descriptor["size"], json!(bytes.len()));
        bytes
    };

    assert_eq!(read("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }));
    let index = read("index.json");
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let [listed] = index["manifests"].as_array().unwrap().as_slice() else { panic!("one manifest: {index}") };
    assert_eq!(listed["digest"], json!(digest));
    assert_eq!(listed["mediaType"], "application/vnd.oci.image.manifest.v1+json");

    let manifest: Value = serde_json::from_slice(&blob(listed)).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.donjon.workload.v1");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.donjon.manifest.v1+json");
    assert_eq!(blob(&manifest["config"]), br#"{"args":["x"],"env":{"A":"1","B":"2"}}"#);
    let [layer] = manifest["layers"].as_array().unwrap().as_slice() else { panic!("one layer: {manifest}") };
    assert_eq!(layer["mediaType"], "application/wasm");
    assert_eq!(blob(layer), module());

    let count = |path: &str| std::fs::read_dir(out.join(path)).unwrap().count();
    assert_eq!((count("."), count("blobs"), count("blobs/sha256")), (3, 1, 3));
}

/// An existing folder's content is never mixed with a package.
#[test]
fn a_layout_does_not_overwrite() {
    let dir = folder(&[("main.wasm", &module())]);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    pack(dir.path(), &["--layout", "empty", "main.wasm"]);
    run(dir.path(), ["pack", "--layout", "empty", "main.wasm"], Input::Nothing).assert(
        125,
        "",
        "error: cannot write the image layout empty: the folder is not empty\n\
         hint: name a folder that does not exist yet\n",
    );
}
