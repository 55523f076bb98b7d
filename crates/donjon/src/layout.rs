//! An OCI image layout (image-spec 1.1, image-layout.md): `oci-layout`, `index.json`, `blobs/sha256/…`.
//!
//! Owns where things are in one. Refuses a folder that has something else in it. Invariant: `index.json`, which says that there is a
//! layout, is written last, and blobs have their names only when they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use workload::digest::{Check, Digest, Size};

/// The longest piece that is read of what is here already, in bytes.
const PIECE: usize = 1024 * 1024;

/// A layout that is being written.
pub(crate) struct Layout {
    blobs: PathBuf,
    dir: PathBuf,
}

/// A blob of which a part is here.
pub(crate) struct Partial {
    file: File,
    check: Check,
    from: PathBuf,
    to: PathBuf,
}

impl Layout {
    /// In a folder that is made, is empty, or has what an earlier attempt left.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let ours = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == "blobs");
        if dir.read_dir().is_ok_and(|mut entries| !entries.all(ours)) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the folder is not empty"));
        }
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        Ok(Self { blobs, dir: dir.to_owned() })
    }

    /// A blob that is here, whole.
    pub(crate) fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.blobs.join(digest.to_hex()), bytes)
    }

    /// Begins a blob, or goes on with one of which an earlier attempt left a part; `None`: it is here.
    pub(crate) fn begin(&self, digest: &Digest, size: u64) -> io::Result<Option<Partial>> {
        let to = self.blobs.join(digest.to_hex());
        let from = self.blobs.join(format!("{}.part", digest.to_hex()));
        let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&from);
        if to.exists() {
            // Not believed before it is read: whoever began may have had a bad disk.
            let mut check = Check::sized(*digest, Size::Exactly(size));
            if through(&mut File::open(&to)?, &mut check)? && check.finish().is_ok() {
                return Ok(None);
            }
            fs::remove_file(&to)?;
        }
        let (mut file, mut check) = (options()?, Check::sized(*digest, Size::Exactly(size)));
        if !through(&mut file, &mut check)? {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            check = Check::sized(*digest, Size::Exactly(size));
        }
        Ok(Some(Partial { file, check, from, to }))
    }

    /// Says what the layout is of.
    pub(crate) fn end(self, media_type: &str, digest: &Digest, size: usize) -> io::Result<()> {
        fs::write(self.dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{ "mediaType": media_type, "digest": digest.to_string(), "size": size }],
        });
        fs::write(self.dir.join("index.json"), index.to_string())
    }
}

impl Partial {
    /// How much is here, in bytes.
    pub(crate) fn at(&self) -> u64 {
        self.check.seen()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check.update(bytes).map_err(io::Error::other)?;
        self.file.write_all(bytes)
    }

    /// Gives it its name, if it is what it should be; else nothing of it stays.
    pub(crate) fn end(self) -> io::Result<()> {
        let Self { file, check, from, to } = self;
        if let Err(error) = check.finish() {
            fs::remove_file(&from)?;
            return Err(io::Error::other(error));
        }
        file.sync_all()?;
        fs::rename(from, to)
    }
}

/// Reads a file through a check. False: it has more than it may.
fn through(file: &mut File, check: &mut Check) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece)?;
        match piece.get(..length) {
            None | Some([]) => return Ok(true),
            Some(bytes) if check.update(bytes).is_err() => return Ok(false),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_goes_on_where_it_was_and_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let layout = || Layout::new(&dir.path().join("new")).unwrap();
        let (bytes, digest) = (b"0123456789".as_slice(), Digest::of(b"0123456789"));
        let named = |name: &str| dir.path().join("new/blobs/sha256").join(name);
        let mut partial = layout().begin(&digest, 10).unwrap().unwrap();
        partial.write(&bytes[..4]).unwrap();
        drop(partial);
        assert!(!named(&digest.to_hex()).exists());
        let mut partial = layout().begin(&digest, 10).unwrap().unwrap();
        assert_eq!(partial.at(), 4);
        partial.write(&bytes[4..]).unwrap();
        partial.end().unwrap();
        assert_eq!(fs::read(named(&digest.to_hex())).unwrap(), bytes);
        assert!(layout().begin(&digest, 10).unwrap().is_none(), "it is here");
        // What is here and damaged is not believed; what is another is not kept.
        fs::write(named(&digest.to_hex()), b"0123456780").unwrap();
        let mut partial = layout().begin(&digest, 10).unwrap().unwrap();
        assert_eq!(partial.at(), 0);
        partial.write(b"0123456780").unwrap();
        assert!(partial.end().is_err());
        assert!(fs::read_dir(named("")).unwrap().next().is_none(), "nothing stays");
        // A part that is longer than the whole is no part.
        fs::write(named(&format!("{}.part", digest.to_hex())), [b'x'; 11]).unwrap();
        assert_eq!(layout().begin(&digest, 10).unwrap().unwrap().at(), 0);
        fs::write(dir.path().join("new/other"), b"").unwrap();
        assert!(Layout::new(&dir.path().join("new")).is_err(), "somebody else's folder");
    }
}
