//! What there is to ask of a Steward, once: path, operations, forms, handler.
//!
//! Owns the table that the router is made of, the list that whoever asks for something else is told, and the OpenAPI document
//! (version 3.1) that says the same to programs: `spec/steward.openapi.json`. Invariant: none of the three has a route that the
//! others have not.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use identity::{
    csr::CSR_MEDIA_TYPE,
    pem::{PEM_MEDIA_TYPE, PKIPATH_MEDIA_TYPE},
    problem::PROBLEM_MEDIA_TYPE,
};
use serde_json::{Map, Value, json};

use super::{Service, enrol, est, forms::Kind, told};
use crate::metrics::OPEN_METRICS;

/// A path.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) handler: fn() -> MethodRouter<Arc<Service>>,
    operations: &'static [Operation],
    /// Not everywhere.
    counters: bool,
}

/// What can be done there.
struct Operation {
    method: &'static str,
    about: &'static str,
    /// Media types of the body.
    takes: &'static [&'static str],
    /// Media types of the answer.
    gives: &'static [&'static str],
    /// The form of an answer in JSON, among [`forms`].
    form: Option<&'static str>,
}

const fn asked(about: &'static str, gives: &'static [&'static str], form: Option<&'static str>) -> Operation {
    Operation { method: "get", about, takes: &[], gives, form }
}

const fn sent(about: &'static str, takes: &'static [&'static str], gives: &'static [&'static str]) -> Operation {
    Operation { method: "post", about, takes, gives, form: None }
}

const fn route(
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Service>>,
    operations: &'static [Operation],
) -> Route {
    Route { path, handler, operations, counters: false }
}

const JSON: &[&str] = &["application/json"];
const TEXT: &[&str] = &["text/plain; charset=utf-8"];
const CSR: &[&str] = &[CSR_MEDIA_TYPE];
const CERTIFICATES: &[&str] = &[est::CERTIFICATES];

static ROUTES: &[Route] = &[
    route(
        "/",
        || get(told::describe).post(enrol::certify),
        &[
            asked("What this Steward is: a hint, nothing in it is authority", JSON, Some("Description")),
            sent(
                "A certificate chain for a request, or for each of a bundle",
                &[CSR_MEDIA_TYPE, Kind::Bundle.media_type()],
                &[PEM_MEDIA_TYPE, PKIPATH_MEDIA_TYPE, Kind::Bundle.media_type()],
            ),
        ],
    ),
    route(
        "/workload",
        || post(enrol::certify_workload),
        &[sent(
            "A certificate whose one name is where the workload is, by its digest",
            CSR,
            &[PEM_MEDIA_TYPE, PKIPATH_MEDIA_TYPE],
        )],
    ),
    route("/nonce", || get(told::nonce), &[asked("A nonce to make evidence with", JSON, Some("Nonce"))]),
    route(
        "/policy",
        || get(told::policy),
        &[asked(
            "The policy, signed (JWS): SHA-256 of its payload is in every certificate",
            &["application/jose"],
            None,
        )],
    ),
    route("/trust", || get(told::trust), &[asked("The trust domain's bundle (SPIFFE)", JSON, Some("TrustBundle"))]),
    route("/healthz", || get(async || "ok\n"), &[asked("Whether this process answers", TEXT, None)]),
    route("/readyz", || get(told::ready), &[asked("Whether it could issue now", TEXT, None)]),
    route("/openapi.json", || get(told::open_api), &[asked("This document", JSON, None)]),
    Route {
        path: "/metrics",
        handler: || get(told::metrics),
        operations: &[asked("Counters, where the operator wants them", &[OPEN_METRICS], None)],
        counters: true,
    },
    route(
        "/.well-known/est/cacerts",
        || get(est::ca_certificates),
        &[asked("RFC 7030: the chain of the authority", CERTIFICATES, None)],
    ),
    route(
        "/.well-known/est/simpleenroll",
        || post(est::enrol),
        &[sent("RFC 7030: a certificate for a request", CSR, CERTIFICATES)],
    ),
    route(
        "/.well-known/est/simplereenroll",
        || post(est::enrol),
        &[sent("RFC 7030: the same, for who has one already", CSR, CERTIFICATES)],
    ),
    route(
        "/.well-known/est/csrattrs",
        || get(est::attributes),
        &[asked("RFC 7030: what a request must have", &[est::ATTRIBUTES], None)],
    ),
    route(
        "/.well-known/est/nonce",
        || get(est::nonce).post(est::nonce_as_wanted),
        &[
            asked(
                "draft-ietf-lamps-attestation-freshness: a nonce to make evidence with",
                &[est::NONCE],
                Some("Freshness"),
            ),
            Operation {
                form: Some("Freshness"),
                ..sent("The same, of the length in `len`", &[est::NONCE], &[est::NONCE])
            },
        ],
    ),
];

/// All, and those of the counters only where there are any.
pub(super) fn table(counted: bool) -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(move |route| counted || !route.counters)
}

/// For people.
pub(super) fn list() -> String {
    let operations = |route: &'static Route| {
        route.operations.iter().map(|operation| format!("{} {}", operation.method.to_uppercase(), route.path))
    };
    table(false).flat_map(operations).collect::<Vec<_>>().join(", ")
}

/// The interface as an OpenAPI document.
#[must_use]
pub fn open_api() -> Value {
    let mut paths = Map::new();
    for Route { path, operations, .. } in ROUTES {
        let operations: Map<String, Value> =
            operations.iter().map(|operation| (operation.method.to_owned(), operation.document())).collect();
        paths.insert((*path).to_owned(), operations.into());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Donjon Steward",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Certificates for Keeps that prove themselves",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": forms(),
            "responses": { "Problem": {
                "description": "Why not: the failed checks, root cause first",
                "content": { PROBLEM_MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            } },
        },
    })
}

impl Operation {
    fn document(&self) -> Value {
        let Self { method: _, about, takes, gives, form } = self;
        let content = |types: &[&str], form: Option<&str>| -> Value {
            let schema =
                form.map_or(json!({}), |form| json!({ "schema": { "$ref": format!("#/components/schemas/{form}") } }));
            types.iter().map(|media_type| ((*media_type).to_owned(), schema.clone())).collect::<Map<_, _>>().into()
        };
        let mut document = json!({
            "summary": about,
            "responses": {
                "200": { "description": "As asked", "content": content(gives, *form) },
                "default": { "$ref": "#/components/responses/Problem" },
            },
        });
        if !takes.is_empty() {
            document["requestBody"] = json!({ "required": true, "content": content(takes, None) });
        }
        document
    }
}

/// The forms of answers in JSON.
fn forms() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let list = |of: Value| json!({ "type": "array", "items": of });
    let digest = || json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" });
    let object = |members: Value| {
        let required: Vec<&String> = members.as_object().into_iter().flat_map(Map::keys).collect();
        json!({ "type": "object", "required": required, "properties": members })
    };
    let check =
        object(json!({ "id": text(), "expected": text(), "found": text(), "source": text(), "remedy": text() }));
    let key = object(json!({
        "use": text(), "kty": text(), "crv": text(), "x": text(), "y": text(), "x5c": list(text()),
        "donjon.anchor": digest(),
    }));
    json!({
        "Description": object(json!({
            "service": text(), "version": text(), "trust_domain": text(), "class": text(), "anchors": list(digest()),
            "policy": digest(), "tees": list(text()), "certificate_lifetime": number(),
        })),
        "Nonce": object(json!({ "nonce": text(), "expires": number() })),
        "Freshness": object(json!({ "nonce": text(), "expiry": number() })),
        "TrustBundle": object(json!({
            "spiffe_sequence": number(), "spiffe_refresh_hint": number(), "keys": list(key), "donjon.policy": digest(),
        })),
        "Problem": object(json!({
            "type": text(), "title": text(), "status": number(), "detail": text(), "checks": list(check),
        })),
    })
}
