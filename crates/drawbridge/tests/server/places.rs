//! Where a Drawbridge may keep things: places of each kind, made for one test, with the servers that they take.
//!
//! Owns a PostgreSQL (of Debian) and an S3 (moto, of PyPI) on the loopback, in processes that end with the value. What is
//! not installed is skipped, and said. Invariant: two places have nothing in common, and nothing is left of either.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drawbridge::Storage;
use tempfile::TempDir;

const MOTO: &str = "5.2.5";
/// Who runs PostgreSQL if this is root, which it refuses: nobody.
const NOBODY: u32 = 65_534;

/// A place, as an operator says it.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) content: String,
    pub(crate) database: Option<String>,
    pub(crate) environment: Vec<(String, String)>,
    _servers: Vec<Server>,
    _directories: Vec<TempDir>,
}

/// A process that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    pub(crate) fn storage(&self) -> Storage {
        Storage::parse(&self.content, self.database.as_deref(), self.environment.clone()).unwrap()
    }

    /// A directory, with SQLite in it.
    pub(crate) fn directory() -> Self {
        let own = tempfile::tempdir().unwrap();
        let content = own.path().join("store").display().to_string();
        let (environment, _servers, _directories) = (vec![], vec![], vec![own]);
        Self { name: "directory and SQLite", content, database: None, environment, _servers, _directories }
    }

    /// In memory.
    pub(crate) fn memory() -> Self {
        Self { name: "memory", content: "memory:".to_owned(), ..Self::directory() }
    }

    /// A directory, and PostgreSQL.
    pub(crate) fn postgres() -> Option<Self> {
        let (url, server, data) = postgres()?;
        let mut place = Self { name: "directory and PostgreSQL", database: Some(url), ..Self::directory() };
        place._servers.push(server);
        place._directories.push(data);
        Some(place)
    }

    /// A bucket, and PostgreSQL.
    pub(crate) fn bucket() -> Option<Self> {
        let (endpoint, server) = s3()?;
        let place = Self::postgres()?;
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "somebody"),
            ("AWS_SECRET_ACCESS_KEY", "whatever"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut place =
            Self { name: "S3 and PostgreSQL", content: "s3://blobs/below".to_owned(), environment, ..place };
        place._servers.push(server);
        Some(place)
    }
}

#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn skip(what: &str, why: &str) {
    let required = std::env::var("DONJON_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item == what));
    assert!(!required, "DONJON_REQUIRE names {what}: {why}");
    eprintln!("skipped: {what}: {why}");
}

/// Where the programs of PostgreSQL are.
pub(crate) fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).find(|folder| folder.join("initdb").is_file())
}

fn postgres() -> Option<(String, Server, TempDir)> {
    let Some(folder) = postgresql() else {
        skip("postgresql", "not installed");
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let command = |program: &str| {
        let mut command = Command::new(folder.join(program));
        command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    if root {
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let data = home.path().join("data");
    // It syncs nothing: here it is processes that die, not machines.
    let made = command("initdb").arg("-D").arg(&data).args(["-U", "donjon", "-A", "trust", "--no-sync"]).status();
    assert!(made.unwrap().success(), "initdb");
    let address = free();
    let mut server = command("postgres");
    server.arg("-D").arg(&data).args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"]);
    server.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=100"]);
    let server = Server(server.spawn().unwrap());
    answers(address);
    Some((format!("postgres://donjon@{address}/postgres"), server, home))
}

fn s3() -> Option<(String, Server)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tools/moto-{MOTO}"));
    let program = folder.join("bin/moto_server");
    // Its own name is the last thing that pip writes.
    if !program.is_file() {
        let python = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let python = python.is_ok_and(|made| made.status.success());
        let pip = || {
            let mut pip = Command::new(folder.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", &format!("moto[server]=={MOTO}")]);
            pip.output().is_ok_and(|installed| installed.status.success())
        };
        if !python || !pip() {
            skip("pypi", "moto cannot be installed: it takes python3 with venv, and PyPI");
            return None;
        }
    }
    let address = free();
    let mut server = Command::new(program);
    server.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Server(server);
    let mut stream = answers(address);
    write!(stream, "PUT /blobs HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Some((format!("http://{address}"), server))
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for a server that will come; the limit only ends a test that has failed anyway.
fn answers(address: SocketAddr) -> TcpStream {
    for _ in 0..600 {
        if let Ok(stream) = TcpStream::connect(address) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nobody answers at {address}");
}
