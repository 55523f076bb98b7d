//! Certificate requests of Keeps (RFC 2986, draft-ietf-lamps-csr-attestation), and what a Steward sorts out of them.
//!
//! What must hold: what comes out of one is in it, and was signed by its key (the verifier said so last).

use std::cell::Cell;

use identity::{
    Algorithm, Nonce,
    csr::{
        self, Carrier, Collateral, CollateralKind, Evidence, Request, SGX_MEDIA_TYPE, SNP_MEDIA_TYPE, Statement,
        TDX_MEDIA_TYPE,
    },
    keys::{SignError, Signer, Verifier},
};

use crate::{Defect, Target, number, shape};

pub(crate) const REQUEST: Target =
    Target { name: "csr", reads: "identity::csr::Request, steward::carried", short: 3_000, seeds, run };

/// Says what it is told to say, and remembers whether that was yes.
struct Asked {
    says: bool,
    planted: bool,
    yes: Cell<bool>,
}

impl Verifier for Asked {
    fn verify(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        self.yes.set(self.says);
        self.planted || self.says
    }
}

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let (says, request) = input.split_first().unwrap_or((&0, &[]));
    // Planted: no signature is right, and nobody looks.
    let planted = defect == Defect::Planted;
    let asked = Asked { says: !planted && says % 4 != 1, planted, yes: Cell::new(false) };
    let statement = match Request::parse(request, &asked) {
        Ok(request) => request.statement,
        Err(error) => return vec![shape(&error)],
    };
    assert!(asked.yes.get(), "its sender does not hold the key");
    let within = |part: &[u8]| part.is_empty() || request.windows(part.len()).any(|window| window == part);
    let Statement { evidence, brief, nonce, deployment, signature, collateral, endorsements } = &statement;
    assert!(within(&evidence.bytes) && within(brief) && within(nonce.as_bytes()));
    assert!(deployment.iter().chain(signature).chain(endorsements).all(|part| within(part)));
    assert!(collateral.iter().all(|piece| within(&piece.bytes)));
    let carried = steward::carried::read(&statement).map(|(evidence, _)| shape(&evidence));
    vec![
        number(&(collateral.len(), endorsements.len(), deployment.is_some(), signature.is_some())),
        number(&carried.is_ok()),
    ]
}

/// A key whose signature is a signature by its form.
struct Form(Vec<u8>);

impl Signer for Form {
    fn spki(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaP256Sha256
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(vec![0x30, 6, 2, 1, 1, 2, 1, 1])
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004").expect("hexadecimal");
    let key = Form([head, vec![7; 64]].concat());
    let piece = |kind, bytes: &[u8]| Collateral { kind, bytes: bytes.to_vec() };
    let info = br#"{"tcbInfo":{},"signature":"00"}"#;
    let all = vec![
        piece(CollateralKind::Crl, &[0x30, 0]),
        piece(CollateralKind::TcbInfo, info),
        piece(CollateralKind::QeIdentity, br#"{"enclaveIdentity":{},"signature":"00"}"#),
    ];
    let statement = |media_type: &str, collateral, deployment: Option<Vec<u8>>, endorsements| Statement {
        evidence: Evidence { media_type: media_type.to_owned(), bytes: vec![9; 40] },
        brief: b"brief".to_vec(),
        nonce: Nonce::new(vec![5; 57]).expect("a nonce"),
        signature: deployment.as_ref().map(|_| b"signature".to_vec()),
        deployment,
        collateral,
        endorsements,
    };
    let endorsements = vec![vec![0x30, 2, 5, 0], vec![0x30, 0]];
    [
        statement(SNP_MEDIA_TYPE, Vec::new(), None, Vec::new()),
        statement(SGX_MEDIA_TYPE, all.clone(), Some(b"deployment".to_vec()), endorsements.clone()),
        statement(TDX_MEDIA_TYPE, all, None, endorsements),
        statement("application/other", Vec::new(), Some(Vec::new()), Vec::new()),
    ]
    .iter()
    .flat_map(|statement| [Carrier::Attribute, Carrier::Extension].map(|carrier| (statement, carrier)))
    .map(|(statement, carrier)| [vec![0], csr::build(statement, carrier, &key).expect("a request")].concat())
    .collect()
}
