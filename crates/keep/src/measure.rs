//! The measurement of a micro-VM by SEV-SNP, predicted: what the firmware's launch digest will be over the pages of a
//! Keep, page by page, so that two builds can be compared and the first difference named.
//!
//! Owns the chain of AMD 56860 (revision 1.58, SNP_LAUNCH_UPDATE, Layout of the PAGE_INFO structure): SHA-384 over the
//! digest before, the hash of the page, its kind and its place. The firmware's own computation, simulated in `silicon`,
//! is not used here: a test compares the two.
//!
//! Invariant: a [`Measurement`] is a function of the [`Image`] and the [`Platform`] and of nothing else.

use sha2::{Digest, Sha384};

use crate::Image;

/// Bytes of a page.
const PAGE: usize = 4096;

/// For what hardware the pages are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A virtual machine under simulated firmware: its memory is not encrypted.
    SimSnp,
    /// SEV-SNP: entries of page tables say with bit 51 that memory is the guest's own. That is the bit of all processors
    /// so far (CPUID Fn8000_001F EBX, bits 5:0).
    SevSnp,
}

/// How the firmware takes a page; the numbers are its PAGE_TYPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PageKind {
    /// As it is, measured.
    Normal = 1,
    /// The first state of a processor, measured.
    Processor = 2,
    /// The firmware fills it with secrets; its content is not measured.
    Secrets = 5,
    /// Features of the processor, which the firmware checks; its content is not measured.
    Features = 6,
}

impl PageKind {
    /// As reports for people and machines name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Processor => "processor",
            Self::Secrets => "secrets",
            Self::Features => "features",
        }
    }
}

/// What the firmware will have measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The launch digest: MEASUREMENT of reports.
    pub digest: [u8; 48],
    /// In the order in which they are measured.
    pub parts: Vec<Part>,
    /// The save area of the processor that boots, the last page.
    pub processor: Vec<u8>,
}

/// Pages of one kind and origin, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// For people.
    pub name: &'static str,
    /// How the firmware takes its pages.
    pub kind: PageKind,
    /// Guest-physical address of the first.
    pub at: u64,
    /// SHA-384 over all of its bytes; `None` where content is not measured.
    pub digest: Option<[u8; 48]>,
    /// SHA-384 of each page; zeroes where content is not measured.
    pub pages: Vec<[u8; 48]>,
    /// The segments of the ELF file it was.
    pub segments: Vec<Segment>,
}

/// A segment of a program: pages with the same permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First page, counted from the part's.
    pub first: u64,
    /// How many.
    pub pages: u64,
    /// As for `mmap(2)`: 1 read, 2 write, 4 execute.
    pub protection: u64,
}

/// Why there is no measurement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// This build has no guest in it.
    #[error(transparent)]
    Unsupported(#[from] crate::image::Unsupported),
    /// Shim or exec is no program for a micro-VM.
    #[error("cannot lay out the Keep: {why}")]
    Layout {
        /// What is wrong with it.
        why: String,
    },
}

impl Measurement {
    /// Of this image on this platform; some hundred milliseconds.
    ///
    /// # Errors
    /// [`MeasureError`] if nothing could be started either.
    #[cfg(guest)]
    pub fn of(image: &Image, platform: Platform) -> Result<Self, MeasureError> {
        let private = match platform {
            Platform::SimSnp => 0,
            Platform::SevSnp => 1 << 51,
        };
        crate::machine::layout::Layout::new(image.shim(), image.exec(), gate::plan::Platform::Snp, private)
            .map(|layout| Self::of_layout(&layout))
            .map_err(|error| MeasureError::Layout { why: error.to_string() })
    }

    /// There is no image to measure.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(guest))]
    pub fn of(_: &Image, _: Platform) -> Result<Self, MeasureError> {
        Err(crate::image::Unsupported.into())
    }

    #[cfg(guest)]
    pub(crate) fn of_layout(layout: &crate::machine::layout::Layout<'_>) -> Self {
        let parts: Vec<Part> = layout
            .measured()
            .map(|part| {
                let measured = matches!(part.kind, PageKind::Normal | PageKind::Processor);
                let bytes = part.pages.to_vec();
                let hash = |page: &[u8]| if measured { Sha384::digest(page).into() } else { [0; 48] };
                let segment = |one: &gate::plan::Segment| Segment {
                    first: one.first,
                    pages: one.pages,
                    protection: one.protection,
                };
                Part {
                    name: part.name,
                    kind: part.kind,
                    at: part.at,
                    digest: measured.then(|| Sha384::digest(&bytes).into()),
                    pages: bytes.chunks(PAGE).map(hash).collect(),
                    segments: part.segments.iter().map(segment).collect(),
                }
            })
            .collect();
        let digest = parts
            .iter()
            .flat_map(Part::places)
            .fold([0; 48], |digest, (kind, at, page)| chained(&digest, kind, at, page));
        Self { digest, parts, processor: layout.processor.pages.to_vec() }
    }
}

impl Part {
    /// Kind, place and hash of each page.
    #[cfg_attr(not(guest), allow(dead_code, reason = "there is nothing to measure"))]
    fn places(&self) -> impl Iterator<Item = (PageKind, u64, &[u8; 48])> {
        (self.at..).step_by(PAGE).zip(&self.pages).map(|(at, page)| (self.kind, at, page))
    }
}

/// The digest after one more page: PAGE_INFO has 112 bytes, and nothing here is of a migration image or for lower VMPLs.
#[cfg_attr(not(guest), allow(dead_code, reason = "there is nothing to measure"))]
fn chained(before: &[u8; 48], kind: PageKind, at: u64, page: &[u8; 48]) -> [u8; 48] {
    let mut hash = Sha384::new();
    hash.update(before);
    hash.update(page);
    hash.update([112, 0, kind as u8, 0, 0, 0, 0, 0]);
    hash.update(at.to_le_bytes());
    hash.finalize().into()
}

#[cfg(all(test, guest))]
mod tests {
    use std::collections::BTreeMap;

    use silicon::{Amd, Launch, Product};

    use super::*;
    use crate::machine::layout::Layout;

    fn layout() -> Layout<'static> {
        let image = Image::built_in().unwrap();
        Layout::new(image.shim(), image.exec(), gate::plan::Platform::Snp, 0).unwrap()
    }

    fn launch() -> Launch {
        Amd::from_seed([1; 32], Product::Genoa).launch(0x3_0000).unwrap()
    }

    /// The firmware hashes what lies in memory, this crate what it means to put there.
    #[test]
    fn the_prediction_is_what_the_firmware_computes() {
        let image = Image::built_in().unwrap();
        for (platform, private) in [(Platform::SimSnp, 0), (Platform::SevSnp, 1 << 51)] {
            let mut launch = launch();
            for part in Layout::new(image.shim(), image.exec(), gate::plan::Platform::Snp, private).unwrap().measured()
            {
                let kind = match part.kind {
                    PageKind::Normal => silicon::PageKind::Normal,
                    PageKind::Processor => silicon::PageKind::Vmsa,
                    PageKind::Secrets => silicon::PageKind::Secrets,
                    PageKind::Features => silicon::PageKind::Cpuid,
                };
                for (page, at) in part.pages.to_vec().chunks(PAGE).zip((part.at..).step_by(PAGE)) {
                    launch.update(kind, at, &mut page.try_into().unwrap()).unwrap();
                }
            }
            assert_eq!(launch.digest(), Measurement::of(&image, platform).unwrap().digest, "{platform:?}");
        }
    }

    #[test]
    fn pages_are_measured_once_each_in_ascending_order() {
        let measurement = Measurement::of_layout(&layout());
        let places: Vec<_> = measurement.parts.iter().flat_map(Part::places).collect();
        assert!(places.is_sorted_by(|one, next| one.1 < next.1));
        let kinds: BTreeMap<u8, usize> = places.iter().fold(BTreeMap::new(), |mut kinds, (kind, ..)| {
            *kinds.entry(*kind as u8).or_default() += 1;
            kinds
        });
        assert_eq!((kinds[&2], kinds[&5], kinds[&6]), (1, 1, 1));
        assert!(places.contains(&(PageKind::Secrets, gate::plan::SECRETS, &[0; 48])));
        assert!(places.contains(&(PageKind::Features, gate::plan::FEATURES, &[0; 48])));
        assert_eq!(places.last().unwrap().1, 0xffff_ffff_f000);
    }

    /// One byte of each page, another place in each; the whole digest for a sample of them.
    #[test]
    fn no_byte_of_any_page_can_change_without_the_measurement() {
        let mut layout = layout();
        let before = Measurement::of_layout(&layout);
        let mut pages = 0;
        for (index, part) in before.parts.iter().enumerate().filter(|(_, part)| part.digest.is_some()) {
            let bytes = layout.parts.get(index).unwrap_or(&layout.processor).pages.to_vec();
            for ((kind, at, hash), page) in part.places().zip(bytes.chunks(PAGE)) {
                let mut page = page.to_vec();
                page[pages * 61 % PAGE] ^= 1 << (pages % 8);
                let changed = Sha384::digest(&page).into();
                assert_ne!(chained(&[0; 48], kind, at, &changed), chained(&[0; 48], kind, at, hash), "{at:#x}");
                pages += 1;
            }
        }
        assert!(pages > 1000, "{pages}");
        for (part, offset) in
            [("page tables", 0), ("shim", 0), ("shim", 0x1fff), ("plan", 8), ("plan", 4095), ("exec", 0x12_3456)]
        {
            let change = |layout: &mut Layout<'_>| {
                layout.parts.iter_mut().find(|one| one.name == part).unwrap().pages.flip(offset, 0x10);
            };
            change(&mut layout);
            assert_ne!(Measurement::of_layout(&layout).digest, before.digest, "{part} {offset:#x}");
            change(&mut layout);
        }
        layout.processor.pages.flip(0x178, 1);
        assert_ne!(Measurement::of_layout(&layout).digest, before.digest, "the first instruction");
        layout.processor.pages.flip(0x178, 1);
        assert_eq!(Measurement::of_layout(&layout), before, "control");
        layout.parts.iter_mut().find(|part| part.kind == PageKind::Secrets).unwrap().pages.flip(7, 1);
        assert_eq!(Measurement::of_layout(&layout).digest, before.digest, "what the firmware fills is not measured");
    }
}
