//! What lies where in a micro-VM's memory before its first instruction. The loader puts it there, and the measurement is
//! computed over it: one description for both.
//!
//! ```text
//!   page tables | secrets | features | shim | plan | exec | exec's page tables | free | … | processor
//! ```
//!
//! Secrets and features are pages of zeroes that SNP firmware fills or checks. The processor's first state is measured
//! like a page, at an address where no memory is.
//!
//! Invariant: the same shim and exec give the same pages, whatever the host's memory is.

use gate::plan::{
    BLOCKS, FEATURES, IMAGE, PAGE, PLAN, PROCESSORS, Plan, Platform, RECURSIVE, ROOT, SECRETS, SEGMENTS, SHARED, SHIM,
    Segment, TABLE,
};
use gate::ring::BLOCK;

use super::elf::{self, ElfError, Kind, Pages};
use super::state::State;
use crate::measure::PageKind;

/// Bits of a page table entry (AMD64 APM volume 2, section 5.4).
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const NEVER_EXECUTE: u64 = 1 << 63;

/// Contents from a physical address on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// For people.
    pub(crate) name: &'static str,
    /// How SNP firmware is to take its pages.
    pub(crate) kind: PageKind,
    pub(crate) at: u64,
    pub(crate) pages: Pages<'a>,
    /// Those of the file it was, from `at` on.
    pub(crate) segments: Vec<Segment>,
}

/// A micro-VM before its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout<'a> {
    /// What lies in memory: ascending, without overlap.
    pub(crate) parts: Vec<Part<'a>>,
    /// The first state of the one processor that boots, as a page for SNP firmware.
    pub(crate) processor: Part<'a>,
    /// The first free physical address.
    pub(crate) free: u64,
    /// Where the first instruction is.
    pub(crate) entry: u64,
}

/// A page of table entries.
type Table = [u64; 512];

fn bytes(tables: &[Table]) -> Vec<u8> {
    tables.iter().flatten().flat_map(|entry| entry.to_le_bytes()).collect()
}

fn slot(address: u64, level: u32) -> usize {
    usize::try_from(address >> (12 + 9 * level) & 511).unwrap_or(0)
}

/// Where KVM says that a processor's state lies, when it has it measured.
const PROCESSOR: u64 = 0xffff_ffff_f000;

impl<'a> Layout<'a> {
    /// Of this shim and this exec, for a machine that takes memory for the guest's own where table entries have the bits
    /// `private` (APM volume 2, section 15.34.1): everything but the shared blocks.
    pub(crate) fn new(shim: &'a [u8], exec: &'a [u8], platform: Platform, private: u64) -> Result<Self, ElfError> {
        let shim = elf::load(shim, Kind::Shim(SHIM))?;
        let exec = elf::load(exec, Kind::Program)?;
        if shim.pages.len() as u64 > TABLE {
            return Err(ElfError::Segment { address: SHIM, why: "makes it larger than a page table maps" });
        }

        let plan_at = IMAGE + shim.pages.len() as u64;
        let exec_at = plan_at + PAGE;
        let tables_at = exec_at + exec.pages.len() as u64;
        let pages = exec.pages.len() as u64 / PAGE;
        let count = pages.div_ceil(512);
        let free = tables_at + count * PAGE;

        // Root, one for each level below it, then last-level tables of the shim, the plan and the blocks.
        let [root, directory_pointers, directory, of_shim, of_plan, of_blocks] =
            std::array::from_fn(|index| ROOT + index as u64 * PAGE);
        let mut tables = [[0; 512]; 6];
        let below = |at: u64| at | PRESENT | WRITABLE | private;
        tables[0][slot(SHIM, 3)] = below(directory_pointers);
        tables[0][usize::try_from(RECURSIVE).unwrap_or(0)] = below(root) | NEVER_EXECUTE;
        tables[1][slot(SHIM, 2)] = below(directory);
        tables[2][slot(SHIM, 1)] = below(of_shim);
        tables[2][slot(PLAN, 1)] = below(of_plan);
        tables[2][slot(BLOCKS, 1)] = below(of_blocks);
        for segment in &shim.segments {
            for page in segment.first..segment.first + segment.pages {
                tables[3][usize::try_from(page).unwrap_or(0)] =
                    (IMAGE + page * PAGE) | entry(segment.protection) | private;
            }
        }
        let [at_plan, at_secrets, at_features] = std::array::from_fn(|index| slot(PLAN, 0) + index);
        tables[4][at_plan] = plan_at | entry(1) | private;
        tables[4][at_secrets] = SECRETS | entry(3) | private;
        tables[4][at_features] = FEATURES | entry(1) | private;
        for page in 0..(PROCESSORS * BLOCK) as u64 / PAGE {
            tables[5][slot(BLOCKS, 0) + usize::try_from(page).unwrap_or(0)] = (SHARED + page * PAGE) | entry(3);
        }

        let mut leaves = vec![[0; 512]; usize::try_from(count).unwrap_or(0)];
        for segment in &exec.segments {
            for page in segment.first..segment.first + segment.pages {
                let index = usize::try_from(page).unwrap_or(0);
                let entry = entry(segment.protection) | USER | private;
                leaves[index / 512][index % 512] = (exec_at + page * PAGE) | entry;
            }
        }

        let mut segments = [Segment::default(); SEGMENTS];
        segments[..exec.segments.len()].copy_from_slice(&exec.segments);
        let plan = Plan {
            platform,
            free,
            tables: tables_at,
            count,
            entry: exec.entry,
            headers: exec.headers,
            headers_count: exec.headers_count,
            segments,
        };
        let mut plan_page = [0; 512];
        plan_page[..gate::plan::WORDS].copy_from_slice(&plan.encode());

        let part = |name, at, pages| Part { name, kind: PageKind::Normal, at, pages, segments: Vec::new() };
        let zeroes = |name, kind, at| Part { kind, ..part(name, at, bytes(&[[0; 512]]).into()) };
        let state = State::first(SHIM + shim.entry);
        Ok(Self {
            entry: SHIM + shim.entry,
            free,
            parts: vec![
                part("page tables", ROOT, bytes(&tables).into()),
                zeroes("secrets", PageKind::Secrets, SECRETS),
                zeroes("features", PageKind::Features, FEATURES),
                Part { segments: shim.segments, ..part("shim", IMAGE, shim.pages) },
                part("plan", plan_at, bytes(&[plan_page]).into()),
                Part { segments: exec.segments, ..part("exec", exec_at, exec.pages) },
                part("exec's page tables", tables_at, bytes(&leaves).into()),
            ],
            processor: Part {
                kind: PageKind::Processor,
                ..part("processor", PROCESSOR, state.save_area().to_vec().into())
            },
        })
    }

    /// What is measured, in this order: the launcher gives it to the firmware, and [`crate::measure`] predicts it.
    pub(crate) fn measured(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().chain([&self.processor])
    }
}

/// The flags of a supervisor page with this protection.
fn entry(protection: u64) -> u64 {
    let writable = if protection & 2 != 0 { WRITABLE } else { 0 };
    let executable = if protection & 4 != 0 { 0 } else { NEVER_EXECUTE };
    PRESENT | writable | executable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout<'static> {
        let image = crate::Image::built_in().unwrap();
        Layout::new(image.shim(), image.exec(), Platform::Plain, 0).unwrap()
    }

    /// A word of memory before the start.
    fn word(layout: &Layout, at: u64) -> u64 {
        let part = layout.parts.iter().rfind(|part| part.at <= at).unwrap();
        let offset = usize::try_from(at - part.at).unwrap();
        u64::from_le_bytes(part.pages.get(offset))
    }

    /// The physical address and flags of an address, as a processor finds them.
    fn walk(layout: &Layout, address: u64) -> Option<(u64, u64)> {
        let mut table = ROOT;
        for level in (0..4).rev() {
            let entry = word(layout, table + 8 * slot(address, level) as u64);
            if entry & PRESENT == 0 {
                return None;
            }
            table = entry & 0x000f_ffff_ffff_f000;
            if level == 0 {
                return Some((table | (address & (PAGE - 1)), entry));
            }
        }
        None
    }

    #[test]
    fn parts_follow_each_other_in_whole_pages() {
        let layout = layout();
        for pair in layout.parts.windows(2) {
            assert!(pair[0].at + pair[0].pages.len() as u64 <= pair[1].at, "{} and {}", pair[0].name, pair[1].name);
        }
        for part in &layout.parts {
            assert!(part.at.is_multiple_of(PAGE) && part.pages.len().is_multiple_of(4096), "{}", part.name);
        }
        let last = layout.parts.last().unwrap();
        assert_eq!(last.at + last.pages.len() as u64, layout.free);
    }

    #[test]
    fn the_tables_map_the_shim_and_nothing_of_it_is_writable_and_executable() {
        let layout = layout();
        let (entry, flags) = walk(&layout, layout.entry).unwrap();
        assert_eq!((entry, flags & NEVER_EXECUTE), (IMAGE, 0));
        let shim = layout.parts.iter().find(|part| part.name == "shim").unwrap();
        for page in 0..shim.pages.len() as u64 / PAGE {
            let (at, flags) = walk(&layout, SHIM + page * PAGE).unwrap();
            assert_eq!(at, IMAGE + page * PAGE);
            assert!(flags & USER == 0 && (flags & WRITABLE == 0 || flags & NEVER_EXECUTE != 0), "{flags:#x}");
        }
        let blocks = (PROCESSORS * BLOCK) as u64;
        for at in (0..blocks).step_by(4096) {
            assert_eq!(walk(&layout, BLOCKS + at).unwrap().0, SHARED + at);
        }
        assert_eq!(walk(&layout, BLOCKS + blocks), None);
        assert_eq!(walk(&layout, 0), None, "nothing of the program's half is there yet");
    }

    /// Where there is a bit for it, every page is the guest's own but the shared blocks.
    #[test]
    fn only_the_shared_blocks_are_not_private() {
        const PRIVATE: u64 = 1 << 51;
        let image = crate::Image::built_in().unwrap();
        let (plain, layout) = (layout(), Layout::new(image.shim(), image.exec(), Platform::Plain, PRIVATE).unwrap());
        let blocks = PROCESSORS * BLOCK;
        let (mut private, mut shared) = (0, 0);
        for (plain, part) in plain.parts.iter().zip(&layout.parts) {
            if !part.name.ends_with("page tables") {
                assert_eq!(plain, part);
                continue;
            }
            for (plain, entry) in plain.pages.to_vec().chunks(8).zip(part.pages.to_vec().chunks(8)) {
                let [plain, entry] = [plain, entry].map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
                let block = (SHARED..SHARED + blocks as u64).contains(&(plain & 0x000f_ffff_ffff_f000));
                let expected = if plain & PRESENT != 0 && !block { plain | PRIVATE } else { plain };
                assert_eq!(entry, expected);
                private += usize::from(entry & PRIVATE != 0);
                shared += usize::from(block);
            }
        }
        assert!(shared == blocks / 4096 && private > 1000, "{shared} and {private}");
    }

    #[test]
    fn the_plan_says_where_exec_is() {
        let layout = layout();
        let (at, _) = walk(&layout, PLAN).unwrap();
        let words = std::array::from_fn(|index| word(&layout, at + 8 * index as u64));
        let plan = Plan::decode(&words).unwrap();
        assert_eq!(plan.free, layout.free);
        let exec = layout.parts.iter().find(|part| part.name == "exec").unwrap();
        let first = word(&layout, plan.tables);
        assert_eq!(first & 0x000f_ffff_ffff_f000, exec.at);
        assert!(first & USER != 0);
    }
}
