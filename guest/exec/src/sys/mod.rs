//! The only unsafe code of exec: the descriptors it inherited, native code that it sealed itself, how bytes are moved, and the
//! count of the heap.
//!
//! Refuses native code from anywhere else: [`Opened`] is the only form in which it comes here.

#![allow(unsafe_code, reason = "neither an inherited descriptor nor compiled code has a safe constructor")]

mod copy;
pub(crate) mod heap;

use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::os::fd::FromRawFd;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine, Module};

use crate::cache::Opened;
use crate::engine::Code;

/// Takes descriptor 3, on which the platform answers to plain reads and writes.
pub(crate) fn platform() -> File {
    // SAFETY: the contract of `spec/gate.md` is that the starter of exec leaves an open stream at this number and that
    // nothing else in the process uses it; this function is called once, first thing in main. If the descriptor is not
    // open every use of it fails with EBADF and the start ends there.
    unsafe { File::from_raw_fd(gate::DESCRIPTOR) }
}

/// Takes descriptor 4, by which the host says that the Keep is to end, and registers it with the reactor.
pub(crate) fn end() -> std::io::Result<AsyncFd<File>> {
    // SAFETY: the same contract has a stream at this number; this function is called once, first thing in the runtime, so
    // the handle owns the descriptor for as long as it lives. One that is not open cannot be registered, and the start ends
    // there.
    let end = unsafe { AsyncFd::register_with_interest(File::from_raw_fd(gate::end::DESCRIPTOR), Interest::READABLE) };
    end.map_err(|error| error.into_parts().1)
}

/// Registers standard input with the reactor; `None` if it is a file, which a reactor does not take.
pub(crate) fn readable(stdin: std::io::Stdin) -> Option<AsyncFd<std::io::Stdin>> {
    // SAFETY: the handle names descriptor 0 for the life of the process. Nothing in exec closes or replaces it: std does
    // not, and programs reach it only through WASI streams, which never hand out the number.
    unsafe { AsyncFd::register_with_interest(stdin, Interest::READABLE) }.ok()
}

/// Whole pages of this process alone, zero at first: for native code, which comes to run where it was read.
pub(crate) struct Pages {
    start: NonNull<u8>,
    length: usize,
}

impl Pages {
    /// None if there is no room, or nothing to have room for.
    pub(crate) fn new(length: usize) -> Option<Self> {
        let private = MapFlags::PRIVATE;
        // SAFETY: no address is asked for, so this takes the place of nothing.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, private) };
        let start = NonNull::new(start.ok()?.cast::<u8>())?;
        // There may be hundreds of megabytes. Where that is not known it is slower, no more.
        // SAFETY: the pages were just mapped. What they have stays.
        _ = unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxHugepage) };
        Some(Self { start, length })
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped by `new` with this length, to be read and written, until this is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; and nobody else has the address.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nobody has the address any more: what borrowed from this is gone.
        _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

// SAFETY: memory that one value owns, as a `Vec` does.
unsafe impl Send for Pages {}

/// A compiled program, as Wasmtime's `serialize` gave it at an earlier start, in the pages where it lies.
pub(crate) fn code(engine: &Engine, code: Opened) -> wasmtime::Result<Code> {
    let (pages, length, component) = (code.pages, code.length, code.form.component);
    let native = NonNull::slice_from_raw_parts(pages.start, length.min(pages.length));
    // SAFETY: the pages are this function's, and nobody writes there any more. The bytes must be what `serialize` of this
    // Wasmtime gave, unchanged. An `Opened` is made by `Cache::open` alone, of what AES-GCM found to be sealed under a key that
    // the platform gives to this image and brief only. Under that key `Cache::store` seals what `serialize` gave and nothing
    // else is sealed, and the digest of the program and all that Wasmtime compares between engines are bound to it. Where the
    // platform is the host process (`nil`, `sim`) the host has that key, and with or without it this whole process.
    let code = unsafe {
        mprotect(pages.start.as_ptr().cast(), pages.length, MprotectFlags::READ)?;
        if component {
            Component::deserialize_raw(engine, native).map(Code::Component)
        } else {
            Module::deserialize_raw(engine, native).map(Code::Module)
        }
    }?;
    // There they stay: a program lives as long as exec.
    std::mem::forget(pages);
    Ok(code)
}

/// Lets code run: Wasmtime does so itself only in pages that it mapped.
pub(crate) struct Executable;

impl CustomCodeMemory for Executable {
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        // SAFETY: Wasmtime says which pages are code. No page is written and executed at once.
        Ok(unsafe { mprotect(code.cast_mut().cast(), length, MprotectFlags::READ | MprotectFlags::EXEC) }?)
    }

    fn unpublish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        // SAFETY: as above; and nothing runs there any more.
        Ok(unsafe { mprotect(code.cast_mut().cast(), length, MprotectFlags::READ) }?)
    }
}
