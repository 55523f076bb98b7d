//! Services: components of `wasi:http`, 0.2 (`proxy`) and 0.3 (`service`), behind HTTP/1.1 and HTTP/2, with TLS by the
//! Keep's certificate.
//!
//! Owns the listener, the bounds on what strangers may hold (connections, instances, time without a request) and one
//! fresh instance per request. Refuses plain HTTP where the manifest says `https`, and TLS without a certificate.
//!
//! Invariant: what a slow or hostile peer costs is counted: its connections, of which one without a request is closed,
//! and the instances of its requests. Handshakes run in their own tasks.
//!
//! Not bounded yet: a peer that begins requests and never ends them can take all there is of both. And everything here
//! shares one thread, so a program that computes without yielding blocks all others until it is done; Wasmtime's epochs
//! will end that (issue 5).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView, p3};
use workload::manifest::{Listen, Manifest, Protocol};

use crate::Ended;
use crate::answer::Answer;
use crate::command;
use crate::connect::Tls;
use crate::engine::{Code, HANDLER_3, Program};
use crate::enrol::Identity;
use crate::idle::{self, Busy};
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};
use crate::wasi::World;
use crate::wasi::component::{self, Component};

/// Connections served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 1024;
/// Instances that run at once; the requests of more wait. Each has memories of its own, and reserves gibibytes of
/// addresses for each of them, of which a process has 128 TiB. As many as connections: over HTTP/1.1 none waits.
const INSTANCES: usize = CONNECTIONS;
/// A TLS handshake must be done in this time, and so must the head of a request. A connection without a request for so
/// long is closed, whatever else its peer sends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the platform ends the Keep.
pub(crate) async fn serve(
    platform: &mut Platform,
    world: World,
    manifest: &Manifest,
    program: &Program,
    identity: Option<Identity>,
) -> Result<Ended, Refusal> {
    let Code::Component(component) = &program.code else {
        return Err(defect("a module cannot be a wasi:http service"));
    };
    let linker = component::linker(&program.engine).map_err(|error| defect(format_args!("{error:#}")))?;
    let pre = linker.instantiate_pre(component);
    let entry = if program.exports(HANDLER_3) {
        pre.and_then(ServicePre::new).map(Entry::P3)
    } else {
        pre.and_then(ProxyPre::new).map(Entry::P2)
    };
    let entry = entry.map_err(|error| command::link(&error))?;

    let mut listen = manifest.http_listener();
    if manifest.listen.is_empty() && identity.is_none() {
        // A plain artifact run locally: without a Steward there is no certificate to serve it with.
        listen.protocol = Protocol::Http;
    }
    let tls = match listen.protocol {
        Protocol::Http => None,
        Protocol::Https => Some(tls(&listen, identity)?),
        Protocol::Tcp | Protocol::Tls => return Err(defect("a wasi:http service listens with http or https")),
    };
    let listener = bind(platform, &listen).await?;
    let service = Arc::new(Service {
        engine: program.engine.clone(),
        entry,
        world,
        tls: tls.is_some(),
        instances: Arc::new(Semaphore::new(INSTANCES)),
    });

    platform.milestone(Step::Program, "the service accepts connections")?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(defect)?;
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already: let others finish first.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (service, tls) = (Arc::clone(&service), tls.clone());
        tokio::spawn(async move {
            service.connection(stream, tls).await;
            drop(slot);
        });
    }
}

/// The server side of the Keep's identity.
fn tls(listen: &Listen, identity: Option<Identity>) -> Result<TlsAcceptor, Refusal> {
    let Some(identity) = identity else {
        return Err(Refusal::new(
            Step::Program,
            "listen.certificate",
            format_args!(
                "listener `{}` wants TLS, but this Keep has no certificate: no Steward was named",
                listen.name
            ),
            "deploy it, or say `protocol = \"http\"` for a local run",
        ));
    };
    Ok(TlsAcceptor::from(Tls::new()?.server(&identity)?))
}

async fn bind(platform: &mut Platform, listen: &Listen) -> Result<TcpListener, Refusal> {
    let address = match platform.bind(listen.name.as_str())? {
        Some(address) => address,
        None => format!("[::]:{}", listen.port),
    };
    let refused = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::AddrInUse {
            format!("end the program that holds it, or choose another with `--listen {}=127.0.0.1:0`", listen.name)
        } else {
            format!("choose an address of this host with `--listen {}=ADDRESS:PORT`", listen.name)
        };
        Refusal::new(
            Step::Program,
            if error.kind() == std::io::ErrorKind::AddrInUse { "listen.in-use" } else { "listen.bind" },
            format_args!("listener `{}` cannot be bound to {address}: {error}", listen.name),
            hint,
        )
    };
    let listener = TcpListener::bind(parse(&address)?).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    platform.listening(listen.name.as_str(), &bound.to_string())?;
    Ok(listener)
}

/// Numeric only: a Keep resolves no names by itself.
fn parse(address: &str) -> Result<std::net::SocketAddr, Refusal> {
    address.parse().map_err(|_| {
        Refusal::new(
            Step::Program,
            "listen.address",
            format_args!("`{address}` is not an address and port"),
            "write it as 127.0.0.1:8443 or [::1]:8443",
        )
    })
}

/// The head of an answer, and its body still to come.
type Response = hyper::Response<WasiBody>;

/// How a component takes requests.
enum Entry {
    P2(ProxyPre<Component>),
    P3(ServicePre<Component>),
}

struct Service {
    engine: Engine,
    entry: Entry,
    world: World,
    /// Requests come over TLS.
    tls: bool,
    instances: Arc<Semaphore>,
}

impl Service {
    async fn connection(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Small answers should not wait for more; if the option fails they merely do.
        _ = stream.set_nodelay(true);
        match tls {
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                    self.exchange(stream).await;
                }
            }
            None => self.exchange(stream).await,
        }
    }

    /// Requests and answers, until the peer leaves or has no more requests.
    async fn exchange(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128).keep_alive_interval(Some(PATIENCE));
        let (requests, watched) = watch::channel(0);
        let requests = Arc::new(requests);
        let handler = service_fn(move |request| {
            let (service, busy) = (Arc::clone(&self), Busy::new(&requests));
            async move {
                let response = service.answer(request).await?;
                // A request is one until the last byte of its answer is out, or given up.
                Ok::<_, wasmtime::Error>(response.map(|body| Answer::new(body, busy)))
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), handler);
        tokio::pin!(connection);
        // First with a farewell, because a request may be on its way; then without.
        for _ in 0..2 {
            tokio::select! {
                // How a connection ended is its peer's affair; nothing here depends on it.
                _ = connection.as_mut() => return,
                () = idle::after(PATIENCE, watched.clone()) => connection.as_mut().graceful_shutdown(),
            }
        }
    }

    /// One request, one instance.
    async fn answer(&self, request: hyper::Request<Incoming>) -> wasmtime::Result<Response> {
        let permit = Arc::clone(&self.instances).acquire_owned().await?;
        let mut store = Store::new(&self.engine, Component::new(&self.world, false));
        // A set of one, because a set ends its tasks when it is dropped, as this future is if the caller gives up.
        let mut task = JoinSet::new();
        match &self.entry {
            Entry::P2(pre) => {
                let (sender, answer) = oneshot::channel();
                let scheme = if self.tls { Scheme::Https } else { Scheme::Http };
                let request = store.data_mut().http().new_incoming_request(scheme, request)?;
                let out = store.data_mut().http().new_response_outparam(sender)?;
                let pre = pre.clone();
                task.spawn(async move {
                    let _held = permit;
                    let proxy = pre.instantiate_async(&mut store).await?;
                    proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
                });
                Ok(self.told(answer, task).await)
            }
            Entry::P3(pre) => {
                let (sender, answer) = oneshot::channel();
                let request = absolute(request, self.tls).map(|body| body.map_err(Error::from));
                let (request, read) = p3::Request::from_http(store.data_mut().http().hooks, request);
                let pre = pre.clone();
                task.spawn(async move {
                    let _held = permit;
                    let service = pre.instantiate_async(&mut store).await?;
                    let handled = store.run_concurrent(async move |store| {
                        let answer = match service.handle(store, request).await? {
                            Ok(response) => Ok(store.with(|store| response.into_http(store, read))?),
                            Err(code) => Err(code),
                        };
                        // Whoever asked may be gone.
                        _ = sender.send(answer);
                        poll_fn(|context| store.poll_no_interesting_tasks(context)).await;
                        Ok(())
                    });
                    handled.await?
                });
                Ok(self.told(answer, task).await)
            }
        }
    }

    /// What the instance in `task` answers.
    async fn told<E>(
        &self,
        answer: oneshot::Receiver<Result<Response, E>>,
        mut task: JoinSet<wasmtime::Result<()>>,
    ) -> Response {
        let answer = answer.await;
        if answer.is_ok() {
            // The instance may go on, writing its body for example, after the head of the answer is sent.
            task.detach_all();
        }
        match answer {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => failed("the program answered with an error"),
            Err(_) => {
                if let Some(Ok(Err(error))) = task.join_next().await {
                    command::trap(&error, self.world.streams.stderr);
                }
                failed("the program ended without an answer")
            }
        }
    }
}

/// With scheme and authority, which a request over HTTP/1.1 has elsewhere.
fn absolute(mut request: hyper::Request<Incoming>, tls: bool) -> hyper::Request<Incoming> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    let host = request.headers().get(http::header::HOST).and_then(|host| host.as_bytes().try_into().ok());
    parts.authority = parts.authority.or(host);
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// What a caller sees when the program failed: that it did, and nothing of its inside.
fn failed(reason: &str) -> Response {
    let body = http_body_util::Full::new(bytes::Bytes::from(format!("{reason}\n")));
    let mut response = hyper::Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn defect(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Step::Program, "serve.defect", error, "this is a defect of the Keep: report it")
}
