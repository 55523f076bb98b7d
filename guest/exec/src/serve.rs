//! Services: components of `wasi:http`, 0.2 (`proxy`) and 0.3 (`service`), behind HTTP/1.1 and HTTP/2, with TLS by the
//! Keep's certificate.
//!
//! Owns the bounds on what strangers may hold (connections, instances, time without a request) and one fresh instance per
//! request. Who gets a connection is [`network`]'s to say; who has to go when there is no room for another, [`places`](crate::places)'.
//!
//! Owns the end of a service too: its host wants it, nobody is accepted any more, and who asks already is answered.
//!
//! Invariant: what a slow or hostile peer costs is counted: its connections, of which one without a request is closed,
//! and the instances of its requests, of which one that waits for its peer ends when another needs the place.
//!
//! Everything here shares one thread; a program that computes yields to the others with each turn of [`limits`].

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView, p3};
use workload::manifest::{Manifest, Protocol};

use crate::Ended;
use crate::answer::Answer;
use crate::command;
use crate::engine::{Code, HANDLER_3, Program};
use crate::enrol::Identity;
use crate::idle::{self, Busy, Requests};
use crate::limits::{self, Over, Pulse};
use crate::machine::{self, Full, MACHINE};
use crate::network::{self, Listener, Stream};
use crate::places::{Place, Places, Watched, Way};
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};
use crate::wasi::World;
use crate::wasi::component::{self, Component};
use crate::wish::Wish;

/// Connections served at once, as far as there are descriptors. The one that waited longest for a request goes when more
/// come.
const CONNECTIONS: usize = 12 * 1024;
/// The head of a request must be there in this time. A connection without a request for so long is closed, whatever else
/// its peer sends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request may have waited for its peer before it has to end for another: its body, or that its answer is taken.
const SLOW: Duration = Duration::from_secs(5);
/// How long a service that is to end waits for the requests that run.
const LAST: Duration = Duration::from_secs(30);
/// How long a connection lasts then whose peer was told, and asks nothing.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves until the host wants an end.
pub(crate) async fn serve(
    platform: &mut Platform,
    world: World,
    manifest: &Manifest,
    program: &Program,
    identity: Option<&Arc<Identity>>,
    wish: &Wish,
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

    let listener = match world.network.http() {
        Some(service) => Arc::clone(service),
        None => {
            let mut listen = manifest.http_listener();
            if identity.is_none() {
                // A plain artifact run locally: without a Steward there is no certificate to serve it with.
                listen.protocol = Protocol::Http;
            }
            Arc::new(network::Service::new(listen, identity, None, None)?)
        }
    };
    let tls = listener.tls();
    let requests = world.limits.requests.and_then(|limit| usize::try_from(limit).ok());
    let requests = requests.unwrap_or(usize::MAX).min(program.instances());
    let listener = world.network.open(&listener)?;
    let service = Arc::new(Service {
        engine: program.engine.clone(),
        entry,
        instances: Places::new(requests, SLOW),
        world,
        pulse: program.pulse.clone(),
        tls,
    });

    platform.milestone(Step::Program, "the service accepts connections")?;
    let (end, ends) = watch::channel(false);
    tokio::select! {
        never = accept(listener, &service, &ends) => match never? {},
        _ = wish.heard() => {}
    }
    // The listener is closed. What is left of the connections has the other ends of this.
    drop(ends);
    end.send_replace(true);
    _ = tokio::time::timeout(LAST, end.closed()).await;
    Ok(Ended::Exit(0))
}

/// Gives each connection a task.
async fn accept(
    mut listener: Listener,
    service: &Arc<Service>,
    ends: &watch::Receiver<bool>,
) -> Result<Infallible, Refusal> {
    let places = Places::new(CONNECTIONS, Duration::ZERO);
    loop {
        let Ok(stream) = poll_fn(|context| listener.poll_accept(context)).await else {
            // Out of descriptors: somebody has to go.
            places.make_room();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let place = places.take().await;
        let (service, ends) = (Arc::clone(service), ends.clone());
        tokio::spawn(service.exchange(stream, place, ends));
    }
}

/// The head of an answer, and its body still to come.
type Response = hyper::Response<WasiBody>;

/// Why a request ends that was not the program's fault.
#[derive(Debug, thiserror::Error)]
#[error("the request came, or its answer was taken, too slowly for a service that has no room")]
struct Slow;

/// How a component takes requests.
enum Entry {
    P2(ProxyPre<Component>),
    P3(ServicePre<Component>),
}

struct Service {
    engine: Engine,
    entry: Entry,
    world: World,
    pulse: Option<Arc<Pulse>>,
    /// Requests come over TLS.
    tls: bool,
    instances: Arc<Places>,
}

impl Service {
    /// Requests and answers, until the peer leaves or has no more requests, or the service ends.
    async fn exchange(self: Arc<Self>, stream: Stream, place: Place, mut ends: watch::Receiver<bool>) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128).keep_alive_interval(Some(PATIENCE));
        let requests = Requests::new(&place.holder);
        let watched = requests.watch();
        let handler = service_fn(move |request| {
            let (service, busy) = (Arc::clone(&self), requests.begin());
            // A request is one until the last byte of its answer is out, or given up.
            async move { service.answer(request, busy).await }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), handler);
        tokio::pin!(connection);
        // First with a farewell, because a request may be on its way; then without.
        tokio::select! {
            // How a connection ended is its peer's affair; nothing here depends on it.
            _ = connection.as_mut() => return,
            () = idle::after(PATIENCE, watched.clone()) => {}
            () = place.holder.left() => {}
            _ = ends.wait_for(|ends| *ends) => {}
        }
        connection.as_mut().graceful_shutdown();
        let patience = if *ends.borrow() || place.holder.leaves() { FAREWELL } else { PATIENCE };
        tokio::select! {
            _ = connection.as_mut() => {}
            () = idle::after(patience, watched) => {}
        }
    }

    /// One request, one instance.
    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        busy: Busy,
    ) -> wasmtime::Result<hyper::Response<Watched<Answer<WasiBody, Busy>>>> {
        let place = self.instances.take().await;
        let holder = Arc::clone(&place.holder);
        let running = self.pulse.as_deref().map(Pulse::running);
        let mut store = Store::new(&self.engine, Component::new(&self.world, false));
        limits::keep(&mut store, self.pulse.is_some());
        let request = request.map(|body| Watched::new(body, Way::In, &holder));
        // A set of one, because a set ends its tasks when it is dropped, as this future is if the caller gives up.
        let mut task = JoinSet::new();
        let response = match &self.entry {
            Entry::P2(pre) => {
                let (sender, answer) = oneshot::channel();
                let scheme = if self.tls { Scheme::Https } else { Scheme::Http };
                let request = store.data_mut().http().new_incoming_request(scheme, request)?;
                let out = store.data_mut().http().new_response_outparam(sender)?;
                let pre = pre.clone();
                task.spawn(self.in_time(place, async move {
                    let _running = running;
                    let proxy = pre.instantiate_async(&mut store).await?;
                    proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
                }));
                self.told(answer, task).await
            }
            Entry::P3(pre) => {
                let (sender, answer) = oneshot::channel();
                let request = absolute(request, self.tls).map(|body| body.map_err(Error::from));
                let (request, read) = p3::Request::from_http(store.data_mut().http().hooks, request);
                let pre = pre.clone();
                task.spawn(self.in_time(place, async move {
                    let _running = running;
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
                }));
                self.told(answer, task).await
            }
        };
        Ok(response.map(|body| Watched::new(Answer::new(body, busy), Way::Out, &holder)))
    }

    /// For as long as the manifest gives it, and its peer lets nobody wait who needs the place.
    fn in_time(
        &self,
        place: Place,
        handled: impl Future<Output = wasmtime::Result<()>> + Send + 'static,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send + 'static {
        let limit = self.world.limits.time.map(|limit| limit.duration());
        async move {
            let over = async {
                match limit {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = machine::held(&MACHINE, handled) => ended?,
                () = over => Err(Over::Time(limit.unwrap_or_default()).into()),
                () = place.holder.left() => Err(Slow.into()),
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
            Ok(Err(_)) => failed(StatusCode::INTERNAL_SERVER_ERROR, "the program answered with an error"),
            Err(_) => match task.join_next().await {
                Some(Ok(Err(error))) if error.is::<Slow>() => failed(StatusCode::REQUEST_TIMEOUT, &Slow.to_string()),
                Some(Ok(Err(error))) if error.is::<Full>() => {
                    failed(StatusCode::SERVICE_UNAVAILABLE, &Full.to_string())
                }
                ended => {
                    if let Some(Ok(Err(error))) = ended {
                        command::trap(&error, self.world.streams.stderr);
                    }
                    failed(StatusCode::INTERNAL_SERVER_ERROR, "the program ended without an answer")
                }
            },
        }
    }
}

/// With scheme and authority, which a request over HTTP/1.1 has elsewhere.
fn absolute<B>(mut request: hyper::Request<B>, tls: bool) -> hyper::Request<B> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    let host = request.headers().get(http::header::HOST).and_then(|host| host.as_bytes().try_into().ok());
    parts.authority = parts.authority.or(host);
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// What a caller sees when there is no answer: why, and nothing of the program's inside.
fn failed(status: StatusCode, reason: &str) -> Response {
    let body = http_body_util::Full::new(bytes::Bytes::from(format!("{reason}\n")));
    let mut response = hyper::Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn defect(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Step::Program, "serve.defect", error, "this is a defect of the Keep: report it")
}
