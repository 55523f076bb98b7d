//! The cases of `spec/vectors/snp`: evidence of simulated chips, and the check each must fail
//! first.
//!
//! Every bad case is a good one with a single thing changed, so the good cases are its controls.
//! `expect` is `ok` or the id of the primary failure in `evidence::snp::CHECKS`; a test demands a
//! case for every id. Where firmware would never sign the change, an attacker who holds the chip's
//! key does.

mod collateral;
mod content;
mod good;
mod vlek;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use silicon::amd::{Extension, Firmware, VekKind};
use silicon::{Amd, CrlTemplate, Product, ReportRequest, Tcb, VcekTemplate};

/// 2026-01-01, and the CRL's month before and eleven months after.
const NOW: u64 = 1_767_225_600;
const THIS_UPDATE: u64 = 1_764_547_200;
const NEXT_UPDATE: u64 = 1_796_083_200;
const DAY: u64 = 86_400;

const SEED: [u8; 32] = [0x5a; 32];
const OTHER_SEED: [u8; 32] = [0xa5; 32];
const REPORT_DATA: [u8; 64] = [0x11; 64];
const HOST_DATA: [u8; 32] = [0x22; 32];
const MEASUREMENT: [u8; 48] = [0x33; 48];
const ID_KEY: [u8; 48] = [0x44; 48];
const AUTHOR_KEY: [u8; 48] = [0x55; 48];

const ANY: &str = "any_measurement = true\n";

/// AMD's own root: what a verifier of real hardware trusts.
const ARK_MILAN: &[u8] = include_bytes!("../../../../evidence/src/snp/roots/ark-milan.der");

/// Bits of POLICY.
const MIGRATE_MA: u64 = 1 << 18;
const DEBUG: u64 = 1 << 19;
const SINGLE_SOCKET: u64 = 1 << 20;
const PAGE_SWAP_DISABLE: u64 = 1 << 25;

/// One file. Reports are hexadecimal, certificates and lists base64 of DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    /// What is special about it.
    pub(crate) about: String,
    /// `ok`, or the id of the first failing check.
    pub(crate) expect: String,
    /// The instant to judge at, unix seconds.
    pub(crate) now: u64,
    /// The `[snp]` section of the policy, TOML.
    pub(crate) policy: String,
    /// Chip ids and providers the policy names; null for any platform.
    pub(crate) platforms: Option<Vec<String>>,
    /// REPORT_DATA the relying party expects, hexadecimal.
    pub(crate) expected_report_data: String,
    /// HOST_DATA the relying party expects, hexadecimal.
    pub(crate) expected_host_data: String,
    /// The one trusted root.
    pub(crate) ark: String,
    /// Evidence: the intermediate, or null.
    pub(crate) ask: Option<String>,
    /// Evidence: the chip's certificate.
    pub(crate) vcek: String,
    /// Evidence: the revocation list, or null.
    pub(crate) crl: Option<String>,
    /// Evidence: the report.
    pub(crate) report: String,
}

/// Every case by file name, without the extension.
pub(crate) fn all() -> Vec<(String, Vector)> {
    let amds = Product::ALL.map(|product| Amd::from_seed(SEED, product));
    let mut cases = Cases { amds, list: Vec::new() };
    cases.good();
    cases.form();
    cases.certificates();
    cases.chain();
    cases.revocation();
    cases.report();
    cases.levels();
    cases.guest_policy();
    cases.platform();
    cases.code();
    cases.id_block();
    cases.firmware();
    cases.binding();
    cases.vlek();
    cases.list
}

/// What a verifier is given, as bytes, while a case is made.
struct Draft {
    amd: Amd,
    request: ReportRequest,
    template: VcekTemplate,
    now: u64,
    policy: String,
    platforms: Option<Vec<[u8; 64]>>,
    /// A provider that is named too, as a policy writes it.
    provider: Option<&'static str>,
    ark: Vec<u8>,
    ask: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    /// Changes to the finished report and certificate.
    edit: fn(&Amd, &mut Vec<u8>, &mut Vec<u8>),
}

impl Draft {
    fn new(amd: Amd) -> Self {
        let request = ReportRequest {
            report_data: REPORT_DATA,
            host_data: HOST_DATA,
            measurement: MEASUREMENT,
            id_key_digest: ID_KEY,
            author_key_digest: AUTHOR_KEY,
            flags: 1,
            ..amd.request()
        };
        Self {
            request,
            template: amd.vcek_template(amd.tcb()),
            now: NOW,
            policy: ANY.into(),
            platforms: None,
            provider: None,
            ark: amd.ark_der().to_vec(),
            ask: Some(amd.ask_der().to_vec()),
            crl: Some(amd.crl_der(THIS_UPDATE, NEXT_UPDATE, &[])),
            edit: |_, _, _| {},
            amd,
        }
    }

    fn crl(&mut self, this_update: u64, next_update: u64, revoked: &[u64]) {
        self.crl = Some(self.amd.crl_der(this_update, next_update, revoked));
    }

    /// All four TCB versions at once, and the VCEK that belongs to them.
    fn tcb(&mut self, tcb: Tcb) {
        let request = &mut self.request;
        (request.current_tcb, request.committed_tcb) = (tcb, tcb);
        (request.launch_tcb, request.reported_tcb) = (tcb, tcb);
        self.template = self.amd.vcek_template(tcb);
    }

    fn finish(self, about: &str, expect: &str) -> Vector {
        let Self { amd, request, template, now, policy, platforms, provider, ark, ask, crl, edit } = self;
        let mut report = amd.report(&request).to_vec();
        let mut vcek = amd.issue_vcek(&template);
        edit(&amd, &mut report, &mut vcek);
        let chip = |id: &[u8; 64]| match amd.product() {
            Product::Milan | Product::Genoa => hex::encode(id),
            Product::Turin => hex::encode(&id[..8]),
        };
        Vector {
            about: about.into(),
            expect: expect.into(),
            now,
            policy,
            platforms: platforms.map(|all| all.iter().map(chip).chain(provider.map(Into::into)).collect()),
            expected_report_data: hex::encode(REPORT_DATA),
            expected_host_data: hex::encode(HOST_DATA),
            ark: STANDARD.encode(ark),
            ask: ask.map(|der| STANDARD.encode(der)),
            vcek: STANDARD.encode(vcek),
            crl: crl.map(|der| STANDARD.encode(der)),
            report: hex::encode(report),
        }
    }
}

/// Signs a report again whose bytes were changed.
fn resign(amd: &Amd, report: &mut [u8]) {
    let report = report.try_into().expect("a report keeps its size");
    amd.sign_report(report, amd.tcb());
}

fn flip_last_byte(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}

fn list(key: &str, digest: [u8; 48]) -> String {
    format!("{key} = [\"{}\"]\n", hex::encode(digest))
}

struct Cases {
    /// One chip a product: clones share their signatures, which RSA makes worth it.
    amds: [Amd; 3],
    list: Vec<(String, Vector)>,
}

impl Cases {
    fn add(&mut self, name: &str, about: &str, expect: &str, product: Product, change: impl FnOnce(&mut Draft)) {
        let mut draft = Draft::new(self.amds[product as usize].clone());
        change(&mut draft);
        self.list.push((name.into(), draft.finish(about, expect)));
    }

    /// A good case on Genoa.
    fn ok(&mut self, name: &str, about: &str, change: impl FnOnce(&mut Draft)) {
        self.add(&format!("ok-{name}"), about, "ok", Product::Genoa, change);
    }

    /// A bad case on Genoa: `ok-genoa-v5` is its control.
    fn bad(&mut self, name: &str, expect: &str, about: &str, change: impl FnOnce(&mut Draft)) {
        self.add(name, about, expect, Product::Genoa, change);
    }
}
