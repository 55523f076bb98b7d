//! The folders of the host that a program reads: asked for when it starts, and file by file when it reads.
//!
//! Owns what is believed of the host: nothing but that it may put anything there. Refuses names that are none, or not in
//! order, and more than the mount may take.
//!
//! Invariant: what is there was there when the program started, and bytes that the program has seen stay what they were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gate::message::Entry;
use workload::manifest::{MOUNT_SIZE, Mount, MountKind, Place};

use crate::files::{Bring, Fault, Node, Tree};
use crate::platform::{Platform, broken};
use crate::refusal::{Refusal, Step};

/// As deep as a path can be.
const PATH: usize = 4096;

/// The folders for these mounts.
pub(crate) fn all(platform: &Platform, mounts: &[Mount]) -> Result<BTreeMap<Place, Node>, Refusal> {
    let asked = Arc::new(Mutex::new(platform.clone()));
    let mounts = mounts.iter().filter(|mount| mount.kind == MountKind::Host);
    mounts.map(|mount| Ok((mount.path.clone(), folder(&asked, mount)?))).collect()
}

/// One folder whole.
fn folder(platform: &Arc<Mutex<Platform>>, mount: &Mount) -> Result<Node, Refusal> {
    let of = mount.path.as_str();
    let root = Tree::root(false, mount.size.unwrap_or(MOUNT_SIZE).get());
    let mut rest = vec![(String::new(), root.clone())];
    while let Some((path, node)) = rest.pop() {
        let mut after = Some(String::new());
        while let Some(last) = after {
            let fed = locked(platform).folder(of, &path, &last, |entries, more| {
                let mut last = last.as_str();
                for Entry { name, size, modified } in entries {
                    let below = if path.is_empty() { (*name).to_owned() } else { format!("{path}/{name}") };
                    if !is_name(name) || *name <= last || below.len() > PATH {
                        return Err(broken(format_args!("{name:?} is no name that follows {last:?} in {path:?}")));
                    }
                    last = name;
                    let file = size.map(|size| (size, bring(platform, of, &below)));
                    let found = node.told(&below, Duration::from_nanos(*modified), file);
                    let found = found.map_err(|fault| over(mount, fault))?;
                    if size.is_none() {
                        rest.push((below, found));
                    }
                }
                if more && entries.is_empty() {
                    return Err(broken("more follows, but nothing comes"));
                }
                Ok(more.then(|| last.to_owned()))
            })?;
            after = match fed {
                Some(next) => next?,
                None if path.is_empty() => return Err(absent(mount)),
                // It is gone meanwhile.
                None => None,
            };
        }
    }
    Ok(root)
}

/// From the file at this path.
fn bring(platform: &Arc<Mutex<Platform>>, mount: &str, path: &str) -> Bring {
    let (platform, mount, path) = (Arc::clone(platform), mount.to_owned(), path.to_owned());
    Box::new(move |offset, into| {
        let brought = locked(&platform).read(&mount, &path, offset, |_, bytes| {
            // It may have grown, and is what it was.
            bytes.get(..into.len()).map(|bytes| into.copy_from_slice(bytes)).is_some()
        });
        matches!(brought, Ok(Some(true)))
    })
}

fn locked(platform: &Mutex<Platform>) -> MutexGuard<'_, Platform> {
    platform.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

fn absent(mount: &Mount) -> Refusal {
    Refusal::new(
        Step::Program,
        "mount.absent",
        format_args!("the host gives no folder for the mount {}", mount.path),
        format_args!("launch with --mount {}=FOLDER", mount.path),
    )
}

fn over(mount: &Mount, fault: Fault) -> Refusal {
    Refusal::new(
        Step::Program,
        "mount.size",
        format_args!("the folder that the host gives for the mount {} does not fit: {fault}", mount.path),
        "give a folder with fewer files, or the mount a larger `size` in the manifest",
    )
}

#[cfg(test)]
mod tests {
    use gate::message::{Outcome, Reply, Request};

    use super::*;
    use crate::platform::tests::with;

    const DATA: &str = "/data";

    fn mount(size: Option<u64>) -> Mount {
        let size = size.map(workload::manifest::Size::bytes);
        Mount { path: DATA.parse().unwrap(), kind: MountKind::Host, size }
    }

    const fn file(name: &str, size: u64) -> Entry<'_> {
        Entry { name, size: Some(size), modified: 7 }
    }

    const fn directory(name: &str) -> Entry<'_> {
        Entry { name, size: None, modified: 0 }
    }

    /// What comes of a folder that a host tells so.
    fn told(
        size: Option<u64>,
        mut list: impl FnMut(&str, &str) -> Option<(Vec<Entry<'static>>, bool)> + Send,
    ) -> Result<Node, String> {
        let host = move |request: &Request<'_>, out: &mut Vec<u8>| {
            let Request::Folder { mount: DATA, path, after } = *request else { panic!("{request:?}") };
            let reply = list(path, after).map_or(Reply::Absent, |(entries, more)| Reply::Folder { entries, more });
            reply.encode(out).unwrap();
        };
        let found = with(host, |platform| all(platform, &[mount(size)]));
        found.map(|mut all| all.pop_first().unwrap().1).map_err(|refusal| match refusal.outcome() {
            Outcome::Refused { code, .. } => code.to_owned(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_folder_is_what_the_host_says_piece_by_piece() {
        let root = told(None, |path, after| {
            Some(match (path, after) {
                ("", "") => (vec![file("a", 1), directory("b")], true),
                ("", "b") => (vec![file("c", 1 << 40)], false),
                ("b", "") => (vec![directory("c")], false),
                ("b/c", "") => (vec![], false),
                _ => panic!("{path} {after}"),
            })
        });
        let root = root.unwrap();
        let names = |path: &str| -> Vec<String> {
            root.find(path, true).unwrap().list().unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(
            (names("."), names("b"), names("b/c")),
            (vec!["a".into(), "b".into(), "c".into()], vec!["c".into()], vec![])
        );
        let stat = root.find("c", true).unwrap().stat();
        assert_eq!((stat.size, stat.times.modified), (1 << 40, Duration::from_nanos(7)));
        assert_eq!(root.make_directory("new"), Err(Fault::ReadOnly));
        assert_eq!(root.unlink("a"), Err(Fault::ReadOnly));
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let once = |entries: Vec<Entry<'static>>, more| {
            told(None, |_, after| Some((if after.is_empty() { entries.clone() } else { vec![] }, more)))
        };
        assert!(once(vec![file("a", 1)], false).is_ok(), "control");
        const LONG: &str = match std::str::from_utf8(&[b'x'; 256]) {
            Ok(long) => long,
            Err(_) => "",
        };
        for name in ["", ".", "..", "/", "a/b", "\0", LONG] {
            assert_eq!(once(vec![file(name, 1)], false).unwrap_err(), "gate.broken", "{name:?}");
        }
        for twice in [vec![file("a", 1), file("a", 1)], vec![file("b", 1), file("a", 1)]] {
            assert_eq!(once(twice, false).unwrap_err(), "gate.broken");
        }
        assert_eq!(once(vec![file("a", 1)], true).unwrap_err(), "gate.broken", "it never ends");
        assert_eq!(told(None, |_, _| None).unwrap_err(), "mount.absent");
        // A folder in a folder, for ever, is more than a path can be, or than the mount may take.
        assert_eq!(
            told(None, |_, after| Some((if after.is_empty() { vec![directory("d")] } else { vec![] }, false)))
                .unwrap_err(),
            "gate.broken"
        );
        let deep =
            told(Some(4096), |_, after| Some((if after.is_empty() { vec![directory("d")] } else { vec![] }, false)));
        assert_eq!(deep.unwrap_err(), "mount.size");
    }

    /// What a program reads of a file of this size, with a host that gives these bytes: twice, and in what the mount may take.
    fn read(size: u64, room: u64, mut given: impl FnMut(u64) -> Option<Vec<u8>> + Send) -> [Result<Vec<u8>, Fault>; 2] {
        let host = move |request: &Request<'_>, out: &mut Vec<u8>| {
            match *request {
                Request::Folder { .. } => Reply::Folder { entries: vec![file("a", size)], more: false }.encode(out),
                Request::Read { mount: DATA, path: "a", offset } => match given(offset) {
                    Some(bytes) => Reply::Blob { total: 99, bytes: &bytes }.encode(out),
                    None => Reply::Absent.encode(out),
                },
                _ => panic!("{request:?}"),
            }
            .unwrap();
        };
        with(host, |platform| {
            let (_, root) = all(platform, &[mount(Some(room))]).unwrap().pop_first().unwrap();
            let node = root.find("a", true).unwrap();
            [(), ()].map(|()| {
                let mut bytes = vec![0; usize::try_from(size).unwrap() + 9];
                let count = node.read(0, &mut bytes)?;
                bytes.truncate(count);
                Ok(bytes)
            })
        })
    }

    #[test]
    fn what_was_read_stays() {
        let mut next = 0;
        let changing = read(3, 1 << 20, |_| {
            next += 1;
            Some(vec![next; 3])
        });
        assert_eq!(changing, [Ok(vec![1; 3]), Ok(vec![1; 3])]);
        let grown = read(3, 1 << 20, |_| Some(b"abcdef".to_vec()));
        assert_eq!(grown[0], Ok(b"abc".to_vec()), "it is as long as it was");
        let mut asked = Vec::new();
        let size = gate::message::CHUNK as u64 + 5;
        let large = read(size, 1 << 20, |offset| {
            asked.push(offset);
            Some(vec![7; gate::message::CHUNK])
        });
        assert_eq!((large[0].as_ref().unwrap().len() as u64, asked), (size, vec![0, gate::message::CHUNK as u64]));
    }

    #[test]
    fn what_does_not_come_is_an_error_of_the_read() {
        assert_eq!(read(3, 1 << 20, |_| None), [Err(Fault::Io), Err(Fault::Io)]);
        assert_eq!(read(3, 1 << 20, |_| Some(vec![1; 2]))[0], Err(Fault::Io), "shorter than it was");
        assert_eq!(read(3000, 2000, |_| Some(vec![1; 3000]))[0], Err(Fault::NoSpace));
    }
}
