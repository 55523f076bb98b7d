//! The HCL report: what Azure's paravisor keeps in NV index 0x01400001 of the vTPM, as a zero-copy view.
//!
//! Microsoft, "Azure Confidential VM guest attestation", attestation report format; OpenHCL, `igvm_attest`. All
//! integers little-endian. A view is only made of bytes whose stated lengths add up exactly; what they claim is not
//! trusted by anybody before the hardware's report passed and bound the runtime data (`azure.runtime.hash`).
//!
//! ```text
//!   "HCLA", version, size, request, status, zeros 12 | hardware report 1184 | runtime data: header 20, JSON | zeros
//!                                                      SNP report, or TDREPORT 1024 and zeros
//! ```

use crate::dcap::quote::{TdExtension, TdReport};
use crate::snp::report::REPORT_LEN;
use core::fmt;
use core::mem::offset_of;
use thiserror::Error;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Longest HCL report that is looked at; the NV index has 2600 bytes.
pub const MAX_REPORT: usize = 16 * 1024;

/// Request type of reports that certify an attestation key.
pub const AK_REQUEST: u32 = 2;

/// Hash type of SHA-256.
pub const SHA256: u32 = 1;

/// Header, 32 bytes.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    version: U32,
    size: U32, // of everything, this header too
    request: U32,
    status: U32,
    reserved: [u8; 12],
}

/// Header of the runtime data, 20 bytes.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RuntimeHeader {
    size: U32, // with this header
    version: U32,
    report_type: U32,
    hash_type: U32,
    claims_size: U32,
}

/// TDREPORT_STRUCT, 1024 bytes (Intel TDX module ABI, 348551, TDREPORT_STRUCT).
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TdReportStruct {
    // REPORTMACSTRUCT. Its MAC is of a key that only this platform has; hashes, CPUSVN and MAC were the quoting
    // enclave's to check.
    report_type: u8,
    report_subtype: [u8; 3],
    reserved_4: [u8; 12],
    cpu_svn: [u8; 16],
    hashes: [u8; 96],
    report_data: [u8; 64],
    reserved_192: [u8; 32],
    mac: [u8; 32],
    // TEE_TCB_INFO
    valid: [u8; 8],
    tee_tcb_svn: [u8; 16],
    mr_seam: [u8; 48],
    mr_signer_seam: [u8; 48],
    seam_attributes: [u8; 8],
    tee_tcb_svn_2: [u8; 16],
    reserved_400: [u8; 112],
    // TDINFO_STRUCT
    attributes: [u8; 8],
    xfam: [u8; 8],
    mr_td: [u8; 48],
    mr_config_id: [u8; 48],
    mr_owner: [u8; 48],
    mr_owner_config: [u8; 48],
    rtmr: [[u8; 48]; 4],
    mr_service_td: [u8; 48],
    reserved_960: [u8; 64],
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<RuntimeHeader>() == 20);
    assert!(size_of::<TdReportStruct>() == 1024);
    assert!(offset_of!(TdReportStruct, report_data) == 128);
    assert!(offset_of!(TdReportStruct, valid) == 256);
    assert!(offset_of!(TdReportStruct, reserved_400) == 256 + 144);
    assert!(offset_of!(TdReportStruct, attributes) == 512);
    assert!(offset_of!(TdReportStruct, rtmr) == 512 + 208);
    assert!(offset_of!(TdReportStruct, mr_service_td) == 512 + 400);
};

/// The TEE below the paravisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl Tee {
    /// Its report type in the header of the runtime data.
    pub fn report_type(self) -> u32 {
        match self {
            Self::Snp => 2,
            Self::Tdx => 4,
        }
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snp => "SEV-SNP",
            Self::Tdx => "TDX",
        })
    }
}

/// Why bytes are no HCL report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HclError {
    /// Longer than [`MAX_REPORT`].
    #[error("{found} bytes, limit {MAX_REPORT}")]
    TooLong {
        /// Bytes received.
        found: usize,
    },
    /// Not "HCLA" at the beginning.
    #[error("it does not begin with \"HCLA\"")]
    Signature,
    /// The bytes end within this part.
    #[error("the report ends within its {0}")]
    Truncated(&'static str),
    /// A size that is not that of its parts.
    #[error("the size of the {part} is {found}, that of its parts {wanted}")]
    Size {
        /// Whose size it is.
        part: &'static str,
        /// Size of the parts.
        wanted: usize,
        /// Size stated.
        found: u32,
    },
}

/// A view over the bytes of an HCL report.
#[derive(Clone, Copy, Debug)]
pub struct HclReport<'a> {
    header: &'a Header,
    hardware: &'a [u8; REPORT_LEN],
    runtime: &'a RuntimeHeader,
    claims: &'a [u8],
    tail: &'a [u8],
}

impl<'a> HclReport<'a> {
    /// Views the bytes of one report, and what follows it in its buffer.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HclError> {
        use HclError::{Signature, Size, TooLong, Truncated};
        if bytes.len() > MAX_REPORT {
            return Err(TooLong { found: bytes.len() });
        }
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| Truncated("header"))?;
        if header.signature != *b"HCLA" {
            return Err(Signature);
        }
        let (hardware, rest) = rest.split_first_chunk().ok_or(Truncated("hardware report"))?;
        let (runtime, rest) = RuntimeHeader::ref_from_prefix(rest).map_err(|_| Truncated("runtime data's header"))?;
        let length = usize::try_from(runtime.claims_size.get()).unwrap_or(usize::MAX);
        let (claims, tail) = rest.split_at_checked(length).ok_or(Truncated("runtime data"))?;
        let inner = size_of::<RuntimeHeader>().saturating_add(length);
        let whole = bytes.len().saturating_sub(tail.len());
        for (part, wanted, found) in
            [("runtime data", inner, runtime.size.get()), ("HCL report", whole, header.size.get())]
        {
            if u32::try_from(wanted) != Ok(found) {
                return Err(Size { part, wanted, found });
            }
        }
        Ok(Self { header, hardware, runtime, claims, tail })
    }

    /// Version of the report.
    pub fn version(&self) -> u32 {
        self.header.version.get()
    }

    /// What it was made for; [`AK_REQUEST`].
    pub fn request(&self) -> u32 {
        self.header.request.get()
    }

    /// 0 if nothing failed.
    pub fn status(&self) -> u32 {
        self.header.status.get()
    }

    /// The report of the hardware: an SNP report, or a TDREPORT and zeros.
    pub fn hardware(&self) -> &'a [u8; REPORT_LEN] {
        self.hardware
    }

    /// Version of the runtime data.
    pub fn runtime_version(&self) -> u32 {
        self.runtime.version.get()
    }

    /// Kind of hardware report, [`Tee::report_type`].
    pub fn report_type(&self) -> u32 {
        self.runtime.report_type.get()
    }

    /// Which hash of the runtime data is in the hardware report; [`SHA256`].
    pub fn hash_type(&self) -> u32 {
        self.runtime.hash_type.get()
    }

    /// The runtime data: JSON, as received and hashed.
    pub fn claims(&self) -> &'a [u8] {
        self.claims
    }

    /// Names of the parts that nobody uses and that are not zero.
    pub fn reserved_not_zero(&self, tee: Tee) -> Vec<&'static str> {
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let after = match tee {
            Tee::Snp => &[],
            Tee::Tdx => self.hardware.get(size_of::<TdReportStruct>()..).unwrap_or_default(),
        };
        let parts = [
            ("header", zero(&self.header.reserved)),
            ("after the TDREPORT", zero(after)),
            ("after the report", zero(self.tail)),
        ];
        parts.into_iter().filter(|(_, is_zero)| !is_zero).map(|(part, _)| part).collect()
    }

    /// REPORTDATA of the hardware report, read as one of this TEE.
    pub fn report_data(&self, tee: Tee) -> [u8; 64] {
        let at = match tee {
            Tee::Snp => 0x50,
            Tee::Tdx => offset_of!(TdReportStruct, report_data),
        };
        self.hardware.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; 64])
    }

    /// Names of the fields in which the TDREPORT is not that of a quote.
    pub fn differs_from(&self, quoted: &TdReport, extension: Option<&TdExtension>) -> Vec<&'static str> {
        let Ok((report, _)) = TdReportStruct::ref_from_prefix(self.hardware) else { return vec!["size"] };
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let later = |field: &[u8], quoted: Option<&[u8]>| quoted.is_none_or(|quoted| field == quoted);
        let fields = [
            ("REPORTTYPE", report.report_type == 0x81),
            ("reserved", zero(&report.reserved_4) && zero(&report.reserved_192)),
            ("reserved of TEE_TCB_INFO", zero(&report.reserved_400)),
            ("reserved of TDINFO", zero(&report.reserved_960)),
            ("TEE_TCB_SVN", report.tee_tcb_svn == quoted.tee_tcb_svn),
            ("MRSEAM", report.mr_seam == quoted.mr_seam),
            ("MRSIGNERSEAM", report.mr_signer_seam == quoted.mr_signer_seam),
            ("SEAMATTRIBUTES", report.seam_attributes == quoted.seam_attributes),
            ("TDATTRIBUTES", report.attributes == quoted.td_attributes),
            ("XFAM", report.xfam == quoted.xfam),
            ("MRTD", report.mr_td == quoted.mr_td),
            ("MRCONFIGID", report.mr_config_id == quoted.mr_config_id),
            ("MROWNER", report.mr_owner == quoted.mr_owner),
            ("MROWNERCONFIG", report.mr_owner_config == quoted.mr_owner_config),
            ("RTMR", report.rtmr == quoted.rtmr),
            ("REPORTDATA", report.report_data == quoted.report_data),
            ("TEE_TCB_SVN_2", later(&report.tee_tcb_svn_2, extension.map(|later| &later.tee_tcb_svn[..]))),
            ("MRSERVICETD", later(&report.mr_service_td, extension.map(|later| &later.mr_service_td[..]))),
        ];
        fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
