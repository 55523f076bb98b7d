//! Memory that a micro-VM sees: mapped here, given to the machine, and touched by both.
//!
//! Invariant: nothing in this process has a reference into it. Words are read and written whole, bytes are copied, and the
//! kernel's reads and writes go to checked ranges.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use gate::ring::{BLOCK, CONTROL, DATA};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

pub(crate) struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, and nobody has a reference into it; whoever reads it copies, and takes what it
// copied for what some processor or thread wrote at some time.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody has a reference into it. A machine that has it is gone before: see `give`.
        _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

impl Memory {
    /// Reserves that many bytes; the kernel gives pages when they are touched.
    pub(crate) fn new(length: u64) -> std::io::Result<Self> {
        let length = usize::try_from(length).map_err(std::io::Error::other)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags)?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| std::io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }

    /// A memory file of that many bytes, for another process to see the same memory.
    pub(crate) fn file(length: u64) -> std::io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create("keep-memory", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, length)?;
        Ok(file)
    }

    /// That many bytes of a memory file.
    pub(crate) fn of(file: BorrowedFd<'_>, length: u64) -> std::io::Result<Self> {
        let length = usize::try_from(length).map_err(std::io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice. The file has that length and nobody shrinks it: whoever
        // has it is one of us.
        let start = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, file, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| std::io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }

    /// Makes it the machine's memory from `at` on.
    pub(crate) fn give(&self, vm: &VmFd, slot: u32, at: u64) -> Result<(), kvm_ioctls::Error> {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: at,
            memory_size: self.length as u64,
            userspace_addr: self.start.as_ptr() as u64,
        };
        // SAFETY: the mapping is as long as said, and stays until this process ends or the machine is gone: the monitor
        // never drops it before.
        unsafe { vm.set_user_memory_region(region) }
    }

    /// A checked range.
    fn range(&self, at: usize, length: usize) -> Option<*mut u8> {
        at.checked_add(length).filter(|end| *end <= self.length)?;
        // SAFETY: within the mapping.
        Some(unsafe { self.start.as_ptr().add(at) })
    }

    /// Copies bytes in. What does not fit is a defect of the caller.
    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        let place = usize::try_from(at).ok().and_then(|at| self.range(at, bytes.len())).expect("within the memory");
        // SAFETY: a range of the mapping, and nobody has a reference into it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) }
    }

    /// Lets whole pages begin as those of a file: what is written to them is not written to it. To be called before the
    /// machine has the memory.
    pub(crate) fn map(&self, at: u64, length: usize, origin: &Origin, offset: u64) -> std::io::Result<()> {
        let place = usize::try_from(at).ok().and_then(|at| self.range(at, length)).expect("within the memory");
        // SAFETY: it replaces a range of our own mapping, to which nobody has a reference.
        let mapped = unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED;
            rustix::mm::mmap(place.cast(), length, ProtFlags::READ | ProtFlags::WRITE, flags, &origin.file, offset)?
        };
        debug_assert_eq!(mapped, place.cast());
        Ok(())
    }

    /// Copies bytes out; `None` if they are not all there.
    pub(crate) fn get(&self, at: u64, bytes: &mut [u8]) -> Option<()> {
        let place = usize::try_from(at).ok().and_then(|at| self.range(at, bytes.len()))?;
        // SAFETY: as for `put`.
        unsafe { std::ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), bytes.len()) }
        Some(())
    }

    /// A word that several threads and processes use; all of them as this.
    pub(crate) fn counter(&self, index: usize) -> &AtomicU64 {
        let place = self.range(8 * index, 8).expect("a word of the memory");
        // SAFETY: aligned, because mappings begin on a page; within the mapping, which lives as long as this. Whoever
        // counts in a memory does nothing else with it.
        unsafe { AtomicU64::from_ptr(place.cast()) }
    }

    /// The block of a processor.
    pub(crate) fn block(&self, processor: usize) -> Block<'_> {
        Block { memory: self, at: processor * BLOCK }
    }
}

/// Where bytes of this program lie in its file.
pub(crate) struct Origin {
    file: std::fs::File,
    /// The bytes, as addresses.
    bytes: std::ops::Range<usize>,
    /// Where the first is in the file.
    offset: usize,
}

impl Origin {
    /// `None` where that cannot be found out, or where they do not begin with a page.
    pub(crate) fn of(bytes: &'static [u8]) -> Option<Self> {
        let range = bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len();
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        // start-end rights offset device inode path
        let offset = maps.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let (start, end, offset) = (number(start)?, number(end)?, number(fields.nth(1)?)?);
            (start <= range.start && range.end <= end).then(|| offset + (range.start - start))
        })?;
        let file = std::fs::File::open("/proc/self/exe").ok()?;
        offset.is_multiple_of(4096).then_some(Self { file, bytes: range, offset })
    }

    /// Where a part of the bytes begins in the file.
    pub(crate) fn find(&self, part: &[u8]) -> Option<u64> {
        let start = part.as_ptr() as usize;
        let within = self.bytes.contains(&start) && start + part.len() <= self.bytes.end;
        within.then(|| (self.offset + (start - self.bytes.start)) as u64)
    }
}

/// The memory that a processor shares with its host.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    memory: &'a Memory,
    at: usize,
}

impl Block<'_> {
    fn range(&self, at: usize, length: usize) -> Option<*mut u8> {
        self.memory.range(self.at.checked_add(at)?, length)
    }

    /// A word of the control part, once.
    pub(crate) fn word(&self, index: usize) -> u64 {
        let place = self.range(8 * index, 8).expect("a word of the control part");
        // SAFETY: aligned, because mappings begin on a page; a range of the mapping.
        unsafe { place.cast::<u64>().read_volatile() }
    }

    /// Sets a word of the control part.
    pub(crate) fn set_word(&self, index: usize, value: u64) {
        let place = self.range(8 * index, 8).expect("a word of the control part");
        // SAFETY: as for `word`.
        unsafe { place.cast::<u64>().write_volatile(value) }
    }

    /// Where this word stands in the block, at any multiple of 8.
    pub(crate) fn find(&self, value: u64) -> Option<usize> {
        (0..BLOCK / 8).find(|index| self.word(*index) == value)
    }

    fn data(&self, offset: u32, length: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        offset.checked_add(length).filter(|end| *end <= DATA)?;
        self.range(CONTROL + offset, length)
    }

    /// Copies bytes of the data part out; what is past its end stays as it is.
    pub(crate) fn get_data(&self, offset: u32, bytes: &mut [u8]) {
        let length = bytes.len().min(DATA.saturating_sub(offset as usize));
        let Some(place) = self.data(offset, length) else { return };
        // SAFETY: a range of the mapping. The Keep may write while this reads, so the bytes are copied and then judged.
        unsafe { std::ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), length) }
    }

    /// Copies bytes into the data part, as far as it reaches.
    pub(crate) fn put_data(&self, offset: u32, bytes: &[u8]) {
        let length = bytes.len().min(DATA.saturating_sub(offset as usize));
        let Some(place) = self.data(offset, length) else { return };
        // SAFETY: as for `get_data`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, length) }
    }

    /// `read(2)` into the data part.
    pub(crate) fn read(&self, fd: BorrowedFd<'_>, offset: u32, length: u32) -> Result<u64, Errno> {
        let place = self.data(offset, length as usize).ok_or(Errno::FAULT)?;
        // SAFETY: a range of the mapping, which the kernel fills.
        let count = unsafe { libc::read(fd.as_raw_fd(), place.cast(), length as usize) };
        result(count)
    }

    /// `write(2)` out of the data part. A pipe or peer that is gone is an error number, not a signal.
    pub(crate) fn write(&self, fd: BorrowedFd<'_>, offset: u32, length: u32) -> Result<u64, Errno> {
        let place = self.data(offset, length as usize).ok_or(Errno::FAULT)?;
        // SAFETY: a range of the mapping, which the kernel reads. Rust programs ignore SIGPIPE.
        let count = unsafe { libc::write(fd.as_raw_fd(), place.cast(), length as usize) };
        result(count)
    }
}

fn result(count: isize) -> Result<u64, Errno> {
    u64::try_from(count).map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
