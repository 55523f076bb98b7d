//! What a relying party demands of a Keep, beyond what every TLS client demands (trust rules 12, 19).
//!
//! Owns the decision about every fact of an EAR that can be decided about; a release policy decides by it, too. Refuses Keeps
//! of another class or trust domain, always; and says each fact that does not hold, not only the first. A list of everything
//! is [`Allowed::Any`], said in so many words. Invariant: what leaves [`Demands::check`] chains to one of its anchors, is valid at
//! both ends of the time that was asked for, and has every fact that is demanded.
//!
//! ```
//! use identity::relying::{Allowed, Demands};
//! # use workload::Digest;
//! # let (anchor, policy, measurement, owner) = (Digest::of(b"a"), Digest::of(b"p"), [0; 48], Digest::of(b"o"));
//!
//! // Judged by this Steward under this policy of its, which says what else had to hold when it judged.
//! let mut demands = Demands::new("example.org".parse()?, [anchor].into(), [policy].into());
//! // And, of what a certificate says, these.
//! demands.owners = [owner].into();
//! demands.measurements = [identity::ear::Measurement::new(measurement)?].into();
//! demands.maximum_age = Some(3600);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

use workload::Digest;
use workload::names::{Name, TrustDomain};

use crate::chain::{self, ChainError, VerifiedKeep};
use crate::deny::Deny;
use crate::ear::{Class, Ear, Measurement, TcbStatus, Tee, WorkloadBinding};
use crate::keys::Verifier;
use crate::names::SpiffeId;
use crate::publisher::{self, Accepted, Published};

/// What a Keep has to be. Made by [`Demands::new`]; everything after its three arguments is then said by assigning.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demands {
    /// The Stewards: SHA-256 of the SPKI of their roots. None: nobody is believed.
    pub anchors: BTreeSet<Digest>,
    /// The trust domain the Keep's name is in.
    pub trust_domain: TrustDomain,
    /// The Steward policies (`policy` of the EAR) under which it may have been judged.
    pub policies: Allowed<Digest>,
    /// The trust class: `hardware` unless somebody writes the other one. Classes never mix (trust rule 7).
    pub class: Class,
    /// Its owner; an anonymous Keep has none, and is one of [`Allowed::Any`] only.
    pub owners: Allowed<Digest>,
    /// Its deployment.
    pub deployments: Allowed<Name>,
    /// Its role there.
    pub roles: Allowed<Name>,
    /// H(brief).
    pub briefs: Allowed<Digest>,
    /// Its workload.
    pub workloads: Allowed<Digest>,
    /// Its workload by who signed it as what, or by its digest.
    pub accepted: Allowed<Accepted>,
    /// Takes a brief and a workload that only measured software vouches for (trust rule 1).
    pub insecure_software_binding: bool,
    /// The launch measurement of shim and exec.
    pub measurements: Allowed<Measurement>,
    /// Who signed the launch; a launch that nobody signed is one of [`Allowed::Any`] only.
    pub signers: Allowed<Measurement>,
    /// RTMR 0 to 3; other TEEs than TDX have none.
    pub registers: [Allowed<Measurement>; 4],
    /// The kind of evidence.
    pub tees: Allowed<Tee>,
    /// The product line, e.g. `Milan`.
    pub products: Allowed<String>,
    /// The machines, by their [pseudonyms](crate::ear::pseudonym).
    pub platforms: Allowed<Digest>,
    /// How the firmware may be rated: [`AFFIRMING`] unless somebody writes more.
    pub tcb: Allowed<TcbStatus>,
    /// The advisories that may apply.
    pub advisories: Allowed<String>,
    /// Advisories that must not apply, whatever is said above.
    pub refused_advisories: BTreeSet<String>,
    /// The oldest version of the Steward's software.
    pub minimum_steward: Option<Version>,
    /// The oldest certificate, in seconds since its `notBefore`; `None` = as long as it is valid.
    pub maximum_age: Option<u64>,
    /// What is not believed any more: of [`Deny::published`], and one's own.
    pub deny: Deny,
}

/// Firmware that nobody rates down.
pub const AFFIRMING: [TcbStatus; 2] = [TcbStatus::UpToDate, TcbStatus::MeetsPolicy];

/// A list, or everything, said in so many words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T> {
    /// Whatever it is.
    Any,
    /// One of these; an empty set allows nothing.
    Only(BTreeSet<T>),
}

/// A fact that does not satisfy what is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable: one of [`REFUSALS`] or [`crate::deny::DENIALS`], or of `release::REFUSALS` where a release policy decides.
    pub id: &'static str,
    /// What is demanded.
    pub expected: String,
    /// What the certificate says.
    pub found: String,
}

/// Why a Keep is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The chain does not lead from a Keep to an anchor: nothing it says is a fact.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It does; every fact that does not hold, at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Facts(Vec<Refusal>),
}

/// All ids of refusals but those of deny lists, with one line each.
pub const REFUSALS: [(&str, &str); 22] = [
    ("keep.anchor", "the certificate chains to one of the Stewards' roots"),
    ("keep.validity", "the whole chain is valid at both ends of the time asked for"),
    ("keep.age", "the certificate is young enough"),
    ("keep.trust_domain", "the Keep's name is in the trust domain"),
    ("keep.owner", "the Keep belongs to one of the owners"),
    ("keep.class", "the Keep's trust class is the one that is demanded"),
    ("keep.tier", "the firmware is rated as one of these"),
    ("keep.workload_binding", "the hardware carries the brief, and not only software vouches for it"),
    ("keep.measurement", "shim and exec have one of the measurements"),
    ("keep.steward_policy", "the Keep was judged under one of the Steward's policies"),
    ("keep.deployment", "the Keep is of one of the deployments"),
    ("keep.workload", "the Keep was launched for one of the workloads"),
    ("keep.publisher", "the workload is one of those, or a product that one of the publishers signed, not too old"),
    ("keep.role", "the Keep plays one of the roles"),
    ("keep.brief", "the Keep was launched with one of the briefs"),
    ("keep.signer", "one of the signers signed the launch"),
    ("keep.register", "each RTMR has one of its values"),
    ("keep.tee", "the evidence is of one of the kinds"),
    ("keep.product", "the processor is of one of the product lines"),
    ("keep.platform", "the machine is one of those"),
    ("keep.advisory", "no other advisory applies than those that may, and none that must not"),
    ("keep.steward", "the Steward's software is not older than demanded"),
];

impl Demands {
    /// A Keep of class `hardware`, its brief carried by the hardware, its firmware rated down by nobody, in this trust domain, that
    /// one of these Stewards has judged under one of these policies: what else had to hold those policies say.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, anchors: BTreeSet<Digest>, policies: Allowed<Digest>) -> Self {
        Self {
            anchors,
            trust_domain,
            policies,
            class: Class::Hardware,
            owners: Allowed::Any,
            deployments: Allowed::Any,
            roles: Allowed::Any,
            briefs: Allowed::Any,
            workloads: Allowed::Any,
            accepted: Allowed::Any,
            insecure_software_binding: false,
            measurements: Allowed::Any,
            signers: Allowed::Any,
            registers: [Allowed::Any, Allowed::Any, Allowed::Any, Allowed::Any],
            tees: Allowed::Any,
            products: Allowed::Any,
            platforms: Allowed::Any,
            tcb: AFFIRMING.into(),
            advisories: Allowed::Any,
            refused_advisories: BTreeSet::new(),
            minimum_steward: None,
            maximum_age: None,
            deny: Deny::default(),
        }
    }

    /// The Keep of a chain, Keep first, root last, each DER, at a time (Unix seconds) that is known to lie between these two,
    /// both included: `now..=now` for who has a clock he believes.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn check<C: AsRef<[u8]>>(
        &self,
        chain: &[C],
        when: RangeInclusive<u64>,
        verifier: &dyn Verifier,
    ) -> Result<VerifiedKeep, Refused> {
        let anchors: Vec<Digest> = self.anchors.iter().copied().collect();
        // Without the time: when it is over is a fact among others.
        let (keep, _) = chain::walk(chain, &anchors, verifier)?;
        match self.decide(&keep, when) {
            Ok(()) => Ok(keep),
            Err(refusals) => Err(Refused::Facts(refusals)),
        }
    }

    /// The same of a Keep whose chain was verified, perhaps against other anchors and at another time.
    ///
    /// # Errors
    /// Every fact that does not hold, in the order of [`REFUSALS`], then what is denied.
    pub fn decide(&self, keep: &VerifiedKeep, when: RangeInclusive<u64>) -> Result<(), Vec<Refusal>> {
        // Destructured in full: what is added to the demands must be decided about here.
        let Self {
            anchors,
            trust_domain,
            policies,
            class,
            owners,
            deployments,
            roles,
            briefs,
            workloads,
            accepted,
            insecure_software_binding,
            measurements,
            signers,
            registers,
            tees,
            products,
            platforms,
            tcb,
            advisories,
            refused_advisories,
            minimum_steward,
            maximum_age: _,
            deny,
        } = self;
        // In full as well: a fact added to the EAR must be decided about here.
        let Ear {
            id: SpiffeId { trust_domain: found_domain, deployment, role },
            verifier: steward,
            owner,
            class: found_class,
            tee,
            product,
            measurement,
            signer,
            registers: found_registers,
            brief,
            workload,
            publisher,
            workload_binding,
            tcb_status,
            advisories: found_advisories,
            policy,
            platform,
            // Steward and chain have checked these.
            issued_at: _,
            nonce: _,
            key: _,
            // For people.
            tcb: _,
        } = &keep.ear;
        let mut found = Found(Vec::new());
        let (from, to) = when.into_inner();
        found.demand(anchors.contains(keep.anchor()), "keep.anchor", || one_of(anchors), keep.anchor());
        let valid = keep.valid_from()..=keep.valid_until();
        let bad = [from, to].into_iter().find(|instant| !valid.contains(instant));
        let expected = || format!("{} to {}", valid.start(), valid.end());
        found.demand(bad.is_none(), "keep.validity", expected, bad.unwrap_or(to));
        // Who is too late for the certificate is not told of its age besides.
        let (until, last) = (self.until(keep), from.max(to));
        found.demand(last <= until || !valid.contains(&last), "keep.age", || format!("used until {until}"), last);
        let same = found_domain == trust_domain;
        found.demand(same, "keep.trust_domain", || trust_domain.to_string(), found_domain);
        found.option("keep.owner", owners, owner.as_ref(), "none (an anonymous Keep)");
        found.demand(found_class == class, "keep.class", || class.to_string(), found_class);
        found.allowed("keep.tier", tcb, tcb_status);
        let bound = *insecure_software_binding || *workload_binding == WorkloadBinding::Hardware;
        found.demand(bound, "keep.workload_binding", || WorkloadBinding::Hardware.to_string(), workload_binding);
        found.allowed("keep.measurement", measurements, measurement);
        found.allowed("keep.steward_policy", policies, policy);
        found.allowed("keep.deployment", deployments, deployment);
        found.allowed("keep.workload", workloads, workload);
        let accepts = accepted.takes(workload, publisher.as_ref());
        let signed = || publisher.as_ref().map_or_else(|| workload.to_string(), ToString::to_string);
        found.demand(accepts, "keep.publisher", || accepted.to_string(), signed());
        found.allowed("keep.role", roles, role);
        found.allowed("keep.brief", briefs, brief);
        found.option("keep.signer", signers, signer.as_ref(), "none (nobody signed the launch)");
        let mut values = found_registers.iter();
        for register in registers {
            found.option("keep.register", register, values.next(), "none (it has no RTMR)");
        }
        found.allowed("keep.tee", tees, tee);
        found.allowed("keep.product", products, product);
        found.allowed("keep.platform", platforms, platform);
        for advisory in found_advisories {
            let refused = refused_advisories.contains(advisory);
            let expected = || if refused { format!("not {advisory}") } else { advisories.to_string() };
            found.demand(!refused && advisories.contains(advisory), "keep.advisory", expected, advisory);
        }
        if let Some(minimum) = minimum_steward {
            let version = steward.build.rsplit(' ').next().and_then(|version| version.parse::<Version>().ok());
            let holds = version.is_some_and(|version| version >= *minimum);
            found.demand(holds, "keep.steward", || format!("version {minimum} or later"), &steward.build);
        }
        for (id, listed) in deny.lists_certificate(keep) {
            found.demand(false, id, || "none that is denied".to_string(), listed);
        }
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }

    /// The last second in which these demands accept this Keep as far as time goes: when its chain ends, or it is too old. A
    /// connection ends then, too (trust rule 16).
    #[must_use]
    pub fn until(&self, keep: &VerifiedKeep) -> u64 {
        let age = self.maximum_age.map_or(u64::MAX, |age| keep.not_before.saturating_add(age));
        keep.valid_until().min(age)
    }
}

/// Collects what does not hold.
struct Found(Vec<Refusal>);

impl Found {
    fn demand(&mut self, holds: bool, id: &'static str, expected: impl FnOnce() -> String, found: impl fmt::Display) {
        if !holds {
            self.0.push(Refusal { id, expected: expected(), found: found.to_string() });
        }
    }

    fn allowed<T: Ord + fmt::Display>(&mut self, id: &'static str, allowed: &Allowed<T>, found: &T) {
        self.demand(allowed.contains(found), id, || allowed.to_string(), found);
    }

    /// What is not there is allowed only where anything is.
    fn option<T: Ord + fmt::Display>(
        &mut self,
        id: &'static str,
        allowed: &Allowed<T>,
        found: Option<&T>,
        none: &'static str,
    ) {
        match found {
            Some(found) => self.allowed(id, allowed, found),
            None => self.demand(*allowed == Allowed::Any, id, || allowed.to_string(), none),
        }
    }
}

impl<T: Ord> Allowed<T> {
    /// Whether it is allowed.
    pub fn contains(&self, item: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(items) => items.contains(item),
        }
    }
}

impl Allowed<Accepted> {
    /// Whether the workload is allowed, of which a publisher may have said something.
    #[must_use]
    pub fn takes(&self, workload: &Digest, published: Option<&Published>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(items) => publisher::accepts(items, workload, published),
        }
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Allowed<T> {
    fn from(items: [T; N]) -> Self {
        Self::Only(items.into())
    }
}

impl<T: fmt::Display> fmt::Display for Allowed<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("any"),
            Self::Only(items) => out.write_str(&one_of(items)),
        }
    }
}

pub(crate) fn one_of<T: fmt::Display>(items: &BTreeSet<T>) -> String {
    match items.len() {
        0 => "nothing".to_string(),
        1 => items.iter().map(ToString::to_string).collect(),
        _ => format!("one of {}", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, expected, found } = self;
        write!(out, "{id}: expected {expected}, found {}", found.escape_debug())
    }
}

/// A version of software: three numbers. One before a release (`1.2.0-rc.1`) is none, and so never new enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

/// Not three numbers with dots between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers, such as 0.1.0")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        let mut numbers = text.split('.').map(number);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => Ok(Self([major, minor, patch])),
            _ => Err(VersionError),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(out, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::deny::DENIALS;
    use crate::keys::{Signer, key_digest};
    use crate::testing::{NOW, P256, Software, chain, ear};

    fn demands() -> Demands {
        let anchor = key_digest(P256::new(3).spki());
        Demands::new("example.org".parse().unwrap(), [anchor].into(), [Digest::of(b"policy")].into())
    }

    fn facts() -> Ear {
        let rtmr = Measurement::new([0x11; 48]).unwrap();
        Ear {
            tee: Tee::Tdx,
            product: "TDX 1.5".to_string(),
            signer: Some(Measurement::new([0xcd; 48]).unwrap()),
            registers: vec![rtmr; 4],
            tcb_status: TcbStatus::UpToDate,
            advisories: vec!["INTEL-SA-00001".to_string(), "INTEL-SA-00002".to_string()],
            publisher: Some(Published { signer: Digest::of(b"publisher"), product: "shop".parse().unwrap(), svn: 3 }),
            ..ear(&P256::new(7))
        }
    }

    fn check(demands: &Demands, facts: &Ear, when: RangeInclusive<u64>) -> Result<VerifiedKeep, Refused> {
        demands.check(&chain(&P256::new(7), facts, &P256::new(3)), when, &Software)
    }

    /// The ids of what does not hold.
    fn refused(demands: &Demands, facts: &Ear) -> Vec<&'static str> {
        match check(demands, facts, NOW..=NOW) {
            Ok(_) => Vec::new(),
            Err(Refused::Facts(refusals)) => refusals.into_iter().map(|refusal| refusal.id).collect(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn rule_19_trust_domain_and_policy_are_demanded_of_everybody() {
        let verified = check(&demands(), &facts(), NOW..=NOW).unwrap();
        assert_eq!((verified.key(), verified.valid_until()), (key_digest(P256::new(7).spki()), NOW + 3600));
        let of = |change: fn(&mut Demands)| {
            let mut demands = demands();
            change(&mut demands);
            refused(&demands, &facts())
        };
        assert_eq!(of(|demands| demands.trust_domain = "example.com".parse().unwrap()), ["keep.trust_domain"]);
        assert_eq!(of(|demands| demands.policies = [Digest::of(b"another")].into()), ["keep.steward_policy"]);
        assert_eq!(of(|demands| demands.policies = Allowed::Any), [""; 0]);
        assert_eq!(of(|demands| demands.class = Class::Insecure), ["keep.class"], "classes never mix");
        let insecure = Ear { class: Class::Insecure, ..facts() };
        assert_eq!(refused(&demands(), &insecure), ["keep.class"]);
    }

    /// Each demand beside the same one that its Keep meets.
    #[test]
    fn each_fact_can_be_demanded() {
        let facts = facts();
        let name = |text: &str| text.parse::<Name>().unwrap();
        let measured = |byte| Measurement::new([byte; 48]).unwrap();
        let texts = |texts: &[&str]| Allowed::Only(texts.iter().map(ToString::to_string).collect());
        let other = || Digest::of(b"another");
        type Change<'a> = &'a dyn Fn(&mut Demands, bool);
        let product =
            |minimum| Accepted::Product { signer: Digest::of(b"publisher"), product: "shop".parse().unwrap(), minimum };
        let cases: [(&str, Change<'_>); 18] = [
            ("keep.owner", &|to, good| to.owners = [if good { facts.owner.unwrap() } else { other() }].into()),
            ("keep.deployment", &|to, good| to.deployments = [name(if good { "shop" } else { "bank" })].into()),
            ("keep.role", &|to, good| to.roles = [name(if good { "web" } else { "db" })].into()),
            ("keep.brief", &|to, good| to.briefs = [if good { facts.brief } else { other() }].into()),
            ("keep.workload", &|to, good| to.workloads = [if good { facts.workload } else { other() }].into()),
            ("keep.publisher", &|to, good| to.accepted = [product(if good { 3 } else { 4 })].into()),
            ("keep.measurement", &|to, good| to.measurements = [measured(if good { 0xab } else { 0xac })].into()),
            ("keep.signer", &|to, good| to.signers = [measured(if good { 0xcd } else { 0xce })].into()),
            ("keep.register", &|to, good| to.registers[3] = [measured(if good { 0x11 } else { 0x12 })].into()),
            ("keep.tee", &|to, good| to.tees = [if good { Tee::Tdx } else { Tee::Snp }].into()),
            ("keep.product", &|to, good| to.products = texts(&[if good { "TDX 1.5" } else { "Milan" }])),
            ("keep.platform", &|to, good| to.platforms = [if good { facts.platform } else { other() }].into()),
            ("keep.tier", &|to, good| {
                to.tcb = [if good { TcbStatus::UpToDate } else { TcbStatus::OutOfDate }].into();
            }),
            ("keep.advisory", &|to, good| {
                let second = if good { "INTEL-SA-00002" } else { "INTEL-SA-00003" };
                to.advisories = texts(&["INTEL-SA-00001", second]);
            }),
            ("keep.advisory", &|to, good| {
                let refused = if good { "INTEL-SA-00003" } else { "INTEL-SA-00002" };
                to.refused_advisories = [refused.to_string()].into();
            }),
            ("keep.steward", &|to, good| to.minimum_steward = Some(Version([0, u32::from(!good) + 1, 0]))),
            ("keep.age", &|to, good| to.maximum_age = Some(if good { 60 } else { 59 })),
            ("deny.platform", &|to, good| {
                to.deny.platforms = [if good { other() } else { facts.platform }].into();
            }),
        ];
        for (id, change) in cases {
            for good in [true, false] {
                let mut demands = demands();
                change(&mut demands, good);
                let expected = if good { vec![] } else { vec![id] };
                assert_eq!(refused(&demands, &facts), expected, "{id} {good}");
            }
        }
        // All at once: every reason, each with what was expected and found.
        let mut all = demands();
        cases.iter().for_each(|(_, change)| change(&mut all, false));
        let Err(Refused::Facts(refusals)) = check(&all, &facts, NOW..=NOW) else { panic!() };
        // Two advisories: both are none of those that may apply, or one that must not.
        assert_eq!(refusals.len(), 17, "{refusals:?}");
        assert!(refusals.iter().all(|refusal| refusal.expected != refusal.found && !refusal.expected.is_empty()));
        let text = Refused::Facts(refusals).to_string();
        assert!(
            text.contains("keep.tee: expected snp, found tdx; keep.product: expected Milan, found TDX 1.5"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_there_is_none_of_a_list() {
        let mut plain = ear(&P256::new(7));
        plain.owner = None;
        plain.id = SpiffeId::anonymous(plain.id.trust_domain.clone()).unwrap();
        assert_eq!(refused(&demands(), &plain), [""; 0], "control");
        let mut demands = demands();
        demands.owners = [key_digest(P256::new(1).spki())].into();
        demands.signers = [Measurement::new([0xcd; 48]).unwrap()].into();
        demands.registers[0] = [Measurement::new([0x11; 48]).unwrap()].into();
        assert_eq!(refused(&demands, &plain), ["keep.owner", "keep.signer", "keep.register"]);
        demands.registers[0] = Allowed::Only(BTreeSet::new());
        assert_eq!(refused(&demands, &plain), ["keep.owner", "keep.signer", "keep.register"], "not even none");
    }

    #[test]
    fn weak_is_written_by_whoever_takes_it() {
        let weak = Ear { tcb_status: TcbStatus::OutOfDate, workload_binding: WorkloadBinding::Software, ..facts() };
        assert_eq!(refused(&demands(), &weak), ["keep.tier", "keep.workload_binding"]);
        let lax = Demands { tcb: Allowed::Any, insecure_software_binding: true, ..demands() };
        assert_eq!(refused(&lax, &weak), [""; 0]);
    }

    #[test]
    fn rule_12_valid_at_both_ends_of_the_time() {
        let at = |from, to, demands: &Demands| match check(demands, &facts(), from..=to) {
            Ok(_) => Vec::new(),
            Err(Refused::Facts(refusals)) => refusals.into_iter().map(|refusal| (refusal.id, refusal.found)).collect(),
            Err(error) => panic!("{error}"),
        };
        let refused = |id, time: u64| vec![(id, time.to_string())];
        let demands = demands();
        assert_eq!(at(NOW - 60, NOW + 3600, &demands), []);
        assert_eq!(at(NOW - 61, NOW, &demands), refused("keep.validity", NOW - 61));
        assert_eq!(at(NOW, NOW + 3601, &demands), refused("keep.validity", NOW + 3601));
        // Both ends, in whatever order.
        assert_eq!(at(NOW + 3601, NOW, &demands), refused("keep.validity", NOW + 3601));
        let young = Demands { maximum_age: Some(900), ..demands };
        assert_eq!(at(NOW - 60, NOW + 840, &young), []);
        assert_eq!(at(NOW, NOW + 841, &young), refused("keep.age", NOW + 841));
        assert_eq!(at(NOW + 841, NOW, &young), refused("keep.age", NOW + 841));
        let keep = check(&young, &facts(), NOW..=NOW).unwrap();
        assert_eq!((young.until(&keep), Demands { maximum_age: None, ..young }.until(&keep)), (NOW + 840, NOW + 3600));
        let forever = Demands { maximum_age: Some(u64::MAX), ..self::demands() };
        assert_eq!(forever.until(&keep), NOW + 3600);
    }

    #[test]
    fn a_chain_that_does_not_hold_has_no_facts() {
        let foreign = chain(&P256::new(7), &facts(), &P256::new(4));
        let error = demands().check(&foreign, NOW..=NOW, &Software).unwrap_err();
        assert!(matches!(error, Refused::Chain(ChainError::NotAnchored { .. })));
        let nobody = Demands { anchors: BTreeSet::new(), ..demands() };
        let error = check(&nobody, &facts(), NOW..=NOW).unwrap_err();
        assert_eq!(error, Refused::Chain(ChainError::NoAnchors));
        // Verified against another anchor, it is not taken for one of one's own.
        let keep = crate::chain::verify_chain(&foreign, &[key_digest(P256::new(4).spki())], NOW, &Software).unwrap();
        let refusals = demands().decide(&keep, NOW..=NOW).unwrap_err();
        assert_eq!(refusals.iter().map(|refusal| refusal.id).collect::<Vec<_>>(), ["keep.anchor"]);
    }

    #[test]
    fn versions_are_three_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert_eq!(version("0.10.2").map(|version| version.to_string()), Ok("0.10.2".to_string()));
        assert!(version("0.10.0").unwrap() > Version([0, 9, 9]) && version("1.0.0").unwrap() > Version([0, 99, 99]));
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.3-rc.1", "1.2.+3", "1..3", "v1.2.3", "1.2.99999999999"] {
            assert_eq!(version(bad), Err(VersionError), "{bad}");
        }
        let floor = Demands { minimum_steward: Some(Version([0, 1, 0])), ..demands() };
        for (build, expected) in [
            ("steward 0.1.0", vec![]),
            ("a steward 1.0.0", vec![]),
            ("steward 0.1.0-rc.1", vec!["keep.steward"]),
            ("", vec!["keep.steward"]),
        ] {
            let mut facts = facts();
            facts.verifier.build = build.to_string();
            assert_eq!(refused(&floor, &facts), expected, "{build}");
        }
    }

    #[test]
    fn all_ids_are_in_the_specification() {
        let specification = include_str!("../../../../spec/certificate.md");
        for (id, meaning) in REFUSALS.iter().chain(&DENIALS) {
            assert!(specification.contains(&format!("| `{id}` | {meaning} |")), "spec/certificate.md lacks {id}");
        }
        let source = include_str!("relying.rs").split("#[cfg(test)]").next().unwrap();
        for (id, _) in REFUSALS {
            assert_eq!(source.matches(&format!("\"{id}\"")).count(), 2, "{id}: in the list and where it is demanded");
        }
    }
}
