//! A host process: one Keep from its start to its end, told on standard error.
//!
//! Owns what can differ between two Keeps of a test ([`Setting`]), and the folder in which a host runs: whatever it leaves
//! behind on disk would be there.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use keep::backend::{MicroVm, Nil, Sim};
use keep::{Backend, End, Folders, Host, Image, Launch, RunError, Running};
use silicon::{Amd, Product};
use workload::brief::{Brief, Source};
use workload::digest::Digest;
use workload::manifest::Manifest;
use workload::package::{Built, Package, Program};

use crate::census::Census;
use crate::support::{Form, probe};

/// All that makes a Keep, with `probe` as its program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) backend: &'static str,
    /// Which simulated machine.
    pub(crate) machine: u8,
    /// `Donjon.toml`.
    pub(crate) manifest: &'static str,
    pub(crate) owner: Option<u8>,
    pub(crate) deployment: &'static str,
    pub(crate) role: &'static str,
    pub(crate) args: &'static [&'static str],
    pub(crate) env: &'static [(&'static str, &'static str)],
}

impl Setting {
    pub(crate) const fn new(backend: &'static str, args: &'static [&'static str]) -> Self {
        Self { backend, machine: 0, manifest: "", owner: None, deployment: "run", role: "main", args, env: &[] }
    }

    /// The program under this manifest.
    pub(crate) fn built(program: Vec<u8>, manifest: &str) -> Built {
        let manifest = Manifest::from_toml("Donjon.toml", manifest).expect("a manifest");
        Package::build(&manifest, Program::detect(program).expect("a program"), vec![]).expect("it can be packed")
    }

    pub(crate) fn brief(&self) -> Vec<u8> {
        self.brief_of(&Self::built(read(&probe(Form::Native)), self.manifest))
    }

    /// For another workload than the probe.
    pub(crate) fn brief_of(&self, built: &Built) -> Vec<u8> {
        let brief = Brief {
            trust_domain: "local".parse().expect("a trust domain"),
            steward: None,
            source: Source::Host,
            owner: self.owner.map(|owner| Digest::of(&[owner])),
            deployment: self.deployment.parse().expect("a name"),
            role: self.role.parse().expect("a name"),
            workload: built.digest,
            args: self.args.iter().map(|text| (*text).to_owned()).collect(),
            env: self.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        brief.encode()
    }

    /// A host process in this folder, and in a process group of its own. It stops its Keep when the folder has a file
    /// `stop`.
    pub(crate) fn host(&self, folder: &Path) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args([HOST, self.backend, &self.machine.to_string()]).arg(probe(Form::Native));
        command.args([self.manifest, &hex::encode(self.brief())]);
        command.current_dir(folder).env("TMPDIR", folder).env_remove("RUST_BACKTRACE").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The first argument of a host process.
const HOST: &str = "host";

/// Becomes a host process if this process was started as one.
pub(crate) fn main() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, HOST, backend, machine, program, manifest, brief] =
        &*arguments.iter().map(String::as_str).collect::<Vec<_>>()
    else {
        return None;
    };
    let machine = machine.parse().expect("a number");
    let brief = hex::decode(brief).expect("hexadecimal");
    let before = Census::take();
    let built = Setting::built(read(Path::new(program)), manifest);
    let running = start(backend, machine, built, brief, keep::Stdio::Inherit);
    let stop = running.stopper();
    let (over, until) = mpsc::channel::<()>();
    let stopper = std::thread::spawn(move || {
        while until.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
            if Path::new("stop").exists() {
                return stop.stop();
            }
        }
    });
    let ended = running.wait();
    drop(over);
    stopper.join().expect("it does not panic");
    before.is_again();
    eprintln!("{}", told(&ended));
    Some(ExitCode::from(u8::from(!matches!(ended, Ok(End::Exit(0))))))
}

pub(crate) fn read(program: &Path) -> Vec<u8> {
    std::fs::read(program).expect("the program reads")
}

/// How a Keep ended, for whoever reads the standard error of a host.
pub(crate) fn told(ended: &Result<End, RunError>) -> String {
    match ended {
        Ok(end) => format!("{end:?}"),
        Err(error) => error.to_string(),
    }
}

/// A Keep with this workload.
pub(crate) fn start(backend: &str, machine: u8, built: Built, brief: Vec<u8>, stdio: keep::Stdio) -> Running {
    let mut blobs: BTreeMap<_, _> =
        built.blobs.into_iter().map(|(descriptor, bytes)| (descriptor.digest, bytes)).collect();
    blobs.insert(built.digest, built.manifest);
    let host = Host {
        blobs: Box::new(blobs),
        listen: BTreeMap::new(),
        folders: Folders::default(),
        cache: None,
        stdio,
        events: Box::new(|_| {}),
    };
    let image = Image::built_in().expect("there is an image");
    let launch = Launch::new(image, brief, None).expect("a brief");
    of_name(backend, machine).start(&launch, host).expect("the Keep starts")
}

/// A backend by its name, on this simulated machine if on any.
pub(crate) fn of_name(backend: &str, machine: u8) -> Box<dyn Backend> {
    let amd = || Arc::new(Amd::from_seed([machine; 32], Product::Genoa));
    match backend {
        "nil" => Box::new(Nil),
        "kvm" => Box::new(MicroVm),
        "sim-snp" => Box::new(Sim::micro_vm(amd())),
        other => panic!("no backend {other}"),
    }
}
