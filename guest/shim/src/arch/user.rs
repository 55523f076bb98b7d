//! Memory of ring 3: words for ring 0, after the space said they are the program's and there; bulk by the copier.
//!
//! Invariant: an address is used only within a range that `Space::ready` just found, and the space stays locked until it
//! was used.

use core::arch::global_asm;

global_asm!(
    r#"
.section .user, "ax"
.balign 4096
.globl shim_copier
shim_copier:
    rep movsb
    syscall
    ud2
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static shim_copier: u8;
}

/// Where the copier is in the shim's image; it is one page.
pub(crate) fn copier_page() -> u64 {
    (&raw const shim_copier) as u64
}

/// Where ring 3 sees the copier: a page of the program's half, chosen at the start.
pub(crate) fn copier() -> u64 {
    COPIER.load(core::sync::atomic::Ordering::Relaxed)
}

/// Set once, at the start.
pub(crate) static COPIER: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Copies out of the program's memory.
pub(crate) fn read(from: u64, to: &mut [u8]) {
    // SAFETY: the module's invariant; ring 0 has no reference into the program's half.
    unsafe { core::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) }
}

/// Copies into the program's memory.
pub(crate) fn write(to: u64, from: &[u8]) {
    // SAFETY: as for `read`.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) }
}
