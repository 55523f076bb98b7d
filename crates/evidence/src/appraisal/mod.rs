//! From files to an appraisal: what a file is, what it is judged by, and the answer in one form for every TEE.
//!
//! ```text
//!   bytes -> File                       file       its kind, by its first bytes; bounded
//!   endorsements of all files           pool       what belongs to a piece of evidence is chosen out of it
//!   sections of a policy                policy     one for each TEE; without a section the TEE is refused
//!   both + instant -> Appraisal         here       the verdict, Intel's word, the claims
//!   all of it in one file               bundle     to be judged again anywhere, at any instant
//!   evidence -> what it is judged by    needs      by name and place, of what the vendors give to everybody
//!   bytes from there -> Piece           piece      issued by the vendor, about what its place says
//! ```
//!
//! Choosing is not believing: whatever is chosen goes through the same `verify` as anything else, and what does not fit
//! is refused there, with a reason.

pub mod bundle;
mod claims;
pub mod enarx;
pub mod file;
mod keys;
pub mod needs;
pub mod piece;
pub mod policy;
mod pool;

pub use bundle::Bundle;
pub use claims::Claims;
pub use file::{File, Kind};
pub use keys::{KEYS, Key};
pub use needs::Need;
pub use piece::{Piece, PieceError};
pub use policy::Policy;
use policy::Unasked;
pub use pool::{Endorsements, TooMany};

use crate::azure::Hardware;
use crate::azure::envelope::Endorsement;
use crate::dcap::{self, Source, TcbStatus};
use crate::pki::Object;
use crate::provider::Provider;
use crate::snp::Presented;
use crate::verdict::{Outcome, Recorder, Skip, Verdict, rules};
use crate::{Asked, Check, Expected, Verified, azure, ear, sgx, snp, tdx};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

rules! {
    /// What is asked before evidence of a TEE is looked at.
    pub const CHECKS, after &[];

    Section = "policy.section", "the policy has a section for evidence of this kind",
        "policy", "add a section for this TEE to the policy, if its evidence is to be accepted; what comes without a paravisor needs a policy without [azure]";
    Envelope = "evidence.envelope", "what evidence is wrapped in can be unwrapped",
        "layout of the attestation agents of Confidential Containers", "send what the attestation agent gave";
}

/// Evidence of one of the TEEs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A report of AMD SEV-SNP.
    Snp(Vec<u8>),
    /// A quote of Intel SGX.
    Sgx(Vec<u8>),
    /// A quote of Intel TDX.
    Tdx(Vec<u8>),
    /// What a virtual machine of Azure sends: either of them, a paravisor's report, a vTPM's quote, in JSON.
    Azure(Vec<u8>),
}

/// Whose keys are trusted.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Of SEV-SNP.
    pub snp: snp::Roots,
    /// Of SGX and TDX.
    pub dcap: dcap::Roots,
}

impl Roots {
    /// AMD's and Intel's.
    pub fn vendors() -> Self {
        Self { snp: snp::Roots::amd(), dcap: dcap::Roots::intel() }
    }
}

/// What evidence must be bound to, as far as the caller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The 64 bytes that the TEE was asked to sign.
    pub report_data: Option<[u8; 64]>,
    /// The 32 bytes that were fixed at launch.
    pub launch_field: Option<[u8; 32]>,
}

/// By what evidence is appraised.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Certificates, revocation lists, TCB infos: as many as there are.
    pub endorsements: &'a Endorsements,
    /// The policy; without one, authenticity and TCB are judged, and nothing that is a matter of policy.
    pub policy: Option<&'a Policy>,
    /// What the evidence must be bound to.
    pub binding: Binding,
    /// Whose keys are trusted.
    pub roots: &'a Roots,
    /// The instant to judge at, unix seconds.
    pub now: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appraisal {
    /// Every check.
    pub verdict: Verdict,
    /// What the evidence says, if it was verified.
    pub claims: Option<Claims>,
    /// What others can be told of it ([`crate::ear`]); there if all that it must be bound to was
    /// known, and of which TEE it is.
    pub result: Option<ear::Appraisal>,
    /// What can be certified of it; there if it was verified, and bound to all that was known.
    pub proof: Option<Verified<Subject>>,
}

/// What there is to say of a Keep whose evidence was verified, of whatever TEE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind of evidence.
    pub tee: ear::Tee,
    /// What it says.
    pub facts: ear::Facts,
    /// Names the platform, as a policy does: chip id, provider, PPID.
    pub platform: String,
}

impl Appraisal {
    /// With nothing but its verdict.
    fn refused(verdict: Verdict) -> Self {
        Self { verdict, claims: None, result: None, proof: None }
    }

    /// Whether nothing failed.
    pub fn verified(&self) -> bool {
        self.claims.is_some() && self.verdict.passed()
    }

    /// Intel's word on the platform.
    pub fn tcb_status(&self) -> Option<TcbStatus> {
        self.verdict.standing.as_ref().map(|standing| standing.status)
    }

    /// Advisories that apply to the platform.
    pub fn advisories(&self) -> impl Iterator<Item = &str> {
        self.verdict.standing.iter().flat_map(|standing| standing.advisories.iter().map(String::as_str))
    }
}

/// As data: `verdict` (`verified` or `refused`), `tcb_status`, `advisories`, `primary`, `checks`, `claims`.
impl Serialize for Appraisal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Appraisal", 6)?;
        fields.serialize_field("verdict", if self.verified() { "verified" } else { "refused" })?;
        fields.serialize_field("tcb_status", &self.tcb_status())?;
        fields.serialize_field("advisories", &self.advisories().collect::<Vec<_>>())?;
        fields.serialize_field("primary", &self.verdict.primary().map(|check| check.id))?;
        fields.serialize_field("checks", &self.verdict.checks)?;
        fields.serialize_field("claims", &self.claims)?;
        fields.end()
    }
}

/// Every check that an appraisal can have, by the lists of the TEEs, each id once.
pub fn rules() -> impl Iterator<Item = &'static crate::Rule> {
    let own = [sgx::CHECKS, tdx::CHECKS].map(|list| list.get(dcap::CHECKS.len()..).unwrap_or_default());
    let azure = azure::OWN;
    [CHECKS, snp::CHECKS, dcap::CHECKS].into_iter().chain(own).chain([azure]).flatten()
}

/// Appraises one piece of evidence.
pub fn appraise(evidence: &Evidence, by: By<'_>, provider: &dyn Provider) -> Appraisal {
    let By { endorsements, policy, binding, roots, now } = by;
    let asked = Asked { report_data: binding.report_data, launch_field: binding.launch_field };
    let silent = Policy::silent();
    let asks = policy.unwrap_or(&silent);
    match evidence {
        Evidence::Snp(report) => {
            let (policy, platforms) = match asks.bare(asks.snp()) {
                Ok(asks) => asks,
                Err(unasked) => return no_section("snp", unasked, ear::Tee::Snp, binding),
            };
            let chosen = endorsements.of_report(report, &roots.snp, now, provider);
            let collateral = snp::Collateral { roots: &roots.snp, crl: None }.into();
            let by = snp::By { collateral, policy, platforms, now, provider };
            concluded(snp::judge(&chosen.with(report), asked, by), binding, Claims::Snp)
        }
        Evidence::Sgx(quote) => {
            let Some((policy, platforms)) = asks.sgx() else {
                return no_section("sgx", Unasked::None, ear::Tee::Sgx, binding);
            };
            let chosen = endorsements.of_quote(quote, &roots.dcap, now, provider);
            let bundle = chosen.bundle();
            let source = Source::Bundle(&bundle, &roots.dcap);
            let judged = sgx::judge(quote, asked, source, policy, platforms, now, provider);
            concluded(judged, binding, Claims::Sgx)
        }
        Evidence::Tdx(quote) => {
            let (policy, platforms) = match asks.bare(asks.tdx()) {
                Ok(asks) => asks,
                Err(unasked) => return no_section("tdx", unasked, ear::Tee::Tdx, binding),
            };
            let chosen = endorsements.of_quote(quote, &roots.dcap, now, provider);
            let bundle = chosen.bundle();
            let collateral = Source::Bundle(&bundle, &roots.dcap);
            let by = tdx::By { collateral, policy, platforms, now, provider };
            concluded(tdx::judge(quote, asked, by), binding, Claims::Tdx)
        }
        Evidence::Azure(json) => azure(json, asked, asks, by, provider),
    }
}

/// Chooses for what is inside as for anything else.
fn azure(json: &[u8], asked: Asked, policy: &Policy, by: By<'_>, provider: &dyn Provider) -> Appraisal {
    let By { endorsements, binding, roots, now, .. } = by;
    let envelope = match azure::Envelope::parse(json) {
        Ok(envelope) => envelope,
        Err(error) => return unread(error.to_string()),
    };
    let tee = match &envelope.endorsement {
        Endorsement::Vcek(_) => ear::Tee::AzureSnp,
        Endorsement::TdQuote(_) => ear::Tee::AzureTdx,
    };
    let no_section = |section| no_section(section, Unasked::None, tee, binding);
    let Some(own) = policy.azure() else { return no_section("azure") };
    let evidence = envelope.evidence();
    let judged = match &envelope.endorsement {
        Endorsement::Vcek(vcek) => {
            let Some((policy, platforms)) = policy.snp() else { return no_section("snp") };
            let chosen = endorsements.of_key(vcek, &roots.snp, now, provider);
            let Presented { vek, ask, crl, .. } = chosen.with(&[]);
            let (vcek, ask, crl) = (vek.der(), ask.as_deref().map(Object::der), crl.as_deref().map(Object::der));
            let collateral = snp::Collateral { roots: &roots.snp, crl: None }.into();
            let hardware = Hardware::Snp { vcek, ask, crl, collateral, policy, platforms };
            azure::judge(evidence, hardware, asked, own, now, provider)
        }
        Endorsement::TdQuote(quote) => {
            let Some((policy, platforms)) = policy.tdx_behind_paravisor() else { return no_section("tdx") };
            let chosen = endorsements.of_quote(quote, &roots.dcap, now, provider);
            let bundle = chosen.bundle();
            let collateral = Source::Bundle(&bundle, &roots.dcap);
            let hardware = Hardware::Tdx { quote, collateral, policy: &policy, platforms };
            azure::judge(evidence, hardware, asked, own, now, provider)
        }
    };
    concluded(judged, binding, Claims::Azure)
}

fn concluded<T: ear::Attested>(
    judged: Result<(T, Verdict), Verdict>,
    binding: Binding,
    claims: impl FnOnce(Box<T>) -> Claims,
) -> Appraisal {
    let Binding { report_data: Some(report_data), launch_field: Some(launch_field) } = binding else {
        return match judged {
            Ok((of, verdict)) => Appraisal { claims: Some(claims(Box::new(of))), ..Appraisal::refused(verdict) },
            Err(verdict) => Appraisal::refused(verdict),
        };
    };
    let expected = Expected { report_data, launch_field };
    let judged = judged.map(|(of, verdict)| (Verified::new(of, expected), verdict));
    let result = Some(ear::Appraisal::of(&judged));
    match judged {
        Ok((of, verdict)) => {
            let (tee, facts) = (T::tee(&verdict), of.claims().facts(&expected, &verdict));
            let claims = claims(Box::new(of.into_claims()));
            let proof = Verified::new(Subject { tee, facts, platform: claims.platform() }, expected);
            Appraisal { verdict, claims: Some(claims), result, proof: Some(proof) }
        }
        Err(verdict) => Appraisal { result, ..Appraisal::refused(verdict) },
    }
}

fn no_section(section: &str, unasked: Unasked, tee: ear::Tee, binding: Binding) -> Appraisal {
    let mut recorder = Recorder::new(CHECKS);
    recorder.skip(RuleId::Envelope, Skip::NotApplicable, "not looked at");
    let (expected, found) = match unasked {
        Unasked::None => (format!("a section [{section}]"), "none".to_owned()),
        Unasked::Paravisors => (
            "what a virtual machine of Azure sends, with its paravisor's report and its vTPM's quote".to_owned(),
            format!("evidence for [{section}] by itself: beside [azure] that section is about the paravisor"),
        ),
    };
    recorder.check(RuleId::Section, false, expected, found);
    let verdict = recorder.finish();
    let known = binding.report_data.is_some() && binding.launch_field.is_some();
    let result = known.then(|| ear::Appraisal::refused(tee, &verdict));
    Appraisal { result, ..Appraisal::refused(verdict) }
}

/// A result has the name of its TEE; nobody knows of which this is.
fn unread(error: String) -> Appraisal {
    let mut recorder = Recorder::new(CHECKS);
    recorder.skip(RuleId::Section, Skip::NotApplicable, "not known yet for which TEE");
    recorder.check(RuleId::Envelope, false, "JSON of an attestation agent", error);
    Appraisal::refused(recorder.finish())
}

/// The checks that nobody asked for.
pub fn not_asked(verdict: &Verdict) -> impl Iterator<Item = &Check> {
    verdict.checks.iter().filter(|check| check.outcome == Outcome::Skipped(Skip::NotAsked))
}
