//! `poll_oneoff`: waiting for several things at once.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime_wasi::p1::types::{
    Clockid, Errno, Event, EventFdReadwrite, Eventrwflags, Eventtype, Fd, Subclockflags, Subscription, SubscriptionU,
};

use super::forms::nanos;
use super::{BULK, Descriptor, P1, Result};
use crate::clock;

/// Until the first of `asked` is there: all that are there then.
pub(super) async fn poll(p1: &mut P1, asked: &[Subscription]) -> Result<Vec<Event>> {
    let began = Instant::now();
    let mut timers = Vec::new();
    for Subscription { userdata: _, u } in asked {
        timers.push(match u {
            SubscriptionU::Clock(clock) => {
                let absolute = clock.flags.contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME);
                Some(until(p1, clock.id, clock.timeout, absolute)?)
            }
            SubscriptionU::FdRead(_) | SubscriptionU::FdWrite(_) => None,
        });
    }
    let first = timers.iter().flatten().min().copied();
    // Without a clock nobody looks at it.
    let mut alarm = pin!(tokio::time::sleep(first.unwrap_or_default()));
    let told = poll_fn(|context| {
        // What is ready at once is told at once: the alarm is looked at only if nothing is.
        loop {
            let passed = began.elapsed();
            let told: Vec<_> = asked
                .iter()
                .zip(&timers)
                .filter_map(|(Subscription { userdata, u }, timer)| {
                    let (type_, error, fd_readwrite) = match (u, timer) {
                        (SubscriptionU::Clock(_), Some(left)) if *left <= passed => {
                            (Eventtype::Clock, Errno::Success, state(0, Eventrwflags::empty()))
                        }
                        (SubscriptionU::Clock(_), _) => return None,
                        (SubscriptionU::FdRead(read), _) => {
                            let (error, state) = readable(p1, read.file_descriptor, context)?;
                            (Eventtype::FdRead, error, state)
                        }
                        (SubscriptionU::FdWrite(write), _) => {
                            let (error, state) = writable(p1, write.file_descriptor, context)?;
                            (Eventtype::FdWrite, error, state)
                        }
                    };
                    Some(Event { userdata: *userdata, error, type_, fd_readwrite })
                })
                .collect();
            if !told.is_empty() {
                return Poll::Ready(told);
            }
            if first.is_none() || alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // It rings at the first time or after, never before; the clock that is read above may lag behind it.
            if began.elapsed() < first.unwrap_or_default() {
                alarm.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(1));
            }
        }
    });
    Ok(told.await)
}

/// How long until a clock's subscription is over.
fn until(p1: &P1, clock: Clockid, timeout: u64, absolute: bool) -> Result<Duration> {
    let now = match clock {
        Clockid::Realtime => nanos(clock::now()),
        Clockid::Monotonic => p1.monotonic(),
        Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => return Err(Errno::Inval.into()),
    };
    Ok(Duration::from_nanos(if absolute { timeout.saturating_sub(now) } else { timeout }))
}

const fn state(nbytes: u64, flags: Eventrwflags) -> EventFdReadwrite {
    EventFdReadwrite { nbytes, flags }
}

/// What is told of a descriptor that can be read, or never will be; `None`: not yet.
fn readable(p1: &mut P1, fd: Fd, context: &mut Context<'_>) -> Option<(Errno, EventFdReadwrite)> {
    let ready = |nbytes| Some((Errno::Success, state(nbytes, Eventrwflags::empty())));
    let hung = Some((Errno::Success, state(0, Eventrwflags::FD_READWRITE_HANGUP)));
    match p1.get(fd) {
        Ok(Descriptor::Input(Some(input))) => input.poll_ready(context).is_ready().then(|| ready(1))?,
        Ok(Descriptor::Input(None)) => hung,
        Ok(Descriptor::File(file)) => ready(file.node.stat().size.saturating_sub(file.position)),
        Ok(Descriptor::Listener { listener, .. }) => listener.poll_ready(context).is_ready().then(|| ready(1))?,
        Ok(Descriptor::Connection { reader, .. }) => {
            let is = reader.poll_ready(context).is_ready();
            let held = reader.held() as u64;
            is.then(|| if held > 0 { ready(held) } else { hung })?
        }
        Ok(Descriptor::Output { .. } | Descriptor::Directory { .. }) | Err(_) => {
            Some((Errno::Badf, state(0, Eventrwflags::empty())))
        }
    }
}

/// What is told of a descriptor that can be written, or never will be; `None`: not yet.
fn writable(p1: &mut P1, fd: Fd, context: &mut Context<'_>) -> Option<(Errno, EventFdReadwrite)> {
    let ready = Some((Errno::Success, state(u64::from(BULK), Eventrwflags::empty())));
    match p1.get(fd) {
        Ok(Descriptor::Output { .. } | Descriptor::File(_)) => ready,
        Ok(Descriptor::Connection { writer, .. }) => match writer.poll_ready(context) {
            Poll::Ready(Ok(())) => ready,
            Poll::Ready(Err(_)) => Some((Errno::Success, state(0, Eventrwflags::FD_READWRITE_HANGUP))),
            Poll::Pending => None,
        },
        Ok(Descriptor::Input(_) | Descriptor::Directory { .. } | Descriptor::Listener { .. }) | Err(_) => {
            Some((Errno::Badf, state(0, Eventrwflags::empty())))
        }
    }
}
