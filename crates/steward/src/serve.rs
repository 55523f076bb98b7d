//! The listener: connections in, requests to the router, and an orderly end.
//!
//! Own accept loop: a task per connection does the TLS handshake and the requests, so that nobody's slowness is
//! anybody else's wait. Every phase has a time limit and every count has a cap ([`Limits`]). HTTPS is TLS 1.3
//! only and without 0-RTT (trust.md rule 16), with HTTP/2 or HTTP/1.1 by ALPN; without TLS it is HTTP/1.1.
//! Invariant: when [`Handle::shutdown`] returns, or the handle is dropped and the runtime ran on, no task and
//! no socket of this server is left.

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::{Duration, UNIX_EPOCH},
};

use axum::Router;
use clients::Client;
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use identity::ear::Class;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use workload::digest::Digest;

use crate::{
    Settings, Steward, Unfit,
    collateral::{Cache, Reader},
    http,
    record::writer::Record,
    settings::{Clock, Opened, SettingsError},
};

/// Time limits and caps of the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the header of a request, and for the wait before it.
    pub header: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// For a connection as a whole.
    pub connection: Duration,
    /// How long running requests may go on once the server is told to end.
    pub grace: Duration,
    /// Connections at a time, each with one request at a time; more wait in the listener's queue.
    pub connections: usize,
    /// CSRs that are judged at a time, each in a thread of the runtime.
    pub judging: usize,
    /// CSRs that are judged or wait for it; more are sent away with 503.
    pub requests: usize,
    /// Requests a second of one client, over ten seconds; more are sent away with 429. `None`: as many as it likes.
    pub rate: Option<NonZeroU32>,
    /// How long after it was read the folder of collateral is read again.
    pub collateral: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            body: Duration::from_secs(15),
            connection: Duration::from_secs(120),
            grace: Duration::from_secs(5),
            connections: 1024,
            judging: processors,
            requests: processors.saturating_mul(512),
            rate: NonZeroU32::new(100),
            collateral: Duration::from_secs(300),
        }
    }
}

/// Binds a listener, with the one error people meet said clearly.
///
/// # Errors
/// [`ListenError`] with the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// The address could not be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// The address asked for.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

impl ListenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                Some("another process listens on this port: choose another one, or 0 for any free one")
            }
            io::ErrorKind::PermissionDenied => Some("ports below 1024 need a privilege: choose a higher one"),
            io::ErrorKind::AddrNotAvailable => Some("this machine has no such address"),
            _ => None,
        }
    }
}

/// A running server. Dropping it ends the server as well, without waiting.
pub struct Handle {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// SHA-256 of the SPKI of the HTTPS certificate; `None` on plain HTTP.
    pub tls_pin: Option<Digest>,
    /// SHA-256 of the SPKI of the CA root: the anchor that a brief lists.
    pub anchor: Digest,
    /// The CA root certificate as PEM.
    pub root_pem: String,
    /// Digest of the policy.
    pub policy: Digest,
    class: Class,
    steward: Arc<Steward>,
    served: watch::Sender<Arc<Served>>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Handle {
    /// Serves by other settings from now on, or goes on as before if there is anything wrong with them: a request is judged by one
    /// policy, with one key, in one record. Connections end with their running request, so that nobody is served by what
    /// was replaced. The limits of the listener and of its connections stay.
    ///
    /// # Errors
    /// [`SettingsError`], also for another trust class: it has another process (trust.md rule 7). Nothing has changed then.
    pub async fn reload(&mut self, settings: Settings) -> Result<(), SettingsError> {
        let Ready { served, tls_pin, steward } = Ready::open(settings, &self.steward.collateral()).await?;
        let (expected, found) = (self.class, steward.policy().class());
        if expected != found {
            return Err(Unfit::Class { expected, found }.into());
        }
        self.tls_pin = tls_pin;
        self.anchor = steward.authority().anchor();
        self.root_pem = steward.authority().root_pem();
        self.policy = steward.policy().digest();
        self.steward = steward;
        self.served.send_replace(Arc::new(served));
        Ok(())
    }

    /// `http://…` or `https://…`, with the address it listens on.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls_pin.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.local_addr)
    }

    /// Accepts nothing more, lets running requests end within the grace of [`Limits`], then closes what is
    /// left.
    pub async fn shutdown(self) {
        // An error means that the server is already gone.
        let _ = self.stop.send(true);
        let _ = self.accepting.await;
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("url", &self.url()).field("anchor", &self.anchor).finish_non_exhaustive()
    }
}

/// What connections are served by that begin now.
struct Served {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    /// Connections that began by this end when it is gone.
    until: watch::Sender<()>,
    /// What reads the folder of collateral again.
    _reading: Option<Reading>,
}

/// A task that ends with this.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Settings that were opened.
struct Ready {
    served: Served,
    tls_pin: Option<Digest>,
    steward: Arc<Steward>,
}

impl Ready {
    /// With what was at hand before, where its files cannot be read now.
    async fn open(settings: Settings, before: &Cache) -> Result<Self, SettingsError> {
        let Opened { steward, tls, limits, clock, counted, record, collateral } = settings.open()?;
        let steward = Arc::new(steward);
        let reading = collateral.map(|mut reader| {
            reader.inherit(before);
            steward.put_collateral(Arc::clone(reader.cache()));
            Reading(tokio::spawn(read_again(reader, Arc::downgrade(&steward), limits.collateral, clock)))
        });
        let record = Record::open(record).await?;
        let router = http::router(Arc::clone(&steward), record, &limits, clock, counted);
        let tls_pin = tls.as_ref().map(|tls| tls.pin);
        let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config));
        let served = Served { router, acceptor, until: watch::Sender::new(()), _reading: reading };
        Ok(Self { served, tls_pin, steward })
    }
}

/// Reads the folder of collateral again and again: no request waits for it.
async fn read_again(mut reader: Reader, steward: Weak<Steward>, every: Duration, clock: Clock) {
    let mut told = 0;
    loop {
        told = tell_expired(reader.cache(), clock, told);
        sleep(every).await;
        let reading = spawn_blocking(move || {
            let read = reader.again();
            (reader, read)
        });
        // Only where the runtime ends.
        let Ok((back, read)) = reading.await else { return };
        reader = back;
        let Some(steward) = steward.upgrade() else { return };
        match read {
            Ok(true) => {
                steward.put_collateral(Arc::clone(reader.cache()));
                tracing::info!(pieces = reader.cache().len(), "collateral: read again");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "collateral: not read, what was read before stays"),
        }
    }
}

/// Opens the keys of `settings` and serves on `listener` until the handle is shut down or dropped.
///
/// # Errors
/// [`SettingsError`] when a file or key is not usable; nothing was served then.
pub async fn serve(settings: Settings, listener: TcpListener) -> Result<Handle, SettingsError> {
    let limits = settings.limits.clone();
    let Ready { served, tls_pin, steward } = Ready::open(settings, &Cache::default()).await?;
    let local_addr = listener.local_addr().map_err(|error| SettingsError::Listener(error.kind()))?;
    let (stop, stopped) = watch::channel(false);
    let (served, current) = watch::channel(Arc::new(served));
    let accepting = tokio::spawn(accept(listener, current, limits, stopped));
    Ok(Handle {
        local_addr,
        tls_pin,
        anchor: steward.authority().anchor(),
        root_pem: steward.authority().root_pem(),
        policy: steward.policy().digest(),
        class: steward.policy().class(),
        steward,
        served,
        stop,
        accepting,
    })
}

/// Tells a connection to end when its running request is answered.
#[derive(Clone)]
struct End {
    stopped: watch::Receiver<bool>,
    replaced: watch::Receiver<()>,
}

impl End {
    async fn told(&mut self) {
        // Errors too: who would tell is gone.
        tokio::select! {
            _ = self.stopped.changed() => {}
            _ = self.replaced.changed() => {}
        }
    }
}

async fn accept(
    listener: TcpListener,
    current: watch::Receiver<Arc<Served>>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections.max(1)));
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            // Also when the sender is gone, which is how a dropped handle ends the server.
            _ = stopped.changed() => break,
            // Reap, or the set grows with every connection there ever was.
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // A client that hung up before its turn: the next one need not wait for it.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
                continue;
            }
            Err(error) => {
                // Out of descriptors or memory: existing connections must end first, so wait rather than spin. On
                // Linux accept also reports the network's errors, which pass (accept(2)); so no error ends the server.
                tracing::warn!(%error, "accept");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are one small write; waiting to fill a segment only adds latency.
        let _ = stream.set_nodelay(true);
        // Nothing of what is served now is kept by a connection, or it would not end with it.
        let (router, acceptor, replaced) = {
            let Served { router, acceptor, until, _reading } = &**current.borrow();
            (router.clone(), acceptor.clone(), until.subscribe())
        };
        let limits = Arc::clone(&limits);
        let end = End { stopped: stopped.clone(), replaced };
        connections.spawn(async move {
            let _slot = slot;
            let service = Service { router, client: peer.ip().into() };
            let served = timeout(limits.connection, connection(stream, service, acceptor, &limits, end));
            match served.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "connection"),
                Err(_) => tracing::debug!(%peer, "connection closed at its time limit"),
            }
        });
    }
    drop(listener);
    let drained = timeout(limits.grace, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        connections.shutdown().await;
    }
}

/// How much of what is at hand has expired; a line where it is another number than was told.
fn tell_expired(cache: &Cache, clock: Clock, told: usize) -> usize {
    let now = clock().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let expired = || cache.pieces().filter(|piece| piece.until() < now);
    let count = expired().count();
    if let Some(first) = expired().min_by_key(|piece| piece.until()).filter(|_| count != told) {
        let place = first.need().place();
        tracing::warn!(expired = count, %place, "collateral: evidence that needs it is refused; fetch it again");
    }
    count
}

/// The routes, for one client.
#[derive(Clone)]
struct Service {
    router: Router,
    client: Client,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.client);
        TowerToHyperService::new(self.router.clone()).call(request)
    }
}

async fn connection(
    stream: tokio::net::TcpStream,
    service: Service,
    acceptor: Option<TlsAcceptor>,
    limits: &Limits,
    end: End,
) -> Result<(), ConnectionError> {
    let Some(acceptor) = acceptor else {
        return http_1(stream, service, limits, end).await;
    };
    let stream = timeout(limits.handshake, acceptor.accept(stream)).await.map_err(|_| ConnectionError::Handshake)??;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http_2(stream, service, limits, end).await
    } else {
        http_1(stream, service, limits, end).await
    }
}

async fn http_1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Service,
    limits: &Limits,
    mut end: End,
) -> Result<(), ConnectionError> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header).max_headers(64).max_buf_size(32 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = end.told() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// What an HTTP/2 client may send before anybody reads it, in bytes. A CSR has about 10 KiB.
const WINDOW: u32 = 64 * 1024;

async fn http_2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Service,
    limits: &Limits,
    mut end: End,
) -> Result<(), ConnectionError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.header)
        .keep_alive_timeout(limits.header)
        // A body is buffered before it has a place among `Limits::requests`, or slow senders would take all places.
        // So the bound is this product: connections x 1 stream x (256 KiB of body + 64 KiB of window), 320 MiB by
        // default; HTTP/1.1 has less (32 KiB in place of the window). A Keep asks one thing after the other.
        .max_concurrent_streams(1)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(16 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = end.told() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

#[derive(Debug, Error)]
enum ConnectionError {
    #[error("TLS handshake not finished in time")]
    Handshake,
    #[error("TLS: {0}")]
    Tls(#[from] io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
}
