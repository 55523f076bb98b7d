//! Segments, interrupt gates, task state and stacks: set up once for each processor, before its ring 3.
//!
//! Invariant: ring 3 enters ring 0 through these gates and the system call entry, and finds the processor's stack, from
//! whose place ring 0 knows which processor it is on. Every port is closed to ring 3.

use core::arch::asm;
use core::cell::UnsafeCell;

use gate::plan::PROCESSORS;

use super::{entry, msr, write_msr};

pub(crate) const KERNEL_CODE: u16 = 0x08;
pub(crate) const KERNEL_DATA: u16 = 0x10;
/// In the order that `sysretq` needs: data, then code.
pub(crate) const USER_DATA: u16 = 0x18 | 3;
pub(crate) const USER_CODE: u16 = 0x20 | 3;
const TASK: u16 = 0x28;

/// Bytes of a processor's stacks: a power of two.
pub(crate) const STACKS: usize = 32 * 1024;
/// How much of them, at the bottom, is the stack of [`OWN_STACK`].
const OWN: u64 = 12 * 1024;
/// Gates: the processor's own vectors, and the kick.
const GATES: u16 = gate::ring::KICK as u16 + 1;

/// Vectors whose handler needs a stack of its own, as they can come before ring 0 has one: debug, NMI, double fault,
/// machine check.
const OWN_STACK: [usize; 4] = [1, 2, 8, 18];

const TASK_SIZE: u16 = 104;
const _: () = assert!(size_of::<Task>() == TASK_SIZE as usize);

/// 64-bit task state (AMD64 APM volume 2, section 12.2.5).
#[repr(C, packed)]
pub(crate) struct Task {
    _reserved: u32,
    /// Where ring 0 begins when it is entered from ring 3.
    pub(crate) stack: u64,
    _rings: [u64; 3],
    own: u64,
    _more: [u64; 7],
    _reserved2: u16,
    /// Beyond the limit: no port is open.
    ports: u16,
}

#[repr(C, align(32768))]
pub(crate) struct Stacks(UnsafeCell<[[u8; STACKS]; PROCESSORS]>);

// SAFETY: each processor's are used by its stack pointer alone.
unsafe impl Sync for Stacks {}

/// From each processor's first instruction on.
pub(crate) static STACK: Stacks = Stacks(UnsafeCell::new([[0; STACKS]; PROCESSORS]));

/// What a processor reads.
#[repr(C, align(16))]
struct Tables {
    segments: UnsafeCell<[u64; 7]>,
    task: UnsafeCell<Task>,
}

// SAFETY: written by `start` on its own processor before its ring 3, and by `entry::excursion` on the same.
unsafe impl Sync for Tables {}

static TABLES: [Tables; PROCESSORS] = [const {
    Tables {
        // Null; ring 0 code and data; ring 3 data and code; the task, which `start` fills in.
        segments: UnsafeCell::new([
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            0,
            0,
        ]),
        task: UnsafeCell::new(Task {
            _reserved: 0,
            stack: 0,
            _rings: [0; 3],
            own: 0,
            _more: [0; 7],
            _reserved2: 0,
            ports: TASK_SIZE,
        }),
    }
}; PROCESSORS];

#[repr(C, align(16))]
struct Gates(UnsafeCell<[[u64; 2]; GATES as usize]>);

// SAFETY: written by the first processor before there are others.
unsafe impl Sync for Gates {}

static GATE: Gates = Gates(UnsafeCell::new([[0; 2]; GATES as usize]));

fn tables(seat: usize) -> &'static Tables {
    &TABLES[seat % PROCESSORS]
}

/// The task state, whose stack `entry` moves.
pub(crate) fn task(seat: usize) -> *mut Task {
    tables(seat).task.get()
}

/// Where ring 0's stack begins, outside of excursions.
pub(crate) fn top_of_stack(seat: usize) -> u64 {
    STACK.0.get() as u64 + (seat as u64 % PROCESSORS as u64 + 1) * STACKS as u64
}

/// On which processor this is.
pub(crate) fn me() -> usize {
    let stack: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) }
    (stack - STACK.0.get() as usize) / STACKS % PROCESSORS
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Takes the tables of this processor into use; the first also makes the gates.
pub(crate) fn start(seat: usize) {
    let own = tables(seat);
    let task = own.task.get() as u64;
    let limit = size_of::<Task>() as u64 - 1;
    // SAFETY: on the processor of these tables, before its ring 3, and nobody else has a reference into them. The gates are
    // written before there is a second processor.
    unsafe {
        let segments = &mut *own.segments.get();
        segments[5] = limit | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
        segments[6] = task >> 32;
        let state = &mut *own.task.get();
        state.stack = top_of_stack(seat);
        state.own = top_of_stack(seat) - STACKS as u64 + OWN;
        if seat == 0 {
            for (vector, gate) in (*GATE.0.get()).iter_mut().enumerate() {
                let handler = entry::stub(vector);
                let stack = u64::from(OWN_STACK.contains(&vector));
                // Present, ring 0, interrupt gate.
                gate[0] = handler & 0xffff
                    | u64::from(KERNEL_CODE) << 16
                    | stack << 32
                    | 0x8e << 40
                    | (handler >> 16 & 0xffff) << 48;
                gate[1] = handler >> 32;
            }
        }
        let segments = Pointer { limit: 7 * 8 - 1, base: own.segments.get() as u64 };
        let gates = Pointer { limit: 16 * GATES - 1, base: GATE.0.get() as u64 };
        asm!(
            "lgdt [{segments}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:e}",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "mov fs, {zero:e}",
            "mov gs, {zero:e}",
            "lidt [{gates}]",
            "ltr {task:x}",
            segments = in(reg) &raw const segments,
            gates = in(reg) &raw const gates,
            code = in(reg) u64::from(KERNEL_CODE),
            data = in(reg) u64::from(KERNEL_DATA),
            zero = in(reg) 0u64,
            task = in(reg) TASK,
            scratch = out(reg) _,
        );
    }
    // `syscall` takes ring 0's segments from STAR[47:32]; ring 3's are set by `iretq`.
    write_msr(msr::STAR, u64::from(KERNEL_CODE) << 32 | u64::from(KERNEL_DATA | 3) << 48);
    write_msr(msr::LSTAR, entry::system_call());
    // Trap, interrupt, direction, I/O privilege, nested task, alignment check: clear in ring 0.
    write_msr(msr::SFMASK, 0x0004_7700);
    write_msr(msr::KERNEL_GS_BASE, entry::processor(seat));
}
