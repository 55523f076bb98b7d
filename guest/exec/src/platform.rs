//! The platform below exec, over descriptor 3: one request, one reply, in order.
//!
//! Owns the conversation, not its meaning. Refuses every reply that is not of the kind the request calls for; a
//! platform that breaks the protocol ends the Keep.
//!
//! The calls block. In a TEE the shim answers them at once; under `nil` and `sim` they wait for the host process, which
//! is as much in the way as any other system call. What takes the host long is not asked so: see [`patiently`].

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gate::frame;
use gate::message::{ADDRESSES, Compile, Entry, Outcome, Purpose, Reply, Request};
use gate::program::{Path, Streams, Texts};
use workload::digest::Digest;

use crate::enrol::Papers;
use crate::refusal::{Refusal, Step, bounded};

/// A name that has no answer by then has none.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the host is asked again: the first pause, which doubles, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// As much as most replies have, in bytes.
const SHORT: usize = 4096;

/// The other end of descriptor 3. A clone is the same conversation, which one thread leads: a question is over with its
/// answer.
pub(crate) struct Platform {
    stream: Arc<File>,
    request: Vec<u8>,
    /// Room that the last reply stands in; replies borrow from it.
    room: Vec<u8>,
}

/// Evidence as the platform gave it, still opaque.
pub(crate) struct Evidence {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) endorsements: Vec<Vec<u8>>,
    pub(crate) crl: Option<Vec<u8>>,
}

impl Clone for Platform {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.stream))
    }
}

impl Platform {
    pub(crate) fn new(stream: File) -> Self {
        Self::of(Arc::new(stream))
    }

    fn of(stream: Arc<File>) -> Self {
        Self { stream, request: Vec::new(), room: vec![0; SHORT] }
    }

    /// The brief's bytes.
    pub(crate) fn brief(&mut self) -> Result<Vec<u8>, Refusal> {
        match self.ask(&Request::Brief)? {
            Reply::Brief { brief } => Ok(brief.to_vec()),
            other => Err(unexpected("Brief", &other)),
        }
    }

    /// The owner's Deployment and the signature of the workload's publisher, if the host has them.
    pub(crate) fn papers(&mut self) -> Result<Papers, Refusal> {
        match self.ask(&Request::Deployment)? {
            Reply::Deployment { deployment, signature } => {
                Ok(Papers { deployment: some(deployment), signature: some(signature) })
            }
            other => Err(unexpected("Deployment", &other)),
        }
    }

    /// Evidence for `spki` and `nonce`, or `None` where the platform cannot attest.
    pub(crate) fn attest(&mut self, purpose: Purpose, spki: &[u8], nonce: &[u8]) -> Result<Option<Evidence>, Refusal> {
        let (media_type, bytes) = match self.ask(&Request::Attest { purpose, spki, nonce })? {
            Reply::Evidence { media_type, evidence } => (media_type.to_owned(), evidence.to_vec()),
            Reply::Unavailable => return Ok(None),
            other => return Err(unexpected("Evidence", &other)),
        };
        match self.ask(&Request::Endorsements)? {
            Reply::Endorsements { certificates, crl } => {
                let endorsements = certificates.iter().map(|der| der.to_vec()).collect();
                Ok(Some(Evidence { media_type, bytes, endorsements, crl: some(crl) }))
            }
            other => Err(unexpected("Endorsements", &other)),
        }
    }

    /// The bytes of a blob from `offset`, given to `use_bytes`, and the whole length; `None` if the host has no such blob.
    pub(crate) fn blob<T>(
        &mut self,
        digest: [u8; 32],
        offset: u64,
        use_bytes: impl FnOnce(u64, &[u8]) -> T,
    ) -> Result<Option<T>, Refusal> {
        self.bytes(&Request::Blob { digest, offset }, use_bytes)
    }

    /// What an earlier Keep stored under this name, or whatever the host takes for it, where the platform is a process.
    pub(crate) fn stored(name: [u8; 32]) -> Option<File> {
        File::open([gate::calls::STORED, &Digest::from(name).to_hex()].concat()).ok()
    }

    /// The same of what is stored, piece by piece.
    pub(crate) fn load<T>(
        &mut self,
        name: [u8; 32],
        offset: u64,
        use_bytes: impl FnOnce(u64, &[u8]) -> T,
    ) -> Result<Option<T>, Refusal> {
        self.bytes(&Request::Load { name, offset }, use_bytes)
    }

    /// What is in a folder of the host's, after a name, given to `use_entries`, with whether there is more; `None` if the host has no
    /// such folder.
    pub(crate) fn folder<T>(
        &mut self,
        mount: &str,
        path: &str,
        after: &str,
        use_entries: impl FnOnce(&[Entry<'_>], bool) -> T,
    ) -> Result<Option<T>, Refusal> {
        match self.ask(&Request::Folder { mount, path, after })? {
            Reply::Folder { entries, more } => Ok(Some(use_entries(&entries, more))),
            Reply::Absent => Ok(None),
            other => Err(unexpected("Folder", &other)),
        }
    }

    /// The bytes of a file there.
    pub(crate) fn read<T>(
        &mut self,
        mount: &str,
        path: &str,
        offset: u64,
        use_bytes: impl FnOnce(u64, &[u8]) -> T,
    ) -> Result<Option<T>, Refusal> {
        self.bytes(&Request::Read { mount, path, offset }, use_bytes)
    }

    /// The next bytes to store under this name, before so many more; whether the host goes on storing them.
    pub(crate) fn store(&mut self, name: [u8; 32], rest: u64, bytes: &[u8]) -> Result<bool, Refusal> {
        self.taken(&Request::Store { name, rest, bytes })
    }

    /// A key for this context that only Keeps like this one get; `None` where the platform cannot seal.
    pub(crate) fn seal_key(&mut self, context: &[u8]) -> Result<Option<[u8; 32]>, Refusal> {
        match self.ask(&Request::SealKey { context })? {
            Reply::Key { key } => Ok(Some(key)),
            Reply::Unavailable => Ok(None),
            other => Err(unexpected("Key", &other)),
        }
    }

    pub(crate) fn compile(&mut self, stage: Compile) -> Result<(), Refusal> {
        self.tell(&Request::Compile(stage))
    }

    /// Where the host wants a listener, if it cares.
    pub(crate) fn bind(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.ask(&Request::Bind { name })? {
            Reply::Address(address) => Ok(Some(address.to_owned())),
            Reply::Absent => Ok(None),
            other => Err(unexpected("Address", &other)),
        }
    }

    /// The addresses of `host:port`, as far as the host knows, best first; `None` while it looks. See [`patiently`].
    pub(crate) fn lookup(&mut self, authority: &str) -> Result<Option<Vec<SocketAddr>>, Refusal> {
        match self.ask(&Request::Lookup { authority })? {
            Reply::Pending => Ok(None),
            Reply::Address(addresses) => {
                let addresses: Vec<_> = addresses.split(' ').map(str::parse).take(ADDRESSES + 1).collect();
                if addresses.len() > ADDRESSES {
                    return Err(broken("more addresses than a name has"));
                }
                addresses.into_iter().collect::<Result<_, _>>().map(Some).map_err(broken)
            }
            Reply::Absent => Ok(Some(Vec::new())),
            other => Err(unexpected("Address", &other)),
        }
    }

    pub(crate) fn listening(&mut self, name: &str, address: &str) -> Result<(), Refusal> {
        self.tell(&Request::Listening { name, address })
    }

    pub(crate) fn milestone(&mut self, step: Step, detail: &str) -> Result<(), Refusal> {
        let detail = bounded(detail.to_owned());
        self.tell(&Request::Milestone { step: step as u8, detail: &detail })
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome<'_>) -> Result<(), Refusal> {
        self.tell(&Request::Outcome(outcome))
    }

    /// The next bytes of a program that is to take exec's place; whether the platform takes any.
    pub(crate) fn part(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        self.taken(&Request::Part { bytes })
    }

    /// The next bytes of a file for that program.
    pub(crate) fn file(&mut self, path: Path<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        self.tell(&Request::File { path, bytes })
    }

    /// Puts the program in exec's place. If there is an answer it is why not.
    pub(crate) fn replace(
        &mut self,
        arguments: Texts<'_>,
        environment: Texts<'_>,
        streams: Streams,
    ) -> Result<String, Refusal> {
        match self.ask(&Request::Replace { arguments, environment, streams })? {
            Reply::NotReplaced { reason } => Ok(reason.to_owned()),
            other => Err(unexpected("NotReplaced", &other)),
        }
    }

    fn bytes<T>(
        &mut self,
        request: &Request<'_>,
        use_bytes: impl FnOnce(u64, &[u8]) -> T,
    ) -> Result<Option<T>, Refusal> {
        match self.ask(request)? {
            Reply::Blob { total, bytes } => Ok(Some(use_bytes(total, bytes))),
            Reply::Absent => Ok(None),
            other => Err(unexpected("Blob", &other)),
        }
    }

    fn taken(&mut self, request: &Request<'_>) -> Result<bool, Refusal> {
        match self.ask(request)? {
            Reply::Noted => Ok(true),
            Reply::Unavailable => Ok(false),
            other => Err(unexpected("Noted", &other)),
        }
    }

    fn tell(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        match self.ask(request)? {
            Reply::Noted => Ok(()),
            other => Err(unexpected("Noted", &other)),
        }
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Reply<'_>, Refusal> {
        self.request.clear();
        request.encode(&mut self.request).map_err(broken)?;
        let mut stream = &*self.stream;
        stream.write_all(&self.request).map_err(broken)?;
        // A short reply comes with one read: each is a way to the host and back.
        let mut held = 0;
        let length = loop {
            match stream.read(&mut self.room[held..]).map_err(broken)? {
                0 => return Err(broken("it ended in the middle of a reply")),
                count => held += count,
            }
            if let Some(header) = self.room[..held].first_chunk() {
                break frame::HEADER + frame::length(*header).map_err(broken)?;
            }
        };
        if held > length {
            return Err(broken("something follows its reply"));
        }
        // It only grows: to clear it each time would take as long as what it is for.
        if self.room.len() < length {
            self.room.resize(length, 0);
        }
        stream.read_exact(&mut self.room[held..length]).map_err(broken)?;
        Reply::decode(&self.room[frame::HEADER..length]).map_err(broken)
    }
}

/// Asks until there is an answer, with pauses in which everybody else goes on; none, if there is none in time.
pub(crate) async fn patiently<T, E>(mut ask: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    let begun = Instant::now();
    let [mut pause, longest] = PAUSES;
    loop {
        match ask()? {
            None if begun.elapsed() < PATIENCE => tokio::time::sleep(pause).await,
            answer => return Ok(answer),
        }
        pause = pause.saturating_mul(2).min(longest);
    }
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    (!bytes.is_empty()).then(|| bytes.to_vec())
}

pub(crate) fn broken(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        Step::Launch,
        "gate.broken",
        format_args!("the platform on descriptor {} broke the protocol: {error}", gate::DESCRIPTOR),
        "start exec through `donjon`; it does not run by itself",
    )
}

fn unexpected(expected: &str, found: &Reply<'_>) -> Refusal {
    let found = match found {
        Reply::Brief { .. } => "Brief",
        Reply::Deployment { .. } => "Deployment",
        Reply::Evidence { .. } => "Evidence",
        Reply::Endorsements { .. } => "Endorsements",
        Reply::Key { .. } => "Key",
        Reply::Unavailable => "Unavailable",
        Reply::Blob { .. } => "Blob",
        Reply::Folder { .. } => "Folder",
        Reply::Absent => "Absent",
        Reply::Address(_) => "Address",
        Reply::Noted => "Noted",
        Reply::NotReplaced { .. } => "NotReplaced",
        Reply::Pending => "Pending",
    };
    broken(format_args!("expected {expected}, found {found}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use gate::message::TEXT;

    use super::*;

    /// What comes of this with a host that answers so.
    pub(crate) fn with<R>(
        mut host: impl FnMut(&Request<'_>, &mut Vec<u8>) + Send,
        keep: impl FnOnce(&mut Platform) -> R,
    ) -> R {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let end = ours.try_clone().unwrap();
        let mut platform = Platform::new(OwnedFd::from(ours).into());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut header = [0; frame::HEADER];
                while theirs.read_exact(&mut header).is_ok() {
                    let mut payload = vec![0; frame::length(header).unwrap()];
                    theirs.read_exact(&mut payload).unwrap();
                    let mut out = Vec::new();
                    host(&Request::decode(&payload).unwrap(), &mut out);
                    theirs.write_all(&out).unwrap();
                }
            });
            let kept = keep(&mut platform);
            // Else the host waits for ever.
            end.shutdown(std::net::Shutdown::Both).unwrap();
            kept
        })
    }

    /// What goes over the wire, to a platform that notes it.
    fn told(detail: &str) -> String {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let platform = std::thread::spawn(move || {
            let mut header = [0; frame::HEADER];
            theirs.read_exact(&mut header).unwrap();
            let mut payload = vec![0; frame::length(header).unwrap()];
            theirs.read_exact(&mut payload).unwrap();
            let Ok(Request::Milestone { step: 11, detail }) = Request::decode(&payload) else { panic!() };
            let mut noted = Vec::new();
            Reply::Noted.encode(&mut noted).unwrap();
            theirs.write_all(&noted).unwrap();
            detail.to_owned()
        });
        Platform::new(OwnedFd::from(ours).into()).milestone(Step::Delivery, detail).unwrap();
        platform.join().unwrap()
    }

    /// What is made of a reply that comes in pieces.
    fn heard(bytes: &[u8], each: usize) -> Result<Option<String>, Refusal> {
        let bytes = bytes.to_vec();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut platform = Platform::new(OwnedFd::from(ours).into());
        let host = std::thread::spawn(move || {
            let mut request = [0; 4 + 1 + 4 + 3];
            theirs.read_exact(&mut request).unwrap();
            for piece in bytes.chunks(each) {
                theirs.write_all(piece).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let heard = platform.bind("web");
        host.join().unwrap();
        heard
    }

    #[test]
    fn a_reply_is_one_frame_however_it_comes() {
        let frame = b"\x08\0\0\0\x06\x03\0\0\0a:1";
        for each in [1, 5, frame.len()] {
            assert_eq!(heard(frame, each).ok(), Some(Some("a:1".to_owned())));
        }
        for wrong in [&frame[..2], &frame[..9], b"", b"\xff\xff\xff\xff", b"\x08\0\0\0\x06\x03\0\0\0a:1x"] {
            assert!(heard(wrong, 64).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_milestone_is_cut_like_every_text_for_people() {
        assert_eq!(told(&"x".repeat(TEXT)).len(), TEXT, "control");
        assert_eq!(told(&"x".repeat(TEXT + 1)).len(), TEXT);
        assert_eq!(told(&"\u{fc}".repeat(TEXT)).len(), TEXT);
        assert_eq!(told(&format!("x{}", "\u{fc}".repeat(TEXT))).len(), TEXT - 1, "at a character border");
    }
}
