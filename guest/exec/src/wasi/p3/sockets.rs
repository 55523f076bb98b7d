//! `wasi:sockets` 0.3 over the Keep's own connections: TCP and names; for UDP see [`super::udp`].

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Linker, Resource, Source, StreamConsumer, StreamProducer,
    StreamReader, StreamResult,
};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup;
use wasmtime_wasi::p3::bindings::sockets::types::{
    self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, TcpSocket,
};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};

use super::tell;
use crate::network::{CHUNK, Choice, Listener, NoName, Reader, Socket, Writer};
use crate::wasi::{Connections, Sockets};

/// What the bindings call a socket; a [`Socket`].
type Tcp = Resource<TcpSocket>;
/// How a stream ended.
type End = Result<(), ErrorCode>;

pub(super) fn add<T: Send + 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> Sockets<'_>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, Connections>(linker, of)?;
    ip_name_lookup::add_to_linker::<T, Connections>(linker, of)
}

impl Sockets<'_> {
    fn socket(&mut self, of: &Tcp) -> SocketResult<&mut Socket> {
        self.table.get_mut(&Resource::<Socket>::new_borrow(of.rep())).map_err(SocketError::trap)
    }

    fn pushed(&mut self, socket: Socket) -> wasmtime::Result<Tcp> {
        Ok(Resource::new_own(self.table.push(socket)?.rep()))
    }

    fn option3(&mut self, of: &Tcp, choice: Choice) -> SocketResult<u64> {
        Ok(self.socket(of)?.get(choice)?)
    }

    fn choose3(&mut self, of: &Tcp, choice: Choice, value: u64) -> SocketResult<()> {
        Ok(self.socket(of)?.set(choice, value)?)
    }
}

impl types::Host for Sockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl types::HostTcpSocket for Sockets<'_> {
    async fn bind(&mut self, of: Tcp, to: IpSocketAddress) -> SocketResult<()> {
        Ok(self.socket(&of)?.bind(to.into())?)
    }

    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Tcp> {
        let socket = Socket::new(self.network, matches!(family, IpAddressFamily::Ipv6))?;
        self.pushed(socket).map_err(SocketError::trap)
    }

    fn get_local_address(&mut self, of: Tcp) -> SocketResult<IpSocketAddress> {
        Ok(self.socket(&of)?.local()?.into())
    }

    fn get_remote_address(&mut self, of: Tcp) -> SocketResult<IpSocketAddress> {
        Ok(self.socket(&of)?.peer()?.into())
    }

    fn get_is_listening(&mut self, of: Tcp) -> wasmtime::Result<bool> {
        Ok(self.table.get(&Resource::<Socket>::new_borrow(of.rep()))?.is_listening())
    }

    fn get_address_family(&mut self, of: Tcp) -> wasmtime::Result<IpAddressFamily> {
        let v6 = self.table.get(&Resource::<Socket>::new_borrow(of.rep()))?.v6();
        Ok(if v6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 })
    }

    fn set_listen_backlog_size(&mut self, of: Tcp, value: u64) -> SocketResult<()> {
        Ok(self.socket(&of)?.set_backlog(value)?)
    }

    fn get_keep_alive_enabled(&mut self, of: Tcp) -> SocketResult<bool> {
        Ok(self.option3(&of, Choice::KeepAlive)? != 0)
    }

    fn set_keep_alive_enabled(&mut self, of: Tcp, value: bool) -> SocketResult<()> {
        self.choose3(&of, Choice::KeepAlive, value.into())
    }

    fn get_keep_alive_idle_time(&mut self, of: Tcp) -> SocketResult<u64> {
        self.option3(&of, Choice::Idle)
    }

    fn set_keep_alive_idle_time(&mut self, of: Tcp, value: u64) -> SocketResult<()> {
        self.choose3(&of, Choice::Idle, value)
    }

    fn get_keep_alive_interval(&mut self, of: Tcp) -> SocketResult<u64> {
        self.option3(&of, Choice::Interval)
    }

    fn set_keep_alive_interval(&mut self, of: Tcp, value: u64) -> SocketResult<()> {
        self.choose3(&of, Choice::Interval, value)
    }

    fn get_keep_alive_count(&mut self, of: Tcp) -> SocketResult<u32> {
        Ok(u32::try_from(self.option3(&of, Choice::Count)?).unwrap_or(u32::MAX))
    }

    fn set_keep_alive_count(&mut self, of: Tcp, value: u32) -> SocketResult<()> {
        self.choose3(&of, Choice::Count, value.into())
    }

    fn get_hop_limit(&mut self, of: Tcp) -> SocketResult<u8> {
        Ok(u8::try_from(self.option3(&of, Choice::Hops)?).unwrap_or(u8::MAX))
    }

    fn set_hop_limit(&mut self, of: Tcp, value: u8) -> SocketResult<()> {
        self.choose3(&of, Choice::Hops, value.into())
    }

    fn get_receive_buffer_size(&mut self, of: Tcp) -> SocketResult<u64> {
        self.option3(&of, Choice::Receive)
    }

    fn set_receive_buffer_size(&mut self, of: Tcp, value: u64) -> SocketResult<()> {
        self.choose3(&of, Choice::Receive, value)
    }

    fn get_send_buffer_size(&mut self, of: Tcp) -> SocketResult<u64> {
        self.option3(&of, Choice::Send)
    }

    fn set_send_buffer_size(&mut self, of: Tcp, value: u64) -> SocketResult<()> {
        self.choose3(&of, Choice::Send, value)
    }

    fn drop(&mut self, of: Tcp) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(of.rep()))?;
        Ok(())
    }
}

impl<U: Send> types::HostTcpSocketWithStore<U> for Connections {
    async fn connect(store: &Accessor<U, Self>, of: Tcp, to: IpSocketAddress) -> SocketResult<()> {
        store.with(|mut store| SocketResult::Ok(store.get().socket(&of)?.start_connect(to.into())?))?;
        poll_fn(|context| {
            store.with(|mut store| match store.get().socket(&of) {
                Ok(socket) => socket.poll_connect(context).map_err(SocketError::from),
                Err(error) => Poll::Ready(Err(error)),
            })
        })
        .await
    }

    async fn listen(mut store: Access<'_, U, Self>, of: Tcp) -> SocketResult<StreamReader<Tcp>> {
        let getter = store.getter();
        let listener = store.get().socket(&of)?.listen()?;
        StreamReader::new(&mut store, Accepting { listener, getter }).map_err(SocketError::trap)
    }

    fn send(
        mut store: Access<'_, U, Self>,
        of: Tcp,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<End>> {
        let (told, end) = oneshot::channel();
        match store.get().socket(&of)?.writer() {
            Ok(writer) => data.pipe(&mut store, Sending { writer: Some(writer), told: Some(told) })?,
            Err(error) => {
                data.close(&mut store)?;
                tell(&mut Some(told), Err(error.into()));
            }
        }
        FutureReader::new(&mut store, end)
    }

    fn receive(mut store: Access<'_, U, Self>, of: Tcp) -> wasmtime::Result<(StreamReader<u8>, FutureReader<End>)> {
        let (told, end) = oneshot::channel();
        let stream = match store.get().socket(&of)?.reader() {
            Ok(reader) => StreamReader::new(&mut store, Receiving { reader, told: Some(told) })?,
            Err(error) => {
                tell(&mut Some(told), Err(error.into()));
                StreamReader::new(&mut store, std::iter::empty())?
            }
        };
        Ok((stream, FutureReader::new(&mut store, end)?))
    }
}

/// What broke a connection: also that a peer takes nothing more, which the bindings have no code for by themselves.
fn code(error: std::io::Error) -> ErrorCode {
    wasmtime_wasi::sockets::ErrorCode::from(error).into()
}

/// Connections that come.
struct Accepting<U> {
    listener: Listener,
    getter: for<'a> fn(&'a mut U) -> Sockets<'a>,
}

impl<U: 'static> StreamProducer<U> for Accepting<U> {
    type Item = Tcp;
    type Buffer = Option<Tcp>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, U>,
        mut to: Destination<'a, Tcp, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if to.remaining(&mut store) == Some(0) {
            return match self.listener.poll_ready(context) {
                Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
                ready => ready.map(|_| Ok(StreamResult::Completed)),
            };
        }
        let stream = match self.listener.poll_accept(context) {
            Poll::Ready(Ok(stream)) => stream,
            // Nobody can be accepted any more.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        let mut sockets = (self.getter)(store.data_mut());
        let accepted = Socket::accepted(sockets.network, stream);
        to.set_buffer(Some(sockets.pushed(accepted)?));
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Bytes that come.
struct Receiving {
    reader: Reader,
    told: Option<oneshot::Sender<End>>,
}

impl<U> StreamProducer<U> for Receiving {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, U>,
        mut to: Destination<'a, u8, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = to.remaining(&mut store);
        if room == Some(0) {
            return match self.reader.poll_ready(context) {
                Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
                ready => ready.map(|()| Ok(StreamResult::Completed)),
            };
        }
        let end = match self.reader.poll_read(context, room.unwrap_or(CHUNK)) {
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => Ok(()),
            Poll::Ready(Ok(bytes)) => {
                to.set_buffer(bytes);
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Poll::Ready(Err(error)) => Err(code(error)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        tell(&mut self.told, end);
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        tell(&mut self.told, Ok(()));
    }
}

/// Bytes that go.
struct Sending {
    writer: Option<Writer>,
    told: Option<oneshot::Sender<End>>,
}

impl<U> StreamConsumer<U> for Sending {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, U>,
        from: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut from = from.as_direct(store);
        let Self { writer, told } = &mut *self;
        let Some(open) = writer else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        let taken = if from.remaining().is_empty() {
            open.poll_ready(context).map_ok(|()| 0)
        } else {
            open.poll_write(context, from.remaining())
        };
        match taken {
            Poll::Ready(Ok(count)) => {
                from.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => {
                tell(told, Err(code(error)));
                *writer = None;
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Sending {
    /// The program has said its last byte. What the peer did not take yet is still on its way.
    fn drop(&mut self) {
        tell(&mut self.told, Ok(()));
    }
}

impl ip_name_lookup::Host for Sockets<'_> {}

impl<U> ip_name_lookup::HostWithStore<U> for Connections {
    async fn resolve_addresses(
        store: &Accessor<U, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, ip_name_lookup::ErrorCode>> {
        let network = store.with(|mut store| store.get().network.clone());
        Ok(match network.resolve(&name).await {
            Ok(addresses) => Ok(addresses.into_iter().map(IpAddress::from).collect()),
            Err(NoName::Invalid) => Err(ip_name_lookup::ErrorCode::InvalidArgument),
            Err(NoName::Denied) => Err(ip_name_lookup::ErrorCode::AccessDenied),
            Err(NoName::Unknown) => Err(ip_name_lookup::ErrorCode::NameUnresolvable),
        })
    }
}
