//! WASI 0.2: files and connections are ours, everything else of it is Wasmtime's.
//!
//! The bindings are Wasmtime's too, so their resources bear the names of its types; what is in the table behind them is
//! ours. Nothing else in a program's table has these names.

mod files;
mod sockets;
mod udp;

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
