//! Descriptor 3 as the program sees it, and the latch.
//!
//! Refuses a request that is not one frame in one write; parts of frames are passed on only while a frame that the host
//! answers is under way.

use core::fmt::{self, Write as _};

use gate::frame::{self, HEADER};
use gate::message::{ATTESTED, CHUNK, Purpose, Request};
use gate::plan::Platform;
use gate::program::{PATH, Path, STACK};
use gate::ring::{Call, DATA, Kind, PLATFORM};
use identity::{binding, sealing};
use workload::brief::{self, BRIEF_LIMIT, Glance};
use zeroize::Zeroize as _;

use super::snp::{self, Channel, Message, NoAnswer, REPORT};
use crate::arch::entry::Frame;
use crate::arch::lock::Lock;
use crate::arch::{shared, user};
use crate::host::{self, Fatal, fatal};
use crate::memory::areas::READ;
use crate::syscall::error::{EINVAL, Errno};
use crate::syscall::{get, put, space};
use crate::{platform, program};

/// The longest request that is answered here: a Replace with its kind, lengths and streams, and an end to each text.
const REQUEST: usize = STACK + 32;
const _: () = assert!(REQUEST >= ATTESTED + 16);
/// The longest reply but Brief: a report, its media type, lengths.
const REPLY: usize = REPORT + 128;

struct Door {
    brief: [u8; BRIEF_LIMIT],
    length: usize,
    hash: [u8; 32],
    channel: Option<Channel>,
    message: Message,
    request: [u8; REQUEST],
    reply: [u8; REPLY],
    /// Bytes of the reply, whether the brief follows them, and how much of all was read.
    waiting: (usize, bool, usize),
    /// Bytes that are still missing of a frame for the host.
    passing: u64,
}

static DOOR: Lock<Door> = Lock::new(Door {
    brief: [0; BRIEF_LIMIT],
    length: 0,
    hash: [0; 32],
    channel: None,
    message: Message::new(),
    request: [0; REQUEST],
    reply: [0; REPLY],
    waiting: (0, false, 0),
    passing: 0,
});

/// Latches the brief, and compares it with what the hardware carries.
pub(crate) fn start(platform: Platform) {
    let mut door = DOOR.lock();
    let Some(length) = receive(&mut door.brief) else { fatal(Fatal::Brief, 0) };
    door.length = length;
    match platform {
        // Nobody asks for the hash where there is no evidence.
        Platform::Plain => {}
        Platform::Snp => {
            door.hash = brief::hash(door.brief());
            door.channel = Some(Channel::new(&shared::take_key()));
            let Ok(report) = door.report(&[0; 64]) else { fatal(Fatal::Firmware, 0) };
            if snp::host_data(&report) != Some(&door.hash) {
                fatal(Fatal::Brief, 1);
            }
        }
    }
}

/// Asks the host for the brief, as exec would.
fn receive(brief: &mut [u8; BRIEF_LIMIT]) -> Option<usize> {
    /// The kind of request and reply.
    const BRIEF: u8 = 1;
    shared::block().put(0, &[1, 0, 0, 0, BRIEF]);
    let asked = host::call(&Call { length: 5, ..Call::new(Kind::Write, PLATFORM) });
    let mut head = [0; HEADER + 5];
    asked.ok().filter(|count| *count == 5).and_then(|_| fill(&mut head))?;
    let [f0, f1, f2, f3, BRIEF, l0, l1, l2, l3] = head else { return None };
    let (frame, length) = (u32::from_le_bytes([f0, f1, f2, f3]), u32::from_le_bytes([l0, l1, l2, l3]));
    let length = usize::try_from(length).ok().filter(|_| length.checked_add(5) == Some(frame))?;
    fill(brief.get_mut(..length)?)?;
    Some(length)
}

/// Reads exactly so many bytes from the host process.
fn fill(mut bytes: &mut [u8]) -> Option<()> {
    while !bytes.is_empty() {
        let length = u32::try_from(bytes.len().min(DATA)).ok()?;
        let count = host::call(&Call { length, ..Call::new(Kind::Read, PLATFORM) }).ok().filter(|count| *count > 0)?;
        let (now, later) = bytes.split_at_mut_checked(usize::try_from(count).ok()?)?;
        shared::block().get(0, now);
        bytes = later;
    }
    Some(())
}

impl Door {
    fn brief(&self) -> &[u8] {
        self.brief.get(..self.length).unwrap_or_default()
    }

    fn report(&mut self, data: &[u8; 64]) -> Result<[u8; REPORT], NoAnswer> {
        let channel = self.channel.as_mut().ok_or(NoAnswer)?;
        channel.report(data, &mut self.message, platform::firmware)
    }

    /// Answers a request of the program, unless it is one that the host answers.
    fn answer(&mut self, length: usize) -> Result<(), Errno> {
        let payload = self.request.get(HEADER..length).ok_or(EINVAL)?;
        match Request::decode(payload).map_err(|_| EINVAL)? {
            Request::Brief => {
                let length = u32::try_from(self.length).map_err(|_| EINVAL)?;
                self.reply(1, &[&length.to_le_bytes()], self.length);
            }
            Request::Attest { purpose: Purpose::Issue, .. } if program::runs() => self.reply(UNAVAILABLE, &[], 0),
            Request::Attest { purpose, spki, nonce } if self.channel.is_some() => {
                let purpose = match purpose {
                    Purpose::Issue => binding::Purpose::Issue,
                    Purpose::Direct => binding::Purpose::Direct,
                    Purpose::User => binding::Purpose::User,
                };
                let data = binding::report_data(purpose, spki, &self.hash, nonce);
                // A host that does not carry messages would leave this Keep without a proof of anything: it ends, because
                // the number of a lost message cannot be used again.
                let Ok(report) = self.report(&data) else { fatal(Fatal::Firmware, 1) };
                let media_type = identity::csr::SNP_MEDIA_TYPE.as_bytes();
                let lengths = [media_type.len(), REPORT].map(|length| u32::try_from(length).unwrap_or(0).to_le_bytes());
                self.reply(2, &[&lengths[0], media_type, &lengths[1], &report], 0);
            }
            Request::SealKey { context } if self.channel.is_some() => {
                let mut bytes = [0; gate::message::CONTEXT];
                let context = bytes.get_mut(..context.len()).map(|place| {
                    place.copy_from_slice(context);
                    &*place
                });
                let context = context.ok_or(EINVAL)?;
                let channel = self.channel.as_mut().ok_or(EINVAL)?;
                let Ok(mut hardware) = channel.key(&mut self.message, platform::firmware) else {
                    fatal(Fatal::Firmware, 2)
                };
                let brief = self.brief.get(..self.length).and_then(Glance::new).ok_or(EINVAL)?;
                let mut key = sealing::key(&hardware, &brief, context);
                hardware.zeroize();
                self.message.bytes.zeroize();
                self.reply(10, &[&key], 0);
                key.zeroize();
            }
            Request::Attest { .. } | Request::SealKey { .. } => self.reply(UNAVAILABLE, &[], 0),
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    /// Takes a request in whole.
    fn take(&mut self, from: u64, whole: usize) -> Result<(), Errno> {
        let place = self.request.get_mut(..whole).ok_or(EINVAL)?;
        let mut space = space();
        space.ready(from, place.len() as u64, READ)?;
        user::read(from, place);
        Ok(())
    }

    /// Puts a program in exec's place, and tells the host process, or leaves a reply why not.
    fn replace(&mut self, length: usize) -> Result<Written, Errno> {
        let payload = self.request.get(HEADER..length).ok_or(EINVAL)?;
        let Ok(Request::Replace { arguments, environment, streams }) = Request::decode(payload) else {
            return Err(EINVAL);
        };
        match program::replace(arguments, environment, streams) {
            Ok(frame) => {
                let notice = &program::NOTICE;
                shared::block().put(0, notice);
                let call =
                    Call { length: u32::try_from(notice.len()).unwrap_or(0), ..Call::new(Kind::Write, PLATFORM) };
                if host::call(&call) != Ok(notice.len() as u64) {
                    fatal(Fatal::Lie, Kind::Write as u64);
                }
                Ok(Written::Replaced(frame))
            }
            Err(why) => {
                let mut reason = Reason { bytes: [0; 256], length: 0 };
                // What does not fit is cut.
                _ = write!(reason, "{why}");
                let text = reason.bytes.get(..reason.length).unwrap_or_default();
                let length = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
                self.reply(NOT_REPLACED, &[&length, text], 0);
                Ok(Written::Taken)
            }
        }
    }

    /// Leaves a reply for the program: a kind and its fields, before so many bytes of the brief.
    fn reply(&mut self, kind: u8, fields: &[&[u8]], brief: usize) {
        let length = fields.iter().fold(1usize, |sum, field| sum.saturating_add(field.len()));
        let frame = u32::try_from(length.saturating_add(brief)).unwrap_or(0).to_le_bytes();
        let mut at = 0;
        for part in [&frame[..], &[kind]].iter().chain(fields) {
            let end = usize::saturating_add(at, part.len());
            if let Some(place) = self.reply.get_mut(at..end) {
                place.copy_from_slice(part);
            }
            at = end;
        }
        self.waiting = (at, brief > 0, 0);
    }
}

/// Requests that are answered here: Brief, Attest, SealKey, and those of a program in exec's place: Replace, Part, File.
const OURS: [u8; 6] = [1, 2, 6, REPLACE, PART, FILE];
const REPLACE: u8 = 7;
const PART: u8 = 13;
const FILE: u8 = 14;

/// Kinds of replies: Unavailable, Noted, NotReplaced.
const UNAVAILABLE: u8 = 3;
const NOTED: u8 = 7;
const NOT_REPLACED: u8 = 11;

/// What the program writes on descriptor 3: taken here, or how many bytes of it are for the host.
pub(crate) fn write(from: u64, length: u64) -> Result<Written, Errno> {
    let mut door = DOOR.lock();
    if door.passing > 0 {
        return Ok(Written::Passed(length.min(door.passing)));
    }
    let [h0, h1, h2, h3, kind] = get(from)?;
    let payload = frame::length([h0, h1, h2, h3]).map_err(|_| EINVAL)?;
    let whole = payload.checked_add(HEADER).ok_or(EINVAL)?;
    if payload == 0 || length != whole as u64 {
        return Err(EINVAL);
    }
    if !OURS.contains(&kind) {
        door.passing = length;
        return Ok(Written::Passed(length));
    }
    match kind {
        REPLACE | PART | FILE if program::runs() => door.reply(UNAVAILABLE, &[], 0),
        PART => {
            part(from, length)?;
            door.reply(NOTED, &[], 0);
        }
        FILE => {
            file(from, length)?;
            door.reply(NOTED, &[], 0);
        }
        REPLACE => {
            door.take(from, whole)?;
            return door.replace(whole);
        }
        _ => {
            door.take(from, whole)?;
            door.answer(whole)?;
        }
    }
    Ok(Written::Taken)
}

/// Bytes before those of a Part: the frame's length, kind, length.
const BEFORE: u64 = HEADER as u64 + 5;

/// A Part: its bytes stay where they are until the copier comes.
fn part(from: u64, length: u64) -> Result<(), Errno> {
    let bytes = u64::from(u32::from_le_bytes(get(from.wrapping_add(BEFORE).wrapping_sub(4))?));
    if bytes > CHUNK as u64 || bytes.checked_add(BEFORE) != Some(length) {
        return Err(EINVAL);
    }
    program::part(from.wrapping_add(BEFORE), bytes)
}

/// A File: a path, then bytes as in a Part.
fn file(from: u64, length: u64) -> Result<(), Errno> {
    let named = usize::try_from(u32::from_le_bytes(get(from.wrapping_add(BEFORE).wrapping_sub(4))?));
    let mut path = [0; PATH];
    let path = named.ok().and_then(|named| path.get_mut(..named)).ok_or(EINVAL)?;
    {
        let mut space = space();
        space.ready(from.wrapping_add(BEFORE), path.len() as u64, READ)?;
        user::read(from.wrapping_add(BEFORE), path);
    }
    let path = str::from_utf8(path).ok().and_then(Path::new).ok_or(EINVAL)?;
    let rest = BEFORE.wrapping_add(path.text().len() as u64);
    let bytes = u64::from(u32::from_le_bytes(get(from.wrapping_add(rest))?));
    let before = rest.wrapping_add(4);
    if bytes > CHUNK as u64 || bytes.checked_add(before) != Some(length) {
        return Err(EINVAL);
    }
    program::file(path, from.wrapping_add(before), bytes)
}

/// A text in as many bytes as there are.
struct Reason {
    bytes: [u8; 256],
    length: usize,
}

impl fmt::Write for Reason {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let place = self.bytes.get_mut(self.length).ok_or(fmt::Error)?;
            *place = byte;
            self.length = self.length.saturating_add(1);
        }
        Ok(())
    }
}

/// Where a write on descriptor 3 went.
pub(crate) enum Written {
    /// It was a whole request, and the reply waits.
    Taken,
    /// So many bytes are for the host.
    Passed(u64),
    /// Nowhere: another program starts with this.
    Replaced(Frame),
}

/// The host took so many bytes of a frame.
pub(crate) fn passed(count: u64) {
    let mut door = DOOR.lock();
    door.passing = door.passing.saturating_sub(count);
}

/// Whether a reply of this side waits.
pub(crate) fn replies() -> bool {
    DOOR.lock().waiting.0 > 0
}

/// What the program reads on descriptor 3; `None` if the reply is the host's.
pub(crate) fn read(to: u64, length: u64) -> Option<Result<u64, Errno>> {
    let mut door = DOOR.lock();
    let (head, brief, at) = door.waiting;
    if head == 0 {
        return None;
    }
    let most = usize::try_from(length).unwrap_or(usize::MAX);
    let end = at.saturating_add(most);
    let all = if brief { head.saturating_add(door.length) } else { head };
    let part = match at.checked_sub(head) {
        None => door.reply.get(at..end.min(head)),
        Some(at) => door.brief.get(at..at.saturating_add(most).min(door.length)),
    };
    let part = part.unwrap_or_default();
    if let Err(error) = put(to, part) {
        return Some(Err(error));
    }
    let count = part.len();
    let at = at.saturating_add(count);
    if at >= all {
        door.waiting = (0, false, 0);
        door.reply.zeroize();
    } else {
        door.waiting = (head, brief, at);
    }
    Some(Ok(count as u64))
}
