//! `donjon pack`: from a project to an OCI image layout, reproducibly.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use workload::package::{Built, MANIFEST};

use crate::failure::Failure;
use crate::layout::Layout;
use crate::project::Project;

/// Pack a program and its manifest; prints the workload's digest.
#[derive(Debug, clap::Args)]
pub(crate) struct Pack {
    /// A program (WebAssembly or static-PIE ELF), a Donjon.toml, or a folder that has one.
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Write an OCI image layout into this folder, which must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    layout: Option<PathBuf>,
}

impl Pack {
    #[allow(clippy::print_stdout, reason = "the digest is this command's data")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let built = Project::read(&self.project)?.tell().pack_whole()?;
        if let Some(dir) = &self.layout {
            write(dir, &built).map_err(|error| {
                Failure::caused(format_args!("cannot write the image layout {}", dir.display()), &error)
                    .hint("name a folder that does not exist yet")
            })?;
        }
        println!("{}", built.digest);
        Ok(ExitCode::SUCCESS)
    }
}

fn write(dir: &Path, built: &Built) -> std::io::Result<()> {
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "the folder is not empty"));
    }
    let layout = Layout::new(dir)?;
    layout.put(&built.digest, &built.manifest)?;
    for (descriptor, bytes) in &built.blobs {
        layout.put(&descriptor.digest, bytes)?;
    }
    layout.end(MANIFEST, &built.digest, built.manifest.len())
}
