//! A program in exec's place: what exec hands over for it, and the change.
//!
//! Owns the store, which is a range of the program's half that is the shim's: the program's file, and the files that it
//! will find. The copier fills it, from exec's memory. After the change the program's file is gone, and the others can
//! only be read. Owns the stack that a program starts with, exec's too.
//!
//! Refuses what `gate::elf` refuses, more than there is memory for, and a change while other threads live.
//!
//! Invariant: what is refused costs exec nothing. After the change nothing is left of exec: no page, no descriptor but
//! the streams and the platform, no handler, no register.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use gate::elf::{Elf, ElfError, HEAD, Kind};
use gate::plan::{self, PAGE};
use gate::program::{ALL_FILES, FILE, FILES, PATH, PROGRAM, Path, Streams, Texts};

use crate::arch::entry::{self, Frame};
use crate::arch::lock::Lock;
use crate::arch::{self, Vectors, msr, user};
use crate::host::{Fatal, fatal};
use crate::memory::areas::{Area, KEPT, READ, TOP, WRITE};
use crate::memory::space::Space;
use crate::syscall::error::{EFAULT, EINVAL, Errno};
use crate::syscall::{files, random_word, signals, space};
use crate::threads::{self, SEATS};

/// What a stack may grow to.
const STACK: u64 = 8 << 20;
/// Pages that a program needs besides its own: tables, a first stack.
const SPARE: u64 = 64;
/// Bytes of the store.
const STORE: u64 = PROGRAM + ALL_FILES as u64;

/// A file for the program.
#[derive(Clone, Copy)]
struct File {
    path: [u8; PATH],
    named: usize,
    /// From the first byte of all files.
    at: u64,
    length: u64,
}

struct Store {
    /// Where it begins.
    place: u64,
    /// Bytes of the program's file.
    program: u64,
    files: [File; FILES],
    count: usize,
    /// Bytes of all files.
    used: u64,
    /// There was no memory for all of it.
    full: bool,
    head: [u8; HEAD],
}

static HANDED: Lock<Store> = Lock::new(Store {
    place: 0,
    program: 0,
    files: [File { path: [0; PATH], named: 0, at: 0, length: 0 }; FILES],
    count: 0,
    used: 0,
    full: false,
    head: [0; HEAD],
});

static CHANGED: AtomicBool = AtomicBool::new(false);

/// Whether it is a program that runs, and exec no more.
pub(crate) fn runs() -> bool {
    CHANGED.load(Ordering::Relaxed)
}

/// Why a program does not take exec's place, for people.
pub(crate) enum NotReplaced {
    Elf(ElfError),
    /// Bytes of the file, which did not fit, and pages of all memory.
    File(u64, u64),
    /// Pages that it becomes, and that are free.
    Memory(u64, u64),
    Threads,
}

/// Pages of a MiB.
const MIB: u64 = (1 << 20) / PAGE;

impl fmt::Display for NotReplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(error) => error.fmt(f),
            Self::File(bytes, pages) => write!(
                f,
                "its file of {} MiB does not fit twice, in exec and beside it, into the micro-VM's memory of {} MiB",
                bytes.div_ceil(PAGE).div_ceil(MIB),
                pages.div_ceil(MIB)
            ),
            Self::Memory(needed, free) => write!(
                f,
                "it needs {} MiB of memory, and beside its file and exec the micro-VM has {} MiB",
                needed.div_ceil(MIB),
                free.div_euclid(MIB)
            ),
            Self::Threads => f.write_str("exec has threads"),
        }
    }
}

/// Takes the next bytes of the program, which are exec's at `from`.
pub(crate) fn part(from: u64, length: u64) -> Result<(), Errno> {
    let mut store = HANDED.lock();
    let end = store.program.checked_add(length).filter(|end| *end <= PROGRAM).ok_or(EINVAL)?;
    let at = store.program;
    store.program = end;
    store.take(at, from, length)
}

/// Takes the next bytes of a file, or the first of another one.
pub(crate) fn file(path: Path<'_>, from: u64, length: u64) -> Result<(), Errno> {
    let mut store = HANDED.lock();
    let named = path.text().as_bytes();
    let last = store.count.checked_sub(1);
    let index = match store.find(named) {
        Some(index) if Some(index) == last => index,
        // A file twice.
        Some(_) => return Err(EINVAL),
        None => {
            let (index, at) = (store.count, store.used);
            let place = store.files.get_mut(index).ok_or(EINVAL)?;
            place.path.get_mut(..named.len()).ok_or(EINVAL)?.copy_from_slice(named);
            (place.named, place.at, place.length) = (named.len(), at, 0);
            store.count = index.saturating_add(1);
            index
        }
    };
    let used = store.used.checked_add(length).filter(|used| *used <= ALL_FILES as u64).ok_or(EINVAL)?;
    let place = store.files.get_mut(index).ok_or(EINVAL)?;
    place.length = place.length.checked_add(length).filter(|length| *length <= FILE as u64).ok_or(EINVAL)?;
    let at = PROGRAM.saturating_add(store.used);
    store.used = used;
    store.take(at, from, length)
}

/// Where a file lies, and its length, if the program has one of that path.
pub(crate) fn found(path: &[u8]) -> Option<(u64, u64)> {
    let store = HANDED.lock();
    let file = store.files.get(store.find(path).filter(|_| runs())?)?;
    Some((store.place.wrapping_add(PROGRAM).wrapping_add(file.at), file.length))
}

/// Puts the program in exec's place; with what it starts.
pub(crate) fn replace(arguments: Texts<'_>, environment: Texts<'_>, streams: Streams) -> Result<Frame, NotReplaced> {
    if !SEATS.alone() {
        return Err(NotReplaced::Threads);
    }
    let mut store = HANDED.lock();
    let elf = match store.judge() {
        Ok(elf) => elf,
        Err(why) => {
            store.forget();
            return Err(why);
        }
    };

    // From here on there is no way back.
    CHANGED.store(true, Ordering::Relaxed);
    files::keep_streams(streams);
    signals::forget();
    threads::forget();
    arch::write_msr(msr::FS_BASE, 0);
    Vectors::NEW.restore();
    entry::wipe();
    let cleared = space().clear();
    let Some(base) = cleared.and_then(|()| load(&elf, store.place)) else { fatal(Fatal::Memory, 1) };
    let mut space = space();
    space.release(store.place, PROGRAM);
    space.only_read(store.place.wrapping_add(PROGRAM), store.used);
    let image = Image {
        entry: base.wrapping_add(elf.entry),
        headers: base.wrapping_add(elf.headers),
        headers_count: elf.headers_count,
    };
    let end = elf.segments().last().map_or(0, |load| load.at.saturating_add(load.size));
    let frame = arrange(&mut space, base.saturating_add(end))
        .and_then(|top| stack(&mut space, top, &image, arguments, environment));
    frame.map_or_else(|| fatal(Fatal::Memory, 2), Ok)
}

impl Store {
    fn find(&self, path: &[u8]) -> Option<usize> {
        let known = self.files.get(..self.count).unwrap_or_default();
        known.iter().position(|file| file.path.get(..file.named) == Some(path))
    }

    /// Copies exec's bytes to that place of the store.
    fn take(&mut self, at: u64, from: u64, length: u64) -> Result<(), Errno> {
        if from.checked_add(length).is_none_or(|end| end > TOP) {
            return Err(EFAULT);
        }
        let to = self.place.wrapping_add(at);
        // What is missing is told when the program is to start.
        self.full |= !space().fill(to, length);
        if length == 0 || self.full { Ok(()) } else { entry::copy(to, from, length).map_err(|()| EFAULT) }
    }

    fn forget(&mut self) {
        space().release(self.place, STORE);
        (self.program, self.count, self.used, self.full) = (0, 0, 0, false);
    }

    /// Whether the program can be started.
    fn judge(&mut self) -> Result<Elf, NotReplaced> {
        if self.full {
            return Err(NotReplaced::File(self.program, space().frames.all()));
        }
        let length = usize::try_from(self.program).unwrap_or(HEAD).min(HEAD);
        let head = self.head.get_mut(..length).unwrap_or_default();
        let mut space = space();
        let spare = |space: &Space| NotReplaced::Memory(SPARE, space.frames.free());
        space.ready(self.place, length as u64, READ).map_err(|_| spare(&space))?;
        user::read(self.place, head);
        let elf = Elf::read(head, self.program, Kind::Program).map_err(NotReplaced::Elf)?;
        let needed = elf.segments().iter().fold(SPARE, |sum, load| sum.saturating_add(load.pages().pages));
        // exec's own pages come back before they are needed, but how many they are is not known.
        let free = space.frames.free();
        if needed > free { Err(NotReplaced::Memory(needed, free)) } else { Ok(elf) }
    }
}

/// Maps the program, and copies it from its file; where it lies.
fn load(elf: &Elf, file: u64) -> Option<u64> {
    let base = base();
    let place = |load: &gate::elf::Load| {
        let pages = load.pages();
        let first = base.wrapping_add(pages.first.wrapping_mul(PAGE));
        (first, first.wrapping_add(pages.pages.wrapping_mul(PAGE)))
    };
    for load in elf.segments() {
        let (start, end) = place(load);
        space().areas.insert(Area::new(start, end, READ | WRITE)).ok()?;
        if load.length > 0 {
            entry::copy(base.wrapping_add(load.at), file.wrapping_add(load.offset), load.length).ok()?;
        }
        space().protect(start, end.wrapping_sub(start), load.protection).ok()?;
    }
    Some(base)
}

/// Finds a place for the store.
pub(crate) fn place_store(space: &mut Space) -> Option<()> {
    let start = space.areas.room(STORE, space.below)?;
    space.areas.insert(Area::new(start, start.checked_add(STORE)?, READ | WRITE | KEPT)).ok()?;
    HANDED.lock().place = start;
    Some(())
}

/// A random multiple of 2 MiB, below the given number of them.
fn random_table(below: u64) -> u64 {
    random_word().checked_rem(below).unwrap_or(0).wrapping_mul(plan::TABLE)
}

/// Where a program lies: low, and all else high, as Linux does it; 32 GiB of places for each.
pub(crate) fn base() -> u64 {
    random_table(1 << 14).wrapping_add(0x5555_0000_0000)
}

/// Chooses where heap, stack and mappings of a program lie that ends at `end`; the stack's top.
pub(crate) fn arrange(space: &mut Space, end: u64) -> Option<u64> {
    let heap = end.checked_next_multiple_of(PAGE)?.checked_add(random_table(1 << 8))?.checked_add(plan::TABLE)?;
    space.heap = (heap, heap);
    // Below what the shim keeps there, if anything.
    let kept = space.areas.within(end, TOP).next().map_or(TOP, |area| area.start & !(plan::TABLE.wrapping_sub(1)));
    let top = kept.checked_sub(random_table(1 << 14))?.checked_sub(PAGE)?;
    let bottom = top.checked_sub(STACK)?;
    space.areas.insert(Area::new(bottom, top, READ | WRITE)).ok()?;
    space.below = bottom.checked_sub(random_table(1 << 13))?.checked_sub(plan::TABLE)?;
    Some(top)
}

/// What a program's start says of it.
pub(crate) struct Image {
    pub(crate) entry: u64,
    pub(crate) headers: u64,
    pub(crate) headers_count: u64,
}

/// Lays out a stack as Linux does (x86-64 psABI, "Initial Stack and Register State"); with what the program starts.
#[allow(clippy::arithmetic_side_effects, reason = "texts are bounded, and the stack is larger")]
pub(crate) fn stack(
    space: &mut Space,
    top: u64,
    image: &Image,
    arguments: Texts<'_>,
    environment: Texts<'_>,
) -> Option<Frame> {
    let random = [random_word(), random_word()];
    let auxiliary = [
        [3, image.headers],
        [4, 56],
        [5, image.headers_count],
        [6, PAGE],
        [9, image.entry],
        [23, 0],
        [25, 0],
        [33, user::PLACE.load(Ordering::Relaxed)],
        [0, 0],
    ];
    let texts = arguments.bytes().len() as u64 + environment.bytes().len() as u64;
    let data = (top - 16 - texts) & !15;
    let words = 1 + arguments.iter().count() + 1 + environment.iter().count() + 1 + 2 * auxiliary.len();
    let start = (data - 8 * words as u64) & !15;
    space.ready(start, top - start, WRITE).ok()?;
    let mut at = start;
    let mut put = |word: u64| {
        user::write(at, &word.to_le_bytes());
        at += 8;
    };
    put(arguments.iter().count() as u64);
    let mut text = data + 16;
    for list in [arguments, environment] {
        user::write(text, list.bytes());
        for one in list.iter() {
            put(text);
            text += one.len() as u64 + 1;
        }
        put(0);
    }
    for [kind, value] in auxiliary {
        put(kind);
        put(if kind == 25 { data } else { value });
    }
    for (word, at) in random.into_iter().zip([data, data + 8]) {
        user::write(at, &word.to_le_bytes());
    }
    Some(Frame { rip: image.entry, rsp: start, ..Frame::default() })
}

/// Tells the host process that the Keep's end is the program's from now on: a Replace of its own, without an answer.
pub(crate) const NOTICE: [u8; 22] = *b"\x12\0\0\0\x07\x08\0\0\0program\0\0\0\0\0\x07";
