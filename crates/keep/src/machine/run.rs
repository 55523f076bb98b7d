//! The monitor: makes the machine, starts it, and gives each call of the ring its answer until the Keep says that it is
//! done.
//!
//! Owns the processors' first state, which is the same for all. Each has a thread of its own, made when the shim asks for
//! the processor; whichever says that the Keep is done ends it, whatever the others wait for. Says how it ended on
//! descriptor 5, one line, for the host process.

use std::borrow::Cow;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use gate::plan::{PAGE, PROCESSORS, Platform, SHARED, start};
use gate::ring::{BLOCK, CALLS, COUNT, Call, DOORBELL, FATAL, FIRST, KICK, Kind, NO_CALL, NO_MEMORY, RESULT, WORDS};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_sregs, kvm_xcrs};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use rustix::io::Errno;

use super::answers::Answers;
use super::firmware::Link;
use super::layout::Layout;
use super::liar::{Asked, Liar};
use super::looker::Looker;
use super::state::{Segment, State, WISHED};
use crate::attack::{Board, ENDED};
use crate::measure::PageKind;
use crate::sys::memory::{Block, Memory, Origin};
use crate::sys::processor::{self, Bell};
use crate::sys::{CALL, FAILED, FULL, SERVED, SIGNAL};

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The program's status.
    Exit(u8),
    /// What the host process is to know.
    Broken(String),
}

/// Runs the machine to its end.
pub(super) fn main() -> ExitCode {
    // Open until this process is gone: when it closes, the host process ends this one.
    let platform = ManuallyDrop::new(crate::sys::platform());
    let ended =
        machine(platform.as_fd(), crate::sys::end()).unwrap_or_else(|error| Ended::Broken(format!("{FAILED}{error}")));
    match ended {
        Ended::Exit(status) => ExitCode::from(status),
        Ended::Broken(why) => {
            // The host process may be gone; there is nobody else to tell.
            _ = writeln!(crate::sys::report(), "{why}");
            ExitCode::from(125)
        }
    }
}

fn machine(platform: BorrowedFd<'_>, end: OwnedFd) -> Result<Ended, String> {
    let failed = |what: &'static str| move |error: &dyn std::fmt::Display| format!("cannot {what}: {error}");
    let image = super::image()?;
    let firmware = crate::sys::firmware();
    let on = if firmware.is_some() { Platform::Snp } else { Platform::Plain };
    let layout = Layout::new(image.shim(), image.exec(), on, 0).map_err(|error| failed("lay out the Keep")(&error))?;
    // Before the machine, so that it outlives it.
    let size = crate::sys::size();
    let memory = match &firmware {
        Some(firmware) => Memory::of(firmware.memory.as_fd(), size),
        None => Memory::new(size),
    };
    let memory = memory.map_err(|error| failed("reserve memory")(&error))?;
    let shared = Memory::new((PROCESSORS * BLOCK) as u64).map_err(|error| failed("reserve memory")(&error))?;
    let kvm = Kvm::new().map_err(|error| failed("open /dev/kvm")(&error))?;
    let vm = kvm.create_vm().map_err(|error| failed("make a virtual machine")(&error))?;
    // Firmware measures pages where they lie, so for it they must all be there.
    let origin = if firmware.is_some() { None } else { Origin::of(image.exec()) };
    for part in &layout.parts {
        for (at, bytes) in part.pages.runs() {
            let place = match (&origin, bytes) {
                (Some(origin), Cow::Borrowed(bytes)) => origin.find(bytes).map(|offset| (origin, offset)),
                _ => None,
            };
            match place {
                Some((origin, offset)) => memory
                    .map(part.at + at, bytes.len(), origin, offset)
                    .map_err(|error| failed("map exec into memory")(&error))?,
                None => memory.put(part.at + at, bytes),
            }
        }
    }
    let firmware = firmware.map(|firmware| launch(&layout, firmware.stream)).transpose();
    let firmware = firmware.map_err(|error| failed("launch the Keep")(&error))?;
    memory.give(&vm, 0, 0).map_err(|error| failed("give memory to the machine")(&error))?;
    shared.give(&vm, 1, SHARED).map_err(|error| failed("give memory to the machine")(&error))?;

    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(|error| failed("ask for features")(&error))?;
    let liar = match crate::sys::board() {
        Some(board) => {
            Some(Liar::new(Board::of(board).map_err(|error| failed("read the plan")(&error))?, firmware.is_some()))
        }
        None => None,
    };
    let answers = Answers::new(platform, end, firmware).map_err(|error| failed("start")(&error))?;
    let (ended, end) = mpsc::channel();
    // Never dropped: its threads run until this process ends.
    let machine: &'static Machine = Box::leak(Box::new(Machine {
        vm,
        cpuid,
        entry: layout.entry,
        _memory: memory,
        shared,
        answers,
        liar,
        processors: std::array::from_fn(|_| Processor::default()),
        looker: Looker::default(),
        ended,
    }));
    let first = machine.make(0).map_err(|error| failed("make a processor")(&error))?;
    let offered = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize).clamp(1, PROCESSORS);
    let block = machine.shared.block(0);
    block.set_word(start::MEMORY, size);
    block.set_word(start::TICKS, u64::from(first.get_tsc_khz().unwrap_or(0)) * 1000);
    block.set_word(start::PROCESSORS, offered as u64);
    let served = std::env::var_os(SERVED).is_some_and(|how| how == "served");
    block.set_word(start::SERVED, u64::from(served));
    processor::prepare().map_err(|error| failed("prepare for signals")(&error))?;
    if let Some(liar) = &machine.liar {
        liar.begin(block, layout.free);
    }

    super::confine::confine()?;
    if served {
        let look = || machine.looker.look(|index| machine.look(index));
        std::thread::Builder::new().spawn(look).map_err(|error| failed("start a thread")(&error))?;
    }
    if let Some(liar) = &machine.liar {
        liar.start(machine).map_err(|error| failed("start a thread")(&error))?;
    }
    machine.start(0, first).map_err(|error| failed("start a thread")(&error))?;
    end.recv().map_err(|error| error.to_string())?
}

/// Has the firmware measure what lies in memory.
fn launch(layout: &Layout<'_>, firmware: UnixStream) -> std::io::Result<Link> {
    let mut firmware = Link::new(firmware);
    for part in layout.measured() {
        match (part.kind, part.pages.runs().next().and_then(|(_, run)| run.first_chunk())) {
            (PageKind::Processor, Some(state)) => firmware.processor(part.at, state)?,
            (kind, _) => firmware.update(kind, part.at, part.pages.len() as u64 / PAGE)?,
        }
    }
    firmware.finish()?;
    Ok(firmware)
}

/// What all processors of a Keep have.
pub(super) struct Machine {
    vm: VmFd,
    cpuid: CpuId,
    entry: u64,
    /// The Keep's, which this process does not touch any more.
    _memory: Memory,
    pub(super) shared: Memory,
    answers: Answers,
    /// What answers in place of the truth, if this is a hostile host.
    liar: Option<Liar>,
    processors: [Processor; PROCESSORS],
    looker: Looker,
    ended: mpsc::Sender<Result<Ended, String>>,
}

/// One of them.
#[derive(Debug, Default)]
struct Processor {
    asked: AtomicBool,
    bell: Bell,
}

impl Machine {
    /// A processor before its first instruction.
    fn make(&self, index: usize) -> Result<VcpuFd, kvm_ioctls::Error> {
        let vcpu = self.vm.create_vcpu(index as u64)?;
        vcpu.set_cpuid2(&self.cpuid)?;
        prepare(&vcpu, self.entry)?;
        Ok(vcpu)
    }

    fn start(&'static self, index: usize, vcpu: VcpuFd) -> std::io::Result<()> {
        let run = move || {
            let _stays = Stays(&self.ended);
            let ended = self.run(index, Box::leak(Box::new(vcpu)));
            // If nobody hears it, another processor said that the Keep is done.
            _ = self.ended.send(ended);
        };
        std::thread::Builder::new().spawn(run).map(drop)
    }

    /// Runs a processor until the Keep is done.
    fn run(&'static self, index: usize, vcpu: &'static mut VcpuFd) -> Result<Ended, String> {
        let (block, bell) = (self.shared.block(index), &self.processors[index].bell);
        let vcpu = bell.hang(vcpu);
        let mut kicked = false;
        loop {
            kicked |= bell.answer();
            if kicked {
                kicked = !processor::interrupt(vcpu, KICK).map_err(|error| format!("cannot interrupt: {error}"))?;
            } else {
                // Who waits for an interrupt that never comes leaves each time it could take it, and gets nowhere.
                processor::no_interrupt(vcpu);
            }
            match vcpu.run() {
                Ok(VcpuExit::IoOut(DOORBELL, _)) => {
                    let turn = self.looker.turn(index);
                    if let Some(ended) = self.serve(index, block)? {
                        return Ok(ended);
                    }
                    drop(turn);
                    self.looker.wake();
                    // It is in ring 0, where whoever kicked it wanted it to be.
                    _ = bell.answer();
                    kicked = false;
                }
                Ok(VcpuExit::IrqWindowOpen) => {}
                // Only a shim that said why it ended halts, and only where nobody looked at what it said.
                Ok(VcpuExit::Hlt) => return Ok(Ended::Broken(format!("{ENDED}nobody heard why"))),
                Ok(exit) => {
                    let exit = format!("{exit:?}");
                    let regs = vcpu.get_regs().map_or(String::new(), |regs| format!(" rip {:#x}", regs.rip));
                    return Ok(Ended::Broken(format!("machine {exit}{regs}")));
                }
                Err(error) if error.errno() == libc::EINTR => {}
                Err(error) => return Err(format!("the machine stopped: {error}")),
            }
        }
    }

    /// Answers a call that does not wait, if there is one; whether there was.
    fn look(&'static self, index: usize) -> bool {
        let block = self.shared.block(index);
        if block.word(COUNT) != 1 {
            return false;
        }
        let words = std::array::from_fn(|word| block.word(FIRST + word));
        // What is wrong with it is said when the bell rings.
        Call::decode(words).is_ok_and(|call| call.is_quick()) && matches!(self.serve(index, block), Ok(None))
    }

    /// Answers what waits.
    fn serve(&'static self, index: usize, block: Block<'_>) -> Result<Option<Ended>, String> {
        let count = usize::try_from(block.word(COUNT)).ok().filter(|count| *count <= CALLS).ok_or("too many calls")?;
        for call in 0..count {
            let first = FIRST + call * WORDS;
            let words = std::array::from_fn(|word| block.word(first + word));
            let call = Call::decode(words).map_err(|error| error.to_string())?;
            let result = match &self.liar {
                None => ended(&call).map_or_else(|| Ok(self.done(index, block, &call)), Err),
                Some(liar) => liar.serve(&Asked { machine: self, index, block, first, call }),
            };
            let result = match result {
                Ok(result) => result,
                Err(ended) => return Ok(Some(ended)),
            };
            block.set_word(first + RESULT, result);
        }
        block.set_word(COUNT, 0);
        Ok(None)
    }

    /// Does what is asked; the word that says how it went.
    pub(super) fn done(&'static self, index: usize, block: Block<'_>, call: &Call) -> u64 {
        let result = match call.kind {
            Kind::Processor => self.processor(call.a),
            Kind::Kick => self.kick(call.a),
            _ => self.answers.answer(index, block, call),
        };
        result.unwrap_or_else(|error| 0u64.wrapping_sub(u64::try_from(error.raw_os_error()).unwrap_or(5)))
    }

    /// Starts one that nobody asked for; whether there was one left.
    pub(super) fn extra(&'static self) -> bool {
        (1..PROCESSORS as u64).any(|index| self.processor(index).is_ok())
    }

    pub(super) fn wake(&self, processor: u64) {
        _ = self.answers.wake(processor);
    }

    pub(super) fn kick_all(&self) {
        _ = self.kick(u64::MAX);
    }

    /// Starts one more, once.
    fn processor(&'static self, index: u64) -> Result<u64, Errno> {
        let index = usize::try_from(index).map_err(|_| Errno::INVAL)?;
        let processor = self.processors.get(index).filter(|_| index > 0).ok_or(Errno::INVAL)?;
        if processor.asked.swap(true, Ordering::SeqCst) {
            return Err(Errno::EXIST);
        }
        let made = self.make(index).map_err(std::io::Error::from).and_then(|vcpu| self.start(index, vcpu));
        if made.is_err() {
            processor.asked.store(false, Ordering::SeqCst);
        }
        made.map(|()| 0).map_err(|_| Errno::AGAIN)
    }

    /// Has those of the mask come into ring 0, as soon as they run again.
    fn kick(&self, mask: u64) -> Result<u64, Errno> {
        for (bit, processor) in (0..u64::BITS).zip(&self.processors) {
            if mask >> bit & 1 == 1 {
                processor.bell.ring();
            }
        }
        // They need a turn to do so.
        std::thread::yield_now();
        Ok(0)
    }
}

/// A processor whose thread panics would be missed by nobody: it ends the machine.
struct Stays<'a>(&'a mpsc::Sender<Result<Ended, String>>);

impl Drop for Stays<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // If nobody hears it, the machine ended already.
            _ = self.0.send(Err("has a defect: a thread of a processor panicked".to_owned()));
        }
    }
}

/// How a call that has no answer ends the machine.
pub(super) fn ended(call: &Call) -> Option<Ended> {
    Some(match call.kind {
        Kind::Exit if call.a & 0x7f == 0 => Ended::Exit(u8::try_from(call.a >> 8 & 0xff).unwrap_or(255)),
        Kind::Exit => Ended::Broken(format!("{SIGNAL}{} at {:#x}", call.a & 0x7f, call.b)),
        Kind::Fatal if call.a == NO_CALL => Ended::Broken(format!("{CALL}{}", call.b)),
        Kind::Fatal if call.a == NO_MEMORY => Ended::Broken(FULL.to_owned()),
        Kind::Fatal => {
            let what = usize::try_from(call.a).ok().and_then(|a| FATAL.get(a.checked_sub(1)?)).copied();
            let what = what.unwrap_or("something cannot be true");
            Ended::Broken(format!("{ENDED}{what} ({} {:#x})", call.a, call.b))
        }
        _ => return None,
    })
}

/// Puts the processor into its first state.
fn prepare(vcpu: &VcpuFd, entry: u64) -> Result<(), kvm_ioctls::Error> {
    let State { code, data, cr0, cr3, cr4, efer, rip, rflags, xcr0 } = State::first(entry);
    let mut sregs: kvm_sregs = vcpu.get_sregs()?;
    let segment = |Segment { selector, limit, attributes }: Segment| kvm_segment {
        base: 0,
        limit,
        selector,
        type_: (attributes & 0xf) as u8,
        s: (attributes >> 4 & 1) as u8,
        dpl: (attributes >> 5 & 3) as u8,
        present: (attributes >> 7 & 1) as u8,
        avl: (attributes >> 8 & 1) as u8,
        l: (attributes >> 9 & 1) as u8,
        db: (attributes >> 10 & 1) as u8,
        g: (attributes >> 11 & 1) as u8,
        unusable: 0,
        padding: 0,
    };
    let data = segment(data);
    (sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (segment(code), data, data, data, data, data);
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (cr0, cr3, cr4, efer);
    if vcpu.set_sregs(&sregs).is_err() {
        sregs.cr4 = cr4 & !WISHED;
        vcpu.set_sregs(&sregs)?;
    }
    // Where a machine's extended state cannot be chosen, it is the host's.
    _ = vcpu.get_xcrs().and_then(|mut xcrs: kvm_xcrs| {
        xcrs.nr_xcrs = 1;
        xcrs.xcrs[0].xcr = 0;
        xcrs.xcrs[0].value = xcr0;
        vcpu.set_xcrs(&xcrs)
    });
    vcpu.set_regs(&kvm_regs { rip, rflags, ..kvm_regs::default() })
}
