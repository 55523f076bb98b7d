//! What the report says, compared with its VEK, with the policy and with the expectation.
//!
//! [`form`] looks at the bytes alone; [`judge`] needs the chain, because signature, TCB layout and
//! chip identity depend on the VEK. All comparisons are over whole values; nothing is padded or cut.

use super::chain::Chain;
use super::policy::{MAX_VMPL, Settings};
use super::product::{Platform, ProductLine};
use super::report::{PlatformFlag, PolicyFlag, Report, ReportError, SigningKey};
use super::rules::RuleId;
use super::tcb::{Tcb, TcbError};
use super::vek::{Kind, Vek};
use super::{Platforms, Policy, SnpClaims};
use crate::hexadecimal as hex;
use crate::provider::{Provider, SignatureAlgorithm};
use crate::verdict::{Recorder, Skip, some};
use crate::{Asked, Hex};

/// Checks that need nothing but the bytes.
pub(super) fn form<'a>(recorder: &mut Recorder, bytes: &'a [u8]) -> Option<Report<'a>> {
    let report = Report::parse(bytes);
    let size = format!("{} bytes", bytes.len());
    if let Err(ReportError::Size { .. }) = report {
        recorder.check(RuleId::ReportSize, false, "1184 bytes", size);
        return None;
    }
    recorder.check(RuleId::ReportSize, true, "1184 bytes", size);
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let found = error.to_string();
            recorder.check(RuleId::ReportVersion, false, "version 2, 3, 4 or 5", found);
            return None;
        }
    };
    let version = format!("version {}", report.version() as u8);
    recorder.check(RuleId::ReportVersion, true, "version 2, 3, 4 or 5", version);
    let algorithm = report.signature_algorithm();
    recorder.check(RuleId::ReportAlgorithm, algorithm == 1, "1 (ECDSA P-384, SHA-384)", algorithm.to_string());
    let zero = report.tail_is_zero();
    let found = if zero { "all zero" } else { "something after the signature" };
    recorder.check(RuleId::ReportTail, zero, "all zero", found);
    Some(report)
}

/// Judges the report. Gives claims if they could all be read; whether they may be used is the
/// verdict's to say.
pub(super) fn judge(
    recorder: &mut Recorder,
    report: &Report<'_>,
    chain: &Chain<'_>,
    asked: Asked,
    policy: &Policy,
    platforms: &Platforms,
    provider: &dyn Provider,
) -> Option<SnpClaims> {
    let vek = chain.vek.as_ref();
    let settings = policy.settings();
    signature(recorder, report, vek, provider);
    identity(recorder, report, vek, platforms, settings);
    let tcbs = firmware(recorder, report, vek, settings);
    guest_policy(recorder, report, settings);
    platform_info(recorder, report, settings);
    level(recorder, report, policy);
    code(recorder, report, settings);
    recorder.bound(RuleId::ReportData, asked.report_data, *report.report_data());
    recorder.bound(RuleId::HostData, asked.launch_field, *report.host_data());

    let Tcbs { reported, committed, current, launch } = tcbs?;
    let digest = |bytes: &[u8; 48]| Hex(*bytes);
    Some(SnpClaims {
        product: vek.product().clone(),
        report_version: report.version(),
        cpuid: report.cpuid(),
        signing_key: report.signing_key(),
        platform: platform(vek),
        measurement: digest(report.measurement()),
        report_data: *report.report_data(),
        host_data: *report.host_data(),
        id_key_digest: (*report.id_key_digest() != [0; 48]).then(|| digest(report.id_key_digest())),
        author_key_digest: report.author_key_enabled().then(|| digest(report.author_key_digest())),
        family_id: *report.family_id(),
        image_id: *report.image_id(),
        guest_svn: report.guest_svn(),
        policy: report.policy(),
        vmpl: report.vmpl(),
        platform_info: report.platform_info(),
        reported_tcb: reported,
        committed_tcb: committed,
        current_tcb: current,
        launch_tcb: launch,
        current_version: report.current_version(),
        committed_version: report.committed_version(),
        mitigations: report.mitigations(),
        vek_not_after: vek.certificate().not_after(),
        crl_next_update: chain.crl_next_update,
        collateral_end: chain.end,
    })
}

fn signature(recorder: &mut Recorder, report: &Report<'_>, vek: &Vek, provider: &dyn Provider) {
    let kind = match vek.kind() {
        Kind::Vcek { .. } => SigningKey::Vcek,
        Kind::Vlek { .. } => SigningKey::Vlek,
    };
    let found = report.signing_key();
    // A processor whose chip key is masked signs with a VLEK or not at all.
    let masked = kind == SigningKey::Vcek && report.chip_key_masked();
    let said = if masked { format!("{found}, the chip key masked") } else { found.to_string() };
    recorder.check(RuleId::VekKind, found == kind && !masked, kind.to_string(), said);
    let verifies = provider.verify(
        SignatureAlgorithm::EcdsaP384Sha384Fixed,
        vek.certificate().spki(),
        report.signed_bytes(),
        &report.signature(),
    );
    recorder.check(
        RuleId::ReportSignature,
        verifies,
        format!("signature of the {}", vek.kind()),
        if verifies { "verifies" } else { "does not verify" },
    );
    let reserved = report.reserved_not_zero();
    let found = if reserved.is_empty() { "all zero".to_owned() } else { format!("not zero: {}", reserved.join(", ")) };
    recorder.check(RuleId::ReportReserved, reserved.is_empty(), "all zero", found);
}

fn platform(vek: &Vek) -> Platform {
    match vek.kind() {
        Kind::Vcek { hwid } => Platform::Chip(hwid.clone()),
        Kind::Vlek { provider } => Platform::Provider(provider.clone()),
    }
}

fn identity(recorder: &mut Recorder, report: &Report<'_>, vek: &Vek, platforms: &Platforms, settings: &Settings) {
    let line = vek.product().line();
    match &settings.refused_products {
        None => recorder.skip(RuleId::PlatformProduct, Skip::NotAsked, "no list in the policy"),
        Some(refused) => {
            let names: Vec<&str> = refused.iter().map(|line| line.name()).collect();
            let expected = format!("none of {}", names.join(", "));
            recorder.check(RuleId::PlatformProduct, !refused.contains(&line), expected, line.name());
        }
    }
    match report.cpuid() {
        Some(cpuid) => {
            let named = ProductLine::from_cpuid(cpuid.family, cpuid.model);
            let processor = named.map_or("unknown processor", ProductLine::name);
            recorder.check(
                RuleId::ReportProduct,
                named == Some(line),
                line.name(),
                format!("{processor}, family {:#04x}, model {:#04x}", cpuid.family, cpuid.model),
            );
        }
        None => {
            let why = "report version 2 does not name its processor; the VEK certificate does";
            recorder.skip(RuleId::ReportProduct, Skip::NotApplicable, why);
        }
    }
    match vek.kind() {
        Kind::Vcek { hwid } => {
            // The signature proves possession of this processor's key even if the firmware was
            // told to mask the id; any other value would name a different processor.
            let masked = *report.chip_id() == [0; 64];
            let found = if masked { "masked".to_owned() } else { hex::encode(report.chip_id()) };
            recorder.check(
                RuleId::ReportChip,
                masked || *report.chip_id() == hwid.padded(),
                format!("{hwid}, or masked"),
                found,
            );
        }
        Kind::Vlek { .. } => {
            let why = "a VLEK belongs to a provider, not to a processor";
            recorder.skip(RuleId::ReportChip, Skip::NotApplicable, why);
        }
    }
    match platforms {
        Platforms::Any => {
            recorder.skip(RuleId::PlatformAllowed, Skip::NotAsked, "the policy names no platform");
        }
        Platforms::Only(list) => {
            let platform = platform(vek);
            let expected = format!("one of {}", some(list));
            recorder.check(RuleId::PlatformAllowed, platforms.accept(&platform), expected, platform.to_string());
        }
    }
}

struct Tcbs {
    reported: Tcb,
    committed: Tcb,
    current: Tcb,
    launch: Tcb,
}

fn firmware(recorder: &mut Recorder, report: &Report<'_>, vek: &Vek, settings: &Settings) -> Option<Tcbs> {
    let (committed, current) = (report.committed_version(), report.current_version());
    recorder.check(
        RuleId::FirmwareOrder,
        committed <= current,
        format!("committed at most {current}"),
        committed.to_string(),
    );
    match settings.minimum_firmware {
        None => recorder.skip(RuleId::FirmwareMinimum, Skip::NotAsked, "no floor in the policy"),
        Some(floor) => {
            let expected = format!("at least {floor}");
            recorder.check(RuleId::FirmwareMinimum, committed >= floor, expected, committed.to_string());
        }
    }
    match settings.mitigations {
        None => recorder.skip(RuleId::Mitigations, Skip::NotAsked, "no demand in the policy"),
        Some(wanted) => {
            let found = report.mitigations();
            let good = found.is_some_and(|found| wanted & !(found.launch & found.current) == 0);
            let found = found.map_or_else(
                || "the report says nothing of mitigations".to_owned(),
                |found| format!("launch {:#x}, current {:#x}", found.launch, found.current),
            );
            recorder.check(RuleId::Mitigations, good, format!("{wanted:#x}"), found);
        }
    }
    let line = vek.product().line();
    let decode = || -> Result<Tcbs, TcbError> {
        Ok(Tcbs {
            reported: Tcb::decode(line, report.reported_tcb())?,
            committed: Tcb::decode(line, report.committed_tcb())?,
            current: Tcb::decode(line, report.current_tcb())?,
            launch: Tcb::decode(line, report.launch_tcb())?,
        })
    };
    let expected = format!("the layout of {line}");
    let tcbs = match decode() {
        Ok(tcbs) => {
            recorder.check(RuleId::TcbFormat, true, expected, "reserved bytes zero");
            tcbs
        }
        Err(error) => {
            recorder.check(RuleId::TcbFormat, false, expected, error.to_string());
            return None;
        }
    };
    let Tcbs { reported, committed, current, launch } = &tcbs;
    recorder.check(RuleId::VekTcb, vek.tcb() == *reported, format!("REPORTED_TCB {reported}"), vek.tcb().to_string());
    recorder.check(
        RuleId::TcbOrder,
        reported.at_most(*committed) && committed.at_most(*current),
        "reported <= committed <= current",
        format!("reported {reported}; committed {committed}; current {current}"),
    );
    match &settings.minimum_tcb {
        None => recorder.skip(RuleId::TcbMinimum, Skip::NotAsked, "no floor in the policy"),
        Some(minimum) => {
            let (good, expected) = match minimum.of(line) {
                // REPORTED is what the key was derived with: a floor on the others alone would
                // trust claims signed by a key of old firmware.
                Some(floor) => {
                    ([reported, committed, launch].into_iter().all(|tcb| floor.at_most(*tcb)), floor.to_string())
                }
                None => (false, format!("a floor for {line}, which the policy does not state")),
            };
            recorder.check(
                RuleId::TcbMinimum,
                good,
                expected,
                format!("reported {reported}; committed {committed}; launch {launch}"),
            );
        }
    }
    Some(tcbs)
}

fn guest_policy(recorder: &mut Recorder, report: &Report<'_>, settings: &Settings) {
    let policy = report.policy();
    let found = format!("{:#x}", policy.0);
    recorder.check(
        RuleId::PolicyReserved,
        policy.reserved_is_good(report.version()),
        "bit 17 one, undefined bits zero",
        found.clone(),
    );
    let debug = policy.has(PolicyFlag::Debug);
    recorder.check(
        RuleId::PolicyDebug,
        !debug || settings.insecure_debug,
        if settings.insecure_debug { "DEBUG tolerated" } else { "no DEBUG" },
        if debug { "DEBUG permitted" } else { "no DEBUG" },
    );
    let migration = policy.has(PolicyFlag::MigrateMa);
    recorder.check(
        RuleId::PolicyMigration,
        !migration,
        "no MIGRATE_MA",
        if migration { "MIGRATE_MA permitted" } else { "no MIGRATE_MA" },
    );
    match &settings.policy_flags {
        None => recorder.skip(RuleId::PolicyFlags, Skip::NotAsked, "no flags in the policy"),
        Some(listed) => {
            // DEBUG and MIGRATE_MA have rules of their own above.
            let weaker: Vec<PolicyFlag> = PolicyFlag::ALL
                .into_iter()
                .filter(|flag| !matches!(flag, PolicyFlag::Debug | PolicyFlag::MigrateMa))
                .filter(|flag| weaker(flag.weakens(), policy.has(*flag), listed.contains(flag)))
                .collect();
            recorder.check(
                RuleId::PolicyFlags,
                weaker.is_empty(),
                format!("not weaker than {listed:?}"),
                flags_found(&found, &weaker),
            );
        }
    }
    let (major, minor) = policy.abi();
    match &settings.abi {
        None => {
            recorder.skip(RuleId::PolicyAbi, Skip::NotAsked, "no requirement in the policy");
        }
        Some(requirement) => {
            let version = semver::Version::new(major.into(), minor.into(), 0);
            recorder.check(
                RuleId::PolicyAbi,
                requirement.matches(&version),
                requirement.to_string(),
                format!("{major}.{minor}"),
            );
        }
    }
    // The committed version: the current one could be rolled back to it while the guest runs.
    let firmware = report.committed_version();
    recorder.check(
        RuleId::PolicyFirmware,
        (major, minor) <= (firmware.major, firmware.minor),
        format!("firmware at least {major}.{minor}"),
        format!("committed {firmware}"),
    );
}

fn platform_info(recorder: &mut Recorder, report: &Report<'_>, settings: &Settings) {
    let info = report.platform_info();
    let found = format!("{:#x}", info.0);
    recorder.check(RuleId::PlatformReserved, info.reserved_is_zero(), "undefined bits zero", found.clone());
    match &settings.platform_info_flags {
        None => {
            recorder.skip(RuleId::PlatformFlags, Skip::NotAsked, "no flags in the policy");
        }
        Some(listed) => {
            let weaker: Vec<PlatformFlag> = PlatformFlag::ALL
                .into_iter()
                .filter(|flag| weaker(flag.weakens(), info.has(*flag), listed.contains(flag)))
                .collect();
            recorder.check(
                RuleId::PlatformFlags,
                weaker.is_empty(),
                format!("not weaker than {listed:?}"),
                flags_found(&found, &weaker),
            );
        }
    }
}

/// Who asked for the report. Reports that the host asked for have a level that no guest has.
fn level(recorder: &mut Recorder, report: &Report<'_>, policy: &Policy) {
    let (found, wanted) = (report.vmpl(), u32::from(policy.settings().vmpl));
    if policy.is_silent() {
        recorder.check(RuleId::Vmpl, found <= MAX_VMPL, "a guest's, 0 to 3", found.to_string());
    } else {
        recorder.check(RuleId::Vmpl, found == wanted, wanted.to_string(), found.to_string());
    }
}

/// A weakening flag must not be set unless listed; a strengthening one must be set if listed.
fn weaker(weakens: bool, set: bool, listed: bool) -> bool {
    if weakens { set && !listed } else { listed && !set }
}

fn flags_found(raw: &str, weaker: &[impl core::fmt::Debug]) -> String {
    if weaker.is_empty() { raw.to_owned() } else { format!("{raw}, weaker in {weaker:?}") }
}

fn code(recorder: &mut Recorder, report: &Report<'_>, settings: &Settings) {
    let measurement = Hex(*report.measurement());
    let id_key = Hex(*report.id_key_digest());
    // Without an ID block nobody's key signed.
    let signed = (*report.id_key_digest() != [0; 48]).then_some(id_key);
    let author = Hex(*report.author_key_digest());
    recorder.accepted(RuleId::MeasurementAllowed, settings.hash.as_deref(), Some(measurement));
    recorder.refused(RuleId::MeasurementDenied, settings.hash_blacklist.as_deref(), &measurement);
    let author = report.author_key_enabled().then_some(author);
    recorder.accepted(RuleId::SignerAllowed, settings.signer.as_deref(), author);
    recorder.accepted(RuleId::IdKeyAllowed, settings.id_key_digest.as_deref(), signed);
    recorder.refused(RuleId::IdKeyDenied, settings.id_key_digest_blacklist.as_deref(), &id_key);
    let svn = report.guest_svn();
    match settings.minimum_guest_svn {
        None => recorder.skip(RuleId::GuestSvn, Skip::NotAsked, "no minimum in the policy"),
        Some(least) => {
            recorder.check(RuleId::GuestSvn, svn >= least, format!("at least {least}"), svn.to_string());
        }
    }
    recorder.accepted(RuleId::FamilyId, settings.family_id.as_deref(), Some(Hex(*report.family_id())));
    recorder.accepted(RuleId::ImageId, settings.image_id.as_deref(), Some(Hex(*report.image_id())));
}
