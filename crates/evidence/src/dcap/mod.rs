//! What SGX and TDX have in common: quotes of Intel's Data Center Attestation Primitives (DCAP), and the collateral by
//! which they are judged.
//!
//! ```text
//!   Bundle --verify--> Collateral                              once: what Intel says of a kind of platform
//!   quote -> Quote; its chain -> Pck                           (quote, chain, pck)
//!   Quote + Pck + Collateral + roots + now -> Platform         here: genuine, and at which security versions
//!   Platform + body + policy + expectation -> Verdict          sgx, tdx
//! ```

pub(crate) mod chain;
pub mod collateral;
pub mod pck;
pub mod policy;
pub mod quote;
pub mod roots;
mod rules;
pub mod status;
pub mod tcb_info;

pub use collateral::{Bundle, Collateral, Endorsement};
pub use policy::Platforms;
pub use quote::Quote;
pub use roots::Roots;
pub use rules::CHECKS;
pub use status::{Standing, TcbStatus};

use crate::Hex;
use crate::hexadecimal as hex;
use crate::pki::{Certificate, Scheme, shown as name};
use crate::provider::{Provider, SignatureAlgorithm};
use crate::time::Dates;
use crate::verdict::{Recorder, Skip, said, some};
use collateral::NOT_BROUGHT;
pub(crate) use collateral::{Examined, PCK_CAS, TCB_SIGNING as TCB_SIGNER, is_named, may_list};
use pck::{Configuration, Pck, PlatformTcb, Ppid, SgxType};
use policy::TcbRules;
use quote::{Body, INTEL, QuoteError, Tee};
pub(crate) use roots::issued;
use rules::RuleId;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// By what quotes are judged.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Collateral that was verified before.
    Verified(&'a Collateral),
    /// The same, and a PCK that was. A quote with another is judged as if there were none.
    Endorsed(&'a Endorsement),
    /// Collateral that came with the quote.
    Bundle(&'a Bundle<'a>, &'a Roots),
}

impl<'a> Source<'a> {
    pub(crate) fn examined(&self, provider: &dyn Provider) -> Cow<'a, Examined> {
        match self {
            Self::Verified(collateral) => Cow::Borrowed(collateral.examined()),
            Self::Endorsed(endorsement) => Cow::Borrowed(endorsement.session.examined()),
            Self::Bundle(bundle, roots) => Cow::Owned(Examined::new(bundle, roots, provider)),
        }
    }

    /// The PCK that was examined by it.
    pub(crate) fn pck(&self) -> Option<&'a Pck> {
        match self {
            Self::Endorsed(endorsement) => Some(&endorsement.pck),
            Self::Verified(_) | Self::Bundle(..) => None,
        }
    }
}

/// The platform a genuine quote is of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Platform {
    /// Which processor.
    pub ppid: Ppid,
    /// Platform instance id, of platforms with several processors.
    pub instance: Option<[u8; 16]>,
    /// Family, model, stepping, platform type, customised SKU.
    pub fmspc: [u8; 6],
    /// What kind of platform.
    pub sgx_type: SgxType,
    /// How it is configured.
    pub configuration: Configuration,
    /// Its security versions.
    pub tcb: PlatformTcb,
    /// What Intel says of them, of the quoting enclave's, and of the TDX module's.
    pub standing: Standing,
    /// Intel's count of recoveries, of the older one of TCB info and QE identity.
    pub evaluation: u32,
    /// Last second at which all collateral is still good, unix time: nothing issued from this evidence may outlive it.
    pub collateral_end: u64,
}

/// By what a quote is judged.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) collateral: &'a Examined,
    /// One that the collateral was found to endorse.
    pub(crate) pck: Option<&'a Pck>,
    pub(crate) rules: TcbRules<'a>,
    pub(crate) platforms: &'a Platforms,
    pub(crate) now: u64,
    pub(crate) provider: &'a dyn Provider,
}

/// Judges everything but the body. The view is there if the bytes are a quote of this TEE, whatever else is wrong; the
/// platform, if it is known.
pub(crate) fn judge<'a>(
    recorder: &mut Recorder,
    bytes: &'a [u8],
    tee: Tee,
    by: By<'_>,
) -> (Option<Quote<'a>>, Option<Platform>) {
    let By { collateral, pck, rules, now, provider, .. } = by;
    collateral.record(recorder, now, rules.without_qe_identity);
    let Some(quote) = form(recorder, bytes, tee) else {
        collateral.record_own_ca(recorder, now);
        return (None, None);
    };
    let endorsed = endorsement(recorder, quote.chain(), collateral, pck, now, provider);
    enclave(recorder, &quote, endorsed.as_ref().map(|(pck, _)| &**pck), by);
    let platform = endorsed.and_then(|(pck, end)| platform(recorder, &quote, &pck, end, by));
    (Some(quote), platform)
}

/// Checks that need nothing but the bytes.
fn form<'a>(recorder: &mut Recorder, bytes: &'a [u8], tee: Tee) -> Option<Quote<'a>> {
    use RuleId as R;
    let quote = match Quote::parse(bytes) {
        Ok(quote) => quote,
        Err(error) => {
            let rule = match error {
                QuoteError::TooLong { .. } => R::QuoteSize,
                QuoteError::Version { .. } => R::QuoteVersion,
                QuoteError::Tee { .. } => R::QuoteTee,
                QuoteError::KeyType { .. } => R::QuoteKeyType,
                QuoteError::Body { .. } => R::QuoteBody,
                QuoteError::Truncated(_) | QuoteError::Trailing(_) => R::QuoteFormat,
                QuoteError::Certification { .. } => R::QuoteCertification,
            };
            recorder.check(rule, false, format!("a quote of {tee}"), error.to_string());
            return None;
        }
    };
    let size = format!("{} bytes", bytes.len());
    recorder.check(R::QuoteSize, true, "at most 32768 bytes", size);
    recorder.check(R::QuoteVersion, true, "3, 4 or 5", quote.version().to_string());
    recorder.check(R::QuoteKeyType, true, "ECDSA P-256", "ECDSA P-256");
    recorder.check(R::QuoteBody, true, "a known body", quote.body().tee().to_string());
    recorder.check(R::QuoteFormat, true, "lengths that add up", "lengths that add up");
    recorder.check(R::QuoteCertification, true, "a PCK certificate chain", "a PCK certificate chain");
    let tail = if quote.tail_is_zero() { "nothing but zeros" } else { "other bytes" };
    recorder.check(R::QuoteTail, quote.tail_is_zero(), "nothing but zeros", tail);
    recorder.check(R::QuoteVendor, *quote.vendor() == INTEL, hex::encode(INTEL), hex::encode(quote.vendor()));
    let found = quote.body().tee();
    recorder.check(R::QuoteTee, found == tee, tee.to_string(), found.to_string()).then_some(quote)
}

/// From the root to the PCK; and the last second at which it and its CA are still good.
fn endorsement<'a>(
    recorder: &mut Recorder,
    chain: &[u8],
    examined: &Examined,
    endorsed: Option<&'a Pck>,
    now: u64,
    provider: &dyn Provider,
) -> Option<(Cow<'a, Pck>, u64)> {
    use RuleId as R;
    let (leaf, others) = match chain::ders(chain, 3) {
        Ok(chain) => chain,
        Err(error) => {
            recorder.check(R::PckFormat, false, "PCK, its CA, the root", error.to_string());
            examined.record_own_ca(recorder, now);
            return None;
        }
    };
    let endorsed = endorsed.filter(|pck| pck.certificate().der() == leaf);
    let pck = endorsed.map_or_else(|| Pck::parse(&leaf).map(Cow::Owned), |pck| Ok(Cow::Borrowed(pck)));
    // What is the same as in the collateral was looked at there. Some platforms have the root before the CA.
    let issuer = examined.issuer();
    let (ca, signed) = match &issuer {
        Ok((known, signed)) if others.iter().any(|der| known.der() == der) => (Ok(Cow::Borrowed(*known)), *signed),
        _ => {
            let ca = ca_of(pck.as_ref().ok().map(|pck| pck.certificate()), &others).map(Cow::Owned);
            let signed = match (&ca, examined.root()) {
                (Ok(ca), Some(root)) => issued(ca, root, provider),
                _ => false,
            };
            (ca, signed)
        }
    };
    examined.record_ca(recorder, now, ca.as_deref().map(|ca| (ca, signed)).map_err(Clone::clone));
    let pck = match pck {
        Ok(pck) => pck,
        Err(error) => {
            recorder.check(R::PckFormat, false, "a PCK certificate", error.to_string());
            return None;
        }
    };
    let certificate = pck.certificate();
    recorder.check(R::PckFormat, true, "a PCK certificate", format!("FMSPC {}", hex::encode(pck.fmspc())));
    // An endorsed one is signed by the CA of this name and key.
    let same = match (&issuer, &ca) {
        (Ok((of_list, _)), Ok(ca)) => Some(of_list.subject() == ca.subject() && of_list.spki() == ca.spki()),
        _ => None,
    };
    let known = endorsed.is_some() && same == Some(true);
    let signed = known || ca.as_ref().is_ok_and(|ca| issued(certificate, ca, provider));
    recorder.check(R::PckSignature, signed, "signed by its CA", name(certificate.issuer()));
    Dates::of(certificate).record(recorder, R::PckEarly, R::PckExpired, now);
    if let (Ok((of_list, _)), Ok(ca), Some(same)) = (&issuer, &ca, same)
        && recorder.check(R::PckCrlIssuer, same, name(ca.subject()), name(of_list.subject()))
    {
        examined.record_pck_revocation(recorder, certificate);
    }
    let end = ca.map_or(0, |ca| ca.not_after()).min(certificate.not_after());
    Some((pck, end))
}

/// The PCK of a quote, whoever signed it.
pub(crate) fn pck_of(quote: &Quote<'_>) -> Option<Pck> {
    let (leaf, _) = chain::ders(quote.chain(), 3).ok()?;
    Pck::parse(&leaf).ok()
}

/// The CA that a PCK names, among others.
fn ca_of(pck: Option<&Certificate>, others: &[Vec<u8>]) -> Result<Certificate, String> {
    let mut failed = "no certificate of the PCK's issuer".to_owned();
    for der in others {
        match Certificate::parse(der, Scheme::EcdsaP256Sha256) {
            Ok(certificate) if pck.is_none_or(|pck| pck.issuer() == certificate.subject()) => return Ok(certificate),
            Ok(_) => {}
            Err(error) => failed = error.to_string(),
        }
    }
    Err(failed)
}

/// From the PCK over the quoting enclave to the body.
fn enclave(recorder: &mut Recorder, quote: &Quote<'_>, pck: Option<&Pck>, by: By<'_>) {
    use RuleId as R;
    let By { collateral: examined, rules, provider, .. } = by;
    let p256 = SignatureAlgorithm::EcdsaP256Sha256Fixed;
    let signature = |signed| if signed { "the signature verifies" } else { "the signature does not verify" };
    let report = quote.qe_report();
    if let Some(pck) = pck {
        let signed = provider.verify(p256, pck.certificate().spki(), quote.qe_signed(), quote.qe_signature());
        recorder.check(R::QeSignature, signed, "signed by the PCK", signature(signed));
    }
    let reserved = report.reserved_is_zero();
    recorder.check(R::QeReserved, reserved, "zeros", if reserved { "zeros" } else { "other bytes" });
    let mut bound = [0; 64];
    let hash = Sha256::new().chain_update(quote.attestation_key()).chain_update(quote.qe_authentication()).finalize();
    for (to, from) in bound.iter_mut().zip(hash) {
        *to = from;
    }
    let found = hex::encode(report.report_data);
    recorder.check(R::QeBinding, report.report_data == bound, hex::encode(bound), found);
    let spki = point(quote.attestation_key());
    let signed = provider.verify(p256, &spki, quote.signed(), quote.signature());
    recorder.check(R::QuoteSignature, signed, "signed by the attestation key", signature(signed));

    let Ok((identity, _)) = &examined.qe_identity else {
        if rules.without_qe_identity && examined.without_qe_identity() {
            let about = [R::QeIdentityTee, R::QeSigner, R::QeProduct, R::QeMiscSelect, R::QeAttributes, R::QeLevel];
            about.into_iter().for_each(|rule| recorder.skip(rule, Skip::NotAsked, NOT_BROUGHT));
        }
        return;
    };
    let tee = quote.body().tee();
    if !recorder.check(R::QeIdentityTee, identity.tee == tee, tee.to_string(), identity.tee.to_string()) {
        return;
    }
    let (wanted, found) = (hex::encode(identity.signer), hex::encode(report.mr_signer));
    recorder.check(R::QeSigner, identity.signer == report.mr_signer, wanted, found);
    let product = report.product_id.get();
    recorder.check(R::QeProduct, identity.product_id == product, identity.product_id.to_string(), product.to_string());
    let select = format!("{:#010x}", report.misc_select.get());
    recorder.check(R::QeMiscSelect, identity.misc_select_matches(report), identity.misc_select(), select);
    let attributes = hex::encode(report.attributes);
    recorder.check(R::QeAttributes, identity.attributes_match(report), identity.attributes(), attributes);
    let svn = report.security_version.get();
    recorder.check(R::QeLevel, identity.level(svn).is_some(), "a level of the QE identity", format!("ISVSVN {svn}"));
}

/// SubjectPublicKeyInfo of a P-256 point.
fn point(key: &[u8; 64]) -> Vec<u8> {
    // SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { 4, x, y } }: RFC 5480 section 2.
    const BEFORE: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    [&BEFORE[..], key].concat()
}

/// Which platform it is, and what is known against it.
fn platform(recorder: &mut Recorder, quote: &Quote<'_>, pck: &Pck, end: u64, by: By<'_>) -> Option<Platform> {
    use RuleId as R;
    let By { collateral: examined, rules, platforms, now, .. } = by;
    let fmspc = pck.fmspc();
    recorder.refused(R::PlatformProduct, rules.refused_fmspc, &Hex(fmspc));
    configuration(recorder, rules.configuration, pck.configuration());
    match platforms {
        Platforms::Any => recorder.skip(R::PlatformAllowed, Skip::NotAsked, "the policy names no platform"),
        Platforms::Only(named) => {
            let expected = format!("one of {}", some(named));
            let found = pck.ppid().to_string();
            recorder.check(R::PlatformAllowed, named.contains(&pck.ppid()), expected, found);
        }
    }

    let Ok((info, _)) = &examined.tcb_info else { return None };
    let identity = match &examined.qe_identity {
        Ok((identity, _)) => Some(identity),
        Err(_) if rules.without_qe_identity && examined.without_qe_identity() => None,
        Err(_) => return None,
    };
    let tee = quote.body().tee();
    let of_tee = recorder.check(R::TcbInfoTee, info.tee == tee, tee.to_string(), info.tee.to_string());
    let (wanted, found) = (
        format!("FMSPC {}, PCE {}", hex::encode(fmspc), hex::encode(pck.pce_id())),
        format!("FMSPC {}, PCE {}", hex::encode(info.fmspc), hex::encode(info.pce_id)),
    );
    let of_platform = info.fmspc == fmspc && info.pce_id == pck.pce_id();
    if !recorder.check(R::TcbInfoPlatform, of_platform, wanted, found) || !of_tee {
        return None;
    }
    let evaluation = identity.map_or(info.evaluation, |identity| info.evaluation.min(identity.evaluation));
    match rules.minimum_evaluation {
        None => recorder.skip(R::TcbEvaluation, Skip::NotAsked, "no minimum in the policy"),
        Some(minimum) => {
            recorder.check(
                R::TcbEvaluation,
                evaluation >= minimum,
                format!("at least {minimum}"),
                evaluation.to_string(),
            );
        }
    }
    let qe = match identity {
        Some(identity) => {
            Some(identity.level(quote.qe_report().security_version.get()).filter(|_| identity.tee == tee)?)
        }
        None => None,
    };
    let tcb = pck.tcb();
    let reached = match quote.body() {
        Body::Enclave(_) => {
            info.sgx_level(&tcb).map(|level| together(level.clone(), qe)).ok_or("no level of the TCB info is reached")
        }
        Body::Td(td, extension) => td_standing(info, &tcb, qe, &td.tee_tcb_svn, extension.map(|now| &now.tee_tcb_svn)),
    };
    let found = match &reached {
        Ok(standing) => standing.status.to_string(),
        Err(why) => {
            let svns = format!("{why}: components {}, PCESVN {}", hex::encode(tcb.components), tcb.pce);
            match quote.body() {
                Body::Enclave(_) => svns,
                Body::Td(td, None) => format!("{svns}, TEE_TCB_SVN {}", hex::encode(td.tee_tcb_svn)),
                Body::Td(td, Some(now)) => {
                    let [launch, now] = [td.tee_tcb_svn, now.tee_tcb_svn].map(hex::encode);
                    format!("{svns}, TEE_TCB_SVN {launch}, now {now}")
                }
            }
        }
    };
    recorder.check(R::TcbLevel, reached.is_ok(), "a level of the TCB info", found);
    let standing = reached.ok()?;
    recorder.standing(R::TcbLevel, standing.clone());
    judge_standing(recorder, &rules, &standing, now);
    Some(Platform {
        ppid: pck.ppid(),
        instance: pck.instance(),
        fmspc,
        sgx_type: pck.sgx_type(),
        configuration: pck.configuration(),
        tcb,
        standing,
        evaluation,
        collateral_end: examined.end().min(end),
    })
}

/// What is said of a TD that was launched with a TDX module of these versions, and now runs on one of others.
fn td_standing(
    info: &tcb_info::TcbInfo,
    tcb: &PlatformTcb,
    qe: Option<&Standing>,
    launch: &[u8; 16],
    current: Option<&[u8; 16]>,
) -> Result<Standing, &'static str> {
    let standing = together(info.tdx_level(tcb, launch)?, qe);
    let Some(current) = current else { return Ok(standing) };
    Ok(standing.now(&together(info.tdx_level(tcb, current)?, qe)))
}

/// A platform's standing with its quoting enclave's, of which a policy may want to know nothing.
fn together(platform: Standing, qe: Option<&Standing>) -> Standing {
    match qe {
        Some(qe) => platform.with(qe),
        None => platform,
    }
}

fn judge_standing(recorder: &mut Recorder, rules: &TcbRules<'_>, standing: &Standing, now: u64) {
    use RuleId as R;
    let status = standing.status;
    let revoked = status == TcbStatus::Revoked;
    if recorder.check(R::TcbRevoked, !revoked, "not Revoked", status.to_string()) {
        let accepted: Vec<String> = rules.accepted().iter().map(TcbStatus::to_string).collect();
        let grace = rules.grace_days.map_or_else(String::new, |days| format!(", out of date for {days} days"));
        let found = format!("{status}, level of {}", crate::time::date(standing.date));
        recorder.check(R::TcbStatus, rules.accept(standing, now), accepted.join(", ") + &grace, found);
    }
    // Real lists have some dozens.
    const LONGEST: usize = 1000;
    let all = || said(standing.advisories.iter().map(String::as_str).collect::<Vec<_>>().join(", "), LONGEST);
    match rules.allowed_advisories {
        None => recorder.skip(R::TcbAdvisoriesAllowed, Skip::NotAsked, "no list in the policy"),
        Some(allowed) => {
            let good = standing.advisories.iter().all(|advisory| allowed.contains(advisory));
            recorder.check(R::TcbAdvisoriesAllowed, good, allowed.join(", "), all());
        }
    }
    match rules.rejected_advisories {
        None => recorder.skip(R::TcbAdvisoriesRejected, Skip::NotAsked, "no list in the policy"),
        Some(rejected) => {
            let good = standing.advisories.iter().all(|advisory| !rejected.contains(advisory));
            recorder.check(R::TcbAdvisoriesRejected, good, format!("none of {}", rejected.join(", ")), all());
        }
    }
}

fn configuration(recorder: &mut Recorder, wanted: Configuration, found: Configuration) {
    let keys = [
        ("smt", wanted.smt, found.smt),
        ("dynamic_platform", wanted.dynamic, found.dynamic),
        ("cached_keys", wanted.cached_keys, found.cached_keys),
    ];
    if keys.iter().all(|(_, wanted, _)| wanted.is_none()) {
        recorder.skip(RuleId::PlatformConfiguration, Skip::NotAsked, "no demand in the policy");
        return;
    }
    let good = keys.iter().all(|(_, wanted, found)| wanted.is_none() || wanted == found);
    let say = |flag: Option<bool>| flag.map_or("unknown".to_owned(), |flag| flag.to_string());
    let asked = keys.iter().filter_map(|(key, wanted, found)| wanted.map(|wanted| (key, wanted, found)));
    let (wanted, found): (Vec<_>, Vec<_>) =
        asked.map(|(key, wanted, found)| (format!("{key} {wanted}"), format!("{key} {}", say(*found)))).unzip();
    recorder.check(RuleId::PlatformConfiguration, good, wanted.join(", "), found.join(", "));
}
