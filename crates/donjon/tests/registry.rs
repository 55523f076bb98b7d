//! What is in a registry, from the command line: pull, tag, list, delete, and pushes and pulls over a connection that breaks.

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{Input, Ran, donjon, finish, folder, wat};
use tempfile::TempDir;
use workload::Digest;

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A Drawbridge with a public and a confidential repository, and a line to it that breaks after so many bytes, again and again.
struct Site {
    dir: TempDir,
    host: String,
    pin: String,
    token: String,
    breaks: Arc<Line>,
    _drawbridge: Process,
}

/// How many bytes each connection may carry from now on, and how many were broken.
#[derive(Default)]
struct Line {
    most: AtomicU64,
    broken: AtomicU64,
}

impl Site {
    fn new() -> Self {
        let program = wat("(module (memory (export \"memory\") 1) (func (export \"_start\")))");
        let owner = format!("sha256:{}", "0".repeat(64));
        let settings = format!(
            "[repository.\"acme/web\"]\naccess = \"public\"\n\
             [repository.\"acme/shop\"]\naccess = \"confidential\"\nowner = \"{owner}\"\n"
        );
        let dir = folder(&[("drawbridge.toml", settings.as_bytes()), ("main.wasm", &program)]);
        let made = finish(donjon(dir.path(), ["drawbridge", "token", "ci", "*"]), Input::Nothing);
        std::fs::write(dir.path().join("tokens.toml"), &made.stderr).unwrap();
        let arguments = "drawbridge serve --settings drawbridge.toml --tokens tokens.toml --store store \
                         --listen 127.0.0.1:0 --tls-self-made localhost";
        let mut command = donjon(dir.path(), arguments.split_whitespace());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut fact = |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().trim().to_owned();
        let to: SocketAddr = fact("url").strip_prefix("https://").unwrap().parse().unwrap();
        let pin = fact("pin");
        let breaks = Arc::new(Line { most: u64::MAX.into(), broken: 0.into() });
        let host = line(to, Arc::clone(&breaks)).to_string();
        Self { dir, host, pin, token: made.text().trim().to_owned(), breaks, _drawbridge: Process(child) }
    }

    fn ran(&self, token: Option<&str>, line: &str) -> Ran {
        let words = line.split_whitespace().map(|word| word.replace("HOST", &self.host));
        let mut command = donjon(self.dir.path(), words);
        command.args(["--pin", &self.pin]).env("DONJON_HOME", self.dir.path().join("home"));
        if let Some(token) = token {
            command.env("DONJON_TOKEN", token);
        }
        finish(command, Input::Nothing)
    }

    #[track_caller]
    fn done(&self, line: &str) -> String {
        let ran = self.ran(Some(&self.token), line);
        assert_eq!(ran.code(), 0, "{line}: {}", ran.stderr);
        ran.text().trim().to_owned()
    }

    #[track_caller]
    fn fails(&self, token: Option<&str>, line: &str, why: &str) {
        let ran = self.ran(token, line);
        let said = ran.stderr.contains(why) && ran.stderr.contains("\nhint: ");
        assert!(ran.code() == 125 && said, "{line}: {}: {}", ran.code(), ran.stderr);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The blobs of a layout, by what they are called.
    fn blobs(&self, layout: &str) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.path(layout).join("blobs/sha256")).unwrap().map(Result::unwrap);
        let mut all: Vec<_> = entries
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    }
}

/// A line on the loopback.
fn line(to: SocketAddr, breaks: Arc<Line>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let Ok(to) = TcpStream::connect(to) else { continue };
            let left = Arc::new(AtomicU64::new(breaks.most.load(Ordering::SeqCst)));
            for (mut one, mut other) in
                [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to.try_clone().unwrap(), from)]
            {
                let (left, breaks) = (Arc::clone(&left), Arc::clone(&breaks));
                std::thread::spawn(move || {
                    let mut piece = [0; 16 * 1024];
                    while let Ok(length @ 1..) = one.read(&mut piece) {
                        let gone = left
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(length as u64));
                        if gone.is_err() {
                            breaks.broken.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        if other.write_all(&piece[..length]).is_err() {
                            break;
                        }
                    }
                    _ = one.shutdown(std::net::Shutdown::Both);
                    _ = other.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    here
}

#[test]
fn what_is_pushed_is_listed_pulled_tagged_and_deleted() {
    let site = Site::new();
    let digest = site.done("push HOST/acme/web:v1 main.wasm");
    assert_eq!(site.done("tag HOST/acme/web:v1 stable"), digest);
    assert_eq!(site.done("list HOST/acme/web"), "stable\nv1");
    assert_eq!(site.done("list HOST/acme/web --json"), r#"["stable","v1"]"#);
    let told = site.done("inspect HOST/acme/web:v1");
    assert!(told.contains(&format!("digest    {digest}")) && told.contains(", application/wasm"), "{told}");
    let told: serde_json::Value = serde_json::from_str(&site.done("inspect HOST/acme/web:v1 --json")).unwrap();
    assert_eq!((&told["digest"], &told["referrers"]), (&serde_json::json!(digest), &serde_json::json!([])));
    // By nobody in particular; what is pulled is what pack writes.
    let pulled = site.ran(None, "pull HOST/acme/web:stable pulled");
    assert_eq!((pulled.code(), pulled.text().trim()), (0, digest.as_str()), "{}", pulled.stderr);
    let packed = finish(donjon(site.dir.path(), ["pack", "main.wasm", "--layout", "packed"]), Input::Nothing);
    assert_eq!(packed.text().trim(), digest);
    assert_eq!(site.blobs("pulled"), site.blobs("packed"));
    for file in ["oci-layout", "index.json"] {
        let read = |layout: &str| std::fs::read(site.path(layout).join(file)).unwrap();
        assert_eq!(read("pulled"), read("packed"), "{file}");
    }
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(site.path("pulled/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest.as_str());
    site.done(&format!("pull HOST/acme/web@{digest} by-digest"));
    site.fails(None, "pull HOST/acme/web:stable pulled", "the folder is not empty");

    site.fails(None, "delete HOST/acme/web:v1", "wants a token");
    site.fails(Some("wrong"), "delete HOST/acme/web:v1", "wants another token");
    site.done("delete HOST/acme/web:v1");
    assert_eq!(site.done("list HOST/acme/web"), "stable");
    site.done(&format!("delete HOST/acme/web@{digest}"));
    assert_eq!(site.done("list HOST/acme/web"), "", "the tags of a manifest go with it");
    site.fails(Some(&site.token), "pull HOST/acme/web:stable gone", "not found");
    site.fails(Some(&site.token), "delete HOST/acme/web:v1", "not found");
    site.fails(Some(&site.token), "delete HOST/acme/web", "nothing is named");
    assert!(!site.path("gone").exists(), "nothing is left of a pull that found nothing");

    // What is confidential nobody pulls, writers neither, and it is said why that may be.
    let secret = site.done("push HOST/acme/shop:v1 main.wasm");
    site.fails(Some(&site.token), &format!("pull HOST/acme/shop@{secret} secret"), "not found");
    let ran = site.ran(Some(&site.token), &format!("pull HOST/acme/shop@{secret} secret"));
    assert!(ran.stderr.contains("only a Keep that satisfies the release policy"), "{}", ran.stderr);
}

#[test]
fn pushes_and_pulls_go_on_after_a_connection_broke() {
    let site = Site::new();
    // Of more than one piece on the way, and never the same.
    let noise: Vec<u8> =
        (0..6_000_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).take(6_000_000).collect();
    std::fs::write(site.path("noise"), &noise).unwrap();
    let manifest = "program = \"main.wasm\"\n[[file]]\npath = \"/noise\"\nsource = \"noise\"\n";
    std::fs::write(site.path("Donjon.toml"), manifest).unwrap();
    let broken = || site.breaks.broken.swap(0, Ordering::SeqCst);
    site.breaks.most.store(2_500_000, Ordering::SeqCst);
    let digest = site.done("push HOST/acme/web:v1 Donjon.toml");
    assert!((2..=3).contains(&broken()), "it went on, and did not begin anew");
    assert_eq!(site.done("pull HOST/acme/web:v1 pulled"), digest);
    assert!((2..=3).contains(&broken()));
    assert!(site.blobs("pulled").iter().any(|(name, bytes)| *bytes == noise && *name == Digest::of(&noise).to_hex()));

    // A pull that gave up goes on with the next command.
    site.breaks.most.store(400_000, Ordering::SeqCst);
    let part = |layout: &str| {
        let file = site.path(layout).join("blobs/sha256").join(format!("{}.part", Digest::of(&noise).to_hex()));
        std::fs::metadata(file).map_or(0, |file| file.len())
    };
    std::fs::create_dir_all(site.path("later/blobs/sha256")).unwrap();
    let begun = site.path("later/blobs/sha256").join(format!("{}.part", Digest::of(&noise).to_hex()));
    std::fs::write(&begun, &noise[..5_900_000]).unwrap();
    assert_eq!(part("later"), 5_900_000);
    assert_eq!(site.done("pull HOST/acme/web:v1 later"), digest);
    assert_eq!(broken(), 0, "what was here did not come again");
    // One that was changed meanwhile is found out, and nothing of it stays.
    std::fs::create_dir_all(site.path("bent/blobs/sha256")).unwrap();
    let mut bent = noise[..5_900_000].to_vec();
    bent[7] ^= 1;
    std::fs::write(site.path("bent/blobs/sha256").join(begun.file_name().unwrap()), bent).unwrap();
    site.fails(None, "pull HOST/acme/web:v1 bent", "cannot keep the blob");
    assert!(part("bent") == 0 && !site.path("bent/index.json").exists());
    assert!(Path::new(&site.path("later/index.json")).exists(), "control");
}
