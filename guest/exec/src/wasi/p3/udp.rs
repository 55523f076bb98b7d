//! The UDP socket of `wasi:sockets` 0.3 over the Keep's own.

use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p3::bindings::sockets::types::{self, IpAddressFamily, IpSocketAddress, UdpSocket};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};

use crate::network::{Choice, Datagrams};
use crate::wasi::{Connections, Sockets};

/// What the bindings call a socket; a [`Datagrams`].
type Udp = Resource<UdpSocket>;

impl Sockets<'_> {
    fn datagrams(&self, of: &Udp) -> SocketResult<&Datagrams> {
        self.table.get(&Resource::<Datagrams>::new_borrow(of.rep())).map_err(SocketError::trap)
    }
}

impl types::HostUdpSocket for Sockets<'_> {
    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Udp> {
        let socket = Datagrams::new(self.network, matches!(family, IpAddressFamily::Ipv6)).await?;
        Ok(Resource::new_own(self.table.push(socket).map_err(SocketError::trap)?.rep()))
    }

    async fn bind(&mut self, of: Udp, to: IpSocketAddress) -> SocketResult<()> {
        Ok(self.datagrams(&of)?.bind(to.into())?)
    }

    async fn connect(&mut self, of: Udp, to: IpSocketAddress) -> SocketResult<()> {
        Ok(self.datagrams(&of)?.connect(to.into())?)
    }

    fn disconnect(&mut self, of: Udp) -> SocketResult<()> {
        Ok(self.datagrams(&of)?.disconnect()?)
    }

    fn get_local_address(&mut self, of: Udp) -> SocketResult<IpSocketAddress> {
        Ok(self.datagrams(&of)?.local()?.into())
    }

    fn get_remote_address(&mut self, of: Udp) -> SocketResult<IpSocketAddress> {
        Ok(self.datagrams(&of)?.peer()?.into())
    }

    fn get_address_family(&mut self, of: Udp) -> wasmtime::Result<IpAddressFamily> {
        let v6 = self.table.get(&Resource::<Datagrams>::new_borrow(of.rep()))?.v6();
        Ok(if v6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 })
    }

    fn get_unicast_hop_limit(&mut self, of: Udp) -> SocketResult<u8> {
        Ok(u8::try_from(self.datagrams(&of)?.get(Choice::Hops)?).unwrap_or(u8::MAX))
    }

    fn set_unicast_hop_limit(&mut self, of: Udp, value: u8) -> SocketResult<()> {
        Ok(self.datagrams(&of)?.set(Choice::Hops, value.into())?)
    }

    fn get_receive_buffer_size(&mut self, of: Udp) -> SocketResult<u64> {
        Ok(self.datagrams(&of)?.get(Choice::Receive)?)
    }

    fn set_receive_buffer_size(&mut self, of: Udp, value: u64) -> SocketResult<()> {
        Ok(self.datagrams(&of)?.set(Choice::Receive, value)?)
    }

    fn get_send_buffer_size(&mut self, of: Udp) -> SocketResult<u64> {
        Ok(self.datagrams(&of)?.get(Choice::Send)?)
    }

    fn set_send_buffer_size(&mut self, of: Udp, value: u64) -> SocketResult<()> {
        Ok(self.datagrams(&of)?.set(Choice::Send, value)?)
    }

    fn drop(&mut self, of: Udp) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Datagrams>::new_own(of.rep()))?;
        Ok(())
    }
}

impl<U> types::HostUdpSocketWithStore<U> for Connections {
    async fn send(store: &Accessor<U, Self>, of: Udp, bytes: Vec<u8>, to: Option<IpSocketAddress>) -> SocketResult<()> {
        let socket = store.with(|mut store| store.get().datagrams(&of).cloned())?;
        Ok(socket.send(&bytes, to.map(Into::into)).await?)
    }

    async fn receive(store: &Accessor<U, Self>, of: Udp) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let socket = store.with(|mut store| store.get().datagrams(&of).cloned())?;
        let (bytes, from) = socket.receive().await?;
        Ok((bytes, from.into()))
    }
}
