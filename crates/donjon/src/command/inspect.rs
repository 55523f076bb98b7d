//! `donjon inspect`: what a program is, what it wants of a Keep, and whether it will get it.
//!
//! Owns the list of what a Keep offers, as far as names tell it. Refuses nothing but a file that cannot be read: whatever
//! else is wrong with a program is the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use gate::elf::{Elf, Kind};
use serde::Serialize;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use workload::package::Program;
use workload::reference::Location;

use crate::command::remote;
use crate::failure::Failure;
use crate::registry::Registry;

/// Show what a program imports, how it is entered, what its manifest must grant, and whether a Keep runs it.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A program: a WebAssembly module or component, or a static-PIE ELF file. Or, where there is no such file, a location in a
    /// registry, HOST:PORT/REPOSITORY:TAG or @sha256:…: what its manifest says, and what is about it.
    program: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: Registry,
}

/// What is known of a program by looking at it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Inspection {
    /// For people: what it is.
    pub(crate) what: String,
    /// `module`, `component`, `elf` or `unknown`.
    pub(crate) form: &'static str,
    /// Versions of WASI it asks for.
    wasi: BTreeSet<String>,
    /// How it is entered.
    pub(crate) entry: Option<String>,
    /// Whether a request enters it.
    #[serde(skip)]
    pub(crate) service: bool,
    /// Whether it is entered once.
    #[serde(skip)]
    pub(crate) command: bool,
    /// What a module exports that could be called.
    #[serde(skip)]
    pub(crate) functions: BTreeSet<String>,
    imports: BTreeSet<String>,
    /// Of these, what no Keep has.
    missing: BTreeSet<String>,
    /// What the manifest must say.
    needs: Vec<String>,
    /// Why it does not run; it runs if there is nothing.
    pub(crate) faults: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let shown = self.program.display().to_string();
        if let (false, Ok(location)) = (self.program.exists(), shown.parse::<Location>()) {
            return remote::show(&location, &self.registry, self.json);
        }
        let bytes = std::fs::read(&self.program)
            .map_err(|error| Failure::caused(format_args!("cannot read the program {shown}"), &error).unusable())?;
        let inspection = inspect(bytes);
        let text = if self.json {
            serde_json::to_string_pretty(&inspection).map_err(|error| Failure::caused("cannot write JSON", &error))?
        } else {
            inspection.text(&shown)
        };
        // A reader that is gone ends nothing.
        _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        Ok(ExitCode::from(u8::from(!inspection.faults.is_empty())))
    }
}

pub(crate) fn inspect(bytes: Vec<u8>) -> Inspection {
    match Program::detect(bytes) {
        Ok(Program::Wasm(wasm)) => webassembly(&wasm),
        Ok(Program::Elf(elf)) => {
            let mut found = Inspection { what: "a native program".to_owned(), form: "elf", ..Inspection::default() };
            match Elf::read(&elf, elf.len() as u64, Kind::Program) {
                Ok(_) => {
                    found.entry = Some("its own".to_owned());
                    found.command = true;
                }
                Err(error) => found.faults.push(format!("{error}; {}", error.hint())),
            }
            found
        }
        Err(error) => Inspection {
            what: "not a program that a Keep runs".to_owned(),
            form: "unknown",
            faults: vec![error.to_string()],
            ..Inspection::default()
        },
    }
}

/// A name of a component's import or export: `wasi:http/types@0.2.6`.
struct Interface<'a> {
    package: &'a str,
    name: &'a str,
    /// `0.2` of `0.2.6`.
    version: &'a str,
}

impl<'a> Interface<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (path, version) = text.split_once('@')?;
        let (package, name) = path.split_once('/')?;
        let end = version.match_indices('.').nth(1).map_or(version.len(), |(at, _)| at);
        Some(Self { package, name, version: version.get(..end)? })
    }

    /// Whether it is what a Keep has beside WASI (`spec/keep-interface.md`).
    fn own(&self) -> bool {
        (self.package, self.name, self.version) == ("donjon:keep", "attestation", "0.1")
    }

    /// Whether a Keep has it.
    fn offered(&self) -> bool {
        let packages = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:random", "wasi:sockets"];
        match self.version {
            "0.2" => self.package == "wasi:io" || packages.contains(&self.package),
            "0.3" => packages.contains(&self.package),
            "0.1" => self.own(),
            _ => false,
        }
    }
}

/// The module of imports that is WASI 0.1.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What a Keep has beside it, for modules, with its functions.
const KEEP: &str = "donjon_keep_0_1";
const KEEPS: [&str; 4] = ["derive_key", "evidence", "sign", "verify"];

/// Its functions. Some runtimes have more, sockets above all.
const FUNCTIONS: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

fn webassembly(wasm: &[u8]) -> Inspection {
    let mut found = Inspection::default();
    let features = WasmFeatures::default() | WasmFeatures::GC | WasmFeatures::EXCEPTIONS | WasmFeatures::CM_ASYNC;
    if let Err(error) = Validator::new_with_features(features).validate_all(wasm) {
        found.faults.push(format!("it is not valid WebAssembly: {error}"));
    }
    let mut functions = BTreeSet::new();
    let mut exports = BTreeSet::new();
    let mut nested = 0_usize;
    found.form = "module";
    for payload in Parser::new(0).parse_all(wasm) {
        // What is wrong with it was said.
        let Ok(payload) = payload else { break };
        match payload {
            Payload::Version { encoding: wasmparser::Encoding::Component, .. } if nested == 0 => {
                found.form = "component"
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nested = nested.saturating_add(1),
            Payload::End(_) => nested = nested.saturating_sub(1),
            Payload::ImportSection(imports) if nested == 0 => {
                for import in imports.into_imports().flatten() {
                    found.imports.insert(format!("{}.{}", import.module, import.name));
                    if import.module == PREVIEW1 {
                        found.wasi.insert("0.1".to_owned());
                    }
                    let granted = match import.module {
                        PREVIEW1 => FUNCTIONS.contains(&import.name),
                        KEEP => KEEPS.contains(&import.name),
                        _ => false,
                    };
                    if !granted {
                        found.missing.insert(format!("{}.{}", import.module, import.name));
                    }
                }
            }
            Payload::ExportSection(section) if nested == 0 => {
                let named =
                    section.into_iter().flatten().filter(|export| export.kind == wasmparser::ExternalKind::Func);
                functions.extend(named.map(|export| export.name.to_owned()));
            }
            Payload::ComponentImportSection(imports) if nested == 0 => {
                for import in imports.into_iter().flatten() {
                    let name = import.name.name;
                    found.imports.insert(name.to_owned());
                    match Interface::parse(name).filter(Interface::offered) {
                        Some(interface) if interface.own() => {}
                        Some(interface) => _ = found.wasi.insert(interface.version.to_owned()),
                        None => _ = found.missing.insert(name.to_owned()),
                    }
                }
            }
            Payload::ComponentExportSection(section) if nested == 0 => {
                exports.extend(section.into_iter().flatten().map(|export| export.name.name.to_owned()));
            }
            _ => {}
        }
    }
    found.entered(&functions, &exports);
    found.wants();
    if !found.missing.is_empty() {
        let missing: Vec<_> = found.missing.iter().map(String::as_str).collect();
        found.faults.push(format!("it imports what no Keep has: {}", missing.join(", ")));
    }
    found
}

impl Inspection {
    /// How it is entered, by what it exports.
    fn entered(&mut self, functions: &BTreeSet<String>, exports: &BTreeSet<String>) {
        if self.form == "module" {
            self.what = "a module".to_owned();
            self.command = true;
            self.functions.clone_from(functions);
            if functions.contains("_start") {
                self.entry = Some("_start".to_owned());
                self.what = "a module, a command".to_owned();
                return;
            }
            let names: Vec<_> = functions.iter().filter(|name| *name != "_initialize").map(String::as_str).collect();
            if names.is_empty() {
                self.faults.push("it exports no function: build it as a command, a program with `main`".to_owned());
                return;
            }
            self.what = "a module without `_start`, a reactor".to_owned();
            let names: Vec<_> = names.into_iter().take(20).collect();
            self.needs.push(format!("`invoke` with one of its functions: {}", names.join(", ")));
            return;
        }
        self.what = "a component".to_owned();
        let entries: BTreeMap<_, _> = exports
            .iter()
            .filter_map(|name| {
                let interface = Interface::parse(name)?;
                let what = match (interface.package, interface.name, interface.version) {
                    ("wasi:http", "incoming-handler", "0.2") | ("wasi:http", "handler", "0.3") => "a service",
                    ("wasi:cli", "run", "0.2" | "0.3") => "a command",
                    _ => return None,
                };
                Some((what, name))
            })
            .collect();
        (self.service, self.command) = (entries.contains_key("a service"), entries.contains_key("a command"));
        // As exec chooses under `kind = "auto"`.
        match (entries.get("a service"), entries.get("a command")) {
            (Some(name), _) => {
                self.what = "a component, a service".to_owned();
                self.entry = Some((*name).clone());
                self.needs.push("[[listen]] with `name`, `port` and `protocol`".to_owned());
            }
            (None, Some(name)) => {
                self.what = "a component, a command".to_owned();
                self.entry = Some((*name).clone());
            }
            (None, None) => self.faults.push(
                "it exports neither wasi:cli/run nor a handler of wasi:http, of 0.2 or 0.3: nobody could enter it"
                    .to_owned(),
            ),
        }
    }

    /// What it may ask for, by what it imports.
    fn wants(&mut self) {
        let imports = |what: &[&str]| self.imports.iter().any(|name| what.iter().any(|what| name.starts_with(what)));
        let files = imports(&["wasi:filesystem/", "wasi_snapshot_preview1.path_"]);
        let sockets =
            imports(&["wasi:sockets/tcp", "wasi:sockets/udp", "wasi:sockets/types", "wasi_snapshot_preview1.sock_"]);
        let requests = imports(&["wasi:http/outgoing-handler", "wasi:http/client"]);
        if files {
            self.needs
                .push("[[file]] for what it reads and [[mount]] for where it writes, if it opens files".to_owned());
        }
        if sockets {
            self.needs.push(
                "[[listen]] and [[connect]] for its connections, or [network] for those of its own choice, if it makes any"
                    .to_owned(),
            );
        }
        if requests {
            self.needs.push("[[connect]] or [network] connect for whom it asks by HTTP, if it does".to_owned());
        }
    }

    fn text(&self, shown: &str) -> String {
        let mut lines = vec![format!("{shown}: {}", self.what)];
        let mut line = |name: &str, text: &str| lines.push(format!("  {name:<9} {text}"));
        let joined = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if !self.wasi.is_empty() {
            line("WASI", &joined(&self.wasi));
        }
        if let Some(entry) = &self.entry {
            line("entry", entry);
        }
        for (index, import) in self.imports.iter().enumerate() {
            line(if index == 0 { "imports" } else { "" }, import);
        }
        for need in &self.needs {
            line("needs", need);
        }
        line("runs", if self.faults.is_empty() { "yes" } else { "no" });
        for fault in &self.faults {
            line("", fault);
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Inspection {
        inspect(wat::parse_str(text).unwrap())
    }

    #[test]
    fn a_command_and_what_it_imports() {
        let found = of(r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1) (func (export "_start")))"#);
        assert_eq!((found.form, found.entry.as_deref(), found.faults.as_slice()), ("module", Some("_start"), &[][..]));
        assert_eq!(found.wasi, BTreeSet::from(["0.1".to_owned()]));
        assert!(found.needs.iter().any(|need| need.contains("[[mount]]")), "{found:?}");
        let text = found.text("a.wasm");
        assert!(text.starts_with("a.wasm: a module, a command\n  WASI      0.1\n  entry     _start\n"), "{text}");
        assert!(text.ends_with("  runs      yes"), "{text}");
    }

    #[test]
    fn an_import_that_no_keep_has() {
        let found = of(r#"(module (import "env" "magic" (func)) (func (export "_start")))"#);
        assert_eq!(found.missing, BTreeSet::from(["env.magic".to_owned()]));
        assert_eq!(found.faults, ["it imports what no Keep has: env.magic"]);
        let found = of(r#"(component (import "wasi:keyvalue/store@0.2.0" (instance)) (import "odd" (func)))"#);
        assert_eq!(found.missing, BTreeSet::from(["odd".to_owned(), "wasi:keyvalue/store@0.2.0".to_owned()]));
        let found = of(r#"(component (import "wasi:cli/environment@0.2.6" (instance)))"#);
        assert!(found.missing.is_empty(), "control");
        assert_eq!(of(r#"(component (import "wasi:cli/environment@0.4.0" (instance)))"#).missing.len(), 1);
    }

    #[test]
    fn what_a_keep_has_beside_wasi_is_granted() {
        for text in [
            r#"(module (import "donjon_keep_0_1" "sign" (func)) (func (export "_start")))"#,
            r#"(component (import "donjon:keep/attestation@0.1.0" (instance)))"#,
        ] {
            let found = of(text);
            assert!(found.missing.is_empty() && found.wasi.is_empty() && found.imports.len() == 1, "{found:?}");
        }
        for text in [
            r#"(module (import "donjon_keep_0_1" "brew" (func)) (func (export "_start")))"#,
            r#"(component (import "donjon:keep/attestation@0.2.0" (instance)))"#,
        ] {
            assert_eq!(of(text).missing.len(), 1, "{text}");
        }
    }

    #[test]
    fn a_reactor_needs_a_function() {
        let found = of(r#"(module (func (export "_initialize")) (func (export "b")) (func (export "a")))"#);
        assert_eq!(found.needs, ["`invoke` with one of its functions: a, b"]);
        assert!(found.faults.is_empty());
        assert_eq!(of("(module)").faults.len(), 1, "nobody can enter it");
    }

    /// WasmEdge has functions there that the specification has not.
    #[test]
    fn wasi_0_1_has_its_functions_and_no_more() {
        let importing = |name: &str| {
            of(&format!(r#"(module (import "wasi_snapshot_preview1" "{name}" (func)) (func (export "_start")))"#))
        };
        assert_eq!(importing("sock_open").missing, BTreeSet::from(["wasi_snapshot_preview1.sock_open".to_owned()]));
        assert!(importing("sock_accept").missing.is_empty(), "control");
    }

    /// Interpreters and compilers of others are full of them, and a Keep runs them.
    #[test]
    fn vectors_are_valid() {
        let vector = |lane: &str| of(&format!(r#"(module (func (export "_start") (drop (i8x16.splat ({lane} 1)))))"#));
        assert!(vector("i32.const").faults.is_empty(), "{:?}", vector("i32.const").faults);
        assert_eq!(vector("i64.const").faults.len(), 1, "a lane of another type");
    }

    /// What is in a component's modules is not its own.
    #[test]
    fn what_is_nested_does_not_count() {
        let found = of(r#"(component (core module (import "env" "magic" (func)) (func (export "_start"))))"#);
        assert_eq!((found.form, found.imports.len(), found.entry), ("component", 0, None));
    }

    #[test]
    fn what_is_no_program() {
        for bytes in [&b""[..], b"#!/bin/sh", b"\0asm", b"\0asm\x02\0\0\0", b"\x7fELF"] {
            assert_eq!(inspect(bytes.to_vec()).faults.len(), 1, "{bytes:?}");
        }
        let cut = inspect(b"\0asm\x01\0\0\0\x01\xff".to_vec());
        assert!(cut.faults.iter().any(|fault| fault.starts_with("it is not valid WebAssembly: ")), "{cut:?}");
    }
}
