//! The heap, and how much of it is in use.
//!
//! Owns the count alone; the places are the allocator's. Invariant: each layout counts from the call that gave it to the one that
//! took it back.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use dlmalloc::GlobalDlmalloc;

/// Bytes that were asked for and not given back.
static USED: AtomicUsize = AtomicUsize::new(0);

/// The allocator of exec.
pub(crate) struct Heap;

/// How many bytes are in use.
pub(crate) fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

// SAFETY: each call goes on to the same call of an allocator, with the same arguments, and gives what that gives. The count
// beside it touches no memory of anybody else.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        counted(unsafe { GlobalDlmalloc.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        counted(unsafe { GlobalDlmalloc.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the same contract; what it had was of this allocator.
        unsafe { GlobalDlmalloc.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the same contract; what it had was of this allocator.
        let moved = counted(unsafe { GlobalDlmalloc.realloc(place, layout, size) }, size);
        if !moved.is_null() {
            USED.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        moved
    }
}

fn counted(place: *mut u8, size: usize) -> *mut u8 {
    if !place.is_null() {
        USED.fetch_add(size, Ordering::Relaxed);
    }
    place
}
