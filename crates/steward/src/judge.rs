//! The judge: bytes, policy, keys and `now` in; a certificate or the reasons out.
//!
//! Owns the order of questions. Cheap ones stand before dear ones, and nothing of a request is believed before
//! the seal on its nonce is; only `evidence::Verified` leads to `issue`, and only a verified Deployment of a
//! registered owner leads to a name (trust.md rules 1, 3, 6, 9, 10). Touches no clock, no network and no file;
//! the signatures it makes are its only randomness. It judges and signs in two steps, so that what is issued can be recorded in
//! between (rule 18).
//! Invariant: nothing enters a certificate from the CSR but the key. Names come from Deployment and policy,
//! dates from the nonce, facts from verified evidence.

use evidence::{
    Verified,
    appraisal::{self, Appraisal, Binding, By, Subject},
    dcap,
    ear::{Facts, Rating},
};
use identity::{
    binding::{self, Purpose},
    certificate::{self, Template},
    csr::{self, Statement},
    deny::Suspect,
    deployment::Deployment,
    ear::{Ear, Measurement, TcbStatus, Tee, VerifierId, WorkloadBinding, pseudonym},
    names::{Nonce, SpiffeId},
    publisher::{self, Published},
};
use sha2::{Digest as _, Sha256};
use workload::{
    brief::{self, Brief, Source},
    digest::Digest,
    names::DnsName,
};

use crate::{
    Steward, carried, enarx,
    nonce::Fresh,
    policy::Policy,
    record::{Leaf, Recorded},
    refusal::{IssueFault, Refusal},
    signer::{Signatures, plain::Plain},
};

/// A certificate, with what the log says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// DER, the Keep's certificate first, the root last.
    pub chain: Vec<Vec<u8>>,
    /// The name it was given.
    pub id: SpiffeId,
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of the Keep's SPKI.
    pub key: Digest,
    /// H(brief); none of a Keep of Enarx, which has none.
    pub brief: Option<Digest>,
    /// Last second of validity, seconds since 1970.
    pub not_after: u64,
}

/// Which certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A Keep's: with its SPIFFE ID, and the names that a Deployment grants.
    Keep,
    /// One that says where the Keep's workload is, by its digest, and has no other name (trust.md rule 6).
    Workload,
}

/// What is to be issued, and not signed yet.
#[derive(Debug)]
pub struct Decided {
    leaf: Leaf,
    id: SpiffeId,
    form: Form,
}

/// Of whom it is.
#[derive(Debug)]
pub(crate) enum Form {
    /// A Keep.
    Keep(Box<Template>),
    /// Somebody else.
    Plain(Plain),
}

impl Decided {
    pub(crate) fn new(leaf: Leaf, id: SpiffeId, form: Form) -> Self {
        Self { leaf, id, form }
    }

    /// What is recorded of it.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Signs what was recorded.
    ///
    /// # Errors
    /// [`Refusal::Issue`]: it was another that was recorded, or the key does not sign.
    pub fn sign(self, steward: &Steward, recorded: &Recorded) -> Result<Issued, Refusal> {
        let Self { leaf, id, form } = self;
        if !recorded.is_of(&leaf) {
            return Err(IssueFault::Unrecorded.into());
        }
        let authority = steward.authority();
        let signed = match &form {
            Form::Keep(template) => {
                certificate::issue(template, authority.issuer(), authority.key()).map_err(IssueFault::from)?
            }
            Form::Plain(plain) => plain.issue(authority)?,
        };
        let chain = std::iter::once(signed).chain(authority.chain().iter().cloned()).collect();
        let Leaf { serial, key, brief, not_after, .. } = leaf;
        Ok(Issued { chain, id, serial, key, brief, not_after })
    }
}

/// Judges a CSR (DER) at `now` (seconds since 1970).
///
/// # Errors
/// [`Refusal`]; for evidence it has every independent failure.
pub(crate) fn judge(request: &[u8], asked: Asked, steward: &Steward, now: u64) -> Result<Decided, Refusal> {
    let policy = steward.policy();
    // Rule 9: off unless the policy says so, and then its carrier has no other reading.
    if policy.enarx()
        && asked == Asked::Keep
        && let Some(request) = appraisal::enarx::Request::parse(request, steward.provider())?
    {
        return enarx::judge(request, steward, now);
    }
    let request = csr::Request::parse(request, &Signatures)?;
    let Statement { brief: brief_bytes, nonce, deployment, signature, .. } = &request.statement;

    // Rule 10. Whoever has no fresh nonce of ours has our attention no longer than this.
    let fresh = steward.nonces().open(Purpose::Issue, nonce, now)?;

    let brief = Brief::decode(brief_bytes)?;
    let brief_hash = brief::hash(brief_bytes);
    addressed(&brief, steward)?;

    // Rule 9: the media type alone says which verifier and which binding rule; there is no second try.
    let (evidence, mut endorsements) = carried::read(&request.statement)?;
    let (demands, roots) = policy.asks(&evidence).map_err(|tee| Refusal::Tee { tee })?;
    let strange = steward.objects().recognise(&mut endorsements);
    steward.collateral().add(&evidence, &mut endorsements);
    // Rules 1 and 2: the hardware carries this brief, and binds this key to this nonce.
    let report_data = binding::report_data(Purpose::Issue, &request.spki, &brief_hash, nonce);
    let by = By {
        endorsements: &endorsements,
        policy: Some(demands),
        binding: Binding { report_data: Some(report_data), launch_field: Some(brief_hash) },
        roots,
        now,
    };
    let Appraisal { verdict, proof, .. } = appraisal::appraise(&evidence, by, steward.provider());
    let verified = proof.ok_or(Refusal::Evidence(verdict))?;
    steward.objects().keep(strange);

    let published = publisher::published(signature.as_deref(), &brief.workload, &Signatures)?;
    let named = name(&brief, deployment.as_deref(), published.as_ref(), steward)?;
    let brief_hash = Digest::new(brief_hash);
    decide(
        steward,
        &Asker { asked, spki: &request.spki, nonce, fresh, brief: &brief, brief_hash, published, named },
        &verified,
        now,
    )
}

/// Is the brief one of our trust domain, whose Keep takes certificates under our root?
fn addressed(brief: &Brief, steward: &Steward) -> Result<(), Refusal> {
    let expected = steward.policy().trust_domain();
    if brief.trust_domain != *expected {
        return Err(Refusal::TrustDomain { expected: expected.clone(), found: brief.trust_domain.clone() });
    }
    let anchors = &brief.steward.as_ref().ok_or(Refusal::NoSteward)?.anchors;
    let anchor = steward.authority().anchor();
    if !anchors.contains(&anchor) {
        return Err(Refusal::Anchors { expected: anchor, found: anchors.clone() });
    }
    Ok(())
}

/// The name of a Keep, and who gave it.
struct Named {
    id: SpiffeId,
    owner: Option<Digest>,
    dns: Vec<DnsName>,
}

/// Rule 3. Without a Deployment the Keep is anonymous; with one that does not hold it is refused rather than
/// left without the name it asked for.
fn name(
    brief: &Brief,
    deployment: Option<&[u8]>,
    published: Option<&Published>,
    steward: &Steward,
) -> Result<Named, Refusal> {
    let policy = steward.policy();
    let Some(deployment) = deployment else {
        return Ok(Named {
            id: SpiffeId::anonymous(brief.trust_domain.clone()).map_err(IssueFault::from)?,
            owner: None,
            dns: Vec::new(),
        });
    };
    let deployment = Deployment::open(deployment, steward.owners())?;
    let role = deployment.covers(brief, published)?;
    let owner = *deployment.owner();
    if !policy.names().deployment(owner, &deployment.id) {
        return Err(Refusal::Unregistered { owner, deployment: deployment.id.clone() });
    }
    let expected = policy.names().minimum_version(owner, &deployment.id);
    if deployment.version < expected {
        return Err(Refusal::Version { deployment: deployment.id.clone(), expected, found: deployment.version });
    }
    let (dns, foreign): (Vec<_>, Vec<_>) =
        role.names.iter().cloned().partition(|dns| policy.names().dns(owner, &deployment.id, dns));
    if !foreign.is_empty() {
        return Err(Refusal::Names { owner, names: foreign });
    }
    Ok(Named { id: deployment.spiffe_id(&brief.role), owner: Some(owner), dns })
}

/// Everything about the Keep that evidence does not say.
struct Asker<'a> {
    asked: Asked,
    spki: &'a [u8],
    nonce: &'a Nonce,
    fresh: Fresh,
    brief: &'a Brief,
    brief_hash: Digest,
    published: Option<Published>,
    named: Named,
}

/// What verified evidence says, in the words of certificates.
pub(crate) struct Found {
    pub(crate) tee: Tee,
    pub(crate) product: String,
    pub(crate) measurement: Measurement,
    pub(crate) signer: Option<Measurement>,
    pub(crate) registers: Vec<Measurement>,
    pub(crate) tcb: String,
    pub(crate) tcb_status: TcbStatus,
    pub(crate) advisories: Vec<String>,
    pub(crate) platform: Digest,
}

impl Found {
    /// Refused is what the policy denies of it, and of the brief.
    pub(crate) fn of(verified: &Verified<Subject>, brief: Option<&Brief>, policy: &Policy) -> Result<Self, Refusal> {
        let Subject { tee, facts, platform } = verified.claims();
        let Facts { product, measurement, signer, registers, tcb, tcb_status, advisories, .. } = facts;
        let measurement_of = |of: &evidence::ear::Measurement| Measurement::new(of.as_bytes());
        let measurement = measurement_of(measurement).map_err(IssueFault::from)?;
        let signer = signer.as_ref().map(measurement_of).transpose().map_err(IssueFault::from)?;
        let workload = brief.map(|brief| &brief.workload);
        let owner = brief.and_then(|brief| brief.owner.as_ref());
        let platform = pseudonym(policy.trust_domain(), platform);
        let suspect =
            Suspect { workload, owner, measurement: &measurement, signer: signer.as_ref(), platform: &platform };
        if let Some((id, found)) = policy.deny().lists(suspect).into_iter().next() {
            return Err(Refusal::Denied { id, found });
        }
        Ok(Self {
            tee: tee_of(*tee)?,
            product: product.clone(),
            measurement,
            signer,
            registers: registers.iter().map(measurement_of).collect::<Result<_, _>>().map_err(IssueFault::from)?,
            tcb: tcb.clone(),
            tcb_status: status_of(*tcb_status)?,
            advisories: advisories.clone(),
            platform,
        })
    }
}

/// Which Steward this is.
pub(crate) fn verifier() -> VerifierId {
    VerifierId {
        build: concat!("donjon-steward ", env!("CARGO_PKG_VERSION")).to_owned(),
        developer: env!("CARGO_PKG_REPOSITORY").to_owned(),
    }
}

/// Last second of a certificate that begins at `not_before`.
pub(crate) fn until(
    steward: &Steward,
    verified: &Verified<Subject>,
    not_before: u64,
    now: u64,
) -> Result<u64, Refusal> {
    let (policy, authority) = (steward.policy(), steward.authority());
    if authority.not_after() <= now {
        return Err(IssueFault::Expired { not_after: authority.not_after(), now }.into());
    }
    let collateral_end = verified.claims().facts.collateral_end;
    let not_after = not_before.saturating_add(policy.lifetime()).min(collateral_end).min(authority.not_after());
    if not_after <= now {
        return Err(Refusal::Validity { end: not_after, now });
    }
    Ok(not_after)
}

/// Writes the EAR, and what is to be signed. Asks for the proof of verification and for nothing weaker.
fn decide(steward: &Steward, asker: &Asker<'_>, verified: &Verified<Subject>, now: u64) -> Result<Decided, Refusal> {
    let Asker { asked, spki, nonce, fresh, brief, brief_hash, published, named: Named { id, owner, dns } } = asker;
    let location = match asked {
        Asked::Keep => None,
        Asked::Workload => Some(location(brief)?),
    };
    let (policy, authority) = (steward.policy(), steward.authority());
    let Found { tee, product, measurement, signer, registers, tcb, tcb_status, advisories, platform } =
        Found::of(verified, Some(brief), policy)?;
    // Rule 10: both dates count from the nonce, so a request sent twice ends at the same second.
    let not_before = fresh.issued();
    let not_after = until(steward, verified, not_before, now)?;

    let key = Digest::of(spki);
    let ear = Ear {
        issued_at: not_before,
        nonce: (*nonce).clone(),
        verifier: verifier(),
        key,
        id: id.clone(),
        owner: *owner,
        class: policy.class(),
        tee,
        product,
        measurement,
        signer,
        registers,
        brief: *brief_hash,
        workload: brief.workload,
        publisher: published.clone(),
        workload_binding: WorkloadBinding::Hardware,
        tcb,
        tcb_status,
        advisories,
        policy: policy.digest(),
        platform,
    };
    let ear = ear.sign(authority.key()).map_err(IssueFault::from)?;

    let serial = serial(spki, not_after, location.as_deref(), dns, ear.jwt());
    let leaf = Leaf {
        serial: hex::encode(serial),
        key,
        id: location.clone().unwrap_or_else(|| id.to_string()),
        not_before,
        not_after,
        brief: Some(*brief_hash),
        ear: Digest::of(ear.jwt().as_bytes()),
    };
    let spki = spki.to_vec();
    let form = match location {
        None => {
            let dns = dns.clone();
            Form::Keep(Box::new(Template { spki, dns, not_before, not_after, serial, ear }))
        }
        Some(url) => {
            let ear_jwt = ear.jwt().to_owned();
            Form::Plain(Plain { spki, url, client: true, not_before, not_after, serial, ear_jwt })
        }
    };
    Ok(Decided::new(leaf, id.clone(), form))
}

/// From where the workload is pulled, by its digest (OCI Distribution Specification 1.1, pulling manifests).
fn location(brief: &Brief) -> Result<String, Refusal> {
    match &brief.source {
        Source::Drawbridge { authority, repository, .. } => {
            Ok(format!("https://{authority}/v2/{repository}/manifests/{}", brief.workload))
        }
        Source::Host => Err(Refusal::NoLocation),
    }
}

/// As a certificate says it.
fn tee_of(tee: evidence::ear::Tee) -> Result<Tee, IssueFault> {
    match tee {
        evidence::ear::Tee::Snp => Ok(Tee::Snp),
        evidence::ear::Tee::Sgx => Ok(Tee::Sgx),
        evidence::ear::Tee::Tdx => Ok(Tee::Tdx),
        // No media type leads there.
        _ => Err(IssueFault::Unknown),
    }
}

/// As a certificate says it.
fn status_of(rating: Rating) -> Result<TcbStatus, IssueFault> {
    use dcap::TcbStatus as Intel;
    Ok(match rating {
        Rating::MeetsPolicy => TcbStatus::MeetsPolicy,
        Rating::NotRated => TcbStatus::NotRated,
        Rating::Intel(Intel::UpToDate) => TcbStatus::UpToDate,
        Rating::Intel(Intel::SWHardeningNeeded) => TcbStatus::SWHardeningNeeded,
        Rating::Intel(Intel::ConfigurationNeeded) => TcbStatus::ConfigurationNeeded,
        Rating::Intel(Intel::ConfigurationAndSWHardeningNeeded) => TcbStatus::ConfigurationAndSWHardeningNeeded,
        Rating::Intel(Intel::OutOfDate) => TcbStatus::OutOfDate,
        Rating::Intel(Intel::OutOfDateConfigurationNeeded) => TcbStatus::OutOfDateConfigurationNeeded,
        Rating::Intel(Intel::TDRelaunchAdvised) => TcbStatus::TDRelaunchAdvised,
        Rating::Intel(Intel::TDRelaunchAdvisedConfigurationNeeded) => TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
        // No policy accepts it.
        Rating::Intel(Intel::Revoked) => return Err(IssueFault::Unknown),
    })
}

/// A serial number of 126 bits (RFC 5280 section 4.1.2.2: positive, at most 20 bytes, never twice). It is the
/// hash of what makes this certificate another one than the next – the EAR's signature above all – so no
/// counter and no table is needed. A key that signs the same text in the same way makes the same certificate again.
pub(crate) fn serial(spki: &[u8], not_after: u64, url: Option<&str>, dns: &[DnsName], ear_jwt: &str) -> [u8; 16] {
    let not_after = not_after.to_be_bytes();
    let mut fields = vec![spki, &not_after, ear_jwt.as_bytes(), url.unwrap_or_default().as_bytes()];
    fields.extend(dns.iter().map(|name| name.as_str().as_bytes()));
    let hash = hash(b"donjon-serial", &fields);
    let mut serial = [0; 16];
    serial.copy_from_slice(&hash[..16]);
    // Positive, and its first byte not zero: always 16 bytes in DER.
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// SHA-256 over length-prefixed fields.
fn hash(label: &[u8], fields: &[&[u8]]) -> [u8; 32] {
    let mut context = Sha256::new();
    for field in std::iter::once(&label).chain(fields) {
        context.update((field.len() as u64).to_be_bytes());
        context.update(field);
    }
    context.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_positive_has_sixteen_bytes_and_follows_every_field() {
        let names = |names: &[&str]| -> Vec<DnsName> { names.iter().map(|name| name.parse().unwrap()).collect() };
        let shop = names(&["shop.example.org"]);
        let base = serial(b"key", 1, None, &shop, "jwt");
        assert_eq!(base, serial(b"key", 1, None, &shop, "jwt"));
        for other in [
            serial(b"kez", 1, None, &shop, "jwt"),
            serial(b"key", 2, None, &shop, "jwt"),
            serial(b"key", 1, Some("https://example.org"), &shop, "jwt"),
            serial(b"key", 1, None, &shop, "jwu"),
            serial(b"key", 1, None, &names(&[]), "jwt"),
            serial(b"key", 1, None, &names(&["shop.example.com"]), "jwt"),
            serial(b"key", 1, None, &names(&["shop.example.org", "www.example.org"]), "jwt"),
        ] {
            assert_ne!(base, other);
        }
        for n in 0..64 {
            let first = serial(b"key", n, None, &shop, "jwt")[0];
            assert!((0x40..0x80).contains(&first));
        }
    }
}
