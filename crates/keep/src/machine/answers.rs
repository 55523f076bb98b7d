//! The host's answers to the calls of the ring: bytes, sockets, readiness, time.
//!
//! Owns every descriptor a Keep uses, and the sleep of its processors. A Keep is hostile to its host too: handles are looked
//! up, never trusted; it reaches the network and its three streams, and nothing else.
//!
//! Invariant: nothing is locked while a call waits; a handle that is closed meanwhile stays open for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gate::plan::PROCESSORS;
use gate::ring::{ADDRESS, Call, DATAGRAMS, END, EVENT, FOREVER, HANDLES, Kind, PLATFORM, WAITLESS, file, option};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::firmware::Link;
use crate::sys::memory::Block;

pub(super) struct Answers {
    handles: Mutex<Vec<Option<Arc<OwnedFd>>>>,
    /// By processor: an event counter that ends its sleep.
    sleepers: Vec<OwnedFd>,
    /// It takes one message at a time.
    firmware: Option<Mutex<Link>>,
}

type Answer = Result<u64, Errno>;

impl Answers {
    /// With standard streams, this platform, and the only handle of the host's wish for an end: who writes there learns
    /// whether the Keep still has it.
    pub(super) fn new(platform: BorrowedFd<'_>, end: OwnedFd, firmware: Option<Link>) -> std::io::Result<Self> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut handles = Vec::new();
        for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), platform] {
            handles.push(Some(Arc::new(rustix::io::fcntl_dupfd_cloexec(fd, 5)?)));
        }
        handles.push(Some(Arc::new(end)));
        debug_assert_eq!(handles.len(), END as usize + 1);
        handles.resize_with(HANDLES as usize, || None);
        let sleeper = || rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let sleepers = (0..PROCESSORS).map(|_| sleeper()).collect::<Result<_, _>>()?;
        Ok(Self { handles: Mutex::new(handles), sleepers, firmware: firmware.map(Mutex::new) })
    }

    fn held(&self, handle: u64) -> Result<Arc<OwnedFd>, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::BADF)?;
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.get(index).cloned().flatten().ok_or(Errno::BADF)
    }

    fn keep(&self, handle: u64, fd: OwnedFd) -> Answer {
        let index = usize::try_from(handle).map_err(|_| Errno::BADF)?;
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        *handles.get_mut(index).filter(|place| place.is_none()).ok_or(Errno::BADF)? = Some(Arc::new(fd));
        Ok(0)
    }

    /// Ends the sleep of a processor.
    pub(super) fn wake(&self, processor: u64) -> Answer {
        let sleeper = usize::try_from(processor).ok().and_then(|index| self.sleepers.get(index)).ok_or(Errno::INVAL)?;
        match rustix::io::write(sleeper, &1u64.to_ne_bytes()) {
            // It was woken so often and never slept: it will not sleep now.
            Ok(_) | Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Waits until the processor is woken, or `or` is ready, or it is that time; whether it was woken.
    fn sleep(&self, processor: usize, or: Option<BorrowedFd<'_>>, until: &Until) -> Result<bool, Errno> {
        let sleeper = self.sleepers.get(processor).ok_or(Errno::INVAL)?;
        let first = PollFd::new(sleeper, PollFlags::IN);
        match or {
            Some(or) => until.poll(&mut [first, PollFd::from_borrowed_fd(or, PollFlags::IN)])?,
            None => until.poll(&mut [first])?,
        };
        Ok(rustix::io::read(sleeper, &mut [0u8; 8]).is_ok())
    }

    /// Does what is asked.
    pub(super) fn answer(&self, processor: usize, block: Block<'_>, call: &Call) -> Answer {
        let (handle, a, b) = (u64::from(call.handle), call.a, call.b);
        match call.kind {
            Kind::Read => block.read(self.held(handle)?.as_fd(), call.offset, call.length),
            Kind::Write => block.write(self.held(handle)?.as_fd(), call.offset, call.length),
            Kind::Socket => {
                let family = match a {
                    2 => AddressFamily::INET,
                    10 => AddressFamily::INET6,
                    _ => return Err(Errno::AFNOSUPPORT),
                };
                let kind = if b & DATAGRAMS == 0 { SocketType::STREAM } else { SocketType::DGRAM };
                let socket = net::socket_with(family, kind, flags(b), None)?;
                self.keep(handle, socket)
            }
            Kind::Bind => net::bind(self.held(handle)?, &somewhere(block, call)?).map(|()| 0),
            Kind::Connect => {
                let fd = self.held(handle)?;
                match address(block, call)? {
                    Some(to) => net::connect(fd, &to)?,
                    None => net::connect_unspec(fd)?,
                }
                Ok(0)
            }
            Kind::Send => {
                let (fd, to) = (self.held(handle)?, somewhere(block, call)?);
                let mut bytes = datagram(call)?;
                block.get_data(call.offset + ADDRESS, &mut bytes);
                net::sendto(fd, &bytes, SendFlags::NOSIGNAL, &to).map(|count| count as u64)
            }
            Kind::Receive => {
                let (fd, mut bytes) = (self.held(handle)?, datagram(call)?);
                let (count, _, from) = net::recvfrom(fd, &mut bytes[..], RecvFlags::empty())?;
                tell(block, call, from)?;
                block.put_data(call.offset + ADDRESS, &bytes[..count]);
                Ok(count as u64)
            }
            Kind::Listen => net::listen(self.held(handle)?, i32::try_from(a).unwrap_or(128)).map(|()| 0),
            Kind::Accept => {
                let (socket, peer) = net::acceptfrom_with(self.held(handle)?, flags(b))?;
                self.keep(a, socket)?;
                tell(block, call, peer)
            }
            Kind::Name => {
                let socket = self.held(handle)?;
                let address = if a == 0 { net::getsockname(&*socket)?.into() } else { net::getpeername(&*socket)? };
                tell(block, call, address)
            }
            Kind::SetOption => {
                let (fd, value) = (self.held(handle)?, u32::try_from(b).map_err(|_| Errno::INVAL)?);
                let (on, seconds) = (value != 0, Duration::from_secs(value.into()));
                match a {
                    option::REUSE_ADDRESS => sockopt::set_socket_reuseaddr(&*fd, on)?,
                    option::NO_DELAY => sockopt::set_tcp_nodelay(&*fd, on)?,
                    option::V6_ONLY => sockopt::set_ipv6_v6only(&*fd, on)?,
                    option::KEEP_ALIVE => sockopt::set_socket_keepalive(&*fd, on)?,
                    option::NON_BLOCKING => rustix::io::ioctl_fionbio(&*fd, on)?,
                    option::KEEP_IDLE => sockopt::set_tcp_keepidle(&*fd, seconds)?,
                    option::KEEP_INTERVAL => sockopt::set_tcp_keepintvl(&*fd, seconds)?,
                    option::KEEP_COUNT => sockopt::set_tcp_keepcnt(&*fd, value)?,
                    option::V4_HOPS => sockopt::set_ip_ttl(&*fd, value)?,
                    option::V6_HOPS => {
                        sockopt::set_ipv6_unicast_hops(&*fd, Some(u8::try_from(value).map_err(|_| Errno::INVAL)?))?;
                    }
                    option::RECEIVE_BUFFER => sockopt::set_socket_recv_buffer_size(&*fd, value as usize)?,
                    option::SEND_BUFFER => sockopt::set_socket_send_buffer_size(&*fd, value as usize)?,
                    _ => return Err(Errno::NOPROTOOPT),
                }
                Ok(0)
            }
            Kind::Option => {
                let fd = self.held(handle)?;
                Ok(match a {
                    option::REUSE_ADDRESS => sockopt::socket_reuseaddr(&*fd)?.into(),
                    option::NO_DELAY => sockopt::tcp_nodelay(&*fd)?.into(),
                    option::V6_ONLY => sockopt::ipv6_v6only(&*fd)?.into(),
                    option::KEEP_ALIVE => sockopt::socket_keepalive(&*fd)?.into(),
                    option::KEEP_IDLE => sockopt::tcp_keepidle(&*fd)?.as_secs(),
                    option::KEEP_INTERVAL => sockopt::tcp_keepintvl(&*fd)?.as_secs(),
                    option::KEEP_COUNT => sockopt::tcp_keepcnt(&*fd)?.into(),
                    option::V4_HOPS => sockopt::ip_ttl(&*fd)?.into(),
                    option::V6_HOPS => sockopt::ipv6_unicast_hops(&*fd)?.into(),
                    option::RECEIVE_BUFFER => sockopt::socket_recv_buffer_size(&*fd)? as u64,
                    option::SEND_BUFFER => sockopt::socket_send_buffer_size(&*fd)? as u64,
                    _ => return Err(Errno::NOPROTOOPT),
                })
            }
            Kind::Error => {
                let error = sockopt::socket_error(self.held(handle)?)?;
                Ok(error.err().map_or(0, |error| u64::try_from(error.raw_os_error()).unwrap_or(0)))
            }
            Kind::Shutdown => {
                let how = match a {
                    0 => net::Shutdown::Read,
                    1 => net::Shutdown::Write,
                    2 => net::Shutdown::Both,
                    _ => return Err(Errno::INVAL),
                };
                net::shutdown(self.held(handle)?, how).map(|()| 0)
            }
            Kind::Close => {
                if handle <= u64::from(PLATFORM) {
                    return Ok(0);
                }
                let index = usize::try_from(handle).map_err(|_| Errno::BADF)?;
                let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                handles.get_mut(index).and_then(Option::take).map(|_| 0).ok_or(Errno::BADF)
            }
            Kind::Epoll => self.keep(handle, epoll::create(epoll::CreateFlags::CLOEXEC)?),
            Kind::Watch => {
                let (set, fd) = (self.held(handle)?, self.held(a)?);
                let events = epoll::EventFlags::from_bits_truncate(u32::try_from(b).map_err(|_| Errno::INVAL)?);
                if b == 0 {
                    return epoll::delete(&*set, &*fd).map(|()| 0);
                }
                let data = epoll::EventData::new_u64(a);
                match epoll::modify(&*set, &*fd, data, events) {
                    Err(Errno::NOENT) => epoll::add(&*set, &*fd, data, events).map(|()| 0),
                    done => done.map(|()| 0),
                }
            }
            Kind::Wait => {
                let most = (call.length / EVENT) as usize;
                if most == 0 {
                    return Err(Errno::INVAL);
                }
                let (set, until) = (self.held(handle)?, Until::after(a));
                let mut events: Vec<epoll::Event> = Vec::with_capacity(most);
                loop {
                    epoll::wait(&*set, rustix::buffer::spare_capacity(&mut events), Some(&NOW))?;
                    // What was ready may have gone to another processor meanwhile.
                    if !events.is_empty() || until.over() || self.sleep(processor, Some(set.as_fd()), &until)? {
                        break;
                    }
                }
                let mut at = call.offset;
                for event in &events {
                    let (data, flags) = (event.data, event.flags);
                    let word = (data.u64() & 0xffff_ffff) | u64::from(flags.bits()) << 32;
                    block.put_data(at, &word.to_le_bytes());
                    at += EVENT;
                }
                Ok(events.len() as u64 * u64::from(EVENT))
            }
            Kind::Poll => {
                let bits = PollFlags::from_bits_truncate(u16::try_from(a & 0xffff).unwrap_or(0));
                let fd = self.held(handle)?;
                let mut fds = [PollFd::new(&*fd, bits)];
                Until::after(b).poll(&mut fds)?;
                Ok(u64::from(fds[0].revents().bits()))
            }
            Kind::What => {
                let fd = self.held(handle)?;
                if rustix::termios::isatty(&*fd) {
                    return Ok(file::TERMINAL);
                }
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&*fd)?.st_mode);
                Ok(if kind == FileType::RegularFile { file::REGULAR } else { file::STREAM })
            }
            Kind::Seek => {
                let fd = self.held(handle)?;
                let to = match b {
                    0 => SeekFrom::Start(a),
                    1 => SeekFrom::Current(a.cast_signed()),
                    2 => SeekFrom::End(a.cast_signed()),
                    _ => return Err(Errno::INVAL),
                };
                rustix::fs::seek(fd, to)
            }
            Kind::Clock => {
                let which = if a == 0 { rustix::time::ClockId::Realtime } else { rustix::time::ClockId::Monotonic };
                let now = rustix::time::clock_gettime(which);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                Ok(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0)))
            }
            Kind::Sleep if a == 0 => {
                std::thread::yield_now();
                Ok(0)
            }
            Kind::Sleep => {
                if a == FOREVER {
                    loop {
                        std::thread::park();
                    }
                }
                std::thread::sleep(Duration::from_nanos(a));
                Ok(0)
            }
            Kind::Park => self.sleep(processor, None, &Until::after(a)).map(|_| 0),
            Kind::Wake => self.wake(a),
            Kind::Firmware => {
                let mut message = [0; 4096];
                block.get_data(call.offset, &mut message);
                let firmware = self.firmware.as_ref().ok_or(Errno::NODEV)?;
                let mut firmware = firmware.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = firmware.request(&message).map_err(|_| Errno::IO)?;
                block.put_data(call.offset, &answer);
                Ok(0)
            }
            Kind::Exit | Kind::Fatal | Kind::Processor | Kind::Kick => Err(Errno::INVAL),
        }
    }
}

/// Room for what comes behind an address.
fn datagram(call: &Call) -> Result<Vec<u8>, Errno> {
    Ok(vec![0; call.length.checked_sub(ADDRESS).ok_or(Errno::INVAL)? as usize])
}

/// The address in the data part, which is one.
fn somewhere(block: Block<'_>, call: &Call) -> Result<std::net::SocketAddr, Errno> {
    address(block, call)?.ok_or(Errno::AFNOSUPPORT)
}

/// The address in the data part; `None` for nobody's.
fn address(block: Block<'_>, call: &Call) -> Result<Option<std::net::SocketAddr>, Errno> {
    let mut bytes = [0; ADDRESS as usize];
    block.get_data(call.offset, &mut bytes);
    let [f0, f1, p0, p1, rest @ ..] = bytes;
    let port = u16::from_be_bytes([p0, p1]);
    match (u16::from_le_bytes([f0, f1]), call.length) {
        (0, 8..) => Ok(None),
        (2, 8..) => {
            let [a, b, c, d, ..] = rest;
            Ok(Some(([a, b, c, d], port).into()))
        }
        (10, 24..) => {
            let address: [u8; 16] = rest.get(4..20).and_then(|part| part.try_into().ok()).ok_or(Errno::INVAL)?;
            Ok(Some((address, port).into()))
        }
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// Writes an address into the data part.
fn tell(block: Block<'_>, call: &Call, address: Option<net::SocketAddrAny>) -> Answer {
    let address = address.and_then(|address| std::net::SocketAddr::try_from(address).ok()).ok_or(Errno::INVAL)?;
    let mut bytes = [0; ADDRESS as usize];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    let length = match address {
        std::net::SocketAddr::V4(address) => {
            bytes[0] = 2;
            bytes[4..8].copy_from_slice(&address.ip().octets());
            16
        }
        std::net::SocketAddr::V6(address) => {
            bytes[0] = 10;
            bytes[8..24].copy_from_slice(&address.ip().octets());
            28
        }
    };
    block.put_data(call.offset, &bytes[..length]);
    Ok(length as u64)
}

fn flags(bits: u64) -> SocketFlags {
    SocketFlags::CLOEXEC | if bits & WAITLESS == 0 { SocketFlags::empty() } else { SocketFlags::NONBLOCK }
}

/// Until when something waits.
struct Until(Option<Instant>);

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Until {
    /// So many nanoseconds from now, or for ever.
    fn after(nanos: u64) -> Self {
        Self(if nanos == FOREVER { None } else { Instant::now().checked_add(Duration::from_nanos(nanos)) })
    }

    fn left(&self) -> Option<Duration> {
        self.0.map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Waits for one of these. A signal, which is for the processor and not for its call, does not end that.
    fn poll(&self, fds: &mut [PollFd<'_>]) -> Result<usize, Errno> {
        loop {
            let left = self.left().map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            match rustix::event::poll(fds, left.as_ref()) {
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }
}
