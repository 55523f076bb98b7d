//! Software that nobody here wrote, unmodified: it accepts what a Steward issues, and rejects what it should. What is not installed is
//! skipped, and said.

mod est;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod token;
mod verifiers;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use identity::{Algorithm, ear::Class, pem};
use steward::{
    judge::Issued,
    signer::{Authority, Key},
};
use support::{DAY, POLICY, World};
use tempfile::TempDir;

/// Those programs read the system's clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Where a program is installed; says so if it is not, which `DONJON_REQUIRE` makes a failure.
#[allow(clippy::print_stderr, reason = "a skip must be seen")]
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has what administrators and PostgreSQL run.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let postgresql = versions.map(|version| version.path().join("bin"));
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]).chain(postgresql);
    let found = folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()));
    if found.is_none() {
        let required = std::env::var("DONJON_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item == program));
        assert!(!required, "DONJON_REQUIRE names {program}, and there is none");
        eprintln!("skipped: {program}: not installed");
    }
    found
}

fn has(program: &str) -> bool {
    find(program).is_some()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Standard output, with standard error where it failed.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A Keep that got its certificate today, and the files that other software wants of it.
struct Party {
    folder: TempDir,
    issued: Issued,
}

impl Party {
    /// Of a world of its own: nobody who believes another one's root believes this.
    fn new() -> Self {
        let now = now();
        let world = World::build(POLICY, now);
        let mut keep = world.keep_at(now);
        keep.crl = Some(world.amd.crl_der(now - DAY, now + DAY, &[]));
        // A pair whose private half can be written down: those programs want a file.
        let pair = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], now).unwrap();
        keep.key = Key::from_pem(pair.key.as_bytes()).unwrap();
        let issued = keep.ask_at(now).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("leaf.pem", &pem::encode(&issued.chain[..1]));
        write("chain.pem", &pem::encode(&issued.chain));
        write("root.pem", &world.steward.authority().root_pem());
        write("key.pem", &pair.key);
        fs::set_permissions(folder.path().join("key.pem"), Permissions::from_mode(0o600)).unwrap();
        Self { folder, issued }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// To whoever is not root, if this is root.
    fn give_away(&self) {
        if rustix::process::geteuid().is_root() {
            let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
            files.chain([self.path().to_owned()]).for_each(|path| chown(path, Some(65_534), Some(65_534)).unwrap());
        }
    }

    /// The path of a file of it.
    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.path().join(name);
        path.display().to_string()
    }
}
