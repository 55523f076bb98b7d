//! The VCEK: the chip's P-384 key at one TCB version, and the certificate AMD's key server issues
//! for it. The VLEK too, a provider's key, whose certificate names the provider instead of the chip.
//!
//! Owns the derivation of the key (from seed and TCB, as the PSP derives it from fuses and TCB:
//! another TCB is another key) and the 1.3.6.1.4.1.3704.1 extensions with their exact encodings and
//! order (AMD 57230; both checked against real certificates): SPLs are
//! INTEGERs, the chip id is *raw* in the extension value, 64 bytes on Milan and Genoa, 8 on Turin,
//! the serial number is 0 in all of them.

use const_oid::ObjectIdentifier;
use p384::ecdsa::SigningKey;

use super::authority::{self, Authority, Trailer};
use super::{Amd, Product, Tcb};
use crate::der;
use crate::derive::derive_bytes;

/// AMD's arc of VCEK extensions, and its members by name.
mod oid {
    pub(super) const STRUCT_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
    pub(super) const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
    pub(super) const BOOT_LOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
    pub(super) const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
    pub(super) const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
    pub(super) const SPL_4: &str = "1.3.6.1.4.1.3704.1.3.4";
    pub(super) const SPL_5: &str = "1.3.6.1.4.1.3704.1.3.5";
    pub(super) const SPL_6: &str = "1.3.6.1.4.1.3704.1.3.6";
    pub(super) const SPL_7: &str = "1.3.6.1.4.1.3704.1.3.7";
    pub(super) const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
    pub(super) const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
    pub(super) const HWID: &str = "1.3.6.1.4.1.3704.1.4";
    pub(super) const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
}

/// 2025-06-01T00:00:00Z, and seven years later.
const VALIDITY: (u64, u64) = (1_748_736_000, 1_969_660_800);

/// Whose key signs reports, and whose authority is above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VekKind {
    /// The chip's, below the ASK.
    Vcek,
    /// A provider's, below the ASVK.
    Vlek,
}

/// A VCEK or VLEK certificate before it is signed. [`Amd::vcek_template`] and [`Amd::vlek_template`] give the true ones; a
/// test changes what it wants to see refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VcekTemplate {
    /// Whose key is certified.
    pub kind: VekKind,
    /// The kind whose intermediate is named as the issuer and signs.
    pub authority: VekKind,
    /// The TCB version whose key is certified (not what the extensions say about it).
    pub key: Tcb,
    /// Serial number; 0 in AMD's certificates.
    pub serial: u64,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
    /// Subject common name; `SEV-VCEK` in AMD's certificates.
    pub common_name: String,
    /// The product line whose intermediate is named as the issuer (the signing key is always of the chip's own).
    pub issuer: Product,
    /// All extensions, none of them critical, in order.
    pub extensions: Vec<Extension>,
}

/// One X.509 extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Dotted object identifier.
    pub oid: &'static str,
    /// The bytes inside extnValue's OCTET STRING.
    pub value: Vec<u8>,
}

impl VcekTemplate {
    /// The value of the extension `oid` (dotted), to be changed. Panics where the certificate has
    /// none.
    pub fn extension(&mut self, oid: &str) -> &mut Vec<u8> {
        let found = self.extensions.iter_mut().find(|extension| extension.oid == oid);
        &mut found.unwrap_or_else(|| panic!("a VCEK of this product has no extension {oid}")).value
    }
}

pub(super) fn template(amd: &Amd, tcb: Tcb) -> VcekTemplate {
    let product = amd.product();
    // AMD names the stepping on Milan only.
    let name = if product == Product::Milan { "Milan-B0" } else { product.name() };
    VcekTemplate {
        kind: VekKind::Vcek,
        authority: VekKind::Vcek,
        key: tcb,
        serial: 0,
        not_before: VALIDITY.0,
        not_after: VALIDITY.1,
        common_name: "SEV-VCEK".into(),
        issuer: product,
        extensions: extensions(product, name, tcb, &amd.chip_id()),
    }
}

/// As the VCEK's, but for the names: AMD's VLEKs have no stepping, and end with the provider.
pub(super) fn loaded(amd: &Amd, tcb: Tcb, provider: &str) -> VcekTemplate {
    let product = amd.product();
    let mut extensions = extensions(product, product.name(), tcb, &[0; 64]);
    extensions.retain(|extension| extension.oid != oid::HWID);
    extensions.push(Extension { oid: oid::CSP_ID, value: der::ia5(provider) });
    let (kind, authority) = (VekKind::Vlek, VekKind::Vlek);
    VcekTemplate { kind, authority, common_name: "SEV-VLEK".into(), extensions, ..template(amd, tcb) }
}

pub(super) fn issue(amd: &Amd, template: &VcekTemplate) -> Vec<u8> {
    let spki = spki(&key(amd, template.kind, template.key));
    authority::sign_vek(amd, template.authority, tbs(&Authority::SIMULATED, template, &spki, Trailer::Default))
}

/// All extensions, in AMD's order, which is not the order of their numbers.
fn extensions(product: Product, name: &str, tcb: Tcb, chip_id: &[u8; 64]) -> Vec<Extension> {
    let Tcb { fmc, boot_loader, tee, snp, microcode } = tcb;
    let number = |oid, value: u8| Extension { oid, value: der::integer(value.into()) };
    let name = Extension { oid: oid::PRODUCT_NAME, value: der::ia5(name) };
    match product {
        Product::Milan | Product::Genoa => vec![
            number(oid::STRUCT_VERSION, 0),
            name,
            number(oid::BOOT_LOADER, boot_loader),
            number(oid::TEE, tee),
            number(oid::SPL_4, 0),
            number(oid::SPL_5, 0),
            number(oid::SPL_6, 0),
            number(oid::SPL_7, 0),
            number(oid::SNP, snp),
            number(oid::MICROCODE, microcode),
            Extension { oid: oid::HWID, value: chip_id.to_vec() },
        ],
        Product::Turin => vec![
            number(oid::STRUCT_VERSION, 1),
            name,
            number(oid::FMC, fmc),
            number(oid::BOOT_LOADER, boot_loader),
            number(oid::TEE, tee),
            number(oid::SNP, snp),
            number(oid::SPL_5, 0),
            number(oid::SPL_6, 0),
            number(oid::SPL_7, 0),
            number(oid::MICROCODE, microcode),
            Extension { oid: oid::HWID, value: chip_id[..8].to_vec() },
        ],
    }
}

fn tbs(authority: &Authority, template: &VcekTemplate, spki: &[u8], trailer: Trailer) -> Vec<u8> {
    let VcekTemplate {
        kind: _,
        authority: above,
        key: _,
        serial,
        not_before,
        not_after,
        common_name,
        issuer,
        extensions,
    } = template;
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|Extension { oid, value }| {
            let oid = ObjectIdentifier::new(oid).expect("a dotted object identifier");
            der::extension(oid, false, value)
        })
        .collect();
    let (issuer, subject) = (authority.name(&authority.intermediate(*above, *issuer)), authority.name(common_name));
    authority::tbs(*serial, trailer, &issuer, (*not_before, *not_after), &subject, spki, &extensions)
}

/// The private key of this kind at `tcb`.
pub(super) fn key(amd: &Amd, kind: VekKind, tcb: Tcb) -> SigningKey {
    let label = match kind {
        VekKind::Vcek => "vcek",
        VekKind::Vlek => "vlek",
    };
    let tcb = tcb.to_bytes(amd.product);
    // One candidate in 2^190 is not a scalar of P-384.
    (0..=u8::MAX)
        .find_map(|attempt| {
            let context: [&[u8]; 3] = [amd.product.name().as_bytes(), &tcb, &[attempt]];
            SigningKey::from_slice(&derive_bytes::<48>(&amd.seed, label, &context)).ok()
        })
        .expect("256 candidates do not all miss")
}

/// SubjectPublicKeyInfo: id-ecPublicKey, secp384r1, uncompressed point (RFC 5480).
fn spki(key: &SigningKey) -> Vec<u8> {
    const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    let point = key.verifying_key().to_sec1_point(false);
    der::sequence(&[
        &der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(SECP384R1)]),
        &der::bit_string(point.as_bytes()),
    ])
}

#[cfg(test)]
mod tests {
    use x509_cert::Certificate;
    use x509_cert::der::{Decode, Encode};

    use super::*;
    use crate::amd::real;

    /// The same code under AMD's names, with a real certificate's key, chip and dates, gives the
    /// bytes AMD signed.
    #[test]
    fn amds_own_vceks_come_out_byte_for_byte() {
        let old = Trailer::Explicit;
        let new = Trailer::Default;
        let tcb = |fmc, boot_loader, tee, snp, microcode| Tcb { fmc, boot_loader, tee, snp, microcode };
        let all = [
            ("snp-go-sev-guest/vcek.testcer", Product::Milan, tcb(0, 2, 0, 5, 68), old),
            ("snp-virtee-sev/vcek_milan.der", Product::Milan, tcb(0, 3, 0, 8, 115), old),
            ("snp-oak/milan_oc_release_vcek.der", Product::Milan, tcb(0, 4, 0, 24, 219), new),
            ("snp-attestation-rs/live-vcek-genoa.der", Product::Genoa, tcb(0, 10, 0, 27, 27), new),
            ("snp-oak/turin_oc_vcek.der", Product::Turin, tcb(0, 1, 0, 2, 71), new),
        ];
        for (file, product, tcb, trailer) in all {
            let Some(der) = real::file(file) else { return };
            let certificate = Certificate::from_der(&der).unwrap();
            let certificate = certificate.tbs_certificate();
            let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
            let hwid = certificate.extensions().unwrap().iter().find(|one| one.extn_id.to_string() == oid::HWID);
            let hwid = hwid.unwrap().extn_value.as_bytes();
            let mut chip_id = [0; 64];
            chip_id[..hwid.len()].copy_from_slice(hwid);
            let name = if product == Product::Milan { "Milan-B0" } else { product.name() };
            let template = VcekTemplate {
                kind: VekKind::Vcek,
                authority: VekKind::Vcek,
                key: tcb,
                serial: 0,
                not_before: seconds(certificate.validity().not_before),
                not_after: seconds(certificate.validity().not_after),
                common_name: "SEV-VCEK".into(),
                issuer: product,
                extensions: extensions(product, name, tcb, &chip_id),
            };
            let spki = certificate.subject_public_key_info().to_der().unwrap();
            let rebuilt = tbs(&real::AMD, &template, &spki, trailer);
            assert_eq!(hex::encode(rebuilt), hex::encode(real::tbs(&der)), "{file}");
        }
    }

    #[test]
    fn amds_own_vlek_comes_out_byte_for_byte() {
        let Some(der) = real::file("snp-trustee/test-vlek.der") else { return };
        let certificate = Certificate::from_der(&der).unwrap();
        let certificate = certificate.tbs_certificate();
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        let amd = Amd::from_seed([1; 32], Product::Milan);
        let tcb = Tcb { fmc: 0, boot_loader: 4, tee: 0, snp: 24, microcode: 217 };
        let template = VcekTemplate {
            not_before: seconds(certificate.validity().not_before),
            not_after: seconds(certificate.validity().not_after),
            ..amd.vlek_template(tcb, "CN=cc-us-east-2.amazonaws.com")
        };
        let spki = certificate.subject_public_key_info().to_der().unwrap();
        let rebuilt = tbs(&real::AMD, &template, &spki, Trailer::Default);
        assert_eq!(hex::encode(rebuilt), hex::encode(real::tbs(&der)));
    }

    #[test]
    fn another_tcb_chip_product_or_kind_is_another_key() {
        let amd = |seed, product| Amd::from_seed([seed; 32], product);
        let milan = amd(1, Product::Milan);
        let tcb = milan.tcb();
        let same = spki(&key(&milan, VekKind::Vcek, tcb));
        assert_eq!(spki(&key(&amd(1, Product::Milan), VekKind::Vcek, tcb)), same, "control: the same chip and TCB");
        assert_ne!(spki(&key(&milan, VekKind::Vlek, tcb)), same);
        assert_ne!(spki(&key(&milan, VekKind::Vcek, Tcb { snp: tcb.snp - 1, ..tcb })), same);
        assert_ne!(spki(&key(&amd(2, Product::Milan), VekKind::Vcek, tcb)), same);
        assert_ne!(spki(&key(&amd(1, Product::Genoa), VekKind::Vcek, tcb)), same);
    }

    #[test]
    fn a_changed_template_changes_the_certificate_and_only_there() {
        let amd = Amd::from_seed([1; 32], Product::Turin);
        let mut template = amd.vcek_template(amd.tcb());
        assert_eq!(amd.issue_vcek(&template), amd.vcek_der(amd.tcb()), "control: unchanged");
        template.extension(oid::SNP).copy_from_slice(&[2, 1, 99]);
        let changed = amd.issue_vcek(&template);
        let (before, after) = (amd.vcek_der(amd.tcb()), changed);
        let (before, after) = (real::tbs(&before), real::tbs(&after));
        let differing = before.iter().zip(after).filter(|(one, other)| one != other).count();
        assert_eq!((before.len() == after.len(), differing), (true, 1));
    }
}
