//! `donjon collateral fetch` against services that play AMD's and Intel's on this machine: good days, bad days, and impostors; and
//! what verifier and Steward make of the folder.

#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod support;
#[path = "../../steward/tests/support/vendors.rs"]
mod vendors;
#[path = "../../steward/tests/support/mod.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evidence::appraisal::Need;
use evidence::appraisal::needs::PckCa;
use evidence::dcap::quote::Tee;
use evidence::snp::{ProductLine, Tcb};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use silicon::intel::{self, Body, Enclave, Quote, Td};
use silicon::{Amd, Product, ReportRequest};
use tempfile::TempDir;
use world::{DAY, POLICY, World};

use crate::support::{Input, Ran, evidence, run};
use crate::vendors::{Vendors, answer, vcek_of};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What a service does with a question.
#[derive(Clone)]
enum Act {
    /// What the vendor would.
    Answer,
    /// This, with these issuers; without, where there are none or the header is left out.
    Other(Vec<u8>, Option<String>),
    Status(u16, &'static str),
    /// Half of it, and the connection ends.
    Half,
    /// More and more.
    Endless,
    /// A head, and then nothing.
    Silence,
}

type Plan = dyn Fn(&Need, usize) -> Act + Send;

/// AMD's and Intel's services at one address, until it is dropped.
struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    vendors: Mutex<Vendors>,
    /// By what is asked, and how often it was before.
    plan: Mutex<Box<Plan>>,
    asked: Mutex<Vec<Need>>,
    tls: Option<Arc<rustls::ServerConfig>>,
    closed: Mutex<bool>,
}

impl Service {
    fn start() -> Self {
        Self::with(None)
    }

    fn with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            vendors: Mutex::new(Vendors::new(now() - DAY, now() + 30 * DAY)),
            plan: Mutex::new(Box::new(|_, _| Act::Answer)),
            asked: Mutex::default(),
            tls,
            closed: Mutex::new(false),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if *served.closed.lock().expect("no panic") {
                    return;
                }
                let served = Arc::clone(&served);
                thread::spawn(move || served.serve(stream.expect("a connection")));
            }
        });
        Self { address, shared }
    }

    fn plan(&self, plan: impl Fn(&Need, usize) -> Act + Send + 'static) {
        *self.shared.plan.lock().expect("no panic") = Box::new(plan);
    }

    /// What was asked since this was asked.
    fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("no panic").drain(..).map(|need| need.place()).collect()
    }

    fn vendors(&self, change: impl FnOnce(&mut Vendors)) {
        change(&mut self.shared.vendors.lock().expect("no panic"));
    }

    /// Nobody is there any more.
    fn end(&self) {
        *self.shared.closed.lock().expect("no panic") = true;
        // The thread that waits for the next one drops the listener.
        _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        *self.shared.closed.lock().expect("no panic") = true;
        _ = TcpStream::connect(self.address);
    }
}

trait Stream: std::io::Read + std::io::Write {}
impl<T: std::io::Read + std::io::Write> Stream for T {}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let connection = rustls::ServerConnection::new(Arc::clone(config)).expect("a connection");
                Box::new(rustls::StreamOwned::new(connection, stream))
            }
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).expect("text");
        let path = head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()).expect("a GET");
        let Some(need) = asked_for(path) else {
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            return;
        };
        let before = {
            let mut asked = self.asked.lock().expect("no panic");
            asked.push(need.clone());
            asked.iter().filter(|other| **other == need).count() - 1
        };
        let act = (self.plan.lock().expect("no panic"))(&need, before);
        let known = match &act {
            Act::Other(body, issuers) => Some((body.clone(), issuers.clone().unwrap_or_default())),
            _ => self.vendors.lock().expect("no panic").answer(&need),
        };
        let Some((body, issuers)) = known else {
            _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
            return;
        };
        let (body, issuers, length) = match act {
            Act::Answer | Act::Other(..) => (body.clone(), issuers, body.len()),
            Act::Half => (body[..body.len() / 2].to_vec(), issuers, body.len()),
            Act::Status(status, headers) => {
                _ = stream
                    .write_all(format!("HTTP/1.1 {status} So\r\n{headers}content-length: 4\r\n\r\nbusy").as_bytes());
                return;
            }
            Act::Endless => (vec![b' '; 1 << 20], issuers, usize::MAX / 2),
            Act::Silence => (Vec::new(), issuers, 1000),
        };
        let header = match &need {
            Need::TcbInfo { .. } => "TCB-Info-Issuer-Chain",
            Need::QeIdentity { .. } => "SGX-Enclave-Identity-Issuer-Chain",
            Need::PckList { .. } => "SGX-PCK-CRL-Issuer-Chain",
            _ => "",
        };
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n");
        if !header.is_empty() && !issuers.is_empty() {
            answer += &format!("{header}: {}\r\n", encoded(&issuers));
        }
        _ = stream.write_all(&[answer.as_bytes(), b"\r\n", &body].concat());
        _ = stream.flush();
        if length > body.len() && !body.is_empty() {
            return;
        }
        // Who has read it all, or lost patience, ends the connection.
        _ = stream.read(&mut [0]);
    }
}

/// As Intel does it.
fn encoded(pem: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    pem.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What a vendor's address means, as their documents have it.
fn asked_for(target: &str) -> Option<Need> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let values: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let level = |name: &str| values.get(name).filter(|level| level.len() >= 2).and_then(|level| level.parse().ok());
    let tee = |name: &str| if name == "tdx" { Tee::Tdx } else { Tee::Sgx };
    let line = |name: &str| ProductLine::ALL.into_iter().find(|line| line.name() == name);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    Some(match *parts.as_slice() {
        ["amd", key, "v1", of, "cert_chain"] => Need::at(&format!("amd/{}/{key}/chain.pem", line(of)?))?,
        ["amd", "vcek", "v1", of, "crl"] => Need::SnpList { line: line(of)? },
        ["amd", "vcek", "v1", of, chip] => {
            let tcb = Tcb {
                fmc: level("fmcSPL"),
                bootloader: level("blSPL")?,
                tee: level("teeSPL")?,
                snp: level("snpSPL")?,
                microcode: level("ucodeSPL")?,
            };
            Need::Vcek { line: line(of)?, chip: chip.parse().ok()?, tcb }
        }
        ["IntelSGXRootCA.der"] => Need::RootList,
        ["intel", of @ ("sgx" | "tdx"), "certification", "v4", "tcb"] => {
            let mut fmspc = [0; 6];
            hex::decode_to_slice(values.get("fmspc")?, &mut fmspc).ok()?;
            Need::TcbInfo { tee: tee(of), fmspc }
        }
        ["intel", of @ ("sgx" | "tdx"), "certification", "v4", "qe", "identity"] => Need::QeIdentity { tee: tee(of) },
        ["intel", "sgx", "certification", "v4", "pckcrl"] if values.get("encoding") == Some(&"der") => {
            let ca = PckCa::ALL.into_iter().find(|ca| Some(&ca.name()) == values.get("ca"))?;
            Need::PckList { ca }
        }
        _ => return None,
    })
}

/// A folder with evidence, roots, and the folder that is filled.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("a file");
        let intel = intel::pki::pem(&intel::Certificate::root().der());
        put("roots.pem", (Product::ALL.map(Product::ark_pem).concat() + &intel).as_bytes());
        for product in Product::ALL {
            put(product.name(), &Amd::from_seed([7; 32], product).report(&Amd::from_seed([7; 32], product).request()));
        }
        put("sgx", &quote(Body::Enclave(Enclave::new())));
        put("tdx", &quote(Body::Td(Td::new(true))));
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn kept(&self, place: &str) -> PathBuf {
        self.path().join("kept").join(place)
    }

    /// Everything in the folder, by place.
    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        fn walk(folder: &Path, root: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, root, all);
                } else {
                    let place = path.strip_prefix(root).expect("below it").display().to_string();
                    all.insert(place, fs::read(&path).expect("a file"));
                }
            }
        }
        let (root, mut all) = (self.path().join("kept"), BTreeMap::new());
        walk(&root, &root, &mut all);
        all
    }

    /// As if it had been put there two days ago.
    fn grow_old(&self) {
        for place in self.all().keys() {
            let file = File::options().append(true).open(self.kept(place)).expect("a file");
            file.set_modified(SystemTime::now() - Duration::from_secs(2 * DAY)).expect("a time");
        }
    }

    fn fetch(&self, service: &Service, args: &[&str]) -> Ran {
        let address = service.address;
        let scheme = if service.shared.tls.is_some() { "https" } else { "http" };
        let [kds, pcs, list] =
            ["amd", "intel/", "IntelSGXRootCA.der"].map(|path| format!("{scheme}://{address}/{path}"));
        let of = ["collateral", "fetch", "--to", "kept", "--insecure-root", "roots.pem"];
        let at = ["--kds", &kds, "--pcs", &pcs, "--root-list", &list];
        run(self.path(), [&of[..], &at, args].concat(), Input::Nothing)
    }

    /// With the outcome of each piece.
    #[track_caller]
    fn outcomes(&self, service: &Service, args: &[&str]) -> (i32, BTreeMap<String, String>) {
        let ran = self.fetch(service, args);
        let outcome = |line: &str| {
            let (outcome, rest) = line.split_once(' ').expect("two words");
            (rest.trim().split(',').next().expect("a place").to_owned(), outcome.to_owned())
        };
        (ran.code(), ran.text().lines().map(outcome).collect())
    }
}

fn quote(body: Body) -> Vec<u8> {
    let quote = Quote::new([3; 32], body);
    let service = intel::Service::new(false, 0, 1);
    let chain = [&quote.certificate().der(), &service.ca.der(), &service.root.der()].map(|der| intel::pki::pem(der));
    quote.bytes(&chain.concat())
}

/// What quotes of SGX and TDX of simulated platforms need.
const INTEL: [&str; 6] = [
    "intel/crl.der",
    "intel/platform/crl.der",
    "intel/sgx/qe.json",
    "intel/sgx/tcb/5d0a6f000000.json",
    "intel/tdx/qe.json",
    "intel/tdx/tcb/5d0a6f000000.json",
];

fn of_chip(product: Product) -> Vec<String> {
    let amd = Amd::from_seed([7; 32], product);
    let name = product.name();
    let vcek = vcek_of(&amd, amd.tcb()).place();
    vec![format!("amd/{name}/crl.der"), format!("amd/{name}/vcek/chain.pem"), vcek]
}

fn all_of(outcome: &str, places: &[String]) -> BTreeMap<String, String> {
    places.iter().map(|place| (place.clone(), outcome.to_owned())).collect()
}

fn everything() -> Vec<String> {
    Product::ALL.into_iter().flat_map(of_chip).chain(INTEL.map(str::to_owned)).collect()
}

const EVIDENCE: [&str; 5] = ["Milan", "Genoa", "Turin", "sgx", "tdx"];

#[test]
fn what_evidence_needs_is_fetched_once_and_evidence_is_judged_by_it() {
    let (place, service) = (Place::new(), Service::start());
    let everything = everything();
    let verify = || {
        let args = ["--insecure-root", "roots.pem", "--collateral", "kept"];
        run(place.path(), [&["verify"], &EVIDENCE[..], &args].concat(), Input::Nothing)
    };
    fs::create_dir(place.path().join("kept")).expect("a folder");
    assert_eq!(verify().code(), 1, "control: nothing is there yet");
    assert_eq!(place.outcomes(&service, &EVIDENCE), (0, all_of("fetched", &everything)));
    let mut asked = service.asked();
    // First what others are checked by.
    assert!(
        asked.iter().rposition(|asked| asked.ends_with("chain.pem"))
            < asked.iter().position(|asked| asked.contains("ucode"))
    );
    asked.sort();
    let mut sorted = everything.clone();
    sorted.sort();
    assert_eq!(asked, sorted);
    let judged = verify();
    assert_eq!(judged.code(), 0, "{}", judged.text());
    // A bundle has of the folder what its evidence needs, and is judged without it.
    let args = ["bundle", "sgx", "--insecure-root", "roots.pem", "--collateral", "kept", "--out", "bundle.json"];
    assert_eq!(run(place.path(), args, Input::Nothing).code(), 0);
    let alone = run(place.path(), ["verify", "bundle.json", "--insecure-root", "roots.pem"], Input::Nothing);
    assert_eq!(alone.code(), 0, "{}", alone.text());

    // What is new is not asked for again, with evidence and without.
    for args in [&EVIDENCE[..], &[]] {
        assert_eq!(place.outcomes(&service, args), (0, all_of("fresh", &everything)));
        assert_eq!(service.asked(), Vec::<String>::new());
    }
    assert_eq!(place.outcomes(&service, &["--force"]), (0, all_of("fetched", &everything)));
    assert_eq!(service.asked().len(), everything.len());
    // What changes is asked for a day later; a processor's certificate does not.
    place.grow_old();
    let (code, outcomes) = place.outcomes(&service, &[]);
    let fresh: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome == "fresh").map(|(place, _)| place).collect();
    assert_eq!((code, fresh.len()), (0, 3), "{outcomes:?}");
    assert!(fresh.iter().all(|place| place.contains("ucode")), "{fresh:?}");
}

/// What ends soon is asked for, however new it is.
#[test]
fn what_ends_soon_is_asked_for() {
    let (place, service) = (Place::new(), Service::start());
    service.vendors(|vendors| vendors.to = now() + DAY / 2);
    assert_eq!(place.outcomes(&service, &["sgx"]).0, 0);
    service.vendors(|vendors| vendors.to = now() + 30 * DAY);
    let (code, outcomes) = place.outcomes(&service, &["sgx"]);
    assert_eq!((code, outcomes.values().all(|outcome| outcome == "fetched")), (0, true), "{outcomes:?}");
    let (code, outcomes) = place.outcomes(&service, &["sgx"]);
    assert_eq!((code, outcomes.values().all(|outcome| outcome == "fresh")), (0, true), "{outcomes:?}");
}

#[test]
fn fleets_are_named_by_line_and_platform() {
    let (place, service) = (Place::new(), Service::start());
    let (code, outcomes) =
        place.outcomes(&service, &["--product", "milan", "--fmspc", "00606A000000", "--tdx-fmspc", "00806f050000"]);
    let places = [
        "amd/Milan/crl.der",
        "amd/Milan/vcek/chain.pem",
        "amd/Milan/vlek/chain.pem",
        "intel/crl.der",
        "intel/platform/crl.der",
        "intel/processor/crl.der",
        "intel/sgx/qe.json",
        "intel/sgx/tcb/00606a000000.json",
        "intel/tdx/qe.json",
        "intel/tdx/tcb/00806f050000.json",
    ];
    assert_eq!((code, outcomes), (0, all_of("fetched", &places.map(str::to_owned))));
}

#[test]
fn a_service_that_has_no_time_is_waited_for() {
    let (place, service) = (Place::new(), Service::start());
    service.plan(|need, before| match (need, before) {
        (Need::SnpList { .. }, 0) => Act::Status(429, "retry-after: 1\r\n"),
        (Need::SnpList { .. }, 1) => Act::Status(503, ""),
        (Need::SnpChain { .. }, 0) => Act::Status(500, ""),
        (Need::Vcek { .. }, 0) => Act::Half,
        _ => Act::Answer,
    });
    assert_eq!(place.outcomes(&service, &["Milan"]), (0, all_of("fetched", &of_chip(Product::Milan))));
    let [list, chain, vcek] = of_chip(Product::Milan).try_into().expect("three");
    assert_eq!(service.asked(), [vec![list; 3], vec![chain; 2], vec![vcek; 2]].concat());
}

/// Who is sent away for hours goes, and does not come back with the next question.
#[test]
fn a_service_that_sends_away_is_left_alone() {
    let (place, service) = (Place::new(), Service::start());
    service.plan(|need, _| match need {
        Need::SnpList { .. } => Act::Status(429, "retry-after: 86400\r\n"),
        _ => Act::Answer,
    });
    let ran = place.fetch(&service, &["Milan"]);
    assert_eq!(ran.code(), 1);
    assert_eq!(service.asked(), of_chip(Product::Milan)[..1]);
    assert!(ran.stderr.contains("429 Too Many Requests, try again after 86400 s"), "{}", ran.stderr);
    assert!(ran.stderr.contains("did not answer before"), "{}", ran.stderr);
    // One that is broken for one thing is asked for others.
    service.plan(|need, _| if matches!(need, Need::SnpList { .. }) { Act::Status(500, "") } else { Act::Answer });
    let (code, outcomes) = place.outcomes(&service, &["Milan", "--tries", "2"]);
    let outcomes: Vec<_> = outcomes.values().map(String::as_str).collect();
    assert_eq!((code, outcomes), (1, vec!["missing", "fetched", "fetched"]));
    assert_eq!(service.asked().len(), 4);
}

#[test]
fn in_an_outage_what_is_there_does_while_it_is_valid() {
    let (place, service) = (Place::new(), Service::start());
    assert_eq!(place.outcomes(&service, &EVIDENCE).0, 0);
    place.grow_old();
    let before = place.all();
    service.end();
    let ran = place.fetch(&service, &["--force", "--tries", "1"]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.text().lines().all(|line| line.starts_with("kept ") && line.contains(", until 20")), "{}", ran.text());
    assert_eq!(ran.text().lines().count(), everything().len());
    assert!(ran.stderr.contains("Connection refused"), "{}", ran.stderr);
    assert_eq!(place.all(), before);
    let args = ["verify", "sgx", "Milan", "--collateral", "kept", "--insecure-root", "roots.pem"];
    assert_eq!(run(place.path(), args, Input::Nothing).code(), 0);

    // What was never there is missing, and that is no success.
    fs::remove_file(place.kept(INTEL[2])).expect("a file");
    let (code, outcomes) = place.outcomes(&service, &["sgx", "--tries", "1"]);
    assert_eq!((code, outcomes[INTEL[2]].as_str(), outcomes[INTEL[0]].as_str()), (1, "missing", "kept"));
}

#[test]
fn what_has_expired_is_no_success() {
    let (place, service) = (Place::new(), Service::start());
    assert_eq!(place.outcomes(&service, &["Milan"]).0, 0);
    let stale = Amd::from_seed([7; 32], Product::Milan).crl_der(now() - 3 * DAY, now() - DAY, &[]);
    fs::write(place.kept("amd/Milan/crl.der"), stale).expect("a file");
    service.plan(|_, _| Act::Status(404, ""));
    let (code, outcomes) = place.outcomes(&service, &["Milan"]);
    assert_eq!((code, outcomes["amd/Milan/crl.der"].as_str()), (1, "expired"));
    service.plan(|_, _| Act::Answer);
    let (code, outcomes) = place.outcomes(&service, &["Milan"]);
    assert_eq!((code, outcomes["amd/Milan/crl.der"].as_str()), (0, "fetched"));
}

/// Whoever answers in the vendor's place.
#[test]
fn what_is_not_the_vendors_about_this_and_new_is_refused_and_what_is_there_stays() {
    let (place, service) = (Place::new(), Service::start());
    let from = now() - 2 * 3600;
    service.vendors(|vendors| (vendors.from, vendors.evaluation) = (from, 21));
    assert_eq!(place.outcomes(&service, &EVIDENCE).0, 0);
    let to = now() + 30 * DAY;
    let of = |vendors: &Vendors, place: &str| vendors.answer(&Need::at(place).expect("a place")).expect("known").0;
    let with = |from: u64, to: u64, evaluation: u32| Vendors { evaluation, ..Vendors::new(from, to) };
    let good = with(from, to, 21);
    let [list, chain, vcek] = of_chip(Product::Milan).try_into().expect("three");
    let info = INTEL[3].to_owned();
    let milan = Amd::from_seed([7; 32], Product::Milan);
    let neighbour = Amd::from_seed([8; 32], Product::Milan);
    let lower = silicon::Tcb { snp: 1, ..milan.tcb() };
    let forged = {
        let mut crl = milan.crl_der(from, to, &[]);
        *crl.last_mut().expect("bytes") ^= 1;
        crl
    };
    let other = intel::TcbInfo { fmspc: [1; 6], ..intel::TcbInfo::new(false, from, to) };
    let body = intel::TcbInfo { evaluation: 21, ..intel::TcbInfo::new(false, from, to) }.json();
    let signer = intel::Certificate::tcb_signer();
    let pem = |certificate: &intel::Certificate| intel::pki::pem(&certificate.der());
    let own = intel::Certificate { key: intel::Key::Other, signer: intel::Key::Other, ..signer.clone() };
    let impostor = intel::Certificate::root();
    let plain = |bytes: Vec<u8>| Act::Other(bytes, None);
    let chain_of = |leaf: &intel::Certificate| pem(leaf) + &pem(&intel::Certificate::root());
    let by_signer = |bytes: Vec<u8>| Act::Other(bytes, Some(chain_of(&signer)));
    let signed_by = |key| answer("tcbInfo", &body, key);
    for (piece, act, why) in [
        // About something else.
        (&list, plain(of(&good, "amd/Genoa/crl.der")), "it is about ARK-Genoa SIMULATED-PUBLIC, not about ARK-Milan"),
        (&chain, plain(of(&good, "amd/Genoa/vcek/chain.pem")), "not about SEV-Milan"),
        (&chain, plain(of(&good, "amd/Milan/vlek/chain.pem")), "not about SEV-Milan"),
        (&vcek, plain(neighbour.vcek_der(milan.tcb())), "not about amd/Milan/vcek/"),
        (&vcek, plain(milan.vcek_der(lower)), "snp01-"),
        (&info, by_signer(answer("tcbInfo", &other.json(), intel::Key::TcbSigning)), "platforms 010101010101 for SGX"),
        (&info, by_signer(of(&good, INTEL[5])), "for TDX, not about"),
        (&INTEL[2].to_owned(), by_signer(of(&good, INTEL[4])), "the quoting enclave of TDX"),
        (&INTEL[1].to_owned(), by_signer(of(&good, "intel/processor/crl.der")), "not about Intel SGX PCK Platform CA"),
        (&INTEL[0].to_owned(), plain(of(&good, INTEL[1])), "no trusted root vouches for Intel SGX PCK Platform CA"),
        // Somebody else's.
        (&list, plain(forged), "the signature of ARK-Milan SIMULATED-PUBLIC does not verify"),
        (
            &chain,
            plain((intel::pki::pem(&Product::Milan.ask_signed_by(Product::Genoa)) + &Product::Milan.ark_pem()).into()),
            "no trusted root vouches for SEV-Milan",
        ),
        (
            &info,
            by_signer(signed_by(intel::Key::Other)),
            "the signature of Intel SGX TCB Signing SIMULATED-PUBLIC does not verify",
        ),
        (
            &info,
            Act::Other(signed_by(intel::Key::Other), Some(pem(&own) + &pem(&impostor))),
            "no trusted root vouches for",
        ),
        (
            &info,
            Act::Other(signed_by(intel::Key::TcbSigning), Some(pem(&impostor))),
            "no certificate of Intel SGX TCB Signing",
        ),
        (&info, plain(signed_by(intel::Key::TcbSigning)), "no header tcb-info-issuer-chain"),
        // Broken.
        (&info, Act::Half, "end of file before message length reached"),
        (&info, by_signer(signed_by(intel::Key::TcbSigning)[..400].to_vec()), "EOF while parsing an object"),
        (&list, plain(b"<html>welcome</html>".to_vec()), "refused: not the expected DER"),
        (&vcek, plain(Vec::new()), "refused: not the expected DER"),
        (&list, Act::Endless, "the answer has more than 131072 bytes"),
        (&INTEL[0].to_owned(), Act::Endless, "the answer has more than 262144 bytes"),
        (&vcek, Act::Silence, "not answered within 3 s"),
        (&list, Act::Status(302, "location: /elsewhere\r\n"), "redirects are not followed"),
        (&vcek, Act::Status(404, ""), "404 Not Found"),
        // Of another time.
        (&list, plain(of(&with(from - DAY, to, 21), &list)), "a roll-back: issued"),
        (&info, by_signer(of(&with(from - DAY, to, 21), &info)), "a roll-back: issued"),
        (&info, by_signer(of(&with(from, to, 20), &info)), "evaluation 20; what is here"),
        (&list, plain(of(&with(from - DAY, now() - 60, 21), &list)), "refused: valid from"),
        (&info, by_signer(of(&with(now() + 3600, to, 21), &info)), "refused: valid from"),
    ] {
        let before = place.all();
        let (wanted, other) = (Need::at(piece).expect("a place"), act);
        service.plan(move |need, _| if *need == wanted { other.clone() } else { Act::Answer });
        // A good answer has time, whatever the machine is doing besides.
        let patience = if why.contains("within") { "3" } else { "60" };
        let all = ["Milan", "sgx", "tdx", "--tries", "1", "--timeout", patience];
        let ran = place.fetch(&service, &[&all[..], &["--force", "--json"]].concat());
        let lines: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((ran.code(), lines.len()), (0, 9), "{why}: {}", ran.stderr);
        for line in lines {
            let refused = line["piece"] == **piece;
            assert_eq!(line["outcome"], if refused { "kept" } else { "fetched" }, "{why}: {line}");
            let error = line["error"].as_str().unwrap_or_default();
            assert_eq!(refused, !error.is_empty(), "{why}: {line}");
            assert!(!refused || error.contains(why), "{why}: {error}");
            assert!(line["until"].is_string());
        }
        assert_eq!(place.all(), before, "{why}");
        // And where nothing is there, nothing is.
        let empty = Place::new();
        let ran = empty.fetch(&service, &all);
        if !why.contains("roll-back") && !why.contains("evaluation") {
            assert_eq!(ran.code(), 1, "{why}");
            assert!(!empty.kept(piece).exists(), "{why}");
        }
    }
    service.plan(|_, _| Act::Answer);
    assert_eq!(place.outcomes(&service, &["Milan", "sgx", "tdx", "--force"]).0, 0, "control");
}

/// A cache of Intel's service answers with digits.
#[test]
fn a_list_in_digits_is_the_list() {
    let (place, service) = (Place::new(), Service::start());
    let list = intel::Crl::new(intel::Key::Root, now() - DAY, now() + DAY * 30).der();
    let digits = hex::encode(&list).into_bytes();
    service.plan(move |need, _| if *need == Need::RootList { Act::Other(digits.clone(), None) } else { Act::Answer });
    assert_eq!(place.outcomes(&service, &["sgx"]).0, 0);
    assert_eq!(fs::read(place.kept("intel/crl.der")).expect("a file"), list);
}

#[test]
fn what_nobody_can_fetch_is_told_and_what_cannot_be_used_ends_it() {
    let (place, service) = (Place::new(), Service::start());
    let amd = Amd::from_seed([7; 32], Product::Genoa);
    let put = |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).expect("a file");
    put("vlek", &amd.report(&ReportRequest { flags: 1 << 2, ..amd.request() }));
    put("masked", &amd.report(&ReportRequest { chip_id: [0; 64], ..amd.request() }));
    put("old", &amd.report(&ReportRequest { version: 2, ..amd.request() }));
    put("text", b"no evidence");
    for (name, says, chain) in [
        ("vlek", "a VLEK signed", "amd/Genoa/vlek/chain.pem"),
        ("masked", "the processor is masked", "amd/Genoa/vcek/chain.pem"),
    ] {
        let ran = place.fetch(&service, &[name]);
        assert_eq!((ran.code(), ran.text().lines().count()), (0, 2), "{}", ran.text());
        assert!(ran.text().contains(chain) && ran.stderr.contains(says), "{}{}", ran.text(), ran.stderr);
    }
    let (code, outcomes) = place.outcomes(&service, &["old", "--product", "genoa", "--force"]);
    assert_eq!((code, outcomes.len()), (0, 4), "{outcomes:?}");
    assert!(of_chip(Product::Genoa).iter().all(|place| outcomes[place] == "fetched"), "{outcomes:?}");
    service.asked();
    for (args, says) in [
        (&["old"][..], "a report of version 2 does not name its product line"),
        (&["old", "--product", "turin"], "a report of version 2 does not name its product line"),
        (&["text"], "it is neither evidence nor collateral"),
        (&["none"], "No such file"),
        (&["--product", "rome"], "expected `milan`, `genoa` or `turin`"),
        (&["--fmspc", "0060"], "12 hexadecimal digits are expected"),
        (&["Milan", "--ca", "Milan"], "no certificate in PEM"),
    ] {
        let ran = place.fetch(&service, args);
        assert_eq!(ran.code(), 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
    let nothing = Place::new();
    for (made, says) in [(false, "entity not found"), (true, "nothing is in kept to refresh")] {
        if made {
            fs::create_dir(nothing.path().join("kept")).expect("a folder");
        }
        let ran = nothing.fetch(&service, &[]);
        assert_eq!(ran.code(), 2);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
    assert_eq!(service.asked(), Vec::<String>::new());
}

#[test]
fn a_cache_of_ones_own_is_known_by_its_authority() {
    let ca = rcgen::KeyPair::generate().expect("a key");
    let mut named = rcgen::CertificateParams::new(Vec::new()).expect("names");
    named.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = named.self_signed(&ca).expect("a certificate");
    let issuer = rcgen::Issuer::new(named, ca);
    let key = rcgen::KeyPair::generate().expect("a key");
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    let certificate = own.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("a certificate");
    let (place, service) = (Place::new(), Service::with(Some(Arc::new(config))));
    fs::write(place.path().join("ca.pem"), intel::pki::pem(root.der())).expect("a file");
    let ran = place.fetch(&service, &["Milan", "--tries", "1"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("invalid peer certificate: UnknownIssuer"), "{}", ran.stderr);
    assert_eq!(service.asked(), Vec::<String>::new());
    assert_eq!(
        place.outcomes(&service, &["Milan", "--ca", "ca.pem"]),
        (0, all_of("fetched", &of_chip(Product::Milan)))
    );
}

/// A Steward as a process, which ends with the test.
struct Steward(Child, String);

impl Drop for Steward {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_steward_with_the_folder_certifies_who_brings_nothing_but_a_report() {
    let service = Service::start();
    let now = now();
    let world = World::build(POLICY, now);
    let folder = world.folder.path();
    let place = Place::new();
    let (code, _) = place.outcomes(&service, &["Genoa"]);
    assert_eq!(code, 0);
    service.end();
    let policy = POLICY.replace("{owner}", &world.owner_digest().to_string());
    fs::write(folder.join("policy.toml"), policy).expect("a file");
    fs::write(folder.join("nonce.key"), "7".repeat(64)).expect("a file");
    let kept = place.path().join("kept").display().to_string();
    let doctor = |kept: &str| {
        let args = ["steward", "doctor", "--policy", "policy.toml", "--listen", "127.0.0.1:0", "--collateral", kept];
        run(folder, args, Input::Nothing)
    };
    let good = doctor(&kept);
    assert_eq!(good.code(), 0, "{}", good.stderr);
    assert!(good.text().contains("collateral 3 pieces, the first until "), "{}", good.text());
    let none = doctor("none");
    assert!(none.code() == 1 && none.stderr.contains("hint: `donjon collateral fetch"), "{}", none.stderr);

    let ask = |collateral: &[&str]| {
        let args =
            ["steward", "serve", "--policy", "policy.toml", "--listen", "127.0.0.1:0", "--nonce-key", "nonce.key"];
        let mut command = support::donjon(folder, [&args[..], collateral].concat());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
        let mut steward = Steward(child, String::new());
        let mut fact =
            |name: &str| lines.next().expect("a line").strip_prefix(name).expect("this fact").trim().to_owned();
        steward.1 = fact("url").strip_prefix("http://").expect("HTTP").to_owned();
        let anchor = fact("anchor");
        let mut keep = world.keep_at(now);
        (keep.endorsements, keep.crl) = (Vec::new(), None);
        keep.brief.steward.as_mut().expect("a Steward").anchors = vec![anchor.parse().expect("a digest")];
        let csr = keep.csr();
        let head =
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/pkcs10\r\ncontent-length: ";
        let mut stream = TcpStream::connect(&steward.1).expect("it listens");
        stream.write_all(&[format!("{head}{}\r\n\r\n", csr.len()).as_bytes(), &csr].concat()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.split(' ').nth(1).expect("a status").to_owned(), body.to_owned())
    };
    let (status, body) = ask(&[]);
    assert!(status == "403" && body.contains("snp.vek.format"), "{status} {body}");
    let (status, body) = ask(&["--collateral", &kept]);
    assert_eq!(status, "200", "{body}");
}

/// Services that give what was once fetched from the vendors': certificates are good for years, the rest has expired and is refused
/// by that and by nothing else.
#[test]
fn what_the_vendors_gave_is_what_it_must_be() {
    let Some(folder) = evidence() else { return };
    let read = |path: &str| fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let json = |path: &str| serde_json::from_slice::<Value>(&read(path)).expect("JSON");
    let (place, service) = (Place::new(), Service::start());
    let pieces = |ran: &Ran| -> Vec<Value> {
        ran.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (mut fetched, mut expired) = (0, 0);
    for row in json("snp-matrix/EXPECTED.json").as_array().expect("rows") {
        let [file, signer] = [&row["file"], &row["signed_by"][0]["file"]].map(|name| name.as_str().unwrap_or_default());
        let der = [".der", ".testcer"].iter().any(|end| signer.ends_with(end));
        if row["report_offset"] != 0 || row["signing_key"] != 0 || !der {
            continue;
        }
        let product = row["signed_by"][0]["product"].as_str().expect("a product");
        let line = product.split('-').next().expect("a line").to_lowercase();
        let chain = match line.as_str() {
            "turin" => read("amd-roots/ask_ark_turin_vcek.pem"),
            line => read(&format!("amd-roots/ask_ark_{line}.pem")),
        };
        let (vcek, list) = (read(signer), fs::read(folder.join(format!("amd-crl/ark-{line}.crl.der"))).ok());
        service.plan(move |need, _| match (need, &list) {
            (Need::Vcek { .. }, _) => Act::Other(vcek.clone(), None),
            (Need::SnpChain { .. }, _) => Act::Other(chain.clone(), None),
            (_, Some(list)) => Act::Other(list.clone(), None),
            _ => Act::Status(404, ""),
        });
        let report = folder.join(file).display().to_string();
        let product = if row["version"] == 2 { vec!["--product", &line] } else { Vec::new() };
        for piece in pieces(&place.fetch(&service, &[&[report.as_str(), "--force", "--json"], &product[..]].concat())) {
            let (place, outcome) = (piece["piece"].as_str().expect("a place"), piece["outcome"].as_str());
            let error = piece["error"].as_str().unwrap_or_default();
            if place.contains("/vlek/") {
                continue;
            }
            if place.ends_with("crl.der") {
                assert!(error.contains("refused: valid from") || error.contains("404"), "{file}: {piece}");
                expired += 1;
            } else {
                assert_eq!(outcome, Some("fetched"), "{file}: {piece}");
                fetched += 1;
            }
        }
    }
    assert!(fetched >= 14, "{fetched} of AMD's");
    for entry in fs::read_dir(folder.join("dcap-matrix/bundles")).expect("bundles") {
        let path = entry.expect("an entry").path();
        let bundle: BTreeMap<String, String> = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        let name = path.file_name().expect("a name").display().to_string();
        let [tee, fmspc, ca] = name.split('-').take(3).collect::<Vec<_>>().try_into().expect("three words");
        let ca = PckCa::ALL.into_iter().find(|known| known.name() == ca).expect("a CA");
        let given = bundle.clone();
        service.plan(move |need, _| {
            let statement = |name: &str, key: &str| {
                let [body, signature] = ["", "_signature"].map(|end| &given[&format!("{key}{end}")]);
                let issuers = given[&format!("{key}_issuer_chain")].clone();
                Act::Other(format!(r#"{{"{name}":{body},"signature":"{signature}"}}"#).into_bytes(), Some(issuers))
            };
            let bytes = |key: &str| hex::decode(&given[key]).expect("digits");
            match need {
                Need::TcbInfo { .. } => statement("tcbInfo", "tcb_info"),
                Need::QeIdentity { .. } => statement("enclaveIdentity", "qe_identity"),
                Need::RootList => Act::Other(bytes("root_ca_crl"), None),
                Need::PckList { ca: other } if *other == ca => {
                    Act::Other(bytes("pck_crl"), Some(given["pck_crl_issuer_chain"].clone()))
                }
                _ => Act::Status(404, ""),
            }
        });
        let option = if tee == "tdx" { "--tdx-fmspc" } else { "--fmspc" };
        for piece in pieces(&place.fetch(&service, &[option, fmspc, "--json"])) {
            let error = piece["error"].as_str().unwrap_or_default();
            let other =
                piece["piece"].as_str().is_some_and(|place| place.ends_with("/crl.der") && error.contains("404"));
            // The root's list is good for a year, and one of them may still be.
            let good =
                piece["piece"] == "intel/crl.der" && (error.is_empty() || error.contains("refused: a roll-back"));
            assert!(error.contains("refused: valid from") || good || other, "{name}: {piece}");
            expired += u32::from(!good && !other);
        }
    }
    assert!(expired >= 40, "{expired} that expired");
}
