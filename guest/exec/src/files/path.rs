//! From a path to a place.
//!
//! Owns links on the way, `.` and `..`. Refuses absolute paths, links to such, and every way out of the directory it begins
//! at (WASI, "Filesystem", path resolution).

use super::{Fault, Kind, Node, Result};

/// As Linux has them, in bytes.
const NAME: usize = 255;
const PATH: usize = 4096;
/// How many links are followed.
const LINKS: usize = 40;

/// Where a path leads.
pub(super) enum Place {
    /// To a name in a directory. `slash`: it must be a directory's.
    Entry { parent: Node, name: String, node: Option<Node>, slash: bool },
    /// To a directory, by `.` or `..`.
    Directory(Node),
}

/// A path that can be one.
pub(super) fn checked(path: &str) -> Result<&str> {
    if path.is_empty() {
        Err(Fault::NoEntry)
    } else if path.contains('\0') {
        Err(Fault::Invalid)
    } else if path.len() > PATH {
        Err(Fault::NameTooLong)
    } else {
        Ok(path)
    }
}

/// `follow`: also a link that the path ends with.
pub(super) fn walk(base: &Node, path: &str, follow: bool) -> Result<Place> {
    // What is still to go, the next last.
    let mut rest = steps(path)?;
    let mut on = vec![base.clone()];
    let mut links = 0;
    let top = |on: &[Node]| on.last().cloned().ok_or(Fault::NotPermitted);
    while let Some(Step { name, slash }) = rest.pop() {
        let parent = top(&on)?;
        if parent.kind() != Kind::Directory {
            return Err(Fault::NotDirectory);
        }
        match name.as_str() {
            "." => continue,
            ".." => {
                on.pop();
                top(&on)?;
                continue;
            }
            _ if name.len() > NAME => return Err(Fault::NameTooLong),
            _ => {}
        }
        let node = parent.child(&name)?;
        let last = rest.is_empty();
        if let Some(target) = node.as_ref().and_then(Node::target)
            && (!last || follow || slash)
        {
            links += 1;
            if links > LINKS {
                return Err(Fault::Loop);
            }
            let mut target = steps(&target)?;
            if let Some(end) = target.first_mut() {
                end.slash |= slash;
            }
            rest.append(&mut target);
            continue;
        }
        match node {
            _ if last => return Ok(Place::Entry { parent, name, node, slash }),
            Some(node) => on.push(node),
            None => return Err(Fault::NoEntry),
        }
    }
    let end = top(&on)?;
    if end.kind() == Kind::Directory { Ok(Place::Directory(end)) } else { Err(Fault::NotDirectory) }
}

struct Step {
    name: String,
    /// The path ends behind it with a slash.
    slash: bool,
}

/// Last first.
fn steps(path: &str) -> Result<Vec<Step>> {
    if checked(path)?.starts_with('/') {
        return Err(Fault::NotPermitted);
    }
    let mut slash = path.ends_with('/');
    let names = path.split('/').rev().filter(|name| !name.is_empty());
    Ok(names.map(|name| Step { name: name.to_owned(), slash: std::mem::take(&mut slash) }).collect())
}
