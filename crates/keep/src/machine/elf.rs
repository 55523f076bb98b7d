//! ELF files as they will lie in a micro-VM's memory. What may be one of them is [`gate::elf`]'s to say.

pub(crate) use gate::elf::{ElfError, Kind};

use gate::elf::Elf;
use gate::plan::{PAGE, Segment};

/// A program as it lies in memory, from its base on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Whole pages.
    pub(crate) bytes: Vec<u8>,
    pub(crate) segments: Vec<Segment>,
    /// From the base, as are the headers.
    pub(crate) entry: u64,
    pub(crate) headers: u64,
    pub(crate) headers_count: u64,
}

/// Lays a file out as it will lie in memory.
pub(crate) fn load(file: &[u8], kind: Kind) -> Result<Image, ElfError> {
    let elf = Elf::read(file, file.len() as u64, kind)?;
    let Elf { entry, headers, headers_count, .. } = elf;
    let segments: Vec<_> = elf.segments().iter().map(gate::elf::Load::pages).collect();
    let pages = segments.last().map_or(0, |last| last.first + last.pages);
    // Places in memory are below `gate::elf::LARGEST`, places in the file are in the file: all of them fit.
    let fits = |number: u64| usize::try_from(number).unwrap_or(0);
    let mut bytes = vec![0; fits(pages * PAGE)];
    for load in elf.segments() {
        let [at, offset, length] = [load.at, load.offset, load.length].map(fits);
        bytes[at..at + length].copy_from_slice(&file[offset..offset + length]);
    }
    Ok(Image { bytes, segments, entry, headers, headers_count })
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
        assert_eq!((exec.bytes.len() % 4096, exec.segments.len()), (0, 4));
        let elf = Elf::read(image.exec(), image.exec().len() as u64, Kind::Program).unwrap();
        let data = elf.segments().last().unwrap();
        let [at, offset, length, size] =
            [data.at, data.offset, data.length, data.size].map(|n| usize::try_from(n).unwrap());
        assert_eq!(exec.bytes[at..at + length], image.exec()[offset..offset + length]);
        assert!(size > length && exec.bytes[at + length..].iter().all(|byte| *byte == 0), "zeroes behind");
        // Its headers lie where the plan will say.
        let headers = usize::try_from(exec.headers).unwrap();
        assert_eq!(exec.bytes[headers..headers + 56], image.exec()[headers..headers + 56]);
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
        for length in (0..shim.len()).step_by(997) {
            assert!(load(&shim[..length], Kind::Shim(gate::plan::SHIM)).is_err(), "{length}");
        }
    }
}
