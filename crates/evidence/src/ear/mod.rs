//! EAR: what a verifier concluded, as a signed JWT that others can read (draft-ietf-rats-ear, profile
//! `tag:ietf.org,2026:rats/ear#03`; EAT is RFC 9711, JWT RFC 7519, its compact form RFC 7515).
//!
//! ```text
//!   verify(input) -> Ok((Verified<claims>, Verdict)) | Err(Verdict)     snp, sgx, tdx, azure
//!                         |
//!              Appraisal::of(&result)        AR4SI vector and facts; of a refusal the failed checks  (vector, claims)
//!                         |
//!              Ear { appraisal, … }.sign(spki, |message| …) -> JWT      the caller has the key
//!              Ear::verify(jwt, &Expecting { … }, provider) -> Ear      ES384 and nothing else
//! ```
//!
//! Names and words are those of the EAR inside a Keep's certificate (`spec/certificate.md`), wherever both say the same
//! thing; that one also has the names a Steward gave, this one the vector, the failed checks, when it ends, and a word
//! for a TCB that nobody rated (`NotRated`). One is never taken for the other: the submodule is called `keep` there, and here
//! by its TEE.
//!
//! Refused here: other algorithms than ES384 and other keys than the caller's, another profile, claims that are unknown,
//! missing, `null`, twice there or contradict each other, base64url with padding, anything after the end, more than
//! [`LIMIT`] bytes, and an EAR before or after its time. The signature is checked before anything inside is parsed.
//!
//! Invariant: an [`Appraisal`] is made of a result of this crate's verifiers or of a verified EAR, nothing else; a refusal
//! is never anything but contraindicated, nor is class `insecure`.

mod claims;
mod vector;

pub use crate::dcap::TcbStatus;
pub use claims::{Facts, Measurement, Rating};
pub use vector::{Tier, Vector};

use crate::provider::{Provider, SignatureAlgorithm};
use crate::verdict::{Outcome, Verdict};
use crate::{Expected, Verified, azure, sgx, snp, tdx};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::{Claims, Profile};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use thiserror::Error;

/// The profile; another one is refused.
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#03";
/// The longest JWT, in bytes.
pub const LIMIT: usize = 16 * 1024;
/// Bytes of a nonce: as many as cannot be guessed, and no more than an EAT carries (RFC 9711 section 4.1).
pub const NONCE: core::ops::RangeInclusive<usize> = 16..=64;

/// The kind of evidence: also the name of the submodule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// A virtual machine of Azure on AMD SEV-SNP: the report is of its paravisor, the PCRs are of what runs in it.
    AzureSnp,
    /// A virtual machine of Azure on Intel TDX.
    AzureTdx,
}

impl Tee {
    /// Whether there are PCRs.
    fn measures_by_tpm(self) -> bool {
        match self {
            Self::AzureSnp | Self::AzureTdx => true,
            Self::Snp | Self::Sgx | Self::Tdx => false,
        }
    }
}

/// What the roots were that evidence was judged by; only the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A vendor's, debug off.
    Hardware,
    /// Simulated, or debugging is tolerated: worth nothing to whoever did not choose it.
    Insecure,
}

/// Who judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierId {
    /// The program and its version.
    pub build: String,
    /// Who made it; a URL.
    pub developer: String,
}

/// Claims an EAR can be made of.
pub trait Attested {
    /// Lists of checks that together show that what was launched is known: all of one list must have passed.
    const RECOGNISED: &'static [&'static [&'static str]];
    /// Of which TEE, by the rules of its verdict: of a refusal there is nothing else.
    fn tee(verdict: &Verdict) -> Tee;
    /// Whether the policy asked for as much of it as those checks need; most ask for one thing.
    fn asked(&self) -> bool {
        true
    }
    /// What the claims say, what they were found to be bound to, and how the verdict rates them.
    fn facts(&self, bound: &Expected, verdict: &Verdict) -> Facts;
    /// Whether somebody outside may look in.
    fn debug(&self) -> bool;
}

/// What a verifier concluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    tee: Tee,
    vector: Vector,
    conclusion: Conclusion,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Genuine, accepted by the policy and bound to what was expected.
    Accepted(Box<Facts>),
    /// Refused: the ids of the failed checks, in order, so that the first is the cause.
    Refused(Vec<String>),
}

impl Appraisal {
    /// Of what `snp::verify`, `sgx::verify`, `tdx::verify` or `azure::verify` said.
    pub fn of<T: Attested>(result: &Result<(Verified<T>, Verdict), Verdict>) -> Self {
        match result {
            Ok((verified, verdict)) => {
                let claims = verified.claims();
                let facts = claims.facts(verified.expected(), verdict);
                let passed = |id: &&str| passed(verdict, id);
                let recognised = claims.asked() && T::RECOGNISED.iter().any(|list| list.iter().all(passed));
                let instance = vector::INSTANCE.iter().any(passed);
                let vector = Vector::accepted(facts.tcb_status, recognised, instance, claims.debug());
                Self { tee: T::tee(verdict), vector, conclusion: Conclusion::Accepted(Box::new(facts)) }
            }
            Err(verdict) => Self::refused(T::tee(verdict), verdict),
        }
    }

    /// Of a verdict that was refused.
    pub(crate) fn refused(tee: Tee, verdict: &Verdict) -> Self {
        let failed: Vec<String> = verdict.failures().map(|check| check.id.to_owned()).collect();
        let vector = Vector::refused(failed.iter().map(String::as_str));
        Self { tee, vector, conclusion: Conclusion::Refused(failed) }
    }

    /// The kind of evidence.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// Aspect by aspect.
    #[must_use]
    pub fn vector(&self) -> &Vector {
        &self.vector
    }

    /// Accepted or refused.
    #[must_use]
    pub fn conclusion(&self) -> &Conclusion {
        &self.conclusion
    }
}

/// An attestation result and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ear {
    /// When it was issued, unix time.
    pub issued_at: u64,
    /// From when on it is not good any more; of accepted evidence at most a second after its collateral's last.
    pub expires: u64,
    /// The nonce of whoever asked for it, as many bytes as [`NONCE`] says.
    pub nonce: Vec<u8>,
    /// Who judged.
    pub verifier: VerifierId,
    /// Names the policy that was judged under, such as its digest.
    pub policy: String,
    /// By whose roots.
    pub class: Class,
    /// What was concluded.
    pub appraisal: Appraisal,
}

/// What whoever reads an EAR demands of it.
#[derive(Clone, Copy, Debug)]
pub struct Expecting<'a> {
    /// The issuer's public key: SubjectPublicKeyInfo (DER), P-384.
    pub spki: &'a [u8],
    /// The nonce the reader chose.
    pub nonce: &'a [u8],
    /// The instant, unix time.
    pub now: u64,
    /// Seconds by which the issuer's clock may be ahead.
    pub ahead: u64,
    /// Seconds after which an EAR is too old, whatever it says itself.
    pub max_age: u64,
}

/// Why a text is not an EAR that was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EarError {
    /// Longer than [`LIMIT`].
    #[error("an EAR has at most {LIMIT} bytes, this one has {found}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not three parts of base64url without padding.
    #[error("not three parts of base64url without padding: {0}")]
    Form(&'static str),
    /// Not signed with ES384 by the key that is expected, says the header.
    #[error("the header is not that of an EAR signed with ES384 by the expected key")]
    Header,
    /// The signature is wrong.
    #[error("the signature does not verify")]
    Signature,
    /// Another profile.
    #[error("the profile is {found:?}, expected is {PROFILE:?}")]
    Profile {
        /// What it says.
        found: String,
    },
    /// A claim is missing, unknown, twice there or of another type.
    #[error("claims: {}", .0.escape_debug())]
    Claims(String),
    /// Claims that contradict each other.
    #[error("claims contradict each other: {0}")]
    Contradiction(&'static str),
    /// Another nonce, or one of a length that none has.
    #[error("the nonce is not the one that is expected")]
    Nonce,
    /// Issued in the future.
    #[error("issued at {issued_at}, which is after {now}")]
    Early {
        /// What it says.
        issued_at: u64,
        /// The instant.
        now: u64,
    },
    /// Expired, or too old for the reader.
    #[error("good until {end}, which is before {now}")]
    Late {
        /// The last second at which it is good.
        end: u64,
        /// The instant.
        now: u64,
    },
}

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError<E> {
    /// What is to be signed is no EAR.
    #[error(transparent)]
    Ear(#[from] EarError),
    /// The key did not sign.
    #[error("the key did not sign")]
    Key(E),
}

impl Ear {
    /// What a reader that knows only EAR goes by: the worst of the vector, and worse where class or conclusion are.
    #[must_use]
    pub fn status(&self) -> Tier {
        match (self.class, &self.appraisal.conclusion) {
            (Class::Insecure, _) | (_, Conclusion::Refused(_)) => Tier::Contraindicated,
            (Class::Hardware, Conclusion::Accepted(_)) => self.appraisal.vector.worst(),
        }
    }

    /// The signed JWT. `sign` gets the message and gives r||s (RFC 7518 section 3.4) by the P-384 key of `spki`.
    pub fn sign<E>(
        &self,
        spki: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<[u8; 96], E>,
    ) -> Result<String, SignError<E>> {
        let claims = self.claims()?;
        let message = format!("{}.{}", header(spki), URL_SAFE_NO_PAD.encode(claims));
        let signature = sign(message.as_bytes()).map_err(SignError::Key)?;
        let jwt = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        if jwt.len() > LIMIT {
            return Err(EarError::TooLong { found: jwt.len() }.into());
        }
        Ok(jwt)
    }

    /// Its claims, JSON, as they are signed.
    pub fn claims(&self) -> Result<String, EarError> {
        self.consistent()?;
        serde_json::to_string(&Claims::from(self)).map_err(|error| EarError::Claims(error.to_string()))
    }

    /// Reads an EAR that is expected.
    pub fn verify(jwt: &str, expecting: &Expecting<'_>, provider: &dyn Provider) -> Result<Self, EarError> {
        let Expecting { spki, nonce, now, ahead, max_age } = *expecting;
        if jwt.len() > LIMIT {
            return Err(EarError::TooLong { found: jwt.len() });
        }
        let (message, signature) = jwt.rsplit_once('.').ok_or(EarError::Form("three parts"))?;
        let (head, claims) = message.split_once('.').ok_or(EarError::Form("three parts"))?;
        if head != header(spki) {
            return Err(EarError::Header);
        }
        let decode = |part, place| URL_SAFE_NO_PAD.decode(part).map_err(|_| EarError::Form(place));
        let (claims, signature) = (decode(claims, "claims")?, decode(signature, "signature")?);
        if !provider.verify(SignatureAlgorithm::EcdsaP384Sha384Fixed, spki, message.as_bytes(), &signature) {
            return Err(EarError::Signature);
        }

        let error = |error: serde_json::Error| EarError::Claims(error.to_string());
        let Profile { eat_profile } = serde_json::from_slice(&claims).map_err(error)?;
        if eat_profile != PROFILE {
            return Err(EarError::Profile { found: eat_profile.chars().take(100).collect() });
        }
        let ear = Self::try_from(serde_json::from_slice::<Claims>(&claims).map_err(error)?)?;
        if ear.nonce != nonce {
            return Err(EarError::Nonce);
        }
        if ear.issued_at > now.saturating_add(ahead) {
            return Err(EarError::Early { issued_at: ear.issued_at, now });
        }
        let end = ear.expires.saturating_sub(1).min(ear.issued_at.saturating_add(max_age));
        if end < now {
            return Err(EarError::Late { end, now });
        }
        Ok(ear)
    }

    fn consistent(&self) -> Result<(), EarError> {
        if !NONCE.contains(&self.nonce.len()) {
            return Err(EarError::Nonce);
        }
        if self.expires <= self.issued_at {
            return Err(EarError::Contradiction("it expires before it is issued"));
        }
        let Appraisal { tee, vector, conclusion } = &self.appraisal;
        match conclusion {
            _ if *vector == Vector::default() => Err(EarError::Contradiction("a vector without a word")),
            Conclusion::Refused(_) => Ok(()),
            Conclusion::Accepted(facts) if facts.pcrs.is_empty() == tee.measures_by_tpm() => {
                Err(EarError::Contradiction("PCRs are said of virtual machines with a vTPM, and of no others"))
            }
            Conclusion::Accepted(facts) if self.expires.saturating_sub(1) > facts.collateral_end => {
                Err(EarError::Contradiction("it outlives the collateral"))
            }
            Conclusion::Accepted(_) if self.class == Class::Hardware && vector.worst() == Tier::Contraindicated => {
                Err(EarError::Contradiction("class hardware, and contraindicated"))
            }
            Conclusion::Accepted(_) => Ok(()),
        }
    }
}

/// The header has one spelling for each key, so it is made and compared, never parsed. No algorithm can be chosen.
fn header(spki: &[u8]) -> String {
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
    URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES384","kid":"{kid}","typ":"eat+jwt"}}"#))
}

fn passed(verdict: &Verdict, id: &str) -> bool {
    verdict.check(id).is_some_and(|check| check.outcome == Outcome::Pass)
}

/// What was compared with the hash of the brief; behind it are zeros.
fn launch_field(field: &[u8]) -> [u8; 32] {
    field.first_chunk().copied().unwrap_or_default()
}

impl Attested for snp::SnpClaims {
    // A signer signs many images, each with its measurement: its name alone says nothing of which.
    const RECOGNISED: &'static [&'static [&'static str]] = &[
        &["snp.measurement.allowed"],
        &["snp.signer.allowed", "snp.family_id"],
        &["snp.signer.allowed", "snp.image_id"],
        &["snp.id_key.allowed", "snp.family_id"],
        &["snp.id_key.allowed", "snp.image_id"],
    ];

    fn tee(_: &Verdict) -> Tee {
        Tee::Snp
    }

    fn facts(&self, _: &Expected, verdict: &Verdict) -> Facts {
        Facts {
            product: self.product.line().name().to_owned(),
            measurement: Measurement::from(self.measurement.0),
            signer: self.author_key_digest.map(|digest| Measurement::from(digest.0)),
            registers: Vec::new(),
            pcrs: BTreeMap::new(),
            brief: self.host_data,
            report_data: self.report_data,
            tcb: self.reported_tcb.to_string(),
            // AMD rates nothing; a policy may.
            tcb_status: if passed(verdict, "snp.tcb.minimum") { Rating::MeetsPolicy } else { Rating::NotRated },
            advisories: Vec::new(),
            collateral_end: self.collateral_end,
        }
    }

    fn debug(&self) -> bool {
        self.policy.has(snp::report::PolicyFlag::Debug)
    }
}

impl Attested for sgx::SgxClaims {
    // A signer signs many enclaves: its name alone says nothing of which.
    const RECOGNISED: &'static [&'static [&'static str]] =
        &[&["sgx.measurement.allowed"], &["sgx.signer.allowed", "sgx.product_id"]];

    fn tee(_: &Verdict) -> Tee {
        Tee::Sgx
    }

    fn facts(&self, _: &Expected, _: &Verdict) -> Facts {
        Facts {
            measurement: Measurement::from(self.measurement),
            signer: Some(Measurement::from(self.signer)),
            brief: launch_field(&self.config_id),
            report_data: self.report_data,
            ..Facts::of(&self.platform)
        }
    }

    fn debug(&self) -> bool {
        self.flags & sgx::policy::Feature::Debug.bit() != 0
    }
}

impl Attested for tdx::TdxClaims {
    // MRTD is of the firmware; kernel, command line and initial files are in two registers (virtual firmware's design).
    const RECOGNISED: &'static [&'static [&'static str]] = &[&["tdx.measurement.allowed", "tdx.rtmr1", "tdx.rtmr2"]];

    fn tee(_: &Verdict) -> Tee {
        Tee::Tdx
    }

    fn facts(&self, _: &Expected, _: &Verdict) -> Facts {
        Facts {
            measurement: Measurement::from(self.measurement),
            registers: self.rtmr.map(Measurement::from).to_vec(),
            brief: launch_field(&self.config_id),
            report_data: self.report_data,
            ..Facts::of(&self.platform)
        }
    }

    fn debug(&self) -> bool {
        self.attributes & tdx::DEBUG != 0
    }
}

impl Attested for azure::AzureClaims {
    // The hardware measured the paravisor alone; what runs in the virtual machine is in the PCRs that the policy names.
    const RECOGNISED: &'static [&'static [&'static str]] = &[
        &["snp.measurement.allowed", "azure.pcrs"],
        &["snp.signer.allowed", "snp.family_id", "azure.pcrs"],
        &["snp.signer.allowed", "snp.image_id", "azure.pcrs"],
        &["snp.id_key.allowed", "snp.family_id", "azure.pcrs"],
        &["snp.id_key.allowed", "snp.image_id", "azure.pcrs"],
        &["tdx.measurement.allowed", "azure.pcrs"],
    ];

    /// Firmware extends PCR 4 with the first program that it starts. All PCRs that are extended later have what that program
    /// says, whichever it is; and what firmware measured before says nothing of it.
    fn asked(&self) -> bool {
        const BOOT_LOADER: u8 = 4;
        self.accepted_pcrs.contains(&BOOT_LOADER)
    }

    fn tee(verdict: &Verdict) -> Tee {
        // A verdict has every rule of its list, whatever was reached.
        if verdict.check("snp.report.size").is_some() { Tee::AzureSnp } else { Tee::AzureTdx }
    }

    fn facts(&self, bound: &Expected, verdict: &Verdict) -> Facts {
        let hardware = match &self.hardware {
            azure::HardwareClaims::Snp(claims) => claims.facts(bound, verdict),
            azure::HardwareClaims::Tdx(claims) => claims.facts(bound, verdict),
        };
        // The hardware's fields are the paravisor's: nobody chooses the one, and the hash of the runtime data is in the
        // other. Brief and binding went through PCR and quote, which have hashes of them.
        let Expected { report_data, launch_field } = *bound;
        Facts { pcrs: self.pcrs.clone(), brief: launch_field, report_data, ..hardware }
    }

    fn debug(&self) -> bool {
        match &self.hardware {
            azure::HardwareClaims::Snp(claims) => claims.debug(),
            azure::HardwareClaims::Tdx(claims) => claims.debug(),
        }
    }
}
