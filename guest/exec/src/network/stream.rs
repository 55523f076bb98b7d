//! Streams of bytes between a program and its peer: TCP, or TLS over it, which the program does not see.
//!
//! Owns the two halves that all versions of WASI read and write by. Invariant: what one half holds of the program's or the
//! peer's bytes is bounded by [`CHUNK`]; whoever does not read is not sent more.

use std::io::{ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustix::fd::{AsFd, BorrowedFd};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// The most bytes that a half holds.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How long a peer has to take the last bytes of a program that let go of the connection.
const LINGER: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Clone)]
pub(crate) struct Stream {
    transport: Arc<Mutex<Transport>>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Result<Self> {
        // Small messages should not wait for more; if the option fails they merely do.
        _ = stream.set_nodelay(true);
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self { transport: Arc::new(Mutex::new(Transport::Tcp(stream))), local, peer })
    }

    /// One that ends after so long, because the certificate does that opened it (trust.md rule 16).
    pub(super) fn tls(stream: TlsStream<TcpStream>, ends: Option<Duration>) -> Result<Self> {
        let (local, peer) = (stream.get_ref().0.local_addr()?, stream.get_ref().0.peer_addr()?);
        let transport = Arc::new(Mutex::new(Transport::Tls(Box::new(stream))));
        let own = Self { transport, local, peer };
        if let Some(ends) = ends {
            let (left, local, peer) = (Arc::downgrade(&own.transport), own.local, own.peer);
            tokio::spawn(async move {
                tokio::time::sleep(ends).await;
                if let Some(transport) = left.upgrade() {
                    let own = Self { transport, local, peer };
                    // If it is over already that is as well.
                    _ = own.socket(|socket| rustix::net::shutdown(socket, rustix::net::Shutdown::Both));
                }
            });
        }
        Ok(own)
    }

    pub(crate) fn halves(&self) -> (Reader, Writer) {
        let (read, write) = (self.clone(), self.clone());
        let reader = Reader { stream: read, held: BytesMut::new(), end: None };
        (reader, Writer { stream: write, held: Bytes::new(), end: None, lingers: false })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Transport) -> T) -> T {
        work(&mut self.transport.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The socket below, for its options.
    pub(crate) fn socket<T>(&self, work: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        self.with(|transport| match transport {
            Transport::Tcp(stream) => work(stream.as_fd()),
            Transport::Tls(stream) => work(stream.get_ref().0.as_fd()),
        })
    }
}

/// For HTTP, which the Keep speaks.
impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.with(|transport| transport.poll_read(context, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.with(|transport| transport.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.with(|transport| match transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|transport| transport.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|transport| transport.poll_shutdown(context))
    }
}

impl Transport {
    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// What comes from the peer.
pub(crate) struct Reader {
    stream: Stream,
    held: BytesMut,
    /// It said its last byte (`Ok`), or the connection broke.
    end: Option<std::result::Result<(), ErrorKind>>,
}

impl Reader {
    /// Until there is something to read, or nothing will be.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.held.is_empty() || self.end.is_some() {
            return Poll::Ready(());
        }
        self.held.resize(CHUNK, 0);
        let mut into = ReadBuf::new(&mut self.held);
        let read = self.stream.with(|transport| transport.poll_read(context, &mut into));
        let count = into.filled().len();
        self.held.truncate(count);
        match ready!(read) {
            Ok(()) if count == 0 => self.end = Some(Ok(())),
            Ok(()) => {}
            // Of a peer that closes TLS without saying so, too: the program would take it for the whole.
            Err(error) => self.end = Some(Err(error.kind())),
        }
        Poll::Ready(())
    }

    /// At most `most` of the bytes that are there; none at the end.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, most: usize) -> Poll<Result<Bytes>> {
        ready!(self.poll_ready(context));
        if self.held.is_empty() {
            return Poll::Ready(match self.end {
                Some(Err(kind)) => Err(kind.into()),
                Some(Ok(())) | None => Ok(Bytes::new()),
            });
        }
        let count = most.min(self.held.len());
        Poll::Ready(Ok(self.held.split_to(count).freeze()))
    }

    /// The same without taking them.
    pub(crate) fn peek(&self, most: usize) -> &[u8] {
        self.held.get(..most.min(self.held.len())).unwrap_or_default()
    }

    /// How many bytes are there already.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether it is known that nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.held.is_empty() && matches!(self.end, Some(Ok(())))
    }

    /// Nothing more is wanted.
    pub(crate) fn close(&mut self) {
        self.held.clear();
        self.end = Some(Ok(()));
        _ = self.stream.socket(|socket| rustix::net::shutdown(socket, rustix::net::Shutdown::Read));
    }
}

/// What goes to the peer.
pub(crate) struct Writer {
    stream: Stream,
    held: Bytes,
    end: Option<ErrorKind>,
    /// Its program let go of it already.
    lingers: bool,
}

impl Writer {
    /// Until what was put is out, and more can be.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(kind) = self.end {
            return Poll::Ready(Err(kind.into()));
        }
        let done = self.poll_out(context);
        if let Poll::Ready(Err(error)) = &done {
            self.end = Some(error.kind());
            self.held.clear();
        }
        done
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, held, end: _, lingers: _ } = self;
        stream.with(|transport| {
            while !held.is_empty() {
                match ready!(transport.poll_write(context, held))? {
                    0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                    count => held.advance(count),
                }
            }
            transport.poll_flush(context)
        })
    }

    /// Takes bytes, when what was put before is out; how many.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_ready(context))?;
        let count = bytes.len().min(CHUNK);
        self.held = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        // Now, if the peer takes it; else when somebody asks again.
        match self.poll_ready(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    /// Says that nothing follows.
    pub(crate) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_ready(context))?;
        let done = ready!(self.stream.with(|transport| transport.poll_shutdown(context)));
        self.end = Some(ErrorKind::BrokenPipe);
        Poll::Ready(done)
    }
}

impl Writer {
    /// The same for whoever does not wait for it.
    pub(crate) fn close(&mut self) {
        let nobody = &mut Context::from_waker(std::task::Waker::noop());
        if self.lingers || self.end.is_some() || self.poll_close(nobody).is_ready() {
            return;
        }
        self.end = Some(ErrorKind::BrokenPipe);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (stream, held) = (self.stream.clone(), std::mem::take(&mut self.held));
            let mut writer = Self { stream, held, end: None, lingers: true };
            runtime.spawn(async move {
                let close = std::future::poll_fn(|context| writer.poll_close(context));
                _ = tokio::time::timeout(LINGER, close).await;
            });
        }
    }
}

impl Drop for Writer {
    /// What was put gets out, and the peer hears that nothing follows.
    fn drop(&mut self) {
        self.close();
    }
}
