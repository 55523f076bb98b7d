//! The only unsafe code of the shim: instructions, tables of the processor, page tables, memory of ring 3.
//!
//! Owns the machine. What it offers is safe to call from ring 0 at any time; what its callers must have checked before
//! stands at each function.

#![allow(unsafe_code, reason = "ring 0 is made of instructions and addresses")]
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "addresses are built from constants and masked fields; each site says why"
)]

pub(crate) mod entry;
pub(crate) mod lock;
pub(crate) mod pages;
pub(crate) mod shared;
pub(crate) mod tables;
pub(crate) mod user;

use core::alloc::{GlobalAlloc, Layout};
use core::arch::asm;

/// Model-specific registers (AMD64 Architecture Programmer's Manual, volume 2, appendix A).
pub(crate) mod msr {
    pub(crate) const STAR: u32 = 0xc000_0081;
    pub(crate) const LSTAR: u32 = 0xc000_0082;
    pub(crate) const SFMASK: u32 = 0xc000_0084;
    pub(crate) const FS_BASE: u32 = 0xc000_0100;
    pub(crate) const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

pub(crate) fn write_msr(register: u32, value: u64) {
    let (low, high) = (value & 0xffff_ffff, value >> 32);
    // SAFETY: callers are the start of a processor or thread and `arch_prctl`, with the registers above and values they checked.
    unsafe { asm!("wrmsr", in("ecx") register, in("rax") low, in("rdx") high, options(nostack, preserves_flags)) }
}

/// Rings the host's bell: everything the host is to see was written before.
pub(crate) fn out(port: u16, value: u32) {
    // SAFETY: an exit. Memory that the host shares may change, which the compiler is told by not saying `nomem`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) }
}

/// A word of the processor's random generator; `None` if it has none now.
pub(crate) fn random() -> Option<u64> {
    let (word, ok): (u64, u8);
    // SAFETY: reads the generator.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) ok, options(nomem, nostack)) }
    (ok == 1).then_some(word)
}

pub(crate) fn fault_address() -> u64 {
    let address;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) }
    address
}

/// Drops what this processor remembers of the page tables.
pub(crate) fn forget() {
    // SAFETY: the same tables again.
    unsafe { asm!("mov {root}, cr3", "mov cr3, {root}", root = out(reg) _, options(nostack, preserves_flags)) }
}

/// Vector and floating point registers, as far as a new thread has them from the one that makes it: `fxsave64`.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(crate) struct Vectors([u8; 512]);

impl Vectors {
    /// As a program finds them (x86-64 psABI, "Initial Stack and Register State").
    pub(crate) const NEW: Self = {
        let mut area = [0; 512];
        // Control word 0x37f, MXCSR 0x1f80.
        [area[0], area[1]] = [0x7f, 0x03];
        [area[24], area[25]] = [0x80, 0x1f];
        Self(area)
    };

    /// Those of this processor.
    pub(crate) fn save() -> Self {
        let mut area = Self([0; 512]);
        // SAFETY: the area is as large and aligned as the instruction needs.
        unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut area, options(nostack, preserves_flags)) }
        area
    }

    pub(crate) fn restore(&self) {
        // SAFETY: what `save` stored. Ring 0 has nothing in these registers.
        unsafe { asm!("fxrstor64 [{}]", in(reg) self, options(nostack, preserves_flags)) }
    }
}

/// Bytes of x87, SSE and AVX state in the standard form of XSAVE (Intel SDM volume 1, 13.4).
pub(crate) const KEPT: u64 = 832;

/// Whether ring 3 has XSAVE (CR4.OSXSAVE).
pub(crate) fn keeps_vectors() -> bool {
    let cr4: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) }
    cr4 & 1 << 18 != 0
}

/// Stops here for ever. Reached only if the host goes on with a Keep that said it ended.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: waits; interrupts are off in ring 0.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

/// Nothing in the shim allocates; the contracts' types that do are not used here.
struct Nothing;

// SAFETY: it never gives memory out.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static NOTHING: Nothing = Nothing;
