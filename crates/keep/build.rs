//! Builds the guest (what runs inside a Keep) and hands it to the crate as bytes.
//!
//! Owns the one way the guest is built, so that the same sources give the same bytes whoever builds them: pinned
//! toolchain, cleared environment, one profile, remapped paths. `DONJON_GUEST=DIR` takes a prebuilt `DIR/exec`.
//!
//! On a host that is not x86-64 Linux there is nothing to build: the crate compiles and says at run time that it cannot
//! start a Keep.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// What the nested cargo may see of this environment. Everything else (RUSTFLAGS, the clippy wrapper, profiles) would
/// change what is measured.
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
    let out = PathBuf::from(required("OUT_DIR")).join("exec");
    let manifest = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).expect("crates/keep lies two folders below the root").to_owned();
    println!("cargo::rustc-check-cfg=cfg(guest)");
    println!("cargo::rerun-if-env-changed=DONJON_GUEST");
    for part in ["Cargo.toml", "Cargo.lock", "exec", "contracts"] {
        println!("cargo::rerun-if-changed={}", root.join("guest").join(part).display());
    }

    if required("CARGO_CFG_TARGET_OS") != "linux" || required("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        return ExitCode::SUCCESS;
    }
    let built = match env::var_os("DONJON_GUEST") {
        Some(dir) => Ok(PathBuf::from(dir).join("exec")),
        None => target(&root).and_then(|()| build(&root, &shared_target(&out))),
    };
    let built = built.and_then(|from| {
        std::fs::copy(&from, &out).map_err(|error| format!("cannot copy the guest from {}: {error}", from.display()))
    });
    match built {
        Ok(_) => {
            println!("cargo::rustc-cfg=guest");
            println!("cargo::rustc-env=DONJON_EXEC={}", out.display());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

/// Makes sure that the toolchain has the guest's target.
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

/// Builds exec and returns where it lies.
fn build(root: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let guest = root.join("guest");
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut places = vec![(target_dir.to_owned(), "/target"), (root.to_owned(), "/donjon")];
    places.extend(cargo_home.map(|home| (home, "/cargo")));
    // Of several that match the compilers take the last, and the target directory usually lies inside the tree.
    places.sort_by_key(|(from, _)| from.as_os_str().len());
    let rustflags: Vec<OsString> = places.iter().map(|(from, to)| flag("--remap-path-prefix=", from, to)).collect();
    let mut cflags = OsString::from("-U_FORTIFY_SOURCE");
    for (from, to) in &places {
        cflags.push(" ");
        cflags.push(flag("-ffile-prefix-map=", from, to));
    }

    let status = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), &guest)
        .args(["build", "--locked", "--release", "--package", "exec", "--target", TARGET])
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(&OsString::from("\x1f")))
        .env("CC_x86_64_unknown_linux_musl", "cc")
        .env("CFLAGS_x86_64_unknown_linux_musl", cflags)
        .status();
    match status {
        Ok(status) if status.success() => Ok(target_dir.join(TARGET).join("release/exec")),
        Ok(_) => Err("the guest (guest/exec) did not build: see the messages above".to_owned()),
        Err(error) => Err(format!("cannot start cargo for the guest: {error}")),
    }
}

/// A command that sees only what [`PASSED`] lets through.
fn command(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear();
    command.envs(PASSED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command
}

fn flag(name: &str, from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// `target/guest`, the same for every profile: the guest has only one.
fn shared_target(out: &Path) -> PathBuf {
    // TARGET/PROFILE/build/PACKAGE-HASH/out/FILE
    out.ancestors().nth(5).unwrap_or(out).join("guest")
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
