//! Eight threads that map, write, protect and unmap at the same time, and check what they find: nobody ever sees a page of
//! another, and what was taken away faults, also for a thread that used it a moment ago. How much is free is told.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

unsafe extern "C" {
    fn mmap(at: *mut c_void, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut c_void;
    fn munmap(at: *mut c_void, length: usize) -> i32;
    fn mprotect(at: *mut c_void, length: usize, protection: i32) -> i32;
    fn madvise(at: *mut c_void, length: usize, advice: i32) -> i32;
    fn sysinfo(info: *mut Info) -> i32;
    fn sigaction(signal: i32, new: *const Action, old: *mut Action) -> i32;
}

/// `struct sigaction` of musl.
#[repr(C)]
struct Action {
    handler: extern "C" fn(i32, *mut c_void, *mut c_void),
    mask: [u64; 16],
    flags: i32,
    restorer: usize,
}

/// `struct sysinfo`.
#[repr(C)]
#[derive(Default)]
struct Info {
    uptime_and_loads: [u64; 4],
    total: u64,
    free: u64,
    shared_and_swap: [u64; 4],
    processes: u16,
    high: [u64; 2],
    unit: u32,
    rest: [u64; 32],
}

const PAGE: usize = 4096;
const ROUNDS: u64 = 150;
const THREADS: u64 = 8;
const READ: i32 = 1;
const WRITE: i32 = 2;

std::thread_local!(static FAULTED: AtomicBool = const { AtomicBool::new(false) });

/// Goes on behind the three bytes of the load in `reads`.
extern "C" fn faulted(_: i32, _: *mut c_void, context: *mut c_void) {
    FAULTED.with(|faulted| faulted.store(true, Ordering::Relaxed));
    // ucontext: flags, link, stack (24 bytes), then r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
    let rip = unsafe { &mut *context.cast::<u64>().add(5 + 16) };
    *rip += 3;
}

/// Whether the page can be read.
fn reads(at: *mut u64) -> bool {
    FAULTED.with(|faulted| faulted.store(false, Ordering::Relaxed));
    // mov rax, [rcx]: three bytes.
    unsafe { std::arch::asm!(".byte 0x48, 0x8b, 0x01", in("rcx") at, out("rax") _) }
    FAULTED.with(|faulted| !faulted.load(Ordering::Relaxed))
}

/// Whether it can be written.
fn writes(at: *mut u64, value: u64) -> bool {
    FAULTED.with(|faulted| faulted.store(false, Ordering::Relaxed));
    // mov [rcx], rax: three bytes.
    unsafe { std::arch::asm!(".byte 0x48, 0x89, 0x01", in("rcx") at, in("rax") value) }
    FAULTED.with(|faulted| !faulted.load(Ordering::Relaxed))
}

fn map(pages: usize) -> *mut u64 {
    let at = unsafe { mmap(std::ptr::null_mut(), pages * PAGE, READ | WRITE, 0x22, -1, 0) };
    assert!(at as isize != -1, "mmap");
    at.cast()
}

fn word(at: *mut u64, page: usize) -> *mut u64 {
    at.wrapping_byte_add(page * PAGE + 8)
}

/// A page that one thread takes away while the others read it: none reads after that.
struct Shared {
    at: AtomicUsize,
    value: AtomicU64,
}

static SHARED: Shared = Shared { at: AtomicUsize::new(0), value: AtomicU64::new(0) };
static READERS: Mutex<u64> = Mutex::new(0);
static READ_IT: Condvar = Condvar::new();

fn main() {
    let action = Action { handler: faulted, mask: [0; 16], flags: 4 | 0x4000_0000, restorer: 0 };
    assert_eq!(unsafe { sigaction(11, &action, std::ptr::null_mut()) }, 0);
    let counted = Mutex::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let counted = &counted;
            scope.spawn(move || own_pages(thread, counted));
        }
    });
    assert_eq!(counted.into_inner().unwrap(), THREADS * ROUNDS);
    free();
    taken_away();
    while_others_compute();
    std::process::exit(42);
}

fn own_pages(thread: u64, counted: &Mutex<u64>) {
    let mut seed = thread * 0x9e37_79b9_7f4a_7c15 + 1;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below) as usize
    };
    for round in 0..ROUNDS {
        let pages = 2 + random(6);
        let at = map(pages);
        let mark = |page: usize| thread << 48 | round << 16 | page as u64;
        for page in 0..pages {
            let word = word(at, page);
            assert_eq!(unsafe { word.read_volatile() }, 0, "a new page is empty");
            unsafe { word.write_volatile(mark(page)) }
        }
        *counted.lock().unwrap() += 1;
        let gone = random(pages as u64);
        let place = at.wrapping_byte_add(gone * PAGE).cast();
        match random(4) {
            0 => {
                assert_eq!(unsafe { mprotect(place, PAGE, READ) }, 0);
                assert!(reads(word(at, gone)) && !writes(word(at, gone), 1), "only to be read");
                assert_eq!(unsafe { mprotect(place, PAGE, READ | WRITE) }, 0);
                assert!(writes(word(at, gone), mark(gone)), "to be written again");
            }
            1 => {
                assert_eq!(unsafe { mprotect(place, PAGE, 0) }, 0);
                assert!(!reads(word(at, gone)), "nothing may be done with it");
                assert_eq!(unsafe { mprotect(place, PAGE, READ | WRITE) }, 0);
            }
            2 => {
                assert_eq!(unsafe { madvise(place, PAGE, 4) }, 0);
                assert_eq!(unsafe { word(at, gone).read_volatile() }, 0, "given back");
                unsafe { word(at, gone).write_volatile(mark(gone)) }
            }
            _ => {
                // Not unmapped before: another thread could get the place meanwhile.
                assert_eq!(unsafe { mmap(place, PAGE, READ | WRITE, 0x32, -1, 0) }, place, "a page in its place");
                assert_eq!(unsafe { word(at, gone).read_volatile() }, 0);
                unsafe { word(at, gone).write_volatile(mark(gone)) }
            }
        }
        for page in 0..pages {
            assert_eq!(unsafe { word(at, page).read_volatile() }, mark(page), "nobody else wrote it");
        }
        assert_eq!(unsafe { munmap(at.cast(), pages * PAGE) }, 0);
    }
}

fn free() {
    const PAGES: usize = 1000;
    let info = || {
        let mut info = Info::default();
        assert_eq!(unsafe { sysinfo(&mut info) }, 0);
        assert!(info.processes == 1 && info.unit == 1 && info.free < info.total);
        info.free
    };
    let before = info();
    let at = map(PAGES);
    (0..PAGES).for_each(|page| unsafe { word(at, page).write_volatile(1) });
    let taken = before.saturating_sub(info());
    // Tables are pages too, and a few come and go with what others left.
    assert!((PAGES - 100..PAGES + 100).contains(&(taken as usize / PAGE)), "{taken}");
    assert_eq!(unsafe { munmap(at.cast(), PAGES * PAGE) }, 0);
    assert!(before.abs_diff(info()) < 100 * PAGE as u64);
}

/// Readers use a page without any call; when `munmap` or `mprotect` returned, no reader's load succeeds any more.
fn taken_away() {
    const READERS_THERE: u64 = 3;
    let done = AtomicBool::new(false);
    let gone = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..READERS_THERE {
            scope.spawn(|| {
                let mut known = 0;
                while !done.load(Ordering::SeqCst) {
                    let at = SHARED.at.load(Ordering::SeqCst) as *mut u64;
                    let value = SHARED.value.load(Ordering::SeqCst);
                    if at.is_null() || value == known {
                        thread::yield_now();
                        continue;
                    }
                    let mut said = false;
                    loop {
                        // Looked at before: a load that begins after it must fault.
                        let late = gone.load(Ordering::SeqCst);
                        let could = reads(at);
                        assert!(!(late && could), "read after it was taken away");
                        if !said {
                            said = true;
                            *READERS.lock().unwrap() += 1;
                            READ_IT.notify_all();
                        }
                        if !could {
                            break;
                        }
                    }
                    known = value;
                    *READERS.lock().unwrap() += 1;
                    READ_IT.notify_all();
                }
            });
        }
        for value in 1..=20 {
            let at = map(1);
            unsafe { at.write_volatile(value) }
            *READERS.lock().unwrap() = 0;
            gone.store(false, Ordering::SeqCst);
            SHARED.at.store(at as usize, Ordering::SeqCst);
            SHARED.value.store(value, Ordering::SeqCst);
            wait_for(READERS_THERE);
            if value % 2 == 0 {
                assert_eq!(unsafe { munmap(at.cast(), PAGE) }, 0);
            } else {
                assert_eq!(unsafe { mprotect(at.cast(), PAGE, 0) }, 0);
            }
            gone.store(true, Ordering::SeqCst);
            wait_for(2 * READERS_THERE);
            SHARED.at.store(0, Ordering::SeqCst);
            if value % 2 != 0 {
                assert_eq!(unsafe { munmap(at.cast(), PAGE) }, 0);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// A thread that makes no call and touches no page does not keep others from taking pages away.
fn while_others_compute() {
    let (started, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                started.fetch_add(1, Ordering::SeqCst);
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        while started.load(Ordering::SeqCst) < 3 {
            thread::yield_now();
        }
        for _ in 0..100 {
            let at = map(1);
            unsafe { at.write_volatile(1) }
            assert_eq!(unsafe { munmap(at.cast(), PAGE) }, 0);
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn wait_for(readers: u64) {
    let mut count = READERS.lock().unwrap();
    while *count < readers {
        count = READ_IT.wait(count).unwrap();
    }
}
