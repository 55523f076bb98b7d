//! The state of the processor that boots, before its first instruction: long mode, on the tables of the layout.
//!
//! One description for two readers: the monitor gives it to KVM, and [`State::save_area`] is the page that SNP hardware
//! measures in its place.
//!
//! Invariant: the state is a function of the entry and of nothing else.

use gate::plan::ROOT;

/// CR4: physical address extension, global pages, FXSAVE, SIMD exceptions.
const ALWAYS: u64 = 0x6a0;
/// CR4: FSGSBASE, OSXSAVE. Software KVMs have them without saying so.
pub(crate) const WISHED: u64 = 0x5_0000;
/// CR4: machine checks, which KVM takes from its host.
const MACHINE_CHECKS: u64 = 0x40;
/// EFER: secure virtual machine, which KVM sets for every guest of AMD hardware.
const SVME: u64 = 0x1000;

/// A segment register, whose base is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) selector: u16,
    pub(crate) limit: u32,
    /// Type, S, DPL, P in the low byte; AVL, L, D/B, G above (APM volume 2, section 15.5.1).
    pub(crate) attributes: u16,
}

/// Everything that is not as a processor's reset leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) code: Segment,
    /// DS, ES, FS, GS and SS.
    pub(crate) data: Segment,
    pub(crate) cr0: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    pub(crate) xcr0: u64,
}

impl State {
    /// Of the first instruction.
    pub(crate) const fn first(entry: u64) -> Self {
        Self {
            // Present; executes and reads, in 64-bit mode.
            code: Segment { selector: 0x08, limit: 0xffff_ffff, attributes: 0xa9b },
            // Present; reads and writes.
            data: Segment { selector: 0x10, limit: 0xffff_ffff, attributes: 0xc93 },
            // Protection, coprocessor, numeric errors, write protection, paging.
            cr0: 0x8001_0033,
            cr3: ROOT,
            cr4: ALWAYS | WISHED,
            // System calls, long mode enabled and active, no-execute.
            efer: 0xd01,
            rip: entry,
            rflags: 2,
            // x87, SSE, AVX.
            xcr0: 7,
        }
    }

    /// The save area of an SEV-ES guest (APM volume 2, appendix B, table B-4), with what KVM adds: system segments and
    /// registers as after a reset, features of an SNP guest without any extra.
    pub(crate) fn save_area(&self) -> [u8; 4096] {
        let Self { code, data, cr0, cr3, cr4, efer, rip, rflags, xcr0 } = *self;
        let mut page = [0; 4096];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        let system = |attributes| Segment { selector: 0, limit: 0xffff, attributes };
        let segments = [
            (0x00, data),
            (0x10, code),
            (0x20, data),
            (0x30, data),
            (0x40, data),
            (0x50, data),
            // GDTR; LDTR, an LDT; IDTR; TR, a busy 16-bit TSS.
            (0x60, system(0)),
            (0x70, system(0x82)),
            (0x80, system(0)),
            (0x90, system(0x83)),
        ];
        for (at, Segment { selector, limit, attributes }) in segments {
            put(at, &selector.to_le_bytes());
            put(at + 2, &attributes.to_le_bytes());
            put(at + 4, &limit.to_le_bytes());
        }
        let words = [
            (0x0d0, efer | SVME),
            (0x148, cr4 | MACHINE_CHECKS),
            (0x150, cr3),
            (0x158, cr0),
            // DR7, DR6.
            (0x160, 0x400),
            (0x168, 0xffff_0ff0),
            (0x170, rflags),
            (0x178, rip),
            // PAT.
            (0x268, 0x0007_0406_0007_0406),
            // SEV_FEATURES: SNP is active.
            (0x3b0, 1),
            (0x3e8, xcr0),
        ];
        for (at, word) in words {
            put(at, &word.to_le_bytes());
        }
        // MXCSR, x87 control word.
        put(0x408, &0x1f80u32.to_le_bytes());
        put(0x410, &0x37fu16.to_le_bytes());
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an independent reader finds where (`crates/donjon/tests/measure.rs` has the same read by sev-snp-measure).
    #[test]
    fn the_save_area_is_this_state_and_otherwise_that_after_a_reset() {
        let entry = gate::plan::SHIM + 0x1230;
        let page = State::first(entry).save_area();
        let word = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
        let (data, code) = (0xffff_ffff_0c93_0010, 0xffff_ffff_0a9b_0008);
        assert_eq!([0x00, 0x10, 0x20, 0x30, 0x40, 0x50].map(word), [data, code, data, data, data, data]);
        assert_eq!([0x158, 0x150, 0x178].map(word), [0x8001_0033, ROOT, entry]);
        assert_eq!([0x148, 0x0d0].map(word), [0x5_06e0, 0x1d01]);
        let known = [0x0d0, 0x148, 0x150, 0x158, 0x160, 0x168, 0x170, 0x178, 0x268, 0x3b0, 0x3e8, 0x408, 0x410];
        for at in (0xa0..4096).step_by(8).filter(|at| !known.contains(at)) {
            assert_eq!(word(at), 0, "{at:#x}");
        }
    }
}
