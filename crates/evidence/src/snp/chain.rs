//! From a pinned ARK key to the VEK: certificates, dates, revocation.
//!
//! The order of trust is ARK key -> ASK -> VEK; nothing here reads the report. A failed step
//! leaves its consequences unreached and goes on with what is independent: a stale revocation
//! list does not hide a forged certificate, nor the other way round.
//!
//! The list is the ARK's, so it speaks of ASKs and ASVKs only (RFC 5280 section 6.3.3 (b)): AMD publishes none for VEKs,
//! all of which have the serial number 0. Keys of old firmware are refused by their TCB.

use super::Presented;
use super::product::ProductLine;
use super::roots::Roots;
use super::rules::RuleId;
use super::session::{Ask, List, Source, issuer};
use super::vek::{Vek, VekError};
use crate::hexadecimal as hex;
use crate::pki::{Certificate, Crl, Object, PkiError, Scheme, common_name, shown};
use crate::provider::Provider;
use crate::snp::policy::CrlRule;
use crate::time::Dates;
use crate::verdict::{Recorder, Skip, Text};
use std::borrow::Cow;
use std::sync::Arc;
use x509_cert::name::Name;

/// What the chain contributes to the judgement of the report. Holding one says nothing about
/// trust: failures are in the recorder.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) vek: Cow<'a, Vek>,
    /// What issued it, if anything that might have is at hand.
    pub(super) ask: Option<Cow<'a, Ask>>,
    /// nextUpdate of the list that was judged.
    pub(super) crl_next_update: Option<u64>,
    /// Earliest end of what was judged.
    pub(super) end: u64,
}

pub(super) fn judge<'a>(
    recorder: &mut Recorder,
    presented: &'a Presented<'_>,
    source: Source<'a>,
    rule: CrlRule,
    now: u64,
    provider: &dyn Provider,
) -> Option<Chain<'a>> {
    let (vek, endorsed) = match source {
        Source::Endorsed(known) if known.vek().certificate().der() == presented.vek.der() => {
            (Ok(Cow::Borrowed(known.vek())), true)
        }
        _ => (read(presented), false),
    };
    let ask = vek.as_ref().ok().map(|vek| intermediate(presented.ask.as_deref(), vek, endorsed, source, provider));
    let anchor = ask.as_ref().and_then(|ask| ask.as_ref().ok()?.anchor).map(|(at, _)| at);
    let list = revocation_list(recorder, presented.crl.as_deref(), source, anchor, rule, now, provider);
    let vek = match vek {
        Ok(vek) => vek,
        Err(error) => {
            recorder.check(RuleId::VekFormat, false, "a VEK certificate", no_vek(&presented.vek, &error));
            return None;
        }
    };
    let line = vek.product().line();
    recorder.check(RuleId::VekFormat, true, "a VEK certificate", format!("{} of {}", vek.kind(), vek.product().name()));
    Dates::of(vek.certificate()).record(recorder, RuleId::VekEarly, RuleId::VekExpired, now);
    let mut end = vek.certificate().not_after();
    let crl_next_update = list.as_ref().map(|list| list.crl.next_update());
    if let Some(next_update) = crl_next_update {
        end = end.min(next_update);
    }

    let wanted = format!("certificate of {}", shown(vek.certificate().issuer()));
    match &ask {
        Some(Ok(ask)) => {
            let authority = &ask.certificate;
            recorder.check(RuleId::AskFormat, true, wanted, shown(authority.subject()));
            end = end.min(authority.not_after());
            let issued = vek.certificate().issuer() == authority.subject();
            let before = endorsed && source.endorsed_by(ask);
            let signed = issued && (before || vek.certificate().signed_by(authority.spki(), provider));
            recorder.check(
                RuleId::VekSignature,
                signed,
                format!("issued and signed by {}", shown(authority.subject())),
                signature(issued, signed, vek.certificate().issuer()),
            );
            let kind = vek.kind().authority_prefix();
            if let Some((at, ark)) = self::ask(recorder, ask, kind, line, source.roots(), now) {
                end = end.min(ark.not_after());
                if let Some(list) = &list {
                    let signed = list.signers.contains(&at);
                    if list_signature(recorder, &list.crl, ark, signed) {
                        revocation(recorder, &list.crl, authority);
                    }
                }
            }
        }
        Some(Err(error)) => {
            recorder.check(RuleId::AskFormat, false, wanted, error.clone());
        }
        None => {}
    }
    Some(Chain { vek, ask: ask.and_then(Result::ok), crl_next_update, end })
}

fn read<'a>(presented: &'a Presented<'_>) -> Result<Cow<'a, Vek>, VekError> {
    match &presented.read {
        Some(vek) => Ok(Cow::Borrowed(vek)),
        None => Vek::of(presented.vek.certificate(Scheme::RsaPssSha384)?).map(Cow::Owned),
    }
}

/// What there is in a VEK's place: what is missing is no malformed certificate, nor is an authority's.
fn no_vek(found: &Object, error: &VekError) -> Text {
    if found.der().is_empty() {
        return "none was given".into();
    }
    let authority = found.certificate(Scheme::RsaPssSha384).ok();
    let authority = authority.filter(|found| found.authority().is_ok_and(|authority| authority.ca));
    match authority {
        Some(found) => format!("none was given, but the certificate of {}", shown(found.subject())).into(),
        None => error.to_string().into(),
    }
}

/// The ASK of the evidence, or else the one at hand that issued the VEK.
fn intermediate<'a>(
    theirs: Option<&Object>,
    vek: &Vek,
    endorsed: bool,
    source: Source<'a>,
    provider: &dyn Provider,
) -> Result<Cow<'a, Ask>, String> {
    let (roots, known) = (source.roots(), source.known());
    let before = match (source, theirs) {
        (_, Some(theirs)) => known.and_then(|known| known.same(theirs.der())),
        (Source::Endorsed(endorsement), None) if endorsed => Some(endorsement.ask()),
        (_, None) => known.and_then(|known| known.issuer(vek, provider)),
    };
    if let Some(ask) = before {
        return Ok(Cow::Borrowed(ask));
    }
    let certificate = match theirs {
        Some(theirs) => theirs.certificate(Scheme::RsaPssSha384).map_err(|error| error.to_string())?,
        None => {
            let issuer = issuer(roots.intermediates(), |ask| ask, vek, provider);
            issuer.cloned().ok_or("none in the evidence, none among the roots")?
        }
    };
    Ok(Cow::Owned(Ask::examine(certificate, roots, provider)))
}

/// The verifier's own list, of the root with this number if there is one; else the attester's.
///
/// What a root signed speaks of nothing else, so another root's list is set aside. One that no root signed is not: the
/// attester's in its place would hide that the verifier's is bad.
fn revocation_list<'a>(
    recorder: &mut Recorder,
    theirs: Option<&Object>,
    source: Source<'a>,
    anchor: Option<usize>,
    rule: CrlRule,
    now: u64,
    provider: &dyn Provider,
) -> Option<Cow<'a, List>> {
    let examined = |crl| List::examine(crl, source.roots(), provider);
    let speaks = |list: &List| list.signers.is_empty() || anchor.is_none_or(|at| list.signers.contains(&at));
    let own = match source {
        Source::Given(collateral) => {
            let own =
                collateral.crl.map(|der| Crl::parse(der, Scheme::RsaPssSha384).map(|crl| examined(Arc::new(crl))));
            let own = own.filter(|own| own.as_ref().map_or(true, speaks));
            own.map(|own| own.map(Cow::Owned))
        }
        Source::Session(_) | Source::Endorsed(_) => {
            let known = source.known().and_then(|known| known.lists().iter().find(|list| speaks(list)));
            known.map(|list| Ok(Cow::Borrowed(list)))
        }
    };
    let Some(list) = own.or_else(|| {
        theirs.map(|theirs| {
            let crl = theirs.list(Scheme::RsaPssSha384);
            crl.map(|crl| Cow::Owned(examined(crl)))
        })
    }) else {
        match rule {
            CrlRule::Required => {
                recorder.check(RuleId::CrlPresent, false, "a revocation list", "none");
            }
            CrlRule::Optional => {
                for id in [
                    RuleId::CrlPresent,
                    RuleId::CrlFormat,
                    RuleId::CrlSignature,
                    RuleId::CrlEarly,
                    RuleId::CrlExpired,
                    RuleId::AskRevoked,
                ] {
                    let why = "no revocation list, and the policy says crl = \"optional\"";
                    recorder.skip(id, Skip::NotAsked, why);
                }
            }
        }
        return None;
    };
    recorder.check(RuleId::CrlPresent, true, "a revocation list", "one");
    record_list(recorder, list.as_ref().map(|list| &*list.crl), now);
    list.ok()
}

/// A list as such.
pub(super) fn record_list(recorder: &mut Recorder, crl: Result<&Crl, &PkiError>, now: u64) {
    match crl {
        Ok(crl) => {
            recorder.check(RuleId::CrlFormat, true, "a revocation list", "well-formed");
            let dates = Dates { from: crl.this_update(), to: crl.next_update() };
            dates.record(recorder, RuleId::CrlEarly, RuleId::CrlExpired, now);
        }
        Err(error) => {
            recorder.check(RuleId::CrlFormat, false, "a revocation list", error.to_string());
        }
    }
}

/// The root's word about a list, of which it is known whether the root issued and signed it.
pub(super) fn list_signature(recorder: &mut Recorder, crl: &Crl, root: &Certificate, signed: bool) -> bool {
    // RFC 5280 section 6.3.3 (f): keyCertSign is another right.
    let may = root.authority().is_ok_and(|authority| authority.lists);
    let found = if signed && !may {
        Text::Borrowed("the issuer may not sign revocation lists")
    } else {
        signature(crl.issuer() == root.subject(), signed, crl.issuer())
    };
    let expected = format!("issued and signed by {}", shown(root.subject()));
    recorder.check(RuleId::CrlSignature, signed && may, expected, found)
}

pub(super) fn revocation(recorder: &mut Recorder, crl: &Crl, ask: &Certificate) {
    let serial = ask.serial();
    let found = format!("serial {}", hex::encode(serial));
    recorder.check(RuleId::AskRevoked, !crl.revokes(serial), "serial not on the list", found);
}

/// An authority for this kind of key and product line, and the pinned root that it has, with its number.
pub(super) fn ask<'r>(
    recorder: &mut Recorder,
    ask: &Ask,
    kind: &str,
    line: ProductLine,
    roots: &'r Roots,
    now: u64,
) -> Option<(usize, &'r Certificate)> {
    let certificate = &ask.certificate;
    Dates::of(certificate).record(recorder, RuleId::AskEarly, RuleId::AskExpired, now);
    authority(recorder, certificate, kind, line);
    let anchor = ask.anchor.and_then(|(at, signed)| Some((at, roots.anchors().get(at)?, signed)));
    let anchor = anchor.filter(|(_, anchor, _)| anchor.line() == line);
    recorder.check(
        RuleId::ArkTrusted,
        anchor.is_some(),
        format!("{} among the {} pinned roots", shown(certificate.issuer()), roots.anchors().len()),
        if anchor.is_some() { "pinned" } else { "not pinned for this product line" },
    );
    let (at, anchor, signed) = anchor?;
    let root = anchor.certificate();
    recorder.check(
        RuleId::AskSignature,
        signed,
        format!("signature of the pinned key of {}", shown(root.subject())),
        if signed { "verifies" } else { "does not verify" },
    );
    Dates::of(root).record(recorder, RuleId::ArkEarly, RuleId::ArkExpired, now);
    Some((at, root))
}

/// CA with keyCertSign, no further CA below it, and named for this kind of key and product line.
fn authority(recorder: &mut Recorder, ask: &Certificate, kind: &str, line: ProductLine) {
    let expected = format!("authority {kind}{line}, path length 0, keyCertSign");
    let named = common_name(ask.subject()).and_then(|name| ProductLine::from_authority(&name, kind));
    let (good, found) = match ask.authority() {
        Ok(authority) => (
            authority.ca && authority.signs && authority.path_length == Some(0) && named == Some(line),
            format!(
                "{}, CA {}, path length {:?}, keyCertSign {}",
                shown(ask.subject()),
                authority.ca,
                authority.path_length,
                authority.signs
            ),
        ),
        Err(error) => (false, error.to_string()),
    };
    recorder.check(RuleId::AskAuthority, good, expected, found);
}

/// What was found where an issuer's signature is wanted.
fn signature(issued: bool, signed: bool, issuer: &Name) -> Text {
    match (issued, signed) {
        (false, _) => format!("issued by {}", shown(issuer)).into(),
        (true, false) => "the signature does not verify".into(),
        (true, true) => "the signature verifies".into(),
    }
}
