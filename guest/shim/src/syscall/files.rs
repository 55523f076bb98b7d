//! Descriptors: the standard streams, the platform, the host's wish for an end, sockets; counters and sets of watched descriptors are [`events`].
//!
//! Owns the table and the buffers' way through the shared windows. The host holds the sockets; readiness is what it says,
//! and lies about it cost time and never more.
//!
//! Invariant: a handle that the host knows is the index of an object here. What the host writes into the window becomes
//! the program's bytes only by the copier, within the length the program gave.

mod events;

use core::sync::atomic::{AtomicU64, Ordering};

use gate::plan::{PAGE, PROCESSORS, SHARED};
use gate::program::{PATH, Streams};
use gate::ring::{self, BLOCK, CONTROL, Call, HANDLES, Kind};

use super::error::{EBADF, EFAULT, EINVAL, EMFILE, EMSGSIZE, ENOENT, ENOPROTOOPT, ENOTSOCK, ENOTTY, ESPIPE, Errno};
use super::{get, put, word};
use crate::arch::lock::Lock;
use crate::arch::tables::me;
use crate::arch::{entry, shared, user};
use crate::attest::{self, Written};
use crate::host;
use crate::memory::areas::{Area, KEPT, READ, TOP, WRITE};
use crate::memory::space::Space;
use crate::program;

pub(super) use events::{epoll, event, poll, wait, watch};
use events::{read_counter, write_counter};

/// Where ring 3 sees the data parts of the blocks, one after the other: each processor uses its own.
static WINDOWS: AtomicU64 = AtomicU64::new(0);

const MOST: usize = HANDLES as usize;
const NONE: u16 = u16::MAX;
const DATA: u64 = ring::DATA as u64;
/// The part of it before a datagram.
const ADDRESS: u64 = ring::ADDRESS as u64;
/// The descriptor of the platform.
const PLATFORM_FD: u64 = ring::PLATFORM as u64;

/// What a descriptor can be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    Free,
    /// A stream or socket that the host holds.
    Host,
    /// The platform: frames to and from it.
    Platform,
    /// On its way to the host, or from there.
    Busy,
    /// A set of watched descriptors.
    Set,
    /// A stream that leads nowhere.
    Null,
    /// A file that exec gave: where the copier finds it, its length, and the place of the next byte.
    File(u64, u64, u64),
    /// A counter, and whether it was counted up since that was told.
    Counter(u64, bool),
}

/// How an object is watched: the set, for what, and what the program wants to be told.
#[derive(Debug, Clone, Copy)]
struct Watched {
    set: u16,
    events: u32,
    data: u64,
}

struct Files {
    /// Object by descriptor.
    table: [u16; MOST],
    objects: [Object; MOST],
    users: [u16; MOST],
    watched: [Option<Watched>; MOST],
    /// By object: operations do not wait.
    waitless: [bool; MOST],
    /// The objects that are counters, and how many there are.
    counters: [u16; COUNTERS],
    counted: usize,
    /// No descriptor from here on was ever used.
    end: usize,
}

/// The most counters at a time: a runtime has one for each thread that waits.
const COUNTERS: usize = 64;

static FILES: Lock<Files> = Lock::new(Files {
    table: {
        let mut table = [NONE; MOST];
        [table[0], table[1], table[2], table[3], table[4]] = [0, 1, 2, 3, 4];
        table
    },
    objects: {
        let mut objects = [Object::Free; MOST];
        [objects[0], objects[1], objects[2], objects[3], objects[4]] =
            [Object::Host, Object::Host, Object::Host, Object::Platform, Object::Host];
        objects
    },
    users: {
        let mut users = [0; MOST];
        [users[0], users[1], users[2], users[3], users[4]] = [1; 5];
        users
    },
    watched: [None; MOST],
    waitless: {
        let mut waitless = [false; MOST];
        waitless[4] = true;
        waitless
    },
    counters: [NONE; COUNTERS],
    counted: 0,
    end: ring::END as usize + 1,
});

impl Files {
    fn object(&self, fd: u64) -> Result<(u16, Object), Errno> {
        let index = usize::try_from(fd).ok().and_then(|fd| self.table.get(fd)).copied().unwrap_or(NONE);
        match self.objects.get(usize::from(index)) {
            Some(object) if !matches!(object, Object::Free | Object::Busy) => Ok((index, *object)),
            _ => Err(EBADF),
        }
    }

    /// A new object at the lowest free descriptor from `from` on.
    fn open(&mut self, object: Object, waitless: bool) -> Result<(u64, u16), Errno> {
        let index = self.objects.iter().position(|object| *object == Object::Free).ok_or(EMFILE)?;
        let short = u16::try_from(index).map_err(|_| EMFILE)?;
        let fd = self.link(short, 0)?;
        if let (Some(place), Some(flag)) = (self.objects.get_mut(index), self.waitless.get_mut(index)) {
            *place = object;
            *flag = waitless;
        }
        Ok((fd, short))
    }

    fn link(&mut self, index: u16, from: usize) -> Result<u64, Errno> {
        let fd = self.table.iter().skip(from).position(|index| *index == NONE).ok_or(EMFILE)?.saturating_add(from);
        if let (Some(place), Some(users)) = (self.table.get_mut(fd), self.users.get_mut(usize::from(index))) {
            *place = index;
            *users = users.saturating_add(1);
        }
        self.end = self.end.max(fd.saturating_add(1));
        Ok(fd as u64)
    }

    /// Closes a descriptor; the object if it was its last. What the host holds is busy until it is [`Files::closed`] there.
    fn close(&mut self, fd: u64) -> Result<Option<(u16, Object)>, Errno> {
        let (index, object) = self.object(fd)?;
        if let Some(place) = usize::try_from(fd).ok().and_then(|fd| self.table.get_mut(fd)) {
            *place = NONE;
        }
        let at = usize::from(index);
        let users = self.users.get_mut(at).ok_or(EBADF)?;
        *users = users.saturating_sub(1);
        if *users > 0 {
            return Ok(None);
        }
        if let (Some(object), Some(watched)) = (self.objects.get_mut(at), self.watched.get_mut(at)) {
            *object = if matches!(object, Object::Host | Object::Set) { Object::Busy } else { Object::Free };
            *watched = None;
        }
        if let Object::Counter(..) = object
            && let Some(place) = self.counters.iter().position(|counter| *counter == index)
        {
            self.counted = self.counted.saturating_sub(1);
            self.counters.swap(place, self.counted);
        }
        Ok(Some((index, object)))
    }

    /// What was busy becomes this; if that is nothing, it has no descriptor either.
    fn settle(&mut self, fd: u64, index: u16, object: Object) {
        if let Some(place) = self.objects.get_mut(usize::from(index)) {
            *place = object;
        }
        if object == Object::Free {
            let place = usize::try_from(fd).ok().and_then(|fd| self.table.get_mut(fd));
            if let (Some(place), Some(users)) = (place, self.users.get_mut(usize::from(index))) {
                *place = NONE;
                *users = 0;
            }
        }
    }

    /// The host has nothing of it any more.
    fn closed(&mut self, index: u16) {
        if let Some(object) = self.objects.get_mut(usize::from(index)) {
            *object = Object::Free;
        }
    }

    fn does_not_wait(&self, index: u16) -> bool {
        self.waitless.get(usize::from(index)).copied().unwrap_or(false)
    }
}

/// Finds a place for the windows, and shows the first.
pub(crate) fn place_windows(space: &mut Space) -> Option<()> {
    let length = DATA.saturating_mul(PROCESSORS as u64);
    let start = space.areas.room(length, space.below)?;
    space.areas.insert(Area::new(start, start.checked_add(length)?, READ | WRITE | KEPT)).ok()?;
    WINDOWS.store(start, Ordering::Relaxed);
    show(space, 0)
}

/// Shows one more; whether there was memory to do so.
pub(crate) fn show_window(seat: usize) -> bool {
    show(&mut super::space(), seat).is_some()
}

fn show(space: &mut Space, seat: usize) -> Option<()> {
    let block = SHARED.wrapping_add((BLOCK as u64).wrapping_mul(seat as u64)).wrapping_add(CONTROL as u64);
    space.show_pages(window(seat), DATA, READ | WRITE, |offset| block.wrapping_add(offset))
}

fn window(seat: usize) -> u64 {
    WINDOWS.load(Ordering::Relaxed).wrapping_add(DATA.wrapping_mul(seat as u64))
}

fn handle(index: u16) -> u32 {
    u32::from(index)
}

fn of(fd: u64) -> Result<(u16, Object), Errno> {
    FILES.lock().object(fd)
}

/// The handle of what may be a socket. The platform is none: whatever passes there passes as frames.
fn socket_of(fd: u64) -> Result<u32, Errno> {
    match of(fd)? {
        (index, Object::Host) => Ok(handle(index)),
        _ => Err(ENOTSOCK),
    }
}

/// The handle of something the host holds.
fn held(fd: u64) -> Result<u32, Errno> {
    match of(fd)? {
        (index, Object::Host | Object::Platform) => Ok(handle(index)),
        _ => Err(EINVAL),
    }
}

pub(super) fn read(fd: u64, to: u64, length: u64) -> Result<u64, Errno> {
    let (index, object) = of(fd)?;
    match object {
        Object::Counter(..) => return read_counter(index, to, length),
        Object::Platform => {
            if let Some(ours) = attest::read(to, length) {
                return ours;
            }
        }
        Object::Null => return Ok(0),
        Object::File(.., place) => {
            let count = read_file(object, place, to, length)?;
            if let Some(Object::File(.., now)) = FILES.lock().objects.get_mut(usize::from(index)) {
                *now = place.saturating_add(count);
            }
            return Ok(count);
        }
        Object::Host => {}
        _ => return Err(EINVAL),
    }
    if to.checked_add(length).is_none_or(|end| end > TOP) {
        return Err(EFAULT);
    }
    in_parts(index, length, |done, part| {
        let count = host::call(&Call { length: short(part), ..Call::new(Kind::Read, handle(index)) })?;
        out_of_window(to.wrapping_add(done), 0, count)?;
        Ok(count)
    })
}

fn read_file(object: Object, place: u64, to: u64, length: u64) -> Result<u64, Errno> {
    let Object::File(start, size, _) = object else { return Err(EBADF) };
    let count = size.saturating_sub(place).min(length);
    if to.checked_add(count).is_none_or(|end| end > TOP) {
        return Err(EFAULT);
    }
    if count > 0 {
        entry::copy(to, start.wrapping_add(place), count).map_err(|()| EFAULT)?;
    }
    Ok(count)
}

/// `pread64`.
pub(super) fn read_at(fd: u64, to: u64, length: u64, place: u64) -> Result<u64, Errno> {
    if place.cast_signed() < 0 {
        return Err(EINVAL);
    }
    match of(fd)? {
        (_, Object::Null) => Ok(0),
        (_, object @ Object::File(..)) => read_file(object, place, to, length),
        _ => Err(ESPIPE),
    }
}

/// Opens a file that exec gave. `flags` are those of `open(2)`.
pub(super) fn open_file(path: u64, flags: u64) -> Result<u64, Errno> {
    let mut bytes = [0; PATH + 1];
    let length = text(path, &mut bytes)?;
    let found = length.and_then(|length| program::found(bytes.get(..length)?));
    gate::calls::open(flags & 0xffff_ffff, found.is_some()).map_err(Errno)?;
    let (start, size) = found.ok_or(ENOENT)?;
    FILES.lock().open(Object::File(start, size, 0), false).map(|(fd, _)| fd)
}

/// Reads a text of the program's up to its NUL; its length, if that is in the room there is.
fn text(from: u64, to: &mut [u8]) -> Result<Option<usize>, Errno> {
    let (mut at, mut rest) = (from, to.len());
    while rest > 0 {
        // Not into the next page, unless the text goes on there.
        let part = usize::try_from(PAGE.wrapping_sub(at % PAGE)).unwrap_or(rest).min(rest);
        let done = to.len().saturating_sub(rest);
        let place = to.get_mut(done..).and_then(|place| place.get_mut(..part)).ok_or(EFAULT)?;
        {
            let mut space = super::space();
            space.ready(at, part as u64, READ)?;
            user::read(at, place);
        }
        if let Some(end) = place.iter().position(|byte| *byte == 0) {
            return Ok(Some(done.saturating_add(end)));
        }
        (at, rest) = (at.wrapping_add(part as u64), rest.saturating_sub(part));
    }
    Ok(None)
}

/// Leaves a new program these streams and the platform, and nothing else.
pub(crate) fn keep_streams(streams: Streams) {
    let end = FILES.lock().end as u64;
    for fd in PLATFORM_FD.wrapping_add(1)..end {
        // That it is not open, or that the host cannot close it: the program has it no more.
        _ = close(fd);
    }
    let mut files = FILES.lock();
    for (place, host) in files.objects.iter_mut().zip([streams.stdin, streams.stdout, streams.stderr]) {
        if !host {
            *place = Object::Null;
        }
    }
}

/// Moves as much as the data part holds at a time. What does not wait is moved until it is done or less is moved than
/// asked: programs take a short count for the end of what is ready, and do not come back before they are told of more.
fn in_parts(index: u16, length: u64, mut each: impl FnMut(u64, u64) -> Result<u64, Errno>) -> Result<u64, Errno> {
    let waitless = FILES.lock().does_not_wait(index);
    let mut done = 0u64;
    loop {
        let part = length.wrapping_sub(done).min(DATA);
        match each(done, part) {
            Ok(count) => {
                done = done.saturating_add(count);
                if !waitless || count < part || done >= length {
                    return Ok(done);
                }
            }
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn write(fd: u64, from: u64, length: u64) -> Result<u64, Errno> {
    let (index, object) = of(fd)?;
    match object {
        Object::Counter(..) => return write_counter(index, from, length),
        Object::Platform => {
            return match attest::write(from, length)? {
                Written::Taken => Ok(length),
                Written::Passed(length) => {
                    let count = write_host(index, from, length)?;
                    attest::passed(count);
                    Ok(count)
                }
                Written::Replaced(frame) => entry::enter(frame),
            };
        }
        Object::Null => return Ok(length),
        Object::File(..) => return Err(EBADF),
        Object::Host => {}
        _ => return Err(EINVAL),
    }
    write_host(index, from, length)
}

fn write_host(index: u16, from: u64, length: u64) -> Result<u64, Errno> {
    in_parts(index, length, |done, part| {
        into_window(from.wrapping_add(done), 0, part)?;
        host::call(&Call { length: short(part), ..Call::new(Kind::Write, handle(index)) })
    })
}

/// A length that is at most [`DATA`].
fn short(length: u64) -> u32 {
    u32::try_from(length).unwrap_or(0)
}

fn into_window(from: u64, offset: u64, length: u64) -> Result<(), Errno> {
    if length == 0 {
        return Ok(());
    }
    if from.checked_add(length).is_none_or(|end| end > TOP) {
        return Err(EFAULT);
    }
    entry::copy(window(me()).wrapping_add(offset), from, length).map_err(|()| EFAULT)
}

fn out_of_window(to: u64, offset: u64, length: u64) -> Result<(), Errno> {
    if length == 0 {
        return Ok(());
    }
    entry::copy(to, window(me()).wrapping_add(offset), length).map_err(|()| EFAULT)
}

pub(super) fn vectors(
    fd: u64,
    list: u64,
    count: u64,
    each: impl Fn(u64, u64, u64) -> Result<u64, Errno>,
) -> Result<u64, Errno> {
    if count > 1024 {
        return Err(EINVAL);
    }
    let mut done = 0u64;
    for index in 0..count {
        let at = list.wrapping_add(index.wrapping_mul(16));
        let (start, length) = (word(at)?, word(at.wrapping_add(8))?);
        if length == 0 {
            continue;
        }
        match each(fd, start, length) {
            Ok(part) => {
                done = done.saturating_add(part);
                if part < length {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// `writev`: one call to the host for all of it, if it fits.
pub(super) fn write_vectors(fd: u64, list: u64, count: u64) -> Result<u64, Errno> {
    /// More are written one by one.
    const FEW: usize = 16;
    let (index, object) = of(fd)?;
    if count > FEW as u64 || object != Object::Host {
        return vectors(fd, list, count, write);
    }
    let mut parts = [(0, 0); FEW];
    let mut total = 0u64;
    for (at, part) in (0..count).zip(parts.iter_mut()) {
        let at = list.wrapping_add(at.wrapping_mul(16));
        *part = (word(at)?, word(at.wrapping_add(8))?);
        total = total.saturating_add(part.1);
    }
    if total > DATA {
        return vectors(fd, list, count, write);
    }
    let mut offset = 0;
    for (start, length) in parts {
        into_window(start, offset, length)?;
        offset = u64::wrapping_add(offset, length);
    }
    host::call(&Call { length: short(total), ..Call::new(Kind::Write, handle(index)) })
}

/// `sendto`.
pub(super) fn send(fd: u64, from: u64, length: u64, to: u64, size: u64) -> Result<u64, Errno> {
    if to == 0 {
        return write(fd, from, length);
    }
    let handle = socket_of(fd)?;
    if length > u64::from(ring::DATAGRAM) {
        return Err(EMSGSIZE);
    }
    // The address first: it is put there in whole words.
    address(to, size)?;
    into_window(from, ADDRESS, length)?;
    host::call(&Call { length: short(ADDRESS.wrapping_add(length)), ..Call::new(Kind::Send, handle) })
}

/// `recvfrom`. Flags are MSG_NOSIGNAL and the like; peeking is not there.
pub(super) fn receive(fd: u64, to: u64, length: u64, flags: u64, from: u64, room: u64) -> Result<u64, Errno> {
    const PEEK: u64 = 2;
    const V4: u64 = 2;
    if flags & PEEK != 0 {
        return Err(EINVAL);
    }
    if from == 0 {
        return read(fd, to, length);
    }
    let handle = socket_of(fd)?;
    let length = length.min(DATA.wrapping_sub(ADDRESS));
    if to.checked_add(length).is_none_or(|end| end > TOP) {
        return Err(EFAULT);
    }
    let count = host::call(&Call { length: short(ADDRESS.wrapping_add(length)), ..Call::new(Kind::Receive, handle) })?;
    out_of_window(to, ADDRESS, count)?;
    let size = if shared::block().data(0) & 0xffff == V4 { 16 } else { ADDRESS };
    give_address(size, from, room).map(|()| count)
}

pub(super) fn close(fd: u64) -> Result<u64, Errno> {
    let closed = FILES.lock().close(fd)?;
    if let Some((index, Object::Host | Object::Set)) = closed {
        let done = host::call(&Call::new(Kind::Close, handle(index)));
        FILES.lock().closed(index);
        done?;
    }
    Ok(0)
}

/// `struct stat` with nothing but what kind of file it is, and the length of those that exec gave.
pub(super) fn status(fd: u64, to: u64) -> Result<u64, Errno> {
    const PIPE: u32 = 0o010_600;
    const DEVICE: u32 = 0o020_600;
    const FILE: u32 = 0o100_600;
    const READ_ONLY: u32 = 0o100_400;
    let (index, object) = of(fd)?;
    let mode = match object {
        Object::Host => match host::call(&Call::new(Kind::What, handle(index)))? {
            ring::file::REGULAR => FILE,
            ring::file::TERMINAL => DEVICE,
            _ => PIPE,
        },
        Object::Null => DEVICE,
        Object::File(..) => READ_ONLY,
        _ => PIPE,
    };
    let mut bytes = [0u8; 144];
    if let (Object::File(_, size, _), Some(place)) = (object, bytes.get_mut(48..56)) {
        place.copy_from_slice(&size.to_le_bytes());
    }
    if let Some(place) = bytes.get_mut(24..28) {
        place.copy_from_slice(&mode.to_le_bytes());
    }
    put(to, &bytes).map(|()| 0)
}

pub(super) fn seek(fd: u64, offset: u64, origin: u64) -> Result<u64, Errno> {
    const END: u64 = 2;
    let mut files = FILES.lock();
    let (index, object) = files.object(fd)?;
    if object == Object::Null {
        return Ok(0);
    }
    if let (Object::File(_, size, _), Some(Object::File(.., place))) =
        (object, files.objects.get_mut(usize::from(index)))
    {
        let from = match origin & 0xffff_ffff {
            0 => 0,
            1 => *place,
            END => size,
            _ => return Err(EINVAL),
        };
        *place = from.checked_add_signed(offset.cast_signed()).filter(|to| to.cast_signed() >= 0).ok_or(EINVAL)?;
        return Ok(*place);
    }
    drop(files);
    host::call(&Call { a: offset, b: origin & 0xffff_ffff, ..Call::new(Kind::Seek, held(fd)?) })
}

pub(super) fn control(fd: u64, what: u64, at: u64) -> Result<u64, Errno> {
    const TERMINAL_SIZE: u64 = 0x5413;
    const NON_BLOCKING: u64 = 0x5421;
    let (index, object) = of(fd)?;
    match what & 0xffff_ffff {
        TERMINAL_SIZE => {
            if object != Object::Host || host::call(&Call::new(Kind::What, handle(index)))? != ring::file::TERMINAL {
                return Err(ENOTTY);
            }
            put(at, &[0; 8]).map(|()| 0)
        }
        NON_BLOCKING => {
            let on = u32::from_le_bytes(get(at)?) != 0;
            set_waitless(index, object, on)
        }
        _ => Err(ENOTTY),
    }
}

fn set_waitless(index: u16, object: Object, on: bool) -> Result<u64, Errno> {
    if object == Object::Host {
        let call =
            Call { a: ring::option::NON_BLOCKING, b: u64::from(on), ..Call::new(Kind::SetOption, handle(index)) };
        host::call(&call)?;
    }
    if let Some(flag) = FILES.lock().waitless.get_mut(usize::from(index)) {
        *flag = on;
    }
    Ok(0)
}

/// `fcntl`.
pub(super) fn descriptor(fd: u64, what: u64, argument: u64) -> Result<u64, Errno> {
    const DUPLICATE: u64 = 1030;
    const NON_BLOCKING: u64 = 0o4000;
    const READ_WRITE: u64 = 2;
    let (index, object) = of(fd)?;
    match what & 0xffff_ffff {
        DUPLICATE => FILES.lock().link(index, usize::try_from(argument & 0xffff_ffff).unwrap_or(MOST)),
        // Nothing is ever executed here.
        1 => Ok(1),
        2 => Ok(0),
        3 if matches!(object, Object::File(..)) => Ok(0),
        3 => Ok(READ_WRITE | if FILES.lock().does_not_wait(index) { NON_BLOCKING } else { 0 }),
        4 => set_waitless(index, object, argument & NON_BLOCKING != 0),
        _ => Err(EINVAL),
    }
}

pub(super) fn socket(family: u64, kind: u64) -> Result<u64, Errno> {
    const NON_BLOCKING: u64 = 0o4000;
    const DATAGRAMS: u64 = 2;
    let waitless = kind & NON_BLOCKING != 0;
    let datagrams = if kind & 0xf == DATAGRAMS { ring::DATAGRAMS } else { 0 };
    open(Object::Host, waitless, |index| Call {
        a: family & 0xffff_ffff,
        b: u64::from(waitless) | datagrams,
        ..Call::new(Kind::Socket, handle(index))
    })
    .map(|(fd, _)| fd)
}

/// Has the host open what gets a descriptor, which is free again if it does not; with the host's result.
fn open(object: Object, waitless: bool, call: impl FnOnce(u16) -> Call) -> Result<(u64, u64), Errno> {
    let (fd, index) = FILES.lock().open(Object::Busy, waitless)?;
    let done = host::call(&call(index));
    FILES.lock().settle(fd, index, if done.is_ok() { object } else { Object::Free });
    Ok((fd, done?))
}

/// Puts an address into the window; how long it is.
fn address(at: u64, length: u64) -> Result<u32, Errno> {
    /// Of a `sockaddr_storage`, which begins with the address.
    const LONGEST: u64 = 128;
    let length = length & 0xffff_ffff;
    if !(8..=LONGEST).contains(&length) {
        return Err(EINVAL);
    }
    let length = length.min(ADDRESS);
    let mut index = 0;
    while u64::wrapping_mul(index, 8) < length {
        let offset = u64::wrapping_mul(index, 8);
        let mut bytes = [0; 8];
        for (place, byte) in bytes.iter_mut().zip(0..length.wrapping_sub(offset)) {
            [*place] = get(at.wrapping_add(offset).wrapping_add(byte))?;
        }
        shared::block().set_data(usize::try_from(index).unwrap_or(0), u64::from_le_bytes(bytes));
        index = index.wrapping_add(1);
    }
    Ok(short(length))
}

/// Takes an address of that length out of the window, as far as there is room, as the socket calls do.
fn give_address(count: u64, to: u64, room: u64) -> Result<(), Errno> {
    if to == 0 {
        return Ok(());
    }
    let most = u64::from(u32::from_le_bytes(get(room)?)).min(count);
    let mut bytes = [0; 32];
    for (index, chunk) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *chunk = shared::block().data(index).to_le_bytes();
    }
    put(to, bytes.get(..usize::try_from(most).unwrap_or(0)).unwrap_or_default())?;
    put(room, &short(count).to_le_bytes())
}

pub(super) fn bind(fd: u64, at: u64, length: u64) -> Result<u64, Errno> {
    let handle = held(fd)?;
    host::call(&Call { length: address(at, length)?, ..Call::new(Kind::Bind, handle) })
}

pub(super) fn connect(fd: u64, at: u64, length: u64) -> Result<u64, Errno> {
    let handle = held(fd)?;
    host::call(&Call { length: address(at, length)?, ..Call::new(Kind::Connect, handle) })
}

pub(super) fn listen(fd: u64, backlog: u64) -> Result<u64, Errno> {
    host::call(&Call { a: backlog & 0xffff, ..Call::new(Kind::Listen, held(fd)?) })
}

pub(super) fn accept(fd: u64, to: u64, room: u64, flags: u64) -> Result<u64, Errno> {
    const NON_BLOCKING: u64 = 0o4000;
    let listener = held(fd)?;
    let waitless = flags & NON_BLOCKING != 0;
    let (new, count) = open(Object::Host, waitless, |index| Call {
        a: u64::from(index),
        b: u64::from(waitless),
        length: ring::ADDRESS,
        ..Call::new(Kind::Accept, listener)
    })?;
    give_address(count, to, room).map(|()| new)
}

/// `whose`: 0 for the socket's own, 1 for its peer's.
pub(super) fn name(fd: u64, to: u64, room: u64, whose: u64) -> Result<u64, Errno> {
    let handle = held(fd)?;
    let count = host::call(&Call { a: whose, length: ring::ADDRESS, ..Call::new(Kind::Name, handle) })?;
    give_address(count, to, room).map(|()| 0)
}

pub(super) fn shutdown(fd: u64, how: u64) -> Result<u64, Errno> {
    host::call(&Call { a: how & 0xffff_ffff, ..Call::new(Kind::Shutdown, held(fd)?) })
}

/// The option of this level and name.
fn option_of(level: u64, name: u64) -> Result<u64, Errno> {
    Ok(match (level & 0xffff_ffff, name & 0xffff_ffff) {
        (0, 2) => ring::option::V4_HOPS,
        (1, 2) => ring::option::REUSE_ADDRESS,
        (1, 7) => ring::option::SEND_BUFFER,
        (1, 8) => ring::option::RECEIVE_BUFFER,
        (1, 9) => ring::option::KEEP_ALIVE,
        (6, 1) => ring::option::NO_DELAY,
        (6, 4) => ring::option::KEEP_IDLE,
        (6, 5) => ring::option::KEEP_INTERVAL,
        (6, 6) => ring::option::KEEP_COUNT,
        (41, 16) => ring::option::V6_HOPS,
        (41, 26) => ring::option::V6_ONLY,
        _ => return Err(ENOPROTOOPT),
    })
}

pub(super) fn set_option(fd: u64, level: u64, name: u64, at: u64, length: u64) -> Result<u64, Errno> {
    let handle = held(fd)?;
    let which = option_of(level, name)?;
    if length < 4 {
        return Err(EINVAL);
    }
    let value = u32::from_le_bytes(get(at)?);
    host::call(&Call { a: which, b: u64::from(value), ..Call::new(Kind::SetOption, handle) })
}

pub(super) fn option(fd: u64, level: u64, name: u64, at: u64, room: u64) -> Result<u64, Errno> {
    const SOCKET: u64 = 1;
    const ERROR: u64 = 4;
    let handle = held(fd)?;
    let call = if (level & 0xffff_ffff, name & 0xffff_ffff) == (SOCKET, ERROR) {
        Call::new(Kind::Error, handle)
    } else {
        Call { a: option_of(level, name)?, ..Call::new(Kind::Option, handle) }
    };
    if u32::from_le_bytes(get(room)?) < 4 {
        return Err(EINVAL);
    }
    put(at, &short(host::call(&call)?).to_le_bytes())?;
    put(room, &4u32.to_le_bytes()).map(|()| 0)
}
