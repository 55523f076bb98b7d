//! Quotes of a simulated platform: SGX version 3, TDX versions 4 and 5.
//!
//! Intel "SGX ECDSA QuoteLibReference DCAP API", appendix A.4, and "TDX DCAP Quoting Library API", appendix A.3.

use sha2::{Digest, Sha256};

use super::info::{FMSPC, QE_SIGNER};
use super::pki::Pck;
use super::{Certificate, Key};
use crate::derive::derive_bytes;

/// QE_VENDOR_ID of Intel.
const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// An enclave's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enclave {
    /// CPUSVN.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT.
    pub misc_select: u32,
    /// ISVEXTPRODID.
    pub extended_product_id: [u8; 16],
    /// ATTRIBUTES: flags.
    pub flags: u64,
    /// ATTRIBUTES: XFRM.
    pub xfrm: u64,
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// CONFIGID.
    pub config_id: [u8; 64],
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub security_version: u16,
    /// ISVFAMILYID.
    pub family_id: [u8; 16],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// The first of the reserved bytes.
    pub reserved: u8,
}

impl Enclave {
    /// One that is initialised, in 64-bit mode, with Key Separation and Sharing.
    pub fn new() -> Self {
        Self {
            cpu_svn: [7; 16],
            misc_select: 0,
            extended_product_id: [0; 16],
            flags: 0x85,
            xfrm: 0xe7,
            mr_enclave: [0x31; 32],
            mr_signer: [0x32; 32],
            config_id: [0; 64],
            product_id: 1,
            security_version: 2,
            family_id: [0; 16],
            report_data: [0; 64],
            reserved: 0,
        }
    }

    /// 384 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let Self { cpu_svn, extended_product_id, mr_enclave, mr_signer, config_id, family_id, report_data, .. } = self;
        let mut out = cpu_svn.to_vec();
        out.extend(self.misc_select.to_le_bytes());
        out.push(self.reserved);
        out.extend([0; 11]);
        out.extend(extended_product_id);
        out.extend(self.flags.to_le_bytes());
        out.extend(self.xfrm.to_le_bytes());
        out.extend(mr_enclave);
        out.extend([0; 32]);
        out.extend(mr_signer);
        out.extend([0; 32]);
        out.extend(config_id);
        out.extend(self.product_id.to_le_bytes());
        out.extend(self.security_version.to_le_bytes());
        out.extend([0; 2 + 42]);
        out.extend(family_id);
        out.extend(report_data);
        out
    }
}

impl Default for Enclave {
    fn default() -> Self {
        Self::new()
    }
}

/// A TD's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td {
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: u64,
    /// TDATTRIBUTES.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// TDX 1.5: TEE_TCB_SVN_2 and MRSERVICETD.
    pub extension: Option<([u8; 16], [u8; 48])>,
}

/// TEE_TCB_SVN of the newest simulated TDX module.
pub const MODULE_SVN: [u8; 16] = [5, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Td {
    /// One of TDX 1.0 without any extras; with an extension, of 1.5.
    pub fn new(extended: bool) -> Self {
        Self {
            tee_tcb_svn: MODULE_SVN,
            mr_seam: [0x41; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            attributes: 1 << 28,
            xfam: 0xe7,
            mr_td: [0x42; 48],
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmr: [[0x43; 48], [0x44; 48], [0x45; 48], [0; 48]],
            report_data: [0; 64],
            extension: extended.then_some((MODULE_SVN, [0; 48])),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { tee_tcb_svn, mr_seam, mr_signer_seam, mr_td, mr_config_id, mr_owner, mr_owner_config, .. } = self;
        let mut out = tee_tcb_svn.to_vec();
        out.extend([&mr_seam[..], mr_signer_seam].concat());
        for word in [self.seam_attributes, self.attributes, self.xfam] {
            out.extend(word.to_le_bytes());
        }
        out.extend([&mr_td[..], mr_config_id, mr_owner, mr_owner_config].concat());
        out.extend(self.rtmr.concat());
        out.extend(self.report_data);
        if let Some((svn, service)) = &self.extension {
            out.extend([&svn[..], service].concat());
        }
        out
    }
}

/// What is attested.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Body {
    /// An enclave.
    Enclave(Enclave),
    /// A trust domain.
    Td(Td),
}

/// A quote before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Version.
    pub version: u16,
    /// 2: ECDSA P-256.
    pub key_type: u16,
    /// 0: SGX, 0x81: TDX.
    pub tee_type: u32,
    /// QE_VENDOR_ID.
    pub vendor: [u8; 16],
    /// What is attested.
    pub body: Body,
    /// Type of the body, where it is stated (version 5).
    pub body_type: u16,
    /// The attestation key.
    pub attestation: Key,
    /// The key that signs header and body.
    pub signer: Key,
    /// The quoting enclave's report; its report data is made from the attestation key.
    pub qe: Enclave,
    /// What else the quoting enclave bound to itself.
    pub authentication: Vec<u8>,
    /// What the quoting enclave hashes instead of the attestation key.
    pub bound: Option<[u8; 64]>,
    /// The PCK.
    pub pck: Key,
    /// The key that signs the quoting enclave's report.
    pub qe_signer: Key,
    /// What its certificate says of the platform.
    pub platform: Pck,
    /// Type of the inner certification data, 5.
    pub certification: u16,
    /// Bytes after the quote.
    pub tail: Vec<u8>,
}

impl Quote {
    /// Of a platform of this seed.
    pub fn new(seed: [u8; 32], body: Body) -> Self {
        let (version, tee_type, body_type) = match &body {
            Body::Enclave(_) => (3, 0, 1),
            Body::Td(td) if td.extension.is_none() => (4, 0x81, 2),
            Body::Td(_) => (5, 0x81, 3),
        };
        let qe = Enclave {
            flags: 0x15,
            mr_enclave: [0x51; 32],
            mr_signer: QE_SIGNER,
            product_id: if tee_type == 0 { 1 } else { 2 },
            security_version: 8,
            ..Enclave::new()
        };
        Self {
            version,
            key_type: 2,
            tee_type,
            vendor: INTEL,
            body,
            body_type,
            attestation: Key::Attestation(seed),
            signer: Key::Attestation(seed),
            qe,
            authentication: (0..32).collect(),
            bound: None,
            pck: Key::Pck(seed),
            qe_signer: Key::Pck(seed),
            platform: Pck {
                ppid: derive_bytes(&seed, "intel ppid", &[]),
                components: [7; 16],
                pce: 13,
                pce_id: [0; 2],
                fmspc: FMSPC,
                sgx_type: 1,
                configuration: Some([false, false, true]),
            },
            certification: 5,
            tail: Vec::new(),
        }
    }

    /// The quote, with this PEM chain of its PCK.
    pub fn bytes(&self, chain: &str) -> Vec<u8> {
        let mut out = [self.version.to_le_bytes(), self.key_type.to_le_bytes()].concat();
        out.extend(self.tee_type.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.vendor);
        out.extend([0; 20]);
        let body = match &self.body {
            Body::Enclave(enclave) => enclave.bytes(),
            Body::Td(td) => td.bytes(),
        };
        if self.version >= 5 {
            out.extend(self.body_type.to_le_bytes());
            out.extend(length(&body).to_le_bytes());
        }
        out.extend(body);

        let mut qe = self.qe.clone();
        let hash = Sha256::new().chain_update(self.attestation.point()).chain_update(&self.authentication).finalize();
        qe.report_data[..32].copy_from_slice(&hash);
        qe.report_data = self.bound.unwrap_or(qe.report_data);
        let qe = qe.bytes();
        let mut certified = qe.clone();
        certified.extend(self.qe_signer.sign(&qe));
        certified.extend(u16::try_from(self.authentication.len()).unwrap_or(u16::MAX).to_le_bytes());
        certified.extend(&self.authentication);
        certified.extend(self.certification.to_le_bytes());
        certified.extend(length(chain.as_bytes()).to_le_bytes());
        certified.extend(chain.as_bytes());
        if self.version >= 4 {
            let inner = certified;
            certified = 6_u16.to_le_bytes().to_vec();
            certified.extend(length(&inner).to_le_bytes());
            certified.extend(inner);
        }
        let data = [&self.signer.sign(&out)[..], &self.attestation.point(), &certified].concat();
        out.extend(length(&data).to_le_bytes());
        out.extend(data);
        out.extend(&self.tail);
        out
    }

    /// The PCK's certificate.
    pub fn certificate(&self) -> Certificate {
        self.platform.certificate(self.pck)
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
