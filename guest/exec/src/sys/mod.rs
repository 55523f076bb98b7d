//! The only unsafe code of exec: the descriptors it inherited, native code that it sealed itself, and how bytes are moved.
//!
//! Refuses native code from anywhere else: [`Opened`] is the only form in which it comes here.

#![allow(unsafe_code, reason = "neither an inherited descriptor nor compiled code has a safe constructor")]

mod copy;

use std::fs::File;
use std::os::fd::FromRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

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

/// A compiled program, as Wasmtime's `serialize` gave it at an earlier start.
pub(crate) fn code(engine: &Engine, code: &Opened<'_>) -> wasmtime::Result<Code> {
    // SAFETY: the bytes must be what `serialize` of this Wasmtime gave, unchanged. An `Opened` is made by `Cache::open` alone,
    // of what AES-GCM found to be sealed under a key that the platform gives to this image and brief only. Under that key
    // `Cache::store` seals what `serialize` gave and nothing else is sealed, and the digest of the program and all that
    // Wasmtime compares between engines are bound to it. The bytes are copied here, so nobody changes them after. Where the
    // platform is the host process (`nil`, `sim`) the host has that key, and with or without it this whole process.
    unsafe {
        if code.form().component {
            Component::deserialize(engine, code.bytes()).map(Code::Component)
        } else {
            Module::deserialize(engine, code.bytes()).map(Code::Module)
        }
    }
}
