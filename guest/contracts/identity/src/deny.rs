//! What is not believed any more, whatever else speaks for it: the `[deny]` of a Steward's policy, as it is published.
//!
//! Owns the lists, their form in the published policy, and the question whether a Keep is on one: a Steward asks it before it issues,
//! relying parties ask it of certificates that were issued before. Platforms stand here by their pseudonyms, which is all that
//! a relying party knows them by. Refuses a published policy that is not signed by an authority under an anchor, of another
//! trust domain, or with a list that is not known here. Invariant: who reads a list reads all of it.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use workload::Digest;
use workload::names::TrustDomain;

use crate::certificate::KeepCertificate;
use crate::chain::{Authorities, ChainError};
use crate::ear::Measurement;
use crate::jws::{self, JwsError};
use crate::keys::Verifier;

/// `typ` of a published policy (`spec/certificate.md`, Policy digest).
pub const POLICY_KIND: &str = "donjon-policy+jws";
/// The longest published policy, in bytes.
pub const POLICY_LIMIT: usize = 4 * 1024 * 1024;

/// The lists. Those of a relying party may be longer than a Steward's: what was denied once need not be believed again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deny {
    /// Certificates, by their serial numbers.
    pub serials: BTreeSet<Serial>,
    /// Workloads.
    pub workloads: BTreeSet<Digest>,
    /// Owners, by SHA-256 of their keys' SPKI.
    pub owners: BTreeSet<Digest>,
    /// Launch measurements.
    pub measurements: BTreeSet<Measurement>,
    /// Digests of keys that signed launches.
    pub signers: BTreeSet<Measurement>,
    /// Platforms, by their [pseudonyms](crate::ear::pseudonym).
    pub platforms: BTreeSet<Digest>,
}

/// The serial number of a Keep's certificate: 16 bytes, as text in lowercase hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Serial(String);

/// Not a serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 16 bytes, as text in lowercase hex digits")]
pub struct SerialError;

impl TryFrom<String> for Serial {
    type Error = SerialError;

    fn try_from(text: String) -> Result<Self, SerialError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits { Ok(Self(text)) } else { Err(SerialError) }
    }
}

/// What the lists are about.
#[derive(Debug, Clone, Copy)]
pub struct Suspect<'a> {
    /// Its workload, if it says one.
    pub workload: Option<&'a Digest>,
    /// Its owner, if it names one.
    pub owner: Option<&'a Digest>,
    /// Its launch measurement.
    pub measurement: &'a Measurement,
    /// Who signed the launch.
    pub signer: Option<&'a Measurement>,
    /// Its platform's pseudonym.
    pub platform: &'a Digest,
}

/// All ids under which something is denied, with one line each.
pub const DENIALS: [(&str, &str); 6] = [
    ("deny.serial", "the certificate's serial number is not denied"),
    ("deny.workload", "the workload is not denied"),
    ("deny.owner", "the owner is not denied"),
    ("deny.measurement", "the launch measurement is not denied"),
    ("deny.signer", "the key that signed the launch is not denied"),
    ("deny.platform", "the platform is not denied"),
];

impl Deny {
    /// Every list that has something of it: the id, and what.
    #[must_use]
    pub fn lists(&self, suspect: Suspect<'_>) -> Vec<(&'static str, String)> {
        let Self { serials: _, workloads, owners, measurements, signers, platforms } = self;
        let Suspect { workload, owner, measurement, signer, platform } = suspect;
        let digest = |list: &BTreeSet<Digest>, found: Option<&Digest>| {
            found.filter(|found| list.contains(found)).map(ToString::to_string)
        };
        let measured = |list: &BTreeSet<Measurement>, found: Option<&Measurement>| {
            found.filter(|found| list.contains(found)).map(ToString::to_string)
        };
        let found = [
            ("deny.workload", digest(workloads, workload)),
            ("deny.owner", digest(owners, owner)),
            ("deny.measurement", measured(measurements, Some(measurement))),
            ("deny.signer", measured(signers, signer)),
            ("deny.platform", digest(platforms, Some(platform))),
        ];
        found.into_iter().filter_map(|(id, found)| Some((id, found?))).collect()
    }

    /// The same of a Keep's certificate, which has a serial number besides.
    #[must_use]
    pub fn lists_certificate(&self, certificate: &KeepCertificate) -> Vec<(&'static str, String)> {
        let ear = &certificate.ear;
        let suspect = Suspect {
            workload: Some(&ear.workload),
            owner: ear.owner.as_ref(),
            measurement: &ear.measurement,
            signer: ear.signer.as_ref(),
            platform: &ear.platform,
        };
        let serial = hex::encode(&certificate.serial);
        let listed = self.serials.iter().any(|denied| denied.0 == serial).then_some(("deny.serial", serial));
        listed.into_iter().chain(self.lists(suspect)).collect()
    }

    /// Reads the lists of a policy as a Steward publishes it (`GET /policy`), at the time `now` (Unix seconds).
    ///
    /// `authorities` is what stands above the Keeps that this Steward certifies, the issuing certificate first, the root last:
    /// the chain of any of them without its first certificate. Nothing in the text says *when* it was signed: who takes it
    /// from a stranger may get an old one.
    ///
    /// # Errors
    /// See [`PublishedError`].
    pub fn published<C: AsRef<[u8]>>(
        text: &str,
        authorities: &[C],
        anchors: &[Digest],
        trust_domain: &TrustDomain,
        now: u64,
        verifier: &dyn Verifier,
    ) -> Result<Self, PublishedError> {
        if text.len() > POLICY_LIMIT {
            return Err(PublishedError::TooLong { limit: POLICY_LIMIT, found: text.len() });
        }
        let authorities = Authorities::walk(authorities, anchors, verifier)?;
        authorities.valid(now)?;
        let policy = jws::open(POLICY_KIND, text, &authorities.issuing.spki, verifier)?;
        let Published { trust_domain: found, deny } =
            serde_json::from_slice(&policy).map_err(|error| PublishedError::Form(error.to_string()))?;
        // Pseudonyms, names and owners mean something within it only.
        if found != *trust_domain {
            return Err(PublishedError::TrustDomain { expected: trust_domain.clone(), found });
        }
        Ok(deny)
    }
}

/// What is read of a published policy; the rest is the Steward's.
#[derive(Deserialize)]
struct Published {
    trust_domain: TrustDomain,
    #[serde(default)]
    deny: Deny,
}

/// Why a text is not the published policy of a Steward one believes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishedError {
    /// Longer than [`POLICY_LIMIT`].
    #[error("a published policy has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Its length.
        found: usize,
    },
    /// The authorities do not lead to an anchor. Positions count from 1, the issuing certificate.
    #[error(transparent)]
    Authority(#[from] ChainError),
    /// They did not sign it.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// It is no policy, or denies what is not known here.
    #[error("published policy: {}", .0.escape_debug())]
    Form(String),
    /// It is of another trust domain.
    #[error("the policy is of trust domain {found}, expected {expected}")]
    TrustDomain {
        /// One's own.
        expected: TrustDomain,
        /// The policy's.
        found: TrustDomain,
    },
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::keys::{Signer, key_digest};
    use crate::testing::{NOW, P256, P384, Software, chain, ear};

    fn read(payload: &str, signer: &dyn Signer) -> Result<Deny, PublishedError> {
        let text = jws::sign(POLICY_KIND, payload.as_bytes(), signer).unwrap();
        open(&text, NOW)
    }

    fn open(text: &str, now: u64) -> Result<Deny, PublishedError> {
        let steward = P256::new(3);
        let chain = chain(&P256::new(7), &ear(&P256::new(7)), &steward);
        let anchors = [key_digest(steward.spki())];
        Deny::published(text, &chain[1..], &anchors, &"example.org".parse().unwrap(), now, &Software)
    }

    #[test]
    fn each_list_is_read_and_finds_its_own() {
        let steward = P256::new(3);
        let keep = P256::new(7);
        let mut facts = ear(&keep);
        facts.signer = Some(Measurement::new([0xcd; 48]).unwrap());
        let certificate = KeepCertificate::read(&chain(&keep, &facts, &steward)[0]).unwrap();
        let owner = facts.owner.unwrap();
        for (list, entry, other, id) in [
            ("serials", "85".repeat(16), "86".repeat(16), "deny.serial"),
            ("workloads", facts.workload.to_string(), owner.to_string(), "deny.workload"),
            ("owners", owner.to_string(), facts.workload.to_string(), "deny.owner"),
            ("measurements", "ab".repeat(48), "cd".repeat(48), "deny.measurement"),
            ("signers", "cd".repeat(48), "ab".repeat(48), "deny.signer"),
            ("platforms", facts.platform.to_string(), facts.policy.to_string(), "deny.platform"),
        ] {
            let deny = |entry: &str| {
                let policy =
                    format!(r#"{{"any_platform":true,"deny":{{"{list}":["{entry}"]}},"trust_domain":"example.org"}}"#);
                read(&policy, &steward).unwrap().lists_certificate(&certificate)
            };
            assert_eq!(deny(&entry), [(id, entry)]);
            assert_eq!(deny(&other), [], "{list}: control");
            assert!(DENIALS.iter().any(|(listed, _)| *listed == id));
        }
        // All at once are all told, in the order of the ids.
        let all = Deny {
            serials: [Serial("85".repeat(16))].into(),
            workloads: [facts.workload].into(),
            owners: [owner].into(),
            measurements: [facts.measurement.clone()].into(),
            signers: facts.signer.clone().into_iter().collect(),
            platforms: [facts.platform].into(),
        };
        let ids: Vec<_> = all.lists_certificate(&certificate).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, DENIALS.map(|(id, _)| id));
    }

    #[test]
    fn only_what_a_steward_one_believes_signed_counts() {
        let steward = P256::new(3);
        let good = r#"{"deny":{"serials":["85858585858585858585858585858585"]},"trust_domain":"example.org"}"#;
        assert_eq!(read(good, &steward).map(|deny| deny.serials.len()), Ok(1), "control");
        assert_eq!(read(r#"{"trust_domain":"example.org"}"#, &steward), Ok(Deny::default()));
        assert!(matches!(read(good, &P256::new(4)), Err(PublishedError::Jws(JwsError::Key { .. }))));
        assert!(matches!(read(good, &P384::new(4)), Err(PublishedError::Jws(JwsError::Key { .. }))));
        let other = good.replace("example.org", "example.com");
        assert!(matches!(read(&other, &steward), Err(PublishedError::TrustDomain { .. })));
        // A list that is not known could deny anything.
        for bad in ["serial", "names"] {
            assert!(matches!(read(&good.replace("serials", bad), &steward), Err(PublishedError::Form(_))), "{bad}");
        }
        for bad in ["85", "8585858585858585858585858585858G", "AB858585858585858585858585858585"] {
            let bad = good.replace(&"85".repeat(16), bad);
            assert!(matches!(read(&bad, &steward), Err(PublishedError::Form(_))), "{bad}");
        }
        assert!(matches!(read("[]", &steward), Err(PublishedError::Form(_))));
        // Another kind of text by the same key.
        let text = jws::sign("eat+jwt", good.as_bytes(), &steward).unwrap();
        assert!(matches!(open(&text, NOW), Err(PublishedError::Jws(JwsError::Form(_)))));
        let text = jws::sign(POLICY_KIND, good.as_bytes(), &steward).unwrap();
        assert!(matches!(
            open(&text, NOW + 366 * 86_400),
            Err(PublishedError::Authority(ChainError::Expired { position: 1, .. }))
        ));
        let no: [&[u8]; 0] = [];
        let domain = "example.org".parse().unwrap();
        let alone = Deny::published(&text, &no, &[key_digest(steward.spki())], &domain, NOW, &Software);
        assert!(matches!(alone, Err(PublishedError::Authority(ChainError::Length { .. }))));
        let root = crate::testing::root(&steward);
        let unanchored = Deny::published(&text, &[root], &[key_digest(P256::new(4).spki())], &domain, NOW, &Software);
        assert!(matches!(unanchored, Err(PublishedError::Authority(ChainError::NotAnchored { .. }))));
    }
}
