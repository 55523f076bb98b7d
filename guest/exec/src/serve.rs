//! Services: `wasi:http/proxy` components behind HTTP/1.1 and HTTP/2, with TLS by the Keep's certificate.
//!
//! Owns the listener, the bounds on what strangers may hold (connections, handshake and header time) and one fresh
//! instance per request. Refuses plain HTTP where the manifest says `https`, and TLS without a certificate.
//!
//! Invariant: a slow or hostile peer costs its own connection, never another's: handshakes run in their own tasks.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};
use workload::brief::Brief;
use workload::manifest::{Listen, Manifest, Protocol};

use crate::Ended;
use crate::command;
use crate::connect::Tls;
use crate::engine::{Code, Program};
use crate::enrol::Identity;
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};

/// Connections served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 1024;
/// A TLS handshake must be done in this time, and so must the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the platform ends the Keep.
pub(crate) async fn serve(
    platform: &mut Platform,
    brief: &Brief,
    manifest: &Manifest,
    program: &Program,
    identity: Option<Identity>,
) -> Result<Ended, Refusal> {
    let Code::Component(component) = &program.code else {
        return Err(defect("a module cannot be a wasi:http service"));
    };
    let mut linker = wasmtime::component::Linker::new(&program.engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(|error| defect(format_args!("{error:#}")))?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)
        .map_err(|error| defect(format_args!("{error:#}")))?;
    let pre = linker.instantiate_pre(component).and_then(ProxyPre::new).map_err(|error| command::link(&error))?;

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
    let service = Arc::new(Service { pre, brief: brief.clone(), manifest: manifest.clone(), scheme: tls.is_some() });

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

struct Service {
    pre: ProxyPre<Request>,
    brief: Brief,
    manifest: Manifest,
    scheme: bool,
}

impl Service {
    async fn connection(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Small answers should not wait for more; if the option fails they merely do.
        _ = stream.set_nodelay(true);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128).keep_alive_interval(Some(PATIENCE));
        let handler = service_fn(move |request| {
            let service = Arc::clone(&self);
            async move { service.answer(request).await }
        });
        // How a connection ended is its peer's affair; nothing here depends on it.
        match tls {
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                    _ = builder.serve_connection(TokioIo::new(stream), handler).await;
                }
            }
            None => _ = builder.serve_connection(TokioIo::new(stream), handler).await,
        }
    }

    /// One request, one instance.
    async fn answer(&self, request: hyper::Request<Incoming>) -> wasmtime::Result<hyper::Response<HyperOutgoingBody>> {
        let state = Request {
            wasi: command::wasi(&self.brief, &self.manifest, false).build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: Outgoing,
        };
        let mut store = Store::new(self.pre.engine(), state);
        let scheme = if self.scheme { Scheme::Https } else { Scheme::Http };
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(scheme, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let pre = self.pre.clone();
        // The instance may go on writing its body after the head of the answer is sent.
        let task = tokio::spawn(async move {
            let proxy = pre.instantiate_async(&mut store).await?;
            proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        });
        match receiver.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(code)) => Ok(failed(&format!("the program answered with an error: {code:?}"))),
            Err(_) => {
                if let Ok(Err(error)) = task.await {
                    command::trap(&error);
                }
                Ok(failed("the program ended without an answer"))
            }
        }
    }
}

/// What a caller sees when the program failed: that it did, and nothing of its inside.
fn failed(reason: &str) -> hyper::Response<HyperOutgoingBody> {
    let body = http_body_util::Full::new(bytes::Bytes::from(format!("{reason}\n")));
    let mut response = hyper::Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

struct Request {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: Outgoing,
}

impl WasiView for Request {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Request {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Outgoing requests: denied, as nothing in the manifest can allow them yet.
struct Outgoing;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<
        dyn Future<
                Output = wasmtime_wasi_http::Result<(
                    http::Response<WasiBody>,
                    Box<dyn Future<Output = Result<(), Error>> + Send>,
                )>,
            > + Send,
    > {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

fn defect(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Step::Program, "serve.defect", error, "this is a defect of the Keep: report it")
}
