//! The Steward as a process: what it issued stands in its record, also if it was killed while it was issuing; it reads its policy
//! again when it is told to; and it serves everybody beside those who mean it ill. `DONJON_SOAK=N` has them go on for N minutes.

#[path = "../../steward/tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use identity::{KeepCertificate, Signer as _, csr::CSR_LIMIT, pem};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{DAY, POLICY, World};
use workload::Digest;

/// A Steward that ends with the test.
struct Steward {
    child: Child,
    address: String,
    anchor: Digest,
}

impl Steward {
    /// The same each time: its keys are in the folder, and so is its record.
    fn start(folder: &Path) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_donjon")), folder).unwrap()
    }

    /// By another command, which runs what is behind it; none if it does not.
    fn start_by(mut command: Command, folder: &Path) -> Option<Self> {
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.args(["steward", "serve", "--listen", "127.0.0.1:0", "--policy", "policy.toml", "--rate", "0"]);
        command.args(["--ca-key", "ca.key", "--ca-certificates", "ca.pem", "--nonce-key", "nonce.key"]);
        let child = command.args(["--record", "record"]).spawn().unwrap();
        let mut steward = Self { child, address: String::new(), anchor: Digest::of(b"") };
        let mut lines = BufReader::new(steward.child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut fact = |name: &str| Some(lines.next()?.strip_prefix(name).unwrap().trim().to_owned());
        steward.address = fact("url")?.strip_prefix("http://").unwrap().to_owned();
        steward.anchor = fact("anchor")?.parse().unwrap();
        Some(steward)
    }

    /// What it says of itself.
    fn policy(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["policy"].as_str().unwrap().to_owned()
    }

    /// KiB that it holds.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// The chain it gives for this request; none if it is gone.
    fn post(&self, csr: &[u8]) -> Option<String> {
        let (status, body) = self.ask(csr)?;
        assert_eq!(status, "200", "{body}");
        Some(body)
    }

    /// Status and body of its answer to this request; none if it is gone.
    fn ask(&self, csr: &[u8]) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/pkcs10\r\ncontent-length: {}\r\n\r\n",
            csr.len()
        );
        stream.write_all(&[head.as_bytes(), csr].concat()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()))
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        // SIGKILL.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn recorded(folder: &Path) -> BTreeSet<String> {
    let list = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files = list(&folder.join("record/certificates")).into_iter().flat_map(|instance| list(&instance));
    // What an object store has not finished has another name.
    let texts = files.filter(|file| file.extension().is_some_and(|end| end == "jsonl")).map(fs::read_to_string);
    let lines: Vec<String> =
        texts.flat_map(|text| text.unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let serial = |line: &String| serde_json::from_str::<Value>(line).unwrap()["serial"].as_str().unwrap().to_owned();
    lines.iter().map(serial).collect()
}

fn donjon(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_donjon")).arg("steward").args(arguments).current_dir(folder).output().unwrap()
}

/// A world whose Steward can be started again and again.
fn world() -> (World, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let world = World::build(POLICY, now);
    let folder = world.folder.path();
    for (name, text) in
        [("policy.toml", POLICY.replace("{owner}", &world.owner_digest().to_string())), ("nonce.key", "7".repeat(64))]
    {
        fs::write(folder.join(name), text).unwrap();
    }
    let made = donjon(folder, &["init", "--class", "insecure", "--ca-key", "ca.key", "--ca-certificates", "ca.pem"]);
    assert!(made.status.success(), "{made:?}");
    (world, now)
}

/// A request of a good Keep, and its key.
fn request(world: &World, steward: &Steward, now: u64) -> (Vec<u8>, Vec<u8>) {
    let mut keep = world.keep_at(now);
    keep.crl = Some(world.amd.crl_der(now - DAY, now + DAY, &[]));
    keep.brief.steward.as_mut().unwrap().anchors = vec![steward.anchor];
    (keep.csr(), keep.key.spki().to_vec())
}

fn tell(steward: &Steward, signal: Signal) {
    kill_process(Pid::from_child(&steward.child), signal).unwrap();
}

#[test]
fn rule_18_a_steward_that_is_killed_while_it_issues_has_recorded_what_it_issued() {
    const ROUNDS: usize = 5;
    const CLIENTS: usize = 8;
    let (world, now) = world();
    let folder = world.folder.path();
    let issued = Mutex::new(BTreeSet::new());
    for round in 1..=ROUNDS {
        let steward = Steward::start(folder);
        let count = AtomicUsize::new(0);
        let client = || {
            let (csr, _) = request(&world, &steward, now);
            // The same request gets another certificate each time: its EAR is signed anew.
            while let Some(body) = steward.post(&csr) {
                // Cut short: nobody can use it.
                let Ok(chain) = pem::decode(&body) else { break };
                let certificate = KeepCertificate::read(&chain[0]).unwrap();
                issued.lock().unwrap().insert(hex::encode(certificate.serial));
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            while count.load(Ordering::SeqCst) < 10 * round {
                assert!(!clients.iter().all(|client| client.is_finished()), "nobody is answered");
                std::thread::sleep(Duration::from_millis(1));
            }
            tell(&steward, Signal::KILL);
        });
    }
    let (issued, recorded) = (issued.into_inner().unwrap(), recorded(folder));
    assert!(issued.len() >= 10 * ROUNDS, "{}", issued.len());
    assert!(issued.is_subset(&recorded), "{} of {} are missing", issued.difference(&recorded).count(), issued.len());
}

/// A file system of 64 KiB that nobody else sees.
#[test]
#[allow(clippy::print_stderr, reason = "a skip must be seen")]
fn rule_18_nothing_is_issued_when_the_disk_is_full() {
    let (world, now) = world();
    let folder = world.folder.path();
    fs::create_dir(folder.join("record")).unwrap();
    let mut alone = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=64k none record && exec \"$0\" \"$@\"";
    alone.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, env!("CARGO_BIN_EXE_donjon")]);
    let Some(steward) = Steward::start_by(alone, folder) else {
        return eprintln!("skipped: namespaces: nobody may mount here");
    };
    let (csr, _) = request(&world, &steward, now);
    let mut issued = BTreeSet::new();
    let full = loop {
        assert!(issued.len() < 1000, "it is never full");
        match steward.ask(&csr).unwrap() {
            (status, body) if status == "200" => {
                let chain = pem::decode(&body).unwrap();
                issued.insert(hex::encode(KeepCertificate::read(&chain[0]).unwrap().serial));
            }
            refused => break refused,
        }
    };
    assert_eq!(full.0, "503", "{}", full.1);
    assert!(full.1.contains("record.written"), "{}", full.1);
    assert!(!issued.is_empty(), "control");
    let seen = recorded(
        &Path::new("/proc").join(steward.child.id().to_string()).join("root").join(&folder.display().to_string()[1..]),
    );
    assert!(issued.is_subset(&seen), "{issued:?} {seen:?}");
}

#[test]
fn a_steward_reads_its_policy_again_when_it_is_told_to() {
    let (world, now) = world();
    let folder = world.folder.path();
    let steward = Steward::start(folder);
    let (csr, _) = request(&world, &steward, now);
    let (path, good, first) = (folder.join("policy.toml"), folder.join("good.toml"), steward.policy());
    fs::copy(&path, &good).unwrap();
    let text = fs::read_to_string(&good).unwrap();
    let after = |text: &str, before: &str| {
        fs::write(&path, text).unwrap();
        tell(&steward, Signal::HUP);
        let until = Instant::now() + Duration::from_secs(30);
        while steward.policy() == before {
            assert!(Instant::now() < until, "not read again");
            std::thread::sleep(Duration::from_millis(10));
        }
        steward.policy()
    };
    let shorter = format!("certificate_lifetime = \"1h\"\n{text}");
    let second = after(&shorter, &first);
    assert_ne!(first, second);
    // What is no policy changes nothing, and ends nothing.
    fs::write(&path, "nonsense").unwrap();
    tell(&steward, Signal::HUP);
    assert!(steward.post(&csr).is_some());
    assert_eq!(after(&text, &second), first);
}

/// What one of those does who mean it ill.
fn attack(address: &str, kind: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/pkcs10\r\ncontent-length: ";
    match kind % 5 {
        // Slow in its head.
        0 => stream.write_all(b"POST / HTTP/1.1\r\nho")?,
        // Slow in its body.
        1 => stream.write_all(format!("{post}9000\r\n\r\n0").as_bytes())?,
        // Too much.
        2 => {
            stream.write_all(format!("{post}{}\r\n\r\n", CSR_LIMIT * 4).as_bytes())?;
            stream.write_all(&vec![0x30; CSR_LIMIT * 4])?;
        }
        // Garbage that looks like a request.
        3 => stream.write_all(&[format!("{post}9000\r\n\r\n").as_bytes(), &[0x30; 9000]].concat())?,
        // No HTTP at all.
        _ => stream.write_all(&[0xff; 4096])?,
    }
    let mut answer = Vec::new();
    // Until it is sent away, or loses patience.
    _ = stream.read_to_end(&mut answer);
    if answer.starts_with(b"HTTP/1.1 200") { Err(std::io::Error::other("it was believed")) } else { Ok(()) }
}

#[test]
fn everybody_is_served_beside_as_many_who_mean_it_ill() {
    const GOOD: usize = 250;
    const BAD: usize = 250;
    let minutes = std::env::var("DONJON_SOAK").ok().and_then(|text| text.parse::<u64>().ok());
    let (world, now) = world();
    let steward = Steward::start(world.folder.path());
    let (end, issued) = (AtomicBool::new(false), AtomicUsize::new(0));
    let held = std::thread::scope(|scope| {
        for kind in 0..BAD {
            let (end, steward) = (&end, &steward);
            scope.spawn(move || {
                while !end.load(Ordering::SeqCst) {
                    match attack(&steward.address, kind) {
                        Err(error) if error.to_string() == "it was believed" => panic!("{kind}: {error}"),
                        _ => {}
                    }
                }
            });
        }
        for _ in 0..GOOD {
            scope.spawn(|| {
                while !end.load(Ordering::SeqCst) {
                    // A nonce is good for five minutes.
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().max(now);
                    let (csr, spki) = request(&world, &steward, now);
                    let body = steward.post(&csr).expect("an answer");
                    let chain = pem::decode(&body).unwrap();
                    assert_eq!(KeepCertificate::read(&chain[0]).unwrap().spki, spki, "somebody else's");
                    issued.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let held = match minutes {
            None => {
                while issued.load(Ordering::SeqCst) < 2 * GOOD {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Vec::new()
            }
            Some(minutes) => (0..minutes)
                .map(|_| {
                    std::thread::sleep(Duration::from_secs(60));
                    steward.memory()
                })
                .collect(),
        };
        end.store(true, Ordering::SeqCst);
        held
    });
    // When a quarter of the time is over, everything is warm.
    if let (Some(warm), Some(last)) = (held.get(held.len() / 4), held.last()) {
        assert!(*last < warm + 16 * 1024, "KiB: {held:?}");
    }
    assert_eq!(recorded(world.folder.path()).len(), issued.into_inner());
}

#[test]
fn init_never_writes_over_a_key_and_doctor_says_what_is_missing() {
    let (world, _) = world();
    let folder = world.folder.path();
    let key = fs::read(folder.join("ca.key")).unwrap();
    let again =
        donjon(folder, &["init", "--class", "insecure", "--ca-key", "ca.key", "--ca-certificates", "other.pem"]);
    assert_eq!(again.status.code(), Some(125));
    assert_eq!(fs::read(folder.join("ca.key")).unwrap(), key);

    let good = ["doctor", "--policy", "policy.toml", "--listen", "127.0.0.1:0", "--record", "record"];
    let keys = ["--ca-key", "ca.key", "--ca-certificates", "ca.pem", "--nonce-key", "nonce.key"];
    let well = donjon(folder, &[&good[..], &keys].concat());
    let said = String::from_utf8(well.stdout).unwrap();
    assert!(well.status.success(), "{said}");
    assert!(said.contains("it certifies any DNS name\n"), "{said}");
    for what in ["policy", "authority", "chain", "names", "key", "nonces", "https", "record", "listen", "clock"] {
        assert!(said.lines().any(|line| line.starts_with(&format!("ok      {what:<10}"))), "{what}: {said}");
    }
    // Two roots for some names, one of them not for the policy's.
    for (name, dns) in [("inside", "example.org"), ("outside", "example.com")] {
        let (key, certificates) = (format!("{name}.key"), format!("{name}.pem"));
        let ca = ["--ca-key", &key, "--ca-certificates", &certificates];
        let init = ["init", "--class", "insecure", "--dns", dns, "--dns", "example.net"];
        assert!(donjon(folder, &[&init[..], &ca].concat()).status.success());
        let ran = donjon(folder, &[&good[..], &ca].concat());
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        match name {
            "inside" => assert!(said.contains("it certifies example.net, example.org and below\n"), "{said}"),
            _ => assert!(
                said.contains("may not certify (shop.example.org, www.example.org): its name constraints permit example.com, example.net and below\nhint: "),
                "{said}"
            ),
        }
        assert_eq!(ran.status.success(), name == "inside", "{said}");
    }
    let bad = donjon(
        folder,
        &["init", "--class", "insecure", "--dns", ".example.org", "--ca-key", "k", "--ca-certificates", "c"],
    );
    assert_eq!(bad.status.code(), Some(2));
    // Each with what mends it.
    fs::write(folder.join("file"), "").unwrap();
    let steward = Steward::start(folder);
    let others = ["--ca-key", "nonce.key", "--ca-certificates", "ca.pem"];
    for (arguments, missing) in [
        (&["--policy", "none.toml"][..], "error: policy: none.toml"),
        (&["--policy", "policy.toml", "--record", "file"], "error: record: file"),
        (&["--policy", "policy.toml", "--listen", &steward.address], "error: listen: cannot listen on"),
        (&[&["--policy", "policy.toml"][..], &others].concat(), "error: keys: nonce.key"),
    ] {
        let ill = donjon(folder, &[&["doctor"], arguments].concat());
        let said = String::from_utf8(ill.stderr).unwrap();
        assert_eq!(ill.status.code(), Some(1), "{said}");
        assert!(said.contains(missing), "{missing}: {said}");
    }
}
