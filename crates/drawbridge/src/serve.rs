//! The listener: connections in, requests to the router, and an orderly end.
//!
//! Owns the accept loop: a task for each connection does handshake and requests, so that nobody's slowness is anybody
//! else's wait. Refuses to wait for ever: handshakes, headers and silence have limits, connections and streams a number.
//! Invariant: when [`Handle::shutdown`] returned, no task and no socket of this server is left.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{Extension, Router};
use clients::Client;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use workload::Digest;

use crate::http::{Kept, Service, router};
use crate::login::{AccessTokens, Issuers, Logins};
use crate::now;
use crate::secrets::{KeyError, Vault};
use crate::settings::{Limits, Settings};
use crate::store::{CHUNK, Collected, DatabaseError, Grace, OpenError, Storage, Store, StoreError};
use crate::tls::Peer;

/// How long running requests may go on once the server is told to end.
const GRACE: Duration = Duration::from_secs(5);
/// The longest request header, in bytes.
const HEADER: usize = 32 * 1024;
/// Requests at the same time on one connection of HTTP/2. Anybody may open them and then read nothing, so the product
/// counts: 512 connections (the default) with 8 streams, each with one chunk of 64 KiB that was read and as much that waits to
/// be sent, are at most 512 MiB; and 128 readers of long files hold 192 KiB more.
const STREAMS: u32 = 8;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be written to.
    #[error("the store failed: {0}")]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// The key of secrets is of no use.
    #[error("the key of secrets: {0}")]
    Key(#[from] KeyError),
    /// What is acknowledged would be somewhere else.
    #[error("the store is {expected}, and cannot become {found} while it is served")]
    OtherStore {
        /// What is served.
        expected: Box<Storage>,
        /// What the new settings say.
        found: Box<Storage>,
    },
    /// Issuers of ID tokens cannot be asked.
    #[error("cannot speak HTTPS to issuers: {0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
    /// The listening socket is of no use.
    #[error("the listening socket is of no use: {0}")]
    Socket(#[from] io::Error),
}

impl ServeError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open(OpenError::Directory { path: _, source: _ }) => {
                Some("the directory must be writable for this user")
            }
            Self::Open(OpenError::Open { path: _, mode: _ }) => {
                Some("take the others' access away with `chmod 700` on it, or name another directory")
            }
            Self::Open(OpenError::Bucket { bucket: _, source: _ }) => Some(
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL say who and where; AWS_ALLOW_HTTP=true \
                 allows an endpoint without TLS",
            ),
            Self::Open(OpenError::Database(DatabaseError::Format { .. })) => {
                Some("a newer donjon made it: use that one")
            }
            Self::Open(OpenError::Database(_)) => Some("it must be running, and its URL must name user and database"),
            Self::OtherStore { .. } => Some("stop this Drawbridge, and start it at the other store"),
            Self::Key(KeyError::File { .. }) => Some("`donjon drawbridge secrets-key FILE` makes one, once"),
            Self::Key(KeyError::Open { .. }) => Some("take the others' access away with `chmod 600` on it"),
            Self::Open(OpenError::Engine { path: _, source: _ } | OpenError::Stopped)
            | Self::Store(_)
            | Self::Http(_)
            | Self::Key(_)
            | Self::Socket(_) => None,
        }
    }
}

/// A running server. Dropping it ends the server at once, in the middle of what it does.
pub struct Handle {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// SHA-256 of the SPKI of its certificate.
    pub pin: Digest,
    storage: Storage,
    kept: Kept,
    served: watch::Sender<Arc<Served>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Serves on this socket until [`Handle::shutdown`], or until the handle is dropped.
///
/// # Errors
/// See [`ServeError`]. Errors of single connections only go to the log.
pub async fn serve(settings: Settings, listener: TcpListener) -> Result<Handle, ServeError> {
    let local_addr = listener.local_addr()?;
    let (storage, pin) = (settings.store.clone(), settings.tls.pin);
    let kept = open(&settings).await?;
    let (served, serving) = watch::channel(Arc::new(Served::of(settings, kept.clone()).await?));
    let (stop, stopped) = watch::channel(false);
    let collecting = collect(kept.clone());
    let limits = kept.limits.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = accept(listener, serving, limits, stopped) => {}
            never = collecting => match never {},
        }
    });
    tracing::info!(%local_addr, %pin, "drawbridge serves");
    Ok(Handle { local_addr, pin, storage, kept, served, stop, task })
}

/// The routes of a Drawbridge for callers without certificates, for who serves them himself; nothing is collected.
///
/// # Errors
/// See [`ServeError`].
pub async fn routes(settings: Settings) -> Result<Router, ServeError> {
    let kept = open(&settings).await?;
    Ok(Served::of(settings, kept).await?.router.layer(Extension(Peer::showing(&[]))))
}

async fn open(settings: &Settings) -> Result<Kept, ServeError> {
    let Settings { store, limits, .. } = settings;
    tracing::info!(%store, "store");
    Ok(Kept::new(Store::open(store, limits.open_uploads).await?, limits.clone()))
}

/// What connections are served by that begin now.
struct Served {
    acceptor: TlsAcceptor,
    router: Router,
}

impl Served {
    async fn of(settings: Settings, kept: Kept) -> Result<Self, ServeError> {
        let acceptor = TlsAcceptor::from(Arc::clone(&settings.tls.config));
        Ok(Self { acceptor, router: router(service(settings, kept).await?) })
    }
}

async fn service(settings: Settings, kept: Kept) -> Result<Arc<Service>, ServeError> {
    let Settings { tls: _, store: _, tokens, declared, limits: _ } = settings;
    let store = &kept.store;
    let failed = |error: StoreError| ServeError::Store(error.into());
    for (name, _) in declared.repositories.all() {
        store.declare(name).await.map_err(failed)?;
    }
    for (name, terms) in &declared.organisations {
        store.declare_organisation(name, terms.quota_bytes).await.map_err(failed)?;
    }
    let key = store.key("access tokens").await.map_err(failed)?;
    let issuers = Issuers::new(declared.logins.clone()).map_err(|error| ServeError::Http(error.into()))?;
    let logins = Logins::new(tokens, AccessTokens::new(&key), issuers, declared.organisations.clone());
    let vault = declared.secrets.as_ref().map(Vault::open).transpose()?;
    Ok(Arc::new(Service::new(kept, logins, declared, vault)))
}

impl Handle {
    /// Serves by other settings from now on, or goes on as before if there is anything wrong with them: tokens, repositories, logins,
    /// organisations, the key of secrets, certificate and key. Connections end with their running requests, so that nobody is served
    /// by what was replaced. Limits stay.
    ///
    /// # Errors
    /// See [`ServeError`]; also for another store. Nothing has changed then.
    pub async fn reload(&mut self, settings: Settings) -> Result<(), ServeError> {
        if settings.store != self.storage {
            let (expected, found) = (Box::new(self.storage.clone()), Box::new(settings.store));
            return Err(ServeError::OtherStore { expected, found });
        }
        let pin = settings.tls.pin;
        self.served.send_replace(Arc::new(Served::of(settings, self.kept.clone()).await?));
        self.pin = pin;
        Ok(())
    }

    /// Takes no more connections, lets running requests end (at most 5 seconds), and returns when nothing is left. What is
    /// cut off then was not acknowledged, and is not there.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").field("local_addr", &self.local_addr).field("pin", &self.pin).finish_non_exhaustive()
    }
}

async fn accept(
    listener: TcpListener,
    serving: watch::Receiver<Arc<Served>>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The slot first: without one, who connects waits in the kernel's queue.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = next => match accepted {
                Ok((stream, from)) => {
                    let (limits, serving, stopped) = (limits.clone(), serving.clone(), stopped.clone());
                    connections.spawn(async move {
                        let _slot = slot;
                        if let Err(error) = connection(stream, from.ip().into(), serving, &limits, stopped).await {
                            tracing::debug!(%from, %error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: going on at once would only burn the processor.
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

/// Collects what is forgotten, now and then, while the server serves.
async fn collect(Kept { store, metrics, limits, .. }: Kept) -> Infallible {
    let grace = Grace {
        upload: limits.upload_idle.as_secs(),
        blob: limits.blob_idle.as_secs(),
        // Longer than anybody reads one blob from where it lies.
        object: limits.blob_idle.as_secs().min(3600),
    };
    loop {
        sleep(limits.collect).await;
        match store.collect(grace, now()).await {
            Ok(collected) if collected == Collected::default() => {}
            Ok(collected) => {
                metrics.collected(&collected);
                let Collected { uploads, links, blobs, objects } = collected;
                tracing::info!(uploads, links, blobs, objects, "collected");
            }
            Err(error) => tracing::warn!(%error, "the collection was not completed"),
        }
    }
}

async fn connection(
    stream: TcpStream,
    client: Client,
    mut serving: watch::Receiver<Arc<Served>>,
    limits: &Limits,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let served = Arc::clone(&serving.borrow_and_update());
    let stream = timeout(limits.handshake, served.acceptor.accept(stream)).await??;
    let session = stream.get_ref().1;
    let peer = Peer::showing(session.peer_certificates().unwrap_or_default());
    let http2 = session.alpn_protocol() == Some(b"h2");
    let service = TowerToHyperService::new(served.router.clone().layer(Extension(peer)).layer(Extension(client)));
    let stream = TokioIo::new(Idle::new(stream, limits.idle));
    if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(CHUNK)
            .max_header_list_size(u32::try_from(HEADER)?)
            .serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = &mut connection => return Ok(result?),
            _ = serving.changed() => connection.as_mut().graceful_shutdown(),
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(HEADER)
            .serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = &mut connection => return Ok(result?),
            _ = serving.changed() => connection.as_mut().graceful_shutdown(),
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

/// A stream that ends with an error after a time without a byte in either direction: one rule against slow bodies, slow
/// readers and connections that are only kept.
pub(crate) struct Idle<S> {
    inner: S,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<S> Idle<S> {
    pub(crate) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, timer: Box::pin(sleep(limit)) }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.timer.as_mut().reset(Instant::now() + self.limit);
            return poll;
        }
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.watch(context, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush with nothing to do is ready at once and is no progress: it never feeds the timer.
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn silence_ends_and_bytes_prolong() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Idle::new(ours, Duration::from_secs(60));
        let mut byte = [0];
        for _ in 0..3 {
            let (read, ()) = tokio::join!(ours.read(&mut byte), async {
                sleep(Duration::from_secs(59)).await;
                theirs.write_all(b"x").await.unwrap();
            });
            assert_eq!(read.unwrap(), 1, "control: 59 seconds are no silence");
        }
        assert_eq!(ours.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (stuck, _unread) = tokio::io::duplex(16);
        let mut stuck = Idle::new(stuck, Duration::from_secs(60));
        let written = stuck.write_all(&[0; 17]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut, "a peer that reads nothing");
    }
}
