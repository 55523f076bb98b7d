//! The doors between the rings: the first instruction, traps, system calls, and excursions of ring 0 into ring 3.
//!
//! A software KVM delivers `syscall` as a page fault at the entry's address, in ring 3's segments; [`trap`] makes a system
//! call of it again. On other processors that fault comes only if ring 3 jumps to the entry, which is then the same as a
//! system call with registers of its choice.
//!
//! An *excursion* runs the copier in ring 3 (`user.rs`) and comes back into the function that began it: bulk copies have
//! exactly the rights of the program, and cost what memory costs even where ring 0 is interpreted.
//!
//! A processor says to [`crate::threads::SEATS`] when it comes from ring 3 and when it goes back, in an excursion too.
//!
//! Invariant: what `iretq` restores never has flags or segments that ring 3 may not have.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU64;

use gate::plan::PROCESSORS;
use gate::ring;

use super::tables::{self, USER_CODE, USER_DATA, me};
use crate::threads::SEATS;

/// What a trap saved, in the order of the stack.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Frame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) flags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// The vector that stands for a system call.
pub(crate) const SYSTEM_CALL: u64 = 0x100;
/// Page fault.
pub(crate) const PAGE_FAULT: u64 = 14;
/// The host wants the processor to come inside: nothing but that.
pub(crate) const KICK: u64 = ring::KICK as u64;

/// Flags that ring 3 may set: arithmetic, direction, alignment check, identification.
const FLAGS: u64 = 0x0024_0cd5;
/// Always set in ring 3: interrupts, and the bit that is always one.
const FLAGS_SET: u64 = 0x202;

impl Frame {
    /// Whether ring 3 was interrupted.
    pub(crate) fn is_program(&self) -> bool {
        self.cs & 3 == 3
    }

    /// Makes it safe to go back to ring 3 with: its own segments, no flag it may not have, an address of its half.
    pub(crate) fn sanitise(&mut self) {
        self.cs = u64::from(USER_CODE);
        self.ss = u64::from(USER_DATA);
        self.flags = self.flags & FLAGS | FLAGS_SET;
        if self.rip > crate::memory::areas::TOP {
            // Not an address of ring 3: going there faults, in ring 3.
            self.rip = 0;
        }
    }
}

/// What ring 0 finds at `gs` after `swapgs`: its stack, and room for the program's stack pointer.
#[repr(C)]
struct Processor {
    stack: u64,
    program: u64,
    /// Ring 0's stack pointer while an excursion is under way, else 0.
    excursion: u64,
    /// Where the stack begins outside of excursions.
    top: u64,
}

struct Own(UnsafeCell<Processor>);

// SAFETY: each is used on its own processor, whose ring 0 is not interrupted.
unsafe impl Sync for Own {}

static OWN: [Own; PROCESSORS] =
    [const { Own(UnsafeCell::new(Processor { stack: 0, program: 0, excursion: 0, top: 0 })) }; PROCESSORS];

fn own(seat: usize) -> *mut Processor {
    OWN[seat % PROCESSORS].0.get()
}

unsafe extern "C" {
    static shim_stubs: u8;
    fn shim_syscall();
    fn shim_excursion(
        to: u64,
        from: u64,
        count: u64,
        code: u64,
        processor: *mut Processor,
        task: *mut tables::Task,
    ) -> u64;
    fn shim_return(processor: *mut Processor, result: u64, task: *mut tables::Task) -> !;
    fn shim_program(frame: *const Frame) -> !;
}

/// Where a vector's handler is.
pub(crate) fn stub(vector: usize) -> u64 {
    let first = (&raw const shim_stubs) as u64;
    first + 16 * vector as u64
}

/// Where `syscall` goes.
pub(crate) fn system_call() -> u64 {
    shim_syscall as *const () as u64
}

/// The value of ring 0's `gs`.
pub(crate) fn processor(seat: usize) -> u64 {
    // SAFETY: on this processor, before its ring 3.
    let processor = unsafe { &mut *own(seat) };
    processor.stack = tables::top_of_stack(seat);
    processor.top = processor.stack;
    own(seat) as u64
}

/// Leaves ring 0 for a thread's first instruction.
pub(crate) fn enter(mut frame: Frame) -> ! {
    frame.sanitise();
    SEATS.leave(me(), super::forget);
    // SAFETY: the frame is complete and allowed; the stack it is on is not needed again.
    unsafe { shim_program(&raw const frame) }
}

/// Copies in ring 3, with the program's rights. An error if some of the memory is not the program's to use so.
pub(crate) fn copy(to: u64, from: u64, count: u64) -> Result<(), ()> {
    excursion(to, from, count, super::user::copier())
}

/// Has ring 3 write its time-stamp counter, which an interpreted ring 0 may see differently.
pub(crate) fn stamp(to: u64) -> Result<(), ()> {
    excursion(to, 0, 0, super::user::stamp())
}

/// Empties the wide vector registers, where there are any. Ring 0 cannot everywhere.
pub(crate) fn wipe() {
    // Where there are none this is no instruction.
    _ = excursion(0, 0, 0, super::user::wiper());
}

/// Has ring 3 store its vector and floating point registers: [`super::KEPT`] bytes on a multiple of 64, of which the header, 64
/// bytes from 512 on, is empty. For processors with [`super::keeps_vectors`].
pub(crate) fn keep_vectors(to: u64) -> Result<(), ()> {
    excursion(to, 0, 0, super::user::keeper())
}

/// Has ring 3 load what it stored. An error also if no processor would have stored this.
pub(crate) fn bring_vectors(from: u64) -> Result<(), ()> {
    excursion(from, 0, 0, super::user::bringer())
}

/// The space must not be locked: a fault on the way needs it, and so does whoever waits for this processor to forget.
fn excursion(to: u64, from: u64, count: u64, code: u64) -> Result<(), ()> {
    let me = me();
    SEATS.leave(me, super::forget);
    // SAFETY: ring 3 runs the copier or the stamp and nothing else; it comes back by `shim_return`, once, because `trap` clears the
    // mark. What ring 0 has on its stack lies above the pointer that the task state gets.
    let result = unsafe { shim_excursion(to, from, count, code, own(me), tables::task(me)) };
    if result == 0 { Ok(()) } else { Err(()) }
}

/// Every trap and every system call.
extern "C" fn trap(frame: &mut Frame) {
    let me = me();
    if frame.is_program() {
        SEATS.enter(me);
    }
    if frame.vector == PAGE_FAULT && frame.is_program() && frame.rip == system_call() {
        frame.vector = SYSTEM_CALL;
        frame.rip = frame.rcx;
        frame.flags = frame.r11;
    }
    // SAFETY: this processor's; ring 0 is not interrupted.
    let away = unsafe { (*own(me)).excursion != 0 };
    if away && frame.is_program() {
        let result = match frame.vector {
            SYSTEM_CALL => 0,
            KICK => return SEATS.leave(me, super::forget),
            PAGE_FAULT if crate::syscall::fault(super::fault_address(), frame.error) => {
                return SEATS.leave(me, super::forget);
            }
            _ => 1,
        };
        // SAFETY: an excursion is under way, so its stack pointer is one that `shim_excursion` saved.
        unsafe { shim_return(own(me), result, tables::task(me)) }
    }
    crate::syscall::trap(frame);
    if frame.is_program() {
        frame.sanitise();
        SEATS.leave(me, super::forget);
    }
}

/// A processor's first function, on its own stack.
extern "C" fn arrive(ticket: usize) -> ! {
    if ticket == 0 { crate::boot::boot() } else { crate::threads::arrive(ticket) }
}

/// How many processors came.
static TICKETS: AtomicU64 = AtomicU64::new(0);

global_asm!(
    r#"
.section .text.entry, "ax"
.globl shim_entry
shim_entry:
    movl $1, %edi
    lock xaddq %rdi, {tickets}(%rip)
    cmpq ${processors}, %rdi
    jae 1f
    leaq 1(%rdi), %rax
    imulq ${stacks}, %rax, %rax
    leaq {stack}(%rip), %rsp
    addq %rax, %rsp
    xorl %ebp, %ebp
    call {arrive}
1:  cli
    hlt
    jmp 1b

.text
.balign 16
.globl shim_stubs
shim_stubs:
.set vector, 0
.rept {vectors}
    .balign 16
    .if ((0x60227d00 >> vector) & 1) == 0
    pushq $0
    .endif
    pushq $vector
    jmp shim_common
    .set vector, vector + 1
.endr

.balign 16
.globl shim_syscall
shim_syscall:
    swapgs
    movq %rsp, %gs:8
    movq %gs:0, %rsp
    pushq ${user_data}
    pushq %gs:8
    pushq %r11
    pushq ${user_code}
    pushq %rcx
    pushq $0
    pushq ${system_call}
    swapgs

shim_common:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    call {trap}
shim_leave:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

.globl shim_program
shim_program:
    movq %rdi, %rsp
    jmp shim_leave

// to, from, count, code, processor, task
.globl shim_excursion
shim_excursion:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, 16(%r8)
    movq %rsp, 0(%r8)
    movq %rsp, 4(%r9)
    pushq ${user_data}
    pushq $0
    pushq $0x202
    pushq ${user_code}
    pushq %rcx
    movq %rdx, %rcx
    xorl %eax, %eax
    xorl %edx, %edx
    xorl %ebx, %ebx
    xorl %ebp, %ebp
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    iretq

// processor, result, task
.globl shim_return
shim_return:
    movq 16(%rdi), %rsp
    movq $0, 16(%rdi)
    movq 24(%rdi), %rcx
    movq %rcx, 0(%rdi)
    movq %rcx, 4(%rdx)
    movq %rsi, %rax
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
"#,
    tickets = sym TICKETS,
    processors = const PROCESSORS,
    stack = sym tables::STACK,
    stacks = const tables::STACKS,
    arrive = sym arrive,
    vectors = const ring::KICK + 1,
    trap = sym trap,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    system_call = const SYSTEM_CALL,
    options(att_syntax)
);
