//! Random modules, run as exec runs programs and by plain Wasmtime beside it: both have to come to the same.
//!
//! Each seed is a module that ends. `DONJON_SEEDS=N` tries so many (default [`SEEDS`]), from `DONJON_SEED` on.

use std::time::Duration;

use arbitrary::Unstructured;
use tokio::runtime::Builder;
use wasm_smith::{Config, Module as Random};
use wasmtime::{Engine, ExternType, Instance, Module, Ref, Store, Trap, UpdateDeadline, Val};

use crate::engine::{self, Form};
use crate::limits::Pulse;

const SEEDS: u64 = 50;
/// Turns of the loops and calls of a module together.
const FUEL: u32 = 20_000;

/// A sequence without an end (SplitMix64).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).to_le_bytes()
    };
    (0..1024).flat_map(|_| next()).collect()
}

fn module(seed: u64) -> Option<Vec<u8>> {
    let config = Config {
        canonicalize_nans: true,
        export_everything: true,
        max_imports: 0,
        max_memories: 3,
        max_memory32_bytes: 1 << 20,
        max_memory64_bytes: 1 << 20,
        max_table_elements: 10_000,
        max_tables: 3,
        min_funcs: 1,
        ..Config::default()
    };
    let bytes = noise(seed);
    let mut module = Random::new(config, &mut Unstructured::new(&bytes)).ok()?;
    module.ensure_termination(FUEL).ok()?;
    Some(module.to_bytes())
}

/// All that can be seen of a module from outside, in order, up to where a stack was full: how much goes on one is not the
/// module's to say.
async fn seen(engine: &Engine, wasm: &[u8]) -> Vec<String> {
    // Why not, a pool says in words of its own.
    let Ok(module) = Module::new(engine, wasm) else { return vec!["refused".to_owned()] };
    let mut store = Store::new(engine, ());
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_epoch_deadline(1);
    let instance = match Instance::new_async(&mut store, &module, &[]).await {
        Ok(instance) => instance,
        Err(error) => return vec![ended(&error)],
    };
    let mut seen = Vec::new();
    for export in module.exports() {
        match export.ty() {
            ExternType::Func(of) => {
                let Some(function) = instance.get_func(&mut store, export.name()) else { continue };
                let Some(arguments) = of.params().map(|of| Val::default_for_ty(&of)).collect::<Option<Vec<_>>>() else {
                    continue;
                };
                let mut results = vec![Val::I32(0); of.results().len()];
                let found = match function.call_async(&mut store, &arguments, &mut results).await {
                    Ok(()) => results.iter().map(value).collect::<Vec<_>>().join(" "),
                    Err(error) => ended(&error),
                };
                let full = found == FULL;
                seen.push(found);
                if full {
                    break;
                }
            }
            ExternType::Global(_) => {
                if let Some(global) = instance.get_global(&mut store, export.name()) {
                    seen.push(value(&global.get(&mut store)));
                }
            }
            ExternType::Memory(_) => {
                if let Some(memory) = instance.get_memory(&mut store, export.name()) {
                    seen.push(format!(
                        "{:?}",
                        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, memory.data(&store))
                    ));
                }
            }
            ExternType::Table(_) => {
                if let Some(table) = instance.get_table(&mut store, export.name()) {
                    let elements = (0..table.size(&store)).map(|at| table.get(&mut store, at));
                    seen.push(elements.map(|element| if none(&element) { '0' } else { '1' }).collect());
                }
            }
            ExternType::Tag(_) => {}
        }
    }
    seen
}

const FULL: &str = "call stack exhausted";

fn ended(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => FULL.to_owned(),
        Some(trap) => trap.to_string(),
        None => "refused".to_owned(),
    }
}

fn none(element: &Option<Ref>) -> bool {
    element.as_ref().is_none_or(Ref::is_null)
}

/// Of a reference no more than whether it is one.
fn value(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => format!("{bits:x}"),
        Val::F64(bits) => format!("{bits:x}"),
        Val::V128(value) => format!("{:x}", value.as_u128()),
        other => none(&other.ref_()).to_string(),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_modules_come_to_the_same_as_in_plain_wasmtime() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let plain = Engine::default();
    let form = Form { component: false, turns: false, pool: false };
    let forms = [form, Form { turns: true, ..form }, Form { turns: true, pool: true, ..form }];
    let ours = forms.map(|form| engine::engine(form).unwrap());
    // So that some have a turn in the middle.
    let pulses = [&ours[1], &ours[2]].map(|engine| Pulse::start(engine).unwrap());
    let _running = pulses.each_ref().map(Pulse::running);
    let (first, count) = (number("DONJON_SEED", 0), number("DONJON_SEEDS", SEEDS));
    let (mut compared, mut trapped) = (0_u64, 0_u64);
    for seed in first..first + count {
        let Some(wasm) = module(seed) else { continue };
        let expected = runtime.block_on(seen(&plain, &wasm));
        compared += u64::from(!expected.is_empty() && expected != ["refused"]);
        trapped += u64::from(expected.iter().any(|seen| seen.contains("wasm trap")));
        for (engine, form) in ours.iter().zip(forms) {
            let found = runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(60), seen(engine, &wasm)).await.expect("it ends")
            });
            // Where a stack was full, on either side, nothing more can be compared.
            let full = [&found, &expected].map(|seen| seen.iter().position(|seen| seen == FULL).unwrap_or(seen.len()));
            let comparable = full[0].min(full[1]);
            assert_eq!(found[..comparable], expected[..comparable], "seed {seed}, {form:?}");
            assert!(full[0] != full[1] || found.len() == expected.len(), "seed {seed}, {form:?}");
        }
    }
    assert!(compared > count / 2 && trapped > 0, "{compared} modules compared, of which {trapped} trapped");
}
