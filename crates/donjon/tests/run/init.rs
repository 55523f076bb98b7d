//! `donjon init --template`: a whole first project, and nothing written over.

use std::path::Path;

use crate::support::{Input, Ran, folder, run};

fn init(dir: &Path, template: &str) -> Ran {
    run(dir, ["init", "--owner-key", "owner.pem", "--template", template, "project"], Input::Nothing)
}

#[test]
fn a_template_is_a_whole_project() {
    let dir = folder(&[]);
    let ran = init(dir.path(), "js");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.stderr.ends_with("wrote project/Donjon.toml; project/README.md says how to build and run it\n"));
    let at = |name: &str| std::fs::read_to_string(dir.path().join("project").join(name)).unwrap();
    assert!(at("README.md").starts_with("# A service in JavaScript\n"));
    assert!(at("Donjon.toml").contains("[[listen]]") && at("app.js").contains("fetch"));
    assert!(at("wit/world.wit").contains("incoming-handler") && at(".gitignore").contains("node_modules/"));
}

#[test]
fn a_template_writes_over_nothing() {
    let dir = folder(&[]);
    std::fs::create_dir(dir.path().join("project")).unwrap();
    std::fs::write(dir.path().join("project/main.c"), "mine").unwrap();
    let ran = init(dir.path(), "c");
    assert_eq!((ran.code(), ran.text()), (125, ""));
    assert!(
        ran.stderr.ends_with(
            "error: project/main.c is there already\n\
             hint: name a new folder: `donjon init --template NAME DIR`\n"
        ),
        "{}",
        ran.stderr
    );
    assert_eq!(std::fs::read(dir.path().join("project/main.c")).unwrap(), b"mine");
    assert!(!dir.path().join("project/Donjon.toml").exists(), "a template is written whole or not at all");

    std::fs::remove_file(dir.path().join("project/main.c")).unwrap();
    assert_eq!(init(dir.path(), "c").code(), 0, "the control");
}
