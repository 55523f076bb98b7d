//! The example of a relying party, `examples/relying_party.rs`, in handshakes of TLS 1.3 with Keeps that a Steward certified.

#[path = "../examples/relying_party.rs"]
#[allow(dead_code, reason = "a program, of which a part is used")]
mod relying_party;
mod support;

use std::{sync::Arc, time::Duration};

use identity::{
    Algorithm, Demands,
    deny::{Deny, PublishedError},
    ear::{Class, Measurement, TcbStatus},
    relying::{Allowed, Version},
};
use relying_party::Keeps;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    time_provider::TimeProvider,
};
use steward::{
    Steward,
    nonce::NonceKey,
    policy::Policy,
    published,
    signer::{Authority, Key, Signatures},
};
use support::{DAY, MEASUREMENT, NOW, POLICY, World};
use workload::Digest;

/// A Steward, and a Keep that it certified at `NOW`.
struct Certified {
    world: World,
    ca: steward::signer::authority::Generated,
    chain: Vec<Vec<u8>>,
    key: String,
}

impl Certified {
    fn new() -> Self {
        let ca = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], NOW - 60).unwrap();
        let world = World::new();
        let steward = of(&world, &ca, POLICY);
        let world = World { steward, ..world };
        // A pair whose private half can be written down.
        let key = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], NOW).unwrap().key.to_string();
        let mut keep = world.keep();
        keep.key = Key::from_pem(key.as_bytes()).unwrap();
        let chain = keep.ask().unwrap().chain;
        Self { world, ca, chain, key }
    }

    /// What holds for it.
    fn demands(&self) -> Demands {
        let (anchor, policy) = (self.world.steward.authority().anchor(), self.world.steward.policy().digest());
        let mut demands = Demands::new("example.org".parse().unwrap(), [anchor].into(), [policy].into());
        // It is simulated, and nobody rates simulated firmware.
        demands.class = Class::Insecure;
        demands.tcb = [TcbStatus::NotRated].into();
        demands
    }

    fn shown(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.chain.iter().cloned().map(CertificateDer::from).collect();
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }

    /// A server that is this Keep.
    fn server(&self) -> ServerConfig {
        let (chain, key) = self.shown();
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    /// What a client with these demands makes of this Keep.
    fn client(&self, demands: &Demands, name: &'static str, now: u64) -> Result<(), Error> {
        shake(Keeps::new(demands.clone()).client().unwrap(), self.server(), name, now)
    }
}

/// A Steward of that authority, with another policy.
fn of(world: &World, ca: &steward::signer::authority::Generated, policy: &str) -> Steward {
    let policy = policy.replace("{owner}", &world.owner_digest().to_string());
    let policy = Policy::parse("policy.toml", &policy, world.folder.path()).unwrap();
    let authority = Authority::from_pem(Class::Insecure, ca.key.as_bytes(), ca.certificates.as_bytes(), NOW).unwrap();
    Steward::new(policy, authority, &NonceKey::from_hex(&[b'7'; 64]).unwrap()).unwrap()
}

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// A handshake; the first error of either side.
fn shake(mut client: ClientConfig, mut server: ServerConfig, name: &'static str, now: u64) -> Result<(), Error> {
    (client.time_provider, server.time_provider) = (Arc::new(At(now)), Arc::new(At(now)));
    let mut client = ClientConnection::new(Arc::new(client), name.try_into().unwrap())?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    loop {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there).unwrap();
        }
        let mut bytes = &there[..];
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        let mut bytes = &back[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
        if there.is_empty() && back.is_empty() {
            assert!(!client.is_handshaking() && !server.is_handshaking());
            return Ok(());
        }
    }
}

/// The reasons, as the log has them.
#[track_caller]
fn why(ended: Result<(), Error>) -> String {
    match ended {
        Err(Error::InvalidCertificate(CertificateError::Other(error))) => error.0.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_talks_to_the_keep_it_demands_and_to_no_other() {
    let keep = Certified::new();
    let name = "shop.example.org";
    assert_eq!(keep.client(&keep.demands(), name, NOW), Ok(()), "control");
    let mut all = keep.demands();
    all.measurements = [Measurement::new(MEASUREMENT).unwrap()].into();
    all.owners = [keep.world.owner_digest()].into();
    (all.deployments, all.roles) = (["shop".parse().unwrap()].into(), ["web".parse().unwrap()].into());
    all.workloads = [Digest::of(b"workload")].into();
    all.minimum_steward = Some(Version([0, 1, 0]));
    all.maximum_age = Some(900);
    assert_eq!(keep.client(&all, name, NOW), Ok(()), "all that holds");

    let refused = |change: &dyn Fn(&mut Demands), now: u64| {
        let mut demands = all.clone();
        change(&mut demands);
        why(keep.client(&demands, name, now))
    };
    let other = Digest::of(b"another");
    for (change, id) in [
        (
            &(|demands: &mut Demands| demands.measurements = [Measurement::new([1; 48]).unwrap()].into())
                as &dyn Fn(&mut Demands),
            "keep.measurement",
        ),
        (&|demands| demands.policies = [other].into(), "keep.steward_policy"),
        (&|demands| demands.trust_domain = "example.com".parse().unwrap(), "keep.trust_domain"),
        (&|demands| demands.roles = ["db".parse().unwrap()].into(), "keep.role"),
        (&|demands| demands.workloads = [other].into(), "keep.workload"),
    ] {
        let said = refused(change, NOW);
        assert!(said.starts_with(&format!("{id}: expected ")) && !said.contains(';'), "{said}");
    }
    // Whoever says nothing of class and firmware means real ones.
    let said = refused(&|demands| demands.class = Class::Hardware, NOW);
    assert_eq!(said, "keep.class: expected hardware, found insecure");
    let real = Demands::new(all.trust_domain.clone(), all.anchors.clone(), Allowed::Any);
    let said = why(keep.client(&real, name, NOW));
    assert_eq!(
        said,
        "keep.class: expected hardware, found insecure; keep.tier: expected one of UpToDate, MeetsPolicy, found NotRated"
    );
    // Time.
    assert_eq!(keep.client(&keep.demands(), name, NOW + DAY), Ok(()), "its last second");
    for (now, id) in [(NOW + DAY + 1, "keep.validity"), (NOW - 1, "keep.validity"), (NOW + 901, "keep.age")] {
        let said = refused(&|_| {}, now);
        assert!(said.starts_with(&format!("{id}: expected ")) && !said.contains(';'), "{said}");
    }
    // Another Steward, and somebody who is no Keep at all.
    let foreign = Certified::new();
    assert!(why(foreign.client(&keep.demands(), name, NOW)).contains("not an anchor"));
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&pair).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(pair.serialize_der()).unwrap());
    let client = Keeps::new(keep.demands()).client().unwrap();
    assert!(why(shake(client, server.unwrap(), name, NOW)).contains("a chain has 2 to 4 certificates"));
    // The right Keep under another name.
    let ended = keep.client(&keep.demands(), "bank.example.org", NOW);
    assert_eq!(ended, Err(CertificateError::NotValidForName.into()));
}

#[test]
fn a_server_lets_in_the_keep_it_demands_and_no_other() {
    let keep = Certified::new();
    let mut demands = keep.demands();
    demands.roles = ["web".parse().unwrap()].into();
    let client = |shows: Option<&Certified>| {
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Keeps::new(keep.demands()));
        match shows.map(Certified::shown) {
            Some((chain, key)) => client.with_client_auth_cert(chain, key).unwrap(),
            None => client.with_no_client_auth(),
        }
    };
    let server = |demands: &Demands| {
        let (chain, key) = keep.shown();
        Keeps::new(demands.clone()).server(chain, key).unwrap()
    };
    let name = "shop.example.org";
    assert_eq!(shake(client(Some(&keep)), server(&demands), name, NOW), Ok(()), "control");
    assert_eq!(shake(client(None), server(&demands), name, NOW), Err(Error::NoCertificatesPresented));
    assert!(why(shake(client(Some(&Certified::new())), server(&demands), name, NOW)).contains("not an anchor"));
    demands.roles = ["db".parse().unwrap()].into();
    assert_eq!(why(shake(client(Some(&keep)), server(&demands), name, NOW)), "keep.role: expected db, found web");
}

/// What a Steward denies, it publishes; certificates it issued before are believed no more. Chip ids are nowhere in it.
#[test]
fn what_a_steward_publishes_as_denied_is_refused() {
    let keep = Certified::new();
    let chip = hex::encode(keep.world.amd.chip_id());
    let serial = hex::encode(identity::KeepCertificate::read(&keep.chain[0]).unwrap().serial);
    let owner = keep.world.owner_digest().to_string();
    let workload = Digest::of(b"workload").to_string();
    let denying = |list: &str, entry: &str| {
        let steward = of(&keep.world, &keep.ca, &format!("{POLICY}\n[deny]\n{list} = [\"{entry}\"]\n"));
        published::policy(steward.policy(), steward.authority()).unwrap()
    };
    let read = |text: &str, demands: &Demands| {
        let anchors: Vec<_> = demands.anchors.iter().copied().collect();
        Deny::published(text, &keep.chain[1..], &anchors, &demands.trust_domain, NOW, &Signatures)
    };
    for (list, entry, other, id) in [
        ("serials", &serial, "4b".repeat(16), "deny.serial"),
        ("platforms", &chip, "ab".repeat(64), "deny.platform"),
        ("owners", &owner, workload.clone(), "deny.owner"),
        ("workloads", &workload, owner.clone(), "deny.workload"),
        ("measurements", &hex::encode(MEASUREMENT), "ab".repeat(48), "deny.measurement"),
    ] {
        let mut demands = keep.demands();
        demands.deny = read(&denying(list, &other), &demands).unwrap();
        assert_eq!(keep.client(&demands, "shop.example.org", NOW), Ok(()), "{list}: control");
        demands.deny = read(&denying(list, entry), &demands).unwrap();
        let said = why(keep.client(&demands, "shop.example.org", NOW));
        assert!(said.starts_with(&format!("{id}: expected none that is denied, found ")), "{said}");
        assert!(!said.contains(&chip) && !said.contains(';'), "{said}");
    }
    // Of another Steward, and of one who only says so.
    let foreign = Certified::new();
    let text = published::policy(foreign.world.steward.policy(), foreign.world.steward.authority()).unwrap();
    assert!(matches!(read(&text, &keep.demands()), Err(PublishedError::Jws(_))));
    assert!(matches!(read(&text, &foreign.demands()), Err(PublishedError::Authority(_))));
}
