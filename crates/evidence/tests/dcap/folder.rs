//! The folder of real evidence, and collateral as it is kept there.

use base64::Engine as _;
use evidence::dcap::{Bundle, Roots, Source};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Where real evidence lies.
pub(crate) struct Folder(PathBuf);

impl Folder {
    #[allow(clippy::print_stderr, reason = "a skip must be seen")]
    pub(crate) fn open() -> Option<Self> {
        let path = std::env::var_os("DONJON_EVIDENCE")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"), PathBuf::from);
        if path.is_dir() {
            return Some(Self(path));
        }
        let required = std::env::var("DONJON_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|word| word.trim() == "evidence"),
            "DONJON_REQUIRE=evidence, but there is no folder {}",
            path.display()
        );
        eprintln!("skipped: no real evidence at {}: set DONJON_EVIDENCE", path.display());
        None
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Bytes, or the bytes that a text means: hexadecimal or base64.
    pub(crate) fn decoded(&self, name: &str, encoding: &str) -> Vec<u8> {
        let bytes = self.read(name);
        let text = || core::str::from_utf8(&bytes).expect("text").trim().to_owned();
        match encoding {
            "binary" => bytes,
            "hex text" => hex::decode(text().trim_start_matches("0x")).expect("hexadecimal"),
            "base64 text" => base64::prelude::BASE64_STANDARD.decode(text()).expect("base64"),
            other => panic!("{name}: unknown encoding {other}"),
        }
    }
}

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

/// As one source.
pub(crate) fn source<'a>(bundle: &'a Bundle<'a>, roots: &'a Roots) -> Source<'a> {
    Source::Bundle(bundle, roots)
}
