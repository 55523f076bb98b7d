//! The cases of `spec/vectors/azure`: evidence of simulated virtual machines behind a paravisor, and the check each
//! must fail first.
//!
//! Every bad case is a good one with a single thing changed, so the good cases are its controls. `expect` is `ok` or
//! the id of the primary failure in `evidence::azure::CHECKS_SNP` or `CHECKS_TDX`; a test demands a case for every id
//! that begins with `azure.`. Where neither hardware nor vTPM would sign the change, an attacker who holds the key
//! does.

mod content;
mod form;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use silicon::azure::{self, HclReport, RuntimeData, TpmQuote};
use silicon::intel::{Body, Quote, Service, Td, pki};
use silicon::{Amd, Product, ReportRequest};

/// 2026-01-01, and the collateral's month before and eleven months after.
const NOW: u64 = 1_767_225_600;
const FROM: u64 = 1_764_547_200;
const TO: u64 = 1_796_083_200;

const SEED: [u8; 32] = [0x5a; 32];
const REPORT_DATA: [u8; 64] = [0x11; 64];
const BRIEF: [u8; 32] = [0x22; 32];
const MEASUREMENT: [u8; 48] = [0x33; 48];
const BRIEF_PCR: usize = 13;

const ANY: &str = "any_measurement = true\n";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    /// What is special about it.
    pub(crate) about: String,
    /// `ok`, or the id of the first failing check.
    pub(crate) expect: String,
    /// The instant to judge at, unix seconds.
    pub(crate) now: u64,
    /// The `[azure]` section of the policy, TOML.
    pub(crate) azure_policy: String,
    /// The `[snp]` or `[tdx]` section of the policy, TOML.
    pub(crate) policy: String,
    /// The 64 bytes the relying party expects, hexadecimal.
    pub(crate) expected_report_data: String,
    /// The hash of the brief the relying party expects, hexadecimal.
    pub(crate) expected_launch_field: String,
    /// Base64.
    pub(crate) hcl_report: String,
    /// TPMS_ATTEST, hexadecimal.
    pub(crate) message: String,
    /// The attestation key's signature, hexadecimal.
    pub(crate) signature: String,
    /// Values of the SHA-256 PCRs from PCR 0 on, hexadecimal.
    pub(crate) pcrs: Vec<String>,
    /// Of evidence on SEV-SNP.
    pub(crate) snp: Option<Snp>,
    /// Of evidence on TDX.
    pub(crate) tdx: Option<Tdx>,
}

/// Certificates and the list of the root, base64 of DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snp {
    pub(crate) ark: String,
    pub(crate) ask: String,
    pub(crate) vcek: String,
    pub(crate) crl: String,
}

/// As in `spec/vectors/dcap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tdx {
    pub(crate) root: String,
    pub(crate) quote: String,
    pub(crate) tcb_info: String,
    pub(crate) tcb_info_signature: String,
    pub(crate) tcb_info_chain: String,
    pub(crate) qe_identity: String,
    pub(crate) qe_identity_signature: String,
    pub(crate) qe_identity_chain: String,
    pub(crate) root_crl: String,
    pub(crate) pck_crl: String,
    pub(crate) pck_crl_chain: String,
}

/// Every case by file name, without the extension.
pub(crate) fn all() -> Vec<(String, Vector)> {
    let mut cases = Cases { amd: Amd::from_seed(SEED, Product::Milan), list: Vec::new() };
    cases.good();
    cases.hcl();
    cases.runtime();
    cases.quote();
    cases.pcrs();
    cases.configuration();
    cases.binding();
    cases.hardware();
    cases.list
}

/// The hardware below.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Hardware {
    Snp(Amd, ReportRequest),
    /// The TD that is quoted, and the TDREPORT in the HCL report if that is of another.
    Tdx(Td, Option<Td>),
}

/// What a verifier is given, as templates, while a case is made.
struct Draft {
    hardware: Hardware,
    runtime: RuntimeData,
    quote: TpmQuote,
    azure_policy: String,
    policy: String,
    /// Changes to the HCL report before the hardware signs its hash.
    wrap: fn(&mut HclReport),
    /// Changes to the report data that the hardware is given.
    report_data: fn(&mut [u8; 64]),
    /// Changes to the bytes of the finished file.
    edit: fn(&mut Bytes),
}

/// What has bytes, and not only a template.
struct Bytes {
    hcl_report: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Vec<[u8; 32]>,
}

impl Draft {
    fn new(hardware: Hardware) -> Self {
        let mut quote = TpmQuote::new(&Sha256::digest(REPORT_DATA));
        azure::extend(&mut quote.pcrs[BRIEF_PCR], BRIEF);
        Self {
            hardware,
            runtime: RuntimeData::new(),
            quote,
            azure_policy: format!("any_pcrs = true\nbrief_pcr = {BRIEF_PCR}\n"),
            policy: ANY.into(),
            wrap: |_| {},
            report_data: |_| {},
            edit: |_| {},
        }
    }

    fn snp(amd: &Amd) -> Self {
        let request = ReportRequest { measurement: MEASUREMENT, ..amd.request() };
        Self::new(Hardware::Snp(amd.clone(), request))
    }

    /// As Azure's are: without SEPT_VE_DISABLE.
    fn tdx(extended: bool) -> Self {
        let td = Td { attributes: 0, ..Td::new(extended) };
        let mut draft = Self::new(Hardware::Tdx(td, None));
        draft.policy += "sept_ve_disable = \"optional\"\n";
        draft
    }

    /// A policy of these values of PCRs, instead of any.
    fn demand(&mut self, pcrs: &[(u8, [u8; 32])]) {
        self.azure_policy = self.azure_policy.replace("any_pcrs = true\n", "") + "[pcrs]\n";
        for (pcr, value) in pcrs {
            self.azure_policy += &format!("{pcr} = [\"{}\"]\n", hex::encode(value));
        }
    }

    fn finish(self, about: &str, expect: &str) -> Vector {
        let Self { hardware, runtime, quote, azure_policy, policy, wrap, report_data: change, edit } = self;
        let mut hcl = HclReport::new(if matches!(hardware, Hardware::Snp(..)) { 2 } else { 4 }, &runtime);
        wrap(&mut hcl);
        let mut report_data = hcl.report_data();
        change(&mut report_data);
        let (hardware, snp, tdx) = match hardware {
            Hardware::Snp(amd, request) => {
                let snp = Snp {
                    ark: STANDARD.encode(amd.ark_der()),
                    ask: STANDARD.encode(amd.ask_der()),
                    vcek: STANDARD.encode(amd.vcek_der(amd.tcb())),
                    crl: STANDARD.encode(amd.crl_der(FROM, TO, &[])),
                };
                (amd.report(&ReportRequest { report_data, ..request }).to_vec(), Some(snp), None)
            }
            Hardware::Tdx(td, other) => {
                let td = Td { report_data, ..td };
                let report = azure::td_report(&other.map_or_else(|| td.clone(), |other| Td { report_data, ..other }));
                (report, None, Some(quoted(td)))
            }
        };
        let message = quote.message();
        let mut bytes = Bytes {
            hcl_report: hcl.bytes(&hardware),
            signature: azure::sign(&message),
            message,
            pcrs: quote.pcrs.to_vec(),
        };
        edit(&mut bytes);
        Vector {
            about: about.into(),
            expect: expect.into(),
            now: NOW,
            azure_policy,
            policy,
            expected_report_data: hex::encode(REPORT_DATA),
            expected_launch_field: hex::encode(BRIEF),
            hcl_report: STANDARD.encode(bytes.hcl_report),
            message: hex::encode(bytes.message),
            signature: hex::encode(bytes.signature),
            pcrs: bytes.pcrs.iter().map(hex::encode).collect(),
            snp,
            tdx,
        }
    }
}

/// A quote of this TD, and by what it is judged.
fn quoted(td: Td) -> Tdx {
    let service = Service::new(true, FROM, TO);
    let quote = Quote::new(SEED, Body::Td(td));
    let chain = [quote.certificate().der(), service.ca.der(), service.root.der()].map(|der| pki::pem(&der)).concat();
    let (tcb_info, qe_identity) = (service.tcb_info.json(), service.qe_identity.json());
    Tdx {
        root: STANDARD.encode(service.root.der()),
        quote: STANDARD.encode(quote.bytes(&chain)),
        tcb_info_signature: hex::encode(service.tcb_info.signer.sign(tcb_info.as_bytes())),
        tcb_info,
        tcb_info_chain: service.chain(&service.tcb_signer),
        qe_identity_signature: hex::encode(service.qe_identity.key.sign(qe_identity.as_bytes())),
        qe_identity,
        qe_identity_chain: service.chain(&service.qe_signer),
        root_crl: STANDARD.encode(service.root_crl.der()),
        pck_crl: STANDARD.encode(service.pck_crl.der()),
        pck_crl_chain: service.chain(&service.ca),
    }
}

struct Cases {
    /// Clones share their signatures, which RSA makes worth it.
    amd: Amd,
    list: Vec<(String, Vector)>,
}

impl Cases {
    fn add(&mut self, name: &str, expect: &str, about: &str, mut draft: Draft, change: impl FnOnce(&mut Draft)) {
        change(&mut draft);
        self.list.push((name.into(), draft.finish(about, expect)));
    }

    /// A case on SEV-SNP: `ok-snp` is its control.
    fn snp(&mut self, name: &str, expect: &str, about: &str, change: impl FnOnce(&mut Draft)) {
        self.add(&format!("snp-{name}"), expect, about, Draft::snp(&self.amd), change);
    }

    /// A case on TDX: `ok-tdx-15` is its control.
    fn tdx(&mut self, name: &str, expect: &str, about: &str, change: impl FnOnce(&mut Draft)) {
        self.add(&format!("tdx-{name}"), expect, about, Draft::tdx(true), change);
    }

    fn good(&mut self) {
        let snp = Draft::snp(&self.amd);
        self.add("ok-snp", "ok", "a healthy machine on SEV-SNP", snp, |_| {});
        self.add("ok-tdx-10", "ok", "a healthy machine on TDX 1.0", Draft::tdx(false), |_| {});
        self.add("ok-tdx-15", "ok", "a healthy machine on TDX 1.5", Draft::tdx(true), |_| {});
        let about = "every key of the policy is stated and met";
        self.add("ok-every-policy-key", "ok", about, Draft::snp(&self.amd), |draft| {
            draft.azure_policy += "secure_boot = true\ntpm_enabled = true\ntpm_persisted = true\n\
                console_enabled = true\n\
                root_cert_thumbprint = [\"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE\"]\n\
                vm_unique_id = [\"01234567-89ab-cdef-0123-456789abcdef\"]\n";
            let values = draft.quote.pcrs;
            draft.demand(&[(4, values[4]), (7, values[7]), (11, [0; 32])]);
            draft.policy = format!("hash = [\"{}\"]\n", hex::encode(MEASUREMENT));
        });
        let about = "a quote of some PCRs: the values of the others are not read";
        self.add("ok-some-pcrs", "ok", about, Draft::snp(&self.amd), |draft| {
            draft.quote.select(&[4, 7, 13]);
            let values = draft.quote.pcrs;
            draft.demand(&[(4, values[4]), (7, values[7])]);
            draft.edit = |bytes| {
                bytes.pcrs.truncate(14);
                bytes.pcrs[5] = [9; 32];
            };
        });
        self.add("ok-without-tail", "ok", "nothing after the HCL report", Draft::snp(&self.amd), |draft| {
            draft.wrap = |hcl| hcl.tail.clear();
        });
        let about = "a paravisor that says more, and one thing less";
        self.add("ok-other-claims", "ok", about, Draft::snp(&self.amd), |draft| {
            draft.runtime.set("current-time", "1678652405");
            draft.runtime.more = vec![("later".into(), "{\"a\":[1,2]}".into())];
        });
    }
}
