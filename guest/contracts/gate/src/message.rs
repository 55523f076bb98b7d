//! What exec asks of its platform over descriptor 3, and the answers. Owns the meaning and the bounds of each field.
//!
//! Refuses: any message whose bytes are not exactly one value of the closed lists below.
//!
//! Invariant: there is no request for raw report data, a raw key or a raw system call. The lower side composes the
//! report data from [`Request::Attest`] and sealing keys from [`Request::SealKey`], so nothing above it can make evidence
//! speak for another key or brief, or open what another owner's Keep sealed.

use alloc::vec::Vec;

use crate::frame::{self, FrameError, Reader};
use crate::program::{Path, STACK, Streams, Texts};

/// The most bytes of a blob in one [`Reply::Blob`].
pub const CHUNK: usize = 256 * 1024;

/// The most bytes of a text that travels to people ([`Request::Milestone`], [`Outcome::Refused`]).
pub const TEXT: usize = 16 * 1024;
/// The most addresses of a name.
pub const ADDRESSES: usize = 16;

/// The most bytes of a context of [`Request::SealKey`].
pub const CONTEXT: usize = 256;

/// The most bytes of key and nonce in [`Request::Attest`]: each is far below, and a shim has no room for more.
pub const ATTESTED: usize = 4096;

/// The most bytes that are stored under one name ([`Request::Store`]).
pub const STORED: u64 = 512 * 1024 * 1024;

/// The most entries of a folder in one [`Reply::Folder`].
pub const ENTRIES: usize = 1024;

/// What a host says of something in a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// One name, which the reader checks.
    pub name: &'a str,
    /// The length of a file in bytes; `None`: it is a folder.
    pub size: Option<u64>,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

/// What becomes of a WebAssembly program's native code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Compile {
    /// Compiling begins: it may take a while.
    Begun = 1,
    /// It is compiled.
    Done = 2,
    /// Nothing is compiled: what was stored at an earlier start is used.
    Spared = 3,
}

/// What evidence is asked for (`trust.md` rule 2). Part of the binding, so evidence of one purpose never serves another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A certificate from a Steward.
    Issue = 1,
    /// The direct flow: a client verifies by itself.
    Direct = 2,
    /// The workload's own question.
    User = 3,
}

/// What exec asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// The brief this Keep was launched with.
    Brief,
    /// The owner's Deployment, if the host has one.
    Deployment,
    /// Evidence over `spki` and `nonce`; the platform adds purpose and brief hash and composes the report data.
    Attest {
        /// What for.
        purpose: Purpose,
        /// The key to speak for: DER `SubjectPublicKeyInfo`.
        spki: &'a [u8],
        /// The verifier's nonce as received.
        nonce: &'a [u8],
    },
    /// What endorses the evidence: the host has it from the vendor, and whoever verifies checks it.
    Endorsements,
    /// A key that only Keeps of this image, owner, deployment, role and workload get, on this machine, for this context.
    SealKey {
        /// Of the caller's choice, at most [`CONTEXT`] bytes.
        context: &'a [u8],
    },
    /// Bytes of a blob the host holds, from `offset`; the caller checks them against the digest in the brief.
    Blob {
        /// SHA-256 of the blob.
        digest: [u8; 32],
        /// Where to go on.
        offset: u64,
    },
    /// Where the host wants the listener of this name to be bound (a hint: the host owns the network anyway).
    Bind {
        /// The listener's name in the manifest.
        name: &'a str,
    },
    /// The address of an authority this Keep wants to reach. The answer is a hint: what is reached proves itself by
    /// its key, its digest or its certificate.
    Resolve {
        /// `host:port`.
        authority: &'a str,
    },
    /// The same without waiting: [`Reply::Pending`] as long as the host has no answer.
    Lookup {
        /// `host:port`.
        authority: &'a str,
    },
    /// What is in a folder of the host's, which it gave for a mount.
    Folder {
        /// The mount's path in the manifest.
        mount: &'a str,
        /// Names from there on, with `/` between them; empty: the mount itself.
        path: &'a str,
        /// The names after this one, in the order of bytes; empty: all.
        after: &'a str,
    },
    /// Bytes of a file there.
    Read {
        /// As above.
        mount: &'a str,
        /// As above.
        path: &'a str,
        /// Where to go on.
        offset: u64,
    },
    /// A listener accepts connections at this address.
    Listening {
        /// The listener's name in the manifest.
        name: &'a str,
        /// `address:port`.
        address: &'a str,
    },
    /// Step `step` of the deploy is done (numbers as in the product's thirteen steps). Public facts only.
    Milestone {
        /// 1 to 13.
        step: u8,
        /// Sizes, digests, names; never content.
        detail: &'a str,
    },
    /// Native code is being made, for people who wait.
    Compile(Compile),
    /// Bytes that a Keep stored under this name, from `offset`; the caller can tell whether they are the same.
    Load {
        /// Of the choice of whoever stored them.
        name: [u8; 32],
        /// Where to go on.
        offset: u64,
    },
    /// The next bytes to store under a name: at most [`CHUNK`], of at most [`STORED`] in all.
    Store {
        /// Of the caller's choice.
        name: [u8; 32],
        /// How many bytes are to follow; nothing is stored before none are.
        rest: u64,
        /// They follow those before with the same name.
        bytes: &'a [u8],
    },
    /// The next bytes of a program that is to take exec's place: at most [`CHUNK`].
    Part {
        /// They follow those of the parts before.
        bytes: &'a [u8],
    },
    /// The next bytes of a file that the program will find: at most [`CHUNK`]. A path that is not the last one's begins
    /// a new file.
    File {
        /// By which the program opens it.
        path: Path<'a>,
        /// They follow those before with the same path.
        bytes: &'a [u8],
    },
    /// The program takes exec's place, with descriptor 3 and the files. Only what is wrong with it is answered.
    Replace {
        /// The program's name is the first.
        arguments: Texts<'a>,
        /// `NAME=VALUE`.
        environment: Texts<'a>,
        /// Where its standard streams lead.
        streams: Streams,
    },
    /// The last message of a Keep.
    Outcome(Outcome<'a>),
}

/// How a Keep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The program exited by itself.
    Exit(u8),
    /// The program trapped; the backtrace went where the manifest lets its standard error go.
    Trap,
    /// The Keep would not, or could not, run it.
    Refused {
        /// Which of the thirteen steps refused.
        step: u8,
        /// A stable identifier, such as `wasm.invalid`.
        code: &'a str,
        /// What failed, what was expected and found.
        message: &'a str,
        /// What to do.
        hint: &'a str,
    },
}

/// What the platform answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To [`Request::Brief`].
    Brief {
        /// The brief's canonical bytes.
        brief: &'a [u8],
    },
    /// To [`Request::Deployment`].
    Deployment {
        /// Owner-signed; empty if the host has none.
        deployment: &'a [u8],
        /// The signature of the workload's publisher; empty if the host has none.
        signature: &'a [u8],
    },
    /// To [`Request::Attest`].
    Evidence {
        /// Media type of `evidence`, such as `application/vnd.donjon.snp-report`.
        media_type: &'a str,
        /// The evidence.
        evidence: &'a [u8],
    },
    /// To [`Request::Endorsements`].
    Endorsements {
        /// Certificates that endorse evidence, leaf first, DER.
        certificates: Vec<&'a [u8]>,
        /// The vendor's revocation list, DER; empty if the host has none.
        crl: &'a [u8],
    },
    /// To [`Request::SealKey`].
    Key {
        /// Secret.
        key: [u8; 32],
    },
    /// To [`Request::Attest`], [`Request::SealKey`] and [`Request::Part`]: this platform cannot. To [`Request::Store`]:
    /// the host stores no more of it. To a program: not for it.
    Unavailable,
    /// To [`Request::Blob`], [`Request::Load`] and [`Request::Read`].
    Blob {
        /// The whole length.
        total: u64,
        /// At most [`CHUNK`] bytes from the offset asked for.
        bytes: &'a [u8],
    },
    /// To [`Request::Folder`].
    Folder {
        /// In the order of the bytes of their names.
        entries: Vec<Entry<'a>>,
        /// Whether there are others after them.
        more: bool,
    },
    /// To [`Request::Blob`], [`Request::Load`], [`Request::Folder`] and [`Request::Read`]: the host does not have it. To
    /// [`Request::Bind`]: no wish. To [`Request::Resolve`] and [`Request::Lookup`]: no such name.
    Absent,
    /// To [`Request::Bind`], [`Request::Resolve`] and [`Request::Lookup`]: `address:port`, the address numeric; to the latter
    /// two up to [`ADDRESSES`], joined by spaces, best first.
    Address(&'a str),
    /// To [`Request::Listening`], [`Request::Milestone`], [`Request::Compile`], [`Request::Store`], [`Request::Part`],
    /// [`Request::File`] and [`Request::Outcome`].
    Noted,
    /// To [`Request::Lookup`]: the host has no answer yet; ask again.
    Pending,
    /// To [`Request::Replace`], if there is an answer at all.
    NotReplaced {
        /// What is wrong with the program, for people.
        reason: &'a str,
    },
}

/// The most endorsements that travel with one evidence.
const ENDORSEMENTS: usize = 8;
const OF_ENDORSEMENTS: &str = "endorsements";
const OF_A_FOLDER: &str = "entries of a folder";

impl<'a> Request<'a> {
    /// Appends the request as one frame.
    ///
    /// # Errors
    /// [`FrameError::Over`] for more bytes than a request of its kind carries, [`FrameError::Invalid`] for a
    /// [`Request::Replace`] without arguments or with a nameless variable, [`FrameError::TooLong`] if it does not fit a
    /// frame.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.bounded()?;
        frame::append(out, 0, |w| match *self {
            Self::Brief => {
                w.u8(1);
            }
            Self::Deployment => {
                w.u8(11);
            }
            Self::Endorsements => {
                w.u8(12);
            }
            Self::SealKey { context } => {
                w.u8(6).bytes(context);
            }
            Self::Attest { purpose, spki, nonce } => {
                w.u8(2).u8(purpose as u8).bytes(spki).bytes(nonce);
            }
            Self::Blob { digest, offset } => {
                w.u8(3).fixed(&digest).u64(offset);
            }
            Self::Bind { name } => {
                w.u8(4).bytes(name.as_bytes());
            }
            Self::Folder { mount, path, after } => {
                w.u8(19).bytes(mount.as_bytes()).bytes(path.as_bytes()).bytes(after.as_bytes());
            }
            Self::Read { mount, path, offset } => {
                w.u8(20).bytes(mount.as_bytes()).bytes(path.as_bytes()).u64(offset);
            }
            Self::Listening { name, address } => {
                w.u8(5).bytes(name.as_bytes()).bytes(address.as_bytes());
            }
            Self::Resolve { authority } => {
                w.u8(10).bytes(authority.as_bytes());
            }
            Self::Lookup { authority } => {
                w.u8(18).bytes(authority.as_bytes());
            }
            Self::Milestone { step, detail } => {
                w.u8(8).u8(step).bytes(detail.as_bytes());
            }
            Self::Replace { arguments, environment, streams } => {
                w.u8(7).bytes(arguments.bytes()).bytes(environment.bytes()).u8(streams.byte());
            }
            Self::Part { bytes } => {
                w.u8(13).bytes(bytes);
            }
            Self::File { path, bytes } => {
                w.u8(14).bytes(path.text().as_bytes()).bytes(bytes);
            }
            Self::Load { name, offset } => {
                w.u8(15).fixed(&name).u64(offset);
            }
            Self::Store { name, rest, bytes } => {
                w.u8(16).fixed(&name).u64(rest).bytes(bytes);
            }
            Self::Compile(stage) => {
                w.u8(17).u8(stage as u8);
            }
            Self::Outcome(Outcome::Exit(status)) => {
                w.u8(9).u8(0).u8(status);
            }
            Self::Outcome(Outcome::Trap) => {
                w.u8(9).u8(1);
            }
            Self::Outcome(Outcome::Refused { step, code, message, hint }) => {
                w.u8(9).u8(2).u8(step).bytes(code.as_bytes()).bytes(message.as_bytes()).bytes(hint.as_bytes());
            }
        })
    }

    /// Reads the payload of one frame.
    ///
    /// # Errors
    /// Anything that is not exactly one request.
    pub fn decode(payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = Reader(payload);
        let request = match r.u8()? {
            1 => Self::Brief,
            2 => Self::Attest { purpose: purpose(r.u8()?)?, spki: r.bytes()?, nonce: r.bytes()? },
            3 => Self::Blob { digest: r.array()?, offset: r.u64()? },
            4 => Self::Bind { name: r.text()? },
            5 => Self::Listening { name: r.text()?, address: r.text()? },
            6 => Self::SealKey { context: r.bytes()? },
            7 => {
                let mut texts = || Texts::new(r.bytes()?).ok_or(FrameError::Invalid { what: "list of texts" });
                let (arguments, environment) = (texts()?, texts()?);
                let found = r.u8()?;
                let streams = Streams::of(found).ok_or(FrameError::Unknown { what: "streams", found })?;
                Self::Replace { arguments, environment, streams }
            }
            8 => Self::Milestone { step: r.u8()?, detail: r.text()? },
            9 => Self::Outcome(match r.u8()? {
                0 => Outcome::Exit(r.u8()?),
                1 => Outcome::Trap,
                2 => Outcome::Refused { step: r.u8()?, code: r.text()?, message: r.text()?, hint: r.text()? },
                found => return Err(FrameError::Unknown { what: "outcome", found }),
            }),
            10 => Self::Resolve { authority: r.text()? },
            11 => Self::Deployment,
            12 => Self::Endorsements,
            13 => Self::Part { bytes: r.bytes()? },
            14 => {
                let path = Path::new(r.text()?).ok_or(FrameError::Invalid { what: "path" })?;
                Self::File { path, bytes: r.bytes()? }
            }
            15 => Self::Load { name: r.array()?, offset: r.u64()? },
            16 => Self::Store { name: r.array()?, rest: r.u64()?, bytes: r.bytes()? },
            17 => Self::Compile(match r.u8()? {
                1 => Compile::Begun,
                2 => Compile::Done,
                3 => Compile::Spared,
                found => return Err(FrameError::Unknown { what: "stage", found }),
            }),
            18 => Self::Lookup { authority: r.text()? },
            19 => Self::Folder { mount: r.text()?, path: r.text()?, after: r.text()? },
            20 => Self::Read { mount: r.text()?, path: r.text()?, offset: r.u64()? },
            found => return Err(FrameError::Unknown { what: "request", found }),
        };
        r.end()?;
        request.bounded()?;
        Ok(request)
    }

    /// The bounds of single fields, which both sides keep.
    fn bounded(&self) -> Result<(), FrameError> {
        let (what, found, most) = match self {
            Self::Attest { spki, nonce, .. } => {
                ("bytes of key and nonce", spki.len().saturating_add(nonce.len()), ATTESTED)
            }
            Self::SealKey { context } => ("bytes of a context", context.len(), CONTEXT),
            Self::Part { bytes } | Self::File { path: _, bytes } | Self::Store { name: _, rest: _, bytes } => {
                ("bytes of a part", bytes.len(), CHUNK)
            }
            Self::Replace { arguments, environment, streams: _ } => {
                if arguments.bytes().is_empty() {
                    return Err(FrameError::Invalid { what: "list of arguments" });
                }
                if !environment.are_variables() {
                    return Err(FrameError::Invalid { what: "variable" });
                }
                ("bytes of a stack", arguments.room().saturating_add(environment.room()), STACK)
            }
            _ => return Ok(()),
        };
        if found > most { Err(FrameError::Over { what, found, most }) } else { Ok(()) }
    }
}

impl<'a> Reply<'a> {
    /// Appends the reply as one frame.
    ///
    /// # Errors
    /// [`FrameError::Over`] for more endorsements or bytes of a blob than one reply carries, [`FrameError::TooLong`] if
    /// it does not fit a frame.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let after = self.encode_head(out)?;
        out.extend_from_slice(after);
        Ok(())
    }

    /// Appends it but for the bytes of a blob, which end the frame: the caller has them, and sends them after.
    ///
    /// # Errors
    /// As [`Reply::encode`].
    pub fn encode_head(&self, out: &mut Vec<u8>) -> Result<&'a [u8], FrameError> {
        self.bounded()?;
        let after: &[u8] = if let Self::Blob { bytes, .. } = self { bytes } else { &[] };
        frame::append(out, after.len(), |w| match self {
            Self::Brief { brief } => {
                w.u8(1).bytes(brief);
            }
            Self::Evidence { media_type, evidence } => {
                w.u8(2).bytes(media_type.as_bytes()).bytes(evidence);
            }
            Self::Deployment { deployment, signature } => {
                w.u8(8).bytes(deployment).bytes(signature);
            }
            Self::Endorsements { certificates, crl } => {
                w.u8(9).bytes(crl).u8(u8::try_from(certificates.len()).unwrap_or(u8::MAX));
                for certificate in certificates {
                    w.bytes(certificate);
                }
            }
            Self::Key { key } => {
                w.u8(10).fixed(key);
            }
            Self::Unavailable => {
                w.u8(3);
            }
            Self::Blob { total, bytes } => {
                w.u8(4).u64(*total).length(bytes.len());
            }
            Self::Absent => {
                w.u8(5);
            }
            Self::Address(address) => {
                w.u8(6).bytes(address.as_bytes());
            }
            Self::Noted => {
                w.u8(7);
            }
            Self::Pending => {
                w.u8(12);
            }
            Self::Folder { entries, more } => {
                w.u8(13).u8(u8::from(*more)).u64(entries.len() as u64);
                for Entry { name, size, modified } in entries {
                    w.bytes(name.as_bytes()).u64(*modified).u8(u8::from(size.is_none()));
                    if let Some(size) = size {
                        w.u64(*size);
                    }
                }
            }
            Self::NotReplaced { reason } => {
                w.u8(11).bytes(reason.as_bytes());
            }
        })?;
        Ok(after)
    }

    /// The bounds of single fields, which both sides keep.
    fn bounded(&self) -> Result<(), FrameError> {
        let (what, found, most) = match self {
            Self::Endorsements { certificates, crl: _ } => (OF_ENDORSEMENTS, certificates.len(), ENDORSEMENTS),
            Self::Blob { total: _, bytes } => ("bytes of a blob", bytes.len(), CHUNK),
            Self::Folder { entries, more: _ } => (OF_A_FOLDER, entries.len(), ENTRIES),
            _ => return Ok(()),
        };
        if found > most { Err(FrameError::Over { what, found, most }) } else { Ok(()) }
    }

    /// Reads the payload of one frame.
    ///
    /// # Errors
    /// Anything that is not exactly one reply.
    pub fn decode(payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = Reader(payload);
        let reply = match r.u8()? {
            1 => Self::Brief { brief: r.bytes()? },
            2 => Self::Evidence { media_type: r.text()?, evidence: r.bytes()? },
            8 => Self::Deployment { deployment: r.bytes()?, signature: r.bytes()? },
            9 => {
                let crl = r.bytes()?;
                let count = r.u8()?;
                // Before as many are read: the count is an allegation.
                if usize::from(count) > ENDORSEMENTS {
                    let found = usize::from(count);
                    return Err(FrameError::Over { what: OF_ENDORSEMENTS, found, most: ENDORSEMENTS });
                }
                let certificates = (0..count).map(|_| r.bytes()).collect::<Result<_, _>>()?;
                Self::Endorsements { certificates, crl }
            }
            10 => Self::Key { key: r.array()? },
            3 => Self::Unavailable,
            4 => Self::Blob { total: r.u64()?, bytes: r.bytes()? },
            5 => Self::Absent,
            6 => Self::Address(r.text()?),
            7 => Self::Noted,
            11 => Self::NotReplaced { reason: r.text()? },
            12 => Self::Pending,
            13 => {
                let more = flag(r.u8()?)?;
                // Before as many are read: the count is an allegation.
                let count = r.u64()?;
                if count > ENTRIES as u64 {
                    return Err(FrameError::Invalid { what: "count" });
                }
                Self::Folder { entries: (0..count).map(|_| entry(&mut r)).collect::<Result<_, _>>()?, more }
            }
            found => return Err(FrameError::Unknown { what: "reply", found }),
        };
        r.end()?;
        reply.bounded()?;
        Ok(reply)
    }
}

fn entry<'a>(r: &mut Reader<'a>) -> Result<Entry<'a>, FrameError> {
    let (name, modified, folder) = (r.text()?, r.u64()?, flag(r.u8()?)?);
    Ok(Entry { name, size: if folder { None } else { Some(r.u64()?) }, modified })
}

fn flag(found: u8) -> Result<bool, FrameError> {
    if found > 1 { Err(FrameError::Unknown { what: "flag", found }) } else { Ok(found == 1) }
}

fn purpose(found: u8) -> Result<Purpose, FrameError> {
    match found {
        1 => Ok(Purpose::Issue),
        2 => Ok(Purpose::Direct),
        3 => Ok(Purpose::User),
        _ => Err(FrameError::Unknown { what: "purpose", found }),
    }
}

#[cfg(test)]
mod tests;
