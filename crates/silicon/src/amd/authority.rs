//! AMD's key authority: ARK, ASK and ASVK, what they sign (certificates, CRLs), and how.
//!
//! Owns the committed RSA-4096 keys and the certificates made from them. The certificates copy
//! AMD's field for field – order of extensions, string types, serial numbers, validity, PSS
//! parameters – and differ in the organisation, the common names and the address of the CRL, all of
//! which say SIMULATED-PUBLIC (AMD 57230; a test rebuilds AMD's own to-be-signed bytes with this
//! code).
//!
//! Invariant: RSASSA-PSS here takes its salt from the message, so that signing is a function.

use std::sync::OnceLock;

use const_oid::ObjectIdentifier;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::pss::SigningKey;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use sha2::{Digest, Sha256, Sha384};

use super::{Amd, Extension, Product, VekKind};
use crate::der;
use crate::derive::derive_bytes;

/// A revocation list before it is signed. [`Amd::crl_template`] gives the true one; a test changes
/// what it wants to see refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlTemplate {
    /// The product line whose ARK is named as the issuer (the signing key is always that of the
    /// chip's own).
    pub issuer: Product,
    /// Unix seconds, before the year 10000.
    pub this_update: u64,
    /// Unix seconds, before the year 10000; RFC 5280 wants one, X.509 does not.
    pub next_update: Option<u64>,
    /// CRL number.
    pub number: u64,
    /// Serial numbers, revoked at `this_update`.
    pub revoked: Vec<u64>,
    /// Critical extensions after AMD's two; AMD has none.
    pub critical: Vec<Extension>,
}

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const CN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const C: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const L: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.7");
const ST: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.8");
const O: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const OU: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// keyCertSign and cRLSign of the ARK; keyCertSign of ASK and ASVK (RFC 5280, 4.2.1.3).
const ARK_USAGE: u8 = 0x06;
const ASK_USAGE: u8 = 0x04;

/// The ARK certificate without cRLSign.
pub(super) fn ark_without_lists(product: Product) -> Vec<u8> {
    ark(product, ASK_USAGE)
}

fn ark(product: Product, usage: u8) -> Vec<u8> {
    let ark = Key::Ark(product);
    let tbs = Authority::SIMULATED.ark_tbs(product, ark_validity(product), &ark.spki(), &ark.id(), usage);
    signed(tbs, Trailer::Explicit, |tbs| ark.sign(tbs))
}

/// The ARK certificate, made once in a process.
pub(super) fn ark_der(product: Product) -> &'static [u8] {
    static CERTIFICATES: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    CERTIFICATES[product as usize].get_or_init(|| ark(product, ARK_USAGE))
}

/// The certificate of the ASK (for VCEKs) or ASVK (for VLEKs), made once in a process.
pub(super) fn intermediate_der(kind: VekKind, product: Product) -> &'static [u8] {
    static CERTIFICATES: [[OnceLock<Vec<u8>>; 3]; 2] = [const { [const { OnceLock::new() }; 3] }; 2];
    let validity = intermediate_validity(kind, product);
    CERTIFICATES[kind as usize][product as usize].get_or_init(|| intermediate(kind, product, product, validity))
}

/// AMD's numbers: the second Genoa ASK, because the first one is revoked.
pub(super) const fn intermediate_serial(kind: VekKind, product: Product) -> u64 {
    match (kind, product) {
        (VekKind::Vcek, Product::Milan) => 0x1_0001,
        (VekKind::Vcek, Product::Genoa) => 0x2_0002,
        (VekKind::Vcek, Product::Turin) => 0x3_0001,
        (VekKind::Vlek, Product::Milan) => 0x1_0101,
        (VekKind::Vlek, Product::Genoa) => 0x2_0101,
        (VekKind::Vlek, Product::Turin) => 0x3_0101,
    }
}

const fn ark_serial(product: Product) -> u64 {
    match product {
        Product::Milan => 0x1_0000,
        Product::Genoa => 0x2_0000,
        Product::Turin => 0x3_0000,
    }
}

/// The ASK or ASVK of `product` with these dates, and with a signature of the ARK of `signer`.
pub(super) fn intermediate(kind: VekKind, product: Product, signer: Product, validity: (u64, u64)) -> Vec<u8> {
    let (ark, own) = (Key::Ark(product), Key::Intermediate(kind, product));
    let tbs = Authority::SIMULATED.intermediate_tbs(kind, product, validity, &own.spki(), &own.id(), &ark.id());
    signed(tbs, Trailer::Explicit, |tbs| Key::Ark(signer).sign(tbs))
}

pub(super) fn crl(amd: &Amd, template: &CrlTemplate) -> Vec<u8> {
    let ark = Key::Ark(amd.product());
    let tbs = Authority::SIMULATED.crl_tbs(template, &Key::Ark(template.issuer).id());
    signed(tbs, Trailer::Default, |tbs| amd.cached(cache_key(ark, tbs), || ark.sign(tbs)))
}

/// `tbs` as a VEK certificate: signed by the ASK or ASVK of the chip's product line.
pub(super) fn sign_vek(amd: &Amd, authority: VekKind, tbs: Vec<u8>) -> Vec<u8> {
    let key = Key::Intermediate(authority, amd.product());
    signed(tbs, Trailer::Default, |tbs| amd.cached(cache_key(key, tbs), || key.sign(tbs)))
}

/// Whether the PSS parameters spell out `trailerField [3] 1`, the default. AMD's roots and older
/// VCEKs do, against DER; its CRLs and newer VCEKs do not.
#[derive(Clone, Copy)]
pub(super) enum Trailer {
    Default,
    Explicit,
}

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt (RFC
/// 4055).
pub(super) fn pss_sha384(trailer: Trailer) -> Vec<u8> {
    let sha384 = der::sequence(&[&der::oid(SHA384), &der::null()]);
    let mgf1 = der::sequence(&[&der::oid(MGF1), &sha384]);
    let trailer = match trailer {
        Trailer::Default => Vec::new(),
        Trailer::Explicit => der::explicit(3, &der::integer(1)),
    };
    let parameters = der::sequence(&[
        &der::explicit(0, &sha384),
        &der::explicit(1, &mgf1),
        &der::explicit(2, &der::integer(48)),
        &trailer,
    ]);
    der::sequence(&[&der::oid(RSASSA_PSS), &parameters])
}

/// Whose names a certificate bears.
pub(super) struct Authority {
    pub(super) organization: &'static str,
    pub(super) suffix: &'static str,
    pub(super) key_server: &'static str,
}

impl Authority {
    pub(super) const SIMULATED: Self = Self {
        organization: "Donjon silicon SIMULATED-PUBLIC",
        suffix: " SIMULATED-PUBLIC",
        // RFC 6761: never resolves.
        key_server: "https://simulated-public.invalid",
    };

    pub(super) fn ark(&self, product: Product) -> String {
        format!("ARK-{}{}", product.name(), self.suffix)
    }

    pub(super) fn intermediate(&self, kind: VekKind, product: Product) -> String {
        let prefix = match kind {
            VekKind::Vcek => "SEV-",
            VekKind::Vlek => "SEV-VLEK-",
        };
        format!("{prefix}{}{}", product.name(), self.suffix)
    }

    /// AMD's distinguished name with this common name, in AMD's order and string types.
    pub(super) fn name(&self, common_name: &str) -> Vec<u8> {
        let attribute = |oid, value: &[u8]| der::set(&der::sequence(&[&der::oid(oid), value]));
        der::sequence(&[
            &attribute(OU, &der::utf8("Engineering")),
            &attribute(C, &der::printable("US")),
            &attribute(L, &der::utf8("Santa Clara")),
            &attribute(ST, &der::utf8("CA")),
            &attribute(O, &der::utf8(self.organization)),
            &attribute(CN, &der::utf8(common_name)),
        ])
    }

    fn crl_distribution_point(&self, kind: VekKind, product: Product) -> Vec<u8> {
        let kind = match kind {
            VekKind::Vcek => "vcek",
            VekKind::Vlek => "vlek",
        };
        let address = format!("{}/{kind}/v1/{}/crl", self.key_server, product.name());
        // DistributionPoint { distributionPoint [0] { fullName [0] { uniformResourceIdentifier [6]
        // } } }
        let full_name = der::tlv(0xa0, &[&der::tlv(0x86, &[address.as_bytes()])]);
        der::sequence(&[&der::sequence(&[&der::explicit(0, &full_name)])])
    }

    fn ark_tbs(&self, product: Product, validity: (u64, u64), spki: &[u8], id: &[u8; 20], usage: u8) -> Vec<u8> {
        let name = self.name(&self.ark(product));
        let extensions = [
            der::extension(KEY_USAGE, true, &der::seven_bits(usage)),
            der::extension(SUBJECT_KEY_ID, false, &der::octet_string(id)),
            der::extension(BASIC_CONSTRAINTS, true, &der::sequence(&[&[0x01, 0x01, 0xff]])),
            der::extension(CRL_DISTRIBUTION_POINTS, false, &self.crl_distribution_point(VekKind::Vcek, product)),
        ];
        tbs(ark_serial(product), Trailer::Explicit, &name, validity, &name, spki, &extensions.concat())
    }

    fn intermediate_tbs(
        &self,
        kind: VekKind,
        product: Product,
        validity: (u64, u64),
        spki: &[u8],
        id: &[u8; 20],
        ark_id: &[u8; 20],
    ) -> Vec<u8> {
        let extensions = [
            der::extension(SUBJECT_KEY_ID, false, &der::octet_string(id)),
            der::extension(AUTHORITY_KEY_ID, false, &authority_key_id(ark_id)),
            der::extension(BASIC_CONSTRAINTS, true, &der::sequence(&[&[0x01, 0x01, 0xff], &der::integer(0)])),
            der::extension(KEY_USAGE, true, &der::seven_bits(ASK_USAGE)),
            der::extension(CRL_DISTRIBUTION_POINTS, false, &self.crl_distribution_point(kind, product)),
        ];
        let (issuer, subject) = (self.name(&self.ark(product)), self.name(&self.intermediate(kind, product)));
        tbs(
            intermediate_serial(kind, product),
            Trailer::Explicit,
            &issuer,
            validity,
            &subject,
            spki,
            &extensions.concat(),
        )
    }

    /// TBSCertList, version 2 (RFC 5280, 5.1); every entry is revoked at `this_update`.
    fn crl_tbs(&self, template: &CrlTemplate, ark_id: &[u8; 20]) -> Vec<u8> {
        let CrlTemplate { issuer, this_update, next_update, number, revoked, critical } = template;
        let entries: Vec<u8> = revoked
            .iter()
            .flat_map(|serial| der::sequence(&[&der::integer(*serial), &der::time(*this_update)]))
            .collect();
        // RFC 5280, 5.1.2.6: the list is absent, not empty, when nothing is revoked.
        let entries = if entries.is_empty() { Vec::new() } else { der::sequence(&[&entries]) };
        let mut extensions = [
            der::extension(AUTHORITY_KEY_ID, false, &authority_key_id(ark_id)),
            der::extension(CRL_NUMBER, false, &der::integer(*number)),
        ]
        .concat();
        for Extension { oid, value } in critical {
            let oid = ObjectIdentifier::new(oid).expect("a dotted object identifier");
            extensions.extend(der::extension(oid, true, value));
        }
        der::sequence(&[
            &der::integer(1),
            &pss_sha384(Trailer::Default),
            &self.name(&self.ark(*issuer)),
            &der::time(*this_update),
            &next_update.map(der::time).unwrap_or_default(),
            &entries,
            &der::explicit(0, &der::sequence(&[&extensions])),
        ])
    }
}

/// TBSCertificate, version 3 (RFC 5280, 4.1). `validity` in unix seconds; `extensions` one after
/// the other.
pub(super) fn tbs(
    serial: u64,
    trailer: Trailer,
    issuer: &[u8],
    validity: (u64, u64),
    subject: &[u8],
    spki: &[u8],
    extensions: &[u8],
) -> Vec<u8> {
    der::sequence(&[
        &der::explicit(0, &der::integer(2)),
        &der::integer(serial),
        &pss_sha384(trailer),
        issuer,
        &der::sequence(&[&der::time(validity.0), &der::time(validity.1)]),
        subject,
        spki,
        &der::explicit(3, &der::sequence(&[extensions])),
    ])
}

/// AMD's own dates: 25 years from the day the product's root was made.
const fn ark_validity(product: Product) -> (u64, u64) {
    match product {
        Product::Milan => (1_603_387_385, 2_392_305_785),
        Product::Genoa => (1_643_211_277, 2_432_129_677),
        Product::Turin => (1_684_180_992, 2_473_185_792),
    }
}

pub(super) const fn intermediate_validity(kind: VekKind, product: Product) -> (u64, u64) {
    match (kind, product) {
        (VekKind::Vcek, Product::Milan) => (1_603_391_060, 2_392_309_460),
        (VekKind::Vcek, Product::Genoa) => (1_667_223_228, 2_456_141_628),
        (VekKind::Vcek, Product::Turin) => (1_684_182_321, 2_473_187_121),
        (VekKind::Vlek, Product::Milan) => (1_668_638_724, 2_457_557_124),
        (VekKind::Vlek, Product::Genoa) => (1_668_804_514, 2_457_722_914),
        (VekKind::Vlek, Product::Turin) => (1_684_184_981, 2_473_189_781),
    }
}

fn authority_key_id(id: &[u8; 20]) -> Vec<u8> {
    der::sequence(&[&der::tlv(0x80, &[id])])
}

fn signed(tbs: Vec<u8>, trailer: Trailer, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let signature = der::bit_string(&sign(&tbs));
    der::sequence(&[&tbs, &pss_sha384(trailer), &signature])
}

fn cache_key(key: Key, tbs: &[u8]) -> [u8; 32] {
    derive_bytes(b"", "cache", &[key.label().as_bytes(), tbs])
}

/// One of the committed keys.
#[derive(Clone, Copy)]
enum Key {
    Ark(Product),
    Intermediate(VekKind, Product),
}

impl Key {
    fn pkcs8(self) -> &'static [u8] {
        match self {
            Self::Ark(Product::Milan) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-ark-milan.pkcs8.der")
            }
            Self::Ark(Product::Genoa) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-ark-genoa.pkcs8.der")
            }
            Self::Ark(Product::Turin) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-ark-turin.pkcs8.der")
            }
            Self::Intermediate(VekKind::Vcek, Product::Milan) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-ask-milan.pkcs8.der")
            }
            Self::Intermediate(VekKind::Vcek, Product::Genoa) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-ask-genoa.pkcs8.der")
            }
            Self::Intermediate(VekKind::Vcek, Product::Turin) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-ask-turin.pkcs8.der")
            }
            Self::Intermediate(VekKind::Vlek, Product::Milan) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-asvk-milan.pkcs8.der")
            }
            Self::Intermediate(VekKind::Vlek, Product::Genoa) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-asvk-genoa.pkcs8.der")
            }
            Self::Intermediate(VekKind::Vlek, Product::Turin) => {
                include_bytes!("../../keys/SIMULATED-PUBLIC-asvk-turin.pkcs8.der")
            }
        }
    }

    fn label(self) -> String {
        match self {
            Self::Ark(product) => format!("ark {}", product.name()),
            Self::Intermediate(VekKind::Vcek, product) => format!("ask {}", product.name()),
            Self::Intermediate(VekKind::Vlek, product) => format!("asvk {}", product.name()),
        }
    }

    fn private(self) -> &'static RsaPrivateKey {
        static KEYS: [OnceLock<RsaPrivateKey>; 9] = [const { OnceLock::new() }; 9];
        let slot = match self {
            Self::Ark(product) => product as usize,
            Self::Intermediate(kind, product) => 3 + 3 * kind as usize + product as usize,
        };
        KEYS[slot].get_or_init(|| {
            RsaPrivateKey::from_pkcs8_der(self.pkcs8()).expect("the committed keys are valid PKCS#8; a test reads all")
        })
    }

    fn spki(self) -> Vec<u8> {
        let document = self.private().to_public_key().to_public_key_der();
        document.expect("an RSA-4096 public key has an encoding").into_vec()
    }

    /// Key identifier: the first 160 bits of SHA-256 of the SPKI (RFC 7093, section 2, method 4).
    fn id(self) -> [u8; 20] {
        let mut id = [0; 20];
        id.copy_from_slice(&Sha256::digest(self.spki())[..20]);
        id
    }

    fn sign(self, message: &[u8]) -> Vec<u8> {
        // The salt are the first 48 bytes of this generator; blinding takes the rest and leaves no
        // trace.
        let mut salt = ChaCha20Rng::from_seed(derive_bytes(b"", "pss salt", &[self.label().as_bytes(), message]));
        SigningKey::<Sha384>::new_with_salt_len(self.private().clone(), 48).sign_with_rng(&mut salt, message).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use x509_cert::der::{Decode, Encode};
    use x509_cert::{Certificate, crl::CertificateList};

    use super::*;
    use crate::amd::real;

    #[test]
    fn every_committed_key_is_read_and_no_two_are_the_same() {
        let of = |product| {
            let intermediate = |kind| Key::Intermediate(kind, product);
            [Key::Ark(product), intermediate(VekKind::Vcek), intermediate(VekKind::Vlek)].map(Key::spki)
        };
        let keys: Vec<Vec<u8>> = Product::ALL.into_iter().flat_map(of).collect();
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(key.len(), 550, "RSA-4096");
            assert!(!keys[..at].contains(key));
        }
    }

    /// The same code under AMD's names, keys and dates gives the bytes that AMD signed.
    #[test]
    fn amds_own_roots_come_out_byte_for_byte() {
        for product in Product::ALL {
            let Some((ask, ark)) = real::intermediate_and_ark(VekKind::Vcek, product) else {
                return;
            };
            let Some((asvk, _)) = real::intermediate_and_ark(VekKind::Vlek, product) else {
                return;
            };
            let ark_cert = Certificate::from_der(&ark).unwrap();
            let ark_id = real::key_id(&ark_cert);
            let spki = ark_cert.tbs_certificate().subject_public_key_info().to_der().unwrap();
            let rebuilt = real::AMD.ark_tbs(product, ark_validity(product), &spki, &ark_id, ARK_USAGE);
            assert_eq!(hex::encode(rebuilt), hex::encode(real::tbs(&ark)), "ARK {product:?}");

            for (kind, real) in [(VekKind::Vcek, &ask), (VekKind::Vlek, &asvk)] {
                let certificate = Certificate::from_der(real).unwrap();
                let spki = certificate.tbs_certificate().subject_public_key_info().to_der().unwrap();
                let (validity, id) = (intermediate_validity(kind, product), real::key_id(&certificate));
                let rebuilt = real::AMD.intermediate_tbs(kind, product, validity, &spki, &id, &ark_id);
                assert_eq!(hex::encode(rebuilt), hex::encode(real::tbs(real)), "{kind:?} {product:?}");
            }
            // The algorithm outside is written once more.
            let outer = pss_sha384(Trailer::Explicit);
            let tbs_len = real::tbs(&ask).len();
            assert_eq!(ask[4 + tbs_len..][..outer.len()], outer);
        }
    }

    #[test]
    fn amds_own_crls_come_out_byte_for_byte() {
        let crls = [
            (Product::Milan, "amd-crl/ark-milan.crl.der", (1_652_116_065, 1_683_673_200), 3, &[][..]),
            (Product::Genoa, "amd-crl/ark-genoa.crl.der", (1_667_223_286, 1_698_793_200), 2, &[0x2_0001][..]),
        ];
        for (issuer, file, (this_update, next_update), number, revoked) in crls {
            let (Some(crl), Some((_, ark))) = (real::file(file), real::intermediate_and_ark(VekKind::Vcek, issuer))
            else {
                return;
            };
            let ark_id = real::key_id(&Certificate::from_der(&ark).unwrap());
            let (next_update, revoked) = (Some(next_update), revoked.to_vec());
            let template = CrlTemplate { issuer, this_update, next_update, number, revoked, critical: vec![] };
            let rebuilt = real::AMD.crl_tbs(&template, &ark_id);
            assert_eq!(hex::encode(rebuilt), hex::encode(real::tbs(&crl)), "{file}");
        }
    }

    #[test]
    fn ours_are_marked_in_every_name_and_point_nowhere() {
        for product in Product::ALL {
            for der in [ark_der(product), product.ask_der(), product.asvk_der()] {
                let certificate = Certificate::from_der(der).unwrap();
                let tbs = certificate.tbs_certificate();
                for name in [tbs.subject().to_string(), tbs.issuer().to_string()] {
                    assert_eq!(name.matches("SIMULATED-PUBLIC").count(), 2, "organisation and common name of {name}");
                    assert!(name.contains(product.name()) && !name.contains("Micro Devices"), "{name}");
                }
                assert!(!der.windows(7).any(|window| window == b"amd.com"));
            }
        }
    }

    #[test]
    fn crls_are_read_back_and_list_what_was_asked() {
        let amd = Amd::from_seed([1; 32], Product::Genoa);
        let read = |revoked: &[u64]| {
            let der = amd.crl_der(1_760_000_000, 2_600_000_000, revoked);
            let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&der).unwrap();
            let entries = list.tbs_cert_list.revoked_certificates;
            entries.map(|all| all.iter().map(|one| one.serial_number.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(read(&[]), None, "absent, not empty");
        assert_eq!(read(&[0x2_0002, 0]), Some(vec![vec![2, 0, 2], vec![0]]));
    }
}
