//! The Steward as a process: what it issued stands in its record, also if it was killed while it was issuing.

#[path = "../../steward/tests/support/mod.rs"]
mod world;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use identity::{Algorithm, KeepCertificate, ear::Class, pem};
use serde_json::Value;
use steward::signer::Authority;
use workload::Digest;
use world::{DAY, POLICY, World};

/// A Steward that ends with the test.
struct Steward {
    child: Child,
    address: String,
    anchor: Digest,
}

impl Steward {
    /// The same each time: its keys are in the folder, and so is its record.
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.args(["steward", "serve", "--listen", "127.0.0.1:0", "--policy", "policy.toml", "--rate", "0"]);
        command.args(["--ca-key", "ca.key", "--ca-certificates", "ca.pem", "--nonce-key", "nonce.key"]);
        let mut child = command.args(["--record", "record"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut fact = |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().trim().to_owned();
        let address = fact("url").strip_prefix("http://").unwrap().to_owned();
        Self { child, address, anchor: fact("anchor").parse().unwrap() }
    }

    /// What it answers to this request; none if it is gone.
    fn post(&self, csr: &[u8]) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/pkcs10\r\ncontent-length: {}\r\n\r\n",
            csr.len()
        );
        stream.write_all(&[head.as_bytes(), csr].concat()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        Some(body.to_owned())
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

#[test]
fn rule_18_a_steward_that_is_killed_while_it_issues_has_recorded_what_it_issued() {
    const ROUNDS: usize = 5;
    const CLIENTS: usize = 8;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let world = World::build(POLICY, now);
    let folder = world.folder.path();
    let pair = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, now).unwrap();
    for (name, text) in [
        ("policy.toml", POLICY.replace("{owner}", &world.owner_digest().to_string())),
        ("nonce.key", "7".repeat(64)),
        ("ca.key", pair.key.to_string()),
        ("ca.pem", pair.certificates),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let issued = Mutex::new(BTreeSet::new());
    for round in 1..=ROUNDS {
        let steward = Steward::start(folder);
        let count = AtomicUsize::new(0);
        let client = || {
            let mut keep = world.keep_at(now);
            keep.crl = Some(world.amd.crl_der(now - DAY, now + DAY, &[]));
            keep.brief.steward.as_mut().unwrap().anchors = vec![steward.anchor];
            let csr = keep.csr();
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
            rustix::process::kill_process(
                rustix::process::Pid::from_child(&steward.child),
                rustix::process::Signal::KILL,
            )
            .unwrap();
        });
    }
    let (issued, recorded) = (issued.into_inner().unwrap(), recorded(folder));
    assert!(issued.len() >= 10 * ROUNDS, "{}", issued.len());
    assert!(issued.is_subset(&recorded), "{} of {} are missing", issued.difference(&recorded).count(), issued.len());
}
