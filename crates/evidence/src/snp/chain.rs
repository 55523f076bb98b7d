//! From a pinned ARK key to the VEK: certificates, dates, revocation.
//!
//! The order of trust is ARK key -> ASK -> VEK; nothing here reads the report. A failed step
//! leaves its consequences unreached and goes on with what is independent: a stale revocation
//! list does not hide a forged certificate, nor the other way round.

use super::product::ProductLine;
use super::roots::{Anchor, Roots};
use super::rules::RuleId;
use super::vek::Vek;
use super::{Collateral, Policy, SnpEvidence};
use crate::pki::{Certificate, Crl, Scheme, common_name};
use crate::provider::Provider;
use crate::snp::policy::CrlRule;
use crate::time::Dates;
use crate::verdict::{Recorder, Skip};
use x509_cert::name::Name;

/// What the chain contributes to the judgement of the report. Holding one says nothing about
/// trust: failures are in the recorder.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) vek: Vek,
    /// nextUpdate of the list that was judged.
    pub(super) crl_next_update: Option<u64>,
    /// Earliest end of what was judged.
    pub(super) end: u64,
}

pub(super) fn judge(
    recorder: &mut Recorder,
    evidence: &SnpEvidence<'_>,
    collateral: &Collateral<'_>,
    policy: &Policy,
    now: u64,
    provider: &dyn Provider,
) -> Option<Chain> {
    let Collateral { roots, crl: own_crl } = collateral;
    let crl = revocation_list(recorder, own_crl.or(evidence.crl), policy, now);
    let vek = match Vek::parse(evidence.vcek) {
        Ok(vek) => vek,
        Err(error) => {
            recorder.check(RuleId::VekFormat, false, "a VEK certificate", error.to_string());
            return None;
        }
    };
    let line = vek.product().line();
    recorder.check(RuleId::VekFormat, true, "a VEK certificate", format!("{} of {}", vek.kind(), vek.product().name()));
    Dates::of(vek.certificate()).record(recorder, RuleId::VekEarly, RuleId::VekExpired, now);
    let mut end = vek.certificate().not_after();
    let crl_next_update = crl.as_ref().map(Crl::next_update);
    if let Some(next_update) = crl_next_update {
        end = end.min(next_update);
    }

    if let Some(ask) = intermediate(recorder, evidence.ask, &vek, roots) {
        Dates::of(&ask).record(recorder, RuleId::AskEarly, RuleId::AskExpired, now);
        end = end.min(ask.not_after());
        authority(recorder, &ask, &vek);
        let issued = vek.certificate().issuer() == ask.subject();
        let signed = issued && vek.certificate().signed_by(ask.spki(), provider);
        recorder.check(
            RuleId::VekSignature,
            signed,
            format!("issued and signed by {}", name(&ask)),
            signature(issued, signed, || issuer(vek.certificate())),
        );
        if let Some(anchor) = anchor(recorder, roots, &ask, line, provider) {
            Dates::of(anchor.certificate()).record(recorder, RuleId::ArkEarly, RuleId::ArkExpired, now);
            end = end.min(anchor.certificate().not_after());
            if let Some(crl) = &crl {
                revocation(recorder, crl, anchor, &ask, &vek, provider);
            }
        }
    }
    Some(Chain { vek, crl_next_update, end })
}

fn revocation_list(recorder: &mut Recorder, der: Option<&[u8]>, policy: &Policy, now: u64) -> Option<Crl> {
    let Some(der) = der else {
        match policy.settings().crl {
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
                    RuleId::VekRevoked,
                ] {
                    let why = "no revocation list, and the policy says crl = \"optional\"";
                    recorder.skip(id, Skip::NotAsked, why);
                }
            }
        }
        return None;
    };
    recorder.check(RuleId::CrlPresent, true, "a revocation list", "one");
    match Crl::parse(der, Scheme::RsaPssSha384) {
        Ok(crl) => {
            recorder.check(RuleId::CrlFormat, true, "a revocation list", "well-formed");
            let dates = Dates { from: crl.this_update(), to: crl.next_update() };
            dates.record(recorder, RuleId::CrlEarly, RuleId::CrlExpired, now);
            Some(crl)
        }
        Err(error) => {
            recorder.check(RuleId::CrlFormat, false, "a revocation list", error.to_string());
            None
        }
    }
}

/// The ASK of the evidence, or else the one of the roots' that bears the name of the VEK's issuer.
fn intermediate(recorder: &mut Recorder, der: Option<&[u8]>, vek: &Vek, roots: &Roots) -> Option<Certificate> {
    let wanted = format!("certificate of {}", issuer(vek.certificate()));
    let found = match der {
        Some(der) => Certificate::parse(der, Scheme::RsaPssSha384).map_err(|error| error.to_string()),
        None => roots
            .intermediates()
            .iter()
            .find(|ask| ask.subject() == vek.certificate().issuer())
            .cloned()
            .ok_or_else(|| "none in the evidence, none among the roots".to_owned()),
    };
    match found {
        Ok(ask) => {
            recorder.check(RuleId::AskFormat, true, wanted, name(&ask));
            Some(ask)
        }
        Err(error) => {
            recorder.check(RuleId::AskFormat, false, wanted, error);
            None
        }
    }
}

/// CA with keyCertSign, no further CA below it, and named for this kind of key and product line.
fn authority(recorder: &mut Recorder, ask: &Certificate, vek: &Vek) {
    let line = vek.product().line();
    let expected = format!("authority {}{line}, path length 0, keyCertSign", vek.kind().authority_prefix());
    let named =
        common_name(ask.subject()).and_then(|name| ProductLine::from_authority(&name, vek.kind().authority_prefix()));
    let (good, found) = match ask.authority() {
        Ok(authority) => (
            authority.ca && authority.signs && authority.path_length == Some(0) && named == Some(line),
            format!(
                "{}, CA {}, path length {:?}, keyCertSign {}",
                name(ask),
                authority.ca,
                authority.path_length,
                authority.signs
            ),
        ),
        Err(error) => (false, error.to_string()),
    };
    recorder.check(RuleId::AskAuthority, good, expected, found);
}

/// The pinned ARK that signed the ASK. Several may bear the same name (a root and its successor);
/// if none of them signed, the first stands for the dates and the message.
fn anchor<'r>(
    recorder: &mut Recorder,
    roots: &'r Roots,
    ask: &Certificate,
    line: ProductLine,
    provider: &dyn Provider,
) -> Option<&'r Anchor> {
    let mut named =
        roots.anchors().iter().filter(|anchor| anchor.line() == line && anchor.certificate().subject() == ask.issuer());
    let first = named.next();
    recorder.check(
        RuleId::ArkTrusted,
        first.is_some(),
        format!("{} among the {} pinned roots", issuer(ask), roots.anchors().len()),
        if first.is_some() { "pinned" } else { "not pinned for this product line" },
    );
    let first = first?;
    let signed =
        core::iter::once(first).chain(named).find(|anchor| ask.signed_by(anchor.certificate().spki(), provider));
    recorder.check(
        RuleId::AskSignature,
        signed.is_some(),
        format!("signature of the pinned key of {}", name(first.certificate())),
        if signed.is_some() { "verifies" } else { "does not verify" },
    );
    Some(signed.unwrap_or(first))
}

fn revocation(
    recorder: &mut Recorder,
    crl: &Crl,
    anchor: &Anchor,
    ask: &Certificate,
    vek: &Vek,
    provider: &dyn Provider,
) {
    let ark = anchor.certificate();
    let issued = crl.issuer() == ark.subject();
    let signed = issued && crl.signed_by(ark.spki(), provider);
    recorder.check(
        RuleId::CrlSignature,
        signed,
        format!("issued and signed by {}", name(ark)),
        signature(issued, signed, || name_of(crl.issuer())),
    );
    if !signed {
        return;
    }
    for (id, certificate) in [(RuleId::AskRevoked, ask), (RuleId::VekRevoked, vek.certificate())] {
        let serial = certificate.serial();
        recorder.check(id, !crl.revokes(serial), "serial not on the list", format!("serial {}", hex::encode(serial)));
    }
}

/// What was found where an issuer's signature is wanted.
fn signature(issued: bool, signed: bool, issuer: impl Fn() -> String) -> String {
    match (issued, signed) {
        (false, _) => format!("issued by {}", issuer()),
        (true, false) => "the signature does not verify".to_owned(),
        (true, true) => "the signature verifies".to_owned(),
    }
}

fn name(certificate: &Certificate) -> String {
    name_of(certificate.subject())
}

fn issuer(certificate: &Certificate) -> String {
    name_of(certificate.issuer())
}

/// The common name, or the whole name where there is not one alone; cut, since it is the sender's.
fn name_of(name: &Name) -> String {
    const LONGEST: usize = 200;
    let text = common_name(name).unwrap_or_else(|| name.to_string());
    text.chars().take(LONGEST).collect()
}
