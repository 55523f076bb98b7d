//! The package: one workload as an OCI artifact (OCI image-spec 1.1), named by the SHA-256 of its OCI manifest.
//!
//! Owns the layout and media types of `spec/package.md`, building (the same input gives the same bytes, everywhere) and
//! reading, also of plain Wasm artifacts as other tools push them (CNCF TAG Runtime, "Wasm OCI Artifact layout").
//! Refuses image indexes, layers it does not understand, and media types reserved for later: a workload of which we
//! would run only a part is not the workload its digest names.
//! Invariant: nothing is parsed before its digest matched.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{Check, CheckError, Digest};
use crate::manifest::{CONFIG_LIMIT, FILE_LIMIT, FILES, Manifest, ManifestError, Place};

/// Media type of the OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `artifactType` of a Donjon workload.
pub const ARTIFACT_TYPE: &str = "application/vnd.donjon.workload.v1";
/// Config of a Donjon workload: the canonical JSON [`Manifest`].
pub const CONFIG: &str = "application/vnd.donjon.manifest.v1+json";
/// Layer: a WebAssembly module or component.
pub const WASM: &str = "application/wasm";
/// Layer: a static-PIE ELF program.
pub const ELF: &str = "application/vnd.donjon.program.v1+elf";
/// Config of a plain Wasm artifact of other tools.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Layer: a measured file, in the order of the manifest's `file`.
pub const FILE: &str = "application/vnd.donjon.file.v1";
/// Reserved: a manifest encrypted to Keeps (COSE_Encrypt).
pub const ENCRYPTED_CONFIG: &str = "application/vnd.donjon.manifest.v1.encrypted+cose";
/// Reserved: a program encrypted to Keeps (COSE_Encrypt).
pub const ENCRYPTED_PROGRAM: &str = "application/vnd.donjon.program.v1.encrypted+cose";
/// Reserved: a measured file encrypted to Keeps (COSE_Encrypt).
pub const ENCRYPTED_FILE: &str = "application/vnd.donjon.file.v1.encrypted+cose";

/// What readers refuse for now although the format knows it.
const RESERVED: [&str; 3] = [ENCRYPTED_CONFIG, ENCRYPTED_PROGRAM, ENCRYPTED_FILE];

/// The longest OCI manifest, in bytes (the size distribution-spec 1.1 asks registries to take).
pub const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// The longest program, in bytes.
pub const PROGRAM_LIMIT: u64 = 512 * 1024 * 1024;

/// What a blob is, which bytes it has, and how many (OCI image-spec 1.1, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl Descriptor {
    /// Describes these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self { media_type: media_type.to_owned(), digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// A program, told apart by its first bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Program {
    /// A WebAssembly core module or component.
    Wasm(Vec<u8>),
    /// An ELF file.
    Elf(Vec<u8>),
}

/// What kind of program a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// [`WASM`]
    Wasm,
    /// [`ELF`]
    Elf,
}

/// Why bytes are not a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// No bytes.
    #[error("the program is empty")]
    Empty,
    /// Too many bytes.
    #[error("a program has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
        /// Its length.
        found: u64,
    },
    /// Neither Wasm nor ELF; the first bytes, at most 4.
    #[error("neither WebAssembly (00 61 73 6d) nor ELF (7f 45 4c 46): it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    /// Wasm that ends within its 8-byte header.
    #[error("the WebAssembly is cut short: {found} bytes, not even its 8-byte header")]
    Truncated {
        /// How many bytes there are.
        found: usize,
    },
    /// Wasm of a version nobody runs.
    #[error("unknown WebAssembly version {0:02x?}: neither a module (01 00 00 00) nor a component (0d 00 01 00)")]
    Version([u8; 4]),
    /// The layer's media type promises another kind.
    #[error("the layer says {expected:?}, its bytes are {found:?}")]
    Kind {
        /// What the media type says.
        expected: ProgramKind,
        /// What the bytes are.
        found: ProgramKind,
    },
}

impl Program {
    /// Looks at the first bytes and tells what it is. A header is no promise: the runtime validates the rest.
    ///
    /// # Errors
    /// See [`ProgramError`].
    pub fn detect(bytes: Vec<u8>) -> Result<Self, ProgramError> {
        Ok(match ProgramKind::of(&bytes, bytes.len() as u64)? {
            ProgramKind::Wasm => Self::Wasm(bytes),
            ProgramKind::Elf => Self::Elf(bytes),
        })
    }

    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> ProgramKind {
        match self {
            Self::Wasm(_) => ProgramKind::Wasm,
            Self::Elf(_) => ProgramKind::Elf,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Wasm(bytes) | Self::Elf(bytes) => bytes,
        }
    }

    /// Its bytes, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Wasm(bytes) | Self::Elf(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}({} bytes)", self.kind(), self.bytes().len())
    }
}

impl ProgramKind {
    /// Looks at the first 8 bytes, or more, of a program of this length.
    ///
    /// # Errors
    /// See [`ProgramError`].
    pub fn of(head: &[u8], length: u64) -> Result<Self, ProgramError> {
        if length > PROGRAM_LIMIT {
            return Err(ProgramError::TooLong { limit: PROGRAM_LIMIT, found: length });
        }
        match head {
            [] => Err(ProgramError::Empty),
            // WebAssembly Core 2.0 section 5.5.16; component-model Binary.md, "Component Definitions".
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] | [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(Self::Wasm),
            [0, b'a', b's', b'm', a, b, c, d, ..] => Err(ProgramError::Version([*a, *b, *c, *d])),
            [0, b'a', b's', b'm', ..] => Err(ProgramError::Truncated { found: head.len() }),
            [0x7f, b'E', b'L', b'F', ..] => Ok(Self::Elf),
            _ => Err(ProgramError::Unknown(head.iter().take(4).copied().collect())),
        }
    }

    /// The layer's media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wasm => WASM,
            Self::Elf => ELF,
        }
    }
}

/// Namespace of [`Package::build`].
#[derive(Debug)]
pub enum Package {}

/// A program or a file of a package, by what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<B> {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// The bytes themselves, or where they are.
    pub bytes: B,
}

impl From<Vec<u8>> for Part<Vec<u8>> {
    fn from(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), size: bytes.len() as u64, bytes }
    }
}

impl<B> Part<B> {
    fn described(self, media_type: &str) -> (Descriptor, B) {
        (Descriptor { media_type: media_type.to_owned(), digest: self.digest, size: self.size }, self.bytes)
    }
}

/// A built package: push the blobs first, then the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built<B = Vec<u8>> {
    /// The OCI manifest.
    pub manifest: Vec<u8>,
    /// Its SHA-256: the workload's digest.
    pub digest: Digest,
    /// Config, program and files, in this order.
    pub blobs: Vec<(Descriptor, B)>,
}

/// Why a package cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The manifest breaks a rule.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The program is too long, or not what its variant says.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Another number of files than the manifest names.
    #[error("the manifest names {expected} files, {found} were given")]
    Files {
        /// How many the manifest names.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A file that is too long.
    #[error("a file of a package has at most {limit} bytes, `{path}` has {found}")]
    FileTooLong {
        /// Its path in the Keep.
        path: Place,
        /// [`FILE_LIMIT`].
        limit: u64,
        /// Its length in bytes.
        found: u64,
    },
    /// The OCI manifest could not be written.
    #[error("the OCI manifest could not be written as JSON")]
    Json,
}

impl Package {
    /// Builds the package of this manifest (without what only `Donjon.toml` has), program and files, in the manifest's
    /// order. The same arguments give the same bytes: no time, no annotation, no tool's name goes in.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(manifest: &Manifest, program: Program, files: Vec<Vec<u8>>) -> Result<Built, BuildError> {
        let expected = program.kind();
        let program = program.into_bytes();
        let found = ProgramKind::of(&program, program.len() as u64)?;
        if found != expected {
            return Err(ProgramError::Kind { expected, found }.into());
        }
        Self::of(manifest, found, program.into(), files.into_iter().map(Into::into).collect())
    }

    /// The same, of a program and files that need not be in memory.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn of<B: From<Vec<u8>>>(
        manifest: &Manifest,
        kind: ProgramKind,
        program: Part<B>,
        files: Vec<Part<B>>,
    ) -> Result<Built<B>, BuildError> {
        if files.len() != manifest.file.len() {
            return Err(BuildError::Files { expected: manifest.file.len(), found: files.len() });
        }
        for (&Part { size: found, .. }, file) in files.iter().zip(&manifest.file) {
            if found > FILE_LIMIT {
                return Err(BuildError::FileTooLong { path: file.path.clone(), limit: FILE_LIMIT, found });
            }
        }
        let config = manifest.clone().for_package().to_json()?;
        let config_descriptor = Descriptor::of(CONFIG, &config);
        let files = files.into_iter().map(|file| file.described(FILE));
        let layers: Vec<_> = [program.described(kind.media_type())].into_iter().chain(files).collect();
        let index = Written {
            schema_version: 2,
            media_type: MANIFEST,
            artifact_type: ARTIFACT_TYPE,
            config: &config_descriptor,
            layers: layers.iter().map(|(descriptor, _)| descriptor).collect(),
        };
        let bytes = serde_json::to_vec(&index).map_err(|_| BuildError::Json)?;
        Ok(Built {
            digest: Digest::of(&bytes),
            manifest: bytes,
            blobs: [(config_descriptor, B::from(config))].into_iter().chain(layers).collect(),
        })
    }
}

/// A read OCI manifest: what else must be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The workload's digest.
    pub digest: Digest,
    /// Whose layout it follows.
    pub layout: Layout,
    /// The config blob.
    pub config: Descriptor,
    /// The program's layer.
    pub program: Descriptor,
    /// What the program's media type says.
    pub kind: ProgramKind,
    /// The files' layers.
    pub files: Vec<Descriptor>,
}

/// Whose layout a package follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Ours: the config is a [`Manifest`].
    Donjon,
    /// A plain Wasm artifact: its config is not read, [`Manifest::default`] holds.
    PlainWasm,
}

/// Why an OCI manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Too long, or not the bytes of this digest.
    #[error("the OCI manifest is not what its digest says: {0}")]
    Check(#[from] CheckError),
    /// Not JSON, or without the fields of an OCI manifest.
    #[error("not an OCI manifest: {0}")]
    Json(String),
    /// Neither schema version 2 nor the media type of a manifest; an image index, for example.
    #[error("not an OCI image manifest but {0}")]
    NotAManifest(String),
    /// The config's media type is neither ours nor that of a plain Wasm artifact.
    #[error("not a workload: the config is {0}")]
    NotAWorkload(String),
    /// Our config with another `artifactType`.
    #[error("artifactType is {found:?}, expected {expected:?}")]
    ArtifactType {
        /// [`ARTIFACT_TYPE`].
        expected: &'static str,
        /// What it says; empty = nothing.
        found: String,
    },
    /// A media type of the format that this version cannot read.
    #[error("{0} is reserved: this version cannot read it")]
    Reserved(String),
    /// A layer that is no program.
    #[error("cannot use a layer of type {0}")]
    UnknownLayer(String),
    /// Not exactly one program.
    #[error("a workload has exactly one program, this one has {found}")]
    Programs {
        /// How many layers there are.
        found: usize,
    },
    /// More files than a workload may have.
    #[error("a workload has at most {limit} files, this one has {found}")]
    Files {
        /// [`FILES`].
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// A blob bigger than allowed.
    #[error("{media_type} has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// Which blob.
        media_type: String,
        /// The limit in bytes.
        limit: u64,
        /// What its descriptor says.
        found: u64,
    },
}

impl Index {
    /// Reads the OCI manifest of the workload with digest `expected`.
    ///
    /// # Errors
    /// See [`IndexError`]. Length and digest are checked before the first character is parsed.
    pub fn parse(bytes: &[u8], expected: Digest) -> Result<Self, IndexError> {
        let mut check = Check::at_most(expected, MANIFEST_LIMIT);
        check.update(bytes)?;
        check.finish()?;
        let Object(Read { schema_version, media_type, artifact_type, config, layers, is_index }) =
            serde_json::from_slice(bytes).map_err(|error| IndexError::Json(alloc::format!("{error}")))?;
        if let Some(other) = media_type.filter(|media_type| media_type != MANIFEST) {
            return Err(IndexError::NotAManifest(short(&other)));
        }
        if schema_version != 2 {
            return Err(IndexError::NotAManifest(alloc::format!("schema version {schema_version}")));
        }
        // One document that is an index to one reader and a manifest to another: OCI image-spec security advisory
        // GHSA-77vh-xpmg-72qh.
        if is_index {
            return Err(IndexError::NotAManifest("an image index".to_owned()));
        }
        let (Some(Object(config)), Some(layers)) = (config, layers) else {
            return Err(IndexError::Json("`config` or `layers` is missing".to_owned()));
        };
        let layers: Vec<_> = layers.into_iter().map(|Object(layer)| layer).collect();
        let types = [&config].into_iter().chain(&layers).map(|blob| &blob.media_type).chain(&artifact_type);
        if let Some(reserved) = types.into_iter().find(|media_type| RESERVED.contains(&media_type.as_str())) {
            return Err(IndexError::Reserved(reserved.clone()));
        }
        let layout = match config.media_type.as_str() {
            CONFIG => match artifact_type.as_deref() {
                Some(ARTIFACT_TYPE) => Layout::Donjon,
                other => {
                    let found = short(other.unwrap_or_default());
                    return Err(IndexError::ArtifactType { expected: ARTIFACT_TYPE, found });
                }
            },
            WASM_CONFIG => Layout::PlainWasm,
            other => return Err(IndexError::NotAWorkload(short(other))),
        };
        let found = layers.len();
        // The program is the first; of a plain artifact it is all there is.
        let mut layers = layers.into_iter();
        let Some(program) = layers.next() else { return Err(IndexError::Programs { found }) };
        let files: Vec<_> = layers.collect();
        match files.iter().find(|layer| layout != Layout::Donjon || layer.media_type != FILE) {
            Some(layer) if [WASM, ELF].contains(&layer.media_type.as_str()) => {
                return Err(IndexError::Programs { found });
            }
            Some(layer) => return Err(IndexError::UnknownLayer(short(&layer.media_type))),
            None if files.len() > FILES => return Err(IndexError::Files { limit: FILES, found: files.len() }),
            None => {}
        }
        let kind = match (program.media_type.as_str(), layout) {
            (WASM, Layout::Donjon | Layout::PlainWasm) => ProgramKind::Wasm,
            (ELF, Layout::Donjon) => ProgramKind::Elf,
            (other, _) => return Err(IndexError::UnknownLayer(short(other))),
        };
        let limits = [(&config, CONFIG_LIMIT as u64), (&program, PROGRAM_LIMIT)];
        for (blob, limit) in limits.into_iter().chain(files.iter().map(|file| (file, FILE_LIMIT))) {
            if blob.size > limit {
                return Err(IndexError::TooLong { media_type: blob.media_type.clone(), limit, found: blob.size });
            }
        }
        Ok(Self { digest: expected, layout, config, program, kind, files })
    }
}

/// What we write, in this order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u8,
    media_type: &'static str,
    artifact_type: &'static str,
    config: &'a Descriptor,
    layers: Vec<&'a Descriptor>,
}

/// What we read. Annotations, `subject` and whatever else a manifest may have do not change what runs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    schema_version: u64,
    #[serde(default, deserialize_with = "not_null")]
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Object<Descriptor>>,
    layers: Option<Vec<Object<Descriptor>>>,
    /// Whether the key stands there, whatever its value.
    #[serde(default, rename = "manifests", deserialize_with = "stands_there")]
    is_index: bool,
}

/// A text that may be absent, but not `null`: to an `Option` both are the same.
fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// serde comes here only if the key is there.
fn stands_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A struct that is a JSON object. serde's derive also takes an array of the fields' values, which no other reader of
/// these documents does.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// A foreign text for an error message.
fn short(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn built() -> Built {
        Package::build(&Manifest::default(), Program::Wasm(MODULE.to_vec()), vec![]).unwrap()
    }

    /// Parses a text as the OCI manifest that its own digest names.
    fn parse(json: &str) -> Result<Index, IndexError> {
        Index::parse(json.as_bytes(), Digest::of(json.as_bytes()))
    }

    fn text() -> String {
        String::from_utf8(built().manifest).unwrap()
    }

    #[test]
    fn golden_bytes() {
        let expected = [
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""artifactType":"application/vnd.donjon.workload.v1","#,
            r#""config":{"mediaType":"application/vnd.donjon.manifest.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"#,
            r#""layers":[{"mediaType":"application/wasm","#,
            r#""digest":"sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476","size":8}]}"#,
        ];
        assert_eq!(text(), expected.concat());
        assert_eq!(built(), built());
    }

    #[test]
    fn what_is_built_can_be_read() {
        for (program, kind) in [
            (Program::Wasm(MODULE.to_vec()), ProgramKind::Wasm),
            (Program::Wasm(COMPONENT.to_vec()), ProgramKind::Wasm),
            (Program::Elf(b"\x7fELF\x02".to_vec()), ProgramKind::Elf),
        ] {
            let manifest =
                Manifest { program: Some("a.wasm".to_owned()), args: vec!["x".to_owned()], ..Manifest::default() };
            let built = Package::build(&manifest, program.clone(), vec![]).unwrap();
            let index = Index::parse(&built.manifest, built.digest).unwrap();
            assert_eq!((index.digest, index.layout, index.kind), (built.digest, Layout::Donjon, kind));
            assert_eq!([&index.config, &index.program], [&built.blobs[0].0, &built.blobs[1].0]);
            for (descriptor, bytes) in &built.blobs {
                assert_eq!(*descriptor, Descriptor::of(&descriptor.media_type, bytes));
            }
            assert_eq!(built.blobs[1].1, program.bytes());
            assert_eq!(Manifest::from_json(&built.blobs[0].1), Ok(manifest.for_package()));
        }
    }

    #[test]
    fn files_are_layers_in_the_order_of_their_paths() {
        let manifest = Manifest::from_json(br#"{"file":[{"path":"/b"},{"path":"/a"}]}"#).unwrap();
        let files = vec![b"one".to_vec(), Vec::new()];
        let program = Program::Wasm(MODULE.to_vec());
        let built = Package::build(&manifest, program.clone(), files.clone()).unwrap();
        let index = Index::parse(&built.manifest, built.digest).unwrap();
        assert_eq!(index.files, [Descriptor::of(FILE, b"one"), Descriptor::of(FILE, b"")]);
        let blobs: Vec<_> = built.blobs.iter().skip(2).map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(blobs, files);
        let error = Package::build(&manifest, program, vec![]).unwrap_err();
        assert_eq!(error, BuildError::Files { expected: 2, found: 0 });
        let text = String::from_utf8(built.manifest).unwrap();
        assert_eq!(parse(&text.replacen(FILE, WASM, 1)), Err(IndexError::Programs { found: 3 }));
        assert_eq!(
            parse(&text.replacen(FILE, "text/plain", 1)),
            Err(IndexError::UnknownLayer("text/plain".to_owned()))
        );
        let plain = text.replace(CONFIG, WASM_CONFIG);
        assert_eq!(
            parse(&plain),
            Err(IndexError::UnknownLayer(FILE.to_owned())),
            "of a plain artifact nobody knows where"
        );
        let sized = |size: u64| parse(&text.replacen("\"size\":3}", &alloc::format!("\"size\":{size}}}"), 1));
        assert!(sized(FILE_LIMIT).is_ok());
        assert!(matches!(sized(FILE_LIMIT + 1), Err(IndexError::TooLong { .. })));
        let layer = serde_json::to_string(&Descriptor::of(FILE, b"")).unwrap();
        let many = |count: usize| {
            let layers = vec![layer.as_str(); count].join(",");
            parse(&text.replacen(&alloc::format!(",{layer}"), &alloc::format!(",{layers}"), 1)).map(|_| ())
        };
        assert_eq!(many(FILES - 1), Ok(()));
        assert_eq!(many(FILES), Err(IndexError::Files { limit: FILES, found: FILES + 1 }));
    }

    #[test]
    fn every_flipped_bit_breaks_the_digest() {
        let built = built();
        for at in 0..built.manifest.len() {
            for bit in 0..8 {
                let mut bytes = built.manifest.clone();
                bytes[at] ^= 1 << bit;
                let found = Index::parse(&bytes, built.digest);
                assert!(matches!(found, Err(IndexError::Check(CheckError::Mismatch { .. }))), "{found:?}");
            }
        }
        assert!(Index::parse(&built.manifest, built.digest).is_ok(), "control");
    }

    #[test]
    fn plain_wasm_artifacts_are_read() {
        // As wkg 0.x pushes them (crate oci-wasm): no artifactType, annotations anywhere.
        let json = text()
            .replace(r#""artifactType":"application/vnd.donjon.workload.v1","#, r#""annotations":{"a":"b"},"#)
            .replace(CONFIG, WASM_CONFIG);
        let index = parse(&json).unwrap();
        assert_eq!((index.layout, index.kind), (Layout::PlainWasm, ProgramKind::Wasm));
        // The media type of the document itself is optional in OCI.
        assert!(parse(&json.replace(r#""mediaType":"application/vnd.oci.image.manifest.v1+json","#, "")).is_ok());
        assert_eq!(parse(&json.replace(WASM, ELF)), Err(IndexError::UnknownLayer(ELF.to_owned())));
    }

    #[test]
    fn what_is_no_workload() {
        assert!(parse(&text()).is_ok(), "control");
        let index = "application/vnd.oci.image.index.v1+json";
        assert_eq!(parse(&text().replace(MANIFEST, index)), Err(IndexError::NotAManifest(index.to_owned())));
        for manifests in ["[]", "null", "{}", "0"] {
            let both = text().replace(r#""layers""#, &alloc::format!(r#""manifests":{manifests},"layers""#));
            assert_eq!(parse(&both), Err(IndexError::NotAManifest("an image index".to_owned())), "{manifests}");
        }
        let null = text().replace(&alloc::format!("\"{MANIFEST}\""), "null");
        assert!(matches!(parse(&null), Err(IndexError::Json(_))), "{:?}", parse(&null));
        assert!(matches!(
            parse(&text().replace("\":2,\"mediaType", "\":1,\"mediaType")),
            Err(IndexError::NotAManifest(_))
        ));
        let image = "application/vnd.oci.image.config.v1+json";
        assert_eq!(parse(&text().replace(CONFIG, image)), Err(IndexError::NotAWorkload(image.to_owned())));
        assert!(matches!(parse(&text().replace(ARTIFACT_TYPE, "other")), Err(IndexError::ArtifactType { .. })));
        assert!(matches!(parse(&text().replace("artifactType", "x")), Err(IndexError::ArtifactType { .. })));
        assert_eq!(parse(&text().replace(WASM, "text/plain")), Err(IndexError::UnknownLayer("text/plain".to_owned())));
        for reserved in RESERVED {
            assert_eq!(parse(&text().replace(WASM, reserved)), Err(IndexError::Reserved(reserved.to_owned())));
            assert_eq!(parse(&text().replace(CONFIG, reserved)), Err(IndexError::Reserved(reserved.to_owned())));
            let artifact = text().replace(ARTIFACT_TYPE, reserved);
            assert_eq!(parse(&artifact), Err(IndexError::Reserved(reserved.to_owned())));
            // Also where its type may be anything else.
            let plain = artifact.replace(CONFIG, WASM_CONFIG);
            assert_eq!(parse(&plain), Err(IndexError::Reserved(reserved.to_owned())));
        }
        let layers = text().find(r#"[{"#).unwrap();
        let layer = text()[layers + 1..text().len() - 2].to_string();
        let two = text().replace(&layer, &[layer.as_str(), &layer].join(","));
        assert_eq!(parse(&two), Err(IndexError::Programs { found: 2 }));
        assert_eq!(parse(&text().replace(&layer, "")), Err(IndexError::Programs { found: 0 }));
        for broken in [
            "",
            "{}",
            "[]",
            "{",
            r#"{"schemaVersion":2}"#,
            &text().replace("sha256:", "sha512:"),
            &text().replace("\"size\":2", "\"size\":-2"),
        ] {
            assert!(matches!(parse(broken), Err(IndexError::Json(_))), "{broken}");
        }
        let array = text().replace(&layer, &alloc::format!(r#"["application/wasm","{}",8]"#, Digest::of(MODULE)));
        assert!(matches!(parse(&array), Err(IndexError::Json(_))), "an array is no descriptor");
        let twice = text().replacen("{", r#"{"schemaVersion":2,"#, 1);
        assert!(matches!(parse(&twice), Err(IndexError::Json(_))), "a field twice");
    }

    #[test]
    fn limits() {
        let long = [text().as_str(), &" ".repeat(usize::try_from(MANIFEST_LIMIT).unwrap() - text().len())].concat();
        assert!(parse(&long).is_ok(), "exactly the limit");
        let longer = [&long, " "].concat();
        assert_eq!(parse(&longer), Err(IndexError::Check(CheckError::TooLong { limit: MANIFEST_LIMIT })));
        for (blob, limit) in [("\"size\":2}", CONFIG_LIMIT as u64), ("\"size\":8}", PROGRAM_LIMIT)] {
            let sized = |size| parse(&text().replace(blob, &alloc::format!("\"size\":{size}}}")));
            assert!(sized(limit).is_ok());
            assert!(matches!(sized(limit + 1), Err(IndexError::TooLong { found, .. }) if found == limit + 1));
            assert!(matches!(sized(u64::MAX), Err(IndexError::TooLong { .. })));
        }
    }

    #[test]
    fn programs_by_their_first_bytes() {
        assert_eq!(Program::detect(vec![]), Err(ProgramError::Empty));
        assert_eq!(Program::detect(b"#!/bin/sh".to_vec()), Err(ProgramError::Unknown(b"#!/b".to_vec())));
        assert_eq!(Program::detect(b"\0a".to_vec()), Err(ProgramError::Unknown(b"\0a".to_vec())));
        assert_eq!(Program::detect(MODULE[..7].to_vec()), Err(ProgramError::Truncated { found: 7 }));
        assert_eq!(Program::detect(b"\0asm\x02\0\0\0".to_vec()), Err(ProgramError::Version([2, 0, 0, 0])));
        assert_eq!(Program::detect(COMPONENT.to_vec()).map(|program| program.kind()), Ok(ProgramKind::Wasm));
        let lie = Package::build(&Manifest::default(), Program::Elf(MODULE.to_vec()), vec![]);
        let kind = ProgramError::Kind { expected: ProgramKind::Elf, found: ProgramKind::Wasm };
        assert_eq!(lie, Err(BuildError::Program(kind)));
    }
}
