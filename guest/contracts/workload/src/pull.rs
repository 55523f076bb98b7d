//! The pull: from a workload's digest to its manifest, program and files, without I/O.
//!
//! Owns the order (OCI manifest, then manifest, then program, then files) and the checks. The caller owns the transport and asks
//! [`Pull::next`] what to fetch: from a Drawbridge by [`Fetch::path`], from the host over the gate by digest.
//! Refuses a byte too many at once, and everything after a refusal.
//! Invariant: every blob's digest matched before a parser saw its first byte (trust rule 11).
//!
//! ```
//! use workload::package::{Package, Program};
//! use workload::pull::{Pull, Step};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let built = Package::build(&workload::Manifest::default(), Program::detect(b"\0asm\x01\0\0\0".to_vec())?, vec![])?;
//! # let blob = |digest| built.blobs.iter().find(|(d, _)| d.digest == digest).map_or(&built.manifest, |(_, b)| b);
//! let mut pull = Pull::new(built.digest);
//! while let Step::Fetch(fetch) = pull.next() {
//!     pull.feed(blob(fetch.digest))?; // as many chunks as the transport likes
//!     pull.complete()?;
//! }
//! let workload = pull.into_workload()?;
//! # assert_eq!(workload.digest, built.digest);
//! # Ok(())
//! # }
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use crate::digest::{Check, CheckError, Digest, Size};
use crate::manifest::{Manifest, ManifestError};
use crate::names::Repository;
use crate::package::{
    Descriptor, Index, IndexError, Layout, MANIFEST, MANIFEST_LIMIT, Program, ProgramError, ProgramKind,
};

/// A pulled workload, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its digest.
    pub digest: Digest,
    /// What the publisher fixed; [`Manifest::default`] for a plain Wasm artifact.
    pub manifest: Manifest,
    /// The program; `None` if it was spared.
    pub program: Option<Program>,
    /// The files, in the order of the manifest's `file`.
    pub files: Vec<Vec<u8>>,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Fetch this, [`Pull::feed`] its bytes, then [`Pull::complete`]; or [`Pull::spare`] it.
    Fetch(Fetch),
    /// Nothing more; take [`Pull::into_workload`].
    Done,
}

/// One thing to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What it is.
    pub what: What,
    /// Its digest.
    pub digest: Digest,
    /// How many bytes may come.
    pub size: Size,
    /// Whether a caller that has what this digest compiles to may [`Pull::spare`] it: WebAssembly, and nothing else.
    pub spare: bool,
}

/// What is fetched, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The OCI manifest.
    Index,
    /// Our manifest, the config blob.
    Manifest,
    /// The program.
    Program,
    /// A file.
    File,
}

impl Fetch {
    /// The path to GET at a registry (OCI distribution-spec 1.1).
    #[must_use]
    pub fn path(&self, repository: &Repository) -> String {
        let digest = self.digest;
        match self.what {
            What::Index => alloc::format!("/v2/{repository}/manifests/{digest}"),
            What::Manifest | What::Program | What::File => alloc::format!("/v2/{repository}/blobs/{digest}"),
        }
    }

    /// The `Accept` header to send.
    #[must_use]
    pub const fn accept(&self) -> &'static str {
        match self.what {
            What::Index => MANIFEST,
            // Registries answer blobs as octet-stream whatever they hold; a narrower wish gets a 406 from some.
            What::Manifest | What::Program | What::File => "*/*",
        }
    }
}

/// Why a pull ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The source sent other bytes than it was asked for.
    #[error("{what:?}: {error}")]
    Check {
        /// What was fetched.
        what: What,
        /// What is wrong.
        error: CheckError,
    },
    /// The OCI manifest is not one of a workload.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The manifest is refused.
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// The program is not of its kind.
    #[error("program: {0}")]
    Program(#[from] ProgramError),
    /// The manifest names another number of files than there are layers of them.
    #[error("the manifest names {expected} files, the package has {found}")]
    Files {
        /// What the manifest names.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// No memory for a blob of the stated size.
    #[error("no memory for {0} bytes")]
    Memory(u64),
    /// The pull ended before, with its own error.
    #[error("the pull has failed before")]
    Failed,
    /// The caller finished too early, or went on after the end.
    #[error("the pull is not at this step")]
    Order,
}

/// The machine. After an error it stays failed: start another one.
#[derive(Debug)]
pub struct Pull {
    digest: Digest,
    state: State,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one machine a pull: a box would save nothing")]
enum State {
    Fetching { fetch: Fetch, check: Check, bytes: Vec<u8>, have: Have },
    Done(Workload),
    Failed,
}

/// What earlier steps gave.
#[derive(Debug)]
enum Have {
    Nothing,
    Index(Index),
    Manifest(Index, Manifest),
    /// All but some files, and of which blobs they are, the next last.
    Workload(Workload, Vec<Descriptor>),
}

impl Pull {
    /// Begins to pull the workload with this digest.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        let fetch = Fetch { what: What::Index, digest, size: Size::AtMost(MANIFEST_LIMIT), spare: false };
        let check = Check::sized(digest, fetch.size);
        Self { digest, state: State::Fetching { fetch, check, bytes: Vec::new(), have: Have::Nothing } }
    }

    /// What to fetch now; the same until [`Pull::complete`]. After an error `Done`, and [`Pull::into_workload`] fails.
    #[must_use]
    pub fn next(&self) -> Step {
        match &self.state {
            State::Fetching { fetch, .. } => Step::Fetch(fetch.clone()),
            State::Done(_) | State::Failed => Step::Done,
        }
    }

    /// Takes the next bytes of what is being fetched, in chunks of any size.
    ///
    /// # Errors
    /// More bytes than agreed, no memory, or nothing is being fetched.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), PullError> {
        let State::Fetching { fetch, check, bytes, have: _ } = &mut self.state else {
            return Err(self.out_of_order());
        };
        let what = fetch.what;
        let taken = check.update(chunk).map_err(|error| PullError::Check { what, error });
        let taken = taken.and_then(|()| bytes.try_reserve(chunk.len()).map_err(|_| PullError::Memory(check.seen())));
        if let Err(error) = taken {
            self.state = State::Failed;
            return Err(error);
        }
        bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Ends what is being fetched: checks the digest, then reads it.
    ///
    /// # Errors
    /// See [`PullError`].
    pub fn complete(&mut self) -> Result<(), PullError> {
        // On every way out but success the machine stays failed.
        match mem::replace(&mut self.state, State::Failed) {
            State::Fetching { fetch, check, bytes, have } => {
                check.finish().map_err(|error| PullError::Check { what: fetch.what, error })?;
                self.state = self.read(bytes, have)?;
                Ok(())
            }
            State::Done(workload) => {
                self.state = State::Done(workload);
                Err(PullError::Order)
            }
            State::Failed => Err(PullError::Failed),
        }
    }

    /// Goes on without what is to be fetched now, of which no byte was fed yet.
    ///
    /// # Errors
    /// [`PullError::Order`] if it cannot be spared, or has begun; it is then as before.
    pub fn spare(&mut self) -> Result<(), PullError> {
        match mem::replace(&mut self.state, State::Failed) {
            State::Fetching { fetch, check, have: Have::Manifest(index, manifest), .. }
                if fetch.spare && check.seen() == 0 =>
            {
                self.state = self.files(index, manifest, None)?;
                Ok(())
            }
            other => {
                self.state = other;
                Err(self.out_of_order())
            }
        }
    }

    /// The result.
    ///
    /// # Errors
    /// [`PullError::Failed`] after an error, [`PullError::Order`] before [`Step::Done`].
    pub fn into_workload(self) -> Result<Workload, PullError> {
        match self.state {
            State::Done(workload) => Ok(workload),
            State::Fetching { .. } => Err(PullError::Order),
            State::Failed => Err(PullError::Failed),
        }
    }

    /// Reads what was checked, and says what comes next.
    fn read(&self, bytes: Vec<u8>, have: Have) -> Result<State, PullError> {
        match have {
            Have::Nothing => {
                let index = Index::parse(&bytes, self.digest)?;
                match index.layout {
                    Layout::Donjon => {
                        let fetch = Fetch {
                            what: What::Manifest,
                            digest: index.config.digest,
                            size: Size::Exactly(index.config.size),
                            spare: false,
                        };
                        Self::fetch(fetch, Have::Index(index))
                    }
                    Layout::PlainWasm => Self::program(index, Manifest::default()),
                }
            }
            Have::Index(index) => {
                let manifest = Manifest::from_json(&bytes)?;
                let (expected, found) = (manifest.file.len(), index.files.len());
                if expected != found {
                    return Err(PullError::Files { expected, found });
                }
                Self::program(index, manifest)
            }
            Have::Manifest(index, manifest) => {
                let program = Program::detect(bytes)?;
                let (expected, found) = (index.kind, program.kind());
                if expected != found {
                    return Err(ProgramError::Kind { expected, found }.into());
                }
                self.files(index, manifest, Some(program))
            }
            Have::Workload(mut workload, rest) => {
                workload.files.push(bytes);
                Self::file(workload, rest)
            }
        }
    }

    fn program(index: Index, manifest: Manifest) -> Result<State, PullError> {
        let Descriptor { media_type: _, digest, size } = index.program;
        let spare = index.kind == ProgramKind::Wasm;
        let fetch = Fetch { what: What::Program, digest, size: Size::Exactly(size), spare };
        Self::fetch(fetch, Have::Manifest(index, manifest))
    }

    fn files(&self, index: Index, manifest: Manifest, program: Option<Program>) -> Result<State, PullError> {
        let workload = Workload { digest: self.digest, manifest, program, files: Vec::new() };
        Self::file(workload, index.files.into_iter().rev().collect())
    }

    /// The next file, or the end.
    fn file(workload: Workload, mut rest: Vec<Descriptor>) -> Result<State, PullError> {
        let Some(Descriptor { media_type: _, digest, size }) = rest.pop() else { return Ok(State::Done(workload)) };
        let fetch = Fetch { what: What::File, digest, size: Size::Exactly(size), spare: false };
        Self::fetch(fetch, Have::Workload(workload, rest))
    }

    fn fetch(fetch: Fetch, have: Have) -> Result<State, PullError> {
        // Within the format's limits, as [`Index::parse`] has seen to.
        let found = fetch.size.limit();
        // The size is the publisher's, not the sender's: its manifest has already matched the brief's digest.
        let mut bytes = Vec::new();
        let room = usize::try_from(found).ok().and_then(|room| bytes.try_reserve_exact(room).ok());
        room.ok_or(PullError::Memory(found))?;
        let check = Check::sized(fetch.digest, fetch.size);
        Ok(State::Fetching { fetch, check, bytes, have })
    }

    fn out_of_order(&self) -> PullError {
        match self.state {
            State::Failed => PullError::Failed,
            State::Fetching { .. } | State::Done(_) => PullError::Order,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::vec;

    use super::*;
    use crate::package::{self, Built, Package};

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn built() -> Built {
        let manifest = Manifest { args: vec!["serve".to_owned()], ..Manifest::default() };
        Package::build(&manifest, Program::Wasm(MODULE.to_vec()), vec![]).unwrap()
    }

    /// What an honest source would send.
    fn honest(built: &Built, fetch: &Fetch) -> Vec<u8> {
        let blob = built.blobs.iter().find(|(descriptor, _)| descriptor.digest == fetch.digest);
        blob.map_or(&built.manifest, |(_, bytes)| bytes).clone()
    }

    /// Pulls from a source; `sent` may change what it sends.
    fn run(built: &Built, sent: impl Fn(What, Vec<u8>) -> Vec<u8>) -> Result<Workload, PullError> {
        let mut pull = Pull::new(built.digest);
        while let Step::Fetch(fetch) = pull.next() {
            for chunk in sent(fetch.what, honest(built, &fetch)).chunks(3) {
                pull.feed(chunk)?;
            }
            pull.complete()?;
        }
        pull.into_workload()
    }

    fn pull(sent: impl Fn(What, Vec<u8>) -> Vec<u8>) -> Result<Workload, PullError> {
        run(&built(), sent)
    }

    #[test]
    fn an_honest_source() {
        let workload = pull(|_, bytes| bytes).unwrap();
        assert_eq!(workload.digest, built().digest);
        assert_eq!(workload.manifest.args, ["serve"]);
        assert_eq!(workload.program, Some(Program::Wasm(MODULE.to_vec())));
    }

    #[test]
    fn a_module_can_be_spared_before_its_first_byte_and_nothing_else_can() {
        let manifest = Manifest::from_json(br#"{"file":[{"path":"/a"}]}"#).unwrap();
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(64, 0);
        for (program, may) in [(Program::Wasm(MODULE.to_vec()), true), (Program::Elf(elf), false)] {
            let built = Package::build(&manifest, program, vec![b"one".to_vec()]).unwrap();
            let (mut pull, mut spared) = (Pull::new(built.digest), vec![]);
            while let Step::Fetch(fetch) = pull.next() {
                assert_eq!(fetch.spare, may && fetch.what == What::Program);
                match pull.spare() {
                    Ok(()) => spared.push(fetch.what),
                    Err(error) => {
                        assert_eq!(error, PullError::Order);
                        pull.feed(&honest(&built, &fetch)).unwrap();
                        assert_eq!(pull.spare(), Err(PullError::Order), "too late");
                        pull.complete().unwrap();
                    }
                }
            }
            assert_eq!(spared, if may { vec![What::Program] } else { vec![] });
            let workload = pull.into_workload().unwrap();
            assert_eq!((workload.program.is_none(), workload.files), (may, vec![b"one".to_vec()]));
        }
        let mut begun = Pull::new(built().digest);
        for _ in 0..2 {
            let Step::Fetch(fetch) = begun.next() else { panic!() };
            begun.feed(&honest(&built(), &fetch)).unwrap();
            begun.complete().unwrap();
        }
        begun.feed(&MODULE[..1]).unwrap();
        assert_eq!(begun.spare(), Err(PullError::Order));
        begun.feed(&MODULE[1..]).unwrap();
        begun.complete().unwrap();
        assert_eq!(begun.spare(), Err(PullError::Order), "it is done");
    }

    #[test]
    fn files_come_last_and_in_order() {
        let manifest = Manifest::from_json(br#"{"file":[{"path":"/b"},{"path":"/a"},{"path":"/c"}]}"#).unwrap();
        let files = vec![b"one".to_vec(), Vec::new(), b"two".to_vec()];
        let built = Package::build(&manifest, Program::Wasm(MODULE.to_vec()), files.clone()).unwrap();
        assert_eq!(run(&built, |_, bytes| bytes).unwrap().files, files);
        let changed = run(&built, |what, mut bytes| {
            if what == What::File && bytes == b"two" {
                bytes[0] ^= 1;
            }
            bytes
        });
        assert!(matches!(changed, Err(PullError::Check { what: What::File, .. })), "{changed:?}");
        // The manifest of a package names exactly the files that are there.
        let (more, fewer) = (br#"{"file":[{"path":"/a"}]}"#, b"{}");
        let of = |config: &[u8], program: &[u8]| {
            run(&foreign(package::CONFIG, config, package::WASM, program), |_, bytes| bytes)
        };
        assert_eq!(of(more, MODULE).map(|_| ()), Err(PullError::Files { expected: 1, found: 0 }));
        assert!(of(fewer, MODULE).is_ok(), "control");
    }

    #[test]
    fn the_order_and_the_requests() {
        let built = built();
        let repository: Repository = "acme/shop".parse().unwrap();
        let mut pull = Pull::new(built.digest);
        let mut seen = vec![];
        while let Step::Fetch(fetch) = pull.next() {
            assert_eq!(pull.next(), Step::Fetch(fetch.clone()), "asking changes nothing");
            seen.push((fetch.what, fetch.path(&repository), fetch.size, fetch.accept()));
            pull.feed(&honest(&built, &fetch)).unwrap();
            pull.complete().unwrap();
        }
        let [(config, _), (program, _)] = built.blobs.as_slice() else { panic!() };
        let path = |kind: &str, digest: Digest| alloc::format!("/v2/acme/shop/{kind}/{digest}");
        let expected = [
            (What::Index, path("manifests", built.digest), Size::AtMost(4 << 20), package::MANIFEST),
            (What::Manifest, path("blobs", config.digest), Size::Exactly(config.size), "*/*"),
            (What::Program, path("blobs", program.digest), Size::Exactly(8), "*/*"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn other_bytes_are_refused_at_every_step() {
        for target in [What::Index, What::Manifest, What::Program] {
            let change = |with: fn(&mut Vec<u8>)| {
                pull(move |what, mut bytes| {
                    if what == target {
                        with(&mut bytes);
                    }
                    bytes
                })
            };
            let is = |found: Result<Workload, PullError>, wanted: fn(&CheckError) -> bool| match found {
                Err(PullError::Check { what, error }) => {
                    assert!(what == target && wanted(&error), "{what:?} {error}")
                }
                other => panic!("{target:?}: {other:?}"),
            };
            is(change(|bytes| bytes[0] ^= 1), |error| matches!(error, CheckError::Mismatch { .. }));
            let index = target == What::Index;
            match change(|bytes| bytes.truncate(bytes.len() - 1)) {
                // Only the digest of the OCI manifest is known, not its size.
                short if index => is(short, |error| matches!(error, CheckError::Mismatch { .. })),
                short => is(short, |error| matches!(error, CheckError::TooShort { .. })),
            }
            match change(|bytes| bytes.push(0)) {
                long if index => is(long, |error| matches!(error, CheckError::Mismatch { .. })),
                long => is(long, |error| matches!(error, CheckError::TooLong { .. })),
            }
        }
        assert!(pull(|_, bytes| bytes).is_ok(), "control");
    }

    #[test]
    fn a_flood_is_stopped_at_the_first_byte_too_many() {
        let mut pull = Pull::new(built().digest);
        let chunk = vec![0; 1 << 20];
        for _ in 0..4 {
            pull.feed(&chunk).unwrap();
        }
        let error = CheckError::TooLong { limit: MANIFEST_LIMIT };
        assert_eq!(pull.feed(&[0]), Err(PullError::Check { what: What::Index, error }));
        assert_eq!(pull.feed(&[0]), Err(PullError::Failed));
        assert_eq!(pull.complete(), Err(PullError::Failed));
        assert_eq!(pull.next(), Step::Done);
        assert_eq!(pull.into_workload(), Err(PullError::Failed));
    }

    #[test]
    fn out_of_order() {
        let pull = Pull::new(built().digest);
        assert_eq!(pull.into_workload(), Err(PullError::Order));
        let built = built();
        let mut pull = Pull::new(built.digest);
        while let Step::Fetch(fetch) = pull.next() {
            pull.feed(&honest(&built, &fetch)).unwrap();
            pull.complete().unwrap();
        }
        assert_eq!(pull.feed(b"x"), Err(PullError::Order));
        assert_eq!(pull.complete(), Err(PullError::Order));
        assert!(pull.into_workload().is_ok(), "the result is not lost");
    }

    /// A package of any config and program with right digests, as a publisher with other ideas would push it.
    fn foreign(config_type: &str, config: &[u8], program_type: &str, program: &[u8]) -> Built {
        let config_descriptor = package::Descriptor::of(config_type, config);
        let program_descriptor = package::Descriptor::of(program_type, program);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "artifactType": package::ARTIFACT_TYPE,
            "config": config_descriptor,
            "layers": [program_descriptor],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let blobs = vec![(config_descriptor, config.to_vec()), (program_descriptor, program.to_vec())];
        Built { digest: Digest::of(&manifest), manifest, blobs }
    }

    #[test]
    fn right_digests_of_wrong_things() {
        let run = |built: &Built| run(built, |_, bytes| bytes);
        let (config, wasm) = (package::CONFIG, package::WASM);
        assert!(run(&foreign(config, b"{}", wasm, MODULE)).is_ok(), "control");
        let spaced = run(&foreign(config, b"{ }", wasm, MODULE));
        assert_eq!(spaced, Err(PullError::Manifest(ManifestError::NotCanonical)));
        let text = run(&foreign(config, b"{}", wasm, b"hello"));
        assert_eq!(text, Err(PullError::Program(ProgramError::Unknown(b"hell".to_vec()))));
        assert_eq!(run(&foreign(config, b"{}", wasm, b"")), Err(PullError::Program(ProgramError::Empty)));
        let elf = run(&foreign(config, b"{}", wasm, b"\x7fELF"));
        assert!(matches!(elf, Err(PullError::Program(ProgramError::Kind { .. }))), "{elf:?}");
        let image = run(&foreign("application/vnd.oci.image.config.v1+json", b"{}", wasm, MODULE));
        assert!(matches!(image, Err(PullError::Index(IndexError::NotAWorkload(_)))), "{image:?}");
    }

    #[test]
    fn a_plain_wasm_artifact_needs_no_config() {
        let built = foreign(package::WASM_CONFIG, b"never fetched", package::WASM, MODULE);
        let workload = run(&built, |what, bytes| {
            assert_ne!(what, What::Manifest);
            bytes
        });
        assert_eq!(workload.unwrap().manifest, Manifest::default());
    }
}
