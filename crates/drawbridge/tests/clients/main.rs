//! Clients of others, unmodified: they log in, push, pull back the same bytes, and are refused with a wrong token.
//!
//! Owns what they share: a server with a certificate under a CA of its own, which they verify; a line to it that counts
//! bytes; programs with an empty environment, a home of their own and a limit. Refuses to leave the loopback, but for PyPI.
//! What is not installed is skipped, and said; `DONJON_REQUIRE` makes that a failure.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod containers;
mod image;
#[path = "../key/mod.rs"]
mod key;
mod line;
mod others;
mod signed;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use drawbridge::{
    Access, Declared, Handle, Limits, Repositories, Scope, Secret, Settings, Storage, Tls, Tokens, serve,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use workload::Digest;

use crate::line::Line;

/// Seconds until a program that hangs is ended. That only ends a test that has failed anyway.
const LIMIT: &str = "240";

/// A server for one client, and that client's home. Repositories: `open/a`, `open/b` (public), `secret/a` (confidential).
struct World {
    folder: TempDir,
    line: Line,
    token: Secret,
    server: Handle,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        // Podman and buildah want paths in lower case.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("drawbridge-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
        let home = folder.path();
        // Clients look for the CA beside other files, so it lies alone.
        let (ca, tls) = certificates();
        for name in ["ca", "run", "tmp", ".config/containers"] {
            // XDG_RUNTIME_DIR is refused if others can read it.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(home.join(name)).unwrap();
        }
        fs::write(home.join("ca/ca.crt"), ca).unwrap();
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(home.join(".config/containers/policy.json"), policy).unwrap();
        fs::write(home.join("empty.conf"), "").unwrap();
        let (images, run) = (home.join("images"), home.join("run"));
        let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = {images:?}\nrunroot = {run:?}\n");
        fs::write(home.join("storage.conf"), storage).unwrap();

        let token = Secret::generate().unwrap();
        let name = |text: &str| text.parse().unwrap();
        let settings = Settings {
            tls,
            store: Storage::directory(home.join("store")),
            tokens: Tokens::parse("tokens.toml", &Tokens::entry(&"all".parse().unwrap(), &token, &[Scope::All]))
                .unwrap(),
            declared: Declared {
                repositories: Repositories::default()
                    .with(name("open/a"), Access::Public)
                    .with(name("open/b"), Access::Public)
                    .with(name("ours/a"), Access::Private)
                    .with(name("secret/a"), Access::Confidential { owner: Digest::of(b"somebody's key") }),
                ..Declared::default()
            },
            limits: Limits::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (server, line) = runtime.block_on(async {
            let server = serve(settings, TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
            let line = Line::to(server.local_addr).await;
            (server, line)
        });
        Self { folder, line, token, server, runtime }
    }

    /// `127.0.0.1:PORT`
    fn registry(&self) -> String {
        self.line.address.to_string()
    }

    /// A repository as clients write it, with what comes behind its name.
    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.line.address)
    }

    /// A login that is taken.
    fn right(&self) -> String {
        format!("anybody:{}", self.token.expose())
    }

    /// A path in the client's home.
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The folder with the CA's certificate, and nothing else.
    fn ca(&self) -> String {
        self.path("ca")
    }

    /// Runs a program to its end, in a home of its own and without anything of this environment.
    fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Ran {
        let output = self.command(program, arguments).output().unwrap();
        Ran::new(arguments, &output)
    }

    /// `timeout` ends what hangs, with the processes that it started; it ends nothing else.
    fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let home = self.folder.path();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", LIMIT]).arg(program).args(arguments).current_dir(home).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home);
        command.env("TMPDIR", home.join("tmp")).env("XDG_RUNTIME_DIR", home.join("run"));
        // Not what this machine's administrator set for containers, mirrors for example.
        for name in ["CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF"] {
            command.env(name, home.join("empty.conf"));
        }
        command.env("CONTAINERS_STORAGE_CONF", home.join("storage.conf"));
        command
    }
}

/// A login with a token that the server does not know.
const WRONG: &str = "anybody:wrong";

/// How a program ended.
struct Ran {
    command: String,
    good: bool,
    /// Standard output.
    said: String,
    /// Standard error.
    errors: String,
}

impl Ran {
    fn new(arguments: &[&str], output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        Self { command: arguments.join(" "), good: output.status.success(), said, errors }
    }

    /// What it said; it must have succeeded.
    #[track_caller]
    fn good(self) -> String {
        assert!(self.good, "{}: {}{}", self.command, self.said, self.errors);
        self.said
    }

    /// It must have failed, and said one of these. A control stands beside each call.
    #[track_caller]
    fn refused(self, reasons: &[&str]) {
        let text = self.said + &self.errors;
        assert!(!self.good, "{}: not refused: {text}", self.command);
        assert!(reasons.iter().any(|reason| text.contains(reason)), "{}: {text}", self.command);
    }
}

/// A CA's certificate in PEM, and a server at 127.0.0.1 with a certificate of it.
fn certificates() -> (String, Tls) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
    let root_key = KeyPair::generate().unwrap();
    let ca = root.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    server.distinguished_name = rcgen::DistinguishedName::new();
    server.use_authority_key_identifier_extension = true;
    let server = server.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let chain = identity::pem::encode(&[server.der()]);
    let key = identity::pem::encode_key(&key.serialize_der());
    (identity::pem::encode(&[ca.der()]), Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap())
}

/// Where a program is installed.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has what administrators run.
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()));
    if found.is_none() {
        skip(program, "not installed");
    }
    found
}

/// Says that a test cannot do its work here; a failure if `DONJON_REQUIRE` names `what`.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn skip(what: &str, why: &str) {
    let required = std::env::var("DONJON_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == what));
    assert!(!required, "DONJON_REQUIRE names {what}: {why}");
    eprintln!("skipped: {what}: {why}");
}

/// Programs that need an administrator are not tried without.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// A file's bytes.
fn read(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}
