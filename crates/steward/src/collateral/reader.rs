//! From a folder to a cache, again and again.
//!
//! Owns which bytes become pieces: those that their vendor issued, by the roots of the policy. A piece whose files are broken,
//! half-written or somebody else's is the one that was read before, and is told of; one whose file was taken away is gone. Files
//! that have not changed are not read again.

use std::{collections::HashMap, fmt, sync::Arc};

use evidence::{
    AwsLc,
    appraisal::{Need, Piece, PieceError, Roots},
};

use super::{Cache, Folder, FolderError, folder::Stamp};

/// Reads a folder.
#[derive(Debug)]
pub struct Reader {
    folder: Folder,
    roots: Roots,
    cache: Arc<Cache>,
    stamps: HashMap<Need, [Option<Stamp>; 2]>,
    troubles: Vec<Trouble>,
}

/// What is wrong with a file in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It cannot be read.
    Unread(FolderError),
    /// It is not what its place says.
    Refused {
        /// Its place.
        place: String,
        /// Why.
        error: PieceError,
    },
    /// Nothing has this place.
    Strange(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(error) => error.fmt(f),
            Self::Refused { place, error } => write!(f, "{place}: {error}"),
            Self::Strange(place) => write!(f, "{place}: no piece of collateral has this place"),
        }
    }
}

impl Reader {
    /// Reads what is there now.
    ///
    /// # Errors
    /// [`FolderError`] when the folder cannot be listed. A file that is no good is a [`Trouble`].
    pub fn open(folder: Folder, roots: Roots) -> Result<Self, FolderError> {
        let (cache, stamps, troubles) = (Arc::default(), HashMap::new(), Vec::new());
        let mut reader = Self { folder, roots, cache, stamps, troubles };
        reader.again()?;
        Ok(reader)
    }

    /// Reads again what has changed. Whether anything is another thing now.
    ///
    /// # Errors
    /// [`FolderError`] when the folder cannot be listed; nothing has changed then.
    pub fn again(&mut self) -> Result<bool, FolderError> {
        let listing = self.folder.list()?;
        let mut troubles: Vec<_> = listing.strange.into_iter().map(Trouble::Strange).collect();
        let (mut pieces, mut stamps) = (Vec::new(), HashMap::new());
        for need in listing.needs {
            let known = self.cache.piece(&need);
            // Before it is read: what is put there meanwhile has another, and is read the next time.
            let stamp = self.folder.stamps(&need);
            if let Some(piece) = known.filter(|_| self.stamps.get(&need) == Some(&stamp)) {
                pieces.push(Arc::clone(piece));
                stamps.insert(need, stamp);
                continue;
            }
            match self.read(&need) {
                Ok(piece) => {
                    pieces.push(Arc::new(piece));
                    stamps.insert(need, stamp);
                }
                Err(trouble) => {
                    pieces.extend(known.map(Arc::clone));
                    troubles.push(trouble);
                }
            }
        }
        let cache: Cache = pieces.into_iter().collect();
        let changed = *self.cache != cache;
        if changed {
            self.cache = Arc::new(cache);
        }
        if troubles != self.troubles {
            for trouble in troubles.iter().filter(|trouble| !self.troubles.contains(trouble)) {
                tracing::warn!(%trouble, "collateral: not used; what was there before is, if there was anything");
            }
        }
        (self.stamps, self.troubles) = (stamps, troubles);
        Ok(changed)
    }

    fn read(&self, need: &Need) -> Result<Piece, Trouble> {
        let (body, issuers) = self.folder.bytes(need).map_err(Trouble::Unread)?;
        Piece::read(need, &body, &issuers, &self.roots, &AwsLc)
            .map_err(|error| Trouble::Refused { place: need.place(), error })
    }

    /// Takes from another what this cannot read for itself.
    pub(crate) fn inherit(&mut self, before: &Cache) {
        let Ok(listing) = self.folder.list() else { return };
        let missing = listing.needs.iter().filter(|need| self.cache.piece(need).is_none());
        let mut inherited = missing.filter_map(|need| before.piece(need)).map(Arc::clone).peekable();
        if inherited.peek().is_some() {
            let own = self.cache.0.values().map(Arc::clone);
            self.cache = Arc::new(own.chain(inherited).collect());
        }
    }

    /// What is there.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// What is wrong, at the last reading.
    #[must_use]
    pub fn troubles(&self) -> &[Trouble] {
        &self.troubles
    }
}
