//! A handler of a fault that uses every register it can: where it came from goes on with its own, wide ones included.

use std::arch::asm;
use std::sync::atomic::{AtomicU64, Ordering};

/// `struct sigaction` of musl.
#[repr(C)]
struct Action {
    handler: extern "C" fn(i32, *mut u64, *mut u64),
    mask: [u64; 16],
    flags: i32,
    restorer: usize,
}

unsafe extern "C" {
    fn sigaction(signal: i32, new: *const Action, old: *mut Action) -> i32;
}

static HANDLED: AtomicU64 = AtomicU64::new(0);
static CONTROL: AtomicU64 = AtomicU64::new(0);

/// Goes on behind the three bytes of the load, with other vector registers, rounding and x87 stack.
extern "C" fn faulted(_: i32, _: *mut u64, context: *mut u64) {
    let mut control = 0_u32;
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut control);
        if std::arch::is_x86_feature_detected!("avx") {
            asm!("vzeroall");
        }
        asm!("pcmpeqd xmm0, xmm0", "movdqa xmm7, xmm0", "movdqa xmm15, xmm0", "fld1", "fld1", "ldmxcsr [{}]", in(reg) &0x7f80_u32);
        *context.add(5 + 16) += 3;
    }
    CONTROL.store(u64::from(control), Ordering::SeqCst);
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

fn fault() {
    let (low, high) = ([0x1234_5678_9abc_def0_u64, 7], [3_u64, 0xfeed]);
    let (mut after, mut wide, mut control) = ([[0_u64; 2]; 3], [0_u64; 2], 0_u32);
    let mut number = 0_f64;
    unsafe {
        // Round down.
        asm!("ldmxcsr [{}]", in(reg) &0x3f80_u32);
        asm!(
            "fldpi",
            "movups xmm0, [{low}]", "movups xmm7, [{high}]", "movups xmm15, [{low}]",
            ".byte 0x48, 0x8b, 0x01",
            "movups [{after}], xmm0", "movups [{after} + 16], xmm7", "movups [{after} + 32], xmm15",
            "fstp qword ptr [{number}]",
            low = in(reg) &low, high = in(reg) &high, after = in(reg) &mut after, number = in(reg) &mut number,
            in("rcx") 8, out("rax") _, out("xmm0") _, out("xmm7") _, out("xmm15") _,
        );
        asm!("stmxcsr [{}]", in(reg) &raw mut control);
        asm!("ldmxcsr [{}]", in(reg) &0x1f80_u32);
        if std::arch::is_x86_feature_detected!("avx") {
            asm!(
                "vmovups xmm3, [{low}]", "vinsertf128 ymm3, ymm3, [{high}], 1",
                ".byte 0x48, 0x8b, 0x01",
                "vextractf128 [{wide}], ymm3, 1",
                low = in(reg) &low, high = in(reg) &high, wide = in(reg) &mut wide,
                in("rcx") 8, out("rax") _, out("ymm3") _,
            );
            assert_eq!(wide, high);
        }
    }
    assert_eq!(after, [low, high, low]);
    assert_eq!(number, std::f64::consts::PI);
    assert_eq!(control & !0x3f, 0x3f80, "its own rounding");
    assert_eq!(CONTROL.load(Ordering::SeqCst), 0x1f80, "a handler begins with the usual one");
}

fn main() {
    let action = Action { handler: faulted, mask: [0; 16], flags: 4, restorer: 0 };
    assert_eq!(unsafe { sigaction(11, &action, std::ptr::null_mut()) }, 0);
    for _ in 0..20 {
        fault();
    }
    // Two threads at once, each with its own.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..20).for_each(|_| fault()));
        }
    });
    let each = if std::arch::is_x86_feature_detected!("avx") { 2 } else { 1 };
    assert_eq!(HANDLED.load(Ordering::SeqCst), 60 * each);
    std::process::exit(42);
}
