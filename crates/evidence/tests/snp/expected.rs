//! Every row and every field of `snp-matrix/EXPECTED.json`: what reports say, and which VEK signed which report.
//!
//! It was made with other software than this. A field that nobody compares is an error.

use crate::real::{failures, find, judge, lenient, pem};
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use evidence::Outcome;
use evidence::pki::{Certificate, Scheme, common_name};
use evidence::snp::report::{PolicyFlag, SigningKey};
use evidence::snp::vek::Kind;
use evidence::snp::{Report, Roots, Settings, Tcb, Vek};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One report.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    file: String,
    report_offset: usize,
    report_sha256: String,
    version: u32,
    cpuid_fam_mod_step: String,
    vmpl: u32,
    guest_svn: u32,
    policy: String,
    policy_debug: bool,
    policy_smt: bool,
    policy_migrate_ma: bool,
    platform_info: String,
    signing_key: u8,
    author_key_en: u8,
    mask_chip_key: u8,
    current_tcb_hex: String,
    reported_tcb_hex: String,
    committed_tcb_hex: String,
    launch_tcb_hex: String,
    launch_mit_hex: Option<String>,
    current_mit_hex: Option<String>,
    chip_id_first8: String,
    report_data_hex: String,
    measurement_hex: String,
    host_data_hex: String,
    id_key_digest_hex: String,
    author_key_digest_hex: String,
    signed_by: Vec<Signer>,
    signature_verdict: String,
}

/// A certificate that verifies a row's report.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signer {
    file: String,
    structver: u8,
    product: String,
    fmc: Option<u8>,
    bl: u8,
    tee: u8,
    spl4: Option<u8>,
    spl5: u8,
    spl6: u8,
    spl7: u8,
    snp: u8,
    ucode: u8,
    hwid: Option<String>,
    cspid: Option<String>,
    valid: [String; 2],
    subj: String,
    iss: String,
    issuer_found_in_amd_roots: bool,
}

fn matrix(folder: &Folder) -> Vec<Row> {
    let rows: Vec<Row> = serde_json::from_slice(&folder.read("snp-matrix/EXPECTED.json")).expect("the matrix");
    assert!(rows.len() >= 19, "{} rows", rows.len());
    rows
}

impl Row {
    fn compare(&self, bytes: &[u8], report: &Report<'_>) {
        let name = &self.file;
        assert_eq!(hex::encode(Sha256::digest(bytes)), self.report_sha256, "{name}");
        assert_eq!(report.version() as u32, self.version, "{name}");
        let cpuid = report
            .cpuid()
            .map_or_else(|| "000000".to_owned(), |cpuid| hex::encode([cpuid.family, cpuid.model, cpuid.stepping]));
        assert_eq!(cpuid, self.cpuid_fam_mod_step, "{name}");
        assert_eq!(report.vmpl(), self.vmpl, "{name}");
        assert_eq!(report.guest_svn(), self.guest_svn, "{name}");
        let policy = report.policy();
        assert_eq!(format!("{:#x}", policy.0), self.policy, "{name}");
        assert_eq!(policy.has(PolicyFlag::Debug), self.policy_debug, "{name}");
        assert_eq!(policy.has(PolicyFlag::Smt), self.policy_smt, "{name}");
        assert_eq!(policy.has(PolicyFlag::MigrateMa), self.policy_migrate_ma, "{name}");
        assert_eq!(format!("{:#x}", report.platform_info().0), self.platform_info, "{name}");
        let signing_key = match report.signing_key() {
            SigningKey::Vcek => 0,
            SigningKey::Vlek => 1,
            SigningKey::None | SigningKey::Reserved(_) => panic!("{name}"),
        };
        assert_eq!(signing_key, self.signing_key, "{name}");
        assert_eq!(u8::from(report.author_key_enabled()), self.author_key_en, "{name}");
        assert_eq!(u8::from(report.chip_key_masked()), self.mask_chip_key, "{name}");
        for (found, expected) in [
            (&report.current_tcb()[..], &self.current_tcb_hex),
            (&report.reported_tcb(), &self.reported_tcb_hex),
            (&report.committed_tcb(), &self.committed_tcb_hex),
            (&report.launch_tcb(), &self.launch_tcb_hex),
            (&report.chip_id()[..8], &self.chip_id_first8),
            (report.report_data(), &self.report_data_hex),
            (report.measurement(), &self.measurement_hex),
            (report.host_data(), &self.host_data_hex),
            (report.id_key_digest(), &self.id_key_digest_hex),
            (report.author_key_digest(), &self.author_key_digest_hex),
        ] {
            assert_eq!(&hex::encode(found), expected, "{name}");
        }
        let mitigations = report.mitigations();
        let hexadecimal = |vector: u64| hex::encode(vector.to_le_bytes());
        assert_eq!(mitigations.map(|vectors| hexadecimal(vectors.launch)), self.launch_mit_hex, "{name}");
        assert_eq!(mitigations.map(|vectors| hexadecimal(vectors.current)), self.current_mit_hex, "{name}");
        assert_eq!(report.reserved_not_zero(), [""; 0], "{name}");
        assert!(report.tail_is_zero(), "{name}");
    }
}

impl Signer {
    fn compare(&self, vek: &Vek) {
        let name = &self.file;
        assert_eq!(vek.product().name(), self.product, "{name}");
        let Self { fmc, bl: bootloader, tee, snp, ucode: microcode, .. } = *self;
        assert_eq!(vek.tcb(), Tcb { fmc, bootloader, tee, snp, microcode }, "{name}");
        assert_eq!(vek.product().line().struct_version(), self.structver, "{name}");
        let certificate = vek.certificate();
        // As the certificate has them: an INTEGER of one byte each.
        let small = |arc: &str| {
            let oid = format!("1.3.6.1.4.1.3704.1.{arc}");
            let extension = certificate.extensions().find(|(found, ..)| found.to_string() == oid);
            extension.map(|(.., value)| *value.last().expect("an INTEGER"))
        };
        assert_eq!(small("1"), Some(self.structver), "{name}");
        assert_eq!(small("3.4"), self.spl4, "{name}");
        assert_eq!([small("3.5"), small("3.6"), small("3.7")], [self.spl5, self.spl6, self.spl7].map(Some), "{name}");
        match vek.kind() {
            Kind::Vcek { hwid } => {
                let bytes = hwid.as_bytes();
                let found = format!("raw{}:{}", bytes.len(), hex::encode(&bytes[..8]));
                assert_eq!((Some(found), None), (self.hwid.clone(), self.cspid.clone()), "{name}");
            }
            Kind::Vlek { provider } => {
                assert_eq!((None, Some(provider)), (self.hwid.as_ref(), self.cspid.as_ref()), "{name}");
            }
        }
        assert_eq!([certificate.not_before(), certificate.not_after()].map(day), self.valid, "{name}");
        assert_eq!(common_name(certificate.subject()).as_ref(), Some(&self.subj), "{name}");
        assert_eq!(common_name(certificate.issuer()).as_ref(), Some(&self.iss), "{name}");
        let roots = Roots::amd();
        let issuer = roots.intermediates().iter().find(|ask| certificate.signed_by(ask.spki(), PROVIDER));
        assert_eq!(issuer.is_some(), self.issuer_found_in_amd_roots, "{name}");
        assert!(issuer.is_none_or(|ask| ask.subject() == certificate.issuer()), "{name}");
    }
}

/// `2022-09-24`.
fn day(unix: u64) -> String {
    let time = der::DateTime::from_unix_duration(core::time::Duration::from_secs(unix)).expect("a date");
    format!("{}-{:02}-{:02}", time.year(), time.month(), time.day())
}

#[test]
fn every_field_of_every_row_is_as_expected() {
    let Some(folder) = Folder::open() else { return };
    for row in &matrix(&folder) {
        let bytes = folder.report(&row.file, row.report_offset);
        let report = Report::parse(&bytes).expect(&row.file);
        row.compare(&bytes, &report);
        let expected = if row.signed_by.is_empty() { "no certificate here verifies it" } else { "good" };
        assert_eq!(row.signature_verdict, expected, "{}", row.file);
        for signer in &row.signed_by {
            let der = folder.certificate(&signer.file);
            let vek = Vek::parse(&der).expect(&signer.file);
            signer.compare(&vek);
            let settings = Settings { vmpl: u8::try_from(row.vmpl).expect("0 to 3"), ..lenient() };
            let now = vek.certificate().not_before() + 1;
            let expected: &[&str] = if row.policy_debug { &["snp.policy.debug"] } else { &[] };
            let judged = judge(&bytes, &der, settings, now);
            assert_eq!(failures(judged), expected, "{} under {}", row.file, signer.file);
        }
    }
}

/// Every VEK, or what pretends to be one, of all folders: its DER, and the files it stands in.
fn veks(folder: &Folder) -> BTreeMap<Vec<u8>, BTreeSet<String>> {
    let mut folders = vec![folder.0.clone()];
    let mut veks: BTreeMap<Vec<u8>, BTreeSet<String>> = BTreeMap::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&folder.0).ok().and_then(Path::to_str).expect("a plain name").to_owned();
            for der in certificates(&folder.read(&name)) {
                let named =
                    Certificate::parse(&der, Scheme::RsaPssSha384).ok().and_then(|vek| common_name(vek.subject()));
                if named.is_some_and(|named| ["SEV-VCEK", "SEV-VLEK"].contains(&named.as_str())) {
                    veks.entry(der).or_default().insert(name.clone());
                }
            }
        }
    }
    veks
}

/// All that may be in a file: DER, PEM, or the `vcek` of a JSON container.
fn certificates(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = core::str::from_utf8(bytes) else { return vec![bytes.to_vec()] };
    if let Ok(json) = serde_json::from_str::<Value>(text) {
        let vcek = find(&json, &|key, value| (key == "vcek").then(|| value.as_str().map(str::to_owned)).flatten());
        return vcek
            .into_iter()
            .flat_map(|vcek| match crate::real::base64(&vcek) {
                Some(der) => vec![der],
                None => certificates(vcek.as_bytes()),
            })
            .collect();
    }
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    text.match_indices(BEGIN).map(|(at, _)| pem(&text[at..])).collect()
}

#[test]
fn reports_verify_under_these_certificates_and_no_other() {
    let Some(folder) = Folder::open() else { return };
    let veks = veks(&folder);
    assert!(veks.len() >= 18, "{} VEKs", veks.len());
    for row in matrix(&folder) {
        let bytes = folder.report(&row.file, row.report_offset);
        let signers: BTreeSet<_> = row.signed_by.iter().map(|signer| folder.certificate(&signer.file)).collect();
        for (der, files) in &veks {
            let vek = Certificate::parse(der, Scheme::RsaPssSha384).expect("a certificate");
            let verdict = match judge(&bytes, der, lenient(), vek.not_before() + 1) {
                Ok((_, verdict)) | Err(verdict) => verdict,
            };
            let verifies = verdict.check("snp.report.signature").is_some_and(|check| check.outcome == Outcome::Pass);
            assert_eq!(verifies, signers.contains(der), "{} under {files:?}", row.file);
        }
        // And what is named in the row is among them.
        assert!(signers.iter().all(|der| veks.contains_key(der)), "{}", row.file);
    }
}
