//! What a Steward counts, for Prometheus (OpenMetrics 1.0).
//!
//! Owns names and labels. Refuses labels of an asker's choice: routes, status codes and ids of checks are known before anybody
//! asks, so that nobody fills the memory of whoever collects. Invariant: every answer is counted once, under its route.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::Steward;

/// The media type of the text.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where requests go that have no route.
const ELSEWHERE: &str = "other";

/// Upper bounds of the time of judging, in seconds.
const JUDGING: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The counters of one Steward.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    certificates: Counter,
    refusals: Family<Cause, Counter>,
    judging: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    check: String,
}

impl Metrics {
    pub(crate) fn new(steward: &Steward) -> Self {
        let mut registry = Registry::with_prefix("donjon_steward");
        let (answers, certificates, refusals) = (Family::default(), Counter::default(), Family::default());
        let judging = Histogram::new(JUDGING);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that answers", build);
        registry.register("answers", "Answers, by route and status", Family::clone(&answers));
        registry.register("certificates", "Certificates that were issued", Counter::clone(&certificates));
        registry.register(
            "refusals",
            "Requests for certificates refused, by their first failed check",
            Family::clone(&refusals),
        );
        let help = "How long a request for a certificate took to be judged, the wait for a processor included";
        registry.register_with_unit("judging", help, Unit::Seconds, judging.clone());
        let end = i64::try_from(steward.authority().not_after()).unwrap_or(i64::MAX);
        let help = "Last second in which the whole chain of the authority is valid, Unix time";
        registry.register_with_unit("authority_end", help, Unit::Seconds, ConstGauge::new(end));
        Self { registry, answers, certificates, refusals, judging }
    }

    /// An answer was given.
    pub(crate) fn answered(&self, method: &Method, path: Option<&str>, status: StatusCode) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => ELSEWHERE,
        };
        let labels = Answer { method, path: path.unwrap_or(ELSEWHERE).to_owned(), status: status.as_u16() };
        self.answers.get_or_create(&labels).inc();
    }

    /// A certificate was issued.
    pub(crate) fn issued(&self) {
        self.certificates.inc();
    }

    /// A certificate was refused, at this check first. The ids are those of our lists.
    pub(crate) fn refused(&self, check: &str) {
        self.refusals.get_or_create(&Cause { check: check.to_owned() }).inc();
    }

    /// A request was judged.
    pub(crate) fn judged(&self, took: Duration) {
        self.judging.observe(took.as_secs_f64());
    }

    /// All of it, as text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
