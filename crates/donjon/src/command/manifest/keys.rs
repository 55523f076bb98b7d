//! Every key of `Donjon.toml` in one table: its form, what it says, and what holds when nobody says it.
//!
//! Owns the words of `donjon manifest explain` and of the schema, which is made of this table. The rules are the contract's
//! (`spec/manifest.md`); that both have the same keys, values and forms is what `tests/manifest.rs` asks the reader.
//! Invariant: a section stands before its keys, and the keys stand in the order of the canonical form.

use serde_json::{Map, Value, json};

/// One key.
pub(crate) struct Key {
    /// The way to it: `listen.port`.
    pub(crate) path: &'static str,
    pub(crate) form: Form,
    /// Whether its section is refused without it.
    pub(crate) required: bool,
    /// What it says.
    pub(crate) text: &'static str,
    /// What holds without it; of a required key nothing.
    pub(crate) unsaid: &'static str,
}

/// What a value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// A text of this pattern.
    Text(&'static str),
    /// A list of texts of this pattern, and how many at most.
    Texts(&'static str, Option<u32>),
    /// A table of texts, or of names of the host's.
    Variables,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A number, and the greatest.
    Number(u32),
    /// A number, or a text with one of these units: what it counts, and the pattern of the text.
    Quantity(&'static str, &'static str),
    /// A table with the keys that follow.
    Section,
    /// A list of such tables, and how many at most.
    Sections(u32),
}

// What several patterns are made of. They say what a text looks like; that 300 is no part of an address the reader says.
macro_rules! path {
    () => {
        r"(/|(/(\.{0,2}[^/.\u0000][^/\u0000]*|\.{3}[^/\u0000]*))+)"
    };
}
macro_rules! dns {
    () => {
        r"(([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*([0-9]*[a-z]([a-z0-9-]*[a-z0-9])?|[0-9]+-[a-z0-9-]*[a-z0-9]))"
    };
}
macro_rules! ipv4 {
    () => {
        r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
    };
}
macro_rules! ipv6 {
    () => {
        r"[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*"
    };
}
macro_rules! server {
    () => {
        concat!("(", ipv4!(), r"|\[", ipv6!(), r"\]):[1-9][0-9]{0,4}")
    };
}
macro_rules! ports {
    () => {
        r"(\*|[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?)"
    };
}

/// Any text that can be handed to a program.
const ANY: &str = r"^[^\u0000]*$";
const VARIABLE: &str = r"^[^=\u0000]+$";
const NOT_EMPTY: &str = r"^[^\u0000]+$";
const PATH: &str = concat!("^", path!(), "$");
const NAME: &str = r"^(\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}|\.{3}[A-Za-z0-9._-]{0,60})$";
const AUTHORITY: &str = concat!("^(", dns!(), "|", ipv4!(), r"|\[", ipv6!(), r"\]):[1-9][0-9]{0,4}$");
const DNS: &str = concat!("^", dns!(), "$");
const CLIENT: &str = concat!("^(steward|", path!(), "|sha256:[0-9a-f]{64})$");
const TRUST: &str = concat!("^(web|steward|", path!(), "|sha256:[0-9a-f]{64})$");
const DESTINATION: &str =
    concat!(r"^(\*|(\*\.)?", dns!(), "|", ipv4!(), r"(/[0-9]{1,2})?|\[", ipv6!(), r"\](/[0-9]{1,3})?):", ports!(), "$");
const RESOLVER: &str = concat!("^(", server!(), "|tls://", server!(), "#(", dns!(), "|sha256:[0-9a-f]{64}))$");
const PORTS: &str = concat!("^", ports!(), "$");
const HOST: &str = concat!(r"^(\*|(\*\.)?", dns!(), "|", ipv4!(), "(/[0-9]{1,2})?|", ipv6!(), "(/[0-9]{1,3})?)$");

/// A key that may be left out, and what holds then.
const fn key(path: &'static str, form: Form, text: &'static str, unsaid: &'static str) -> Key {
    Key { path, form, required: false, text, unsaid }
}

/// A key without which its section is refused.
const fn required(path: &'static str, form: Form, text: &'static str) -> Key {
    Key { path, form, required: true, text, unsaid: "" }
}

const SIZE: Form = Form::Quantity("a number of bytes, or a text such as \"64 MiB\"", "^[0-9]+ *(KiB|MiB|GiB)?$");
const TIME: Form = Form::Quantity("a number of milliseconds, or a text such as \"30 s\"", "^[0-9]+ *(ms|s|min|h)?$");
const PORT: Form = Form::Number(65535);
const COUNT: Form = Form::Number(u32::MAX);
const STREAM: Form = Form::OneOf(&["null", "host"]);
const SPOKEN: Form = Form::OneOf(&["tcp", "tls", "http", "https"]);

/// All of them.
pub(crate) const KEYS: &[Key] = &[
    key(
        "program",
        Form::Text(ANY),
        "Path of the program, relative to the folder of Donjon.toml: a WebAssembly module or component, or a static-PIE \
         ELF file. It is not in the package's manifest: there the program is a layer.",
        "commands that take a manifest refuse it: only a program named on the command line needs no key",
    ),
    key(
        "kind",
        Form::OneOf(&["auto", "command", "http"]),
        "What the program is: `command` runs once and ends with an exit status; `http` is a service of wasi:http with \
         exactly one [[listen]]; `auto` is what its exports say.",
        "what the program exports decides",
    ),
    key(
        "invoke",
        Form::Text(NOT_EMPTY),
        "Name of the function that is called instead of `_start`, of a module that has no `main` (a reactor); its \
         `_initialize` is called first, if it has one. It takes nothing and gives nothing, or an exit status. Not for \
         components, native programs and HTTP.",
        "a module is entered by `_start`, a component by what it exports",
    ),
    key(
        "stubs",
        Form::Texts(ANY, None),
        "Names of modules whose imports nobody gives: the program begins without them, and traps when it calls one. Only for \
         modules.",
        "a program that imports what a Keep does not have is refused",
    ),
    key(
        "arg0",
        Form::Text(NOT_EMPTY),
        "What the program is called: its argument 0.",
        "`main.wasm`, of a native program `program`",
    ),
    key(
        "args",
        Form::Texts(ANY, None),
        "Arguments after the program's name. The launcher's arguments, if there are any, come after these.",
        "no arguments but the launcher's",
    ),
    key(
        "env",
        Form::Variables,
        "Environment variables. A text is fixed: where the launcher supplies the same name, the text wins, so what must not be \
         chosen by whoever launches the workload is said here. { host = \"NAME\" } is the variable of the launcher's host \
         that has this name, or what `--env VARIABLE=…` says; if there is neither, `default`, and without one the program \
         does not start. { secret = \"NAME\" } is a secret of the Drawbridge that the workload comes from.",
        "no variables but the launcher's",
    ),
    key(
        "stdin",
        STREAM,
        "Where standard input comes from: `host`, or `null`, which is empty.",
        "`run`: from the host; `deploy`: empty",
    ),
    key(
        "stdout",
        STREAM,
        "Where standard output goes: `host`, who reads it, or `null`, which drops it.",
        "`run`: to the host; `deploy`: dropped",
    ),
    key(
        "stderr",
        STREAM,
        "Where standard error goes, and with it the backtrace of a trap and what the Keep says of refused connections: \
         `host`, who reads it, or `null`, which drops it.",
        "`run`: to the host; `deploy`: dropped",
    ),
    key(
        "file",
        Form::Sections(4096),
        "A file that comes with the program, or a folder of them. The workload's digest covers it. Files are only read, \
         unless they lie in a [[mount]].",
        "no files",
    ),
    required(
        "file.path",
        Form::Text(PATH),
        "Where the program finds it: a path that begins with `/`, without empty names, `.` and `..`. Only a folder may be \
         at `/`.",
    ),
    required(
        "file.source",
        Form::Text(ANY),
        "The file, relative to the folder of Donjon.toml. A folder is all files in it, by their names below `path`.",
    ),
    key(
        "mount",
        Form::Sections(64),
        "A place to write to, or a folder of the host to read. Native programs have none; all instances of a service share \
         theirs.",
        "nowhere to write to, and nothing of the host",
    ),
    required("mount.path", Form::Text(PATH), "Where: a path as of a file. Two mounts are not at one path."),
    required(
        "mount.kind",
        Form::OneOf(&["memory", "host"]),
        "What is there. `memory`: the Keep's own memory, empty at first but for files of the package, gone with the Keep. `host`: \
         the folder that `--mount PATH=FOLDER` of the launcher gives, only read. The host can put anything there: check what \
         matters.",
    ),
    key(
        "mount.size",
        SIZE,
        "How much it may hold: bytes, or a text with `KiB`, `MiB` or `GiB`. Files take pages of 16 KiB, each name 256 bytes \
         and its own; files of a host take their length when they are first read.",
        "64 MiB",
    ),
    key(
        "secret",
        Form::Sections(64),
        "A secret of the Drawbridge that the workload comes from, as a file. The release policy says which workloads get it.",
        "no files but those of the package",
    ),
    required("secret.name", Form::Text(NAME), "What the Drawbridge calls it."),
    required("secret.path", Form::Text(PATH), "Where the program finds it: a path as of a file, and no file's."),
    key(
        "secret.previous",
        Form::Text(PATH),
        "Where it finds the version before, as long as others may still use that; there is no such file otherwise.",
        "the version before is nowhere",
    ),
    key(
        "listen",
        Form::Sections(64),
        "Where the workload is reached. A service of wasi:http has one, with `http` or `https`. With `tcp` and `tls` a module \
         of WASI 0.1 begins with it as a descriptor, and a component binds a socket to its port.",
        "nobody reaches the program; a service listens as `https` at any free port, under `run` in the clear",
    ),
    required(
        "listen.name",
        Form::Text(NAME),
        "What program and log call it, and `--listen NAME=ADDRESS` of the launcher: 1 to 63 of A-Z a-z 0-9 . - _",
    ),
    required("listen.port", PORT, "The port; 0 is any free one, told when it listens."),
    required(
        "listen.protocol",
        SPOKEN,
        "What is spoken there: `https` and `http` are for a service of wasi:http, `tls` and `tcp` for bytes. Of `https` and \
         `tls` the Keep speaks the TLS, by its own certificate: never in the clear, and not under `donjon run`, where it has \
         none.",
    ),
    key(
        "listen.clients",
        Form::Texts(CLIENT, None),
        "With `tls` and `https`: who must prove himself, by any of these. \"steward\": a Keep of the same owner, deployment \
         and trust domain, in one of `roles`; \"/path\": a certificate that chains to one in this PEM file of the package; \
         \"sha256:…\": a key of this digest.",
        "anybody may come",
    ),
    key(
        "listen.roles",
        Form::Texts(NAME, None),
        "Beside \"steward\" in `clients`, and only there: the roles of Keeps that may come.",
        "no Keep comes as one",
    ),
    key(
        "listen.certificate",
        Form::Text(NAME),
        "The secret of the Drawbridge, certificates and key in PEM, that is shown in the place of the Keep's certificate: for \
         those who know a public authority and no Steward.",
        "the Keep's certificate is shown",
    ),
    key(
        "connect",
        Form::Sections(64),
        "Whom the workload reaches, and by what it recognises them. With `tcp` and `tls` a module of WASI 0.1 begins with the \
         connection as a descriptor; a component connects a socket, or sends a request with `http` and `https`.",
        "the program begins with no connection",
    ),
    required("connect.name", Form::Text(NAME), "What program and log call it, as of a listener."),
    required(
        "connect.to",
        Form::Text(AUTHORITY),
        "Where it is, `host:port`: a DNS name, an IPv4 address, or an IPv6 address in brackets.",
    ),
    required(
        "connect.protocol",
        SPOKEN,
        "What is spoken there. Of `tls` and `https` the Keep does the handshake before the program may write.",
    ),
    key(
        "connect.trust",
        Form::Texts(TRUST, None),
        "With `tls` and `https`: by what the other side is recognised, by any of these. \"web\": a public web root and the \
         name that was connected to; \"steward\": a Keep of the same owner, deployment and trust domain, in one of `roles`; \
         \"/path\": a certificate that chains to one in this PEM file of the package, for that name; \"sha256:…\": a key of \
         this digest.",
        "[\"web\"]",
    ),
    key(
        "connect.roles",
        Form::Texts(NAME, None),
        "Beside \"steward\" in `trust`, and only there: the roles that the Keep there may have.",
        "no Keep is recognised as one",
    ),
    key(
        "network",
        Form::Section,
        "Whom else the program reaches. Nothing that is neither here nor in a [[connect]] or [[listen]] leaves the Keep or \
         comes in.",
        "nothing else leaves the Keep or comes in",
    ),
    key(
        "network.connect",
        Form::Texts(DESTINATION, Some(1024)),
        "`host:ports`: where sockets of components may connect to, and where requests may go to, with public web roots as \
         proof. A host is a name, `*.` and a name, an address, a network such as 10.0.0.0/8, or `*`; ports are one, \
         8000-8010, or `*`.",
        "nowhere else",
    ),
    key(
        "network.listen",
        Form::Texts(PORTS, Some(1024)),
        "Ports at which sockets of components may listen, beside those of [[listen]].",
        "at no other port",
    ),
    key(
        "network.resolve",
        Form::Texts(HOST, Some(1024)),
        "Names that may be looked up, beside those of `network.connect` and of [[connect]]. The host answers, or \
         `network.resolver`, and may lie: an address proves nothing.",
        "no other names",
    ),
    key(
        "network.udp",
        Form::Texts(DESTINATION, Some(1024)),
        "`host:ports`: peers of sockets for UDP. A datagram goes to nobody else, and one from elsewhere is dropped before the \
         program knows of it, unless its socket is bound to a port of `network.listen`.",
        "no datagram leaves or comes in",
    ),
    key(
        "network.resolver",
        Form::Text(RESOLVER),
        "The name server that is asked for names: \"9.9.9.9:53\" over UDP, and TCP where an answer is long, in the clear; \
         \"tls://9.9.9.9:853#dns.quad9.net\" over TLS, with a certificate for this name under a public web root, or, with \
         \"#sha256:…\", the key of this digest. The program does not reach it by that.",
        "the host is asked",
    ),
    key(
        "limits",
        Form::Section,
        "How much one instance of a program may take.",
        "as much of memory and time as the Keep has",
    ),
    key("limits.memory", SIZE, "All linear memories of an instance together; not 0.", "as much as the Keep has"),
    key(
        "limits.elements",
        COUNT,
        "Elements of all tables of an instance together.",
        "as many as the Keep has memory for",
    ),
    key(
        "limits.descriptors",
        COUNT,
        "What may be open at once: files, directories, connections, streams; with the standard streams.",
        "as many as the Keep has",
    ),
    key(
        "limits.time",
        TIME,
        "For how long the program may run, waiting included, of a service for each request; not 0. Who is out of time traps.",
        "no limit",
    ),
    key(
        "limits.cpu",
        TIME,
        "For how long the program may compute, in turns of 10 ms; not 0. Who is out of time traps.",
        "no limit",
    ),
    key(
        "limits.requests",
        COUNT,
        "Of a service: requests that are answered at once, at most 512; more wait. Not 0.",
        "as many as the Keep takes, at most 512",
    ),
    key(
        "identity",
        Form::Section,
        "What the workload makes of its certificate. Its names are the Deployment's to say.",
        "a certificate is used as long as it is valid, and is no file",
    ),
    key(
        "identity.names",
        Form::Texts(DNS, Some(64)),
        "DNS names that its certificate must have, each: else the Keep does not start the program, and renews to no other. \
         Under `donjon run` there is no certificate, and nothing is asked.",
        "whatever names the Deployment gives",
    ),
    key(
        "identity.lifetime",
        TIME,
        "How long a certificate is used at most, 5 s or more. The Keep renews it before, with a new key and new evidence; \
         connections that the earlier one opened end with it.",
        "as long as it is valid",
    ),
    key(
        "identity.files",
        Form::Flag,
        "`true`: the program finds brief, certificates, claims and evidence of its Keep in /run/donjon, read-only, and a module \
         of WASI 0.1 opens connections there by path: connect/NAME, connect/HOST:PORT, listen/NAME.",
        "no such directory",
    ),
    key(
        "debug",
        Form::Section,
        "What makes the workload weaker than its manifest says elsewhere; `donjon` says so whenever it runs one.",
        "what the manifest says elsewhere holds",
    ),
    key(
        "debug.insecure_network",
        Form::Flag,
        "`true`: the program reaches everybody and listens everywhere; the host is told of each key of [network] that would \
         have allowed it.",
        "nothing but what [network], [[connect]] and [[listen]] say",
    ),
];

impl Key {
    pub(crate) fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// The last name of its path.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The keys of a section; those of the file, of "".
    pub(crate) fn below(section: &str) -> impl Iterator<Item = &'static Self> {
        KEYS.iter().filter(move |key| key.path.rsplit_once('.').map_or("", |(section, _)| section) == section)
    }

    /// For people: what its value is.
    pub(crate) fn is(&self) -> String {
        match self.form {
            Form::Text(_) => "a text".to_owned(),
            Form::Texts(_, None) => "a list of texts".to_owned(),
            Form::Texts(_, Some(most)) => format!("a list of at most {most} texts"),
            Form::Variables => {
                "a table of texts, { host = \"NAME\", default = \"text\" } or { secret = \"NAME\" }".to_owned()
            }
            Form::OneOf(values) => values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(" or "),
            Form::Flag => "true or false".to_owned(),
            Form::Number(most) => format!("a number from 0 to {most}"),
            Form::Quantity(what, _) => what.to_owned(),
            Form::Section => "a section".to_owned(),
            Form::Sections(most) => format!("at most {most} sections"),
        }
    }
}

/// JSON Schema (2020-12) of `Donjon.toml`. It has what a single value must be; rules between keys are the reader's.
pub(crate) fn schema() -> Value {
    let mut schema = table("");
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Donjon.toml",
        "description": "What a workload is and what it may do. Written by `donjon manifest schema`; do not edit.",
    });
    if let (Some(schema), Value::Object(head)) = (schema.as_object_mut(), head) {
        schema.extend(head);
    }
    schema
}

fn table(section: &str) -> Value {
    let properties: Map<_, _> = Key::below(section).map(|key| (key.name().to_owned(), property(key))).collect();
    let required: Vec<_> = Key::below(section).filter(|key| key.required).map(Key::name).collect();
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(table) = table.as_object_mut()
        && !required.is_empty()
    {
        table.insert("required".to_owned(), json!(required));
    }
    table
}

fn property(key: &Key) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let list = |items: Value, most: Option<u32>| {
        let mut list = json!({ "type": "array", "items": items });
        if let (Some(list), Some(most)) = (list.as_object_mut(), most) {
            list.insert("maxItems".to_owned(), json!(most));
        }
        list
    };
    let mut property = match key.form {
        Form::Text(pattern) => text(pattern),
        Form::Texts(pattern, most) => list(text(pattern), most),
        Form::Variables => json!({
            "type": "object",
            "propertyNames": text(VARIABLE),
            "additionalProperties": {
                "anyOf": [text(ANY), {
                    "type": "object",
                    "properties": { "host": text(VARIABLE), "default": text(ANY) },
                    "required": ["host"],
                    "additionalProperties": false,
                }, {
                    "type": "object",
                    "properties": { "secret": text(NAME) },
                    "required": ["secret"],
                    "additionalProperties": false,
                }],
            },
        }),
        Form::OneOf(values) => json!({ "enum": values }),
        Form::Flag => json!({ "type": "boolean" }),
        Form::Number(most) => json!({ "type": "integer", "minimum": 0, "maximum": most }),
        Form::Quantity(_, pattern) => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, text(pattern)] }),
        Form::Section => table(key.path),
        Form::Sections(most) => list(table(key.path), Some(most)),
    };
    if let Some(property) = property.as_object_mut() {
        let unsaid = if key.required { String::new() } else { format!(" Without it: {}.", key.unsaid) };
        property.insert("description".to_owned(), json!(format!("{}{unsaid}", key.text)));
    }
    property
}
