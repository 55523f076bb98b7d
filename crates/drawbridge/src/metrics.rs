//! What a Drawbridge counts, for Prometheus (OpenMetrics 1.0).
//!
//! Owns names and labels. Refuses labels of an asker's choice: routes, kinds of content and status codes are known before anybody
//! asks, and no repository is named, for that would tell which there are. Invariant: every answer is counted once.

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, info::Info},
    registry::Registry,
};

use crate::store::Collected;

/// The media type of the text.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What has no route, and no method of ours.
const ELSEWHERE: &str = "other";

/// The counters of one Drawbridge.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    collected: Family<Kind, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    what: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("donjon_drawbridge");
        let (answers, collected) = (Family::default(), Family::default());
        registry.register("build", "The program that answers", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("answers", "Answers, by what was asked for and status", Family::clone(&answers));
        registry.register("collected", "What nothing refers to and was removed", Family::clone(&collected));
        Self { registry, answers, collected }
    }

    /// An answer was given; `path` is a route's, or what `/v2/` has in its place.
    pub(crate) fn answered(&self, method: &Method, path: Option<&str>, status: StatusCode) {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => ELSEWHERE,
        };
        let labels = Answer { method, path: path.unwrap_or(ELSEWHERE).to_owned(), status: status.as_u16() };
        self.answers.get_or_create(&labels).inc();
    }

    /// A collection ended.
    pub(crate) fn collected(&self, collected: &Collected) {
        let Collected { uploads, links, blobs, objects } = *collected;
        for (what, count) in [("upload", uploads), ("link", links), ("blob", blobs), ("object", objects)] {
            self.collected.get_or_create(&Kind { what }).inc_by(count);
        }
    }

    /// All of it, as text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
