//! `donjon run`: a program in a Keep of this machine, at this terminal, without a Steward or a Drawbridge.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use keep::backend::{MicroVm, Nil, Sim};
use keep::{Backend, Caller, End, Event, Host, Image, Launch, RunError, Signal, Stdio};
use silicon::{Amd, Product};
use workload::brief::{Brief, Source};
use workload::manifest::Manifest;
use workload::package::Built;

use crate::command::wait;
use crate::deploy::{name, not_started};
use crate::failure::{FAILED, Failure};
use crate::project::Project;

/// Run a program in a Keep on this machine, at this terminal.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// A program (WebAssembly or static-PIE ELF), a Donjon.toml, or a folder that has one (default: this folder); then
    /// arguments for the program, which follow those of the manifest.
    #[arg(trailing_var_arg = true, value_name = "PROJECT [ARGS]")]
    program: Vec<String>,
    /// Set an environment variable; those that the manifest fixes win.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Bind a listener of the manifest here, such as web=0.0.0.0:8080 (port 0: any free one); loopback without it.
    #[arg(long = "listen", value_name = "NAME=ADDRESS", value_parser = pair)]
    listen: Vec<(String, String)>,
    /// What the Keep is made of: `nil` is a process, `kvm` a micro-VM, `sim-snp` a micro-VM on simulated SEV-SNP; none
    /// protects it from this host.
    #[arg(long, value_enum, default_value_t = Kind::Nil, env = "DONJON_BACKEND")]
    backend: Kind,
    /// Write how the program ended, as JSON: tells a status of the program from a failure of Donjon for sure.
    #[arg(long, value_name = "FILE")]
    outcome: Option<PathBuf>,
    /// Do not say what protection there is.
    #[arg(long, short)]
    quiet: bool,
}

/// The backends that need nobody to prove anything to.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Nil,
    Kvm,
    SimSnp,
}

impl Run {
    #[allow(clippy::print_stderr, reason = "what protection there is, and where it listens, is talk")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let project = Project::read(Path::new(self.program.first().map_or(".", String::as_str)))?;
        let listen = self.listeners(&project.manifest)?;
        let built = project.pack()?;
        let backend: Box<dyn Backend> = match self.backend {
            Kind::Nil => Box::new(Nil),
            Kind::Kvm => Box::new(MicroVm),
            Kind::SimSnp => Box::new(Sim::micro_vm(Arc::new(Amd::from_seed([0; 32], Product::Genoa)))),
        };
        if !self.quiet {
            eprintln!("donjon: backend {}, {}", backend.name(), backend.protection());
        }
        let args = self.program.get(1..).unwrap_or_default().to_vec();
        let launch = launch(&built, args, self.env.clone())?;
        let quiet = self.quiet;
        let host = Host {
            blobs: Box::new(blobs(built)),
            listen,
            stdio: Stdio::Inherit,
            events: Box::new(move |event| {
                if let Event::Listening { name, address } = event
                    && !quiet
                {
                    eprintln!("donjon: {name} listens on {address}");
                }
            }),
        };
        let keep = backend.start(&launch, host).map_err(|error| not_started(&error))?;
        let end = wait(keep)?;
        if let Some(file) = &self.outcome {
            std::fs::write(file, outcome(&end).to_string())
                .map_err(|error| Failure::caused(format_args!("cannot write {}", file.display()), &error))?;
        }
        ended(end)
    }

    /// Where each listener of the manifest is bound: on loopback, unless the command line says otherwise. A name that the
    /// manifest does not have would be ignored, and the program would listen somewhere else.
    fn listeners(&self, manifest: &Manifest) -> Result<BTreeMap<String, String>, Failure> {
        let of_manifest =
            if manifest.listen.is_empty() { vec![manifest.http_listener()] } else { manifest.listen.clone() };
        let mut listen: BTreeMap<String, String> =
            of_manifest.iter().map(|listen| (listen.name.to_string(), format!("127.0.0.1:{}", listen.port))).collect();
        for (name, address) in &self.listen {
            let near = listen.keys().min_by_key(|known| strsim::damerau_levenshtein(known, name)).cloned();
            match listen.get_mut(name) {
                Some(bound) => bound.clone_from(address),
                None => {
                    let failure =
                        Failure::new(format_args!("--listen {name}={address}: the manifest has no listener `{name}`"));
                    return Err(match near {
                        Some(near) => failure.hint(format_args!("did you mean `{near}`?")),
                        None => failure,
                    });
                }
            }
        }
        Ok(listen)
    }
}

/// A brief without a Steward: nobody is to trust this Keep, so nobody is named.
pub(crate) fn launch(built: &Built, args: Vec<String>, mut env: Vec<(String, String)>) -> Result<Launch, Failure> {
    env.sort();
    let brief = Brief {
        trust_domain: "local".parse().map_err(|error| Failure::caused("cannot name the trust domain", &error))?,
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: name("run")?,
        role: name("main")?,
        workload: built.digest,
        args,
        env,
    };
    let brief = brief.try_encode().map_err(|error| {
        Failure::caused("these arguments and variables cannot be given to a Keep", &error)
            .hint("arguments and environment together may take 64 KiB, each variable once")
    })?;
    let image = Image::built_in().map_err(Failure::new)?;
    Launch::new(image, brief, None).map_err(|error| Failure::caused("cannot fix the brief", &error))
}

/// Everything of the package, by digest.
pub(crate) fn blobs(built: Built) -> BTreeMap<workload::Digest, Vec<u8>> {
    let mut blobs: BTreeMap<_, _> =
        built.blobs.into_iter().map(|(descriptor, bytes)| (descriptor.digest, bytes)).collect();
    blobs.insert(built.digest, built.manifest);
    blobs
}

/// The end of a Keep as an exit status, or as a failure.
#[allow(clippy::print_stderr, reason = "what ended a program is talk")]
pub(crate) fn ended(end: Result<End, RunError>) -> Result<ExitCode, Failure> {
    match end {
        Ok(End::Exit(status)) => Ok(ExitCode::from(status)),
        Ok(End::Trap) => Ok(ExitCode::from(134)),
        Ok(End::Signal(number)) => {
            // As its parent would learn it, and as a shell would tell it. Whoever sent one of these here knows.
            if ![Signal::Interrupt, Signal::Terminate].map(Signal::number).contains(&number) {
                eprintln!("trap: the program was ended by a {}", ExitStatus::from_raw(i32::from(number)));
            }
            Ok(ExitCode::from(after(number)))
        }
        Ok(End::Refused { code, message, hint, step: _ }) => {
            Err(Failure::new(format_args!("{message} [{code}]")).hint(hint))
        }
        Err(error @ RunError::Call { who, .. }) => Err(Failure::new(error).hint(match who {
            Caller::Exec => "no Keep on any backend answers this call: report it, with the program",
            Caller::Program => {
                "a native program has memory, threads, TCP and its own files, and no processes, users or other files: \
                 spec/gate.md lists the calls"
            }
        })),
        Err(error @ RunError::Machine(_)) => Err(Failure::caused("the Keep did not end by itself", &error)
            .hint("`donjon platform` shows what this machine can run, `dmesg` may say why it did not")),
        Err(error) => Err(Failure::caused("the Keep did not end by itself", &error)),
    }
}

/// The status by which a shell tells that a signal ended a program.
fn after(signal: u8) -> u8 {
    128_u8.saturating_add(signal)
}

/// For `--outcome`.
fn outcome(end: &Result<End, RunError>) -> serde_json::Value {
    match end {
        Ok(End::Exit(status)) => serde_json::json!({ "ended": "exit", "status": status }),
        Ok(End::Trap) => serde_json::json!({ "ended": "trap", "status": 134 }),
        Ok(End::Signal(number)) => {
            serde_json::json!({ "ended": "signal", "status": after(*number), "signal": number })
        }
        Ok(End::Refused { step, code, message, hint }) => serde_json::json!({
            "ended": "refused", "status": FAILED, "step": step, "code": code, "message": message, "hint": hint,
        }),
        Err(error) => serde_json::json!({ "ended": "failed", "status": FAILED, "message": error.to_string() }),
    }
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
