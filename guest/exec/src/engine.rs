//! Wasmtime, configured once, and the compiled program.
//!
//! Owns what runs (modules of WASI 0.1, components of WASI 0.2 and 0.3) and how it is compiled: inside the Keep, by Cranelift,
//! from the bytes whose digest is in the brief. Native code from outside is never loaded, but for what a Keep like this one
//! sealed ([`cache`](crate::cache)).
//!
//! Refuses invalid WebAssembly.

use std::sync::Arc;

use cranelift_codegen::timing;
use gate::message::Compile;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Module};
use workload::manifest::{Kind, Manifest, Protocol};

use crate::cache::Cache;
use crate::limits::Pulse;
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};
use crate::sys;

/// A compiled program.
pub(crate) struct Program {
    pub(crate) engine: Engine,
    pub(crate) code: Code,
    /// Gives others their turn while the program computes; `None` if there are none and it may compute as long as it likes.
    pub(crate) pulse: Option<Arc<Pulse>>,
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

/// The one configuration, but for whether programs let others have their turn ([`Pulse`]).
pub(crate) fn engine(turns: bool) -> Result<Engine, Refusal> {
    timing::set_thread_profiler(Box::new(Untimed));
    let mut config = Config::new();
    // Data is copied at instantiation: a Keep has no memory files to map it from (docs/adr/0002).
    config.memory_init_cow(false);
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(64));
    config.epoch_interruption(turns);
    Engine::new(&config).map_err(|error| {
        Refusal::new(Step::Program, "wasm.engine", format_args!("{error:#}"), "this is a defect of the Keep: report it")
    })
}

impl Program {
    /// Makes a workload's program ready to run: by what was compiled at an earlier start, else by compiling it now.
    pub(crate) fn ready(
        platform: &mut Platform,
        brief: &[u8],
        wasm: &[u8],
        manifest: &Manifest,
    ) -> Result<Self, Refusal> {
        // A component that could be a service is compiled like one: an interface's name stands in its exports.
        let serves = wasm.starts_with(COMPONENT)
            && HANDLER.iter().any(|name| wasm.windows(name.len()).any(|bytes| bytes == name.as_bytes()));
        // Of who has a certificate, or sees it, it is to be renewed, however long he computes.
        let tls = manifest.listen.iter().map(|listen| listen.protocol);
        let tls = tls.chain(manifest.connect.iter().map(|connect| connect.protocol)).any(Protocol::tls);
        let turns =
            serves || tls || manifest.identity.files || manifest.limits.cpu.is_some() || manifest.limits.time.is_some();
        let engine = engine(turns)?;
        let code = Self::code(platform, brief, wasm, &engine)?;
        let pulse = turns.then(|| Pulse::start(&engine).map(Arc::new)).transpose().map_err(|error| {
            Refusal::new(Step::Program, "wasm.thread", error, "this is a defect of the Keep: report it")
        })?;
        Ok(Self { engine, code, pulse })
    }

    fn code(platform: &mut Platform, brief: &[u8], wasm: &[u8], engine: &Engine) -> Result<Code, Refusal> {
        let component = wasm.starts_with(COMPONENT);
        let cache = Cache::new(platform, brief, engine, wasm)?;
        let kept = match &cache {
            // What this engine does not take, whatever it is, is compiled.
            Some(cache) => cache.load(platform, |code| sys::code(engine, component, code).ok())?,
            None => None,
        };
        if let Some(code) = kept {
            platform.compile(Compile::Spared)?;
            return Ok(code);
        }
        platform.compile(Compile::Begun)?;
        let code = if component {
            Component::from_binary(engine, wasm).map(Code::Component)
        } else {
            Module::from_binary(engine, wasm).map(Code::Module)
        };
        let code = code.map_err(|error| {
            Refusal::new(
                Step::Program,
                "wasm.invalid",
                format_args!("the program is not valid WebAssembly: {error:#}"),
                HINT,
            )
        })?;
        if let Some(cache) = &cache {
            cache.store(platform, &code)?;
        }
        platform.compile(Compile::Done)?;
        Ok(code)
    }

    /// Whether it is a component that exports this interface, in any version that begins so.
    pub(crate) fn exports(&self, interface: &str) -> bool {
        match &self.code {
            Code::Module(_) => false,
            Code::Component(component) => {
                component.component_type().exports(&self.engine).any(|(name, _)| name.starts_with(interface))
            }
        }
    }

    /// What the program is, as the manifest says or, under `auto`, by what it exports.
    pub(crate) fn kind(&self, manifest: &Manifest) -> Result<Kind, Refusal> {
        // A module's entry is looked for when it is started.
        let runs = matches!(self.code, Code::Module(_)) || RUN.iter().any(|interface| self.exports(interface));
        let handles = HANDLER.iter().any(|interface| self.exports(interface));
        match (manifest.kind, handles, runs) {
            (Kind::Auto | Kind::Http, true, _) if manifest.invoke.is_some() => Err(Refusal::new(
                Step::Program,
                "wasm.invoke",
                "the manifest says `invoke`, but the program is a service of wasi:http",
                "a service is entered by its handler: remove `invoke`",
            )),
            (Kind::Auto | Kind::Http, true, _) => Ok(Kind::Http),
            // Of a manifest that says `command` the contract has refused the listener already.
            (Kind::Auto, false, true)
                if let Some(listen) = manifest.listen.iter().find(|listen| listen.protocol.http()) =>
            {
                Err(Refusal::new(
                    Step::Program,
                    "wasm.kind",
                    format_args!(
                        "the manifest has the listener `{}`, but the program does not export \
                     wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3, so nobody would answer there",
                        listen.name
                    ),
                    "export the handler (world wasi:http/proxy), or remove the [[listen]]",
                ))
            }
            (Kind::Auto, false, true) | (Kind::Command, _, true) => Ok(Kind::Command),
            (Kind::Http, false, _) => Err(Refusal::new(
                Step::Program,
                "wasm.kind",
                "the manifest says kind = \"http\", but the program does not export wasi:http/incoming-handler@0.2 \
                 or wasi:http/handler@0.3",
                "export the handler (world wasi:http/proxy, of 0.3 wasi:http/service), or say kind = \"command\"",
            )),
            (Kind::Command, true, false) => Err(Refusal::new(
                Step::Program,
                "wasm.kind",
                "the manifest says kind = \"command\", but the program does not export wasi:cli/run",
                "it exports a handler of wasi:http: say kind = \"http\" and give it a [[listen]]",
            )),
            (Kind::Auto | Kind::Command, false, false) => Err(Refusal::new(
                Step::Program,
                "wasm.start",
                "the component exports neither wasi:cli/run nor a handler of wasi:http, of 0.2 or 0.3",
                "build it as a command (a program with `main`) or as a service (world wasi:http/proxy)",
            )),
        }
    }
}

/// The interfaces by which a component is entered, of any such version.
const RUN: [&str; 2] = ["wasi:cli/run@0.2.", RUN_3];
pub(crate) const RUN_3: &str = "wasi:cli/run@0.3.";
const HANDLER: [&str; 2] = ["wasi:http/incoming-handler@0.2.", HANDLER_3];
pub(crate) const HANDLER_3: &str = "wasi:http/handler@0.3.";

/// Keeps Cranelift from reading the clock at both ends of each pass: some forty thousand times for a megabyte of Wasm, each
/// of them a call that leaves a Keep (docs/adr/0002).
struct Untimed;

impl timing::Profiler for Untimed {
    fn start_pass(&self, _: timing::Pass) -> Box<dyn std::any::Any> {
        Box::new(())
    }
}
