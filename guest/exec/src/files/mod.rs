//! The files a program sees: trees in the Keep's own memory. Of its host's files a Keep has what [`folder`](crate::folder)
//! asks for.
//!
//! ```text
//!   Tree   one mount: whether it is written to, and how much it may hold
//!   Node   a directory, file or link in it          data   what a file holds
//!   path   from a path to a place, never out of the directory it began at
//! ```
//!
//! Owns what POSIX says of them, as far as WASI has it. Refuses what leaves the directory a path begins at, what a tree may
//! not hold any more, and changes of a tree that is only read.
//!
//! Invariant: what a tree holds is counted before it is taken, and given back when the last descriptor of it goes.

mod data;
mod path;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::clock;
use crate::machine::MACHINE;
pub(crate) use data::Bring;
use data::Data;
use path::Place;

/// Why something cannot be done, as every version of WASI says it in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{self:?}")]
pub(crate) enum Fault {
    /// Opened for something else.
    BadDescriptor,
    /// A mount.
    Busy,
    Exist,
    Invalid,
    /// The host does not give what it said it has.
    Io,
    IsDirectory,
    Loop,
    NameTooLong,
    NoEntry,
    NoSpace,
    NotDirectory,
    NotEmpty,
    NotPermitted,
    OtherTree,
    ReadOnly,
    TooLarge,
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// One mount.
#[derive(Debug)]
pub(crate) struct Tree {
    writable: bool,
    /// Bytes that it may still take.
    room: AtomicU64,
    /// The next node's number.
    next: AtomicU64,
}

/// What a name costs, beside its bytes: nobody fills memory with empty files.
const NODE: u64 = 256;

impl Tree {
    /// An empty tree that may hold `room` bytes; its root.
    pub(crate) fn root(writable: bool, room: u64) -> Node {
        let tree = Arc::new(Self { writable, room: AtomicU64::new(room), next: AtomicU64::new(1) });
        Node::new(&tree, Content::Directory(BTreeMap::new()), 0)
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let less = |room: u64| room.checked_sub(bytes);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_err(|_| Fault::NoSpace)?;
        if !MACHINE.take(bytes) {
            self.room.fetch_add(bytes, Ordering::Relaxed);
            return Err(Fault::NoSpace);
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.room.fetch_add(bytes, Ordering::Relaxed);
        MACHINE.give(bytes);
    }
}

/// A directory, a file or a link. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tree: Arc<Tree>,
    number: u64,
    /// What its name took of the tree's room.
    cost: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    content: Content,
    links: u64,
    times: Times,
}

#[derive(Debug)]
enum Content {
    Directory(BTreeMap<String, Node>),
    File(Data),
    Link(String),
}

/// Since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) accessed: Duration,
    pub(crate) modified: Duration,
    pub(crate) changed: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Of all nodes of its tree only this one has it.
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) times: Times,
}

/// How something is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    pub(crate) follow: bool,
    pub(crate) create: bool,
    pub(crate) directory: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    /// To be written to, or changed in any other way.
    pub(crate) write: bool,
}

/// Where bytes are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    Offset(u64),
    End,
}

impl Drop for Inner {
    /// What is in a directory goes with it; not by recursion, because nobody bounds how deep directories are.
    fn drop(&mut self) {
        let mut nodes = self.leave();
        while let Some(Node(node)) = nodes.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                nodes.append(&mut node.leave());
            }
        }
        self.tree.give(self.cost);
    }
}

impl Inner {
    /// What was in it.
    fn leave(&mut self) -> Vec<Node> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match &mut state.content {
            Content::Directory(nodes) => std::mem::take(nodes).into_values().collect(),
            Content::File(data) => {
                self.tree.give(data.clear());
                Vec::new()
            }
            Content::Link(_) => Vec::new(),
        }
    }
}

impl Node {
    /// `cost` was taken of the tree's room.
    fn new(tree: &Arc<Tree>, content: Content, cost: u64) -> Self {
        let number = tree.next.fetch_add(1, Ordering::Relaxed);
        let now = clock::now();
        let times = Times { accessed: now, modified: now, changed: now };
        let state = Mutex::new(State { content, links: 1, times });
        Self(Arc::new(Inner { tree: Arc::clone(tree), number, cost, state }))
    }

    /// A node for a name that is not there yet.
    fn made(&self, name: &str, content: Content) -> Result<Self> {
        self.writable()?;
        let target = if let Content::Link(target) = &content { target.len() } else { 0 };
        let cost = cost(name.len().saturating_add(target));
        self.0.tree.take(cost)?;
        Ok(Self::new(&self.0.tree, content, cost))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writable(&self) -> Result<()> {
        if self.0.tree.writable { Ok(()) } else { Err(Fault::ReadOnly) }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn stat(&self) -> Stat {
        let state = self.state();
        let (kind, size) = match &state.content {
            Content::Directory(nodes) => (Kind::Directory, u64::try_from(nodes.len()).unwrap_or(u64::MAX)),
            Content::File(data) => (Kind::File, data.size()),
            Content::Link(target) => (Kind::Link, u64::try_from(target.len()).unwrap_or(u64::MAX)),
        };
        Stat { number: self.0.number, kind, links: state.links, size, times: state.times }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.state().content {
            Content::Directory(_) => Kind::Directory,
            Content::File(_) => Kind::File,
            Content::Link(_) => Kind::Link,
        }
    }

    /// Sets what is given.
    pub(crate) fn touch(&self, accessed: Option<Duration>, modified: Option<Duration>) -> Result<()> {
        self.writable()?;
        let times = &mut self.state().times;
        times.accessed = accessed.unwrap_or(times.accessed);
        times.modified = modified.unwrap_or(times.modified);
        times.changed = clock::now();
        Ok(())
    }

    // Files

    /// Reads as much as is there, and fits.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        if i64::try_from(offset).is_err() {
            return Err(Fault::Invalid);
        }
        match &mut self.state().content {
            Content::File(data) => data.read(offset, into, |bytes| self.0.tree.take(bytes)),
            Content::Directory(_) => Err(Fault::IsDirectory),
            Content::Link(_) => Err(Fault::Invalid),
        }
    }

    /// Writes all of it, or nothing; where the next bytes would go.
    pub(crate) fn write(&self, at: At, bytes: &[u8]) -> Result<u64> {
        self.writable()?;
        let mut state = self.state();
        let Content::File(data) = &mut state.content else { return Err(Fault::Invalid) };
        let offset = match at {
            At::Offset(offset) => offset,
            At::End => data.size(),
        };
        let end = data.write(offset, bytes, |bytes| self.0.tree.take(bytes))?;
        state.changed();
        Ok(end)
    }

    pub(crate) fn resize(&self, size: u64) -> Result<()> {
        self.writable()?;
        let mut state = self.state();
        let Content::File(data) = &mut state.content else { return Err(Fault::Invalid) };
        self.0.tree.give(data.resize(size, |bytes| self.0.tree.take(bytes))?);
        state.changed();
        Ok(())
    }

    // Directories

    /// What is in it, by name.
    pub(crate) fn list(&self) -> Result<Vec<(String, Self)>> {
        match &self.state().content {
            Content::Directory(nodes) => Ok(nodes.iter().map(|(name, node)| (name.clone(), node.clone())).collect()),
            Content::File(_) | Content::Link(_) => Err(Fault::NotDirectory),
        }
    }

    fn child(&self, name: &str) -> Result<Option<Self>> {
        match &self.state().content {
            Content::Directory(nodes) => Ok(nodes.get(name).cloned()),
            Content::File(_) | Content::Link(_) => Err(Fault::NotDirectory),
        }
    }

    /// Puts `node` at `name`, in place of what was there.
    fn insert(&self, name: String, node: Self) -> Result<()> {
        let mut state = self.state();
        let Content::Directory(nodes) = &mut state.content else { return Err(Fault::NotDirectory) };
        let before = nodes.insert(name, node);
        state.changed();
        drop(state);
        if let Some(before) = before {
            before.unlinked();
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Option<Self> {
        let mut state = self.state();
        let Content::Directory(nodes) = &mut state.content else { return None };
        let node = nodes.remove(name)?;
        state.changed();
        Some(node)
    }

    fn unlinked(&self) {
        let mut state = self.state();
        state.links = state.links.saturating_sub(1);
        state.times.changed = clock::now();
    }

    fn is_empty(&self) -> bool {
        matches!(&self.state().content, Content::Directory(nodes) if nodes.is_empty())
    }

    fn target(&self) -> Option<String> {
        if let Content::Link(target) = &self.state().content { Some(target.clone()) } else { None }
    }

    /// Puts a file here that came with the package, with all directories on the way to it.
    pub(crate) fn place(&self, path: &str, content: Bytes) -> Result<()> {
        self.mount(path, Self::new(&self.0.tree, Content::File(Data::fixed(content)), 0))
    }

    /// Puts here what the host says that it has, by the last name of this path: a file of this size, or a directory.
    pub(crate) fn told(&self, path: &str, modified: Duration, file: Option<(u64, Bring)>) -> Result<Self> {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        // The path is kept too: a host must not make it free to be deep.
        let cost = cost(name.len().saturating_add(path.len()));
        self.0.tree.take(cost)?;
        let content = match file {
            Some((size, bring)) => Content::File(Data::far(size, bring)),
            None => Content::Directory(BTreeMap::new()),
        };
        let node = Self::new(&self.0.tree, content, cost);
        node.state().times = Times { accessed: modified, modified, changed: modified };
        self.insert(name.to_owned(), node.clone())?;
        Ok(node)
    }

    /// Puts something here that is of no program's making, with all directories on the way to it.
    pub(crate) fn mount(&self, path: &str, node: Self) -> Result<()> {
        let mut directory = self.clone();
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            directory = match directory.child(parent)? {
                Some(there) => there,
                None => {
                    let made = Self::new(&directory.0.tree, Content::Directory(BTreeMap::new()), 0);
                    directory.insert(parent.to_owned(), made.clone())?;
                    made
                }
            };
        }
        directory.insert(name.to_owned(), node)
    }

    // Paths, from this directory

    pub(crate) fn find(&self, path: &str, follow: bool) -> Result<Self> {
        match path::walk(self, path, follow)? {
            Place::Directory(node) => Ok(node),
            Place::Entry { node, slash, .. } => {
                let node = node.ok_or(Fault::NoEntry)?;
                if slash && node.kind() != Kind::Directory { Err(Fault::NotDirectory) } else { Ok(node) }
            }
        }
    }

    pub(crate) fn open(&self, path: &str, how: How) -> Result<Self> {
        let How { follow, create, directory, exclusive, truncate, write } = how;
        // What is made exclusively is not looked for behind links.
        let place = path::walk(self, path, follow && !(create && exclusive))?;
        let (parent, name, node, slash) = match place {
            Place::Directory(node) if create && exclusive => return Err(exists(&node)),
            Place::Directory(node) => return opened(node, directory, truncate, write),
            Place::Entry { parent, name, node, slash } => (parent, name, node, slash),
        };
        let Some(node) = node else {
            return match (create, slash || directory) {
                (false, _) => Err(Fault::NoEntry),
                (true, true) => Err(if slash { Fault::IsDirectory } else { Fault::Invalid }),
                (true, false) => {
                    let made = parent.made(&name, Content::File(Data::default()))?;
                    parent.insert(name, made.clone())?;
                    Ok(made)
                }
            };
        };
        if create && exclusive {
            return Err(exists(&node));
        }
        if node.kind() == Kind::Link {
            return Err(Fault::Loop);
        }
        opened(node, directory || slash, truncate, write)
    }

    pub(crate) fn make_directory(&self, path: &str) -> Result<()> {
        let (parent, name, _) = self.free(path)?;
        let made = parent.made(&name, Content::Directory(BTreeMap::new()))?;
        parent.insert(name, made)
    }

    pub(crate) fn remove_directory(&self, path: &str) -> Result<()> {
        match path::walk(self, path, false)? {
            Place::Directory(_) => Err(Fault::Invalid),
            Place::Entry { parent, name, node, .. } => {
                let node = node.ok_or(Fault::NoEntry)?;
                parent.writable()?;
                match node.kind() {
                    Kind::Directory if !Arc::ptr_eq(&node.0.tree, &parent.0.tree) => return Err(Fault::Busy),
                    Kind::Directory if node.is_empty() => {}
                    Kind::Directory => return Err(Fault::NotEmpty),
                    Kind::File | Kind::Link => return Err(Fault::NotDirectory),
                }
                parent.remove(&name).inspect(Self::unlinked).map(|_| ()).ok_or(Fault::NoEntry)
            }
        }
    }

    pub(crate) fn unlink(&self, path: &str) -> Result<()> {
        match path::walk(self, path, false)? {
            Place::Directory(_) => Err(Fault::IsDirectory),
            Place::Entry { parent, name, node, slash } => {
                let node = node.ok_or(Fault::NoEntry)?;
                parent.writable()?;
                match node.kind() {
                    Kind::Directory => return Err(Fault::IsDirectory),
                    Kind::File | Kind::Link if slash => return Err(Fault::NotDirectory),
                    Kind::File | Kind::Link => {}
                }
                parent.remove(&name).inspect(Self::unlinked).map(|_| ()).ok_or(Fault::NoEntry)
            }
        }
    }

    pub(crate) fn rename(&self, old: &str, to: &Self, new: &str) -> Result<()> {
        let Place::Entry { parent: from, name: old, node, slash: old_slash } = path::walk(self, old, false)? else {
            return Err(Fault::Invalid);
        };
        let node = node.ok_or(Fault::NoEntry)?;
        let Place::Entry { parent: into, name: new, node: there, slash } = path::walk(to, new, false)? else {
            return Err(Fault::Invalid);
        };
        from.writable()?;
        into.writable()?;
        let directory = node.kind() == Kind::Directory;
        if (slash || old_slash) && !directory {
            return Err(Fault::NotDirectory);
        }
        if !Arc::ptr_eq(&node.0.tree, &into.0.tree) || !Arc::ptr_eq(&node.0.tree, &from.0.tree) {
            return Err(Fault::OtherTree);
        }
        match &there {
            Some(there) if there.is(&node) => return Ok(()),
            Some(there) => match (directory, there.kind() == Kind::Directory) {
                (true, false) => return Err(Fault::NotDirectory),
                (false, true) => return Err(Fault::IsDirectory),
                (true, true) if !there.is_empty() => return Err(Fault::NotEmpty),
                _ => {}
            },
            None => {}
        }
        if directory && node.holds(&into) {
            return Err(Fault::Invalid);
        }
        from.remove(&old);
        into.insert(new, node)
    }

    /// Whether `other` is it or somewhere below it.
    fn holds(&self, other: &Self) -> bool {
        let mut nodes = vec![self.clone()];
        while let Some(node) = nodes.pop() {
            if node.is(other) {
                return true;
            }
            if let Content::Directory(children) = &node.state().content {
                nodes.extend(children.values().cloned());
            }
        }
        false
    }

    pub(crate) fn link(&self, old: &str, to: &Self, new: &str) -> Result<()> {
        let node = self.find(old, false)?;
        let (parent, name, slash) = to.free(new)?;
        if node.kind() == Kind::Directory {
            return Err(Fault::NotPermitted);
        }
        if !Arc::ptr_eq(&node.0.tree, &parent.0.tree) {
            return Err(Fault::OtherTree);
        }
        if slash {
            return Err(Fault::NoEntry);
        }
        parent.writable()?;
        {
            let mut state = node.state();
            state.links = state.links.saturating_add(1);
            state.times.changed = clock::now();
        }
        parent.insert(name, node)
    }

    pub(crate) fn symlink(&self, target: &str, path: &str) -> Result<()> {
        let target = path::checked(target)?;
        if target.starts_with('/') {
            return Err(Fault::NotPermitted);
        }
        let (parent, name, slash) = self.free(path)?;
        if slash {
            return Err(Fault::NoEntry);
        }
        let made = parent.made(&name, Content::Link(target.to_owned()))?;
        parent.insert(name, made)
    }

    pub(crate) fn readlink(&self, path: &str) -> Result<String> {
        self.find(path, false)?.target().ok_or(Fault::Invalid)
    }

    /// A place where nothing is yet, and whether its path ends with a slash.
    fn free(&self, path: &str) -> Result<(Self, String, bool)> {
        match path::walk(self, path, false)? {
            Place::Directory(_) | Place::Entry { node: Some(_), .. } => Err(Fault::Exist),
            Place::Entry { parent, name, node: None, slash } => Ok((parent, name, slash)),
        }
    }
}

/// What a node takes whose name, and target, have so many bytes.
fn cost(bytes: usize) -> u64 {
    NODE.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
}

impl State {
    fn changed(&mut self) {
        let now = clock::now();
        self.times.modified = now;
        self.times.changed = now;
    }
}

fn exists(_: &Node) -> Fault {
    Fault::Exist
}

/// What is asked of something that is there.
fn opened(node: Node, directory: bool, truncate: bool, write: bool) -> Result<Node> {
    match node.kind() {
        Kind::Directory if write || truncate => return Err(Fault::IsDirectory),
        Kind::File if directory => return Err(Fault::NotDirectory),
        _ => {}
    }
    if write || truncate {
        node.writable()?;
    }
    if truncate {
        node.resize(0)?;
    }
    Ok(node)
}
