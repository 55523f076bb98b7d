//! The host's answers to the calls of the ring: bytes, sockets, readiness, time.
//!
//! Owns every descriptor a Keep uses. A Keep is hostile to its host too: handles are looked up, never trusted; it reaches
//! the network and its three streams, and nothing else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use gate::ring::{ADDRESS, Call, EVENT, FOREVER, HANDLES, Kind, PLATFORM, file, option};
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::firmware::Link;
use crate::sys::memory::Memory;

pub(super) struct Answers<'a> {
    shared: &'a Memory,
    handles: Vec<Option<OwnedFd>>,
    firmware: Option<Link>,
}

type Answer = Result<u64, Errno>;

impl<'a> Answers<'a> {
    /// With standard streams and this platform.
    pub(super) fn new(shared: &'a Memory, platform: BorrowedFd<'_>, firmware: Option<Link>) -> std::io::Result<Self> {
        let mut handles: Vec<Option<OwnedFd>> = Vec::new();
        handles.push(Some(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 5)?));
        handles.push(Some(rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 5)?));
        handles.push(Some(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 5)?));
        debug_assert_eq!(handles.len(), PLATFORM as usize);
        handles.push(Some(rustix::io::fcntl_dupfd_cloexec(platform, 5)?));
        handles.resize_with(HANDLES as usize, || None);
        Ok(Self { shared, handles, firmware })
    }

    fn held(&self, handle: u64) -> Result<BorrowedFd<'_>, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::BADF)?;
        self.handles.get(index).and_then(Option::as_ref).map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn keep(&mut self, handle: u64, fd: OwnedFd) -> Answer {
        let index = usize::try_from(handle).map_err(|_| Errno::BADF)?;
        *self.handles.get_mut(index).filter(|place| place.is_none()).ok_or(Errno::BADF)? = Some(fd);
        Ok(0)
    }

    /// Does what is asked.
    pub(super) fn answer(&mut self, call: &Call) -> Answer {
        let (handle, a, b) = (u64::from(call.handle), call.a, call.b);
        match call.kind {
            Kind::Read => self.shared.read(self.held(handle)?, call.offset, call.length),
            Kind::Write => self.shared.write(self.held(handle)?, call.offset, call.length),
            Kind::Socket => {
                let family = match a {
                    2 => AddressFamily::INET,
                    10 => AddressFamily::INET6,
                    _ => return Err(Errno::AFNOSUPPORT),
                };
                let socket = net::socket_with(family, SocketType::STREAM, flags(b), None)?;
                self.keep(handle, socket)
            }
            Kind::Bind => net::bind(self.held(handle)?, &self.address(call)?).map(|()| 0),
            Kind::Connect => net::connect(self.held(handle)?, &self.address(call)?).map(|()| 0),
            Kind::Listen => net::listen(self.held(handle)?, i32::try_from(a).unwrap_or(128)).map(|()| 0),
            Kind::Accept => {
                let (socket, peer) = net::acceptfrom_with(self.held(handle)?, flags(b))?;
                self.keep(a, socket)?;
                self.tell(call, peer)
            }
            Kind::Name => {
                let socket = self.held(handle)?;
                let address = if a == 0 { net::getsockname(socket)?.into() } else { net::getpeername(socket)? };
                self.tell(call, address)
            }
            Kind::SetOption => {
                let (fd, on) = (self.held(handle)?, b != 0);
                match a {
                    option::REUSE_ADDRESS => sockopt::set_socket_reuseaddr(fd, on)?,
                    option::NO_DELAY => sockopt::set_tcp_nodelay(fd, on)?,
                    option::V6_ONLY => sockopt::set_ipv6_v6only(fd, on)?,
                    option::KEEP_ALIVE => sockopt::set_socket_keepalive(fd, on)?,
                    option::NON_BLOCKING => rustix::io::ioctl_fionbio(fd, on)?,
                    _ => return Err(Errno::NOPROTOOPT),
                }
                Ok(0)
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
                self.handles.get_mut(index).and_then(Option::take).map(|_| 0).ok_or(Errno::BADF)
            }
            Kind::Epoll => self.keep(handle, epoll::create(epoll::CreateFlags::CLOEXEC)?),
            Kind::Watch => {
                let (set, fd) = (self.held(handle)?, self.held(a)?);
                let events = epoll::EventFlags::from_bits_truncate(u32::try_from(b).map_err(|_| Errno::INVAL)?);
                if b == 0 {
                    return epoll::delete(set, fd).map(|()| 0);
                }
                let data = epoll::EventData::new_u64(a);
                match epoll::modify(set, fd, data, events) {
                    Err(Errno::NOENT) => epoll::add(set, fd, data, events).map(|()| 0),
                    done => done.map(|()| 0),
                }
            }
            Kind::Wait => {
                let most = (call.length / EVENT) as usize;
                let mut events = Vec::with_capacity(most);
                let time = time(a);
                let set = self.held(handle)?;
                match epoll::wait(set, rustix::buffer::spare_capacity(&mut events), time.as_ref()) {
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
                let mut at = call.offset;
                for event in &events {
                    let (data, flags) = (event.data, event.flags);
                    let word = (data.u64() & 0xffff_ffff) | u64::from(flags.bits()) << 32;
                    self.shared.put_data(at, &word.to_le_bytes());
                    at += EVENT;
                }
                Ok(events.len() as u64 * u64::from(EVENT))
            }
            Kind::Poll => {
                let bits = PollFlags::from_bits_truncate(u16::try_from(a & 0xffff).unwrap_or(0));
                let mut fds = [PollFd::from_borrowed_fd(self.held(handle)?, bits)];
                rustix::event::poll(&mut fds, time(b).as_ref())?;
                Ok(u64::from(fds[0].revents().bits()))
            }
            Kind::What => {
                let fd = self.held(handle)?;
                if rustix::termios::isatty(fd) {
                    return Ok(file::TERMINAL);
                }
                let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
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
            Kind::Sleep => {
                if a == FOREVER {
                    loop {
                        std::thread::park();
                    }
                }
                std::thread::sleep(Duration::from_nanos(a));
                Ok(0)
            }
            Kind::Firmware => {
                let mut message = [0; 4096];
                self.shared.get_data(call.offset, &mut message);
                let firmware = self.firmware.as_mut().ok_or(Errno::NODEV)?;
                let answer = firmware.request(&message).map_err(|_| Errno::IO)?;
                self.shared.put_data(call.offset, &answer);
                Ok(0)
            }
            Kind::Exit | Kind::Fatal => Err(Errno::INVAL),
        }
    }

    /// The address in the data part.
    fn address(&self, call: &Call) -> Result<std::net::SocketAddr, Errno> {
        let mut bytes = [0; ADDRESS as usize];
        self.shared.get_data(call.offset, &mut bytes);
        let [f0, f1, p0, p1, rest @ ..] = bytes;
        let port = u16::from_be_bytes([p0, p1]);
        match (u16::from_le_bytes([f0, f1]), call.length) {
            (2, 8..) => {
                let [a, b, c, d, ..] = rest;
                Ok(([a, b, c, d], port).into())
            }
            (10, 24..) => {
                let address: [u8; 16] = rest.get(4..20).and_then(|part| part.try_into().ok()).ok_or(Errno::INVAL)?;
                Ok((address, port).into())
            }
            _ => Err(Errno::AFNOSUPPORT),
        }
    }

    /// Writes an address into the data part.
    fn tell(&self, call: &Call, address: Option<net::SocketAddrAny>) -> Answer {
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
        self.shared.put_data(call.offset, &bytes[..length]);
        Ok(length as u64)
    }
}

fn flags(waitless: u64) -> SocketFlags {
    SocketFlags::CLOEXEC | if waitless == 0 { SocketFlags::empty() } else { SocketFlags::NONBLOCK }
}

fn time(nanos: u64) -> Option<Timespec> {
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    (nanos != FOREVER).then(|| Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(rest).unwrap_or(0),
    })
}
