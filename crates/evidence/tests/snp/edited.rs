//! Rules that no signature check would let a test reach: objects edited after they were signed,
//! judged with a provider that says yes to every signature.
//!
//! What is shown is that a rule stands on its own feet: were the signer (or the provider) at
//! fault, the rule would still refuse. Each edit stands beside the unedited control.

use crate::support::edit::{rebuild, replace};
use crate::vectors::{Case, control};
use evidence::pki::{Certificate, Crl, PkiError, Scheme};
use evidence::snp::report::{PlatformFlag, PolicyFlag};
use evidence::snp::{Collateral, Input, Policy, Roots, verify};
use evidence::{Provider, SignatureAlgorithm};

/// Says yes. Only here.
struct Gullible;

impl Provider for Gullible {
    fn verify(&self, _: SignatureAlgorithm, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }
}

fn failures(case: &Case, roots: &Roots) -> Vec<&'static str> {
    let input = Input {
        evidence: case.evidence(),
        expected: case.expected,
        collateral: Collateral { roots, crl: None }.into(),
        policy: &case.policy,
        platforms: &case.platforms,
        now: case.now,
    };
    match verify(input, &Gullible) {
        Ok(_) => Vec::new(),
        Err(verdict) => verdict.failures().map(|check| check.id).collect(),
    }
}

/// Replaces the last `old` by `new`.
fn replace_last(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = der.windows(old.len()).rposition(|window| window == old).expect("old is there");
    rebuild(der, at, old.len(), new)
}

#[test]
fn the_unedited_case_passes() {
    let case = control("ok-genoa-v5");
    assert_eq!(failures(&case, &case.roots), [""; 0]);
    // And so does one rebuilt without a change.
    let same = replace(&case.vcek, b"Genoa", b"Genoa");
    assert_eq!(same, case.vcek);
}

#[test]
fn an_ask_needs_every_right_of_an_authority() {
    let case = control("ok-genoa-v5");
    let ask = case.ask.clone().expect("the control has an ASK");
    for (about, old, new) in [
        ("path length 1", &[0x01, 0x01, 0xFF, 0x02, 0x01, 0x00][..], &[1, 1, 0xFF, 2, 1, 1][..]),
        ("no path length", &[0x01, 0x01, 0xFF, 0x02, 0x01, 0x00], &[1, 1, 0xFF]),
        ("no CA", &[0x01, 0x01, 0xFF, 0x02, 0x01, 0x00], &[]),
        ("no keyCertSign", &[0x03, 0x02, 0x01, 0x04], &[0x03, 0x02, 0x07, 0x80]),
        ("no key usage", &[0x55, 0x1D, 0x0F], &[0x55, 0x1D, 0x7F]),
    ] {
        let mut edited = case.clone();
        edited.ask = Some(replace(&ask, old, new));
        assert_eq!(failures(&edited, &case.roots), ["snp.ask.authority"], "{about}");
    }
    // CA false with a path length, which is legal DER.
    let mut edited = case.clone();
    let constraints = [0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, 0x00];
    edited.ask = Some(replace(&ask, &constraints, &[0x30, 0x03, 0x02, 0x01, 0x00]));
    assert_eq!(failures(&edited, &case.roots), ["snp.ask.authority"], "no CA, path length 0");
}

#[test]
fn an_ark_speaks_for_its_own_product_line_only() {
    let case = control("ok-genoa-v5");
    let milan = control("ok-milan-v5");
    let ask = case.ask.clone().expect("the control has an ASK");
    let mut edited = case.clone();
    edited.ask = Some(replace(&ask, b"ARK-Genoa", b"ARK-Milan"));
    assert_eq!(failures(&edited, &milan.roots), ["snp.ark.trusted"]);
}

/// A root and its successor may bear one name; the one that signed counts, wherever it stands.
#[test]
fn every_root_of_the_name_is_tried() {
    let mut case = control("ok-genoa-v5");
    let genuine = case.roots.anchors()[0].certificate().der().to_vec();
    // Another RSA key under the same name: one byte of the modulus differs.
    let start = [0x02, 0x82, 0x02, 0x01, 0x00];
    let at = genuine.windows(start.len()).position(|window| window == start).expect("a modulus") + 100;
    let mut other = genuine.clone();
    other[at] ^= 1;
    for (arks, good) in [(vec![&other, &genuine], true), (vec![&genuine, &other], true), (vec![&other], false)] {
        let arks: Vec<&[u8]> = arks.into_iter().map(Vec::as_slice).collect();
        case.roots = Roots::from_arks(&arks).expect("roots");
        let found = case.verify().map(|_| ()).map_err(|verdict| verdict.primary().map(|check| check.id));
        assert_eq!(found, if good { Ok(()) } else { Err(Some("snp.ask.signature")) });
    }
}

#[test]
fn issuers_are_compared_by_name_too() {
    let case = control("ok-genoa-v5");
    let mut edited = case.clone();
    edited.vcek = replace(&case.vcek, b"SEV-Genoa", b"SEV-Milan");
    assert_eq!(failures(&edited, &case.roots), ["snp.vek.signature"]);
    let mut edited = case.clone();
    let crl = case.crl.as_deref().expect("the control has a list");
    edited.crl = Some(replace(crl, b"ARK-Genoa", b"ARK-Milan"));
    assert_eq!(failures(&edited, &case.roots), ["snp.crl.signature"]);
}

#[test]
fn a_vek_certifies_a_p384_key() {
    let case = control("ok-genoa-v5");
    let mut edited = case.clone();
    // secp384r1 to secp521r1, and to prime256v1.
    edited.vcek = replace(&case.vcek, &[0x2B, 0x81, 4, 0, 0x22], &[0x2B, 0x81, 4, 0, 0x23]);
    assert_eq!(failures(&edited, &case.roots), ["snp.vek.format"]);
    let prime256v1 = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
    edited.vcek = replace(&case.vcek, &[0x2B, 0x81, 4, 0, 0x22], &prime256v1);
    assert_eq!(failures(&edited, &case.roots), ["snp.vek.format"]);
}

#[test]
fn firmware_is_compared_by_major_before_minor() {
    let mut case = control("ok-genoa-v5");
    // Policy ABI 2.0 over committed firmware 1.x: POLICY is at 8, COMMITTED_MAJOR at 0x1EE.
    assert!(case.report[0x1EE] < 2);
    (case.report[8], case.report[9]) = (0, 2);
    assert_eq!(failures(&case, &case.roots), ["snp.policy.firmware"]);
    // Policy ABI 0.255: an older major passes whatever its minor.
    (case.report[8], case.report[9]) = (255, 0);
    assert_eq!(failures(&case, &case.roots), [""; 0]);
}

/// Bits of POLICY (AMD 56860, structure GUEST_POLICY): the name in a policy, the number, whether it permits something.
const POLICY_BITS: [(&str, u8, bool); 9] = [
    ("SMT", 16, true),
    ("MigrateMA", 18, true),
    ("Debug", 19, true),
    ("SingleSocket", 20, false),
    ("CxlAllow", 21, true),
    ("MemAes256Xts", 22, false),
    ("RaplDisable", 23, false),
    ("CiphertextHidingDram", 24, false),
    ("PageSwapDisable", 25, false),
];

/// Bits of PLATFORM_INFO (AMD 56860, structure PLATFORM_INFO), in the same way.
const PLATFORM_BITS: [(&str, u8, bool); 8] = [
    ("SMT", 0, true),
    ("TSME", 1, false),
    ("ECC", 2, false),
    ("RaplDisabled", 3, false),
    ("CiphertextHidingDram", 4, false),
    ("AliasCheckComplete", 5, false),
    ("IommuWriteSafe", 6, false),
    ("TIO", 7, true),
];

/// What fails for a report with this bit alone, or without it, under a list with this flag alone, or an empty one.
fn flag_failures(offset: usize, value: u64, policy: &str) -> Option<Vec<&'static str>> {
    let mut case = control("ok-genoa-v5");
    case.policy = toml::from_str::<Policy>(&format!("any_measurement = true\n{policy}")).ok()?;
    case.report[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    Some(failures(&case, &case.roots))
}

#[test]
fn every_bit_of_a_guest_policy_is_judged() {
    let named = |flag: PolicyFlag| (serde_json::to_value(flag).expect("a name"), flag.bit(), flag.weakens());
    let table = POLICY_BITS.map(|(name, bit, permits)| (name.into(), 1 << bit, permits));
    assert_eq!(PolicyFlag::ALL.map(named), table);
    for (name, bit, permits) in POLICY_BITS {
        let judge = |set: bool, listed: bool| {
            let list = if listed { format!("\"{name}\"") } else { String::new() };
            let debug = if listed && name == "Debug" { "insecure_debug = true\n" } else { "" };
            flag_failures(8, 1 << 17 | u64::from(set) << bit, &format!("policy_flags = [{list}]\n{debug}"))
        };
        let id = match name {
            "MigrateMA" => "snp.policy.migration",
            "Debug" => "snp.policy.debug",
            _ => "snp.policy.flags",
        };
        let none = Some(vec![]);
        assert_eq!(judge(false, false), none, "{name}: neither");
        assert_eq!(judge(true, false), if permits { Some(vec![id]) } else { none.clone() }, "{name}: set");
        if name == "MigrateMA" {
            assert_eq!(judge(false, true), None, "nobody may permit it");
        } else {
            assert_eq!(judge(true, true), none, "{name}: set and listed");
            assert_eq!(judge(false, true), if permits { none } else { Some(vec![id]) }, "{name}: listed");
        }
    }
}

#[test]
fn every_bit_of_platform_info_is_judged() {
    let named = |flag: PlatformFlag| (serde_json::to_value(flag).expect("a name"), flag.bit(), flag.weakens());
    let table = PLATFORM_BITS.map(|(name, bit, weakens)| (name.into(), 1 << bit, weakens));
    assert_eq!(PlatformFlag::ALL.map(named), table);
    for (name, bit, weakens) in PLATFORM_BITS {
        let judge = |set: bool, listed: bool| {
            let list = if listed { format!("\"{name}\"") } else { String::new() };
            flag_failures(0x40, u64::from(set) << bit, &format!("platform_info_flags = [{list}]\n"))
        };
        let (none, weaker) = (Some(vec![]), Some(vec!["snp.platform_info.flags"]));
        assert_eq!(judge(false, false), none, "{name}: neither");
        assert_eq!(judge(true, true), none, "{name}: set and listed");
        assert_eq!(judge(true, false), if weakens { weaker.clone() } else { none.clone() }, "{name}: set");
        assert_eq!(judge(false, true), if weakens { none } else { weaker }, "{name}: listed");
    }
}

#[test]
fn a_certificate_is_version_3() {
    let der = control("ok-genoa-v5").vcek;
    assert!(Certificate::parse(&der, Scheme::RsaPssSha384).is_ok(), "control");
    let edited = replace(&der, &[0xA0, 3, 2, 1, 2], &[0xA0, 3, 2, 1, 1]);
    assert_eq!(Certificate::parse(&edited, Scheme::RsaPssSha384).err(), Some(PkiError::Version));
}

#[test]
fn only_one_signature_scheme_is_taken() {
    // SHA-384 and SHA-256 as the hash, then as the hash of MGF1.
    let hash = |last| vec![0xA0, 0x0F, 0x30, 0x0D, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last];
    let mgf1 = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 8];
    let mask = |last| [&mgf1[..], &hash(last)[2..]].concat();
    // AMD's Milan ARK writes the trailer field out; 1 is its default, 2 is nothing.
    let roots = Roots::amd();
    let der = roots.anchors()[0].certificate().der();
    for (old, new) in [
        (&[0xA2, 3, 2, 1, 48][..], &[0xA2, 3, 2, 1, 32][..]),
        (&[0xA3, 3, 2, 1, 1], &[0xA3, 3, 2, 1, 2]),
        (&hash(2), &hash(1)),
        (&mask(2), &mask(1)),
        // RSASSA-PSS to PKCS #1 v1.5 with SHA-384.
        (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 0x0A], &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 0x0C]),
    ] {
        let outside = replace_last(der, old, new);
        assert_eq!(Certificate::parse(&outside, Scheme::RsaPssSha384).err(), Some(PkiError::AlgorithmMismatch));
        let everywhere = replace_everywhere(der, old, new);
        assert_eq!(
            Certificate::parse(&everywhere, Scheme::RsaPssSha384).err(),
            Some(PkiError::Algorithm(Scheme::RsaPssSha384))
        );
    }
}

/// Replaces all, where both have one length.
fn replace_everywhere(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut out = der.to_vec();
    for at in 0..=der.len() - old.len() {
        if der[at..].starts_with(old) {
            out[at..at + old.len()].copy_from_slice(new);
        }
    }
    out
}

#[test]
fn extensions_are_understood_or_refused() {
    let ask = control("ok-genoa-v5").ask.expect("the control has an ASK");
    let authority = |der: &[u8]| Certificate::parse(der, Scheme::RsaPssSha384).and_then(|parsed| parsed.authority());
    assert!(authority(&ask).is_ok(), "control");
    let unknown = authority(&replace(&ask, &[0x55, 0x1D, 0x0F], &[0x55, 0x1D, 0x7F]));
    assert!(matches!(unknown, Err(PkiError::CriticalExtension(_))));
    let twice = authority(&replace(&ask, &[0x55, 0x1D, 0x0F], &[0x55, 0x1D, 0x13]));
    assert!(matches!(twice, Err(PkiError::DuplicateExtension(_))));
}

#[test]
fn extensions_are_few() {
    let der = control("ok-genoa-v5").vcek;
    let count = Certificate::parse(&der, Scheme::RsaPssSha384).expect("control").extensions().count();
    // structVersion, 0.
    let first = [0x30, 0x10, 0x06, 0x09, 0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1, 1, 4, 3, 2, 1, 0];
    let with = |total: usize| {
        let more = (0..total - count).flat_map(|at| {
            let arc = u8::try_from(at).expect("small");
            [0x30, 0x07, 0x06, 0x02, 0x2A, arc, 0x04, 0x01, 0x00]
        });
        replace(&der, &first, &first.into_iter().chain(more).collect::<Vec<u8>>())
    };
    assert_eq!(Certificate::parse(&with(64), Scheme::RsaPssSha384).map(|parsed| parsed.extensions().count()), Ok(64));
    assert_eq!(Certificate::parse(&with(65), Scheme::RsaPssSha384).err(), Some(PkiError::TooManyExtensions(65)));
}

#[test]
fn revocation_lists_are_version_2_without_conditions() {
    let crl = control("ok-crl-of-other-serials").crl.expect("it has a list");
    let parsed = Crl::parse(&crl, Scheme::RsaPssSha384).expect("control");
    assert!(parsed.revokes(&[2, 0, 1]));
    // The version is the first element of the signed part; the tags around it name it uniquely.
    let version = [0x02, 0x01, 0x01, 0x30];
    let first = replace(&crl, &version, &[0x02, 0x01, 0x00, 0x30]);
    assert_eq!(Crl::parse(&first, Scheme::RsaPssSha384).err(), Some(PkiError::Version));
    // cRLNumber made critical.
    let number = [0x06, 0x03, 0x55, 0x1D, 0x14];
    let critical = replace(&crl, &number, &[0x06, 0x03, 0x55, 0x1D, 0x14, 0x01, 0x01, 0xFF]);
    assert!(matches!(Crl::parse(&critical, Scheme::RsaPssSha384).err(), Some(PkiError::CriticalExtension(_))));
    // A certificateIssuer in the entry: the list would speak for another authority.
    let entry = [0x02, 0x03, 0x02, 0x00, 0x01, 0x17, 0x0D];
    let at = crl.windows(entry.len()).position(|window| window == entry).expect("the entry");
    let old = crl[at..at + entry.len() + 13].to_vec();
    let extension = |oid: u8, value: &[u8]| {
        let value_len = u8::try_from(value.len()).expect("small");
        let mut inner = vec![0x06, 0x03, 0x55, 0x1D, oid, 0x04, value_len];
        inner.extend(value);
        let len = u8::try_from(inner.len()).expect("small");
        [&[0x30, len + 2, 0x30, len], inner.as_slice()].concat()
    };
    let with = |extension: Vec<u8>| replace(&crl, &old, &[old.clone(), extension].concat());
    let indirect = with(extension(0x1D, &[0x30, 0x00]));
    assert!(matches!(Crl::parse(&indirect, Scheme::RsaPssSha384).err(), Some(PkiError::CriticalExtension(_))));
    // Control: a reasonCode is harmless.
    let reason = with(extension(0x15, &[0x0A, 0x01, 0x01]));
    assert!(Crl::parse(&reason, Scheme::RsaPssSha384).expect("harmless").revokes(&[2, 0, 1]));
}
