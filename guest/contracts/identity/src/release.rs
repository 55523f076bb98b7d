//! The release policy: which facts about a Keep open a repository of the owner's (who checks what: Drawbridge).
//!
//! Owns its deterministic CBOR, and what it demands of a Keep; whether a Keep meets that, `relying` decides, purely. Refuses
//! Keeps of other owners, always; policies without anchors or measurements, because "any" must be said. Invariant: a
//! [`Grant`] is only made by [`OwnerSigned::decide`], from a policy its owner signed and a Keep whose chain was verified. A
//! policy means class `hardware` unless it says otherwise (trust rule 7), and then no firmware its vendor rates down and no
//! workload only software vouches for. What else a policy does not say is not asked; what it cannot say yet is in
//! `spec/trust.md`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use workload::Digest;
use workload::names::{Name, Repository, TrustDomain};

use crate::cbor::{Reader, Writer};
use crate::chain::VerifiedKeep;
use crate::deployment::{digest, header, key, name, set};
use crate::ear::{Class, Measurement};
use crate::keys::{Algorithm, Signer, Verifier};
use crate::publisher::{self, Accepted};
use crate::relying::Demands;
pub use crate::relying::{Allowed, Refusal};
use crate::signed::{self, Document, DocumentError, OpenError, OwnerSigned, SealError};

/// The media type of a signed release policy.
pub const RELEASE_MEDIA_TYPE: &str = "application/vnd.donjon.release-policy+cose";

/// The version of the format, key 0.
const FORMAT: u64 = 1;

/// What an owner signs about one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePolicy {
    /// The repository.
    pub repository: Repository,
    /// Counts from 1.
    pub version: u64,
    /// [`OwnerSigned::digest`] of the version before; `None` exactly for version 1.
    pub previous: Option<Digest>,
    /// The owner's public key, SPKI in DER. Only Keeps of the same owner are let in.
    pub owner: Vec<u8>,
    /// The trust domain the Keep's name must be in.
    pub trust_domain: TrustDomain,
    /// The Stewards: SHA-256 of the SPKI of their roots; at least one.
    pub anchors: BTreeSet<Digest>,
    /// The trust class.
    pub class: Class,
    /// The launch measurements of shim and exec; at least one.
    pub measurements: BTreeSet<Measurement>,
    /// The workloads that may be fetched.
    pub workloads: Allowed<Accepted>,
    /// The owner's deployments whose Keeps may fetch.
    pub deployments: Allowed<Name>,
    /// The Steward policies (`policy` of the EAR) under which the Keep may have been judged (trust rule 19).
    pub policies: Allowed<Digest>,
    /// The oldest certificate, in seconds since its `notBefore`; `None` = as long as it is valid, and [`SECRETS_AGE`] where
    /// secrets are asked for.
    pub maximum_age: Option<u64>,
    /// Which workloads may have which secrets of the repository; nobody else has any.
    pub secrets: BTreeMap<Name, BTreeSet<Accepted>>,
}

/// How old a certificate may be, in seconds, that opens secrets of a policy without an age of its own (trust rule 16).
pub const SECRETS_AGE: u64 = 900;

/// Leave to fetch one workload from one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The repository.
    pub repository: Repository,
    /// The workload: its manifest, and what the manifest names.
    pub workload: Digest,
    /// The Keep's key, SHA-256 of its SPKI.
    pub key: Digest,
    /// The version of the policy that allowed it.
    pub policy_version: u64,
    /// When it ends, Unix seconds: with the certificate, or with its age.
    pub until: u64,
}

/// All ids of refusals, with one line each.
pub const REFUSALS: [(&str, &str); 14] = [
    ("release.anchor", "the certificate chains to a Steward root the policy names"),
    ("release.validity", "the certificate is valid now"),
    ("release.age", "the certificate is young enough"),
    ("release.trust_domain", "the Keep's name is in the policy's trust domain"),
    ("release.owner", "the Keep belongs to the owner who signed the policy"),
    ("release.class", "the Keep's trust class is the policy's"),
    (
        "release.tier",
        "for class hardware, the TCB status is `UpToDate` or `MeetsPolicy`: nobody rates the firmware down",
    ),
    (
        "release.workload_binding",
        "for class hardware, the hardware carries the brief, and not only software vouches for it",
    ),
    ("release.measurement", "shim and exec have a measurement the policy names"),
    ("release.steward_policy", "the Keep was judged under a Steward policy the policy accepts"),
    ("release.deployment", "the Keep's deployment may fetch from this repository"),
    ("release.workload", "the workload asked for is the one the Keep was launched for"),
    ("release.workload_allowed", "the workload may be fetched from this repository"),
    ("release.secret", "the workload may have each secret that is asked for"),
];

impl ReleasePolicy {
    /// Signs with the owner's key: the bytes of the envelope.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(&self, signer: &dyn Signer) -> Result<Vec<u8>, SealError> {
        signed::seal(self, signer)
    }

    /// Opens an envelope; the same as [`OwnerSigned::open`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(bytes: &[u8], verifier: &dyn Verifier) -> Result<OwnerSigned<Self>, OpenError> {
        OwnerSigned::open(bytes, verifier)
    }
}

impl OwnerSigned<ReleasePolicy> {
    /// Whether this Keep may have `workload` from the policy's repository at `now` (Unix seconds).
    ///
    /// # Errors
    /// Every fact that does not satisfy the policy, in the order of [`REFUSALS`].
    pub fn decide(&self, keep: &VerifiedKeep, workload: &Digest, now: u64) -> Result<Grant, Vec<Refusal>> {
        self.decided(keep, workload, self.maximum_age, None, now)
    }

    /// Whether this Keep may have these secrets for `workload`, which it must also be allowed to have, at `now`.
    ///
    /// # Errors
    /// Every fact that does not satisfy the policy, in the order of [`REFUSALS`].
    pub fn decide_secrets(
        &self,
        keep: &VerifiedKeep,
        workload: &Digest,
        names: &BTreeSet<Name>,
        now: u64,
    ) -> Result<Grant, Vec<Refusal>> {
        self.decided(keep, workload, Some(self.maximum_age.unwrap_or(SECRETS_AGE)), Some(names), now)
    }

    fn decided(
        &self,
        keep: &VerifiedKeep,
        workload: &Digest,
        age: Option<u64>,
        asked: Option<&BTreeSet<Name>>,
        now: u64,
    ) -> Result<Grant, Vec<Refusal>> {
        // Destructured in full: a field added to the policy must be decided about here.
        let ReleasePolicy {
            repository,
            version,
            previous: _,
            owner: _,
            trust_domain,
            anchors,
            class,
            measurements,
            workloads,
            deployments,
            policies,
            maximum_age: _,
            secrets,
        } = &**self;
        let insecure = *class == Class::Insecure;
        let mut demands = Demands::new(trust_domain.clone(), anchors.clone(), policies.clone());
        demands.class = *class;
        demands.owners = [*self.owner()].into();
        demands.measurements = Allowed::Only(measurements.clone());
        demands.deployments = deployments.clone();
        demands.workloads = [*workload].into();
        demands.maximum_age = age;
        // Whoever chose the class insecure has chosen less than either.
        demands.insecure_software_binding = insecure;
        if insecure {
            demands.tcb = Allowed::Any;
        }
        let until = demands.until(keep);
        let mut refusals = demands.decide(keep, now..=now).err().unwrap_or_default();
        for refusal in &mut refusals {
            refusal.id = of_release(refusal.id);
        }
        // What the Steward says the publisher says of it; it is of the workload asked for, or the refusal is here already.
        let published = keep.ear.publisher.as_ref();
        if !workloads.takes(workload, published) {
            let (expected, found) = (workloads.to_string(), workload.to_string());
            refusals.push(Refusal { id: "release.workload_allowed", expected, found });
        }
        for name in asked.into_iter().flatten() {
            if secrets.get(name).is_none_or(|allowed| !publisher::accepts(allowed, workload, published)) {
                let expected = format!("secret `{name}` for this workload");
                refusals.push(Refusal { id: "release.secret", expected, found: "no such grant".to_string() });
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let (repository, workload, key) = (repository.clone(), *workload, keep.key());
        Ok(Grant { repository, workload, key, policy_version: *version, until })
    }
}

/// The id under which a release policy tells what it demands of every Keep.
fn of_release(id: &'static str) -> &'static str {
    let own = |(own, _): &(&'static str, _)| own.strip_prefix("release.") == id.strip_prefix("keep.");
    REFUSALS.iter().find(|listed| own(listed)).map_or(id, |(own, _)| own)
}

impl Document for ReleasePolicy {
    const CONTENT_TYPE: &'static str = "application/vnd.donjon.release-policy+cbor";
    const LIMIT: usize = 64 * 1024;

    fn owner(&self) -> &[u8] {
        &self.owner
    }

    fn subject(&self) -> &str {
        &self.repository
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn previous(&self) -> Option<Digest> {
        self.previous
    }

    fn encode(&self) -> Vec<u8> {
        let Self {
            repository,
            version,
            previous,
            owner,
            trust_domain,
            anchors,
            class,
            measurements,
            workloads,
            deployments,
            policies,
            maximum_age,
            secrets,
        } = self;
        let optional = [previous.is_some(), maximum_age.is_some(), !secrets.is_empty()];
        let optional = optional.into_iter().filter(|there| *there).count();
        let mut out = Writer::default();
        out.map(optional.saturating_add(11));
        out.uint(0).uint(FORMAT).uint(1).text(repository).uint(2).uint(*version);
        if let Some(previous) = previous {
            out.uint(3).bytes(previous.as_bytes());
        }
        out.uint(4).bytes(owner).uint(5).text(trust_domain).uint(6).array(anchors.len());
        for anchor in anchors {
            out.bytes(anchor.as_bytes());
        }
        out.uint(7).uint(match class {
            Class::Hardware => 0,
            Class::Insecure => 1,
        });
        out.uint(8).array(measurements.len());
        for measurement in measurements {
            out.bytes(measurement.as_bytes());
        }
        write_allowed(out.uint(9), workloads, |out, workload| workload.write(out));
        write_allowed(out.uint(10), deployments, |out, name| {
            out.text(name);
        });
        write_allowed(out.uint(11), policies, |out, digest| {
            out.bytes(digest.as_bytes());
        });
        if let Some(age) = maximum_age {
            out.uint(12).uint(*age);
        }
        if !secrets.is_empty() {
            out.uint(13).map(secrets.len());
            // Text keys in the order of their encodings: shorter first.
            let mut sorted: Vec<_> = secrets.iter().collect();
            sorted.sort_by_key(|(name, _)| (name.len(), *name));
            for (name, allowed) in sorted {
                out.text(name).array(allowed.len());
                allowed.iter().for_each(|workload| workload.write(&mut out));
            }
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > Self::LIMIT {
            return Err(DocumentError::TooLong { limit: Self::LIMIT, found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let keys = reader.map("the map")?;
        header(&mut reader, FORMAT)?;
        key(&mut reader, 1, "key 1")?;
        let repository = name(&mut reader, "repository")?;
        key(&mut reader, 2, "key 2")?;
        let version = reader.uint("version")?;
        let mut next = reader.uint("key 3 or 4")?;
        let mut previous = None;
        if next == 3 {
            previous = Some(digest(&mut reader, "previous")?);
            next = reader.uint("key 4")?;
        }
        if next != 4 {
            return Err(DocumentError::Malformed("key 4"));
        }
        let owner = reader.bytes("owner")?.to_vec();
        key(&mut reader, 5, "key 5")?;
        let trust_domain = name(&mut reader, "trust domain")?;
        key(&mut reader, 6, "key 6")?;
        let anchors = set(&mut reader, "anchors", digest)?;
        key(&mut reader, 7, "key 7")?;
        let class = match reader.uint("class")? {
            0 => Class::Hardware,
            1 => Class::Insecure,
            _ => return Err(DocumentError::Malformed("class")),
        };
        key(&mut reader, 8, "key 8")?;
        let measurements = set(&mut reader, "measurements", |reader, place| {
            Measurement::new(reader.bytes(place)?).map_err(|_| DocumentError::Malformed(place))
        })?;
        key(&mut reader, 9, "key 9")?;
        let workloads = read_allowed(&mut reader, "workloads", Accepted::read)?;
        key(&mut reader, 10, "key 10")?;
        let deployments = read_allowed(&mut reader, "deployments", name)?;
        key(&mut reader, 11, "key 11")?;
        let policies = read_allowed(&mut reader, "Steward policies", digest)?;
        // How many keys the map claims and how many there are is compared when it is encoded again.
        let mut left = keys.saturating_sub(if previous.is_some() { 12 } else { 11 });
        let (mut maximum_age, mut secrets) = (None, BTreeMap::new());
        while left > 0 {
            left = left.saturating_sub(1);
            match reader.uint("key 12 or 13")? {
                12 => maximum_age = Some(reader.uint("maximum age")?),
                13 => {
                    for _ in 0..reader.map("secrets")? {
                        let secret = name(&mut reader, "a secret's name")?;
                        secrets.insert(secret, set(&mut reader, "a secret's workloads", Accepted::read)?);
                    }
                }
                _ => return Err(DocumentError::Malformed("key 12 or 13")),
            }
        }
        reader.done("end of the document")?;
        let policy = Self {
            repository,
            version,
            previous,
            owner,
            trust_domain,
            anchors,
            class,
            measurements,
            workloads,
            deployments,
            policies,
            maximum_age,
            secrets,
        };
        policy.consistent()?;
        if policy.encode() != bytes {
            return Err(DocumentError::NotCanonical);
        }
        Ok(policy)
    }
}

impl ReleasePolicy {
    fn consistent(&self) -> Result<(), DocumentError> {
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            return Err(DocumentError::Version(self.version));
        }
        Algorithm::of(&self.owner)?;
        if self.anchors.is_empty() {
            return Err(DocumentError::Empty("anchors"));
        }
        if self.measurements.is_empty() {
            return Err(DocumentError::Empty("measurements"));
        }
        if self.secrets.values().any(BTreeSet::is_empty) {
            return Err(DocumentError::Empty("a secret's workloads"));
        }
        Ok(())
    }
}

/// `true` for any, else the array.
fn write_allowed<T>(out: &mut Writer, allowed: &Allowed<T>, item: impl Fn(&mut Writer, &T)) {
    match allowed {
        Allowed::Any => {
            out.yes();
        }
        Allowed::Only(items) => {
            out.array(items.len());
            items.iter().for_each(|one| item(out, one));
        }
    }
}

fn read_allowed<T: Ord>(
    reader: &mut Reader<'_>,
    place: &'static str,
    item: impl Fn(&mut Reader<'_>, &'static str) -> Result<T, DocumentError>,
) -> Result<Allowed<T>, DocumentError> {
    if reader.yes() { Ok(Allowed::Any) } else { set(reader, place, item).map(Allowed::Only) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::verify_chain;
    use crate::ear::{Ear, WorkloadBinding};
    use crate::keys::key_digest;
    use crate::names::SpiffeId;
    use crate::publisher::Published;
    use crate::relying;
    use crate::testing::{NOW, P256, Software, chain, ear};

    fn policy() -> ReleasePolicy {
        ReleasePolicy {
            repository: "acme/shop".parse().unwrap(),
            version: 1,
            previous: None,
            owner: P256::new(1).spki().to_vec(),
            trust_domain: "example.org".parse().unwrap(),
            anchors: [key_digest(P256::new(3).spki())].into(),
            class: Class::default(),
            measurements: [Measurement::new([0xab; 48]).unwrap()].into(),
            workloads: Allowed::Only([Digest::of(b"workload").into()].into()),
            deployments: Allowed::Only(["shop".parse().unwrap()].into()),
            policies: Allowed::Only([Digest::of(b"policy")].into()),
            maximum_age: None,
            secrets: BTreeMap::new(),
        }
    }

    fn keep(change: impl FnOnce(&mut Ear), steward: &P256) -> VerifiedKeep {
        let key = P256::new(7);
        let mut facts = ear(&key);
        change(&mut facts);
        verify_chain(&chain(&key, &facts, steward), &[key_digest(steward.spki())], NOW, &Software).unwrap()
    }

    fn decide(
        policy: &ReleasePolicy,
        keep: &VerifiedKeep,
        workload: &[u8],
        now: u64,
    ) -> Result<Grant, Vec<&'static str>> {
        let signed = ReleasePolicy::open(&policy.seal(&P256::new(1)).unwrap(), &Software).unwrap();
        signed
            .decide(keep, &Digest::of(workload), now)
            .map_err(|refusals| refusals.iter().map(|refusal| refusal.id).collect())
    }

    #[test]
    fn the_right_keep_gets_its_workload() {
        let keep = keep(|_| {}, &P256::new(3));
        let grant = decide(&policy(), &keep, b"workload", NOW).unwrap();
        assert_eq!((grant.workload, grant.key, grant.until), (Digest::of(b"workload"), keep.key(), NOW + 3600));
        let any =
            ReleasePolicy { workloads: Allowed::Any, deployments: Allowed::Any, policies: Allowed::Any, ..policy() };
        assert!(decide(&any, &keep, b"workload", NOW).is_ok());
    }

    #[test]
    fn each_fact_is_demanded() {
        let steward = P256::new(3);
        let refused = |change: fn(&mut Ear)| decide(&policy(), &keep(change, &steward), b"workload", NOW).unwrap_err();
        assert_eq!(refused(|ear| ear.measurement = Measurement::new([0xac; 48]).unwrap()), ["release.measurement"]);
        assert_eq!(refused(|ear| ear.policy = Digest::of(b"lax policy")), ["release.steward_policy"]);
        assert_eq!(refused(|ear| ear.workload = Digest::of(b"other")), ["release.workload"]);
        assert_eq!(refused(|ear| ear.owner = Some(Digest::of(b"other"))), ["release.owner"]);
        assert_eq!(refused(|ear| ear.id.deployment = "shop2".parse().unwrap()), ["release.deployment"]);
        assert_eq!(refused(|ear| ear.id.trust_domain = "other.org".parse().unwrap()), ["release.trust_domain"]);
        // Several at once are all said.
        let anonymous = refused(|ear| {
            ear.owner = None;
            ear.id = SpiffeId::anonymous(ear.id.trust_domain.clone()).unwrap();
        });
        assert_eq!(anonymous, ["release.owner", "release.deployment"]);
        // Another workload of the same owner, asked for by this Keep.
        let both = ReleasePolicy { workloads: Allowed::Any, ..policy() };
        assert_eq!(decide(&both, &keep(|_| {}, &steward), b"other", NOW).unwrap_err(), ["release.workload"]);
        let none = ReleasePolicy { workloads: Allowed::Only(BTreeSet::new()), ..policy() };
        assert_eq!(decide(&none, &keep(|_| {}, &steward), b"workload", NOW).unwrap_err(), ["release.workload_allowed"]);
        // A Steward that somebody else believes.
        assert_eq!(decide(&policy(), &keep(|_| {}, &P256::new(4)), b"workload", NOW).unwrap_err(), ["release.anchor"]);
    }

    #[test]
    fn rule_7_a_policy_means_hardware_unless_it_says_otherwise() {
        let steward = P256::new(3);
        let insecure = keep(|ear| ear.class = Class::Insecure, &steward);
        assert_eq!(decide(&policy(), &insecure, b"workload", NOW).unwrap_err(), ["release.class"]);
        let lax = ReleasePolicy { class: Class::Insecure, ..policy() };
        assert!(decide(&lax, &insecure, b"workload", NOW).is_ok());
        assert_eq!(
            decide(&lax, &keep(|_| {}, &steward), b"workload", NOW).unwrap_err(),
            ["release.class"],
            "classes never mix"
        );
    }

    #[test]
    fn hardware_means_firmware_nobody_rates_down_and_a_brief_the_hardware_carries() {
        use crate::ear::TcbStatus;

        let steward = P256::new(3);
        let hardware = |change: fn(&mut Ear)| decide(&policy(), &keep(change, &steward), b"workload", NOW);
        let lax = ReleasePolicy { class: Class::Insecure, ..policy() };
        assert!(hardware(|ear| ear.tcb_status = TcbStatus::UpToDate).is_ok(), "control");
        assert_eq!(hardware(|ear| ear.tcb_status = TcbStatus::OutOfDate).unwrap_err(), ["release.tier"]);
        assert_eq!(hardware(|ear| ear.tcb_status = TcbStatus::SWHardeningNeeded).unwrap_err(), ["release.tier"]);
        assert_eq!(hardware(|ear| ear.tcb_status = TcbStatus::NotRated).unwrap_err(), ["release.tier"]);
        assert_eq!(
            hardware(|ear| ear.workload_binding = WorkloadBinding::Software).unwrap_err(),
            ["release.workload_binding"]
        );
        // Whoever chose the class insecure has chosen less than either.
        let weak = keep(
            |ear| {
                ear.class = Class::Insecure;
                ear.tcb_status = TcbStatus::OutOfDate;
                ear.workload_binding = WorkloadBinding::Software;
            },
            &steward,
        );
        assert!(decide(&lax, &weak, b"workload", NOW).is_ok());
    }

    #[test]
    fn rule_12_time_ends_a_grant() {
        let keep = keep(|_| {}, &P256::new(3));
        assert_eq!(decide(&policy(), &keep, b"workload", NOW + 3601).unwrap_err(), ["release.validity"]);
        assert_eq!(decide(&policy(), &keep, b"workload", NOW - 61).unwrap_err(), ["release.validity"]);
        let young = ReleasePolicy { maximum_age: Some(900), ..policy() };
        // notBefore is 60 seconds before NOW.
        assert_eq!(decide(&young, &keep, b"workload", NOW + 840).unwrap().until, NOW + 840);
        assert_eq!(decide(&young, &keep, b"workload", NOW + 841).unwrap_err(), ["release.age"]);
        let forever = ReleasePolicy { maximum_age: Some(u64::MAX), ..policy() };
        assert_eq!(decide(&forever, &keep, b"workload", NOW).unwrap().until, NOW + 3600);
    }

    #[test]
    fn rule_16_secrets_are_for_workloads_that_are_named_and_for_young_certificates() {
        let steward = P256::new(3);
        let secrets: BTreeMap<Name, BTreeSet<Accepted>> = [
            ("db".parse().unwrap(), [Digest::of(b"workload").into()].into()),
            ("tls".parse().unwrap(), [Digest::of(b"o").into()].into()),
        ]
        .into();
        let policy = ReleasePolicy { secrets, workloads: Allowed::Any, ..policy() };
        let asked = |policy: &ReleasePolicy, keep: &VerifiedKeep, names: &[&str], now| {
            let signed = ReleasePolicy::open(&policy.seal(&P256::new(1)).unwrap(), &Software).unwrap();
            let names = names.iter().map(|name| name.parse().unwrap()).collect();
            let decided = signed.decide_secrets(keep, &Digest::of(b"workload"), &names, now);
            decided.map(|grant| grant.until).map_err(|all| all.iter().map(|refusal| refusal.id).collect::<Vec<_>>())
        };
        let keep = |change: fn(&mut Ear)| keep(change, &steward);
        let right = keep(|_| {});
        assert_eq!(asked(&policy, &right, &["db"], NOW), Ok(NOW + 840), "notBefore is 60 seconds before NOW");
        for others in [&["tls"][..], &["db", "tls"], &["absent"]] {
            assert_eq!(asked(&policy, &right, others, NOW).unwrap_err(), ["release.secret"], "{others:?}");
        }
        assert_eq!(asked(&policy, &right, &["tls", "absent"], NOW).unwrap_err(), ["release.secret"; 2]);
        assert_eq!(asked(&policy, &right, &["db"], NOW + 841).unwrap_err(), ["release.age"]);
        assert!(decide(&policy, &right, b"workload", NOW + 841).is_ok(), "control: of the workload nobody wants that");
        let older = ReleasePolicy { maximum_age: Some(1800), ..policy.clone() };
        assert!(asked(&older, &right, &["db"], NOW + 841).is_ok());
        // Whatever the workload needs, its secrets need too.
        let insecure = keep(|ear| ear.class = Class::Insecure);
        assert_eq!(asked(&policy, &insecure, &["db"], NOW).unwrap_err(), ["release.class"]);
        let none = ReleasePolicy { workloads: Allowed::Only(BTreeSet::new()), ..policy };
        assert_eq!(asked(&none, &right, &["db"], NOW).unwrap_err(), ["release.workload_allowed"]);
        let empty = ReleasePolicy { secrets: [("db".parse().unwrap(), BTreeSet::new())].into(), ..none };
        assert!(empty.seal(&P256::new(1)).is_err(), "for nobody");
    }

    #[test]
    fn all_ids_are_listed() {
        let source = include_str!("release.rs").split("#[cfg(test)]").next().unwrap();
        for (id, _) in REFUSALS {
            // Its own, or one that every relying party can have.
            let own = source.matches(&format!("\"{id}\"")).count() == 2;
            let shared = relying::REFUSALS.iter().any(|(shared, _)| of_release(shared) == id);
            assert!(own != shared, "{id}");
        }
        let specification = include_str!("../../../../spec/trust.md");
        for (id, meaning) in REFUSALS {
            assert!(specification.contains(&format!("| `{id}` | {meaning} |")), "spec/trust.md lacks {id}");
        }
    }

    #[test]
    fn rule_13_a_product_is_released_from_a_version_on_and_its_secrets_with_it() {
        let signer = Digest::of(b"publisher");
        let product = |minimum| Accepted::Product { signer, product: "shop".parse().unwrap(), minimum };
        let policy = ReleasePolicy {
            workloads: Allowed::Only([product(3)].into()),
            secrets: [("db".parse().unwrap(), [product(4)].into())].into(),
            ..policy()
        };
        let signed = ReleasePolicy::open(&policy.seal(&P256::new(1)).unwrap(), &Software).unwrap();
        let version = |svn| Some(Published { signer, product: "shop".parse().unwrap(), svn });
        let asked = |publisher: Option<Published>, workload: &[u8], names: &[&str]| {
            let keep = keep(|ear| ear.publisher = publisher, &P256::new(3));
            let names = names.iter().map(|name| name.parse().unwrap()).collect();
            let decided = signed.decide_secrets(&keep, &Digest::of(workload), &names, NOW);
            decided.map(|_| ()).map_err(|all| all.iter().map(|refusal| refusal.id).collect::<Vec<_>>())
        };
        assert_eq!(asked(version(3), b"workload", &[]), Ok(()));
        assert_eq!(asked(version(4), b"workload", &["db"]), Ok(()));
        assert_eq!(asked(version(3), b"workload", &["db"]).unwrap_err(), ["release.secret"]);
        assert_eq!(asked(version(2), b"workload", &[]).unwrap_err(), ["release.workload_allowed"]);
        assert_eq!(asked(None, b"workload", &[]).unwrap_err(), ["release.workload_allowed"]);
        let other = |change: fn(&mut Published)| version(9).map(|mut published| (change(&mut published), published).1);
        let foreign = other(|published| published.signer = Digest::of(b"other"));
        assert_eq!(asked(foreign, b"workload", &["db"]).unwrap_err(), ["release.workload_allowed", "release.secret"]);
        let foreign = other(|published| published.product = "other".parse().unwrap());
        assert_eq!(asked(foreign, b"workload", &[]).unwrap_err(), ["release.workload_allowed"]);
        // What was signed is the Keep's workload, not another one that it asks for.
        assert_eq!(asked(version(4), b"other", &[]).unwrap_err(), ["release.workload"]);
    }

    #[test]
    fn one_encoding_of_every_policy() {
        let product =
            Accepted::Product { signer: Digest::of(b"publisher"), product: "shop".parse().unwrap(), minimum: 300 };
        let owner = P256::new(1);
        let next = ReleasePolicy { version: 2, previous: Some(Digest::of(b"1")), ..policy() };
        let aged = ReleasePolicy { maximum_age: Some(900), ..policy() };
        let both = ReleasePolicy { maximum_age: Some(900), ..next.clone() };
        let any = ReleasePolicy {
            workloads: Allowed::Any,
            deployments: Allowed::Any,
            policies: Allowed::Any,
            class: Class::Insecure,
            ..policy()
        };
        let secrets: BTreeMap<Name, BTreeSet<Accepted>> = [
            ("longest".parse().unwrap(), [Digest::of(b"a").into(), product].into()),
            ("short".parse().unwrap(), [Digest::of(b"a").into()].into()),
        ]
        .into();
        let secret = ReleasePolicy { secrets: secrets.clone(), ..policy() };
        let all = ReleasePolicy { secrets, ..both.clone() };
        for policy in [policy(), next, aged, both, any, secret, all] {
            let bytes = policy.encode();
            assert_eq!(ReleasePolicy::decode(&bytes), Ok(policy.clone()));
            for length in 0..bytes.len() {
                assert!(ReleasePolicy::decode(&bytes[..length]).is_err());
            }
            let opened = ReleasePolicy::open(&policy.seal(&owner).unwrap(), &Software).unwrap();
            assert_eq!(*opened, policy);
        }
        let mut bytes = policy().encode();
        assert_eq!(bytes[0], 0xab);
        bytes.splice(..1, [0xb8, 11]);
        assert_eq!(ReleasePolicy::decode(&bytes), Err(DocumentError::NotCanonical));
        // A map that claims one key more than there is.
        let mut bytes = policy().encode();
        bytes[0] = 0xac;
        assert!(ReleasePolicy::decode(&bytes).is_err());
    }

    #[test]
    fn any_must_be_said() {
        let owner = P256::new(1);
        assert!(policy().seal(&owner).is_ok(), "control");
        let empty = ReleasePolicy { anchors: BTreeSet::new(), ..policy() };
        assert_eq!(empty.seal(&owner), Err(SealError::Document(DocumentError::Empty("anchors"))));
        let empty = ReleasePolicy { measurements: BTreeSet::new(), ..policy() };
        assert_eq!(empty.seal(&owner), Err(SealError::Document(DocumentError::Empty("measurements"))));
    }
}
