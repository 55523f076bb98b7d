//! What the store of a component holds.

use std::sync::Arc;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{Files, Preopened, Sockets, World, keep, p2, p3};
use crate::limits::{Budget, Limited};
use crate::network::Shared;
use crate::outgoing::Outgoing;
use crate::own::Own;

/// The state of one instance of a component.
pub(crate) struct Component {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    preopened: Preopened,
    network: Shared,
    outgoing: Outgoing,
    budget: Budget,
    own: Arc<Own>,
}

impl Component {
    /// `input` is false where many instances would share one.
    pub(crate) fn new(world: &World, input: bool) -> Self {
        let budget = world.budget();
        let mut table = ResourceTable::new();
        if let Some(descriptors) = budget.descriptors() {
            table.set_max_capacity(descriptors);
        }
        Self {
            wasi: world.context(input),
            http: WasiHttpCtx::new(),
            table,
            preopened: world.preopened.clone(),
            network: Shared::clone(&world.network),
            outgoing: Outgoing::new(&world.network),
            budget,
            own: Arc::clone(&world.own),
        }
    }

    pub(super) fn own(&self) -> &Own {
        &self.own
    }

    fn files(&mut self) -> Files<'_> {
        Files { preopened: &self.preopened, table: &mut self.table }
    }

    fn sockets(&mut self) -> Sockets<'_> {
        Sockets { network: &self.network, table: &mut self.table }
    }
}

/// Everything that a component may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Component>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    // Theirs would be files and connections of the host.
    linker.allow_shadowing(true);
    p2::add(&mut linker, Component::files, Component::sockets)?;
    p3::add(&mut linker, Component::files, Component::sockets)?;
    keep::add(&mut linker)?;
    Ok(linker)
}

impl Limited for Component {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}

impl WasiView for Component {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Component {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}
