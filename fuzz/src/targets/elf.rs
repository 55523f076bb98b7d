//! ELF files as the shim and the monitor take them (`spec/gate.md`, What a program must be), and a micro-VM's memory as
//! the monitor lays it out from them.
//!
//! What must hold: what is taken can be mapped as it stands, and is; no page of it is writable and executable at once or
//! mapped twice.

use gate::elf::{Elf, HEAD, LARGEST};
use gate::plan::{PAGE, Platform, SHIM, Segment};

use crate::machine::elf::{Image, Kind, load};
use crate::machine::layout::Layout;
use crate::{Defect, Target, number, shape};

pub(crate) const ELF: Target =
    Target { name: "elf", reads: "gate::elf::Elf, and the layout of a micro-VM from it", short: 5_000, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let length = input.len() as u64;
    // A shim is part of the image, and still no file may break its loader.
    _ = load(input, Kind::Shim(SHIM));
    let read = Elf::read(input, length, Kind::Program);
    assert_eq!(read, Elf::read(&input[..input.len().min(HEAD)], length, Kind::Program), "its first page is enough");
    let elf = match read {
        Ok(elf) => elf,
        Err(error) => {
            assert_eq!(load(input, Kind::Program), Err(error));
            return vec![shape(&error)];
        }
    };
    let mut loads = elf.segments().to_vec();
    if defect == Defect::Planted && elf.align > PAGE {
        // Planted: what is aligned to more than a page is writable.
        loads.iter_mut().for_each(|load| load.protection |= 2);
    }

    assert!(elf.align.is_power_of_two() && (PAGE..=512 * PAGE).contains(&elf.align), "{elf:?}");
    let mut next = 0;
    for load in &loads {
        assert!(load.size > 0 && load.length <= load.size && load.offset + load.length <= length, "{load:?}");
        assert!(load.protection < 8 && load.protection & 6 != 6, "{load:?}");
        assert_eq!(load.at % PAGE, load.offset % PAGE, "{load:?}");
        let Segment { first, pages, protection } = load.pages();
        assert!(first >= next && first * PAGE <= load.at && protection == load.protection, "{load:?}");
        next = first + pages;
        assert!(load.at + load.size <= next * PAGE && next * PAGE <= LARGEST, "{load:?}");
    }
    let at = |at: u64, size: u64| loads.iter().find(|load| at >= load.at && at + size <= load.at + load.length);
    assert!(at(elf.entry, 1).is_some_and(|load| load.protection & 4 != 0), "{elf:?}");
    assert!(at(elf.headers, 56 * elf.headers_count).is_some(), "{elf:?}");

    // What is large is zeroes; looking at all of them each time would be all that is done here.
    if next * PAGE <= 1 << 20 {
        loaded(input, &elf, next);
    }
    let writable = loads.iter().filter(|load| load.protection & 2 != 0).count();
    vec![number(&(loads.len(), writable, elf.align, next > 512))]
}

/// What lies in memory: the file's bytes at their places, zeroes elsewhere, and tables that map each page once.
fn loaded(file: &[u8], elf: &Elf, pages: u64) {
    let size = |number: u64| usize::try_from(number).expect("below 1 MiB");
    let Image { pages: bytes, segments, entry, headers, headers_count } =
        load(file, Kind::Program).expect("what is judged good is loaded");
    assert_eq!((entry, headers, headers_count), (elf.entry, elf.headers, elf.headers_count));
    let mut expected = vec![0; size(pages * PAGE)];
    for load in elf.segments() {
        let from = &file[size(load.offset)..size(load.offset + load.length)];
        expected[size(load.at)..size(load.at + load.length)].copy_from_slice(from);
    }
    assert!(bytes.to_vec() == expected, "{elf:?}");

    let shim = shim();
    let layout = Layout::new(&shim, file, Platform::Plain, 0).expect("what is judged good is laid out");
    let mut free = PAGE;
    for part in &layout.parts {
        assert!(part.at >= free && (part.pages.len() as u64).is_multiple_of(PAGE), "{} overlaps", part.name);
        free = part.at + part.pages.len() as u64;
    }
    assert_eq!(layout.free, free);
    let [.., program, tables] = &layout.parts[..] else { panic!("there are parts") };
    assert!(program.pages.to_vec() == expected);
    let tables = tables.pages.to_vec();
    let entries = tables.as_chunks().0.iter().map(|entry| u64::from_le_bytes(*entry));
    for (page, entry) in (0..).zip(entries) {
        let of = segments.iter().find(|segment| (segment.first..segment.first + segment.pages).contains(&page));
        let writable = |protection: u64| u64::from(protection & 2 != 0) << 1;
        let bare = |protection: u64| u64::from(protection & 4 == 0) << 63;
        // AMD64 APM volume 2, section 5.4: present, writable, user, no-execute; the shim's own marks apart.
        let expected = of.map_or(0, |segment| {
            (program.at + page * PAGE) | 5 | writable(segment.protection) | bare(segment.protection)
        });
        assert_eq!(entry & 0x800f_ffff_ffff_f007, expected, "page {page} of {elf:?}");
    }
}

/// Type, flags, offset, address, bytes in the file, bytes in memory, alignment.
type Header = [u64; 7];

fn file(kind: u8, entry: u64, headers: &[Header], length: usize) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    elf[16] = kind;
    for word in [entry, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, headers.len().to_le_bytes()[0], 0, 0, 0, 0, 0, 0, 0]);
    for [kind, flags, offset, address, in_file, in_memory, align] in headers {
        elf.extend((kind | flags << 32).to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, align] {
            elf.extend(word.to_le_bytes());
        }
    }
    elf.resize(length, 0xcc);
    elf
}

fn shim() -> Vec<u8> {
    file(2, SHIM, &[[1, 5, 0x1000, SHIM, 0x10, 0x10, PAGE]], 0x1010)
}

fn seeds() -> Vec<Vec<u8>> {
    const STACK: Header = [0x6474_e551, 6, 0, 0, 0, 0, 16];
    let small = [[1, 5, 0, 0, 0x400, 0x400, PAGE], STACK];
    let whole = [
        [1, 4, 0, 0, 0x400, 0x400, PAGE],
        [1, 5, 0x400, 0x1400, 0x100, 0x100, PAGE],
        [1, 6, 0x500, 0x3500, 0x80, 0x2000, PAGE],
        [2, 6, 0x510, 0x3510, 0x40, 0x40, 8],
        STACK,
    ];
    let mut many = vec![[1, 5, 0, 0, 0x400, 0x400, PAGE], STACK];
    many.extend((1..8).map(|n| [1, 4 | n & 2, 0x400, 0x2400 * n + (PAGE - 0x400) * n, 0x10, 0x1000 * n, PAGE << n]));
    for header in many.iter_mut().skip(2) {
        header[3] = header[3] / PAGE * PAGE + 0x400;
    }
    vec![
        file(3, 0x200, &small, 0x400),
        file(3, 0x1410, &whole, 0x580),
        file(3, 0x210, &many, 0x410),
        file(2, SHIM, &[[1, 5, 0x400, SHIM + 0x400, 0x10, 0x10, PAGE]], 0x410),
        shim(),
    ]
}
