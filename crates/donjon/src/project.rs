//! What a person points at – a program, a `Donjon.toml`, or a folder with one – read into a package. An `Enarx.toml` where there
//! is no `Donjon.toml` is read with the same meaning.
//!
//! Owns the folders among the files of a manifest: in a package there are only files. Refuses what in a folder is neither, a
//! manifest without a program, and a program that is neither WebAssembly nor an ELF file that a Keep can
//! start, before anything is packed or started.

pub(crate) mod enarx;
pub(crate) mod stock;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use gate::elf::{Elf, Kind};
use workload::manifest::{File, Manifest, Place};
use workload::package::{BuildError, Built, Package, Part, ProgramError, ProgramKind};
use workload::settings::{Position, Step};

use self::enarx::{ENARX, Note};
use self::stock::Blob;
use crate::failure::Failure;

/// The manifest's file name.
pub(crate) const MANIFEST: &str = "Donjon.toml";

/// A manifest and its program.
pub(crate) struct Project {
    pub(crate) manifest: Manifest,
    pub(crate) program: Part<Blob>,
    kind: ProgramKind,
    /// In the order of the manifest's.
    pub(crate) files: Vec<Part<Blob>>,
    /// Where the program is.
    pub(crate) path: PathBuf,
    /// What the manifest's file says that the manifest does not.
    pub(crate) notes: Vec<Note>,
    /// What messages call it.
    pub(crate) shown: String,
    /// The text of the manifest's file; nothing, if there is none.
    text: String,
}

impl Project {
    /// Reads `path`: a program, a `Donjon.toml`, or a folder that has one.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file = if path.is_dir() { in_folder(path) } else { path.to_owned() };
        let shown = file.display().to_string();
        if file.extension().is_none_or(|extension| extension != "toml") {
            let (manifest, (program, kind)) = (Manifest::default(), program(&file)?);
            let (files, notes, text) = (Vec::new(), Vec::new(), String::new());
            return Ok(Self { manifest, program, kind, files, path: file, notes, shown, text });
        }
        let text = read_manifest(&file)?;
        let enarx = file.file_name().is_some_and(|name| name == ENARX);
        let (mut manifest, notes) = if enarx {
            enarx::read(&shown, &text)?
        } else {
            let manifest = Manifest::from_toml(&shown, &text)
                .map_err(|error| Failure::hinted(&error, error.hint()).placed(&shown, error.at()))?;
            (manifest, Vec::new())
        };
        let Some(named) = &manifest.program else {
            return Err(Failure::new(format_args!("{shown} does not name its program"))
                .hint("add `program = \"path/to/main.wasm\"` (relative to that file)"));
        };
        let place = |path: &[Step<'_>]| Position::find(&text, path);
        let folder = file.parent().unwrap_or(Path::new(""));
        let path = folder.join(named);
        // Both are read from their first byte to their last, and may be long.
        let (program, files) = std::thread::scope(|scope| {
            let program = scope.spawn(|| program(&path));
            let files =
                manifest.file.iter().enumerate().try_fold(Vec::new(), |mut found, (index, File { path, source })| {
                    let source = folder.join(source.as_deref().unwrap_or_default());
                    let placed = [Step::Key("file"), Step::Index(index), Step::Key("source")];
                    let collected = collect(&source, path.as_str(), &mut found);
                    collected.map(|()| found).map_err(|failure| failure.placed(&shown, place(&placed)))
                });
            (program.join().unwrap_or_else(|panic| resume_unwind(panic)), files)
        });
        let (program, kind) = program.map_err(|failure| match enarx && !path.exists() {
            true => failure.placed(&shown, None).hint(
                "this file cannot name its program: put it beside as main.wasm, or write a Donjon.toml with `donjon manifest \
                 convert` and say `program` there",
            ),
            false => failure.placed(&shown, place(&[Step::Key("program")])),
        })?;
        let (paths, files) = files?.into_iter().unzip();
        let file = |path: Place| File { path, source: None };
        manifest.file = Vec::into_iter(paths).map(file).collect();
        Ok(Self { manifest, program, kind, files, path, notes, shown, text })
    }

    /// Something in the manifest that does not go with its program.
    pub(crate) fn fault(&self, path: &[Step<'_>], message: impl std::fmt::Display) -> Failure {
        Failure::new(message).placed(&self.shown, Position::find(&self.text, path))
    }

    /// Says what was read and does not count.
    pub(crate) fn tell(self) -> Self {
        enarx::tell(&self.shown, &self.notes);
        self
    }

    /// The package, whose digest names the workload.
    pub(crate) fn pack(self) -> Result<Built<Blob>, Failure> {
        Package::of(&self.manifest.for_package(), self.kind, self.program, self.files).map_err(|error| {
            let failure = Failure::caused("cannot pack the workload", &error);
            match &error {
                BuildError::Manifest(error) => match error.hint() {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                },
                _ => failure,
            }
        })
    }

    /// The package, with all of its bytes.
    pub(crate) fn pack_whole(self) -> Result<Built, Failure> {
        stock::whole(self.pack()?)
            .map_err(|error| Failure::caused("cannot read the workload", &error).hint("try it again"))
    }
}

/// The manifest of a folder: another's only where there is none of ours.
fn in_folder(folder: &Path) -> PathBuf {
    let (own, enarx) = (folder.join(MANIFEST), folder.join(ENARX));
    if enarx.exists() && !own.exists() { enarx } else { own }
}

/// The text of a manifest's file.
pub(crate) fn read_manifest(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::caused(format_args!("cannot read {}", file.display()), &error)
            .hint("name a program, or a folder with a Donjon.toml")
    })
}

/// The files at `source`, one or all that are in a folder, by their paths in the Keep, in the order of their names.
fn collect(source: &Path, path: &str, found: &mut Vec<(Place, Part<Blob>)>) -> Result<(), Failure> {
    let shown = source.display();
    let unread = |error: std::io::Error| {
        Failure::caused(format_args!("cannot read the file {shown}"), &error)
            .hint("correct the path (`source` in Donjon.toml, relative to that file)")
    };
    let kind = std::fs::metadata(source).map_err(unread)?;
    if kind.is_dir() {
        let names = source.read_dir().map_err(unread)?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<Result<Vec<_>, _>>().map_err(unread)?;
        names.sort();
        for name in names {
            let Some(text) = name.to_str() else {
                return Err(Failure::new(format_args!("{shown} has a file whose name is not UTF-8")).hint("rename it"));
            };
            collect(&source.join(text), &format!("{}/{text}", path.trim_end_matches('/')), found)?;
        }
        return Ok(());
    }
    if !kind.is_file() {
        return Err(Failure::new(format_args!("{shown} is neither a file nor a folder"))
            .hint("a package has files with content: leave it out"));
    }
    let path = path.parse().map_err(|error| Failure::caused(format_args!("{shown} cannot be at {path}"), &error))?;
    found.push((path, Blob::part(source).map_err(unread)?.0));
    Ok(())
}

fn program(file: &Path) -> Result<(Part<Blob>, ProgramKind), Failure> {
    let shown = file.display();
    let (part, head) = Blob::part(file).map_err(|error| {
        Failure::caused(format_args!("cannot read the program {shown}"), &error)
            .hint("build it first, or correct the path (`program` in Donjon.toml)")
    })?;
    let none = || format!("{shown} is not a program that a Keep runs");
    let kind = ProgramKind::of(&head, part.size).map_err(|error| {
        let hint = match error {
            ProgramError::Truncated { .. } => "the file is cut short: build or download it again",
            ProgramError::TooLong { .. } => "take data out of it: the program can be given them when it runs",
            _ => "build for wasm32-wasip1 or wasm32-wasip2, and give the .wasm file itself",
        };
        Failure::caused(none(), &error).hint(hint)
    })?;
    // The Keep judges it again; here the person who built it reads why.
    if kind == ProgramKind::Elf {
        Elf::read(&head, part.size, Kind::Program)
            .map_err(|error| Failure::caused(none(), &error).hint(error.hint()))?;
    }
    Ok((part, kind))
}
