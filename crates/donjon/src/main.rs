//! The `donjon` command: arguments to settings, settings to one command, failures to people.
//!
//! Owns the command line, the exit codes and how errors are shown: what failed, what was expected and found, `hint:` what
//! to do. Standard output is data, standard error is talk.
//!
//! Exit codes: the program's own status for `run`; 125 when Donjon itself failed; 134 for a trap; 2 for a command line
//! that cannot be read (clap's).

#![forbid(unsafe_code)]

mod command;
mod failure;
mod project;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Run WebAssembly in trusted execution environments, on hosts nobody has to trust.
#[derive(Debug, Parser)]
#[command(name = "donjon", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(command::run::Run),
    Pack(command::pack::Pack),
    Platform(command::platform::Platform),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Pack(pack) => pack.run(),
        Command::Platform(platform) => platform.run(),
    };
    result.unwrap_or_else(|failure| failure.show())
}
