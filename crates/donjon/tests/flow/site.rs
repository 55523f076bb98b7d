//! Steward, Drawbridge, owner and administrator as separate processes, and the commands of the guide: what an operator has.
//!
//! Keeps are processes on simulated SEV-SNP; in the suite `run_kvm` micro-VMs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::{NamedTempFile, TempDir};

use crate::support::BACKEND;

/// What `deploy` makes Keeps of.
pub(crate) const PLATFORM: &str = match BACKEND.as_bytes() {
    b"kvm" => "sim-snp",
    _ => "sim",
};

/// A server that ends with the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// What it printed first: `name value`, a line each.
    pub(crate) facts: Vec<(String, String)>,
    log: Option<NamedTempFile>,
}

impl Server {
    /// Starts it, and reads the facts until the line that begins with `last`.
    pub(crate) fn start(arguments: &[&str], last: &str) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut command = donjon(arguments);
        command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(log.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let mut facts = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let (name, value) = line.split_once(' ').unwrap_or((&line, ""));
            facts.push((name.to_owned(), value.trim().to_owned()));
            if name == last {
                break;
            }
        }
        Self { child, facts, log: Some(log) }
    }

    /// One that somebody else started.
    pub(crate) fn of(child: Child) -> Self {
        Self { child, facts: Vec::new(), log: None }
    }

    /// What it said so far, at its most verbose.
    pub(crate) fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log.as_ref().unwrap().path()).unwrap()).into_owned()
    }

    pub(crate) fn fact(&self, name: &str) -> &str {
        &self.facts.iter().find(|(known, _)| known == name).expect(name).1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub(crate) fn donjon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
    command.args(arguments).env_remove("RUST_BACKTRACE").env_remove("DONJON_TOKEN").stdin(Stdio::null());
    command.env("DONJON_NO_CACHE", "1");
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = donjon(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs a command that must succeed, and gives its standard output.
pub(crate) fn done(arguments: &[&str]) -> String {
    let (code, out, err) = run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
    out.trim().to_owned()
}

/// Runs a command that must fail, and gives its standard error.
pub(crate) fn fails(arguments: &[&str]) -> String {
    let (code, out, err) = run(arguments);
    assert_eq!(code, Some(125), "{arguments:?}: {out}{err}");
    assert!(err.contains("error: ") && err.contains("\nhint: "), "{err}");
    err
}

/// A module that exits with this status.
pub(crate) fn program(status: u8) -> Vec<u8> {
    let text = format!(
        "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
           (memory (export \"memory\") 1)
           (func (export \"_start\") (call $exit (i32.const {status}))))"
    );
    wat::parse_str(text).unwrap()
}

/// Everything that stands ready before the first deploy.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) steward: Server,
    pub(crate) drawbridge: Server,
    pub(crate) location: String,
}

impl Site {
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let file = self.dir.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    pub(crate) fn new(snp: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let owner = done(&["init", &dir.path().display().to_string(), "--owner-key", &at("owner.pem")]);
        let measurement = measurement();
        std::fs::write(at("ark.pem"), silicon::Product::Genoa.ark_pem()).unwrap();
        let tee = if snp {
            format!("insecure_roots = [\"ark.pem\"]\n[snp]\nhash = [\"{measurement}\"]\n")
        } else {
            String::new()
        };
        std::fs::write(
            at("steward.toml"),
            format!(
                "trust_domain = \"test.internal\"\nclass = \"insecure\"\nany_platform = true\n{tee}\
                 [[name]]\nowner = \"{owner}\"\ndeployment = \"exit\"\ndns = \"exit.test.internal\"\n"
            ),
        )
        .unwrap();
        let steward =
            Server::start(&["steward", "serve", "--policy", &at("steward.toml"), "--listen", "127.0.0.1:0"], "policy");

        let token = donjon(&["drawbridge", "token", "ci", "team/*"]).output().unwrap();
        std::fs::write(at("token"), &token.stdout).unwrap();
        std::fs::write(at("tokens.toml"), &token.stderr).unwrap();
        done(&["drawbridge", "secrets-key", &at("secrets.key")]);
        let drawbridge = format!(
            "[secrets]\nfile = \"{}\"\n[steward]\nurl = \"{}\"\nanchors = [\"{}\"]\n\n[repository.\"team/exit\"]\nowner = \"{owner}\"\naccess = \"confidential\"\n\
             [repository.\"team/second\"]\nowner = \"{owner}\"\naccess = \"confidential\"\n\
             [repository.\"team/open\"]\naccess = \"public\"\n",
            at("secrets.key"),
            steward.fact("url"),
            steward.fact("anchor")
        );
        std::fs::write(at("drawbridge.toml"), drawbridge).unwrap();
        let drawbridge = Server::start(
            &[
                "drawbridge",
                "serve",
                "--settings",
                &at("drawbridge.toml"),
                "--tokens",
                &at("tokens.toml"),
                "--store",
                &at("store"),
                "--listen",
                "127.0.0.1:0",
                "--tls-self-made",
                "localhost",
            ],
            "pin",
        );
        let port = drawbridge.fact("url").rsplit(':').next().unwrap().to_owned();
        let location = format!("localhost:{port}/team/exit");
        let site = Self { dir, steward, drawbridge, location };
        site.write("project/main.wasm", program(7));
        site.write("project/Donjon.toml", "program = \"main.wasm\"\n");
        let plan = format!(
            "deployment = \"exit\"\ntrust_domain = \"test.internal\"\n[role.main]\n\
             [release]\nclass = \"insecure\"\nanchors = [\"{}\"]\n",
            site.steward.fact("anchor")
        );
        site.write("project/Deployment.toml", plan);
        site
    }

    pub(crate) fn push<'a>(&'a self, extra: &[&'a str]) -> Vec<String> {
        self.push_to(&self.location, extra)
    }

    pub(crate) fn push_to<'a>(&'a self, location: &'a str, extra: &[&'a str]) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "push",
            location,
            &self.path("project"),
            "--owner-key",
            &self.path("owner.pem"),
            "--pin",
            self.drawbridge.fact("pin"),
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        arguments.extend(extra.iter().map(ToString::to_string));
        arguments
    }

    pub(crate) fn deploy(&self, location: &str, extra: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["deploy", location, "--backend", PLATFORM, "--pin", self.drawbridge.fact("pin")]
                .iter()
                .map(ToString::to_string)
                .collect();
        arguments.extend(extra.iter().map(ToString::to_string));
        arguments
    }
}

pub(crate) fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// What the simulated hardware measures of such a Keep.
pub(crate) fn measurement() -> String {
    let told = match PLATFORM {
        "sim" => done(&["platform", "--json"]),
        platform => done(&["measure", "--backend", platform]),
    };
    let word = |text: &str| text.len() == 96 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    told.split(|character: char| !character.is_ascii_alphanumeric()).find(|text| word(text)).unwrap().to_owned()
}
