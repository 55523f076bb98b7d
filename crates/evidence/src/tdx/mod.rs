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
use crate::dcap::{self, Platform, Platforms, Source};
use crate::hexadecimal as hex;
use crate::provider::Provider;
use crate::sgx::padded;
use crate::verdict::{Recorder, Skip, Verdict, some};
use crate::{Asked, Authentic, Expected, Hex, Verified};
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
    let by = By { collateral, policy, platforms, now, provider };
    let (claims, verdict) = judge(quote, expected.into(), by)?;
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
) -> Result<(Authentic<TdxClaims>, Verdict), Verdict> {
    let by = By { collateral, policy, platforms, now, provider };
    let (claims, verdict) = judge(quote, Asked::default(), by)?;
    Ok((Authentic::new(claims), verdict))
}

pub(crate) fn judge(quote: &[u8], asked: Asked, by: By<'_>) -> Result<(TdxClaims, Verdict), Verdict> {
    let mut recorder = Recorder::new(CHECKS);
    let claims = appraise(&mut recorder, quote, asked, by);
    let verdict = recorder.finish();
    match claims {
        Some(claims) if verdict.passed() => Ok((claims, verdict)),
        _ => Err(verdict),
    }
}

/// By what evidence is judged.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) collateral: Source<'a>,
    pub(crate) policy: &'a Policy,
    pub(crate) platforms: &'a Platforms,
    pub(crate) now: u64,
    pub(crate) provider: &'a dyn Provider,
}

/// Records every rule of [`CHECKS`]. Whether the claims may be used is the verdict's to say.
pub(crate) fn appraise(recorder: &mut Recorder, quote: &[u8], asked: Asked, by: By<'_>) -> Option<TdxClaims> {
    let By { collateral, policy, platforms, now, provider } = by;
    let settings = policy.settings();
    let examined = collateral.examined(provider);
    let by = dcap::By { collateral: &examined, pck: collateral.pck(), rules: settings.tcb(), platforms, now, provider };
    let (quote, platform) = dcap::judge(recorder, quote, Tee::Tdx, by);
    let Body::Td(td, extension) = quote?.body() else { return None };
    if let Ok((info, _)) = &examined.tcb_info {
        module(recorder, td, info);
    }
    domain(recorder, td, extension, policy);
    recorder.bound(RuleId::ReportData, asked.report_data, td.report_data);
    recorder.bound(RuleId::ConfigId, asked.launch_field.map(|hash| padded(&hash)), td.mr_config_id);
    platform.map(|platform| claims(td, extension, platform))
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
pub(crate) const DEBUG: u64 = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 6;
const SEPT_VE_DISABLE: u64 = 1 << 28;
/// Extended state that every TD has: x87 and SSE.
const XFAM: u64 = 3;
/// All that a TD can have.
const XFAM_KNOWN: u64 = 0x0006_DBE7;

fn domain(recorder: &mut Recorder, td: &TdReport, extension: Option<&TdExtension>, policy: &Policy) {
    use RuleId as R;
    let settings = policy.settings();
    recorder.accepted(R::ModuleAllowed, settings.module.as_deref(), Some(Hex(td.mr_seam)));
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
    if policy.is_silent() && bound.is_some() {
        recorder.skip(R::ServiceTd, Skip::NotAsked, format!("no policy; bound: {found}"));
    } else {
        recorder.check(
            R::ServiceTd,
            good,
            if accepted.is_empty() { "none".to_owned() } else { format!("none, or one of {}", some(accepted)) },
            found,
        );
    }

    recorder.accepted(R::MeasurementAllowed, settings.hash.as_deref(), Some(Hex(td.mr_td)));
    recorder.refused(R::MeasurementDenied, settings.hash_blacklist.as_deref(), &Hex(td.mr_td));
    let rtmrs = [
        (R::Rtmr0, &settings.rtmr0),
        (R::Rtmr1, &settings.rtmr1),
        (R::Rtmr2, &settings.rtmr2),
        (R::Rtmr3, &settings.rtmr3),
    ];
    for ((rule, list), found) in rtmrs.into_iter().zip(td.rtmr) {
        recorder.accepted(rule, list.as_deref(), Some(Hex(found)));
    }
    recorder.accepted(R::Owner, settings.owner.as_deref(), Some(Hex(td.mr_owner)));
    recorder.accepted(R::OwnerConfig, settings.owner_config.as_deref(), Some(Hex(td.mr_owner_config)));
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
