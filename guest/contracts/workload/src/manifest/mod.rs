//! The manifest: what the publisher of a workload fixes. In a package it is canonical JSON, beside a program `Donjon.toml`.
//!
//! Owns the keys, their defaults and the two readings (`spec/manifest.md`). Refuses unknown keys, a key that says its own
//! default in a package (one value, one encoding), and listeners this version cannot serve: they are named, not ignored.
//! Invariant: [`Manifest::from_json`] gives back its input byte for byte through [`Manifest::to_json`].

mod files;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::brief::{Brief, is_argument, is_variable};
use crate::names::Name;
use crate::package::Object;
pub use files::{FILE_LIMIT, FILES, File, MOUNT_SIZE, MOUNTS, Mount, MountKind, Place, PlaceError, Size, SizeError};

/// What a WebAssembly program is called if its manifest does not say.
pub const ARG0: &str = "main.wasm";

/// The longest manifest in a package, in bytes.
pub const CONFIG_LIMIT: usize = 1024 * 1024;

/// What a workload needs from the Keep, fixed by its publisher. [`Manifest::default`] is a program without arguments
/// that gets no listener.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// Path of the program beside `Donjon.toml`. Never in a package: there the program is a layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// What kind of program this is.
    #[serde(skip_serializing_if = "Kind::is_auto")]
    pub kind: Kind,
    /// The function of a module that is called instead of `_start`: the module is a reactor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoke: Option<String>,
    /// What the program is called, its argument 0; `None` = [`ARG0`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arg0: Option<String>,
    /// Arguments after the program's name, before the brief's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment; wins over the brief's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where standard input comes from; `None` = not said, see [`Manifest::stdio`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Stdio>,
    /// Where standard output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Stdio>,
    /// Where standard error goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Stdio>,
    /// Files that came with the package, in the order of their layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<File>,
    /// What else there is in the file system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount: Vec<Mount>,
    /// Where the workload is reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Listen>,
}

/// What kind of program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Decided by what the program exports.
    #[default]
    Auto,
    /// Runs once and ends with a status.
    Command,
    /// A `wasi:http` service; has exactly one listener.
    Http,
}

/// Where a standard stream leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdio {
    /// Nowhere: empty input, output dropped.
    Null,
    /// To the host, who reads it.
    Host,
}

/// One place where the workload is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// What the program and the log call it.
    pub name: Name,
    /// The port; 0 = any free one, told when it listens.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Bytes in the clear. Reserved.
    Tcp,
    /// TLS by the Keep's identity, bytes inside. Reserved.
    Tls,
    /// HTTP/1.1 and HTTP/2 in the clear.
    Http,
    /// HTTP/1.1 and HTTP/2 in TLS by the Keep's identity.
    Https,
}

/// Why this is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than [`CONFIG_LIMIT`].
    #[error("a manifest has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// [`CONFIG_LIMIT`].
        limit: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// Not JSON, or not the keys and types of a manifest. (TOML has its own errors, with line and column.)
    #[error("line {line}, column {column}: {message}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the reader expected.
        message: String,
    },
    /// A right manifest in another than its canonical form.
    #[error(
        "the manifest is not in its canonical form (no spaces, keys in fixed order, no key that states its default)"
    )]
    NotCanonical,
    /// `program` in a package.
    #[error("`program` belongs into Donjon.toml; in a package the program is a layer")]
    ProgramInPackage,
    /// `source` of a file in a package.
    #[error("`file[{index}].source` belongs into Donjon.toml; in a package a file is a layer")]
    SourceInPackage {
        /// Which file, from 0.
        index: usize,
    },
    /// A file without `source` beside a program.
    #[error("`file[{index}].source` is missing: where the file is, relative to Donjon.toml")]
    NoSource {
        /// Which file, from 0.
        index: usize,
    },
    /// More files or mounts than a manifest may have.
    #[error("a manifest has at most {limit} `[[{what}]]` sections, this one has {found}")]
    TooMany {
        /// The section.
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// A file whose path is `/`.
    #[error("a file's path has a name: `/` is a directory")]
    Root,
    /// Two files or two mounts at one path, or something inside of a file.
    #[error("`{path}` is there twice, or lies in what is a file")]
    PathTwice {
        /// The path.
        path: Place,
    },
    /// `invoke` of what is no command, or without a name.
    #[error("`invoke` names the function of a reactor that is called once; here is {found}")]
    Invoke {
        /// What is there instead.
        found: &'static str,
    },
    /// `arg0` is empty or has a NUL.
    #[error("`arg0` is not empty, and has no NUL character")]
    Name,
    /// An argument with a NUL.
    #[error("`args[{index}]` contains a NUL character")]
    Argument {
        /// Which, from 0.
        index: usize,
    },
    /// An environment variable whose name is empty or has `=`, or a NUL anywhere.
    #[error("`env.{name}`: a name is not empty and has no `=`, and neither name nor value has a NUL character")]
    Variable {
        /// Its name.
        name: String,
    },
    /// A listener of a kind that is in the format but not in this version.
    #[error("`listen[{index}].protocol = \"{protocol}\"` is not yet supported")]
    NotYet {
        /// Which listener, from 0.
        index: usize,
        /// What it asks for.
        protocol: Protocol,
    },
    /// `kind = "command"` with listeners.
    #[error("`listen[0].protocol = \"{protocol}\"` belongs to an HTTP service, but `kind = \"command\"`")]
    ListenerOfCommand {
        /// What the first listener asks for.
        protocol: Protocol,
    },
    /// `kind = "http"` without a listener.
    #[error("`kind = \"http\"` needs a `[[listen]]` section with `name`, `port` and `protocol`")]
    NoListener,
    /// More than one HTTP listener.
    #[error("an HTTP service has exactly one `[[listen]]` section, here are {found}")]
    Listeners {
        /// How many.
        found: usize,
    },
}

impl ManifestError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLong { .. } => Some("put data into files, not into arguments or environment"),
            Self::Json { .. } | Self::NotCanonical => Some("let `donjon pack` write the manifest"),
            Self::ProgramInPackage => Some("remove `program` from the package's manifest"),
            Self::SourceInPackage { .. } => Some("remove `source` from the package's manifest"),
            Self::NoSource { .. } => Some("add `source = \"path/of/the/file\"` to the [[file]] section"),
            Self::TooMany { .. } => Some("put many files into one archive that the program reads"),
            Self::Root => Some("write the whole path, for example \"/etc/ca.pem\""),
            Self::PathTwice { .. } => Some("give each file and each mount its own path"),
            Self::Invoke { .. } => Some("remove `invoke`, or `kind` and [[listen]]"),
            Self::Name | Self::Argument { .. } | Self::Variable { .. } => None,
            Self::NotYet { .. } => Some("use protocol \"http\" or \"https\" with a wasi:http service"),
            Self::ListenerOfCommand { .. } => Some("remove the `[[listen]]` section, or `kind`"),
            Self::NoListener => Some("add: [[listen]] name = \"web\", port = 8443, protocol = \"https\""),
            Self::Listeners { .. } => Some("keep one `[[listen]]` section"),
        }
    }
}

/// Where the three standard streams lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

impl Manifest {
    /// Reads a package's config blob.
    ///
    /// # Errors
    /// Anything but the canonical form of a valid manifest.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > CONFIG_LIMIT {
            return Err(ManifestError::TooLong { limit: CONFIG_LIMIT, found: bytes.len() });
        }
        let Object(manifest): Object<Self> = serde_json::from_slice(bytes).map_err(|error| json(&error))?;
        if manifest.to_json()? != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// The package's config blob: canonical JSON.
    ///
    /// # Errors
    /// The manifest breaks a rule of the format, or still has `program`; see [`Manifest::for_package`].
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        if self.program.is_some() {
            return Err(ManifestError::ProgramInPackage);
        }
        if let Some(index) = self.file.iter().position(|file| file.source.is_some()) {
            return Err(ManifestError::SourceInPackage { index });
        }
        self.consistent()?;
        let bytes = serde_json::to_vec(self).map_err(|error| json(&error))?;
        if bytes.len() > CONFIG_LIMIT {
            return Err(ManifestError::TooLong { limit: CONFIG_LIMIT, found: bytes.len() });
        }
        Ok(bytes)
    }

    /// The same manifest without what only `Donjon.toml` has.
    #[must_use]
    pub fn for_package(mut self) -> Self {
        self.program = None;
        for file in &mut self.file {
            file.source = None;
        }
        self
    }

    /// The program's arguments after its name: the publisher's, then the launcher's.
    #[must_use]
    pub fn arguments(&self, brief: &Brief) -> Vec<String> {
        self.args.iter().chain(&brief.args).cloned().collect()
    }

    /// The program's environment: what the publisher fixed wins over what the launcher supplies.
    #[must_use]
    pub fn environment(&self, brief: &Brief) -> BTreeMap<String, String> {
        brief.env.iter().cloned().chain(self.env.clone()).collect()
    }

    /// Where the streams lead. What is not said leads to the host when the Keep has no Steward (`donjon run`, where there
    /// is nothing to protect from him), and nowhere when it has one (`donjon deploy`).
    #[must_use]
    pub fn stdio(&self, brief: &Brief) -> Streams {
        let default = if brief.steward.is_some() { Stdio::Null } else { Stdio::Host };
        Streams {
            stdin: self.stdin.unwrap_or(default),
            stdout: self.stdout.unwrap_or(default),
            stderr: self.stderr.unwrap_or(default),
        }
    }

    /// Where a `wasi:http` service is reached: its one listener, or, when the manifest says nothing (a plain Wasm
    /// artifact), HTTPS at any free port. A Keep without a Steward has no certificate: it serves that default, and only
    /// that, in the clear.
    #[must_use]
    pub fn http_listener(&self) -> Listen {
        let default = || Listen { name: Name::https(), port: 0, protocol: Protocol::Https };
        self.listen.first().cloned().unwrap_or_else(default)
    }

    /// The rules between keys, which serde cannot know.
    pub(crate) fn consistent(&self) -> Result<(), ManifestError> {
        let Self { program: _, kind, invoke, arg0, args, env, stdin: _, stdout: _, stderr: _, file, mount, listen } =
            self;
        if let Some(function) = invoke {
            match (kind, listen.first(), function.as_str()) {
                (Kind::Http, _, _) => return Err(ManifestError::Invoke { found: "an HTTP service" }),
                (_, Some(_), _) => return Err(ManifestError::Invoke { found: "a listener" }),
                (_, None, "") => return Err(ManifestError::Invoke { found: "no name" }),
                (Kind::Auto | Kind::Command, None, _) => {}
            }
        }
        files::consistent(file, mount)?;
        if arg0.as_ref().is_some_and(|name| name.is_empty() || !is_argument(name)) {
            return Err(ManifestError::Name);
        }
        if let Some(index) = args.iter().position(|arg| !is_argument(arg)) {
            return Err(ManifestError::Argument { index });
        }
        if let Some((name, _)) = env.iter().find(|(name, value)| !is_variable(name, value)) {
            return Err(ManifestError::Variable { name: name.clone() });
        }
        for (index, Listen { name: _, port: _, protocol }) in listen.iter().enumerate() {
            match protocol {
                Protocol::Tcp | Protocol::Tls => {
                    return Err(ManifestError::NotYet { index, protocol: *protocol });
                }
                Protocol::Http | Protocol::Https => {}
            }
        }
        match (kind, listen.as_slice()) {
            (Kind::Command, [Listen { name: _, port: _, protocol }, ..]) => {
                Err(ManifestError::ListenerOfCommand { protocol: *protocol })
            }
            (Kind::Http, []) => Err(ManifestError::NoListener),
            (Kind::Command | Kind::Auto, []) | (Kind::Auto | Kind::Http, [_]) => Ok(()),
            (Kind::Auto | Kind::Http, _) => Err(ManifestError::Listeners { found: listen.len() }),
        }
    }
}

impl Kind {
    /// For serde: the default is not written.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

fn json(error: &serde_json::Error) -> ManifestError {
    let (line, column) = (error.line(), error.column());
    let text = alloc::format!("{error}");
    let place = alloc::format!(" at line {line} column {column}");
    let message = text.strip_suffix(place.as_str()).unwrap_or(&text).into();
    ManifestError::Json { line, column, message }
}

#[cfg(feature = "settings")]
mod toml {
    use super::{Manifest, ManifestError};
    use crate::settings::{self, SettingsError};

    /// Why a `Donjon.toml` is refused.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum ManifestFileError {
        /// Not TOML, unknown or missing keys, wrong types.
        #[error(transparent)]
        Settings(#[from] SettingsError),
        /// Keys that do not go together.
        #[error("{file}: {error}")]
        Manifest {
            /// The file's name.
            file: alloc::string::String,
            /// What is wrong.
            error: ManifestError,
        },
    }

    impl ManifestFileError {
        /// What to do about it, in a sentence.
        #[must_use]
        pub fn hint(&self) -> Option<alloc::string::String> {
            match self {
                Self::Settings(error) => error.hint(),
                Self::Manifest { file: _, error } => error.hint().map(Into::into),
            }
        }
    }

    impl Manifest {
        /// Reads `Donjon.toml`; `file` is how messages call it.
        ///
        /// # Errors
        /// See [`ManifestFileError`].
        pub fn from_toml(file: &str, text: &str) -> Result<Self, ManifestFileError> {
            let manifest: Self = settings::parse(file, text)?;
            let sourced = match manifest.file.iter().position(|file| file.source.is_none()) {
                Some(index) => Err(ManifestError::NoSource { index }),
                None => manifest.consistent(),
            };
            sourced.map_err(|error| ManifestFileError::Manifest { file: file.into(), error })?;
            Ok(manifest)
        }
    }
}

#[cfg(feature = "settings")]
pub use self::toml::ManifestFileError;

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::brief::{Source, StewardRef};
    use crate::digest::Digest;

    const FULL: &str = concat!(
        r#"{"kind":"http","args":["serve","--name=\"x\""],"env":{"A":"1","B":"ü"},"stdin":"null","stdout":"host","#,
        r#""stderr":"host","listen":[{"name":"web","port":8443,"protocol":"https"}]}"#
    );

    fn read(json: &str) -> Result<Manifest, ManifestError> {
        Manifest::from_json(json.as_bytes())
    }

    fn brief(steward: bool) -> Brief {
        let anchors = vec![Digest::of(b"root")];
        Brief {
            trust_domain: "example.org".parse().unwrap(),
            steward: steward.then(|| StewardRef { url: "http://s".to_owned(), anchors, tls: vec![] }),
            source: Source::Host,
            owner: None,
            deployment: "d".parse().unwrap(),
            role: "r".parse().unwrap(),
            workload: Digest::of(b"w"),
            args: vec!["launcher".to_owned()],
            env: vec![("A".to_owned(), "launcher".to_owned()), ("C".to_owned(), "launcher".to_owned())],
        }
    }

    #[test]
    fn canonical_json_round_trips() {
        for json in ["{}", FULL, r#"{"kind":"command"}"#, r#"{"listen":[{"name":"w","port":0,"protocol":"http"}]}"#] {
            assert_eq!(read(json).unwrap().to_json().unwrap(), json.as_bytes());
        }
        assert_eq!(read("{}").unwrap(), Manifest::default());
    }

    #[test]
    fn other_spellings_are_refused() {
        for json in [
            "{} ",
            " {}",
            r#"{"kind":"auto"}"#,
            r#"{"args":[]}"#,
            r#"{"env":{}}"#,
            r#"{"stdin":null}"#,
            r#"{"program":null}"#,
            r#"{"env":{"B":"1","A":"2"}}"#,
            r#"{"env":{"A":"1","A":"1"}}"#,
            r#"{"args":["a"],"kind":"command"}"#,
            r#"{"args":["\u0061"]}"#,
            r#"{"args":["\/"]}"#,
            r#"{"args": ["a"]}"#,
        ] {
            assert_eq!(read(json), Err(ManifestError::NotCanonical), "{json}");
        }
        assert!(read(r#"{"kind":"command","args":["a","/"],"env":{"A":"1","B":"1"}}"#).is_ok(), "control");
    }

    #[test]
    fn every_flipped_bit_is_refused_or_another_manifest() {
        let good = read(FULL).unwrap();
        for at in 0..FULL.len() {
            for bit in 0..8 {
                let mut bytes = FULL.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(other) = Manifest::from_json(&bytes) {
                    assert_ne!(other, good);
                    assert_eq!(other.to_json().unwrap(), bytes);
                }
            }
        }
    }

    #[test]
    fn foreign_keys_and_types() {
        for json in [
            "",
            "[]",
            "null",
            r#"{"mounts":[]}"#,
            r#"{"kind":"http","kind":"http"}"#,
            r#"{"kind":"service"}"#,
            r#"{"stdin":"file"}"#,
            r#"{"listen":[{"name":"web","port":1}]}"#,
            r#"{"listen":[{"name":"web","port":65536,"protocol":"https"}]}"#,
            r#"{"listen":[{"name":"we/b","port":1,"protocol":"https"}]}"#,
            r#"{"listen":[{"name":"web","port":1,"protocol":"https","tls":true}]}"#,
            r#"{"env":{"A":1}}"#,
        ] {
            assert!(matches!(read(json), Err(ManifestError::Json { .. })), "{json}: {:?}", read(json));
        }
        assert_eq!(read(r#"{"program":"a.wasm"}"#), Err(ManifestError::ProgramInPackage));
        let Err(ManifestError::Json { line, column, message }) = read("{\n \"mounts\":[]}") else { panic!() };
        assert_eq!((line, column), (2, 9));
        assert!(message.starts_with("unknown field `mounts`, expected one of `program`"), "{message}");
        assert!(!message.contains(" at line "), "{message}");
        let deep = ["{\"env\":", &"[".repeat(100_000)].concat();
        assert!(matches!(read(&deep), Err(ManifestError::Json { .. })));
    }

    #[test]
    fn listeners() {
        let listen = |kind: &str, protocols: &[&str]| {
            let kind = if kind == "auto" { String::new() } else { alloc::format!("\"kind\":\"{kind}\",") };
            let all: Vec<_> =
                protocols.iter().map(|p| alloc::format!(r#"{{"name":"n","port":1,"protocol":"{p}"}}"#)).collect();
            let json = alloc::format!("{{{kind}\"listen\":[{}]}}", all.join(","));
            read(&json.replace(r#","listen":[]"#, "").replace(r#""listen":[]"#, ""))
        };
        assert!(listen("http", &["https"]).is_ok());
        assert!(listen("auto", &["http"]).is_ok());
        assert!(listen("auto", &[]).is_ok());
        assert_eq!(listen("http", &[]), Err(ManifestError::NoListener));
        assert_eq!(listen("http", &["https", "http"]), Err(ManifestError::Listeners { found: 2 }));
        assert_eq!(listen("command", &["https"]), Err(ManifestError::ListenerOfCommand { protocol: Protocol::Https }));
        let not_yet = listen("auto", &["tcp"]).unwrap_err();
        assert_eq!(not_yet, ManifestError::NotYet { index: 0, protocol: Protocol::Tcp });
        assert_eq!(not_yet.to_string(), "`listen[0].protocol = \"tcp\"` is not yet supported");
        assert_eq!(listen("auto", &["https", "tls"]), Err(ManifestError::NotYet { index: 1, protocol: Protocol::Tls }));
    }

    #[test]
    fn a_reactor_is_entered_by_name() {
        let json = r#"{"invoke":"run","arg0":"busybox"}"#;
        assert_eq!(read(json).unwrap().to_json().unwrap(), json.as_bytes());
        let listen = r#","listen":[{"name":"w","port":0,"protocol":"http"}]"#;
        for (json, found) in [
            (r#"{"invoke":""}"#.to_owned(), "no name"),
            (alloc::format!(r#"{{"invoke":"run"{listen}}}"#), "a listener"),
            (alloc::format!(r#"{{"kind":"http","invoke":"run"{listen}}}"#), "an HTTP service"),
        ] {
            assert_eq!(read(&json), Err(ManifestError::Invoke { found }));
        }
        for name in ["", "a\\u0000"] {
            assert_eq!(read(&alloc::format!(r#"{{"arg0":"{name}"}}"#)), Err(ManifestError::Name));
        }
    }

    #[test]
    fn texts_a_program_can_get() {
        assert_eq!(read(r#"{"args":["a","b\u0000"]}"#), Err(ManifestError::Argument { index: 1 }));
        for name in ["", "A=B", "A\\u0000"] {
            let json = alloc::format!(r#"{{"env":{{"{name}":"x"}}}}"#);
            assert!(matches!(read(&json), Err(ManifestError::Variable { .. })), "{json}");
        }
    }

    #[test]
    fn the_publisher_wins() {
        let manifest = read(FULL).unwrap();
        assert_eq!(manifest.arguments(&brief(false)), ["serve", "--name=\"x\"", "launcher"]);
        let environment = manifest.environment(&brief(false));
        let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "ü"), ("C", "launcher")]);
    }

    #[test]
    fn streams_of_a_deployed_keep_lead_nowhere_unless_said() {
        let (null, host) = (Stdio::Null, Stdio::Host);
        let quiet = Manifest::default();
        assert_eq!(quiet.stdio(&brief(true)), Streams { stdin: null, stdout: null, stderr: null });
        assert_eq!(quiet.stdio(&brief(false)), Streams { stdin: host, stdout: host, stderr: host });
        let said = read(FULL).unwrap();
        assert_eq!(said.stdio(&brief(true)), Streams { stdin: null, stdout: host, stderr: host });
        assert_eq!(said.stdio(&brief(false)), said.stdio(&brief(true)));
    }

    #[test]
    fn limits() {
        let mut manifest = Manifest { args: vec![String::new()], ..Manifest::default() };
        let empty = manifest.to_json().unwrap().len();
        manifest.args = vec!["a".repeat(CONFIG_LIMIT - empty)];
        assert_eq!(Manifest::from_json(&manifest.to_json().unwrap()), Ok(manifest.clone()), "exactly the limit");
        manifest.args = vec!["a".repeat(CONFIG_LIMIT - empty + 1)];
        let too_long = ManifestError::TooLong { limit: CONFIG_LIMIT, found: CONFIG_LIMIT + 1 };
        assert_eq!(manifest.to_json(), Err(too_long.clone()));
        assert_eq!(Manifest::from_json(&vec![b' '; CONFIG_LIMIT + 1]), Err(too_long));
    }

    #[cfg(feature = "settings")]
    #[test]
    fn donjon_toml() {
        let text = r#"
            program = "service.wasm"
            kind = "http"
            args = ["serve", "--name=\"x\""]
            stdin = "null"
            stdout = "host"
            stderr = "host"
            [env]
            B = "ü"
            A = "1"
            [[listen]]
            name = "web"
            port = 8443
            protocol = "https"
        "#;
        let manifest = Manifest::from_toml("Donjon.toml", text).unwrap();
        assert_eq!(manifest.program.as_deref(), Some("service.wasm"));
        assert_eq!(manifest.to_json(), Err(ManifestError::ProgramInPackage));
        assert_eq!(manifest.for_package().to_json().unwrap(), FULL.as_bytes());

        let error = Manifest::from_toml("Donjon.toml", "program = \"a\"\nargz = []\n").unwrap_err();
        assert_eq!(error.to_string(), "Donjon.toml:2:1: unknown key `argz`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `args`?"));

        let error = Manifest::from_toml("Donjon.toml", "[[listen]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 1\n")
            .unwrap_err();
        assert_eq!(error.to_string(), "Donjon.toml: `listen[0].protocol = \"tcp\"` is not yet supported");
        assert!(error.hint().unwrap().contains("https"));
    }
}
