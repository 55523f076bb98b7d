//! Software keys and specimen documents for this crate's own tests. Not compiled otherwise.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use workload::brief::{Source, StewardRef};
use workload::{Brief, Digest};

use crate::certificate::{self, Template};
use crate::deployment::{Deployment, Role};
use crate::ear::{Class, Ear, Measurement, TcbStatus, Tee, VerifierId, WorkloadBinding};
use crate::issuer::{self, Issuer, RootTemplate};
use crate::keys::{Algorithm, SignError, Signer, Verifier, key_digest};
use crate::names::{Nonce, SpiffeId};

/// A P-256 key from a small number.
pub(crate) struct P256(p256::ecdsa::SigningKey, Vec<u8>);

/// A P-384 key from a small number.
pub(crate) struct P384(p384::ecdsa::SigningKey, Vec<u8>);

/// RustCrypto as verifier.
pub(crate) struct Software;

impl P256 {
    pub(crate) fn new(seed: u8) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let spki = key.verifying_key().to_public_key_der().unwrap().into_vec();
        Self(key, spki)
    }
}

impl P384 {
    pub(crate) fn new(seed: u8) -> Self {
        let key = p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap();
        let spki = key.verifying_key().to_public_key_der().unwrap().into_vec();
        Self(key, spki)
    }
}

impl Signer for P256 {
    fn spki(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaP256Sha256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: p256::ecdsa::DerSignature = self.0.try_sign(message).map_err(|_| SignError::Unavailable)?;
        Ok(signature.as_bytes().to_vec())
    }
}

impl Signer for P384 {
    fn spki(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaP384Sha384
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: p384::ecdsa::DerSignature = self.0.try_sign(message).map_err(|_| SignError::Unavailable)?;
        Ok(signature.as_bytes().to_vec())
    }
}

impl Verifier for Software {
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki);
                let signature = p256::ecdsa::DerSignature::try_from(signature);
                matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
            }
            Algorithm::EcdsaP384Sha384 => {
                let key = p384::ecdsa::VerifyingKey::from_public_key_der(spki);
                let signature = p384::ecdsa::DerSignature::try_from(signature);
                matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
            }
        }
    }
}

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: u64 = 1_800_000_000;

/// The Steward's root of the specimens.
pub(crate) fn root(key: &dyn Signer) -> Vec<u8> {
    let template = RootTemplate {
        common_name: "Donjon test root".to_string(),
        not_before: NOW - 86_400,
        not_after: NOW + 365 * 86_400,
        serial: [9; 16],
        path_len: 0,
        dns: vec![],
    };
    issuer::root(&template, key).unwrap()
}

/// Role `web` plays [`Digest::of`] `b"workload"` as `shop.example.org` and talks to `db`.
pub(crate) fn deployment(owner: &dyn Signer) -> Deployment {
    let role = |workload: &[u8], names: &[&str], peers: &[&str]| Role {
        workloads: [Digest::of(workload).into()].into(),
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        peers: peers.iter().map(|name| name.parse().unwrap()).collect(),
    };
    Deployment {
        id: "shop".parse().unwrap(),
        version: 1,
        previous: None,
        owner: owner.spki().to_vec(),
        trust_domain: "example.org".parse().unwrap(),
        roles: [
            ("web".parse().unwrap(), role(b"workload", &["shop.example.org"], &["db"])),
            ("db".parse().unwrap(), role(b"database", &[], &[])),
        ]
        .into(),
    }
}

/// A brief that [`deployment`] covers, certified by the Steward whose root is `P256::new(3)`.
pub(crate) fn brief(owner: &dyn Signer) -> Brief {
    Brief {
        trust_domain: "example.org".parse().unwrap(),
        steward: Some(StewardRef {
            url: "http://127.0.0.1:7000/steward".to_string(),
            anchors: vec![key_digest(P256::new(3).spki())],
            tls: vec![],
        }),
        source: Source::Drawbridge {
            authority: "127.0.0.1:7001".to_string(),
            repository: "acme/shop".to_string(),
            tls: vec![],
        },
        owner: Some(key_digest(owner.spki())),
        deployment: "shop".parse().unwrap(),
        role: "web".parse().unwrap(),
        workload: Digest::of(b"workload"),
        args: vec![],
        env: vec![],
    }
}

/// The facts of a Keep with key `keep` under [`brief`] of owner `P256::new(1)`.
pub(crate) fn ear(keep: &dyn Signer) -> Ear {
    let brief = brief(&P256::new(1));
    Ear {
        issued_at: NOW,
        nonce: Nonce::new(vec![5; 56]).unwrap(),
        verifier: VerifierId {
            build: "steward 0.1.0".to_string(),
            developer: "https://example.org/donjon".to_string(),
        },
        key: key_digest(keep.spki()),
        id: SpiffeId {
            trust_domain: brief.trust_domain.clone(),
            deployment: brief.deployment.clone(),
            role: brief.role.clone(),
        },
        owner: brief.owner,
        class: Class::Hardware,
        tee: Tee::Snp,
        product: "Milan".to_string(),
        measurement: Measurement::new([0xab; 48]).unwrap(),
        signer: None,
        registers: vec![],
        brief: Digest::of(&brief.encode()),
        workload: brief.workload,
        publisher: None,
        workload_binding: WorkloadBinding::Hardware,
        tcb: "bootloader 3, tee 0, snp 8, microcode 115".to_string(),
        tcb_status: TcbStatus::MeetsPolicy,
        advisories: vec![],
        policy: Digest::of(b"policy"),
        platform: Digest::of(b"platform"),
    }
}

/// The template of a certificate with these facts.
pub(crate) fn template(keep: &dyn Signer, facts: &Ear, steward: &dyn Signer) -> Template {
    Template {
        spki: keep.spki().to_vec(),
        dns: if facts.owner.is_some() { vec!["shop.example.org".parse().unwrap()] } else { vec![] },
        not_before: NOW - 60,
        not_after: NOW + 3600,
        serial: [0x85; 16],
        ear: facts.clone().sign(steward).unwrap(),
    }
}

/// A whole chain, leaf first.
pub(crate) fn chain(keep: &dyn Signer, facts: &Ear, steward: &dyn Signer) -> Vec<Vec<u8>> {
    let root = root(steward);
    let issuer = Issuer::read(&root).unwrap();
    vec![certificate::issue(&template(keep, facts, steward), &issuer, steward).unwrap(), root]
}
