//! `donjon deploy`: a Keep that proves itself, gets its certificate and fetches its workload.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use gate::message::Compile;
use keep::backend::Sim;
use keep::measure::Measurement;
use keep::{Backend, Event, Image, Memory, Stdio};
use silicon::{Amd, Product};
use tokio::sync::mpsc;
use workload::Digest;
use workload::names::{Name, TrustDomain};
use workload::reference::Location;

use crate::code::{Caching, Waiting};
use crate::command::run::{ended, pair};
use crate::command::{hand_on, runtime, sign};
use crate::deploy::{self, Request, deploy};
use crate::failure::Failure;

/// Deploy a workload from a Drawbridge into a Keep that proves itself first.
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    /// HOST:PORT/REPOSITORY@sha256:…; port 443 may be left out, and the digest where the Deployment has only one.
    location: Location,
    /// The owner-signed Deployment (`donjon push` writes deployment.cose).
    #[arg(long, value_name = "FILE")]
    deployment: Option<PathBuf>,
    /// The signature of the workload's publisher, for a role that asks for one (`donjon push --product` writes workload.sig).
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The role in it.
    #[arg(long)]
    role: Option<Name>,
    /// The trust domain, for a Keep without a Deployment.
    #[arg(long)]
    trust_domain: Option<TrustDomain>,
    /// The platform. None is chosen for you: `sim` and `sim-snp` protect nothing and are for trials.
    #[arg(long, value_enum)]
    backend: Platform,
    /// Which simulated machine: 64 hexadecimal digits; the same seed is the same machine.
    #[arg(long, value_name = "SEED", default_value_t = "00".repeat(32))]
    sim_seed: String,
    /// The Drawbridge's key (sha256:… of its SPKI), for one without a public certificate.
    #[arg(long = "pin", value_name = "DIGEST")]
    pins: Vec<Digest>,
    /// The Steward's HTTPS key, likewise.
    #[arg(long = "steward-pin", value_name = "DIGEST")]
    steward_pins: Vec<Digest>,
    /// Believe only Stewards under this root key (sha256:… of its SPKI), whatever the Drawbridge names.
    #[arg(long = "anchor", value_name = "DIGEST")]
    anchors: Vec<Digest>,
    /// Set an environment variable; it becomes part of the brief. What the manifest wants of the host is given so: the manifest is
    /// in the Keep alone.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Bind a listener of the manifest here, such as web=127.0.0.1:8443; without it at the manifest's port on all interfaces.
    /// Given once, it must be given for each listener of the manifest.
    #[arg(long = "listen", value_name = "NAME=ADDRESS", value_parser = pair)]
    listen: Vec<(String, String)>,
    /// Let the program read a folder of this host, at a mount of kind `host` in the manifest.
    #[arg(long = "mount", value_name = "PATH=FOLDER", value_parser = pair)]
    mount: Vec<(String, String)>,
    /// How much memory a micro-VM has, such as 1GiB (default 512MiB).
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    #[command(flatten)]
    caching: Caching,
    /// Arguments for the program; they become part of the brief.
    #[arg(last = true)]
    args: Vec<String>,
}

/// What `deploy` can start here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Platform {
    /// No protection: a process on simulated SEV-SNP, accepted only by a Steward of the insecure class.
    Sim,
    /// No protection: a micro-VM on simulated SEV-SNP, accepted likewise.
    SimSnp,
}

impl Platform {
    /// Keeps of this platform, on this simulated machine.
    pub(crate) fn on(self, machine: Arc<Amd>) -> Sim {
        match self {
            Self::Sim => Sim::new(machine),
            Self::SimSnp => Sim::micro_vm(machine),
        }
    }

    /// What such a machine measures of this program's Keeps.
    pub(crate) fn measurement(self) -> Result<[u8; 48], Failure> {
        let image = Image::built_in().map_err(Failure::new)?;
        match self {
            Self::Sim => Ok(image.measurement()),
            Self::SimSnp => Measurement::of(&image, keep::measure::Platform::SimSnp)
                .map(|measurement| measurement.digest)
                .map_err(|error| Failure::caused("cannot measure the Keep", &error)),
        }
    }
}

impl Deploy {
    #[allow(clippy::print_stderr, reason = "what happens is talk")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machine = Arc::new(Amd::from_seed(seed(&self.sim_seed)?, Product::Genoa));
        let backend = self.backend.on(machine);
        eprintln!("donjon: backend {}, {}", backend.name(), backend.protection());
        let deployment = match &self.deployment {
            Some(file) => Some(std::fs::read(file).map_err(|error| {
                Failure::caused(format_args!("cannot read {}", file.display()), &error)
                    .hint("`donjon push` writes it as deployment.cose")
            })?),
            None => None,
        };
        let request = Request {
            location: self.location,
            drawbridge_pins: self.pins,
            steward_pins: self.steward_pins,
            anchors: self.anchors,
            deployment,
            signature: self.signature.as_deref().map(sign::read).transpose()?,
            role: self.role,
            trust_domain: self.trust_domain,
            args: self.args,
            env: self.env,
            listen: self.listen.into_iter().collect(),
            folders: deploy::folders(&self.mount)?,
            memory: deploy::memory(self.memory, &backend, self.backend != Platform::Sim)?,
            cache: self.caching.open(),
            stdio: Stdio::Inherit,
        };
        let (tell, mut told) = mpsc::unbounded_channel::<(String, std::sync::mpsc::Sender<()>)>();
        let listeners: Vec<String> = request.listen.keys().cloned().collect();
        let given = listeners.clone();
        let mut waiting = Waiting::default();
        let steps = move |event: Event| match event {
            // Its manifest may be confidential, so that the Keep is the first to know its listeners' names. It waits for our
            // answer before it accepts anybody, and there is none: it is stopped.
            Event::Listening { name, address: _ } if !given.is_empty() && !given.contains(&name) => {
                let (done, wait) = std::sync::mpsc::channel();
                if tell.send((name, done)).is_ok() {
                    // An error, once whoever stopped the Keep has dropped the other end.
                    _ = wait.recv();
                }
            }
            // Only the Keep has seen the manifest: it tells before the program begins.
            Event::Milestone { step: _, detail } if detail.starts_with("debug.") => {
                eprintln!("donjon: {}", crate::steps::weakness(detail.trim_start_matches("debug.")));
            }
            Event::Milestone { step, detail } => {
                eprintln!("donjon: step {step:2}  {}", crate::steps::line(step, &detail))
            }
            Event::Listening { name, address } => eprintln!("donjon: {name} listens on {address}"),
            Event::Compile(stage) => {
                waiting.told(stage);
                if stage == Compile::Spared {
                    eprintln!("donjon: the program was compiled at an earlier start");
                }
            }
        };
        let runtime = runtime()?;
        let (keep, _) = runtime
            .block_on(deploy(request, &backend, steps))
            .map_err(|stopped| stopped.failure.prefixed(format_args!("step {}", stopped.step)))?;
        let stopper = keep.stopper();
        let unnamed = Arc::new(OnceLock::new());
        let found = Arc::clone(&unnamed);
        runtime.spawn(hand_on(stopper.clone()));
        runtime.spawn(async move {
            if let Some((name, done)) = told.recv().await {
                _ = found.set(name);
                stopper.stop();
                drop(done);
            }
        });
        let end = keep.wait();
        match unnamed.get() {
            Some(name) => Err(unknown_listener(name, &listeners)),
            None => ended(end),
        }
    }
}

/// As `donjon run` has it: an unknown name must not be ignored, or the service listens on all interfaces instead.
fn unknown_listener(name: &str, given: &[String]) -> Failure {
    Failure::new(format_args!(
        "the program has a listener `{name}`, and --listen names only {}: the Keep was stopped before it accepted anybody",
        given.join(", ")
    ))
    .hint(format_args!("say --listen {name}=ADDRESS:PORT"))
}

/// 32 bytes in hexadecimal.
fn seed(text: &str) -> Result<[u8; 32], Failure> {
    let wrong = || Failure::new("the seed of the simulated machine is not 64 hexadecimal digits");
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut seed = [0; 32];
    for (at, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(seed)
}
