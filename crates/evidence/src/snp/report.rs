//! ATTESTATION_REPORT as a zero-copy view over the received bytes, versions 2 to 5.
//!
//! AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification", structure ATTESTATION_REPORT
//! (MSG_REPORT_RSP), revisions 1.55 (version 2) to 1.58 (version 5). All integers little-endian.
//! The view is only made of exactly 1184 bytes with a known version; what the bytes claim is not
//! trusted by anybody before `snp.report.signature` passed.

use super::tcb::FirmwareVersion;
use core::fmt;
use core::mem::offset_of;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of a report of every known version.
pub const REPORT_LEN: usize = 0x4A0;

/// Bytes the signature covers, from the start.
pub const SIGNED_LEN: usize = 0x2A0;

/// The report's layout; comments give offsets.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    version: U32,                // 0x000
    guest_svn: U32,              // 0x004
    policy: U64,                 // 0x008
    family_id: [u8; 16],         // 0x010
    image_id: [u8; 16],          // 0x020
    vmpl: U32,                   // 0x030
    signature_algorithm: U32,    // 0x034
    current_tcb: [u8; 8],        // 0x038
    platform_info: U64,          // 0x040
    flags: U32,                  // 0x048
    reserved_04c: [u8; 4],       // 0x04C
    report_data: [u8; 64],       // 0x050
    measurement: [u8; 48],       // 0x090
    host_data: [u8; 32],         // 0x0C0
    id_key_digest: [u8; 48],     // 0x0E0
    author_key_digest: [u8; 48], // 0x110
    report_id: [u8; 32],         // 0x140
    report_id_ma: [u8; 32],      // 0x160
    reported_tcb: [u8; 8],       // 0x180
    cpuid: [u8; 3],              // 0x188  family, model, stepping; version 3 on, else reserved
    reserved_18b: [u8; 21],      // 0x18B
    chip_id: [u8; 64],           // 0x1A0
    committed_tcb: [u8; 8],      // 0x1E0
    current_version: [u8; 3],    // 0x1E8  build, minor, major
    reserved_1eb: u8,            // 0x1EB
    committed_version: [u8; 3],  // 0x1EC  build, minor, major
    reserved_1ef: u8,            // 0x1EF
    launch_tcb: [u8; 8],         // 0x1F0
    launch_mitigations: U64,     // 0x1F8  version 5 on, else reserved
    current_mitigations: U64,    // 0x200  version 5 on, else reserved
    reserved_208: [u8; 152],     // 0x208
    signature_r: [u8; 72],       // 0x2A0  little-endian
    signature_s: [u8; 72],       // 0x2E8  little-endian
    tail: [u8; 368],             // 0x330  rest of the 512-byte signature field
}

const _: () = {
    assert!(size_of::<Layout>() == REPORT_LEN);
    assert!(offset_of!(Layout, report_data) == 0x050);
    assert!(offset_of!(Layout, reported_tcb) == 0x180);
    assert!(offset_of!(Layout, chip_id) == 0x1A0);
    assert!(offset_of!(Layout, launch_tcb) == 0x1F0);
    assert!(offset_of!(Layout, signature_r) == SIGNED_LEN);
};

impl Version {
    /// As a report has it.
    pub fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// Version of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The first public one; does not name its processor.
    V2 = 2,
    /// Adds CPUID family, model and stepping.
    V3 = 3,
    /// As version 3.
    V4 = 4,
    /// Adds the mitigation vectors.
    V5 = 5,
}

/// Why bytes are no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Not exactly [`REPORT_LEN`] bytes.
    #[error("a report has {REPORT_LEN} bytes, not {found}")]
    Size {
        /// Bytes received.
        found: usize,
    },
    /// A version this verifier does not know.
    #[error("report version {found} is not one of 2, 3, 4, 5")]
    Version {
        /// Version received.
        found: u32,
    },
}

/// Which key signed a report (FLAGS bits 4:2, SIGNING_KEY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningKey {
    /// Versioned chip endorsement key.
    Vcek,
    /// Versioned loaded endorsement key.
    Vlek,
    /// Nobody.
    None,
    /// A reserved value.
    Reserved(u8),
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek => f.write_str("VCEK"),
            Self::Vlek => f.write_str("VLEK"),
            Self::None => f.write_str("none"),
            Self::Reserved(value) => write!(f, "reserved value {value}"),
        }
    }
}

/// CPUID family, model and stepping (combined values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cpuid {
    /// Combined family.
    pub family: u8,
    /// Combined model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// Mitigation vectors of a version 5 report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mitigations {
    /// Verified mitigations when the guest was launched.
    pub launch: u64,
    /// Verified mitigations now.
    pub current: u64,
}

/// A view over the bytes of a report.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
    version: Version,
}

impl<'a> Report<'a> {
    /// Views exactly [`REPORT_LEN`] bytes of a known version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReportError> {
        let layout = Layout::ref_from_bytes(bytes).map_err(|_| ReportError::Size { found: bytes.len() })?;
        let version = match layout.version.get() {
            2 => Version::V2,
            3 => Version::V3,
            4 => Version::V4,
            5 => Version::V5,
            found => return Err(ReportError::Version { found }),
        };
        Ok(Self { bytes, layout, version })
    }

    /// VERSION.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The bytes the signature covers, as received.
    pub fn signed_bytes(&self) -> &'a [u8] {
        self.bytes.get(..SIGNED_LEN).unwrap_or_default()
    }

    /// SIGNATURE as r||s, 48 bytes each, big-endian; the bytes above 48 must be zero, see
    /// [`Report::tail_is_zero`].
    pub fn signature(&self) -> [u8; 96] {
        let mut fixed = [0; 96];
        let (r, s) = fixed.split_at_mut(48);
        for (to, from) in r.iter_mut().zip(self.layout.signature_r[..48].iter().rev()) {
            *to = *from;
        }
        for (to, from) in s.iter_mut().zip(self.layout.signature_s[..48].iter().rev()) {
            *to = *from;
        }
        fixed
    }

    /// SIGNATURE_ALGO; 1 is ECDSA P-384 with SHA-384.
    pub fn signature_algorithm(&self) -> u32 {
        self.layout.signature_algorithm.get()
    }

    /// True if every unsigned byte that is no digit of the signature is zero: the upper 24 bytes
    /// of r and of s, and all that follows.
    pub fn tail_is_zero(&self) -> bool {
        let Layout { signature_r, signature_s, tail, .. } = self.layout;
        let mut rest = signature_r[48..].iter().chain(&signature_s[48..]).chain(tail);
        rest.all(|byte| *byte == 0)
    }

    /// Names of the reserved fields of this version that are not zero. POLICY, PLATFORM_INFO and
    /// the TCB versions have reserved bits of their own, judged where they are decoded.
    pub fn reserved_not_zero(&self) -> Vec<&'static str> {
        let layout = self.layout;
        let later = |since: Version, is_zero: bool| self.version >= since || is_zero;
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let fields = [
            ("FLAGS bits 31:5", layout.flags.get() >> 5 == 0),
            ("0x04C", zero(&layout.reserved_04c)),
            ("0x188 (CPUID of version 3)", later(Version::V3, zero(&layout.cpuid))),
            ("0x18B", zero(&layout.reserved_18b)),
            ("0x1EB", layout.reserved_1eb == 0),
            ("0x1EF", layout.reserved_1ef == 0),
            ("0x1F8 (LAUNCH_MIT_VECTOR of version 5)", later(Version::V5, layout.launch_mitigations.get() == 0)),
            ("0x200 (CURRENT_MIT_VECTOR of version 5)", later(Version::V5, layout.current_mitigations.get() == 0)),
            ("0x208", zero(&layout.reserved_208)),
        ];
        fields.into_iter().filter(|(_, is_zero)| !is_zero).map(|(name, _)| name).collect()
    }

    /// GUEST_SVN.
    pub fn guest_svn(&self) -> u32 {
        self.layout.guest_svn.get()
    }

    /// POLICY.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(self.layout.policy.get())
    }

    /// FAMILY_ID.
    pub fn family_id(&self) -> &'a [u8; 16] {
        &self.layout.family_id
    }

    /// IMAGE_ID.
    pub fn image_id(&self) -> &'a [u8; 16] {
        &self.layout.image_id
    }

    /// VMPL of the request; 0xFFFF_FFFF if the host asked.
    pub fn vmpl(&self) -> u32 {
        self.layout.vmpl.get()
    }

    /// PLATFORM_INFO.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(self.layout.platform_info.get())
    }

    /// FLAGS bit 0, AUTHOR_KEY_EN: AUTHOR_KEY_DIGEST is filled in.
    pub fn author_key_enabled(&self) -> bool {
        self.layout.flags.get() & 1 != 0
    }

    /// FLAGS bit 1, MASK_CHIP_KEY.
    pub fn chip_key_masked(&self) -> bool {
        self.layout.flags.get() & 2 != 0
    }

    /// FLAGS bits 4:2, SIGNING_KEY.
    pub fn signing_key(&self) -> SigningKey {
        match self.layout.flags.get().to_le_bytes()[0] >> 2 & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            reserved => SigningKey::Reserved(reserved),
        }
    }

    /// REPORT_DATA: what the guest asked to be signed.
    pub fn report_data(&self) -> &'a [u8; 64] {
        &self.layout.report_data
    }

    /// MEASUREMENT at launch, SHA-384.
    pub fn measurement(&self) -> &'a [u8; 48] {
        &self.layout.measurement
    }

    /// HOST_DATA: what the host fixed at launch.
    pub fn host_data(&self) -> &'a [u8; 32] {
        &self.layout.host_data
    }

    /// ID_KEY_DIGEST, SHA-384; zero without an ID block.
    pub fn id_key_digest(&self) -> &'a [u8; 48] {
        &self.layout.id_key_digest
    }

    /// AUTHOR_KEY_DIGEST, SHA-384; meaningful with [`Report::author_key_enabled`].
    pub fn author_key_digest(&self) -> &'a [u8; 48] {
        &self.layout.author_key_digest
    }

    /// REPORT_ID of this guest.
    pub fn report_id(&self) -> &'a [u8; 32] {
        &self.layout.report_id
    }

    /// REPORT_ID_MA: report id of the migration agent, all ones without one.
    pub fn report_id_ma(&self) -> &'a [u8; 32] {
        &self.layout.report_id_ma
    }

    /// CPUID of the processor, from version 3 on.
    pub fn cpuid(&self) -> Option<Cpuid> {
        let [family, model, stepping] = self.layout.cpuid;
        (self.version >= Version::V3).then_some(Cpuid { family, model, stepping })
    }

    /// CHIP_ID, zero if masked.
    pub fn chip_id(&self) -> &'a [u8; 64] {
        &self.layout.chip_id
    }

    /// CURRENT_TCB, raw.
    pub fn current_tcb(&self) -> [u8; 8] {
        self.layout.current_tcb
    }

    /// REPORTED_TCB, raw: what the VEK was derived with.
    pub fn reported_tcb(&self) -> [u8; 8] {
        self.layout.reported_tcb
    }

    /// COMMITTED_TCB, raw: below this the firmware cannot be rolled back.
    pub fn committed_tcb(&self) -> [u8; 8] {
        self.layout.committed_tcb
    }

    /// LAUNCH_TCB, raw: CURRENT_TCB when the guest was launched.
    pub fn launch_tcb(&self) -> [u8; 8] {
        self.layout.launch_tcb
    }

    /// CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR.
    pub fn current_version(&self) -> FirmwareVersion {
        let [build, minor, major] = self.layout.current_version;
        FirmwareVersion { major, minor, build }
    }

    /// COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR.
    pub fn committed_version(&self) -> FirmwareVersion {
        let [build, minor, major] = self.layout.committed_version;
        FirmwareVersion { major, minor, build }
    }

    /// LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR, from version 5 on.
    pub fn mitigations(&self) -> Option<Mitigations> {
        (self.version >= Version::V5).then(|| Mitigations {
            launch: self.layout.launch_mitigations.get(),
            current: self.layout.current_mitigations.get(),
        })
    }
}

/// POLICY of a guest (AMD 56860, structure GUEST_POLICY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Bit 17, which must be one.
    const ONE: u64 = 1 << 17;

    /// Least firmware API version the guest demands: (major, minor).
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Whether a flag is set.
    pub fn has(self, flag: PolicyFlag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// Flags that are set, in the order of their bits.
    pub fn flags(self) -> impl Iterator<Item = PolicyFlag> {
        PolicyFlag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }

    /// True if bit 17 is one and no bit is set that `version` does not define.
    pub fn reserved_is_good(self, version: Version) -> bool {
        let known = PolicyFlag::ALL
            .into_iter()
            .filter(|flag| *flag != PolicyFlag::PageSwapDisable || version >= Version::V5)
            .fold(0xFFFF | Self::ONE, |bits, flag| bits | flag.bit());
        self.0 & Self::ONE != 0 && self.0 & !known == 0
    }
}

/// Flags of a guest policy. Some permit something to the host, others forbid it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PolicyFlag {
    /// Bit 16: simultaneous multi-threading is permitted.
    #[serde(rename = "SMT")]
    Smt,
    /// Bit 18: association with a migration agent is permitted. Never accepted.
    #[serde(rename = "MigrateMA")]
    MigrateMa,
    /// Bit 19: debugging is permitted.
    Debug,
    /// Bit 20: the guest runs on one socket only.
    SingleSocket,
    /// Bit 21: CXL devices are permitted.
    CxlAllow,
    /// Bit 22: AES-256-XTS memory encryption is demanded.
    MemAes256Xts,
    /// Bit 23: RAPL (energy counters) must be disabled.
    RaplDisable,
    /// Bit 24: ciphertext hiding for DRAM is demanded.
    CiphertextHidingDram,
    /// Bit 25: page swap and move commands are disabled; version 5 on.
    PageSwapDisable,
}

impl PolicyFlag {
    /// All flags in the order of their bits.
    pub const ALL: [Self; 9] = [
        Self::Smt,
        Self::MigrateMa,
        Self::Debug,
        Self::SingleSocket,
        Self::CxlAllow,
        Self::MemAes256Xts,
        Self::RaplDisable,
        Self::CiphertextHidingDram,
        Self::PageSwapDisable,
    ];

    /// The flag's bit in POLICY.
    pub fn bit(self) -> u64 {
        1 << match self {
            Self::Smt => 16,
            Self::MigrateMa => 18,
            Self::Debug => 19,
            Self::SingleSocket => 20,
            Self::CxlAllow => 21,
            Self::MemAes256Xts => 22,
            Self::RaplDisable => 23,
            Self::CiphertextHidingDram => 24,
            Self::PageSwapDisable => 25,
        }
    }

    /// True if the flag permits something (setting it makes the guest weaker), false if it
    /// forbids something.
    pub fn weakens(self) -> bool {
        match self {
            Self::Smt | Self::MigrateMa | Self::Debug | Self::CxlAllow => true,
            Self::SingleSocket
            | Self::MemAes256Xts
            | Self::RaplDisable
            | Self::CiphertextHidingDram
            | Self::PageSwapDisable => false,
        }
    }
}

/// PLATFORM_INFO (AMD 56860, structure PLATFORM_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Whether a flag is set.
    pub fn has(self, flag: PlatformFlag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// Flags that are set, in the order of their bits.
    pub fn flags(self) -> impl Iterator<Item = PlatformFlag> {
        PlatformFlag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }

    /// True if no bit is set that this verifier does not know.
    pub fn reserved_is_zero(self) -> bool {
        let known = PlatformFlag::ALL.into_iter().fold(0, |bits, flag| bits | flag.bit());
        self.0 & !known == 0
    }
}

/// Facts about a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PlatformFlag {
    /// Bit 0, SMT_EN: simultaneous multi-threading is on.
    #[serde(rename = "SMT")]
    Smt,
    /// Bit 1, TSME_EN: all memory is encrypted.
    #[serde(rename = "TSME")]
    Tsme,
    /// Bit 2, ECC_EN: memory has error correction.
    #[serde(rename = "ECC")]
    Ecc,
    /// Bit 3, RAPL_DIS: energy counters are off.
    RaplDisabled,
    /// Bit 4, CIPHERTEXT_HIDING_DRAM_EN.
    CiphertextHidingDram,
    /// Bit 5, ALIAS_CHECK_COMPLETE: memory aliases were looked for since reset (CVE-2024-21944).
    AliasCheckComplete,
    /// Bit 6, IOMMU_WRITE_SAFE.
    IommuWriteSafe,
    /// Bit 7, TIO_EN: trusted input and output is on.
    #[serde(rename = "TIO")]
    Tio,
}

impl PlatformFlag {
    /// All flags in the order of their bits.
    pub const ALL: [Self; 8] = [
        Self::Smt,
        Self::Tsme,
        Self::Ecc,
        Self::RaplDisabled,
        Self::CiphertextHidingDram,
        Self::AliasCheckComplete,
        Self::IommuWriteSafe,
        Self::Tio,
    ];

    /// The flag's bit in PLATFORM_INFO.
    pub fn bit(self) -> u64 {
        1 << match self {
            Self::Smt => 0,
            Self::Tsme => 1,
            Self::Ecc => 2,
            Self::RaplDisabled => 3,
            Self::CiphertextHidingDram => 4,
            Self::AliasCheckComplete => 5,
            Self::IommuWriteSafe => 6,
            Self::Tio => 7,
        }
    }

    /// True if the fact makes the platform weaker, false if it makes it stronger.
    pub fn weakens(self) -> bool {
        match self {
            Self::Smt | Self::Tio => true,
            Self::Tsme
            | Self::Ecc
            | Self::RaplDisabled
            | Self::CiphertextHidingDram
            | Self::AliasCheckComplete
            | Self::IommuWriteSafe => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(version: u8) -> [u8; REPORT_LEN] {
        let mut bytes = [0; REPORT_LEN];
        bytes[0] = version;
        bytes
    }

    #[test]
    fn size_and_version_are_exact() {
        for len in [0, 1, REPORT_LEN - 1, REPORT_LEN + 1, 4096] {
            let bytes = vec![2; len];
            assert_eq!(Report::parse(&bytes).err(), Some(ReportError::Size { found: len }));
        }
        for version in 0..=255 {
            let bytes = sample(version);
            match Report::parse(&bytes) {
                Ok(report) => assert_eq!(report.version() as u8, version),
                Err(error) => {
                    assert!(!(2..=5).contains(&version));
                    assert_eq!(error, ReportError::Version { found: version.into() });
                }
            }
        }
    }

    #[test]
    fn fields_lie_where_the_specification_says() {
        let mut bytes = sample(5);
        for (at, byte) in bytes.iter_mut().enumerate().skip(4) {
            *byte = u8::try_from(at % 251).expect("small");
        }
        let at = |offset: usize| u8::try_from(offset % 251).expect("small");
        let report = Report::parse(&bytes).expect("parses");
        assert_eq!(report.report_data()[0], at(0x50));
        assert_eq!(report.measurement()[0], at(0x90));
        assert_eq!(report.host_data()[0], at(0xC0));
        assert_eq!(report.id_key_digest()[0], at(0xE0));
        assert_eq!(report.author_key_digest()[0], at(0x110));
        assert_eq!(report.reported_tcb()[0], at(0x180));
        assert_eq!(report.cpuid().map(|cpuid| cpuid.family), Some(at(0x188)));
        assert_eq!(report.committed_tcb()[0], at(0x1E0));
        assert_eq!(report.current_version().build, at(0x1E8));
        assert_eq!(report.committed_version().major, at(0x1EE));
        assert_eq!(report.launch_tcb()[7], at(0x1F7));
        let launch = report.mitigations().map(|vectors| vectors.launch.to_le_bytes()[0]);
        assert_eq!(launch, Some(at(0x1F8)));
        // r is little-endian in the report and big-endian in the answer.
        assert_eq!(report.signature()[47], at(0x2A0));
        assert_eq!(report.signature()[48], at(0x2E8 + 47));
    }

    #[test]
    fn reserved_fields_depend_on_the_version() {
        for (offset, first_free) in [
            (0x4B, 9),
            (0x4C, 9),
            (0x188, 3),
            (0x18B, 9),
            (0x1EB, 9),
            (0x1EF, 9),
            (0x1F8, 5),
            (0x207, 5),
            (0x208, 9),
            (0x29F, 9),
        ] {
            for version in 2..=5 {
                let mut bytes = sample(version);
                let report = Report::parse(&bytes).expect("parses");
                assert!(report.reserved_not_zero().is_empty());
                bytes[offset] = 0x80;
                let report = Report::parse(&bytes).expect("parses");
                let found = report.reserved_not_zero().len();
                assert_eq!(found, usize::from(version < first_free), "{offset:#x} v{version}");
            }
        }
    }

    #[test]
    fn every_unsigned_byte_is_a_digit_or_zero() {
        for offset in SIGNED_LEN..REPORT_LEN {
            let mut bytes = sample(2);
            bytes[offset] = 1;
            let report = Report::parse(&bytes).expect("parses");
            let in_r = (0x2A0..0x2A0 + 48).contains(&offset);
            let in_s = (0x2E8..0x2E8 + 48).contains(&offset);
            assert_eq!(report.tail_is_zero(), in_r || in_s, "{offset:#x}");
        }
    }

    #[test]
    fn policy_bits() {
        assert!(GuestPolicy(0x30133).reserved_is_good(Version::V2));
        assert_eq!(GuestPolicy(0x30133).abi(), (1, 0x33));
        assert!(!GuestPolicy(0x10000).reserved_is_good(Version::V5), "bit 17 must be one");
        assert!(!GuestPolicy(1 << 17 | 1 << 26).reserved_is_good(Version::V5));
        assert!(GuestPolicy(1 << 17 | 1 << 25).reserved_is_good(Version::V5));
        assert!(!GuestPolicy(1 << 17 | 1 << 25).reserved_is_good(Version::V3));
        assert!(GuestPolicy(0xB0000).has(PolicyFlag::Debug));
        assert!(PlatformInfo(0x67).reserved_is_zero());
        assert!(!PlatformInfo(1 << 8).reserved_is_zero());
    }
}
