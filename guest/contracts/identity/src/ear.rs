//! The EAR: what the Steward says about a Keep, inside its certificate and as a JWT of its own (trust rule 6).
//!
//! Owns the claims, their JSON names and the JWT form (draft-ietf-rats-ear, profile `tag:ietf.org,2026:rats/ear#03`;
//! RFC 9711; RFC 7515 compact serialization). Refuses unknown profiles, unknown and missing claims: a relying party decides
//! by these facts, and a fact it does not know or does not find is not a fact it can decide by.
//! Invariants: owner and a name go together; class `hardware` has a TEE; the tier follows from class and TCB status, so a
//! reader that knows only EAR never takes a simulated Keep for a trustworthy one.

mod claims;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::TrustDomain;

use self::claims::{Claims, Profile};

use crate::jws::{self, Jws, JwsError};
use crate::keys::{SignError, Signer, Verifier};
use crate::names::{Nonce, SpiffeId};
use crate::publisher::Published;

/// The profile; another one is refused.
pub const EAR_PROFILE: &str = "tag:ietf.org,2026:rats/ear#03";
/// The media type of an EAR in JWT form (RFC 9782), with its profile.
pub const EAR_MEDIA_TYPE: &str = "application/eat+jwt; eat_profile=\"tag:ietf.org,2026:rats/ear#03\"";
/// The longest JWT, in bytes.
pub const EAR_LIMIT: usize = 16 * 1024;

/// `typ` of its header.
const KIND: &str = "eat+jwt";

/// Trust classes never mix (trust rule 7). What says nothing means `hardware`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Evidence of a real TEE under a vendor's root, debug off.
    #[default]
    Hardware,
    /// Simulated, debug or compatible: worth nothing to a relying party that did not choose it.
    Insecure,
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hardware => "hardware",
            Self::Insecure => "insecure",
        })
    }
}

/// The kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// None: class `insecure` only.
    None,
}

impl fmt::Display for Tee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Snp => "snp",
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::None => "none",
        })
    }
}

/// How the vendor rates the firmware. Intel's words where Intel speaks; AMD publishes no rating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Intel: up to date.
    UpToDate,
    /// Intel.
    SWHardeningNeeded,
    /// Intel.
    ConfigurationNeeded,
    /// Intel.
    ConfigurationAndSWHardeningNeeded,
    /// Intel.
    OutOfDate,
    /// Intel.
    OutOfDateConfigurationNeeded,
    /// Intel.
    TDRelaunchAdvised,
    /// Intel.
    TDRelaunchAdvisedConfigurationNeeded,
    /// Nobody rates it; it is not below the minimum of the Steward's policy.
    MeetsPolicy,
    /// Nobody rates it, and the Steward's policy has no minimum.
    NotRated,
}

impl fmt::Display for TcbStatus {
    /// As claims have it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// What ties the workload to the evidence (trust rule 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadBinding {
    /// H(brief) in a launch field of the hardware.
    Hardware,
    /// The measured software's word.
    Software,
}

impl fmt::Display for WorkloadBinding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
        })
    }
}

/// A launch measurement or a signer's key digest as the hardware reports it: 32 or 48 bytes, lowercase hex as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Measurement(Vec<u8>);

/// Not a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a measurement is 32 or 48 bytes, as text in lowercase hex digits")]
pub struct MeasurementError;

/// Who judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierId {
    /// The program and its version.
    pub build: String,
    /// Who made it; a URL.
    pub developer: String,
}

/// The facts of one Keep. All of them are in every EAR; `None` is said as JSON `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ear {
    /// The time in the nonce, Unix seconds: the certificate's notBefore (trust rule 10).
    pub issued_at: u64,
    /// The nonce in the evidence.
    pub nonce: Nonce,
    /// Which Steward software judged.
    pub verifier: VerifierId,
    /// SHA-256 of the Keep's SPKI: the `cnf` claim.
    pub key: Digest,
    /// The Keep's name; equals the certificate's URI SAN.
    pub id: SpiffeId,
    /// SHA-256 of the owner's SPKI; `None` exactly for an anonymous Keep.
    pub owner: Option<Digest>,
    /// The trust class.
    pub class: Class,
    /// The kind of evidence.
    pub tee: Tee,
    /// The product line, e.g. `Milan`.
    pub product: String,
    /// The launch measurement of shim and exec.
    pub measurement: Measurement,
    /// Digest of the key that signed the launch, if one did.
    pub signer: Option<Measurement>,
    /// RTMR 0 to 3 of TDX, and of nothing else: measured after the launch.
    pub registers: Vec<Measurement>,
    /// H(brief).
    pub brief: Digest,
    /// The brief's workload.
    pub workload: Digest,
    /// What its publisher says of it, if a signature came with the request.
    pub publisher: Option<Published>,
    /// What ties brief and workload to the evidence.
    pub workload_binding: WorkloadBinding,
    /// The firmware versions, in words.
    pub tcb: String,
    /// How they are rated.
    pub tcb_status: TcbStatus,
    /// The advisories that apply.
    pub advisories: Vec<String>,
    /// SHA-256 of the policy the Steward judged under.
    pub policy: Digest,
    /// Names the platform to this Steward's relying parties without telling its serial number.
    pub platform: Digest,
}

/// What names a platform, as a Steward's policy has it (chip id, PPID or `csp:` and a provider), to relying parties of this trust
/// domain, without telling it. The same platform has another pseudonym in another domain.
#[must_use]
pub fn pseudonym(trust_domain: &TrustDomain, platform: &str) -> Digest {
    let mut fields = Vec::new();
    for field in [b"donjon-platform", trust_domain.as_bytes(), platform.as_bytes()] {
        // A length always fits in 64 bits.
        fields.extend((field.len() as u64).to_be_bytes());
        fields.extend_from_slice(field);
    }
    Digest::of(&fields)
}

/// Why a text is not an EAR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EarError {
    /// Longer than [`EAR_LIMIT`].
    #[error("an EAR has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Its length.
        found: usize,
    },
    /// Not a JWT, signed by another key, or not by anybody.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// A claim is missing, unknown, twice there or of another type; the text names it.
    #[error("claims: {}", .0.escape_debug())]
    Claims(String),
    /// Another profile.
    #[error("the EAR has profile {found:?}, expected {expected:?}")]
    Profile {
        /// [`EAR_PROFILE`].
        expected: &'static str,
        /// What it says.
        found: String,
    },
    /// Claims that contradict each other.
    #[error("claims contradict each other: {0}")]
    Contradiction(&'static str),
}

/// Why no JWT was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EarSignError {
    /// The facts are not an EAR.
    #[error(transparent)]
    Ear(#[from] EarError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// An EAR with its JWT. Invariant: [`Ear::parse`] reads these facts in this JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEar {
    facts: Ear,
    jwt: String,
}

impl SignedEar {
    /// The facts.
    #[must_use]
    pub fn facts(&self) -> &Ear {
        &self.facts
    }

    /// The same, signed.
    #[must_use]
    pub fn jwt(&self) -> &str {
        &self.jwt
    }
}

impl Ear {
    /// Signs the facts. The signer is the key that will also sign the certificate.
    ///
    /// # Errors
    /// Facts that contradict each other or are too long; a key that does not sign.
    pub fn sign(self, signer: &dyn Signer) -> Result<SignedEar, EarSignError> {
        let claims = self.to_json()?;
        let jwt = jws::sign(KIND, claims.as_bytes(), signer)?;
        Self::bounded(&jwt)?;
        Ok(SignedEar { facts: self, jwt })
    }

    /// The claims, JSON (RFC 8259): what [`Ear::sign`] signs.
    ///
    /// # Errors
    /// Facts that contradict each other.
    pub fn to_json(&self) -> Result<String, EarError> {
        self.consistent()?;
        serde_json::to_string(&Claims::from(self)).map_err(|error| EarError::Claims(error.to_string()))
    }

    /// Reads the claims *without* looking at the signature: for a JWT inside a certificate, whose own signature covers it.
    ///
    /// # Errors
    /// Everything but a complete EAR of our profile.
    pub fn parse(jwt: &str) -> Result<Self, EarError> {
        Self::bounded(jwt)?;
        Self::read(&Jws::split(KIND, jwt)?.payload)
    }

    fn bounded(jwt: &str) -> Result<(), EarError> {
        if jwt.len() > EAR_LIMIT {
            return Err(EarError::TooLong { limit: EAR_LIMIT, found: jwt.len() });
        }
        Ok(())
    }

    fn read(claims: &[u8]) -> Result<Self, EarError> {
        let profile: Profile = serde_json::from_slice(claims).map_err(|error| EarError::Claims(error.to_string()))?;
        if profile.eat_profile != EAR_PROFILE {
            let found = profile.eat_profile.chars().take(100).collect();
            return Err(EarError::Profile { expected: EAR_PROFILE, found });
        }
        let claims: Claims = serde_json::from_slice(claims).map_err(|error| EarError::Claims(error.to_string()))?;
        let tier = claims.submods.keep.status;
        let ear = Self::from(claims);
        ear.consistent()?;
        if tier != ear.tier() {
            return Err(EarError::Contradiction("ear_status does not follow from class and TCB status"));
        }
        Ok(ear)
    }

    /// Reads the claims and checks the signature by the issuer's key.
    ///
    /// # Errors
    /// As [`Ear::parse`]; another key; a wrong signature.
    pub fn verify(jwt: &str, issuer_spki: &[u8], verifier: &dyn Verifier) -> Result<Self, EarError> {
        Self::bounded(jwt)?;
        Self::read(&jws::open(KIND, jwt, issuer_spki, verifier)?)
    }

    /// The AR4SI tier (draft-ietf-rats-ar4si section 2.3.2).
    #[must_use]
    pub const fn tier(&self) -> Tier {
        match (self.class, self.tcb_status) {
            (Class::Insecure, _) => Tier::Contraindicated,
            (Class::Hardware, TcbStatus::UpToDate | TcbStatus::MeetsPolicy) => Tier::Affirming,
            (
                Class::Hardware,
                TcbStatus::SWHardeningNeeded
                | TcbStatus::ConfigurationNeeded
                | TcbStatus::ConfigurationAndSWHardeningNeeded
                | TcbStatus::OutOfDate
                | TcbStatus::OutOfDateConfigurationNeeded
                | TcbStatus::TDRelaunchAdvised
                | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
                | TcbStatus::NotRated,
            ) => Tier::Warning,
        }
    }

    fn consistent(&self) -> Result<(), EarError> {
        if self.owner.is_none() != self.id.is_anonymous() {
            return Err(EarError::Contradiction("owner and name: an anonymous Keep has no owner, a named one has"));
        }
        if self.class == Class::Hardware && self.tee == Tee::None {
            return Err(EarError::Contradiction("class hardware without a TEE"));
        }
        if self.registers.len() != if self.tee == Tee::Tdx { 4 } else { 0 } {
            return Err(EarError::Contradiction("registers: TDX has four, others have none"));
        }
        Ok(())
    }
}

/// The summary a reader that knows only EAR goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing speaks against it.
    Affirming,
    /// The vendor has something to say about the firmware.
    Warning,
    /// Class `insecure`.
    Contraindicated,
}

impl fmt::Display for Tier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        })
    }
}

impl Measurement {
    /// Takes the bytes.
    ///
    /// # Errors
    /// Another length than 32 or 48 bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, MeasurementError> {
        let bytes = bytes.into();
        if matches!(bytes.len(), 32 | 48) { Ok(Self(bytes)) } else { Err(MeasurementError) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Measurement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Measurement({self})")
    }
}

impl FromStr for Measurement {
    type Err = MeasurementError;

    fn from_str(text: &str) -> Result<Self, MeasurementError> {
        if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(MeasurementError);
        }
        Self::new(hex::decode(text).map_err(|_| MeasurementError)?)
    }
}

impl TryFrom<String> for Measurement {
    type Error = MeasurementError;

    fn try_from(text: String) -> Result<Self, MeasurementError> {
        text.parse()
    }
}

impl From<Measurement> for String {
    fn from(measurement: Measurement) -> Self {
        measurement.to_string()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{P256, P384, Software, ear};

    /// Signs whatever claims.
    fn sign(claims: &Value, signer: &dyn Signer) -> String {
        jws::sign(KIND, claims.to_string().as_bytes(), signer).unwrap()
    }

    fn claims(ear: &Ear) -> Value {
        serde_json::to_value(Claims::from(ear)).unwrap()
    }

    /// The example of the specification.
    #[test]
    fn rule_6_a_platform_has_one_pseudonym_in_a_trust_domain_and_another_elsewhere() {
        let pseudonym = |domain: &str, platform: &str| pseudonym(&domain.parse().unwrap(), platform);
        let chip = "11".repeat(64);
        let base = pseudonym("example.org", &chip);
        assert_ne!(base, pseudonym("example.com", &chip));
        assert_ne!(base, pseudonym("example.org", &"12".repeat(64)));
        let specification = include_str!("../../../../spec/certificate.md");
        assert!(specification.contains(&base.to_string()), "{base}");
    }

    #[test]
    fn rule_6_a_jwt_comes_back_as_it_was() {
        let keep = P256::new(7);
        let signers: [&dyn Signer; 2] = [&P256::new(1), &P384::new(1)];
        for signer in signers {
            let ear = ear(&keep);
            let signed = ear.clone().sign(signer).unwrap();
            let jwt = signed.jwt();
            assert_eq!(Ear::verify(jwt, signer.spki(), &Software), Ok(ear));
        }
    }

    #[test]
    fn rule_6_every_claim_must_be_there_and_no_other() {
        let signer = P256::new(1);
        let whole = claims(&ear(&P256::new(7)));
        assert!(Ear::parse(&sign(&whole, &signer)).is_ok(), "control");
        let mut removed = 0;
        for place in ["", "/submods", "/submods/keep", "/cnf", "/ear_verifier_id"] {
            for claim in whole.pointer(place).unwrap().as_object().unwrap().keys() {
                let mut without = whole.clone();
                without.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(claim);
                let error = Ear::parse(&sign(&without, &signer));
                assert!(
                    matches!(&error, Err(EarError::Claims(text)) if text.contains(claim.as_str())),
                    "{claim}: {error:?}"
                );
                removed += 1;
            }
            let mut more = whole.clone();
            more.pointer_mut(place).unwrap().as_object_mut().unwrap().insert("donjon.debug".into(), json!(false));
            assert!(matches!(Ear::parse(&sign(&more, &signer)), Err(EarError::Claims(_))), "{place}");
        }
        assert_eq!(removed, 6 + 1 + 20 + 1 + 2);
    }

    #[test]
    fn rule_6_the_specification_shows_exactly_this() {
        let specification = include_str!("../../../../spec/certificate.md");
        let example = specification.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let shown: Value = serde_json::from_str(example).unwrap();
        let ours = claims(&ear(&P256::new(7)));
        assert_eq!(shown, ours, "{}", serde_json::to_string_pretty(&ours).unwrap());
        for claim in ours["submods"]["keep"].as_object().unwrap().keys() {
            assert!(specification.contains(&format!("| `{claim}` |")), "spec/certificate.md does not explain {claim}");
        }
    }

    #[test]
    fn rule_6_unknown_profile_is_refused() {
        let mut other = claims(&ear(&P256::new(7)));
        other["eat_profile"] = json!("tag:ietf.org,2026:rats/ear#04");
        let found = "tag:ietf.org,2026:rats/ear#04".to_string();
        assert_eq!(Ear::parse(&sign(&other, &P256::new(1))), Err(EarError::Profile { expected: EAR_PROFILE, found }));
    }

    #[test]
    fn rule_7_insecure_is_never_affirming() {
        let signer = P256::new(1);
        let mut facts = ear(&P256::new(7));
        assert_eq!(facts.tier(), Tier::Affirming);
        facts.tcb_status = TcbStatus::OutOfDate;
        assert_eq!(facts.tier(), Tier::Warning);
        facts.tcb_status = TcbStatus::NotRated;
        assert_eq!(facts.tier(), Tier::Warning, "nobody said what is too old");
        facts.class = Class::Insecure;
        assert_eq!(facts.tier(), Tier::Contraindicated);
        let mut liar = claims(&facts);
        assert!(Ear::parse(&sign(&liar, &signer)).is_ok(), "control");
        liar["submods"]["keep"]["ear_status"] = json!("affirming");
        assert!(matches!(Ear::parse(&sign(&liar, &signer)), Err(EarError::Contradiction(_))));
        facts.class = Class::Hardware;
        facts.tee = Tee::None;
        assert!(matches!(facts.clone().sign(&signer), Err(EarSignError::Ear(EarError::Contradiction(_)))));
    }

    #[test]
    fn registers_are_those_of_tdx() {
        let signer = P256::new(1);
        let with = |tee, registers| {
            let register = Measurement::new([0xcd; 48]).unwrap();
            let facts = Ear { tee, registers: vec![register; registers], ..ear(&P256::new(7)) };
            facts.clone().sign(&signer).map(|signed| Ear::parse(signed.jwt()).unwrap() == facts)
        };
        for (tee, registers) in [(Tee::Snp, 0), (Tee::Sgx, 0), (Tee::Tdx, 4)] {
            assert_eq!(with(tee, registers), Ok(true), "{tee}");
        }
        for (tee, registers) in [(Tee::Snp, 4), (Tee::Sgx, 1), (Tee::Tdx, 0), (Tee::Tdx, 3), (Tee::Tdx, 5)] {
            assert!(with(tee, registers).is_err(), "{tee}, {registers}");
        }
    }

    #[test]
    fn rule_3_owner_and_name_go_together() {
        let signer = P256::new(1);
        let mut facts = ear(&P256::new(7));
        facts.owner = None;
        assert!(matches!(facts.clone().sign(&signer), Err(EarSignError::Ear(EarError::Contradiction(_)))));
        facts.id = SpiffeId::anonymous(facts.id.trust_domain).unwrap();
        assert!(facts.clone().sign(&signer).is_ok());
        facts.owner = Some(Digest::of(b"owner"));
        assert!(matches!(facts.clone().sign(&signer), Err(EarSignError::Ear(EarError::Contradiction(_)))));
    }

    #[test]
    fn a_changed_jwt_does_not_verify() {
        let (signer, other) = (P256::new(1), P256::new(2));
        let signed = ear(&P256::new(7)).sign(&signer).unwrap();
        let jwt = signed.jwt();
        assert!(Ear::verify(jwt, signer.spki(), &Software).is_ok(), "control");
        assert!(matches!(Ear::verify(jwt, other.spki(), &Software), Err(EarError::Jws(JwsError::Key { .. }))));
        // Other claims under the first one's signature.
        let mut more = ear(&P256::new(7));
        more.issued_at += 1;
        let more = more.sign(&signer).unwrap();
        let mixed = format!("{}.{}", more.jwt().rsplit_once('.').unwrap().0, jwt.rsplit_once('.').unwrap().1);
        assert_eq!(Ear::verify(&mixed, signer.spki(), &Software), Err(EarError::Jws(JwsError::Signature)));
        // Algorithm confusion: none, HMAC, other header members.
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"HS256","kid":"x","typ":"eat+jwt"}"#, r#"{"alg":"ES256","typ":"eat+jwt"}"#]
        {
            let (_, rest) = jwt.split_once('.').unwrap();
            let changed = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(Ear::verify(&changed, signer.spki(), &Software), Err(EarError::Jws(JwsError::Form("header"))));
        }
        assert!(matches!(Ear::parse(&"a".repeat(EAR_LIMIT + 1)), Err(EarError::TooLong { .. })));
    }

    #[test]
    fn measurements_have_one_spelling() {
        let text = "ab".repeat(48);
        assert_eq!(text.parse::<Measurement>().unwrap().to_string(), text);
        for bad in ["AB".repeat(48), "ab".repeat(47), "ab".repeat(64), "zz".repeat(48), String::new()] {
            assert_eq!(bad.parse::<Measurement>(), Err(MeasurementError), "{bad}");
        }
    }
}
