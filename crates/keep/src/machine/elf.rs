//! ELF files as they will lie in a micro-VM's memory. What may be one of them is [`gate::elf`]'s to say.

pub(crate) use gate::elf::{ElfError, Kind};

use std::borrow::Cow;

use gate::elf::Elf;
use gate::plan::{PAGE, Segment};

/// Whole pages: runs of bytes, and zeroes between and behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pages<'a> {
    length: usize,
    /// Ascending, without overlap. Those that are borrowed are whole pages.
    runs: Vec<(usize, Cow<'a, [u8]>)>,
}

impl<'a> Pages<'a> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, &Cow<'a, [u8]>)> {
        self.runs.iter().map(|(at, bytes)| (*at as u64, bytes))
    }

    /// A word of it, that no run ends in.
    #[cfg(test)]
    pub(crate) fn get(&self, at: usize) -> [u8; 8] {
        let run = self.runs.iter().rfind(|(start, _)| *start <= at);
        let word = run.and_then(|(start, bytes)| bytes.get(at - start..)?.first_chunk());
        word.copied().unwrap_or_default()
    }

    /// Changes bits of a byte.
    #[cfg(test)]
    pub(crate) fn flip(&mut self, at: usize, bits: u8) {
        let mut all = self.to_vec();
        all[at] ^= bits;
        *self = all.into();
    }

    /// All of it, copied.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; self.length];
        for (at, bytes) in &self.runs {
            all[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        all
    }
}

impl From<Vec<u8>> for Pages<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len(), runs: vec![(0, Cow::Owned(bytes))] }
    }
}

/// A program as it lies in memory, from its base on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image<'a> {
    pub(crate) pages: Pages<'a>,
    pub(crate) segments: Vec<Segment>,
    /// From the base, as are the headers.
    pub(crate) entry: u64,
    pub(crate) headers: u64,
    pub(crate) headers_count: u64,
}

/// Lays a file out as it will lie in memory.
pub(crate) fn load(file: &[u8], kind: Kind) -> Result<Image<'_>, ElfError> {
    let elf = Elf::read(file, file.len() as u64, kind)?;
    let Elf { entry, headers, headers_count, .. } = elf;
    let segments: Vec<_> = elf.segments().iter().map(gate::elf::Load::pages).collect();
    let pages = segments.last().map_or(0, |last| last.first + last.pages);
    // Places in memory are below `gate::elf::LARGEST`, places in the file are in the file: all of them fit.
    let fits = |number: u64| usize::try_from(number).unwrap_or(0);
    let mut runs = Vec::new();
    for load in elf.segments() {
        let [at, offset, length] = [load.at, load.offset, load.length].map(fits);
        let (page, end) = (fits(PAGE), at + length);
        // The whole pages, and what lies before and after them.
        let first = at.next_multiple_of(page).min(end);
        let last = (end / page * page).max(first);
        for (start, end, whole) in [(at, first, false), (first, last, true), (last, end, false)] {
            let bytes = &file[offset + start - at..offset + end - at];
            if !bytes.is_empty() {
                runs.push((start, if whole { Cow::Borrowed(bytes) } else { Cow::Owned(bytes.to_vec()) }));
            }
        }
    }
    let pages = Pages { length: fits(pages * PAGE), runs };
    Ok(Image { pages, segments, entry, headers, headers_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_shim_and_exec_are_what_a_keep_is_made_of() {
        let image = crate::Image::built_in().unwrap();
        let shim = load(image.shim(), Kind::Shim(gate::plan::SHIM)).unwrap();
        assert_eq!(shim.entry, 0);
        let exec = load(image.exec(), Kind::Program).unwrap();
        let bytes = exec.pages.to_vec();
        assert_eq!((bytes.len() % 4096, exec.segments.len()), (0, 4));
        for (at, run) in exec.pages.runs() {
            assert!(matches!(run, Cow::Owned(_)) || (at | run.len() as u64).is_multiple_of(PAGE), "whole pages");
        }
        let elf = Elf::read(image.exec(), image.exec().len() as u64, Kind::Program).unwrap();
        let data = elf.segments().last().unwrap();
        let [at, offset, length, size] =
            [data.at, data.offset, data.length, data.size].map(|n| usize::try_from(n).unwrap());
        assert_eq!(bytes[at..at + length], image.exec()[offset..offset + length]);
        assert!(size > length && bytes[at + length..].iter().all(|byte| *byte == 0), "zeroes behind");
        // Its headers lie where the plan will say.
        let headers = usize::try_from(exec.headers).unwrap();
        assert_eq!(bytes[headers..headers + 56], image.exec()[headers..headers + 56]);
    }

    /// Shims and execs that somebody changed or cut: another image or an error, whatever the byte is.
    #[test]
    fn no_file_breaks_the_loader() {
        let image = crate::Image::built_in().unwrap();
        let shim = image.shim();
        for at in 0..64 + 56 * 3 {
            for bit in 0..8 {
                let mut file = shim.to_vec();
                file[at] ^= 1 << bit;
                _ = load(&file, Kind::Shim(gate::plan::SHIM));
            }
        }
        // Behind its segments are names and symbols, which nobody loads.
        let elf = Elf::read(shim, shim.len() as u64, Kind::Shim(gate::plan::SHIM)).unwrap();
        let end = elf.segments().iter().map(|load| load.offset + load.length).max().unwrap();
        for length in (0..usize::try_from(end).unwrap()).step_by(997) {
            assert!(load(&shim[..length], Kind::Shim(gate::plan::SHIM)).is_err(), "{length}");
        }
    }
}
