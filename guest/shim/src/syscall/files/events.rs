//! Readiness: event counters, sets of watched descriptors, and waiting for them.
//!
//! Counters are here, because their values mean something; the host holds the sets, with the flags that the program gave.
//! A thread that waits for both waits at the host, and whoever counts up ends that.
//!
//! Invariant: what the host says is ready is told only if it is watched, and only with bits that were asked for.

use gate::ring::{self, Call, EVENT, FOREVER, Kind};

use super::super::error::{EAGAIN, EBADF, EEXIST, EINVAL, EMFILE, ENOENT, ENOSPC, EPERM, Errno};
use super::super::{get, put, word};
use super::{COUNTERS, FILES, NONE, Object, Watched, handle, of, open, short};
use crate::arch::{shared, user};
use crate::host;
use crate::threads::{self, Woken, waits};

pub(in crate::syscall) fn event(start: u64, flags: u64) -> Result<u64, Errno> {
    const NON_BLOCKING: u64 = 0o4000;
    let mut files = FILES.lock();
    let free = files.counted;
    if free >= COUNTERS {
        return Err(EMFILE);
    }
    let start = start & 0xffff_ffff;
    let (fd, index) = files.open(Object::Counter(start, start > 0), flags & NON_BLOCKING != 0)?;
    if let Some(place) = files.counters.get_mut(free) {
        *place = index;
        files.counted = free.saturating_add(1);
    }
    Ok(fd)
}

/// Keys of [`threads::wait`] that are no addresses: counters and sets.
fn counter_key(index: u16) -> u64 {
    1 << 63 | u64::from(index)
}

fn set_key(index: u16) -> u64 {
    1 << 63 | 1 << 32 | u64::from(index)
}

pub(super) fn read_counter(index: u16, to: u64, length: u64) -> Result<u64, Errno> {
    if length < 8 {
        return Err(EINVAL);
    }
    let value = loop {
        let take = || {
            let mut files = FILES.lock();
            let waitless = files.does_not_wait(index);
            match files.objects.get_mut(usize::from(index)) {
                Some(Object::Counter(0, _)) if waitless => Some(Err(EAGAIN)),
                Some(Object::Counter(0, _)) => None,
                Some(Object::Counter(value, _)) => Some(Ok(core::mem::take(value))),
                _ => Some(Err(EBADF)),
            }
        };
        if let Some(value) = take() {
            break value?;
        }
        // With one thread nobody would come to count it up.
        if threads::SEATS.alone() {
            return Err(EINVAL);
        }
        wait_for(index, None)?;
    };
    put(to, &value.to_le_bytes()).map(|()| 8)
}

/// Waits until a counter that is 0 may be more.
fn wait_for(index: u16, until: Option<u64>) -> Result<Woken, Errno> {
    let zero = || matches!(FILES.lock().objects.get(usize::from(index)), Some(Object::Counter(0, _)));
    let waited = threads::wait(counter_key(index), waits::ANY, until, || if zero() { Ok(()) } else { Err(()) });
    // It was more already.
    Ok(waited.unwrap_or(Woken::Yes))
}

pub(super) fn write_counter(index: u16, from: u64, length: u64) -> Result<u64, Errno> {
    if length < 8 {
        return Err(EINVAL);
    }
    let more = word(from)?;
    let set = {
        let mut files = FILES.lock();
        match files.objects.get_mut(usize::from(index)) {
            Some(Object::Counter(value, fresh)) => {
                *value = value.checked_add(more).filter(|sum| *sum < u64::MAX).ok_or(EAGAIN)?;
                *fresh = true;
            }
            _ => return Err(EBADF),
        }
        files.watched.get(usize::from(index)).copied().flatten().map(|watched| watched.set)
    };
    tell_others(Some(index), set);
    Ok(8)
}

/// Something happened to a counter, or to what a set watches: those who wait look again.
fn tell_others(counter: Option<u16>, set: Option<u16>) {
    if threads::SEATS.alone() {
        return;
    }
    for key in [counter.map(counter_key), set.map(set_key)].into_iter().flatten() {
        threads::wake(key, waits::ANY, u64::MAX);
    }
}

pub(in crate::syscall) fn epoll() -> Result<u64, Errno> {
    open(Object::Set, false, |index| Call::new(Kind::Epoll, handle(index))).map(|(fd, _)| fd)
}

/// `epoll_ctl`.
pub(in crate::syscall) fn watch(set: u64, operation: u64, fd: u64, at: u64) -> Result<u64, Errno> {
    const ADD: u64 = 1;
    const REMOVE: u64 = 2;
    const CHANGE: u64 = 3;
    let operation = operation & 0xffff_ffff;
    let wanted: [u8; 12] = if operation == REMOVE { [0; 12] } else { get(at)? };
    let [e0, e1, e2, e3, data @ ..] = wanted;
    let (events, data) = (u32::from_le_bytes([e0, e1, e2, e3]), u64::from_le_bytes(data));
    let (set, object) = {
        let mut files = FILES.lock();
        let ((set, Object::Set), (index, object)) = (files.object(set)?, files.object(fd)?) else { return Err(EINVAL) };
        if let Object::Null | Object::File(..) = object {
            return Err(EPERM);
        }
        let place = files.watched.get_mut(usize::from(index)).ok_or(EBADF)?;
        *place = match (operation, *place) {
            (ADD, None) => Some(Watched { set, events, data }),
            (ADD, Some(_)) => {
                return Err(if place.is_some_and(|known| known.set == set) { EEXIST } else { ENOSPC });
            }
            (CHANGE, Some(known)) if known.set == set => Some(Watched { set, events, data }),
            (REMOVE, Some(known)) if known.set == set => None,
            (CHANGE | REMOVE, _) => return Err(ENOENT),
            _ => return Err(EINVAL),
        };
        if let Some(Object::Counter(_, fresh)) = files.objects.get_mut(usize::from(index)) {
            *fresh = true;
        }
        (set, (index, object))
    };
    match object {
        (index, Object::Host) => {
            let call = Call { a: u64::from(index), b: u64::from(events), ..Call::new(Kind::Watch, handle(set)) };
            host::call(&call)?;
        }
        // It may be more than 0 already.
        _ => tell_others(None, Some(set)),
    }
    Ok(0)
}

const IN: u32 = 1;
const EDGES: u32 = 1 << 31;

/// `epoll_wait`.
pub(in crate::syscall) fn wait(set: u64, to: u64, most: u64, time: u64) -> Result<u64, Errno> {
    let most = most & 0xffff_ffff;
    let (set, Object::Set) = of(set)? else { return Err(EINVAL) };
    if most == 0 || most > 0x7fff_ffff {
        return Err(EINVAL);
    }
    // With others alive a counter may change while the host waits: whoever changes it ends that.
    let listens = time != 0 && !threads::SEATS.alone();
    let until = if listens && time != FOREVER { Some(user::now().since.saturating_add(time)) } else { None };
    let mut time = time;
    loop {
        if listens {
            threads::listen(set_key(set));
        }
        let told = counted(set, to, most);
        let time_now = if matches!(told, Ok(0)) { time } else { 0 };
        let told = told.and_then(|told| Ok((told, ready(set, most.wrapping_sub(told), time_now)?)));
        // Also where there was an error: nobody is to wake this processor for it.
        let heard = listens && threads::heard();
        let (told, bytes) = told?;
        let told = hand_over(set, to, told, bytes)?;
        if told > 0 || !listens {
            return Ok(told);
        }
        // The host ended it before its time: for a counter, or for nothing.
        if let Some(until) = until {
            time = until.saturating_sub(user::now().since);
            if time == 0 && !heard {
                return Ok(0);
            }
        }
    }
}

/// Tells of the counters of a set, which are here and known without asking; of how many.
fn counted(set: u16, to: u64, most: u64) -> Result<u64, Errno> {
    let mut told = 0u64;
    let counted = FILES.lock().counted;
    for place in 0..counted {
        let data = {
            let mut files = FILES.lock();
            let index = usize::from(files.counters.get(place).copied().unwrap_or(NONE));
            let Some(watched) = files.watched.get(index).copied().flatten() else { continue };
            let Some(Object::Counter(value, fresh)) = files.objects.get_mut(index) else { continue };
            let news = *value > 0 && (*fresh || watched.events & EDGES == 0);
            if !news || watched.set != set || watched.events & IN == 0 || told >= most {
                continue;
            }
            *fresh = false;
            watched.data
        };
        tell(to, told, IN, data)?;
        told = told.wrapping_add(1);
    }
    Ok(told)
}

/// Has the host put events of a set into the window; how many bytes of them.
fn ready(set: u16, most: u64, time: u64) -> Result<u64, Errno> {
    if most == 0 {
        // All there is room for was told already; an error now would take it back.
        return Ok(0);
    }
    let length = short(most.min(512).wrapping_mul(u64::from(EVENT)));
    host::call(&Call { a: time, length, ..Call::new(Kind::Wait, handle(set)) })
}

/// Tells of the events in the window, after so many that were told; of how many now.
fn hand_over(set: u16, to: u64, told: u64, bytes: u64) -> Result<u64, Errno> {
    let mut told = told;
    for index in 0..bytes.checked_div(u64::from(EVENT)).unwrap_or(0) {
        let event = shared::block().data(usize::try_from(index).unwrap_or(0));
        let (object, bits) = (event & 0xffff_ffff, short(event >> 32));
        let watched =
            usize::try_from(object).ok().and_then(|object| FILES.lock().watched.get(object).copied().flatten());
        // What is not watched any more, or never was, is not told.
        let Some(watched) = watched.filter(|watched| watched.set == set) else { continue };
        let bits = bits & (watched.events | ring::ALWAYS) & 0xffff;
        if bits != 0 {
            tell(to, told, bits, watched.data)?;
            told = told.wrapping_add(1);
        }
    }
    Ok(told)
}

/// Writes an `epoll_event`, which is packed.
fn tell(to: u64, index: u64, bits: u32, data: u64) -> Result<(), Errno> {
    let mut event = [0; 12];
    let (low, high) = event.split_at_mut(4);
    low.copy_from_slice(&bits.to_le_bytes());
    high.copy_from_slice(&data.to_le_bytes());
    put(to.wrapping_add(index.wrapping_mul(12)), &event)
}

/// `poll` of one descriptor at a time waits; of several it looks at each.
pub(in crate::syscall) fn poll(list: u64, count: u64, time: u64) -> Result<u64, Errno> {
    const INVALID: u64 = 0x20;
    const ALWAYS_READY: u64 = 5;
    if count > 64 {
        return Err(EINVAL);
    }
    let time = if count == 1 { time } else { 0 };
    if count == 0 && time != 0 && time != FOREVER {
        return host::call(&Call { a: time, ..Call::new(Kind::Sleep, 0) });
    }
    let mut ready = 0u64;
    for index in 0..count {
        let at = list.wrapping_add(index.wrapping_mul(8));
        let entry = word(at)?;
        let (fd, wanted) = (entry & 0xffff_ffff, entry >> 32 & 0xffff);
        let found = if fd > 0x7fff_ffff {
            0
        } else {
            match of(fd) {
                Ok((index, Object::Host)) => {
                    host::call(&Call { a: wanted, b: time, ..Call::new(Kind::Poll, handle(index)) })?
                }
                Ok((index, Object::Counter(0, _))) if wanted & 1 != 0 && time != 0 => {
                    let until = if time == FOREVER { None } else { Some(user::now().since.saturating_add(time)) };
                    u64::from(wait_for(index, until)? == Woken::Yes)
                }
                Ok((_, Object::Counter(value, _))) => u64::from(value > 0) & wanted,
                Ok((_, Object::Null | Object::File(..))) => wanted & ALWAYS_READY,
                Ok(_) => 0,
                Err(_) => INVALID,
            }
        };
        ready = ready.wrapping_add(u64::from(found != 0));
        let found = u16::try_from(found & 0xffff).unwrap_or(0);
        put(at.wrapping_add(6), &found.to_le_bytes())?;
    }
    Ok(ready)
}
