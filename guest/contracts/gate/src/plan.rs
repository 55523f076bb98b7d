//! Where the host puts what, before the first instruction of a micro-VM's shim: addresses, and the measured page that
//! says what follows the shim in memory.
//!
//! Owns the layout of that page. The page is part of the measurement, so what it says is true of the image; what the
//! host says at the start ([`start`]) is not, and is checked by the shim.

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes that one last-level page table maps.
pub const TABLE: u64 = 512 * PAGE;

/// Where the shim is linked: -2 GiB.
pub const SHIM: u64 = 0xffff_ffff_8000_0000;
/// The page of the plan.
pub const PLAN: u64 = 0xffff_ffff_a000_0000;
/// The shared blocks, one after the other.
pub const BLOCKS: u64 = 0xffff_ffff_b000_0000;
/// Physical address of the first shared block, above all memory.
pub const SHARED: u64 = 0x7f_0000_0000;
/// The most processors, and so the most threads of a program at a time.
pub const PROCESSORS: usize = 16;
/// Slot of the root table through which the tables see themselves.
pub const RECURSIVE: u64 = 510;

/// Physical address of the root page table; the tables below it follow.
pub const ROOT: u64 = 0x1000;
/// Physical address of the page that SNP firmware fills with secrets for the guest. A page of zeroes elsewhere.
pub const SECRETS: u64 = 0x8000;
/// Physical address of the page with the processor's features, which SNP firmware has checked. A page of zeroes elsewhere.
pub const FEATURES: u64 = 0x9000;
/// Physical address of the shim.
pub const IMAGE: u64 = 0x1_0000;

/// The word that says that this is a plan, with its version.
pub const MAGIC: u64 = u64::from_le_bytes(*b"donjon\x00\x02");
/// The most segments of a program.
pub const SEGMENTS: usize = 8;
/// Words of a plan.
pub const WORDS: usize = 9 + 3 * SEGMENTS;

/// Where the shim sees the page of [`SECRETS`]; that of [`FEATURES`] follows.
pub const SECRETS_SEEN: u64 = PLAN + PAGE;

/// What is below the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Platform {
    /// A virtual machine without a TEE: nothing there can attest.
    Plain = 0,
    /// SEV-SNP firmware, which answers guest messages that the host carries over the ring.
    Snp = 1,
}

/// A run of pages of the program with the same permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// First page, counted from the program's base.
    pub first: u64,
    /// How many.
    pub pages: u64,
    /// As for `mmap(2)`: 1 read, 2 write, 4 execute.
    pub protection: u64,
}

/// What follows the shim in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What is below.
    pub platform: Platform,
    /// The first physical address that nothing measured uses.
    pub free: u64,
    /// Physical address of the program's last-level page tables, which map all of its pages.
    pub tables: u64,
    /// How many tables.
    pub count: u64,
    /// The program's entry, from its base.
    pub entry: u64,
    /// Its program headers, from its base.
    pub headers: u64,
    /// How many headers.
    pub headers_count: u64,
    /// Its segments, in ascending order; unused ones have no pages.
    pub segments: [Segment; SEGMENTS],
}

impl Plan {
    /// The words of the page.
    #[must_use]
    pub fn encode(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let Self { platform, free, tables, count, entry, headers, headers_count, segments: _ } = *self;
        let head = [MAGIC, platform as u64, free, tables, count, entry, headers, headers_count, SEGMENTS as u64];
        let tail = self.segments.iter().flat_map(|segment| [segment.first, segment.pages, segment.protection]);
        for (word, value) in words.iter_mut().zip(head.into_iter().chain(tail)) {
            *word = value;
        }
        words
    }

    /// Reads the page; `None` if it is not a plan of this version.
    #[must_use]
    pub fn decode(words: &[u64; WORDS]) -> Option<Self> {
        let [MAGIC, platform, free, tables, count, entry, headers, headers_count, SEGMENT_COUNT, rest @ ..] = *words
        else {
            return None;
        };
        let platform = match platform {
            0 => Platform::Plain,
            1 => Platform::Snp,
            _ => return None,
        };
        let mut segments = [Segment::default(); SEGMENTS];
        for (segment, [first, pages, protection]) in segments.iter_mut().zip(rest.as_chunks().0) {
            *segment = Segment { first: *first, pages: *pages, protection: *protection };
        }
        Some(Self { platform, free, tables, count, entry, headers, headers_count, segments })
    }
}

const SEGMENT_COUNT: u64 = SEGMENTS as u64;

/// Words in the control part of the first block that the host fills before the start.
pub mod start {
    /// Bytes of memory, from physical address 0.
    pub const MEMORY: usize = 256;
    /// Ticks of the time-stamp counter in a second.
    pub const TICKS: usize = 259;
    /// How many processors can run at the same time: 1 to [`PROCESSORS`](super::PROCESSORS). A hint for programs.
    pub const PROCESSORS: usize = 260;
    /// 1 if the host serves calls that do not wait before the bell rings, else 0.
    pub const SERVED: usize = 261;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written_and_nothing_else_is_one() {
        let segment = |n| Segment { first: n, pages: n + 1, protection: n + 2 };
        let plan = Plan {
            platform: Platform::Snp,
            free: 1,
            tables: 2,
            count: 3,
            entry: 4,
            headers: 5,
            headers_count: 6,
            segments: core::array::from_fn(|n| segment(n as u64)),
        };
        let words = plan.encode();
        assert_eq!(Plan::decode(&words), Some(plan));
        for (index, bit) in [(0, 1), (1, 2), (8, 1)] {
            let mut other = words;
            other[index] ^= bit;
            assert_eq!(Plan::decode(&other), None);
        }
    }
}
