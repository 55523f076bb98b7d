//! The firmware's ATTESTATION_REPORT, versions 2 to 5: 1184 bytes, signed with the chip's VCEK.
//!
//! Owns the byte layout of AMD 56860 revision 1.58, structure ATTESTATION_REPORT, written
//! by offset and independently of the verifier's reader, so that the two check each other. Refuses
//! nothing: a request may ask for a report no firmware would make, because that is what a verifier
//! has to be tested with.
//!
//! Invariant: bytes that the requested version does not define are zero.

use p384::ecdsa::Signature;
use p384::ecdsa::signature::Signer;

use super::{Amd, Product, Tcb, VekKind, vcek};
use crate::derive::derive_bytes;

/// Bytes of an ATTESTATION_REPORT, signature and tail included.
pub const REPORT_LEN: usize = 1184;

/// Where the signature begins; everything before is signed.
const SIGNATURE: usize = 0x2a0;
/// r and s are each 72 bytes, little-endian; P-384 uses the first 48 of them.
const COMPONENT: usize = 72;

/// What the report shall say. [`Amd::request`] fills in what a healthy machine of the product says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRequest {
    /// VERSION: 2, 3, 4 or 5. Another number is written as it is, over the layout of the nearest
    /// version below.
    pub version: u32,
    /// GUEST_SVN of the ID block.
    pub guest_svn: u32,
    /// POLICY: bits 7:0 ABI minor, 15:8 ABI major, 16 SMT, 17 reserved one, 18 MIGRATE_MA, 19
    /// DEBUG, 20 SINGLE_SOCKET, 21 CXL, 22 MEM_AES_256_XTS, 23 RAPL_DIS, 24 CIPHERTEXT_HIDING, 25
    /// PAGE_SWAP_DISABLE.
    pub policy: u64,
    /// FAMILY_ID of the ID block.
    pub family_id: [u8; 16],
    /// IMAGE_ID of the ID block.
    pub image_id: [u8; 16],
    /// VMPL that asked, 0 to 3; 0xFFFFFFFF where the host did.
    pub vmpl: u32,
    /// SIGNATURE_ALGO: 1 is ECDSA P-384 with SHA-384, the only one defined. The signature is that
    /// one in any case.
    pub signature_algorithm: u32,
    /// CURRENT_TCB.
    pub current_tcb: Tcb,
    /// PLATFORM_INFO: bit 0 SMT, 1 TSME, 2 ECC, 3 RAPL_DIS, 4 CIPHERTEXT_HIDING, 5
    /// ALIAS_CHECK_COMPLETE, 6 IOMMU_WRITE_SAFE, 7 SEV-TIO.
    pub platform_info: u64,
    /// Offset 0x48: bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 4:2 SIGNING_KEY (0 VCEK, 1 VLEK,
    /// 7 none). With SIGNING_KEY 7 the signature is zero.
    pub flags: u32,
    /// REPORT_DATA, from the guest.
    pub report_data: [u8; 64],
    /// MEASUREMENT of the launch.
    pub measurement: [u8; 48],
    /// HOST_DATA, from the host at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the ID public key; zero without an ID block.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the author public key; zero without one.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID of this guest.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA: of its migration agent, all ones without one.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB: the version the signing VCEK belongs to.
    pub reported_tcb: Tcb,
    /// CPUID family, model, stepping; written from version 3 on.
    pub cpuid: [u8; 3],
    /// CHIP_ID; zero on machines whose host set MASK_CHIP_ID.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: Tcb,
    /// CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR.
    pub current_firmware: Firmware,
    /// COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR.
    pub committed_firmware: Firmware,
    /// LAUNCH_TCB.
    pub launch_tcb: Tcb,
    /// LAUNCH_MIT_VECTOR; written from version 5 on.
    pub launch_mitigations: u64,
    /// CURRENT_MIT_VECTOR; written from version 5 on.
    pub current_mitigations: u64,
    /// Sign with the VCEK of another TCB than the reported one: an attacker with an extracted key.
    /// `None` is what firmware does.
    pub signing_tcb: Option<Tcb>,
}

/// Version of the SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// Major number.
    pub major: u8,
    /// Minor number.
    pub minor: u8,
    /// Build number.
    pub build: u8,
}

pub(super) fn defaults(amd: &Amd) -> ReportRequest {
    let tcb = amd.tcb();
    let firmware = match amd.product() {
        Product::Milan | Product::Genoa => Firmware { major: 1, minor: 55, build: 49 },
        Product::Turin => Firmware { major: 1, minor: 55, build: 61 },
    };
    ReportRequest {
        version: 5,
        guest_svn: 0,
        policy: 0x3_0000,
        family_id: [0; 16],
        image_id: [0; 16],
        vmpl: 0,
        signature_algorithm: 1,
        current_tcb: tcb,
        platform_info: 0x25,
        flags: 0,
        report_data: [0; 64],
        measurement: [0; 48],
        host_data: [0; 32],
        id_key_digest: [0; 48],
        author_key_digest: [0; 48],
        report_id: derive_bytes(&amd.seed, "report id", &[amd.product().name().as_bytes()]),
        report_id_ma: [0xff; 32],
        reported_tcb: tcb,
        cpuid: amd.product().cpuid(),
        chip_id: amd.chip_id(),
        committed_tcb: tcb,
        current_firmware: firmware,
        committed_firmware: firmware,
        launch_tcb: tcb,
        launch_mitigations: 0,
        current_mitigations: 0,
        signing_tcb: None,
    }
}

pub(super) fn report(amd: &Amd, request: &ReportRequest) -> [u8; REPORT_LEN] {
    let ReportRequest {
        version,
        guest_svn,
        policy,
        family_id,
        image_id,
        vmpl,
        signature_algorithm,
        current_tcb,
        platform_info,
        flags,
        report_data,
        measurement,
        host_data,
        id_key_digest,
        author_key_digest,
        report_id,
        report_id_ma,
        reported_tcb,
        cpuid,
        chip_id,
        committed_tcb,
        current_firmware,
        committed_firmware,
        launch_tcb,
        launch_mitigations,
        current_mitigations,
        signing_tcb,
    } = request;
    let tcb = |tcb: &Tcb| tcb.to_bytes(amd.product());
    let mut out = [0; REPORT_LEN];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x000, &version.to_le_bytes());
    put(0x004, &guest_svn.to_le_bytes());
    put(0x008, &policy.to_le_bytes());
    put(0x010, family_id);
    put(0x020, image_id);
    put(0x030, &vmpl.to_le_bytes());
    put(0x034, &signature_algorithm.to_le_bytes());
    put(0x038, &tcb(current_tcb));
    put(0x040, &platform_info.to_le_bytes());
    put(0x048, &flags.to_le_bytes());
    put(0x050, report_data);
    put(0x090, measurement);
    put(0x0c0, host_data);
    put(0x0e0, id_key_digest);
    put(0x110, author_key_digest);
    put(0x140, report_id);
    put(0x160, report_id_ma);
    put(0x180, &tcb(reported_tcb));
    if *version >= 3 {
        put(0x188, cpuid);
    }
    put(0x1a0, chip_id);
    put(0x1e0, &tcb(committed_tcb));
    for (at, Firmware { major, minor, build }) in [(0x1e8, current_firmware), (0x1ec, committed_firmware)] {
        put(at, &[*build, *minor, *major]);
    }
    put(0x1f0, &tcb(launch_tcb));
    if *version >= 5 {
        put(0x1f8, &launch_mitigations.to_le_bytes());
        put(0x200, &current_mitigations.to_le_bytes());
    }
    if flags >> 2 & 7 != 7 {
        sign(amd, &mut out, VekKind::Vcek, signing_tcb.unwrap_or(*reported_tcb));
    }
    out
}

pub(super) fn sign(amd: &Amd, report: &mut [u8; REPORT_LEN], kind: VekKind, tcb: Tcb) {
    // RFC 6979 with SHA-384: the crate's plain Signer is the deterministic one.
    let signature: Signature = vcek::key(amd, kind, tcb).sign(&report[..SIGNATURE]);
    let (r, s) = signature.split_bytes();
    for (at, component) in [(SIGNATURE, r), (SIGNATURE + COMPONENT, s)] {
        let field = &mut report[at..at + COMPONENT];
        field.fill(0);
        for (to, from) in field.iter_mut().zip(component.iter().rev()) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use evidence::snp::tcb::Tcb as Levels;
    use evidence::snp::{ProductLine, Report};

    use super::*;
    use crate::amd::real;

    /// A request that repeats what `report` says, for a chip of `product`.
    fn repeat(product: Product, report: &Report<'_>) -> ReportRequest {
        let line = match product {
            Product::Milan => ProductLine::Milan,
            Product::Genoa => ProductLine::Genoa,
            Product::Turin => ProductLine::Turin,
        };
        let tcb = |raw| {
            let Levels { fmc, bootloader, tee, snp, microcode } = Levels::decode(line, raw).unwrap();
            Tcb { fmc: fmc.unwrap_or_default(), boot_loader: bootloader, tee, snp, microcode }
        };
        let firmware = |version: evidence::snp::tcb::FirmwareVersion| Firmware {
            major: version.major,
            minor: version.minor,
            build: version.build,
        };
        let mitigations = report.mitigations();
        ReportRequest {
            version: report.version() as u32,
            guest_svn: report.guest_svn(),
            policy: report.policy().0,
            family_id: *report.family_id(),
            image_id: *report.image_id(),
            vmpl: report.vmpl(),
            signature_algorithm: report.signature_algorithm(),
            current_tcb: tcb(report.current_tcb()),
            platform_info: report.platform_info().0,
            flags: u32::from(report.author_key_enabled()),
            report_data: *report.report_data(),
            measurement: *report.measurement(),
            host_data: *report.host_data(),
            id_key_digest: *report.id_key_digest(),
            author_key_digest: *report.author_key_digest(),
            report_id: *report.report_id(),
            report_id_ma: *report.report_id_ma(),
            reported_tcb: tcb(report.reported_tcb()),
            cpuid: report.cpuid().map_or([0; 3], |cpuid| [cpuid.family, cpuid.model, cpuid.stepping]),
            chip_id: *report.chip_id(),
            committed_tcb: tcb(report.committed_tcb()),
            current_firmware: firmware(report.current_version()),
            committed_firmware: firmware(report.committed_version()),
            launch_tcb: tcb(report.launch_tcb()),
            launch_mitigations: mitigations.map_or(0, |vectors| vectors.launch),
            current_mitigations: mitigations.map_or(0, |vectors| vectors.current),
            signing_tcb: None,
        }
    }

    /// Real reports of each version and product, asked for again, come out byte for byte but for
    /// the signature.
    #[test]
    fn real_reports_come_out_byte_for_byte() {
        for (product, file) in [
            (Product::Milan, "snp-go-sev-guest/attestation.bin"),
            (Product::Milan, "snp-trustee/test-report.bin"),
            (Product::Milan, "snp-oak/milan_oc_release_report.bin"),
            (Product::Genoa, "snp-microsoft-tav/genoa_attestation_report.bin"),
            (Product::Genoa, "snp-attestation-rs/live-report-v5-genoa.bin"),
            (Product::Turin, "snp-oak/turin_oc_report.bin"),
        ] {
            let Some(bytes) = real::file(file) else {
                return;
            };
            let bytes = &bytes[..REPORT_LEN];
            let amd = Amd::from_seed([1; 32], product);
            let ours = amd.report(&repeat(product, &Report::parse(bytes).unwrap()));
            assert_eq!(hex::encode(&ours[..SIGNATURE]), hex::encode(&bytes[..SIGNATURE]), "{file}");
            assert_eq!(ours[SIGNATURE + 2 * COMPONENT..], bytes[SIGNATURE + 2 * COMPONENT..], "{file}");
        }
    }

    /// The verifier reads back what was written, with every field distinct.
    #[test]
    fn every_field_is_where_the_verifier_looks() {
        for product in Product::ALL {
            let amd = Amd::from_seed([1; 32], product);
            let tcb = |at| Tcb {
                fmc: if product == Product::Turin { at } else { 0 },
                boot_loader: at + 1,
                tee: at + 2,
                snp: at + 3,
                microcode: at + 4,
            };
            for version in 2..=5 {
                let (first, last) = (version >= 3, version >= 5);
                let request = ReportRequest {
                    version,
                    guest_svn: 0x0102_0304,
                    policy: 0x0506_0708_090a_0b0c,
                    family_id: [1; 16],
                    image_id: [2; 16],
                    vmpl: 3,
                    signature_algorithm: 1,
                    current_tcb: tcb(10),
                    platform_info: 0x0d0e_0f10_1112_1314,
                    flags: 1,
                    report_data: [3; 64],
                    measurement: [4; 48],
                    host_data: [5; 32],
                    id_key_digest: [6; 48],
                    author_key_digest: [7; 48],
                    report_id: [8; 32],
                    report_id_ma: [9; 32],
                    reported_tcb: tcb(20),
                    cpuid: if first { [10, 11, 12] } else { [0; 3] },
                    chip_id: [13; 64],
                    committed_tcb: tcb(30),
                    current_firmware: Firmware { major: 1, minor: 2, build: 3 },
                    committed_firmware: Firmware { major: 4, minor: 5, build: 6 },
                    launch_tcb: tcb(40),
                    launch_mitigations: if last { 0x15 } else { 0 },
                    current_mitigations: if last { 0x16 } else { 0 },
                    signing_tcb: None,
                };
                let bytes = amd.report(&request);
                let read = Report::parse(&bytes).unwrap();
                assert_eq!(repeat(product, &read), request, "{product:?} version {version}");
                assert!(read.reserved_not_zero().is_empty() && read.tail_is_zero());
            }
        }
    }

    #[test]
    fn fields_of_later_versions_stay_zero() {
        let amd = Amd::from_seed([1; 32], Product::Genoa);
        let request = |version| ReportRequest {
            version,
            launch_mitigations: u64::MAX,
            current_mitigations: u64::MAX,
            ..amd.request()
        };
        for (version, cpuid, mitigations) in [(2, false, false), (3, true, false), (4, true, false), (5, true, true)] {
            let bytes = amd.report(&request(version));
            assert_eq!(bytes[0x188..0x18b] != [0; 3], cpuid, "CPUID in version {version}");
            assert_eq!(bytes[0x1f8..0x208] != [0; 16], mitigations, "mitigation vectors in version {version}");
        }
    }

    #[test]
    fn without_a_signing_key_nobody_signs() {
        let amd = Amd::from_seed([1; 32], Product::Milan);
        let bytes = amd.report(&ReportRequest { flags: 7 << 2 | 2, ..amd.request() });
        assert_eq!(bytes[SIGNATURE..], [0; REPORT_LEN - SIGNATURE]);
        let bytes = amd.report(&amd.request());
        assert_ne!(bytes[SIGNATURE..SIGNATURE + 48], [0; 48], "control: the VCEK signs by default");
    }
}
