//! What AMD really signed, for the tests beside the code: files of `../shared/evidence` next to the
//! checkout.
//!
//! They are not part of the repository. Where the folder is missing the tests say so and pass; with
//! `DONJON_REQUIRE=evidence` they fail instead. Only certificates and CRLs are read here.

use std::path::Path;
use std::{env, fs};

use x509_cert::Certificate;
use x509_cert::der::Encode;

use super::authority::Authority;
use super::{Product, VekKind};

/// The names the real ones bear.
pub(super) const AMD: Authority =
    Authority { organization: "Advanced Micro Devices", suffix: "", key_server: "https://kdsintf.amd.com" };

/// The bytes of one file of real evidence.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(super) fn file(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence").join(name);
    match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let required = env::var("DONJON_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|one| one == "evidence"), "{}: {error}", path.display());
            eprintln!("skipped: no {name} in ../shared/evidence");
            None
        }
    }
}

/// The two certificates of a KDS `cert_chain`, DER.
pub(super) fn intermediate_and_ark(kind: VekKind, product: Product) -> Option<(Vec<u8>, Vec<u8>)> {
    let name = match (kind, product) {
        (VekKind::Vcek, Product::Milan) => "amd-roots/ask_ark_milan.pem",
        (VekKind::Vcek, Product::Genoa) => "amd-roots/ask_ark_genoa.pem",
        (VekKind::Vcek, Product::Turin) => "amd-roots/ask_ark_turin_vcek.pem",
        (VekKind::Vlek, Product::Milan) => "amd-roots/ask_ark_milan_vlek.pem",
        (VekKind::Vlek, Product::Genoa) => "amd-roots/ask_ark_genoa_vlek.pem",
        (VekKind::Vlek, Product::Turin) => "amd-roots/ask_ark_turin_vlek.pem",
    };
    let chain = Certificate::load_pem_chain(&file(name)?).unwrap();
    let mut ders = chain.iter().map(|certificate| certificate.to_der().unwrap());
    Some((ders.next().unwrap(), ders.next().unwrap()))
}

/// subjectKeyIdentifier.
pub(super) fn key_id(certificate: &Certificate) -> [u8; 20] {
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let value = extensions.iter().find(|one| one.extn_id.to_string() == "2.5.29.14").unwrap();
    value.extn_value.as_bytes()[2..].try_into().unwrap()
}

/// The first element inside the outer SEQUENCE: what is signed. Both lengths take two bytes in all
/// of them.
pub(super) fn tbs(der: &[u8]) -> &[u8] {
    assert_eq!((der[1], der[5]), (0x82, 0x82));
    &der[4..8 + usize::from(u16::from_be_bytes([der[6], der[7]]))]
}
