//! The TCP socket of `wasi:sockets`, of 0.2 and 0.3 alike: made, bound, then either listening or connected.
//!
//! Owns the order of these states. Refuses addresses that cannot be meant; whom one may bind to or connect
//! to is [`super::Network`]'s to say.
//!
//! Source: WebAssembly/WASI, `wasi:sockets` 0.2 and 0.3, `tcp-socket`.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};
use wasmtime_wasi::sockets::ErrorCode;

use super::options::{self, Choice};
use super::{BACKLOG, Listener, Reader, Service, Shared, Stream, Writer};

type Result<T> = std::result::Result<T, ErrorCode>;

/// A socket.
pub(crate) struct Socket {
    network: Shared,
    v6: bool,
    backlog: u32,
    state: State,
}

#[expect(clippy::large_enum_variant, reason = "each socket has one, and most are connected")]
enum State {
    Fresh(TcpSocket),
    /// With the listener of the manifest that it is bound for, or at any port.
    Bound {
        socket: TcpSocket,
        service: Option<Arc<Service>>,
        any: bool,
    },
    Connecting(Pin<Box<dyn Future<Output = std::io::Result<Stream>> + Send>>),
    Connected {
        stream: Stream,
        reader: Option<Reader>,
        writer: Option<Writer>,
    },
    Listening(Arc<TcpListener>),
    Closed(ErrorCode),
}

impl Socket {
    pub(crate) fn new(network: &Shared, v6: bool) -> Result<Self> {
        let socket = make(v6)?;
        Ok(Self { network: Arc::clone(network), v6, backlog: BACKLOG, state: State::Fresh(socket) })
    }

    /// One that was accepted.
    pub(crate) fn accepted(network: &Shared, stream: Stream) -> Self {
        let v6 = stream.local.is_ipv6();
        Self { network: Arc::clone(network), v6, backlog: BACKLOG, state: State::connected(stream) }
    }

    pub(crate) fn network(&self) -> &Shared {
        &self.network
    }

    pub(crate) const fn v6(&self) -> bool {
        self.v6
    }

    /// Binds it: for a listener of the manifest where the host wants that, else as it says.
    pub(crate) fn bind(&mut self, to: SocketAddr) -> Result<()> {
        let State::Fresh(_) = &self.state else { return Err(ErrorCode::InvalidState) };
        if !fits(self.v6, to.ip()) || is_group(to.ip()) {
            return Err(ErrorCode::InvalidArgument);
        }
        // Of a port that is not chosen it shows only later whether it is to listen or to connect.
        let service = if to.port() == 0 { None } else { self.network.service(to.port())? };
        self.bind_for(to, service, to.port() == 0)
    }

    fn bind_for(&mut self, to: SocketAddr, service: Option<Arc<Service>>, any: bool) -> Result<()> {
        let State::Fresh(socket) = std::mem::replace(&mut self.state, State::Closed(ErrorCode::Other)) else {
            return Err(ErrorCode::InvalidState);
        };
        let wish = match &service {
            Some(service) => self.network.wish(service)?,
            None => None,
        };
        let (socket, to) = match wish {
            Some(wish) if wish.is_ipv6() != self.v6 => {
                self.v6 = wish.is_ipv6();
                (make(self.v6)?, wish)
            }
            wish => (socket, wish.unwrap_or(to)),
        };
        // A program that is started again binds to where it was bound before.
        socket.set_reuseaddr(true)?;
        match socket.bind(to) {
            Ok(()) => {
                self.state = State::Bound { socket, service, any };
                Ok(())
            }
            Err(error) => {
                self.state = State::Fresh(socket);
                Err(error.into())
            }
        }
    }

    /// Begins to connect.
    pub(crate) fn start_connect(&mut self, to: SocketAddr) -> Result<()> {
        if !matches!(self.state, State::Fresh(_) | State::Bound { .. }) {
            return Err(ErrorCode::InvalidState);
        }
        if is_nobody(to) || !fits(self.v6, to.ip()) || is_group(to.ip()) {
            return Err(ErrorCode::InvalidArgument);
        }
        let (State::Fresh(socket) | State::Bound { socket, .. }) =
            std::mem::replace(&mut self.state, State::Closed(ErrorCode::Other))
        else {
            return Err(ErrorCode::InvalidState);
        };
        let network = Arc::clone(&self.network);
        self.state = State::Connecting(Box::pin(async move { network.connect(socket, to).await }));
        Ok(())
    }

    /// Until it is connected.
    pub(crate) fn poll_connect(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let done = match &mut self.state {
            State::Connecting(connecting) => ready!(connecting.as_mut().poll(context)),
            State::Connected { .. } => return Poll::Ready(Ok(())),
            State::Closed(error) => return Poll::Ready(Err(*error)),
            State::Fresh(_) | State::Bound { .. } | State::Listening(_) => {
                return Poll::Ready(Err(ErrorCode::InvalidState));
            }
        };
        Poll::Ready(match done {
            Ok(stream) => {
                self.state = State::connected(stream);
                Ok(())
            }
            Err(error) => {
                let error = ErrorCode::from(error);
                self.state = State::Closed(error);
                Err(error)
            }
        })
    }

    /// Listens; if it is not bound yet, at any port.
    pub(crate) fn listen(&mut self) -> Result<Listener> {
        if let State::Fresh(_) = &self.state {
            let address = if self.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let service = self.network.service(0)?;
            self.bind_for(SocketAddr::new(address, 0), service, false)?;
        }
        if !matches!(self.state, State::Bound { .. }) {
            return Err(ErrorCode::InvalidState);
        }
        let State::Bound { socket, service, any } = std::mem::replace(&mut self.state, State::Closed(ErrorCode::Other))
        else {
            return Err(ErrorCode::InvalidState);
        };
        // Bound to a port that it did not choose.
        let service = if any { self.network.service(0)? } else { service };
        let listener = self.network.listener(socket.listen(self.backlog)?, service.as_deref())?;
        self.state = State::Listening(Arc::clone(listener.inner()));
        Ok(listener)
    }

    /// What comes, once.
    pub(crate) fn reader(&mut self) -> Result<Reader> {
        match &mut self.state {
            State::Connected { reader, .. } => reader.take().ok_or(ErrorCode::InvalidState),
            State::Closed(error) => Err(*error),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    /// What goes, once.
    pub(crate) fn writer(&mut self) -> Result<Writer> {
        match &mut self.state {
            State::Connected { writer, .. } => writer.take().ok_or(ErrorCode::InvalidState),
            State::Closed(error) => Err(*error),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    pub(crate) fn local(&self) -> Result<SocketAddr> {
        match &self.state {
            State::Bound { socket, .. } => Ok(socket.local_addr()?),
            State::Connected { stream, .. } => Ok(stream.local),
            State::Listening(listener) => Ok(listener.local_addr()?),
            State::Closed(error) => Err(*error),
            State::Fresh(_) | State::Connecting(_) => Err(ErrorCode::InvalidState),
        }
    }

    pub(crate) fn peer(&self) -> Result<SocketAddr> {
        match &self.state {
            State::Connected { stream, .. } => Ok(stream.peer),
            State::Closed(error) => Err(*error),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    pub(crate) const fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening(_))
    }

    pub(crate) const fn is_bound(&self) -> bool {
        !matches!(self.state, State::Fresh(_))
    }

    pub(crate) fn set_backlog(&mut self, value: u64) -> Result<()> {
        let value = u32::try_from(value).unwrap_or(u32::MAX).min(BACKLOG);
        match &self.state {
            _ if value == 0 => Err(ErrorCode::InvalidArgument),
            State::Fresh(_) | State::Bound { .. } => {
                self.backlog = value;
                Ok(())
            }
            State::Listening(_) => Err(ErrorCode::NotSupported),
            State::Closed(error) => Err(*error),
            State::Connecting(_) | State::Connected { .. } => Err(ErrorCode::InvalidState),
        }
    }

    pub(crate) fn get(&self, choice: Choice) -> Result<u64> {
        self.socket(|socket| options::get(socket, self.v6, choice))
    }

    pub(crate) fn set(&self, choice: Choice, value: u64) -> Result<()> {
        self.socket(|socket| options::set(socket, self.v6, choice, value))
    }

    fn socket<T>(&self, work: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        match &self.state {
            State::Fresh(socket) | State::Bound { socket, .. } => work(socket.as_fd()),
            State::Connected { stream, .. } => stream.socket(work),
            State::Listening(listener) => work(listener.as_fd()),
            State::Connecting(_) => Err(ErrorCode::InvalidState),
            State::Closed(error) => Err(*error),
        }
    }
}

impl State {
    fn connected(stream: Stream) -> Self {
        let (reader, writer) = stream.halves();
        Self::Connected { stream, reader: Some(reader), writer: Some(writer) }
    }
}

fn make(v6: bool) -> Result<TcpSocket> {
    if !v6 {
        return Ok(TcpSocket::new_v4()?);
    }
    let socket = TcpSocket::new_v6()?;
    // The two families are apart ("tcp-socket.bind").
    sockopt::set_ipv6_v6only(&socket, true)?;
    Ok(socket)
}

/// Whether an address is of a socket's family, and in its own form.
pub(super) fn fits(v6: bool, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !v6,
        // Neither IPv4 in IPv6, nor what was once another way to write it.
        IpAddr::V6(address) => {
            let compatible = matches!(address.segments(), [0, 0, 0, 0, 0, 0, _, _]);
            let own = address.is_unspecified() || address.is_loopback() || !compatible;
            v6 && own && address.to_ipv4_mapped().is_none()
        }
    }
}

/// Whether that is nobody whom one can reach.
pub(super) fn is_nobody(to: SocketAddr) -> bool {
    to.port() == 0 || to.ip().to_canonical().is_unspecified()
}

/// An address of many.
fn is_group(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}
