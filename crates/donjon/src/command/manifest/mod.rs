//! `donjon manifest`: whether a manifest is right, what it means, and what it may say.
//!
//! Owns what a manifest and its program must agree in, as far as it can be known before a Keep starts; the Keep judges again.
//! Refuses what a Keep would refuse, at the line that says it.

mod explain;
mod keys;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use workload::Digest;
use workload::manifest::{Kind, Network};
use workload::settings::Step;

use self::keys::{KEYS, Key};
use super::inspect::{Inspection, inspect};
use super::say;
use crate::failure::{FAILED, Failure};
use crate::project::enarx::{self, ENARX, Note};
use crate::project::{Project, read_manifest};

/// Check a Donjon.toml or an Enarx.toml, explain what it means, print the schema of all keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Manifest {
    /// Read a manifest, its program and its files, and say what is wrong, where, and what to do.
    Check {
        /// A Donjon.toml, an Enarx.toml, a folder that has one, or a program.
        #[arg(default_value = ".")]
        project: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a program will get and may do, or what a key means.
    Explain {
        /// A project as for `check`, or a key such as connect.trust (a folder of that name is ./NAME).
        #[arg(default_value = ".", value_name = "PROJECT|KEY")]
        what: String,
    },
    /// Print the JSON Schema of Donjon.toml.
    Schema,
    /// Print the Donjon.toml that means what an Enarx.toml does.
    Convert {
        /// An Enarx.toml, or a folder that has one.
        #[arg(default_value = ".")]
        file: PathBuf,
    },
}

impl Manifest {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Check { project, json: false } => check(&project)?.say(),
            Self::Check { project, json: true } => {
                let (answer, code) = match check(&project) {
                    Ok(checked) => (checked.json(), ExitCode::SUCCESS),
                    Err(failure) => {
                        (serde_json::json!({ "ok": false, "error": failure.json() }), ExitCode::from(FAILED))
                    }
                };
                // Nothing else, on no stream: who reads it asked for no talk.
                say(&answer.to_string());
                return Ok(code);
            }
            Self::Explain { what } => say(&explained(&what)?),
            Self::Schema => say(&format!("{:#}", keys::schema())),
            Self::Convert { file } => convert(&file)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A manifest that is right, and all that was asked to know that.
struct Checked {
    shown: String,
    program: PathBuf,
    kind: Kind,
    what: String,
    workload: Digest,
    notes: Vec<Note>,
}

fn check(path: &Path) -> Result<Checked, Failure> {
    let project = Project::read(path)?;
    let (kind, found) = agree(&project)?;
    let (shown, program, notes) = (project.shown.clone(), project.path.clone(), project.notes.clone());
    Ok(Checked { shown, program, kind, what: found.what, workload: project.pack()?.digest, notes })
}

impl Checked {
    fn say(&self) {
        let Self { shown, program, kind, what, workload: _, notes } = self;
        enarx::tell(shown, notes);
        say(&format!("{shown}: OK, {}: {} is {what}", word(*kind), program.display()));
    }

    fn json(&self) -> serde_json::Value {
        let Self { shown, program, kind, what, workload, notes } = self;
        let notes: Vec<_> = notes.iter().map(|note| note.failure(shown).json()).collect();
        serde_json::json!({
            "ok": true,
            "manifest": shown,
            "program": program,
            "kind": word(*kind),
            "what": what,
            "workload": workload.to_string(),
            "notes": notes,
        })
    }
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "http",
        Kind::Auto | Kind::Command => "command",
    }
}

/// What the program is under its manifest, or where the two do not agree. exec asks the same of what it got.
fn agree(project: &Project) -> Result<(Kind, Inspection), Failure> {
    use Step::{Index, Key};
    let program = project.path.display();
    let bytes = project.program.bytes.read();
    let found = inspect(bytes.map_err(|error| Failure::caused(format_args!("cannot read {program}"), &error))?);
    if let Some(fault) = found.faults.first() {
        return Err(project
            .fault(&[Key("program")], format_args!("{program} cannot run in a Keep: {fault}"))
            .hint(format_args!("`donjon inspect {program}` shows what it asks for")));
    }
    let manifest = &project.manifest;
    let http = manifest.listen.iter().position(|listen| listen.protocol.http());
    if found.form == "elf" {
        let fault = [
            (manifest.invoke.is_some(), "invoke"),
            (manifest.kind == Kind::Http, "kind"),
            (!manifest.mount.is_empty(), "mount"),
            (!manifest.listen.is_empty(), "listen"),
            (!manifest.connect.is_empty(), "connect"),
            (manifest.network != Network::default(), "network"),
        ];
        if let Some((_, key)) = fault.into_iter().find(|(said, _)| *said) {
            let message = format_args!("`{key}` is for WebAssembly, and {program} is a native program");
            return Err(project.fault(&[Key(key), Index(0)], message).hint(
                "remove it: such a program is entered by its `main`, opens its own sockets and writes no files; or build it \
                 for WebAssembly",
            ));
        }
        return Ok((Kind::Command, found));
    }
    if let Some(invoke) = &manifest.invoke {
        let fault = |message: &dyn std::fmt::Display| project.fault(&[Key("invoke")], message);
        if found.form == "component" {
            return Err(fault(&format_args!("`invoke` is for modules, and {program} is a component"))
                .hint("a component is entered by what it exports: remove `invoke`"));
        }
        if !found.functions.contains(invoke) {
            let functions: Vec<_> = found.functions.iter().take(20).map(String::as_str).collect();
            return Err(fault(&format_args!("{program} has no function `{invoke}`"))
                .hint(format_args!("its functions are {}", functions.join(", "))));
        }
    } else if found.form == "module" && found.entry.is_none() && manifest.kind != Kind::Http && http.is_none() {
        return Err(project
            .fault(&[Key("program")], format_args!("{program} has no `_start` function, so it is not a command"))
            .hint("build it as a command (a program with `main`), or name the function to call: invoke = \"run\""));
    }
    let no_handler = "exports no handler of wasi:http, so nobody would answer requests";
    match (manifest.kind, found.service, http) {
        (Kind::Auto | Kind::Http, true, _) => Ok((Kind::Http, found)),
        (Kind::Auto, false, Some(index)) => Err(project
            .fault(&[Key("listen"), Index(index), Key("protocol")], format_args!("{program} {no_handler}"))
            .hint("export the handler (world wasi:http/proxy), or remove the [[listen]]")),
        (Kind::Http, false, _) => Err(project
            .fault(&[Key("kind")], format_args!("{program} {no_handler}"))
            .hint("export the handler (world wasi:http/proxy), or say kind = \"command\"")),
        (Kind::Command, true, _) if !found.command => Err(project
            .fault(&[Key("kind")], format_args!("{program} does not export wasi:cli/run, so it is no command"))
            .hint("it exports a handler of wasi:http: say kind = \"http\" and give it a [[listen]]")),
        (Kind::Auto, false, None) | (Kind::Command, _, _) => Ok((Kind::Command, found)),
    }
}

fn explained(what: &str) -> Result<String, Failure> {
    if let Some(key) = Key::find(what) {
        return Ok(explain::key(key));
    }
    let path = Path::new(what);
    // Neither a key nor anything that is there, nor written as a path: a key that is spelled wrong.
    let word = !what.contains('/') && path.extension().is_none_or(|end| end != "toml" && end != "wasm");
    if word && !path.exists() {
        let near = KEYS.iter().min_by_key(|key| strsim::damerau_levenshtein(key.path, what));
        let failure = Failure::new(format_args!("`{what}` is neither a key of a manifest nor a file"));
        return Err(match near {
            Some(near) => failure.hint(format_args!("did you mean `{}`?", near.path)),
            None => failure,
        });
    }
    let project = Project::read(path)?.tell();
    let (kind, found) = agree(&project)?;
    Ok(explain::project(&project, kind, &found))
}

fn convert(file: &Path) -> Result<(), Failure> {
    let file = if file.is_dir() { file.join(ENARX) } else { file.to_owned() };
    let shown = file.display().to_string();
    let (manifest, notes) = enarx::read(&shown, &read_manifest(&file)?)?;
    enarx::tell(&shown, &notes);
    let text = toml::to_string(&manifest).map_err(|error| Failure::caused("cannot write TOML", &error))?;
    say(text.trim_end());
    Ok(())
}
