//! What is kept on this host for the next start: of Keeps, native code, which only they can open; and exec itself, for
//! where it is a process.
//!
//! Owns a folder, `code`, of files under the names that Keeps choose, and beside it the key that stands in for a sealing key
//! where this process is the platform. That key is the host's, and protects nothing: its file says so. And a folder, `exec`,
//! of programs, because to run a file is quicker than to copy tens of megabytes into memory first.
//!
//! Refuses more than [`STORED`] bytes under one name, and keeps no more than two gibibytes in all: what was not used for the
//! longest time goes first. Refuses to run a file that others than its user can change. Whatever fails here is as if
//! nothing were stored: no Keep depends on it.
//!
//! Invariant: what is found under a name was stored whole. Whether it is right, the Keep can tell; exec is the user's as
//! this program is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gate::message::STORED;
use rustix::fs::{Access, OFlags, access};
use rustix::process::geteuid;
use tempfile::NamedTempFile;
use workload::digest::Digest;

/// The most bytes of all files.
const MOST: u64 = 2 << 30;
/// Of all of exec: of this version, and of those before.
const PROGRAMS: u64 = 128 << 20;

/// The file of the key.
const KEY: &str = "unprotected.key";

type Name = [u8; 32];

/// The files that Keeps have stored, for who can open them by name.
#[derive(Debug)]
#[cfg_attr(not(guest), allow(dead_code, reason = "no Keep opens any here"))]
pub(crate) struct Stored(PathBuf);

#[cfg_attr(not(guest), allow(dead_code, reason = "as above"))]
impl Stored {
    /// What has this path in a Keep.
    pub(crate) fn open(&self, path: &[u8]) -> Option<File> {
        let name = str::from_utf8(path.strip_prefix(gate::calls::STORED.as_bytes())?).ok()?;
        // A name is a digest, of which there is one spelling.
        let name: Digest = format!("sha256:{name}").parse().ok()?;
        used(&self.0.join(name.to_hex()))
    }
}

/// A file that is read now: others go before it. Where that cannot be noted it goes as if it were not.
fn used(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    _ = file.set_modified(SystemTime::now());
    Some(file)
}

/// A folder for what Keeps store.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    most: u64,
    /// What was asked for last.
    reading: Option<(Name, File)>,
    /// What was read last.
    room: Vec<u8>,
    /// What is not whole yet, and how many bytes it lacks.
    writing: Option<(Name, NamedTempFile, u64)>,
}

impl Cache {
    /// The folder is made when something is stored there.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, most: MOST, reading: None, room: Vec::new(), writing: None }
    }

    /// Bytes under this name from `offset`, at most `most`, and the length of all; `None` if there is nothing.
    pub(crate) fn read(&mut self, name: Name, offset: u64, most: usize) -> Option<(u64, &[u8])> {
        // Once a file is being read it may be replaced or removed: the open one stays as it is.
        let file = match self.reading.take().filter(|(open, _)| *open == name && offset > 0) {
            Some((_, file)) => file,
            None => used(&self.path(name))?,
        };
        let total = piece(&file, offset, most, &mut self.room)?;
        self.reading = Some((name, file));
        Some((total, &self.room))
    }

    /// The next bytes for this name, before `rest` more; whether it goes on.
    pub(crate) fn write(&mut self, name: Name, rest: u64, bytes: &[u8]) -> bool {
        self.add(name, rest, bytes).is_ok()
    }

    fn add(&mut self, name: Name, rest: u64, bytes: &[u8]) -> io::Result<()> {
        let total = rest.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        // What does not follow the bytes before is the beginning of something else.
        let mut file = match self.writing.take().filter(|(open, _, lacks)| (*open, *lacks) == (name, total)) {
            Some((_, file, _)) => file,
            None if total > STORED => return Err(io::ErrorKind::FileTooLarge.into()),
            None => {
                DirBuilder::new().recursive(true).mode(0o700).create(self.code())?;
                NamedTempFile::new_in(self.code())?
            }
        };
        file.write_all(bytes)?;
        if rest > 0 {
            self.writing = Some((name, file, rest));
            return Ok(());
        }
        file.persist(self.path(name))?;
        shrink(&self.code(), self.most)
    }

    /// The program of this name, to be run; the first time `None`, and it is put there for the next.
    pub(crate) fn program(&self, name: &str, bytes: &[u8]) -> Option<OwnedFd> {
        let folder = self.dir.join("exec");
        let path = folder.join(name);
        match own_program(&path, bytes.len()) {
            Some(file) => Some(file.into()),
            None => {
                // Not run now: while another thread starts a process, that has it open for writing.
                _ = put_program(&folder, &path, bytes);
                None
            }
        }
    }

    pub(crate) fn stored(&self) -> Stored {
        Stored(self.code())
    }

    fn code(&self) -> PathBuf {
        self.dir.join("code")
    }

    fn path(&self, name: Name) -> PathBuf {
        self.code().join(Digest::from(name).to_hex())
    }

    /// The key of this folder, made when it is first asked for.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        let path = self.dir.join(KEY);
        if let Some(key) = key(&path) {
            return Some(key);
        }
        let mut random = [0; 32];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).ok()?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).ok()?;
        // Only its owner can read such a file.
        let mut file = NamedTempFile::new_in(&self.dir).ok()?;
        file.write_all(&random).ok()?;
        // Whoever is first makes it for all.
        _ = file.persist_noclobber(&path);
        key(&path)
    }
}

/// Bytes of a file from `offset`, at most `most`, as all that is in `room`; how many the file has now.
pub(crate) fn piece(file: &File, offset: u64, most: usize, room: &mut Vec<u8>) -> Option<u64> {
    let total = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
    let rest = usize::try_from(total.saturating_sub(offset)).unwrap_or(usize::MAX);
    room.resize(rest.min(most), 0);
    file.read_exact_at(room, offset).ok()?;
    Some(total)
}

/// Removes the oldest files of a folder until the rest fits.
fn shrink(folder: &Path, most: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another Keep's host may do the same now.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified()?, metadata.len(), entry.path()));
    }
    files.sort_unstable();
    let mut all: u64 = 0;
    for (_, length, path) in files.iter().rev() {
        all = all.saturating_add(*length);
        if all > most {
            _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// A program of this length that can be run, and that nobody but this user, or root, can have put there or changed.
fn own_program(path: &Path, length: usize) -> Option<File> {
    let mut read = OpenOptions::new();
    let file = read.read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path).ok()?;
    let [about, folder] = [file.metadata().ok()?, fs::metadata(path.parent()?).ok()?];
    let own = |about: &fs::Metadata| about.uid() == geteuid().as_raw() && about.mode() & 0o022 == 0;
    let whole = about.is_file() && usize::try_from(about.len()) == Ok(length);
    // Not where nothing is run from this file system.
    let runs = access(path, Access::EXEC_OK).is_ok();
    (whole && runs && own(&about) && own(&folder)).then_some(file)
}

fn put_program(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o500))?;
    // What is found by its name is there in whole, after a crash too.
    file.as_file().sync_all()?;
    file.persist(path)?;
    shrink(folder, PROGRAMS)
}

fn key(path: &Path) -> Option<[u8; 32]> {
    fs::read(path).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cache(dir: &tempfile::TempDir) -> Cache {
        Cache::new(dir.path().join("donjon"))
    }

    fn files(cache: &Cache) -> usize {
        fs::read_dir(cache.code()).map_or(0, Iterator::count)
    }

    #[test]
    fn what_was_stored_whole_is_found_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = cache(&dir);
        assert_eq!(first.read([1; 32], 0, 9), None);
        assert!(first.write([1; 32], 3, b"seal") && first.write([1; 32], 0, b"ed!"));
        let mut next = cache(&dir);
        assert_eq!(next.read([1; 32], 0, 4), Some((7, b"seal".as_slice())));
        assert_eq!(next.read([1; 32], 4, 4), Some((7, b"ed!".as_slice())));
        assert_eq!(next.read([1; 32], 7, 4), Some((7, [].as_slice())));
        assert_eq!(next.read([1; 32], 8, 4), Some((7, [].as_slice())));
        assert_eq!(next.read([2; 32], 0, 4), None);
        assert!(next.write([1; 32], 0, b"anew"));
        assert_eq!(next.read([1; 32], 0, 9), Some((4, b"anew".as_slice())));
    }

    #[test]
    fn what_was_stored_is_opened_by_its_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(&dir);
        assert!(cache.write([0xab; 32], 0, b"sealed"));
        let name = "ab".repeat(32);
        assert_eq!(fs::read(cache.code().join(&name)).unwrap(), b"sealed", "control");
        fs::write(dir.path().join("donjon").join(&name), b"beside").unwrap();
        let open = |path: &str| {
            let mut text = String::new();
            cache.stored().open(path.as_bytes())?.read_to_string(&mut text).unwrap();
            Some(text)
        };
        assert_eq!(open(&format!("/donjon/stored/{name}")), Some("sealed".to_owned()));
        for path in [
            name.clone(),
            "/donjon/stored/".to_owned(),
            format!("/donjon/stored/{}", name.to_uppercase()),
            format!("/donjon/stored/{}", "ac".repeat(32)),
            format!("/donjon/stored/../{name}"),
            format!("/donjon/stored/../{}", &name[3..]),
            format!("/donjon/stored/{name}/"),
            format!("/donjon/stored/{}/code/{name}", dir.path().join("donjon").display()),
        ] {
            assert_eq!(open(&path), None, "{path}");
        }
    }

    #[test]
    fn what_is_being_read_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reader, mut writer) = (cache(&dir), cache(&dir));
        assert!(writer.write([1; 32], 0, b"before"));
        assert_eq!(reader.read([1; 32], 0, 3), Some((6, b"bef".as_slice())));
        assert!(writer.write([1; 32], 0, b"another"));
        assert_eq!(reader.read([1; 32], 3, 9), Some((6, b"ore".as_slice())));
    }

    #[test]
    fn what_ends_half_way_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(&dir);
        assert!(cache.write([1; 32], 3, b"half"));
        assert_eq!(files(&cache), 1);
        // Another name, another place in the same: each begins anew.
        assert!(cache.write([2; 32], 9, b"half") && cache.write([2; 32], 0, b"whole"));
        assert_eq!((files(&cache), cache.read([1; 32], 0, 9)), (1, None));
        assert_eq!(cache.read([2; 32], 0, 9), Some((5, b"whole".as_slice())));
    }

    #[test]
    fn more_than_the_bound_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(&dir);
        assert!(!cache.write([1; 32], STORED, b"x") && !cache.write([1; 32], u64::MAX, b"x"));
        assert_eq!(files(&cache), 0);
        assert!(cache.write([1; 32], STORED - 1, b"x"), "control");
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache { most: 10, ..cache(&dir) };
        for name in 1..=3 {
            assert!(cache.write([name; 32], 0, b"four"));
            // As if it had been long ago, the first longest.
            let age = Duration::from_secs(3600 * u64::from(9 - name));
            let file = File::open(cache.path([name; 32])).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            if name == 2 {
                assert_eq!(files(&cache), 2, "control: both fit");
                assert!(cache.read([1; 32], 0, 9).is_some(), "it is used again");
            }
        }
        assert!(cache.read([1; 32], 0, 9).is_some() && cache.read([2; 32], 0, 9).is_none());
        assert!(cache.read([3; 32], 0, 9).is_some());
    }

    #[test]
    fn a_folder_has_one_key_which_only_its_owner_reads() {
        let [dir, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let key = cache(&dir).key().unwrap();
        assert_eq!(cache(&dir).key(), Some(key));
        assert_ne!(cache(&other).key().unwrap(), key);
        let file = dir.path().join("donjon").join(KEY);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, b"short").unwrap();
        assert_eq!(cache(&dir).key(), None, "what is no key is none");
    }

    #[test]
    fn exec_is_run_from_a_file_that_is_its_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir);
        assert!(cache.program("a", b"exec").is_none(), "the first time");
        let found = |name: &str| {
            let file = cache.program(name, b"exec")?;
            let mut bytes = Vec::new();
            File::from(file).read_to_end(&mut bytes).unwrap();
            Some(bytes)
        };
        assert_eq!(found("a"), Some(b"exec".to_vec()));
        assert!(cache.program("a", b"another").is_none(), "another length is another program");
        assert!(cache.program("a", b"another").is_some(), "it took the place");
        assert_eq!(found("a"), None);
        for mode in [0o522, 0o720] {
            let path = dir.path().join("donjon/exec/a");
            assert!(found("a").is_some(), "control: it was put there anew");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(found("a"), None, "{mode:o}: others can write there");
        }
        let path = dir.path().join("donjon/exec");
        assert!(found("a").is_some(), "control");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(found("a"), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(path.join("a"), path.join("b")).unwrap();
        assert_eq!(found("b"), None, "a link leads anywhere");
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("donjon"), b"a file").unwrap();
        let mut cache = cache(&dir);
        assert!(!cache.write([1; 32], 0, b"x") && cache.key().is_none());
        assert_eq!(cache.read([1; 32], 0, 9), None);
    }
}
