//! A Keep of Intel's before the Steward of [`World`]: its quote and the collateral for it are real in every byte but their root.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part")]

use identity::{
    Signer as _,
    binding::{self, Purpose},
    csr::{self, Collateral, CollateralKind, Evidence, SGX_MEDIA_TYPE, Statement, TDX_MEDIA_TYPE},
};
use silicon::intel::{Body, Key as IntelKey, Quote, Service, pki};
use steward::{judge::Issued, refusal::Refusal, signer::Key};
use workload::brief;

use super::{CRL_END, DAY, NOW, World, cause};

/// What the policy has in the place of `[snp]`.
pub(crate) fn world(section: &str) -> World {
    World::with(&format!(
        "trust_domain = \"example.org\"\nclass = \"insecure\"\nany_platform = true\ninsecure_roots = [\"intel.pem\"]\n\
         {section}\n[[name]]\nowner = \"{{owner}}\"\ndeployment = \"shop\"\ndns = \"shop.example.org\"\n\
         [[name]]\nowner = \"{{owner}}\"\ndeployment = \"shop\"\ndns = \"www.example.org\"\n"
    ))
}

pub(crate) const SGX: &str = "[sgx]\nhash = [\"3131313131313131313131313131313131313131313131313131313131313131\"]";

pub(crate) fn tdx() -> String {
    format!("[tdx]\nhash = [\"{}\"]", "42".repeat(48))
}

/// A Keep of Intel's about to ask for a certificate. Every field is something an attacker might change.
pub(crate) struct Asker<'w> {
    pub(crate) world: &'w World,
    pub(crate) key: Key,
    pub(crate) bound_key: Option<Vec<u8>>,
    pub(crate) launched: Option<[u8; 32]>,
    pub(crate) quote: Quote,
    pub(crate) service: Service,
    /// What is brought in the place of a piece of collateral.
    pub(crate) instead: Option<(CollateralKind, Vec<u8>)>,
    /// Of the pieces of collateral, which are brought.
    pub(crate) brought: Vec<CollateralKind>,
    /// Whether the certificates of those who signed it are brought.
    pub(crate) signers: bool,
    pub(crate) media_type: &'static str,
}

impl<'w> Asker<'w> {
    pub(crate) fn new(world: &'w World, body: Body) -> Self {
        let tdx = matches!(body, Body::Td(_));
        Self {
            world,
            key: Key::random(identity::Algorithm::EcdsaP256Sha256).unwrap(),
            bound_key: None,
            launched: None,
            quote: Quote::new([3; 32], body),
            service: Service::new(tdx, NOW - DAY, CRL_END),
            instead: None,
            brought: vec![CollateralKind::Crl, CollateralKind::TcbInfo, CollateralKind::QeIdentity],
            signers: true,
            media_type: if tdx { TDX_MEDIA_TYPE } else { SGX_MEDIA_TYPE },
        }
    }

    pub(crate) fn ask(&self) -> Result<Issued, Refusal> {
        let nonce = self.world.steward.nonce(NOW).unwrap().nonce;
        let brief = self.world.brief().encode();
        let hash = brief::hash(&brief);
        let spki = self.bound_key.as_deref().unwrap_or(self.key.spki());
        let report_data = binding::report_data(Purpose::Issue, spki, &hash, &nonce);
        let field = self.launched.unwrap_or(hash);
        let mut quote = self.quote.clone();
        match &mut quote.body {
            Body::Enclave(enclave) => {
                enclave.report_data = report_data;
                enclave.config_id[..32].copy_from_slice(&field);
            }
            Body::Td(td) => {
                td.report_data = report_data;
                td.mr_config_id[..32].copy_from_slice(&field);
            }
        }
        let Service { root, ca, tcb_signer, root_crl, pck_crl, tcb_info, qe_identity, .. } = &self.service;
        let chain = [&quote.certificate().der(), &ca.der(), &root.der()].map(|der| pki::pem(der)).concat();
        let answer = |name: &str, body: String| {
            let signature = hex::encode(IntelKey::TcbSigning.sign(body.as_bytes()));
            format!(r#"{{"{name}":{body},"signature":"{signature}"}}"#).into_bytes()
        };
        let collateral = [
            (CollateralKind::Crl, root_crl.der()),
            (CollateralKind::Crl, pck_crl.der()),
            (CollateralKind::TcbInfo, answer("tcbInfo", tcb_info.json())),
            (CollateralKind::QeIdentity, answer("enclaveIdentity", qe_identity.json())),
        ];
        let statement = Statement {
            evidence: Evidence { media_type: self.media_type.to_owned(), bytes: quote.bytes(&chain) },
            brief,
            nonce,
            deployment: Some(self.world.deployment().seal(&self.world.owner).unwrap()),
            signature: None,
            collateral: collateral
                .into_iter()
                .filter(|(kind, _)| self.brought.contains(kind))
                .map(|(kind, bytes)| match &self.instead {
                    Some((other, bytes)) if *other == kind => Collateral { kind, bytes: bytes.clone() },
                    _ => Collateral { kind, bytes },
                })
                .collect(),
            endorsements: if self.signers { vec![tcb_signer.der(), ca.der(), root.der()] } else { Vec::new() },
        };
        self.world.steward.judge(&csr::build(&statement, csr::Carrier::Attribute, &self.key).unwrap(), NOW)
    }

    pub(crate) fn refused(&self) -> String {
        cause(&self.ask().unwrap_err())
    }
}
