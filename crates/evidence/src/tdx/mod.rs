//! Intel TDX: quotes versions 4 and 5 of TDX 1.0 and 1.5, policy, and the two ways to judge them.
//!
//! [`verify`] binds the evidence to an [`Expected`] and is what an issuer needs; [`authentic`] judges everything but the
//! binding. What is common to all quotes is judged by [`crate::dcap`]; here are the trust domain and the TDX module.

pub mod policy;
mod rules;

pub use policy::{Policy, Settings};
pub use rules::CHECKS;

use crate::dcap::quote::{Body, TdExtension, TdReport, Tee};
use crate::dcap::tcb_info::TcbInfo;
use crate::dcap::{self, By, Platform, Platforms, Source};
use crate::provider::Provider;
use crate::sgx::padded;
use crate::verdict::{Recorder, Skip, Verdict};
use crate::{Authentic, Expected, Hex, Verified};
use policy::{Attribute, SeptVe};
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
    /// The `[tdx]` policy.
    pub policy: &'a Policy,
    /// The platforms the policy names.
    pub platforms: &'a Platforms,
    /// The instant to judge at, unix seconds.
    pub now: u64,
}

/// What a genuine and accepted quote says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdxClaims {
    /// On what it ran, and at which security versions.
    pub platform: Platform,
    /// TEE_TCB_SVN of the TDX module the TD was launched on.
    pub module_svn: [u8; 16],
    /// TEE_TCB_SVN of the TDX module it runs on now; TDX 1.5.
    pub module_svn_now: Option<[u8; 16]>,
    /// MRSEAM.
    pub module: [u8; 48],
    /// TDATTRIBUTES.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub measurement: [u8; 48],
    /// RTMR 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// MRCONFIGID.
    pub config_id: [u8; 48],
    /// MROWNER.
    pub owner: [u8; 48],
    /// MROWNERCONFIG.
    pub owner_config: [u8; 48],
    /// MRSERVICETD; TDX 1.5.
    pub service_td: Option<[u8; 48]>,
    /// REPORTDATA.
    pub report_data: [u8; 64],
}

/// Judges evidence against policy and expectation. On success the verdict lists what was checked.
pub fn verify(input: Input<'_>, provider: &dyn Provider) -> Result<(Verified<TdxClaims>, Verdict), Verdict> {
    let Input { quote, expected, collateral, policy, platforms, now } = input;
    let (claims, verdict) = judge(quote, Some(&expected), collateral, policy, platforms, now, provider)?;
    Ok((Verified::new(claims), verdict))
}

/// Judges evidence against policy alone: genuine and accepted, bound to nothing.
pub fn authentic(
    quote: &[u8],
    collateral: Source<'_>,
    policy: &Policy,
    platforms: &Platforms,
    now: u64,
    provider: &dyn Provider,
) -> Result<(Authentic<TdxClaims>, Verdict), Verdict> {
    let (claims, verdict) = judge(quote, None, collateral, policy, platforms, now, provider)?;
    Ok((Authentic::new(claims), verdict))
}

fn judge(
    quote: &[u8],
    expected: Option<&Expected>,
    collateral: Source<'_>,
    policy: &Policy,
    platforms: &Platforms,
    now: u64,
    provider: &dyn Provider,
) -> Result<(TdxClaims, Verdict), Verdict> {
    let mut recorder = Recorder::new(CHECKS);
    let settings = policy.settings();
    let examined = collateral.examined(provider);
    let by = By { collateral: &examined, rules: settings.tcb(), platforms, now, provider };
    let (quote, platform) = dcap::judge(&mut recorder, quote, Tee::Tdx, by);
    let td = match quote.map(|quote| quote.body()) {
        Some(Body::Td(td, extension)) => Some((td, extension)),
        _ => None,
    };
    if let Some((td, extension)) = td {
        if let Ok((info, _)) = &examined.tcb_info {
            module(&mut recorder, td, info);
        }
        domain(&mut recorder, td, extension, settings);
        binding(&mut recorder, td, expected);
    }
    let verdict = recorder.finish();
    match (td, platform) {
        (Some((td, extension)), Some(platform)) if verdict.passed() => Ok((claims(td, extension, platform), verdict)),
        _ => Err(verdict),
    }
}

/// The TDX module the TD was launched on. Silent if the TCB info is about something else, which is a failure of its own.
fn module(recorder: &mut Recorder, td: &TdReport, info: &TcbInfo) {
    if info.tee != Tee::Tdx {
        return;
    }
    let Some(module) = info.module(&td.tee_tcb_svn) else {
        let [_, version, ..] = td.tee_tcb_svn;
        recorder.check(RuleId::ModuleSigner, false, "a TDX module of the TCB info", format!("version {version}"));
        return;
    };
    let (wanted, found) = (hex::encode(module.signer), hex::encode(td.mr_signer_seam));
    recorder.check(RuleId::ModuleSigner, td.mr_signer_seam == module.signer, wanted, found);
    let [wanted, mask, found] = [module.attributes, module.mask, td.seam_attributes].map(u64::from_le_bytes);
    let good = found & mask == wanted & mask && found & !mask == 0;
    recorder.check(RuleId::ModuleAttributes, good, format!("{wanted:#x} of {mask:#x}"), format!("{found:#x}"));
}

/// DEBUG, and the kinds of profiling.
const DEBUG: u64 = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 6;
const SEPT_VE_DISABLE: u64 = 1 << 28;
/// Extended state that every TD has: x87 and SSE.
const XFAM: u64 = 3;
/// All that a TD can have.
const XFAM_KNOWN: u64 = 0x0006_DBE7;

fn domain(recorder: &mut Recorder, td: &TdReport, extension: Option<&TdExtension>, settings: &Settings) {
    use RuleId as R;
    allowed(recorder, R::ModuleAllowed, settings.module.as_deref(), td.mr_seam);
    let attributes = u64::from_le_bytes(td.td_attributes);
    let found = format!("{attributes:#x}");
    let known = Attribute::ALL.iter().fold(DEBUG | SEPT_VE_DISABLE, |known, attribute| known | attribute.bit());
    recorder.check(R::AttributesReserved, attributes & !known == 0, format!("none but {known:#x}"), found.clone());
    let debug = attributes & DEBUG != 0;
    recorder.check(
        R::AttributesDebug,
        !debug || settings.insecure_debug,
        if settings.insecure_debug { "DEBUG tolerated" } else { "no DEBUG, no profiling" },
        if debug { found.clone() } else { "no DEBUG, no profiling".to_owned() },
    );
    let sept = attributes & SEPT_VE_DISABLE != 0;
    let said = if sept { "SEPT_VE_DISABLE" } else { "no SEPT_VE_DISABLE" };
    match settings.sept_ve_disable {
        SeptVe::Optional => recorder.skip(R::AttributesSeptVe, Skip::NotAsked, said),
        SeptVe::Required => {
            recorder.check(R::AttributesSeptVe, sept, "SEPT_VE_DISABLE", said);
        }
    }
    let has = |attribute: Attribute| attributes & attribute.bit() != 0;
    let listed = |attribute: Attribute| settings.attributes.as_ref().is_some_and(|listed| listed.contains(&attribute));
    let migratable = has(Attribute::Migratable);
    recorder.check(
        R::AttributesMigratable,
        !migratable || listed(Attribute::Migratable),
        if listed(Attribute::Migratable) { "MIGRATABLE tolerated" } else { "no MIGRATABLE" },
        if migratable { "MIGRATABLE" } else { "no MIGRATABLE" },
    );
    // MIGRATABLE has a rule of its own.
    let may = |attribute: Attribute| match settings.attributes {
        None => attribute != Attribute::ServtdExt,
        Some(_) => listed(attribute),
    };
    let others = Attribute::ALL.into_iter().filter(|attribute| *attribute != Attribute::Migratable);
    let more: Vec<Attribute> = others.filter(|attribute| has(*attribute) && !may(*attribute)).collect();
    let expected = match &settings.attributes {
        None => "no SERVTD_EXT".to_owned(),
        Some(listed) => format!("none but {listed:?}"),
    };
    recorder.check(R::AttributesFlags, more.is_empty(), expected, format!("{found}, not accepted: {more:?}"));
    let xfam = u64::from_le_bytes(td.xfam);
    let good = xfam & XFAM == XFAM && xfam & !XFAM_KNOWN == 0;
    recorder.check(R::Xfam, good, format!("{XFAM:#x} of {XFAM_KNOWN:#x}"), format!("{xfam:#x}"));

    let bound = extension.map(|extension| extension.mr_service_td).filter(|bound| *bound != [0; 48]);
    let accepted = settings.service_td.as_deref().unwrap_or_default();
    let good = bound.is_none_or(|bound| accepted.contains(&Hex(bound)));
    let found = bound.map_or("none".to_owned(), hex::encode);
    recorder.check(R::ServiceTd, good, format!("none, or one of {} accepted", accepted.len()), found);

    allowed(recorder, R::MeasurementAllowed, settings.hash.as_deref(), td.mr_td);
    match settings.hash_blacklist.as_deref() {
        None => recorder.skip(R::MeasurementDenied, Skip::NotAsked, "no list in the policy"),
        Some(list) => {
            let expected = format!("none of {} refused", list.len());
            recorder.check(R::MeasurementDenied, !list.contains(&Hex(td.mr_td)), expected, hex::encode(td.mr_td));
        }
    }
    let rtmrs = [
        (R::Rtmr0, &settings.rtmr0),
        (R::Rtmr1, &settings.rtmr1),
        (R::Rtmr2, &settings.rtmr2),
        (R::Rtmr3, &settings.rtmr3),
    ];
    for ((rule, list), found) in rtmrs.into_iter().zip(td.rtmr) {
        allowed(recorder, rule, list.as_deref(), found);
    }
    allowed(recorder, R::Owner, settings.owner.as_deref(), td.mr_owner);
    allowed(recorder, R::OwnerConfig, settings.owner_config.as_deref(), td.mr_owner_config);
}

fn allowed(recorder: &mut Recorder, rule: RuleId, list: Option<&[Hex<48>]>, found: [u8; 48]) {
    match list {
        None => recorder.skip(rule, Skip::NotAsked, "no list in the policy"),
        Some(list) => {
            let expected = format!("one of {} accepted", list.len());
            recorder.check(rule, list.contains(&Hex(found)), expected, hex::encode(found));
        }
    }
}

fn binding(recorder: &mut Recorder, td: &TdReport, expected: Option<&Expected>) {
    let Some(Expected { report_data, launch_field }) = expected else {
        for rule in [RuleId::ReportData, RuleId::ConfigId] {
            recorder.skip(rule, Skip::NotAsked, "the caller expects nothing");
        }
        return;
    };
    let found = hex::encode(td.report_data);
    recorder.check(RuleId::ReportData, td.report_data == *report_data, hex::encode(report_data), found);
    let brief = padded(launch_field);
    recorder.check(RuleId::ConfigId, td.mr_config_id == brief, hex::encode(brief), hex::encode(td.mr_config_id));
}

fn claims(td: &TdReport, extension: Option<&TdExtension>, platform: Platform) -> TdxClaims {
    TdxClaims {
        platform,
        module_svn: td.tee_tcb_svn,
        module_svn_now: extension.map(|extension| extension.tee_tcb_svn),
        module: td.mr_seam,
        attributes: u64::from_le_bytes(td.td_attributes),
        xfam: u64::from_le_bytes(td.xfam),
        measurement: td.mr_td,
        rtmr: td.rtmr,
        config_id: td.mr_config_id,
        owner: td.mr_owner,
        owner_config: td.mr_owner_config,
        service_td: extension.map(|extension| extension.mr_service_td),
        report_data: td.report_data,
    }
}
