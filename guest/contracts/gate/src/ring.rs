//! What a micro-VM's shim and its host write into the memory they share: calls, results, readiness.
//!
//! Owns the layout of a block (one for each processor, one after the other), the closed list of calls and, for each, which results can be
//! true. Knows lengths and offsets only: no pointer crosses, and no place in the Keep is ever named by the host.
//!
//! Refuses: a call that is not exactly one of the list, on the host's side; a result outside the range of its call, on
//! the Keep's. Such a result is a lie and ends the Keep; an error number is an answer.
//!
//! Invariant: everything here is arithmetic on copied words. Whoever reads shared memory reads each word once.

/// Bytes of the control part of a block; the data part follows.
pub const CONTROL: usize = 4096;
/// Bytes of the data part of a block: the most that one call moves.
pub const DATA: usize = 64 * 1024;
/// Bytes of a block.
pub const BLOCK: usize = CONTROL + DATA;

/// Words of a call: six that the Keep writes, one that the host writes, one unused.
pub const WORDS: usize = 8;
/// The most calls behind one doorbell.
pub const CALLS: usize = 8;
/// The word that says how many calls wait, and the first word of the first call.
pub const COUNT: usize = 0;
/// See [`COUNT`].
pub const FIRST: usize = 8;
/// Which word of a call has its result.
pub const RESULT: usize = 6;

/// The vector by which the host makes a processor come into ring 0 ([`Kind::Kick`]).
pub const KICK: u8 = 32;

/// The port whose 32-bit write is the doorbell.
pub const DOORBELL: u16 = 0x0d0b;

/// The handles that are there from the start: standard streams, the platform, and the host's wish that the Keep ends.
pub const PLATFORM: u32 = 3;
/// See [`PLATFORM`]. A read of it does not wait.
pub const END: u32 = 4;
/// One more than the largest handle.
pub const HANDLES: u32 = 1024;
/// Bytes of a socket address as Linux lays it out, at most (`sockaddr_in6`).
pub const ADDRESS: u32 = 28;
/// The most bytes of a datagram: what UDP over IPv4 carries. Behind an address there is room for it in the data part.
pub const DATAGRAM: u32 = 65_507;
/// Bytes of an event in the data part: handle, then readiness, `u32` little-endian each.
pub const EVENT: u32 = 8;

/// What the Keep asks. Handles are chosen by the Keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Up to `length` bytes into the data part at `offset`. Result: how many.
    Read = 1,
    /// `length` bytes from the data part at `offset`. Result: how many were taken.
    Write = 2,
    /// The Keep is done; `a` is the status as `wait(2)` has it; if that is a signal, `b` is where. No result: the host ends
    /// it.
    Exit = 3,
    /// The Keep ends because something cannot be true: `a` says what, `b` where. No result.
    Fatal = 4,
    /// A socket of family `a` becomes `handle`; the bits of `b` are [`WAITLESS`] and [`DATAGRAMS`].
    Socket = 5,
    /// The address at `offset`.
    Bind = 6,
    /// With backlog `a`.
    Listen = 7,
    /// To the address at `offset`; with family 0 to nobody any more.
    Connect = 8,
    /// A connection becomes handle `a`; its peer's address goes to `offset`. Result: the address's length.
    Accept = 9,
    /// The socket's own address (`a` = 0) or its peer's (1) goes to `offset`. Result: its length.
    Name = 10,
    /// Option `a` (see [`crate::ring::option`]) becomes `b`.
    SetOption = 11,
    /// The socket's pending error. Result: its number, 0 for none.
    Error = 12,
    /// As `shutdown(2)` with `a`.
    Shutdown = 13,
    /// The handle is free again.
    Close = 14,
    /// A set of watched handles becomes `handle`.
    Epoll = 15,
    /// In the set `handle`, handle `a` is watched for `b` (events of `epoll_ctl(2)`; 0: no longer).
    Watch = 16,
    /// Waits `a` nanoseconds ([`FOREVER`]: without end) for the set `handle`; at most `length` bytes of events go to
    /// `offset`. Result: how many bytes.
    Wait = 17,
    /// What is ready now on `handle`, of the bits `a` (those of `poll(2)`), waiting at most `b` nanoseconds. Result: the
    /// bits.
    Poll = 18,
    /// What `handle` is. Result: one of [`crate::ring::file`].
    What = 19,
    /// As `lseek(2)` with offset `a` and origin `b`. Result: the new place.
    Seek = 20,
    /// Nanoseconds of the host's clock `a` (0: wall, 1: monotonic). Result: those.
    Clock = 21,
    /// Sleeps `a` nanoseconds; for none, others get their turn.
    Sleep = 22,
    /// A guest message at `offset` goes to the firmware; its answer takes its place. `length` is 4096. EAGAIN: the firmware
    /// was busy and did not take it.
    Firmware = 23,
    /// Processor `a` is to run, from the shim's first instruction on. It never ran before.
    Processor = 24,
    /// Sleeps until [`Kind::Wake`] names this processor, or named it since it last slept, for at most `a` nanoseconds
    /// ([`FOREVER`]: without end).
    Park = 25,
    /// Ends the sleep of processor `a`, in [`Kind::Park`] or in [`Kind::Wait`]; its next one, if it does not sleep.
    Wake = 26,
    /// The processors of the mask `a` are interrupted, if they run the program.
    Kick = 27,
    /// A datagram, to the address that comes before it. Result: how many bytes of it were taken.
    Send = 28,
    /// A datagram, behind the address that it came from. Result: how many bytes of it there are.
    Receive = 29,
    /// What option `a` is. Result: that.
    Option = 30,
}

/// A socket or connection whose calls do not wait.
pub const WAITLESS: u64 = 1;
/// A socket for UDP, not for TCP.
pub const DATAGRAMS: u64 = 2;

/// Options of [`Kind::SetOption`] and [`Kind::Option`].
pub mod option {
    /// `SO_REUSEADDR`.
    pub const REUSE_ADDRESS: u64 = 1;
    /// `TCP_NODELAY`.
    pub const NO_DELAY: u64 = 2;
    /// `IPV6_V6ONLY`.
    pub const V6_ONLY: u64 = 3;
    /// `SO_KEEPALIVE`.
    pub const KEEP_ALIVE: u64 = 4;
    /// `O_NONBLOCK`.
    pub const NON_BLOCKING: u64 = 5;
    /// `TCP_KEEPIDLE`, in seconds.
    pub const KEEP_IDLE: u64 = 6;
    /// `TCP_KEEPINTVL`, in seconds.
    pub const KEEP_INTERVAL: u64 = 7;
    /// `TCP_KEEPCNT`.
    pub const KEEP_COUNT: u64 = 8;
    /// `IP_TTL`.
    pub const V4_HOPS: u64 = 9;
    /// `IPV6_UNICAST_HOPS`.
    pub const V6_HOPS: u64 = 10;
    /// `SO_RCVBUF`.
    pub const RECEIVE_BUFFER: u64 = 11;
    /// `SO_SNDBUF`.
    pub const SEND_BUFFER: u64 = 12;
    /// The largest of these.
    pub const LAST: u64 = SEND_BUFFER;
}

/// Results of [`Kind::What`].
pub mod file {
    /// A pipe, a device or a socket.
    pub const STREAM: u64 = 0;
    /// A regular file.
    pub const REGULAR: u64 = 1;
    /// A terminal.
    pub const TERMINAL: u64 = 2;
}

/// What [`Kind::Fatal`] says in `a`, from 1 on, for people.
pub const FATAL: [&str; 9] = [
    "the host's answer to a call cannot be true",
    "what the host said at the start cannot be true",
    "the processor gives no random numbers",
    "its memory is full",
    "a fault in ring 0, a defect: report it",
    "a panic, a defect: report it",
    "the program made a system call that no Keep answers",
    "the brief is not the one it was launched with",
    "the host does not carry its messages to the firmware as they are",
];

/// Of these, the one that more memory helps against.
pub const NO_MEMORY: u64 = 4;
/// Of these, the one whose `b` is the number of a system call.
pub const NO_CALL: u64 = 7;

/// A time without end.
pub const FOREVER: u64 = u64::MAX;

/// The largest error number of Linux.
const LAST_ERROR: i64 = 4095;

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What is asked.
    pub kind: Kind,
    /// Of which handle.
    pub handle: u32,
    /// Where in the data part.
    pub offset: u32,
    /// How many bytes of it.
    pub length: u32,
    /// By kind.
    pub a: u64,
    /// By kind.
    pub b: u64,
}

/// A result that cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie;

/// A call that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Keep made a call of the ring that is none: {0:#x?}")]
pub struct NoCall(pub [u64; 6]);

impl Call {
    /// Whether the host answers without waiting for anybody.
    #[must_use]
    pub const fn is_quick(&self) -> bool {
        match self.kind {
            // Streams and the platform are as slow as whoever is at their other end.
            Kind::Read | Kind::Write => self.handle > PLATFORM,
            Kind::Exit
            | Kind::Fatal
            | Kind::Wait
            | Kind::Poll
            | Kind::Accept
            | Kind::Connect
            | Kind::Sleep
            | Kind::Park
            | Kind::Processor
            | Kind::Firmware
            | Kind::Send
            | Kind::Receive => false,
            _ => true,
        }
    }

    /// A call with nothing but a kind and a handle.
    #[must_use]
    pub const fn new(kind: Kind, handle: u32) -> Self {
        Self { kind, handle, offset: 0, length: 0, a: 0, b: 0 }
    }

    /// The words to write.
    #[must_use]
    pub fn encode(&self) -> [u64; 6] {
        let place = u64::from(self.offset) | u64::from(self.length) << 32;
        [self.kind as u64, u64::from(self.handle), place, self.a, self.b, 0]
    }

    /// Reads words that were copied out of shared memory.
    ///
    /// # Errors
    /// [`NoCall`] if they are not exactly one call, with its bytes within the data part.
    pub fn decode(words: [u64; 6]) -> Result<Self, NoCall> {
        let [kind, handle, place, a, b, unused] = words;
        let no = NoCall(words);
        let kind = KINDS.iter().copied().find(|known| *known as u64 == kind).ok_or(no)?;
        let handle = u32::try_from(handle).ok().filter(|handle| *handle < HANDLES).ok_or(no)?;
        let (offset, length) = (place & 0xffff_ffff, place >> 32);
        if offset.saturating_add(length) > DATA as u64 || unused != 0 {
            return Err(no);
        }
        let half = |word: u64| u32::try_from(word).map_err(|_| no);
        Ok(Self { kind, handle, offset: half(offset)?, length: half(length)?, a, b })
    }

    /// Whether `result` can be true of this call: its value, or an error number.
    ///
    /// # Errors
    /// [`Lie`] if it can not.
    pub fn check(&self, result: u64) -> Result<Result<u64, u16>, Lie> {
        let signed = result.cast_signed();
        if (-LAST_ERROR..0).contains(&signed) {
            return u16::try_from(signed.unsigned_abs()).map(Err).map_err(|_| Lie);
        }
        let most = match self.kind {
            Kind::Read | Kind::Write | Kind::Wait => u64::from(self.length),
            Kind::Accept | Kind::Name => u64::from(ADDRESS),
            Kind::Error => LAST_ERROR.unsigned_abs(),
            Kind::Poll => self.a | u64::from(ALWAYS),
            Kind::What => file::TERMINAL,
            Kind::Seek | Kind::Clock => i64::MAX.unsigned_abs(),
            Kind::Send | Kind::Receive => u64::from(self.length.saturating_sub(ADDRESS)),
            Kind::Option => u64::from(i32::MAX.unsigned_abs()),
            Kind::Socket
            | Kind::Bind
            | Kind::Listen
            | Kind::Connect
            | Kind::SetOption
            | Kind::Shutdown
            | Kind::Close
            | Kind::Epoll
            | Kind::Watch
            | Kind::Sleep
            | Kind::Firmware
            | Kind::Processor
            | Kind::Park
            | Kind::Wake
            | Kind::Kick => 0,
            Kind::Exit | Kind::Fatal => return Err(Lie),
        };
        let fits = match self.kind {
            Kind::Poll => result & !most == 0,
            Kind::Wait => result <= most && result.is_multiple_of(u64::from(EVENT)),
            _ => result <= most,
        };
        if fits { Ok(Ok(result)) } else { Err(Lie) }
    }
}

/// Readiness that is told whether or not it was asked for: error, hang-up.
pub const ALWAYS: u32 = 0x18;

/// All kinds.
pub const KINDS: [Kind; 30] = [
    Kind::Read,
    Kind::Write,
    Kind::Exit,
    Kind::Fatal,
    Kind::Socket,
    Kind::Bind,
    Kind::Listen,
    Kind::Connect,
    Kind::Accept,
    Kind::Name,
    Kind::SetOption,
    Kind::Error,
    Kind::Shutdown,
    Kind::Close,
    Kind::Epoll,
    Kind::Watch,
    Kind::Wait,
    Kind::Poll,
    Kind::What,
    Kind::Seek,
    Kind::Clock,
    Kind::Sleep,
    Kind::Firmware,
    Kind::Processor,
    Kind::Park,
    Kind::Wake,
    Kind::Kick,
    Kind::Send,
    Kind::Receive,
    Kind::Option,
];

// What the layout promises, checked when it is compiled.
const _: () = {
    assert!(FIRST > COUNT && RESULT < WORDS);
    assert!(8 * (FIRST + CALLS * WORDS) <= 8 * crate::plan::start::MEMORY);
    assert!(8 * crate::plan::start::PROCESSORS < CONTROL);
    // One last-level table maps all blocks; one word has a bit for each processor.
    assert!(crate::plan::PROCESSORS * BLOCK <= 512 * 4096 && crate::plan::PROCESSORS <= 64);
    // A datagram is never moved in parts.
    assert!(DATA.is_multiple_of(4096) && ((ADDRESS + DATAGRAM) as usize) < DATA);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn call(kind: Kind) -> Call {
        Call { kind, handle: 7, offset: 24, length: 64, a: 0x41, b: 3 }
    }

    #[test]
    fn a_call_is_read_as_it_was_written() {
        for kind in KINDS {
            assert_eq!(Call::decode(call(kind).encode()), Ok(call(kind)));
        }
    }

    #[test]
    fn kinds_are_numbered_without_a_gap() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index + 1);
        }
    }

    /// Every word that is not part of a call is refused, and every place outside of the data part.
    #[test]
    fn what_is_no_call_is_refused() {
        let good = call(Kind::Read).encode();
        for kind in (0..100).chain([1 << 32 | 1, u64::MAX]) {
            let words = [kind, good[1], good[2], good[3], good[4], good[5]];
            assert_eq!(Call::decode(words).is_ok(), (1..=KINDS.len() as u64).contains(&kind), "{kind:#x}");
        }
        for handle in [u64::from(HANDLES), 1 << 32, u64::MAX] {
            assert!(Call::decode([good[0], handle, good[2], 0, 0, 0]).is_err(), "{handle:#x}");
        }
        let place = |offset: u64, length: u64| Call::decode([1, 0, offset | length << 32, 0, 0, 0]).is_ok();
        let data = DATA as u64;
        assert!(place(0, data) && place(data, 0) && place(data - 1, 1));
        for (offset, length) in [(0, data + 1), (data, 1), (data + 1, 0), (0xffff_ffff, 1), (1, 0xffff_ffff)] {
            assert!(!place(offset, length), "{offset:#x} {length:#x}");
        }
        assert!(Call::decode([good[0], good[1], good[2], good[3], good[4], 1]).is_err());
    }

    /// The largest value that can be true of each kind; `None` where nothing can.
    fn largest(kind: Kind) -> Option<u64> {
        match kind {
            Kind::Read | Kind::Write | Kind::Wait => Some(64),
            Kind::Accept | Kind::Name => Some(28),
            Kind::Error => Some(4095),
            // The bits asked for and those that are always told.
            Kind::Poll => Some(0x59),
            Kind::What => Some(2),
            Kind::Seek | Kind::Clock => Some(i64::MAX as u64),
            // Behind an address of 28 bytes.
            Kind::Send | Kind::Receive => Some(36),
            Kind::Option => Some(i32::MAX as u64),
            Kind::Exit | Kind::Fatal => None,
            _ => Some(0),
        }
    }

    #[test]
    fn results_are_values_in_their_range_errors_or_lies() {
        for kind in KINDS {
            let call = call(kind);
            for error in 1..=4095_u16 {
                assert_eq!(call.check(0_u64.wrapping_sub(u64::from(error))), Ok(Err(error)));
            }
            for lie in [0_u64.wrapping_sub(4096), 1 << 63, u64::MAX - 5000] {
                assert_eq!(call.check(lie), Err(Lie), "{kind:?} {lie:#x}");
            }
            let Some(most) = largest(kind) else {
                assert_eq!(call.check(0), Err(Lie));
                continue;
            };
            assert_eq!(call.check(0), Ok(Ok(0)), "{kind:?}");
            assert_eq!(call.check(most), Ok(Ok(most)), "{kind:?}");
            assert_eq!(call.check(most + 1), Err(Lie), "{kind:?}");
        }
        for kind in [Kind::Send, Kind::Receive] {
            let short = Call { length: 27, ..call(kind) };
            assert_eq!((short.check(0), short.check(1)), (Ok(Ok(0)), Err(Lie)), "not even an address");
        }
        assert_eq!(call(Kind::Wait).check(7), Err(Lie), "half an event");
        assert_eq!(call(Kind::Poll).check(2), Err(Lie), "a bit nobody asked for");
    }
}
