//! What a file holds: bytes that came with it, until they are changed, then pages; or what the host says, piece by piece.
//!
//! Owns holes, which take no room. Invariant: the room of every page and piece was taken before it is kept. A piece that was
//! read once stays.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use bytes::Bytes;
use gate::message::CHUNK;

use super::{Fault, Result};

const PAGE: usize = 16 * 1024;
/// Of a file that lies elsewhere.
const PIECE: usize = CHUNK;

/// The most bytes of a file, so that offsets can be added.
const MOST: u64 = 1 << 62;

#[derive(Debug)]
pub(super) enum Data {
    Fixed(Bytes),
    Pages(Pages),
    Far(Far),
}

/// Fills this with the bytes at that offset; whether it could.
pub(crate) type Bring = Box<dyn FnMut(u64, &mut [u8]) -> bool + Send>;

/// Bytes of a file that lies elsewhere, and is only read.
pub(super) struct Far {
    size: u64,
    pieces: BTreeMap<u64, Box<[u8]>>,
    bring: Bring,
}

impl std::fmt::Debug for Far {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Far").field("size", &self.size).field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}

impl Far {
    fn piece(&mut self, index: u64, mut take: impl FnMut(u64) -> Result<()>) -> Result<&[u8]> {
        match self.pieces.entry(index) {
            Entry::Occupied(piece) => Ok(piece.into_mut()),
            Entry::Vacant(place) => {
                let offset = index.saturating_mul(PIECE as u64);
                let length = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(PIECE);
                let mut piece = vec![0; length].into_boxed_slice();
                if !(self.bring)(offset, &mut piece) {
                    return Err(Fault::Io);
                }
                take(length as u64)?;
                Ok(place.insert(piece))
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Pages {
    by_index: BTreeMap<u64, Box<[u8; PAGE]>>,
    size: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self::Pages(Pages::default())
    }
}

impl Data {
    pub(super) const fn fixed(bytes: Bytes) -> Self {
        Self::Fixed(bytes)
    }

    pub(super) const fn far(size: u64, bring: Bring) -> Self {
        Self::Far(Far { size, pieces: BTreeMap::new(), bring })
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Far(far) => far.size,
            Self::Fixed(bytes) => bytes.len() as u64,
            Self::Pages(pages) => pages.size,
        }
    }

    /// How many bytes were there, and fit. `take` takes room for what comes from elsewhere.
    pub(super) fn read(
        &mut self,
        offset: u64,
        into: &mut [u8],
        mut take: impl FnMut(u64) -> Result<()>,
    ) -> Result<usize> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        let Some(into) = into.get_mut(..count) else { return Ok(0) };
        match self {
            Self::Fixed(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.get(..count));
                let Some(from) = from else { return Ok(0) };
                into.copy_from_slice(from);
            }
            Self::Far(far) => {
                for Part { page, within, bytes } in parts(PIECE, offset, count) {
                    let from = far.piece(page, &mut take)?.get(within).ok_or(Fault::Io)?;
                    into.get_mut(bytes).ok_or(Fault::Io)?.copy_from_slice(from);
                }
            }
            Self::Pages(pages) => {
                for Part { page, within, bytes } in parts(PAGE, offset, count) {
                    let Some(into) = into.get_mut(bytes) else { break };
                    match pages.by_index.get(&page).and_then(|page| page.get(within)) {
                        Some(from) => into.copy_from_slice(from),
                        None => into.fill(0),
                    }
                }
            }
        }
        Ok(count)
    }

    /// Writes all or nothing; where the bytes end. `take` takes room.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], take: impl FnMut(u64) -> Result<()>) -> Result<u64> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= MOST).ok_or(Fault::TooLarge)?;
        if bytes.is_empty() {
            return Ok(end);
        }
        let pages = self.pages(take, |pages| {
            parts(PAGE, offset, bytes.len()).filter(|part| !pages.contains_key(&part.page)).count()
        })?;
        for Part { page, within, bytes: range } in parts(PAGE, offset, bytes.len()) {
            let page = pages.by_index.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            if let (Some(into), Some(from)) = (page.get_mut(within), bytes.get(range)) {
                into.copy_from_slice(from);
            }
        }
        pages.size = pages.size.max(end);
        Ok(end)
    }

    /// How much room comes back.
    pub(super) fn resize(&mut self, size: u64, take: impl FnMut(u64) -> Result<()>) -> Result<u64> {
        if size > MOST {
            return Err(Fault::TooLarge);
        }
        if let (Self::Fixed(bytes), Ok(length)) = (&mut *self, usize::try_from(size))
            && length <= bytes.len()
        {
            bytes.truncate(length);
            return Ok(0);
        }
        let pages = self.pages(take, |_| 0)?;
        pages.size = size;
        let gone = pages.by_index.split_off(&size.div_ceil(PAGE as u64));
        // What comes by growing again is empty.
        let within = usize::try_from(size % PAGE as u64).unwrap_or(PAGE);
        if let Some(end) = pages.by_index.get_mut(&(size / PAGE as u64)).and_then(|page| page.get_mut(within..)) {
            end.fill(0);
        }
        Ok(room(gone.len()))
    }

    /// Drops everything; how much room comes back.
    pub(super) fn clear(&mut self) -> u64 {
        match std::mem::take(self) {
            // What is far is never changed.
            Self::Fixed(_) | Self::Far(_) => 0,
            Self::Pages(pages) => room(pages.by_index.len()),
        }
    }

    /// As pages, with room for `missing` more; or as it was.
    fn pages(
        &mut self,
        mut take: impl FnMut(u64) -> Result<()>,
        missing: impl FnOnce(&BTreeMap<u64, Box<[u8; PAGE]>>) -> usize,
    ) -> Result<&mut Pages> {
        if let Self::Fixed(bytes) = self {
            take(room(bytes.len().div_ceil(PAGE)))?;
            let pages = bytes.chunks(PAGE).zip(0..).map(|(chunk, index)| {
                let mut page = Box::new([0; PAGE]);
                if let Some(into) = page.get_mut(..chunk.len()) {
                    into.copy_from_slice(chunk);
                }
                (index, page)
            });
            *self = Self::Pages(Pages { by_index: pages.collect(), size: bytes.len() as u64 });
        }
        let Self::Pages(pages) = self else { return Err(Fault::Invalid) };
        take(room(missing(&pages.by_index)))?;
        Ok(pages)
    }
}

/// What so many pages take.
fn room(pages: usize) -> u64 {
    (pages as u64).saturating_mul(PAGE as u64)
}

/// The part of some bytes that lies in one page, or piece.
struct Part {
    page: u64,
    within: Range<usize>,
    bytes: Range<usize>,
}

/// Where `count` bytes at `offset` lie, in pages of this size.
fn parts(size: usize, offset: u64, count: usize) -> impl Iterator<Item = Part> {
    let mut done = 0_usize;
    std::iter::from_fn(move || {
        let at = offset.checked_add(done as u64)?;
        let start = usize::try_from(at % size as u64).ok()?;
        let length = (size - start).min(count - done);
        let bytes = done..done + length;
        done += length;
        (length > 0).then(|| Part { page: at / size as u64, within: start..start + length, bytes })
    })
}
