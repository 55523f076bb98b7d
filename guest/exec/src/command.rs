//! Programs that start, run and end: WASI 0.1 modules and WASI 0.2 `wasi:cli/command` components.
//!
//! Owns the truth of the exit status: 0 to 255 as the program gave it, a trap told apart from it, and the Wasm
//! backtrace where the program's standard error goes. Owns what a program sees of the world ([`wasi`]): arguments and
//! environment of manifest and brief, the standard streams that the manifest gives it, and nothing else.

use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use workload::brief::Brief;
use workload::manifest::{Manifest, Stdio, Streams};

use crate::Ended;
use crate::engine::{Code, Program};
use crate::refusal::{Refusal, Step};
use crate::stdin::Stdin;

/// Runs `program` to its end.
pub(crate) async fn run(brief: &Brief, manifest: &Manifest, program: &Program) -> Result<Ended, Refusal> {
    let Streams { stdin: _, stdout: _, stderr } = manifest.stdio(brief);
    let result = match &program.code {
        Code::Module(module) => {
            let mut linker = wasmtime::Linker::new(&program.engine);
            wasmtime_wasi::p1::add_to_linker_async(&mut linker, |wasi: &mut WasiP1Ctx| wasi).map_err(defect)?;
            // wasmtime-wasi takes a status over 125 for an error; a program's status is its own.
            linker.allow_shadowing(true);
            linker
                .func_wrap("wasi_snapshot_preview1", "proc_exit", |status: i32| -> wasmtime::Result<()> {
                    Err(I32Exit(status).into())
                })
                .map_err(defect)?;
            let wasi = wasi(brief, manifest, true).build_p1();
            let mut store = Store::new(&program.engine, wasi);
            let instance = match linker.instantiate_async(&mut store, module).await {
                Ok(instance) => instance,
                Err(error) if is_end(&error) => return Ok(ended(Err(error), stderr)),
                Err(error) => return Err(link(&error)),
            };
            let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(|_| {
                Refusal::new(
                    Step::Program,
                    "wasm.start",
                    "the module has no `_start` function, so it is not a command",
                    "build it as a command (a program with `main`), not as a library or reactor",
                )
            })?;
            start.call_async(&mut store, ()).await.map(|()| 0)
        }
        Code::Component(component) => {
            let mut linker = wasmtime::component::Linker::new(&program.engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(defect)?;
            let state = Component { wasi: wasi(brief, manifest, true).build(), table: ResourceTable::new() };
            let mut store = Store::new(&program.engine, state);
            let pre = linker.instantiate_pre(component).and_then(CommandPre::new).map_err(|error| link(&error))?;
            let command = match pre.instantiate_async(&mut store).await {
                Ok(command) => command,
                Err(error) if is_end(&error) => return Ok(ended(Err(error), stderr)),
                Err(error) => return Err(link(&error)),
            };
            let result = command.wasi_cli_run().call_run(&mut store).await;
            result.map(|result| if result.is_ok() { 0 } else { 1 })
        }
    };
    Ok(ended(result, stderr))
}

/// Whether an instantiation failed because a start function ran, which is the program already.
fn is_end(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::Trap>() || error.is::<I32Exit>()
}

fn ended(result: wasmtime::Result<u8>, stderr: Stdio) -> Ended {
    match result {
        Ok(status) => Ended::Exit(status),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            // The status of a process is its low eight bits, as every shell sees it.
            Some(I32Exit(status)) => Ended::Exit(status.to_le_bytes()[0]),
            None => {
                trap(&error, stderr);
                Ended::Trap
            }
        },
    }
}

/// What a program sees. `with_stdin` is false where many instances would share one input.
pub(crate) fn wasi(brief: &Brief, manifest: &Manifest, with_stdin: bool) -> WasiCtxBuilder {
    let mut builder = WasiCtxBuilder::new();
    // The runtime is one thread; what blocks, blocks only this Keep.
    builder.allow_blocking_current_thread(true);
    builder.arg("main.wasm").args(&manifest.arguments(brief));
    for (name, value) in manifest.environment(brief) {
        builder.env(name, value);
    }
    let Streams { stdin, stdout, stderr } = manifest.stdio(brief);
    if with_stdin && stdin == Stdio::Host {
        builder.stdin(Stdin::new());
    }
    if stdout == Stdio::Host {
        builder.inherit_stdout();
    }
    if stderr == Stdio::Host {
        builder.inherit_stderr();
    }
    builder
}

/// Writes a trap and its Wasm backtrace where the program's standard error goes: it names functions and what they did,
/// which is not for a host that the manifest keeps the program's own words from.
pub(crate) fn trap(error: &wasmtime::Error, stderr: Stdio) {
    use std::io::Write;
    if stderr == Stdio::Null {
        return;
    }
    // In one call: standard error is not buffered, and each call leaves the Keep. If nobody reads it there is nobody to tell.
    _ = std::io::stderr().write_all(format!("trap: {error:?}\n").as_bytes());
}

/// The program asks for what this Keep does not have.
pub(crate) fn link(error: &wasmtime::Error) -> Refusal {
    Refusal::new(
        Step::Program,
        "wasm.import",
        format_args!("the program cannot be linked: {error:#}"),
        "a Keep offers WASI 0.1, WASI 0.2 (wasi:cli) and wasi:http 0.2; build without other imports",
    )
}

fn defect(error: wasmtime::Error) -> Refusal {
    Refusal::new(Step::Program, "wasm.engine", format_args!("{error:#}"), "this is a defect of the Keep: report it")
}

struct Component {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Component {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
