//! The UDP socket of `wasi:sockets` 0.2 over the Keep's own: a call in two halves, and a stream in each direction.

use std::task::Poll;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    self, IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, SocketResult, subscribe};

use crate::network::{CHUNK, Choice, Datagram, Datagrams};
use crate::wasi::Sockets;

/// What the bindings call a socket; a [`Socket`].
type Udp = Resource<UdpSocket>;
/// What they call its streams; an [`Incoming`] and an [`Outgoing`].
type Streams = (Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>);

/// The most datagrams of one call.
const TOGETHER: u64 = 16;

struct Socket {
    datagrams: Datagrams,
    /// The second half of `bind` is due.
    binds: bool,
}

struct Incoming {
    datagrams: Datagrams,
    /// What made it ready.
    next: Option<Result<Datagram, wasmtime_wasi::sockets::ErrorCode>>,
}

struct Outgoing {
    datagrams: Datagrams,
    /// How many may be sent.
    permits: u64,
}

impl Sockets<'_> {
    fn udp(&self, of: &Udp) -> SocketResult<&Datagrams> {
        Ok(&self.table.get(&Resource::<Socket>::new_borrow(of.rep()))?.datagrams)
    }
}

impl udp_create_socket::Host for Sockets<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Udp> {
        let datagrams = Datagrams::new(self.network, matches!(family, IpAddressFamily::Ipv6)).await?;
        Ok(Resource::new_own(self.table.push(Socket { datagrams, binds: false })?.rep()))
    }
}

impl udp::Host for Sockets<'_> {}

impl udp::HostUdpSocket for Sockets<'_> {
    async fn start_bind(&mut self, of: Udp, right: Resource<Network>, to: IpSocketAddress) -> SocketResult<()> {
        self.table.get(&right)?;
        let socket = self.table.get_mut(&Resource::<Socket>::new_borrow(of.rep()))?;
        if socket.binds {
            return Err(ErrorCode::ConcurrencyConflict.into());
        }
        socket.datagrams.bind(to.into())?;
        socket.binds = true;
        Ok(())
    }

    fn finish_bind(&mut self, of: Udp) -> SocketResult<()> {
        let socket = self.table.get_mut(&Resource::<Socket>::new_borrow(of.rep()))?;
        if std::mem::take(&mut socket.binds) { Ok(()) } else { Err(ErrorCode::NotInProgress.into()) }
    }

    async fn stream(&mut self, of: Udp, to: Option<IpSocketAddress>) -> SocketResult<Streams> {
        let socket = Resource::<Socket>::new_borrow(of.rep());
        if self.table.iter_children(&socket)?.next().is_some() {
            return Err(SocketError::trap(wasmtime::Error::msg("the streams of before are still there")));
        }
        let datagrams = self.table.get(&socket)?.datagrams.clone();
        if !datagrams.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        match to {
            Some(to) => datagrams.connect(to.into())?,
            None if datagrams.peer().is_ok() => datagrams.disconnect()?,
            None => {}
        }
        let incoming = self.table.push_child(Incoming { datagrams: datagrams.clone(), next: None }, &socket)?;
        let outgoing = self.table.push_child(Outgoing { datagrams, permits: 0 }, &socket)?;
        Ok((Resource::new_own(incoming.rep()), Resource::new_own(outgoing.rep())))
    }

    fn local_address(&mut self, of: Udp) -> SocketResult<IpSocketAddress> {
        Ok(self.udp(&of)?.local()?.into())
    }

    fn remote_address(&mut self, of: Udp) -> SocketResult<IpSocketAddress> {
        Ok(self.udp(&of)?.peer()?.into())
    }

    fn address_family(&mut self, of: Udp) -> wasmtime::Result<IpAddressFamily> {
        let v6 = self.table.get(&Resource::<Socket>::new_borrow(of.rep()))?.datagrams.v6();
        Ok(if v6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 })
    }

    fn unicast_hop_limit(&mut self, of: Udp) -> SocketResult<u8> {
        Ok(u8::try_from(self.udp(&of)?.get(Choice::Hops)?).unwrap_or(u8::MAX))
    }

    fn set_unicast_hop_limit(&mut self, of: Udp, value: u8) -> SocketResult<()> {
        Ok(self.udp(&of)?.set(Choice::Hops, value.into())?)
    }

    fn receive_buffer_size(&mut self, of: Udp) -> SocketResult<u64> {
        Ok(self.udp(&of)?.get(Choice::Receive)?)
    }

    fn set_receive_buffer_size(&mut self, of: Udp, value: u64) -> SocketResult<()> {
        Ok(self.udp(&of)?.set(Choice::Receive, value)?)
    }

    fn send_buffer_size(&mut self, of: Udp) -> SocketResult<u64> {
        Ok(self.udp(&of)?.get(Choice::Send)?)
    }

    fn set_send_buffer_size(&mut self, of: Udp, value: u64) -> SocketResult<()> {
        Ok(self.udp(&of)?.set(Choice::Send, value)?)
    }

    fn subscribe(&mut self, of: Udp) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, Resource::<Socket>::new_borrow(of.rep()))
    }

    fn drop(&mut self, of: Udp) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(of.rep()))?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Socket {
    /// No call on it is ever under way.
    async fn ready(&mut self) {}
}

impl udp::HostIncomingDatagramStream for Sockets<'_> {
    fn receive(&mut self, of: Resource<IncomingDatagramStream>, most: u64) -> SocketResult<Vec<IncomingDatagram>> {
        let stream = self.table.get_mut(&Resource::<Incoming>::new_borrow(of.rep()))?;
        let (mut all, mut total) = (Vec::new(), 0);
        while (all.len() as u64) < most.min(TOGETHER) && total < CHUNK {
            match stream.next.take().map_or_else(|| stream.datagrams.poll_receive(), Poll::Ready) {
                Poll::Ready(Ok((data, from))) => {
                    total += data.len();
                    all.push(IncomingDatagram { data, remote_address: from.into() });
                }
                Poll::Ready(Err(error)) if all.is_empty() => return Err(error.into()),
                Poll::Ready(error) => {
                    stream.next = Some(error);
                    break;
                }
                Poll::Pending => break,
            }
        }
        Ok(all)
    }

    fn subscribe(&mut self, of: Resource<IncomingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, Resource::<Incoming>::new_borrow(of.rep()))
    }

    fn drop(&mut self, of: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Incoming>::new_own(of.rep()))?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Incoming {
    /// Until there is one that the program gets: what is dropped makes nobody ready.
    async fn ready(&mut self) {
        if self.next.is_none() {
            self.next = Some(self.datagrams.receive().await);
        }
    }
}

impl udp::HostOutgoingDatagramStream for Sockets<'_> {
    fn check_send(&mut self, of: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        let stream = self.table.get_mut(&Resource::<Outgoing>::new_borrow(of.rep()))?;
        stream.permits = if stream.datagrams.is_writable() { TOGETHER } else { 0 };
        Ok(stream.permits)
    }

    fn send(&mut self, of: Resource<OutgoingDatagramStream>, all: Vec<OutgoingDatagram>) -> SocketResult<u64> {
        let stream = self.table.get_mut(&Resource::<Outgoing>::new_borrow(of.rep()))?;
        if all.is_empty() {
            return Ok(0);
        }
        if all.len() as u64 > std::mem::take(&mut stream.permits) {
            return Err(SocketError::trap(wasmtime::Error::msg("more was sent than check-send allowed")));
        }
        let mut count = 0;
        for OutgoingDatagram { data, remote_address } in all {
            match stream.datagrams.poll_send(&data, remote_address.map(Into::into)) {
                Poll::Ready(Ok(())) => count += 1,
                Poll::Ready(Err(error)) if count == 0 => return Err(error.into()),
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        Ok(count)
    }

    fn subscribe(&mut self, of: Resource<OutgoingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, Resource::<Outgoing>::new_borrow(of.rep()))
    }

    async fn drop(&mut self, of: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Outgoing>::new_own(of.rep()))?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Outgoing {
    async fn ready(&mut self) {
        // An error is what the next call finds.
        _ = self.datagrams.writable().await;
    }
}
