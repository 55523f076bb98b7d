//! Standard input for WASI without a second thread.
//!
//! Wasmtime's own stream reads on a thread or ahead of the program. Here a read asks `poll(2)` first and takes at most
//! what the program wants; waiting is done by the reactor where the descriptor allows it (pipes, sockets, terminals)
//! and not at all where it is always ready (files). The descriptor is never made non-blocking: it is shared with the
//! shell that started us.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::sys;

/// The most bytes of one read that room is made for.
const MOST: usize = 64 * 1024;

/// Standard input. Clones share the one descriptor.
#[derive(Clone)]
pub(crate) struct Stdin(Arc<Wait>);

enum Wait {
    Reactor(AsyncFd<std::io::Stdin>),
    /// A file or device that the reactor does not take: reads do not wait for anybody.
    Ready,
}

impl Stdin {
    /// Must be called inside the runtime.
    pub(crate) fn new() -> Self {
        let wait = sys::readable(std::io::stdin()).map_or(Wait::Ready, Wait::Reactor);
        Self(Arc::new(wait))
    }

    /// Reads, once there is something to read; 0 at the end.
    pub(crate) async fn read(&self, into: &mut [u8]) -> std::io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_into(cx, into)).await
    }

    fn poll_into(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<std::io::Result<usize>> {
        loop {
            std::task::ready!(self.poll_ready(cx));
            if let Some(count) = self.now(into)? {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Reads what is there now: `None` if a read would wait, 0 at the end.
    fn now(&self, into: &mut [u8]) -> std::io::Result<Option<usize>> {
        let stdin = rustix::stdio::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if matches!(*self.0, Wait::Reactor(_)) && poll(&mut fds, Some(&now))? == 0 {
            return Ok(None);
        }
        loop {
            match rustix::io::read(stdin, &mut *into) {
                Ok(count) => return Ok(Some(count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ready when a read would not wait.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Wait::Reactor(reactor) = &*self.0 else { return Poll::Ready(()) };
        loop {
            let Poll::Ready(guard) = reactor.poll_read_ready(cx) else { return Poll::Pending };
            // An error of the reactor is left for the read to report.
            let Ok(mut guard) = guard else { return Poll::Ready(()) };
            let stdin = rustix::stdio::stdin();
            let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut fds, Some(&now)) != Ok(0) {
                return Poll::Ready(());
            }
            // An edge that came since the guard was taken is not lost: the reactor compares its tick.
            guard.clear_ready();
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }
}

#[async_trait::async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = BytesMut::zeroed(size.min(MOST));
        match self.now(&mut buffer) {
            Ok(Some(0)) => Err(StreamError::Closed),
            Ok(Some(count)) => Ok(buffer.split_to(count).freeze()),
            Ok(None) => Ok(Bytes::new()),
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let most = into.remaining().min(MOST);
        let count = std::task::ready!(self.poll_into(cx, into.initialize_unfilled_to(most)))?;
        into.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&std::io::stdin())
    }
}

impl StdinStream for Stdin {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }
}
