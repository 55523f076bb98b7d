//! Connections of modules: listeners and connections of the manifest, and what is accepted.
//!
//! The bindings of Wasmtime have `sock_accept` and its like as calls that cannot wait. A program that did not ask for
//! anything else expects to, so these are linked in their place.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wasmtime::{AsContextMut, Caller, Extern, Linker};
use wasmtime_wasi::p1::types::{CiovecArray, Errno, Error, Fd, Fdflags, Iovec, IovecArray, Riflags, Sdflags, Size};
use wiggle::{GuestMemory, GuestPtr};

use super::forms::bytes;
use super::{BULK, Descriptor, P1, Result};
use crate::network::Stream;

/// In place of those that cannot wait.
pub(super) fn add(linker: &mut Linker<P1>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let module = "wasi_snapshot_preview1";
    linker.func_wrap_async(module, "sock_accept", |mut caller: Caller<'_, P1>, (fd, flags, to): (u32, u32, u32)| {
        Box::new(async move {
            let (mut memory, p1) = parts(&mut caller)?;
            status(
                async {
                    let flags = u16::try_from(flags).ok().and_then(Fdflags::from_bits).ok_or(Errno::Inval)?;
                    let accepted = p1.accept(fd.into(), flags).await?;
                    Ok(memory.write(GuestPtr::<Fd>::new(to), accepted)?)
                }
                .await,
            )
        })
    })?;
    linker.func_wrap_async(
        module,
        "sock_recv",
        |mut caller: Caller<'_, P1>, (fd, at, count, flags, size, out): (u32, u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let (mut memory, p1) = parts(&mut caller)?;
                status(
                    async {
                        let flags = u16::try_from(flags).ok().and_then(Riflags::from_bits).ok_or(Errno::Inval)?;
                        let vectors = GuestPtr::<[Iovec]>::new((at, count));
                        let read = p1.receive(&mut memory, fd.into(), vectors, flags).await?;
                        memory.write(GuestPtr::<Size>::new(size), read)?;
                        Ok(memory.write(GuestPtr::<u16>::new(out), 0)?)
                    }
                    .await,
                )
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        "sock_send",
        |mut caller: Caller<'_, P1>, (fd, at, count, flags, size): (u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let (mut memory, p1) = parts(&mut caller)?;
                status(
                    async {
                        if flags != 0 {
                            return Err(Errno::Notsup.into());
                        }
                        let sent = p1.send(&memory, fd.into(), GuestPtr::new((at, count))).await?;
                        Ok(memory.write(GuestPtr::<Size>::new(size), sent)?)
                    }
                    .await,
                )
            })
        },
    )?;
    Ok(())
}

/// A module's memory, and what it has.
pub(super) fn parts<'a>(caller: &'a mut Caller<'_, P1>) -> wasmtime::Result<(GuestMemory<'a>, &'a mut P1)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(wasmtime::Error::msg("the module exports no memory"));
    };
    let (bytes, p1) = memory.data_and_store_mut(caller.as_context_mut());
    Ok((GuestMemory::Unshared(bytes), p1))
}

fn status(result: Result<()>) -> wasmtime::Result<u32> {
    match result {
        Ok(()) => Ok(Errno::Success as u32),
        Err(error) => Ok(Error::downcast(error)? as u32),
    }
}

/// What an error of a connection is to a program.
pub(super) fn failed(error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::BrokenPipe => Errno::Pipe,
        ErrorKind::ConnectionReset => Errno::Connreset,
        ErrorKind::ConnectionAborted => Errno::Connaborted,
        ErrorKind::TimedOut => Errno::Timedout,
        ErrorKind::ConnectionRefused => Errno::Connrefused,
        ErrorKind::HostUnreachable => Errno::Hostunreach,
        ErrorKind::NetworkUnreachable => Errno::Netunreach,
        ErrorKind::NotFound => Errno::Noent,
        ErrorKind::PermissionDenied => Errno::Acces,
        _ => Errno::Io,
    }
    .into()
}

/// Waits for it, or says that one would have to.
pub(super) async fn when<T>(
    waits: bool,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<std::io::Result<T>>,
) -> Result<T> {
    let done = if waits {
        poll_fn(poll).await
    } else {
        match poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => return Err(Errno::Again.into()),
        }
    };
    done.map_err(|error| failed(&error))
}

impl Descriptor {
    pub(super) fn connection(stream: &Stream, flags: Fdflags) -> Self {
        let (reader, writer) = stream.halves();
        Self::Connection { reader, writer, flags }
    }
}

impl P1 {
    /// What is no connection is told apart from what is not there.
    fn connection(&mut self, fd: Fd) -> Result<&mut Descriptor> {
        match self.get(fd)? {
            connection @ Descriptor::Connection { .. } => Ok(connection),
            _ => Err(Errno::Notsock.into()),
        }
    }

    async fn accept(&mut self, fd: Fd, flags: Fdflags) -> Result<Fd> {
        if flags.intersects(!Fdflags::NONBLOCK) {
            return Err(Errno::Inval.into());
        }
        let Descriptor::Listener { listener, flags: own, .. } = self.get(fd)? else {
            return Err(Errno::Notsock.into());
        };
        let waits = !own.contains(Fdflags::NONBLOCK);
        let stream = when(waits, |context| listener.poll_accept(context)).await?;
        self.push(Descriptor::connection(&stream, flags))
    }

    /// Into the first of `vectors` that has room, as a stream does.
    pub(super) async fn receive(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        vectors: IovecArray,
        how: Riflags,
    ) -> Result<Size> {
        let Descriptor::Connection { reader, flags, .. } = self.connection(fd)? else {
            return Err(Errno::Notsock.into());
        };
        let waits = !flags.contains(Fdflags::NONBLOCK);
        let (peek, all) = (how.contains(Riflags::RECV_PEEK), how.contains(Riflags::RECV_WAITALL));
        let mut read: Size = 0;
        for vector in vectors.iter() {
            let vector = memory.read(vector?)?;
            let mut to = vector.buf;
            let mut room = vector.buf_len;
            while room > 0 {
                let most = usize::try_from(room).unwrap_or(usize::MAX);
                let some: Bytes = if peek {
                    when(waits, |context| reader.poll_ready(context).map(Ok)).await?;
                    Bytes::copy_from_slice(reader.peek(most))
                } else {
                    when(waits, |context| reader.poll_read(context, most)).await?
                };
                let count = Size::try_from(some.len()).map_err(|_| Errno::Overflow)?;
                bytes(memory, to, &some)?;
                read = read.saturating_add(count);
                if count == 0 || peek || !all {
                    return Ok(read);
                }
                to = to.add(count)?;
                room = room.saturating_sub(count);
            }
        }
        Ok(read)
    }

    /// Of all of `vectors` what the peer takes; at least something, if there is anything.
    pub(super) async fn send(&mut self, memory: &GuestMemory<'_>, fd: Fd, vectors: CiovecArray) -> Result<Size> {
        let Descriptor::Connection { writer, flags, .. } = self.connection(fd)? else {
            return Err(Errno::Notsock.into());
        };
        let waits = !flags.contains(Fdflags::NONBLOCK);
        let mut all = Vec::new();
        for vector in vectors.iter() {
            let vector = memory.read(vector?)?;
            let left = BULK.saturating_sub(u32::try_from(all.len()).unwrap_or(BULK)).min(vector.buf_len);
            all.extend_from_slice(&memory.as_cow(vector.buf.as_array(left))?);
        }
        let mut sent = 0;
        while sent < all.len() {
            let rest = all.get(sent..).unwrap_or_default();
            match when(waits, |context| writer.poll_write(context, rest)).await {
                Ok(count) => sent = sent.saturating_add(count),
                // What was taken is told first.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Size::try_from(sent).map_err(|_| Errno::Overflow.into())
    }

    pub(super) fn shutdown(&mut self, fd: Fd, how: Sdflags) -> Result<()> {
        let Descriptor::Connection { reader, writer, .. } = self.connection(fd)? else {
            return Err(Errno::Notsock.into());
        };
        if how.is_empty() {
            return Err(Errno::Inval.into());
        }
        if how.contains(Sdflags::RD) {
            reader.close();
        }
        if how.contains(Sdflags::WR) {
            writer.close();
        }
        Ok(())
    }
}
