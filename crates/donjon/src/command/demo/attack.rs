//! `donjon demo --attack`: what a hostile host, network or neighbour tries, and which check refuses it.
//!
//! Each attack is one change to a world in which the same deploy succeeds; both are played. An attack that is not refused,
//! or refused by another check than the one that is there for it, fails the command.

use std::collections::BTreeSet;
use std::process::ExitCode;

use drawbridge::client::{Client, ClientError, Trust};
use identity::binding::{Purpose, report_data};
use identity::chain::VerifiedKeep;
use identity::csr::{Collateral, CollateralKind, Evidence, SNP_MEDIA_TYPE};
use identity::deployment::{Deployment, Role};
use identity::enrol::{Attested, Enrol};
use identity::keys::Signer;
use identity::pem::PEM_MEDIA_TYPE;
use identity::release::ReleasePolicy;
use identity::signed::OwnerSigned;
use silicon::ReportRequest;
use steward::Steward;
use steward::nonce::NonceKey;
use steward::policy::Policy;
use steward::signer::{Authority, Key, Signatures};
use workload::Digest;
use workload::brief::{Brief, Source, StewardRef};
use workload::reference::Reference;
use zeroize::Zeroizing;

use super::play;
use super::world::{Twist, World};
use crate::command::deploy::Platform;
use crate::command::say;
use crate::deploy::Stopped;
use crate::failure::Failure;
use crate::owner::generate;

/// An attack on a whole deploy.
struct Attack {
    /// What the attacker does.
    what: &'static str,
    twist: Twist,
    /// At which step it ends.
    step: u8,
    /// The check that is there for it.
    check: &'static str,
}

const ATTACKS: [Attack; 6] = [
    Attack {
        what: "somebody changes the workload in the Drawbridge's store",
        twist: Twist::ChangedProgram,
        step: 12,
        check: "workload.digest",
    },
    Attack {
        what: "the host gives the Keep a brief that names another Steward",
        twist: Twist::OtherSteward,
        step: 8,
        check: "brief.anchors",
    },
    Attack {
        what: "the host launches with one brief and shows the Keep another",
        twist: Twist::OtherBrief,
        step: 8,
        check: "snp.host_data",
    },
    Attack {
        what: "the host launches the Keep with debugging allowed",
        twist: Twist::DebugKeep,
        step: 8,
        check: "snp.policy.debug",
    },
    Attack {
        what: "the host offers evidence that was made for another key",
        twist: Twist::OtherKey,
        step: 8,
        check: "snp.report_data",
    },
    Attack {
        what: "somebody else signs a Deployment to get the service's name",
        twist: Twist::StrangerOwner,
        step: 8,
        check: "deployment.registered",
    },
];

/// Plays every attack beside its control.
pub(crate) async fn show(platform: Platform) -> Result<ExitCode, Failure> {
    say("Donjon demo --attack: each attack changes one thing in a deploy that otherwise succeeds.\n");
    for attack in &ATTACKS {
        // A shim compares the two by itself, before there is anybody to ask for evidence.
        let (step, check) = match (platform, attack.twist) {
            (Platform::SimSnp, Twist::OtherBrief) => (4, "the brief is not the one it was launched with"),
            _ => (attack.step, attack.check),
        };
        deploys(Twist::Straight, platform).await?.map_err(|stopped| unexpected("the control", &stopped))?;
        let Err(stopped) = deploys(attack.twist, platform).await? else {
            return Err(Failure::new(format_args!("not refused: {}", attack.what)));
        };
        let reason = stopped.failure.message();
        if stopped.step != step || !reason.contains(check) {
            return Err(unexpected(attack.what, &stopped).hint(format_args!("expected {check} at step {step}")));
        }
        refused(attack.what, check, step, reason);
    }
    replay().await?;
    neighbour().await?;
    say(&format!("{} attacks refused, each beside a control that succeeded.", ATTACKS.len() + 2));
    Ok(ExitCode::SUCCESS)
}

/// Whether a deploy in a world with this twist reaches step 13.
async fn deploys(twist: Twist, platform: Platform) -> Result<Result<(), Stopped>, Failure> {
    let mut world = World::build(twist, platform).await?;
    let played = play(&mut world, &mut |_, _| {}).await;
    let result = match played {
        Ok(played) => {
            played.end().await?;
            Ok(())
        }
        Err(stopped) => Err(stopped),
    };
    world.end().await?;
    Ok(result)
}

/// A recorded request is sent again, and again later, to get a certificate that lives longer. The clock is an argument of
/// the judge, so this needs no waiting.
async fn replay() -> Result<(), Failure> {
    let what = "a recorded certificate request is sent again to gain time";
    let world = World::build(Twist::Straight, Platform::Sim).await?;
    let policy =
        Policy::read(&world.dir().join("steward.toml")).map_err(|error| Failure::hinted(&error, error.hint()))?;
    let now = now();
    let failed = |error: &dyn std::error::Error| Failure::caused(what, error);
    let authority = Authority::random(policy.class(), now).map_err(|error| failed(&error))?;
    let nonce_key = NonceKey::random().map_err(|error| failed(&error))?;
    let steward = Steward::new(policy, authority, &nonce_key).map_err(|error| failed(&error))?;

    let keep = Impostor::new(&world, steward.authority().anchor(), world.workload, None)?;
    let challenge = steward.nonce(now).map_err(|error| failed(&error))?;
    let (request, _) = keep.request(&world, &challenge.nonce)?;
    let first = steward.judge(&request, now).map_err(|error| failed(&error))?;
    let again = steward.judge(&request, now + 240).map_err(|error| failed(&error))?;
    if (again.not_after, again.key) != (first.not_after, first.key) {
        return Err(Failure::new(format_args!("not refused: {what}")));
    }
    match steward.judge(&request, now + 301) {
        Err(refusal) if refusal.checks().iter().any(|check| check.id == "nonce.age") => {
            let reason =
                format!("the first replay ends at the same second as the original; after five minutes: {refusal}");
            refused(what, "nonce.age", 8, &reason);
        }
        Err(refusal) => return Err(failed(&refusal).hint("expected nonce.age")),
        Ok(_) => return Err(Failure::new(format_args!("not refused: {what}"))),
    }
    world.end().await
}

/// A Keep of the same owner, genuine, but launched for another workload, asks for this one. The control asks with the
/// certificate of the right workload.
async fn neighbour() -> Result<(), Failure> {
    let what = "a Keep that was launched for another workload asks the Drawbridge for this one";
    let world = World::build(Twist::Straight, Platform::Sim).await?;
    let other = Digest::of(b"another workload of the same owner");
    let deployment = widened(&world, other)?;
    let policy = OwnerSigned::<ReleasePolicy>::open(&world.sealed.release, &Signatures)
        .map_err(|error| Failure::caused(what, &error))?;
    for workload in [world.workload, other] {
        let (fetched, keep) = fetch(&world, workload, deployment.clone()).await?;
        let decision = policy.decide(&keep, &world.workload, now());
        match (workload == other, fetched, decision) {
            (false, Ok(_), Ok(_)) => {}
            (true, Err(error @ ClientError::Absent { .. }), Err(refusals))
                if refusals.iter().map(|refusal| refusal.id).eq(["release.workload"]) =>
            {
                let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
                refused(what, "release.workload", 10, &format!("{}; to the Keep: {error}", reasons.join("; ")));
            }
            (_, fetched, decision) => {
                return Err(Failure::new(format_args!("{what}: {:?}, {decision:?}", fetched.map(|_| "fetched"))));
            }
        }
    }
    world.end().await
}

/// The world's Deployment, with `other` as a second role.
fn widened(world: &World, other: Digest) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::caused("Deployment", error);
    let mut deployment = OwnerSigned::<Deployment>::open(&world.sealed.deployment, &Signatures)
        .map_err(|error| failed(&error))?
        .into_inner();
    let role = Role { workloads: BTreeSet::from([other.into()]), names: BTreeSet::new(), peers: BTreeSet::new() };
    deployment.roles.insert("other".parse().map_err(|error| failed(&error))?, role);
    world.owner.seal(&deployment)
}

/// Gets a certificate for `workload` from the world's Steward, and asks the Drawbridge for the world's workload with it.
async fn fetch(
    world: &World,
    workload: Digest,
    deployment: Vec<u8>,
) -> Result<(Result<Digest, ClientError>, VerifiedKeep), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::caused("certificate", error);
    let keep = Impostor::new(world, world.anchor, workload, Some(deployment))?;
    let authority = world.steward_url.trim_start_matches("http://").to_owned();
    let answer = super::outsider::plain_get(&authority, "/nonce").await;
    let challenge = keep.enrol.nonce_response(200, answer.as_bytes()).map_err(|error| failed(&error))?;
    let (request, awaiting) = keep.request(world, &challenge.nonce)?;
    let (status, answer) =
        super::outsider::plain_post(&authority, "/", request).await.map_err(|error| failed(&error))?;
    let identity = awaiting
        .certificate_response(status, PEM_MEDIA_TYPE, &answer, now(), &Signatures)
        .map_err(|error| failed(&error))?;
    let drawbridge = world.registry().parse().map_err(|error| failed(&error))?;
    let client = Client::with_certificate(drawbridge, Trust::of(&[world.drawbridge_pin]), identity.chain, &keep.pkcs8)
        .map_err(|error| failed(&error))?;
    let fetched = client.manifest(&world.repository, &Reference::Digest(world.workload)).await;
    Ok((fetched.map(|(digest, _)| digest), identity.certificate))
}

/// What a Keep does, done by hand: only on simulated silicon, whose keys are public, can anybody do that.
struct Impostor {
    key: Key,
    /// The same key, for TLS.
    pkcs8: Zeroizing<Vec<u8>>,
    brief: Vec<u8>,
    enrol: Enrol,
}

impl Impostor {
    fn new(world: &World, anchor: Digest, workload: Digest, deployment: Option<Vec<u8>>) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::caused("brief", error);
        let named = world.request()?;
        let role = if workload == world.workload { "web" } else { "other" };
        let brief = Brief {
            trust_domain: "demo.internal".parse().map_err(|error| failed(&error))?,
            steward: Some(StewardRef { url: world.steward_url.clone(), anchors: vec![anchor], tls: Vec::new() }),
            source: Source::Drawbridge {
                authority: named.location.authority.to_string(),
                repository: named.location.repository.to_string(),
                tls: named.drawbridge_pins,
            },
            owner: Some(world.owner.digest()),
            deployment: "greeter".parse().map_err(|error| failed(&error))?,
            role: role.parse().map_err(|error| failed(&error))?,
            workload,
            args: Vec::new(),
            env: Vec::new(),
        };
        let brief = brief.try_encode().map_err(|error| failed(&error))?;
        let enrol = Enrol::new(&brief, deployment, None).map_err(|error| failed(&error))?;
        let pkcs8 = generate().map_err(|error| failed(&error))?;
        let key = Key::from_pkcs8(&pkcs8).map_err(|error| failed(&error))?;
        Ok(Self { key, pkcs8, brief, enrol })
    }

    fn request(
        &self,
        world: &World,
        nonce: &identity::names::Nonce,
    ) -> Result<(Vec<u8>, identity::enrol::Awaiting), Failure> {
        let silicon = &world.silicon;
        let host_data = workload::brief::hash(&self.brief);
        let report = silicon.report(&ReportRequest {
            report_data: report_data(Purpose::Issue, self.key.spki(), &host_data, nonce),
            host_data,
            measurement: Platform::Sim.measurement()?,
            ..silicon.request()
        });
        let today = now() - now() % 86_400;
        let attested = Attested {
            evidence: Evidence { media_type: SNP_MEDIA_TYPE.to_owned(), bytes: report.to_vec() },
            endorsements: vec![silicon.vcek_der(silicon.tcb()), silicon.ask_der().to_vec()],
            collateral: vec![Collateral {
                kind: CollateralKind::Crl,
                bytes: silicon.crl_der(today, today + 7 * 86_400, &[]),
            }],
        };
        let (request, awaiting) = self
            .enrol
            .certificate_request(nonce, attested, &self.key)
            .map_err(|error| Failure::caused("request", &error))?;
        Ok((request.body, awaiting))
    }
}

fn refused(what: &str, check: &str, step: u8, reason: &str) {
    say(&format!("  \u{2713} refused  {what}\n      check {check}, step {step}; the same deploy without it succeeds"));
    for line in reason.lines().filter(|line| !line.trim().is_empty()) {
        say(&format!("      | {}", line.trim()));
    }
    say("");
}

fn unexpected(what: &str, stopped: &Stopped) -> Failure {
    Failure::new(format_args!("{what}: stopped at step {}: {}", stopped.step, stopped.failure.message()))
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
