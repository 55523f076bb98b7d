//! What the verifier itself brings to many reports, examined once: pinned roots, the authorities below them, revocation
//! lists; and VEKs that were endorsed by it.
//!
//! Signatures are checked when a [`Session`] or an [`Endorsement`] is made; dates, revocation and whatever else a verdict
//! lists, at every judgement. Evidence is judged as it was presented: what is byte for byte the same as in the session is
//! not examined again, anything else is, as if there were no session. So both ways give the same verdict by the same
//! collateral; a [`Collateral`] has room for one list, and for no ASKs but those of its roots.

use super::chain;
use super::product::ProductLine;
use super::roots::{Anchor, Roots};
use super::rules::RuleId;
use super::vek::Vek;
use super::{CHECKS, Collateral, SnpEvidence};
use crate::pki::{Certificate, Crl, Scheme, common_name};
use crate::provider::Provider;
use crate::snp::policy::CrlRule;
use crate::verdict::{Recorder, Verdict};
use core::cmp::Reverse;
use std::sync::Arc;
use x509_cert::name::Name;

/// By what reports are judged.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Roots, and perhaps a list, of which nothing was examined before.
    Given(Collateral<'a>),
    /// What was examined before.
    Session(&'a Session),
    /// The same, and a VEK that was.
    Endorsed(&'a Endorsement),
}

impl<'a> From<Collateral<'a>> for Source<'a> {
    fn from(collateral: Collateral<'a>) -> Self {
        Self::Given(collateral)
    }
}

impl<'a> Source<'a> {
    pub(super) fn roots(self) -> &'a Roots {
        match self {
            Self::Given(collateral) => collateral.roots,
            Self::Session(session) => &session.0.roots,
            Self::Endorsed(endorsement) => &endorsement.session.0.roots,
        }
    }

    pub(super) fn known(self) -> Option<&'a Known> {
        match self {
            Self::Given(_) => None,
            Self::Session(session) => Some(&session.0),
            Self::Endorsed(endorsement) => Some(&endorsement.session.0),
        }
    }

    /// Whether this is the authority with which the VEK was verified that is endorsed.
    pub(super) fn endorsed_by(self, ask: &Ask) -> bool {
        matches!(self, Self::Endorsed(endorsement) if endorsement.ask.certificate.der() == ask.certificate.der())
    }
}

/// What the verifier fetched, besides its roots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fetched<'a> {
    /// ASKs and ASVKs, DER, besides those that the roots know.
    pub asks: &'a [&'a [u8]],
    /// Revocation lists, DER. They go before an attester's; of several of one root the latest counts.
    pub crls: &'a [&'a [u8]],
}

/// A session: roots, authorities and revocation lists whose signatures were checked.
#[derive(Clone, Debug)]
pub struct Session(Arc<Known>);

impl Session {
    /// Verifies what was fetched on its own. The verdict of a refusal is about the first of it that is not good.
    ///
    /// What the roots know besides may be revoked or out of its dates; evidence that needs it is refused then.
    pub fn verify(roots: &Roots, fetched: Fetched<'_>, now: u64, provider: &dyn Provider) -> Result<Self, Verdict> {
        let mut known = Known { roots: roots.clone(), asks: Vec::new(), lists: Vec::new() };
        for der in fetched.crls {
            let mut recorder = Recorder::new(CHECKS);
            let list = known.list(&mut recorder, der, now, provider);
            known.lists.push(accepted(recorder, list)?);
        }
        known.lists.sort_by_key(|list| Reverse(list.crl.this_update()));
        for der in fetched.asks {
            let mut recorder = Recorder::new(CHECKS);
            let ask = known.ask(&mut recorder, der, now, provider);
            known.asks.push(accepted(recorder, ask)?);
        }
        for ask in roots.intermediates() {
            if known.same(ask.der()).is_some() {
                continue;
            }
            known.asks.push(Ask::examine(ask.clone(), roots, provider));
        }
        Ok(Self(Arc::new(known)))
    }

    /// Verifies a VEK (DER) once for many reports of its processor, or of its provider's.
    pub fn endorse(&self, vek: &[u8], now: u64, provider: &dyn Provider) -> Result<Endorsement, Verdict> {
        let mut recorder = Recorder::new(CHECKS);
        let presented = SnpEvidence { report: &[], vcek: vek, ask: None, crl: None }.into();
        let chain = chain::judge(&mut recorder, &presented, Source::Session(self), CrlRule::Optional, now, provider);
        let both = chain.and_then(|chain| Some((chain.vek.into_owned(), chain.ask?.into_owned())));
        let (vek, ask) = accepted(recorder, both)?;
        Ok(Endorsement { session: self.clone(), vek, ask })
    }
}

/// All that was recorded, if there is nothing against it.
fn accepted<T>(recorder: Recorder, made: Option<T>) -> Result<T, Verdict> {
    let verdict = recorder.finish_recorded();
    match made {
        Some(made) if verdict.passed() => Ok(made),
        _ => Err(verdict),
    }
}

/// A VEK that a session endorses, for a caller to keep: a report of its processor needs one signature check.
#[derive(Clone, Debug)]
pub struct Endorsement {
    session: Session,
    vek: Vek,
    /// What the VEK was verified with.
    ask: Ask,
}

impl Endorsement {
    /// The VEK.
    pub fn vek(&self) -> &Vek {
        &self.vek
    }

    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }
}

/// What a session knows.
#[derive(Debug)]
pub(super) struct Known {
    roots: Roots,
    asks: Vec<Ask>,
    lists: Vec<List>,
}

/// An ASK or ASVK, and the root that vouches for it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) certificate: Certificate,
    /// The number of the root of its issuer's name, and whether it signed.
    pub(super) anchor: Option<(usize, bool)>,
}

impl Ask {
    /// Several roots may bear the same name (a root and its successor); if none of them signed, the first stands for the
    /// dates and the message.
    pub(super) fn examine(certificate: Certificate, roots: &Roots, provider: &dyn Provider) -> Self {
        let mut named = named(roots, certificate.issuer());
        let first = named.next();
        let signed = first.into_iter().chain(named).find(|(_, root)| certificate.signed_by(root.spki(), provider));
        let anchor = signed.map(|(at, _)| (at, true)).or_else(|| first.map(|(at, _)| (at, false)));
        Self { certificate, anchor }
    }
}

/// A revocation list.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) crl: Arc<Crl>,
    /// The numbers of the roots that issued and signed it.
    pub(super) signers: Vec<usize>,
}

impl List {
    pub(super) fn examine(crl: Arc<Crl>, roots: &Roots, provider: &dyn Provider) -> Self {
        let signed = named(roots, crl.issuer()).filter(|(_, root)| crl.signed_by(root.spki(), provider));
        Self { signers: signed.map(|(at, _)| at).collect(), crl }
    }
}

impl Known {
    /// The authority with these bytes.
    pub(super) fn same(&self, der: &[u8]) -> Option<&Ask> {
        self.asks.iter().find(|ask| ask.certificate.der() == der)
    }

    /// The authority that issued a VEK.
    pub(super) fn issuer(&self, vek: &Vek, provider: &dyn Provider) -> Option<&Ask> {
        issuer(&self.asks, |ask| &ask.certificate, vek, provider)
    }

    /// The lists, the latest first.
    pub(super) fn lists(&self) -> &[List] {
        &self.lists
    }

    fn list(&self, recorder: &mut Recorder, der: &[u8], now: u64, provider: &dyn Provider) -> Option<List> {
        let crl = Crl::parse(der, Scheme::RsaPssSha384);
        chain::record_list(recorder, crl.as_ref(), now);
        let list = List::examine(Arc::new(crl.ok()?), &self.roots, provider);
        // The one that signed it stands for the message, else the first of the name, else any.
        let mut certificates = self.roots.anchors().iter().map(Anchor::certificate);
        let signer = list.signers.first().and_then(|at| certificates.clone().nth(*at));
        let named = || named(&self.roots, list.crl.issuer()).next().map(|(_, root)| root);
        let root = signer.or_else(named).or_else(|| certificates.next())?;
        chain::list_signature(recorder, &list.crl, root, !list.signers.is_empty());
        Some(list)
    }

    fn ask(&self, recorder: &mut Recorder, der: &[u8], now: u64, provider: &dyn Provider) -> Option<Ask> {
        let certificate = match Certificate::parse(der, Scheme::RsaPssSha384) {
            Ok(certificate) => certificate,
            Err(error) => {
                recorder.check(RuleId::AskFormat, false, "certificate of an ASK or ASVK", error.to_string());
                return None;
            }
        };
        let ask = Ask::examine(certificate, &self.roots, provider);
        let name = common_name(ask.certificate.subject()).unwrap_or_default();
        // An ASVK's prefix begins with an ASK's.
        let of = |prefix| Some((prefix, ProductLine::from_authority(&name, prefix)?));
        let Some((prefix, line)) = ["SEV-VLEK-", "SEV-"].into_iter().find_map(of) else {
            recorder.check(RuleId::AskAuthority, false, "authority of a product line", name);
            return None;
        };
        recorder.check(RuleId::AskFormat, true, "certificate of an ASK or ASVK", name);
        chain::ask(recorder, &ask, prefix, line, &self.roots, now);
        if let Some((root, true)) = ask.anchor
            && let Some(list) = self.lists.iter().find(|list| list.signers.contains(&root))
        {
            chain::revocation(recorder, &list.crl, &ask.certificate);
        }
        Some(ask)
    }
}

/// Roots of this name, with their numbers.
fn named<'r>(roots: &'r Roots, name: &'r Name) -> impl Iterator<Item = (usize, &'r Certificate)> {
    let certificates = roots.anchors().iter().map(Anchor::certificate).enumerate();
    certificates.filter(move |(_, certificate)| certificate.subject() == name)
}

/// Of the authorities that bear the name of a VEK's issuer, the one whose key signed it, else the first. Of one alone the
/// signature is not asked here.
pub(super) fn issuer<'a, T>(
    authorities: &'a [T],
    certificate: impl Fn(&T) -> &Certificate,
    vek: &Vek,
    provider: &dyn Provider,
) -> Option<&'a T> {
    let named =
        || authorities.iter().filter(|authority| certificate(authority).subject() == vek.certificate().issuer());
    let several = named().nth(1).is_some();
    let signed = |authority: &&T| vek.certificate().signed_by(certificate(authority).spki(), provider);
    let signer = if several { named().find(signed) } else { None };
    signer.or_else(|| named().next())
}
