//! The folders of this host that a Keep may read: one for each mount of kind `host`.
//!
//! Owns the way from a Keep's path to a file below the folder. Refuses links: nothing that lies outside of a folder is reached
//! through it, whoever changes it meanwhile. What is neither file nor folder is not there, and neither is what has a name that
//! is no UTF-8.
//!
//! Invariant: a path of a Keep's is names; each is opened in the folder before it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use gate::message::{ENTRIES, Entry};
use rustix::fs::{Dir, Mode, OFlags, openat};

use crate::cache::piece;

/// Folders by the mounts they are for.
#[derive(Debug, Default)]
pub struct Folders {
    by_mount: BTreeMap<String, OwnedFd>,
    /// The file that was read last, by mount and path, and what was read of it.
    reading: Option<(String, String, File)>,
    room: Vec<u8>,
}

/// What is in a folder, in the order of the bytes of its names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    found: Vec<(String, Option<u64>, u64)>,
    pub(crate) more: bool,
}

impl Listing {
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        self.found.iter().map(|(name, size, modified)| Entry { name, size: *size, modified: *modified }).collect()
    }
}

impl Folders {
    /// Gives a folder for the mount at this path of the manifest.
    ///
    /// # Errors
    /// It is not there, no folder, or not to be read.
    pub fn give(&mut self, mount: &str, folder: &Path) -> io::Result<()> {
        let file = File::open(folder)?;
        if !file.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.by_mount.insert(mount.to_owned(), file.into());
        Ok(())
    }

    /// What is in a folder of a mount, after a name.
    pub(crate) fn list(&self, mount: &str, path: &str, after: &str) -> Option<Listing> {
        let folder = self.open(mount, path)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).ok()? {
            let entry = entry.ok()?;
            match entry.file_name().to_str() {
                Ok(name) if !matches!(name, "." | "..") && name > after => names.push(name.to_owned()),
                _ => {}
            }
        }
        names.sort_unstable();
        let mut listing = Listing::default();
        for name in names {
            // It may be gone meanwhile.
            let Some(known) = open(&folder, &name).and_then(|file| File::from(file).metadata().ok()) else { continue };
            if !known.is_dir() && !known.is_file() {
                continue;
            }
            if listing.found.len() == ENTRIES {
                listing.more = true;
                break;
            }
            listing.found.push((name, known.is_file().then_some(known.len()), modified(&known)));
        }
        Some(listing)
    }

    /// Bytes of a file of a mount from `offset`, at most `most`, and how many it has now.
    pub(crate) fn read(&mut self, mount: &str, path: &str, offset: u64, most: usize) -> Option<(u64, &[u8])> {
        let before = self.reading.take().filter(|(of, at, _)| offset > 0 && of == mount && at == path);
        let file = match before {
            Some((_, _, file)) => file,
            None => File::from(self.open(mount, path)?),
        };
        let total = piece(&file, offset, most, &mut self.room)?;
        self.reading = Some((mount.to_owned(), path.to_owned(), file));
        Some((total, &self.room))
    }

    fn open(&self, mount: &str, path: &str) -> Option<OwnedFd> {
        let names = path.split('/').filter(|_| !path.is_empty());
        let start = self.by_mount.get(mount)?.try_clone().ok()?;
        names.into_iter().try_fold(start, |folder, name| open(&folder, name))
    }
}

/// What has this name in a folder, if it is no link.
fn open(folder: impl AsFd, name: &str) -> Option<OwnedFd> {
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return None;
    }
    // Nobody waits here for who writes to a pipe.
    let how = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(folder, OsStr::from_bytes(name.as_bytes()), how, Mode::empty()).ok()
}

fn modified(known: &Metadata) -> u64 {
    let since = known.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(listing: &Listing) -> Vec<&str> {
        listing.entries().iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn nothing_outside_of_the_folder_is_reached() {
        let all = tempfile::tempdir().unwrap();
        let given = all.path().join("given");
        fs::create_dir_all(given.join("sub")).unwrap();
        fs::write(all.path().join("secret"), "secret").unwrap();
        fs::write(given.join("sub/file"), "inside").unwrap();
        symlink("../secret", given.join("link")).unwrap();
        symlink("..", given.join("up")).unwrap();
        symlink("sub", given.join("along")).unwrap();
        let mut folders = Folders::default();
        folders.give("/data", &given).unwrap();
        assert_eq!(folders.read("/data", "sub/file", 0, 99), Some((6, b"inside".as_slice())), "control");
        assert_eq!(folders.read("/data", "sub/file", 2, 3), Some((6, b"sid".as_slice())), "control");
        for path in
            ["../secret", "/secret", "sub/../../secret", "link", "up/secret", "along/file", "sub//file", "./sub/file"]
        {
            assert_eq!(folders.read("/data", path, 0, 99), None, "{path}");
        }
        assert_eq!(folders.read("/data", "sub", 0, 99), None, "a folder");
        assert_eq!(folders.read("/other", "sub/file", 0, 99), None, "another mount");
        assert_eq!(names(&folders.list("/data", "", "").unwrap()), ["sub"]);
        for path in ["..", "up", "/", "sub/file", "sub/", "absent"] {
            assert_eq!(folders.list("/data", path, ""), None, "{path}");
        }
        assert_eq!(folders.list("/other", "", ""), None);
    }

    #[test]
    fn a_large_folder_comes_in_pieces() {
        let given = tempfile::tempdir().unwrap();
        for number in 0..ENTRIES + 2 {
            fs::write(given.path().join(format!("{number:05}")), "x").unwrap();
        }
        fs::write(given.path().join(OsStr::from_bytes(b"\xff")), "no text").unwrap();
        let mut folders = Folders::default();
        folders.give("/", given.path()).unwrap();
        let first = folders.list("/", "", "").unwrap();
        assert_eq!((first.entries().len(), first.more), (ENTRIES, true));
        let last = first.entries().last().unwrap().name;
        let rest = folders.list("/", "", last).unwrap();
        assert_eq!((names(&rest), rest.more), (vec!["01024", "01025"], false));
        let entry = rest.entries()[0];
        assert!(entry.size == Some(1) && entry.modified > 1 << 60, "{entry:?}");
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut folders = Folders::default();
        assert_eq!(folders.give("/", file.path()).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(folders.give("/", &file.path().join("x")).is_err());
    }
}
