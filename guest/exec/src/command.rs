//! Programs that start, run and end: WASI 0.1 modules, and `wasi:cli/command` components of WASI 0.2 and 0.3.
//!
//! Owns the truth of the exit status: 0 to 255 as the program gave it, a trap told apart from it, and the Wasm
//! backtrace where the program's standard error goes.

use wasmtime::{Caller, Store, Trap, Val};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p3;
use workload::manifest::{Manifest, Stdio};

use crate::Ended;
use crate::engine::{Code, Program, RUN_3};
use crate::limits::{self, Limited, Over, Pulse};
use crate::refusal::{Refusal, Step};
use crate::wasi::World;
use crate::wasi::component::{self, Component};
use crate::wasi::p1::{self, P1};

/// Runs `program` to its end.
pub(crate) async fn run(world: &World, manifest: &Manifest, program: &Program) -> Result<Ended, Refusal> {
    let _running = program.pulse.as_deref().map(Pulse::running);
    let run = async {
        match &program.code {
            Code::Module(module) => self::module(world, manifest, program, module).await,
            Code::Component(_) if manifest.invoke.is_some() || !manifest.stubs.is_empty() => Err(Refusal::new(
                Step::Program,
                "wasm.invoke",
                "the manifest says `invoke` or `stubs`, but the program is a component",
                "a component is entered by what it exports, and gets what it imports: remove the key",
            )),
            Code::Component(component) => self::component(world, program, component).await,
        }
    };
    let result = match manifest.limits.time {
        Some(limit) => match tokio::time::timeout(limit.duration(), run).await {
            Ok(result) => result?,
            Err(_) => Err(Over::Time(limit.duration()).into()),
        },
        None => run.await?,
    };
    Ok(ended(result, world.streams.stderr))
}

/// A module: a command, or a reactor of which `invoke` is called.
async fn module(
    world: &World,
    Manifest { invoke, stubs, .. }: &Manifest,
    program: &Program,
    module: &wasmtime::Module,
) -> Result<wasmtime::Result<u8>, Refusal> {
    let mut linker = wasmtime::Linker::new(&program.engine);
    p1::add(&mut linker).map_err(defect)?;
    let mut store = Store::new(&program.engine, world.p1().await?);
    limits::keep(&mut store, program.pulse.is_some());
    for import in module.imports().filter(|import| stubs.iter().any(|stub| stub == import.module())) {
        let missing = linker.get(&mut store, import.module(), import.name()).is_err();
        if let Some(function) = import.ty().func().filter(|_| missing) {
            let name = format!("{}.{}", import.module(), import.name());
            let stub = move |_: Caller<'_, P1>, _: &[Val], _: &mut [Val]| {
                Err(wasmtime::Error::msg(format!("the program called {name}, which a Keep does not have (`stubs`)")))
            };
            linker.func_new(import.module(), import.name(), function.clone(), stub).map_err(defect)?;
        }
    }
    let instance = linker.instantiate_async(&mut store, module).await;
    let instance = match begun(&mut store, instance)? {
        Ok(instance) => instance,
        Err(error) => return Ok(Err(error)),
    };
    let Some(invoke) = invoke else {
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(|_| {
            Refusal::new(
                Step::Program,
                "wasm.start",
                "the module has no `_start` function, so it is not a command",
                "build it as a command (a program with `main`), or name the function to call: invoke = \"run\"",
            )
        })?;
        return Ok(start.call_async(&mut store, ()).await.map(|()| 0));
    };
    // A reactor is made ready once, before anything else of it is called (WASI 0.1, "Application ABI").
    if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize")
        && let Err(error) = initialize.call_async(&mut store, ()).await
    {
        return Ok(Err(error));
    }
    if let Ok(function) = instance.get_typed_func::<(), ()>(&mut store, invoke) {
        return Ok(function.call_async(&mut store, ()).await.map(|()| 0));
    }
    let function = instance.get_typed_func::<(), i32>(&mut store, invoke).map_err(|_| {
        let functions = module.exports().filter(|export| export.ty().func().is_some()).map(|export| export.name());
        let functions: Vec<_> = functions.take(20).collect();
        Refusal::new(
            Step::Program,
            "wasm.invoke",
            format_args!("the module has no function `{invoke}` that takes nothing and gives a status or nothing"),
            format_args!("its functions are {}", functions.join(", ")),
        )
    })?;
    // The status of a process is its low eight bits.
    Ok(function.call_async(&mut store, ()).await.map(|status| status.to_le_bytes()[0]))
}

/// A component of `wasi:cli/command`.
async fn component(
    world: &World,
    program: &Program,
    component: &wasmtime::component::Component,
) -> Result<wasmtime::Result<u8>, Refusal> {
    let linker = component::linker(&program.engine).map_err(defect)?;
    let mut store = Store::new(&program.engine, Component::new(world, true));
    limits::keep(&mut store, program.pulse.is_some());
    let pre = linker.instantiate_pre(component).map_err(|error| link(&error))?;
    let result = if program.exports(RUN_3) {
        let pre = p3::bindings::CommandPre::new(pre).map_err(|error| link(&error))?;
        let command = pre.instantiate_async(&mut store).await;
        let command = match begun(&mut store, command)? {
            Ok(command) => command,
            Err(error) => return Ok(Err(error)),
        };
        let run = store.run_concurrent(async move |store| command.wasi_cli_run().call_run(store).await).await;
        run.and_then(|result| result)
    } else {
        let pre = CommandPre::new(pre).map_err(|error| link(&error))?;
        let command = pre.instantiate_async(&mut store).await;
        let command = match begun(&mut store, command)? {
            Ok(command) => command,
            Err(error) => return Ok(Err(error)),
        };
        command.wasi_cli_run().call_run(&mut store).await
    };
    Ok(result.map(|result| u8::from(result.is_err())))
}

/// An instance, or how the program ended before there was one: a start function is the program already.
fn begun<I, T: Limited>(store: &mut Store<T>, instance: wasmtime::Result<I>) -> Result<wasmtime::Result<I>, Refusal> {
    match instance {
        Err(error) if !(error.is::<wasmtime::Trap>() || error.is::<I32Exit>() || error.is::<Over>()) => {
            Err(store.data_mut().budget().refusal().unwrap_or_else(|| link(&error)))
        }
        instance => Ok(instance),
    }
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

/// Writes a trap and its Wasm backtrace where the program's standard error goes: it names functions and what they did,
/// which is not for a host that the manifest keeps the program's own words from.
pub(crate) fn trap(error: &wasmtime::Error, stderr: Stdio) {
    use std::io::Write;
    if stderr == Stdio::Null {
        return;
    }
    let hint = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            "hint: the program gave up, as a panic or `abort` does; what it wrote before may say why\n"
        }
        Some(Trap::StackOverflow) => "hint: it calls itself too deeply, or has too much on its stack\n",
        Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature) => {
            "hint: a defect of the program; one that is built with debug information shows its lines here\n"
        }
        _ => "",
    };
    // In one call: standard error is not buffered, and each call leaves the Keep. If nobody reads it there is nobody to tell.
    _ = std::io::stderr().write_all(format!("trap: {error:?}\n{hint}").as_bytes());
}

/// The program asks for what this Keep does not have.
pub(crate) fn link(error: &wasmtime::Error) -> Refusal {
    Refusal::new(
        Step::Program,
        "wasm.import",
        format_args!("the program cannot be linked: {error:#}"),
        "a Keep offers WASI 0.1, 0.2 and 0.3 with wasi:http, and donjon:keep 0.1; build without other imports, or say `stubs` if the program does without",
    )
}

fn defect(error: wasmtime::Error) -> Refusal {
    Refusal::new(Step::Program, "wasm.engine", format_args!("{error:#}"), "this is a defect of the Keep: report it")
}
