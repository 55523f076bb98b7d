//! Memory of ring 3: words for ring 0, after the space said they are the program's and there; and what the shim puts there
//! for ring 3 to run.
//!
//! That is one page of code, shaped as the shared object in which C libraries look for a clock that needs no system call
//! (`__vdso_clock_gettime`), with the copier and the stamp of excursions behind it; then a page that says how to make time
//! of the time-stamp counter; then a page with the latest time that was told, which ring 3 may write. Ring 0 tells the time from the same pages.
//!
//! Invariant: an address is used only within a range that `Space::ready` just found, and the space stays locked until it
//! was used. What ring 3 writes into the last page changes nothing but its own time.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::host::{Fatal, fatal};

global_asm!(
    r#"
.section .user, "ax"
.balign 4096
.globl shim_user
shim_user:
    .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0
    .zero 8
    .short 3, 62
    .long 1
    .quad 0, 64, 0
    .long 0
    .short 64, 56, 2, 0, 0, 0
    .long 1, 5
    .quad 0, 0, 0, 4096, 4096, 4096
    .long 2, 4
    .quad user_dynamic - shim_user, user_dynamic - shim_user, user_dynamic - shim_user, 96, 96, 8
user_dynamic:
    .quad 4, user_hash - shim_user
    .quad 5, user_names - shim_user
    .quad 6, user_symbols - shim_user
    .quad 10, user_clock - user_names
    .quad 11, 24
    .quad 0, 0
user_hash:
    .long 1, 2, 1, 0, 0, 0
user_symbols:
    .zero 24
    .long 1
    .byte 0x12, 0
    .short 1
    .quad user_clock - shim_user, user_copier - user_clock
user_names:
    .byte 0
    .asciz "__vdso_clock_gettime"
    .balign 16

// Which clock, where to.
user_clock:
    cmpl $1, %edi
    ja 4f
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    subq 4096 + shim_user(%rip), %rax
    jnb 1f
    xorl %eax, %eax
1:  mulq 4104 + shim_user(%rip)
    shrdq $32, %rdx, %rax
    movq %rax, %r8
    movq 8192 + shim_user(%rip), %rax
2:  cmpq %rax, %r8
    jbe 3f
    lock cmpxchgq %r8, 8192 + shim_user(%rip)
    jne 2b
    movq %r8, %rax
3:  testl %edi, %edi
    jne 5f
    addq 4112 + shim_user(%rip), %rax
5:  xorl %edx, %edx
    movl $1000000000, %ecx
    divq %rcx
    movq %rax, (%rsi)
    movq %rdx, 8(%rsi)
    xorl %eax, %eax
    ret
4:  movl $228, %eax
    syscall
    ret

.balign 16
.globl user_copier
user_copier:
    rep movsb
    syscall
    ud2

.balign 16
.globl user_wiper
user_wiper:
    vzeroall
    syscall
    ud2

// x87, SSE and AVX.
.balign 16
.globl user_keeper
user_keeper:
    movl $7, %eax
    xsave64 (%rdi)
    syscall
    ud2

.balign 16
.globl user_bringer
user_bringer:
    movl $7, %eax
    xrstor64 (%rdi)
    syscall
    ud2

.balign 16
.globl user_stamp
user_stamp:
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, (%rdi)
    syscall
    ud2
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static shim_user: u8;
    static user_copier: u8;
    static user_wiper: u8;
    static user_keeper: u8;
    static user_bringer: u8;
    static user_stamp: u8;
}

/// What the clock reads: the stamp at the start, nanoseconds of a tick times 2^32, the wall clock at the start.
#[repr(C, align(4096))]
struct Times(UnsafeCell<[u64; 512]>);

// SAFETY: written at the start, before ring 3 reads.
unsafe impl Sync for Times {}

static TIMES: Times = Times(UnsafeCell::new([0; 512]));
static LATEST: Times = Times(UnsafeCell::new([0; 512]));

/// Pages that ring 3 sees one after the other, as addresses in the shim's image.
pub(crate) fn pages() -> [u64; 3] {
    [(&raw const shim_user) as u64, TIMES.0.get() as u64, LATEST.0.get() as u64]
}

/// Where ring 3 sees them; set once, at the start.
pub(crate) static PLACE: AtomicU64 = AtomicU64::new(0);

fn seen(code: *const u8) -> u64 {
    PLACE.load(Ordering::Relaxed).wrapping_add((code as u64).wrapping_sub((&raw const shim_user) as u64))
}

/// Where ring 3 finds the copier.
pub(crate) fn copier() -> u64 {
    seen(&raw const user_copier)
}

/// Where ring 3 finds what empties vector registers.
pub(crate) fn wiper() -> u64 {
    seen(&raw const user_wiper)
}

/// Where ring 3 finds what stores vector registers, and what loads them.
pub(crate) fn keeper() -> u64 {
    seen(&raw const user_keeper)
}

pub(crate) fn bringer() -> u64 {
    seen(&raw const user_bringer)
}

/// Where ring 3 finds the stamp.
pub(crate) fn stamp() -> u64 {
    seen(&raw const user_stamp)
}

/// Starts the clock.
pub(crate) fn start_clock(scale: u64, wall: u64) {
    let stamp = counter();
    let times = TIMES.0.get().cast::<u64>();
    // SAFETY: before ring 3's program runs; ring 0 has no other reference to the page.
    unsafe {
        times.write(stamp);
        times.add(1).write(scale);
        times.add(2).write(wall);
    }
}

/// What the clock of ring 3 says, for calls that need it.
pub(crate) struct Now {
    /// Nanoseconds of the wall clock at the start.
    pub(crate) wall: u64,
    /// Nanoseconds since then, never less than before.
    pub(crate) since: u64,
}

pub(crate) fn now() -> Now {
    let stamp = counter();
    let times = TIMES.0.get().cast::<u64>();
    // SAFETY: words of a page of the shim's image that nobody writes after the start.
    let (start, scale, wall) = unsafe { (times.read(), times.add(1).read(), times.add(2).read()) };
    let product = u128::from(stamp.saturating_sub(start)) * u128::from(scale);
    let since = u64::try_from(product >> 32).unwrap_or(u64::MAX);
    let last = latest(0).fetch_max(since, Ordering::Relaxed);
    Now { wall, since: since.max(last) }
}

/// The time-stamp counter as ring 3 sees it, left by it behind the latest time, in a word for each processor.
fn counter() -> u64 {
    let word = 1 + super::tables::me();
    let page = PLACE.load(Ordering::Relaxed).wrapping_add(2 * 4096);
    if super::entry::stamp(page.wrapping_add(8 * word as u64)).is_err() {
        fatal(Fatal::Start, 3);
    }
    latest(word).load(Ordering::Relaxed)
}

/// A word of the last page. Ring 3 may write it, and it is its own time.
fn latest(word: usize) -> &'static AtomicU64 {
    // SAFETY: a word of a page of the shim's image, which both rings use as an atomic only.
    unsafe { AtomicU64::from_ptr(LATEST.0.get().cast::<u64>().add(word % 512)) }
}

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
