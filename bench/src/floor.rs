//! The floor: the smallest machine there can be on this KVM, started, and asked by ring 0 and answered again and again.
//!
//! It has one page of memory, one processor in real mode, and no monitor around it.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::time::{Duration, Instant};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit};

const PAGE: usize = 4096;
/// out %al,$0x10; jmp to it.
const CODE: [u8; 4] = [0xe6, 0x10, 0xeb, 0xfc];

/// What the floor is.
pub(crate) struct Floor {
    /// From nothing to the first exit.
    pub(crate) start: Duration,
    /// From one exit to the next.
    pub(crate) exit: Duration,
}

/// `None` where there is no KVM that may be used.
pub(crate) fn measure(rounds: u32) -> Option<Floor> {
    let start = Instant::now();
    let vm = Kvm::new().ok()?.create_vm().ok()?;
    let layout = Layout::from_size_align(PAGE, PAGE).ok()?;
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: the page was just made, and is larger than the code.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), memory, CODE.len()) };
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: PAGE as u64,
        userspace_addr: memory as u64,
    };
    // SAFETY: the page is as long as said and is never given back, so the machine is gone before it.
    unsafe { vm.set_user_memory_region(region) }.ok()?;
    let mut vcpu = vm.create_vcpu(0).ok()?;
    let mut sregs = vcpu.get_sregs().ok()?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).ok()?;
    let mut regs = vcpu.get_regs().ok()?;
    (regs.rip, regs.rflags) = (0, 2);
    vcpu.set_regs(&regs).ok()?;
    let mut exit = || matches!(vcpu.run(), Ok(VcpuExit::IoOut(0x10, _))).then_some(());
    exit()?;
    let first = start.elapsed();
    let start = Instant::now();
    (0..rounds).try_for_each(|_| exit())?;
    Some(Floor { start: first, exit: start.elapsed() / rounds })
}
