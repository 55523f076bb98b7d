//! Evidence of real processors, judged at the time it was made and at others.
//!
//! Milan, Genoa and Turin, report versions 2, 3 and 5, VCEK and VLEK. What each file is and what a
//! verifier must conclude is written beside it (`PROVENANCE.md`);
//! those were made with other software than this.

use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use evidence::pki::{Certificate, Crl, Scheme};
use evidence::snp::policy::{CrlRule, MinimumTcb};
use evidence::snp::report::{PlatformFlag, PolicyFlag, SigningKey};
use evidence::snp::tcb::FirmwareVersion;
use evidence::snp::vek::Kind;
use evidence::snp::{
    Collateral, Input, Platforms, Policy, ProductLine, Report, Roots, Settings, SnpClaims, SnpEvidence, Tcb, Vek,
    authentic, verify,
};
use evidence::{Authentic, Expected, Hex, Outcome, Verdict, Verified};
use serde_json::Value;
use sha2::{Digest, Sha384};
use std::path::Path;

/// 2022-12-15, 2023-01-15, 2025-06-15 and 2026-11-21, unix seconds.
const END_OF_2022: u64 = 1_671_062_400;
const WHEN_MADE: u64 = 1_673_740_800;
const VLEK_TIME: u64 = 1_749_945_600;
const TODAY: u64 = 1_795_219_200;

/// Makes the tests, each of which gets the folder.
macro_rules! real {
    ($(fn $name:ident($folder:ident: &Folder) $body:block)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(folder) = Folder::open() {
                    let $folder = &folder;
                    $body
                }
            }
        )*
    };
}

/// What is particular to SEV-SNP.
impl Folder {
    /// The first certificate of a file: DER, PEM, or inside a JSON container.
    pub(super) fn certificate(&self, name: &str) -> Vec<u8> {
        let bytes = self.read(name);
        if name.ends_with(".json") {
            let json: Value = serde_json::from_slice(&bytes).expect("JSON");
            let text = find(&json, &|key, value| (key == "vcek").then(|| value.as_str().map(str::to_owned)).flatten());
            let text = text.unwrap_or_else(|| panic!("{name} has no vcek"));
            return if text.starts_with("-----") { pem(&text) } else { base64(&text).expect(name) };
        }
        match core::str::from_utf8(&bytes) {
            Ok(text) if text.starts_with("-----") => pem(text),
            _ => bytes,
        }
    }

    /// The 1184 bytes at `offset`, of the file or of the HCL blob in a JSON container.
    pub(super) fn report(&self, name: &str, offset: usize) -> Vec<u8> {
        let bytes = self.read(name);
        let whole = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("hex") => hex::decode(bytes.trim_ascii()).expect("hexadecimal"),
            Some("json") => {
                let json: Value = serde_json::from_slice(&bytes).expect("JSON");
                let blob = find(&json, &|_, value| {
                    let bytes = match value {
                        Value::String(text) => hex::decode(text).ok().or_else(|| base64(text)),
                        list => serde_json::from_value(list.clone()).ok(),
                    };
                    bytes.filter(|bytes| bytes.starts_with(b"HCLA"))
                });
                blob.unwrap_or_else(|| panic!("{name} has no HCL blob"))
            }
            _ => bytes,
        };
        whole[offset..offset + 1184].to_vec()
    }
}

/// Depth-first search through objects and what they hold.
pub(super) fn find<T>(json: &Value, want: &dyn Fn(&str, &Value) -> Option<T>) -> Option<T> {
    let object = json.as_object()?;
    object.iter().find_map(|(key, value)| want(key, value).or_else(|| find(value, want)))
}

pub(super) fn pem(text: &str) -> Vec<u8> {
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    base64(&body).expect("PEM")
}

pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text.trim()).ok())
}

pub(super) fn policy(settings: Settings) -> Policy {
    Policy::try_from(settings).expect("a policy")
}

/// Accepts whatever is genuine; revocation has tests of its own, lists of today there are none.
pub(super) fn lenient() -> Settings {
    Settings { any_measurement: true, crl: CrlRule::Optional, ..Settings::default() }
}

/// Judges a pair with AMD's roots.
pub(super) fn judge(
    report: &[u8],
    vcek: &[u8],
    settings: Settings,
    now: u64,
) -> Result<(Authentic<SnpClaims>, Verdict), Verdict> {
    let roots = Roots::amd();
    let evidence = SnpEvidence { report, vcek, ask: None, crl: None };
    let collateral = Collateral { roots: &roots, crl: None };
    authentic(evidence, collateral, &policy(settings), &Platforms::Any, now, PROVIDER)
}

pub(super) fn failures<T>(result: Result<T, Verdict>) -> Vec<&'static str> {
    match result {
        Ok(_) => Vec::new(),
        Err(verdict) => verdict.failures().map(|check| check.id).collect(),
    }
}

/// The CSR of Enarx: report, VCEK, AMD's list of the time, and the key they are bound to.
struct Enarx {
    report: Vec<u8>,
    vcek: Vec<u8>,
    crl: Vec<u8>,
    expected: Expected,
}

impl Enarx {
    fn read(folder: &Folder) -> Self {
        use x509_cert::der::{Decode, Encode};
        let csr = folder.read("enarx/snp/milan.signed.crl.csr");
        let csr = x509_cert::request::CertReq::from_der(&csr).expect("a CSR");
        // Enarx bound SHA-384 of the certified key, padded with zeros.
        let spki = csr.info.public_key.to_der().expect("DER");
        let digest = Sha384::digest(&spki);
        let mut report_data = [0; 64];
        report_data[..48].copy_from_slice(digest.as_ref());
        Self {
            report: folder.read("enarx/derived/milan.report.bin"),
            vcek: folder.read("enarx/derived/milan.vcek.der"),
            crl: folder.read("enarx/derived/amd.crl-milan.der"),
            expected: Expected { report_data, launch_field: [0; 32] },
        }
    }

    /// Every demand a policy can make, met by this report.
    fn strict(&self) -> Settings {
        let report = Report::parse(&self.report).expect("a report");
        let floor = Tcb { fmc: None, bootloader: 2, tee: 0, snp: 6, microcode: 0x5D };
        Settings {
            signer: Some(vec![Hex(*report.author_key_digest())]),
            hash: Some(vec![Hex(*report.measurement())]),
            hash_blacklist: Some(vec![Hex([0xAB; 48])]),
            id_key_digest: Some(vec![Hex(*report.id_key_digest())]),
            id_key_digest_blacklist: Some(vec![Hex([0xCD; 48])]),
            abi: Some(">=1.51".parse().expect("a requirement")),
            policy_flags: Some(vec![PolicyFlag::Smt]),
            platform_info_flags: Some(vec![PlatformFlag::Smt]),
            minimum_tcb: Some(MinimumTcb { milan: Some(floor), ..MinimumTcb::default() }),
            minimum_guest_svn: Some(report.guest_svn()),
            family_id: Some(vec![Hex(*report.family_id())]),
            image_id: Some(vec![Hex(*report.image_id())]),
            minimum_firmware: Some(report.committed_version()),
            refused_products: Some(vec![ProductLine::Turin]),
            ..Settings::default()
        }
    }

    fn verify(&self, settings: Settings, now: u64) -> Result<(Verified<SnpClaims>, Verdict), Verdict> {
        let vek = Vek::parse(&self.vcek).expect("a VCEK");
        let Kind::Vcek { hwid } = vek.kind() else { panic!("a VCEK has a hwID") };
        let platforms = Platforms::Only(vec![evidence::snp::Platform::Chip(hwid.clone())]);
        let roots = Roots::amd();
        let input = Input {
            evidence: SnpEvidence { report: &self.report, vcek: &self.vcek, ask: None, crl: Some(&self.crl) },
            expected: self.expected,
            collateral: Collateral { roots: &roots, crl: None }.into(),
            policy: &policy(settings),
            platforms: &platforms,
            now,
        };
        verify(input, PROVIDER)
    }
}

real! {
    fn enarx_milan_verifies_at_its_time(folder: &Folder) {
        let enarx = Enarx::read(folder);
        let (verified, verdict) = enarx.verify(enarx.strict(), WHEN_MADE).expect("genuine");
        for check in &verdict.checks {
            let version_2 = ["snp.report.product", "snp.mitigations"].contains(&check.id);
            assert_eq!(check.outcome == Outcome::Pass, !version_2, "{}", check.id);
        }
        let claims = verified.claims();
        assert_eq!(claims.product.name(), "Milan-B0");
        assert!(claims.measurement.to_string().starts_with("ff717ae7"));
        assert!(claims.author_key_digest.expect("signed").to_string().starts_with("7dc22240"));
        assert!(claims.platform.to_string().starts_with("5cb260b9"));
        assert_eq!(claims.policy.0, 0x30133);
        assert_eq!(claims.committed_version.to_string(), "1.51 build 3");
        let tcb = Tcb { fmc: None, bootloader: 2, tee: 0, snp: 6, microcode: 0x5D };
        assert_eq!([claims.reported_tcb, claims.committed_tcb, claims.launch_tcb], [tcb; 3]);
        // The list of 2022-05-09 ends first: 2023-05-09T23:00:00Z.
        assert_eq!(claims.crl_next_update, Some(1_683_673_200));
        assert_eq!(claims.collateral_end, 1_683_673_200);
    }

    fn enarx_milan_fails_today_because_the_list_is_stale(folder: &Folder) {
        let enarx = Enarx::read(folder);
        let failed = failures(enarx.verify(enarx.strict(), TODAY));
        assert_eq!(failed, ["snp.crl.expired"]);
        // The last good second and the first bad one.
        assert!(enarx.verify(enarx.strict(), 1_683_673_200).is_ok());
        assert_eq!(failures(enarx.verify(enarx.strict(), 1_683_673_201)), ["snp.crl.expired"]);
    }

    fn enarx_milan_fails_before_its_certificate_and_its_list(folder: &Folder) {
        let enarx = Enarx::read(folder);
        let before_vcek = failures(enarx.verify(enarx.strict(), 1_660_000_000));
        assert_eq!(before_vcek, ["snp.vek.not_yet_valid"]);
        let before_all = failures(enarx.verify(enarx.strict(), 0));
        let all = |word: &str| ["ark", "ask", "vek", "crl"].map(|what| format!("snp.{what}.{word}"));
        assert_eq!(before_all, all("not_yet_valid"));
        let after_all = failures(enarx.verify(enarx.strict(), u64::MAX));
        assert_eq!(after_all, all("expired"));
    }

    fn enarx_milan_without_or_with_another_list_fails(folder: &Folder) {
        let mut enarx = Enarx::read(folder);
        enarx.crl = folder.read("enarx/derived/amd.crl-genoa.der");
        assert_eq!(failures(enarx.verify(enarx.strict(), WHEN_MADE)), ["snp.crl.signature"]);
        let vek = Certificate::parse(&enarx.vcek, Scheme::RsaPssSha384).expect("a certificate");
        assert_eq!(vek.serial(), [0], "AMD's serial of every VCEK");
        let evidence = SnpEvidence { report: &enarx.report, vcek: &enarx.vcek, ask: None, crl: None };
        let collateral = Collateral { roots: &Roots::amd(), crl: None };
        let strict = policy(enarx.strict());
        let without = authentic(evidence, collateral, &strict, &Platforms::Any, WHEN_MADE, PROVIDER);
        assert_eq!(failures(without), ["snp.crl.present"]);
    }

    fn enarx_milan_each_demand_alone_refuses_it(folder: &Folder) {
        let enarx = Enarx::read(folder);
        let other = Some(vec![Hex([0xEE; 48])]);
        let strict = || enarx.strict();
        let report = Report::parse(&enarx.report).expect("a report");
        let measured = Some(vec![Hex(*report.measurement())]);
        let id_key = Some(vec![Hex(*report.id_key_digest())]);
        let floor = |microcode| {
            let floor = Tcb { fmc: None, bootloader: 2, tee: 0, snp: 6, microcode };
            Some(MinimumTcb { milan: Some(floor), ..MinimumTcb::default() })
        };
        let newer = FirmwareVersion { build: 4, ..report.committed_version() };
        let genoa = MinimumTcb { genoa: floor(0).and_then(|f| f.milan), ..MinimumTcb::default() };
        let cases = [
            ("snp.signer.allowed", Settings { signer: other.clone(), ..strict() }),
            ("snp.measurement.allowed", Settings { hash: other.clone(), ..strict() }),
            ("snp.measurement.denied", Settings { hash: None, hash_blacklist: measured, ..strict() }),
            ("snp.id_key.allowed", Settings { id_key_digest: other, ..strict() }),
            (
                "snp.id_key.denied",
                Settings { id_key_digest: None, id_key_digest_blacklist: id_key, ..strict() },
            ),
            ("snp.policy.abi", Settings { abi: ">=1.52".parse().ok(), ..strict() }),
            ("snp.policy.flags", Settings { policy_flags: Some(vec![]), ..strict() }),
            (
                "snp.platform_info.flags",
                Settings {
                    platform_info_flags: Some(vec![PlatformFlag::Smt, PlatformFlag::AliasCheckComplete]),
                    ..strict()
                },
            ),
            ("snp.tcb.minimum", Settings { minimum_tcb: floor(0x5E), ..strict() }),
            ("snp.tcb.minimum", Settings { minimum_tcb: Some(genoa), ..strict() }),
            ("snp.vmpl", Settings { vmpl: 1, ..strict() }),
            ("snp.guest_svn", Settings { minimum_guest_svn: Some(u32::MAX), ..strict() }),
            ("snp.family_id", Settings { family_id: Some(vec![Hex([0xEE; 16])]), ..strict() }),
            ("snp.image_id", Settings { image_id: Some(vec![Hex([0xEE; 16])]), ..strict() }),
            ("snp.firmware.minimum", Settings { minimum_firmware: Some(newer), ..strict() }),
            ("snp.mitigations", Settings { mitigations: Some(1), ..strict() }),
            (
                "snp.platform.product",
                Settings { refused_products: Some(vec![ProductLine::Milan]), minimum_tcb: None, ..strict() },
            ),
        ];
        for (id, settings) in cases {
            assert_eq!(failures(enarx.verify(settings, WHEN_MADE)), [id]);
        }
    }

    fn enarx_milan_bound_to_something_else_is_refused(folder: &Folder) {
        let mut enarx = Enarx::read(folder);
        enarx.expected.report_data[63] = 1;
        assert_eq!(failures(enarx.verify(enarx.strict(), WHEN_MADE)), ["snp.report_data"]);
        enarx.expected.report_data[63] = 0;
        enarx.expected.launch_field[0] = 1;
        assert_eq!(failures(enarx.verify(enarx.strict(), WHEN_MADE)), ["snp.host_data"]);
    }

    fn the_first_genoa_ask_is_revoked(folder: &Folder) {
        // PkiPath: a SEQUENCE of ARK and ASK; the header has four bytes.
        let path = folder.read("enarx/certs/genoa.pkipath");
        let split = 4 + 4 + usize::from(u16::from_be_bytes([path[6], path[7]]));
        let certificates = [&path[4..split], &path[split..]];
        let old = certificates
            .into_iter()
            .find(|der| Certificate::parse(der, Scheme::RsaPssSha384).expect("a certificate").serial() == [2, 0, 1])
            .expect("serial 0x20001");
        let crl = folder.read("enarx/derived/amd.crl-genoa.der");
        let report = folder.read("snp-microsoft-tav/genoa_attestation_report.bin");
        let vcek = folder.certificate("snp-microsoft-tav/genoa_vcek.pem");
        let judge = |ask| {
            let evidence = SnpEvidence { report: &report, vcek: &vcek, ask, crl: Some(&crl) };
            let roots = Roots::amd();
            let collateral = Collateral { roots: &roots, crl: None };
            let any = policy(Settings { any_measurement: true, ..Settings::default() });
            failures(authentic(evidence, collateral, &any, &Platforms::Any, END_OF_2022, PROVIDER))
        };
        // That certificate has the key AMD withdrew: it did not sign today's VCEKs either.
        assert_eq!(judge(Some(old)), ["snp.vek.signature", "snp.vek.not_yet_valid", "snp.ask.revoked"]);
        // Control: the replacement, at the same instant, which is before this VCEK was made.
        assert_eq!(judge(None), ["snp.vek.not_yet_valid"]);
        let list = Crl::parse(&crl, Scheme::RsaPssSha384).expect("a list");
        assert!(list.revokes(&[2, 0, 1]) && !list.revokes(&[2, 0, 2]) && !list.revokes(&[0]));
    }

    fn debug_guests_are_refused_unless_the_policy_says_insecure(folder: &Folder) {
        let report = folder.read("snp-go-sev-guest/attestation.bin");
        let vcek = folder.certificate("snp-go-sev-guest/vcek.testcer");
        let judged = judge(&report, &vcek, lenient(), WHEN_MADE);
        assert_eq!(failures(judged), ["snp.policy.debug"]);
        let insecure = Settings { insecure_debug: true, ..lenient() };
        assert!(judge(&report, &vcek, insecure, WHEN_MADE).is_ok());
    }

    fn a_vlek_names_its_provider_and_expires(folder: &Folder) {
        let report = folder.read("snp-trustee/test-vlek-report.bin");
        let vlek = folder.read("snp-trustee/test-vlek.der");
        let vmpl_1 = || Settings { vmpl: 1, ..lenient() };
        assert_eq!(failures(judge(&report, &vlek, lenient(), VLEK_TIME)), ["snp.vmpl"]);
        let (genuine, _) = judge(&report, &vlek, vmpl_1(), VLEK_TIME).expect("genuine");
        assert_eq!(genuine.claims().signing_key, SigningKey::Vlek);
        let provider = genuine.claims().platform.to_string();
        assert_eq!(provider, "csp:CN=cc-us-east-2.amazonaws.com");
        assert_eq!(failures(judge(&report, &vlek, vmpl_1(), TODAY)), ["snp.vek.expired"]);
        let roots = Roots::amd();
        let evidence = SnpEvidence { report: &report, vcek: &vlek, ask: None, crl: None };
        let collateral = Collateral { roots: &roots, crl: None };
        let settings = policy(vmpl_1());
        for (platform, good) in [(provider.as_str(), true), ("csp:CN=elsewhere", false)] {
            let only = Platforms::Only(vec![platform.parse().expect("a platform")]);
            let judged = authentic(evidence, collateral, &settings, &only, VLEK_TIME, PROVIDER);
            assert_eq!(judged.is_ok(), good, "{platform}");
        }
    }

    fn forged_vceks_are_refused(folder: &Folder) {
        let report = folder.read("snp-trustee/test-report.bin");
        let good = folder.read("snp-trustee/test-vcek.der");
        assert!(judge(&report, &good, lenient(), TODAY).is_ok(), "control");
        let forged = folder.read("snp-trustee/test-vcek-invalid-legacy.der");
        let failed = failures(judge(&report, &forged, lenient(), TODAY));
        assert!(!failed.is_empty() && failed.contains(&"snp.vek.signature"), "{failed:?}");
        let wrapped = folder.read("snp-trustee/test-vcek-invalid-new.der");
        assert_eq!(failures(judge(&report, &wrapped, lenient(), TODAY)), ["snp.vek.format"]);
    }

    fn reported_below_current_is_compared_with_reported(folder: &Folder) {
        let report = folder.report("snp-dstack/sev_snp_attestation.bin", 4);
        let vcek = folder.certificate("snp-dstack/sev_snp_vcek.pem");
        let (genuine, _) = judge(&report, &vcek, lenient(), TODAY).expect("genuine");
        let Tcb { snp: reported, .. } = genuine.claims().reported_tcb;
        let Tcb { snp: current, .. } = genuine.claims().current_tcb;
        assert_eq!((reported, current), (0x17, 0x18));
        // A floor of 0x18 is met by committed and launch, not by the key that signed.
        let floor = Tcb { fmc: None, bootloader: 4, tee: 0, snp: 0x18, microcode: 0 };
        let minimum_tcb = Some(MinimumTcb { milan: Some(floor), ..MinimumTcb::default() });
        let judged = judge(&report, &vcek, Settings { minimum_tcb, ..lenient() }, TODAY);
        assert_eq!(failures(judged), ["snp.tcb.minimum"]);
    }

    fn a_turin_vcek_has_its_own_layout(folder: &Folder) {
        let vek = Vek::parse(&folder.read("enarx/snp/vcek_turin.der")).expect("a VCEK");
        assert_eq!(vek.product().line(), ProductLine::Turin);
        let tcb = Tcb { fmc: Some(0), bootloader: 0, tee: 0, snp: 0, microcode: 9 };
        assert_eq!(vek.tcb(), tcb);
        let Kind::Vcek { hwid } = vek.kind() else { panic!("a VCEK has a hwID") };
        assert_eq!(hwid.to_string(), "1e550a8ee5cf9f4d");
    }
}
