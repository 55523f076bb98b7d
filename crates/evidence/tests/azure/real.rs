//! Evidence of real virtual machines. What each file is and what a verifier must conclude is written beside it
//! (`PROVENANCE.md`); it was made with other software than this.

use crate::support::fetched::Fetched;
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use evidence::azure::envelope::Endorsement;
use evidence::azure::{
    AzureClaims, Configuration, Envelope, Evidence, Hardware, HardwareClaims, HclReport, Input, Policy, Quote, Runtime,
    Tee, TpmQuote, authentic, verify,
};
use evidence::dcap::{Collateral, Platforms, Roots, Source, TcbStatus};
use evidence::{Authentic, Expected, SignatureAlgorithm, Verdict, snp, tdx};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// 2025-02-28, within all certificates and collateral here.
const NOW: u64 = 1_740_714_290;

const ANY: &str = "any_pcrs = true\n";

/// What is judged, and by what.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) envelope: Envelope,
    td_collateral: Collateral,
}

pub(crate) fn policy(text: &str) -> Policy {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Sample {
    fn new(folder: &Folder, name: &'static str, envelope: Envelope) -> Self {
        let fetched = Fetched::read(folder, "dcap-matrix/bundles/tdx-00806f050000-platform-2025-02-13-eval17.json");
        let td_collateral = Collateral::verify(&fetched.bundle(), &Roots::intel(), NOW, PROVIDER).expect("collateral");
        Self { name, envelope, td_collateral }
    }

    /// Calls with the hardware's part of the evidence, under policies that accept what Azure's machines are.
    fn on<T>(&self, judge: impl FnOnce(Hardware<'_>) -> T) -> T {
        match &self.envelope.endorsement {
            Endorsement::Vcek(vcek) => judge(Hardware::Snp {
                vcek,
                ask: None,
                crl: None,
                collateral: snp::Collateral { roots: &snp::Roots::amd(), crl: None }.into(),
                policy: &toml::from_str("any_measurement = true\ncrl = \"optional\"").expect("a policy"),
                platforms: &snp::Platforms::Any,
            }),
            Endorsement::TdQuote(quote) => {
                let accepted = TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked);
                let settings = tdx::Settings {
                    any_measurement: true,
                    sept_ve_disable: tdx::policy::SeptVe::Optional,
                    accepted_tcb: Some(accepted.collect()),
                    ..tdx::Settings::default()
                };
                judge(Hardware::Tdx {
                    quote,
                    collateral: Source::Verified(&self.td_collateral),
                    policy: &settings.try_into().expect("a policy"),
                    platforms: &Platforms::Any,
                })
            }
        }
    }

    pub(crate) fn judge(
        &self,
        evidence: Evidence<'_>,
        policy: &Policy,
    ) -> Result<(Authentic<AzureClaims>, Verdict), Verdict> {
        self.on(|hardware| authentic(evidence, hardware, policy, NOW, PROVIDER))
    }

    fn verify(&self, expected: Expected, policy: &Policy) -> Verdict {
        let evidence = self.envelope.evidence();
        self.on(|hardware| verify(Input { evidence, hardware, expected, policy, now: NOW }, PROVIDER))
            .expect_err(self.name)
    }
}

/// Quotes in the container of the library that made them: lengths of eight bytes, little-endian.
fn container(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<[u8; 32]>) {
    let counted = |at: usize| {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let length = usize::try_from(length).expect("small");
        bytes[at + 8..at + 8 + length].to_vec()
    };
    let signature = counted(0);
    let message = counted(8 + signature.len());
    let pcrs = bytes[24 + signature.len() + message.len()..].chunks(32);
    (signature, message, pcrs.map(|pcr| pcr.try_into().expect("32 bytes")).collect())
}

fn first_certificate(pem: &[u8]) -> Vec<u8> {
    let text = core::str::from_utf8(pem).expect("text");
    let end = text.find("-----END CERTIFICATE-----").expect("one") + "-----END CERTIFICATE-----".len();
    der::Document::from_pem(&text[..end]).expect("PEM").1.as_bytes().to_vec()
}

/// All of which a verifier must say that it is good.
pub(crate) fn good(folder: &Folder) -> Vec<Sample> {
    let envelope = |name: &'static str| {
        let bytes = folder.read(name);
        let envelope = match name {
            // In another project's envelope around it.
            "azure-attestation-rs/evidence-v1.json" => {
                let outer: Value = serde_json::from_slice(&bytes).expect("JSON");
                assert_eq!(outer["platform"], "az-snp");
                Envelope::parse(outer["evidence"].to_string().as_bytes())
            }
            _ => Envelope::parse(&bytes),
        };
        Sample::new(folder, name, envelope.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    let (signature, message, pcrs) = container(&folder.read("azure-trustee/quote.bin"));
    let parts = Envelope {
        hcl_report: folder.read("azure-trustee/hcl-report.bin"),
        message,
        signature,
        pcrs,
        endorsement: Endorsement::Vcek(first_certificate(&folder.read("azure-trustee/vcek.pem"))),
    };
    let quote: Value = serde_json::from_slice(&folder.read("azure-trustee/tdx-tpm-quote-v1.json")).expect("JSON");
    let text = |name: &str| hex::decode(quote[name].as_str().expect("text")).expect("hexadecimal");
    let pcrs: Vec<String> = serde_json::from_value(quote["pcrs"].clone()).expect("texts");
    let td_parts = Envelope {
        hcl_report: folder.read("azure-trustee/tdx-hcl-report.bin"),
        message: text("message"),
        signature: text("signature"),
        pcrs: pcrs.iter().map(|pcr| hex::decode(pcr).expect("hex").try_into().expect("32 bytes")).collect(),
        endorsement: Endorsement::TdQuote(folder.read("azure-trustee/tdx-td-quote.bin")),
    };
    vec![
        envelope("azure-trustee/evidence-v0.json"),
        envelope("azure-trustee/evidence-v1.json"),
        envelope("azure-trustee/evidence-genoa.json"),
        envelope("azure-attestation-rs/evidence-v1.json"),
        envelope("azure-trustee/tdx-evidence-v0.json"),
        Sample::new(folder, "azure-trustee/hcl-report.bin", parts),
        Sample::new(folder, "azure-trustee/tdx-hcl-report.bin", td_parts),
    ]
}

fn failures(verdict: &Verdict) -> Vec<&str> {
    verdict.failures().map(|check| check.id).collect()
}

#[test]
fn real_virtual_machines_are_authentic() {
    let Some(folder) = Folder::open() else { return };
    for sample in good(&folder) {
        let name = sample.name;
        let (authentic, _) = sample
            .judge(sample.envelope.evidence(), &policy(ANY))
            .unwrap_or_else(|verdict| panic!("{name}: {:#?}", verdict.failures().collect::<Vec<_>>()));
        let claims = authentic.claims();
        let Configuration { console_enabled, secure_boot, tpm_enabled, tpm_persisted, vm_unique_id, .. } =
            &claims.configuration;
        assert_eq!((console_enabled, secure_boot, tpm_enabled), (&Some(true), &Some(true), &Some(true)), "{name}");
        let persisted = match name {
            "azure-trustee/evidence-genoa.json" => Some(true),
            "azure-trustee/tdx-evidence-v0.json" | "azure-trustee/tdx-hcl-report.bin" => Some(false),
            _ => None,
        };
        assert_eq!(*tpm_persisted, persisted, "{name}");
        assert_eq!(vm_unique_id.as_ref().map(String::len), Some(36), "{name}");
        assert_eq!(claims.user_data, Some([0; 64]), "{name}");
        assert_eq!(claims.pcrs.len(), 24, "{name}");
        assert_eq!(claims.firmware_version, 0x2020_0312_0012_0003, "{name}");
        assert!(claims.clock.safe && claims.clock.restart_count == 0, "{name}");
        assert!(claims.collateral_end() >= NOW, "{name}");
        match name {
            "azure-trustee/evidence-genoa.json" => assert_eq!(claims.extra_data.len(), 48, "{name}"),
            _ => assert_eq!(claims.extra_data, b"challenge", "{name}"),
        }
        match &claims.hardware {
            HardwareClaims::Snp(claims) => {
                assert_eq!((claims.vmpl, claims.host_data), (0, [0; 32]), "{name}");
                assert!(claims.id_key_digest.is_some(), "{name}: by it a policy names the paravisor");
            }
            // The paravisor's TDs do not have SEPT_VE_DISABLE.
            HardwareClaims::Tdx(claims) => assert_eq!((claims.attributes, claims.config_id), (0, [0; 48]), "{name}"),
        }
    }
}

#[test]
fn each_demand_alone_refuses_what_does_not_meet_it() {
    let Some(folder) = Folder::open() else { return };
    for sample in good(&folder) {
        let name = sample.name;
        let evidence = sample.envelope.evidence();
        let (authentic, _) = sample.judge(evidence, &policy(ANY)).expect("control");
        let claims = authentic.claims();
        let id = claims.configuration.vm_unique_id.clone().expect("an id");
        let pcr = |index: u8| hex::encode(claims.pcrs[&index]);
        let met = format!(
            "secure_boot = true\ntpm_enabled = true\nconsole_enabled = true\nvm_unique_id = [\"{}\"]\n\
             [pcrs]\n4 = [\"{}\", \"{}\"]\n7 = [\"{}\"]\n",
            id.to_lowercase(),
            "00".repeat(32),
            pcr(4),
            pcr(7)
        );
        assert!(sample.judge(evidence, &policy(&met)).is_ok(), "{name}");
        for (id, demand) in [
            ("azure.secure_boot", format!("{ANY}secure_boot = false\n")),
            ("azure.console_enabled", format!("{ANY}console_enabled = false\n")),
            ("azure.vm_unique_id", format!("{ANY}vm_unique_id = [\"00000000-0000-0000-0000-000000000000\"]\n")),
            ("azure.root_cert_thumbprint", format!("{ANY}root_cert_thumbprint = [\"{}\"]\n", "A".repeat(43))),
            ("azure.pcrs", format!("[pcrs]\n4 = [\"{}\"]\n", pcr(7))),
        ] {
            let verdict = sample.judge(evidence, &policy(&demand)).expect_err(name);
            assert_eq!(failures(&verdict), [id], "{name}");
        }
        let persisted = claims.configuration.tpm_persisted;
        for wanted in [true, false] {
            let judged = sample.judge(evidence, &policy(&format!("{ANY}tpm_persisted = {wanted}\n")));
            assert_eq!(judged.is_ok(), persisted == Some(wanted), "{name}");
        }
    }
}

/// Nobody expected these machines: what is authentic is not thereby good for issuing.
#[test]
fn what_is_bound_to_nothing_is_not_verified() {
    let Some(folder) = Folder::open() else { return };
    let expected = Expected { report_data: [1; 64], launch_field: [2; 32] };
    for sample in good(&folder) {
        let verdict = sample.verify(expected, &policy(ANY));
        assert_eq!(failures(&verdict), ["azure.report_data", "azure.launch_field"], "{}", sample.name);
        let brief = verdict.check("azure.launch_field").expect("a rule");
        assert_eq!(brief.found, "the policy names no brief_pcr");
        let verdict = sample.verify(expected, &policy(&format!("{ANY}brief_pcr = 13\n")));
        assert_eq!(failures(&verdict), ["azure.report_data", "azure.launch_field"], "{}", sample.name);
        assert_eq!(verdict.check("azure.launch_field").expect("a rule").found, "00".repeat(32));
    }
}

/// The values sent are those of the PCRs that the quote selects, each in its place.
#[test]
fn the_selection_of_a_quote_says_of_which_pcrs_its_digest_is() {
    let Some(folder) = Folder::open() else { return };
    for sample in good(&folder) {
        let name = sample.name;
        let evidence = sample.envelope.evidence();
        let with = |pcrs: &[[u8; 32]]| {
            let quote = TpmQuote { pcrs, ..evidence.quote };
            sample
                .judge(Evidence { quote, ..evidence }, &policy(ANY))
                .map(|_| ())
                .map_err(|verdict| verdict.primary().expect("a failure").id)
        };
        let sent = evidence.quote.pcrs;
        assert_eq!(with(sent), Ok(()), "control: {name}");
        assert_eq!(with(&[sent, &[[7; 32]]].concat()), Ok(()), "a value of no PCR is not read: {name}");
        assert_eq!(with(&sent[..23]), Err("azure.quote.values"), "{name}");
        assert_eq!(with(&[]), Err("azure.quote.values"), "{name}");
        let mut swapped = sent.to_vec();
        swapped.swap(16, 17);
        assert_eq!(with(&swapped), Err("azure.quote.digest"), "{name}");

        // Other PCRs in the message, the same digest: the signature is of those that were quoted.
        let mut other = evidence.quote.message.to_vec();
        let at = other.windows(6).position(|window| window == [0, 0x0B, 3, 0xFF, 0xFF, 0xFF]).expect("a selection");
        other[at + 5] = 0xFE;
        let quote = TpmQuote { message: &other, ..evidence.quote };
        let verdict = sample.judge(Evidence { quote, ..evidence }, &policy(ANY)).expect_err(name);
        assert_eq!(failures(&verdict), ["azure.quote.signature", "azure.quote.digest"], "{name}");
    }

    // A real one of some PCRs.
    let message = folder.read("azure-trustee/tpm-quote.msg");
    let quote = Quote::parse(&message).expect("a quote");
    assert_eq!(quote.selections[0].pcrs().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 14]);
    assert_eq!(quote.extra_data, b"challenge");
}

/// Its certificate is another chip's, its quote another machine's.
#[test]
fn a_report_beside_the_certificate_of_another_chip_is_refused() {
    let Some(folder) = Folder::open() else { return };
    let (signature, message, pcrs) = container(&folder.read("azure-cvm-tooling/quote.bin"));
    let envelope = Envelope {
        hcl_report: folder.read("azure-cvm-tooling/hcl-report-snp.bin"),
        message: message.clone(),
        signature: signature.clone(),
        pcrs,
        endorsement: Endorsement::Vcek(first_certificate(&folder.read("azure-cvm-tooling/certs.pem"))),
    };
    let sample = Sample::new(&folder, "azure-cvm-tooling", envelope);
    let verdict = sample.judge(sample.envelope.evidence(), &policy(ANY)).expect_err("another chip");
    assert_eq!(failures(&verdict), ["azure.quote.signature", "snp.report.signature", "snp.report.chip"]);

    // The quote itself is good, by the key beside it.
    let (_, key) = der::Document::from_pem(
        core::str::from_utf8(&folder.read("azure-cvm-tooling/akpub.pem")).expect("text").trim_end(),
    )
    .expect("PEM");
    assert!(PROVIDER.verify(SignatureAlgorithm::RsaPkcs1Sha256, key.as_bytes(), &message, &signature));
}

#[test]
fn every_real_report_has_the_hash_of_its_runtime_data() {
    let Some(folder) = Folder::open() else { return };
    for (name, tee, keys) in [
        ("azure-trustee/hcl-report.bin", Tee::Snp, 1),
        ("azure-trustee/tdx-hcl-report.bin", Tee::Tdx, 2),
        ("azure-cvm-tooling/hcl-report-snp.bin", Tee::Snp, 1),
        ("azure-cvm-tooling/hcl-report-tdx.bin", Tee::Tdx, 2),
        ("azure-roots/hclreport.bin", Tee::Tdx, 2),
    ] {
        let bytes = folder.read(name);
        let report = HclReport::parse(&bytes).expect(name);
        assert_eq!((report.version(), report.report_type()), (keys, tee.report_type()), "{name}");
        let found = report.report_data(tee);
        assert_eq!(found[..32], Sha256::digest(report.claims())[..], "{name}");
        assert_eq!(found[32..], [0; 32], "{name}");
        assert_eq!(report.reserved_not_zero(tee), Vec::<&str>::new(), "{name}");
        let runtime = Runtime::parse(report.claims()).expect(name);
        assert!(runtime.attestation_key().is_ok(), "{name}");
        // Cut anywhere, it is none.
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
        for length in 0..=end {
            assert!(HclReport::parse(&bytes[..length]).is_err(), "{name}, {length} bytes");
        }
    }
    let runtime = folder.read("azure-cvm-tooling/var-data.bin");
    assert!(Runtime::parse(&runtime).expect("runtime data").attestation_key().is_ok());
}
