//! The recorded requests of Enarx: a certificate of the insecure class at the time they were made, and refusals by policies that
//! differ in one demand, without the compatibility, and today.

mod support;

#[path = "../../evidence/tests/support/folder.rs"]
mod folder;

use folder::Folder;
use identity::{KeepCertificate, certificate::ProfileError, csr::Carrier, jws};
use serde_json::Value;
use steward::{judge::Issued, refusal::Refusal, signer::Signatures};
use support::{DAY, Keep, POLICY, World, cause};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
    ext::pkix::{ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

const SNP: &str = "enarx/snp/milan.signed.crl.csr";
const SGX: [&str; 2] =
    ["enarx/sgx/icelake.signed.tcb.crl.multi.xeon.csr", "enarx/sgx/icelake.signed.tcb.crl.single.i5.csr"];

/// 2022-12-01 and 2023-02-01: all that they bring was good.
const THEN: [u64; 2] = [1_669_852_800, 1_675_209_600];
/// 2026-11-21.
const TODAY: u64 = 1_795_219_200;

const HEAD: &str =
    "trust_domain = \"example.org\"\nclass = \"insecure\"\nany_platform = true\n[compat]\nenarx = true\n";

/// A Steward of that time, by a policy that accepts the request.
fn world(section: &str, then: u64) -> World {
    World::build(&format!("{HEAD}{section}\n"), then)
}

/// The one carrier does not hide the other: both are extensions that are asked for.
#[test]
fn rule_9_a_request_of_ours_is_none_of_enarx() {
    let policy = POLICY.replace("[snp]", "[compat]\nenarx = true\n[snp]");
    let world = World::with(&policy);
    for carrier in [Carrier::Attribute, Carrier::Extension] {
        let issued = Keep { carrier, ..world.keep() }.ask().unwrap();
        assert_eq!(issued.id.to_string(), "spiffe://example.org/shop/web");
    }
}

fn snp(report: &[u8]) -> Facts {
    let digits = |from: usize| hex::encode(&report[from..from + 48]);
    Facts {
        section: "snp",
        lines: vec![
            ("hash", format!("[\"{}\"]", digits(0x90))),
            ("id_key_digest", format!("[\"{}\"]", digits(0xE0))),
            ("signer", format!("[\"{}\"]", digits(0x110))),
            ("abi", "\">=1.51\"".to_owned()),
            ("policy_flags", "[\"SMT\"]".to_owned()),
            ("platform_info_flags", "[\"SMT\"]".to_owned()),
            ("minimum_tcb", "{ milan = { bootloader = 2, tee = 0, snp = 6, microcode = 93 } }".to_owned()),
            ("minimum_guest_svn", "1".to_owned()),
        ],
    }
}

fn sgx(quote: &[u8]) -> Facts {
    let body = &quote[48..];
    Facts {
        section: "sgx",
        lines: vec![
            ("hash", format!("[\"{}\"]", hex::encode(&body[64..96]))),
            ("signer", format!("[\"{}\"]", hex::encode(&body[128..160]))),
            ("enclave_product_id", "0".to_owned()),
            ("enclave_security_version", "0".to_owned()),
            ("features", "[]".to_owned()),
            ("misc_select", "[\"EXINFO\"]".to_owned()),
            ("accepted_tcb", "[\"OutOfDate\"]".to_owned()),
            ("minimum_evaluation", "14".to_owned()),
            ("insecure_without_qe_identity", "true".to_owned()),
        ],
    }
}

/// A section that a request meets, key by key.
struct Facts {
    section: &'static str,
    lines: Vec<(&'static str, String)>,
}

impl Facts {
    fn text(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("[{}]\n{}\n", self.section, lines.join("\n"))
    }

    /// With one key more, or another value of it.
    fn with(&self, key: &'static str, value: &str) -> String {
        let mut lines = self.lines.clone();
        lines.retain(|(known, _)| *known != key);
        lines.push((key, value.to_owned()));
        Self { section: self.section, lines }.text()
    }

    fn value(&self, key: &str) -> &str {
        &self.lines.iter().find(|(known, _)| *known == key).unwrap().1
    }
}

fn extension<T: for<'a> x509_cert::der::Decode<'a> + const_oid::AssociatedOid>(certificate: &Certificate) -> T {
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let found = extensions.iter().find(|extension| extension.extn_id == T::OID).unwrap();
    T::from_der(found.extn_value.as_bytes()).ok().unwrap()
}

/// What the certificate says in `id-pe-cmw`, signed by the authority.
fn told(certificate: &Certificate, world: &World) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let cmw = extensions.iter().find(|extension| extension.extn_id.to_string() == "1.3.6.1.5.5.7.1.35").unwrap();
    assert!(!cmw.critical);
    let record: [String; 2] = serde_json::from_str(&String::from_der(cmw.extn_value.as_bytes()).unwrap()).unwrap();
    let jwt = String::from_utf8(URL_SAFE_NO_PAD.decode(&record[1]).unwrap()).unwrap();
    let claims = jws::open("eat+jwt", &jwt, &world.steward.authority().issuer().spki, &Signatures).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// What is common to all.
#[track_caller]
fn check(world: &World, issued: &Issued, csr: &[u8], then: u64) -> Value {
    let certificate = Certificate::from_der(&issued.chain[0]).unwrap();
    let request = x509_cert::request::CertReq::from_der(csr).unwrap();
    let tbs = certificate.tbs_certificate();
    assert_eq!(*tbs.subject_public_key_info(), request.info.public_key, "its key");
    assert!(tbs.subject().is_empty(), "rule 6: nothing else of the request");
    // Rule 9: no names, no client authentication.
    let SubjectAltName(names) = extension(&certificate);
    let [GeneralName::UniformResourceIdentifier(id)] = &names[..] else { panic!("{names:?}") };
    assert_eq!(id.to_string(), issued.id.to_string());
    assert!(issued.id.is_anonymous());
    let ExtendedKeyUsage(usages) = extension(&certificate);
    assert_eq!(usages, [const_oid::db::rfc5280::ID_KP_SERVER_AUTH]);
    // Nobody of ours takes it for a Keep.
    assert!(matches!(KeepCertificate::read(&issued.chain[0]), Err(ProfileError::Extensions)));
    // Signed by the authority, of the insecure class, for a day.
    assert_eq!(issued.chain.len(), 2);
    let signed = tbs.to_der().unwrap();
    let (spki, signature) = (&world.steward.authority().issuer().spki, certificate.signature().as_bytes().unwrap());
    let algorithm = identity::Algorithm::of(spki).unwrap();
    assert!(identity::keys::Verifier::verify(&Signatures, algorithm, spki, &signed, signature));
    assert!(tbs.issuer().to_string().contains("INSECURE"));
    let validity = tbs.validity();
    let [from, to] = [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
    assert_eq!((from, to, issued.not_after), (then, then + DAY, then + DAY));
    let told = told(&certificate, world);
    assert_eq!(told["submods"]["enarx"]["ear_status"], "contraindicated");
    assert_eq!(told["submods"]["enarx"]["donjon.class"], "insecure");
    assert_eq!(told["submods"]["enarx"]["donjon.policy"], world.steward.policy().digest().to_string());
    told["submods"]["enarx"].clone()
}

fn judge(world: &World, csr: &[u8], now: u64) -> Result<Issued, Refusal> {
    world.steward.judge(csr, now)
}

#[track_caller]
fn refused(section: &str, csr: &[u8], then: u64) -> String {
    cause(&judge(&world(section, then), csr, then).unwrap_err())
}

#[test]
fn a_request_of_sev_snp_gets_a_certificate_at_its_time() {
    let Some(folder) = Folder::open() else { return };
    let (csr, facts) = (folder.read(SNP), snp(&folder.read("enarx/derived/milan.report.bin")));
    let world = world(&facts.text(), THEN[0]);
    let told = check(&world, &judge(&world, &csr, THEN[0]).unwrap(), &csr, THEN[0]);
    assert_eq!((&told["donjon.tee"], &told["donjon.product"]), (&"snp".into(), &"Milan".into()));
    assert_eq!(told["donjon.tcb-status"], "MeetsPolicy");
    assert_eq!(format!("[{}]", told["donjon.measurement"]), facts.value("hash"));
    assert_eq!(format!("[{}]", told["donjon.signer"]), facts.value("signer"));
    assert!(!told.to_string().contains("5cb260b9"), "a pseudonym, and not the chip id");
}

#[test]
fn requests_of_sgx_get_certificates_at_their_time() {
    let Some(folder) = Folder::open() else { return };
    for (name, quote) in SGX.into_iter().zip(["xeon", "i5"]) {
        let (csr, facts) = (folder.read(name), sgx(&folder.read(&format!("enarx/derived/{quote}.quote.bin"))));
        let world = world(&facts.text(), THEN[1]);
        let told = check(&world, &judge(&world, &csr, THEN[1]).unwrap(), &csr, THEN[1]);
        assert_eq!((&told["donjon.tee"], &told["donjon.tcb-status"]), (&"sgx".into(), &"OutOfDate".into()));
        assert!(told["donjon.advisories"].as_array().unwrap().contains(&"INTEL-SA-00615".into()));
        assert_eq!(format!("[{}]", told["donjon.measurement"]), facts.value("hash"));
    }
}

#[test]
fn a_request_of_sev_snp_is_refused_by_every_tightened_policy() {
    let Some(folder) = Folder::open() else { return };
    let (csr, facts) = (folder.read(SNP), snp(&folder.read("enarx/derived/milan.report.bin")));
    assert!(judge(&world(&facts.text(), THEN[0]), &csr, THEN[0]).is_ok(), "control");
    let other = format!("[\"{}\"]", "ab".repeat(48));
    for (key, value, id) in [
        ("hash", other.as_str(), "snp.measurement.allowed"),
        ("signer", &other, "snp.signer.allowed"),
        ("id_key_digest", &other, "snp.id_key.allowed"),
        ("abi", "\">=1.52\"", "snp.policy.abi"),
        ("policy_flags", "[]", "snp.policy.flags"),
        ("platform_info_flags", "[]", "snp.platform_info.flags"),
        ("minimum_tcb", "{ milan = { bootloader = 2, tee = 0, snp = 6, microcode = 94 } }", "snp.tcb.minimum"),
        ("minimum_guest_svn", "2", "snp.guest_svn"),
        ("family_id", &format!("[\"{}\"]", "ab".repeat(16)), "snp.family_id"),
        ("vmpl", "1", "snp.vmpl"),
    ] {
        assert_eq!(refused(&facts.with(key, value), &csr, THEN[0]), id, "{key}");
    }
    let denied = format!("{}[deny]\nmeasurements = {}", facts.text(), facts.value("hash"));
    assert_eq!(refused(&denied, &csr, THEN[0]), "deny.measurement");
    assert_eq!(refused("[sgx]\nany_measurement = true", &csr, THEN[0]), "policy.tee");
}

#[test]
fn requests_of_sgx_are_refused_by_every_tightened_policy() {
    let Some(folder) = Folder::open() else { return };
    let (csr, facts) = (folder.read(SGX[0]), sgx(&folder.read("enarx/derived/xeon.quote.bin")));
    assert!(judge(&world(&facts.text(), THEN[1]), &csr, THEN[1]).is_ok(), "control");
    let other = format!("[\"{}\"]", "ab".repeat(32));
    for (key, value, id) in [
        ("hash", other.as_str(), "sgx.measurement.allowed"),
        ("signer", &other, "sgx.signer.allowed"),
        ("enclave_product_id", "1", "sgx.product_id"),
        ("enclave_security_version", "1", "sgx.security_version"),
        ("misc_select", "[]", "sgx.misc_select"),
        ("accepted_tcb", "[\"UpToDate\"]", "dcap.tcb.status"),
        ("allowed_advisories", "[\"INTEL-SA-00586\"]", "dcap.tcb.advisories_allowed"),
        ("rejected_advisories", "[\"INTEL-SA-00614\"]", "dcap.tcb.advisories_rejected"),
        ("minimum_evaluation", "15", "dcap.tcb.evaluation"),
        ("refused_fmspc", "[\"00606a000000\"]", "dcap.platform.product"),
        ("grace_days", "30", "dcap.tcb.status"),
        ("insecure_without_qe_identity", "false", "dcap.qe_identity.format"),
    ] {
        assert_eq!(refused(&facts.with(key, value), &csr, THEN[1]), id, "{key}");
    }
    let denied = format!("{}[deny]\nsigners = {}", facts.text(), facts.value("signer"));
    assert_eq!(refused(&denied, &csr, THEN[1]), "deny.signer");
    assert_eq!(refused("[snp]\nany_measurement = true", &csr, THEN[1]), "policy.tee");
}

#[test]
fn what_they_bring_has_expired_today() {
    let Some(folder) = Folder::open() else { return };
    let report = snp(&folder.read("enarx/derived/milan.report.bin"));
    let quote = sgx(&folder.read("enarx/derived/xeon.quote.bin"));
    for (name, facts, id) in [(SNP, report, "snp.crl.expired"), (SGX[0], quote, "dcap.root_crl.expired")] {
        assert_eq!(refused(&facts.text(), &folder.read(name), TODAY), id);
    }
}

#[test]
fn rule_9_without_the_compatibility_there_is_none() {
    let Some(folder) = Folder::open() else { return };
    let (csr, facts) = (folder.read(SNP), snp(&folder.read("enarx/derived/milan.report.bin")));
    for compat in ["[compat]\nenarx = true\n", "[compat]\nenarx = false\n", "[compat]\n", ""] {
        let policy = HEAD.replace("[compat]\nenarx = true\n", compat) + &facts.text();
        let judged = judge(&World::build(&policy, THEN[0]), &csr, THEN[0]);
        match compat.contains("true") {
            true => assert!(judged.is_ok(), "control"),
            false => assert_eq!(cause(&judged.unwrap_err()), "csr.carrier"),
        }
    }
}

/// Whoever changes a request did not make it.
#[test]
fn a_changed_request_gets_nothing() {
    let Some(folder) = Folder::open() else { return };
    let (csr, facts) = (folder.read(SNP), snp(&folder.read("enarx/derived/milan.report.bin")));
    let world = world(&facts.text(), THEN[0]);
    assert!(judge(&world, &csr, THEN[0]).is_ok(), "control");
    for at in (0..csr.len()).step_by(53) {
        let mut changed = csr.clone();
        changed[at] ^= 1;
        assert!(judge(&world, &changed, THEN[0]).is_err(), "byte {at}");
    }
}

/// A Keep of ours asks the same Steward as ever.
#[test]
fn rule_9_a_carrier_of_ours_is_judged_as_without_the_compatibility() {
    let world = World::with(&format!("{}\n[compat]\nenarx = true\n", support::POLICY));
    let issued = world.keep().ask().unwrap();
    assert!(KeepCertificate::read(&issued.chain[0]).is_ok());
    let mut keep = world.keep();
    keep.launched = Some([0; 32]);
    assert_eq!(keep.refused(), "snp.host_data");
}
