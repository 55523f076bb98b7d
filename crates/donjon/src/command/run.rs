//! `donjon run`: a program in a Keep of this machine, at this terminal, without a Steward or a Drawbridge.

use std::collections::{BTreeMap, BTreeSet};
use std::env::VarError;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

use gate::message::Compile;
use keep::backend::{Begun, MicroVm, Sim};
use keep::{Backend, Caller, End, Event, Folders, Host, Image, Launch, Memory, RunError, Signal, Stdio};
use silicon::{Amd, Product};
use workload::Digest;
use workload::brief::{Brief, Source};
use workload::manifest::{self as policy, Destination, FromHost, Manifest, MountKind, Network, Ports, Variable};

use crate::code::{Caching, Waiting};
use crate::command::wait;
use crate::deploy::{folders, memory, name, not_started};
use crate::failure::{FAILED, Failure};
use crate::project::Project;
use crate::project::stock::Stock;

/// Run a program in a Keep on this machine, at this terminal.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// A program (WebAssembly or static-PIE ELF), a Donjon.toml, or a folder that has one (default: this folder); then
    /// arguments for the program, which follow those of the manifest.
    #[arg(trailing_var_arg = true, value_name = "PROJECT [ARGS]")]
    program: Vec<String>,
    /// Set an environment variable; those that the manifest fixes win, those that it wants of this host do not.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Bind a listener of the manifest here, such as web=0.0.0.0:8080 (port 0: any free one); loopback without it.
    #[arg(long = "listen", value_name = "NAME=ADDRESS", value_parser = pair)]
    listen: Vec<(String, String)>,
    /// Let the program read a folder of this host, at a mount of kind `host` in the manifest.
    #[arg(long = "mount", value_name = "PATH=FOLDER", value_parser = pair)]
    mount: Vec<(String, String)>,
    /// How much memory a micro-VM has, such as 1GiB (default 512MiB); a process has what its machine has.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// What the Keep is made of: `nil` is a process, `kvm` a micro-VM, `sim-snp` a micro-VM on simulated SEV-SNP; none
    /// protects it from this host.
    #[arg(long, value_enum, default_value_t = Kind::Nil, env = "DONJON_BACKEND")]
    backend: Kind,
    /// Write how the program ended, as JSON: tells a status of the program from a failure of Donjon for sure. Of WebAssembly
    /// also whether it was compiled for this start, or before.
    #[arg(long, value_name = "FILE")]
    outcome: Option<PathBuf>,
    /// Let the program reach everybody, and print the section `network` that it would have needed; nothing is kept to a list.
    #[arg(long)]
    learn: bool,
    #[command(flatten)]
    caching: Caching,
    /// Do not say what protection there is.
    #[arg(long, short)]
    quiet: bool,
}

/// The program's are its user's.
const STDIO: Stdio = Stdio::Inherit;

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
        let cache = self.caching.open();
        let backend: Box<dyn Backend> = match self.backend {
            Kind::Nil => Box::new(Begun::new(image()?, STDIO, cache.as_ref())),
            Kind::Kvm => Box::new(MicroVm),
            Kind::SimSnp => Box::new(Sim::micro_vm(Arc::new(Amd::from_seed([0; 32], Product::Genoa)))),
        };
        let project = Project::read(Path::new(self.program.first().map_or(".", String::as_str)))?;
        let mut project = if self.quiet { project } else { project.tell() };
        project.manifest.debug.insecure_network |= self.learn;
        let weak = project.manifest.debug.insecure_network;
        let listen = self.listeners(&project.manifest)?;
        let env = self.environment(&project.manifest)?;
        let folders = self.folders(&project.manifest)?;
        let weaknesses: Vec<_> = project.manifest.debug.said().map(crate::steps::weakness).collect();
        let built = project.pack()?;
        if !self.quiet {
            eprintln!("donjon: backend {}, {}", backend.name(), backend.protection());
        }
        for weakness in weaknesses {
            eprintln!("donjon: {weakness}");
        }
        let args = self.program.get(1..).unwrap_or_default().to_vec();
        let memory = memory(self.memory, backend.as_ref(), !matches!(self.backend, Kind::Nil))?;
        let launch = launch(built.digest, args, env)?.with_memory(memory);
        let quiet = self.quiet;
        let learned = Arc::new(Mutex::new(Network::default()));
        let learns = Arc::clone(&learned);
        let mut waiting = Waiting::default();
        let (tell, told) = channel();
        let host = Host {
            blobs: Box::new(Stock::new(built)),
            listen,
            folders,
            cache,
            stdio: STDIO,
            events: Box::new(move |event| match event {
                Event::Listening { name, address } if !quiet => eprintln!("donjon: {name} listens on {address}"),
                Event::Compile(stage) => {
                    if !quiet {
                        waiting.told(stage);
                    }
                    // An error, once nobody wants to know.
                    _ = tell.send(stage);
                }
                Event::Milestone { detail, .. } if weak => {
                    learn(&mut learns.lock().unwrap_or_else(PoisonError::into_inner), &detail);
                }
                Event::Listening { .. } | Event::Milestone { .. } => {}
            }),
        };
        let keep = backend.start(&launch, host).map_err(|error| not_started(&error))?;
        let end = wait(keep)?;
        if self.learn {
            eprint!("{}", needed(&learned.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        if let Some(file) = &self.outcome {
            let mut outcome = outcome(&end);
            match told.try_iter().last() {
                Some(Compile::Done) => outcome["compiled"] = true.into(),
                Some(Compile::Spared) => outcome["compiled"] = false.into(),
                // It could not be, or is no WebAssembly.
                Some(Compile::Begun) | None => {}
            }
            std::fs::write(file, outcome.to_string())
                .map_err(|error| Failure::caused(format_args!("cannot write {}", file.display()), &error))?;
        }
        ended(end)
    }

    /// What the command line says, and what the manifest wants of this host. Whoever runs the program of another is told what of
    /// his own it gets. Of a name that is not there the Keep speaks: it knows the defaults.
    #[allow(clippy::print_stderr, reason = "what a program gets is talk")]
    fn environment(&self, manifest: &Manifest) -> Result<Vec<(String, String)>, Failure> {
        let mut env = self.env.clone();
        for (name, value) in &manifest.env {
            let Variable::Host(FromHost { host, default: _ }) = value else { continue };
            if self.env.iter().any(|(given, _)| given == name) {
                continue;
            }
            match std::env::var(host) {
                Ok(value) => env.push((name.clone(), value)),
                Err(VarError::NotPresent) => continue,
                Err(VarError::NotUnicode(_)) => {
                    let message =
                        format_args!("the variable `{host}` of this host, which the program gets, is not UTF-8");
                    return Err(Failure::new(message).hint(format_args!("say --env {name}=VALUE")));
                }
            }
            if !self.quiet {
                eprintln!("donjon: the program gets `{host}` of this host, as `{name}`");
            }
        }
        Ok(env)
    }

    /// The folders of this host that the program reads: all that the manifest has, and no other.
    fn folders(&self, manifest: &Manifest) -> Result<Folders, Failure> {
        let mounts = manifest.mount.iter().filter(|mount| mount.kind == MountKind::Host);
        let mounts: Vec<_> = mounts.map(|mount| mount.path.as_str()).collect();
        if let Some((path, folder)) = self.mount.iter().find(|(path, _)| !mounts.contains(&path.as_str())) {
            let message = format_args!("--mount {path}={folder}: the manifest has no mount of the host at `{path}`");
            return Err(Failure::new(message).hint(match mounts.first() {
                Some(mount) => format!("it has one at `{mount}`"),
                None => format!("it has one with\n\n[[mount]]\npath = \"{path}\"\nkind = \"host\""),
            }));
        }
        if let Some(mount) = mounts.iter().find(|mount| self.mount.iter().all(|(path, _)| path != *mount)) {
            return Err(Failure::new(format_args!("the program reads a folder of this host at {mount}"))
                .hint(format_args!("give it one with --mount {mount}=FOLDER")));
        }
        folders(&self.mount)
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

/// Takes what a Keep says of a key that would have allowed something (`spec/manifest.md`, "debug"). It may say anything: what is
/// no rule is none.
fn learn(network: &mut Network, detail: &str) {
    let Some((list, entry)) = detail.strip_prefix("network.").and_then(|rest| rest.split_once(' ')) else { return };
    match list {
        "connect" => network.connect.extend(entry.parse::<Destination>()),
        "listen" => network.listen.extend(entry.parse::<Ports>()),
        "resolve" => network.resolve.extend(entry.parse::<policy::Host>()),
        "udp" => network.udp.extend(entry.parse::<Destination>()),
        _ => {}
    }
}

/// The section that a run would have needed.
fn needed(network: &Network) -> String {
    fn list<T: Ord + ToString>(name: &str, entries: &[T]) -> String {
        let entries: BTreeSet<_> = entries.iter().map(|entry| format!("\"{}\"", entry.to_string())).collect();
        if entries.is_empty() {
            return String::new();
        }
        format!("{name} = [{}]\n", entries.into_iter().collect::<Vec<_>>().join(", "))
    }
    // Whom to ask is nobody's to learn.
    let Network { connect, listen, resolve, udp, resolver: _ } = network;
    let lists = [list("connect", connect), list("listen", listen), list("resolve", resolve), list("udp", udp)].concat();
    if lists.is_empty() { "# nothing is missing in [network]\n".to_owned() } else { format!("[network]\n{lists}") }
}

/// A brief without a Steward: nobody is to trust this Keep, so nobody is named.
pub(crate) fn launch(workload: Digest, args: Vec<String>, mut env: Vec<(String, String)>) -> Result<Launch, Failure> {
    env.sort();
    let brief = Brief {
        trust_domain: "local".parse().map_err(|error| Failure::caused("cannot name the trust domain", &error))?,
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: name("run")?,
        role: name("main")?,
        workload,
        args,
        env,
    };
    let brief = brief.try_encode().map_err(|error| {
        Failure::caused("these arguments and variables cannot be given to a Keep", &error)
            .hint("arguments and environment together may take 64 KiB, each variable once")
    })?;
    Launch::new(image()?, brief, None).map_err(|error| Failure::caused("cannot fix the brief", &error))
}

fn image() -> Result<Image, Failure> {
    Image::built_in().map_err(Failure::new)
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
        Err(RunError::Full) => Err(Failure::new("the Keep ended because its memory is full")
            .hint("give its micro-VM more: `--memory SIZE`, which is 512MiB without it")),
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
