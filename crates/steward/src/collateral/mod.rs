//! Collateral that the Steward has at hand: who asks for a certificate need not bring it.
//!
//! ```text
//!   a folder --reader--> pieces, each checked --> Cache (in memory, by what each is about)
//!   evidence --Need::of--> names --Cache--> what of it is here, added to what the request brings
//! ```
//!
//! Owns the choice by name: evidence gets what it needs, of whatever there is. Refuses to fetch, and to prefer: which of two is
//! taken, and whether it is any good, the verifier says, as of all collateral. Invariant: no input and output, no clock; what is in
//! a cache never changes.

#[cfg(feature = "server")]
pub mod folder;
#[cfg(feature = "server")]
pub mod reader;

use std::{collections::HashMap, sync::Arc};

use evidence::appraisal::{Endorsements, Evidence, Need, Piece};

#[cfg(feature = "server")]
pub use self::{
    folder::{Folder, FolderError},
    reader::{Reader, Trouble},
};

/// Pieces of collateral, by what they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache(HashMap<Need, Arc<Piece>>);

impl Cache {
    /// Gives what this evidence needs to what came with it. What there is no room for is left out: who sends that much of a kind
    /// is judged by it.
    pub fn add(&self, evidence: &Evidence, endorsements: &mut Endorsements) {
        if self.0.is_empty() {
            return;
        }
        let needs = Need::of(evidence, endorsements);
        for piece in needs.iter().filter_map(|need| self.piece(need)) {
            let _ = endorsements.extend(piece.endorsements());
        }
    }

    /// The piece that is about this.
    #[must_use]
    pub fn piece(&self, need: &Need) -> Option<&Arc<Piece>> {
        self.0.get(need)
    }

    /// All of them, in no order.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.0.values().map(Arc::as_ref)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Arc<Piece>> for Cache {
    fn from_iter<T: IntoIterator<Item = Arc<Piece>>>(pieces: T) -> Self {
        Self(pieces.into_iter().map(|piece| (piece.need().clone(), piece)).collect())
    }
}
