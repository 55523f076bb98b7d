//! The cases of `spec/vectors/dcap`: quotes of simulated platforms, and the check each must fail first.
//!
//! Every bad case is a good one with a single thing changed, so the good cases are its controls. `expect` is `ok` or the id
//! of the primary failure in `evidence::sgx::CHECKS` or `evidence::tdx::CHECKS`; a test demands a case for every id. Where
//! no service would sign the change, an attacker who holds the key does.

mod collateral;
mod content;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use silicon::intel::{Body, Certificate, Enclave, Quote, Service, Td, pki};

/// 2026-01-01, and a month around it.
const NOW: u64 = 1_767_225_600;
const FROM: u64 = 1_766_016_000;
const TO: u64 = 1_768_608_000;

const SEED: [u8; 32] = [0x5a; 32];
const REPORT_DATA: [u8; 64] = [0x11; 64];
const BRIEF: [u8; 32] = [0x22; 32];

const ANY: &str = "any_measurement = true\n";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    /// What is special about it.
    pub(crate) about: String,
    /// `ok`, or the id of the first failing check.
    pub(crate) expect: String,
    /// As what it is judged: `sgx` or `tdx`.
    pub(crate) tee: String,
    /// The instant to judge at, unix seconds.
    pub(crate) now: u64,
    /// The section of the policy, TOML.
    pub(crate) policy: String,
    /// PPIDs the policy names, hexadecimal; null for any platform.
    pub(crate) platforms: Option<Vec<String>>,
    /// Report data the relying party expects, hexadecimal.
    pub(crate) expected_report_data: String,
    /// The brief's hash, hexadecimal.
    pub(crate) expected_launch_field: String,
    /// The one trusted root, base64 of DER.
    pub(crate) root: String,
    /// Evidence: the quote, base64.
    pub(crate) quote: String,
    /// Collateral: the object that is signed.
    pub(crate) tcb_info: String,
    /// r||s, hexadecimal.
    pub(crate) tcb_info_signature: String,
    /// PEM.
    pub(crate) tcb_info_chain: String,
    /// Collateral: the object that is signed.
    pub(crate) qe_identity: String,
    /// r||s, hexadecimal.
    pub(crate) qe_identity_signature: String,
    /// PEM.
    pub(crate) qe_identity_chain: String,
    /// Base64 of DER.
    pub(crate) root_crl: String,
    /// Base64 of DER.
    pub(crate) pck_crl: String,
    /// PEM.
    pub(crate) pck_crl_chain: String,
}

/// Every case by file name, without the extension.
pub(crate) fn all() -> Vec<(String, Vector)> {
    let mut cases = Cases { list: Vec::new() };
    cases.good();
    cases.form();
    cases.root();
    cases.ca();
    cases.tcb_info();
    cases.qe_identity();
    cases.pck();
    cases.quoting();
    cases.levels();
    cases.platform();
    cases.enclave();
    cases.domain();
    cases.list
}

/// What a verifier is given, as templates, while a case is made.
struct Draft {
    tee: &'static str,
    service: Service,
    quote: Quote,
    pck: Option<Certificate>,
    /// The CA in the quote's chain.
    ca: Option<Certificate>,
    now: u64,
    policy: String,
    platforms: Option<Vec<[u8; 16]>>,
    pinned: Option<Certificate>,
    /// Changes to the bytes of the finished file.
    edit: fn(&mut Bytes),
}

/// What has bytes, and not only a template.
struct Bytes {
    quote: Vec<u8>,
    tcb_info: String,
    qe_identity: String,
    tcb_chain: String,
    qe_chain: String,
    root_crl: Vec<u8>,
    pck_crl: Vec<u8>,
}

impl Draft {
    fn new(tee: &'static str, body: Body) -> Self {
        Self {
            tee,
            service: Service::new(tee == "tdx", FROM, TO),
            quote: Quote::new(SEED, body),
            pck: None,
            ca: None,
            now: NOW,
            policy: ANY.into(),
            platforms: None,
            pinned: None,
            edit: |_| {},
        }
    }

    fn sgx() -> Self {
        let mut enclave = Enclave { report_data: REPORT_DATA, ..Enclave::new() };
        enclave.config_id[..32].copy_from_slice(&BRIEF);
        Self::new("sgx", Body::Enclave(enclave))
    }

    fn tdx(extended: bool) -> Self {
        let mut td = Td { report_data: REPORT_DATA, ..Td::new(extended) };
        td.mr_config_id[..32].copy_from_slice(&BRIEF);
        Self::new("tdx", Body::Td(td))
    }

    fn enclave(&mut self) -> &mut Enclave {
        match &mut self.quote.body {
            Body::Enclave(enclave) => enclave,
            Body::Td(_) => panic!("a case of SGX"),
        }
    }

    fn td(&mut self) -> &mut Td {
        match &mut self.quote.body {
            Body::Td(td) => td,
            Body::Enclave(_) => panic!("a case of TDX"),
        }
    }

    /// All of the platform's components.
    fn components(&mut self, svn: u8) {
        self.quote.platform.components = [svn; 16];
    }

    fn pck(&mut self) -> &mut Certificate {
        let certificate = self.quote.certificate();
        self.pck.get_or_insert(certificate)
    }

    fn finish(self, about: &str, expect: &str) -> Vector {
        let Self { tee, service, quote, pck, ca, now, policy, platforms, pinned, edit } = self;
        let pck = pck.unwrap_or_else(|| quote.certificate());
        let ca = ca.unwrap_or_else(|| service.ca.clone());
        let chain = [pck.der(), ca.der(), service.root.der()].map(|der| pki::pem(&der)).concat();
        let mut bytes = Bytes {
            quote: quote.bytes(&chain),
            tcb_info: service.tcb_info.json(),
            qe_identity: service.qe_identity.json(),
            tcb_chain: service.chain(&service.tcb_signer),
            qe_chain: service.chain(&service.qe_signer),
            root_crl: service.root_crl.der(),
            pck_crl: service.pck_crl.der(),
        };
        edit(&mut bytes);
        Vector {
            about: about.into(),
            expect: expect.into(),
            tee: tee.into(),
            now,
            policy,
            platforms: platforms.map(|all| all.iter().map(hex::encode).collect()),
            expected_report_data: hex::encode(REPORT_DATA),
            expected_launch_field: hex::encode(BRIEF),
            root: STANDARD.encode(pinned.unwrap_or_else(|| service.root.clone()).der()),
            quote: STANDARD.encode(&bytes.quote),
            tcb_info_signature: hex::encode(service.tcb_info.signer.sign(bytes.tcb_info.as_bytes())),
            qe_identity_signature: hex::encode(service.qe_identity.key.sign(bytes.qe_identity.as_bytes())),
            tcb_info: bytes.tcb_info,
            tcb_info_chain: bytes.tcb_chain,
            qe_identity: bytes.qe_identity,
            qe_identity_chain: bytes.qe_chain,
            root_crl: STANDARD.encode(&bytes.root_crl),
            pck_crl: STANDARD.encode(&bytes.pck_crl),
            pck_crl_chain: service.chain(&service.ca),
        }
    }
}

struct Cases {
    list: Vec<(String, Vector)>,
}

impl Cases {
    fn add(&mut self, name: &str, expect: &str, about: &str, mut draft: Draft, change: impl FnOnce(&mut Draft)) {
        change(&mut draft);
        self.list.push((name.into(), draft.finish(about, expect)));
    }

    /// A case of an enclave: `ok-sgx` is its control.
    fn sgx(&mut self, name: &str, expect: &str, about: &str, change: impl FnOnce(&mut Draft)) {
        self.add(&format!("sgx-{name}"), expect, about, Draft::sgx(), change);
    }

    /// A case of a TD of TDX 1.5: `ok-tdx-15` is its control.
    fn tdx(&mut self, name: &str, expect: &str, about: &str, change: impl FnOnce(&mut Draft)) {
        self.add(&format!("tdx-{name}"), expect, about, Draft::tdx(true), change);
    }

    fn good(&mut self) {
        self.add("ok-sgx", "ok", "a healthy enclave", Draft::sgx(), |_| {});
        self.add("ok-tdx-10", "ok", "a healthy TD of TDX 1.0", Draft::tdx(false), |_| {});
        self.add("ok-tdx-15", "ok", "a healthy TD of TDX 1.5", Draft::tdx(true), |_| {});
        let (sgx, tdx) = (Draft::sgx, || Draft::tdx(true));
        self.add("ok-tail", "ok", "zeros after the quote, as in a buffer", tdx(), |draft| {
            draft.quote.tail = vec![0; 70]
        });
        self.add("ok-sw-hardening", "ok", "a status that the policy accepts", sgx(), |draft| {
            draft.components(6);
            draft.policy += "accepted_tcb = [\"SWHardeningNeeded\"]\nallowed_advisories = [\"INTEL-SA-00615\"]\n";
        });
        self.add("ok-out-of-date", "ok", "out of date, within the days of grace", sgx(), |draft| {
            draft.components(5);
            draft.policy += "accepted_tcb = [\"UpToDate\", \"OutOfDate\"]\ngrace_days = 700\n";
        });
        self.add("ok-relaunch", "ok", "launched on an older TDX module than it runs on now", tdx(), |draft| {
            draft.td().tee_tcb_svn[0] = 3;
            draft.policy += "accepted_tcb = [\"TDRelaunchAdvised\"]\n";
        });
        self.add("ok-level-order", "ok", "the lowest levels stand first in every list", tdx(), |draft| {
            let Service { tcb_info, qe_identity, .. } = &mut draft.service;
            tcb_info.levels.reverse();
            tcb_info.modules.iter_mut().for_each(|module| module.levels.reverse());
            qe_identity.levels.reverse();
        });
        self.add("ok-tcb-info-2", "ok", "TCB info of version 2", sgx(), |draft| draft.service.tcb_info.version = 2);
        self.add("ok-quote-5-of-10", "ok", "version 5 of a TD of TDX 1.0", Draft::tdx(false), |draft| {
            (draft.quote.version, draft.quote.body_type) = (5, 2);
        });
        self.add("ok-module-0", "ok", "a TDX module without levels of its own", Draft::tdx(false), |draft| {
            draft.td().tee_tcb_svn[..3].copy_from_slice(&[7, 0, 7]);
        });
        self.add("ok-configuration", "ok", "a status that the policy accepts", sgx(), |draft| {
            draft.service.tcb_info.levels[0].status = "ConfigurationNeeded".into();
            draft.policy += "accepted_tcb = [\"ConfigurationNeeded\"]\n";
        });
        self.add(
            "ok-configuration-old",
            "ok",
            "configuration, and a quoting enclave that is out of date",
            sgx(),
            |draft| {
                draft.service.tcb_info.levels[0].status = "ConfigurationAndSWHardeningNeeded".into();
                draft.quote.qe.security_version = 7;
                draft.policy += "accepted_tcb = [\"OutOfDateConfigurationNeeded\"]\n";
            },
        );
        self.add("ok-relaunch-configuration", "ok", "the platform has to be configured besides", tdx(), |draft| {
            draft.service.tcb_info.levels[0].status = "ConfigurationNeeded".into();
            draft.td().tee_tcb_svn[0] = 3;
            draft.policy += "accepted_tcb = [\"TDRelaunchAdvisedConfigurationNeeded\"]\n";
        });
        self.add("ok-debug", "ok", "debugging, and a policy that says insecure", sgx(), |draft| {
            draft.enclave().flags |= 2;
            draft.policy += "insecure_debug = true\n";
        });
        self.add("ok-without-qe-identity", "ok", "no QE identity, and a policy that does without", sgx(), |draft| {
            draft.edit = |bytes| bytes.qe_identity.clear();
            draft.policy += "insecure_without_qe_identity = true\n";
        });
        self.add("ok-platform", "ok", "a platform the policy names", sgx(), |draft| {
            draft.platforms = Some(vec![draft.quote.platform.ppid]);
        });
        self.add("ok-processor", "ok", "a PCK of a platform with one processor", sgx(), |draft| {
            let ca = Certificate::ca(silicon::intel::Key::ProcessorCa);
            draft.service.pck_crl = silicon::intel::Crl::new(ca.key, FROM, TO);
            draft.quote.platform.configuration = None;
            let pck = draft.pck();
            (pck.issuer, pck.signer) = (ca.subject.clone(), ca.key);
            draft.service.ca = ca;
        });
    }
}
