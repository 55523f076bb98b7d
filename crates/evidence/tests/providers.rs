//! What is a signature and what is none, the same for every provider that is compiled in.
//!
//! The cases are Wycheproof's and our own: each says what must be answered, so that two providers that agree are not
//! wrong together.

use evidence::{Provider, SignatureAlgorithm};
use p256::ecdsa::signature::Signer;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, RsaPrivateKey};
use sha2::{Digest, Sha256, Sha384};
use wycheproof::{TestResult, ecdsa, rsa_pkcs1_verify, rsa_pss_verify};

const ALL: [SignatureAlgorithm; 6] = [
    SignatureAlgorithm::EcdsaP256Sha256,
    SignatureAlgorithm::EcdsaP256Sha256Fixed,
    SignatureAlgorithm::EcdsaP384Sha384,
    SignatureAlgorithm::EcdsaP384Sha384Fixed,
    SignatureAlgorithm::RsaPssSha384,
    SignatureAlgorithm::RsaPkcs1Sha256,
];

const MESSAGE: &[u8] = b"message";

/// Asks all; says what they answered.
fn ask(what: &str, algorithm: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let providers: &[(&str, &dyn Provider)] = &[
        #[cfg(feature = "aws-lc")]
        ("AwsLc", &evidence::AwsLc),
        #[cfg(feature = "rustcrypto")]
        ("RustCrypto", &evidence::RustCrypto),
    ];
    let answers: Vec<_> = providers
        .iter()
        .map(|(name, provider)| (*name, provider.verify(algorithm, spki, message, signature)))
        .collect();
    let first = answers.first().expect("a provider: choose a feature").1;
    assert!(answers.iter().all(|(_, answer)| *answer == first), "{what}: {answers:?}");
    first
}

#[track_caller]
fn accepted(what: &str, algorithm: SignatureAlgorithm, spki: &[u8], signature: &[u8]) {
    assert!(ask(what, algorithm, spki, MESSAGE, signature), "{what} is refused");
}

#[track_caller]
fn refused(what: &str, algorithm: SignatureAlgorithm, spki: &[u8], signature: &[u8]) {
    assert!(!ask(what, algorithm, spki, MESSAGE, signature), "{what} is accepted");
}

/// A DER element of less than 64 KiB.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut length = u16::try_from(content.len()).expect("short").to_be_bytes().to_vec();
    length = match length[..] {
        [0, short @ 0..=127] => vec![short],
        [0, short] => vec![0x81, short],
        _ => [&[0x82], &length[..]].concat(),
    };
    [&[tag], &length[..], &content].concat()
}

/// A number of bytes with the first bit clear.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let sign: &[u8] = if bytes[start..].first().is_none_or(|byte| *byte > 127) { &[0] } else { &[] };
    tlv(2, &[sign, &bytes[start..]])
}

const EC: &[u8] = &[6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const P256: &[u8] = &[6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2B, 0x81, 4, 0, 0x22];
const RSA: &[u8] = &[6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const NULL: &[u8] = &[5, 0];

fn spki(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x30, algorithm), &tlv(3, &[&[0], key])])
}

/// What is signed with a curve, in both spellings, and what nearly is.
struct Curve {
    der: SignatureAlgorithm,
    fixed: SignatureAlgorithm,
    name: &'static [u8],
    point: Vec<u8>,
    compressed: Vec<u8>,
    another: Vec<u8>,
    r: Vec<u8>,
    s: Vec<u8>,
    /// n - s.
    high: Vec<u8>,
    order: Vec<u8>,
}

macro_rules! curve {
    ($curve:ident, $der:ident, $fixed:ident, $name:ident, $order:literal) => {{
        let key = |seed: u8| $curve::ecdsa::SigningKey::from_slice(&[seed; $order.len() / 2]).expect("a key");
        let signature: $curve::ecdsa::Signature = key(7).sign(MESSAGE);
        let (r, s) = signature.split_scalars();
        let high = $curve::ecdsa::Signature::from_scalars(r, -s).expect("a signature").to_bytes();
        let bytes = signature.to_bytes();
        let half = bytes.len() / 2;
        Curve {
            der: SignatureAlgorithm::$der,
            fixed: SignatureAlgorithm::$fixed,
            name: $name,
            point: key(7).verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            compressed: key(7).verifying_key().to_sec1_point(true).as_bytes().to_vec(),
            another: key(8).verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            r: bytes[..half].to_vec(),
            s: bytes[half..].to_vec(),
            high: high[half..].to_vec(),
            order: hex::decode($order).expect("hexadecimal"),
        }
    }};
}

fn curves() -> [Curve; 2] {
    [
        curve!(
            p256,
            EcdsaP256Sha256,
            EcdsaP256Sha256Fixed,
            P256,
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
        ),
        curve!(
            p384,
            EcdsaP384Sha384,
            EcdsaP384Sha384Fixed,
            P384,
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"
        ),
    ]
}

impl Curve {
    fn spki(&self) -> Vec<u8> {
        spki(&[EC, self.name], &self.point)
    }

    fn signature(&self) -> Vec<u8> {
        tlv(0x30, &[&integer(&self.r), &integer(&self.s)])
    }
}

#[test]
fn numbers_of_ecdsa_have_bounds() {
    for Curve { der, fixed, ref r, ref s, ref high, ref order, ref another, .. } in curves() {
        let curve = curves().into_iter().find(|curve| curve.der == der).expect("the same");
        let (key, zero) = (curve.spki(), vec![0; r.len()]);
        let mut past = order.clone();
        *past.last_mut().expect("bytes") += 1;
        for (what, r, s, good) in [
            ("good", r, s, true),
            // The other root is as valid: nothing here asks for the lower (RFC 6979 does not, nor do the vendors).
            ("high s", r, high, true),
            ("r = 0", &zero, s, false),
            ("s = 0", r, &zero, false),
            ("both 0", &zero, &zero, false),
            ("r = n", order, s, false),
            ("s = n", r, order, false),
            ("s = n + 1", r, &past, false),
            ("r of all ones", &vec![0xFF; r.len()], s, false),
            ("s of all ones", r, &vec![0xFF; r.len()], false),
            ("exchanged", s, r, false),
        ] {
            for (scheme, signature) in [(der, tlv(0x30, &[&integer(r), &integer(s)])), (fixed, [&r[..], s].concat())] {
                assert_eq!(ask(what, scheme, &key, MESSAGE, &signature), good, "{what} by {scheme:?}");
                refused("another key", scheme, &spki(&[EC, curve.name], another), &signature);
                assert!(!ask("another message", scheme, &key, b"massage", &signature));
            }
        }
    }
}

#[test]
fn a_signature_in_der_has_one_spelling() {
    for curve in curves() {
        let (key, r, s) = (curve.spki(), integer(&curve.r), integer(&curve.s));
        let good = curve.signature();
        accepted("control", curve.der, &key, &good);
        // Content of an INTEGER, so that what is before it can be changed.
        let (bare_r, bare_s) = (&r[2..], &s[2..]);
        let long = |content: &[u8]| [&[2, 0x81, u8::try_from(content.len()).expect("short")], content].concat();
        for (what, signature) in [
            ("empty", vec![]),
            ("an empty sequence", tlv(0x30, &[])),
            ("only r", tlv(0x30, &[&r])),
            ("a third number", tlv(0x30, &[&r, &s, &s])),
            ("a superfluous zero in r", tlv(0x30, &[&tlv(2, &[&[0, 0], bare_r]), &s])),
            ("a superfluous zero in s", tlv(0x30, &[&r, &tlv(2, &[&[0, 0], bare_s])])),
            ("an empty r", tlv(0x30, &[&tlv(2, &[]), &s])),
            ("a negative r", tlv(0x30, &[&tlv(2, &[&[0x80], &curve.r[1..]]), &s])),
            ("a negative s", tlv(0x30, &[&r, &tlv(2, &[&[0xFF], &curve.s])])),
            ("r of another type", tlv(0x30, &[&tlv(4, &[bare_r]), &s])),
            ("another outer type", tlv(0x31, &[&r, &s])),
            ("a long length of r", tlv(0x30, &[&long(bare_r), &s])),
            ("a long length", [&[0x30, 0x81, u8::try_from(good.len() - 2).expect("short")], &good[2..]].concat()),
            ("an indefinite length", [&[0x30, 0x80], &good[2..], &[0, 0]].concat()),
            ("something after it", [&good[..], &[0]].concat()),
            ("something before it", [&[0], &good[..]].concat()),
            ("one byte less", good[..good.len() - 1].to_vec()),
            ("r longer than the field", tlv(0x30, &[&tlv(2, &[&[1], &curve.r]), &s])),
            ("the fixed form", [&curve.r[..], &curve.s].concat()),
        ] {
            refused(what, curve.der, &key, &signature);
        }
        let fixed = [&curve.r[..], &curve.s].concat();
        accepted("control", curve.fixed, &key, &fixed);
        for (what, signature) in [
            ("empty", vec![]),
            ("DER", good),
            ("half", curve.r.clone()),
            ("a byte more", [&fixed[..], &[0]].concat()),
            ("a byte more before", [&[0], &fixed[..]].concat()),
            ("a byte less", fixed[1..].to_vec()),
            ("each a byte longer", [&[0], &curve.r[..], &[0], &curve.s].concat()),
        ] {
            refused(what, curve.fixed, &key, &signature);
        }
    }
}

#[test]
fn a_key_is_of_its_kind_and_has_one_spelling() {
    let curves = curves();
    for (at, curve) in curves.iter().enumerate() {
        let other = &curves[1 - at];
        let (good, point) = (curve.spki(), &curve.point);
        let signature = curve.signature();
        accepted("control", curve.der, &good, &signature);
        let mut off = point.clone();
        *off.last_mut().expect("bytes") ^= 1;
        let hybrid = [&[6 | (point[point.len() - 1] & 1)], &point[1..]].concat();
        for (what, key) in [
            ("nothing", vec![]),
            ("another curve's name", spki(&[EC, other.name], point)),
            ("another curve's point", spki(&[EC, curve.name], &other.point)),
            ("no name of a curve", spki(&[EC], point)),
            ("NULL for a curve", spki(&[EC, NULL], point)),
            ("RSA's name", spki(&[RSA, NULL], point)),
            ("a compressed point", spki(&[EC, curve.name], &curve.compressed)),
            ("a hybrid point", spki(&[EC, curve.name], &hybrid)),
            ("the point at infinity", spki(&[EC, curve.name], &[0])),
            ("a point off the curve", spki(&[EC, curve.name], &off)),
            ("coordinates of zero", spki(&[EC, curve.name], &[&[4], &vec![0; point.len() - 1][..]].concat())),
            ("a point and more", spki(&[EC, curve.name], &[&point[..], &[0]].concat())),
            ("an SPKI for a point", spki(&[EC, curve.name], &good)),
            ("unused bits", tlv(0x30, &[&tlv(0x30, &[EC, curve.name]), &tlv(3, &[&[1], point])])),
            ("something after it", [&good[..], &[0]].concat()),
            ("the point alone", point.clone()),
        ] {
            refused(what, curve.der, &key, &signature);
            refused(what, curve.fixed, &key, &[&curve.r[..], &curve.s].concat());
        }
        for scheme in ALL.iter().filter(|scheme| **scheme != curve.der) {
            refused("another scheme", *scheme, &good, &signature);
        }
    }
}

/// RSA of a size and exponent, from a seed.
fn private(bits: usize, exponent: u64) -> RsaPrivateKey {
    let mut random = ChaCha20Rng::seed_from_u64(bits as u64);
    RsaPrivateKey::new_with_exp(&mut random, bits, BoxedUint::from(exponent)).expect("a key")
}

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    spki(&[RSA, NULL], &tlv(0x30, &[&integer(modulus), &integer(exponent)]))
}

fn public(key: &RsaPrivateKey) -> Vec<u8> {
    rsa_spki(&key.n().to_be_bytes(), &key.e().to_be_bytes())
}

fn pss(key: &RsaPrivateKey, salt: usize) -> Vec<u8> {
    let signer = rsa::pss::SigningKey::<Sha384>::new_with_salt_len(key.clone(), salt);
    signer.sign_with_rng(&mut ChaCha20Rng::seed_from_u64(1), MESSAGE).to_vec()
}

fn pkcs1(key: &RsaPrivateKey) -> Vec<u8> {
    rsa::pkcs1v15::SigningKey::<Sha256>::new(key.clone()).sign(MESSAGE).to_vec()
}

#[test]
fn rsa_has_bounds_of_size_and_exponent() {
    // One byte of the representative is empty with 2049 bits.
    for (bits, exponent, good) in [(2048, 65_537, true), (2048, 3, true), (2049, 65_537, true), (2047, 65_537, false)] {
        let key = private(bits, exponent);
        let what = format!("{bits} bits, exponent {exponent}");
        let spki = public(&key);
        assert_eq!(ask(&what, SignatureAlgorithm::RsaPssSha384, &spki, MESSAGE, &pss(&key, 48)), good, "{what}");
        assert_eq!(ask(&what, SignatureAlgorithm::RsaPkcs1Sha256, &spki, MESSAGE, &pkcs1(&key)), good, "{what}");
    }
    // With the exponent 1 a signature is the encoded message itself (RFC 8017 section 9.2).
    let modulus = private(2048, 65_537).n().to_be_bytes();
    let info = [0x30, 0x31, 0x30, 0x0D, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
    let encoded = [&[0, 1], &[0xFF; 202][..], &[0], &info, &Sha256::digest(MESSAGE)].concat();
    assert_eq!(encoded.len(), modulus.len());
    let pkcs1 = SignatureAlgorithm::RsaPkcs1Sha256;
    refused("an exponent of 1", pkcs1, &rsa_spki(&modulus, &[1]), &encoded);
    refused("an exponent of 0", pkcs1, &rsa_spki(&modulus, &[]), &encoded);
    refused("an even exponent", pkcs1, &rsa_spki(&modulus, &[2]), &encoded);
    refused("an exponent of 34 bits", pkcs1, &rsa_spki(&modulus, &[2, 0, 0, 0, 1]), &encoded);
    refused("an exponent as long as the modulus", pkcs1, &rsa_spki(&modulus, &modulus), &encoded);
    let mut even = modulus.to_vec();
    *even.last_mut().expect("bytes") &= 0xFE;
    refused("an even modulus", pkcs1, &rsa_spki(&even, &[3]), &encoded);
    refused("no modulus", pkcs1, &rsa_spki(&[], &[3]), &encoded);
    refused("a modulus of 8,193 bits", pkcs1, &rsa_spki(&[&[1], &[0xFF; 1024][..]].concat(), &[3]), &[1; 1025]);
    refused("a modulus of 400,000 bits", pkcs1, &rsa_spki(&[0xFF; 50_000], &[3]), &[1; 50_000]);
}

#[test]
fn rsa_signatures_have_one_spelling() {
    let (key, another) = (private(2048, 65_537), private(2050, 65_537));
    let good = public(&key);
    let modulus = key.n().to_be_bytes();
    for (scheme, other, signature) in [
        (SignatureAlgorithm::RsaPssSha384, SignatureAlgorithm::RsaPkcs1Sha256, pss(&key, 48)),
        (SignatureAlgorithm::RsaPkcs1Sha256, SignatureAlgorithm::RsaPssSha384, pkcs1(&key)),
    ] {
        accepted("control", scheme, &good, &signature);
        assert!(!ask("another message", scheme, &good, b"massage", &signature));
        refused("another scheme", other, &good, &signature);
        refused("another key", scheme, &public(&another), &signature);
        // s + n is the same number modulo n.
        let sum = BoxedUint::from_be_slice(&signature, 2112)
            .expect("a number")
            .wrapping_add(BoxedUint::from_be_slice(&modulus, 2112).expect("a number"));
        for (what, signature) in [
            ("empty", vec![]),
            ("zero", vec![0; 256]),
            ("one", [&[0; 255][..], &[1]].concat()),
            ("n", modulus.to_vec()),
            ("s + n", sum.to_be_bytes().iter().copied().skip_while(|byte| *byte == 0).collect()),
            ("a zero before it", [&[0], &signature[..]].concat()),
            ("a zero after it", [&signature[..], &[0]].concat()),
            ("one byte less", signature[1..].to_vec()),
        ] {
            refused(what, scheme, &good, &signature);
        }
        let exponent = [1, 0, 1];
        let number = integer(&modulus);
        for (what, key) in [
            ("no parameters", spki(&[RSA], &tlv(0x30, &[&number, &integer(&exponent)]))),
            ("a curve for parameters", spki(&[RSA, P256], &tlv(0x30, &[&number, &integer(&exponent)]))),
            ("a curve's name", spki(&[EC, P256], &tlv(0x30, &[&number, &integer(&exponent)]))),
            ("a negative modulus", spki(&[RSA, NULL], &tlv(0x30, &[&tlv(2, &[&modulus]), &integer(&exponent)]))),
            (
                "a superfluous zero",
                spki(&[RSA, NULL], &tlv(0x30, &[&tlv(2, &[&[0, 0], &modulus]), &integer(&exponent)])),
            ),
            ("a third number", spki(&[RSA, NULL], &tlv(0x30, &[&number, &integer(&exponent), &integer(&exponent)]))),
            (
                "something after the key",
                spki(&[RSA, NULL], &[tlv(0x30, &[&number, &integer(&exponent)]), vec![0]].concat()),
            ),
            ("an SPKI for a key", spki(&[RSA, NULL], &good)),
        ] {
            refused(what, scheme, &key, &signature);
        }
    }
    for salt in [0, 20, 32, 47, 49, 64] {
        refused("a salt of another length", SignatureAlgorithm::RsaPssSha384, &good, &pss(&key, salt));
    }
}

#[test]
fn no_bit_of_a_signature_or_a_key_is_free() {
    let rsa = private(2048, 65_537);
    let mut cases = vec![
        (SignatureAlgorithm::RsaPssSha384, public(&rsa), pss(&rsa, 48)),
        (SignatureAlgorithm::RsaPkcs1Sha256, public(&rsa), pkcs1(&rsa)),
    ];
    for curve in curves() {
        cases.push((curve.der, curve.spki(), curve.signature()));
        cases.push((curve.fixed, curve.spki(), [&curve.r[..], &curve.s].concat()));
    }
    for (scheme, key, signature) in cases {
        accepted("control", scheme, &key, &signature);
        // Each third, which is a number of no power of two: all bits of a byte have their turn.
        for bit in (0..signature.len() * 8).step_by(3) {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused("a bit of the signature", scheme, &key, &flipped);
        }
        for bit in (0..key.len() * 8).step_by(3) {
            let mut flipped = key.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused("a bit of the key", scheme, &flipped, &signature);
        }
    }
}

/// Counts Wycheproof's cases: accepted, refused.
#[derive(Default)]
struct Counted([usize; 2]);

impl Counted {
    /// What may be taken or not is as both providers agree.
    fn case(
        &mut self,
        what: &str,
        algorithm: SignatureAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
        must: TestResult,
    ) {
        let answer = ask(what, algorithm, key, message, signature);
        match must {
            TestResult::Valid => assert!(answer, "{what}"),
            TestResult::Invalid => assert!(!answer, "{what}"),
            TestResult::Acceptable => {}
        }
        self.0[usize::from(!answer)] += 1;
    }
}

#[test]
fn wycheproofs_ecdsa() {
    use ecdsa::TestName;
    let mut counted = Counted::default();
    for (name, algorithm) in [
        (TestName::EcdsaSecp256r1Sha256, SignatureAlgorithm::EcdsaP256Sha256),
        (TestName::EcdsaSecp256r1Sha256P1363, SignatureAlgorithm::EcdsaP256Sha256Fixed),
        (TestName::EcdsaSecp384r1Sha384, SignatureAlgorithm::EcdsaP384Sha384),
        (TestName::EcdsaSecp384r1Sha384P1363, SignatureAlgorithm::EcdsaP384Sha384Fixed),
    ] {
        for group in ecdsa::TestSet::load(name).expect("vectors").test_groups {
            for test in &group.tests {
                let what = format!("{algorithm:?} {}: {}", test.tc_id, test.comment);
                counted.case(&what, algorithm, &group.der, &test.msg, &test.sig, test.result);
            }
        }
    }
    assert!(counted.0.iter().all(|count| *count > 500), "{:?}", counted.0);
}

#[test]
fn wycheproofs_rsa() {
    let mut counted = Counted::default();
    let pkcs1 = SignatureAlgorithm::RsaPkcs1Sha256;
    use rsa_pkcs1_verify::TestName as Pkcs1;
    for name in [Pkcs1::Rsa2048Sha256, Pkcs1::Rsa3072Sha256, Pkcs1::Rsa4096Sha256, Pkcs1::Rsa8192Sha256] {
        for group in rsa_pkcs1_verify::TestSet::load(name).expect("vectors").test_groups {
            for test in &group.tests {
                let what = format!("{pkcs1:?} {} {}: {}", group.key_size, test.tc_id, test.comment);
                counted.case(&what, pkcs1, &group.der, &test.msg, &test.sig, test.result);
            }
        }
    }
    let pss = SignatureAlgorithm::RsaPssSha384;
    use rsa_pss_verify::TestName as Pss;
    for name in [Pss::RsaPss2048Sha384Mgf1SaltLen48, Pss::RsaPss4096Sha384Mgf1SaltLen48] {
        for group in rsa_pss_verify::TestSet::load(name).expect("vectors").test_groups {
            for test in &group.tests {
                let what = format!("{pss:?} {} {}: {}", group.key_size, test.tc_id, test.comment);
                counted.case(&what, pss, &group.der, &test.msg, &test.sig, test.result);
            }
        }
    }
    assert!(counted.0.iter().all(|count| *count > 100), "{:?}", counted.0);
}
