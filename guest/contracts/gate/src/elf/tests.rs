//! A small whole program, and everything that can be wrong with one.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

/// Type, flags, offset, address, bytes in the file, bytes in memory.
type Header = [u64; 6];

const LOAD: u64 = PT_LOAD as u64;
const STACK: u64 = PT_GNU_STACK as u64;
const R: u64 = 4;
const RX: u64 = 5;
const RW: u64 = 6;

/// As a linker lays out a static-PIE program: headers and constants, code, data with zeroes behind.
const WHOLE: [Header; 4] = [
    [LOAD, R, 0, 0, 0x400, 0x400],
    [LOAD, RX, 0x1000, 0x1000, 0x100, 0x100],
    [LOAD, RW, 0x1100, 0x2100, 0x80, 0x2000],
    [STACK, RW, 0, 0, 0, 0],
];
const ENTRY_AT: u64 = 0x1010;

fn file(headers: &[Header]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    for word in [ENTRY_AT, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, u8::try_from(headers.len()).unwrap(), 0, 0, 0, 0, 0, 0, 0]);
    for [kind, flags, offset, address, in_file, in_memory] in headers {
        elf.extend((kind | flags << 32).to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, &PAGE] {
            elf.extend(word.to_le_bytes());
        }
    }
    elf.resize(0x1180, 0xcc);
    elf
}

fn read(file: &[u8]) -> Result<Elf, ElfError> {
    Elf::read(file, file.len() as u64, Kind::Program)
}

/// What the invariant promises of every file that is taken.
#[track_caller]
fn consistent(elf: &Elf, length: u64) {
    let mut next = 0;
    assert!(elf.align.is_power_of_two() && (PAGE..=ALIGN).contains(&elf.align), "{elf:?}");
    for load in elf.segments() {
        assert!(load.size > 0 && load.length <= load.size && load.offset + load.length <= length, "{load:?}");
        assert!(load.protection & 6 != 6 && load.protection < 8, "{load:?}");
        assert_eq!(load.at % PAGE, load.offset % PAGE, "{load:?}");
        let pages = load.pages();
        assert!(pages.first >= next && pages.first * PAGE <= load.at, "{load:?}");
        next = pages.first + pages.pages;
        assert!(load.at + load.size <= next * PAGE && load.at + load.size <= LARGEST, "{load:?}");
    }
    let within = |at: u64| move |load: &&Load| (load.at..load.at + load.length).contains(&at);
    assert_eq!(elf.segments().iter().find(within(elf.entry)).unwrap().protection & 4, 4);
    assert!(elf.segments().iter().any(|load| within(elf.headers)(&load)));
}

#[test]
fn a_whole_program_is_what_its_headers_say() {
    let file = file(&WHOLE);
    let elf = read(&file).unwrap();
    consistent(&elf, file.len() as u64);
    assert_eq!((elf.entry, elf.headers, elf.headers_count, elf.align), (ENTRY_AT, 64, 4, PAGE));
    let [constants, code, data] = elf.segments() else { panic!("{elf:?}") };
    assert_eq!(*constants, Load { at: 0, size: 0x400, offset: 0, length: 0x400, protection: 1 });
    assert_eq!(*code, Load { at: 0x1000, size: 0x100, offset: 0x1000, length: 0x100, protection: 5 });
    assert_eq!(*data, Load { at: 0x2100, size: 0x2000, offset: 0x1100, length: 0x80, protection: 3 });
    assert_eq!(data.pages(), Segment { first: 2, pages: 3, protection: 3 });
}

#[test]
fn every_truncation_is_an_error() {
    let file = file(&WHOLE);
    for length in 0..file.len() {
        let error = read(&file[..length]).unwrap_err();
        let expected = match length {
            0..4 => matches!(error, ElfError::NotElf),
            _ => matches!(error, ElfError::Short { needed, found, .. } if needed > found && found == length as u64),
        };
        assert!(expected, "{length}: {error:?}");
    }
    // More of a file than its first page changes nothing.
    assert_eq!(read(&file), Elf::read(&file[..HEAD], file.len() as u64, Kind::Program));
}

/// Every byte of the headers with every other value.
#[test]
fn a_changed_header_is_an_error_or_another_consistent_program() {
    let good = file(&WHOLE);
    let mut taken = 0;
    for at in 0..64 + 4 * ENTRY {
        for value in 0..=u8::MAX {
            let mut file = good.clone();
            file[at] = value;
            if let Ok(elf) = read(&file) {
                taken += 1;
                consistent(&elf, file.len() as u64);
            }
        }
    }
    assert!(taken > 0, "control");
}

/// Whole words of the program headers with the values that break arithmetic.
#[test]
fn no_word_of_a_header_breaks_the_reader() {
    let good = file(&WHOLE);
    let places = (24..48).step_by(8).chain((64..64 + 4 * ENTRY).step_by(8));
    for at in places {
        for value in [0, 1, 0xfff, 0x1000, 1 << 30, 1 << 32, 1 << 63, u64::MAX - 0xfff, u64::MAX] {
            let mut file = good.clone();
            file[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
            if let Ok(elf) = read(&file) {
                consistent(&elf, file.len() as u64);
            }
            _ = Elf::read(&file, u64::MAX, Kind::Program);
            _ = Elf::read(&file, u64::MAX, Kind::Shim(1 << 63));
        }
    }
}

#[test]
fn what_is_no_program_is_refused_with_its_reason() {
    let with = |at: usize, byte: u8| {
        let mut file = file(&WHOLE);
        file[at] = byte;
        read(&file).unwrap_err().to_string()
    };
    let edited = |edit: &dyn Fn(&mut Vec<Header>)| {
        let mut headers = WHOLE.to_vec();
        edit(&mut headers);
        read(&file(&headers)).unwrap_err().to_string()
    };
    assert!(read(&file(&WHOLE)).is_ok(), "control");
    for (error, expected) in [
        (with(0, 0), "it is not an ELF file"),
        (with(4, 1), "it is not for x86-64"),
        (with(5, 2), "it is not for x86-64"),
        (with(18, 183), "it is not for x86-64"),
        (with(16, 2), "it is linked at fixed addresses, and a Keep chooses where a program lies"),
        (with(16, 1), "it is no program: its type is 1"),
        (with(16, 4), "it is no program: its type is 4"),
        (with(54, 57), "its program headers are none, or of an unknown size"),
        (with(56, 0), "its program headers are none, or of an unknown size"),
        (with(56, 73), "its program headers do not lie in its first page"),
        (with(33, 0x10), "its program headers do not lie in its first page"),
        (with(25, 0), "its entry 0x10 is not in an executable segment"),
        (edited(&|h| h[3] = [3, R, 0, 0, 8, 8]), "it is linked dynamically, and a Keep has no libraries"),
        (edited(&|h| h[3][1] = 7), "it wants an executable stack, or does not say that it wants none"),
        (edited(&|h| h.truncate(3)), "it wants an executable stack, or does not say that it wants none"),
        (edited(&|h| h[1][1] = R), "its entry 0x1010 is not in an executable segment"),
        (edited(&|h| h[1][1] = 7), "its segment at 0x1000 is writable and executable at once"),
        (edited(&|h| h[1][3] = 0), "its segment at 0x0 overlaps the one before, or shares a page with it"),
        (edited(&|h| h.swap(0, 1)), "its segment at 0x0 overlaps the one before, or shares a page with it"),
        (edited(&|h| h[1][5] = 0xff), "its segment at 0x1000 is larger in the file than in memory"),
        (edited(&|h| h[2][3] = 0x2200), "its segment at 0x2200 lies at another place of its page than in the file"),
        (edited(&|h| h[2][5] = LARGEST), "its segment at 0x2100 makes it larger than 1 GiB"),
        (edited(&|h| h[2][5] = u64::MAX), "its segment at 0x2100 makes it larger than 1 GiB"),
        (edited(&|h| h[2][2] = u64::MAX), "its segment at 0x2100 reaches past the end of all files"),
        (
            edited(&|h| [h[2][4], h[2][5]] = [0x81, 0x81]),
            "it is cut short: a segment reaches until byte 4481, and the file has 4480",
        ),
        (edited(&|h| h[0][4] = 64), "its program headers are in none of its segments"),
        (edited(&|h| drop(h.drain(..3))), "its program headers are in none of its segments"),
    ] {
        assert_eq!(error, expected);
    }
    let many = |count: u64| {
        let more = (3..count).map(|page| [LOAD, R, 0, 0x2000 * page, 1, 1]);
        file(&WHOLE.into_iter().chain(more).collect::<Vec<_>>())
    };
    assert!(read(&many(8)).is_ok(), "control");
    assert_eq!(read(&many(9)).unwrap_err().to_string(), "its segment at 0x10000 is one more than a Keep maps");
}

/// The last word of the code's header.
#[test]
fn the_base_is_aligned_as_the_most_demanding_segment() {
    let with = |align: u64| {
        let mut file = file(&WHOLE);
        let at = 64 + 2 * ENTRY - 8;
        file[at..at + 8].copy_from_slice(&align.to_le_bytes());
        read(&file).map(|elf| elf.align)
    };
    for (align, base) in [(0, PAGE), (1, PAGE), (8, PAGE), (PAGE, PAGE), (0x1_0000, 0x1_0000), (ALIGN, ALIGN)] {
        assert_eq!(with(align), Ok(base));
    }
    let why = "is aligned to more than 2 MiB, or to no power of two";
    for align in [3, PAGE + 1, 2 * ALIGN, u64::MAX] {
        assert_eq!(with(align), Err(ElfError::Segment { address: 0x1000, why }));
    }
}

#[test]
fn the_shim_is_linked_at_its_place() {
    let mut shim = file(&[[LOAD, RX, 0x1000, 0xffff_ffff_8000_0000, 0x100, 0x100]]);
    shim[16] = 2;
    shim[24..32].copy_from_slice(&0xffff_ffff_8000_0000_u64.to_le_bytes());
    let read = |base| Elf::read(&shim, shim.len() as u64, Kind::Shim(base));
    let elf = read(0xffff_ffff_8000_0000).unwrap();
    assert_eq!((elf.entry, elf.segments()[0].at), (0, 0));
    assert!(matches!(read(0xffff_ffff_9000_0000), Err(ElfError::Segment { why: "lies below the image", .. })));
    let file = file(&WHOLE);
    assert_eq!(Elf::read(&file, file.len() as u64, Kind::Shim(0)), Err(ElfError::Type(DYN)));
    let nothing = vec![0; 4096];
    assert_eq!(Elf::read(&nothing, 4096, Kind::Shim(0)), Err(ElfError::NotElf));
}
