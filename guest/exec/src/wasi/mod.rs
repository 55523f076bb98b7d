//! What a program sees of the world, in every version of WASI.
//!
//! ```text
//!   World   arguments, environment, streams, files and connections, as manifest and brief say
//!   keep    what a Keep has beside WASI (`spec/keep-interface.md`)
//!   p1      modules: all of it is ours     p2, p3   components: files and connections are ours, the rest is Wasmtime's
//! ```
//!
//! Invariant: a program gets what stands in its [`World`], and nothing of the host beside it.

/// What files are in the bindings of a version of components: their types have the same names and cases in each. `$error` is
/// how its calls fail.
macro_rules! told {
    ($error:ty) => {
        impl From<Fault> for ErrorCode {
            fn from(fault: Fault) -> Self {
                match fault {
                    Fault::BadDescriptor => Self::BadDescriptor,
                    Fault::Busy => Self::Busy,
                    Fault::Exist => Self::Exist,
                    Fault::Invalid => Self::Invalid,
                    Fault::Io => Self::Io,
                    Fault::IsDirectory => Self::IsDirectory,
                    Fault::Loop => Self::Loop,
                    Fault::NameTooLong => Self::NameTooLong,
                    Fault::NoEntry => Self::NoEntry,
                    Fault::NoSpace => Self::InsufficientSpace,
                    Fault::NotDirectory => Self::NotDirectory,
                    Fault::NotEmpty => Self::NotEmpty,
                    Fault::NotPermitted => Self::NotPermitted,
                    Fault::OtherTree => Self::CrossDevice,
                    Fault::ReadOnly => Self::ReadOnly,
                    Fault::TooLarge => Self::FileTooLarge,
                }
            }
        }

        impl From<Fault> for $error {
            fn from(fault: Fault) -> Self {
                ErrorCode::from(fault).into()
            }
        }

        impl From<Kind> for DescriptorType {
            fn from(kind: Kind) -> Self {
                match kind {
                    Kind::Directory => Self::Directory,
                    Kind::File => Self::RegularFile,
                    Kind::Link => Self::SymbolicLink,
                }
            }
        }

        impl From<Stat> for MetadataHashValue {
            fn from(stat: Stat) -> Self {
                let [lower, upper] = stat.hash();
                Self { lower, upper }
            }
        }
    };
}

pub(crate) mod component;
mod keep;
pub(crate) mod p1;
pub(crate) mod p2;
pub(crate) mod p3;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasData, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxBuilder};
use workload::brief::Brief;
use workload::manifest::{
    ARG0, Connect, IDENTITY_FILES, Limits, MOUNT_SIZE, Manifest, Mount, MountKind, Place, Stdio, Streams,
};

use crate::clock;
use crate::files::{Fault, How, Kind, Node, Result, Stat, Tree};
use crate::limits::Budget;
use crate::network::{Network, Shared};
use crate::own::Own;
use crate::refusal::{Refusal, Step};
use crate::stdin::Stdin;
use p1::{Doors, P1};

/// The directories that a program begins with, by the paths that it knows them by.
pub(crate) type Preopened = Arc<Vec<(String, Node)>>;

/// What a program gets.
pub(crate) struct World {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) streams: Streams,
    pub(crate) preopened: Preopened,
    pub(crate) network: Shared,
    pub(crate) limits: Limits,
    pub(crate) own: Arc<Own>,
    /// The directory of the Keep's identity, if the manifest has it.
    identity: Option<Node>,
}

impl World {
    /// `files`: of the package and of the Drawbridge. `folders`: of the host, by their mounts.
    pub(crate) fn new(
        brief: &Brief,
        manifest: &Manifest,
        environment: BTreeMap<String, String>,
        files: Vec<(Place, Vec<u8>)>,
        folders: BTreeMap<Place, Node>,
        network: Network,
        own: Arc<Own>,
    ) -> Result<Self> {
        let name = manifest.arg0.clone().unwrap_or_else(|| ARG0.to_owned());
        let arguments = [name].into_iter().chain(manifest.arguments(brief)).collect();
        let environment = environment.into_iter().collect();
        let preopened = directories(manifest, files, folders)?;
        let identity = manifest.identity.files.then(|| own.files()).transpose()?;
        if let Some(identity) = &identity {
            place(&preopened, IDENTITY_FILES, |above, below| above.mount(below, identity.clone()))?;
        }
        Ok(Self {
            arguments,
            environment,
            streams: manifest.stdio(brief),
            preopened: Arc::new(preopened),
            network: Arc::new(network),
            limits: manifest.limits,
            own,
            identity,
        })
    }

    /// What one instance may take.
    fn budget(&self) -> Budget {
        Budget::new(self.limits, self.streams.stderr)
    }

    /// For a module, which begins with its connections.
    pub(crate) async fn p1(&self) -> std::result::Result<P1, Refusal> {
        let mut listeners = Vec::new();
        let mut connections = Vec::new();
        let mut names: Vec<_> = ["stdin", "stdout", "stderr"].map(str::to_owned).to_vec();
        names.extend(self.preopened.iter().map(|(path, _)| path.clone()));
        for service in self.network.services() {
            listeners.push((service.listen.name.to_string(), self.network.open(service)?));
            names.push(service.listen.name.to_string());
        }
        for target in self.network.targets() {
            connections.push(self.network.reach(target).await.map_err(|error| {
                let Connect { name, to, .. } = &target.connect;
                Refusal::new(
                    Step::Program,
                    "connect.failed",
                    format_args!("connection `{name}` to {to} cannot be made: {error}"),
                    "check that somebody answers there, and what `trust` says of him",
                )
            })?);
            names.push(target.connect.name.to_string());
        }
        let mut environment: Vec<_> = self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !(listeners.is_empty() && connections.is_empty()) {
            environment.push(format!("FD_COUNT={}", names.len()));
            environment.push(format!("FD_NAMES={}", names.join(":")));
            environment.push(format!("LISTEN_FDS={}", listeners.len()));
        }
        let doors = match &self.identity {
            Some(identity) => Some(Doors::new(identity, &self.network).map_err(|fault| {
                Refusal::new(Step::Program, "files.defect", fault, "this is a defect of the Keep: report it")
            })?),
            None => None,
        };
        Ok(P1::new(
            self.arguments.clone(),
            environment,
            self.streams,
            &self.preopened,
            (listeners, &connections),
            self.budget(),
            (Arc::clone(&self.own), doors),
        ))
    }

    /// For a component. `input` is false where many instances would share one.
    pub(crate) fn context(&self, input: bool) -> WasiCtx {
        let mut builder = WasiCtxBuilder::new();
        builder.args(&self.arguments).envs(&self.environment).wall_clock(Wall);
        let Streams { stdin, stdout, stderr } = self.streams;
        if input && stdin == Stdio::Host {
            builder.stdin(Stdin::new());
        }
        if stdout == Stdio::Host {
            builder.inherit_stdout();
        }
        if stderr == Stdio::Host {
            builder.inherit_stderr();
        }
        builder.build()
    }
}

/// The Keep's clock.
struct Wall;

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        clock::now()
    }
}

/// The root, if anything is in it, and every mount; a mount is also where it is in what is above it.
fn directories(
    manifest: &Manifest,
    files: Vec<(Place, Vec<u8>)>,
    mut folders: BTreeMap<Place, Node>,
) -> Result<Vec<(String, Node)>> {
    let mut mounts: Vec<&Mount> = manifest.mount.iter().collect();
    // What is above comes first.
    mounts.sort_by(|one, other| one.path.cmp(&other.path));
    let mut all: Vec<(String, Node)> = Vec::new();
    let root = "/".to_owned();
    let any = manifest.identity.files || !(files.is_empty() && mounts.is_empty());
    if any && mounts.first().is_none_or(|mount| mount.path.as_str() != root) {
        all.push((root.clone(), Tree::root(false, 0)));
    }
    for Mount { path, kind, size } in mounts {
        let node = match kind {
            MountKind::Memory => Tree::root(true, size.unwrap_or(MOUNT_SIZE).get()),
            MountKind::Host => folders.remove(path).ok_or(Fault::NoEntry)?,
        };
        if path.as_str() != root {
            place(&all, path.as_str(), |above, below| above.mount(below, node.clone()))?;
        }
        all.push((path.to_string(), node));
    }
    for (path, bytes) in files {
        place(&all, path.as_str(), |above, below| above.place(below, bytes.into()))?;
    }
    Ok(all)
}

/// Puts something at `path` into the innermost of `all` that it lies in.
fn place(all: &[(String, Node)], path: &str, put: impl FnOnce(&Node, &str) -> Result<()>) -> Result<()> {
    let within = all.iter().filter_map(|(above, node)| {
        let below = path.strip_prefix(above.trim_end_matches('/'))?.strip_prefix('/')?;
        Some((node, below))
    });
    let (node, below) = within.min_by_key(|(_, below)| below.len()).ok_or(Fault::NoEntry)?;
    put(node, below)
}

/// A component's files and its table.
pub(crate) struct Files<'a> {
    pub(crate) preopened: &'a Preopened,
    pub(crate) table: &'a mut ResourceTable,
}

impl HasData for Files<'static> {
    type Data<'a> = Files<'a>;
}

/// A component's connections and its table.
pub(crate) struct Sockets<'a> {
    pub(crate) network: &'a Shared,
    pub(crate) table: &'a mut ResourceTable,
}

/// How bindings name them.
pub(crate) struct Connections;

impl HasData for Connections {
    type Data<'a> = Sockets<'a>;
}

impl Files<'_> {
    /// The descriptor that the bindings, whatever they call it, have in this place of the table.
    fn get(&self, rep: u32) -> std::result::Result<&Open, ResourceTableError> {
        self.table.get(&Resource::new_borrow(rep))
    }

    fn push(&mut self, open: Open) -> std::result::Result<u32, ResourceTableError> {
        Ok(self.table.push(open)?.rep())
    }

    fn preopened(&mut self) -> std::result::Result<Vec<(u32, String)>, ResourceTableError> {
        let all = self.preopened.clone();
        let open = |node: &Node| Open { node: node.clone(), read: true, write: node.writable().is_ok() };
        all.iter().map(|(path, node)| Ok((self.push(open(node))?, path.clone()))).collect()
    }
}

/// What a component's descriptor stands for.
pub(crate) struct Open {
    pub(crate) node: Node,
    pub(crate) read: bool,
    /// Of a directory: what is in it may be changed.
    pub(crate) write: bool,
}

impl Open {
    /// A directory that paths begin at.
    fn directory(&self) -> Result<&Node> {
        if self.node.kind() == Kind::Directory { Ok(&self.node) } else { Err(Fault::NotDirectory) }
    }

    /// A file that bytes come out of.
    fn read(&self) -> Result<&Node> {
        match (self.node.kind(), self.read) {
            (Kind::Directory, _) => Err(Fault::IsDirectory),
            (Kind::File | Kind::Link, false) => Err(Fault::BadDescriptor),
            (Kind::File | Kind::Link, true) => Ok(&self.node),
        }
    }

    /// A file that bytes go into.
    fn written(&self) -> Result<&Node> {
        if self.node.kind() == Kind::Directory || !self.write {
            return Err(Fault::BadDescriptor);
        }
        self.node.writable()?;
        Ok(&self.node)
    }

    fn resize(&self, size: u64) -> Result<()> {
        match self.written() {
            // As of ftruncate(2).
            Err(Fault::BadDescriptor) => Err(Fault::Invalid),
            node => node?.resize(size),
        }
    }

    /// `flags`: create, directory, exclusive, truncate.
    pub(crate) const fn how(follow: bool, flags: [bool; 4], write: bool) -> How {
        let [create, directory, exclusive, truncate] = flags;
        How { follow, create, directory, exclusive, truncate, write }
    }

    /// `changes`: what is in it, if it is a directory.
    pub(crate) fn at(from: &Node, path: &str, how: How, read: bool, changes: bool) -> Result<Self> {
        let node = from.open(path, how)?;
        let directory = node.kind() == Kind::Directory;
        if directory && changes {
            node.writable()?;
        }
        // What is made is there to be filled; who asks for nothing reads.
        let write = if directory { changes } else { how.write || how.create && node.writable().is_ok() };
        Ok(Self { node, read: read || !how.write, write })
    }
}

impl Stat {
    /// Two nodes of a Keep have the same only if they are one, and did not change.
    pub(crate) fn hash(&self) -> [u64; 2] {
        [self.number, u64::try_from(self.times.changed.as_nanos()).unwrap_or(u64::MAX)]
    }
}
