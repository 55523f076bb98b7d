//! Quotes as zero-copy views over the received bytes: SGX version 3, TDX versions 4 and 5.
//!
//! Intel "SGX ECDSA QuoteLibReference DCAP API", appendix A.4 (version 3), and "TDX DCAP Quoting Library API", appendix A.3
//! (versions 4 and 5). All integers little-endian. A view is only made of bytes whose stated lengths add up exactly; what
//! they claim is not trusted by anybody before `dcap.quote.signature` passed.
//!
//! ```text
//!   header 48 | [version 5: type 2, size 4] body | length 4 | signature 64 | attestation key 64 | certification | zeros
//!   certification of version 3:  QE report 384 | its signature 64 | length 2, authentication | type 2 (5), length 4, PEM
//!   of versions 4 and 5:         type 2 (6), length 4, all of that
//! ```

use core::fmt;
use thiserror::Error;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Longest quote that is looked at. Those of today have 5 KB, in buffers of 8 KB.
pub const MAX_QUOTE: usize = 32 * 1024;

/// QE_VENDOR_ID of Intel's quoting enclaves, 939a7233-f79c-4ca9-940a-0db3957f0607.
pub const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// Attestation key type: ECDSA-256 with the curve P-256.
const ECDSA_P256: u16 = 2;
/// Certification data: the PCK certificate chain, PEM.
const PCK_CHAIN: u16 = 5;
/// Certification data: the QE report and its own certification data.
const QE_REPORT: u16 = 6;

/// Quote header, 48 bytes.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    version: U16,
    key_type: U16,
    tee_type: U32,
    svns: [u8; 4], // version 3: QE SVN, PCE SVN; reserved later
    vendor: [u8; 16],
    user_data: [u8; 20],
}

/// REPORT_BODY of an enclave, 384 bytes (Intel SDM volume 3D, REPORT; with Key Separation and Sharing).
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EnclaveReport {
    /// CPUSVN of the platform.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT.
    pub misc_select: U32,
    reserved_20: [u8; 12],
    /// ISVEXTPRODID.
    pub extended_product_id: [u8; 16],
    /// ATTRIBUTES: flags and XFRM, 8 bytes each.
    pub attributes: [u8; 16],
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    reserved_96: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    reserved_160: [u8; 32],
    /// CONFIGID.
    pub config_id: [u8; 64],
    /// ISVPRODID.
    pub product_id: U16,
    /// ISVSVN.
    pub security_version: U16,
    /// CONFIGSVN.
    pub config_svn: U16,
    reserved_262: [u8; 42],
    /// ISVFAMILYID.
    pub family_id: [u8; 16],
    /// REPORTDATA.
    pub report_data: [u8; 64],
}

impl EnclaveReport {
    /// Whether every reserved byte is zero.
    pub fn reserved_is_zero(&self) -> bool {
        let Self { reserved_20, reserved_96, reserved_160, reserved_262, .. } = self;
        [&reserved_20[..], reserved_96, reserved_160, reserved_262].concat().iter().all(|byte| *byte == 0)
    }
}

/// TD report of TDX 1.0, 584 bytes: what later ones begin with.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TdReport {
    /// TEE_TCB_SVN: of the TDX module at launch: its SVN, its version, and more.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM: measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM; zero for Intel's module.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES.
    pub td_attributes: [u8; 8],
    /// XFAM.
    pub xfam: [u8; 8],
    /// MRTD: measurement of the initial contents.
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
}

/// What TDX 1.5 adds, 64 bytes.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TdExtension {
    /// TEE_TCB_SVN_2: of the TDX module that runs now.
    pub tee_tcb_svn: [u8; 16],
    /// MRSERVICETD: the service TDs bound to this one; zero without any.
    pub mr_service_td: [u8; 48],
}

const _: () = {
    assert!(size_of::<Header>() == 48);
    assert!(size_of::<EnclaveReport>() == 384);
    assert!(core::mem::offset_of!(EnclaveReport, attributes) == 48);
    assert!(core::mem::offset_of!(EnclaveReport, mr_signer) == 128);
    assert!(core::mem::offset_of!(EnclaveReport, product_id) == 256);
    assert!(size_of::<TdReport>() == 584);
    assert!(size_of::<TdExtension>() == 64);
};

/// Which TEE a quote is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tee {
    /// Software Guard Extensions.
    Sgx,
    /// Trust Domain Extensions.
    Tdx,
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
        })
    }
}

/// What was attested.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// An enclave.
    Enclave(&'a EnclaveReport),
    /// A trust domain, and what TDX 1.5 says of it.
    Td(&'a TdReport, Option<&'a TdExtension>),
}

impl Body<'_> {
    /// Whose it is.
    pub fn tee(&self) -> Tee {
        match self {
            Self::Enclave(_) => Tee::Sgx,
            Self::Td(..) => Tee::Tdx,
        }
    }
}

/// Why bytes are no quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Longer than [`MAX_QUOTE`].
    #[error("{found} bytes, limit {MAX_QUOTE}")]
    TooLong {
        /// Bytes received.
        found: usize,
    },
    /// A version this verifier does not know.
    #[error("quote version {found} is not one of 3, 4, 5")]
    Version {
        /// Version received.
        found: u16,
    },
    /// A TEE that quotes of this version are not of.
    #[error("TEE type {found:#x} in a quote of version {version}")]
    Tee {
        /// The quote's version.
        version: u16,
        /// Type received.
        found: u32,
    },
    /// An attestation key of another kind than ECDSA P-256.
    #[error("attestation key type {found} is not 2 (ECDSA P-256)")]
    KeyType {
        /// Type received.
        found: u16,
    },
    /// A body of another kind or size than those known.
    #[error("body type {found} with {size} bytes is neither a TD report of TDX 1.0 nor of 1.5")]
    Body {
        /// Type received.
        found: u16,
        /// Bytes it states.
        size: u32,
    },
    /// The bytes end within this part.
    #[error("the quote ends within its {0}")]
    Truncated(&'static str),
    /// A part is not as long as its contents.
    #[error("{0} has other bytes after its end")]
    Trailing(&'static str),
    /// Certification data without a PCK certificate chain.
    #[error("certification data of type {found}, not {wanted}")]
    Certification {
        /// Type that is understood here.
        wanted: u16,
        /// Type received.
        found: u16,
    },
}

/// A view over the bytes of a quote.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    version: u16,
    vendor: &'a [u8; 16],
    signed: &'a [u8],
    body: Body<'a>,
    signature: &'a [u8; 64],
    attestation_key: &'a [u8; 64],
    qe_signed: &'a [u8],
    qe_report: &'a EnclaveReport,
    qe_signature: &'a [u8; 64],
    qe_authentication: &'a [u8],
    chain: &'a [u8],
    tail: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Views the bytes of one quote, after which others may follow.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_QUOTE {
            return Err(QuoteError::TooLong { found: bytes.len() });
        }
        let mut rest = Reader(bytes);
        let header: &Header = rest.view("header")?;
        let version = header.version.get();
        if !(3..=5).contains(&version) {
            return Err(QuoteError::Version { found: version });
        }
        let tee = match (version, header.tee_type.get()) {
            (3, 0) => Tee::Sgx,
            (4 | 5, 0x81) => Tee::Tdx,
            (_, found) => return Err(QuoteError::Tee { version, found }),
        };
        let key_type = header.key_type.get();
        if key_type != ECDSA_P256 {
            return Err(QuoteError::KeyType { found: key_type });
        }
        let body = match tee {
            Tee::Sgx => Body::Enclave(rest.view("body")?),
            Tee::Tdx => {
                let extended = version == 5 && {
                    let (found, size) = (rest.u16("body's type")?, rest.u32("body's size")?);
                    match (found, size) {
                        (2, 584) => false,
                        (3, 648) => true,
                        _ => return Err(QuoteError::Body { found, size }),
                    }
                };
                Body::Td(rest.view("body")?, if extended { Some(rest.view("body")?) } else { None })
            }
        };
        let signed = bytes.get(..bytes.len().saturating_sub(rest.0.len())).unwrap_or_default();

        let mut data = rest.counted("signature data")?;
        let (signature, attestation_key) = (data.view("signature")?, data.view("attestation key")?);
        if version > 3 {
            let found = data.u16("certification data")?;
            if found != QE_REPORT {
                return Err(QuoteError::Certification { wanted: QE_REPORT, found });
            }
            let inner = data.counted("certification data")?;
            data.end("signature data")?;
            data = inner;
        }
        let qe_signed = data.0.get(..size_of::<EnclaveReport>()).unwrap_or_default();
        let (qe_report, qe_signature) = (data.view("QE report")?, data.view("QE report's signature")?);
        let length = data.u16("QE authentication data")?;
        let qe_authentication = data.take(usize::from(length), "QE authentication data")?;
        let found = data.u16("certification data")?;
        if found != PCK_CHAIN {
            return Err(QuoteError::Certification { wanted: PCK_CHAIN, found });
        }
        let chain = data.counted("certificate chain")?.0;
        data.end(if version > 3 { "certification data" } else { "signature data" })?;
        Ok(Self {
            version,
            vendor: &header.vendor,
            signed,
            body,
            signature,
            attestation_key,
            qe_signed,
            qe_report,
            qe_signature,
            qe_authentication,
            chain,
            tail: rest.0,
        })
    }

    /// VERSION, 3 to 5.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// QE_VENDOR_ID.
    pub fn vendor(&self) -> &'a [u8; 16] {
        self.vendor
    }

    /// What was attested.
    pub fn body(&self) -> Body<'a> {
        self.body
    }

    /// The bytes the attestation key signed, as received.
    pub fn signed(&self) -> &'a [u8] {
        self.signed
    }

    /// The attestation key's signature, r||s, big-endian.
    pub fn signature(&self) -> &'a [u8; 64] {
        self.signature
    }

    /// The attestation key's point, x||y, big-endian.
    pub fn attestation_key(&self) -> &'a [u8; 64] {
        self.attestation_key
    }

    /// The quoting enclave's report, as received: what the PCK signed.
    pub fn qe_signed(&self) -> &'a [u8] {
        self.qe_signed
    }

    /// The quoting enclave's report.
    pub fn qe_report(&self) -> &'a EnclaveReport {
        self.qe_report
    }

    /// The PCK's signature of it, r||s, big-endian.
    pub fn qe_signature(&self) -> &'a [u8; 64] {
        self.qe_signature
    }

    /// What the quoting enclave bound to itself besides the attestation key.
    pub fn qe_authentication(&self) -> &'a [u8] {
        self.qe_authentication
    }

    /// The certificates of the PCK, PEM.
    pub fn chain(&self) -> &'a [u8] {
        self.chain
    }

    /// Whether what follows the quote is the rest of a buffer: nothing but zeros.
    pub fn tail_is_zero(&self) -> bool {
        self.tail.iter().all(|byte| *byte == 0)
    }
}

/// What is left of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], QuoteError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(QuoteError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    fn view<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        part: &'static str,
    ) -> Result<&'a T, QuoteError> {
        let (view, rest) = T::ref_from_prefix(self.0).map_err(|_| QuoteError::Truncated(part))?;
        self.0 = rest;
        Ok(view)
    }

    fn u16(&mut self, part: &'static str) -> Result<u16, QuoteError> {
        self.view::<U16>(part).map(|value| value.get())
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, QuoteError> {
        self.view::<U32>(part).map(|value| value.get())
    }

    /// As many bytes as the next four say.
    fn counted(&mut self, part: &'static str) -> Result<Self, QuoteError> {
        let length = self.u32(part)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), part).map(Self)
    }

    fn end(&self, part: &'static str) -> Result<(), QuoteError> {
        if self.0.is_empty() { Ok(()) } else { Err(QuoteError::Trailing(part)) }
    }
}
