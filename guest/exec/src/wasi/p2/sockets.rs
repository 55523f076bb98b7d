//! `wasi:sockets` 0.2 over the Keep's own connections: TCP and names; for UDP see [`super::udp`].

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{self, ShutdownType};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp, udp_create_socket};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, InputStream, OutputStream, Pollable, SocketError, SocketResult,
    StreamError, StreamResult, subscribe,
};

use crate::network::{CHUNK, Choice, Listener, NoName, Reader, Socket, Stream, Writer};
use crate::wasi::{Connections, Sockets};

/// What the bindings call a socket; a [`Tcp`].
type TcpSocket = Resource<tcp::TcpSocket>;
/// What they call the answer to a question for a name; an [`Addresses`].
type Lookup = Resource<ip_name_lookup::ResolveAddressStream>;

pub(super) fn add<T: Send + 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> Sockets<'_>) -> wasmtime::Result<()> {
    tcp::add_to_linker::<T, Connections>(linker, of)?;
    tcp_create_socket::add_to_linker::<T, Connections>(linker, of)?;
    udp::add_to_linker::<T, Connections>(linker, of)?;
    udp_create_socket::add_to_linker::<T, Connections>(linker, of)?;
    ip_name_lookup::add_to_linker::<T, Connections>(linker, of)
}

/// A socket, and what 0.2 adds: calls in two halves, and streams that outlast the call that made them.
struct Tcp {
    socket: Socket,
    begun: Option<Begun>,
    listener: Option<Listener>,
    streams: Option<(Input, Output)>,
}

/// The call whose second half is due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    Bind,
    Connect,
    Listen,
}

/// A question for a name and its answer.
enum Addresses {
    Asked(Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, NoName>> + Send>>),
    Known(std::vec::IntoIter<IpAddr>),
    None(NoName),
}

impl Addresses {
    fn answered(answer: Result<Vec<IpAddr>, NoName>) -> Self {
        answer.map_or_else(Self::None, |addresses| Self::Known(addresses.into_iter()))
    }

    fn next(&mut self) -> SocketResult<Option<IpAddress>> {
        if let Self::Asked(asked) = self {
            *self = match asked.as_mut().poll(&mut once()) {
                Poll::Ready(answer) => Self::answered(answer),
                Poll::Pending => return Err(ErrorCode::WouldBlock.into()),
            };
        }
        match self {
            Self::Known(addresses) => Ok(addresses.next().map(IpAddress::from)),
            Self::None(error) => Err(code(*error).into()),
            Self::Asked(_) => Err(ErrorCode::WouldBlock.into()),
        }
    }
}

const fn code(error: NoName) -> ErrorCode {
    match error {
        NoName::Invalid => ErrorCode::InvalidArgument,
        NoName::Denied => ErrorCode::AccessDenied,
        NoName::Unknown => ErrorCode::NameUnresolvable,
    }
}

/// Who asks once, and is not told later.
fn once() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Tcp {
    fn new(socket: Socket) -> Self {
        Self { socket, begun: None, listener: None, streams: None }
    }

    fn begin(&self) -> SocketResult<()> {
        if self.begun.is_some() { Err(ErrorCode::ConcurrencyConflict.into()) } else { Ok(()) }
    }

    fn finish(&mut self, call: Begun) -> SocketResult<()> {
        if self.begun != Some(call) {
            return Err(ErrorCode::NotInProgress.into());
        }
        self.begun = None;
        Ok(())
    }

    fn streams(&mut self) -> SocketResult<(DynInputStream, DynOutputStream)> {
        let input = Input(Arc::new(Mutex::new(self.socket.reader()?)));
        let output = Output(Arc::new(Mutex::new(self.socket.writer()?)));
        self.streams = Some((input.clone(), output.clone()));
        Ok((Box::new(input), Box::new(output)))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Tcp {
    async fn ready(&mut self) {
        let Self { socket, begun, listener, streams: _ } = self;
        std::future::poll_fn(|context| match (&begun, &mut *listener) {
            (Some(Begun::Connect), _) => socket.poll_connect(context).map(|_| ()),
            (None, Some(listener)) => listener.poll_ready(context).map(|_| ()),
            _ => Poll::Ready(()),
        })
        .await;
    }
}

impl Sockets<'_> {
    fn tcp(&mut self, of: &TcpSocket) -> SocketResult<&mut Tcp> {
        Ok(self.table.get_mut(&Resource::<Tcp>::new_borrow(of.rep()))?)
    }

    fn option(&mut self, of: &TcpSocket, choice: Choice) -> SocketResult<u64> {
        Ok(self.tcp(of)?.socket.get(choice)?)
    }

    fn choose(&mut self, of: &TcpSocket, choice: Choice, value: u64) -> SocketResult<()> {
        Ok(self.tcp(of)?.socket.set(choice, value)?)
    }
}

impl network::Host for Sockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<std::io::Error>().map(ErrorCode::from))
    }
}

impl network::HostNetwork for Sockets<'_> {
    fn drop(&mut self, right: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(right)?;
        Ok(())
    }
}

impl tcp_create_socket::Host for Sockets<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<TcpSocket> {
        let socket = Socket::new(self.network, matches!(family, IpAddressFamily::Ipv6))?;
        Ok(Resource::new_own(self.table.push(Tcp::new(socket))?.rep()))
    }
}

impl tcp::Host for Sockets<'_> {}

impl tcp::HostTcpSocket for Sockets<'_> {
    async fn start_bind(&mut self, of: TcpSocket, right: Resource<Network>, to: IpSocketAddress) -> SocketResult<()> {
        self.table.get(&right)?;
        let tcp = self.tcp(&of)?;
        tcp.begin()?;
        tcp.socket.bind(to.into())?;
        tcp.begun = Some(Begun::Bind);
        Ok(())
    }

    fn finish_bind(&mut self, of: TcpSocket) -> SocketResult<()> {
        self.tcp(&of)?.finish(Begun::Bind)
    }

    fn start_connect(&mut self, of: TcpSocket, right: Resource<Network>, to: IpSocketAddress) -> SocketResult<()> {
        self.table.get(&right)?;
        let tcp = self.tcp(&of)?;
        tcp.begin()?;
        tcp.socket.start_connect(to.into())?;
        tcp.begun = Some(Begun::Connect);
        Ok(())
    }

    fn finish_connect(&mut self, of: TcpSocket) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let tcp = self.tcp(&of)?;
        if tcp.begun != Some(Begun::Connect) {
            return Err(ErrorCode::NotInProgress.into());
        }
        let Poll::Ready(connected) = tcp.socket.poll_connect(&mut once()) else {
            return Err(ErrorCode::WouldBlock.into());
        };
        tcp.begun = None;
        connected?;
        let (input, output) = tcp.streams()?;
        let parent = Resource::<Tcp>::new_borrow(of.rep());
        Ok((self.table.push_child(input, &parent)?, self.table.push_child(output, &parent)?))
    }

    async fn start_listen(&mut self, of: TcpSocket) -> SocketResult<()> {
        let tcp = self.tcp(&of)?;
        tcp.begin()?;
        if !tcp.socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        tcp.listener = Some(tcp.socket.listen()?);
        tcp.begun = Some(Begun::Listen);
        Ok(())
    }

    fn finish_listen(&mut self, of: TcpSocket) -> SocketResult<()> {
        self.tcp(&of)?.finish(Begun::Listen)
    }

    fn accept(
        &mut self,
        of: TcpSocket,
    ) -> SocketResult<(TcpSocket, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let tcp = self.tcp(&of)?;
        let listener = tcp.listener.as_mut().ok_or(ErrorCode::InvalidState)?;
        let Poll::Ready(stream) = listener.poll_accept(&mut once()) else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let stream: Stream = stream?;
        let mut accepted = Tcp::new(Socket::accepted(tcp.socket.network(), stream));
        let (input, output) = accepted.streams()?;
        let accepted = self.table.push(accepted)?;
        let input = self.table.push_child(input, &accepted)?;
        let output = self.table.push_child(output, &accepted)?;
        Ok((Resource::new_own(accepted.rep()), input, output))
    }

    fn local_address(&mut self, of: TcpSocket) -> SocketResult<IpSocketAddress> {
        Ok(self.tcp(&of)?.socket.local()?.into())
    }

    fn remote_address(&mut self, of: TcpSocket) -> SocketResult<IpSocketAddress> {
        Ok(self.tcp(&of)?.socket.peer()?.into())
    }

    fn is_listening(&mut self, of: TcpSocket) -> wasmtime::Result<bool> {
        Ok(self.table.get(&Resource::<Tcp>::new_borrow(of.rep()))?.socket.is_listening())
    }

    fn address_family(&mut self, of: TcpSocket) -> wasmtime::Result<IpAddressFamily> {
        let v6 = self.table.get(&Resource::<Tcp>::new_borrow(of.rep()))?.socket.v6();
        Ok(if v6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 })
    }

    fn set_listen_backlog_size(&mut self, of: TcpSocket, value: u64) -> SocketResult<()> {
        Ok(self.tcp(&of)?.socket.set_backlog(value)?)
    }

    fn keep_alive_enabled(&mut self, of: TcpSocket) -> SocketResult<bool> {
        Ok(self.option(&of, Choice::KeepAlive)? != 0)
    }

    fn set_keep_alive_enabled(&mut self, of: TcpSocket, value: bool) -> SocketResult<()> {
        self.choose(&of, Choice::KeepAlive, value.into())
    }

    fn keep_alive_idle_time(&mut self, of: TcpSocket) -> SocketResult<u64> {
        self.option(&of, Choice::Idle)
    }

    fn set_keep_alive_idle_time(&mut self, of: TcpSocket, value: u64) -> SocketResult<()> {
        self.choose(&of, Choice::Idle, value)
    }

    fn keep_alive_interval(&mut self, of: TcpSocket) -> SocketResult<u64> {
        self.option(&of, Choice::Interval)
    }

    fn set_keep_alive_interval(&mut self, of: TcpSocket, value: u64) -> SocketResult<()> {
        self.choose(&of, Choice::Interval, value)
    }

    fn keep_alive_count(&mut self, of: TcpSocket) -> SocketResult<u32> {
        Ok(u32::try_from(self.option(&of, Choice::Count)?).unwrap_or(u32::MAX))
    }

    fn set_keep_alive_count(&mut self, of: TcpSocket, value: u32) -> SocketResult<()> {
        self.choose(&of, Choice::Count, value.into())
    }

    fn hop_limit(&mut self, of: TcpSocket) -> SocketResult<u8> {
        Ok(u8::try_from(self.option(&of, Choice::Hops)?).unwrap_or(u8::MAX))
    }

    fn set_hop_limit(&mut self, of: TcpSocket, value: u8) -> SocketResult<()> {
        self.choose(&of, Choice::Hops, value.into())
    }

    fn receive_buffer_size(&mut self, of: TcpSocket) -> SocketResult<u64> {
        self.option(&of, Choice::Receive)
    }

    fn set_receive_buffer_size(&mut self, of: TcpSocket, value: u64) -> SocketResult<()> {
        self.choose(&of, Choice::Receive, value)
    }

    fn send_buffer_size(&mut self, of: TcpSocket) -> SocketResult<u64> {
        self.option(&of, Choice::Send)
    }

    fn set_send_buffer_size(&mut self, of: TcpSocket, value: u64) -> SocketResult<()> {
        self.choose(&of, Choice::Send, value)
    }

    fn subscribe(&mut self, of: TcpSocket) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, Resource::<Tcp>::new_borrow(of.rep()))
    }

    fn shutdown(&mut self, of: TcpSocket, how: ShutdownType) -> SocketResult<()> {
        let (input, output) = self.tcp(&of)?.streams.as_ref().ok_or(ErrorCode::InvalidState)?;
        if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
            input.lock().close();
        }
        if matches!(how, ShutdownType::Send | ShutdownType::Both) {
            output.lock().close();
        }
        Ok(())
    }

    fn drop(&mut self, of: TcpSocket) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Tcp>::new_own(of.rep()))?;
        Ok(())
    }
}

impl ip_name_lookup::Host for Sockets<'_> {
    fn resolve_addresses(&mut self, right: Resource<Network>, name: String) -> SocketResult<Lookup> {
        self.table.get(&right)?;
        let network = self.network.clone();
        let mut asked: Pin<Box<_>> = Box::pin(async move { network.resolve(&name).await });
        // What needs no answer of others is refused, or there, at once.
        let addresses = match asked.as_mut().poll(&mut once()) {
            Poll::Ready(answer) => Addresses::answered(Ok(answer.map_err(code)?)),
            Poll::Pending => Addresses::Asked(asked),
        };
        Ok(Resource::new_own(self.table.push(addresses)?.rep()))
    }
}

impl ip_name_lookup::HostResolveAddressStream for Sockets<'_> {
    fn resolve_next_address(&mut self, of: Lookup) -> SocketResult<Option<IpAddress>> {
        self.table.get_mut(&Resource::<Addresses>::new_borrow(of.rep()))?.next()
    }

    fn subscribe(&mut self, of: Lookup) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, Resource::<Addresses>::new_borrow(of.rep()))
    }

    fn drop(&mut self, of: Lookup) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Addresses>::new_own(of.rep()))?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        if let Self::Asked(asked) = self {
            *self = Self::answered(asked.await);
        }
    }
}

/// What comes; the socket has the same, to shut it down.
#[derive(Clone)]
struct Input(Arc<Mutex<Reader>>);

impl Input {
    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.lock().poll_ready(context)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, most: usize) -> StreamResult<Bytes> {
        let mut reader = self.lock();
        if most == 0 {
            return if reader.is_over() { Err(StreamError::Closed) } else { Ok(Bytes::new()) };
        }
        match reader.poll_read(&mut once(), most) {
            Poll::Pending => Ok(Bytes::new()),
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => Err(StreamError::Closed),
            Poll::Ready(Ok(bytes)) => Ok(bytes),
            Poll::Ready(Err(error)) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

/// What goes; likewise.
#[derive(Clone)]
struct Output(Arc<Mutex<Writer>>);

impl Output {
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: std::io::Error) -> StreamError {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => StreamError::Closed,
        _ => StreamError::LastOperationFailed(error.into()),
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        _ = std::future::poll_fn(|context| self.lock().poll_ready(context)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn check_write(&mut self) -> StreamResult<usize> {
        match self.lock().poll_ready(&mut once()) {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(())) => Ok(CHUNK),
            Poll::Ready(Err(error)) => Err(failed(error)),
        }
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self.lock().poll_write(&mut once(), &bytes) {
            Poll::Ready(Ok(count)) if count == bytes.len() => Ok(()),
            Poll::Ready(Ok(_)) | Poll::Pending => {
                Err(StreamError::Trap(wasmtime::Error::msg("more was written than check-write allowed")))
            }
            Poll::Ready(Err(error)) => Err(failed(error)),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What was put is on its way, as fast as the peer takes it.
        match self.lock().poll_ready(&mut once()) {
            Poll::Ready(Err(error)) => Err(failed(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    async fn cancel(&mut self) {
        self.ready().await;
    }
}
