//! What a file holds: bytes that came with it, until they are changed, then pages.
//!
//! Owns holes, which take no room. Invariant: the room of every page was taken before the page is there.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::{Fault, Result};

const PAGE: usize = 16 * 1024;

/// The most bytes of a file, so that offsets can be added.
const MOST: u64 = 1 << 62;

#[derive(Debug)]
pub(super) enum Data {
    Fixed(Bytes),
    Pages(Pages),
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

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Fixed(bytes) => bytes.len() as u64,
            Self::Pages(pages) => pages.size,
        }
    }

    /// How many bytes were there, and fit.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        let Some(into) = into.get_mut(..count) else { return 0 };
        match self {
            Self::Fixed(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.get(..count));
                let Some(from) = from else { return 0 };
                into.copy_from_slice(from);
            }
            Self::Pages(pages) => {
                for Part { page, within, bytes } in parts(offset, count) {
                    let Some(into) = into.get_mut(bytes) else { break };
                    match pages.by_index.get(&page).and_then(|page| page.get(within)) {
                        Some(from) => into.copy_from_slice(from),
                        None => into.fill(0),
                    }
                }
            }
        }
        count
    }

    /// Writes all or nothing; where the bytes end. `take` takes room.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], take: impl FnMut(u64) -> Result<()>) -> Result<u64> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= MOST).ok_or(Fault::TooLarge)?;
        if bytes.is_empty() {
            return Ok(end);
        }
        let pages = self
            .pages(take, |pages| parts(offset, bytes.len()).filter(|part| !pages.contains_key(&part.page)).count())?;
        for Part { page, within, bytes: range } in parts(offset, bytes.len()) {
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
            Self::Fixed(_) => 0,
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

/// The part of some bytes that lies in one page.
struct Part {
    page: u64,
    within: Range<usize>,
    bytes: Range<usize>,
}

/// Where `count` bytes at `offset` lie.
fn parts(offset: u64, count: usize) -> impl Iterator<Item = Part> {
    let mut done = 0_usize;
    std::iter::from_fn(move || {
        let at = offset.checked_add(done as u64)?;
        let start = usize::try_from(at % PAGE as u64).ok()?;
        let length = (PAGE - start).min(count - done);
        let bytes = done..done + length;
        done += length;
        (length > 0).then(|| Part { page: at / PAGE as u64, within: start..start + length, bytes })
    })
}
