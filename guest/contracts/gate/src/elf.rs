//! Static, position independent ELF programs for x86-64: the one reading of them, by whoever packs, checks or loads one
//! (System V gABI, "ELF Header" and "Program Header"; x86-64 psABI). The shim, which is linked at its place, is read by
//! the same rules.
//!
//! Owns what may be put into a Keep. Looks at a file's first page and at its length, so a file of any size is judged
//! before it is anywhere in whole. Refuses: other machines, dynamic linking, fixed addresses, segments that leave the
//! file, share a page, or are writable and executable at once, and a stack that is executable.
//!
//! Invariant: what an [`Elf`] says can be mapped as it stands. Segments ascend, each lies in the file, and the entry is
//! in an executable one.

use crate::plan::{PAGE, SEGMENTS, Segment};

/// How much of a file's beginning is looked at: header and program headers must lie in it.
pub const HEAD: usize = 4096;

/// The most bytes of addresses that a program may take, with what it starts as zeroes.
pub const LARGEST: u64 = 1 << 30;

/// The largest alignment that a program may ask its base to have: a large page.
const ALIGN: u64 = 2 << 20;

/// What kind of file is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Static and position independent, from base 0.
    Program,
    /// Linked at this address.
    Shim(u64),
}

/// Why a file cannot be put into a Keep, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// Its first bytes are not those of ELF.
    #[error("it is not an ELF file")]
    NotElf,
    /// It ends before what its headers say is there.
    #[error("it is cut short: {what} until byte {needed}, and the file has {found}")]
    Short {
        /// What is missing.
        what: &'static str,
        /// Where that would end.
        needed: u64,
        /// Where the file ends.
        found: u64,
    },
    /// Not for a 64-bit, little-endian x86.
    #[error("it is not for x86-64")]
    Machine,
    /// ET_EXEC.
    #[error("it is linked at fixed addresses, and a Keep chooses where a program lies")]
    Fixed,
    /// Neither a program nor linked at its place: a relocatable object, a core dump.
    #[error("it is no program: its type is {0}")]
    Type(u16),
    /// PT_INTERP.
    #[error("it is linked dynamically, and a Keep has no libraries")]
    Interpreter,
    /// The table of program headers is not where or what it must be.
    #[error("its program headers {0}")]
    Headers(&'static str),
    /// A segment that no Keep maps.
    #[error("its segment at {address:#x} {why}")]
    Segment {
        /// Where, as the file says.
        address: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// PT_GNU_STACK is missing or executable.
    #[error("it wants an executable stack, or does not say that it wants none")]
    Stack,
    /// The first instruction is nowhere.
    #[error("its entry {0:#x} is not in an executable segment")]
    Entry(u64),
}

impl ElfError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Short { .. } => "build or download it again, whole",
            _ => {
                "link it statically and position independent, for x86-64: \
                 `cargo build --target x86_64-unknown-linux-musl`, or `musl-gcc -static-pie`"
            }
        }
    }
}

/// A run of memory as the file describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// First byte, from the base.
    pub at: u64,
    /// Bytes in memory; those that are not in the file are zeroes.
    pub size: u64,
    /// Where it begins in the file; the same place in a page as `at`.
    pub offset: u64,
    /// Bytes in the file, at most `size`.
    pub length: u64,
    /// As for `mmap(2)`: 1 read, 2 write, 4 execute.
    pub protection: u64,
}

impl Load {
    /// The whole pages it takes.
    #[must_use]
    pub fn pages(&self) -> Segment {
        // Below LARGEST, so neither sum wraps.
        let first = self.at >> PAGE.trailing_zeros();
        let next = self.at.saturating_add(self.size).div_ceil(PAGE);
        Segment { first, pages: next.saturating_sub(first), protection: self.protection }
    }
}

/// A file that can be put into a Keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elf {
    /// The first instruction, from the base.
    pub entry: u64,
    /// The program headers, from the base; 0 if no segment has them.
    pub headers: u64,
    /// How many headers.
    pub headers_count: u64,
    /// The base is a multiple of this: of a page at least, of 2 MiB at most.
    pub align: u64,
    loads: [Load; SEGMENTS],
    count: usize,
}

/// `e_type` (gABI, "ELF Header").
const EXEC: u16 = 2;
const DYN: u16 = 3;
/// `e_machine` (x86-64 psABI, "Machine Information").
const X86_64: u16 = 62;
/// Bytes of the header, and of a program header.
const HEADER: usize = 64;
const ENTRY: usize = 56;
/// `p_type` (gABI, "Program Header"; PT_GNU_STACK: Linux Standard Base, "Program Header").
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
/// `p_flags`
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

impl Elf {
    /// Judges a file of `length` bytes by its `head`: its first [`HEAD`] bytes, or all of it if it is shorter.
    ///
    /// # Errors
    /// See [`ElfError`].
    pub fn read(head: &[u8], length: u64, kind: Kind) -> Result<Self, ElfError> {
        let head = head.get(..HEAD).unwrap_or(head);
        if !head.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let short = |what, needed: usize| {
            let needed = u64::try_from(needed).unwrap_or(u64::MAX);
            ElfError::Short { what, needed, found: length }
        };
        let [ident, _, what, entry, table, _, sizes, count] = words(head).ok_or(short("its header reaches", HEADER))?;
        // 64 bits, little-endian, version 1.
        let [_, _, _, _, 2, 1, 1, _] = ident.to_le_bytes() else { return Err(ElfError::Machine) };
        let [(file_type, machine), (_, entry_size), (count, _)] = [what, sizes >> 32, count].map(halves);
        if machine != X86_64 {
            return Err(ElfError::Machine);
        }
        let base = match (kind, file_type) {
            (Kind::Program, DYN) => 0,
            (Kind::Shim(base), EXEC) => base,
            (Kind::Program, EXEC) => return Err(ElfError::Fixed),
            _ => return Err(ElfError::Type(file_type)),
        };
        if usize::from(entry_size) != ENTRY || count == 0 {
            return Err(ElfError::Headers("are none, or of an unknown size"));
        }
        let from = usize::try_from(table).unwrap_or(usize::MAX);
        let to = from.saturating_add(ENTRY.saturating_mul(usize::from(count)));
        if to > HEAD {
            return Err(ElfError::Headers("do not lie in its first page"));
        }
        let headers = head.get(from..to).ok_or(short("its program headers reach", to))?;

        let mut elf = Self {
            entry: entry.wrapping_sub(base),
            headers: 0,
            headers_count: u64::from(count),
            align: PAGE,
            loads: [Load::default(); SEGMENTS],
            count: 0,
        };
        let mut stack = None;
        for header in headers.as_chunks::<ENTRY>().0 {
            let [kind, offset, address, _, length_of, size, align] = words(header).unwrap_or_default();
            // Type and flags.
            let [kind, flags] = [kind & 0xffff_ffff, kind >> 32].map(|half| u32::try_from(half).unwrap_or(0));
            match kind {
                PT_INTERP => return Err(ElfError::Interpreter),
                PT_GNU_STACK => stack = Some(flags),
                PT_LOAD => elf.load(base, length, flags, [offset, address, length_of, size, align])?,
                _ => {}
            }
        }
        let table_size = u64::try_from(headers.len()).unwrap_or(u64::MAX);
        let headers = elf.segments().iter().find_map(|load| {
            let into = table.checked_sub(load.offset)?;
            (into.saturating_add(table_size) <= load.length).then(|| load.at.saturating_add(into))
        });
        elf.headers = headers.unwrap_or(0);
        if kind == Kind::Program {
            if headers.is_none() {
                return Err(ElfError::Headers("are in none of its segments"));
            }
            // Without a word about it, older kernels make the stack executable.
            if stack.is_none_or(|flags| flags & EXECUTE != 0) {
                return Err(ElfError::Stack);
            }
        }
        let runs = |load: &Load| {
            load.protection & 4 != 0 && elf.entry.checked_sub(load.at).is_some_and(|into| into < load.length)
        };
        if elf.segments().iter().any(runs) { Ok(elf) } else { Err(ElfError::Entry(entry)) }
    }

    /// Takes one segment in.
    fn load(&mut self, base: u64, file: u64, flags: u32, fields: [u64; 5]) -> Result<(), ElfError> {
        let [offset, address, length, size, align] = fields;
        let refused = |why| ElfError::Segment { address, why };
        if length > size {
            return Err(refused("is larger in the file than in memory"));
        }
        let needed = offset.checked_add(length).ok_or(refused("reaches past the end of all files"))?;
        if needed > file {
            return Err(ElfError::Short { what: "a segment reaches", needed, found: file });
        }
        if size == 0 {
            return Ok(());
        }
        let at = address.checked_sub(base).ok_or(refused("lies below the image"))?;
        if at.checked_add(size).is_none_or(|end| end > LARGEST) {
            return Err(refused("makes it larger than 1 GiB"));
        }
        if at % PAGE != offset % PAGE {
            return Err(refused("lies at another place of its page than in the file"));
        }
        // None is 0 or 1.
        if align > ALIGN || !align.max(1).is_power_of_two() {
            return Err(refused("is aligned to more than 2 MiB, or to no power of two"));
        }
        if flags & (WRITE | EXECUTE) == WRITE | EXECUTE {
            return Err(refused("is writable and executable at once"));
        }
        let has = |flag, bit| if flags & flag != 0 { bit } else { 0 };
        let protection = has(READ, 1) | has(WRITE, 2) | has(EXECUTE, 4);
        let load = Load { at, size, offset, length, protection };
        let before = self.segments().last().map_or(0, |last| {
            let Segment { first, pages, protection: _ } = last.pages();
            first.saturating_add(pages)
        });
        if load.pages().first < before {
            return Err(refused("overlaps the one before, or shares a page with it"));
        }
        let place = self.loads.get_mut(self.count).ok_or(refused("is one more than a Keep maps"))?;
        *place = load;
        self.align = self.align.max(align);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// What is to be mapped, ascending.
    #[must_use]
    pub fn segments(&self) -> &[Load] {
        self.loads.get(..self.count).unwrap_or_default()
    }
}

/// The first words of some bytes, if there are as many.
fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let words = bytes.as_chunks::<8>().0.first_chunk::<N>()?;
    Some(words.map(u64::from_le_bytes))
}

/// The two lowest 16-bit numbers of a word.
fn halves(word: u64) -> (u16, u16) {
    let [a, b, c, d, ..] = word.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

#[cfg(test)]
mod tests;
