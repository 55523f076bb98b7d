//! Intel SGX: quotes version 3, policy, and the two ways to judge them.
//!
//! [`verify`] binds the evidence to an [`Expected`] and is what an issuer needs; [`authentic`] judges everything but the
//! binding. What is common to all quotes is judged by [`crate::dcap`]; here is the enclave.

pub mod policy;
mod rules;

pub use policy::{Policy, Settings};
pub use rules::CHECKS;

use crate::dcap::quote::{Body, EnclaveReport, Tee};
use crate::dcap::{self, By, Platform, Platforms, Source};
use crate::hexadecimal as hex;
use crate::provider::Provider;
use crate::verdict::{Recorder, Skip, Verdict};
use crate::{Asked, Authentic, Expected, Hex, Verified};
use policy::Feature;
use rules::RuleId;

/// Everything a judgement depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What the attester presents: a quote, and perhaps zeros after it.
    pub quote: &'a [u8],
    /// What it must be bound to.
    pub expected: Expected,
    /// By what it is judged.
    pub collateral: Source<'a>,
    /// The `[sgx]` policy.
    pub policy: &'a Policy,
    /// The platforms the policy names.
    pub platforms: &'a Platforms,
    /// The instant to judge at, unix seconds.
    pub now: u64,
}

/// What a genuine and accepted quote says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SgxClaims {
    /// On what it ran, and at which security versions.
    pub platform: Platform,
    /// MRENCLAVE.
    pub measurement: [u8; 32],
    /// MRSIGNER.
    pub signer: [u8; 32],
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub security_version: u16,
    /// ISVFAMILYID.
    pub family_id: [u8; 16],
    /// ISVEXTPRODID.
    pub extended_product_id: [u8; 16],
    /// ATTRIBUTES: flags.
    pub flags: u64,
    /// ATTRIBUTES: XFRM.
    pub xfrm: u64,
    /// MISCSELECT.
    pub misc_select: u32,
    /// CONFIGID.
    pub config_id: [u8; 64],
    /// CONFIGSVN.
    pub config_svn: u16,
    /// REPORTDATA.
    pub report_data: [u8; 64],
}

/// Judges evidence against policy and expectation. On success the verdict lists what was checked.
pub fn verify(input: Input<'_>, provider: &dyn Provider) -> Result<(Verified<SgxClaims>, Verdict), Verdict> {
    let Input { quote, expected, collateral, policy, platforms, now } = input;
    let (claims, verdict) = judge(quote, expected.into(), collateral, policy, platforms, now, provider)?;
    Ok((Verified::new(claims, expected), verdict))
}

/// Judges evidence against policy alone: genuine and accepted, bound to nothing.
pub fn authentic(
    quote: &[u8],
    collateral: Source<'_>,
    policy: &Policy,
    platforms: &Platforms,
    now: u64,
    provider: &dyn Provider,
) -> Result<(Authentic<SgxClaims>, Verdict), Verdict> {
    let (claims, verdict) = judge(quote, Asked::default(), collateral, policy, platforms, now, provider)?;
    Ok((Authentic::new(claims), verdict))
}

pub(crate) fn judge(
    quote: &[u8],
    asked: Asked,
    collateral: Source<'_>,
    policy: &Policy,
    platforms: &Platforms,
    now: u64,
    provider: &dyn Provider,
) -> Result<(SgxClaims, Verdict), Verdict> {
    let mut recorder = Recorder::new(CHECKS);
    let settings = policy.settings();
    let examined = collateral.examined(provider);
    let by = By { collateral: &examined, pck: collateral.pck(), rules: settings.tcb(), platforms, now, provider };
    let (quote, platform) = dcap::judge(&mut recorder, quote, Tee::Sgx, by);
    let report = match quote.map(|quote| quote.body()) {
        Some(Body::Enclave(report)) => Some(report),
        _ => None,
    };
    if let Some(report) = report {
        enclave(&mut recorder, report, settings);
        binding(&mut recorder, report, asked);
    }
    let verdict = recorder.finish();
    match (report, platform) {
        (Some(report), Some(platform)) if verdict.passed() => Ok((claims(report, platform), verdict)),
        _ => Err(verdict),
    }
}

/// Flags that every enclave has: it is initialised, and in 64-bit mode.
const FLAGS: u64 = 1 << 0 | 1 << 2;
/// Extended state that every enclave has: x87 and SSE.
const XFRM: u64 = 3;

fn attributes(report: &EnclaveReport) -> (u64, u64) {
    let [flags, xfrm] = [0, 8].map(|at| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(report.attributes.iter().skip(at)) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    });
    (flags, xfrm)
}

fn enclave(recorder: &mut Recorder, report: &EnclaveReport, settings: &Settings) {
    use RuleId as R;
    let reserved = report.reserved_is_zero();
    recorder.check(R::ReportReserved, reserved, "zeros", if reserved { "zeros" } else { "other bytes" });
    let (flags, xfrm) = attributes(report);
    let known = Feature::ALL.iter().fold(FLAGS, |known, feature| known | feature.bit());
    let fixed = flags & FLAGS == FLAGS && flags & !known == 0 && xfrm & XFRM == XFRM;
    let found = format!("flags {flags:#x}, XFRM {xfrm:#x}");
    recorder.check(R::AttributesFixed, fixed, format!("flags {FLAGS:#x} of {known:#x}, XFRM {XFRM:#x}"), found);
    let debug = flags & Feature::Debug.bit() != 0;
    recorder.check(
        R::AttributesDebug,
        !debug || settings.insecure_debug,
        if settings.insecure_debug { "DEBUG tolerated" } else { "no DEBUG" },
        if debug { "DEBUG" } else { "no DEBUG" },
    );
    match &settings.features {
        None => recorder.skip(R::AttributesFeatures, Skip::NotAsked, "no features in the policy"),
        Some(listed) => {
            // DEBUG has a rule of its own.
            let has = |feature: &Feature| *feature != Feature::Debug && flags & feature.bit() != 0;
            let more: Vec<Feature> = Feature::ALL.into_iter().filter(|f| has(f) && !listed.contains(f)).collect();
            recorder.check(R::AttributesFeatures, more.is_empty(), format!("none but {listed:?}"), format!("{more:?}"));
        }
    }
    let select = report.misc_select.get();
    match &settings.misc_select {
        None => recorder.skip(R::MiscSelect, Skip::NotAsked, "no list in the policy"),
        Some(listed) => {
            let may = listed.iter().fold(0, |may, misc| may | misc.bit());
            let found = format!("{select:#x}");
            recorder.check(R::MiscSelect, select & !may == 0, format!("nothing but {listed:?}"), found);
        }
    }
    recorder.accepted(R::MeasurementAllowed, settings.hash.as_deref(), Some(Hex(report.mr_enclave)));
    recorder.refused(R::MeasurementDenied, settings.hash_blacklist.as_deref(), &Hex(report.mr_enclave));
    recorder.accepted(R::SignerAllowed, settings.signer.as_deref(), Some(Hex(report.mr_signer)));
    let product = report.product_id.get();
    match settings.enclave_product_id {
        None => recorder.skip(R::ProductId, Skip::NotAsked, "no product id in the policy"),
        Some(wanted) => {
            recorder.check(R::ProductId, product == wanted, wanted.to_string(), product.to_string());
        }
    }
    let version = report.security_version.get();
    match settings.enclave_security_version {
        None => recorder.skip(R::SecurityVersion, Skip::NotAsked, "no security version in the policy"),
        Some(least) => {
            recorder.check(R::SecurityVersion, version >= least, format!("at least {least}"), version.to_string());
        }
    }
    for (rule, wanted, found) in [
        (R::FamilyId, settings.family_id, report.family_id),
        (R::ExtendedProductId, settings.extended_product_id, report.extended_product_id),
    ] {
        match wanted {
            None => recorder.skip(rule, Skip::NotAsked, "no id in the policy"),
            Some(wanted) => {
                recorder.check(rule, wanted.0 == found, hex::encode(wanted.0), hex::encode(found));
            }
        }
    }
}

fn binding(recorder: &mut Recorder, report: &EnclaveReport, asked: Asked) {
    recorder.bound(RuleId::ReportData, asked.report_data, report.report_data);
    let brief: Option<[u8; 64]> = asked.launch_field.map(|hash| padded(&hash));
    match brief {
        // Zeros are no hash: nothing was said at launch, and an enclave without the field can say nothing else.
        Some(brief) if brief != [0; 64] && attributes(report).0 & Feature::Kss.bit() == 0 => {
            let found = "no Key Separation and Sharing";
            recorder.check(RuleId::ConfigId, false, hex::encode(brief), found);
        }
        _ => recorder.bound(RuleId::ConfigId, brief, report.config_id),
    }
}

/// The hash of a brief in a field that is longer.
pub(crate) fn padded<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(hash) {
        *to = *from;
    }
    field
}

fn claims(report: &EnclaveReport, platform: Platform) -> SgxClaims {
    let (flags, xfrm) = attributes(report);
    SgxClaims {
        platform,
        measurement: report.mr_enclave,
        signer: report.mr_signer,
        product_id: report.product_id.get(),
        security_version: report.security_version.get(),
        family_id: report.family_id,
        extended_product_id: report.extended_product_id,
        flags,
        xfrm,
        misc_select: report.misc_select.get(),
        config_id: report.config_id,
        config_svn: report.config_svn.get(),
        report_data: report.report_data,
    }
}
