//! The Steward as a service in a Keep on simulated SEV-SNP: what it says of itself, and what it issues.

#[path = "../../../steward/tests/support/mod.rs"]
mod world;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use identity::enrol::Challenge;
use identity::pem;
use identity::problem::Problem;
use serde_json::Value;
use steward::signer::Signatures;
use tempfile::TempDir;
use workload::Digest;

use self::world::{DAY, POLICY, World};
use crate::http::Answer;
use crate::support::{Input, component, donjon, finish, folder};

const MANIFEST: &str = r#"
[[file]]
path = "/etc/donjon/policy.toml"
source = "policy.toml"

[[file]]
path = "/etc/donjon/ark.pem"
source = "ark.pem"

[[listen]]
name = "web"
port = 0
protocol = "http"
"#;

/// It runs until it is dropped.
struct Steward {
    donjon: Child,
    address: String,
}

impl Steward {
    fn start(dir: &Path, backend: &str) -> Self {
        let mut command = donjon(dir, ["run", "--backend", backend, "--listen", "web=127.0.0.1:0"]);
        let mut donjon = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(donjon.stderr.take().unwrap());
        let mut lines = said.by_ref().lines().map(Result::unwrap);
        let address = lines.find_map(|line| line.strip_prefix("donjon: web listens on ").map(str::to_owned)).unwrap();
        // Its log has a reader as long as it runs.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Self { donjon, address }
    }

    fn ask(&self, request: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let rest = "host: x\r\nconnection: close\r\ncontent-type: application/pkcs10";
        stream
            .write_all(format!("{request} HTTP/1.1\r\n{rest}\r\ncontent-length: {length}\r\n\r\n").as_bytes())
            .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    #[track_caller]
    fn json(&self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), b"");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        _ = self.donjon.kill();
        _ = self.donjon.wait();
    }
}

fn project(world: &World, policy: &str) -> TempDir {
    let component = component("steward-component", "steward_component.wasm");
    let ark = std::fs::read(world.folder.path().join("ark.pem")).unwrap();
    let policy = policy.replace("{owner}", &world.owner_digest().to_string());
    let manifest = format!("program = {component:?}\n{MANIFEST}");
    folder(&[("Donjon.toml", manifest.as_bytes()), ("policy.toml", policy.as_bytes()), ("ark.pem", &ark)])
}

fn started(backend: &str) -> (World, TempDir, Steward) {
    let world = World::new();
    let dir = project(&world, POLICY);
    let steward = Steward::start(dir.path(), backend);
    (world, dir, steward)
}

fn anchor(trust: &Value) -> Digest {
    trust["keys"][0]["donjon.anchor"].as_str().unwrap().parse().unwrap()
}

#[test]
fn its_hardware_says_by_which_policy_and_with_which_key_it_issues() {
    let (world, dir, steward) = started("sim-snp");
    let trust = steward.json("/trust?nonce=00ff17");

    let verified = |trust: &Value, arguments: &[&str]| {
        std::fs::write(dir.path().join("trust.json"), trust.to_string()).unwrap();
        let mut command = donjon(dir.path(), ["verify", "trust.json", "--insecure-root", "ark.pem"]);
        command.args(arguments);
        let ran = finish(command, Input::Nothing);
        assert_eq!(ran.code() == 0, !ran.text().contains("snp.report_data"), "{}{}", ran.text(), ran.stderr);
        ran.code() == 0
    };
    assert!(verified(&trust, &["--nonce", "00ff17"]));
    let bundle = donjon(dir.path(), ["bundle", "trust.json", "--insecure-root", "ark.pem", "--out", "own.json"]);
    assert_eq!(finish(bundle, Input::Nothing).code(), 2, "its bundle alone would not say what it is about");
    assert!(!verified(&trust, &["--nonce", "00ff18"]), "for somebody else");
    assert!(!verified(&trust, &[]), "for somebody");
    let mut other = trust.clone();
    other["donjon.policy"] = Digest::of(b"a milder policy").to_string().into();
    assert!(!verified(&other, &["--nonce", "00ff17"]));
    let mut other = trust.clone();
    let root = pem::decode(&world.steward.authority().root_pem()).unwrap().remove(0);
    other["keys"][0]["x5c"][0] = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, root).into();
    assert!(!verified(&other, &["--nonce", "00ff17"]), "another root");
    assert!(verified(&steward.json("/trust"), &[]), "without a nonce it is good for anybody, at any time");

    // The key is this Steward's also after its next start, and no other Steward's.
    drop(steward);
    let again = Steward::start(dir.path(), "sim-snp").json("/trust");
    assert_eq!(again["keys"], trust["keys"]);
    let milder = project(&world, &POLICY.replace("[snp]", "certificate_lifetime = \"1h\"\n\n[snp]"));
    let milder = Steward::start(milder.path(), "sim-snp").json("/trust");
    assert_ne!(anchor(&milder), anchor(&trust));
    assert_ne!(milder["donjon.policy"], trust["donjon.policy"]);
}

#[test]
fn it_issues_for_keeps_that_its_policy_takes() {
    let (world, _dir, steward) = started("sim-snp");
    let trust = steward.json("/trust");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let asking = || {
        let mut keep = world.keep();
        keep.nonce = serde_json::from_value::<Challenge>(steward.json("/nonce")).unwrap().nonce;
        keep.crl = Some(world.amd.crl_der(now - DAY, now + DAY, &[]));
        keep.brief.steward.as_mut().unwrap().anchors = vec![anchor(&trust)];
        keep
    };
    let answer = steward.ask("POST /", &asking().csr());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let chain = pem::decode(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    let keep = identity::chain::verify_chain(&chain, &[anchor(&trust)], now + 60, &Signatures).unwrap();
    assert_eq!(keep.ear.policy.to_string(), trust["donjon.policy"]);
    assert_eq!(keep.id.to_string(), "spiffe://example.org/shop/web");

    let refused = |answer: Answer| {
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, problem.status);
        problem.checks[0].id.clone()
    };
    let mut other = asking();
    other.report.measurement[0] ^= 1;
    assert_eq!(refused(steward.ask("POST /", &other.csr())), "snp.measurement.allowed");
    let mut old = asking();
    old.nonce = world.steward.nonce(now).unwrap().nonce;
    assert_eq!(refused(steward.ask("POST /", &old.csr())), "nonce.seal");
    assert_eq!(refused(steward.ask("POST /", &[0x30; 300_000])), "http.size");
    assert_eq!(refused(steward.ask("POST /nonce", b"")), "http.method");
    assert_eq!(refused(steward.ask("GET /trust?nonce=0", b"")), "http.query");
    assert_eq!(refused(steward.ask("GET /elsewhere", b"")), "http.path");
}

#[test]
fn without_hardware_it_has_no_keys_and_says_so() {
    let (_world, _dir, steward) = started("kvm");
    let answer = steward.ask("GET /nonce", b"");
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, problem.checks[0].id.as_str()), (503, "platform.keys"), "{problem}");
}
