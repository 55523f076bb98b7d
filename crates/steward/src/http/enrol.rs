//! Certificates: one request, or many in one.
//!
//! Owns what becomes of a body: read, judged where there is a processor for it, answered, counted and logged. Refuses other content
//! types, and a bundle in which one request is refused: nobody gets half of what he asked for. Invariant: every request that was
//! judged is counted once, as issued or refused.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use der::{Decode as _, Encode as _, asn1::AnyRef};

use super::{
    Service,
    fault::Fault,
    forms::{self, Accepted, Kind},
    uncached,
};
use crate::{judge::Issued, refusal::Refusal};

/// `POST /`.
pub(super) async fn certify(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    match Kind::of(&parts.headers).ok_or(Fault::ContentType(forms::TAKEN))? {
        Kind::Csr => {
            let accepted = Accepted::of(&parts.headers).ok_or(Fault::Accept)?;
            let csr = service.body(&parts.headers, body).await?;
            let issued = service.certify(csr).await?;
            Ok(uncached(accepted.form(&issued).answer(&issued)))
        }
        Kind::Bundle => {
            let bundle = service.body(&parts.headers, body).await?;
            let answer = service.certify_all(bundle).await?;
            Ok(uncached(([(header::CONTENT_TYPE, Kind::Bundle.media_type())], answer).into_response()))
        }
    }
}

impl Service {
    /// Judges one request.
    pub(super) async fn certify(&self, csr: Bytes) -> Result<Issued, Fault> {
        let now = self.now()?;
        let (steward, begun) = (Arc::clone(&self.steward), Instant::now());
        let judged = self.places.work(move || steward.judge(&csr, now)).await?;
        if let Some(metrics) = &self.metrics {
            metrics.judged(begun.elapsed());
        }
        self.told(judged).map_err(|refusal| Fault::Refused(Box::new(refusal)))
    }

    /// Judges the requests of a bundle, in the place of one; the chain they have in common, and their certificates, in DER.
    async fn certify_all(&self, bundle: Bytes) -> Result<Vec<u8>, Fault> {
        let now = self.now()?;
        let (steward, begun) = (Arc::clone(&self.steward), Instant::now());
        let judged = self.places.work(move || {
            let requests = Vec::<AnyRef<'_>>::from_der(&bundle).ok()?;
            let mut judged = Vec::with_capacity(requests.len());
            for request in requests {
                let one = request.to_der().ok().map(|csr| steward.judge(&csr, now))?;
                let refused = one.is_err();
                judged.push(one);
                if refused {
                    break;
                }
            }
            Some(judged)
        });
        let judged = judged.await?.ok_or(Fault::Bundle)?;
        if let Some(metrics) = &self.metrics {
            metrics.judged(begun.elapsed());
        }
        let mut issued = Vec::with_capacity(judged.len());
        for (number, one) in judged.into_iter().enumerate() {
            issued.push(self.told(one).map_err(|refusal| Fault::OneOf { number, refusal: Box::new(refusal) })?);
        }
        answer(self.steward.authority().chain(), &issued).map_err(|error| {
            tracing::error!(%error, "bundle");
            Fault::Internal
        })
    }

    /// Says to counters and log how a request ended.
    fn told(&self, judged: Result<Issued, Refusal>) -> Result<Issued, Refusal> {
        match &judged {
            Ok(issued) => {
                if let Some(metrics) = &self.metrics {
                    metrics.issued();
                }
                tracing::info!(
                    id = %issued.id,
                    serial = %issued.serial,
                    key = %issued.key,
                    brief = issued.brief.map(tracing::field::display),
                    not_after = issued.not_after,
                    "issued"
                );
            }
            Err(refusal) => {
                if let Some(metrics) = &self.metrics {
                    metrics.refused(refusal.checks().first().map_or("none", |check| &check.id));
                }
            }
        }
        judged
    }
}

/// `SEQUENCE { SEQUENCE OF Certificate, SEQUENCE OF Certificate }`: the authorities, the root first; what was issued, in the order
/// of the requests.
fn answer(authorities: &[Vec<u8>], issued: &[Issued]) -> der::Result<Vec<u8>> {
    let sequence = |ders: Vec<&Vec<u8>>| -> der::Result<Vec<u8>> {
        ders.into_iter().map(|der| AnyRef::from_der(der)).collect::<der::Result<Vec<_>>>()?.to_der()
    };
    let chain = sequence(authorities.iter().rev().collect())?;
    let leaves = sequence(issued.iter().filter_map(|issued| issued.chain.first()).collect())?;
    vec![AnyRef::from_der(&chain)?, AnyRef::from_der(&leaves)?].to_der()
}
