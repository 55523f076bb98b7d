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
use wasmtime::{Config, Engine, Module, PoolingAllocationConfig, WasmBacktraceDetails};
use workload::manifest::{Kind, Manifest, Protocol};

use crate::cache::Cache;
use crate::limits::{ELEMENT, Pulse};
use crate::machine::MACHINE;
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

/// What a program is compiled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) component: bool,
    /// Whether it lets others have their turn ([`Pulse`]).
    pub(crate) turns: bool,
    /// Whether its instances come and go in places that are kept for them.
    pub(crate) pool: bool,
}

impl Form {
    pub(crate) fn byte(self) -> u8 {
        u8::from(self.component) | u8::from(self.turns) << 1 | u8::from(self.pool) << 2
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        let is = |bit: u8| byte >> bit & 1 != 0;
        (byte < 8).then(|| Self { component: is(0), turns: is(1), pool: is(2) })
    }
}

/// How many instances of a service there are at once. Each has memories of its own, for each of which gibibytes of
/// addresses are kept, and a stack.
pub(crate) const INSTANCES: u32 = 512;
/// Memories, and tables, of all instances together: programs in several parts have more than one.
const PARTS: u32 = 2 * INSTANCES;
/// What a table of a service may grow to. Programs with more are run without a pool.
const ELEMENTS: usize = 100_000;
/// Of WebAssembly, in bytes.
const PAGE: u64 = 64 << 10;
/// How many bytes of a memory, and of a table, are cleared for the next instance by writing. Beyond, pages are given back
/// and come anew: to ask for that, and the faults after it, cost more than to write this much.
pub(crate) const RESIDENT: usize = 2 << 20;

/// Magic and version of a component (Component Model, Binary.md); `workload` has told it apart from everything but a module.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What to build instead.
const HINT: &str = "build for wasm32-wasip1 (a module) or wasm32-wasip2 (a component), and give the .wasm file itself";

/// The one configuration, but for its form.
pub(crate) fn engine(form: Form) -> Result<Engine, Refusal> {
    timing::set_thread_profiler(Box::new(Untimed));
    let mut config = Config::new();
    // Data is copied at instantiation: a Keep has no memory files to map it from (docs/adr/0002).
    config.memory_init_cow(false);
    // Nobody but Wasmtime looks through these stacks.
    config.native_unwind_info(false);
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(64));
    // Files and lines, where the program brings them.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config.epoch_interruption(form.turns);
    config.with_custom_code_memory(Some(Arc::new(sys::Executable)));
    if form.pool {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(INSTANCES)
            .total_core_instances(u32::MAX)
            .max_core_instance_size(16 << 20)
            .max_component_instance_size(16 << 20)
            .total_memories(PARTS)
            .max_memories_per_module(PARTS)
            .total_tables(PARTS)
            .max_tables_per_module(PARTS)
            .table_elements(ELEMENTS)
            .total_gc_heaps(INSTANCES)
            .total_stacks(INSTANCES)
            .linear_memory_keep_resident(RESIDENT)
            .table_keep_resident(RESIDENT);
        config.allocation_strategy(pool);
    }
    Engine::new(&config).map_err(|error| {
        Refusal::new(Step::Program, "wasm.engine", format_args!("{error:#}"), "this is a defect of the Keep: report it")
    })
}

impl Program {
    /// What an earlier start compiled it to, if the host still has that.
    pub(crate) fn kept(platform: &mut Platform, cache: &Cache) -> Result<Option<Self>, Refusal> {
        let Some(sealed) = cache.load(platform)? else { return Ok(None) };
        let form = sealed.form;
        let engine = engine(form)?;
        // What this engine does not take, whatever it is, is compiled.
        let code = cache.open(sealed, &engine).and_then(|code| sys::code(&engine, code).ok());
        let Some(code) = code else { return Ok(None) };
        platform.compile(Compile::Spared)?;
        Self::ready(engine, code, form).map(Some)
    }

    /// Compiles it, for this start and the next ones.
    pub(crate) fn compile(
        platform: &mut Platform,
        cache: Option<&Cache>,
        wasm: &[u8],
        manifest: &Manifest,
    ) -> Result<Self, Refusal> {
        let component = wasm.starts_with(COMPONENT);
        // A component that could be a service is compiled like one: an interface's name stands in its exports.
        let serves =
            component && HANDLER.iter().any(|name| wasm.windows(name.len()).any(|bytes| bytes == name.as_bytes()));
        // Of who has a certificate, or sees it, it is to be renewed, however long he computes.
        let tls = manifest.listen.iter().map(|listen| listen.protocol);
        let tls = tls.chain(manifest.connect.iter().map(|connect| connect.protocol)).any(Protocol::tls);
        let turns =
            serves || tls || manifest.identity.files || manifest.limits.cpu.is_some() || manifest.limits.time.is_some();
        platform.compile(Compile::Begun)?;
        let compiled = |form: Form| {
            let engine = engine(form)?;
            let code = if component {
                Component::from_binary(&engine, wasm).map(Code::Component)
            } else {
                Module::from_binary(&engine, wasm).map(Code::Module)
            };
            Ok((engine, form, code))
        };
        let (engine, form, code) = match compiled(Form { component, turns, pool: serves })? {
            // It may be too large for a pool, which is said only when all is compiled.
            (_, form, Err(_)) if form.pool => compiled(Form { pool: false, ..form })?,
            done => done,
        };
        let code = code.map_err(|error| {
            Refusal::new(
                Step::Program,
                "wasm.invalid",
                format_args!("the program is not valid WebAssembly: {error:#}"),
                HINT,
            )
        })?;
        if let Some(cache) = cache {
            cache.store(platform, &code, form, &engine)?;
        }
        platform.compile(Compile::Done)?;
        Self::ready(engine, code, form)
    }

    fn ready(engine: Engine, code: Code, form: Form) -> Result<Self, Refusal> {
        let pulse = form.turns.then(|| Pulse::start(&engine).map(Arc::new)).transpose().map_err(|error| {
            Refusal::new(Step::Program, "wasm.thread", error, "this is a defect of the Keep: report it")
        })?;
        Ok(Self { engine, code, pulse })
    }

    /// How many instances of it there may be at once.
    pub(crate) fn instances(&self) -> usize {
        let Code::Component(component) = &self.code else { return 1 };
        let Some(needs) = component.resources_required() else { return INSTANCES as usize };
        // Of memories and tables each has at least one.
        let parts = needs.num_memories.max(needs.num_tables).max(1);
        let memories = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE * u64::from(needs.num_memories));
        let tables = needs.max_initial_table_size.unwrap_or(0).saturating_mul(ELEMENT * u64::from(needs.num_tables));
        let places = INSTANCES.min(PARTS / parts).max(1) as usize;
        places.min(MACHINE.instances(memories.saturating_add(tables)))
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
