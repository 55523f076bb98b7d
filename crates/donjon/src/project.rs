//! What a person points at – a program, a `Donjon.toml`, or a folder with one – read into a package.
//!
//! Refuses a manifest without a program, and a program that is neither WebAssembly nor an ELF file that a Keep can
//! start, before anything is packed or started.

use std::path::{Path, PathBuf};

use gate::elf::{Elf, Kind};
use workload::manifest::Manifest;
use workload::package::{Built, Package, Program, ProgramError};

use crate::failure::Failure;

/// The manifest's file name.
pub(crate) const MANIFEST: &str = "Donjon.toml";

/// A manifest and its program.
pub(crate) struct Project {
    pub(crate) manifest: Manifest,
    pub(crate) program: Program,
}

impl Project {
    /// Reads `path`: a program, a `Donjon.toml`, or a folder that has one.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file = if path.is_dir() { path.join(MANIFEST) } else { path.to_owned() };
        if file.extension().is_none_or(|extension| extension != "toml") {
            return Ok(Self { manifest: Manifest::default(), program: program(&file)? });
        }
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Failure::caused(format_args!("cannot read {shown}"), &error)
                .hint("name a program, or a folder with a Donjon.toml")
        })?;
        let manifest = Manifest::from_toml(&shown, &text).map_err(|error| Failure::hinted(&error, error.hint()))?;
        let Some(named) = &manifest.program else {
            return Err(Failure::new(format_args!("{shown} does not name its program"))
                .hint("add `program = \"path/to/main.wasm\"` (relative to that file)"));
        };
        let program = program(&file.parent().unwrap_or(Path::new("")).join(named))?;
        Ok(Self { manifest, program })
    }

    /// The package, whose digest names the workload.
    pub(crate) fn pack(self) -> Result<Built, Failure> {
        Package::build(&self.manifest.for_package(), self.program)
            .map_err(|error| Failure::caused("cannot pack the workload", &error))
    }
}

fn program(file: &PathBuf) -> Result<Program, Failure> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::caused(format_args!("cannot read the program {shown}"), &error)
            .hint("build it first, or correct the path (`program` in Donjon.toml)")
    })?;
    let none = || format!("{shown} is not a program that a Keep runs");
    let program = Program::detect(bytes).map_err(|error| {
        let hint = match error {
            ProgramError::Truncated { .. } => "the file is cut short: build or download it again",
            ProgramError::TooLong { .. } => "take data out of it: the program can be given them when it runs",
            _ => "build for wasm32-wasip1 or wasm32-wasip2, and give the .wasm file itself",
        };
        Failure::caused(none(), &error).hint(hint)
    })?;
    // The Keep judges it again; here the person who built it reads why.
    if let Program::Elf(elf) = &program {
        Elf::read(elf, elf.len() as u64, Kind::Program)
            .map_err(|error| Failure::caused(none(), &error).hint(error.hint()))?;
    }
    Ok(program)
}
