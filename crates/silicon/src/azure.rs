//! Simulated Azure: a paravisor's HCL report around a hardware report, and its vTPM's quotes.
//!
//! ```text
//!   runtime data --SHA-256--> report data of the SNP report or TDREPORT (made by `amd`, `intel`)
//!                --names----> attestation key --RSASSA--> quote of PCRs
//! ```
//!
//! Layouts: OpenHCL `igvm_attest`; Intel TDX module ABI (348551), TDREPORT_STRUCT; TCG TPM 2.0 Library, part 2,
//! TPMS_ATTEST. Everything is made from a template with public fields, of which a test changes what it wants to see
//! refused. The attestation key is committed: **it is public**, and the same for every machine; what is told apart by a
//! seed is the hardware below.
//!
//! Invariant: the same templates are the same bytes.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha2::{Digest, Sha256, Sha384};

use crate::intel::Td;

/// Bytes of the hardware report's place.
const HARDWARE: usize = 1184;

/// TPM_ALG_SHA256.
pub const SHA256: u16 = 0x000b;

/// A key that the runtime data name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    /// Name.
    pub kid: String,
    /// Kind.
    pub kty: String,
    /// Public exponent, base64url.
    pub e: String,
    /// Modulus.
    pub n: Vec<u8>,
}

impl Jwk {
    /// The vTPM's attestation key.
    pub fn attestation() -> Self {
        Self { kid: "HCLAkPub".into(), kty: "RSA".into(), e: "AQAB".into(), n: modulus() }
    }
}

/// What the paravisor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeData {
    /// Keys.
    pub keys: Vec<Jwk>,
    /// Of the virtual machine: names and their values in JSON.
    pub configuration: Vec<(String, String)>,
    /// More of the outer object: names and their values in JSON.
    pub more: Vec<(String, String)>,
}

impl RuntimeData {
    /// What paravisors of today say of a healthy machine.
    pub fn new() -> Self {
        let text = |text: &str| format!("\"{text}\"");
        let configuration = [
            ("console-enabled", "true".into()),
            ("root-cert-thumbprint", text(&URL_SAFE_NO_PAD.encode([0x61; 32]))),
            ("secure-boot", "true".into()),
            ("tpm-enabled", "true".into()),
            ("tpm-persisted", "true".into()),
            ("vmUniqueId", text("01234567-89AB-CDEF-0123-456789ABCDEF")),
        ];
        let encryption = Jwk { kid: "HCLEkPub".into(), n: vec![0xee; 256], ..Jwk::attestation() };
        Self {
            keys: vec![Jwk::attestation(), encryption],
            configuration: configuration.map(|(name, value)| (name.into(), value)).to_vec(),
            more: vec![("user-data".into(), text(&"00".repeat(64)))],
        }
    }

    /// Another value of the configuration.
    pub fn set(&mut self, name: &str, value: &str) {
        self.configuration.retain(|(known, _)| known != name);
        self.configuration.push((name.into(), value.into()));
    }

    /// As it is hashed.
    pub fn json(&self) -> String {
        let key = |Jwk { kid, kty, e, n }: &Jwk| {
            let n = URL_SAFE_NO_PAD.encode(n);
            format!("{{\"kid\":\"{kid}\",\"key_ops\":[\"sign\"],\"kty\":\"{kty}\",\"e\":\"{e}\",\"n\":\"{n}\"}}")
        };
        let fields = |fields: &[(String, String)]| -> Vec<String> {
            fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect()
        };
        let keys: Vec<String> = self.keys.iter().map(key).collect();
        let configuration = fields(&self.configuration).join(",");
        let outer = [format!("\"keys\":[{}]", keys.join(",")), format!("\"vm-configuration\":{{{configuration}}}")];
        format!("{{{}}}", [&outer[..], &fields(&self.more)].concat().join(","))
    }
}

impl Default for RuntimeData {
    fn default() -> Self {
        Self::new()
    }
}

/// An HCL report around a hardware report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    /// Version.
    pub version: u32,
    /// Request type; 2.
    pub request: u32,
    /// 0 if nothing failed.
    pub status: u32,
    /// The header's last bytes.
    pub reserved: [u8; 12],
    /// Version of the runtime data.
    pub runtime_version: u32,
    /// 2: SNP, 4: TDX.
    pub report_type: u32,
    /// 1: SHA-256.
    pub hash_type: u32,
    /// The runtime data as they are sent.
    pub runtime: Vec<u8>,
    /// What follows.
    pub tail: Vec<u8>,
}

impl HclReport {
    /// As paravisors write it, in an NV index that is longer.
    pub fn new(report_type: u32, runtime: &RuntimeData) -> Self {
        Self {
            version: if report_type == 4 { 2 } else { 1 },
            request: 2,
            status: 0,
            reserved: [0; 12],
            runtime_version: 1,
            report_type,
            hash_type: 1,
            runtime: runtime.json().into_bytes(),
            tail: vec![0; 100],
        }
    }

    /// What the hardware report has to have as report data.
    pub fn report_data(&self) -> [u8; 64] {
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(&Sha256::digest(&self.runtime));
        report_data
    }

    /// The report around this hardware report.
    ///
    /// # Panics
    /// If the hardware report is longer than its place.
    pub fn bytes(&self, hardware: &[u8]) -> Vec<u8> {
        let claims = u32::try_from(self.runtime.len()).expect("runtime data are short");
        let mut out = b"HCLA".to_vec();
        let whole = 32 + 1184 + 20 + claims;
        for word in [self.version, whole, self.request, self.status] {
            out.extend(word.to_le_bytes());
        }
        out.extend(self.reserved);
        let mut place = [0; HARDWARE];
        place[..hardware.len()].copy_from_slice(hardware);
        out.extend(place);
        for word in [20 + claims, self.runtime_version, self.report_type, self.hash_type, claims] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&self.runtime);
        out.extend(&self.tail);
        out
    }
}

/// The TDREPORT of a TD, 1024 bytes. Its MAC is nobody's: only the platform itself could check it.
pub fn td_report(td: &Td) -> Vec<u8> {
    let (svn, service) = td.extension.unwrap_or((td.tee_tcb_svn, [0; 48]));
    let mut tcb = 0x0003_01ff_u64.to_le_bytes().to_vec();
    tcb.extend(
        [&td.tee_tcb_svn[..], &td.mr_seam, &td.mr_signer_seam, &td.seam_attributes.to_le_bytes(), &svn].concat(),
    );
    tcb.resize(239, 0);
    let mut info = [td.attributes.to_le_bytes(), td.xfam.to_le_bytes()].concat();
    info.extend([&td.mr_td[..], &td.mr_config_id, &td.mr_owner, &td.mr_owner_config].concat());
    info.extend(td.rtmr.concat());
    info.extend(service);
    info.resize(512, 0);

    let mut out = vec![0x81];
    out.resize(16, 0);
    out.extend([7; 16]);
    out.extend(Sha384::digest(&tcb));
    out.extend(Sha384::digest(&info));
    out.extend(td.report_data);
    out.resize(224, 0);
    out.extend([0x4d; 32]);
    out.extend(tcb);
    out.resize(512, 0);
    out.extend(info);
    out
}

/// A vTPM, and what it is asked to quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmQuote {
    /// 0xff544347.
    pub magic: u32,
    /// 0x8018.
    pub kind: u16,
    /// What the caller gives.
    pub extra_data: Vec<u8>,
    /// Banks and bits of the selected PCRs.
    pub selections: Vec<(u16, Vec<u8>)>,
    /// Values of the SHA-256 bank.
    pub pcrs: [[u8; 32]; 24],
    /// Instead of the digest of the selected PCRs.
    pub digest: Option<[u8; 32]>,
    /// Bytes after it, which are signed too.
    pub tail: Vec<u8>,
}

impl TpmQuote {
    /// All PCRs of a system that has booted.
    pub fn new(extra_data: &[u8]) -> Self {
        let mut pcrs = [[0; 32]; 24];
        for (pcr, value) in (0..).zip(&mut pcrs) {
            match pcr {
                0..8 => extend(value, [0x70 + pcr; 32]),
                // No dynamic root of trust.
                17..23 => *value = [0xff; 32],
                _ => {}
            }
        }
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            extra_data: extra_data.to_vec(),
            selections: vec![(SHA256, vec![0xff; 3])],
            pcrs,
            digest: None,
            tail: Vec::new(),
        }
    }

    /// Selects these PCRs of the SHA-256 bank alone.
    ///
    /// # Panics
    /// If there is no such PCR.
    pub fn select(&mut self, pcrs: &[u8]) {
        let mut bits = vec![0; 3];
        for pcr in pcrs {
            bits[usize::from(pcr / 8)] |= 1 << (pcr % 8);
        }
        self.selections = vec![(SHA256, bits)];
    }

    /// TPMS_ATTEST.
    pub fn message(&self) -> Vec<u8> {
        let name = [&SHA256.to_be_bytes()[..], &Sha256::digest(modulus())].concat();
        let mut out = self.magic.to_be_bytes().to_vec();
        out.extend(self.kind.to_be_bytes());
        out.extend(sized(&name));
        out.extend(sized(&self.extra_data));
        out.extend(0x0021_1111_u64.to_be_bytes());
        out.extend(3_u32.to_be_bytes());
        out.extend(0_u32.to_be_bytes());
        out.push(1);
        out.extend(0x2020_0312_0012_0003_u64.to_be_bytes());
        out.extend(u32::try_from(self.selections.len()).expect("few banks").to_be_bytes());
        let mut hash = Sha256::new();
        for (bank, bits) in &self.selections {
            out.extend(bank.to_be_bytes());
            out.push(u8::try_from(bits.len()).expect("few bits"));
            out.extend(bits);
            for (pcr, value) in self.pcrs.iter().enumerate() {
                if bits.get(pcr / 8).is_some_and(|byte| byte >> (pcr % 8) & 1 == 1) {
                    hash.update(value);
                }
            }
        }
        out.extend(sized(&self.digest.unwrap_or_else(|| hash.finalize().into())));
        out.extend(&self.tail);
        out
    }
}

/// What TPM2_PCR_Extend does.
pub fn extend(pcr: &mut [u8; 32], digest: [u8; 32]) {
    *pcr = Sha256::new().chain_update(*pcr).chain_update(digest).finalize().into();
}

/// The attestation key's signature, RSASSA-PKCS1-v1_5 with SHA-256.
pub fn sign(message: &[u8]) -> Vec<u8> {
    // DigestInfo of SHA-256, RFC 8017 section 9.2.
    const PREFIX: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
        0x20,
    ];
    let scheme = Pkcs1v15Sign { hash_len: Some(32), prefix: Box::new(PREFIX) };
    key().sign(scheme, &Sha256::digest(message)).expect("a key of 2048 bits signs a digest")
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes(), bytes].concat()
}

fn key() -> &'static RsaPrivateKey {
    static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
    let pkcs8 = include_bytes!("../keys/SIMULATED-PUBLIC-azure-ak.pkcs8.der");
    KEY.get_or_init(|| RsaPrivateKey::from_pkcs8_der(pkcs8).expect("the committed key is valid PKCS#8"))
}

/// Modulus of the attestation key, 256 bytes.
fn modulus() -> Vec<u8> {
    let spki = key().to_public_key().to_public_key_der().expect("an RSA-2048 public key has an encoding");
    // Before it: headers and a zero; after it: the exponent.
    spki.as_bytes()[33..289].to_vec()
}
