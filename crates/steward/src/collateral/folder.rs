//! A folder of collateral: which pieces are in it, their bytes, and how one is put in another's place.
//!
//! Owns the files at the places of [`Need`]. Refuses files that are longer than their kind can be, before they are read, and what
//! is no file. Who reads beside who writes sees a piece whole, old or new: each file is written beside its place, brought to the
//! disk, and renamed. Issuers that come with a piece are renamed before it; whoever reads between the two finds a piece that does
//! not verify, and keeps the one it has.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use aws_lc_rs::rand;
use evidence::appraisal::{Need, needs::MAX_CHAIN};
use thiserror::Error;

/// How many files are looked at: a fleet of tens of thousands has fewer.
const MOST: usize = 1 << 17;
/// How deep places are.
const DEPTH: usize = 5;

/// Where collateral lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

/// Why a folder or a file in it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {kind}", path.display())]
pub struct FolderError {
    /// Which one.
    pub path: PathBuf,
    /// Why not.
    pub kind: io::ErrorKind,
}

impl FolderError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.kind {
            io::ErrorKind::NotFound => "`donjon collateral fetch --to FOLDER` makes it",
            io::ErrorKind::PermissionDenied => "the user this runs as must be able to read it",
            io::ErrorKind::FileTooLarge => "this is another file, or there are too many",
            _ => "look at the disk",
        }
    }
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) needs: Vec<Need>,
    /// Places that nothing has.
    pub(super) strange: Vec<String>,
}

/// A file as it was when it was looked at; another one in its place has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([i64; 4]);

impl Stamp {
    #[allow(clippy::cast_possible_wrap, reason = "numbers that are compared with themselves")]
    fn of(metadata: &Metadata) -> Self {
        Self([metadata.ino() as i64, metadata.size() as i64, metadata.ctime(), metadata.ctime_nsec()])
    }
}

impl Folder {
    /// The folder at a path. Nothing is looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What there is, in the order of places.
    ///
    /// # Errors
    /// [`FolderError`] where a folder cannot be listed, or there is more than any fleet has.
    pub fn needs(&self) -> Result<Vec<Need>, FolderError> {
        Ok(self.list()?.needs)
    }

    pub(super) fn list(&self) -> Result<Listing, FolderError> {
        let mut listing = Listing::default();
        let (mut places, mut count) = (vec![String::new()], 0_usize);
        while let Some(place) = places.pop() {
            let path = self.path.join(&place);
            let refused = |kind| FolderError { path: path.clone(), kind };
            for entry in fs::read_dir(&path).map_err(|error| refused(error.kind()))? {
                let name = entry.map_err(|error| refused(error.kind()))?.file_name();
                // Begun and not finished, or somebody else's business.
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
                count += 1;
                if count > MOST {
                    return Err(refused(io::ErrorKind::FileTooLarge));
                }
                let place = if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") };
                // Gone since it was listed.
                let Ok(metadata) = fs::metadata(self.path.join(&place)) else { continue };
                if metadata.is_dir() && place.split('/').count() < DEPTH {
                    places.push(place);
                } else if let Some(need) = Need::at(&place) {
                    listing.needs.push(need);
                } else if !place.ends_with(".chain.pem") {
                    listing.strange.push(place);
                }
            }
        }
        listing.needs.sort_by_cached_key(Need::place);
        listing.strange.sort();
        Ok(listing)
    }

    /// The bytes of a piece, and of its issuers' certificates, if there are any.
    ///
    /// # Errors
    /// [`FolderError`] names the file.
    pub fn bytes(&self, need: &Need) -> Result<(Vec<u8>, Vec<u8>), FolderError> {
        Ok((self.read(&need.place(), need.limit())?, self.issuers(need)?))
    }

    /// The certificates of a piece's issuers alone.
    ///
    /// # Errors
    /// [`FolderError`] names the file.
    pub fn issuers(&self, need: &Need) -> Result<Vec<u8>, FolderError> {
        match need.issuers().map(|place| self.read(&place, MAX_CHAIN)) {
            None => Ok(Vec::new()),
            // Of some, roots have them at hand.
            Some(Err(error)) if error.kind == io::ErrorKind::NotFound => Ok(Vec::new()),
            Some(read) => read,
        }
    }

    fn read(&self, place: &str, limit: usize) -> Result<Vec<u8>, FolderError> {
        let path = self.path.join(place);
        let read = || {
            // Not opened unseen: a pipe would be waited for.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut bytes = Vec::new();
            File::open(&path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
        };
        read().map_err(|error: io::Error| FolderError { path: path.clone(), kind: error.kind() })
    }

    /// Of the files of a piece.
    pub(super) fn stamps(&self, need: &Need) -> [Option<Stamp>; 2] {
        let stamp = |place: String| fs::metadata(self.path.join(place)).ok().map(|metadata| Stamp::of(&metadata));
        [stamp(need.place()), need.issuers().and_then(stamp)]
    }

    /// When a piece was put there.
    #[must_use]
    pub fn put_at(&self, need: &Need) -> Option<SystemTime> {
        fs::metadata(self.path.join(need.place())).ok()?.modified().ok()
    }

    /// Puts a piece in its place, with issuers that came with it.
    ///
    /// # Errors
    /// [`FolderError`]; what was there before is there then, whole.
    pub fn put(&self, need: &Need, body: &[u8], issuers: &[u8]) -> Result<(), FolderError> {
        if let Some(place) = need.issuers().filter(|_| need.brings_issuers()) {
            self.write(&place, issuers)?;
        }
        self.write(&need.place(), body)
    }

    fn write(&self, place: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.path.join(place);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(FolderError { path, kind: io::ErrorKind::InvalidInput });
        };
        // Two that write at once write two files, wherever they run.
        let mut unlike = [0; 8];
        rand::fill(&mut unlike).map_err(|_| FolderError { path: path.clone(), kind: io::ErrorKind::Other })?;
        let beside = folder.join(format!(".{}.{}", name.display(), hex::encode(unlike)));
        let written = || {
            fs::create_dir_all(folder)?;
            let mut file = File::create_new(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|error: io::Error| {
            let _ = fs::remove_file(&beside);
            FolderError { path: path.clone(), kind: error.kind() }
        })
    }
}
