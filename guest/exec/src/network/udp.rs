//! The UDP socket of `wasi:sockets`, of 0.2 and 0.3 alike: made, bound, connected to a peer or not.
//!
//! Owns whom it hears and whom it answers. Its peers are those of the manifest (`[network] udp`); at a port of `[network]
//! listen` it hears everybody, and may answer whom it heard. Refuses what else is sent; drops what else comes, before the
//! program knows of it.
//!
//! Source: WebAssembly/WASI, `wasi:sockets` 0.2 and 0.3, `udp-socket`.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use gate::ring::DATAGRAM;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use wasmtime_wasi::sockets::ErrorCode;

use super::Shared;
use super::options::{self, Choice};
use super::socket::{fits, is_nobody};

type Result<T> = std::result::Result<T, ErrorCode>;

/// The most bytes of a datagram, in both directions and whatever is below.
const MOST: usize = DATAGRAM as usize;
/// Whom an open port may answer; beyond it the first that came is forgotten, until it comes again.
const HEARD: usize = 1024;
/// Datagrams that are dropped before others get their turn.
const DROPPED: usize = 64;

/// A datagram, or the news that a peer takes none.
const COMES: Interest = Interest::READABLE.add(Interest::ERROR);

/// What came, and from whom.
pub(crate) type Datagram = (Vec<u8>, SocketAddr);

/// A socket for datagrams; its clones are the same one.
#[derive(Clone)]
pub(crate) struct Datagrams(Arc<Inner>);

struct Inner {
    network: Shared,
    v6: bool,
    socket: UdpSocket,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bound: bool,
    /// At a port where everybody is heard: those who were.
    heard: Option<Heard>,
    peer: Option<SocketAddr>,
}

#[derive(Default)]
struct Heard {
    all: BTreeSet<SocketAddr>,
    order: VecDeque<SocketAddr>,
}

impl Datagrams {
    pub(crate) async fn new(network: &Shared, v6: bool) -> Result<Self> {
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        if v6 {
            // The two families are apart ("udp-socket.bind").
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        let socket = UdpSocket::from_std(socket.into())?;
        // There is room from the start, and programs count on it; the reactor has to hear of it first.
        socket.writable().await?;
        Ok(Self(Arc::new(Inner { network: Arc::clone(network), v6, socket, state: Mutex::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn v6(&self) -> bool {
        self.0.v6
    }

    pub(crate) fn bind(&self, to: SocketAddr) -> Result<()> {
        let mut state = self.state();
        if state.bound {
            return Err(ErrorCode::InvalidState);
        }
        if !fits(self.0.v6, to.ip()) {
            return Err(ErrorCode::InvalidArgument);
        }
        let all = self.0.network.hears_all(to.port())?;
        rustix::net::bind(&self.0.socket, &to)?;
        *state = State { bound: true, heard: all.then(Heard::default), peer: None };
        Ok(())
    }

    /// Binds it at any port, if it is not bound yet.
    fn bound(&self) -> Result<()> {
        if self.state().bound {
            return Ok(());
        }
        let any = if self.0.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        self.bind(SocketAddr::new(any, 0))
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.state().bound
    }

    /// From now on it talks to this peer only.
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<()> {
        self.may_send(to)?;
        // Not bound before: then it gets the address from which the peer is reached, too.
        let socket = &self.0.socket;
        if !self.state().bound {
            let all = self.0.network.hears_all(0)?;
            self.state().heard = all.then(Heard::default);
        }
        match rustix::net::connect(socket, &to) {
            // Of another network than the peer before.
            Err(Errno::INVAL) => {
                rustix::net::connect_unspec(socket)?;
                rustix::net::connect(socket, &to)?;
            }
            done => done?,
        }
        let mut state = self.state();
        (state.bound, state.peer) = (true, Some(to));
        Ok(())
    }

    /// From now on it talks to all its peers again.
    pub(crate) fn disconnect(&self) -> Result<()> {
        let mut state = self.state();
        state.peer.ok_or(ErrorCode::InvalidState)?;
        rustix::net::connect_unspec(&self.0.socket)?;
        state.peer = None;
        Ok(())
    }

    pub(crate) fn local(&self) -> Result<SocketAddr> {
        if self.is_bound() { Ok(self.0.socket.local_addr()?) } else { Err(ErrorCode::InvalidState) }
    }

    pub(crate) fn peer(&self) -> Result<SocketAddr> {
        self.state().peer.ok_or(ErrorCode::InvalidState)
    }

    fn may_send(&self, to: SocketAddr) -> Result<()> {
        if is_nobody(to) || !fits(self.0.v6, to.ip()) {
            return Err(ErrorCode::InvalidArgument);
        }
        if self.state().heard.as_ref().is_some_and(|heard| heard.all.contains(&to)) {
            return Ok(());
        }
        Ok(self.0.network.may_send(to)?)
    }

    /// Sends one, if there is room for it now.
    pub(crate) fn poll_send(&self, bytes: &[u8], to: Option<SocketAddr>) -> Poll<Result<()>> {
        let peer = self.state().peer;
        let to = match (to, peer) {
            (Some(to), Some(peer)) if to != peer => return Poll::Ready(Err(ErrorCode::InvalidArgument)),
            (Some(to), _) | (None, Some(to)) => to,
            (None, None) => return Poll::Ready(Err(ErrorCode::InvalidArgument)),
        };
        if bytes.len() > MOST {
            return Poll::Ready(Err(ErrorCode::DatagramTooLarge));
        }
        self.may_send(to)?;
        self.bound()?;
        match self.0.socket.try_send_to(bytes, to) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done.map(|_| ()).map_err(ErrorCode::from)),
        }
    }

    /// Sends one.
    pub(crate) async fn send(&self, bytes: &[u8], to: Option<SocketAddr>) -> Result<()> {
        loop {
            match self.poll_send(bytes, to) {
                Poll::Ready(done) => return done,
                Poll::Pending => self.writable().await?,
            }
        }
    }

    /// The next one, if it is there now.
    pub(crate) fn poll_receive(&self) -> Poll<Result<Datagram>> {
        let mut state = self.state();
        if !state.bound {
            return Poll::Ready(Err(ErrorCode::InvalidState));
        }
        // One more than there can be: what fills it was longer.
        let mut bytes = Vec::with_capacity(MOST + 1);
        for _ in 0..DROPPED {
            bytes.clear();
            let (count, from) = match self.next(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                done => done?,
            };
            let own = state.peer.is_none_or(|peer| (peer.ip(), peer.port()) == (from.ip(), from.port()));
            let heard = match &mut state.heard {
                _ if !own || count > MOST => false,
                Some(heard) => heard.add(from),
                None => self.0.network.policy().datagrams(from).is_ok(),
            };
            if heard {
                bytes.shrink_to_fit();
                return Poll::Ready(Ok((bytes, from)));
            }
        }
        Poll::Pending
    }

    /// The next one, whoever it is from, or the news that the peer takes none; the reactor tells of the two apart.
    fn next(&self, into: &mut Vec<u8>) -> std::io::Result<(usize, SocketAddr)> {
        let receive = || {
            let room = rustix::buffer::spare_capacity(&mut *into);
            let (count, _, from) = rustix::net::recvfrom(&self.0.socket, room, RecvFlags::empty())?;
            let from = from.and_then(|from| SocketAddr::try_from(from).ok());
            from.map(|from| (count, from)).ok_or_else(|| ErrorKind::Unsupported.into())
        };
        match self.0.socket.try_io(Interest::READABLE, receive) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.0.socket.try_io(Interest::ERROR, || Err(self.0.socket.take_error()?.unwrap_or(error)))
            }
            done => done,
        }
    }

    /// The next one. Who stops waiting for it loses none.
    pub(crate) async fn receive(&self) -> Result<Datagram> {
        loop {
            if let Poll::Ready(done) = self.poll_receive() {
                return done;
            }
            self.0.socket.ready(COMES).await?;
            // Whoever sends what is dropped keeps nobody else waiting.
            tokio::task::yield_now().await;
        }
    }

    /// Whether there is room for one.
    pub(crate) fn is_writable(&self) -> bool {
        self.0.socket.poll_send_ready(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    pub(crate) async fn writable(&self) -> Result<()> {
        Ok(self.0.socket.writable().await?)
    }

    pub(crate) fn get(&self, choice: Choice) -> Result<u64> {
        options::get(self.0.socket.as_fd(), self.0.v6, choice)
    }

    pub(crate) fn set(&self, choice: Choice, value: u64) -> Result<()> {
        options::set(self.0.socket.as_fd(), self.0.v6, choice, value)
    }
}

impl Heard {
    /// True, for who is heard.
    fn add(&mut self, from: SocketAddr) -> bool {
        if self.all.insert(from) {
            self.order.push_back(from);
            if self.order.len() > HEARD
                && let Some(first) = self.order.pop_front()
            {
                self.all.remove(&first);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_heard_is_remembered_and_not_for_ever() {
        let at = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let mut heard = Heard::default();
        for port in 1..=1025 {
            assert!(heard.add(at(port)) && heard.add(at(port)));
        }
        assert_eq!((heard.all.len(), heard.order.len()), (HEARD, HEARD));
        assert!(!heard.all.contains(&at(1)) && heard.all.contains(&at(2)) && heard.all.contains(&at(1025)));
    }
}
