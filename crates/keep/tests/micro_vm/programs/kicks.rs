//! One thread takes pages away, of which all others have to hear, while they are on their way to the host and back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

unsafe extern "C" {
    fn mmap(at: *mut u8, length: usize, rights: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(at: *mut u8, length: usize) -> i32;
}

const TIMES: u64 = 400;
const PAGE: usize = 4096;

fn main() {
    let (over, turns) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    thread::scope(|scope| {
        for count in &turns {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    thread::yield_now();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=TIMES {
            // Private and anonymous, to be read and written.
            let page = unsafe { mmap(std::ptr::null_mut(), PAGE, 3, 0x22, -1, 0) };
            unsafe { page.write_volatile(1) };
            assert_eq!(unsafe { munmap(page, PAGE) }, 0);
            // Everybody goes on, however often they were told.
            while turns.iter().any(|count| count.load(Ordering::Relaxed) < n) {
                std::hint::spin_loop();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    std::process::exit(42);
}
