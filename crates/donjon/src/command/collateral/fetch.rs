//! One piece: whether it is asked for, what must be true of what comes, and what becomes of what is there.
//!
//! Refuses, whoever sent it, what is not the vendor's, not about what was asked, not valid now, or older than what is there: with
//! a list of yesterday a certificate is good again that was revoked today. Invariant: a piece is replaced by a better one or stays.

use std::time::{Duration, SystemTime};

use evidence::AwsLc;
use evidence::appraisal::{Need, Piece, Roots};
use evidence::time;
use steward::collateral::Folder;

use super::address::{self, Addresses, decoded};
use super::get::{Answer, Client};
use crate::failure::Failure;

/// So long a list or a statement is not asked for again: it changes, and who asks once a day asks.
const RECENT: Duration = Duration::from_secs(20 * 3600);
/// And not if it ends so soon, in seconds.
const SOON: u64 = 24 * 3600;
/// A processor's certificate does not change until it has to be another, in seconds before its end.
const RENEWED: u64 = 30 * 24 * 3600;

pub(super) struct Fetcher {
    pub(super) folder: Folder,
    pub(super) roots: Roots,
    pub(super) client: Client,
    pub(super) addresses: Addresses,
    /// Unix seconds.
    pub(super) now: u64,
    pub(super) force: bool,
}

/// What became of a piece.
pub(super) struct Item {
    pub(super) need: Need,
    pub(super) outcome: Outcome,
    /// The last second at which what is there now is good.
    pub(super) until: Option<u64>,
    /// Why it was not fetched.
    pub(super) failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new.
    Fetched,
    /// It is new enough.
    Fresh,
    /// It could not be fetched, and what is there is good.
    Kept,
    /// It could not be fetched, and what is there is not good any more.
    Expired,
    /// It could not be fetched, and nothing is there.
    Missing,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Fresh => "fresh",
            Self::Kept => "kept",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }

    /// Whether evidence can be judged by it.
    pub(super) fn is_there(self) -> bool {
        matches!(self, Self::Fetched | Self::Fresh | Self::Kept)
    }
}

impl Fetcher {
    pub(super) async fn fetch(&mut self, need: &Need) -> Item {
        let before = self.before(need);
        let item = |outcome, piece: Option<&Piece>, failure| Item {
            need: need.clone(),
            outcome,
            until: piece.map(Piece::until),
            failure,
        };
        if let Some(piece) = before.as_ref().filter(|piece| !self.force && self.is_fresh(piece)) {
            return item(Outcome::Fresh, Some(piece), None);
        }
        match self.replace(need, before.as_ref()).await {
            Ok(piece) => item(Outcome::Fetched, Some(&piece), None),
            Err(failure) => {
                let outcome = match &before {
                    Some(piece) if piece.valid_at(self.now) => Outcome::Kept,
                    Some(_) => Outcome::Expired,
                    None => Outcome::Missing,
                };
                item(outcome, before.as_ref(), Some(failure))
            }
        }
    }

    /// What is there, if it is any good.
    fn before(&self, need: &Need) -> Option<Piece> {
        let (body, issuers) = self.folder.bytes(need).ok()?;
        Piece::read(need, &body, &issuers, &self.roots, &AwsLc).ok()
    }

    fn is_fresh(&self, piece: &Piece) -> bool {
        let ends_after = |seconds| piece.until() > self.now.saturating_add(seconds);
        if matches!(piece.need(), Need::Vcek { .. }) {
            return piece.valid_at(self.now) && ends_after(RENEWED);
        }
        // What was put there in the future was put there by another clock.
        let age = self.folder.put_at(piece.need()).and_then(|at| SystemTime::now().duration_since(at).ok());
        piece.valid_at(self.now) && ends_after(SOON) && age.is_some_and(|age| age < RECENT)
    }

    async fn replace(&mut self, need: &Need, before: Option<&Piece>) -> Result<Piece, Failure> {
        let url = self.addresses.of(need);
        let Answer { headers, body } = self.client.get(&url, limit(need)).await?;
        let refused = |why: String| Failure::new(format!("{url}: refused: {why}"));
        let issuers = match address::issuers(need) {
            Some(name) => {
                let header = headers.get(name).ok_or_else(|| {
                    refused(format!("no header {name}")).hint("is this the service, or a cache of it?")
                })?;
                decoded(header.as_bytes())
            }
            None => self.folder.issuers(need).map_err(|error| Failure::caused("", &error).hint(error.hint()))?,
        };
        let body = plain(need, body);
        let piece = Piece::read(need, &body, &issuers, &self.roots, &AwsLc).map_err(|error| {
            refused(error.to_string()).hint("whoever answered is not the vendor, or has an old or broken copy")
        })?;
        if !piece.valid_at(self.now) {
            let (since, until) = (time::date(piece.since()), time::date(piece.until()));
            return Err(refused(format!("valid from {since} to {until}, and it is {}", time::date(self.now)))
                .hint("see whether the clock is right; a cache may have an old copy"));
        }
        if let Some(before) = before.filter(|before| piece.is_older_than(before)) {
            let issued = |piece: &Piece| {
                let count = piece.evaluation().map(|count| format!(", evaluation {count}")).unwrap_or_default();
                format!("{}{count}", time::date(piece.since()))
            };
            return Err(refused(format!("a roll-back: issued {}; what is here {}", issued(&piece), issued(before)))
                .hint("a cache may have an old copy; if it is meant, take the file away first"));
        }
        self.folder.put(need, &body, &issuers).map_err(|error| {
            Failure::caused("cannot keep it", &error).hint("the user this runs as must be able to write there")
        })?;
        Ok(piece)
    }
}

/// Twice the bytes where caches answer in digits.
fn limit(need: &Need) -> usize {
    if is_list(need) { need.limit() * 2 } else { need.limit() }
}

fn is_list(need: &Need) -> bool {
    matches!(need, Need::RootList | Need::PckList { .. })
}

/// Caches of Intel's service answer with the hexadecimal digits of a list.
fn plain(need: &Need, body: Vec<u8>) -> Vec<u8> {
    match hex::decode(body.trim_ascii()) {
        Ok(der) if is_list(need) => der,
        _ => body,
    }
}
