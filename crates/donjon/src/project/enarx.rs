//! `Enarx.toml`, read with the same meaning: what Enarx 0.7 did with it is what the manifest says that comes out.
//!
//! Owns the mapping (`spec/manifest.md`, "Enarx.toml"). Refuses unknown keys, which Enarx ignored, and descriptors in an order
//! that a Keep does not have: a program that counts descriptors would find others.
//! Invariant: what is in the file is in the manifest, or in a [`Note`], or an error.

use std::collections::BTreeMap;

use serde::Deserialize;
use workload::manifest::{Connect, Listen, Manifest, Protocol, Stdio};
use workload::names::Name;
use workload::settings::{self, Position, Step};

use crate::failure::Failure;

/// The file's name.
pub(crate) const ENARX: &str = "Enarx.toml";

/// Where Enarx looked for the program: beside the file, by this name.
const PROGRAM: &str = "main.wasm";

/// What the file says that a manifest does not, and what to do about it.
#[derive(Clone)]
pub(crate) struct Note {
    pub(crate) at: Option<Position>,
    pub(crate) text: String,
    pub(crate) hint: String,
}

impl Note {
    /// As a failure would be told.
    pub(crate) fn failure(&self, shown: &str) -> Failure {
        Failure::new(&self.text).placed(shown, self.at).hint(&self.hint)
    }
}

/// Says them.
#[allow(clippy::print_stderr, reason = "notes are talk")]
pub(crate) fn tell(shown: &str, notes: &[Note]) {
    for note in notes {
        eprintln!("note: {}\nhint: {}", note.failure(shown).message(), note.hint);
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    steward: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    files: Vec<File>,
}

/// One descriptor. Which keys it may have depends on its kind; a flat table has better errors than a tagged one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: Kind,
    name: Option<String>,
    prot: Option<Prot>,
    host: Option<String>,
    addr: Option<String>,
    port: Option<u16>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Null,
    Stdin,
    Stdout,
    Stderr,
    Listen,
    Connect,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum Prot {
    /// As Enarx' documentation says of a file that does not.
    #[default]
    Tls,
    Tcp,
}

impl Prot {
    const fn protocol(self) -> Protocol {
        match self {
            Self::Tls => Protocol::Tls,
            Self::Tcp => Protocol::Tcp,
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Tls => 443,
            Self::Tcp => 80,
        }
    }
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Listen => "listen",
            Self::Connect => "connect",
        }
    }
}

/// The three descriptors that a program always has.
const STREAMS: [Kind; 3] = [Kind::Stdin, Kind::Stdout, Kind::Stderr];

/// Reads `Enarx.toml`, which messages call `shown`.
pub(crate) fn read(shown: &str, text: &str) -> Result<(Manifest, Vec<Note>), Failure> {
    let config: Config = settings::parse(shown, text)
        .map_err(|error| Failure::hinted(&error, error.hint()).placed(shown, error.at()))?;
    let source = Source { shown, text };
    let Config { steward, args, env, files } = config;
    let mut notes = Vec::new();
    if steward.is_some() {
        notes.push(Note {
            at: source.at(&[Step::Key("steward")]),
            text: "`steward` does not count: a workload does not choose who vouches for it".to_owned(),
            hint: "remove it; `donjon deploy` goes to the Steward that the Drawbridge names".to_owned(),
        });
    }
    if files.is_empty() {
        notes.push(Note {
            at: None,
            text: "there are no [[files]]: standard input is empty, output is dropped, as in Enarx".to_owned(),
            hint: "say them in this order: [[files]] kind = \"stdin\", kind = \"stdout\", kind = \"stderr\"".to_owned(),
        });
    }
    let env = env.into_iter().map(|(name, text)| (name, text.into())).collect();
    let mut manifest = Manifest { program: Some(PROGRAM.to_owned()), args, env, ..Manifest::default() };
    let mut streams = [Stdio::Null; 3];
    for (index, file) in files.iter().enumerate() {
        source.keys(index, file)?;
        match (file.kind, streams.get_mut(index)) {
            (Kind::Null, Some(_)) => {}
            (kind, Some(stream)) if STREAMS.get(index) == Some(&kind) => {
                *stream = Stdio::Host;
            }
            (Kind::Listen, None) if manifest.connect.is_empty() => {
                let (listen, note) = source.listen(index, file)?;
                manifest.listen.push(listen);
                notes.extend(note);
            }
            (Kind::Connect, None) => manifest.connect.push(source.connect(index, file)?),
            _ => return Err(source.order(index, file.kind, &manifest)),
        }
        if let (true, Some(stream), Some(name)) = (index < streams.len(), STREAMS.get(index), &file.name)
            && name != stream.word()
        {
            notes.push(Note {
                at: source.entry(index, "name"),
                text: format!("descriptor {index} is called `{}` here, in FD_NAMES, not `{name}`", stream.word()),
                hint: "remove `name`; a standard stream is found by its number".to_owned(),
            });
        }
    }
    let [stdin, stdout, stderr] = streams.map(Some);
    let manifest = Manifest { stdin, stdout, stderr, ..manifest };
    // Names and ports twice, texts that no program can get: the manifest's rules, at the places of this file.
    manifest.clone().for_package().to_json().map_err(|error| {
        let at = source.same(&manifest.path(&error));
        Failure::hinted(&error, error.hint()).placed(shown, at)
    })?;
    Ok((manifest, notes))
}

struct Source<'a> {
    shown: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn at(&self, path: &[Step<'_>]) -> Option<Position> {
        Position::find(self.text, path)
    }

    fn entry(&self, index: usize, key: &str) -> Option<Position> {
        self.at(&[Step::Key("files"), Step::Index(index), Step::Key(key)])
    }

    /// The place here of what is at `path` in the manifest that came out: the nth listener is the nth file of that kind.
    fn same(&self, path: &[Step<'_>]) -> Option<Position> {
        let (section, nth) = match path {
            [Step::Key(section @ ("listen" | "connect")), Step::Index(nth), ..] => (*section, *nth),
            _ => return self.at(path),
        };
        let config: Config = settings::parse(self.shown, self.text).ok()?;
        let (index, _) = config.files.iter().enumerate().filter(|(_, file)| file.kind.word() == section).nth(nth)?;
        self.entry(index, "name")
    }

    fn failure(&self, index: usize, key: &str, message: impl std::fmt::Display) -> Failure {
        Failure::new(message).placed(self.shown, self.entry(index, key))
    }

    /// What Enarx refuses, too: keys of other kinds.
    fn keys(&self, index: usize, file: &File) -> Result<(), Failure> {
        let File { kind, name: _, prot, host, addr, port } = file;
        let (listens, connects) = (*kind == Kind::Listen, *kind == Kind::Connect);
        for (key, said, fits) in [
            ("prot", prot.is_some(), listens || connects),
            ("port", port.is_some(), listens || connects),
            ("addr", addr.is_some(), listens),
            ("host", host.is_some(), connects),
        ] {
            if said && !fits {
                let hint = match key {
                    "addr" => "where to connect to is `host`; `addr` is of kind = \"listen\"",
                    "host" => "where to listen is `addr`; `host` is of kind = \"connect\"",
                    _ => "it is of kind = \"listen\" and kind = \"connect\"",
                };
                let message = format_args!("`files[{index}].{key}` does not belong to kind = \"{}\"", kind.word());
                return Err(self.failure(index, key, message).hint(hint));
            }
        }
        Ok(())
    }

    /// Enarx gave descriptors in the order of the file; a Keep gives streams, then listeners, then connections.
    fn order(&self, index: usize, kind: Kind, manifest: &Manifest) -> Failure {
        let word = kind.word();
        if let Some(stream) = STREAMS.get(index) {
            let stream = stream.word();
            return self
                .failure(index, "kind", format_args!("`{word}` is descriptor {index}, which is always `{stream}` here"))
                .hint(
                    "begin with the files stdin, stdout and stderr, in this order, with `null` for what is not wanted; then \
                     those that listen, then those that connect",
                );
        }
        if kind == Kind::Listen {
            let found = manifest.listen.len().saturating_add(STREAMS.len());
            let message = format_args!(
                "`listen` is descriptor {index}, after `connect`; here listeners come first, and it would be {found}"
            );
            return self.failure(index, "kind", message).hint(
                "move it before the first `connect`; then a program that reads FD_NAMES finds it, and one that counts has to \
                 be changed",
            );
        }
        self.failure(
            index,
            "kind",
            format_args!("`{word}` is descriptor {index}; here 0 to 2 are streams, and no other"),
        )
        .hint("remove it; what follows has other descriptors then, which a program finds by FD_NAMES")
    }

    fn name(&self, index: usize, key: &str, name: &str) -> Result<Name, Failure> {
        name.parse().map_err(|error| {
            Failure::hinted(&error, Some("`name` has 1 to 63 of A-Z a-z 0-9 . - _"))
                .placed(self.shown, self.entry(index, key))
        })
    }

    fn missing(&self, index: usize, key: &str, kind: Kind) -> Failure {
        let message = format_args!("the key `{key}` is missing, of kind = \"{}\"", kind.word());
        self.failure(index, key, message).hint(format_args!("add `{key} = …`"))
    }

    fn listen(&self, index: usize, file: &File) -> Result<(Listen, Option<Note>), Failure> {
        let Some(name) = &file.name else { return Err(self.missing(index, "name", file.kind)) };
        let prot = file.prot.unwrap_or_default();
        let port = file.port.unwrap_or(prot.port());
        let listen = Listen {
            name: self.name(index, "name", name)?,
            port,
            protocol: prot.protocol(),
            clients: Vec::new(),
            roles: Vec::new(),
            certificate: None,
        };
        let note = file.addr.as_ref().map(|addr| {
            let bound = if addr.contains(':') { format!("[{addr}]:{port}") } else { format!("{addr}:{port}") };
            Note {
                at: self.entry(index, "addr"),
                text: "`addr` does not count: whoever starts the Keep says where it listens".to_owned(),
                hint: format!("remove it; donjon run --listen {name}={bound}"),
            }
        });
        Ok((listen, note))
    }

    fn connect(&self, index: usize, file: &File) -> Result<Connect, Failure> {
        let Some(host) = &file.host else { return Err(self.missing(index, "host", file.kind)) };
        let prot = file.prot.unwrap_or_default();
        let port = file.port.unwrap_or(prot.port());
        // Names are lowercase here; to DNS it is the same.
        let to =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{}:{port}", host.to_lowercase()) };
        let to = to.parse().map_err(|error| {
            Failure::hinted(&error, Some("`host` is a DNS name or an address, and `port` is from 1"))
                .placed(self.shown, self.entry(index, "host"))
        })?;
        let (key, name) = file.name.as_ref().map_or(("host", host), |name| ("name", name));
        Ok(Connect {
            name: self.name(index, key, name)?,
            to,
            protocol: prot.protocol(),
            // Public web roots, which is all that Enarx knew.
            trust: Vec::new(),
            roles: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STDIO: &str = "[[files]]\nkind = \"stdin\"\n[[files]]\nkind = \"stdout\"\n[[files]]\nkind = \"stderr\"\n";

    #[track_caller]
    fn same(enarx: &str, donjon: &str) -> Vec<String> {
        let (manifest, notes) = read(ENARX, enarx).unwrap_or_else(|failure| panic!("{}", failure.message()));
        assert_eq!(manifest, Manifest::from_toml("Donjon.toml", donjon).unwrap());
        notes
            .into_iter()
            .map(|note| format!("{}: {}", note.at.map_or_else(String::new, |at| at.to_string()), note.text))
            .collect()
    }

    #[track_caller]
    fn refused(enarx: &str, message: &str, hint: &str) {
        let failure = read(ENARX, enarx).err().unwrap_or_else(|| panic!("it is read: {enarx}"));
        assert_eq!(failure.message(), message);
        let found = failure.json()["hint"].as_str().unwrap_or_default().to_owned();
        assert!(found.starts_with(hint), "{found}");
    }

    #[test]
    fn every_key_has_the_same_meaning() {
        let enarx = [
            "args = [\"--fast\"]\n",
            STDIO,
            "[[files]]\nname = \"web\"\nkind = \"listen\"\nprot = \"tcp\"\nport = 9000\n",
            "[[files]]\nname = \"safe\"\nkind = \"listen\"\nprot = \"tls\"\n",
            "[[files]]\nname = \"db\"\nkind = \"connect\"\nprot = \"tcp\"\nhost = \"::1\"\n",
            "[[files]]\nkind = \"connect\"\nhost = \"Example.org\"\nport = 8443\n",
            "[env]\nLANG = \"C\"\n",
        ]
        .concat();
        let donjon = "program = \"main.wasm\"\nargs = [\"--fast\"]\nenv = { LANG = \"C\" }\nstdin = \"host\"\nstdout = \"host\"\n\
            stderr = \"host\"\n[[listen]]\nname = \"web\"\nport = 9000\nprotocol = \"tcp\"\n[[listen]]\nname = \"safe\"\nport = 443\n\
            protocol = \"tls\"\n[[connect]]\nname = \"db\"\nto = \"[::1]:80\"\nprotocol = \"tcp\"\n[[connect]]\nname = \"Example.org\"\n\
            to = \"example.org:8443\"\nprotocol = \"tls\"\n";
        assert!(same(&enarx, donjon).is_empty());
    }

    #[test]
    fn streams_lead_where_their_descriptor_led() {
        let streams = |stdin, stdout, stderr| {
            format!("program = \"main.wasm\"\nstdin = \"{stdin}\"\nstdout = \"{stdout}\"\nstderr = \"{stderr}\"\n")
        };
        assert!(same(STDIO, &streams("host", "host", "host")).is_empty());
        assert!(same(&STDIO.replace("stdout", "null"), &streams("host", "null", "host")).is_empty());
        assert!(
            same("[[files]]\nkind = \"stdin\"\n", &streams("host", "null", "null")).is_empty(),
            "what is not there"
        );
        let [note] = same("", &streams("null", "null", "null")).try_into().unwrap();
        assert!(note.starts_with(": there are no [[files]]"), "{note}");
    }

    #[test]
    fn what_has_no_equivalent_is_said() {
        let streams = "program = \"main.wasm\"\nstdin = \"host\"\nstdout = \"host\"\nstderr = \"host\"\n";
        let [note] = same(&["steward = \"https://x\"\n", STDIO].concat(), streams).try_into().unwrap();
        assert!(note.starts_with("1:11: `steward` does not count"), "{note}");
        let [note] = same(&STDIO.replacen("stdin\"", "stdin\"\nname = \"input\"", 1), streams).try_into().unwrap();
        assert!(note.starts_with("3:8: descriptor 0 is called `stdin`"), "{note}");
        let listen = "[[files]]\nkind = \"listen\"\nname = \"web\"\nprot = \"tcp\"\nport = 1\n";
        let donjon = [streams, "[[listen]]\nname = \"web\"\nport = 1\nprotocol = \"tcp\"\n"].concat();
        assert!(same(&[STDIO, listen].concat(), &donjon).is_empty(), "control");
        let [note] = same(&[STDIO, listen, "addr = \"::\"\n"].concat(), &donjon).try_into().unwrap();
        assert!(note.starts_with("12:8: `addr` does not count"), "{note}");
    }

    /// The descriptors of Enarx were those of the file.
    #[test]
    fn an_order_that_a_keep_does_not_have() {
        let listen = "[[files]]\nkind = \"listen\"\nname = \"l\"\n";
        let connect = "[[files]]\nkind = \"connect\"\nhost = \"c\"\n";
        assert!(read(ENARX, &[STDIO, listen, connect].concat()).is_ok(), "control");
        refused(
            &[STDIO, connect, listen].concat(),
            "Enarx.toml:11:8: `listen` is descriptor 4, after `connect`; here listeners come first, and it would be 3",
            "move it before the first `connect`",
        );
        refused(
            &[listen, STDIO].concat(),
            "Enarx.toml:2:8: `listen` is descriptor 0, which is always `stdin` here",
            "begin with the files stdin, stdout and stderr",
        );
        let swapped = "[[files]]\nkind = \"null\"\n[[files]]\nkind = \"stderr\"\n";
        refused(swapped, "Enarx.toml:4:8: `stderr` is descriptor 1, which is always `stdout` here", "begin with");
        refused(
            &[STDIO, "[[files]]\nkind = \"null\"\n"].concat(),
            "Enarx.toml:8:8: `null` is descriptor 3; here 0 to 2 are streams, and no other",
            "remove it",
        );
    }

    #[test]
    fn what_is_spelled_wrong_or_missing() {
        let with = |entry: &str| [STDIO, "[[files]]\n", entry].concat();
        assert!(read(ENARX, &with("kind = \"listen\"\nname = \"l\"\nport = 1\n")).is_ok(), "control");
        refused("stward = \"x\"\n", "Enarx.toml:1:1: unknown key `stward`", "did you mean `steward`?");
        refused("[[file]]\nkind = \"stdin\"\n", "Enarx.toml:1:3: unknown key `file`", "did you mean `files`?");
        refused(&with("kind = \"listn\"\n"), "Enarx.toml:8:8: unknown value `listn`", "did you mean `listen`?");
        refused(&with("kind = \"listen\"\nprt = 1\n"), "Enarx.toml:9:1: unknown key `prt`", "did you mean `prot`?");
        refused(
            &with("kind = \"listen\"\n"),
            "Enarx.toml:7:1: the key `name` is missing, of kind = \"listen\"",
            "add `name = …`",
        );
        refused(
            &with("kind = \"connect\"\n"),
            "Enarx.toml:7:1: the key `host` is missing, of kind = \"connect\"",
            "add `host = …`",
        );
        refused(
            &with("kind = \"connect\"\nhost = \"c\"\naddr = \"::\"\n"),
            "Enarx.toml:10:8: `files[3].addr` does not belong to kind = \"connect\"",
            "where to connect to is `host`",
        );
        let listen = "kind = \"listen\"\nname = \"l\"\nport = 1\n";
        refused(
            &[&with(listen), "[[files]]\n", listen].concat(),
            "Enarx.toml:13:8: `listen[1]` has the name or the port of another",
            "give each its own name",
        );
        let failure = read(ENARX, &with("kind = \"listen\"\nname = \"a b\"\n")).err().unwrap();
        assert!(failure.message().starts_with("Enarx.toml:9:8: \"a b\" is not a valid"), "{}", failure.message());
        let failure = read(ENARX, &with("kind = \"connect\"\nhost = \"a_b\"\n")).err().unwrap();
        assert!(failure.message().starts_with("Enarx.toml:9:8: "), "{}", failure.message());
        refused(
            "[env]\n\"A=B\" = \"x\"\n",
            "Enarx.toml:2:9: `env.A=B`: a name, the host's too, is not empty and has no `=`, and neither name nor value has a NUL character",
            "",
        );
    }
}
