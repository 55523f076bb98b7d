//! WASI 0.3: files and connections are ours, everything else of it is Wasmtime's.
//!
//! As in 0.2 the bindings are Wasmtime's; what is in the table behind their resources is ours.

mod files;
mod sockets;
mod udp;

use tokio::sync::oneshot;
use wasmtime::component::Linker;

use super::{Files, Sockets};

/// In place of Wasmtime's.
pub(crate) fn add<T: Send + 'static>(
    linker: &mut Linker<T>,
    files: fn(&mut T) -> Files<'_>,
    sockets: fn(&mut T) -> Sockets<'_>,
) -> wasmtime::Result<()> {
    files::add(linker, files)?;
    sockets::add(linker, sockets)
}

/// How a stream ended, once. Whoever does not wait for it does not want to know.
fn tell<End>(told: &mut Option<oneshot::Sender<End>>, end: End) {
    if let Some(told) = told.take() {
        _ = told.send(end);
    }
}
