//! What exec hands over for a program that takes its place: the parts of messages that describe it, and their bounds.
//!
//! Owns the forms in which the lower side uses them as they come: texts as they will stand on a stack, paths as they
//! are compared. Refuses paths that could be spelled in two ways, and variables without a name.
//!
//! Invariant: nothing here is copied or allocated to be read, because a shim has no room for it.

use alloc::vec::Vec;

/// The most bytes of a program, as of `workload`. A micro-VM holds no more than its free memory: file and running
/// program are in it at the same time.
pub const PROGRAM: u64 = 512 << 20;

/// The most files.
pub const FILES: usize = 64;
/// The most bytes of a file.
pub const FILE: usize = 1 << 20;
/// The most bytes of all files.
pub const ALL_FILES: usize = 4 << 20;
/// The most bytes of a path.
pub const PATH: usize = 255;
/// The most bytes that arguments and environment take: each with its NUL and its pointer.
pub const STACK: usize = 64 << 10;

/// Texts one after the other, each ended by NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texts<'a>(&'a [u8]);

impl<'a> Texts<'a> {
    /// `None` if the last one has no end.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.last().is_none_or(|last| *last == 0).then_some(Self(bytes))
    }

    /// All of them, with their ends.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Each, without its end.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split_inclusive(|byte| *byte == 0).map(|text| text.strip_suffix(&[0]).unwrap_or(text))
    }

    /// Bytes that they take on a stack, with a pointer to each.
    #[must_use]
    pub fn room(self) -> usize {
        self.0.len().saturating_add(self.iter().count().saturating_mul(8))
    }

    /// Whether each is `NAME=VALUE`.
    pub(crate) fn are_variables(self) -> bool {
        self.iter().all(|text| text.iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0))
    }
}

/// Puts texts one after the other for [`Texts::new`]. A text with a NUL in it would become two.
#[must_use]
pub fn join<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        out.extend_from_slice(text.as_ref());
        out.push(0);
    }
    out
}

/// The name of a file: absolute, and of the one spelling that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// `None` if it is relative, longer than [`PATH`], has a NUL, or a component that is empty, `.` or `..`.
    #[must_use]
    pub fn new(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix('/')?;
        let fits = path.len() <= PATH && !path.contains('\0');
        (fits && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))).then_some(Self(path))
    }

    /// As it is compared.
    #[must_use]
    pub const fn text(self) -> &'a str {
        self.0
    }
}

/// Which standard streams lead to the host. The others are empty, or drop what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Streams {
    pub(crate) fn byte(self) -> u8 {
        u8::from(self.stdin) | u8::from(self.stdout) << 1 | u8::from(self.stderr) << 2
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        (byte < 8).then_some(Self { stdin: byte & 1 != 0, stdout: byte & 2 != 0, stderr: byte & 4 != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn texts_are_what_was_joined() {
        let joined = join(["program", "", "a b"]);
        assert_eq!(joined, b"program\0\0a b\0");
        let texts = Texts::new(&joined).unwrap();
        assert_eq!(texts.iter().collect::<Vec<_>>(), [&b"program"[..], b"", b"a b"]);
        assert_eq!(texts.room(), joined.len() + 3 * 8);
        assert_eq!(Texts::new(b"").unwrap().iter().count(), 0);
        assert_eq!(Texts::new(b"a\0b"), None);
    }

    #[test]
    fn a_variable_has_a_name() {
        for (bytes, are) in
            [(&b""[..], true), (b"A=\0B=x=y\0", true), (b"A\0", false), (b"A=1\0=x\0", false), (b"\0", false)]
        {
            assert_eq!(Texts::new(bytes).unwrap().are_variables(), are, "{bytes:?}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in ["/a", "/donjon/identity/key.pem", "/a.b/..c"] {
            assert_eq!(Path::new(path).unwrap().text(), path);
        }
        for path in ["", "/", "a", "a/b", "//a", "/a/", "/a//b", "/./a", "/a/..", "/a\0b"] {
            assert_eq!(Path::new(path), None, "{path:?}");
        }
        let long = |length: usize| ["/", &"x".repeat(length - 1)].concat();
        assert!(Path::new(&long(PATH)).is_some(), "control");
        assert_eq!(Path::new(&long(PATH + 1) as &String), None);
    }

    #[test]
    fn streams_are_three_bits() {
        for byte in 0..=u8::MAX {
            assert_eq!(Streams::of(byte).map(Streams::byte), (byte < 8).then_some(byte));
        }
    }
}
