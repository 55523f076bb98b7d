//! The manifest: what the publisher of a workload fixes. In a package it is canonical JSON, beside a program `Donjon.toml`.
//!
//! Owns the keys, their defaults and the two readings (`spec/manifest.md`). Refuses unknown keys, a key that says its own
//! default in a package (one value, one encoding), and keys that do not go together.
//! Invariant: [`Manifest::from_json`] gives back its input byte for byte through [`Manifest::to_json`].

mod env;
mod files;
mod limits;
mod network;
mod resolver;
#[cfg(feature = "settings")]
mod toml;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::brief::{Brief, is_argument, is_variable};
use crate::names::{DnsName, Name};
use crate::package::Object;
use crate::secrets::{Released, SECRETS};
pub use env::{AbsentVariable, FromHost, FromSecret, Variable};
pub use files::{FILE_LIMIT, FILES, File, MOUNT_SIZE, MOUNTS, Mount, MountKind, Place, PlaceError, SecretFile};
pub use limits::{Limits, Size, SizeError, Span, SpanError};
pub use network::{Connect, Destination, Host, Listen, Network, NetworkError, Ports, Protocol, Trust};
pub use resolver::{Resolver, ResolverProof};

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
    /// Modules whose imports nobody gives: who calls one of their functions traps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stubs: Vec<String>,
    /// What the program is called, its argument 0; `None` = [`ARG0`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arg0: Option<String>,
    /// Arguments after the program's name, before the brief's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment; what it fixes wins over the brief's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Variable>,
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
    /// Secrets of the Drawbridge that are files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<SecretFile>,
    /// Where the workload is reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Listen>,
    /// Whom it reaches, and by what it recognises them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<Connect>,
    /// Whom else it may reach.
    #[serde(skip_serializing_if = "Network::is_empty")]
    pub network: Network,
    /// How much it may take.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// What it makes of its certificate.
    #[serde(skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
    /// What no workload should say that protects anything.
    #[serde(skip_serializing_if = "Debug::is_empty")]
    pub debug: Debug,
}

/// The shortest use of a certificate: to get one takes time.
pub const IDENTITY_LIFETIME: Span = Span::milliseconds(5000);

/// What a workload makes of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// DNS names that its certificate must have; without one of them the program does not run under a Steward.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<DnsName>,
    /// How long a certificate is used at most; `None` = as long as it is valid. Connections end with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
    /// The program finds it as files, in [`IDENTITY_FILES`].
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub files: bool,
}

/// The directory of [`Identity::files`].
pub const IDENTITY_FILES: &str = "/run/donjon";

/// The most names that a workload may ask for.
pub const IDENTITY_NAMES: usize = 64;

impl Identity {
    const fn is_empty(&self) -> bool {
        let Self { names, lifetime, files } = self;
        names.is_empty() && lifetime.is_none() && !*files
    }

    /// Its directory is nobody else's.
    fn consistent(&self, file: &[File], mount: &[Mount], secret: &[SecretFile]) -> Result<(), ManifestError> {
        let Self { names, lifetime, files } = self;
        if names.len() > IDENTITY_NAMES {
            let found = names.len();
            return Err(ManifestError::TooMany { what: "identity.names", limit: IDENTITY_NAMES, found });
        }
        if lifetime.is_some_and(|lifetime| lifetime < IDENTITY_LIFETIME) {
            return Err(ManifestError::Lifetime);
        }
        let own: Place = IDENTITY_FILES.parse().map_err(|_| ManifestError::Root)?;
        let within = |path: &&Place| path.below(&own).is_some();
        // A file is no directory that it could lie in; what has a `source` may be one.
        let above = file.iter().filter(|file| file.source.is_none()).map(|file| &file.path);
        let above = above.chain(secret.iter().flat_map(SecretFile::paths)).filter(|path| own.below(path).is_some());
        let paths = file.iter().map(|file| &file.path).chain(mount.iter().map(|mount| &mount.path));
        let paths = paths.chain(secret.iter().flat_map(SecretFile::paths));
        match paths.filter(within).chain(above).next() {
            Some(path) if *files => Err(ManifestError::Reserved { path: path.clone() }),
            _ => Ok(()),
        }
    }
}

/// What makes a workload weaker than its manifest says elsewhere. Every key begins with `insecure_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Debug {
    /// The program reaches everybody, and the host is told of what no key would have allowed.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub insecure_network: bool,
}

impl Debug {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    const fn is_empty(&self) -> bool {
        !self.insecure_network
    }

    /// The keys that are said.
    pub fn said(self) -> impl Iterator<Item = &'static str> {
        let Self { insecure_network } = self;
        [("insecure_network", insecure_network)].into_iter().filter_map(|(key, said)| said.then_some(key))
    }
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
    #[error(
        "`env.{name}`: a name, the host's too, is not empty and has no `=`, and neither name nor value has a NUL character"
    )]
    Variable {
        /// Its name.
        name: String,
    },
    /// `kind = "command"` with a listener for HTTP.
    #[error("`listen[{index}].protocol = \"{protocol}\"` belongs to an HTTP service, but `kind = \"command\"`")]
    ListenerOfCommand {
        /// Which listener, from 0.
        index: usize,
        /// What it asks for.
        protocol: Protocol,
    },
    /// `kind = "http"` without a listener.
    #[error("`kind = \"http\"` needs a `[[listen]]` section with `name`, `port` and `protocol`")]
    NoListener,
    /// More than one HTTP listener.
    #[error("an HTTP service has exactly one `[[listen]]` section, with protocol http or https; here are {found}")]
    Listeners {
        /// How many.
        found: usize,
    },
    /// Two listeners of one name or at one port.
    #[error("`listen[{index}]` has the name or the port of another")]
    ListenTwice {
        /// Which, from 0.
        index: usize,
    },
    /// Two connections, or a connection and a listener, of one name, or two connections to one place.
    #[error("`connect[{index}]` has the name of another section, or leads where another does")]
    ConnectTwice {
        /// Which, from 0.
        index: usize,
    },
    /// Clients that would prove themselves by names, which clients do not have.
    #[error("`listen[{index}].clients` cannot be \"web\": certificates of public web roots name servers")]
    WebClients {
        /// Which, from 0.
        index: usize,
    },
    /// Proofs where nobody can prove anything.
    #[error("`{what}[{index}].{key}` needs TLS, but the protocol there is \"{protocol}\"")]
    Clear {
        /// The section.
        what: &'static str,
        /// Which, from 0.
        index: usize,
        /// The key.
        key: &'static str,
        /// What is spoken.
        protocol: Protocol,
    },
    /// `steward` without roles, or roles without it.
    #[error("`{what}[{index}].roles` and \"steward\" in its `{key}` belong together, and one of them is missing")]
    Roles {
        /// The section.
        what: &'static str,
        /// Which, from 0.
        index: usize,
        /// The key.
        key: &'static str,
    },
    /// A limit under which nothing runs.
    #[error("`limits.{key} = 0`: nothing runs with nothing")]
    Zero {
        /// The key.
        key: &'static str,
    },
    /// A certificate that would be used for less than [`IDENTITY_LIFETIME`].
    #[error("`identity.lifetime` is 5 s or more: it takes time to get the next certificate")]
    Lifetime,
    /// A file or a mount where `identity.files` has its own.
    #[error("{path} cannot be a file or a mount: `identity.files = true` has /run/donjon for its own")]
    Reserved {
        /// The path.
        path: Place,
    },
    /// A PEM file that is not in the package.
    #[error("`{what}[{index}]` trusts what is in {path}, which is no `[[file]]`")]
    NoSuchFile {
        /// The section.
        what: &'static str,
        /// Which, from 0.
        index: usize,
        /// The path.
        path: Place,
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
            Self::Name => Some("remove it, and the program is called main.wasm"),
            Self::Argument { .. } => Some("remove it: to many programs a NUL is the end of a text"),
            Self::Variable { .. } => Some("write NAME = \"value\", { host = \"NAME\" } or { secret = \"NAME\" }"),
            Self::ListenerOfCommand { .. } => Some("say protocol \"tcp\" or \"tls\", or remove `kind`"),
            Self::NoListener => Some("add: [[listen]] name = \"web\", port = 8443, protocol = \"https\""),
            Self::Listeners { .. } => Some("keep one `[[listen]]` section; sockets are for commands"),
            Self::ListenTwice { .. } | Self::ConnectTwice { .. } => {
                Some("give each its own name, port and destination")
            }
            Self::WebClients { .. } => Some("name the PEM file of the CA whose clients may come"),
            Self::Clear { .. } => Some("say protocol \"tls\" or \"https\""),
            Self::Roles { .. } => Some("name the roles of the Deployment, for example: roles = [\"web\"]"),
            Self::Lifetime => Some("remove the key: without it a certificate is used as long as it is valid"),
            Self::Reserved { .. } => Some("give it another path, or remove `identity.files`"),
            Self::Zero { .. } => Some("remove the key: without it there is no such limit"),
            Self::NoSuchFile { .. } => Some("add it: [[file]] with `path` and `source`"),
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

    /// The program's environment: what the publisher fixed, and secrets, win over what the launcher supplies, and that over a
    /// default. `secrets`: what the Drawbridge delivered.
    ///
    /// # Errors
    /// A variable that the host was to give, and did not, without a default; a secret that did not come, or is no text.
    pub fn environment(&self, brief: &Brief, secrets: &Released) -> Result<BTreeMap<String, String>, AbsentVariable> {
        let mut all: BTreeMap<_, _> = brief.env.iter().cloned().collect();
        for (name, value) in &self.env {
            let value = match value {
                Variable::Text(text) => text.clone(),
                Variable::Host(_) if all.contains_key(name) => continue,
                Variable::Host(FromHost { default: Some(default), .. }) => default.clone(),
                Variable::Host(FromHost { host, default: None }) => {
                    return Err(AbsentVariable::Host { name: name.clone(), host: host.clone() });
                }
                // Without a Steward nothing is protected from the host, who tries the program out.
                Variable::Secret(_) if brief.steward.is_none() && all.contains_key(name) => continue,
                Variable::Secret(FromSecret { secret }) => {
                    let (name, secret) = (name.clone(), secret.clone());
                    let Some(value) = secrets.get(&secret) else { return Err(AbsentVariable::Secret { name, secret }) };
                    let text = String::from_utf8(value.current.clone()).ok().filter(|text| !text.contains('\0'));
                    text.ok_or(AbsentVariable::NoText { name, secret })?
                }
            };
            all.insert(name.clone(), value);
        }
        Ok(all)
    }

    /// All secrets that it wants, as variables, as files or to be shown.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<Name> {
        let variables = self.env.values().filter_map(|value| match value {
            Variable::Secret(FromSecret { secret }) => Some(secret),
            Variable::Text(_) | Variable::Host(_) => None,
        });
        let certificates = self.listen.iter().filter_map(|listen| listen.certificate.as_ref());
        variables.chain(self.secret.iter().map(|file| &file.name)).chain(certificates).cloned().collect()
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
        let default = || Listen {
            name: Name::https(),
            port: 0,
            protocol: Protocol::Https,
            clients: Vec::new(),
            roles: Vec::new(),
            certificate: None,
        };
        self.listen.first().cloned().unwrap_or_else(default)
    }

    /// The rules between keys, which serde cannot know.
    pub(crate) fn consistent(&self) -> Result<(), ManifestError> {
        let Self {
            program: _,
            kind,
            invoke,
            stubs: _,
            arg0,
            args,
            env,
            stdin: _,
            stdout: _,
            stderr: _,
            file,
            mount,
            secret,
            listen,
            connect,
            network,
            limits,
            identity,
            debug: _,
        } = self;
        let http = listen.iter().position(|listen| listen.protocol.http());
        if let Some(function) = invoke {
            match (kind, http, function.as_str()) {
                (Kind::Http, _, _) => return Err(ManifestError::Invoke { found: "an HTTP service" }),
                (_, Some(_), _) => return Err(ManifestError::Invoke { found: "a listener for HTTP" }),
                (_, None, "") => return Err(ManifestError::Invoke { found: "no name" }),
                (Kind::Auto | Kind::Command, None, _) => {}
            }
        }
        files::consistent(file, mount, secret)?;
        let found = self.secrets().len();
        if found > SECRETS {
            return Err(ManifestError::TooMany { what: "secret", limit: SECRETS, found });
        }
        if arg0.as_ref().is_some_and(|name| name.is_empty() || !is_argument(name)) {
            return Err(ManifestError::Name);
        }
        if let Some(index) = args.iter().position(|arg| !is_argument(arg)) {
            return Err(ManifestError::Argument { index });
        }
        let right = |(name, value): &(&String, &Variable)| match value {
            Variable::Text(text) => is_variable(name, text),
            Variable::Host(FromHost { host, default }) => {
                is_variable(name, default.as_deref().unwrap_or_default()) && is_variable(host, "")
            }
            Variable::Secret(_) => is_variable(name, ""),
        };
        if let Some((name, _)) = env.iter().find(|variable| !right(variable)) {
            return Err(ManifestError::Variable { name: name.clone() });
        }
        network::consistent(listen, connect, network, file)?;
        limits.consistent()?;
        identity.consistent(file, mount, secret)?;
        match (kind, http.and_then(|index| Some((index, listen.get(index)?.protocol)))) {
            (Kind::Command, Some((index, protocol))) => Err(ManifestError::ListenerOfCommand { index, protocol }),
            (Kind::Http, None) if listen.is_empty() => Err(ManifestError::NoListener),
            (Kind::Http, None) => Err(ManifestError::Listeners { found: listen.len() }),
            (Kind::Auto | Kind::Http, Some(_)) if listen.len() > 1 => {
                Err(ManifestError::Listeners { found: listen.len() })
            }
            (Kind::Command | Kind::Auto, None) | (Kind::Auto | Kind::Http, Some(_)) => Ok(()),
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

fn json(error: &serde_json::Error) -> ManifestError {
    let (line, column) = (error.line(), error.column());
    let text = alloc::format!("{error}");
    let place = alloc::format!(" at line {line} column {column}");
    let message = text.strip_suffix(place.as_str()).unwrap_or(&text).into();
    ManifestError::Json { line, column, message }
}

#[cfg(feature = "settings")]
pub use self::toml::ManifestFileError;

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    #[cfg(feature = "settings")]
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
            let all: Vec<_> = (1..)
                .zip(protocols)
                .map(|(n, p)| alloc::format!(r#"{{"name":"n{n}","port":{n},"protocol":"{p}"}}"#))
                .collect();
            let json = alloc::format!("{{{kind}\"listen\":[{}]}}", all.join(","));
            read(&json.replace(r#","listen":[]"#, "").replace(r#""listen":[]"#, ""))
        };
        assert!(listen("http", &["https"]).is_ok());
        assert!(listen("auto", &["http"]).is_ok());
        assert!(listen("auto", &[]).is_ok());
        assert_eq!(listen("http", &[]), Err(ManifestError::NoListener));
        assert_eq!(listen("http", &["https", "http"]), Err(ManifestError::Listeners { found: 2 }));
        let command = ManifestError::ListenerOfCommand { index: 0, protocol: Protocol::Https };
        assert_eq!(listen("command", &["https"]), Err(command));
        assert!(listen("command", &["tcp", "tls"]).is_ok());
        assert!(listen("auto", &["tls", "tcp"]).is_ok());
        assert_eq!(listen("http", &["tcp"]), Err(ManifestError::Listeners { found: 1 }));
        assert_eq!(listen("auto", &["tcp", "http"]), Err(ManifestError::Listeners { found: 2 }));
    }

    #[test]
    fn who_proves_what() {
        let with = |json: &str| read(&alloc::format!("{{\"file\":[{{\"path\":\"/ca\"}}],{json}}}"));
        let listen = |protocol: &str, rest: &str| {
            with(&alloc::format!(r#""listen":[{{"name":"n","port":1,"protocol":"{protocol}"{rest}}}]"#))
        };
        let connect = |protocol: &str, rest: &str| {
            with(&alloc::format!(r#""connect":[{{"name":"n","to":"db:1","protocol":"{protocol}"{rest}}}]"#))
        };
        let pin = Digest::of(b"key");
        assert!(listen("tls", r#","clients":["/ca","steward"],"roles":["web"]"#).is_ok());
        assert!(connect("tls", r#","trust":["web"]"#).is_ok());
        assert!(connect("https", &alloc::format!(r#","trust":["{pin}"]"#)).is_ok());
        assert!(connect("tcp", "").is_ok());
        let (index, key) = (0, "clients");
        let what = "listen";
        assert_eq!(
            listen("tcp", r#","clients":["/ca"]"#),
            Err(ManifestError::Clear { what, index, key, protocol: Protocol::Tcp })
        );
        assert_eq!(listen("tls", r#","clients":["steward"]"#), Err(ManifestError::Roles { what, index, key }));
        assert_eq!(listen("tls", r#","roles":["web"]"#), Err(ManifestError::Roles { what, index, key }));
        assert_eq!(listen("tls", r#","clients":["web"]"#), Err(ManifestError::WebClients { index }));
        assert!(matches!(listen("tls", r#","clients":["/other"]"#), Err(ManifestError::NoSuchFile { .. })));
        assert!(matches!(listen("tls", r#","clients":["webb"]"#), Err(ManifestError::Json { .. })));
        assert!(matches!(with(r#""network":{"connect":["10.0.0.1/8:1"]}"#), Err(ManifestError::Json { .. })));
        let network =
            r#""network":{"connect":["a.b:1","[::1]:*"],"listen":["80-90"],"resolve":["*.b"],"udp":["[::1]:53"]}"#;
        assert!(with(network).is_ok());
        let udp = |rules: usize| {
            let rules: Vec<_> = (1..=rules).map(|port| alloc::format!("\"a:{port}\"")).collect();
            with(&alloc::format!(r#""network":{{"udp":[{}]}}"#, rules.join(",")))
        };
        assert!(udp(1024).is_ok());
        assert_eq!(udp(1025), Err(ManifestError::TooMany { what: "network.udp", limit: 1024, found: 1025 }));
        assert_eq!(with(r#""network":{}"#), Err(ManifestError::NotCanonical));
        let twice = r#"{"listen":[{"name":"n","port":0,"protocol":"tcp"},{"name":"m","port":0,"protocol":"tcp"}]}"#;
        assert!(read(twice).is_ok(), "any port twice is two ports");
        let twice =
            |one: &str, other: &str| read(&twice.replace("\"m\",\"port\":0", other).replace("\"n\",\"port\":0", one));
        assert!(twice("\"n\",\"port\":1", "\"m\",\"port\":2").is_ok(), "control");
        for (one, other) in [("\"n\",\"port\":1", "\"n\",\"port\":2"), ("\"n\",\"port\":1", "\"m\",\"port\":1")] {
            assert_eq!(twice(one, other), Err(ManifestError::ListenTwice { index: 1 }));
        }
    }

    #[test]
    fn a_reactor_is_entered_by_name() {
        let json = r#"{"invoke":"run","arg0":"busybox"}"#;
        assert_eq!(read(json).unwrap().to_json().unwrap(), json.as_bytes());
        let listen = r#","listen":[{"name":"w","port":0,"protocol":"http"}]"#;
        for (json, found) in [
            (r#"{"invoke":""}"#.to_owned(), "no name"),
            (alloc::format!(r#"{{"invoke":"run"{listen}}}"#), "a listener for HTTP"),
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
        let environment = manifest.environment(&brief(false), &Released::default()).unwrap();
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

        let error = Manifest::from_toml("Donjon.toml", "[[listen]]\nname = \"web\"\nprotocol = \"htttp\"\nport = 1\n")
            .unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `http`?"));
    }
}
