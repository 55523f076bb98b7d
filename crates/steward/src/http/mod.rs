//! The Steward's HTTP interface: a few routes, bounded before they are read.
//!
//! ```text
//! GET  /        what I am (JSON): trust domain, class, anchors, policy digest
//! GET  /policy  the policy, signed (JWS): its payload is what the digest is of
//! GET  /trust   the trust domain's bundle (SPIFFE, a JSON Web Key Set)
//! GET  /nonce   {"nonce": base64url, "expires": seconds since 1970}
//! POST /        application/pkcs10 (DER, at most 256 KiB) -> certificate chain, or problem details with the failed checks
//! GET  /metrics counters (OpenMetrics), if the operator wants them
//! GET  /healthz whether this process answers; /readyz: whether it could issue now
//! ```
//!
//! Refuses other content types, bodies that are longer or slower than allowed, and more work than there are
//! processors for, also when whoever asked for it has hung up. Refusals are RFC 9457 problem details and say
//! what the *asker* can mend; what is ours to mend goes to the log and leaves as a bare 500.
//! Invariant: this file reads the clock, once a request; nothing below it does.

use std::{
    cmp::Ordering,
    sync::{Arc, OnceLock},
    time::{Instant, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use identity::{
    csr::{CSR_LIMIT, CSR_MEDIA_TYPE},
    pem::{self, PEM_MEDIA_TYPE, PKIPATH_MEDIA_TYPE},
    problem::{PROBLEM_MEDIA_TYPE, Problem},
};
use serde::Serialize;
use tokio::{sync::Semaphore, time::timeout};
use workload::digest::Digest;

use crate::{
    Clock, Limits, Steward,
    judge::Issued,
    metrics::{Metrics, OPEN_METRICS},
    published::{self, Bundle},
    refusal::{self, HttpFault, Refusal},
};

struct Service {
    steward: Arc<Steward>,
    limits: Limits,
    clock: Clock,
    places: Places,
    /// The policy's text, once it was asked for.
    policy: OnceLock<String>,
    metrics: Arc<Metrics>,
}

/// The places for what costs time.
struct Places {
    /// Who may be here.
    requests: Arc<Semaphore>,
    /// Who may compute.
    judging: Arc<Semaphore>,
}

/// The routes of `steward`; that of its counters only if it is `counted`: how much it does is not everybody's to know.
pub(crate) fn router(steward: Arc<Steward>, limits: &Limits, clock: Clock, counted: bool) -> Router {
    let metrics = Metrics::new(&steward);
    let (limits, places, policy) = (limits.clone(), Places::new(limits), OnceLock::new());
    let service = Arc::new(Service { steward, limits, clock, places, policy, metrics });
    let mut router = Router::new()
        .route("/", get(describe).post(certify))
        .route("/nonce", get(nonce))
        .route("/policy", get(self::policy))
        .route("/trust", get(trust))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready));
    if counted {
        router = router.route("/metrics", get(metrics_text));
    }
    router
        .fallback(async || Fault::NotFound)
        .method_not_allowed_fallback(async || Fault::Method)
        .layer(from_fn_with_state(Arc::clone(&service), count))
        .with_state(service)
}

/// Counts the answer.
async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = PATHS.into_iter().find(|path| *path == request.uri().path());
    let response = next.run(request).await;
    service.metrics.answered(&method, path, response.status());
    response
}

async fn metrics_text(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let text = service.metrics.text().map_err(|error| {
        tracing::error!(%error, "metrics");
        Fault::Internal
    })?;
    Ok(uncached(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()))
}

/// What `GET /` answers. A hint for people and tools: nothing in it is authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `donjon-steward`.
    pub service: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// The trust domain certificates are issued in.
    pub trust_domain: String,
    /// `hardware` or `insecure`.
    pub class: String,
    /// Digests of the roots (SHA-256 of the SPKI).
    pub anchors: Vec<Digest>,
    /// Digest of the policy.
    pub policy: Digest,
    /// TEEs whose evidence is taken.
    pub tees: Vec<&'static str>,
    /// Certificate lifetime in seconds.
    pub certificate_lifetime: u64,
}

impl Description {
    fn of(steward: &Steward) -> Self {
        let policy = steward.policy();
        Self {
            service: "donjon-steward",
            version: env!("CARGO_PKG_VERSION"),
            trust_domain: policy.trust_domain().to_string(),
            class: policy.class().to_string(),
            anchors: vec![steward.authority().anchor()],
            policy: policy.digest(),
            tees: policy.tees().to_vec(),
            certificate_lifetime: policy.lifetime(),
        }
    }
}

async fn describe(State(service): State<Arc<Service>>) -> Response {
    Json(Description::of(&service.steward)).into_response()
}

/// Signed once: it is the same for everybody, and nobody is to keep the key busy by asking.
async fn policy(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let signed = match service.policy.get() {
        Some(signed) => signed,
        None => {
            let steward = Arc::clone(&service.steward);
            let signed = service.places.work(move || published::policy(steward.policy(), steward.authority())).await?;
            let signed = signed.map_err(|error| {
                tracing::error!(%error, "policy");
                Fault::Internal
            })?;
            service.policy.get_or_init(|| signed)
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/jose")], signed.clone()).into_response())
}

async fn trust(State(service): State<Arc<Service>>) -> Response {
    Json(Bundle::of(service.steward.authority(), service.steward.policy())).into_response()
}

/// For whoever sends Keeps here: there is no use in it when every request would be refused for our own fault.
async fn ready(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let (now, not_after) = (service.now()?, service.steward.authority().not_after());
    if not_after <= now {
        return Err(Fault::Ended { not_after });
    }
    Ok(uncached("ready\n".into_response()))
}

async fn nonce(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let challenge = service.steward.nonce(service.now()?).map_err(|error| {
        tracing::error!(%error, "nonce");
        Fault::Internal
    })?;
    Ok(uncached(Json(challenge).into_response()))
}

async fn certify(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    if !is_csr(&parts.headers) {
        return Err(Fault::ContentType);
    }
    let accepted = Accepted::of(&parts.headers).ok_or(Fault::Accept)?;
    let csr = timeout(service.limits.body, bounded(&parts.headers, body)).await.map_err(|_| Fault::Slow)??;
    let now = service.now()?;

    let (steward, begun) = (Arc::clone(&service.steward), Instant::now());
    let judged = service.places.work(move || steward.judge(&csr, now)).await?;
    service.metrics.judged(begun.elapsed());
    match judged {
        Ok(issued) => {
            service.metrics.issued();
            tracing::info!(
                id = %issued.id,
                serial = %issued.serial,
                key = %issued.key,
                brief = issued.brief.map(tracing::field::display),
                not_after = issued.not_after,
                "issued"
            );
            Ok(uncached(accepted.form(&issued).answer(&issued)))
        }
        Err(refusal) => {
            service.metrics.refused(refusal.checks().first().map_or("none", |check| &check.id));
            Err(Fault::Refused(Box::new(refusal)))
        }
    }
}

impl Places {
    fn new(limits: &Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            judging: Arc::new(Semaphore::new(limits.judging.max(1))),
        }
    }

    /// Does `job` when there is a processor for it; sends it away when too many wait already.
    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Fault::Busy)?;
        let processor = Arc::clone(&self.judging).acquire_owned().await.map_err(|_| Fault::Busy)?;
        // Signature checks take a millisecond or two: not on the thread that answers everybody else. The job goes
        // on when the client hangs up and this future is dropped, so the places are the job's and not the future's.
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

/// True if the body says, once, that it is a CSR. Parameters mean nothing and are ignored.
fn is_csr(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let value = value.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(CSR_MEDIA_TYPE)
}

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

/// The two forms of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Pem,
    PkiPath,
}

/// What the client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    One(Form),
    /// Both alike.
    Either,
}

impl Accepted {
    /// The form the client prefers (RFC 9110 section 12.5.1); `None` when it takes neither.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let ranges: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|range| !range.is_empty())
            .collect();
        if ranges.is_empty() {
            return Some(Self::Either);
        }
        let quality = |form: Form| {
            // The most specific range that matches decides.
            let mut best = (0, 0);
            for range in &ranges {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let specific = match name {
                    name if name.eq_ignore_ascii_case(form.media_type()) => 3,
                    "application/*" => 2,
                    "*/*" => 1,
                    _ => continue,
                };
                let weight = parts
                    .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
                    .map_or(1000, |text| thousandths(text).unwrap_or(0));
                best = best.max((specific, weight));
            }
            best.1
        };
        let (pem, path) = (quality(Form::Pem), quality(Form::PkiPath));
        match pem.cmp(&path) {
            Ordering::Equal if pem == 0 => None,
            Ordering::Equal => Some(Self::Either),
            Ordering::Less => Some(Self::One(Form::PkiPath)),
            Ordering::Greater => Some(Self::One(Form::Pem)),
        }
    }

    /// Where there is a choice, PEM; to a Keep of Enarx, which says nothing and reads nothing else, the path.
    fn form(self, issued: &Issued) -> Form {
        match (self, issued.brief) {
            (Self::One(form), _) => form,
            (Self::Either, Some(_)) => Form::Pem,
            (Self::Either, None) => Form::PkiPath,
        }
    }
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Pem => PEM_MEDIA_TYPE,
            Self::PkiPath => PKIPATH_MEDIA_TYPE,
        }
    }

    fn answer(self, issued: &Issued) -> Response {
        let body = match self {
            Self::Pem => Body::from(pem::encode(&issued.chain)),
            Self::PkiPath => Body::from(pem::encode_pkipath(&issued.chain)),
        };
        ([(header::CONTENT_TYPE, self.media_type())], body).into_response()
    }
}

/// `0.7` as 700 (RFC 9110 section 12.4.2: at most three digits).
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Nonces and certificates are for the one who asked, now.
fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What there is to ask.
const ROUTES: &str = "GET /, /policy, /trust, /nonce, /healthz, /readyz or POST /";
/// The same for whoever counts.
const PATHS: [&str; 7] = ["/", "/policy", "/trust", "/nonce", "/healthz", "/readyz", "/metrics"];

/// Everything a request can end in but success.
#[derive(Debug)]
enum Fault {
    NotFound,
    Method,
    ContentType,
    Accept,
    TooLarge,
    Slow,
    Body,
    Busy,
    Internal,
    Ended { not_after: u64 },
    Refused(Box<Refusal>),
}

impl Fault {
    /// What the asker is told.
    fn problem(&self) -> Problem {
        let form = |status: StatusCode, id: &str, expected: &str| {
            refusal::http(&HttpFault {
                status: status.as_u16(),
                title: "the request is not of the form this service takes",
                id,
                expected,
                found: "something else",
                remedy: "send a request of this form",
            })
        };
        match self {
            Self::NotFound => form(StatusCode::NOT_FOUND, "http.path", ROUTES),
            Self::Method => form(StatusCode::METHOD_NOT_ALLOWED, "http.method", ROUTES),
            Self::ContentType => form(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "http.content_type",
                "Content-Type: application/pkcs10, and the CSR in DER",
            ),
            Self::Accept => form(
                StatusCode::NOT_ACCEPTABLE,
                "http.accept",
                "an Accept that takes application/pem-certificate-chain or application/pkix-pkipath",
            ),
            Self::TooLarge => form(StatusCode::PAYLOAD_TOO_LARGE, "http.size", "a body of at most 262144 bytes"),
            Self::Body => form(StatusCode::BAD_REQUEST, "http.body", "a complete body"),
            // These two are not about the form: the same request may succeed later.
            Self::Slow => refusal::http(&HttpFault {
                status: StatusCode::REQUEST_TIMEOUT.as_u16(),
                title: "the request took too long to arrive",
                id: "http.time",
                expected: "the whole body within the time limit",
                found: "a body that was not complete then",
                remedy: "send the same request again, over a faster connection if this repeats",
            }),
            Self::Busy => refusal::http(&HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the Steward is busy",
                id: "http.busy",
                expected: "fewer requests at a time",
                found: "as many as there is room for",
                remedy: "send the same request again in a moment",
            }),
            Self::Ended { not_after } => refusal::http(&HttpFault {
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                title: "the certificate authority has ended",
                id: "authority.validity",
                expected: "certificates of the authority that are valid now",
                found: &format!("they ended at {not_after}"),
                remedy: "the operator of this Steward has to renew them",
            }),
            Self::Internal => refusal::internal(),
            Self::Refused(refusal) => refusal.problem(),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let problem = self.problem();
        match &self {
            Self::Refused(refusal) if refusal.is_ours() => tracing::error!(%refusal, "internal"),
            Self::Refused(refusal) => {
                // Whoever fills the log has proved nothing yet.
                let refusal = refusal::cut(refusal.to_string());
                let checks: Vec<&str> = problem.checks.iter().map(|check| check.id.as_str()).collect();
                tracing::info!(%refusal, ?checks, "refused");
            }
            other => tracing::debug!(fault = ?other, "http"),
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response = uncached((status, [(header::CONTENT_TYPE, PROBLEM_MEDIA_TYPE)], body).into_response());
        if matches!(self, Self::Busy) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
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
            let mut work = Box::pin(places.work(move || {
                begun.fetch_add(1, Ordering::SeqCst);
                // Until the gate is open, which is when its other half is gone.
                let _ = gate.lock().unwrap().recv();
            }));
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

    #[test]
    fn who_should_only_try_again_is_told_so() {
        let told = |fault: Fault| {
            let problem = fault.problem();
            (problem.status, problem.title, problem.checks[0].remedy.clone())
        };
        let (status, title, remedy) = told(Fault::Busy);
        assert_eq!((status, title.as_str()), (503, "the Steward is busy"));
        assert!(remedy.contains("same request again"));
        let (status, title, remedy) = told(Fault::Slow);
        assert_eq!((status, title.as_str()), (408, "the request took too long to arrive"));
        assert!(remedy.contains("same request again"));
        // The control: what is of another form has to change.
        let (_, title, remedy) = told(Fault::ContentType);
        assert!(title.contains("form") && remedy.contains("of this form"));
    }

    fn accept(value: &str) -> Option<Accepted> {
        let mut headers = HeaderMap::new();
        if !value.is_empty() {
            headers.insert(header::ACCEPT, value.parse().unwrap());
        }
        Accepted::of(&headers)
    }

    #[test]
    fn accept_chooses_the_form() {
        use super::{Accepted::*, Form::*};
        for (value, form) in [
            ("", Some(Either)),
            ("*/*", Some(Either)),
            ("application/*", Some(Either)),
            ("application/pkix-pkipath", Some(One(PkiPath))),
            ("APPLICATION/PKIX-PKIPATH", Some(One(PkiPath))),
            ("application/pkix-pkipath, */*;q=0.1", Some(One(PkiPath))),
            ("application/pkix-pkipath;q=0.5, application/pem-certificate-chain;q=0.7", Some(One(Pem))),
            ("application/pem-certificate-chain;q=0, */*", Some(One(PkiPath))),
            ("text/html", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(accept(value), form, "{value}");
        }
    }

    #[test]
    fn the_content_type_is_pkcs10_once_and_nothing_else() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, value.parse().unwrap());
            }
            is_csr(&headers)
        };
        assert!(of(&["application/pkcs10"]));
        assert!(of(&["Application/PKCS10; charset=binary"]));
        assert!(!of(&[]));
        assert!(!of(&["application/pkcs10x"]));
        assert!(!of(&["text/plain"]));
        assert!(!of(&["application/pkcs10", "text/plain"]));
    }
}
