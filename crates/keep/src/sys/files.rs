//! Memory files: programs, and what programs read. Nothing of them is ever on a disk.
//!
//! Invariant: what left [`MemoryFile::seal`] cannot be changed by anybody, and what [`reader`] gives is for reading
//! only and has a place of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use gate::elf::HEAD;
use rustix::fs::{MemfdFlags, Mode, SealFlags};

/// How often a kernel is asked again.
const PATIENCE: usize = 20;

/// A file that grows.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    file: File,
    length: u64,
}

impl MemoryFile {
    /// For a program.
    pub(crate) fn program() -> io::Result<Self> {
        Self::new(MemfdFlags::EXEC, Mode::from_raw_mode(0o500))
    }

    /// A program that is there in whole.
    pub(crate) fn sealed(program: &[u8]) -> io::Result<OwnedFd> {
        let mut file = Self::program()?;
        file.append(program)?;
        file.seal()
    }

    /// For bytes.
    pub(crate) fn data() -> io::Result<Self> {
        Self::new(MemfdFlags::NOEXEC_SEAL, Mode::from_raw_mode(0o400))
    }

    fn new(executable: MemfdFlags, mode: Mode) -> io::Result<Self> {
        let make = |more| rustix::fs::memfd_create("donjon", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | more);
        // Hosts may demand that a memory file says whether it is executed; kernels before 6.3 do not know the words.
        let fd = make(executable).or_else(|_| make(MemfdFlags::empty()))?;
        rustix::fs::fchmod(&fd, mode)?;
        Ok(Self { file: fd.into(), length: 0 })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Its first bytes, as many as an ELF file is judged by.
    pub(crate) fn head(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX).min(HEAD);
        let mut head = vec![0; length];
        self.file.read_exact_at(&mut head, 0)?;
        Ok(head)
    }

    pub(crate) fn seal(self) -> io::Result<OwnedFd> {
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        let mut patience = PATIENCE;
        loop {
            match rustix::fs::fcntl_add_seals(&self.file, all) {
                // A kernel that moves pages about holds some of them for a moment. It waited 150 ms before it said so.
                Err(rustix::io::Errno::BUSY) if patience > 0 => patience -= 1,
                sealed => return Ok(sealed.map(|()| self.file.into())?),
            }
        }
    }
}

/// The same file, opened once more.
pub(super) fn reader(file: &OwnedFd) -> io::Result<OwnedFd> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn a_reader_has_its_own_place_and_cannot_write() {
        let mut file = MemoryFile::data().unwrap();
        file.append(b"ab").unwrap();
        file.append(b"cd").unwrap();
        assert_eq!((file.length(), file.head().unwrap()), (4, b"abcd".to_vec()));
        let sealed = file.seal().unwrap();
        let mut one = File::from(reader(&sealed).unwrap());
        let mut other = File::from(reader(&sealed).unwrap());
        let mut text = String::new();
        one.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), other.stream_position().unwrap()), ("abcd", 0));
        assert!(other.write(b"x").is_err());
        assert!(File::from(sealed).write_at(b"x", 0).is_err());
    }
}
