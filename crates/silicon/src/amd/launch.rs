//! The launch of a guest: SNP_LAUNCH_START, SNP_LAUNCH_UPDATE and SNP_LAUNCH_FINISH (AMD 56860, revision 1.58).
//!
//! Owns the guest's context while it is built: policy, launch digest, and the keys of its secrets page. The digest is a
//! chain of SHA-384 over one PAGE_INFO for each page, in the order of the updates; secrets and CPUID pages are in it by
//! kind and place, not by content.
//!
//! Refuses policies this machine cannot keep to, pages that are no pages, CPUID pages that overflow, and whatever an ID
//! block does not vouch for.
//!
//! Invariant: after [`Launch::finish`] nothing changes the measurement; before it there is nobody to ask for a report.

use std::fmt;

use sha2::{Digest, Sha384};

use super::id_block::{self, IdBlock, IdBlockError};
use super::{Amd, Guest, report};
use crate::derive::derive_bytes;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// One more than the largest guest-physical address (52 bits).
const LARGEST: u64 = 1 << 52;
/// Entries a CPUID page has room for (CPUID_PAGE: COUNT, then entries of 48 bytes from 10h on).
const CPUID_ENTRIES: u32 = 64;

/// POLICY bit 16: simultaneous multithreading is allowed.
const SMT: u64 = 1 << 16;
/// POLICY bit 17: must be one.
const ONE: u64 = 1 << 17;
/// POLICY bit 22: memory must be encrypted with AES-256-XTS, which simulated memory is not.
const AES_256_XTS: u64 = 1 << 22;
/// POLICY bits that demand something of the platform, with the PLATFORM_INFO bit that says it is so: RAPL_DIS,
/// CIPHERTEXT_HIDING.
const DEMANDS: [(u64, u64); 2] = [(1 << 23, 1 << 3), (1 << 24, 1 << 4)];
/// POLICY bits above the last that is defined, PAGE_SWAP_DISABLE.
const UNDEFINED: u64 = !0 << 26;

/// PAGE_TYPE of SNP_LAUNCH_UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PageKind {
    /// Measured with its content.
    Normal = 1,
    /// The state of a processor, measured with its content. Its guest-physical address is the launcher's to choose; KVM
    /// takes 0xFFFFFFFFF000.
    Vmsa = 2,
    /// The firmware makes it zeroes.
    Zero = 3,
    /// Encrypted as it is; its content is not measured.
    Unmeasured = 4,
    /// The firmware fills it with the keys of guest messages.
    Secrets = 5,
    /// The firmware checks its CPUID values.
    Cpuid = 6,
}

/// What the guest is told of its time-stamp counter (MSG_TSC_INFO_RSP, and TSC_FACTOR in the secrets page).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tsc {
    /// GUEST_TSC_SCALE: the guest's rate over the machine's, 8.32 fixed point.
    pub scale: u64,
    /// GUEST_TSC_OFFSET, in ticks.
    pub offset: u64,
    /// TSC_FACTOR: by how many hundred-thousandths the real rate is below the nominal one.
    pub factor: u32,
}

/// What SNP_LAUNCH_FINISH fixes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish<'a> {
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_BLOCK_EN and what it points to.
    pub id_block: Option<IdBlock<'a>>,
}

/// Why a launch does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaunchError {
    /// This machine cannot keep to the policy, or it has undefined bits.
    Policy {
        /// The bits at fault; for the ABI version those of minor and major.
        bits: u64,
    },
    /// No guest-physical address of a page.
    Address {
        /// What was given.
        found: u64,
    },
    /// A CPUID page that says it has more entries than fit.
    CpuidCount {
        /// COUNT.
        found: u32,
    },
    /// The ID block does not vouch for this guest.
    IdBlock(IdBlockError),
}

impl LaunchError {
    /// The firmware's status code (AMD 56860, Status Codes).
    #[must_use]
    pub const fn status(self) -> u32 {
        match self {
            Self::Policy { .. } => 0x07,
            Self::Address { .. } => 0x09,
            Self::CpuidCount { .. } => 0x16,
            Self::IdBlock(error) => error.status(),
        }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { bits } => write!(f, "this machine cannot keep to bits {bits:#x} of the guest's policy"),
            Self::Address { found } => write!(f, "{found:#x} is not the guest-physical address of a page"),
            Self::CpuidCount { found } => {
                write!(f, "the CPUID page says it has {found} entries; {CPUID_ENTRIES} have room")
            }
            Self::IdBlock(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LaunchError {}

impl From<IdBlockError> for LaunchError {
    fn from(error: IdBlockError) -> Self {
        Self::IdBlock(error)
    }
}

/// A guest that is being launched.
#[derive(Debug, Clone)]
pub struct Launch {
    amd: Amd,
    policy: u64,
    digest: [u8; 48],
    /// Tells this guest from another of the same chip.
    instance: [u8; 32],
    tsc: Tsc,
    mitigations: u64,
}

impl Launch {
    pub(super) fn start(amd: &Amd, policy: u64) -> Result<Self, LaunchError> {
        let machine = report::defaults(amd);
        let refused = |bits| Err(LaunchError::Policy { bits });
        if policy & UNDEFINED != 0 {
            return refused(policy & UNDEFINED);
        }
        if policy & ONE == 0 {
            return refused(ONE);
        }
        // Major above minor, as in the policy.
        let abi = u64::from(machine.current_firmware.major) << 8 | u64::from(machine.current_firmware.minor);
        if policy & 0xffff > abi {
            return refused(policy & 0xffff);
        }
        if policy & SMT == 0 && machine.platform_info & 1 != 0 {
            return refused(SMT);
        }
        if policy & AES_256_XTS != 0 {
            return refused(AES_256_XTS);
        }
        for (demand, fact) in DEMANDS {
            if policy & demand != 0 && machine.platform_info & fact == 0 {
                return refused(demand);
            }
        }
        let tsc = Tsc { scale: 1 << 32, offset: 0, factor: 0 };
        let instance = derive_bytes(&amd.seed, "guest", &[amd.product().name().as_bytes()]);
        Ok(Self { amd: amd.clone(), policy, digest: [0; 48], instance, tsc, mitigations: machine.launch_mitigations })
    }

    /// The same launch, of a guest with keys and REPORT_ID of its own: real firmware draws them at random. Without it
    /// every guest of a chip has the same ones.
    #[must_use]
    pub fn with_randomness(self, random: &[u8; 32]) -> Self {
        let product = self.amd.product().name().as_bytes();
        Self { instance: derive_bytes(&self.amd.seed, "guest", &[product, random]), ..self }
    }

    /// The same launch on a machine whose counter runs like this.
    #[must_use]
    pub fn with_tsc(self, tsc: Tsc) -> Self {
        Self { tsc, ..self }
    }

    /// The same launch on a machine that has these mitigations in force (LAUNCH_MIT_VECTOR).
    #[must_use]
    pub fn with_mitigations(self, mitigations: u64) -> Self {
        Self { mitigations, ..self }
    }

    /// SNP_LAUNCH_UPDATE of one page, which the firmware changes where its kind says so.
    ///
    /// # Errors
    /// [`LaunchError::Address`], [`LaunchError::CpuidCount`]; the launch is then as before.
    pub fn update(&mut self, kind: PageKind, gpa: u64, page: &mut [u8; 4096]) -> Result<(), LaunchError> {
        if !gpa.is_multiple_of(PAGE) || gpa >= LARGEST {
            return Err(LaunchError::Address { found: gpa });
        }
        let contents = match kind {
            PageKind::Normal | PageKind::Vmsa => Sha384::digest(page.as_slice()).into(),
            PageKind::Unmeasured => [0; 48],
            PageKind::Zero => {
                page.fill(0);
                [0; 48]
            }
            PageKind::Secrets => {
                *page = self.secrets();
                [0; 48]
            }
            PageKind::Cpuid => {
                let found = u32::from_le_bytes([page[0], page[1], page[2], page[3]]);
                if found > CPUID_ENTRIES {
                    return Err(LaunchError::CpuidCount { found });
                }
                [0; 48]
            }
        };
        self.digest = chained(&self.digest, kind, gpa, &contents);
        Ok(())
    }

    /// The launch digest so far.
    #[must_use]
    pub fn digest(&self) -> [u8; 48] {
        self.digest
    }

    /// SNP_LAUNCH_FINISH: the guest may run, and be asked for.
    ///
    /// # Errors
    /// [`LaunchError::IdBlock`].
    pub fn finish(self, finish: &Finish<'_>) -> Result<Guest, LaunchError> {
        let Finish { host_data, id_block } = finish;
        let identity = match id_block {
            None => id_block::Identity::default(),
            Some(block) => block.check(&self.digest, self.policy)?,
        };
        Ok(Guest::new(&self, *host_data, identity))
    }

    /// The secrets page (AMD 56860, PAGE_TYPE_SECRETS). Version 3 is the first with TSC_FACTOR; what is for the guest's
    /// own use, A0h to 15Fh, starts as zeroes.
    fn secrets(&self) -> [u8; 4096] {
        let mut page = [0; 4096];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x000, &3u32.to_le_bytes());
        put(0x008, &fms(self.amd.product().cpuid()).to_le_bytes());
        for number in 0..4 {
            put(0x020 + 0x20 * usize::from(number), &self.vmpck(number));
        }
        put(0x160, &self.tsc.factor.to_le_bytes());
        put(0x168, &self.mitigations.to_le_bytes());
        page
    }

    /// The AES-256 key of guest messages from this VMPL, 0 to 3.
    pub(super) fn vmpck(&self, number: u8) -> [u8; 32] {
        derive_bytes(&self.instance, "VMPCK", &[&[number]])
    }

    pub(super) const fn amd(&self) -> &Amd {
        &self.amd
    }

    pub(super) const fn policy(&self) -> u64 {
        self.policy
    }

    pub(super) const fn instance(&self) -> &[u8; 32] {
        &self.instance
    }

    pub(super) const fn tsc(&self) -> Tsc {
        self.tsc
    }

    pub(super) const fn mitigations(&self) -> u64 {
        self.mitigations
    }
}

/// The launch digest after one more page: SHA-384 over its PAGE_INFO (AMD 56860, Layout of the PAGE_INFO structure), no
/// page of a migration image, no rights of lower VMPLs.
fn chained(digest: &[u8; 48], kind: PageKind, gpa: u64, contents: &[u8; 48]) -> [u8; 48] {
    let mut info = [0; 0x70];
    let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, digest);
    put(0x30, contents);
    put(0x60, &0x70u16.to_le_bytes());
    put(0x62, &[kind as u8]);
    put(0x68, &gpa.to_le_bytes());
    Sha384::digest(info).into()
}

/// CPUID Fn0000_0001_EAX of a family, model and stepping (APM volume 3, appendix E.3.2): families from 0Fh on in an
/// extended field.
fn fms([family, model, stepping]: [u8; 3]) -> u32 {
    let (family, model, stepping) = (u32::from(family), u32::from(model), u32::from(stepping));
    (family - 0xf) << 20 | (model >> 4) << 16 | 0xf << 8 | (model & 0xf) << 4 | stepping
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Product;

    const POLICY: u64 = 0x3_0000;

    fn launch() -> Launch {
        Amd::from_seed([3; 32], Product::Genoa).launch(POLICY).unwrap()
    }

    /// Computed by sev-snp-measure 0.0.13 (PyPI): a page of 1s at 1000h, zeroes at 2000h, unmeasured 3000h, secrets
    /// 8000h, CPUID 9000h, a VMSA of 2s.
    #[test]
    fn the_digest_is_that_of_an_independent_program() {
        let mut launch = launch();
        assert_eq!(launch.digest(), [0; 48]);
        let pages = [
            (PageKind::Normal, 0x1000, 1),
            (PageKind::Zero, 0x2000, 7),
            (PageKind::Unmeasured, 0x3000, 7),
            (PageKind::Secrets, 0x8000, 7),
            (PageKind::Cpuid, 0x9000, 0),
            (PageKind::Vmsa, 0xffff_ffff_f000, 2),
        ];
        for (kind, gpa, byte) in pages {
            launch.update(kind, gpa, &mut [byte; 4096]).unwrap();
        }
        assert_eq!(hex::encode(launch.digest()), ORACLE);
    }

    const ORACLE: &str =
        "36adcbd27def0af56b41e30506bb68b437bfcf45485fed7628fc1d34e29fd93b1cbd7008ead7a1f436d1f7b9635835ca";

    #[test]
    fn kind_place_order_and_measured_content_are_in_the_digest_and_nothing_else() {
        let digest = |pages: &[(PageKind, u64, u8)]| {
            let mut launch = launch();
            for (kind, gpa, byte) in pages {
                launch.update(*kind, *gpa, &mut [*byte; 4096]).unwrap();
            }
            launch.digest()
        };
        let kinds = [
            PageKind::Normal,
            PageKind::Vmsa,
            PageKind::Zero,
            PageKind::Unmeasured,
            PageKind::Secrets,
            PageKind::Cpuid,
        ];
        for (index, kind) in kinds.into_iter().enumerate() {
            let one = digest(&[(kind, 0x1000, 0)]);
            assert_eq!(one, digest(&[(kind, 0x1000, 0)]), "control");
            assert_ne!(one, digest(&[(kind, 0x2000, 0)]), "{kind:?}");
            for other in &kinds[..index] {
                assert_ne!(one, digest(&[(*other, 0x1000, 0)]), "{kind:?} and {other:?}");
            }
            let measured = matches!(kind, PageKind::Normal | PageKind::Vmsa);
            if kind != PageKind::Cpuid {
                assert_eq!(one != digest(&[(kind, 0x1000, 9)]), measured, "{kind:?}");
            }
        }
        let (a, b) = ((PageKind::Normal, 0x1000, 1), (PageKind::Normal, 0x2000, 2));
        assert_ne!(digest(&[a, b]), digest(&[b, a]));
        assert_ne!(digest(&[a]), digest(&[a, a]));
    }

    #[test]
    fn the_firmware_changes_the_pages_it_owns_and_no_other() {
        let mut launch = launch();
        let mut after = |kind| {
            let mut page = [0; 4096];
            page[16..].fill(5);
            launch.update(kind, 0x1000, &mut page).unwrap();
            page
        };
        for kind in [PageKind::Normal, PageKind::Vmsa, PageKind::Unmeasured, PageKind::Cpuid] {
            assert!(after(kind)[16..].iter().all(|byte| *byte == 5), "{kind:?}");
        }
        assert_eq!(after(PageKind::Zero), [0; 4096]);
        let secrets = after(PageKind::Secrets);
        assert_eq!(secrets[..4], [3, 0, 0, 0], "VERSION");
        assert_eq!(secrets[8..12], 0x00a1_0f11_u32.to_le_bytes(), "FMS of a Genoa");
        let keys: Vec<&[u8]> = secrets[0x20..0xa0].chunks(32).collect();
        for (number, key) in keys.iter().enumerate() {
            assert!(!keys[..number].contains(key) && *key != [0; 32], "VMPCK{number}");
        }
        assert!(secrets[0xa0..].iter().all(|byte| *byte == 0), "the guest's own, and zeroes of this machine");
    }

    #[test]
    fn a_guest_has_keys_of_its_own() {
        let secrets = |launch: &mut Launch| {
            let mut page = [0; 4096];
            launch.update(PageKind::Secrets, 0x1000, &mut page).unwrap();
            page
        };
        let (one, other) =
            (secrets(&mut launch().with_randomness(&[1; 32])), secrets(&mut launch().with_randomness(&[2; 32])));
        for key in [0x20, 0x40, 0x60, 0x80] {
            assert_ne!(one[key..key + 32], other[key..key + 32]);
        }
        assert_eq!(one, secrets(&mut launch().with_randomness(&[1; 32])), "control");
        let tsc = Tsc { scale: 0, offset: 0, factor: 0x0102_0304 };
        let page = secrets(&mut launch().with_tsc(tsc).with_mitigations(0x0b));
        assert_eq!((&page[0x160..0x164], &page[0x168..0x170]), (&[4, 3, 2, 1][..], &[0x0b, 0, 0, 0, 0, 0, 0, 0][..]));
    }

    #[test]
    fn what_is_no_page_is_refused_and_changes_nothing() {
        let mut launch = launch();
        let before = launch.digest();
        for gpa in [1, 0x1fff, 1 << 52, u64::MAX - 4095] {
            let refused = launch.update(PageKind::Normal, gpa, &mut [0; 4096]).unwrap_err();
            assert_eq!((refused, refused.status()), (LaunchError::Address { found: gpa }, 0x09));
        }
        let mut page = [0; 4096];
        page[0] = 65;
        let refused = launch.update(PageKind::Cpuid, 0x1000, &mut page).unwrap_err();
        assert_eq!((refused, refused.status()), (LaunchError::CpuidCount { found: 65 }, 0x16));
        assert_eq!(launch.digest(), before);
        page[0] = 64;
        launch.update(PageKind::Cpuid, 0x1000, &mut page).unwrap();
        launch.update(PageKind::Normal, (1 << 52) - 4096, &mut page).unwrap();
    }

    #[test]
    fn a_policy_the_machine_cannot_keep_to_is_refused() {
        let amd = Amd::from_seed([3; 32], Product::Genoa);
        for (policy, bits) in [
            (0, ONE),
            (ONE, SMT),
            (POLICY | 0x0200, 0x0200),
            (POLICY | 0x0138, 0x0138),
            (POLICY | AES_256_XTS, AES_256_XTS),
            (POLICY | 1 << 23, 1 << 23),
            (POLICY | 1 << 24, 1 << 24),
            (POLICY | 1 << 26, 1 << 26),
            (POLICY | 1 << 63, 1 << 63),
        ] {
            let refused = amd.launch(policy).unwrap_err();
            assert_eq!((refused, refused.status()), (LaunchError::Policy { bits }, 0x07), "{policy:#x}");
        }
        for policy in [POLICY, POLICY | 0x0137, POLICY | 0x00ff, POLICY | 1 << 19, POLICY | 1 << 20, POLICY | 1 << 25] {
            assert!(amd.launch(policy).is_ok(), "{policy:#x}");
        }
    }
}
