//! Programs that are not WebAssembly: static-PIE ELF files, which take exec's place in the Keep.
//!
//! Owns what such a program gets: arguments, environment and streams as manifest and brief say, and the package's files and
//! the Keep's identity as files in memory. Refuses mounts, and all that the manifest says of the network, because such a
//! program opens its sockets itself, and files that are no such programs, before the platform is asked for anything.
//!
//! Invariant: what is handed over is exactly the bytes whose digest is in the brief, and all that exec had goes away
//! with exec.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use gate::elf::{Elf, ElfError, Kind};
use gate::message::CHUNK;
use gate::program::{ALL_FILES, FILE, FILES, PATH, Path, STACK, Streams, Texts, join};
use identity::pem;
use workload::brief::Brief;
use workload::manifest::{self, IDENTITY_FILES, Manifest, Place, Stdio};

use crate::enrol::Identity;
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};

const _: () = assert!(gate::program::PROGRAM == workload::package::PROGRAM_LIMIT);

/// The name by which a program is called.
const NAME: &str = "program";

/// Gives the Keep to `program`. Comes back only with why not.
pub(crate) fn run(
    platform: &mut Platform,
    (brief, brief_bytes): (&Brief, &[u8]),
    manifest: &Manifest,
    environment: BTreeMap<String, String>,
    program: &[u8],
    files: &[(Place, Vec<u8>)],
    identity: Option<&Identity>,
) -> Result<Infallible, Refusal> {
    no_webassembly(manifest)?;
    judge(program).map_err(|error| {
        Refusal::new(
            Step::Program,
            "elf.invalid",
            format_args!("the program cannot be put into a Keep: {error}"),
            error.hint(),
        )
    })?;
    let (arguments, environment) = texts(brief, manifest, &environment)?;
    let invalid = || defect("texts without an end");
    let arguments = Texts::new(&arguments).ok_or_else(invalid)?;
    let environment = Texts::new(&environment).ok_or_else(invalid)?;

    for part in program.chunks(CHUNK) {
        if !platform.part(part)? {
            return Err(Refusal::new(
                Step::Program,
                "elf.unsupported",
                "the program is an ELF file, and this platform runs WebAssembly only",
                "build for wasm32-wasip1 or wasm32-wasip2",
            ));
        }
    }
    let own = own_files(manifest, brief_bytes, identity)?;
    let own = own.iter().map(|(path, content)| (path.as_str(), &content[..]));
    let given = files.iter().map(|(path, content)| (path.as_str(), content.as_slice()));
    for (path, content) in fitting(own.chain(given).collect())? {
        // An empty file is one too.
        let parts = content.chunks(CHUNK).chain(content.is_empty().then_some(content));
        for part in parts {
            platform.file(path, part)?;
        }
    }
    platform.milestone(Step::Program, "the program runs")?;
    let manifest::Streams { stdin, stdout, stderr } = manifest.stdio(brief);
    let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(|stream| stream == Stdio::Host);
    let reason = platform.replace(arguments, environment, Streams { stdin, stdout, stderr })?;
    Err(Refusal::new(
        Step::Program,
        "elf.invalid",
        format_args!("the platform cannot start the program: {reason}"),
        "it must run outside of a Keep, and fit into the Keep's memory",
    ))
}

/// Whether it can be put into a Keep.
fn judge(program: &[u8]) -> Result<(), ElfError> {
    Elf::read(program, u64::try_from(program.len()).unwrap_or(u64::MAX), Kind::Program).map(|_| ())
}

/// What a manifest can say of WebAssembly only.
fn no_webassembly(manifest: &Manifest) -> Result<(), Refusal> {
    let refused = |message: &dyn std::fmt::Display| {
        let hint =
            "such a program opens its own sockets: remove `kind` and [[listen]], and give it the port as an argument";
        Err(Refusal::new(Step::Program, "elf.kind", message, hint))
    };
    if let Some(mount) = manifest.mount.first() {
        return Err(Refusal::new(
            Step::Program,
            "elf.mount",
            format_args!("the manifest has a mount at {}, and the program is an ELF file", mount.path),
            "build it for WebAssembly: native programs read the files of their package, and write none",
        ));
    }
    if manifest.invoke.is_some() || !manifest.stubs.is_empty() {
        return refused(&"the manifest says `invoke` or `stubs`, and the program is an ELF file, which has a `main`");
    }
    if !manifest.connect.is_empty() || manifest.network != manifest::Network::default() {
        return Err(Refusal::new(
            Step::Program,
            "elf.network",
            "the manifest says whom the program reaches, and the program is an ELF file, which nobody would keep to it",
            "remove [[connect]] and [network], or build it for WebAssembly",
        ));
    }
    match (manifest.kind, manifest.listen.first()) {
        (manifest::Kind::Http, _) => {
            refused(&"the manifest says kind = \"http\", and the program is an ELF file, which handles no requests")
        }
        (manifest::Kind::Auto | manifest::Kind::Command, Some(listen)) => refused(&format_args!(
            "the manifest has the listener `{}`, and the program is an ELF file, to which nobody would pass connections",
            listen.name
        )),
        (manifest::Kind::Auto | manifest::Kind::Command, None) => Ok(()),
    }
}

/// Arguments and environment, as they will stand on the program's stack.
fn texts(
    brief: &Brief,
    manifest: &Manifest,
    environment: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let given = manifest.arguments(brief);
    let name = manifest.arg0.as_deref().unwrap_or(NAME);
    let arguments = join([name].into_iter().chain(given.iter().map(String::as_str)));
    let environment = join(environment.iter().map(|(name, value)| format!("{name}={value}")));
    let room = [&arguments, &environment].map(|texts| Texts::new(texts).map_or(usize::MAX, Texts::room));
    let found = room[0].saturating_add(room[1]);
    if found <= STACK {
        return Ok((arguments, environment));
    }
    Err(Refusal::new(
        Step::Program,
        "elf.arguments",
        format_args!("arguments and environment take {found} bytes of the program's stack, and may take {STACK}"),
        "put data into the program, or let it read them from standard input",
    ))
}

/// The Keep's identity, by path: with its key where such programs have always found it, and what every program finds if the
/// manifest says so.
fn own_files(manifest: &Manifest, brief: &[u8], identity: Option<&Identity>) -> Result<Vec<(String, Bytes)>, Refusal> {
    let mut all = Vec::new();
    if manifest.identity.files {
        all.push((format!("{IDENTITY_FILES}/brief"), Bytes::copy_from_slice(brief)));
    }
    let Some(identity) = identity else { return Ok(all) };
    let now = identity.now();
    let key = pem::encode_key(now.key.to_pkcs8()?.secret_pkcs8_der());
    all.push(("/donjon/identity/key.pem".to_owned(), key.into()));
    for (name, content) in now.files() {
        if matches!(name, "anchors.pem" | "certificates.pem") {
            all.push((format!("/donjon/identity/{name}"), content.clone()));
        }
        if manifest.identity.files {
            all.push((format!("{IDENTITY_FILES}/{name}"), content));
        }
    }
    Ok(all)
}

/// The files, if a platform takes them.
fn fitting<'a>(files: Vec<(&'a str, &'a [u8])>) -> Result<Vec<(Path<'a>, &'a [u8])>, Refusal> {
    let refused = |message: &dyn std::fmt::Display| {
        let hint = "put the files into the program, or build it for WebAssembly, which has no such bounds";
        Refusal::new(Step::Program, "elf.files", message, hint)
    };
    let sum = files.iter().fold(0_usize, |sum, (_, content)| sum.saturating_add(content.len()));
    if files.len() > FILES || sum > ALL_FILES {
        return Err(refused(&format_args!(
            "a native program has at most {FILES} files of {ALL_FILES} bytes, this one has {} of {sum}",
            files.len()
        )));
    }
    let mut all = Vec::new();
    for (path, content) in files {
        let found = Path::new(path).filter(|_| content.len() <= FILE && all.iter().all(|(other, _)| other != &path));
        let Some(found) = found else {
            return Err(refused(&format_args!(
                "`{path}` with {} bytes cannot be a file of a native program: it has its path alone, of at most {PATH} \
                 bytes, and at most {FILE} bytes",
                content.len()
            )));
        };
        all.push((path, (found, content)));
    }
    Ok(all.into_iter().map(|(_, file)| file).collect())
}

fn defect(what: &str) -> Refusal {
    Refusal::new(Step::Program, "elf.defect", what, "this is a defect of the Keep: report it")
}

#[cfg(test)]
mod tests {
    use gate::message::Outcome;

    use super::*;

    fn manifest(json: &str) -> Manifest {
        Manifest::from_json(json.as_bytes()).unwrap()
    }

    fn brief(args: Vec<String>) -> Brief {
        Brief {
            trust_domain: "local".parse().unwrap(),
            steward: None,
            source: workload::brief::Source::Host,
            owner: None,
            deployment: "run".parse().unwrap(),
            role: "main".parse().unwrap(),
            workload: workload::Digest::of(b""),
            args,
            env: vec![("A".to_owned(), "launcher".to_owned()), ("B".to_owned(), String::new())],
        }
    }

    fn given(brief: &Brief, manifest: &Manifest) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        texts(brief, manifest, &manifest.environment(brief, &workload::secrets::Released::default()).unwrap())
    }

    fn code(refusal: &Refusal) -> (u8, String, String) {
        match refusal.outcome() {
            Outcome::Refused { step, code, message: _, hint } => (step, code.to_owned(), hint.to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listener_is_refused_with_its_reason() {
        let listen = r#""listen":[{"name":"web","port":1,"protocol":"http"}]"#;
        for json in [format!("{{{listen}}}"), format!(r#"{{"kind":"http",{listen}}}"#)] {
            let (step, code, hint) = code(&no_webassembly(&manifest(&json)).unwrap_err());
            assert_eq!((step, code.as_str()), (13, "elf.kind"));
            assert!(hint.contains("[[listen]]"), "{hint}");
        }
        for json in [r#"{"network":{"listen":["80"]}}"#, r#"{"connect":[{"name":"db","to":"db:1","protocol":"tcp"}]}"#]
        {
            assert_eq!(code(&no_webassembly(&manifest(json)).unwrap_err()).1, "elf.network");
        }
        for json in ["{}", r#"{"kind":"command"}"#] {
            assert!(no_webassembly(&manifest(json)).is_ok(), "control");
        }
    }

    #[test]
    fn a_program_is_called_with_what_manifest_and_brief_say() {
        let manifest = manifest(r#"{"args":["a"],"env":{"A":"publisher"}}"#);
        let (arguments, environment) = given(&brief(vec!["b c".to_owned()]), &manifest).unwrap();
        assert_eq!(arguments, b"program\0a\0b c\0");
        assert_eq!(environment, b"A=publisher\0B=\0");
    }

    #[test]
    fn more_than_a_stack_holds_is_refused() {
        // Beside the name and two variables, each with its end and its pointer.
        let rest = ["program", "A=launcher", "B="].iter().map(|text| text.len() + 9).sum::<usize>() + 9;
        let of = |length: usize| given(&brief(vec!["x".repeat(length)]), &Manifest::default());
        assert!(of(STACK - rest).is_ok(), "control");
        assert_eq!(code(&of(STACK - rest + 1).unwrap_err()).1, "elf.arguments");
    }

    #[test]
    fn what_is_no_static_program_is_not_handed_over() {
        assert_eq!(judge(b"\0asm\x01\0\0\0"), Err(ElfError::NotElf));
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(judge(&own), Err(ElfError::Interpreter));
    }
}
