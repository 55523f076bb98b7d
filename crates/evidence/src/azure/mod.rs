//! Azure's confidential virtual machines: SEV-SNP or TDX below a paravisor, whose vTPM speaks for the guest.
//!
//! The guest cannot ask the hardware. The paravisor does, once at boot, with the hash of its *runtime data* as report
//! data; these name the vTPM's attestation key, and that key signs quotes of PCRs:
//!
//! ```text
//!   hardware report --report data--> runtime data --HCLAkPub--> TPM quote --extraData--> the caller's binding
//!   (snp or tdx)                                                          --PCRs-------> the guest's system, its brief
//! ```
//!
//! [`verify`] binds the evidence to an [`Expected`] and is what an issuer needs; [`authentic`] judges everything but
//! the binding. The hardware's report is judged by [`crate::snp`] or [`crate::tdx`] with all their rules, under their
//! policies; what is around it by the rules that begin with `azure.`. `envelope` unpacks what attesters of today send.
//!
//! **The paravisor.** Anybody's virtual machine can have runtime data hashed and name a key of its own. That it is
//! Azure's paravisor which does so, and a vTPM that has the key, is known from the hardware's measurement or ID key
//! alone: a policy with `any_measurement = true` takes the guest's word for its PCRs.
//!
//! **Report data.** A vTPM of Azure takes at most 50 bytes of extraData (TPM2B_DATA is as long as its longest hash,
//! SHA-384, with an algorithm), so that 64 bytes do not fit: extraData must be the 32 bytes SHA-256(report data), which
//! every TPM takes, and nothing else.
//!
//! **Launch field.** Nobody can choose HOST_DATA or MRCONFIGID on Azure. The guest extends the PCR that the policy
//! names (`brief_pcr`) with the hash of its brief before anything else runs that could; the PCR must be SHA-256(32
//! zeros || launch field). Without `brief_pcr` a verification against an [`Expected`] is refused.
//!
//! **PCRs.** What is quoted is what the quote's selection says. The digest is computed over the values of those PCRs
//! alone; values of others are never read, and a PCR that a policy names must be selected.
//!
//! Not looked at: the hardware report is as old as the boot, so that only the quote is fresh; certificates of the
//! attestation key, since the hardware vouches for it; the event log.

pub mod envelope;
pub mod hcl;
pub mod policy;
pub mod quote;
mod rules;
pub mod runtime;

pub use envelope::Envelope;
pub use hcl::{HclReport, Tee};
pub use policy::{Policy, Settings};
pub use quote::{Clock, Quote};
pub use rules::{CHECKS_SNP, CHECKS_TDX};
pub use runtime::{Configuration, Runtime};

use crate::dcap::quote::Body;
use crate::provider::{Provider, SignatureAlgorithm};
use crate::sgx::padded;
use crate::snp::{self, SnpClaims, SnpEvidence};
use crate::tdx::{self, TdxClaims};
use crate::verdict::{Recorder, Skip, Verdict};
use crate::{Asked, Authentic, Expected, Hex, Verified, dcap};
use quote::QuoteError;
pub(crate) use rules::OWN;
use rules::RuleId;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A vTPM's quote as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct TpmQuote<'a> {
    /// TPMS_ATTEST, without a length before it.
    pub message: &'a [u8],
    /// Its signature, RSASSA-PKCS1-v1_5 with SHA-256, 256 bytes.
    pub signature: &'a [u8],
    /// Values of the SHA-256 PCRs: the first is that of PCR 0. Those that are not quoted are not read.
    pub pcrs: &'a [[u8; 32]],
}

/// What an attester presents of its paravisor; every byte of it is hostile until a verdict says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// NV index 0x01400001 of the vTPM, perhaps with the zeros after it.
    pub hcl_report: &'a [u8],
    /// The vTPM's quote.
    pub quote: TpmQuote<'a>,
}

/// The hardware below: what an attester presents of it, and by what it is judged.
#[derive(Clone, Copy, Debug)]
pub enum Hardware<'a> {
    /// AMD SEV-SNP; the report is in the HCL report.
    Snp {
        /// VCEK certificate, DER.
        vcek: &'a [u8],
        /// ASK certificate, DER; `None` takes one the roots know.
        ask: Option<&'a [u8]>,
        /// Revocation list, DER. Ignored if the verifier has its own.
        crl: Option<&'a [u8]>,
        /// What the verifier brings.
        collateral: snp::Source<'a>,
        /// The `[snp]` policy.
        policy: &'a snp::Policy,
        /// The platforms the policy names.
        platforms: &'a snp::Platforms,
    },
    /// Intel TDX; the TDREPORT is in the HCL report.
    Tdx {
        /// A quote of that TDREPORT.
        quote: &'a [u8],
        /// By what it is judged.
        collateral: dcap::Source<'a>,
        /// The `[tdx]` policy.
        policy: &'a tdx::Policy,
        /// The platforms the policy names.
        platforms: &'a dcap::Platforms,
    },
}

impl Hardware<'_> {
    /// Which it is.
    pub fn tee(&self) -> Tee {
        match self {
            Self::Snp { .. } => Tee::Snp,
            Self::Tdx { .. } => Tee::Tdx,
        }
    }
}

/// Everything a judgement depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What the attester presents of its paravisor.
    pub evidence: Evidence<'a>,
    /// The hardware below.
    pub hardware: Hardware<'a>,
    /// What it must be bound to.
    pub expected: Expected,
    /// The `[azure]` policy.
    pub policy: &'a Policy,
    /// The instant to judge at, unix seconds.
    pub now: u64,
}

/// What a genuine and accepted report of the hardware says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HardwareClaims {
    /// AMD SEV-SNP.
    Snp(Box<SnpClaims>),
    /// Intel TDX.
    Tdx(Box<TdxClaims>),
}

/// What genuine and accepted evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AzureClaims {
    /// The hardware, and the paravisor that it measured.
    pub hardware: HardwareClaims,
    /// What the paravisor says of the virtual machine.
    pub configuration: Configuration,
    /// What the guest had put into the vTPM when the paravisor made its report.
    pub user_data: Option<[u8; 64]>,
    /// Modulus of the vTPM's attestation key.
    pub attestation_key: [u8; runtime::MODULUS],
    /// What the quote was asked for with.
    pub extra_data: Vec<u8>,
    /// The quoted PCRs of the SHA-256 bank.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
    /// Those of them that have a value which the policy lists.
    pub accepted_pcrs: BTreeSet<u8>,
    /// The vTPM's clock.
    pub clock: Clock,
    /// Version of the vTPM's firmware.
    pub firmware_version: u64,
}

impl AzureClaims {
    /// Last second at which all collateral is still good, unix time: nothing issued from this evidence may outlive it.
    pub fn collateral_end(&self) -> u64 {
        match &self.hardware {
            HardwareClaims::Snp(claims) => claims.collateral_end,
            HardwareClaims::Tdx(claims) => claims.platform.collateral_end,
        }
    }
}

/// Judges evidence against policy and expectation. On success the verdict lists what was checked.
pub fn verify(input: Input<'_>, provider: &dyn Provider) -> Result<(Verified<AzureClaims>, Verdict), Verdict> {
    let Input { evidence, hardware, expected, policy, now } = input;
    let (claims, verdict) = judge(evidence, hardware, expected.into(), policy, now, provider)?;
    Ok((Verified::new(claims, expected), verdict))
}

/// Judges evidence against policy alone: genuine and accepted, bound to nothing.
pub fn authentic(
    evidence: Evidence<'_>,
    hardware: Hardware<'_>,
    policy: &Policy,
    now: u64,
    provider: &dyn Provider,
) -> Result<(Authentic<AzureClaims>, Verdict), Verdict> {
    let (claims, verdict) = judge(evidence, hardware, Asked::default(), policy, now, provider)?;
    Ok((Authentic::new(claims), verdict))
}

pub(crate) fn judge(
    evidence: Evidence<'_>,
    hardware: Hardware<'_>,
    asked: Asked,
    policy: &Policy,
    now: u64,
    provider: &dyn Provider,
) -> Result<(AzureClaims, Verdict), Verdict> {
    let tee = hardware.tee();
    let mut recorder = Recorder::new(match tee {
        Tee::Snp => CHECKS_SNP,
        Tee::Tdx => CHECKS_TDX,
    });
    let settings = policy.settings();
    let mut claims = None;
    if let Some(report) = form(&mut recorder, evidence.hcl_report, tee) {
        let hash = runtime_hash(&mut recorder, &report, tee);
        td_report(&mut recorder, &report, &hardware);
        let runtime = runtime(&mut recorder, report.claims());
        let key = runtime.as_ref().and_then(|runtime| key(&mut recorder, runtime));
        let quoted = quoted(&mut recorder, &evidence.quote, key.as_ref(), provider);
        if let Some(runtime) = &runtime {
            configuration(&mut recorder, runtime.configuration(), settings);
        }
        if let Some((quote, pcrs)) = &quoted {
            demanded(&mut recorder, pcrs, settings);
            binding(&mut recorder, quote, pcrs, asked, settings);
        }
        let hardware =
            recorder.after(OWN.len(), |recorder| inner(recorder, &report, hardware, &padded(&hash), now, provider));
        claims = (|| {
            let (runtime, (quote, pcrs)) = (runtime?, quoted?);
            Some(AzureClaims {
                hardware: hardware?,
                configuration: runtime.configuration().clone(),
                user_data: runtime.user_data(),
                attestation_key: key?,
                extra_data: quote.extra_data.to_vec(),
                pcrs,
                accepted_pcrs: settings.pcrs.iter().flat_map(BTreeMap::keys).map(|pcr| pcr.index()).collect(),
                clock: quote.clock,
                firmware_version: quote.firmware_version,
            })
        })();
    }
    let verdict = recorder.finish();
    match claims {
        Some(claims) if verdict.passed() => Ok((claims, verdict)),
        _ => Err(verdict),
    }
}

/// Checks that need nothing but the bytes.
fn form<'a>(recorder: &mut Recorder, bytes: &'a [u8], tee: Tee) -> Option<HclReport<'a>> {
    use RuleId as R;
    let report = match HclReport::parse(bytes) {
        Ok(report) => report,
        Err(error) => {
            recorder.check(R::HclFormat, false, "an HCL report", error.to_string());
            return None;
        }
    };
    recorder.check(R::HclFormat, true, "an HCL report", format!("{} bytes", bytes.len()));
    let (version, runtime) = (report.version(), report.runtime_version());
    let known = matches!(version, 1 | 2) && runtime == 1;
    recorder.check(R::HclVersion, known, "version 1 or 2, runtime data 1", format!("{version}, {runtime}"));
    let (request, status) = (report.request(), report.status());
    recorder.check(
        R::HclRequest,
        request == hcl::AK_REQUEST && status == 0,
        format!("request {}, status 0", hcl::AK_REQUEST),
        format!("request {request}, status {status}"),
    );
    let found = report.report_type();
    let right = recorder.check(
        R::HclTee,
        found == tee.report_type(),
        format!("{} ({tee})", tee.report_type()),
        found.to_string(),
    );
    if !right {
        return None;
    }
    let reserved = report.reserved_not_zero(tee);
    let found = if reserved.is_empty() { "zeros".to_owned() } else { format!("other bytes: {}", reserved.join(", ")) };
    recorder.check(R::HclReserved, reserved.is_empty(), "zeros", found);
    match tee {
        // Whatever `snp.vmpl` says: who can choose the report data, can name any key.
        Tee::Snp => {
            if let Ok(report) = snp::Report::parse(report.hardware()) {
                recorder.check(R::Vmpl, report.vmpl() == 0, "0", report.vmpl().to_string());
            }
        }
        Tee::Tdx => recorder.skip(R::Vmpl, Skip::NotApplicable, "TDX has no VMPLs"),
    }
    Some(report)
}

/// The hash of the runtime data, which the hardware's report must have.
fn runtime_hash(recorder: &mut Recorder, report: &HclReport<'_>, tee: Tee) -> [u8; 32] {
    use RuleId as R;
    let hash: [u8; 32] = Sha256::digest(report.claims()).into();
    let kind = report.hash_type();
    if recorder.check(R::HashType, kind == hcl::SHA256, format!("{} (SHA-256)", hcl::SHA256), kind.to_string()) {
        let (wanted, found) = (padded(&hash), report.report_data(tee));
        recorder.check(R::RuntimeHash, found == wanted, hex::encode(wanted), hex::encode(found));
    }
    hash
}

fn runtime(recorder: &mut Recorder, json: &[u8]) -> Option<Runtime> {
    let runtime = Runtime::parse(json);
    let found = runtime.as_ref().map_or_else(ToString::to_string, |_| "runtime data".to_owned());
    recorder.check(RuleId::RuntimeFormat, runtime.is_ok(), "runtime data", found);
    runtime.ok()
}

fn key(recorder: &mut Recorder, runtime: &Runtime) -> Option<[u8; runtime::MODULUS]> {
    let key = runtime.attestation_key();
    let found = key.as_ref().map_or_else(ToString::to_string, |_| "one such key".to_owned());
    recorder.check(RuleId::Key, key.is_ok(), "one key HCLAkPub, RSA-2048, exponent 65537", found);
    key.ok()
}

/// Whether the TDREPORT that has the hash is the one that was quoted. Silent if the quote is none, which is a failure
/// of its own.
fn td_report(recorder: &mut Recorder, report: &HclReport<'_>, hardware: &Hardware<'_>) {
    let Hardware::Tdx { quote, .. } = hardware else {
        recorder.skip(RuleId::TdReport, Skip::NotApplicable, "there is no TDREPORT");
        return;
    };
    if let Ok(Body::Td(td, extension)) = dcap::Quote::parse(quote).map(|quote| quote.body()) {
        let differs = report.differs_from(td, extension);
        let found = if differs.is_empty() { "the same".to_owned() } else { format!("another: {}", differs.join(", ")) };
        recorder.check(RuleId::TdReport, differs.is_empty(), "the TDREPORT of the quote", found);
    }
}

/// The evidence inside, bound to the runtime data.
fn inner(
    recorder: &mut Recorder,
    report: &HclReport<'_>,
    hardware: Hardware<'_>,
    report_data: &[u8; 64],
    now: u64,
    provider: &dyn Provider,
) -> Option<HardwareClaims> {
    // Nobody can choose the launch field here.
    let bound = Asked { report_data: Some(*report_data), launch_field: None };
    match hardware {
        Hardware::Snp { vcek, ask, crl, collateral, policy, platforms } => {
            let evidence = SnpEvidence { report: report.hardware(), vcek, ask, crl };
            let by = snp::By { collateral, policy, platforms, now, provider };
            snp::appraise(recorder, &evidence.into(), bound, by).map(|claims| HardwareClaims::Snp(Box::new(claims)))
        }
        Hardware::Tdx { quote, collateral, policy, platforms } => {
            let by = tdx::By { collateral, policy, platforms, now, provider };
            tdx::appraise(recorder, quote, bound, by).map(|claims| HardwareClaims::Tdx(Box::new(claims)))
        }
    }
}

/// The quote, and the values of the PCRs that it is of; none if they are not those of the quote.
fn quoted<'a>(
    recorder: &mut Recorder,
    sent: &TpmQuote<'a>,
    key: Option<&[u8; runtime::MODULUS]>,
    provider: &dyn Provider,
) -> Option<(Quote<'a>, BTreeMap<u8, [u8; 32]>)> {
    use RuleId as R;
    let quote = match Quote::parse(sent.message) {
        Ok(quote) => quote,
        Err(error) => {
            let rule = match error {
                QuoteError::Magic { .. } => R::QuoteMagic,
                QuoteError::Type { .. } => R::QuoteType,
                QuoteError::TooLong { .. }
                | QuoteError::Truncated(_)
                | QuoteError::Limit { .. }
                | QuoteError::Value { .. }
                | QuoteError::Trailing(_) => R::QuoteFormat,
            };
            recorder.check(rule, false, "a TPM's quote", error.to_string());
            return None;
        }
    };
    for rule in [R::QuoteFormat, R::QuoteMagic, R::QuoteType] {
        recorder.check(rule, true, "a TPM's quote", "a TPM's quote");
    }
    if let Some(key) = key {
        let algorithm = SignatureAlgorithm::RsaPkcs1Sha256;
        let signed = provider.verify(algorithm, &runtime::spki(key), sent.message, sent.signature);
        let found = if signed { "the signature verifies" } else { "the signature does not verify" };
        recorder.check(R::QuoteSignature, signed, "signed by the attestation key", found);
    }
    let banks: Vec<String> = quote
        .selections
        .iter()
        .map(|selection| {
            let pcrs: Vec<String> = selection.pcrs().map(|pcr| pcr.to_string()).collect();
            format!("bank {:#06x}: {}", selection.bank, pcrs.join(" "))
        })
        .collect();
    let selection = match quote.selections[..] {
        [one] if one.bank == quote::SHA256 && one.pcrs().next().is_some() => Some(one),
        _ => None,
    };
    let expected = format!("PCRs of the bank {:#06x} (SHA-256), and of no other", quote::SHA256);
    recorder.check(R::QuoteSelection, selection.is_some(), expected, banks.join("; "));
    let selection = selection?;
    let value = |pcr: u8| sent.pcrs.get(usize::from(pcr));
    let missing: Vec<String> =
        selection.pcrs().filter(|pcr| value(*pcr).is_none()).map(|pcr| pcr.to_string()).collect();
    let found = if missing.is_empty() { "all".to_owned() } else { format!("none of PCR {}", missing.join(", ")) };
    if !recorder.check(R::QuoteValues, missing.is_empty(), "the value of every quoted PCR", found) {
        return None;
    }
    let pcrs: BTreeMap<u8, [u8; 32]> =
        selection.pcrs().filter_map(|pcr| value(pcr).map(|value| (pcr, *value))).collect();
    let hash = pcrs.values().fold(Sha256::new(), |hash, value| hash.chain_update(value)).finalize();
    let same = quote.digest == &hash[..];
    recorder.check(R::QuoteDigest, same, hex::encode(hash), hex::encode(quote.digest)).then_some((quote, pcrs))
}

/// What the policy demands of PCRs.
fn demanded(recorder: &mut Recorder, pcrs: &BTreeMap<u8, [u8; 32]>, settings: &Settings) {
    let Some(accepted) = &settings.pcrs else {
        recorder.skip(RuleId::Pcrs, Skip::NotAsked, "the policy says any_pcrs = true");
        return;
    };
    let wrong: Vec<String> = accepted
        .iter()
        .filter_map(|(pcr, values)| match pcrs.get(&pcr.index()) {
            None => Some(format!("PCR {pcr} is not quoted")),
            Some(found) if values.contains(&Hex(*found)) => None,
            Some(found) => Some(format!("PCR {pcr} is {}", hex::encode(found))),
        })
        .collect();
    let all: Vec<String> = accepted.keys().map(ToString::to_string).collect();
    let found = if wrong.is_empty() { "accepted values".to_owned() } else { wrong.join("; ") };
    recorder.check(RuleId::Pcrs, wrong.is_empty(), format!("accepted values of PCR {}", all.join(", ")), found);
}

/// What the policy demands of the paravisor's words.
fn configuration(recorder: &mut Recorder, found: &Configuration, settings: &Settings) {
    use RuleId as R;
    for (rule, wanted, found) in [
        (R::SecureBoot, settings.secure_boot, found.secure_boot),
        (R::TpmEnabled, settings.tpm_enabled, found.tpm_enabled),
        (R::TpmPersisted, settings.tpm_persisted, found.tpm_persisted),
        (R::ConsoleEnabled, settings.console_enabled, found.console_enabled),
    ] {
        let Some(wanted) = wanted else {
            recorder.skip(rule, Skip::NotAsked, "no demand in the policy");
            continue;
        };
        let said = found.map_or("the paravisor does not say".to_owned(), |found| found.to_string());
        recorder.check(rule, found == Some(wanted), wanted.to_string(), said);
    }
    let thumbprint = found.root_cert_thumbprint.clone();
    recorder.accepted(R::RootCertificate, settings.root_cert_thumbprint.as_deref(), thumbprint);
    let id = found.vm_unique_id.as_ref().map(|id| id.to_ascii_uppercase());
    recorder.accepted(R::VmUniqueId, settings.vm_unique_id.as_deref(), id);
}

fn binding(
    recorder: &mut Recorder,
    quote: &Quote<'_>,
    pcrs: &BTreeMap<u8, [u8; 32]>,
    asked: Asked,
    settings: &Settings,
) {
    use RuleId as R;
    const NOTHING: &str = "the caller expects nothing";
    match asked.report_data {
        Some(report_data) => {
            let wanted = Sha256::digest(report_data);
            let found = hex::encode(quote.extra_data);
            recorder.check(R::ReportData, quote.extra_data == &wanted[..], hex::encode(wanted), found);
        }
        None => recorder.skip(R::ReportData, Skip::NotAsked, NOTHING),
    }
    let Some(launch_field) = asked.launch_field else {
        return recorder.skip(R::LaunchField, Skip::NotAsked, NOTHING);
    };
    let wanted: [u8; 32] = Sha256::new().chain_update([0; 32]).chain_update(launch_field).finalize().into();
    let value = settings.brief_pcr.and_then(|pcr| pcrs.get(&pcr));
    let found = match (settings.brief_pcr, value) {
        (None, _) => "the policy names no brief_pcr".to_owned(),
        (Some(pcr), None) => format!("PCR {pcr} is not quoted"),
        (Some(_), Some(value)) => hex::encode(value),
    };
    recorder.check(R::LaunchField, value == Some(&wanted), hex::encode(wanted), found);
}
