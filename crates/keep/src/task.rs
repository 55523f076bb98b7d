//! What is started under the call table: exec, or the program that takes its place, as exec hands it over.
//!
//! Owns the bounds on what a Keep may leave with its host ([`Handed`]), and the judgement of a program before anything
//! is ended for it. Refuses more bytes than `spec/gate.md` says, as a breach of the protocol, and ELF files that no
//! Keep runs.
//!
//! Invariant: a [`Task`] is complete. Its program and its files are sealed, so that nobody changes them later; but for
//! exec as a file of its user, which only who could change this program too can change.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use gate::elf::{Elf, ElfError, Kind};
use gate::program::{ALL_FILES, FILE, FILES, PROGRAM, Path, Streams, Texts};

use crate::cache::Stored;
use crate::launch::Stdio;
use crate::sys::MemoryFile;

/// All that a process is made of, but its descriptor 3.
#[derive(Debug)]
#[cfg_attr(not(guest), allow(dead_code, reason = "nothing is started here"))]
pub(crate) struct Task {
    /// The program.
    pub(crate) image: OwnedFd,
    /// Its name is the first.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Standard input, output and error.
    pub(crate) streams: [Stdio; 3],
    pub(crate) files: Files,
}

/// What it can open, by path.
#[derive(Debug)]
#[cfg_attr(not(guest), allow(dead_code, reason = "nothing is started here"))]
pub(crate) enum Files {
    /// What exec gave to a program.
    Given(Vec<(String, OwnedFd)>),
    /// What exec stored at earlier starts, if that is kept.
    Stored(Option<Stored>),
}

impl Task {
    /// exec itself, or whatever a test puts in its place.
    pub(crate) fn exec(image: OwnedFd, stdio: Stdio, stored: Option<Stored>) -> Self {
        let files = Files::Stored(stored);
        Self { image, arguments: vec!["exec".into()], environment: Vec::new(), streams: [stdio; 3], files }
    }
}

/// What exec handed over so far.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    image: Option<MemoryFile>,
    files: Vec<(String, MemoryFile)>,
    bytes_of_files: usize,
}

/// Why it is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandError {
    /// More than `spec/gate.md` allows.
    #[error("exec handed over {0}")]
    Over(&'static str),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What became of a program.
pub(crate) enum Judged {
    Ready(Box<Task>),
    Refused(ElfError),
}

impl Handed {
    /// Takes the next bytes of the program.
    pub(crate) fn part(&mut self, bytes: &[u8]) -> Result<(), HandError> {
        let image = match &mut self.image {
            Some(image) => image,
            none => none.insert(MemoryFile::program()?),
        };
        if image.length().saturating_add(bytes.len() as u64) > PROGRAM {
            return Err(HandError::Over("a program that is too long"));
        }
        Ok(image.append(bytes)?)
    }

    /// Takes the next bytes of a file, or the first of another one.
    pub(crate) fn file(&mut self, path: Path<'_>, bytes: &[u8]) -> Result<(), HandError> {
        if self.files.last().is_none_or(|(last, _)| last != path.text()) {
            if self.files.iter().any(|(known, _)| known == path.text()) {
                return Err(HandError::Over("a file twice"));
            }
            if self.files.len() == FILES {
                return Err(HandError::Over("too many files"));
            }
            self.files.push((path.text().to_owned(), MemoryFile::data()?));
        }
        let Some((_, file)) = self.files.last_mut() else { return Ok(()) };
        self.bytes_of_files = self.bytes_of_files.saturating_add(bytes.len());
        if file.length().saturating_add(bytes.len() as u64) > FILE as u64 || self.bytes_of_files > ALL_FILES {
            return Err(HandError::Over("files that are too long"));
        }
        Ok(file.append(bytes)?)
    }

    /// The whole program, if it is one. Where the host has no streams for its Keep there are none, whatever exec says.
    pub(crate) fn judge(
        self,
        arguments: Texts<'_>,
        environment: Texts<'_>,
        streams: Streams,
        stdio: Stdio,
    ) -> io::Result<Judged> {
        let image = match self.image {
            Some(image) => image,
            None => MemoryFile::program()?,
        };
        if let Err(error) = Elf::read(&image.head()?, image.length(), Kind::Program) {
            return Ok(Judged::Refused(error));
        }
        let Streams { stdin, stdout, stderr } = streams;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let variable = |bytes: &[u8]| {
            // `gate` has checked that there is a name before a `=`.
            let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
            (text(&bytes[..at]), text(bytes.get(at + 1..).unwrap_or_default()))
        };
        let files = self.files.into_iter().map(|(path, file)| Ok((path, file.seal()?))).collect::<io::Result<_>>()?;
        Ok(Judged::Ready(Box::new(Task {
            image: image.seal()?,
            arguments: arguments.iter().map(text).collect(),
            environment: environment.iter().map(variable).collect(),
            streams: [stdin, stdout, stderr].map(|host| if host { stdio } else { Stdio::Null }),
            files: Files::Given(files),
        })))
    }
}

/// The smallest program that a Keep runs: this code, from its first instruction on.
#[cfg(test)]
pub(crate) fn tiny(code: &[u8]) -> Vec<u8> {
    let (start, size) = (64 + 2 * 56_u64, 64 + 2 * 56 + code.len() as u64);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    for word in [start, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    // One segment with everything, readable and executable; and a stack that is not.
    for header in [[1 | 5 << 32, 0, 0, 0, size, size, 0x1000], [0x6474_e551 | 6 << 32, 0, 0, 0, 0, 0, 16]] {
        elf.extend(header.into_iter().flat_map(u64::to_le_bytes));
    }
    elf.extend(code);
    elf
}

/// Code of a program that makes a system call with one argument, and then computes for ever.
#[cfg(test)]
pub(crate) fn calls(number: u8, argument: u8) -> Vec<u8> {
    // mov eax,NUMBER; mov edi,ARGUMENT; syscall; jmp .
    vec![0xb8, number, 0, 0, 0, 0xbf, argument, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe]
}

#[cfg(all(test, guest))]
mod tests {
    use gate::message::CHUNK;

    use super::*;

    fn over(result: Result<(), HandError>) -> &'static str {
        match result {
            Err(HandError::Over(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_have_bounds() {
        let chunk = vec![7; CHUNK];
        let mut handed = Handed::default();
        let name = |index: usize| format!("/file{index}");
        for index in 0..ALL_FILES / FILE {
            for _ in 0..FILE / CHUNK {
                handed.file(Path::new(&name(index)).unwrap(), &chunk).unwrap();
            }
            assert_eq!(handed.files.last().unwrap().1.length(), FILE as u64);
        }
        assert_eq!(over(handed.file(Path::new("/more").unwrap(), b"x")), "files that are too long", "all of them");

        let mut handed = Handed::default();
        let path = Path::new("/one").unwrap();
        for _ in 0..FILE / CHUNK {
            handed.file(path, &chunk).unwrap();
        }
        assert_eq!(over(handed.file(path, b"x")), "files that are too long", "one of them");

        let mut handed = Handed::default();
        for index in 0..FILES {
            handed.file(Path::new(&name(index)).unwrap(), b"").unwrap();
        }
        assert_eq!(over(handed.file(path, b"")), "too many files");
        assert_eq!(over(handed.file(Path::new("/file0").unwrap(), b"")), "a file twice");
        handed.file(Path::new(&name(FILES - 1)).unwrap(), b"x").unwrap();
    }

    #[test]
    fn nothing_is_no_program() {
        let texts = |bytes| Texts::new(bytes).unwrap();
        let streams = Streams { stdin: true, stdout: true, stderr: true };
        let mut handed = Handed::default();
        handed.file(Path::new("/a").unwrap(), b"x").unwrap();
        let judged = handed.judge(texts(b"program\0"), texts(b""), streams, Stdio::Inherit).unwrap();
        assert!(matches!(judged, Judged::Refused(ElfError::NotElf)));
    }

    /// The host's wish and the manifest's: a stream leads somewhere only if both say so.
    #[test]
    fn a_task_is_what_was_handed_over() {
        let texts = |bytes| Texts::new(bytes).unwrap();
        let (to_host, exec) = (Stdio::Inherit, crate::Image::built_in().unwrap().exec());
        for (stdio, expected) in [(to_host, [to_host, Stdio::Null, to_host]), (Stdio::Null, [Stdio::Null; 3])] {
            let mut handed = Handed::default();
            exec.chunks(CHUNK).for_each(|part| handed.part(part).unwrap());
            handed.file(Path::new("/a").unwrap(), b"x").unwrap();
            let streams = Streams { stdin: true, stdout: false, stderr: true };
            let judged = handed.judge(texts(b"program\0b c\0"), texts(b"A=x=y\0B=\0"), streams, stdio).unwrap();
            let Judged::Ready(task) = judged else { panic!() };
            assert_eq!(task.arguments, ["program", "b c"]);
            assert_eq!(task.environment, [("A".into(), "x=y".into()), ("B".into(), OsString::new())]);
            assert_eq!(task.streams, expected);
            assert!(matches!(&task.files, Files::Given(files) if files[0].0 == "/a"));
        }
    }
}
