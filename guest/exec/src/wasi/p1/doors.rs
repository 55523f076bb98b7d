//! Connections by path, for programs that know files and no sockets: `connect/NAME`, `connect/HOST:PORT` and `listen/NAME`
//! in the directory of the Keep's identity (`spec/manifest.md`, "identity").
//!
//! Owns what such a path leads to. Refuses what a socket is refused, with the same words where the program's own go. Invariant:
//! what is opened so is a connection as any other, and nobody's file.

use bytes::Bytes;
use wasmtime_wasi::p1::types::{Errno, Fd, Fdflags};

use super::sockets::{failed, when};
use super::{Descriptor, P1, Result};
use crate::files::{self, How, Node, Tree};
use crate::network::Shared;

/// Where the paths begin.
pub(crate) struct Doors {
    connect: Node,
    listen: Node,
    network: Shared,
}

/// What a path leads to.
pub(super) enum Door {
    Connect(Shared, String),
    Listen(String),
}

impl Doors {
    /// Two directories in this one, in which the names of the manifest are found.
    pub(crate) fn new(identity: &Node, network: &Shared) -> files::Result<Self> {
        let [connect, listen] = [(); 2].map(|()| Tree::root(false, 0));
        for target in network.targets() {
            connect.place(target.connect.name.as_str(), Bytes::new())?;
        }
        for service in network.services() {
            listen.place(service.listen.name.as_str(), Bytes::new())?;
        }
        identity.mount("connect", connect.clone())?;
        identity.mount("listen", listen.clone())?;
        Ok(Self { connect, listen, network: Shared::clone(network) })
    }

    /// What is behind a path, if it is a connection.
    pub(super) fn at(&self, directory: &Node, path: &str) -> Option<Door> {
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (directory.find(parent, true).ok()?, name),
            None => (directory.clone(), path),
        };
        match name {
            "" | "." | ".." => None,
            // Longer than a name and a port can be: a file's name that is too long, too.
            name if name.len() > 320 => None,
            name if parent.is(&self.connect) => Some(Door::Connect(Shared::clone(&self.network), name.to_owned())),
            name if parent.is(&self.listen) => Some(Door::Listen(name.to_owned())),
            _ => None,
        }
    }
}

impl P1 {
    /// A connection, made or accepted now. As with a pipe of POSIX there is nothing to create and nothing to cut.
    pub(super) async fn enter(&mut self, door: Door, how: How, flags: Fdflags) -> Result<Fd> {
        if how.directory {
            return Err(Errno::Notdir.into());
        }
        if how.create && how.exclusive {
            return Err(Errno::Exist.into());
        }
        let flags = flags & Fdflags::NONBLOCK;
        let stream = match door {
            Door::Connect(network, name) => network.named(&name).await.map_err(|error| failed(&error))?,
            Door::Listen(name) => {
                let listener = self.descriptors.values_mut().find_map(|descriptor| match descriptor {
                    Descriptor::Listener { name: own, listener, .. } if *own == name => Some(listener),
                    _ => None,
                });
                let listener = listener.ok_or(Errno::Noent)?;
                when(flags.is_empty(), |context| listener.poll_accept(context)).await?
            }
        };
        self.push(Descriptor::connection(&stream, flags))
    }
}
