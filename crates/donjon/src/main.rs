//! The `donjon` command: arguments to settings, settings to one command, failures to people.
//!
//! Owns the command line, the exit codes and how errors are shown: what failed, what was expected and found, `hint:` what
//! to do. Standard output is data, standard error is talk.
//!
//! Exit codes: the program's own status for `run` and `deploy`; 125 when Donjon itself failed; 134 for a trap; 130 and 143
//! after SIGINT and SIGTERM, but for a service, which answers its last requests and ends with 0; 1 when `measure --diff`
//! finds another measurement or `attack` finds anything, when `verify` and its like refuse, and when `collateral fetch` leaves
//! anything missing; 2 for a command line that
//! cannot be read (clap's), and for files that `verify` and its like cannot use.

#![forbid(unsafe_code)]

mod code;
mod command;
mod deploy;
mod failure;
mod layout;
mod owner;
mod project;
mod registry;
mod signed;
mod steps;

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
    Demo(command::demo::Demo),
    Run(command::run::Run),
    Init(command::init::Init),
    Pack(command::pack::Pack),
    Push(command::push::Push),
    Sign(command::sign::Sign),
    #[command(subcommand)]
    Policy(command::push::Policy),
    Pull(command::remote::Pull),
    Tag(command::remote::Tag),
    List(command::remote::List),
    Delete(command::remote::Delete),
    Login(command::account::Login),
    Logout(command::account::Logout),
    Whoami(command::account::Whoami),
    #[command(subcommand)]
    Token(command::token::Token),
    #[command(subcommand)]
    Secret(command::secret::Secret),
    #[command(subcommand)]
    Member(command::organisation::Member),
    #[command(subcommand)]
    Repository(command::organisation::Repository),
    Deploy(command::deploy::Deploy),
    #[command(subcommand)]
    Steward(command::steward::Steward),
    #[command(subcommand)]
    Drawbridge(command::drawbridge::Drawbridge),
    #[command(subcommand)]
    Collateral(command::collateral::Collateral),
    Inspect(command::inspect::Inspect),
    #[command(subcommand)]
    Manifest(command::manifest::Manifest),
    Platform(command::platform::Platform),
    Measure(command::measure::Measure),
    Verify(command::verify::Verify),
    Bundle(command::verify::Bundle),
    Why(command::verify::Why),
    Ear(command::verify::Ear),
    #[command(subcommand)]
    Cert(command::verify::cert::Cert),
    Rehearse(command::verify::Rehearse),
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Attack(command::attack::Attack),
}

fn main() -> ExitCode {
    if let Some(code) = keep::monitor() {
        return code;
    }
    descriptors();
    let result = match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Run(run) => run.run(),
        Command::Init(init) => init.run(),
        Command::Pack(pack) => pack.run(),
        Command::Push(push) => push.run(),
        Command::Sign(sign) => sign.run(),
        Command::Policy(policy) => policy.run(),
        Command::Pull(pull) => pull.run(),
        Command::Tag(tag) => tag.run(),
        Command::List(list) => list.run(),
        Command::Delete(delete) => delete.run(),
        Command::Login(login) => login.run(),
        Command::Logout(logout) => logout.run(),
        Command::Whoami(whoami) => whoami.run(),
        Command::Token(token) => token.run(),
        Command::Secret(secret) => secret.run(),
        Command::Member(member) => member.run(),
        Command::Repository(repository) => repository.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Steward(steward) => steward.run(),
        Command::Drawbridge(drawbridge) => drawbridge.run(),
        Command::Collateral(collateral) => collateral.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Manifest(manifest) => manifest.run(),
        Command::Platform(platform) => platform.run(),
        Command::Measure(measure) => measure.run(),
        Command::Verify(verify) => verify.run(),
        Command::Bundle(bundle) => bundle.run(),
        Command::Why(why) => why.run(),
        Command::Ear(ear) => ear.run(),
        Command::Cert(cert) => cert.run(),
        Command::Rehearse(rehearse) => rehearse.run(),
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        Command::Attack(attack) => attack.run(),
    };
    result.unwrap_or_else(|failure| failure.show())
}

/// As many descriptors as there may be: what is started here has one for each connection, and shells begin with few.
fn descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer it does as well, for fewer.
    _ = setrlimit(Resource::Nofile, limit);
}
