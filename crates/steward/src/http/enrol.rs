//! Certificates: one request, or many in one.
//!
//! Owns what becomes of a body: read, judged where there is a processor for it, recorded, signed, answered, counted and logged.
//! Refuses other content types, and a bundle in which one request is refused: nobody gets half of what he asked for. Invariant: what
//! is signed was recorded before.

use std::{sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use der::{Decode as _, Encode as _, asn1::AnyRef};

use super::{
    Service,
    fault::Fault,
    forms::{self, Accepted, Kind},
    uncached,
};
use crate::{
    judge::{Asked, Decided, Issued},
    record::{Leaf, writer::Unrecorded},
    refusal::Refusal,
};

/// `POST /`.
pub(super) async fn certify(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    match Kind::of(&parts.headers).ok_or(Fault::ContentType(forms::TAKEN))? {
        Kind::Csr => one(&service, &parts.headers, body, Asked::Keep).await,
        Kind::Bundle => {
            let bundle = service.body(&parts.headers, body).await?;
            let answer = service.certify_all(&bundle).await?;
            Ok(uncached(([(header::CONTENT_TYPE, Kind::Bundle.media_type())], answer).into_response()))
        }
    }
}

/// `POST /workload`: the certificate that says where the workload is.
pub(super) async fn certify_workload(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    match Kind::of(&parts.headers) {
        Some(Kind::Csr) => one(&service, &parts.headers, body, Asked::Workload).await,
        _ => Err(Fault::ContentType(forms::CSR)),
    }
}

async fn one(service: &Service, headers: &HeaderMap, body: Body, asked: Asked) -> Result<Response, Fault> {
    let accepted = Accepted::of(headers).ok_or(Fault::Accept)?;
    let csr = service.body(headers, body).await?;
    let issued = service.certify(csr, asked).await?;
    Ok(uncached(accepted.form(&issued).answer(&issued)))
}

impl Service {
    /// A certificate for one request.
    pub(super) async fn certify(&self, csr: Bytes, asked: Asked) -> Result<Issued, Fault> {
        self.issue(vec![csr], asked).await?.pop().ok_or(Fault::Internal)
    }

    /// For each request of a bundle: the chain they have in common, and their certificates, in DER.
    async fn certify_all(&self, bundle: &[u8]) -> Result<Vec<u8>, Fault> {
        let requests = Vec::<AnyRef<'_>>::from_der(bundle);
        let one = |request: &AnyRef<'_>| request.to_der().map(Bytes::from);
        let requests = requests.and_then(|all| all.iter().map(one).collect::<der::Result<Vec<_>>>());
        let issued = self.issue(requests.map_err(|_| Fault::Bundle)?, Asked::Keep).await?;
        answer(self.steward.authority().chain(), &issued).map_err(|error| {
            tracing::error!(%error, "bundle");
            Fault::Internal
        })
    }

    /// Judges all, in the place of one, records what is to be issued, and then signs it. If one is refused, none is issued.
    async fn issue(&self, requests: Vec<Bytes>, asked: Asked) -> Result<Vec<Issued>, Fault> {
        let (now, place, begun) = (self.now()?, self.places.place()?, Instant::now());
        let (steward, several) = (Arc::clone(&self.steward), requests.len() > 1);
        let judge = move || -> Result<Vec<Decided>, (usize, Refusal)> {
            let one =
                |(number, csr): (usize, &Bytes)| steward.decide(csr, asked, now).map_err(|refusal| (number, refusal));
            requests.iter().enumerate().map(one).collect()
        };
        let judged = if several { self.places.work(&place, judge).await } else { self.places.compute(judge).await }?;
        if let Some(metrics) = &self.metrics {
            metrics.judged(begun.elapsed());
        }
        let decided = judged.map_err(|(number, refusal)| self.refused(several.then_some(number), refusal))?;
        let leaves: Vec<&Leaf> = decided.iter().map(Decided::leaf).collect();
        let recorded = self.record.append(&leaves).await.map_err(|Unrecorded| Fault::Record)?;
        let steward = Arc::clone(&self.steward);
        let sign = move || -> Result<Vec<Issued>, Refusal> {
            decided.into_iter().zip(&recorded).map(|(decided, recorded)| decided.sign(&steward, recorded)).collect()
        };
        let slow = several || !self.steward.authority().key().is_in_memory();
        let signed = if slow { self.places.work(&place, sign).await } else { self.places.compute(sign).await }?;
        let issued = signed.map_err(|refusal| self.refused(None, refusal))?;
        issued.iter().for_each(|issued| self.issued(issued));
        Ok(issued)
    }

    /// Says so to counters and log.
    fn issued(&self, issued: &Issued) {
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

    /// Says so to the counters; the log hears it when it is answered.
    fn refused(&self, number: Option<usize>, refusal: Refusal) -> Fault {
        if let Some(metrics) = &self.metrics {
            metrics.refused(refusal.checks().first().map_or("none", |check| &check.id));
        }
        match refusal {
            Refusal::Issue(fault) if fault.is_of_the_key() => Fault::Key,
            refusal => Fault::Refused { number, refusal: Box::new(refusal) },
        }
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
