//! Readiness: event counters, sets of watched descriptors, and waiting for them.
//!
//! Counters are here, because their values mean something; the host holds the sets, with the flags that the program gave.
//! A thread that waits for both waits at the host, and whoever counts up ends that.
//!
//! Invariant: what the host says is ready is told only if it is watched, and only with bits that were asked for.

use gate::ring::{self, CALLS, Call, EVENT, FOREVER, Kind};

use super::super::error::{EAGAIN, EBADF, EEXIST, EINVAL, EMFILE, ENOENT, ENOSPC, EPERM, Errno};
use super::super::{get, put, word};
use super::{COUNTERS, FILES, NONE, Object, Watched, close, handle, of, open, short};
use crate::arch::{shared, user};
use crate::attest;
use crate::host;
use crate::threads::{self, waits};

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

/// For whoever polls, and looks again by itself.
const ANY_COUNTER: u64 = 1 << 63 | 2 << 32;

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
        wait_for(index);
    };
    put(to, &value.to_le_bytes()).map(|()| 8)
}

/// Waits until a counter that is 0 may be more.
fn wait_for(index: u16) {
    let zero = || matches!(FILES.lock().objects.get(usize::from(index)), Some(Object::Counter(0, _)));
    // An error: it was more already.
    _ = threads::wait(counter_key(index), waits::ANY, None, || if zero() { Ok(()) } else { Err(()) });
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
    let any = counter.map(|_| ANY_COUNTER);
    for key in [counter.map(counter_key), any, set.map(set_key)].into_iter().flatten() {
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

/// The most descriptors of one `poll`.
const POLLED: usize = 64;

/// `poll`. One descriptor the host waits for; several are watched by a set of their own meanwhile.
pub(in crate::syscall) fn poll(list: u64, count: u64, time: u64) -> Result<u64, Errno> {
    if count > POLLED as u64 {
        return Err(EINVAL);
    }
    let until = if time == FOREVER { None } else { Some(user::now().since.saturating_add(time)) };
    let mut time = time;
    loop {
        let listens = time != 0 && !threads::SEATS.alone();
        if listens {
            threads::listen(ANY_COUNTER);
        }
        let ready = look(list, count, time);
        let slept = if time != 0 && matches!(ready, Ok(0)) { rest(list, count, time) } else { Ok(()) };
        if listens {
            // Whether or not it was woken: it looks again.
            _ = threads::heard();
        }
        let (ready, ()) = (ready?, slept?);
        if ready > 0 || time == 0 {
            return Ok(ready);
        }
        time = until.map_or(FOREVER, |until| until.saturating_sub(user::now().since));
    }
}

/// A descriptor of `poll`, and the bits that are asked for; none for a place that is to be left out.
fn polled(at: u64) -> Result<Option<(u64, u64)>, Errno> {
    let entry = word(at)?;
    let fd = entry & 0xffff_ffff;
    Ok((fd <= 0x7fff_ffff).then_some((fd, entry >> 32 & 0xffff)))
}

/// Tells which are ready, waiting for the host if there is nothing else to wait for; how many.
fn look(list: u64, count: u64, time: u64) -> Result<u64, Errno> {
    let wait = if count == 1 { time } else { 0 };
    let mut ready = 0u64;
    let mut first = 0;
    while first < count {
        let part = count.wrapping_sub(first).min(CALLS as u64);
        ready = ready.wrapping_add(look_at(list.wrapping_add(first.wrapping_mul(8)), part, time != 0, wait)?);
        first = first.wrapping_add(part);
    }
    Ok(ready)
}

/// The same for as many as the host is asked about at once.
fn look_at(list: u64, count: u64, waits: bool, time: u64) -> Result<u64, Errno> {
    const INVALID: u64 = 0x20;
    const ALWAYS_READY: u64 = 5;
    let at = |index: u64| list.wrapping_add(index.wrapping_mul(8));
    let mut found = [0; CALLS];
    let mut asked = [(0, Call::new(Kind::Poll, 0)); CALLS];
    let mut hosts = 0usize;
    for (index, place) in (0..count).zip(found.iter_mut()) {
        *place = match polled(at(index))?.map(|(fd, wanted)| (of(fd), wanted)) {
            None => 0,
            // Nothing is asked but whether it is open.
            Some((Ok(_), 0)) if !waits => 0,
            Some((Ok((_, Object::Platform)), wanted)) if attest::replies() => wanted & ALWAYS_READY,
            Some((Ok((object, Object::Host | Object::Platform)), wanted)) => {
                if let Some(call) = asked.get_mut(hosts) {
                    *call = (index, Call { a: wanted, b: time, ..Call::new(Kind::Poll, handle(object)) });
                }
                hosts = hosts.wrapping_add(1);
                0
            }
            Some((Ok((_, Object::Counter(value, _))), wanted)) => wanted & if value > 0 { ALWAYS_READY } else { 4 },
            Some((Ok((_, Object::Null | Object::File(..))), wanted)) => wanted & ALWAYS_READY,
            Some((Ok(_), _)) => 0,
            Some((Err(_), _)) => INVALID,
        };
    }
    if hosts > 0 {
        let calls = asked.map(|(_, call)| call);
        let results = host::calls(calls.get(..hosts).unwrap_or_default());
        for ((index, _), result) in asked.into_iter().zip(results).take(hosts) {
            if let Some(place) = usize::try_from(index).ok().and_then(|index| found.get_mut(index)) {
                *place = result?;
            }
        }
    }
    let mut ready = 0u64;
    for (index, found) in (0..count).zip(found) {
        ready = ready.wrapping_add(u64::from(found != 0));
        let found = u16::try_from(found & 0xffff).unwrap_or(0);
        put(at(index).wrapping_add(6), &found.to_le_bytes())?;
    }
    Ok(ready)
}

/// Sleeps until one may be ready.
fn rest(list: u64, count: u64, time: u64) -> Result<(), Errno> {
    // Those that the host has, each once, with all that is asked of it.
    let mut hosts = [(NONE, 0); POLLED];
    for index in 0..count {
        let Some((fd, wanted)) = polled(list.wrapping_add(index.wrapping_mul(8)))? else { continue };
        if let Ok((object, Object::Host | Object::Platform)) = of(fd)
            && let Some(place) = hosts.iter_mut().find(|(known, _)| *known == object || *known == NONE)
        {
            *place = (object, place.1 | wanted | u64::from(ring::ALWAYS));
        }
    }
    let known = hosts.iter().position(|(object, _)| *object == NONE).unwrap_or(POLLED);
    let hosts = hosts.get(..known).unwrap_or_default();
    if hosts.is_empty() {
        return host::call(&Call { a: time, ..Call::new(Kind::Park, 0) }).map(drop);
    }
    if count == 1 {
        // The host has waited already.
        return Ok(());
    }
    let fd = epoll()?;
    let slept = of(fd).and_then(|(set, _)| {
        for hosts in hosts.chunks(CALLS) {
            let mut calls = [Call::new(Kind::Watch, handle(set)); CALLS];
            for (call, (object, wanted)) in calls.iter_mut().zip(hosts) {
                (call.a, call.b) = (u64::from(*object), *wanted);
            }
            let results = host::calls(calls.get(..hosts.len()).unwrap_or_default());
            results.into_iter().try_for_each(|result| result.map(drop))?;
        }
        ready(set, 1, time)
    });
    close(fd)?;
    slept.map(drop)
}
