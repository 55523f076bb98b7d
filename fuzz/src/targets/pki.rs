//! Certificates and revocation lists, of both vendors' schemes (RFC 5280).
//!
//! What must hold: what is taken is one DER SEQUENCE of at most so many bytes, kept as it came; it is signed with one
//! scheme at most, has an end that is not before its beginning, and each extension once.

use std::sync::OnceLock;

use evidence::pki::crl::MAX_CRL;
use evidence::pki::{Certificate, Crl, MAX_CERTIFICATE, PkiError, Scheme, common_name};
use serde_json::Value;

use super::evidence::{base64, distinct, element, is_one_sequence, sloppy, text, vectors};
use crate::{Defect, Target, magnitude, number, shape};

pub(crate) const CERTIFICATE: Target = Target {
    name: "certificate",
    reads: "evidence::pki::Certificate",
    short: 3_000,
    seeds: || certificates().iter().cloned().chain(long_certificates()).collect(),
    run: certificate,
};

pub(crate) const CRL: Target =
    Target { name: "crl", reads: "evidence::pki::Crl", short: 3_000, seeds: || lists().to_vec(), run: list };

const SCHEMES: [Scheme; 2] = [Scheme::RsaPssSha384, Scheme::EcdsaP256Sha256];

fn certificate(input: &[u8], defect: Defect) -> Vec<u64> {
    let read = sloppy(input, defect == Defect::Planted);
    let taken = SCHEMES.map(|scheme| Certificate::parse(read, scheme));
    assert!(taken.iter().filter(|taken| taken.is_ok()).count() < 2, "signed with two schemes");
    taken.iter().map(|taken| taken.as_ref().map_or_else(refused, |certificate| is(certificate, input))).collect()
}

/// What holds of a certificate that was read from bytes.
pub(crate) fn is(certificate: &Certificate, bytes: &[u8]) -> u64 {
    assert!(bytes.len() <= MAX_CERTIFICATE && is_one_sequence(bytes) && certificate.der() == bytes);
    let key = certificate.spki();
    assert!(is_one_sequence(key) && bytes.windows(key.len()).any(|window| window == key), "not the key as it came");
    assert!((1..=21).contains(&certificate.serial().len()), "a serial number of {} bytes", certificate.serial().len());
    let (from, to) = (certificate.not_before(), certificate.not_after());
    assert!(from <= to && certificate.valid_at(from) && certificate.valid_at(to));
    assert!(!certificate.valid_at(to + 1) && (from == 0 || !certificate.valid_at(from - 1)));
    let ids: Vec<_> = certificate.extensions().map(|(id, ..)| id).collect();
    assert!(ids.len() <= 64 && (1..ids.len()).all(|at| !ids[..at].contains(&ids[at])), "an extension twice");
    let names = [certificate.subject(), certificate.issuer()].map(|name| common_name(name).is_some());
    shape(&(names, ids.len(), certificate.authority(), magnitude(key.len())))
}

fn list(input: &[u8], defect: Defect) -> Vec<u64> {
    let read = sloppy(input, defect == Defect::Planted);
    let taken = SCHEMES.map(|scheme| Crl::parse(read, scheme));
    assert!(taken.iter().filter(|taken| taken.is_ok()).count() < 2, "signed with two schemes");
    let is = |list: &Crl| {
        assert!(input.len() <= MAX_CRL && is_one_sequence(input));
        let (from, to) = (list.this_update(), list.next_update());
        assert!(from <= to && list.valid_at(from) && list.valid_at(to) && !list.valid_at(to + 1));
        // No integer of DER is empty.
        assert!(!list.revokes(&[]));
        number(&(common_name(list.issuer()).is_some(), list.revokes(&[0]), list.revokes(&[1])))
    };
    taken.iter().map(|taken| taken.as_ref().map_or_else(refused, is)).collect()
}

pub(crate) fn refused(error: &PkiError) -> u64 {
    match error {
        // Names one of very many.
        PkiError::DuplicateExtension(_) => 1,
        PkiError::CriticalExtension(_) => 2,
        PkiError::Extension(_) => 3,
        error => shape(error),
    }
}

/// Everything that the vectors have under these names, and what is built into the verifier.
fn certificates() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let amd = vectors("snp");
        let amd = amd.iter().flat_map(|vector| ["ark", "ask", "vcek"].map(|key| base64(&vector[key])));
        let intel = vectors("dcap");
        let intel = intel.iter().map(|vector| base64(&vector["root"])).chain(intel.iter().flat_map(chains));
        let real = [
            &include_bytes!("../../../crates/evidence/src/snp/roots/ark-milan.der")[..],
            include_bytes!("../../../crates/evidence/src/snp/roots/ask-turin.der"),
            include_bytes!("../../../crates/evidence/src/snp/roots/asvk-genoa.der"),
            include_bytes!("../../../crates/evidence/src/dcap/roots/intel-sgx-root-ca.der"),
            include_bytes!("../../../crates/evidence/src/dcap/roots/intel-sgx-pck-platform-ca.der"),
        ];
        distinct(amd.chain(intel).chain(real.map(<[u8]>::to_vec)).collect())
    })
}

/// The certificates of all chains of a vector.
pub(crate) fn chains(vector: &Value) -> Vec<Vec<u8>> {
    let quote = base64(&vector["quote"]);
    let keys = ["tcb_info_chain", "qe_identity_chain", "pck_crl_chain"].map(|key| text(&vector[key]));
    keys.iter().copied().chain([&quote[..]]).flat_map(pem).collect()
}

/// Every certificate that stands somewhere in bytes.
fn pem(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lossy = String::from_utf8_lossy(bytes);
    let parts = lossy.split("-----BEGIN CERTIFICATE-----").skip(1);
    let one = |part: &str| {
        let lines: String = part.split("-----END").next()?.split_whitespace().collect();
        Some(base64(&Value::String(lines)))
    };
    parts.filter_map(one).collect()
}

fn lists() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let keys = [("snp", "crl"), ("dcap", "root_crl"), ("dcap", "pck_crl")];
        let of = |(folder, key): (_, &str)| {
            vectors(folder).into_iter().map(move |vector| base64(&vector[key])).collect::<Vec<_>>()
        };
        let mut seeds = distinct(keys.into_iter().flat_map(of).collect());
        seeds.extend(long_lists());
        seeds
    })
}

const RSA_PSS: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
const ECDSA: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const TIMES: [&[u8]; 2] = [b"\x17\x0d250101000000Z", b"\x17\x0d300101000000Z"];

/// What is signed, with a signature of no bytes.
fn signed(algorithm: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &[&element(0x30, &parts.concat())[..], algorithm, &[3, 1, 0]].concat())
}

/// As many of the smallest pieces as there may be, which take most memory for their bytes: relative names, extensions of a
/// list and of one entry, entries.
pub(crate) fn long_lists() -> Vec<Vec<u8>> {
    let fill = |piece: &[u8], most: usize| piece.repeat(most / piece.len());
    let name = |names: &[u8]| element(0x30, names);
    let of = |algorithm: &[u8], issuer: &[u8], rest: &[u8]| {
        signed(algorithm, &[&[2, 1, 1], algorithm, issuer, TIMES[0], TIMES[1], rest])
    };
    let most = MAX_CRL - 200;
    let names = name(&fill(&[0x31, 0x07, 0x30, 0x05, 0x06, 0x01, 0x2a, 0x05, 0x00], most));
    let extension = fill(&[0x30, 0x05, 0x06, 0x01, 0x2a, 0x04, 0x00], most);
    let entry = element(0x30, &[&[2, 1, 1], TIMES[0]].concat());
    let of_entry = element(0x30, &[&[2, 1, 1], TIMES[0], &element(0x30, &extension)].concat());
    let one = element(0x30, &[0x30, 0x05, 0x06, 0x01, 0x2a, 0x04, 0x00]);
    let with_one = element(0x30, &[&[2, 1, 1], TIMES[0], &one].concat());
    let rests = [
        element(0x30, &fill(&entry, most)),
        element(0x30, &fill(&with_one, most)),
        element(0x30, &of_entry),
        element(0xa0, &element(0x30, &extension)),
    ];
    let lists = |algorithm| {
        let long = rests.iter().map(move |rest| of(algorithm, &name(&[]), rest));
        long.chain([of(algorithm, &names, &[])]).collect::<Vec<_>>()
    };
    [RSA_PSS, ECDSA].into_iter().flat_map(lists).collect()
}

/// The same of certificates.
pub(crate) fn long_certificates() -> Vec<Vec<u8>> {
    let most = MAX_CERTIFICATE - 300;
    let fill = |piece: &[u8]| piece.repeat(most / piece.len());
    let key = element(0x30, &[&element(0x30, &[6, 1, 0x2a]), &[3, 1, 0][..]].concat());
    let validity = element(0x30, &TIMES.concat());
    let empty: &[u8] = &[0x30, 0];
    let names = element(0x30, &fill(&[0x31, 0x07, 0x30, 0x05, 0x06, 0x01, 0x2a, 0x05, 0x00]));
    // One name of many parts, and one part that is long.
    let set = element(0x30, &element(0x31, &fill(&[0x30, 0x05, 0x06, 0x01, 0x2a, 0x05, 0x00])));
    let text = element(0x0c, "\u{1}\u{202e}<>".repeat(most / 8).as_bytes());
    let common = element(0x30, &element(0x31, &element(0x30, &[&[6, 3, 0x55, 4, 3], &text[..]].concat())));
    let extensions = element(0xa3, &element(0x30, &fill(&[0x30, 0x05, 0x06, 0x01, 0x2a, 0x04, 0x00])));
    let of = |algorithm: &[u8], issuer: &[u8], extensions: &[u8]| {
        let version: &[u8] = &[0xa0, 3, 2, 1, 2];
        signed(algorithm, &[version, &[2, 1, 1], algorithm, issuer, &validity, empty, &key, extensions])
    };
    let all = |algorithm| {
        [
            of(algorithm, &names, &[]),
            of(algorithm, &set, &[]),
            of(algorithm, &common, &[]),
            of(algorithm, empty, &extensions),
            of(algorithm, empty, &[]),
        ]
    };
    [RSA_PSS, ECDSA].into_iter().flat_map(all).collect()
}
