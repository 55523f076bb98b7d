//! Shows that the same sources give the same guest: a second build of a copy of the tree, under a longer path, with
//! another CARGO_HOME with a configuration of its own and another umask, must give the same bytes as the first.
//!
//! Owns the copy and the comparison; how the guest is built stays with `guest/recipe.rs`, which both builds run.
//! The control is a third build of the copy with one byte of exec's source changed: it must give other bytes, else
//! the comparison would have compared nothing.
//!
//! Needs nothing from the network: the copy of CARGO_HOME has the packages that the first build fetched.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::call::{Call, Failed, Repository, Workspace, step};

/// The longer path, with spaces; no other place of the build has a name like it.
const ELSEWHERE: &str = "reproducible/a place with a much longer path than any checkout of this repository has";

/// What is measured, below a target directory.
const MEASURED: [&str; 2] = ["guest/x86_64-unknown-linux-musl/release/exec", "guest/x86_64-unknown-none/release/shim"];

/// The changed byte: a text of exec that is in the binary, and what becomes of it.
const CHANGED: (&str, &str, &str) = ("guest/exec/src/main.rs", "\"exec.start\"", "\"exec.starT\"");

/// Compares two builds of the guest and a third, changed one.
pub(crate) fn run(repository: &Repository) -> Result<(), Failed> {
    let elsewhere = repository.target().join(ELSEWHERE);
    let result = compare(repository, &elsewhere);
    // Gigabytes; what went wrong is in the message.
    _ = fs::remove_dir_all(repository.target().join("reproducible"));
    result
}

fn compare(repository: &Repository, elsewhere: &Path) -> Result<(), Failed> {
    let failed = |why: String| Failed {
        what: "reproducible guest".to_owned(),
        why,
        repeat: "cargo xtask reproducible".to_owned(),
    };
    let read = |target: &Path| -> Result<Vec<u8>, Failed> {
        let one = |file: &&str| {
            let path = target.join(file);
            fs::read(&path).map_err(|error| failed(format!("{}: {error}", path.display())))
        };
        Ok(MEASURED.iter().map(one).collect::<Result<Vec<_>, _>>()?.concat())
    };

    // Checking keep runs its build script, which builds the guest; a prebuilt guest would prove nothing.
    let check = ["check", "--locked", "--package", "keep"];
    repository.cargo(Workspace::Root, &check).without("DONJON_GUEST").run("first build of the guest")?;
    let first = read(repository.target())?;

    _ = fs::remove_dir_all(elsewhere);
    let copy = elsewhere.join("tree");
    let cargo_home = elsewhere.join("cargo-home");
    step("copy of the tree and of CARGO_HOME", || {
        copy_tree(repository, &copy).and_then(|()| copy_cargo_home(&cargo_home)).map_err(|e| failed(e.to_string()))
    })?;
    let target = elsewhere.join("target");
    let again = Call::new("sh", &copy)
        .arguments(&["-c", "umask 077 && exec \"$@\"", "sh", "cargo"])
        .arguments(&check)
        .env("CARGO_HOME", &cargo_home)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_NET_OFFLINE", "true")
        .without("DONJON_GUEST");
    again.run("second build of the guest: longer path, other CARGO_HOME, umask 077")?;
    let second = read(&target)?;
    if let Some(at) = difference(&first, &second) {
        let why = format!(
            "the same sources gave two guests, of {} and {} bytes, that differ first at byte {at}",
            first.len(),
            second.len()
        );
        return Err(failed(why));
    }

    let (file, from, to) = CHANGED;
    let file = copy.join(file);
    let source = fs::read_to_string(&file).map_err(|error| failed(error.to_string()))?;
    if !source.contains(from) {
        return Err(failed(format!(
            "{} has no {from} any more: name another text in xtask/src/reproducible.rs",
            file.display()
        )));
    }
    fs::write(&file, source.replacen(from, to, 1)).map_err(|error| failed(error.to_string()))?;
    again.run("control: third build, with one byte of exec's source changed")?;
    if difference(&first, &read(&target)?).is_none() {
        return Err(failed("the changed source gave the same guest: this comparison compares nothing".to_owned()));
    }
    println!("    {} bytes are equal in both builds, and other bytes after the change", first.len());
    Ok(())
}

/// What git would commit now, and nothing else: no target directory, no leftovers.
pub(crate) fn copy_tree(repository: &Repository, to: &Path) -> io::Result<()> {
    let list = Call::new("git", repository.root())
        .arguments(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output("list of the tree's files")
        .map_err(|failed| io::Error::other(format!("{}: {}", failed.what, failed.why)))?;
    for name in list.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = PathBuf::from(OsString::from_vec(name.to_vec()));
        let from = repository.root().join(&name);
        // Deleted in the work tree and still in the index.
        if !from.exists() {
            continue;
        }
        let to = to.join(&name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from, to)?;
    }
    Ok(())
}

/// Packages and index; sources are unpacked anew there. No symbolic links: a path that is resolved would lead back. The
/// configuration wants another profile, as that of anybody's machine may.
fn copy_cargo_home(to: &Path) -> io::Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let home = home.ok_or_else(|| io::Error::other("neither CARGO_HOME nor HOME is set"))?;
    fs::create_dir_all(to)?;
    let mut config = fs::read_to_string(home.join("config.toml")).unwrap_or_default();
    config.push_str("\n[profile.release]\nopt-level = 1\npanic = \"unwind\"\n");
    fs::write(to.join("config.toml"), config)?;
    for folder in ["registry/cache", "registry/index"] {
        if home.join(folder).exists() {
            copy_folder(&home.join(folder), &to.join(folder))?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The first byte at which they differ.
fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let differing = one.iter().zip(other).position(|(a, b)| a != b);
    differing.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// A tree with the real build script and a guest of a few lines, so that the lane itself is tested in seconds.
    fn tree(dir: &Path, main: &str) -> Repository {
        let real = Repository::of_this_build();
        let write = |name: &str, text: &str| {
            let file = dir.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let package = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        let lock = |name: &str| format!("version = 4\n\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
        write(".gitignore", "target/\n");
        write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"crates/keep\"]\nexclude = [\"guest\"]\n");
        write("Cargo.lock", &lock("keep"));
        write("crates/keep/Cargo.toml", &package("keep"));
        write("crates/keep/src/lib.rs", "");
        let profile = "[profile.release]\nopt-level = 3\npanic = \"abort\"\n";
        write(
            "guest/Cargo.toml",
            &format!("[workspace]\nresolver = \"3\"\nmembers = [\"exec\", \"shim\"]\n\n{profile}"),
        );
        let both = lock("exec") + "\n[[package]]\nname = \"shim\"\nversion = \"0.1.0\"\n";
        write("guest/Cargo.lock", &both);
        write("guest/shim/Cargo.toml", &package("shim"));
        let shim =
            "#![no_std]\n#![no_main]\n#[panic_handler]\nfn panic(_: &core::panic::PanicInfo) -> ! {\n    loop {}\n}\n";
        write("guest/shim/src/main.rs", shim);
        write("guest/exec/Cargo.toml", &package("exec"));
        write("guest/exec/src/main.rs", main);
        // Generated code has its own path in it, and lies in the target directory instead of the tree.
        let generate = "fn main() {\n    let out = std::path::PathBuf::from(std::env::var_os(\"OUT_DIR\").unwrap());\n    \
                        std::fs::write(out.join(\"generated.rs\"), \"fn place() -> &'static str { file!() }\").unwrap();\n}\n";
        write("guest/exec/build.rs", generate);
        fs::create_dir_all(dir.join("guest/contracts")).unwrap();
        for file in ["crates/keep/build.rs", "guest/recipe.rs", "rust-toolchain.toml"] {
            fs::copy(real.root().join(file), dir.join(file)).unwrap();
        }
        Call::new("git", dir).arguments(&["init", "--quiet"]).output("git init").unwrap();
        Repository::at(dir.to_owned(), dir.join("target"))
    }

    fn compared(main: &str) -> Result<(), Failed> {
        let dir = tempfile::tempdir().unwrap();
        run(&tree(dir.path(), main))
    }

    #[test]
    fn equal_builds_pass_and_the_changed_byte_is_seen() {
        let main = "include!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\"));\n\
                    fn main() {\n    println!(\"{} {}\", \"exec.start\", place());\n}\n";
        compared(main).unwrap();
    }

    #[test]
    fn a_guest_that_contains_its_path_is_refused() {
        let main =
            "fn main() {\n    println!(\"exec.start {}\", concat!(\"exec.start\", env!(\"CARGO_MANIFEST_DIR\")));\n}\n";
        let failed = compared(main).unwrap_err();
        assert!(failed.why.contains("differ first at byte"), "{}", failed.why);
    }

    #[test]
    fn a_change_that_does_not_reach_the_binary_is_refused() {
        let main = "fn main() {\n    // \"exec.start\"\n}\n";
        let failed = compared(main).unwrap_err();
        assert!(failed.why.contains("compares nothing"), "{}", failed.why);
    }

    /// Builds a tree with a toolchain that does not have the guest's target, and this as its `rustup`: whether it
    /// built, and what cargo said.
    fn built_without_target(rustup: &str) -> (bool, String) {
        let dir = tempfile::tempdir().unwrap();
        let repository = tree(dir.path(), "fn main() {}\n");
        let fake = dir.path().join("target/fake");
        fs::create_dir_all(fake.join("libraries")).unwrap();
        let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
        let rustc = format!(
            "case \"$*\" in\n*'target-libdir --target x86_64-unknown-linux-musl') echo \"${{0%/*}}/libraries\" ;;\n\
             *) exec {}/bin/rustc \"$@\" ;;\nesac",
            String::from_utf8(sysroot).unwrap().trim()
        );
        for (name, script) in [("rustc", rustc.as_str()), ("rustup", rustup)] {
            fs::write(fake.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(fake.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(std::iter::once(fake).chain(std::env::split_paths(&path))).unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["check", "--locked"])
            .current_dir(repository.root())
            .env("PATH", path)
            .env("CARGO_TARGET_DIR", repository.target())
            .env_remove("DONJON_GUEST")
            .output()
            .unwrap();
        (built.status.success(), String::from_utf8(built.stderr).unwrap())
    }

    #[test]
    fn a_missing_target_is_installed() {
        let (built, said) = built_without_target(
            "[ \"$*\" = 'target add x86_64-unknown-linux-musl' ] && touch \"${0%/*}/libraries/libcore.rlib\"",
        );
        assert!(built, "{said}");
        assert!(said.contains("installing the Rust target x86_64-unknown-linux-musl (once)"), "{said}");
    }

    #[test]
    fn a_missing_target_that_cannot_be_installed_is_asked_for_in_one_line() {
        for rustup in ["exit 1", "true"] {
            let (built, said) = built_without_target(rustup);
            assert!(!built, "{said}");
            let asked = "Donjon needs the Rust target x86_64-unknown-linux-musl: \
                         run `rustup target add x86_64-unknown-linux-musl` and build again";
            assert_eq!(
                said.lines().filter(|line| line.starts_with("error") && line.ends_with(asked)).count(),
                1,
                "{said}"
            );
        }
    }

    /// What is embedded has one compiler, whatever cargo was started with.
    #[test]
    fn another_toolchain_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let repository = tree(dir.path(), "fn main() {}\n");
        let pin = dir.path().join("rust-toolchain.toml");
        let pinned = fs::read_to_string(&pin).unwrap();
        fs::write(pin, pinned.replace("channel = \"", "channel = \"0.")).unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["check", "--locked"])
            .current_dir(repository.root())
            .env("CARGO_TARGET_DIR", repository.target())
            .env_remove("DONJON_GUEST")
            .output()
            .unwrap();
        let said = String::from_utf8(built.stderr).unwrap();
        assert!(!built.status.success(), "{said}");
        let line = said.lines().find(|line| line.starts_with("error")).unwrap();
        assert!(line.contains("is built with Rust 0.") && line.contains("this is rustc"), "{said}");
    }

    #[test]
    fn the_changed_text_is_in_the_real_exec() {
        let (file, from, to) = CHANGED;
        let source = fs::read_to_string(Repository::of_this_build().root().join(file)).unwrap();
        assert!(source.contains(from), "{file} has no {from}: name another text");
        assert_eq!(from.len(), to.len());
    }

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"abd"), Some(2));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
    }
}
