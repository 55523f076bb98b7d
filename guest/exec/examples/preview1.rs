//! Runs one `wasm32-wasip1` program on this machine, under the Wasmtime that is in a Keep: a runner for `cargo test`.
//!
//! `preview1 PROGRAM ARGUMENTS…`. Unlike a Keep it opens folders: those in `DONJON_FOLDERS`, a list as in `PATH`, each
//! under its own name and for reading only. The program sees the standard streams and, of the environment, what begins
//! with `DONJON_`; the network it does not see.
//!
//! Never part of a Keep. Invariant: the status is the program's own, 134 for a trap, 125 if it did not start.
#![allow(clippy::print_stderr, reason = "a tool talks to people")]

use std::process::ExitCode;

use wasmtime::{Engine, Error, Linker, Module, Result, Store};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn run(arguments: Vec<String>) -> Result<u8> {
    let program = arguments.first().ok_or_else(|| Error::msg("usage: preview1 PROGRAM ARGUMENTS…"))?;
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_stdio().args(&arguments).allow_blocking_current_thread(true);
    for folder in std::env::split_paths(&std::env::var_os("DONJON_FOLDERS").unwrap_or_default()) {
        let name = folder.to_str().ok_or_else(|| Error::msg("a folder's name is not UTF-8"))?;
        wasi.preopened_dir(&folder, name, FsPerms::ReadOnly)?;
    }
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("DONJON_")) {
        wasi.env(name, value);
    }

    let engine = Engine::default();
    let module = Module::from_file(&engine, program)?;
    let mut linker = Linker::new(&engine);
    p1::add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    let mut store = Store::new(&engine, wasi.build_p1());
    let start = linker.instantiate(&mut store, &module)?.get_typed_func::<(), ()>(&mut store, "_start")?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(0),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(status)) => Ok(u8::try_from(*status).unwrap_or(u8::MAX)),
            None => {
                eprintln!("error: {error:?}");
                Ok(134)
            }
        },
    }
}
