//! AMD SEV-SNP: reports, VEK certificates, policy, and the two ways to judge them.
//!
//! [`verify`] binds the evidence to an [`Expected`] and is what an issuer needs; [`authentic`]
//! judges everything but the binding. Both are pure and run every rule of [`CHECKS`] they can
//! reach, so that one answer names all independent failures.

mod chain;
mod content;
pub mod policy;
pub mod product;
pub mod report;
pub mod roots;
mod rules;
pub mod session;
pub mod tcb;
pub mod vek;

pub use policy::{Policy, Settings};
pub use product::{ChipId, Platform, Platforms, Product, ProductLine};
pub use report::{GuestPolicy, PlatformInfo, Report};
pub use roots::Roots;
pub use rules::CHECKS;
pub use session::{Endorsement, Fetched, Session, Source};
pub use tcb::Tcb;
pub use vek::Vek;

use crate::pki::Object;
use crate::provider::Provider;
use crate::verdict::{Recorder, Verdict};
use crate::{Asked, Authentic, Expected, Hex, Verified};
use report::{Cpuid, Mitigations, SigningKey};
use std::sync::Arc;
use tcb::FirmwareVersion;

/// Media type of the bare 1184-byte report inside a CSR.
pub const MEDIA_TYPE: &str = "application/vnd.donjon.snp-report";

/// What an attester presents; every byte of it is hostile until a verdict says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct SnpEvidence<'a> {
    /// ATTESTATION_REPORT, 1184 bytes.
    pub report: &'a [u8],
    /// VCEK or VLEK certificate, DER.
    pub vcek: &'a [u8],
    /// ASK or ASVK certificate, DER; `None` takes one the roots know.
    pub ask: Option<&'a [u8]>,
    /// Revocation list, DER. Ignored if the verifier has its own, see [`Collateral::crl`].
    pub crl: Option<&'a [u8]>,
}

/// The same, with what was read of it before.
pub(crate) struct Presented<'a> {
    pub(crate) report: &'a [u8],
    pub(crate) vek: Arc<Object>,
    /// If it was read as a VEK's.
    pub(crate) read: Option<Vek>,
    pub(crate) ask: Option<Arc<Object>>,
    pub(crate) crl: Option<Arc<Object>>,
}

impl<'a> From<SnpEvidence<'a>> for Presented<'a> {
    fn from(evidence: SnpEvidence<'a>) -> Self {
        let SnpEvidence { report, vcek, ask, crl } = evidence;
        let object = |der| Arc::new(Object::new(der));
        Self { report, vek: object(vcek), read: None, ask: ask.map(object), crl: crl.map(object) }
    }
}

/// What the verifier brings itself, not examined yet; for many reports a [`Session`] does that once.
#[derive(Clone, Copy, Debug)]
pub struct Collateral<'a> {
    /// Pinned ARK keys.
    pub roots: &'a Roots,
    /// A revocation list the verifier fetched; it goes before the attester's, which might be an
    /// older one that is still within its dates. A list of another root than the evidence's is set aside.
    pub crl: Option<&'a [u8]>,
}

/// Everything a judgement depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What the attester presents.
    pub evidence: SnpEvidence<'a>,
    /// What it must be bound to.
    pub expected: Expected,
    /// By what it is judged.
    pub collateral: Source<'a>,
    /// The `[snp]` policy.
    pub policy: &'a Policy,
    /// The platforms the policy names.
    pub platforms: &'a Platforms,
    /// The instant to judge at, unix seconds.
    pub now: u64,
}

/// What a genuine and accepted report says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnpClaims {
    /// Product named by the VEK certificate.
    pub product: Product,
    /// Report version, 2 to 5.
    pub report_version: report::Version,
    /// CPUID of the processor, from report version 3 on.
    pub cpuid: Option<Cpuid>,
    /// Kind of key that signed: [`SigningKey::Vcek`] or [`SigningKey::Vlek`].
    pub signing_key: SigningKey,
    /// The processor (VCEK) or the provider (VLEK) the VEK certificate names.
    pub platform: Platform,
    /// Launch measurement.
    pub measurement: Hex<48>,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// Digest of the ID key; none without an ID block.
    pub id_key_digest: Option<Hex<48>>,
    /// Digest of the author key; none if AUTHOR_KEY_EN is not set.
    pub author_key_digest: Option<Hex<48>>,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// Guest policy.
    pub policy: GuestPolicy,
    /// VMPL the report was asked for at.
    pub vmpl: u32,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// REPORTED_TCB, equal to the VEK's levels.
    pub reported_tcb: Tcb,
    /// COMMITTED_TCB.
    pub committed_tcb: Tcb,
    /// CURRENT_TCB.
    pub current_tcb: Tcb,
    /// LAUNCH_TCB.
    pub launch_tcb: Tcb,
    /// Current firmware version.
    pub current_version: FirmwareVersion,
    /// Committed firmware version.
    pub committed_version: FirmwareVersion,
    /// Mitigation vectors, from report version 5 on.
    pub mitigations: Option<Mitigations>,
    /// Last second of the VEK certificate, unix time.
    pub vek_not_after: u64,
    /// nextUpdate of the revocation list that was judged, unix time; none under `crl = "optional"`
    /// without a list.
    pub crl_next_update: Option<u64>,
    /// Last second at which all collateral (ARK, ASK, VEK, revocation list) is still good, unix
    /// time: nothing issued from this evidence may outlive it.
    pub collateral_end: u64,
}

/// Judges evidence against policy and expectation. On success the verdict lists what was checked.
pub fn verify(input: Input<'_>, provider: &dyn Provider) -> Result<(Verified<SnpClaims>, Verdict), Verdict> {
    let Input { evidence, expected, collateral, policy, platforms, now } = input;
    let by = By { collateral, policy, platforms, now, provider };
    let (claims, verdict) = judge(&evidence.into(), expected.into(), by)?;
    Ok((Verified::new(claims, expected), verdict))
}

/// Judges evidence against policy alone: genuine and accepted, bound to nothing.
pub fn authentic<'a>(
    evidence: SnpEvidence<'_>,
    collateral: impl Into<Source<'a>>,
    policy: &Policy,
    platforms: &Platforms,
    now: u64,
    provider: &dyn Provider,
) -> Result<(Authentic<SnpClaims>, Verdict), Verdict> {
    let by = By { collateral: collateral.into(), policy, platforms, now, provider };
    let (claims, verdict) = judge(&evidence.into(), Asked::default(), by)?;
    Ok((Authentic::new(claims), verdict))
}

/// Judges evidence, bound to what is asked.
pub(crate) fn judge(presented: &Presented<'_>, asked: Asked, by: By<'_>) -> Result<(SnpClaims, Verdict), Verdict> {
    let mut recorder = Recorder::new(CHECKS);
    let claims = appraise(&mut recorder, presented, asked, by);
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
pub(crate) fn appraise(
    recorder: &mut Recorder,
    presented: &Presented<'_>,
    asked: Asked,
    by: By<'_>,
) -> Option<SnpClaims> {
    let By { collateral, policy, platforms, now, provider } = by;
    let report = content::form(recorder, presented.report);
    let chain = chain::judge(recorder, presented, collateral, policy.settings().crl, now, provider);
    content::judge(recorder, &report?, &chain?, asked, policy, platforms, provider)
}
