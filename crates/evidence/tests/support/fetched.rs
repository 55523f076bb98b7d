//! Collateral as it is kept in the folder of real evidence.

use super::folder::Folder;
use evidence::dcap::Bundle;
use serde::Deserialize;

/// Collateral in one file: JSON texts, PEM chains, the rest in hexadecimal.
#[derive(Clone, Deserialize)]
pub(crate) struct Kept {
    pub(crate) tcb_info: String,
    tcb_info_signature: String,
    tcb_info_issuer_chain: String,
    pub(crate) qe_identity: String,
    qe_identity_signature: String,
    qe_identity_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    pck_crl_issuer_chain: String,
}

/// The same, decoded.
#[derive(Clone)]
pub(crate) struct Fetched {
    kept: Kept,
    tcb_info_signature: Vec<u8>,
    qe_identity_signature: Vec<u8>,
    root_crl: Vec<u8>,
    pck_crl: Vec<u8>,
}

impl From<Kept> for Fetched {
    fn from(kept: Kept) -> Self {
        let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
        Self {
            tcb_info_signature: bytes(&kept.tcb_info_signature),
            qe_identity_signature: bytes(&kept.qe_identity_signature),
            root_crl: bytes(&kept.root_ca_crl),
            pck_crl: bytes(&kept.pck_crl),
            kept,
        }
    }
}

impl Fetched {
    pub(crate) fn read(folder: &Folder, name: &str) -> Self {
        serde_json::from_slice::<Kept>(&folder.read(name)).unwrap_or_else(|error| panic!("{name}: {error}")).into()
    }

    pub(crate) fn bundle(&self) -> Bundle<'_> {
        Bundle {
            tcb_info: self.kept.tcb_info.as_bytes(),
            tcb_info_signature: &self.tcb_info_signature,
            tcb_info_chain: self.kept.tcb_info_issuer_chain.as_bytes(),
            qe_identity: self.kept.qe_identity.as_bytes(),
            qe_identity_signature: &self.qe_identity_signature,
            qe_identity_chain: self.kept.qe_identity_issuer_chain.as_bytes(),
            root_crl: &self.root_crl,
            pck_crl: &self.pck_crl,
            pck_crl_chain: Some(self.kept.pck_crl_issuer_chain.as_bytes()),
        }
    }
}
