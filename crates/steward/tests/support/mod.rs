//! A Steward, a simulated AMD chip, an owner and a Keep, so that a test only says what it changes.
//!
//! The evidence is real in every byte but its root; nothing in the Steward knows that it is a test.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part")]

pub(crate) mod quoting;

use std::{collections::BTreeSet, fs};

use identity::{
    Algorithm, Nonce, Signer as _,
    binding::{self, Purpose},
    csr::{self, Carrier, Collateral, CollateralKind, Evidence, SNP_MEDIA_TYPE, Statement},
    deployment::{Deployment, Role},
};
use silicon::{Amd, Product, ReportRequest, intel};
use steward::{
    Steward,
    judge::Issued,
    nonce::NonceKey,
    policy::Policy,
    refusal::Refusal,
    signer::{Authority, Key},
};
use tempfile::TempDir;
use workload::{
    Brief, Digest,
    brief::{self, Source, StewardRef},
};

/// The present of these tests: 2026-05-28T20:26:40Z, within the dates of all simulated certificates.
pub(crate) const NOW: u64 = 1_780_000_000;
/// When the collateral ends.
pub(crate) const CRL_END: u64 = NOW + 30 * 24 * 3600;
pub(crate) const DAY: u64 = 24 * 3600;
pub(crate) const MEASUREMENT: [u8; 48] = [0xaa; 48];

/// Everything outside the Keep.
pub(crate) struct World {
    pub(crate) amd: Amd,
    pub(crate) steward: Steward,
    pub(crate) owner: Key,
    pub(crate) folder: TempDir,
    /// From where the workload comes.
    pub(crate) source: Source,
}

/// The policy most tests use. `{owner}` stands for the owner's digest.
pub(crate) const POLICY: &str = r#"
trust_domain = "example.org"
class = "insecure"
any_platform = true
insecure_roots = ["ark.pem"]

[snp]
hash = ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]

[[name]]
owner = "{owner}"
deployment = "shop"
dns = "shop.example.org"

[[name]]
owner = "{owner}"
deployment = "shop"
dns = "www.example.org"
"#;

impl World {
    pub(crate) fn new() -> Self {
        Self::with(POLICY)
    }

    /// A world with another policy.
    pub(crate) fn with(policy: &str) -> Self {
        Self::build(policy, NOW)
    }

    pub(crate) fn build(policy: &str, now: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ark.pem"), Product::Genoa.ark_pem()).unwrap();
        let intel = intel::pki::pem(&intel::Certificate::root().der());
        fs::write(folder.path().join("intel.pem"), intel).unwrap();
        let owner = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
        let digest = Digest::of(owner.spki()).to_string();
        let policy = Policy::parse("policy.toml", &policy.replace("{owner}", &digest), folder.path()).unwrap();
        let authority = Authority::random(policy.class(), now - 60).unwrap();
        let nonce_key = NonceKey::from_hex(&[b'7'; 64]).unwrap();
        Self {
            amd: Amd::from_seed([7; 32], Product::Genoa),
            steward: Steward::new(policy, authority, &nonce_key).unwrap(),
            owner,
            folder,
            source: Source::Host,
        }
    }

    /// The digest of the owner's key.
    pub(crate) fn owner_digest(&self) -> Digest {
        Digest::of(self.owner.spki())
    }

    pub(crate) fn brief(&self) -> Brief {
        Brief {
            trust_domain: "example.org".parse().unwrap(),
            steward: Some(StewardRef {
                url: "http://127.0.0.1:3000".to_owned(),
                anchors: vec![self.steward.authority().anchor()],
                tls: Vec::new(),
            }),
            source: self.source.clone(),
            owner: Some(self.owner_digest()),
            deployment: "shop".parse().unwrap(),
            role: "web".parse().unwrap(),
            workload: Digest::of(b"workload"),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    pub(crate) fn deployment(&self) -> Deployment {
        Deployment {
            id: "shop".parse().unwrap(),
            version: 1,
            previous: None,
            owner: self.owner.spki().to_vec(),
            trust_domain: "example.org".parse().unwrap(),
            roles: [(
                "web".parse().unwrap(),
                Role {
                    workloads: BTreeSet::from([Digest::of(b"workload").into()]),
                    names: ["shop.example.org", "www.example.org"].map(|name| name.parse().unwrap()).into(),
                    peers: BTreeSet::new(),
                },
            )]
            .into(),
        }
    }

    /// A Keep that does everything right, with a nonce issued at `NOW`.
    pub(crate) fn keep(&self) -> Keep<'_> {
        self.keep_at(NOW)
    }

    pub(crate) fn keep_at(&self, now: u64) -> Keep<'_> {
        Keep {
            world: self,
            key: Key::random(Algorithm::EcdsaP256Sha256).unwrap(),
            nonce: self.steward.nonce(now).unwrap().nonce,
            brief: self.brief(),
            launched: None,
            bound_key: None,
            bound_nonce: None,
            purpose: Purpose::Issue,
            report: ReportRequest { measurement: MEASUREMENT, ..self.amd.request() },
            deployment: Some(self.deployment().seal(&self.owner).unwrap()),
            signature: None,
            crl: Some(self.amd.crl_der(NOW - DAY, CRL_END, &[])),
            endorsements: vec![self.amd.vcek_der(self.amd.tcb()), self.amd.ask_der().to_vec()],
            media_type: SNP_MEDIA_TYPE.to_owned(),
            carrier: Carrier::Attribute,
        }
    }
}

/// A Keep about to ask for a certificate. Every field is something an attacker might change.
pub(crate) struct Keep<'w> {
    pub(crate) world: &'w World,
    pub(crate) key: Key,
    pub(crate) nonce: Nonce,
    pub(crate) brief: Brief,
    /// HOST_DATA, if it is not the hash of the brief.
    pub(crate) launched: Option<[u8; 32]>,
    /// The key in the binding, if it is not the Keep's.
    pub(crate) bound_key: Option<Vec<u8>>,
    /// The nonce in the binding, if it is not the one in the request.
    pub(crate) bound_nonce: Option<Nonce>,
    pub(crate) purpose: Purpose,
    pub(crate) report: ReportRequest,
    pub(crate) deployment: Option<Vec<u8>>,
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) crl: Option<Vec<u8>>,
    pub(crate) endorsements: Vec<Vec<u8>>,
    pub(crate) media_type: String,
    pub(crate) carrier: Carrier,
}

impl Keep<'_> {
    pub(crate) fn csr(&self) -> Vec<u8> {
        let brief_bytes = self.brief.encode();
        let brief_hash = brief::hash(&brief_bytes);
        let spki = self.bound_key.as_deref().unwrap_or(self.key.spki());
        let nonce = self.bound_nonce.as_ref().unwrap_or(&self.nonce);
        let mut report = self.world.amd.report(&ReportRequest {
            report_data: binding::report_data(self.purpose, spki, &brief_hash, nonce),
            host_data: self.launched.unwrap_or(brief_hash),
            ..self.report.clone()
        });
        // SIGNING_KEY: VLEK.
        if self.report.flags >> 2 & 7 == 1 {
            self.world.amd.sign_report_with_vlek(&mut report, self.report.reported_tcb);
        }
        let statement = Statement {
            evidence: Evidence { media_type: self.media_type.clone(), bytes: report.to_vec() },
            brief: brief_bytes,
            nonce: self.nonce.clone(),
            deployment: self.deployment.clone(),
            signature: self.signature.clone(),
            collateral: self.crl.iter().cloned().map(crl).collect(),
            endorsements: self.endorsements.clone(),
        };
        csr::build(&statement, self.carrier, &self.key).unwrap()
    }

    pub(crate) fn ask(&self) -> Result<Issued, Refusal> {
        self.ask_at(NOW)
    }

    pub(crate) fn ask_at(&self, now: u64) -> Result<Issued, Refusal> {
        self.world.steward.judge(&self.csr(), now)
    }

    /// Asks, and gives the id of the first failed check.
    pub(crate) fn refused(&self) -> String {
        cause(&self.ask().unwrap_err())
    }
}

/// As it travels.
pub(crate) fn crl(bytes: Vec<u8>) -> Collateral {
    Collateral { kind: CollateralKind::Crl, bytes }
}

/// The id of the first failed check.
pub(crate) fn cause(refusal: &Refusal) -> String {
    refusal.problem().checks[0].id.clone()
}

/// Asserts that a Keep gets its certificate, and that the same Keep with one change is refused by exactly this
/// check.
#[track_caller]
pub(crate) fn refused_only_with(world: &World, id: &str, change: impl FnOnce(&mut Keep<'_>)) {
    let mut keep = world.keep();
    if let Err(refusal) = keep.ask() {
        panic!("control: {refusal}");
    }
    change(&mut keep);
    assert_eq!(keep.refused(), id);
}

/// Whether there is an `openssl`; says so when there is none, which `DONJON_REQUIRE=openssl` makes a failure.
#[allow(clippy::print_stderr, reason = "a skip must be seen")]
pub(crate) fn openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok_and(|out| out.status.success());
    if !found {
        let required = std::env::var("DONJON_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item == "openssl"));
        assert!(!required, "DONJON_REQUIRE names openssl, and there is none");
        eprintln!("skipped: no openssl on this machine");
    }
    found
}
