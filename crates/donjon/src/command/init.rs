//! `donjon init`: the owner key on first use, and a first `Donjon.toml`, or a whole first program.
//!
//! Refuses to write over anything: of a template either every file is written or none.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::command::templates::Template;
use crate::failure::Failure;
use crate::owner::Owner;
use crate::project::MANIFEST;

/// Make the owner key (once for this user) and a Donjon.toml in this folder, or a first program; prints the owner's digest.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder of the project.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Begin with a small program in this language; the README.md that it brings says how to build and run it.
    #[arg(long, value_name = "NAME")]
    template: Option<Template>,
    /// The owner key; default: owner.pem in $DONJON_HOME, $XDG_CONFIG_HOME/donjon or ~/.config/donjon.
    #[arg(long, value_name = "FILE", env = "DONJON_OWNER_KEY")]
    owner_key: Option<PathBuf>,
}

const TEMPLATE: &str = "\
# What this workload is. Every key: `spec/manifest.md`.
program = \"main.wasm\"
# args = [\"--verbose\"]

# [env]
# LANG = \"C.UTF-8\"

# A wasi:http service listens; `http` for `donjon run`, `https` with the Keep's certificate for `donjon deploy`.
# [[listen]]
# name = \"web\"
# port = 8443
# protocol = \"https\"
";

impl Init {
    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "the digest is data, what was made is talk")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let file = self.owner_key.map_or_else(Owner::home, Ok)?;
        let (owner, made) = Owner::open(&file)?;
        let shown = file.display();
        if made {
            eprintln!("donjon: made the owner key {shown}; keep a copy in a safe place");
        } else {
            eprintln!("donjon: the owner key is {shown}");
        }
        let manifest = self.dir.join(MANIFEST);
        if let Some(template) = self.template {
            lay(&self.dir, template)?;
            eprintln!(
                "donjon: wrote {}; {} says how to build and run it",
                manifest.display(),
                self.dir.join(README).display()
            );
        } else if !manifest.exists() {
            std::fs::write(&manifest, TEMPLATE)
                .map_err(|error| Failure::caused(format_args!("cannot write {}", manifest.display()), &error))?;
            eprintln!("donjon: wrote {}", manifest.display());
        }
        println!("{}", owner.digest());
        Ok(ExitCode::SUCCESS)
    }
}

/// Which of a template's files says what to do with them.
const README: &str = "README.md";

/// Writes the files of a template.
fn lay(dir: &Path, template: Template) -> Result<(), Failure> {
    let files = template.files().iter().map(|(path, content)| (dir.join(path), content));
    if let Some((there, _)) = files.clone().find(|(path, _)| path.exists()) {
        let failure = Failure::new(format_args!("{} is there already", there.display()));
        return Err(failure.hint("name a new folder: `donjon init --template NAME DIR`"));
    }
    for (path, content) in files {
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::caused(format_args!("cannot make the folder {}", folder.display()), &error))?;
        std::fs::write(&path, content)
            .map_err(|error| Failure::caused(format_args!("cannot write {}", path.display()), &error))?;
    }
    Ok(())
}
