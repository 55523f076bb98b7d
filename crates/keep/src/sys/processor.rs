//! Interrupting a processor of a micro-VM from another thread: out of `KVM_RUN` by a signal, and into its ring 0 by an
//! interrupt.
//!
//! Invariant: no wish is lost. It is noted before the signal is sent, and a processor that is not in `KVM_RUN` yet leaves it
//! at once, because its page says so.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

use kvm_ioctls::VcpuFd;

/// What interrupts a thread, and does nothing else.
const SIGNAL: i32 = libc::SIGUSR1;
/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)` (linux/kvm.h).
const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;

/// How other threads reach the one that runs a processor.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    thread: AtomicI32,
    /// `immediate_exit` of the page that the kernel shares.
    leave: AtomicPtr<u8>,
    rung: AtomicBool,
}

impl Bell {
    /// This thread runs the processor from now on, to the end of the process.
    pub(crate) fn hang(&self, vcpu: &'static mut VcpuFd) -> &'static mut VcpuFd {
        self.leave.store(&raw mut vcpu.get_kvm_run().immediate_exit, Ordering::SeqCst);
        // SAFETY: a system call without arguments.
        self.thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
        vcpu
    }

    /// Has the processor leave `KVM_RUN`, once. Nothing if it does not run yet.
    pub(crate) fn ring(&self) {
        let (thread, leave) = (self.thread.load(Ordering::SeqCst), self.leave.load(Ordering::SeqCst));
        if thread == 0 || self.rung.swap(true, Ordering::SeqCst) {
            return;
        }
        // SAFETY: the page stays, as `hang` demands; others that write this byte write it whole.
        unsafe { leave.write_volatile(1) }
        // SAFETY: a system call on numbers; the handler does nothing.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
    }

    /// Whether it was rung since this was asked last, by the thread that hung it.
    pub(crate) fn answer(&self) -> bool {
        // In this order: what is rung between these two is answered, and costs one more way out.
        // SAFETY: as in `ring`; the thread that asks has hung the bell.
        unsafe { self.leave.load(Ordering::SeqCst).write_volatile(0) }
        self.rung.swap(false, Ordering::SeqCst)
    }
}

/// Makes the signal harmless. Calls that wait go on after it, where the kernel can have them do so.
pub(crate) fn prepare() -> std::io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let handler: extern "C" fn(i32) = nothing;
    // SAFETY: the structure is plain numbers, for which all zeroes is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler touches nothing.
    let result = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// This process and the signal, as system calls name them.
pub(crate) fn signals() -> (u64, u64) {
    (u64::from(std::process::id()), u64::from(SIGNAL.unsigned_abs()))
}

/// Has the processor run without leaving `KVM_RUN` for an interrupt that it could take.
pub(crate) fn no_interrupt(vcpu: &mut VcpuFd) {
    vcpu.get_kvm_run().request_interrupt_window = 0;
}

/// Has the processor take an interrupt, if it can take one now; else it leaves `KVM_RUN` as soon as it can. Whether it was
/// given.
pub(crate) fn interrupt(vcpu: &mut VcpuFd, vector: u8) -> std::io::Result<bool> {
    let page = vcpu.get_kvm_run();
    let ready = page.ready_for_interrupt_injection != 0 && page.if_flag != 0;
    page.request_interrupt_window = u8::from(!ready);
    if !ready {
        return Ok(false);
    }
    let vector = u32::from(vector);
    // SAFETY: the structure is this one number, which the kernel reads.
    let result = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_INTERRUPT, &raw const vector) };
    if result == 0 { Ok(true) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
pub(crate) mod tests {
    /// The error number of a call; `None` if there was none.
    pub(crate) fn refused(number: i64, [a, b, c]: [i64; 3]) -> Option<i32> {
        // SAFETY: calls that a filter refuses do nothing.
        let result = unsafe { libc::syscall(number, a, b, c) };
        (result == -1).then(|| std::io::Error::last_os_error().raw_os_error()).flatten()
    }
}
