//! The bytes of a project: those of small files in memory, those of others where they are.
//!
//! Owns how often a file is read: once to name it, and again by who asks for it. Refuses to give what is not what was named,
//! where nobody after it would see that.
//!
//! Invariant: of a long file there is no more than a piece in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gate::elf::HEAD;
use workload::Digest;
use workload::digest::Digesting;
use workload::package::{Built, Part};

/// Files of fewer bytes are read at once; the pieces of others have so many.
const PIECE: usize = 256 * 1024;

/// The bytes of a program or a file.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    Here(Vec<u8>),
    /// In this file.
    There(PathBuf),
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Here(bytes)
    }
}

impl Blob {
    /// What names a file, and its first bytes: as many as a program is judged by.
    pub(crate) fn part(path: &Path) -> io::Result<(Part<Self>, Vec<u8>)> {
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        // What is no file, such as a pipe, can be read only once.
        if !about.is_file() || about.len() < PIECE as u64 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let head = bytes.iter().take(HEAD).copied().collect();
            let Part { digest, size, bytes } = Part::from(bytes);
            return Ok((Part { digest, size, bytes: Self::Here(bytes) }, head));
        }
        let (mut head, mut size, mut digest) = (Vec::new(), 0, Digesting::default());
        let mut room = vec![0; PIECE];
        loop {
            let read = match file.read(&mut room) {
                Ok(0) => break,
                Ok(read) => room.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            head.extend(read.iter().take(HEAD - head.len()));
            digest.update(read);
            size += read.len() as u64;
        }
        Ok((Part { digest: digest.finish(), size, bytes: Self::There(path.to_owned()) }, head))
    }

    /// All of them.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Here(bytes) => Ok(bytes.clone()),
            Self::There(path) => std::fs::read(path),
        }
    }
}

/// A package with all of its bytes in memory.
pub(crate) fn whole(built: Built<Blob>) -> io::Result<Built> {
    let Built { manifest, digest, blobs } = built;
    let blobs = blobs.into_iter().map(|(descriptor, blob)| {
        let bytes = match blob {
            Blob::Here(bytes) => bytes,
            Blob::There(path) => {
                let bytes = std::fs::read(&path)?;
                if Digest::of(&bytes) != descriptor.digest {
                    return Err(io::Error::other(format!("{} was changed meanwhile", path.display())));
                }
                bytes
            }
        };
        Ok((descriptor, bytes))
    });
    Ok(Built { manifest, digest, blobs: blobs.collect::<io::Result<_>>()? })
}

/// Everything of a package, for a Keep: it checks what it gets.
#[derive(Debug)]
pub(crate) struct Stock {
    blobs: BTreeMap<Digest, (u64, Blob)>,
    /// Which file was read last.
    open: Option<(Digest, File)>,
    room: Vec<u8>,
}

impl Stock {
    pub(crate) fn new(built: Built<Blob>) -> Self {
        let Built { manifest, digest, blobs } = built;
        let manifest = (digest, (manifest.len() as u64, Blob::Here(manifest)));
        let blobs = blobs.into_iter().map(|(descriptor, blob)| (descriptor.digest, (descriptor.size, blob)));
        Self { blobs: blobs.chain([manifest]).collect(), open: None, room: Vec::new() }
    }
}

impl Clone for Stock {
    fn clone(&self) -> Self {
        Self { blobs: self.blobs.clone(), open: None, room: Vec::new() }
    }
}

impl keep::Blobs for Stock {
    fn read(&mut self, digest: Digest, offset: u64, most: usize) -> Option<(u64, &[u8])> {
        let (size, blob) = self.blobs.get(&digest)?;
        let length = usize::try_from(size.checked_sub(offset)?).unwrap_or(usize::MAX).min(most);
        match blob {
            Blob::Here(bytes) => {
                let start = usize::try_from(offset).ok()?;
                Some((*size, bytes.get(start..start.checked_add(length)?)?))
            }
            Blob::There(path) => {
                let file = match self.open.take().filter(|(open, _)| *open == digest) {
                    Some((_, file)) => file,
                    None => File::open(path).ok()?,
                };
                self.room.resize(length, 0);
                file.read_exact_at(&mut self.room, offset).ok()?;
                self.open = Some((digest, file));
                Some((*size, &self.room))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keep::Blobs;
    use workload::manifest::Manifest;
    use workload::package::{Package, ProgramKind};

    use super::*;

    /// Longer than two pieces.
    fn long() -> Vec<u8> {
        (0..=u8::MAX).cycle().take(2 * PIECE + 99).collect()
    }

    #[test]
    fn a_file_has_one_name_wherever_its_bytes_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (length, here) in [(0, true), (9, true), (HEAD + 1, true), (PIECE - 1, true), (PIECE, false)] {
            let bytes = &long()[..length];
            std::fs::write(&path, bytes).unwrap();
            let (part, head) = Blob::part(&path).unwrap();
            assert_eq!((part.digest, part.size), (Digest::of(bytes), length as u64));
            assert_eq!(head, bytes[..length.min(HEAD)]);
            assert_eq!(matches!(part.bytes, Blob::Here(_)), here, "{length}");
            assert_eq!(part.bytes.read().unwrap(), bytes);
        }
    }

    fn built(path: &Path, bytes: &[u8]) -> Built<Blob> {
        std::fs::write(path, bytes).unwrap();
        let (part, _) = Blob::part(path).unwrap();
        Package::of(&Manifest::default(), ProgramKind::Wasm, part, Vec::new()).unwrap()
    }

    #[test]
    fn a_keep_gets_all_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [b"few".to_vec(), long()] {
            let built = built(&dir.path().join("file"), &bytes);
            let (manifest, digest) = (built.manifest.clone(), built.digest);
            let program = built.blobs[1].0.digest;
            let mut stock = Stock::new(built).clone();
            let mut all = |digest| {
                let mut read = Vec::new();
                loop {
                    let (total, piece) = stock.read(digest, read.len() as u64, 1000).unwrap();
                    if piece.is_empty() {
                        assert_eq!(total, read.len() as u64);
                        return read;
                    }
                    read.extend_from_slice(piece);
                }
            };
            assert_eq!((all(digest), all(program), all(digest)), (manifest.clone(), bytes.clone(), manifest));
            assert!(
                stock.read(program, bytes.len() as u64 + 1, 9).is_none() && stock.read(program, u64::MAX, 9).is_none()
            );
            assert!(stock.read(Digest::of(b"another"), 0, 9).is_none());
        }
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_not_taken_for_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let before = built(&path, &long());
        let taken = whole(before.clone()).unwrap();
        assert_eq!((taken.digest, &taken.blobs[1].1), (before.digest, &long()), "control");
        let mut other = long();
        other[PIECE] ^= 1;
        std::fs::write(&path, &other).unwrap();
        let error = whole(before.clone()).unwrap_err();
        assert!(error.to_string().ends_with("file was changed meanwhile"), "{error}");
        std::fs::write(&path, &other[..PIECE]).unwrap();
        let (program, mut stock) = (before.blobs[1].0.digest, Stock::new(before));
        assert!(stock.read(program, 0, 9).is_some() && stock.read(program, PIECE as u64, 9).is_none(), "it is cut");
    }
}
