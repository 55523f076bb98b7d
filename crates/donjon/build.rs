//! Builds the service that `donjon demo` deploys (`guest/programs/greeter`) and hands its path to the crate.
//!
//! Owns how it is built: for wasm32-wasip2, with the pinned toolchain, a cleared environment, one profile and remapped
//! paths, in `target/programs`, which every profile shares. `DONJON_PROGRAMS=DIR` takes a prebuilt
//! `DIR/wasm32-wasip2/release/greeter.wasm`.
//!
//! It is an ordinary workload, delivered and checked as any other: nothing of it is part of what is measured.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip2";

/// What the nested cargo may see of this environment. Everything else (RUSTFLAGS, the clippy wrapper, profiles) would
/// change the program's digest.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_OFFLINE",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

fn main() -> ExitCode {
    let out = PathBuf::from(required("OUT_DIR")).join("greeter.wasm");
    let manifest = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).expect("crates/donjon lies two folders below the root").to_owned();
    println!("cargo::rerun-if-env-changed=DONJON_PROGRAMS");
    // The workspace's probe is a member too, but only tests use it, and they build it.
    for part in ["Cargo.toml", "Cargo.lock", "greeter"] {
        println!("cargo::rerun-if-changed={}", root.join("guest/programs").join(part).display());
    }

    let built = match env::var_os("DONJON_PROGRAMS") {
        Some(dir) => Ok(PathBuf::from(dir).join(TARGET).join("release/greeter.wasm")),
        None => target(&root).and_then(|()| build(&root, &shared_target(&out))),
    };
    // A copy, because another build may replace the original while this one reads it.
    let copied = built.and_then(|from| {
        std::fs::copy(&from, &out).map_err(|error| format!("cannot copy the program from {}: {error}", from.display()))
    });
    match copied {
        Ok(_) => {
            println!("cargo::rustc-env=DONJON_GREETER={}", out.display());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

/// Makes sure that the toolchain has the program's target.
fn target(root: &Path) -> Result<(), String> {
    let installed = || {
        let found = command("rustc", root).args(["--print", "target-libdir", "--target", TARGET]).output();
        found.is_ok_and(|found| {
            Path::new(String::from_utf8_lossy(&found.stdout).trim())
                .read_dir()
                .is_ok_and(|mut dir| dir.next().is_some())
        })
    };
    if installed() {
        return Ok(());
    }
    println!("cargo::warning=installing the Rust target {TARGET} (once)");
    let added = command("rustup", root).args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) && installed() {
        return Ok(());
    }
    Err(format!("Donjon needs the Rust target {TARGET}: run `rustup target add {TARGET}` and build again"))
}

/// Builds the program and returns where it lies.
fn build(root: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut places = vec![(target_dir.to_owned(), "/target"), (root.to_owned(), "/donjon")];
    places.extend(cargo_home.map(|home| (home, "/cargo")));
    // Of several that match the compilers take the last, and the target directory usually lies inside the tree.
    places.sort_by_key(|(from, _)| from.as_os_str().len());
    let rustflags: Vec<OsString> = places
        .iter()
        .map(|(from, to)| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flag
        })
        .collect();

    let status = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), &root.join("guest/programs"))
        .args(["build", "--locked", "--release", "--package", "greeter", "--target", TARGET])
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(OsStr::new("\x1f")))
        .status();
    match status {
        Ok(status) if status.success() => Ok(target_dir.join(TARGET).join("release/greeter.wasm")),
        Ok(_) => Err("guest/programs/greeter did not build: see the messages above".to_owned()),
        Err(error) => Err(format!("cannot start cargo for guest/programs: {error}")),
    }
}

/// A command that sees only what [`PASSED`] lets through.
fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear();
    command.envs(PASSED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command
}

/// `target/programs`, the same for every profile: the programs have only one.
fn shared_target(out: &Path) -> PathBuf {
    // TARGET/PROFILE/build/PACKAGE-HASH/out/FILE
    out.ancestors().nth(5).unwrap_or(out).join("programs")
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
