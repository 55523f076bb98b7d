//! The host's side of descriptor 3: one reply for each request, until the Keep says how it ended.
//!
//! Owns the composition of the report data for the process backends (in a micro-VM the shim does it): purpose, key,
//! brief hash and nonce by the binding rule, never bytes of the Keep's choice. Owns cleaning the texts that a Keep sends.
//!
//! Refuses requests outside the closed list; that ends the conversation and with it the Keep. What is exec's to ask is
//! Unavailable for the program that took its place.

use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use gate::frame;
use gate::message::{CHUNK, Outcome, Purpose, Reply, Request};
use workload::brief::Glance;
use workload::digest::Digest;

use crate::backend::{Attester, Endorsements};
use crate::launch::{Caller, End, Event, Host, Launch, RunError};
use crate::names::Names;
use crate::task::{HandError, Handed, Judged, Task};

/// How long a Keep may take to end after it said how it ended.
const TO_LEAVE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

pub(crate) struct Service {
    launch: Launch,
    host: Host,
    attester: Arc<dyn Attester>,
    who: Caller,
    names: Names,
    /// `None` where no program takes exec's place.
    handed: Option<Handed>,
}

/// Why the conversation is over.
pub(crate) enum Served {
    /// exec told its outcome, and had time to leave.
    Told(End),
    /// The other end was closed.
    Closed,
    /// This is to take exec's place.
    Replaced(Box<Task>),
}

impl Service {
    /// `replaces`: whether a program can take exec's place.
    pub(crate) fn new(launch: Launch, host: Host, attester: Arc<dyn Attester>, replaces: bool) -> Self {
        let handed = replaces.then(Handed::default);
        Self { launch, host, attester, who: Caller::Exec, names: Names::system(), handed }
    }

    /// Serves exec, and the second time the program that took its place.
    pub(crate) fn serve(&mut self, mut stream: &UnixStream) -> Result<Served, RunError> {
        let mut payload = Vec::new();
        let mut out = Vec::new();
        loop {
            let mut header = [0; frame::HEADER];
            if stream.read_exact(&mut header).is_err() {
                return Ok(Served::Closed);
            }
            payload.resize(frame::length(header).map_err(protocol)?, 0);
            stream.read_exact(&mut payload).map_err(protocol)?;
            out.clear();
            let mut after: &[u8] = &[];
            let request = Request::decode(&payload).map_err(protocol)?;
            if self.who == Caller::Program && !is_for_programs(&request) {
                Reply::Unavailable.encode(&mut out).map_err(protocol)?;
            } else if let Request::Replace { arguments, environment, streams } = request
                && let Some(handed) = &mut self.handed
            {
                let handed = std::mem::take(handed);
                let judged = handed.judge(arguments, environment, streams, self.host.stdio);
                match judged.map_err(RunError::Replace)? {
                    Judged::Ready(task) => {
                        self.who = Caller::Program;
                        return Ok(Served::Replaced(task));
                    }
                    Judged::Refused(error) => {
                        Reply::NotReplaced { reason: &error.to_string() }.encode(&mut out).map_err(protocol)?;
                    }
                }
            } else if let Request::Replace { .. } = request {
                // A shim did it, and tells.
                self.who = Caller::Program;
                continue;
            } else {
                after = self.answer(request, &mut out)?;
            }
            let written = write_both(stream, &out, after);
            if let (Caller::Exec, Request::Outcome(outcome)) = (self.who, request) {
                // Whatever it does now but to leave, nobody listens any more.
                _ = stream.set_read_timeout(Some(TO_LEAVE)).and_then(|()| stream.read(&mut header));
                return Ok(Served::Told(ended(outcome)));
            }
            if written.is_err() {
                return Ok(Served::Closed);
            }
        }
    }

    pub(crate) fn who(&self) -> Caller {
        self.who
    }

    /// Takes what exec hands over.
    fn hand(&mut self, take: impl FnOnce(&mut Handed) -> Result<(), HandError>) -> Result<Reply<'static>, RunError> {
        let Some(handed) = &mut self.handed else { return Ok(Reply::Unavailable) };
        match take(handed) {
            Ok(()) => Ok(Reply::Noted),
            Err(HandError::System(error)) => Err(RunError::Replace(error)),
            Err(error @ HandError::Over(_)) => Err(protocol(error)),
        }
    }

    /// A sealing key of this process, where it is the platform. Nothing protects it, so that it is only for what exec stores
    /// here: a program would take it for a real one.
    fn key(&self, context: &[u8]) -> Option<[u8; 32]> {
        let own = self.who == Caller::Exec && !context.starts_with(identity::user::CONTEXT);
        let cache = self.host.cache.as_ref().filter(|_| own)?;
        let brief = Glance::new(&self.launch.brief)?;
        Some(identity::sealing::key(&cache.key()?, &brief, context))
    }

    /// Puts the answer into `out`, but for the bytes of a blob, which are sent after it from where they are.
    fn answer(&mut self, request: Request<'_>, out: &mut Vec<u8>) -> Result<&[u8], RunError> {
        let found = match request {
            Request::Brief => Reply::Brief { brief: &self.launch.brief }.encode(out),
            Request::Deployment => {
                let deployment = self.launch.deployment.as_deref().unwrap_or_default();
                let signature = self.launch.signature.as_deref().unwrap_or_default();
                Reply::Deployment { deployment, signature }.encode(out)
            }
            Request::Attest { purpose, spki, nonce } => {
                let purpose = match purpose {
                    Purpose::Issue => identity::binding::Purpose::Issue,
                    Purpose::Direct => identity::binding::Purpose::Direct,
                    Purpose::User => identity::binding::Purpose::User,
                };
                let report_data = identity::binding::report_data(purpose, spki, &self.launch.brief_hash, nonce);
                match self.attester.attest(report_data, self.launch.brief_hash, self.launch.image.measurement()) {
                    Some(evidence) => {
                        Reply::Evidence { media_type: identity::csr::SNP_MEDIA_TYPE, evidence: &evidence }.encode(out)
                    }
                    None => Reply::Unavailable.encode(out),
                }
            }
            Request::Endorsements => {
                let Endorsements { certificates, crl } = self.attester.endorsements();
                let certificates = certificates.iter().map(Vec::as_slice).collect();
                Reply::Endorsements { certificates, crl: &crl }.encode(out)
            }
            Request::SealKey { context } => match self.key(context) {
                Some(key) => Reply::Key { key }.encode(out),
                None => Reply::Unavailable.encode(out),
            },
            Request::Load { name, offset } => {
                return blob(self.host.cache.as_mut().and_then(|cache| cache.read(name, offset, CHUNK)), out);
            }
            Request::Store { name, rest, bytes } => {
                let stored = self.host.cache.as_mut().is_some_and(|cache| cache.write(name, rest, bytes));
                if stored { Reply::Noted.encode(out) } else { Reply::Unavailable.encode(out) }
            }
            Request::Compile(stage) => {
                (self.host.events)(Event::Compile(stage));
                Reply::Noted.encode(out)
            }
            Request::Blob { digest, offset } => {
                return blob(self.host.blobs.read(Digest::from(digest), offset, CHUNK), out);
            }
            Request::Bind { name } => match self.host.listen.get(name) {
                Some(address) => Reply::Address(address).encode(out),
                None => Reply::Absent.encode(out),
            },
            Request::Resolve { authority } => addresses(&self.names.resolve(authority)).encode(out),
            Request::Lookup { authority } => match self.names.lookup(authority) {
                Some(found) => addresses(&found).encode(out),
                None => Reply::Pending.encode(out),
            },
            Request::Folder { mount, path, after } => match self.host.folders.list(mount, path, after) {
                Some(listing) => Reply::Folder { entries: listing.entries(), more: listing.more }.encode(out),
                None => Reply::Absent.encode(out),
            },
            Request::Read { mount, path, offset } => {
                return blob(self.host.folders.read(mount, path, offset, CHUNK), out);
            }
            Request::Listening { name, address } => {
                (self.host.events)(Event::Listening { name: clean(name), address: clean(address) });
                Reply::Noted.encode(out)
            }
            Request::Milestone { step, detail } => {
                (self.host.events)(Event::Milestone { step, detail: clean(detail) });
                Reply::Noted.encode(out)
            }
            Request::Part { bytes } => self.hand(|handed| handed.part(bytes))?.encode(out),
            Request::File { path, bytes } => self.hand(|handed| handed.file(path, bytes))?.encode(out),
            Request::Replace { .. } => Reply::Unavailable.encode(out),
            Request::Outcome(_) => Reply::Noted.encode(out),
        };
        found.map(|()| [].as_slice()).map_err(protocol)
    }
}

/// The answer to who asks for bytes, but for these.
fn blob<'a>(found: Option<(u64, &'a [u8])>, out: &mut Vec<u8>) -> Result<&'a [u8], RunError> {
    found.map_or(Reply::Absent, |(total, bytes)| Reply::Blob { total, bytes }).encode_head(out).map_err(protocol)
}

/// Both, without a wait between them that the other side would notice.
fn write_both(mut stream: &UnixStream, first: &[u8], after: &[u8]) -> io::Result<()> {
    let mut both = [IoSlice::new(first), IoSlice::new(after)];
    let mut rest = both.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match stream.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is known of a name.
fn addresses(found: &str) -> Reply<'_> {
    if found.is_empty() { Reply::Absent } else { Reply::Address(found) }
}

/// What a native program may ask. The rest is between exec and the platform; evidence for a certificate too, because a
/// Keep has one key.
fn is_for_programs(request: &Request<'_>) -> bool {
    match request {
        Request::Brief
        | Request::Deployment
        | Request::Endorsements
        | Request::SealKey { .. }
        | Request::Bind { .. }
        | Request::Resolve { .. }
        | Request::Lookup { .. }
        | Request::Listening { .. }
        | Request::Attest { purpose: Purpose::Direct | Purpose::User, .. } => true,
        Request::Attest { purpose: Purpose::Issue, .. }
        | Request::Blob { .. }
        | Request::Folder { .. }
        | Request::Read { .. }
        | Request::Milestone { .. }
        | Request::Compile(_)
        | Request::Load { .. }
        | Request::Store { .. }
        | Request::Part { .. }
        | Request::File { .. }
        | Request::Replace { .. }
        | Request::Outcome(_) => false,
    }
}

fn ended(outcome: Outcome<'_>) -> End {
    match outcome {
        Outcome::Exit(status) => End::Exit(status),
        Outcome::Trap => End::Trap,
        Outcome::Refused { step, code, message, hint } => {
            End::Refused { step, code: clean(code), message: clean(message), hint: clean(hint) }
        }
    }
}

/// Text of a Keep as it may be shown on a terminal: no control characters but line ends, no more than the gate's bound.
fn clean(text: &str) -> String {
    text.chars().take(gate::message::TEXT).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

fn protocol(error: impl std::fmt::Display) -> RunError {
    RunError::Protocol(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gate::message::Compile;
    use gate::program::{Streams, Texts};
    use workload::brief::{Brief, Source};

    use super::*;
    use crate::backend::Nil;
    use crate::cache::Cache;
    use crate::folders::Folders;
    use crate::launch::{Memory, Stdio};
    use crate::task::tiny;

    #[test]
    fn what_a_keep_says_cannot_drive_a_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\nc");
        assert_eq!(clean(&"x".repeat(gate::message::TEXT + 9)).len(), gate::message::TEXT);
    }

    fn service(replaces: bool) -> Service {
        let image = crate::Image::of(b"");
        let launch = Launch {
            image,
            brief: Arc::from(*b"brief"),
            brief_hash: [0; 32],
            deployment: None,
            signature: None,
            memory: Memory::default(),
        };
        let events = Box::new(|_| {});
        let blobs = Box::new(BTreeMap::new());
        let host = Host {
            blobs,
            listen: BTreeMap::new(),
            folders: Folders::default(),
            cache: None,
            stdio: Stdio::Null,
            events,
        };
        Service::new(launch, host, Arc::new(Nil), replaces)
    }

    fn replace() -> Request<'static> {
        let texts = |bytes| Texts::new(bytes).unwrap();
        let streams = Streams { stdin: false, stdout: false, stderr: false };
        Request::Replace { arguments: texts(b"program\0"), environment: texts(b""), streams }
    }

    /// Asks all of it, and gives what was answered to each until the conversation was over.
    fn ask(service: &mut Service, requests: &[Request<'_>]) -> (Vec<String>, Result<Served, RunError>) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let served = scope.spawn(move || service.serve(&theirs));
            let mut answers = Vec::new();
            for request in requests {
                let mut frame = Vec::new();
                request.encode(&mut frame).unwrap();
                ours.write_all(&frame).unwrap();
                let mut header = [0; frame::HEADER];
                if ours.read_exact(&mut header).is_err() {
                    break;
                }
                let mut payload = vec![0; frame::length(header).unwrap()];
                ours.read_exact(&mut payload).unwrap();
                answers.push(format!("{:?}", Reply::decode(&payload).unwrap()));
            }
            drop(ours);
            (answers, served.join().unwrap())
        })
    }

    #[test]
    fn what_is_no_program_is_answered_with_its_reason() {
        let outcome = Request::Outcome(Outcome::Exit(1));
        let (answers, served) = ask(&mut service(true), &[Request::Part { bytes: b"MZ" }, replace(), outcome]);
        assert_eq!(answers, ["Noted", "NotReplaced { reason: \"it is not an ELF file\" }", "Noted"]);
        assert!(matches!(served, Ok(Served::Told(End::Exit(1)))));
    }

    #[test]
    fn where_a_shim_puts_programs_it_takes_them_and_tells() {
        let path = gate::program::Path::new("/a").unwrap();
        let mut service = service(false);
        let (answers, served) =
            ask(&mut service, &[Request::Part { bytes: b"MZ" }, Request::File { path, bytes: b"" }]);
        assert_eq!(answers, ["Unavailable"; 2]);
        assert!(matches!(served, Ok(Served::Closed)) && service.who() == Caller::Exec);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut frame = Vec::new();
        replace().encode(&mut frame).unwrap();
        ours.write_all(&frame).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(service.serve(&theirs), Ok(Served::Closed)) && service.who() == Caller::Program);
        drop(theirs);
        assert_eq!(ours.read(&mut frame).unwrap(), 0, "it has no answer");
    }

    /// A name that takes for ever keeps nobody waiting but whoever asked for it.
    #[test]
    fn a_lookup_holds_up_no_other_request() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        let mut service = service(true);
        service.names = Names::by(move |authority| {
            if authority.starts_with("slow") {
                // An error, which is the end of the test.
                _ = told.lock().unwrap().recv();
            }
            vec!["192.0.2.1:1".parse().unwrap()]
        });
        let [slow, quick] = ["slow:1", "quick:1"].map(|authority| Request::Lookup { authority });
        let (answers, _) = ask(&mut service, &[slow, Request::Brief, quick, slow, Request::Bind { name: "a" }, slow]);
        assert!(answers[1].starts_with("Brief"), "{answers:?}");
        assert_eq!(
            [0, 2, 3, 4, 5].map(|at| answers[at].as_str()),
            ["Pending", "Pending", "Pending", "Absent", "Pending"]
        );
        let until = |service: &mut Service, request| {
            loop {
                let answer = ask(service, &[request]).0.concat();
                if answer != "Pending" {
                    return answer;
                }
            }
        };
        let found = "Address(\"192.0.2.1:1\")";
        assert_eq!(until(&mut service, quick), found);
        assert_eq!(ask(&mut service, &[slow]).0, ["Pending"]);
        drop(tell);
        assert_eq!(until(&mut service, slow), found);
        // Who wants to wait does.
        assert_eq!(ask(&mut service, &[Request::Resolve { authority: "quick:1" }]).0, [found]);
    }

    #[test]
    fn a_program_asks_only_what_is_its_own() {
        let mut service = service(true);
        let (answers, served) = ask(&mut service, &[Request::Part { bytes: &tiny(&[0xcc]) }, replace()]);
        assert!(answers == ["Noted"] && matches!(served, Ok(Served::Replaced(_))), "{answers:?}");
        let attest = |purpose| Request::Attest { purpose, spki: b"", nonce: b"" };
        let not_its_own = [
            attest(Purpose::Issue),
            Request::Blob { digest: [0; 32], offset: 0 },
            Request::Milestone { step: 13, detail: "" },
            Request::Compile(Compile::Done),
            Request::Load { name: [7; 32], offset: 0 },
            Request::Store { name: [7; 32], rest: 0, bytes: b"mine" },
            Request::Part { bytes: b"x" },
            replace(),
            Request::Outcome(Outcome::Exit(7)),
        ];
        let (answers, served) = ask(&mut service, &not_its_own);
        assert_eq!(answers, ["Unavailable"; 9]);
        assert!(matches!(served, Ok(Served::Closed)), "its outcome is its exit status");
        let (answers, _) = ask(&mut service, &[Request::Brief, Request::Listening { name: "a", address: "b" }]);
        assert!(answers[0].starts_with("Brief") && answers[1] == "Noted", "control: {answers:?}");
    }

    /// A service of a Keep that has a cache in this folder, and this argument.
    fn caching(dir: &tempfile::TempDir, argument: &str) -> Service {
        let name = |text: &str| text.parse().unwrap();
        let brief = Brief {
            trust_domain: "local".parse().unwrap(),
            steward: None,
            source: Source::Host,
            owner: None,
            deployment: name("run"),
            role: name("main"),
            workload: Digest::of(argument.as_bytes()),
            args: Vec::new(),
            env: Vec::new(),
        };
        let mut service = service(true);
        service.launch.brief = brief.encode().into();
        service.host.cache = Some(Cache::new(dir.path().to_owned()));
        service
    }

    #[test]
    fn exec_has_a_key_for_what_it_stores_and_nobody_else() {
        const SEAL: Request<'_> = Request::SealKey { context: b"donjon-code" };
        let dir = tempfile::tempdir().unwrap();
        let key = |service: &mut Service, request| ask(service, &[request]).0.concat();
        let first = key(&mut caching(&dir, "a"), SEAL);
        assert!(first.starts_with("Key"), "{first}");
        assert_eq!(key(&mut caching(&dir, "a"), SEAL), first, "the next start");
        assert_ne!(key(&mut caching(&dir, "b"), SEAL), first, "another workload");
        assert_ne!(key(&mut caching(&dir, "a"), Request::SealKey { context: b"" }), first, "another context");
        assert_ne!(key(&mut caching(&tempfile::tempdir().unwrap(), "a"), SEAL), first, "another folder");
        assert_eq!(key(&mut service(true), SEAL), "Unavailable", "no cache");
        let workloads = [identity::user::CONTEXT, b"disk"].concat();
        let workloads = key(&mut caching(&dir, "a"), Request::SealKey { context: &workloads });
        assert_eq!(workloads, "Unavailable", "what exec asks for its workload");
        let mut program = caching(&dir, "a");
        program.who = Caller::Program;
        assert_eq!(key(&mut program, SEAL), "Unavailable");
    }

    #[test]
    fn what_a_keep_stores_it_finds() {
        let dir = tempfile::tempdir().unwrap();
        let load = Request::Load { name: [7; 32], offset: 0 };
        let store = |rest, bytes| Request::Store { name: [7; 32], rest, bytes };
        let (answers, _) = ask(&mut caching(&dir, "a"), &[load, store(1, b"seale"), load, store(0, b"d"), load]);
        let found = "Blob { total: 6, bytes: [115, 101, 97, 108, 101, 100] }";
        assert_eq!(answers, ["Absent", "Noted", "Absent", "Noted", found]);
        let (answers, _) = ask(&mut service(true), &[load, store(0, b"sealed"), load]);
        assert_eq!(answers, ["Absent", "Unavailable", "Absent"], "no cache");
    }
}
