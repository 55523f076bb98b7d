//! Wasmtime, configured once, and the compiled program.
//!
//! Owns what runs (modules of WASI 0.1, components of WASI 0.2) and how it is compiled: inside the Keep, by Cranelift,
//! from the bytes whose digest is in the brief. Native code from outside is never loaded.
//!
//! Refuses invalid WebAssembly.

use cranelift_codegen::timing;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Module};
use workload::manifest::{Kind, Manifest};

use crate::refusal::{Refusal, Step};

/// A compiled program.
pub(crate) struct Program {
    pub(crate) engine: Engine,
    pub(crate) code: Code,
}

/// The two forms of WebAssembly.
pub(crate) enum Code {
    Module(Module),
    Component(Component),
}

/// Magic and version of a component (Component Model, Binary.md); `workload` has told it apart from everything but a module.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What to build instead.
const HINT: &str = "build for wasm32-wasip1 (a module) or wasm32-wasip2 (a component), and give the .wasm file itself";

impl Program {
    /// Compiles a workload's program.
    pub(crate) fn compile(wasm: &[u8]) -> Result<Self, Refusal> {
        timing::set_thread_profiler(Box::new(Untimed));
        let mut config = Config::new();
        // Data is copied at instantiation: a Keep has no memory files to map it from (docs/adr/0002).
        config.memory_init_cow(false);
        config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(64));
        let engine = Engine::new(&config).map_err(|error| {
            Refusal::new(
                Step::Program,
                "wasm.engine",
                format_args!("{error:#}"),
                "this is a defect of the Keep: report it",
            )
        })?;
        let code = if wasm.starts_with(COMPONENT) {
            Component::from_binary(&engine, wasm).map(Code::Component)
        } else {
            Module::from_binary(&engine, wasm).map(Code::Module)
        };
        let code = code.map_err(|error| {
            Refusal::new(
                Step::Program,
                "wasm.invalid",
                format_args!("the program is not valid WebAssembly: {error:#}"),
                HINT,
            )
        })?;
        Ok(Self { engine, code })
    }

    /// What the program is, as the manifest says or, under `auto`, by what it exports.
    pub(crate) fn kind(&self, manifest: &Manifest) -> Result<Kind, Refusal> {
        let exports = |interface: &str| match &self.code {
            // A module's entry is looked for when it is started.
            Code::Module(_) => interface == RUN,
            Code::Component(component) => {
                component.component_type().exports(&self.engine).any(|(name, _)| name.starts_with(interface))
            }
        };
        match (manifest.kind, exports(HANDLER), exports(RUN)) {
            (Kind::Auto | Kind::Http, true, _) => Ok(Kind::Http),
            // Of a manifest that says `command` the contract has refused the listener already.
            (Kind::Auto, false, true) if let Some(listen) = manifest.listen.first() => Err(Refusal::new(
                Step::Program,
                "wasm.kind",
                format_args!(
                    "the manifest has the listener `{}`, but the program does not export \
                     wasi:http/incoming-handler@0.2, so nobody would answer there",
                    listen.name
                ),
                "export the handler (world wasi:http/proxy), or remove the [[listen]]",
            )),
            (Kind::Auto, false, true) | (Kind::Command, _, true) => Ok(Kind::Command),
            (Kind::Http, false, _) => Err(Refusal::new(
                Step::Program,
                "wasm.kind",
                "the manifest says kind = \"http\", but the program does not export wasi:http/incoming-handler@0.2",
                "export the handler (world wasi:http/proxy), or say kind = \"command\"",
            )),
            (Kind::Command, true, false) => Err(Refusal::new(
                Step::Program,
                "wasm.kind",
                "the manifest says kind = \"command\", but the program does not export wasi:cli/run@0.2",
                "it exports wasi:http/incoming-handler@0.2: say kind = \"http\" and give it a [[listen]]",
            )),
            (Kind::Auto | Kind::Command, false, false) => Err(Refusal::new(
                Step::Program,
                "wasm.start",
                "the component exports neither wasi:cli/run@0.2 nor wasi:http/incoming-handler@0.2",
                "build it as a command (a program with `main`) or as a service (world wasi:http/proxy)",
            )),
        }
    }
}

/// The interfaces by which a component is entered, of any 0.2 version.
const RUN: &str = "wasi:cli/run@0.2.";
const HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// Keeps Cranelift from reading the clock at both ends of each pass: some forty thousand times for a megabyte of Wasm, each
/// of them a call that leaves a Keep (docs/adr/0002).
struct Untimed;

impl timing::Profiler for Untimed {
    fn start_pass(&self, _: timing::Pass) -> Box<dyn std::any::Any> {
        Box::new(())
    }
}
