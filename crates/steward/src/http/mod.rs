//! The Steward's HTTP interface: bounded before it is read.
//!
//! ```text
//!   routes   what there is to ask, once: the router and the OpenAPI document are made of it
//!   told     what a Steward says of itself          GET /, /policy, /trust, /nonce, /healthz, /readyz, /metrics, /openapi.json
//!   enrol    certificates: one request, or many     POST /
//!   est      the same, for clients of RFC 7030      /.well-known/est/…
//!   forms    media types of bodies and answers      fault    everything a request can end in but success
//! ```
//!
//! Here are the places for what costs time, and how a body is read. Refused: bodies that are longer or slower than allowed, clients
//! that ask too often, and more work than there are processors for, also when whoever asked for it has hung up. Refusals are
//! RFC 9457 problem details and say what the *asker* can mend; what is ours to mend goes to the log and leaves as a bare 500.
//! Invariant: this folder reads the clock, once a request; nothing below it does.

mod enrol;
mod est;
mod fault;
mod forms;
mod routes;
mod told;

use std::{
    sync::{Arc, OnceLock},
    time::UNIX_EPOCH,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use identity::{csr::CSR_LIMIT, enrol::Challenge};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use self::fault::Fault;
pub use self::routes::open_api;
use crate::{Clock, Limits, Steward, metrics::Metrics, record::writer::Record};
use clients::{Client, Clients};

struct Service {
    steward: Arc<Steward>,
    record: Record,
    limits: Limits,
    clock: Clock,
    places: Places,
    clients: Option<Clients>,
    /// The policy's text, once it was asked for.
    policy: OnceLock<String>,
    /// If anybody wants them.
    metrics: Option<Metrics>,
}

/// The places for what costs time.
struct Places {
    /// Who may be here.
    requests: Arc<Semaphore>,
    /// Who may compute.
    judging: Arc<Semaphore>,
}

/// One of those places, until nobody holds it any more.
#[derive(Clone)]
struct Place(#[expect(dead_code, reason = "held, and nothing else")] Arc<OwnedSemaphorePermit>);

/// The routes of a Steward that keeps no record, for who serves them himself.
pub fn routes(steward: Arc<Steward>, limits: &Limits, clock: Clock) -> Router {
    router(steward, Record::none(), limits, clock, false)
}

/// The routes of `steward`; that of its counters only if it is `counted`: how much it does is not everybody's to know.
pub(crate) fn router(steward: Arc<Steward>, record: Record, limits: &Limits, clock: Clock, counted: bool) -> Router {
    let metrics = counted.then(|| Metrics::new(&steward));
    let (limits, places, policy) = (limits.clone(), Places::new(limits), OnceLock::new());
    let clients = limits.rate.map(Clients::new);
    let service = Arc::new(Service { steward, record, limits, clock, places, clients, policy, metrics });
    routes::table(counted)
        .fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
        .fallback(async || Fault::NotFound)
        .method_not_allowed_fallback(async || Fault::Method)
        .layer(from_fn_with_state(Arc::clone(&service), admit))
        .with_state(service)
}

/// Lets in who has not asked too often, and counts the answer.
async fn admit(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let client = request.extensions().get::<Client>().copied();
    let often = service.clients.as_ref().zip(client).is_some_and(|(clients, client)| !clients.admit(client));
    let response = if often { Fault::Often.into_response() } else { next.run(request).await };
    if let Some(metrics) = &service.metrics {
        metrics.answered(&method, path.as_ref().map(MatchedPath::as_str), response.status());
    }
    response
}

impl Places {
    fn new(limits: &Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            judging: Arc::new(Semaphore::new(limits.judging.max(1))),
        }
    }

    /// A place among those who are here; sends away who finds none.
    fn place(&self) -> Result<Place, Fault> {
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Fault::Busy)?;
        Ok(Place(Arc::new(place)))
    }

    /// Does `job`, of a millisecond or two, when there is a processor for it: here, because the way to another thread and back would
    /// cost a fifth of it. Who else is to be answered meanwhile has the runtime's other threads.
    async fn compute<T>(&self, job: impl FnOnce() -> T) -> Result<T, Fault> {
        let _processor = self.judging.acquire().await.map_err(|_| Fault::Busy)?;
        Ok(job())
    }

    /// Does `job`, which takes its time, when there is a processor for it, where nobody waits behind it.
    async fn work<T: Send + 'static>(
        &self,
        place: &Place,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let place = place.clone();
        let processor = Arc::clone(&self.judging).acquire_owned().await.map_err(|_| Fault::Busy)?;
        // The job goes on when the client hangs up and this future is dropped, so the places are the job's and not the future's.
        let done = tokio::task::spawn_blocking(move || {
            let _held = (place, processor);
            job()
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "judge");
            Fault::Internal
        })
    }
}

impl Service {
    /// The body of a request, in time.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
        timeout(self.limits.body, bounded(headers, body)).await.map_err(|_| Fault::Slow)?
    }

    /// A nonce.
    fn challenge(&self, now: u64) -> Result<Challenge, Fault> {
        self.steward.nonce(now).map_err(|error| {
            tracing::error!(%error, "nonce");
            Fault::Internal
        })
    }

    /// Seconds since 1970.
    fn now(&self) -> Result<u64, Fault> {
        match (self.clock)().duration_since(UNIX_EPOCH) {
            Ok(now) => Ok(now.as_secs()),
            Err(error) => {
                tracing::error!(%error, "clock");
                Err(Fault::Internal)
            }
        }
    }
}

/// At most [`CSR_LIMIT`].
async fn bounded(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let said = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if said.is_some_and(|length| length > CSR_LIMIT as u64) {
        return Err(Fault::TooLarge);
    }
    match Limited::new(body, CSR_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::TooLarge),
        Err(error) => {
            tracing::debug!(%error, "body");
            Err(Fault::Body)
        }
    }
}

/// Nonces and certificates are for the one who asked, now.
fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        task::{Context, Waker},
    };

    use super::*;

    /// Each future is dropped while its job runs, which is what happens when a client hangs up.
    #[tokio::test]
    async fn jobs_of_clients_that_hung_up_keep_their_places() {
        let places = Places::new(&Limits { judging: 2, requests: 3, ..Limits::default() });
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let begun = Arc::new(AtomicUsize::new(0));
        for free in [1, 0, 0, 0, 0, 0] {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            let mut work = Box::pin(async {
                let place = places.place()?;
                let job = move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    // Until the gate is open, which is when its other half is gone.
                    let _ = gate.lock().unwrap().recv();
                };
                places.work(&place, job).await
            });
            // One poll: the job is under way if there is a place for it.
            assert!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            drop(work);
            assert_eq!(places.judging.available_permits(), free);
            assert_eq!(places.requests.available_permits(), free + 1);
        }
        drop(open);
        // All places come back, and those who hung up before they had one cost nothing.
        let _all = places.judging.acquire_many(2).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert_eq!(places.requests.available_permits(), 3);
    }
}
