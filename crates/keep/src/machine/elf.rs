//! ELF files that can be put into a micro-VM: the shim at its fixed place, programs that are static and position
//! independent.
//!
//! Owns the refusals: truncated files, other machines, an interpreter, segments that overlap, share a page, or are
//! writable and executable at once.

use object::Endianness::Little;
use object::elf::{EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use gate::plan::{PAGE, Segment};

/// The most that a program may take, with everything it starts as zeroes.
const LARGEST: u64 = 1 << 30;

/// Why a file is no program for a micro-VM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ElfError {
    /// Not an ELF file, or a truncated one.
    #[error("it is not a whole ELF file: {0}")]
    Broken(String),
    /// Of another kind or machine.
    #[error("it is not a static, position independent program for x86-64: {0}")]
    Kind(&'static str),
    /// A segment that no Keep maps.
    #[error("its segment at {address:#x} {why}")]
    Segment {
        /// Where.
        address: u64,
        /// What is wrong.
        why: &'static str,
    },
}

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

/// What kind of file is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Static and position independent, from base 0.
    Program,
    /// Linked at this address.
    Shim(u64),
}

/// Lays a file out as it will lie in memory.
pub(crate) fn load(file: &[u8], kind: Kind) -> Result<Image, ElfError> {
    let broken = |error: object::read::Error| ElfError::Broken(error.to_string());
    let header = FileHeader64::<object::Endianness>::parse(file).map_err(broken)?;
    let (wanted, base) = match kind {
        Kind::Program => (ET_DYN, 0),
        Kind::Shim(base) => (ET_EXEC, base),
    };
    if header.e_machine(Little) != EM_X86_64 {
        return Err(ElfError::Kind("it is for another machine"));
    }
    if header.e_type(Little) != wanted {
        return Err(ElfError::Kind("link it with -static-pie"));
    }
    let programs = header.program_headers(Little, file).map_err(broken)?;
    if programs.iter().any(|program| program.p_type(Little) == PT_INTERP) {
        return Err(ElfError::Kind("it asks for a dynamic linker"));
    }
    let mut image = Image {
        bytes: Vec::new(),
        segments: Vec::new(),
        entry: header.e_entry(Little).wrapping_sub(base),
        headers: 0,
        headers_count: programs.len() as u64,
    };
    let mut end = 0;
    for program in programs.iter().filter(|program| program.p_type(Little) == PT_LOAD) {
        let address = program.p_vaddr(Little);
        let refused = |why| ElfError::Segment { address, why };
        let start = address.checked_sub(base).ok_or(refused("lies below the image"))?;
        let size = program.p_memsz(Little);
        if size == 0 {
            continue;
        }
        let data = program.data(Little, file).map_err(|()| refused("reaches past the end of the file"))?;
        if data.len() as u64 > size {
            return Err(refused("is larger in the file than in memory"));
        }
        let last = start.checked_add(size).filter(|last| *last <= LARGEST).ok_or(refused("is too large"))?;
        let (first, next) = (start / PAGE, last.div_ceil(PAGE));
        if first < end {
            return Err(refused("overlaps the one before, or shares a page with it"));
        }
        let flags = program.p_flags(Little);
        if flags & (PF_W | PF_X) == PF_W | PF_X {
            return Err(refused("is writable and executable at once"));
        }
        let has = |flag, bit| if flags & flag != 0 { bit } else { 0 };
        let protection = has(PF_R, 1) | has(PF_W, 2) | has(PF_X, 4);
        image.segments.push(Segment { first, pages: next - first, protection });
        end = next;
        // Below `LARGEST`, so both fit.
        let (from, whole) = (usize::try_from(start).unwrap_or(0), usize::try_from(next * PAGE).unwrap_or(0));
        image.bytes.resize(whole, 0);
        image.bytes[from..from + data.len()].copy_from_slice(data);
        let offset = program.p_offset(Little);
        if (offset..offset + data.len() as u64).contains(&header.e_phoff(Little)) {
            image.headers = start + (header.e_phoff(Little) - offset);
        }
    }
    let runs = |segment: &Segment| {
        segment.protection & 4 != 0 && (segment.first..segment.first + segment.pages).contains(&(image.entry / PAGE))
    };
    if !image.segments.iter().any(runs) {
        return Err(ElfError::Kind("its entry is not in an executable segment"));
    }
    if image.segments.len() > gate::plan::SEGMENTS {
        return Err(ElfError::Kind("it has too many segments"));
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A position independent program with these segments (address, bytes in the file, bytes in memory, flags), its entry
    /// at the start of the first.
    fn program(segments: &[(u64, u64, u64, u32)]) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
        for word in [segments[0].0, 64, 0] {
            elf.extend(word.to_le_bytes());
        }
        elf.extend([0, 0, 0, 0, 64, 0, 56, 0, u8::try_from(segments.len()).unwrap(), 0, 0, 0, 0, 0, 0, 0]);
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, in_file, in_memory, flags) in segments {
            elf.extend(PT_LOAD.to_le_bytes());
            elf.extend(flags.to_le_bytes());
            for word in [offset, *address, *address, *in_file, *in_memory, PAGE] {
                elf.extend(word.to_le_bytes());
            }
            offset += in_file;
        }
        elf.resize(usize::try_from(offset).unwrap(), 0xcc);
        elf
    }

    const RUN: u32 = PF_R | PF_X;

    #[test]
    fn a_program_lies_in_whole_pages_with_zeroes_behind() {
        let image = load(&program(&[(0, 100, 100, RUN), (0x2010, 8, 0x1800, PF_R | PF_W)]), Kind::Program).unwrap();
        assert_eq!(
            image.segments,
            [Segment { first: 0, pages: 1, protection: 5 }, Segment { first: 2, pages: 2, protection: 3 }]
        );
        assert_eq!(image.bytes.len(), 0x4000);
        assert!(image.bytes[..100].iter().all(|byte| *byte == 0xcc));
        assert!(image.bytes[100..0x2010].iter().all(|byte| *byte == 0));
        assert!(image.bytes[0x2010..0x2018].iter().all(|byte| *byte == 0xcc));
        assert!(image.bytes[0x2018..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_no_program_is_refused_with_its_reason() {
        let refused = |file: &[u8]| load(file, Kind::Program).unwrap_err().to_string();
        let good = program(&[(0, 100, 100, RUN)]);
        let with = |at: usize, byte: u8| {
            let mut file = good.clone();
            file[at] = byte;
            refused(&file)
        };
        assert!(refused(b"").contains("not a whole ELF file"));
        assert!(refused(&good[..80]).contains("not a whole ELF file"));
        assert!(refused(&good[..200]).contains("past the end of the file"));
        assert!(with(16, 2).contains("static-pie"), "ET_EXEC");
        assert!(with(18, 3).contains("another machine"), "i386");
        assert!(with(64, 3).contains("dynamic linker"), "PT_INTERP");
        assert!(with(68, 4).contains("entry"), "read only");
        let segments = |segments: &[(u64, u64, u64, u32)]| refused(&program(segments));
        assert!(segments(&[(0, 1, 1, 7)]).contains("writable and executable"));
        assert!(segments(&[(0, 1, 1, RUN), (0x800, 1, 1, PF_R)]).contains("shares a page"));
        assert!(segments(&[(0x1000, 1, 1, RUN), (0, 1, 1, PF_R)]).contains("overlaps"));
        assert!(segments(&[(0, 2, 1, RUN)]).contains("larger in the file"));
        assert!(segments(&[(0, 1, LARGEST + 1, RUN)]).contains("too large"));
        assert!(segments(&[(0, 1, u64::MAX, RUN)]).contains("too large"));
        let many: Vec<_> = (0..9).map(|index| (index * PAGE, 1, 1, RUN)).collect();
        assert!(segments(&many).contains("too many segments"));
    }

    #[test]
    fn the_embedded_shim_and_exec_are_what_a_keep_is_made_of() {
        let image = crate::Image::built_in().unwrap();
        let shim = load(image.shim(), Kind::Shim(gate::plan::SHIM)).unwrap();
        assert_eq!(shim.entry, 0);
        load(image.exec(), Kind::Program).unwrap();
    }
}
