//! How the build script of a host crate builds what its program embeds from the workspaces below `guest`.
//!
//! Owns the recipe: pinned toolchain, cleared environment, one profile, remapped paths, so that the same sources and the
//! same C compiler give the same bytes whoever builds them. The scripts take this file in with `#[path]`, because a build script can share
//! code with another only through a crate, and a crate for it would have to be built first, every time.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

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

/// A file that a package below `guest` gives.
pub(crate) struct Built {
    /// The package.
    pub(crate) package: &'static str,
    /// The file's name below `TARGET/release`.
    pub(crate) file: &'static str,
    /// The folder of the package's workspace, from the repository's root.
    pub(crate) workspace: &'static str,
    /// The Rust target it is for.
    pub(crate) target: &'static str,
    /// Flags for the compiler, besides the recipe's.
    pub(crate) flags: &'static [&'static str],
    /// A variable that names a folder with the file in it, prebuilt, laid out as cargo lays out a target directory.
    pub(crate) prebuilt: &'static str,
}

/// Flags of the shim. Linked at its place: the host has no relocations to apply to what it measures. Ring 0 has no vector
/// registers, so cryptography is not to look for faster instructions.
#[allow(dead_code, reason = "not everybody who takes this in builds a shim")]
pub(crate) const SHIM: &[&str] = &[
    "-Crelocation-model=static",
    "--cfg=aes_backend=\"soft\"",
    "--cfg=polyval_backend=\"soft\"",
    "--cfg=sha2_backend=\"soft\"",
];

/// The end of a build script.
pub(crate) fn done(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

/// Builds a file that depends on these `sources` of its workspace, into the given folder of cargo's target directory, and
/// tells the crate by the variable `tells` where it is.
pub(crate) fn embed(built: &Built, sources: &[&str], folder: &str, tells: &str) -> Result<PathBuf, String> {
    let manifest = PathBuf::from(required("CARGO_MANIFEST_DIR")?);
    let root = manifest.ancestors().nth(2).ok_or("the crate does not lie two folders below the root")?;
    println!("cargo::rerun-if-env-changed={}", built.prebuilt);
    for source in sources {
        println!("cargo::rerun-if-changed={}", root.join(built.workspace).join(source).display());
    }
    let out = PathBuf::from(required("OUT_DIR")?);
    // TARGET/PROFILE/build/PACKAGE-HASH/out; every profile shares the folder.
    let targets = out.ancestors().nth(4).ok_or("OUT_DIR does not lie in a target directory")?;
    let from = built.get(root, &targets.join(folder))?;
    // A copy, because another build may replace the original while this one reads it.
    let copy = out.join(built.file);
    std::fs::copy(&from, &copy).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    println!("cargo::rustc-env={tells}={}", copy.display());
    Ok(copy)
}

impl Built {
    /// The prebuilt file, or the one that is built now in the target directory `targets`.
    pub(crate) fn get(&self, root: &Path, targets: &Path) -> Result<PathBuf, String> {
        let targets = match env::var_os(self.prebuilt) {
            Some(prebuilt) => PathBuf::from(prebuilt),
            None => {
                ensure_toolchain(root)?;
                self.ensure_target(root)?;
                self.build(root, targets)?;
                targets.to_owned()
            }
        };
        Ok(targets.join(self.target).join("release").join(self.file))
    }

    /// Makes sure that the toolchain has the target.
    fn ensure_target(&self, root: &Path) -> Result<(), String> {
        let target = self.target;
        let installed = || {
            let found = command("rustc", root).args(["--print", "target-libdir", "--target", target]).output();
            found.is_ok_and(|found| {
                Path::new(String::from_utf8_lossy(&found.stdout).trim())
                    .read_dir()
                    .is_ok_and(|mut folder| folder.next().is_some())
            })
        };
        if installed() {
            return Ok(());
        }
        println!("cargo::warning=installing the Rust target {target} (once)");
        let added = command("rustup", root).args(["target", "add", target]).status();
        if added.is_ok_and(|status| status.success()) && installed() {
            return Ok(());
        }
        Err(format!("Donjon needs the Rust target {target}: run `rustup target add {target}` and build again"))
    }

    fn build(&self, root: &Path, targets: &Path) -> Result<(), String> {
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let mut places = vec![(targets.to_owned(), "/target"), (root.to_owned(), "/donjon")];
        places.extend(cargo_home.map(|home| (home, "/cargo")));
        // Of several that match the compilers take the last, and the target directory usually lies inside the tree.
        places.sort_by_key(|(from, _)| from.as_os_str().len());
        let remapped = |flag: &str| -> Vec<OsString> {
            let join = |(from, to): &(PathBuf, &str)| {
                OsString::from_iter([flag.as_ref(), from.as_os_str(), "=".as_ref(), to.as_ref()])
            };
            places.iter().map(join).collect()
        };
        // Shell quoting, because a path may have spaces.
        let mut rustflags = remapped("--remap-path-prefix=");
        rustflags.extend(self.flags.iter().map(OsString::from));
        let cflags =
            remapped("-ffile-prefix-map=").iter().fold(OsString::from("-U_FORTIFY_SOURCE"), |mut all, flag| {
                all.extend([OsStr::new(" '"), flag, OsStr::new("'")]);
                all
            });

        let workspace = root.join(self.workspace);
        let target = self.target.replace('-', "_");
        let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), &workspace);
        cargo
            .args(["build", "--locked", "--release", "--package", self.package, "--target", self.target])
            .env("CARGO_TARGET_DIR", targets)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(OsStr::new("\x1f")))
            // Build scripts that ask for the commit of a tree around them would put it into what they build.
            .env("GIT_DIR", "/dev/null")
            .envs(profile(&workspace)?);
        if self.target.contains("-linux-") {
            cargo
                .env(format!("CC_{target}"), "cc")
                .env(format!("CFLAGS_{target}"), cflags)
                .env("CC_SHELL_ESCAPED_FLAGS", "1")
                .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase()), "cc");
        }
        let status = cargo.status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(format!("{}/{} did not build: see the messages above", self.workspace, self.package)),
            Err(error) => Err(format!("cannot start cargo for {}: {error}", workspace.display())),
        }
    }
}

/// Makes sure that the compiler is the pinned one, which `cargo +other` and a cargo without rustup set aside.
fn ensure_toolchain(root: &Path) -> Result<(), String> {
    let pinned = setting(&root.join("rust-toolchain.toml"), "[toolchain]", "channel")?;
    let found =
        command("rustc", root).arg("--version").output().map_err(|error| format!("cannot start rustc: {error}"))?;
    let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if found.split(' ').nth(1) == Some(&pinned) {
        return Ok(());
    }
    Err(format!(
        "what Donjon embeds is built with Rust {pinned}, and this is {found}: build with cargo of rustup, without `+`"
    ))
}

/// The workspace's release profile as the environment that no configuration file of this machine overrides.
fn profile(workspace: &Path) -> Result<Vec<(String, String)>, String> {
    let settings = section(&workspace.join("Cargo.toml"), "[profile.release]")?;
    let name = |key: &str| format!("CARGO_PROFILE_RELEASE_{}", key.to_uppercase().replace('-', "_"));
    Ok(settings.into_iter().map(|(key, value)| (name(&key), value)).collect())
}

fn setting(file: &Path, header: &str, key: &str) -> Result<String, String> {
    let found = section(file, header)?.into_iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value).ok_or_else(|| format!("{} has no {key}", file.display()))
}

/// The `key = value` lines below a header of one of our own files, which say nothing in any other form.
fn section(file: &Path, header: &str) -> Result<Vec<(String, String)>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let lines = text.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('['));
    let pair = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    };
    Ok(lines.filter_map(pair).collect())
}

/// A command that sees only what [`PASSED`] lets through.
fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear();
    command.envs(PASSED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command
}

fn required(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}
